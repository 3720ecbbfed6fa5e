"""Grammars for the tests of the chart."""

import numpy as np

from skvae.chart.algorithms import Rules


def random_grammar(n_labels, seed, *, zeros=0.0, units=None):
    """A grammar whose rules have random probabilities.

    `zeros` is the share of rules that are impossible; `units` is None, "chains" (unit rules without
    a cycle) or "cycles".
    """
    rng = np.random.default_rng(seed)
    n_pairs = n_labels * n_labels
    weights = rng.gamma(0.7, size=(n_labels, n_pairs + n_labels + 1)) + 1e-3
    weights[:, :-1][rng.random((n_labels, n_pairs + n_labels)) < zeros] = 0.0
    unit = weights[:, n_pairs:-1]
    unit[:] = 0.0 if units is None else np.triu(unit, 1) if units == "chains" else unit
    weights[:, -1] = 1.2 * weights[:, :-1].sum(axis=1) + 1e-3  # sentences end
    weights /= weights.sum(axis=1, keepdims=True)
    start = rng.dirichlet(np.ones(n_labels))
    rules = weights[:, :n_pairs].reshape((n_labels,) * 3)
    return Rules(start, rules, weights[:, -1], None if units is None else weights[:, n_pairs:-1])


def log(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def telescope():
    """nltk's toy_pcfg1, and the log-likelihoods of "I saw John with my telescope"."""
    binary = {
        ("S", "NP", "VP"): 1.0,
        ("NP", "Det", "N"): 0.5,
        ("NP", "NP", "PP"): 0.25,
        ("VP", "VP", "PP"): 0.1,
        ("VP", "V", "NP"): 0.7,
        ("PP", "P", "NP"): 1.0,
    }
    words = {
        "NP": {"John": 0.1, "I": 0.15},
        "Det": {"the": 0.8, "my": 0.2},
        "N": {"man": 0.5, "telescope": 0.5},
        "V": {"ate": 0.35, "saw": 0.65},
        "P": {"with": 0.61, "under": 0.39},
    }
    names = ["S", "NP", "VP", "PP", "Det", "N", "V", "P"]
    at = {name: k for k, name in enumerate(names)}
    rules, units = np.zeros((8, 8, 8)), np.zeros((8, 8))
    for (a, b, c), p in binary.items():
        rules[at[a], at[b], at[c]] = p
    units[at["VP"], at["V"]] = 0.2
    leafprob = np.array([sum(words.get(name, {}).values()) for name in names])
    sentence = ["I", "saw", "John", "with", "my", "telescope"]
    likelihood = [
        [
            words.get(name, {}).get(word, 0.0) / max(leafprob[k], 1e-9)
            for k, name in enumerate(names)
        ]
        for word in sentence
    ]
    return Rules(np.eye(8)[0], rules, leafprob, units), log(likelihood)


def catalan_grammar(q):
    """S -> S S with probability 1 - q, and a leaf with q."""
    return Rules(np.ones(1), np.full((1, 1, 1), 1 - q), np.full(1, q))
