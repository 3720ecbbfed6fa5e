"""skvae.compare and the Comparison it returns."""

import sys
import time
from dataclasses import replace
from xml.etree import ElementTree as ET

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import BaseEstimator
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    RandomizedSearchCV,
    RepeatedKFold,
    ShuffleSplit,
    TimeSeriesSplit,
)
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import EMGaussianMixture, compare
from skvae.comparison import Comparison


class Table(BaseEstimator):
    """A density with a given log-density of each row: row i of X is [i]."""

    def __init__(self, values):
        self.values = values

    def fit(self, X, y=None):
        self.n_features_in_ = 1
        return self

    def score_samples(self, X):
        return np.asarray(self.values, dtype=float)[np.asarray(X)[:, 0].astype(int)]


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(60, 2))


@pytest.fixture
def rows():
    return np.arange(12.0)[:, None]


def test_each_row_is_scored_by_the_model_that_did_not_see_it(X):
    model, cv = GaussianMixture(2, random_state=0), KFold(4)
    comparison = compare({"mixture": model}, X, cv=cv)
    expected = np.empty(len(X))
    for train, test in cv.split(X):
        expected[test] = model.fit(X[train]).score_samples(X[test])
    assert_array_equal(comparison.log_likelihoods[:, 0], expected)
    assert comparison.means == pytest.approx(expected.mean())
    assert comparison.n_splits == 4


def test_differences_and_standard_errors_are_those_of_paired_rows(rows):
    rng = np.random.default_rng(1)
    good, bad = rng.normal(size=12), rng.normal(size=12) - 3
    comparison = compare({"bad": Table(bad), "good": Table(good)}, rows, cv=3)
    assert comparison.names == ("bad", "good")
    assert comparison.best == "good"
    assert_allclose(comparison.means, [bad.mean(), good.mean()])
    assert_allclose(
        comparison.standard_errors, [bad.std(ddof=1) / 12**0.5, good.std(ddof=1) / 12**0.5]
    )
    assert_allclose(comparison.differences, [(bad - good).mean(), 0])
    assert_allclose(comparison.difference_standard_errors, [(bad - good).std(ddof=1) / 12**0.5, 0])
    differences, errors = comparison.difference_to("bad")
    assert_allclose(differences, [0, (good - bad).mean()])
    assert_allclose(errors, comparison.difference_standard_errors[::-1])


def test_pairing_takes_out_what_is_hard_for_all(rows):
    """Rows differ by tens of nats, the models by a tenth in each: the difference is certain."""
    hard = np.linspace(-50, 0, 12)
    comparison = compare({"a": Table(hard), "b": Table(hard - 0.1)}, rows, cv=3)
    assert comparison.standard_errors.min() > 4
    assert_allclose(comparison.differences, [0, -0.1])
    assert_allclose(comparison.difference_standard_errors, 0, atol=1e-14)


def test_standard_errors_are_clustered_by_group(rows):
    """Rows that repeat each other within a group count once: the error is that of group means."""
    groups = np.repeat(np.arange(4), 3)
    means = np.array([1.0, 2.0, 4.0, 9.0])
    comparison = compare({"a": Table(means[groups])}, rows, cv=GroupKFold(2), groups=groups)
    assert_allclose(comparison.standard_errors, means.std(ddof=1) / 2)
    alone = compare({"a": Table(means[groups])}, rows, cv=2, groups=np.arange(12))
    assert_allclose(alone.standard_errors, means[groups].std(ddof=1) / 12**0.5)


def test_unequal_groups_against_the_definition():
    rng = np.random.default_rng(2)
    groups = np.repeat(["p", "q", "r"], [1, 4, 7])
    values = rng.normal(size=12)
    comparison = Comparison(("a",), values[:, None], groups, np.zeros(1), np.zeros(1), 3)
    deviations = values - values.mean()
    squares = sum(deviations[groups == g].sum() ** 2 for g in "pqr")
    assert_allclose(comparison.standard_errors, np.sqrt(3 / 2 * squares) / 12)


def test_one_group_or_one_row_has_no_standard_error():
    seconds = np.zeros(1)
    one_group = Comparison(("a",), np.arange(3.0)[:, None], np.zeros(3), seconds, seconds, 1)
    one_row = Comparison(("a",), np.ones((1, 1)), None, seconds, seconds, 1)
    assert np.isnan(one_group.standard_errors).all()
    assert np.isnan(one_row.standard_errors).all()


def test_a_row_of_density_zero(rows):
    values = np.zeros(12)
    values[[3, 8]] = -np.inf
    comparison = compare({"certain": Table(values), "vague": Table(np.full(12, -9.0))}, rows)
    assert comparison.best == "vague"
    assert_array_equal(comparison.means, [-np.inf, -9.0])
    assert_array_equal(comparison.differences, [-np.inf, 0.0])
    assert np.isnan(comparison.standard_errors[0])
    assert np.isnan(comparison.difference_standard_errors[0])
    assert "certain: density zero at 2 of 12 held-out rows" in repr(comparison)


def test_when_all_models_are_certain_and_wrong_the_fewest_impossible_rows_win(rows):
    once, twice = np.zeros(12), np.full(12, 5.0)
    once[0] = twice[0] = twice[1] = -np.inf
    comparison = compare({"twice": Table(twice), "once": Table(once)}, rows)
    assert comparison.best == "once"
    assert comparison.differences[1] == 0
    assert np.isnan(comparison.differences[0])  # both give row 0 density zero
    assert list(comparison.to_frame().index) == ["once", "twice"]


def test_rows_tested_often_count_once_with_their_mean(X):
    model, cv = KernelDensity(), RepeatedKFold(n_splits=3, n_repeats=4, random_state=0)
    comparison = compare({"kde": model}, X, cv=cv)
    total = np.zeros(len(X))
    for train, test in cv.split(X):
        total[test] += model.fit(X[train]).score_samples(X[test])
    assert_allclose(comparison.log_likelihoods[:, 0], total / 4)
    assert_allclose(comparison.standard_errors, (total / 4).std(ddof=1) / 60**0.5)


def test_rows_never_tested_count_nowhere(rows):
    values = np.arange(12.0)
    comparison = compare({"a": Table(values)}, rows, cv=TimeSeriesSplit(3), groups=None)
    assert_array_equal(comparison.log_likelihoods[:, 0], [np.nan] * 3 + [*range(3, 12)])
    assert comparison.means == pytest.approx(np.arange(3, 12).mean())
    assert "over the 9 tested of 12 rows in 3 folds" in repr(comparison)


def test_all_models_see_the_same_folds_of_a_splitter_that_shuffles(X):
    cv = ShuffleSplit(3, test_size=0.2, random_state=None)
    comparison = compare({"a": KernelDensity(), "b": KernelDensity()}, X, cv=cv)
    a, b = comparison.log_likelihoods.T
    assert_array_equal(a, b)
    assert np.isnan(a).any()


def test_an_iterable_of_splits_and_masks(rows):
    first = np.arange(12) < 5
    comparison = compare({"a": Table(np.arange(12))}, rows, cv=[(~first, first), (first, ~first)])
    assert_array_equal(comparison.log_likelihoods[:, 0], np.arange(12))


def test_models_are_cloned_and_never_fitted(X):
    model = GaussianMixture()
    compare({"a": model}, X)
    assert not hasattr(model, "means_")


def test_a_frozen_model_is_scored_as_it_is(X):
    model = KernelDensity().fit(X)
    comparison = compare({"fitted": FrozenEstimator(model)}, X)
    assert_allclose(comparison.log_likelihoods[:, 0], model.score_samples(X))


def test_data_frames_and_searches(X):
    frame = pd.DataFrame(X, columns=["u", "v"])
    search = GridSearchCV(KernelDensity(), {"bandwidth": [0.3, 1.0]})
    models = {"search": search, "mixture": EMGaussianMixture(random_state=0)}
    from_frame, from_array = compare(models, frame), compare(models, X)
    assert_allclose(from_frame.log_likelihoods, from_array.log_likelihoods)


def test_n_jobs_changes_nothing(X):
    models = {"a": GaussianMixture(2, random_state=0), "b": KernelDensity()}
    assert_array_equal(
        compare(models, X, n_jobs=2).log_likelihoods, compare(models, X).log_likelihoods
    )


# spaces


def test_densities_of_different_spaces_are_warned_about(X):
    models = {
        "scaled": make_pipeline(StandardScaler(), KernelDensity()),
        "raw": make_pipeline("passthrough", KernelDensity()),
        "search": GridSearchCV(make_pipeline(PCA(1), KernelDensity()), {}, cv=2),
    }
    message = (
        r"different spaces.*'scaled' after StandardScaler\(\); 'raw' on X itself; "
        r"'search' after PCA\(n_components=1\)"
    )
    with pytest.warns(UserWarning, match=message) as record:
        compare(models, X)
    assert record[0].filename == __file__


def test_densities_behind_the_same_transformers_are_not(X):
    models = {
        "a": make_pipeline(StandardScaler(), KernelDensity()),
        "b": make_pipeline(StandardScaler(), GaussianMixture()),
    }
    assert compare(models, X).means.shape == (2,)  # a warning would be an error


@pytest.mark.parametrize(
    ("grid", "searched"),
    [
        ({"pca__n_components": [1, 2], "kerneldensity__bandwidth": [1.0]}, "pca__n_components"),
        ([{"kerneldensity__bandwidth": [1.0]}, {"pca": ["passthrough"]}], "pca"),
        ({"steps": [[("kerneldensity", KernelDensity())]]}, "steps"),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_a_search_over_transformers_is_warned_about(grid, searched, nested, X):
    search = GridSearchCV(make_pipeline(PCA(2), KernelDensity()), grid, cv=2)
    if nested:  # the grid of a search around a pipeline within a pipeline
        search.estimator = make_pipeline("passthrough", search.estimator)
        grids = grid if isinstance(grid, list) else [grid]
        search.param_grid = [
            {f"pipeline__{name}": values for name, values in g.items()} for g in grids
        ]
    message = rf"models\['a'\] searches over its transformers \({searched}\)"
    with pytest.warns(UserWarning, match=message) as record:
        compare({"a": search}, X, cv=2)
    assert len(record) == 1
    assert record[0].filename == __file__


def test_a_random_search_and_a_search_in_a_search(X):
    pipeline = make_pipeline(PCA(2), KernelDensity())
    inner = RandomizedSearchCV(pipeline, {"kerneldensity__bandwidth": [1.0, 2.0]}, n_iter=1, cv=2)
    compare({"a": inner}, X, cv=2)  # over the density alone: a warning would be an error
    outer = GridSearchCV(inner, {"estimator__pca__whiten": [True]}, cv=2)
    with pytest.warns(UserWarning, match=r"transformers \(pca__whiten\)"):
        compare({"a": outer}, X, cv=2)


# errors


def test_a_class_is_no_model(X):
    with pytest.raises(ValueError, match=r"models\['b'\] is the class KernelDensity: pass an inst"):
        compare({"a": KernelDensity(), "b": KernelDensity}, X)


@pytest.mark.parametrize(
    ("scores", "dtype"), [(np.zeros(4) + 1j, "complex128"), (np.array(["-1.0"] * 4), "<U4")]
)
def test_scores_that_are_no_real_numbers(scores, dtype, rows):
    class Odd(Table):
        def score_samples(self, X):
            return self.values

    with pytest.raises(ValueError, match=rf"models\['odd'\] gave an array of dtype {dtype}; a"):
        compare({"odd": Odd(scores)}, rows, cv=3)


@pytest.mark.parametrize("nothing", [[], np.zeros(12, dtype=bool)], ids=["indices", "mask"])
def test_a_fold_that_tests_nothing_is_found_before_any_fit(nothing, rows):
    class Untouched(Table):
        def fit(self, X, y=None):
            raise AssertionError("was fitted")

    splits = [(np.arange(3, 12), np.arange(3)), (np.arange(12), nothing)]
    with pytest.raises(ValueError, match="fold 1 of cv holds no row out: there"):
        compare({"a": Untouched(np.zeros(12))}, rows, cv=splits)


def test_a_model_without_score_samples_is_named(X):
    with pytest.raises(TypeError, match=r"models\['scaler'\] is StandardScaler\(\), which has no"):
        compare({"kde": KernelDensity(), "scaler": StandardScaler()}, X)


@pytest.mark.parametrize("models", [{}, [KernelDensity()], KernelDensity()])
def test_models_must_be_a_dict(models, X):
    with pytest.raises(ValueError, match="must be a dict from name to estimator, with at least"):
        compare(models, X)


def test_names_must_be_strings(X):
    with pytest.raises(ValueError, match="models has the key 3; a model's name must be a string"):
        compare({3: KernelDensity()}, X)


@pytest.mark.parametrize(("value", "counts"), [(np.nan, "1 NaN and 0"), (np.inf, "0 NaN and 1")])
def test_what_is_no_log_density_is_an_error(value, counts, rows):
    values = np.zeros(12)
    values[5] = value
    with pytest.raises(ValueError, match=rf"models\['odd'\] gave {counts} \+inf for 4 held-out"):
        compare({"fine": Table(np.zeros(12)), "odd": Table(values)}, rows, cv=3)


def test_the_wrong_shape_is_an_error(rows):
    with pytest.raises(ValueError, match=r"models\['a'\] gave an array of shape \(4, 2\) for 4"):
        compare({"a": Table(np.zeros((12, 2)))}, rows, cv=3)


def test_an_error_of_a_model_says_which(X):
    with pytest.raises(ValueError, match="bandwidth") as info:
        compare({"fine": KernelDensity(), "bad": KernelDensity(bandwidth=-1)}, X)
    assert "by the model 'bad'" in info.value.__notes__[0]


@pytest.mark.parametrize("groups", [[0, 1], "day", np.zeros((60, 2)), 3])
def test_groups_of_another_shape(X, groups):
    text = rf"groups has shape .*: must be one label for each of {len(X)} rows of X"
    with pytest.raises(ValueError, match=text):
        compare({"a": KernelDensity()}, X, groups=groups)


def test_a_cv_that_tests_nothing(X):
    with pytest.raises(ValueError, match="holds no row out"):
        compare({"a": KernelDensity()}, X, cv=[(np.arange(60), [])])


def test_difference_to_an_unknown_name(rows):
    comparison = compare({"a": Table(np.zeros(12))}, rows)
    with pytest.raises(ValueError, match=r"name='b' is none of the compared models: \['a'\]"):
        comparison.difference_to("b")


# output


@pytest.fixture
def comparison():
    return Comparison(
        names=("one", "three components"),
        log_likelihoods=np.array([[-2.0, -1.5], [-4.0, -3.5], [-3.0, -2.2]]),
        groups=None,
        fit_seconds=np.array([0.01234, 1.5]),
        score_seconds=np.array([0.0, 12.0]),
        n_splits=3,
    )


def test_repr_is_a_table_best_first(comparison):
    assert repr(comparison).splitlines() == [
        "held-out log-likelihood, nats per row, over 3 rows in 3 folds",
        "model             nats/row   ± s.e.  to best  ± s.e.  fit s  score s",
        "three components    -2.400    0.586     best            1.5       12",
        "one                 -3.000    0.577   -0.600   0.100  0.012        0",
    ]


def test_columns_of_the_table_are_as_wide_as_their_numbers(comparison):
    wide = replace(
        comparison,
        log_likelihoods=comparison.log_likelihoods * 1e5,
        fit_seconds=np.array([99.4, 123456.7]),
        score_seconds=np.array([99.6, 1.23e-05]),
    )
    lines = repr(wide).splitlines()[1:]
    assert lines == [
        "model                nats/row    ± s.e.     to best    ± s.e.   fit s  score s",
        "three components  -240000.000 58594.653        best            123457  1.2e-05",
        "one               -300000.000 57735.027  -60000.000 10000.000      99      100",
    ]


def test_repr_goes_over_the_rows_as_often_for_ten_models_as_for_two(monkeypatch):
    passes = []
    original = Comparison._tested

    def counted(self):
        passes[-1] += 1
        return original(self)

    monkeypatch.setattr(Comparison, "_tested", counted)
    for n_models in (2, 10):
        passes.append(0)
        seconds = np.zeros(n_models)
        rows = np.arange(3.0 * n_models).reshape(3, n_models)
        repr(Comparison(tuple("abcdefghij"[:n_models]), rows, None, seconds, seconds, 3))
    assert passes[0] == passes[1] <= 5


def test_to_frame_is_the_same_table(comparison):
    frame = comparison.to_frame()
    assert list(frame.index) == ["three components", "one"]
    assert frame.index.name == "model"
    assert_allclose(frame["mean"], [-2.4, -3.0])
    assert_allclose(frame["difference"], [0, -0.6])
    assert_allclose(frame["difference_standard_error"], [0, 0.1])
    assert_allclose(frame["standard_error"], comparison.standard_errors[::-1])
    assert_allclose(frame["fit_seconds"], [1.5, 0.01234])
    assert_allclose(frame["score_seconds"], [12, 0])


def test_to_frame_without_pandas(comparison, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_frame\(\) needs pandas"):
        comparison.to_frame()


def test_verbose(capsys, rows):
    models = {"a": Table(np.zeros(12)), "b": Table(np.full(12, -1.5))}
    compare(models, rows)
    assert capsys.readouterr() == ("", "")
    compare(models, rows, verbose=1)
    out, bar = capsys.readouterr()
    assert out == ""
    assert "1/2 [" in bar
    assert bar.endswith("b: -1.500 nats per row]\n")
    compare(models, rows, verbose=2)
    out, bar = capsys.readouterr()
    assert out.endswith("b: -1.500 nats per row\n")
    assert "a: 0.000 nats per row\n" in out
    assert "model/s" not in bar


def test_the_bar_is_closed_after_an_error(capsys, rows):
    with pytest.raises(IndexError):
        compare({"a": Table(np.zeros(12)), "short": Table(np.zeros(2))}, rows, verbose=1)
    assert capsys.readouterr().err.endswith("short]\n")


def test_html_is_the_table_with_escaped_names_and_the_best_in_bold(rows):
    values = np.full(12, -2.0)
    values[3] = -np.inf
    models = {"<b>": Table(values), "a & b": Table(np.full(12, -1.5))}
    comparison = compare(models, rows)
    html = comparison._repr_html_()
    table = ET.fromstring(html)  # each element is closed
    cells = [[cell.text or "" for cell in row] for row in table.iter("tr")]
    assert cells[0] == ["model", "nats/row", "± s.e.", "to best", "± s.e.", "fit s", "score s"]
    assert cells[1][:5] == ["a & b", "-1.500", "0.000", "best", ""]
    assert cells[2][:4] == ["<b>", "-inf", "nan", "-inf"]
    bold = ["font-weight:bold" in row[0].get("style") for row in table.iter("tr")]
    assert bold == [False, True, False]
    assert "".join(table.find("table/caption").itertext()) == repr(comparison).splitlines()[0]
    assert table.find("p").text == "<b>: density zero at 1 of 12 held-out rows"
    assert "background:none" in html
    assert "color:inherit" in html


def test_seconds_are_measured(rows):
    class Slow(Table):
        def fit(self, X, y=None):
            time.sleep(0.05)
            return super().fit(X)

    comparison = compare({"slow": Slow(np.zeros(12)), "fast": Table(np.zeros(12))}, rows, cv=2)
    assert comparison.fit_seconds[0] >= 0.05 > comparison.fit_seconds[1]
    assert (comparison.score_seconds >= 0).all()
