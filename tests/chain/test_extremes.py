"""Where shares underflow, transitions all but vanish, and sequences are very long."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae.chain import algorithms
from tests import hmm_oracles as oracles
from tests.chain.inference import assert_same_inference, expected_inference, inferred
from tests.hmm.problems import left_right, random_chain

BLOCKS = (1, 7, 40, 1000)


def lost_and_won(n_states, n_rows, step, winner):
    """Log-likelihoods under which the winner falls far behind and comes back at the end."""
    logs = np.random.default_rng(0).normal(size=(n_rows, n_states))
    half = n_rows // 2
    logs[:half, winner] -= step
    logs[half:, winner] += 1.5 * step
    return logs


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("step", [3.0, 20.0, 300.0])
@pytest.mark.parametrize("winner", [0, 1, 2])
def test_a_state_that_fell_far_behind_can_win(block, step, winner):
    """Without transitions nothing but its own share can bring a state back: e⁻⁶⁰⁰⁰ counts."""
    start, transmat = np.array([0.2, 0.5, 0.3]), np.eye(3)
    logs = lost_and_won(3, 200, step, winner)
    expected = expected_inference(start, transmat, logs, [200])
    assert expected.smoothed[100, winner] > 0.99
    assert_same_inference(
        inferred(start, transmat, logs, [200], block), expected, rtol=1e-9, atol=1e-10
    )


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("step", [3.0, 20.0, 300.0])
def test_a_left_right_chain_that_stayed_behind(block, step):
    """The first state, improbable for long, is where the chain was all the time."""
    start, transmat = left_right(4, stay=0.9)
    logs = lost_and_won(4, 200, step, 0)
    expected = expected_inference(start, transmat, logs, [200])
    assert expected.smoothed[100, 0] > 0.99
    assert_same_inference(
        inferred(start, transmat, logs, [200], block), expected, rtol=1e-9, atol=1e-10
    )


def test_a_raised_share_does_not_change_the_filter():
    """A share far below the smallest float comes back a long way, not all, and is lost again."""
    start, transmat = np.array([0.5, 0.5]), np.eye(2)
    logs = np.zeros((7, 2))
    logs[:, 0] = [0.0, -600.0, 200.0, 200.0, 100.0, -500.0, -500.0]
    expected = expected_inference(start, transmat, logs, [7])
    assert_same_inference(inferred(start, transmat, logs, [7], 100), expected, atol=1e-12)


@pytest.mark.parametrize("tiny", [1e-25, 1e-35, 1e-120, 1e-300, 5e-324])
@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("block", [3, 1000])
def test_transitions_that_all_but_vanish(tiny, scale, block):
    """They decide as soon as the rows insist, and are not confused with zeros."""
    n_states = 4
    transmat = np.full((n_states, n_states), tiny)
    np.fill_diagonal(transmat, 1.0)
    transmat[0, 3] = transmat[2, 1] = 0.0
    start = np.array([1.0 - 2 * 1e-200, 1e-200, 1e-200, 0.0])
    for seed in range(3):
        logs = scale * np.random.default_rng(seed).normal(size=(60, n_states))
        expected = expected_inference(start, transmat, logs, [41, 19])
        found = inferred(start, transmat, logs, [41, 19], block)
        assert_same_inference(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_wild_problems(seed):
    """Chains with zeros and near-zeros under log-likelihoods of every size, −inf among them."""
    rng = np.random.default_rng(seed)
    n_states = int(rng.integers(2, 9))
    start, transmat = random_chain(n_states, seed, zeros=0.4)
    transmat = transmat ** rng.choice([1.0, 1.0, 50.0, 200.0], size=transmat.shape)
    transmat /= transmat.sum(axis=1, keepdims=True)
    lengths = [70, 1, 30, 150]
    logs = rng.normal(size=(sum(lengths), n_states)) * 10.0 ** rng.uniform(-1, 4, size=(251, 1))
    logs += rng.choice([0.0, 1e4, -1e4], size=(251, 1))
    logs[rng.random(logs.shape) < 0.2] = -np.inf
    expected = expected_inference(start, transmat, logs, lengths)
    for block in (9, 30, 1000):
        found = inferred(start, transmat, logs, lengths, block)
        assert_same_inference(found, expected, rtol=1e-8, atol=1e-7)


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4, 1e100, -1e300])
def test_rows_of_any_size(shift):
    """A constant per row moves the log-likelihood and nothing else."""
    start, transmat = random_chain(3, 0)
    logs = np.random.default_rng(0).normal(size=(50, 3))
    base = inferred(start, transmat, logs, [50], 7)
    moved = inferred(start, transmat, logs + shift, [50], 7)
    assert_allclose(moved.log_likelihood, base.log_likelihood + 50 * shift, rtol=1e-12)
    if abs(shift) < 1e5:
        assert_allclose(moved.smoothed, base.smoothed, rtol=1e-8, atol=1e-11)
    assert_allclose(moved.smoothed.sum(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("n_states", [2, 64])
def test_an_absorbing_state_and_one_that_is_never_visited(n_states):
    start, transmat = random_chain(n_states, 0)
    start[-1] = 0.0
    transmat[:, -1] = 0.0
    transmat[0] = np.eye(n_states)[0]
    transmat[-1] = 1.0 / n_states
    start, transmat = start / start.sum(), transmat / transmat.sum(axis=1, keepdims=True)
    logs = np.random.default_rng(0).normal(size=(60, n_states))
    found = inferred(start, transmat, logs, [60], 7)
    assert_same_inference(
        found, expected_inference(start, transmat, logs, [60]), rtol=1e-9, atol=1e-11
    )
    assert_array_equal(found.smoothed[:, -1], 0.0)
    assert_array_equal(found.pairs[-1], 0.0)


# Long sequences -----------------------------------------------------------------------------------


def long_rows(n_rows, n_states=2, seed=0):
    """Log-likelihoods with a sum that would underflow every float many times over."""
    return np.random.default_rng(seed).normal(-700.0, 3.0, size=(n_rows, n_states))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["mixing", "sticky", "never back"])
def test_a_million_rows_against_long_double(kind):
    """Nothing underflows: ln p is near −7e8, and exact to the last digits."""
    start = np.array([0.6, 0.4])
    transmat = {
        "mixing": np.array([[0.9, 0.1], [0.2, 0.8]]),
        "sticky": np.array([[1 - 1e-6, 1e-6], [1e-7, 1 - 1e-7]]),
        "never back": np.array([[1 - 1e-6, 1e-6], [0.0, 1.0]]),
    }[kind]
    logs = long_rows(1_000_000)
    expected = float(oracles.log_likelihood_by_doubling(start, transmat, logs))
    chain = np.log(start), oracles._log(transmat)
    log_p, filtered = algorithms.predictive(*chain, logs), algorithms.filtered(*chain, logs)
    found = algorithms.smooth(np.log(start), oracles._log(transmat), logs)
    assert -8e8 < expected < -6e8
    assert_allclose(log_p.sum(), expected, rtol=1e-12)
    assert_allclose(found.log_likelihood, expected, rtol=1e-12)
    assert np.isfinite(filtered).all()
    assert_allclose(found.posterior.sum(axis=1), 1.0, rtol=1e-9)
    assert_allclose(found.pairs.sum(), 999_999, rtol=1e-9)
    # Each state is entered as often as it is left, but for the two ends.
    assert_allclose(
        found.pairs.sum(axis=1) + found.posterior[-1], found.posterior.sum(axis=0), rtol=1e-8
    )
    assert_allclose(
        found.pairs.sum(axis=0) + found.posterior[0], found.posterior.sum(axis=0), rtol=1e-8
    )


def test_posteriors_far_inside_a_long_sequence_against_long_double():
    """A window that is long enough to forget its ends gives the same posteriors."""
    start, transmat = np.log([0.6, 0.4]), np.array([[0.9, 0.1], [0.2, 0.8]])
    logs = long_rows(1_000_000)
    found = algorithms.smooth(start, np.log(transmat), logs).posterior
    for middle in (0, 299_999, 500_000, 499_999, 999_999):
        a, b = max(0, middle - 300), min(len(logs), middle + 301)
        first = np.exp(start) if a == 0 else [0.5, 0.5]
        window = oracles.forward_backward(first, transmat, logs[a:b], np.longdouble)
        expected = window.smoothed[middle - a].astype(float)
        assert_allclose(found[middle], expected, rtol=1e-10)


def test_fifty_thousand_rows_one_by_one_against_long_double():
    start, transmat = np.array([0.6, 0.4]), np.array([[0.99, 0.01], [0.03, 0.97]])
    logs = long_rows(50_000)
    b = np.exp((logs - logs.max(axis=1, keepdims=True)).astype(np.longdouble))
    share, log_p = start.astype(np.longdouble), np.empty(len(logs), dtype=np.longdouble)
    filtered = np.empty_like(b)
    for t in range(len(logs)):
        share = b[t] * (share @ transmat if t else share)
        log_p[t] = share.sum()
        share = filtered[t] = share / log_p[t]
    log_p = np.log(log_p) + logs.max(axis=1)
    chain = np.log(start), np.log(transmat)
    assert_allclose(algorithms.predictive(*chain, logs), log_p.astype(float), rtol=1e-13)
    assert_allclose(algorithms.filtered(*chain, logs), filtered.astype(float), rtol=1e-11)
