"""Chains whose transitions change from row to row, against one matrix, and against all paths."""

import itertools

import numpy as np
import pytest

from skvae.chain import algorithms, varying
from skvae.chain.varying import VaryingBlock, best_paths

OFFSETS = np.array([0, 1, 6, 25])


def _problem(seed, n_states, *, spread=2.0, scale=3.0):
    rng = np.random.default_rng(seed)
    start = rng.dirichlet(np.ones(n_states))
    logs = spread * rng.normal(size=(OFFSETS[-1], n_states, n_states))
    logs -= np.logaddexp.reduce(logs, axis=2, keepdims=True)
    return np.log(start), logs, scale * rng.normal(size=(OFFSETS[-1], n_states))


@pytest.mark.parametrize("n_states", [1, 2, 5, 8, 11])
def test_equal_matrices_are_one_matrix(n_states):
    log_start, logs, rows = _problem(n_states, n_states)
    block = VaryingBlock(log_start, np.repeat(logs[:1], len(rows), axis=0), rows, OFFSETS)
    expected = algorithms.smooth(log_start, logs[0], rows, OFFSETS)
    np.testing.assert_allclose(
        block.log_p, algorithms.predictive(log_start, logs[0], rows, OFFSETS), atol=1e-12
    )
    np.testing.assert_allclose(
        block.filtered(), algorithms.filtered(log_start, logs[0], rows, OFFSETS), atol=1e-12
    )
    found = block.smooth()
    np.testing.assert_allclose(found.posterior, expected.posterior, atol=1e-12)
    np.testing.assert_allclose(found.pairs.sum(axis=0), expected.pairs, atol=1e-12)
    log_probs, paths = best_paths(log_start, np.repeat(logs[:1], len(rows), axis=0), rows, OFFSETS)
    expected = algorithms.viterbi(log_start, logs[0], rows, OFFSETS)
    np.testing.assert_allclose(log_probs, expected[0], atol=1e-12)
    np.testing.assert_array_equal(paths, expected[1])


def _all_paths(log_start, logs, rows):
    """Return (paths, ln p(path, x)) of one short sequence."""
    paths = np.array(list(itertools.product(range(rows.shape[1]), repeat=len(rows))))
    log_p = log_start[paths[:, 0]] + rows[np.arange(len(rows)), paths].sum(axis=1)
    for t in range(1, len(rows)):
        log_p = log_p + logs[t, paths[:, t - 1], paths[:, t]]
    return paths, log_p


@pytest.mark.parametrize("spread", [1.0, 40.0, 400.0])
@pytest.mark.parametrize("seed", range(3))
def test_sums_and_maxima_over_all_paths(seed, spread):
    log_start, logs, rows = _problem(seed, 3, spread=spread, scale=20.0)
    logs, rows = logs[:6], rows[:6]
    logs[2, 0, 1] = -np.inf
    rows[3, 2] = -np.inf
    paths, log_p = _all_paths(log_start, logs, rows)
    total = np.logaddexp.reduce(log_p)
    block = VaryingBlock(log_start, logs, rows, np.array([0, 6]))
    np.testing.assert_allclose(block.log_p.sum(), total, rtol=1e-12)
    smoothing = block.smooth()
    proba = np.exp(log_p - total)
    expected = np.array([[proba[paths[:, t] == k].sum() for k in range(3)] for t in range(6)])
    np.testing.assert_allclose(smoothing.posterior, expected, atol=1e-12)
    np.testing.assert_allclose(smoothing.starts, expected[0], atol=1e-12)
    for t, i, j in itertools.product(range(1, 6), range(3), range(3)):
        pair = proba[(paths[:, t - 1] == i) & (paths[:, t] == j)].sum()
        np.testing.assert_allclose(smoothing.pairs[t, i, j], pair, atol=1e-12)
    assert (smoothing.pairs[0] == 0).all()
    log_probs, path = best_paths(log_start, logs, rows, np.array([0, 6]))
    np.testing.assert_allclose(log_probs, log_p.max(), rtol=1e-12)
    np.testing.assert_array_equal(path, paths[log_p.argmax()])


def test_a_share_that_underflows_and_matters_later():
    # After 40 rows the second state has the share e^-1200; the last row is possible in it alone.
    n = 40
    logs = np.tile(np.log([[0.5, 0.5], [1.0, 1.0]]), (n, 1, 1))
    logs[:] = np.array([[np.log(0.5), -np.inf], [-np.inf, np.log(0.5)]])
    rows = np.zeros((n, 2))
    rows[:, 1] = -30.0
    rows[-1] = [-np.inf, 0.0]
    block = VaryingBlock(np.log([0.5, 0.5]), logs, rows, np.array([0, n]))
    np.testing.assert_allclose(block.log_p.sum(), n * np.log(0.5) - 30.0 * (n - 1), rtol=1e-13)
    np.testing.assert_allclose(block.smooth().posterior[:, 1], 1.0)


def test_an_impossible_row_is_passed_over():
    log_start, logs, rows = _problem(0, 3)
    rows[3] = -np.inf
    block = VaryingBlock(log_start, logs, rows, OFFSETS)
    assert block.log_p[3] == -np.inf
    assert np.isfinite(np.delete(block.log_p, 3)).all()
    missing = rows.copy()
    missing[3] = 0.0
    expected = VaryingBlock(log_start, logs, missing, OFFSETS).smooth()
    found = block.smooth()
    np.testing.assert_allclose(found.posterior, expected.posterior, atol=1e-14)
    np.testing.assert_allclose(found.pairs, expected.pairs, atol=1e-14)
    log_probs, _ = best_paths(log_start, logs, rows, OFFSETS)
    np.testing.assert_array_equal(np.isfinite(log_probs), [True, False, True])


def test_rows_weigh_their_posteriors():
    log_start, logs, rows = _problem(1, 4)
    weight = np.repeat([1.0, -2.0, 0.5], np.diff(OFFSETS))
    found = VaryingBlock(log_start, logs, rows, OFFSETS).smooth(weight)
    plain = VaryingBlock(log_start, logs, rows, OFFSETS).smooth()
    np.testing.assert_allclose(found.posterior, weight[:, None] * plain.posterior)
    np.testing.assert_allclose(found.pairs, weight[:, None, None] * plain.pairs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_parts_of_the_rows_are_all_rows(monkeypatch, dtype):
    log_start, logs, rows = _problem(2, 5)
    logs = logs.astype(dtype)
    together = VaryingBlock(log_start, logs, rows, OFFSETS)
    expected = together.smooth()
    monkeypatch.setattr(varying, "_PART_NUMBERS", 100)  # four rows
    block = VaryingBlock(log_start, logs, rows, OFFSETS)
    np.testing.assert_array_equal(block.log_p, together.log_p)
    found = block.smooth()
    assert found.pairs.dtype == dtype
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
