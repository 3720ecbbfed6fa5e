r"""Poisson emissions: columns of counts, independent given the state.

.. math:: \ln p(x \mid k) = \sum_d (x_d \ln \lambda_{kd} - \lambda_{kd} - \ln x_d!), \qquad
          \lambda_{kd} \leftarrow s_{kd} / n_{kd} .

Under a rate of zero the count is zero with certainty. Rounding leaves an error of about ε x ln x in
nats, below 1e-8 for counts up to a million.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import gammaln, pdtr

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
from skvae.validation import check_array_parameter

_LARGEST = 2.0**53  # above it not every whole number is a float
_RULE = "a Poisson emission takes whole numbers from 0 to 2**53"
_LOG_FACTORIALS = gammaln(np.arange(1.0, 1025.0))


def _minus_log_factorials(x):
    """Return −Σ ln x! over the features of counts (D, n)."""
    if x.max() < len(_LOG_FACTORIALS):  # a table is ten times as fast
        return -_LOG_FACTORIALS[x.astype(np.intp)].sum(axis=0)
    return -gammaln(x + 1.0).sum(axis=0)


class PoissonParameters(NamedTuple):
    """Parameters of Poisson emissions.

    Parameters
    ----------
    rates : ndarray of shape (n_components, n_features)
        λ, at least zero.
    """

    rates: np.ndarray

    @property
    def n_components(self):
        """Return the number of states."""
        return self.rates.shape[0]

    @property
    def n_features(self):
        """Return the number of features."""
        return self.rates.shape[1]

    def kernel(self):
        """Return the kernel of the states."""
        zero = self.rates == 0
        slopes = np.log(np.where(zero, 1.0, self.rates))
        excluded = zero.astype(np.float64), np.zeros_like(self.rates)
        return ExponentialFamilyKernel(slopes, -self.rates, excluded, _minus_log_factorials)

    def n_parameters(self, n_states=None):
        """Return the number of free parameters; that of fewer states if their number is given."""
        n_states = self.n_components if n_states is None else n_states
        return n_states * self.n_features

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        return rng.poisson(self.rates[states]).astype(np.float64)

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        return self.rates

    def covariances(self):
        """Return the covariance of each state, shape (n_components, n_features, n_features)."""
        return diagonal(self.rates)

    def cdf(self, x):
        """Return P(count ≤ x | state), shape (..., K, D), of values (..., D)."""
        x = np.floor(x)[..., None, :]
        return np.where(x < 0, 0.0, pdtr(np.maximum(x, 0.0), self.rates))

    def statistics(self, weights):
        """Return the expected statistics of ``weights[k]`` rows in each state k."""
        weights = np.asarray(weights, dtype=np.float64)[:, None]
        return np.stack([np.broadcast_to(weights, self.rates.shape), weights * self.rates])

    def pack(self, summary):
        """Return ln λ as a vector."""
        with np.errstate(divide="ignore"):
            return np.log(self.rates).ravel()

    def unpack(self, vector, summary):
        """Return the parameters of a vector; raise Collapse if they overflow."""
        with np.errstate(over="ignore", under="ignore"):
            rates = np.exp(vector).reshape(self.rates.shape)
        if not (rates <= _LARGEST).all():
            raise Collapse("the extrapolation overflows")
        return PoissonParameters(rates)


class PoissonEmission(Emission):
    """Poisson emissions: each column a count, independent given the state.

    Parameters
    ----------
    rates_init : array-like of shape (n_components, n_features), default=None
        First rates, above zero or, where a state excludes all but zero, zero.

    Attributes
    ----------
    rates_ : ndarray of shape (n_components, n_features)
        The expected count of each column in each state.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    CategoricalEmission : Codes without an order.

    Notes
    -----
    NaN is a missing value and drops out. Rates are of maximum likelihood: a state with counts of
    zero only gets the rate zero.

    Examples
    --------
    >>> from skvae.hmm import PoissonEmission
    >>> emission = PoissonEmission.from_parameters([[1.0], [5.0]])
    >>> emission.rates_
    array([[1.],
           [5.]])
    """

    rates_ = FittedArray()

    def __init__(self, *, rates_init=None):
        self.rates_init = rates_init

    @classmethod
    def from_parameters(cls, rates):
        """Return a fitted emission with known parameters.

        Parameters
        ----------
        rates : array-like of shape (n_components, n_features)
            The rates, at least zero.

        Returns
        -------
        emission : PoissonEmission
            Fitted.

        Raises
        ------
        ValueError
            The rates are not usable.

        Examples
        --------
        >>> from skvae.hmm import PoissonEmission
        >>> PoissonEmission.from_parameters([[1.0, 0.0], [5.0, 2.0]]).n_features_in_
        2
        """
        rates = check_array_parameter("rates", rates, None, "(n_components, n_features)")
        if rates.ndim != 2 or not rates.size:
            raise ValueError(
                f"rates has shape {rates.shape}: must have shape (n_components, n_features)"
            )
        _check_rates("rates", rates)
        emission = new_instance(cls)
        emission.store(PoissonParameters(rates))
        return emission

    def check_parameters(self, n_components):
        self._first_rates(n_components)

    def _first_rates(self, n_components):
        form = "(n_components, n_features)"
        rates = check_first_values("rates_init", self.rates_init, n_components, form)
        if rates is not None:
            _check_rates("rates_init", rates)
        return rates

    def check_rows(self, X, feature_names=None):
        if self.rates_init is not None:
            check_width("rates_init", np.asarray(self.rates_init), X.shape[1])
        check_values(X, feature_names, _is_count, _RULE)

    def summarize(self, rows, pool, feature_names=None):
        return feature_moments(rows, pool, feature_names)

    def summarize_batch(self, parameters, rows, pool, feature_names=None):
        return None

    def first(self, rows, labels, n_components, summary, rng):
        rates = self._first_rates(n_components)
        if rates is not None:
            check_width("rates_init", rates, rows.X.shape[1])
            return PoissonParameters(rates)
        # The rows of a label and one row of the overall rate, which is above zero.
        overall = np.maximum(summary.mean, 0.5 / rows.n_rows)
        old = PoissonParameters(np.tile(overall, (n_components, 1)))
        statistics = label_statistics(old, rows, labels)
        unit = rows.weight() / rows.n_rows
        rates = (statistics[1] + unit * overall) / (statistics[0] + unit)
        empty = np.bincount(labels[labels >= 0], minlength=n_components) == 0
        # States with equal first parameters would stay equal.
        rates[empty] *= rng.uniform(0.5, 1.5, size=rates[empty].shape)
        return PoissonParameters(rates)

    def maximize(self, old, statistics, summary):
        return PoissonParameters(weighted_mean(statistics, old.rates))

    def store(self, parameters):
        vars(self)["rates_"] = parameters.rates
        self.n_features_in_ = parameters.n_features

    def _parameters(self):
        return PoissonParameters(vars(self)["rates_"])


def _is_count(values):
    return (values >= 0) & (values <= _LARGEST) & (values == np.floor(values))


def _check_rates(name, rates):
    """Raise ValueError unless the rates are usable."""
    if (rates < 0).any():
        raise ValueError(f"{name} has an entry {rates.min()}: must be >= 0")
    if (rates > _LARGEST).any():
        raise ValueError(f"{name} has an entry {rates.max()}: must be at most 2**53")
