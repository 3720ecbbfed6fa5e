r"""Zero-inflated Poisson emissions: columns of counts with additional zeros.

A count is zero with probability π, and else a draw from a Poisson distribution with rate λ:

.. math:: \ln p(0 \mid k) = \ln(\pi + (1 - \pi) e^{-\lambda}), \qquad
          \ln p(x \mid k) = \ln (1 - \pi) + x \ln \lambda - \lambda - \ln x! .

With the share :math:`\theta = (1 - \pi)(1 - e^{-\lambda})` of counts above zero the likelihood has
one factor for θ and one for λ (Lambert, Technometrics 34, 1992, section 2). With the averages
:math:`\bar\theta` of :math:`1[x > 0]` and :math:`\bar x` of the counts, the M step is

.. math:: \frac{\lambda}{1 - e^{-\lambda}} = \frac{\bar x}{\bar\theta}, \qquad
          \pi = 1 - \frac{\bar\theta}{1 - e^{-\lambda}} .

If that π is negative, as there are fewer zeros than under a Poisson distribution, the maximum is at
π = 0 and λ = x̄.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import pdtr

from skvae.emissions import poisson
from skvae.emissions.base import Emission
from skvae.emissions.domains import Probability
from skvae.emissions.parameters import EmissionParameters
from skvae.emissions.poisson import LARGEST_COUNT, Rate, is_count
from skvae.emissions.roots import bracketed_root

_SMALLEST_RATE = 1e-12  # of a state with counts 0 and 1 only, if zeros are in excess
_SERIES = 1e-3  # below it λ − (1 − e^−λ) is summed as a series


def excess_of_truncated(rates):
    """Return λ / (1 − e^−λ) − 1, the mean of a count above zero, less one."""
    positive = -np.expm1(-rates)
    small = rates * rates * (1 / 2 - rates * (1 / 6 - rates * (1 / 24 - rates / 120)))
    return np.where(rates < _SERIES, small, rates - positive) / positive


def solve_rates(excess):
    """Return the λ with λ / (1 − e^−λ) − 1 = excess."""
    low, high = np.log(_SMALLEST_RATE), np.log(LARGEST_COUNT)
    limits = excess_of_truncated(np.exp([low, high]))
    target = np.log(np.clip(excess, *limits)).ravel()

    def above(log_rate, which):
        return np.log(excess_of_truncated(np.exp(log_rate))) - target[which]

    return np.exp(bracketed_root(above, np.full(excess.shape, low), np.full(excess.shape, high)))


def estimate(positive, mean):
    """Return the (λ, π) of maximum likelihood.

    Parameters
    ----------
    positive : ndarray
        The share of counts above zero.
    mean : ndarray of the same shape
        The mean count; where it is zero, λ = π = 0.
    """
    some = positive > 0
    rates = solve_rates((mean - positive) / np.where(some, positive, 1.0))
    zeros = 1.0 + positive / np.expm1(-rates)
    poisson = ~some | (zeros <= 0)
    return np.where(poisson, mean, rates), np.where(poisson, 0.0, np.minimum(zeros, 1.0))


def log_density(X, rates, zeros):
    """Return ln p(x_d | state) of counts (n, D), shape (K, n, D)."""
    with np.errstate(divide="ignore"):
        at_zero = np.logaddexp(np.log(zeros), np.log1p(-zeros) - rates)
        counted = np.log1p(-zeros)[:, None] + poisson.log_density(X, rates[:, None])
    return np.where(X == 0, at_zero[:, None], counted)


class _Weight(Probability):
    """The domain of weights of zeros, whose coordinates have no pole at zero."""

    @classmethod
    def coordinates(cls, array, unit):
        return array

    @classmethod
    def entries(cls, coordinates, unit):
        return np.clip(coordinates, 0.0, 1.0)


@dataclass(frozen=True)
class ZeroInflatedPoissonParameters(EmissionParameters):
    """Parameters of zero-inflated Poisson emissions.

    Parameters
    ----------
    rates, zero_weights : ndarray of shape (n_components, n_features)
        Rates λ of the Poisson distribution, at least zero, and probabilities π of an additional
        zero.

    Examples
    --------
    >>> from skvae.hmm import ZeroInflatedPoissonEmission
    >>> ZeroInflatedPoissonEmission.from_parameters([[3.0]], [[0.5]]).parameters().variances()
    array([[3.75]])
    """

    rates: Rate
    zero_weights: _Weight

    def log_density(self, X):
        """Return ln p(x_d | state) of rows (n, D), shape (n_components, n, n_features)."""
        return log_density(X, self.rates, self.zero_weights)

    def sufficient_statistics(self, X):
        """Return 1[x > 0] and x, shape (2, n, n_features)."""
        return np.stack([X > 0, X])

    def expected_statistics(self):
        """Return the means of 1[x > 0] and x, shape (2, n_components, n_features)."""
        positive = (self.zero_weights - 1.0) * np.expm1(-self.rates)
        return np.stack([positive, self.means()])

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        draws = rng.poisson(self.rates[states]).astype(np.float64)
        draws[rng.random_sample(draws.shape) < self.zero_weights[states]] = 0.0
        return draws

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        return (1.0 - self.zero_weights) * self.rates

    def variances(self):
        """Return the variance of each feature, shape (n_components, n_features)."""
        return self.means() * (1.0 + self.zero_weights * self.rates)

    def cdf(self, x):
        """Return P(count ≤ x | state), shape (..., K, D), of values (..., D)."""
        x = np.floor(x)[..., None, :]
        found = pdtr(np.maximum(x, 0.0), self.rates)
        return np.where(x < 0, 0.0, self.zero_weights + (1.0 - self.zero_weights) * found)


class ZeroInflatedPoissonEmission(Emission):
    """Zero-inflated Poisson emissions: each column a count with additional zeros.

    A count is zero with probability π, as nothing could have been counted, and else a draw from a
    Poisson distribution. Columns are independent given the state.

    Parameters
    ----------
    rates_init : array-like of shape (n_components, n_features), default=None
        First rates of the Poisson distribution.
    zero_weights_init : array-like of shape (n_components, n_features), default=None
        First probabilities of an additional zero.

    Attributes
    ----------
    rates_ : ndarray of shape (n_components, n_features)
        The rate λ of the Poisson distribution. The mean count is ``(1 - zero_weights_) * rates_``.
    zero_weights_ : ndarray of shape (n_components, n_features)
        The probability π of an additional zero. It is 0 where a state has no more zeros than a
        Poisson distribution.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    PoissonEmission : Without additional zeros.
    NegativeBinomialEmission : Counts with more variance.

    Notes
    -----
    NaN is a missing value and drops out. The M step is the exact maximum. A state with counts of
    zero only gets the rate 0.

    References
    ----------
    Lambert (1992), Zero-inflated Poisson regression, with an application to defects in
    manufacturing, Technometrics 34.

    Examples
    --------
    >>> from skvae.hmm import ZeroInflatedPoissonEmission
    >>> emission = ZeroInflatedPoissonEmission.from_parameters([[2.0], [9.0]], [[0.5], [0.0]])
    >>> emission.parameters().means()
    array([[1.],
           [9.]])
    """

    record = ZeroInflatedPoissonParameters
    rule = "a zero-inflated Poisson emission takes whole numbers from 0 to 2**53"

    def __init__(self, *, rates_init=None, zero_weights_init=None):
        self.rates_init = rates_init
        self.zero_weights_init = zero_weights_init

    def accepts(self, values):
        return is_count(values)

    def start(self, moments, n_rows):
        mean = np.maximum(moments.mean, 0.5 / n_rows)
        rates = mean + np.maximum(moments.variance / mean - 1.0, 0.1)
        return ZeroInflatedPoissonParameters(np.minimum(rates, LARGEST_COUNT), 1.0 - mean / rates)

    def estimate(self, averages, old):
        return ZeroInflatedPoissonParameters(*estimate(*averages))
