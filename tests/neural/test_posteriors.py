"""Posteriors by value: densities, entropies, divergences and draws, diagonal and full."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from skvae.neural.posteriors import (
    COVARIANCES,
    LOG_VAR_RANGE,
    n_encoder_outputs,
    posterior_from,
)
from tests.vae import oracles
from tests.vae.fakes import noise, posterior_covariances

B, L = 4, 3


def make(covariance, n_rows=B, n_components=L, seed=0):
    outputs = noise(n_rows, n_encoder_outputs(n_components, covariance), seed=seed)
    return posterior_from(outputs, n_components, covariance)


def frozen(posterior):
    """The Gaussians as scipy's, one a row."""
    return [
        multivariate_normal(m, C)
        for m, C in zip(posterior.mean.numpy(), posterior_covariances(posterior), strict=True)
    ]


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_log_prob_and_entropy_are_scipy_s(covariance):
    posterior = make(covariance)
    z = noise(6, B, L, seed=1)
    expected = np.stack([q.logpdf(z[:, i].numpy()) for i, q in enumerate(frozen(posterior))], 1)
    assert_allclose(posterior.log_prob(z), expected, rtol=1e-12)
    assert_allclose(posterior.log_prob(z[0]), expected[0], rtol=1e-12)
    assert_allclose(posterior.entropy(), [q.entropy() for q in frozen(posterior)], rtol=1e-12)
    variances = [np.diag(q.cov_object.covariance) for q in frozen(posterior)]
    assert_allclose(posterior.variance, variances, rtol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_log_prob_broadcasts_over_the_rows(covariance):
    components = make(covariance, n_rows=5)
    z = noise(2, 7, L)
    out = components.log_prob(z.unsqueeze(-2))
    assert out.shape == (2, 7, 5)
    for k, q in enumerate(frozen(components)):
        assert_allclose(out[..., k], q.logpdf(z.numpy()), rtol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_log_prob_of_noise_is_that_of_the_draw(covariance):
    posterior = make(covariance)
    epsilon = noise(6, B, L, seed=2)
    z = posterior.draw(epsilon)
    assert z.shape == (6, B, L)
    assert_allclose(posterior.log_prob_of(epsilon), posterior.log_prob(z), rtol=1e-12)
    assert_allclose(posterior.draw(epsilon[3]), z[3], rtol=1e-13)
    assert_allclose(posterior.log_prob_of(epsilon[3]), posterior.log_prob(z)[3], rtol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_divergence_is_the_closed_form(covariance):
    posterior = make(covariance)
    expected = [
        oracles.kl_gaussians(m, C, np.zeros(L), np.eye(L))
        for m, C in zip(posterior.mean.numpy(), posterior_covariances(posterior), strict=True)
    ]
    assert_allclose(posterior.kl_normal(), expected, rtol=1e-12)


def test_divergence_by_dimension():
    posterior = make("diag")
    by_dimension = posterior.kl_normal_by_dimension()
    m, s2 = posterior.mean, posterior.log_var.exp()
    assert_allclose(by_dimension, 0.5 * (m**2 + s2 - 1 - s2.log()), rtol=1e-12)
    assert_allclose(by_dimension.sum(-1), posterior.kl_normal(), rtol=1e-12)
    assert make("full").kl_normal_by_dimension() is None


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_divergence_entropy_and_moments_are_those_of_draws(covariance):
    n = 400_000
    posterior = make(covariance)
    z = posterior.draw(noise(n, B, L, seed=3))
    log_q = posterior.log_prob(z)
    assert_allclose(-log_q.mean(0), posterior.entropy(), atol=4 * np.sqrt(L / 2 / n))
    log_ratio = log_q + 0.5 * (z.square().sum(-1) + L * np.log(2 * np.pi))
    error = log_ratio.std(0).max().item() / np.sqrt(n)
    assert_allclose(log_ratio.mean(0), posterior.kl_normal(), atol=5 * error)
    for i, q in enumerate(frozen(posterior)):
        spread = np.sqrt(q.cov_object.covariance.diagonal().max())
        assert_allclose(z[:, i].mean(0), q.mean, atol=5 * spread / np.sqrt(n))
        sample_covariance = np.cov(z[:, i].numpy().T)
        expected = q.cov_object.covariance
        assert_allclose(sample_covariance, expected, atol=10 * spread**2 / np.sqrt(n))


def test_full_without_correlations_is_diagonal():
    diagonal = make("diag")
    zeros = torch.zeros(B, L * (L - 1) // 2, dtype=torch.float64)
    outputs = torch.cat([diagonal.mean, diagonal.log_var, zeros], 1)
    full = posterior_from(outputs, L, "full")
    z = noise(5, B, L)
    for method, arguments in (
        ("draw", (z,)),
        ("log_prob", (z,)),
        ("log_prob_of", (z,)),
        ("entropy", ()),
        ("kl_normal", ()),
    ):
        one, other = (getattr(q, method)(*arguments) for q in (diagonal, full))
        assert_allclose(one, other, rtol=1e-12, err_msg=method)
    assert_allclose(full.variance, diagonal.variance, rtol=1e-12)


def test_factor_has_the_entries_the_encoder_gave():
    outputs = torch.arange(1.0, 10.0, dtype=torch.float64)[None] / 10
    posterior = posterior_from(outputs, 3, "full")
    d = np.exp(np.array([0.4, 0.5, 0.6]) / 2)
    assert_allclose(posterior.factor[0], [[d[0], 0, 0], [0.7, d[1], 0], [0.8, 0.9, d[2]]])
    assert_allclose(posterior.mean[0], [0.1, 0.2, 0.3])


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_pair_is_the_same_as_one_tensor(covariance):
    outputs = noise(B, n_encoder_outputs(L, covariance))
    one = posterior_from(outputs, L, covariance)
    for pair in ((outputs[:, :L], outputs[:, L:]), [outputs[:, :L], outputs[:, L:]]):
        other = posterior_from(pair, L, covariance)
        assert_array_equal(one.draw(noise(B, L)), other.draw(noise(B, L)))


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_latent_dimension(covariance):
    posterior = make(covariance, n_components=1)
    z = noise(5, B, 1)
    expected = [q.logpdf(z[:, i].numpy()) for i, q in enumerate(frozen(posterior))]
    assert_allclose(posterior.log_prob(z).T, expected, rtol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_outputs_stay_finite(covariance, dtype):
    outputs = torch.zeros(6, n_encoder_outputs(L, covariance), dtype=dtype)
    extremes = torch.tensor([1e30, 1e3, 16.0, -31.0, -1e3, -1e30], dtype=dtype)
    outputs[:, L : 2 * L] = extremes[:, None]
    posterior = posterior_from(outputs.requires_grad_(), L, covariance)
    epsilon = noise(2, 6, L, dtype=dtype)
    z = posterior.draw(epsilon)
    total = posterior.kl_normal().sum() + posterior.log_prob(z).sum() + posterior.entropy().sum()
    total.backward()
    assert torch.isfinite(z).all()
    assert torch.isfinite(total)
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_log_variances_outside_the_range_can_come_back(covariance):
    outputs = torch.zeros(2, n_encoder_outputs(1, covariance), dtype=torch.float64)
    outputs[:, 1] = torch.tensor([40.0, -100.0])
    posterior = posterior_from(outputs.requires_grad_(), 1, covariance)
    low, high = LOG_VAR_RANGE
    assert_allclose(posterior.log_var.detach()[:, 0], [high, low])
    posterior.kl_normal().sum().backward()
    assert outputs.grad[0, 1] > 1e5  # descending the divergence makes it smaller
    assert_allclose(outputs.grad[1, 1], -0.5)  # and makes this one larger


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_gradients_are_finite_differences(covariance):
    epsilon, z = noise(2, B, L, seed=1), noise(2, B, L, seed=2)

    def everything(outputs):
        q = posterior_from(outputs, L, covariance)
        return (
            q.draw(epsilon),
            q.log_prob(z),
            q.log_prob_of(epsilon),
            q.entropy(),
            q.kl_normal(),
            q.variance,
        )

    outputs = noise(B, n_encoder_outputs(L, covariance)).requires_grad_()
    assert torch.autograd.gradcheck(everything, outputs)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_total_gradient_of_log_prob_of(covariance):
    epsilon = noise(2, B, L, seed=1)
    outputs = noise(B, n_encoder_outputs(L, covariance)).requires_grad_()
    gradients = []
    for way in ("noise", "draw"):
        q = posterior_from(outputs, L, covariance)
        log_q = q.log_prob_of(epsilon) if way == "noise" else q.log_prob(q.draw(epsilon))
        gradients += torch.autograd.grad(log_q.square().sum(), outputs)
    assert_allclose(*gradients, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_detach_and_take(covariance):
    outputs = noise(B, n_encoder_outputs(L, covariance)).requires_grad_()
    posterior = posterior_from(outputs, L, covariance)
    constant = posterior.detach()
    z = noise(B, L).requires_grad_()
    (gradient,) = torch.autograd.grad(constant.log_prob(z).sum(), z)
    assert not constant.log_prob(z.detach()).requires_grad
    precision = np.linalg.inv(posterior_covariances(posterior))
    residual = (z - posterior.mean).detach().numpy()
    assert_allclose(gradient, -np.einsum("bij,bj->bi", precision, residual), rtol=1e-9)
    index = torch.tensor([2, 0, 2])
    some = posterior.take(index)
    assert_array_equal(some.entropy().detach(), posterior.entropy().detach()[index])
    expected = posterior.draw(noise(B, L))[index]
    assert_allclose(some.draw(noise(B, L)[index]).detach(), expected.detach(), rtol=1e-14)


@pytest.mark.parametrize(
    ("outputs", "covariance", "given"),
    [
        (torch.zeros(5, 7), "diag", r"one tensor of shape \(5, 7\)"),
        (torch.zeros(6), "diag", r"one tensor of shape \(6,\)"),
        (torch.zeros(5, 6), "full", r"one tensor of shape \(5, 6\)"),
        ((torch.zeros(5, 3), torch.zeros(5, 4)), "diag", r"shapes \[\(5, 3\), \(5, 4\)\]"),
        ((torch.zeros(5, 3), torch.zeros(4, 3)), "diag", r"shapes \[\(5, 3\), \(4, 3\)\]"),
        ((torch.zeros(5, 3),), "diag", r"shapes \[\(5, 3\)\]"),
        ((torch.zeros(5, 3),) * 3, "diag", r"shapes \[\(5, 3\), \(5, 3\), \(5, 3\)\]"),
        ((), "diag", r"tensors of shapes \[\]"),
        ("text", "diag", "'str'"),
        (None, "full", "'NoneType'"),
    ],
)
def test_wrong_outputs(outputs, covariance, given):
    width = {"diag": 6, "full": 9}[covariance]
    needed = rf"encoder gave .*{given}: for n_components=3 .* must give \(rows, {width}\)"
    with pytest.raises(ValueError, match=needed):
        posterior_from(outputs, 3, covariance)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_covariance_is_the_covariance(covariance):
    posterior = make(covariance)
    assert_allclose(posterior.covariance, posterior_covariances(posterior), rtol=1e-12)
    assert_allclose(posterior.covariance.diagonal(dim1=1, dim2=2), posterior.variance, rtol=1e-12)
