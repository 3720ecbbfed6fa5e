"""Fixtures of every test, the doctests of the package included."""

import os
import sys

import pytest

os.environ.setdefault("MPLBACKEND", "agg")  # tests draw without a screen
if "PYTEST_XDIST_WORKER" in os.environ:  # the processes share the cores; read when NumPy is loaded
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _close_figures():
    """Close the figures of a test: matplotlib warns of too many open figures."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
