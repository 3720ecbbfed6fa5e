"""Tables of results: rows with the names, the index and the dtypes of the columns of X.

The dtypes of the columns of X are plain data, which any file can hold: for each column the name of
a dtype of numbers, such as ``"int64"`` or ``"boolean"``, or for a dtype of categories that are
numbers a dict; None where a result is of float64.
"""

import numpy as np

_OTHER_NAMES = {"boolean": "bool", "double": "float64", "float": "float32"}
_WHOLE = {"bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}
_KEPT = {*_WHOLE, "float32"}


def dtypes_of(X):
    """Return the dtypes of the columns of X that results can have, or None if all are float64.

    Parameters
    ----------
    X : array-like
        Rows as a user passes them: a data frame, an array, or other data, which have none.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.tables import dtypes_of
    >>> dtypes_of(np.zeros((4, 2), dtype=np.int32)), dtypes_of([[1, 2]])
    (['int32', 'int32'], None)
    """
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        found = [_entry(dtype) for dtype in X.dtypes]
    elif hasattr(X, "dtype") and hasattr(X, "ndim"):
        found = [_entry(X.dtype)] * (X.shape[-1] if X.ndim > 1 else 1)
    else:
        return None
    return None if found == [None] * len(found) else found


def as_table(X, library, names, index=None, dtypes=None):
    """Return rows as a table of a library, or the array itself.

    A column has its dtype of ``dtypes`` if that holds its values: integers and categories hold
    whole numbers and their categories, so that an expectation of counts is a float.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        Rows.
    library : {"pandas", "polars"} or None
        The library of the table; None is the array.
    names : sequence of str
        The names of the columns.
    index : pandas.Index or array-like of shape (n,), default=None
        The index of a table of pandas.
    dtypes : list or None
        As of :func:`dtypes_of`.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.tables import as_table
    >>> rows = np.array([[3.0, 0.5], [1.0, 1.0]])
    >>> as_table(rows, "pandas", ["count", "rate"], dtypes=["int64", "int64"])
       count  rate
    0      3   0.5
    1      1   1.0
    """
    if library is None:
        return X
    dtypes = [None] * X.shape[1] if dtypes is None or X.dtype.kind != "f" else dtypes
    if library == "polars":
        import polars as pl

        columns = [_held(column, entry) for column, entry in zip(X.T, dtypes, strict=True)]
        columns = [list(x) if x.dtype == object else x for x in columns]
        return pl.DataFrame([pl.Series(*pair) for pair in zip(names, columns, strict=True)])
    import pandas as pd

    frame = pd.DataFrame(X, columns=list(names), index=index)
    for j, entry in enumerate(dtypes):
        column = X[:, j]
        if isinstance(entry, str) and (held := _held(column, entry)) is not column:
            frame.isetitem(j, pd.array(held, dtype=entry))
        elif isinstance(entry, dict) and np.isin(column, entry["categories"]).all():
            frame.isetitem(j, pd.Categorical(column, **entry))
    return frame


def _entry(dtype):
    """Return the entry of a dtype of NumPy, pandas or polars."""
    if hasattr(dtype, "ordered") and hasattr(dtype.categories, "tolist"):  # of pandas
        known = dtype.categories.tolist()
        numbers = all(isinstance(value, int | float) for value in known)
        return {"categories": known, "ordered": bool(dtype.ordered)} if numbers else None
    name = str(dtype)
    if name in _KEPT:
        return name
    plain = _plain(name)
    if hasattr(dtype, "is_numeric"):  # of polars, whose names are those of pandas' nullable ones
        name = plain
    return name if plain in {*_KEPT, "float64"} and name != "float64" else None


def _plain(name):
    """Return the name of NumPy's dtype that holds the values of a dtype."""
    name = name.lower().removesuffix("[pyarrow]")
    return _OTHER_NAMES.get(name, name)


def _held(values, entry):
    """Return the values of a column in NumPy's dtype of an entry if it holds them."""
    if not isinstance(entry, str):
        return values
    name = _plain(entry)
    with np.errstate(all="ignore"):  # of NaN, and of numbers beyond the dtype
        found = values.astype(name)
        if name in _WHOLE:
            return found if np.array_equal(found, values) else values
        # Values above 0 and below 1 must not become these numbers, which some likelihoods exclude.
        side = np.sign(values - found).astype(found.dtype)
        found = np.where(np.isin(found, (0, 1)), np.nextafter(found, found + side), found)
        return values if (np.isinf(found) & ~np.isinf(values)).any() else found
