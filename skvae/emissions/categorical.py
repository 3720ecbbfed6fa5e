r"""Categorical emissions: columns of codes 0, 1, …, independent given the state.

.. math:: \ln p(x \mid k) = \sum_d \ln p_{kd}(x_d), \qquad
          p_{kd}(c) \leftarrow \frac{n_{kd}(c) + a - 1}{\sum_{c'} (n_{kd}(c') + a - 1)},

with a prior Dirichlet(a) on each distribution, where each category may have its own a; a = 1 is
none.

A block of rows is a sparse matrix S with a one for the category of each row and column. The
log-densities are S times a table of ln p, the statistics are Sᵀ times the responsibilities
(measured: two to four times as fast as a look-up and a histogram for each column, and, unlike
these, parallel in two threads).
"""

from dataclasses import dataclass
from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import xlogy

from skvae.ascent.loop import Collapse
from skvae.blocks import block_rows
from skvae.columns import (
    CODE_RULE,
    categories_of_columns,
    check_codes,
    check_n_categories,
    check_values,
    is_code,
)
from skvae.emissions.base import (
    NO_ROWS,
    Emission,
    check_first_values,
    check_width,
    label_statistics,
)
from skvae.emissions.domains import Simplex
from skvae.emissions.parameters import EmissionParameters
from skvae.fitted import new_instance
from skvae.gaussian.moments import feature_moments
from skvae.validation import (
    check_array_parameter,
    check_as_fitted,
    check_concentration,
    check_number,
)

_SMALLEST = 1e-300  # no probability is rounded to zero, as EM would never raise it again
_MOST_INDICATORS = 256  # columns of indicators in the clustering of first states
_FORM = "(n_components, n_features, n_categories)"


class CategoricalSummary(NamedTuple):
    """The numbers of categories in the data.

    Parameters
    ----------
    n_categories : ndarray of int, shape (n_features,)
        The number of categories of each column.
    """

    n_categories: np.ndarray


@dataclass(frozen=True)
class CategoricalParameters(EmissionParameters):
    """Parameters of categorical emissions.

    Parameters
    ----------
    probabilities : ndarray of shape (n_components, n_features, max_categories)
        Probabilities p, summing to one over the last axis, zero beyond a column's own categories.
    n_categories : ndarray of int, shape (n_features,)
        The number of categories of each column.

    Examples
    --------
    >>> from skvae.hmm import CategoricalEmission
    >>> CategoricalEmission.from_parameters([[[0.5, 0.5]]]).parameters().n_parameters()
    1
    """

    probabilities: Simplex
    n_categories: np.ndarray

    @property
    def own(self):
        """Return whether each entry is a category of its column, (n_features, max_categories)."""
        return np.arange(self.probabilities.shape[2]) < self.n_categories[:, None]

    def kernel(self):
        """Return the kernel of the states."""
        return CategoricalKernel(self)

    def n_free(self):
        """Return the number of free parameters of a state."""
        return {"probabilities": int((self.n_categories - 1).sum())}

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        uniform = rng.random_sample((len(states), self.n_features))
        # Divided by the last entry, so that no draw is beyond the last possible category.
        cumulated = np.cumsum(self.probabilities, axis=2)
        cumulated /= cumulated[:, :, -1:]
        X = np.empty(uniform.shape)
        for k in np.unique(states):
            rows = np.flatnonzero(states == k)
            for d in range(self.n_features):
                X[rows, d] = np.searchsorted(cumulated[k, d], uniform[rows, d], side="right")
        return X

    def means(self):
        """Return the mean code of each state, shape (n_components, n_features)."""
        return self.probabilities @ np.arange(self.probabilities.shape[2])

    def variances(self):
        """Return the variance of each code, shape (n_components, n_features)."""
        deviation = np.arange(self.probabilities.shape[2]) - self.means()[:, :, None]
        return (self.probabilities * deviation**2).sum(axis=2)

    def cdf(self, x):
        """Return P(code ≤ x | state), shape (..., K, D), of values (..., D)."""
        largest = self.probabilities.shape[2] - 1
        code = np.clip(np.floor(x), -1, largest).astype(np.int64)
        below = np.cumsum(self.probabilities, axis=2)
        below = np.concatenate([np.zeros_like(below[:, :, :1]), below / below[:, :, -1:]], axis=2)
        found = below[:, np.arange(self.n_features), code + 1]  # (K, ..., D)
        return np.moveaxis(found, 0, -2)

    def _filled(self, X, posterior):
        """Return rows with missing values at their most probable code."""
        probable = np.einsum("nk,kdc->ndc", posterior, self.probabilities).argmax(axis=2)
        return np.where(np.isnan(X), probable, X)

    def statistics(self, weights):
        """Return the expected statistics of ``weights[k]`` rows in each state k."""
        return np.asarray(weights, dtype=np.float64)[:, None, None] * self.probabilities

    def pack(self, summary):
        """Return the log-probabilities of the columns' own categories as a vector."""
        with np.errstate(divide="ignore"):
            return np.log(self.probabilities[:, self.own]).ravel()

    def unpack(self, vector, summary):
        """Return the parameters of a vector; raise Collapse if it is not finite."""
        own = self.own
        logs = np.full(self.probabilities.shape, -np.inf)
        logs[:, own] = vector.reshape(self.n_components, -1)
        top = logs.max(axis=2, keepdims=True)
        if not np.isfinite(top).all():
            raise Collapse("the extrapolation overflows")
        with np.errstate(under="ignore"):
            probabilities = np.exp(logs - top)
        probabilities[:, own] = np.maximum(probabilities[:, own], _SMALLEST)
        probabilities /= probabilities.sum(axis=2, keepdims=True)
        return self._replace(probabilities=probabilities)


class CategoricalKernel:
    """Log-densities and counts of rows of codes under K states.

    Parameters
    ----------
    parameters : CategoricalParameters
        The parameters.
    """

    def __init__(self, parameters):
        sizes = parameters.n_categories
        self._own = parameters.own
        self._shape = parameters.probabilities.shape
        self._sizes = sizes.astype(np.float64)
        self._first = np.cumsum(sizes, dtype=np.float64) - sizes
        self._total = int(sizes.sum())
        with np.errstate(divide="ignore"):
            logs = np.log(parameters.probabilities[:, self._own])
        # Two more entries: for a missing value, and for a value that is no category.
        rest = np.tile([0.0, -np.inf], (len(logs), 1))
        self._table = np.ascontiguousarray(np.hstack([logs, rest]).T)
        n_components, n_features = self._shape[:2]
        self.block_rows = block_rows(2 * n_components + 2 * n_features)
        self._ones = np.ones(self.block_rows * n_features)
        self._ends = np.arange(self.block_rows + 1, dtype=np.int32) * np.int32(n_features)

    def workspace(self):
        """Return None: each block allocates its own memory."""
        return

    def blocks(self, X, workspace):
        """Yield (slice(None), block): all rows are one block, also those with missing values."""
        place = X + self._first
        known = (X >= 0) & (self._sizes > X)
        if not known.all():
            place[~known] = np.where(np.isnan(X[~known]), self._total, self._total + 1)
        # float → int32 is exact: there are fewer categories than that.
        place = place.astype(np.int32).ravel()
        chosen = csr_array(
            (self._ones[: len(place)], place, self._ends[: len(X) + 1]),
            shape=(len(X), len(self._table)),
        )
        yield slice(None), _CategoricalBlock(self._table, chosen)

    def sums(self):
        """Return empty sums: the weight of each category, in rows like those of the table."""
        return np.zeros_like(self._table)

    def finish(self, sums):
        """Return the statistics, shape (n_components, n_features, max_categories)."""
        statistics = np.zeros(self._shape)
        statistics[:, self._own] = sums[: self._total].T
        return statistics


class _CategoricalBlock:
    """A block of rows as a sparse matrix of ones, (n, categories)."""

    __slots__ = ("_chosen", "_table")

    def __init__(self, table, chosen):
        self._table = table
        self._chosen = chosen

    def log_density(self):
        """Return the log-densities (K, n), in nats."""
        return (self._chosen @ self._table).T

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the sums in place."""
        sums += self._chosen.T @ resp.T


class CategoricalEmission(Emission):
    """Categorical emissions: each column a code 0, 1, …, independent given the state.

    Parameters
    ----------
    n_categories : int or sequence of int, default=None
        The number of categories of all columns, or of each column. None is the size of the last
        axis of ``probabilities_init`` or, without it, for each column the largest code in ``fit``
        plus one: the fitted model then raises an error for a larger code.
    prior : float or array-like of shape (n_categories,), default=1.0
        Concentrations ≥ 1 of the Dirichlet prior on each distribution: one number for all
        categories, or one for each; a column with fewer categories has the first of them. Its
        log-density is part of the objective; 1 is no prior.
    probabilities_init : array-like of shape (n_components, n_features, max_categories), \
            default=None
        First probabilities.

    Attributes
    ----------
    probabilities_ : ndarray of shape (n_components, n_features, max_categories)
        The probability of each category of each column in each state; zero beyond a column's own
        categories.
    n_categories_ : ndarray of int, shape (n_features,)
        The number of categories of each column.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    BernoulliEmission : Two categories.

    Notes
    -----
    NaN is a missing value and drops out. Means and covariances are those of the codes as numbers.

    Examples
    --------
    >>> from skvae.hmm import CategoricalEmission
    >>> emission = CategoricalEmission.from_parameters([[[0.5, 0.5, 0.0]], [[0.1, 0.1, 0.8]]])
    >>> emission.n_categories_
    array([3])
    """

    record = CategoricalParameters
    smooth_start = True

    def __init__(self, n_categories=None, *, prior=1.0, probabilities_init=None):
        self.n_categories = n_categories
        self.prior = prior
        self.probabilities_init = probabilities_init

    @classmethod
    def from_parameters(cls, probabilities, n_categories=None):
        """Return a fitted emission with known parameters.

        Parameters
        ----------
        probabilities : array-like of shape (n_components, n_features, max_categories)
            The probabilities; where columns differ in their number of categories, zero beyond.
        n_categories : int or sequence of int, default=None
            The number of categories of all columns, or of each column. None is the length of the
            last axis.

        Returns
        -------
        emission : CategoricalEmission
            Fitted.

        Raises
        ------
        ValueError
            The probabilities are not usable.

        Examples
        --------
        >>> from skvae.hmm import CategoricalEmission
        >>> emission = CategoricalEmission.from_parameters([[[0.5, 0.5]], [[0.1, 0.9]]])
        >>> emission.probabilities_.shape
        (2, 1, 2)
        """
        array = check_array_parameter("probabilities", probabilities, None, _FORM)
        check_n_categories(n_categories)
        if array.ndim != 3 or not array.size:
            raise ValueError(
                f"probabilities has shape {array.shape}: must have shape {_FORM}; a single "
                "column has n_features=1"
            )
        sizes = _sizes(n_categories, array.shape[1], array.shape[2])
        emission = new_instance(cls, n_categories=n_categories)
        emission.store(_parameters_of("probabilities", array, sizes))
        return emission

    def check_parameters(self, n_components):
        check_n_categories(self.n_categories)
        if np.ndim(self.prior) == 0:
            check_number("prior", self.prior, Real, 1)
        else:
            check_concentration("prior", self.prior, [(np.size(self.prior),)])
        self._first_probabilities(n_components)

    def _first_probabilities(self, n_components):
        """Return the parameters in ``probabilities_init``, or None."""
        name = "probabilities_init"
        array = check_first_values(name, self.probabilities_init, n_components, _FORM)
        if array is None:
            return None
        sizes = _sizes(self.n_categories, array.shape[1], array.shape[2])
        parameters = _parameters_of(name, array, sizes)
        if (self._extra(parameters) * (parameters.probabilities == 0)).any():
            raise ValueError(
                f"{name} has an entry 0: must be above it, as prior={self.prior!r} excludes it"
            )
        return parameters

    def check_rows(self, X, feature_names=None):
        n_features = X.shape[1]
        sizes, reason = self._known_sizes(n_features)
        if sizes is None:
            check_values(X, feature_names, is_code, CODE_RULE)
        else:
            check_codes(X, feature_names, sizes, reason)

    def _known_sizes(self, n_features):
        """Return (numbers of categories, their source), or (None, None) if the data decide."""
        if hasattr(self, "n_categories_"):
            reason = "the categories of the fit; give n_categories to have room for more"
            return self.n_categories_, reason
        if self.probabilities_init is not None:
            array = np.asarray(self.probabilities_init)
            check_width("probabilities_init", array, n_features)
            sizes = _sizes(self.n_categories, n_features, array.shape[2])
            return sizes, "the categories of probabilities_init"
        if self.n_categories is not None:
            reason = f"as n_categories={self.n_categories!r}"
            return _sizes(self.n_categories, n_features), reason
        return None, None

    def summarize(self, rows, pool, feature_names=None):
        moments = feature_moments(rows, pool, feature_names)
        if self.probabilities_init is not None or self.n_categories is not None:
            init = self.probabilities_init
            most = None if init is None else np.shape(init)[2]
            return CategoricalSummary(_sizes(self.n_categories, rows.X.shape[1], most))
        return CategoricalSummary(moments.magnitude.astype(np.intp) + 1)

    def features(self, X, summary):
        sizes = summary.n_categories
        if sizes.sum() > _MOST_INDICATORS:
            return X
        one_hot = [X[:, [j]] == np.arange(size) for j, size in enumerate(sizes)]
        missing = np.repeat(np.isnan(X), sizes, axis=1)
        return np.where(missing, np.nan, np.concatenate(one_hot, axis=1))

    def first(self, rows, labels, n_components, summary, rng):
        parameters = self._first_probabilities(n_components)
        if parameters is not None:
            check_width("probabilities_init", parameters.probabilities, rows.X.shape[1])
            return parameters
        sizes = summary.n_categories
        own = np.arange(sizes.max()) < sizes[:, None]
        uniform = np.where(own, 1.0 / sizes[:, None], 0.0)
        old = CategoricalParameters(np.tile(uniform, (n_components, 1, 1)), sizes)
        counts = label_statistics(old, rows, labels)
        # The rows of a label and one row of the overall distribution, which has no zero.
        unit = rows.weight() / rows.n_rows
        overall = counts.sum(axis=0) + unit * own
        overall /= overall.sum(axis=1, keepdims=True)
        counts += unit * overall
        empty = np.bincount(labels[labels >= 0], minlength=n_components) == 0
        # States with equal first parameters would stay equal.
        counts[empty] *= rng.uniform(0.5, 1.5, size=counts[empty].shape)
        return CategoricalParameters(counts / counts.sum(axis=2, keepdims=True), sizes)

    def _extra(self, parameters):
        """Return the counts that the prior adds, shape (n_features, most categories), or 0.0."""
        if type(self.prior) is float and self.prior == 1.0:
            return 0.0
        extra, most = np.asarray(self.prior, dtype=np.float64) - 1.0, parameters.own.shape[1]
        if extra.ndim and len(extra) != most:
            raise ValueError(
                f"prior has {len(extra)} entries: must have {most}, one for each category"
            )
        return extra * parameters.own

    def maximize(self, old, statistics, summary):
        counts = statistics + self._extra(old)
        weight = counts.sum(axis=2, keepdims=True)
        some = weight > NO_ROWS * statistics.sum()
        found = counts / np.where(some, weight, 1.0)
        return old._replace(probabilities=np.where(some, found, old.probabilities))

    def log_prior(self, parameters, summary):
        if type(self.prior) is float and self.prior == 1.0:
            return 0.0
        return float(xlogy(self._extra(parameters), parameters.probabilities).sum())

    def continued(self, earlier, why, feature_names=None):
        parameters = super().continued(earlier, why, feature_names)
        if self.n_categories is not None:
            before = parameters.n_categories
            sizes = categories_of_columns(self.n_categories, len(before))
            check_as_fitted(
                "n_categories", self.n_categories, before, why, lambda *_: (sizes == before).all()
            )
        if not np.any(self._extra(parameters)):
            return parameters
        # Without a prior EM may have ended at zeros, where the prior's density is zero.
        own = parameters.own
        lifted = np.where(own, np.maximum(parameters.probabilities, _SMALLEST), 0.0)
        return parameters._replace(probabilities=lifted / lifted.sum(axis=2, keepdims=True))

    def earlier_statistics(self, parameters, weights):
        extra, counts = self._extra(parameters), parameters.statistics(weights)
        if np.ndim(extra) == 0:
            return counts
        totals = extra.sum(axis=1, keepdims=True)
        return np.maximum(counts + totals * parameters.probabilities - extra, 0.0)


def _sizes(n_categories, n_features, most=None):
    """Return the number of categories of each column; the largest must be ``most``, if given."""
    sizes = categories_of_columns(most if n_categories is None else n_categories, n_features)
    if most is not None and sizes.max() != most:
        raise ValueError(
            f"n_categories={n_categories!r}: the largest must be {most}, the length of the last "
            "axis of the probabilities"
        )
    return sizes


def _parameters_of(name, array, sizes):
    """Return probabilities as parameters; raise ValueError unless they are distributions."""
    parameters = CategoricalParameters(array, sizes)
    if (array < 0).any():
        raise ValueError(f"{name} has an entry {array.min()}: must be >= 0")
    if array[:, ~parameters.own].any():
        raise ValueError(f"{name} has an entry above 0 beyond a column's n_categories={sizes}")
    total = array.sum(axis=2)
    wrong = total.ravel()[np.abs(total - 1.0).argmax()]
    if abs(wrong - 1.0) > 1e-6:
        raise ValueError(f"{name} sums to {wrong:.9g} over the last axis: must sum to 1")
    return parameters._replace(probabilities=array / total[:, :, None])
