"""A forecast as a fan of intervals after the rows that it follows."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.display import COLORS, INK, AxesDisplay
from skvae.inspection.state_path import chosen_features
from skvae.inspection.times import increases

_FAINTEST, _STRONGEST = 0.15, 0.45  # opacity of the widest and of the narrowest interval


class ForecastDisplay(AxesDisplay):
    """Plot of the last rows of a sequence, and of a forecast with its intervals.

    Make it with :meth:`from_estimator` or :meth:`from_forecast`. Each feature has an axes: the rows
    as a line, the medians of the forecast as a line, and around it an area for each interval, the
    fainter the wider. A line has a gap where a value is missing.

    Parameters
    ----------
    median : array-like of shape (n_steps, n_features)
        The medians of the forecast.
    lower, upper : array-like of shape (n_levels, n_steps, n_features)
        The ends of the intervals.
    levels : array-like of shape (n_levels,)
        The probabilities of the intervals.
    history : array-like of shape (n_rows, n_features), default=None
        The rows before the forecast; by default none.
    x : array-like of shape (n_rows + n_steps,) or pandas.Index, default=None
        The time of each row and step; by default the number of the row.
    feature_names : sequence of str, default=None
        Names of the features; by default "feature 0" and so on.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        The axes of the first feature.
    feature_axes_ : list of matplotlib.axes.Axes
        One a feature.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    history_lines_, median_lines_ : list of matplotlib.lines.Line2D
        One a feature.
    bands_ : list of list of matplotlib.collections.PolyCollection
        For each feature one area for each level, the widest first.

    See Also
    --------
    StatePathDisplay : The states of the rows.

    Examples
    --------
    >>> from skvae.inspection import ForecastDisplay
    >>> display = ForecastDisplay([[1.0], [1.0]], [[[0.0], [-1.0]]], [[[2.0], [3.0]]], [0.9])
    >>> display.plot().median_lines_[0].get_ydata()
    array([1., 1.])
    """

    def __init__(self, median, lower, upper, levels, *, history=None, x=None, feature_names=None):
        self.median = np.asarray(median, dtype=float)
        self.lower = np.asarray(lower, dtype=float)
        self.upper = np.asarray(upper, dtype=float)
        self.levels = np.asarray(levels, dtype=float)
        n_features = self.median.shape[1]
        none = np.empty((0, n_features))
        self.history = none if history is None else np.asarray(history, dtype=float)
        self.x = x
        names = [f"feature {i}" for i in range(n_features)]
        self.feature_names = names if feature_names is None else list(feature_names)

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        n_steps,
        *,
        levels=(0.5, 0.8, 0.95),
        features=None,
        n_history=100,
        ax=None,
        **line_kwargs,
    ):
        """Return the plotted forecast of a fitted chain after one sequence.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``forecast``: :class:`skvae.EMHiddenMarkov`.
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            The rows of one sequence in time order.
        n_steps : int
            The number of steps.
        levels : sequence of float, default=(0.5, 0.8, 0.95)
            The probabilities of the intervals.
        features : int, str, or sequence of them, default=None
            The features to draw, by index, or by name if X is a DataFrame; by default the first
            eight.
        n_history : int, default=100
            How many of the last rows are drawn.
        ax : matplotlib.axes.Axes, or sequence of them, default=None
            As in :meth:`plot`.
        **line_kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ForecastDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If X has more than one sequence, or an argument is not usable.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import ForecastDisplay
        >>> X = load_geyser().data
        >>> chain = EMHiddenMarkov(3, random_state=0).fit(X)
        >>> display = ForecastDisplay.from_estimator(chain, X, 10, features=0)
        >>> len(display.bands_[0])
        3
        """
        check_is_fitted(estimator)
        forecast = estimator.forecast(X, n_steps)
        if isinstance(forecast, list):
            raise ValueError(
                f"X holds {len(forecast)} sequences: must be one. Draw each forecast by "
                "ForecastDisplay.from_forecast"
            )
        return cls.from_forecast(
            forecast,
            X,
            levels=levels,
            features=features,
            n_history=n_history,
            ax=ax,
            **line_kwargs,
        )

    @classmethod
    def from_forecast(
        cls,
        forecast,
        X=None,
        *,
        levels=(0.5, 0.8, 0.95),
        features=None,
        n_history=100,
        ax=None,
        **line_kwargs,
    ):
        """Return the plotted forecast, after the rows that it follows.

        Parameters
        ----------
        forecast : skvae.hmm.Forecast
            A result of :meth:`skvae.EMHiddenMarkov.forecast`.
        X : {array-like, DataFrame} of shape (n_samples, n_features), default=None
            The rows of its sequence; None draws the forecast alone.
        levels : sequence of float, default=(0.5, 0.8, 0.95)
            The probabilities of the intervals.
        features : int, str, or sequence of them, default=None
            The features to draw; by default the first eight.
        n_history : int, default=100
            How many of the last rows are drawn.
        ax : matplotlib.axes.Axes, or sequence of them, default=None
            As in :meth:`plot`.
        **line_kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ForecastDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If an argument is not usable.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import ForecastDisplay
        >>> X = load_geyser().data
        >>> chain = EMHiddenMarkov(3, random_state=0).fit(X)
        >>> display = ForecastDisplay.from_forecast(chain.forecast(X, 10), levels=[0.9])
        >>> len(display.feature_axes_), len(display.bands_[1])
        (2, 1)
        """
        if not isinstance(n_history, Integral) or isinstance(n_history, bool) or n_history < 0:
            raise ValueError(f"n_history={n_history!r} must be an int, at least 0.")
        names = forecast.feature_names
        indices, names = chosen_features(forecast.mean.shape[1], names, features)
        rows = np.empty((0, forecast.mean.shape[1])) if X is None else np.asarray(X, dtype=float)
        start = max(0, len(rows) - n_history)
        levels = np.sort(np.atleast_1d(np.asarray(levels, dtype=float)))[::-1]  # the widest first
        lower, upper = zip(*map(forecast.interval, levels.tolist()), strict=True)
        display = cls(
            np.asarray(forecast.quantile(0.5))[:, indices],
            np.stack(lower)[:, :, indices],
            np.stack(upper)[:, :, indices],
            levels,
            history=rows[start:, indices],
            x=_joined_times(X, start, len(rows), forecast),
            feature_names=names,
        )
        return display.plot(ax, **line_kwargs)

    def plot(self, ax=None, **line_kwargs):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, or sequence of them, default=None
            Where to draw, one for each feature; by default a new figure.
        **line_kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : ForecastDisplay
            Itself.

        Raises
        ------
        ValueError
            If `ax` is not an axes for each feature, or `x` does not increase from row to row.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.inspection import ForecastDisplay
        >>> lower, upper = np.zeros((1, 4, 1)), np.full((1, 4, 1), 2.0)
        >>> display = ForecastDisplay(np.ones((4, 1)), lower, upper, [0.9], history=[[1.0], [0.5]])
        >>> display.plot().history_lines_[0].get_xdata()
        array([0., 1.])
        """
        n_rows, n_features = self.history.shape
        axis = self._time_axis(n_rows + len(self.median))
        self._set_feature_axes(ax, n_features)
        self.history_lines_, self.median_lines_, self.bands_ = [], [], []
        before, ahead = axis.values[:n_rows], axis.values[n_rows:]
        marker = {"marker": ".", "markersize": 3} if len(ahead) == 1 else {}
        for j, ax in enumerate(self.feature_axes_):
            style = {"color": INK, "linewidth": 0.9, **line_kwargs}
            self.history_lines_ += ax.plot(before, self.history[:, j], **style)
            style = {"color": COLORS[0], "linewidth": 1.2, **marker, **line_kwargs}
            self.bands_.append(self._draw_bands(ax, axis, j))
            self.median_lines_ += ax.plot(ahead, self.median[:, j], **style)
            ax.set_ylabel(self.feature_names[j])
            ax.spines[["top", "right"]].set_visible(False)
        self._set_times(self.feature_axes_, axis)
        self.ax_.legend(handles=self.bands_[0], loc="upper left", frameon=False)
        return self

    def _set_feature_axes(self, ax, n_features):
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(
                n_features,
                1,
                sharex=True,
                squeeze=False,
                layout="constrained",
                figsize=(8.0, 0.7 + 1.6 * max(n_features, 1.5)),
            )
            ax = ax[:, 0]
        axes = [ax] if isinstance(ax, plt.Axes) else list(ax) if np.iterable(ax) else []
        if len(axes) != n_features or not all(isinstance(a, plt.Axes) for a in axes):
            raise ValueError(f"ax={ax!r} must be an axes for each of the {n_features} features.")
        self.feature_axes_ = axes
        self._set_axes(axes[0])

    def _draw_bands(self, ax, axis, j):
        """Return the areas of the intervals of a feature; each step is as wide as its time."""
        opacity = np.linspace(_FAINTEST, _STRONGEST, len(self.levels))
        if len(self.levels) == 1:
            opacity = [(_FAINTEST + _STRONGEST) / 2]
        edges = axis.edges[len(self.history) :]
        found = []
        for lower, upper, level, alpha in zip(
            self.lower[:, :, j], self.upper[:, :, j], self.levels, opacity, strict=True
        ):
            low, high = (np.append(end, end[-1]) for end in (lower, upper))
            style = {"color": COLORS[0], "alpha": alpha, "linewidth": 0, "step": "post"}
            found.append(ax.fill_between(edges, low, high, label=f"{level:.4g}", **style))
        return found


def _joined_times(X, start, n_rows, forecast):
    """Return the times of the last rows and of the steps, or None for numbers of rows."""
    ahead, numbers = forecast.index, np.arange(start, n_rows + len(forecast.mean))
    if not hasattr(ahead, "append"):  # without a rule, or of an array
        return numbers if X is not None or ahead is None else ahead
    if X is not None:
        if not isinstance(getattr(X, "index", None), type(ahead)):
            return numbers
        ahead = X.index[start:].append(ahead)
    return ahead if increases(ahead) else numbers
