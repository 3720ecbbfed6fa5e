"""The plot of transition probabilities."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skvae import EMHiddenMarkov
from skvae.hmm import PoissonEmission
from skvae.inspection import TransitionDisplay
from tests.combinations import slow

TRANSMAT = np.array([[0.9, 0.1, 0.0], [0.0, 0.7, 0.3], [0.002, 0.0, 0.998]])


def _texts(display):
    return {pair: text.get_text() for pair, text in display.texts_.items()}


def _area(vertices):
    x, y = vertices.T
    return abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def test_the_matrix_has_what_is_possible():
    emission = PoissonEmission.from_parameters([[1.0], [4.0], [9.0]])
    chain = EMHiddenMarkov.from_parameters([1.0, 0.0, 0.0], TRANSMAT, emission)
    display = TransitionDisplay.from_estimator(chain)
    shown = display.image_.get_array()
    assert_array_equal(shown.mask, TRANSMAT == 0)
    assert_allclose(shown.filled(0.0), TRANSMAT)
    assert display.image_.get_clim() == (0, 1)
    assert _texts(display) == {
        (0, 0): "0.90",
        (0, 1): "0.10",
        (1, 1): "0.70",
        (1, 2): "0.30",
        (2, 0): "<.01",
        (2, 2): ">.99",
    }
    for (source, target), text in display.texts_.items():
        assert text.get_position() == (target, source)
        assert (text.get_color() == "white") == (TRANSMAT[source, target] > 0.5)
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("to state", "from state")
    assert [t.get_text() for t in display.ax_.get_yticklabels()] == ["0", "1", "2"]
    assert display.ax_.yaxis_inverted()
    assert display.ax_.figure is display.figure_
    assert display.arrows_ == {}
    assert display.circles_ == []
    assert display.colorbar_ is None


def test_state_names():
    names = ["rest", "walk", "run"]
    matrix = TransitionDisplay(TRANSMAT, state_names=names).plot()
    assert [t.get_text() for t in matrix.ax_.get_xticklabels()] == names
    assert [t.get_text() for t in matrix.ax_.get_yticklabels()] == names
    graph = TransitionDisplay(TRANSMAT, state_names=names).plot(kind="graph")
    written = {t.get_text(): t.get_position() for t in graph.ax_.texts}
    for name, circle in zip(names, graph.circles_, strict=True):
        assert_array_equal(written[name], circle.center)


def test_a_large_matrix_has_a_scale_in_place_of_values():
    transmat = np.random.default_rng(0).dirichlet(np.ones(16), size=16)
    display = TransitionDisplay(transmat).plot()
    display.figure_.canvas.draw()
    assert display.texts_ == {}
    assert display.colorbar_.ax.get_ylabel() == "probability"
    assert display.image_.get_clim() == (0, transmat.max())


def test_arrows_are_what_is_possible_and_their_widths_the_probabilities():
    """An arrow without its head is as wide, everywhere across its middle, as it is probable."""
    transmat = np.array([[0.8, 0.2, 0.0], [0.0, 0.5, 0.5], [0.004, 0.396, 0.6]])
    display = TransitionDisplay(transmat).plot(kind="graph")
    assert set(display.arrows_) == {(0, 0), (0, 1), (1, 1), (1, 2), (2, 1), (2, 2)}
    assert _texts(display)[2, 1] == "0.40"
    for (source, target), arrow in display.arrows_.items():
        outline = arrow.get_xy()[:-1]  # the last closes it
        n_shaft = (len(outline) - 3) // 2
        left, right = outline[:n_shaft], outline[: n_shaft + 2 : -1]
        widths = np.linalg.norm(left - right, axis=1)
        assert_allclose(widths, widths[0])
        radius = display.circles_[source].radius
        assert_allclose(widths[0] / radius, 0.45 * transmat[source, target])
        assert_allclose(arrow.get_facecolor(), display.circles_[source].get_facecolor())
        middle, tip = (left[0] + right[0]) / 2, outline[n_shaft + 1]
        for point, state in ((middle, source), (tip, target)):
            distance = np.linalg.norm(point - np.array(display.circles_[state].center))
            assert radius < distance < 1.2 * radius


def test_arrows_less_probable_than_asked_for_are_left_out():
    display = TransitionDisplay(TRANSMAT).plot(kind="graph", min_probability=0.2)
    assert set(display.arrows_) == {(0, 0), (1, 1), (1, 2), (2, 2)}
    everything = TransitionDisplay(TRANSMAT).plot(kind="graph", min_probability=0)
    assert set(everything.arrows_) == set(map(tuple, np.argwhere(TRANSMAT).tolist()))


def test_there_and_back_lie_side_by_side():
    """Neither arrow covers a point of the middle line of the other."""
    display = TransitionDisplay([[0.0, 1.0], [1.0, 0.0]]).plot(kind="graph")
    there, back = (display.arrows_[pair].get_xy() for pair in ((0, 1), (1, 0)))
    assert there[:, 1].min() > 0 > back[:, 1].max() or there[:, 1].max() < 0 < back[:, 1].min()


@pytest.mark.parametrize("n_states", [1, 2, 3, 5, 8, *slow(20)])
def test_all_of_a_graph_is_inside_its_axes(n_states):
    transmat = np.full((n_states, n_states), 1 / n_states)
    display = TransitionDisplay(transmat).plot(kind="graph", min_probability=0)
    display.figure_.canvas.draw()
    (x0, x1), (y0, y1) = display.ax_.get_xlim(), display.ax_.get_ylim()
    assert len(display.arrows_) == n_states**2
    for arrow in display.arrows_.values():
        x, y = arrow.get_xy().T
        assert np.isfinite([x, y]).all()
        assert x0 < x.min() <= x.max() < x1
        assert y0 < y.min() <= y.max() < y1
        assert _area(arrow.get_xy()) > 0
    centres = np.array([circle.center for circle in display.circles_])
    apart = np.linalg.norm(centres[:, None] - centres, axis=2) + 9 * np.eye(n_states)
    assert apart.min() > 2 * display.circles_[0].radius * 1.2
    assert (display.texts_ == {}) == (n_states > 5)


def test_circles_have_the_colours_of_the_states():
    display = TransitionDisplay(TRANSMAT).plot(kind="graph")
    expected = mpl.colors.to_rgba_array(["#0072B2", "#D55E00", "#009E73"])
    assert_allclose([c.get_facecolor() for c in display.circles_], expected)


def test_given_axes_are_used():
    _, axes = plt.subplots(1, 2)
    for ax, kind in zip(axes, ("matrix", "graph"), strict=True):
        display = TransitionDisplay(TRANSMAT).plot(ax, kind=kind)
        assert display.ax_ is ax
        assert display.figure_ is ax.figure


def test_wrong_options():
    with pytest.raises(ValueError, match=r"kind='net' must be one of \('matrix', 'graph'\)"):
        TransitionDisplay(TRANSMAT).plot(kind="net")
    with pytest.raises(ValueError, match=r"state_names=\['a'\] must be 3, one a state"):
        TransitionDisplay(TRANSMAT, state_names=["a"]).plot()
    assert plt.get_fignums() == []


def test_not_fitted():
    with pytest.raises(NotFittedError):
        TransitionDisplay.from_estimator(EMHiddenMarkov())
