"""EMGaussianMixture against scikit-learn's GaussianMixture, from 50 rows on."""

from dataclasses import replace
from functools import partial

from sklearn.mixture import GaussianMixture

from benchmarks.grid.table import (
    ANSWER_MEDIAN,
    FIT_MEDIAN,
    N_ITERATIONS,
    Call,
    Contest,
    mean_answer,
    sections,
)
from benchmarks.mixture.problem import Problem, start_from
from skvae import EMGaussianMixture

N_SAMPLES = (50, 200, 1000, 5000, 20_000)
N_FEATURES = (1, 2, 8, 32, 128, 300)
N_COMPONENTS = (1, 3, 8)
COVARIANCE_TYPES = ("full", "diag")
_MOST_WORK = 4e8  # N D² K; larger cells belong to the tables of large data
# Rows for each mean's number. With fewer, the results depend on the smallest variances, where
# scikit-learn adds `reg_covar` and skvae has a floor.
_COMPARABLE = 10

CELLS = tuple(
    Problem(n, d, k, covariance_type)
    for n in N_SAMPLES
    for d in N_FEATURES
    for k in N_COMPONENTS
    for covariance_type in COVARIANCE_TYPES
    if n * d**2 * k <= _MOST_WORK
)
LARGE = (Problem(200_000, 16, 16, "full", dtype="float32"),)
LARGE_TARGET = 8


def comparable(problem):
    """Return whether both libraries' results must agree: there are rows enough."""
    return problem.n_samples >= _COMPARABLE * problem.n_features * problem.n_components


# In float32 scikit-learn refuses most of the others: their covariances are singular.
SINGLE = tuple(replace(cell, dtype="float32") for cell in CELLS if comparable(cell))


def fit(problem, settings):
    """Return the Contest of a fit of ten iterations from one start."""
    X, ours, theirs = _mixtures(problem, settings, N_ITERATIONS)

    def summary(model):
        if model.n_iter_ != N_ITERATIONS:
            raise RuntimeError(f"{model!r} did {model.n_iter_} iterations.")
        return model.score(X)

    return Contest(
        partial(ours.fit, X), partial(theirs.fit, X), summary if comparable(problem) else None
    )


def large_fit(problem, settings):
    """Return the Contest of a fit of many rows; a quick run has few of them."""
    return fit(problem.sized(settings), settings)


def answer(problem, settings, method, n_rows=None):
    """Return the Contest of a method of all rows, or of the first ones, after one iteration."""
    X, ours, theirs = _mixtures(problem, settings, 1)
    rows = X[:n_rows]
    calls = [partial(getattr(model.fit(X), method), rows) for model in (ours, theirs)]
    checked = comparable(problem) and method != "predict"  # a row in between may go either way
    return Contest(*calls, mean_answer if checked else None)


def draws(problem, settings):
    """Return the Contest of drawing as many rows as there are in the data."""
    X, ours, theirs = _mixtures(problem, settings, 1)
    return Contest(*(partial(model.fit(X).sample, len(X)) for model in (ours, theirs)))


def label(problem):
    """Return the text of a cell."""
    return f"{problem.sizes}, {problem.covariance_type}"


def _mixtures(problem, settings, max_iter):
    """Return the rows, and a mixture of each library; both have the same start."""
    X = problem.make(settings.seed)
    start = start_from(X, problem.n_components, problem.covariance_type, settings.seed)
    mixtures = [
        estimator(
            problem.n_components,
            covariance_type=problem.covariance_type,
            max_iter=max_iter,
            tol=0.0,
            random_state=0,
            **start.as_init,
        )
        for estimator in (EMGaussianMixture, GaussianMixture)
    ]
    return X, *mixtures


CALLS = (
    Call("fit", "fit of ten iterations", fit, FIT_MEDIAN),
    Call(
        "one-row",
        "`score_samples` of one row",
        partial(answer, method="score_samples", n_rows=1),
        ANSWER_MEDIAN,
    ),
    Call(
        "score",
        "`score_samples` of all rows",
        partial(answer, method="score_samples"),
        ANSWER_MEDIAN,
    ),
    Call("predict", "`predict` of all rows", partial(answer, method="predict"), ANSWER_MEDIAN),
    Call(
        "proba",
        "`predict_proba` of all rows",
        partial(answer, method="predict_proba"),
        ANSWER_MEDIAN,
    ),
    Call("sample", "`sample` of N rows", draws, ANSWER_MEDIAN),
)
LARGE_CALL = Call("large", "many rows", large_fit, LARGE_TARGET)
_of = partial(
    sections,
    model="mixture",
    peer="scikit-learn",
    sizes="N, D, K, covariance",
    label=label,
    method="The same start for both libraries, `tol=0`; other calls after one iteration.",
)

MAIN = _of(calls=CALLS, cells=CELLS)
OTHERS = (
    *_of(calls=CALLS, cells=CELLS, n_threads=2),
    *_of(calls=CALLS, cells=SINGLE, variant="float32"),
    *_of(
        calls=[Call("large", "many rows", large_fit, LARGE_TARGET)], cells=LARGE, variant="float32"
    ),
)
