"""Log-normal, gamma and beta against SciPy and quadrature, far from and near their limits."""

import copy
from fractions import Fraction

import numpy as np
import pytest
import scipy.stats as st
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.special import digamma

from skvae.neural.likelihoods import make_likelihood
from skvae.neural.likelihoods.positive import _excess, _stirling
from tests.neural.likelihoods.cases import (
    holes,
    moved,
    prepared,
    some_outputs,
    some_rows,
)

POSITIVE = ("log_normal", "gamma")
NAMES = (*POSITIVE, "beta")
every_scale = pytest.mark.parametrize("scale", ["feature", "shared", "decoder"])


def log_density(likelihood, X, outputs):
    x = prepared(likelihood, X)
    found = likelihood.log_prob(x, outputs, ~x.isnan()).detach().numpy()
    return found + likelihood.log_volume(X)


@every_scale
@pytest.mark.parametrize("name", NAMES)
def test_density_integrates_to_one(name, scale):
    X = some_rows(name)[:, :1]
    likelihood = make_likelihood(name, X, {"scale": scale})
    # A beta of a small concentration has much of its mass nearer to one than any float64.
    likelihood = (likelihood if name == "beta" else moved(likelihood)).double()
    for outputs in 0.2 * some_outputs(likelihood, 4, 1):

        def density(at, outputs=outputs):
            row = np.exp(at) if name != "beta" else 1.0 / (1.0 + np.exp(-at))
            slope = row if name != "beta" else row * (1.0 - row)
            return slope * np.exp(log_density(likelihood, np.array([[row]]), outputs)[0])

        assert_allclose(quad(density, -60.0, 35.0, limit=200)[0], 1.0, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_zeros_are_the_independent_model_of_the_features(name):
    X = some_rows(name, 4000)
    X[::3, 0] = np.nan
    likelihood = make_likelihood(name, X)
    parameters = likelihood.density_parameters(torch.zeros(1, likelihood.n_outputs))
    parameters = {key: value[0].numpy() for key, value in parameters.items()}
    for j, values in enumerate(X.T):
        values = values[~np.isnan(values)]
        own = [value[j] for value in parameters.values()]
        if name == "log_normal":
            expected = np.log(values).mean(), np.log(values).std()
        elif name == "gamma":
            a, _, scale = st.gamma.fit(values, floc=0)
            expected = a * scale, a
        else:
            mean, variance = values.mean(), values.var()
            concentration = mean * (1 - mean) / variance - 1
            expected = mean * concentration, (1 - mean) * concentration
        assert_allclose(own, expected, rtol=0.02)


@pytest.mark.parametrize("name", POSITIVE)
@every_scale
def test_units_do_not_matter(name, scale):
    X, factors = some_rows(name), np.array([1e-30, 3.0, 1e12])
    one, other = (moved(make_likelihood(name, Y, {"scale": scale})) for Y in (X, X * factors))
    outputs, Y = some_outputs(one, len(X)), holes(X)
    shift = np.where(np.isnan(Y), 0.0, np.log(factors)).sum(axis=1)
    found = log_density(other, Y * factors, outputs)
    assert_allclose(found, log_density(one, Y, outputs) - shift, rtol=1e-4, atol=1e-4)
    mean = one.mean(outputs).detach().numpy()
    assert_allclose(other.mean(outputs).detach(), mean * factors, rtol=1e-4)
    draws, changed = (
        likelihood.sample(outputs, torch.Generator().manual_seed(0)).numpy()
        for likelihood in (one, other)
    )
    assert_allclose(changed, draws * factors, rtol=1e-3)


def test_the_other_share_is_the_same_beta():
    """Shares and what is left of them: the density of 1 − X is that of X."""
    X = some_rows("beta")
    one, other = (moved(make_likelihood("beta", Y)) for Y in (X, 1.0 - X))
    outputs = some_outputs(one, len(X))
    found = log_density(other, 1.0 - X, -outputs)
    assert_allclose(found, log_density(one, X, outputs), rtol=1e-4, atol=1e-4)


def test_log_normal_is_gaussian_of_the_logarithm():
    X = some_rows("log_normal")
    for scale in ("feature", "shared", "decoder"):
        one = moved(make_likelihood("log_normal", X, {"scale": scale})).double()
        other = moved(make_likelihood("gaussian", np.log(X), {"scale": scale})).double()
        outputs, Y = some_outputs(one, len(X)), holes(X)
        expected = log_density(other, np.log(Y), outputs) - np.nansum(np.log(Y), axis=1)
        assert_allclose(log_density(one, Y, outputs), expected, rtol=1e-6, atol=1e-5)
        whole = log_density(other, np.log(X), outputs) - np.log(X).sum(axis=1)
        x = prepared(one, X)
        found = one.log_prob(x, outputs).detach().numpy() + one.log_volume(X)
        assert_allclose(found, whole, rtol=1e-6, atol=1e-5)


EXTREMES = {
    "log_normal": [5e-324, 1e-300, 1e-30, 1.0, 1e30, 1e300],
    "gamma": [1e-305, 1e-300, 1e-30, 1.0, 1e30],
    "beta": [5e-324, 1e-300, 1e-30, 0.5, 1.0 - 1e-12, 1.0 - 2.0**-53],
}


@every_scale
@pytest.mark.parametrize("name", NAMES)
def test_extreme_values_have_their_density_and_a_gradient(name, scale):
    likelihood = make_likelihood(name, some_rows("beta")[:, :1], {"scale": scale})
    values = np.array(EXTREMES[name])[:, None]
    outputs = (0.1 * some_outputs(likelihood, len(values))).requires_grad_()
    log_prob = likelihood.log_prob(prepared(likelihood, values), outputs)
    log_prob.sum().backward()
    assert torch.isfinite(outputs.grad).all()
    own = [value.numpy() for value in likelihood.density_parameters(outputs).values()]
    with np.errstate(all="ignore"):
        expected = {
            "log_normal": lambda x, m, s: st.norm.logpdf(np.log(x), m, s) - np.log(x),
            "gamma": lambda x, mean, k: st.gamma.logpdf(x * (k / mean), k) + np.log(k / mean),
            "beta": st.beta.logpdf,
        }[name](values, *own)
    known = np.isfinite(expected[:, 0])  # SciPy is at its limits too
    assert known.sum() >= 3
    found = log_prob.detach().numpy() + likelihood.log_volume(values)
    assert np.isfinite(found).all()
    assert_allclose(found[known], expected[known, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_narrow_densities_are_exact(name):
    """A shape of 1e10 has terms of 1e11, of which a density is the difference."""
    X = np.array([[0.3], [0.3 + 2e-6], [0.3 - 1e-6], [0.3 + 1e-7]])
    likelihood = make_likelihood(name, X, {"min_scale": 1e-6}).double()
    outputs = torch.zeros(len(X), 1, dtype=torch.float64)
    found = log_density(likelihood, X, outputs)
    own = [value.numpy()[:, 0] for value in likelihood.density_parameters(outputs).values()]
    if name == "beta":
        total = own[0] + own[1]
        mean, std = own[0] / total, np.sqrt(own[0] * own[1] / total**3)
    elif name == "gamma":
        mean, std = own[0], own[0] / np.sqrt(own[1])
    else:
        mean, std = np.exp(own[0]), np.exp(own[0]) * own[1]
    assert std.max() < 1e-3
    assert_allclose(found, st.norm.logpdf(X[:, 0], mean, std), atol=0.02)


def test_narrow_log_normals_gain_from_data_of_any_spread():
    X = np.exp(1e-4 * np.random.default_rng(0).normal(size=(500, 2)))
    for name in POSITIVE:
        likelihood = make_likelihood(name, X)
        found = log_density(likelihood, X, torch.zeros(500, 2, dtype=torch.float64)).mean()
        expected = -2 * (np.log(1e-4) + 0.5 * np.log(2 * np.pi * np.e))
        assert_allclose(found, expected, atol=0.1)


def test_excess_and_stirling_s_remainder_are_exact():
    d = torch.tensor([-40.0, -1.0, -0.031, -0.029, -1e-9, 0.0, 1e-5, 0.02, 0.5, 20.0]).double()
    exact = np.array([float(_exact_excess(value)) for value in d.tolist()])
    assert_allclose(_excess(d), exact, rtol=1e-13)
    d = d.requires_grad_()
    (gradient,) = torch.autograd.grad(_excess(d).sum(), d)
    assert_allclose(gradient, np.expm1(d.detach().numpy()), rtol=1e-12, atol=1e-300)
    x = torch.tensor([1e-12, 0.1, 1.0, 19.9, 20.1, 1e4]).double().requires_grad_()
    remainder = _stirling(x, x.log())
    whole = (x - 0.5) * x.log() - x + 0.5 * np.log(2 * np.pi) + remainder
    assert_allclose(whole.detach(), torch.lgamma(x).detach(), rtol=1e-13)
    (gradient,) = torch.autograd.grad(whole.sum(), x)
    assert_allclose(gradient, digamma(x.detach().numpy()), rtol=1e-11)


def _exact_excess(d):
    """e^d − 1 − d as a sum of exact rationals, for |d| below 1, and in float64 elsewhere."""
    if abs(d) >= 1:
        return np.expm1(d) - d
    total, term = Fraction(0), Fraction(d)
    for k in range(2, 30):
        term = term * Fraction(d) / k
        total += term
    return total


@pytest.mark.parametrize("name", NAMES)
def test_draws_of_extreme_shapes_are_of_the_family(name):
    likelihood = make_likelihood(name, some_rows(name)[:, :1], {"scale": "decoder"})
    outputs = torch.tensor([[5.0, 1e4], [-5.0, 1e4], [-5.0, -1e4], [0.0, 1e12]]).double()
    draws = likelihood.sample(outputs.expand(500, -1, -1), torch.Generator().manual_seed(0))
    likelihood.check(draws.reshape(-1, 1).numpy())


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_of_rows_and_density(name):
    X = some_rows(name)
    one = make_likelihood(name, X.astype(np.float32))
    other = make_likelihood(name, X)
    for key, value in other.settings().items():
        if isinstance(value, list):
            assert_allclose(one.settings()[key], value, rtol=1e-3)
    double = copy.deepcopy(other).double()
    outputs = some_outputs(other, len(X))
    found = other.log_prob(prepared(other, X, torch.float32), outputs.float())
    assert_allclose(
        found.detach(), double.log_prob(prepared(other, X), outputs).detach(), rtol=1e-4, atol=1e-4
    )


SMALL_TO_LARGE = [1e-300, 1e-60, 1e-40, 0.3, 1.0 - 2.0**-25, 1.0 - 2.0**-53, 7.0, 1e60, 1e300]


@pytest.mark.parametrize("name", NAMES)
def test_single_precision_keeps_values_within_the_support(name):
    """The nearest float32 of a share just below one is one, that of a tiny number is zero."""
    likelihood = make_likelihood(name, some_rows(name)[:, :1])
    X = np.array([[value] for value in SMALL_TO_LARGE if name != "beta" or value < 1])
    assert likelihood.rounded(X, np.dtype(np.float64)) is X
    found = likelihood.rounded(X, np.dtype(np.float32))
    assert found.dtype == np.float32
    likelihood.check(found.astype(np.float64))
    assert np.isfinite(found).all()
    inside = (X > 1e-45) & (X < 3e38) & ((name != "beta") | (X < 1 - 2.0**-24))
    assert_array_equal(found[inside], X[inside].astype(np.float32))
    assert found[0, 0] == np.float32(1e-45)  # the smallest positive one


def test_parts_are_rounded_each_by_its_family():
    X = np.column_stack([some_rows("gamma")[:, 0], some_rows("beta")[:, 0], np.arange(60.0)])
    parts = [("beta", 1), ("gaussian", 2), ("gamma", 0)]
    likelihood = make_likelihood(parts, X)
    found = likelihood.rounded(np.array([[1e-70, 1 - 2.0**-53, -1e200]]), np.dtype(np.float32))
    info = np.finfo(np.float32)
    assert_array_equal(found, [[info.smallest_subnormal, 1 - info.epsneg, -info.max]])
