"""A file larger than the memory that the process may have."""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.large.files import METHODS, passes_over, write
from benchmarks.mixture.problem import Problem
from benchmarks.suite import Section

_GIGABYTE = 1e9
_MOST = 2 * 1024**3  # bytes of private memory

CASES = {"6-of-2": Problem(187_500_000, 8, 32, dtype="float32")}


def measure(problem, settings):
    """Return a row for each method: that it comes to its end, how long and in how much memory."""
    problem = problem.sized(settings)
    size = problem.n_samples * problem.n_features * np.dtype(problem.dtype).itemsize
    most = min(_MOST, 10 * size) if settings.quick else _MOST
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        write(problem, path, settings.seed)
        for method in METHODS:
            taken, peak = passes_over(problem, path, method, most_data=most)
            row = [method, problem.sizes, f"{size / _GIGABYTE:.2f} GB", f"{most / 1024**3:.2f} GiB"]
            rows.append([*row, f"{taken:.1f} s", f"{peak / 1e6:,.0f} MB"])
    return rows


SECTION = Section(
    name="limit",
    title="A file larger than the memory of the process",
    method=(
        "As above, in a process with limited private memory (`RLIMIT_DATA`): an allocation beyond "
        "the limit would raise MemoryError."
    ),
    columns=["method", "N, D, K", "file", "limit", "a pass", "beyond the page cache"],
    cases=CASES,
    measure=measure,
)
