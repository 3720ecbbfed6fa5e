"""Rows as no one should pass them, by a short description from which they can be made again.

A `Recipe` says what X is; `build` makes it. What differs from the plain array is one word in one
field, so that a case that fails can be pasted and made smaller by hand.
"""

import itertools
import tempfile
import warnings
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
from scipy import sparse


@dataclass(frozen=True, repr=False)
class Recipe:
    """What X is; its repr names only what is not as here."""

    n_rows: int = 12
    n_columns: int = 2
    values: str = "blobs"
    scale: float = 1.0
    offset: float = 0.0
    holes: str = "none"
    spike: float | None = None
    dtype: str = "float64"
    layout: str = "plain"
    form: str = "array"
    seed: int = 0

    def __repr__(self):
        return f"Recipe({', '.join(differences(self))})"


def differences(record):
    """The fields of a dataclass that are not at their defaults, as ``name=value``."""
    return [
        f"{field.name}={_word(getattr(record, field.name))}"
        for field in fields(record)
        if repr(getattr(record, field.name)) != repr(field.default)
    ]


def _word(value):
    """What Python reads as the value."""
    if isinstance(value, float) and not np.isfinite(value):
        return f'float("{value}")'
    return repr(value)


def simpler(record):
    """Every dataclass that is like this one but for one field at its default."""
    for field in fields(record):
        if field.default is not MISSING and getattr(record, field.name) != field.default:
            yield replace(record, **{field.name: field.default})


# Numbers ------------------------------------------------------------------------------------------


def _blobs(rng, n, d):
    return rng.normal(size=(n, d)) + 5.0 * (np.arange(n) % 2)[:, None]


def _twins(rng, n, d):
    return rng.normal(size=(n, d))[np.arange(n) // 3]


def _lines(rng, n, d):
    return rng.normal(size=(n, 1)) * np.arange(1.0, d + 1)


VALUES = {
    "blobs": _blobs,
    "steps": lambda rng, n, d: np.arange(float(n * d)).reshape(n, d),
    "constant": lambda rng, n, d: np.full((n, d), 3.7),
    "constant column": lambda rng, n, d: np.where(np.arange(d) == 0, 1.0, _blobs(rng, n, d)),
    "twins": _twins,
    "lines": _lines,
    "zeros": lambda rng, n, d: np.zeros((n, d)),
    "negative zeros": lambda rng, n, d: -np.zeros((n, d)),
    "counts": lambda rng, n, d: rng.poisson(3.0, size=(n, d)).astype(float),
    "binary": lambda rng, n, d: rng.integers(2, size=(n, d)).astype(float),
    "shares": lambda rng, n, d: rng.uniform(size=(n, d)),
    "heavy": lambda rng, n, d: rng.standard_cauchy(size=(n, d)),
    "wide": lambda rng, n, d: rng.normal(size=(n, d)) * 10.0 ** rng.uniform(-300, 130, size=(n, d)),
    "units": lambda rng, n, d: _blobs(rng, n, d) * 10.0 ** (60.0 * np.arange(d) - 60),
    "denormal": lambda rng, n, d: rng.integers(-9, 9, size=(n, d)) * 5e-324,
}


def _some(rng, n, d):
    return rng.random((n, d)) < 0.3


HOLES = {
    "none": lambda rng, n, d: np.zeros((n, d), dtype=bool),
    "some": _some,
    "a row": lambda rng, n, d: np.repeat(np.arange(n)[:, None] == n // 2, d, axis=1),
    "a column": lambda rng, n, d: np.repeat(np.arange(d)[None] == d - 1, n, axis=0),
    "all": lambda rng, n, d: np.ones((n, d), dtype=bool),
    "all but one": lambda rng, n, d: np.arange(n * d).reshape(n, d) > 0,
}


def _numbers(recipe, rng):
    n, d = recipe.n_rows, recipe.n_columns
    X = VALUES[recipe.values](rng, n, d) * recipe.scale + recipe.offset
    X = np.where(HOLES[recipe.holes](rng, n, d), np.nan, X)
    if recipe.spike is not None and X.size:
        X.reshape(-1)[rng.integers(X.size)] = recipe.spike
    return X


# Their type and place in memory -------------------------------------------------------------------

_STARTS = {"datetime64[ns]": "2020-01-01", "timedelta64[s]": 0}
DTYPES = (
    *("float64", "float32", "float16", "longdouble", ">f8", ">f4", "<f8", "bool", ">i4"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("complex64", "complex128", "object", "object with None", "object with strings"),
    *("object with huge integers", "object with lists", "longdouble beyond float64"),
    *("str", "str of words", "bytes", "datetime64[ns]", "timedelta64[s]", "structured"),
)


def _entries(X, entry):
    """X as objects, of which one is another thing."""
    X = X.astype(object)
    if X.size:
        X[-1, -1] = entry
    return X


TYPED = {
    "object with None": lambda X: _entries(X, None),
    "object with strings": lambda X: _entries(X, "many"),
    "object with huge integers": lambda X: _entries(X, 10**400),
    "object with lists": lambda X: _entries(X, [1.0, 2.0]),
    "longdouble beyond float64": lambda X: (
        np.nan_to_num(X).astype(np.longdouble) + np.longdouble("1e4000")
    ),
    "str of words": lambda X: np.full(X.shape, "word"),
    "structured": lambda X: np.zeros(X.shape, dtype=[("size", float), ("number", int)]),
}


def _typed(X, dtype):
    if dtype in TYPED:
        return TYPED[dtype](X)
    if dtype in _STARTS:
        steps = np.clip(np.nan_to_num(X), -1e6, 1e6).astype("timedelta64[s]")
        return steps.astype(dtype) if dtype[0] == "t" else np.datetime64(_STARTS[dtype]) + steps
    if np.dtype(dtype).kind in "iub":
        X = np.nan_to_num(X)
    return X.astype(dtype)


def _memory_mapped(X):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "X.npy"
        np.save(path, X, allow_pickle=False)
        return np.load(path, mmap_mode="r")  # the file stays as long as it is mapped


def _frozen(X):
    X = X.copy()
    X.flags.writeable = False
    return X


LAYOUTS = {
    "plain": lambda X: X,
    "Fortran": np.asfortranarray,
    "backwards": lambda X: X[::-1].copy()[::-1],
    "columns backwards": lambda X: X[:, ::-1].copy()[:, ::-1],
    "every other row": lambda X: np.repeat(X, 2, axis=0)[::2],
    "inner columns": lambda X: np.hstack([X, X])[:, : X.shape[1]],
    "broadcast": lambda X: np.broadcast_to(X[:1], X.shape) if len(X) else X,
    "read-only": _frozen,
    "memory-mapped": lambda X: X if X.dtype.kind in "OSUMmV" or not X.size else _memory_mapped(X),
}


# What it comes in ---------------------------------------------------------------------------------


class Rows(np.ndarray):
    """A subclass that adds nothing."""


def _names(X):
    return [f"x{j}" for j in range(X.shape[1])]


def _polars(X, names=None):
    return pl.DataFrame({name: X[:, j].tolist() for j, name in enumerate(names or _names(X))})


def _masked(X):
    mask = np.isnan(X) if X.dtype.kind in "fc" else np.zeros(X.shape, dtype=bool)
    if X.size:
        mask[0, 0] = True
    return np.ma.MaskedArray(X, mask)


def _with_column(X, column):
    frame = pd.DataFrame(X)
    frame["more"] = column(len(X))
    return frame


def _parts(X):
    """Two sequences."""
    middle = len(X) // 2
    return [X[:middle], X[middle:]]


def _objects(parts):
    array = np.empty(len(parts), dtype=object)
    for s, part in enumerate(parts):
        array[s] = part
    return array


def _frames(X):
    return [pd.DataFrame(part, columns=_names(X)) for part in _parts(X)]


TABLES = {
    "array": lambda X: X,
    "list": lambda X: X.tolist(),
    "tuple": lambda X: tuple(map(tuple, X.tolist())),
    "list of rows": list,
    "ragged": lambda X: [row[: 1 + i % 2].tolist() for i, row in enumerate(X)],
    "subclass": lambda X: X.view(Rows),
    "matrix": np.asmatrix,
    "masked": _masked,
    "transposed": lambda X: X.T,
    "one-dimensional": lambda X: X.reshape(-1),
    "first column": lambda X: X[:, 0] if X.shape[1] else X.reshape(-1),
    "pandas": pd.DataFrame,
    "pandas with names": lambda X: pd.DataFrame(X, columns=_names(X)),
    "pandas with twin names": lambda X: pd.DataFrame(X, columns=["x"] * X.shape[1]),
    "pandas with names of two types": lambda X: pd.DataFrame(X).rename(columns={0: "x"}),
    "pandas with an index": lambda X: pd.DataFrame(X, index=[f"r{i}" for i in range(len(X))]),
    "pandas nullable": lambda X: pd.DataFrame(X).convert_dtypes(),
    "pandas with words": lambda X: _with_column(X, lambda n: ["a"] * n),
    "pandas with categories": lambda X: _with_column(X, lambda n: pd.Categorical(["a"] * n)),
    "pandas with dates": lambda X: _with_column(X, lambda n: pd.date_range("2020", periods=n)),
    "pandas with NA": lambda X: _with_column(X, lambda n: pd.array([pd.NA] * n, dtype="Int64")),
    "series": lambda X: pd.Series(X.reshape(-1), index=range(1, X.size + 1)),
    "polars": _polars,
    "polars with words": lambda X: _polars(X).with_columns(pl.lit("a").alias("more")),
    "polars with null": lambda X: _polars(X).with_columns(pl.lit(None).alias("more")),
    "polars series": lambda X: pl.Series("x", X.reshape(-1).tolist()),
    "csr": lambda X: sparse.csr_array(np.nan_to_num(X)),
    "coo matrix": lambda X: sparse.coo_matrix(np.nan_to_num(X)),
    "dictionary": lambda X: {"X": X},
    "set": lambda X: {1.0, 2.0},
    "generator": iter,
    "memoryview": lambda X: memoryview(np.ascontiguousarray(X)),
    "bytes": lambda X: X.tobytes(),
    "word": lambda X: "X",
    "number": lambda X: 3.0,
    "None": lambda X: None,
    "nothing": lambda X: [],
    "lists of nothing": lambda X: [[], []],
    "an object": lambda X: object(),
    "a type": lambda X: np.ndarray,
    "itself": lambda X: _itself(),
}
SEQUENCES = {
    "sequences": _parts,
    "tuple of sequences": lambda X: tuple(_parts(X)),
    "nested lists": lambda X: [part.tolist() for part in _parts(X)],
    "three-dimensional": lambda X: X[None],
    "four-dimensional": lambda X: X[None, None],
    "three-dimensional, no steps": lambda X: X[:0][None].repeat(3, axis=0),
    "objects that are sequences": lambda X: _objects(_parts(X)),
    "sequences of frames": _frames,
    "sequences of polars": lambda X: [_polars(part) for part in _parts(X)],
    "frames of two libraries": lambda X: [_frames(X)[0], _polars(X)],
    "frames and arrays": lambda X: [_frames(X)[0], X],
    "arrays and frames": lambda X: [X, _frames(X)[0]],
    "sequences, one empty": lambda X: [*_parts(X), X[:0]],
    "sequences, one wider": lambda X: [*_parts(X), np.hstack([X, X])],
    "sequences, one a row": lambda X: [*_parts(X), X[0] if len(X) else X],
    "sequences, one a number": lambda X: [*_parts(X), 3.0],
    "sequences, one None": lambda X: [*_parts(X), None],
    "sequences, one a word": lambda X: [*_parts(X), "word"],
    "sequences, one of words": lambda X: [*_parts(X), np.full((2, X.shape[1]), "a")],
    "sequences, one of dates": lambda X: [*_parts(X), np.zeros((2, X.shape[1]), "M8[s]")],
    "sequences, one ragged": lambda X: [*_parts(X), [[1.0], [1.0, 2.0]]],
    "sequences, one sparse": lambda X: [*_parts(X), sparse.csr_array(np.eye(X.shape[1]))],
    "sequences, one masked": lambda X: [*_parts(X), _masked(X)],
    "sequences, one float32": lambda X: [*_parts(X), X.astype(np.float32)],
    "sparse sequences": lambda X: [sparse.csr_array(np.nan_to_num(X))] * 2,
    "dictionary of sequences": lambda X: dict(enumerate(_parts(X))),
    "three-dimensional words": lambda X: np.full((1, *X.shape), "a"),
}
FORMS = {**TABLES, **SEQUENCES}


def _itself():
    holds_itself = []
    holds_itself.append(holds_itself)
    return holds_itself


def build(recipe):
    """X as a recipe says; ValueError, TypeError or the like where there can be no such X."""
    rng = np.random.default_rng(recipe.seed)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # a cast that overflows, np.matrix
        X = LAYOUTS[recipe.layout](_typed(_numbers(recipe, rng), recipe.dtype))
        return FORMS[recipe.form](X)


def is_listed(X):
    """Whether a per-row answer for X is a list of arrays."""
    return isinstance(X, list | tuple) and bool(X) and np.ndim(X[0]) == 2


def snapshot(X):
    """What X holds, to compare with later; None where there is nothing that can change."""
    if isinstance(X, np.ndarray):
        return X.tobytes() if X.dtype != object else repr(X.tolist())
    if isinstance(X, pd.DataFrame | pd.Series):
        return X.to_string()
    if isinstance(X, pl.DataFrame | pl.Series):
        return repr(X.to_dict(as_series=False) if isinstance(X, pl.DataFrame) else X.to_list())
    if isinstance(X, list | tuple):
        return [snapshot(x) if x is not X else None for x in itertools.islice(X, 100)]
    return repr(X) if isinstance(X, float) else None
