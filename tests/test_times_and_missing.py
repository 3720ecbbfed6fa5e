"""Dates and durations are refused in every form, and every mark of a missing entry is NaN."""

import copy
import datetime as dt
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.utils import check_array

from skvae import (
    BayesianMixtureSVI,
    EMContextFreeGrammar,
    EMGaussianMixture,
    EMHiddenMarkov,
    VariationalAutoencoder,
)
from skvae.hmm import GaussianEmission
from skvae.inspection import elbo_decomposition
from skvae.validation import numbers_of
from tests.problems import assert_same_state, state_of
from tests.suite import one_torch_thread
from tests.test_bad_rows import CALLS, model_of

_one_thread = pytest.fixture(autouse=True, scope="module")(one_torch_thread)

N = 50
DAY = dt.date(2021, 3, 1)
DAYS = np.datetime64("2021-03-01") + np.arange(N)


def numbers():
    return np.random.default_rng(3).normal(size=(N, 3))


def objects(entry, column=1):
    X = numbers().astype(object)
    X[7, column] = entry
    return X


def table(column):
    return pd.DataFrame(numbers()[:, :2], columns=["a", "b"]).assign(when=column)


def polars_table(column):
    return pl.DataFrame(numbers()[:, :2], schema=["a", "b"]).with_columns(when=column)


def days_of(kind):
    return pl.Series([kind] * N)


TIMES = {
    "dates": (np.tile(DAYS[:, None], 3), "X"),
    "durations": (np.tile((DAYS - DAYS[0])[:, None], 3), "X"),
    "no date": (np.full((N, 3), np.datetime64("NaT")), "X"),
    "a date": (objects(DAY), "X[:, 1]"),
    "a moment": (objects(dt.datetime(2021, 3, 1, 12), 2), "X[:, 2]"),
    "a time": (objects(dt.time(12), 0), "X[:, 0]"),
    "a duration": (objects(dt.timedelta(days=1)), "X[:, 1]"),
    "NumPy's date": (objects(DAYS[0]), "X[:, 1]"),
    "NumPy's duration": (objects(DAYS[1] - DAYS[0]), "X[:, 1]"),
    "a timestamp": (objects(pd.Timestamp("2021")), "X[:, 1]"),
    "a period": (objects(pd.Period("2021")), "X[:, 1]"),
    "lists": (objects(DAY).tolist(), "X[:, 1]"),
    "column of dates": (table(DAYS), "X['when']"),
    "with a zone": (table(pd.Series(DAYS).dt.tz_localize("UTC")), "X['when']"),
    "column of durations": (table(DAYS - DAYS[0]), "X['when']"),
    "column of periods": (table(pd.period_range("2021", periods=N, freq="M")), "X['when']"),
    "column of no periods": (table(pd.Series([pd.NaT] * N, dtype="period[M]")), "X['when']"),
    "column of objects": (table(pd.Series([DAY, *[None] * (N - 1)], dtype=object)), "X['when']"),
    "categories": (table(pd.Categorical(DAYS)), "X['when']"),
    "all columns": (pd.DataFrame(dict.fromkeys("abc", DAYS)), "X['a']"),
    "polars: dates": (polars_table(days_of(DAY)), "X['when']"),
    "polars: moments": (polars_table(days_of(dt.datetime(2021, 3, 1))), "X['when']"),
    "polars: durations": (polars_table(days_of(dt.timedelta(1))), "X['when']"),
    "polars: times": (polars_table(days_of(dt.time(12))), "X['when']"),
    "polars: only dates": (pl.DataFrame(dict.fromkeys("abc", days_of(DAY))), "X['a']"),
}


def assert_refused(call, label):
    with pytest.raises(TypeError) as caught:
        call()
    text = str(caught.value)
    assert text.startswith(f"{label} holds dates or durations ("), text
    remedy = (
        "; times of rows can be the index of a pandas table (set_index)" if "[" in label else ""
    )
    assert text.endswith(f"): must be numbers, such as the days since a first date{remedy}")


@pytest.mark.parametrize("form", TIMES)
def test_numbers_of_refuses_times(form):
    X, label = TIMES[form]
    assert_refused(lambda: numbers_of(X, "X"), label)


@pytest.mark.parametrize(("name", "method", "needed"), CALLS)
def test_every_method_refuses_times(name, method, needed):
    model = model_of(name)
    state = state_of(model)
    for form in ("dates", "no date", "a date", "column of dates", "polars: dates", "lists"):
        X, label = TIMES[form]
        assert_refused(lambda X=X: getattr(model, method)(X=X, **needed), label)
        assert_same_state(model, state)


@pytest.mark.parametrize("form", [form for form, (X, _) in TIMES.items() if hasattr(X, "columns")])
def test_tables_of_a_fitted_model_with_names_refuse_times(form):
    X, label = TIMES[form]
    names = list(map(str, X.columns))
    model = EMGaussianMixture(random_state=0).fit(pd.DataFrame(numbers(), columns=names))
    assert_refused(lambda: model.score(X), label)


def test_sequences_of_times_are_refused_where_they_are():
    X = numbers()
    for listed, label in [
        ([X, np.tile(DAYS[:, None], 3)], "X[1]"),
        ([X, X, objects(DAY)], "X[2][:, 1]"),
        ([objects(DAY).tolist(), X], "X[0][:, 1]"),
        (np.stack([TIMES["dates"][0]] * 2), "X"),
        ([table(DAYS), table(DAYS)], "X['when']"),
    ]:
        assert_refused(lambda listed=listed: EMHiddenMarkov(2).fit(listed), label)


def test_other_rows_are_refused_too():
    X = TIMES["dates"][0]
    vae = model_of("VariationalAutoencoder")
    assert_refused(lambda: vae.inverse_transform(X[:, :2]), "Z")
    emission = GaussianEmission.from_parameters(np.zeros((1, 3)), np.ones((1, 3)), "diag")
    assert_refused(lambda: emission.log_density(X), "X")


# Missing entries ----------------------------------------------------------------------------------

MISSING = {
    "None": lambda: objects(None),
    "NA": lambda: objects(pd.NA),
    "NaT": lambda: objects(pd.NaT),
    "NumPy's NaT": lambda: objects(np.datetime64("NaT")),
    "no duration": lambda: objects(np.timedelta64("NaT")),
    "Decimal": lambda: objects(Decimal("NaN")),
    "lists": lambda: objects(pd.NA).tolist(),
    "lists with None": lambda: objects(None).tolist(),
    "masked": lambda: np.ma.masked_invalid(objects(np.nan).astype(float)),
    "objects in a table": lambda: pd.DataFrame(objects(pd.NA)),
    "NaT in a table": lambda: pd.DataFrame(objects(pd.NaT)),
    "a column of objects": lambda: pd.DataFrame(objects(np.nan).astype(float)).astype(
        {1: "Float64"}
    ).astype({1: object}),
    "nullable": lambda: pd.DataFrame(objects(np.nan).astype(float)).convert_dtypes(),
    "strings": lambda: pd.DataFrame(objects(np.nan)).astype({1: float}).astype({1: "string"}),
    "null": lambda: pl.DataFrame(objects(None).astype(float)).fill_nan(None),
    "decimals": lambda: pl.DataFrame(
        [pl.Series(x.tolist(), strict=False) for x in objects(None).T]
    ).with_columns(pl.col("column_0").cast(pl.String)),
}  # fmt: skip
MODELS = [
    EMGaussianMixture(2, random_state=0),
    EMHiddenMarkov(2, random_state=0, max_iter=500),
    EMContextFreeGrammar(2, emission="gaussian", random_state=0, tol=0.5),
    BayesianMixtureSVI(2, random_state=0, max_iter=500),
    VariationalAutoencoder(1, hidden_layer_sizes=(3,), max_epochs=2, random_state=0),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")


@pytest.mark.parametrize("form", MISSING)
def test_numbers_of_reads_missing_entries_as_nan(form):
    found = check_array(numbers_of(MISSING[form](), "X"), ensure_all_finite="allow-nan")
    expected = numbers()
    expected[7, 1] = np.nan
    np.testing.assert_array_equal(found, expected)


@every_model
def test_missing_entries_of_any_kind_are_those_of_nan(model):
    X = numbers()
    X[7, 1] = np.nan
    model = clone(model).fit(X)
    expected = model.score_samples(X)
    for form in MISSING:
        given = MISSING[form]()
        before = copy.deepcopy(given)
        again = clone(model).fit(given)
        np.testing.assert_allclose(again.score_samples(given), expected, 1e-12, err_msg=form)
        assert repr(given) == repr(before)


def test_names_of_a_table_with_objects_are_kept_and_compared():
    X = pd.DataFrame(objects(pd.NA), columns=["a", "b", "c"])
    model = EMGaussianMixture(random_state=0).fit(X)
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.score(X[["b", "a", "c"]])
    plain = X.where(X.notna(), np.nan).astype(float)
    assert model.score(X) == EMGaussianMixture(random_state=0).fit(plain).score(plain)


def test_single_precision_stays_where_no_column_is_converted():
    X = pd.DataFrame(numbers().astype(np.float32))
    assert EMGaussianMixture(random_state=0).fit(X).score_samples(X).dtype == np.float32


def test_a_decomposition_reads_the_rows_as_the_model_does():
    X, missing = numbers(), objects(pd.NA)
    X[7, 1] = np.nan
    model = EMGaussianMixture(2, random_state=0).fit(X)
    plain, other = elbo_decomposition(model, X), elbo_decomposition(model, missing)
    np.testing.assert_array_equal(plain.expected_joint, other.expected_joint)


# Strings ------------------------------------------------------------------------------------------


@every_model
@pytest.mark.parametrize(
    ("X", "text"),
    [
        (objects("many"), r"X\[:, 1\] must be numbers of float64: could not convert .* 'many'"),
        (np.where(np.arange(3) == 2, "x", "1.0") + np.full((N, 1), ""), r"X\[:, 2\] must be num"),
        (table(["Bern"] * N), r"X\['when'\] must be numbers of float64: could not .* 'Bern'"),
        (table(pd.Categorical(["Bern"] * N)), r"X\['when'\] must be numbers of .* 'Bern'"),
        (polars_table(pl.Series(["Bern"] * N)), r"X\['when'\] must be numbers of .* 'Bern'"),
        (objects(10**400), r"X\[:, 1\] must be numbers of float64: int too large"),
    ],
)
def test_columns_of_strings_are_named(model, X, text):
    with pytest.raises(ValueError, match=text):
        clone(model).fit(X)


@pytest.mark.parametrize("name", [type(model).__name__ for model in MODELS])
def test_a_string_has_a_remedy(name):
    model = model_of(name)
    fit = {"y": ["ab"]} if name == "CTCTranscriber" else {}
    text = "; encode .*OneHotEncoder.*OrdinalEncoder.*categorical emission.*autoencoder"
    for X in (
        table(["Bern"] * N),
        polars_table(pl.Series(["Bern"] * N)),
        objects("Bern"),
        objects(b"Bern"),
        np.array([["1", "2", "Bern"]] * N, dtype="S4"),
        [["1", "Bern", 2.0]] * N,
    ):
        with pytest.raises(ValueError, match=rf"^X\[.*\] must be numbers.*'Bern'{text}"):
            clone(model).fit(X, **fit)


@pytest.mark.parametrize("name", [type(model).__name__ for model in MODELS])
@pytest.mark.parametrize("series", [pd.Series, pl.Series])
def test_a_series_has_a_remedy(name, series):
    fit = {"y": ["ab"]} if name == "CTCTranscriber" else {}
    text = rf"Series of {N} values: X must have a column for each feature.*X\.to_frame\(\)"
    with pytest.raises(ValueError, match=text):
        clone(model_of(name)).fit(series(numbers()[:, 0]), **fit)


def test_complex_columns_are_named():
    for X, label in (
        (table(np.full(N, 1j)), r"X\['when'\]"),
        (pd.DataFrame(numbers().astype(complex)), r"X\[:, 0\]"),
        (numbers() + 0j, "X"),
    ):
        with pytest.raises(
            ValueError, match=f"^{label}: Complex data not supported .*must be real"
        ):
            EMGaussianMixture().fit(X)


def test_columns_of_other_objects_are_named():
    for entry in ({"a": 1}, 1j, pd.Interval(0, 1)):
        with pytest.raises(TypeError, match=r"X\[:, 1\] must be numbers of float64: .* not '"):
            EMGaussianMixture().fit(objects(entry))


# Weights and parameters ---------------------------------------------------------------------------


@every_model
def test_weights_are_read_alike(model):
    if isinstance(model, VariationalAutoencoder):
        pytest.skip("its fit takes none")
    X, name = numbers(), "sample_weight"
    if isinstance(model, EMHiddenMarkov | EMContextFreeGrammar):
        X, name = [X], "sequence_weight"
    rows = np.ones(N)
    for weight in (DAYS, DAYS - DAYS[0], pd.Series(DAYS), [DAY] * N, DAYS[0]):
        with pytest.raises(ValueError, match=f"{name} must be an array of numbers: {name} holds"):
            clone(model).fit(X, **{name: weight})
    with pytest.raises(ValueError, match=f"{name} contains NaN"):
        clone(model).fit(X, **{name: pd.Series([pd.NA, *rows[1:]])})
    with pytest.raises(ValueError, match=f"{name} must be numbers of .* could not .* 'heavy'"):
        clone(model).fit(X, **{name: np.array(["heavy"] * N)})
    plain = clone(model).fit(X, **{name: rows})
    again = clone(model).fit(X, **{name: rows.astype(object)})
    assert plain.lower_bound_ == again.lower_bound_


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (EMGaussianMixture(2), "weights_init"),
        (EMGaussianMixture(2), "means_init"),
        (EMGaussianMixture(2), "precisions_init"),
        (EMHiddenMarkov(2), "startprob_init"),
        (EMHiddenMarkov(2), "transmat_init"),
        (EMHiddenMarkov(2), "transmat_prior"),
        (EMHiddenMarkov(2), "means_init"),
        (EMHiddenMarkov(2), "covariances_init"),
        (EMContextFreeGrammar(2, emission="gaussian"), "startprob_init"),
        (EMContextFreeGrammar(2, emission="gaussian"), "rules_init"),
        (EMContextFreeGrammar(2, emission="gaussian"), "leafprob_init"),
        (EMContextFreeGrammar(2, emission="gaussian"), "rules_prior"),
        (BayesianMixtureSVI(2), "mean_prior"),
        (BayesianMixtureSVI(2), "covariance_prior"),
    ],
)
def test_parameters_are_no_times(estimator, name):
    for value in (np.full((2, 3), DAYS[0]), [DAY, DAY], np.full(2, np.timedelta64("NaT"))):
        with pytest.raises(ValueError, match=f"(?s)^{name}=.*must be an array of numbers"):
            clone(estimator).set_params(**{name: value}).fit(numbers())


@every_model
def test_a_duration_is_no_number(model):
    for name in ("n_components", "tol", "random_state"):
        with pytest.raises(ValueError, match=f"{name}=.*timedelta64.*must be"):
            clone(model).set_params(**{name: np.timedelta64(2, "D")}).fit(numbers())
