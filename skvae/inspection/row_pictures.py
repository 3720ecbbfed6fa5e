"""Rows as pictures, one in each cell of a table: rows beside their reconstructions, and draws."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.columns import column_indices
from skvae.inspection.display import COLORS, INK, AxesDisplay

_MARGIN = 0.08  # around a profile, in cells


class RowPicturesDisplay(AxesDisplay):
    """Draws rows in the cells of a table; the base of the Displays that show rows.

    A cell is one unit wide and high, the first is in the upper left corner, and one without a row
    holds NaN. An image has a margin of one pixel.
    """

    def _set_cells(self, ax, shape, image_shape):
        """Return `ax`, or the axes of a new figure, for a table of cells of the given shape."""
        n_rows, n_columns = shape
        height, width = (1, 1) if image_shape is None else np.add(image_shape, 2)
        side = min(0.8, 12 / n_columns)  # inches
        high = float(np.clip(side * n_rows * height / width, 1.0, 14.0))
        ax = self._set_axes(ax, figsize=(max(side * n_columns, 2.0) + 0.8, high + 0.6))
        ax.set(xticks=[], yticks=[])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        return ax

    def _draw_images(self, ax, cells, image_shape, cmap):
        """Draw ``cells``, shape (n_rows, n_columns, n_features); return image and missing pixels.

        Missing pixels are crosses; None if there are none.
        """
        n_rows, n_columns, _ = cells.shape
        height, width = image_shape
        tiles = cells.reshape(n_rows, n_columns, height, width)
        tiles = np.pad(tiles, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=np.nan)
        canvas = np.swapaxes(tiles, 1, 2).reshape(n_rows * (height + 2), n_columns * (width + 2))
        image = ax.imshow(
            canvas,
            cmap=cmap,
            extent=(0, n_columns, n_rows, 0),
            aspect=(height + 2) / (width + 2),
            interpolation="nearest",
        )
        missing = np.isnan(cells) & ~np.isnan(cells).all(axis=2, keepdims=True)
        if not missing.any():
            return image, None
        row, column, pixel = np.nonzero(missing)
        y = row + (pixel // width + 1.5) / (height + 2)
        x = column + (pixel % width + 1.5) / (width + 2)
        size = min(4.0, 30 / max(width, height))
        (crosses,) = ax.plot(x, y, "x", color=COLORS[1], markersize=size, markeredgewidth=0.7)
        return image, crosses

    def _draw_profiles(self, ax, layers, styles):
        """Draw each row of each layer as a line over its features; return one line a layer.

        Layers have the shape (n_rows, n_columns, n_features). All is on one scale.
        """
        n_rows, n_columns, n_features = layers[0].shape
        low = np.nanmin([np.nanmin(cells) for cells in layers])
        high = np.nanmax([np.nanmax(cells) for cells in layers])
        if high == low:
            low, high = low - 0.5, high + 0.5
        edges = {"colors": "#DDDDDD", "linewidth": 0.8, "zorder": 0}
        ax.hlines(np.arange(n_rows + 1), 0, n_columns, **edges)
        ax.vlines(np.arange(n_columns + 1), 0, n_rows, **edges)
        within = np.linspace(_MARGIN, 1 - _MARGIN, n_features) if n_features > 1 else [0.5]
        x = np.arange(n_columns)[:, None] + within
        lines = []
        for cells, style in zip(layers, styles, strict=True):
            share = (cells - low) / (high - low)
            y = np.arange(n_rows)[:, None, None] + 1 - _MARGIN - (1 - 2 * _MARGIN) * share
            apart = [np.broadcast_to(x, y.shape), y]
            apart = [np.pad(a, ((0, 0), (0, 0), (0, 1)), constant_values=np.nan) for a in apart]
            marker = "." if n_features <= 30 else None  # one value between two missing ones
            style = {"marker": marker, "markersize": 3, "linewidth": 1.2, **style}
            lines += ax.plot(*(a.ravel() for a in apart), **style)
        ax.set(xlim=(0, n_columns), ylim=(n_rows, 0))
        return lines


class ReconstructionDisplay(RowPicturesDisplay):
    """Plot of rows and of their reconstructions by a model.

    Make it with :meth:`from_estimator`. As images, each row has its reconstruction below it, all on
    one scale; missing pixels are crosses. As profiles, lines over the features, the two are in one
    cell; all are on one scale, so that features of different units are to be standardised before.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Rows; NaN is missing.
    X_reconstructed : array-like of shape (n_samples, n_features)
        Their reconstructions.
    image_shape : tuple of int (height, width), default=None
        The shape of a row as an image, whose pixels are the features line by line. None draws
        profiles.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    image_ : matplotlib.image.AxesImage or None
        All images, each with a margin of one pixel.
    missing_ : matplotlib.lines.Line2D or None
        The missing pixels.
    lines_ : list of matplotlib.lines.Line2D
        The profiles of the rows and of the reconstructions, with NaN between one and the next.

    See Also
    --------
    SampleDisplay : Draws from the model.
    LatentTraversalDisplay : The effect of each latent dimension.

    Examples
    --------
    >>> from skvae.inspection import ReconstructionDisplay
    >>> display = ReconstructionDisplay([[0, 1, 2, 3]], [[0, 1, 1, 3]], image_shape=(2, 2)).plot()
    >>> display.image_.get_array().shape  # two images, one below the other
    (8, 4)
    """

    def __init__(self, X, X_reconstructed, *, image_shape=None):
        self.X = numbers_to_draw(X)
        self.X_reconstructed = numbers_to_draw(X_reconstructed)
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls, estimator, X, *, image_shape=None, n_columns=10, cmap="gray_r", ax=None
    ):
        """Return the plotted reconstructions by a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``transform`` and ``inverse_transform``, or with ``reconstruct``.
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            The rows to draw.
        image_shape : tuple of int (height, width), default=None
            The shape of a row as an image. None draws profiles.
        n_columns : int, default=10
            Rows beside each other.
        cmap : str or matplotlib.colors.Colormap, default="gray_r"
            The colours of images.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : ReconstructionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As :meth:`plot` does, or if the rows hold names of categories.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.inspection import ReconstructionDisplay
        >>> X = load_digits().data[:200]
        >>> vae = VariationalAutoencoder(2, max_epochs=2, random_state=0).fit(X)
        >>> display = ReconstructionDisplay.from_estimator(vae, X[:5], image_shape=(8, 8))
        >>> display.X_reconstructed.shape
        (5, 64)
        """
        check_is_fitted(estimator)
        if hasattr(estimator, "inverse_transform"):  # zeros and ones have grey probabilities
            Z, given = estimator.transform(X), _given_columns(estimator, X)
            reconstructed = estimator.inverse_transform(Z, **given)
        else:
            reconstructed = estimator.reconstruct(X)
        display = cls(X, reconstructed, image_shape=image_shape)
        return display.plot(ax, n_columns=n_columns, cmap=cmap)

    def plot(self, ax=None, *, n_columns=10, cmap="gray_r"):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.
        n_columns : int, default=10
            Rows beside each other.
        cmap : str or matplotlib.colors.Colormap, default="gray_r"
            The colours of images.

        Returns
        -------
        display : ReconstructionDisplay
            Itself.

        Raises
        ------
        ValueError
            If `image_shape` is not that of the rows, or `n_columns` is below 1.

        Examples
        --------
        >>> from skvae.inspection import ReconstructionDisplay
        >>> display = ReconstructionDisplay([[0, 1, 2]], [[0, 1, 1]]).plot()
        >>> [line.get_label() for line in display.lines_]
        ['rows', 'reconstructed']
        """
        check_image_shape(self.image_shape, self.X.shape[1])
        layers = [in_columns(rows, n_columns) for rows in (self.X, self.X_reconstructed)]
        self.image_, self.missing_, self.lines_ = None, None, []
        if self.image_shape is None:
            ax = self._set_cells(ax, layers[0].shape[:2], None)
            styles = (
                {"color": INK, "label": "rows"},
                {"color": COLORS[1], "linestyle": "--", "label": "reconstructed"},
            )
            self.lines_ = self._draw_profiles(ax, layers, styles)
            ax.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(0, 1))
            return self
        cells = np.stack(layers, axis=1).reshape(-1, *layers[0].shape[1:])
        ax = self._set_cells(ax, cells.shape[:2], self.image_shape)
        self.image_, self.missing_ = self._draw_images(ax, cells, self.image_shape, cmap)
        ax.set_yticks(np.arange(len(cells)) + 0.5, ["rows", "reconstructed"] * len(layers[0]))
        return self


class SampleDisplay(RowPicturesDisplay):
    """Plot of draws from a model, as images or as profiles over the features.

    Make it with :meth:`from_estimator`. All draws are on one scale.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        Draws.
    image_shape : tuple of int (height, width), default=None
        The shape of a row as an image, whose pixels are the features line by line. None draws
        profiles.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    image_ : matplotlib.image.AxesImage or None
        All images, each with a margin of one pixel.
    lines_ : list of matplotlib.lines.Line2D
        The profiles, one line with NaN between one draw and the next; empty for images.

    See Also
    --------
    ReconstructionDisplay : Rows and their reconstructions.

    Examples
    --------
    >>> from skvae.inspection import SampleDisplay
    >>> display = SampleDisplay([[0, 1, 2, 3], [3, 2, 1, 0]], image_shape=(2, 2)).plot()
    >>> display.image_.get_array().shape  # two images beside each other
    (4, 8)
    """

    def __init__(self, X, *, image_shape=None):
        self.X = numbers_to_draw(X)
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator,
        n_samples=30,
        *,
        noise=True,
        condition=None,
        image_shape=None,
        n_columns=10,
        cmap="gray_r",
        random_state=None,
        ax=None,
    ):
        """Return plotted draws from a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``sample(n_samples, random_state=...)``, which gives the draws or a tuple
            that begins with them.
        n_samples : int, default=30
            The number of draws.
        noise : bool, default=True
            False draws E[x | z], by ``inverse_transform`` of the latent vectors z in the second
            entry of the tuple. They lack the likelihood's noise, so real rows look different.
        condition : array-like of shape (n_samples, n_given) or (1, n_given), default=None
            As in ``sample``, of an autoencoder with given columns.
        image_shape : tuple of int (height, width), default=None
            The shape of a row as an image. None draws profiles.
        n_columns : int, default=10
            Draws beside each other.
        cmap : str or matplotlib.colors.Colormap, default="gray_r"
            The colours of images.
        random_state : int, RandomState instance or None, default=None
            None falls back on the estimator's own.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : SampleDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As :meth:`plot` does, with ``noise=False`` if the estimator has no
            ``inverse_transform``, or if the draws hold names of categories.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.inspection import SampleDisplay
        >>> X = load_digits().data[:200]
        >>> vae = VariationalAutoencoder(2, max_epochs=2, random_state=0).fit(X)
        >>> display = SampleDisplay.from_estimator(vae, 20, image_shape=(8, 8))
        >>> display.X.shape
        (20, 64)
        """
        check_is_fitted(estimator)
        if not noise and not hasattr(estimator, "inverse_transform"):
            raise ValueError(
                f"noise=False: {type(estimator).__name__} has no inverse_transform, which gives "
                "E[x | z]; draw with noise=True."
            )
        given = {} if condition is None else {"condition": condition}
        draws = estimator.sample(n_samples, random_state=random_state, **given)
        if not noise:
            X = estimator.inverse_transform(draws[1], **given)
        else:
            X = draws[0] if isinstance(draws, tuple) else draws
        return cls(X, image_shape=image_shape).plot(ax, n_columns=n_columns, cmap=cmap)

    def plot(self, ax=None, *, n_columns=10, cmap="gray_r"):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.
        n_columns : int, default=10
            Draws beside each other.
        cmap : str or matplotlib.colors.Colormap, default="gray_r"
            The colours of images.

        Returns
        -------
        display : SampleDisplay
            Itself.

        Raises
        ------
        ValueError
            If `image_shape` is not that of the rows, or `n_columns` is below 1.

        Examples
        --------
        >>> from skvae.inspection import SampleDisplay
        >>> len(SampleDisplay([[0, 1, 2], [2, 1, 0]]).plot().lines_)
        1
        """
        check_image_shape(self.image_shape, self.X.shape[1])
        cells = in_columns(self.X, n_columns)
        ax = self._set_cells(ax, cells.shape[:2], self.image_shape)
        self.image_, self.lines_ = None, []
        if self.image_shape is None:
            self.lines_ = self._draw_profiles(ax, [cells], [{"color": COLORS[0]}])
        else:
            self.image_, _ = self._draw_images(ax, cells, self.image_shape, cmap)
        return self


def numbers_to_draw(X):
    """Return rows as an array of floats; raise ValueError if they hold names of categories."""
    try:
        return np.asarray(X, dtype=float)
    except ValueError as error:
        raise ValueError(
            f"X has values that are no numbers ({error}), which have no place in a picture: fit "
            "with the codes 0, 1, … of the categories"
        ) from error


def _given_columns(estimator, X):
    """Return the argument ``condition`` of ``inverse_transform`` for some rows, as a dict."""
    columns = getattr(estimator, "condition", None)
    if columns is None:
        return {}
    names = getattr(estimator, "feature_names_in_", None)
    columns = column_indices(columns, estimator.n_features_in_, names, "condition")
    return {"condition": np.asarray(X)[:, columns]}


def check_image_shape(image_shape, n_features):
    """Raise ValueError unless rows of ``n_features`` are images of this shape.

    Parameters
    ----------
    image_shape : tuple of int (height, width) or None
        None is always good.
    n_features : int
        Numbers a row.
    """
    if image_shape is None:
        return
    good = (
        np.iterable(image_shape)
        and len(image_shape) == 2
        and all(isinstance(side, Integral) and side >= 1 for side in image_shape)
        and image_shape[0] * image_shape[1] == n_features
    )
    if not good:
        raise ValueError(
            f"image_shape={image_shape!r} must be (height, width), of {n_features} pixels as the "
            f"rows have."
        )


def in_columns(rows, n_columns):
    """Return rows in the order of reading, shape (n_rows, n_columns, n_features).

    Parameters
    ----------
    rows : ndarray of shape (n_samples, n_features)
        The rows to draw.
    n_columns : int
        The most cells in a line. Cells that are left over hold NaN.
    """
    if not isinstance(n_columns, Integral) or isinstance(n_columns, bool) or n_columns < 1:
        raise ValueError(f"n_columns={n_columns!r} must be an int, at least 1.")
    n_columns = min(int(n_columns), len(rows))
    n_lines = -(-len(rows) // n_columns)
    cells = np.full((n_lines * n_columns, rows.shape[1]), np.nan)
    cells[: len(rows)] = rows
    return cells.reshape(n_lines, n_columns, -1)
