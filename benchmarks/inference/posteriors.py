"""Log densities with gradients: Gaussians, and the posteriors of ``nuts_reference.py``."""

import json
from pathlib import Path

import numpy as np
from scipy.special import expit, logsumexp
from sklearn.datasets import load_breast_cancer

EFFECTS = np.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
ERRORS = np.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def nuts_reference():
    """Return the stored moments of long runs of the No-U-Turn sampler."""
    text = Path(__file__).with_name("nuts_reference.json").read_text(encoding="utf-8")
    return json.loads(text)


def gaussian(n, seed):
    """Return (log density, mean, covariance) of a random Gaussian, normalised up to the factor."""
    rng = np.random.RandomState(seed)
    root = rng.normal(size=(n, n)) * 10.0 ** rng.uniform(-1, 1, size=n)[:, None]
    covariance, mean = root @ root.T, rng.normal(size=n) * 5
    precision = np.linalg.inv(covariance)

    def log_density(theta):
        gradient = -precision @ (theta - mean)
        return 0.5 * (theta - mean) @ gradient, gradient

    return log_density, mean, covariance


def logistic_regression():
    """Return (log density, number of parameters): breast_cancer, N(0, 1) on all coefficients."""
    data = load_breast_cancer()
    X = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    X, y = np.column_stack([np.ones(len(X)), X]), data.target

    def log_density(theta):
        logit = X @ theta
        value = (y * logit - np.logaddexp(0.0, logit)).sum() - theta @ theta / 2
        return value, X.T @ (y - expit(logit)) - theta

    return log_density, X.shape[1]


def eight_schools():
    """Return the same of the eight schools, non-centred: (mu, ln tau, eight standard effects)."""

    def log_density(theta):
        mu, tau, z = theta[0], np.exp(theta[1]), theta[2:]
        residual = (EFFECTS - mu - tau * z) / ERRORS
        value = -(mu**2) / 50 - np.log1p((tau / 5) ** 2) + theta[1] - z @ z / 2
        slope = residual / ERRORS
        share = (tau / 5) ** 2
        by_log_tau = 1.0 - 2 * share / (1 + share) + tau * (slope @ z)
        gradient = np.concatenate([[slope.sum() - mu / 25, by_log_tau], tau * slope - z])
        return value - residual @ residual / 2, gradient

    return log_density, 10


def two_normals(distance):
    """Return the log density of an even mixture of two normals of variance 1, in two dimensions.

    Its integral is 2 π.
    """
    centers = np.array([[-distance / 2, 0.0], [distance / 2, 0.0]])

    def log_density(theta):
        log_p = -0.5 * ((theta - centers) ** 2).sum(axis=1) + np.log(0.5)
        value = logsumexp(log_p)
        return value, np.exp(log_p - value) @ (centers - theta)

    return log_density
