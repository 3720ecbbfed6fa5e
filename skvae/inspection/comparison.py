"""The differences between models on held-out rows."""

import numpy as np

from skvae.inspection.display import COLORS, INK, AxesDisplay


class ComparisonDisplay(AxesDisplay):
    """Plot of paired differences in held-out log-likelihood, best model on top.

    Make it with :meth:`from_comparison` or :meth:`skvae.comparison.Comparison.plot`. A dot is the
    mean difference to the best model, its thick line one paired standard error each way, its thin
    line two. If the thin line of a model crosses zero, it is not clearly worse than the best.

    Parameters
    ----------
    names : sequence of str
        The models.
    means : array-like of shape (n_models,)
        Mean held-out log-likelihoods, nats per row; written at the right edge.
    differences : array-like of shape (n_models,)
        Differences to the best, nats per row.
    standard_errors : array-like of shape (n_models,)
        Paired standard errors of `differences`, nats per row.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    points_ : matplotlib.lines.Line2D
        The dots, of the models with a finite difference, best first.

    See Also
    --------
    skvae.compare : Makes the comparison.

    Examples
    --------
    >>> from skvae.inspection import ComparisonDisplay
    >>> display = ComparisonDisplay(["a", "b"], [-1.0, -1.5], [0.0, -0.5], [0.0, 0.1]).plot()
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['a', 'b']
    """

    def __init__(self, names, means, differences, standard_errors):
        self.names = list(names)
        self.means = np.asarray(means, dtype=float)
        self.differences = np.asarray(differences, dtype=float)
        self.standard_errors = np.asarray(standard_errors, dtype=float)

    @classmethod
    def from_comparison(cls, comparison, *, ax=None):
        """Return the plotted result of :func:`skvae.compare`.

        Parameters
        ----------
        comparison : skvae.comparison.Comparison
            The result.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : ComparisonDisplay
            The display, drawn.

        Examples
        --------
        >>> from sklearn.mixture import GaussianMixture
        >>> from skvae import compare
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import ComparisonDisplay
        >>> models = {f"{k}": GaussianMixture(k, random_state=0) for k in (1, 2, 3)}
        >>> display = ComparisonDisplay.from_comparison(compare(models, load_geyser().data))
        >>> [label.get_text() for label in display.ax_.get_yticklabels()]
        ['2', '3', '1']
        """
        differences, standard_errors = comparison.difference_to(comparison.best)
        display = cls(comparison.names, comparison.means, differences, standard_errors)
        return display.plot(ax)

    def plot(self, ax=None):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure, higher for more models.

        Returns
        -------
        display : ComparisonDisplay
            Itself.

        Examples
        --------
        >>> from skvae.inspection import ComparisonDisplay
        >>> display = ComparisonDisplay(["a", "b"], [-1.0, -1.5], [0.0, -0.5], [0.0, 0.1]).plot()
        >>> display.points_.get_xdata()
        array([ 0. , -0.5])
        """
        ax = self._set_axes(ax, figsize=(6.4, 1.2 + 0.32 * len(self.names)))
        order = np.argsort(-self.differences, kind="stable")  # nan is last
        x, error = self.differences[order], self.standard_errors[order]
        y = np.arange(len(order))
        finite = np.isfinite(x)

        ax.axvline(0, color=INK, linewidth=0.8, linestyle=":", zorder=1)
        for n_errors, width in ((1, 3.0), (2, 1.0)):
            ax.hlines(y, x - n_errors * error, x + n_errors * error, color=COLORS[0], lw=width)
        (self.points_,) = ax.plot(x[finite], y[finite], "o", color=COLORS[0], zorder=3)
        edge = ax.get_yaxis_transform()  # x in fractions of the axes, y in data
        for row in np.flatnonzero(~finite):
            ax.plot(0.03, row, marker="<", color=COLORS[1], transform=edge, clip_on=False)
        for row, mean in zip(y, self.means[order], strict=True):
            ax.text(1.02, row, f"{mean:.3f}", transform=edge, va="center", color=INK)
        ax.text(1.02, -1, "mean", transform=edge, va="center", color=INK, style="italic")

        ax.set_yticks(y, [self.names[m] for m in order])
        ax.set_ylim(len(order) - 0.5, -0.5)
        ax.locator_params(axis="x", nbins=6)
        ax.set_xlabel(f"nats per row, relative to {self.names[order[0]]}")
        ax.spines[["top", "right", "left"]].set_visible(False)
        ax.tick_params(axis="y", length=0)
        return self
