"""The state of each row, and the probabilities of all states."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.blocks import as_sequences
from skvae.inspection.display import INK, AxesDisplay
from skvae.inspection.times import times_of

_MAX_LANES = 8  # of features that are drawn by default
_MAX_BOUNDARIES = 100  # more would hide the rows
_MAX_NAMED_STATES = 15
_TINT = 0.35


class StatePathDisplay(AxesDisplay):
    """Plot of rows over time, of their states, and of the probabilities of the states.

    Make it with :meth:`from_estimator`. The rows are drawn on a ground that has the colour of their
    state on the most probable path, each feature in an axes with its own units. Below is one line
    for each state, in its colour, the stronger the more probable the state is. Dashed lines
    separate sequences, if there are at most a hundred of them. A line has a gap where a value is
    missing.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        The rows in time order, of the features that are to be drawn.
    states : array-like of int, shape (n_samples,)
        The state of each row.
    posterior : array-like of shape (n_samples, n_states)
        The probabilities of the states.
    offsets : array-like of int, shape (n_sequences + 1,), default=None
        Sequence s has the rows from offsets[s] to offsets[s + 1]; by default there is one.
    feature_names : sequence of str, default=None
        Names of the features; by default "feature 0" and so on.
    x : array-like of shape (n_samples,) or pandas.Index, default=None
        The time of each row: numbers, dates, periods or durations, which increase; by default the
        number of the row.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where the rows are drawn; of several axes the first.
    feature_axes_ : list of matplotlib.axes.Axes
        One a feature, or `ax_` alone if it has all of them.
    posterior_ax_ : matplotlib.axes.Axes or None
        Where the probabilities are drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    lines_ : list of matplotlib.lines.Line2D
        One a feature.
    states_image_ : matplotlib.image.AxesImage or matplotlib.collections.QuadMesh
        The ground of `ax_`, one pixel a column; with `x` a mesh.
    posterior_image_ : matplotlib.image.AxesImage, matplotlib.collections.QuadMesh or None
        The probabilities, one pixel a state and column: the opacity is the probability.
    boundaries_ : list of matplotlib.collections.LineCollection
        The dashed lines, one collection for each axes; empty if there are none.

    See Also
    --------
    TransitionDisplay : The transitions between states.

    Examples
    --------
    >>> from skvae.inspection import StatePathDisplay
    >>> display = StatePathDisplay([[0.1], [0.2], [5.1]], [0, 0, 1], [[1, 0], [0.9, 0.1], [0, 1]])
    >>> display.plot().lines_[0].get_ydata()
    array([0.1, 0.2, 5.1])
    """

    def __init__(self, X, states, posterior, *, offsets=None, feature_names=None, x=None):
        self.X = np.asarray(X, dtype=float)
        self.states = np.asarray(states)
        self.posterior = np.asarray(posterior, dtype=float)
        self.offsets = np.array([0, len(self.X)]) if offsets is None else np.asarray(offsets)
        n_features = self.X.shape[1]
        names = [f"feature {i}" for i in range(n_features)]
        self.feature_names = names if feature_names is None else list(feature_names)
        self.x = x

    @classmethod
    def from_estimator(
        cls,
        estimator,
        X,
        *,
        groups=None,
        features=None,
        x=None,
        max_columns=600,
        ax=None,
        **line_kwargs,
    ):
        """Return the plotted states of some rows under a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``predict`` and ``predict_proba``: :class:`skvae.EMHiddenMarkov`, or a
            mixture, in which rows are independent.
        X : {array-like, DataFrame} of shape (n_samples, n_features), or list of such
            Rows in time order, as the estimator takes them.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, passed to the estimator; None is one sequence.
        features : int, str, or sequence of them, default=None
            The features to draw, by index, or by name if X is a DataFrame; by default the first
            eight.
        x : array-like of shape (n_samples,) or pandas.Index, default=None
            The time of each row; by default the index of a DataFrame, if it has dates or periods,
            and otherwise the number of the row.
        max_columns : int, default=600
            As in :meth:`plot`.
        ax : matplotlib.axes.Axes, or sequence of them, default=None
            As in :meth:`plot`.
        **line_kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : StatePathDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `features` are not features of X, or as :meth:`plot` does.
        TypeError
            If the estimator is no density, such as :class:`skvae.CTCTranscriber`.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import StatePathDisplay
        >>> X = load_geyser().data
        >>> chain = EMHiddenMarkov(2, random_state=0).fit(X)
        >>> display = StatePathDisplay.from_estimator(chain, X[:100], features=0)
        >>> display.posterior_image_.get_array().shape
        (2, 100, 4)
        """
        check_is_fitted(estimator)
        if not hasattr(estimator, "score_samples"):
            raise TypeError(
                f"{type(estimator).__name__} is no density of rows: its predictions are no states"
            )
        params = {} if groups is None else {"groups": groups}
        sequences = as_sequences(X, groups, _as_table, estimator.n_features_in_)
        columns = getattr(sequences.X, "columns", None)
        rows = np.asarray(sequences.X)
        indices, names = chosen_features(rows.shape[1], columns, features)
        states, posterior = estimator.predict(X, **params), estimator.predict_proba(X, **params)
        if isinstance(states, list):
            states, posterior = np.concatenate(states), np.concatenate(posterior)
        display = cls(
            rows[:, indices].astype(float),
            states,
            posterior,
            offsets=sequences.offsets,
            feature_names=names,
            x=times_of(X) if x is None else x,
        )
        return display.plot(ax, max_columns=max_columns, **line_kwargs)

    def plot(self, ax=None, *, max_columns=600, **line_kwargs):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, or sequence of them, default=None
            Where to draw; by default a new figure with an axes for each feature and one for the
            probabilities. Such a sequence may be given too. A pair of axes is for the rows and the
            probabilities: several features are then in one axes above each other, each scaled to
            its own range. In a single axes the rows alone are drawn, with the states named in a
            legend.
        max_columns : int, default=600
            More rows are cut into this many columns of equal length: single rows would take long to
            draw and would not be visible. Of each column the smallest and largest value are drawn,
            so that no peak is lost; its most frequent state, so that a visit of less than half a
            column may be lost; and the mean of its probabilities, where the visit is still visible.
        **line_kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : StatePathDisplay
            Itself.

        Raises
        ------
        ValueError
            If `ax` is neither an axes nor such a sequence, `max_columns` is not an int of at least
            1, or `x` does not increase from row to row.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.inspection import StatePathDisplay
        >>> states = np.repeat([0, 1], 5000)
        >>> display = StatePathDisplay(states[:, None], states, np.eye(2)[states])
        >>> display.plot(max_columns=100).states_image_.get_array().shape
        (1, 100, 4)
        """
        if not isinstance(max_columns, Integral) or max_columns < 1:
            raise ValueError(f"max_columns={max_columns!r} must be an int, at least 1.")
        axis = self._time_axis(len(self.X))
        columns = _Columns(len(self.X), max_columns, axis)
        colors = self._state_colors(self.posterior.shape[1])
        self._set_all_axes(ax, len(colors))
        self._draw_rows(columns, line_kwargs)
        self._draw_states(columns, colors)
        self.posterior_image_ = None
        if self.posterior_ax_ is None:
            self._name_states(colors)
        else:
            self._draw_posterior(columns, colors)
        self._draw_boundaries(axis)
        self._set_times(self._all_axes(), axis)
        return self

    def _set_all_axes(self, ax, n_states):
        """Set the axes of the features and of the probabilities; see :meth:`plot`."""
        import matplotlib.pyplot as plt

        n_features = self.X.shape[1]
        if ax is None:
            height = 1.8 if n_features == 1 else 1.0
            heights = [*[height] * n_features, float(np.clip(0.28 * n_states, 0.6, 3.0))]
            _, ax = plt.subplots(
                n_features + 1,
                1,
                sharex=True,
                layout="constrained",
                figsize=(8.0, 0.7 + sum(heights)),
                height_ratios=heights,
            )
        ax = [ax] if isinstance(ax, plt.Axes) else ax
        sizes = {1, 2, n_features + 1}
        axes = list(ax) if np.iterable(ax) else []
        if len(axes) not in sizes or not all(isinstance(a, plt.Axes) for a in axes):
            raise ValueError(
                f"ax={ax!r} must be an axes, a pair of them, or one for each feature and one for "
                "the states."
            )
        self.posterior_ax_ = axes.pop() if len(axes) > 1 else None
        self.feature_axes_ = axes
        self._set_axes(axes[0])

    def _draw_rows(self, columns, line_kwargs):
        """Draw one line for each feature: in its units, or several in the lanes of one axes."""
        n_features, lanes = self.X.shape[1], len(self.feature_axes_) < self.X.shape[1]
        ends = self.offsets[1:-1]
        self.lines_ = []
        for lane, values in enumerate(self.X.T):
            ax = self.ax_ if lanes else self.feature_axes_[lane]
            if lanes:
                values = n_features - 1 - lane + _scaled(values)
            else:
                ax.set_ylabel(self.feature_names[lane])
            x, y = columns.line(values, ends)
            gap = np.concatenate([[True], ~np.isfinite(y), [True]])
            alone = ~gap[1:-1] & gap[:-2] & gap[2:]
            style = {"color": INK, "linewidth": 0.9, "marker": ".", "markersize": 3, **line_kwargs}
            style["markevery"] = np.flatnonzero(alone)  # a line of one row is invisible
            self.lines_ += ax.plot(x, y, **style)
        if lanes:
            self.ax_.set_yticks(np.arange(n_features)[::-1] + 0.5, self.feature_names)
            self.ax_.tick_params(axis="y", length=0)
            self.ax_.set_ylim(-0.05, n_features + 0.05)
        for ax in self.feature_axes_:
            ax.spines[["top", "right"]].set_visible(False)

    def _draw_states(self, columns, colors):
        ground = colors[columns.most_frequent(self.states, len(colors))][None]
        images = []
        for ax in self.feature_axes_:
            limits = ax.get_ylim()
            # y in fractions of the axes
            style = {"transform": ax.get_xaxis_transform(), "alpha": _TINT, "zorder": 0}
            images.append(columns.draw(ax, ground, (0, 1), **style))
            ax.set_ylim(limits)  # the image has changed them
        self.states_image_ = images[0]

    def _draw_posterior(self, columns, colors):
        ax, n_states = self.posterior_ax_, len(colors)
        image = np.repeat(colors[:, None], columns.n_columns, axis=1)
        image[:, :, 3] = np.clip(columns.mean(self.posterior), 0, 1).T
        self.posterior_image_ = columns.draw(ax, image, (n_states - 0.5, -0.5))
        ax.set_ylim(n_states - 0.5, -0.5)
        if n_states <= _MAX_NAMED_STATES:
            ax.set_yticks(range(n_states))
        else:
            ax.yaxis.get_major_locator().set_params(integer=True)
        ax.set_ylabel("state")
        ax.spines[["top", "right"]].set_visible(False)

    def _all_axes(self):
        """Return the axes of the features and of the probabilities."""
        return [*self.feature_axes_, *([] if self.posterior_ax_ is None else [self.posterior_ax_])]

    def _name_states(self, colors):
        from matplotlib.patches import Patch

        if len(colors) > _MAX_NAMED_STATES:
            return
        ground = [(*color[:3], _TINT) for color in colors]
        patches = [Patch(facecolor=color, label=f"{k}") for k, color in enumerate(ground)]
        self.ax_.legend(
            handles=patches,
            title="state",
            loc="upper left",
            bbox_to_anchor=(1, 1),
            frameon=False,
            handlelength=1,
            handleheight=1,
        )

    def _draw_boundaries(self, axis):
        begins = axis.edges[np.asarray(self.offsets[1:-1])]
        self.boundaries_ = []
        if 0 < len(begins) <= _MAX_BOUNDARIES:
            style = {"color": INK, "linewidth": 1.0, "linestyle": "--"}
            self.boundaries_ = [
                ax.vlines(begins, 0, 1, transform=ax.get_xaxis_transform(), **style)
                for ax in self._all_axes()
            ]


class _Columns:
    """Rows cut into at most ``max_columns`` columns of equal length, with their summaries."""

    def __init__(self, n_rows, max_columns, axis):
        self.n_columns = min(n_rows, int(max_columns))
        self._edges = np.arange(self.n_columns + 1) * n_rows // self.n_columns
        self._lengths = np.diff(self._edges)
        self._centres = axis.at((np.arange(self.n_columns) + 0.5) * n_rows / self.n_columns - 0.5)
        self._axis = axis

    def draw(self, ax, image, ends, **style):
        """Return an image (m, n_columns, 4) drawn between two values of y, the last row's first."""
        edges = self._axis.edges[self._edges]
        if not self._axis.is_row:  # columns of different widths
            heights, image = np.linspace(*ends[::-1], len(image) + 1), image.copy()
            image[:, :, 3] *= style.pop("alpha", 1.0)  # a mesh has the opacity of its colours only
            return ax.pcolormesh(edges, heights, image, **style)
        style = {"aspect": "auto", "interpolation": "nearest", **style}
        return ax.imshow(image, extent=(edges[0], edges[-1], *ends), **style)

    def line(self, values, begins):
        """Return x and y of a line that has a gap before each row of `begins`, a new sequence."""
        x, y = self._centres, values
        gaps = begins
        if len(values) > self.n_columns:
            x = np.repeat(x, 2)
            y = np.column_stack([ufunc.reduceat(values, self._edges[:-1]) for ufunc in _ENVELOPE])
            y = y.ravel()
            # A column that holds rows of two sequences belongs to the first of them.
            gaps = 2 * np.unique(np.searchsorted(self._edges, begins))
            gaps = gaps[gaps < len(y)]
        return np.insert(x, gaps, np.nan), np.insert(y, gaps, np.nan)

    def most_frequent(self, states, n_states):
        """Return the most frequent state of each column; of several, the first."""
        column = np.repeat(np.arange(self.n_columns), self._lengths)
        counts = np.bincount(column * n_states + states, minlength=self.n_columns * n_states)
        return counts.reshape(self.n_columns, n_states).argmax(axis=1)

    def mean(self, values):
        """Return the mean of the rows of each column."""
        return np.add.reduceat(values, self._edges[:-1], axis=0) / self._lengths[:, None]


_ENVELOPE = (np.fmin, np.fmax)  # they ignore NaN


def _scaled(values):
    """Return the values mapped to the middle nine tenths of [0, 1]; a constant to a half."""
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
    if low == high:
        return np.where(np.isnan(values), np.nan, 0.5)
    return 0.05 + 0.9 * (values - low) / (high - low)


def _as_table(X):
    """Return rows as an array or a data frame; masked values are NaN."""
    if isinstance(X, np.ma.MaskedArray):
        return X.astype(np.float64).filled(np.nan)
    return X if hasattr(X, "columns") else np.asarray(X)


def chosen_features(n_features, columns, features):
    """Return the indices and the names of the features that are to be drawn."""
    columns = None if columns is None else list(map(str, columns))
    if features is None:
        features = range(min(n_features, _MAX_LANES))
    elif isinstance(features, str) or not np.iterable(features):
        features = [features]
    indices = []
    for feature in features:
        is_index = isinstance(feature, Integral) and not isinstance(feature, bool)
        if isinstance(feature, str) and feature in (columns or ()):
            indices.append(columns.index(feature))
        elif is_index and 0 <= feature < n_features:
            indices.append(int(feature))
        else:
            raise ValueError(
                f"features={features!r} must be features of X, by index or by column name. "
                f"{feature!r} is none of them."
            )
    if not indices:
        raise ValueError(f"features={features!r} is empty: there is nothing to draw.")
    return indices, [columns[i] if columns else f"feature {i}" for i in indices]
