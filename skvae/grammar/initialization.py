"""First parameters of a grammar: labels that are merged, and given values.

A start has three times as many labels as nonterminals. From rules drawn at random, EM takes a few
steps, on codes of the rows (symbols, or clusters) instead of their densities. Then labels are
merged in pairs, in three stages with further steps of EM: each time the pair is merged after which
the most probable trees have the highest probability. With as many labels as nonterminals from the
beginning, most starts end at a poor maximum, in which two labels are alike and another has two
roles, since EM cannot move a label from one role to another; among more labels every role is taken,
and labels that are alike are merged (Petrov et al., Proc. ACL 2006, split and merge in turn).

If nonterminals have given values or different priors, or one sentence is very long, there is no
merging: rules are near uniform, and the labels of leaves are drawn at random.
"""

from itertools import combinations
from typing import NamedTuple

import numpy as np
from scipy.special import xlogy

from skvae.blocks import is_complete
from skvae.chart.algorithms import Rules, best_trees, expect
from skvae.grammar.e_step import threads_for
from skvae.grammar.parameters import GrammarParameters, GrammarPrior, joined, parted
from skvae.initialization import completed, first_labels, rows_to_start_from
from skvae.validation import check_array_parameter, check_concentration, check_stochastic

_LEAF_SHARE = 0.6  # of a nonterminal's choices at a start: above 1/2, so that trees end
_FEW_SYMBOLS = 256  # distinct rows up to which each one gets labels of its own at a start
_MOST_MERGED = 16  # labels beyond the nonterminals
_STAGES = 0.5, 0.25, 0.0  # of these labels that are left after each stage of merging
_FIRST_STEPS, _STEPS = 20, 3  # of EM, before and after each merging
_PSEUDO_COUNT = 1e-4  # added to each count: EM never leaves an exact zero
_MOST_WORK = 2e9  # operations of one such step, which limits the sentences that a start reads
_CLOSE = 1e-9  # to one: rounding of the given probabilities


class GivenValues(NamedTuple):
    """First values that the parameters of the constructor give; None where they do not.

    Parameters
    ----------
    startprob : ndarray of shape (K,) or None
        Probabilities of the root.
    choices : ndarray of shape (K, K² + 1 + K) or None
        Probabilities of the choices.
    """

    startprob: np.ndarray | None
    choices: np.ndarray | None


def check_grammar(estimator):
    """Return the GivenValues and the GrammarPrior of an EMContextFreeGrammar.

    Raises
    ------
    ValueError
        They are not probabilities, or not of the shapes that n_components needs.
    """
    n = int(estimator.n_components)
    startprob, start_allowed = estimator.startprob_init, np.ones(n, dtype=bool)
    if startprob is not None:
        startprob = check_stochastic("startprob_init", startprob, (n,), "(n_components,)")
        start_allowed = startprob > 0
    choices = _given_choices(estimator, n)
    allowed = np.ones((n, n * n + 1 + n), dtype=bool)
    allowed[:, n * n + 1 :] = False  # a fit without an earlier one has no unit rules
    if choices is not None:
        allowed = choices > 0
    concentration = check_concentration("rules_prior", estimator.rules_prior, [(), (n,)])
    prior = GrammarPrior(
        check_concentration("startprob_prior", estimator.startprob_prior, [(), (n,)]),
        np.repeat(concentration[:, None], allowed.shape[1], axis=1),
        start_allowed,
        allowed,
    )
    return GivenValues(startprob, choices), prior


def _given_choices(estimator, n):
    """Return the probabilities that rules_init and leafprob_init give, or None."""
    rules, leafprob = estimator.rules_init, estimator.leafprob_init
    if rules is not None:
        meaning = "(n_components, n_components, n_components)"
        rules = _check_shares("rules_init", rules, (n, n, n), meaning)
        totals = rules.sum(axis=(1, 2))
        if (totals > 1 + 1e-6).any():
            k = int(np.argmax(totals))
            raise ValueError(
                f"rules_init[{k}] sums to {totals[k]:.9g}: must be at most 1, as the rest is the "
                "probability of a leaf"
            )
    if leafprob is not None:
        leafprob = _check_shares("leafprob_init", leafprob, (n,), "(n_components,)")
        if (leafprob > 1).any():
            raise ValueError(f"leafprob_init has an entry {leafprob.max():.9g}: must be at most 1")
    if rules is None and leafprob is None:
        return None
    if rules is None:
        rules = np.ones((n, n, n)) * ((1.0 - leafprob) / n**2)[:, None, None]
    elif leafprob is None:
        leafprob = 1.0 - rules.sum(axis=(1, 2))
        leafprob[leafprob < _CLOSE] = 0.0
    return check_choices("rules_init", rules, "leafprob_init", leafprob, None)


def _check_shares(name, value, shape, meaning):
    array = check_array_parameter(name, value, shape, meaning)
    if (array < 0).any():
        raise ValueError(f"{name} has an entry {array.min()}: must be >= 0")
    return array


def check_choices(rules_name, rules, leafprob_name, leafprob, units):
    """Return checked rows of choices; raise ValueError unless each sums to one.

    Parameters
    ----------
    rules_name, leafprob_name : str
        The names of the parameters, for messages.
    rules, leafprob, units : ndarray or None
        The probabilities, >= 0 and of the right shapes.
    """
    choices = joined(rules, leafprob, units)
    totals = choices.sum(axis=1)
    k = int(np.argmax(np.abs(totals - 1)))
    if abs(totals[k] - 1) > 1e-6:
        others = "" if units is None else " and unit_rules"
        raise ValueError(
            f"{rules_name}[{k}] sums to {rules[k].sum():.9g} and {leafprob_name}[{k}] is "
            f"{leafprob[k]:.9g}: {rules_name} and {leafprob_name}{others} of a nonterminal must "
            "sum to 1"
        )
    if not leafprob.any():
        raise ValueError(f"{leafprob_name} is zero in every entry: no sentence could end")
    return choices / totals[:, None]


def check_rules(rules, leafprob, unit_rules, names=("rules", "leafprob", "unit_rules")):
    """Return (rules, leafprob, units) of known parameters, checked.

    Raises
    ------
    ValueError
        They are not the probabilities of choices, or unit rules have a cycle of probability one.
    """
    n = len(np.atleast_1d(leafprob))
    meaning = "(n_components, n_components, n_components)"
    leafprob = _check_shares(names[1], leafprob, (n,), "(n_components,)")
    rules = _check_shares(names[0], rules, (n, n, n), meaning)
    if unit_rules is not None:
        shape = "(n_components, n_components)"
        unit_rules = _check_shares(names[2], unit_rules, (n, n), shape)
    choices = check_choices(names[0], rules, names[1], leafprob, unit_rules)
    rules, leafprob, units = parted(choices)
    if units is not None and np.abs(np.linalg.eigvals(units)).max() > 1 - _CLOSE:
        raise ValueError(
            f"{names[2]} has a cycle that returns with probability one: some nonterminals on it "
            "need another rule or a leaf"
        )
    return rules, leafprob, units


# Starts -------------------------------------------------------------------------------------------


def first_parameters(given, prior, data, emission, summary, rng):
    """Return the GrammarParameters of a new start.

    Parameters
    ----------
    given : GivenValues
        First values, which are used as they are.
    prior : GrammarPrior
        The prior of the rules; its zeros stay zero.
    data : Sentences
        The sentences, with their brackets.
    emission : Emission
        The emission family.
    summary : object
        Its summary of the data.
    rng : RandomState
        The source of randomness.
    """
    n = len(prior.startprob)
    if n > 1 and _are_interchangeable(given, prior, emission):
        places, chosen = _chosen_sentences(data, _n_labels(n, 1.0), rng)
        if len(places):
            rows = data.sequences.rows().chosen(places)
            codes, _ = _codes(rows, _n_labels(n, 1.0), emission, summary, rng)
            sentences = _CodedSentences(codes, *chosen)
            with threads_for(sentences, n) as pool:
                found, leaves = _merged_start(sentences, n, pool, rng)
            labels = np.where(codes < 0, -1, _drawn(leaves, rng))
            return GrammarParameters(*found, emission.first(rows, labels, n, summary, rng))
    startprob, choices = given
    if startprob is None:
        startprob = prior.start_allowed * rng.uniform(0.5, 1.5, size=n)
        startprob /= startprob.sum()
    if choices is None:
        choices = _first_choices(prior.allowed, rng)
    rows = data.sequences.rows()
    rows = rows.chosen(rows_to_start_from(rows.n_rows, n, rng))
    labels, are_symbols = _codes(rows, n, emission, summary, rng)
    if are_symbols:
        proba = rng.dirichlet(np.ones(n), size=labels.max(initial=0) + 1)
        labels = np.where(labels < 0, -1, _drawn(proba[labels], rng))
    parameters = emission.first(rows, labels, n, summary, rng)
    return GrammarParameters(startprob, *parted(choices), parameters)


def _are_interchangeable(given, prior, emission):
    """Return whether nothing but its learned values distinguishes a nonterminal from another."""
    if given.startprob is not None or given.choices is not None:
        return False
    if np.ptp(prior.startprob) > 0 or np.ptp(prior.choices, axis=0).any():
        return False
    parameters = emission.get_params(deep=True).items()
    return not any(name.endswith("_init") and value is not None for name, value in parameters)


def _n_labels(n, share):
    """Return a number of labels: the nonterminals and a share of those that are merged."""
    return n + int(share * min(2 * n, _MOST_MERGED))


def _first_choices(allowed, rng):
    """Return choices near uniform, drawn at random: equal nonterminals would stay equal."""
    n = len(allowed)
    weights = allowed * rng.uniform(0.5, 1.5, size=allowed.shape)
    rest = weights.copy()
    rest[:, n * n] = 0.0
    totals = rest.sum(axis=1, keepdims=True)
    share = np.where(totals[:, 0] > 0, np.where(allowed[:, n * n], _LEAF_SHARE, 0.0), 1.0)
    choices = rest * ((1.0 - share)[:, None] / np.where(totals > 0, totals, 1.0))
    choices[:, n * n] = share
    return choices


def _codes(rows, n_clusters, emission, summary, rng):
    """Return (codes of rows in reading order, whether a code is a symbol).

    Equal rows have one code. If there are many distinct rows, codes are clusters instead. A row
    without any value has the code −1.
    """
    X, weight = rows.take(0, rows.n_rows)
    unseen = np.zeros(len(X), dtype=bool) if is_complete(X) else np.isnan(X).all(axis=1)
    X = completed(X, rng)
    symbols, codes = np.unique(X, axis=0, return_inverse=True)
    are_symbols = len(symbols) <= min(_FEW_SYMBOLS, len(X) // 4)
    if not are_symbols:
        points = np.asarray(emission.features(X, summary), dtype=np.float64)
        n_clusters = min(n_clusters, len(X))
        codes = first_labels(points, weight, n_clusters, "kmeans", rng)
    return np.where(unseen, -1, codes.ravel()), are_symbols


def _drawn(proba, rng):
    """Return a label for each row, drawn with its probabilities, (n_rows, n_labels)."""
    cumulated = proba.cumsum(axis=1)
    bound = rng.uniform(size=(len(proba), 1)) * cumulated[:, -1:]
    return np.minimum((bound >= cumulated).sum(axis=1), proba.shape[1] - 1)


# Starts by merging --------------------------------------------------------------------------------


class _CodedSentences(NamedTuple):
    """Sentences of codes.

    Parameters
    ----------
    codes : ndarray of int, shape (n_rows,)
        The code of each row, −1 for none.
    offsets : ndarray of int, shape (n_sentences + 1,)
        Sentence s has the rows from offsets[s] to offsets[s + 1].
    brackets : list of ndarray of int, or None
        The (first, last) rows of the brackets of each sentence.
    weight : ndarray of shape (n_sentences,) or None
        The weights of the sentences.
    """

    codes: np.ndarray
    offsets: np.ndarray
    brackets: list | None
    weight: np.ndarray | None

    def infer(self, algorithm, counts, pool, **options):
        """Return the result of an algorithm of the chart under the maximum given counts."""
        rules, table = counts.maximize()
        log_likelihood = np.where(self.codes[:, None] < 0, 0.0, np.log(table.T)[self.codes])
        return algorithm(
            rules, log_likelihood, self.offsets, brackets=self.brackets, pool=pool, **options
        )

    def after_steps(self, counts, n_steps, pool):
        """Return (_Counts, leaves) of the E step after some steps of EM from given counts.

        Leaves are the posterior of each row's label, (n_rows, n_labels).
        """
        known = self.codes >= 0
        for _ in range(n_steps):
            found = self.infer(expect, counts, pool, weight=self.weight)
            of_codes = np.zeros_like(counts.leaves.T)
            np.add.at(of_codes, self.codes[known], found.leaves[known])
            counts = _Counts(found.starts, found.rules, of_codes.T)
        return counts, found.leaves


class _Counts(NamedTuple):
    """Numbers of the choices of each label in trees over codes.

    Parameters
    ----------
    starts : ndarray of shape (L,)
        Roots.
    rules : ndarray of shape (L, L, L)
        Rules A → B C.
    leaves : ndarray of shape (L, n_codes)
        Leaves with each code.
    """

    starts: np.ndarray
    rules: np.ndarray
    leaves: np.ndarray

    def maximize(self):
        """Return the Rules and the probabilities of codes, (L, n_codes), near the maximum."""
        starts, rules, leaves = (counts + _PSEUDO_COUNT for counts in self)
        n_leaves = leaves.sum(axis=1)
        totals = rules.sum(axis=(1, 2)) + n_leaves
        found = Rules(starts / starts.sum(), rules / totals[:, None, None], n_leaves / totals)
        return found, leaves / n_leaves[:, None]

    def merged(self, label_of):
        """Return the counts of fewer labels; label k becomes ``label_of[k]``."""
        onto = np.eye(label_of.max() + 1)[label_of]
        rules = np.einsum("abc,ax,by,cz->xyz", self.rules, onto, onto, onto, optimize=True)
        return _Counts(self.starts @ onto, rules, onto.T @ self.leaves)


def _chosen_sentences(data, n_labels, rng):
    """Return the places of the rows of some sentences, and their offsets, brackets and weights.

    Sentences are drawn until a step of EM with so many labels has ``_MOST_WORK`` operations. There
    may be none.
    """
    lengths = np.diff(data.sequences.offsets)
    sizes = lengths.astype(np.float64)
    work = sizes**2 * n_labels**2 * (sizes + n_labels)
    order = rng.permutation(len(lengths))
    kept = np.sort(order[work[order].cumsum() <= _MOST_WORK])
    offsets = np.concatenate([[0], lengths[kept].cumsum()])
    places = np.arange(offsets[-1]) + np.repeat(
        data.sequences.offsets[kept] - offsets[:-1], lengths[kept]
    )
    brackets, weight = data.brackets, data.sentence_weight()
    if brackets is not None:
        brackets = [brackets[s] for s in kept]
    return places, (offsets, brackets, None if weight is None else weight[kept])


def _merged_start(sentences, n, pool, rng):
    """Return (startprob, rules, leafprob, None) of n labels, and the posterior of each row's label.

    The module describes the method.
    """
    n_labels, n_codes = _n_labels(n, 1.0), sentences.codes.max(initial=0) + 1
    draws = rng.standard_exponential(size=(n_labels, n_labels**2 + n_codes))
    draws *= len(sentences.codes) / draws.sum()
    rules, leaves = np.split(draws, [n_labels**2], axis=1)
    counts = _Counts(np.ones(n_labels), rules.reshape(n_labels, n_labels, n_labels), leaves)
    counts, posterior = sentences.after_steps(counts, _FIRST_STEPS, pool)
    for share in _STAGES:
        _, trees = sentences.infer(best_trees, counts, pool)
        label_of = _merged_labels(
            *_choices_of(trees, sentences), len(counts.starts), _n_labels(n, share)
        )
        counts, posterior = sentences.after_steps(counts.merged(label_of), _STEPS, pool)
    return counts.maximize()[0], posterior


def _choices_of(trees, sentences):
    """Return the distinct choices in trees, and the weight of each.

    Parameters
    ----------
    trees : list of ndarray of int, shape (m, 5)
        Nodes as :func:`skvae.chart.algorithms.best_trees` returns them.
    sentences : _CodedSentences
        Their sentences.

    Returns
    -------
    choices : ndarray of int, shape (n_choices, 3)
        (label, label of the left child, that of the right child), or (label, −1, code) of a leaf.
    weight : ndarray of shape (n_choices,)
        How often each is chosen.
    """
    found, weights = [], []
    for s, nodes in enumerate(trees):
        labels, first, _, left, right = nodes.T
        codes = sentences.codes[sentences.offsets[s] + first]
        is_leaf = left < 0
        children = np.where(is_leaf, -1, labels[left]), np.where(is_leaf, codes, labels[right])
        found.append(np.column_stack([labels, *children]))
        weights.append(
            np.full(len(nodes), 1.0 if sentences.weight is None else sentences.weight[s])
        )
    choices, place = np.unique(np.concatenate(found), axis=0, return_inverse=True)
    return choices, np.bincount(place.ravel(), np.concatenate(weights))


def _merged_labels(choices, weight, n_labels, n_left):
    """Return the new label of each label, after merging pairs until ``n_left`` are left.

    To merge a label that no tree has changes no probability; labels that are alike are merged
    before it, as this raises the probability of the trees.
    """
    label_of = np.arange(n_labels)
    for _ in range(n_labels - n_left):
        left, best = np.unique(label_of), (-np.inf, None)
        for a, b in combinations(left, 2):
            merged = np.where(label_of == b, a, label_of)
            value = _log_probability(choices, weight, merged)
            if value > best[0]:
                best = value, merged
        label_of = best[1]
    return np.unique(label_of, return_inverse=True)[1].ravel()


def _log_probability(choices, weight, label_of):
    """Return ln p of trees with merged labels, under the choices' shares in them, in nats."""
    label, left, right = choices.T
    is_leaf = left < 0
    label, base = label_of[label], max(len(label_of), choices[:, 2].max(initial=0)) + 2
    left = np.where(is_leaf, 0, 1 + label_of[left])
    right = np.where(is_leaf, 1 + right, label_of[np.where(is_leaf, 0, right)])
    _, place = np.unique((label * base + left) * base + right, return_inverse=True)
    terms = (np.bincount(place.ravel(), weight), 1.0), (np.bincount(label, weight), -1.0)
    return sum(sign * xlogy(counts, counts).sum() for counts, sign in terms)
