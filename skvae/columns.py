"""Columns of X: their names in error messages, checks of their values, and parts of the columns.

A *part* is some columns of X with a model of their own. Its columns are given as
:class:`sklearn.compose.ColumnTransformer` takes them.
"""

import sys
from contextlib import contextmanager
from numbers import Integral

import numpy as np

from skvae.blocks import ranges

LARGEST_CODE = 2**24 - 1  # the largest code of a category: float32 holds it exactly
CODE_RULE = f"a categorical column takes codes, whole numbers from 0 to {LARGEST_CODE}"
_BLOCK = 1 << 16  # rows that are checked at once, to bound the memory of the comparison


def index_of(X):
    """Return the index of a data frame or series of pandas, None for other data."""
    pandas = sys.modules.get("pandas")
    is_frame = pandas is not None and isinstance(X, pandas.DataFrame | pandas.Series)
    return X.index if is_frame else None


def column_label(j, names):
    """Return the name of column j in error messages.

    Parameters
    ----------
    j : int
        The column.
    names : sequence of str or of int, or None
        The names of the columns. Without names, the columns of a part have their places in X.

    Returns
    -------
    label : str
        As code that selects the column.

    Examples
    --------
    >>> from skvae.columns import column_label
    >>> column_label(1, None), column_label(1, ["age", "rate"]), column_label(1, [3, 5])
    ('X[:, 1]', "X['rate']", 'X[:, 5]')
    """
    name = j if names is None else names[j]
    return f"X[{str(name)!r}]" if isinstance(name, str) else f"X[:, {name}]"


# Values -------------------------------------------------------------------------------------------


def check_values(X, names, allowed, rule):
    """Raise ValueError if an observed value is not allowed.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), or iterable of such arrays
        Rows, or blocks of rows; NaN is missing.
    names : sequence or None
        The names of the columns, as in :func:`column_label`.
    allowed : callable
        ``values (n, n_features) → bool array``; its result is not used where a value is NaN.
    rule : str or callable
        The end of the message, after the value; or ``(column, value) → str``.

    Raises
    ------
    ValueError
        The message has the first wrong value, its column and the rule.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.columns import check_values
    >>> check_values(np.array([[0.0, 2.0]]), None, lambda values: values < 1, "must be < 1")
    Traceback (most recent call last):
        ...
    ValueError: X[:, 1] holds 2.0: must be < 1
    """
    blocks = [X] if isinstance(X, np.ndarray) else X
    for values in (rows[a:b] for rows in blocks for a, b in ranges(0, len(rows), _BLOCK)):
        good = allowed(values)
        if good.all():
            continue
        wrong = ~good & ~np.isnan(values)
        if wrong.any():
            j = int(np.flatnonzero(wrong.any(axis=0))[0])
            value = float(values[wrong[:, j], j][0])
            text = rule(j, value) if callable(rule) else rule
            raise ValueError(f"{column_label(j, names)} holds {value!r}: {text}")


def is_code(values):
    """Return whether each value is the code of a category."""
    return (values >= 0) & (values <= LARGEST_CODE) & (values == np.floor(values))


def check_codes(X, names, n_categories, reason):
    """Raise ValueError unless each observed value is a code of one of its column's categories.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), or iterable of such arrays
        Rows, or blocks of rows; NaN is missing.
    names : sequence or None
        The names of the columns, as in :func:`column_label`.
    n_categories : array-like of int, shape (n_features,)
        The number of categories of each column.
    reason : str
        The source of these numbers, for the message.
    """
    n_categories = np.asarray(n_categories)

    def rule(j, value):
        if not is_code(value):
            return CODE_RULE
        return f"must be a code from 0 to {n_categories[j] - 1}, {reason}"

    check_values(X, names, lambda values: is_code(values) & (values < n_categories), rule)


def check_n_categories(n_categories):
    """Raise ValueError unless ``n_categories`` is None, a number or a sequence of numbers."""
    if n_categories is None:
        return
    try:
        entries = np.atleast_1d(np.asarray(n_categories, dtype=object)).tolist()
    except (RuntimeError, ValueError):  # a tensor, a ragged list
        entries = []
    if not entries or not all(map(_is_size, entries)):
        raise ValueError(
            f"n_categories={n_categories!r}: must be an integer from 1 to {LARGEST_CODE + 1}, "
            "one for all features or one for each, or None"
        )


def _is_size(entry):
    """Return whether an object is a number of categories."""
    whole = isinstance(entry, Integral) and not isinstance(entry, bool | np.bool_ | np.timedelta64)
    return whole and 1 <= entry <= LARGEST_CODE + 1


def categories_of_columns(n_categories, n_features):
    """Return the number of categories of each column, of one number for all or one for each."""
    sizes = np.array(n_categories, dtype=np.intp)
    if sizes.ndim and sizes.shape != (n_features,):
        raise ValueError(
            f"n_categories={n_categories!r}: must be one integer, or one for each of the "
            f"{n_features} features"
        )
    return np.broadcast_to(sizes, (n_features,)).copy()


# Parts --------------------------------------------------------------------------------------------


@contextmanager
def in_part(label):
    """Put a part's label in front of the messages of the errors of a ``with`` block."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"in the part {label}: {error}") from error


def part_names(index, names):
    """Return the names of a part's columns, as :func:`column_label` takes them.

    Without names they are the columns' places in X.
    """
    return index if names is None else [names[j] for j in index]


def columns_of_parts(parts, n_features, names, parameter):
    """Return the indices of the columns of each part, a tuple of integer arrays.

    Parameters
    ----------
    parts : list of (str, columns)
        For each part its name and its columns: an index, a slice, a list of indices, a boolean
        mask, or a name or a list of names of columns.
    n_features : int
        The number of columns of X.
    names : sequence of str or None
        The names of the columns of X.
    parameter : str
        The parameter that gives the parts, for messages.

    Raises
    ------
    ValueError
        The columns of a part are not usable, or a column of X is not in exactly one part.

    Examples
    --------
    >>> from skvae.columns import columns_of_parts
    >>> columns_of_parts([("a", [0, 2]), ("b", "rate")], 3, ["x", "rate", "y"], "parts")
    (array([0, 2]), array([1]))
    """
    columns, owners = [], [[] for _ in range(n_features)]
    for name, given in parts:
        with in_part(repr(name)):
            columns.append(column_indices(given, n_features, names))
        for j in columns[-1]:
            owners[j].append(name)
    for j, found in enumerate(owners):
        if len(found) != 1:
            belongs = f"the parts {found}" if found else "no part"
            remedy = "leave it in one of them" if found else "add it to a part, or drop it from X"
            raise ValueError(
                f"{column_label(j, names)} belongs to {belongs}: each column of X must belong to "
                f"exactly one part of {parameter}; {remedy}"
            )
    return tuple(columns)


def column_indices(given, n_features, names, parameter="columns"):
    """Return the indices of columns, an integer array.

    Parameters
    ----------
    given : int, slice, str or list
        An index, a slice, a list of indices, a boolean mask, or a name or a list of names.
    n_features : int
        The number of columns of X.
    names : sequence of str or None
        The names of the columns of X.
    parameter : str
        The name of the value, for messages.

    Raises
    ------
    ValueError
        There are no such columns.

    Examples
    --------
    >>> from skvae.columns import column_indices
    >>> column_indices(["rate", "x"], 3, ["x", "rate", "y"])
    array([1, 0])
    """
    wrong = f"{parameter}={given!r}: must be"
    listed = [given] if isinstance(given, str | Integral) else given
    if isinstance(given, slice):
        listed = range(n_features)[given]
    try:
        listed = list(listed)
    except TypeError as error:
        raise ValueError(f"{wrong} an index, a slice, a name, or a list of these") from error
    if listed and all(isinstance(column, str) for column in listed):
        return _indices_of_names(listed, names, wrong)
    if listed and all(isinstance(column, bool | np.bool_) for column in listed):
        if len(listed) != n_features:
            raise ValueError(f"{wrong} as long as X has columns, {n_features}, if it is a mask")
        listed = np.flatnonzero(listed)
    if not all(isinstance(column, Integral) for column in listed):
        raise ValueError(f"{wrong} an index, a slice, a name, or a list of these")
    if not len(listed):
        raise ValueError(f"{wrong} at least one column")
    if not all(-n_features <= j < n_features for j in listed):
        raise ValueError(f"{wrong} between 0 and {n_features - 1}, as X has {n_features} columns")
    return np.array(listed, dtype=np.intp) % n_features


def _indices_of_names(listed, names, wrong):
    """Return the indices of columns given by their names."""
    known = [] if names is None else [str(name) for name in names if isinstance(name, str)]
    if not known:
        raise ValueError(f"{wrong} indices, as X has no column names")
    if not all(column in known for column in listed):
        raise ValueError(f"{wrong} among {known}")
    return np.array([known.index(column) for column in listed], dtype=np.intp)
