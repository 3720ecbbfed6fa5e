"""Properties of every likelihood: sums, missing values, gradients, units, draws, storage."""

import copy
import json
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvae.neural.likelihoods import LIKELIHOODS, likelihood_from_settings, make_likelihood
from tests.neural.likelihoods.cases import (
    CASES,
    case,
    holes,
    log_prob_of,
    moved,
    prepared,
    some_outputs,
    some_rows,
)

every_case = pytest.mark.parametrize("key", CASES)


def seen(x):
    return ~torch.isnan(x)


@every_case
def test_rows_and_draws_broadcast(key):
    likelihood, X = case(key)
    x, outputs = prepared(likelihood, X[:7]), some_outputs(likelihood, 4, 3, 7)
    found = likelihood.log_prob(x, outputs)
    assert found.shape == (4, 3, 7)
    assert found.dtype == torch.float64
    for i, j, k in [(0, 0, 0), (3, 2, 6), (1, 0, 4)]:
        one = likelihood.log_prob(x[k : k + 1], outputs[i, j, k : k + 1])
        assert_allclose(found[i, j, k].item(), one.item(), rtol=1e-13)
    assert_allclose(
        found.detach(), likelihood.log_terms(x, outputs).sum(-1).detach(), rtol=1e-12, atol=1e-12
    )
    assert likelihood.log_terms(x, outputs).shape == (4, 3, 7, X.shape[1])
    # One row under the outputs of many.
    assert likelihood.log_prob(x[:1], outputs[0]).shape == (3, 7)


@every_case
def test_missing_values_drop_out(key):
    likelihood, X = case(key)
    outputs = some_outputs(likelihood, 2, len(X))
    whole = prepared(likelihood, X)
    terms = likelihood.log_terms(whole, outputs).detach().numpy()
    x = prepared(likelihood, holes(X))
    found = likelihood.log_prob(x, outputs, seen(x)).detach().numpy()
    assert_allclose(found, np.where(seen(x), terms, 0.0).sum(-1), rtol=1e-12, atol=1e-12)
    assert_array_equal(found[:, 0], 0.0)
    complete = likelihood.log_prob(whole, outputs, torch.ones_like(whole, dtype=torch.bool))
    assert_allclose(
        complete.detach(), likelihood.log_prob(whole, outputs).detach(), rtol=1e-12, atol=1e-12
    )


@every_case
@pytest.mark.parametrize("missing", [False, True])
def test_gradients_are_those_of_finite_differences(key, missing):
    likelihood, X = case(key)
    likelihood.double()
    x = prepared(likelihood, holes(X[:3], seed=1) if missing else X[:3])
    function, values = log_prob_of(likelihood, x, seen(x) if missing else None)
    outputs = some_outputs(likelihood, 1, 3).requires_grad_()
    assert torch.autograd.gradcheck(function, (outputs, *values), atol=1e-6, rtol=1e-6)


@every_case
@pytest.mark.parametrize("size", [1e2, 1e4, 1e12])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_large_outputs_leave_no_nan(key, size, dtype):
    likelihood, X = case(key)
    for missing in (False, True):
        x = prepared(likelihood, holes(X) if missing else X, dtype)
        signs = some_outputs(likelihood, 3, len(X), dtype=dtype).sign()
        signs[0], signs[1] = 1.0, -1.0
        outputs = (size * signs).requires_grad_()
        likelihood.zero_grad()
        found = likelihood.log_prob(x, outputs, seen(x) if missing else None)
        found.sum().backward()
        assert torch.isfinite(found).all()
        assert torch.isfinite(outputs.grad).all()
        assert all(torch.isfinite(p.grad).all() for p in likelihood.parameters())
        # Outputs that are far off must have a gradient back.
        assert outputs.grad.abs().sum() > 0
    assert torch.isfinite(likelihood.mean(outputs)).all()
    draws = likelihood.sample(outputs, torch.Generator().manual_seed(0))
    assert torch.isfinite(draws).all()


@every_case
def test_float32_is_close_to_float64(key):
    likelihood, X = case(key)
    x, outputs = prepared(likelihood, X), some_outputs(likelihood, len(X))
    found = likelihood.log_prob(x.float(), outputs.float())
    assert found.dtype == torch.float32
    expected = copy.deepcopy(likelihood).double().log_prob(x, outputs.float().double())
    assert_allclose(found.detach(), expected.detach(), rtol=2e-5, atol=2e-5)


@every_case
def test_half_precision_outputs_are_summed_in_the_precision_of_the_rows(key):
    likelihood, X = case(key)
    x, outputs = prepared(likelihood, X, torch.float32), some_outputs(likelihood, len(X)).bfloat16()
    found = likelihood.log_prob(x, outputs)
    assert found.dtype == torch.float32
    assert_array_equal(found.detach(), likelihood.log_prob(x, outputs.float()).detach())


@every_case
def test_draws_have_the_mean_and_are_of_the_family(key):
    likelihood, X = case(key)
    n = 40_000
    outputs = 0.5 * some_outputs(likelihood, 1, 3, seed=5)
    generator = torch.Generator().manual_seed(1)
    draws = likelihood.sample(outputs.expand(n, -1, -1), generator).numpy()
    mean = likelihood.mean(outputs[0]).detach().numpy()
    assert draws.shape == (n, 3, X.shape[1])
    assert draws.dtype == mean.dtype == np.float64
    likelihood.check(draws.reshape(-1, X.shape[1]))
    error = draws.std(axis=0) / np.sqrt(n)
    codes = {"columns": [1, 4]}.get(key, [0, 1, 2] if key.startswith("categorical") else [])
    numbers = [j for j in range(X.shape[1]) if j not in codes]
    assert (np.abs(draws.mean(axis=0) - mean) <= 5 * error)[:, numbers].all()
    if key.startswith("categorical"):
        p = likelihood.expectations(outputs[0]).unflatten(-1, (3, -1)).numpy()
        found = (draws[..., None] == np.arange(p.shape[-1])).mean(axis=0)
        assert (np.abs(found - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()


@every_case
def test_draws_are_the_generator_s_alone(key):
    likelihood, X = case(key)
    outputs = some_outputs(likelihood, len(X))
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    first, again, other = (
        likelihood.sample(outputs, torch.Generator().manual_seed(seed)) for seed in (3, 3, 4)
    )
    assert_array_equal(first, again)
    assert (first != other).any()
    assert not first.requires_grad
    assert_array_equal(torch_state, torch.get_rng_state())
    assert_array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


@every_case
def test_encoders_read_finite_numbers(key):
    likelihood, X = case(key, 2000)
    x = prepared(likelihood, holes(X), torch.float32)
    found = likelihood.inputs(x)
    assert found.shape == (len(X), likelihood.n_inputs)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    assert_array_equal(found[0], 0.0)  # a row of which nothing is observed
    assert found.abs().max() < 30
    if "categorical" not in key and key != "columns":
        assert_allclose(likelihood.inputs(prepared(likelihood, X)).mean(0), 0.0, atol=0.02)


@every_case
def test_batches_do_not_matter(key):
    """The result of a row is the same to the last bit at every place of a batch."""
    likelihood, X = case(key)
    likelihood.double()
    x, outputs = prepared(likelihood, holes(X)), some_outputs(likelihood, 3, len(X))
    whole = likelihood.log_prob(x, outputs, seen(x)).detach().numpy()
    mean = likelihood.mean(outputs).detach()
    for seed in range(5):
        order = torch.from_numpy(np.random.default_rng(seed).integers(0, len(X), size=len(X)))
        found = likelihood.log_prob(x[order], outputs[:, order], seen(x[order]))
        assert_array_equal(found.detach().numpy(), whole[:, order.numpy()])
        assert_array_equal(likelihood.mean(outputs[:, order]).detach(), mean[:, order])
    X = holes(X)
    assert_array_equal(
        likelihood.log_volume(X), np.concatenate([likelihood.log_volume(x[None]) for x in X])
    )


@every_case
def test_settings_and_state_rebuild_it(key):
    likelihood, X = case(key)
    text = json.dumps(likelihood.settings(), allow_nan=False)
    again = likelihood_from_settings(json.loads(text))
    again.load_state_dict(likelihood.state_dict())
    loaded = pickle.loads(pickle.dumps(likelihood))
    twice = copy.deepcopy(likelihood).double().float()
    outputs = some_outputs(likelihood, len(X))
    for other in (again, loaded, twice, copy.deepcopy(likelihood)):
        assert type(other) is type(likelihood)
        assert json.dumps(other.settings()) == text
        assert (other.n_features, other.n_inputs, other.n_outputs) == (
            likelihood.n_features,
            likelihood.n_inputs,
            likelihood.n_outputs,
        )
        x = prepared(other, X)
        assert_array_equal(x, prepared(likelihood, X))
        assert_array_equal(other.inputs(x), likelihood.inputs(x))
        for function in ("log_prob", "log_terms"):
            found, expected = (getattr(one, function)(x, outputs) for one in (other, likelihood))
            assert_array_equal(found.detach(), expected.detach())
        assert_array_equal(other.mean(outputs).detach(), likelihood.mean(outputs).detach())
        assert_array_equal(other.log_volume(X), likelihood.log_volume(X))
        draws = [one.sample(outputs, torch.Generator().manual_seed(0)) for one in (other, loaded)]
        assert_array_equal(*draws)


@every_case
def test_the_state_is_the_learned_parameters(key):
    likelihood, _ = case(key)
    assert set(likelihood.state_dict()) == {name for name, _ in likelihood.named_parameters()}
    assert all(p.dtype == torch.float32 for p in likelihood.parameters())


@every_case
def test_conversion_changes_no_number_in_the_units_of_the_user(key):
    likelihood, X = case(key)
    outputs = some_outputs(likelihood, len(X)).float()
    double = copy.deepcopy(likelihood).double()
    assert likelihood.log_jacobian.dtype == torch.float64
    assert_array_equal(double.prepare(X), likelihood.prepare(X))
    assert_array_equal(double.log_jacobian, likelihood.log_jacobian)
    assert_array_equal(double.mean(outputs).detach(), likelihood.mean(outputs).detach())
    assert likelihood.mean(outputs).dtype == torch.float64


@every_case
def test_preparation_leaves_the_data_alone(key):
    likelihood, X = case(key)
    X = holes(X)
    X.setflags(write=False)
    x = likelihood.prepare(X)
    assert x.dtype == np.float64
    assert_array_equal(np.isnan(x), np.isnan(X))
    assert likelihood.prepare(X.astype(np.float32)).dtype == np.float64


@pytest.mark.parametrize("name", ["gaussian", "student_t"])
@pytest.mark.parametrize("scale", ["feature", "shared", "decoder"])
def test_units_of_the_data_do_not_matter(name, scale):
    X = some_rows(name)
    factors, shifts = np.array([1e-5, 3.0, 1e9]), np.array([-7.0, 1e3, 0.0])
    one, other = (
        moved(make_likelihood(name, Y, {"scale": scale})) for Y in (X, X * factors + shifts)
    )
    outputs = some_outputs(one, len(X))
    Y = holes(X)
    x, y = prepared(one, Y), prepared(other, Y * factors + shifts)
    assert_allclose(y, x, rtol=1e-6, atol=1e-6)
    density, changed = (
        likelihood.log_prob(rows, outputs, seen(rows)).detach().numpy() + likelihood.log_volume(Y)
        for likelihood, rows in ((one, x), (other, y))
    )
    expected = density - np.where(np.isnan(Y), 0.0, np.log(factors)).sum(axis=1)
    assert_allclose(changed, expected, rtol=1e-6, atol=1e-6)
    expected = one.mean(outputs).detach().numpy() * factors + shifts
    assert_allclose(other.mean(outputs).detach(), expected, rtol=1e-9)
    draws, changed = (
        likelihood.sample(outputs, torch.Generator().manual_seed(0)).numpy()
        for likelihood in (one, other)
    )
    assert_allclose(changed, draws * factors + shifts, rtol=1e-6, atol=1e-9)


@every_case
def test_a_likelihood_follows_its_module(key):
    """meta replaces a device other than the CPU: every tensor of a density must move there."""
    likelihood, X = case(key)
    there = likelihood.to("meta")
    x = torch.empty(len(X), X.shape[1], device="meta")
    outputs = torch.empty(2, len(X), likelihood.n_outputs, device="meta")
    observed = torch.empty(x.shape, dtype=torch.bool, device="meta")
    assert there.log_prob(x, outputs).device.type == "meta"
    assert there.log_prob(x, outputs, observed).shape == (2, len(X))
    assert there.inputs(x).device.type == "meta"
    assert there.mean(outputs).device.type == "meta"
    assert there.log_jacobian.device.type == "cpu"


WRONG = {
    "gaussian": (np.inf, "inf: a Gaussian likelihood takes finite numbers"),
    "student_t": (-np.inf, "-inf: a Student-t likelihood takes finite numbers"),
    "bernoulli": (2.0, "2.0: a Bernoulli likelihood takes 0 and 1"),
    "continuous_bernoulli": (
        1.5,
        "1.5: a continuous Bernoulli likelihood takes numbers from 0 to 1; rescale the column",
    ),
    "categorical": (
        0.5,
        "0.5: a categorical column takes codes, whole numbers from 0 to 16777",
    ),
    "poisson": (-1.0, "-1.0: a Poisson likelihood takes counts, whole numbers from 0"),
    "negative_binomial": (0.5, "0.5: a negative binomial likelihood takes counts, whole numbers"),
    "log_normal": (
        0.0,
        "0.0: a log-normal likelihood takes finite numbers above zero; shift the column, or drop",
    ),
    "gamma": (np.inf, "inf: a gamma likelihood takes finite numbers above zero; shift the column"),
    "beta": (
        1.0,
        "1.0: a beta likelihood takes numbers above 0 and below 1; rescale the column, or take "
        "'continuous_bernoulli', whose numbers may be 0 and 1",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_values_are_named(name):
    value, text = WRONG[name]
    X = some_rows(name)
    likelihood = make_likelihood(name, X)
    likelihood.check(holes(X))
    wrong = holes(X)
    wrong[40, 1] = value
    with pytest.raises(ValueError, match=rf"^X\[:, 1\] holds {text}"):
        likelihood.check(wrong)
    with pytest.raises(ValueError, match=rf"^X\['b'\] holds {text}"):
        likelihood.check(wrong, np.array(["a", "b", "c"]))
    with pytest.raises(ValueError, match=rf"^X\[:, 1\] holds {text}"):
        make_likelihood(name, wrong)
    with pytest.raises(ValueError, match=rf"^X\['b'\] holds {text}"):
        make_likelihood(name, wrong.astype(np.float32), names=["a", "b", "c"])
    empty = X.copy()
    empty[:, 2] = np.nan
    with pytest.raises(ValueError, match=r"^X has no observed value in feature 'c': each feature"):
        make_likelihood(name, empty, names=["a", "b", "c"])


@pytest.mark.parametrize("name", WRONG)
def test_one_row_and_constant_columns_are_data_too(name):
    X = some_rows(name)[:1]
    for rows in (X, np.repeat(X, 5, axis=0)):
        likelihood = make_likelihood(name, rows)
        x = prepared(likelihood, rows)
        outputs = torch.zeros(len(rows), likelihood.n_outputs)
        assert torch.isfinite(likelihood.log_prob(x, outputs)).all()
        assert torch.isfinite(likelihood.inputs(x)).all()
        if name in ("log_normal", "gamma"):  # their unit is the column's level
            assert_allclose(likelihood.log_volume(rows), -np.log(rows).sum(axis=1), rtol=1e-6)
        else:
            assert_array_equal(likelihood.log_volume(rows), 0.0)


@pytest.mark.parametrize(
    ("spec", "params", "text"),
    [
        (
            "normal",
            None,
            "likelihood='normal': must be one of 'gaussian', 'student_t', 'bernoulli',",
        ),
        ("columns", None, "likelihood='columns': must be one of 'gaussian'"),
        (None, None, "likelihood=None: must be a name or a list of"),
        (
            "gaussian",
            {"dof": 3},
            "likelihood_params has 'dof': likelihood='gaussian' takes 'scale', ",
        ),
        ("poisson", {"a": 3}, "likelihood_params has 'a': likelihood='poisson' takes none"),
        ("gaussian", "shared", "likelihood_params='shared': must be a dict, or None"),
        ([("gaussian", [0, 1, 2])], {"scale": "shared"}, "must be None where likelihood is a list"),
    ],
)
def test_unusable_specifications(spec, params, text):
    with pytest.raises(ValueError, match=text):
        make_likelihood(spec, some_rows("gaussian"), params)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, r"likelihood=None in the settings: must be one of 'gaussian', .*'columns'"),
        ([], "likelihood=None in the settings"),
        ({"likelihood": "os.system"}, "likelihood='os.system' in the settings: must be one of"),
        (
            {"likelihood": "gaussian"},
            "settings of likelihood='gaussian' are not usable: .*location",
        ),
        ({"likelihood": "poisson", "more": 1}, "settings of likelihood='poisson' are not usable"),
        (
            {"likelihood": "gaussian", "location": [0.0], "units": [-1.0]},
            r"units=array\(\[-1.\]\): must be above 0, one for each feature",
        ),
        (
            {"likelihood": "gaussian", "location": [0.0], "units": [1.0, 2.0]},
            r"units has shape \(2,\): must have shape \(1,\) \(n_features,\)",
        ),
        (
            {"likelihood": "gaussian", "location": [[0.0]], "units": [[1.0]]},
            "must be above 0, one for each feature",
        ),
        ({"likelihood": "bernoulli", "log_odds": [[0.0]]}, r"log_odds has shape \(1, 1\)"),
        ({"likelihood": "bernoulli", "log_odds": "x"}, "log_odds='x': must be an array of numbers"),
        ({"likelihood": "bernoulli", "log_odds": [np.inf]}, "log_odds contains NaN or infinity"),
        (
            {"likelihood": "categorical", "log_probabilities": []},
            "must be finite numbers, at least",
        ),
        ({"likelihood": "categorical", "log_probabilities": [[]]}, "must be finite numbers, at le"),
        ({"likelihood": "categorical", "log_probabilities": 3}, "'categorical' are not usable"),
        (
            {"likelihood": "poisson", "log_mean": [[0]], "log1p_mean": [0], "log1p_std": [1]},
            r"log_mean has shape \(1, 1\): must have one axis",
        ),
        ({"likelihood": "columns", "parts": [], "columns": []}, "columns=.*must be"),
        (
            {"likelihood": "columns", "parts": [{"likelihood": "columns"}], "columns": [[0]]},
            "likelihood='columns' in the settings: must be one of",
        ),
        (
            {
                "likelihood": "columns",
                "parts": [{"likelihood": "bernoulli", "log_odds": [0.0]}],
                "columns": [[0, 1]],
            },
            r"columns=\[\[0, 1\]\]: must be as many as the parts' features, each once",
        ),
    ],
)
def test_tampered_settings(settings, text):
    with pytest.raises(ValueError, match=text):
        likelihood_from_settings(settings)


def test_settings_of_another_family():
    settings = make_likelihood("bernoulli", some_rows("bernoulli")).settings()
    with pytest.raises(
        ValueError, match="likelihood='bernoulli' in the settings: must be 'poisson'"
    ):
        LIKELIHOODS["poisson"].from_settings(settings)


def test_every_family_has_a_case():
    assert {case(key)[0].name for key in CASES} == set(LIKELIHOODS)
    assert all(LIKELIHOODS[name].name == name for name in LIKELIHOODS)
