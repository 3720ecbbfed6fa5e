"""States of a computation as files of arrays and JSON: written whole or not at all, read as data.

A file is an ``.npz`` archive that NumPy opens without pickle. Its ``header`` is JSON that says
where which array belongs; the comment at its end is the SHA-256 of all that stands before, so that
what was cut off or changed is known before any of it is looked at. Nothing in a file is executed.
"""

import json
import os
import secrets
import stat
import zipfile
from dataclasses import fields, is_dataclass
from hashlib import sha256
from io import BytesIO

import numpy as np

_DIGEST = 64  # hexadecimal digits
_HEADER = "header"
_MARK = "$array"
_KINDS = "biuf"  # of the arrays that are kept


# Objects and trees --------------------------------------------------------------------------------


def pack(state):
    """Return a state as a JSON tree and its arrays.

    Parameters
    ----------
    state : object
        Numbers, strings, None, arrays of numbers, and tuples, NamedTuples, dataclasses, lists and
        dicts with string keys of such.

    Returns
    -------
    tree : object
        Tuples and dataclasses are lists in it.
    arrays : dict of str to ndarray
        Each array once, however often it occurs.

    Raises
    ------
    TypeError
        Something is of another type.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.storage import pack
    >>> pack({"n": 1, "mean": np.zeros(2)})
    ({'n': 1, 'mean': {'$array': ['0', [2], [0]]}}, {'0': array([0., 0.])})
    """
    arrays, marks = {}, {}

    def packed(value):
        if value is None or isinstance(value, str | bool | int) or type(value) is float:
            return value
        if isinstance(value, np.ndarray):
            if id(value) not in marks:  # one that is shared stays shared
                name = str(len(arrays))
                arrays[name], order = _in_memory_order(value)
                marks[id(value)] = {_MARK: [name, list(value.shape), order]}
            return marks[id(value)]
        if isinstance(value, np.generic) and value.dtype.kind in _KINDS:
            return value.item()
        if isinstance(value, tuple | list):
            return [packed(item) for item in value]
        if isinstance(value, dict):
            return {str(key): packed(item) for key, item in value.items()}
        if is_dataclass(value) and not isinstance(value, type):
            return [packed(getattr(value, field.name)) for field in fields(value)]
        raise TypeError(f"{type(value).__name__} is no number, array, or collection of such")

    return packed(state), arrays


def _in_memory_order(array):
    """Return an array without repetition, its axes in the order of memory, and that order.

    The layout is kept because sums of products round as it makes them.
    """
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"an array of {array.dtype} is none of numbers")
    repeated = [stride == 0 and n > 1 for stride, n in zip(array.strides, array.shape, strict=True)]
    once = array[tuple(slice(0, 1) if again else slice(None) for again in repeated)]
    order = sorted(range(array.ndim), key=lambda axis: -abs(once.strides[axis]))
    return np.ascontiguousarray(once.transpose(order)).reshape(
        [once.shape[axis] for axis in order]  # of a number: ascontiguousarray gives it an axis
    ), order


def unpack(tree, arrays):
    """Return the tree with its arrays in their places, laid out as they were.

    Parameters
    ----------
    tree : object
        As from :func:`pack`, after JSON or not.
    arrays : mapping of str to ndarray
        As from :func:`pack`.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.storage import pack, unpack
    >>> unpack(*pack((1, np.zeros((2, 3), order="F"))))[1].flags.f_contiguous
    True
    """
    made = {}

    def unpacked(value):
        if isinstance(value, list):
            return [unpacked(item) for item in value]
        if not isinstance(value, dict):
            return value
        if _MARK not in value:
            return {key: unpacked(item) for key, item in value.items()}
        name, shape, order = value[_MARK]
        if name not in made:
            once = np.asarray(arrays[name]).transpose(np.argsort(np.asarray(order, dtype=int)))
            made[name] = once if once.shape == tuple(shape) else np.broadcast_to(once, shape)
        return made[name]

    return unpacked(tree)


def rebuilt(like, tree, *, resized=False):
    """Return what a tree says, as an object of the same make as another.

    Parameters
    ----------
    like : object
        What :func:`pack` takes but for lists and dicts: its types, names, and the dtypes and shapes
        of its arrays are those of the result; numbers and the entries of arrays are the tree's.
    tree : object
        As from :func:`unpack`.
    resized : bool
        Whether first axes may be of another length.

    Raises
    ------
    ValueError
        The tree is none of such an object.

    Examples
    --------
    >>> from skvae.storage import rebuilt
    >>> rebuilt((0.0, "full"), [1.5, "full"])
    (1.5, 'full')
    """
    if isinstance(like, np.ndarray):
        same = isinstance(tree, np.ndarray) and tree.dtype == like.dtype and tree.ndim == like.ndim
        first = 1 if resized else 0
        if not same or tree.shape[first:] != like.shape[first:]:
            raise ValueError(f"an array {like.dtype} of shape {like.shape} is not there")
        return tree
    if isinstance(like, np.generic):
        return like.dtype.type(rebuilt(like.item(), tree))
    if is_dataclass(like):
        parts = [getattr(like, field.name) for field in fields(like)]
        return type(like)(*rebuilt(tuple(parts), tree, resized=resized))
    if isinstance(like, tuple):
        if not isinstance(tree, list) or len(tree) != len(like):
            raise ValueError(f"a {type(like).__name__} of {len(like)} is not there")
        pairs = zip(like, tree, strict=True)
        parts = [rebuilt(part, item, resized=resized) for part, item in pairs]
        return tuple(parts) if type(like) is tuple else type(like)(*parts)  # a NamedTuple
    if type(tree) is not type(like) or (not isinstance(like, int | float) and tree != like):
        raise ValueError(f"{tree!r} stands where {like!r} or its like should")
    return tree


# Files --------------------------------------------------------------------------------------------


def encoded(state):
    """Return a state, as :func:`pack` takes it, as the bytes of a file."""
    tree, arrays = pack(state)
    header = np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8)
    buffer = BytesIO()
    np.savez(buffer, **{_HEADER: header}, **arrays)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = b"0" * _DIGEST
    with buffer.getbuffer() as content:
        content[-_DIGEST:] = sha256(content[:-_DIGEST]).hexdigest().encode()
    return buffer.getvalue()


def write(place, content):
    """Write bytes to a file, which is replaced as a whole or stays as it was.

    Parameters
    ----------
    place : Path
        Where.
    content : bytes
        What.

    Raises
    ------
    OSError
        It cannot be written; nothing is left beside it.
    """
    beside = place.with_name(f"{_beside(place)}{secrets.token_hex(6)}")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)


def _beside(place):
    return f".{place.name}.part-"


def remove(place):
    """Remove a file, and what a process that was killed while it wrote left beside it."""
    place.unlink(missing_ok=True)
    for path in place.parent.iterdir():
        if path.name.startswith(_beside(place)):
            path.unlink(missing_ok=True)


def read(place):
    """Return the state of a file: trees, whose arrays are in their places.

    Parameters
    ----------
    place : Path
        The file.

    Raises
    ------
    ValueError
        It was not written by :func:`write` of :func:`encoded`, or was changed since.
    OSError
        It cannot be read.
    """
    if not stat.S_ISREG(os.stat(place).st_mode):  # reading a pipe would wait for ever
        raise ValueError("it is no file")
    with open(place, "rb") as file:
        head = file.read(4)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _DIGEST))
        digest = file.read()
        if head != b"PK\3\4" or len(digest) != _DIGEST or not digest.isalnum():
            raise ValueError("it is cut off or no checkpoint")  # however large, it is not read
        file.seek(0)
        content = file.read()
    if sha256(memoryview(content)[:-_DIGEST]).hexdigest().encode() != digest:
        raise ValueError("it is damaged or no checkpoint")
    try:
        with np.load(BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        return unpack(json.loads(arrays.pop(_HEADER).tobytes()), arrays)
    except Exception as error:
        # It has the digest that it should have: what else is wrong was made so, in whatever way.
        raise ValueError(f"its content cannot be read ({type(error).__name__}: {error})") from error
