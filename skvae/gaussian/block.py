"""A block of complete rows: its densities and statistics, by the expanded or the direct way."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from skvae.gaussian.products import add_product, product, weighted_sums


class Workspace:
    """Memory for one block, which a chunk of rows reuses for all of its blocks.

    Fresh memory takes longer than the arithmetic of a block. It is allocated for the first block
    that needs it, and grows. Parts are cut to a block's rows so that each stays contiguous: over
    arrays with gaps between their rows, NumPy's elementwise operations copy through buffers and
    take 2 to 4 times as long.
    """

    _memory = np.empty(0)
    features = None  # the Features in this memory, if it has any

    def cut(self, n_rows, *heights):
        """Return a part for each height, an array of shape (height, n_rows)."""
        self.features = None
        ends = [0]
        for height in heights:
            ends.append(ends[-1] - (-height * n_rows // 8) * 8)
        if ends[-1] > len(self._memory):
            memory = np.empty(ends[-1] + 8)
            first = -(memory.ctypes.data // 8) % 8  # at a cache line: vector loads are fastest
            self._memory = memory[first : first + ends[-1]]
        parts = []
        for first, height in zip(ends[:-1], heights, strict=True):
            part = self._memory[first : first + height * n_rows]
            parts.append(part.reshape(height, n_rows))
        return parts


@dataclass(slots=True)
class Features:
    """Features of a block of complete rows in a workspace.

    Parameters
    ----------
    kind : type
        The class of the kernel.
    spread : callable
        The kernel's ``spread``, which defines the centre.
    X, y, parts, out, scratch
        As in :class:`Block`.
    second : ndarray of shape (any, n)
        The part of second order.
    reach : float
        The kernel's bound of the norms of the rows, NaN if a value is missing.
    filled : bool
        Whether the part of second order is complete.
    """

    kind: type
    spread: Any
    X: np.ndarray
    y: np.ndarray
    parts: list
    second: np.ndarray
    out: np.ndarray
    scratch: np.ndarray
    reach: float
    filled: bool = False

    def are_of(self, kernel, X):
        """Return whether a kernel has these features of X, an array that has not changed."""
        here, there = self.X.__array_interface__, X.__array_interface__
        return (
            self.kind is type(kernel)
            and self.spread == kernel.spread
            and len(self.out) == len(kernel.means)
            and all(here[key] == there[key] for key in ("data", "shape", "strides", "typestr"))
        )


@dataclass(slots=True)
class DirectBlock:
    """A block of complete rows under a kernel, all components by the direct way.

    Parameters
    ----------
    kernel : GaussianKernel
        The components.
    X : ndarray of shape (n, n_features)
        The rows, not centred.
    groups : list of slice
        The components that are computed at once.
    workspace : Workspace
        Memory for their deviations.
    kept : tuple or None
        The kernel's ``deviations`` of all components, for ``accumulate``, if they are one group.
    """

    kernel: Any
    X: np.ndarray
    groups: list
    workspace: Workspace
    kept: tuple | None = None

    def log_density(self):
        """Return the log-densities plus the kernel's offsets, shape (K, n), in nats."""
        kernel = self.kernel
        out = np.empty((len(kernel.means), len(self.X)))
        # A row beyond 1e154 is at infinite distance.
        with np.errstate(over="ignore", invalid="ignore"):
            for some in self.groups:
                self.kept = kernel.deviations(self.X, some, self.workspace)
                out[some] = kernel.distances(some, *self.kept)
        if len(self.groups) > 1:
            self.kept = None
        out *= -0.5
        out += kernel.constants[:, None]
        if len(kernel.absent):
            out[kernel.absent] = -np.inf
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        sums.counts += resp.sum(axis=1)
        for some in self.groups:
            kept = self.kept or self.kernel.deviations(self.X, some, self.workspace)
            deviation, squares = kept
            share = resp[some]
            sums.sums[some] += (deviation @ share[:, :, None])[:, :, 0]
            self.kernel.add_scatter(sums.scatter, some, deviation, squares, share)


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
    parts : list of ndarray
        Their features φ, of which ``y`` is a part; joined, they have shape (n_terms, n).
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
    parts: list
    direct: np.ndarray
    out: np.ndarray
    scratch: np.ndarray

    def log_density(self):
        """Return the log-densities plus the kernel's offsets, shape (K, n), in nats."""
        kernel, out = self.kernel, self.out
        if len(self.direct) < len(out):
            coefficients, last = kernel.expansion.coefficients, 0
            for part in self.parts:
                first, last = last, last + len(part)
                if first == 0:
                    product(coefficients[:, :last], part, out)
                else:
                    add_product(coefficients[:, first:last], part, out)
            if kernel.has_rest:
                kernel.add_rest(out, self.parts[0], self.scratch)
        # From X, not from y: x − m is exact where x is near m, however far from the centre.
        for k in self.direct:
            some = slice(k, k + 1)
            with np.errstate(over="ignore"):  # a row beyond 1e154 is at infinite distance
                distance = kernel.distances(some, *kernel.deviations(self.X, some))[0]
                np.multiply(distance, -0.5, out=out[k])
            out[k] += kernel.constants[k]
        if len(kernel.absent):
            out[kernel.absent] = -np.inf
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        kernel = self.kernel
        if len(self.direct) < len(resp):
            expanded, last = resp, 0
            if len(self.direct):
                expanded = resp.copy()
                expanded[self.direct] = 0.0
            for part in self.parts:
                first, last = last, last + len(part)
                sums.expanded[:, first:last] += weighted_sums(expanded, part)
            if kernel.has_rest:
                kernel.accumulate_rest(sums, self.y, expanded, self.scratch)
        for k in self.direct:
            some = slice(k, k + 1)
            deviation, squares = kernel.deviations(self.X, some)
            sums.counts[k] += resp[k].sum()
            sums.sums[k] += deviation[0] @ resp[k]
            kernel.add_scatter(sums.scatter, some, deviation, squares, resp[some])


CompleteBlock = Block | DirectBlock  # a block without missing values
