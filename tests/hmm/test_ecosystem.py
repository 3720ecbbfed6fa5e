"""Pipelines, searches, metadata routing, output containers, copies and files."""

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
from sklearn.model_selection import GridSearchCV, GroupKFold, KFold, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import EMHiddenMarkov
from skvae.hmm import GaussianEmission
from tests import hmm_oracles as oracles
from tests.hmm.problems import FAMILIES, groups_of, holes, known_model, learner, rows_of
from tests.problems import run

LENGTHS = (40, 30, 1, 25, 50, 20, 33)
GROUPS = groups_of(LENGTHS)
PARTS = [np.flatnonzero(s == GROUPS) for s in range(len(LENGTHS))]


def rows(family="full"):
    return rows_of(known_model(family, seed=1, sticky=4.0), LENGTHS)


def through_joblib(model, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib")


def through_skops(model, tmp_path):
    skops.io.dump(model, tmp_path / "model.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    # ColumnEmission keeps its parts in a Bunch, which skops does not trust by itself.
    assert all(name.startswith("skvae.") or name.endswith("_bunch.Bunch") for name in unknown)
    return skops.io.load(tmp_path / "model.skops", trusted=unknown)


COPIES = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "copy": lambda model, _: copy.copy(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "joblib": through_joblib,
    "skops": through_skops,
}


@pytest.mark.parametrize(
    ("how", "family", "made_by"),
    [
        *((how, family, "fit") for how in ("pickle", "skops") for family in FAMILIES),
        *((how, "column", made_by) for how in COPIES for made_by in ("fit", "from_parameters")),
    ],
)
def test_copies_predict_identically(how, family, made_by, tmp_path):
    X = holes(rows(family))
    model = known_model(family) if made_by == "from_parameters" else learner(family, 2, tol=0.05)
    if made_by == "fit":
        model.fit(X, groups=GROUPS)
    other = COPIES[how](model, tmp_path)
    for method in ("score_samples", "predict_proba", "predict"):
        expected = getattr(model, method)(X, groups=GROUPS)
        assert_array_equal(getattr(other, method)(X, groups=GROUPS), expected)
    assert_array_equal(other.sample(5)[0], model.sample(5)[0])
    assert other.bic(X) == model.bic(X)
    assert repr(other) == repr(model)
    after = copy.deepcopy(model).partial_fit(X, groups=GROUPS)
    assert_array_equal(other.partial_fit(X, groups=GROUPS).transmat_, after.transmat_)


def test_a_pickle_holds_no_rows():
    small, large = (
        pickle.dumps(EMHiddenMarkov(2, tol=1.0).fit(rows_of(known_model(), [n])))
        for n in (100, 20_000)
    )
    assert len(large) < len(small) + 3000


@pytest.mark.parametrize("family", FAMILIES)
def test_clone_is_not_fitted_and_has_the_parameters(family):
    model = learner(family, acceleration="anderson", tol=0.1).fit(rows(family))
    other = clone(model)
    assert repr(other) == repr(model)
    assert not [name for name in vars(other) if name.endswith("_")]
    assert not [name for name in vars(other) if name.startswith("_")]


# Without routing ----------------------------------------------------------------------------------


def test_a_list_is_searched_with_plain_splitters_and_no_setting():
    """Each sequence is a sample: no fold cuts one, none is joined to another."""
    X = rows()
    sequences = oracles.split(X, LENGTHS)
    model = EMHiddenMarkov(random_state=0, max_iter=500)
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=KFold(3), error_score="raise")
    search.fit(sequences)
    for k in (1, 2):
        expected = []
        for train, test in KFold(3).split(sequences):
            fitted = clone(model).set_params(n_components=k).fit([sequences[s] for s in train])
            expected.append(fitted.score([sequences[s] for s in test]))
        found = [search.cv_results_[f"split{i}_test_score"][k - 1] for i in range(3)]
        assert_allclose(found, expected, rtol=1e-12)
    best = search.best_estimator_
    assert_array_equal(np.concatenate(search.predict(sequences)), best.predict(X, groups=GROUPS))
    assert_allclose(search.score(sequences), best.score(X, groups=GROUPS), rtol=1e-12)
    results = cross_validate(model, sequences, cv=KFold(3), error_score="raise")
    assert_allclose(results["test_score"], [
        search.cv_results_[f"split{i}_test_score"][0] for i in range(3)], rtol=1e-12)  # fmt: skip


def test_an_array_of_equal_sequences_is_searched_too():
    cube = rows_of(known_model(), [20] * 9).reshape(9, 20, 2)
    model = EMHiddenMarkov(2, random_state=0, max_iter=500)
    scores = cross_validate(model, cube, cv=KFold(3), error_score="raise")["test_score"]
    for score, (train, test) in zip(scores, KFold(3).split(cube), strict=True):
        assert_allclose(score, clone(model).fit(cube[train]).score(cube[test]), rtol=1e-12)


def test_without_routing_groups_go_to_the_splitter_alone():
    """As documented: the model then takes each fold for one long sequence."""
    X = rows()
    model = EMHiddenMarkov(2, random_state=0, max_iter=500)
    search = GridSearchCV(model, {"n_components": [2]}, cv=GroupKFold(3), error_score="raise")
    search.fit(X, groups=GROUPS)
    expected = [
        clone(model).fit(X[train]).score(X[test])
        for train, test in GroupKFold(3).split(X, groups=GROUPS)
    ]
    found = [search.cv_results_[f"split{i}_test_score"][0] for i in range(3)]
    assert_allclose(found, expected, rtol=1e-12)


def test_groups_reach_the_last_step_of_a_pipeline_by_name():
    X = rows()
    pipeline = make_pipeline(StandardScaler(), EMHiddenMarkov(2, random_state=0, max_iter=500))
    pipeline.fit(X, emhiddenmarkov__groups=GROUPS)
    Z = StandardScaler().fit_transform(X)
    expected = EMHiddenMarkov(2, random_state=0, max_iter=500).fit(Z, groups=GROUPS)
    assert_allclose(pipeline[-1].means_, expected.means_, rtol=1e-12)
    assert_array_equal(pipeline.predict(X, groups=GROUPS), expected.predict(Z, groups=GROUPS))
    assert_allclose(pipeline.score_samples(X), expected.score_samples(Z))


def test_search_over_the_emission_s_parameters():
    X = rows()
    grid = {"emission__covariance_type": ["full", "diag"], "n_components": [1, 2]}
    model = EMHiddenMarkov(emission=GaussianEmission(), random_state=0, max_iter=500)
    search = GridSearchCV(model, grid, cv=KFold(2), error_score="raise")
    search.fit(oracles.split(X, LENGTHS))
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert model.emission.covariance_type == "full"


def test_search_in_parallel_processes_is_the_same():
    sequences = oracles.split(rows(), LENGTHS)
    model = EMHiddenMarkov(random_state=0, max_iter=500)
    search = GridSearchCV(model, {"n_components": [1, 2]}, cv=KFold(2))
    serial = clone(search).fit(sequences).cv_results_["mean_test_score"]
    parallel = clone(search).set_params(n_jobs=2).fit(sequences).cv_results_["mean_test_score"]
    assert_allclose(parallel, serial, rtol=1e-12)


# With routing -------------------------------------------------------------------------------------


@pytest.fixture
def routing():
    with config_context(enable_metadata_routing=True):
        yield


def fold_scores(model, X, groups, weight=None, scale=False):
    """Test scores of GroupKFold(3), made by hand."""
    out = []
    for train, test in GroupKFold(3).split(X, groups=groups):
        Z = StandardScaler().fit(X[train]).transform(X) if scale else X
        arguments = {} if weight is None else {"sequence_weight": weight[train]}
        fitted = clone(model).fit(Z[train], groups=groups[train], **arguments)
        out.append(fitted.score(Z[test], groups=groups[test]))
    return out


def test_requests_are_made_at_class_level():
    requests = EMHiddenMarkov().get_metadata_routing()
    for method in ("fit", "partial_fit", "score", "predict", "predict_proba", "transform"):
        assert getattr(requests, method).requests["groups"] is True, method
    for method in ("fit", "partial_fit"):
        assert getattr(requests, method).requests["sequence_weight"] is True
        assert "sample_weight" not in getattr(requests, method).requests
    assert requests.score.requests["sample_weight"] is True


@pytest.mark.usefixtures("routing")
def test_routing_slices_groups_and_weights_in_a_search():
    X = rows()
    weight = np.repeat([1.0, 2.0, 0.5, 3.0, 1.0, 0.2, 1.0], LENGTHS)
    model = EMHiddenMarkov(2, random_state=0, max_iter=500)
    search = GridSearchCV(model, {"n_components": [2]}, cv=GroupKFold(3), error_score="raise")
    search.fit(X, groups=GROUPS)
    found = [search.cv_results_[f"split{i}_test_score"][0] for i in range(3)]
    assert_allclose(found, fold_scores(model, X, GROUPS), rtol=1e-12)
    assert_allclose(search.best_estimator_.means_, model.fit(X, groups=GROUPS).means_)
    assert_allclose(search.score(X, groups=GROUPS), model.score(X, groups=GROUPS), rtol=1e-12)
    search.fit(X, groups=GROUPS, sequence_weight=weight)
    found = [search.cv_results_[f"split{i}_test_score"][0] for i in range(3)]
    assert_allclose(found, fold_scores(model, X, GROUPS, weight), rtol=1e-12)


@pytest.mark.usefixtures("routing")
def test_routing_slices_groups_in_cross_validation():
    X = rows()
    model = EMHiddenMarkov(2, random_state=0, max_iter=500)
    results = cross_validate(
        model, X, cv=GroupKFold(3), params={"groups": GROUPS}, error_score="raise"
    )
    assert_allclose(results["test_score"], fold_scores(model, X, GROUPS), rtol=1e-12)


@pytest.mark.usefixtures("routing")
def test_routing_brings_groups_through_a_pipeline():
    X = rows()
    model = EMHiddenMarkov(2, random_state=0, max_iter=500)
    pipeline = make_pipeline(StandardScaler(), clone(model)).fit(X, groups=GROUPS)
    Z = StandardScaler().fit_transform(X)
    expected = clone(model).fit(Z, groups=GROUPS)
    assert_array_equal(pipeline[-1].means_, expected.means_)
    for method in ("predict", "predict_proba", "transform"):
        found = getattr(pipeline, method)(X, groups=GROUPS)
        assert_array_equal(found, getattr(expected, method)(Z, groups=GROUPS))
    assert_allclose(pipeline.score(X, groups=GROUPS), expected.score(Z, groups=GROUPS))
    posterior = make_pipeline(StandardScaler(), clone(model)).fit_transform(X, groups=GROUPS)
    assert_allclose(posterior, expected.transform(Z, groups=GROUPS))
    scores = cross_validate(
        pipeline, X, cv=GroupKFold(3), params={"groups": GROUPS}, error_score="raise"
    )["test_score"]
    assert_allclose(scores, fold_scores(model, X, GROUPS, scale=True), rtol=1e-10)
    search = GridSearchCV(
        pipeline, {"emhiddenmarkov__n_components": [2]}, cv=GroupKFold(3), error_score="raise"
    ).fit(X, groups=GROUPS)
    assert_allclose(search.cv_results_["mean_test_score"][0], np.mean(scores), rtol=1e-12)


@pytest.mark.usefixtures("routing")
def test_a_chain_may_stand_before_another_step():
    X = rows()
    chain = EMHiddenMarkov(3, random_state=0, max_iter=500)
    pipeline = make_pipeline(chain, StandardScaler()).fit(X, groups=GROUPS)
    states = clone(chain).fit(X, groups=GROUPS).transform(X, groups=GROUPS)
    found = pipeline.transform(X, groups=GROUPS)
    assert_allclose(found, StandardScaler().fit_transform(states), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("routing")
def test_routing_without_groups_needs_no_request():
    X = rows()
    model = EMHiddenMarkov(2, random_state=0, max_iter=500)
    scaled = StandardScaler().fit_transform(X)
    pipeline = make_pipeline(StandardScaler(), clone(model)).fit(X)
    assert pipeline.score(X) == model.fit(scaled).score(scaled)
    weight = np.random.default_rng(0).uniform(size=len(X))
    found = pipeline.score(X, sample_weight=weight)
    assert_allclose(found, model.score(scaled, sample_weight=weight))


# Containers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_output_containers(library, frame):
    X = rows()
    model = EMHiddenMarkov(2, random_state=0, max_iter=500).fit(X)
    expected = model.transform(X, groups=GROUPS)
    out = model.set_output(transform=library).transform(X, groups=GROUPS)
    assert isinstance(out, frame)
    assert list(out.columns) == ["emhiddenmarkov0", "emhiddenmarkov1"]
    assert_array_equal(out.to_numpy(), expected)
    assert isinstance(model.predict_proba(X), np.ndarray)
    assert isinstance(model.fit_transform(X), frame)
    with config_context(transform_output=library):
        pipeline = make_pipeline(StandardScaler(), EMHiddenMarkov(2, random_state=0, max_iter=500))
        assert list(pipeline.fit_transform(X).columns) == list(pipeline.get_feature_names_out())


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_output_containers_of_lists(library):
    """A list comes back as a list, with every setting of the container."""
    sequences = oracles.split(rows(), LENGTHS)
    model = EMHiddenMarkov(2, random_state=0, max_iter=500).fit(sequences)
    expected = model.transform(sequences)
    out = model.set_output(transform=library).transform(sequences)
    assert type(out) is list
    for found, each in zip(out, expected, strict=True):
        assert_array_equal(np.asarray(found), each)


def test_index_of_a_data_frame_is_kept():
    X = pd.DataFrame(rows(), columns=["a", "b"], index=np.arange(len(GROUPS)) * 7)
    model = EMHiddenMarkov(2, random_state=0, max_iter=500).set_output(transform="pandas").fit(X)
    assert_array_equal(model.transform(X).index, X.index)
    groups = pd.Series(GROUPS, index=np.arange(len(GROUPS))[::-1])  # its own index is not used
    assert_array_equal(model.predict(X, groups=groups), model.predict(X, groups=GROUPS))


def test_methods_take_groups_by_name_only():
    X = rows()
    model = run(EMHiddenMarkov(2, random_state=0), X, 1)
    for method in ("fit", "partial_fit"):
        with pytest.raises(TypeError):
            getattr(model, method)(X, None, GROUPS)
    for method in ("predict", "predict_proba", "transform", "score_samples", "decode", "bic"):
        with pytest.raises(TypeError):
            getattr(model, method)(X, GROUPS)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_rows_of_features_are_tables_too(library):
    days = pd.date_range("2024-01-01", periods=40, freq="h", tz="Europe/Berlin")
    X = np.random.default_rng(0).normal(size=(40, 2))
    X[3, 0] = np.nan
    plain = EMHiddenMarkov(2, random_state=0, tol=1.0)
    frame = pd.DataFrame(X, columns=["u", "v"], index=days)
    model = clone(plain).set_output(transform=library).fit(frame)
    plain.fit(frame)
    parts = [frame[:9], frame[9:]]
    tables = {
        "impute": (model.impute(frame), plain.impute(frame), days),
        "forecast": (model.forecast(frame, 3).mean, plain.forecast(frame, 3).mean, None),
        "sample": (model.sample(3)[0], plain.sample(3)[0], pd.RangeIndex(3)),
        "prefix": (model.sample(3, prefix=frame)[0], plain.sample(3, prefix=frame)[0], None),
        "list": (model.impute(parts)[1], plain.impute(parts)[1], days[9:]),
    }
    after = pd.date_range(days[-1], periods=4, freq="h")[1:]
    for table, array, index in tables.values():
        assert isinstance(array, np.ndarray)
        assert list(table.columns) == ["u", "v"]
        assert_array_equal(table.to_numpy(), array)
        if library == "pandas":
            assert table.index.equals(after if index is None else index)
    forecast, other = model.forecast(frame, 3), plain.forecast(frame, 3)
    assert_array_equal(forecast.interval(0.8), other.interval(0.8))
    assert_array_equal(forecast.sample(2, random_state=0), other.sample(2, random_state=0))
    assert clone(model).fit(X).impute(X.tolist()).shape == (40, 2)  # a list has no index
