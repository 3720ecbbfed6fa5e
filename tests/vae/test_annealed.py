"""Annealed importance sampling, which checks the importance sampling, is itself checked."""

import numpy as np
import torch
from numpy.testing import assert_allclose

from benchmarks.vae.annealed import annealed_log_likelihood
from tests.vae.fakes import linear_model, linear_problem


def test_annealing_finds_the_exact_evidence_without_the_encoder():
    problem = linear_problem()
    X = problem.sample(12, seed=1)
    X[::3, 1] = np.nan
    model = linear_model(problem, perturbation=3.0)
    generator = torch.Generator().manual_seed(0)
    found = annealed_log_likelihood(
        model, X, n_temperatures=150, n_chains=32, n_leapfrog=4, generator=generator
    )
    error = np.sqrt(1 / found.effective_size - 1 / 32)
    assert found.effective_size.min() > 8
    assert_allclose((found.log_likelihood - problem.log_evidence(X)) / error, 0.0, atol=4.0)
    assert error.max() < 0.3
    assert 0.4 < found.acceptance.min() <= found.acceptance.max() < 0.95


def test_estimates_of_the_density_are_unbiased():
    """Also with few temperatures, where one estimate is noisy."""
    problem = linear_problem(n_features=2, n_components=1)
    X = problem.sample(1, seed=2).repeat(2, axis=0)
    generator = torch.Generator().manual_seed(1)
    found = annealed_log_likelihood(
        linear_model(problem), X, n_temperatures=4, n_chains=4000, n_leapfrog=3, generator=generator
    )
    ratio = np.exp(found.log_likelihood - problem.log_evidence(X))
    assert_allclose(ratio, 1.0, atol=4 / np.sqrt(found.effective_size.min()))
