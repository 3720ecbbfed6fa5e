"""NaN in X means missing: exact EM, marginal densities, imputation."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skvae import BayesianMixtureSVI, EMGaussianMixture
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


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("reg_covar", [0.0, 0.5])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_are_the_oracle_s(covariance_type, reg_covar, weighted):
    X = knock_out(blobs(150))
    weight = np.random.default_rng(0).uniform(0, 2, size=len(X)) if weighted else None
    parameters, mixture = start(X, 3, covariance_type)
    for n_iter in (1, 6):
        model = EMGaussianMixture(**parameters, reg_covar=reg_covar)
        run(model, X, n_iter, sample_weight=weight)
        expected = oracles.em(X, mixture, n_iter, reg_covar=reg_covar, sample_weight=weight)
        assert_same_mixture(model, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_densities_are_marginals_of_what_was_observed(covariance_type):
    X = knock_out(blobs(200), 0.4)
    model = EMGaussianMixture(
        3, covariance_type=covariance_type, random_state=0, max_iter=1000
    ).fit(X)
    mixture = oracles.mixture_of(model)
    assert_allclose(model.score_samples(X), oracles.log_density(X, mixture), rtol=1e-9)
    resp = oracles.responsibilities(X, mixture)
    assert_allclose(model.predict_proba(X), resp, rtol=1e-8, atol=1e-14)
    assert_array_equal(model.predict(X), resp.argmax(axis=1))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_marginal_model_scores_rows_that_lack_the_rest(covariance_type):
    X = blobs(200, n_features=4)
    model = EMGaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    partial = X.copy()
    partial[:, [0, 2]] = np.nan
    expected = model.marginal([1, 3]).score_samples(X[:, [1, 3]])
    assert_allclose(model.score_samples(partial), expected, rtol=1e-11)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("acceleration", [None, "anderson"])
def test_bound_never_falls_and_is_the_score(covariance_type, acceleration):
    X = knock_out(blobs(200, separation=1.5), 0.3)
    weight = np.random.default_rng(1).uniform(0, 3, size=len(X))
    for reg_covar in (0.0, 1e-6, 0.5):
        parameters, _ = start(X, 3, covariance_type)
        model = EMGaussianMixture(**parameters, reg_covar=reg_covar, acceleration=acceleration)
        run(model, X, 40, sample_weight=weight)
        assert min(np.diff(model.lower_bounds_)) > -1e-11
        assert model.lower_bound_ == model.lower_bounds_[-1]
        assert_allclose(
            model.lower_bound_, model.score(X, sample_weight=weight), rtol=0, atol=1e-10
        )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_imputed_values_are_conditional_expectations(covariance_type):
    X = knock_out(blobs(200), 0.4)
    model = EMGaussianMixture(
        3, covariance_type=covariance_type, random_state=0, max_iter=1000
    ).fit(X)
    before = X.copy()
    filled = model.impute(X)
    assert_array_equal(X, before)
    assert_allclose(filled, oracles.impute(X, oracles.mixture_of(model)), rtol=1e-8, atol=1e-10)
    seen = ~np.isnan(X)
    assert filled[seen].tobytes() == X[seen].tobytes()
    assert not np.shares_memory(filled, X)


def test_imputation_of_nothing_is_a_copy():
    X = blobs(50)
    filled = EMGaussianMixture(2, random_state=0).fit(X).impute(X)
    assert filled.tobytes() == X.tobytes()
    assert not np.shares_memory(filled, X)


def test_imputation_beats_the_column_mean():
    X = blobs(600, separation=6.0)
    holes = knock_out(X, 0.2)
    missing = np.isnan(holes)
    filled = EMGaussianMixture(3, random_state=0, n_init=3, max_iter=500).fit(holes).impute(holes)
    naive = np.where(missing, np.nanmean(holes, axis=0), holes)
    assert np.mean((filled - X)[missing] ** 2) < 0.4 * np.mean((naive - X)[missing] ** 2)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_row_with_nothing_observed(covariance_type):
    X = blobs(100)
    model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0, tol=0.1).fit(X)
    rows = np.vstack([X[:2], np.full((2, 3), np.nan), X[2:3]])
    assert_allclose(model.score_samples(rows)[2:4], 0.0, atol=1e-15)  # ln Σ π
    assert_allclose(model.predict_proba(rows)[2:4], [model.weights_] * 2, rtol=1e-12)
    assert_array_equal(model.predict(rows)[2:4], [model.weights_.argmax()] * 2)
    assert_allclose(model.impute(rows)[2], model.weights_ @ model.means_, rtol=1e-12)
    assert_allclose(model.score_samples(rows)[[0, 1, 4]], model.score_samples(X[:3]), rtol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_rows_with_nothing_observed_do_not_move_the_optimum(covariance_type):
    X = knock_out(blobs(100))
    padded = np.vstack([X, np.full((30, 3), np.nan)])
    parameters, _ = start(X, 2, covariance_type)
    parameters |= {"reg_covar": 0, "tol": 1e-12, "max_iter": 20000}
    model = EMGaussianMixture(**parameters).fit(X)
    other = EMGaussianMixture(**parameters).fit(padded)
    assert_same_mixture(other, model, rtol=1e-3, atol=1e-3)
    assert_allclose(other.lower_bound_ * 130, model.lower_bound_ * 100, rtol=1e-8)
    assert_allclose(other.lower_bound_, other.score(padded), rtol=0, atol=1e-10)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_every_start_copes_with_missing_values(init_params):
    X = knock_out(corners(150), 0.2)
    model = EMGaussianMixture(
        3, init_params=init_params, n_init=4, random_state=0, max_iter=2000
    ).fit(X)
    assert min(np.diff(model.lower_bounds_)) > -1e-11
    truth = oracles.Mixture(
        np.full(3, 1 / 3), np.array([[0.0, 0], [10, 0], [0, 10]]), 0.25 * np.ones(3), "spherical"
    )
    assert model.lower_bound_ > oracles.score(X, truth)


def test_no_row_is_complete():
    X = blobs(150, n_features=3, seed=1)
    X[np.arange(150), np.arange(150) % 3] = np.nan
    parameters, mixture = start(X, 2, "full")
    model = run(EMGaussianMixture(**parameters), X, 3)
    assert_same_mixture(model, oracles.em(X, mixture, 3, reg_covar=1e-6), rtol=1e-7, atol=1e-9)
    default = EMGaussianMixture(2, random_state=0, max_iter=3000).fit(X)
    assert_allclose(default.lower_bound_, default.score(X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_one_missing_value_hardly_moves_the_fit(covariance_type):
    X = blobs(400)
    parameters, _ = start(X, 2, covariance_type)
    complete = run(EMGaussianMixture(**parameters), X, 20)
    X[7, 1] = np.nan
    one_gone = run(EMGaussianMixture(**parameters), X, 20)
    assert_same_mixture(one_gone, complete, rtol=0.05, atol=0.05)


@pytest.mark.slow
def test_many_patterns_and_many_rows():
    """Every one of the 2⁵ − 1 patterns, over more rows than one block holds."""
    X = knock_out(blobs(6000, n_features=5, n_components=2), 0.5)
    assert len(np.unique(np.isnan(X), axis=0)) == 31
    parameters, mixture = start(X, 2, "full")
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X, 1)
    assert_same_mixture(model, oracles.em_step(X, mixture), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_missing_values_far_from_the_origin(offset):
    X = knock_out(np.round(blobs(100) * 64) / 64)  # so that adding 1e8 and taking it away is exact
    parameters, mixture = start(X, 2, "full")
    parameters["means_init"] = mixture.means + offset
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X + offset, 5)
    expected = oracles.em(X, mixture, 5)
    assert_allclose(model.weights_, expected.weights, rtol=1e-5)
    assert_allclose(model.means_ - offset, expected.means, rtol=1e-5, atol=1e-6)
    assert_allclose(model.covariances_, expected.covariances, rtol=1e-5, atol=1e-6)


def test_missing_values_and_mixed_units():
    X = knock_out(blobs(100))
    units = np.array([1e-6, 1.0, 1e6])
    parameters, mixture = start(X, 2, "full")
    parameters["means_init"] = mixture.means * units
    parameters["precisions_init"] = parameters["precisions_init"] / np.outer(units, units)
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X * units, 5)
    expected = oracles.em(X, mixture, 5)
    assert_allclose(model.means_ / units, expected.means, rtol=1e-7, atol=1e-9)
    assert_allclose(
        model.covariances_ / np.outer(units, units), expected.covariances, rtol=1e-7, atol=1e-9
    )


def test_float32_with_missing_values():
    X = knock_out(blobs(200)).astype(np.float32)
    parameters, mixture = start(X, 2, "full")
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X, 3)
    assert_same_mixture(model, oracles.em(X, mixture, 3), rtol=1e-5, atol=1e-5)
    filled = model.impute(X)
    assert filled.dtype == model.score_samples(X).dtype == np.float32
    seen = ~np.isnan(X)
    assert filled[seen].tobytes() == X[seen].tobytes()


def test_column_without_values_is_named():
    X = blobs(50)
    model = EMGaussianMixture(2, random_state=0).fit(X)
    state = state_of(model)
    X[:, 1] = np.nan
    with pytest.raises(ValueError, match=r"column.* 1\b|feature.* 1\b"):
        model.fit(X)
    assert_same_state(model, state)
    frame = pd.DataFrame(X, columns=["height", "girth", "weight"])
    with pytest.raises(ValueError, match="girth"):
        EMGaussianMixture(2).fit(frame)
    assert np.isfinite(model.score_samples(X)).all()  # only fit needs a value in every column


def test_column_seen_only_in_rows_of_weight_zero_is_named():
    X = blobs(50)
    X[:40, 2] = np.nan
    weight = np.r_[np.ones(40), np.zeros(10)]
    with pytest.raises(ValueError, match=r"column.* 2\b|feature.* 2\b"):
        EMGaussianMixture(2, random_state=0).fit(X, sample_weight=weight)


def test_missing_in_a_data_frame():
    X = knock_out(blobs(80))
    names = ["a", "b", "c"]
    parameters, _ = start(X, 2, "full")
    model = run(EMGaussianMixture(**parameters), X, 5)
    nullable = pd.DataFrame(X, columns=names).astype("Float64")
    assert nullable.isna().to_numpy().any()
    null = pl.DataFrame(X, schema=names).fill_nan(None)
    assert null.null_count().to_numpy().sum() > 0
    for frame in (pd.DataFrame(X, columns=names), nullable, null):
        other = run(EMGaussianMixture(**parameters), frame, 5)
        assert_same_mixture(other, model, rtol=1e-12)
        assert_allclose(other.score_samples(frame), model.score_samples(X), rtol=1e-12)


@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize(
    "method",
    ["fit", "partial_fit", "fit_predict", "score", "score_samples", "predict", "predict_proba",
     "transform", "impute", "bic", "aic", "icl"],
)  # fmt: skip
def test_infinity_is_an_error_everywhere(method, value):
    X = knock_out(blobs(50))
    model = EMGaussianMixture(2, random_state=0, tol=0.1).fit(X)
    state = state_of(model)
    X[3, 1] = value
    with pytest.raises(ValueError, match="infinity"):
        getattr(model, method)(X)
    assert_same_state(model, state)


def far_clusters(seed, n_features, share=0.25):
    """Three clusters 8 standard deviations apart, with missing values, and their means."""
    rng = np.random.default_rng(seed)
    means = 8.0 * np.eye(3, n_features) if n_features > 2 else np.array([[0, 0], [8, 0], [0, 8.0]])
    X = means[rng.integers(3, size=300)] + rng.normal(size=(300, n_features))
    X[rng.random(X.shape) < share] = np.nan
    return X, means


@pytest.mark.parametrize("n_features", [2, 4])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++"])
def test_separate_clusters_are_found_from_one_start(init_params, covariance_type, n_features):
    """A start from rows with gaps must not be wide in the features that these rows lack."""
    for seed in range(4):
        X, means = far_clusters(seed, n_features)
        model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=seed)
        found = clone(model).set_params(init_params=init_params).fit(X)
        best = clone(model).set_params(weights_init=np.full(3, 1 / 3), means_init=means).fit(X)
        assert found.lower_bound_ > best.lower_bound_ - 0.01


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++"])
def test_separate_clusters_are_found_by_variational_inference(init_params):
    for seed in range(4):
        X, means = far_clusters(seed, 2)
        found = BayesianMixtureSVI(3, init_params=init_params, random_state=seed).fit(X)
        order = np.lexsort(found.means_.round(-1).T[::-1])
        assert_allclose(found.means_[order], means[np.lexsort(means.T[::-1])], atol=0.6)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_draws_of_missing_values_have_their_conditional_moments(covariance_type):
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(2, 3, 3))
    covariances = {
        "full": roots @ roots.transpose(0, 2, 1) + 0.3 * np.eye(3),
        "tied": roots[0] @ roots[0].T + 0.3 * np.eye(3),
        "diag": np.array([[1.0, 2.0, 0.5], [0.3, 1.0, 2.0]]),
        "spherical": np.array([1.0, 0.4]),
    }[covariance_type]
    means = [[0.0, 0.0, 0.0], [1.0, 2.0, -3.0]]
    mixture = EMGaussianMixture.from_parameters([0.6, 0.4], means, covariances, covariance_type)
    n = 20_000
    X = np.full((3 * n, 3), np.nan)
    X[:n, 1], X[n : 2 * n, [0, 2]] = 0.8, [0.5, -1.0]
    X = X[rng.permutation(3 * n)]  # patterns in no order
    filled = mixture.impute(X, draw=True, random_state=0)
    observed = ~np.isnan(X)
    assert_array_equal(filled[observed], X[observed])
    for features, values in (([1], [0.8]), ([0, 2], [0.5, -1.0]), ([], [])):
        of = (observed == np.isin(np.arange(3), features)).all(axis=1)
        exact = mixture.conditional(features, values) if features else mixture
        draws = filled[of][:, np.setdiff1d(np.arange(3), features)]
        mean = exact.weights_ @ exact.means_
        expected, _ = exact.sample(200_000, random_state=1)
        assert_allclose(draws.mean(axis=0), mean, atol=0.07)
        assert_allclose(np.cov(draws.T), np.cov(expected.T), atol=0.2)
    assert_array_equal(filled, mixture.impute(X, draw=True, random_state=0))
    assert (filled != mixture.impute(X, draw=True, random_state=1)).any()


def test_draws_that_are_no_choice_are_an_error():
    mixture = EMGaussianMixture.from_parameters([1.0], [[0.0, 0.0]], [1.0], "spherical")
    with pytest.raises(ValueError, match="draw='yes': must be one of True, False"):
        mixture.impute([[0.0, np.nan]], draw="yes")
    rows = np.array([[0.0, 1.0]], dtype=np.float32)
    assert mixture.impute(rows, draw=True).dtype == np.float32
