"""Bernoulli and continuous Bernoulli: probabilities, the normaliser near ½, means, draws."""

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import bernoulli, kstest

from skvae.neural.likelihoods import make_likelihood
from skvae.neural.likelihoods.binary import Bernoulli, ContinuousBernoulli
from tests.neural.likelihoods.cases import holes, prepared, some_outputs, some_rows

# On both sides of where one form takes over from the other, and where naive ones overflow.
LOG_ODDS = [-800.0, -40.0, -1.0, -0.5001, -0.4999, -1e-3, -1e-9, 0.0, 1e-12, 0.1, 0.5, 3.0, 90.0]


def exact(log_odds):
    """ln of the normaliser l/(e^l − 1), the mean and the variance, in many digits."""
    with mpmath.workdps(60):
        if log_odds == 0.0:
            return 0.0, 0.5, 1 / 12
        value = mpmath.mpf(log_odds)
        log_norm = mpmath.log(value / mpmath.expm1(value))
        mean = 1 / (1 - mpmath.exp(-value)) - 1 / value
        variance = 1 / value**2 - mpmath.exp(value) / mpmath.expm1(value) ** 2
        return float(log_norm), float(mean), float(variance)


def test_bernoulli_is_scipy_s():
    X = some_rows("bernoulli")
    likelihood = make_likelihood("bernoulli", X)
    outputs = 3.0 * some_outputs(likelihood, 2, len(X))
    p = 1.0 / (1.0 + np.exp(-(outputs + likelihood.log_odds).numpy()))
    assert_allclose(likelihood.mean(outputs), p, rtol=1e-14)
    found = likelihood.log_prob(prepared(likelihood, X), outputs)
    assert_allclose(found, bernoulli.logpmf(X, p).sum(-1), rtol=1e-12)


@pytest.mark.parametrize("log_odds", LOG_ODDS)
def test_bernoulli_sums_to_one(log_odds):
    likelihood = Bernoulli([0.0])
    outputs = torch.tensor([[log_odds]], dtype=torch.float64)
    x = torch.tensor([[[0.0]], [[1.0]]], dtype=torch.float64)
    assert likelihood.log_terms(x, outputs).exp().sum().item() == pytest.approx(1.0, abs=1e-15)


@pytest.mark.parametrize("log_odds", LOG_ODDS)
def test_continuous_bernoulli_has_its_normaliser_and_its_mean(log_odds):
    likelihood = ContinuousBernoulli([0.0])
    log_norm, mean, variance = exact(log_odds)
    outputs = torch.tensor([[log_odds]], dtype=torch.float64, requires_grad=True)
    for value in (0.0, 0.3, 1.0):
        outputs.grad = None
        found = likelihood.log_terms(torch.tensor([[value]], dtype=torch.float64), outputs)
        found.backward()
        expected = value * log_odds + log_norm
        assert found.item() == pytest.approx(expected, rel=1e-14, abs=2e-14 * max(1, abs(log_odds)))
        # By the normaliser's derivative, which is minus the mean.
        assert outputs.grad.item() == pytest.approx(value - mean, rel=1e-12, abs=5e-15)
    found = likelihood.mean(outputs)
    assert found.item() == pytest.approx(mean, rel=1e-13)
    (slope,) = torch.autograd.grad(found, outputs)
    assert slope.item() == pytest.approx(variance, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("log_odds", LOG_ODDS)
def test_continuous_bernoulli_integrates_to_one(log_odds):
    likelihood = ContinuousBernoulli([0.0])
    outputs = torch.tensor([[log_odds]], dtype=torch.float64)

    def density(value):
        x = torch.tensor([[value]], dtype=torch.float64)
        return likelihood.log_terms(x, outputs).exp().item()

    points = [0.01, 0.05, 0.5, 0.95, 0.99]
    total, _ = quad(density, 0.0, 1.0, points=points, epsabs=1e-11)
    assert total == pytest.approx(1.0, abs=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_at_one_half_are_smooth(dtype):
    likelihood = ContinuousBernoulli([0.0])
    outputs = torch.linspace(-1.0, 1.0, 4001, dtype=dtype)[:, None].requires_grad_()
    likelihood.log_prob(torch.full_like(outputs, 0.5).detach(), outputs).sum().backward()
    steps = outputs.grad[:, 0].diff()
    assert (steps < 0).sum() == (torch.abs(steps) > 0).sum()
    assert_allclose(steps, -5e-4 / 12, rtol=0.1, atol=3e-7 if dtype == torch.float32 else 1e-12)


@pytest.mark.parametrize("log_odds", [-60.0, -0.6, -0.3, 0.0, 1e-6, 0.49, 0.51, 8.0, 1e4])
def test_continuous_bernoulli_draws(log_odds):
    likelihood = ContinuousBernoulli([0.0])
    outputs = torch.full((50_000, 1), log_odds, dtype=torch.float64)
    draws = likelihood.sample(outputs, torch.Generator().manual_seed(0)).numpy()[:, 0]
    assert draws.min() >= 0
    assert draws.max() <= 1

    def distribution(x):
        if abs(log_odds) < 1e-5:
            return x
        a = -abs(log_odds)
        of_size = np.expm1(a * x) / np.expm1(a)
        return of_size if log_odds < 0 else 1 - np.expm1(a * (1 - x)) / np.expm1(a)

    assert kstest(draws, distribution).pvalue > 1e-3


def test_bernoulli_draws():
    likelihood = Bernoulli([0.0, 0.0, 0.0])
    outputs = torch.tensor([[-1e3, 1.0, 1e3]]).expand(50_000, 3)
    draws = likelihood.sample(outputs, torch.Generator().manual_seed(0)).numpy()
    assert set(np.unique(draws)) == {0.0, 1.0}
    assert_allclose(draws.mean(axis=0), [0.0, 1 / (1 + np.exp(-1)), 1.0], atol=0.01)


@pytest.mark.parametrize("name", ["bernoulli", "continuous_bernoulli"])
def test_zero_outputs_have_the_means_of_the_data(name):
    X = holes(some_rows(name, 500))
    likelihood = make_likelihood(name, X)
    n = (~np.isnan(X)).sum(axis=0)
    expected = (np.nansum(X, axis=0) + 0.5) / (n + 1)
    zeros = torch.zeros(len(X), 3, dtype=torch.float64)
    assert_allclose(likelihood.mean(zeros[0]), expected, rtol=1e-6)
    x = prepared(likelihood, X)
    found = likelihood.log_prob(x, zeros, ~torch.isnan(x))
    if name == "bernoulli":
        terms = np.where(np.isnan(X), 0.0, bernoulli.logpmf(np.nan_to_num(X), expected))
        assert_allclose(found, terms.sum(axis=1), rtol=1e-6)
    else:
        # The best that an independent model can do, but for the half one and the half zero.
        outputs = zeros.clone().requires_grad_()
        likelihood.log_prob(x, outputs, ~torch.isnan(x)).sum().backward()
        assert_allclose(outputs.grad.sum(0), np.nansum(X, axis=0) - n * expected, atol=1e-3)


def test_columns_of_one_value_are_not_certain():
    X = np.zeros((100, 2))
    X[:, 1] = 1.0
    p = make_likelihood("bernoulli", X).mean(torch.zeros(2))
    assert_allclose(p, [0.5 / 101, 100.5 / 101], rtol=1e-6)
    grey = make_likelihood("continuous_bernoulli", X)
    assert_allclose(grey.mean(torch.zeros(2)), [0.01, 0.99], rtol=1e-6)
    assert_allclose(grey.log_odds, [-100.0, 100.0], rtol=1e-4)
