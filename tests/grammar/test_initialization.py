"""Starts of a grammar: merging by value, and starts from which EM reaches the truth."""

import numpy as np
import pytest

from skvae import EMContextFreeGrammar
from skvae.blocks import Sequences, Workers
from skvae.chart.algorithms import expect
from skvae.grammar import initialization
from skvae.grammar.e_step import Sentences
from skvae.grammar.initialization import (
    _chosen_sentences,
    _CodedSentences,
    _Counts,
    _drawn,
    _log_probability,
    _merged_labels,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def palindromes(n_sentences, rng, end=0.3):
    """Return palindromes over 0 and 1, and the brackets of their trees."""
    halves = [rng.integers(2, size=rng.geometric(end)) for _ in range(n_sentences)]
    sentences = [np.concatenate([half, half[::-1]])[:, None] for half in halves]
    brackets = []
    for half in halves:
        n = len(half)
        outer = [(i, 2 * n - 1 - i) for i in range(n)]
        brackets.append(outer + [(i + 1, 2 * n - 1 - i) for i in range(n - 1)])
    return sentences, brackets


def log_likelihood_of_truth(sentences, end=0.3):
    """Return ln p of palindromes under the grammar that draws them, in nats per row."""
    halves = np.array([len(x) // 2 for x in sentences])
    log_p = halves * np.log(0.5) + (halves - 1) * np.log(1 - end) + np.log(end)
    return log_p.sum() / (2 * halves.sum())


class TestMerging:
    def test_log_probability_is_that_of_the_shares(self):
        # 3 roots S → A B, 2 leaves A → 0 and 1 leaf A → 1, 3 leaves B → 1.
        choices = np.array([[0, 1, 2], [1, -1, 0], [1, -1, 1], [2, -1, 1]])
        weight = np.array([3.0, 2.0, 1.0, 3.0])
        separate = 2 * np.log(2 / 3) + np.log(1 / 3)
        assert _log_probability(choices, weight, np.array([0, 1, 2])) == pytest.approx(separate)
        together = 2 * np.log(2 / 6) + 4 * np.log(4 / 6)
        assert _log_probability(choices, weight, np.array([0, 1, 1])) == pytest.approx(together)
        # S and A as one label: it becomes itself and B, 0, or 1.
        root_too = 3 * np.log(3 / 6) + 2 * np.log(2 / 6) + np.log(1 / 6)
        assert _log_probability(choices, weight, np.array([0, 0, 2])) == pytest.approx(root_too)

    def test_labels_that_are_alike_are_merged(self):
        # Labels 1 and 2 are leaves 0, label 3 is a leaf 1 and label 4 is in no tree.
        pairs = [[0, first, 3] for first in (1, 2)]
        choices = np.array([*pairs, [1, -1, 0], [2, -1, 0], [3, -1, 1]])
        weight = np.array([4.0, 5.0, 4.0, 5.0, 9.0])
        label_of = _merged_labels(choices, weight, 5, 3)
        assert label_of[1] == label_of[2]
        assert len({label_of[0], label_of[1], label_of[3]}) == 3
        assert set(label_of) == {0, 1, 2}

    @pytest.mark.parametrize("n_left", [1, 2, 4])
    def test_so_many_labels_are_left(self, n_left, rng):
        choices = np.column_stack([rng.integers(6, size=(9, 2)), rng.integers(6, size=9)])
        label_of = _merged_labels(np.unique(choices, axis=0), np.ones(9), 6, n_left)
        np.testing.assert_array_equal(np.unique(label_of), np.arange(n_left))

    def test_merged_counts_are_those_of_renamed_trees(self, rng):
        counts = _Counts(rng.random(4), rng.random((4, 4, 4)), rng.random((4, 3)))
        label_of = np.array([1, 0, 1, 2])
        rules = np.zeros((3, 3, 3))
        np.add.at(rules, np.ix_(label_of, label_of, label_of), counts.rules)
        merged = counts.merged(label_of)
        np.testing.assert_allclose(merged.rules, rules)
        np.testing.assert_allclose(merged.starts, np.bincount(label_of, counts.starts))
        np.testing.assert_allclose(merged.leaves[1], counts.leaves[0] + counts.leaves[2])

    def test_the_maximum_given_counts(self):
        counts = _Counts(np.array([5.0, 0.0]), np.zeros((2, 2, 2)), np.array([[2.0, 6.0], [0, 4]]))
        counts.rules[0, 1, 1] = 4.0
        rules, table = counts.maximize()
        np.testing.assert_allclose(rules.startprob, [1, 0], atol=0.01)
        np.testing.assert_allclose(rules.leafprob, [2 / 3, 1], atol=0.02)
        np.testing.assert_allclose(table, [[0.25, 0.75], [0, 1]], atol=0.01)
        total = rules.rules.sum(axis=(1, 2)) + rules.leafprob
        np.testing.assert_allclose(total, 1, rtol=1e-14)
        assert min(map(np.min, (rules.startprob, rules.rules, table))) > 0


class TestCodedSentences:
    def test_a_weight_is_a_repetition(self, rng):
        counts = _Counts(rng.random(3), rng.random((3, 3, 3)), rng.random((3, 2)))
        first, second = np.array([0, 1, 1]), np.array([1, 0, -1, 1])
        once = _CodedSentences(
            np.concatenate([first, second]), np.array([0, 3, 7]), None, np.array([2.0, 1.0])
        )
        twice = _CodedSentences(
            np.concatenate([first, first, second]), np.array([0, 3, 6, 10]), None, None
        )
        pool = Workers(1)
        for found, expected in zip(
            once.after_steps(counts, 4, pool)[0], twice.after_steps(counts, 4, pool)[0], strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-10)

    def test_a_row_without_a_code_can_be_any_symbol(self, rng):
        counts = _Counts(rng.random(2), rng.random((2, 2, 2)), rng.random((2, 3)))
        log_p = [
            _CodedSentences(np.array([0, code, 2]), np.array([0, 3]), None, None)
            .infer(expect, counts, Workers(1))
            .log_likelihood
            for code in (0, 1, 2, -1)
        ]
        assert log_p[3] == pytest.approx(np.logaddexp.reduce(log_p[:3]), rel=1e-12)

    def test_sentences_are_chosen_whole(self, monkeypatch):
        lengths = np.array([3, 5, 2, 4])
        offsets = np.concatenate([[0], lengths.cumsum()])
        brackets = [np.array([[0, s]]) for s in range(4)]
        weight = np.repeat([1.0, 2.0, 3.0, 4.0], lengths)
        data = Sentences(Sequences(np.zeros((14, 1)), offsets, weight), brackets)
        monkeypatch.setattr(initialization, "_MOST_WORK", 9 * 4 * 5 + 25 * 4 * 7 + 1)
        places, (kept, chosen, weights) = _chosen_sentences(data, 2, np.random.RandomState(0))
        used = [int(pairs[0, 1]) for pairs in chosen]
        assert 0 < len(used) < 4
        np.testing.assert_array_equal(np.diff(kept), lengths[used])
        np.testing.assert_array_equal(weights, np.add(used, 1.0))
        rows = np.concatenate([np.arange(offsets[s], offsets[s + 1]) for s in used])
        np.testing.assert_array_equal(places, rows)


def test_drawn_labels_have_their_probabilities():
    proba = np.tile([0.2, 0.0, 0.5, 0.3], (20_000, 1)) * 2.0
    shares = np.bincount(_drawn(proba, np.random.RandomState(0)), minlength=4) / 20_000
    np.testing.assert_allclose(shares, [0.2, 0, 0.5, 0.3], atol=0.015)
    assert shares[1] == 0


class TestStarts:
    def test_every_start_reaches_the_truth(self):
        sentences, brackets = palindromes(30, np.random.default_rng(0))
        truth = log_likelihood_of_truth(sentences)
        for seed in range(2):
            grammar = EMContextFreeGrammar(5, random_state=seed).fit(sentences, brackets=brackets)
            assert grammar.lower_bound_ > truth - 0.01

    @pytest.mark.slow
    @pytest.mark.parametrize("data", [0, 1])
    def test_eight_of_eight_starts(self, data):
        rng = np.random.default_rng(data)
        sentences, brackets = palindromes(100, rng, end=0.2)
        held_out, _ = palindromes(100, rng, end=0.2)
        truth = log_likelihood_of_truth(held_out, end=0.2)
        n_rows = sum(map(len, held_out))
        for seed in range(8):
            grammar = EMContextFreeGrammar(5, random_state=seed, tol=1e-5)
            grammar.fit(sentences, brackets=brackets)
            assert grammar.log_likelihood(held_out).sum() / n_rows > truth - 0.0125

    @pytest.mark.slow
    def test_gaussian_leaves(self):
        rng = np.random.default_rng(1)
        symbols, brackets = palindromes(40, rng)
        sentences = [rng.normal(6.0 * x) for x in symbols]
        noise = np.concatenate(sentences) - 6.0 * np.concatenate(symbols)
        truth = log_likelihood_of_truth(symbols)
        truth -= 0.5 * np.log(2 * np.pi) + 0.5 * np.mean(noise**2)
        grammar = EMContextFreeGrammar(5, emission="gaussian", random_state=0)
        grammar.fit(sentences, brackets=brackets)
        assert grammar.lower_bound_ > truth - 0.01

    def test_missing_rows(self):
        sentences, brackets = palindromes(20, np.random.default_rng(2))
        sentences = [x.astype(float) for x in sentences]
        sentences[3][0] = sentences[7][-1] = np.nan
        grammar = EMContextFreeGrammar(5, random_state=0).fit(sentences, brackets=brackets)
        assert grammar.lower_bound_ > log_likelihood_of_truth(sentences) - 0.05

    def test_given_values_are_the_start(self, rng):
        rules = rng.dirichlet(np.ones(10), size=3)[:, :9].reshape(3, 3, 3)
        rules[0, 1, 2] = rules[1] = 0.0
        sentences, _ = palindromes(10, np.random.default_rng(3))
        grammar = EMContextFreeGrammar(3, rules_init=rules, max_iter=0, random_state=0)
        grammar.fit(sentences)
        np.testing.assert_allclose(grammar.rules_, rules, rtol=1e-12)
        grammar.set_params(max_iter=100, tol=1e-2).fit(sentences)
        assert not grammar.rules_[rules == 0].any()

    def test_a_very_long_sentence_has_a_start_without_merging(self, monkeypatch):
        monkeypatch.setattr(initialization, "_MOST_WORK", 10.0)
        monkeypatch.setattr(initialization, "_merged_start", None)  # it would be an error
        sentences, _ = palindromes(10, np.random.default_rng(4))
        grammar = EMContextFreeGrammar(3, random_state=0).fit(sentences)
        assert np.isfinite(grammar.lower_bound_)
