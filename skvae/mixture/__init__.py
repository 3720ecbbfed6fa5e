"""Mixtures of Gaussians."""

from skvae.mixture.gaussian_mixture import EMGaussianMixture

__all__ = ["EMGaussianMixture"]
