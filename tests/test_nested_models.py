"""Models that contain one another must agree where they meet."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal, norm

from skvae import EMGaussianMixture
from tests import oracles
from tests.problems import COVARIANCE_TYPES, blobs, knock_out, run, start


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_one_component_is_the_gaussian_by_maximum_likelihood(covariance_type):
    X = blobs(200, n_components=4)
    model = EMGaussianMixture(1, covariance_type=covariance_type, reg_covar=0).fit(X)
    covariance = np.cov(X.T, bias=True)
    expected = {
        "full": covariance[None],
        "tied": covariance,
        "diag": np.diag(covariance)[None],
        "spherical": [np.trace(covariance) / 3],
    }[covariance_type]
    assert_allclose(model.weights_, [1.0], rtol=1e-14)
    assert_allclose(model.means_, [X.mean(axis=0)], rtol=1e-12)
    assert_allclose(model.covariances_, expected, rtol=1e-11)


def test_one_full_component_scores_as_scipy():
    X = blobs(200)
    model = EMGaussianMixture(1, reg_covar=0).fit(X)
    density = multivariate_normal(X.mean(axis=0), np.cov(X.T, bias=True))
    assert_allclose(model.score_samples(X), density.logpdf(X), rtol=1e-11)


def test_in_one_dimension_the_structures_are_one():
    X = blobs(300, n_features=1)
    models = {}
    for covariance_type in ("full", "diag", "spherical"):
        parameters, _ = start(X, 3, covariance_type)
        models[covariance_type] = run(EMGaussianMixture(**parameters), X, 20)
    for covariance_type in ("full", "diag"):
        assert_allclose(
            models[covariance_type].covariances_.ravel(),
            models["spherical"].covariances_,
            rtol=1e-9,
        )
        assert_allclose(models[covariance_type].means_, models["spherical"].means_, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_equal_components_stay_one_gaussian(covariance_type):
    X = blobs(200)
    parameters, _ = start(X, 1, covariance_type)
    parameters["n_components"] = 3
    parameters["weights_init"] = [0.2, 0.3, 0.5]
    parameters["means_init"] = np.repeat(parameters["means_init"], 3, axis=0)
    if covariance_type != "tied":
        parameters["precisions_init"] = np.repeat(parameters["precisions_init"], 3, axis=0)
    model = run(EMGaussianMixture(**parameters), X, 5)
    single = EMGaussianMixture(1, covariance_type=covariance_type).fit(X)
    assert_allclose(model.weights_, [0.2, 0.3, 0.5], rtol=1e-10)
    assert_allclose(model.score_samples(X), single.score_samples(X), rtol=1e-9)


def test_a_richer_covariance_never_fits_worse():
    X = blobs(400, seed=5)
    _, mixture = start(X, 3, "spherical")
    eye = np.eye(3)
    precision = 1 / mixture.covariances
    starts = {
        "spherical": precision,
        "diag": precision[:, None] * np.ones(3),
        "full": precision[:, None, None] * eye,
    }
    bounds = {}
    for covariance_type, precisions in starts.items():
        model = EMGaussianMixture(
            3,
            covariance_type=covariance_type,
            weights_init=mixture.weights,
            means_init=mixture.means,
            precisions_init=precisions,
            tol=1e-7,
            max_iter=5000,
        )
        bounds[covariance_type] = model.fit(X).lower_bound_
    assert bounds["spherical"] < bounds["diag"] < bounds["full"]


def test_monotone_missing_values_have_a_closed_form():
    """Anderson (1957): the likelihood factors into p(x₁) over all rows and p(x₂ | x₁) over some.

    J. Amer. Statist. Assoc. 52, 200-203: the maximum is the moments of x₁ in all rows and the
    regression of x₂ on x₁ in the complete ones.
    """
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 1.5, size=120)
    y = 1.0 - 0.8 * x + rng.normal(scale=0.5, size=120)
    seen = x > 1.0  # missing at random: it depends on what is always observed
    X = np.column_stack([x, np.where(seen, y, np.nan)])
    model = EMGaussianMixture(1, reg_covar=0, tol=1e-13, max_iter=5000).fit(X)

    slope, intercept = np.polyfit(x[seen], y[seen], 1)
    noise = np.mean((y[seen] - intercept - slope * x[seen]) ** 2)
    mean = np.array([x.mean(), intercept + slope * x.mean()])
    cross = slope * x.var()
    covariance = np.array([[x.var(), cross], [cross, noise + slope * cross]])
    assert_allclose(model.means_[0], mean, rtol=1e-6)
    assert_allclose(model.covariances_[0], covariance, rtol=1e-5)
    log_likelihood = norm.logpdf(x, x.mean(), x.std()).sum()
    log_likelihood += norm.logpdf(y[seen], intercept + slope * x[seen], np.sqrt(noise)).sum()
    assert_allclose(model.score(X), log_likelihood / len(X), rtol=1e-10)


@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_missing_values_of_independent_features_drop_out(covariance_type):
    """With one component and independent features the optimum is that of the observed entries."""
    X = knock_out(blobs(200))
    model = EMGaussianMixture(
        1, covariance_type=covariance_type, reg_covar=0, tol=1e-13, max_iter=5000
    ).fit(X)
    assert_allclose(model.means_[0], np.nanmean(X, axis=0), rtol=1e-6)
    variances = np.nanvar(X, axis=0)
    if covariance_type == "diag":
        assert_allclose(model.covariances_[0], variances, rtol=1e-5)
    else:
        seen = (~np.isnan(X)).sum(axis=0)
        assert_allclose(model.covariances_[0], seen @ variances / seen.sum(), rtol=1e-5)


def test_a_joint_mixture_with_an_independent_column_is_a_sum_of_scores():
    X = blobs(300, n_features=2)
    z = np.random.default_rng(9).normal(size=(300, 1))
    left = EMGaussianMixture(3, random_state=0, tol=1e-5, max_iter=1000).fit(X)
    right = EMGaussianMixture(1).fit(z)
    covariances = np.zeros((3, 3, 3))
    covariances[:, :2, :2] = left.covariances_
    covariances[:, 2, 2] = right.covariances_[0, 0, 0]
    means = np.column_stack([left.means_, np.full(3, right.means_[0, 0])])
    joint = EMGaussianMixture.from_parameters(left.weights_, means, covariances, "full")
    scores = left.score_samples(X) + right.score_samples(z)
    assert_allclose(joint.score_samples(np.hstack([X, z])), scores, rtol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_fit_is_a_fixed_point_of_the_exact_step(covariance_type):
    X = blobs(200, separation=2.0)
    parameters, _ = start(X, 2, covariance_type)
    model = EMGaussianMixture(**parameters, reg_covar=0, tol=1e-13, max_iter=20000).fit(X)
    fitted = oracles.mixture_of(model)
    after = oracles.em_step(X, fitted)
    for left, right in zip(after[:3], fitted[:3], strict=True):
        assert_allclose(left, right, rtol=1e-4, atol=1e-4)
