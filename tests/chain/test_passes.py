"""One pass over one unit: dense, sparse and in log space, forwards and from the end."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvae.chain import recursion
from skvae.chain.passes import Pass, Underflow, Unit
from skvae.chain.recursion import Recursion, pad, padded_size
from skvae.chain.sweep import Sequences
from tests import hmm_oracles as oracles
from tests.chain.sweeps import RowSource, passed
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
    first = Sequences(np.concatenate([[0], np.cumsum(LENGTHS)])).first
    unit = Unit(0, N_ROWS)
    log_p, filtered, smoothed, pairs = passed(
        unit, start, transmat, logs, first, block, log=way == "log"
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
    """Whatever the budget, the backward pass sees the same forward values."""
    start, transmat, logs = problem(3)
    logs = np.concatenate([logs] * 6)
    first = np.zeros(len(logs), dtype=bool)
    first[[0, 100]] = True
    found = passed(Unit(0, len(logs)), start, transmat, logs, first, 7, log=log, keep=budget)
    halves = [oracles.forward_backward(start, transmat, x) for x in (logs[:100], logs[100:])]
    assert_allclose(
        found[2], np.concatenate([each.smoothed for each in halves]), rtol=1e-9, atol=1e-13
    )
    assert_allclose(found[3], sum(each.pairs for each in halves), rtol=1e-9, atol=1e-13)


def test_a_reversed_unit_gives_the_message_from_its_end():
    """ψ_t = b_t β_t by the forward recursion of the reversed rows under the transpose."""
    _, transmat, logs = problem(4)
    n_states = 4
    backwards = Recursion(np.ones(n_states), np.ascontiguousarray(transmat.T))
    unit = Unit(10, N_ROWS, reverse=True)
    first = np.zeros(N_ROWS, dtype=bool)
    run = Pass(unit, backwards, RowSource(logs), first, 5)
    seen = []
    run.forward(lambda a, b, log_p, alpha: seen.append((a, b)))
    rows = logs[10:]
    psi = np.exp(rows[-1])
    for row in rows[-2::-1]:
        psi = np.exp(row) * (transmat @ psi)
    assert_allclose(run.message[:n_states], psi / psi.sum(), rtol=1e-10)
    assert seen[0] == (N_ROWS - 5, N_ROWS)
    assert seen[-1][0] == 10


def test_underflow_is_raised_and_not_hidden():
    """A normaliser that vanishes is a matter for log space, where it is exact."""
    transmat = np.array([[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    start = np.array([1.0, 0.0, 0.0])
    logs = np.array([[0.0, 0.0, 0.0], [-900.0, -901.0, 0.0], [0.0, 0.0, 0.0]])
    first = np.array([True, False, False])
    with pytest.raises(Underflow):
        passed(Unit(0, 3), start, transmat, logs, first, 10)
    log_p, filtered, smoothed, _ = passed(Unit(0, 3), start, transmat, logs, first, 10, log=True)
    expected = oracles.enumerate_paths(start, transmat, logs)
    assert_allclose(log_p, expected.log_p, rtol=1e-12, atol=1e-12)
    assert_allclose(filtered, expected.filtered, rtol=1e-12)
    assert_allclose(smoothed, expected.smoothed, rtol=1e-12)


@pytest.mark.parametrize("n_states", range(1, 20))
def test_padding_is_of_whole_fours(n_states):
    size = padded_size(n_states)
    assert size % 4 == 0
    assert n_states <= size < n_states + 4
    padded = pad(np.ones((n_states, n_states)), -1.0)
    assert padded.shape == (size, size)
    assert (padded == 1).sum() == n_states**2
    assert pad(np.ones(n_states)).sum() == n_states
