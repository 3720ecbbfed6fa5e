"""First states of latent rows: the best of several starts."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.metrics import normalized_mutual_info_score

from skvae.chain import algorithms
from skvae.deep_chain import state_prior
from skvae.deep_chain.state_prior import LatentRows, fit_states


def shifted_sequences(seed, n_sequences=15, n_steps=160):
    """Return LatentRows of six states in a plane, shifted by sequence, and the states.

    The shifts of sequences are mostly along a third axis; some rows are unseen.
    """
    rng = np.random.default_rng(seed)
    path = np.repeat(rng.integers(6, size=n_sequences * n_steps // 4), 4)
    places = np.column_stack([np.arange(6) % 3, np.arange(6) // 3, np.zeros(6)])
    means = places[path] + 0.1 * rng.normal(size=(len(path), 3))
    for axis, reach in ((2, 1.0), (0, 0.2)):
        shifts = reach * rng.uniform(-1, 1, size=n_sequences)
        means[:, axis] += np.repeat(shifts, n_steps)
    seen = rng.uniform(size=len(path)) > 0.05
    means[~seen] = 1e6
    offsets = np.arange(n_sequences + 1) * n_steps
    return LatentRows(means, np.full(means.shape, 0.01), seen, offsets), path


def agreement(chain, rows, path):
    """Return the normalised mutual information of the most probable path and the true one."""
    log_chain = chain.log_start, chain.log_transmat
    _, found = algorithms.viterbi(*log_chain, chain.scores(rows), rows.offsets)
    return normalized_mutual_info_score(path, found)


@pytest.mark.parametrize("seed", range(2))
def test_states_of_shifted_sequences(seed, monkeypatch):
    """Starts of rows less their sequence's mean find states that clusters of rows do not."""
    rows, path = shifted_sequences(seed)
    chain = fit_states(rows, 6, seed=seed)
    monkeypatch.setattr(state_prior, "_SHIFTED_STARTS", 0)
    clusters = fit_states(rows, 6, seed=seed)
    assert chain.bound(rows) > clusters.bound(rows) + 0.01
    assert agreement(chain, rows, path) > 0.95  # unseen rows have no density of their own
    assert agreement(clusters, rows, path) < 0.85


def test_one_sequence_has_no_shift(monkeypatch):
    rows, _ = shifted_sequences(0, 1)
    chain = fit_states(rows, 3, seed=0)
    monkeypatch.setattr(state_prior, "_SHIFTED_STARTS", 0)
    for one, other in zip(chain, fit_states(rows, 3, seed=0), strict=True):
        assert_array_equal(one, other)
