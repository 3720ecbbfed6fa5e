"""What only looks like an edge: components that revive, values and weights near overflow."""

import warnings

import numpy as np
import pytest

from skvae import EMGaussianMixture
from tests import oracles
from tests.oracles import Mixture
from tests.problems import assert_same_mixture, blobs, on_the_floor, run


def test_component_with_hardly_a_row_revives_as_exact_em_says():
    """Its weight is 1e-17 after one step; a cut-off there would freeze it for ever."""
    X = np.r_[np.linspace(-1, 1, 50), np.linspace(-1, 1, 50) + 5][:, None]
    weights, means, variances = np.array([0.5, 0.5]), np.array([[2.5], [12.0]]), np.array([9, 0.25])
    start = Mixture(weights, means, variances, "spherical")
    first = oracles.em(X, start, 1, reg_covar=0.05)
    assert first.weights[1] < 1e-14
    expected = oracles.em(X, start, 200, reg_covar=0.05)
    mixture = EMGaussianMixture(
        2,
        covariance_type="spherical",
        weights_init=weights,
        means_init=means,
        precisions_init=1 / variances,
        reg_covar=0.05,
    )
    assert_same_mixture(run(mixture, X, 200), expected)
    np.testing.assert_allclose(mixture.means_.ravel(), [0.0, 5.0], atol=0.05)


@pytest.mark.parametrize("value", [1e160, 1e200])
def test_values_whose_squares_overflow_are_named(value):
    X = blobs(50)
    X[3, 1] = value
    with pytest.raises(ValueError, match=r"size 1e\+\d+ in feature 1: .* rescale"):
        EMGaussianMixture(2).fit(X)


def test_rows_far_beyond_are_scored_without_a_warning():
    mixture = EMGaussianMixture(2, random_state=0).fit(blobs(100))
    far = np.full((3, 3), 1e200)
    np.testing.assert_array_equal(mixture.score_samples(far), -np.inf)
    np.testing.assert_array_equal(mixture.score_samples(np.full((1, 3), 1e30, "f4")), -np.inf)
    np.testing.assert_allclose(mixture.predict_proba(far), 0.5)
    with pytest.raises(ValueError, match="values="):
        mixture.conditional([0], [1e200])


@pytest.mark.parametrize("unit", [1e18, 1e30, 1e36])
def test_large_float32_is_fitted_as_its_float64_copy(unit):
    X = (blobs(200) * unit).astype(np.float32)
    single = EMGaussianMixture(3, random_state=0).fit(X)
    double = EMGaussianMixture(3, random_state=0).fit(X.astype(np.float64))
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-9)


@pytest.mark.parametrize("factor", [1e-270, 1e-30, 1e200])
def test_scale_of_the_weights_does_not_matter(factor):
    X = blobs(200)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=200)
    one = EMGaussianMixture(2, random_state=0).fit(X, sample_weight=weight)
    other = EMGaussianMixture(2, random_state=0).fit(X, sample_weight=weight * factor)
    assert one.lower_bound_ == pytest.approx(other.lower_bound_, rel=1e-10)


@pytest.mark.parametrize("value", [1e307, 1e-310])
def test_weights_that_lose_digits_are_refused(value):
    with pytest.raises(ValueError, match=r"sample_weight has the largest entry .* rescale"):
        EMGaussianMixture(2).fit(blobs(50), sample_weight=np.full(50, value))


def test_offset_beyond_the_resolution_is_said_to_be_one():
    with pytest.raises(ValueError, match="offset subtracted"):
        EMGaussianMixture(2, reg_covar=0).fit(blobs(50) + 1e16)


def test_masked_values_are_missing_values():
    X = blobs(200)
    mask = np.random.default_rng(0).random(X.shape) < 0.2
    masked = EMGaussianMixture(2, random_state=0).fit(np.ma.array(X, mask=mask))
    missing = EMGaussianMixture(2, random_state=0).fit(np.where(mask, np.nan, X))
    assert masked.lower_bound_ == missing.lower_bound_


@on_the_floor
def test_extrapolation_that_overflows_is_silent():
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(12, 2)), 2, axis=0) * [1.0, 1e5]
    for seed in range(5):
        mixture = EMGaussianMixture(
            4, acceleration="anderson", random_state=seed, max_iter=300, tol=1e-9
        )
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "EM did not converge")
            mixture.fit(X)
        assert (np.diff(mixture.lower_bounds_) >= -1e-9).all()
