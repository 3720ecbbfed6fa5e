"""Gaussian components of which some means or covariances are fixed.

The M step is the exact constrained maximum: a covariance is about its mean, fixed or not, and a
free mean does not depend on its covariance.
"""

from dataclasses import replace

import numpy as np

from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.statistics import NO_ROWS


def held(statistics, means, covariances, fixed, counts=None):
    """Return statistics of which the maximiser has the fixed means, and covariances about them.

    Those of components with fixed covariances lead to these covariances, so that no component
    collapses that need not be learned.

    Parameters
    ----------
    statistics : GaussianStatistics
        The expected statistics.
    means, covariances : ndarray
        The present values.
    fixed : dict of str to ndarray of bool, shape (K,)
        The masks of ``"means"`` and ``"covariances"``.
    counts : ndarray of shape (K,), optional
        The weights by which covariances divide the scatter; by default the counts.
    """
    if "means" in fixed:
        mask = fixed["means"][:, None]
        about = statistics.recenter(np.where(mask, means, statistics.centers))
        statistics = replace(about, sums=np.where(mask, 0.0, about.sums))
    if "covariances" in fixed:
        structure, mask = STRUCTURES[statistics.covariance_type], fixed["covariances"]
        own = structure.scatter_of(covariances, statistics.counts if counts is None else counts)
        # The maximiser moves the scatter to the means.
        some = statistics.counts > NO_ROWS * statistics.counts.sum()
        shift = statistics.sums / np.where(some, statistics.counts, 1.0)[:, None]
        shift = np.where(some[:, None], shift, 0.0)
        own = own - structure.recenter(
            np.zeros_like(own), statistics.counts, statistics.sums, shift
        )
        if not mask.all():
            mask = mask.reshape((-1,) + (1,) * (own.ndim - 1))
            own = np.where(mask, own, statistics.scatter)
        statistics = replace(statistics, scatter=own)
    return statistics


def restored(new, old, fixed):
    """Return (means, covariances, factors) of ``new`` with the fixed ones of ``old``."""
    means, covariances, factors = new
    if "means" in fixed:
        means = np.where(fixed["means"][:, None], old[0], means)
    if "covariances" in fixed:
        mask = fixed["covariances"]
        if mask.all():
            covariances, factors = old[1], old[2]
        else:
            mask = mask.reshape((-1,) + (1,) * (covariances.ndim - 1))
            covariances = np.where(mask, old[1], covariances)
            factors = np.where(mask, old[2], factors)
    return means, covariances, factors


def n_fixed_normals(covariance_type, n_features, fixed):
    """Return the number of fixed parameters."""
    count = 0
    if "means" in fixed:
        count += int(fixed["means"].sum()) * n_features
    if "covariances" in fixed:
        n_components = int(fixed["covariances"].sum())
        count += STRUCTURES[covariance_type].n_parameters(n_components, n_features)
    return count
