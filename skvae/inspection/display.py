"""What the Displays share: where they draw, and colours that survive grey and colour blindness."""

# Blue and vermilion of Okabe and Ito (2008), which every eye tells apart.
COLORS = ("#0072B2", "#D55E00")
INK = "#333333"


class AxesDisplay:
    """Sets ``ax_`` and ``figure_``; the base of every Display."""

    def _set_axes(self, ax, **subplots_kwargs):
        """Return `ax`, or the axes of a new figure, and remember it."""
        import matplotlib.pyplot as plt

        if ax is None:
            _, ax = plt.subplots(layout="constrained", **subplots_kwargs)
        self.ax_, self.figure_ = ax, ax.figure
        return ax
