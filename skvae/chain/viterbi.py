"""The recursion of the most probable path: maxima in place of sums."""

import numpy as np

from skvae.chain.kernels_paths import forward_dense, forward_sparse, trace
from skvae.chain.recursion import DENSE_SHARE, LogRecursion, pad


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
        super().__init__(start, transmat)
        with np.errstate(divide="ignore"):
            logs = pad(np.log(transmat), -np.inf)
        self._transposed = np.ascontiguousarray(logs.T)
        self._few = np.count_nonzero(transmat) < DENSE_SHARE * transmat.size
        if not self._few:
            self._transitions = logs, self._transposed
        self.last = np.array([-1.0])  # no state behind the end of a sequence
        self.pairs_shape = ()  # a path has no sums over pairs

    def forward(self, first, likelihood, alpha, scale, error):
        """Fill δ and its maxima, which are always exact; return them."""
        fill = forward_sparse if self._few else forward_dense
        fill(first, self.start, self._transitions, likelihood, alpha, scale)
        return scale

    def finish_pairs(self, pairs):
        """Return zeros."""
        return np.zeros((self.n_states, self.n_states))

    def backward(self, first, likelihood, alpha, scale, weight, beta, gamma, pairs):
        """Fill the first column of γ with the path."""
        path = np.empty(len(first), dtype=np.int64)
        n = self.n_states
        beta[0] = trace(first, self._transposed[:n, :n], alpha, int(beta[0]), path)
        gamma[:, 0] = path

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
