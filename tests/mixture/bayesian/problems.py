"""Models, posteriors and slow oracles that the tests of BayesianMixtureSVI share."""

from itertools import product

import numpy as np
import pytest
from scipy.special import gammaln, logsumexp
from scipy.stats import beta, dirichlet

from skvae import BayesianMixtureSVI
from skvae.blocks import Rows, workers
from skvae.mixture.bayesian.steps import BatchStep
from tests.gaussian.conjugate_problems import log_prob, matrices
from tests.posterior_draws import draws_of_components, take
from tests.problems import COVARIANCE_TYPES, run

WEIGHT_TYPES = ("dirichlet_process", "dirichlet_distribution")

every_covariance = pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
every_weight = pytest.mark.parametrize("weight_type", WEIGHT_TYPES)


def bayes(n_components, covariance_type="full", weight_type=WEIGHT_TYPES[0], **parameters):
    parameters = {"random_state": 0, "learning_method": "batch"} | parameters
    return BayesianMixtureSVI(
        n_components,
        covariance_type=covariance_type,
        weight_concentration_prior_type=weight_type,
        **parameters,
    )


def after(model, X, n_iter=5, **fit_params):
    """The model after exactly so many passes."""
    if n_iter == 0:
        return model.set_params(max_iter=0).fit(X, **fit_params)
    return run(model, X, n_iter, **fit_params)


def posterior_of(model):
    return model._parameters()


def elbo(posterior, X, sample_weight=None):
    with workers(1) as pool:
        rows = Rows.readable(X, sample_weight)
        return BatchStep(rows, pool).evaluate(posterior) * rows.weight()


def assert_same_posterior(left, right, *, rtol=1e-9, atol=1e-12):
    """Two fitted models hold the same posterior."""
    for name in ("mean_precision_", "means_", "degrees_of_freedom_", "covariances_", "weights_"):
        np.testing.assert_allclose(
            getattr(left, name), getattr(right, name), rtol=rtol, atol=atol, err_msg=name
        )
    one, two = left.weight_concentration_, right.weight_concentration_
    np.testing.assert_allclose(np.stack(one), np.stack(two), rtol=rtol, atol=atol)


# Exact evidence of few rows -----------------------------------------------------------------------


def _log_student(x, mean, shape, dof):
    """ln St(x | mean, shape matrix, dof)."""
    deviation, n = x - mean, len(x)
    distance = deviation @ np.linalg.solve(shape, deviation)
    log_det = np.linalg.slogdet(shape)[1]
    constant = gammaln((dof + n) / 2) - gammaln(dof / 2) - n / 2 * np.log(dof * np.pi)
    return constant - 0.5 * log_det - (dof + n) / 2 * np.log1p(distance / dof)


def _log_choice(counts, k, prior):
    """ln p(z = k | the labels so far, of which there are counts)."""
    a = prior.concentration
    if prior.weight_type == "dirichlet_distribution":
        return np.log((a + counts[k]) / (len(counts) * a + counts.sum()))
    after = counts.sum() - np.cumsum(counts)
    log_p = np.log((1 + counts[k]) / (1 + a + counts[k] + after[k]))
    for j in range(k):
        log_p += np.log((a + after[j]) / (1 + a + counts[j] + after[j]))
    return log_p


def log_joint_of_labels(X, labels, prior, n_components):
    """ln p(X, z), row by row from the predictive density of each given those before it."""
    one, D = prior.components, X.shape[1]
    kind = one.covariance_type
    shape = (1 if kind == "tied" else n_components,)
    counts = np.zeros(n_components)
    means = np.tile(one.means, (n_components, 1))
    betas = np.full(n_components, one.mean_precisions)
    dofs = np.full(shape, one.dofs)
    scale = one.scales if kind == "tied" else one.scales[0]
    scale = scale if np.ndim(scale) == 2 else np.diag(scale * np.ones(D))
    scales = np.tile(scale, (*shape, 1, 1)).astype(float)
    total = 0.0
    for x, k in zip(X, labels, strict=True):
        own = 0 if kind == "tied" else k
        b, nu, S, d = betas[k], dofs[own], scales[own], x - means[k]
        total += _log_choice(counts, k, prior)
        if kind == "diag":
            for i in range(D):
                spread = np.array([[S[i, i] * (1 + 1 / b) / nu]])
                total += _log_student(x[i : i + 1], means[k, i : i + 1], spread, nu)
            change, seen = np.diag(d**2), 1
        elif kind == "spherical":
            total += _log_student(x, means[k], S * (1 + 1 / b) / nu, nu)
            change, seen = np.eye(D) * (d @ d), D
        else:
            dof = nu + 1 - D
            total += _log_student(x, means[k], S * (1 + 1 / b) / dof, dof)
            change, seen = np.outer(d, d), 1
        counts[k] += 1
        betas[k] += 1
        means[k] += d / betas[k]
        dofs[own] += seen
        scales[own] += change * b / (b + 1)
    return total


def labels_of(n_rows, n_components):
    """All labels of some rows, as tuples."""
    return product(range(n_components), repeat=n_rows)


def log_evidence(X, prior, n_components):
    """ln p(X) by the enumeration of all labels in the first n_components."""
    return logsumexp(
        [
            log_joint_of_labels(X, labels, prior, n_components)
            for labels in labels_of(len(X), n_components)
        ]
    )


# Monte Carlo over q -------------------------------------------------------------------------------


def draws_of(posterior, n_draws, seed=0):
    """Draws of (π, μ, U) with their ln q − ln p."""
    rng = np.random.default_rng(seed)
    K = len(posterior.components.means)
    prior_weights = posterior.prior.weights(K)
    prior = take(posterior.prior.components, [0] * K)
    means, factors = draws_of_components(posterior.components, n_draws, rng)
    weights = posterior.weights
    if posterior.prior.weight_type == "dirichlet_distribution":
        pi = rng.dirichlet(weights.concentrations, size=n_draws)
        ratio = dirichlet(weights.concentrations).logpdf(pi.T)
        ratio = ratio - dirichlet(prior_weights.concentrations).logpdf(pi.T)
    else:
        v = rng.beta(weights.first, weights.second, size=(n_draws, len(weights.first)))
        ratio = (beta(*weights).logpdf(v) - beta(*prior_weights).logpdf(v)).sum(axis=1)
        pi = v.copy()
        pi[:, 1:] *= np.cumprod(1 - v, axis=1)[:, :-1]
    for sign, q in ((1.0, posterior.components), (-1.0, prior)):
        ratio = ratio + sign * log_prob(q, means, factors)
    return pi, means, factors, ratio


def log_densities(X, posterior, means, factors):
    """ln N(x | μ_k, Λ_k) under draws, (n_draws, n, K); X (n, D), or (n_draws, n, D) for each."""
    K, D = posterior.components.means.shape
    kind = posterior.components.covariance_type
    precisions = posterior.components.structure.precisions(factors)
    precisions = matrices(precisions, kind, K, D)
    deviation = X[..., :, None, :] - means[:, None]
    distance = np.einsum("snki,skij,snkj->snk", deviation, precisions, deviation)
    log_det = np.linalg.slogdet(precisions)[1]
    return 0.5 * (log_det[:, None] - D * np.log(2 * np.pi) - distance)
