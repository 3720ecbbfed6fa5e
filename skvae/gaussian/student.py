r"""Student-t log-densities from the distances of a Gaussian kernel, and functions of ν.

A Student-t has the constants of the Gaussian with the same scale times a ratio of Gamma functions,
and :math:`-\frac{\nu + d}{2} \ln(1 + \delta / \nu)` in the place of the Gaussian's :math:`-\delta /
2`.
"""

import numpy as np
from scipy.special import digamma, gammaln

from skvae.gaussian.block import CompleteBlock
from skvae.gaussian.covariance import LOG_2PI
from skvae.gaussian.kernel import gaussian_kernel

FAR = 1e-160  # times any finite value of X, squares do not overflow


def log_minus_digamma(x):
    """Return ln x − ψ(x) to full relative precision, also for large x, where the terms cancel."""
    x = np.asarray(x, dtype=np.float64)
    small = x < 100.0
    some = np.count_nonzero(small)  # quicker than any() and all() of few numbers
    if some == x.size:
        return np.log(x) - digamma(x)
    far = 1.0 / np.maximum(x, 100.0)
    square = far * far
    series = far * (0.5 + far * (1 / 12 - square * (1 / 120 - square / 252)))
    if not some:
        return series
    near = np.minimum(x, 100.0)
    return np.where(small, np.log(near) - digamma(near), series)


def _stirling(x):
    """Return the remainder of Stirling's formula for ln Γ(x), for x ≥ 50."""
    y = 1.0 / x
    square = y * y
    return y * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


def log_gamma_ratio(x, m):
    """Return ln Γ(x + m) − ln Γ(x) − m ln x, without the cancellation where x is large."""
    near = np.minimum(x, 50.0)
    far = np.maximum(x, 50.0)
    direct = gammaln(near + m) - gammaln(near) - m * np.log(near)
    change = _stirling(far + m) - _stirling(far)
    return np.where(x < 50.0, direct, (far + m - 0.5) * np.log1p(m / far) - m + change)


def gamma_excess(x, digammas=None):
    """Return x ψ(x) − ln Γ(x) − x, which grows like ½ ln x, without the cancellation.

    ``digammas`` are ψ(x), if they were computed before.
    """
    x = np.asarray(x, dtype=np.float64)
    small = x < 50.0
    some = np.count_nonzero(small)  # quicker than any() and all() of few numbers
    if some == x.size:
        return x * ((digamma(x) if digammas is None else digammas) - 1.0) - gammaln(x)
    far = np.maximum(x, 50.0)
    y = 1.0 / far
    square = y * y
    series = y * (1 / 6 - square * (1 / 90 - square * (1 / 210 - square / 210)))
    series = 0.5 * (np.log(far) - (LOG_2PI + 1.0)) - series
    if not some:
        return series
    near = np.minimum(x, 50.0)
    digammas = digamma(near) if digammas is None else digammas
    return np.where(small, near * (digammas - 1.0) - gammaln(near), series)


def n_observed(block):
    """Return the number of observed features of each row of a block; [D] if it is complete."""
    if isinstance(block, CompleteBlock):
        return np.array([block.kernel.means.shape[1]])
    return block.observed.sum(axis=0)


def peak_and_distance(kernel, block):
    """Return a block's Gaussian log-densities at the means, and the squared distances."""
    if not isinstance(block, CompleteBlock):
        return block.peak(), block.distance()
    peak, distance = kernel.constants[:, None], block.log_density()
    np.subtract(peak, distance, out=distance)
    distance *= 2.0
    return peak, np.maximum(distance, 0.0, out=distance)  # round-off may be below


def log_distances(kernel, X, block, reach, out):
    """Return the terms of the Student-t log-densities of a block of rows.

    Parameters
    ----------
    kernel : GaussianKernel
        The components; no offset is −inf.
    X : ndarray of shape (n, n_features)
        The rows.
    block : Block or one with missing values
        The same rows under the kernel.
    reach : ndarray of shape (n_components,)
        ν, or another divisor of δ.
    out : ndarray of shape (n_components, n)
        Memory for the third result.

    Returns
    -------
    peak : ndarray of shape (n_components, n) or (n_components, 1)
        The Gaussian log-densities at the means.
    distance : ndarray of shape (n_components, n)
        δ, the squared distances; half the largest number where they overflow.
    log_ratio : ndarray of shape (n_components, n)
        ln(1 + δ/reach), also where δ overflows.
    """
    peak, distance = peak_and_distance(kernel, block)
    np.divide(distance, reach[:, None], out=out)
    np.log1p(out, out=out)
    if not np.isfinite(out.sum()):
        beyond = ~np.isfinite(out)
        far = np.flatnonzero(beyond.any(axis=0))
        log_ratio = _far_log_distance(kernel, X[far]) - np.log(reach)[:, None]
        out[:, far] = np.where(beyond[:, far], log_ratio, out[:, far])
        distance[beyond] = np.finfo(np.float64).max / 2
    return peak, distance, out


def _far_log_distance(kernel, X):
    """Return ln δ for rows with an overflowing δ for some component, shape (K, n)."""
    n_components, n_features = kernel.means.shape

    def spread():
        return np.zeros(n_features), np.ones(n_features)

    near = gaussian_kernel(
        kernel.covariance_type,
        kernel.means * FAR,
        kernel.factors,
        np.zeros(n_components),
        spread,
        expand=False,
    )
    near.constants = np.zeros(n_components)  # a large constant would absorb a small distance
    out = np.empty((n_components, len(X)))
    # For components that are near, δ may be zero here: the caller does not read their values.
    with np.errstate(all="ignore"):
        for rows, block in near.blocks(X.astype(np.float64) * FAR, near.workspace()):
            out[:, rows] = np.log(peak_and_distance(near, block)[1])
    return out - 2 * np.log(FAR)
