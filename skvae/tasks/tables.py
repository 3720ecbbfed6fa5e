"""Data frames with filled-in values: names, index and dtypes are those of the frame."""

import numpy as np


def filled_table(X, filled):
    """Return filled-in rows in the container of X.

    Parameters
    ----------
    X : {array-like, DataFrame} of shape (n_samples, n_features)
        Rows with missing values.
    filled : {ndarray, DataFrame} of shape (n_samples, n_features)
        The same rows without missing values.

    Returns
    -------
    table : {ndarray, DataFrame} of shape (n_samples, n_features)
        For a data frame, one in which columns without a missing value are those of X. A column with
        one keeps its dtype if its new values allow it.

    Examples
    --------
    >>> import numpy as np
    >>> import pandas as pd
    >>> from skvae.tasks.tables import filled_table
    >>> X = pd.DataFrame({"a": pd.Series([1, None], dtype="Int64"), "b": ["x", "y"]})
    >>> filled_table(X, np.array([[1, "x"], [2.0, "y"]], dtype=object)).dtypes.astype(str).tolist()
    ['Int64', 'str']
    """
    if hasattr(X, "iloc"):
        return _filled_pandas(X, np.asarray(filled))
    if hasattr(X, "columns") and hasattr(X, "with_columns"):
        return _filled_polars(X, np.asarray(filled))
    return filled


def _filled_pandas(X, filled):
    """Return a data frame of pandas with filled-in values."""
    table = X.copy(deep=False)
    for j in range(X.shape[1]):
        column = X.iloc[:, j]
        missing = column.isna().to_numpy()
        if missing.any():
            table.isetitem(j, _pandas_column(column, missing, filled[missing, j]))
    return table


def _pandas_column(column, missing, values):
    """Return a column of pandas with values where they are missing."""
    import pandas as pd

    dtype = column.dtype
    if pd.api.types.is_bool_dtype(dtype):
        values = _whole(values, bool)
    elif pd.api.types.is_integer_dtype(dtype):
        values = _whole(values, int)
    objects = column.astype(object).to_numpy(copy=True)
    objects[missing] = values
    objects = pd.Series(objects, index=column.index, name=column.name, dtype=object)
    extension = not isinstance(dtype, np.dtype) and not isinstance(dtype, pd.CategoricalDtype)
    if isinstance(dtype, pd.CategoricalDtype) and not set(values) <= set(dtype.categories):
        dtype = np.float64
    for candidate in (dtype, "Float64" if extension else np.float64):
        try:
            return objects.astype(candidate)
        except (OverflowError, TypeError, ValueError):
            continue
    return objects


def _filled_polars(X, filled):
    """Return a data frame of polars with filled-in values."""
    columns = []
    for j, column in enumerate(X.get_columns()):
        missing = column.is_null()
        if column.dtype.is_float():
            missing |= column.is_nan().fill_null(True)
        missing = missing.to_numpy()
        if missing.any():
            columns.append(_polars_column(column, missing, filled[missing, j]))
    return X.with_columns(columns)


def _polars_column(column, missing, values):
    """Return a column of polars with values where they are missing."""
    import polars as pl

    if column.dtype == pl.Boolean:
        values = _whole(values, bool)
    elif column.dtype.is_integer():
        values = _whole(values, int)
    objects = np.array([*column.to_list(), None], dtype=object)[:-1]
    objects[missing] = values
    for dtype in (column.dtype, pl.Float64):
        try:
            return pl.Series(column.name, objects.tolist(), dtype=dtype, strict=True)
        except (TypeError, ValueError, pl.exceptions.PolarsError):
            continue
    return pl.Series(column.name, objects.tolist(), strict=False)


def _whole(values, kind):
    """Return whole numbers as Python integers or flags, all other values as they are."""
    numbers = np.asarray(values, dtype=np.float64)
    whole = np.isin(numbers, (0, 1)) if kind is bool else numbers == np.floor(numbers)
    if whole.all():
        return np.array([kind(value) for value in numbers], dtype=object)
    return values
