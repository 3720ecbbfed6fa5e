"""The plot of a density over two features."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose
from scipy import stats
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity

from skvae import EMGaussianMixture
from skvae.inspection import DensityDisplay


@pytest.fixture
def X():
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 2)) @ [[2.0, 0.5], [0.0, 0.3]] + [1.0, -2.0]


@pytest.fixture
def X3(X):
    return np.column_stack([X, np.random.default_rng(1).normal(size=300)])


def test_the_grid_holds_the_log_density(X):
    model = KernelDensity().fit(X)
    display = DensityDisplay.from_estimator(model, X, grid_resolution=20, eps=0.5)
    expected = [[model.score_samples([[a, b]])[0] for a in display.x0] for b in display.x1]
    assert_allclose(display.log_density, expected)
    low, high = X.min(axis=0), X.max(axis=0)
    assert_allclose([display.x0[0], display.x1[0]], low - 0.5 * (high - low))
    assert_allclose([display.x0[-1], display.x1[-1]], high + 0.5 * (high - low))
    assert display.ellipses_ == []


def test_regions_hold_the_probability_they_say(X):
    """A Gaussian's region of mass p is an ellipse of squared radius -2 ln(1 - p)."""
    covariance = np.array([[2.0, 0.6], [0.6, 0.5]])
    x0, x1 = np.linspace(-9, 9, 301), np.linspace(-6, 6, 301)
    grid = np.stack(np.meshgrid(x0, x1), axis=-1)
    normal = stats.multivariate_normal([0, 0], covariance)
    display = DensityDisplay(x0, x1, normal.logpdf(grid)).plot()
    radii = -2 * np.log1p(-np.array([0.99, 0.95, 0.8, 0.5]))
    expected = normal.logpdf([0, 0]) - radii / 2
    assert_allclose(display.surface_.levels[:4], expected, atol=0.02)


@pytest.mark.parametrize("make", [EMGaussianMixture, GaussianMixture])
@pytest.mark.parametrize("features", [(0, 1), (1, 0)])
def test_regions_hold_it_too_where_a_component_is_narrower_than_a_cell(make, features):
    """Half of the probability is on a line a thousandth of a cell wide, which the grid misses."""
    rng = np.random.default_rng(4)
    X = rng.normal(size=(400, 2))
    X[:200, 1] = 3.0 + 1e-5 * X[:200, 1]
    model = make(2, covariance_type="diag", reg_covar=1e-12, random_state=5).fit(X)
    assert np.sqrt(model.covariances_.min()) < 2e-5
    display = DensityDisplay.from_estimator(model, X, features=features)
    assert display.x1[1] - display.x1[0] > 0.01
    assert model.random_state == 5
    fresh = EMGaussianMixture.from_parameters(
        model.weights_, model.means_, model.covariances_, covariance_type="diag"
    ).sample(40_000, random_state=6)[0]
    held = (model.score_samples(fresh)[:, None] >= display.levels).mean(axis=0)
    # Four standard errors of the 20,000 draws and of these 40,000.
    shares = np.array([0.99, 0.95, 0.8, 0.5])
    assert (abs(held - shares) < 4 * np.sqrt(shares * (1 - shares) * 1.5 / 20_000)).all()
    assert_allclose(display.surface_.levels[:4], display.levels)


def test_regions_of_a_marginal_and_of_a_kernel_density(X, X3):
    """The same density, as a marginal and itself; and one that draws no labels."""
    mixture = EMGaussianMixture(2, random_state=0).fit(X3)
    marginal = mixture.marginal([2, 0])
    from_three = DensityDisplay.from_estimator(mixture, X3, features=(2, 0), grid_resolution=10)
    from_two = DensityDisplay.from_estimator(marginal, X3[:, [2, 0]], grid_resolution=10)
    assert_allclose(from_three.levels, from_two.levels)
    kernel = KernelDensity(bandwidth=0.5).fit(X)
    display = DensityDisplay.from_estimator(kernel, X, grid_resolution=10)
    held = kernel.score_samples(kernel.sample(5000, random_state=1))[:, None] >= display.levels
    assert_allclose(held.mean(axis=0), [0.99, 0.95, 0.8, 0.5], atol=0.03)


def test_a_density_that_cannot_be_drawn_from_has_the_regions_of_the_grid(X):
    kernel = KernelDensity(kernel="epanechnikov", bandwidth=3.0).fit(X)
    display = DensityDisplay.from_estimator(kernel, X, eps=2.0)
    assert display.levels is None
    density = np.exp(display.log_density)
    held = [density[display.log_density >= level].sum() for level in display.surface_.levels[:4]]
    assert_allclose(held / density.sum(), [0.99, 0.95, 0.8, 0.5], atol=0.001)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
@pytest.mark.parametrize("features", [(0, 1), (2, 0)])
def test_ellipses_are_two_standard_deviations(covariance_type, features, X3):
    """Each point of the ellipse lies at Mahalanobis distance 2 from the component's mean."""
    model = EMGaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X3)
    display = DensityDisplay.from_estimator(model, X3, features=features, grid_resolution=10)
    assert len(display.ellipses_) == 2
    full = {
        "full": lambda c: c,
        "tied": lambda c: np.stack([c, c]),
        "diag": lambda c: np.stack([np.diag(v) for v in c]),
        "spherical": lambda c: np.stack([np.eye(3) * v for v in c]),
    }[covariance_type](model.covariances_)
    pair = list(features)
    turns = 2 * np.pi * np.linspace(0, 1, 50)
    circle = np.column_stack([np.cos(turns), np.sin(turns)])
    for ellipse, mean, covariance in zip(display.ellipses_, model.means_, full, strict=True):
        assert_allclose(ellipse.center, mean[pair])
        offsets = ellipse.get_patch_transform().transform(circle) - mean[pair]
        precision = np.linalg.inv(covariance[np.ix_(pair, pair)])
        distances = np.sqrt(np.einsum("ni,ij,nj->n", offsets, precision, offsets))
        assert_allclose(distances, 2)


def test_more_features_are_marginalised(X3):
    model = EMGaussianMixture(2, random_state=0).fit(X3)
    display = DensityDisplay.from_estimator(model, X3, features=(2, 0), grid_resolution=10)
    point = np.array([[display.x0[3], display.x1[7]]])
    expected = model.marginal([2, 0]).score_samples(point)
    assert_allclose(display.log_density[7, 3], expected[0])
    assert display.ax_.get_xlabel() == "feature 2"


def test_two_features_in_the_other_order(X):
    model = GaussianMixture(2, random_state=0).fit(X)
    display = DensityDisplay.from_estimator(model, X, features=(1, 0), grid_resolution=10)
    expected = model.score_samples([[display.x1[7], display.x0[3]]])
    assert_allclose(display.log_density[7, 3], expected[0])


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
@pytest.mark.parametrize("features", [("v", "u"), (1, 0)])
def test_data_frames(library, features, X):
    frame = library.DataFrame({"u": X[:, 0], "v": X[:, 1]})
    model = EMGaussianMixture(2, random_state=0).fit(frame)
    display = DensityDisplay.from_estimator(model, frame, features=features, grid_resolution=10)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("v", "u")
    plain = EMGaussianMixture(2, random_state=0).fit(X)
    expected = plain.score_samples([[display.x1[7], display.x0[3]]])
    assert_allclose(display.log_density[7, 3], expected[0])


def test_missing_values_are_left_out(X):
    model = EMGaussianMixture(2, random_state=0).fit(X)
    X[3, 0] = X[8, 1] = np.nan
    display = DensityDisplay.from_estimator(model, X, grid_resolution=10)
    assert np.isfinite(display.log_density).all()
    display.figure_.canvas.draw()


def test_a_density_that_is_flat_and_zero_in_places(X):
    model = KernelDensity(kernel="tophat", bandwidth=20).fit(X[:1])
    display = DensityDisplay.from_estimator(model, X * 30, grid_resolution=30)
    assert np.isneginf(display.log_density).any()
    display.figure_.canvas.draw()
    assert len(display.surface_.levels) == 2


def test_given_axes_and_no_scatter(X):
    _, ax = plt.subplots()
    model = GaussianMixture().fit(X)
    display = DensityDisplay.from_estimator(model, X, scatter=False, grid_resolution=10, ax=ax)
    assert display.ax_ is ax
    assert display.X is None


@pytest.mark.parametrize(
    "features",
    [(0, 0), (0,), (0, 1, 1), (0, 5), ("u", 0), (-1, 0), 1, None, (True, False), (0.0, 1.0), "01"],
)
def test_features_must_be_a_pair(features, X):
    model = GaussianMixture().fit(X)
    with pytest.raises(ValueError, match="must be two different features of X"):
        DensityDisplay.from_estimator(model, X, features=features)


def test_more_features_without_a_marginal(X3):
    model = KernelDensity().fit(X3)
    with pytest.raises(ValueError, match="KernelDensity was fitted to 3 features and has no marg"):
        DensityDisplay.from_estimator(model, X3)


def test_not_fitted(X):
    with pytest.raises(NotFittedError):
        DensityDisplay.from_estimator(EMGaussianMixture(), X)


@pytest.mark.parametrize("grid_resolution", [1, 0, -3, 10.0])
def test_a_grid_has_two_values_at_least(grid_resolution, X):
    model = GaussianMixture().fit(X)
    with pytest.raises(
        ValueError, match=f"grid_resolution={grid_resolution} must be an int, at le"
    ):
        DensityDisplay.from_estimator(model, X, grid_resolution=grid_resolution)


def test_a_feature_that_is_missing_everywhere(X):
    model = EMGaussianMixture(random_state=0).fit(X)
    X[:, 1] = np.nan
    with pytest.raises(ValueError, match="'feature 1' is missing in all rows of X"):
        DensityDisplay.from_estimator(model, X)
