"""One sentence at a time, in log space: right for every range of numbers, and slow.

:mod:`skvae.chart.batch` computes here the few sentences for which scaled numbers are not exact.
"""

import numpy as np

from skvae.chart import kernels_log

_DOUBLINGS = 64  # chains of up to 2**64 unit rules are summed


def log(p):
    """Return ln p, without a warning where p is zero."""
    with np.errstate(divide="ignore"):
        return np.log(p)


def log_sum(logs):
    """Return ln Σ exp(logs) over the last axis."""
    return np.logaddexp.reduce(logs, axis=-1)


def unit_closure(units):
    """Return (1 − U)⁻¹, the weights of chains of unit rules, for a spectral radius below one.

    (1 + U)(1 + U²)(1 + U⁴)… has no subtraction: small entries are as exact as large ones, and an
    entry is zero only where no chain exists.
    """
    total, power = np.eye(len(units)), units
    for _ in range(_DOUBLINGS):
        if not power.any():
            break
        total, power = total + power @ total, power @ power
    return total


class LogGrammar:
    """The logs of a grammar's rules.

    Parameters
    ----------
    rules : Rules
        The grammar.
    """

    def __init__(self, rules):
        n_labels = len(rules.startprob)
        units = np.zeros((n_labels, n_labels)) if rules.units is None else rules.units
        self.log_start, self.log_rules = log(rules.startprob), log(rules.rules)
        self.log_leaf, self.log_units = log(rules.leafprob), log(units)
        self.log_closure = log(unit_closure(units))

    def lengths(self, n):
        """Return the log probabilities that a label has 1..n leaves, (n, K)."""
        top = np.empty((n, len(self.log_start)))
        kernels_log.fill_lengths(self.log_rules, self.log_closure, self.log_leaf, top)
        return top


class Inside:
    """The insides of one sentence.

    Parameters
    ----------
    grammar : LogGrammar
        The rules.
    log_likelihood : ndarray of shape (n, K)
        Log-likelihoods of the leaves, without ``leafprob``.
    brackets : ndarray of int, shape (m, 2)
        No constituent crosses a bracket.
    """

    def __init__(self, grammar, log_likelihood, brackets=()):
        n = len(log_likelihood)
        self.grammar, self.leaves = grammar, log_likelihood + grammar.log_leaf
        self.allowed = np.ones((n, n), dtype=bool)
        first, last = np.arange(n)[:, None], np.arange(n)
        for start, stop in brackets:
            self.allowed &= ~((first < start) & (start <= last) & (last < stop))
            self.allowed &= ~((start < first) & (first <= stop) & (stop < last))
        self.base, self.top = np.full((2, n, n, self.leaves.shape[1]), -np.inf)
        given = grammar.log_rules, grammar.log_closure, self.leaves, self.allowed
        kernels_log.fill_inside(*given, self.base, self.top)
        self.log_p = float(log_sum(self.log_root()))

    def log_root(self):
        """Return ln p(x, the root's label)."""
        return self.grammar.log_start + self.top[0, -1]

    def outer(self):
        """Return the outsides of the bases of all spans, divided by p(x)."""
        return self.outside(self.top, self.grammar.log_start - self.log_p)

    def outside(self, right, log_start):
        """Return the outsides of the bases, with other insides of spans that are right siblings."""
        outer = np.full_like(self.top, -np.inf)
        outer[0, -1] = log_start
        given = self.grammar.log_rules, self.grammar.log_closure, self.top, right, self.allowed
        kernels_log.fill_outside(*given, outer)
        return outer

    def leaf_posterior(self):
        """Return the posterior of the leaves' labels, (n, K)."""
        return np.exp(np.einsum("iik->ik", self.outer()) + self.leaves)

    def span_posterior(self):
        """Return the expected numbers of constituents of each label and span, (n, n, K)."""
        if self.log_p == -np.inf:  # no tree, so no constituents; a posterior would be 0 / 0
            return np.zeros_like(self.top)
        return np.exp(self.outer() + self.top)

    def add_counts(self, weight, starts, rules, units, leaves):
        """Add the expected counts of a possible sentence, times its weight; fill its leaves."""
        starts += weight * np.exp(self.log_root() - self.log_p)
        given = self.grammar.log_rules, self.grammar.log_units, self.leaves, self.top, self.outer()
        kernels_log.add_counts(*given, weight, rules, units, leaves)


def predictive(grammar, log_likelihood):
    """Return ln p(x_t | x_1..x_{t−1}, n) of a sentence's rows, and which rows are impossible.

    A tree's outside of leaf t has the insides of x_1..x_{t−1} as left siblings; the right ones
    cover later rows, whose leaves have the weight one. An impossible row counts as missing.

    Parameters
    ----------
    grammar : LogGrammar
        The rules.
    log_likelihood : ndarray of shape (n, K)
        Log-likelihoods of the leaves, without ``leafprob``.
    """
    n = len(log_likelihood)
    log_likelihood, lengths = log_likelihood.copy(), grammar.lengths(n)
    right = lengths[np.maximum(np.arange(n) - np.arange(n)[:, None], 0)]
    impossible = np.zeros(n, dtype=bool)
    while True:
        inside = Inside(grammar, log_likelihood)
        outer = np.einsum("iik->ik", inside.outside(right, grammar.log_start))
        before = log_sum(outer + grammar.log_leaf)
        if before[0] == -np.inf:
            return np.full(n, -np.inf)
        with np.errstate(invalid="ignore"):
            out = log_sum(outer + inside.leaves) - before
        new = np.flatnonzero(out == -np.inf)
        if not len(new):
            out[impossible] = -np.inf
            return out
        impossible[new[0]], log_likelihood[new[0]] = True, 0.0
