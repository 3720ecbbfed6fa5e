r"""The scaled recursions over a block of time steps, compiled.

With :math:`b_t(j) = p(x_t \mid j)` up to a factor per row,

.. math:: c_t \alpha_t(j) = b_t(j) \sum_i \alpha_{t-1}(i) A_{ij}, \qquad
          \beta_{t-1}(i) = \sum_j A_{ij} v_t(j), \quad v_t = b_t \beta_t / c_t,

so that :math:`\alpha_t` is the filtered posterior, :math:`\gamma_t = \alpha_t \beta_t` the smoothed
one and :math:`\alpha_{t-1}(i) A_{ij} v_t(j)` that of a pair (Rabiner, Proc. IEEE 77, 1989, with
the scaling of section V.A).

Arrays are padded with impossible states to a multiple of four: four rows of the matrix are added at
a time, which halves the loads and stores (measured at 8 to 128 states).

A share α that underflows is lost for good unless the chain brings it back from the other states.
Where it might not (guarded), the shares of reachable states are kept at ``MARK`` at least, and
what stems from marks is carried along beside α: it bounds the error of every α. Where that could be
felt, or a normaliser all but vanishes, the sequence is to be done in log space.
"""

import numpy as np

from skvae.chain.compilation import compiled, inlined

# Where it is guarded, nothing is ever so small that a product is no longer a normal number: these
# take a processor a hundred times as long as others.
MARK = 1e-140  # what stands for a reachable state's share that is smaller
LEAST_TRANSITION = 1e-60  # what stands for a transition that is smaller
LEAST_LIKELIHOOD = 1e-100  # what stands for a likelihood that is smaller, relative to its row's
_LEAST_STEM = 1e-190  # of a mark, at most 1e-50 of the share it is a part of
LEAST_MESSAGE = 1e-100  # of β and v: the posterior is no larger
SMALLEST_SCALE = 1e-100  # a normaliser below it has lost too much
LARGEST_MARKS = 1e-14  # of all shares, what may stem from marks


# Rows are passed as an array and an index: a view of a row costs as much as a small product.


@inlined
def _push(rows, t, matrix, out):
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
def _mark(predicted, likelihood, alpha, t, scale, stems, marks):
    """Raise the shares of reachable states to the mark; return what now stems from marks.

    ``stems`` is what the prediction owes to marks, ``marks`` (1, K) is filled with what α does.
    """
    total, share = 0.0, 1.0 / scale
    for j in range(len(predicted)):
        stem = stems[j] if stems[j] > _LEAST_STEM else 0.0
        mark = stem * likelihood[t, j] * share
        value = alpha[t + 1, j]
        # Without a branch, so that it is vectorised.
        low = (value < MARK) | (likelihood[t, j] < 1.001 * LEAST_LIKELIHOOD)
        low &= (predicted[j] > 0.0) & (likelihood[t, j] > 0.0)
        raised = max(value, MARK)
        alpha[t + 1, j] = raised if low else value
        mark = raised if low else mark
        marks[0, j] = mark
        total += mark
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
def _settle(beta):
    """Set to zero what no posterior could feel."""
    for j in range(len(beta)):
        if beta[j] < LEAST_MESSAGE:
            beta[j] = 0.0


@inlined
def _push_few(rows, t, chain, out):
    """Fill ``out`` with rows[t] @ matrix, of a matrix as (row pointers, columns, values)."""
    pointers, columns, values = chain
    out[:] = 0.0
    for i in range(len(pointers) - 1):
        a = rows[t, i]
        if a > 0.0:
            for p in range(pointers[i], pointers[i + 1]):
                out[columns[p]] += a * values[p]


@inlined
def _push_band(rows, t, chain, out):
    """Fill ``out`` with rows[t] @ matrix, of a matrix as (places of diagonals, diagonals)."""
    places, diagonals = chain
    n = len(out)
    out[:] = 0.0
    for d in range(len(places)):
        shift = places[d]
        for i in range(max(0, -shift), min(n, n - shift)):
            # Unsigned: an index that may count from the end is not vectorised.
            out[np.uintp(i + shift)] += rows[t, np.uintp(i)] * diagonals[d, np.uintp(i)]


@compiled
def forward_dense(first, start, chain, likelihood, alpha, scale):
    """Fill the filtered posteriors and normalisers of a block; return whether all is well.

    Parameters
    ----------
    first : ndarray of bool, shape (n,)
        Whether a row begins a sequence.
    start : ndarray of shape (K,)
        Start probabilities, padded.
    chain : tuple
        The transition matrix (K, K), padded, and its transpose.
    likelihood : ndarray of shape (n, K)
        Of each row up to a factor; at least one is 1.
    alpha : ndarray of shape (n + 1, K)
        Row 0 is that of the row before the block; the rest is filled.
    scale : ndarray of shape (n,)
        Filled with the normalisers.
    """
    matrix = chain[0]
    predicted, row = np.empty_like(start), np.empty((1, len(start)))
    row[0] = alpha[0]
    well = True
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
            _push(row, 0, matrix, predicted)
            for j in range(len(start)):
                alpha[t, j] = row[0, j] * share
        total = 0.0
        for j in range(len(start)):
            u = predicted[j] * share * likelihood[t, j]
            row[0, j] = u
            total += u
        scale[t] = total
        share = 1.0 / total
        well &= total >= SMALLEST_SCALE
    for j in range(len(start)):
        alpha[len(first), j] = row[0, j] * share
    return well


@compiled
def forward_guarded(first, start, chain, likelihood, alpha, scale, slack, marks):
    """Fill the same as :func:`forward_dense`, with marks for what underflows.

    Parameters
    ----------
    first, start, chain, likelihood, alpha, scale
        As for :func:`forward_dense`.
    slack : ndarray of shape (K,)
        By how much the transitions into each state were raised, in all.
    marks : ndarray of shape (1, K)
        What of α stems from marks: before the block on entry, at its end on return.
    """
    matrix = chain[0]
    predicted, stems = np.empty_like(start), np.zeros_like(start)
    well = True
    for t in range(len(first)):
        if first[t]:
            predicted[:] = start
            stems[:] = 0.0
        else:
            _push(alpha, t, matrix, predicted)
            _push(marks, 0, matrix, stems)
            stems += slack
        scale[t] = _absorb(predicted, likelihood, alpha, t)
        found = _mark(predicted, likelihood, alpha, t, scale[t], stems, marks)
        well &= scale[t] >= SMALLEST_SCALE and found <= LARGEST_MARKS
    return well


@compiled
def backward_dense(first, chain, likelihood, alpha, scale, weight, beta, gamma):
    """Fill the smoothed posteriors of a block.

    The sum of the posteriors of pairs is then ``A * (alpha[:-1].T @ v)``.

    Parameters
    ----------
    first, chain, likelihood, alpha, scale
        As for :func:`forward_dense`. The likelihoods become v times the weight; zero where a
        sequence begins.
    weight : ndarray of shape (n,)
        What each row counts.
    beta : ndarray of shape (K,)
        β of the last row on entry, of the row before the block on return.
    gamma : ndarray of shape (n, K)
        Filled with γ times the weight.
    """
    transposed = chain[1]
    for t in range(len(first) - 1, -1, -1):
        _emit(likelihood, scale, weight, alpha, beta, gamma, t)
        if first[t]:
            for j in range(len(beta)):
                likelihood[t, j] = 0.0
                beta[j] = 1.0
        else:
            _push(likelihood, t, transposed, beta)
            _settle(beta)
            for j in range(len(beta)):
                likelihood[t, j] *= weight[t]


@compiled
def forward_sparse(first, start, chain, likelihood, alpha, scale, slack, marks):
    """Fill the same as :func:`forward_guarded`.

    ``chain`` is (row pointers, columns, values) of the transitions.
    """
    predicted, stems = np.empty_like(start), np.zeros_like(start)
    well = True
    for t in range(len(first)):
        if first[t]:
            predicted[:] = start
            stems[:] = 0.0
        else:
            _push_few(alpha, t, chain, predicted)
            _push_few(marks, 0, chain, stems)
            stems += slack
        scale[t] = _absorb(predicted, likelihood, alpha, t)
        found = _mark(predicted, likelihood, alpha, t, scale[t], stems, marks)
        well &= scale[t] >= SMALLEST_SCALE and found <= LARGEST_MARKS
    return well


@compiled
def backward_sparse(first, chain, likelihood, alpha, scale, weight, beta, gamma, pairs):
    """Fill the smoothed posteriors of a block.

    As :func:`backward_dense`, but ``chain`` is (row pointers, columns, values) of the transitions
    and ``pairs``, one for each of them, gets the sums of α_{t−1}(i) A_ij v_t(j) added.
    """
    pointers, columns, values = chain
    for t in range(len(first) - 1, -1, -1):
        _emit(likelihood, scale, weight, alpha, beta, gamma, t)
        if first[t]:
            likelihood[t] = 0.0
            beta[:] = 1.0
            continue
        for i in range(len(pointers) - 1):
            a, total = weight[t] * alpha[t, i], 0.0
            for p in range(pointers[i], pointers[i + 1]):
                ahead = values[p] * likelihood[t, columns[p]]
                total += ahead
                pairs[p] += a * ahead
            beta[i] = total
        _settle(beta)


@compiled
def forward_banded(first, start, chain, likelihood, alpha, scale, slack, marks):
    """Fill the same as :func:`forward_guarded`.

    ``chain`` is (places, diagonals): ``diagonals[d, i]`` is the transition from i to i + places[d].
    """
    predicted, stems = np.empty_like(start), np.zeros_like(start)
    well = True
    for t in range(len(first)):
        if first[t]:
            predicted[:] = start
            stems[:] = 0.0
        else:
            _push_band(alpha, t, chain, predicted)
            _push_band(marks, 0, chain, stems)
            stems += slack
        scale[t] = _absorb(predicted, likelihood, alpha, t)
        found = _mark(predicted, likelihood, alpha, t, scale[t], stems, marks)
        well &= scale[t] >= SMALLEST_SCALE and found <= LARGEST_MARKS
    return well


@compiled
def backward_banded(first, chain, likelihood, alpha, scale, weight, beta, gamma, pairs):
    """Fill the smoothed posteriors of a block.

    As :func:`backward_sparse`, but ``chain`` is (places, diagonals), and so are the ``pairs``.
    """
    places, diagonals = chain
    n = len(beta)
    for t in range(len(first) - 1, -1, -1):
        _emit(likelihood, scale, weight, alpha, beta, gamma, t)
        if first[t]:
            likelihood[t] = 0.0
            beta[:] = 1.0
            continue
        beta[:] = 0.0
        for d in range(len(places)):
            shift = places[d]
            for k in range(max(0, -shift), min(n, n - shift)):
                i = np.uintp(k)
                ahead = diagonals[d, i] * likelihood[t, np.uintp(k + shift)]
                beta[i] += ahead
                pairs[d, i] += weight[t] * alpha[t, i] * ahead
        _settle(beta)
