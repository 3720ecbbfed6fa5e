"""Against the estimators users come from: changing the import is all they have to do."""

import inspect
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from tests import oracles
from tests.problems import COVARIANCE_TYPES, assert_same_mixture, blobs, corners, run, start

SEEDS = range(4)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n_iter", [1, 7, 30])
@pytest.mark.parametrize("seed", SEEDS)
def test_same_start_same_iterations_same_parameters(covariance_type, n_iter, seed):
    X = blobs(400, n_features=4, n_components=3, seed=seed)
    parameters, _ = start(X, 3, covariance_type, seed=seed)
    ours = run(EMGaussianMixture(**parameters, reg_covar=0), X, n_iter)
    theirs = run(GaussianMixture(**parameters, reg_covar=0), X, n_iter)
    assert_same_mixture(ours, theirs, rtol=1e-6, atol=0)
    assert_allclose(ours.precisions_, theirs.precisions_, rtol=1e-6)
    assert_allclose(ours.precisions_cholesky_, theirs.precisions_cholesky_, rtol=1e-6)
    assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-6)
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6, atol=1e-12)
    assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.n_iter_ == theirs.n_iter_ == n_iter


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("tol", [1e-2, 1e-3, 1e-6])
@pytest.mark.parametrize("seed", SEEDS)
def test_same_tolerance_same_number_of_iterations(covariance_type, tol, seed):
    X = blobs(400, n_features=3, n_components=3, seed=seed)
    parameters, _ = start(X, 3, covariance_type, seed=seed)
    parameters |= {"tol": tol, "max_iter": 2000, "reg_covar": 0}
    ours = EMGaussianMixture(**parameters).fit(X)
    theirs = GaussianMixture(**parameters).fit(X)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.converged_ is theirs.converged_ is True
    assert_same_mixture(ours, theirs, rtol=1e-6, atol=1e-10)


def test_trace_is_theirs_one_step_on():
    """scikit-learn records the bound of the parameters that went into an iteration."""
    X = blobs(300)
    parameters, _ = start(X, 3, "full")
    ours = run(EMGaussianMixture(**parameters, reg_covar=0), X, 20)
    theirs = [
        run(GaussianMixture(**parameters, reg_covar=0), X, n_iter).score(X) for n_iter in (1, 5, 20)
    ]
    assert_allclose(np.asarray(ours.lower_bounds_)[[0, 4, 19]], theirs, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_attributes_have_their_names_and_shapes(covariance_type):
    X = blobs(200, n_features=4, n_components=2)
    ours = EMGaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    theirs = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    assert vars(theirs).keys() <= {*vars(ours), *dir(ours)}
    for name in (n for n in vars(theirs) if n.endswith("_") and n != "lower_bounds_"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert np.shape(mine) == np.shape(other), name
        assert np.asarray(mine).dtype == np.asarray(other).dtype, name
    assert len(ours.lower_bounds_) == ours.n_iter_


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_precisions_are_inverses_and_their_cholesky_factors_are_upper(covariance_type):
    X = blobs(200, n_features=4, n_components=2)
    model = EMGaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
    if covariance_type in ("diag", "spherical"):
        assert_allclose(model.precisions_ * model.covariances_, 1.0, rtol=1e-12)
        assert_allclose(model.precisions_cholesky_**2, model.precisions_, rtol=1e-12)
        return
    factor = model.precisions_cholesky_
    assert_allclose(factor, np.triu(factor))
    assert_allclose(factor @ np.swapaxes(factor, -1, -2), model.precisions_, rtol=1e-10)
    product = model.precisions_ @ model.covariances_
    assert_allclose(product, np.broadcast_to(np.eye(4), product.shape), atol=1e-10)


def test_constructor_is_a_superset_with_equal_defaults():
    ours = inspect.signature(EMGaussianMixture).parameters
    theirs = inspect.signature(GaussianMixture).parameters
    assert set(theirs) <= set(ours)
    for name, parameter in theirs.items():
        assert ours[name].default == parameter.default, name
        assert ours[name].kind == parameter.kind, name
    added = {name: ours[name] for name in set(ours) - set(theirs)}
    assert set(added) == {"acceleration", "n_jobs", "checkpoint", "fixed"}
    assert all(p.default in (None, ()) for p in added.values())
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in added.values())


def test_every_public_method_is_here():
    public = {name for name in dir(GaussianMixture) if not name.startswith("_")}
    # `fit` and `score` take weights here, so routing has requests to set that it lacks there.
    assert public <= set(dir(EMGaussianMixture))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_default_fit_finds_the_same_clusters(covariance_type):
    X = corners()
    ours = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    theirs = GaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    assert_allclose(ours.score(X), theirs.score(X), rtol=1e-5)
    order, other = (np.lexsort(np.round(m.means_).T) for m in (ours, theirs))
    assert_allclose(ours.means_[order], theirs.means_[other], atol=1e-4)
    assert_allclose(ours.weights_[order], theirs.weights_[other], rtol=1e-4)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_fit_predict_is_fit_then_predict(covariance_type):
    X = blobs(300)
    parameters, _ = start(X, 3, covariance_type)
    parameters |= {"reg_covar": 0, "tol": 1e-4, "max_iter": 1000}
    labels = EMGaussianMixture(**parameters).fit_predict(X)
    assert_array_equal(labels, EMGaussianMixture(**parameters).fit(X).predict(X))
    assert_array_equal(labels, GaussianMixture(**parameters).fit_predict(X))
    assert labels.dtype == np.intp


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_information_criteria_are_theirs(covariance_type):
    X = blobs(300)
    parameters, _ = start(X, 3, covariance_type)
    ours = run(EMGaussianMixture(**parameters, reg_covar=0), X, 10)
    theirs = run(GaussianMixture(**parameters, reg_covar=0), X, 10)
    assert_allclose(ours.bic(X), theirs.bic(X), rtol=1e-9)
    assert_allclose(ours.aic(X), theirs.aic(X), rtol=1e-9)


@pytest.mark.parametrize("given", ["weights_init", "means_init", "precisions_init"])
def test_one_given_starting_value_replaces_the_drawn_one(given):
    """The start is the k-means one with the given part put in its place, as in scikit-learn."""
    X = corners()
    parameters, _ = start(X, 3, "full")
    reference = run(GaussianMixture(3, random_state=0, reg_covar=0), X, 1)
    means = reference.means_ + 0.5  # in the order of k-means, so that the parts belong together
    value = {
        "weights_init": np.array([0.2, 0.3, 0.5]),
        "means_init": means,
        "precisions_init": np.stack([parameters["precisions_init"][0]] * 3),
    }[given]
    settings = {"n_components": 3, "random_state": 0, "reg_covar": 0, given: value}
    ours = run(EMGaussianMixture(**settings), X, 1)
    theirs = run(GaussianMixture(**settings), X, 1)
    order, other = (np.lexsort(np.round(m.means_).T) for m in (ours, theirs))
    assert_allclose(ours.means_[order], theirs.means_[other], rtol=1e-6, atol=1e-8)
    assert_allclose(ours.weights_[order], theirs.weights_[other], rtol=1e-6)
    assert_allclose(ours.covariances_[order], theirs.covariances_[other], rtol=1e-6, atol=1e-9)


def test_no_iterations_leave_the_start_without_a_warning():
    X = blobs(300)
    parameters, mixture = start(X, 3, "full")
    ours = EMGaussianMixture(**parameters, max_iter=0).fit(X)
    assert ours.n_iter_ == 0
    assert ours.converged_ is False
    assert len(ours.lower_bounds_) == 0
    assert_same_mixture(ours, mixture, rtol=1e-10)
    assert_allclose(ours.lower_bound_, oracles.score(X, mixture), rtol=1e-10)

    ours = EMGaussianMixture(3, max_iter=0, random_state=0).fit(X)
    theirs = GaussianMixture(3, max_iter=0, random_state=0).fit(X)
    assert ours.n_iter_ == theirs.n_iter_ == 0
    assert ours.converged_ is theirs.converged_ is False
    assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-4)


def test_warm_start_goes_on_where_the_last_fit_ended():
    X = blobs(300)
    parameters, _ = start(X, 3, "full")
    warm = run(EMGaussianMixture(**parameters, warm_start=True), X, 6)
    warm = run(warm, X, 4)
    assert_same_mixture(warm, run(EMGaussianMixture(**parameters), X, 10), rtol=1e-9)
    assert warm.n_iter_ == 4


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize(
    "model",
    [
        EMGaussianMixture(3, random_state=0),
        BayesianMixtureSVI(3, learning_method="batch", random_state=0),
        EMHiddenMarkov(3, random_state=0),
    ],
    ids=lambda model: type(model).__name__,
)
def test_fits_that_go_on_from_each_other_converge_where_one_fit_does(model, pieces):
    X = blobs(300)
    whole = clone(model).set_params(tol=1e-5, max_iter=1000).fit(X)
    assert whole.n_iter_ > 10
    model = clone(model).set_params(tol=1e-5, max_iter=pieces, warm_start=True)
    n_iter, bounds = 0, []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        while not n_iter or not model.converged_:
            model.fit(X)
            n_iter += model.n_iter_
            bounds += model.lower_bounds_
    assert n_iter == whole.n_iter_
    assert_allclose(bounds, whole.lower_bounds_, rtol=1e-10)


def test_warm_start_at_the_optimum_stops_at_once_and_loses_nothing():
    X = blobs(300)
    model = EMGaussianMixture(3, warm_start=True, tol=1e-6, max_iter=2000, random_state=0).fit(X)
    before = model.lower_bound_
    model.fit(X)
    assert model.n_iter_ == 1
    assert model.converged_
    assert model.lower_bound_ >= before - 1e-10


def test_warm_start_makes_no_new_starts_and_refuses_to_be_told_of_others():
    """scikit-learn ignores a changed ``n_init`` there: no setting of ours is ignored in silence."""
    X = blobs(300)
    model = EMGaussianMixture(3, warm_start=True, n_init=3, random_state=0, max_iter=500).fit(X)
    state = model.means_.copy()
    assert_allclose(model.set_params(random_state=99).fit(X).means_, state, atol=0.2)
    with pytest.raises(ValueError, match=r"n_init=7: warm_start=True continues .* n_init=3"):
        model.set_params(n_init=7).fit(X)
    with pytest.raises(ValueError, match="init_params='random': warm_start=True continues"):
        model.set_params(n_init=3, init_params="random").fit(X)
    model.set_params(n_init=1, init_params="kmeans").fit(X)  # one run is what a warm start makes


@pytest.mark.parametrize("n_init", [1, 3])
def test_not_converged_is_a_warning_that_says_what_to_change(n_init):
    X = blobs(300)
    model = EMGaussianMixture(3, max_iter=1, n_init=n_init, tol=1e-9, random_state=0)
    with pytest.warns(ConvergenceWarning, match="max_iter") as record:
        model.fit(X)
    assert len(record) == 1
    assert model.converged_ is False
