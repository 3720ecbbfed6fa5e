"""Milliseconds of a call with few rows, as in a service that scores events one by one."""

import warnings
from functools import partial
from itertools import product
from operator import itemgetter
from statistics import median

from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from benchmarks import report
from benchmarks.hmm.contenders import SKVAE
from benchmarks.hmm.problem import Problem as ChainProblem
from benchmarks.mixture.problem import Problem, start_from
from benchmarks.suite import Section
from benchmarks.timing import interleave_calls, little_garbage
from skvae import EMGaussianMixture

TARGET = 0.25  # milliseconds, in every cell
N_FEATURES = N_COMPONENTS = (1, 2, 4, 8)
COVARIANCE_TYPES = ("full", "diag")
N_ROWS, N_STATES = 100, (1, 2, 4, 8)  # of a chain
_SECONDS = 0.1  # of a cell's repeated calls


def one_row(problem, settings, method):
    """Return the call of a mixture's method with one row."""
    X = problem.make(settings.seed)
    start = start_from(X, problem.n_components, problem.covariance_type, settings.seed)
    mixture = EMGaussianMixture(
        problem.n_components, covariance_type=problem.covariance_type, max_iter=1, **start.as_init
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        mixture.fit(X)
    return partial(getattr(mixture, method), X[:1])


def path(problem, settings):
    """Return the call of a chain's most probable path."""
    return partial(SKVAE.known(problem.truth(settings.seed)).predict, problem.make(settings.seed))


MIXTURES = tuple(
    Problem(1000, d, k, covariance_type)
    for d, k, covariance_type in product(N_FEATURES, N_COMPONENTS, COVARIANCE_TYPES)
)
CHAINS = tuple(ChainProblem(N_ROWS, d, k) for d, k in product(N_FEATURES, N_STATES))
# Of each call: its title, its cells, and the function that prepares it in a cell.
CASES = {
    f"latency-{name}": (title, cells, prepare)
    for name, title, cells, prepare in (
        ("score", "`score_samples`, one row", MIXTURES, partial(one_row, method="score_samples")),
        ("predict", "`predict`, one row", MIXTURES, partial(one_row, method="predict")),
        ("proba", "`predict_proba`, one row", MIXTURES, partial(one_row, method="predict_proba")),
        ("chain", f"chain, `predict`, {N_ROWS} rows", CHAINS, path),
    )
}


def measure(case, settings):
    """Return the row of one call: its time in the median and in the slowest cell, judged."""
    title, cells, prepare = case
    cells = cells[::5] if settings.quick else cells
    with little_garbage(), threadpool_limits(1):
        timed = [(_milliseconds(prepare(cell, settings), settings), cell) for cell in cells]
    longest, slowest = max(timed, key=itemgetter(0))
    target = settings.judged(TARGET)
    return [
        [
            title,
            str(len(cells)),
            f"{median(milliseconds for milliseconds, _ in timed):.3f} ms",
            f"{longest:.3f} ms",
            slowest.sizes + ", " + slowest.covariance_type,
            report.verdict(longest, target, sign="≤", unit=" ms"),
        ]
    ]


def _milliseconds(call, settings):
    at_least = 0.0 if settings.quick else _SECONDS
    times, _ = interleave_calls({"skvae": call}, at_least=at_least)
    return 1e3 * times["skvae"].median


SECTION = Section(
    name="grid",
    title="Grid: milliseconds of a call with few rows",
    method=(
        "skvae alone, one thread, processor time, median of several calls; in the median cell and "
        "in the slowest. Mixtures of up to 8 features and 8 components, full and diagonal "
        "covariances, fitted to 1,000 rows; chains with diagonal ones."
    ),
    columns=[
        "call",
        "cells",
        "median",
        "slowest",
        "slowest cell: rows, D, K, covariance",
        "target",
    ],
    cases=CASES,
    measure=measure,
)
