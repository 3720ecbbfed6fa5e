"""Memory beyond X stays bounded, for any number of rows."""

import numpy as np
import pytest

from skvae import EMHiddenMarkov
from tests.hmm.problems import left_right
from tests.mixture.test_memory import peak_of
from tests.problems import run

pytestmark = pytest.mark.slow  # by default the contract has one such test

N_ROWS, N_FEATURES, N_STATES = 300_000, 4, 32
# One n_rows × n_states array of float64; textbook Baum-Welch holds at least four of them.
FORBIDDEN = N_ROWS * N_STATES * 8


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(N_ROWS, N_FEATURES))


def fitted(X, **settings):
    return EMHiddenMarkov(
        N_STATES, covariance_type="diag", random_state=0, max_iter=0, **settings
    ).fit(X)


@pytest.fixture(scope="module")
def model(X):
    return fitted(X[:5000])


LAYOUTS = {
    "one sequence": None,
    "a few": np.repeat(np.arange(4), N_ROWS // 4),
    "many": np.arange(N_ROWS) // 30,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_fit_makes_no_array_of_rows_by_states(X, layout):
    def fit():
        start = {"means_init": X[:N_STATES], "covariances_init": np.ones((N_STATES, N_FEATURES))}
        model = EMHiddenMarkov(N_STATES, covariance_type="diag", random_state=0, **start)
        run(model, X, 1, groups=LAYOUTS[layout])

    # Groups, offsets and the rows of k-means are arrays of rows, with a number each.
    assert peak_of(fit) < 1.2 * FORBIDDEN


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", ["score_samples", "predict", "score"])
def test_answers_take_memory_as_their_result_does(X, model, layout, method):
    peak = peak_of(lambda: getattr(model, method)(X, groups=LAYOUTS[layout]))
    assert peak < 1.2 * FORBIDDEN


def test_memory_hardly_grows_with_the_rows(X, model):
    """The blocks kept of a long sequence have a budget; a row adds a few numbers, not K."""
    for method in ("score", "predict"):
        half, whole = (
            peak_of(lambda n=n, method=method: getattr(model, method)(X[:n]))
            for n in (N_ROWS // 2, N_ROWS)
        )
        assert whole - half < 0.15 * FORBIDDEN / 2


def test_posteriors_take_little_more_than_themselves(X, model):
    assert peak_of(lambda: model.predict_proba(X)) < 2.2 * FORBIDDEN


def test_sparse_chains_and_missing_values(X):
    start, transmat = left_right(N_STATES, stay=0.999)
    gaps = X.copy()
    gaps[np.random.default_rng(0).random(X.shape) < 0.02] = np.nan
    model = fitted(X[:5000], startprob_init=start, transmat_init=transmat)
    assert peak_of(lambda: model.score(gaps)) < 1.2 * FORBIDDEN
