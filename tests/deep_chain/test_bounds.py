"""The bounds are ordered, and on a linear decoder below the exact value of a Gaussian chain."""

import math

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skvae import EMHiddenMarkov
from skvae.chain import algorithms
from skvae.deep_chain.bounds import (
    factored_scores,
    importance_scores,
    marginal_scores,
    sequence_bound,
)
from skvae.deep_chain.chain_importance import scored
from skvae.deep_chain.state_prior import StateChain, StatePrior
from skvae.hmm import GaussianEmission
from skvae.neural.posteriors import DiagonalPosterior, FullPosterior
from tests.deep_chain.test_chain_likelihood import by_torch
from tests.vae.fakes import linear_model, linear_problem

OFFSETS = np.array([0, 1, 13, 40])


def chain_problem(n_states=3, *, covariance="diag", perturbation=0.03, seed=0):
    """A model with a linear decoder, rows of three sequences, and the exact chain of the rows."""
    problem = linear_problem(seed=seed)
    model = linear_model(problem, covariance=covariance, perturbation=perturbation, seed=seed)
    rng = np.random.default_rng(seed)
    chain = StateChain(
        np.log(rng.dirichlet(np.ones(n_states))),
        np.log(rng.dirichlet(np.ones(n_states), size=n_states)),
        rng.normal(size=(n_states, 2)),
        rng.uniform(0.3, 0.8, size=(n_states, 2)),
    )
    model.prior = StatePrior(2, n_states).double()
    model.prior.set_chain(chain)
    chain = model.prior.parameters_of_chain()
    W = problem.loadings
    covariances = np.einsum("dl,kl,el->kde", W, chain.variances, W) + np.diag(problem.variances)
    emission = GaussianEmission.from_parameters(
        chain.means @ W.T + problem.offset, covariances, "full"
    )
    exact = EMHiddenMarkov.from_parameters(
        np.exp(chain.log_start), np.exp(chain.log_transmat), emission
    )
    x = exact.sample(OFFSETS[-1], random_state=seed)[0]
    return model, x, exact


def totals(rows):
    return np.add.reduceat(rows, OFFSETS[:-1])


def bounds_of(model, x, n_draws, **options):
    noise = torch.randn(
        (n_draws, len(x), 2), generator=torch.Generator().manual_seed(3), dtype=torch.float64
    )
    x = torch.as_tensor(x)
    observed = ~x.isnan() if x.isnan().any() else None
    with torch.no_grad():
        return [
            sequence_bound(model, x, observed, OFFSETS, one[None], **options).bound.numpy()
            for one in noise
        ]


@pytest.mark.parametrize("covariance", ["diag", "full"])
@pytest.mark.parametrize("seed", [0, 1])
def test_bounds_are_ordered_below_the_exact_value(seed, covariance):
    model, x, exact = chain_problem(covariance=covariance, seed=seed)
    value = totals(exact.score_samples(x, groups=np.repeat([0, 1, 2], np.diff(OFFSETS))))
    factored = np.array(bounds_of(model, x, 100, bound="factored"))
    marginal = np.array(bounds_of(model, x, 100, bound="marginal"))
    few = np.array([totals(scored(model, x, OFFSETS, 2, seed=s).predictive()) for s in range(60)])
    many = totals(scored(model, x, OFFSETS, 3000, seed=0).predictive())
    means = factored.mean(0), marginal.mean(0), few.mean(0), value
    errors = factored.std(0) / 10, marginal.std(0) / 10, few.std(0) / 7, 0.0
    for low, high, one, other in zip(means, means[1:], errors, errors[1:], strict=False):
        assert (low < high + 3 * np.hypot(one, other)).all()
        assert low.sum() < high.sum()
    # Weights of a posterior without correlations have a heavy tail.
    assert_allclose(many, value, atol=0.1 if covariance == "full" else 1.0)


def test_the_expectation_of_the_importance_weighted_density_is_the_density():
    model, x, exact = chain_problem(covariance="full", perturbation=0.05)
    value = totals(exact.score_samples(x, groups=np.repeat([0, 1, 2], np.diff(OFFSETS))))
    draws = [totals(scored(model, x, OFFSETS, 5, seed=s).predictive()) for s in range(150)]
    ratio = np.exp(np.array(draws) - value)
    assert (np.abs(ratio.mean(0) - 1) < 4 * ratio.std(0) / math.sqrt(150)).all()


def test_posterior_means_times_scores_are_no_bound():
    """Σ γ B lacks the chain's terms: at the exact posterior it is above ln p(x)."""
    model, x, _ = chain_problem(covariance="full", perturbation=0.0)
    rows = scored(model, x, OFFSETS, 500, seed=0)
    invalid = totals((rows.posterior() * rows.scores).sum(1))
    assert (invalid > totals(rows.predictive())).all()


def test_sequence_bounds_are_those_of_the_recursion_in_log_space():
    """Values, and gradients of all parameters, against a graph through time."""
    model, x, _ = chain_problem()
    x = torch.as_tensor(x)
    noise = torch.randn((1, len(x), 2), generator=torch.Generator().manual_seed(0)).double()
    parameters = list(model.parameters())
    found = sequence_bound(model, x, None, OFFSETS, noise, beta=0.7)
    posterior, states = model.encode(x), model.prior.states()
    z = posterior.draw(noise[0])
    log_likelihood = model.log_likelihood(x, None, z)
    scores = states.log_prob(z[:, None]) + posterior.entropy()[:, None]
    kl = -by_torch(*model.prior.log_chain(), scores, OFFSETS)
    sums = torch.stack([part.sum() for part in log_likelihood.split(np.diff(OFFSETS).tolist())])
    torch.testing.assert_close(found.bound, sums - kl, rtol=0, atol=1e-9)
    torch.testing.assert_close(found.objective, sums - 0.7 * kl, rtol=0, atol=1e-9)
    for one, other in zip(
        torch.autograd.grad(found.objective.sum(), parameters),
        torch.autograd.grad((sums - 0.7 * kl).sum(), parameters),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("full", [False, True])
def test_scores_of_states(full):
    """KL against torch's, and its sampled form against it."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    mean, log_var = normal(4, 2), normal(4, 2)
    posterior = DiagonalPosterior(mean, log_var)
    covariance = torch.diag_embed(log_var.exp())
    if full:
        factor = torch.diag_embed((0.5 * log_var).exp())
        factor[:, 1, 0] = normal(4)
        posterior, covariance = FullPosterior(mean, log_var, factor), factor @ factor.mT
    states = DiagonalPosterior(normal(3, 2), normal(3, 2))
    q = torch.distributions.MultivariateNormal(mean, covariance)
    expected = [
        -torch.distributions.kl_divergence(
            q, torch.distributions.MultivariateNormal(m, torch.diag(v))
        )
        for m, v in zip(states.mean, states.variance, strict=True)
    ]
    found = factored_scores(posterior, states)
    torch.testing.assert_close(found, torch.stack(expected, 1))
    noise = normal(20000, 4, 2)
    z = posterior.draw(noise)
    sampled = marginal_scores(posterior, states, z).mean(0)
    torch.testing.assert_close(sampled, found, atol=0.05, rtol=0.03)
    log_likelihood = normal(20000, 4)
    weights = log_likelihood[..., None] + states.log_prob(z[..., None, :])
    weights = weights - q.log_prob(z)[..., None]
    log_q = posterior.log_prob_of(noise)
    torch.testing.assert_close(
        importance_scores(log_likelihood, states, z, log_q),
        torch.logsumexp(weights, 0) - math.log(20000),
    )


@pytest.mark.parametrize("bound", ["factored", "marginal"])
def test_rows_without_values_are_integrated_out(bound):
    model, x, exact = chain_problem(covariance="full", perturbation=0.0)
    x = x.copy()
    x[5:9] = np.nan
    x[20, 1] = np.nan
    groups = np.repeat([0, 1, 2], np.diff(OFFSETS))
    value = totals(exact.score_samples(x, groups=groups))
    found = totals(scored(model, x, OFFSETS, 2000, seed=0).predictive())
    assert_allclose(found, value, atol=0.3)  # no proposal is exact for the row with a missing value
    assert (np.mean(bounds_of(model, x, 100, bound=bound), axis=0) <= value + 0.1).all()


def test_free_bits_are_a_constant_where_the_divergence_is_less():
    model, x, _ = chain_problem()
    x = torch.as_tensor(x)
    noise = torch.randn((1, len(x), 2), generator=torch.Generator().manual_seed(0)).double()
    found = sequence_bound(model, x, None, OFFSETS, noise, free_bits=50.0)
    lengths = torch.as_tensor(np.diff(OFFSETS))
    torch.testing.assert_close(found.objective, found.reconstruction - 100.0 * lengths)
    none = sequence_bound(model, x, None, OFFSETS, noise, free_bits=1e-6)
    torch.testing.assert_close(none.objective, none.bound)


def test_the_path_is_summed_exactly():
    """By enumeration of all paths of a short sequence."""
    model, x, _ = chain_problem(2)
    rows = scored(model, x[:4], np.array([0, 4]), 50, seed=0)
    log_start, log_transmat, scores, _ = rows.chain()
    paths = np.array(np.meshgrid(*[[0, 1]] * 4)).reshape(4, -1).T
    logs = [
        log_start[p[0]] + log_transmat[p[:-1], p[1:]].sum() + scores[np.arange(4), p].sum()
        for p in paths
    ]
    assert_allclose(rows.predictive().sum(), np.logaddexp.reduce(logs))
    assert_allclose(algorithms.viterbi(*rows.chain())[0], max(logs))


def test_impossible_transitions_stay_impossible():
    prior = StatePrior(1, 2, np.array([[0.5, 0.5], [0.0, 1.0]]))
    log_transmat = prior.log_chain()[1]
    assert log_transmat[1, 0] == -torch.inf
    log_transmat[0].sum().backward()
    assert torch.isfinite(prior.transition_logits.grad).all()
    assert isinstance(prior.means, nn.Parameter)
