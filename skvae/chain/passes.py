r"""Forward and backward over the rows of a unit, block by block, in bounded memory.

A unit is a run of rows that is walked at once: some whole sequences, or one half of a long one.
The forward pass keeps the blocks it made last, as many as a budget allows; the backward pass makes
the others again from the α at their start.

A long sequence is walked from both ends at the same time. With
:math:`\psi_t = b_t \beta_t` the backward recursion is :math:`\psi_t = b_t\, A \psi_{t+1}`: the
forward recursion of the reversed rows under :math:`A^T`. So the second half is a unit like any
other, and in the middle each half gets the other's message, with which it walks back.
"""

from collections import deque
from typing import NamedTuple

import numpy as np

from skvae.blocks import ranges

BUDGET = 3 << 23  # bytes of blocks that a forward pass keeps


class Underflow(ArithmeticError):
    """Raised where the scaled recursion could lose what matters: log space is needed."""


class Unit(NamedTuple):
    """A run of rows that is walked at once.

    Parameters
    ----------
    start, stop : int
        Its rows.
    reverse : bool
        Whether it is walked from its last row to its first.
    """

    start: int
    stop: int
    reverse: bool = False

    def blocks(self, size):
        """Return (start, stop) of its blocks in walking order."""
        blocks = list(ranges(0, self.stop - self.start, size))
        if self.reverse:
            return [(self.stop - b, self.stop - a) for a, b in blocks]
        return [(self.start + a, self.start + b) for a, b in blocks]

    def walk(self, rows):
        """Return an array's rows of a block in walking order."""
        return rows[::-1] if self.reverse else rows


class Walked(NamedTuple):
    """A block after the forward pass: arrays in walking order."""

    likelihood: np.ndarray
    alpha: np.ndarray
    scale: np.ndarray
    top: np.ndarray


class Memory:
    """Buffers of blocks that passes take and give back: fresh memory takes a third of their time.

    Threads may share it.
    """

    def __init__(self):
        self._free = deque()
        self._shape = None

    def take(self, n_rows, width):
        """Return (likelihood, alpha, scale, top) for blocks of so many rows."""
        if self._shape != (n_rows, width):
            self._free.clear()
            self._shape = n_rows, width
        try:
            return self._free.pop()
        except IndexError:
            return (
                np.empty((n_rows, width)),
                np.empty((n_rows + 1, width)),
                np.empty(n_rows),
                np.empty(n_rows),
            )

    def give(self, buffers):
        """Take back buffers that nobody reads any more."""
        if buffers[0].shape == self._shape:
            self._free.append(buffers)


class Pass:
    """The forward and the backward pass over one unit.

    Parameters
    ----------
    unit : Unit
        The rows.
    recursion : Recursion
        The chain; for a reversed unit the one that runs backwards.
    source : object
        ``source.log_likelihood(start, stop)`` gives an array (K, n) in row order that may be
        overwritten.
    first : ndarray of bool, shape (n_rows,)
        Whether a row begins a sequence.
    block : int
        The most rows of a block.
    memory : Memory, optional
        Where buffers come from.
    """

    def __init__(self, unit, recursion, source, first, block, memory=None):
        self.unit = unit
        self.recursion = recursion
        self._source = source
        self._first = first
        self._blocks = unit.blocks(block)
        self._size = block
        self._memory = Memory() if memory is None else memory
        self._kept = {}
        self._carries = []
        self._marks = {}
        self.message = None  # α after the last row that was walked
        self.marks = None  # what of it stems from marks

    def _first_of(self, start, stop):
        if not self.unit.reverse:
            return self._first[start:stop]
        first = np.zeros(stop - start, dtype=bool)
        first[0] = stop == self.unit.stop
        return first

    def _walk(self, index, buffers):
        """Return the Walked block of an index, and its rows' log-likelihoods given the past."""
        start, stop = self._blocks[index]
        n = stop - start
        alpha = buffers[1][: n + 1]
        likelihood, scale, top = (buffers[i][:n] for i in (0, 2, 3))
        log_likelihood = self._source.log_likelihood(start, stop)
        self.recursion.load(self.unit.walk(log_likelihood.T).T, likelihood, top)
        if index:
            alpha[0] = self._carries[index]
        else:
            alpha[0] = 0.0  # met only by rows that begin a sequence, and by products with zeros
        marks = self.recursion.no_marks() if index == 0 else self._marks[index].copy()
        first = self._first_of(start, stop)
        if not self.recursion.forward(first, likelihood, alpha, scale, marks):
            raise Underflow
        self._marks[index + 1] = marks
        return Walked(likelihood, alpha, scale, top)

    def forward(self, visit=None, *, keep=BUDGET, logs=False):
        """Walk the unit; call ``visit(start, stop, log_p, alpha)`` for each block, in row order.

        ``log_p`` are the rows' ln p(x_t | x_1..x_{t−1}); ``alpha`` the filtered posteriors (n, K),
        probabilities or their logs. Of a reversed unit they are those of the reversed chain. Blocks
        of ``keep`` bytes in all are kept for the way back.
        """
        width = len(self.recursion.start)
        bytes_of_block = 16 * self._size * width
        n_kept = max(1, keep // bytes_of_block)
        self._carries = [None]
        for index, (start, stop) in enumerate(self._blocks):
            if len(self._kept) == n_kept:
                self._memory.give(self._kept.pop(min(self._kept))[1])
            buffers = self._memory.take(self._size, width)
            walked = self._walk(index, buffers)
            self._kept[index] = walked, buffers
            self._carries.append(walked.alpha[-1].copy())
            if visit is not None:
                log_p = self.unit.walk(self.recursion.log_scale(walked.scale) + walked.top)
                alpha = self.recursion.probabilities(self.unit.walk(walked.alpha[1:]), logs)
                visit(start, stop, log_p, alpha)
        self.message = self._carries[-1]
        self.marks = self._marks[len(self._blocks)]
        if not keep:
            self._memory.give(self._kept.popitem()[1][1])

    def backward(self, visit, beta=None, weight=None):
        """Walk back; call ``visit(start, stop, gamma)`` for each block, in row order.

        ``gamma`` are the smoothed posteriors (n, K) times the rows' weights. ``beta`` is the
        message from behind the unit. Returns the sums over pairs of neighbours (K, K).
        """
        recursion = self.recursion
        beta = recursion.ones() if beta is None else beta
        pairs = recursion.no_pairs()
        spare = self._memory.take(self._size, len(recursion.start))
        for index in range(len(self._blocks) - 1, -1, -1):
            start, stop = self._blocks[index]
            n = stop - start
            if index in self._kept:
                walked, buffers = self._kept.pop(index)
            else:
                buffers = self._memory.take(self._size, len(recursion.start))
                walked = self._walk(index, buffers)
            gamma = spare[0][:n]
            share = np.ones(n) if weight is None else self.unit.walk(weight[start:stop]).copy()
            first = self._first_of(start, stop)
            recursion.balance(walked.alpha[-1], beta)
            recursion.backward(first, *walked[:3], share, beta, gamma, pairs)
            visit(start, stop, self.unit.walk(gamma[:, : recursion.n_states]))
            self._memory.give(buffers)
        self._memory.give(spare)
        return recursion.finish_pairs(pairs)
