"""The grammar's benchmarks: their peers against a sum over all trees, and rows of the tables."""

import numpy as np
import pytest
import torch

from benchmarks import run
from benchmarks.grammar import SECTIONS, growth, iteration, parsing, threads
from benchmarks.grammar.contenders import PEERS, SKVAE, Fitted
from benchmarks.grammar.inside_outside import by_autograd, by_hand
from benchmarks.grammar.problem import Problem
from benchmarks.suite import Settings

QUICK = Settings(quick=True)


def _trees(grammar, words, label, first, last):
    """Yield (probability, rules, leaves) of every tree over the words from first to last."""
    if first == last:
        probability = grammar.leafprob[label] * grammar.emission[label, words[first]]
        yield probability, [], [(first, label)]
    for split in range(first, last):
        for (left, right), rule in np.ndenumerate(grammar.rules[label]):
            for p, rules, leaves in _trees(grammar, words, left, first, split):
                for q, others, more in _trees(grammar, words, right, split + 1, last):
                    node = (label, left, right)
                    yield rule * p * q, [node, *rules, *others], [*leaves, *more]


def _counts(grammar, words):
    """Return (starts, rules, leaves, log-likelihood) of a sentence, summed over all its trees."""
    starts, rules = np.zeros_like(grammar.startprob), np.zeros_like(grammar.rules)
    leaves = np.zeros((len(words), len(starts)))
    for label, start in enumerate(grammar.startprob):
        for p, used, ends in _trees(grammar, words, label, 0, len(words) - 1):
            starts[label] += start * p
            for rule in used:
                rules[rule] += start * p
            for leaf in ends:
                leaves[leaf] += start * p
    total = starts.sum()
    return starts / total, rules / total, leaves / total, np.log(total)


def _of_peer(function, grammar, X):
    log_leaf = np.log(grammar.emission.T)[X]
    arrays = (grammar.startprob, grammar.rules, grammar.leafprob, log_leaf)
    return function(*map(torch.from_numpy, arrays))


@pytest.mark.parametrize("peer", [by_autograd, by_hand])
@pytest.mark.parametrize("sizes", [(1, 4, 2), (2, 5, 3), (3, 4, 2), (2, 1, 2)])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_peers_count_as_a_sum_over_all_trees_does(peer, sizes, seed):
    problem = Problem(*sizes)
    grammar, X = problem.start(seed), problem.make(seed)
    starts, rules, leaves, log_likelihood = zip(
        *(_counts(grammar, words) for words in X), strict=True
    )
    found = _of_peer(peer, grammar, X)
    np.testing.assert_allclose(found.starts, sum(starts), rtol=1e-12)
    np.testing.assert_allclose(found.rules, sum(rules), rtol=1e-11)
    np.testing.assert_allclose(found.leaves, leaves, rtol=1e-11)
    assert found.log_likelihood == pytest.approx(sum(log_likelihood), rel=1e-12)


def test_the_peers_agree_on_sentences_with_too_many_trees_for_a_sum():
    problem = Problem(6, 25, 4)
    grammar, X = problem.start(3), problem.make(3)
    one, other = (_of_peer(function, grammar, X) for function in (by_autograd, by_hand))
    assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-13)
    for a, b in zip(one[:3], other[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_long_sentence_does_not_underflow_in_the_scaled_peer():
    problem = Problem(2, 120, 1)
    grammar, X = problem.start(4), problem.make(4)
    found = _of_peer(by_hand, grammar, X)
    assert np.isfinite(found.log_likelihood)
    np.testing.assert_allclose(found.leaves.sum(2), 1.0, rtol=1e-10)
    assert float(found.rules.sum()) == pytest.approx(119, rel=1e-10)


def test_the_grammar_is_a_part_of_the_benchmarks():
    assert "benchmarks.grammar" in run.SUITES
    names = [name for section in SECTIONS for name in section.selected([])]
    assert len(set(names)) == len(names)
    targets = {(p.n_components, p.length, p.n_sentences) for p in iteration.CASES.values()}
    assert {(5, 12, 200), (10, 20, 100), (20, 40, 20)} < targets


@pytest.mark.parametrize("problem", [Problem(3, 5, 6), Problem(4, 9, 3)])
def test_skvae_and_the_peers_take_the_same_steps(problem):
    start, X = problem.start(5), problem.make(5)
    fitted = {
        name: one.fit(one.load(X), start, 3) for name, one in {"skvae": SKVAE, **PEERS}.items()
    }
    assert iteration.differences(fitted) < 1e-12


def test_peers_that_differ_fail():
    one = Fitted(np.full((1, 1, 1), 0.25), -3.0)
    for other in (one._replace(rules=one.rules + 1e-6), one._replace(log_likelihood=-3.1)):
        with pytest.raises(RuntimeError, match="skvae to -3"):
            iteration.differences({"skvae": one, "torch": other})


def test_a_row_of_iterations_has_both_peers():
    [row] = iteration.measure(Problem(2, 4, 5, target=20, lean_target=7), QUICK)
    assert len(row) == len(iteration.SECTION.columns)
    assert row[0] == "2, 4, 3"
    assert row[6:8] == ["–", "–"]  # a quick run is not judged


def test_growth_is_relative_to_the_row_above():
    rows = growth.measure([Problem(2, 3, 3), Problem(2, 6, 3)], QUICK)
    assert [row[4] for row in rows] == ["–", "6.4×"]  # (6³ 2² + 6² 2³) / (3³ 2² + 3² 2³)


@pytest.mark.parametrize("name", ["dense-5-8-10", "toy1-one", "toy1-many", "toy2-one", "toy2-many"])
def test_nltk_and_skvae_find_trees_of_one_probability(name):
    pytest.importorskip("nltk")
    [row] = parsing.measure(parsing.CASES[name], QUICK)
    assert len(row) == len(parsing.SECTION.columns)
    assert float(row[-1]) < 1e-12


def test_nltk_is_not_needed_for_the_other_benchmarks(monkeypatch):
    monkeypatch.setattr(parsing.importlib.util, "find_spec", lambda name: None)
    [row] = parsing.measure(parsing.CASES["toy1-one"], QUICK)
    assert row[0] == "not measured: nltk is not installed"
    assert len(row) == len(parsing.SECTION.columns)


def test_two_threads_are_not_measured_on_one_core(monkeypatch):
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda pid: {0}, raising=False)
    [row] = threads.measure(threads.CASES["5-12-2000"], QUICK)
    assert row[1] == "not measured: the run has 1 thread"
    assert len(row) == len(threads.SECTION.columns)
