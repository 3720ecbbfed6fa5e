r"""Labellings of a sequence whose frames have labels or a blank, compiled.

A path names one symbol for each frame: 0, the blank, or a label 1, ..., K. Its labelling is the
path without repeated symbols and then without blanks. All functions read ``log_proba`` (T, 1 + K),
the log-probabilities of the symbols of each frame, which are independent given the frames.

The paths of a labelling y of U labels are those of a chain of 2U + 1 places, a blank before,
between and behind the labels: from a place a path stays, goes to the next one, or from a label to
the next label if that is another (Graves et al., ICML 2006).
"""

import numpy as np

from skvae.chain.compilation import compiled, within


@within
def _add(a, b):
    """Return ln(exp a + exp b)."""
    if a < b:
        a, b = b, a
    return a if b == -np.inf else a + np.log1p(np.exp(b - a))


@within
def _may_skip(labels, place):
    """Return whether a path may enter a place from the one before the last."""
    u = place // 2
    return place % 2 == 1 and u > 0 and labels[u] != labels[u - 1]


@compiled
def log_probability(log_proba, labels):
    """Return ln p(y | x) of a labelling: the sum over its paths, in nats; −inf if it has none."""
    n, width = len(log_proba), 2 * len(labels) + 1
    before, now = np.full(width, -np.inf), np.full(width, -np.inf)
    for t in range(n):
        # A place that the first frames cannot reach, or from which the last cannot end, has −inf or
        # is not needed.
        for place in range(width):
            symbol = labels[place // 2] if place % 2 else 0
            if t == 0:
                found = 0.0 if place < 2 else -np.inf
            else:
                found = before[place]
                if place > 0:
                    found = _add(found, before[place - 1])
                if _may_skip(labels, place):
                    found = _add(found, before[place - 2])
            now[place] = found + log_proba[t, symbol]
        before, now = now, before
    return before[0] if width == 1 else _add(before[width - 1], before[width - 2])


@compiled
def best_alignment(log_proba, labels, path):
    """Fill the most probable path of a labelling; return its log-probability, in nats.

    Parameters
    ----------
    log_proba : ndarray of shape (T, 1 + K)
        See the module.
    labels : ndarray of int, shape (U,)
        The labelling.
    path : ndarray of int, shape (T,)
        Filled with symbols. If the labelling has no path, −inf is returned and they mean nothing.
    """
    n, width = len(log_proba), 2 * len(labels) + 1
    best, steps = np.full(width, -np.inf), np.zeros((n, width), np.int8)
    for t in range(n):
        for place in range(width - 1, -1, -1):  # downwards: smaller places are of the frame before
            symbol = labels[place // 2] if place % 2 else 0
            found, step = best[place], 0
            if t == 0:
                found = 0.0 if place < 2 else -np.inf
            else:
                if place > 0 and best[place - 1] > found:
                    found, step = best[place - 1], 1
                if _may_skip(labels, place) and best[place - 2] > found:
                    found, step = best[place - 2], 2
            best[place] = found + log_proba[t, symbol]
            steps[t, place] = step
    place = width - 1
    if width > 1 and best[width - 2] > best[width - 1]:
        place = width - 2
    found = best[place]
    for t in range(n - 1, -1, -1):
        path[t] = labels[place // 2] if place % 2 else 0
        place -= steps[t, place]
    return found


@within
def _extend(frame, last, blank, other, ends_blank, ends_other):
    """Fill the log-probabilities of the candidates: all prefixes of the beam, and one label more.

    Candidate b · (1 + K) is prefix b itself, b · (1 + K) + k is prefix b with the label k. Those of
    prefix b that end in a blank are in ``ends_blank[b]``, all others in ``ends_other``.
    """
    n_symbols = len(frame)
    for b in range(len(last)):
        at, total = b * n_symbols, _add(blank[b], other[b])
        ends_blank[b] = total + frame[0]
        ends_other[at] = other[b] + frame[last[b]] if last[b] else -np.inf
        for k in range(1, n_symbols):
            # Only a blank makes a second label of one that is repeated.
            ends_other[at + k] = (blank[b] if k == last[b] else total) + frame[k]


@within
def _join(beam, last, parent, slot, ends_other, n_symbols):
    """Add a candidate that is a prefix of the beam with one label more to that prefix itself."""
    for b in range(len(beam)):
        before = slot[parent[beam[b]]]
        if beam[b] != 0 and before >= 0:
            at = before * n_symbols + last[b]
            ends_other[b * n_symbols] = _add(ends_other[b * n_symbols], ends_other[at])
            ends_other[at] = -np.inf


@within
def _choose(ends_blank, ends_other, n_symbols, scores, chosen):
    """Fill the candidates with the largest probabilities, sorted downwards; return their number."""
    n_chosen, most = 0, len(chosen)
    for candidate in range(len(ends_blank) * n_symbols):
        score = ends_other[candidate]
        if candidate % n_symbols == 0:
            score = _add(score, ends_blank[candidate // n_symbols])
        scores[candidate] = score
        if score == -np.inf or (n_chosen == most and scores[chosen[most - 1]] >= score):
            continue
        place = min(n_chosen, most - 1)
        while place > 0 and scores[chosen[place - 1]] < score:
            chosen[place] = chosen[place - 1]
            place -= 1
        chosen[place] = candidate
        n_chosen = min(n_chosen + 1, most)
    return n_chosen


@within
def _child(node, label, tree, n_nodes):
    """Return the node of a prefix with one more label: one that is there, or number n_nodes.

    Node 0 is the empty prefix, which is no child.
    """
    parent, label_of, first_child, next_sibling = tree
    child = first_child[node]
    while child != 0 and label_of[child] != label:
        child = next_sibling[child]
    if child == 0:
        child = n_nodes
        parent[child], label_of[child] = node, label
        next_sibling[child], first_child[node] = first_child[node], child
    return child


@within
def _labels_of(node, parent, label_of):
    """Return the labels on the way to a node."""
    length, walk = 0, node
    while walk != 0:
        length, walk = length + 1, parent[walk]
    labels = np.empty(length, np.int64)
    for u in range(length - 1, -1, -1):
        labels[u] = label_of[node]
        node = parent[node]
    return labels


@compiled
def best_prefix(log_proba, beam_width):
    """Return the labelling that a prefix beam search finds, and its log-probability in the beam.

    A prefix has two log-probabilities: of its paths so far that end in a blank, and of the others.
    After each frame the ``beam_width`` most probable prefixes are kept. Prefixes are the nodes of a
    tree, so that one to which two ways lead is one node.

    Parameters
    ----------
    log_proba : ndarray of shape (T, 1 + K)
        See the module.
    beam_width : int
        At least one.

    Returns
    -------
    labels : ndarray of int, shape (U,)
        The labelling.
    log_probability : float
        At most ln p(labels | x): paths through prefixes that were not kept are not in it.
    """
    n_symbols, size = log_proba.shape[1], 1 + len(log_proba) * beam_width
    parent, label_of = np.zeros((2, size), np.int64)
    tree = parent, label_of, np.zeros(size, np.int64), np.zeros(size, np.int64)
    slot = np.full(size, -1)  # the place of a node in the beam
    ends_blank, chosen = np.empty(beam_width), np.empty(beam_width, np.int64)
    scores, ends_other = np.empty((2, beam_width * n_symbols))
    beam, blank, other = np.zeros(1, np.int64), np.zeros(1), np.full(1, -np.inf)
    n_nodes, slot[0] = 1, 0
    for t in range(len(log_proba)):
        last = label_of[beam]
        _extend(log_proba[t], last, blank, other, ends_blank, ends_other)
        _join(beam, last, parent, slot, ends_other, n_symbols)
        n_chosen = _choose(ends_blank[: len(beam)], ends_other, n_symbols, scores, chosen)
        if n_chosen == 0:  # no symbol of the frame is possible
            return _labels_of(beam[0], parent, label_of), -np.inf
        slot[beam] = -1
        kept = np.empty(n_chosen, np.int64)
        blank, other = np.full(n_chosen, -np.inf), np.empty(n_chosen)
        for c in range(n_chosen):
            b, k = chosen[c] // n_symbols, chosen[c] % n_symbols
            kept[c], other[c] = beam[b], ends_other[chosen[c]]
            if k == 0:
                blank[c] = ends_blank[b]
            else:
                kept[c] = _child(beam[b], k, tree, n_nodes)
                n_nodes = max(n_nodes, kept[c] + 1)
            slot[kept[c]] = c
        beam = kept
    return _labels_of(beam[0], parent, label_of), _add(blank[0], other[0])
