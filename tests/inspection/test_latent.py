"""The latent space, and traversals of it."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler

from skvae import VariationalAutoencoder
from skvae.inspection import LatentSpaceDisplay, LatentTraversalDisplay


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(40, 6)) * [1, 2, 3, 4, 5, 6]


def _fitted(X, n_components, **params):
    return VariationalAutoencoder(
        n_components,
        hidden_layer_sizes=(4,),
        max_epochs=1,
        early_stopping=False,
        random_state=0,
        **{"prior": "normal", **params},
    ).fit(X)


@pytest.fixture(scope="module")
def vae(X):
    return _fitted(X, 3)


def _offsets(points):
    return np.asarray(points.get_offsets())


def test_rows_are_at_their_posterior_means(vae, X):
    display = LatentSpaceDisplay.from_estimator(vae, X, dimensions=(2, 0))
    assert_allclose(_offsets(display.points_[0]), vae.transform(X)[:, [2, 0]])
    assert display.ax_.get_xlabel() == "latent dimension 2"
    assert display.ax_.get_ylabel() == "latent dimension 0"
    assert display.ax_.get_legend() is None
    assert display.colorbar_ is None
    assert display.ax_.get_aspect() == 1


def test_the_dimensions_are_those_that_vary_most():
    X = np.random.default_rng(1).normal(size=(30, 3)) * [2.0, 0.01, 3.0]
    centred = StandardScaler(with_std=False).fit(X)  # its latent dimensions are the features
    display = LatentSpaceDisplay.from_estimator(centred, X)
    assert display.dimensions == (0, 2)
    assert_allclose(_offsets(display.points_[0]), (X - X.mean(axis=0))[:, [0, 2]])


def test_traversals_of_a_model_with_given_columns(X):
    vae = _fitted(X, 2, condition=[1, 4])
    display = LatentTraversalDisplay.from_estimator(vae, condition=[[3.0, -2.0]], n_steps=3)
    Z = [[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]]
    assert_allclose(display.X[0], vae.inverse_transform(Z, condition=[[3.0, -2.0]]))
    assert_array_equal(display.X[:, :, 4], -2.0)
    with pytest.raises(ValueError, match="condition=None: must have the values of the columns"):
        LatentTraversalDisplay.from_estimator(vae)
    assert len(LatentSpaceDisplay.from_estimator(vae, X).points_) == 1


def test_groups_differ_by_colour_and_marker(vae, X):
    labels = np.array(["b", "a", "c", "a"] * 10)
    display = LatentSpaceDisplay.from_estimator(vae, X, labels=labels, dimensions=(0, 1))
    Z = vae.transform(X)[:, :2]
    expected = mpl.colors.to_rgba_array(["#0072B2", "#D55E00", "#009E73"])
    for name, points, color in zip("abc", display.points_, expected, strict=True):
        assert_allclose(_offsets(points), Z[labels == name])
        assert_allclose(points.get_facecolor()[0, :3], color[:3])
    assert len({len(points.get_paths()[0]) for points in display.points_}) == 3
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert texts == ["a", "b", "c"]
    assert len(display.ax_.texts) == 0


def test_many_groups_are_named_where_they_are():
    labels = np.repeat(np.arange(10), 5)
    Z = np.random.default_rng(0).normal(size=(50, 2)) + labels[:, None]
    display = LatentSpaceDisplay(Z, labels).plot()
    display.figure_.canvas.draw()
    for k, text in enumerate(display.ax_.texts):
        assert text.get_text() == str(k)
        assert_allclose(text.get_position(), np.median(Z[labels == k], axis=0))
    assert len(display.ax_.texts) == 10


def test_numbers_of_many_values_are_a_scale():
    Z = np.random.default_rng(0).normal(size=(30, 2))
    display = LatentSpaceDisplay(Z, np.arange(30) / 7).plot()
    assert_allclose(display.points_[0].get_array(), np.arange(30) / 7)
    assert display.colorbar_ is not None
    names = LatentSpaceDisplay(Z, list(map(str, range(30)))).plot()
    assert names.colorbar_ is None
    assert len(names.points_) == 30
    assert names.ax_.get_legend() is None


@pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")  # one epoch
def test_a_mixture_prior_colours_by_its_components(X):
    vae = _fitted(X, 2, prior="mixture", n_prior_components=3)
    display = LatentSpaceDisplay.from_estimator(vae, X)
    assert_array_equal(display.labels, vae.predict(X))
    labels = np.zeros(40, int)
    display = LatentSpaceDisplay.from_estimator(vae, X, labels=labels)
    assert_array_equal(display.labels, labels)


def test_wrong_labels_and_dimensions(vae, X):
    with pytest.raises(ValueError, match=r"labels of shape \(3,\) must be one for each of 40 rows"):
        LatentSpaceDisplay.from_estimator(vae, X, labels=[0, 1, 2])
    for dimensions in [(0,), (0, 0), (0, 3), (0, 1, 2), (-1, 0), 1, (0.0, 1.0), "01"]:
        rule = r"dimensions=.* must be 2 different latent dimensions, from 0 to 2"
        with pytest.raises(ValueError, match=rule):
            LatentSpaceDisplay.from_estimator(vae, X, dimensions=dimensions)
    with pytest.raises(ValueError, match="VariationalAutoencoder has one latent dimension"):
        LatentSpaceDisplay.from_estimator(_fitted(X, 1), X)
    assert plt.get_fignums() == []


def test_each_dimension_is_moved_with_the_others_at_rest(vae):
    display = LatentTraversalDisplay.from_estimator(vae, n_steps=5, span=3, image_shape=(2, 3))
    assert_allclose(display.values, [-3, -1.5, 0, 1.5, 3])
    for dimension in range(3):
        Z = np.zeros((5, 3))
        Z[:, dimension] = display.values
        assert_allclose(display.X[dimension], vae.inverse_transform(Z))
    canvas = np.ma.filled(display.image_.get_array(), np.nan)
    assert_allclose(canvas[5:7, 21:24].ravel(), display.X[1, 4])
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["0", "1", "2"]
    ticks = [t.get_text() for t in display.ax_.get_xticklabels()]
    assert ticks == ["-3", "-1.5", "0", "1.5", "3"]
    assert_allclose(display.ax_.get_xticks(), [0.5, 1.5, 2.5, 3.5, 4.5])


def test_the_neighbourhood_of_a_row(vae, X):
    center = vae.transform(X[:1])[0]
    display = LatentTraversalDisplay.from_estimator(vae, dimensions=[2], center=center, n_steps=3)
    assert_allclose(display.X[0, 1], vae.reconstruct(X[:1])[0])
    moved = center + [0, 0, 2]
    assert_allclose(display.X[0, 2], vae.inverse_transform([moved])[0])
    assert len(display.lines_) == 1


def test_a_grid_goes_right_and_up(vae):
    display = LatentTraversalDisplay.from_estimator(
        vae, dimensions=(2, 0), grid=True, n_steps=4, image_shape=(2, 3)
    )
    low, high = display.values[[0, 3]]
    right_below = vae.inverse_transform([[low, 0, high]])[0]
    assert_allclose(display.X[0, 3], right_below)
    canvas = np.ma.filled(display.image_.get_array(), np.nan)
    assert_allclose(canvas[13:15, 16:19].ravel(), right_below)
    left_above = vae.inverse_transform([[high, 0, low]])[0]
    assert_allclose(canvas[1:3, 1:4].ravel(), left_above)
    heights = dict(
        zip(
            [t.get_text() for t in display.ax_.get_yticklabels()],
            display.ax_.get_yticks(),
            strict=True,
        )
    )
    assert (heights["-2"], heights["2"]) == (3.5, 0.5)
    assert display.ax_.get_xlabel() == "latent dimension 2"
    assert display.ax_.get_ylabel() == "latent dimension 0"


def test_many_steps_have_few_numbers_and_one_dimension_is_enough(X):
    display = LatentTraversalDisplay.from_estimator(_fitted(X, 1), n_steps=25)
    assert len(display.ax_.get_xticks()) == 9
    display.figure_.canvas.draw()


def test_another_model_with_a_latent_space(X):
    pca = PCA(2).fit(X)
    _, ax = plt.subplots()
    display = LatentTraversalDisplay.from_estimator(pca, n_steps=3, span=1, ax=ax)
    assert display.ax_ is ax
    assert_allclose(display.X[1, 2], pca.mean_ + pca.components_[1])


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_steps": 1}, "n_steps=1 must be an int, at least 2"),
        ({"n_steps": 3.0}, "n_steps=3.0 must be an int, at least 2"),
        ({"span": 0}, "span=0 must be above 0"),
        ({"center": [0, 0]}, "must be 3 numbers, one a dimension"),
        ({"dimensions": []}, r"dimensions=\[\] must be different latent dimensions, from 0 to 2"),
        ({"dimensions": [3]}, r"dimensions=\[3\] must be different latent dimensions, from 0 to 2"),
        ({"dimensions": [0], "grid": True}, "must be 2 different latent dimensions"),
        ({"image_shape": (2, 2)}, r"image_shape=\(2, 2\) must be \(height, width\), of 6 pixels"),
    ],
)
def test_wrong_traversals(params, message, vae):
    with pytest.raises(ValueError, match=message):
        LatentTraversalDisplay.from_estimator(vae, **params)
    assert plt.get_fignums() == []


def test_not_fitted(X):
    with pytest.raises(NotFittedError):
        LatentSpaceDisplay.from_estimator(VariationalAutoencoder(), X)
    with pytest.raises(NotFittedError):
        LatentTraversalDisplay.from_estimator(VariationalAutoencoder())
