"""Blocks of rows with missing values: patterns in any order, peaks, distances, two weights."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from skvae.blocks import pattern_order
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.missing import PatternBlock, missing_blocks
from tests.oracles import conditional_moments
from tests.problems import COVARIANCE_TYPES, blobs, knock_out, start

K, D = 2, 3


def kernel_and_rows(kind, n=40):
    X = knock_out(blobs(n, D, K), 0.5)
    X = X[np.isnan(X).any(axis=1)]
    mixture = start(blobs(200, D, K), K, kind)[1]
    matrices = {"full": mixture.covariances, "tied": mixture.covariances}
    factors = (
        np.swapaxes(np.linalg.inv(np.linalg.cholesky(matrices[kind])), -1, -2)
        if kind in matrices
        else 1.0 / np.sqrt(mixture.covariances)
    )
    spread = np.zeros(D), np.ones(D)
    kernel = gaussian_kernel(kind, mixture.means, factors, np.array([0.5, -1.0]), lambda: spread)
    return kernel, mixture, X


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_peaks_and_distances(kind):
    kernel, mixture, X = kernel_and_rows(kind)
    peak, distance = np.empty((2, len(X), K))
    for rows, block in missing_blocks(kernel, X):
        peak[rows], distance[rows] = block.peak().T, block.distance().T
    for k in range(K):
        for i, row in enumerate(X):
            seen = ~np.isnan(row)
            matrix = mixture.matrices[k][np.ix_(seen, seen)]
            at_mean = multivariate_normal(cov=matrix).logpdf(np.zeros(seen.sum()))
            deviation = (row - mixture.means[k])[seen]
            expected = deviation @ np.linalg.solve(matrix, deviation)
            np.testing.assert_allclose(peak[i, k], at_mean + kernel.offsets[k], rtol=1e-10)
            np.testing.assert_allclose(distance[i, k], expected, rtol=1e-10)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_conditional_covariances_may_have_weights_of_their_own(kind):
    kernel, mixture, X = kernel_and_rows(kind)
    resp, other = np.random.default_rng(0).uniform(size=(2, K, len(X)))
    sums = kernel.sums()
    for rows, block in missing_blocks(kernel, X):
        block.accumulate(sums, resp[:, rows], conditional=other[:, rows])
    full = np.zeros((K, D, D))
    for k in range(K):
        for i, row in enumerate(X):
            mean, rest = conditional_moments(row, mixture.means[k], mixture.matrices[k])
            deviation = mean - mixture.means[k]
            full[k] += resp[k, i] * np.outer(deviation, deviation) + other[k, i] * rest
    diagonal = np.diagonal(full, axis1=1, axis2=2)
    expected = {
        "full": full,
        "tied": full.sum(axis=0),
        "diag": diagonal,
        "spherical": diagonal.mean(axis=1),
    }[kind]
    np.testing.assert_allclose(sums.scatter, expected, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(sums.counts, resp.sum(axis=1))


def test_rows_of_one_pattern_are_brought_together_whatever_their_order():
    kernel, _, X = kernel_and_rows("full", 300)
    n_patterns = len(np.unique(np.isnan(X), axis=0))
    taken = []
    for rows, block in missing_blocks(kernel, X):
        assert isinstance(block, PatternBlock)
        np.testing.assert_array_equal(block.observed.T, ~np.isnan(X[rows]))
        taken.append((np.arange(len(X))[rows], len(block.valid)))
    assert sum(runs for _, runs in taken) == n_patterns
    np.testing.assert_array_equal(np.sort(np.concatenate([r for r, _ in taken])), np.arange(len(X)))
    ordered = X[pattern_order(X)]
    assert all(isinstance(rows, slice) for rows, _ in missing_blocks(kernel, ordered))
