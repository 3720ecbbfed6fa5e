"""Sums over trees, the best tree, draws: against every tree in fractions, and closed forms."""

import math
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm

from skvae.blocks import workers
from skvae.chain import algorithms as chain
from skvae.chart import algorithms
from skvae.chart.algorithms import Rules
from skvae.chart.batch import Batch
from tests import oracles
from tests.chart.problems import catalan_grammar, log, random_grammar, telescope
from tests.strategies import seeds

LONGEST = {1: 7, 2: 5, 3: 4}


def likelihoods(n, n_labels, seed):
    """Densities of Gaussian leaves, as Gaussians of one feature give them."""
    rng = np.random.default_rng(seed)
    means = rng.normal(scale=2.0, size=n_labels)
    x = means[rng.integers(n_labels, size=n)] + rng.normal(size=n)
    return norm.pdf(x[:, None], means, 1.0)


def some_brackets(n, seed):
    """Brackets of a random binary tree: some of its spans."""
    rng = np.random.default_rng(seed)
    found, waiting = [], [(0, n - 1)]
    while waiting:
        first, last = waiting.pop()
        if last > first:
            middle = rng.integers(first, last)
            waiting += [(first, middle), (middle + 1, last)]
            if rng.random() < 0.4:
                found.append((first, last))
    return np.array(found, dtype=int).reshape(-1, 2)


@st.composite
def one_sentence(draw, cycles=False):
    """(grammar, densities, brackets) of a few rows."""
    seed = draw(seeds)
    n_labels = draw(st.integers(1, 3))
    kinds = [None, "cycles"] if cycles else [None, "chains"]
    units = draw(st.sampled_from(kinds))
    zeros = draw(st.sampled_from([0.0, 0.5]))
    grammar = random_grammar(n_labels, seed, zeros=zeros, units=units)
    n = draw(st.integers(1, LONGEST[n_labels] - (units is not None)))
    brackets = some_brackets(n, seed) if draw(st.booleans()) else None
    return grammar, likelihoods(n, n_labels, seed), brackets


def listed(brackets):
    return None if brackets is None else [brackets]


def as_array(counts, shape):
    """Counts by index as an array; items of other lengths are left out."""
    out = np.zeros(shape)
    for index, count in counts.items():
        if len(index) == len(shape):
            out[index] = count
    return out


def ln(fraction):
    """The log of a fraction, which may be below the smallest float."""
    return math.log(fraction.numerator) - math.log(fraction.denominator) if fraction else -np.inf


def log_joint(grammar, likelihood, nodes):
    """ln p(tree, x) of a tree given as an array of nodes."""
    total = log(grammar.startprob)[nodes[0, 0]]
    for label, first, last, left, right in nodes:
        if left < 0:
            assert first == last
            total += log(grammar.leafprob)[label] + log(likelihood)[first, label]
        elif right < 0:
            assert tuple(nodes[left, 1:3]) == (first, last)
            total += log(grammar.units)[label, nodes[left, 0]]
        else:
            assert (nodes[left, 1], nodes[right, 2]) == (first, last)
            assert nodes[left, 2] + 1 == nodes[right, 1]
            total += log(grammar.rules)[label, nodes[left, 0], nodes[right, 0]]
    return total


@given(one_sentence())
def test_sums_are_those_over_all_trees(problem):
    grammar, likelihood, brackets = problem
    n, n_labels = likelihood.shape
    trees = oracles.enumerate_trees(grammar, likelihood, () if brackets is None else brackets)
    given_ = grammar, log(likelihood)
    found = algorithms.expect(*given_, brackets=listed(brackets), weight=np.array([2.0]))
    log_p = ln(trees.probability)
    assert_allclose(found.log_likelihood, 2 * log_p, rtol=1e-12, atol=1e-12)
    assert_allclose(
        algorithms.log_likelihood_of(*given_, brackets=listed(brackets)),
        [log_p],
        rtol=1e-12,
        atol=1e-12,
    )
    spans = algorithms.span_posterior(*given_, brackets=listed(brackets))
    if log_p == -np.inf:
        assert not any(array.any() for array in (found.rules, found.leaves, spans))
        return
    counts = trees.rule_counts()
    close = {"rtol": 1e-11, "atol": 1e-13}
    assert_allclose(found.rules, 2 * as_array(counts, (n_labels,) * 3), **close)
    assert (found.units is None) == (grammar.units is None)
    if found.units is not None:
        assert_allclose(found.units, 2 * as_array(counts, (n_labels,) * 2), **close)
    roots = trees.expected(lambda tree: [(tree.label,)])
    assert_allclose(found.starts, 2 * as_array(roots, (n_labels,)), **close)
    leaves = as_array(trees.leaf_labels(), (n, n_labels))
    assert_allclose(found.leaves, 2 * leaves, **close)
    posterior = algorithms.leaf_posterior(*given_, brackets=listed(brackets))
    assert_allclose(posterior, leaves, **close)
    assert_allclose(spans, as_array(trees.spans(), (n, n, n_labels)), **close)
    for first, last in () if brackets is None else brackets:
        assert spans[first, last].sum() > 1 - 1e-12


@given(one_sentence())
def test_the_best_tree_is_the_best_of_all(problem):
    grammar, likelihood, brackets = problem
    trees = oracles.enumerate_trees(grammar, likelihood, () if brackets is None else brackets)
    log_probs, (nodes,) = algorithms.best_trees(grammar, log(likelihood), brackets=listed(brackets))
    assert_allclose(log_probs, [ln(trees.best())], rtol=1e-12, atol=1e-12)
    assert nodes.shape[1] == 5
    if len(nodes) == 0:
        assert not trees.trees
        return
    assert_allclose(log_joint(grammar, likelihood, nodes), log_probs[0], rtol=1e-12, atol=1e-12)
    assert tuple(nodes[0, 1:3]) == (0, len(likelihood) - 1)
    children = nodes[:, 3:][nodes[:, 3:] >= 0]
    assert_array_equal(np.sort(children), np.arange(1, len(nodes)))  # each has one parent
    assert (nodes[:, 3] < 0).sum() == len(likelihood)
    left = nodes[:, 3]
    assert_array_equal(left[left >= 0], np.flatnonzero(left >= 0) + 1)  # preorder


@pytest.mark.parametrize("seed", range(3))
def test_cycles_of_unit_rules_are_summed(seed):
    """Long chains are written out; the rest of them has a mass below 1e-17."""
    rng = np.random.default_rng(seed)
    rules = 0.1 * rng.dirichlet(np.ones(8)).reshape(2, 2, 2)
    units = np.array([[0.0, 0.002], [0.003, 0.0]])
    leafprob = 1 - rules.sum(axis=(1, 2)) - units.sum(axis=1)
    grammar = Rules(np.array([0.3, 0.7]), rules, leafprob, units)
    likelihood = likelihoods(2, 2, seed)
    trees = oracles.enumerate_trees(grammar, likelihood, longest=6)
    found = algorithms.expect(grammar, log(likelihood))
    assert_allclose(found.log_likelihood, ln(trees.probability), rtol=1e-12)
    counts = trees.rule_counts()
    assert_allclose(found.rules, as_array(counts, (2, 2, 2)), rtol=1e-11)
    assert_allclose(found.units, as_array(counts, (2, 2)), rtol=1e-11)
    spans = as_array(trees.spans(), (2, 2, 2))
    assert_allclose(algorithms.span_posterior(grammar, log(likelihood)), spans, rtol=1e-11)
    log_probs, (nodes,) = algorithms.best_trees(grammar, log(likelihood))
    assert_allclose(log_probs, [ln(trees.best())], rtol=1e-12)
    assert_allclose(log_joint(grammar, likelihood, nodes), log_probs[0], rtol=1e-12)


@given(one_sentence(cycles=True))
def test_unit_rules_can_be_removed(problem):
    """C R and C leafprob give the same sentences without unit rules."""
    grammar, likelihood, brackets = problem
    if grammar.units is None:
        return
    closure = np.linalg.inv(np.eye(len(grammar.units)) - grammar.units)
    rules = np.tensordot(closure, grammar.rules, axes=1)
    without = Rules(grammar.startprob, rules, closure @ grammar.leafprob)
    assert_allclose(rules.sum(axis=(1, 2)) + without.leafprob, 1.0)
    mixed = (grammar.leafprob * likelihood) @ closure.T / without.leafprob
    for function in (algorithms.log_likelihood_of, algorithms.predictive):
        options = {} if function is algorithms.predictive else {"brackets": listed(brackets)}
        expected = function(without, log(mixed), **options)
        found = function(grammar, log(likelihood), **options)
        assert_allclose(found, expected, rtol=1e-11, atol=1e-11)
    assert_allclose(algorithms.log_length(grammar, 9), algorithms.log_length(without, 9))


def test_a_cycle_of_almost_all_mass_is_summed():
    units = np.array([[0.0, 1 - 1e-6], [1.0, 0.0]])
    grammar = Rules(
        np.array([1.0, 0.0]), np.zeros((2, 2, 2)), np.array([1 - units[0, 1], 0]), units
    )
    assert_allclose(algorithms.log_likelihood_of(grammar, np.zeros((1, 2))), 0.0, atol=1e-9)


@pytest.mark.parametrize("q", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("n", [1, 2, 7, 60, 300])
def test_one_label_has_catalan_numbers(n, q):
    exact = (
        math.lgamma(2 * n - 1)
        - math.lgamma(n)
        - math.lgamma(n + 1)
        + n * np.log(q)
        + (n - 1) * np.log1p(-q)
    )
    if n < 100:
        exact = (
            np.log(float(math.comb(2 * n - 2, n - 1) // n)) + n * np.log(q) + (n - 1) * np.log1p(-q)
        )
    rules = catalan_grammar(q)
    assert_allclose(algorithms.log_likelihood_of(rules, np.zeros((n, 1))), [exact], rtol=1e-12)
    assert_allclose(algorithms.log_length(rules, n)[-1], exact, rtol=1e-12)
    sums = algorithms.expect(rules, np.zeros((n, 1)))
    assert_allclose(sums.rules, n - 1, rtol=1e-11)
    assert_allclose(sums.leaves, 1.0, rtol=1e-11)
    log_probs, _ = algorithms.best_trees(rules, np.zeros((n, 1)))
    assert_allclose(log_probs, n * np.log(q) + (n - 1) * np.log1p(-q), rtol=1e-12)


def test_a_sentence_of_a_published_grammar():
    """nltk 3.9: InsideChartParser's sum over both parses, ViterbiParser's best."""
    rules, logs = telescope()
    assert_allclose(algorithms.log_likelihood_of(rules, logs), [-9.527013657778562], rtol=1e-14)
    log_probs, (nodes,) = algorithms.best_trees(rules, logs)
    assert_allclose(log_probs, [-9.863485894399775], rtol=1e-14)
    assert log_joint(rules, np.exp(logs), nodes) == pytest.approx(log_probs[0], rel=1e-14)


def markov_chain(n_states, seed):
    """A hidden Markov model with an end as a right-linear grammar, and its arrays.

    State k becomes leaf k and another state, or leaf k alone; labels from K on are the leaves.
    """
    rng = np.random.default_rng(seed)
    start, steps = rng.dirichlet(np.ones(n_states)), rng.dirichlet(np.ones(n_states + 1), n_states)
    rules, units = np.zeros((2 * n_states,) * 3), np.zeros((2 * n_states,) * 2)
    states = np.arange(n_states)
    rules[states, n_states + states, :n_states] = steps[:, :-1]
    units[states, n_states + states] = steps[:, -1]
    grammar = Rules(
        np.append(start, np.zeros(n_states)), rules, np.repeat([0.0, 1.0], n_states), units
    )
    return grammar, start, steps


@pytest.mark.parametrize("n", [1, 2, 12, 300])
def test_a_right_linear_grammar_is_a_hidden_markov_model(n):
    n_states = 3
    grammar, start, steps = markov_chain(n_states, n)
    logs = np.random.default_rng(n).normal(scale=2.0, size=(n, n_states))
    # The end is a last state that has no other way than the row after the last.
    transmat = np.zeros((n_states + 1, n_states + 1))
    transmat[:-1], transmat[-1, -1] = steps, 1.0
    rows = np.full((n + 1, n_states + 1), -np.inf)
    rows[:-1, :-1], rows[-1, -1] = logs, 0.0
    log_start = log(np.append(start, 0.0))
    smoothed = chain.smooth(log_start, log(transmat), rows)
    leaves = np.hstack([np.zeros((n, n_states)), logs])
    sums = algorithms.expect(grammar, leaves)
    assert_allclose(sums.log_likelihood, smoothed.log_likelihood, rtol=1e-12)
    assert_allclose(sums.leaves[:, n_states:], smoothed.posterior[:-1, :-1], rtol=1e-9, atol=1e-12)
    pairs = np.array([sums.rules[k, n_states + k, :n_states] for k in range(n_states)])
    assert_allclose(pairs, smoothed.pairs[:-1, :-1], rtol=1e-9, atol=1e-12)
    log_probs, (nodes,) = algorithms.best_trees(grammar, leaves)
    best, path = chain.viterbi(log_start, log(transmat), rows)
    assert_allclose(log_probs, best, rtol=1e-12)
    assert_array_equal(nodes[nodes[:, 3] < 0, 0] - n_states, path[:-1])


def categorical(n_labels, n_words, seed):
    """Probabilities of the words for each label."""
    return np.random.default_rng(seed).dirichlet(np.ones(n_words), size=n_labels)


@pytest.mark.parametrize("units", [None, "chains", "cycles"])
@pytest.mark.parametrize("zeros", [0.0, 0.6])
@pytest.mark.parametrize("seed", range(3))
def test_the_sum_over_all_strings_is_the_probability_of_the_length(seed, zeros, units):
    grammar, words = random_grammar(3, seed, zeros=zeros, units=units), categorical(3, 2, seed)
    lengths = algorithms.log_length(grammar, 6)
    for n in range(1, 7):
        strings = np.array(list(product(range(2), repeat=n)))
        offsets = np.arange(0, strings.size + 1, n)
        rows = np.log(words).T[strings.ravel()]
        log_p = algorithms.log_likelihood_of(grammar, rows, offsets)
        assert_allclose(np.logaddexp.reduce(log_p), lengths[n - 1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("units", [None, "cycles"])
@pytest.mark.parametrize("seed", range(4))
def test_each_predictive_is_a_ratio_of_sums_over_the_rest(seed, units):
    grammar, words = random_grammar(2, seed, units=units), categorical(2, 2, seed)
    n = 5
    x = np.random.default_rng(seed).integers(2, size=n)
    strings = np.array(list(product(range(2), repeat=n)))
    rows = np.log(words).T
    log_p = algorithms.log_likelihood_of(
        grammar, rows[strings.ravel()], np.arange(0, strings.size + 1, n)
    )
    sums = [np.logaddexp.reduce(log_p[(strings[:, :t] == x[:t]).all(axis=1)]) for t in range(n + 1)]
    found = algorithms.predictive(grammar, rows[x])
    assert_allclose(found, np.diff(sums), rtol=1e-11)
    length = algorithms.log_length(grammar, n)[-1]
    assert_allclose(
        found.sum(), algorithms.log_likelihood_of(grammar, rows[x])[0] - length, rtol=1e-12
    )


def test_an_impossible_row_counts_as_missing():
    grammar = random_grammar(3, 0)
    logs = log(likelihoods(6, 3, 0))
    broken, missing = logs.copy(), logs.copy()
    broken[[1, 4]], missing[[1, 4]] = -np.inf, 0.0
    found = algorithms.predictive(grammar, broken)
    expected = algorithms.predictive(grammar, missing)
    assert_array_equal(np.isneginf(found), [False, True, False, False, True, False])
    assert_allclose(np.delete(found, [1, 4]), np.delete(expected, [1, 4]), rtol=1e-12)
    posterior = algorithms.leaf_posterior(grammar, broken)
    assert_allclose(posterior, algorithms.leaf_posterior(grammar, missing), rtol=1e-12)
    assert algorithms.log_likelihood_of(grammar, broken) == [-np.inf]
    sums = algorithms.expect(grammar, broken)
    assert sums.log_likelihood == -np.inf
    assert not sums.rules.any()


@pytest.mark.parametrize("rare", [1e-300, 1e-200])
def test_an_impossible_sentence_has_no_constituents_where_rules_are_rare(rare):
    """The chart is computed in log space; A → B B is rare, and the last row is impossible."""
    rules = np.zeros((2, 2, 2))
    rules[0, 0, 1], rules[0, 1, 1] = 0.5, rare
    grammar = Rules(np.array([1.0, 0.0]), rules, np.array([0.5 - rare, 1.0]))
    logs = np.zeros((4, 2))
    assert algorithms.span_posterior(grammar, logs).any()
    logs[3] = -np.inf
    assert_array_equal(algorithms.span_posterior(grammar, logs), 0.0)


def test_an_impossible_length():
    """S -> A A, A a leaf: two rows, or none at all."""
    rules = np.zeros((2, 2, 2))
    rules[0, 1, 1] = 1.0
    grammar = Rules(np.array([1.0, 0.0]), rules, np.array([0.0, 1.0]))
    assert_array_equal(algorithms.log_length(grammar, 4), [-np.inf, 0.0, -np.inf, -np.inf])
    logs = np.zeros((3, 2))
    assert_array_equal(algorithms.predictive(grammar, logs), [-np.inf] * 3)
    assert_array_equal(algorithms.leaf_posterior(grammar, logs), [[0.0, 1.0]] * 3)
    assert not algorithms.span_posterior(grammar, logs).any()
    log_probs, (nodes,) = algorithms.best_trees(grammar, logs)
    assert log_probs[0] == -np.inf
    assert nodes.shape == (0, 5)


def batch(seed, n_labels=4, units="cycles", zeros=0.3):
    """A grammar and sentences of several lengths, with brackets."""
    rng = np.random.default_rng(seed)
    lengths = np.append(rng.integers(1, 14, size=40), [30, 1])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    grammar = random_grammar(n_labels, seed, units=units, zeros=zeros)
    logs = rng.normal(scale=3.0, size=(offsets[-1], n_labels))
    brackets = [some_brackets(n, s) for s, n in enumerate(lengths)]
    return grammar, logs, offsets, brackets


@pytest.mark.parametrize("with_brackets", [False, True])
@pytest.mark.parametrize("units", [None, "cycles"])
def test_a_batch_is_its_sentences(units, with_brackets):
    grammar, logs, offsets, brackets = batch(0, units=units)
    brackets = brackets if with_brackets else None
    weight = np.random.default_rng(1).uniform(size=len(offsets) - 1)
    weight[3] = 0.0
    found = algorithms.expect(grammar, logs, offsets, brackets=brackets, weight=weight)
    log_p = algorithms.log_likelihood_of(grammar, logs, offsets, brackets=brackets)
    posterior = algorithms.leaf_posterior(grammar, logs, offsets, brackets=brackets)
    predictive = algorithms.predictive(grammar, logs, offsets)
    log_probs, nodes = algorithms.best_trees(grammar, logs, offsets, brackets=brackets)
    rules, total = 0.0, 0.0
    for s, (a, b) in enumerate(pairwise(offsets)):
        one = {"brackets": None if brackets is None else brackets[s : s + 1]}
        alone = algorithms.expect(grammar, logs[a:b], **one)
        assert_allclose(found.leaves[a:b], weight[s] * alone.leaves, rtol=1e-10, atol=1e-13)
        assert_allclose(posterior[a:b], alone.leaves, rtol=1e-10, atol=1e-13)
        assert_allclose(log_p[s], alone.log_likelihood, rtol=1e-12)
        assert_allclose(predictive[a:b], algorithms.predictive(grammar, logs[a:b]), rtol=1e-10)
        best, (each,) = algorithms.best_trees(grammar, logs[a:b], **one)
        assert_allclose(log_probs[s], best[0], rtol=1e-12)
        assert_array_equal(nodes[s], each)
        rules, total = rules + weight[s] * alone.rules, total + weight[s] * alone.log_likelihood
    assert_allclose(found.rules, rules, rtol=1e-10)
    assert_allclose(found.log_likelihood, total, rtol=1e-12)


def test_threads_do_not_change_results():
    grammar, logs, offsets, brackets = batch(1)
    expected = algorithms.expect(grammar, logs, offsets, brackets=brackets)
    expected_log_p = algorithms.predictive(grammar, logs, offsets)
    for n_threads in (1, 2, 3):
        with workers(n_threads) as pool:
            given_ = grammar, logs, offsets
            found = algorithms.expect(*given_, brackets=brackets, pool=pool)
            log_p = algorithms.predictive(*given_, pool=pool)
            log_probs, nodes = algorithms.best_trees(*given_, pool=pool)
        for one, other in zip(expected, found, strict=True):
            assert_array_equal(one, other)
        assert_array_equal(log_p, expected_log_p)
        best, trees = algorithms.best_trees(grammar, logs, offsets)
        assert_array_equal(log_probs, best)
        assert all(np.array_equal(a, b) for a, b in zip(nodes, trees, strict=True))


def nudged(grammar, name, index, step):
    array = getattr(grammar, name).copy()
    array[index] *= np.exp(step)
    return grammar._replace(**{name: array})


@pytest.mark.parametrize("units", [None, "cycles"])
def test_expected_counts_are_the_gradient(units):
    """∂ ln p / ∂ ln rule is the expected number of its uses (Fisher's identity)."""
    grammar, logs, offsets, brackets = batch(2, n_labels=3, units=units, zeros=0.0)

    def total(changed):
        return algorithms.log_likelihood_of(changed, logs, offsets, brackets=brackets).sum()

    sums = algorithms.expect(grammar, logs, offsets, brackets=brackets)
    counts = {"startprob": sums.starts, "rules": sums.rules, "leafprob": sums.leaves.sum(axis=0)}
    if units is not None:
        counts["units"] = sums.units
    for name, expected in counts.items():
        for index in np.ndindex(expected.shape):
            step = 1e-4
            up, down = (total(nudged(grammar, name, index, sign * step)) for sign in (1, -1))
            assert (up - down) / (2 * step) == pytest.approx(expected[index], rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_300_rows_do_not_underflow(seed):
    """Far below the smallest float, and far above the largest; a factor of a row is exact."""
    grammar = random_grammar(2, seed)
    logs = np.random.default_rng(seed).normal(scale=5.0, size=(300, 2))
    levels = np.random.default_rng(seed).choice([-1e3, 0.0, 1e3], size=(300, 1))
    (plain,) = algorithms.log_likelihood_of(grammar, logs)
    (shifted,) = algorithms.log_likelihood_of(grammar, logs + levels)
    assert_allclose(shifted, plain + levels.sum(), rtol=1e-12, atol=1e-8)
    sums = algorithms.expect(grammar, logs + levels)
    assert_allclose(sums.rules.sum(), 299.0, rtol=1e-10)
    assert_allclose(sums.leaves.sum(axis=1), 1.0, rtol=1e-10)
    found = algorithms.predictive(grammar, logs + levels).sum()
    assert_allclose(found, shifted - algorithms.log_length(grammar, 300)[-1], rtol=1e-11)


def in_log_space(grammar, logs, offsets, brackets):
    """All sums, each sentence alone in log space."""
    batch = Batch(grammar, logs, offsets, brackets, None)
    n_labels = len(grammar.startprob)
    starts, rules, units = np.zeros(n_labels), np.zeros((n_labels,) * 3), np.zeros((n_labels,) * 2)
    leaves, log_p = np.zeros_like(logs), []
    for s in range(len(offsets) - 1):
        inside = batch.log_inside(s)
        log_p.append(inside.log_p)
        if inside.log_p > -np.inf:
            inside.add_counts(1.0, starts, rules, units, leaves[batch.rows(s)])
    return np.array(log_p), starts, rules, units, leaves


@pytest.mark.parametrize("scale", [1.0, 30.0, 300.0])
@pytest.mark.parametrize("units", [None, "cycles"])
@pytest.mark.parametrize("seed", range(3))
def test_sums_are_those_in_log_space(seed, units, scale):
    """Labels that differ by hundreds of nats, zeros, sentences without a tree."""
    grammar, logs, offsets, brackets = batch(seed, n_labels=5, units=units)
    logs = logs * scale
    logs[np.random.default_rng(seed).random(logs.shape) < 0.1] = -np.inf
    log_p, starts, rules, counts, leaves = in_log_space(grammar, logs, offsets, brackets)
    found = algorithms.log_likelihood_of(grammar, logs, offsets, brackets=brackets)
    assert_allclose(found, log_p, rtol=1e-12)
    weight = np.where(log_p == -np.inf, 0.0, 1.0)
    sums = algorithms.expect(grammar, logs, offsets, brackets=brackets, weight=weight)
    close = {"rtol": 1e-9, "atol": 1e-12}
    assert_allclose(sums.log_likelihood, log_p[weight > 0].sum(), rtol=1e-12)
    assert_allclose(sums.starts, starts, **close)
    assert_allclose(sums.rules, rules, **close)
    assert_allclose(sums.leaves, leaves, **close)
    if units is not None:
        assert_allclose(sums.units, counts, **close)


def test_the_only_possible_label_may_be_the_least_likely_one():
    """S -> A A: by the densities both rows are B, by e^800 each."""
    rules = np.zeros((3, 3, 3))
    rules[0, 1, 1] = 1.0
    grammar = Rules(np.array([1.0, 0.0, 0.0]), rules, np.array([0.0, 1.0, 1.0]))
    logs = np.tile([0.0, -800.0, 0.0], (2, 1))
    assert_allclose(algorithms.log_likelihood_of(grammar, logs), [-1600.0], rtol=1e-14)
    sums = algorithms.expect(grammar, logs, weight=np.array([3.0]))
    assert_allclose(sums.log_likelihood, -4800.0, rtol=1e-14)
    assert_allclose(sums.rules[0, 1, 1], 3.0)
    assert_allclose(algorithms.leaf_posterior(grammar, logs), [[0.0, 1.0, 0.0]] * 2)
    assert_allclose(algorithms.span_posterior(grammar, logs)[0, 1], [1.0, 0.0, 0.0])
    assert_allclose(algorithms.best_trees(grammar, logs)[0], [-1600.0], rtol=1e-14)


def test_the_least_likely_rule_may_be_the_only_one():
    """S -> S S with a probability below the smallest normal number, and of two labels."""
    for p in (1e-310, 1e-250):
        log_p = algorithms.log_likelihood_of(
            catalan_grammar(1 - p)._replace(rules=np.full((1, 1, 1), p)), np.zeros((3, 1))
        )
        assert_allclose(log_p, [np.log(2.0) + 2 * np.log(p)], rtol=1e-12)


@pytest.mark.parametrize("units", [None, "cycles"])
def test_draws_have_the_probabilities_of_their_strings(units):
    grammar, words = random_grammar(3, 5, units=units), categorical(3, 2, 5)
    rng = np.random.RandomState(0)
    n_draws = 20_000
    labels, offsets = algorithms.sample_trees(grammar, n_sentences=n_draws, rng=rng)
    assert (len(offsets), offsets[-1]) == (n_draws + 1, len(labels))
    lengths = np.diff(offsets)
    drawn = (rng.uniform(size=len(labels)) < words[labels, 1]).astype(int)
    log_lengths = algorithms.log_length(grammar, 4)
    for n in range(1, 5):
        p = np.exp(log_lengths[n - 1])
        error = np.sqrt(p * (1 - p) / n_draws)
        assert abs((lengths == n).mean() - p) < 4.5 * error
        strings = np.array(list(product(range(2), repeat=n)))
        rows = np.log(words).T[strings.ravel()]
        log_p = algorithms.log_likelihood_of(grammar, rows, np.arange(0, strings.size + 1, n))
        at = offsets[:-1][lengths == n][:, None] + np.arange(n)
        codes = drawn[at] @ (1 << np.arange(n)[::-1])
        shares = np.bincount(codes, minlength=2**n) / n_draws
        p = np.exp(log_p)
        assert (np.abs(shares - p) < 4.5 * np.sqrt(p * (1 - p) / n_draws)).all()


@pytest.mark.parametrize("n_rows", [1, 7, 5000, 10_000])
def test_a_number_of_rows_is_drawn(n_rows):
    grammar = random_grammar(3, 5)
    rng = np.random.RandomState(n_rows)
    labels, offsets = algorithms.sample_trees(grammar, n_rows=n_rows, rng=rng)
    assert len(labels) == n_rows == offsets[-1]
    assert offsets[0] == 0
    assert (np.diff(offsets) > 0).all()
    first = np.random.RandomState(n_rows)
    again, whole = algorithms.sample_trees(grammar, n_sentences=len(offsets) - 1, rng=first)
    assert_array_equal(again[:n_rows], labels)
    assert_array_equal(whole[:-1], offsets[:-1])


def test_no_sentences():
    grammar = random_grammar(2, 0)
    nothing = np.empty((0, 2)), np.array([0])
    assert algorithms.log_likelihood_of(grammar, *nothing).shape == (0,)
    assert algorithms.predictive(grammar, *nothing).shape == (0,)
    assert algorithms.expect(grammar, *nothing).log_likelihood == 0.0
