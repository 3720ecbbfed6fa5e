"""Mixtures of Dask arrays: the fit is that of the same rows in memory, whatever the chunks."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skvae import BayesianMixtureSVI, EMGaussianMixture
from skvae.initialization import MAX_ROWS
from tests.combinations import slow

da = pytest.importorskip("dask.array")

N, D = 5000, 3
CHUNKS = [(N,), (1250,) * 4, (7, 2400, 1, 0, 2592)]

every_cut = pytest.mark.parametrize("cut", CHUNKS, ids=["whole", "even", "odd"])


def rows(seed=0, n=N, missing=0.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, D)) + 6.0 * rng.integers(3, size=(n, 1))
    X[rng.random(X.shape) < missing] = np.nan
    return X


def weights(n=N, zeros=0.2):
    rng = np.random.default_rng(1)
    return rng.exponential(size=n) * (rng.random(n) > zeros)


def chunked(X, cut):
    return da.from_array(X, chunks=(cut, *([(2, 1)] if X.ndim == 2 else [])))


def fit(model, X, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **parameters)


def assert_same_fit(one, other, rtol=1e-10):
    """All fitted attributes are alike, relative to the largest number of each."""
    for name in ("weights_", "means_", "covariances_", "precisions_", "lower_bounds_"):
        a, b = np.asarray(getattr(one, name)), np.asarray(getattr(other, name))
        assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max(), err_msg=name)
    for name in ("n_iter_", "n_e_steps_", "converged_", "n_features_in_"):
        assert getattr(one, name) == getattr(other, name), name


@every_cut
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_em(cut, kind):
    X = rows()
    model = {"n_components": 4, "covariance_type": kind, "random_state": 0, "max_iter": 15}
    expected = fit(EMGaussianMixture(**model), X)
    found = fit(EMGaussianMixture(**model), chunked(X, cut))
    assert_same_fit(found, expected)


@pytest.mark.slow
@given(
    cuts=st.lists(st.integers(0, 300), max_size=8),
    seed=st.integers(0, 5),
    missing=st.sampled_from([0.0, 0.2]),
    zeros=st.sampled_from([None, 0.0, 0.5]),
)
def test_whatever_the_chunks(cuts, seed, missing, zeros):
    X = rows(seed, 300, missing)
    weight = None if zeros is None else weights(300, zeros)
    lengths = tuple(np.diff([0, *sorted(cuts), 300]).tolist())  # some of no rows at all
    model = {"n_components": 3, "random_state": seed, "max_iter": 3}
    expected = fit(EMGaussianMixture(**model), X, sample_weight=weight)
    lazy = da.from_array(X, chunks=(lengths, (D,)))
    assert_same_fit(fit(EMGaussianMixture(**model), lazy, sample_weight=weight), expected)


@every_cut
@pytest.mark.parametrize("lazy", [False, True])
def test_em_with_weights_and_missing_values(cut, lazy):
    X, weight = rows(missing=0.1), weights()
    model = {"n_components": 3, "random_state": 0, "max_iter": 6}
    expected = fit(EMGaussianMixture(**model), X, sample_weight=weight)
    same = da.from_array(weight, chunks=999) if lazy else weight
    found = fit(EMGaussianMixture(**model), chunked(X, cut), sample_weight=same)
    assert_same_fit(found, expected)
    assert_allclose(
        found.score(chunked(X, cut), sample_weight=same),
        expected.score(X, sample_weight=weight),
        rtol=1e-12,
    )


@pytest.mark.parametrize(
    "init_params", ["kmeans", *slow("k-means++", "random", "random_from_data")]
)
def test_every_start_of_more_rows_than_a_start_reads(init_params):
    n = MAX_ROWS + 5000
    X, weight = rows(n=n, missing=0.01), weights(n, zeros=0.01)
    model = {"n_components": 3, "random_state": 3, "max_iter": 3, "init_params": init_params}
    expected = fit(EMGaussianMixture(**model, n_init=2), X, sample_weight=weight)
    lazy = da.from_array(X, chunks=4000)
    found = fit(EMGaussianMixture(**model, n_init=2), lazy, sample_weight=weight)
    assert_same_fit(found, expected)


def test_a_start_with_fewer_distinct_rows_than_components():
    X = np.repeat([[0.0, 1.0], [5.0, 5.0]], 30, axis=0)
    model = {"n_components": 4, "random_state": 0, "max_iter": 3}
    expected = fit(EMGaussianMixture(**model), X)
    found = fit(EMGaussianMixture(**model), da.from_array(X, chunks=7))
    assert_same_fit(found, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int16])
def test_dtypes(dtype):
    X = (10 * rows()).astype(dtype)
    expected = fit(EMGaussianMixture(3, random_state=0), X)
    found = fit(EMGaussianMixture(3, random_state=0), chunked(X, CHUNKS[1]))
    assert_same_fit(found, expected)
    for name in ("score_samples", "predict_proba", "predict"):
        lazy, known = getattr(found, name)(chunked(X, CHUNKS[2])), getattr(expected, name)(X)
        assert lazy.dtype == known.dtype
        assert_allclose(lazy.compute(), known, rtol=1e-4 if dtype == np.float32 else 1e-8)


def test_a_large_offset_costs_no_digits():
    X = rows() + 1e8
    expected = fit(EMGaussianMixture(3, random_state=0), X)
    found = fit(EMGaussianMixture(3, random_state=0), chunked(X, CHUNKS[1]))
    assert_allclose(found.covariances_, expected.covariances_, rtol=1e-7)


@pytest.mark.parametrize("changes", [{}, {"acceleration": "anderson"}, {"n_init": 3, "n_jobs": 2}])
def test_ways_to_climb(changes):
    X = rows()
    model = {"n_components": 4, "random_state": 1, "max_iter": 20, **changes}
    expected = fit(EMGaussianMixture(**model), X)
    found = fit(EMGaussianMixture(**model), chunked(X, CHUNKS[1]))
    assert_same_fit(found, expected, rtol=1e-8 if "acceleration" in changes else 1e-10)


@every_cut
@pytest.mark.parametrize("method", ["batch", "memoized", "online"])
def test_bayesian(cut, method):
    X, weight = rows(missing=0.05), weights()
    model = {"n_components": 5, "random_state": 0, "max_iter": 4, "learning_method": method}
    model["batch_size"] = 1100
    expected = fit(BayesianMixtureSVI(**model), X, sample_weight=weight)
    found = fit(BayesianMixtureSVI(**model), chunked(X, cut), sample_weight=weight)
    assert_same_fit(found, expected)
    assert_allclose(found.elbo_, expected.elbo_, rtol=1e-10)


@pytest.mark.slow
def test_moves():
    X = rows()
    model = {"n_components": 1, "random_state": 0, "moves": ("birth", "merge", "delete")}
    expected = fit(BayesianMixtureSVI(**model, batch_size=1250), X)
    found = fit(BayesianMixtureSVI(**model, batch_size=1250), chunked(X, CHUNKS[1]))
    assert len(found.weights_) == len(expected.weights_) == 3
    assert_same_fit(found, expected)


@pytest.mark.parametrize(
    "model",
    [
        EMGaussianMixture(3, random_state=0),
        BayesianMixtureSVI(3, random_state=0, total_samples=2 * N),
        BayesianMixtureSVI(3, random_state=0),
    ],
)
def test_partial_fit(model):
    from sklearn.base import clone

    X, weight = rows(), weights()
    expected, found = clone(model), clone(model)
    for a in (0, N // 2):
        part, share = X[a : a + N // 2], weight[a : a + N // 2]
        expected.partial_fit(part, sample_weight=share)
        found.partial_fit(da.from_array(part, chunks=600), sample_weight=share)
    assert_same_fit(found, expected)


@pytest.mark.parametrize("model", [EMGaussianMixture(3), BayesianMixtureSVI(3)])
def test_answers_are_lazy_and_those_of_rows_in_memory(model):
    X = rows(missing=0.1)
    lazy = chunked(X, CHUNKS[2])
    model.set_params(random_state=0).fit(X)
    for name in ("score_samples", "transform", "predict_proba", "predict", "impute"):
        found, expected = getattr(model, name)(lazy), getattr(model, name)(X)
        assert isinstance(found, da.Array)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert found.chunks[0] == lazy.chunks[0]
        assert_allclose(found.compute(), expected, rtol=1e-10, atol=1e-12)
    assert type(model.score(lazy)) is float
    assert_allclose(model.score(lazy), model.score(X), rtol=1e-12)


def test_criteria():
    X, weight = rows(), weights()
    model = EMGaussianMixture(3, random_state=0).fit(X)
    for name in ("aic", "bic", "icl"):
        for share in (None, weight):
            found = getattr(model, name)(chunked(X, CHUNKS[1]), sample_weight=share)
            assert_allclose(found, getattr(model, name)(X, sample_weight=share), rtol=1e-12)


def test_answers_are_of_the_model_that_was_asked():
    """What is computed later does not see a later fit."""
    X = rows()
    model = EMGaussianMixture(3, random_state=0).fit(X)
    expected, lazy = model.predict_proba(X), model.predict_proba(chunked(X, CHUNKS[1]))
    model.set_params(n_components=2).fit(X[:100])
    assert_allclose(lazy.compute(), expected, rtol=1e-10, atol=1e-12)


def test_chunks_of_unknown_size():
    X = rows()
    positive = chunked(X, CHUNKS[1])
    positive = positive[positive[:, 0] > 0]
    assert np.isnan(positive.shape[0])
    known = X[X[:, 0] > 0]
    found = fit(EMGaussianMixture(2, random_state=0), positive)
    expected = fit(EMGaussianMixture(2, random_state=0), known)
    assert_same_fit(found, expected)
    assert np.isnan(positive.shape[0])  # what the user holds is not changed
    assert np.isnan(found.predict(positive).shape[0])
    assert_array_equal(found.predict(positive).compute(), expected.predict(known))


def test_masked_arrays():
    X = rows(missing=0.1)
    lazy = chunked(X, CHUNKS[1]).map_blocks(np.ma.masked_invalid)
    found = fit(EMGaussianMixture(3, random_state=0), lazy)
    assert_same_fit(found, fit(EMGaussianMixture(3, random_state=0), np.ma.masked_invalid(X)))
