r"""Single trees, compiled: the best one of a sentence (CKY), and draws from the grammar.

With :math:`V_{ij}(A)` the log probability of the best tree of label A over the words from i to j,

.. math:: V_{ij}(A) = \max_{BC} \left[ \ln R(A, B, C) + \max_k \{ V_{ik}(B) + V_{k+1,j}(C) \}
          \right]

(Younger, Information and Control 10, 1967). No back-pointers are stored: the tree has few nodes,
and the best split of each of them is found again. ``base`` and ``top`` are the best trees whose
first rule is no unit rule, and those with a best chain of unit rules above.
"""

import numpy as np

from skvae.chain.compilation import compiled


@compiled
def fill_best_chains(log_units, chains, following):
    """Fill the best chains of unit rules between all labels.

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


@compiled
def fill_best(log_rules, chains, leaves, allowed, base, top):
    """Fill the log probabilities of the best trees of all spans, ``base`` and ``top`` (n, n, K).

    The arguments are those of :func:`skvae.chart.kernels_log.fill_inside`, with the best chains of
    unit rules.
    """
    n, n_labels = leaves.shape
    splits = np.empty((n_labels, n_labels))
    for width in range(1, n + 1):
        for i in range(n - width + 1):
            j = i + width - 1
            base[i, j], top[i, j] = -np.inf, -np.inf
            if not allowed[i, j]:
                continue
            if width == 1:
                base[i, i] = leaves[i]
            else:
                splits[:] = -np.inf
                for k in range(i, j):
                    for b in range(n_labels):
                        left = top[i, k, b]
                        for c in range(n_labels):
                            splits[b, c] = max(splits[b, c], left + top[k + 1, j, c])
                for a in range(n_labels):
                    best = -np.inf
                    for b in range(n_labels):
                        for c in range(n_labels):
                            best = max(best, log_rules[a, b, c] + splits[b, c])
                    base[i, j, a] = best
            for a in range(n_labels):
                for b in range(n_labels):
                    top[i, j, a] = max(top[i, j, a], chains[a, b] + base[i, j, b])


@compiled
def read_tree(log_rules, chains, following, base, top, root, nodes):
    """Fill the nodes of the best tree in preorder and return their number.

    Parameters
    ----------
    log_rules, chains, following, base, top
        As for :func:`fill_best` and :func:`fill_best_chains`.
    root : int
        The root's label.
    nodes : ndarray of int, shape (m, 5)
        Filled with label, first word, last word, and the rows of the left and the right child; −1
        is no child.
    """
    n, n_labels = len(base), len(chains)
    stack = np.empty((2 * n, 5), dtype=np.int64)  # label, first, last, parent's row, its column
    stack[0] = root, 0, n - 1, -1, -1
    n_waiting, n_nodes = 1, 0
    while n_waiting > 0:
        n_waiting -= 1
        a, i, j, parent, column = stack[n_waiting]
        if parent >= 0:
            nodes[parent, column] = n_nodes
        last, best = a, base[i, j, a]
        for b in range(n_labels):
            if chains[a, b] + base[i, j, b] > best:
                last, best = b, chains[a, b] + base[i, j, b]
        nodes[n_nodes] = a, i, j, -1, -1
        while a != last:
            a = following[a, last]
            nodes[n_nodes, 3] = n_nodes + 1
            n_nodes += 1
            nodes[n_nodes] = a, i, j, -1, -1
        if i < j:
            split, left, right = _best_split(log_rules, top, a, i, j)
            stack[n_waiting] = right, split + 1, j, n_nodes, 4
            stack[n_waiting + 1] = left, i, split, n_nodes, 3
            n_waiting += 2
        n_nodes += 1
    return n_nodes


@compiled
def _best_split(log_rules, top, a, i, j):
    """Return the last word of the left child, and both labels, of the best rule of a span."""
    best, split, left, right = -np.inf, i, 0, 0
    n_labels = len(log_rules)
    for k in range(i, j):
        for b in range(n_labels):
            if top[i, k, b] == -np.inf:
                continue
            for c in range(n_labels):
                value = log_rules[a, b, c] + (top[i, k, b] + top[k + 1, j, c])
                if value > best:
                    best, split, left, right = value, k, b, c
    return split, left, right


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
