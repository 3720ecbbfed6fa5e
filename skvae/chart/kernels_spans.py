r"""Insides and outsides of all spans of sentences, compiled.

The recursions are those of :mod:`skvae.chart.kernels_log`. All spans of one width, of several
sentences, are computed at once: ``chart[width - 1, label, column]`` has the span of sentence s that
begins at word i in the column ``i * n_sides + s``. A span and the right part of its split k are k *
n_sides columns apart, so that a sum over splits is a sum of products of shifted rows. These sums
are computed tile by tile: a few labels of the left part times a few of the right one, a vector of
columns each, in registers (:func:`_tile`).

Each span has a power of two as its scale, ``exponents[width - 1, column]``, which keeps its largest
inside within ``_RANGE`` bits of one. As long as no span needs a scale, the factors of splits are
one and are left out. An outside has the inverse scale, divided by p(x), so that outside times
inside is a posterior. Insides below ``LEAST`` and splits below ``_LEAST_SPLIT``, relative to the
largest of the span, are set to zero: no product leaves the range of normal numbers. The span is
then ``lost``; :func:`fill_outside` bounds the part of p(x) that such spans may have lost.

Labels are sorted: left children first, and right children are consecutive too.
"""

import numpy as np
from numba import carray

from skvae.chain.compilation import compiled, within
from skvae.chart.tiles import ADD, COUNT, LANES, SPREAD, SUM, call_tiles, place_of

LEAST = 2.0**-200  # smaller insides, relative to the largest of a span, are set to zero
_LEAST_SPLIT, _LARGEST_SPLIT = -200, 900  # powers of two
_RANGE, _WIDE_RANGE = 40, 300  # bits
LEAST_RULE = 2.0**-300  # if a rule is less probable, a product may underflow in any span
_NOTHING = 2.0**-600  # and is smaller than this, in the scale of the span
_LARGEST_LOSS = 1e-14  # of p(x)
_LEAST_SUM = 2.0**-400
_LARGEST_RATE = 20.0  # nats a word
_IMPOSSIBLE = -(1 << 40)  # the exponent of a span without a tree


@within
def _place(array, i, a, x):
    """Return the address of chart[i, a, x]."""
    return np.int64(array.ctypes.data) + (
        i * array.strides[0] + a * array.strides[1] + x * array.strides[2]
    )


@within
def _spread_product(tiles, matrix, transposed, values, n_columns, out):
    """Fill ``out`` (rows, columns) with matrix @ values, or with that of its transpose."""
    n_rows, n_steps = matrix.shape
    row, step = matrix.strides
    if transposed:
        n_rows, n_steps, row, step = n_steps, n_rows, step, row
    line = LANES * 8
    a = np.int64(matrix.ctypes.data), row, step, 0
    b = np.int64(values.ctypes.data), line, values.strides[0], 0
    place = np.int64(out.ctypes.data), out.strides[0], line, 0
    call_tiles(tiles, SPREAD, (n_rows, n_columns // LANES, n_steps, 1), a, b, place, (0, 0, 0))


@within
def _fill_largest(width, n_sides, exponents, n_columns, largest):
    """Fill the largest exponent of the splits of the spans of one width."""
    for x in range(n_columns):
        largest[x] = 2 * _IMPOSSIBLE
    for k in range(1, width):
        for x in range(n_columns):
            power = exponents[k - 1, x] + exponents[width - k - 1, x + k * n_sides]
            largest[x] = max(largest[x], power)


@within
def _fill_factors(width, n_sides, exponents, reference, n_columns, factors, lost):
    """Fill the scale of each split of the spans of one width, relative to 2**reference.

    Row k has the split after k words. Splits below _LEAST_SPLIT are left out: the spans are lost.
    """
    bits = factors.view(np.int64)
    for k in range(1, width):
        shift = k * n_sides
        for x in range(n_columns):
            power = exponents[k - 1, x] + exponents[width - k - 1, x + shift] - reference[x]
            kept = min(power, _LARGEST_SPLIT) + 1023
            bits[k, x] = kept << 52 if power >= _LEAST_SPLIT else 0
        for x in range(n_columns):
            power = exponents[k - 1, x] + exponents[width - k - 1, x + shift] - reference[x]
            left_out = (power < _LEAST_SPLIT) & (power > _IMPOSSIBLE // 2)
            least = 2.0 ** (_LEAST_SPLIT + 2 * _RANGE)
            lost[x] = max(lost[x], least) if left_out else lost[x]
            lost[x] = np.inf if power > _LARGEST_SPLIT else lost[x]


@within
def _fill_scaled_left(width, chart, n_left, factors, n_columns, left):
    """Fill ``left[k − 1, b, x]`` with chart[k − 1, b, x] · factors[k, x]."""
    for k in range(1, width):
        for b in range(n_left):
            for x in range(n_columns):
                left[k - 1, b, x] = chart[k - 1, b, x] * factors[k, x]


@within
def _fill_pairs(tiles, width, n_sides, left, chart, first_right, n_pairs, n_columns, pairs):
    """Fill ``pairs[b * n_right + c, x]``, the sums over splits of the spans of one width.

    ``left[k − 1, b, x]`` is the left part of the split after k words; ``chart`` has the right one.
    """
    n_left, n_right = n_pairs
    line, pair = LANES * 8, pairs.strides[0]
    a = _place(left, 0, 0, 0), left.strides[1], left.strides[0], line
    down = 8 * n_sides - chart.strides[0]
    b = _place(chart, width - 2, first_right, n_sides), chart.strides[1], down, line
    out = np.int64(pairs.ctypes.data), n_right * pair, pair, line
    sizes = n_left, n_right, width - 1, n_columns // LANES
    call_tiles(tiles, SUM, sizes, a, b, out, (0, 0, 0))


@within
def _scale(values, n_columns, most_bits, high, factors, exponents, lost):
    """Scale the spans of one width if they need it; return whether none does.

    The factors of the spans are filled in too.
    """
    for x in range(n_columns):
        high[x] = 0.0
    for a in range(len(values)):
        for x in range(n_columns):
            high[x] = max(high[x], values[a, x])
    flat, bits = True, high.view(np.int64)
    for x in range(n_columns):
        power = (bits[x] >> 52) - 1023 if high[x] > 0.0 else 0
        lost[x] = np.inf if power < -400 else lost[x]
        power = power if abs(power) > most_bits else 0
        flat &= power == 0
        exponents[x] = exponents[x] + power if high[x] > 0.0 else _IMPOSSIBLE
        factors[x] = 2.0**-power
        lost[x] = lost[x] * factors[x] if lost[x] > _NOTHING else lost[x]
    for a in range(len(values)):
        for x in range(n_columns):
            value, least = values[a, x], LEAST * high[x]
            gone = (value < least) & (value > 0.0)
            lost[x] = max(lost[x], least * factors[x]) if gone else lost[x]
            values[a, x] = value * factors[x] if value >= least else 0.0
    return flat


@within
def fill_inside(tiles, n, n_sides, n_pairs, first_right, rules, closure, allowed, most_bits, work):
    """Fill the insides of all spans and return whether no span has a scale.

    Parameters
    ----------
    tiles : int
        :func:`skvae.chart.tiles.tiles_address`.
    n, n_sides : int
        The number of words, and of sentences side by side.
    n_pairs : (int, int)
        The numbers of left and of right children.
    first_right : int
        The first label that is a right child.
    rules : ndarray of shape (K, n_left * n_right)
        The probabilities of the rules.
    closure : ndarray of shape (K, K) or (0, 0)
        Sums over chains of unit rules; empty if there are none.
    allowed : ndarray of shape (n, n_columns) or (0, 0)
        One where a constituent may be, and zero; empty if all spans are allowed.
    most_bits : int
        Spans of which the largest inside is this near to one have no scale.
    work : tuple of ndarray
        Memory: base, top, exponents, lost, factors, left, pairs, high, each of them zero but for
        the bases of single words, which are not scaled yet. Without unit rules base is top.
    """
    base, top, exponents, lost, factors, left, pairs, high = work
    flat = True
    for width in range(1, n + 1):
        used = (n - width + 1) * n_sides
        columns = -(-used // LANES) * LANES
        here, scale, gone = base[width - 1], exponents[width - 1], lost[width - 1]
        if width > 1:
            parts = top
            if not flat:
                _fill_largest(width, n_sides, exponents, columns, scale)
                _fill_factors(width, n_sides, exponents, scale, columns, factors, gone)
                _fill_scaled_left(width, top, n_pairs[0], factors, columns, left)
                parts = left
            sums = pairs[: rules.shape[1] * columns].reshape((rules.shape[1], columns))
            _fill_pairs(tiles, width, n_sides, parts, top, first_right, n_pairs, columns, sums)
            _spread_product(tiles, rules, False, sums, columns, here)
        for a in range(len(rules)):
            for x in range(used, columns):
                here[a, x] = 0.0
            if len(allowed) > 0:
                for x in range(used):
                    here[a, x] *= allowed[width - 1, x]
        flat &= _scale(here, columns, most_bits, high, factors[0], scale, gone)
        if len(closure) > 0:
            _spread_product(tiles, closure, False, here, columns, top[width - 1])
            flat &= _scale(top[width - 1], columns, most_bits, high, factors[0], scale, gone)
            for a in range(len(rules)):
                for x in range(columns):
                    here[a, x] *= factors[0, x]
    return flat


@within
def fill_outside(
    tiles,
    n,
    n_sides,
    n_pairs,
    first_right,
    rules,
    closure,
    flat,
    weight,
    work,
    outer,
    both,
    risk,
    counts,
):
    """Fill the outsides of all bases, from those of the roots, and add expected counts.

    Parameters
    ----------
    tiles, n, n_sides, n_pairs, first_right, rules, closure, work
        As for :func:`fill_inside`, after that.
    flat : bool
        Whether no span has a scale.
    weight : ndarray of shape (n_columns,)
        The weights in the counts of the sentences in the columns.
    outer : ndarray of shape (n, K, n_columns)
        Zero but for the outsides of the roots; filled.
    both : ndarray
        Memory for the weighted outsides of one width.
    risk : ndarray of shape (n_columns,)
        Added to: a bound on the part of p(x) that is lost.
    counts : (ndarray of shape (K, n_left * n_right), ndarray of shape (K, K))
        Added to; arrays without rows are left out.
    """
    _, top, exponents, lost, factors, left, pairs, high = work
    n_rules = rules.shape[1]
    ones = np.ones(LANES)
    for width in range(n, 0, -1):
        used = (n - width + 1) * n_sides
        columns = -(-used // LANES) * LANES
        here = outer[width - 1]
        if len(closure) > 0:
            inner = pairs[: len(rules) * columns].reshape((len(rules), columns))
            _spread_product(tiles, closure, True, here, columns, inner)
            for a in range(len(rules)):
                for x in range(columns):
                    here[a, x] = inner[a, x]
        for a in range(len(rules)):
            for x in range(columns):
                risk[x] += here[a, x] * lost[width - 1, x]
                here[a, x] = here[a, x] if top[width - 1, a, x] > 0.0 else 0.0
        weighted = both[: len(rules) * columns].reshape((len(rules), columns))
        for a in range(len(rules)):
            for x in range(columns):
                weighted[a, x] = here[a, x] * weight[x]
        if len(counts[1]) > 0:
            _add_products(tiles, weighted, top[width - 1], columns, counts[1])
        if width == 1:
            continue
        parts, scale = top, (np.int64(ones.ctypes.data), 0, 0)
        if not flat:
            reference = exponents[width - 1]
            _fill_factors(width, n_sides, exponents, reference, columns, factors, high)
            _fill_scaled_left(width, top, n_pairs[0], factors, columns, left)
            parts, scale = left, (np.int64(factors[1:].ctypes.data), factors.strides[0], LANES * 8)
        sums = pairs[: n_rules * columns].reshape((n_rules, columns))
        if len(counts[0]) > 0:
            _fill_pairs(tiles, width, n_sides, parts, top, first_right, n_pairs, columns, sums)
            _add_products(tiles, weighted, sums, columns, counts[0])
        _spread_product(tiles, rules, True, here, columns, sums)
        _add_parts(tiles, width, n_sides, top, first_right, n_pairs, sums, columns, scale, outer)


@within
def _add_products(tiles, a, b, n_columns, out):
    """Add a @ b.T to ``out``."""
    line = LANES * 8
    left = np.int64(a.ctypes.data), a.strides[0], line, 0
    right = np.int64(b.ctypes.data), b.strides[0], line, 0
    place = np.int64(out.ctypes.data), out.strides[0], out.strides[1], 0
    call_tiles(tiles, COUNT, (len(a), len(b), n_columns // LANES, 1), left, right, place, (0, 0, 0))


@within
def _add_parts(tiles, width, n_sides, top, first_right, n_pairs, sums, n_columns, scale, outer):
    """Add the outsides of the parts of all splits of the spans of one width."""
    n_left, n_right = n_pairs
    up, down = top.strides[0], 8 * n_sides - top.strides[0]
    row, pair, line = top.strides[1], sums.strides[0], LANES * 8
    used, n_next = np.int64(sums.ctypes.data), n_columns // LANES
    right = _place(top, width - 2, first_right, n_sides), down, row, line
    given = used, n_right * pair, pair, line
    out = _place(outer, 0, 0, 0), up, row, line
    call_tiles(tiles, ADD, (width - 1, n_left, n_right, n_next), right, given, out, scale)
    left = _place(top, 0, 0, 0), up, row, line
    given = used, pair, n_right * pair, line
    out = _place(outer, width - 2, first_right, n_sides), down, row, line
    call_tiles(tiles, ADD, (width - 1, n_right, n_left, n_next), left, given, out, scale)


@within
def _memory(work, n, m, rules, closure, brackets, underflow):
    """Return the arrays of a group: those of :func:`fill_inside`, and those of outsides.

    They lie one after the other in ``work``; :func:`skvae.chart.batch.n_numbers_of` has its size.
    """
    n_labels, n_rules = rules.shape
    size, at = n * n_labels * m, np.int64(work.ctypes.data)
    for x in range(3 * size + n * m):
        work[x] = 0.0
    for x in range(3 * size + n * m, 3 * size + 2 * n * m):
        work[x] = 2 * _NOTHING if underflow else _NOTHING
    top = carray(place_of(at), (n, n_labels, m), np.float64)
    outer = carray(place_of(at + 8 * size), (n, n_labels, m), np.float64)
    at += 16 * size
    # Without unit rules the first rule of a span is that of its top.
    base = carray(place_of(at), (n, n_labels, m), np.float64) if len(closure) > 0 else top
    at += 8 * size
    exponents = carray(place_of(at), (n, m), np.int64)
    lost = carray(place_of(at + 8 * n * m), (n, m), np.float64)
    at += 16 * n * m
    left = carray(place_of(at), (n, n_labels, m), np.float64)
    at += 8 * size
    factors = carray(place_of(at), (n, m), np.float64)
    allowed = carray(place_of(at + 8 * n * m), (n if len(brackets) > 0 else 0, m), np.float64)
    for width in range(len(allowed)):
        for x in range(m):
            allowed[width, x] = 1.0
    at += 16 * n * m
    pairs = carray(place_of(at), ((n_rules + n_labels) * m,), np.float64)
    at += 8 * (n_rules + n_labels) * m
    both = carray(place_of(at), (n_labels * m,), np.float64)
    at += 8 * n_labels * m
    high = carray(place_of(at), (m,), np.float64)
    weights = carray(place_of(at + 8 * m), (m,), np.float64)
    risk = carray(place_of(at + 16 * m), (m,), np.float64)
    for x in range(m):
        weights[x], risk[x] = 0.0, 0.0
    space = base, top, exponents, lost, factors, left, pairs, high
    return space, outer, both, weights, risk, allowed


@within
def _fill_leaves(log_likelihood, log_leaf, labels, rows, side, n_sides, rate, chart, lost):
    """Fill the bases of a sentence's single words; return the log of their divisor."""
    total = 0.0
    for i in range(rows[0], rows[1]):
        x = (i - rows[0]) * n_sides + side
        largest = -np.inf
        for a in range(len(labels)):
            largest = max(largest, log_likelihood[i, labels[a]] + log_leaf[a])
        if largest == -np.inf:
            continue
        largest -= rate
        total += largest
        for a in range(len(labels)):
            value = log_likelihood[i, labels[a]] + log_leaf[a]
            chart[a, x] = np.exp(value - largest)
            if chart[a, x] == 0.0 and value > -np.inf:
                lost[x] = LEAST
    return total


@within
def _fill_allowed(brackets, side, n_sides, n, allowed):
    """Fill zeros where a span of a sentence crosses one of its brackets."""
    for bracket in range(len(brackets)):
        first, last = brackets[bracket, 0], brackets[bracket, 1]
        for width in range(2, n):
            for i in range(n - width + 1):
                j = i + width - 1
                if (i < first <= j < last) or (first < i <= last < j):
                    allowed[width - 1, i * n_sides + side] = 0.0


@compiled
def run(
    tiles, groups, order, offsets, log_likelihood, grammar, brackets, weight, work, outside, log_p,
    exact, starts, counts, leaves, spans,
):  # fmt: skip
    """Fill ln p(x), and expected counts and posteriors, of groups of sentences.

    Parameters
    ----------
    tiles : int
        :func:`skvae.chart.tiles.tiles_address`.
    groups : ndarray of int, shape (n_groups, 5)
        Of each group: its sentences order[first:last], the number of words of the longest, the
        number of sentences side by side, a power of two, and the number of columns of its charts.
    order : ndarray of int
        Numbers of sentences.
    offsets : ndarray of int, shape (n_sentences + 1,)
        The first row of each sentence.
    log_likelihood : ndarray of shape (n_rows, K)
        Of the leaves.
    grammar : tuple
        startprob, rules, closure, ln leafprob, labels, n_pairs, first_right: see
        :func:`fill_inside`; ``labels`` has the columns of ``log_likelihood``. The last one is
        whether a rule is below LEAST_RULE.
    brackets : (ndarray of int, shape (m, 2), ndarray of int)
        The brackets of all sentences, and the first one of each sentence; empty if there are none.
    weight : ndarray of shape (n_sentences,)
        Weights in the counts.
    work : ndarray
        Memory, see :func:`skvae.chart.batch.n_numbers_of`.
    outside : bool
        Whether outsides are computed; else only if some part of p(x) may be lost.
    log_p : ndarray of shape (n_sentences,)
        Filled.
    exact : ndarray of bool, shape (n_sentences,)
        Filled: whether nothing is lost.
    starts, counts, leaves, spans : ndarray of shape (K,), tuple, (n_rows, K), (n, n, K)
        Expected counts are added to the first two, posteriors fill the last two. Empty ones are
        left out.
    """
    startprob, rules, closure, log_leaf, labels, n_pairs, first_right, underflow = grammar
    n_labels = len(rules)
    rate = 0.0
    for g in range(len(groups)):
        first, last, n = groups[g, 0], groups[g, 1], groups[g, 2]
        n_sides, m = groups[g, 3], groups[g, 4]
        space, outer, both, weights, risk, allowed = _memory(
            work, n, m, rules, closure, brackets[1], underflow
        )
        base, top, exponents, lost = space[:4]
        totals = np.zeros(n_sides)
        for side in range(last - first):
            s = order[first + side]
            rows = offsets[s], offsets[s + 1]
            given = rows, side, n_sides, rate, base[0], lost[0]
            totals[side] = _fill_leaves(log_likelihood, log_leaf, labels, *given)
            if len(brackets[1]) > 0:
                these = brackets[0][brackets[1][s] : brackets[1][s + 1]]
                _fill_allowed(these, side, n_sides, rows[1] - rows[0], allowed)
        given_ = tiles, n, n_sides, n_pairs, first_right, rules, closure
        flat = fill_inside(*given_, allowed, _RANGE, space)
        some_lost, growth = False, 0.0
        for side in range(last - first):
            s = order[first + side]
            length = offsets[s + 1] - offsets[s]
            root, total = length - 1, 0.0
            for a in range(n_labels):
                total += startprob[a] * top[root, a, side]
            exact[s] = True
            for width in range(length):
                for i in range(length - width):
                    exact[s] &= lost[width, i * n_sides + side] <= _NOTHING
            some_lost |= not exact[s]
            power = exponents[root, side] if total > 0.0 else 0
            log_p[s] = totals[side] + np.log(total) + power * np.log(2.0)
            if total > 0.0:
                growth += (log_p[s] - totals[side]) / length
                for a in range(n_labels):
                    outer[root, a, side] = startprob[a] / total
            for i in range(length):
                weights[i * n_sides + side] = weight[s]
        if outside or some_lost:
            for side in range(last - first):
                s = order[first + side]
                root = offsets[s + 1] - offsets[s] - 1
                for a in range(len(starts)):
                    starts[a] += weight[s] * outer[root, a, side] * top[root, a, side]
            fill_outside(*given_, flat, weights, space, outer, both, risk, counts)
            for side in range(last - first):
                s = order[first + side]
                length, part = offsets[s + 1] - offsets[s], 0.0
                for i in range(length):
                    part += risk[i * n_sides + side]
                if not exact[s]:
                    exact[s] = log_p[s] > -np.inf and part * length <= _LARGEST_LOSS
                for i in range(length if len(leaves) > 0 else 0):
                    x = i * n_sides + side
                    for a in range(n_labels):
                        value = outer[0, a, x] * base[0, a, x]
                        leaves[offsets[s] + i, labels[a]] = weight[s] * value
                for i in range(length if len(spans) > 0 else 0):
                    for j in range(i, length):
                        x = i * n_sides + side
                        for a in range(n_labels):
                            value = outer[j - i, a, x] * top[j - i, a, x]
                            spans[i, j, labels[a]] = value
        # Words of the next group are divided by the mean factor of a word: no span needs a scale.
        rate = min(max(rate - growth / (last - first), 0.0), _LARGEST_RATE)


@within
def _fill_lengths(rules, n_pairs, first_right, closure, leafprob, top):
    """Fill the tops of spans whose leaves have the weight e^rate; return the rate.

    ``top`` (n, K, LANES) has a number in all lanes. The rate keeps the numbers near to one.
    """
    n, n_labels = top.shape[:2]
    sums, base, rate = np.empty(rules.shape[1]), np.empty(n_labels), 0.0
    for last in range(n):
        # Sums over the splits of last + 1 leaves, then over rules, then over chains of unit rules.
        for b in range(n_pairs[0]):
            for c in range(n_pairs[1]):
                total = 0.0
                for k in range(last):
                    total += top[k, b, 0] * top[last - 1 - k, first_right + c, 0]
                sums[b * n_pairs[1] + c] = total
        for a in range(n_labels):
            base[a] = leafprob[a] * np.exp(rate) if last == 0 else 0.0
            for pair in range(len(sums) if last > 0 else 0):
                base[a] += rules[a, pair] * sums[pair]
        high = 0.0
        for a in range(n_labels):
            total = base[a] if len(closure) == 0 else 0.0
            for b in range(len(closure)):
                total += closure[a, b] * base[b]
            for lane in range(LANES):
                top[last, a, lane] = total
            high = max(high, total)
        if high > 0.0 and abs(np.log(high)) > 30.0:
            change = -np.log(high) / (last + 1)
            rate += change
            for k in range(last + 1):
                factor = np.exp(change * (k + 1))
                for a in range(n_labels):
                    for lane in range(LANES):
                        top[k, a, lane] *= factor
    return rate


@within
def _fill_free_outside(tiles, n, n_sides, n_pairs, first_right, rules, closure, free, space, outer):
    """Fill the outsides of bases, where right siblings are those of ``free`` instead.

    The arguments are those of :func:`fill_outside`; no span has a scale.
    """
    _, top, _, _, _, _, pairs, _ = space
    n_left, n_right = n_pairs
    ones, line = np.ones(LANES), LANES * 8
    scale = np.int64(ones.ctypes.data), 0, 0
    for width in range(n, 0, -1):
        columns = -(-(n - width + 1) * n_sides // LANES) * LANES
        here = outer[width - 1]
        if len(closure) > 0:
            inner = pairs[: len(rules) * columns].reshape((len(rules), columns))
            _spread_product(tiles, closure, True, here, columns, inner)
            for a in range(len(rules)):
                for x in range(columns):
                    here[a, x] = inner[a, x]
        if width == 1:
            break
        sums = pairs[: rules.shape[1] * columns].reshape((rules.shape[1], columns))
        _spread_product(tiles, rules, True, here, columns, sums)
        used, pair, n_next = np.int64(sums.ctypes.data), sums.strides[0], columns // LANES
        right = _place(free, width - 2, first_right, 0), -free.strides[0], free.strides[1], 0
        given = used, n_right * pair, pair, line
        out = _place(outer, 0, 0, 0), outer.strides[0], outer.strides[1], line
        call_tiles(tiles, ADD, (width - 1, n_left, n_right, n_next), right, given, out, scale)
        left = _place(top, 0, 0, 0), top.strides[0], top.strides[1], line
        given = used, pair, n_right * pair, line
        down = 8 * n_sides - top.strides[0]
        out = _place(outer, width - 2, first_right, n_sides), down, outer.strides[1], line
        call_tiles(tiles, ADD, (width - 1, n_right, n_left, n_next), left, given, out, scale)


@compiled
def run_predictive(tiles, groups, order, offsets, log_likelihood, grammar, work, out, exact):
    """Fill ln p(x_t | x_1..x_{t-1}, n) of the rows of groups of sentences.

    A tree's outside of leaf t has the insides of x_1..x_{t-1} as left siblings; the right ones
    cover later rows, whose leaves have the weight one. The arguments are those of :func:`run`, and

    Parameters
    ----------
    out : ndarray of shape (n_rows,)
        Filled.
    exact : ndarray of bool, shape (n_sentences,)
        Filled: whether no number left its range.
    """
    startprob, rules, closure, log_leaf, labels, n_pairs, first_right, underflow = grammar
    n_labels = len(rules)
    leafprob = np.exp(log_leaf)
    longest = 0
    for g in range(len(groups)):
        longest = max(longest, groups[g, 2])
    memory = np.empty(longest * n_labels * LANES + LANES)
    at = (-(memory.ctypes.data // 8)) % LANES
    free = memory[at : at + longest * n_labels * LANES].reshape((longest, n_labels, LANES))
    free_rate = _fill_lengths(rules, n_pairs, first_right, closure, leafprob, free)
    rate = 0.0
    for g in range(len(groups)):
        first, last, n = groups[g, 0], groups[g, 1], groups[g, 2]
        n_sides, m = groups[g, 3], groups[g, 4]
        space, outer, _, _, _, allowed = _memory(work, n, m, rules, closure, labels[:0], underflow)
        base, _, _, lost = space[:4]
        for side in range(last - first):
            s = order[first + side]
            rows = offsets[s], offsets[s + 1]
            given = rows, side, n_sides, rate, base[0], lost[0]
            _fill_leaves(log_likelihood, log_leaf, labels, *given)
            for a in range(n_labels):
                outer[rows[1] - rows[0] - 1, a, side] = startprob[a]
        given_ = tiles, n, n_sides, n_pairs, first_right, rules, closure
        flat = fill_inside(*given_, allowed, _WIDE_RANGE, space)
        _fill_free_outside(*given_, free, space, outer)
        growth = 0.0
        for side in range(last - first):
            s = order[first + side]
            length, total = offsets[s + 1] - offsets[s], 0.0
            exact[s] = flat
            for width in range(length):
                for i in range(length - width):
                    exact[s] &= lost[width, i * n_sides + side] <= _NOTHING
            for i in range(length):
                row, x, before, after = offsets[s] + i, i * n_sides + side, 0.0, 0.0
                largest = -np.inf
                for a in range(n_labels):
                    before += outer[0, a, x] * leafprob[a]
                    after += outer[0, a, x] * base[0, a, x]
                    value = log_likelihood[row, labels[a]] + log_leaf[a]
                    largest = max(largest, value)
                exact[s] &= _LEAST_SUM < before < 1 / _LEAST_SUM
                exact[s] &= _LEAST_SUM * before < after < before / _LEAST_SUM
                out[row] = np.log(after) - np.log(before) + (largest - rate)
                total += np.log(after) - np.log(before) - free_rate
            growth += total / length if exact[s] else 0.0
        rate = min(max(rate - growth / (last - first), 0.0), _LARGEST_RATE)
