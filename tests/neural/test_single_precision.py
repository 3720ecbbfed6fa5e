"""Scores whose decoder computes in float32 are those of float64, row by row."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvae.neural import importance_weights
from skvae.neural.importance import (
    in_double,
    log_likelihood,
    standard_error,
)
from skvae.neural.latent_model import make_model
from skvae.neural.likelihoods import make_likelihood
from skvae.neural.likelihoods.gaussian import Gaussian
from tests.vae.fakes import encoder_alone

RNG = np.random.default_rng(0)
FAMILIES = {
    "gaussian": RNG.normal(size=(9, 6)),
    "student_t": RNG.standard_t(3, size=(9, 6)),
    "bernoulli": RNG.integers(0, 2, (9, 6)).astype(float),
    "continuous_bernoulli": RNG.random((9, 6)),
    "categorical": RNG.integers(0, 3, (9, 6)).astype(float),
    "poisson": RNG.poisson(20, (9, 6)).astype(float),
    "negative_binomial": RNG.poisson(20, (9, 6)).astype(float),
}


def model_of(likelihood, prior="normal"):
    own = {"n_components": 2, "hidden_layer_sizes": (64, 64), "prior": prior, "seed": 0}
    model = make_model(likelihood, **own)
    with torch.no_grad():
        model.decoder[-1].weight *= 20.0
    return in_double(model)


@pytest.fixture
def exactly(monkeypatch):
    """Compute with a decoder in float64."""

    def exactly(function, *args, **own):
        with monkeypatch.context() as patch:
            patch.setattr(importance_weights, "_MANY_WEIGHTS", np.inf)
            return function(*args, **own)

    return exactly


def assert_equal_but_for_draws(found, expected, n_draws):
    """Modes found in float32 differ by the steps of their derivatives, and so do the draws."""
    errors = (standard_error(each.effective_size, n_draws) for each in (found, expected))
    difference = np.abs(found.log_likelihood - expected.log_likelihood)
    assert (difference <= 5.0 * np.maximum(*errors) + 1e-3).all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("missing", [False, True])
def test_float32_keeps_four_digits(family, missing, exactly):
    X = FAMILIES[family].copy()
    likelihood = make_likelihood(family, X)
    X[:, ::2] = np.where(missing, np.nan, X[:, ::2])
    model, x = model_of(likelihood), likelihood.prepare(X)
    alone, expected = encoder_alone(model, x, 50), exactly(encoder_alone, model, x, 50)
    assert_allclose(alone.log_likelihood, expected.log_likelihood, rtol=1e-5, atol=1e-5)
    assert_allclose(alone.effective_size, expected.effective_size, rtol=1e-4)
    found = log_likelihood(model, x, 200, seed=0)
    expected = exactly(log_likelihood, model, x, 200, seed=0)
    assert (found.log_likelihood != expected.log_likelihood).any()  # another precision was used
    assert_equal_but_for_draws(found, expected, 200)


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_float32_keeps_four_digits_under_any_prior(prior, exactly):
    X = FAMILIES["gaussian"]
    model = model_of(make_likelihood("gaussian", X), prior)
    found = log_likelihood(model, X, 200, seed=0)
    assert_equal_but_for_draws(found, exactly(log_likelihood, model, X, 200, seed=0), 200)


@pytest.mark.parametrize("far", [1e8, 1e30, 1e100])
def test_rows_that_need_float64_have_it_beside_others(far, exactly):
    """Densities of such rows overflow in float32, or are differences of large numbers."""
    X = FAMILIES["gaussian"].copy()
    X[[1, 4], 2] = far
    model = model_of(Gaussian(np.zeros(6), np.ones(6), scale="shared"))
    found = log_likelihood(model, X, 50, seed=0)
    expected = exactly(log_likelihood, model, X, 50, seed=0)
    assert_allclose(found.log_likelihood[[1, 4]], expected.log_likelihood[[1, 4]], rtol=1e-4)
    for index in ([0], [1], [4, 8], [2, 1]):
        some = log_likelihood(model, X[index], 50, seed=0)
        for own, whole in zip(some, found, strict=True):
            assert_allclose(own, whole[index], rtol=1e-13)


def test_a_narrow_density_has_float64(exactly):
    """With σ = 1e-6 the decoder's rounding in float32 would be a tenth of σ."""
    likelihood = Gaussian(np.zeros(6), np.ones(6), min_scale=1e-6)
    with torch.no_grad():
        likelihood.raw_scale.fill_(-30.0)
    model = model_of(likelihood)
    with torch.no_grad():
        x = model.decode(0.5 * torch.randn(9, 2, dtype=torch.float64)).numpy()
    found, expected = (
        log_likelihood(model, x, 50, seed=0),
        exactly(log_likelihood, model, x, 50, seed=0),
    )
    assert_array_equal(found.log_likelihood, expected.log_likelihood)
