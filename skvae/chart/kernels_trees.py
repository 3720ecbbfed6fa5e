"""Best trees of sentences, and draws from a grammar, compiled.

The charts of best trees are those of :mod:`skvae.chart.kernels_spans`, with logs of probabilities:
a product is a sum and a sum is the largest term. No number leaves its range: spans need no scale.
"""

import numpy as np
from numba import carray

from skvae.chain.compilation import compiled, inlined, within
from skvae.chart.tiles import BEST, BEST_SPREAD, LANES, call_tiles, place_of


@compiled
def fill_best_chains(log_units, chains, following):
    """Fill the best chains of unit rules between all labels; return the most rules of one.

    Parameters
    ----------
    log_units : ndarray of shape (K, K)
        ln U.
    chains : ndarray of shape (K, K)
        Filled with the log probability of the best chain from a to b; zero from a to a.
    following : ndarray of int, shape (K, K)
        Filled with the label that follows a in this chain.
    """
    n_labels = len(chains)
    for a in range(n_labels):
        for b in range(n_labels):
            chains[a, b] = 0.0 if a == b else log_units[a, b]
            following[a, b] = b
    for c in range(n_labels):
        for a in range(n_labels):
            for b in range(n_labels):
                if chains[a, c] + chains[c, b] > chains[a, b]:
                    chains[a, b] = chains[a, c] + chains[c, b]
                    following[a, b] = following[a, c]
    longest = 0
    for start in range(n_labels):
        for end in range(n_labels):
            a, n_rules = start, 0
            while a != end and chains[start, end] > -np.inf:
                a = following[a, end]
                n_rules += 1
            longest = max(longest, n_rules)
    return longest


@within
def _fill_best_sums(tiles, matrix, values, n_columns, out):
    """Fill ``out[a, x]`` with the largest matrix[a, b] + values[b, x]."""
    line = LANES * 8
    a = np.int64(matrix.ctypes.data), matrix.strides[0], matrix.strides[1], 0
    b = np.int64(values.ctypes.data), line, values.strides[0], 0
    place = np.int64(out.ctypes.data), out.strides[0], line, 0
    sizes = len(matrix), n_columns // LANES, len(values), 1
    call_tiles(tiles, BEST_SPREAD, sizes, a, b, place, (0, 0, 0))


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


@within
def _fill_best(
    tiles, n, n_sides, n_pairs, first_right, log_rules, chains, allowed, base, top, pairs
):
    """Fill the log probabilities of the best trees of all spans; those of single words are given.

    The arguments are those of :func:`skvae.chart.kernels_spans.fill_inside`, with logs; without
    unit rules base is top.
    """
    line = LANES * 8
    for width in range(1, n + 1):
        used = (n - width + 1) * n_sides
        columns = -(-used // LANES) * LANES
        here = base[width - 1]
        if width > 1:
            sums = pairs[: log_rules.shape[1] * columns].reshape((log_rules.shape[1], columns))
            # The best split of each pair of labels: the left part has k words, from 1 on.
            row, step, down = top.strides[1], top.strides[0], 8 * n_sides - top.strides[0]
            left = np.int64(top.ctypes.data), row, step, line
            right = np.int64(top[width - 2, first_right, n_sides:].ctypes.data), row, down, line
            out = np.int64(sums.ctypes.data), n_pairs[1] * sums.strides[0], sums.strides[0], line
            sizes = n_pairs[0], n_pairs[1], width - 1, columns // LANES
            call_tiles(tiles, BEST, sizes, left, right, out, (0, 0, 0))
            _fill_best_sums(tiles, log_rules, sums, columns, here)
        for a in range(len(log_rules)):
            for x in range(used, columns):
                here[a, x] = -np.inf
            for x in range(used if len(allowed) > 0 else 0):
                here[a, x] = here[a, x] if allowed[width - 1, x] > 0.0 else -np.inf
        if len(chains) > 0:
            _fill_best_sums(tiles, chains, here, columns, top[width - 1])


@compiled
def run_best(
    tiles, groups, order, offsets, log_likelihood, grammar, following, brackets, work, log_p, nodes,
    places, n_nodes,
):  # fmt: skip
    """Fill ln p(tree, x) and the nodes of the best trees of groups of sentences.

    Parameters
    ----------
    tiles, groups, order, offsets, log_likelihood, brackets, work, log_p
        As for :func:`skvae.chart.kernels_spans.run`.
    grammar : tuple
        As for :func:`skvae.chart.kernels_spans.run`, with logs, and with the best chains of unit
        rules for the closure.
    following : ndarray of int, shape (K, K)
        The label that follows a in the best chain of unit rules from a to b.
    nodes : ndarray of int, shape (m, 5)
        Filled with the nodes of a sentence from places[s] on, in preorder: label, first row, last
        row, the numbers of the left and the right child.
    places : ndarray of int, shape (n_sentences,)
        The places.
    n_nodes : ndarray of int, shape (n_sentences,)
        Filled with the number of nodes.
    """
    log_start, log_rules, chains, log_leaf, labels, n_pairs, first_right = grammar
    n_labels, n_rules = log_rules.shape
    for g in range(len(groups)):
        first, last, n = groups[g, 0], groups[g, 1], groups[g, 2]
        n_sides, m = groups[g, 3], groups[g, 4]
        size, at = n * n_labels * m, np.int64(work.ctypes.data)
        for x in range(2 * size):
            work[x] = -np.inf
        top = carray(place_of(at), (n, n_labels, m), np.float64)
        at += 8 * size
        base = carray(place_of(at), (n, n_labels, m), np.float64) if len(chains) > 0 else top
        at += 8 * size
        pairs = carray(place_of(at), (n_rules * m,), np.float64)
        at += 8 * n_rules * m
        allowed = carray(place_of(at), (n if len(brackets[1]) > 0 else 0, m), np.float64)
        for width in range(len(allowed)):
            for x in range(m):
                allowed[width, x] = 1.0
        for side in range(last - first):
            s = order[first + side]
            for i in range(offsets[s], offsets[s + 1]):
                for a in range(n_labels):
                    x = (i - offsets[s]) * n_sides + side
                    base[0, a, x] = log_likelihood[i, labels[a]] + log_leaf[a]
            if len(brackets[1]) > 0:
                these = brackets[0][brackets[1][s] : brackets[1][s + 1]]
                _fill_allowed(these, side, n_sides, offsets[s + 1] - offsets[s], allowed)
        given = n_pairs, first_right, log_rules, chains, allowed, base, top, pairs
        _fill_best(tiles, n, n_sides, *given)
        for side in range(last - first):
            s = order[first + side]
            length = offsets[s + 1] - offsets[s]
            root, best = 0, -np.inf
            for a in range(n_labels):
                value = log_start[a] + top[length - 1, a, side]
                if value > best or (value == best and labels[a] < labels[root]):
                    root, best = a, value
            log_p[s] = best
            if best > -np.inf:
                tree = nodes[places[s] :]
                given_ = n_pairs, first_right, log_rules, chains, following, labels
                n_nodes[s] = _read_tree(*given_, base, top, side, n_sides, length, root, tree)


@inlined
def _set_row(array, row, label, first, last, fourth, fifth):
    """Set the five numbers of a row of a stack or of nodes."""
    array[row, 0], array[row, 1], array[row, 2] = label, first, last
    array[row, 3], array[row, 4] = fourth, fifth


@within
def _read_tree(
    n_pairs, first_right, log_rules, chains, following, labels, base, top, side, n_sides, n, root,
    nodes,
):  # fmt: skip
    """Fill the nodes of the best tree in preorder and return their number.

    No back-pointers are stored: a tree has few nodes, and the best split of each is found again.
    """
    stack = np.empty((2 * n, 5), dtype=np.int64)  # label, first, last, parent's row, its column
    _set_row(stack, 0, root, 0, n - 1, -1, -1)
    n_waiting, n_nodes = 1, 0
    while n_waiting > 0:
        n_waiting -= 1
        a, i, j = stack[n_waiting, 0], stack[n_waiting, 1], stack[n_waiting, 2]
        if stack[n_waiting, 3] >= 0:
            nodes[stack[n_waiting, 3], stack[n_waiting, 4]] = n_nodes
        last, best = a, base[j - i, a, i * n_sides + side]
        for b in range(len(chains)):
            value = chains[a, b] + base[j - i, b, i * n_sides + side]
            if value > best:
                last, best = b, value
        _set_row(nodes, n_nodes, labels[a], i, j, -1, -1)
        while a != last:
            a = following[a, last]
            nodes[n_nodes, 3] = n_nodes + 1
            n_nodes += 1
            _set_row(nodes, n_nodes, labels[a], i, j, -1, -1)
        if i < j:
            best, split, left, right = -np.inf, i, 0, 0
            for k in range(i, j):
                for b in range(n_pairs[0]):
                    value = top[k - i, b, i * n_sides + side]
                    if value == -np.inf:
                        continue
                    for c in range(n_pairs[1]):
                        other = top[j - k - 1, first_right + c, (k + 1) * n_sides + side]
                        total = log_rules[a, b * n_pairs[1] + c] + (value + other)
                        if total > best:
                            best, split, left, right = total, k, b, first_right + c
            _set_row(stack, n_waiting, right, split + 1, j, n_nodes, 4)
            _set_row(stack, n_waiting + 1, left, i, split, n_nodes, 3)
            n_waiting += 2
        n_nodes += 1
    return n_nodes


@compiled
def draw_leaves(start, choices, uniform, stack, labels, ends, n_waiting, n_leaves, n_ends):
    """Draw trees from the grammar, leaf after leaf, until ``ends`` is full or no number is left.

    Parameters
    ----------
    start : ndarray of shape (K,)
        Cumulative probabilities of the root's label; the last is one.
    choices : ndarray of shape (K, K² + K + 1)
        Cumulative probabilities of the rules of each label: pairs, unit rules, the leaf.
    uniform : ndarray of shape (n_draws,)
        Uniform numbers; one is used for each node.
    stack : ndarray of int
        Labels whose trees are to be drawn, the next one last.
    labels : ndarray of int
        Filled with the labels of leaves from n_leaves on.
    ends : ndarray of int
        Filled with the number of leaves after each sentence, from n_ends on.
    n_waiting, n_leaves, n_ends : int
        The state: numbers of labels on the stack, of leaves and of sentences so far.

    Returns
    -------
    n_waiting, n_leaves, n_ends : int
        The state after the draws.
    """
    n_labels = len(start)
    for draw in uniform:
        if n_ends == len(ends):
            break
        if n_waiting == 0:
            stack[0] = np.searchsorted(start, draw, side="right")
            n_waiting = 1
            continue
        n_waiting -= 1
        choice = np.searchsorted(choices[stack[n_waiting]], draw, side="right")
        if choice < n_labels * n_labels:
            stack[n_waiting + 1] = choice // n_labels
            stack[n_waiting] = choice % n_labels
            n_waiting += 2
        elif choice < n_labels * n_labels + n_labels:
            stack[n_waiting] = choice - n_labels * n_labels
            n_waiting += 1
        else:
            labels[n_leaves] = stack[n_waiting]
            n_leaves += 1
            if n_waiting == 0:
                ends[n_ends] = n_leaves
                n_ends += 1
    return n_waiting, n_leaves, n_ends
