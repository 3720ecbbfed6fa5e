"""Rows that are not in memory: read block by block, the next one during the work on this one.

Rows with more numbers than a buffer are not loaded: a Dask array, with its chunks as blocks, or a
mapped file, cut into blocks of rows. Sums over all rows are sums over blocks, in their order.
"""

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import NamedTuple

import numpy as np

from skvae.blocks import DistributedRows, Rows, is_distributed, ranges

# Numbers in the rows in memory at once, and in a block of a mapped file: in float32, the dtype of
# training, 128 MB and 4 MB.
BUFFER = 1 << 25
_BLOCK = 1 << 20
_TOGETHER = 1 << 21  # in the blocks that are read at once, by Dask in parallel


def in_memory_or_on_disk(given, X, weight=None):
    """Return checked rows as an array or, if a buffer is too small for them, as RowsOnDisk.

    Parameters
    ----------
    given : object
        The user's X.
    X : ndarray or dask.array.Array of shape (n_samples, n_features)
        The same rows, checked; of a Dask array the number of rows is known.
    weight : ndarray of shape (n_samples,) or DistributedWeights, default=None
        The weights of the rows; None is one each.

    Returns
    -------
    X : ndarray or RowsOnDisk
        The rows of nonzero weight. A small Dask array is read into memory.
    weight : ndarray of shape (n,), RowsOnDisk of shape (n, 1), or None
        Their weights, in the same blocks.
    """
    if is_distributed(X):
        rows = DistributedRows.readable(X, weight)
        if rows.n_rows * X.shape[1] > BUFFER:
            weight = None if weight is None else rows.sample_weight[:, None]
            return tuple(map(_of_chunks, (rows.X, weight)))
        X, weight, _ = rows.chosen()
    elif weight is not None and not weight.all():
        used = np.flatnonzero(weight)
        if _is_mapped(given, X) and len(used) * X.shape[1] > BUFFER:
            return _of_file(X, used), _of_file(weight[:, None], used, X.shape[1])
        X, weight = X[used], weight[used]
    elif _is_mapped(given, X) and X.size > BUFFER:
        weight = None if weight is None else _of_file(weight[:, None], None, X.shape[1])
        return _of_file(X), weight
    return X, weight


def _is_mapped(given, X):
    """Return whether checked rows are those of the mapped file that was given."""
    return isinstance(given, np.memmap) and np.may_share_memory(given, X)


def _of_chunks(X):
    """Return the rows of a Dask array as RowsOnDisk; None is None."""
    return None if X is None else RowsOnDisk(_OfChunks(X), X.chunks[0], X.shape[1])


def _of_file(X, used=None, beside=None):
    """Return rows of a file, all or those used, as RowsOnDisk in blocks of a size.

    The size is that for as many columns as X has, or ``beside``.
    """
    n_rows = len(X) if used is None else len(used)
    cuts = [*ranges(0, n_rows, max(1, _BLOCK // (beside or X.shape[1])))]
    return RowsOnDisk(_OfFile(X, cuts, used), tuple(b - a for a, b in cuts), X.shape[1])


class _OfChunks:
    """Reads some chunks of a Dask array, all at once."""

    def __init__(self, X):
        self._X = X

    def __call__(self, blocks):
        chunks = self._X.blocks[blocks]
        X = DistributedRows(chunks, None, float(len(chunks))).chosen().X
        return np.split(X, np.cumsum(chunks.chunks[0])[:-1])


class _OfFile:
    """Reads some blocks of a mapped file, of all rows or of those used."""

    def __init__(self, X, cuts, used=None):
        self._X, self._cuts, self._used = X, cuts, used

    def __call__(self, blocks):
        places = (slice(*self._cuts[i]) for i in blocks)
        if self._used is not None:
            places = (self._used[place] for place in places)
        return [np.array(self._X[place]) for place in places]


class RowsOnDisk:
    """Rows that are read block by block.

    Parameters
    ----------
    read : callable
        ``numbers of blocks → list of their rows``, arrays (length, n_features).
    lengths : tuple of int
        The number of rows of each block.
    n_features : int
        The number of columns.
    steps : tuple of callable
        Functions applied to the rows of each block when they are read, one after the other.
    left_out : list of ndarray of int, optional
        Places in each block of rows that are not among these.

    Attributes
    ----------
    lengths : tuple of int
        The number of rows of each block.
    shape : tuple of int
        The shape of all rows.
    """

    def __init__(self, read, lengths, n_features, steps=(), left_out=None):
        self._read, self._whole, self._steps, self._left_out = read, lengths, steps, left_out
        self.lengths = tuple(lengths)
        if left_out is not None:
            pairs = zip(lengths, left_out, strict=True)
            self.lengths = tuple(length - len(out) for length, out in pairs)
        self.shape = (sum(self.lengths), n_features)

    def __len__(self):
        return self.shape[0]

    def __getitem__(self, key):
        """Return the same rows of some columns, ``X[:, columns]``."""
        everything, columns = key
        if everything != slice(None):
            raise IndexError("these rows are read by blocks, not by index")
        n_columns = np.empty((0, self.shape[1]))[:, columns].shape[1]
        return self._then(_SelectColumns(columns), n_columns)

    def mapped(self, function):
        """Return rows that a function computes from a block, with as many columns."""
        return self._then(function, self.shape[1])

    def _then(self, step, n_columns):
        steps = (*self._steps, step)
        return RowsOnDisk(self._read, self._whole, n_columns, steps, self._left_out)

    def without(self, places):
        """Return the rows without those at some places in blocks; call it only once."""
        return RowsOnDisk(self._read, self._whole, self.shape[1], self._steps, places)

    # Reading ----------------------------------------------------------------------------------

    def read(self, blocks):
        """Return the rows of some blocks, a list; a note at an error gives their numbers."""
        try:
            parts = self._read(blocks)
            return [self._after_steps(i, part) for i, part in zip(blocks, parts, strict=True)]
        except Exception as error:
            ends = np.cumsum([0, *self._whole])
            read = (f"{i} (rows {ends[i]} to {ends[i + 1] - 1})" for i in blocks)
            error.add_note(f"while these blocks of X were read: {', '.join(read)}")
            raise

    def _after_steps(self, i, X):
        """Return the rows of a block after the steps, without those left out."""
        if self._left_out is not None:
            X = np.delete(X, self._left_out[i], axis=0)
        for step in self._steps:
            X = step(X)
        return X

    def together(self, blocks):
        """Return lists of blocks that are read at once; blocks without rows are left out."""
        groups, room, most = [], 0, _TOGETHER // self.shape[1]
        for i in blocks:
            n_rows = self.lengths[i]
            if groups and room >= n_rows > 0:
                groups[-1].append(i)
                room -= n_rows
            elif n_rows:
                groups.append([i])
                room = most - n_rows
        return groups

    def blocks(self):
        """Yield the rows of each block with rows, in order."""
        with reading_ahead(self.read, self.together(range(len(self.lengths)))) as found:
            for parts in found:
                yield from parts

    # Some of the rows -------------------------------------------------------------------------

    def drawn(self, n_rows, seed):
        """Return sorted places in each block of rows drawn at random without replacement.

        Each block has its share, rounded up or down at random: all rows are equally likely.

        Parameters
        ----------
        n_rows : int
            The number of draws, at most that of all rows.
        seed : int
            Seed of the draw.
        """
        start = np.random.default_rng(seed).random()  # of steps of n / n_rows rows
        ends = np.floor(np.cumsum([0, *self.lengths]) * (n_rows / len(self)) + start)
        ends[-1] = n_rows  # despite rounding
        places = []
        for i, (length, share) in enumerate(zip(self.lengths, np.diff(ends), strict=True)):
            rng = np.random.default_rng((seed, i))
            places.append(np.sort(rng.choice(length, min(int(share), length), replace=False)))
        return places

    def at(self, places):
        """Return the rows at some places in each block, in memory; blocks without are not read."""

        def some(blocks):
            return [X[places[i]] for i, X in zip(blocks, self.read(blocks), strict=True)]

        used = self.together(i for i, there in enumerate(places) if len(there))
        with reading_ahead(some, used) as found:
            return np.concatenate([X for parts in found for X in parts])


class _SelectColumns:
    """Takes some columns of rows."""

    def __init__(self, index):
        self._index = index

    def __call__(self, X):
        return X[:, self._index]


class WeightedOnDisk(NamedTuple):
    """Rows on disk with their weights, for sums over all rows, as of ``skvae.blocks.Rows``.

    Parameters
    ----------
    X : RowsOnDisk of shape (n_samples, n_features)
        The rows.
    weight : RowsOnDisk of shape (n_samples, 1) or None
        Their weights.
    """

    X: RowsOnDisk
    weight: RowsOnDisk | None

    def sum(self, function, pool, *shared):
        """Return the sum over blocks of ``function(Rows, pool, *shared)``, a tuple."""
        total = None
        for block, weight in with_weights(self.X, self.weight):
            found = function(Rows(block, weight), pool, *shared)
            total = found if total is None else tuple(map(_added, total, found))
        return total


def _added(one, other):
    return None if one is None else one + other


def blocks_of(X):
    """Return an iterable of the blocks of rows: of an array, the array itself."""
    return X.blocks() if isinstance(X, RowsOnDisk) else (X,)


def with_weights(X, weight):
    """Yield the blocks of rows and the weights of each block's rows, (n,) or None.

    Parameters
    ----------
    X : ndarray or RowsOnDisk of shape (n_samples, n_features)
        Rows.
    weight : ndarray of shape (n_samples,), RowsOnDisk of shape (n_samples, 1), or None
        Their weights.
    """
    if weight is None:
        yield from ((block, None) for block in blocks_of(X))
    elif isinstance(X, RowsOnDisk):
        pairs = zip(X.blocks(), weight.blocks(), strict=True)
        yield from ((block, of_block[:, 0]) for block, of_block in pairs)
    else:
        yield X, weight


@contextmanager
def reading_ahead(read, items):
    """Give an iterator over ``read(item)`` that reads the next during the work on the last.

    At most two results are in memory: the last one, while it is referenced, and the next. A thread
    reads, in the context of the caller (with Dask's client, for one).

    Parameters
    ----------
    read : callable
        ``item → result``.
    items : iterable
        In the order in which they are read.
    """
    context, pool = copy_context(), ThreadPoolExecutor(1, thread_name_prefix="skvae-read")

    def results():
        ahead = None
        for item in items:
            ready = None if ahead is None else ahead.result()
            first, ahead = ahead is None, pool.submit(context.run, read, item)
            if not first:
                yield ready
            del ready
        if ahead is not None:
            yield ahead.result()

    try:
        yield results()
    finally:
        pool.shutdown(cancel_futures=True)
