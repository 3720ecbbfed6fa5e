"""Reference computations for the autoencoder's tests: in NumPy, row by row, independent of torch.

A linear-Gaussian model has everything in closed form:

    z ~ N(0, I),  x | z ~ N(W z + b, diag(v))
    p(x) = N(b, W Wᵀ + diag(v)),  p(z | x) = N(C Wᵀ diag(v)⁻¹ (x − b), C),  C⁻¹ = I + Wᵀ diag(v)⁻¹ W

Where entries of a row are missing (NaN), W, b and v are those of the observed features.
`test_oracles.py` checks these functions against numerical integration.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal


class LinearGaussian(NamedTuple):
    """Parameters of a linear-Gaussian model."""

    loadings: np.ndarray  # W, (D, L)
    offset: np.ndarray  # b, (D,)
    variances: np.ndarray  # v, (D,)

    @property
    def n_components(self):
        return self.loadings.shape[1]

    def sample(self, n, seed):
        """n rows, (n, D)."""
        rng = np.random.default_rng(seed)
        noise = rng.normal(size=(n, len(self.offset))) * np.sqrt(self.variances)
        return self.offset + rng.normal(size=(n, self.n_components)) @ self.loadings.T + noise

    def marginal(self, features):
        """The model of some of the features."""
        return LinearGaussian(
            self.loadings[features], self.offset[features], self.variances[features]
        )

    def log_evidence(self, X):
        """ln p(x_o) of each row, (n,); 0 where nothing is observed."""
        out = np.zeros(len(X))
        for i, x in enumerate(X):
            seen = ~np.isnan(x)
            if seen.any():
                W, b, v = self.marginal(seen)
                out[i] = multivariate_normal.logpdf(x[seen], b, W @ W.T + np.diag(v))
        return out

    def posterior(self, X):
        """Mean (n, L) and covariance (n, L, L) of z given each row's observed features."""
        n, L = len(X), self.n_components
        means, covariances = np.empty((n, L)), np.empty((n, L, L))
        for i, x in enumerate(X):
            seen = ~np.isnan(x)
            W, b, v = self.marginal(seen)
            covariances[i] = np.linalg.inv(np.eye(L) + W.T @ np.diag(1 / v) @ W)
            means[i] = covariances[i] @ W.T @ ((x[seen] - b) / v)
        return means, covariances

    def gain(self):
        """Return the matrix from a complete row less the offset to the posterior mean, (L, D)."""
        W, v = self.loadings, self.variances
        C = np.linalg.inv(np.eye(self.n_components) + (W.T / v) @ W)
        return C @ (W.T / v)

    def log_joint(self, x, Z):
        """ln p(x_o, z) of one row and many z, (n,)."""
        seen = ~np.isnan(x)
        W, b, v = self.marginal(seen)
        prior = multivariate_normal(np.zeros(self.n_components), np.eye(self.n_components))
        residual = x[seen] - b - Z @ W.T
        log_likelihood = -0.5 * (residual**2 / v + np.log(2 * np.pi * v)).sum(axis=1)
        return np.atleast_1d(prior.logpdf(Z)) + log_likelihood


def kl_gaussians(mean, covariance, other_mean, other_covariance):
    """KL(N(mean, covariance) ‖ N(other_mean, other_covariance)), one pair."""
    inverse = np.linalg.inv(other_covariance)
    difference = np.asarray(other_mean) - mean
    log_ratio = np.linalg.slogdet(other_covariance)[1] - np.linalg.slogdet(covariance)[1]
    quadratic = difference @ inverse @ difference
    return 0.5 * (np.trace(inverse @ covariance) + quadratic - len(mean) + log_ratio)


def log_mixture(Z, weights, means, covariances):
    """ln Σ_c π_c N(z; μ_c, Σ_c) and responsibilities, of points (n, L)."""
    log_joint = np.stack(
        [
            np.log(w) + multivariate_normal.logpdf(Z, m, C).reshape(len(Z))
            for w, m, C in zip(weights, means, covariances, strict=True)
        ],
        axis=1,
    )
    log_p = logsumexp(log_joint, axis=1)
    return log_p, np.exp(log_joint - log_p[:, None])


def grid(low, high, n, dimensions):
    """Points of a regular grid, (n ** dimensions, dimensions), and the volume of a cell."""
    axis = np.linspace(low, high, n)
    points = np.stack(np.meshgrid(*[axis] * dimensions, indexing="ij"), axis=-1)
    return points.reshape(-1, dimensions), (axis[1] - axis[0]) ** dimensions
