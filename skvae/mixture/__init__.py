"""Mixtures of Gaussians."""

from skvae.mixture.bayesian_mixture import BayesianMixtureSVI
from skvae.mixture.gaussian_mixture import EMGaussianMixture

__all__ = ["BayesianMixtureSVI", "EMGaussianMixture"]
