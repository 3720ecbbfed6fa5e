"""Single paths: the best, the k best, draws, their entropy; and forecasts."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skvae.blocks import workers
from skvae.chain import algorithms, recursion
from skvae.chain.batch import ArrayRows
from tests import hmm_oracles as oracles
from tests.chain.inference import every_size_in_threads
from tests.hmm.problems import left_right, random_chain
from tests.strategies import seeds

LONGEST = {1: 10, 2: 8, 3: 6, 4: 5, 5: 4}


@st.composite
def one_sequence(draw):
    """(startprob, transmat, log-likelihoods) of a few rows, with zeros and −inf."""
    seed = draw(seeds)
    rng = np.random.default_rng(seed)
    n_states = draw(st.integers(1, 5))
    start, transmat = random_chain(n_states, seed, zeros=draw(st.sampled_from([0.0, 0.5])))
    n_rows = draw(st.integers(1, LONGEST[n_states]))
    logs = draw(st.sampled_from([0.3, 3.0, 300.0])) * rng.normal(size=(n_rows, n_states))
    logs[rng.random(logs.shape) < draw(st.sampled_from([0.0, 0.2]))] = -np.inf
    return start, transmat, logs + draw(st.sampled_from([0.0, 1e4, -1e4]))


def in_logs(start, transmat, logs):
    with np.errstate(divide="ignore"):
        return np.log(start), np.log(transmat), logs


def log_joint(start, transmat, logs, path):
    """ln p(path, x) of one path."""
    log_start, log_transmat, _ = in_logs(start, transmat, logs)
    steps = log_transmat[path[:-1], path[1:]].sum()
    return log_start[path[0]] + steps + logs[np.arange(len(path)), path].sum()


@given(one_sequence())
def test_smoothing_and_filtering_are_sums_over_paths(problem):
    expected = oracles.enumerate_paths(*problem)
    found = algorithms.smooth(*in_logs(*problem))
    assert_allclose(found.log_likelihood, expected.log_likelihood, rtol=1e-11)
    assert_allclose(found.posterior, expected.smoothed, rtol=1e-8, atol=1e-10)
    assert_allclose(found.pairs, expected.pairs, rtol=1e-8, atol=1e-10)
    log_p = algorithms.predictive(*in_logs(*problem))
    alpha = algorithms.filtered(*in_logs(*problem))
    assert_allclose(log_p, expected.log_p, rtol=1e-9, atol=1e-8)
    assert_allclose(alpha, expected.filtered, rtol=1e-8, atol=1e-10)


@given(one_sequence())
def test_the_best_path_is_the_best_of_all(problem):
    log_prob, path = algorithms.viterbi(*in_logs(*problem))
    possible, _ = oracles.without_impossible_rows(*problem)
    best, paths = oracles.every_path(problem[0], problem[1], possible).best(2)
    if (oracles.without_impossible_rows(*problem)[1]).any():
        assert log_prob == -np.inf
    else:
        assert_allclose(log_prob, best[0], rtol=1e-12)
    assert_allclose(log_joint(problem[0], problem[1], possible, path), best[0], rtol=1e-12)
    if len(best) == 1 or best[0] - best[1] > 1e-8:
        assert_array_equal(path, paths[0])


@pytest.mark.parametrize("k", [1, 2, 5, 1000])
@given(problem=one_sequence())
def test_the_k_best_paths_are_the_best_of_all(k, problem):
    log_probs, paths = algorithms.k_best(*in_logs(*problem), k)
    expected, _ = oracles.every_path(*problem).best(k)
    assert_allclose(log_probs, expected, rtol=1e-11, atol=1e-11)
    assert paths.shape == (len(expected), len(problem[2]))
    assert len(np.unique(paths, axis=0)) == len(paths)  # each once
    assert_allclose([log_joint(*problem, path) for path in paths], log_probs, rtol=1e-11, atol=1e-9)


def test_the_k_best_of_a_long_sequence_begin_with_the_best():
    start, transmat = random_chain(4, 0)
    logs = np.random.default_rng(0).normal(size=(500, 4))
    log_probs, paths = algorithms.k_best(*in_logs(start, transmat, logs), 6)
    log_prob, path = algorithms.viterbi(*in_logs(start, transmat, logs))
    assert_allclose(log_probs[0], log_prob, rtol=1e-12)
    assert_array_equal(paths[0], path)
    assert (np.diff(log_probs) <= 0).all()
    assert len(np.unique(paths, axis=0)) == 6
    for value, each in zip(log_probs, paths, strict=True):
        assert_allclose(log_joint(start, transmat, logs, each), value, rtol=1e-12)


@pytest.mark.parametrize("share", [0.0, 2.0])
@pytest.mark.parametrize("block", [1, 3, 50, 1000])
@pytest.mark.parametrize("kind", ["full", "left-right", "holes", "identity"])
def test_best_paths_of_sequences_in_blocks(share, block, kind, monkeypatch):
    """Dense or sparse, in blocks of any size: the path of each sequence alone."""
    monkeypatch.setattr(recursion, "DENSE_SHARE", share)
    n_states = 7
    start, transmat = {
        "full": random_chain(n_states, 0),
        "left-right": left_right(n_states),
        "holes": random_chain(n_states, 0, zeros=0.7),
        "identity": (np.full(n_states, 1 / n_states), np.eye(n_states)),
    }[kind]
    lengths = [30, 1, 110, 4]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    logs = np.random.default_rng(1).normal(scale=2.0, size=(offsets[-1], n_states))
    chain = in_logs(start, transmat, logs)[:2]
    with every_size_in_threads(), workers() as pool:
        log_probs, states = algorithms.viterbi(
            *chain, lambda: ArrayRows(logs, block), offsets, pool=pool
        )
    for s, (a, b) in enumerate(pairwise(offsets)):
        log_prob, path = textbook_viterbi(start, transmat, logs[a:b])
        assert_array_equal(states[a:b], path)
        assert_allclose(log_probs[s], log_prob, rtol=1e-12)


def textbook_viterbi(start, transmat, logs):
    """(log-probability, path) with pointers, step by step."""
    log_start, log_transmat, _ = in_logs(start, transmat, logs)
    score, pointers = log_start + logs[0], []
    for row in logs[1:]:
        ways = score[:, None] + log_transmat
        pointers.append(ways.argmax(axis=0))
        score = ways.max(axis=0) + row
    path = [int(score.argmax())]
    for pointer in reversed(pointers):
        path.append(int(pointer[path[-1]]))
    return score.max(), np.array(path[::-1])


def test_a_best_path_passes_over_impossible_rows():
    start, transmat = random_chain(3, 0)
    logs = np.random.default_rng(0).normal(size=(20, 3))
    logs[7] = -np.inf
    log_prob, path = algorithms.viterbi(*in_logs(start, transmat, logs))
    assert log_prob == -np.inf
    logs[7] = 0.0
    assert_array_equal(path, algorithms.viterbi(*in_logs(start, transmat, logs))[1])


def test_no_path_among_the_k_best_is_impossible():
    start, transmat = left_right(3)
    logs = np.zeros((2, 3))
    log_probs, paths = algorithms.k_best(*in_logs(start, transmat, logs), 100)
    assert_array_equal(paths, [[0, 0], [0, 1]])
    assert_allclose(np.exp(log_probs), [0.7, 0.3])
    logs[1] = -np.inf
    log_probs, paths = algorithms.k_best(*in_logs(start, transmat, logs), 3)
    assert log_probs.shape == (0,)
    assert paths.shape == (0, 2)


# Draws --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("zeros", [0.0, 0.5])
def test_draws_have_the_frequencies_of_the_posterior_over_paths(seed, zeros):
    n_draws = 20_000
    start, transmat = random_chain(3, seed, zeros=zeros)
    logs = np.random.default_rng(seed).normal(size=(4, 3))
    draws = algorithms.sample_paths(
        *in_logs(start, transmat, logs), n_draws=n_draws, rng=np.random.RandomState(seed)
    )
    every = oracles.every_path(start, transmat, logs)
    p = every.probabilities()
    counts = np.bincount(draws @ 3 ** np.arange(3, -1, -1), minlength=81)
    assert_array_equal(every.paths @ 3 ** np.arange(3, -1, -1), np.arange(81))
    assert (counts[p == 0] == 0).all()
    some = p > 0
    z = (counts[some] - n_draws * p[some]) / np.sqrt(n_draws * p[some] * (1 - p[some]) + 1)
    assert abs(z).max() < 4.5


@given(one_sequence())
def test_every_draw_is_possible(problem):
    possible, _ = oracles.without_impossible_rows(*problem)
    problem = problem[0], problem[1], possible
    draws = algorithms.sample_paths(*in_logs(*problem), n_draws=50, rng=np.random.RandomState(0))
    for path in draws:
        assert log_joint(*problem, path) > -np.inf


@pytest.mark.parametrize("winner", [0, 1, 2])
def test_draws_where_the_filter_has_lost_the_winner(winner):
    """Nobody believed in the winner for long: still it is drawn, at every row."""
    start, transmat = np.full(3, 1 / 3), np.eye(3)
    logs = np.zeros((200, 3))
    logs[:100, winner] = -20.0
    logs[100:, winner] = 30.0
    arguments = in_logs(start, transmat, logs)
    draws = algorithms.sample_paths(*arguments, n_draws=20, rng=np.random.RandomState(0))
    assert_array_equal(draws, winner)


def test_draws_of_a_left_right_chain_that_stayed_behind():
    """Where the chain was is known at the end only; no draw goes back in time."""
    start, transmat = left_right(5, stay=0.9)
    logs = np.zeros((200, 5))
    logs[:100, 0] = -20.0
    logs[100:, 0] = 30.0
    logs[199] = [-np.inf, 0.0, -1.0, -2.0, -3.0]
    arguments = in_logs(start, transmat, logs)
    for path in algorithms.sample_paths(*arguments, n_draws=20, rng=np.random.RandomState(0)):
        assert log_joint(start, transmat, logs, path) > -np.inf
        assert_array_equal(path[:199], 0)
        assert path[199] == 1


def test_draws_through_transitions_that_all_but_vanish():
    transmat = np.array([[1.0, 1e-300, 0.0], [0.0, 1.0, 1e-300], [0.0, 0.0, 1.0]])
    logs = np.array([[0.0, 0.0, 0.0], [0.0, -1.0, 0.0], [-np.inf, -np.inf, 0.0]])
    arguments = in_logs(np.array([1.0, 0.0, 0.0]), transmat, logs)
    draws = algorithms.sample_paths(*arguments, n_draws=5, rng=np.random.RandomState(0))
    assert_array_equal(draws, [[0, 1, 2]] * 5)


# Forecasts ----------------------------------------------------------------------------------------


def test_forecasts_are_powers_of_the_matrix():
    start, transmat = random_chain(4, 0)
    found = algorithms.forecast(start, transmat, 5)
    for h in range(5):
        expected = start @ np.linalg.matrix_power(transmat, h + 1)
        assert_allclose(found[h], expected, rtol=1e-12)


@pytest.mark.parametrize("zeros", [0.0, 0.6])
def test_a_draw_of_the_chain_has_the_chain_s_frequencies(zeros):
    start, transmat = random_chain(4, 1, zeros=zeros)
    rng = np.random.RandomState(0)
    first = np.array([algorithms.sample_chain(start, transmat, 1, rng)[0] for _ in range(4000)])
    p = np.bincount(first, minlength=4) / 4000
    assert abs(p - start).max() < 4 * 0.5 / np.sqrt(4000)
    path = algorithms.sample_chain(start, transmat, 40_000, rng)
    pairs = np.zeros((4, 4))
    np.add.at(pairs, (path[:-1], path[1:]), 1)
    assert (pairs[transmat == 0] == 0).all()
    for i in np.flatnonzero(pairs.sum(axis=1) > 100):
        error = np.sqrt(transmat[i] * (1 - transmat[i]) / pairs[i].sum())
        assert (abs(pairs[i] / pairs[i].sum() - transmat[i]) <= 4.5 * error + 1e-12).all()
