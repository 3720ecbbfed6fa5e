"""Rows and small fits that the tests of the estimator share."""

import numpy as np
import torch
from torch import nn

from skvae import VariationalAutoencoder
from tests.vae.oracles import LinearGaussian

COUNTS = ("poisson", "negative_binomial")


def autoencoder(n_components=2, **parameters):
    """An estimator that is fitted in a blink."""
    small = {"hidden_layer_sizes": (8,), "max_epochs": 3, "random_state": 0, "device": "cpu"}
    return VariationalAutoencoder(n_components, **{**small, **parameters})


class Wavy(nn.Module):
    """A decoder of three features that swing fast: a row's posterior has hundreds of modes."""

    def __init__(self):
        super().__init__()
        self.size = nn.Parameter(torch.ones(3))

    def forward(self, z):
        return self.size * torch.sin(200.0 * torch.cat([z, z[:, :1] * z[:, 1:]], 1))


def with_many_modes(X):
    """A fitted autoencoder of three features whose scores cannot be trusted."""
    parameters = {"likelihood_params": {"min_scale": 0.01}, "decoder": Wavy, "max_epochs": 1}
    vae = autoencoder(2, **parameters).fit(X)
    with torch.no_grad():
        vae.net_.module_.model.likelihood.raw_scale.fill_(-5.0)
    return vae


def rows(n_samples=60, n_features=3, *, seed=0):
    """Rows of one factor, with units and locations of their own, (n_samples, n_features)."""
    loadings = np.linspace(-2.0, 1.0, n_features)[:, None]
    units = np.geomspace(0.1, 10.0, n_features)
    factors = LinearGaussian(loadings, np.zeros(n_features), np.full(n_features, 0.5))
    return 5.0 + units * factors.sample(n_samples, seed)


def rows_of(likelihood, n_samples=60, *, seed=0):
    """Three columns that a likelihood can have produced."""
    rng = np.random.default_rng(seed)
    if likelihood == "bernoulli":
        return rng.integers(2, size=(n_samples, 3)).astype(float)
    if likelihood == "continuous_bernoulli":
        return rng.uniform(size=(n_samples, 3))
    if likelihood == "categorical":
        X = rng.integers(3, size=(n_samples, 3)).astype(float)
        X[:3] = np.arange(3.0)[:, None]
        return X
    if likelihood in ("log_normal", "gamma"):
        return np.exp(rows(n_samples, seed=seed) / 10.0)
    if likelihood == "beta":
        return rng.beta(2.0, 3.0, size=(n_samples, 3))
    if likelihood in COUNTS:
        return rng.poisson(4.0, size=(n_samples, 3)).astype(float)
    return rows(n_samples, seed=seed)


def linear_autoencoder(X, n_components=1, **parameters):
    """A fitted model without hidden layers, that is, factor analysis."""
    parameters = {"hidden_layer_sizes": (), "max_epochs": 20, "lr": 1e-2, **parameters}
    return autoencoder(n_components, **parameters).fit(X)


def as_factor_analysis(vae):
    """Return the closed form of a linear model, in the units of X."""
    zero = np.zeros((1, vae.transform(vae.sample(1)[0]).shape[1]))
    offset = vae.inverse_transform(zero)[0]
    loadings = vae.inverse_transform(np.eye(zero.shape[1])).T - offset[:, None]
    likelihood = vae.net_.module_.model.likelihood.double()
    sigma = np.exp(likelihood.raw_scale.detach().numpy()) + likelihood.min_scale
    likelihood.float()
    return LinearGaussian(loadings, offset, (sigma * likelihood.units) ** 2)
