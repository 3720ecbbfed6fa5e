"""Poisson and negative binomial: probabilities, the link, dispersion, large counts."""

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from scipy.stats import nbinom, poisson

from skvae.neural.likelihoods import make_likelihood
from skvae.neural.likelihoods.counts import NegativeBinomial, Poisson, _log_rising
from tests.neural.likelihoods.cases import case, holes, prepared, some_outputs, some_rows

ONE = {"log_mean": [0.0], "log1p_mean": [0.0], "log1p_std": [1.0]}


def rate_of(likelihood, outputs):
    """μ by its definition: exponential up to 10, then straight."""
    o = np.asarray(outputs, dtype=np.float64)
    return np.exp(likelihood.log_mean.numpy() + np.minimum(o, 10)) * (1 + np.maximum(o - 10, 0))


def dispersion_of(likelihood):
    return likelihood.double().dispersion().detach().numpy()


def oracle(likelihood, X, mean):
    if likelihood.name == "poisson":
        return poisson.logpmf(X, mean)
    r = 1.0 / dispersion_of(likelihood)
    return nbinom.logpmf(X, r, r / (r + mean))


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
@pytest.mark.parametrize("size", [1.0, 5.0])
def test_densities_are_scipy_s(name, size):
    likelihood, X = case(name)
    likelihood.double()
    outputs = size * some_outputs(likelihood, 2, len(X))
    mean = rate_of(likelihood, outputs)
    assert_allclose(likelihood.mean(outputs), mean, rtol=1e-12)
    found = likelihood.log_terms(prepared(likelihood, X), outputs)
    assert_allclose(found.detach(), oracle(likelihood, X, mean), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_probabilities_sum_to_one(name):
    likelihood, _ = case(name)
    likelihood.double()
    outputs = 0.5 * some_outputs(likelihood, 1)
    x = torch.arange(200_000, dtype=torch.float64)[:, None, None].expand(-1, 1, 3)
    total = likelihood.log_terms(x, outputs).exp().sum(0)
    assert_allclose(total.detach(), 1.0, rtol=1e-8)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_zero_outputs_are_the_independent_model(name):
    X = holes(some_rows(name, 500))
    likelihood = make_likelihood(name, X)
    n = (~np.isnan(X)).sum(axis=0)
    mean, variance = np.nanmean(X, axis=0) + 0.5 / n, np.nanvar(X, axis=0)
    assert_allclose(likelihood.mean(torch.zeros(3)), mean, rtol=1e-6)
    x = prepared(likelihood, X)
    found = likelihood.log_prob(x, torch.zeros(len(X), 3), ~torch.isnan(x)).detach()
    if name == "poisson":
        terms = poisson.logpmf(X, mean)
    else:
        r = mean**2 / (variance - mean)
        terms = nbinom.logpmf(X, r, r / (r + mean))
    assert_allclose(found, np.nansum(terms, axis=1), rtol=1e-5, atol=1e-5)


def test_the_link_is_smooth_and_reaches_far():
    likelihood = Poisson(**ONE)
    outputs = torch.tensor([10.0 - 1e-9, 10.0 + 1e-9], dtype=torch.float64)[
        :, None
    ].requires_grad_()
    mean = likelihood.mean(outputs)
    assert_allclose(mean.detach(), np.exp(10.0), rtol=1e-8)
    mean.sum().backward()
    assert_allclose(outputs.grad, np.exp(10.0), rtol=1e-8)
    far = likelihood.mean(torch.tensor([[1e6]]))
    assert far.item() == pytest.approx(np.exp(10.0) * (1e6 - 9), rel=1e-12)


@pytest.mark.parametrize("name", ["poisson", "negative_binomial"])
def test_counts_far_above_the_mean_pull_the_outputs_up(name):
    """And below it down: the objective rises towards the count from both sides of the bend."""
    likelihood, _ = case(name)
    x = torch.full((1, 3), 1e9)
    for size, sign in ((0.0, 1.0), (12.0, 1.0), (1e9, -1.0)):
        outputs = torch.full((1, 3), size, requires_grad=True)
        likelihood.log_prob(x, outputs).backward()
        assert (outputs.grad * sign > 0).all()


def test_means_of_other_size_are_other_units():
    """Counts a thousand times as large: the same outputs have a thousand times the mean."""
    X = some_rows("poisson", 500)
    outputs = some_outputs(make_likelihood("poisson", X), 4)
    small, large = (make_likelihood("poisson", Y).mean(outputs) for Y in (X, 1000 * X))
    assert_allclose(large / small, 1000.0, rtol=5e-3)


def test_columns_of_zeros():
    for name in ("poisson", "negative_binomial"):
        likelihood = make_likelihood(name, np.zeros((10, 1)))
        assert likelihood.mean(torch.zeros(1)).item() == pytest.approx(0.05)


@pytest.mark.parametrize("mean", [0.2, 7.0, 40.0, 1e6])
def test_poisson_draws(mean):
    likelihood = Poisson([np.log(mean)], [0.0], [1.0])
    draws = likelihood.sample(torch.zeros(50_000, 1), torch.Generator().manual_seed(0)).numpy()
    assert draws.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean / 50_000))
    assert draws.var() == pytest.approx(mean, rel=0.05)
    assert (draws == np.floor(draws)).all()


@pytest.mark.parametrize("mean", [0.5, 30.0, 1e5])
@pytest.mark.parametrize("dispersion", [1e-5, 0.1, 2.0])
def test_negative_binomial_draws(mean, dispersion):
    likelihood = NegativeBinomial([np.log(mean)], [0.0], [1.0], [dispersion])
    n = 100_000
    draws = likelihood.sample(torch.zeros(n, 1), torch.Generator().manual_seed(0)).numpy()
    variance = mean + dispersion * mean**2
    assert draws.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / n))
    assert draws.var() == pytest.approx(variance, rel=0.12)
    assert (draws == np.floor(draws)).all()


def test_first_dispersion_is_that_of_the_data():
    X = some_rows("negative_binomial", 20_000)
    found = make_likelihood("negative_binomial", X).dispersion().detach().numpy()
    assert_allclose(found, 1.0 / np.array([1.0, 3.0, 0.5]), rtol=0.1)
    even = make_likelihood("negative_binomial", np.array([[4.0], [4.0], [5.0]]))
    assert even.dispersion().item() == pytest.approx(0.01, rel=1e-5)


def test_little_dispersion_is_poisson():
    """To the last digits, in float32 too, where Γ(r + x)/Γ(r) would be a difference of millions."""
    x = torch.tensor([[0.0], [1.0], [5.0], [20.0]])
    outputs = torch.full((4, 1), 1.5)
    near, limit = NegativeBinomial(**ONE, dispersion=[2e-6]), Poisson(**ONE)
    with torch.no_grad():
        near.raw_dispersion.fill_(-1e4)  # at the floor, 1e-6
    found, expected = near.log_prob(x, outputs).detach(), limit.log_prob(x, outputs)
    assert_allclose(found, expected, atol=2e-4 + 3e-6)


def test_rising_factorials_in_many_digits():
    with mpmath.workdps(40):
        for r in (1e-3, 0.5, 19.9, 20.1, 1e3, 1e6):
            for x in (0.0, 1.0, 2.0, 30.0, 1e4):
                exact = mpmath.loggamma(mpmath.mpf(r) + x) - mpmath.loggamma(r)
                exact = float(exact - x * mpmath.log(r))
                tensors = (torch.tensor(value, dtype=torch.float64) for value in (r, x))
                found = _log_rising(*tensors).item()
                assert found == pytest.approx(exact, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dispersion", [[1e-6], [np.nan], [1.0, 2.0]])
def test_unusable_dispersion(dispersion):
    with pytest.raises(
        ValueError, match=r"dispersion (has an entry 1e-06: must be above|contains|has sh)"
    ):
        NegativeBinomial(**ONE, dispersion=dispersion)
