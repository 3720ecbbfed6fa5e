"""The state of a model with tensors as arrays, and as one safetensors file without code.

`pack_tensors` and `unpack_tensors` are :func:`skvae.storage.pack` and ``unpack`` for states with
tensors, which a tree holds as ``{"$tensor": [name, dtype]}``. Pickle and skops then find only plain
Python and arrays. `save` writes tree and arrays as a safetensors file, `load` reads it: nothing in
the file is ever run or looked up by name.

Besides tree and arrays a file holds a version and a digest of both. The digest detects damage; it
is no signature, since anyone can change a file together with its digest.
"""

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as safetensors_bytes

from skvae import storage

VERSION = 1  # of the file: raised when an older skvae could not read it
_KEY = "skvae"  # of the one entry of safetensors' metadata: the order of two would vary
_SAVE_AGAIN = "the file was cut off, damaged or changed by hand: save the model again"
# The dtypes of a file, by their names in every version of safetensors.
_ARRAYS = {
    np.dtype("bool"): "BOOL",
    **{np.dtype(f"i{n}"): f"I{8 * n}" for n in (1, 2, 4, 8)},
    **{np.dtype(f"u{n}"): f"U{8 * n}" for n in (1, 2, 4, 8)},
    **{np.dtype(f"f{n}"): f"F{8 * n}" for n in (2, 4, 8)},
}
# Dtypes of torch that NumPy lacks are stored as integers of the same bits.
_BITS = {torch.bfloat16: torch.int16}
_TENSORS = {
    str(dtype).removeprefix("torch."): dtype
    for dtype in (
        *(torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64),
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64),
    )
}


# Tensors ------------------------------------------------------------------------------------------


def pack_tensors(state):
    """Return a state as a tree that JSON can write, and a dict of NumPy arrays.

    Parameters
    ----------
    state : object
        Tensors, and anything that :func:`skvae.storage.pack` takes, nested at will.

    Returns
    -------
    tree : object
        As from :func:`skvae.storage.pack`.
    arrays : dict of str to ndarray
        C-ordered copies, in the byte order of the machine.

    Raises
    ------
    TypeError
        A value is of another type; the message names its place.
    ValueError
        The state contains itself, or is nested too deeply.

    Examples
    --------
    >>> import torch
    >>> from skvae.neural.model_file import pack_tensors, unpack_tensors
    >>> tree, arrays = pack_tensors({"mean": torch.zeros(2)})
    >>> tree
    {'mean': {'$tensor': ['0.mean', 'float32']}}
    >>> unpack_tensors(tree, arrays)
    {'mean': tensor([0., 0.])}
    """
    tree, arrays = storage.pack(state, _CODEC)
    return tree, {name: _native_copy(array) for name, array in arrays.items()}


def unpack_tensors(tree, arrays):
    """Return the state of a tree and its arrays, which are copied.

    Parameters
    ----------
    tree : object
        From `pack_tensors`.
    arrays : mapping from str to ndarray
        From `pack_tensors`: the tree names every one.

    Returns
    -------
    state : object
        Its tensors are on the CPU.

    Raises
    ------
    ValueError
        The tree is not from `pack_tensors`, or does not name each of the arrays.
    """
    copies = {name: np.array(array, order="C") for name, array in arrays.items()}
    return storage.unpack(tree, copies, _CODEC)


def _native_copy(array):
    return np.array(array, dtype=array.dtype.newbyteorder("="), order="C", subok=False)


def _encoded(tensor):
    """Return a tensor as (array of its bits, name of its dtype), other values as None."""
    if not isinstance(tensor, torch.Tensor):
        return None
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in _TENSORS or tensor.layout is not torch.strided:
        raise TypeError(
            f"is a {tensor.layout} tensor of {tensor.dtype}: to be stored it must be dense, of one "
            f"of {', '.join(_TENSORS)}"
        )
    return tensor.detach().cpu().view(_BITS.get(tensor.dtype, tensor.dtype)).numpy(), name


def _decoded(array, name):
    dtype = _TENSORS[name]
    bits = torch.from_numpy(array)
    if bits.dtype != _BITS.get(dtype, dtype):
        raise ValueError(f"an array of {bits.dtype} is no tensor of {dtype}")
    return bits.view(dtype)


_CODEC = storage.Codec("$tensor", _encoded, _decoded)


# Files --------------------------------------------------------------------------------------------


def save(path, tree, arrays):
    """Write a tree and arrays as one safetensors file, as a whole or not at all.

    The file is written beside its place and then moved there: after a crash or a full disk the
    earlier file is still at `path`. The same tree and arrays give the same bytes.

    Parameters
    ----------
    path : str or Path
        Where; a file that is there is replaced. The folder must exist.
    tree : object
        As from `pack_tensors`.
    arrays : dict of str to ndarray
        As from `pack_tensors`.

    Raises
    ------
    OSError
        If the folder does not exist (FileNotFoundError), `path` is a folder (IsADirectoryError), a
        pipe, a socket, a device or a loop of links, or cannot be written.
    ValueError
        If strict JSON cannot write the tree, or a file cannot hold an array.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from skvae.neural.model_file import load, pack_tensors, save, unpack_tensors
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "state.safetensors", *pack_tensors({"a": 1.0}))
    ...     unpack_tensors(*load(Path(folder) / "state.safetensors"))
    {'a': 1.0}
    """
    for name, array in arrays.items():
        if array.dtype not in _ARRAYS or not array.flags.c_contiguous:
            raise ValueError(
                f"array {name!r} with dtype {array.dtype}: must be as from pack_tensors, C-ordered"
            )
    try:
        text = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    except (RecursionError, TypeError, ValueError) as error:
        raise ValueError(f"the tree must be as from pack_tensors: {error}") from error
    header = {"version": VERSION, "digest": _digest(text, arrays), "tree": text}
    place = storage.target(path)  # a link stays one
    if not place.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder to save in", str(place.parent))
    storage.write(place, safetensors_bytes(dict(arrays), {_KEY: json.dumps(header)}))


def load(path):
    """Return the tree and the arrays of a file that `save` wrote.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    tree : object
        For `unpack_tensors`.
    arrays : dict of str to ndarray
        For `unpack_tensors`.

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
    >>> from skvae.neural.model_file import load, pack_tensors, save
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(Path(folder) / "state.safetensors", *pack_tensors({"a": (1, 2)}))
    ...     tree, arrays = load(Path(folder) / "state.safetensors")
    >>> tree, arrays
    ({'a': {'$tuple': [1, 2]}}, {})
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    size = path.stat().st_size  # raises where there is none, as Python words it
    if not path.is_file():  # reading a pipe would never end
        raise ValueError(f"{path} is no regular file")
    if not size:
        raise ValueError(f"{path} is empty: {_SAVE_AGAIN}")
    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            header = _header(path, (file.metadata() or {}).get(_KEY))
            arrays = {name: _array(path, file, name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no safetensors file, or not a whole one ({error}): if skvae saved it, "
            f"{_SAVE_AGAIN}; load a trusted file of joblib, pickle or skops by that library"
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
