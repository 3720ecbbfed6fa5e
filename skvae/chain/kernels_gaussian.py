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

from skvae.chain.compilation import compiled, inlined

LOG_2PI = 1.8378770664093453
_PART = 256  # rows whose responsibilities stay in the first-level cache, for all components


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


@inlined
def _sum(values, n):
    """Return the sum of the first values.

    A loop that sums and also stores is compiled twice, vectorised and not, and is chosen by the
    places of the arrays in memory: the order of the sum, so its last digit, would depend on them.
    """
    total = 0.0
    for t in range(n):
        total += values[t]
    return total


@inlined
def _take(resp, begin, k, n, weight):
    """Fill the weights of some rows for one component; return their sum."""
    for t in range(n):
        weight[t] = resp[begin + t, k]
    return _sum(weight, n)


@compiled
def full_statistics(X, means, resp, counts, sums, scatter):
    """Add the statistics of rows about the means.

    Parameters
    ----------
    X, means
        As for :func:`full_log_density`.
    resp : ndarray of shape (n, >= K)
        Responsibilities times weights.
    counts : ndarray of shape (K,)
        The sums of the responsibilities.
    sums : ndarray of shape (K, n_features)
        The weighted sums of deviations from the means.
    scatter : ndarray of shape (K, n_features, n_features)
        The weighted sums of their products.
    """
    n_features, n_rows = X.shape
    weight, deviation = np.empty(_PART), np.empty(_PART)
    for begin in range(0, n_rows, _PART):
        n = min(_PART, n_rows - begin)
        for k in range(len(means)):
            counts[k] += _take(resp, begin, k, n, weight)
            for i in range(n_features):
                m = means[k, i]
                for t in range(n):
                    deviation[t] = weight[t] * (X[i, begin + t] - m)
                sums[k, i] += _sum(deviation, n)
                for j in range(i, n_features):
                    total, m = 0.0, means[k, j]
                    for t in range(n):
                        total += deviation[t] * (X[j, begin + t] - m)
                    scatter[k, i, j] += total
                    scatter[k, j, i] = scatter[k, i, j]


@compiled
def diagonal_statistics(X, means, resp, counts, sums, scatter):
    """Add the statistics as :func:`full_statistics`, with ``scatter`` (K, n_features)."""
    n_features, n_rows = X.shape
    weight = np.empty(_PART)
    for begin in range(0, n_rows, _PART):
        n = min(_PART, n_rows - begin)
        for k in range(len(means)):
            counts[k] += _take(resp, begin, k, n, weight)
            for i in range(n_features):
                total, squares, m = 0.0, 0.0, means[k, i]
                for t in range(n):
                    deviation = X[i, begin + t] - m
                    weighted = weight[t] * deviation
                    total += weighted
                    squares += weighted * deviation
                sums[k, i] += total
                scatter[k, i] += squares
