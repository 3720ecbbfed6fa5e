"""The passes over one segment: dense, sparse and in log space, forwards and from the end."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvae.chain import recursion
from skvae.chain.passes import Buffers, SegmentPasses
from skvae.chain.recursion import Recursion, pad
from skvae.chain.segments import Segment
from tests import hmm_oracles as oracles
from tests.chain.inference import passed
from tests.hmm.problems import random_chain

LENGTHS = [4, 1, 9, 30]
N_ROWS = sum(LENGTHS)


def problem(n_states, seed=0, zeros=0.3):
    start, transmat = random_chain(n_states, seed, zeros=zeros)
    logs = np.random.default_rng(seed).normal(scale=2.0, size=(N_ROWS, n_states))
    logs[6, 0] = -np.inf
    return start, transmat, logs


@pytest.mark.parametrize("n_states", [1, 2, 3, 7, 8, 13])
@pytest.mark.parametrize("way", ["dense", "sparse", "log"])
@pytest.mark.parametrize("block", [1, 4, 11, 100])
@pytest.mark.parametrize("zeros", [0.0, 0.3])  # without them nothing is guarded
def test_every_kernel_is_the_textbook_recursion(n_states, way, block, zeros, monkeypatch):
    if way != "log":
        monkeypatch.setattr(recursion, "DENSE_SHARE", {"dense": 0.0, "sparse": 2.0}[way])
    start, transmat, logs = problem(n_states, zeros=zeros if n_states > 1 else 0.0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    log_p, filtered, smoothed, pairs = passed(
        Segment(0, N_ROWS), start, transmat, logs, offsets, block, log=way == "log"
    )
    found = [oracles.forward_backward(start, transmat, x) for x in oracles.split(logs, LENGTHS)]
    assert_allclose(log_p, np.concatenate([each.log_p for each in found]), rtol=1e-10)
    for actual, name in ((filtered, "filtered"), (smoothed, "smoothed")):
        expected = np.concatenate([getattr(each, name) for each in found])
        assert_allclose(actual, expected, rtol=1e-9, atol=1e-13)
        assert_allclose(actual.sum(axis=1), 1.0, rtol=1e-12)
    assert_allclose(pairs, sum(each.pairs for each in found), rtol=1e-9, atol=1e-13)


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("budget", [0, 1 << 12, 1 << 25])
def test_blocks_that_were_not_kept_are_made_again(log, budget):
    """With any budget the backward pass gets the same forward values."""
    start, transmat, logs = problem(3)
    logs = np.concatenate([logs] * 6)
    whole = Segment(0, len(logs))
    offsets = [0, 100, len(logs)]
    found = passed(whole, start, transmat, logs, offsets, 7, log=log, keep=budget)
    halves = [oracles.forward_backward(start, transmat, x) for x in (logs[:100], logs[100:])]
    assert_allclose(
        found[2], np.concatenate([each.smoothed for each in halves]), rtol=1e-9, atol=1e-13
    )
    assert_allclose(found[3], sum(each.pairs for each in halves), rtol=1e-9, atol=1e-13)


def test_a_reversed_segment_gives_the_message_from_its_end():
    """ψ_t = b_t β_t by the forward recursion of the reversed rows under the transpose."""
    _, transmat, logs = problem(4)
    n_states = 4
    backwards = Recursion(np.ones(n_states), np.ascontiguousarray(transmat.T))
    segment = Segment(10, N_ROWS, reverse=True)
    passes = SegmentPasses(segment, backwards, np.array([0, N_ROWS]), 5, Buffers())
    for index, (start, stop) in enumerate(passes.blocks):
        assert passes.forward(index, logs[start:stop].T.copy()) is not None
    rows = logs[10:]
    psi = np.exp(rows[-1])
    for row in rows[-2::-1]:
        psi = np.exp(row) * (transmat @ psi)
    assert_allclose(passes.messages[-1][0][:n_states], psi / psi.sum(), rtol=1e-10)
    assert passes.blocks[0] == (N_ROWS - 5, N_ROWS)
    assert passes.blocks[-1][0] == 10


def test_underflow_is_found_and_not_hidden():
    """A normaliser that vanishes is a matter for log space, where it is exact."""
    transmat = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    start = np.array([1.0, 0.0, 0.0])
    logs = np.array([[0.0, 0.0, 0.0], [-900.0, -901.0, 0.0], [0.0, 0.0, 0.0]])
    whole = Segment(0, 3)
    assert passed(whole, start, transmat, logs, [0, 3], 10) is None
    log_p, filtered, smoothed, _ = passed(whole, start, transmat, logs, [0, 3], 10, log=True)
    expected = oracles.enumerate_paths(start, transmat, logs)
    assert_allclose(log_p, expected.log_p, rtol=1e-12, atol=1e-12)
    assert_allclose(filtered, expected.filtered, rtol=1e-12)
    assert_allclose(smoothed, expected.smoothed, rtol=1e-12)


@pytest.mark.parametrize("n_states", range(1, 20))
def test_padding_is_of_whole_fours(n_states):
    size = len(pad(np.ones(n_states)))
    assert size % 4 == 0
    assert n_states <= size < n_states + 4
    padded = pad(np.ones((n_states, n_states)), -1.0)
    assert padded.shape == (size, size)
    assert (padded == 1).sum() == n_states**2
    assert pad(np.ones(n_states)).sum() == n_states
