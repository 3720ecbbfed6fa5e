"""Parameters, statistics and kernel of an emission that consists of parts."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skvae.emissions.parameters import EmissionParameters


class ColumnSummary(NamedTuple):
    """The summaries of all parts.

    Parameters
    ----------
    parts : tuple
        The summary of each part.
    columns : tuple of ndarray of int
        The indices of each part's columns.
    """

    parts: tuple
    columns: tuple


class Parts:
    """The statistics, or sums, of all parts; they add and scale part by part.

    Parameters
    ----------
    parts : list
        The statistics of each part.
    """

    __slots__ = ("parts",)

    def __init__(self, parts):
        self.parts = list(parts)

    def __iadd__(self, other):
        for i, part in enumerate(other.parts):
            self.parts[i] += part
        return self

    def __add__(self, other):
        return Parts(a + b for a, b in zip(self.parts, other.parts, strict=True))

    def __mul__(self, weight):
        return Parts(part * weight for part in self.parts)

    __rmul__ = __mul__


@dataclass(frozen=True)
class ColumnParameters(EmissionParameters):
    """The parameters of all parts.

    Parameters
    ----------
    parts : tuple of NamedTuple
        The parameters of each part.
    columns : tuple of ndarray of int
        The indices of each part's columns; each column is in one part.
    """

    parts: tuple
    columns: tuple

    @property
    def n_components(self):
        """Return the number of states."""
        return self.parts[0].n_components

    @property
    def n_features(self):
        """Return the number of features."""
        return sum(len(index) for index in self.columns)

    def kernel(self):
        """Return the kernel of the states."""
        return ColumnKernel([part.kernel() for part in self.parts], self.columns, self.n_components)

    def n_parameters(self, n_states=None):
        """Return the number of free parameters; that of fewer states if their number is given."""
        return sum(part.n_parameters(n_states) for part in self.parts)

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        X = np.empty((len(states), self.n_features))
        for part, index in zip(self.parts, self.columns, strict=True):
            X[:, index] = part.sample(states, rng)
        return X

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        means = np.empty((self.n_components, self.n_features))
        for part, index in zip(self.parts, self.columns, strict=True):
            means[:, index] = part.means()
        return means

    def covariances(self):
        """Return the covariance of each state, shape (n_components, n_features, n_features)."""
        covariances = np.zeros((self.n_components, self.n_features, self.n_features))
        for part, index in zip(self.parts, self.columns, strict=True):
            covariances[:, index[:, None], index] = part.covariances()
        return covariances

    def cdf(self, x):
        """Return P(feature ≤ x | state), shape (..., K, D), of values (..., D)."""
        found = np.empty((*x.shape[:-1], self.n_components, self.n_features))
        for part, index in zip(self.parts, self.columns, strict=True):
            found[..., index] = part.cdf(x[..., index])
        return found

    def _filled(self, X, posterior):
        """Return rows with missing values filled in, each part by its own rule."""
        X = X.copy()
        for part, index in zip(self.parts, self.columns, strict=True):
            X[:, index] = part.imputed(X[:, index], posterior)
        return X

    def reordered(self, order):
        """Return the states with ``order[i]`` in place i."""
        return self._replace(parts=tuple(part.reordered(order) for part in self.parts))

    def statistics(self, weights):
        """Return the expected statistics of ``weights[k]`` rows in each state k."""
        return Parts(part.statistics(weights) for part in self.parts)

    def pack(self, summary):
        """Return the parts' coordinates as one vector."""
        pairs = zip(self.parts, summaries(summary, self), strict=True)
        return np.concatenate([part.pack(own) for part, own in pairs])

    def unpack(self, vector, summary):
        """Return the parameters of a vector; raise Collapse if they are not usable."""
        parts, first = [], 0
        for part, own in zip(self.parts, summaries(summary, self), strict=True):
            last = first + len(part.pack(own))
            parts.append(part.unpack(vector[first:last], own))
            first = last
        return self._replace(parts=tuple(parts))


def summaries(summary, parameters):
    """Return the parts' summaries, or None for each where there is no summary."""
    return (None,) * len(parameters.parts) if summary is None else summary.parts


def selector(index):
    """Return a slice of evenly spaced columns, for a view of X, or else the indices."""
    step = index[1] - index[0] if len(index) > 1 else 1
    if step > 0 and (np.diff(index) == step).all():
        return slice(int(index[0]), int(index[-1]) + 1, int(step))
    return index


class ColumnKernel:
    """Log-densities and statistics of rows under states that are independent by part.

    Parameters
    ----------
    kernels : list of kernel
        The kernel of each part.
    columns : tuple of ndarray of int
        The columns of each part.
    n_components : int
        The number of states.
    """

    def __init__(self, kernels, columns, n_components):
        self.kernels = kernels
        self.selectors = [selector(index) for index in columns]
        self.n_components = n_components
        self.block_rows = min(kernel.block_rows for kernel in kernels)

    def workspace(self):
        """Return memory for one block of each part."""
        return [kernel.workspace() for kernel in self.kernels]

    def blocks(self, X, workspace):
        """Yield (slice(None), block); the block divides its rows as each part does."""
        yield slice(None), _ColumnBlock(self, X, workspace)

    def sums(self):
        """Return empty sums."""
        return Parts(kernel.sums() for kernel in self.kernels)

    def finish(self, sums):
        """Return the statistics."""
        return Parts(
            kernel.finish(part) for kernel, part in zip(self.kernels, sums.parts, strict=True)
        )


class _ColumnBlock:
    """A block of rows, read part by part."""

    __slots__ = ("_X", "_kernel", "_whole", "_workspace")

    def __init__(self, kernel, X, workspace):
        self._kernel = kernel
        self._X = X
        self._workspace = workspace
        self._whole = {}

    def _blocks(self, i):
        """Yield (rows, block) of part i."""
        kernel = self._kernel
        return kernel.kernels[i].blocks(self._X[:, kernel.selectors[i]], self._workspace[i])

    def log_density(self):
        """Return the log-densities (K, n), in nats."""
        total = np.zeros((self._kernel.n_components, len(self._X)))
        for i in range(len(self._kernel.kernels)):
            for rows, block in self._blocks(i):
                total[:, rows] += block.log_density()
                if isinstance(rows, slice) and rows == slice(None):
                    self._whole[i] = block
        return total

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the sums in place."""
        for i, part in enumerate(sums.parts):
            if i in self._whole:  # the part's only block: its memory is still filled
                self._whole[i].accumulate(part, resp)
                continue
            for rows, block in self._blocks(i):
                block.accumulate(part, resp[:, rows])
