"""Chains of unit rules, and draws from a grammar, compiled."""

import numpy as np

from skvae.chain.compilation import compiled


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
