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

from skvae.chart import kernels_trees
from skvae.chart.batch import Batch
from skvae.chart.log_space import LogGrammar, log_sum, unit_closure

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
    batch = Batch(rules, log_likelihood, offsets, brackets, pool)
    n_labels = len(rules.startprob)
    leaves = np.zeros((len(log_likelihood), n_labels))
    weight = np.ones(len(batch.offsets) - 1) if weight is None else np.array(weight, np.float64)
    options = {"outside": True, "counts": True, "leaves": leaves}
    log_p, lost, found = batch.run(weight, **options)
    if len(lost):
        kept = weight.copy()
        kept[lost] = 0.0
        log_p, _, found = batch.run(kept, **options)
    starts, counts, units = batch.compact.unsorted(*found)
    counts *= rules.rules
    units *= 0.0 if rules.units is None else rules.units
    for s in lost:
        inside = batch.log_inside(s)
        log_p[s] = inside.log_p
        if inside.log_p > -np.inf and weight[s] > 0:
            inside.add_counts(weight[s], starts, counts, units, leaves[batch.rows(s)])
    total = float(log_p[weight > 0] @ weight[weight > 0])
    return ChartSums(starts, counts, None if rules.units is None else units, leaves, total)


def log_likelihood_of(rules, log_likelihood, offsets=None, *, brackets=None, pool=None):
    """Return ln p(x) of each sentence, its length included, (n_sentences,), in nats.

    The arguments are those of the module.
    """
    batch = Batch(rules, log_likelihood, offsets, brackets, pool)
    log_p, lost, _ = batch.run(np.ones(len(batch.offsets) - 1))
    for s in lost:
        log_p[s] = batch.log_inside(s).log_p
    return log_p


def leaf_posterior(rules, log_likelihood, offsets=None, *, brackets=None, pool=None):
    """Return the posterior of each leaf's label given its sentence, (n_rows, K).

    In a sentence of probability zero, rows that are impossible given the rows before them count as
    missing. If its length or its brackets are impossible, the labels have the proportions of
    ``leafprob``.

    The arguments are those of the module.
    """
    batch = Batch(rules, log_likelihood, offsets, brackets, pool)
    out = np.empty((len(log_likelihood), len(rules.startprob)))
    log_p, lost, _ = batch.run(np.ones(len(batch.offsets) - 1), outside=True, leaves=out)
    for s in np.union1d(lost, np.flatnonzero(log_p == -np.inf)):
        inside, rows = batch.log_inside(s), batch.rows(s)
        if inside.log_p == -np.inf:
            inside = batch.log_inside(s, possible=True)
        if inside.log_p == -np.inf:
            out[rows] = rules.leafprob
        else:
            out[rows] = inside.leaf_posterior()
    return out / out.sum(axis=1, keepdims=True)


def span_posterior(rules, log_likelihood, *, brackets=None):
    """Return the probability that rows i to j are a constituent of each label, (n, n, K).

    All rows are one sentence; entries with j < i are zero, and all are if it is impossible. A label
    counts once, even if a cycle of unit rules returns to it.

    The arguments are those of the module.
    """
    batch = Batch(rules, log_likelihood, None, brackets, None)
    n, n_labels = len(log_likelihood), len(rules.startprob)
    spans = np.zeros((n, n, n_labels))
    _, lost, _ = batch.run(np.ones(1), outside=True, spans=spans)
    if len(lost):
        spans = batch.log_inside(0).span_posterior()
    # C(A, A) is the expected number of visits of A from the first one on.
    return spans if rules.units is None else spans / np.diagonal(unit_closure(rules.units))


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
    return Batch(rules, log_likelihood, offsets, brackets, pool).best_trees()


def predictive(rules, log_likelihood, offsets=None, *, pool=None):
    """Return ln p(x_t | x_1..x_{t−1}, n) of each row, (n_rows,), in nats.

    The sum over a sentence is ln p(x) − ln p(n). A row that is impossible given the rows before it
    has −inf and counts as missing for the next ones. If no sentence has n rows, all have −inf.

    The arguments are those of the module.
    """
    return Batch(rules, log_likelihood, offsets, None, pool).predictive()


def log_length(rules, n_max):
    """Return ln p(n) of the lengths 1..n_max, (n_max,).

    Parameters
    ----------
    rules : Rules
        The grammar.
    n_max : int
        The longest length.
    """
    grammar = LogGrammar(rules)
    return log_sum(grammar.log_start + grammar.lengths(n_max))


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
