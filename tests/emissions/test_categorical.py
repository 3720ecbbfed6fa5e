"""Categorical emissions: densities, counts, M step with its prior, draws, errors."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import minimize
from scipy.special import log_softmax
from scipy.stats import dirichlet, multinomial
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae.ascent.loop import Collapse
from skvae.emissions.categorical import CategoricalParameters
from skvae.hmm import CategoricalEmission
from tests.emissions.tools import (
    first_of,
    holes,
    log_density,
    mixture_bounds,
    some_resp,
    statistics,
    summary_of,
)

SIZES = np.array([3, 2, 5])
FORM = r"must have shape \(n_components, n_features, n_categories\)"


def parameters_of(n_components=2, sizes=SIZES, seed=0):
    rng = np.random.default_rng(seed)
    p = np.zeros((n_components, len(sizes), max(sizes)))
    for d, size in enumerate(sizes):
        p[:, d, :size] = rng.dirichlet(np.ones(size), size=n_components)
    return CategoricalParameters(p, np.array(sizes))


def problem(n_rows=300, seed=0, **shape):
    parameters = parameters_of(**shape)
    rng = np.random.RandomState(seed)
    return parameters, parameters.sample(rng.randint(parameters.n_components, size=n_rows), rng)


def oracle(X, p):
    """Σ ln p of the observed values by scipy, entry by entry, (K, n)."""
    out = np.zeros((len(p), len(X)))
    eye = np.eye(p.shape[2], dtype=int)
    for k in range(len(p)):
        for d in range(X.shape[1]):
            for i in np.flatnonzero(~np.isnan(X[:, d])):
                out[k, i] += multinomial.logpmf(eye[int(X[i, d])], 1, p[k, d])
    return out


def counts_of(X, resp, shape):
    """Σ r [x = c], (K, D, C)."""
    out = np.zeros(shape)
    for k, d, c in np.ndindex(*shape):
        out[k, d, c] = resp[k, X[:, d] == c].sum()
    return out


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_log_densities_are_scipy_s(missing, dtype):
    parameters, X = problem()
    X = (holes(X) if missing else X).astype(dtype)
    found = log_density(parameters, X, block_rows=128)
    assert found.dtype == np.float64
    assert_allclose(found, oracle(X, parameters.probabilities), rtol=1e-12, atol=1e-12)
    if missing:
        assert_array_equal(found[:, 0], 0.0)


def test_what_is_impossible():
    p = np.array([[[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]], [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]])
    parameters = CategoricalParameters(p, np.array([3, 2]))
    X = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, np.nan], [np.nan, 0.0]])
    never, half = -np.inf, np.log(0.5)
    expected = [[never, never, half, 0.0], [half, never, never, half]]
    assert_allclose(log_density(parameters, X), expected)
    # A code that check_rows excludes is not read from another column's table.
    assert (log_density(parameters, np.array([[0.0, 2.0], [-1.0, 0.0], [9.0, 0.0]])) < -1e300).all()


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("prior", [1.0, 2.5])
def test_m_step(missing, prior):
    parameters, X = problem()
    X = holes(X) if missing else X
    resp = some_resp(2, len(X))
    found = statistics(parameters, X, resp, 97)
    counts = counts_of(X, resp, found.shape)
    assert_allclose(found, counts, rtol=1e-12)
    best = CategoricalEmission(prior=prior).maximize(parameters, found, None)
    for d, size in enumerate(SIZES):
        expected = counts[:, d, :size] + prior - 1
        expected /= expected.sum(axis=1, keepdims=True)
        assert_allclose(best.probabilities[:, d, :size], expected, rtol=1e-12)
        assert_array_equal(best.probabilities[:, d, size:], 0.0)
    assert_array_equal(best.n_categories, SIZES)


def test_m_step_with_a_prior_is_the_best_there_is():
    parameters, X = problem(30)
    resp = some_resp(2, 30)
    emission = CategoricalEmission(prior=1.8)
    counts = statistics(parameters, X, resp)
    found = emission.maximize(parameters, counts, None)

    def loss(v, k, d, size):
        logs = log_softmax(np.append(v, 0.0))
        p = np.exp(logs) / np.exp(logs).sum()
        return -(counts[k, d, :size] @ logs + dirichlet.logpdf(p, np.full(size, 1.8)))

    for k in range(2):
        for d, size in enumerate(SIZES):
            best = minimize(loss, np.zeros(size - 1), (k, d, size), tol=1e-10)
            p = np.exp(log_softmax(np.append(best.x, 0.0)))
            assert_allclose(found.probabilities[k, d, :size], p, atol=1e-5)


def test_log_prior_is_relative_to_flat():
    parameters, other = parameters_of(seed=0), parameters_of(seed=1)
    assert CategoricalEmission().log_prior(parameters, None) == 0.0
    emission = CategoricalEmission(prior=2.5)

    def density(parameters):
        return sum(
            dirichlet.logpdf(parameters.probabilities[k, d, :size], np.full(size, 2.5))
            for k in range(2)
            for d, size in enumerate(SIZES)
        )

    found = emission.log_prior(parameters, None) - emission.log_prior(other, None)
    assert_allclose(found, density(parameters) - density(other), rtol=1e-12)
    certain = CategoricalParameters(np.array([[[1.0, 0.0]]]), np.array([2]))
    assert emission.log_prior(certain, None) == -np.inf
    assert CategoricalEmission().log_prior(certain, None) == 0.0


def test_statistics_add_and_scale():
    parameters, X = problem()
    X, resp = holes(X), some_resp(2, len(X))
    parts = [statistics(parameters, X[a], resp[:, a]) for a in (slice(0, 99), slice(99, None))]
    whole = statistics(parameters, X, resp)
    assert_allclose(parts[0] + parts[1], whole, rtol=1e-12)
    assert_allclose(whole * 2.0, statistics(parameters, X, 2.0 * resp), rtol=1e-12)


def test_statistics_of_parameters_lead_back_to_them():
    parameters, old = parameters_of(seed=0), parameters_of(seed=1)
    found = CategoricalEmission().maximize(old, parameters.statistics([0.2, 3.0]), None)
    assert_allclose(found.probabilities, parameters.probabilities, rtol=1e-14)


def test_states_and_columns_without_weight():
    parameters, X = problem()
    p = parameters.probabilities
    resp = some_resp(2, len(X))
    resp[1] = 0.0
    found = CategoricalEmission().maximize(parameters, statistics(parameters, X, resp), None)
    assert_array_equal(found.probabilities[1], p[1])
    X[:, 2] = np.nan
    counts = statistics(parameters, X, resp)
    found = CategoricalEmission().maximize(parameters, counts, None)
    assert_array_equal(found.probabilities[0, 2], p[0, 2])
    with_prior = CategoricalEmission(prior=2.0).maximize(parameters, counts, None)
    assert_allclose(with_prior.probabilities[1, 2], 0.2)  # the maximum of the prior
    nothing = CategoricalEmission().maximize(parameters, np.zeros_like(p), None)
    assert_array_equal(nothing.probabilities, p)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("prior", [1.0, 1.5, 20.0])
def test_em_never_falls(missing, prior):
    _, X = problem(400)
    X = holes(X) if missing else X
    emission = CategoricalEmission(prior=prior)
    first = first_of(emission, X, np.arange(len(X)) % 3, 3)
    bounds, last = mixture_bounds(emission, first, X, None, 60)
    assert np.diff(bounds).min() > -1e-9
    assert bounds[-1] - bounds[0] > 1
    assert_allclose(last.probabilities.sum(axis=2), 1.0, rtol=1e-12)


def test_first_parameters_are_drawn_to_the_whole():
    X = np.array([[0.0, 0.0], [0.0, 0.0], [2.0, 0.0], [2.0, np.nan], [1.0, 1.0]])
    first = first_of(CategoricalEmission(), X, np.array([0, 0, 1, 1, -1]), 3)
    overall = np.array([3.0, 1.0, 3.0]) / 7
    assert_allclose(first.probabilities[0, 0], (np.array([2, 0, 0]) + overall) / 3, rtol=1e-12)
    assert_allclose(first.probabilities[1, 0], (np.array([0, 0, 2]) + overall) / 3, rtol=1e-12)
    assert (first.probabilities[:, first.own] > 0).all()
    assert_array_equal(first.probabilities[:, 1, 2], 0.0)
    assert_allclose(first.probabilities.sum(axis=2), 1.0, rtol=1e-12)
    assert (first.probabilities[2, 0] != overall).all()


def test_given_first_probabilities_win():
    parameters, X = problem(50)
    emission = CategoricalEmission(SIZES, probabilities_init=parameters.probabilities)
    emission.check_parameters(2)
    emission.check_rows(X)
    assert_array_equal(summary_of(emission, X).n_categories, SIZES)
    first = first_of(emission, X, np.zeros(50, dtype=int), 2)
    assert_allclose(first.probabilities, parameters.probabilities, rtol=1e-14)
    assert_array_equal(first.n_categories, SIZES)


@pytest.mark.parametrize(
    ("n_categories", "expected"), [(None, [3, 2]), (4, [4, 4]), ([3, 5], [3, 5])]
)
def test_number_of_categories(n_categories, expected):
    X = np.array([[0.0, 1.0], [2.0, np.nan]], dtype=np.float32)
    emission = CategoricalEmission(n_categories)
    emission.check_parameters(1)
    emission.check_rows(X)
    first = first_of(emission, X, np.zeros(2, dtype=int), 1)
    assert_array_equal(first.n_categories, expected)
    assert first.probabilities.shape == (1, 2, max(expected))
    assert first.n_parameters() == sum(expected) - 2


def test_room_of_first_probabilities_is_the_number_of_categories():
    emission = CategoricalEmission(probabilities_init=[[[0.2, 0.3, 0.5]]])
    X = np.array([[0.0], [1.0]])
    emission.check_rows(X)
    assert_array_equal(summary_of(emission, X).n_categories, [3])
    text = r"X\[:, 0\] holds 3.0: must be a code from 0 to 2, the categories of probabilities_init"
    with pytest.raises(ValueError, match=text):
        emission.check_rows(np.array([[3.0]]))


def test_draws_have_their_frequencies():
    p = np.array([[[0.0, 0.3, 0.7, 0.0], [0.25, 0.25, 0.25, 0.25]]])
    p = np.vstack([p, [[[0.1, 0.0, 0.0, 0.9], [1.0, 0.0, 0.0, 0.0]]]])
    parameters = CategoricalParameters(p, np.array([4, 4]))
    n = 100_000
    states = np.arange(2 * n) % 2
    X = parameters.sample(states, np.random.RandomState(0))
    for k in range(2):
        draws = X[states == k]
        for d in range(2):
            found = np.bincount(draws[:, d].astype(int), minlength=4) / n
            assert (np.abs(found - p[k, d]) <= 5 * np.sqrt(p[k, d] * (1 - p[k, d]) / n)).all()
        assert_allclose(draws.mean(axis=0), parameters.means()[k], atol=0.03)
        assert_allclose(np.cov(draws.T), parameters.covariances()[k], atol=0.03)


class Extremes:
    """A generator of the smallest and the largest uniform numbers."""

    def random_sample(self, shape):
        return np.resize([0.0, np.nextafter(1.0, 0.0)], shape)


def test_no_draw_is_impossible():
    p = np.zeros((1, 2, 12))
    p[:, :, 1:11] = 0.1  # sums to a little less than one
    X = CategoricalParameters(p, np.array([12, 12])).sample(np.zeros(1, dtype=int), Extremes())
    assert_array_equal(X, [[1.0, 10.0]])


def test_vectors_and_back():
    parameters = parameters_of()
    vector = parameters.pack(None)
    assert vector.shape == (2 * SIZES.sum(),)
    found = parameters.unpack(vector + 3.0, None)
    assert_allclose(found.probabilities, parameters.probabilities, rtol=1e-13)
    assert_array_equal(found.n_categories, SIZES)
    far = parameters.unpack(1e5 * vector, None).probabilities
    assert (far[:, parameters.own] > 0).all()
    assert_allclose(far.sum(axis=2), 1.0)
    certain = CategoricalParameters(np.array([[[1.0, 0.0]]]), np.array([2]))
    assert_array_equal(certain.pack(None), [0.0, -np.inf])
    with pytest.raises(Collapse, match="the extrapolation overflows"):
        parameters.unpack(np.full_like(vector, np.nan), None)


def test_counts_and_attributes():
    p = parameters_of().probabilities
    emission = CategoricalEmission.from_parameters(p, SIZES)
    parameters = emission.parameters()
    assert (parameters.n_components, parameters.n_features) == (2, 3)
    assert parameters.n_parameters() == 2 * (2 + 1 + 4)
    assert emission.n_features_in_ == 3
    assert_array_equal(emission.n_categories_, SIZES)
    assert_allclose(emission.probabilities_, p, rtol=1e-14)
    assert CategoricalEmission.from_parameters(p).parameters().n_parameters() == 2 * 3 * 4
    assert not hasattr(clone(emission), "probabilities_")


def test_means_and_covariances_are_those_of_the_codes():
    parameters = CategoricalParameters(np.array([[[0.5, 0.0, 0.5], [0.0, 1.0, 0.0]]]), SIZES[:2])
    assert_array_equal(parameters.means(), [[1.0, 1.0]])
    assert_array_equal(parameters.covariances(), [[[1.0, 0.0], [0.0, 0.0]]])


@pytest.mark.parametrize("value", [-1.0, 0.5, 2.0**24])
def test_rows_must_be_codes(value):
    X = np.array([[0.0, np.nan], [1.0, value]])
    rule = "a categorical column takes codes, whole numbers from 0 to 16777215"
    for n_categories in (None, 5):
        emission = CategoricalEmission(n_categories)
        with pytest.raises(ValueError, match=rf"X\[:, 1\] holds {value!r}: {rule}"):
            emission.check_rows(X)
        with pytest.raises(ValueError, match=r"X\['b'\] holds "):
            emission.check_rows(X.astype(np.float32), np.array(["a", "b"]))
        emission.check_rows(X[:1])


def test_codes_must_be_known():
    X = np.array([[0.0, 1.0], [2.0, 3.0]])
    text = r"X\[:, 1\] holds 3.0: must be a code from 0 to 1, as n_categories=\[3, 2\]"
    with pytest.raises(ValueError, match=text):
        CategoricalEmission([3, 2]).check_rows(X)
    fitted = CategoricalEmission.from_parameters(np.full((1, 2, 3), 1 / 3))
    text = r"holds 3.0: must be a code from 0 to 2, the categories of the fit; give n_categories"
    with pytest.raises(ValueError, match=text):
        fitted.check_rows(X)
    fitted.check_rows(X[:1])


def test_summary_wants_an_observation_of_each_column():
    with pytest.raises(ValueError, match="X has no observed value in feature 1"):
        summary_of(CategoricalEmission(), np.array([[1.0, np.nan], [0.0, np.nan]]))


GOOD = np.full((2, 1, 4), 0.25)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"prior": 0.5}, "prior=0.5: must be a finite number >= 1"),
        ({"n_categories": 0}, "n_categories=0: must be an integer from 1 to 16777216, one for"),
        ({"n_categories": True}, "n_categories=True: must be an integer"),
        ({"n_categories": 2.0}, "n_categories=2.0: must be an integer"),
        ({"n_categories": [2, "a"]}, r"n_categories=\[2, 'a'\]: must be an integer"),
        ({"probabilities_init": GOOD[:1]}, rf"has shape \(1, 1, 4\): {FORM}, with n_components=2"),
        ({"probabilities_init": GOOD[0]}, rf"probabilities_init has shape \(1, 4\): {FORM}"),
        ({"probabilities_init": -GOOD}, "probabilities_init has an entry -0.25: must be >= 0"),
        ({"probabilities_init": 2 * GOOD}, "probabilities_init sums to 2 over the last axis: must"),
        (
            {"probabilities_init": GOOD, "n_categories": 3},
            "n_categories=3: the largest must be 4, the length of the last axis",
        ),
        (
            {"probabilities_init": GOOD.reshape(2, 2, 2), "n_categories": [1, 2]},
            r"probabilities_init has an entry above 0 beyond a column's n_categories=\[1 2\]",
        ),
        (
            {"probabilities_init": [[[0.0, 1.0]], [[0.5, 0.5]]], "prior": 1.5},
            "probabilities_init has an entry 0: must be above it, as prior=1.5 excludes it",
        ),
    ],
)
def test_unusable_parameters(parameters, text):
    with pytest.raises(ValueError, match=text):
        CategoricalEmission(**parameters).check_parameters(2)


def test_parameters_of_another_width():
    X = np.zeros((4, 3))
    text = r"n_categories=\[2, 2\]: must be one integer, or one for each of the 3 features"
    with pytest.raises(ValueError, match=text):
        CategoricalEmission([2, 2]).check_rows(X)
    text = r"probabilities_init has shape \(2, 1, 4\): X has 3 features"
    with pytest.raises(ValueError, match=text):
        CategoricalEmission(probabilities_init=GOOD).check_rows(X)


@pytest.mark.parametrize(
    ("probabilities", "n_categories", "text"),
    [
        (GOOD[0], None, rf"probabilities has shape \(1, 4\): {FORM}; a single column has n_feat"),
        (np.zeros((1, 0, 2)), None, r"probabilities has shape \(1, 0, 2\): must have shape"),
        (GOOD, [4, 4], "must be one integer, or one for each of the 1 features"),
        (0.9 * GOOD, None, "probabilities sums to 0.9 over the last axis: must sum to 1"),
    ],
)
def test_unusable_known_probabilities(probabilities, n_categories, text):
    with pytest.raises(ValueError, match=text):
        CategoricalEmission.from_parameters(probabilities, n_categories)


def test_not_fitted():
    with pytest.raises(NotFittedError, match="this CategoricalEmission is not fitted"):
        CategoricalEmission().parameters()


@given(
    st.integers(0, 10_000), st.integers(1, 4), st.lists(st.integers(1, 6), min_size=1, max_size=4)
)
def test_any_problem(seed, n_components, sizes):
    parameters, X = problem(30, seed, n_components=n_components, sizes=sizes)
    X = holes(X, 0.2 * (seed % 3), seed=seed)
    found = log_density(parameters, X)
    assert_allclose(found, oracle(X, parameters.probabilities), rtol=1e-10, atol=1e-10)
    resp = some_resp(n_components, len(X), seed)
    counts = statistics(parameters, X, resp)
    assert_allclose(counts, counts_of(X, resp, counts.shape), rtol=1e-10, atol=1e-12)
