"""The plot of a comparison."""

import matplotlib.pyplot as plt
import numpy as np
from numpy.testing import assert_allclose, assert_array_equal

from skvae.comparison import Comparison
from skvae.inspection import ComparisonDisplay

SECONDS = np.zeros(3)


def _segments(display):
    return [collection.get_segments() for collection in display.ax_.collections]


def test_best_is_on_top_and_lines_are_one_and_two_paired_standard_errors():
    rows = np.random.default_rng(0).normal(size=(20, 3)) + [0, 2, 1]
    comparison = Comparison(("a", "b", "c"), rows, None, SECONDS, SECONDS, 2)
    display = comparison.plot()
    assert isinstance(display, ComparisonDisplay)
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["b", "c", "a"]
    assert display.ax_.yaxis_inverted()
    differences = comparison.differences[[1, 2, 0]]
    errors = comparison.difference_standard_errors[[1, 2, 0]]
    assert_allclose(display.points_.get_xdata(), differences)
    assert_array_equal(display.points_.get_ydata(), [0, 1, 2])
    for n_errors, segments in zip((1, 2), _segments(display), strict=True):
        ends = np.array(segments)[:, :, 0]
        assert_allclose(ends[:, 0], differences - n_errors * errors)
        assert_allclose(ends[:, 1], differences + n_errors * errors)
    texts = [t.get_text() for t in display.ax_.texts]
    assert texts == [*(f"{m:.3f}" for m in comparison.means[[1, 2, 0]]), "mean"]


def test_an_impossible_model_is_marked_at_the_edge():
    rows = np.array([[-1.0, -np.inf, -2.0], [-2.0, 0.0, -2.0]])
    comparison = Comparison(("a", "b", "c"), rows, None, SECONDS, SECONDS, 2)
    display = comparison.plot()
    display.figure_.canvas.draw()
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["a", "c", "b"]
    assert_allclose(display.points_.get_xdata(), [0, -0.5])
    (marker,) = [line for line in display.ax_.lines if line.get_marker() == "<"]
    assert_array_equal(marker.get_ydata(), [2])
    assert "-inf" in [t.get_text() for t in display.ax_.texts]


def test_given_axes_are_used():
    _, ax = plt.subplots()
    display = ComparisonDisplay(["a"], [-1.0], [0.0], [0.0]).plot(ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
