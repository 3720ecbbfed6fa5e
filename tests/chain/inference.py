"""Ways to run the chain's algorithms on arrays, gathered into one shape for comparison."""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from skvae.blocks import workers
from skvae.chain import algorithms, segments
from skvae.chain.batch import ArrayRows
from skvae.chain.passes import Buffers, SegmentPasses
from skvae.chain.recursion import LogRecursion, Recursion, SingleState
from tests import hmm_oracles as oracles


class RecordingRows(ArrayRows):
    """Log-likelihoods of rows (T, K) in blocks, which record the posteriors they are given."""

    def __init__(self, rows, block_rows):
        super().__init__(np.asarray(rows, dtype=float), block_rows)
        self.given = np.full(np.shape(rows), np.nan)

    def sums(self):
        return np.zeros(self.given.shape[1])

    def block(self, start, stop):
        return _RecordingBlock(self, start, stop)


class _RecordingBlock:
    def __init__(self, rows, start, stop):
        self.rows, self.where = rows, slice(start, stop)

    def log_density(self):
        return self.rows._rows[self.where].T.copy()

    def accumulate(self, sums, resp):
        self.rows.given[self.where] = resp.T
        sums += resp.sum(axis=1)


class Inferred(NamedTuple):
    log_likelihood: float
    starts: np.ndarray
    pairs: np.ndarray
    smoothed: np.ndarray
    log_p: np.ndarray
    filtered: np.ndarray
    forward_only: float


def inferred(start, transmat, logs, lengths, block, weight=None, n_threads=1):
    """All statistics and posteriors of some sequences, by the public functions."""
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    chain = in_logs(start, transmat)
    source = RecordingRows(logs, block)

    def read():
        return source

    with every_size_in_threads(), workers(n_threads) as pool:
        sums = algorithms.expect(*chain, read, offsets, weight=weight, pool=pool)
        log_p = algorithms.predictive(*chain, read, offsets, pool=pool)
        filtered = algorithms.filtered(*chain, read, offsets, pool=pool)
        forward_only = algorithms.log_likelihood_of(*chain, read, offsets, weight=weight, pool=pool)
        smoothed = algorithms.smooth(*chain, read, offsets, pool=pool)
    share = 1.0 if weight is None else weight[:, None]
    np.testing.assert_allclose(smoothed.posterior * share, source.given, rtol=1e-9, atol=1e-300)
    np.testing.assert_allclose(sums.emission, source.given.sum(axis=0), rtol=1e-9)
    return Inferred(
        sums.log_likelihood, sums.starts, sums.pairs, source.given, log_p, filtered, forward_only
    )


def in_logs(*arrays):
    """The logs of arrays, without a warning where they are zero."""
    with np.errstate(divide="ignore"):
        return tuple(np.log(array) for array in arrays)


@contextmanager
def every_size_in_threads():
    """Let threads take small problems too."""
    before = segments._WORTH_THREADS, segments._ONE_BLOCK_NUMBERS
    segments._WORTH_THREADS = segments._ONE_BLOCK_NUMBERS = 0
    try:
        yield
    finally:
        segments._WORTH_THREADS, segments._ONE_BLOCK_NUMBERS = before


def expected_inference(
    start, transmat, logs, lengths, weight=None, reference=oracles.forward_backward
):
    """The same by a reference, sequence by sequence."""
    sequences = oracles.split(logs, lengths)
    found = [reference(start, transmat, each) for each in sequences]
    share = np.ones(len(logs)) if weight is None else np.asarray(weight)
    by_sequence = share[np.concatenate([[0], np.cumsum(lengths)[:-1]])]
    log_p = np.concatenate([each.log_p for each in found])
    total = sum(
        w * each.log_likelihood for w, each in zip(by_sequence, found, strict=True) if w > 0
    )
    return Inferred(
        total,
        sum(w * each.smoothed[0] for w, each in zip(by_sequence, found, strict=True)),
        sum(w * each.pairs for w, each in zip(by_sequence, found, strict=True)),
        share[:, None] * np.concatenate([each.smoothed for each in found]),
        log_p,
        np.concatenate([each.filtered for each in found]),
        total,
    )


def assert_same_inference(actual, expected, *, rtol=1e-9, atol=1e-12):
    for name, left, right in zip(Inferred._fields, actual, expected, strict=True):
        np.testing.assert_allclose(left, right, rtol=rtol, atol=atol, err_msg=name)


def passed(segment, start, transmat, logs, offsets, block, *, log=False, keep=1 << 25):
    """(log_p, filtered, smoothed, pairs) of one segment by a single SegmentPasses."""
    make = LogRecursion if log else SingleState if len(start) == 1 else Recursion
    passes = SegmentPasses(
        segment, make(start, transmat), np.asarray(offsets), block, Buffers(), keep
    )
    log_p, filtered, smoothed = np.full(len(logs), np.nan), *np.full((2, *logs.shape), np.nan)
    for index, (a, b) in enumerate(passes.blocks):
        found = passes.forward(index, logs[a:b].T.copy())
        if found is None:
            return None
        log_p[a:b], filtered[a:b] = found, passes.alpha(index)
    for index in range(len(passes.blocks) - 1, -1, -1):
        a, b = passes.blocks[index]
        if index not in passes.kept:
            passes.forward(index, logs[a:b].T.copy())
        smoothed[a:b] = passes.backward(index, None)
    return log_p, filtered, smoothed, passes.pairs()
