"""Gaussian variational inference against closed forms, quadrature, and a long run of NUTS."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from benchmarks.inference import posteriors
from skvae.inference import gaussian_vi
from skvae.inference.target import LogDensity
from skvae.inference.variational import Bound, Full, MeanField, moment_matched


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("covariance", ["mean_field", "full"])
def test_a_gaussian_is_exact(seed, covariance):
    log_density, mean, truth = posteriors.gaussian(6, seed)
    found = gaussian_vi(log_density, np.zeros(6), covariance=covariance, random_state=0)
    deviation = np.sqrt(np.diag(truth))
    assert_allclose((found.mean - mean) / deviation, 0, atol=1e-4)
    assert_allclose(found.covariance, truth, atol=1e-6 * truth.max())


@pytest.mark.parametrize("seed", range(3))
def test_without_linear_response_mean_field_has_the_conditional_variances(seed):
    log_density, _, truth = posteriors.gaussian(6, seed)
    found = gaussian_vi(log_density, np.zeros(6), linear_response=False, random_state=0)
    conditional = 1 / np.sqrt(np.diag(np.linalg.inv(truth)))
    assert_allclose(found.standard_deviation, conditional, rtol=1e-3)
    full = gaussian_vi(
        log_density, np.zeros(6), covariance="full", linear_response=False, random_state=0
    )
    assert_allclose(full.covariance, truth, atol=1e-3 * truth.max())


@pytest.mark.parametrize("form", [MeanField, Full])
def test_the_gradient_of_the_bound(form):
    log_density, n = posteriors.eight_schools()
    rng = np.random.RandomState(0)
    form = form(n)
    noise = moment_matched(n, 30, rng)
    bound = Bound(LogDensity(log_density, n), np.zeros(n), rng.uniform(1, 2, n), form, noise)
    at = rng.normal(size=form.size) * 0.3
    _, gradient = bound(at)
    for j in range(form.size):
        step = np.zeros(form.size)
        step[j] = 1e-6
        slope = (bound(at + step)[0] - bound(at - step)[0]) / 2e-6
        assert abs(slope - gradient[j]) < 1e-6 * (1 + abs(slope))


def test_a_skewed_density_has_the_mean_of_the_bound():
    """The logarithm of a gamma variable. E_q[e^θ] is closed: the optimum is m + s²/2 = ln a."""

    def log_density(theta):
        return 20 * theta[0] - np.exp(theta[0]), 20 - np.exp(theta)

    found = gaussian_vi(log_density, [0.0], linear_response=False, n_draws=10_000, random_state=0)
    variance = 1 / 20  # of a E[e^θ] s² = 1
    assert_allclose(found.standard_deviation**2, variance, rtol=0.01)
    assert_allclose(found.mean, np.log(20) - variance / 2, atol=1e-3)


def test_logistic_regression_agrees_with_nuts():
    log_density, n = posteriors.logistic_regression()
    reference = posteriors.nuts_reference()["logistic_regression"]
    found = gaussian_vi(log_density, np.zeros(n), random_state=0)
    deviation = np.array(reference["standard_deviation"])
    ratio = found.standard_deviation / deviation
    assert 0.93 < ratio.min() < ratio.max() < 1.07
    # Each of the 30 draws has its share of an error of the mean by chance.
    assert np.abs((found.mean - reference["mean"]) / deviation).max() < 0.3
    assert found.khat < 0.7
    alone = gaussian_vi(log_density, np.zeros(n), linear_response=False, random_state=0)
    assert (alone.standard_deviation / deviation).min() < 0.5
    assert alone.khat > 0.7


def test_eight_schools_agree_with_nuts():
    log_density, n = posteriors.eight_schools()
    reference = posteriors.nuts_reference()["eight_schools"]
    found = gaussian_vi(log_density, np.zeros(n), n_draws=200, random_state=0)
    deviation = np.array(reference["standard_deviation"])
    error = (found.mean - reference["mean"]) / deviation
    assert np.abs(np.delete(error, 1)).max() < 0.15  # all but ln tau, which is skewed
    ratio = np.delete(found.standard_deviation / deviation, 1)
    assert 0.85 < ratio.min() < ratio.max() < 1.15


@pytest.mark.parametrize("n_draws", [4, 20, 30])
def test_moments_of_draws(n_draws):
    noise = moment_matched(5, n_draws, np.random.RandomState(0))
    assert noise.shape == (n_draws, 5)
    assert_allclose(noise.mean(axis=0), 0, atol=1e-12)
    second = noise.T @ noise / n_draws
    assert_allclose(np.diag(second), 1)
    if n_draws >= 10:
        assert_allclose(second, np.eye(5), atol=1e-12)


def test_a_density_without_a_bound():
    """A flat direction: the bound grows with the variance for ever."""

    def log_density(theta):
        return -(theta[0] ** 2) / 2, np.array([-theta[0], 0.0])

    with pytest.raises(ValueError, match="log_density"):
        gaussian_vi(log_density, np.ones(2), random_state=0)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"covariance": "diag"}, "covariance='diag'"),
        ({"n_draws": 1}, "n_draws=1"),
        ({"n_draws": 4, "covariance": "full"}, "n_draws=4: must be >= 6"),
        ({"linear_response": 2}, "linear_response=2"),
        ({"start": []}, "start: must be a vector"),
    ],
)
def test_wrong_arguments(given, text):
    log_density, _, _ = posteriors.gaussian(3, 0)
    arguments = {"start": np.ones(3), "random_state": 0} | given
    with pytest.raises(ValueError, match=text):
        gaussian_vi(log_density, arguments.pop("start"), **arguments)
