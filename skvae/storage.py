"""The state of a computation as arrays and JSON, and as a file: written whole or not at all.

`pack` turns nested values into a tree that JSON can write and a dict of NumPy arrays; `unpack` is
its inverse. In a tree None, booleans, integers, strings, finite floats, lists and dicts with string
keys are themselves. Every other value is a dict of one key that begins with ``$``::

    {"$tuple": [...]}       {"$float": "nan"}       {"$dict": [[key, value], ...]}
    {"$array": name}        {"$array": [name, shape, order of axes]}
    {"$scalar": [dtype, value]}      {"$slice": [start, stop, step]}
    {"$strings": [kind, shape, [...]]}

A file is an ``.npz`` archive that NumPy opens without pickle. Its ``header`` is the tree; the
comment at its end is the SHA-256 of all bytes before it, so that a file that was cut off or damaged
is recognised before its content is read. The digest is no signature: anyone can write a file with
any content and the digest of that content. So the content is checked, and no array in a file is
larger than the file. Nothing in a file is executed.
"""

import errno
import json
import math
import os
import re
import secrets
import stat
import zipfile
from dataclasses import fields, is_dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np

_DIGEST = 64  # hexadecimal digits
_HEADER = "header"
_LONGEST = 200  # bytes of a name to which more can be added: file systems allow 255
_KINDS, _ITEMSIZE = "biuf", 8  # of the arrays that are kept: booleans, integers, floats


# Values and trees ---------------------------------------------------------------------------------


class Codec(NamedTuple):
    """Stores values of a further type, each as an array and a word.

    Parameters
    ----------
    tag : str
        The key of their trees, ``{tag: [name of the array, word]}``; it begins with ``$``.
    encode : callable
        ``value → (array, word)``, or None if the value is of another type. Its TypeErrors continue
        a sentence that begins with the place of the value.
    decode : callable
        ``(array, word) → value``.
    """

    tag: str
    encode: object
    decode: object


def pack(state, codec=None):
    """Return a state as a tree that JSON can write, and its arrays.

    Parameters
    ----------
    state : object
        Numbers, strings, None, slices, arrays of numbers or of strings, and tuples, lists, dicts
        and dataclasses of such, nested at will. Keys of dicts are strings, numbers, None, or tuples
        of such.
    codec : Codec, default=None
        The codec of values of a further type.

    Returns
    -------
    tree : object
        Subclasses are stored as the plain type: a NamedTuple as a tuple. A dataclass is the list of
        its fields: :func:`rebuilt` restores it.
    arrays : dict of str to ndarray
        C-ordered, an axis of equal copies stored with length one, named after their place in the
        state; an array that occurs twice is stored once.

    Raises
    ------
    TypeError
        A value is of another type; the message names its place.
    ValueError
        The state contains itself, or is nested too deeply.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.storage import pack
    >>> pack({"n": 1, "mean": np.zeros(2), "best": (float("-inf"),)})
    ({'n': 1, 'mean': {'$array': '0.mean'}, 'best': {'$tuple': [{'$float': '-inf'}]}},
     {'0.mean': array([0., 0.])})
    """
    packer = _Packer(codec)
    try:
        return packer.tree(state, ()), packer.arrays
    except RecursionError:
        raise ValueError(
            "the state contains itself, or is nested too deeply, to be stored"
        ) from None


class _Packer:
    """Makes trees of values, and keeps their arrays."""

    def __init__(self, codec):
        self.arrays, self._known, self._codec = {}, {}, codec

    def tree(self, value, place):
        """Return the tree of a value at a place, a tuple of keys."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):  # np.str_ too
            return str.__str__(value)
        if isinstance(value, np.generic):
            _check_dtype(value.dtype, place)
            return {"$scalar": [value.dtype.name, self.tree(value.item(), place)]}
        if isinstance(value, int):
            return int.__int__(value)
        if isinstance(value, float):
            number = float.__float__(value)
            return number if math.isfinite(number) else {"$float": repr(number)}
        if isinstance(value, np.ndarray):
            return self._array(value, place)
        if isinstance(value, list | tuple):
            items = [self.tree(item, (*place, i)) for i, item in enumerate(value)]
            return items if isinstance(value, list) else {"$tuple": items}
        if isinstance(value, dict):
            return self._dict(value, place)
        if isinstance(value, slice):
            parts = (value.start, value.stop, value.step)
            return {"$slice": [self.tree(part, (*place, "(slice)")) for part in parts]}
        if is_dataclass(value) and not isinstance(value, type):
            names = [field.name for field in fields(value)]
            return [self.tree(getattr(value, name), (*place, name)) for name in names]
        return self._other(value, place)

    def _dict(self, value, place):
        pairs = {key: self.tree(item, (*place, key)) for key, item in value.items()}
        if all(isinstance(key, str) and not key.startswith("$") for key in value):
            return {str.__str__(key): item for key, item in pairs.items()}
        keys = _Packer(self._codec)
        trees = [[keys.tree(key, (*place, "(key)")), item] for key, item in pairs.items()]
        if keys.arrays:
            raise TypeError(
                f"{_where(place)} has a key with an array: to be stored, keys must be strings, "
                "numbers, None, or tuples of such"
            )
        return {"$dict": trees}

    def _array(self, value, place):
        kind = {"U": "str", "O": "object"}.get(value.dtype.kind)
        if kind is not None:
            texts = value.ravel().tolist()
            if not all(isinstance(text, str) for text in texts):
                raise TypeError(
                    f"{_where(place)} is an array of objects: to be stored all must be strings"
                )
            return {"$strings": [kind, list(value.shape), [str.__str__(text) for text in texts]]}
        _check_dtype(value.dtype, place)
        if id(value) not in self._known:  # an array that is shared stays shared
            once, order = _in_memory_order(value)
            tree = name = self._keep(once, place)
            if once.shape != value.shape or order != sorted(order):
                tree = [name, list(value.shape), order]
            self._known[id(value)] = {"$array": tree}
        return self._known[id(value)]

    def _other(self, value, place):
        try:
            parts = None if self._codec is None else self._codec.encode(value)
        except TypeError as error:
            raise TypeError(f"{_where(place)} {error}") from None
        if parts is None:
            raise TypeError(
                f"{_where(place)} is of type {type(value).__qualname__}: to be stored it must be a "
                "dict, list, tuple, slice, array, number, string, bool or None"
            )
        array, word = parts
        return {self._codec.tag: [self._keep(array, place), word]}

    def _keep(self, array, place):
        """Keep an array, and return its name: its number, and its place for readers of a file."""
        words = re.sub(r"[^\w.-]", "_", ".".join(map(str, place)), flags=re.ASCII)
        name = f"{len(self.arrays)}.{words}"
        self.arrays[name] = array
        return name


def _where(place):
    return "state" + "".join(f"[{part!r}]" for part in place)


def _check_dtype(dtype, place):
    if dtype.kind not in _KINDS or dtype.itemsize > _ITEMSIZE:
        raise TypeError(
            f"{_where(place)} has dtype {dtype}: to be stored it must be boolean, integer, float "
            "or of strings"
        )


def _in_memory_order(array):
    """Return an array without equal copies, its axes in the order of memory, and that order.

    The layout is kept because the rounding of sums of products depends on it.
    """
    repeated = [stride == 0 and n > 1 for stride, n in zip(array.strides, array.shape, strict=True)]
    once = array[tuple(slice(0, 1) if again else slice(None) for again in repeated)]
    order = sorted(range(array.ndim), key=lambda axis: -abs(once.strides[axis]))
    ordered = once.transpose(order)
    # ascontiguousarray adds an axis to an array without axes, and reshape removes it again.
    return np.ascontiguousarray(ordered).reshape(ordered.shape), order


def unpack(tree, arrays, codec=None):
    """Return the state of a tree and its arrays, with the layout in memory that they had.

    Parameters
    ----------
    tree : object
        From :func:`pack`, before or after JSON.
    arrays : mapping of str to ndarray
        From :func:`pack`: the tree names every one. They are not copied.
    codec : Codec, default=None
        The codec of values of a further type.

    Raises
    ------
    ValueError
        The tree is not from :func:`pack`, or does not name each of the arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.storage import pack, unpack
    >>> unpack(*pack((1, np.zeros((2, 3), order="F"))))[1].flags.f_contiguous
    True
    """
    unpacker = _Unpacker(arrays, codec)
    try:
        state = unpacker.value(tree)
    except RecursionError:
        raise ValueError("the stored state is nested too deeply") from None
    unused = sorted(set(arrays) - unpacker.used)
    if unused:
        raise ValueError(f"the stored state does not name its array {unused[0]!r}")
    return state


class _Unpacker:
    """Makes values of trees."""

    def __init__(self, arrays, codec):
        self.used, self._arrays, self._codec, self._made = set(), arrays, codec, {}

    def value(self, tree):
        """Return the value of a tree."""
        if tree is None or isinstance(tree, bool | int | float | str):
            return tree
        if isinstance(tree, list):
            return [self.value(item) for item in tree]
        if not isinstance(tree, dict):
            raise ValueError(
                f"the stored state holds a {type(tree).__name__}: must be None, a bool, number, "
                "string, list or dict"
            )
        tag = next((key for key in tree if str(key).startswith("$")), None)
        if tag is None:
            return {key: self.value(item) for key, item in tree.items()}
        coded = self._codec is not None and tag == self._codec.tag
        if len(tree) != 1 or not (coded or tag in self._READERS):
            raise ValueError(f"the stored state holds {tag!r}, which this version cannot read")
        read = _Unpacker._coded if coded else self._READERS[tag]
        try:
            return read(self, tree[tag])
        except (KeyError, TypeError, ValueError) as error:
            message = f"the stored state holds a {tag!r} that cannot be read: {error}"
            raise ValueError(message) from None

    def _tuple(self, tree):
        return tuple(self.value(_list(tree)))

    def _slice(self, tree):
        return slice(*self._tuple(tree))

    def _dict(self, tree):
        keys = _Unpacker({}, self._codec)
        return {keys.value(key): self.value(item) for key, item in _list(tree)}

    def _float(self, tree):
        if tree not in ("nan", "inf", "-inf"):
            raise ValueError(f"{tree!r} must be 'nan', 'inf' or '-inf'")
        return float(tree)

    def _array(self, tree):
        if not isinstance(tree, list):
            return self._kept(tree)
        name, shape, order = tree
        if name not in self._made:
            once = self._kept(name).transpose(np.argsort(np.asarray(order, dtype=int)))
            self._made[name] = once if once.shape == tuple(shape) else np.broadcast_to(once, shape)
        return self._made[name]

    def _kept(self, name):
        if not isinstance(name, str) or name not in self._arrays:
            raise ValueError(f"there is no array {name!r}")
        array = np.asarray(self._arrays[name])
        if array.dtype.kind not in _KINDS or array.dtype.itemsize > _ITEMSIZE:
            raise ValueError(f"array {name!r} has dtype {array.dtype}")
        self.used.add(name)
        return array

    def _scalar(self, tree):
        if isinstance(tree, list):
            name, value = tree
            dtype = np.dtype(name)
            if dtype.kind not in _KINDS or not isinstance(value, dict | bool | int | float):
                raise ValueError(f"{tree!r} is no number")
            return dtype.type(self.value(value))
        array = self._kept(tree)  # earlier versions stored a scalar as an array without axes
        if array.ndim:
            raise ValueError(f"array {tree!r} has shape {array.shape} and is no scalar")
        return array[()]

    def _strings(self, tree):
        kind, shape, texts = _list(tree)
        if not all(isinstance(text, str) for text in _list(texts)):
            raise ValueError("not all are strings")
        dtype = {"str": np.str_, "object": object}[kind]
        return np.array(texts, dtype=dtype).reshape([int(n) for n in _list(shape)])

    def _coded(self, tree):
        name, word = _list(tree)
        return self._codec.decode(self._kept(name), word)

    _READERS = {
        "$tuple": _tuple,
        "$slice": _slice,
        "$dict": _dict,
        "$float": _float,
        "$array": _array,
        "$scalar": _scalar,
        "$strings": _strings,
    }


def _list(tree):
    if not isinstance(tree, list):
        raise ValueError(f"{tree!r} is no list")
    return tree


def rebuilt(like, tree, *, resized=False):
    """Return the values of a state as an object of the same type as another.

    Parameters
    ----------
    like : object
        Numbers, strings, arrays, tuples, NamedTuples and dataclasses. The result has its types, its
        strings, and the dtypes and shapes of its arrays; numbers and entries of arrays come from
        the state.
    tree : object
        From :func:`unpack`. It has a tuple or a list where `like` has a tuple or a dataclass.
    resized : bool
        Whether the first axes of arrays may have other lengths than in `like`.

    Raises
    ------
    ValueError
        The state is not the state of such an object, or has arrays that are not finite.

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
            raise ValueError(f"expected an array of {like.dtype} with shape {like.shape}")
        if not np.isfinite(tree).all():
            raise ValueError("expected an array of finite numbers, found NaN or infinity")
        return tree
    if isinstance(like, np.generic):
        return like.dtype.type(rebuilt(like.item(), tree))
    if is_dataclass(like):
        parts = [getattr(like, field.name) for field in fields(like)]
        return type(like)(*rebuilt(tuple(parts), tree, resized=resized))
    if isinstance(like, tuple):
        if not isinstance(tree, list | tuple) or len(tree) != len(like):
            raise ValueError(f"expected {len(like)} values of a {type(like).__name__}")
        pairs = zip(like, tree, strict=True)
        parts = [rebuilt(part, item, resized=resized) for part, item in pairs]
        return tuple(parts) if type(like) is tuple else type(like)(*parts)  # a NamedTuple
    if isinstance(tree, np.generic):
        tree = tree.item()
    same = isinstance(like, int | float) or tree == like
    if type(tree) is not type(like) or not same or tree != tree:
        raise ValueError(f"expected a value like {like!r}, found {tree!r}")
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
        The file.
    content : bytes
        Its new content.

    Raises
    ------
    OSError
        There is something else than a regular file, such as a pipe or a device, which stays; or
        the file cannot be written. Nothing is left beside it.
    """
    _check_regular(place)
    beside = place.with_name(f"{_beside(place)}{secrets.token_hex(6)}")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, place)
    finally:
        beside.unlink(missing_ok=True)


def target(path):
    """Return the path of the file that a path names, also of one to be made: links are followed.

    Parameters
    ----------
    path : str or Path
        The path, as the user gave it.

    Raises
    ------
    OSError
        The links form a loop, or `path` is a folder, a pipe or a device.
    """
    _check_regular(path)
    return Path(path).resolve()


def _check_regular(path):
    """Raise OSError if there is a path, and it is no regular file."""
    try:
        mode = os.stat(path).st_mode  # it raises OSError for a loop of links
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        reason = "it is a pipe, a socket or a device and would be replaced: choose another path"
        raise OSError(errno.EINVAL, reason, str(path))


def _beside(place):
    """Return the beginning of the names of the parts, which have twelve more characters."""
    name = os.fsencode(place.name)
    text = place.name if len(name) <= _LONGEST else sha256(name).hexdigest()
    return f".{text}.part-"


def remove(place):
    """Remove a file, and the parts beside it of processes that were killed while they wrote."""
    _check_regular(place)
    place.unlink(missing_ok=True)
    for path in place.parent.iterdir():
        if path.name.startswith(_beside(place)):
            path.unlink(missing_ok=True)


def read(place):
    """Return the state in a file.

    Parameters
    ----------
    place : Path
        The file.

    Raises
    ------
    ValueError
        The file was not written by :func:`write` of :func:`encoded`, or was damaged since; or it
        holds an array that is larger than the file.
    OSError
        The file cannot be read.
    """
    if not stat.S_ISREG(os.stat(place).st_mode):  # reading a pipe would never end
        raise ValueError("it is no regular file")
    with open(place, "rb") as file:
        head = file.read(4)
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _DIGEST))
        digest = file.read()
        if head != b"PK\3\4" or len(digest) != _DIGEST or not digest.isalnum():
            raise ValueError("it is cut off or no checkpoint")  # before a large file is read
        file.seek(0)
        content = file.read()
    if sha256(memoryview(content)[:-_DIGEST]).hexdigest().encode() != digest:
        raise ValueError("it is damaged or no checkpoint")
    try:
        arrays = _members(content)
        return unpack(json.loads(arrays.pop(_HEADER).tobytes()), arrays)
    except Exception as error:
        # The digest is right, so the file was written with this content, which may be anything.
        raise ValueError(f"its content cannot be read ({type(error).__name__}: {error})") from error


def _members(content):
    """Return the arrays of an archive whose members are stored as they are."""
    with zipfile.ZipFile(BytesIO(content)) as archive:
        members = archive.infolist()
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("it has compressed members")
        if sum(member.file_size for member in members) > len(content):
            raise ValueError("its members are larger than the file")
    with np.load(BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}
