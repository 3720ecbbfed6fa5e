"""Proposals for the latent vectors of rows, against quadrature and closed forms."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from benchmarks.vae.quadrature import log_likelihood_on_grid
from skvae.neural.importance import (
    elbo_terms,
    expected_features,
    in_double,
    log_likelihood,
    posterior_expectation,
    standard_error,
)
from skvae.neural.latent_model import LatentModel, make_model
from skvae.neural.likelihoods import make_likelihood
from skvae.neural.posteriors import DiagonalPosterior
from skvae.neural.priors import Normal
from skvae.neural.proposal import Mode, PriorDraws, Proposal, mode_from
from tests.problems import knock_out
from tests.vae.fakes import FixedGaussian, linear, linear_model, linear_problem

S = 600


def random_model(X, likelihood, n_latents, *, strength=2.5, params=None, **changes):
    """A model with large random weights: its encoder is far from every posterior."""
    likelihood = make_likelihood(likelihood, X, params)
    model = make_model(
        likelihood, n_components=n_latents, hidden_layer_sizes=(7,), seed=1, **changes
    )
    with torch.no_grad():
        for part in model.decoder:
            if isinstance(part, nn.Linear):
                part.weight *= strength
    return in_double(model)


def values(name, n=24, n_features=4, seed=0):
    """Rows of a family."""
    rng = np.random.default_rng(seed)
    return {
        "bernoulli": rng.integers(0, 2, (n, n_features)),
        "continuous_bernoulli": rng.random((n, n_features)),
        "categorical": rng.integers(0, 3, (n, n_features)),
        "poisson": rng.poisson(3, (n, n_features)),
        "negative_binomial": rng.poisson(3, (n, n_features)),
        "log_normal": rng.lognormal(size=(n, n_features)),
        "gamma": rng.gamma(2.0, size=(n, n_features)),
        "beta": rng.beta(2.0, 0.5, size=(n, n_features)),
    }.get(name, rng.normal(size=(n, n_features))).astype(float)


def assert_near_quadrature(model, x, seed=0):
    """Within the errors of the draws, and with many effective draws in most rows."""
    found = log_likelihood(model, x, S, seed=seed)
    error = standard_error(found.effective_size, S)
    off = found.log_likelihood - model.likelihood.log_volume(x) - log_likelihood_on_grid(model, x)
    some = ~np.isnan(x).all(axis=1)
    assert np.abs(off).max() < max(6 * error.max(), 1e-9)
    assert np.abs(off.mean()) < 0.05
    assert np.median(found.effective_size[some]) > S / 10


# By value -----------------------------------------------------------------------------------------

FAMILIES = [
    "gaussian",
    "student_t",
    "bernoulli",
    "continuous_bernoulli",
    "categorical",
    "poisson",
    "negative_binomial",
    "log_normal",
    "gamma",
    "beta",
]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("missing", [False, True])
def test_every_family_against_quadrature(family, missing):
    X = values(family)
    model = random_model(X, family, 1)
    X = knock_out(X, 0.4) if missing else X
    assert_near_quadrature(model, model.likelihood.prepare(X))


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_every_prior_against_quadrature(prior, covariance):
    X = values("gaussian")
    model = random_model(
        X, "gaussian", 2, strength=1.5, prior=prior, n_prior_components=3, covariance=covariance
    )
    assert_near_quadrature(model, model.likelihood.prepare(knock_out(X, 0.3)[:12]))


@pytest.mark.parametrize("params", [{"scale": "decoder"}, {"scale": "shared"}])
def test_every_scale_against_quadrature(params):
    X = values("gaussian")
    model = random_model(X, "gaussian", 1, params=params)
    assert_near_quadrature(model, model.likelihood.prepare(knock_out(X, 0.3)))


def test_columns_of_several_kinds_against_quadrature():
    X = np.column_stack([values("gaussian", n_features=2), values("poisson"), values("bernoulli")])
    parts = [("gaussian", [0, 1]), ("poisson", slice(2, 6)), ("bernoulli", slice(6, 10))]
    model = random_model(X, parts, 1)
    assert_near_quadrature(model, model.likelihood.prepare(knock_out(X, 0.5)))


class Folded(nn.Module):
    """x = (z², z² / 2), computed by NumPy: it has no derivatives for torch."""

    def forward(self, z):
        square = z.detach().numpy() ** 2
        return torch.from_numpy(np.concatenate([square, square / 2], axis=1))


def folded_model():
    """A model of two equal modes, with an encoder at the positive one."""
    encoder = linear(np.zeros((2, 2)), np.array([2.0, -6.0]))
    prior = Normal(1).double()
    return LatentModel(encoder, Folded(), FixedGaussian([0.05, 0.05]), prior, 1).eval()


def test_both_modes_of_a_decoder_without_derivatives():
    x = np.random.default_rng(0).uniform(1.0, 6.0, size=(10, 1)) * [[1.0, 0.5]]
    model = folded_model()
    model.likelihood.log_volume = lambda x: np.zeros(len(x))
    assert_near_quadrature(model, x)
    latent = posterior_expectation(model, x, 2000, lambda draws: draws.z, seed=0)
    assert np.abs(latent.mean).max() < 0.3  # of a symmetric posterior
    alone = elbo_terms(model, x, 200, seed=0).elbo
    assert (alone < log_likelihood_on_grid(model, x) - 0.5).all()  # the encoder is at one mode


def test_a_poor_encoder_costs_little():
    """Draws of the encoder alone are off by nats; those of both are not."""
    problem = linear_problem(n_features=6, n_components=3)
    X = knock_out(problem.sample(60, seed=1), 0.4)
    model = linear_model(problem, perturbation=2.0)
    model.likelihood.log_volume = lambda x: np.zeros(len(x))
    found = log_likelihood(model, X, 900, seed=0)
    off = found.log_likelihood - problem.log_evidence(X)
    assert abs(off.mean()) < 0.02
    assert np.abs(off).max() < 0.3
    assert found.effective_size.min() > 200


def test_imputations_have_the_exact_mean():
    problem = linear_problem(n_features=6, n_components=2)
    X = knock_out(problem.sample(30, seed=2), 0.5)
    model = linear_model(problem, perturbation=2.0)
    model.likelihood.log_volume = lambda x: np.zeros(len(x))
    model.likelihood.mean = lambda outputs: outputs
    found = expected_features(model, X, 20_000, seed=0).mean
    means, _ = problem.posterior(X)
    assert_allclose(found, problem.offset + means @ problem.loadings.T, atol=0.1)


# The parts ----------------------------------------------------------------------------------------


def modes_of(model, x, seed=0):
    x = torch.as_tensor(x)
    observed = ~x.isnan() if x.isnan().any() else None
    with torch.no_grad():
        density = model.prior_density()
        draws = PriorDraws.of_model(model, density, seed)
        first = mode_from(model, density, x, observed, model.encode(x).mean)
        start = draws.best(model, x, observed, first)
        return first, mode_from(model, density, x, observed, start)


@pytest.mark.parametrize("missing", [False, True])
def test_modes_of_a_linear_model_are_its_posterior(missing):
    problem = linear_problem(n_features=6, n_components=3)
    X = problem.sample(20, seed=3)
    X = knock_out(X, 0.4) if missing else X
    modes = modes_of(linear_model(problem, perturbation=1.0), X)
    means, covariances = problem.posterior(X)
    for mode in modes:
        assert_allclose(mode.mean, means, atol=1e-5)
        assert_allclose(mode.factor @ mode.factor, covariances, atol=1e-5)
        assert_allclose(mode.factor @ mode.whitening, np.eye(3)[None].repeat(20, 0), atol=1e-9)
        assert_allclose(mode.log_volume, 0.5 * np.linalg.slogdet(covariances)[1], atol=1e-5)


def test_modes_are_stationary_and_not_lower_than_their_starts():
    X = values("poisson")
    model = random_model(X, "poisson", 3, strength=1.0)
    x = torch.as_tensor(model.likelihood.prepare(X))
    modes, density = modes_of(model, x.numpy()), model.prior_density()

    def log_joint(z):
        return model.log_likelihood(x, None, z) + density.log_prob(z)

    for mode in modes:
        z = mode.mean.clone().requires_grad_()
        value = log_joint(z)
        (slope,) = torch.autograd.grad(value.sum(), z)
        size = (mode.factor @ slope[..., None]).square().sum((-2, -1))
        assert size.median() < 0.01  # of a squared standard deviation
        if mode is modes[0]:
            assert (value >= log_joint(model.encode(x).mean) - 1e-6).all()


def test_densities_of_the_draws_are_normalised():
    """The mean of N(z) / q(z) over draws from q is one, for any modes and any encoder."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(2, 5, 2, generator=generator, dtype=torch.float64)
    square = torch.randn(2, 5, 2, 2, generator=generator, dtype=torch.float64)
    scale = square @ square.mT + 0.5 * torch.eye(2)
    values, vectors = torch.linalg.eigh(scale)
    factor = (vectors * values.sqrt()[..., None, :]) @ vectors.mT
    parts = mean, factor, torch.linalg.inv(factor), 0.5 * values.log().sum(-1)
    modes = tuple(Mode(*(part[k] for part in parts)) for k in range(2))
    posterior = DiagonalPosterior(mean[0] + 1.0, torch.zeros(5, 2, dtype=torch.float64))
    both = Proposal(posterior, modes)
    noise = torch.randn(90_000, 5, both.n_numbers, generator=generator, dtype=torch.float64)
    z, log_q = both.draw(noise, 0, len(noise))
    ratio = (Normal(2).double().log_prob(z) - log_q).exp()
    error = ratio.std(0) / len(noise) ** 0.5
    assert ((ratio.mean(0) - 1.0).abs() < 5 * error).all()
    assert error.max() < 0.02


@pytest.mark.parametrize("n_draws", [1, 2, 3, 10])
def test_draws_take_turns_at_any_place(n_draws):
    """Those of two calls are those of one, and the shares are what was drawn."""
    problem = linear_problem()
    X = problem.sample(4, seed=0)
    model = linear_model(problem, perturbation=0.5)
    both = Proposal(model.encode(torch.as_tensor(X)), modes_of(model, X))
    noise = torch.randn(n_draws, 4, both.n_numbers, dtype=torch.float64)
    z, log_q = both.draw(noise, 0, n_draws)
    cut = n_draws // 2
    parts = [both.draw(noise[:cut], 0, n_draws), both.draw(noise[cut:], cut, n_draws)]
    assert_allclose(torch.cat([part[0] for part in parts]).detach(), z.detach())
    assert_allclose(torch.cat([part[1] for part in parts]).detach(), log_q.detach())
    assert_allclose(z[0].detach(), both.posterior.draw(noise[0, :, :2]).detach())
    if n_draws == 1:
        assert_allclose(log_q.detach(), both.posterior.log_prob(z).detach())


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_a_decoder_breaks_down_the_proposal_is_finite(value):
    class Broken(nn.Module):
        def forward(self, z):
            return torch.full((len(z), 3), value, dtype=z.dtype)

    encoder = linear(np.zeros((4, 3)), np.zeros(4))
    prior = Normal(2).double()
    model = LatentModel(encoder, Broken(), FixedGaussian(np.ones(3)), prior, 2)
    modes = modes_of(model, np.zeros((2, 3)))
    for mode in modes:
        assert all(part.isfinite().all() for part in mode)
        assert_allclose(mode.factor, np.eye(2)[None].repeat(2, 0))


def test_rows_have_the_same_modes_beside_any_others():
    """A row that is at its mode stays there, while the others need more steps."""
    X = values("poisson", n=6)
    model = random_model(X, "poisson", 2)
    x = model.likelihood.prepare(X)
    together = modes_of(model, x)
    alone = [modes_of(model, x[i : i + 1]) for i in range(6)]
    for k in range(2):
        found = torch.cat([modes[k].mean for modes in alone])
        assert_allclose(found, together[k].mean, rtol=1e-5, atol=1e-6)
