"""The plot of rows, their states and the probabilities of these."""

from datetime import datetime, timedelta
from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skvae import EMGaussianMixture, EMHiddenMarkov
from skvae.hmm import GaussianEmission
from skvae.inspection import StatePathDisplay


@pytest.fixture
def chain():
    emission = GaussianEmission.from_parameters(
        [[0.0, 1.0], [3.0, -1.0], [6.0, 0.0]], [1.0, 1.0, 1.0], "spherical"
    )
    transmat = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    return EMHiddenMarkov.from_parameters([0.4, 0.3, 0.3], transmat, emission)


@pytest.fixture
def X(chain):
    return chain.sample(90, random_state=0)[0]


def _colors(*names):
    return mpl.colors.to_rgba_array(list(names))  # a pair would be a colour and its opacity


def _boundaries(display):
    return [[s[0, 0] for s in lines.get_segments()] for lines in display.boundaries_]


def test_the_ground_is_the_path_and_the_strips_are_the_probabilities(chain, X):
    display = StatePathDisplay.from_estimator(chain, X)
    colors = _colors("#0072B2", "#D55E00", "#009E73")
    assert_array_equal(display.states_image_.get_array(), colors[chain.predict(X)][None])
    assert display.states_image_.get_extent() == [-0.5, 89.5, 0, 1]
    image = display.posterior_image_.get_array()
    assert_allclose(image[:, :, 3], chain.predict_proba(X).T)
    assert_allclose(image[:, :, :3], np.repeat(colors[:, None, :3], 90, axis=1))
    assert display.posterior_image_.get_extent() == [-0.5, 89.5, 2.5, -0.5]
    assert [t.get_text() for t in display.posterior_ax_.get_yticklabels()] == ["0", "1", "2"]
    assert display.boundaries_ == []
    assert display.ax_.get_xlim() == display.posterior_ax_.get_xlim() == (-0.5, 89.5)
    assert display.ax_.figure is display.posterior_ax_.figure is display.figure_
    assert (display.ax_.get_xlabel(), display.posterior_ax_.get_xlabel()) == ("", "row")


def test_one_feature_is_drawn_in_its_units(chain, X):
    display = StatePathDisplay.from_estimator(chain, X, features=1, color="r")
    (line,) = display.lines_
    assert_array_equal(line.get_xdata(), np.arange(90))
    assert_array_equal(line.get_ydata(), X[:, 1])
    assert line.get_color() == "r"
    assert display.ax_.get_ylabel() == "feature 1"
    low, high = display.ax_.get_ylim()
    assert low < X[:, 1].min()
    assert high > X[:, 1].max()
    assert high - low < 1.2 * np.ptp(X[:, 1])


def test_several_features_have_an_axes_each_in_their_units(chain, X):
    display = StatePathDisplay.from_estimator(chain, X, features=[1, 0], groups=[0] * 40 + [1] * 50)
    upper, lower = display.feature_axes_
    assert display.ax_ is upper
    assert len({upper, lower, display.posterior_ax_}) == 3
    for ax, line, feature in zip((upper, lower), display.lines_, (1, 0), strict=True):
        assert line.axes is ax
        assert_array_equal(line.get_ydata(), np.insert(X[:, feature], 40, np.nan))
        assert ax.get_ylabel() == f"feature {feature}"
        low, high = ax.get_ylim()
        assert low < X[:, feature].min()
        assert high > X[:, feature].max()
        (ground,) = ax.get_images()
        assert_array_equal(ground.get_array(), display.states_image_.get_array())
    assert _boundaries(display) == [[39.5]] * 3
    labels = [ax.get_xlabel() for ax in (upper, lower, display.posterior_ax_)]
    assert labels == ["", "", "row"]
    given = plt.subplots(3)[1]
    display = StatePathDisplay.from_estimator(chain, X, ax=given)
    assert [*display.feature_axes_, display.posterior_ax_] == list(given)


def test_dates_are_on_the_axis_and_columns_are_as_wide_as_their_time(X):
    """Three days, then a week without rows: the ground and the line follow the dates."""
    index = pd.DatetimeIndex(["2024-01-01", "2024-01-02", "2024-01-03", "2024-01-10"], name="day")
    frame = pd.DataFrame(X[:4], index=index, columns=["u", "v"])
    emission = GaussianEmission.from_parameters([[0.0, 0.0], [5.0, 0.0]], [1.0, 1.0], "spherical")
    chain = EMHiddenMarkov.from_parameters([0.5, 0.5], np.full((2, 2), 0.5), emission)
    chain.feature_names_in_ = np.array(["u", "v"], dtype=object)
    days = mpl.dates.date2num(index.to_numpy())
    display = StatePathDisplay.from_estimator(chain, frame)
    for line, name in zip(display.lines_, "uv", strict=True):
        assert_allclose(line.get_xdata(), days)
        assert_array_equal(line.get_ydata(), frame[name])
    edges = [days[0] - 0.5, days[0] + 0.5, days[1] + 0.5, days[2] + 3.5, days[3] + 3.5]
    for mesh, n in ((display.states_image_, 1), (display.posterior_image_, 2)):
        assert_allclose(mesh.get_coordinates()[0, :, 0], edges)
        assert mesh.get_array().shape == (n, 4, 4)
    colors = _colors("#0072B2", "#D55E00")
    ground = display.states_image_.get_array()[0]
    assert_array_equal(ground[:, :3], colors[chain.predict(frame), :3])
    assert_allclose(ground[:, 3], 0.35)
    heights = display.posterior_image_.get_coordinates()[:, 0, 1]
    assert_allclose(heights, [-0.5, 0.5, 1.5])
    assert display.posterior_ax_.get_ylim() == (1.5, -0.5)
    assert_allclose(display.ax_.get_xlim(), [edges[0], edges[-1]])
    assert display.posterior_ax_.get_xlabel() == "day"
    display.figure_.canvas.draw()
    months = frame.set_axis(pd.period_range("2024-01", periods=4, freq="M"))
    display = StatePathDisplay.from_estimator(chain, months)
    starts = pd.date_range("2024-01-01", periods=4, freq="MS")
    assert_allclose(display.lines_[0].get_xdata(), mpl.dates.date2num(starts.to_numpy()))
    numbered = StatePathDisplay.from_estimator(chain, frame.reset_index(drop=True))
    assert_array_equal(numbered.lines_[0].get_xdata(), np.arange(4))


def test_x_is_the_time_of_each_row(chain, X):
    x = np.cumsum(np.random.default_rng(0).uniform(0.5, 2.0, size=90))
    groups = np.repeat([0, 1], 45)
    display = StatePathDisplay.from_estimator(chain, X, x=x, groups=groups, features=0)
    assert_allclose(display.lines_[0].get_xdata(), np.insert(x, 45, np.nan))
    assert_allclose(_boundaries(display), [[(x[44] + x[45]) / 2]] * 2)
    thinned = StatePathDisplay.from_estimator(chain, X, x=x, features=0, max_columns=9)
    assert thinned.states_image_.get_array().shape == (1, 9, 4)
    assert_allclose(thinned.lines_[0].get_xdata()[::2], (x[4::10] + x[5::10]) / 2)
    durations = np.arange(90) * np.timedelta64(2, "m")
    display = StatePathDisplay.from_estimator(chain, X, x=durations, features=0)
    assert_allclose(display.lines_[0].get_xdata(), 120.0 * np.arange(90))
    assert display.posterior_ax_.get_xlabel() == "seconds"
    for wrong, match in (
        (x[:-1], "one entry for each of the 90 rows"),
        (x[::-1], "increase from row to row"),
        (np.where(x > 9, np.nan, x), "must be finite"),
        (["a"] * 90, "numbers, dates or durations"),
    ):
        with pytest.raises(ValueError, match=match):
            StatePathDisplay.from_estimator(chain, X, x=wrong)


def test_dates_of_a_zone_in_which_hours_repeat(chain, X):
    hours = pd.date_range("2024-10-26", periods=90, freq="h", tz="Europe/Berlin")
    frame = pd.DataFrame(X, index=hours)
    for given, x in ((frame, None), (X, hours), (X, pd.Series(hours)), (X, list(hours))):
        display = StatePathDisplay.from_estimator(chain, given, x=x, features=0)
        days = display.lines_[0].get_xdata()
        assert_allclose(np.diff(days), 1 / 24)
        assert_allclose(days[0], mpl.dates.date2num(np.datetime64("2024-10-25T22:00")))
        display.figure_.canvas.draw()
        formatter = display.posterior_ax_.xaxis.get_major_formatter()
        assert formatter.format_ticks([days[12]]) == ["12:00"]  # local time


@pytest.mark.parametrize("index", ["twice", "NaT", "down"])
def test_an_index_that_does_not_increase_is_no_time(index, chain, X):
    days = pd.date_range("2024-01-01", periods=90)
    indices = {
        "twice": days[:45].repeat(2),
        "NaT": days[:89].insert(0, pd.NaT),
        "down": days[::-1],
    }
    frame = pd.DataFrame(X, index=indices[index])
    display = StatePathDisplay.from_estimator(chain, frame, features=0)
    assert_array_equal(display.lines_[0].get_xdata(), np.arange(90))


def test_python_s_dates_and_durations(chain, X):
    days = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(90)]
    display = StatePathDisplay.from_estimator(chain, X, x=days, features=0)
    assert_allclose(display.lines_[0].get_xdata(), mpl.dates.date2num(days))
    passed = [day - days[0] for day in days]
    display = StatePathDisplay.from_estimator(chain, X, x=passed, features=0)
    assert_allclose(display.lines_[0].get_xdata(), 86400.0 * np.arange(90))


def test_several_features_in_one_axes_have_a_lane_each(chain, X):
    ax = plt.subplots(2)[1]
    display = StatePathDisplay.from_estimator(chain, X, features=[1, 0], ax=ax)
    for lane, line, values in zip((1, 0), display.lines_, (X[:, 1], X[:, 0]), strict=True):
        scaled = (values - values.min()) / np.ptp(values)
        assert_allclose(line.get_ydata(), lane + 0.05 + 0.9 * scaled)
    labels = [t.get_text() for t in display.ax_.get_yticklabels()]
    assert labels == ["feature 1", "feature 0"]
    assert_allclose(display.ax_.get_yticks(), [1.5, 0.5])


def test_a_feature_that_is_constant_or_missing_has_a_lane_too():
    X = np.column_stack([np.full(4, 7.0), np.full(4, np.nan), np.arange(4.0)])
    display = StatePathDisplay(X, np.zeros(4, int), np.ones((4, 1))).plot(plt.subplots(2)[1])
    display.figure_.canvas.draw()
    assert_array_equal(display.lines_[0].get_ydata(), np.full(4, 2.5))
    assert_array_equal(display.lines_[1].get_ydata(), np.full(4, np.nan))
    assert_allclose(display.lines_[2].get_ydata(), [0.05, 0.35, 0.65, 0.95])


def test_the_first_eight_features_are_drawn_unless_others_are_asked_for():
    X = np.random.default_rng(0).normal(size=(60, 10))
    mixture = EMGaussianMixture(2, covariance_type="diag", random_state=0).fit(X)
    names = StatePathDisplay.from_estimator(mixture, X).feature_names
    assert names == [f"feature {i}" for i in range(8)]
    assert StatePathDisplay.from_estimator(mixture, X, features=[9]).feature_names == ["feature 9"]


def test_sequences_by_groups_and_by_list_are_drawn_alike(chain, X):
    groups = np.repeat(["b", "a", "c"], [50, 1, 39])
    listed = [X[:50], X[50:51], X[51:]]
    for display in (
        StatePathDisplay.from_estimator(chain, X, groups=groups, features=0),
        StatePathDisplay.from_estimator(chain, listed, features=0),
    ):
        assert _boundaries(display) == [[49.5, 50.5], [49.5, 50.5]]
        x, y = display.lines_[0].get_data()
        expected = np.insert(X[:, 0], [50, 51], np.nan)
        assert_array_equal(y, expected)
        assert_array_equal(x, np.insert(np.arange(90.0), [50, 51], np.nan))
        assert_array_equal(display.lines_[0].get_markevery(), [51])  # the sequence of one row
        alpha = display.posterior_image_.get_array()[:, :, 3]
        assert_allclose(alpha.T, chain.predict_proba(X, groups=groups))
    path = chain.predict(X, groups=groups)
    assert_array_equal(display.states, path)


def test_an_array_of_three_dimensions(chain, X):
    display = StatePathDisplay.from_estimator(chain, X.reshape(3, 30, 2))
    assert _boundaries(display) == [[29.5, 59.5]] * 3
    assert_array_equal(display.states, np.concatenate(chain.predict(X.reshape(3, 30, 2))))


def test_many_boundaries_are_not_drawn():
    X, states = np.zeros((202, 1)), np.zeros(202, int)
    drawn = StatePathDisplay(X, states, np.ones((202, 1)), offsets=np.arange(0, 203, 2)).plot()
    assert len(_boundaries(drawn)[0]) == 100
    left_out = StatePathDisplay(X, states, np.ones((202, 1)), offsets=np.arange(203)).plot()
    assert left_out.boundaries_ == []


def test_a_missing_value_is_a_gap_and_a_lone_one_a_dot(chain, X):
    X[[0, 10, 12, 87, 88], 0] = np.nan
    display = StatePathDisplay.from_estimator(chain, X, features=0)
    assert_array_equal(display.lines_[0].get_ydata(), X[:, 0])
    assert_array_equal(display.lines_[0].get_markevery(), [11, 89])


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_data_frames(library, chain, X):
    frame = library.DataFrame({"u": X[:, 0], "v": X[:, 1]})
    fitted = EMHiddenMarkov(2, random_state=0).fit(frame)
    display = StatePathDisplay.from_estimator(fitted, frame, features="v")
    assert display.ax_.get_ylabel() == "v"
    assert_array_equal(display.lines_[0].get_ydata(), X[:, 1])
    both = StatePathDisplay.from_estimator(fitted, [frame[:40], frame[40:]])
    assert both.feature_names == ["u", "v"]
    assert _boundaries(both) == [[39.5]] * 3


def test_long_sequences_are_thinned_to_envelope_majority_and_mean():
    rng = np.random.default_rng(0)
    n, n_columns = 1003, 10
    values, states = rng.normal(size=n), rng.integers(3, size=n)
    values[:150] = np.nan
    posterior = rng.dirichlet(np.ones(3), size=n)
    display = StatePathDisplay(values[:, None], states, posterior).plot(max_columns=n_columns)
    ends = [i * n // n_columns for i in range(n_columns + 1)]
    parts = [slice(a, b) for a, b in pairwise(ends)]
    low, high = display.lines_[0].get_ydata().reshape(n_columns, 2).T
    assert np.isnan([low[0], high[0]]).all()
    assert_array_equal(low[1:], [np.nanmin(values[p]) for p in parts[1:]])
    assert_array_equal(high[1:], [np.nanmax(values[p]) for p in parts[1:]])
    centres = (np.arange(n_columns) + 0.5) * n / n_columns - 0.5
    assert_allclose(display.lines_[0].get_xdata(), np.repeat(centres, 2))
    colors = _colors("#0072B2", "#D55E00", "#009E73")
    majority = [np.bincount(states[p]).argmax() for p in parts]
    assert_array_equal(display.states_image_.get_array()[0], colors[majority])
    mean = [posterior[p].mean(axis=0) for p in parts]
    assert_allclose(display.posterior_image_.get_array()[:, :, 3].T, mean)
    assert display.ax_.get_xlim() == (-0.5, n - 0.5)


def test_a_thinned_line_has_a_gap_between_sequences():
    X, states = np.arange(100.0)[:, None], np.zeros(100, int)
    display = StatePathDisplay(X, states, np.ones((100, 1)), offsets=[0, 45, 60, 100])
    y = display.plot(max_columns=10).lines_[0].get_ydata()
    # Row 45 lies inside the fifth column, which ends with row 49; row 60 begins the seventh.
    assert_array_equal(np.flatnonzero(np.isnan(y)), [10, 13])
    assert_array_equal(y[[9, 11, 12, 14]], [49, 50, 59, 60])


def test_a_million_rows_are_few_points():
    n = 1_000_000
    states = np.repeat(np.arange(40) % 4, n // 40)
    display = StatePathDisplay(
        states[:, None], states, np.eye(4)[states], offsets=np.arange(0, n + 1, 100)
    ).plot()
    assert display.states_image_.get_array().shape == (1, 600, 4)
    assert display.posterior_image_.get_array().shape == (4, 600, 4)
    assert len(display.lines_[0].get_xdata()) < 2000
    display.figure_.canvas.draw()


def test_one_axes_has_the_rows_and_a_legend(chain, X):
    _, ax = plt.subplots()
    display = StatePathDisplay.from_estimator(chain, X, ax=ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.posterior_ax_ is None
    assert display.posterior_image_ is None
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["0", "1", "2"]
    shown = [patch.get_facecolor()[:3] for patch in legend.get_patches()]
    assert_allclose(shown, _colors("#0072B2", "#D55E00", "#009E73")[:, :3])
    assert ax.get_xlabel() == "row"


def test_two_axes(chain, X):
    _, axes = plt.subplots(2, 1)
    display = StatePathDisplay.from_estimator(chain, X, groups=np.repeat([0, 1], 45), ax=axes)
    assert (display.ax_, display.posterior_ax_) == tuple(axes)
    assert display.ax_.get_legend() is None
    assert _boundaries(display) == [[44.5]] * 2
    assert axes[0].get_xlim() == axes[1].get_xlim() == (-0.5, 89.5)


def test_many_states_are_told_apart_by_lightness():
    states = np.arange(40)
    display = StatePathDisplay(states[:, None], states, np.eye(40)).plot()
    display.figure_.canvas.draw()
    colors = display.states_image_.get_array()[0]
    assert len(np.unique(colors, axis=0)) == 40
    lightness = colors[:, :3] @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(lightness) > 0).all()
    ticks = [t.get_text() for t in display.posterior_ax_.get_yticklabels()]
    assert 0 < len(ticks) < 20
    assert (
        StatePathDisplay(states[:, None], states, np.eye(40))
        .plot(plt.subplots()[1])
        .ax_.get_legend()
        is None
    )


@pytest.mark.parametrize("n_states", range(1, 8))
def test_few_states_have_colours_that_differ(n_states):
    states = np.arange(n_states)
    display = StatePathDisplay(states[:, None], states, np.eye(n_states)).plot()
    colors = display.states_image_.get_array()[0]
    apart = np.linalg.norm(colors[:, None] - colors, axis=2) + 9 * np.eye(n_states)
    assert apart.min() > 0.25


def test_a_mixture_has_states_too(X):
    mixture = EMGaussianMixture(2, random_state=0).fit(X)
    display = StatePathDisplay.from_estimator(mixture, X)
    assert_allclose(display.posterior_image_.get_array()[:, :, 3].T, mixture.predict_proba(X))


def test_one_row():
    display = StatePathDisplay([[2.0]], [0], [[1.0]]).plot()
    display.figure_.canvas.draw()
    assert_array_equal(display.lines_[0].get_markevery(), [0])


@pytest.mark.parametrize("features", [2, -1, True, "u", [0, "u"], 0.5])
def test_features_that_are_none(features, chain, X):
    with pytest.raises(ValueError, match="must be features of X, by index or by column name"):
        StatePathDisplay.from_estimator(chain, X, features=features)
    assert plt.get_fignums() == []


def test_wrong_options(chain, X):
    with pytest.raises(ValueError, match=r"features=\[\] is empty: there is nothing to draw"):
        StatePathDisplay.from_estimator(chain, X, features=[])
    with pytest.raises(ValueError, match="max_columns=0 must be an int, at least 1"):
        StatePathDisplay.from_estimator(chain, X, max_columns=0)
    with pytest.raises(ValueError, match="ax='here' must be an axes, a pair of them"):
        StatePathDisplay.from_estimator(chain, X, ax="here")
    _, axes = plt.subplots(4, 1)
    with pytest.raises(ValueError, match=r"ax=array.* must be an axes, a pair of them"):
        StatePathDisplay.from_estimator(chain, X, ax=axes)


def test_not_fitted(X):
    with pytest.raises(NotFittedError):
        StatePathDisplay.from_estimator(EMHiddenMarkov(), X)
