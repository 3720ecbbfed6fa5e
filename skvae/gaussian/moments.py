"""Mean, variance and largest size of each feature, computed in blocks of rows without NaN."""

from functools import partial
from typing import NamedTuple

import numpy as np

from skvae.blocks import Rows, ranges
from skvae.gaussian.covariance import EPS

_UNITS = 1e-120  # the least ratio of two features' units
_BESIDE = 16  # rows that are reduced together
_FEW = 64  # rows whose mean is the first centre
_NUMBERS = 1 << 16  # a block's deviations stay in the second-level cache
LARGEST, SMALLEST = 1e140, 1e-140  # their squares can still be multiplied and divided by


class Moments(NamedTuple):
    """Moments of each feature, arrays of shape (n_features,).

    Parameters
    ----------
    mean, variance : ndarray
        Weighted, over the observed values; the variance is not below zero.
    magnitude : ndarray
        The largest absolute value.
    resolution : ndarray
        The variance below which a feature's values differ by round-off alone.
    scale : ndarray
        A standard deviation; a constant feature borrows it from the others. It is no less than
        round-off, by which the values of a feature with a large offset still differ.
    """

    mean: np.ndarray
    variance: np.ndarray
    magnitude: np.ndarray
    resolution: np.ndarray
    scale: np.ndarray

    @classmethod
    def of(cls, mean, variance, magnitude):
        """Return the moments with the resolution and the scale that follow from them."""
        resolution = (4 * EPS * magnitude) ** 2
        constant = variance <= resolution
        others = variance[~constant]
        borrowed = np.maximum(others.mean() if len(others) else 1.0, resolution)
        scale = np.sqrt(np.where(constant, borrowed, variance))
        return cls(mean, variance, magnitude, resolution, scale)

    def spread(self):
        """Return the mean and the standard deviation of each feature, for a kernel."""
        return self.mean, self.scale

    def floor(self, reg_covar):
        """Return the floor of the covariances' diagonal form, in the features' squared units.

        The floor is ``reg_covar * scale**2``, relative to each feature, so that other units of a
        feature do not change the model. If ``reg_covar`` is not zero, it counts as 1e-14 at least,
        since a flatter component is round-off.
        """
        share = max(float(reg_covar), 1e-14) if reg_covar else 0.0
        with np.errstate(over="ignore"):
            floor = share * self.scale**2
        if floor.max() > LARGEST**2:
            raise ValueError(
                f"reg_covar={reg_covar!r}: the floor, reg_covar times the variance, is "
                f"{floor.max():.3g} in feature {np.argmax(floor)}: must be <= {LARGEST**2:.0e}; "
                "lower it, or rescale the feature"
            )
        return floor


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
        A feature has no observed value, a value with an overflowing square, or only values with
        underflowing squares.
    """
    in_memory, center = isinstance(rows, Rows), np.zeros(rows.X.shape[1])
    # The sums are about a centre, so that a large offset cancels no digits. If the first centre,
    # the mean of a few rows, is far from the mean of all, a second pass is about that.
    if in_memory:
        few, _ = rows.take(0, min(rows.n_rows, _FEW))
        with np.errstate(over="ignore"):
            few = few.mean(axis=0, dtype=np.float64)
        center = np.where(np.isfinite(few), few, 0.0)
    for _ in range(2):
        if in_memory:
            (count, first, second), largest = _totals(rows, pool, center)
        else:  # of several machines, or of a file
            (count, first, second), largest = rows.sum(_totals, pool, center)
        size = largest.values
        usable = (count > 0) & (size <= LARGEST) & ((size == 0) | (size >= SMALLEST))
        if not usable.all():
            _raise_unusable(count, size, names)
        shift = first / count
        variance = np.maximum(second / count - shift**2, 0.0)
        center = center + shift
        if (shift**2 <= np.maximum(variance, (EPS * size) ** 2)).all():
            break
    moments = Moments.of(center, variance, size)
    units = moments.scale
    if units.min() < _UNITS * units.max():
        raise ValueError(
            f"X has features with standard deviations from {units.min():.3g} to "
            f"{units.max():.3g}: must be within a factor {1 / _UNITS:.0e}; rescale them"
        )
    return moments


class _Largest(NamedTuple):
    """Arrays with the elementwise maximum as their sum."""

    values: np.ndarray

    def __add__(self, other):
        return _Largest(np.maximum(self.values, other.values))


def _totals(rows, pool, center):
    """Return (count, sum, sum of squares about the centre), (3, n_features), and the _Largest."""
    block = max(_NUMBERS // len(center), _BESIDE)
    sums = pool.map(partial(_sums, rows, block, center), rows.n_rows, block, 10 * len(center))
    totals = np.stack([*sums])
    return totals[:, :3].sum(axis=0), _Largest(totals[:, 3].max(axis=0))


def _sums(rows, block, center, start, stop):
    """Return (count, sum, sum of squares about the centre, largest value) of each feature."""
    total = np.zeros((4, len(center)))
    for a, b in ranges(start, stop, block):
        X, weight = rows.take(a, b)
        weight = np.ones(len(X)) if weight is None else weight
        deviation = X - center
        with np.errstate(over="ignore", invalid="ignore"):  # _check raises an error for it
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
        # NumPy is slow down narrow columns: reshape many rows into one wide row (measured: a
        # sixteenth of the time with four columns, a half with 64).
        n_beside = len(size) // _BESIDE * _BESIDE if len(size) > _BESIDE**2 else 0
        for part, n in ((size[:n_beside], _BESIDE), (size[n_beside:], 1)):
            if len(part):
                wide = part.reshape(len(part) // n, -1)
                each = np.maximum(wide.max(axis=0), -wide.min(axis=0)).reshape(n, -1)
                total[3] = np.maximum(total[3], each.max(axis=0))
    return total


def _raise_unusable(count, magnitude, names):
    """Raise ValueError: a feature has no value, or squares overflow or underflow."""

    def name_of(j):
        name = j if names is None else names[j]  # some of the columns: named by their indices
        return repr(str(name)) if isinstance(name, str) else name

    if not count.all():
        j = int(np.flatnonzero(count == 0)[0])
        raise ValueError(
            f"X has no observed value in feature {name_of(j)}: each feature needs at least one"
        )
    if (magnitude > LARGEST).any():
        j = int(np.argmax(magnitude))
        raise ValueError(
            f"X has a value of size {magnitude[j]:.3g} in feature {name_of(j)}: must be below "
            f"{LARGEST:.0e}, or sums of squares overflow; rescale the feature"
        )
    j = int(np.argmax((magnitude > 0) & (magnitude < SMALLEST)))
    raise ValueError(
        f"X has no value above {magnitude[j]:.3g} in feature {name_of(j)}: must have some "
        f"above {SMALLEST:.0e}, or squares underflow; rescale the feature"
    )
