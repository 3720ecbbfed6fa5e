"""Base of all models: the public methods of a density, checks of its input, kept state."""

import inspect
from contextlib import contextmanager
from numbers import Integral

import numpy as np
from sklearn import get_config
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    DensityMixin,
    TransformerMixin,
)
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skvae.blocks import checked_rows, checked_weights, is_distributed, with_known_size
from skvae.columns import index_of
from skvae.documentation import page_fields, page_template
from skvae.tables import as_table, dtypes_of
from skvae.validation import check_random, numbers_of, reading, refuse_series

_FLOATS = np.dtype(np.float64), np.dtype(np.float32)
_SMALLEST_WEIGHT = 1e-280  # so that no sum of weights overflows or loses digits


def not_named(cls):
    """Return a base class whose methods call themselves by their name alone in Python's errors.

    An error about a missing argument would name the base class, which users do not see.
    """
    for name, function in vars(cls).items():
        if not name.startswith("_") and inspect.isfunction(function):
            function.__qualname__ = inspect.unwrap(function).__qualname__ = name
    return cls


@not_named
class LatentVariableModel(
    ClassNamePrefixFeaturesOutMixin, TransformerMixin, DensityMixin, BaseEstimator
):
    """Base of the suite: a density p(x) = ∫ p(x, z) dz that transforms x into the posterior of z.

    A subclass has ``fit``, ``score_samples``, ``transform``, ``sample``; sets ``_n_features_out``.
    """

    _sums_over_chunks = False  # of Dask arrays

    # scikit-learn's way to the page of an estimator from its HTML representation.
    _doc_link_module = "skvae"
    _doc_link_template = page_template
    _doc_link_url_param_generator = page_fields

    __metadata_request__fit = {"sample_weight": True}
    __metadata_request__partial_fit = {"sample_weight": True}
    __metadata_request__score = {"sample_weight": True}

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _output_library(self):
        """Return 'pandas' or 'polars' if ``set_output`` or the configuration has it, else None."""
        library = self._output_setting() or get_config()["transform_output"]
        return library if library in ("pandas", "polars") else None

    def _output_setting(self):
        """Return the setting of ``set_output``, or None if it was not called."""
        # scikit-learn has no other way to read it than the attribute that holds it.
        return vars(self).get("_sklearn_output_config", {}).get("transform")

    def _as_set(self, X, like=None, *, index=None):
        """Return rows of features as ``set_output`` sets them: the array, or a table.

        A table has the index and the dtypes of ``like``, the X of these rows; without it, the given
        index, and the dtypes of the X of the fit. A list of sequences gives a list of tables.
        """
        library = self._output_library()
        if library is None or is_distributed(X):
            return X
        if isinstance(X, list):
            return [self._as_set(*pair) for pair in zip(X, like, strict=True)]
        if like is None:
            return as_table(X, library, self._column_names(), index, vars(self).get("_dtypes_in"))
        return as_table(X, library, self._column_names(), index_of(like), dtypes_of(like))

    def _column_names(self):
        """Return the names of the columns of tables with rows of features."""
        return list(
            getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])
        )

    def _listed(self, latents, X):
        """Return posteriors of a list of sequences, as ``set_output`` sets those of rows."""
        library, names = self._output_library(), self.get_feature_names_out()
        pairs = zip(latents, X, strict=True)
        return [as_table(latent, library, names, index_of(each)) for latent, each in pairs]

    def transform(self, X, **params):
        """Return the posterior of the latent variable of each row, as ``predict_proba`` does."""
        return self._latent(X, **params)

    def _latent(self, X, **params):
        """Return the result of ``transform``; a continuous latent variable needs another one."""
        return self.predict_proba(X, **params)

    @contextmanager
    def _unchanged_on_failure(self):
        """Restore every attribute if the body of the with statement fails or is interrupted."""
        before = self.__dict__.copy()
        try:
            yield
        except BaseException:
            self.__dict__ = before  # in one step, which a second Ctrl-C cannot divide
            raise

    def _validate(self, X, *, reset=False, min_rows=1):
        """Return X as a 2-D float array in which NaN is missing and nothing is infinite.

        A Dask array stays one if the model sums over chunks, which are checked when they are read;
        otherwise it is read into memory.
        """
        return self._validated(X, reset, min_rows)[0]

    def _validated(self, X, reset, min_rows):
        """Return X as :meth:`_validate` does, and whether it is known to have no missing value."""
        if reset:
            vars(self).pop("_dtypes_in", None)
        if type(X) is np.ndarray and self._passes(X, reset, min_rows):
            return X, True
        if self._sums_over_chunks and is_distributed(X):
            return self._validate_distributed(X, reset, min_rows), False
        if getattr(X, "ndim", 2) > 2:  # images, for which scikit-learn's text has no remedy
            raise ValueError(
                f"X of shape {X.shape} has {X.ndim} dimensions: must have 2, one row for each "
                "sample, as X.reshape(len(X), -1) has"
            )
        checks = {
            "dtype": [np.float64, np.float32],
            "ensure_all_finite": "allow-nan",
            "ensure_min_samples": min_rows,
        }
        refuse_series(X)
        with reading("X"):
            given, X = X, numbers_of(X, "X")
            if X is not given and hasattr(given, "columns"):  # an array without their names
                validate_data(self, given, reset=reset, skip_check_array=True)
                X = check_array(X, input_name="X", estimator=self, **checks)
            else:
                X = validate_data(self, X, reset=reset, **checks)
        of_floats = getattr(getattr(given, "dtype", None), "kind", "O") == "f"
        if reset and not of_floats and (dtypes := dtypes_of(given)) is not None:
            self._dtypes_in = dtypes
        # A data frame may hold the other byte order.
        return X.astype(X.dtype.newbyteorder("="), copy=False), False

    def _passes(self, X, reset, min_rows):
        """Return whether a plain array passes every check, without the time of making them.

        It has only values for which scikit-learn's checks return X itself. All other input goes
        through them, for their errors, warnings and conversions.
        """
        if X.ndim != 2 or X.dtype not in _FLOATS or len(X) < min_rows or not X.shape[1]:
            return False
        if hasattr(self, "feature_names_in_"):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            # Half of the time of X.sum(), which adds pairwise.
            if not np.isfinite(np.einsum("ij->", X)):
                return False
        if reset:
            self.n_features_in_ = X.shape[1]
        return X.shape[1] == getattr(self, "n_features_in_", None)

    def _check_fitted(self):
        """Raise NotFittedError unless the model is fitted."""
        if not hasattr(self, "n_features_in_"):
            check_is_fitted(self)

    def _validate_distributed(self, X, reset, min_rows):
        """Return a Dask array of rows, checked when read; their number is not needed for 0."""
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

        For a Dask array X they are DistributedWeights. Relative weights are for a mean, and are
        scaled so that their products do not overflow.
        """
        if sample_weight is None:
            return None
        if np.ma.is_masked(sample_weight):
            raise ValueError(f"{name} has a masked entry: must be a number for each row")
        try:
            if isinstance(sample_weight, complex | np.complexfloating):
                raise TypeError("it is complex")  # for arrays scikit-learn raises this
            if is_distributed(X):
                weight = checked_weights(sample_weight, X, name)
            else:
                sample_weight = numbers_of(sample_weight, name)
                weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        except (OverflowError, RuntimeError, TypeError) as error:
            raise ValueError(f"{name} must be an array of numbers: {error}") from error
        except ValueError as error:  # scikit-learn's text does not always have the name
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
        """Return the generator of a draw: the call's, or else the estimator's."""
        check_random("random_state", random_state)
        return check_random_state(self.random_state if random_state is None else random_state)

    def _generator_of(self, random_state):
        """Return a new Generator for a draw: it is faster than a RandomState of the same seed."""
        seed = self.random_state if random_state is None else random_state
        check_random("random_state", seed)
        if isinstance(seed, Integral):
            return np.random.default_rng(int(seed))
        numbers = check_random_state(seed).randint(0, 1 << 32, size=4, dtype=np.uint32)
        return np.random.default_rng(numbers)


def _checked_chunk(X):
    """Return some rows of a Dask array, checked like X in memory."""
    return LatentVariableModel()._validate(X, reset=True, min_rows=0)
