"""sample_weight: integer weights are repeated rows, weight zero is an absent row."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMGaussianMixture
from tests import oracles
from tests.problems import (
    COVARIANCE_TYPES,
    assert_same_mixture,
    assert_same_state,
    blobs,
    corners,
    knock_out,
    run,
    start,
    state_of,
)
from tests.strategies import covariance_types, seeds

INITS = ("kmeans", "k-means++", "random", "random_from_data")


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("reg_covar", [0.0, 0.5])
def test_integer_weights_are_repeated_rows(covariance_type, missing, reg_covar):
    X = blobs(200)
    X = knock_out(X) if missing else X
    weight = np.random.default_rng(0).integers(0, 4, size=len(X))
    repeated = X.repeat(weight, axis=0)
    parameters, _ = start(X, 3, covariance_type)
    model = run(EMGaussianMixture(**parameters, reg_covar=reg_covar), X, 10, sample_weight=weight)
    other = run(EMGaussianMixture(**parameters, reg_covar=reg_covar), repeated, 10)
    assert_same_mixture(model, other, rtol=1e-8, atol=1e-10)
    assert_allclose(model.lower_bounds_, other.lower_bounds_, rtol=1e-10)
    assert_allclose(model.score(X, sample_weight=weight), model.score(repeated), rtol=1e-12)
    for criterion in ("bic", "aic", "icl"):
        ours = getattr(model, criterion)(X, sample_weight=weight)
        assert_allclose(ours, getattr(model, criterion)(repeated), rtol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_steps_with_weights_are_the_oracle_s(covariance_type):
    X = blobs(200)
    weight = np.random.default_rng(0).exponential(size=len(X))
    parameters, mixture = start(X, 3, covariance_type)
    for n_iter, reg_covar in [(1, 0.0), (8, 0.0), (8, 0.5)]:
        model = EMGaussianMixture(**parameters, reg_covar=reg_covar)
        run(model, X, n_iter, sample_weight=weight)
        expected = oracles.em(X, mixture, n_iter, reg_covar=reg_covar, sample_weight=weight)
        assert_same_mixture(model, expected, rtol=1e-7, atol=1e-9)
        assert_allclose(model.lower_bound_, oracles.score(X, expected, weight), rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_bound_never_falls_and_is_the_weighted_score(covariance_type):
    X = blobs(300, separation=1.5)
    weight = np.random.default_rng(2).exponential(size=len(X)) ** 2
    for reg_covar in (0.0, 1e-6, 0.5):
        parameters, _ = start(X, 3, covariance_type)
        model = EMGaussianMixture(**parameters, reg_covar=reg_covar)
        run(model, X, 50, sample_weight=weight)
        assert min(np.diff(model.lower_bounds_)) > -1e-11
        assert model.lower_bound_ == model.lower_bounds_[-1]
        assert_allclose(
            model.lower_bound_, model.score(X, sample_weight=weight), rtol=0, atol=1e-10
        )


def test_score_is_the_weighted_mean():
    X = blobs(100)
    weight = np.random.default_rng(0).exponential(size=len(X))
    model = EMGaussianMixture(2, random_state=0).fit(X)
    rows = model.score_samples(X)
    assert_allclose(model.score(X), rows.mean(), rtol=1e-13)
    assert_allclose(model.score(X, sample_weight=weight), weight @ rows / weight.sum(), rtol=1e-13)
    assert_allclose(model.score(X, None, weight), weight @ rows / weight.sum(), rtol=1e-13)
    assert isinstance(model.score(X, sample_weight=weight), float)


@pytest.mark.parametrize("init_params", INITS)
def test_rows_of_weight_zero_never_influence_the_result(init_params):
    good = corners()
    rng = np.random.default_rng(0)
    X = np.vstack([good, 1e6 * rng.normal(size=(200, 2))])
    weight = np.r_[np.ones(len(good)), np.zeros(200)]
    order = rng.permutation(len(X))
    settings = {"init_params": init_params, "n_init": 5, "random_state": 0, "max_iter": 2000}
    model = EMGaussianMixture(3, **settings).fit(X[order], sample_weight=weight[order])
    assert (model.means_ > good.min(axis=0)).all()
    assert (model.means_ < good.max(axis=0)).all()
    truth = oracles.Mixture(
        np.full(3, 1 / 3), np.array([[0.0, 0], [10, 0], [0, 10]]), 0.25 * np.ones(3), "spherical"
    )
    assert model.lower_bound_ > oracles.score(good, truth)
    assert_allclose(model.lower_bound_, model.score(good), rtol=0, atol=1e-10)


def test_rows_of_weight_zero_are_absent_whatever_they_hold():
    X = blobs(100)
    parameters, _ = start(X, 2, "full")
    model = run(EMGaussianMixture(**parameters), X, 5)
    extra = np.array([[np.nan, 1e300, -1e300], [np.nan] * 3, [1e8, 0, 0]])
    padded = np.vstack([X[:50], extra, X[50:]])
    weight = np.r_[np.ones(50), np.zeros(3), np.ones(50)]
    other = run(EMGaussianMixture(**parameters), padded, 5, sample_weight=weight)
    assert_same_mixture(other, model, rtol=1e-10)
    assert_allclose(other.lower_bound_, model.lower_bound_, rtol=1e-12)


@pytest.mark.parametrize("init_params", INITS)
def test_a_cluster_with_all_the_weight_gets_all_the_means(init_params):
    """A cluster that carries all the weight is where the means end."""
    X = corners()
    heavy = (X > 5).any(axis=1)
    weight = np.where(heavy, 1.0, 1e-9)
    model = EMGaussianMixture(2, init_params=init_params, n_init=3, random_state=0, max_iter=2000)
    model.fit(X, sample_weight=weight)
    # The two heavy clusters lie on the line x + y = 10, the light one at the origin.
    assert_allclose(model.means_.sum(axis=1), 10, atol=0.3)


@given(seeds, covariance_types, st.floats(-100, 100).map(lambda p: 10**p), st.booleans())
def test_a_common_factor_in_the_weights_changes_nothing(seed, covariance_type, factor, missing):
    X = blobs(80, seed=seed)
    X = knock_out(X, seed=seed) if missing else X
    weight = np.random.default_rng(seed).uniform(0.1, 3, size=len(X))
    parameters, _ = start(X, 2, covariance_type, seed=seed)
    model = run(EMGaussianMixture(**parameters), X, 4, sample_weight=weight)
    other = run(EMGaussianMixture(**parameters), X, 4, sample_weight=factor * weight)
    assert_same_mixture(other, model, rtol=1e-8, atol=1e-10)
    assert_allclose(other.lower_bounds_, model.lower_bounds_, rtol=1e-10)


@pytest.mark.parametrize("init_params", INITS)
def test_unit_weights_are_no_weights(init_params):
    X = blobs(200)
    model = EMGaussianMixture(
        3, init_params=init_params, random_state=0, max_iter=2000, reg_covar=1e-3
    )
    plain = model.fit(X).lower_bound_
    assert_allclose(model.fit(X, sample_weight=np.ones(200)).lower_bound_, plain, rtol=1e-9)
    assert_allclose(model.fit(X, sample_weight=1.0).lower_bound_, plain, rtol=1e-9)


def test_fit_predict_takes_weights():
    X = blobs(200)
    weight = np.random.default_rng(0).uniform(0, 2, size=200)
    model = EMGaussianMixture(3, random_state=0, max_iter=1000)
    labels = model.fit_predict(X, sample_weight=weight)
    assert_array_equal(labels, model.fit(X, sample_weight=weight).predict(X))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, bool, list])
def test_weights_of_any_type(dtype):
    X = blobs(100)
    weight = np.random.default_rng(0).integers(0, 2, size=100)
    parameters, _ = start(X, 2, "full")
    model = run(EMGaussianMixture(**parameters), X, 3, sample_weight=weight.astype(float))
    typed = weight.tolist() if dtype is list else weight.astype(dtype)
    other = run(EMGaussianMixture(**parameters), X, 3, sample_weight=typed)
    assert_same_mixture(other, model, rtol=1e-12)


def test_weights_are_left_alone():
    X, weight = blobs(100), np.random.default_rng(0).uniform(0, 2, size=100)
    before = weight.copy()
    weight.flags.writeable = False
    model = EMGaussianMixture(2, random_state=0).fit(X, sample_weight=weight)
    model.score(X, sample_weight=weight)
    model.partial_fit(X, sample_weight=weight)
    assert_array_equal(weight, before)


BAD_WEIGHTS = {
    "negative": np.r_[-1.0, np.ones(49)],
    "all zero": np.zeros(50),
    "nan": np.r_[np.nan, np.ones(49)],
    "inf": np.r_[np.inf, np.ones(49)],
    "too short": np.ones(49),
    "too long": np.ones(51),
    "two-dimensional": np.ones((50, 2)),
}


@pytest.mark.parametrize("problem", BAD_WEIGHTS)
@pytest.mark.parametrize(
    "method", ["fit", "fit_predict", "partial_fit", "score", "bic", "aic", "icl"]
)
def test_bad_weights_are_an_error_that_names_them(problem, method):
    X = blobs(50)
    model = EMGaussianMixture(2, random_state=0, tol=0.1).fit(X)
    state = state_of(model)
    with pytest.raises(ValueError, match=r"(?i)sample[_ ]weight"):
        getattr(model, method)(X, sample_weight=BAD_WEIGHTS[problem])
    assert_same_state(model, state)


def test_rows_that_count_must_be_as_many_as_components():
    X = blobs(50)
    weight = np.r_[np.ones(2), np.zeros(48)]
    with pytest.raises(ValueError, match="n_components"):
        EMGaussianMixture(3, random_state=0).fit(X, sample_weight=weight)
