"""The scaled recursions of at most eight states, compiled: a row stays in registers.

The same as those of dense transitions in :mod:`skvae.chain.kernels_scaled`. There a row is an array
that is written and read again for each time step; here it is one or two tuples of four numbers
(measured: a third of the time with four states, a half with eight).
"""

import numpy as np

from skvae.chain.compilation import compiled, inlined

# As there: a compiled function uses the constants of its own file only.
LEAST_MESSAGE = 1e-100
SMALLEST_SCALE = 1e-100
_FOUR_ONES = (1.0, 1.0, 1.0, 1.0)


@inlined
def _take(rows, t, j):
    return rows[t, j], rows[t, j + 1], rows[t, j + 2], rows[t, j + 3]


@inlined
def _put(rows, t, j, four):
    rows[t, j], rows[t, j + 1], rows[t, j + 2], rows[t, j + 3] = four


@inlined
def _plus(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@inlined
def _times(a, b):
    return a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]


@inlined
def _scaled(four, by):
    return four[0] * by, four[1] * by, four[2] * by, four[3] * by


@inlined
def _sum(four):
    return (four[0] + four[1]) + (four[2] + four[3])


@inlined
def _without_least(four):
    """Return the numbers, and zero for those below LEAST_MESSAGE: they change no posterior."""
    a, b, c, d = four
    return (
        a if a > LEAST_MESSAGE else 0.0,
        b if b > LEAST_MESSAGE else 0.0,
        c if c > LEAST_MESSAGE else 0.0,
        d if d > LEAST_MESSAGE else 0.0,
    )


@inlined
def _entry(four, matrix, i, j):
    return (four[0] * matrix[i, j] + four[1] * matrix[i + 1, j]) + (
        four[2] * matrix[i + 2, j] + four[3] * matrix[i + 3, j]
    )


@inlined
def _product(four, matrix, i, j):
    """Return four @ matrix[i : i + 4, j : j + 4]."""
    return (
        _entry(four, matrix, i, j),
        _entry(four, matrix, i, j + 1),
        _entry(four, matrix, i, j + 2),
        _entry(four, matrix, i, j + 3),
    )


@compiled
def forward_of_four(first, start, transitions, likelihood, alpha, scale):
    """Fill the same as :func:`skvae.chain.kernels_scaled.forward`, of four states."""
    matrix, row = transitions[0], _take(alpha, 0, 0)
    beginning = start[0], start[1], start[2], start[3]
    exact, share = True, 1.0
    for t in range(len(first)):
        _put(alpha, t, 0, _scaled(row, share))
        if first[t]:
            predicted, share = beginning, 1.0
        else:
            predicted = _product(row, matrix, 0, 0)
        row = _times(_scaled(predicted, share), _take(likelihood, t, 0))
        total = _sum(row)
        scale[t] = total
        share = 1.0 / total
        exact &= total >= SMALLEST_SCALE
    _put(alpha, len(first), 0, _scaled(row, share))
    return exact


@compiled
def forward_of_eight(first, start, transitions, likelihood, alpha, scale):
    """Fill the same as :func:`skvae.chain.kernels_scaled.forward`, of eight states."""
    matrix, low, high = transitions[0], _take(alpha, 0, 0), _take(alpha, 0, 4)
    low_beginning = start[0], start[1], start[2], start[3]
    high_beginning = start[4], start[5], start[6], start[7]
    exact, share = True, 1.0
    for t in range(len(first)):
        _put(alpha, t, 0, _scaled(low, share))
        _put(alpha, t, 4, _scaled(high, share))
        if first[t]:
            predicted_low, predicted_high, share = low_beginning, high_beginning, 1.0
        else:
            predicted_low = _plus(_product(low, matrix, 0, 0), _product(high, matrix, 4, 0))
            predicted_high = _plus(_product(low, matrix, 0, 4), _product(high, matrix, 4, 4))
        low = _times(_scaled(predicted_low, share), _take(likelihood, t, 0))
        high = _times(_scaled(predicted_high, share), _take(likelihood, t, 4))
        total = _sum(low) + _sum(high)
        scale[t] = total
        share = 1.0 / total
        exact &= total >= SMALLEST_SCALE
    _put(alpha, len(first), 0, _scaled(low, share))
    _put(alpha, len(first), 4, _scaled(high, share))
    return exact


@compiled
def backward_of_four(first, transitions, likelihood, alpha, scale, weight, beta, gamma):
    """Fill the same as :func:`skvae.chain.kernels_scaled.backward_dense`, of four states."""
    transposed = transitions[1]
    message = beta[0], beta[1], beta[2], beta[3]
    for t in range(len(first) - 1, -1, -1):
        _put(gamma, t, 0, _scaled(_times(_take(alpha, t + 1, 0), message), weight[t]))
        v = _without_least(_times(_scaled(_take(likelihood, t, 0), 1.0 / scale[t]), message))
        if first[t]:
            v, message = _scaled(v, 0.0), _FOUR_ONES
        else:
            message = _without_least(_product(v, transposed, 0, 0))
        _put(likelihood, t, 0, _scaled(v, weight[t]))
    beta[0], beta[1], beta[2], beta[3] = message


@compiled
def backward_of_eight(first, transitions, likelihood, alpha, scale, weight, beta, gamma):
    """Fill the same as :func:`skvae.chain.kernels_scaled.backward_dense`, of eight states."""
    transposed = transitions[1]
    low, high = (beta[0], beta[1], beta[2], beta[3]), (beta[4], beta[5], beta[6], beta[7])
    for t in range(len(first) - 1, -1, -1):
        _put(gamma, t, 0, _scaled(_times(_take(alpha, t + 1, 0), low), weight[t]))
        _put(gamma, t, 4, _scaled(_times(_take(alpha, t + 1, 4), high), weight[t]))
        share = 1.0 / scale[t]
        v_low = _without_least(_times(_scaled(_take(likelihood, t, 0), share), low))
        v_high = _without_least(_times(_scaled(_take(likelihood, t, 4), share), high))
        if first[t]:
            v_low, v_high, low, high = (
                _scaled(v_low, 0.0),
                _scaled(v_high, 0.0),
                _FOUR_ONES,
                _FOUR_ONES,
            )
        else:
            low = _without_least(
                _plus(_product(v_low, transposed, 0, 0), _product(v_high, transposed, 4, 0))
            )
            high = _without_least(
                _plus(_product(v_low, transposed, 0, 4), _product(v_high, transposed, 4, 4))
            )
        _put(likelihood, t, 0, _scaled(v_low, weight[t]))
        _put(likelihood, t, 4, _scaled(v_high, weight[t]))
    beta[0], beta[1], beta[2], beta[3] = low
    beta[4], beta[5], beta[6], beta[7] = high


# Few rows: both passes in one call ----------------------------------------------------------------


@compiled
def _padded(start, transmat, width):
    """Return start and transition probabilities filled up with zeros, and the transpose."""
    first, matrix, transposed = np.zeros(width), np.zeros((width, width)), np.zeros((width, width))
    for i in range(len(start)):
        first[i] = start[i]
        for j in range(len(start)):
            matrix[i, j] = transposed[j, i] = transmat[i, j]
    return first, (matrix, transposed)


@inlined
def _add_product(total, alpha, v, t, i, j):
    """Add the products of four entries of row t of α and four of v to ``total``."""
    for a in range(4):
        for b in range(4):
            total[i + a, j + b] += alpha[t, i + a] * v[t, j + b]


@compiled
def _fill_sums(first, transmat, gamma, total, starts, pairs):
    """Fill the sums of γ over first rows, and those over pairs from Σ α_{t−1} v_tᵀ."""
    for i in range(len(starts)):
        starts[i] = 0.0
        for j in range(len(starts)):
            pairs[i, j] = transmat[i, j] * total[i, j]
    for t in range(len(first)):
        if first[t]:
            for i in range(len(starts)):
                starts[i] += gamma[t, i]


@compiled
def smooth_of_four(start, transmat, first, likelihood, weight, scale, gamma, starts, pairs):
    """Fill the normalisers and the weighted posteriors of sequences; return whether all is exact.

    Parameters
    ----------
    start, transmat : ndarray of shape (K,) and (K, K)
        Start and transition probabilities of at most four states.
    first, likelihood, weight, scale, gamma
        As for :func:`skvae.chain.kernels_scaled.backward_dense`; ``scale`` is filled.
    starts : ndarray of shape (K,)
        Filled with the sums of γ over the first rows of sequences.
    pairs : ndarray of shape (K, K)
        Filled with the sums over pairs of neighbours.
    """
    beginning, transitions = _padded(start, transmat, 4)
    alpha, beta, total = np.empty((len(first) + 1, 4)), np.ones(4), np.zeros((4, 4))
    alpha[0] = 0.0
    if not forward_of_four(first, beginning, transitions, likelihood, alpha, scale):
        return False
    backward_of_four(first, transitions, likelihood, alpha, scale, weight, beta, gamma)
    for t in range(len(first)):
        _add_product(total, alpha, likelihood, t, 0, 0)
    _fill_sums(first, transmat, gamma, total, starts, pairs)
    return True


@compiled
def smooth_of_eight(start, transmat, first, likelihood, weight, scale, gamma, starts, pairs):
    """Fill the same as :func:`smooth_of_four`, of at most eight states."""
    beginning, transitions = _padded(start, transmat, 8)
    alpha, beta, total = np.empty((len(first) + 1, 8)), np.ones(8), np.zeros((8, 8))
    alpha[0] = 0.0
    if not forward_of_eight(first, beginning, transitions, likelihood, alpha, scale):
        return False
    backward_of_eight(first, transitions, likelihood, alpha, scale, weight, beta, gamma)
    for t in range(len(first)):
        for i in (0, 4):
            for j in (0, 4):
                _add_product(total, alpha, likelihood, t, i, j)
    _fill_sums(first, transmat, gamma, total, starts, pairs)
    return True
