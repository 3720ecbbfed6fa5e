"""The E step of a hidden Markov model: rows under an emission, read by the chain's algorithms."""

from itertools import chain

import numpy as np

from skvae.blocks import is_complete
from skvae.chain import algorithms
from skvae.gaussian.missing import pattern_order
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
        EmissionRows(kernel, sequences.X, complete),
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
        EmissionRows(parameters.emission.kernel(), sequences.X, complete),
        sequences.offsets,
        weight=sequences.weight,
        pool=pool,
    )


class EmissionRows:
    """Rows under an emission: a source of log-likelihoods for :mod:`skvae.chain.algorithms`.

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
        self.kernel = kernel
        self.X = X
        self.complete = complete
        self.n_rows = len(X)
        self.block_rows = kernel.block_rows
        self.sums = kernel.sums

    def reader(self):
        """Return the reader of one thread."""
        return EmissionReader(self)


class EmissionReader:
    """Reads blocks of rows for one thread, which has its own memory.

    Parameters
    ----------
    source : EmissionRows
        The rows.
    """

    def __init__(self, source):
        self._source = source
        self._workspace = source.kernel.workspace()
        self._loaded = None, None
        # Some blocks weigh rows by intermediate results of their densities.
        self.reuses_density = getattr(source.kernel, "reuses_density", False)

    def block(self, start, stop):
        """Return the block of some rows, with ``log_density`` and ``accumulate``.

        It is valid until the next block is read.
        """
        if self._loaded[0] == (start, stop):
            return self._loaded[1]
        parts = self.parts(start, stop)
        rows, block = next(parts)
        if isinstance(rows, slice):  # all of them
            self._loaded = (start, stop), block
            return block
        self._loaded = None, None
        return BlockInParts(self, start, stop, chain([(rows, block)], parts))

    def parts(self, start, stop):
        """Yield (rows, block) of parts of a block, equal patterns of missing values together."""
        X, order = self._source.X[start:stop], None
        if not self._source.complete and not is_complete(X):
            order = pattern_order(X)
            X = X[order]
        for rows, block in self._source.kernel.blocks(X, self._workspace):
            yield rows if order is None else order[rows], block


class BlockInParts:
    """A block of rows that an emission's kernel reads in several parts.

    Parameters
    ----------
    reader : EmissionReader
        Reads the parts.
    start, stop : int
        The rows.
    parts : iterable
        The parts, read for the first time.
    """

    def __init__(self, reader, start, stop, parts):
        self._reader = reader
        self._rows = start, stop
        self._parts = parts

    def log_density(self):
        """Return ln p(x | state) of the rows, shape (K, n)."""
        start, stop = self._rows
        out = None
        for rows, block in self._parts:
            log_density = block.log_density()
            if out is None:
                out = np.empty((len(log_density), stop - start))
            out[:, rows] = log_density
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the emission's sums in place."""
        for rows, block in self._reader.parts(*self._rows):
            if self._reader.reuses_density:
                block.log_density()
            block.accumulate(sums, resp[:, rows])
