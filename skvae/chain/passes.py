r"""Forward and backward pass over the blocks of one segment, in bounded memory.

The forward pass keeps its last blocks, as many as a budget allows; the backward pass computes the
others again from the α at their start.

A long sequence is processed from both ends at the same time. With :math:`\psi_t = b_t \beta_t`
the backward recursion is :math:`\psi_t = b_t\, A \psi_{t+1}`: the forward recursion of the reversed
rows under :math:`A^T`. So the second half is a segment like any other, and in the middle each half
gets the other's message, with which its backward pass begins.
"""

from collections import deque
from typing import NamedTuple

import numpy as np

from skvae.blocks import ranges

BUDGET = 3 << 23  # bytes of blocks that a forward pass keeps


class Filtered(NamedTuple):
    """A block after the forward pass: arrays in the order of processing, and their memory."""

    first: np.ndarray
    likelihood: np.ndarray
    alpha: np.ndarray
    scale: np.ndarray
    memory: tuple


class Buffers(deque):
    """Memory of blocks that is used again: fresh memory takes a third of a pass's time.

    Threads may share it, and so may calls one after the other. Memory that is no longer used is
    appended.
    """

    def take(self, n_rows, width):
        """Return (likelihood, alpha, scale, top) for a block of at least ``n_rows`` rows."""
        while self:
            try:
                memory = self.pop()
            except IndexError:  # another thread took the last
                break
            if memory[0].shape[1] == width and len(memory[0]) >= n_rows:
                return memory
        return (
            np.empty((n_rows, width)),
            np.empty((n_rows + 1, width)),
            np.empty(n_rows),
            np.empty(n_rows),
        )


class SegmentPasses:
    """The forward and the backward pass over one segment; the caller reads the blocks.

    Parameters
    ----------
    segment : Segment
        The rows.
    recursion : Recursion
        The chain; for a reversed segment the chain with transposed transitions.
    offsets : ndarray of int
        Where sequences begin and end.
    size : int
        The most rows of a block.
    buffers : Buffers
        The source of memory.
    budget : int
        Bytes of the blocks that are kept for the backward pass; 0 is a forward pass alone.

    Attributes
    ----------
    blocks : list of (int, int)
        The blocks in the order of processing: the forward pass goes from the first to the last, the
        backward pass from the last to the first.
    kept : dict of int to Filtered
        The blocks that need not be processed again before their backward pass.
    messages : list of (ndarray of shape (K,), ndarray of shape (1, K))
        One before each block and one after the last: α of the preceding row, and the bound of its
        error.
    beta : ndarray of shape (K,)
        The message to the next block of the backward pass, from the rows after it.
    """

    def __init__(self, segment, recursion, offsets, size, buffers, budget=BUDGET):
        self.segment = segment
        self.recursion = recursion
        self.blocks = list(ranges(segment.start, segment.stop, size))
        if segment.reverse:  # from the end, too
            ends = range(segment.stop, segment.start, -size)
            self.blocks = [(max(segment.start, end - size), end) for end in ends]
        self.kept = {}
        width = len(recursion.start)
        none = np.zeros((1, width))
        self.messages = [(none[0], none)]
        self.beta = recursion.last.copy()
        self._offsets = offsets
        self._size = size
        self._buffers = buffers
        self._budget = budget
        self._n_kept = max(1, budget // (16 * size * width))
        self._order = slice(None, None, -1 if segment.reverse else 1)
        self._pairs = self._memory = None

    def in_log_space(self):
        """Return the passes over the same segment in log space, not begun."""
        self._buffers += (filtered.memory for filtered in self.kept.values())
        return SegmentPasses(
            self.segment,
            self.recursion.in_log_space(),
            self._offsets,
            self._size,
            self._buffers,
            self._budget,
        )

    def forward(self, index, log_likelihood):
        """Return ln p(x_t | x_1..x_{t−1}) of the rows of a block, or None if it is not exact.

        In log space it is always exact.

        Parameters
        ----------
        index : int
            The block.
        log_likelihood : ndarray of shape (n_states, n)
            The log-likelihoods of its rows, in their order.
        """
        start, stop = self.blocks[index]
        n = stop - start
        if len(self.kept) == self._n_kept:
            self._buffers.append(self.kept.pop(min(self.kept)).memory)
        memory = self._buffers.take(self._size, len(self.recursion.start))
        likelihood, alpha, scale, top = memory[0][:n], memory[1][: n + 1], memory[2][:n], memory[3]
        self.recursion.load(log_likelihood, likelihood, top[:n], self.segment.reverse)
        before, error = self.messages[index]
        alpha[0] = before  # before the first block it is multiplied only by zeros
        error = error.copy()
        first = self.segment.first(self._offsets, start, stop)
        log_scale = self.recursion.forward(first, likelihood, alpha, scale, error)
        self.kept[index] = Filtered(first, likelihood, alpha, scale, memory)
        if index + 1 == len(self.messages):
            self.messages.append((alpha[-1].copy(), error))
        return None if log_scale is None else (log_scale + top[:n])[self._order]

    def alpha(self, index, *, logs=False):
        """Return the filtered posteriors (n, K) of a block that is kept, or their logs."""
        return self.recursion.probabilities(self.kept[index].alpha[1:][self._order], logs)

    def backward(self, index, weight):
        """Return the smoothed posteriors (n, K) of a block times the weights of its rows.

        They are valid until the next call.

        Parameters
        ----------
        index : int
            The block; the calls go from the last block to the first.
        weight : ndarray of shape (n_rows,) or None
            The weights of all rows.
        """
        start, stop = self.blocks[index]
        if self._pairs is None:
            self._pairs = np.zeros(self.recursion.pairs_shape)
            self._memory = self._buffers.take(self._size, len(self.recursion.start))
        filtered = self.kept.pop(index)
        gamma = self._memory[0][: stop - start]
        if weight is None:
            share = np.ones(stop - start)
        else:
            share = np.ascontiguousarray(weight[start:stop][self._order])
        self.recursion.backward(*filtered[:4], share, self.beta, gamma, self._pairs)
        self._buffers.append(filtered.memory)
        return gamma[self._order, : self.recursion.n_states]

    def pairs(self):
        """Return the sums over pairs of neighbours (K, K), after the backward pass."""
        self._buffers.append(self._memory)
        pairs = self.recursion.finish_pairs(self._pairs)
        return pairs.T if self.segment.reverse else pairs
