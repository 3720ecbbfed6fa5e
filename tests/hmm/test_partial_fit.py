"""Stepwise EM on batches of whole sequences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMHiddenMarkov
from skvae.hmm import CategoricalEmission
from tests import hmm_oracles as oracles
from tests.hmm.problems import (
    FAMILIES,
    FEW,
    groups_of,
    holes,
    known_model,
    learner,
    left_right,
    rows_of,
)
from tests.problems import assert_same_state, run, state_of

LENGTHS = (30, 1, 25)
GROUPS = groups_of(LENGTHS)
every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
def test_the_first_call_is_one_step_from_the_start_of_fit(family):
    X = rows_of(known_model(family), LENGTHS)
    left = learner(family).partial_fit(X, groups=GROUPS)
    right = run(learner(family), X, 1, groups=GROUPS)
    assert_allclose(left.transmat_, right.transmat_, rtol=1e-12)
    assert_allclose(left.startprob_, right.startprob_, rtol=1e-12)
    assert_allclose(left.lower_bound_, right.lower_bound_, rtol=1e-12)
    assert left.n_iter_ == left.n_e_steps_ == 1
    assert left.converged_ is False
    assert left.lower_bounds_ == [left.lower_bound_]


@pytest.mark.parametrize(("family", "missing"), [*((f, False) for f in FEW), ("full", True)])
def test_batches_climb_to_where_a_fit_ends(family, missing):
    _batches_climb(family, missing)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "missing"), [*((f, False) for f in FAMILIES if f not in FEW), ("poisson", True)]
)
def test_batches_of_other_families_climb(family, missing):
    _batches_climb(family, missing)


def _batches_climb(family, missing):
    truth = known_model(family, n_states=2, seed=1)
    model, lengths = learner(family, 2), (150, 1, 100)
    for batch in range(25):
        X = rows_of(truth, lengths, seed=1000 * batch)
        model.partial_fit(holes(X, 0.1, batch) if missing else X, groups=groups_of(lengths))
        assert_allclose(model.transmat_.sum(axis=1), 1.0)
    assert model.n_iter_ == len(model.lower_bounds_) == 25
    test = rows_of(truth, [400], seed=77)
    whole = learner(family, 2, max_iter=500).fit(
        np.concatenate([rows_of(truth, lengths, seed=1000 * b) for b in range(25)]),
        groups=groups_of(lengths * 25),
    )
    assert model.score(test) > whole.score(test) - 0.1


def test_a_batch_is_blended_with_what_came_before():
    """ρ = (t + 2)^−0.7; before: the statistics expected of sequences of these lengths."""
    model = known_model("poisson")
    X = rows_of(model, LENGTHS)
    start, transmat = model.startprob_, model.transmat_
    found = oracles.posteriors(model, oracles.split(X, LENGTHS))
    rate = 2.0**-0.7
    starts = sum(each.smoothed[0] for each in found) * rate + 3 * start * (1 - rate)
    pairs = sum(each.pairs for each in found) * rate
    for n in LENGTHS:
        state = start
        for _ in range(n - 1):
            pairs = pairs + (1 - rate) * state[:, None] * transmat
            state = state @ transmat
    model.partial_fit(X, groups=GROUPS)
    assert_allclose(model.startprob_, starts / starts.sum(), rtol=1e-9)
    assert_allclose(model.transmat_, pairs / pairs.sum(axis=1, keepdims=True), rtol=1e-9)
    score = model.score(X, groups=GROUPS)
    assert_allclose(model.lower_bound_, score, rtol=1e-11)


def test_weights_are_relative_to_those_of_all_batches():
    X = rows_of(known_model(), LENGTHS)
    weight = np.repeat([1.0, 2.0, 0.5], LENGTHS)
    even = np.ones(len(X))
    one = (
        learner("full")
        .partial_fit(X, groups=GROUPS)
        .partial_fit(X, groups=GROUPS, sequence_weight=weight)
    )
    two = (
        learner("full")
        .partial_fit(X, groups=GROUPS, sequence_weight=1000 * even)
        .partial_fit(X, groups=GROUPS, sequence_weight=1000 * weight)
    )
    assert_allclose(one.transmat_, two.transmat_, rtol=1e-9)
    assert_allclose(one.means_, two.means_, rtol=1e-9)


def test_it_goes_on_after_fit_and_from_known_parameters():
    X = rows_of(known_model(), LENGTHS)
    model = learner("full", max_iter=300).fit(X, groups=GROUPS)
    n_iter, bound = model.n_iter_, model.lower_bound_
    model.partial_fit(X, groups=GROUPS)
    assert model.n_iter_ == n_iter + 1
    assert model.lower_bound_ > bound - 0.05
    known = known_model().partial_fit(X, groups=GROUPS)
    assert known.n_iter_ == 1


def test_structural_zeros_survive_batches():
    start, transmat = left_right(3)
    model = learner("full", startprob_init=start, transmat_init=transmat)
    for seed in range(4):
        model.partial_fit(rows_of(known_model(), LENGTHS, seed), groups=GROUPS)
    assert_array_equal(model.transmat_[transmat == 0], 0.0)
    assert_array_equal(model.startprob_, start)


def test_a_batch_of_one_row_is_enough_later():
    X = rows_of(known_model(), LENGTHS)
    model = learner("full").partial_fit(X, groups=GROUPS)
    model.partial_fit(X[:1])
    assert np.isfinite(model.score(X))
    with pytest.raises(ValueError, match=r"1 sample|n_components=3: must be <= n_samples"):
        learner("full").partial_fit(X[:1])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"n_components": 2}, "n_components=2: partial_fit continues a model that was fitted"),
        ({"emission": "student_t"}, "emission=StudentTEmission.*: partial_fit continues"),
        ({"covariance_type": "diag"}, "emission=GaussianEmission.*'diag'.*: partial_fit continues"),
        ({"transmat_prior": 0.5}, "transmat_prior=0.5: must be >= 1"),
    ],
)
def test_a_batch_for_another_model_is_an_error_that_changes_nothing(change, match):
    X = rows_of(known_model(), LENGTHS)
    model = learner("full").partial_fit(X, groups=GROUPS).set_params(**change)
    state = state_of(model)
    with pytest.raises(ValueError, match=match):
        model.partial_fit(X, groups=GROUPS)
    assert_same_state(model, state)


def test_a_category_that_the_first_batch_did_not_have():
    """With the number of categories given, a later batch may bring it."""
    first, second = np.array([[0.0], [1.0]] * 10), np.array([[2.0], [1.0]] * 10)
    model = EMHiddenMarkov(2, emission=CategoricalEmission(3), random_state=0)
    model.partial_fit(first).partial_fit(second)
    assert np.isfinite(model.score(second))
