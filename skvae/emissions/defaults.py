"""Methods of parameters that a family may have, and results for families without them.

``imputed(X, posterior)``
    Rows with their missing values filled in. By default these are the means of the states, weighted
    by ``posterior``, which is exact where features are independent given the state.
``cdf(x)``
    P(feature ≤ x | state): x (..., D) gives (..., K, D). By default NaN: quantiles are then those
    of draws.
"""

import numpy as np


def imputed(parameters, X, posterior):
    """Return a copy of rows with their missing values filled in.

    Parameters
    ----------
    parameters : EmissionParameters
        Parameters of an emission family.
    X : ndarray of shape (n, n_features)
        Rows; NaN is missing.
    posterior : ndarray of shape (n, n_components)
        The probabilities of the states of each row.
    """
    X = np.array(X, order="C")
    rows = np.flatnonzero(np.isnan(X).any(axis=1))
    if not len(rows):
        return X
    some, weights = X[rows], np.asarray(posterior[rows], dtype=np.float64)
    if hasattr(parameters, "imputed"):
        X[rows] = parameters.imputed(some, weights)
    else:
        X[rows] = np.where(np.isnan(some), weights @ parameters.means(), some)
    return X


def cdf(parameters, x):
    """Return P(feature ≤ x | state), shape (..., K, D), of values (..., D); NaN without one."""
    if hasattr(parameters, "cdf"):
        return parameters.cdf(x)
    return np.full((*x.shape[:-1], parameters.n_components, parameters.n_features), np.nan)
