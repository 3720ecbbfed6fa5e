"""Work on the chunks of Dask arrays: sums, lists and arrays of what a task makes of each.

A sum over rows is a task for each chunk and a tree that adds their results, ``_FAN_IN`` at a time.
What all tasks need, the parameters, is one more task, so that each worker is sent it once, and a
worker that dies takes nothing with it that could not be made again. Chunks are read as they come:
those of an array that was persisted are where they are, others are read anew for each sum.

Whose threads or processes do the work is Dask's to say: the client that is active, or else its
scheduler in threads. Every task runs on one thread.

Dask is imported in this module alone, by the functions that need it.
"""

import sys
from concurrent.futures import CancelledError
from contextlib import contextmanager
from uuid import uuid4

import numpy as np

from skvae.blocks.workers import one_thread

_FAN_IN = 8


def is_distributed(X):
    """Return whether X is a Dask array; Dask is not imported to know."""
    array = getattr(sys.modules.get("dask.array"), "Array", None)
    return array is not None and isinstance(X, array)


@contextmanager
def clear_when_lost(*arrays):
    """Raise a ConnectionError that says what to do if Dask lost what some arrays are made of."""
    try:
        yield
    except Exception as error:
        # CommClosedError is of distributed, which may not be there.
        gone = isinstance(error, CancelledError) or type(error).__name__ == "CommClosedError"
        if not gone and not _is_cancelled(arrays):
            raise
        raise ConnectionError(
            "Dask gave a computation up: its scheduler is gone, or data that was persisted with "
            "it. Connect a new Client, persist X again, and call the method again; what had been "
            "fitted before is unchanged"
        ) from error


def _is_cancelled(arrays):
    """Return whether something that the arrays are made of was on a cluster that is gone."""
    distributed = sys.modules.get("distributed")
    futures = () if distributed is None else distributed.futures_of(list(arrays))
    return any(future.cancelled() for future in futures)


def computed(*collections):
    """Return what Dask collections come to, as a tuple.

    Raises
    ------
    ConnectionError
        The scheduler was lost, or what had been persisted with it.
    """
    import dask

    with clear_when_lost(*collections):
        return dask.compute(*collections)


def sent(array, lengths):
    """Return an array of one number a row as a Dask array with chunks of some lengths.

    What is in memory is sent to where the work is done once, not for every sum.
    """
    import dask.array as da

    if is_distributed(array):
        return array.rechunk((lengths,))
    return da.from_array(array, chunks=(lengths,), name=False).persist()


def summed(task, arrays):
    """Return the sum of ``task(*chunks)`` over the chunks of the rows.

    Parameters
    ----------
    task : object
        It is called with a chunk of each array, on a worker, and returns a tuple of what adds, or
        None in some places; or None for nothing at all.
    arrays : list of (dask.array.Array, str)
        With the names of their axes; i is that of the rows.

    Returns
    -------
    total : tuple
        Added in the same order each time, whatever worker did what.
    """
    import dask.array as da

    found = _results(task, arrays)
    total = da.reduction(
        found,
        chunk=_unchanged,
        combine=_added,
        aggregate=_added,
        dtype=object,
        split_every={0: _FAN_IN, 1: 1},
        concatenate=False,
        meta=np.empty((), dtype=object),
    )
    return computed(total)[0][()]


def collected(task, arrays):
    """Return ``task(*chunks)`` for each chunk of the rows, a list; see :func:`summed`."""
    return list(computed(_results(task, arrays))[0].ravel())


def _results(task, arrays):
    """Return the Dask array of boxes with what a task makes of each chunk of the rows."""
    # With the axes of the first array, so that Dask makes one task of reading, checking and this.
    form = arrays[0][1]
    ones = dict.fromkeys(form, 1)
    shape = (1,) * len(form)
    task = _held(task)
    return by_chunks(_boxed_call, form, arrays, object, task=task, shape=shape, adjust_chunks=ones)


def by_chunks(function, form, arrays, dtype, **options):
    """Return the Dask array of ``function(*chunks)``, with a chunk of each array for each of rows.

    Parameters
    ----------
    function : callable
        Of a chunk of each array; those of ``boxed`` are for it to open.
    form : str
        The axes of the result; i is that of the rows.
    arrays : list of (dask.array.Array, str)
        With the names of their axes.
    dtype : dtype
        The result's.
    **options
        For ``dask.array.blockwise``.
    """
    import dask.array as da

    pairs = [part for pair in arrays for part in pair]
    meta = np.empty((0,) * len(form), dtype=dtype)
    return da.blockwise(
        function,
        form,
        *pairs,
        dtype=dtype,
        meta=meta,
        align_arrays=False,
        concatenate=True,
        **options,
    )


def _held(value):
    """Return a value as a task of its own: it is sent once, and other tasks depend on it."""
    import dask

    return dask.delayed(value, name=f"skvae-{uuid4().hex}", traverse=False)


class _Boxed:
    """An object that goes along with a chunk of rows."""

    def __init__(self, value):
        self.value = value


def boxed(values):
    """Return objects as a Dask array with one in each chunk, which other arrays go along with."""
    import dask.array as da

    array = np.empty(len(values), dtype=object)
    array[:] = [_Boxed(value) for value in values]
    return da.from_array(array, chunks=1, name=False)


def unboxed(chunk):
    """Return the object that a chunk of such an array holds, and other chunks as they are."""
    # There are others with objects: names of groups.
    holds = chunk.dtype == object and chunk.shape == (1,) and isinstance(chunk[0], _Boxed)
    return chunk[0].value if holds else chunk


def _call(*chunks, task):
    """Return what a task makes of a chunk of each array, on one thread."""
    with one_thread():
        return task(*map(unboxed, chunks))


def _boxed_call(*chunks, task, shape):
    return _box(_call(*chunks, task=task), shape)


def _box(value, shape):
    """Return an array that holds one object."""
    box = np.empty(shape, dtype=object)
    box[(0,) * len(shape)] = value
    return box


def _unchanged(box, axis, keepdims):  # noqa: ARG001 (Dask passes them)
    return box


def _added(boxes, axis, keepdims):
    """Return the sum of what some boxes hold, in a box."""
    total = None
    for box in _flat(boxes):
        found = box.ravel()[0]
        total = found if total is None else _sum(total, found)
    return _box(total, (1,) * len(axis) if keepdims else ())


def _flat(boxes):
    return [box for part in boxes for box in _flat(part)] if isinstance(boxes, list) else [boxes]


def _sum(one, other):
    if other is None:
        return one
    return tuple(None if a is None else a + b for a, b in zip(one, other, strict=True))


def mapped(task, arrays, width, dtype):
    """Return ``task(*chunks)`` of the chunks of the rows, a Dask array.

    Parameters
    ----------
    task : object
        It is called with a chunk of each array, on a worker, and returns an array (n,), or
        (n, width).
    arrays : list of (dask.array.Array, str)
        With the names of their axes; i is that of the rows, and the first array has them.
    width : int or None
        How many numbers the result has for a row; None is one, without an axis for it.
    dtype : dtype
        The result's.
    """
    form, axes = ("i", {}) if width is None else ("ij", {"adjust_chunks": {"j": width}})
    return by_chunks(_call, form, arrays, np.dtype(dtype), task=_held(task), **axes)


def map_rows(function, X, width, dtype, *shared):
    """Return ``function(chunk, *shared)`` of each chunk of rows, a Dask array.

    Parameters
    ----------
    function : callable
        Defined in a module; returns an array (n,), or (n, width).
    X : dask.array.Array of shape (n_samples, n_features)
        The rows; their number may be unknown.
    width : int or None
        How many numbers the result has for a row; None is one, without an axis for it.
    dtype : dtype
        The result's.
    *shared : object
        What the function is given besides.
    """
    return mapped(_OnChunk(function, shared), [(X, "ij")], width, dtype)


class _OnChunk:
    """Calls a function with a chunk and what it shares with the others."""

    def __init__(self, function, shared):
        self._function = function
        self._shared = shared

    def __call__(self, X):
        return self._function(X, *self._shared)
