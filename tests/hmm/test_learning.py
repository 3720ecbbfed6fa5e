"""Baum-Welch: its steps, its objective, and that the objective never falls."""

import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skvae import EMHiddenMarkov
from skvae.hmm import BernoulliEmission, CategoricalEmission, GaussianEmission, PoissonEmission
from tests import hmm_oracles as oracles
from tests.hmm.problems import (
    FAMILIES,
    FEW_FAMILIES,
    LENGTHS,
    groups_of,
    holes,
    known_model,
    learner,
    left_right,
    rows_of,
)
from tests.problems import on_the_floor, run

GROUPS = groups_of(LENGTHS)
LONGER = (60, 1, 25, 40, 2, 90)
every_family = pytest.mark.parametrize("family", FAMILIES)
few_families = pytest.mark.parametrize("family", FEW_FAMILIES)
with_holes = pytest.mark.parametrize("missing", [False, True])


def one_step(model, X, **arguments):
    """The model after one step of EM from where it is."""
    return run(model.set_params(warm_start=True), X, 1, **arguments)


# Steps --------------------------------------------------------------------------------------------


@every_family
@with_holes
@pytest.mark.parametrize(("zeros", "weighted"), [(0.0, False), (0.5, True)])
def test_one_step_of_the_chain_is_the_textbook_one(family, missing, zeros, weighted):
    model = known_model(family, zeros=zeros)
    X = rows_of(model)
    X = holes(X) if missing else X
    weights = np.array([1.0, 0.3, 2.0, 5.0, 0.7, 1.4]) if weighted else np.ones(6)
    found = oracles.posteriors(model, oracles.split(X, LENGTHS))
    start, transmat = oracles.expected_chain(found, weights)
    arguments = {"sequence_weight": np.repeat(weights, LENGTHS)} if weighted else {}
    one_step(model, X, groups=GROUPS, **arguments)
    assert_allclose(model.startprob_, start, rtol=1e-8, atol=1e-14)
    assert_allclose(model.transmat_, transmat, rtol=1e-8, atol=1e-14)
    after = oracles.posteriors(model, oracles.split(X, LENGTHS))
    total = sum(w * each.log_likelihood for w, each in zip(weights, after, strict=True))
    n_rows = (weights * LENGTHS).sum()
    assert_allclose(model.lower_bound_, total / n_rows, rtol=1e-10)
    before = sum(w * each.log_likelihood for w, each in zip(weights, found, strict=True))
    assert model.lower_bound_ > before / n_rows


def weighted_frequencies(X, gamma, j, n_categories):
    seen = ~np.isnan(X[:, j])
    onehot = X[seen, j][:, None] == np.arange(n_categories)
    counts = gamma[seen].T @ onehot
    return counts / counts.sum(axis=1, keepdims=True)


def weighted_means(X, gamma):
    seen = ~np.isnan(X)
    return gamma.T @ np.where(seen, X, 0.0) / (gamma.T @ seen)


@pytest.mark.parametrize("family", ["categorical", "poisson", "bernoulli"])
@with_holes
def test_one_step_of_discrete_emissions_is_a_weighted_frequency(family, missing):
    model = known_model(family)
    X = rows_of(model)
    X = holes(X) if missing else X
    found = oracles.posteriors(model, oracles.split(X, LENGTHS))
    gamma = np.concatenate([each.smoothed for each in found])
    one_step(model, X, groups=GROUPS)
    if family == "categorical":
        for j in range(2):
            expected = weighted_frequencies(X, gamma, j, 4)
            assert_allclose(model.emission_.probabilities_[:, j], expected, rtol=1e-8, atol=1e-12)
    else:
        name = "rates_" if family == "poisson" else "probabilities_"
        actual = getattr(model.emission_, name)
        assert_allclose(actual, weighted_means(X, gamma), rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_one_step_of_gaussians_is_a_weighted_moment(covariance_type):
    model = known_model(covariance_type).set_params(emission__reg_covar=0.0)
    X = rows_of(model)
    found = oracles.posteriors(model, oracles.split(X, LENGTHS))
    gamma = np.concatenate([each.smoothed for each in found])
    counts, means = gamma.sum(axis=0), weighted_means(X, gamma)
    scatter = np.stack(
        [(g[:, None] * (X - m)).T @ (X - m) for g, m in zip(gamma.T, means, strict=True)]
    )
    full = scatter / counts[:, None, None]
    expected = {
        "full": full,
        "tied": scatter.sum(axis=0) / len(X),
        "diag": full.diagonal(axis1=1, axis2=2),
        "spherical": full.diagonal(axis1=1, axis2=2).mean(axis=1),
    }[covariance_type]
    one_step(model, X, groups=GROUPS)
    assert_allclose(model.means_, means, rtol=1e-9)
    assert_allclose(model.covariances_, expected, rtol=1e-8)


def test_priors_are_added_to_the_counts():
    model = known_model("poisson")
    X = rows_of(model)
    found = oracles.posteriors(model, oracles.split(X, LENGTHS))
    starts = sum(each.smoothed[0] for each in found)
    pairs = sum(each.pairs for each in found)
    start_prior = np.array([1.0, 2.5, 4.0])
    transmat_prior = np.array([[1.0, 3.0, 2.0], [1.5, 10.0, 1.0], [2.0, 2.0, 7.0]])
    model.set_params(startprob_prior=start_prior, transmat_prior=transmat_prior)
    one_step(model, X, groups=GROUPS)
    starts, pairs = starts + start_prior - 1, pairs + transmat_prior - 1
    assert_allclose(model.startprob_, starts / starts.sum(), rtol=1e-9)
    assert_allclose(model.transmat_, pairs / pairs.sum(axis=1, keepdims=True), rtol=1e-9)
    log_prior = (start_prior - 1) @ np.log(model.startprob_)
    log_prior += ((transmat_prior - 1) * np.log(model.transmat_)).sum()
    total = oracles.log_likelihood(model, oracles.split(X, LENGTHS)) + log_prior
    assert_allclose(model.lower_bound_, total / len(X), rtol=1e-10)


@pytest.mark.parametrize(
    ("given", "whole"),
    [(2.5, np.full((3, 3), 2.5)), ([1.0, 2.0, 4.0], np.tile([1.0, 2.0, 4.0], (3, 1)))],
)
def test_a_prior_may_be_a_number_or_a_row(given, whole):
    X = rows_of(known_model())
    models = [
        run(EMHiddenMarkov(3, transmat_prior=prior, random_state=0), X, 3)
        for prior in (given, whole)
    ]
    assert_array_equal(models[0].transmat_, models[1].transmat_)
    one = run(EMHiddenMarkov(3, startprob_prior=2.0, random_state=0), X, 3)
    two = run(EMHiddenMarkov(3, startprob_prior=[2.0] * 3, random_state=0), X, 3)
    assert_array_equal(one.startprob_, two.startprob_)


def test_a_strong_prior_decides_and_a_flat_one_does_nothing():
    X = rows_of(known_model())
    strong = EMHiddenMarkov(3, transmat_prior=1e9, startprob_prior=1e9, random_state=0).fit(X)
    assert_allclose(strong.transmat_, 1 / 3, rtol=1e-4)
    assert_allclose(strong.startprob_, 1 / 3, rtol=1e-4)
    flat = run(EMHiddenMarkov(3, transmat_prior=np.ones((3, 3)), random_state=0), X, 5)
    none = run(EMHiddenMarkov(3, random_state=0), X, 5)
    assert_array_equal(flat.transmat_, none.transmat_)


# The bound ----------------------------------------------------------------------------------------

PRIORS = {
    "none": {},
    "chain": {"startprob_prior": 2.0, "transmat_prior": [1.0, 3.0, 1.5]},
    "left-right": {"startprob_init": left_right(3)[0], "transmat_init": left_right(3)[1]},
    "left-right with priors": {
        "startprob_init": left_right(3)[0],
        "transmat_init": left_right(3)[1],
        "transmat_prior": 2.0,
    },
}


@every_family
@with_holes
@pytest.mark.parametrize(
    ("prior", "acceleration"),
    [
        ("none", None),
        ("none", "anderson"),
        ("chain", "anderson"),
        ("left-right", None),
        ("left-right with priors", "anderson"),
    ],
)
def test_the_bound_never_falls_and_is_the_objective(family, missing, acceleration, prior):
    X = rows_of(known_model(family, seed=1), LONGER)
    X = holes(X, 0.2) if missing else X
    groups = groups_of(LONGER)
    model = learner(family, acceleration=acceleration, random_state=3, **PRIORS[prior])
    run(model, X, 15, groups=groups)
    assert len(model.lower_bounds_) == model.n_iter_ == 15
    assert min(np.diff(model.lower_bounds_)) > -1e-10
    assert model.lower_bounds_[-1] == model.lower_bound_
    if prior in ("none", "left-right"):
        assert_allclose(model.lower_bound_, model.score(X, groups=groups), rtol=1e-11)
        return
    a, b = model.startprob_prior, np.broadcast_to(model.transmat_prior, (3, 3))
    used = (model.transmat_ > 0) & (b > 1)
    log_prior = ((b - 1)[used] * np.log(model.transmat_[used])).sum()
    log_prior += (a - 1) * np.log(model.startprob_[model.startprob_ > 0]).sum() if a > 1 else 0.0
    expected = model.score(X, groups=groups) + log_prior / len(X)
    assert_allclose(model.lower_bound_, expected, rtol=1e-10)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("acceleration", [None, "anderson"])
@pytest.mark.parametrize(
    "emission",
    [CategoricalEmission(4, prior=1.5), BernoulliEmission(prior=2.0), "gaussian"],
    ids=["categorical", "bernoulli", "gaussian"],
)
def test_emission_priors_are_part_of_the_bound(seed, acceleration, emission):
    family = {"Cate": "categorical", "Bern": "bernoulli"}.get(type(emission).__name__[:4], "full")
    X = rows_of(known_model(family, seed=seed), LONGER)
    groups = groups_of(LONGER)
    settings = {"emission": emission, "acceleration": acceleration, "random_state": seed}
    model = run(EMHiddenMarkov(3, transmat_prior=1.2, **settings), X, 40, groups=groups)
    assert min(np.diff(model.lower_bounds_)) > -1e-10
    p = getattr(model.emission_, "probabilities_", None)
    log_prior = 0.2 * np.log(model.transmat_).sum()
    if family == "categorical":
        log_prior += 0.5 * np.log(p).sum()
    elif family == "bernoulli":
        log_prior += (np.log(p) + np.log1p(-p)).sum()
    expected = model.score(X, groups=groups) + log_prior / len(X)
    assert_allclose(model.lower_bound_, expected, rtol=1e-9)


@every_family
def test_a_weighted_bound_is_a_weighted_mean(family):
    X = rows_of(known_model(family), LONGER)
    weights = np.array([1.0, 3.0, 0.5, 2.0, 1.0, 0.1])
    weight = np.repeat(weights, LONGER)
    groups = groups_of(LONGER)
    model = run(learner(family), X, 5, groups=groups, sequence_weight=weight)
    assert min(np.diff(model.lower_bounds_)) > -1e-10
    expected = model.score(X, sample_weight=weight, groups=groups)
    assert_allclose(model.lower_bound_, expected, rtol=1e-10)


@few_families
def test_acceleration_gets_at_least_as_far(family):
    X = rows_of(known_model(family, seed=1), LONGER)
    groups = groups_of(LONGER)
    plain = run(learner(family, random_state=1), X, 30, groups=groups)
    fast = run(learner(family, random_state=1, acceleration="anderson"), X, 30, groups=groups)
    assert fast.lower_bound_ > plain.lower_bound_ - 1e-3
    assert fast.n_e_steps_ >= fast.n_iter_
    assert plain.n_e_steps_ == plain.n_iter_ == 30


def test_acceleration_pays_where_em_is_slow():
    X = rows_of(known_model("full", 5), [400])
    settings = {"n_components": 3, "tol": 1e-9, "max_iter": 5000, "random_state": 0}
    plain = EMHiddenMarkov(**settings).fit(X)
    fast = EMHiddenMarkov(**settings, acceleration="anderson").fit(X)
    assert fast.lower_bound_ > plain.lower_bound_ - 1e-4
    assert fast.n_e_steps_ < 0.7 * plain.n_e_steps_


# Results ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["full", "diag", "student_t", "categorical", "poisson"])
def test_the_truth_is_found_again(family):
    truth = known_model(family, n_states=2, seed=3, sticky=4.0)
    X = rows_of(truth, [3000, 3000])
    groups = groups_of([3000, 3000])
    model = learner(family, 2, n_init=3, tol=1e-7, max_iter=2000).fit(X, groups=groups)
    assert model.lower_bound_ >= truth.score(X, groups=groups)
    means = [m.emission_.parameters().means() for m in (truth, model)]
    order = [0, 1]
    if abs(means[1][::-1] - means[0]).sum() < abs(means[1] - means[0]).sum():
        order = [1, 0]
    assert_allclose(means[1][order], means[0], atol=0.2)
    assert_allclose(model.transmat_[np.ix_(order, order)], truth.transmat_, atol=0.05)


@few_families
def test_convergence_is_a_change_below_the_tolerance(family):
    X = rows_of(known_model(family, seed=1), LONGER)
    model = learner(family, tol=1e-4, max_iter=3000).fit(X, groups=groups_of(LONGER))
    assert model.converged_ is True
    steps = np.diff(model.lower_bounds_)
    assert (abs(steps[:-2]) >= 1e-4).all() or len(steps) < 3
    assert abs(steps[-1]) < 1e-4 or abs(steps[-2]) < 1e-4


def test_not_converged_is_a_warning_that_says_what_to_change():
    X = rows_of(known_model(), LONGER)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=2.*tol=1e-09") as record:
        model = EMHiddenMarkov(3, max_iter=2, tol=1e-9, random_state=0).fit(X)
    assert len(record) == 1
    assert model.converged_ is False


@every_family
def test_no_iterations_keep_the_start(family):
    X = rows_of(known_model(family), LONGER)
    model = learner(family, max_iter=0).fit(X, groups=groups_of(LONGER))
    assert model.n_iter_ == 0
    assert model.lower_bounds_ == []
    assert_allclose(model.lower_bound_, model.score(X, groups=groups_of(LONGER)), rtol=1e-11)
    assert_allclose(model.transmat_.sum(axis=1), 1.0)
    assert (model.transmat_ > 0).all()
    assert (model.startprob_ > 0).all()


@few_families
def test_warm_start_goes_on_where_the_last_fit_ended(family):
    X = rows_of(known_model(family), LONGER)
    groups = groups_of(LONGER)
    warm = run(learner(family, warm_start=True), X, 6, groups=groups)
    run(warm, X, 4, groups=groups)
    whole = run(learner(family), X, 10, groups=groups)
    assert_allclose(warm.lower_bound_, whole.lower_bound_, rtol=1e-10)
    assert_allclose(warm.transmat_, whole.transmat_, rtol=1e-6, atol=1e-12)
    assert warm.n_iter_ == 4


def test_a_poor_fit_has_no_other_warnings():
    """States without rows, sequences of one row, constant columns: only warnings that are due."""
    X = np.concatenate([np.zeros((30, 2)), np.ones((3, 2))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for groups in (None, np.arange(33)):
            model = EMHiddenMarkov(5, random_state=0)
            if groups is None:
                model.fit(X)
            else:
                with pytest.warns(UserWarning, match="each of the 33 sequences has one row"):
                    model.fit(X, groups=groups)
            assert np.isfinite(model.lower_bound_)
            assert_allclose(model.transmat_.sum(axis=1), 1.0)
            assert np.isfinite(model.predict_proba(X, groups=groups)).all()


def test_the_failure_of_every_start_says_what_to_change():
    """Without a floor a state that has one row to itself has no maximum."""
    X = np.array([[0.0], [0.0], [0.0], [9.0], [0.0], [0.0]])
    model = EMHiddenMarkov(2, reg_covar=0.0, random_state=0)
    text = (
        r"EM failed from every start: .*\. Raise reg_covar \(now 0.0\), lower n_components "
        r"\(now 2\), or choose a simpler emission \(now 'gaussian', covariance_type='full'\)\."
    )
    with pytest.raises(ValueError, match=text):
        model.fit(X)
    assert not [name for name in vars(model) if name.endswith("_")]


def test_a_start_under_which_the_data_are_impossible_is_an_error():
    """A left-right chain of counts that cannot have made them."""
    model = EMHiddenMarkov(
        2,
        emission=PoissonEmission(rates_init=[[0.0], [5.0]]),
        startprob_init=[1.0, 0.0],
        transmat_init=[[0.5, 0.5], [0.0, 1.0]],
        random_state=0,
    )
    text = re.escape(
        "sequence 0 has probability zero under the current parameters: row 0 is possible in state "
        "1 only, and no path of states leads there. Raise zeros of startprob_init and "
        "transmat_init, or zeros of the emission."
    )
    with pytest.raises(ValueError, match=text):
        model.fit([[4.0], [0.0], [5.0]])
    with pytest.raises(ValueError, match=r"sequence 1 .*: row 2 is possible in state 1 only"):
        model.fit([[[0.0], [5.0]], [[3.0], [5.0]]])


def test_a_row_that_no_state_can_produce_is_named():
    emission = PoissonEmission(rates_init=[[0.0], [0.0]])
    text = r"sequence 1 .*: no state can produce row 3. Give the emission first values"
    with pytest.raises(ValueError, match=text):
        EMHiddenMarkov(2, emission=emission).fit([[[0.0], [0.0]], [[0.0], [2.0]]])


# Zeros --------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize(
    ("kind", "acceleration"), [("left-right", None), ("banded", "anderson"), ("cycle", "anderson")]
)
def test_structural_zeros_stay_zero_and_are_not_counted(family, acceleration, kind):
    start, transmat = {
        "left-right": left_right(3),
        "banded": (np.full(3, 1 / 3), np.array([[0.6, 0.4, 0], [0.3, 0.4, 0.3], [0, 0.4, 0.6]])),
        "cycle": ([0.5, 0.5, 0.0], [[0.5, 0.5, 0], [0, 0.5, 0.5], [0.5, 0, 0.5]]),
    }[kind]
    X = rows_of(known_model(family, seed=1), LONGER)
    groups = groups_of(LONGER)
    model = learner(
        family,
        startprob_init=start,
        transmat_init=transmat,
        acceleration=acceleration,
        transmat_prior=1.5,
    )
    run(model, X, 15, groups=groups)
    zero = np.asarray(transmat) == 0
    assert_array_equal(model.transmat_[zero], 0.0)
    assert_array_equal(model.startprob_[np.asarray(start) == 0], 0.0)
    assert (model.transmat_[~zero] > 0).all()
    from tests.hmm.test_hidden_markov import n_free

    d = (np.asarray(start) > 0).sum() - 1 + ((~zero).sum(axis=1) - 1).sum() + n_free(family)
    total = model.score(X, groups=groups) * len(X)
    assert_allclose(model.aic(X, groups=groups), -2 * total + 2 * d, rtol=1e-10)
    assert_allclose(model.bic(X, groups=groups), -2 * total + d * np.log(len(X)), rtol=1e-10)


def test_a_transition_that_died_out_still_counts():
    """Only the zeros of the start are not free parameters."""
    X = np.repeat([0.0, 10.0], 50)[:, None] + 0.1 * np.random.default_rng(0).normal(size=(100, 1))
    model = EMHiddenMarkov(2, random_state=0, tol=1e-8).fit(X)
    assert model.transmat_.min() < 1e-12
    d = 1 + 2 + 4
    assert_allclose(model.aic(X), -2 * 100 * model.score(X) + 2 * d, rtol=1e-11)


def test_emission_probabilities_of_zero_stay_zero():
    """A category that a state cannot have is not given to it by the M step."""
    p = np.array([[[0.5, 0.5, 0.0]], [[0.0, 0.5, 0.5]], [[0.4, 0.3, 0.3]]])
    start, transmat = left_right(3)
    model = EMHiddenMarkov.from_parameters(start, transmat, CategoricalEmission.from_parameters(p))
    X = np.array([0, 1, 0, 1, 2, 1, 2, 2, 0, 1, 2, 0.0])[:, None]
    for _ in range(5):
        one_step(model, X)
    assert_array_equal(model.emission_.probabilities_[p == 0], 0.0)


@on_the_floor
def test_a_gaussian_of_few_rows_is_kept_above_the_floor():
    X = rows_of(known_model("full"), LONGER)
    model = EMHiddenMarkov(3, reg_covar=0.5, random_state=0, max_iter=300)
    model.fit(X, groups=groups_of(LONGER))
    floor = 0.5 * np.minimum(1.0, X.var(axis=0))
    for matrix in model.covariances_:
        assert np.linalg.eigvalsh(matrix - np.diag(floor))[0] > -1e-9


def test_the_gaussian_s_short_way_is_the_emission_object():
    X = rows_of(known_model("diag"), LONGER)
    means = np.array([[0.0, 0.0], [1.0, 1.0], [-1.0, 2.0]])
    settings = {
        "covariance_type": "diag", "reg_covar": 1e-3, "means_init": means,
        "covariances_init": np.ones((3, 2)),
    }  # fmt: skip
    short = run(EMHiddenMarkov(3, random_state=0, **settings), X, 5)
    emission = GaussianEmission(**settings)
    long = run(EMHiddenMarkov(3, random_state=0, emission=emission), X, 5)
    assert_array_equal(short.means_, long.means_)
    assert_array_equal(short.covariances_, long.covariances_)
    assert short.lower_bounds_ == long.lower_bounds_
    assert not hasattr(emission, "means_")  # the one that was passed in is left alone
    assert long.emission is emission
