"""The scaled recursions of at most eight states, compiled: a row stays in registers.

The same as those of dense transitions in :mod:`skvae.chain.kernels_scaled`. There a row is an array
that is written and read again for each time step; here it is one or two tuples of four numbers
(measured: a third of the time with four states, a half with eight).
"""

import numpy as np

from skvae.chain.compilation import compiled, shared

# As there: a compiled function uses the constants of its own file only.
LEAST_MESSAGE = 1e-100
SMALLEST_SCALE = 1e-100
_FOUR_ONES = (1.0, 1.0, 1.0, 1.0)
# The first of the low and of the high four of eight states, of a type without a value.
_LOW, _HIGH = np.intp(0), np.intp(4)


@shared
def _take(rows, t, j):
    return rows[t, j], rows[t, j + 1], rows[t, j + 2], rows[t, j + 3]


@shared
def _put(rows, t, j, four):
    rows[t, j], rows[t, j + 1], rows[t, j + 2], rows[t, j + 3] = four


@shared
def _plus(a, b):
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


@shared
def _times(a, b):
    return a[0] * b[0], a[1] * b[1], a[2] * b[2], a[3] * b[3]


@shared
def _scaled(four, by):
    return four[0] * by, four[1] * by, four[2] * by, four[3] * by


@shared
def _sum(four):
    return (four[0] + four[1]) + (four[2] + four[3])


@shared
def _without_least(four):
    """Return the numbers, and zero for those below LEAST_MESSAGE: they change no posterior."""
    a, b, c, d = four
    return (
        a if a > LEAST_MESSAGE else 0.0,
        b if b > LEAST_MESSAGE else 0.0,
        c if c > LEAST_MESSAGE else 0.0,
        d if d > LEAST_MESSAGE else 0.0,
    )


@shared
def _entry(four, matrix, i, j):
    return (four[0] * matrix[i, j] + four[1] * matrix[i + 1, j]) + (
        four[2] * matrix[i + 2, j] + four[3] * matrix[i + 3, j]
    )


@shared
def _product(four, matrix, i, j):
    """Return four @ matrix[i : i + 4, j : j + 4]."""
    return (
        _entry(four, matrix, i, j),
        _entry(four, matrix, i, j + 1),
        _entry(four, matrix, i, j + 2),
        _entry(four, matrix, i, j + 3),
    )


@compiled
def forward_of_four(first, start, matrix, likelihood, alpha, scale):
    """Fill the same as :func:`skvae.chain.kernels_scaled.forward`, of four states."""
    row = _take(alpha, _LOW, _LOW)
    beginning = start[0], start[1], start[2], start[3]
    exact, share = True, 1.0
    for t in range(len(first)):
        _put(alpha, t, _LOW, _scaled(row, share))
        if first[t]:
            predicted, share = beginning, 1.0
        else:
            predicted = _product(row, matrix, _LOW, _LOW)
        row = _times(_scaled(predicted, share), _take(likelihood, t, _LOW))
        total = _sum(row)
        scale[t] = total
        share = 1.0 / total
        exact &= total >= SMALLEST_SCALE
    _put(alpha, len(first), _LOW, _scaled(row, share))
    return exact


@compiled
def forward_of_eight(first, start, matrix, likelihood, alpha, scale):
    """Fill the same as :func:`skvae.chain.kernels_scaled.forward`, of eight states."""
    low, high = _take(alpha, _LOW, _LOW), _take(alpha, _LOW, _HIGH)
    low_beginning = start[0], start[1], start[2], start[3]
    high_beginning = start[4], start[5], start[6], start[7]
    exact, share = True, 1.0
    for t in range(len(first)):
        _put(alpha, t, _LOW, _scaled(low, share))
        _put(alpha, t, _HIGH, _scaled(high, share))
        if first[t]:
            predicted_low, predicted_high, share = low_beginning, high_beginning, 1.0
        else:
            predicted_low = _plus(
                _product(low, matrix, _LOW, _LOW), _product(high, matrix, _HIGH, _LOW)
            )
            predicted_high = _plus(
                _product(low, matrix, _LOW, _HIGH), _product(high, matrix, _HIGH, _HIGH)
            )
        low = _times(_scaled(predicted_low, share), _take(likelihood, t, _LOW))
        high = _times(_scaled(predicted_high, share), _take(likelihood, t, _HIGH))
        total = _sum(low) + _sum(high)
        scale[t] = total
        share = 1.0 / total
        exact &= total >= SMALLEST_SCALE
    _put(alpha, len(first), _LOW, _scaled(low, share))
    _put(alpha, len(first), _HIGH, _scaled(high, share))
    return exact


@compiled
def backward_of_four(first, transposed, likelihood, alpha, scale, weight, beta, gamma):
    """Fill the same as :func:`skvae.chain.kernels_scaled.backward_dense`, of four states."""
    message = beta[0], beta[1], beta[2], beta[3]
    for t in range(len(first) - 1, -1, -1):
        _put(gamma, t, _LOW, _scaled(_times(_take(alpha, t + 1, _LOW), message), weight[t]))
        v = _without_least(_times(_scaled(_take(likelihood, t, _LOW), 1.0 / scale[t]), message))
        if first[t]:
            v, message = _scaled(v, 0.0), _FOUR_ONES
        else:
            message = _without_least(_product(v, transposed, _LOW, _LOW))
        _put(likelihood, t, _LOW, _scaled(v, weight[t]))
    beta[0], beta[1], beta[2], beta[3] = message


@compiled
def backward_of_eight(first, transposed, likelihood, alpha, scale, weight, beta, gamma):
    """Fill the same as :func:`skvae.chain.kernels_scaled.backward_dense`, of eight states."""
    low, high = (beta[0], beta[1], beta[2], beta[3]), (beta[4], beta[5], beta[6], beta[7])
    for t in range(len(first) - 1, -1, -1):
        _put(gamma, t, _LOW, _scaled(_times(_take(alpha, t + 1, _LOW), low), weight[t]))
        _put(gamma, t, _HIGH, _scaled(_times(_take(alpha, t + 1, _HIGH), high), weight[t]))
        share = 1.0 / scale[t]
        v_low = _without_least(_times(_scaled(_take(likelihood, t, _LOW), share), low))
        v_high = _without_least(_times(_scaled(_take(likelihood, t, _HIGH), share), high))
        if first[t]:
            v_low, v_high, low, high = (
                _scaled(v_low, 0.0),
                _scaled(v_high, 0.0),
                _FOUR_ONES,
                _FOUR_ONES,
            )
        else:
            low = _without_least(
                _plus(
                    _product(v_low, transposed, _LOW, _LOW),
                    _product(v_high, transposed, _HIGH, _LOW),
                )
            )
            high = _without_least(
                _plus(
                    _product(v_low, transposed, _LOW, _HIGH),
                    _product(v_high, transposed, _HIGH, _HIGH),
                )
            )
        _put(likelihood, t, _LOW, _scaled(v_low, weight[t]))
        _put(likelihood, t, _HIGH, _scaled(v_high, weight[t]))
    beta[0], beta[1], beta[2], beta[3] = low
    beta[4], beta[5], beta[6], beta[7] = high
