"""The recursion of the most probable path: maxima in place of sums."""

import numpy as np

from skvae.chain.kernels_paths import forward_dense, forward_of_four, forward_sparse, trace
from skvae.chain.recursion import DENSE_SHARE, LogRecursion, pad, sparse


class ViterbiRecursion(LogRecursion):
    """The recursion of Viterbi's algorithm; its backward pass reads the path.

    α holds δ relative to its row's maximum, the normalisers are these maxima: their sum is the
    log-probability of the best path, jointly with the rows. β is one number, the state of the row
    behind, and the first column of γ is the path.

    Parameters
    ----------
    start : ndarray of shape (K,)
        Start probabilities.
    transmat : ndarray of shape (K, K)
        Transition probabilities.
    """

    def __init__(self, start, transmat):
        self.n_states = len(start)
        self.transmat = transmat
        with np.errstate(divide="ignore"):
            self.start = pad(np.log(start), -np.inf)
            logs = pad(np.log(transmat), -np.inf)
        self._transposed = np.ascontiguousarray(logs.T)
        self._transitions = logs, self._transposed
        self._few = np.count_nonzero(transmat) < DENSE_SHARE * transmat.size
        if self._few:
            pointers, columns, values = sparse(transmat)
            self._transitions = pointers, columns, np.log(values)
        self.last = np.array([-1.0])  # no state behind the end of a sequence
        self.pairs_shape = ()  # a path has no sums over pairs

    def forward(self, first, likelihood, alpha, scale, error):
        """Fill δ and its maxima, which are always exact; return them."""
        dense = forward_of_four if len(self.start) == 4 else forward_dense
        fill = forward_sparse if self._few else dense
        fill(first, self.start, self._transitions, likelihood, alpha, scale)
        return scale

    def finish_pairs(self, pairs):
        """Return zeros."""
        return np.zeros((self.n_states, self.n_states))

    def backward(self, first, likelihood, alpha, scale, weight, beta, gamma, pairs):
        """Fill the first column of γ with the path."""
        gamma[:, 0], beta[0] = self.trace(first, alpha, int(beta[0]))

    def trace(self, first, alpha, state=-1):
        """Return (the path of a block, the state before it).

        ``state`` is that of the last row, −1 where that row ends a sequence.
        """
        path = np.empty(len(first), dtype=np.int64)
        return path, trace(first, self._transposed, alpha, state, path)

    def join(self, head, tail):
        """Return (messages, log-probability, no pairs) of the best path across two halves.

        The messages are the states on both sides of the boundary. None where no path is possible.
        """
        n = self.n_states
        before, after = head.messages[-1][0][:n], tail.messages[-1][0][:n]
        with np.errstate(divide="ignore"):
            joint = before[:, None] + np.log(self.transmat) + after
        best = int(joint.argmax())
        states = best // n, best % n
        if joint[states] == -np.inf:
            return None
        return [np.array([float(k)]) for k in states], joint[states], self.finish_pairs(None)
