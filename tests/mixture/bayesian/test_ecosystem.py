"""Copies and files, seeds, threads, jobs, restarts, warm starts, Ctrl-C, progress."""

import copy
import pickle
import signal

import joblib
import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from threadpoolctl import threadpool_limits

from skvae import BayesianMixtureSVI
from skvae.mixture.bayesian import steps as bayesian_steps
from tests.combinations import slow
from tests.mixture.bayesian.problems import (
    after,
    assert_same_posterior,
    bayes,
    every_covariance,
    every_weight,
)
from tests.problems import assert_same_state, blobs, corners, knock_out, state_of

LEARNING_METHODS = ("batch", "memoized", "online")


def through_joblib(model, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib")


def through_skops(model, tmp_path):
    skops.io.dump(model, tmp_path / "model.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    assert all(name.startswith("skvae.") for name in unknown)
    return skops.io.load(tmp_path / "model.skops", trusted=unknown)


COPIES = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "copy": lambda model, _: copy.copy(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "joblib": through_joblib,
    "skops": through_skops,
}


@pytest.mark.parametrize("how", COPIES)
@every_covariance
@every_weight
def test_copies_predict_identically(how, covariance_type, weight_type, tmp_path):
    X = knock_out(blobs(100))
    model = after(bayes(2, covariance_type, weight_type), X, 3)
    other = COPIES[how](model, tmp_path)
    for method in ("score_samples", "predict_proba", "predict", "impute"):
        assert_array_equal(getattr(other, method)(X), getattr(model, method)(X))
    assert_array_equal(other.sample(5)[0], model.sample(5)[0])
    for left, right in zip(other.credible_interval(), model.credible_interval(), strict=True):
        assert_array_equal(left, right)
    model = copy.deepcopy(model)
    assert_array_equal(other.partial_fit(X).means_, model.partial_fit(X).means_)


def test_a_pickle_holds_no_rows():
    small, large = (pickle.dumps(bayes(2).fit(blobs(n))) for n in (50, 20_000))
    assert len(large) < len(small) + 2000


def test_clone_is_not_fitted_and_has_the_parameters():
    model = BayesianMixtureSVI(3, moves=("merge",), mean_prior=[0.0, 0.0, 0.0], n_jobs=2)
    other = clone(model.fit(blobs(100)))
    assert other.get_params() == model.get_params()
    assert not [name for name in vars(other) if name.endswith("_")]


@pytest.mark.parametrize("method", LEARNING_METHODS)
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_same_seed_same_bits_whatever_the_jobs(method, init_params):
    X = blobs(300)
    options = {"learning_method": method, "batch_size": 64, "n_init": 3, "max_iter": 6, "tol": 0.5}
    model = bayes(4, init_params=init_params, random_state=3, **options)
    one = clone(model).fit(X)
    for n_jobs in (1, 2, -1):
        other = clone(model).set_params(n_jobs=n_jobs).fit(X)
        assert_same_posterior(one, other, rtol=0, atol=0)
        assert one.lower_bounds_ == other.lower_bounds_


def test_moves_have_a_seed_too():
    X = blobs(300)
    model = BayesianMixtureSVI(1, moves=("merge", "delete", "birth"), random_state=1, max_iter=500)
    assert_same_posterior(clone(model).fit(X), clone(model).fit(X), rtol=0, atol=0)


@pytest.mark.parametrize("method", ["batch", "memoized", *slow("online")])
def test_threads_do_not_change_a_bit(method):
    X = knock_out(blobs(30_000), 0.02)
    model = bayes(3, learning_method=method, max_iter=3, tol=1.0)
    fits = []
    for limit in (1, 2):
        with threadpool_limits(limit):
            fits.append(clone(model).fit(X))
    assert_same_posterior(*fits, rtol=0, atol=0)
    assert fits[0].lower_bounds_ == fits[1].lower_bounds_


def test_the_best_of_the_starts_is_kept():
    X = blobs(200, n_features=2, n_components=6, seed=3)
    model = bayes(6, init_params="random_from_data", max_iter=3000)
    one, many = clone(model).fit(X), clone(model).set_params(n_init=8).fit(X)
    assert many.elbo_ >= one.elbo_
    assert many.lower_bounds_[-1] == many.lower_bound_


@pytest.mark.parametrize("method", ["batch", "memoized"])
def test_a_warm_start_goes_on(method):
    X = blobs(200)
    model = after(bayes(4, learning_method=method, warm_start=True), X, 5)
    halfway = model.elbo_
    model = after(model, X, 5)
    whole = after(bayes(4, learning_method=method), X, 10)
    assert model.elbo_ >= halfway
    assert_allclose(model.elbo_, whole.elbo_, rtol=1e-8)
    assert_allclose(model.means_, whole.means_, rtol=1e-5, atol=1e-6)
    for name, value in {
        "n_components": 5,
        "covariance_type": "diag",
        "weight_concentration_prior_type": "dirichlet_distribution",
    }.items():
        other = copy.deepcopy(model).set_params(**{name: value})
        with pytest.raises(ValueError, match=rf"{name}=.*: warm_start=True continues a model"):
            other.fit(X)


def test_a_fit_that_was_cut_short_says_so():
    with pytest.warns(ConvergenceWarning, match=r"did not converge within max_iter=2 .*Raise"):
        bayes(3, max_iter=2, tol=0).fit(blobs(100))


@pytest.mark.parametrize("method", LEARNING_METHODS)
def test_ctrl_c_keeps_the_earlier_fit(method, monkeypatch):
    X = blobs(200)
    model = bayes(3, learning_method=method).fit(X)
    state = state_of(model)
    calls, expect = [], bayesian_steps.expect

    def interrupted(*args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return expect(*args, **kwargs)

    monkeypatch.setattr(bayesian_steps, "expect", interrupted)
    model.tol = 0
    state["tol"] = 0
    # A process that was started in the background ignores Ctrl-C, and its children do.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert_same_state(model, state)


@pytest.mark.parametrize("method", LEARNING_METHODS)
def test_progress_is_shown_if_asked_for(method, capsys):
    model = bayes(3, learning_method=method, verbose=2)
    after(model, blobs(100), 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("start 1, iteration") for line in lines)


def test_a_search_over_priors():
    X = corners(50)
    grid = {"weight_concentration_prior": [0.01, 1.0], "covariance_type": ["full", "diag"]}
    search = GridSearchCV(bayes(3, max_iter=500), grid, cv=3, error_score="raise").fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_reading_changes_nothing():
    X = blobs(60)
    model = bayes(2).fit(X)
    state = state_of(model)
    for name in ("predict", "predict_proba", "transform", "score_samples", "score", "impute"):
        getattr(model, name)(X)
    model.sample(3)
    model.credible_interval()
    model.to_mixture()
    repr(model)
    model._repr_html_()
    assert_same_state(model, state)
