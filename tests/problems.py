"""Data sets, starting values and fitting helpers that several test files share."""

import copy

import numpy as np
import pytest
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from tests.oracles import Mixture

COVARIANCE_TYPES = ("full", "tied", "diag", "spherical")

# Of tests in which some component has rows that are alike.
on_the_floor = pytest.mark.filterwarnings(
    "ignore:The covariance of .* is on its floor:sklearn.exceptions.ConvergenceWarning"
)


def random_covariance(rng, n_features, scale=1.0):
    """A well-conditioned covariance matrix with correlated features, (D, D)."""
    factor = rng.normal(size=(n_features, n_features)) / np.sqrt(n_features)
    return scale * (0.5 * np.eye(n_features) + factor @ factor.T)


def blobs(n_samples=300, n_features=3, n_components=3, *, seed=0, separation=3.0):
    """Rows from a random full-covariance mixture, shuffled, (n_samples, n_features)."""
    rng = np.random.default_rng(seed)
    means = separation * rng.normal(size=(n_components, n_features))
    matrices = [random_covariance(rng, n_features) for _ in range(n_components)]
    factors = np.linalg.cholesky(np.stack(matrices))
    labels = rng.integers(n_components, size=n_samples)
    noise = rng.normal(size=(n_samples, n_features))
    X = means[labels]
    for k, factor in enumerate(factors):
        X[labels == k] += noise[labels == k] @ factor.T
    return X


def corners(n_per_cluster=100, *, seed=0, scale=0.5):
    """Three round clusters at (0, 0), (10, 0), (0, 10), so far apart that any start finds them."""
    rng = np.random.default_rng(seed)
    centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    X = np.repeat(centers, n_per_cluster, axis=0) + scale * rng.normal(size=(3 * n_per_cluster, 2))
    return rng.permutation(X)


def start(X, n_components, covariance_type, *, seed=0):
    """Starting values for EM on X: (constructor parameters, the same as an oracle's Mixture).

    The means are distinct rows of X, or of its column means where a value is missing.
    """
    rng = np.random.default_rng(1000 + seed)
    n_features = X.shape[1]
    filled = np.where(np.isnan(X), np.nanmean(X, axis=0), X).astype(float)
    means = filled[rng.choice(len(X), n_components, replace=False)]
    weights = rng.dirichlet(np.full(n_components, 10.0))
    pooled = np.cov(filled.T, bias=True).reshape(n_features, n_features)
    scales = rng.uniform(0.5, 1.5, size=n_components)
    covariances = {
        "full": scales[:, None, None] * pooled,
        "tied": pooled,
        "diag": scales[:, None] * np.diag(pooled),
        "spherical": scales * np.trace(pooled) / n_features,
    }[covariance_type]
    inverse = np.linalg.inv if covariance_type in ("full", "tied") else np.reciprocal
    parameters = {
        "n_components": n_components,
        "covariance_type": covariance_type,
        "weights_init": weights,
        "means_init": means,
        "precisions_init": inverse(covariances),
    }
    return parameters, Mixture(weights, means, covariances, covariance_type)


def knock_out(X, fraction=0.25, *, seed=0):
    """A copy of X with about `fraction` of its entries NaN and something observed in each row."""
    rng = np.random.default_rng(seed)
    missing = rng.random(X.shape) < fraction
    missing[np.arange(len(X)), rng.integers(X.shape[1], size=len(X))] = False
    return np.where(missing, np.nan, X)


def run(estimator, X, n_iter, **fit_params):
    """The estimator after exactly `n_iter` iterations; it warns, as it has not converged."""
    estimator.set_params(max_iter=n_iter, tol=0.0)
    with pytest.warns(ConvergenceWarning):
        return estimator.fit(X, **fit_params)


def assert_same_mixture(actual, expected, *, rtol=1e-6, atol=1e-12):
    """Two mixtures (estimators or oracle ones) have the same parameters, component by component."""
    for name in ("weights", "means", "covariances"):
        left = getattr(actual, name + "_", None)
        left = getattr(actual, name) if left is None else left
        right = getattr(expected, name + "_", None)
        right = getattr(expected, name) if right is None else right
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol, err_msg=name)


def state_of(estimator):
    """A deep copy of everything the estimator holds, to compare with later.

    As it is pickled: a net in it is plain arrays then.
    """
    return copy.deepcopy(estimator.__getstate__())


def assert_same_state(estimator, state):
    """The estimator, and estimators in it, hold exactly what `state_of` saw, bit for bit."""
    current = estimator.__getstate__()
    assert current.keys() == state.keys()
    for name, before in state.items():
        now = current[name]
        if isinstance(before, BaseEstimator):
            assert type(now) is type(before)
            assert_same_state(now, before.__getstate__())
        else:
            np.testing.assert_equal(now, before, err_msg=name)
