r"""Bernoulli emissions: columns of zeros and ones, independent given the state.

.. math:: \ln p(x \mid k) = \sum_d \bigl( x_d \ln p_{kd} + (1 - x_d) \ln (1 - p_{kd}) \bigr),
          \qquad p_{kd} \leftarrow \frac{s_{kd} + a - 1}{n_{kd} + 2 (a - 1)} ,

with a prior Beta(a, a) on each probability; a = 1 is none. Under a probability of 0 or 1 the value
is certain.
"""

from numbers import Real
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from skvae.ascent.loop import Collapse
from skvae.columns import check_values
from skvae.emissions.base import (
    Emission,
    check_first_values,
    check_width,
    label_statistics,
)
from skvae.emissions.exponential_family import ExponentialFamilyKernel, diagonal, weighted_mean
from skvae.fitted import FittedArray, new_instance
from skvae.gaussian.moments import feature_moments
from skvae.validation import check_array_parameter, check_number

_RULE = "a Bernoulli emission takes 0 and 1"
_SMALLEST, _LARGEST = 1e-300, np.nextafter(1.0, 0.0)


class BernoulliParameters(NamedTuple):
    """Parameters of Bernoulli emissions.

    Parameters
    ----------
    probabilities : ndarray of shape (n_components, n_features)
        p, the probability of a one.
    """

    probabilities: np.ndarray

    @property
    def n_components(self):
        """Return the number of states."""
        return self.probabilities.shape[0]

    @property
    def n_features(self):
        """Return the number of features."""
        return self.probabilities.shape[1]

    def kernel(self):
        """Return the kernel of the states."""
        p = self.probabilities
        no_ones, no_zeros = (p == 0).astype(np.float64), (p == 1).astype(np.float64)
        p = np.where((p == 0) | (p == 1), 0.5, p)
        constants = np.where(no_ones + no_zeros, 0.0, np.log1p(-p))
        slopes = np.where(no_ones + no_zeros, 0.0, np.log(p) - np.log1p(-p))
        # Excluded values: ones, x, where p = 0, and zeros, 1 − x, where p = 1.
        return ExponentialFamilyKernel(slopes, constants, (no_ones - no_zeros, no_zeros))

    def n_parameters(self, n_states=None):
        """Return the number of free parameters; that of fewer states if their number is given."""
        n_states = self.n_components if n_states is None else n_states
        return n_states * self.n_features

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        uniform = rng.random_sample((len(states), self.n_features))
        return (uniform < self.probabilities[states]).astype(np.float64)

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        return self.probabilities

    def covariances(self):
        """Return the covariance of each state, shape (n_components, n_features, n_features)."""
        return diagonal(self.probabilities * (1.0 - self.probabilities))

    def cdf(self, x):
        """Return P(value ≤ x | state), shape (..., K, D), of values (..., D)."""
        x = x[..., None, :]
        return np.where(x < 0, 0.0, np.where(x < 1, 1.0 - self.probabilities, 1.0))

    def imputed(self, X, posterior):
        """Return rows with missing values at their most probable value."""
        return np.where(np.isnan(X), posterior @ self.probabilities > 0.5, X)

    def statistics(self, weights):
        """Return the expected statistics of ``weights[k]`` rows in each state k."""
        weights = np.asarray(weights, dtype=np.float64)[:, None]
        shape = self.probabilities.shape
        return np.stack([np.broadcast_to(weights, shape), weights * self.probabilities])

    def pack(self, summary):
        """Return the log-odds as a vector."""
        with np.errstate(divide="ignore"):
            return (np.log(self.probabilities) - np.log1p(-self.probabilities)).ravel()

    def unpack(self, vector, summary):
        """Return the parameters of a vector; raise Collapse if it has NaN."""
        if np.isnan(vector).any():
            raise Collapse("the extrapolation overflows")
        # No probability is rounded to 0 or 1: EM would never change it again.
        probabilities = np.clip(expit(vector), _SMALLEST, _LARGEST)
        return BernoulliParameters(probabilities.reshape(self.probabilities.shape))


class BernoulliEmission(Emission):
    """Bernoulli emissions: each column zero or one, independent given the state.

    Parameters
    ----------
    prior : float, default=1.0
        Concentration a ≥ 1 of the prior Beta(a, a) on each probability. Its log-density is
        part of the objective; 1 is no prior.
    probabilities_init : array-like of shape (n_components, n_features), default=None
        First probabilities of a one.

    Attributes
    ----------
    probabilities_ : ndarray of shape (n_components, n_features)
        The probability of a one in each column and state.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    CategoricalEmission : More than two categories.

    Notes
    -----
    NaN is a missing value and drops out.

    Examples
    --------
    >>> from skvae.hmm import BernoulliEmission
    >>> emission = BernoulliEmission.from_parameters([[0.1, 0.5], [0.9, 0.5]])
    >>> emission.probabilities_
    array([[0.1, 0.5],
           [0.9, 0.5]])
    """

    probabilities_ = FittedArray()

    def __init__(self, *, prior=1.0, probabilities_init=None):
        self.prior = prior
        self.probabilities_init = probabilities_init

    @classmethod
    def from_parameters(cls, probabilities):
        """Return a fitted emission with known parameters.

        Parameters
        ----------
        probabilities : array-like of shape (n_components, n_features)
            The probabilities of a one.

        Returns
        -------
        emission : BernoulliEmission
            Fitted.

        Raises
        ------
        ValueError
            The probabilities are not usable.

        Examples
        --------
        >>> from skvae.hmm import BernoulliEmission
        >>> BernoulliEmission.from_parameters([[0.1, 0.5], [0.9, 0.5]]).n_features_in_
        2
        """
        form = "(n_components, n_features)"
        array = check_array_parameter("probabilities", probabilities, None, form)
        if array.ndim != 2 or not array.size:
            raise ValueError(f"probabilities has shape {array.shape}: must have shape {form}")
        _check_probabilities("probabilities", array)
        emission = new_instance(cls)
        emission.store(BernoulliParameters(array))
        return emission

    def check_parameters(self, n_components):
        check_number("prior", self.prior, Real, 1)
        self._first_probabilities(n_components)

    def _first_probabilities(self, n_components):
        name, form = "probabilities_init", "(n_components, n_features)"
        array = check_first_values(name, self.probabilities_init, n_components, form)
        if array is not None:
            _check_probabilities(name, array)
            if self.prior > 1 and ((array == 0) | (array == 1)).any():
                raise ValueError(
                    f"{name} has an entry 0 or 1: must be between them, as prior={self.prior!r} "
                    "excludes both"
                )
        return array

    def check_rows(self, X, feature_names=None):
        if self.probabilities_init is not None:
            check_width("probabilities_init", np.asarray(self.probabilities_init), X.shape[1])
        check_values(X, feature_names, _is_flag, _RULE)

    def summarize(self, rows, pool, feature_names=None):
        return feature_moments(rows, pool, feature_names)

    def summarize_batch(self, parameters, rows, pool, feature_names=None):
        return None

    smooth_start = True

    def first(self, rows, labels, n_components, summary, rng):
        given = self._first_probabilities(n_components)
        if given is not None:
            check_width("probabilities_init", given, rows.X.shape[1])
            return BernoulliParameters(given)
        # The rows of a label and one row of the overall probability, which is not 0 or 1.
        overall = (summary.mean * rows.n_rows + 1.0) / (rows.n_rows + 2.0)
        old = BernoulliParameters(np.tile(overall, (n_components, 1)))
        weight, ones = label_statistics(old, rows, labels)
        unit = rows.weight() / rows.n_rows
        probabilities = (ones + unit * overall) / (weight + unit)
        empty = np.bincount(labels[labels >= 0], minlength=n_components) == 0
        # States with equal first parameters would stay equal.
        odds = probabilities[empty] / (1.0 - probabilities[empty])
        odds *= rng.uniform(0.5, 2.0, size=odds.shape)
        probabilities[empty] = odds / (1.0 + odds)
        return BernoulliParameters(probabilities)

    def maximize(self, old, statistics, summary):
        extra = self.prior - 1.0
        found = weighted_mean(statistics, old.probabilities, extra=extra, extra_weight=2 * extra)
        return BernoulliParameters(np.minimum(found, 1.0))  # n and s are rounded separately

    def log_prior(self, parameters, summary):
        if self.prior == 1:
            return 0.0
        p = parameters.probabilities
        with np.errstate(divide="ignore"):
            terms = (self.prior - 1.0) * (np.log(p) + np.log1p(-p))
        return float(terms.sum())

    def continued(self, earlier, why, feature_names=None):
        parameters = super().continued(earlier, why, feature_names)
        if self.prior == 1:
            return parameters
        # Without a prior EM may have ended at 0 or 1, where the prior's density is zero.
        return BernoulliParameters(np.clip(parameters.probabilities, _SMALLEST, _LARGEST))

    def earlier_statistics(self, parameters, weights):
        weight, ones = parameters.statistics(weights)
        extra = self.prior - 1.0
        ones = ones + extra * (2.0 * parameters.probabilities - 1.0)
        return np.stack([weight, np.clip(ones, 0.0, weight)])

    def store(self, parameters):
        vars(self)["probabilities_"] = parameters.probabilities
        self.n_features_in_ = parameters.n_features

    def _parameters(self):
        return BernoulliParameters(vars(self)["probabilities_"])


def _is_flag(values):
    return (values == 0) | (values == 1)


def _check_probabilities(name, array):
    """Raise ValueError unless the entries are probabilities."""
    for value in (array.min(), array.max()):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} has an entry {value}: must be in [0, 1]")
