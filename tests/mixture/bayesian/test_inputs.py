"""What may be passed in, what may not, and data that are hostile."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import BayesianMixtureSVI
from tests.mixture.bayesian.problems import (
    after,
    assert_same_posterior,
    bayes,
    every_covariance,
    every_weight,
)
from tests.mixture.test_inputs import memory_mapped, read_only
from tests.problems import assert_same_state, blobs, corners, knock_out, state_of

METHODS = (
    "fit", "fit_predict", "partial_fit", "predict", "predict_proba", "transform", "score_samples",
    "score", "impute",
)  # fmt: skip
LEARNING_METHODS = ("batch", "memoized", "online")

LAYOUTS = {
    "read-only": lambda X, _: read_only(X),
    "Fortran": lambda X, _: np.asfortranarray(X),
    "every other row": lambda X, _: np.repeat(X, 2, axis=0)[::2],
    "big-endian": lambda X, _: X.astype(">f8"),
    "memory-mapped": memory_mapped,
    "list": lambda X, _: X.tolist(),
    "object array of numbers": lambda X, _: X.astype(object),
    "pandas": lambda X, _: pd.DataFrame(X),
    "polars": lambda X, _: pl.DataFrame(X, schema=["a", "b", "c"]),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("method", LEARNING_METHODS)
@pytest.mark.parametrize("missing", [False, True])
def test_every_layout_gives_the_same_fit(layout, method, missing, tmp_path):
    X = blobs(150)
    X = knock_out(X) if missing else X
    model = after(bayes(2, learning_method=method, batch_size=40), X, 3)
    laid_out = LAYOUTS[layout](X, tmp_path)
    other = after(bayes(2, learning_method=method, batch_size=40), laid_out, 3)
    assert_same_posterior(other, model, rtol=1e-9)
    for name in ("score_samples", "predict_proba", "impute"):
        expected = getattr(model, name)(X)
        assert_allclose(getattr(other, name)(laid_out), expected, rtol=1e-8, atol=1e-12)


@every_covariance
@pytest.mark.parametrize("method", LEARNING_METHODS)
def test_float32_is_fitted_as_its_float64_copy(covariance_type, method):
    X = knock_out(blobs(200), 0.1).astype(np.float32)
    parameters = {"learning_method": method, "batch_size": 50}
    single = after(bayes(3, covariance_type, **parameters), X, 5)
    double = after(bayes(3, covariance_type, **parameters), X.astype(np.float64), 5)
    assert_allclose(single.elbo_, double.elbo_, rtol=1e-6)
    assert_allclose(single.means_, double.means_, rtol=1e-3, atol=1e-3)
    assert single.score_samples(X).dtype == single.transform(X).dtype == np.float32


@pytest.mark.parametrize("dtype", [np.int64, np.int8, np.uint8, bool, np.float16])
def test_numbers_of_any_type(dtype):
    X = np.random.default_rng(0).integers(0, 2 if dtype is bool else 100, size=(100, 3))
    X = X.astype(dtype)
    model = after(bayes(2), X, 3)
    assert_same_posterior(model, after(bayes(2), X.astype(float), 3), rtol=1e-9)


BAD_PARAMETERS = [
    ("n_components", 0), ("n_components", 2.5), ("n_components", "three"),
    ("covariance_type", "banded"), ("covariance_type", None),
    ("weight_concentration_prior_type", "pitman_yor"),
    ("weight_concentration_prior", 0), ("weight_concentration_prior", -1.0),
    ("weight_concentration_prior", "small"), ("weight_concentration_prior", np.inf),
    ("weight_concentration_prior", np.nan),
    ("mean_precision_prior", 0.0), ("mean_precision_prior", -2), ("mean_precision_prior", [1.0]),
    ("mean_prior", [0.0, 1.0]), ("mean_prior", [0.0, 1.0, np.nan]), ("mean_prior", "origin"),
    ("mean_prior", [0.0, 1.0, np.inf]),
    ("degrees_of_freedom_prior", 2.0), ("degrees_of_freedom_prior", -1),
    ("degrees_of_freedom_prior", 0), ("degrees_of_freedom_prior", "many"),
    ("covariance_prior", 1.0), ("covariance_prior", np.eye(2)), ("covariance_prior", -np.eye(3)),
    ("covariance_prior", np.ones((3, 3))), ("covariance_prior", np.full((3, 3), np.nan)),
    ("covariance_prior", np.eye(3) + np.eye(3, k=1)),
    ("learning_method", "sgd"), ("learning_method", None),
    ("learning_decay", 0.5), ("learning_decay", 1.1), ("learning_decay", "slow"),
    ("learning_offset", 0.5), ("learning_offset", None), ("learning_offset", np.inf),
    ("batch_size", 0), ("batch_size", 2.5), ("batch_size", "auto"),
    ("total_samples", 0), ("total_samples", "all"), ("total_samples", np.nan),
    ("moves", "merge"), ("moves", ("split",)), ("moves", 3), ("moves", None),
    ("tol", -1e-3), ("tol", "small"), ("max_iter", -1), ("max_iter", 1.5),
    ("n_init", 0), ("init_params", "zeros"), ("random_state", "seed"), ("warm_start", "no"),
    ("verbose", -1), ("verbose_interval", 0), ("n_jobs", 0), ("n_jobs", "all"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
def test_bad_parameter_is_named(name, value):
    X = blobs(50)
    model = BayesianMixtureSVI(2, random_state=0, tol=0.1).fit(X).set_params(**{name: value})
    state = state_of(model)
    pattern = rf"(?s){name}"
    if isinstance(value, int | float | str) and name != "covariance_prior":
        pattern = rf"{pattern}.*{re.escape(str(value))}"
    with pytest.raises(ValueError, match=pattern):
        model.fit(X)
    assert_same_state(model, state)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("weight_concentration_prior", -1.0, "weight_concentration_prior=-1.0: must be"),
        ("degrees_of_freedom_prior", 2.0, "must be > n_features - 1 = 2"),
        ("learning_decay", 0.5, "learning_decay=0.5: must be in (0.5, 1]"),
        ("covariance_prior", -np.eye(3), "covariance_prior has an eigenvalue <= 0"),
        ("covariance_prior", np.eye(3) + np.eye(3, k=1), "covariance_prior is not symmetric"),
        ("moves", ("split",), "must be 'auto' or a tuple of some of ('merge', 'delete', 'birth')"),
        ("n_components", 51, "n_components=51: must be <= n_samples, which is 50"),
    ],
)
def test_errors_say_what_may_be(name, value, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        BayesianMixtureSVI(2).set_params(**{name: value}).fit(blobs(50))


@pytest.mark.parametrize(
    ("covariance_type", "scale"),
    [
        ("tied", -np.eye(3)), ("tied", np.ones(3)), ("diag", np.zeros(3)), ("diag", np.eye(3)),
        ("diag", [1.0, -1.0, 1.0]), ("spherical", 0.0), ("spherical", [1.0]), ("spherical", -2),
    ],
)  # fmt: skip
def test_bad_scales_of_every_structure_are_named(covariance_type, scale):
    with pytest.raises(ValueError, match="covariance_prior"):
        bayes(2, covariance_type, covariance_prior=scale).fit(blobs(50))


def test_fewer_degrees_of_freedom_than_features_where_precisions_are_numbers():
    for kind in ("diag", "spherical"):
        model = after(bayes(2, kind, degrees_of_freedom_prior=0.1), blobs(50), 3)
        assert np.isfinite(model.elbo_)


def test_numpy_scalars_are_parameters():
    X = blobs(60)
    settings = {
        "n_components": 2, "covariance_type": "tied", "tol": 0.01, "max_iter": 200, "n_init": 2,
        "weight_concentration_prior": 0.5, "mean_precision_prior": 2.0, "batch_size": 20,
        "degrees_of_freedom_prior": 4.0, "learning_method": "memoized", "learning_decay": 0.8,
        "learning_offset": 2.0, "random_state": 0, "warm_start": False, "verbose": 0,
    }  # fmt: skip
    scalars = {name: np.array([value])[0] for name, value in settings.items()}
    model = BayesianMixtureSVI(**scalars).fit(X)
    assert_same_posterior(model, BayesianMixtureSVI(**settings).fit(X), rtol=0, atol=0)


def test_priors_are_left_alone_and_not_kept_by_reference():
    X = blobs(100)
    mean, scale = np.zeros(3), np.eye(3)
    model = bayes(2, mean_prior=mean, covariance_prior=scale).fit(X)
    scores = model.score_samples(X)
    assert_array_equal(mean, 0.0)
    assert_array_equal(scale, np.eye(3))
    mean[:], scale[:] = 7.0, 9.0
    assert_array_equal(model.score_samples(X), scores)
    assert_array_equal(model.mean_prior_, 0.0)


# Hostile data -------------------------------------------------------------------------------------


@every_covariance
@pytest.mark.parametrize("method", LEARNING_METHODS)
def test_a_constant_column(covariance_type, method):
    X = blobs(100)
    X[:, 1] = 5.0
    model = after(bayes(2, covariance_type, learning_method=method), X, 5)
    assert np.isfinite(model.elbo_)
    assert_allclose(model.means_[model.mean_precision_ > 5, 1], 5.0, rtol=1e-9)


@every_covariance
@every_weight
def test_equal_rows(covariance_type, weight_type):
    model = bayes(3, covariance_type, weight_type).fit(np.full((30, 2), 4.0))
    assert np.isfinite(model.elbo_)
    assert np.isfinite(model.score([[4.0, 4.0], [0.0, 1.0]]))


@every_covariance
def test_collinear_columns(covariance_type):
    X = blobs(100)
    X = np.hstack([X, X[:, :1]])
    model = after(bayes(3, covariance_type), X, 10)
    assert np.isfinite(model.elbo_)
    assert np.isfinite(model.score(X))


@pytest.mark.parametrize("method", LEARNING_METHODS)
def test_a_column_without_a_value_is_named(method):
    X = blobs(50)
    X[:, 2] = np.nan
    with pytest.raises(ValueError, match="no observed value in feature 2"):
        bayes(2, learning_method=method).fit(X)


def test_one_row_is_too_few():
    with pytest.raises(ValueError, match=r"1 sample|n_samples"):
        bayes(1).fit([[1.0, 2.0]])


@every_covariance
def test_two_rows(covariance_type):
    model = bayes(2, covariance_type).fit([[0.0, 0.0], [1.0, 3.0]])
    assert np.isfinite(model.score([[0.5, 1.0]]))


@every_covariance
def test_more_features_than_rows(covariance_type):
    X = np.random.default_rng(0).normal(size=(10, 25))
    model = after(bayes(2, covariance_type), X, 5)
    assert np.isfinite(model.elbo_)
    assert np.isfinite(model.score(X))


@every_covariance
def test_rows_far_beyond_are_scored_without_a_warning(covariance_type):
    """A Student-t knows no underflow: far rows have finite densities."""
    model = bayes(2, covariance_type).fit(corners(50))
    far = np.array([[1e30, -1e30], [1e100, 0.0]])
    scores = model.score_samples(far)
    assert np.isfinite(scores).all()
    assert scores[1] < scores[0] < -100
    assert_allclose(model.predict_proba(far).sum(axis=1), 1.0)


@pytest.mark.parametrize("value", [1e160, 1e200])
def test_values_whose_squares_overflow_are_named(value):
    X = blobs(50)
    X[3, 1] = value
    with pytest.raises(ValueError, match=r"size 1e\+\d+ in feature 1: .* rescale"):
        bayes(2).fit(X)


def test_weights_are_checked():
    X = blobs(50)
    for weight in (np.ones(49), -np.ones(50), np.full(50, np.nan), np.zeros(50)):
        with pytest.raises(ValueError, match=r"(?i)weight"):
            bayes(2).fit(X, sample_weight=weight)
    with pytest.raises(ValueError, match="without the rows of weight zero"):
        bayes(3).fit(X, sample_weight=np.r_[1.0, 1.0, np.zeros(48)])
