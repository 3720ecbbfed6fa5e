"""Checks of parameters and of rows, each with the text of its error."""

import math
from contextlib import contextmanager
from datetime import date, time, timedelta
from numbers import Integral
from operator import eq

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_random_state

LARGEST_FLOOR = 1e100  # of covariances: their determinants and products must not overflow
_REAL = "biuf"  # kinds of dtypes whose entries are real numbers
_NUMBERS = int, float, np.integer, np.floating  # a Fraction would make arrays of objects
_TIMES = date, time, timedelta, np.datetime64, np.timedelta64
_MISSING = "NAType", "NaTType"  # of pandas, which need not be installed
_ENCODE = (
    "; encode the column as numbers, as sklearn.preprocessing.OneHotEncoder does, or as codes of "
    "categories (OrdinalEncoder) for a categorical emission or likelihood, or leave it out; a part "
    "('categorical', columns) of an autoencoder's likelihood takes strings"
)


def check_number(name, value, kind, low, high=None, *, flags=False):
    """Raise ValueError unless ``value`` is a finite number of the kind, from ``low`` to ``high``.

    Parameters
    ----------
    name : str
        The parameter's name, for the message.
    value : Any
        The value passed.
    kind : {Integral, Real}
        The abstract type.
    low : float
        The smallest value allowed.
    high : float, optional
        The largest; None is 2**63 − 1 of integers.
    flags : bool
        Whether True and False count as numbers.
    """
    # Most values pass here, in a tenth of the time.
    plain = type(value) is int or (type(value) is float and kind is not Integral)
    if plain and low <= value <= (2**63 - 1 if high is None else high) and value < 2**63:
        return
    is_flag = isinstance(value, bool | np.bool_)
    is_kind = flags if is_flag else isinstance(value, kind) and isinstance(value, _NUMBERS)
    is_kind = is_kind and not isinstance(value, np.timedelta64)  # NumPy counts it as an integer
    if high is None:
        high = 2**63 - 1 if kind is Integral else math.inf
    if is_kind:
        # A float32 cannot be compared with 1e100, and a large integer overflows in float64.
        with np.errstate(over="ignore"):
            number = int(value) if isinstance(value, Integral) else float(value)
        representable = abs(number) < 2**63 if isinstance(number, int) else math.isfinite(number)
        if representable and low <= number <= high:
            return
    noun = "an integer" if kind is Integral else "a finite number"
    beyond = f" and <= {high:.3g}" if is_kind and number > high else ""
    raise ValueError(f"{name}={value!r}: must be {noun} >= {low}{beyond}")


def check_choice(name, value, choices):
    """Raise ValueError unless ``value`` is one of the choices."""
    if isinstance(value, str | bool | np.bool_ | None) and value in choices:
        return
    listed = ", ".join(repr(choice) for choice in choices)
    raise ValueError(f"{name}={value!r}: must be one of {listed}")


def check_random(name, value):
    """Raise ValueError unless ``value`` seeds or is a generator, or is None."""
    if value is None or isinstance(value, np.random.RandomState):
        return
    if type(value) is int and 0 <= value < 2**32:
        return
    try:
        check_random_state(value)
    except (TypeError, ValueError) as error:  # of a duration, which is an integer to NumPy
        raise ValueError(
            f"{name}={value!r}: must be None, an integer in [0, 2**32) or a RandomState"
        ) from error


def check_as_fitted(name, now, before, why, same=eq):
    """Raise ValueError unless a parameter is as in the fit that is to be continued.

    Parameters
    ----------
    name : str
        The parameter's name, for the message.
    now, before : Any
        Its values now and in the earlier fit.
    why : str
        The continuation, for the message: ``"partial_fit"`` or ``"warm_start=True"``.
    same : callable
        ``(now, before) → bool``, whether they mean the same.
    """
    if not same(now, before):
        raise ValueError(
            f"{name}={now!r}: {why} continues a model that was fitted with {name}={before!r}; "
            "keep it, or fit a new estimator"
        )


def same_value(now, before):
    """Return whether two values of a parameter are equal, numbers, strings or arrays of them."""
    try:
        return bool(np.array_equal(now, before))
    except (TypeError, ValueError):  # ragged, or no array
        return now is before


def check_array_parameter(name, value, shape, meaning, *, largest=1e280):
    """Return a parameter as a new float array; raise ValueError unless finite and of the shape.

    Parameters
    ----------
    name : str
        The parameter's name, for the message.
    value : Any
        The value passed.
    shape : tuple of int or None
        The required shape; None allows any.
    meaning : str
        The shape in words, for the message.
    largest : float
        Upper limit of absolute values: products, and squares of locations, must not overflow.
    """
    plain = type(value) is np.ndarray and value.dtype == np.float64 and value.size
    # An array that passes this passes all of the checks below; NaN does not.
    if plain and shape in (None, value.shape) and np.abs(value).max() < largest:
        return np.array(value)
    try:
        if np.iscomplexobj(value):
            raise TypeError("complex numbers")
        with np.errstate(over="ignore"):  # infinite then
            value = value if isinstance(value, float) else numbers_of(value, name)
            array = np.array(value, dtype=np.float64)
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r}: must be an array of numbers {meaning}") from error
    text = "" if array.ndim else f" ({value!r})"
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}{text}: must have shape {shape} {meaning}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity{text}: must be finite")
    if array.size and np.abs(array).max() >= largest:
        raise ValueError(
            f"{name} has an entry of size {np.abs(array).max():.3g}: must be below {largest:.0e}, "
            "or its products overflow; rescale X"
        )
    return array


def check_stochastic(name, value, shape, meaning):
    """Return an array parameter of distributions as its rows; raise ValueError if they are not."""
    array = check_array_parameter(name, value, shape, meaning)
    if (array < 0).any():
        raise ValueError(f"{name} has an entry {array.min()}: must be >= 0")
    totals = array.sum(axis=-1)
    if (np.abs(totals - 1) > 1e-6).any():
        worst = np.ravel(totals)[np.argmax(np.abs(np.ravel(totals) - 1))]
        raise ValueError(f"{name} has a row that sums to {worst:.9g}: must sum to 1")
    return array / totals[..., None]


def check_concentration(name, value, shapes):
    """Return concentrations of Dirichlet priors in the last of the shapes that they may have.

    Raises
    ------
    ValueError
        They have none of the shapes, are not numbers, or are below 1.
    """
    if type(value) is float and 1.0 <= value < 1e280:
        return np.full(shapes[-1], value)
    array = check_array_parameter(name, value, None, "")
    if array.shape not in shapes:
        allowed = ", ".join(map(str, shapes))
        raise ValueError(f"{name} has shape {array.shape}: must have one of the shapes {allowed}")
    if (array < 1).any():
        raise ValueError(
            f"{name}={value!r}: must be >= 1, as the objective has no maximum below (1 is no prior)"
        )
    return np.broadcast_to(array, shapes[-1]).copy()


def _without_mask(X):
    """Return a masked array as an ndarray with NaN where it is masked."""
    if X.dtype.kind == "V":
        return np.ma.getdata(X)
    if X.dtype.kind not in "biuf":  # no numbers: masked entries become NaN among objects
        return np.ma.getdata(X) if not np.ma.is_masked(X) else X.astype(object).filled(np.nan)
    return X.astype(np.float32 if X.dtype == np.float32 else np.float64).filled(np.nan)


def numbers_of(X, name):
    """Return X with NaN where it is missing, in a form that scikit-learn can read or refuses.

    Masked entries are missing, and so are None, ``NaT`` and ``pandas.NA`` among objects. Arrays and
    tables with dtypes of numbers are returned as they are.

    Parameters
    ----------
    X : array-like
        Rows, weights or a parameter.
    name : str
        Its name, for messages.

    Raises
    ------
    TypeError
        An entry is a date, a duration, or an object that is no number.
    ValueError
        An entry is a string that is no number, or a column is complex: the message names the
        column. Rows have different numbers of values: the message names the first such row.
    """
    if isinstance(X, np.ma.MaskedArray):
        X = _without_mask(X)
    if hasattr(X, "columns") and hasattr(X, "dtypes"):
        return _numbers_of_table(X, name)
    if not isinstance(X, np.ndarray | np.generic) and not issparse(X):
        try:
            array = np.asarray(X)
        except (TypeError, ValueError):
            _common_shape(X, name)
            return X  # scikit-learn's error has more
        X = array if array.ndim else X
    refuse_dtype(getattr(X, "dtype", None), name)
    if not isinstance(X, np.ndarray) or X.dtype.kind in f"{_REAL}V" or not X.size or X.ndim > 2:
        return X
    if X.ndim < 2:
        return _numbers_of_objects(X, name) if X.ndim else X
    columns = [_numbers_of_objects(x, f"{name}[:, {j}]") for j, x in enumerate(X.T)]
    return np.column_stack(columns)


def _common_shape(X, name):
    """Return the shape of nested lists; raise ValueError where it differs between two rows."""
    if not isinstance(X, list | tuple):
        return getattr(X, "shape", ())
    shapes = [_common_shape(row, f"{name}[{i}]") for i, row in enumerate(X)]
    for i, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"{name}[{i}] has shape {shape}, {name}[0] has {shapes[0]}: all must have the "
                "same; a missing value of X is NaN"
            )
    return (len(shapes), *shapes[0]) if shapes else (0,)


def _numbers_of_table(X, name):
    """Return a data frame, or its columns as one array if one of them needs a conversion."""
    if all(_is_plain(dtype) for dtype in X.dtypes):
        return X if len(X.columns) else np.empty(X.shape)
    columns = []
    for j, (title, dtype) in enumerate(zip(X.columns, X.dtypes, strict=True)):
        label = f"{name}[{title!r}]" if isinstance(title, str) else f"{name}[:, {j}]"
        refuse_dtype(dtype, label)
        column = X.iloc[:, j] if hasattr(X, "iloc") else X[:, j]
        if isinstance(dtype, np.dtype) and dtype.kind in _REAL:
            columns.append(np.asarray(column))
        else:
            columns.append(_numbers_of_objects(np.fromiter(column, dtype=object), label))
    return np.column_stack(columns)


def _is_plain(dtype):
    """Return whether the dtype of a column of a data frame is one of real numbers."""
    if hasattr(dtype, "is_numeric"):  # of polars
        return dtype.is_numeric() or str(dtype) == "Boolean"
    return getattr(dtype, "kind", "O") in _REAL


def refuse_dtype(dtype, label):
    """Raise an error if a dtype is one of dates, durations or complex numbers."""
    if getattr(dtype, "kind", "O") == "c":
        raise ValueError(
            f"{label}: Complex data not supported ({dtype}): must be real, such as their absolute "
            "values, or their real and imaginary parts in a column each"
        )
    if hasattr(dtype, "is_temporal"):  # of polars
        is_time = dtype.is_temporal()
    else:
        is_time = getattr(dtype, "kind", "O") in "mM" or type(dtype).__name__ == "PeriodDtype"
    if is_time:
        raise _times_error(label, dtype)


def refuse_series(X):
    """Raise ValueError if X is a Series of pandas or polars, whose values have no column."""
    if hasattr(X, "to_frame") and not hasattr(X, "columns"):
        raise ValueError(
            f"Expected 2D array, got a Series of {len(X)} values: X must have a column for each "
            "feature. Reshape your data by X.to_frame() if it is one feature"
        )


def _times_error(label, kind):
    remedy = (
        "; times of rows can be the index of a pandas table (set_index)" if "[" in label else ""
    )
    return TypeError(
        f"{label} holds dates or durations ({kind}): must be numbers, such as the days since a "
        f"first date{remedy}"
    )


def _numbers_of_objects(values, label):
    """Return objects or strings, an array of shape (n,), as float64; None is NaN."""
    values = values.astype(object, copy=False)
    kinds = set(map(type, values))
    if any(issubclass(kind, _TIMES) or kind.__name__ in (*_MISSING, "Period") for kind in kinds):
        missing = np.array([is_missing(value) for value in values])
        for value in values[~missing]:
            if isinstance(value, _TIMES) or type(value).__name__ == "Period":
                raise _times_error(label, type(value).__name__)
        values = np.where(missing, np.nan, values)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            return values.astype(np.float64)
    except (OverflowError, TypeError, ValueError) as error:
        _common_shape(list(values), label)
        kind = TypeError if isinstance(error, TypeError) else ValueError
        remedy = _ENCODE if any(issubclass(kind, str | bytes) for kind in kinds) else ""
        raise kind(f"{label} must be numbers of float64: {error}{remedy}") from error


def is_missing(value):
    """Return whether an object is ``pandas.NA`` or a ``NaT``."""
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return type(value).__name__ in _MISSING


@contextmanager
def reading(name):
    """Turn overflow on conversion to float64 into infinity, and errors into a clear text."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except (OverflowError, RuntimeError) as error:  # a Python integer, a tensor with a gradient
        raise ValueError(f"{name} cannot be read as numbers of float64: {error}") from error
    except np.exceptions.DTypePromotionError as error:  # dates beside numbers
        raise TypeError(f"{name} has columns that are not numbers: {error}") from error
