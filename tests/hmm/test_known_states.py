"""Known states: exact evidence, counting where all are known, and errors where they cannot be."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import EMHiddenMarkov
from skvae.hmm import CategoricalEmission, PoissonEmission
from tests import hmm_oracles as oracles
from tests.combinations import slow
from tests.hmm.problems import (
    FEW_FAMILIES,
    groups_of,
    holes,
    known_model,
    learner,
    left_right,
)
from tests.problems import run

da = pytest.importorskip("dask.array")


def drawn(family="full", lengths=(60, 45, 1, 80), seed=0, sticky=2.0):
    """(model, X, states, groups) of several sequences."""
    model = known_model(family, seed=seed, sticky=sticky)
    parts = [model.sample(n, random_state=seed + s) for s, n in enumerate(lengths)]
    X, states = (np.concatenate(part) for part in zip(*parts, strict=True))
    return model, X, states, groups_of(lengths)


def partly(states, share, seed=0):
    """The states of a share of the rows, the others unknown."""
    seen = np.random.default_rng(seed).random(len(states)) < share
    return np.where(seen, states, -1)


def masked(log_density, states):
    """(n, K) log-densities in which the other states of a known row are impossible."""
    log_density = np.array(log_density)
    for t, state in enumerate(states):
        if state >= 0:
            log_density[t, np.arange(log_density.shape[1]) != state] = -np.inf
    return log_density


def quiet(model, X, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **given)


def continued(model, X, n_iter=1, **given):
    """The model after exactly so many further iterations."""
    again = clone(model).set_params(warm_start=True, max_iter=n_iter, tol=0.0)
    vars(again).update({k: v for k, v in vars(model).items() if k.endswith("_") or k[0] == "_"})
    return quiet(again, X, **given)


# Values -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FEW_FAMILIES)
@pytest.mark.parametrize("missing", [False, True])
def test_one_iteration_is_that_of_every_path(family, missing):
    lengths = (5, 1, 4)
    model, X, states, groups = drawn(family, lengths, seed=3)
    X = holes(X, seed=1) if missing else X
    states = partly(states, 0.4, seed=2)
    weights = np.array([2.0, 1.0, 0.5])[groups]
    fitted = continued(model, X, groups=groups, states=states, sequence_weight=weights)
    log_density = masked(model.emission_.log_density(X), states)
    starts, pairs, bound = np.zeros(3), np.zeros((3, 3)), 0.0
    for s in range(len(lengths)):
        found = oracles.enumerate_paths(model.startprob_, model.transmat_, log_density[groups == s])
        weight = weights[groups == s][0]
        starts += weight * found.smoothed[0]
        pairs += weight * found.pairs
        bound += weight * found.log_likelihood
    assert_allclose(fitted.startprob_, starts / starts.sum(), atol=1e-12)
    assert_allclose(fitted.transmat_, pairs / pairs.sum(axis=1, keepdims=True), atol=1e-12)
    still = continued(model, X, 0, groups=groups, states=states, sequence_weight=weights)
    assert_allclose(still.lower_bound_, bound / weights.sum(), rtol=1e-12)


@pytest.mark.parametrize("n_rows", [200, 30_000])
@pytest.mark.parametrize("family", ["full", "poisson", "gaussian_mixture"])
def test_few_and_many_rows(family, n_rows):
    """Many rows are read in blocks, a long sequence from both ends."""
    model, X, states, _ = drawn(family, (n_rows,), seed=1, sticky=4.0)
    states = partly(states, 0.02)
    fitted = continued(model, X, states=states)
    log_density = masked(model.emission_.log_density(X), states)
    found = oracles.forward_backward(model.startprob_, model.transmat_, log_density)
    assert_allclose(fitted.startprob_, found.smoothed[0], atol=1e-9)
    expected = found.pairs / found.pairs.sum(axis=1, keepdims=True)
    assert_allclose(fitted.transmat_, expected, rtol=1e-8)
    still = continued(model, X, 0, states=states)
    assert_allclose(still.lower_bound_, found.log_likelihood / n_rows, rtol=1e-10)


@pytest.mark.parametrize("family", FEW_FAMILIES)
def test_all_known_is_counting(family):
    _, X, states, groups = drawn(family, (300, 1, 200))
    model = quiet(learner(family, max_iter=60), X, groups=groups, states=states)
    pairs, starts = np.zeros((3, 3)), np.zeros(3)
    for s in range(3):
        path = states[groups == s]
        starts[path[0]] += 1
        np.add.at(pairs, (path[:-1], path[1:]), 1.0)
    assert_allclose(model.startprob_, starts / starts.sum(), atol=1e-12)
    assert_allclose(model.transmat_, pairs / pairs.sum(axis=1, keepdims=True), atol=1e-12)
    for k in range(3):
        rows = X[states == k]
        if family == "full":
            assert_allclose(model.means_[k], rows.mean(axis=0), rtol=1e-12, atol=1e-12)
            assert_allclose(model.covariances_[k], np.cov(rows.T, bias=True), rtol=1e-9)
        elif family == "poisson":
            assert_allclose(model.emission_.rates_[k], rows.mean(axis=0), rtol=1e-12)
        elif family == "categorical":
            shares = [(rows[:, 0] == code).mean() for code in range(4)]
            assert_allclose(model.emission_.probabilities_[k, 0], shares, atol=1e-12)
    log_density = model.emission_.log_density(X)[np.arange(len(X)), states]
    begins = np.flatnonzero(np.diff(groups, prepend=-1))
    with np.errstate(divide="ignore"):
        total = log_density.sum() + np.log(model.startprob_)[states[begins]].sum()
        inner = np.setdiff1d(np.arange(1, len(X)), begins)
        total += np.log(model.transmat_)[states[inner - 1], states[inner]].sum()
    assert_allclose(model.lower_bound_, total / len(X), rtol=1e-10)


@pytest.mark.parametrize("family", FEW_FAMILIES)
def test_none_known_is_a_fit_without(family):
    _, X, _, groups = drawn(family)
    one = quiet(learner(family, max_iter=7), X, groups=groups)
    other = quiet(learner(family, max_iter=7), X, groups=groups, states=np.full(len(X), -1))
    assert one.lower_bounds_ == other.lower_bounds_
    assert_array_equal(one.transmat_, other.transmat_)
    assert_array_equal(one.predict(X, groups=groups), other.predict(X, groups=groups))


@pytest.mark.parametrize("acceleration", [None, "anderson"])
@pytest.mark.parametrize("family", FEW_FAMILIES)
def test_the_bound_never_falls(family, acceleration):
    _, X, states, groups = drawn(family, seed=5)
    model = learner(family, max_iter=30, tol=0.0, acceleration=acceleration)
    bounds = quiet(model, X, groups=groups, states=partly(states, 0.2)).lower_bounds_
    assert np.diff(bounds).min() > -1e-10


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
@pytest.mark.parametrize("seed", [0, *slow(*range(1, 8))])
def test_the_states_have_the_order_of_the_labels(init_params, seed):
    rng = np.random.default_rng(seed)
    states = np.repeat(rng.permutation(np.arange(40) % 4), 15)
    X = rng.normal(size=(600, 2)) + 5.0 * np.eye(4, 2)[states] - 5.0 * np.eye(4, 2, k=-2)[states]
    known = np.full(600, -1)
    for k in range(4):
        known[rng.choice(np.flatnonzero(states == k), 3, replace=False)] = k
    model = EMHiddenMarkov(4, random_state=seed, init_params=init_params, max_iter=500)
    model.fit(X, states=known)
    assert (model.predict(X) == states).mean() > 0.99


def test_a_state_without_known_rows_is_found():
    rng = np.random.default_rng(0)
    states = np.repeat(np.arange(60) % 3, 10)
    X = 6.0 * states[:, None] + rng.normal(size=(600, 1))
    known = np.full(600, -1)
    known[[12, 13, 25]] = states[[12, 13, 25]]  # 1, 1 and 2
    model = EMHiddenMarkov(3, random_state=0).fit(X, states=known)
    assert (model.predict(X) == states).mean() > 0.99


def test_a_known_row_without_a_value():
    """Its state is all there is of it."""
    X = np.array([[0.0], [np.nan], [5.0], [5.1], [0.1], [np.nan], [5.2], [0.2]])
    known = np.array([0, 1, 1, 1, 0, 0, 1, 0])
    model = quiet(EMHiddenMarkov(2, random_state=0), X, states=known)
    assert_allclose(model.transmat_, [[1 / 3, 2 / 3], [2 / 4, 2 / 4]])
    assert_allclose(model.means_.ravel(), [0.1, 5.1])


# Forms --------------------------------------------------------------------------------------------


def test_forms_of_sequences():
    _, X, states, groups = drawn(lengths=(40, 40, 40))
    known = partly(states, 0.3)
    one = quiet(learner("full"), X, groups=groups, states=known)
    listed = [X[groups == s] for s in range(3)]
    parts = [known[groups == s] for s in range(3)]
    for X_2, states_2 in (
        (listed, parts),
        (listed, known),
        (X.reshape(3, 40, 2), known.reshape(3, 40)),
        (listed, [part.tolist() for part in parts]),
    ):
        assert quiet(learner("full"), X_2, states=states_2).lower_bounds_ == one.lower_bounds_
    for states_2 in (known.astype(float), pd.Series(known), known.astype(np.int8), known.tolist()):
        other = quiet(learner("full"), X, groups=groups, states=states_2)
        assert other.lower_bounds_ == one.lower_bounds_


def test_weights_of_zero_remove_states_with_their_rows():
    _, X, states, groups = drawn()
    weights = np.where(groups == 1, 0.0, 1.0)
    one = quiet(learner("full"), X, groups=groups, states=states, sequence_weight=weights)
    keep = groups != 1
    other = quiet(learner("full"), X[keep], groups=groups[keep], states=states[keep])
    assert_allclose(one.lower_bounds_, other.lower_bounds_, rtol=1e-12)


@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize("share", [0.2, 1.0])
def test_dask(lazy, share):
    _, X, states, groups = drawn(lengths=(200, 150, 1, 300))
    states = partly(states, share)
    weights = np.array([1.0, 0.0, 2.0, 1.0])[groups]
    given = {"groups": groups, "sequence_weight": weights}
    one = run(learner("full"), X, 4, states=states, **given)
    known = da.from_array(states, chunks=90) if lazy else states
    other = run(learner("full"), da.from_array(X, chunks=(170, 2)), 4, states=known, **given)
    assert_allclose(other.lower_bounds_, one.lower_bounds_, rtol=1e-10)
    assert_allclose(other.transmat_, one.transmat_, rtol=1e-9, atol=1e-12)


def test_dask_errors():
    _, X, states, groups = drawn(lengths=(200, 150))
    lazy = da.from_array(X, chunks=(120, 2))
    wrong = states.copy()
    wrong[301] = 5
    for given in (wrong, da.from_array(wrong, chunks=70)):
        with pytest.raises(ValueError, match="states is 5 in row 301: must be from 0 to 2"):
            learner("full").fit(lazy, groups=groups, states=given)
    with pytest.raises(ValueError, match="states has 349 entries for 350 rows"):
        learner("full").fit(lazy, groups=groups, states=da.from_array(states[1:], chunks=70))
    startprob, transmat = left_right(3)
    ordered = np.concatenate([np.arange(200) * 3 // 200, np.arange(150) * 3 // 150])
    ordered[340] = 1
    chain = learner("full", startprob_init=startprob, transmat_init=transmat)
    text = r"states is 1 in row 340 \(sequence 1\), and zeros of transmat_init .* in row 339"
    with pytest.raises(ValueError, match=text):
        chain.fit(lazy, groups=groups, states=da.from_array(ordered, chunks=70))


def test_partial_fit():
    """All known: the averages of counts; the first batch, too."""
    _, X, states, _ = drawn(lengths=(200, 200))
    model = EMHiddenMarkov(3, random_state=0).partial_fit(X[:200], states=states[:200])
    for k in range(3):
        assert_allclose(model.means_[k], X[:200][states[:200] == k].mean(axis=0))
    before = model.means_.copy()
    model.partial_fit(X[200:], states=states[200:])
    assert_allclose(model.means_, before, atol=2.0)
    assert not np.allclose(model.means_, before)
    alike = model.predict(X) == states
    assert alike.mean() > 0.6


def test_a_warm_start_with_other_states_is_another_objective():
    _, X, states, groups = drawn()
    model = quiet(learner("full", warm_start=True, max_iter=200), X, groups=groups, states=states)
    quiet(model, X, groups=groups, states=states)
    assert model.n_iter_ == 1
    quiet(model, X, groups=groups)
    assert model.n_iter_ > 1


# The ecosystem ------------------------------------------------------------------------------------


def test_searches_and_pipelines_pass_states_on():
    _, X, states, groups = drawn(lengths=(40, 50, 40, 60))
    known = partly(states, 0.5)
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            learner("full", max_iter=500), {"covariance_type": ["full", "diag"]}, cv=GroupKFold(2),
            error_score="raise",
        )  # fmt: skip
        search.fit(X, groups=groups, states=known)
        pipeline = make_pipeline(StandardScaler(), learner("full", max_iter=500))
        pipeline.fit(X, groups=groups, states=known)
    best = search.best_estimator_
    direct = clone(best).fit(X, groups=groups, states=known)
    assert best.lower_bounds_ == direct.lower_bounds_
    scaled = clone(pipeline[-1]).fit(pipeline[0].transform(X), groups=groups, states=known)
    assert scaled.lower_bounds_ == pipeline[-1].lower_bounds_


def test_a_search_over_a_list_slices_the_states():
    _, X, states, groups = drawn(lengths=(40, 50, 40, 60))
    listed = [X[groups == s] for s in range(4)]
    parts = [states[groups == s] for s in range(4)]
    with config_context(enable_metadata_routing=True):
        search = GridSearchCV(
            learner("full"), {"covariance_type": ["full", "diag"]}, cv=2, error_score="raise"
        )
        search.fit(listed, states=parts)
    assert np.isfinite(search.best_score_)


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "text"),
    [
        (np.zeros(9), "states has 9 entries for 10 rows: must be one integer"),
        (np.full(10, 0.5), "states is 0.5 in row 0: must be one integer"),
        (np.full(10, np.nan), "states is nan in row 0: .* -1 where it is unknown"),
        (np.full(10, 2), "states is 2 in row 0: must be from 0 to 1, as n_components=2"),
        (np.full(10, -2), "states is -2 in row 0: must be from 0 to 1"),
        (np.full(10, "a"), "states has the dtype <U1: must be one integer"),
        (np.full(10, True), "states has the dtype bool: must be one integer"),
        (np.zeros((10, 2)), "states has 2 dimensions: must be one integer"),
        ([None] * 10, "states .* must be one integer"),
        (np.ma.masked_equal(np.zeros(10), 0.0), "states has masked entries"),
        (1, "states has 0 dimensions"),
        (np.full(10, -np.inf), "states is -inf in row 0: must be one integer"),
        (np.full(10, 2**63, dtype=np.uint64), "states is 9223372036854775808 in row 0: must be"),
    ],
)
def test_bad_states(states, text):
    X = np.random.default_rng(0).normal(size=(10, 1))
    with pytest.raises(ValueError, match=text):
        EMHiddenMarkov(2).fit(X, states=states)
    with pytest.raises(ValueError, match=text):
        EMHiddenMarkov(2).partial_fit(X, states=states)


def test_bad_states_of_a_list():
    X = [np.zeros((3, 1)), np.ones((4, 1))]
    with pytest.raises(ValueError, match="states has 3 entries: X has 2 sequences"):
        EMHiddenMarkov(2).fit(X, states=[[0], [1], [1]])
    with pytest.raises(ValueError, match=r"states\[1\] has 3 entries for 4 rows"):
        EMHiddenMarkov(2).fit(X, states=[[0, 0, 1], [1, 1, 0]])


def test_states_that_structural_zeros_exclude():
    X = np.random.default_rng(0).normal(size=(12, 1))
    groups = np.repeat([0, 1], 6)
    startprob, transmat = left_right(3)
    model = EMHiddenMarkov(3, startprob_init=startprob, transmat_init=transmat)

    def refused(text, **known):
        states = np.full(12, -1)
        for row, state in known.items():
            states[int(row[1:])] = state
        with pytest.raises(ValueError, match=text):
            model.fit(X, groups=groups, states=states)

    refused(r"states is 1 in row 6 \(sequence 1\), where a zero of startprob_init", r6=1)
    refused(
        r"states is 2 in row 7 \(sequence 1\), and zeros of startprob_init and transmat_init "
        "exclude every path to it from the start of the sequence in row 6",
        r7=2,
    )
    refused(r"row 4 \(sequence 0\), .* from state 2 in row 2", r2=2, r4=1)
    states = np.full(12, -1)
    states[[2, 8, 10]] = [2, 1, 2]
    quiet(model, X, groups=groups, states=states)


@pytest.mark.parametrize("seed", range(5))
def test_zeros_exclude_exactly_the_impossible_states(seed):
    """The check agrees with the sum over every path."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(8, 1))
    for _ in range(30):
        transmat = np.where(rng.random((3, 3)) < 0.45, 0.0, rng.random((3, 3)))
        transmat[np.arange(3), rng.integers(3, size=3)] = 1.0
        transmat /= transmat.sum(axis=1, keepdims=True)
        startprob = rng.permutation([0.0, 0.5, 0.5])
        states = partly(rng.integers(3, size=8), 0.4, rng.integers(1 << 30))
        paths = oracles.every_path(startprob, transmat, masked(np.zeros((8, 3)), states))
        possible = np.isfinite(logsumexp(paths.log_joint))
        model = EMHiddenMarkov(
            3, startprob_init=startprob, transmat_init=transmat, means_init=X[:3],
            covariances_init=np.ones((3, 1, 1)), max_iter=0,
        )  # fmt: skip
        if possible:
            model.fit(X, states=states)
        else:
            with pytest.raises(ValueError, match="zero"):
                model.fit(X, states=states)


def test_a_known_state_that_cannot_produce_its_row():
    X = np.array([[0.0], [3.0], [0.0], [2.0], [1.0]])
    emission = PoissonEmission(rates_init=[[0.0], [2.0]])
    given = {"startprob_init": [0.5, 0.5], "transmat_init": [[0.5, 0.5], [0.5, 0.5]]}
    text = "sequence 0 has probability zero .* row 3 is in state 0, by the known states"
    with pytest.raises(ValueError, match=text):
        EMHiddenMarkov(2, emission=emission, **given).fit(X, states=[-1, -1, -1, 0, -1])


@pytest.mark.parametrize("lazy", [False, True])
def test_messages_count_sequences_of_weight_zero(lazy):
    """Their rows are not learned from, and the caller counts them."""
    X = np.abs(np.round(3 * np.random.default_rng(0).normal(size=(40, 1)))) + 1.0
    groups, weight = np.repeat(np.arange(4), 10), np.repeat([0, 2, 0, 1], 10)
    startprob, transmat = left_right(3)
    states = np.full(40, -1)
    states[[3, 12, 33, 36]] = [1, 0, 2, 1]  # that of row 3 has no weight
    rows = da.from_array(X, chunks=(15, 1)) if lazy else X
    given = {"groups": groups, "sequence_weight": weight}
    model = EMHiddenMarkov(3, startprob_init=startprob, transmat_init=transmat)
    text = r"states is 1 in row 36 \(sequence 3\), .* from state 2 in row 33"
    with pytest.raises(ValueError, match=text):
        model.fit(rows, states=states, **given)
    states[33] = -1
    emission = PoissonEmission(rates_init=[[3.0], [0.0], [2.0]])
    model = EMHiddenMarkov(3, emission=emission, fixed="rates")
    text = "sequence 3 has probability zero .* row 36 is in state 1, by the known states"
    text = "Check the zeros of the emission, and the states that are known" if lazy else text
    with pytest.raises(ValueError, match=text):
        model.fit(rows, states=states, **given)


def test_messages_about_many_rows_count_all_of_them():
    """The starts are compared by some of the rows."""
    X = np.ones((9000, 1))
    states = np.full(len(X), -1)
    states[20] = 1
    emission = PoissonEmission(rates_init=[[1.0], [0.0]])
    weight = np.ones(len(X))
    weight[:3] = 0.0
    groups = np.repeat([0, 1, 2], [3, 7, len(X) - 10])
    model = EMHiddenMarkov(2, emission=emission, fixed="rates", random_state=0)
    with pytest.raises(ValueError, match=r"sequence 2 has .* zero .* row 20 is in state 1"):
        model.fit(X, states=states, groups=groups, sequence_weight=weight)


def test_a_state_that_no_row_has_is_noted():
    X = np.random.default_rng(0).normal(size=(30, 1))
    with pytest.warns(ConvergenceWarning, match="1 of the 3 states .* no row is known to be in"):
        EMHiddenMarkov(3, random_state=0).fit(X, states=np.repeat([0, 1], 15))


def test_a_failed_fit_keeps_the_earlier_one():
    _, X, states, groups = drawn()
    model = quiet(learner("full"), X, groups=groups, states=states)
    before = model.transmat_.copy()
    with pytest.raises(ValueError, match="states"):
        model.fit(X, groups=groups, states=states + 1)
    assert_array_equal(model.transmat_, before)


def test_categories_with_labels():
    rng = np.random.default_rng(1)
    states = np.repeat(rng.integers(2, size=40), 10)
    X = np.where(rng.random(400) < 0.8, states, 1 - states)[:, None].astype(float)
    known = partly(states, 0.05)
    model = EMHiddenMarkov(2, emission=CategoricalEmission(2), random_state=0, max_iter=500)
    model.fit(X, states=known)
    assert (model.predict(X) == states).mean() > 0.9


def test_rows_of_a_model_follow_known_labels():
    """A tenth of the labels tells which state is which, whatever the seed."""
    model, X, states, groups = drawn(seed=2, lengths=(300, 300), sticky=5.0)
    known = partly(states, 0.1)
    for seed in range(3):
        fitted = quiet(learner("full", random_state=seed), X, groups=groups, states=known)
        agreement = (fitted.predict(X, groups=groups) == states).mean()
        assert agreement > (model.predict(X, groups=groups) == states).mean() - 0.05
