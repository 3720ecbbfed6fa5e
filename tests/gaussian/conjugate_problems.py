"""Priors, statistics and posteriors that the tests of conjugate priors share, and an oracle."""

import numpy as np
from scipy.special import multigammaln
from scipy.stats import invgamma

from skvae.gaussian.conjugate import NormalWishart
from skvae.gaussian.statistics import GaussianStatistics
from tests.problems import random_covariance

K, D = 3, 3


def shaped(matrix, kind):
    """One (D, D) matrix as the scale of a prior in the structure's shape."""
    if kind in ("full", "tied"):
        return matrix
    return np.diag(matrix).copy() if kind == "diag" else np.asarray(np.trace(matrix) / len(matrix))


def prior_of(kind, n_components=K, n_features=D, *, seed=0, dof=None):
    rng = np.random.default_rng(100 + seed)
    dof = n_features + rng.uniform(0.5, 3.0) if dof is None else dof
    scale = shaped(random_covariance(rng, n_features, 2.0), kind)
    mean = rng.normal(size=n_features)
    return NormalWishart.prior(kind, n_components, rng.uniform(0.2, 2.0), mean, dof, scale)


def rows_and_resp(n=40, n_components=K, n_features=D, *, seed=0):
    rng = np.random.default_rng(200 + seed)
    X = rng.normal(size=(n, n_features)) @ np.linalg.cholesky(random_covariance(rng, n_features))
    return X + rng.normal(size=n_features), rng.dirichlet(np.ones(n_components), size=n)


def statistics_of(kind, X, resp, centers=None):
    """GaussianStatistics of responsibilities (n, K), about the rows' mean if not told."""
    n_components = resp.shape[1]
    if centers is None:
        centers = np.repeat(X.mean(axis=0)[None], n_components, axis=0)
    deviation = X[:, None] - centers
    outer = np.einsum("nk,nki,nkj->kij", resp, deviation, deviation)
    diagonal = np.diagonal(outer, axis1=1, axis2=2)
    scatter = {
        "full": outer,
        "tied": outer.sum(axis=0),
        "diag": diagonal,
        "spherical": diagonal.mean(axis=1),
    }[kind]
    sums = np.einsum("nk,nki->ki", resp, deviation)
    return GaussianStatistics(kind, resp.sum(axis=0), sums, scatter, centers)


def posterior_of(kind, *, seed=0, n=40, n_components=K, n_features=D):
    """(prior, posterior, statistics)."""
    prior = prior_of(kind, n_components, n_features, seed=seed)
    X, resp = rows_and_resp(n, n_components, n_features, seed=seed)
    statistics = statistics_of(kind, X, resp)
    return prior, prior.posterior(statistics), statistics


def natural(q):
    """Natural parameters but for signs and constants: (β, β m, ν, S + β m mᵀ)."""
    beta, m = q.mean_precisions, q.means
    outer = beta[:, None, None] * m[:, :, None] * m[:, None]
    diagonal = np.diagonal(outer, axis1=1, axis2=2)
    second = {
        "full": outer,
        "tied": outer.sum(axis=0),
        "diag": diagonal,
        "spherical": diagonal.sum(axis=1),
    }[q.covariance_type]
    return beta, beta[:, None] * m, q.dofs, q.scales + second


def matrices(array, kind, n_components, n_features):
    """Covariances, precisions or scales in a structure's shape as (..., K, D, D)."""
    if kind == "full":
        return array
    if kind == "tied":
        return np.repeat(array[..., None, :, :], n_components, axis=-3)
    if kind == "diag":
        return array[..., None] * np.eye(n_features)
    return array[..., None, None] * np.eye(n_features)


def log_prob(q, means, factors):
    """ln q(μ, Λ) of draws; diag and spherical as densities of the variances 1/λ."""
    kind, (n_components, n_features) = q.covariance_type, q.means.shape
    precisions = q.structure.precisions(factors)
    scaled = matrices(precisions, kind, n_components, n_features)
    scaled = scaled * q.mean_precisions[:, None, None]
    deviation = means - q.means
    distance = np.einsum("ski,skij,skj->s", deviation, scaled, deviation)
    log_det = np.linalg.slogdet(scaled)[1].sum(axis=1)
    total = 0.5 * (log_det - n_components * n_features * np.log(2 * np.pi) - distance)
    if kind in ("full", "tied"):
        laws = wishart_log_density(precisions, q.dofs, q.scales)
    else:
        dofs = q.dofs[:, None] if kind == "diag" else q.dofs
        laws = invgamma(dofs / 2, scale=q.scales / 2).logpdf(1 / precisions)
    return total + laws.reshape(len(means), -1).sum(axis=1)


def wishart_log_density(matrices, dof, inverse_scale):
    """ln W(Λ | ν, S⁻¹) of matrices (..., D, D), given S: scipy's of many at once."""
    n_features = matrices.shape[-1]
    log_dets = np.linalg.slogdet(matrices)[1], np.linalg.slogdet(inverse_scale)[1]
    trace = np.einsum("...ij,...ji->...", inverse_scale, matrices)
    constant = 0.5 * dof * (n_features * np.log(2.0) - log_dets[1])
    constant = constant + multigammaln(np.asarray(dof) / 2, n_features)
    return 0.5 * ((dof - n_features - 1) * log_dets[0] - trace) - constant
