"""Rows as pictures: reconstructions and draws."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KernelDensity

from skvae import EMGaussianMixture, VariationalAutoencoder
from skvae.inspection import LatentTraversalDisplay, ReconstructionDisplay, SampleDisplay


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 6))


@pytest.fixture(scope="module")
def vae(X):
    return VariationalAutoencoder(
        2, hidden_layer_sizes=(4,), max_epochs=1, early_stopping=False, random_state=0
    ).fit(X)


def _tile(display, line, column, height=2, width=3):
    """Return one picture of the table, without its margin."""
    canvas = np.ma.filled(display.image_.get_array().astype(float), np.nan)
    top, left = line * (height + 2) + 1, column * (width + 2) + 1
    return canvas[top : top + height, left : left + width].ravel()


def _profiles(display, line, column, n_features=6):
    """Return the heights of one cell's profile in the first line, and where they are."""
    n_columns = round(display.ax_.get_xlim()[1])
    x, y = display.lines_[0].get_data()
    begin = (line * n_columns + column) * (n_features + 1)
    return x[begin : begin + n_features], y[begin : begin + n_features]


def test_reconstructions_are_below_their_rows(vae, X):
    display = ReconstructionDisplay.from_estimator(
        vae, X[:7], image_shape=(2, 3), n_columns=5, cmap="viridis"
    )
    expected = vae.reconstruct(X[:7])
    assert display.image_.get_array().shape == (4 * 4, 5 * 5)
    assert display.image_.get_cmap().name == "viridis"
    for row in range(7):
        line, column = divmod(row, 5)
        assert_array_equal(_tile(display, 2 * line, column), X[row])
        assert_array_equal(_tile(display, 2 * line + 1, column), expected[row])
    assert np.isnan(_tile(display, 2, 2)).all()  # no eighth row
    assert display.image_.get_clim() == (
        min(X[:7].min(), expected.min()),
        max(X[:7].max(), expected.max()),
    )
    labels = [text.get_text() for text in display.ax_.get_yticklabels()]
    assert labels == ["rows", "reconstructed"] * 2
    assert display.missing_ is None
    assert display.lines_ == []
    display.figure_.canvas.draw()


def test_missing_pixels_are_crosses(vae, X):
    rows = X[:2].copy()
    rows[0, 0] = rows[1, 5] = np.nan
    display = ReconstructionDisplay.from_estimator(vae, rows, image_shape=(2, 3))
    # Pixels of cells that are 5 wide and 4 high, the margin of one pixel included.
    assert_allclose(display.missing_.get_xdata(), [1.5 / 5, 1 + 3.5 / 5])
    assert_allclose(display.missing_.get_ydata(), [1.5 / 4, 2.5 / 4])
    assert np.isfinite(_tile(display, 1, 0)).all()


def test_profiles_are_on_one_scale(vae, X):
    display = ReconstructionDisplay.from_estimator(vae, X[:3], n_columns=2)
    rows, reconstructed = display.lines_
    every = np.concatenate([X[:3], vae.reconstruct(X[:3])])
    low, high = every.min(), every.max()
    x, y = _profiles(display, 1, 0)
    assert_allclose(y, 1.92 - 0.84 * (X[2] - low) / (high - low))
    assert_allclose(x, np.linspace(0.08, 0.92, 6))
    expected = 0.92 - 0.84 * (vae.reconstruct(X[1:2])[0] - low) / (high - low)
    assert_allclose(reconstructed.get_ydata()[7:13], expected)
    assert (rows.get_linestyle(), reconstructed.get_linestyle()) == ("-", "--")
    assert display.ax_.get_ylim() == (2, 0)
    assert display.image_ is None
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["rows", "reconstructed"]


def test_a_missing_value_is_a_gap_of_the_profile():
    display = ReconstructionDisplay([[0.0, np.nan, 2.0]], [[0.0, 1.0, 2.0]]).plot()
    assert_array_equal(np.isnan(display.lines_[0].get_ydata()[:3]), [False, True, False])
    assert_allclose(display.lines_[1].get_ydata()[:3], [0.92, 0.5, 0.08])


def test_one_feature_and_one_value():
    display = SampleDisplay([[3.0], [3.0]]).plot()
    assert_allclose(display.lines_[0].get_xdata()[[0, 2]], [0.5, 1.5])
    assert_allclose(display.lines_[0].get_ydata()[[0, 2]], [0.5, 0.5])
    display.figure_.canvas.draw()


def test_what_has_no_reconstruct_transforms_and_back(X):
    pca = PCA(2).fit(X)
    display = ReconstructionDisplay.from_estimator(pca, X[:4], image_shape=(2, 3))
    assert_allclose(_tile(display, 1, 3), pca.inverse_transform(pca.transform(X[3:4]))[0])


def test_a_data_frame(X):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    vae = VariationalAutoencoder(1, max_epochs=1, random_state=0).fit(frame)
    display = ReconstructionDisplay.from_estimator(vae, frame[:3])
    assert_array_equal(display.X, X[:3])


def test_draws_are_those_of_sample(vae):
    display = SampleDisplay.from_estimator(vae, 7, image_shape=(2, 3), n_columns=4, random_state=3)
    draws, latent = vae.sample(7, random_state=3)
    assert display.image_.get_array().shape == (2 * 4, 4 * 5)
    for row in range(7):
        assert_array_equal(_tile(display, *divmod(row, 4)), draws[row])
    expected = SampleDisplay.from_estimator(vae, 7, noise=False, random_state=3)
    assert_allclose(expected.X, vae.inverse_transform(latent))
    assert len(expected.lines_) == 1
    assert expected.image_ is None


def test_draws_of_other_models(X):
    mixture = EMGaussianMixture(2, random_state=0).fit(X)
    display = SampleDisplay.from_estimator(mixture, 5, random_state=1)
    assert_array_equal(display.X, mixture.sample(5, random_state=1)[0])
    density = KernelDensity().fit(X)  # it draws no tuple
    display = SampleDisplay.from_estimator(density, 5, random_state=1)
    assert_array_equal(display.X, density.sample(5, random_state=1))
    with pytest.raises(ValueError, match="noise=False: EMGaussianMixture has no inverse_transform"):
        SampleDisplay.from_estimator(mixture, noise=False)


@pytest.mark.parametrize("form", [np.asarray, pd.DataFrame, pl.DataFrame])
def test_models_with_given_columns(form, X):
    """Rows have the values of the given columns; draws need them."""
    rows = np.column_stack([X[:, :2], X[:, 2:] > 0]).astype(float)
    names = None if form is np.asarray else list("abcdef")
    table = rows if names is None else form(dict(zip(names, rows.T, strict=True)))
    vae = VariationalAutoencoder(
        1, condition=[4, 0], likelihood=[("gaussian", 1), ("bernoulli", [2, 3, 5])], max_epochs=2
    ).fit(table)
    display = ReconstructionDisplay.from_estimator(vae, table)
    Z, c = vae.transform(table), rows[:, [4, 0]]
    assert_allclose(display.X_reconstructed, vae.inverse_transform(Z, condition=c))
    assert not np.isin(display.X_reconstructed[:, 2], [0, 1]).any()  # probabilities
    for noise in (True, False):
        options = {"condition": c[:7], "random_state": 0}
        drawn, Z = vae.sample(7, **options)
        expected = drawn if noise else vae.inverse_transform(Z, condition=c[:7])
        found = SampleDisplay.from_estimator(vae, 7, noise=noise, **options).X
        assert_allclose(found, expected)
    with pytest.raises(ValueError, match="condition=None: must have the values of the columns"):
        SampleDisplay.from_estimator(vae)


def test_names_of_categories_have_no_picture(X):
    rows = pd.DataFrame({"size": X[:, 0], "group": np.where(X[:, 1] > 0, "high", "low")})
    parts = [("gaussian", "size"), ("categorical", "group")]
    vae = VariationalAutoencoder(2, likelihood=parts, max_epochs=1).fit(rows)
    for output in ("default", "pandas", "polars"):
        vae.set_output(transform=output)
        for call in (
            lambda: ReconstructionDisplay.from_estimator(vae, rows),
            lambda: SampleDisplay.from_estimator(vae, 5),
            lambda: LatentTraversalDisplay.from_estimator(vae),
        ):
            match = "X has values that are no numbers .*: fit with the codes 0, 1, … of the categor"
            with pytest.raises(ValueError, match=match):
                call()


def test_given_axes(vae, X):
    for image_shape in (None, (3, 2)):
        _, ax = plt.subplots()
        display = SampleDisplay.from_estimator(vae, 3, image_shape=image_shape, ax=ax)
        assert display.ax_ is ax
        assert display.figure_ is ax.figure
        display = ReconstructionDisplay.from_estimator(vae, X[:2], image_shape=image_shape, ax=ax)
        assert display.ax_ is ax


@pytest.mark.parametrize("image_shape", [(2, 2), (6,), (1, 2, 3), 6, (2.0, 3.0), (-2, -3), "23"])
def test_an_image_shape_that_is_not_that_of_the_rows(image_shape, vae, X):
    rule = r"image_shape=.* must be \(height, width\), of 6 pixels as the rows have"
    with pytest.raises(ValueError, match=rule):
        ReconstructionDisplay.from_estimator(vae, X, image_shape=image_shape)
    with pytest.raises(ValueError, match=rule):
        SampleDisplay.from_estimator(vae, image_shape=image_shape)
    assert plt.get_fignums() == []


@pytest.mark.parametrize("n_columns", [0, 2.0, True, None])
def test_columns_are_one_at_least(n_columns):
    with pytest.raises(ValueError, match=f"n_columns={n_columns!r} must be an int, at least 1"):
        SampleDisplay([[1.0, 2.0]]).plot(n_columns=n_columns)


def test_not_fitted(X):
    with pytest.raises(NotFittedError):
        ReconstructionDisplay.from_estimator(VariationalAutoencoder(), X)
    with pytest.raises(NotFittedError):
        SampleDisplay.from_estimator(VariationalAutoencoder())
