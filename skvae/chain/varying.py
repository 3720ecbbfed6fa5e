r"""Inference on a chain whose transitions change from row to row.

.. math:: p(z, x) = \pi_{z_1} \prod_t A_{t, z_{t-1} z_t} \prod_t p(x_t \mid z_t)

All sequences are one block, which the calling thread computes, as in :mod:`skvae.chain.one_block`.
``log_transmat`` is (n_rows, K, K): ln A_t of the transition into row t, not used where row t begins
a sequence.
"""

import numpy as np

from skvae.chain import kernels_varying as kernels
from skvae.chain.one_block import Smoothing, first_rows
from skvae.chain.recursion import SAFE


class VaryingBlock:
    """All sequences after the forward pass.

    Parameters
    ----------
    log_start : ndarray of shape (K,)
        ln π.
    log_transmat : ndarray of shape (n_rows, K, K)
        ln A_t.
    log_likelihood : ndarray of shape (n_rows, K)
        ln p(x_t | z_t = j), in nats.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Where sequences begin and end.

    Attributes
    ----------
    log_p : ndarray of shape (n_rows,)
        ln p(x_t | x_1..x_{t−1}) of each row in its sequence.
    """

    def __init__(self, log_start, log_transmat, log_likelihood, offsets):
        self._begins = offsets[:-1]
        self._first = first = first_rows(len(log_likelihood), offsets)
        top = log_likelihood.max(axis=1)
        possible = top > -np.inf
        log_likelihood = np.where(
            possible[:, None], log_likelihood - np.where(possible, top, 0.0)[:, None], 0.0
        )
        self._alpha = np.zeros((len(first) + 1, len(log_start)))
        self._scale = np.empty(len(first))
        with np.errstate(over="ignore"):
            self._transitions, likelihood = np.exp(log_transmat), np.exp(log_likelihood)
        bounded = bool(self._transitions.min() < SAFE)
        # Transitions that underflow need logs; those that are zero need none.
        lost = bounded and bool(
            (self._transitions < kernels.LEAST_SHARE)[log_transmat > -np.inf].any()
        )
        self._in_logs = lost or not kernels.forward(
            *(first, np.exp(log_start), self._transitions, log_likelihood, likelihood),
            *(self._alpha, self._scale, bounded),
        )
        if self._in_logs:
            self._transitions, likelihood = log_transmat, log_likelihood
            kernels.forward_in_logs(
                first, log_start, log_transmat, likelihood, self._alpha, self._scale
            )
        self._likelihood = likelihood
        self.log_p = (self._scale if self._in_logs else np.log(self._scale)) + top

    def filtered(self):
        """Return p(z_t | x_1..x_t), shape (n_rows, K)."""
        return np.exp(self._alpha[1:]) if self._in_logs else self._alpha[1:]

    def smooth(self, weight=None):
        """Return the Smoothing by the backward pass; its pairs are those of each row, (n, K, K).

        ``weight`` (n_rows,) multiplies the posteriors of each row. The memory of the forward pass
        is used: call it once, and last.
        """
        weight = np.ones(len(self._first)) if weight is None else weight
        gamma = np.empty_like(self._alpha[1:])
        rows = self._likelihood, self._alpha, self._scale, weight, gamma
        if self._in_logs:
            pairs = np.empty(self._transitions.shape)
            kernels.backward_in_logs(self._first, self._transitions, *rows, pairs)
        else:
            pairs = self._transitions  # their memory is used again
            kernels.backward(self._first, pairs, *rows)
        return Smoothing(gamma, gamma[self._begins].sum(axis=0), pairs)


def best_paths(log_start, log_transmat, log_likelihood, offsets):
    """Return (log-probability of each sequence's best path, states (n_rows,)) by Viterbi.

    The arguments are those of :class:`VaryingBlock`.
    """
    first = first_rows(len(log_likelihood), offsets)
    scale, path = np.empty(len(first)), np.empty(len(first), dtype=np.int64)
    kernels.best_paths(first, log_start, log_transmat, log_likelihood, scale, path)
    return np.add.reduceat(scale, offsets[:-1]), path
