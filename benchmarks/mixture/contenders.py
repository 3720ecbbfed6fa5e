"""The contenders: Gaussian mixtures of three libraries, with the same three methods."""

import importlib.util
import warnings
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from skvae import EMGaussianMixture


class Parameters(NamedTuple):
    """Fitted parameters in float64, with a covariance matrix for every component.

    `weights` (n_components,), `means` (n_components, n_features), `covariances` (n_components,
    n_features, n_features), for every covariance type.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray


class ScikitLearnLike:
    """A mixture with scikit-learn's constructor and fitted attributes.

    Parameters
    ----------
    estimator : class
    **settings
        Constructor parameters of every fit, as ``acceleration="anderson"``.
    """

    def __init__(self, estimator, **settings):
        self.estimator = estimator
        self.settings = settings

    def supports(self, covariance_type):
        """Return True: all four types."""
        return True

    def load(self, X):
        """Return X as this library takes it without a copy."""
        return X

    def fit(self, X, start, max_iter, *, tol=0.0, **settings):
        """Return the mixture after `max_iter` iterations from `start`, exactly so if `tol=0`."""
        model = self.estimator(
            n_components=len(start.weights),
            covariance_type=start.covariance_type,
            max_iter=max_iter,
            tol=tol,
            **start.as_init,
            **{**self.settings, **settings},
        )
        return _quietly(model.fit, X)

    def fit_default(self, X, n_components, covariance_type, seed, **settings):
        """Return the mixture with default parameters, fitted with its k-means start."""
        model = self.estimator(
            n_components=n_components,
            covariance_type=covariance_type,
            random_state=seed,
            **{**self.settings, **settings},
        )
        return _quietly(model.fit, X)

    def score_samples(self, model, X):
        """Return the log-density of each row, (n_samples,), nats."""
        return model.score_samples(X)

    def parameters(self, model):
        """Return the Parameters of a fitted mixture."""
        k, d = model.means_.shape
        covariances = np.asarray(model.covariances_, dtype=np.float64)
        dense = {
            "full": lambda: covariances,
            "tied": lambda: np.tile(covariances, (k, 1, 1)),
            "diag": lambda: covariances[:, :, np.newaxis] * np.eye(d),
            "spherical": lambda: covariances[:, np.newaxis, np.newaxis] * np.eye(d),
        }[model.covariance_type]()
        return Parameters(model.weights_.astype(np.float64), model.means_.astype(np.float64), dense)


class Pomegranate:
    """pomegranate's GeneralMixtureModel of Normal distributions, in the precision of X."""

    types = {"full": "full", "diag": "diag", "spherical": "sphere"}

    def supports(self, covariance_type):
        """Return whether there is such a type; there is no tied one."""
        return covariance_type in self.types

    def load(self, X):
        """Return X as a tensor that shares its memory."""
        import torch

        return torch.from_numpy(X)

    def fit(self, X, start, max_iter, *, tol=0.0, **settings):
        """Return the mixture after exactly `max_iter` iterations from `start`."""
        import torch
        from pomegranate.distributions import Normal
        from pomegranate.gmm import GeneralMixtureModel

        covariances = start.covariances
        if start.covariance_type == "spherical":
            covariances = np.repeat(covariances[:, np.newaxis], start.means.shape[1], axis=1)
        # Its parameters are updated in place, so it needs copies.
        components = [
            Normal(torch.tensor(mean), torch.tensor(cov), self.types[start.covariance_type])
            for mean, cov in zip(start.means, covariances, strict=True)
        ]
        # It stops at a gain below tol, so rounding near convergence would end a fit with tol=0.
        model = GeneralMixtureModel(
            components,
            priors=torch.tensor(start.weights),
            max_iter=max_iter,
            tol=tol or -np.inf,
        )
        return model.fit(X)

    def score_samples(self, model, X):
        """Return the log-density of each row, (n_samples,), nats."""
        return model.log_probability(self.load(X)).numpy()

    def parameters(self, model):
        """Return the Parameters of a fitted mixture."""
        covariances = [normal.covs.numpy().astype(np.float64) for normal in model.distributions]
        return Parameters(
            model.priors.numpy().astype(np.float64),
            np.array([normal.means.numpy() for normal in model.distributions], dtype=np.float64),
            np.array([cov if cov.ndim == 2 else np.diag(cov) for cov in covariances]),
        )


SKVAE = ScikitLearnLike(EMGaussianMixture)
ACCELERATED = ScikitLearnLike(EMGaussianMixture, acceleration="anderson")
SCIKIT_LEARN = ScikitLearnLike(GaussianMixture)


def contenders(covariance_type):
    """Return the contenders that have `covariance_type` and are installed, by name, skvae first."""
    everyone = {"skvae": SKVAE, "scikit-learn": SCIKIT_LEARN}
    if importlib.util.find_spec("pomegranate"):
        everyone["pomegranate"] = Pomegranate()
    return {name: one for name, one in everyone.items() if one.supports(covariance_type)}


def largest_difference(ours, theirs):
    """Return the distance of two Parameters: the largest difference over the largest entry.

    The largest for weights, means and covariances: contenders of one table must compute the same.
    """
    return max(np.abs(a - b).max() / np.abs(b).max() for a, b in zip(ours, theirs, strict=True))


def _quietly(fit, X):
    # The number of iterations is fixed, so the warning has no meaning.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return fit(X)
