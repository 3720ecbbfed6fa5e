"""Bernoulli emissions: densities, statistics, M step with its prior, draws, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize_scalar
from scipy.stats import bernoulli, beta
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae.ascent.loop import Collapse
from skvae.emissions.bernoulli import BernoulliParameters
from skvae.hmm import BernoulliEmission
from tests.emissions.tools import (
    first_of,
    holes,
    log_density,
    mixture_bounds,
    some_resp,
    statistics,
    summary_of,
)

P = np.array([[0.1, 0.5, 0.95, 0.3], [0.8, 0.5, 0.02, 0.4]])


def problem(n_rows=300, seed=0, p=P):
    parameters = BernoulliParameters(p)
    rng = np.random.RandomState(seed)
    return parameters, parameters.sample(rng.randint(len(p), size=n_rows), rng)


def oracle(X, p):
    """Σ ln p of the observed values, (K, n)."""
    terms = bernoulli.logpmf(np.nan_to_num(X).astype(int)[None], p[:, None])
    return np.where(np.isnan(X), 0.0, terms).sum(axis=2)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_densities_are_scipy_s(missing, dtype):
    parameters, X = problem()
    X = (holes(X) if missing else X).astype(dtype)
    found = log_density(parameters, X, block_rows=128)
    assert found.dtype == np.float64
    assert_allclose(found, oracle(X, P), rtol=1e-12, atol=1e-12)
    if missing:
        assert_array_equal(found[:, 0], 0.0)


def test_certain_values():
    parameters = BernoulliParameters(np.array([[0.0, 1.0], [1.0, 1.0], [0.0, 0.5], [0.5, 0.5]]))
    values = [0.0, 1.0, np.nan]
    X = np.array([[a, b] for a in values for b in values])
    found = log_density(parameters, X)
    assert not np.isnan(found).any()
    assert_allclose(found, oracle(X, parameters.probabilities), rtol=1e-12)
    # Without a missing value in the block it is another product.
    complete = X[~np.isnan(X).any(axis=1)]
    expected = oracle(complete, parameters.probabilities)
    assert_allclose(log_density(parameters, complete), expected, rtol=1e-12)


def test_probabilities_next_to_certain():
    p = np.array([[1e-300, np.nextafter(1.0, 0.0)], [1e-17, 1e-9]])
    X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    expected = X @ np.log(p).T + (1 - X) @ np.log1p(-p).T
    assert_allclose(log_density(BernoulliParameters(p), X).T, expected, rtol=1e-13, atol=1e-12)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("prior", [1.0, 3.5])
def test_m_step(missing, prior):
    parameters, X = problem()
    X = holes(X) if missing else X
    resp = some_resp(2, len(X))
    emission = BernoulliEmission(prior=prior)
    found = emission.maximize(parameters, statistics(parameters, X, resp, 97), None)
    seen = ~np.isnan(X)
    ones, weight = resp @ np.nan_to_num(X), resp @ seen
    assert_allclose(found.probabilities, (ones + prior - 1) / (weight + 2 * prior - 2), rtol=1e-12)


def test_m_step_with_a_prior_is_the_best_there_is():
    parameters, X = problem(30)
    resp = some_resp(2, 30)
    emission = BernoulliEmission(prior=2.5)
    found = emission.maximize(parameters, statistics(parameters, X, resp), None)
    for k in range(2):
        for d in range(4):

            def loss(p, k=k, d=d):
                terms = bernoulli.logpmf(X[:, d].astype(int), p)
                return -(resp[k] @ terms + beta.logpdf(p, 2.5, 2.5))

            options = {"xatol": 1e-9}
            best = minimize_scalar(loss, bounds=(1e-9, 1 - 1e-9), method="bounded", options=options)
            assert_allclose(found.probabilities[k, d], best.x, atol=1e-5)


def test_log_prior_is_relative_to_flat():
    parameters, _ = problem()
    assert BernoulliEmission().log_prior(parameters, None) == 0.0
    emission = BernoulliEmission(prior=2.5)
    other = BernoulliParameters(P[::-1] * 0.9)
    found = emission.log_prior(parameters, None) - emission.log_prior(other, None)
    expected = (beta.logpdf(P, 2.5, 2.5) - beta.logpdf(other.probabilities, 2.5, 2.5)).sum()
    assert_allclose(found, expected, rtol=1e-12)
    certain = BernoulliParameters(np.array([[0.0, 1.0]]))
    assert emission.log_prior(certain, None) == -np.inf
    assert BernoulliEmission().log_prior(certain, None) == 0.0


def test_statistics_add_and_scale():
    parameters, X = problem()
    X, resp = holes(X), some_resp(2, len(X))
    parts = [statistics(parameters, X[a], resp[:, a]) for a in (slice(0, 99), slice(99, None))]
    whole = statistics(parameters, X, resp)
    assert_allclose(parts[0] + parts[1], whole, rtol=1e-12)
    assert_allclose(whole * 2.0, statistics(parameters, X, 2.0 * resp), rtol=1e-12)


def test_statistics_of_parameters_lead_back_to_them():
    parameters, _ = problem()
    old = BernoulliParameters(np.full_like(P, 0.5))
    found = BernoulliEmission().maximize(old, parameters.statistics([0.2, 3.0]), None)
    assert_allclose(found.probabilities, P, rtol=1e-14)


def test_states_without_weight():
    parameters, X = problem()
    resp = some_resp(2, len(X))
    resp[1] = 0.0
    found = statistics(parameters, X, resp)
    assert_array_equal(BernoulliEmission().maximize(parameters, found, None).probabilities[1], P[1])
    with_prior = BernoulliEmission(prior=2.0).maximize(parameters, found, None)
    assert_array_equal(with_prior.probabilities[1], 0.5)  # the maximum of the prior
    nothing = np.zeros((2, 2, 4))
    kept = BernoulliEmission().maximize(parameters, nothing, None)
    assert_array_equal(kept.probabilities, P)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("prior", [1.0, 1.5, 20.0])
def test_em_never_falls(missing, prior):
    _, X = problem(400)
    X = holes(X) if missing else X
    emission = BernoulliEmission(prior=prior)
    first = first_of(emission, X, np.arange(len(X)) % 3, 3)
    bounds, last = mixture_bounds(emission, first, X, None, 60)
    assert np.diff(bounds).min() > -1e-9
    assert bounds[-1] - bounds[0] > 2
    assert ((last.probabilities >= 0) & (last.probabilities <= 1)).all()


def test_first_parameters_are_drawn_to_the_whole():
    X = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0], [1.0, np.nan], [1.0, 0.0]])
    first = first_of(BernoulliEmission(), X, np.array([0, 0, 1, 1, -1]), 3)
    overall = 4 / 7
    assert_allclose(first.probabilities[:2, 0], [overall / 3, (2 + overall) / 3], rtol=1e-12)
    assert ((first.probabilities > 0) & (first.probabilities < 1)).all()
    assert first.probabilities[2, 0] != overall


def test_given_first_probabilities_win():
    _, X = problem(50)
    emission = BernoulliEmission(probabilities_init=P.tolist())
    emission.check_parameters(2)
    emission.check_rows(X)
    assert_array_equal(first_of(emission, X, np.zeros(50, dtype=int), 2).probabilities, P)


def test_draws_have_their_frequencies():
    p = np.vstack([P, [[0.0, 1.0, 0.5, 0.5]]])
    parameters = BernoulliParameters(p)
    n = 100_000
    states = np.arange(3 * n) % 3
    X = parameters.sample(states, np.random.RandomState(0))
    for k in range(3):
        draws = X[states == k]
        assert np.isin(draws, [0.0, 1.0]).all()
        error = 5 * np.sqrt(p[k] * (1 - p[k]) / n)
        assert (np.abs(draws.mean(axis=0) - parameters.means()[k]) <= error).all()
        assert_allclose(np.cov(draws.T), parameters.covariances()[k], atol=0.01)


def test_vectors_and_back():
    parameters, _ = problem()
    vector = parameters.pack(None)
    assert_allclose(parameters.unpack(vector, None).probabilities, P, rtol=1e-14)
    assert_array_equal(BernoulliParameters(np.array([[0.0, 1.0]])).pack(None), [-np.inf, np.inf])
    far = parameters.unpack(np.linspace(-1e5, 1e5, 8), None).probabilities
    assert ((far > 0) & (far < 1)).all()
    with pytest.raises(Collapse, match="the extrapolation overflows"):
        parameters.unpack(np.full(8, np.nan), None)


def test_counts_and_attributes():
    emission = BernoulliEmission.from_parameters(P)
    parameters = emission.parameters()
    assert (parameters.n_components, parameters.n_features) == (2, 4)
    assert parameters.n_parameters() == 8
    assert emission.n_features_in_ == 4
    assert_array_equal(emission.probabilities_, P)
    assert not hasattr(clone(emission), "probabilities_")


def test_summary_wants_an_observation_of_each_column():
    with pytest.raises(ValueError, match="X has no observed value in feature 1"):
        summary_of(BernoulliEmission(), np.array([[1.0, np.nan], [0.0, np.nan]]))


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0])
def test_rows_must_be_zeros_and_ones(value):
    X = np.array([[0.0, np.nan], [1.0, value]])
    text = rf"X\[:, 1\] holds {value!r}: a Bernoulli emission takes 0 and 1"
    with pytest.raises(ValueError, match=text):
        BernoulliEmission().check_rows(X)
    with pytest.raises(ValueError, match=r"X\['b'\] holds "):
        BernoulliEmission().check_rows(X.astype(np.float32), np.array(["a", "b"]))
    BernoulliEmission().check_rows(X[:1])


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"prior": 0.5}, "prior=0.5: must be a finite number >= 1"),
        ({"prior": "a"}, "prior='a': must be a finite number >= 1"),
        ({"probabilities_init": P[:1]}, r"probabilities_init has shape \(1, 4\): must have shape"),
        ({"probabilities_init": 1.5 * P}, r"probabilities_init has an entry 1.4\d*: must be in "),
        ({"probabilities_init": -P}, r"probabilities_init has an entry -0.95: must be in \[0, 1\]"),
        (
            {"probabilities_init": [[0.0], [0.5]], "prior": 2},
            "probabilities_init has an entry 0: must be above it, as prior=2 excludes it",
        ),
    ],
)
def test_unusable_parameters(parameters, text):
    with pytest.raises(ValueError, match=text):
        BernoulliEmission(**parameters).check_parameters(2)


def test_first_probabilities_of_another_width():
    text = r"probabilities_init has shape \(2, 4\): X has 1 features"
    with pytest.raises(ValueError, match=text):
        BernoulliEmission(probabilities_init=P).check_rows(np.zeros((4, 1)))


@pytest.mark.parametrize(
    ("probabilities", "text"),
    [
        ([0.1, 0.2], r"probabilities has shape \(2,\): must have shape \(n_components, n_features"),
        ([[]], r"probabilities has shape \(1, 0\): must have shape"),
        ([[1.1]], r"probabilities has an entry 1.1: must be in \[0, 1\]"),
    ],
)
def test_unusable_known_probabilities(probabilities, text):
    with pytest.raises(ValueError, match=text):
        BernoulliEmission.from_parameters(probabilities)


def test_not_fitted():
    with pytest.raises(NotFittedError, match="this BernoulliEmission is not fitted"):
        BernoulliEmission().parameters()


@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 6), st.booleans())
def test_any_problem(seed, n_components, n_features, missing):
    rng = np.random.RandomState(seed)
    p = rng.choice([0.0, 1e-12, 0.3, 0.7, 1.0], size=(n_components, n_features))
    X = rng.randint(2, size=(40, n_features)).astype(float)
    X = holes(X, seed=seed) if missing else X
    found = log_density(BernoulliParameters(p), X)
    assert not np.isnan(found).any()
    assert_allclose(found, oracle(X, p), rtol=1e-10, atol=1e-10)
