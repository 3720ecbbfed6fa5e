"""One pass over more and more rows in a file: its time per row, and the memory it takes."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks import report
from benchmarks.large.files import METHODS, passes_over, write
from benchmarks.mixture.problem import Problem
from benchmarks.suite import Section

_MEGABYTE = 1e6
_MEMORY, _RATE = 512, 0.7  # the targets: MB, and of the rate in memory
_IN_MEMORY = 1_000_000

CASES = {
    f"full-{n}-8-32-float32": Problem(n, 8, 32, dtype="float32")
    for n in (1_000_000, 10_000_000, 100_000_000)
}


def measure(problem, settings):
    """Return a row for each method: a pass over the file, against rows of like kind in memory."""
    problem = problem.sized(settings)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path, small = Path(folder) / "rows.npy", Path(folder) / "few.npy"
        write(problem, path, settings.seed)
        few = replace(problem, n_samples=min(problem.n_samples, _IN_MEMORY))
        write(few, small, settings.seed)
        for method in METHODS:
            in_memory, _ = passes_over(few, small, method, mapped=False)
            taken, peak = passes_over(problem, path, method)
            rate = problem.n_samples / taken
            share = rate * in_memory / few.n_samples
            rows.append(_row(problem, method, taken, rate, share, peak, settings))
    return rows


def _row(problem, method, taken, rate, share, peak, settings):
    size = problem.n_samples * problem.n_features * np.dtype(problem.dtype).itemsize
    return [
        method,
        problem.sizes,
        f"{size / _MEGABYTE:,.0f} MB",
        f"{taken:.2f} s",
        f"{rate / 1e6:.2f} million",
        f"{share:.2f}×",
        report.verdict(share, settings.judged(_RATE), sign="≥", unit="×"),
        f"{peak / _MEGABYTE:,.0f} MB",
        report.verdict(peak / _MEGABYTE, settings.judged(_MEMORY), sign="≤", unit=" MB"),
    ]


SECTION = Section(
    name="large",
    title="A file of rows",
    method=(
        "`full`, float32, a memory-mapped file, each method in its own process. A pass is the "
        "time of a fit with two passes minus that of a fit with one: an EM iteration, or one pass "
        "over the memoized blocks. Of the rate in memory: rows per second relative to the first "
        "million of such rows, read into memory, in its own process. Memory beyond the page "
        "cache: the peak of anonymous memory during both fits minus that before, sampled each "
        "millisecond. The file was written just before, so as much of it as fits is in the page "
        "cache."
    ),
    columns=[
        "method",
        "N, D, K",
        "file",
        "a pass",
        "rows per second",
        "of the rate in memory",
        "target",
        "beyond the page cache",
        "target",
    ],
    cases=CASES,
    measure=measure,
)
