"""What may be passed in, what may not, and that none of it is changed."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae import EMGaussianMixture
from tests.problems import (
    COVARIANCE_TYPES,
    assert_same_mixture,
    assert_same_state,
    blobs,
    knock_out,
    on_the_floor,
    run,
    start,
    state_of,
)

METHODS = (
    "fit", "fit_predict", "partial_fit", "predict", "predict_proba", "transform", "score_samples",
    "score", "bic", "aic", "icl", "impute",
)  # fmt: skip


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def memory_mapped(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


# Every layout takes the rows and a folder to write to, and returns the same rows.
LAYOUTS = {
    "read-only": lambda X, _: read_only(X),
    "Fortran": lambda X, _: np.asfortranarray(X),
    "every other row": lambda X, _: np.repeat(X, 2, axis=0)[::2],
    "columns of a wider array": lambda X, _: np.hstack([X, X])[:, : X.shape[1]],
    "backwards": lambda X, _: X[::-1].copy()[::-1],
    "big-endian": lambda X, _: X.astype(">f8"),
    "long double": lambda X, _: X.astype(np.longdouble),
    "memory-mapped": memory_mapped,
    "list": lambda X, _: X.tolist(),
    "object array of numbers": lambda X, _: X.astype(object),
    "pandas": lambda X, _: pd.DataFrame(X),
    "pandas with names": lambda X, _: pd.DataFrame(X, columns=["a", "b", "c"]),
    "polars": lambda X, _: pl.DataFrame(X, schema=["a", "b", "c"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
def test_every_layout_gives_the_same_fit(layout, covariance_type, missing, tmp_path):
    X = blobs(200)
    X = knock_out(X) if missing else X
    parameters, _ = start(X, 2, covariance_type)
    model = run(EMGaussianMixture(**parameters), X, 4)
    laid_out = LAYOUTS[layout](X, tmp_path)
    other = run(EMGaussianMixture(**parameters), laid_out, 4)
    assert_same_mixture(other, model, rtol=1e-10)
    for method in ("score_samples", "predict_proba", "impute"):
        expected = getattr(model, method)(X)
        assert_allclose(getattr(other, method)(laid_out), expected, rtol=1e-9, atol=1e-12)
    assert_array_equal(other.predict(laid_out), model.predict(X))


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, bool, np.float16])
def test_numbers_of_any_type(dtype):
    X = np.random.default_rng(0).integers(0, 2 if dtype is bool else 100, size=(100, 3))
    X = X.astype(dtype)
    parameters, _ = start(X.astype(float), 2, "full")
    model = run(EMGaussianMixture(**parameters), X, 3)
    assert_same_mixture(model, run(EMGaussianMixture(**parameters), X.astype(float), 3), rtol=1e-12)
    assert model.score_samples(X).dtype == np.float64


@pytest.mark.parametrize("layout", ["plain", "Fortran", "float32", "with missing values"])
def test_input_is_left_alone(layout):
    X = {
        "plain": lambda: blobs(100),
        "Fortran": lambda: np.asfortranarray(blobs(100)),
        "float32": lambda: blobs(100).astype(np.float32),
        "with missing values": lambda: knock_out(blobs(100)),
    }[layout]()
    before = X.copy()
    model = EMGaussianMixture(2, random_state=0, tol=0.1)
    for method in METHODS:
        getattr(model, method)(X)
        assert_array_equal(X, before)


def test_parameters_are_left_alone_and_not_kept_by_reference():
    X = blobs(100)
    given, _ = start(X, 2, "full")
    given = {
        name: value.copy() if hasattr(value, "copy") else value for name, value in given.items()
    }
    model = EMGaussianMixture(**given, random_state=0, max_iter=0)
    before = {name: id(value) for name, value in model.get_params().items()}
    copies = {
        name: np.copy(given[name]) for name in ("weights_init", "means_init", "precisions_init")
    }
    model.fit(X)
    assert {name: id(value) for name, value in model.get_params().items()} == before
    for name, value in copies.items():
        assert_array_equal(getattr(model, name), value)
    scores = model.score_samples(X)
    for name in copies:  # scribbling over what was passed in must not reach the fitted model
        given[name][:] = 0.123
    assert_array_equal(model.score_samples(X), scores)
    assert_array_equal(model.means_, copies["means_init"])


def test_starting_values_may_be_lists():
    X = blobs(100)
    given, _ = start(X, 2, "diag")
    lists = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in given.items()}
    model = EMGaussianMixture(**lists)
    run(model, X, 3)
    assert type(model.means_init) is list
    assert_same_mixture(model, run(EMGaussianMixture(**given), X, 3), rtol=0)


def test_y_is_ignored():
    X = blobs(100)
    model = EMGaussianMixture(2, random_state=0)
    for y in (np.arange(100), ["a"] * 100, object(), np.full(3, np.nan)):
        assert_same_mixture(clone(model).fit(X, y), clone(model).fit(X), rtol=0, atol=0)
        assert model.fit(X).score(X, y) == model.score(X)
    clone(model).partial_fit(X, y)
    clone(model).fit_predict(X, y)


@pytest.mark.parametrize(("n_rows", "n_components"), [(1, 1), (3, 4), (2, 100)])
@pytest.mark.parametrize("method", ["fit", "fit_predict"])
def test_too_few_rows(n_rows, n_components, method):
    model = EMGaussianMixture(n_components, random_state=0)
    with pytest.raises(
        ValueError, match=rf"(?s)n_samples.*{n_rows}|{n_rows} sample|sample.*{n_rows}"
    ):
        getattr(model, method)(blobs(n_rows))
    assert not [name for name in vars(model) if name.endswith("_") and name != "n_features_in_"]


@on_the_floor
def test_as_many_rows_as_components():
    X = 10 * blobs(4)
    model = EMGaussianMixture(4, random_state=0, n_init=5).fit(X)
    assert np.isfinite(model.score(X))
    assert_allclose(np.sort(model.means_, axis=0), np.sort(X, axis=0), rtol=1e-6)


BAD_PARAMETERS = [
    ("n_components", 0),
    ("n_components", -1),
    ("n_components", 2.5),
    ("n_components", "three"),
    ("covariance_type", "banded"),
    ("covariance_type", None),
    ("tol", -1e-3),
    ("tol", "small"),
    ("reg_covar", -1e-6),
    ("reg_covar", None),
    ("max_iter", -1),
    ("max_iter", 1.5),
    ("n_init", 0),
    ("n_init", None),
    ("init_params", "zeros"),
    ("init_params", 3),
    ("random_state", "seed"),
    ("random_state", -1.5),
    ("warm_start", "no"),
    ("verbose", "loud"),
    ("verbose", -1),
    ("verbose_interval", 0),
    ("verbose_interval", 2.5),
    ("acceleration", "aitken"),
    ("acceleration", True),
    ("n_jobs", "all"),
    ("n_jobs", 1.5),
    ("n_jobs", 0),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
@pytest.mark.parametrize("method", ["fit", "fit_predict", "partial_fit"])
def test_bad_parameter_is_named_with_its_value(name, value, method):
    X = blobs(50)
    model = EMGaussianMixture(2, random_state=0, tol=0.1).fit(X).set_params(**{name: value})
    state = state_of(model)
    pattern = rf"(?s){name}.*{re.escape(str(value))}"
    with pytest.raises(ValueError, match=pattern):
        getattr(model, method)(X)
    assert_same_state(model, state)


def test_numpy_scalars_are_parameters():
    """A grid made of NumPy arrays passes its entries as NumPy scalars."""
    X = blobs(60)
    settings = {
        "n_components": 2,
        "covariance_type": "tied",
        "tol": 0.01,
        "reg_covar": 1e-5,
        "max_iter": 200,
        "n_init": 2,
        "init_params": "random_from_data",
        "random_state": 0,
        "warm_start": False,
        "verbose": 0,
        "verbose_interval": 3,
        "acceleration": "anderson",
        "n_jobs": 1,
    }
    scalars = {name: np.array([value])[0] for name, value in settings.items()}
    assert all(isinstance(value, np.generic) for value in scalars.values())
    model = EMGaussianMixture(**scalars).fit(X)
    assert_same_mixture(model, EMGaussianMixture(**settings).fit(X), rtol=0, atol=0)


BAD_STARTS = {
    "weights of another length": ("weights_init", np.ones(3) / 3),
    "weights above one": ("weights_init", [0.7, 0.7]),
    "negative weights": ("weights_init", [-0.5, 1.5]),
    "nan weights": ("weights_init", [np.nan, 1.0]),
    "weights of two dimensions": ("weights_init", [[0.5, 0.5]]),
    "means of another number of components": ("means_init", np.zeros((3, 3))),
    "means of another number of features": ("means_init", np.zeros((2, 4))),
    "nan means": ("means_init", np.full((2, 3), np.nan)),
    "infinite means": ("means_init", np.full((2, 3), np.inf)),
    "words": ("means_init", [["a", "b", "c"]] * 2),
    "precisions of another shape": ("precisions_init", np.eye(3)),
    "negative precisions": ("precisions_init", -np.stack([np.eye(3)] * 2)),
    "asymmetric precisions": ("precisions_init", np.stack([np.eye(3) + np.eye(3, k=1)] * 2)),
    "singular precisions": ("precisions_init", np.stack([np.ones((3, 3))] * 2)),
    "nan precisions": ("precisions_init", np.full((2, 3, 3), np.nan)),
}


@pytest.mark.parametrize("problem", BAD_STARTS)
def test_bad_start_is_named(problem):
    name, value = BAD_STARTS[problem]
    X = blobs(50)
    model = EMGaussianMixture(2, random_state=0, tol=0.1).fit(X).set_params(**{name: value})
    state = state_of(model)
    with pytest.raises(ValueError, match=name):
        model.fit(X)
    assert_same_state(model, state)


@pytest.mark.parametrize(
    ("covariance_type", "precisions"),
    [
        ("tied", -np.eye(3)),
        ("tied", np.eye(2)),
        ("diag", np.zeros((2, 3))),
        ("diag", np.ones(3)),
        ("spherical", np.array([1.0, -1.0])),
        ("spherical", np.ones((2, 3))),
    ],
)
def test_bad_precisions_of_every_structure_are_named(covariance_type, precisions):
    model = EMGaussianMixture(2, covariance_type=covariance_type, precisions_init=precisions)
    with pytest.raises(ValueError, match="precisions_init"):
        model.fit(blobs(50))


def test_nothing_before_fit():
    X = blobs(20)
    model = EMGaussianMixture(2)
    calls = {name: (X,) for name in METHODS if name not in ("fit", "fit_predict", "partial_fit")}
    calls |= {"sample": (), "marginal": ([0],), "conditional": ([0], [1.0])}
    calls["get_feature_names_out"] = ()
    for name, arguments in calls.items():
        with pytest.raises(NotFittedError):
            getattr(model, name)(*arguments)


def test_another_order_of_named_columns_is_an_error():
    X = pd.DataFrame(blobs(50), columns=["a", "b", "c"])
    model = EMGaussianMixture(2, random_state=0).fit(X)
    assert_array_equal(model.feature_names_in_, ["a", "b", "c"])
    with pytest.raises(ValueError, match="order"):
        model.score_samples(X[["b", "a", "c"]])
    with pytest.raises(ValueError, match="unseen"):
        model.impute(X.rename(columns={"a": "z"}))
    assert not hasattr(model.fit(X.to_numpy()), "feature_names_in_")
