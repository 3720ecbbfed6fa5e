"""Priors by value: densities against explicit sums and integrals, draws by their moments."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal

from skvae.neural.posteriors import COVARIANCES, n_encoder_outputs, posterior_from
from skvae.neural.priors import MIN_VARIANCE, PRIORS, Mixture, Normal, Vamp, make_prior
from tests.vae import oracles
from tests.vae.fakes import noise, posterior_covariances

K, L, N_INPUTS = 4, 2, 3


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def mixture():
    """A mixture with weights, means and variances that are all different."""
    prior = Mixture(L, K, generator()).double()
    with torch.no_grad():
        prior.logits.copy_(noise(K, seed=1))
        prior.log_excess.copy_(noise(K, L, seed=2))
    return prior


def encode(covariance):
    """An encoder of pseudo-inputs."""
    width = n_encoder_outputs(L, covariance)
    weight = noise(N_INPUTS, width, seed=3)
    return lambda inputs: posterior_from(torch.tanh(inputs @ weight), L, covariance)


def densities():
    yield "mixture", mixture().density()
    for covariance in COVARIANCES:
        vamp = Vamp(noise(K, N_INPUTS), L)
        yield f"vamp-{covariance}", vamp.density(encode(covariance))


DENSITIES = dict(densities())
both = pytest.mark.parametrize("density", DENSITIES.values(), ids=DENSITIES.keys())


def oracle(density):
    """Weights, means and covariances of a mixture density as arrays."""
    components = density.components
    weights = density.log_weights.detach().exp().numpy()
    return weights, components.mean.detach().numpy(), posterior_covariances(components)


@both
def test_density_and_responsibilities_are_explicit_sums(density):
    z = noise(5, 6, L)
    log_p, resp = oracles.log_mixture(z.reshape(-1, L).numpy(), *oracle(density))
    assert_allclose(density.log_prob(z).detach(), log_p.reshape(5, 6), rtol=1e-11)
    assert_allclose(density.responsibilities(z).detach(), resp.reshape(5, 6, K), rtol=1e-10)
    assert_allclose(density.log_prob(z[0]).detach(), log_p[:6], rtol=1e-11)


@both
def test_density_integrates_to_one(density):
    z, cell = oracles.grid(-12, 12, 481, L)
    log_p = density.log_prob(torch.from_numpy(z)).detach()
    assert_allclose(log_p.exp().sum() * cell, 1.0, rtol=1e-6)


@both
def test_draws_have_the_moments_of_the_density(density):
    n = 200_000
    z, labels = density.sample(n, generator(5))
    weights, means, covariances = oracle(density)
    assert labels.dtype == torch.int64
    assert_allclose(np.bincount(labels, minlength=K) / n, weights, atol=5 / np.sqrt(n))
    for k in range(K):
        own = z[labels == k].detach().numpy()
        spread = np.sqrt(covariances[k].diagonal().max())
        assert_allclose(own.mean(0), means[k], atol=5 * spread / np.sqrt(len(own)))
        assert_allclose(np.cov(own.T), covariances[k], atol=10 * spread**2 / np.sqrt(len(own)))


@both
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_divergence_is_an_integral(density, covariance):
    outputs = noise(3, n_encoder_outputs(L, covariance), seed=7)
    posterior = posterior_from(outputs, L, covariance)
    n = 100_000
    epsilon = noise(n, 3, L, seed=8)
    estimate = density.kl(posterior, posterior.draw(epsilon)).detach().numpy()
    points, cell = oracles.grid(-14, 14, 561, L)
    log_p, _ = oracles.log_mixture(points, *oracle(density))
    for i, C in enumerate(posterior_covariances(posterior)):
        log_q = multivariate_normal(posterior.mean[i].numpy(), C).logpdf(points)
        exact = (np.exp(log_q) * (log_q - log_p)).sum() * cell
        assert_allclose(estimate[i], exact, atol=0.05)
    one = density.kl(posterior, posterior.draw(epsilon[0])).detach()
    same = density.kl(posterior, posterior.draw(epsilon[:1])).detach()
    assert_allclose(one, same, rtol=1e-13)
    assert density.kl_by_dimension(posterior) is None


def test_normal():
    prior = Normal(3).double()
    z = noise(4, 5, 3)
    expected = multivariate_normal(np.zeros(3), np.eye(3)).logpdf(z.numpy())
    assert prior.density() is prior
    assert_allclose(prior.log_prob(z), expected, rtol=1e-13)
    draws, labels = prior.sample(100_000, generator())
    assert labels is None
    assert draws.dtype == torch.float64
    assert_allclose(draws.mean(0), np.zeros(3), atol=0.016)
    assert_allclose(np.cov(draws.numpy().T), np.eye(3), atol=0.03)
    posterior = posterior_from(noise(5, 6), 3)
    assert_array_equal(prior.kl(posterior, z), posterior.kl_normal())
    assert_array_equal(prior.kl_by_dimension(posterior), posterior.kl_normal_by_dimension())
    assert Normal(3).sample(2, generator())[0].dtype == torch.float32


def test_mixture_of_one_standard_normal_is_normal():
    prior = make_prior("mixture", 3, n_prior_components=1, generator=generator()).double()
    with torch.no_grad():
        prior.means.zero_()
    z = noise(4, 5, 3)
    expected = Normal(3).log_prob(z)
    assert_allclose(prior.density().log_prob(z).detach(), expected, rtol=1e-7)


def test_first_mixture_has_unit_variances_and_equal_weights():
    density = make_prior("mixture", 3, n_prior_components=5, generator=generator()).density()
    weights, _, covariances = oracle(density)
    assert_allclose(weights, np.full(5, 0.2), rtol=1e-6)
    assert_allclose(covariances, np.stack([np.eye(3)] * 5), rtol=1e-6)


def test_gradients_are_finite_differences():
    z = noise(3, L)

    def log_prob(z, logits, means, log_excess):
        prior = Mixture(L, K, generator()).double()
        parameters = {"logits": logits, "means": means, "log_excess": log_excess}
        for name, value in parameters.items():
            delattr(prior, name)
            setattr(prior, name, value)
        return prior.density().log_prob(z)

    arguments = (z, noise(K, seed=1), noise(K, L, seed=2), noise(K, L, seed=3))
    assert torch.autograd.gradcheck(log_prob, [a.requires_grad_() for a in arguments])
    for covariance in COVARIANCES:
        encoder = encode(covariance)
        assert torch.autograd.gradcheck(
            lambda u, z, encoder=encoder: Vamp.density(_with_inputs(u), encoder).log_prob(z),
            [noise(K, N_INPUTS).requires_grad_(), z],
        )


def _with_inputs(pseudo_inputs):
    """A VampPrior with the given tensor as pseudo-inputs, for derivatives."""
    vamp = Vamp(pseudo_inputs, L)
    del vamp.pseudo_inputs
    vamp.pseudo_inputs = pseudo_inputs
    return vamp


def test_gradient_reaches_pseudo_inputs_and_encoder():
    vamp = Vamp(noise(K, N_INPUTS), L)
    layer = torch.nn.Linear(N_INPUTS, 2 * L, dtype=torch.float64)
    density = vamp.density(lambda u: posterior_from(layer(u), L))
    density.log_prob(noise(5, L)).sum().backward()
    assert vamp.pseudo_inputs.grad.abs().min() > 0
    assert layer.weight.grad.abs().min() > 0
    copy.deepcopy(vamp)  # no graph is kept on the module


@pytest.mark.parametrize("with_variances", [False, True])
def test_clusters_of_latents_start_a_mixture(with_variances):
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 9.0]])
    labels = rng.choice(3, size=3000, p=[0.5, 0.3, 0.2])
    scales = np.array([[0.5, 1.0], [0.3, 0.2], [1.0, 0.4]])
    points = centres[labels] + rng.normal(size=(3000, 2)) * scales[labels]
    variances = rng.uniform(0.1, 0.3, size=(3000, 2)) if with_variances else None
    prior = Mixture(2, 3, generator()).double()
    prior.initialize(points, variances, seed=0)
    weights, means, covariances = oracle(prior.density())
    order = np.argsort(-weights)
    assert_allclose(weights[order], [0.5, 0.3, 0.2], atol=0.02)
    assert_allclose(means[order], centres, atol=0.1)
    extra = 0.2 if with_variances else 0.0
    found = np.stack([np.diag(C) for C in covariances])[order]
    assert_allclose(found, scales**2 + extra, rtol=0.12, atol=0.01)
    again = Mixture(2, 3, generator(9)).double()  # the same seed, after other parameters
    again.initialize(points, variances, seed=0)
    z = noise(3, 2)
    expected = prior.density().log_prob(z).detach()
    assert_array_equal(again.density().log_prob(z).detach(), expected)


def test_clusters_without_rows_of_their_own():
    points = np.repeat([[0.0, 1.0], [5.0, 5.0]], 10, axis=0)
    prior = Mixture(2, 4, generator())
    prior.initialize(points, seed=0)
    weights, means, covariances = oracle(prior.density())
    assert np.isfinite(means).all()
    assert (weights > 0).all()
    assert_allclose(weights.sum(), 1, rtol=1e-6)
    smallest = np.stack([np.diag(C) for C in covariances]).min()
    assert smallest >= MIN_VARIANCE
    empty = np.argsort(weights)[:2]
    assert_allclose(means[empty], [points.mean(axis=0)] * 2, rtol=1e-6)


def test_too_few_rows_for_the_clusters():
    with pytest.raises(ValueError, match="n_prior_components=4: must be <= n_samples, which is 3"):
        Mixture(2, 4, generator()).initialize(np.zeros((3, 2)), seed=0)


def test_variance_has_a_floor():
    prior = mixture()
    with torch.no_grad():
        prior.log_excess.fill_(-1000.0)
    assert_allclose(prior.density().components.variance.detach(), np.full((K, L), MIN_VARIANCE))


def test_pseudo_inputs_start_at_rows():
    rows = noise(20, N_INPUTS, dtype=torch.float32)
    prior = make_prior("vamp", L, n_prior_components=8, pseudo_inputs=rows, generator=generator())
    found = [int((rows == u).all(1).nonzero()) for u in prior.pseudo_inputs.detach()]
    assert len(set(found)) == 8
    few = make_prior("vamp", L, n_prior_components=8, pseudo_inputs=rows[:3], generator=generator())
    assert len(few.pseudo_inputs) == 8
    assert {tuple(u) for u in few.pseudo_inputs.tolist()} == {tuple(r) for r in rows[:3].tolist()}
    none = make_prior("vamp", L, n_prior_components=8, n_inputs=6, generator=generator())
    assert none.pseudo_inputs.shape == (8, 6)
    assert [p.numbers_per_draw for p in (prior, mixture(), Normal(3))] == [16, 8, 0]


@pytest.mark.parametrize("name", PRIORS)
def test_first_values_come_from_the_generator_alone(name):
    before = torch.random.get_rng_state()
    states = [
        make_prior(name, 2, n_inputs=3, generator=generator(seed)).state_dict()
        for seed in (0, 0, 1)
    ]
    assert torch.equal(before, torch.random.get_rng_state())
    for key, value in states[0].items():
        assert torch.equal(value, states[1][key])
    varying = [not torch.equal(v, states[2][k]) for k, v in states[0].items()]
    assert any(varying) or name == "normal"


def test_unknown_prior():
    with pytest.raises(
        ValueError, match="prior='flat': must be one of 'normal', 'mixture', 'vamp'"
    ):
        make_prior("flat", 2, generator=generator())
