"""Data on which textbook float64 formulas cancel, overflow or divide by zero."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMGaussianMixture
from tests import oracles
from tests.oracles import Mixture
from tests.problems import COVARIANCE_TYPES, assert_same_mixture, blobs, on_the_floor, run, start


def init_from(mixture):
    """Constructor parameters that start EM from an oracle's mixture."""
    inverse = np.reciprocal if mixture.covariance_type in ("diag", "spherical") else np.linalg.inv
    return {
        "n_components": len(mixture.weights),
        "covariance_type": mixture.covariance_type,
        "weights_init": mixture.weights,
        "means_init": mixture.means,
        "precisions_init": inverse(mixture.covariances),
    }


def far_needles(covariance_type="full", n_per_cluster=30, seed=0):
    """Two clusters with σ = 1e-3, 1e4 apart: (X, the mixture they were drawn from)."""
    rng = np.random.default_rng(seed)
    means = np.array([[0.0, 0.0], [6e3, -8e3]])
    X = np.repeat(means, n_per_cluster, axis=0) + 1e-3 * rng.normal(size=(2 * n_per_cluster, 2))
    covariances = {
        "full": 1e-6 * np.stack([np.eye(2)] * 2),
        "tied": 1e-6 * np.eye(2),
        "diag": np.full((2, 2), 1e-6),
        "spherical": np.full(2, 1e-6),
    }[covariance_type]
    return rng.permutation(X), Mixture(np.array([0.5, 0.5]), means, covariances, covariance_type)


@pytest.mark.parametrize("offset", [1e4, 1e8])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_unit_variance_comes_back_from_a_far_mean(offset, covariance_type):
    X = offset + blobs(100, n_features=2, n_components=1)
    mean, covariance = oracles.precise_moments(X)
    model = EMGaussianMixture(1, covariance_type=covariance_type, reg_covar=0).fit(X)
    expected = {
        "full": covariance[None],
        "tied": covariance,
        "diag": np.diag(covariance)[None],
        "spherical": [np.trace(covariance) / 2],
    }[covariance_type]
    assert_allclose(model.means_[0], mean, rtol=4e-16)
    assert_allclose(model.covariances_, expected, rtol=1e-9)
    precise = oracles.precise_log_density(X, oracles.mixture_of(model))
    assert_allclose(model.score_samples(X), precise, rtol=1e-8)


def test_steps_far_from_the_origin_agree_with_sixty_digits():
    X = 1e8 + np.round(blobs(60, n_features=2, n_components=2) * 64) / 64
    _, mixture = start(X, 2, "full")
    model = run(EMGaussianMixture(**init_from(mixture), reg_covar=0), X, 2)
    expected = oracles.precise_em_step(X, oracles.precise_em_step(X, mixture))
    # Stored means are exact to 1e-8 at most, and the oracle rounds its own between the two steps.
    assert_allclose(model.weights_, expected.weights, rtol=1e-6)
    assert_allclose(model.means_, expected.means, rtol=1e-15)
    assert_allclose(model.covariances_, expected.covariances, rtol=1e-6)
    precise = oracles.precise_log_density(X, oracles.mixture_of(model))
    assert_allclose(model.score_samples(X), precise, rtol=1e-7)
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_units_from_micro_to_mega(covariance_type):
    X = blobs(100, n_features=5, n_components=2)
    units = 10.0 ** np.array([-6, -3, 0, 3, 6])
    parameters, mixture = start(X, 2, covariance_type)
    plain = run(EMGaussianMixture(**parameters, reg_covar=0), X, 10)
    square = units**2 if covariance_type == "diag" else np.outer(units, units)
    scaled = mixture._replace(means=mixture.means * units, covariances=mixture.covariances * square)
    model = run(EMGaussianMixture(**init_from(scaled), reg_covar=0), X * units, 10)
    assert_allclose(model.weights_, plain.weights_, rtol=1e-8)
    assert_allclose(model.means_ / units, plain.means_, rtol=1e-8, atol=1e-10)
    assert_allclose(model.covariances_ / square, plain.covariances_, rtol=1e-8, atol=1e-10)
    precise = oracles.precise_log_density(X[:10] * units, oracles.mixture_of(model))
    assert_allclose(model.score_samples(X[:10] * units), precise, rtol=1e-9)
    assert_allclose(model.lower_bound_, plain.lower_bound_ - np.log(units).sum(), atol=1e-8)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
@pytest.mark.parametrize("missing", [False, True])
def test_default_fit_in_mixed_units_finds_the_clusters(covariance_type, missing):
    """The floor is relative to each feature: it may not drown those in small units."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=300)
    X = rng.normal(size=(300, 3)) * 0.1 + labels[:, None]
    X *= [1e-6, 1.0, 1e6]
    if missing:
        X[rng.random(300) < 0.2, 1] = np.nan
    model = EMGaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    predicted = model.predict(X)
    assert max(np.mean(predicted == labels), np.mean(predicted != labels)) > 0.99
    spread = np.sqrt([np.diag(m) for m in oracles.mixture_of(model).matrices])
    assert_allclose(spread, [[1e-7, 0.1, 1e5]] * 2, rtol=0.2)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_needles_far_apart_score_right(covariance_type):
    X, mixture = far_needles(covariance_type)
    model = run(EMGaussianMixture(**init_from(mixture), reg_covar=0), X, 3)
    precise = oracles.precise_log_density(X, oracles.mixture_of(model))
    assert_allclose(model.score_samples(X), precise, rtol=0, atol=1e-6)
    assert_allclose(model.lower_bound_, precise.mean(), rtol=0, atol=1e-6)
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)
    assert_allclose(model.weights_, [0.5, 0.5], rtol=1e-12)
    assert_allclose(np.sqrt(np.diag(oracles.mixture_of(model).matrices[0])), 1e-3, rtol=0.3)
    known = EMGaussianMixture.from_parameters(*mixture)
    assert_allclose(known.score_samples(X), oracles.precise_log_density(X, mixture), atol=1e-6)


def test_needles_far_apart_keep_their_covariances():
    X, mixture = far_needles()
    model = run(EMGaussianMixture(**init_from(mixture), reg_covar=0), X, 2)
    expected = oracles.precise_em_step(X, oracles.precise_em_step(X, mixture))
    assert_allclose(model.means_, expected.means, rtol=1e-12, atol=1e-12)
    assert_allclose(model.covariances_, expected.covariances, rtol=1e-6, atol=1e-13)


def test_needles_are_found_by_the_default_start():
    X, mixture = far_needles(n_per_cluster=200)
    model = EMGaussianMixture(2, reg_covar=0, random_state=0).fit(X)
    precise = oracles.precise_log_density(X[:30], oracles.mixture_of(model))
    assert_allclose(model.score_samples(X[:30]), precise, rtol=0, atol=1e-6)
    assert model.lower_bound_ >= oracles.score(X, mixture)


def test_a_needle_in_a_haystack_scores_right():
    """A component with σ = 1e-4 inside one with σ = 1e4: the guard is per component."""
    rng = np.random.default_rng(0)
    X = np.vstack([1e4 * rng.normal(size=(50, 2)), [3e3, 4e3] + 1e-4 * rng.normal(size=(50, 2))])
    covariances = np.stack([1e8 * np.eye(2), 1e-8 * np.eye(2)])
    mixture = Mixture(np.array([0.5, 0.5]), np.array([[0.0, 0], [3e3, 4e3]]), covariances, "full")
    model = run(EMGaussianMixture(**init_from(mixture), reg_covar=0), X, 2)
    precise = oracles.precise_log_density(X, oracles.mixture_of(model))
    assert_allclose(model.score_samples(X), precise, rtol=0, atol=1e-6)
    expected = oracles.precise_em_step(X, oracles.precise_em_step(X, mixture))
    assert_allclose(model.covariances_, expected.covariances, rtol=1e-6, atol=1e-13)


def test_nearly_singular_covariances_score_right():
    """Correlation 1 − 1e-9: the condition number is 1e9, and so is the amplification."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    X = np.column_stack([x, x + 3e-5 * rng.normal(size=200)])
    model = EMGaussianMixture(1, reg_covar=0).fit(X)
    mean, covariance = oracles.precise_moments(X)
    assert_allclose(model.covariances_[0], covariance, rtol=1e-12)
    precise = oracles.precise_log_density(
        X, Mixture(np.ones(1), mean[None], covariance[None], "full")
    )
    assert_allclose(model.score_samples(X), precise, rtol=1e-5)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_rows_far_from_everything_have_finite_scores(covariance_type):
    X = blobs(200)
    model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0, tol=0.1).fit(X)
    for distance in (1e3, 1e8, 1e100):
        rows = distance * np.array([[1.0, 1.0, 1.0], [0.0, -1.0, 0.0]])
        scores = model.score_samples(rows)
        precise = oracles.precise_log_density(rows, oracles.mixture_of(model))
        assert_allclose(scores, precise, rtol=1e-9)
        resp = model.predict_proba(rows)
        assert np.isfinite(resp).all()
        assert_allclose(resp.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_rows_too_far_for_a_square_are_impossible_and_leave_no_nan(covariance_type):
    X = blobs(200)
    model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0, tol=0.1).fit(X)
    rows = np.vstack([X[:1], [[1e200, 0.0, -1e200]], X[1:2]])
    with np.errstate(
        over="ignore", invalid="ignore"
    ):  # NumPy may say so, the result may not show it
        scores = model.score_samples(rows)
        resp = model.predict_proba(rows)
    assert scores[1] == -np.inf
    assert_allclose(scores[[0, 2]], model.score_samples(X[:2]), rtol=1e-12)
    assert_allclose(resp.sum(axis=1), 1.0, rtol=1e-12)
    assert (resp >= 0).all()


@pytest.mark.parametrize("covariance_type", ["full", "tied"])
def test_matrices_are_exactly_symmetric(covariance_type):
    X = blobs(500, n_features=7)
    for rows in (X, np.where(X > 4, np.nan, X)):
        model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0, max_iter=2000)
        model.fit(rows)
        for matrices in (model.covariances_, model.precisions_):
            assert_array_equal(matrices, np.swapaxes(matrices, -1, -2))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_duplicates_are_harmless(covariance_type):
    X = np.repeat(blobs(40), 25, axis=0)
    parameters, mixture = start(X, 3, covariance_type)
    model = run(EMGaussianMixture(**parameters), X, 5)
    assert_same_mixture(model, oracles.em(X, mixture, 5, reg_covar=1e-6), rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e3, 1e6])
@on_the_floor
def test_bound_never_falls_on_duplicates_in_any_unit(covariance_type, unit):
    """Components that end flat on the floor, among rows that spread widely above it."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X = np.repeat(unit * rng.normal(size=(12, 4)), 5, axis=0)
        for init_params in ("kmeans", "random"):
            model = EMGaussianMixture(
                8,
                covariance_type=covariance_type,
                init_params=init_params,
                random_state=seed,
                max_iter=2000,
            ).fit(X)
            assert min(np.diff(model.lower_bounds_), default=0.0) > -1e-7
            assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@on_the_floor
def test_a_few_distinct_rows_end_on_the_floor(covariance_type):
    X = np.repeat([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]], 20, axis=0)
    model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0, n_init=5).fit(X)
    assert_allclose(model.weights_, 1 / 3, rtol=1e-9)
    floor = oracles.covariance_floor(X, 1e-6)
    for matrix in oracles.mixture_of(model).matrices:
        assert_allclose(matrix, np.diag(floor), rtol=1e-6, atol=1e-15)
    expected = np.log(1 / 3) - np.log(2 * np.pi) - 0.5 * np.log(floor).sum()
    assert_allclose(model.score_samples(X), expected, rtol=1e-9)
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e8])
@pytest.mark.parametrize("missing", [False, True])
def test_constant_column(covariance_type, value, missing):
    X = blobs(200, n_features=2, n_components=2)
    X = np.column_stack([X, np.full(200, value)])
    if missing:
        X[::7, 2] = np.nan
    model = EMGaussianMixture(2, covariance_type=covariance_type, random_state=0, n_init=3).fit(X)
    assert min(np.diff(model.lower_bounds_), default=0) > -1e-10
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)
    assert_allclose(model.means_[:, 2], value, rtol=1e-12, atol=1e-9)
    if covariance_type != "spherical":
        variances = [matrix[2, 2] for matrix in oracles.mixture_of(model).matrices]
        expected = oracles.covariance_floor(X, 1e-6)[2]
        assert_allclose(variances, expected, rtol=0.02 if missing else 1e-6)
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, -3.0, 1e8])
def test_all_rows_alike(value):
    X = np.full((10, 2), value)
    model = EMGaussianMixture(1).fit(X)
    assert_allclose(model.means_, [[value, value]], rtol=1e-15)
    assert_allclose(model.covariances_, [1e-6 * np.eye(2)], rtol=1e-9)


def test_component_of_weight_zero_is_as_if_absent():
    X = blobs(50)
    model = EMGaussianMixture.from_parameters(
        [0.0, 1.0], [[0.0, 0, 0], [1.0, 2, 3]], np.stack([np.eye(3)] * 2), "full"
    )
    single = EMGaussianMixture.from_parameters([1.0], [[1.0, 2, 3]], [np.eye(3)], "full")
    assert_allclose(model.score_samples(X), single.score_samples(X), rtol=1e-12)
    assert_allclose(model.predict_proba(X), [[0.0, 1.0]] * 50)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_float32_is_accumulated_in_float64(covariance_type, offset):
    X = (offset + blobs(5000, n_components=2)).astype(np.float32)
    parameters, mixture = start(X.astype(float), 2, covariance_type)
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X, 3)
    expected = oracles.em(X, mixture, 3)
    assert_same_mixture(model, expected, rtol=2e-5, atol=2e-5)
    assert_allclose(model.score(X), oracles.score(X, expected), rtol=1e-5)
    assert_allclose(model.lower_bound_, oracles.score(X, expected), rtol=1e-6)


def test_float32_in_float32_out():
    X = blobs(100)
    for model in (
        EMGaussianMixture(2, random_state=0).fit(X.astype(np.float32)),
        EMGaussianMixture(2, random_state=0).fit(X),
    ):
        for method in ("score_samples", "predict_proba", "transform", "impute"):
            for dtype in (np.float32, np.float64):
                assert getattr(model, method)(X.astype(dtype)).dtype == dtype
        assert_allclose(
            model.score_samples(X.astype(np.float32)), model.score_samples(X), rtol=1e-4, atol=1e-4
        )
