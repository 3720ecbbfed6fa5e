"""Few rows are one block: the results, and the errors, are those of the way for many rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import skvae.hmm.e_step
from tests.chain.inference import every_size_in_threads
from tests.hmm.problems import (
    FAMILIES,
    LENGTHS,
    groups_of,
    holes,
    known_model,
    learner,
    rows_of,
)
from tests.problems import run
from tests.test_staircase import Profile

GROUPS = groups_of(LENGTHS)
every_family = pytest.mark.parametrize("family", FAMILIES)
with_holes = pytest.mark.parametrize("missing", [False, True])


def by_both_ways(function):
    """The results of a function for few rows, and by the way for many."""
    few = function()
    with every_size_in_threads():
        return few, function()


@every_family
@with_holes
def test_answers_are_the_same(family, missing):
    model = known_model(family)
    X = rows_of(model)
    X = holes(X) if missing else X
    for method in ("score_samples", "predict_proba", "predict", "score", "bic"):
        few, many = by_both_ways(lambda name=method: getattr(model, name)(X, groups=GROUPS))
        assert_allclose(few, many, rtol=1e-11, atol=1e-13, err_msg=method)
    few, many = by_both_ways(lambda: model.decode(X, groups=GROUPS))
    assert_allclose(few[0], many[0], rtol=1e-12)
    assert_array_equal(few[1], many[1])
    model.set_params(inference="filter")
    assert_allclose(*by_both_ways(lambda: model.predict_proba(X, groups=GROUPS)), atol=1e-13)
    draws = by_both_ways(lambda: model.sample_posterior(X, 5, groups=GROUPS, random_state=0))
    assert_array_equal(*draws)


@every_family
@with_holes
@pytest.mark.parametrize("weighted", [False, True])
def test_fits_are_the_same(family, missing, weighted):
    X = rows_of(known_model(family))
    X = holes(X) if missing else X
    weight = np.repeat([1.0, 0.3, 2.0, 0.0, 0.7, 1.4], LENGTHS) if weighted else None

    def fit():
        return run(learner(family), X, 5, groups=GROUPS, sequence_weight=weight)

    few, many = by_both_ways(fit)
    assert_allclose(few.lower_bounds_, many.lower_bounds_, rtol=1e-10)
    assert_allclose(few.transmat_, many.transmat_, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("offset", [0.0, 1e5])
def test_a_step_is_the_same_at_an_offset_and_in_float32(kind, offset):
    rows = (rows_of(known_model(kind)) + offset).astype(np.float32)
    for X in (rows, rows.astype(np.float64)):
        few, many = by_both_ways(lambda X=X: run(learner(kind), X, 3, groups=GROUPS))
        assert_allclose(few.lower_bounds_, many.lower_bounds_, rtol=1e-11)
        assert_allclose(few.covariances_, many.covariances_, rtol=1e-8)
        assert few.predict_proba(X).dtype == X.dtype


def test_an_impossible_row_has_the_same_answers():
    model = known_model("poisson")
    X = rows_of(model)
    X[4] = 2.0**53  # its probability underflows under every rate
    few, many = by_both_ways(lambda: model.score_samples(X, groups=GROUPS))
    assert_allclose(few, many, rtol=1e-12)
    assert_array_equal(*by_both_ways(lambda: model.predict(X, groups=GROUPS)))


def test_the_limit_decides_which_way_is_taken(monkeypatch):
    """Otherwise the other tests compare one way with itself."""
    taken = []
    for name in ("GaussianRows", "EmissionReader"):
        cls = getattr(skvae.hmm.e_step, name)

        def made(*arguments, name=name, cls=cls):
            taken.append(name)
            return cls(*arguments)

        monkeypatch.setattr(skvae.hmm.e_step, name, made)
    model = known_model("full")
    by_both_ways(lambda: model.score(rows_of(model)))
    assert taken[0] == "GaussianRows"
    assert set(taken[1:]) == {"EmissionReader"}


def test_the_path_of_one_row_enters_few_functions():
    """Counted, not timed: each function on the way is one that a reader has to understand."""
    model = known_model("full")
    X = rows_of(model)[:1]
    model.predict(X)
    profile = Profile("log_density").of(lambda: model.predict(X))
    assert profile.stack[0] == "HiddenMarkovModel.predict"
    assert len(profile.stack) <= 4, " > ".join(profile.stack)
    assert len(profile.functions) <= 36, sorted(profile.functions)
