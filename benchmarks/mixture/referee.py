"""Independent answers: a plain float64 log-density, and EM in high-precision arithmetic.

They share no code with any contender and are slow on purpose.
"""

from typing import NamedTuple

import mpmath
import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

# Decimal digits. Positions of 1e8 with a spread of 1e-3 lose 22 of them in the expanded square.
DIGITS = 60


def mean_log_density(X, weights, means, covariances):
    """Return the mean log-density of the rows of X under a Gaussian mixture, nats per row.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    weights : ndarray of shape (n_components,)
    means : ndarray of shape (n_components, n_features)
    covariances : ndarray of shape (n_components, n_features, n_features)

    Examples
    --------
    >>> standard_normal = np.ones(1), np.zeros((1, 2)), np.eye(2)[np.newaxis]
    >>> round(float(mean_log_density(np.zeros((3, 2)), *standard_normal)), 6)
    -1.837877
    """
    total = 0.0
    for block in np.array_split(X, max(1, len(X) // 10_000)):
        joint = np.empty((len(block), len(weights)))
        for k, (mean, covariance) in enumerate(zip(means, covariances, strict=True)):
            factor = np.linalg.cholesky(covariance)
            z = solve_triangular(factor, (block - mean).T, lower=True)
            log_volume = len(mean) / 2 * np.log(2 * np.pi) + np.log(np.diag(factor)).sum()
            joint[:, k] = np.log(weights[k]) - log_volume - 0.5 * (z**2).sum(axis=0)
        total += logsumexp(joint, axis=1).sum()
    return total / len(X)


class Exact(NamedTuple):
    """Parameters in high precision: lists of numbers, of row matrices, and of matrices."""

    weights: list
    means: list
    covariances: list


def exact(weights, means, covariances):
    """Return float64 parameters as Exact, digit by digit."""
    return Exact(
        [mpmath.mpf(float(w)) for w in weights],
        [_row(mean) for mean in means],
        [mpmath.matrix(np.asarray(covariance, dtype=float).tolist()) for covariance in covariances],
    )


def exact_log_densities(X, parameters):
    """Return (log-densities, responsibilities) of the rows in high precision, as lists."""
    with mpmath.workdps(DIGITS):
        parts = []
        for weight, covariance in zip(parameters.weights, parameters.covariances, strict=True):
            log_volume = mpmath.log(mpmath.det(2 * mpmath.pi * covariance)) / 2
            parts.append((mpmath.log(weight) - log_volume, covariance**-1))
        log_densities, responsibilities = [], []
        for x in map(_row, X):
            joint = []
            for (offset, precision), mean in zip(parts, parameters.means, strict=True):
                joint.append(offset - ((x - mean) * precision * (x - mean).T)[0] / 2)
            evidence = mpmath.log(sum(map(mpmath.exp, joint)))
            log_densities.append(evidence)
            responsibilities.append([mpmath.exp(part - evidence) for part in joint])
        return log_densities, responsibilities


def exact_em_step(X, parameters, covariance_type):
    """Return the Exact parameters after one EM iteration, of type "full" or "diag"."""
    _, responsibilities = exact_log_densities(X, parameters)
    rows = list(map(_row, X))
    weights, means, covariances = [], [], []
    with mpmath.workdps(DIGITS):
        for share in zip(*responsibilities, strict=True):
            total = sum(share)
            mean = sum((r * x for r, x in zip(share, rows, strict=True)), 0 * rows[0]) / total
            scatter = mpmath.zeros(X.shape[1])
            for r, x in zip(share, rows, strict=True):
                scatter += r * ((x - mean).T * (x - mean))
            covariance = scatter / total
            if covariance_type == "diag":
                covariance = mpmath.diag([covariance[j, j] for j in range(X.shape[1])])
            weights.append(total / len(rows))
            means.append(mean)
            covariances.append(covariance)
    return Exact(weights, means, covariances)


def _row(x):
    return mpmath.matrix([[float(value) for value in x]])
