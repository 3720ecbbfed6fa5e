"""Bernoulli log-densities by products are those of the sums."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvae.neural.likelihoods.binary import Bernoulli, _LogProducts


def problem(n_features, scale, dtype=torch.float64):
    rng = np.random.default_rng(0)
    likelihood = Bernoulli(rng.normal(size=n_features))
    x = torch.from_numpy((rng.random((3, n_features)) < 0.5).astype(float)).to(dtype)
    outputs = torch.from_numpy(scale * rng.normal(size=(5, 3, n_features))).to(dtype)
    return likelihood, x, outputs


@pytest.mark.parametrize("n_features", [1, 63, 64, 65, 600])
@pytest.mark.parametrize("scale", [0.0, 1.0, 5.0, 50.0, 1000.0, 1e300])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_products_are_sums(n_features, scale, dtype):
    if dtype == torch.float32 and scale > 1e30:
        scale = 1e30
    likelihood, x, outputs = problem(n_features, scale, dtype)
    with torch.no_grad():
        found = likelihood.log_prob(x, outputs)
    expected = likelihood.log_terms(x.double(), outputs.double()).sum(-1)
    assert found.dtype == dtype
    tolerance = 1e-13 if dtype == torch.float64 else 2e-6
    assert_allclose(found, expected, rtol=tolerance, atol=n_features * tolerance)


def test_products_are_taken_up_to_their_limit():
    likelihood, x, outputs = problem(600, 2.0)
    assert _LogProducts.apply(x, outputs, likelihood.log_odds).isfinite().all()
    assert _LogProducts.apply(x, 1000 * outputs, likelihood.log_odds).isneginf().any()


@pytest.mark.parametrize("n_features", [1, 15, 16, 50])
@pytest.mark.parametrize("scale", [1.0, 50.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_gradients_of_products_are_those_of_sums(n_features, scale, dtype):
    likelihood, x, outputs = problem(n_features, scale, dtype)
    weight = torch.rand(5, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    outputs.requires_grad_()
    (weight * likelihood.log_prob(x, outputs)).sum().backward()
    mean = torch.sigmoid((outputs.detach() + likelihood.log_odds).double())
    expected = weight[..., None] * (x - mean)
    assert_allclose(outputs.grad, expected, atol=1e-15 if dtype == torch.float64 else 1e-6)


def test_with_a_gradient_and_with_missing_values_as_before():
    likelihood, x, outputs = problem(6, 1.0)
    outputs.requires_grad_()
    likelihood.log_prob(x, outputs).sum().backward()
    assert outputs.grad.isfinite().all()
    observed = torch.ones_like(x, dtype=torch.bool)
    with torch.no_grad():
        assert_array_equal(
            likelihood.log_prob(x, outputs, observed),
            torch.where(observed, likelihood.log_terms(x, outputs), 0.0).sum(-1),
        )
