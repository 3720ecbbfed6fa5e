"""Forward and backward over sequences, against the sum over every path."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from skvae.chain import recursion
from skvae.chain.segments import segments_of
from tests import hmm_oracles as oracles
from tests.chain.inference import assert_same_inference, expected_inference, inferred
from tests.hmm.problems import left_right, random_chain
from tests.strategies import seeds

BLOCKS = (1, 2, 3, 7, 100)
LONGEST = {1: 12, 2: 9, 3: 6, 4: 5, 5: 4}


@st.composite
def small_chains(draw):
    """(startprob, transmat, log-likelihoods, lengths, weight or None)."""
    seed = draw(seeds)
    rng = np.random.default_rng(seed)
    n_states = draw(st.integers(1, 5))
    start, transmat = random_chain(n_states, seed, zeros=draw(st.sampled_from([0.0, 0.5, 0.8])))
    lengths = draw(st.lists(st.integers(1, LONGEST[n_states]), min_size=1, max_size=4))
    spread = draw(st.sampled_from([0.0, 1.0, 30.0, 500.0]))
    logs = spread * rng.normal(size=(sum(lengths), n_states))
    logs += draw(st.sampled_from([0.0, 1e4, -1e4]))
    logs[rng.random(logs.shape) < draw(st.sampled_from([0.0, 0.3, 0.6]))] = -np.inf
    weight = None
    if draw(st.booleans()):
        weight = np.repeat(rng.uniform(0.1, 3.0, size=len(lengths)), lengths)
    return start, transmat, logs, lengths, weight


def possible(start, transmat, logs, lengths):
    """The same where rows that are impossible after those before them are missing."""
    each = [
        oracles.without_impossible_rows(start, transmat, x) for x in oracles.split(logs, lengths)
    ]
    return np.concatenate([passed for passed, _ in each])


@pytest.mark.parametrize("block", BLOCKS)
@given(problem=small_chains())
def test_inference_is_the_sum_over_every_path(block, problem):
    """Zeros in start and transitions, weights, impossible rows, and every size of block."""
    *chain, weight = problem
    expected = expected_inference(*chain, weight, reference=oracles.enumerate_paths)
    found = inferred(*chain, block, weight)
    # Log-likelihoods of size 1e4 are rounded, and the posteriors with them.
    assert_same_inference(
        found, expected, rtol=1e-9, atol=1e-9 if abs(chain[2]).max() > 99 else 1e-12
    )


@pytest.mark.parametrize("share", [0.0, 2.0])
@pytest.mark.parametrize("block", [2, 7, 100])
@given(problem=small_chains())
def test_dense_and_sparse_products_agree_with_every_path(share, block, problem):
    """Both ways of multiplying give the same, with any share of non-zeros."""
    *chain, weight = problem
    expected = expected_inference(*chain, weight, reference=oracles.enumerate_paths)
    before, recursion.DENSE_SHARE = recursion.DENSE_SHARE, share
    try:
        found = inferred(*chain, block, weight)
    finally:
        recursion.DENSE_SHARE = before
    assert_same_inference(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n_states", [1, 2, 4, 5, 8, 9, 17, 64])
@pytest.mark.parametrize("kind", ["full", "sticky", "left-right", "holes"])
def test_many_states(n_states, kind):
    rng = np.random.default_rng(n_states)
    start, transmat = {
        "full": lambda: random_chain(n_states, 1),
        "sticky": lambda: random_chain(n_states, 1, sticky=50.0),
        "left-right": lambda: left_right(n_states),
        "holes": lambda: random_chain(n_states, 1, zeros=0.9),
    }[kind]()
    lengths = [40, 1, 25, 3]
    logs = rng.normal(scale=3.0, size=(sum(lengths), n_states))
    expected = expected_inference(start, transmat, logs, lengths)
    for block in (5, 64):
        found = inferred(start, transmat, logs, lengths, block)
        assert_same_inference(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("kind", ["full", "left-right", "holes"])
def test_a_long_sequence_is_processed_from_both_ends(kind, n_threads):
    start, transmat = {
        "full": random_chain(6, 3),
        "left-right": left_right(6, stay=0.98),
        "holes": random_chain(6, 3, zeros=0.6),
    }[kind]
    lengths = [211, 5, 97, 1]
    rng = np.random.default_rng(0)
    logs = rng.normal(scale=2.0, size=(sum(lengths), 6))
    weight = np.repeat([2.0, 0.5, 3.0, 1.0], lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    assert len(segments_of(offsets, 10)[1]) == 2  # the case that is meant is met
    expected = expected_inference(start, transmat, logs, lengths, weight)
    found = inferred(start, transmat, logs, lengths, 10, weight, n_threads)
    assert_same_inference(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("place", [0, 3, 52, 53, 104, 105])
@pytest.mark.parametrize("kind", ["in every state", "where the chain can be"])
def test_an_impossible_row_of_a_long_sequence(place, kind):
    """It does not matter from which end the row is reached first."""
    start, transmat = left_right(3, stay=0.97)
    lengths = [106]
    logs = np.random.default_rng(0).normal(size=(106, 3))
    if kind == "in every state":
        logs[place] = -np.inf
    else:
        logs[: place + 1, 2] = -np.inf  # not there yet
        logs[place, :2] = -np.inf
        logs[place, 2] = 0.0
        start, transmat = (
            np.array([0.5, 0.5, 0.0]),
            np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.1, 0.1, 0.8]]),
        )
    expected = expected_inference(start, transmat, logs, lengths)
    found = inferred(start, transmat, logs, lengths, 10)
    assert expected.log_likelihood == -np.inf
    assert np.isfinite(found.smoothed).all()
    assert_same_inference(found, expected, rtol=1e-9, atol=1e-12)


def test_threads_and_blocks_do_not_change_a_bit():
    """The cut depends on the sequences alone."""
    start, transmat = random_chain(5, 0)
    lengths = [50, 3, 400, 17, 200]
    logs = np.random.default_rng(0).normal(size=(sum(lengths), 5))
    one, two = (inferred(start, transmat, logs, lengths, 16, n_threads=n) for n in (1, 2))
    for left, right in zip(one, two, strict=True):
        assert_array_equal(left, right)


@pytest.mark.parametrize("block", [1, 4, 10, 1000])
def test_segments_hold_each_row_once(block):
    for lengths in ([5], [100], [1] * 30, [3, 70, 2, 2, 90, 1], [10, 10, 10]):
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        for halve in (True, False):
            segments, halves = segments_of(offsets, block, halve=halve)
            assert halve or not halves
            rows = [r for u in segments for r in range(u.start, u.stop)]
            rows += [r for pair in halves for u in pair for r in range(u.start, u.stop)]
            assert sorted(rows) == list(range(offsets[-1]))
            assert {u.start for u in segments} <= set(offsets)
