"""Thirty fits in one process; ``python -m tests.faults.soak`` makes a thousand."""

import sys

import pytest

from tests.faults.soak import figures, soak


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_thirty_fits_leave_nothing_behind():
    *_, (n_fits, _) = soak(16, 8)  # caches fill
    assert n_fits == 16
    before = figures()
    *_, (n_fits, after) = soak(32, 8)
    assert n_fits == 32
    assert after.files == before.files
    assert after.python_threads == before.python_threads
    assert after.threads <= before.threads
    assert after.memory - before.memory < 20
