"""Gamma, von Mises, negative binomial, zero-inflated Poisson and multinomial emissions.

Densities, statistics, M steps against scipy's numerical maxima, draws, first values, errors.
"""

import inspect
from types import FunctionType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skvae.emissions import EMISSIONS
from tests.emissions.family_cases import (
    CASES,
    arrays_of,
    draws_of,
    numerical_maximum,
    random_emission,
)
from tests.emissions.tools import (
    first_of,
    holes,
    log_density,
    mixture_bounds,
    some_resp,
    statistics,
    summary_of,
)
from tests.hmm_oracles import log_emission

FAMILIES = (*CASES, "multinomial")
every_family = pytest.mark.parametrize("family", FAMILIES)
every_column = pytest.mark.parametrize("family", CASES)


# The protocol -------------------------------------------------------------------------------------

NEEDED = {
    *("log_density", "sufficient_statistics", "expected_statistics"),
    *("sample", "means", "variances", "covariances"),
    *("__init__", "accepts", "start", "estimate"),
}
# Mathematics that a family may have: a faster kernel, quantiles, other points for k-means, other
# coordinates, the most probable value of a missing one, a conjugate prior.
POSSIBLE = {
    *("kernel", "cdf", "features", "pack", "unpack", "_filled"),
    *("conjugate_prior", "prior_statistics", "log_prior"),
}


def written_in(cls):
    """The names of the functions in the source of a class."""
    functions = ((n, f) for n, f in vars(cls).items() if isinstance(f, FunctionType))
    source = inspect.getsourcefile(cls)  # other functions are those that dataclass writes
    return {name for name, function in functions if function.__code__.co_filename == source}


@pytest.mark.parametrize("family", [*FAMILIES, "poisson", "bernoulli"])
def test_a_family_writes_its_mathematics_and_at_most_ten_methods_of_the_protocol(family):
    cls = EMISSIONS[family]
    written = written_in(cls) | written_in(cls.record)
    checks = {"check_parameters"} if family == "multinomial" else set()  # of its prior
    assert written <= NEEDED | POSSIBLE | checks
    assert len(written & NEEDED) <= 10
    assert {"sample", "means", "start", "estimate"} <= written


# Densities ----------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_log_densities_are_scipy_s(family, missing, seed):
    emission = random_emission(family, seed=seed)
    X = draws_of(emission, seed=seed)
    X = holes(X, seed=seed) if missing else X
    found = emission.log_density(X)
    assert found.dtype == np.float64
    assert_allclose(found, log_emission(X, emission), rtol=1e-9, atol=1e-9)
    if missing:
        assert_array_equal(found[0], 0.0)


@every_family
def test_rows_in_blocks_and_in_single_precision(family):
    emission = random_emission(family)
    X = holes(draws_of(emission)).astype(np.float32)
    parts = log_density(emission.parameters(), X, block_rows=37)
    assert_allclose(parts.T, emission.log_density(X), rtol=1e-12, atol=1e-12)


# Statistics ---------------------------------------------------------------------------------------


@every_family
def test_statistics_add_and_scale(family):
    parameters = random_emission(family).parameters()
    X = holes(draws_of(random_emission(family)))
    resp = some_resp(3, len(X))
    parts = [statistics(parameters, X[a], resp[:, a]) for a in (slice(0, 99), slice(99, None))]
    whole = statistics(parameters, X, resp)
    tolerance = {"rtol": 1e-11, "atol": 1e-10}
    assert_allclose(parts[0] + parts[1], whole, **tolerance)
    assert_allclose(whole * 2.0, statistics(parameters, X, 2.0 * resp), **tolerance)


@every_family
@pytest.mark.parametrize("seed", range(4))
def test_statistics_of_parameters_lead_back_to_them(family, seed):
    emission = random_emission(family, seed=seed)
    old, parameters = (random_emission(family, seed=s).parameters() for s in (99, seed))
    found = emission.maximize(old, parameters.statistics([0.2, 3.0, 1e5]), None)
    for array, expected in zip(arrays_of(found), arrays_of(parameters), strict=True):
        assert_allclose(array, expected, rtol=1e-9)


@every_family
def test_expected_statistics_are_those_of_draws(family):
    emission = random_emission(family, 2)
    parameters, n = emission.parameters(), 200_000
    states = np.repeat([0, 1], n)
    X = parameters.sample(states, np.random.RandomState(0))
    resp = (states == [[0], [1]]).astype(float)
    found = statistics(parameters, X, resp)[1:] / n
    expected = parameters.expected_statistics()
    error = np.sqrt(np.abs(expected) + np.abs(found)) + np.abs(expected)
    assert (np.abs(found - expected) <= 0.05 * error + 1e-12).all()


@every_family
def test_states_and_columns_without_weight_keep_old_values(family):
    emission = random_emission(family)
    old, X = emission.parameters(), draws_of(emission)
    resp = some_resp(3, len(X))
    resp[1] = 0.0
    found = emission.maximize(old, statistics(old, X, resp), None)
    for array, before in zip(arrays_of(found), arrays_of(old), strict=True):
        assert_array_equal(array[1], before[1])
        assert (array[0] != before[0]).any()
    X[:, 1] = np.nan
    found = emission.maximize(old, statistics(old, X, resp), None)
    for array, before in zip(arrays_of(found), arrays_of(old), strict=True):
        assert_array_equal(array[0, 1], before[0, 1])


# The M step ---------------------------------------------------------------------------------------


STARTS = [(0.0, 0.0), (2.0, -2.0), (-2.0, 2.0), (3.0, 3.0)]


@every_column
@pytest.mark.parametrize("n_rows", [3, 60])
@pytest.mark.parametrize("seed", range(3))
def test_m_step_is_the_numerical_maximum(family, n_rows, seed):
    X = draws_of(random_emission(family, 1, 2, seed), n_rows, seed)
    X = holes(X, 0.2, seed)
    X[1] = draws_of(random_emission(family, 1, 2, seed), 1, seed + 1)  # something is observed
    old = random_emission(family, 2, 2, 7).parameters()
    resp = some_resp(2, n_rows, seed)
    found = CASES[family].emission().maximize(old, statistics(old, X, resp), None)
    for k in range(2):
        for d in range(2):
            seen = ~np.isnan(X[:, d])
            x, weight = X[seen, d], resp[k, seen]
            ours = [array[k, d] for array in arrays_of(found)]
            value = weight @ CASES[family].terms(x, *ours) / weight.sum()
            theirs, best = numerical_maximum(family, x, weight, STARTS)
            assert value > best - 1e-9 * (1.0 + abs(best))
            if n_rows > 3 and value < best + 1e-9:
                assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prior", [1.0, 2.5])
def test_m_step_of_the_multinomial_is_its_closed_form(prior):
    emission = random_emission("multinomial").set_params(prior=prior)
    old, X = emission.parameters(), holes(draws_of(random_emission("multinomial")), 0.1)
    resp = some_resp(3, len(X))
    found = emission.maximize(old, statistics(old, X, resp), None)
    whole = ~np.isnan(X).any(axis=1)
    counts = resp[:, whole] @ X[whole] + prior - 1.0
    assert_allclose(found.probabilities, counts / counts.sum(axis=1, keepdims=True), rtol=1e-12)


@every_family
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_em_never_falls(family, missing, seed):
    X = draws_of(random_emission(family, seed=seed), 400, seed)
    X = holes(X, 0.2) if missing else X
    emission = EMISSIONS[family]()
    labels = np.random.default_rng(seed).integers(0, 3, len(X))
    first = first_of(emission, X, labels, 3)
    bounds, _ = mixture_bounds(emission, first, X, summary_of(emission, X), 60)
    assert np.diff(bounds).min() > -1e-9
    assert bounds[-1] - bounds[0] > 10


VALUES = {
    "gamma": [[3.0, 1e-3], [3.0, 2e5]],
    "von_mises": [[3.0, -3.1], [3.0, 3.1]],
    "negative_binomial": [[7.0, 0.0], [7.0, 1e6]],
    "zero_inflated_poisson": [[7.0, 0.0], [7.0, 1.0]],
    "multinomial": [[7.0, 0.0], [9.0, 0.0]],
}


@every_family
def test_em_on_degenerate_rows_never_falls(family):
    """A constant column, columns of zeros, few different rows, one row."""
    rows = np.array(VALUES[family])
    for X in (np.repeat(rows, [40, 3], axis=0), rows[:1], np.repeat(rows[1:], 9, axis=0)):
        emission = EMISSIONS[family]()
        first = first_of(emission, X, np.arange(len(X)) % 2, 2)
        bounds, last = mixture_bounds(emission, first, X, summary_of(emission, X), 25)
        assert np.isfinite(bounds).all()
        assert np.diff(bounds).min(initial=0.0) > -1e-6
        assert all(np.isfinite(array).all() for array in arrays_of(last))


# Draws --------------------------------------------------------------------------------------------


@every_family
def test_draws_have_the_mean_and_the_variance(family):
    parameters, n = random_emission(family, 2).parameters(), 200_000
    states = np.repeat([0, 1], n)
    X = parameters.sample(states, np.random.RandomState(0))
    assert X.dtype == np.float64
    for k in range(2):
        mean, covariance = parameters.means()[k], parameters.covariances()[k]
        deviation = X[states == k] - mean
        if family == "von_mises":
            assert (np.abs(X) <= np.pi).all()
            deviation = np.angle(np.exp(1j * deviation))
        scale = np.sqrt(covariance.diagonal())
        assert (np.abs(deviation.mean(axis=0)) < 5 * scale / np.sqrt(n)).all()
        found = deviation.T @ deviation / n / np.outer(scale, scale)
        assert_allclose(found, covariance / np.outer(scale, scale), atol=0.06)


# Vectors, attributes, first values ----------------------------------------------------------------


@every_family
def test_vectors_and_back(family):
    emission = random_emission(family)
    parameters, summary = emission.parameters(), summary_of(emission, draws_of(emission))
    vector = parameters.pack(summary)
    assert np.isfinite(vector).all()
    for array, expected in zip(
        arrays_of(parameters.unpack(vector, summary)), arrays_of(parameters), strict=True
    ):
        assert_allclose(array, expected, rtol=1e-12, atol=1e-14)
    far = parameters.unpack(vector + 20.0, summary)
    assert not np.isnan(far.log_density(draws_of(emission))).any()


@every_family
def test_counts_and_attributes(family):
    emission = random_emission(family)
    parameters = emission.parameters()
    assert (parameters.n_components, parameters.n_features) == (3, 2)
    assert parameters.n_parameters() == 3 * (1 if family == "multinomial" else 4)
    assert parameters.n_parameters(2) * 3 == parameters.n_parameters() * 2
    for name, array in vars(parameters).items():
        assert_array_equal(getattr(emission, f"{name}_"), array)
        assert not hasattr(clone(emission), f"{name}_")


@every_family
def test_given_first_values_win(family):
    known = random_emission(family)
    X, fields = draws_of(known, 50), vars(known.parameters())
    given = {f"{name}_init": array.tolist() for name, array in fields.items() if name != "total"}
    emission = EMISSIONS[family](**given)
    emission.check_parameters(3)
    emission.check_rows(X)
    first = first_of(emission, X, np.zeros(50, dtype=int), 3)
    for array, expected in zip(arrays_of(first), arrays_of(known.parameters()), strict=True):
        assert_allclose(array, expected, rtol=1e-14)


@every_family
def test_first_parameters_follow_the_labels(family):
    """Each state begins near the maximum of its rows; states without rows differ."""
    known = random_emission(family, 2, 2, 3)
    parameters = known.parameters()
    labels = np.repeat([0, 1], 500)
    X = parameters.sample(labels, np.random.RandomState(0))
    emission = EMISSIONS[family]()
    first = first_of(emission, X, labels, 4)
    found = emission.maximize(parameters, statistics(parameters, X, labels == [[0], [1]]), None)
    assert_allclose(first.means()[:2], found.means(), rtol=0.1, atol=0.1)
    assert all(np.isfinite(array).all() for array in arrays_of(first))
    assert (arrays_of(first)[0][2] != arrays_of(first)[0][3]).all()


@every_family
def test_first_parameters_do_not_depend_on_the_unit_of_weights(family):
    X = draws_of(random_emission(family), 50)
    labels = np.arange(50) % 2
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=50)
    emission = EMISSIONS[family]()
    a, b = (first_of(emission, X, labels, 2, sample_weight=c * weight) for c in (1, 1e9))
    for one, other in zip(arrays_of(a), arrays_of(b), strict=True):
        assert_allclose(one, other, rtol=1e-8)


# Errors -------------------------------------------------------------------------------------------


COUNTS = "takes whole numbers from 0 to 2**53"
RULES = {
    "gamma": ("a gamma emission takes numbers above zero; shift the column", [0.0, -2.0]),
    "negative_binomial": (f"a negative binomial emission {COUNTS}", [-1.0, 0.5, 2.0**54]),
    "zero_inflated_poisson": (f"a zero-inflated Poisson emission {COUNTS}", [-1.0, 0.5, 2.0**54]),
    "multinomial": (f"a multinomial emission {COUNTS}", [-1.0, 0.5, 2.0**54]),
}


@pytest.mark.parametrize(("family", "value"), [(f, v) for f, (_, vs) in RULES.items() for v in vs])
def test_rows_that_are_not_possible(family, value):
    X = np.array([[1.0, np.nan], [1.0, value]])
    with pytest.raises(ValueError, match="holds") as error:
        EMISSIONS[family]().check_rows(X, np.array(["a", "b"]))
    assert str(error.value).startswith(f"X['b'] holds {value!r}: {RULES[family][0]}")
    EMISSIONS[family]().check_rows(X[:1])


@pytest.mark.parametrize(
    ("family", "values", "text"),
    [
        ("gamma", ([[0.0]], [[1.0]]), "shapes has an entry 0.0: must be from 0.0001 to 1e+08"),
        ("gamma", ([[1e9]], [[1.0]]), "shapes has an entry 1000000000.0: must be from 0.0001"),
        ("gamma", ([[1.0]], [[0.0]]), "scales has an entry 0.0: must be > 0"),
        ("gamma", ([[1.0]], [[1.0, 2.0]]), "scales has shape (1, 2): must have the shape of shape"),
        ("von_mises", ([[np.inf]], [[1.0]]), "directions contains NaN or infinity: must be finite"),
        ("von_mises", ([[0.0]], [[-1.0]]), "concentrations has an entry -1.0: must be from 0 to 1"),
        (
            "von_mises",
            ([[0.0]], [[2e8]]),
            "concentrations has an entry 200000000.0: must be from 0",
        ),
        ("negative_binomial", ([[-1.0]], [[1.0]]), "rates has an entry -1.0: must be >= 0"),
        ("negative_binomial", ([[1.0]], [[-1.0]]), "dispersions has an entry -1.0: must be from 0"),
        (
            "zero_inflated_poisson",
            ([[1.0]], [[1.5]]),
            "zero_weights has an entry 1.5: must be in [",
        ),
        ("multinomial", ([[0.5, 0.4]], 3), "probabilities sums to 0.9 over the last axis: must"),
        ("multinomial", ([[0.5, 0.5]], 0), "total=0: must be an integer >= 1"),
    ],
)
def test_unusable_known_parameters(family, values, text):
    with pytest.raises(ValueError, match="must") as error:
        EMISSIONS[family].from_parameters(*values)
    assert text in str(error.value)


@every_column
def test_unusable_first_values(family):
    name = next(iter(vars(random_emission(family).parameters())))
    with pytest.raises(ValueError, match=rf"{name}_init has shape \(3, 1\): must have shape"):
        EMISSIONS[family](**{f"{name}_init": [[1.0], [2.0], [3.0]]}).check_parameters(2)
    with pytest.raises(ValueError, match=rf"{name}_init has shape \(2, 1\): X has 2 features"):
        EMISSIONS[family](**{f"{name}_init": [[1.0], [2.0]]}).check_rows(np.ones((4, 2)))


@every_family
def test_a_column_without_an_observed_value(family):
    X = np.array([[1.0, np.nan], [2.0, np.nan]])
    with pytest.raises(ValueError, match="X has no observed value in feature 'b'"):
        summary_of(EMISSIONS[family](), X, feature_names=np.array(["a", "b"]))


# Any problem --------------------------------------------------------------------------------------


@every_column
@given(seed=st.integers(0, 10_000), n_components=st.integers(1, 4), missing=st.booleans())
def test_any_problem(family, seed, n_components, missing):
    emission = random_emission(family, n_components, 2, seed)
    X = draws_of(emission, 30, seed)
    X = holes(X, seed=seed) if missing else X
    found = emission.log_density(X)
    assert_allclose(found, log_emission(X, emission), rtol=1e-7, atol=1e-7)
    old = emission.parameters()
    resp = some_resp(n_components, len(X), seed)
    new = emission.maximize(old, statistics(old, X, resp), None)
    before, after = (
        (resp * np.nan_to_num(log_density(each, X), neginf=-1e300)).sum() for each in (old, new)
    )
    assert after >= before - 1e-8 * abs(before)
