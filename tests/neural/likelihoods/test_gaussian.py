"""Gaussian and Student-t: densities, floors, exactness far from zero, the lean way of training."""

import math

import mpmath
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.stats import kstest, norm, t

from skvae.neural.likelihoods import make_likelihood
from skvae.neural.likelihoods.gaussian import MIN_DOF, Gaussian, StudentT, _half_step
from tests.neural.likelihoods.cases import case, holes, prepared, some_outputs, some_rows

LN2 = math.log(2.0)


def softplus(x):
    return np.logaddexp(np.asarray(x, dtype=np.float64), 0.0)


def sigma_of(raw):
    return 1e-3 + np.exp(np.asarray(raw, dtype=np.float64))


def sigma_of_decoder(raw):
    return 0.1 + (1 - 0.1) * softplus(raw + np.log(np.expm1(1.0)))


def dof_of(raw):
    return MIN_DOF + (8.0 - MIN_DOF) / LN2 * softplus(raw)


def oracle(likelihood, x, outputs):
    """Σ ln p of scipy in units of prepared rows, from the formulas of σ and ν."""
    d = likelihood.n_features
    pieces = [outputs[..., i : i + d] for i in range(0, outputs.shape[-1], d)]
    mu = pieces.pop(0)
    if likelihood.scale == "decoder":
        sigma = sigma_of_decoder(pieces.pop(0))
    else:
        sigma = sigma_of(likelihood.raw_scale.detach().numpy())
    if likelihood.name == "gaussian":
        return norm.logpdf(x, mu, sigma).sum(-1)
    if isinstance(likelihood.dof, float):
        dof = likelihood.dof
    else:
        raw = pieces.pop(0) if likelihood.dof == "decoder" else likelihood.raw_dof.detach().numpy()
        dof = dof_of(raw)
    return t.logpdf(x, dof, mu, sigma).sum(-1)


KEYS = [
    *("gaussian", "gaussian shared", "gaussian decoder"),
    *("student_t", "student_t shared", "student_t decoder", "student_t fixed"),
]


@pytest.mark.parametrize("key", KEYS)
def test_densities_are_scipy_s(key):
    likelihood, X = case(key)
    outputs = 2.0 * some_outputs(likelihood, 3, len(X))
    found = likelihood.double().log_prob(prepared(likelihood, X), outputs)
    expected = oracle(likelihood, likelihood.prepare(X), outputs.numpy())
    assert_allclose(found.detach(), expected, rtol=1e-12)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("seed", range(3))
def test_densities_integrate_to_one(key, seed):
    likelihood, _ = case(key)
    likelihood.double()
    outputs = 2.0 * some_outputs(likelihood, 1, seed=seed)
    mu = outputs[0, : likelihood.n_features]
    for j in range(likelihood.n_features):

        def density(value, j=j):
            x = mu.clone()
            x[j] = value
            return likelihood.log_terms(x[None], outputs)[0, j].exp().item()

        center = mu[j].item()
        total = sum(quad(density, *ends)[0] for ends in ((-np.inf, center), (center, np.inf)))
        assert total == pytest.approx(1.0, abs=1e-7)


@pytest.mark.parametrize("key", KEYS[:6])
def test_zero_outputs_are_the_independent_model(key):
    X = some_rows(key.split()[0], 200)
    mode = key.split()[1] if " " in key else "feature"
    params = {"scale": mode} | ({"dof": mode} if key.startswith("student_t") else {})
    likelihood = make_likelihood(key.split()[0], X, params)
    Y = holes(X)
    x = prepared(likelihood, Y)
    found = likelihood.log_prob(x, torch.zeros(len(X), likelihood.n_outputs), ~torch.isnan(x))
    mean, std = X.mean(axis=0), X.std(axis=0)
    family = norm if likelihood.name == "gaussian" else t(8.0)
    terms = family.logpdf((Y - mean) / std) - np.log(std)
    assert_allclose(
        found.detach().numpy() + likelihood.log_volume(Y),
        np.nansum(terms, axis=1),
        rtol=1e-6,
        atol=1e-6,
    )
    zeros = torch.zeros(likelihood.n_outputs)
    assert_allclose(likelihood.mean(zeros).detach(), mean, rtol=1e-12)


def test_moments_are_those_of_observed_values():
    X = some_rows("gaussian", 500)
    Y = holes(X)
    likelihood = make_likelihood("gaussian", Y)
    assert_allclose(likelihood.location, np.nanmean(Y, axis=0), rtol=1e-12)
    assert_allclose(likelihood.units, np.nanstd(Y, axis=0), rtol=1e-12)
    x = likelihood.prepare(Y)
    assert_allclose(np.nanmean(x, axis=0), 0.0, atol=1e-12)
    assert_allclose(np.nanstd(x, axis=0), 1.0, rtol=1e-12)
    assert_allclose(likelihood.log_jacobian, -np.log(np.nanstd(Y, axis=0)), rtol=1e-12)


@pytest.mark.parametrize("name", ["gaussian", "student_t"])
def test_far_from_zero_nothing_is_rounded(name):
    X = np.array([[1e8 - 1.0], [1e8 + 1.0], [1e8 - 1.0], [1e8 + 1.0]])
    likelihood = make_likelihood(name, X)
    assert_array_equal(likelihood.prepare(X), [[-1.0], [1.0], [-1.0], [1.0]])
    assert likelihood.units[0] == 1.0
    outputs = torch.tensor([[-1.0], [1.0], [0.25], [0.0]])  # float32
    assert_array_equal(likelihood.mean(outputs), [[1e8 - 1], [1e8 + 1], [1e8 + 0.25], [1e8]])
    near = make_likelihood(name, X - 1e8)
    draws = [
        one.sample(outputs, torch.Generator().manual_seed(0)).numpy() for one in (likelihood, near)
    ]
    assert_allclose(draws[0] - 1e8, draws[1], atol=1e-7)
    x = prepared(likelihood, X, torch.float32)
    assert_array_equal(
        likelihood.log_prob(x, outputs).detach(),
        near.log_prob(prepared(near, X - 1e8, torch.float32), outputs).detach(),
    )


def test_values_at_the_ends_of_float64_stay_finite():
    likelihood = make_likelihood("gaussian", np.array([[1e-120], [3e-120]]))
    x = likelihood.prepare(np.array([[1.7e308], [-1.7e308]]))
    assert_array_equal(x, [[1e100], [-1e100]])
    found = likelihood.log_prob(torch.from_numpy(x), torch.zeros(2, 1))
    assert torch.isfinite(found).all()


def test_data_too_large_to_square_are_refused():
    with pytest.raises(ValueError, match=r"X has a value of size 1e\+200 in feature 0: must be"):
        make_likelihood("gaussian", np.array([[1e200], [0.0]]))


@pytest.mark.parametrize("name", ["gaussian", "student_t"])
@pytest.mark.parametrize("scale", ["feature", "shared", "decoder"])
def test_sigma_has_a_floor(name, scale):
    X = some_rows(name)
    likelihood = make_likelihood(name, X, {"scale": scale, "min_scale": 0.05}).double()
    outputs = torch.zeros(1, likelihood.n_outputs, dtype=torch.float64)
    if scale == "decoder":
        outputs[:, 3:6] = -1e3
    else:
        with torch.no_grad():
            likelihood.raw_scale.fill_(-1e3)
    peak = likelihood.log_prob(torch.zeros(1, 3, dtype=torch.float64), outputs).item()
    at_zero = norm.logpdf(0.0) if name == "gaussian" else t.logpdf(0.0, 8.0)
    assert peak == pytest.approx(3 * (at_zero - np.log(0.05)), rel=1e-12)


@pytest.mark.parametrize("raw", [-30.0, -10.0, 0.0, 10.0, 30.0])
def test_gradients_of_sigma_do_not_die(raw):
    likelihood = make_likelihood("gaussian", some_rows("gaussian"))
    with torch.no_grad():
        likelihood.raw_scale.fill_(raw)
    likelihood.log_prob(torch.full((1, 3), 2.0), torch.zeros(1, 3)).backward()
    assert (likelihood.raw_scale.grad != 0).all()


def test_first_sigma_is_one_and_first_dof_is_eight():
    for min_scale in (1e-3, 0.5):
        likelihood = make_likelihood("gaussian", some_rows("gaussian"), {"min_scale": min_scale})
        x = torch.zeros(1, 3, dtype=torch.float64)
        found = likelihood.log_prob(x, torch.zeros(1, 3)).item()
        assert found == pytest.approx(3 * norm.logpdf(0.0), abs=1e-6)


@pytest.mark.parametrize("dof", [2.01, 3.0, 39.9, 40.1, 1e3, 1e8])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 3e-6)])
def test_student_t_of_any_dof(dof, dtype, tolerance):
    """Large ν too, where the two Gamma functions nearly cancel."""
    likelihood = StudentT([0.0], [1.0], dof=dof)
    x = np.array([[0.0], [0.3], [3.0], [30.0]])
    found = likelihood.log_terms(torch.tensor(x, dtype=dtype), torch.zeros(4, 1, dtype=dtype))
    sigma = sigma_of(likelihood.raw_scale.detach().numpy())
    expected = t.logpdf(x, dof, 0.0, sigma)
    if dof > 1e7:  # scipy's own difference of Gamma functions has lost digits
        expected = norm.logpdf(x, 0.0, sigma)
        tolerance = max(tolerance, 1e-5)
    assert_allclose(found.detach(), expected, rtol=tolerance, atol=tolerance)


def test_gamma_ratio_against_many_digits():
    with mpmath.workdps(40):
        for x in (0.6, 1.0, 7.3, 19.99, 20.01, 55.0, 1e4, 1e9):
            exact = mpmath.loggamma(x + 0.5) - mpmath.loggamma(x) - mpmath.log(x) / 2
            found = _half_step(torch.tensor(x, dtype=torch.float64)).item()
            assert found == pytest.approx(float(exact), rel=1e-12, abs=1e-14)


@pytest.mark.parametrize("dof", [2.5, 8.0, 1e4])
def test_student_t_draws(dof):
    likelihood = StudentT([5.0], [2.0], dof=dof)
    outputs = torch.full((50_000, 1), 0.5)
    draws = likelihood.sample(outputs, torch.Generator().manual_seed(0)).numpy()[:, 0]
    sigma = sigma_of(likelihood.raw_scale.detach().numpy()).item()
    expected = t(dof, 6.0, 2.0 * sigma)
    assert kstest(draws, expected.cdf).pvalue > 1e-3
    in_tails = (np.abs(draws - 6.0) > expected.isf(5e-4) - 6.0).sum()
    assert abs(in_tails - 50) < 5 * np.sqrt(50)


def test_gaussian_draws():
    likelihood = Gaussian([5.0], [2.0], scale="decoder")
    outputs = torch.tensor([[0.5, -1.0]]).expand(50_000, 2)
    draws = likelihood.sample(outputs, torch.Generator().manual_seed(0)).numpy()[:, 0]
    assert kstest(draws, norm(6.0, 2.0 * sigma_of_decoder(-1.0)).cdf).pvalue > 1e-3


def test_outputs_are_as_many_as_the_decoder_decides():
    X = some_rows("student_t")
    for scale, dof, expected in [
        ("feature", "shared", 3),
        ("decoder", "feature", 6),
        ("shared", "decoder", 6),
        ("decoder", "decoder", 9),
    ]:
        assert make_likelihood("student_t", X, {"scale": scale, "dof": dof}).n_outputs == expected
    shared = make_likelihood("student_t", X, {"scale": "shared", "dof": "shared"})
    assert [p.shape for p in shared.parameters()] == [(1,), (1,)]


def _operations(tensor):
    """The operations in the graph of a result."""
    nodes, todo = set(), [tensor.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and not node.name().endswith("AccumulateGrad"):
            nodes.add(node)
            todo += [parent for parent, _ in node.next_functions]
    return [node.name() for node in nodes]


def test_the_loop_of_training_is_lean():
    """Three operations for each number and a sum; of the others one for each row."""
    likelihood = make_likelihood("gaussian", some_rows("gaussian"))
    outputs = torch.zeros(1, 256, 3, requires_grad=True)
    names = _operations(likelihood.log_prob(torch.zeros(256, 3), outputs))
    assert len(names) <= 11, names


@pytest.mark.parametrize(
    ("params", "text"),
    [
        ({"scale": "row"}, "scale='row': must be one of 'feature', 'shared', 'decoder'"),
        ({"scale": None}, "scale=None: must be one of"),
        ({"min_scale": 0}, "min_scale=0: must be a number from 1e-06 to below 1, in standard"),
        ({"min_scale": 1.0}, "min_scale=1.0: must be a number from 1e-06 to below 1"),
        ({"min_scale": np.nan}, "min_scale=nan: must be"),
        ({"min_scale": True}, "min_scale=True: must be"),
        ({"dof": 2}, "dof=2: must be 'feature', 'shared', 'decoder', or a number above 2, where"),
        ({"dof": np.inf}, "dof=inf: must be"),
        ({"dof": "row"}, "dof='row': must be"),
        ({"dof": True}, "dof=True: must be"),
        ({"dof": [3.0]}, r"dof=\[3.0\]: must be"),
    ],
)
def test_unusable_parameters(params, text):
    with pytest.raises(ValueError, match=text):
        make_likelihood("student_t", some_rows("student_t"), params)
