"""Student-t emissions against scipy: densities, far tails to fifty digits, limits."""

import mpmath
import numpy as np
import pytest
from scipy.stats import multivariate_t

from skvae.emissions.gaussian import GaussianEmission
from skvae.emissions.student_t import StudentTEmission
from tests.emissions.location_scale_cases import (
    assert_same_normals,
    evaluate,
    log_density,
    matrices,
    summary_of,
)
from tests.emissions.test_gaussian import resp_of
from tests.emissions.test_student_t import DOFS, D, K, emission_of, heavy_rows
from tests.problems import COVARIANCE_TYPES, blobs, knock_out


def oracle_log_density(parameters, X):
    """scipy's multivariate t of the observed values of each row, (n, K)."""
    normals, out = parameters.normals, np.zeros((len(X), parameters.n_components))
    full = matrices(normals.covariance_type, normals.scales, normals.locations.shape)
    for i, row in enumerate(np.asarray(X, dtype=float)):
        seen = ~np.isnan(row)
        for k in range(parameters.n_components if seen.any() else 0):
            mean, matrix = normals.locations[k][seen], full[k][np.ix_(seen, seen)]
            out[i, k] = multivariate_t(mean, matrix, parameters.dofs[k]).logpdf(row[seen])
    return out


# Densities ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_density_is_scipys(kind, missing, dtype):
    parameters, X = emission_of(kind).parameters(), heavy_rows(60).astype(dtype)
    if missing:
        X = knock_out(X, 0.3)
        X[7] = np.nan
    found = log_density(parameters, X)
    np.testing.assert_allclose(found, oracle_log_density(parameters, X), rtol=1e-8, atol=1e-8)
    if missing:
        np.testing.assert_allclose(found[7], 0.0, atol=1e-14)


def precise_log_density(x, mean, variance, dof):
    with mpmath.workdps(50):
        x, mean, dof = mpmath.mpf(x), mpmath.mpf(mean), mpmath.mpf(dof)
        half = (dof + 1) / 2
        constant = mpmath.loggamma(half) - mpmath.loggamma(dof / 2)
        constant -= mpmath.log(dof * mpmath.pi * variance) / 2
        return float(constant - half * mpmath.log1p((x - mean) ** 2 / variance / dof))


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("dof", [0.1, 1.0, 5.0, 1e3, 1e6, 1e12])
def test_density_in_the_far_tail_to_fifty_digits(kind, dof):
    scales = matrices("spherical", 1e-3 * np.ones(2), (2, 1))
    scales = {"full": scales, "tied": scales[0], "diag": scales[0], "spherical": scales[0, 0]}[kind]
    scales = np.repeat(scales, 2, axis=0) if kind in ("diag", "spherical") else scales
    parameters = StudentTEmission.from_parameters([[2.0], [5.0]], scales, dof, kind).parameters()
    X = np.array([[2.0], [2.001], [3.0], [1e3], [1e20], [-1e100], [1e160], [-1e305]])
    expected = [precise_log_density(x, 2.0, 1e-3, dof) for (x,) in X]
    np.testing.assert_allclose(log_density(parameters, X)[:, 0], expected, rtol=1e-11, atol=1e-7)
    np.testing.assert_allclose(log_density(parameters, X[2:])[:, 0], expected[2:], rtol=1e-11)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_distances_that_overflow_are_finite_densities(kind, missing):
    parameters = emission_of(kind).parameters()
    direction = np.array([[1.0, -2.0, 0.5]])
    X = np.concatenate([direction, 1e150 * direction, 1e180 * direction, 1e200 * direction])
    X[:, 1] = np.nan if missing else X[:, 1]
    found = log_density(parameters, X)
    n_observed = 2 if missing else 3
    slope = -(DOFS + n_observed) * np.log(10.0)
    np.testing.assert_allclose(found[2] - found[1], 30 * slope, rtol=1e-10)
    np.testing.assert_allclose(found[3] - found[2], 20 * slope, rtol=1e-10)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_many_dofs_are_the_gaussian(kind, missing):
    student = emission_of(kind, dofs=1e12)
    gaussian = GaussianEmission.from_parameters(student.means_, student.covariances_, kind)
    X, resp = blobs(80, D, K), resp_of(80)
    X = knock_out(X, 0.3) if missing else X
    ours, statistics = evaluate(student.parameters(), X, resp)
    theirs, expected = evaluate(gaussian.parameters(), X, resp)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)
    summary = summary_of(gaussian, X)
    old = student.parameters()._replace(learned=False)
    new = student.maximize(old, statistics, summary)
    wanted = gaussian.maximize(gaussian.parameters(), expected, summary)
    assert_same_normals(new.normals, wanted, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(new.dofs, old.dofs)
