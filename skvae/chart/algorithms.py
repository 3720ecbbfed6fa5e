r"""Inference on trees: functions of a grammar's rules and log-likelihoods of the leaves.

A tree has a root A with probability ``startprob[A]``. A nonterminal A becomes two nonterminals B C
with probability ``rules[A, B, C]``, one nonterminal B with ``units[A, B]``, or a leaf with
``leafprob[A]``, which gives one row x_t with density p(x_t | A). The inside and the outside of the
rows from i to j (Baker, 1979; Lari & Young, 1990), for a grammar without unit rules, are

.. math:: I_{ij}(A) = \sum_{BC} R(A, B, C) \sum_k I_{ik}(B)\, I_{k+1,j}(C), \qquad
          O_{ij}(A)\, I_{ij}(A) = p(x, A \text{ covers } i..j).

Unit rules are summed exactly: their chains have the weights :math:`C = (1 - U)^{-1}`, the insides
become :math:`C I` and the outsides :math:`C^T O`. Brackets remove each constituent that crosses one
(Pereira & Schabes, 1992): a bracket is then a constituent in every tree that is left. Inside, best
trees and counts are one recursion over different semirings (Goodman, 1999).

Every function takes the same first arguments and all sentences of a batch in one call:

``rules`` : Rules
    The grammar.
``log_likelihood`` : ndarray of shape (n_rows, K)
    ln p(x_t | leaf of label k), in nats, without ``leafprob``.
``offsets`` : ndarray of int, shape (n_sentences + 1,), default=None
    Sentence s has the rows from offsets[s] to offsets[s + 1]. None is one sentence.
``brackets`` : list of (ndarray of int, shape (m, 2)), default=None
    For each sentence the first and the last rows, counted from 0 in the sentence, that a
    constituent covers exactly. They do not cross.
``pool`` : Workers, default=None
    The threads; None is the calling thread alone. Results do not depend on their number.

Memory is O(n² K) for a sentence of n rows; time O(n³ K² + n² K³).

References
----------
Younger (1967), Recognition and parsing of context-free languages in time n³, Information and
Control 10. Baker (1979), Trainable grammars for speech recognition. Lari & Young (1990), The
estimation of stochastic context-free grammars using the inside-outside algorithm, Computer Speech
and Language 4. Pereira & Schabes (1992), Inside-outside reestimation from partially bracketed
corpora, ACL. Goodman (1999), Semiring parsing, Computational Linguistics 25.
"""

from typing import NamedTuple

import numpy as np

from skvae.blocks import Workers
from skvae.chart import kernels_log, kernels_trees

_DOUBLINGS = 64  # chains of up to 2**64 unit rules are summed
_DRAWS = 4096  # uniform numbers at a time
_MOST_DRAWN = 1 << 22  # leaves of a sentence


class Rules(NamedTuple):
    """The probabilities of a grammar's rules.

    Parameters
    ----------
    startprob : ndarray of shape (K,)
        The probability of the root's label.
    rules : ndarray of shape (K, K, K)
        ``rules[A, B, C]`` is the probability that A becomes B C.
    leafprob : ndarray of shape (K,)
        The probability that a nonterminal becomes a leaf.
    units : ndarray of shape (K, K) or None
        ``units[A, B]`` is the probability that A becomes B alone; the spectral radius is below one.
        ``rules[A].sum() + units[A].sum() + leafprob[A]`` is one.
    """

    startprob: np.ndarray
    rules: np.ndarray
    leafprob: np.ndarray
    units: np.ndarray | None = None


class ChartSums(NamedTuple):
    """Expected counts of sentences under the posterior over trees, weighted.

    Parameters
    ----------
    starts : ndarray of shape (K,)
        Expected numbers of roots.
    rules : ndarray of shape (K, K, K)
        Expected numbers of uses of each rule.
    units : ndarray of shape (K, K) or None
        Expected numbers of uses of each unit rule; None if the grammar has none.
    leaves : ndarray of shape (n_rows, K)
        The posterior of each leaf's label.
    log_likelihood : float
        Σ weight · ln p(x), in nats.
    """

    starts: np.ndarray
    rules: np.ndarray
    units: np.ndarray | None
    leaves: np.ndarray
    log_likelihood: float


def expect(
    rules, log_likelihood, offsets=None, *, brackets=None, weight=None, pool=None
) -> ChartSums:
    """Return the expected counts of sentences, the E step of the inside-outside algorithm.

    A sentence of probability zero makes the log-likelihood −inf and adds nothing.

    Parameters
    ----------
    rules, log_likelihood, offsets, brackets, pool
        See the module.
    weight : ndarray of shape (n_sentences,), default=None
        The weight of each sentence.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.chart.algorithms import Rules, expect
    >>> rules = Rules(np.ones(1), np.full((1, 1, 1), 0.25), np.full(1, 0.75))
    >>> sums = expect(rules, np.zeros((3, 1)))  # S → S S | a, of the sentence a a a
    >>> float(sums.rules[0, 0, 0]), round(float(np.exp(sums.log_likelihood)), 6)  # 2 · ¼² · ¾³
    (2.0, 0.052734)
    """
    sentences = _Sentences(rules, log_likelihood, offsets, brackets, pool)
    grammar, n_labels = sentences.grammar, len(rules.startprob)
    leaves = np.zeros((len(log_likelihood), n_labels))
    shapes = (n_labels,), (n_labels,) * 3, (n_labels,) * 2

    def add(s):
        starts, counts, units = (np.zeros(shape) for shape in shapes)
        times = 1.0 if weight is None else weight[s]
        if times == 0:
            return starts, counts, units, 0.0
        inside = sentences.inside(s)
        if inside.log_p > -np.inf:
            top, outer = inside.top, inside.outer()
            starts += times * np.exp(inside.log_root() - inside.log_p)
            given = grammar.log_rules, grammar.log_units, inside.leaves, top, outer, times
            kernels_log.add_counts(*given, counts, units, leaves[sentences.rows(s)])
        return starts, counts, units, times * inside.log_p

    totals = [np.zeros(shape) for shape in shapes]
    log_p = 0.0
    for found in sentences.map(add):
        for total, part in zip(totals, found, strict=False):
            total += part
        log_p += found[-1]
    starts, counts, units = totals
    return ChartSums(starts, counts, None if rules.units is None else units, leaves, float(log_p))


def log_likelihood_of(rules, log_likelihood, offsets=None, *, brackets=None, pool=None):
    """Return ln p(x) of each sentence, its length included, (n_sentences,), in nats.

    The arguments are those of the module.
    """
    sentences = _Sentences(rules, log_likelihood, offsets, brackets, pool)
    return np.array(list(sentences.map(lambda s: sentences.inside(s).log_p)))


def leaf_posterior(rules, log_likelihood, offsets=None, *, brackets=None, pool=None):
    """Return the posterior of each leaf's label given its sentence, (n_rows, K).

    In a sentence of probability zero, rows that are impossible given the rows before them count as
    missing. If its length or its brackets are impossible, the labels have the proportions of
    ``leafprob``.

    The arguments are those of the module.
    """
    sentences = _Sentences(rules, log_likelihood, offsets, brackets, pool)
    out = np.empty((len(log_likelihood), len(rules.startprob)))

    def fill(s):
        inside, rows = sentences.inside(s), sentences.rows(s)
        if inside.log_p == -np.inf:
            impossible = np.isneginf(sentences.predictive(s))
            changed = np.where(impossible[:, None], 0.0, sentences.log_likelihood[rows])
            inside = sentences.inside(s, changed)
        if inside.log_p == -np.inf:
            out[rows] = rules.leafprob / rules.leafprob.sum()
            return
        posterior = np.exp(np.einsum("iik->ik", inside.outer()) + inside.leaves)
        out[rows] = posterior / posterior.sum(axis=1, keepdims=True)

    list(sentences.map(fill))
    return out


def span_posterior(rules, log_likelihood, *, brackets=None):
    """Return the probability that rows i to j are a constituent of each label, (n, n, K).

    All rows are one sentence; entries with j < i are zero, and all are if it is impossible. A label
    counts once, even if a cycle of unit rules returns to it.

    The arguments are those of the module.
    """
    sentences = _Sentences(rules, log_likelihood, None, brackets, None)
    inside = sentences.inside(0)
    if inside.log_p == -np.inf:
        return np.zeros((*inside.allowed.shape, len(rules.startprob)))
    # C(A, A) is the expected number of visits of A after the first one, and that one.
    returns = np.diagonal(sentences.grammar.log_closure)
    return np.exp(inside.outer() + inside.top - returns)


def best_trees(rules, log_likelihood, offsets=None, *, brackets=None, pool=None):
    """Return the most probable tree of each sentence (CKY; Younger, 1967).

    The arguments are those of the module.

    Returns
    -------
    log_probs : ndarray of shape (n_sentences,)
        ln p(tree, x), in nats; −inf if no tree is possible.
    nodes : list of (ndarray of int, shape (m, 5))
        The nodes of each tree in preorder: label, first row, last row, and the nodes' numbers of
        the left and the right child. Both are −1 for a leaf, the right one for a unit rule. An
        impossible sentence has no nodes.
    """
    sentences = _Sentences(rules, log_likelihood, offsets, brackets, pool)
    grammar, n_labels = sentences.grammar, len(rules.startprob)
    chains, following = grammar.best_chains()

    def best(s):
        leaves, allowed = sentences.leaves(s), sentences.allowed(s)
        n = len(leaves)
        base, top = np.empty((2, n, n, n_labels))
        kernels_trees.fill_best(grammar.log_rules, chains, leaves, allowed, base, top)
        roots = grammar.log_start + top[0, n - 1]
        root = int(np.argmax(roots))
        nodes = np.empty((0 if roots[root] == -np.inf else (2 * n - 1) * n_labels, 5), np.int64)
        given = grammar.log_rules, chains, following, base, top, root
        n_nodes = kernels_trees.read_tree(*given, nodes) if len(nodes) else 0
        return roots[root], nodes[:n_nodes].copy()

    found = list(sentences.map(best))
    return np.array([log_p for log_p, _ in found]), [nodes for _, nodes in found]


def predictive(rules, log_likelihood, offsets=None, *, pool=None):
    """Return ln p(x_t | x_1..x_{t−1}, n) of each row, (n_rows,), in nats.

    The sum over a sentence is ln p(x) − ln p(n). A row that is impossible given the rows before it
    has −inf and counts as missing for the next ones. If no sentence has n rows, all have −inf.

    The arguments are those of the module.
    """
    sentences = _Sentences(rules, log_likelihood, offsets, None, pool)
    return np.concatenate([np.empty(0), *sentences.map(sentences.predictive)])


def log_length(rules, n_max):
    """Return ln p(n) of the lengths 1..n_max, (n_max,).

    Parameters
    ----------
    rules : Rules
        The grammar.
    n_max : int
        The longest length.
    """
    grammar = _Grammar(rules)
    return _log_sum(grammar.log_start + grammar.lengths(n_max))


def sample_trees(rules, *, n_sentences=None, n_rows=None, rng):
    """Return the labels of the leaves of trees drawn from the grammar.

    Parameters
    ----------
    rules : Rules
        The grammar.
    n_sentences : int
        The number of sentences; or
    n_rows : int
        the number of rows, of which the last may end within a sentence.
    rng : RandomState
        The source of randomness.

    Returns
    -------
    labels : ndarray of int, shape (n_rows,)
        The labels of the leaves.
    offsets : ndarray of int, shape (n_sentences + 1,)
        Sentence s has the leaves from offsets[s] to offsets[s + 1].
    """
    n_labels = len(rules.startprob)
    units = np.zeros((n_labels, n_labels)) if rules.units is None else rules.units
    flat = rules.rules.reshape(n_labels, -1)
    choices = np.cumsum(np.column_stack([flat, units, rules.leafprob]), axis=1)
    start = np.cumsum(rules.startprob)
    start, choices = start / start[-1], choices / choices[:, -1:]
    labels, stack = np.empty((2, _DRAWS), dtype=np.int64)
    ends = np.empty(_DRAWS if n_sentences is None else n_sentences, dtype=np.int64)
    state = 0, 0, 0  # labels that wait on the stack, leaves, sentences
    while state[2] < n_sentences if n_rows is None else state[1] < n_rows:
        uniform = rng.uniform(size=_DRAWS)
        given = start, choices, uniform, stack, labels, ends
        state = kernels_trees.draw_leaves(*given, *state)
        # Each number adds at most one of each.
        stack, labels = _with_room(stack, state[0]), _with_room(labels, state[1])
        ends = _with_room(ends, state[2]) if n_sentences is None else ends
        if state[0] > _MOST_DRAWN:
            raise ValueError(
                f"a sentence drawn from the grammar has more than {_MOST_DRAWN} leaves: by its "
                "rules trees need not end; lower `rules` and raise `leafprob`"
            )
    _, n_leaves, n_ends = state
    n_leaves = n_leaves if n_rows is None else n_rows
    ends = ends[:n_ends]
    inner = ends[ends < n_leaves]
    return labels[:n_leaves], np.concatenate([[0], inner, [n_leaves]])


def _with_room(array, used):
    """Return an array of which the first numbers are used, twice as long if it is almost full."""
    return np.resize(array, 2 * len(array)) if used + _DRAWS >= len(array) else array


# One sentence -------------------------------------------------------------------------------------


def _log(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def _log_sum(logs):
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


class _Grammar:
    """The logs of a grammar's rules.

    Parameters
    ----------
    rules : Rules
        The grammar.
    """

    def __init__(self, rules):
        n_labels = len(rules.startprob)
        units = np.zeros((n_labels, n_labels)) if rules.units is None else rules.units
        self.log_start, self.log_rules = _log(rules.startprob), _log(rules.rules)
        self.log_leaf, self.log_units = _log(rules.leafprob), _log(units)
        self.log_closure = _log(unit_closure(units))

    def lengths(self, n):
        """Return the log probabilities that a label has 1..n leaves, (n, K)."""
        top = np.empty((n, len(self.log_start)))
        kernels_log.fill_lengths(self.log_rules, self.log_closure, self.log_leaf, top)
        return top

    def best_chains(self):
        """Return the best chain of unit rules between labels, and its first step."""
        chains = np.empty_like(self.log_units)
        following = np.empty(chains.shape, dtype=np.int64)
        kernels_trees.fill_best_chains(self.log_units, chains, following)
        return chains, following


class _Inside:
    """The insides of one sentence.

    Parameters
    ----------
    grammar : _Grammar
        The rules.
    leaves : ndarray of shape (n, K)
        Log-likelihoods of the leaves, ``leafprob`` included.
    allowed : ndarray of bool, shape (n, n)
        Which spans may be constituents.
    """

    def __init__(self, grammar, leaves, allowed):
        self.grammar, self.leaves, self.allowed = grammar, leaves, allowed
        self.base, self.top = np.full((2, *allowed.shape, leaves.shape[1]), -np.inf)
        given = grammar.log_rules, grammar.log_closure, leaves, allowed
        kernels_log.fill_inside(*given, self.base, self.top)
        self.log_p = float(_log_sum(self.log_root()))

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


class _Sentences:
    """The sentences of a batch; the parameters are those of the module."""

    def __init__(self, rules, log_likelihood, offsets, brackets, pool):
        self.grammar = _Grammar(rules)
        self.log_likelihood = log_likelihood
        self.offsets = np.array([0, len(log_likelihood)]) if offsets is None else offsets
        self.brackets, self.pool = brackets, Workers(1) if pool is None else pool

    def map(self, function):
        """Yield ``function(s)`` of each sentence, in order."""

        def chunk(start, stop):
            return [function(s) for s in range(start, stop)]

        for found in self.pool.map(chunk, len(self.offsets) - 1, 1):
            yield from found

    def rows(self, s):
        """Return the rows of a sentence, a slice."""
        return slice(self.offsets[s], self.offsets[s + 1])

    def leaves(self, s):
        """Return the log-likelihoods of a sentence's leaves, ``leafprob`` included."""
        return self.log_likelihood[self.rows(s)] + self.grammar.log_leaf

    def allowed(self, s):
        """Return which spans cross no bracket of a sentence, (n, n)."""
        n = self.offsets[s + 1] - self.offsets[s]
        allowed = np.ones((n, n), dtype=bool)
        first, last = np.arange(n)[:, None], np.arange(n)
        for start, stop in () if self.brackets is None else self.brackets[s]:
            allowed &= ~((first < start) & (start <= last) & (last < stop))
            allowed &= ~((start < first) & (first <= stop) & (stop < last))
        return allowed

    def inside(self, s, log_likelihood=None):
        """Return the _Inside of a sentence, of other log-likelihoods if they are given."""
        leaves = self.leaves(s)
        if log_likelihood is not None:
            leaves = log_likelihood + self.grammar.log_leaf
        return _Inside(self.grammar, leaves, self.allowed(s))

    def predictive(self, s):
        """Return ln p(x_t | x_1..x_{t−1}, n) of a sentence's rows.

        A tree's outside of leaf t has the insides of x_1..x_{t−1} as left siblings; the right ones
        cover later rows, whose leaves have the weight one.
        """
        log_likelihood, grammar = self.log_likelihood[self.rows(s)].copy(), self.grammar
        n = len(log_likelihood)
        lengths = grammar.lengths(n)
        right = lengths[np.maximum(np.arange(n) - np.arange(n)[:, None], 0)]
        impossible = np.zeros(n, dtype=bool)
        while True:
            inside = _Inside(grammar, log_likelihood + grammar.log_leaf, np.ones((n, n), bool))
            outer = np.einsum("iik->ik", inside.outside(right, grammar.log_start))
            before = _log_sum(outer + grammar.log_leaf)
            if before[0] == -np.inf:
                return np.full(n, -np.inf)
            with np.errstate(invalid="ignore"):
                out = _log_sum(outer + inside.leaves) - before
            new = np.flatnonzero(out == -np.inf)
            if not len(new):
                out[impossible] = -np.inf
                return out
            impossible[new[0]], log_likelihood[new[0]] = True, 0.0
