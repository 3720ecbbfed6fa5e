"""Bounds of the divergence of the average posterior from the prior, where it is known."""

import dask.array as da
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose

from skvae.neural.priors import MIN_VARIANCE, Mixture
from skvae.vae import aggregate
from skvae.vae.aggregate import aggregate_divergence
from tests.problems import knock_out
from tests.vae.estimator_problems import autoencoder, rows
from tests.vae.fakes import linear_model, linear_problem
from tests.vae.oracles import kl_gaussians


def exact_model(covariance="full", mean=None, variance=None):
    """A linear Gaussian problem, and its model with the exact encoder and another prior.

    The posteriors of rows of the problem average to the standard normal distribution.
    """
    problem = linear_problem(5, 2, seed=1)
    model = linear_model(problem, covariance=covariance)
    if mean is not None:
        prior = Mixture(2, 1, torch.Generator().manual_seed(0)).double()
        with torch.no_grad():
            prior.means.copy_(torch.tensor([mean]))
            prior.log_excess.copy_(torch.log(torch.tensor([variance]).double() - MIN_VARIANCE))
        model.prior = prior
    return problem, model


def test_a_matched_prior_has_no_divergence():
    problem, model = exact_model()
    found = aggregate_divergence(model, problem.sample(3000, 0), seed=0)
    assert -0.03 < found.lower < 0.01
    assert -0.01 < found.upper < 0.03
    assert 0 < found.standard_error < 0.02


@pytest.mark.parametrize("mean", [(0.0, 0.0), (1.0, -0.5), (3.0, 0.0)])
@pytest.mark.parametrize("variance", [(1.0, 1.0), (0.5, 2.0)])
def test_a_shifted_prior_has_the_divergence_of_gaussians(mean, variance):
    problem, model = exact_model(mean=mean, variance=variance)
    expected = kl_gaussians(np.zeros(2), np.eye(2), np.array(mean), np.diag(variance))
    found = aggregate_divergence(model, problem.sample(3000, 1), seed=0)
    assert found.lower < expected + 5 * found.standard_error
    assert_allclose([found.lower, found.upper], expected, atol=5 * found.standard_error + 0.03)


def test_equal_rows_have_draws_of_their_own():
    """The average posterior of one row, many times, is its Gaussian."""
    problem, model = exact_model()
    x = problem.sample(1, 3)
    with torch.no_grad():
        q = model.encode(torch.as_tensor(x))
    mean, covariance = q.mean[0].numpy(), q.covariance[0].numpy()
    expected = kl_gaussians(mean, covariance, np.zeros(2), np.eye(2))
    found = aggregate_divergence(model, np.repeat(x, 2000, axis=0), seed=0)
    assert 0.01 < found.standard_error < 0.05
    assert_allclose([found.lower, found.upper], expected, atol=4 * found.standard_error)
    # Rows of three kinds, with a missing value: their order has no influence.
    some = np.repeat(problem.sample(3, 4), 100, axis=0)
    some[:100, 1] = np.nan
    mixed = some[np.random.default_rng(0).permutation(300)]
    assert_allclose(
        aggregate_divergence(model, mixed, seed=0), aggregate_divergence(model, some, seed=0)
    )


def test_few_rows_bound_it_from_both_sides():
    """Over data sets the mean of one is below the divergence, that of the other above."""
    problem, model = exact_model(mean=(1.0, 0.0), variance=(1.0, 1.0))
    for n, gap in ((10, 0.15), (40, 0.04)):
        found = [aggregate_divergence(model, problem.sample(n, s), seed=s) for s in range(60)]
        lower, upper, error = np.mean(found, axis=0)
        spread = np.std([f.lower for f in found]) / np.sqrt(60)
        assert lower < 0.5 - gap
        assert upper > 0.5 + gap / 3
        assert_allclose(spread, error / np.sqrt(60), rtol=0.5)


def test_a_posterior_that_ignores_the_rows_is_its_own_average():
    """All posteriors are one Gaussian: both bounds are its divergence, up to Monte Carlo."""
    problem, model = exact_model("diag")
    with torch.no_grad():
        model.encoder.weight.zero_()
        model.encoder.bias.copy_(torch.tensor([1.0, 0.0, 0.0, np.log(0.25)]))
    found = aggregate_divergence(model, problem.sample(4000, 0), seed=0)
    expected = kl_gaussians([1.0, 0.0], np.diag([1.0, 0.25]), np.zeros(2), np.eye(2))
    assert_allclose([found.lower, found.upper], expected, atol=5 * found.standard_error)
    assert_allclose(found.lower, found.upper, atol=1e-9)


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_blocks_and_order_do_not_matter(covariance, monkeypatch):
    problem, model = exact_model(covariance)
    x = problem.sample(50, 0)
    whole = aggregate_divergence(model, x, seed=3)
    assert_allclose(aggregate_divergence(model, x[::-1], seed=3), whole, rtol=1e-9)
    monkeypatch.setattr(aggregate, "_NUMBERS", 700)
    assert_allclose(aggregate_divergence(model, x, seed=3), whole, rtol=1e-9)
    assert not np.allclose(aggregate_divergence(model, x, seed=4), whole)


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_of_a_fitted_estimator(prior):
    X = knock_out(rows(80))
    vae = autoencoder(2, prior=prior, n_prior_components=3, max_epochs=20).fit(X)
    found = vae.aggregate_kl(X)
    assert found.lower < found.upper
    assert np.isfinite(found).all()
    assert found == vae.aggregate_kl(X)
    assert all(type(value) is float for value in found)


def test_what_it_cannot_read():
    X = rows(40)
    vae = autoencoder(1).fit(X)
    with pytest.raises(ValueError, match="X is a Dask array: pass some rows in memory"):
        vae.aggregate_kl(da.from_array(X))
    with pytest.raises(ValueError, match="minimum of 2"):
        vae.aggregate_kl(X[:1])
