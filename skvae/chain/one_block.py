"""Inference on few rows: all sequences are one block, which the calling thread computes.

The results are those of :mod:`skvae.chain.algorithms` for many rows. There rows are read in blocks,
blocks are shared out to threads, and memory is used again: for a thousand rows all of that takes
longer than the recursions themselves.
"""

from typing import NamedTuple

import numpy as np

from skvae.chain.kernels_scaled import load
from skvae.chain.recursion import BACKWARD, FORWARD, SAFE, Recursion, SingleState, prepared
from skvae.chain.viterbi import ViterbiRecursion


class Smoothing(NamedTuple):
    """Posteriors of the states of all rows, and their sums.

    Parameters
    ----------
    posterior : ndarray of shape (n_rows, K)
        p(z_t | x) times the weight of the row.
    starts : ndarray of shape (K,)
        Their sums over the first rows of sequences.
    pairs : ndarray of shape (K, K)
        Σ_t p(z_t = i, z_{t+1} = j | x), weighted.
    """

    posterior: np.ndarray
    starts: np.ndarray
    pairs: np.ndarray


class OneBlock:
    """All sequences after the forward pass.

    Parameters
    ----------
    start : ndarray of shape (K,)
        Start probabilities.
    transmat : ndarray of shape (K, K)
        Transition probabilities.
    log_likelihood : ndarray of shape (K, n_rows)
        ln p(x_t | z_t = j), in nats.
    offsets : ndarray of int, shape (n_sequences + 1,) or None
        Where sequences begin and end; None is one sequence.
    logs : bool
        Whether logs of the filtered posteriors are needed, where no share has underflowed.
    memory : tuple or None
        Memory of at least as many rows, from :class:`skvae.chain.passes.Buffers`; None is fresh
        memory.

    Attributes
    ----------
    memory : tuple
        The memory of the block: (likelihood, alpha, scale, top).
    log_p : ndarray of shape (n_rows,)
        ln p(x_t | x_1..x_{t−1}) of each row in its sequence.
    """

    def __init__(self, start, transmat, log_likelihood, offsets=None, *, logs=False, memory=None):
        self._begins = [0] if offsets is None else offsets[:-1]
        self._first = first_rows(log_likelihood.shape[1], offsets)
        recursion = (SingleState if len(start) == 1 else Recursion)(start, transmat)
        if logs and recursion.bounded:
            recursion = recursion.in_log_space()
        n_rows, width = len(self._first), len(recursion.start)
        if memory is None:
            memory = (
                np.empty((n_rows, width)),
                np.empty((n_rows + 1, width)),
                *np.empty((2, n_rows)),
            )
        self.memory = memory
        self._likelihood, self._alpha = memory[0][:n_rows], memory[1][: n_rows + 1]
        self._scale, self.log_p = memory[2][:n_rows], memory[3][:n_rows]
        if not self._forward(recursion, log_likelihood):
            self._forward(recursion.in_log_space(), log_likelihood)

    def _forward(self, recursion, log_likelihood):
        """Run the forward pass; return whether it is exact, as it always is in log space."""
        self._recursion = recursion
        recursion.load(log_likelihood, self._likelihood, self.log_p)  # its largest values
        self._alpha[0] = 0.0  # it is multiplied by zeros alone
        error = np.zeros((1, len(recursion.start)))
        log_scale = recursion.forward(
            self._first, self._likelihood, self._alpha, self._scale, error
        )
        if log_scale is None:
            return False
        self.log_p += log_scale
        return True

    def log_likelihood(self, weight=None):
        """Return the (weighted) log-likelihood of the sequences, in nats."""
        return float(self.log_p.sum() if weight is None else self.log_p @ weight)

    def filtered(self, *, logs=False):
        """Return p(z_t | x_1..x_t), shape (n_rows, K), or its log."""
        return self._recursion.probabilities(self._alpha[1:], logs)

    def smooth(self, weight=None, dtype=np.float64):
        """Return the Smoothing by the backward pass, with a weight for each row or one each.

        It uses the memory of the forward pass: call it once, and last. ``dtype`` is that of the
        posterior.
        """
        recursion, weight = self._recursion, np.ones(len(self._first)) if weight is None else weight
        gamma, pairs = np.empty_like(self._likelihood, dtype), np.zeros(recursion.pairs_shape)
        recursion.backward(
            *(self._first, self._likelihood, self._alpha, self._scale, weight),
            *(recursion.last.copy(), gamma, pairs),
        )
        posterior = gamma[:, : recursion.n_states]
        starts = np.add.reduce(posterior[self._begins], axis=0, dtype=np.float64)
        return Smoothing(posterior, starts, recursion.finish_pairs(pairs))


def smooth(start, transmat, log_likelihood, offsets=None, weight=None):
    """Return the Smoothing of sequences, and their (weighted) log-likelihood in nats.

    The arguments are those of :class:`OneBlock` and of its methods.
    """
    if len(start) == 1:
        return _smooth_single_state(log_likelihood[0], offsets, weight)
    if len(start) <= 8 and transmat.min() >= SAFE:
        found = _smooth_few_states(start, transmat, log_likelihood, offsets, weight)
        if found is not None:
            return found
    block = OneBlock(start, transmat, log_likelihood, offsets)
    total = block.log_likelihood(weight)
    return block.smooth(weight), total


def _smooth_single_state(log_p, offsets, weight):
    """Return the result of :func:`smooth` of one state: every posterior is the row's weight."""
    weight = np.ones(len(log_p)) if weight is None else weight
    first = first_rows(len(log_p), offsets)
    starts, others = weight[first].sum(), weight[~first].sum()
    smoothing = Smoothing(weight[:, None], np.array([starts]), np.array([[others]]))
    return smoothing, float(log_p @ weight)


def first_rows(n_rows, offsets):
    """Return which rows begin a sequence."""
    first = np.zeros(n_rows, dtype=bool)
    first[0 if offsets is None else offsets[:-1]] = True
    return first


def _smooth_few_states(start, transmat, log_likelihood, offsets, weight):
    """Return the result of :func:`smooth` of at most eight states, or None if it is not exact."""
    n_states, n_rows = log_likelihood.shape
    start, matrix, transposed = prepared(start, transmat)
    width = len(start)
    first = first_rows(n_rows, offsets)
    likelihood, alpha = np.empty((n_rows, width)), np.empty((n_rows + 1, width))
    scale, log_p = np.empty(n_rows), np.empty(n_rows)
    load(np.ascontiguousarray(log_likelihood), likelihood, log_p, False)
    np.exp(likelihood, out=likelihood)
    alpha[0] = 0.0
    if not FORWARD[width](first, start, matrix, likelihood, alpha, scale):
        return None
    log_p += np.log(scale)
    total = np.add.reduce(log_p if weight is None else log_p * weight)
    if weight is None:
        weight = np.empty(n_rows)
        weight.fill(1.0)  # np.ones takes twice as long
    beta, gamma = np.empty(width), np.empty((n_rows, width))
    beta.fill(1.0)
    BACKWARD[width](first, transposed, likelihood, alpha, scale, weight, beta, gamma)
    pairs = transmat * alpha[:-1].T.dot(likelihood)[:n_states, :n_states]
    posterior = gamma[:, :n_states]
    starts = posterior[0] if offsets is None else np.add.reduce(posterior[offsets[:-1]])
    return Smoothing(posterior, starts, pairs), float(total)


def best_path(start, transmat, log_likelihood, offsets=None):
    """Return (log-probability of each sequence's best path, states (n_rows,)) by Viterbi.

    The arguments are those of :class:`OneBlock`.
    """
    n_states, n_rows = log_likelihood.shape
    begins = np.array([0]) if offsets is None else offsets[:-1]
    if n_states == 1:
        return np.add.reduceat(log_likelihood[0], begins), np.zeros(n_rows, dtype=np.int64)
    first = first_rows(n_rows, offsets)
    recursion = ViterbiRecursion(start, transmat)
    width = len(recursion.start)
    likelihood, alpha = np.empty((n_rows, width)), np.empty((n_rows + 1, width))
    scale, top = np.empty(n_rows), np.empty(n_rows)
    recursion.load(log_likelihood, likelihood, top)
    recursion.forward(first, likelihood, alpha, scale, None)
    states, _ = recursion.trace(first, alpha)
    return np.add.reduceat(scale + top, begins), states
