"""Columns of categories with names: strings, and categories of pandas and polars."""

import copy
import pickle

import dask.array as da
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline

from skvae import VariationalAutoencoder
from skvae.vae.categories import learned_categories
from tests.vae.estimator_problems import autoencoder

pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")
COLOURS, GRADES = ["blue", "green", "red"], ["low", "middle", "high", "top"]
PARTS = [("categorical", [0, 2]), ("gaussian", 1)]


def codes(n=150, seed=0):
    """Colours, sizes and grades of three groups, as numbers; no grade is the highest."""
    rng = np.random.default_rng(seed)
    group = rng.integers(3, size=n)
    noisy = np.where(rng.random((n, 2)) < 0.1, rng.integers(3, size=(n, 2)), group[:, None])
    return np.column_stack([noisy[:, 0], group + 0.3 * rng.normal(size=n), noisy[:, 1]])


def frame(X):
    """The same rows with names, and some labels of rows."""
    colour = np.array(COLOURS, dtype=object)[X[:, 0].astype(int)]
    grade = pd.Categorical.from_codes(X[:, 2].astype(int), categories=GRADES)
    index = [f"row {i}" for i in range(len(X))]
    return pd.DataFrame({"colour": colour, "size": X[:, 1], "grade": grade}, index=index)


def in_polars(table):
    columns = {name: list(table[name]) for name in table}
    enum = pl.Enum(GRADES)
    return pl.DataFrame(columns, schema={"colour": pl.String, "size": pl.Float64, "grade": enum})


@pytest.fixture(scope="module")
def X():
    return codes()


@pytest.fixture(scope="module")
def table(X):
    return frame(X)


@pytest.fixture(scope="module")
def vae(table):
    return autoencoder(1, likelihood=PARTS, max_epochs=40, lr=1e-2).fit(table)


def test_names_are_those_of_codes(vae, table, X):
    """In sorted order of strings, in its own order of a dtype; all its categories have room."""
    assert vae.categories_ == [COLOURS, None, GRADES]
    sizes = [("categorical", [0, 2], {"n_categories": [3, 4]}), ("gaussian", 1)]
    other = autoencoder(1, likelihood=sizes, max_epochs=40, lr=1e-2).fit(X)
    assert not hasattr(other, "categories_")
    for method in ("score_samples", "transform", "feature_scores"):
        assert_array_equal(getattr(vae, method)(table), getattr(other, method)(X))
    assert_array_equal(vae.posterior(table).covariance, other.posterior(X).covariance)
    assert vae.score(table) == other.score(X)
    named, expected = vae.reconstruct(table), other.reconstruct(X)
    assert_array_equal(named[:, 0], np.array(COLOURS, dtype=object)[expected[:, 0].astype(int)])
    assert_array_equal(named[:, 1], expected[:, 1])


def test_every_form_of_a_table_is_read(vae, table):
    expected = vae.score_samples(table)
    objects = table.to_numpy(dtype=object)
    polars = in_polars(table)
    forms = {
        "strings of pandas": table.astype({"colour": "string", "grade": "string"}),
        "a dtype of categories": table.astype({"colour": "category"}),
        "categories in another order": table.assign(
            grade=table["grade"].cat.reorder_categories(GRADES[::-1])
        ),
        "polars": polars,
        "polars' categories": polars.with_columns(pl.col("colour").cast(pl.Categorical)),
    }
    forms["polars' numbers beside them"] = polars.with_columns(pl.col("size").cast(pl.Float64))
    for name, form in forms.items():
        assert_array_equal(vae.score_samples(form), expected, err_msg=name)
    nameless = autoencoder(1, likelihood=PARTS, max_epochs=2)
    first = nameless.fit(objects).score_samples(objects)
    assert nameless.categories_ == [COLOURS, None, sorted(GRADES[:3])]
    assert_array_equal(nameless.fit(objects.tolist()).score_samples(objects.tolist()), first)
    assert_array_equal(nameless.fit(objects.astype(str)).score_samples(objects), first)
    fitted = autoencoder(1, likelihood=PARTS, max_epochs=2).fit(polars)
    assert fitted.categories_ == [COLOURS, None, GRADES]


def test_all_columns_of_a_categorical_likelihood(table):
    words = table[["colour", "grade"]]
    vae = autoencoder(1, likelihood="categorical").fit(words)
    assert vae.categories_ == [COLOURS, GRADES]
    assert set(vae.sample(200)[0][:, 0]) == set(COLOURS)
    assert vae.likelihood_parameters([[0.0]])["probabilities"].shape == (1, 2, 4)
    with_codes = autoencoder(1, likelihood="categorical").fit(codes()[:, [0, 2]])
    assert not hasattr(with_codes, "categories_")
    assert with_codes.sample(3)[0].dtype == np.float64


@pytest.mark.parametrize("nothing", [None, np.nan, pd.NA, pd.NaT])
def test_missing_names(vae, table, nothing):
    holes = table.astype({"colour": object, "grade": object})
    holes.iloc[::3, 0] = nothing
    holes.iloc[1::3, 2] = nothing
    holes.iloc[::4, 1] = np.nan
    filled = vae.impute(holes)
    for j, known in ((0, COLOURS), (2, GRADES)):
        seen = ~holes.iloc[:, j].isna().to_numpy()
        assert_array_equal(filled[seen, j], holes.iloc[seen, j])
        assert set(filled[~seen, j]) <= set(known)
    assert (filled[::3, 0] == table["colour"].iloc[::3]).mean() > 0.6
    assert np.isfinite(filled[:, 1].astype(float)).all()
    again = autoencoder(1, likelihood=PARTS).fit(holes)
    assert again.categories_[0] == COLOURS
    drawn = vae.impute(holes, draw=True, random_state=0)
    assert set(drawn[::3, 0]) <= set(COLOURS)
    assert np.isfinite(vae.score_samples(pd.DataFrame(drawn, columns=table.columns))).all()


def test_tables_have_names_indices_and_dtypes(vae, table):
    vae = copy.deepcopy(vae).set_output(transform="pandas")
    holes = table.copy()
    holes.iloc[:5, 0] = None
    Z = vae.transform(table)
    found = {
        "impute": vae.impute(holes),
        "draws": vae.impute(holes, draw=True),
        "reconstruct": vae.reconstruct(table),
        "inverse_transform": vae.inverse_transform(Z),
        "sample": vae.sample(7)[0],
    }
    for name, rows in found.items():
        assert list(rows.columns) == ["colour", "size", "grade"], name
        assert list(rows["colour"].cat.categories) == COLOURS, name
        assert rows["grade"].dtype == table["grade"].dtype, name
        assert rows["size"].dtype == np.float64, name
        assert name == "sample" or rows.index.equals(table.index), name
        vae.score_samples(rows)
    assert found["impute"].iloc[5:].astype(object).equals(table.iloc[5:].astype(object))
    with config_context(transform_output="polars"):
        rows = autoencoder(1, likelihood=PARTS).fit(table).impute(holes)
    assert rows.schema == {"colour": pl.Enum(COLOURS), "size": pl.Float64, "grade": pl.Enum(GRADES)}


def test_tables_of_numbers_follow_set_output_too():
    X = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 2)), columns=["a", "b"])
    vae = autoencoder(1).fit(X.astype(np.float32)).set_output(transform="pandas")
    holes = X.astype(np.float32).set_index(np.arange(100, 140))
    holes.iloc[::2, 0] = np.nan
    filled = vae.impute(holes)
    assert filled.index.equals(holes.index)
    assert (filled.dtypes == np.float32).all()
    assert list(vae.set_output(transform="polars").sample(3)[0].columns) == ["a", "b"]
    array = (
        autoencoder(1).fit(X.to_numpy()).set_output(transform="pandas").reconstruct(X.to_numpy())
    )
    assert list(array.columns) == ["x0", "x1"]
    assert isinstance(autoencoder(1).fit(X).reconstruct(X), np.ndarray)


def same_dtypes(rows, table):
    assert rows["grade"].dtype == table["grade"].dtype
    assert rows["grade"].cat.ordered
    assert rows["colour"].dtype == bool


def test_ordered_categories_and_booleans_have_their_dtypes(table, tmp_path):
    flags = table["colour"] == "blue"
    forms = [flags, flags.astype(object), flags.astype("boolean")]
    own = table.assign(grade=table["grade"].cat.as_ordered())
    fitted = [
        autoencoder(1, likelihood=PARTS, n_score_samples=10).fit(own.assign(colour=form))
        for form in forms
    ]
    vae, own = fitted[0], own.assign(colour=flags)
    assert vae.categories_ == [[False, True], None, GRADES]
    for other in fitted[1:]:
        assert other.score(own) == vae.score(own)
    # The codes are 0 and 1, so that later rows may be numbers.
    assert vae.score(own.astype({"colour": float})) == vae.score(own)
    assert {*vae.sample(100, random_state=0)[0][:, 0]} == {False, True}
    vae.save(tmp_path / "model.st")
    again = VariationalAutoencoder.load(tmp_path / "model.st")
    for model in (vae, again, pickle.loads(pickle.dumps(vae)), fitted[1], fitted[2]):
        model.set_output(transform="pandas")
        holes = own.astype({"colour": object})
        holes.iloc[:4, 0] = None
        for rows in (model.sample(9)[0], model.impute(holes), model.impute(holes, draw=True)):
            same_dtypes(rows, own)
        same_dtypes(model.reconstruct(own), own)
        same_dtypes(model.inverse_transform([[0.0], [2.0]]), own)
    assert vae.set_output(transform="polars").sample(9)[0]["colour"].dtype == pl.Boolean
    # A further fit without them forgets them.
    vae.set_output(transform="pandas").fit(table)
    assert not vae.sample(3)[0]["grade"].cat.ordered
    assert list(vae.sample(3)[0]["colour"].cat.categories) == COLOURS


def test_booleans_as_a_dtype_of_categories_stay_one(table):
    own = table.assign(colour=pd.Categorical(table["colour"] == "red"))
    vae = autoencoder(1, likelihood=PARTS, max_epochs=2).set_output(transform="pandas").fit(own)
    assert vae.sample(3)[0]["colour"].dtype == own["colour"].dtype


def test_unknown_names_are_named(vae, table):
    other = table.astype({"colour": object})
    other.iloc[3, 0] = "purple"
    message = (
        r"^X\['colour'\] holds 'purple': must be one of the categories of the fit, 'blue', "
        r"'green', 'red'; to have room for others, declare them before the fit as categories of"
    )
    for method in ("score_samples", "score", "transform", "impute", "partial_fit", "posterior"):
        with pytest.raises(ValueError, match=message):
            getattr(copy.deepcopy(vae), method)(other)
    nameless = autoencoder(1, likelihood=PARTS).fit(table.to_numpy(dtype=object))
    with pytest.raises(ValueError, match=r"^X\[:, 0\] holds 'purple': must be one of"):
        nameless.score(other.to_numpy(dtype=object))
    with pytest.raises(ValueError, match=r"^X\[:, 0\] holds 1.0: must be one of the categories"):
        nameless.score(np.ones((3, 3)))
    with pytest.raises(ValueError, match="feature names should match"):
        vae.score(table[["grade", "size", "colour"]])
    with pytest.raises(ValueError, match="2 features"):
        nameless.score(table.to_numpy(dtype=object)[:, :2])
    many = autoencoder(1, likelihood="categorical").fit([[f"{i:02}"] for i in range(30)])
    with pytest.raises(ValueError, match=r"'09', …; to have room"):
        many.score([["x"]])
    # A declared category has room, though no row has it.
    top = table.copy()
    top.iloc[0, 2] = "top"
    assert np.isfinite(vae.score(top))


def test_unusable_columns_are_named(table):
    def fit(colour, likelihood=PARTS):
        return autoencoder(1, likelihood=likelihood).fit(table.assign(colour=colour))

    mixed = table["colour"].to_numpy(dtype=object).copy()
    mixed[7] = 3
    with pytest.raises(ValueError, match=r"X\['colour'\] holds '.*' and 3: categories must be all"):
        fit(mixed)
    intervals = pd.cut(table["size"], [-9.0, 0.5, 9.0])
    with pytest.raises(
        ValueError, match=r"X\['colour'\] has the category Interval.*: must be a str"
    ):
        fit(intervals)
    with pytest.raises(ValueError, match=r"X\['colour'\] holds a list: must be a string or a num"):
        fit(pd.Series([["a"]] * len(table), index=table.index))
    sizes = [("categorical", [0, 2], {"n_categories": 4}), ("gaussian", 1)]
    with pytest.raises(
        ValueError, match=r"n_categories=4: X\['colour'\] has 3 categories by their names; leave"
    ):
        fit(table["colour"], sizes)
    equal = [("categorical", 0, {"n_categories": 3}), *PARTS[1:], ("categorical", 2)]
    assert fit(table["colour"], equal).categories_[0] == COLOURS
    with pytest.raises(ValueError, match=r"belongs to no part"):
        fit(table["colour"], PARTS[:1])
    with pytest.raises(ValueError, match=r"X\['colour'\] must be numbers of float64: could not"):
        fit(table["colour"], "gaussian")


def test_dask_rows_have_codes_alone(table, X):
    vae = autoencoder(1, likelihood=PARTS).fit(table.to_numpy(dtype=object))
    with pytest.raises(ValueError, match=r"X is a Dask array, and the categories .* X.compute"):
        vae.score_samples(da.from_array(X))


def test_numbers_as_categories(table):
    numbers = table.assign(colour=table["colour"].map({"blue": 10, "green": 30, "red": 20}))
    numbers = numbers.astype({"colour": "category"})
    vae = autoencoder(1, likelihood=PARTS).fit(numbers)
    assert vae.categories_[0] == [10, 20, 30]
    assert set(vae.sample(100)[0][:, 0]) == {10, 20, 30}
    plain = numbers.astype({"colour": float})
    assert vae.score(plain) == vae.score(numbers)


def test_further_fits_keep_the_categories_or_learn_them_anew(table, X):
    vae = autoencoder(1, likelihood=PARTS, warm_start=True).fit(table)
    blue = table[table["colour"] == "blue"]
    assert vae.partial_fit(blue).fit(blue).categories_ == [COLOURS, None, GRADES]
    wrong = table.assign(colour="purple")
    with pytest.raises(ValueError, match="purple"):
        vae.fit(wrong)
    vae.set_params(warm_start=False).fit(wrong)
    assert vae.categories_[0] == ["purple"]
    with pytest.raises(ValueError, match="infinity"):
        vae.fit(table.assign(size=np.inf))
    assert vae.categories_[0] == ["purple"]
    with_codes = frame(X).assign(colour=X[:, 0], grade=X[:, 2])
    assert not hasattr(vae.fit(with_codes), "categories_")


def test_files_and_pickles_have_the_categories(vae, table, tmp_path):
    path = tmp_path / "model.safetensors"
    vae.save(path)
    for other in (VariationalAutoencoder.load(path), pickle.loads(pickle.dumps(vae))):
        assert other.categories_ == vae.categories_
        assert_array_equal(other.score_samples(table), vae.score_samples(table))
        assert_array_equal(other.sample(5)[0], vae.sample(5)[0])


def test_the_argument_stays_as_it_is(vae, table):
    before = table.copy()
    vae.impute(table)
    pd.testing.assert_frame_equal(table, before)


def test_in_a_pipeline_and_in_validation(table):
    vae = autoencoder(1, likelihood=PARTS, max_epochs=2)
    assert np.isfinite(cross_val_score(make_pipeline(vae), table, cv=2)).all()


def test_codes_and_names_in_one_part(table, X):
    """Of a column of numbers the largest code decides, unless its number is given."""
    mixed = table.assign(grade=X[:, 2])
    vae = autoencoder(1, likelihood=PARTS).fit(mixed)
    assert vae.categories_ == [COLOURS, None, None]
    assert vae.likelihood_parameters([[0.0]])["probabilities"].shape == (1, 3, 3)
    drawn = vae.sample(50)[0]
    assert set(drawn[:, 2]) <= {0.0, 1.0, 2.0}
    assert_allclose(np.isin(drawn[:, 0], COLOURS), True)


def test_other_likelihoods_look_at_no_names():
    assert learned_categories("gaussian", [["a"]]) is None
    assert learned_categories("categorical", [[0.0], [1.0]]) is None
    assert learned_categories("categorical", [[0.0], [1.0, 2.0]]) is None
    assert learned_categories(None, [["a"]]) is None
