"""First responsibilities: those of scikit-learn, in bounded memory."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from sklearn.cluster import KMeans, kmeans_plusplus

from skvae.initialization import (
    MAX_ROWS,
    completed,
    first_labels,
    random_responsibilities,
    rows_to_start_from,
)
from tests.problems import blobs


def rng():
    return np.random.RandomState(7)


def test_kmeans_is_scikit_learns():
    X = blobs(200)
    expected = KMeans(3, n_init=1, random_state=rng()).fit(X).labels_
    np.testing.assert_array_equal(first_labels(X, None, 3, "kmeans", rng()), expected)


def test_one_row_is_chosen_for_each_component():
    X = blobs(200)
    plus_plus = first_labels(X, None, 3, "k-means++", rng())
    np.testing.assert_array_equal(
        [np.flatnonzero(plus_plus == k)[0] for k in range(3)],
        kmeans_plusplus(X, 3, random_state=rng())[1],
    )
    from_data = first_labels(X, None, 3, "random_from_data", rng())
    np.testing.assert_array_equal(
        [np.flatnonzero(from_data == k)[0] for k in range(3)],
        rng().choice(200, size=3, replace=False),
    )
    for labels in (plus_plus, from_data):
        assert (labels >= 0).sum() == 3


def test_random_responsibilities_continue_one_stream():
    state = rng()
    parts = [random_responsibilities(n, 4, state) for n in (10, 1, 29)]
    whole = rng().uniform(size=(40, 4))
    whole /= whole.sum(axis=1, keepdims=True)
    np.testing.assert_array_equal(np.concatenate(parts, axis=1), whole.T)


def test_heavy_rows_are_chosen():
    weight = np.full(100, 1e-12)
    weight[[3, 50]] = 1.0
    labels = first_labels(blobs(100), weight, 2, "random_from_data", rng())
    assert set(np.flatnonzero(labels >= 0)) == {3, 50}


@pytest.mark.parametrize("n_components", [2, 3000])
def test_rows_to_start_from_are_few_and_distinct(n_components):
    assert rows_to_start_from(MAX_ROWS, 2, rng()) is None
    kept = rows_to_start_from(10**6, n_components, rng())
    assert len(kept) == max(MAX_ROWS, 128 * n_components)
    assert (np.diff(kept) > 0).all()
    assert kept[0] >= 0
    assert kept[-1] < 10**6


FORKED = """
    import os, sys
    import numpy as np
    from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov, VariationalAutoencoder

    rng = np.random.default_rng(0)
    X = rng.normal(size=(4000, 3)) + 5 * rng.integers(2, size=(4000, 1))
    settings = {"n_components": 2, "random_state": 0}
    models = {
        "mixture": EMGaussianMixture(**settings),
        "chain": EMHiddenMarkov(**settings),
        "Bayes": BayesianMixtureSVI(**settings),
        "autoencoder": VariationalAutoencoder(**settings, max_epochs=2, batch_size=2000),
    }
    fitted = models[sys.argv[1]].fit(X)
    process = os.fork()
    if not process:
        try:
            scores = fitted.score(X), fitted.fit(X).score(X)
            assert np.allclose(*scores, rtol=1e-6), scores
        except BaseException as error:
            print(error, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(process, 0)
    sys.exit(os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.parametrize("model", ["mixture", "chain", "Bayes", "autoencoder"])
def test_a_forked_process_fits_and_scores(model):
    """It does not wait for threads that its parent has."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORKED), model],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        timeout=100,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_a_missing_value_becomes_that_of_a_row_of_the_same_cluster(dtype):
    generator = np.random.default_rng(0)
    labels = generator.integers(3, size=5000)
    X = (100.0 * labels[:, None] * [1.0, 1e3, -1.0] + generator.normal(size=(5000, 3))).astype(
        dtype
    )
    whole = X.copy()
    X[generator.random(X.shape) < 0.3] = np.nan
    found = completed(X, rng())
    assert found.dtype == dtype
    seen = ~np.isnan(X)
    np.testing.assert_array_equal(found[seen], X[seen])
    informed = seen.any(axis=1)
    assert np.abs(found - whole)[informed].max() < 10
    # A row without any value is one of the rows, drawn at random: a third of them of each cluster.
    empty = found[~informed]
    assert len(empty) > 100
    shares = np.bincount((empty[:, 0] / 100).round().astype(int)) / len(empty)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.15)


def test_complete_rows_are_returned_without_a_draw():
    X, state = blobs(100), rng()
    assert completed(X, state) is X
    assert state.randint(1 << 30) == rng().randint(1 << 30)


def test_rows_of_which_none_is_complete_are_completed_too():
    generator = np.random.default_rng(1)
    X = np.where(generator.random((300, 40)) < 0.5, np.nan, generator.integers(4, size=(300, 40)))
    X[:, 7] = np.nan
    X[5] = np.nan
    found = completed(X, rng())
    assert np.isin(found, [0, 1, 2, 3]).all()
    assert (found[:, 7] == 0).all()
