"""A fitted density over two features, and its components."""

from copy import copy
from inspect import signature
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.display import INK, AxesDisplay

# The share of the probability that lies inside each contour, and its shade: light to dark in
# grey as in colour.
_MASSES = (0.99, 0.95, 0.8, 0.5)
_SHADES = ("#e3eef6", "#c3d9ea", "#8fbcdb", "#5b9bc8")
# The probability within a contour then has a standard error of 0.4 % (at 50 %).
_N_DRAWS = 20_000
_COMPONENT = "#A03A00"  # vermilion, visible in grey on the darkest shade


class DensityDisplay(AxesDisplay):
    """Plot of a density over two features: highest-density regions and components.

    Make it with :meth:`from_estimator`. The contours are those of the log-density that enclose
    50, 80, 95 and 99 % of the probability [1]_: estimated by draws from the density where the
    estimator has ``sample``, and otherwise on the grid. A region narrower than a cell of the grid
    is drawn no finer than the grid. The ellipses enclose 86 % of each
    Gaussian component (two standard deviations along each axis), drawn the stronger the larger its
    weight.

    Parameters
    ----------
    x0, x1 : ndarray of shape (grid_resolution,)
        Grid values of the first and second feature.
    log_density : ndarray of shape (grid_resolution, grid_resolution)
        Log-density at ``(x0[j], x1[i])``, nats.
    levels : array-like of shape (n_levels,), default=None
        Log-densities of the contours, nats, rising, at most four; by default those that enclose
        99, 95, 80 and 50 % of the probability on the grid, which is too coarse for a density with
        a component narrower than a cell.
    components : tuple of ndarray (weights, means, covariances), default=None
        Arrays of shapes (K,), (K, 2) and (K, 2, 2).
    X : ndarray of shape (n_samples, 2), default=None
        Rows to draw as dots.
    feature_names : tuple of str, default=("feature 0", "feature 1")
        Labels of the axes.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    surface_ : matplotlib.contour.QuadContourSet
        The filled contours.
    ellipses_ : list of matplotlib.patches.Ellipse
        One a component; empty without components.

    See Also
    --------
    sklearn.inspection.DecisionBoundaryDisplay : The same for predictions.

    References
    ----------
    .. [1] R. J. Hyndman (1996). "Computing and graphing highest density regions". The American
       Statistician 50(2), 120-126.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.inspection import DensityDisplay
    >>> x = np.linspace(-3, 3, 50)
    >>> log_density = -(x**2 + x[:, None] ** 2) / 2 - np.log(2 * np.pi)
    >>> display = DensityDisplay(x, x, log_density).plot()
    >>> display.ax_.get_xlabel()
    'feature 0'
    """

    def __init__(
        self,
        x0,
        x1,
        log_density,
        *,
        levels=None,
        components=None,
        X=None,
        feature_names=("feature 0", "feature 1"),
    ):
        self.x0, self.x1, self.log_density = x0, x1, log_density
        self.levels = levels
        self.components = components
        self.X = X
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls, estimator, X, *, features=(0, 1), grid_resolution=150, eps=0.1, scatter=True, ax=None
    ):
        """Return the plotted density of a fitted estimator over the range of some rows.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``score_samples``, and preferably ``sample``. With more than two features
            it needs ``marginal(features)`` too. Ellipses are drawn if it has Gaussian components,
            that is ``weights_``, ``means_``, ``covariances_`` and ``covariance_type`` as in
            :class:`sklearn.mixture.GaussianMixture`.
        X : {array-like, DataFrame} of shape (n_samples, n_features)
            Rows; their range is drawn, without missing values.
        features : pair of int or of str, default=(0, 1)
            The features to draw, by index, or by name if X is a DataFrame.
        grid_resolution : int, default=150
            Number of grid values of each feature, at least 2.
        eps : float, default=0.1
            Margin around the rows, as a fraction of their range.
        scatter : bool, default=True
            Whether to draw the rows.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : DensityDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If `features` is not a pair of different features of X, or one of them is missing in
            all rows; if `grid_resolution` is below 2; or if the estimator has more than two
            features and no ``marginal``.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import DensityDisplay
        >>> X = load_geyser().data
        >>> mixture = EMGaussianMixture(3, random_state=0).fit(X)
        >>> display = DensityDisplay.from_estimator(mixture, X)
        >>> len(display.ellipses_)
        3
        """
        check_is_fitted(estimator)
        if not isinstance(grid_resolution, Integral) or grid_resolution < 2:
            raise ValueError(f"grid_resolution={grid_resolution!r} must be an int, at least 2.")
        names, indices, rows = _two_columns(X, features)
        low, high = np.nanmin(rows, axis=0), np.nanmax(rows, axis=0)
        margin = eps * (high - low)
        x0, x1 = np.linspace(low - margin, high + margin, grid_resolution).T
        density = _density_of_two(estimator, indices, X)
        display = cls(
            x0,
            x1,
            _grid_log_density(density, indices, x0, x1, X),
            levels=_draw_levels(density, X),
            components=_components(estimator, indices),
            X=rows if scatter else None,
            feature_names=names,
        )
        return display.plot(ax)

    def plot(self, ax=None):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : DensityDisplay
            Itself.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.inspection import DensityDisplay
        >>> x = np.linspace(-3, 3, 50)
        >>> log_density = -(x**2 + x[:, None] ** 2) / 2 - np.log(2 * np.pi)
        >>> display = DensityDisplay(x, x, log_density, feature_names=("u", "v")).plot()
        >>> display.ax_.get_ylabel()
        'v'
        """
        ax = self._set_axes(ax)
        levels = _grid_levels(self.log_density) if self.levels is None else self.levels
        self.surface_ = ax.contourf(
            self.x0,
            self.x1,
            self.log_density,
            levels=[*levels, np.inf],
            colors=_SHADES[-len(levels) :],
            zorder=0,
        )
        if self.X is not None:
            ax.scatter(*self.X.T, s=5, color=INK, alpha=0.5, linewidths=0, zorder=1)
        self.ellipses_ = [] if self.components is None else self._draw_components(ax)
        ax.set_xlabel(self.feature_names[0])
        ax.set_ylabel(self.feature_names[1])
        ax.spines[["top", "right"]].set_visible(False)
        return self

    def _draw_components(self, ax):
        from matplotlib.patches import Ellipse

        weights, means, covariances = self.components
        variances, axes = np.linalg.eigh(covariances)
        ellipses = []
        for weight, mean, variance, axis in zip(weights, means, variances, axes, strict=True):
            width, height = 2 * 2 * np.sqrt(variance)  # diameters of two standard deviations
            angle = np.degrees(np.arctan2(axis[1, 0], axis[0, 0]))
            strength = 0.35 + 0.65 * weight / weights.max()
            ellipse = Ellipse(
                mean, width, height, angle=angle, fill=False, edgecolor=_COMPONENT, alpha=strength
            )
            ellipse.set_linewidth(2 * strength)
            ellipses.append(ax.add_patch(ellipse))
        ax.plot(*means.T, "+", color=_COMPONENT, markersize=7, zorder=3)
        return ellipses


def _two_columns(X, features):
    """Return the names, the indices and the values, shape (n_samples, 2), of two features of X."""
    columns = list(map(str, X.columns)) if hasattr(X, "columns") else None
    rows = np.asarray(X, dtype=float)
    rule = f"features={features!r} must be two different features of X, by index or by column name."
    if isinstance(features, str) or not np.iterable(features):
        raise ValueError(rule)
    indices = []
    for feature in features:
        is_index = isinstance(feature, Integral) and not isinstance(feature, bool)
        if isinstance(feature, str) and feature in (columns or ()):
            indices.append(columns.index(feature))
        elif is_index and 0 <= feature < rows.shape[1]:
            indices.append(int(feature))
        else:
            raise ValueError(f"{rule} {feature!r} is none of them.")
    if len(set(indices)) != 2 or len(indices) != 2:
        raise ValueError(rule)
    names = tuple(columns[i] if columns else f"feature {i}" for i in indices)
    for name, column in zip(names, rows[:, indices].T, strict=True):
        if np.isnan(column).all():
            raise ValueError(f"{name!r} is missing in all rows of X: it has no range to draw.")
    return names, indices, rows[:, indices]


def _density_of_two(estimator, indices, X):
    """Return a model of the two features: the estimator, or a marginal of it."""
    n_features = np.shape(X)[1]
    if n_features == 2:
        return estimator
    if not hasattr(estimator, "marginal"):
        raise ValueError(
            f"{type(estimator).__name__} was fitted to {n_features} features and has no "
            "marginal(features): fit it to the two features that are to be drawn."
        )
    return estimator.marginal(indices)


def _grid_log_density(density, indices, x0, x1, X):
    """Return the log-density of two features on a grid, shape (len(x1), len(x0)), nats."""
    grid = np.column_stack([a.ravel() for a in np.meshgrid(x0, x1)])
    if np.shape(X)[1] == 2 and indices == [1, 0]:  # a marginal has the order of `indices`
        grid = grid[:, ::-1]
    return _score_rows(density, grid, X).reshape(len(x1), len(x0))


def _score_rows(density, rows, X):
    if hasattr(X, "columns") and hasattr(density, "feature_names_in_"):
        # A model of a DataFrame warns about arrays; pandas and polars both take a dict.
        rows = type(X)(dict(zip(density.feature_names_in_, rows.T, strict=True)))
    return density.score_samples(rows)


def _components(estimator, indices):
    """Return the weights, means and covariances of two features, or None if there are none."""
    attributes = ("weights_", "means_", "covariances_", "covariance_type")
    if not all(hasattr(estimator, name) for name in attributes):
        return None
    means, covariances = estimator.means_, estimator.covariances_
    n_components, n_features = means.shape
    if estimator.covariance_type == "tied":
        covariances = np.broadcast_to(covariances, (n_components, n_features, n_features))
    elif estimator.covariance_type == "diag":
        covariances = covariances[:, :, None] * np.eye(n_features)
    elif estimator.covariance_type == "spherical":
        covariances = covariances[:, None, None] * np.eye(n_features)
    return estimator.weights_, means[:, indices], covariances[:, indices][:, :, indices]


def _draw_levels(density, X):
    """Return the levels of the log-density that enclose `_MASSES` of the probability, or None.

    The log-density of a draw from the density exceeds its own (1 - p)-quantile with probability p,
    so that quantile bounds the region of mass p, however narrow the region. None without draws.
    """
    if not hasattr(density, "sample"):
        return None
    options = {}
    if "random_state" in signature(density.sample).parameters:
        options["random_state"] = 0
    elif hasattr(density, "random_state"):
        density = copy(density)  # sample reads the attribute; the caller's is not changed
        density.random_state = 0
    try:
        draws = density.sample(_N_DRAWS, **options)
    except NotImplementedError:  # KernelDensity, with most kernels
        return None
    draws = draws[0] if isinstance(draws, tuple) else draws
    drawn = _score_rows(density, np.asarray(draws), X)
    return _distinct(np.quantile(drawn, 1 - np.array(_MASSES), method="inverted_cdf"))


def _grid_levels(log_density):
    """Return the levels of the log-density that enclose `_MASSES` of the probability on the grid.

    The cells have equal areas, so the densest cells that add up to the share are the region.
    """
    descending = np.sort(log_density, axis=None)[::-1]
    mass = np.cumsum(np.exp(descending - descending[0]))
    return _distinct([descending[np.searchsorted(mass, share * mass[-1])] for share in _MASSES])


def _distinct(levels):
    """Return the rising levels without repetitions, which a flat density has.

    A level lies a billionth of a nat low, so that rounding leaves a flat region inside it.
    """
    return np.unique(np.round(levels, 9)) - 1e-9
