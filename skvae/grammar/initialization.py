"""First parameters of a grammar: rules near uniform, labels of leaves, and given values."""

from typing import NamedTuple

import numpy as np

from skvae.blocks import is_complete
from skvae.grammar.parameters import GrammarParameters, GrammarPrior, joined, parted
from skvae.initialization import completed, first_labels, rows_to_start_from
from skvae.validation import check_array_parameter, check_concentration, check_stochastic

_LEAF_SHARE = 0.6  # of a nonterminal's choices at a start: above 1/2, so that trees end
_FEW_SYMBOLS = 256  # distinct rows up to which each one gets labels of its own at a start
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
    startprob, choices = given
    if startprob is None:
        startprob = prior.start_allowed * rng.uniform(0.5, 1.5, size=n)
        startprob /= startprob.sum()
    if choices is None:
        choices = _first_choices(prior.allowed, rng)
    rows = data.sequences.rows()
    rows = rows.chosen(rows_to_start_from(rows.n_rows, n, rng))
    labels = _first_leaves(rows, n, emission, summary, rng)
    parameters = emission.first(rows, labels, n, summary, rng)
    return GrammarParameters(startprob, *parted(choices), parameters)


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


def _first_leaves(rows, n, emission, summary, rng):
    """Return the first label of each row, −1 for a row without any value, in reading order.

    Equal rows have labels with equal probabilities, drawn at random for each symbol; if there are
    many distinct rows, labels are clusters instead.
    """
    X, weight = rows.take(0, rows.n_rows)
    unseen = np.zeros(len(X), dtype=bool) if is_complete(X) else np.isnan(X).all(axis=1)
    X = completed(X, rng)
    symbols, symbol = np.unique(X, axis=0, return_inverse=True)
    if len(symbols) <= min(_FEW_SYMBOLS, len(X) // 4):
        cumulated = rng.dirichlet(np.ones(n), size=len(symbols)).cumsum(axis=1)
        cumulated[:, -1] = 1.0
        uniform = rng.uniform(size=(len(X), 1))
        labels = (uniform > cumulated[symbol.ravel()]).sum(axis=1)
    else:
        points = np.asarray(emission.features(X, summary), dtype=np.float64)
        labels = first_labels(points, weight, n, "kmeans", rng)
    return np.where(unseen, -1, labels)
