"""Fixtures of every test, the doctests of the package included."""

import os
import sys

import pytest

os.environ.setdefault("MPLBACKEND", "agg")  # tests draw without a screen


@pytest.fixture(autouse=True)
def _close_figures():
    """Close the figures of a test: matplotlib warns of too many open figures."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")
