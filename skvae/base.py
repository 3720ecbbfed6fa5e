"""What every model says in public, once: its verbs, the checks of input, the state it keeps."""

from contextlib import contextmanager
from numbers import Integral

import numpy as np
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, validate_data

_SMALLEST_WEIGHT = 1e-280  # so that no sum of weights overflows or loses digits


def check_number(name, value, kind, low, *, flags=False):
    """Raise ValueError unless ``value`` is a finite number of the kind and at least ``low``.

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
    flags : bool
        Whether True and False count as numbers.
    """
    flag = isinstance(value, bool | np.bool_)
    of_kind = flags if flag else isinstance(value, kind)
    if not of_kind or not np.isfinite(value) or value < low:
        noun = "an integer" if kind is Integral else "a finite number"
        raise ValueError(f"{name}={value!r}: must be {noun} >= {low}")


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


def check_array_parameter(name, value, shape, meaning):
    """Return a parameter as a new float array; raise ValueError unless finite and of the shape."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}={value!r}: must be an array of numbers {meaning}") from error
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name} has shape {array.shape}: must have shape {shape} {meaning}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contains NaN or infinity: must be finite")
    return array


class LatentVariableModel(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator
):
    """Base of the suite: a density p(x) = ∫ p(x, z) dz that transforms x into the posterior of z.

    A subclass has ``fit``, ``score_samples``, ``transform``, ``sample``; sets ``_n_features_out``.
    """

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
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _validate(self, X, *, reset=False, min_rows=1):
        """Return X as a 2-D float array in which NaN is missing and nothing is infinite."""
        if isinstance(X, np.ma.MaskedArray):
            X = X.astype(np.result_type(X.dtype, np.float32)).filled(np.nan)
        return validate_data(
            self,
            X,
            reset=reset,
            dtype=[np.float64, np.float32],
            ensure_all_finite="allow-nan",
            ensure_min_samples=min_rows,
        )

    def _validate_weight(self, sample_weight, X, name="sample_weight"):
        """Return the weights as float64 (n_samples,), or None if all are one."""
        if sample_weight is None:
            return None
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        if (weight < 0).any():
            raise ValueError(f"{name} has a negative entry {weight.min()}: must be >= 0")
        if not weight.any():
            raise ValueError(f"{name} is zero in every row: at least one must be > 0")
        if not _SMALLEST_WEIGHT < weight.max() < 1 / _SMALLEST_WEIGHT:
            raise ValueError(
                f"{name} has the largest entry {weight.max():.3g}: must be between "
                f"{_SMALLEST_WEIGHT} and {1 / _SMALLEST_WEIGHT}; rescale it"
            )
        return weight

    def _random_state_of(self, random_state):
        """Return the generator of a draw: that of the call, or else of the estimator."""
        check_random("random_state", random_state)
        return check_random_state(self.random_state if random_state is None else random_state)
