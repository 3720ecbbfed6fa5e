"""Compiled densities and statistics of Gaussian states, against SciPy and sums."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

from skvae.chain import kernels_gaussian as kernels
from skvae.gaussian.covariance import STRUCTURES
from tests.hmm.problems import known_covariances

SIZES = [(1, 1), (1, 4), (3, 1), (5, 4), (16, 3)]


def problem(kind, n_components, n_features, offset, seed=0):
    """(rows (n, D), means, covariances, factors)."""
    rng = np.random.default_rng(seed)
    means = offset + 3.0 * rng.normal(size=(n_components, n_features))
    covariances = known_covariances(kind, n_components, n_features, seed)
    X = means[rng.integers(n_components, size=600)] + rng.normal(size=(600, n_features))
    return X, means, covariances, STRUCTURES[kind].precisions_cholesky(covariances)


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_log_densities_are_those_of_scipy(kind, sizes, offset):
    X, means, covariances, factors = problem(kind, *sizes, offset)
    compute = kernels.full_log_density if kind == "full" else kernels.diagonal_log_density
    out = np.empty((len(means), len(X)))
    compute(np.ascontiguousarray(X.T), means, factors, out)
    for found, mean, covariance in zip(out, means, covariances, strict=True):
        # About the mean: a difference from a large offset is exact there.
        expected = multivariate_normal.logpdf(X - mean, np.zeros(len(mean)), covariance)
        assert_allclose(found, expected, rtol=1e-11)


@pytest.mark.parametrize("kind", ["full", "diag"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_statistics_are_sums_about_the_means(kind, sizes, offset):
    X, means, _, factors = problem(kind, *sizes, offset)
    resp = np.random.default_rng(1).uniform(size=(len(X), len(means) + 2))
    counts, sums, scatter = np.zeros(len(means)), np.zeros_like(means), np.zeros_like(factors)
    compute = kernels.full_statistics if kind == "full" else kernels.diagonal_statistics
    compute(np.ascontiguousarray(X.T), means, resp, counts, sums, scatter)
    resp, deviation = resp[:, : len(means)], X[:, None] - means
    assert_allclose(counts, resp.sum(axis=0), rtol=1e-13)
    assert_allclose(sums, np.einsum("tk,tki->ki", resp, deviation), rtol=1e-11, atol=1e-10)
    expected = np.einsum("tk,tki,tkj->kij", resp, deviation, deviation)
    if kind == "diag":
        expected = expected.diagonal(axis1=1, axis2=2)
    assert_allclose(scatter, expected, rtol=1e-11, atol=1e-10)


def test_a_row_that_is_too_far_is_impossible():
    out = np.empty((1, 2))
    X = np.array([[0.0, 1e300], [0.0, 0.0]])
    kernels.full_log_density(X, np.zeros((1, 2)), np.eye(2)[None], out)
    assert_allclose(out[0], [-np.log(2 * np.pi), -np.inf])
    kernels.diagonal_log_density(X, np.zeros((1, 2)), np.ones((1, 2)), out)
    assert_allclose(out[0], [-np.log(2 * np.pi), -np.inf])


@pytest.mark.parametrize("kind", ["full", "diag"])
def test_results_do_not_depend_on_places_in_memory(kind):
    """The compiler may make two versions of a loop and choose by the distances of the arrays."""
    rng = np.random.default_rng(0)
    n, n_features, n_states = 218, 3, 3
    X, resp = rng.normal(size=(n_features, n)), rng.dirichlet(np.ones(n_states), size=n)
    means = rng.normal(size=(n_states, n_features))
    fill = kernels.full_statistics if kind == "full" else kernels.diagonal_statistics
    shapes = (n_states,), means.shape, (*means.shape, n_features)[: 3 if kind == "full" else 2]
    results, kept = set(), []
    for _ in range(5000):
        kept = [np.empty(size) for size in rng.integers(1, 600, size=3)] + kept[:90]
        found = [np.zeros(shape) for shape in shapes]
        fill(X.copy(), means, resp.copy(), *found)
        results.add(b"".join(array.tobytes() for array in found))
    assert len(results) == 1
