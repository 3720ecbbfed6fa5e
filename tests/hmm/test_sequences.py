"""Sequences as users have them: groups, lists, 3-D arrays; results come back as X came."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, KFold

from skvae import EMHiddenMarkov
from tests import hmm_oracles as oracles
from tests.hmm.problems import LENGTHS, groups_of, holes, known_model, rows_of
from tests.problems import assert_same_state, on_the_floor, run, state_of

PER_ROW = ("score_samples", "predict_proba", "transform", "predict")


@pytest.fixture
def model():
    return known_model()


@pytest.fixture
def X(model):
    return rows_of(model)


def frames(sequences, library):
    return [library(each, **_names(library)) for each in sequences]


def _names(library):
    return {"columns": ["a", "b"]} if library is pd.DataFrame else {"schema": ["a", "b"]}


def objects(sequences):
    out = np.empty(len(sequences), dtype=object)
    out[:] = sequences
    return out


LISTED = {
    "list of arrays": list,
    "tuple of arrays": tuple,
    "object array of arrays": objects,
    "list of lists": lambda s: [each.tolist() for each in s],
    "list of data frames": lambda s: [pd.DataFrame(each) for each in s],
    "list of data frames with names": lambda s: frames(s, pd.DataFrame),
    "list of polars frames": lambda s: frames(s, pl.DataFrame),
    "list of arrays in every order": lambda s: [np.asfortranarray(each) for each in s],
    "read-only": lambda s: [_frozen(each) for each in s],
}


NAMED = ("list of data frames with names", "list of polars frames")


def _frozen(X):
    X = X.copy()
    X.flags.writeable = False
    return X


# Groups -------------------------------------------------------------------------------------------


def ids(kind, lengths=LENGTHS):
    index = groups_of(lengths)
    return {
        "int": index,
        "falling": -index,
        "str": np.array(list("qzabxm"))[index],
        "object": np.array(list("qzabxm"), dtype=object)[index],
        "float": index / 7,
        "bytes": np.array(list("qzabxm")).astype("S")[index],
        "list": index.tolist(),
        "series": pd.Series(np.array(list("qzabxm"))[index], index=np.arange(len(index)) * 3),
        "categorical": pd.Series(pd.Categorical(np.array(list("qzabxm"))[index])),
        "polars": pl.Series(index),
        "datetime": np.array("2020-01-01", dtype="datetime64[D]") + index,
    }[kind]


@pytest.mark.parametrize("kind", ["int", "falling", "str", "object", "float", "bytes", "list",
                                  "series", "categorical", "polars", "datetime"])  # fmt: skip
def test_groups_of_any_type_say_where_sequences_end(model, X, kind):
    expected = np.concatenate(
        [f.log_p for f in oracles.posteriors(model, oracles.split(X, LENGTHS))]
    )
    assert_allclose(model.score_samples(X, groups=ids(kind)), expected, rtol=1e-9)


def test_without_groups_all_rows_are_one_sequence(model, X):
    one = oracles.posteriors(model, [X])[0]
    assert_allclose(model.score_samples(X), one.log_p, rtol=1e-9)
    assert_allclose(model.score_samples(X, groups=np.zeros(len(X))), one.log_p, rtol=1e-9)
    assert_allclose(model.predict_proba(X), one.smoothed, rtol=1e-8, atol=1e-12)
    assert_array_equal(model.score_samples(X, groups=None), model.score_samples(X))


def test_each_row_may_be_a_sequence_of_its_own(model, X):
    alone = np.array([model.score_samples(row[None])[0] for row in X])
    assert_allclose(model.score_samples(X, groups=np.arange(len(X))), alone, rtol=1e-9)
    emission = oracles.log_emission(X, model.emission_)
    assert_allclose(alone, np.log(np.exp(emission) @ model.startprob_), rtol=1e-9)


METHODS = [
    *PER_ROW, "score", "bic", "aic", "decode", "sample_posterior", "fit", "partial_fit",
    "fit_transform",
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_group_that_comes_back_is_an_error_that_says_where(model, X, method):
    groups = ids("str")
    groups[20:23] = groups[0]  # of the first rows
    state = state_of(model)
    text = re.escape("comes back in row 20 after another group") + ".*must be neighbours"
    with pytest.raises(ValueError, match=rf"groups=.*{groups[0]}.* {text}"):
        getattr(model, method)(X, groups=groups)
    assert_same_state(model, state)


@pytest.mark.parametrize("method", [*METHODS, "forecast"])
def test_groups_of_another_length_are_an_error(model, X, method):
    call = getattr(model, method)
    arguments = (X, 2) if method == "forecast" else (X,)
    with pytest.raises(ValueError, match=r"inconsistent numbers of samples.*44, 43"):
        call(*arguments, groups=groups_of(LENGTHS)[:-1])


@pytest.mark.parametrize(
    "missing",
    [
        np.full(44, np.nan),
        np.r_[np.zeros(40), np.full(4, np.nan)],
        np.array(["a"] * 40 + [np.nan] * 4, dtype=object),
        np.array(["a"] * 40 + [None] * 4, dtype=object),
        np.array([1] * 40 + [None] * 4, dtype=object),
        pd.Series(["a"] * 40 + [None] * 4),
        pd.Series([1] * 40 + [None] * 4, dtype="Int64"),
        np.array(["2020-01-01"] * 40 + ["NaT"] * 4, dtype="datetime64[D]"),
    ],
    ids=["all", "floats", "strings", "none", "ints and none", "series", "Int64", "NaT"],
)
def test_groups_may_not_be_missing(model, X, missing):
    with pytest.raises(ValueError, match="groups contains NaN: must name the sequence of each row"):
        model.score(X, groups=missing)


def test_groups_of_two_dimensions_are_an_error(model, X):
    with pytest.raises(ValueError, match="1d array"):
        model.score(X, groups=np.zeros((len(X), 2)))


def test_groups_are_left_alone(model, X):
    groups = ids("int")
    groups.flags.writeable = False
    before = groups.copy()
    model.fit(X, groups=groups)
    model.predict(X, groups=groups)
    assert_array_equal(groups, before)


# Lists --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", LISTED)
@pytest.mark.parametrize("missing", [False, True])
def test_a_list_is_the_same_as_groups_and_comes_back_as_a_list(model, X, form, missing):
    X = holes(X) if missing else X
    sequences = LISTED[form](oracles.split(X, LENGTHS))
    groups = groups_of(LENGTHS)
    if form in NAMED:
        model.feature_names_in_ = np.array(["a", "b"], dtype=object)
        X = pd.DataFrame(X, columns=["a", "b"])
    for method in PER_ROW:
        flat, listed = getattr(model, method)(X, groups=groups), getattr(model, method)(sequences)
        assert type(listed) is list
        assert [len(each) for each in listed] == list(LENGTHS)
        assert all(type(each) is np.ndarray for each in listed)
        assert_allclose(np.concatenate(listed), flat, rtol=1e-12)
    for method in ("score", "bic", "aic"):
        flat = getattr(model, method)(X, groups=groups)
        assert_allclose(getattr(model, method)(sequences), flat, rtol=1e-12)
    log_prob, paths = model.decode(sequences)
    assert_allclose(log_prob, model.decode(X, groups=groups)[0], rtol=1e-12)
    assert_array_equal(np.concatenate(paths), model.decode(X, groups=groups)[1])
    draws = model.sample_posterior(sequences, 3)
    assert [each.shape for each in draws] == [(3, n) for n in LENGTHS]
    assert_array_equal(np.concatenate(draws, axis=1), model.sample_posterior(X, 3, groups=groups))


@pytest.mark.parametrize("form", LISTED)
def test_a_list_fits_as_groups_do(X, form):
    settings = {"random_state": 0}
    sequences = LISTED[form](oracles.split(X, LENGTHS))
    weight = np.repeat([1.0, 2.0, 0.5, 1.0, 3.0, 1.0], LENGTHS)
    left = run(EMHiddenMarkov(2, **settings), sequences, 4, sequence_weight=weight)
    right = run(
        EMHiddenMarkov(2, **settings), X, 4, groups=groups_of(LENGTHS), sequence_weight=weight
    )
    assert_allclose(left.lower_bounds_, right.lower_bounds_, rtol=1e-12)
    assert_allclose(left.means_, right.means_, rtol=1e-11)
    assert_allclose(left.transmat_, right.transmat_, rtol=1e-11)
    assert left.n_features_in_ == 2
    assert list(getattr(left, "feature_names_in_", [])) == (["a", "b"] if form in NAMED else [])
    right.partial_fit(X, groups=groups_of(LENGTHS))
    assert_allclose(left.partial_fit(sequences).means_, right.means_, rtol=1e-10)
    posterior = EMHiddenMarkov(2, **settings).fit_transform(sequences)
    assert [each.shape for each in posterior] == [(n, 2) for n in LENGTHS]


def test_an_array_of_three_dimensions_is_a_list_of_equal_sequences(model):
    cube = rows_of(model, [9] * 5).reshape(5, 9, 2)
    for form in (cube, np.asfortranarray(cube), cube.tolist(), list(cube), cube[:, ::-1][:, ::-1]):
        for method in PER_ROW:
            listed = getattr(model, method)(form)
            assert type(listed) is list
            expected = getattr(model, method)(cube.reshape(45, 2), groups=groups_of([9] * 5))
            assert_array_equal(np.concatenate(listed), expected)
    one = run(EMHiddenMarkov(2, random_state=0), cube, 3)
    two = run(EMHiddenMarkov(2, random_state=0), cube.reshape(45, 2), 3, groups=groups_of([9] * 5))
    assert_array_equal(one.means_, two.means_)


def test_a_list_of_one_is_a_list(model, X):
    for method in PER_ROW:
        (listed,) = getattr(model, method)([X])
        assert_array_equal(listed, getattr(model, method)(X))
    (forecast,) = model.forecast([X], 2)
    assert_array_equal(forecast.mean, model.forecast(X, 2).mean)
    (draws,) = model.sample_posterior([X], 2)
    assert draws.shape == (2, len(X))


def test_masked_values_in_a_list_are_missing(model, X):
    gaps = holes(X)
    masked = np.ma.masked_invalid(gaps)
    masked.data[masked.mask] = 1e3  # masked values must not be used
    expected = model.score_samples(gaps, groups=groups_of(LENGTHS))
    assert_allclose(model.score_samples(masked, groups=groups_of(LENGTHS)), expected)
    cuts = np.cumsum(LENGTHS)[:-1]
    sequences = [masked[a:b] for a, b in zip([0, *cuts], [*cuts, len(X)], strict=True)]
    assert_allclose(np.concatenate(model.score_samples(sequences)), expected)


def test_float32_sequences_give_float32(model, X):
    sequences = [each.astype(np.float32) for each in oracles.split(X, LENGTHS)]
    for method in ("score_samples", "predict_proba"):
        assert {each.dtype for each in getattr(model, method)(sequences)} == {np.dtype("f4")}


@pytest.mark.parametrize("order", [[0, 1], [1, 0]])
def test_frames_with_whole_numbers_beside_fractions(model, library_frames, order):
    """A sequence that happens to hold whole numbers is as good as any."""
    sequences = [library_frames[i] for i in order]
    if hasattr(sequences[0], "columns"):
        model.feature_names_in_ = np.array(["a", "b"], dtype=object)
    found = np.concatenate(model.score_samples(sequences))
    flat = np.concatenate([np.asarray(each, dtype=float) for each in sequences])
    vars(model).pop("feature_names_in_", None)
    assert_allclose(found, model.score_samples(flat, groups=[0, 0, 1, 1]))


@pytest.fixture(params=["pandas", "polars", "numpy"])
def library_frames(request):
    make = {
        "pandas": lambda rows: pd.DataFrame(rows, columns=["a", "b"]),
        "polars": lambda rows: pl.DataFrame(rows, schema=["a", "b"], orient="row"),
        "numpy": np.array,
    }[request.param]
    return [make([[0.5, 1.5], [1.0, 0.25]]), make([[1, 2], [0, 1]])]


BAD_LISTS = {
    "an empty sequence": (lambda s: [s[0], s[1][:0], s[2]], r"X\[1\] is empty: each sequence must"),
    "an empty first sequence": (lambda s: [s[0][:0], s[1]], r"X\[0\] is empty: each sequence must"),
    "unequal widths": (
        lambda s: [s[0], s[2][:, :1]],
        r"X\[1\] has 1 features, X\[0\] has 2: all sequences must have the same",
    ),
    "a sequence of one dimension": (
        lambda s: [s[0], s[1][0]],
        r"X\[1\] has 1 dimensions: each sequence must have shape",
    ),
    "four dimensions": (lambda s: [[s[0]], [s[1]]], "X has 4 dimensions: must be rows, or a list"),
    "names beside no names": (
        lambda s: [pd.DataFrame(s[0], columns=["a", "b"]), s[1]],
        r"X\[1\] has the columns None, X\[0\] has \['a', 'b'\]: must be the same",
    ),
    "no names beside names": (
        lambda s: [s[1], pd.DataFrame(s[0], columns=["a", "b"])],
        r"X\[1\] has the columns \['a', 'b'\], X\[0\] has None: must be the same",
    ),
    "other names": (
        lambda s: [pd.DataFrame(s[0], columns=["a", "b"]), pd.DataFrame(s[2], columns=["b", "a"])],
        r"X\[1\] has the columns \['b', 'a'\], X\[0\] has \['a', 'b'\]: must be the same",
    ),
    "an infinity": (lambda s: [s[0], np.full((3, 2), np.inf)], "infinity"),
    "words": (lambda s: [s[0], np.array([["a", "b"]])], "(?i)could not convert|dtype|string"),
    "another width than in fit": (lambda s: [each[:, :1] for each in s], "1 features.*expecting 2"),
}


@pytest.mark.parametrize("problem", BAD_LISTS)
@pytest.mark.parametrize("method", [*PER_ROW, "score", "partial_fit", "decode"])
def test_bad_lists_are_a_clear_error_and_change_nothing(model, X, problem, method):
    make, match = BAD_LISTS[problem]
    sequences = make(oracles.split(X, LENGTHS))
    state = state_of(model)
    with pytest.raises(ValueError, match=match):
        getattr(model, method)(sequences)
    assert_same_state(model, state)


@pytest.mark.parametrize("problem", [name for name in BAD_LISTS if "fit" not in name])
def test_bad_lists_cannot_be_fitted(X, problem):
    make, match = BAD_LISTS[problem]
    with pytest.raises(ValueError, match=match):
        EMHiddenMarkov(1).fit(make(oracles.split(X, LENGTHS)))


@pytest.mark.parametrize("method", METHODS)
def test_groups_beside_a_list_are_an_error(model, X, method):
    sequences = oracles.split(X, LENGTHS)
    with pytest.raises(ValueError, match="groups is given and X is a list of sequences: give one"):
        getattr(model, method)(sequences, groups=groups_of(LENGTHS))
    cube = X.reshape(2, 22, 2)
    with pytest.raises(ValueError, match="groups is given and X is a list of sequences"):
        getattr(model, method)(cube, groups=groups_of(LENGTHS))


def test_an_empty_list_is_an_error(model):
    for rows in ([], np.empty((0, 2)), np.empty((0, 3, 2)), np.empty((2, 0, 2))):
        with pytest.raises(ValueError, match=r"empty|0 sample|1D array|Found array"):
            model.score(rows)
        with pytest.raises(ValueError, match=r"empty|0 sample|1D array|Found array"):
            EMHiddenMarkov(1).fit(rows)


def test_k_best_takes_one_sequence(model, X):
    log_probs, paths = model.k_best([X], 2)
    assert_array_equal(paths, model.k_best(X, 2)[1])
    assert_array_equal(log_probs, model.k_best(X, 2)[0])
    with pytest.raises(ValueError, match="k_best takes one sequence: X holds 6 of them"):
        model.k_best(oracles.split(X, LENGTHS), 2)


# Weights ------------------------------------------------------------------------------------------


def test_weights_must_be_one_number_within_a_sequence(X):
    weight = np.repeat(np.arange(1.0, 7.0), LENGTHS)
    weight[10] = 9.0
    text = r"sequence_weight is 9.0 in row 10 and 3.0 where its sequence begins: must be one number"
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=text):
            getattr(EMHiddenMarkov(2), method)(X, groups=groups_of(LENGTHS), sequence_weight=weight)
        with pytest.raises(ValueError, match=text):
            getattr(EMHiddenMarkov(2), method)(oracles.split(X, LENGTHS), sequence_weight=weight)


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (np.full(44, -1.0), "sequence_weight has a negative entry -1.0: must be >= 0"),
        (np.zeros(44), "sequence_weight.* at least one"),
        (np.full(44, np.nan), "sequence_weight contains NaN"),
        (np.ones(43), r"sequence_weight.shape == \(43,\), expected \(44,\)"),
        (np.full(44, 1e300), "sequence_weight has the largest entry"),
    ],
)
def test_bad_weights_are_a_clear_error(X, weight, match):
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=match):
            getattr(EMHiddenMarkov(2), method)(X, groups=groups_of(LENGTHS), sequence_weight=weight)


# Lists in searches, and of one feature ------------------------------------------------------------


def ragged(lengths=(30, 25, 40, 35, 20, 30)):
    truth = known_model("poisson", 2, 1)
    return [truth.sample(n, random_state=s)[0] for s, n in enumerate(lengths)]


def test_each_sequence_of_a_list_may_have_one_weight():
    sequences, weight = ragged(), np.array([1.0, 2.0, 0.0, 1.0, 3.0, 0.5])
    by_row = np.repeat(weight, [len(x) for x in sequences])
    one, two = (EMHiddenMarkov(2, emission="poisson", random_state=0) for _ in range(2))
    one.fit(sequences, sequence_weight=weight).partial_fit(sequences, sequence_weight=weight)
    two.fit(sequences, sequence_weight=by_row).partial_fit(sequences, sequence_weight=by_row)
    assert_array_equal(one.emission_.rates_, two.emission_.rates_)
    scores = [m.score(sequences, sample_weight=w) for m, w in ((one, weight), (one, by_row))]
    assert scores[0] == scores[1]
    with pytest.raises(ValueError, match="sequence_weight"):
        one.fit(sequences, sequence_weight=weight[:-1])


@pytest.mark.parametrize("routing", [False, True])
def test_a_search_over_a_list_slices_weights_of_sequences(routing):
    sequences, weight = ragged(), np.array([1.0, 2.0, 0.5, 1.0, 3.0, 0.5])
    chain = EMHiddenMarkov(2, emission="poisson", random_state=0, tol=0.05)
    with sklearn.config_context(enable_metadata_routing=routing):
        search = GridSearchCV(chain, {"transmat_prior": [1.0, 5.0]}, cv=KFold(3))
        search.fit(sequences, sequence_weight=weight)
    train = [s for s in range(6) if s not in (0, 1)]
    part = clone(chain).fit([sequences[s] for s in train], sequence_weight=weight[train])
    expected = part.score(sequences[:2])
    assert_allclose(search.cv_results_["split0_test_score"][0], expected, rtol=1e-12)


@pytest.mark.parametrize("form", [list, tuple, lambda x: np.array(x, dtype=object)])
def test_arrays_of_different_lengths_are_sequences_of_one_feature(form):
    columns = ragged()
    flat = form([x[:, 0] for x in columns])
    one, two = (EMHiddenMarkov(2, emission="poisson", random_state=0) for _ in range(2))
    one.fit(flat)
    two.fit(columns)
    assert_array_equal(one.transmat_, two.transmat_)
    assert one.score(flat) == two.score(columns)
    for name in ("predict", "predict_proba", "transform", "score_samples"):
        for ours, theirs in zip(getattr(one, name)(flat), getattr(two, name)(columns), strict=True):
            assert_array_equal(ours, theirs)
    # A model of one feature takes arrays of equal lengths too, and one alone.
    assert one.score([x[:20, 0] for x in columns]) == two.score([x[:20] for x in columns])
    assert_array_equal(one.predict([flat[0]])[0], two.predict([columns[0]])[0])


@on_the_floor
def test_what_is_not_sequences_of_one_feature():
    with pytest.raises(ValueError, match=r"X\[1\] has shape \(1,\)"):
        EMHiddenMarkov(2).fit([[0.0, 1.0], [2.0], [1.0, 3.0]])  # a row that lacks a value
    assert EMHiddenMarkov(1).fit([np.arange(3.0), np.ones(3)]).n_features_in_ == 3
    with pytest.raises(ValueError, match="X has 1 features, but EMHiddenMarkov is expecting 2"):
        EMHiddenMarkov(1).fit(np.eye(2)).score([np.arange(3.0), np.ones(2)])
