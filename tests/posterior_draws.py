"""Draws from the posterior of a Bayesian mixture: the Monte Carlo oracle of its expectations."""

import numpy as np

from skvae.gaussian.precisions import along
from skvae.mixture.bayesian.weights import DirichletWeights


def draws_of_weights(weights, n_draws, rng):
    """Draws of π, shape (n_draws, K); of sticks, one minus a draw's sum is the remainder."""
    if isinstance(weights, DirichletWeights):
        # Logarithms of Gammas, which underflow for small a: G(a) is G(a + 1) U^(1/a).
        shape = n_draws, len(weights.concentrations)
        logs = np.log(rng.standard_gamma(weights.concentrations + 1.0, size=shape))
        logs -= rng.standard_exponential(size=shape) / weights.concentrations
        draws = np.exp(logs - logs.max(axis=1, keepdims=True))
        return draws / draws.sum(axis=1, keepdims=True)
    v = rng.beta(weights.first, weights.second, size=(n_draws, len(weights.first)))
    left = np.cumprod(1.0 - v, axis=1)
    v[:, 1:] *= left[:, :-1]
    return v


def draws_of_components(components, n_draws, rng):
    """Draws of (μ, U) with Λ = U Uᵀ: (n_draws, K, D), and n_draws times the structure's shape."""
    kind, factors = components.covariance_type, components.precisions_cholesky
    scale = factors / along(np.sqrt(components.dofs), factors)
    is_wishart = kind in ("full", "tied")
    draw = _wishart_factors if is_wishart else _gamma_factors
    factors = draw(scale, components.dofs, n_draws, rng)
    noise = rng.standard_normal((n_draws, *components.means.shape))
    noise /= np.sqrt(components.mean_precisions)[:, None]
    if is_wishart:
        each = factors if kind == "full" else factors[:, None]
        noise = np.linalg.solve(np.swapaxes(each, -1, -2), noise[..., None])[..., 0]
    else:
        noise = noise / along(factors, noise)
    return components.means + noise, factors


def _wishart_factors(factors, dofs, n_draws, rng):
    """U of draws from Wishart(ν, U Uᵀ), by Bartlett's decomposition from the last feature on."""
    n_features = factors.shape[-1]
    root = np.triu(rng.standard_normal((n_draws, *factors.shape)), 1)
    index = np.arange(n_features)
    chi2 = rng.chisquare(dofs[..., None] - index[::-1], size=root.shape[:-1])
    root[..., index, index] = np.sqrt(chi2)
    return factors @ root


def _gamma_factors(factors, dofs, n_draws, rng):
    return factors * np.sqrt(rng.chisquare(along(dofs, factors), size=(n_draws, *factors.shape)))


def take(components, index):
    """The distribution of some components, in their order (tied: Λ stays)."""
    own = ["mean_precisions", "means"]
    if components.covariance_type != "tied":
        own += ["dofs", "scales", "precisions_cholesky"]
    return components._replace(**{name: getattr(components, name)[index] for name in own})


def expected_log_det(components):
    """E ln|Λ| of each component, shape (K,), from the offsets of the expected log-density."""
    n_features = components.means.shape[1]
    half = components.structure.half_log_det(components.precisions_cholesky, n_features)
    return 2.0 * (components.offsets() + half) + n_features / components.mean_precisions
