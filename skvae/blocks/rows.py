"""Rows of data with their weights, cut into blocks: in memory, or in a file that is mapped."""

from typing import NamedTuple

import numpy as np

# Measured: a block should be long enough to hide the cost of some hundred NumPy calls, and its
# temporaries should stay in the outer caches.
_BLOCK_BYTES = 1 << 23
_MIN_BLOCK, _MAX_BLOCK = 2048, 16384
_EVEN_BLOCKS = 8
_SURVEY = 65536  # rows whose missing features are read at a time


def ranges(start, stop, step):
    """Yield (start, stop) of consecutive ranges of at most ``step`` rows."""
    for first in range(start, stop, step):
        yield first, min(first + step, stop)


def block_rows(numbers_per_row):
    """Return how many rows make a block whose temporaries stay near the caches."""
    return min(max(_BLOCK_BYTES // (8 * numbers_per_row), _MIN_BLOCK), _MAX_BLOCK)


def even_block(n_rows, largest):
    """Return the size of blocks of at most ``largest`` rows, the last about as long as the others.

    A few thousand rows are also cut into several blocks, of at least ``_MIN_BLOCK`` rows, so that
    more than one thread has work.
    """
    n_blocks = max(-(-n_rows // largest), min(_EVEN_BLOCKS, n_rows // _MIN_BLOCK), 1)
    even = -(-n_rows // n_blocks)
    return min(-(-even // 8) * 8, largest)  # whole cache lines make an E step 5 to 8 % faster


def is_complete(X):
    """Return whether no value of X is missing."""
    return not np.isnan(X.min(initial=0.0))


def missing_patterns(X):
    """Return the pattern of NaN of each row, (n,) int, and how many rows have each pattern."""
    bits = np.concatenate(
        [np.packbits(np.isnan(X[a:b]), axis=1) for a, b in ranges(0, len(X), _SURVEY)]
    )
    _, pattern, counts = np.unique(bits, axis=0, return_inverse=True, return_counts=True)
    return pattern.ravel(), counts


def pattern_order(X):
    """Return the order of rows in which equal patterns of NaN are neighbours, commonest first.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Data with NaN.

    Returns
    -------
    order : ndarray of int, shape (n_samples,)
        Rows of one pattern keep their order; patterns of equal frequency are neighbours, so that
        batches of patterns need little padding.
    """
    pattern, counts = missing_patterns(X)
    rank = np.empty(len(counts), dtype=np.intp)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    return np.argsort(rank[pattern], kind="stable")


class Rows(NamedTuple):
    """Rows of X with their weights, in the order in which they are best read.

    Only rows whose weight is not zero count. Place i is the i-th of these rows in the order of X,
    whatever the order of reading.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The data; NaN is a missing value.
    sample_weight : ndarray of shape (n_samples,) or None
        The weight of each row of X; None is one each.
    order : ndarray of int or None
        The rows that count, in reading order; None is all rows in the order of X.
    """

    X: np.ndarray
    sample_weight: np.ndarray | None = None
    order: np.ndarray | None = None

    @classmethod
    def readable(cls, X, sample_weight=None, complete=False):
        """Return the rows without those of weight zero, equal patterns of NaN together.

        With ``complete``, X is known to have no missing value.
        """
        order = None
        if sample_weight is not None and not sample_weight.all():
            order = np.flatnonzero(sample_weight)
        if not complete and not is_complete(X):
            by_pattern = pattern_order(X if order is None else X[order])
            order = by_pattern if order is None else order[by_pattern]
        return cls(X, sample_weight, order)

    @property
    def n_rows(self):
        """Return the number of rows that count."""
        return len(self.X) if self.order is None else len(self.order)

    def weight(self):
        """Return the total weight of the rows that count."""
        if self.sample_weight is None:
            return float(self.n_rows)
        return float(self.sample_weight.sum())  # the rows that do not count add zero

    # Reading ----------------------------------------------------------------------------------

    def take(self, start, stop):
        """Return the rows from start to stop in reading order, and their weights or None."""
        where = slice(start, stop) if self.order is None else self.order[start:stop]
        return self.X[where], None if self.sample_weight is None else self.sample_weight[where]

    def columns(self, index):
        """Return the same rows with the features of an index only, a slice or indices."""
        return self._replace(X=self.X[:, index])

    # By place ---------------------------------------------------------------------------------

    def in_own_order(self):
        """Return the same rows, read in the order of X."""
        return self if self.order is None else self._replace(order=np.sort(self.order))

    def chosen(self, places=None):
        """Return the rows at some places, read in that order; None returns all of them."""
        order = self.order if self.order is None else np.sort(self.order)
        if places is not None:
            order = places if order is None else order[places]
        return self._replace(order=order)

    def at(self, places):
        """Return the rows of X at some places."""
        return self.X[self.chosen(places).order]

    def cut(self, size):
        """Return the rows, in the order of X, as a list of blocks of at most ``size`` rows."""
        rows, blocks = self.in_own_order(), []
        for a, b in ranges(0, self.n_rows, size):
            if rows.order is not None:
                block = rows._replace(order=rows.order[a:b])
            else:
                weight = None if rows.sample_weight is None else rows.sample_weight[a:b]
                block = Rows(rows.X[a:b], weight)
            blocks.append(block)
        return blocks

    def loaded(self):
        """Return the rows without the rest of X, in the order in which they are best read."""
        return self.readable(*self.take(0, self.n_rows))

    def batches(self, places, size):
        """Yield the rows at ``size`` of the places at a time, in the order best read."""
        in_x = self.in_own_order().order
        for a, b in ranges(0, len(places), size):
            order = np.sort(places[a:b])
            yield self._replace(order=order if in_x is None else in_x[order]).loaded()
