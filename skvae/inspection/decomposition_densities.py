r"""Log-densities of rows given a component or a state, from public attributes, by plain formulas.

Of a row with observed features o, :math:`\ln p(x_o \mid k)`: what is missing is integrated out, and
a row of which nothing was observed has 0. They are written once more here, slower than those that
models are fitted with, so that the two can be told to agree. ``seen`` (n, D) is what was observed.
"""

import numpy as np
from scipy.linalg import solve_triangular
from scipy.special import gammaln, logsumexp, xlog1py, xlogy

_LOG_2PI = np.log(2.0 * np.pi)


def gaussian_log_density(X, means, covariances, covariance_type):
    """Return ln N(x_o; m_k, Σ_k) of rows with NaN, shape (n_samples, n_components).

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; NaN is missing.
    means : ndarray of shape (n_components, n_features)
        The means.
    covariances : ndarray
        In scikit-learn's shape of the type.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The form of the covariances.
    """
    distance, half_log_det = _distances(X, means, covariances, covariance_type)
    n_seen = (~np.isnan(X)).sum(axis=1, keepdims=True)
    return -0.5 * (distance + n_seen * _LOG_2PI) - half_log_det


def student_t_log_density(X, means, covariances, dofs, covariance_type):
    """Return ln St(x_o; m_k, Σ_k, ν_k) of rows with NaN; parameters as of the Gaussian, ν (K,)."""
    distance, half_log_det = _distances(X, means, covariances, covariance_type)
    n_seen = (~np.isnan(X)).sum(axis=1, keepdims=True)
    half = 0.5 * (dofs + n_seen)
    constants = gammaln(half) - gammaln(0.5 * dofs) - 0.5 * n_seen * np.log(np.pi * dofs)
    return constants - half_log_det - half * np.log1p(distance / dofs)


def emission_log_density(X, emission):
    """Return ln p(x_o | state) under a fitted emission of any family, shape (n_samples, K).

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; NaN is missing.
    emission : estimator
        Fitted, of :mod:`skvae.hmm`: what it is, its fitted attributes say.
    """
    if hasattr(emission, "emissions_"):
        parts = (emission_log_density(X[:, index], part) for _, part, index in emission.emissions_)
        return sum(parts)
    if hasattr(emission, "rates_"):
        return _by_state(_log_poisson, X, emission.rates_)
    if hasattr(emission, "n_categories_"):
        return _log_categorical(X, emission.probabilities_)
    if hasattr(emission, "probabilities_"):
        return _by_state(_log_bernoulli, X, emission.probabilities_)
    normals = emission.means_, emission.covariances_
    if hasattr(emission, "dofs_"):
        return student_t_log_density(X, *normals, emission.dofs_, emission.covariance_type)
    if hasattr(emission, "weights_"):
        return _log_gaussian_mixture(X, emission.weights_, *normals, emission.covariance_type)
    return gaussian_log_density(X, *normals, emission.covariance_type)


# Gaussians ----------------------------------------------------------------------------------------


def _distances(X, means, covariances, covariance_type):
    """Return squared Mahalanobis distances and ½ ln|Σ_oo|, both (n, K)."""
    if covariance_type == "spherical":
        covariances = np.broadcast_to(covariances[:, None], means.shape)
    if covariance_type in ("diag", "spherical"):
        return _diagonal_distances(X, means, covariances)
    distance, half_log_det = np.empty((2, len(X), len(means)))
    patterns, pattern_of = np.unique(np.isnan(X), axis=0, return_inverse=True)
    for p, missing in enumerate(patterns):
        index, seen = np.flatnonzero(pattern_of.reshape(-1) == p), np.flatnonzero(~missing)
        rows = X[np.ix_(index, seen)]
        for k, mean in enumerate(means):
            covariance = covariances if covariance_type == "tied" else covariances[k]
            factor = np.linalg.cholesky(covariance[np.ix_(seen, seen)])
            white = (rows - mean[seen]).T
            if len(seen):
                white = solve_triangular(factor, white, lower=True)
            distance[index, k] = (white**2).sum(axis=0)
            half_log_det[index, k] = np.log(factor.diagonal()).sum()
    return distance, half_log_det


def _diagonal_distances(X, means, variances):
    seen = ~np.isnan(X)
    distance = [
        np.where(seen, (X - m) ** 2 / v, 0.0).sum(axis=1)
        for m, v in zip(means, variances, strict=True)
    ]
    return np.stack(distance, axis=1), 0.5 * seen @ np.log(variances).T


def _log_gaussian_mixture(X, weights, means, covariances, covariance_type):
    """Return the log-density of each state's own mixture of M Gaussians, (n, K)."""
    if covariance_type != "tied":
        covariances = covariances.reshape(-1, *covariances.shape[2:])
    flat = means.reshape(-1, means.shape[-1])
    log_p = gaussian_log_density(X, flat, covariances, covariance_type)
    with np.errstate(divide="ignore"):
        return logsumexp(log_p.reshape(len(X), *weights.shape) + np.log(weights), axis=2)


# Counts and codes ---------------------------------------------------------------------------------


def _by_state(log_p, X, parameters):
    """Return Σ ln p over the observed features, a state at a time, (n, K)."""
    seen = ~np.isnan(X)
    x = np.where(seen, X, 0.0)
    return np.stack([np.where(seen, log_p(x, own), 0.0).sum(axis=1) for own in parameters], axis=1)


def _log_poisson(x, rates):
    return xlogy(x, rates) - rates - gammaln(x + 1.0)


def _log_bernoulli(x, probabilities):
    return xlogy(x, probabilities) + xlog1py(1.0 - x, -probabilities)


def _log_categorical(X, probabilities):
    with np.errstate(divide="ignore"):
        logs = np.log(probabilities)
    out = np.zeros((len(X), len(probabilities)))
    for j, column in enumerate(X.T):
        seen = ~np.isnan(column)
        out[seen] += logs[:, j, column[seen].astype(np.intp)].T
    return out
