"""Gaussian approximations of any log density that has a gradient."""

from skvae.inference.approximation import GaussianApproximation
from skvae.inference.laplace_approximation import laplace
from skvae.inference.variational import gaussian_vi

__all__ = ["GaussianApproximation", "gaussian_vi", "laplace"]
