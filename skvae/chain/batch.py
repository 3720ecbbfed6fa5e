"""The sequences of a batch under one chain: the work of threads, and the sums of its results."""

from functools import partial
from typing import NamedTuple

import numpy as np

from skvae.chain.passes import BUDGET, Buffers, SegmentPasses
from skvae.chain.recursion import Recursion, SingleState
from skvae.chain.segments import Segment, block_and_workers, segments_of
from skvae.chain.viterbi import ViterbiRecursion


class ArrayRows:
    """Reader of log-likelihoods in an array.

    Parameters
    ----------
    log_likelihood : ndarray of shape (n_rows, K)
        In nats.
    block_rows : int
        The most rows of a block.
    """

    def __init__(self, log_likelihood, block_rows=1 << 30):
        self._rows = log_likelihood
        self.block_rows = block_rows

    def sums(self):
        """Return nothing: an array has no statistics."""

    def block(self, start, stop):
        """Return a block of the rows."""
        return ArrayRows(self._rows[start:stop])

    def log_density(self):
        """Return the log-likelihoods (K, n), which may be overwritten."""
        return np.array(self._rows.T, dtype=np.float64)


class _Half(NamedTuple):
    """One half of a long sequence after its forward pass."""

    passes: SegmentPasses
    log_likelihood: float
    reader: object


class _Joined(NamedTuple):
    """Two joined halves, the messages to both, and the weighted sums of their boundary."""

    halves: tuple
    messages: tuple
    pairs: np.ndarray
    log_likelihood: float


class ChainSums:
    """Sums over sequences; they add in place.

    Parameters
    ----------
    n_states : int
        The number of states.
    make : callable or None
        Returns empty statistics of the rows, to be added to.

    Attributes
    ----------
    starts : ndarray of shape (K,)
        Expected number of sequences that begin in each state.
    pairs : ndarray of shape (K, K)
        Expected number of transitions.
    log_likelihood : float
        Weighted, in nats.
    emission : object or None
        The statistics of the rows.
    """

    __slots__ = ("emission", "log_likelihood", "pairs", "starts")

    def __init__(self, n_states, make=None):
        self.starts = np.zeros(n_states)
        self.pairs = np.zeros((n_states, n_states))
        self.log_likelihood = 0.0
        self.emission = None if make is None else make()

    def __iadd__(self, other):
        self.starts += other.starts
        self.pairs += other.pairs
        self.log_likelihood += other.log_likelihood
        if self.emission is not None:
            self.emission += other.emission
        return self


class Batch:
    """The sequences of a batch under one chain.

    Its methods that take ``(begin, end)`` process these segments, or halves, in one thread.

    Parameters
    ----------
    log_start : ndarray of shape (K,)
        Log start probabilities.
    log_transmat : ndarray of shape (K, K)
        Log transition probabilities.
    log_likelihood : ndarray of shape (n_rows, K), or function that returns a reader
        See :mod:`skvae.chain.algorithms`.
    offsets : ndarray of int, shape (n_sequences + 1,) or None
        Where sequences begin and end; None is one sequence.
    weight : ndarray of shape (n_rows,) or None
        The weight of each row, constant within a sequence.
    pool : Workers or None
        The threads; None is the calling thread alone.
    buffers : Buffers or None
        Memory of an earlier call, to be used again.
    of_rows : bool
        Whether the sums include the statistics of the rows.
    best : bool
        Whether to find the most probable paths, by Viterbi's recursion.
    halve : bool
        Whether long sequences are processed from both ends; False for results of each row of the
        forward pass.

    Attributes
    ----------
    posterior : ndarray of shape (n_rows, K) or None
        Filled with smoothed posteriors.
    states : ndarray of int, shape (n_rows,) or None
        Filled with the most probable paths.
    log_p : ndarray of shape (n_rows,) or None
        Filled with the logs of the normalisers: ln p(x_t | x_1..x_{t−1}), or the rows' parts of the
        log-probability of the most probable path.
    alpha : ndarray of shape (n_rows, K) or None
        Filled with filtered posteriors, or with their logs (``logs``).
    """

    posterior = states = log_p = alpha = None
    logs = False

    def __init__(
        self,
        log_start,
        log_transmat,
        log_likelihood,
        offsets,
        weight=None,
        pool=None,
        *,
        buffers=None,
        of_rows=True,
        best=False,
        halve=True,
    ):
        self.reader = log_likelihood
        if isinstance(log_likelihood, np.ndarray):
            self.reader = partial(ArrayRows, log_likelihood)
            offsets = np.array([0, len(log_likelihood)]) if offsets is None else offsets
        self.offsets = offsets
        self.n_rows = int(offsets[-1])
        self.n_states = len(log_start)
        self.weight = weight
        self._make = ViterbiRecursion if best else SingleState if self.n_states == 1 else Recursion
        self.recursion = self._make(np.exp(log_start), np.exp(log_transmat))
        first = self.reader()
        self.sums = partial(ChainSums, self.n_states, first.sums if of_rows else None)
        width = len(self.recursion.start)
        self._size, self.pool = block_and_workers(self.n_rows, width, first.block_rows, pool)
        self._buffers = Buffers() if buffers is None else buffers
        self.segments, self.halves = segments_of(self.offsets, self._size, halve=halve)

    # Whole sequences --------------------------------------------------------------------------

    def forward(self, begin, end):
        """Return the weighted log-likelihood; fill ``log_p`` and ``alpha``."""
        reader, total, recursion = self.reader(), 0.0, self.recursion
        if self.logs and recursion.bounded:
            recursion = recursion.in_log_space()
        for segment in self.segments[begin:end]:
            passes = SegmentPasses(segment, recursion, self.offsets, self._size, self._buffers, 0)
            index, part = 0, 0.0
            while index < len(passes.blocks):
                start, stop = passes.blocks[index]
                log_p = passes.forward(index, reader.block(start, stop).log_density())
                if log_p is None:
                    passes, index, part = passes.in_log_space(), 0, 0.0
                    continue
                part += self._weighted(log_p, start, stop)
                if self.alpha is not None:
                    self.alpha[start:stop] = passes.alpha(index, logs=self.logs)
                index += 1
            self._buffers.append(passes.kept.popitem()[1].memory)
            total += part
        return total

    def smooth(self, begin, end):
        """Return the ChainSums of a forward and a backward pass over each of some segments."""
        reader, sums = self.reader(), self.sums()
        for segment in self.segments[begin:end]:
            passes = SegmentPasses(segment, self.recursion, self.offsets, self._size, self._buffers)
            index, part = 0, 0.0
            while index < len(passes.blocks):
                start, stop = passes.blocks[index]
                log_p = passes.forward(index, reader.block(start, stop).log_density())
                if log_p is None:
                    passes, index, part = passes.in_log_space(), 0, 0.0
                    continue
                part += self._weighted(log_p, start, stop)
                index += 1
            sums.log_likelihood += part
            self._backward(passes, reader, sums)
        return sums

    def _weighted(self, log_p, start, stop):
        """Return the weighted log-likelihood of a block after its forward pass; fill ``log_p``."""
        if self.log_p is not None:
            with np.errstate(over="ignore"):  # −1e300 is −inf in float32
                self.log_p[start:stop] = log_p
        return log_p.sum() if self.weight is None else log_p @ self.weight[start:stop]

    def _backward(self, passes, reader, sums):
        """Add to the sums by the backward pass over a segment, and fill the rows' results."""
        for index in range(len(passes.blocks) - 1, -1, -1):
            start, stop = passes.blocks[index]
            if index not in passes.kept:
                passes.forward(index, reader.block(start, stop).log_density())
            gamma = passes.backward(index, self.weight)
            if self.states is not None:
                self.states[start:stop] = gamma[:, 0]
                continue
            i, j = np.searchsorted(self.offsets, (start, stop))
            if i < j:
                sums.starts += gamma[self.offsets[i:j] - start].sum(axis=0)
            if self.posterior is not None:
                self.posterior[start:stop] = gamma
            if sums.emission is not None:
                reader.block(start, stop).accumulate(sums.emission, gamma.T)
        sums.pairs += passes.pairs()

    # Long sequences, in halves ----------------------------------------------------------------

    def join_halves(self, budget):
        """Return the joined halves of long sequences after their forward pass.

        If two halves cannot be joined, their sequence is added to ``segments``, which the caller
        must process after this call. Every half keeps ``budget`` bytes of blocks.
        """
        transmat = np.ascontiguousarray(self.recursion.transmat.T)
        reverse = self._make(np.ones(self.n_states), transmat)
        both = [half for pair in self.halves for half in pair]

        def forward(begin, end):
            reader, found = self.reader(), []
            for segment in both[begin:end]:
                recursion = reverse if segment.reverse else self.recursion
                passes = SegmentPasses(
                    segment, recursion, self.offsets, self._size, self._buffers, budget
                )
                found.append(self._half(passes, reader))
            return found

        found = [half for job in self.pool.map(forward, len(both), 1) for half in job]
        joined = []
        for i, (head, tail) in enumerate(self.halves):
            joint = self._join(*found[2 * i : 2 * i + 2])
            if joint is None:
                self.segments.append(Segment(head.start, tail.stop))
            else:
                joined.append(joint)
        return joined

    def _half(self, passes, reader):
        """Return the _Half after its forward pass, or None if the pass is not exact."""
        total = 0.0
        for index, (start, stop) in enumerate(passes.blocks):
            log_p = passes.forward(index, reader.block(start, stop).log_density())
            if log_p is None:
                return None
            total += self._weighted(log_p, start, stop)
        return _Half(passes, total, reader)

    def _join(self, head, tail):
        """Return two _Half as _Joined, or None if that would not be exact."""
        if head is None or tail is None:
            return None
        found = self.recursion.join(head.passes, tail.passes)
        if found is None:
            return None
        messages, log_joint, pairs = found
        boundary = tail.passes.segment.start
        if self.log_p is not None:
            self.log_p[boundary] += log_joint
        weight = 1.0 if self.weight is None else float(self.weight[boundary])
        total = head.log_likelihood + tail.log_likelihood + weight * log_joint
        return _Joined((head, tail), messages, weight * pairs, total)

    def smooth_halves(self):
        """Yield the ChainSums of long sequences, each processed from both ends at once."""
        # All halves are in memory at the same time.
        joined = self.join_halves(BUDGET // len(self.halves))

        def backward(begin, end):
            sums = self.sums()
            for i in range(begin, end):
                half = joined[i // 2].halves[i % 2]
                half.passes.beta = joined[i // 2].messages[i % 2]
                self._backward(half.passes, half.reader, sums)
            return sums

        yield from self.pool.map(backward, 2 * len(joined), 1)
        for joint in joined:
            sums = self.sums()
            sums.pairs += joint.pairs
            sums.log_likelihood += joint.log_likelihood
            yield sums
