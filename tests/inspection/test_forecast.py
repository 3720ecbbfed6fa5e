"""The plot of a forecast: its rows, medians and intervals at their times."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMHiddenMarkov
from skvae.datasets import load_geyser
from skvae.inspection import ForecastDisplay

DAYS = pd.date_range("2024-01-01", periods=60, name="day")
FRAME = pd.DataFrame(load_geyser().data[:60], columns=["wait", "duration"])


@pytest.fixture(scope="module")
def chain():
    return EMHiddenMarkov(2, random_state=0).fit(FRAME)


def _ends(band):
    """Return the ends of an area of steps: (edges, lower, upper)."""
    vertices = band.get_paths()[0].vertices
    edges = np.unique(vertices[:, 0])
    middle = (edges[:-1] + edges[1:]) / 2
    at = [vertices[np.argsort(np.abs(vertices[:, 0] - m), kind="stable")[:4], 1] for m in middle]
    return edges, np.array([y.min() for y in at]), np.array([y.max() for y in at])


def test_rows_medians_and_intervals(chain):
    display = ForecastDisplay.from_estimator(chain, FRAME, 1, levels=[0.5, 0.9], n_history=20)
    forecast = chain.forecast(FRAME, 1)
    assert display.levels.tolist() == [0.9, 0.5]
    for j, (old, new, bands) in enumerate(
        zip(display.history_lines_, display.median_lines_, display.bands_, strict=True)
    ):
        assert_array_equal(old.get_xdata(), np.arange(40, 60))
        assert_array_equal(old.get_ydata(), FRAME.iloc[40:, j])
        assert_array_equal(new.get_xdata(), [60])
        assert_array_equal(new.get_ydata(), forecast.quantile(0.5)[:, j])
        for band, level in zip(bands, (0.9, 0.5), strict=True):
            edges, lower, upper = _ends(band)
            expected = [end[:, j] for end in forecast.interval(level)]
            assert_allclose(edges, [59.5, 60.5])
            assert_allclose([lower, upper], expected)
    assert bands[0].get_alpha() < bands[1].get_alpha()
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["0.9", "0.5"]
    assert [ax.get_ylabel() for ax in display.feature_axes_] == ["wait", "duration"]
    assert display.ax_.get_xlim() == (39.5, 60.5)


def test_times_go_on(chain):
    display = ForecastDisplay.from_estimator(chain, FRAME.set_axis(DAYS), 5, n_history=3)
    x = np.concatenate(
        [display.history_lines_[0].get_xdata(), display.median_lines_[0].get_xdata()]
    )
    expected = pd.date_range("2024-02-27", periods=8)
    assert_allclose(x, mpl.dates.date2num(expected.to_numpy()))
    assert display.feature_axes_[-1].get_xlabel() == "day"
    display.figure_.canvas.draw()
    irregular = FRAME.set_axis(DAYS.delete(30).append(DAYS[-1:] + pd.Timedelta("5D")))
    display = ForecastDisplay.from_estimator(chain, irregular, 5, n_history=3)
    assert_array_equal(display.median_lines_[0].get_xdata(), np.arange(60, 65))


@pytest.mark.parametrize("index", [DAYS[::-1], pd.RangeIndex(60, 0, -1)])
def test_times_that_do_not_increase_are_numbers_of_rows(chain, index):
    display = ForecastDisplay.from_estimator(chain, FRAME.set_axis(index), 5, n_history=3)
    assert_array_equal(display.history_lines_[0].get_xdata(), [57, 58, 59])
    assert_array_equal(display.median_lines_[0].get_xdata(), np.arange(60, 65))
    alone = ForecastDisplay.from_forecast(chain.forecast(FRAME.set_axis(index), 5))
    assert_array_equal(alone.median_lines_[0].get_xdata(), np.arange(5))


def test_the_rows_may_have_no_index(chain):
    forecast = chain.forecast(FRAME.set_axis(DAYS), 5)
    display = ForecastDisplay.from_forecast(forecast, FRAME.to_numpy(), n_history=3)
    assert_array_equal(display.median_lines_[0].get_xdata(), np.arange(60, 65))


def test_a_forecast_alone_and_chosen_features(chain):
    forecast = chain.forecast(FRAME, 4)
    display = ForecastDisplay.from_forecast(forecast, features="duration")
    (line,) = display.median_lines_
    assert_array_equal(line.get_xdata(), [60, 61, 62, 63])
    assert_array_equal(line.get_ydata(), forecast.quantile(0.5)[:, 1])
    assert display.ax_.get_ylabel() == "duration"
    assert len(display.history_lines_[0].get_xdata()) == 0
    ax = plt.subplots()[1]
    assert ForecastDisplay.from_forecast(forecast, features=0, ax=ax).ax_ is ax


def test_wrong_arguments(chain):
    with pytest.raises(ValueError, match="X holds 2 sequences"):
        ForecastDisplay.from_estimator(chain, [FRAME[:30], FRAME[30:]], 2)
    for options, match in (
        ({"n_history": -1}, "n_history=-1 must be an int"),
        ({"n_history": 2.0}, "n_history=2.0 must be an int"),
        ({"levels": [1.5]}, "level=1.5"),
        ({"features": "height"}, "'height' is none of them"),
        ({"ax": "here"}, "must be an axes for each of the 2 features"),
        ({"ax": plt.subplots()[1]}, "must be an axes for each of the 2 features"),
    ):
        with pytest.raises(ValueError, match=match):
            ForecastDisplay.from_estimator(chain, FRAME, 2, **options)
