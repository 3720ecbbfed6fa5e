"""Rows of a Dask array: the methods of :class:`skvae.blocks.rows.Rows`, computed by Dask."""

from functools import partial
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_array

from skvae.blocks.dask_tasks import (
    boxed,
    by_chunks,
    clear_when_lost,
    collected,
    computed,
    is_distributed,
    sent,
    summed,
)
from skvae.blocks.rows import Rows, ranges
from skvae.blocks.workers import workers
from skvae.validation import numbers_of, refuse_dtype

_FETCHED = 1 << 26  # bytes of rows that are fetched into this process at a time


# Checks -------------------------------------------------------------------------------------------


def checked_rows(X, check):
    """Return a Dask array of rows as floats; each chunk is checked when it is read.

    Parameters
    ----------
    X : dask.array.Array of shape (n_samples, n_features)
        Rows of numbers; NaN is missing. The number of rows may be unknown.
    check : callable
        Defined in a module: returns the rows of a chunk as floats, or raises ValueError.

    Returns
    -------
    X : dask.array.Array
        float64, or float32 if X is; chunks hold whole rows and are checked when they are read.
    """
    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array instead: X must have shape "
            "(n_samples, n_features)"
        )
    refuse_dtype(X.dtype, "X")
    X = whole_chunks(X, "X")
    if np.isnan(X.shape[1]):
        X = with_known_size(X)
    if X.shape[1] == 0:
        raise ValueError(f"Found array with 0 feature(s) (shape={X.shape}): at least 1 is required")
    if X.numblocks[1] > 1:
        X = X.rechunk({1: -1})
    dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
    return X.map_blocks(check, dtype=dtype, meta=np.empty((0, 0), dtype))


def whole_chunks(array, name):
    """Return a Dask array whose chunks are checked, when they are read, to be as declared.

    A function given to ``map_blocks`` may drop rows without declaring other chunks.

    Parameters
    ----------
    array : dask.array.Array
        Rows, weights or groups. Sizes that are unknown are not checked.
    name : str
        Its name, for messages.
    """
    meta = np.empty((0,) * array.ndim, array.dtype)
    return array.map_blocks(partial(_whole_chunk, name), dtype=array.dtype, meta=meta)


def _whole_chunk(name, chunk, block_info):
    declared = block_info[None]["chunk-shape"]
    sizes = zip(np.shape(chunk), declared, strict=False)
    if np.ndim(chunk) == len(declared) and all(n == m or np.isnan(m) for n, m in sizes):
        return chunk
    number = block_info[0]["chunk-location"][0]
    raise ValueError(
        f"chunk {number} of {name} has shape {np.shape(chunk)}, and {tuple(declared)} is declared: "
        "pass chunks= to the function that changed it, or call compute_chunk_sizes() before"
    )


def with_known_size(X):
    """Return the Dask array with known chunk sizes, computed if necessary."""
    if not np.isnan(sum(X.shape)):
        return X
    X = X.copy()  # compute_chunk_sizes writes to its array
    with clear_when_lost(X):
        return X.compute_chunk_sizes()


class DistributedWeights(NamedTuple):
    """Weights of rows, and a summary of them.

    Parameters
    ----------
    array : dask.array.Array of shape (n_samples,)
        The weights, in chunks like those of the rows.
    counts : tuple of int
        The number of nonzero weights in each chunk.
    total : float
        Their sum.
    low, high : float
        The smallest and the largest.
    """

    array: Any
    counts: tuple
    total: float
    low: float
    high: float

    def any(self):
        """Return whether some weight is not zero."""
        return any(self.counts)

    def min(self):
        """Return the smallest weight."""
        return self.low

    def max(self):
        """Return the largest weight."""
        return self.high


def checked_weights(weight, X, name):
    """Return the weights of a Dask array's rows as DistributedWeights.

    Parameters
    ----------
    weight : array-like of shape (n_samples,), dask.array.Array or float
        The ``sample_weight`` argument. If it is in memory, it is sent to the workers once.
    X : dask.array.Array
        The rows, with known chunk sizes.
    name : str
        The argument's name, for messages.

    Raises
    ------
    ValueError
        The weights are not one finite number for each row.
    """
    if is_distributed(weight):
        refuse_dtype(weight.dtype, name)
        weight = with_known_size(whole_chunks(weight, name))
    else:
        weight = np.asarray(numbers_of(weight, name))
        weight = np.full(len(X), weight) if weight.ndim == 0 else weight
    if weight.ndim != 1:
        raise ValueError(
            f"Sample weights must be 1D array or scalar, got {weight.ndim}D array. Expected either "
            f"a scalar value or a 1D array of length {len(X)}."
        )
    if weight.shape != X.shape[:1]:
        raise ValueError(f"sample_weight.shape == {weight.shape}, expected {X.shape[:1]}!")
    weight = sent(weight, X.chunks[0])
    weight = weight.map_blocks(_checked_weight, dtype=np.float64, meta=np.empty(0))
    counts, totals, low, high = np.array(collected(_facts, [(weight, "i")])).T
    return DistributedWeights(
        weight, tuple(counts.astype(int).tolist()), float(totals.sum()), low.min(), high.max()
    )


def _checked_weight(weight):
    return check_array(
        weight, ensure_2d=False, dtype=np.float64, ensure_min_samples=0, input_name="sample_weight"
    )


def _facts(weight):
    """Return (number of nonzero weights, sum, smallest, largest)."""
    with np.errstate(over="ignore"):  # then the caller raises an error
        total = weight.sum()
    ends = weight.min(initial=np.inf), weight.max(initial=-np.inf)
    return np.count_nonzero(weight), total, *ends


# Rows ---------------------------------------------------------------------------------------------


class DistributedRows(NamedTuple):
    """Rows of a Dask array with nonzero weight; see :class:`skvae.blocks.rows.Rows`.

    Parameters
    ----------
    X : dask.array.Array of shape (n_rows, n_features)
        The rows, in chunks of whole rows.
    sample_weight : dask.array.Array of shape (n_rows,) or None
        Their weights, in the same chunks.
    total : float
        Their sum.
    arranged : bool
        Whether a task sorts its rows by their pattern of NaN before it reads them.
    """

    X: Any
    sample_weight: Any
    total: float
    arranged: bool = True

    order = None  # a task has one of its own

    @classmethod
    def readable(cls, X, weights=None):
        """Return the rows (n_samples, n_features) without those of weight zero."""
        if weights is None:
            return cls(X, None, float(len(X)))
        weight = weights.array
        if weights.counts != X.chunks[0]:
            both, fewer = [(X, "ij"), (weight, "i")], {"i": weights.counts}
            X = by_chunks(_used_rows, "ij", both, X.dtype, adjust_chunks=fewer)
            weight = by_chunks(_used, "i", both[1:], weight.dtype, adjust_chunks=fewer)
        return cls(X, weight, weights.total)

    @property
    def n_rows(self):
        """Return the number of rows with nonzero weight."""
        return len(self.X)

    @property
    def lengths(self):
        """Return the number of rows of each chunk."""
        return self.X.chunks[0]

    def weight(self):
        """Return the total weight of the rows."""
        return self.total

    def columns(self, index):
        """Return the same rows with some of the features, given by a slice or indices."""
        return self._replace(X=self.X[:, index])

    def sum(self, function, pool, *shared, each=None):
        """Return the sum over chunks of ``function(rows of a chunk, pool, *shared)``, a tuple.

        Parameters
        ----------
        function : callable
            A function defined at module level. It returns a tuple of values with ``+``, or None in
            places.
        pool : Workers
            Not used: the threads belong to Dask.
        *shared : object
            Further arguments of the function.
        each : sequence, optional
            The function's last argument, one value for each of the chunks of ``lengths``.
        """
        arrays = [(self.X, "ij")]
        if self.sample_weight is not None:
            arrays.append((self.sample_weight, "i"))
        if each is not None:
            arrays.append((boxed(each), "i"))
        return summed(_OnRows(self, function, shared), arrays)

    # By place ---------------------------------------------------------------------------------

    def in_own_order(self):
        """Return the same rows, to be read in their own order."""
        return self._replace(arranged=False)

    def chosen(self, places=None):
        """Return the rows at some places, in memory, as Rows; None means all rows."""
        if places is None:
            return Rows(*self._fetched(slice(None)))
        places, again = np.unique(places, return_inverse=True)
        X, weight = self._fetched(places)
        return Rows(X[again], None if weight is None else weight[again])

    def _fetched(self, where):
        if self.sample_weight is None:
            return computed(self.X[where])[0], None
        return computed(self.X[where], self.sample_weight[where])

    def at(self, places):
        """Return the rows of X at some places, in memory."""
        return self.chosen(places).X

    def cut(self, size):
        """Return the rows, in their own order, as a list of blocks of at most ``size`` rows."""
        parts = [slice(a, b) for a, b in ranges(0, self.n_rows, size)]
        if self.sample_weight is None:
            return [DistributedRows.readable(self.X[part]) for part in parts]
        weights = [self.sample_weight[part] for part in parts]
        totals = computed(*(weight.sum() for weight in weights))
        return [
            DistributedRows(self.X[part], weight, float(total))
            for part, weight, total in zip(parts, weights, totals, strict=True)
        ]

    def loaded(self):
        """Return the rows themselves: they are not loaded into this process."""
        return self

    def batches(self, places, size):
        """Yield the rows at the places in batches of ``size``, in memory, as Rows.

        Many batches are fetched at a time.
        """
        n_numbers = self.X.shape[1] + 1
        fetch = size * max(1, _FETCHED // (8 * n_numbers * size))
        for first, last in ranges(0, len(places), fetch):
            index = np.sort(places[first:last])
            X, weight = self._fetched(index)
            for a, b in ranges(first, last, size):
                where = np.searchsorted(index, np.sort(places[a:b]))
                yield Rows.readable(X[where], None if weight is None else weight[where])


def _used_rows(X, weight):
    return X[weight != 0]


def _used(weight):
    return weight[weight != 0]


class _OnRows:
    """Calls a function with the rows of a chunk as Rows, and the workers."""

    def __init__(self, rows, function, shared):
        self._weighted = rows.sample_weight is not None
        self._arranged = rows.arranged
        self._function = function
        self._shared = shared

    def __call__(self, X, *rest):
        weight, each = (rest[0], rest[1:]) if self._weighted else (None, rest)
        if not len(X):
            return None
        rows = Rows.readable(X, weight) if self._arranged else Rows(X, weight)
        with workers() as pool:
            return self._function(rows, pool, *self._shared, *each)
