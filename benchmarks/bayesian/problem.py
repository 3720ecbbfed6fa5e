"""Data of the Bayesian benchmarks: Gaussian clusters with different covariances."""

import warnings
from contextlib import contextmanager

import numpy as np


def clusters(n_samples, n_features, n_clusters, seed, *, separation=4.0):
    """Return rows and labels of clusters with random covariances of about unit size.

    Parameters
    ----------
    n_samples, n_features, n_clusters : int
    seed : int
    separation : float
        Standard deviation of the centres per feature, in those of the clusters.
    """
    rng = np.random.default_rng(seed)
    centers = rng.normal(scale=separation, size=(n_clusters, n_features))
    factors = rng.normal(scale=0.3, size=(n_clusters, n_features, n_features))
    factors += np.eye(n_features)
    labels = rng.integers(n_clusters, size=n_samples)
    X = rng.normal(size=(n_samples, n_features))
    for k in range(n_clusters):
        rows = labels == k
        X[rows] = centers[k] + X[rows] @ factors[k].T
    return X, labels


def apart(n_samples, n_features, n_clusters, seed, *, least):
    """Return rows and labels of spherical unit clusters with centres at least ``least`` apart.

    Parameters
    ----------
    n_samples, n_features, n_clusters : int
    seed : int
    least : float
        Smallest distance of two centres.
    """
    rng = np.random.default_rng(seed)
    while True:
        centers = rng.uniform(-15, 15, size=(n_clusters, n_features))
        gaps = np.linalg.norm(centers[:, None] - centers, axis=2)
        if gaps[np.triu_indices(n_clusters, 1)].min(initial=np.inf) >= least:
            break
    labels = rng.integers(n_clusters, size=n_samples)
    return centers[labels] + rng.normal(size=(n_samples, n_features)), labels


@contextmanager
def quietly():
    """Ignore warnings: fits are stopped early on purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
