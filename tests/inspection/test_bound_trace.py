"""The trace of the bound."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skvae import EMGaussianMixture
from skvae.inspection import BoundTraceDisplay


def test_from_estimator_draws_the_bounds():
    X = np.random.default_rng(0).normal(size=(200, 2))
    mixture = EMGaussianMixture(3, random_state=0).fit(X)
    display = BoundTraceDisplay.from_estimator(mixture, color="k")
    assert_array_equal(display.line_.get_xdata(), np.arange(1, mixture.n_iter_ + 1))
    assert_array_equal(display.line_.get_ydata(), mixture.lower_bounds_)
    assert display.line_.get_label() == "EMGaussianMixture"
    assert display.line_.get_color() == "k"
    assert display.ax_.figure is display.figure_
    assert "nats per row" in display.ax_.get_ylabel()


def test_gap_is_to_the_last_bound():
    display = BoundTraceDisplay([-3.0, -2.0, -1.75]).plot(gap=True)
    assert_allclose(display.line_.get_ydata(), [1.25, 0.25])
    assert display.ax_.get_yscale() == "log"


def test_two_fits_on_one_axes():
    _, ax = plt.subplots()
    first = BoundTraceDisplay([-3.0, -2.0]).plot(ax, name="a")
    second = BoundTraceDisplay([-3.0, -1.0]).plot(first.ax_, name="b")
    assert first.ax_ is second.ax_ is ax
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_not_fitted():
    with pytest.raises(NotFittedError):
        BoundTraceDisplay.from_estimator(EMGaussianMixture())


def test_a_model_that_was_not_fitted_by_ascent_has_no_trace():
    mixture = EMGaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]])
    with pytest.raises(ValueError, match="lower_bounds is empty: this model was not fitted by asc"):
        BoundTraceDisplay.from_estimator(mixture)


def test_gaps_that_are_not_positive_are_left_out():
    display = BoundTraceDisplay([-3.0, -1.0, -2.0, -1.75, -1.75]).plot(gap=True)
    assert_array_equal(display.line_.get_xdata(), [1, 3])
    assert_allclose(display.line_.get_ydata(), [1.25, 0.25])


@pytest.mark.parametrize("bounds", [[-1.0], [-1.0, -1.0]])
def test_no_gap_to_draw(bounds):
    n_figures = len(plt.get_fignums())
    with pytest.raises(ValueError, match=f"gap=True has nothing to draw: of {len(bounds)} lower_b"):
        BoundTraceDisplay(bounds).plot(gap=True)
    assert len(plt.get_fignums()) == n_figures
