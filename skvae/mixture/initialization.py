"""First parameters of a mixture: k-means or random responsibilities, as in scikit-learn."""

import numpy as np

from skvae.blocks import DistributedRows, Rows, ranges
from skvae.gaussian.checks import check_positive_definite, check_weights
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.first_statistics import LARGEST_SINGLE, filled, statistics_of
from skvae.gaussian.moments import LARGEST
from skvae.initialization import (
    INIT_PARAMS,
    ResponsibilityDraws,
    assignment_of,
    completed,
    first_labels,
    responsibilities_of,
    rows_to_start_from,
)
from skvae.mixture.parameters import MixtureParameters
from skvae.validation import check_array_parameter

_BLOCK = 4096  # rows whose first means are added at once


def check_initial(estimator, n_features):
    """Return the checked (weights_init, means_init, precisions_init), each an array or None."""
    n_components = int(estimator.n_components)
    structure = STRUCTURES[estimator.covariance_type]
    weights, means, precisions = (
        estimator.weights_init,
        estimator.means_init,
        estimator.precisions_init,
    )
    if weights is not None:
        weights = check_array_parameter("weights_init", weights, (n_components,), "(n_components,)")
        check_weights("weights_init", weights)
        weights = weights / weights.sum()
    if means is not None:
        means = check_array_parameter(
            "means_init",
            means,
            (n_components, n_features),
            "(n_components, n_features)",
            largest=LARGEST,
        )
    if precisions is not None:
        precisions = check_array_parameter(
            "precisions_init",
            precisions,
            structure.shape(n_components, n_features),
            f"for covariance_type={structure.name!r}",
        )
        check_positive_definite("precisions_init", precisions, structure)
    return weights, means, precisions


def _label_means(X, labels, weight, n_components, moments):
    """Return the mean of each label's rows, (K, D); the overall mean where a label has none."""
    used = labels >= 0
    labels = labels[used]
    deviation = X[used] - moments.mean
    weight = None if weight is None else weight[used]
    counts = np.bincount(labels, weight, n_components)
    if weight is not None:
        deviation = deviation * weight[:, None]
    sums = np.empty((n_components, X.shape[1]))
    for j, column in enumerate(deviation.T):
        sums[:, j] = np.bincount(labels, column, n_components)
    return moments.mean + sums / np.where(counts > 0, counts, 1.0)[:, None]


def _given_means(rows, given, n_components, moments):
    """Return the mean of the observed values of each component, (K, D), or the overall mean."""
    sums, counts = np.zeros((2, n_components, rows.X.shape[1]))
    for a, b in ranges(0, rows.n_rows, _BLOCK):
        X, weight = rows.take(a, b)
        deviation = np.subtract(X, moments.mean, dtype=np.float64)
        seen = ~np.isnan(deviation)
        resp = responsibilities_of(given[a:b], n_components).T
        resp = resp if weight is None else resp * weight
        sums += resp @ np.where(seen, deviation, 0.0)
        counts += resp @ seen
    return moments.mean + sums / np.where(counts > 0, counts, 1.0)


def first_statistics(rows, estimator, moments, rng):
    """Return the GaussianStatistics of the first responsibilities, of all rows or of a sample.

    Parameters
    ----------
    rows : Rows
        The data with their weights.
    estimator : estimator
        Its ``n_components``, ``covariance_type`` and ``init_params`` are read.
    moments : Moments
        The moments of the data.
    rng : RandomState
        The source of randomness.
    """
    n_components, method = int(estimator.n_components), estimator.init_params
    if not isinstance(method, str):
        if isinstance(rows, DistributedRows):
            raise ValueError(
                "init_params as labels, responsibilities or a callable needs rows in memory, and X "
                f"is a Dask array: must be one of {', '.join(map(repr, INIT_PARAMS))}"
            )
        given, rows = assignment_of(method, rows.X, n_components, rng), rows.in_own_order()
        given = given if rows.order is None else given[rows.order]
        centers = _given_means(rows, given, n_components, moments)

        def resp(start, stop):
            return responsibilities_of(given[start:stop], n_components).T
    elif method == "random":
        rows = rows.in_own_order()
        resp = ResponsibilityDraws(n_components, rng)
        if isinstance(rows, DistributedRows):
            resp = resp.parted(rows.lengths)
        centers = np.tile(moments.mean, (n_components, 1))
    else:
        rows = rows.chosen(rows_to_start_from(rows.n_rows, n_components, rng))
        X, weight = rows.take(0, rows.n_rows)
        if moments.magnitude.max() > LARGEST_SINGLE:
            X = X.astype(np.float64, copy=False)
        X = completed(X, rng)
        # The moments of completed rows: a component that starts from a single row with a missing
        # value would have the variance of all rows in that feature, and take the other components'
        # rows.
        rows = Rows(X, weight)
        resp = first_labels(X, weight, n_components, method, rng)
        centers = _label_means(X, resp, weight, n_components, moments)
    return statistics_of(rows, resp, centers, estimator.covariance_type, moments)


def maximize_first(statistics, floor, moments, rows, rng):
    """Return the MixtureParameters of the M step; an empty component starts at a row."""
    kind, n_components = statistics.covariance_type, len(statistics.counts)
    spread = STRUCTURES[kind].pooled(np.diag(moments.scale**2), n_components)
    means, covariances, factors = statistics.maximize(
        floor, np.zeros_like(floor), (statistics.centers, spread)
    )
    counts = statistics.counts
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        # There are fewer distinct rows than components. EM cannot move a component of weight zero.
        means[empty] = filled(rows.at(rng.choice(rows.n_rows, size=len(empty))), moments)
        counts = counts.copy()
        counts[empty] = counts.sum() / rows.n_rows
    return MixtureParameters(kind, counts / counts.sum(), means, covariances, factors)
