"""The most probable path as a recursion that a Pass can walk: maxima in place of sums."""

import numpy as np

from skvae.chain.kernels_paths import forward_dense, forward_sparse, trace
from skvae.chain.passes import BUDGET, Pass, Unit
from skvae.chain.recursion import DENSE_SHARE, Recursion, pad


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


class BestPaths:
    """The best paths of sequences, and each row's share of ln p(path, x), in nats.

    Parameters
    ----------
    start : ndarray of shape (K,)
        Start probabilities.
    transmat : ndarray of shape (K, K)
        Transition probabilities.
    sequences : Sequences
        The sequences.
    source : callable
        ``source()`` gives what a thread reads log-likelihoods from; see
        :class:`skvae.chain.passes.Pass`.
    block : int
        The most rows of a block.

    Attributes
    ----------
    states : ndarray of int, shape (n_rows,)
        The paths.
    log_p : ndarray of shape (n_rows,)
        The shares.
    """

    def __init__(self, start, transmat, sequences, source, block):
        self._forwards = BestPath(start, transmat)
        self._backwards = BestPath(np.ones(len(start)), np.ascontiguousarray(transmat.T))
        self._first, self._memory = sequences.first, sequences.memory
        self._source = source
        self._block = block
        self._units, self._halves = sequences.units(block)
        self.states = np.empty(sequences.n_rows, dtype=np.int64)
        self.log_p = np.empty(sequences.n_rows)

    def fill(self, pool):
        """Fill the paths; return self."""
        both = [half for pair in self._halves for half in pair]
        # All halves are under way at once.
        keep = BUDGET // max(1, len(self._halves))
        there = [*pool.map(lambda i, _: self._ahead(both[i], keep), len(both), 1)] if both else []
        whole = list(self._units)
        for i, pair in enumerate(self._halves):
            ends = self._meet(there[2 * i], there[2 * i + 1], pair)
            if ends is None:
                whole.append(Unit(pair[0].start, pair[1].stop))
                continue
            runs = list(zip(there[2 * i : 2 * i + 2], ends, strict=True))
            for _ in pool.map(lambda j, _, runs=runs: self._back(*runs[j]), 2, 1):
                pass
        if whole:
            for _ in pool.map(lambda a, b: [self._walk(u) for u in whole[a:b]], len(whole), 1):
                pass
        return self

    def _walk(self, unit):
        self._back(self._ahead(unit))

    def _ahead(self, unit, keep=BUDGET):
        """Return the Pass over a unit after its way there."""
        recursion = self._backwards if unit.reverse else self._forwards
        run = Pass(unit, recursion, self._source(), self._first, self._block, self._memory)

        def see(start, stop, log_p, _alpha):
            self.log_p[start:stop] = log_p

        run.forward(see, keep=keep)
        return run

    def _back(self, run, state=None):
        """Read the path of a unit, from the state of its last row if that is known."""

        def see(start, stop, path):
            self.states[start:stop] = path[:, 0]

        run.backward(see, None if state is None else np.array([float(state)]))

    def _meet(self, head, tail, pair):
        """Return the states on both sides of the middle, or None where no path gets across."""
        n = self._forwards.n_states
        with np.errstate(divide="ignore"):
            across = np.log(self._forwards.transmat)
        joint = head.message[:n, None] + across + tail.message[:n]
        best = int(joint.argmax())
        ends = best // n, best % n
        if joint[ends] == -np.inf:
            return None
        self.log_p[pair[1].start] += joint[ends]
        return ends
