"""One chain prepared for the compiled recursions: padded, in the form that suits its zeros."""

import numpy as np

from skvae.chain import kernels_few_states as few_states
from skvae.chain import kernels_log, kernels_scaled, kernels_sequences

SAFE = 1e-30  # if all transitions are larger, the next row restores entries of α that underflow
_LEAST_JOINT = 1e-100  # sum of products of two halves' messages; below it too many digits are lost
DENSE_SHARE = 0.1  # of transitions that are not zero, above which products of whole rows are faster


def pad(array, fill=0.0):
    """Return a square array or a row, filled up with states to a multiple of four."""
    n = array.shape[-1]
    if n % 4 == 0:
        return np.array(array, order="C")
    out = np.empty((-(-n // 4) * 4,) * array.ndim)
    out.fill(fill)
    out[(slice(n),) * array.ndim] = array
    return out


def prepared(start, transmat):
    """Return (start, A, its transpose), filled up with zeros to a multiple of four states."""
    n = len(start)
    width = -(-n // 4) * 4
    first, matrix = np.zeros(width), np.zeros((width, width))
    first[:n] = start
    matrix[:n, :n] = transmat
    return first, matrix, np.array(matrix.T, order="C")


def _banded(matrix):
    """Return (shifts, diagonals) of the diagonals of a matrix that are not zero, padded."""
    rows, columns = np.nonzero(matrix)
    shifts = np.unique(columns - rows)
    diagonals = np.zeros((len(shifts), len(pad(matrix))))
    diagonals[np.searchsorted(shifts, columns - rows), rows] = matrix[rows, columns]
    return shifts, diagonals


def sparse(matrix):
    """Return (row pointers, columns, values) of the entries that are not zero."""
    rows, columns = np.nonzero(matrix)
    pointers = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return pointers, columns, matrix[rows, columns]


def _few(matrix):
    """Return (form, transitions) of a matrix of few entries, ("dense", None) of others."""
    n_entries, limit = np.count_nonzero(matrix), DENSE_SHARE * matrix.size
    if n_entries < 2 * limit:
        transitions = _banded(matrix)
        if transitions[1].size < 2 * limit:  # whole diagonals are quick
            return "banded", transitions
    return ("sparse", sparse(matrix)) if n_entries < limit else ("dense", None)


# By the number of states, padded.
FORWARD = {4: few_states.forward_of_four, 8: few_states.forward_of_eight}
BACKWARD = {4: few_states.backward_of_four, 8: few_states.backward_of_eight}


class Recursion:
    """The scaled forward and backward recursions of one chain.

    Parameters
    ----------
    start : ndarray of shape (K,)
        Start probabilities, or any non-negative first message.
    transmat : ndarray of shape (K, K)
        Transition probabilities, or their transpose for the chain that runs backwards.

    Attributes
    ----------
    start : ndarray of shape (K padded,)
        The first message.
    last : ndarray of shape (K padded,)
        The message from the end of a sequence to its last row.
    bounded : bool
        Whether a bound of α's error is computed with α, because some transition is too small to
        restore entries of α that underflow.
    pairs_shape : tuple of int
        The shape of the sums over pairs, before :meth:`finish_pairs`.
    """

    logs = False

    def __init__(self, start, transmat):
        self.n_states = len(start)
        self.transmat = transmat
        self._first = start
        self.bounded = bool(transmat.min() < SAFE)
        self._form, matrix = "dense", transmat
        if self.bounded:
            least = kernels_scaled.LEAST_TRANSITION
            matrix = np.where(transmat > 0, np.maximum(transmat, least), 0.0)
            self._slack = pad((matrix - transmat).sum(axis=0))
            self._form, self._transitions = _few(matrix)
        self.start, *dense = prepared(start, matrix)
        if self._form == "dense":
            self._transitions = tuple(dense)
        self.last = np.ones(len(self.start))
        self.pairs_shape = self._transitions[0 if self._form == "dense" else -1].shape

    def in_log_space(self):
        """Return the same recursions in log space, where nothing underflows."""
        return LogRecursion(self._first, self.transmat)

    def load(self, log_likelihood, likelihood, top, reverse=False):
        """Fill ``likelihood`` (n, padded), each row divided by its largest value.

        The log of that value goes to ``top`` (n,). ``log_likelihood`` is (K, n); with ``reverse``
        its last row is processed first. A row that is impossible in every state becomes a row
        without an observation, and its ``top`` is −inf.
        """
        if not reverse and log_likelihood.flags.f_contiguous:
            kernels_scaled.load_rows(log_likelihood.T, likelihood, top, self.bounded)
        else:
            log_likelihood = np.ascontiguousarray(log_likelihood[:, :: -1 if reverse else 1])
            kernels_scaled.load(log_likelihood, likelihood, top, self.bounded)
        if not self.logs:
            np.exp(likelihood, out=likelihood)

    def forward(self, first, likelihood, alpha, scale, error):
        """Fill α (rows 1 and on, from row 0) and the normalisers; return their logs.

        The result is None if they are not exact, and the segment has to be processed in log space.
        ``error`` (1, K) holds the bound of α's error in row 0, and afterwards in the last row; see
        :mod:`skvae.chain.kernels_scaled`.
        """
        rows = likelihood, alpha, scale
        if self.bounded:
            exact = kernels_scaled.forward_bounded(
                first, self.start, self._transitions, *rows, self._slack, error
            )
        elif len(self.start) in FORWARD:
            exact = FORWARD[len(self.start)](first, self.start, self._transitions[0], *rows)
        elif (runs := kernels_sequences.runs_of(first)) is not None:
            exact = kernels_sequences.forward(runs, first, self.start, self._transitions[0], *rows)
        else:
            exact = kernels_scaled.forward(first, self.start, self._transitions[0], *rows)
        return np.log(scale) if exact else None

    def backward(self, first, likelihood, alpha, scale, weight, beta, gamma, pairs):
        """Fill γ times weights, update β to the row before the block, add to the pairs."""
        beta /= alpha[-1] @ beta  # the posterior sums to one: rounding does not add up
        rows = likelihood, alpha, scale, weight, beta, gamma
        if self._form != "dense":
            kernels_scaled.backward(first, self._transitions, *rows, pairs)
            return
        if len(self.start) in BACKWARD:
            BACKWARD[len(self.start)](first, self._transitions[1], *rows)
        elif (runs := kernels_sequences.runs_of(first)) is not None:
            kernels_sequences.backward(runs, first, self._transitions[1], *rows)
        else:
            kernels_scaled.backward_dense(first, self._transitions[1], *rows)
        pairs += alpha[:-1].T @ likelihood

    def finish_pairs(self, pairs):
        """Return the sums over pairs as a (K, K) array."""
        n = self.n_states
        if self._form == "dense":
            return self.transmat * pairs[:n, :n]
        out = np.zeros((n, n))
        if self._form == "banded":
            for shift, diagonal in zip(self._transitions[0], pairs, strict=True):
                rows = np.arange(max(0, -shift), min(n, n - shift))
                out[rows, rows + shift] = diagonal[rows]
        else:
            pointers, columns, _ = self._transitions
            out[np.repeat(np.arange(n), np.diff(pointers)), columns] = pairs
        return out

    def join(self, head, tail):
        """Return (messages, log-probability, posterior of pairs) of the boundary of two halves.

        The result is None if their common states have almost no probability, or the bound of the
        error is too large. The backward passes over both halves begin with the messages.

        Parameters
        ----------
        head, tail : SegmentPasses
            The halves after their forward passes; the tail's pass is under the reversed chain.
        """
        n, transmat = self.n_states, self.transmat
        (alpha, error), (psi, error_of_psi) = head.messages[-1], tail.messages[-1]
        alpha, psi = alpha[:n], psi[:n]
        pairs = alpha[:, None] * transmat * psi
        total = pairs.sum()
        error = error[0, :n] @ transmat @ psi + alpha @ transmat @ error_of_psi[0, :n]
        if not (total >= _LEAST_JOINT and error <= kernels_scaled.LARGEST_ERROR * total):
            return None
        messages = []
        for message in (transmat @ psi, alpha @ transmat):
            padded = self.last.copy()
            padded[:n] = message / total
            messages.append(padded)
        return messages, np.log(total), pairs / total

    def probabilities(self, alpha, logs=False):
        """Return rows of α without the padding as probabilities, or as their logs."""
        alpha = alpha[..., : self.n_states]
        if not logs:
            return alpha
        with np.errstate(divide="ignore"):
            return np.log(alpha)


class LogRecursion(Recursion):
    """The recursions in log space: slower, and nothing underflows."""

    logs = True
    bounded = False
    _form = "sparse"

    def __init__(self, start, transmat):
        self.n_states = len(start)
        self.transmat = transmat
        with np.errstate(divide="ignore"):
            self.start = pad(np.log(start), -np.inf)
        self.last = np.zeros(len(self.start))
        pointers, columns, values = sparse(transmat)
        self._transitions = pointers, columns, np.log(values)
        self.pairs_shape = values.shape

    def in_log_space(self):
        """Return self."""
        return self

    def forward(self, first, likelihood, alpha, scale, error):
        """Fill ln α and the log normalisers, which are always exact; return them."""
        kernels_log.forward(first, self.start, self._transitions, likelihood, alpha, scale)
        return scale

    def backward(self, first, likelihood, alpha, scale, weight, beta, gamma, pairs):
        """Fill γ times weights, update ln β to the row before the block, add to the pairs."""
        kernels_log.backward(
            first, self._transitions, likelihood, alpha, scale, weight, beta, gamma, pairs
        )

    def probabilities(self, alpha, logs=False):
        """Return rows of ln α without the padding as probabilities, or as they are."""
        alpha = alpha[..., : self.n_states]
        return alpha if logs else np.exp(alpha)


class SingleState(Recursion):
    """The recursions of a chain of one state, where every posterior is one."""

    bounded = False
    pairs_shape = 1, 1

    def __init__(self, start, transmat):
        self.n_states = 1
        self.transmat = np.ones((1, 1))
        self.start = self.last = np.ones(1)

    def in_log_space(self):
        """Return self, as nothing underflows."""
        return self

    def load(self, log_likelihood, likelihood, top, reverse=False):
        """Fill ``likelihood`` with ones and ``top`` with the log-likelihoods."""
        top[:] = log_likelihood[0, ::-1] if reverse else log_likelihood[0]
        likelihood[:] = 1.0

    def forward(self, first, likelihood, alpha, scale, error):
        """Fill ones: ``top`` of :meth:`load` has the whole likelihood of a row."""
        alpha[1:] = 1.0
        scale[:] = 1.0
        return 0.0

    def backward(self, first, likelihood, alpha, scale, weight, beta, gamma, pairs):
        """Fill the weights, and count the transitions."""
        gamma[:, 0] = weight
        pairs[0, 0] += weight[~first].sum()

    def finish_pairs(self, pairs):
        """Return the sums over pairs."""
        return pairs
