"""Gamma, von Mises and count emissions in grammars, in columns, by name, and in batches."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone

from skvae import EMContextFreeGrammar, EMHiddenMarkov
from skvae.emissions import EMISSIONS
from skvae.hmm import ColumnEmission
from tests.emissions.family_cases import random_emission
from tests.grammar.problems import known_model as known_grammar
from tests.grammar.problems import sentences_of
from tests.hmm.problems import MORE, holes, known_model, rows_of
from tests.problems import on_the_floor

every_family = pytest.mark.parametrize("family", MORE)


@every_family
@on_the_floor
def test_leaves_of_a_grammar(family):
    sentences = sentences_of(known_grammar(family, 3, seed=1), 40, seed=2)
    model = EMContextFreeGrammar(3, emission=family, random_state=0, max_iter=40).fit(sentences)
    assert isinstance(model.emission_, EMISSIONS[family])
    assert np.diff(model.lower_bounds_).min() > -1e-10
    total = model.log_likelihood(sentences).sum() / sum(map(len, sentences))
    assert_allclose(total, model.lower_bound_, rtol=1e-10)


@on_the_floor
def test_parts_of_columns():
    rng, states = np.random.RandomState(0), np.repeat([0, 1, 2, 0, 2, 1], 50)
    known = {name: random_emission(name, 3, 2) for name in MORE}
    X = np.concatenate([e.parameters().sample(states, rng) for e in known.values()], axis=1)
    X = holes(X, share=0.1)
    columns = {name: [2 * i, 2 * i + 1] for i, name in enumerate(MORE)}
    whole = ColumnEmission.from_parameters([(n, known[n], columns[n]) for n in MORE])
    parts = sum(known[name].log_density(X[:, columns[name]]) for name in MORE)
    assert_allclose(whole.log_density(X), parts, rtol=1e-12)
    emission = ColumnEmission([(name, EMISSIONS[name](), columns[name]) for name in MORE])
    model = EMHiddenMarkov(3, emission=emission, random_state=0, acceleration="anderson").fit(X)
    assert np.diff(model.lower_bounds_).min() > -1e-10
    assert (np.bincount(3 * states + model.predict(X)) >= 90).sum() == 3  # each state is found
    assert model.emission_.parameters().n_parameters() == 3 * (4 * 4 + 1)
    again = EMHiddenMarkov(3, emission=clone(emission), random_state=0)
    for part in (X[:150], X[150:]):
        again.partial_fit(part)
    assert np.isfinite(again.score(X))


@every_family
@on_the_floor
def test_batches_climb_to_where_a_fit_ends(family):
    truth = known_model(family, 2, seed=1)
    batches = [rows_of(truth, (200,), seed=7 * b) for b in range(25)]
    model = EMHiddenMarkov(2, emission=family, random_state=0)
    whole = clone(model).fit(batches)
    for X in batches:
        model.partial_fit(X)
    test = rows_of(truth, (2000,), seed=999)
    # Single steps on 5000 rows are not a converged fit.
    assert model.score(test) > whole.score(test) - 0.1


@every_family
def test_a_fit_finds_the_parameters(family):
    """Two states that last: the fit is the truth up to errors of a few thousand rows."""
    known = random_emission(family, 2, 2, 4)
    truth = EMHiddenMarkov.from_parameters([0.5, 0.5], [[0.95, 0.05], [0.1, 0.9]], known)
    X, _ = truth.sample(6000, random_state=0)
    model = EMHiddenMarkov(2, emission=family, random_state=0, max_iter=500, tol=1e-7).fit(X)
    means, expected = (e.emission_.parameters().means() for e in (model, truth))
    if family == "von_mises":
        means, expected = np.exp(1j * means), np.exp(1j * expected)
    order = np.argmin([np.abs(means - expected[k]).sum(axis=1) for k in range(2)], axis=1)
    assert sorted(order) == [0, 1]
    assert_allclose(means[order], expected, rtol=0.15, atol=0.15)
    assert model.score(X) > truth.score(X) - 1e-4
