"""EM of one component: the rows are read at most once, with the result of the usual step."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvae import EMGaussianMixture
from skvae.mixture import em
from tests import oracles
from tests.problems import COVARIANCE_TYPES, assert_same_mixture, blobs, run, start

PASSES = {"full": 1, "tied": 1, "diag": 0, "spherical": 0}


@pytest.fixture
def passes(monkeypatch):
    """Return a list, to which each pass over the rows adds whether it sums statistics."""
    found, method = [], em.expect

    def recorded(*arguments, statistics=True):
        found.append(statistics)
        return method(*arguments, statistics=statistics)

    monkeypatch.setattr(em, "expect", recorded)
    return found


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_fit_reads_the_rows_once(covariance_type, offset, dtype, passes):
    X = (offset + blobs(3000, n_components=2)).astype(dtype)
    parameters, mixture = start(X.astype(float), 1, covariance_type)
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X, 5)
    assert passes == [True] * PASSES[covariance_type]
    assert_same_mixture(model, oracles.em(X.astype(float), mixture, 5), rtol=1e-9, atol=1e-9)
    assert model.lower_bound_ == pytest.approx(model.score(X.astype(float)), abs=1e-10)
    assert_allclose(model.lower_bounds_, model.lower_bound_, rtol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_that_of_the_weighted_rows_wherever_the_mean_is(covariance_type, seed, passes):
    rng, X = np.random.default_rng(seed), blobs(400, n_features=4, n_components=2, seed=seed)
    means, weight = rng.normal(scale=20.0, size=(1, 4)), rng.uniform(0.1, 2.0, 400)
    given = {"covariance_type": covariance_type, "means_init": means}
    first = EMGaussianMixture(1, **given, max_iter=0).fit(X, sample_weight=weight)
    assert_allclose(first.means_, means)
    assert first.lower_bound_ == pytest.approx(first.score(X, sample_weight=weight), rel=1e-12)
    fitted = run(EMGaussianMixture(1, **given), X, 1, sample_weight=weight)
    assert fitted.lower_bound_ == pytest.approx(fitted.score(X, sample_weight=weight), rel=1e-12)
    assert_allclose(fitted.means_[0], np.average(X, axis=0, weights=weight), rtol=1e-12)
    assert passes == [True] * (2 * PASSES[covariance_type])


def test_the_bound_of_a_nearly_singular_covariance_is_computed_from_the_rows(passes):
    """Correlation 1 − 1e-9: products of the scatter with the precision cancel."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=300)
    X = np.column_stack([x, x + 3e-5 * rng.normal(size=300)])
    model = EMGaussianMixture(1, reg_covar=0).fit(X)
    assert passes.count(True) == 1
    assert passes.count(False) >= 1
    assert model.lower_bound_ == pytest.approx(model.score(X), abs=1e-12)
    assert_allclose(model.covariances_[0], oracles.precise_moments(X)[1], rtol=1e-12)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_rows_with_a_missing_value_are_read_in_each_step(covariance_type, passes):
    X = blobs(200, n_components=1)
    X[::7, 1] = np.nan
    parameters = {"covariance_type": covariance_type, "reg_covar": 0}
    model = run(EMGaussianMixture(1, **parameters), X, 3)
    assert passes == [True, True, True, False]
    assert model.lower_bound_ == pytest.approx(model.score(X), rel=1e-12)


@pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
def test_a_mean_that_is_rounded_counts_in_the_bound(covariance_type, passes):
    """At 1e12 the mean is rounded by 6e-5 standard deviations, where S has its least value."""
    X = 1e12 + np.random.default_rng(1).normal(size=(500, 3))
    model = EMGaussianMixture(1, covariance_type=covariance_type).fit(X)
    assert True in passes
    deviation = X - model.means_
    variances = np.broadcast_to(model.covariances_.reshape(1, -1), (1, 3))
    density = -0.5 * (np.log(2 * np.pi * variances) + deviation**2 / variances).sum(axis=1)
    assert model.lower_bound_ == pytest.approx(density.mean(), abs=1e-12)
