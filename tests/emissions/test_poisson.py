"""Poisson emissions: densities, statistics, M step, draws, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import poisson
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae.ascent.loop import Collapse
from skvae.emissions.poisson import PoissonParameters
from skvae.hmm import PoissonEmission
from tests.emissions.tools import (
    first_of,
    holes,
    log_density,
    mixture_bounds,
    some_resp,
    statistics,
    summary_of,
)

RATES = np.array([[0.3, 4.0, 20.0], [2.0, 4.0, 0.5]])


def problem(n_rows=300, seed=0, rates=RATES):
    parameters = PoissonParameters(rates)
    rng = np.random.RandomState(seed)
    return parameters, parameters.sample(rng.randint(len(rates), size=n_rows), rng)


def oracle(X, rates):
    """Σ ln p of the observed values, (K, n)."""
    terms = poisson.logpmf(np.nan_to_num(X)[None], rates[:, None])
    return np.where(np.isnan(X), 0.0, terms).sum(axis=2)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_densities_are_scipy_s(missing, dtype):
    parameters, X = problem()
    X = (holes(X) if missing else X).astype(dtype)
    found = log_density(parameters, X, block_rows=128)
    assert found.dtype == np.float64
    assert_allclose(found, oracle(X, RATES), rtol=1e-11, atol=1e-11)
    if missing:
        assert_array_equal(found[:, 0], 0.0)


def test_large_counts():
    parameters = PoissonParameters(np.array([[1e3, 1e6], [2e3, 1.001e6]]))
    X = np.array([[1023.0, 1e6], [1024.0, 999_000.0], [0.0, 0.0], [3000.0, np.nan]])
    assert_allclose(log_density(parameters, X), oracle(X, parameters.rates), rtol=1e-9)


def test_rate_zero_makes_zero_certain():
    parameters = PoissonParameters(np.array([[0.0, 2.0], [1.0, 0.0], [1.0, 1.0]]))
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [np.nan, 1.0], [2.0, np.nan]])
    found = log_density(parameters, X)
    assert_allclose(found, oracle(X, parameters.rates), rtol=1e-12)
    assert_array_equal(np.isneginf(found[0]), [False, True, False, False, True])
    assert_array_equal(np.isneginf(found[1]), [False, False, True, True, False])


@pytest.mark.parametrize("missing", [False, True])
def test_m_step_is_the_weighted_mean_of_what_was_observed(missing):
    parameters, X = problem()
    X = holes(X) if missing else X
    resp = some_resp(2, len(X))
    found = PoissonEmission().maximize(parameters, statistics(parameters, X, resp, 97), None)
    seen = ~np.isnan(X)
    expected = resp @ np.nan_to_num(X) / (resp @ seen)
    assert_allclose(found.rates, expected, rtol=1e-12)


def test_statistics_add_and_scale():
    parameters, X = problem()
    X, resp = holes(X), some_resp(2, len(X))
    parts = [statistics(parameters, X[a], resp[:, a]) for a in (slice(0, 99), slice(99, None))]
    whole = statistics(parameters, X, resp)
    assert_allclose(parts[0] + parts[1], whole, rtol=1e-12)
    assert_allclose(whole * 2.0, statistics(parameters, X, 2.0 * resp), rtol=1e-12)


def test_statistics_of_parameters_lead_back_to_them():
    parameters, _ = problem()
    old = PoissonParameters(np.ones_like(RATES))
    found = PoissonEmission().maximize(old, parameters.statistics([0.2, 3.0]), None)
    assert_allclose(found.rates, RATES, rtol=1e-14)


def test_states_and_columns_without_weight_keep_old_values():
    parameters, X = problem()
    resp = some_resp(2, len(X))
    resp[1] = 0.0
    found = PoissonEmission().maximize(parameters, statistics(parameters, X, resp), None)
    assert_array_equal(found.rates[1], RATES[1])
    X[:, 2] = np.nan
    found = PoissonEmission().maximize(parameters, statistics(parameters, X, resp), None)
    assert_array_equal(found.rates[0, 2], RATES[0, 2])
    nothing = np.zeros((2, 2, 3))
    assert_array_equal(PoissonEmission().maximize(parameters, nothing, None).rates, RATES)


@pytest.mark.parametrize("missing", [False, True])
def test_em_never_falls(missing):
    _, X = problem(400)
    X = holes(X) if missing else X
    emission = PoissonEmission()
    labels = np.arange(len(X)) % 3
    first = first_of(emission, X, labels, 3)
    bounds, last = mixture_bounds(emission, first, X, None, 60)
    assert np.diff(bounds).min() > -1e-9
    assert bounds[-1] - bounds[0] > 50
    assert (last.rates > 0).all()


def test_first_parameters_are_means_drawn_to_the_whole():
    X = np.array([[0.0, 0.0], [0.0, 0.0], [8.0, 0.0], [10.0, np.nan], [99.0, 0.0]])
    labels = np.array([0, 0, 1, 1, -1])
    first = first_of(PoissonEmission(), X, labels, 3)
    overall = 117.0 / 5
    assert_allclose(first.rates[:2, 0], [overall / 3, (18 + overall) / 3], rtol=1e-12)
    assert (first.rates > 0).all()
    assert 0.5 * overall <= first.rates[2, 0] <= 1.5 * overall
    assert first.rates[2, 0] != overall


def test_first_parameters_do_not_depend_on_the_unit_of_weights():
    _, X = problem(50)
    labels = np.arange(50) % 2
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=50)
    a, b = (first_of(PoissonEmission(), X, labels, 2, sample_weight=c * weight) for c in (1, 1e9))
    assert_allclose(a.rates, b.rates, rtol=1e-12)
    ones = first_of(PoissonEmission(), X, labels, 2, sample_weight=np.ones(50))
    assert_allclose(ones.rates, first_of(PoissonEmission(), X, labels, 2).rates, rtol=1e-12)


def test_given_first_rates_win():
    _, X = problem(50)
    emission = PoissonEmission(rates_init=RATES.tolist())
    emission.check_parameters(2)
    emission.check_rows(X)
    assert_array_equal(first_of(emission, X, np.zeros(50, dtype=int), 2).rates, RATES)


def test_draws_have_the_mean_and_the_variance():
    parameters, _ = problem()
    n = 200_000
    states = np.repeat([0, 1], n)
    X = parameters.sample(states, np.random.RandomState(0))
    assert X.dtype == np.float64
    for k in range(2):
        draws = X[states == k]
        error = 5 * np.sqrt(RATES[k] / n)
        assert (np.abs(draws.mean(axis=0) - parameters.means()[k]) < error).all()
        covariance = parameters.covariances()[k]
        assert_allclose(np.cov(draws.T), covariance, rtol=0.03, atol=0.03)


def test_vectors_and_back():
    parameters, _ = problem()
    vector = parameters.pack(None)
    assert vector.shape == (6,)
    assert_allclose(parameters.unpack(vector, None).rates, RATES, rtol=1e-14)
    zero = PoissonParameters(np.array([[0.0, 1.0]]))
    assert np.isneginf(zero.pack(None)[0])
    with pytest.raises(Collapse, match="the extrapolation overflows"):
        parameters.unpack(vector + 1e4, None)
    assert (parameters.unpack(vector - 1e4, None).rates == 0).all()


def test_counts_and_attributes():
    emission = PoissonEmission.from_parameters(RATES)
    parameters = emission.parameters()
    assert (parameters.n_components, parameters.n_features) == (2, 3)
    assert parameters.n_parameters() == 6
    assert emission.n_features_in_ == 3
    assert emission.log_prior(parameters, None) == 0.0
    assert_array_equal(emission.rates_, RATES)
    assert not hasattr(clone(emission), "rates_")


def test_summary_wants_an_observation_of_each_column():
    X = np.array([[1.0, np.nan], [2.0, np.nan]])
    with pytest.raises(ValueError, match="X has no observed value in feature 'b'"):
        summary_of(PoissonEmission(), X, feature_names=np.array(["a", "b"]))


@pytest.mark.parametrize("value", [-1.0, 2.5, 2.0**54, 1e300])
@pytest.mark.parametrize("dtype", [np.float64])
def test_rows_must_be_counts(value, dtype):
    X = np.array([[0.0, np.nan], [1.0, value]], dtype=dtype)
    text = rf"X\[:, 1\] holds {value!r}: a Poisson emission takes whole numbers from 0 to 2\*\*53"
    with pytest.raises(ValueError, match=text.replace("+", r"\+")):
        PoissonEmission().check_rows(X)
    with pytest.raises(ValueError, match=r"X\['rate'\] holds "):
        PoissonEmission().check_rows(X, np.array(["time", "rate"]))
    PoissonEmission().check_rows(X[:1])


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([[1.0], [2.0], [3.0]], r"rates_init has shape \(3, 1\): must have shape"),
        ([1.0, 2.0], r"rates_init has shape \(2,\): must have shape"),
        ([[1.0], [-2.0]], r"rates_init has an entry -2.0: must be >= 0"),
        ([[1.0], [np.nan]], r"rates_init contains NaN or infinity: must be finite"),
        ("abc", r"rates_init='abc': must be an array of numbers \(n_components, n_features\)"),
    ],
)
def test_unusable_first_rates(rates, text):
    with pytest.raises(ValueError, match=text):
        PoissonEmission(rates_init=rates).check_parameters(2)


def test_first_rates_of_another_width():
    text = r"rates_init has shape \(2, 3\): X has 1 features, so its second axis must have 1"
    with pytest.raises(ValueError, match=text):
        PoissonEmission(rates_init=RATES).check_rows(np.zeros((4, 1)))


@pytest.mark.parametrize(
    ("rates", "text"),
    [
        ([1.0, 2.0], r"rates has shape \(2,\): must have shape \(n_components, n_features\)"),
        ([[]], r"rates has shape \(1, 0\): must have shape"),
        ([[-1.0]], r"rates has an entry -1.0: must be >= 0"),
        ([[1e17]], r"rates has an entry 1e\+17: must be at most 2\*\*53"),
    ],
)
def test_unusable_known_rates(rates, text):
    with pytest.raises(ValueError, match=text):
        PoissonEmission.from_parameters(rates)


def test_not_fitted():
    with pytest.raises(NotFittedError, match="this PoissonEmission is not fitted"):
        PoissonEmission().parameters()


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 4), st.booleans())
def test_any_problem(seed, n_components, n_features, missing):
    rng = np.random.RandomState(seed)
    rates = rng.gamma(0.5, 10.0, size=(n_components, n_features))
    rates[rng.uniform(size=rates.shape) < 0.2] = 0.0
    parameters, X = problem(40, seed, rates)
    X = holes(X, seed=seed) if missing else X
    found = log_density(parameters, X)
    assert not np.isnan(found).any()
    assert_allclose(found, oracle(X, rates), rtol=1e-10, atol=1e-10)
