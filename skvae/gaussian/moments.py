"""First looks at the data: mean, variance and size of each feature, in blocks, NaN left out."""

from typing import NamedTuple

import numpy as np

from skvae.blocks import block_rows, ranges
from skvae.gaussian.covariance import EPS

_LARGEST = 1e140


class Moments(NamedTuple):
    """Moments of each feature, arrays of shape (n_features,).

    Parameters
    ----------
    mean, variance : ndarray
        Weighted, over the observed values; the variance is not below zero.
    magnitude : ndarray
        The largest absolute value.
    """

    mean: np.ndarray
    variance: np.ndarray
    magnitude: np.ndarray

    @property
    def resolution(self):
        """Return the variance below which a feature's values differ by round-off alone."""
        return (4 * EPS * self.magnitude) ** 2

    @property
    def scale(self):
        """Return a standard deviation per feature; constant ones borrow from the others."""
        constant = self.variance <= self.resolution
        others = self.variance[~constant]
        return np.sqrt(np.where(constant, others.mean() if len(others) else 1.0, self.variance))

    def floor(self, reg_covar):
        """Return the floor of the covariances' diagonal form, in the features' squared units.

        ``reg_covar`` is absolute where features have large units and relative to the feature's
        variance where they have small ones: reg_covar · min(1, variance). If it is not zero the
        floor is 1e-14 of the variance at least: what is flatter than that is round-off.
        """
        variance = self.scale**2
        return np.maximum(reg_covar * np.minimum(1.0, variance), 1e-14 * variance * (reg_covar > 0))


def feature_moments(rows, pool, names=None):
    """Return the Moments of the rows.

    Parameters
    ----------
    rows : Rows
        The data with their weights.
    pool : Workers
        The threads.
    names : ndarray of str, optional
        The features' names, for the message.

    Raises
    ------
    ValueError
        A feature has no observed value, or one whose square overflows.
    """

    n_features = rows.X.shape[1]
    block = block_rows(4 * n_features)
    mean = np.zeros(n_features)
    # The second pass measures from the first one's mean, so that a large offset cancels nothing.
    for _ in range(2):
        sums = [
            *pool.map(
                lambda a, b, center=mean: _sums(rows, a, b, block, center), rows.n_rows, block
            )
        ]
        totals = np.stack(sums)
        count, first, second = totals[:, :3].sum(axis=0)
        magnitude = totals[:, 3].max(axis=0)
        _check(count, magnitude, names)
        mean = mean + first / count
    variance = np.maximum(second / count - (first / count) ** 2, 0.0)
    return Moments(mean, variance, magnitude)


def _sums(rows, start, stop, block, center):
    """Return (count, sum, sum of squares about the centre, largest value) of each feature."""
    total = np.zeros((4, len(center)))
    for a, b in ranges(start, stop, block):
        X, weight = rows.take(a, b)
        weight = np.ones(len(X)) if weight is None else weight
        deviation = X - center
        with np.errstate(over="ignore", invalid="ignore"):  # the largest value tells of it
            # Products with the weights are far faster than sums down columns.
            first = weight @ deviation
            if np.isnan(first).any():
                seen = ~np.isnan(X)
                deviation = np.where(seen, deviation, 0.0)
                count, first, size = weight @ seen, weight @ deviation, np.where(seen, X, 0.0)
            else:
                count, size = weight.sum(), X
            total[0] += count
            total[1] += first
            total[2] += weight @ np.square(deviation, out=deviation)
        total[3] = np.maximum(total[3], np.maximum(size.max(axis=0), -size.min(axis=0)))
    return total


def _check(count, magnitude, names):
    """Raise ValueError where a feature has no value, or one whose square would overflow."""

    def name_of(j):
        return j if names is None else repr(str(names[j]))

    if not count.all():
        j = int(np.flatnonzero(count == 0)[0])
        raise ValueError(
            f"X has no observed value in feature {name_of(j)}: each feature needs at least one"
        )
    if (magnitude > _LARGEST).any():
        j = int(np.argmax(magnitude))
        raise ValueError(
            f"X has a value of size {magnitude[j]:.3g} in feature {name_of(j)}: must be below "
            f"{_LARGEST:.0e}, or sums of squares overflow; rescale the feature"
        )
