"""Checks made before a Gaussian model is fitted."""

import numpy as np

from skvae.gaussian.covariance import STRUCTURES, is_above_one

_FAR = 1e50  # beyond it the product of two squares overflows
_APART = 1e14  # standard deviations at which two models have no digit of float64 in common
_CHOSEN = 1e-5  # of a feature's variance: a floor above it regularises, and is meant to be reached
_ON_FLOOR = 1e-6  # relative: a variance that the floor has raised
_NARROW = 1e-7  # standard deviations: the least span that differences from earlier means resolve


def check_weights(name, weights):
    """Raise ValueError unless the weights are a distribution."""
    if (weights < 0).any() or (weights > 1).any():
        raise ValueError(f"{name}={weights}: each entry must be in [0, 1]")
    if abs(weights.sum() - 1) > 1e-6:
        raise ValueError(f"{name} sums to {weights.sum():.9g}: must sum to 1")


def check_positive_definite(name, matrices, structure):
    """Raise ValueError unless all matrices are symmetric and positive definite."""
    if structure.name in ("full", "tied"):
        scale = np.abs(matrices).max(axis=(-2, -1), keepdims=True)
        if (np.abs(matrices - np.swapaxes(matrices, -1, -2)) > 1e-8 * scale).any():
            raise ValueError(f"{name} is not symmetric: must be symmetric and positive definite")
        # In units of their own: the eigenvalues of features with units from 1e-4 to 1e4 differ by
        # more than float64 resolves. They are computed where the Cholesky factor leaves a doubt.
        variances = np.diagonal(matrices, axis1=-2, axis2=-1)
        units = np.sqrt(np.where(variances > 0, variances, 1.0))
        scaled = matrices / units[..., :, None] / units[..., None, :]
        positive = (variances > 0).all()
        if positive:
            try:
                np.linalg.cholesky(scaled)
            except np.linalg.LinAlgError:
                positive = (np.linalg.eigvalsh(scaled) > 0).all()
        if not positive:
            raise ValueError(f"{name} has an eigenvalue <= 0: must be positive definite")
    elif (matrices <= 0).any():
        raise ValueError(f"{name} has an entry {matrices.min()}: must be > 0")


def check_near(named_means, named_covariances, covariance_type, moments):
    """Raise ValueError where given means or covariances are too far from the data.

    Parameters
    ----------
    named_means, named_covariances : tuple of (str, ndarray or None)
        Names for messages, and arrays with any number of leading axes.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The covariances' form.
    moments : Moments
        The moments of the data.
    """
    (name, means), (name_2, covariances) = named_means, named_covariances
    if means is not None:
        away = (np.abs(means - moments.mean) / moments.scale).max()
        if away > _FAR:
            raise ValueError(
                f"{name} has an entry {away:.3g} standard deviations of X away from X: must be "
                f"within {_FAR:.0e}"
            )
    if covariances is None:
        return
    if covariance_type in ("full", "tied"):
        variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    else:
        variances = covariances[..., None] if covariance_type == "spherical" else covariances
    ratio = variances / moments.scale / moments.scale
    if not (ratio.min() > 1 / _FAR and ratio.max() < _FAR):
        worst = ratio.min() if ratio.min() <= 1 / _FAR else ratio.max()
        raise ValueError(
            f"{name_2} has a variance {worst:.3g} times that of X: must be within "
            f"{1 / _FAR:.0e} and {_FAR:.0e}"
        )


def check_batch(X, mean, scale, why):
    """Raise ValueError where rows are too far from the earlier fit to continue it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The rows; NaN is missing.
    mean, scale : ndarray of shape (n_features,)
        The mean and the standard deviation of rows under the earlier fit.
    why : str
        The method or parameter that continues the earlier fit, for the message.
    """
    if not isinstance(X, np.ndarray):  # a Dask array: its chunks are read by its workers
        return
    scale = np.where(scale > 0, scale, np.inf)
    with np.errstate(over="ignore"):
        ends = np.stack([np.fmax.reduce(X, axis=0), np.fmin.reduce(X, axis=0)]).astype(np.float64)
        away = np.fmax.reduce(np.abs(ends - mean), axis=0) / scale
    if (away > _APART).any():
        j = int(np.argmax(np.nan_to_num(away, posinf=np.inf)))
        raise ValueError(
            f"{why}: X has a value {away[j]:.3g} standard deviations away from the earlier fit in "
            f"feature {j}: must be within {_APART:.0e}; rescale it as the rows before, or fit anew"
        )
    span = (ends[0] - ends[1]) / scale
    narrow = (span > 0) & (span < _NARROW)
    if why.startswith("warm_start") and narrow.any():
        j = int(np.argmax(narrow))
        raise ValueError(
            f"{why}: X spans {span[j]:.3g} standard deviations of the earlier fit in feature {j}: "
            f"must span {_NARROW:.0e} at least; rescale it as the rows before, or fit anew"
        )


def on_floor(covariance_type, covariances, factors, n_components, floor, moments):
    """Return the components whose covariance is on its floor, (n,) int.

    Constant features do not count: they are on the floor in every component. Of a single component
    and of a floor that is not small there are none: the first has no rows to itself, and the second
    was chosen to be reached.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The form of the covariances.
    covariances : ndarray
        The covariances, in the form's shape.
    factors : ndarray
        Factors U of the precisions, in the form's shape.
    n_components : int
        The number of components; all of them have a covariance that is shared.
    floor : ndarray of shape (n_features,)
        Covariances are kept ⪰ diag(floor).
    moments : Moments
        The moments of the data.
    """
    # tr(F Σ⁻¹) < 1 keeps Σ above its floor F; this bound of it is far below 1 as a rule.
    bound = np.square(factors).max() * floor.max() * len(floor) ** 2
    if bound < 1.0 or n_components == 1:
        return np.empty(0, dtype=np.intp)
    varying = np.flatnonzero(moments.variance > moments.resolution)
    if not len(varying) or (floor[varying] > _CHOSEN * moments.variance[varying]).any():
        return np.empty(0, dtype=np.intp)
    covariances = STRUCTURES[covariance_type].restrict(covariances, varying)
    least = floor[varying] if covariance_type != "spherical" else floor.max()
    least = least * (1.0 + _ON_FLOOR)
    if covariance_type in ("full", "tied"):
        outer = np.sqrt(least)[:, None] * np.sqrt(least)
        matrices = covariances.reshape(-1, *outer.shape)
        found = [not is_above_one(matrix / outer) for matrix in matrices]
    else:
        found = covariances <= least
        found = found if covariance_type == "spherical" else found.any(axis=1)
    return np.flatnonzero(np.broadcast_to(found, n_components))
