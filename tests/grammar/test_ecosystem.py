"""Copies, files, searches, metadata routing, comparisons, containers, Dask arrays, threads."""

import copy
import pickle
import threading

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

from skvae import EMContextFreeGrammar, EMHiddenMarkov, compare
from skvae.hmm import CategoricalEmission
from tests.grammar.problems import fitting, known_model, palindromes, sentences_of
from tests.hmm.problems import groups_of
from tests.problems import run

STRINGS, BRACKETS = palindromes(24, longest=4)
LENGTHS = [len(x) for x in STRINGS]
GROUPS = groups_of(LENGTHS)
ROWS = np.concatenate(STRINGS)
TEXT = "S -> A S [0.5] | 'a' [0.2] | 'b' [0.3]\nA -> 'a' [0.5] | S [0.5]"


def through_skops(model, tmp_path):
    skops.io.dump(model, tmp_path / "model.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    assert all(name.startswith("skvae.") for name in unknown)
    return skops.io.load(tmp_path / "model.skops", trusted=unknown)


def through_joblib(model, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib")


COPIES = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "copy": lambda model, _: copy.copy(model),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "joblib": through_joblib,
    "skops": through_skops,
}
MODELS = {
    "symbols": lambda: (run(fitting(3), STRINGS, 5, brackets=BRACKETS), STRINGS),
    "vectors": lambda: (known_model("full"), sentences_of(known_model("full"), 10)),
    "words": lambda: (EMContextFreeGrammar.from_rules(TEXT), [["a", "b"], ["b"], ["a", "a"]]),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("kind", MODELS)
def test_copies_predict_identically(how, kind, tmp_path):
    model, X = MODELS[kind]()
    model.set_params(random_state=0)
    other = COPIES[how](model, tmp_path)
    for method in ("score_samples", "predict_proba", "predict"):
        found = zip(getattr(other, method)(X), getattr(model, method)(X), strict=True)
        for ours, theirs in found:
            assert_array_equal(ours, theirs)
    assert other.parse(X)[0] == model.parse(X)[0]
    assert_array_equal(other.log_likelihood(X), model.log_likelihood(X))
    assert_array_equal(other.sample(5)[0], model.sample(5)[0])
    assert other.bic(X) == model.bic(X)
    assert repr(other) == repr(model)
    after = copy.deepcopy(model).partial_fit(X)
    assert_array_equal(other.partial_fit(X).rules_, after.rules_)


def test_a_pickle_holds_no_rows():
    small, large = (pickle.dumps(run(fitting(2), STRINGS[:n] * 4, 1)) for n in (2, 24))
    assert len(large) < len(small) + 1000


# Searches -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", [False, True])
def test_a_list_is_searched_with_plain_splitters_and_its_brackets_go_with_it(routing):
    model, weight = fitting(tol=0.05), np.linspace(0.5, 2.0, len(STRINGS))
    with config_context(enable_metadata_routing=routing):
        search = GridSearchCV(model, {"n_components": [1, 3]}, cv=KFold(3), error_score="raise")
        search.fit(STRINGS, brackets=BRACKETS, sequence_weight=weight)
    for k in (1, 3):
        for i, (train, test) in enumerate(KFold(3).split(STRINGS)):
            fitted = clone(model).set_params(n_components=k)
            fitted.fit(
                [STRINGS[s] for s in train],
                brackets=[BRACKETS[s] for s in train],
                sequence_weight=weight[train],
            )
            expected = fitted.score([STRINGS[s] for s in test])
            found = search.cv_results_[f"split{i}_test_score"][(1, 3).index(k)]
            assert_allclose(found, expected, rtol=1e-12)


def test_a_search_over_parameters_of_the_emission():
    model = fitting(2, emission=CategoricalEmission(2), tol=0.05)
    grid = {"emission__prior": [1.0, 2.0], "rules_prior": [1.0, 1.5]}
    search = GridSearchCV(model, grid, cv=KFold(2), error_score="raise").fit(STRINGS)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert model.emission.prior == 1.0


def test_requests_are_made_at_class_level():
    requests = EMContextFreeGrammar().get_metadata_routing()
    for method in ("fit", "partial_fit", "score", "predict", "predict_proba", "transform"):
        assert getattr(requests, method).requests["groups"] is True, method
    for method in ("fit", "partial_fit"):
        assert getattr(requests, method).requests["brackets"] is True
        assert getattr(requests, method).requests["sequence_weight"] is True
        assert "sample_weight" not in getattr(requests, method).requests
    assert requests.score.requests["sample_weight"] is True


def test_routing_slices_groups_and_weights():
    weight = np.repeat(np.linspace(0.5, 2.0, len(STRINGS)), LENGTHS)
    model = fitting(2, tol=0.05)
    with config_context(enable_metadata_routing=True):
        params = {"groups": GROUPS, "sequence_weight": weight}
        found = cross_validate(model, ROWS, cv=GroupKFold(3), params=params, error_score="raise")
        pipeline = make_pipeline("passthrough", clone(model)).fit(ROWS, groups=GROUPS)
        labels = pipeline.predict(ROWS, groups=GROUPS)
    for i, (train, test) in enumerate(GroupKFold(3).split(ROWS, groups=GROUPS)):
        given = {"groups": GROUPS[train], "sequence_weight": weight[train]}
        fitted = clone(model).fit(ROWS[train], **given)
        expected = fitted.score(ROWS[test], groups=GROUPS[test])
        assert_allclose(found["test_score"][i], expected, rtol=1e-12)
    assert_array_equal(labels, clone(model).fit(ROWS, groups=GROUPS).predict(ROWS, groups=GROUPS))


def test_a_pipeline_of_vectors():
    sentences = sentences_of(known_model("full", seed=2), 20, longest=5)
    X, groups = np.concatenate(sentences), groups_of([len(x) for x in sentences])
    pipeline = make_pipeline(StandardScaler(), fitting(2, emission="gaussian", tol=0.05))
    pipeline.fit(X, emcontextfreegrammar__groups=groups)
    Z = StandardScaler().fit_transform(X)
    expected = fitting(2, emission="gaussian", tol=0.05).fit(Z, groups=groups)
    assert_allclose(pipeline[-1].lower_bounds_, expected.lower_bounds_)
    assert_array_equal(pipeline.predict(X, groups=groups), expected.predict(Z, groups=groups))


def test_a_grammar_and_a_chain_are_compared_on_the_same_sentences():
    """Both scores are conditional on the lengths, so that their nats a row can be compared."""
    models = {
        "chain": EMHiddenMarkov(2, emission="categorical", random_state=0, tol=0.05),
        "grammar": fitting(3, tol=0.01),
    }
    result = compare(models, STRINGS, cv=KFold(3))
    train, test = next(iter(KFold(3).split(STRINGS)))
    for column, model in zip(result.log_likelihoods.T, models.values(), strict=True):
        fitted = clone(model).fit([STRINGS[s] for s in train])
        expected = np.concatenate(fitted.score_samples([STRINGS[s] for s in test]))
        assert_allclose(column[: len(expected)], expected, rtol=1e-9)


# Containers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_output_containers(library, frame):
    model = run(fitting(2), STRINGS, 2)
    expected = model.transform(ROWS, groups=GROUPS)
    model.set_output(transform=library)
    out = model.transform(ROWS, groups=GROUPS)
    assert isinstance(out, frame)
    assert list(out.columns) == ["emcontextfreegrammar0", "emcontextfreegrammar1"]
    assert_array_equal(out.to_numpy(), expected)
    assert type(model.transform(STRINGS)) is list
    index = pd.Index(np.arange(len(ROWS)) * 7)
    if library == "pandas":
        named = model.transform(pd.DataFrame(ROWS, index=index), groups=GROUPS)
        assert_array_equal(named.index, index)


def test_dask_arrays_are_read_into_memory():
    da = pytest.importorskip("dask.array")
    X, groups = da.from_array(ROWS, chunks=(17, 1)), da.from_array(GROUPS, chunks=11)
    weight = np.repeat(np.linspace(1, 2, len(STRINGS)), LENGTHS)
    given = {"groups": GROUPS, "sequence_weight": weight}
    model = run(fitting(2), ROWS, 3, **given)
    other = run(fitting(2), X, 3, groups=groups, sequence_weight=da.from_array(weight, chunks=17))
    assert other.lower_bounds_ == model.lower_bounds_
    assert_array_equal(
        other.score_samples(X, groups=groups), model.score_samples(ROWS, groups=GROUPS)
    )
    listed = [da.from_array(x, chunks=2) for x in STRINGS]
    assert_array_equal(model.log_likelihood(listed), model.log_likelihood(STRINGS))


def test_lengths_in_y_are_warned_of():
    model = run(fitting(1), STRINGS, 1)
    with pytest.warns(UserWarning, match="y is ignored, and X is one sequence"):
        model.score(ROWS, LENGTHS)


# Threads ------------------------------------------------------------------------------------------


def test_several_threads_may_call_one_model():
    model = run(fitting(3), STRINGS, 3)
    expected, found = model.score_samples(STRINGS), [None] * 4

    def call(i):
        found[i] = model.score_samples(STRINGS)

    threads = [threading.Thread(target=call, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in found:
        assert_array_equal(np.concatenate(each), np.concatenate(expected))
