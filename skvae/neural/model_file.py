"""The state of a model as plain arrays and JSON, and as one file that holds data and no code.

`pack` turns nested dicts, lists, tuples, tensors, arrays, numbers and strings into a tree that JSON
can write and a dict of NumPy arrays; `unpack` is its inverse. Pickle and skops then see nothing
but plain Python and arrays. `save` writes the two as a safetensors file, `load` reads it: nothing
in the file is ever run or looked up by name.

In a tree None, True, integers, strings, finite floats, lists and dicts with string keys are
themselves. Everything else is a dict of one key that begins with ``$``::

    {"$tuple": [...]}       {"$float": "nan"}       {"$dict": [[key, value], ...]}
    {"$array": name}        {"$scalar": name}       {"$tensor": [name, dtype]}
    {"$strings": [kind, shape, [...]]}            {"$slice": [start, stop, step]}

Besides tree and arrays a file holds a version and a digest of both. The digest finds damage; it is
no signature, for whoever changes a file on purpose can change the digest too.
"""

import errno
import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from skvae.storage import write

VERSION = 1  # of the file: raised when an older skvae could not read it
_KEY = "skvae"  # of the one entry of safetensors' metadata: two would come in any order
_RESERVED = "__metadata__"  # safetensors' own name
_SAVE_AGAIN = "the file was cut off, damaged or changed by hand: save the model again"
# What a file can hold, and what every version of safetensors calls it.
_ARRAYS = {
    np.dtype("bool"): "BOOL",
    **{np.dtype(f"i{n}"): f"I{8 * n}" for n in (1, 2, 4, 8)},
    **{np.dtype(f"u{n}"): f"U{8 * n}" for n in (1, 2, 4, 8)},
    **{np.dtype(f"f{n}"): f"F{8 * n}" for n in (2, 4, 8)},
}
# Those of torch, as an array. Where NumPy has no such type, the bits as integers.
_BITS = {torch.bfloat16: torch.int16}
_TENSORS = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}


# Objects and trees --------------------------------------------------------------------------------


def pack(state):
    """Return the same state as a tree that JSON can write, and a dict of NumPy arrays.

    Parameters
    ----------
    state : dict, list, tuple, tensor, ndarray, number, str, bool or None
        Nested at will. Keys of dicts are strings, numbers, None, or tuples of such. Arrays hold
        booleans, integers, floats or strings. Subclasses (``OrderedDict``, named tuples,
        ``nn.Parameter``) come back as the plain type, a tensor on the CPU and without its graph.
        What is one object in two places comes back as two.

    Returns
    -------
    tree : object
        Plain Python; NaN and infinities are in it as strings.
    arrays : dict of str to ndarray
        C-ordered copies, in the byte order of the machine.

    Raises
    ------
    TypeError
        If something in `state` is of another type; the message says where.
    ValueError
        If it holds itself, or is nested too deeply.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.model_file import pack, unpack
    >>> tree, arrays = pack({"mean": np.zeros(2), "best": (1, float("-inf"))})
    >>> tree
    {'mean': {'$array': 'mean'}, 'best': {'$tuple': [1, {'$float': '-inf'}]}}
    >>> unpack(tree, arrays)
    {'mean': array([0., 0.]), 'best': (1, -inf)}
    """
    arrays = {}
    try:
        return _packed(state, (), arrays), arrays
    except RecursionError:
        raise ValueError("the state holds itself, or is nested too deeply, to be stored") from None


def unpack(tree, arrays):
    """Return the state that `pack` made into a tree and arrays.

    Parameters
    ----------
    tree : object
        As from `pack`.
    arrays : mapping from str to ndarray
        As from `pack`: the tree names every one.

    Returns
    -------
    state : object
        Its arrays and tensors are copies.

    Raises
    ------
    ValueError
        If the tree is none of `pack`'s, or names other arrays than there are.

    Examples
    --------
    >>> from skvae.neural.model_file import pack, unpack
    >>> unpack(*pack([None, (True, "a"), {3: 0.5}]))
    [None, (True, 'a'), {3: 0.5}]
    """
    used = set()
    try:
        state = _unpacked(tree, arrays, used)
    except RecursionError:
        raise ValueError("the stored state is nested too deeply") from None
    unused = sorted(set(arrays) - used)
    if unused:
        raise ValueError(f"the stored state does not name its array {unused[0]!r}")
    return state


def _packed(value, path, arrays):
    """Return the tree of one value; its arrays join `arrays`, named after where they are."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):  # np.str_ too
        return str.__str__(value)
    if isinstance(value, np.generic):
        return {"$scalar": _keep(np.asarray(value), path, arrays)}
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        number = float.__float__(value)
        return number if math.isfinite(number) else {"$float": repr(number)}
    if isinstance(value, torch.Tensor):
        return {"$tensor": [_keep(_bits(value, path), path, arrays), _torch_name(value)]}
    if isinstance(value, np.ndarray):
        return _packed_array(value, path, arrays)
    if isinstance(value, list | tuple):
        items = [_packed(item, (*path, i), arrays) for i, item in enumerate(value)]
        return items if isinstance(value, list) else {"$tuple": items}
    if isinstance(value, dict):
        return _packed_dict(value, path, arrays)
    if isinstance(value, slice):
        parts = (value.start, value.stop, value.step)
        return {"$slice": [_packed(part, (*path, "(slice)"), arrays) for part in parts]}
    raise TypeError(
        f"{_where(path)} is of type {type(value).__qualname__}: to be stored it must be a dict, "
        "list, tuple, slice, tensor, array, number, string, bool or None"
    )


def _packed_dict(value, path, arrays):
    pairs = {key: _packed(item, (*path, key), arrays) for key, item in value.items()}
    if all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {str.__str__(key): item for key, item in pairs.items()}
    return {"$dict": [[_packed_key(key, path), item] for key, item in pairs.items()]}


def _packed_key(key, path):
    arrays = {}
    tree = _packed(key, (*path, "(key)"), arrays)
    if arrays:
        raise TypeError(
            f"{_where(path)} has the key {key!r}: to be stored, keys must be strings, Python's "
            "numbers, None, or tuples of such"
        )
    return tree


def _packed_array(value, path, arrays):
    kind = {"U": "str", "O": "object"}.get(value.dtype.kind)
    if kind is None:
        return {"$array": _keep(value, path, arrays)}
    texts = value.ravel().tolist()
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"{_where(path)} is an array of objects: to be stored all must be strings")
    return {"$strings": [kind, list(value.shape), [str.__str__(text) for text in texts]]}


def _keep(array, path, arrays):
    """Add a copy of an array to `arrays` and return its name there."""
    native = array.dtype.newbyteorder("=")
    if native not in _ARRAYS:
        raise TypeError(
            f"{_where(path)} has dtype {array.dtype}: to be stored it must be boolean, integer, "
            "float or of strings"
        )
    # Names are for the reader of a file, the tree goes by them: any that differ will do.
    name = ".".join(map(str, path)).encode("ascii", "backslashreplace").decode() or "value"
    while name in arrays or name == _RESERVED:
        name += "~"
    arrays[name] = np.array(array, dtype=native, order="C", subok=False)
    return name


def _torch_name(tensor):
    return str(tensor.dtype).removeprefix("torch.")


def _bits(tensor, path):
    """Return a tensor as an array of the same bits."""
    if _torch_name(tensor) not in _TENSORS or tensor.layout is not torch.strided:
        raise TypeError(
            f"{_where(path)} is a {tensor.layout} tensor of {tensor.dtype}: to be stored it must "
            f"be dense, of one of {', '.join(_TENSORS)}"
        )
    return tensor.detach().cpu().view(_BITS.get(tensor.dtype, tensor.dtype)).numpy()


def _where(path):
    return "state" + "".join(f"[{part!r}]" for part in path)


# Trees and objects --------------------------------------------------------------------------------


def _unpacked(tree, arrays, used):
    if tree is None or isinstance(tree, bool | int | float | str):
        return tree
    if isinstance(tree, list):
        return [_unpacked(item, arrays, used) for item in tree]
    if not isinstance(tree, dict):
        raise ValueError(f"the stored state holds a {type(tree).__name__}, which is never stored")
    tag = next((key for key in tree if str(key).startswith("$")), None)
    if tag is None:
        return {key: _unpacked(item, arrays, used) for key, item in tree.items()}
    if len(tree) != 1 or tag not in _READERS:
        raise ValueError(f"the stored state holds {tag!r}, which this version does not know")
    try:
        return _READERS[tag](tree[tag], arrays, used)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"the stored state holds a {tag!r} that cannot be read: {error}") from None


def _read_tuple(tree, arrays, used):
    return tuple(_unpacked(_list(tree), arrays, used))


def _read_slice(tree, arrays, used):
    start, stop, step = (_unpacked(part, arrays, used) for part in _list(tree))
    return slice(start, stop, step)


def _read_dict(tree, arrays, used):
    return {_unpacked(key, {}, set()): _unpacked(item, arrays, used) for key, item in _list(tree)}


def _read_float(tree, _arrays, _used):
    if tree not in ("nan", "inf", "-inf"):
        raise ValueError(f"{tree!r} is no such number")
    return float(tree)


def _read_array(name, arrays, used):
    if not isinstance(name, str) or name not in arrays:
        raise ValueError(f"there is no array {name!r}")
    array = np.asarray(arrays[name])
    if array.dtype not in _ARRAYS:
        raise ValueError(f"array {name!r} has dtype {array.dtype}")
    used.add(name)
    return np.array(array, order="C")


def _read_scalar(name, arrays, used):
    array = _read_array(name, arrays, used)
    if array.ndim:
        raise ValueError(f"array {name!r} has shape {array.shape} and is no scalar")
    return array[()]


def _read_tensor(tree, arrays, used):
    name, dtype = _list(tree)
    dtype = _TENSORS[dtype]
    bits = torch.from_numpy(_read_array(name, arrays, used))
    if bits.dtype != _BITS.get(dtype, dtype):
        raise ValueError(f"array {name!r} of {bits.dtype} is no tensor of {dtype}")
    return bits.view(dtype)


def _read_strings(tree, _arrays, _used):
    kind, shape, texts = _list(tree)
    if not all(isinstance(text, str) for text in _list(texts)):
        raise ValueError("not all are strings")
    dtype = {"str": np.str_, "object": object}[kind]
    return np.array(texts, dtype=dtype).reshape([int(n) for n in _list(shape)])


def _list(tree):
    if not isinstance(tree, list):
        raise ValueError(f"{tree!r} is no list")
    return tree


_READERS = {
    "$tuple": _read_tuple,
    "$slice": _read_slice,
    "$dict": _read_dict,
    "$float": _read_float,
    "$array": _read_array,
    "$scalar": _read_scalar,
    "$tensor": _read_tensor,
    "$strings": _read_strings,
}


# Files --------------------------------------------------------------------------------------------


def save(path, tree, arrays):
    """Write a tree and arrays as one safetensors file, wholly or not at all.

    The file is written beside its place and then moved there: a crash or a full disk leaves what
    was at `path` before. The same tree and arrays give the same bytes.

    Parameters
    ----------
    path : str or Path
        Where; a file that is there is replaced. The folder must exist.
    tree : object
        As from `pack`.
    arrays : dict of str to ndarray
        As from `pack`.

    Raises
    ------
    OSError
        If the folder does not exist (FileNotFoundError), `path` is a folder (IsADirectoryError)
        or cannot be written.
    ValueError
        If strict JSON cannot write the tree, or a file cannot hold an array.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skvae.neural.model_file import load, pack, save, unpack
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "state.safetensors", *pack({"a": 1.0}))
    ...     unpack(*load(Path(folder) / "state.safetensors"))
    {'a': 1.0}
    """
    for name, array in arrays.items():
        if array.dtype not in _ARRAYS or not array.flags.c_contiguous or name == _RESERVED:
            raise ValueError(
                f"array {name!r} with dtype {array.dtype}: must be as from pack, C-ordered"
            )
    try:
        text = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"the tree must be as from pack: {error}") from error
    header = {"version": VERSION, "digest": _digest(text, arrays), "tree": text}
    _write(Path(path), safetensors_bytes(dict(arrays), {_KEY: json.dumps(header)}))


def load(path):
    """Return the tree and the arrays of a file that `save` wrote.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    tree : object
        For `unpack`.
    arrays : dict of str to ndarray
        For `unpack`.

    Raises
    ------
    ValueError
        If the file is not safetensors, is cut off or damaged, was not written by `save`, or by
        that of a later version.
    OSError
        If there is no such file (FileNotFoundError), or it is a folder (IsADirectoryError).

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skvae.neural.model_file import load, pack, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "state.safetensors", *pack({"a": (1, 2)}))
    ...     tree, arrays = load(Path(folder) / "state.safetensors")
    >>> tree, arrays
    ({'a': {'$tuple': [1, 2]}}, {})
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not path.stat().st_size:  # raises where there is none, as Python words it
        raise ValueError(f"{path} is empty: {_SAVE_AGAIN}")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            header = _header(path, (file.metadata() or {}).get(_KEY))
            arrays = {name: _array(path, file, name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file, or not a whole one ({error}): if skvae saved it, "
            f"{_SAVE_AGAIN}"
        ) from error
    if header["digest"] != _digest(header["tree"], arrays):
        raise ValueError(f"{path} does not agree with its digest: {_SAVE_AGAIN}")
    try:
        return json.loads(header["tree"], parse_constant=_refuse), arrays
    except (RecursionError, ValueError) as error:
        raise ValueError(f"{path} holds a state that is no JSON ({error}): {_SAVE_AGAIN}") from None


def _header(path, text):
    """Return the checked entry of skvae in the metadata of a file."""
    if text is None:
        raise ValueError(f"{path} is a safetensors file, but none that skvae saved")
    try:
        header = json.loads(text, parse_constant=_refuse)
        version, digest, tree = (header[key] for key in ("version", "digest", "tree"))
    except (KeyError, RecursionError, TypeError, ValueError):
        raise ValueError(f"{path} has a header that cannot be read: {_SAVE_AGAIN}") from None
    if isinstance(version, int) and version > VERSION:
        raise ValueError(
            f"{path} was saved in format {version}, by a later skvae: this one reads format "
            f"{VERSION}; upgrade skvae to load it"
        )
    if version != VERSION or not isinstance(digest, str) or not isinstance(tree, str):
        raise ValueError(f"{path} has a header that cannot be read: {_SAVE_AGAIN}")
    return header


def _array(path, file, name):
    kind = file.get_slice(name).get_dtype()
    if kind not in _ARRAYS.values():
        raise ValueError(f"{path} holds an array {name!r} of {kind}: {_SAVE_AGAIN}")
    return file.get_tensor(name)


def _refuse(constant):
    raise ValueError(f"{constant} is no JSON")


def _digest(text, arrays):
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"\0{name}\0{array.dtype.name}\0{array.shape}\0".encode())
        digest.update(array.reshape(-1).view(np.uint8))
    return digest.hexdigest()


def _write(path, content):
    """Write a file beside its place and move it there."""
    place = path.resolve()  # a link stays one
    if place.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not place.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to save in", str(place.parent))
    write(place, content)
