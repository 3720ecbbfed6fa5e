r"""The scaled recursions over a block of time steps, compiled.

With :math:`b_t(j) = p(x_t \mid j)` up to a factor per row,

.. math:: c_t \alpha_t(j) = b_t(j) \sum_i \alpha_{t-1}(i) A_{ij}, \qquad
          \beta_{t-1}(i) = \sum_j A_{ij} v_t(j), \quad v_t = b_t \beta_t / c_t,

so that :math:`\alpha_t` is the filtered posterior, :math:`\gamma_t = \alpha_t \beta_t` the smoothed
one and :math:`\alpha_{t-1}(i) A_{ij} v_t(j)` that of a pair (Rabiner, Proc. IEEE 77, 1989, with
the scaling of section V.A).

Arrays are padded with impossible states to a multiple of four: four rows of the matrix are added at
a time, which halves the loads and stores (measured at 8 to 128 states).

If an entry of α, a *share*, underflows, it stays zero unless the next transitions restore it from
the other states. For chains in which they may not (:func:`forward_bounded`), the shares of
reachable states are at least ``LEAST_SHARE``: smaller ones are raised to it. The part of every
share that comes from raised shares is computed too, and bounds the error of α. If that bound
exceeds ``LARGEST_ERROR``, or a normaliser is almost zero, the segment has to be processed in log
space.

The transitions have one of three forms, and a function of any form is compiled for each of them:
*dense*, the padded matrix and its transpose; *sparse*, (row pointers, columns, values) of the
entries that are not zero; *banded*, (shifts, diagonals), where ``diagonals[d, i]`` is the
transition from i to i + shifts[d].
"""

import math

import numpy as np

from skvae.chain.compilation import by_form, compiled, inlined

# Where shares are bounded, no number is so small that a product leaves the normal range: denormal
# numbers take a processor a hundred times as long as others.
LEAST_SHARE = 1e-140  # smaller shares of reachable states are raised to it
LEAST_TRANSITION = 1e-60  # smaller transitions are raised to it
LEAST_LIKELIHOOD = 1e-100  # smaller likelihoods, relative to the largest of a row, are raised to it
_LEAST_ERROR = 1e-190  # of a raised share, at most 1e-50 of the share it is a part of
LEAST_MESSAGE = 1e-100  # smaller entries of β and v are set to zero: the posterior is no larger
SMALLEST_SCALE = 1e-100  # a normaliser below it has lost too many digits
_LINE = 8  # numbers of a cache line
LARGEST_ERROR = 1e-14  # of all shares: the largest part that may come from raised shares


# Products with the transitions. Rows are passed as an array and an index: a view of a row costs as
# much as a small product.


@inlined
def _product(rows, t, matrix, out):
    """Fill ``out`` with rows[t] @ matrix."""
    n = len(out)
    for j in range(n):
        out[j] = 0.0
    for i in range(0, n, 4):
        a, b, c, d = rows[t, i], rows[t, i + 1], rows[t, i + 2], rows[t, i + 3]
        for j in range(n):
            out[j] += (a * matrix[i, j] + b * matrix[i + 1, j]) + (
                c * matrix[i + 2, j] + d * matrix[i + 3, j]
            )


def _push_dense(rows, t, transitions, out):
    """Fill ``out`` with rows[t] @ A."""
    _product(rows, t, transitions[0], out)


def _push_sparse(rows, t, transitions, out):
    """Fill ``out`` with rows[t] @ A."""
    pointers, columns, values = transitions
    out[:] = 0.0
    for i in range(len(pointers) - 1):
        a = rows[t, i]
        if a > 0.0:
            for p in range(pointers[i], pointers[i + 1]):
                out[columns[p]] += a * values[p]


def _push_banded(rows, t, transitions, out):
    """Fill ``out`` with rows[t] @ A."""
    shifts, diagonals = transitions
    n = len(out)
    out[:] = 0.0
    for d in range(len(shifts)):
        shift = shifts[d]
        for i in range(max(0, -shift), min(n, n - shift)):
            # Unsigned: an index that may count from the end is not vectorised.
            out[np.uintp(i + shift)] += rows[t, np.uintp(i)] * diagonals[d, np.uintp(i)]


def _pull_sparse(v, t, transitions, weight, alpha, beta, pairs):
    """Fill ``beta`` with A @ v[t]; add α_{t−1}(i) A_ij v_t(j) times the weight to ``pairs``."""
    pointers, columns, values = transitions
    for i in range(len(pointers) - 1):
        a, total = weight[t] * alpha[t, i], 0.0
        for p in range(pointers[i], pointers[i + 1]):
            ahead = values[p] * v[t, columns[p]]
            total += ahead
            pairs[p] += a * ahead
        beta[i] = total


def _pull_banded(v, t, transitions, weight, alpha, beta, pairs):
    """Fill ``beta`` with A @ v[t]; add α_{t−1}(i) A_ij v_t(j) times the weight to ``pairs``."""
    shifts, diagonals = transitions
    n = len(beta)
    beta[:] = 0.0
    for d in range(len(shifts)):
        shift = shifts[d]
        for k in range(max(0, -shift), min(n, n - shift)):
            i = np.uintp(k)
            ahead = diagonals[d, i] * v[t, np.uintp(k + shift)]
            beta[i] += ahead
            pairs[d, i] += weight[t] * alpha[t, i] * ahead


def _form(_, __, transitions, *___):
    """Return the form of transitions by their numba type."""
    if len(transitions) == 3:
        return "sparse"
    return "dense" if transitions[0].ndim == 2 else "banded"


_push = by_form(_form, {"dense": _push_dense, "sparse": _push_sparse, "banded": _push_banded})
_pull = by_form(_form, {"sparse": _pull_sparse, "banded": _pull_banded})


# One row ------------------------------------------------------------------------------------------


@inlined
def _absorb(predicted, likelihood, alpha, t):
    """Fill row t + 1 of ``alpha`` with the normalised product; return the normaliser."""
    total = 0.0
    for j in range(len(predicted)):
        u = predicted[j] * likelihood[t, j]
        alpha[t + 1, j] = u
        total += u
    share = 1.0 / total
    for j in range(len(predicted)):
        alpha[t + 1, j] *= share
    return total


@inlined
def _raise_shares(predicted, likelihood, alpha, t, scale, ahead, error):
    """Raise the shares of reachable states to the least one; return the bound of all errors.

    ``ahead`` is the error of the prediction; ``error`` (1, K) is filled with that of α.
    """
    total, share = 0.0, 1.0 / scale
    for j in range(len(predicted)):
        own = ahead[j] if ahead[j] > _LEAST_ERROR else 0.0
        own = own * likelihood[t, j] * share
        value = alpha[t + 1, j]
        # Without a branch, so that it is vectorised.
        low = (value < LEAST_SHARE) | (likelihood[t, j] < 1.001 * LEAST_LIKELIHOOD)
        low &= (predicted[j] > 0.0) & (likelihood[t, j] > 0.0)
        raised = max(value, LEAST_SHARE)
        alpha[t + 1, j] = raised if low else value
        own = raised if low else own
        error[0, j] = own
        total += own
    return total


@inlined
def _emit(likelihood, scale, weight, alpha, beta, gamma, t):
    """Fill γ of row t and turn its likelihoods into v."""
    share = 1.0 / scale[t]
    for j in range(len(beta)):
        gamma[t, j] = weight[t] * alpha[t + 1, j] * beta[j]
        v = likelihood[t, j] * share * beta[j]
        likelihood[t, j] = v if v > LEAST_MESSAGE else 0.0


@inlined
def _drop_least(beta):
    """Set entries below LEAST_MESSAGE to zero: they cannot change a posterior."""
    for j in range(len(beta)):
        if beta[j] < LEAST_MESSAGE:
            beta[j] = 0.0


# The recursions -----------------------------------------------------------------------------------


@compiled
def load(log_likelihood, likelihood, top, bounded):
    """Fill the log-likelihoods of a block less their largest value in each row.

    Parameters
    ----------
    log_likelihood : ndarray of shape (K, n)
        Of its rows.
    likelihood : ndarray of shape (n, K padded)
        Filled; zeros for the states of the padding. A row that is impossible in every state becomes
        a row without an observation, of zeros.
    top : ndarray of shape (n,)
        Filled with the largest values, −inf for an impossible row.
    bounded : bool
        Whether likelihoods below LEAST_LIKELIHOOD are raised to it: zero then means impossible, not
        underflow.
    """
    n_states, n_rows = log_likelihood.shape
    for t in range(n_rows):
        top[t] = log_likelihood[0, t]
    for j in range(1, n_states):
        for t in range(n_rows):
            value = log_likelihood[j, t]
            top[t] = value if value > top[t] else top[t]
    # A cache line of each state at a time: lines of whole rows would displace each other.
    for begin in range(0, n_rows, _LINE):
        end = min(begin + _LINE, n_rows)
        for j in range(n_states):
            for t in range(begin, end):
                likelihood[t, j] = log_likelihood[j, t] - top[t]
    least = math.log(LEAST_LIKELIHOOD)
    for t in range(n_rows):
        for j in range(n_states, likelihood.shape[1]):
            likelihood[t, j] = 0.0
        if top[t] == -np.inf:
            for j in range(n_states):
                likelihood[t, j] = 0.0
        elif bounded:
            for j in range(n_states):
                if -np.inf < likelihood[t, j] < least:
                    likelihood[t, j] = least


@compiled
def load_rows(log_likelihood, likelihood, top, bounded):
    """Fill the same as :func:`load` from log-likelihoods (n, K), a row of states after the other.

    Measured with 64 states: a fifth of the time of a transposition and :func:`load`.
    """
    n_rows, n_states = log_likelihood.shape
    least = math.log(LEAST_LIKELIHOOD)
    four = n_states // 4 * 4
    for t in range(n_rows):
        # Four maxima at a time: none waits for the one before.
        a = b = c = d = -np.inf
        for j in range(0, four, 4):
            a = max(a, log_likelihood[t, j])
            b = max(b, log_likelihood[t, j + 1])
            c = max(c, log_likelihood[t, j + 2])
            d = max(d, log_likelihood[t, j + 3])
        largest = max(max(a, b), max(c, d))
        for j in range(four, n_states):
            largest = max(largest, log_likelihood[t, j])
        top[t] = largest
        for j in range(n_states, likelihood.shape[1]):
            likelihood[t, j] = 0.0
        if largest == -np.inf:
            for j in range(n_states):
                likelihood[t, j] = 0.0
            continue
        for j in range(n_states):
            likelihood[t, j] = log_likelihood[t, j] - largest
        if bounded:
            for j in range(n_states):
                if -np.inf < likelihood[t, j] < least:
                    likelihood[t, j] = least


@compiled
def forward(first, start, matrix, likelihood, alpha, scale):
    """Fill the filtered posteriors and normalisers of a block; return whether they are exact.

    Parameters
    ----------
    first : ndarray of bool, shape (n,)
        Whether a row begins a sequence.
    start : ndarray of shape (K,)
        Start probabilities, padded.
    matrix : ndarray of shape (K, K)
        The transitions, padded.
    likelihood : ndarray of shape (n, K)
        The likelihoods of each row up to a factor; the largest is 1.
    alpha : ndarray of shape (n + 1, K)
        Row 0 is that of the row before the block; the rest is filled.
    scale : ndarray of shape (n,)
        Filled with the normalisers.
    """
    predicted, row = np.empty(len(start)), np.empty((1, len(start)))
    for j in range(len(start)):
        row[0, j] = alpha[0, j]
    exact = True
    # A row is divided by its normaliser while the next is predicted: nothing waits for the division
    # (measured: a fifth of the time with 32 states).
    share = 1.0
    for t in range(len(first)):
        if first[t]:
            for j in range(len(start)):
                alpha[t, j] = row[0, j] * share
                predicted[j] = start[j]
            share = 1.0
        else:
            _product(row, 0, matrix, predicted)
            for j in range(len(start)):
                alpha[t, j] = row[0, j] * share
        total = 0.0
        for j in range(len(start)):
            u = predicted[j] * share * likelihood[t, j]
            row[0, j] = u
            total += u
        scale[t] = total
        share = 1.0 / total
        exact &= total >= SMALLEST_SCALE
    for j in range(len(start)):
        alpha[len(first), j] = row[0, j] * share
    return exact


@compiled
def forward_bounded(first, start, transitions, likelihood, alpha, scale, slack, error):
    """Fill the same as :func:`forward` for transitions of any form, with a bound of the error.

    With dense transitions it takes two to three times as long (measured for 4 to 64 states).

    Parameters
    ----------
    first, start, likelihood, alpha, scale
        As for :func:`forward`.
    transitions : tuple
        Of any form.
    slack : ndarray of shape (K,)
        The sum by which the transitions into each state were raised.
    error : ndarray of shape (1, K)
        The part of α that stems from raised shares: before the block on entry, at its end on
        return.
    """
    predicted, ahead = np.empty(len(start)), np.empty(len(start))
    exact = True
    for t in range(len(first)):
        if first[t]:
            for j in range(len(start)):
                predicted[j], ahead[j] = start[j], 0.0
        else:
            _push(alpha, t, transitions, predicted)
            _push(error, 0, transitions, ahead)
            for j in range(len(start)):
                ahead[j] += slack[j]
        scale[t] = _absorb(predicted, likelihood, alpha, t)
        total = _raise_shares(predicted, likelihood, alpha, t, scale[t], ahead, error)
        exact &= scale[t] >= SMALLEST_SCALE and total <= LARGEST_ERROR
    return exact


@compiled
def backward_dense(first, transposed, likelihood, alpha, scale, weight, beta, gamma):
    """Fill the smoothed posteriors of a block under dense transitions.

    The sums over pairs are then ``A * (alpha[:-1].T @ v)``.

    Parameters
    ----------
    first, likelihood, alpha, scale
        As for :func:`forward`. The likelihoods become v times the weight, zero where a sequence
        begins.
    transposed : ndarray of shape (K, K)
        The transitions into each state, padded.
    weight : ndarray of shape (n,)
        The weight of each row.
    beta : ndarray of shape (K,)
        β of the last row on entry, of the row before the block on return.
    gamma : ndarray of shape (n, K)
        Filled with γ times the weight.
    """
    for t in range(len(first) - 1, -1, -1):
        _emit(likelihood, scale, weight, alpha, beta, gamma, t)
        if first[t]:
            for j in range(len(beta)):
                likelihood[t, j] = 0.0
                beta[j] = 1.0
        else:
            _product(likelihood, t, transposed, beta)
            _drop_least(beta)
            for j in range(len(beta)):
                likelihood[t, j] *= weight[t]


@compiled
def backward(first, transitions, likelihood, alpha, scale, weight, beta, gamma, pairs):
    """Fill the same under sparse or banded transitions, and add to the sums over pairs.

    Parameters
    ----------
    first, likelihood, alpha, scale, weight, beta, gamma
        As for :func:`backward_dense`. The likelihoods become v without the weight.
    transitions : tuple
        Sparse or banded.
    pairs : ndarray
        One number for each transition: α_{t−1}(i) A_ij v_t(j) times the weight is added.
    """
    for t in range(len(first) - 1, -1, -1):
        _emit(likelihood, scale, weight, alpha, beta, gamma, t)
        if first[t]:
            for j in range(len(beta)):
                likelihood[t, j] = 0.0
                beta[j] = 1.0
        else:
            _pull(likelihood, t, transitions, weight, alpha, beta, pairs)
            _drop_least(beta)
