"""Grammars, sentences and fitted models that the tests of EMContextFreeGrammar share."""

import numpy as np

from skvae import EMContextFreeGrammar
from tests.chart.problems import random_grammar
from tests.hmm.problems import known_emission

LENGTHS = (7, 1, 4, 2, 1, 5)


def known_model(family="categorical", n=3, n_features=2, seed=0, *, zeros=0.0, units=None):
    """A fitted model with random known parameters."""
    rules = random_grammar(n, seed, zeros=zeros, units=units)
    emission = known_emission(family, n, n_features, seed)
    model = EMContextFreeGrammar.from_parameters(*rules[:3], emission, unit_rules=rules.units)
    return model.set_params(random_state=seed)


def sentences_of(model, number=20, seed=0, longest=9):
    """Sentences drawn from a model; longer ones are cut, so that tests are quick."""
    X, _ = model.sample(n_sentences=number, random_state=seed)
    return [x[:longest] for x in X]


def palindromes(number, seed=0, longest=6):
    """Strings w w reversed over two symbols, and the brackets of their one tree."""
    rng = np.random.default_rng(seed)
    halves = [rng.integers(2, size=min(1 + rng.geometric(0.5), longest)) for _ in range(number)]
    X = [np.concatenate([w, w[::-1]])[:, None].astype(float) for w in halves]
    return X, [[(i, 2 * len(w) - 1 - i) for i in range(len(w))] for w in halves]


def fitting(n=3, **settings):
    """An estimator for a short fit."""
    return EMContextFreeGrammar(n, **({"random_state": 0, "max_iter": 500} | settings))
