"""Statistics of given assignments: the first ones of a model, before it has parameters."""

import numpy as np

from skvae.blocks import DistributedRows, ranges
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.kernel import gaussian_kernel

# The floor of first covariances where reg_covar=0: a component that starts from one row has none.
FIRST_FLOOR = 1e-6

LARGEST_SINGLE = 1e15  # squared distances of larger values overflow in float32


def filled(X, moments):
    """Return X with each missing value replaced by the feature's mean."""
    missing = np.isnan(X)
    return np.where(missing, moments.mean, X).astype(X.dtype, copy=False) if missing.any() else X


def statistics_of(rows, resp, centers, covariance_type, moments):
    """Return the GaussianStatistics of given assignments about given centres.

    Parameters
    ----------
    rows : Rows or DistributedRows
        The data with their weights.
    resp : ndarray of int, callable or list of callable
        Labels of the rows in reading order, −1 for none; or a function ``(start, stop) → (K, n)``
        that returns responsibilities and is called once for each range of rows, in order; or such a
        function for each chunk of DistributedRows.
    centers : ndarray of shape (n_components, n_features)
        The centres.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The covariance structure.
    moments : Moments
        The moments of the data.
    """
    if isinstance(rows, DistributedRows):
        each = resp if isinstance(resp, list) else [resp] * len(rows.lengths)
        return rows.sum(_of_chunk, None, centers, covariance_type, moments, each=each)[0]
    structure, n_components = STRUCTURES[covariance_type], len(centers)
    pooled = structure.pooled(np.diag(moments.scale**2), n_components)
    kernel = gaussian_kernel(
        covariance_type,
        centers,
        structure.precisions_cholesky(pooled),
        np.zeros(n_components),
        moments.spread,
        expand=False,
    )
    sums, workspace = kernel.sums(), kernel.workspace()
    for a, b in ranges(0, rows.n_rows, kernel.block_rows):
        X, weight = rows.take(a, b)
        if callable(resp):
            share = resp(a, b)
        else:
            share = (resp[a:b] == np.arange(n_components)[:, None]).astype(np.float64)
        if weight is not None:
            share = share * weight
        for part, block in kernel.blocks(X, workspace):
            block.accumulate(sums, share[:, part])
    return kernel.finish(sums)


def _of_chunk(rows, _pool, centers, covariance_type, moments, resp):
    return (statistics_of(rows, resp, centers, covariance_type, moments),)
