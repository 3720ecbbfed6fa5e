"""Reading of rows under an emission: log-densities and statistics of blocks of rows."""

import numpy as np

from skvae.blocks import is_complete, pattern_order, ranges


class EmissionRows:
    """Few rows under any emission.

    Parameters
    ----------
    kernel : object
        The emission's kernel.
    X : ndarray of shape (n_samples, n_features)
        The rows.
    complete : bool
        Whether no row has a missing value.
    """

    def __init__(self, kernel, X, complete):
        self._kernel = kernel
        self._reader = EmissionReader(kernel, X, complete)
        self._ranges = list(ranges(0, len(X), kernel.block_rows))

    def log_density(self):
        """Return ln p(x | state) of the rows, shape (K, n)."""
        if len(self._ranges) == 1:
            return self._reader.block(*self._ranges[0]).log_density()
        parts = [self._reader.block(*rows).log_density().copy() for rows in self._ranges]
        return np.concatenate(parts, axis=1)

    def statistics(self, posterior):
        """Return the emission's statistics of the rows, weighted by ``posterior`` (n, K)."""
        sums = self._kernel.sums()
        for a, b in self._ranges:
            self._reader.block(a, b).accumulate(sums, posterior[a:b].T)
        return self._kernel.finish(sums)


class EmissionReader:
    """Reads the log-likelihoods of rows under an emission, for one thread.

    See :mod:`skvae.chain.algorithms`.

    Parameters
    ----------
    kernel : object
        The emission's kernel.
    X : ndarray of shape (n_samples, n_features)
        The rows in time order.
    complete : bool
        Whether it is known that no row has a missing value; otherwise each block is examined.
    """

    def __init__(self, kernel, X, complete=False):
        self.block_rows = kernel.block_rows
        self.sums = kernel.sums
        self._kernel = kernel
        self._X = X
        self._complete = complete
        self._workspace = None
        self._loaded = None, None

    def block(self, start, stop):
        """Return the block of some rows, with ``log_density`` and ``accumulate``.

        It is valid until the next block is read.
        """
        where, block = self._loaded
        if where != (start, stop):
            X = self._X[start:stop]
            if self._workspace is None:
                self._workspace = self._kernel.workspace()
            if self._complete or is_complete(X):
                _, block = next(self._kernel.blocks(X, self._workspace))
            else:
                block = BlockWithGaps(self._kernel, X, self._workspace)
            self._loaded = (start, stop), block
        return block


class BlockWithGaps:
    """A block of rows with missing values, read in parts of equal patterns.

    Parameters
    ----------
    kernel : object
        The emission's kernel.
    X : ndarray of shape (n, n_features)
        The rows.
    workspace : object
        The memory of the kernel's blocks.
    """

    def __init__(self, kernel, X, workspace):
        self._kernel = kernel
        self._order = pattern_order(X)
        self._X = X[self._order]
        self._workspace = workspace

    def log_density(self):
        """Return ln p(x | state) of the rows, shape (K, n)."""
        out = None
        for rows, block in self._kernel.blocks(self._X, self._workspace):
            log_density = block.log_density()
            if out is None:
                out = np.empty((len(log_density), len(self._X)))
            out[:, self._order[rows]] = log_density
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the emission's sums in place."""
        for rows, block in self._kernel.blocks(self._X, self._workspace):
            block.accumulate(sums, resp[:, self._order[rows]])
