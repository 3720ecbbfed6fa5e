"""Peak memory beyond X of a fit."""

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import report
from benchmarks.memory import peak_beyond_data
from benchmarks.mixture.contenders import contenders
from benchmarks.mixture.problem import Problem, start_from
from benchmarks.suite import Section

_MEGABYTE = 1e6


class Case(NamedTuple):
    """A fit to measure: `beginning` is "kmeans", or "given" for a fit from a given start."""

    problem: Problem
    contender: str
    beginning: str
    n_iterations: int = 3
    mapped: bool = False


_LARGE = Problem(1_000_000, 32, 64, target=256)
_MAPPED = Problem(4_000_000, 32, 64, dtype="float32", target=256)
_PEERS = Problem(1_000_000, 32, 64)

CASES = {
    "full-1000000-32-64-kmeans": Case(_LARGE, "skvae", "kmeans"),
    "full-1000000-32-64-given": Case(_LARGE, "skvae", "given"),
    "full-1000000-32-64-scikit-learn": Case(_PEERS, "scikit-learn", "given", 1),
    "full-1000000-32-64-pomegranate": Case(_PEERS, "pomegranate", "given", 1),
    "memmap-float32-4000000-32-64": Case(_MAPPED, "skvae", "kmeans", mapped=True),
}


def measure(case, settings):
    """Return the row of one fit."""
    problem = case.problem.sized(settings)
    row = [case.contender, problem.covariance_type, problem.sizes]
    row += [problem.dtype + (", memmap" if case.mapped else ""), case.beginning]
    row.append(str(case.n_iterations))
    with tempfile.TemporaryDirectory() as folder:
        peak = peak_beyond_data(
            f"{__name__}:prepare",
            anonymous=case.mapped,
            problem=asdict(problem),
            contender=case.contender,
            beginning=case.beginning,
            n_iterations=case.n_iterations,
            file=str(Path(folder) / "rows.npy") if case.mapped else None,
            seed=settings.seed,
        )
    size = problem.n_samples * problem.n_features * np.dtype(problem.dtype).itemsize
    row += [f"{size / _MEGABYTE:,.0f} MB", f"{peak / _MEGABYTE:,.0f} MB"]
    row.append(report.verdict(peak / _MEGABYTE, problem.target, sign="≤", unit=" MB"))
    return [row]


def prepare(problem, contender, beginning, n_iterations, file, seed):
    """Return the fit to measure, after loading the libraries and making the data.

    Parameters
    ----------
    problem : dict
        Fields of a Problem.
    contender, beginning : str
    n_iterations : int
    file : str or None
        Where to put the rows for a memory-mapped X.
    seed : int
    """
    problem = Problem(**problem)
    one = contenders(problem.covariance_type)[contender]
    _fit(one, _small(problem).make(seed), problem, beginning, 1, seed)()
    if file is None:
        X = problem.make(seed)
    else:
        shape = (problem.n_samples, problem.n_features)
        out = np.lib.format.open_memmap(file, mode="w+", dtype=problem.dtype, shape=shape)
        problem.make(seed, out)
        out.flush()
        del out
        X = np.load(file, mmap_mode="r")
    return _fit(one, X, problem, beginning, n_iterations, seed)


def _fit(one, X, problem, beginning, n_iterations, seed):
    data, k, covariance_type = one.load(X), problem.n_components, problem.covariance_type
    if beginning == "kmeans":
        return lambda: one.fit_default(data, k, covariance_type, seed, max_iter=n_iterations, tol=0)
    start = start_from(X, k, covariance_type, seed)
    return lambda: one.fit(data, start, n_iterations)


def _small(problem):
    """Return the problem with just enough rows to load every library and start every thread."""
    fields = asdict(problem) | {"n_samples": 4 * problem.n_features * problem.n_components}
    return Problem(**fields)


SECTION = Section(
    name="memory",
    title="Peak memory beyond X",
    method=(
        "Each fit in a process of its own, after a small warm-up fit: peak resident memory of the "
        "fit less resident memory just before it (memmap: anonymous memory, sampled each "
        "millisecond, for the pages of the file are only its cache). MB are 10^6 bytes."
    ),
    columns=[
        "contender",
        "covariance",
        "N, D, K",
        "X",
        "start",
        "iterations",
        "size of X",
        "peak beyond X",
        "target",
    ],
    cases=CASES,
    measure=measure,
)
