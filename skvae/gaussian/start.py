"""What every Gaussian model checks before it starts, and the statistics of given assignments."""

import numpy as np

from skvae.blocks import ranges
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.kernel import gaussian_kernel

# The floor of first covariances where reg_covar=0: a component that starts from one row has none.
FIRST_FLOOR = 1e-6

LARGEST_SINGLE = 1e15  # beyond it squared distances overflow in float32


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
        if (np.linalg.eigvalsh(matrices) <= 0).any():
            raise ValueError(f"{name} has an eigenvalue <= 0: must be positive definite")
    elif (matrices <= 0).any():
        raise ValueError(f"{name} has an entry {matrices.min()}: must be > 0")


def filled(X, moments):
    """Return X in which what is missing is the feature's mean."""
    missing = np.isnan(X)
    return np.where(missing, moments.mean, X).astype(X.dtype, copy=False) if missing.any() else X


def statistics_of(rows, resp_of, centers, covariance_type, moments):
    """Return the statistics of given responsibilities about given centres.

    ``resp_of(start, stop)`` gives (K, n) and is called once for each range of rows, in order.
    """
    structure = STRUCTURES[covariance_type]
    pooled = structure.pooled(np.diag(moments.scale**2), len(centers))
    kernel = gaussian_kernel(
        covariance_type,
        centers,
        structure.precisions_cholesky(pooled),
        np.zeros(len(centers)),
        (moments.mean, moments.scale),
        expand=False,
    )
    sums, workspace = kernel.sums(), kernel.workspace()
    for a, b in ranges(0, rows.n_rows, kernel.block_rows):
        X, weight = rows.take(a, b)
        resp = resp_of(a, b)
        if weight is not None:
            resp = resp * weight
        for part, block in kernel.blocks(X, workspace):
            block.accumulate(sums, resp[:, part])
    return kernel.finish(sums)
