"""Ways to run the chain's passes on arrays, gathered into one shape for comparison."""

from typing import NamedTuple

import numpy as np

from skvae.blocks import workers
from skvae.chain.passes import Pass
from skvae.chain.recursion import Recursion
from skvae.chain.sweep import Sequences, Sweep
from tests import hmm_oracles as oracles


class RowSource:
    """Log-likelihoods of rows (T, K) as a Pass reads them, in arrays of their own."""

    def __init__(self, rows):
        self._rows = np.asarray(rows, dtype=float)

    def log_likelihood(self, start, stop):
        return self._rows[start:stop].T.copy()


class Swept(NamedTuple):
    log_likelihood: float
    starts: np.ndarray
    pairs: np.ndarray
    smoothed: np.ndarray
    log_p: np.ndarray
    filtered: np.ndarray
    forward_only: float


def sweep(start, transmat, logs, lengths, block, weight=None, n_threads=1):
    """Everything a Sweep over some sequences finds."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    work = Sweep(start, transmat, Sequences(offsets), lambda: RowSource(logs), block, weight)
    smoothed, filtered = np.full((2, *logs.shape), np.nan)
    log_p, seen = np.full(len(logs), np.nan), np.zeros(len(logs), dtype=int)

    def see(_found, _source, a, b, gamma):
        smoothed[a:b] = gamma
        seen[a:b] += 1

    def look(a, b, log_p_of_block, alpha):
        log_p[a:b], filtered[a:b] = log_p_of_block, alpha

    with workers(n_threads) as pool:
        sums = work.smooth(pool, see)
        work.filter(pool, look)
        forward_only = work.log_likelihood(pool)
    assert (seen >= 1).all()
    return Swept(
        sums.log_likelihood, sums.starts, sums.pairs, smoothed, log_p, filtered, forward_only
    )


def expected_sweep(start, transmat, logs, lengths, weight=None, reference=oracles.forward_backward):
    """What a Sweep must find, sequence by sequence."""
    sequences = oracles.split(logs, lengths)
    found = [reference(start, transmat, each) for each in sequences]
    share = np.ones(len(logs)) if weight is None else np.asarray(weight)
    by_sequence = share[np.concatenate([[0], np.cumsum(lengths)[:-1]])]
    log_p = np.concatenate([each.log_p for each in found])
    total = sum(
        w * each.log_likelihood for w, each in zip(by_sequence, found, strict=True) if w > 0
    )
    return Swept(
        total,
        sum(w * each.smoothed[0] for w, each in zip(by_sequence, found, strict=True)),
        sum(w * each.pairs for w, each in zip(by_sequence, found, strict=True)),
        share[:, None] * np.concatenate([each.smoothed for each in found]),
        log_p,
        np.concatenate([each.filtered for each in found]),
        total,
    )


def assert_same_sweep(actual, expected, *, rtol=1e-9, atol=1e-12):
    for name, left, right in zip(Swept._fields, actual, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol, err_msg=name)


def passed(unit, start, transmat, logs, first, block, *, log=False, keep=1 << 25):
    """(log_p, filtered, smoothed, pairs) of one unit by a single Pass."""
    run = Pass(unit, Recursion(start, transmat, log=log), RowSource(logs), first, block)
    log_p, filtered, smoothed = np.full(len(logs), np.nan), *np.full((2, *logs.shape), np.nan)

    def look(a, b, log_p_of_block, alpha):
        log_p[a:b], filtered[a:b] = log_p_of_block, alpha

    def see(a, b, gamma):
        smoothed[a:b] = gamma

    run.forward(look, keep=keep)
    pairs = run.backward(see)
    return log_p, filtered, smoothed, pairs
