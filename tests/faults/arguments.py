"""Weights, groups and parameters as no one should pass them, each under a name."""

import contextlib
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
import torch
from scipy import sparse

# One entry a row, made from the number of rows and a generator.
WEIGHTS = {
    "none": lambda n, rng: None,
    "ones": lambda n, rng: np.ones(n),
    "uniform": lambda n, rng: rng.uniform(0.1, 5.0, size=n),
    "some zero": lambda n, rng: (np.arange(n) % 3 > 0).astype(float),
    "all zero": lambda n, rng: np.zeros(n),
    "all but one zero": lambda n, rng: (np.arange(n) == 0).astype(float),
    "negative": lambda n, rng: np.where(np.arange(n) == 0, -1.0, 1.0),
    "NaN": lambda n, rng: np.where(np.arange(n) == 0, np.nan, 1.0),
    "infinite": lambda n, rng: np.where(np.arange(n) == 0, np.inf, 1.0),
    "huge": lambda n, rng: np.full(n, 1e300),
    "tiny": lambda n, rng: np.full(n, 1e-300),
    "denormal": lambda n, rng: np.full(n, 5e-324),
    "large": lambda n, rng: np.full(n, 1e200),
    "of all sizes": lambda n, rng: 10.0 ** rng.uniform(-200, 200, size=n),
    "nearly zero": lambda n, rng: np.where(np.arange(n) == 0, 1.0, 1e-250),
    "short": lambda n, rng: np.ones(max(n - 1, 0)),
    "long": lambda n, rng: np.ones(n + 1),
    "empty": lambda n, rng: np.ones(0),
    "one column": lambda n, rng: np.ones((n, 1)),
    "two columns": lambda n, rng: np.ones((n, 2)),
    "a number": lambda n, rng: 2.0,
    "a NaN": lambda n, rng: np.nan,
    "a complex number": lambda n, rng: 1j,
    "a huge integer": lambda n, rng: 10**400,
    "True": lambda n, rng: True,
    "a word": lambda n, rng: "equal",
    "words": lambda n, rng: ["a"] * n,
    "digits": lambda n, rng: ["1"] * n,
    "objects": lambda n, rng: np.full(n, None),
    "huge integers": lambda n, rng: [10**400] * n,
    "complex": lambda n, rng: np.ones(n) + 1j,
    "bool": lambda n, rng: np.arange(n) % 2 == 0,
    "int8": lambda n, rng: np.ones(n, dtype=np.int8),
    "float32": lambda n, rng: np.full(n, 0.3, dtype=np.float32),
    "big-endian": lambda n, rng: np.ones(n, dtype=">f8"),
    "backwards": lambda n, rng: np.arange(1.0, n + 1)[::-1],
    "broadcast": lambda n, rng: np.broadcast_to(2.0, n),
    "list": lambda n, rng: [1.0] * n,
    "ragged": lambda n, rng: [[1.0], [1.0, 2.0]],
    "series": lambda n, rng: pd.Series(np.ones(n), index=range(5, n + 5)),
    "series with NA": lambda n, rng: pd.Series([pd.NA] * n, dtype="Int64"),
    "masked": lambda n, rng: np.ma.MaskedArray(np.ones(n), np.arange(n) == 0),
    "sparse": lambda n, rng: sparse.csr_array(np.ones((1, max(n, 1)))),
    "dates": lambda n, rng: np.zeros(n, dtype="M8[s]"),
    "dictionary": lambda n, rng: {},
}

GROUPS = {
    "none": lambda n, rng: None,
    "one": lambda n, rng: np.zeros(n, dtype=int),
    "two": lambda n, rng: np.arange(n) // max(n // 2, 1),
    "each its own": lambda n, rng: np.arange(n),
    "backwards": lambda n, rng: -(np.arange(n) // 3),
    "returning": lambda n, rng: np.arange(n) % 2,
    "short": lambda n, rng: np.zeros(max(n - 1, 0)),
    "long": lambda n, rng: np.zeros(n + 1),
    "empty": lambda n, rng: [],
    "a number": lambda n, rng: 3,
    "a word": lambda n, rng: "aaab",
    "words": lambda n, rng: np.where(np.arange(n) < n // 2, "a", "b"),
    "list of words": lambda n, rng: ["a"] * (n // 2) + ["b"] * (n - n // 2),
    "floats": lambda n, rng: 0.5 * (np.arange(n) // 2),
    "NaN": lambda n, rng: np.where(np.arange(n) == n - 1, np.nan, 1.0),
    "infinite": lambda n, rng: np.where(np.arange(n) == n - 1, np.inf, 1.0),
    "None": lambda n, rng: [None] * n,
    "words and None": lambda n, rng: np.array(["a"] * (n // 2) + [None] * (n - n // 2), object),
    "words and numbers": lambda n, rng: np.array(["a"] * (n // 2) + [1] * (n - n // 2), object),
    "True and 1": lambda n, rng: np.array([True] * (n // 2) + [1] * (n - n // 2), object),
    "lists": lambda n, rng: _objects([[1]] * (n // 2) + [[2]] * (n - n // 2)),
    "arrays": lambda n, rng: _objects([np.arange(2)] * n),
    "tuples": lambda n, rng: _objects([(1, 2)] * (n // 2) + [(2, 1)] * (n - n // 2)),
    "objects": lambda n, rng: _objects([_OBJECT] * n),
    "one column": lambda n, rng: np.zeros((n, 1)),
    "two columns": lambda n, rng: np.zeros((n, 2)),
    "ragged": lambda n, rng: [[1], [1, 2]],
    "dates": lambda n, rng: np.zeros(n, dtype="M8[s]"),
    "dates with NaT": lambda n, rng: np.array(["NaT"] * n, dtype="M8[s]"),
    "complex": lambda n, rng: np.zeros(n, dtype=complex),
    "big-endian": lambda n, rng: np.zeros(n, dtype=">i4"),
    "uint64": lambda n, rng: np.full(n, 2**64 - 1, dtype=np.uint64),
    "series": lambda n, rng: pd.Series(np.zeros(n), index=range(5, n + 5)),
    "categories": lambda n, rng: pd.Categorical(["a"] * n),
    "series with NA": lambda n, rng: pd.Series([1] * (n - 1) + [pd.NA], dtype="Int64"),
    "masked": lambda n, rng: np.ma.MaskedArray(np.zeros(n), np.arange(n) == n - 1),
    "structured": lambda n, rng: np.zeros(n, dtype=[("a", int), ("b", int)]),
    "sparse": lambda n, rng: sparse.csr_array(np.zeros((1, max(n, 1)))),
    "dictionary": lambda n, rng: {},
    "an object": lambda n, rng: _OBJECT,
}
_OBJECT = object()


def _objects(entries):
    array = np.empty(len(entries), dtype=object)
    for i, entry in enumerate(entries):
        array[i] = entry
    return array


def _itself():
    holds_itself = []
    holds_itself.append(holds_itself)
    return holds_itself


# What a constructor parameter may be set to by mistake.
JUNK = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "0": lambda: 0,
    "-1": lambda: -1,
    "1": lambda: 1,
    "1.5": lambda: 1.5,
    "-0.0": lambda: -0.0,
    "NaN": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "-infinity": lambda: float("-inf"),
    "1e308": lambda: 1e308,
    "5e-324": lambda: 5e-324,
    "2**70": lambda: 2**70,
    "-2**70": lambda: -(2**70),
    "10**400": lambda: 10**400,
    "1j": lambda: 1j,
    "fraction": lambda: Fraction(1, 3),
    "decimal": lambda: Decimal("0.5"),
    "NumPy's float32": lambda: np.float32(0.5),
    "NumPy's longdouble": lambda: np.longdouble("0.5"),
    "NumPy's longdouble beyond float64": lambda: np.longdouble("1e4000"),
    "NumPy's int8": lambda: np.int8(3),
    "NumPy's bool": lambda: np.bool_(True),
    "NumPy's str": lambda: np.str_("full"),
    "NumPy's date": lambda: np.datetime64("2020"),
    "array of no dimension": lambda: np.array(2),
    "empty array": lambda: np.array([]),
    "array": lambda: np.array([0.5, 0.5]),
    "matrix": lambda: np.eye(2),
    "array of NaN": lambda: np.full((2, 2), np.nan),
    "array of huge numbers": lambda: np.full((2, 2), 1e300),
    "array of tiny numbers": lambda: np.full((2, 2), 1e-300),
    "array of words": lambda: np.array(["a", "b"]),
    "complex array": lambda: np.ones(2) + 1j,
    "dates": lambda: np.zeros((2, 2), dtype="M8[s]"),
    "masked array": lambda: np.ma.MaskedArray([0.5, 0.5], [True, False]),
    "sparse array": lambda: sparse.csr_array(np.eye(2)),
    "series": lambda: pd.Series([0.5, 0.5]),
    "NA": lambda: pd.NA,
    "tensor": lambda: torch.ones(2, requires_grad=True),
    "empty word": lambda: "",
    "word": lambda: "junk",
    "bytes": lambda: b"full",
    "empty list": list,
    "empty tuple": tuple,
    "empty dict": dict,
    "dict": lambda: {"a": 1},
    "set": lambda: {1, 2},
    "range": lambda: range(2),
    "list of words": lambda: ["a", "b"],
    "list of two kinds": lambda: [1, "a"],
    "ragged list": lambda: [[1.0], [1.0, 2.0]],
    "list of None": lambda: [None, None],
    "list of huge integers": lambda: [10**400, 1],
    "list that holds itself": _itself,
    "object": object,
    "type": lambda: int,
    "function": lambda: len,
    "module": lambda: contextlib,
    "slice": lambda: slice(None),
    "ellipsis": lambda: ...,
}
# Usable, and so long that nothing would come of them.
_LONG = ("1e308", "2**70", "10**400")
_COUNTS = ("n_init", "max_epochs", "n_score_samples", "n_importance_samples", "n_prior_components")


def is_endless(name, junk):
    """Whether a value of a parameter asks for more work or memory than there is."""
    return name in _COUNTS and junk in _LONG
