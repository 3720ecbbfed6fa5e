r"""Inference on a chain whose transitions change from row to row.

.. math:: p(z, x) = \pi_{z_1} \prod_t A_{t, z_{t-1} z_t} \prod_t p(x_t \mid z_t)

All sequences are one block, which the calling thread computes, as in :mod:`skvae.chain.one_block`.
``log_transmat`` is (n_rows, K, K): ln A_t of the transition into row t, not used where row t begins
a sequence.
"""

import numpy as np

from skvae.blocks import ranges
from skvae.chain import kernels_varying as kernels
from skvae.chain.one_block import Smoothing, first_rows
from skvae.chain.recursion import SAFE

_PART_NUMBERS = 1 << 15  # of transitions that are computed at a time: they stay in the caches


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
        self._log_transmat = log_transmat
        self._in_logs = not self._forward(np.exp(log_start), log_likelihood)
        if self._in_logs:
            self._likelihood = log_likelihood
            self._log_transmat = np.asarray(log_transmat, dtype=np.float64)
            kernels.forward_in_logs(
                *(first, log_start, self._log_transmat, log_likelihood),
                *(self._alpha, self._scale),
            )
        self.log_p = (self._scale if self._in_logs else np.log(self._scale)) + top

    def _forward(self, start, log_likelihood):
        """Run the forward pass on probabilities; return whether it is exact."""
        self._likelihood = np.exp(log_likelihood)
        for part, transitions in self._parts():
            begin, end = part.start, part.stop
            bounded = bool(transitions.min() < SAFE)
            # Transitions that underflow need logs; those that are zero need none.
            small = bounded and transitions < kernels.LEAST_SHARE
            if bounded and (small & (self._log_transmat[part] > -np.inf)).any():
                return False
            if not kernels.forward(
                *(self._first[part], start, transitions, log_likelihood[part]),
                *(self._likelihood[part], self._alpha[begin : end + 1], self._scale[part]),
                bounded,
            ):
                return False
        return True

    def _parts(self, step=1):
        """Yield slices of the rows with their transitions, in memory that is used again."""
        n, n_states = self._alpha.shape
        size = max(1, _PART_NUMBERS // n_states**2)
        memory = np.empty((min(size, n), n_states, n_states))
        for begin, end in list(ranges(0, n - 1, size))[::step]:
            transitions = memory[: end - begin]
            transitions[:] = self._log_transmat[begin:end]  # float32 becomes float64
            with np.errstate(over="ignore"):
                np.exp(transitions, out=transitions)
            yield slice(begin, end), transitions

    def filtered(self):
        """Return p(z_t | x_1..x_t), shape (n_rows, K)."""
        return np.exp(self._alpha[1:]) if self._in_logs else self._alpha[1:]

    def smooth(self, weight=None, dtype=np.float64):
        """Return the Smoothing by the backward pass; its pairs are those of each row, (n, K, K).

        ``weight`` (n_rows,) multiplies the posteriors of each row; ``dtype`` is theirs. The pairs
        have the dtype of ``log_transmat``. The memory of the forward pass is used: call it once,
        and last.
        """
        weight = np.ones(len(self._first)) if weight is None else weight
        gamma = np.empty_like(self._alpha[1:], dtype)
        pairs = np.empty(self._log_transmat.shape, self._log_transmat.dtype)
        if self._in_logs:
            kernels.backward_in_logs(
                *(self._first, self._log_transmat, self._likelihood, self._alpha, self._scale),
                *(weight, gamma, pairs),
            )
        else:
            beta = np.ones(gamma.shape[1])
            for part, transitions in self._parts(-1):
                kernels.backward(
                    *(self._first[part], transitions, self._likelihood[part]),
                    *(self._alpha[part.start : part.stop + 1], self._scale[part], weight[part]),
                    *(beta, gamma[part]),
                )
                pairs[part] = transitions
        return Smoothing(gamma, gamma[self._begins].sum(axis=0, dtype=np.float64), pairs)


def best_paths(log_start, log_transmat, log_likelihood, offsets):
    """Return (log-probability of each sequence's best path, states (n_rows,)) by Viterbi.

    The arguments are those of :class:`VaryingBlock`.
    """
    first = first_rows(len(log_likelihood), offsets)
    scale, path = np.empty(len(first)), np.empty(len(first), dtype=np.int64)
    kernels.best_paths(first, log_start, log_transmat, log_likelihood, scale, path)
    return np.add.reduceat(scale, offsets[:-1]), path
