"""How a chain is walked: its start and transitions made ready for the compiled recursions."""

import numpy as np

from skvae.chain import kernels_few_states as few_states
from skvae.chain import kernels_log as logspace
from skvae.chain import kernels_scaled as scaled

_SAFE = 1e-30  # transitions above it bring back whatever underflows
DENSE_SHARE = 0.1  # of non-zero transitions, above which products of whole rows are faster


def padded_size(n_states):
    """Return how many states the arrays have: a multiple of four."""
    return -(-n_states // 4) * 4


def pad(array, fill=0.0):
    """Return a square array or a row with states added that hold ``fill``."""
    size = padded_size(array.shape[-1])
    out = np.full((size,) * array.ndim, fill)
    out[tuple(slice(n) for n in array.shape)] = array
    return out


def _diagonals(matrix):
    """Return (places, diagonals) of the diagonals of a matrix that are not zero, padded.

    ``diagonals[d, i]`` is ``matrix[i, i + places[d]]``.
    """
    rows, columns = np.nonzero(matrix)
    places = np.unique(columns - rows)
    diagonals = np.zeros((len(places), padded_size(len(matrix))))
    diagonals[np.searchsorted(places, columns - rows), rows] = matrix[rows, columns]
    return places, diagonals


def _non_zeros(matrix):
    """Return (row pointers, columns, values) of the entries that are not zero."""
    rows, columns = np.nonzero(matrix)
    pointers = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return pointers, columns, matrix[rows, columns]


# By the number of states, padded.
_FORWARD_DENSE = {4: few_states.forward_of_four, 8: few_states.forward_of_eight}
_BACKWARD_DENSE = {4: few_states.backward_of_four, 8: few_states.backward_of_eight}
_FORWARD = {
    "dense": scaled.forward_guarded,
    "sparse": scaled.forward_sparse,
    "banded": scaled.forward_banded,
}
_BACKWARD = {"sparse": scaled.backward_sparse, "banded": scaled.backward_banded}


class Recursion:
    """The forward and backward recursions of one chain.

    Parameters
    ----------
    start : ndarray of shape (K,)
        Start probabilities, or any non-negative first message.
    transmat : ndarray of shape (K, K)
        Transition probabilities, or their transpose for the chain that runs backwards.
    log : bool
        Whether to work in log space, where nothing underflows.
    """

    def __init__(self, start, transmat, *, log=False):
        self.n_states = len(start)
        self.transmat = transmat
        self.log = log
        self._start = start
        with np.errstate(divide="ignore"):
            self.start = pad(np.log(start), -np.inf) if log else pad(start)
        self.guard = not log and transmat.min() < _SAFE
        if not (log or self.guard):  # no transition is raised
            matrix = pad(transmat)
            self._form, self._chain = "dense", (matrix, np.ascontiguousarray(matrix.T))
            return
        raised = np.where(transmat > 0, np.maximum(transmat, scaled.LEAST_TRANSITION), 0.0)
        self._slack = pad((raised - transmat).sum(axis=0))
        self._form, self._chain = self._with_zeros(raised, log)

    def _with_zeros(self, raised, log):
        """Return (form, chain) of transitions of which some are, or all but are, zero."""
        if log:
            pointers, columns, values = _non_zeros(self.transmat)
            return "sparse", (pointers, columns, np.log(values))
        n_given, limit = np.count_nonzero(raised), DENSE_SHARE * raised.size
        bands = _diagonals(raised)
        if bands[1].size < 2 * limit:  # whole diagonals are quick
            return "banded", bands
        if n_given < limit:
            return "sparse", _non_zeros(raised)
        matrix = pad(raised)
        return "dense", (matrix, np.ascontiguousarray(matrix.T))

    def in_log_space(self):
        """Return the same recursion in log space."""
        return Recursion(self._start, self.transmat, log=True)

    def load(self, log_likelihood, likelihood, top):
        """Fill ``likelihood`` (n, padded) up to a factor per row whose log goes to ``top`` (n,).

        ``log_likelihood`` (K, n) is overwritten. A row that is impossible in every state becomes
        one of which nothing was observed, and its ``top`` is −inf.
        """
        log_likelihood.max(axis=0, out=top)
        impossible = top == -np.inf
        if impossible.any():
            log_likelihood[:, impossible] = 0.0
            log_likelihood -= np.where(impossible, 0.0, top)
        else:
            log_likelihood -= top
        if self.guard:  # zero is then what is impossible, not what underflows
            never = log_likelihood == -np.inf
            np.maximum(log_likelihood, np.log(scaled.LEAST_LIKELIHOOD), out=log_likelihood)
            if never.any():
                log_likelihood[never] = -np.inf
        if not self.log:
            np.exp(log_likelihood, out=log_likelihood)
        likelihood[:, : self.n_states] = log_likelihood.T
        if len(self.start) > self.n_states:  # the padding
            likelihood[:, self.n_states :] = -np.inf if self.log else 0.0

    def no_marks(self):
        """Return what of α stems from marks before the first row: nothing."""
        return np.zeros((1, len(self.start)))

    def forward(self, first, likelihood, alpha, scale, marks):
        """Fill α (rows 1 and on, from row 0) and the normalisers; return whether all is well.

        ``marks`` (1, K) goes on from what :meth:`no_marks` gave; see
        :mod:`skvae.chain.kernels_scaled`.
        """
        given = first, self.start, self._chain, likelihood, alpha, scale
        if self.log:
            logspace.forward(*given)
            return True
        if not self.guard:
            return _FORWARD_DENSE.get(len(self.start), scaled.forward_dense)(*given)
        return _FORWARD[self._form](*given, self._slack, marks)

    def log_scale(self, scale):
        """Return the logs of the normalisers."""
        return scale if self.log else np.log(scale)

    def no_pairs(self):
        """Return empty sums over pairs of neighbours, to be added to."""
        return np.zeros(self._chain[0 if self._form == "dense" else -1].shape)

    def ones(self):
        """Return the message from behind the end of a sequence."""
        return np.full(len(self.start), 0.0 if self.log else 1.0)

    def balance(self, alpha, beta):
        """Scale β in place so that the posterior sums to one: rounding does not add up."""
        if not self.log:
            beta /= alpha @ beta

    def backward(self, first, likelihood, alpha, scale, weight, beta, gamma, pairs):
        """Fill γ times weights, move β to before the block, add to the pairs."""
        given = first, self._chain, likelihood, alpha, scale, weight, beta, gamma
        if self.log:
            logspace.backward(*given, pairs)
        elif self._form == "dense":
            _BACKWARD_DENSE.get(len(self.start), scaled.backward_dense)(*given)
            pairs += alpha[:-1].T @ likelihood
        else:
            _BACKWARD[self._form](*given, pairs)

    def finish_pairs(self, pairs):
        """Return the sums over pairs as a (K, K) array."""
        n = self.n_states
        if self._form == "dense":
            return self.transmat * pairs[:n, :n]
        out = np.zeros((n, n))
        if self._form == "banded":
            for shift, diagonal in zip(self._chain[0], pairs, strict=True):
                rows = np.arange(max(0, -shift), min(n, n - shift))
                out[rows, rows + shift] = diagonal[rows]
        else:
            pointers, columns, _ = self._chain
            out[np.repeat(np.arange(n), np.diff(pointers)), columns] = pairs
        return out

    def probabilities(self, alpha, logs=False):
        """Return rows of α without the padding as probabilities, or as their logs."""
        alpha = alpha[..., : self.n_states]
        if logs == self.log:
            return alpha
        with np.errstate(divide="ignore"):
            return np.log(alpha) if logs else np.exp(alpha)


class SingleState(Recursion):
    """The recursions of a chain of one state: there is nothing to walk."""

    def __init__(self):
        self.n_states = 1
        self.transmat = np.ones((1, 1))
        self.log = self.guard = False
        self.start = np.ones(1)

    def in_log_space(self):
        """Return the same: nothing underflows."""
        return self

    def load(self, log_likelihood, likelihood, top):
        """Fill ones, and the log-likelihoods into ``top``: all of a row is divided out."""
        top[:] = log_likelihood[0]
        likelihood[:] = 1.0

    def forward(self, first, likelihood, alpha, scale, marks):
        """Fill ones: a row's likelihood is all in what was divided out."""
        alpha[1:] = 1.0
        scale[:] = 1.0
        return True

    def no_pairs(self):
        """Return empty sums over pairs of neighbours."""
        return np.zeros((1, 1))

    def backward(self, first, likelihood, alpha, scale, weight, beta, gamma, pairs):
        """Fill the weights, and count the transitions."""
        gamma[:, 0] = weight
        pairs[0, 0] += weight[~first].sum()

    def finish_pairs(self, pairs):
        """Return the sums over pairs."""
        return pairs


def recursion_of(start, transmat):
    """Return the Recursion of a chain in the form that suits it."""
    return SingleState() if len(start) == 1 else Recursion(start, transmat)
