"""BayesianMixtureSVI, in batches of all rows, against scikit-learn's BayesianGaussianMixture."""

from functools import partial

from sklearn.mixture import BayesianGaussianMixture

from benchmarks.grid.mixture import CELLS, SINGLE, label
from benchmarks.grid.table import (
    ANSWER_MEDIAN,
    FIT_MEDIAN,
    N_ITERATIONS,
    Call,
    Contest,
    sections,
)
from skvae import BayesianMixtureSVI


def fit(problem, settings):
    """Return the Contest of a fit of ten passes, the start included."""
    X, *mixtures = _mixtures(problem, settings, N_ITERATIONS)

    def passes(model):
        if model.fit(X).n_iter_ != N_ITERATIONS:
            raise RuntimeError(f"{model!r} did {model.n_iter_} iterations.")

    return Contest(*(partial(passes, model) for model in mixtures))


def answer(problem, settings, method, n_rows=None):
    """Return the Contest of a method of all rows, or of the first ones, after one pass.

    skvae's are of the predictive density, scikit-learn's are an approximation: the values differ.
    """
    X, *mixtures = _mixtures(problem, settings, 1)
    return Contest(*(partial(getattr(model.fit(X), method), X[:n_rows]) for model in mixtures))


def draws(problem, settings):
    """Return the Contest of drawing as many rows as there are in the data."""
    X, *mixtures = _mixtures(problem, settings, 1)
    return Contest(*(partial(model.fit(X).sample, len(X)) for model in mixtures))


def _mixtures(problem, settings, max_iter):
    """Return the rows, and a mixture of each library; both start from random rows."""
    X = problem.make(settings.seed)
    shared = {
        "n_components": problem.n_components,
        "covariance_type": problem.covariance_type,
        "max_iter": max_iter,
        "tol": 0.0,
        "init_params": "random_from_data",
        "random_state": 0,
    }
    ours = BayesianMixtureSVI(**shared, learning_method="batch")
    return X, ours, BayesianGaussianMixture(**shared)


CALLS = (
    Call("fit", "fit of ten passes", fit, FIT_MEDIAN),
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
_of = partial(
    sections,
    model="bayesian",
    peer="scikit-learn",
    sizes="N, D, K, covariance",
    label=label,
    method=(
        '`learning_method="batch"`, `tol=0`, both start from random rows; other calls after one '
        "pass."
    ),
    calls=CALLS,
)

MAIN = _of(cells=CELLS)
OTHERS = (*_of(cells=CELLS, n_threads=2), *_of(cells=SINGLE, variant="float32"))
