r"""Poisson emissions: columns of counts, independent given the state.

.. math:: \ln p(x \mid k) = \sum_d (x_d \ln \lambda_{kd} - \lambda_{kd} - \ln x_d!), \qquad
          \lambda_{kd} \leftarrow s_{kd} / n_{kd} .

Under a rate of zero the count is zero with certainty. These terms cancel for large counts: rounding
leaves an error of about ε x ln x in nats, below 1e-8 for counts up to a million. Above it, with
Stirling's formula :math:`\ln x! = x \ln x - x + \tfrac12 \ln 2 \pi x + S(x)`,

.. math:: \ln p = (x - \lambda) - x \ln \tfrac{x}{\lambda} - \tfrac12 \ln 2 \pi x - S(x),

with an error of about :math:`\varepsilon |x - \lambda|`.
"""

from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.special import gammaln, pdtr, xlogy

from skvae.ascent.loop import Collapse
from skvae.emissions.base import Emission
from skvae.emissions.domains import NonNegative
from skvae.emissions.exponential_family import ExponentialFamilyKernel
from skvae.emissions.parameters import EmissionParameters
from skvae.validation import check_array_parameter, check_number

LARGEST_COUNT = 2.0**53  # above it not every whole number is a float
LARGE_COUNT = 2.0**20  # densities of larger counts are computed without terms that cancel
_MINUS_LOG_FACTORIALS = -gammaln(np.arange(1.0, 1025.0))
_TINY = np.finfo(np.float64).tiny


def _minus_log_factorials(x, largest):
    """Return −Σ ln x! over the features of counts (D, n), whose largest one is given."""
    if largest < len(_MINUS_LOG_FACTORIALS):  # a table is ten times as fast
        return _MINUS_LOG_FACTORIALS.take(x.astype(np.intp)).sum(axis=0)
    return -gammaln(x + 1.0).sum(axis=0)


def stirling_remainder(x):
    """Return S(x), the remainder of Stirling's formula, for x > 0."""
    far = np.maximum(x, 50.0)
    y = 1.0 / far
    square = y * y
    series = y * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
    near = np.minimum(x, 50.0)
    direct = gammaln(near) - (near - 0.5) * np.log(near) + near - 0.5 * np.log(2 * np.pi)
    return np.where(x < 50.0, direct, series)


def log_ratio(a, b, change):
    """Return ln(a / b), where a = b + change, to full relative precision."""
    with np.errstate(divide="ignore", over="ignore"):
        change = change / b
        return np.where(np.abs(change) < 0.5, np.log1p(change.clip(-0.5, 0.5)), np.log(a / b))


def log_density(counts, rates):
    """Return ln p(x) of counts; both arguments broadcast. NaN has a density of NaN."""
    if not (counts > LARGE_COUNT).any():
        return xlogy(counts, rates) - rates - gammaln(counts + 1.0)
    some, mu = np.maximum(counts, 1.0), np.maximum(rates, _TINY)
    found = (counts - rates) - some * log_ratio(some, mu, some - mu)
    found = found - 0.5 * np.log(2 * np.pi * some) - stirling_remainder(some)
    found = np.where(counts == 0, -rates, found)
    return np.where((rates == 0) & (counts > 0), -np.inf, found)


def is_count(values):
    """Return whether each value is a count."""
    return (values >= 0) & (values <= LARGEST_COUNT) & (values == np.floor(values))


class Rate(NonNegative):
    """The domain of rates: counts of this size are exact."""

    @classmethod
    def check(cls, name, array):
        super().check(name, array)
        if (array > LARGEST_COUNT).any():
            raise ValueError(f"{name} has an entry {array.max()}: must be at most 2**53")

    @classmethod
    def entries(cls, coordinates, unit):
        rates = super().entries(coordinates, unit)
        if (rates > LARGEST_COUNT).any():
            raise Collapse("the extrapolation overflows")
        return rates


class _PoissonKernel(ExponentialFamilyKernel):
    """The kernel of an exponential family; rows with a large count have accurate densities."""

    def __init__(self, rates, slopes, excluded):
        super().__init__(slopes, -rates, excluded, _minus_log_factorials)
        self._rates = rates

    def log_density(self, terms, used, largest, out):
        """Fill ``out`` with the log-densities of a block, whose largest count is given."""
        super().log_density(terms, used, largest, out)
        if largest > LARGE_COUNT:
            counts = terms[1 : 1 + self._shape[1]]
            rows = np.flatnonzero((counts > LARGE_COUNT).any(axis=0))
            found = log_density(counts[:, rows], self._rates[:, :, None])
            if used.start:  # some value is missing
                found = np.where(terms[1 + self._shape[1] :, rows] > 0, found, 0.0)
            out[:, rows] = found.sum(axis=1)


@dataclass(frozen=True)
class PoissonParameters(EmissionParameters):
    """Parameters of Poisson emissions.

    Parameters
    ----------
    rates : ndarray of shape (n_components, n_features)
        Rates λ, at least zero.

    Examples
    --------
    >>> from skvae.hmm import PoissonEmission
    >>> PoissonEmission.from_parameters([[1.0, 3.0]]).parameters().covariances()
    array([[[1., 0.],
            [0., 3.]]])
    """

    rates: Rate

    def kernel(self):
        """Return the kernel of the states."""
        zero = self.rates == 0
        if not zero.any():
            return _PoissonKernel(self.rates, np.log(self.rates), None)
        slopes = np.log(np.where(zero, 1.0, self.rates))
        excluded = zero.astype(np.float64), np.zeros_like(self.rates)
        return _PoissonKernel(self.rates, slopes, excluded)

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        return rng.poisson(self.rates[states]).astype(np.float64)

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        return self.rates

    def variances(self):
        """Return the variance of each feature, shape (n_components, n_features)."""
        return self.rates

    def cdf(self, x):
        """Return P(count ≤ x | state), shape (..., K, D), of values (..., D)."""
        x = np.floor(x)[..., None, :]
        return np.where(x < 0, 0.0, pdtr(np.maximum(x, 0.0), self.rates))


class PoissonEmission(Emission):
    """Poisson emissions: each column a count, independent given the state.

    Parameters
    ----------
    rates_init : array-like of shape (n_components, n_features), default=None
        First rates, above zero or, where a state excludes all but zero, zero.
    rate_prior : float or array-like of shape (n_features,), default=None
        The most probable value λ₀ > 0 of the prior Gamma(1 + w λ₀, w) of each rate; None is no
        prior. Its log-density is part of the objective, so that the rates are the most probable
        ones, (w λ₀ + Σ x) / (w + n).
    rate_precision_prior : float, default=None
        The number w > 0 of rows that the prior counts as; None is 1 with ``rate_prior``.

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
    NaN is a missing value and drops out. Without a prior rates are of maximum likelihood: a state
    with counts of zero only gets the rate zero.

    Examples
    --------
    >>> from skvae.hmm import PoissonEmission
    >>> emission = PoissonEmission.from_parameters([[1.0], [5.0]])
    >>> emission.rates_
    array([[1.],
           [5.]])
    """

    record = PoissonParameters
    rule = "a Poisson emission takes whole numbers from 0 to 2**53"
    limits = 0.0, LARGEST_COUNT

    rate_prior = rate_precision_prior = None  # emissions of earlier versions have none

    def __init__(self, *, rates_init=None, rate_prior=None, rate_precision_prior=None):
        self.rates_init = rates_init
        self.rate_prior = rate_prior
        self.rate_precision_prior = rate_precision_prior

    def accepts(self, values):
        return is_count(values)

    def start(self, moments, n_rows):
        return PoissonParameters(np.maximum(moments.mean, 0.5 / n_rows))

    def estimate(self, averages, old):
        return PoissonParameters(averages[0])

    def conjugate_prior(self, n_features=None):
        if self.rate_prior is None:
            if self.rate_precision_prior is None:
                return None
            raise ValueError(
                f"rate_precision_prior={self.rate_precision_prior!r}, but rate_prior=None: give "
                "rate_prior too"
            )
        rates = check_array_parameter("rate_prior", self.rate_prior, None, "")
        if rates.ndim > 1 or not (rates > 0).all():
            raise ValueError(
                f"rate_prior={self.rate_prior!r}: must be a number > 0, or one for each feature"
            )
        if n_features is not None and rates.shape not in ((), (n_features,)):
            raise ValueError(
                f"rate_prior has {len(rates)} entries: must have one for each of the {n_features} "
                "features"
            )
        weight = 1.0 if self.rate_precision_prior is None else self.rate_precision_prior
        check_number("rate_precision_prior", weight, Real, 0, 1e280)
        if weight <= 0:
            raise ValueError(f"rate_precision_prior={weight!r}: must be > 0")
        return float(weight), float(weight) * rates

    def log_prior(self, parameters, summary):
        prior = self.conjugate_prior(parameters.n_features)
        if prior is None:
            return 0.0
        weight, sums = prior
        with np.errstate(divide="ignore"):
            return float((sums * np.log(parameters.rates) - weight * parameters.rates).sum())
