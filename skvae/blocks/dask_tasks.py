"""Tasks on the chunks of Dask arrays, and sums, lists or arrays of their results.

A sum over rows is one task for each chunk and a tree that adds their results, ``_FAN_IN`` at a
time. The parameters, which all tasks need, are one more task: each worker receives them once, and
if a worker dies, all that it held can be computed again. The chunks of a persisted array are read
where they are stored; other chunks are computed again for each sum.

The threads or processes are chosen by Dask: those of the active client, or else of its threaded
scheduler. Every task runs on one thread.

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
    """Return whether X is a Dask array, without importing Dask."""
    array = getattr(sys.modules.get("dask.array"), "Array", None)
    return array is not None and isinstance(X, array)


@contextmanager
def clear_when_lost(*arrays):
    """Raise a ConnectionError with a remedy if Dask lost data or tasks of some arrays."""
    try:
        yield
    except Exception as error:
        # CommClosedError belongs to distributed, which may not be installed.
        gone = isinstance(error, CancelledError) or type(error).__name__ == "CommClosedError"
        if not gone and not _is_cancelled(arrays):
            raise
        raise ConnectionError(
            "Dask gave a computation up: its scheduler is gone, or data that was persisted with "
            "it. Connect a new Client, persist X again, and call the method again; an earlier fit "
            "of the estimator is unchanged"
        ) from error


def _is_cancelled(arrays):
    """Return whether data of the arrays was on a cluster that is gone."""
    distributed = sys.modules.get("distributed")
    futures = () if distributed is None else distributed.futures_of(list(arrays))
    return any(future.cancelled() for future in futures)


def computed(*collections):
    """Return the computed values of Dask collections, as a tuple.

    Raises
    ------
    ConnectionError
        The scheduler was lost, or data that had been persisted with it.
    """
    import dask

    with clear_when_lost(*collections):
        return dask.compute(*collections)


def sent(array, lengths):
    """Return an array of one number for each row as a Dask array with given chunks.

    An array in memory is sent to the workers once, not for every sum.
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
        A callable of one chunk of each array, called on a worker. It returns a tuple of values with
        ``+``, with None in places, or None for an empty sum.
    arrays : list of (dask.array.Array, str)
        Arrays with the names of their axes; i is the axis of the rows.

    Returns
    -------
    total : tuple
        The sum, always added in the same order, independent of the workers.
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
    """Return the Dask array of boxes with the result of a task for each chunk of the rows."""
    # With the axes of the first array Dask fuses reading, checking and this call into one task.
    form = arrays[0][1]
    ones = dict.fromkeys(form, 1)
    shape = (1,) * len(form)
    task = _held(task)
    return by_chunks(_boxed_call, form, arrays, object, task=task, shape=shape, adjust_chunks=ones)


def by_chunks(function, form, arrays, dtype, **options):
    """Return the Dask array of ``function(*chunks)`` for each chunk of rows.

    Parameters
    ----------
    function : callable
        A callable of one chunk of each array; it opens chunks made by ``boxed`` with ``unboxed``.
    form : str
        The axes of the result; i is the axis of the rows.
    arrays : list of (dask.array.Array, str)
        With the names of their axes.
    dtype : dtype
        The dtype of the result.
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
    """Return a value as a separate task: it is sent once, and other tasks depend on it."""
    import dask

    return dask.delayed(value, name=f"skvae-{uuid4().hex}", traverse=False)


class _Boxed:
    """An object that belongs to a chunk of rows."""

    def __init__(self, value):
        self.value = value


def boxed(values):
    """Return objects as a Dask array with one object in each chunk."""
    import dask.array as da

    array = np.empty(len(values), dtype=object)
    array[:] = [_Boxed(value) for value in values]
    return da.from_array(array, chunks=1, name=False)


def unboxed(chunk):
    """Return the object in a chunk made by ``boxed``; return other chunks unchanged."""
    # Other chunks may have objects too: names of groups.
    holds = chunk.dtype == object and chunk.shape == (1,) and isinstance(chunk[0], _Boxed)
    return chunk[0].value if holds else chunk


def _call(*chunks, task):
    """Return the result of a task for a chunk of each array, computed on one thread."""
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
    """Return the sum of the contents of some boxes, in a box."""
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
    """Return ``task(*chunks)`` for each chunk of the rows, a Dask array.

    Parameters
    ----------
    task : object
        A callable of one chunk of each array, called on a worker. It returns an array of shape (n,)
        or (n, width).
    arrays : list of (dask.array.Array, str)
        Arrays with the names of their axes; i is the axis of the rows, and the first array has it.
    width : int or None
        How many numbers the result has for a row; None is one, without an axis for it.
    dtype : dtype
        The dtype of the result.
    """
    form, axes = ("i", {}) if width is None else ("ij", {"adjust_chunks": {"j": width}})
    return by_chunks(_call, form, arrays, np.dtype(dtype), task=_held(task), **axes)


def map_rows(function, X, width, dtype, *shared):
    """Return ``function(chunk, *shared)`` for each chunk of rows, a Dask array.

    Parameters
    ----------
    function : callable
        A function defined at module level; it returns an array of shape (n,) or (n, width).
    X : dask.array.Array of shape (n_samples, n_features)
        The rows; their number may be unknown.
    width : int or None
        How many numbers the result has for a row; None is one, without an axis for it.
    dtype : dtype
        The dtype of the result.
    *shared : object
        Further arguments of the function.
    """
    return mapped(_OnChunk(function, shared), [(X, "ij")], width, dtype)


class _OnChunk:
    """Calls a function with a chunk and the arguments shared by all chunks."""

    def __init__(self, function, shared):
        self._function = function
        self._shared = shared

    def __call__(self, X):
        return self._function(X, *self._shared)
