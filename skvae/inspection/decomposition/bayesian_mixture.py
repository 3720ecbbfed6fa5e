r"""The expected log-joint and the global divergence of a Bayesian mixture, from public attributes.

.. math:: E_q[\ln p(x, z = k \mid \theta)] = E \ln \pi_k + E \ln N(x \mid \mu_k, \Lambda_k^{-1}),
          \qquad \mathrm{KL}(q(\theta) \,\|\, p(\theta)) = \mathrm{KL}(q(\pi) \,\|\, p(\pi))
          + \mathrm{KL}(q(\mu, \Lambda) \,\|\, p(\mu, \Lambda)) .

Missing values have a q of their own, the Gaussian that the expected precisions imply. It is
integrated out: its entropy counts as part of the expected log-joint.

Reference: Bishop (2006), Pattern Recognition and Machine Learning, section 10.2.
"""

import numpy as np
from scipy.special import digamma, gammaln

from skvae.gaussian.conjugate import NormalWishart
from skvae.inspection.decomposition.expectations import gaussian_log_density


def expected_log_joint(estimator, X):
    """Return E_q ln p(x, z = k | θ) of rows with NaN, shape (n_samples, n_components)."""
    kind, n_features = estimator.covariance_type, X.shape[1]
    log_density = gaussian_log_density(estimator, X)
    shortfall = _log_det_shortfall(estimator.degrees_of_freedom_, kind, n_features)
    spread = n_features / estimator.mean_precision_
    return _expected_log_weights(estimator) + log_density - 0.5 * (shortfall + spread)


def global_divergence(estimator):
    """Return KL(q(θ) ‖ p(θ)), a float."""
    prior = NormalWishart.prior(
        estimator.covariance_type,
        len(estimator.means_),
        estimator.mean_precision_prior_,
        estimator.mean_prior_,
        estimator.degrees_of_freedom_prior_,
        estimator.covariance_prior_,
    )
    covariances, dofs = estimator.covariances_, np.asarray(estimator.degrees_of_freedom_)
    posterior = NormalWishart(
        estimator.covariance_type,
        estimator.mean_precision_,
        estimator.means_,
        dofs,
        covariances * dofs.reshape(dofs.shape + (1,) * (covariances.ndim - dofs.ndim)),
        estimator.precisions_cholesky_,
    )
    return posterior.kl(prior) + _weight_divergence(estimator)


def _log_det_shortfall(dofs, covariance_type, n_features):
    """Return ln|E Λ| − E ln|Λ| of each component, (K,), or a number where Λ is shared."""
    below = np.arange(n_features) if covariance_type in ("full", "tied") else np.zeros(n_features)
    half = 0.5 * np.asarray(dofs)[..., None]
    return (np.log(half) - digamma(half - 0.5 * below)).sum(axis=-1)


# Weights ------------------------------------------------------------------------------------------


def _expected_log_weights(estimator):
    """Return E ln π, shape (K,): of a Dirichlet, or of sticks, a pair of concentrations."""
    concentration = estimator.weight_concentration_
    if not isinstance(concentration, tuple):
        return digamma(concentration) - digamma(concentration.sum())
    first, second = concentration
    total = digamma(first + second)
    rest = np.cumsum(digamma(second) - total)
    return digamma(first) - total + np.concatenate([[0.0], rest[:-1]])


def _weight_divergence(estimator):
    """Return KL(q(π) ‖ p(π)), a float: a stick is a Dirichlet of two, 1 and γ a priori."""
    concentration, prior = estimator.weight_concentration_, estimator.weight_concentration_prior_
    if not isinstance(concentration, tuple):
        return float(_dirichlet_divergence(concentration, np.full(len(concentration), prior)))
    sticks = np.stack(concentration, axis=1)
    return float(_dirichlet_divergence(sticks, np.array([1.0, prior])).sum())


def _dirichlet_divergence(a, b):
    """Return KL(Dirichlet(a) ‖ Dirichlet(b)) over the last axis."""
    total = a.sum(axis=-1)
    normalisers = gammaln(total) - gammaln(b.sum(axis=-1)) + (gammaln(b) - gammaln(a)).sum(axis=-1)
    return normalisers + ((a - b) * (digamma(a) - digamma(total)[..., None])).sum(axis=-1)
