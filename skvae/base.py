"""What every model says in public, once: its verbs, the checks of input, the state it keeps."""

import math
from contextlib import contextmanager
from numbers import Integral
from operator import eq

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data

from skvae.blocks import checked_rows, checked_weights, is_distributed, with_known_size

LARGEST_FLOOR = 1e100  # of covariances: their determinants and products must not overflow
_NUMBERS = int, float, np.integer, np.floating  # a Fraction would make arrays of objects
_SMALLEST_WEIGHT = 1e-280  # so that no sum of weights overflows or loses digits


def check_number(name, value, kind, low, high=None, *, flags=False):
    """Raise ValueError unless ``value`` is a finite number of the kind, from ``low`` to ``high``.

    Parameters
    ----------
    name : str
        The parameter's name, for the message.
    value : Any
        What was passed.
    kind : {Integral, Real}
        The abstract type.
    low : float
        The smallest value allowed.
    high : float, optional
        The largest; None is 2**63 − 1 of integers.
    flags : bool
        Whether True and False count as numbers.
    """
    flag = isinstance(value, bool | np.bool_)
    of_kind = flags if flag else isinstance(value, kind) and isinstance(value, _NUMBERS)
    if high is None:
        high = 2**63 - 1 if kind is Integral else math.inf
    if not of_kind or not _is_held(value) or not low <= _plain(value) <= high:
        noun = "an integer" if kind is Integral else "a finite number"
        beyond = f" and <= {high:.3g}" if of_kind and low <= _plain(value) > high else ""
        raise ValueError(f"{name}={value!r}: must be {noun} >= {low}{beyond}")


def _plain(value):
    """Return a number as an int or float: a float32 cannot be compared with 1e100."""
    with np.errstate(over="ignore"):
        return int(value) if isinstance(value, Integral) else float(value)


def _is_held(value):
    """Return whether an int64 holds an integer, or a float64 another number."""
    value = _plain(value)
    return -(2**63) <= value < 2**63 if isinstance(value, int) else math.isfinite(value)


def check_choice(name, value, choices):
    """Raise ValueError unless ``value`` is one of the choices."""
    same = (isinstance(value, str | bool | np.bool_) and value == choice for choice in choices)
    if not any(same) and not (value is None and None in choices):
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name}={value!r}: must be one of {listed}")


def check_random(name, value):
    """Raise ValueError unless ``value`` seeds or is a generator, or is None."""
    try:
        check_random_state(value)
    except ValueError as error:
        raise ValueError(
            f"{name}={value!r}: must be None, an integer in [0, 2**32) or a RandomState"
        ) from error


def check_as_fitted(name, now, before, why, same=eq):
    """Raise ValueError unless a parameter is as in the fit that a further one goes on from.

    Parameters
    ----------
    name : str
        The parameter's name, for the message.
    now, before : Any
        What it is, and what it was.
    why : str
        What goes on, for the message: ``"partial_fit"`` or ``"warm_start=True"``.
    same : callable
        ``(now, before) → bool``, whether they mean the same.
    """
    if not same(now, before):
        raise ValueError(
            f"{name}={now!r}: {why} goes on from a model that was fitted with {name}={before!r}; "
            "keep it, or fit a new estimator"
        )


def check_array_parameter(name, value, shape, meaning, *, largest=1e280):
    """Return a parameter as a new float array; raise ValueError unless finite and of the shape.

    Parameters
    ----------
    name : str
        The parameter's name, for the message.
    value : Any
        What was passed.
    shape : tuple of int or None
        The shape wanted; None is any.
    meaning : str
        That shape in words.
    largest : float
        What sizes must be below, so that products and, of locations, squares do not overflow.
    """
    try:
        if np.iscomplexobj(value):
            raise TypeError("complex numbers")
        with np.errstate(over="ignore"):  # infinite then
            array = np.array(_without_mask(value), dtype=np.float64)
    except (OverflowError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r}: must be an array of numbers {meaning}") from error
    said = "" if array.ndim else f" ({value!r})"
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}{said}: must have shape {shape} {meaning}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity{said}: must be finite")
    if array.size and np.abs(array).max() >= largest:
        raise ValueError(
            f"{name} has an entry of size {np.abs(array).max():.3g}: must be below {largest:.0e}, "
            "or what is computed of it overflows; rescale X"
        )
    return array


def _without_mask(X):
    """Return a masked array as one in which NaN is what was masked, and others as they are."""
    if not isinstance(X, np.ma.MaskedArray):
        return X
    if X.dtype.kind == "V":
        return np.ma.getdata(X)
    if X.dtype.kind not in "biuf":  # others are not data, or cannot be told from it
        return np.ma.getdata(X) if not np.ma.is_masked(X) else X.astype(object).filled(np.nan)
    return X.astype(np.float32 if X.dtype == np.float32 else np.float64).filled(np.nan)


def _as_array_like(X):
    """Return what scikit-learn's validation says the right thing about."""
    if hasattr(X, "columns") and tuple(getattr(X, "shape", ()))[1:] == (0,):
        return np.empty(X.shape)  # of a data frame without columns
    return _without_mask(X)


@contextmanager
def reading(name):
    """Let what float64 does not hold become infinite, and name what cannot be read as numbers."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            yield
    except (OverflowError, RuntimeError) as error:  # a Python integer, a tensor with a gradient
        raise ValueError(f"{name} cannot be read as numbers of float64: {error}") from error
    except np.exceptions.DTypePromotionError as error:  # dates beside numbers
        raise TypeError(f"{name} has columns that are not numbers: {error}") from error


class LatentVariableModel(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator
):
    """Base of the suite: a density p(x) = ∫ p(x, z) dz that transforms x into the posterior of z.

    A subclass has ``fit``, ``score_samples``, ``transform``, ``sample``; sets ``_n_features_out``.
    """

    _sums_over_chunks = False  # of Dask arrays

    __metadata_request__fit = {"sample_weight": True}
    __metadata_request__partial_fit = {"sample_weight": True}
    __metadata_request__score = {"sample_weight": True}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    @contextmanager
    def _unchanged_on_failure(self):
        """Put back every attribute if what is done meanwhile fails or is interrupted."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before  # in one step, which a second Ctrl-C cannot divide
            raise

    def _validate(self, X, *, reset=False, min_rows=1):
        """Return X as a 2-D float array in which NaN is missing and nothing is infinite.

        A Dask array stays one where the model sums over its chunks, which are checked when they are
        read; elsewhere it is read into memory.
        """
        if self._sums_over_chunks and is_distributed(X):
            return self._validate_distributed(X, reset, min_rows)
        with reading("X"):
            X = validate_data(
                self,
                _as_array_like(X),
                reset=reset,
                dtype=[np.float64, np.float32],
                ensure_all_finite="allow-nan",
                ensure_min_samples=min_rows,
            )
        # A data frame may hold the other byte order.
        return X.astype(X.dtype.newbyteorder("="), copy=False)

    def _validate_distributed(self, X, reset, min_rows):
        """Return a Dask array of rows to be checked; their number stays unknown if none need be."""
        X = checked_rows(X, _checked_chunk)
        if min_rows:
            X = with_known_size(X)
            if len(X) < min_rows:
                raise ValueError(
                    f"Found array with {len(X)} sample(s) (shape={X.shape}) while a minimum of "
                    f"{min_rows} is required by {type(self).__name__}."
                )
        validate_data(self, X, reset=reset, skip_check_array=True)
        return X

    def _validate_weight(self, sample_weight, X, name="sample_weight", *, relative=False):
        """Return the weights as float64 (n_samples,), or None if all are one.

        Those of a Dask array are DistributedWeights. Relative ones are for a mean: products of
        them do not overflow.
        """
        if sample_weight is None:
            return None
        if np.ma.is_masked(sample_weight):
            raise ValueError(f"{name} has a masked entry: must be a number for each row")
        try:
            if isinstance(sample_weight, complex | np.complexfloating):
                raise TypeError("it is complex")  # of arrays scikit-learn says so
            if is_distributed(X):
                weight = checked_weights(sample_weight, X)
            else:
                weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        except (OverflowError, TypeError) as error:
            raise ValueError(f"{name} must be an array of numbers: {error}") from error
        except ValueError as error:  # scikit-learn's, which does not always name it
            text = str(error).replace("sample_weight", name)
            raise ValueError(text if name in text else f"{name}: {text}") from error
        if weight.min() < 0:
            raise ValueError(f"{name} has a negative entry {weight.min()}: must be >= 0")
        if not weight.any():
            raise ValueError(f"{name} is zero in every row: at least one must be > 0")
        if not _SMALLEST_WEIGHT < weight.max() < 1 / _SMALLEST_WEIGHT:
            raise ValueError(
                f"{name} has the largest entry {weight.max():.3g}: must be between "
                f"{_SMALLEST_WEIGHT} and {1 / _SMALLEST_WEIGHT}; rescale it"
            )
        if relative and isinstance(weight, np.ndarray) and weight.max() > 1e15:
            return weight / weight.max()
        return weight

    def _random_state_of(self, random_state):
        """Return the generator of a draw: that of the call, or else of the estimator."""
        check_random("random_state", random_state)
        return check_random_state(self.random_state if random_state is None else random_state)


def _checked_chunk(X):
    """Return some rows of a Dask array, checked as X in memory is."""
    return LatentVariableModel()._validate(X, reset=True, min_rows=0)
