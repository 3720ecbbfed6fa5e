"""The base of the Displays, and colours that differ in grey and for the colour-blind."""

import numpy as np

from skvae.inspection.times import TimeAxis

# Blue and vermilion of Okabe and Ito (2008), different for all kinds of colour vision.
COLORS = ("#0072B2", "#D55E00")
# These, their other colours that are not too pale for an area, and a grey.
_STATE_COLORS = (*COLORS, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")
INK = "#333333"


class AxesDisplay:
    """Sets ``ax_`` and ``figure_``; the base of every Display."""

    def _set_axes(self, ax, **subplots_kwargs):
        """Set ``ax_`` and ``figure_``, and return the axes: `ax`, or those of a new figure."""
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained", **subplots_kwargs)
        self.ax_, self.figure_ = ax, ax.figure
        return ax

    def _time_axis(self, n_rows):
        """Return the TimeAxis of ``x`` for rows."""
        from matplotlib.dates import date2num

        return TimeAxis(self.x, n_rows, date2num)

    def _set_times(self, axes, axis):
        """Set the limits, dates and labels of a TimeAxis; shared axes are labelled once, below."""
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        for ax in axes:
            ax.set_xlim(axis.edges[0], axis.edges[-1])
            if axis.is_date:
                locator = AutoDateLocator(tz=axis.zone)
                ax.xaxis.set_major_locator(locator)
                ax.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=axis.zone))
            ax.set_xlabel(axis.label)
            if ax is not axes[-1] and ax.get_shared_x_axes().joined(ax, axes[-1]):
                ax.label_outer()
                ax.set_xlabel("")

    def _state_colors(self, n_states):
        """Return one colour a state, shape (n_states, 4).

        Up to seven differ by hue; more go from dark to light.
        """
        import matplotlib as mpl

        if n_states <= len(_STATE_COLORS):
            # A list: matplotlib 3.8 reads a tuple of two as one colour and its opacity.
            return mpl.colors.to_rgba_array(list(_STATE_COLORS[:n_states]))
        return mpl.colormaps["viridis"](np.linspace(0, 1, n_states))


def probability_text(value):
    """Return a probability in two digits; ``<.01`` and ``>.99`` are not rounded to 0 and 1."""
    if value < 0.005:
        return "<.01"
    below_one = value < 1 - 1e-12  # by more than rounding errors
    return ">.99" if value >= 0.995 and below_one else f"{value:.2f}"
