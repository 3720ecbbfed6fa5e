"""Valid and invalid inputs of the autoencoder, none of which it changes."""

import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skvae import HiddenMarkovAutoencoder
from tests.problems import assert_same_state, knock_out, state_of
from tests.vae.estimator_problems import autoencoder, rows

# Those that take rows, of a model with a mixture prior.
METHODS = (
    "fit", "partial_fit", "predict", "predict_proba", "transform", "score_samples", "score",
    "impute", "elbo", "reconstruct", "standard_error", "effective_sample_size", "active_units",
)  # fmt: skip


# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")
LEARNING = ("fit", "partial_fit")


@pytest.fixture(scope="module")
def X():
    return rows()


@pytest.fixture(scope="module")
def fitted(X):
    return autoencoder(prior="mixture", n_prior_components=3).fit(X)


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
    "backwards": lambda X, _: X[::-1].copy()[::-1],
    "big-endian": lambda X, _: X.astype(">f8"),
    "memory-mapped": memory_mapped,
    "masked": lambda X, _: np.ma.MaskedArray(np.where(np.isnan(X), 1e30, X), np.isnan(X)),
    "list": lambda X, _: X.tolist(),
    "object array of numbers": lambda X, _: X.astype(object),
    "pandas": lambda X, _: pd.DataFrame(X),
    "pandas with names": lambda X, _: pd.DataFrame(X, columns=["a", "b", "c"]),
    "polars": lambda X, _: pl.DataFrame(X, schema=["a", "b", "c"]),
}


@pytest.fixture(scope="module")
def answers(X):
    """Rows with missing values, and the answers of a model fitted to them, by method."""
    X = knock_out(X)
    vae = autoencoder(prior="mixture", n_prior_components=3).fit(X)
    found = {method: getattr(vae, method)(X) for method in METHODS[2:]}
    return X, found, vae.score(X, sample_weight=np.arange(len(X)))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_answers(layout, answers, tmp_path):
    X, expected, weighted = answers
    laid_out = LAYOUTS[layout](X, tmp_path)
    other = autoencoder(prior="mixture", n_prior_components=3).fit(laid_out)
    for method in METHODS[2:]:
        found = getattr(other, method)(laid_out)
        assert_allclose(found, expected[method], rtol=1e-9, err_msg=method)
    found = other.score(laid_out, sample_weight=np.arange(len(X)))
    assert found == pytest.approx(weighted, rel=1e-9)
    other.partial_fit(laid_out)


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, bool, np.float16])
def test_numbers_of_any_type(dtype):
    X = np.random.default_rng(0).integers(0, 2 if dtype is bool else 100, size=(40, 3))
    X = X.astype(dtype)
    scores = autoencoder().fit(X).score_samples(X)
    assert scores.dtype == np.float64
    expected = autoencoder().fit(X.astype(float)).score_samples(X.astype(float))
    assert_allclose(scores, expected, rtol=1e-9)


def test_results_have_the_precision_of_the_rows(fitted, X):
    for method in METHODS[2:]:
        if method in ("predict", "active_units", "score"):
            continue
        single, double = getattr(fitted, method)(X.astype(np.float32)), getattr(fitted, method)(X)
        for left, right in zip(np.atleast_2d(single), np.atleast_2d(double), strict=True):
            assert (left.dtype, right.dtype) == (np.float32, np.float64), method
    assert fitted.inverse_transform(np.zeros((1, 2), np.float32)).dtype == np.float32
    assert fitted.elbo(X.astype(np.float32)).kl.dtype == np.float32


@pytest.mark.parametrize("layout", ["plain", "Fortran", "float32", "with missing values"])
def test_input_is_left_alone(layout, X):
    X = {
        "plain": lambda: X.copy(),
        "Fortran": lambda: np.asfortranarray(X),
        "float32": lambda: X.astype(np.float32),
        "with missing values": lambda: knock_out(X),
    }[layout]()
    before = X.copy()
    vae = autoencoder(prior="mixture", n_prior_components=3)
    for method in METHODS:
        getattr(vae, method)(X)
        assert_array_equal(X, before)


def test_rows_are_not_kept_by_reference(X):
    X = X.copy()
    vae = autoencoder(early_stopping=False, likelihood="poisson").fit(np.abs(X).round())
    given = np.abs(X).round()
    other = autoencoder(early_stopping=False, likelihood="poisson").fit(given)
    given[:] = 77.0
    rest = np.abs(X).round()
    assert_array_equal(
        other.partial_fit(rest).score_samples(rest), vae.partial_fit(rest).score_samples(rest)
    )


# Rows that are hard -------------------------------------------------------------------------------


def test_rows_and_columns_without_a_value(X):
    X = X.copy()
    X[:5] = np.nan
    vae = autoencoder().fit(X)
    assert_array_equal(vae.score_samples(X)[:5], 0)
    assert np.isfinite(vae.impute(X)).all()
    X[:, 1] = np.nan
    for method in LEARNING:
        with pytest.raises(ValueError, match="X has no observed value in feature 1"):
            getattr(autoencoder(), method)(X)
    assert np.isfinite(vae.score(X))


@pytest.mark.parametrize("n_rows", [2, 3, 10])
def test_few_rows(n_rows, X):
    vae = autoencoder(prior="mixture", n_prior_components=2).fit(X[:n_rows])
    assert np.isfinite(vae.score(X[:n_rows]))
    assert np.isfinite(vae.partial_fit(X[:1]).score(X[:1]))


@pytest.mark.parametrize("method", LEARNING)
def test_one_row_is_too_few_to_begin_with(method, X):
    with pytest.raises(ValueError, match=r"1 sample|n_samples=1|minimum of 2"):
        getattr(autoencoder(), method)(X[:1])


def test_rows_that_leave_none_to_train_on(X, fitted):
    with pytest.raises(ValueError, match=r"validation_fraction=0.99 leaves none of 10 rows"):
        autoencoder(validation_fraction=0.99).fit(X[:10])
    vae = autoencoder(warm_start=True).fit(X)
    with pytest.raises(ValueError, match=r"validation_fraction=0.1 leaves none of 1 rows"):
        vae.fit(X[:1])


def test_constant_columns(X):
    X = X.copy()
    X[:, 1] = 3.7
    vae = autoencoder(1, max_epochs=40, lr=1e-2).fit(X)
    assert np.isfinite(vae.score(X))
    assert_allclose(vae.reconstruct(X)[:, 1], 3.7, atol=0.5)
    everything = np.full((20, 2), 1e8)
    assert np.isfinite(autoencoder().fit(everything).score(everything))


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
@pytest.mark.parametrize("offset", [1e8, -1e12])
def test_offsets(likelihood, offset, X):
    vae = autoencoder(likelihood=likelihood).fit(X)
    moved = autoencoder(likelihood=likelihood).fit(X + offset)
    # The digits that are left give other noise.
    atol = 0.05 if abs(offset) < 1e9 else 0.1
    assert_allclose(moved.score(X + offset), vae.score(X), atol=atol)


@pytest.mark.parametrize("unit", [1e100, 1e-100])
def test_units_near_the_ends_of_the_numbers(unit, X):
    vae, other = autoencoder().fit(X), autoencoder().fit(unit * X)
    assert_allclose(other.score(unit * X), vae.score(X) - 3 * np.log(unit), atol=1e-4)
    assert np.isfinite(other.sample(5)[0]).all()


def test_values_beyond_the_squares_of_numbers_are_named(X):
    X = X.copy()
    X[3, 2] = 1e300
    with pytest.raises(ValueError, match=r"1e\+300.*feature 2.*rescale"):
        autoencoder().fit(X)
    vae = autoencoder().fit(X[4:])
    assert vae.transform(X).shape == (60, 2)
    assert vae.score(X) < -1e100


def test_outliers_do_not_break_the_fit(X):
    X = X.copy()
    X[0, 0] = 1e30
    for likelihood in ("gaussian", "student_t"):
        vae = autoencoder(likelihood=likelihood).fit(X)
        assert np.isfinite(vae.score(X))
    vae = autoencoder(likelihood="student_t").fit(X[1:])
    with np.errstate(all="raise"):
        assert np.isfinite(vae.transform(X)).all()


def test_names_of_columns(X):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    vae = autoencoder(prior="mixture", n_prior_components=3).fit(frame)
    for method in METHODS[1:]:
        getattr(vae, method)(frame)  # without a warning
        with pytest.raises(ValueError, match="order"):
            getattr(vae, method)(frame[["b", "a", "c"]])
    vae.impute(frame.mask(frame > frame.quantile(0.8)))
    assert list(vae.get_feature_names_out()) == [
        "variationalautoencoder0",
        "variationalautoencoder1",
    ]
    assert not hasattr(vae.fit(X), "feature_names_in_")


def test_nothing_before_fit(X):
    vae = autoencoder(prior="mixture")
    calls = dict.fromkeys(METHODS[2:], (X,))
    calls |= {"sample": (), "inverse_transform": ([[0.0, 0.0]],), "get_feature_names_out": ()}
    calls |= {"save": ("model.safetensors",)}
    for name, arguments in calls.items():
        with pytest.raises(NotFittedError):
            getattr(vae, name)(*arguments)


# Parameters ---------------------------------------------------------------------------------------

BAD_PARAMETERS = [
    ("n_components", 0),
    ("n_components", 2.5),
    ("n_components", True),
    ("n_components", "three"),
    ("hidden_layer_sizes", 5),
    ("hidden_layer_sizes", (0,)),
    ("hidden_layer_sizes", (8.0,)),
    ("hidden_layer_sizes", "8"),
    ("hidden_layer_sizes", None),
    ("activation", "sine"),
    ("activation", None),
    ("encoder", 3),
    ("decoder", "mlp"),
    ("encoder_covariance", "banded"),
    ("likelihood", "x"),
    ("likelihood", None),
    ("likelihood_params", 3),
    ("likelihood_params", {"degree": 2}),
    ("prior", "flat"),
    ("prior", 0),
    ("n_prior_components", 0),
    ("beta", -1.0),
    ("beta", float("nan")),
    ("beta", "big"),
    ("kl_warmup", -1),
    ("kl_warmup", 0.5),
    ("free_bits", -0.1),
    ("n_importance_samples", 0),
    ("n_score_samples", 0),
    ("n_score_samples", 10.0),
    ("max_epochs", 0),
    ("max_epochs", None),
    ("batch_size", 0),
    ("batch_size", "all"),
    ("lr", 0),
    ("lr", -0.1),
    ("lr", float("inf")),
    ("lr", "fast"),
    ("optimizer", "newton"),
    ("optimizer", int),
    ("optimizer", None),
    ("gradient_clip", 0),
    ("gradient_clip", "soft"),
    ("early_stopping", "yes"),
    ("early_stopping", None),
    ("validation_fraction", 0),
    ("validation_fraction", 1.0),
    ("validation_fraction", None),
    ("n_iter_no_change", 0),
    ("tol", -1e-3),
    ("tol", None),
    ("mixed_precision", "bf16"),
    ("callbacks", 3),
    ("callbacks", "disable"),
    ("callbacks", [3]),
    ("callbacks", ["progress"]),
    ("net_params", 3),
    ("net_params", ["compile"]),
    ("net_params", {"lr": 3}),
    ("net_params", {"nonsense": 3}),
    ("net_params", {"optimizer__nonsense": 3}),
    ("net_params", {"train_split": None}),
    ("net_params", {"callbacks__best_weights": None}),
    ("net_params", {"iterator_train__num_workers": 2}),
    ("device", "nonsense"),
    ("device", None),
    ("device", 3),
    ("random_state", "seed"),
    ("random_state", -1),
    ("warm_start", "no"),
    ("verbose", "loud"),
    ("verbose", -1),
]


@pytest.mark.parametrize(("name", "value"), BAD_PARAMETERS)
def test_bad_parameter_is_named_with_its_value(name, value, fitted, X):
    before = getattr(fitted, name)
    fitted.set_params(**{name: value})
    try:
        state = state_of(fitted)
        said = value if not isinstance(value, dict | list) else next(iter(value))
        pattern = rf"(?s){name}.*{re.escape(str(said))}"
        for method in LEARNING:
            with pytest.raises(ValueError, match=pattern):
                getattr(fitted, method)(X)
            assert_same_state(fitted, state)
        fresh = autoencoder().set_params(**{name: value})
        with pytest.raises(ValueError, match=pattern):
            fresh.fit(X)
        assert vars(fresh).keys() == fresh.get_params().keys()
    finally:
        fitted.set_params(**{name: before})


def test_free_bits_and_importance_weights_exclude_each_other(X):
    with pytest.raises(ValueError, match=r"free_bits=0.5.*n_importance_samples"):
        autoencoder(free_bits=0.5, n_importance_samples=3).fit(X)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
def test_cuda_where_there_is_none_is_named(X):
    with pytest.raises(ValueError, match="device='cuda'"):
        autoencoder(device="cuda").fit(X)


def test_number_of_draws_is_checked_when_it_is_used(fitted, X):
    fitted.set_params(n_score_samples=0)
    try:
        for method in ("score", "elbo", "impute", "standard_error", "predict"):
            with pytest.raises(ValueError, match="n_score_samples=0"):
                getattr(fitted, method)(knock_out(X))
    finally:
        fitted.set_params(n_score_samples=100)


def test_numpy_scalars_are_parameters(X):
    """A grid made of NumPy arrays passes its entries as NumPy scalars."""
    settings = {
        "n_components": 2,
        "beta": 1.0,
        "kl_warmup": 1,
        "max_epochs": 2,
        "batch_size": 16,
        "lr": 0.01,
        "optimizer": "adam",
        "activation": "tanh",
        "prior": "mixture",
        "n_prior_components": 2,
        "n_score_samples": 10,
        "early_stopping": True,
        "validation_fraction": 0.2,
        "mixed_precision": False,
        "device": "cpu",
        "random_state": 0,
        "warm_start": False,
        "verbose": 0,
    }
    scalars = {name: np.array([value])[0] for name, value in settings.items()}
    assert all(isinstance(value, np.generic) for value in scalars.values())
    vae = autoencoder(**scalars).fit(X)
    assert_array_equal(vae.elbo(X).elbo, autoencoder(**settings).fit(X).elbo(X).elbo)


@pytest.mark.parametrize("name", ["gamma", "beta"])
def test_float32_rows_of_the_model_are_rows_that_it_takes(name):
    """Much of the mass is nearer to an end of the support than any float32."""
    rng = np.random.default_rng(0)
    X = rng.beta(0.05, 0.05, size=(120, 2)) if name == "beta" else rng.gamma(0.02, size=(120, 2))
    X = np.clip(X, 1e-37, 1.0 - 2.0**-24).astype(np.float32)
    holes = X.copy()
    holes[:, 1] = np.nan
    vae = autoencoder(1, likelihood=name, n_score_samples=10).fit(X)
    chain = HiddenMarkovAutoencoder(
        1, n_states=2, likelihood=name, max_epochs=1, n_score_samples=10, random_state=0
    ).fit(X)
    Z = np.linspace(-30.0, 30.0, 40, dtype=np.float32)[:, None]
    for model in (vae, chain):
        drawn = model.impute(holes, draw=True, random_state=0)
        assert drawn.dtype == np.float32
        for found in (drawn, model.impute(holes), model.reconstruct(X), model.inverse_transform(Z)):
            assert np.isfinite(model.score(found))
