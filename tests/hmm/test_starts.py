"""Where a fit begins: first states, given parameters, several starts, threads and seeds."""

import copy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from threadpoolctl import threadpool_limits

from skvae import EMHiddenMarkov
from skvae.hmm import GaussianEmission
from skvae.hmm.initialization import check_chain, first_states
from tests.hmm.problems import (
    FAMILIES,
    FEW_FAMILIES,
    groups_of,
    holes,
    known_model,
    learner,
    left_right,
    rows_of,
)
from tests.problems import on_the_floor, run

LENGTHS = (60, 1, 25, 40, 2, 90)
GROUPS = groups_of(LENGTHS)
INIT_PARAMS = ("kmeans", "k-means++", "random", "random_from_data")
every_family = pytest.mark.parametrize("family", FAMILIES)
few_families = pytest.mark.parametrize("family", FEW_FAMILIES)


def data(family, seed=1):
    return rows_of(known_model(family, seed=seed), LENGTHS)


def assert_identical(left, right):
    assert left.lower_bounds_ == right.lower_bounds_
    assert_array_equal(left.startprob_, right.startprob_)
    assert_array_equal(left.transmat_, right.transmat_)
    ours, theirs = (m.emission_.parameters() for m in (left, right))
    assert_array_equal(ours.means(), theirs.means())


@every_family
@pytest.mark.parametrize("init_params", INIT_PARAMS)
@pytest.mark.filterwarnings("ignore:.*had no rows at a start")  # counts have few values
def test_every_start_is_usable_and_has_no_zero(family, init_params):
    X = holes(data(family))
    model = learner(family, init_params=init_params, max_iter=0).fit(X, groups=GROUPS)
    assert (model.transmat_ > 0).all()
    assert (model.startprob_ > 0).all()
    assert np.isfinite(model.lower_bound_)
    fitted = run(clone(model), X, 4, groups=GROUPS)
    assert fitted.lower_bound_ > model.lower_bound_


def test_the_default_start_counts_the_transitions_of_clusters():
    """k-means states, bigrams plus one: of far clusters that is known exactly."""
    states = np.array([0, 0, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0])
    X = 100.0 * states[:, None] + np.random.default_rng(0).normal(size=(12, 1))
    model = EMHiddenMarkov(2, random_state=0, max_iter=0).fit(X, groups=groups_of([7, 5]))
    order = np.argsort(model.means_[:, 0])
    # within 0001110 0|11000: 00→..: pairs that do not cross the end of the first sequence
    pairs = np.ones((2, 2))
    for a, b in [(0, 7), (7, 12)]:
        np.add.at(pairs, (states[a : b - 1], states[a + 1 : b]), 1)
    expected = pairs / pairs.sum(axis=1, keepdims=True)
    assert_allclose(model.transmat_[np.ix_(order, order)], expected, rtol=1e-12)
    assert_allclose(model.startprob_[order], [0.5, 0.5])
    assert_allclose(model.means_[order, 0], [X[states == k].mean() for k in (0, 1)], rtol=1e-9)


def spreads(seed, ratio):
    """Rows of two states with one mean and two standard deviations, and a model of the truth."""
    rng = np.random.default_rng(seed)
    states = np.repeat([0, 1, 0, 1], rng.multinomial(800, [0.25] * 4))
    X = 0.005 * rng.normal(size=(800, 1)) * np.array([1.0, ratio])[states][:, None]
    truth = EMHiddenMarkov(
        2,
        transmat_init=[[0.99, 0.01], [0.01, 0.99]],
        startprob_init=[0.99, 0.01],
        means_init=[[0.0], [0.0]],
        covariances_init=0.005**2 * np.array([1.0, ratio**2])[:, None, None],
    )
    return X, truth


@pytest.mark.parametrize("n_init", [1, 5])
@pytest.mark.parametrize("ratio", [2.0, 4.0, 8.0])
def test_states_that_differ_in_spread_alone_are_found(ratio, n_init):
    for seed in range(4):
        X, truth = spreads(seed, ratio)
        model = EMHiddenMarkov(2, n_init=n_init, random_state=seed).fit(X)
        assert (truth.fit(X).lower_bound_ - model.lower_bound_) * len(X) < 1.0


@pytest.mark.parametrize("n_components", [2, 3, 5])
def test_states_that_differ_in_mean_alone_are_found(n_components):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        means = 5.0 * np.arange(n_components)[:, None] * [1.0, -1.0]
        states = rng.integers(n_components, size=400)
        X = means[states] + rng.normal(size=(400, 2))
        model = EMHiddenMarkov(n_components, random_state=seed).fit(X)
        order = np.argsort(model.means_[:, 0])
        assert_allclose(model.means_[order], means, atol=0.5)


def test_states_that_differ_in_mean_and_spread_are_found():
    for seed in range(6):
        rng = np.random.default_rng(seed)
        states = np.repeat(rng.integers(3, size=60), 10)
        means, spread = np.array([[0.0], [0.5], [4.0]]), np.array([[0.2], [2.0], [0.5]])
        X = means[states] + spread[states] * rng.normal(size=(600, 1))
        given = {"means_init": means, "covariances_init": spread[:, :, None] ** 2}
        best = EMHiddenMarkov(3, **given).fit(X).lower_bound_
        assert EMHiddenMarkov(3, random_state=seed).fit(X).lower_bound_ > best - 5 / 600


def test_several_starts_are_of_several_kinds():
    X = rows_of(known_model("full"), [200])
    chain = EMHiddenMarkov(3)
    data = X, None, np.arange(200), np.array([0, 200]), chain, GaussianEmission(), None
    n_kinds, seen = [], set()
    for number in range(7):
        rng = np.random.RandomState(0)
        kinds = list(first_states(*data, check_chain(chain)[2], number, rng))
        n_kinds.append(len(kinds))
        seen |= {labels.tobytes() for labels in kinds}
        for labels in kinds:
            assert set(labels) - {-1} == {0, 1, 2}
    assert n_kinds == [3, 1, 1, 1, 1, 1, 1]
    assert len(seen) >= 5  # variances within windows of other lengths
    for seed in range(3):
        one, many = (
            EMHiddenMarkov(3, n_init=n_init, random_state=seed, max_iter=1000).fit(X)
            for n_init in (1, 6)
        )
        assert many.lower_bound_ >= one.lower_bound_


def test_rows_without_a_value_have_the_state_before_them():
    """Long gaps are no state of their own, and they do not break the runs of a state."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        states = np.repeat([0, 1, 2] * 7, 20)
        X = 10.0 * states[:, None] + rng.normal(size=(420, 1))
        X[rng.random(420) < 0.5] = np.nan
        X[:3] = np.nan
        model = EMHiddenMarkov(3, random_state=seed, max_iter=0).fit(X)
        assert_allclose(np.sort(model.means_[:, 0]), [0.0, 10.0, 20.0], atol=0.6)
        assert model.transmat_.diagonal().min() > 0.8


def test_a_left_right_chain_starts_from_equal_parts():
    start, transmat = left_right(3)
    X = np.arange(12.0)[:, None]
    model = EMHiddenMarkov(3, startprob_init=start, transmat_init=transmat, max_iter=0).fit(X)
    assert_allclose(model.means_[:, 0], [1.5, 5.5, 9.5])
    assert_array_equal(model.startprob_, start)
    assert_allclose(model.transmat_, transmat)


def test_long_data_start_from_windows_of_neighbours():
    """Of many rows a part is read, in runs, so that transitions can be counted."""
    states = np.tile(np.repeat([0, 1], 50), 500)
    X = 20.0 * states[:, None] + np.random.default_rng(0).normal(size=(50_000, 1))
    model = EMHiddenMarkov(2, random_state=0, max_iter=0).fit(X)
    assert_allclose(model.transmat_.diagonal(), 0.98, atol=0.004)
    groups = np.arange(50_000) // 10
    model = EMHiddenMarkov(2, random_state=0, max_iter=0).fit(X, groups=groups)
    assert_allclose(model.transmat_.diagonal(), 1.0, atol=0.002)  # no sequence has both states
    assert_allclose(model.startprob_, 0.5, atol=0.05)


@pytest.mark.parametrize("given", ["means_init", "covariances_init", "startprob_init",
                                   "transmat_init"])  # fmt: skip
def test_one_given_value_replaces_the_drawn_one(given):
    X = data("full")
    value = {
        "means_init": np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]),
        "covariances_init": np.stack([np.eye(2) * s for s in (1.0, 2.0, 3.0)]),
        "startprob_init": np.array([0.2, 0.3, 0.5]),
        "transmat_init": np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]]),
    }[given]
    settings = {"random_state": 0, "max_iter": 0}
    plain = EMHiddenMarkov(3, **settings).fit(X, groups=GROUPS)
    model = EMHiddenMarkov(3, **settings, **{given: value}).fit(X, groups=GROUPS)
    names = {"means_init": "means_", "covariances_init": "covariances_",
             "startprob_init": "startprob_", "transmat_init": "transmat_"}  # fmt: skip
    for name, attribute in names.items():
        expected = value if name == given else getattr(plain, attribute)
        assert_allclose(getattr(model, attribute), expected, rtol=1e-12, err_msg=name)


def test_given_values_are_not_kept_by_reference():
    X = data("full")
    start, transmat = np.full(3, 1 / 3), np.full((3, 3), 1 / 3)
    means = X[:3].copy()
    model = EMHiddenMarkov(
        3, startprob_init=start, transmat_init=transmat, means_init=means, max_iter=0
    ).fit(X)
    scores = model.score_samples(X)
    for array in (start, transmat, means):
        array[:] = 0.123
    assert_array_equal(model.score_samples(X), scores)
    assert model.startprob_init is start


@few_families
@pytest.mark.parametrize("init_params", ["kmeans", "random"])
@on_the_floor
def test_the_same_seed_is_the_same_fit(family, init_params):
    X = data(family)
    settings = {"init_params": init_params, "n_init": 2, "max_iter": 500}
    models = [
        learner(family, random_state=seed, **settings).fit(X, groups=GROUPS)
        for seed in (3, 3, np.random.RandomState(3))
    ]
    assert_identical(models[0], models[1])
    assert_identical(models[0], models[2])


@few_families
@on_the_floor
@pytest.mark.filterwarnings("ignore:.*had no rows at a start")  # counts have few values
def test_jobs_and_threads_do_not_change_a_bit(family):
    X = data(family)
    settings = {"n_init": 3, "max_iter": 500, "init_params": "random_from_data"}
    one = learner(family, **settings).fit(X, groups=GROUPS)
    two = learner(family, n_jobs=2, **settings).fit(X, groups=GROUPS)
    assert_identical(one, two)
    with threadpool_limits(1):
        single = learner(family, **settings).fit(X, groups=GROUPS)
        scores = single.score_samples(X, groups=GROUPS)
    with threadpool_limits(2):
        double = learner(family, **settings).fit(X, groups=GROUPS)
        assert_array_equal(double.score_samples(X, groups=GROUPS), scores)
    assert_identical(single, double)


def test_threads_do_not_change_the_fit_of_a_long_sequence():
    X = rows_of(known_model("full"), [30_000])
    X[::7, 0] = np.nan
    fits = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            fits.append(run(EMHiddenMarkov(3, random_state=0), X, 3))
    assert_identical(*fits)
    posteriors = []
    for n_threads in (1, 2):
        with threadpool_limits(n_threads):
            posteriors.append(fits[0].predict_proba(X))
    assert_array_equal(*posteriors)


def test_the_best_of_several_starts_is_kept():
    X = data("full")
    settings = {"init_params": "random", "max_iter": 1000, "tol": 1e-5}
    rng = np.random.RandomState(0)
    alone = [EMHiddenMarkov(3, random_state=rng, **settings).fit(X) for _ in range(4)]
    together = EMHiddenMarkov(3, random_state=0, n_init=4, **settings).fit(X)
    assert together.lower_bound_ == max(model.lower_bound_ for model in alone)


def test_set_params_then_fit_is_constructor_then_fit():
    X = data("full")
    settings = {
        "n_components": 2, "covariance_type": "diag", "reg_covar": 1e-3, "transmat_prior": 2.0,
        "startprob_prior": [2.0, 3.0], "init_params": "random", "random_state": 5,
        "acceleration": "anderson", "transmat_init": [[0.5, 0.5], [0.0, 1.0]], "tol": 1e-4,
        "max_iter": 1000,
    }  # fmt: skip
    model = EMHiddenMarkov(4, random_state=0, max_iter=1000).fit(X, groups=GROUPS)
    assert_identical(
        model.set_params(**settings).fit(X, groups=GROUPS),
        EMHiddenMarkov(**settings).fit(X, groups=GROUPS),
    )
    emission = {"covariance_type": "full", "reg_covar": 1e-6, "emission": GaussianEmission()}
    model.set_params(**emission).set_params(emission__covariance_type="tied").fit(X, groups=GROUPS)
    settings |= {**emission, "emission": GaussianEmission("tied")}
    assert_identical(model, EMHiddenMarkov(**settings).fit(X, groups=GROUPS))


def test_another_emission_leaves_no_attributes_of_the_first():
    X = data("poisson")
    model = EMHiddenMarkov(2, random_state=0, max_iter=1000).fit(X)
    assert model.means_.shape == (2, 2)
    model.set_params(emission="poisson").fit(X)
    assert not hasattr(model, "means_")
    assert not hasattr(model, "covariances_")
    assert_identical(model, EMHiddenMarkov(2, emission="poisson", random_state=0,
                                           max_iter=1000).fit(X))  # fmt: skip


def test_verbose_prints_the_bound(capsys):
    X = data("full")
    model = run(EMHiddenMarkov(2, random_state=0, verbose=2), X, 5)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("start 1, iteration 1: lower bound")
    assert f"{model.lower_bounds_[0]:.6f}" in lines[1]
    run(EMHiddenMarkov(2, random_state=0), X, 5)
    assert capsys.readouterr().out == ""


def test_a_warm_start_of_another_model_is_an_error():
    X = data("full")
    model = EMHiddenMarkov(2, warm_start=True, random_state=0, max_iter=1000).fit(X)
    before = model.transmat_.copy()
    changes = {"n_components": 3, "emission": "student_t", "covariance_type": "diag"}
    for name, value in changes.items():
        text = rf"{'emission' if name == 'covariance_type' else name}=.*: warm_start=True continues"
        with pytest.raises(ValueError, match=text):
            copy.deepcopy(model).set_params(**{name: value}).fit(X)
    with pytest.raises(ValueError, match="X has 1 features, but EMHiddenMarkov is expecting 2"):
        copy.deepcopy(model).fit(X[:, :1])
    assert_array_equal(model.transmat_, before)
