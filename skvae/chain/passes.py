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

BUDGET = 3 << 23  # bytes of blocks that a forward pass keeps


class Filtered(NamedTuple):
    """A block after the forward pass: arrays in the order of processing."""

    likelihood: np.ndarray
    alpha: np.ndarray
    scale: np.ndarray
    top: np.ndarray


class Buffers:
    """Memory of blocks that is used again: fresh memory takes a third of a pass's time.

    Threads may share it, and so may calls one after the other.
    """

    def __init__(self):
        self.n_rows = self.width = None
        self._free = deque()

    def of_size(self, n_rows, width):
        """Return the same for blocks of another size."""
        if (self.n_rows, self.width) != (n_rows, width):
            self.n_rows, self.width = n_rows, width
            self._free.clear()
        return self

    def take(self):
        """Return (likelihood, alpha, scale, top) of one block."""
        try:
            return self._free.pop()
        except IndexError:
            return (
                np.empty((self.n_rows, self.width)),
                np.empty((self.n_rows + 1, self.width)),
                np.empty(self.n_rows),
                np.empty(self.n_rows),
            )

    def give(self, buffers):
        """Take back the arrays of a block that is no longer used."""
        self._free.append(buffers)


class SegmentPasses:
    """The forward and the backward pass over one segment; the caller reads the blocks.

    Parameters
    ----------
    segment : Segment
        The rows.
    recursion : Recursion
        The chain; for a reversed segment that of the transposed transitions.
    offsets : ndarray of int
        Where sequences begin and end.
    buffers : Buffers
        Its number of rows is the most of a block.
    budget : int
        Bytes of the blocks that are kept for the backward pass.

    Attributes
    ----------
    blocks : list of (int, int)
        The blocks in the order of processing: the forward pass goes from the first to the last, the
        backward pass from the last to the first.
    """

    def __init__(self, segment, recursion, offsets, buffers, budget=BUDGET):
        self.segment = segment
        self.recursion = recursion
        self.blocks = segment.blocks(buffers.n_rows)
        self._offsets = offsets
        self._buffers = buffers
        self._n_kept = max(1, budget // (16 * buffers.n_rows * buffers.width))
        self._kept = {}
        # Before each block: α of the row before it and the bound of its error.
        none = np.zeros((1, buffers.width))
        self._before = [(none[0], none)]

    @property
    def message(self):
        """Return α after the last block."""
        return self._before[-1][0]

    @property
    def error(self):
        """Return the bound of the error of α after the last block."""
        return self._before[-1][1]

    def in_log_space(self):
        """Return the passes over the same segment in log space, not begun."""
        while self._kept:
            self._buffers.give(self._kept.popitem()[1][1])
        passes = SegmentPasses(
            self.segment, self.recursion.in_log_space(), self._offsets, self._buffers
        )
        passes._n_kept = self._n_kept
        return passes

    def forward(self, index, log_likelihood):
        """Return whether the forward pass over a block is exact; it is in log space.

        Parameters
        ----------
        index : int
            The block.
        log_likelihood : ndarray of shape (n_states, n)
            Of its rows, in their order; it is overwritten.
        """
        start, stop = self.blocks[index]
        n = stop - start
        if len(self._kept) == self._n_kept:
            self._buffers.give(self._kept.pop(min(self._kept))[1])
        buffers = self._buffers.take()
        likelihood, scale, top = (buffers[i][:n] for i in (0, 2, 3))
        alpha = buffers[1][: n + 1]
        self.recursion.load(self.segment.in_order(log_likelihood.T).T, likelihood, top)
        before, error = self._before[index]
        alpha[0] = before  # that of the first block is multiplied by zeros alone
        error = error.copy()
        first = self.segment.first(self._offsets, start, stop)
        self._kept[index] = Filtered(likelihood, alpha, scale, top), buffers
        exact = self.recursion.forward(first, likelihood, alpha, scale, error)
        if index + 1 == len(self._before):
            self._before.append((alpha[-1].copy(), error))
        return exact

    def log_p(self, index):
        """Return ln p(x_t | x_1..x_{t−1}) of the rows of a block that was just processed."""
        filtered = self._kept[index][0]
        return self.segment.in_order(self.recursion.log_scale(filtered.scale) + filtered.top)

    def alpha(self, index, *, logs=False):
        """Return the filtered posteriors (n, K) of the same rows, or their logs."""
        filtered = self._kept[index][0]
        return self.recursion.probabilities(self.segment.in_order(filtered.alpha[1:]), logs)

    def release(self, index):
        """Give up a block whose backward pass is not needed."""
        self._buffers.give(self._kept.pop(index)[1])

    def is_kept(self, index):
        """Return whether a block need not be processed again before its backward pass."""
        return index in self._kept

    def turn(self, beta=None):
        """Begin the backward pass; ``beta`` (K,) is the message from behind the segment, if any."""
        self._beta = self.recursion.ones() if beta is None else beta
        self._pairs = self.recursion.no_pairs()
        self._spare = self._buffers.take()

    def backward(self, index, weight):
        """Return the smoothed posteriors (n, K) of a block times the weights of its rows.

        They are valid until the next call.

        Parameters
        ----------
        index : int
            The block: from the last to the first.
        weight : ndarray of shape (n_rows,) or None
            The weights of all rows.
        """
        start, stop = self.blocks[index]
        filtered, buffers = self._kept.pop(index)
        gamma = self._spare[0][: stop - start]
        if weight is None:
            share = np.ones(stop - start)
        else:
            share = self.segment.in_order(weight[start:stop]).copy()
        first = self.segment.first(self._offsets, start, stop)
        self.recursion.balance(filtered.alpha[-1], self._beta)
        self.recursion.backward(first, *filtered[:3], share, self._beta, gamma, self._pairs)
        self._buffers.give(buffers)
        return self.segment.in_order(gamma[:, : self.recursion.n_states])

    def end(self):
        """Return the sums over pairs of neighbours (K, K), after the backward pass."""
        self._buffers.give(self._spare)
        pairs = self.recursion.finish_pairs(self._pairs)
        return pairs.T if self.segment.reverse else pairs
