"""Checks of parameters and of rows, each with the text of its error."""

import math
from contextlib import contextmanager
from numbers import Integral
from operator import eq

import numpy as np
from sklearn.utils import check_random_state

LARGEST_FLOOR = 1e100  # of covariances: their determinants and products must not overflow
_NUMBERS = int, float, np.integer, np.floating  # a Fraction would make arrays of objects


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
    if plain and low <= value <= (2**63 - 1 if high is None else high):
        return
    is_flag = isinstance(value, bool | np.bool_)
    is_kind = flags if is_flag else isinstance(value, kind) and isinstance(value, _NUMBERS)
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
    except ValueError as error:
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
    try:
        if np.iscomplexobj(value):
            raise TypeError("complex numbers")
        with np.errstate(over="ignore"):  # infinite then
            value = _without_mask(value) if isinstance(value, np.ma.MaskedArray) else value
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


def _without_mask(X):
    """Return a masked array as an ndarray with NaN where it is masked."""
    if X.dtype.kind == "V":
        return np.ma.getdata(X)
    if X.dtype.kind not in "biuf":  # no numbers: masked entries become NaN among objects
        return np.ma.getdata(X) if not np.ma.is_masked(X) else X.astype(object).filled(np.nan)
    return X.astype(np.float32 if X.dtype == np.float32 else np.float64).filled(np.nan)


def plain_array_like(X):
    """Return X in a form for which scikit-learn raises its usual error."""
    if hasattr(X, "columns") and tuple(getattr(X, "shape", ()))[1:] == (0,):
        return np.empty(X.shape)  # a data frame without columns
    return _without_mask(X) if isinstance(X, np.ma.MaskedArray) else X


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
