"""Pipelines, searches, output containers, copies and files, weights that are routed."""

import copy
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import BayesianMixtureSVI, EMGaussianMixture
from tests import oracles
from tests.problems import COVARIANCE_TYPES, assert_same_state, blobs, corners, knock_out, state_of


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
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("made_by", ["fit", "partial_fit", "from_parameters"])
def test_copies_predict_identically(how, covariance_type, made_by, tmp_path):
    X = knock_out(blobs(100))
    model = EMGaussianMixture(2, covariance_type=covariance_type, random_state=0, max_iter=2000)
    if made_by == "from_parameters":
        model = EMGaussianMixture.from_parameters(*oracles.mixture_of(model.fit(X)))
        model.set_params(random_state=0)
    else:
        getattr(model, made_by)(X)
    other = COPIES[how](model, tmp_path)
    for method in ("score_samples", "predict_proba", "predict", "impute"):
        assert_array_equal(getattr(other, method)(X), getattr(model, method)(X))
    assert_array_equal(other.sample(5)[0], model.sample(5)[0])
    assert repr(other.get_params()) == repr(model.get_params())
    assert_array_equal(other.partial_fit(X).means_, copy.deepcopy(model).partial_fit(X).means_)


def test_a_pickle_holds_no_rows():
    small, large = (pickle.dumps(EMGaussianMixture(2).fit(blobs(n))) for n in (50, 20_000))
    assert len(large) < len(small) + 2000


def test_clone_is_not_fitted_and_has_the_parameters():
    model = EMGaussianMixture(3, covariance_type="diag", acceleration="anderson", n_jobs=2).fit(
        blobs(100)
    )
    other = clone(model)
    assert other.get_params() == model.get_params()
    assert not [name for name in vars(other) if name.endswith("_")]


def test_pipeline_scores_what_its_last_step_sees():
    X = corners()
    pipeline = make_pipeline(StandardScaler(), EMGaussianMixture(3, random_state=0)).fit(X)
    Z = StandardScaler().fit_transform(X)
    model = EMGaussianMixture(3, random_state=0).fit(Z)
    assert_allclose(pipeline.score(X), model.score(Z), rtol=1e-12)
    assert_array_equal(pipeline.predict(X), model.predict(Z))
    assert_allclose(pipeline.transform(X), model.transform(Z))
    assert_allclose(pipeline.score_samples(X), model.score_samples(Z))
    assert pipeline[:-1].transform(X).shape == (300, 2)
    features = make_pipeline(EMGaussianMixture(3, random_state=0), StandardScaler()).fit_transform(
        X
    )
    assert features.shape == (300, 3)


def test_weights_reach_the_last_step_of_a_pipeline_without_routing():
    X = corners()
    weight = np.random.default_rng(0).uniform(0, 2, size=len(X))
    pipeline = make_pipeline(StandardScaler(), EMGaussianMixture(3, random_state=0))
    pipeline.fit(X, emgaussianmixture__sample_weight=weight)
    Z = StandardScaler().fit_transform(X)
    expected = EMGaussianMixture(3, random_state=0).fit(Z, sample_weight=weight)
    assert_allclose(pipeline[-1].means_, expected.means_, rtol=1e-10, atol=1e-12)
    assert_allclose(
        pipeline.score(X, sample_weight=weight), expected.score(Z, sample_weight=weight)
    )


@pytest.mark.slow
def test_grid_search_finds_the_size_and_the_structure():
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=450)
    X = np.array([[0, 0], [9, 0], [0, 9]])[labels] + rng.normal(size=(450, 2)) @ [
        [1.5, 1.2],
        [0, 0.3],
    ]
    search = GridSearchCV(
        EMGaussianMixture(random_state=0, n_init=2, max_iter=2000),
        {"n_components": [1, 2, 3], "covariance_type": list(COVARIANCE_TYPES)},
        cv=KFold(3),
        error_score="raise",
    ).fit(X)
    assert search.best_params_["n_components"] == 3
    assert search.best_params_["covariance_type"] in ("full", "tied")
    assert_allclose(search.score(X), search.best_estimator_.score_samples(X).mean())
    best = EMGaussianMixture(random_state=0, n_init=2, max_iter=2000, **search.best_params_)
    assert_allclose(cross_val_score(best, X, cv=KFold(3)).mean(), search.best_score_)


def test_search_in_parallel_processes_is_the_same():
    X = blobs(150)
    search = GridSearchCV(
        EMGaussianMixture(random_state=0, max_iter=2000), {"n_components": [1, 2]}, cv=3
    )
    serial = clone(search).fit(X).cv_results_["mean_test_score"]
    parallel = clone(search).set_params(n_jobs=2).fit(X).cv_results_["mean_test_score"]
    assert_allclose(parallel, serial, rtol=1e-12)


@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_output_containers(library, frame):
    X = knock_out(blobs(60))
    model = EMGaussianMixture(2, random_state=0, max_iter=1000).fit(X)
    expected = model.transform(X)
    out = model.set_output(transform=library).transform(X)
    assert isinstance(out, frame)
    assert list(out.columns) == list(model.get_feature_names_out())
    assert_array_equal(out.to_numpy(), expected)
    assert isinstance(model.predict_proba(X), np.ndarray)
    with config_context(transform_output=library):
        pipeline = make_pipeline(
            StandardScaler(), EMGaussianMixture(2, random_state=0, max_iter=1000)
        )
        out = pipeline.fit_transform(X)
        assert isinstance(out, frame)
        assert list(out.columns) == list(pipeline.get_feature_names_out())


def test_names_of_the_output():
    model = EMGaussianMixture(3, random_state=0).fit(blobs(60))
    names = model.get_feature_names_out()
    assert_array_equal(names, [f"emgaussianmixture{k}" for k in range(3)])
    assert names.dtype == object


def test_index_of_a_data_frame_is_kept():
    X = pd.DataFrame(blobs(60), columns=["a", "b", "c"], index=np.arange(60) * 7)
    out = EMGaussianMixture(2, random_state=0).set_output(transform="pandas").fit(X).transform(X)
    assert_array_equal(out.index, X.index)


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


@pytest.mark.usefixtures("routing")
def test_routing_brings_weights_to_a_pipeline():
    X = corners()
    weight = np.random.default_rng(0).uniform(0, 2, size=len(X))
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    model = EMGaussianMixture(3, random_state=0).set_fit_request(sample_weight=True)
    pipeline = make_pipeline(scaler, model).fit(X, sample_weight=weight)
    Z = StandardScaler().fit_transform(X)
    expected = EMGaussianMixture(3, random_state=0).fit(Z, sample_weight=weight)
    assert_allclose(pipeline[-1].means_, expected.means_, rtol=1e-10, atol=1e-12)
    # `score` asks for weights at class level: nothing has to be requested.
    assert_allclose(
        pipeline.score(X, sample_weight=weight), expected.score(Z, sample_weight=weight)
    )
    assert_allclose(pipeline.score(X), expected.score(Z))


@pytest.mark.usefixtures("routing")
def test_routing_brings_weights_to_a_search():
    X = blobs(150)
    weight = np.random.default_rng(0).uniform(0, 2, size=len(X))
    model = EMGaussianMixture(random_state=0, max_iter=2000).set_fit_request(sample_weight=True)
    search = GridSearchCV(model, {"n_components": [2, 3]}, cv=KFold(3), error_score="raise")
    search.fit(X, sample_weight=weight)
    expected = [
        EMGaussianMixture(2, random_state=0, max_iter=2000)
        .fit(X[train], sample_weight=weight[train])
        .score(X[test], sample_weight=weight[test])
        for train, test in KFold(3).split(X)
    ]
    assert_allclose(search.cv_results_["mean_test_score"][0], np.mean(expected), rtol=1e-10)


@pytest.mark.usefixtures("routing")
def test_routing_without_weights_needs_no_request():
    X = corners()
    mixture = EMGaussianMixture(3, random_state=0)
    scaled = StandardScaler().fit_transform(X)
    pipeline = make_pipeline(StandardScaler(), mixture).fit(X)
    assert pipeline.score(X) == mixture.fit(scaled).score(scaled)
    search = GridSearchCV(EMGaussianMixture(random_state=0), {"n_components": [1, 3]}, cv=3).fit(X)
    assert search.best_params_ == {"n_components": 3}


def test_reading_changes_nothing():
    """No method but `fit` and `partial_fit` writes on the estimator."""
    X = blobs(60)
    model = EMGaussianMixture(2, random_state=0).fit(X)
    state = state_of(model)
    for name in ("predict", "predict_proba", "transform", "score_samples", "score", "impute",
                 "bic", "aic", "icl"):  # fmt: skip
        getattr(model, name)(X)
    model.sample(3)
    model.marginal([0])
    model.conditional([0], [1.0])
    model.get_feature_names_out()
    repr(model)
    model._repr_html_()
    assert_same_state(model, state)


@pytest.mark.parametrize("kind", [EMGaussianMixture, BayesianMixtureSVI])
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_rows_of_features_are_tables_too(kind, library):
    X = np.random.default_rng(0).normal(size=(30, 2))
    X[3, 0] = np.nan
    frame = pd.DataFrame(X, columns=["u", "v"], index=pd.date_range("2024-01-01", periods=30))
    plain = kind(2, random_state=0, tol=1.0).fit(frame)
    model = clone(plain).set_output(transform=library).fit(frame)
    filled, drawn = model.impute(frame), model.sample(4)[0]
    for table, array in ((filled, plain.impute(frame)), (drawn, plain.sample(4)[0])):
        assert list(table.columns) == ["u", "v"]
        assert_array_equal(table.to_numpy(), array)
    if library == "pandas":
        assert filled.index.equals(frame.index)
    assert clone(model).fit(X).impute(X.tolist()).shape == (30, 2)  # a list has no index
