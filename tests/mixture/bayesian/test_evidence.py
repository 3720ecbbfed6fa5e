"""The evidence by importance sampling: against the enumeration of all labels, and one component."""

from itertools import permutations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from skvae.mixture.bayesian import gibbs, gibbs_kernels
from skvae.mixture.bayesian.evidence import LARGEST
from tests.mixture.bayesian.problems import (
    WEIGHT_TYPES,
    bayes,
    every_covariance,
    every_weight,
    log_evidence,
    posterior_of,
)
from tests.mixture.bayesian.test_gibbs import prior_of, statistics
from tests.problems import blobs, knock_out


def tiny(n_rows, n_features, seed):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_rows, n_features))
    return rows + 2.5 * (np.arange(n_rows) % 2)[:, None]


# Covariance type, kind of weights, K, D, N.
TINY = [
    ("full", WEIGHT_TYPES[1], 2, 2, 10),
    ("diag", WEIGHT_TYPES[1], 3, 1, 7),
    ("tied", WEIGHT_TYPES[0], 2, 1, 10),
    ("spherical", WEIGHT_TYPES[0], 3, 2, 7),
]


@pytest.mark.parametrize("problem", TINY)
def test_evidence_is_that_of_all_labels(problem):
    covariance_type, weight_type, K, D, N = problem
    X = tiny(N, D, 1)
    model = bayes(K, covariance_type, weight_type, weight_concentration_prior=0.8).fit(X)
    exact = log_evidence(X, posterior_of(model).prior, K)
    found = model.log_evidence(X, random_state=0)
    assert abs(found.value - exact) < 0.05
    assert abs(found.value - exact) < 4 * found.standard_error
    assert found.standard_error < 0.03
    assert model.elbo_ < found.value


@pytest.mark.slow
def test_standard_errors_hold_the_evidence_of_all_labels():
    """Twenty more sets within four standard errors; nine of ten estimates within two."""
    inside = []
    for seed in range(20):
        covariance_type = ("full", "tied", "diag", "spherical")[seed % 4]
        K, weight_type = 2 + seed % 3 // 2, WEIGHT_TYPES[seed % 2]
        X = tiny(6 + seed % 2, 1 + seed % 3 % 2, seed)
        model = bayes(K, covariance_type, weight_type, weight_concentration_prior=0.9).fit(X)
        exact = log_evidence(X, posterior_of(model).prior, K)
        for random_state in range(4):
            found = model.log_evidence(X, random_state=random_state)
            z = (found.value - exact) / found.standard_error
            assert abs(z) < 4
            inside.append(abs(z) < 2)
    assert np.mean(inside) >= 0.9


@every_covariance
@every_weight
def test_one_component_has_the_exact_evidence(covariance_type, weight_type):
    X = blobs(12, n_components=2)
    model = bayes(1, covariance_type, weight_type, weight_concentration_prior=0.7).fit(X)
    found = model.log_evidence(X, random_state=0)
    assert abs(found.value - model.elbo_) < max(4 * found.standard_error, 1e-8)


def test_weights_are_copies_of_rows():
    X, weight = tiny(5, 1, 3), np.array([2.0, 1.0, 0.0, 1.0, 3.0])
    model = bayes(2, "full", WEIGHT_TYPES[1], weight_concentration_prior=1.0)
    model.fit(X, sample_weight=weight)
    exact = log_evidence(np.repeat(X, weight.astype(int), axis=0), posterior_of(model).prior, 2)
    found = model.log_evidence(X, sample_weight=weight, random_state=0)
    assert abs(found.value - exact) < 0.05
    halves = model.log_evidence(
        np.repeat(X, 2, axis=0), sample_weight=np.repeat(weight, 2) / 2, random_state=1
    )
    assert abs(halves.value - exact) < 0.05


@every_covariance
def test_missing_values_of_one_component_are_integrated_out(covariance_type):
    """A row without values adds nothing, and a feature without values neither where it is alone."""
    X = tiny(8, 2, 4)
    model = bayes(2, covariance_type, WEIGHT_TYPES[1], weight_concentration_prior=1.0).fit(X)
    more = np.append(X, np.full((2, 2), np.nan), axis=0)
    one = model.log_evidence(X, random_state=0)
    two = model.log_evidence(more, random_state=1)
    assert abs(one.value - two.value) < 0.05
    found = model.log_evidence(knock_out(X, 0.3), random_state=0)
    assert np.isfinite(found.value)
    assert found.standard_error < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_a_missing_value_is_integrated_out(covariance_type):
    """The referee is a sum over its values of the evidence of all labels."""
    X = tiny(6, 2, 5)
    model = bayes(2, covariance_type, WEIGHT_TYPES[1], weight_concentration_prior=0.8).fit(X)
    prior, values = posterior_of(model).prior, np.linspace(-60.0, 60.0, 601)
    complete = np.empty(len(values))
    for place, value in enumerate(values):
        X[2, 1] = value
        complete[place] = log_evidence(X, prior, 2)
    exact = logsumexp(complete) + np.log(values[1] - values[0])
    X[2, 1] = np.nan
    found = model.log_evidence(X, random_state=0)
    assert abs(found.value - exact) < max(4 * found.standard_error, 0.01)
    assert found.standard_error < 0.03


# The parts ----------------------------------------------------------------------------------------


def test_sums_over_orders_are_those_of_all_permutations():
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(2, 4, 3, 4)) * 5.0
    out = np.zeros((2, 3))
    gibbs_kernels.add_log_permanents(pairs, out)
    for s in range(2):
        for t in range(3):
            terms = [pairs[s, range(4), t, order].sum() for order in permutations(range(4))]
            assert_allclose(out[s, t], np.logaddexp.reduce(terms), rtol=1e-12)
    prior = prior_of("diag", WEIGHT_TYPES[0], concentration=0.7).weights(4)
    counts = np.array([[5.0, 0.0, 2.5, 1.0]])
    orders = np.empty((1, 16))
    gibbs_kernels.fill_log_orders(counts, 0.7, orders)
    every = [list(order) for order in permutations(range(4))]
    logs = prior.log_evidence(counts[0][np.array(every)])
    assert_allclose(orders[0, -1], np.logaddexp.reduce(logs), rtol=1e-12)
    order, seen = np.empty(4, dtype=np.int64), np.zeros(len(every))
    generator = np.random.default_rng(1)
    for _ in range(20000):
        gibbs_kernels.draw_order(counts[0], 0.7, orders[0], generator, order)
        seen[every.index(order.tolist())] += 1
    share = np.exp(logs - orders[0, -1])
    assert (np.abs(seen / 20000 - share) < 5 * np.sqrt(share / 20000)).all()


@every_covariance
@pytest.mark.parametrize("n_features", [1, 3])
def test_a_share_of_the_statistics(covariance_type, n_features):
    model = gibbs.GibbsModel(prior_of(covariance_type, WEIGHT_TYPES[1], n_features), 3)
    sums, _ = statistics(model)
    whole, half = (gibbs.Conditionals.empty(1, *model.shape) for _ in range(2))
    gibbs_kernels.condition(sums, model.kernel_prior, tuple(part[0] for part in whole))
    parts = tuple(part / 2 for part in sums[:3])
    gibbs_kernels.condition((*parts, sums[3]), model.kernel_prior, tuple(part[0] for part in half))
    for found, expected in zip(model.tempered(whole, 0.5), half, strict=True):
        assert_allclose(found, expected, rtol=1e-10)


def test_too_many_components_and_bad_options_are_a_clear_error():
    X = blobs(40)
    with pytest.raises(ValueError, match=f"has {LARGEST + 1} components.*fit fewer"):
        bayes(LARGEST + 1).fit(X).log_evidence(X)
    model = bayes(2).fit(X)
    for options, match in (
        ({"n_draws": 1}, "n_draws=1"),
        ({"sample_weight": [-1.0] * 40}, "sample_weight has a negative entry"),
    ):
        with pytest.raises(ValueError, match=match):
            model.log_evidence(X, **options)
