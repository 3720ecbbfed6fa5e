"""A block of complete rows: its densities and statistics, by the expanded or the direct way."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skvae.gaussian.products import product, weighted_sums


class Workspace:
    """Memory for one block; a chunk of rows reuses it for all of its blocks.

    It is allocated for the first block that needs it: a small block does not.

    Parts are cut to a block's rows so that each stays contiguous: over arrays with gaps between
    their rows, NumPy's elementwise operations copy through buffers and take 2 to 4 times as long.

    Parameters
    ----------
    largest : int
        The most rows of a block.
    *heights : int
        How many numbers per row each part holds.
    """

    __slots__ = ("_heights", "_largest", "_parts")

    def __init__(self, largest, *heights):
        self._largest = largest
        self._heights = heights
        self._parts = []

    def _allocate(self):
        for height in self._heights:
            memory = np.empty(height * self._largest + 8)
            first = -(memory.ctypes.data // 8) % 8  # at a cache line: vector loads are fastest
            self._parts.append(memory[first : first + height * self._largest])

    def cut(self, n_rows):
        """Return the parts for a block, arrays of shape (height, n_rows)."""
        if not self._parts:
            self._allocate()
        parts = []
        for part, height in zip(self._parts, self._heights, strict=True):
            parts.append(part[: height * n_rows].reshape(height, n_rows))
        return parts


@dataclass(slots=True)
class SmallBlock:
    """A block of few complete rows under a kernel: all components at once, by the direct way.

    Parameters
    ----------
    kernel : GaussianKernel
        The components.
    deviation : ndarray of shape (n_components, n_features, n)
        The rows less the means.
    """

    kernel: Any
    deviation: np.ndarray

    def log_density(self):
        """Return the log-densities plus the kernel's offsets, shape (K, n), in nats."""
        kernel = self.kernel
        # A row beyond 1e154 is at infinite distance.
        with np.errstate(over="ignore", invalid="ignore"):
            out = kernel.distances(self.deviation)
        out *= -0.5
        out += kernel.constants[:, None]
        if len(kernel.absent):
            out[kernel.absent] = -np.inf
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        deviation = self.deviation
        sums.counts += resp.sum(axis=1)
        sums.sums += (deviation @ resp[:, :, None])[:, :, 0]
        self.kernel.add_scatters(sums.scatter, deviation, resp)


@dataclass(slots=True)
class Block:
    """A block of complete rows under a kernel, centred.

    Parameters
    ----------
    kernel : GaussianKernel
        The components.
    X : ndarray of shape (n, n_features)
        The rows, not centred.
    y : ndarray of shape (n_features, n)
        The rows, centred.
    terms : ndarray of shape (n_terms, n)
        Their features, of which ``y`` is a part.
    direct : ndarray of int
        The components that use the direct way.
    out : ndarray of shape (n_components, n)
        Memory for the log-densities.
    scratch : ndarray of shape (any, n)
        Memory that the kernel may write to.
    """

    kernel: Any
    X: np.ndarray
    y: np.ndarray
    terms: np.ndarray
    direct: np.ndarray
    out: np.ndarray
    scratch: np.ndarray

    def log_density(self):
        """Return the log-densities plus the kernel's offsets, shape (K, n), in nats."""
        kernel, out = self.kernel, self.out
        if len(self.direct) < len(out):
            product(kernel.expansion.coefficients, self.terms, out)
            if kernel.has_rest:
                kernel.add_rest(out, self.terms, self.scratch)
        # From X, not from y: x − m is exact where x is near m, however far from the centre.
        for k in self.direct:
            deviation = np.subtract(self.X.T, kernel.means[k][:, None], dtype=np.float64)
            with np.errstate(over="ignore"):  # a row beyond 1e154 is at infinite distance
                np.multiply(kernel.distance(deviation, k), -0.5, out=out[k])
            out[k] += kernel.constants[k]
        if len(kernel.absent):
            out[kernel.absent] = -np.inf
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        kernel = self.kernel
        if len(self.direct) < len(resp):
            expanded = resp
            if len(self.direct):
                expanded = resp.copy()
                expanded[self.direct] = 0.0
            sums.expanded += weighted_sums(expanded, self.terms)
            if kernel.has_rest:
                kernel.accumulate_rest(sums, self.y, expanded, self.scratch)
        for k in self.direct:
            deviation = np.subtract(self.X.T, kernel.means[k][:, None], dtype=np.float64)
            sums.counts[k] += resp[k].sum()
            sums.sums[k] += deviation @ resp[k]
            kernel.add_scatter(sums.scatter, k, deviation, resp[k])


CompleteBlock = Block | SmallBlock  # a block without missing values
