"""Rows as float64 arrays; expectations and entropies under discrete posteriors, in nats."""

import numpy as np
from scipy.special import xlogy
from sklearn.utils import check_array

from skvae.emissions.base import log_density_of
from skvae.emissions.location_scale import GaussianParameters
from skvae.validation import numbers_of


def as_double(X):
    """Return X with its float32 arrays in float64, so that a model's results are in float64."""
    if isinstance(X, list | tuple):
        return [as_double(part) if hasattr(part, "dtype") else part for part in X]
    if isinstance(X, np.ndarray) and X.dtype.kind == "f" and X.dtype != np.float64:
        return X.astype(np.float64)
    return X


def rows_of(X):
    """Return rows as a float64 array (n_samples, n_features) with NaN where they are missing."""
    return check_array(numbers_of(X, "X"), dtype=np.float64, ensure_all_finite="allow-nan")


def gaussian_log_density(estimator, X):
    """Return ln N(x; m_k, Σ_k) of rows with NaN under a fitted Gaussian mixture, (n, K)."""
    normals = GaussianParameters.of(
        estimator.covariance_type, estimator.means_, estimator.covariances_
    )
    return log_density_of(normals, X)


def expectations(q, values):
    """Return Σ_k q_k v_k of each row, (n,), where 0 · −inf is 0; both are (n, K) or (n, K, K)."""
    products = np.multiply(q, values, out=np.zeros(q.shape), where=q > 0)
    return products.reshape(len(q), -1).sum(axis=1)


def entropies(q):
    """Return −Σ_k q_k ln q_k of each row, (n,)."""
    return -xlogy(q, q).sum(axis=1)
