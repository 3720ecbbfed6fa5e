"""The most probable path as a recursion that a Pass can walk: maxima in place of sums."""

import numpy as np

from skvae.hmm.chain.passes import Pass
from skvae.hmm.chain.paths import forward_dense, forward_sparse, trace
from skvae.hmm.chain.recursion import DENSE_SHARE, Recursion, pad


class BestPath(Recursion):
    """The recursion of Viterbi's algorithm; its backward pass reads the path.

    α holds δ relative to its row's maximum, the normalisers are these maxima: their sum is the
    log-probability of the best path, jointly with the rows. β is one number, the state of the row
    behind, and the first column of γ is the path.
    """

    def __init__(self, start, transmat):
        super().__init__(start, transmat, log=True)
        with np.errstate(divide="ignore"):
            logs = pad(np.log(transmat), -np.inf)
        self._transposed = np.ascontiguousarray(logs.T)
        self._few = np.count_nonzero(transmat) < DENSE_SHARE * transmat.size
        if not self._few:
            self._chain = logs, self._transposed

    def forward(self, first, likelihood, alpha, scale, marks):
        """Fill δ and its maxima; nothing can underflow."""
        walk = forward_sparse if self._few else forward_dense
        walk(first, self.start, self._chain, likelihood, alpha, scale)
        return True

    def ones(self):
        """Return the message from behind the end of a sequence: no state yet."""
        return np.array([-1.0])

    def balance(self, alpha, beta):
        """Leave the message as it is."""

    def no_pairs(self):
        """Return nothing: a path is not a sum over pairs."""

    def finish_pairs(self, pairs):
        """Return nothing."""

    def backward(self, first, likelihood, alpha, scale, weight, beta, gamma, pairs):
        """Fill the first column of γ with the path."""
        path = np.empty(len(first), dtype=np.int64)
        n = self.n_states
        beta[0] = trace(first, self._transposed[:n, :n], alpha, int(beta[0]), path)
        gamma[:, 0] = path


def fill_best_paths(units, recursion, source, first, block, states, log_p):
    """Fill the best paths of the units' rows, and each row's share of ln p(path, x), in nats.

    Parameters
    ----------
    units : list of Unit
        Runs of whole sequences.
    recursion : BestPath
        The chain.
    source : object
        Gives log-likelihoods; see :class:`skvae.hmm.chain.passes.Pass`.
    first : ndarray of bool, shape (n_rows,)
        Whether a row begins a sequence.
    block : int
        The most rows of a block.
    states : ndarray of int, shape (n_rows,)
        Filled.
    log_p : ndarray of shape (n_rows,)
        Filled.
    """

    def ahead(start, stop, log_p_of_block, _alpha):
        log_p[start:stop] = log_p_of_block

    def back(start, stop, path):
        states[start:stop] = path[:, 0]

    for unit in units:
        run = Pass(unit, recursion, source, first, block)
        run.forward(ahead)
        run.backward(back)
