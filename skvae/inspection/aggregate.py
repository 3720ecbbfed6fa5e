"""The average posterior of rows beside the prior: where samples are unlike the rows."""

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.display import COLORS, AxesDisplay
from skvae.inspection.latent import checked_dimensions

_BINS = 40


class AggregatePosteriorDisplay(AxesDisplay):
    """Plot of latent vectors drawn from the posteriors of rows, and from the prior.

    Make it with :meth:`from_estimator`. Draws of the prior where there are none of the posteriors
    decode to rows unlike the data: a more flexible prior, or a larger weight of the KL, brings the
    two together.

    Parameters
    ----------
    Z : array-like of shape (n_samples, 1 or 2)
        One draw from the posterior of each row.
    Z_prior : array-like of shape (n, 1 or 2)
        Draws from the prior.
    divergence : tuple of float, default=None
        Lower and upper bound of KL(q(z) ‖ p(z)), for the legend.
    dimensions : tuple of int, default=(0, 1)
        The latent dimensions of these draws.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    draws_ : list of matplotlib.artist.Artist
        The draws of the prior, and those of the posteriors: points of two dimensions, the outlines
        of histograms of one.

    See Also
    --------
    LatentSpaceDisplay : The posterior means of rows with labels.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.inspection import AggregatePosteriorDisplay
    >>> rng = np.random.default_rng(0)
    >>> Z, Z_prior = rng.normal(3.0, 0.5, size=(2, 100, 2)) * [[[1.0]], [[0.5]]]
    >>> display = AggregatePosteriorDisplay(Z, Z_prior, divergence=(2.0, 2.4)).plot()
    >>> [text.get_text() for text in display.ax_.get_legend().get_texts()]
    ['prior', 'posteriors of the rows: KL from 2.00 to 2.40 nats']
    """

    def __init__(self, Z, Z_prior, *, divergence=None, dimensions=(0, 1)):
        self.Z = np.asarray(Z, dtype=float)
        self.Z_prior = np.asarray(Z_prior, dtype=float)
        self.divergence = divergence
        self.dimensions = tuple(dimensions)

    @classmethod
    def from_estimator(
        cls, estimator, X, *, condition=None, dimensions=None, random_state=0, ax=None
    ):
        """Return the plotted draws of a fitted autoencoder.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``posterior``, ``sample`` and ``aggregate_kl``.
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            Rows, best of all those that were not trained on.
        condition : array-like of shape (n_samples, n_given) or (1, n_given), default=None
            As in ``sample``, of an autoencoder with given columns; their values have no influence.
        dimensions : sequence of one or two int, default=None
            The latent dimensions to draw; by default the two in which posteriors and prior differ
            most, or the only one.
        random_state : int, RandomState instance or None, default=0
            The source of the draws.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : AggregatePosteriorDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `dimensions` are not one or two different latent dimensions.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.inspection import AggregatePosteriorDisplay
        >>> X = load_iris().data
        >>> vae = VariationalAutoencoder(2, max_epochs=2, random_state=0).fit(X)
        >>> display = AggregatePosteriorDisplay.from_estimator(vae, X)
        >>> display.Z.shape
        (150, 2)
        """
        check_is_fitted(estimator)
        mean, covariance = estimator.posterior(X)
        rng = check_random_state(random_state)
        noise = rng.standard_normal(mean.shape)
        Z = mean + np.einsum("nij,nj->ni", np.linalg.cholesky(covariance), noise)
        own = {} if condition is None else {"condition": condition}
        Z_prior = estimator.sample(len(Z), random_state=rng, **own)[1]
        if dimensions is None:
            apart = np.abs(np.sort(Z, axis=0) - np.sort(Z_prior, axis=0)).mean(axis=0)
            dimensions = sorted(np.argsort(-apart, kind="stable")[:2].tolist())
        n_dimensions = 1 if np.size(dimensions) == 1 else 2
        dimensions = checked_dimensions(dimensions, Z.shape[1], n_dimensions)
        found = estimator.aggregate_kl(X)
        own = {"divergence": (found.lower, found.upper), "dimensions": dimensions}
        return cls(Z[:, dimensions], Z_prior[:, dimensions], **own).plot(ax)

    def plot(self, ax=None):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : AggregatePosteriorDisplay
            Itself.

        Examples
        --------
        >>> from skvae.inspection import AggregatePosteriorDisplay
        >>> display = AggregatePosteriorDisplay([[0.0], [1.0]], [[0.5]], dimensions=(3,)).plot()
        >>> display.ax_.get_xlabel()
        'latent dimension 3'
        """
        ax = self._set_axes(ax)
        name = "posteriors of the rows"
        if self.divergence is not None:
            name += ": KL from {:.2f} to {:.2f} nats".format(*self.divergence)
        pairs = [(self.Z_prior, "prior", COLORS[1]), (self.Z, name, COLORS[0])]
        if self.Z.shape[1] == 1:
            edges = np.histogram_bin_edges(np.concatenate([self.Z, self.Z_prior]), _BINS)
            self.draws_ = [
                ax.hist(Z[:, 0], edges, density=True, histtype="step", color=color, label=label)[2][
                    0
                ]
                for Z, label, color in pairs
            ]
            ax.set_ylabel("density")
        else:
            self.draws_ = [
                ax.scatter(*Z.T, s=8, alpha=0.5, color=color, linewidth=0, label=label)
                for Z, label, color in pairs
            ]
            ax.set_ylabel(f"latent dimension {self.dimensions[1]}")
            ax.set_aspect("equal", adjustable="datalim")
        ax.set_xlabel(f"latent dimension {self.dimensions[0]}")
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False)
        return self
