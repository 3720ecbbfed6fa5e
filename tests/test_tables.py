"""Rows of X's columns come back as tables with ``set_output``: names, index, dtypes, in lists too.

Methods are found by name on every estimator, so that a new one is tested without being listed.
"""

import copy
import pickle
from functools import cache

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_array_equal
from sklearn import config_context
from sklearn.base import clone

from skvae import (
    BayesianMixtureSVI,
    EGHiddenMarkov,
    EMContextFreeGrammar,
    EMGaussianMixture,
    EMHiddenMarkov,
    HiddenMarkovAutoencoder,
    VariationalAutoencoder,
)
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GaussianEmission,
    PoissonEmission,
)
from skvae.inspection import ForecastDisplay
from skvae.tables import as_table, dtypes_of
from tests.suite import one_torch_thread

_one_thread = pytest.fixture(autouse=True, scope="module")(one_torch_thread)
pytestmark = pytest.mark.filterwarnings(
    "ignore::skvae.vae.EffectiveSizeWarning", "ignore::sklearn.exceptions.ConvergenceWarning"
)

N = 24
HOURS = pd.date_range("2024-01-01", periods=N, freq="h", tz="Europe/Berlin")
ESTIMATORS = [
    EMGaussianMixture(2, random_state=0),
    BayesianMixtureSVI(2, random_state=0, max_iter=50),
    EMHiddenMarkov(2, random_state=0, tol=0.1),
    EMContextFreeGrammar(2, emission="gaussian", random_state=0, tol=0.5),
    VariationalAutoencoder(2, random_state=0, max_epochs=2, hidden_layer_sizes=(4,)),
    EGHiddenMarkov(2, random_state=0, max_epochs=2),
    HiddenMarkovAutoencoder(
        2, n_states=2, random_state=0, max_epochs=2, hidden_layer_sizes=(4,), n_score_samples=5
    ),
]
LIBRARIES = {"pandas": pd.DataFrame, "polars": pl.DataFrame}


def frame_of_rows():
    rng = np.random.default_rng(0)
    single = rng.normal(size=N).astype(np.float32)
    single[3] = np.nan
    columns = {"count": rng.integers(0, 9, size=N), "level": rng.normal(size=N), "single": single}
    return pd.DataFrame(columns, index=HOURS)


def numbers(rows):
    return np.asarray(rows, dtype=np.float64)


# For each method: pairs of an answer and the index that its table has; a list answers with a list.
def answers(model, X, method):
    parts = [X[:10], X[10:]]
    call = getattr(model, method)
    after = pd.date_range(HOURS[-1], periods=4, freq="h")[1:]
    if method in ("impute", "reconstruct"):
        yield call(X), X.index
        if hasattr(model, "_sequences"):
            yield call(parts), [part.index for part in parts]
    elif method == "inverse_transform":
        yield call(model.transform(X)), X.index
        if hasattr(model, "_sequences"):
            yield call(model.transform(parts)), [part.index for part in parts]
    elif method == "sample":
        yield call(4)[0], pd.RangeIndex(4)
        if "prefix" in call.__kwdefaults__:
            yield call(3, prefix=X)[0], after
        if "n_sentences" in call.__kwdefaults__:
            sentences = call(n_sentences=2)[0]
            yield sentences, [pd.RangeIndex(len(sentence)) for sentence in sentences]
    elif method == "forecast":
        n_steps = 3 if isinstance(model, EMHiddenMarkov) else 1
        forecast = call(X, n_steps)
        yield forecast.mean, after[:n_steps]
        yield forecast.quantile(0.5), after[:n_steps]
        yield list(forecast.interval(0.8)), [after[:n_steps]] * 2
        yield forecast.quantile([0.2, 0.5, 0.7]), [after[:n_steps]] * 3
        yield forecast.sample(2, random_state=0), [after[:n_steps]] * 2
        first, _ = call(parts, 1)
        yield list(first.interval()), [HOURS[10:11]] * 2


NAMES = "impute", "reconstruct", "inverse_transform", "sample", "forecast"
CASES = [
    pytest.param(type(e).__name__, name, id=f"{type(e).__name__}-{name}")
    for e in ESTIMATORS
    for name in NAMES
    if hasattr(type(e), name)
]


@cache
def model_of(name):
    return next(clone(e) for e in ESTIMATORS if type(e).__name__ == name).fit(frame_of_rows())


def assert_is_table(table, array, index, library):
    assert isinstance(array, np.ndarray)
    assert isinstance(table, LIBRARIES[library])
    assert list(table.columns) == ["count", "level", "single"]
    if library == "pandas":
        pd.testing.assert_index_equal(table.index, index)
    single = table["single"].to_numpy()
    if single.dtype == np.float32:  # a forecast's mean is of float64
        array = np.column_stack([array[:, :2], array[:, 2].astype(np.float32)])
    assert_array_equal(numbers(table), array)


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize(("name", "method"), CASES)
def test_rows_of_features_are_tables(name, method, library):
    X, plain = frame_of_rows(), model_of(name)
    model = copy.deepcopy(plain).set_output(transform=library)
    pairs = zip(answers(model, X, method), answers(plain, X, method), strict=True)
    n_answers = 0
    for (found, index), (expected, _) in pairs:
        n_answers += 1
        if not isinstance(index, list):
            found, expected, index = [found], [expected], [index]
        assert isinstance(found, list)
        for one in zip(found, expected, index, strict=True):
            assert_is_table(*one, library)
    assert n_answers


def test_every_method_was_found():
    assert len(CASES) == 18


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("name", ["EMHiddenMarkov", "EGHiddenMarkov", "HiddenMarkovAutoencoder"])
def test_posteriors_of_a_list_are_a_list_of_tables(name, library):
    X, plain = frame_of_rows(), model_of(name)
    parts = [X[:10], X[10:]]
    with config_context(transform_output=library):
        found = plain.transform(parts)
    for table, array, part in zip(found, plain.transform(parts), parts, strict=True):
        assert isinstance(table, LIBRARIES[library])
        assert list(table.columns) == list(plain.get_feature_names_out())
        assert_array_equal(table.to_numpy(), array)
        if library == "pandas":
            pd.testing.assert_index_equal(table.index, part.index)


# Dtypes -------------------------------------------------------------------------------------------


def mixed_frame():
    """Counts, codes, flags and numbers, as a table has them; one of each nullable is missing."""
    rng = np.random.default_rng(1)
    n = 40
    state = np.arange(n) // 10 % 2
    calls = pd.array(rng.poisson(2 + 6 * state), dtype="Int64")
    return pd.DataFrame(
        {
            "visits": rng.poisson(1 + 8 * state),
            "calls": calls,
            "kind": pd.Categorical(rng.integers(0, 2, size=n) + state, categories=[0, 1, 2]),
            "open": rng.uniform(size=n) < 0.2 + 0.6 * state,
            "size": rng.normal(size=n) + 5 * state,
        }
    )


DTYPES = ["int64", "Int64", "category", "bool", "float64"]
CHAIN = EMHiddenMarkov(
    2,
    emission=ColumnEmission(
        [
            ("counts", PoissonEmission(), ["visits", "calls"]),
            ("kind", CategoricalEmission(), ["kind"]),
            ("open", BernoulliEmission(), ["open"]),
            ("size", GaussianEmission(), ["size"]),
        ]
    ),
    random_state=0,
)
LIKELIHOOD = [
    ("poisson", ["visits", "calls"]),
    ("categorical", ["kind"]),
    ("bernoulli", ["open"]),
    ("gaussian", ["size"]),
]
MIXED = [
    CHAIN,
    VariationalAutoencoder(1, likelihood=LIKELIHOOD, max_epochs=2, random_state=0),
    HiddenMarkovAutoencoder(
        1, n_states=2, likelihood=LIKELIHOOD, max_epochs=2, random_state=0, n_score_samples=5
    ),
]
every_mixed = pytest.mark.parametrize("estimator", MIXED, ids=lambda e: type(e).__name__)


def dtypes(table):
    return [str(dtype) for dtype in table.dtypes]


@every_mixed
def test_draws_and_complete_rows_have_the_dtypes_of_the_rows(estimator):
    X = mixed_frame()
    model = clone(estimator).set_output(transform="pandas").fit(X)
    assert dtypes(model.sample(5)[0]) == DTYPES
    assert dtypes(model.impute(X)) == DTYPES
    pd.testing.assert_frame_equal(model.impute(X), X)


@every_mixed
def test_nominal_values_keep_their_dtypes_and_expected_counts_are_floats(estimator):
    X = mixed_frame()
    model = clone(estimator).set_output(transform="pandas").fit(X)
    X.loc[3, "kind"], X.loc[5, "calls"] = None, pd.NA
    table = model.impute(X)
    assert dtypes(table) == ["int64", "float64", "category", "bool", "float64"]
    assert table["kind"].notna().all()
    assert table["calls"].drop(5).tolist() == X["calls"].drop(5).tolist()


def test_reconstructions_have_nominal_dtypes():
    X = mixed_frame()
    for estimator in MIXED[1:]:
        table = clone(estimator).set_output(transform="pandas").fit(X).reconstruct(X)
        assert dtypes(table) == ["float64", "float64", "category", "bool", "float64"]


def test_quantiles_of_counts_are_whole_and_means_are_floats():
    X = mixed_frame()
    forecast = clone(CHAIN).set_output(transform="pandas").fit(X).forecast(X, 4)
    assert dtypes(forecast.mean) == ["float64"] * 5
    for table in (*forecast.interval(), *forecast.sample(3, random_state=0)):
        assert dtypes(table) == DTYPES
        assert table.index.tolist() == [40, 41, 42, 43]
    again = pickle.loads(pickle.dumps(forecast))
    pd.testing.assert_frame_equal(again.quantile(0.3), forecast.quantile(0.3))
    assert len(ForecastDisplay.from_forecast(forecast, X.astype(float)).median_lines_) == 5


def test_polars_tables_keep_dtypes():
    X = pl.from_pandas(mixed_frame().astype({"kind": int, "calls": int}))
    X = X.with_columns(pl.col("visits").cast(pl.UInt8))
    kept = [pl.UInt8, pl.Int64, pl.Int64, pl.Boolean, pl.Float64]
    model = clone(CHAIN).set_output(transform="polars").fit(X)
    assert model.sample(5)[0].dtypes == kept
    assert model.impute(X).equals(X)
    missing = X.with_columns(pl.when(pl.int_range(40) != 3).then(pl.all()))
    table = model.impute(missing)
    assert table.dtypes == [pl.Float64, pl.Float64, *kept[2:]]
    assert table[4:].cast(dict(zip(X.columns, kept, strict=True))).equals(X[4:])


@pytest.mark.parametrize("dtype", [np.int32, bool, np.float32])
def test_arrays_have_one_dtype_for_all_columns(dtype):
    X = (np.random.default_rng(0).uniform(size=(30, 2)) < 0.4).astype(dtype)
    model = EMHiddenMarkov(2, emission="bernoulli", random_state=0, tol=0.1).fit(X)
    assert isinstance(model.sample(3)[0], np.ndarray)
    table = model.set_output(transform="pandas").impute(X)
    assert_array_equal(table.to_numpy(), X)
    assert table["x0"].dtype == dtype
    kept = dtype if dtype is not np.float32 else np.float64  # arrays of floats leave no dtype
    assert model.sample(3)[0]["x1"].dtype == kept
    model.fit(X.astype(float))  # another fit has other columns
    assert model.sample(3)[0]["x1"].dtype == np.float64


def test_an_integer_column_holds_only_what_it_can():
    values = np.array([[0.5], [np.nan], [300.0], [-1.0], [1e300]])
    for value in values:
        table = as_table(value[None], "pandas", ["a"], dtypes=["uint8"])
        assert table["a"].dtype == np.float64
    assert as_table(np.array([[255.0]]), "pandas", ["a"], dtypes=["uint8"])["a"].dtype == np.uint8
    foreign = as_table(np.array([[3.0]]), "pandas", ["a"], dtypes=[{"categories": [1, 2]}])
    assert foreign["a"].tolist() == [3.0]


def test_a_float32_column_stays_within_open_limits():
    inside = np.array([[1e-60, 0.5, 1.0 - 1e-12, 1.0, 0.0]]).T
    table = as_table(inside, "pandas", ["a"], dtypes=["float32"])["a"]
    assert table.dtype == np.float32
    assert ((table[:3] > 0) & (table[:3] < 1)).all()
    assert table[1:].tolist() == [0.5, 1 - 2.0**-24, 1.0, 0.0]
    infinite = np.array([[np.inf], [-np.inf], [np.nan]])
    found = as_table(infinite, "polars", ["a"], dtypes=["float32"])["a"]
    assert_array_equal(found.to_numpy(), infinite[:, 0].astype(np.float32))
    assert as_table(np.array([[1e300]]), "pandas", ["a"], dtypes=["float32"])["a"][0] == 1e300


def test_dtypes_without_a_place_among_numbers_are_float64():
    X = pd.DataFrame({"a": np.array([1, None], dtype=object), "b": pd.Categorical(["x", "y"])})
    assert dtypes_of(X) is None
    assert dtypes_of(X.assign(c=[1, 2])) == [None, None, "int64"]
    assert dtypes_of([[1, 2]]) is None


@pytest.mark.parametrize("name", ["VariationalAutoencoder", "HiddenMarkovAutoencoder"])
def test_dtypes_are_saved_with_a_model(name, tmp_path):
    model = copy.deepcopy(model_of(name)).set_output(transform="pandas")
    model.save(tmp_path / "model.safetensors")
    again = type(model).load(tmp_path / "model.safetensors")
    pd.testing.assert_frame_equal(again.sample(3)[0], model.sample(3)[0])
    pickled = pickle.loads(pickle.dumps(model))
    pd.testing.assert_frame_equal(pickled.sample(3)[0], model.sample(3)[0])


# Mixtures of some columns -------------------------------------------------------------------------


def test_mixtures_of_some_columns_follow_the_setting():
    X = frame_of_rows().dropna()
    mixture = EMGaussianMixture(1, random_state=0).set_output(transform="pandas").fit(X)
    marginal = mixture.marginal(["single", "count"])
    assert dtypes(marginal.sample(2)[0]) == ["float32", "float64"]
    assert list(marginal.sample(2)[0].columns) == ["single", "count"]
    conditional = mixture.conditional(["level"], [0.0])
    assert list(conditional.sample(2)[0].columns) == ["count", "single"]
    with config_context(transform_output="polars"):
        assert isinstance(mixture.set_output(transform="default").sample(2)[0], np.ndarray)
        assert isinstance(mixture.marginal(["level"]).sample(2)[0], np.ndarray)
    svi = BayesianMixtureSVI(1, random_state=0).set_output(transform="polars").fit(X)
    assert svi.to_mixture().sample(2)[0].columns == ["count", "level", "single"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_words_are_tables_of_strings(library):
    grammar = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.3] | 'b' [0.3]")
    expected, _ = grammar.sample(6, random_state=0)
    found, _ = grammar.set_output(transform=library).sample(6, random_state=0)
    assert isinstance(found, LIBRARIES[library])
    assert list(found["x0"]) == expected[:, 0].tolist()
