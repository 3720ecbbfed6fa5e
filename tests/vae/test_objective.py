"""Training objectives against exact evidence, and their gradients against expectations."""

import functools
import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.special import logsumexp
from torch import nn
from torch.func import functional_call

from skvae.neural.posteriors import COVARIANCES
from skvae.neural.priors import Mixture, Vamp
from skvae.vae.objective import row_bound
from tests.combinations import slow
from tests.vae.fakes import (
    exact_elbo,
    linear_model,
    linear_problem,
    log_weights,
    noise,
    plain_importance_bound,
)

D, L = 5, 2
PROBLEM = linear_problem(D, L)


def rows(n=6, missing=False):
    x = torch.from_numpy(PROBLEM.sample(n, seed=1))
    if missing:
        x[noise(n, D, seed=4) < -0.5] = torch.nan
    return x


def draws_of(n_draws, n_rows, seed=0):
    return noise(n_draws, n_rows, L, seed=seed)


def model_with(prior, **parameters):
    """A linear model with one of the priors, their parameters of order one."""
    model = linear_model(PROBLEM, perturbation=0.2, **parameters)
    if prior == "mixture":
        model.prior = Mixture(L, 3, torch.Generator().manual_seed(0)).double()
        with torch.no_grad():
            model.prior.logits.copy_(noise(3))
            model.prior.log_excess.copy_(noise(3, L))
    elif prior == "vamp":
        model.prior = Vamp(rows(4), L)
    return model


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("missing", [False, True])
def test_elbo_is_evidence_less_divergence(covariance, missing):
    model = linear_model(PROBLEM, covariance=covariance, perturbation=0.2)
    x = rows(missing=missing)
    observed = ~x.isnan() if missing else None
    n = 100_000
    bound = row_bound(model, x, observed, draws_of(n, len(x)))
    expected = exact_elbo(PROBLEM, x.numpy(), model.encode(x))
    terms = model.terms(x, observed, draws_of(n, len(x)))
    error = terms.log_likelihood.std(0).max().item() / math.sqrt(n)
    assert_allclose(bound.bound.detach(), expected, atol=5 * error)
    assert_allclose(bound.objective.detach(), bound.bound.detach(), rtol=0)
    assert_allclose((bound.reconstruction - bound.kl).detach(), bound.bound.detach(), rtol=1e-12)
    assert_allclose(bound.kl.detach(), model.encode(x).kl_normal().detach(), rtol=1e-12)


@pytest.mark.parametrize("missing", [False, *slow(True)])
def test_bounds_rise_with_the_draws_to_the_evidence(missing):
    """ELBO ≤ IWAE_k ≤ ln p(x) in expectation, over 4,000 seeds a row."""
    model, x = linear_model(PROBLEM, covariance="diag", perturbation=0.1), rows(missing=missing)
    observed = ~x.isnan() if missing else None
    weights = log_weights(model, x, observed, draws_of(4000 * 64, len(x))).detach().numpy()
    evidence = PROBLEM.log_evidence(x.numpy())
    means, errors = [], []
    for k in (1, 2, 4, 16, 64):
        bounds = logsumexp(weights.reshape(-1, k, len(x)), axis=1) - np.log(k)
        means.append(bounds.mean(axis=0))
        errors.append(bounds.std(axis=0) / math.sqrt(len(bounds)))
    assert_allclose(
        means[0], exact_elbo(PROBLEM, x.numpy(), model.encode(x)), atol=5 * max(errors[0])
    )
    rises = np.diff(means, axis=0)
    assert (rises > 3 * np.array(errors[1:])).all()  # they rise by more than chance explains
    assert (means[-1] < evidence + 5 * errors[-1]).all()
    assert (evidence - means[-1] < 0.5 * (evidence - means[0])).all()


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_importance_bound_is_the_log_mean_of_weights(prior):
    model, x = model_with(prior), rows()
    epsilon = draws_of(7, len(x))
    bound = row_bound(model, x, None, epsilon, importance=True)
    weights = log_weights(model, x, None, epsilon).detach().numpy()
    expected = logsumexp(weights, axis=0) - np.log(7)
    assert_allclose(bound.objective.detach(), expected, rtol=1e-12)
    assert_allclose(bound.bound, expected, rtol=1e-12)
    assert_allclose(bound.reconstruction - bound.kl, weights.mean(axis=0), rtol=1e-12)


@pytest.mark.parametrize("importance", [False, True])
def test_exact_posterior_makes_the_bound_the_evidence(importance):
    model, x = linear_model(PROBLEM), rows()
    evidence = PROBLEM.log_evidence(x.numpy())
    if importance:
        bound = row_bound(model, x, None, draws_of(3, len(x)), importance=True)
        assert_allclose(bound.objective.detach(), evidence, rtol=1e-12)
    expected = exact_elbo(PROBLEM, x.numpy(), model.encode(x))
    assert_allclose(expected, evidence, rtol=1e-10)


@pytest.mark.parametrize("importance", [False, True])
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_one_draw_is_a_draw_of_several(importance, covariance):
    model = linear_model(PROBLEM, covariance=covariance, perturbation=0.2)
    x, epsilon = rows(), draws_of(5, 6)
    each = [row_bound(model, x, None, epsilon[s : s + 1], importance=importance) for s in range(5)]
    together = row_bound(model, x, None, epsilon, importance=importance)
    for name in ("reconstruction", "kl") if importance else ("bound", "reconstruction", "kl"):
        mean = torch.stack([getattr(b, name) for b in each]).mean(0).detach()
        assert_allclose(mean, getattr(together, name).detach(), rtol=1e-12, err_msg=name)


def test_beta():
    model, x, epsilon = linear_model(PROBLEM, perturbation=0.2), rows(), draws_of(3, 6)
    plain = row_bound(model, x, None, epsilon)
    half = row_bound(model, x, None, epsilon, beta=0.5)
    assert_allclose(half.objective.detach(), (plain.reconstruction - 0.5 * plain.kl).detach())
    assert_allclose(half.bound.detach(), plain.bound.detach(), rtol=0)
    none = row_bound(model, x, None, epsilon, beta=0.0)
    assert_allclose(none.objective.detach(), plain.reconstruction.detach(), rtol=1e-14)
    terms = model.terms(x, None, epsilon)
    tempered = terms.log_likelihood + 0.5 * (terms.log_prior - terms.log_q)
    half = row_bound(model, x, None, epsilon, beta=0.5, importance=True)
    expected = torch.logsumexp(tempered, 0) - math.log(3)
    assert_allclose(half.objective.detach(), expected.detach(), rtol=1e-12)
    plain = row_bound(model, x, None, epsilon, importance=True)
    assert_allclose(half.bound, plain.objective.detach(), rtol=1e-12)  # without beta


def test_free_bits_by_dimension():
    model = linear_model(PROBLEM, covariance="diag", perturbation=0.2)
    x, epsilon = rows(), draws_of(1, 6)
    by_dimension = model.encode(x).kl_normal_by_dimension().detach()
    means = by_dimension.mean(0)
    between = means.mean().item()
    assert means.min() < between < means.max()
    plain = row_bound(model, x, None, epsilon)
    bound = row_bound(model, x, None, epsilon, free_bits=between, beta=0.5)
    charged = torch.where(means > between, by_dimension, between).sum(-1)
    expected = plain.reconstruction.detach() - 0.5 * charged
    assert_allclose(bound.objective.detach(), expected, rtol=1e-12)
    assert_allclose(bound.bound.detach(), plain.bound.detach(), rtol=0)
    batch = plain.reconstruction.mean().item() - 0.5 * means.clamp(min=between).sum().item()
    assert_allclose(bound.objective.mean().item(), batch, rtol=1e-12)


@pytest.mark.parametrize(
    ("prior", "covariance"), [("normal", "full"), ("mixture", "diag"), ("vamp", "diag")]
)
def test_free_bits_of_the_whole_divergence(prior, covariance):
    model, x, epsilon = model_with(prior, covariance=covariance), rows(), draws_of(2, 6)
    plain = row_bound(model, x, None, epsilon)
    mean = plain.kl.mean().item()
    little, much = (
        row_bound(model, x, None, epsilon, free_bits=factor * mean / L) for factor in (0.9, 1.1)
    )
    assert_allclose(little.objective.detach(), plain.objective.detach(), rtol=1e-12)
    expected = plain.reconstruction.detach() - 1.1 * mean
    assert_allclose(much.objective.detach(), expected, rtol=1e-12)
    assert_allclose(much.kl.detach(), plain.kl.detach(), rtol=1e-12)


def test_free_bits_have_no_gradient():
    model, x, epsilon = linear_model(PROBLEM, covariance="diag"), rows(), draws_of(1, 6)
    free = row_bound(model, x, None, epsilon, free_bits=100.0)
    reconstruction = row_bound(model, x, None, epsilon).reconstruction
    for a, b in zip(gradient(model, free.objective), gradient(model, reconstruction), strict=True):
        assert_allclose(a, b, rtol=1e-10)


def test_free_bits_with_importance():
    model, x, epsilon = linear_model(PROBLEM), rows(), draws_of(3, 6)
    with pytest.raises(ValueError, match=r"free_bits=0\.5: must be 0 with an importance-weighted"):
        row_bound(model, x, None, epsilon, importance=True, free_bits=0.5)


# Gradients --------------------------------------------------------------------------------------


def gradient(model, objective):
    """Gradients of the sum over rows with respect to all parameters."""
    return torch.autograd.grad(objective.sum(), list(model.parameters()))


class Objective(nn.Module):
    """The training objective of a model as a function of its parameters."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, observed, epsilon, **settings):
        return row_bound(self.model, x, observed, epsilon, **settings).objective


SETTINGS = [{}, {"beta": 0.3}, {"free_bits": 0.4}]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_gradients_are_finite_differences(settings, covariance, missing, prior):
    model, x, epsilon = model_with(prior, covariance=covariance), rows(3, missing), draws_of(2, 3)
    observed = ~x.isnan() if missing else None
    module = Objective(model)
    names, values = zip(*module.named_parameters(), strict=True)

    def objective(*parameters):
        state = dict(zip(names, parameters, strict=True))
        return functional_call(module, state, (x, observed, epsilon), settings)

    values = [v.detach().requires_grad_() for v in values]
    assert torch.autograd.gradcheck(objective, values)


@pytest.mark.parametrize("n_draws", [1, 4])
def test_decoder_s_dreg_gradient_is_the_plain_one(n_draws):
    """Only the gradient through the encoder has another estimate."""
    model, x, epsilon = model_with("mixture"), rows(), draws_of(n_draws, 6)
    plain, dreg = (
        gradients_by_name(model, x, epsilon, bound) for bound in (plain_bound, dreg_bound)
    )
    for name, value in plain.items():
        if name.startswith("encoder"):
            assert not torch.allclose(dreg[name], value)
        else:
            assert_allclose(dreg[name], value, rtol=1e-10, err_msg=name)


def dreg_bound(model, x, epsilon, beta=1.0):
    return row_bound(model, x, None, epsilon, beta=beta, importance=True).objective


def plain_bound(model, x, epsilon, beta=1.0):
    return plain_importance_bound(model, x, None, epsilon, beta)


def gradients_by_name(model, x, epsilon, bound):
    objective = bound(model, x, epsilon)
    names = [name for name, _ in model.named_parameters()]
    return dict(zip(names, gradient(model, objective), strict=True))


@pytest.mark.parametrize("beta", [1.0, 0.4])
@pytest.mark.parametrize(
    ("prior", "covariance"),
    [("normal", "diag"), ("normal", "full"), ("mixture", "diag"), ("vamp", "full")],
)
@pytest.mark.parametrize("n_draws", [1, 3])
def test_dreg_gradient_is_unbiased(prior, covariance, n_draws, beta):
    """Its mean over 10,000 seeds is that of the plain gradient."""
    n_seeds = 10_000
    model, x = model_with(prior, covariance=covariance), rows(2)
    epsilon = noise(n_draws, 2 * n_seeds, L)
    many = x.repeat(n_seeds, 1)
    means, errors = {}, {}
    for bound in (plain_bound, dreg_bound):
        by_seed = encoder_gradients(model, many, epsilon, functools.partial(bound, beta=beta))
        by_seed = by_seed.reshape(n_seeds, 2, -1)
        means[bound] = by_seed.mean(0)
        errors[bound] = by_seed.std(0) / math.sqrt(n_seeds)
    error = torch.hypot(errors[dreg_bound], errors[plain_bound])
    assert ((means[dreg_bound] - means[plain_bound]) / error).abs().max() < 4.5
    assert (means[plain_bound].abs() > 20 * errors[dreg_bound]).any()  # there is a gradient


def encoder_gradients(model, x, epsilon, bound):
    """Each row's gradient with respect to the encoder's outputs, (n, n_encoder_outputs).

    Those with respect to its weights are their products with the row.
    """
    kept = []
    handle = model.encoder.register_forward_hook(lambda module, args, out: kept.append(out))
    objective = bound(model, x, epsilon)
    handle.remove()
    # VampPrior encodes its pseudo-inputs too: the outputs of x have the length of x.
    outputs = next(out for out in kept if len(out) == len(x))
    return torch.autograd.grad(objective.sum(), outputs)[0]


def test_dreg_gradient_vanishes_at_the_exact_posterior():
    model, x, epsilon = linear_model(PROBLEM), rows(), draws_of(5, 6)
    scale = gradients_by_name(model, x, epsilon, plain_bound)["encoder.weight"].abs().max()
    found = gradients_by_name(model, x, epsilon, dreg_bound)
    for name in ("encoder.weight", "encoder.bias"):
        assert found[name].abs().max() < 1e-11 * scale


def test_dreg_is_less_noisy_with_many_draws():
    model, x = linear_model(PROBLEM, perturbation=0.05), rows(1)
    n_seeds = 4000
    many, epsilon = x.repeat(n_seeds, 1), noise(64, n_seeds, L)
    spread = {
        bound: encoder_gradients(model, many, epsilon, bound).std(0)
        for bound in (plain_bound, dreg_bound)
    }
    assert (spread[dreg_bound] < 0.5 * spread[plain_bound]).all()


def test_no_gradient_no_hook():
    model, x, epsilon = linear_model(PROBLEM), rows(), draws_of(3, 6)
    with torch.no_grad():
        bound = row_bound(model, x, None, epsilon, importance=True)
    assert not bound.objective.requires_grad


@pytest.mark.parametrize("importance", [False, True])
def test_frozen_encoder(importance):
    """A decoder can be trained alone."""
    model, x, epsilon = linear_model(PROBLEM, perturbation=0.2), rows(), draws_of(3, 6)
    settings = {"importance": importance}

    def bound(model, x, epsilon):
        return row_bound(model, x, None, epsilon, **settings).objective

    expected = gradients_by_name(model, x, epsilon, bound)
    for parameter in model.encoder.parameters():
        parameter.requires_grad_(False)
    row_bound(model, x, None, epsilon, **settings).objective.sum().backward()
    for name, parameter in model.decoder.named_parameters(prefix="decoder"):
        assert_allclose(parameter.grad, expected[name], rtol=1e-10)
