"""The bound over the iterations of a fit."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.display import AxesDisplay


class BoundTraceDisplay(AxesDisplay):
    """Plot of the lower bound after each iteration of a fit.

    Make it with :meth:`from_estimator`.

    Parameters
    ----------
    lower_bounds : array-like of shape (n_iter,)
        The bound after each iteration, nats per row.
    estimator_name : str, default=None
        Label of the line.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    line_ : matplotlib.lines.Line2D
        The trace.

    See Also
    --------
    ComparisonDisplay : Several models on held-out rows.

    Examples
    --------
    >>> from skvae.inspection import BoundTraceDisplay
    >>> display = BoundTraceDisplay([-2.0, -1.5, -1.4]).plot()
    >>> display.ax_.get_ylabel()
    'lower bound, nats per row'
    """

    def __init__(self, lower_bounds, *, estimator_name=None):
        self.lower_bounds = np.asarray(lower_bounds, dtype=float)
        self.estimator_name = estimator_name

    @classmethod
    def from_estimator(cls, estimator, *, gap=False, name=None, ax=None, **line_kwargs):
        """Return the plotted trace of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``lower_bounds_``.
        gap : bool, default=False
            As in :meth:`plot`.
        name : str, default=None
            Label of the line; by default the name of the estimator's class.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure. Pass the ``ax_`` of one display to the next to
            see several fits together.
        **line_kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : BoundTraceDisplay
            The display, drawn.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            If the estimator has no ``lower_bounds_``.
        ValueError
            If there is nothing to draw, as in :meth:`plot`.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import BoundTraceDisplay
        >>> mixture = EMGaussianMixture(3, random_state=0).fit(load_geyser().data)
        >>> display = BoundTraceDisplay.from_estimator(mixture)
        >>> len(display.line_.get_xdata()) == mixture.n_iter_
        True
        """
        check_is_fitted(estimator, "lower_bounds_")
        name = type(estimator).__name__ if name is None else name
        display = cls(estimator.lower_bounds_, estimator_name=name)
        return display.plot(ax, gap=gap, **line_kwargs)

    def plot(self, ax=None, *, gap=False, name=None, **line_kwargs):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.
        gap : bool, default=False
            If True, draw how far each bound is below the last, on a log scale; bounds that are not
            below it are left out. Near the maximum, EM closes a constant fraction of the gap in
            each iteration: a straight line, flatter the more the components overlap.
        name : str, default=None
            Label of the line; by default `estimator_name`.
        **line_kwargs : dict
            Passed to :meth:`matplotlib.axes.Axes.plot`.

        Returns
        -------
        display : BoundTraceDisplay
            Itself.

        Raises
        ------
        ValueError
            If there are no bounds, or, with `gap`, none below the last.

        Examples
        --------
        >>> from skvae.inspection import BoundTraceDisplay
        >>> display = BoundTraceDisplay([-2.0, -1.5, -1.4]).plot(gap=True)
        >>> display.line_.get_ydata().round(1)
        array([0.6, 0.1])
        """
        iterations, values = self._trace(gap)
        ax = self._set_axes(ax)
        if gap:
            ax.set_yscale("log")
        label = self.estimator_name if name is None else name
        marker = (
            "o" if len(values) <= 30 else None
        )  # single iterations are visible in a short trace
        style = {"label": label, "marker": marker, "markersize": 3, **line_kwargs}
        (self.line_,) = ax.plot(iterations, values, **style)
        ax.set_xlabel("iteration")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.set_ylabel(f"{'gap to the last bound' if gap else 'lower bound'}, nats per row")
        ax.spines[["top", "right"]].set_visible(False)
        if label is not None:
            ax.legend(frameon=False)
        return self

    def _trace(self, gap):
        """Return the iterations to draw, and the bound or the gap after each."""
        values = self.lower_bounds
        if not len(values):
            raise ValueError("lower_bounds is empty: this model was not fitted by ascent.")
        iterations = np.arange(1, len(values) + 1)
        if not gap:
            return iterations, values
        values = values[-1] - values
        below = values > 0  # without the last bound, and those equal to it up to rounding
        if not below.any():
            raise ValueError(
                f"gap=True has nothing to draw: of {len(values)} lower_bounds none is below the "
                "last."
            )
        return iterations[below], values[below]
