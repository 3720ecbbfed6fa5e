"""The kernel of Student-t emissions: densities, statistics and the functions of ν they need.

The formulas are in :mod:`skvae.hmm.emissions.student_t`.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammaln

from skvae.blocks import block_rows
from skvae.gaussian.block import Block
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.statistics import GaussianStatistics

_FAR = 1e-160  # X times this: squares of what does not overflow in X do not overflow


# Functions of ν -----------------------------------------------------------------------------------


def log_minus_digamma(x):
    """Return ln x − ψ(x), to full relative precision: for large x the terms are alike."""
    x = np.asarray(x, dtype=np.float64)
    near = np.minimum(x, 100.0)
    far = 1.0 / np.maximum(x, 100.0)
    series = far * (0.5 + far * (1 / 12 - far**2 * (1 / 120 - far**2 / 252)))
    return np.where(x < 100.0, np.log(near) - digamma(near), series)


def _stirling(x):
    """Return what Stirling's formula leaves of ln Γ(x), for x ≥ 50."""
    y = 1.0 / x
    return y * (1 / 12 - y**2 * (1 / 360 - y**2 * (1 / 1260 - y**2 / 1680)))


def log_gamma_ratio(x, m):
    """Return ln Γ(x + m) − ln Γ(x) − m ln x, without the cancellation where x is large."""
    near = np.minimum(x, 50.0)
    far = np.maximum(x, 50.0)
    direct = gammaln(near + m) - gammaln(near) - m * np.log(near)
    change = _stirling(far + m) - _stirling(far)
    return np.where(x < 50.0, direct, (far + m - 0.5) * np.log1p(m / far) - m + change)


# Statistics and the kernel -----------------------------------------------------------------------


@dataclass(frozen=True)
class StudentTStatistics:
    """Statistics that add: ``a + b`` joins rows, ``a * weight`` scales them.

    Parameters
    ----------
    scaled : GaussianStatistics
        Sums with the weights r·u, but for conditional covariances, which have r.
    counts : ndarray of shape (n_components,)
        Σ r, the expected (weighted) number of rows.
    shortfalls : ndarray of shape (n_components,)
        Σ r v, how far the scales are from being all one.
    """

    scaled: GaussianStatistics
    counts: np.ndarray
    shortfalls: np.ndarray

    def __add__(self, other):
        return StudentTStatistics(
            self.scaled + other.scaled,
            self.counts + other.counts,
            self.shortfalls + other.shortfalls,
        )

    def __mul__(self, weight):
        return StudentTStatistics(
            self.scaled * weight, self.counts * weight, self.shortfalls * weight
        )

    __rmul__ = __mul__


class StudentTSums:
    """Sums over rows that add in place: those of the Gaussian kernel, Σ r and Σ r v."""

    __slots__ = ("counts", "scaled", "shortfalls")

    def __init__(self, scaled, n_components):
        self.scaled = scaled
        self.counts = np.zeros(n_components)
        self.shortfalls = np.zeros(n_components)

    def __iadd__(self, other):
        self.scaled += other.scaled
        self.counts += other.counts
        self.shortfalls += other.shortfalls
        return self


class StudentTKernel:
    """Log-densities and expected statistics under K Student-t distributions with one structure.

    The distances are those of a Gaussian kernel, whose statistics also serve, with r·u for r.

    Parameters
    ----------
    normals : NormalComponents
        m and Σ.
    dofs : ndarray of shape (n_components,)
        ν.
    """

    reuses_density = True  # a block's statistics need its log_density() to have been asked for

    def __init__(self, normals, dofs):
        self.normals = normals
        self.dofs = dofs
        self.gaussian = normals.kernel()
        largest = block_rows(self.gaussian.n_terms + 6 * normals.n_components)
        self.block_rows = min(self.gaussian.block_rows, largest)
        # By the number of observed features, from 0 to D: shapes (K, D + 1).
        n_observed = np.arange(normals.n_features + 1)
        half = 0.5 * dofs[:, None]
        # The Gaussian's constant has −d/2 ln 2π, which stays: (νπ)^(d/2) = (ν/2)^(d/2) (2π)^(d/2).
        self.constants = log_gamma_ratio(half, 0.5 * n_observed)
        self.shortfalls = log_minus_digamma(half + 0.5 * n_observed)

    def workspace(self):
        """Return memory for one block; a chunk of rows reuses it for all of its blocks."""
        size = self.normals.n_components * self.block_rows
        return self.gaussian.workspace(), [np.empty(size) for _ in range(3)]

    def blocks(self, X, workspace):
        """Yield (rows, block) of the rows of X, at most ``block_rows`` of them."""
        gaussian, scratch = workspace
        for rows, block in self.gaussian.blocks(X, gaussian):
            yield rows, StudentTBlock(self, X[rows], block, scratch)

    def sums(self):
        """Return empty sums."""
        return StudentTSums(self.gaussian.sums(), self.normals.n_components)

    def finish(self, sums):
        """Return the sums as StudentTStatistics about the means."""
        scaled = self.gaussian.finish(sums.scaled)
        return StudentTStatistics(scaled, sums.counts.copy(), sums.shortfalls.copy())

    def far_log_ratio(self, X):
        """Return ln(1 + δ/ν) where δ overflows, of rows where it does for some state, (K, n)."""
        normals = self.normals
        n_components, n_features = normals.locations.shape
        kernel = gaussian_kernel(
            normals.covariance_type,
            normals.locations * _FAR,
            normals.factors,
            np.zeros(n_components),
            (np.zeros(n_features), np.ones(n_features)),
            expand=False,
        )
        kernel.constants = np.zeros(n_components)  # or they would swallow a small distance
        out = np.empty((n_components, len(X)))
        # Of the states that are near some value may be zero: what is said of them is not read.
        with np.errstate(all="ignore"):
            for rows, block in kernel.blocks(X.astype(np.float64) * _FAR, kernel.workspace()):
                out[:, rows] = np.log(_peak_and_distance(kernel, block)[1])
        return out - 2 * np.log(_FAR) - np.log(self.dofs)[:, None]


def _peak_and_distance(kernel, block):
    """Return a Gaussian block's log-densities at the means and squared distances from them."""
    if not isinstance(block, Block):
        return block.peak(), block.distance()
    peak, distance = kernel.constants[:, None], block.log_density()
    np.subtract(peak, distance, out=distance)
    distance *= 2.0
    return peak, np.maximum(distance, 0.0, out=distance)  # round-off may be below


class StudentTBlock:
    """A block of rows; between its two calls it holds their distances from the states.

    Parameters
    ----------
    kernel : StudentTKernel
        The states.
    X : ndarray of shape (n, n_features)
        The rows.
    block : Block or one with missing values
        The same rows under the Gaussian kernel.
    scratch : list of ndarray
        Memory for three arrays (K, n).
    """

    __slots__ = ("_X", "_block", "_distance", "_kernel", "_log_ratio", "_n_observed", "_scratch")

    def __init__(self, kernel, X, block, scratch):
        self._kernel = kernel
        self._X = X
        self._block = block
        shape = len(kernel.dofs), len(X)
        self._scratch = [part[: shape[0] * shape[1]].reshape(shape) for part in scratch]
        # One number where no row has a missing value: [D].
        complete = isinstance(block, Block)
        self._n_observed = np.array([X.shape[1]]) if complete else block.observed.sum(axis=0)
        self._distance = self._log_ratio = None

    def log_density(self):
        """Return ln p(x|k) of the states, shape (K, n), in nats."""
        kernel, dofs = self._kernel, self._kernel.dofs[:, None]
        peak, distance = _peak_and_distance(kernel.gaussian, self._block)
        out, log_ratio, _ = self._scratch
        np.divide(distance, dofs, out=log_ratio)
        np.log1p(log_ratio, out=log_ratio)
        if not np.isfinite(log_ratio.sum()):
            beyond = ~np.isfinite(log_ratio)
            far = np.flatnonzero(beyond.any(axis=0))
            log_ratio[:, far] = np.where(
                beyond[:, far], kernel.far_log_ratio(self._X[far]), log_ratio[:, far]
            )
            distance[beyond] = np.finfo(np.float64).max / 2
        self._distance, self._log_ratio = distance, log_ratio
        np.multiply(log_ratio, -0.5 * (dofs + self._n_observed), out=out)
        out += kernel.constants[:, self._n_observed] + peak
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        kernel, dofs, n_observed = self._kernel, self._kernel.dofs[:, None], self._n_observed
        distance, shortfall, scale = self._distance, self._log_ratio, self._scratch[2]
        np.add(distance, dofs, out=scale)
        # u − 1 = (d − δ)/(ν + δ), and −ln u = ln(1 + δ/ν) − ln(1 + d/ν): neither cancels.
        np.subtract(n_observed, distance, out=distance)
        distance /= scale
        shortfall += distance
        shortfall += kernel.shortfalls[:, n_observed] - np.log1p(n_observed / dofs)
        sums.counts += resp.sum(axis=1)
        sums.shortfalls += np.einsum("kn,kn->k", resp, shortfall)
        np.divide(dofs + n_observed, scale, out=scale)
        scale *= resp
        if isinstance(self._block, Block):
            self._block.accumulate(sums.scaled, scale)
        else:
            self._block.accumulate(sums.scaled, scale, conditional=resp)
