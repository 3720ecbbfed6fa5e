r"""Log-densities of few rows under Gaussian states, and their statistics, compiled.

With :math:`\Sigma_k^{-1} = U_k U_k^T`,

.. math:: \ln N(x \mid m_k, \Sigma_k) = \sum_j \ln U_{k,jj} - \tfrac{D}{2} \ln 2\pi
          - \tfrac{1}{2} \lVert U_k^T (x - m_k) \rVert^2 .

The same as :mod:`skvae.gaussian.kernel` computes for any number of rows, features and components.
There a matrix product does the work; here nothing is prepared, which takes less time where all rows
fit the caches and features are few. All components use the direct way, whose error does not grow
with the distance between them.

Features come first, ``X`` is (D, n): the innermost loops go over the rows, and are vectorised.
"""

import numpy as np

from skvae.chain.compilation import compiled

LOG_2PI = 1.8378770664093453


@compiled
def full_log_density(X, means, factors, out):
    """Fill ``out`` (K, n) with the log-densities under full covariances.

    Parameters
    ----------
    X : ndarray of shape (n_features, n)
        The rows.
    means : ndarray of shape (K, n_features)
        The means.
    factors : ndarray of shape (K, n_features, n_features)
        U, upper triangular.
    out : ndarray of shape (K, n)
        Filled.
    """
    n_features, n_rows = X.shape
    white = np.empty(n_rows)
    for k in range(len(means)):
        constant = -0.5 * n_features * LOG_2PI
        for j in range(n_features):
            constant += np.log(factors[k, j, j])
        for t in range(n_rows):
            out[k, t] = constant
        for j in range(n_features):
            for t in range(n_rows):
                white[t] = 0.0
            for i in range(j + 1):
                u, m = factors[k, i, j], means[k, i]
                for t in range(n_rows):
                    white[t] += u * (X[i, t] - m)
            for t in range(n_rows):
                out[k, t] -= 0.5 * (white[t] * white[t])


@compiled
def diagonal_log_density(X, means, factors, out):
    """Fill ``out`` (K, n) as :func:`full_log_density`, with ``factors`` (K, n_features)."""
    n_features, n_rows = X.shape
    for k in range(len(means)):
        constant = -0.5 * n_features * LOG_2PI
        for j in range(n_features):
            constant += np.log(factors[k, j])
        for t in range(n_rows):
            out[k, t] = constant
        for j in range(n_features):
            u, m = factors[k, j], means[k, j]
            for t in range(n_rows):
                white = u * (X[j, t] - m)
                out[k, t] -= 0.5 * (white * white)


@compiled
def full_statistics(X, means, resp, counts, sums, scatter):
    """Fill the statistics of rows about the means.

    Parameters
    ----------
    X, means
        As for :func:`full_log_density`.
    resp : ndarray of shape (n, >= K)
        Responsibilities times weights.
    counts : ndarray of shape (K,)
        Filled with the sums of the responsibilities.
    sums : ndarray of shape (K, n_features)
        Filled with the weighted sums of deviations from the means.
    scatter : ndarray of shape (K, n_features, n_features)
        Filled with the weighted sums of their products.
    """
    n_features, n_rows = X.shape
    weight, deviation = np.empty(n_rows), np.empty(n_rows)
    for k in range(len(means)):
        total = 0.0
        for t in range(n_rows):
            weight[t] = resp[t, k]
            total += weight[t]
        counts[k] = total
        for i in range(n_features):
            total, m = 0.0, means[k, i]
            for t in range(n_rows):
                deviation[t] = weight[t] * (X[i, t] - m)
                total += deviation[t]
            sums[k, i] = total
            for j in range(i, n_features):
                total, m = 0.0, means[k, j]
                for t in range(n_rows):
                    total += deviation[t] * (X[j, t] - m)
                scatter[k, i, j] = total
                scatter[k, j, i] = total


@compiled
def diagonal_statistics(X, means, resp, counts, sums, scatter):
    """Fill the statistics as :func:`full_statistics`, with ``scatter`` (K, n_features)."""
    n_features, n_rows = X.shape
    weight = np.empty(n_rows)
    for k in range(len(means)):
        total = 0.0
        for t in range(n_rows):
            weight[t] = resp[t, k]
            total += weight[t]
        counts[k] = total
        for i in range(n_features):
            total, squares, m = 0.0, 0.0, means[k, i]
            for t in range(n_rows):
                deviation = X[i, t] - m
                weighted = weight[t] * deviation
                total += weighted
                squares += weighted * deviation
            sums[k, i] = total
            scatter[k, i] = squares
