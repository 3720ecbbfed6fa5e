"""Imputed values by closed forms; tables in and out; an imputer before a classifier."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import EMGaussianMixture, EMHiddenMarkov
from skvae.hmm import CategoricalEmission, ColumnEmission, GaussianEmission
from skvae.tasks import DensityImputer
from skvae.tasks.tables import filled_table

RNG = np.random.default_rng(0)
X = RNG.multivariate_normal([1.0, -2.0], [[2.0, 1.2], [1.2, 1.0]], size=100)


def test_expectations_of_a_gaussian_that_was_fitted_to_other_rows():
    imputer = DensityImputer(EMGaussianMixture(1, reg_covar=0.0)).fit(X)
    mean, covariance = X.mean(axis=0), np.cov(X.T, ddof=0)
    filled = imputer.transform([[3.0, np.nan], [np.nan, 0.0], [1.0, 2.0]])
    expected = mean[1] + covariance[0, 1] / covariance[0, 0] * (3.0 - mean[0])
    assert_allclose(filled[0], [3.0, expected])
    expected = mean[0] + covariance[0, 1] / covariance[1, 1] * (0.0 - mean[1])
    assert_allclose(filled[1], [expected, 0.0])
    assert filled[2].tolist() == [1.0, 2.0]
    assert imputer.get_feature_names_out().tolist() == ["x0", "x1"]


def _frame(library, **columns):
    frame = pd.DataFrame(columns, index=["u", "v", "w"]) if library is pd else pl.DataFrame(columns)
    return frame


@pytest.mark.parametrize("library", [pd, pl])
def test_a_table_comes_back_with_its_names_index_and_dtypes(library):
    train = pd.DataFrame(X, columns=["a", "b"])
    imputer = DensityImputer(EMGaussianMixture(1)).fit(
        train if library is pd else pl.DataFrame(X, schema=["a", "b"])
    )
    new = _frame(library, a=[1, 2, 3], b=[0.5, None, 1.5])
    out = imputer.transform(new)
    assert type(out) is type(new)
    assert list(out.columns) == ["a", "b"]
    assert [str(dtype).lower() for dtype in out.dtypes] == ["int64", "float64"]
    assert out["a"].to_list() == [1, 2, 3]
    assert out["b"].to_list()[::2] == [0.5, 1.5]
    by_number = DensityImputer(EMGaussianMixture(1)).fit(X)
    assert_allclose(out["b"].to_list()[1], by_number.transform([[2.0, np.nan]])[0, 1])
    assert new["b"].to_list()[1] is None or np.isnan(new["b"].to_list()[1])
    if library is pd:
        assert out.index.tolist() == ["u", "v", "w"]


@pytest.mark.parametrize("library", ["pandas", "polars"])
@pytest.mark.parametrize("given", ["pandas", "polars", "numpy"])
def test_set_output_has_the_last_word(library, given):
    new = np.array([[1.0, np.nan], [2.0, 3.0]])
    names = ["x0", "x1"]
    made = {"pandas": pd.DataFrame, "polars": pl.DataFrame, "numpy": None}
    frame = {
        "numpy": lambda rows: rows,
        "pandas": lambda rows: pd.DataFrame(rows, columns=names),
        "polars": lambda rows: pl.DataFrame(rows, schema=names),
    }[given]
    imputer = DensityImputer(EMGaussianMixture(1)).fit(frame(X))
    expected = DensityImputer(EMGaussianMixture(1)).fit(X).transform(new)
    out = imputer.set_output(transform=library).transform(frame(new))
    assert type(out) is made[library]
    assert list(out.columns) == names
    assert_allclose(out.to_numpy(), expected)


def test_integers_and_categories_remain_where_the_likelihood_allows():
    """A chain of codes and of a Gaussian: the most probable code is a whole number."""
    emission = ColumnEmission(
        [("kind", CategoricalEmission(), ["kind"]), ("size", GaussianEmission(), ["size"])]
    )
    train = pd.DataFrame({"kind": [0, 1] * 10, "size": np.arange(20.0)})
    imputer = DensityImputer(EMHiddenMarkov(1, emission=emission)).fit(train)
    kinds = pd.Series([1, None, 0], dtype="Int64")
    new = pd.DataFrame({"kind": kinds, "size": np.array([1, np.nan, 2], dtype=np.float32)})
    out = imputer.transform(new)
    assert out.dtypes.astype(str).tolist() == ["Int64", "float32"]
    assert out["kind"].tolist()[0] == 1
    assert out["kind"].tolist()[1] in (0, 1)
    categories = new.assign(kind=kinds.astype(pd.CategoricalDtype([0, 1])))
    out = imputer.transform(categories)
    assert out["kind"].dtype == categories["kind"].dtype
    assert not out["kind"].isna().any()
    polars = pl.DataFrame({"kind": [1, None, 0], "size": [1.0, None, 2.0]})
    assert imputer.transform(polars).dtypes == [pl.Int64, pl.Float64]


@pytest.mark.parametrize(
    ("values", "new", "dtype"),
    [
        (pd.Series([1, None], dtype="Int8"), 2.0, "Int8"),
        (pd.Series([1, None], dtype="Int8"), 2.5, "Float64"),
        (pd.Series([1, None], dtype="UInt8"), -4.0, "Float64"),
        (pd.Series([1, None], dtype="Int8"), 300.0, "Float64"),
        (pd.Series([True, None], dtype="boolean"), 0.0, "boolean"),
        (pd.Series([True, None], dtype="boolean"), -1.0, "Float64"),
        (pd.Series([True, None], dtype="boolean"), 0.5, "Float64"),
        (pd.Series([1.0, None], dtype="float32"), 0.1, "float32"),
        (pd.Series(["a", None], dtype=pd.CategoricalDtype(["a", "b"])), "b", "category"),
        (pd.Series([0, None], dtype=pd.CategoricalDtype([0, 1])), 0.5, "float64"),
        (pd.Series(["a", None]), "b", "str"),
        (pl.Series([1, None], dtype=pl.Int8), 2.0, "Int8"),
        (pl.Series([1, None], dtype=pl.Int8), 2.5, "Float64"),
        (pl.Series([True, None]), 0.0, "Boolean"),
        (pl.Series([True, None]), -1.0, "Float64"),
        (pl.Series([1.0, None], dtype=pl.Float32), 0.1, "Float32"),
        (pl.Series([1.0, float("nan")]), 0.1, "Float64"),
        (pl.Series(["a", None], dtype=pl.Enum(["a", "b"])), "b", "Enum(categories=['a', 'b'])"),
        (pl.Series(["a", None]), "b", "String"),
    ],
)
def test_a_column_keeps_its_dtype_if_the_new_value_allows_it(values, new, dtype):
    library = pd if isinstance(values, pd.Series) else pl
    frame = library.DataFrame({"x": values})
    out = filled_table(frame, np.array([[values.to_list()[0]], [new]], dtype=object))["x"]
    assert str(out.dtype) == dtype
    assert out.to_list()[0] == values.to_list()[0]
    assert out.to_list()[1] == (np.float32(new) if "32" in dtype.lower() else new)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame])
def test_before_a_classifier_in_a_pipeline(make):
    rows, labels = load_iris(return_X_y=True)
    rows = rows.copy()
    rows[np.random.default_rng(0).random(rows.shape) < 0.2] = np.nan
    frame = make({f"f{j}": rows[:, j] for j in range(4)})
    pipeline = make_pipeline(
        DensityImputer(EMGaussianMixture(1)),
        StandardScaler(),
        LogisticRegression(),
    )
    scores = cross_val_score(pipeline, frame, labels, cv=3, error_score="raise")
    assert_array_equal(scores, cross_val_score(pipeline, rows, labels, cv=3))
    assert scores.mean() > 0.88
    fitted = pipeline.fit(frame, labels)
    assert fitted[:-1].get_feature_names_out().tolist() == ["f0", "f1", "f2", "f3"]


def test_sequences():
    rng = np.random.default_rng(1)
    sequences = [rng.normal(size=(n, 2)) for n in (10, 12)]
    sequences[1][3, 0] = np.nan
    chain = EMHiddenMarkov(2, random_state=0, max_iter=5, tol=1)
    imputer = DensityImputer(chain)
    listed = imputer.fit_transform(sequences)
    assert [x.shape for x in listed] == [(10, 2), (12, 2)]
    rows, groups = np.concatenate(sequences), np.repeat([0, 1], [10, 12])
    assert_allclose(imputer.fit_transform(rows, groups=groups), np.concatenate(listed))
    frames = [pd.DataFrame(x, columns=["a", "b"], index=range(5, 5 + len(x))) for x in sequences]
    out = imputer.fit(frames).transform(frames)
    assert out[1].index.tolist() == list(range(5, 17))
    assert not out[1].isna().to_numpy().any()


def test_a_list_is_no_one_table():
    rng = np.random.default_rng(3)
    sequences = [rng.normal(size=(5, 1)) for _ in range(4)]
    imputer = DensityImputer(EMHiddenMarkov(1)).set_output(transform="pandas")
    with pytest.raises(ValueError, match="of a list of sequences: set transform='default'"):
        imputer.fit(sequences).transform(sequences)


def test_a_search_that_keeps_no_model_is_named():
    search = GridSearchCV(EMGaussianMixture(1), {"n_components": [1]}, refit=False)
    with pytest.raises(ValueError, match="keeps no fitted model: set refit=True"):
        DensityImputer(search).fit(load_iris().data)


def test_a_density_that_cannot_impute_is_named():
    with pytest.raises(TypeError, match=r"density=KernelDensity\(\) has no impute"):
        DensityImputer(KernelDensity()).fit(X)


def test_draws_that_the_density_does_not_make_are_named():
    imputer = DensityImputer(EMHiddenMarkov(1), draw=True).fit(X)
    with pytest.raises(ValueError, match=r"draw=True: EMHiddenMarkov\.impute makes no draws"):
        imputer.transform(X)
    with pytest.raises(ValueError, match="draw='yes': must be one of True, False"):
        DensityImputer(EMHiddenMarkov(1), draw="yes").fit(X)


def test_draws_are_those_of_the_density():
    mixture = EMGaussianMixture(1, reg_covar=0.0)
    imputer = DensityImputer(mixture, draw=True, random_state=3).fit(X)
    holes = X.copy()
    holes[::2, 1] = np.nan
    filled = imputer.transform(holes)
    assert_array_equal(filled, mixture.fit(X).impute(holes, draw=True, random_state=3))
    assert_array_equal(filled, imputer.transform(holes))
    assert (filled != imputer.set_params(random_state=4).transform(holes)).any()
