"""The closed forms of the linear-Gaussian model agree with integrals over a grid."""

import numpy as np
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from tests.vae import oracles

MODEL = oracles.LinearGaussian(
    np.array([[1.0, 0.5], [-0.7, 0.2], [0.3, 0.9]]),
    np.array([0.1, -0.2, 0.3]),
    np.array([0.5, 0.8, 0.4]),
)
ROWS = np.array([[0.5, -1.0, 2.0], [np.nan, 0.3, np.nan], [np.nan] * 3, [1.0, np.nan, -0.5]])


def test_evidence_and_posterior_are_integrals():
    Z, cell = oracles.grid(-8, 8, 321, 2)
    evidence, (means, covariances) = MODEL.log_evidence(ROWS), MODEL.posterior(ROWS)
    for i, x in enumerate(ROWS):
        log_joint = MODEL.log_joint(x, Z)
        assert_allclose(logsumexp(log_joint) + np.log(cell), evidence[i], atol=1e-10)
        weights = np.exp(log_joint - evidence[i]) * cell
        assert_allclose(weights @ Z, means[i], atol=1e-10)
        second = (Z - means[i]).T @ ((Z - means[i]) * weights[:, None])
        assert_allclose(second, covariances[i], atol=1e-10)
    assert_allclose(MODEL.gain() @ (ROWS[0] - MODEL.offset), means[0])


def test_rows_have_the_moments_of_the_model():
    X = MODEL.sample(200_000, seed=0)
    assert_allclose(X.mean(axis=0), MODEL.offset, atol=0.01)
    covariance = MODEL.loadings @ MODEL.loadings.T + np.diag(MODEL.variances)
    assert_allclose(np.cov(X.T), covariance, atol=0.02)


def test_divergence_and_mixture_are_integrals():
    Z, cell = oracles.grid(-10, 10, 401, 2)
    first = (np.array([0.5, -1.0]), np.array([[0.6, 0.3], [0.3, 0.9]]))
    second = (np.array([-0.2, 0.4]), np.array([[1.5, -0.4], [-0.4, 1.1]]))
    log_p, _ = oracles.log_mixture(Z, [1.0], [first[0]], [first[1]])
    log_q, _ = oracles.log_mixture(Z, [1.0], [second[0]], [second[1]])
    divergence = (np.exp(log_p) * (log_p - log_q)).sum() * cell
    assert_allclose(oracles.kl_gaussians(*first, *second), divergence, rtol=1e-9)
    both, resp = oracles.log_mixture(Z, [0.3, 0.7], *zip(first, second, strict=True))
    assert_allclose(np.exp(both), 0.3 * np.exp(log_p) + 0.7 * np.exp(log_q), atol=1e-300)
    assert_allclose(resp[:, 0], 0.3 * np.exp(log_p - both))
