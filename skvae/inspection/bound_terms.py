"""The evidence lower bound over the epochs of a training, and its two terms."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.display import COLORS, INK, AxesDisplay

# The lines differ by their dashes too, for pictures without colour.
_LINES = {
    "reconstruction": ("reconstruction", {"color": COLORS[0], "linestyle": ":"}),
    "bound": ("bound", {"color": COLORS[0]}),
    "valid_bound": ("bound of the rows kept aside", {"color": COLORS[1], "linestyle": "--"}),
}


class BoundTermsDisplay(AxesDisplay):
    """Plot of the bound over the epochs, and of its two terms: reconstruction and KL divergence.

    Make it with :meth:`from_estimator`. The bound is the reconstruction minus the KL divergence, so
    the shaded gap between the two is the KL: the information about a row in its latent vector.
    Without a gap the latent space is not used. Where the bound of the rows kept aside stays behind
    that of the others, the model overfits.

    Parameters
    ----------
    history : dict of str to sequence of float
        ``"bound"``, ``"reconstruction"`` and ``"kl"`` of each epoch, and if there is one
        ``"valid_bound"``, in nats per row.
    n_iter : int, default=None
        The epoch of the kept weights, from 1; a dotted line.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    lines_ : dict of str to matplotlib.lines.Line2D
        The lines, by the names in `history`.
    kl_area_ : matplotlib.collections.PolyCollection
        The shaded gap.

    See Also
    --------
    BoundTraceDisplay : The bound that a fit maximises.

    Examples
    --------
    >>> from skvae.inspection import BoundTermsDisplay
    >>> history = {"bound": [-9.0, -7.0], "reconstruction": [-9.0, -5.0], "kl": [0.0, 2.0]}
    >>> display = BoundTermsDisplay(history).plot()
    >>> list(display.lines_)
    ['reconstruction', 'bound']
    """

    def __init__(self, history, *, n_iter=None):
        self.history = {name: np.asarray(values, float) for name, values in history.items()}
        self.n_iter = n_iter

    @classmethod
    def from_estimator(cls, estimator, *, first_epoch=1, ax=None):
        """Return the plotted training of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``history_`` and ``n_iter_``.
        first_epoch : int, default=1
            As in :meth:`plot`.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : BoundTermsDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As :meth:`plot` does.
        sklearn.exceptions.NotFittedError
            If the estimator has no ``history_``.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import BoundTermsDisplay
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(load_geyser().data)
        >>> display = BoundTermsDisplay.from_estimator(vae)
        >>> list(display.lines_)
        ['reconstruction', 'bound', 'valid_bound']
        """
        check_is_fitted(estimator, "history_")
        display = cls(estimator.history_, n_iter=estimator.n_iter_)
        return display.plot(ax, first_epoch=first_epoch)

    def plot(self, ax=None, *, first_epoch=1):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.
        first_epoch : int, default=1
            Epochs before it are left out: the first few gain so much that the others look flat.

        Returns
        -------
        display : BoundTermsDisplay
            Itself.

        Raises
        ------
        ValueError
            If there is no epoch from `first_epoch` on.

        Examples
        --------
        >>> from skvae.inspection import BoundTermsDisplay
        >>> history = {"bound": [-9.0, -7.0], "reconstruction": [-9.0, -5.0], "kl": [0.0, 2.0]}
        >>> BoundTermsDisplay(history).plot(first_epoch=2).lines_["bound"].get_xdata()
        array([2])
        """
        n_epochs = len(self.history["bound"])
        if not isinstance(first_epoch, Integral) or not 1 <= first_epoch <= n_epochs:
            raise ValueError(f"first_epoch={first_epoch!r} must be an epoch, from 1 to {n_epochs}.")
        ax = self._set_axes(ax)
        epochs = np.arange(first_epoch, n_epochs + 1)
        shown = {name: values[first_epoch - 1 :] for name, values in self.history.items()}
        if "kl" in shown:  # a likelihood has no such terms
            above, style = shown["reconstruction"], {"color": COLORS[0], "alpha": 0.15}
            self.kl_area_ = ax.fill_between(
                epochs, above - shown["kl"], above, linewidth=0, label="KL", **style
            )
        marker = "." if len(epochs) <= 30 else None  # single epochs are visible in a short training
        self.lines_ = {}
        for name, (label, style) in _LINES.items():
            if name in shown:
                style = {"label": label, "marker": marker, "linewidth": 1.5, **style}
                (self.lines_[name],) = ax.plot(epochs, shown[name], **style)
        if self.n_iter is not None and self.n_iter >= first_epoch:
            ax.axvline(self.n_iter, color=INK, linewidth=1, linestyle=":", label="weights kept")
        ax.set(xlabel="epoch", ylabel="nats per row")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, loc="lower right")
        return self
