"""The latent space of a fitted model: the places of rows in it, and traversals of it."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.display import COLORS, INK, AxesDisplay
from skvae.inspection.row_pictures import (
    RowPicturesDisplay,
    check_image_shape,
    numbers_to_draw,
)

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
_MAX_GROUPS = 20  # that a legend can name
_MAX_HUES = 7  # more groups have names in the picture, since their colours are too similar
_MAX_TICKS = 11


class LatentSpaceDisplay(AxesDisplay):
    """Plot of rows in two latent dimensions, coloured by their labels.

    Make it with :meth:`from_estimator`. Groups differ by colour and by marker.

    Parameters
    ----------
    Z : array-like of shape (n_samples, 2)
        The places of the rows.
    labels : array-like of shape (n_samples,), default=None
        Labels for colours. Numbers of more than 20 values are a scale, all others are groups.
    dimensions : tuple of int, default=(0, 1)
        The latent dimensions of these places.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    points_ : list of matplotlib.collections.PathCollection
        One a group in the order of their labels; one in all without groups.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        The colour bar, if the labels are a scale.

    See Also
    --------
    LatentTraversalDisplay : The rows to which places of the latent space decode.

    Examples
    --------
    >>> from skvae.inspection import LatentSpaceDisplay
    >>> display = LatentSpaceDisplay([[0, 1], [1, 0], [1, 1]], ["a", "b", "a"]).plot()
    >>> [len(points.get_offsets()) for points in display.points_]
    [2, 1]
    """

    def __init__(self, Z, labels=None, *, dimensions=(0, 1)):
        self.Z = np.asarray(Z, dtype=float)
        self.labels = None if labels is None else np.asarray(labels)
        self.dimensions = tuple(dimensions)

    @classmethod
    def from_estimator(cls, estimator, X, *, labels=None, dimensions=None, ax=None):
        """Return the plotted posterior means of some rows.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``transform``.
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            Rows.
        labels : array-like of shape (n_samples,), default=None
            Labels for colours; by default ``estimator.predict(X)``, as with a mixture prior, and
            one colour for an estimator without ``predict``.
        dimensions : pair of int, default=None
            The latent dimensions to draw; by default the two in which the rows vary most.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : LatentSpaceDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If there is only one latent dimension, if `dimensions` is not a pair of different ones,
            or there is not one label a row.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.inspection import LatentSpaceDisplay
        >>> X, y = load_iris(return_X_y=True)
        >>> vae = VariationalAutoencoder(2, max_epochs=2, random_state=0).fit(X)
        >>> display = LatentSpaceDisplay.from_estimator(vae, X, labels=y)
        >>> len(display.points_)
        3
        """
        check_is_fitted(estimator)
        Z = np.asarray(estimator.transform(X), dtype=float)
        if Z.shape[1] < 2:
            raise ValueError(
                f"{type(estimator).__name__} has one latent dimension, and this is a plot of two: "
                "fit with n_components=2, or draw LatentTraversalDisplay."
            )
        if dimensions is None:
            dimensions = sorted(np.argsort(-Z.var(axis=0), kind="stable")[:2].tolist())
        dimensions = checked_dimensions(dimensions, Z.shape[1], 2)
        if labels is None and hasattr(estimator, "predict"):
            labels = estimator.predict(X)
        return cls(Z[:, dimensions], labels, dimensions=dimensions).plot(ax)

    def plot(self, ax=None):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : LatentSpaceDisplay
            Itself.

        Raises
        ------
        ValueError
            If there is not one label a row.

        Examples
        --------
        >>> from skvae.inspection import LatentSpaceDisplay
        >>> display = LatentSpaceDisplay([[0, 1], [1, 0]], dimensions=(3, 5)).plot()
        >>> display.ax_.get_xlabel()
        'latent dimension 3'
        """
        if self.labels is not None and self.labels.shape != (len(self.Z),):
            raise ValueError(
                f"labels of shape {self.labels.shape} must be one for each of {len(self.Z)} rows."
            )
        ax = self._set_axes(ax, figsize=(5.6, 4.8))
        self.colorbar_ = None
        size = float(np.clip(9000 / len(self.Z), 8, 36))
        style = {"s": size, "linewidths": 0, "alpha": 0.8}
        values = None if self.labels is None else np.unique(self.labels)
        if values is None:
            self.points_ = [ax.scatter(*self.Z.T, color=COLORS[0], **style)]
        elif len(values) > _MAX_GROUPS and self.labels.dtype.kind in "fiu":
            self.points_ = [ax.scatter(*self.Z.T, c=self.labels, cmap="viridis", **style)]
            self.colorbar_ = self.figure_.colorbar(self.points_[0], ax=ax)
        else:
            self.points_ = self._draw_groups(ax, style)
        for name, dimension in zip(("x", "y"), self.dimensions, strict=True):
            ax.set(**{f"{name}label": f"latent dimension {dimension}"})
        ax.set_aspect("equal", adjustable="datalim")  # the prior has one unit in all dimensions
        ax.spines[["top", "right"]].set_visible(False)
        return self

    def _draw_groups(self, ax, style):
        """Return the points of each group, drawn."""
        values, group = np.unique(self.labels, return_inverse=True)
        points = []
        for k, (value, color) in enumerate(
            zip(values, self._state_colors(len(values)), strict=True)
        ):
            rows = self.Z[group == k]
            marker = _MARKERS[k % len(_MARKERS)]
            points.append(
                ax.scatter(*rows.T, color=color, marker=marker, label=str(value), **style)
            )
            if _MAX_HUES < len(values) <= _MAX_GROUPS:
                box = {"facecolor": "white", "edgecolor": "none", "pad": 1.0, "alpha": 0.8}
                where = {"ha": "center", "va": "center", "color": INK, "bbox": box}
                ax.text(*np.median(rows, axis=0), str(value), weight="bold", zorder=3, **where)
        if len(values) <= _MAX_GROUPS:
            handles = {"loc": "center left", "bbox_to_anchor": (1, 0.5), "markerscale": 1.5}
            ax.legend(frameon=False, **handles)
        return points


class LatentTraversalDisplay(RowPicturesDisplay):
    """Plot of E[x | z] along the latent dimensions, for the effect of each.

    Make it with :meth:`from_estimator`. A line of pictures for each latent dimension, from low to
    high with the others fixed; or a table in which one dimension goes to the right and another
    upwards. All pictures are on one scale.

    Parameters
    ----------
    X : array-like of shape (n_lines, n_steps, n_features)
        Expected rows. Those of a grid have `n_steps` lines, the lowest value of the second
        dimension first.
    values : array-like of shape (n_steps,)
        Values of the moved dimensions, rising.
    dimensions : sequence of int
        One a line, or the two of a grid.
    grid : bool, default=False
        Whether the pictures are a grid of two dimensions.
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
        The profiles, one line with NaN between one and the next; empty for images.

    See Also
    --------
    LatentSpaceDisplay : The places of rows in the latent space.

    Examples
    --------
    >>> from skvae.inspection import LatentTraversalDisplay
    >>> X = [[[0, 0, 0, 0], [0, 1, 2, 3]]]
    >>> display = LatentTraversalDisplay(X, [-1, 1], [0], image_shape=(2, 2)).plot()
    >>> display.image_.get_array().shape  # two images beside each other
    (4, 8)
    """

    def __init__(self, X, values, dimensions, *, grid=False, image_shape=None):
        self.X = numbers_to_draw(X)
        self.values = np.asarray(values, dtype=float)
        self.dimensions = list(dimensions)
        self.grid = grid
        self.image_shape = image_shape

    @classmethod
    def from_estimator(
        cls,
        estimator,
        *,
        dimensions=None,
        grid=False,
        n_steps=9,
        span=2.0,
        center=None,
        condition=None,
        image_shape=None,
        cmap="gray_r",
        ax=None,
    ):
        """Return the plotted traversals of a fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``inverse_transform`` and ``get_feature_names_out``.
        dimensions : sequence of int, default=None
            The latent dimensions to move; by default all, or the first two for a grid.
        grid : bool, default=False
            Whether to move two dimensions at once.
        n_steps : int, default=9
            Pictures along a dimension, at least 2.
        span : float, default=2.0
            How far to go from the centre each way; a standard normal prior has unit 1.
        center : array-like of shape (n_components,), default=None
            The fixed values of the dimensions, such as ``estimator.transform(X[:1])[0]`` for the
            neighbourhood of a row. By default zero.
        condition : array-like of shape (1, n_given), default=None
            As in ``inverse_transform``, of an autoencoder with given columns: one row of values for
            all pictures.
        image_shape : tuple of int (height, width), default=None
            The shape of a row as an image. None draws profiles.
        cmap : str or matplotlib.colors.Colormap, default="gray_r"
            The colours of images.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : LatentTraversalDisplay
            The display, drawn. Its ``values`` are relative to the centre.

        Raises
        ------
        ValueError
            If `dimensions` are not different latent dimensions, two of them for a grid; if
            `n_steps` is below 2, `span` not above 0, or `center` not one number a dimension; if
            `image_shape` is not that of the rows, or these hold names of categories.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.inspection import LatentTraversalDisplay
        >>> X = load_digits().data[:200]
        >>> vae = VariationalAutoencoder(2, max_epochs=2, random_state=0).fit(X)
        >>> display = LatentTraversalDisplay.from_estimator(vae, grid=True, image_shape=(8, 8))
        >>> display.X.shape
        (9, 9, 64)
        """
        check_is_fitted(estimator)
        n_components = len(estimator.get_feature_names_out())
        center = np.zeros(n_components) if center is None else np.asarray(center, dtype=float)
        if center.shape != (n_components,):
            raise ValueError(f"center={center!r} must be {n_components} numbers, one a dimension.")
        if not isinstance(n_steps, Integral) or n_steps < 2:
            raise ValueError(f"n_steps={n_steps!r} must be an int, at least 2.")
        if not span > 0:
            raise ValueError(f"span={span!r} must be above 0.")
        if dimensions is None:
            dimensions = range(min(2, n_components) if grid else n_components)
        dimensions = checked_dimensions(dimensions, n_components, 2 if grid else None)
        values = np.linspace(-span, span, n_steps)
        Z = np.tile(center, (n_steps if grid else len(dimensions), n_steps, 1))
        if grid:
            Z[:, :, dimensions[0]] += values
            Z[:, :, dimensions[1]] += values[:, None]
        else:
            for line, dimension in zip(Z, dimensions, strict=True):
                line[:, dimension] += values
        given = {} if condition is None else {"condition": condition}
        rows = np.asarray(estimator.inverse_transform(Z.reshape(-1, n_components), **given))
        X = rows.reshape(*Z.shape[:2], -1)
        display = cls(X, values, dimensions, grid=grid, image_shape=image_shape)
        return display.plot(ax, cmap=cmap)

    def plot(self, ax=None, *, cmap="gray_r"):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.
        cmap : str or matplotlib.colors.Colormap, default="gray_r"
            The colours of images.

        Returns
        -------
        display : LatentTraversalDisplay
            Itself.

        Raises
        ------
        ValueError
            If `image_shape` is not that of the rows.

        Examples
        --------
        >>> from skvae.inspection import LatentTraversalDisplay
        >>> X = [[[0, 0, 0], [0, 1, 2]], [[1, 1, 1], [2, 1, 0]]]
        >>> display = LatentTraversalDisplay(X, [-1, 1], [0, 4]).plot()
        >>> [label.get_text() for label in display.ax_.get_yticklabels()]
        ['0', '4']
        """
        check_image_shape(self.image_shape, self.X.shape[2])
        cells = self.X[::-1] if self.grid else self.X  # the second dimension goes upwards
        ax = self._set_cells(ax, cells.shape[:2], self.image_shape)
        self.image_, self.lines_ = None, []
        if self.image_shape is None:
            self.lines_ = self._draw_profiles(ax, [cells], [{"color": COLORS[0]}])
        else:
            self.image_, _ = self._draw_images(ax, cells, self.image_shape, cmap)
        n_lines, n_steps = cells.shape[:2]
        named = np.arange(0, n_steps, -(-n_steps // _MAX_TICKS))
        texts = [f"{self.values[i]:.2g}" for i in named]
        ax.set_xticks(named + 0.5, texts)
        if self.grid:
            ax.set_yticks(n_lines - 0.5 - named, texts)
            ax.set_xlabel(f"latent dimension {self.dimensions[0]}")
            ax.set_ylabel(f"latent dimension {self.dimensions[1]}")
        else:
            ax.set_yticks(np.arange(n_lines) + 0.5, list(map(str, self.dimensions)))
            ax.set(xlabel="moved to", ylabel="latent dimension")
        return self


def checked_dimensions(dimensions, n_components, n_wanted=None):
    """Return `dimensions` as a list of different latent dimensions; raise ValueError if not.

    There must be ``n_wanted`` of them, or with None at least one.
    """
    found = list(dimensions) if np.iterable(dimensions) else []
    good = all(isinstance(d, Integral) and 0 <= d < n_components for d in found)
    enough = found and (n_wanted is None or len(found) == n_wanted)
    if not good or not enough or len(set(found)) != len(found):
        many = "" if n_wanted is None else f"{n_wanted} "
        raise ValueError(
            f"dimensions={dimensions!r} must be {many}different latent dimensions, from 0 to "
            f"{n_components - 1}."
        )
    return [int(d) for d in found]
