"""The kernel of Student-t emissions: densities and statistics.

The formulas are in :mod:`skvae.emissions.student_t`.
"""

from dataclasses import dataclass

import numpy as np

from skvae.blocks import block_rows
from skvae.gaussian.block import CompleteBlock
from skvae.gaussian.statistics import GaussianStatistics
from skvae.gaussian.student import (
    log_distances,
    log_gamma_ratio,
    log_minus_digamma,
    n_observed,
)


@dataclass(frozen=True)
class StudentTStatistics:
    """Statistics that add: ``a + b`` joins rows, ``a * weight`` scales them.

    Parameters
    ----------
    scaled : GaussianStatistics
        Sums with the weights r·u; conditional covariances have the weights r.
    counts : ndarray of shape (n_components,)
        Σ r, the expected (weighted) number of rows.
    shortfalls : ndarray of shape (n_components,)
        Σ r v, which measures the spread of the scales; it is zero if all are one.
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
    """Sums over rows that add in place: the sums of the Gaussian kernel, Σ r and Σ r v."""

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

    A Gaussian kernel computes the distances and, with r·u for r, the sums.

    Parameters
    ----------
    normals : GaussianParameters
        m and Σ.
    dofs : ndarray of shape (n_components,)
        ν.
    """

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


class StudentTBlock:
    """A block of rows; ``log_density`` keeps the distances from the states for ``accumulate``.

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
        self._n_observed = n_observed(block)
        self._distance = self._log_ratio = None

    def log_density(self):
        """Return ln p(x|k) of the states, shape (K, n), in nats."""
        kernel, dofs = self._kernel, self._kernel.dofs[:, None]
        out, log_ratio, _ = self._scratch
        peak, distance, _ = log_distances(
            kernel.gaussian, self._X, self._block, kernel.dofs, log_ratio
        )
        self._distance, self._log_ratio = distance, log_ratio
        np.multiply(log_ratio, -0.5 * (dofs + self._n_observed), out=out)
        out += kernel.constants[:, self._n_observed] + peak
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        if self._distance is None:
            self.log_density()
        kernel, dofs, n_observed = self._kernel, self._kernel.dofs[:, None], self._n_observed
        distance, shortfall, scale = self._distance, self._log_ratio, self._scratch[2]
        self._distance = None  # it is overwritten
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
        if isinstance(self._block, CompleteBlock):
            self._block.accumulate(sums.scaled, scale)
        else:
            self._block.accumulate(sums.scaled, scale, conditional=resp)
