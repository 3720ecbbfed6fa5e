"""The parameters of p(x | z) give SciPy's densities: the same log-density in the user's units."""

import numpy as np
import pytest
import scipy.stats as st
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import trapezoid

from tests.neural.likelihoods.cases import CASES, case, prepared, some_outputs


def continuous_bernoulli(x, mean, log_odds):
    """The density ∝ exp(l x), normalised by numerical integration."""
    grid = np.linspace(0.0, 1.0, 20_001)
    weight = np.exp(log_odds[..., None] * grid)
    total = trapezoid(weight, grid)
    assert_allclose(mean, trapezoid(grid * weight, grid) / total, rtol=1e-6)
    return log_odds * x - np.log(total)


def categorical(x, probabilities):
    assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-12)
    return np.log(np.take_along_axis(probabilities, x.astype(int)[..., None], -1)[..., 0])


DENSITIES = {
    "gaussian": lambda x, mean, scale: st.norm.logpdf(x, mean, scale),
    "student_t": lambda x, mean, scale, dof: st.t.logpdf(x, dof, mean, scale),
    "bernoulli": lambda x, probability: st.bernoulli.logpmf(x, probability),
    "continuous_bernoulli": continuous_bernoulli,
    "categorical": categorical,
    "poisson": lambda x, mean: st.poisson.logpmf(x, mean),
    "negative_binomial": lambda x, mean, dispersion: st.nbinom.logpmf(
        x, 1 / dispersion, 1 / (1 + mean * dispersion)
    ),
    "log_normal": lambda x, log_mean, log_scale: st.lognorm.logpdf(
        x, log_scale, scale=np.exp(log_mean)
    ),
    "gamma": lambda x, mean, shape: st.gamma.logpdf(x, shape, scale=mean / shape),
    "beta": st.beta.logpdf,
}


def parameters_of(likelihood, outputs):
    return {k: v.numpy() for k, v in likelihood.density_parameters(outputs).items()}


@pytest.mark.parametrize("key", [key for key in CASES if key != "columns"])
def test_density_has_these_parameters(key):
    likelihood, X = case(key)
    outputs = some_outputs(likelihood, len(X))
    parameters = parameters_of(likelihood, outputs)
    found = DENSITIES[likelihood.name](X, *parameters.values()).sum(axis=1)
    x = prepared(likelihood, X)
    expected = likelihood.double().log_prob(x, outputs).detach().numpy()
    assert_allclose(found, expected + likelihood.log_volume(X), rtol=1e-6, atol=1e-7)
    assert {value.dtype for value in parameters.values()} == {np.dtype(np.float64)}
    assert {value.shape[:2] for value in parameters.values()} == {X.shape}


def categorical_cdf(x, probabilities):
    codes = np.arange(probabilities.shape[-1])
    return (probabilities * (codes <= x[..., None])).sum(axis=-1)


def continuous_bernoulli_cdf(x, mean, log_odds):
    """The density from zero to x, integrated numerically."""
    part = np.linspace(0.0, 1.0, 4001) * np.clip(x, 0.0, 1.0)[..., None]
    grid = np.linspace(0.0, 1.0, 4001)
    total = trapezoid(np.exp(log_odds[..., None] * grid), grid)
    return trapezoid(np.exp(log_odds[..., None] * part), part) / total


DISTRIBUTIONS = {
    "gaussian": lambda x, mean, scale: st.norm.cdf(x, mean, scale),
    "student_t": lambda x, mean, scale, dof: st.t.cdf(x, dof, mean, scale),
    "bernoulli": lambda x, probability: st.bernoulli.cdf(x, probability),
    "continuous_bernoulli": continuous_bernoulli_cdf,
    "categorical": categorical_cdf,
    "poisson": lambda x, mean: st.poisson.cdf(x, mean),
    "negative_binomial": lambda x, mean, dispersion: st.nbinom.cdf(
        x, 1 / dispersion, 1 / (1 + mean * dispersion)
    ),
    "log_normal": lambda x, log_mean, log_scale: st.lognorm.cdf(
        x, log_scale, scale=np.exp(log_mean)
    ),
    "gamma": lambda x, mean, shape: st.gamma.cdf(x, shape, scale=mean / shape),
    "beta": lambda x, **shapes: st.beta.cdf(x, *shapes.values()),
}


@pytest.mark.parametrize("key", [key for key in CASES if key != "columns"])
def test_distribution_functions(key):
    likelihood, X = case(key)
    outputs = some_outputs(likelihood, len(X))
    parameters = parameters_of(likelihood, outputs)
    for x in (X, X - 0.4, X + 3.3, -np.abs(X) - 1.0):
        found = likelihood.cdf(x, outputs)
        expected = DISTRIBUTIONS[likelihood.name](x, **parameters)
        assert_allclose(found, expected, rtol=1e-6, atol=1e-9)


def test_distribution_functions_of_parts():
    likelihood, X = case("columns")
    outputs = some_outputs(likelihood, len(X))
    found = likelihood.cdf(X, outputs)
    splits = outputs.split([part.n_outputs for part in likelihood.parts], dim=-1)
    for part, columns, own in zip(likelihood.parts, likelihood.columns, splits, strict=True):
        assert_array_equal(found[:, columns], part.cdf(X[:, columns], own))


def test_parts_have_nan_where_they_have_no_such_parameter():
    likelihood, X = case("columns")
    outputs = some_outputs(likelihood, 2, len(X))
    parameters = parameters_of(likelihood, outputs)
    splits = outputs.split([part.n_outputs for part in likelihood.parts], dim=-1)
    seen = {name: np.zeros(X.shape[1], bool) for name in parameters}
    for part, columns, own in zip(likelihood.parts, likelihood.columns, splits, strict=True):
        for name, value in parameters_of(part, own).items():
            seen[name][columns] = True
            together = parameters[name][:, :, columns]
            extra = together[..., value.shape[-1] :] if name == "probabilities" else 0.0
            assert_array_equal(extra, np.zeros_like(extra))
            same = together[..., : value.shape[-1]] if name == "probabilities" else together
            assert_array_equal(same, value)
    for name, columns in seen.items():
        assert parameters[name].shape[:3] == (2, *X.shape)
        assert np.isnan(parameters[name][:, :, ~columns]).all()


@pytest.mark.parametrize("key", CASES)
def test_parameters_have_no_gradient(key):
    likelihood, _ = case(key)
    outputs = some_outputs(likelihood, 4).requires_grad_()
    for value in likelihood.density_parameters(outputs).values():
        assert not value.requires_grad
        assert torch.isfinite(value).any()
