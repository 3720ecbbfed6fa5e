"""Few rows as one block: the same results as blocks and threads give."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae.chain import algorithms, kernels_scaled, kernels_sequences, one_block
from skvae.chain.batch import ArrayRows
from skvae.chain.passes import Buffers
from skvae.chain.recursion import Recursion
from tests.chain.inference import RecordingRows, every_size_in_threads, in_logs
from tests.hmm.problems import left_right, random_chain

LENGTHS = [40, 1, 25, 3, 90]
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)])
CHAINS = {
    "full": random_chain,
    "left-right": lambda n_states, _seed: left_right(n_states),
    "holes": lambda n_states, seed: random_chain(n_states, seed, zeros=0.7),
    "nearly zero": lambda n_states, seed: (
        random_chain(n_states, seed)[0],
        np.eye(n_states) * (1 - (n_states - 1) * 1e-40) + 1e-40 * (1 - np.eye(n_states)),
    ),
}


def problem(kind, n_states, seed=0, spread=2.0):
    """(start, transmat, log-likelihoods (n_rows, K)), with a row that is impossible."""
    start, transmat = CHAINS[kind](n_states, seed)
    logs = np.random.default_rng(seed).normal(scale=spread, size=(OFFSETS[-1], n_states))
    logs[7, 0] = -np.inf
    logs[50] = -np.inf
    return start, transmat, logs


every_chain = pytest.mark.parametrize("kind", CHAINS)
every_size = pytest.mark.parametrize("n_states", [1, 2, 4, 5, 8, 9, 33])


@every_chain
@every_size
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("spread", [2.0, 600.0])  # with the larger one shares underflow
def test_statistics_are_those_of_blocks(kind, n_states, weighted, spread):
    start, transmat, logs = problem(kind, n_states, spread=spread)
    weight = np.repeat([2.0, 0.5, 3.0, 1.0, 0.1], LENGTHS) if weighted else None
    chain, source = in_logs(start, transmat), RecordingRows(logs, 16)
    with every_size_in_threads():
        expected = algorithms.expect(*chain, lambda: source, OFFSETS, weight=weight)
        log_p = algorithms.predictive(*chain, lambda: source, OFFSETS)
    block = one_block.OneBlock(start, transmat, logs.T, OFFSETS)
    assert_allclose(block.log_p, log_p, rtol=1e-12, atol=1e-12)
    assert_allclose(block.log_likelihood(weight), expected.log_likelihood, rtol=1e-12)
    posterior, starts, pairs = block.smooth(weight)
    assert_allclose(posterior, source.given, rtol=1e-10, atol=1e-14)
    assert_allclose(starts, expected.starts, rtol=1e-12, atol=1e-14)
    assert_allclose(pairs, expected.pairs, rtol=1e-11, atol=1e-14)
    together, total = one_block.smooth(start, transmat, logs.T, OFFSETS, weight)
    assert_allclose(total, expected.log_likelihood, rtol=1e-12)
    assert_allclose(together.posterior, posterior, rtol=1e-12, atol=1e-14)
    assert_allclose(together.starts, starts, rtol=1e-12, atol=1e-14)
    assert_allclose(together.pairs, pairs, rtol=1e-12, atol=1e-14)


@every_chain
@every_size
@pytest.mark.parametrize("logs_of_shares", [False, True])
def test_filtered_posteriors_are_those_of_blocks(kind, n_states, logs_of_shares):
    start, transmat, logs = problem(kind, n_states)
    chain = in_logs(start, transmat)
    with every_size_in_threads():
        expected = algorithms.filtered(
            *chain, lambda: ArrayRows(logs, 16), OFFSETS, logs=logs_of_shares
        )
    found = algorithms.filtered(*chain, logs, OFFSETS, logs=logs_of_shares)
    assert_allclose(found, expected, rtol=1e-11, atol=1e-13)


@every_chain
@every_size
def test_best_paths_are_those_of_blocks(kind, n_states):
    start, transmat, logs = problem(kind, n_states)
    chain = in_logs(start, transmat)
    with every_size_in_threads():
        expected = algorithms.viterbi(*chain, lambda: ArrayRows(logs, 16), OFFSETS)
    found = algorithms.viterbi(*chain, logs, OFFSETS)
    assert_allclose(found[0], expected[0], rtol=1e-13)
    assert_array_equal(found[1], expected[1])


def test_without_offsets_all_rows_are_one_sequence():
    start, transmat, logs = problem("full", 3)
    alone = one_block.OneBlock(start, transmat, logs.T)
    given = one_block.OneBlock(start, transmat, logs.T, np.array([0, len(logs)]))
    assert_array_equal(alone.log_p, given.log_p)
    assert_array_equal(alone.smooth().starts, given.smooth().starts)
    best = one_block.best_path(start, transmat, logs.T)
    assert best[0].shape == (1,)


def test_arguments_stay_as_they_are():
    start, transmat, logs = problem("nearly zero", 4)
    columns = np.ascontiguousarray(logs.T)
    for array in (start, transmat, columns):
        array.setflags(write=False)
    one_block.OneBlock(start, transmat, columns, OFFSETS).smooth()
    one_block.smooth(start, transmat, columns, OFFSETS)
    one_block.best_path(start, transmat, columns, OFFSETS)
    assert_array_equal(columns, logs.T)


@pytest.mark.parametrize("n_states", [9, 12, 33])
@pytest.mark.parametrize("lengths", [[7, 3, 7, 1, 5, 2, 6, 4, 7, 7, 1, 3], [6] * 4, [1] * 20])
@pytest.mark.parametrize("inside", [False, True])  # the block begins inside a sequence
def test_sequences_side_by_side_are_those_one_after_the_other(n_states, lengths, inside):
    rng = np.random.default_rng(n_states)
    n_rows, n = sum(lengths), n_states
    recursion = Recursion(rng.dirichlet(np.ones(n)), rng.dirichlet(np.ones(n), size=n))
    width = len(recursion.start)
    first = one_block.first_rows(n_rows, np.concatenate([[0], np.cumsum(lengths)]))
    first[0] = not inside
    likelihood, begin, weight = np.zeros((n_rows, width)), np.zeros(width), rng.normal(size=n_rows)
    likelihood[:, :n] = rng.uniform(size=(n_rows, n))
    begin[:n] = rng.dirichlet(np.ones(n))
    found = []
    runs = kernels_sequences.runs_of(first)
    assert sorted(map(tuple, runs)) == [
        (a, a + k) for a, k in zip(_begins(lengths), lengths, strict=True)
    ]
    for kernels, more in ((kernels_scaled, ()), (kernels_sequences, (runs,))):
        alpha, scale = np.empty((n_rows + 1, width)), np.empty(n_rows)
        alpha[0] = begin
        v, beta = likelihood.copy(), np.linspace(0.1, 1.0, width)
        gamma = np.empty((n_rows, width))
        assert kernels.forward(
            *more, first, recursion.start, recursion._transitions[0], likelihood, alpha, scale
        )
        backward = getattr(kernels, "backward_dense" if not more else "backward")
        backward(*more, first, recursion._transitions[1], v, alpha, scale, weight, beta, gamma)
        found.append((alpha, scale, v, beta, gamma))
    for one, other in zip(*found, strict=True):
        assert_allclose(one, other, rtol=1e-12, atol=1e-15)


def test_one_long_sequence_is_processed_row_by_row():
    first = one_block.first_rows(100, np.array([0, 60, 80, 100]))
    assert kernels_sequences.runs_of(first) is None


def test_memory_is_used_again():
    start, transmat, logs = problem("full", 5)
    buffers = Buffers()
    for n_rows, offsets in ((159, OFFSETS), (66, OFFSETS[:4]), (159, OFFSETS)):
        memory = buffers.take(n_rows, 8)
        block = one_block.OneBlock(start, transmat, logs[:n_rows].T, offsets, memory=memory)
        expected = one_block.OneBlock(start, transmat, logs[:n_rows].T, offsets)
        assert_array_equal(block.log_p, expected.log_p)
        for one, other in zip(block.smooth(), expected.smooth(), strict=True):
            assert_array_equal(one, other)
        assert block.memory is memory
        buffers.append(memory)
    assert len(buffers) == 1
    assert buffers[0][0].shape == (159, 8)


def _begins(lengths):
    return np.concatenate([[0], np.cumsum(lengths)])[:-1]
