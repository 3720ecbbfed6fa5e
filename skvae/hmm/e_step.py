"""The E step of a hidden Markov model: rows under an emission, read by the chain's algorithms."""

from functools import partial

import numpy as np

from skvae.blocks import is_complete, pattern_order
from skvae.chain import algorithms
from skvae.hmm.parameters import ChainStatistics


def expect(parameters, sequences, pool, complete=False, buffers=None):
    """Return the ChainStatistics of sequences and their weighted log-likelihood, in nats.

    Parameters
    ----------
    parameters : ChainParameters
        The model.
    sequences : Sequences
        The rows.
    pool : Workers
        The threads.
    complete : bool
        Whether it is known that no row has a missing value.
    buffers : Buffers or None
        Memory of an earlier call, to be used again.
    """
    kernel = parameters.emission.kernel()
    found = algorithms.expect(
        *parameters.logs(),
        partial(EmissionReader, kernel, sequences.X, complete),
        sequences.offsets,
        weight=sequences.weight,
        pool=pool,
        buffers=buffers,
    )
    statistics = ChainStatistics(found.starts, found.pairs, kernel.finish(found.emission))
    return statistics, float(found.log_likelihood)


def log_likelihood_of(parameters, sequences, pool, complete=False):
    """Return the weighted log-likelihood of sequences, in nats; the arguments are as above."""
    return algorithms.log_likelihood_of(
        *parameters.logs(),
        partial(EmissionReader, parameters.emission.kernel(), sequences.X, complete),
        sequences.offsets,
        weight=sequences.weight,
        pool=pool,
    )


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
