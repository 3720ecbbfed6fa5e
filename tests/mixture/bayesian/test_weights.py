"""Weights of Bayesian mixtures by value: scipy's distributions, evidence, orders, intervals."""

from itertools import permutations

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import betaln, gammaln
from scipy.stats import beta, dirichlet

from skvae.mixture.bayesian.weights import WEIGHTS, DirichletWeights, StickWeights
from tests.posterior_draws import draws_of_weights
from tests.strategies import seeds

K = 4
every_kind = pytest.mark.parametrize("kind", sorted(WEIGHTS))
kinds = st.sampled_from(sorted(WEIGHTS))


def problem(kind, seed=0, n_components=K, size=10.0):
    """(prior, posterior, counts)."""
    rng = np.random.default_rng(seed)
    counts = rng.exponential(size, size=n_components)
    prior = WEIGHTS[kind].prior(rng.uniform(0.1, 3.0), n_components)
    return prior, prior.posterior(counts), counts


def log_prob(q, draws):
    """ln q of draws (n, K) by scipy, in terms of the sticks where there are sticks."""
    if isinstance(q, DirichletWeights):
        return dirichlet(q.concentrations).logpdf(draws.T)
    left = 1 - np.cumsum(draws, axis=1) + draws
    return beta(q.first, q.second).logpdf(draws / left).sum(axis=1)


# Updates and expectations -------------------------------------------------------------------------


def test_posteriors_count():
    counts = np.array([3.0, 0.0, 2.5])
    np.testing.assert_array_equal(
        DirichletWeights.prior(0.5, 3).posterior(counts).concentrations, [3.5, 0.5, 3.0]
    )
    first, second = StickWeights.prior(0.5, 3).posterior(counts).concentration
    np.testing.assert_array_equal(first, [4.0, 1.0, 3.5])
    np.testing.assert_array_equal(second, [3.0, 3.0, 0.5])


@given(kinds, seeds, st.floats(0.01, 100.0))
def test_posteriors_are_linear_and_follow_each_other(kind, seed, share):
    prior, _, counts = problem(kind, seed)
    other = np.random.default_rng(seed + 1).exponential(size=K)
    once = prior.posterior(counts + share * other)
    twice = prior.posterior(counts).posterior(share * other)
    for a, b in zip(once, twice, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


@every_kind
def test_counts_are_what_a_posterior_added_to_its_prior(kind):
    prior, q, counts = problem(kind)
    np.testing.assert_allclose(q.counts(prior), counts, rtol=1e-13)


@every_kind
def test_expectations_are_those_of_draws(kind):
    _, q, _ = problem(kind)
    n = 50_000
    draws = draws_of_weights(q, n, np.random.default_rng(0))
    assert draws.shape == (n, K)
    for values, expected in (
        (draws, q.mean()),
        (np.log(draws), q.expected_log()),
        (1 - draws.sum(axis=1), np.exp(q.log_leftover())),
    ):
        error = values.std(axis=0) / np.sqrt(n)
        assert (np.abs(values.mean(axis=0) - expected) < 5 * error + 1e-12).all()
    np.testing.assert_allclose(np.exp(q.log_mean()), q.mean(), rtol=1e-14)
    np.testing.assert_allclose(q.mean().sum() + np.exp(q.log_leftover()), 1.0, rtol=1e-14)


def test_dirichlet_expectations_are_scipys():
    _, q, _ = problem("dirichlet_distribution")
    exact = dirichlet(q.concentrations)
    np.testing.assert_allclose(q.mean(), exact.mean(), rtol=1e-14)
    total = q.concentrations.sum()
    for a, found in zip(q.concentrations, q.expected_log(), strict=True):
        np.testing.assert_allclose(found, beta(a, total - a).expect(np.log), rtol=1e-7)


@every_kind
def test_kl_is_the_mean_log_ratio_of_draws(kind):
    prior, q, _ = problem(kind)
    draws = draws_of_weights(q, 50_000, np.random.default_rng(1))
    ratio = log_prob(q, draws) - log_prob(prior, draws)
    assert abs(ratio.mean() - q.kl(prior)) < 5 * ratio.std() / np.sqrt(len(ratio))


@given(kinds, seeds)
def test_kl_is_positive_and_zero_of_itself(kind, seed):
    prior, q, _ = problem(kind, seed)
    assert q.kl(prior) > 0
    assert q.kl(q) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("sizes", [(1e13, 1.0), (1e12, 1e-6), (1e12, 3e11), (1.0, 1e10)])
def test_kl_of_any_counts_to_forty_digits(sizes):
    a, b = (size * np.array([0.2, 0.7, 0.1]) for size in sizes)
    with mpmath.workdps(40):
        exact = mpmath.mpf(0)
        for x, y, sign in [*zip(a, b, [1] * 3, strict=True), (a.sum(), b.sum(), -1)]:
            x, y = mpmath.mpf(x), mpmath.mpf(y)
            term = mpmath.loggamma(y) - mpmath.loggamma(x) + (x - y) * mpmath.digamma(x)
            exact += sign * term
    found = DirichletWeights(a).kl(DirichletWeights(b))
    np.testing.assert_allclose(found, float(exact), rtol=1e-11, atol=3e-15 * max(1.0, b.max()))
    # The sticks of this Dirichlet: independent Betas.
    pair = [StickWeights(x[:2], np.array([x[1:].sum(), x[2]])) for x in (a, b)]
    np.testing.assert_allclose(
        pair[0].kl(pair[1]), float(exact), rtol=1e-11, atol=3e-15 * max(1.0, b.max())
    )


def evidence(prior, counts):
    """ln p(z) of labels with these counts."""
    if isinstance(prior, DirichletWeights):
        a, b = prior.concentrations, prior.concentrations + counts
        return gammaln(a.sum()) - gammaln(b.sum()) + (gammaln(b) - gammaln(a)).sum()
    after = counts.sum() - np.cumsum(counts)
    ratios = betaln(prior.first + counts, prior.second + after) - betaln(prior.first, prior.second)
    return ratios.sum()


@given(kinds, seeds)
def test_bound_of_known_labels_is_their_log_evidence(kind, seed):
    prior, q, counts = problem(kind, seed)
    bound = counts @ q.expected_log() - q.kl(prior)
    np.testing.assert_allclose(bound, evidence(prior, counts), rtol=1e-10)


# Order --------------------------------------------------------------------------------------------


@given(kinds, seeds)
def test_order_makes_the_bound_largest(kind, seed):
    prior, _, counts = problem(kind, seed)
    best = max(evidence(prior, counts[list(order)]) for order in permutations(range(K)))
    order = prior.order(counts)
    np.testing.assert_array_equal(np.sort(order), np.arange(K))
    assert evidence(prior, counts[order]) >= best - 1e-10 * abs(best)


def test_order_keeps_equal_counts_in_place():
    counts = np.array([1.0, 5.0, 1.0, 5.0])
    np.testing.assert_array_equal(StickWeights.prior(1.0, 4).order(counts), [1, 3, 0, 2])
    np.testing.assert_array_equal(DirichletWeights.prior(1.0, 4).order(counts), np.arange(4))


# Intervals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.5, 0.95])
def test_dirichlet_intervals_are_those_of_the_beta_marginals(level):
    _, q, _ = problem("dirichlet_distribution")
    a = q.concentrations
    np.testing.assert_allclose(q.interval(level), beta(a, a.sum() - a).interval(level), rtol=1e-10)


def test_sticks_that_are_a_dirichlet_have_exact_intervals():
    """If b_k = a_{k+1} + b_{k+1} the weights are Dirichlet (Connor and Mosimann, 1969)."""
    a = np.array([0.3, 7.0, 2.0, 40.0, 1.0])
    after = a[::-1].cumsum()[::-1][1:]
    sticks, q = StickWeights(a[:-1], after), DirichletWeights(a)
    found = sticks.matched()
    np.testing.assert_allclose(found[0], a[:-1], rtol=1e-12)
    np.testing.assert_allclose(found[1], a.sum() - a[:-1], rtol=1e-12)
    for ours, theirs in zip(sticks.interval(), q.interval(), strict=True):
        np.testing.assert_allclose(ours, theirs[:-1], rtol=1e-10)


@given(seeds, st.sampled_from([0.3, 3.0, 100.0]))
def test_matched_betas_have_the_moments_of_the_sticks(seed, size):
    _, q, _ = problem("dirichlet_process", seed, size=size)
    a, b = q.first, q.second
    rest = np.cumprod(np.append(1.0, b / (a + b)))[:-1]
    squares = np.cumprod(np.append(1.0, b * (b + 1) / ((a + b) * (a + b + 1))))[:-1]
    mean = a / (a + b) * rest
    second = a * (a + 1) / ((a + b) * (a + b + 1)) * squares
    found = beta(*q.matched())
    np.testing.assert_allclose(found.mean(), mean, rtol=1e-10)
    np.testing.assert_allclose(found.var(), second - mean**2, rtol=1e-8)


@pytest.mark.parametrize("concentration", [0.05, 1.0, 5.0])
@pytest.mark.parametrize("counts", [[3, 2, 1, 0], [50, 20, 1, 0], [4000, 900, 30, 0]])
def test_stick_intervals_hold_their_level(counts, concentration):
    """Matched Betas are not exact: a tail of a component with rows is, to 1%; see the docstring."""
    q = StickWeights.prior(concentration, 4).posterior(np.array(counts, dtype=float))
    draws = draws_of_weights(q, 200_000, np.random.default_rng(0))
    for level in (0.5, 0.9, 0.95):
        lower, upper = q.interval(level)
        below, above = (draws < lower).mean(axis=0), (draws > upper).mean(axis=0)
        tail = 0.5 - 0.5 * level
        np.testing.assert_allclose(above[:3], tail, atol=0.01)
        np.testing.assert_allclose(below[:3], tail, atol=0.01)
        if level > 0.5:
            assert above[3] < tail + 0.01


# Limits -------------------------------------------------------------------------------------------


@every_kind
def test_one_component(kind):
    q = WEIGHTS[kind].prior(0.5, 1).posterior(np.array([100.0]))
    lower, upper = q.interval()
    if kind == "dirichlet_distribution":
        assert q.mean() == lower == upper == 1.0
        assert q.expected_log() == 0.0
        assert q.kl(WEIGHTS[kind].prior(0.5, 1)) == pytest.approx(0.0, abs=1e-12)
    else:
        np.testing.assert_allclose(
            [lower, upper], np.transpose(beta(101, 0.5).interval(0.95))[:, None]
        )


@pytest.mark.parametrize("concentration", [1e-6, 1e-3, 1.0, 1e3])
@every_kind
def test_thousands_of_components_most_of_them_empty(kind, concentration):
    n_components, rng = 5000, np.random.default_rng(0)
    counts = np.zeros(n_components)
    counts[:10] = rng.uniform(1e3, 1e6, size=10)
    prior = WEIGHTS[kind].prior(concentration, n_components)
    q = prior.posterior(counts)
    for values in (q.mean(), q.expected_log(), q.log_mean(), [q.kl(prior)], *q.interval()):
        assert np.isfinite(values).all()
    np.testing.assert_allclose(q.mean().sum() + np.exp(q.log_leftover()), 1.0, rtol=1e-12)
    lower, upper = q.interval()
    assert ((lower <= upper) & (lower >= 0) & (upper <= 1)).all()
    big = counts > 0
    assert ((lower < q.mean()) & (q.mean() < upper))[big].all()


@pytest.mark.parametrize("rng", [np.random.default_rng(0), np.random.RandomState(0)])
def test_draws_of_almost_no_concentration_are_corners(rng):
    draws = draws_of_weights(DirichletWeights.prior(1e-6, 5), 1000, rng)
    np.testing.assert_allclose(draws.sum(axis=1), 1.0, rtol=1e-14)
    assert np.isin(draws.round(12), [0.0, 1.0]).mean() > 0.999
    assert (np.abs(draws.mean(axis=0) - 0.2) < 5 * np.sqrt(0.16 / 1000)).all()
    sticks = draws_of_weights(StickWeights.prior(1e-6, 5), 1000, rng)
    assert ((sticks >= 0) & (sticks <= 1)).all()


@every_kind
def test_many_rows_make_the_weights_certain(kind):
    counts = np.array([5e11, 3e11, 2e11])
    q = WEIGHTS[kind].prior(1.0, 3).posterior(counts)
    np.testing.assert_allclose(q.mean(), counts / counts.sum(), rtol=1e-11)
    np.testing.assert_allclose(q.expected_log(), np.log(counts / counts.sum()), atol=1e-11)
    lower, upper = q.interval()
    np.testing.assert_allclose(
        upper - lower, 3.92 * np.sqrt([0.25e-12, 0.21e-12, 0.16e-12]), rtol=1e-3
    )
