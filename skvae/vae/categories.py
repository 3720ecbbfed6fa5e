"""Names of categories in columns of categorical likelihoods, and tables of results.

A likelihood reads codes 0, 1, …. A column may hold strings instead, or have a dtype of categories:
the *names* of its codes are then its strings in sorted order, or the dtype's categories in theirs.
Those of booleans are False and True.
``categories`` is a list with an entry for each column: its names, a list, or None where the column
holds numbers.
"""

import numpy as np

from skvae.blocks import is_distributed
from skvae.columns import column_indices, column_label
from skvae.neural.likelihoods.columns import columns_of_likelihoods, with_given
from skvae.tables import as_table
from skvae.validation import is_missing

_FLAGS = [False, True]


def learned_categories(likelihood, X, condition=None):
    """Return the categories of the columns of X, or None if no column has names.

    Parameters
    ----------
    likelihood : str or list
        The parameter of the estimator.
    X : array-like
        Rows as a user passes them.
    condition : int, slice, str, list or None
        The parameter of the estimator: columns without a likelihood.

    Returns
    -------
    categories : list or None
        For each column the list of its names, or None.

    Raises
    ------
    ValueError
        A column holds names and numbers, or a category is neither a string nor a number.

    Examples
    --------
    >>> from skvae.vae.categories import learned_categories
    >>> learned_categories([("categorical", 0), ("gaussian", 1)], [["red", 1.0], ["blue", 2.0]])
    [['blue', 'red'], None]
    """
    if not _is_categorical(likelihood) or is_distributed(X):
        return None
    X = _readable(X)
    if X is None:
        return None
    names, n_features = names_of(X), X.shape[1]
    columns = range(n_features)
    likelihood, _ = with_given(likelihood, None, condition, n_features, names)
    if likelihood != "categorical":
        parts = columns_of_likelihoods(likelihood, n_features, names)
        pairs = zip(likelihood, parts, strict=True)
        columns = [j for part, index in pairs if part[0] == "categorical" for j in index.tolist()]
    categories = [None] * n_features
    for j in columns:
        categories[j] = _names_in(_column(X, j), column_label(j, names))
    return categories if any(names is not None for names in categories) else None


def kinds_of_categories(X, categories):
    """Return, for each column, the kind of its categories in a table of pandas.

    Parameters
    ----------
    X : array-like
        Rows as a user passes them.
    categories : list
        Of the columns.

    Returns
    -------
    kinds : list of str
        ``"ordered"`` where a dtype has ordered categories, ``"bool"`` where a column holds
        booleans, and ``""`` elsewhere.
    """
    X, kinds = _readable(X), [""] * len(categories)
    for j, known in enumerate(categories):
        dtype = None if known is None else _column(X, j).dtype
        if getattr(dtype, "ordered", False) is True:
            kinds[j] = "ordered"
        elif known == _FLAGS and type(known[0]) is bool and not hasattr(dtype, "categories"):
            kinds[j] = "bool"
    return kinds


def check_given(X, condition):
    """Raise ValueError if a column that is given holds names of categories, which have no order.

    Parameters
    ----------
    X : array-like
        Rows as a user passes them.
    condition : int, slice, str, list or None
        The parameter of the estimator.
    """
    if condition is None or is_distributed(X) or (X := _readable(X)) is None:
        return
    names = names_of(X)
    for j in column_indices(condition, X.shape[1], names, "condition").tolist():
        column = _column(X, j)
        if getattr(column.dtype, "kind", "O") in "biufc":
            continue
        text = next((value for value in column if _is_text(value)), None)
        if text is not None:
            raise ValueError(
                f"{column_label(j, names)} holds {str(text)!r}: columns of condition must be "
                "numbers; put a column of 0 and 1 for each category in its place, as "
                "sklearn.preprocessing.OneHotEncoder does"
            )


def _is_text(value):
    """Return whether a value is a string that is no number."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False


def coded(X, categories):
    """Return rows with codes in the place of names; the other columns are as they are.

    Parameters
    ----------
    X : array-like
        Rows as a user passes them, of as many columns as there were in the fit.
    categories : list
        Of the columns.

    Raises
    ------
    ValueError
        A value is not among the names of its column.
    """
    if is_distributed(X):
        raise ValueError(
            "X is a Dask array, and the categories of this model have names: pass rows in memory, "
            "as X.compute()"
        )
    if not hasattr(X, "dtype") and not hasattr(X, "columns"):
        X = np.array(X, dtype=object)
    names = names_of(X)
    codes = {
        j: _codes(_column(X, j), known, column_label(j, names))
        for j, known in enumerate(categories)
        if known is not None
    }
    if hasattr(X, "iloc"):
        X = X.copy(deep=False)
        for j, column in codes.items():
            X.isetitem(j, column)
        return X
    if hasattr(X, "with_columns"):
        series = type(_column(X, 0))
        return X.with_columns([series(X.columns[j], column) for j, column in codes.items()])
    X = np.array(X, dtype=object)
    for j, column in codes.items():
        X[:, j] = column
    return X


def named(X, categories):
    """Return rows, (n, D) of objects, with names in the place of codes."""
    rows = X.astype(object)
    for j, known in enumerate(categories):
        if known is not None:
            rows[:, j] = np.array([*known, None], dtype=object)[:-1][X[:, j].astype(np.intp)]
    return rows


def table(X, names, categories, library, index, kinds=None, dtypes=None):
    """Return rows as a data frame, with columns of categories in the place of codes.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        Rows.
    names : sequence of str
        The names of the columns.
    categories : list or None
        Of the columns.
    library : {"pandas", "polars"}
        The library of the data frame.
    index : pandas.Index or None
        The index of the rows.
    kinds : list of str, default=None
        From :func:`kinds_of_categories`; None are categories without an order.
    dtypes : list, default=None
        Of the other columns, as in :func:`skvae.tables.as_table`.
    """
    categories = [None] * X.shape[1] if categories is None else categories
    if dtypes is not None:
        dtypes = [
            dtype if known is None else None
            for dtype, known in zip(dtypes, categories, strict=True)
        ]
    frame = as_table(X, library, names, index, dtypes)
    for j, known in enumerate(categories):
        if known is None:
            continue
        if library == "polars":
            frame = frame.with_columns(_polars_column(names[j], X[:, j], known))
            continue
        import pandas as pd

        codes, kind = X[:, j].astype(np.intp), kinds[j] if kinds else ""
        own = pd.CategoricalDtype(known, ordered=kind == "ordered")
        column = codes == 1 if kind == "bool" else pd.Categorical.from_codes(codes, dtype=own)
        frame.isetitem(j, column)
    return frame


def _polars_column(name, column, known):
    import polars as pl

    values = [known[int(code)] for code in column]
    texts = all(isinstance(label, str) for label in known)
    return pl.Series(name, values, dtype=pl.Enum(known) if texts else None)


def sizes_of_parts(likelihood, params, X, categories, names):
    """Return likelihood and params, in which categorical columns have the sizes of their names.

    Parameters
    ----------
    likelihood, params : str or list, dict or None
        The parameters of the estimator.
    X : ndarray of shape (n, D)
        Rows with codes.
    categories : list
        Of the columns.
    names : sequence of str or None
        The names of the columns.

    Raises
    ------
    ValueError
        ``n_categories`` is given for a column with names, and is not their number.
    """
    if likelihood == "categorical":
        return likelihood, _with_sizes(params, X, range(X.shape[1]), categories, names)
    columns = columns_of_likelihoods(likelihood, X.shape[1], names)
    parts = []
    for part, index in zip(likelihood, columns, strict=True):
        if part[0] == "categorical" and any(categories[j] is not None for j in index):
            own = part[2] if len(part) == 3 else None
            part = (*part[:2], _with_sizes(own, X, index, categories, names))
        parts.append(part)
    return parts, params


def _with_sizes(params, X, index, categories, names):
    """Return params with the number of categories of each column of a part."""
    params = dict(params or {})
    given = params.get("n_categories")
    own = [None] * len(index) if given is None else np.broadcast_to(given, len(index)).tolist()
    sizes = []
    for j, size in zip(index, own, strict=True):
        known = categories[j]
        if known is not None and size not in (None, len(known)):
            raise ValueError(
                f"n_categories={given!r}: {column_label(j, names)} has {len(known)} categories by "
                "their names; leave n_categories out, and declare further categories by the dtype "
                "of the column"
            )
        if size is None:
            codes = X[:, j]
            size = len(known) if known is not None else int(np.nanmax(codes, initial=0.0)) + 1
        sizes.append(size)
    return {**params, "n_categories": sizes}


def names_of(X):
    """Return the names of the columns of X, or None if they are not all strings."""
    names = list(getattr(X, "columns", []))
    return names if names and all(isinstance(name, str) for name in names) else None


def _is_categorical(likelihood):
    """Return whether a likelihood has a categorical part."""
    if isinstance(likelihood, str):
        return likelihood == "categorical"
    parts = likelihood if isinstance(likelihood, list | tuple) else []
    return any(
        isinstance(part, list | tuple) and len(part) and str(part[0]) == "categorical"
        for part in parts
    )


def _readable(X):
    """Return X as a data frame or a 2-D array of objects or strings, or None if it is neither."""
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        return X
    if isinstance(X, list | tuple):
        try:
            X = np.array(X, dtype=object)
        except ValueError:  # ragged: the checks of X have a clear text
            return None
    usable = isinstance(X, np.ndarray) and X.ndim == 2 and X.dtype.kind in "OU"
    return X if usable else None


def _column(X, j):
    if hasattr(X, "iloc"):
        return X.iloc[:, j]
    return X[:, j]


def _names_in(column, label):
    """Return the names of a column's categories; None if it holds numbers."""
    declared = getattr(column.dtype, "categories", None)
    if declared is not None and not str(column.dtype).startswith("Categorical"):
        return _plain(list(declared), label)
    kind = getattr(column.dtype, "kind", "O")
    if kind == "b":
        return list(_FLAGS)
    if kind in "iufc":
        return None
    values = {value for value in _hashable(column, label) if not _is_absent(value)}
    if values and all(isinstance(value, bool | np.bool_) for value in values):
        return list(_FLAGS)
    texts = [value for value in values if isinstance(value, str)]
    if not texts:
        return None
    if len(texts) < len(values):
        other = next(value for value in values if not isinstance(value, str))
        raise ValueError(
            f"{label} holds {texts[0]!r} and {other!r}: categories must be all strings or all "
            "numbers"
        )
    return _plain(sorted(texts), label)


def _plain(known, label):
    """Return categories as strings and numbers of Python, which any file can hold."""
    known = [value.item() if isinstance(value, np.generic) else value for value in known]
    for value in known:
        if not isinstance(value, str | int | float):
            raise ValueError(
                f"{label} has the category {value!r}, of {type(value).__name__}: must be a string "
                "or a number; convert the column"
            )
    return [str(value) if isinstance(value, str) else value for value in known] or None


def _codes(column, known, label):
    """Return the codes of a column, float64 (n,), NaN where a value is missing."""
    places = {value: code for code, value in enumerate(known)}
    values = _hashable(column, label)
    codes = [np.nan if _is_absent(value) else places.get(value, -1) for value in values]
    if -1 in codes:
        wrong = values[codes.index(-1)]
        wrong = wrong.item() if isinstance(wrong, np.generic) else wrong
        listed = ", ".join(map(repr, known[:10])) + (", …" if len(known) > 10 else "")
        raise ValueError(
            f"{label} holds {wrong!r}: must be one of the categories of the fit, {listed}; to have "
            "room for others, declare them before the fit as categories of the column's dtype"
        )
    return np.array(codes, dtype=np.float64)


def _hashable(column, label):
    """Return the values of a column as a list; raise ValueError for one that is no label."""
    values = list(column)
    for kind in set(map(type, values)):
        if kind.__hash__ is None:
            raise ValueError(f"{label} holds a {kind.__name__}: must be a string or a number")
    return values


def _is_absent(value):
    """Return whether a value is missing."""
    if value is None or is_missing(value):
        return True
    return isinstance(value, float | np.floating) and np.isnan(value)
