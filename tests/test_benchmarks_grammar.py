"""The peers that were written for the grammar's benchmarks, against a sum over all trees."""

import numpy as np
import pytest

from benchmarks.grammar.problem import Problem

torch = pytest.importorskip("torch")


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


@pytest.fixture(params=["by_autograd", "by_hand"])
def peer(request):
    from benchmarks.grammar import inside_outside

    return getattr(inside_outside, request.param)


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
    from benchmarks.grammar.inside_outside import by_autograd, by_hand

    problem = Problem(6, 25, 4)
    grammar, X = problem.start(3), problem.make(3)
    one, other = (_of_peer(function, grammar, X) for function in (by_autograd, by_hand))
    assert one.log_likelihood == pytest.approx(other.log_likelihood, rel=1e-13)
    for a, b in zip(one[:3], other[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


def test_a_long_sentence_does_not_underflow_in_the_scaled_peer():
    from benchmarks.grammar.inside_outside import by_hand

    problem = Problem(2, 120, 1)
    grammar, X = problem.start(4), problem.make(4)
    found = _of_peer(by_hand, grammar, X)
    assert np.isfinite(found.log_likelihood)
    np.testing.assert_allclose(found.leaves.sum(2), 1.0, rtol=1e-10)
    assert float(found.rules.sum()) == pytest.approx(119, rel=1e-10)
