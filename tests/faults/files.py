"""Files of models that someone has changed: every leaf of them, by anything a file can hold."""

import copy
import sys
from contextlib import contextmanager

import numpy as np

from skvae import VariationalAutoencoder
from skvae.neural import model_file as storage

# What a file can hold in place of what it should.
LEAVES = (
    *(None, True, False, 0, 1, -1, 3, 2**31, 2**63, -(2**70), 10**400, 0.5, -1e308, 1e-320),
    *("", "x", "cuda", "os.system", "gaussian", "mixture", "__class__", "\x00", [], {}, [[]]),
    *([1, 2], ["a"], [10**9, 10**9], {"a": 1}, {"$tuple": []}, {"$tuple": [2**40]}),
    *({"$float": "nan"}, {"$float": "inf"}, {"$slice": [0, None, None]}, {"$dict": [[1, 2]]}),
    *({"$array": "nothing"}, {"$nonsense": 1}, {"$strings": ["object", [1], ["a"]]}),
    {"$strings": ["str", [10**12], []]},
)
# What an array can be instead.
ARRAYS = (
    lambda a: np.full_like(a, np.nan) if a.dtype.kind == "f" else ~a,
    lambda a: np.full_like(a, np.inf) if a.dtype.kind == "f" else a * 0,
    lambda a: a * 0,
    lambda a: a.astype(np.int8),
    lambda a: a.astype(np.float16),
    lambda a: a.astype(bool),
    lambda a: a[..., :0] if a.ndim else a.reshape(1),
    lambda a: a.reshape(-1),
    lambda a: a[None],
    lambda a: np.concatenate([a, a]) if a.ndim else a.reshape(1),
)


def paths_of(tree, path=()):
    """The places of all that is in a tree, as tuples of keys, the whole first."""
    yield path
    if isinstance(tree, dict | list):
        for key, item in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from paths_of(item, (*path, key))


def replaced(tree, path, value):
    """A tree that has another value at a place, or lacks the place if the value is ``...``."""
    if not path:
        return value
    tree = copy.copy(tree)
    if len(path) == 1 and value is ...:
        del tree[path[0]]
    else:
        tree[path[0]] = replaced(tree[path[0]], path[1:], value)
    return tree


def tampered(tree, arrays, rng):
    """(what was done, another tree, other arrays): one change, at random."""
    kind = rng.integers(10)
    if kind == 0:
        name = sorted(arrays)[rng.integers(len(arrays))]
        n = rng.integers(len(ARRAYS))
        return f"array {name} by {n}", tree, {**arrays, name: np.array(ARRAYS[n](arrays[name]))}
    if kind == 1:
        one, other = (sorted(arrays)[n] for n in rng.integers(len(arrays), size=2))
        changed = {**arrays, one: arrays[other], other: arrays[one]}
        return f"arrays {one} and {other} change places", tree, changed
    places = list(paths_of(tree))
    # What is deep is most of it: the history and the optimiser. Each depth is as likely.
    depths = sorted({len(path) for path in places})
    depth = depths[rng.integers(len(depths))]
    places = [path for path in places if len(path) == depth]
    path = places[rng.integers(len(places))]
    value = ... if kind == 2 else LEAVES[rng.integers(len(LEAVES))]
    if not path and value is ...:
        value = None
    return f"{path} is {value!r}", replaced(tree, path, value), arrays


def load_tampered(path, what, tree, arrays, X):
    """Return "refused" or "usable" of a file with a digest that agrees; nothing else may happen.

    What is loaded answers for rows, or refuses them with a ValueError.
    """
    storage.save(path, tree, arrays)
    with deeds() as seen:
        ending = _loaded(path, what, X)
    assert seen == [], what
    return ending


def _loaded(path, what, X):
    try:
        model = VariationalAutoencoder.load(path)
    except ValueError as error:
        assert path.name in str(error), what  # noqa: PT017
        return "refused"
    try:
        model.score_samples(X)
        model.transform(X)
        model.sample(2)
    except ValueError:
        return "loaded, refuses rows"
    return "usable"


# What code does, and data does not.
_DEEDS = (
    *("exec", "compile", "pickle.find_class", "os.system", "os.exec", "os.fork", "os.posix_spawn"),
    *("subprocess.Popen", "socket.connect", "ctypes.dlopen", "os.remove", "os.rename", "os.mkdir"),
)
_watching = []


def _hook(event, arguments):
    if _watching and event in _DEEDS:
        _watching[-1].append((event, arguments))


@contextmanager
def deeds():
    """Give a list of what is executed, started or removed meanwhile, as Python's audit tells it."""
    if not getattr(sys, "_skvae_tests_audit", False):
        sys._skvae_tests_audit = True  # hooks cannot be taken away again
        sys.addaudithook(_hook)
    seen = []
    _watching.append(seen)
    try:
        yield seen
    finally:
        _watching.pop()
