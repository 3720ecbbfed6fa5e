"""The E step of a hidden Markov model and its row-wise relatives, over blocks of rows.

The chain's recursions know no model, the emission's kernels know no time: here they meet.
"""

import numpy as np

from skvae.blocks import Workers, is_complete
from skvae.chain.recursion import padded_size
from skvae.chain.sweep import Sweep
from skvae.chain.viterbi import BestPaths
from skvae.gaussian.missing import pattern_order
from skvae.hmm.parameters import ChainStatistics

_BLOCK_NUMBERS = 1 << 16  # of one array of a block: measured, they should stay in the caches
_SHORTEST, _LONGEST = 512, 4096
# With fewer states what is called for a block costs more than its rows: twice as fast (measured for
# one to three states, 50,000 rows).
_FEW_STATES, _LONGEST_OF_FEW = 8, 16384
# Rows times states, and what else a row takes in units of a state, below which handing work to
# threads takes longer than doing it (measured: about two milliseconds of work).
_OTHER_WORK, _WORTH_THREADS = 8, 100_000


class EmissionSource:
    """Log-likelihoods of rows under an emission, and their statistics, for one thread.

    Parameters
    ----------
    kernel : object
        The emission's kernel.
    X : ndarray of shape (n_samples, n_features)
        The rows in time order.
    complete : bool
        Whether none of them has a missing value.
    """

    def __init__(self, kernel, X, complete):
        self._kernel = kernel
        self._X = X
        self._complete = complete
        self._workspace = kernel.workspace()
        self._loaded = None, None
        # Some blocks weigh rows by what they found on the way to their densities.
        self._reuses_density = getattr(kernel, "reuses_density", False)

    def _blocks(self, start, stop):
        """Yield (rows, block) of a block of rows; equal patterns of missing values together."""
        X = self._X[start:stop]
        order = None
        if not self._complete and not is_complete(X):
            order = pattern_order(X)
            X = X[order]
        for rows, block in self._kernel.blocks(X, self._workspace):
            yield rows if order is None else order[rows], block

    def log_likelihood(self, start, stop):
        """Return ln p(x | state) of the rows, shape (K, n); the array may be overwritten."""
        out = None
        self._loaded = None, None
        for rows, block in self._blocks(start, stop):
            log_density = block.log_density()
            if isinstance(rows, slice) and log_density.shape[1] == stop - start:
                self._loaded = (start, stop), block
                return log_density
            if out is None:
                out = np.empty((len(log_density), stop - start))
            out[:, rows] = log_density
        return out

    def accumulate(self, sums, start, stop, resp):
        """Add the rows, weighted by resp (n, K), to the emission's sums in place."""
        if self._loaded[0] == (start, stop):
            self._loaded[1].accumulate(sums, resp.T)
            return
        for rows, block in self._blocks(start, stop):
            if self._reuses_density:
                block.log_density()
            block.accumulate(sums, resp.T[:, rows])


class ChainModel:
    """A chain and its emission ready to be asked about sequences of rows.

    Parameters
    ----------
    parameters : ChainParameters
        The model.
    X : ndarray of shape (n_samples, n_features)
        The rows.
    sequences : Sequences
        Where they begin and end.
    pool : Workers
        The threads.
    weight : ndarray of shape (n_samples,) or None
        What each row counts, constant within a sequence.
    complete : bool, optional
        Whether no row has a missing value, if that is known: each block is asked otherwise.
    """

    def __init__(self, parameters, X, sequences, pool, weight=None, complete=False):
        self._parameters = parameters
        self._X = X
        self._complete = complete
        n_rows, n_states = len(X), len(parameters.startprob)
        self._few = n_rows * (n_states + _OTHER_WORK) < _WORTH_THREADS
        self._pool = Workers(1) if self._few else pool
        self._kernel = parameters.emission.kernel()
        self._block = self._block_rows()
        self._sequences = sequences
        self._sweep = Sweep(
            parameters.startprob,
            parameters.transmat,
            self._sequences,
            self._source,
            self._block,
            weight,
        )

    def _block_rows(self):
        n_states, n_rows = len(self._parameters.startprob), len(self._X)
        longest = _LONGEST if n_states >= _FEW_STATES else _LONGEST_OF_FEW
        rows = int(np.clip(_BLOCK_NUMBERS // padded_size(n_states), _SHORTEST, longest))
        if self._few:
            rows = 2 * _LONGEST
        elif n_rows < 8 * rows:  # as much for one thread as for another
            rows = -(-n_rows // (2 * -(-n_rows // (2 * rows))))
        return min(rows, self._kernel.block_rows)

    def _source(self):
        return EmissionSource(self._kernel, self._X, self._complete)

    def expect(self):
        """Return the ChainStatistics of the rows and their weighted log-likelihood, in nats."""

        def add(found, source, start, stop, gamma):
            source.accumulate(found, start, stop, gamma)

        total = self._sweep.smooth(self._pool, add, self._kernel.sums)
        emission = self._kernel.finish(total.found)
        return ChainStatistics(total.starts, total.pairs, emission), float(total.log_likelihood)

    def log_likelihood(self):
        """Return the weighted log-likelihood of the rows, in nats."""
        return float(self._sweep.log_likelihood(self._pool))

    def filter(self, log_p, alpha=None):
        """Fill ln p(x_t | x_1..x_{t−1}) (T,) and, if wanted, filtered posteriors (T, K)."""

        def visit(start, stop, log_p_of_block, alpha_of_block):
            with np.errstate(over="ignore"):  # −1e300 is −inf in float32
                log_p[start:stop] = log_p_of_block
            if alpha is not None:
                alpha[start:stop] = alpha_of_block

        self._sweep.filter(self._pool, visit)

    def smooth(self, posterior):
        """Fill the smoothed posteriors (T, K)."""

        def visit(_found, _source, start, stop, gamma):
            posterior[start:stop] = gamma

        self._sweep.smooth(self._pool, visit)

    def decode(self):
        """Return the most probable paths (T,), and each row's share of ln p(path, x) (T,)."""
        parameters = self._parameters
        found = BestPaths(
            parameters.startprob, parameters.transmat, self._sequences, self._source, self._block
        ).fill(self._pool)
        return found.states, found.log_p

    def log_emissions(self):
        """Return ln p(x_t | state) of all rows, shape (T, K), in nats."""
        out = np.empty((len(self._X), len(self._parameters.startprob)))
        source = self._source()
        for start in range(0, len(out), self._block):
            stop = min(start + self._block, len(out))
            out[start:stop] = source.log_likelihood(start, stop).T
        return out
