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
π = 0 and λ = x̄. The second equation is that of π alone about a known λ; a known π leaves one or two
maxima in λ, of which the M step has the higher one.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, pdtr

from skvae.emissions import poisson
from skvae.emissions.base import Emission
from skvae.emissions.domains import LARGEST, SMALLEST, Probability
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


def zeros_of_rates(positive, rates):
    """Return the π of maximum likelihood of known rates, from the share of counts above zero."""
    expected = -np.expm1(-rates)
    zeros = 1.0 - positive / np.where(expected > 0, expected, 1.0)
    return np.where(positive > 0, np.maximum(zeros, 0.0), 1.0)


def rates_of_zeros(positive, mean, zeros):
    """Return the λ of maximum likelihood of known weights of zeros π.

    The slope of the likelihood is zero where h(λ) = λ (θ̄ + (1 − θ̄) g(λ)) = x̄, with g the
    probability that a zero is from the Poisson distribution. There x̄ ≤ λ ≤ x̄/θ̄.

    Parameters
    ----------
    positive, mean, zeros : ndarray of equal shape
        θ̄, x̄ and π.
    """
    found, some = np.zeros(mean.shape), mean > 0
    theta, x, pi = positive[some].clip(_SMALLEST_RATE, 1.0), mean[some], zeros[some]
    log_odds = logit(np.clip(pi, SMALLEST, LARGEST))
    low, high = np.log(x), np.log(x / theta)

    def above(log_rates, which):
        rates = np.exp(log_rates)
        g = expit(-rates - log_odds[which])
        return rates * (theta[which] + (1.0 - theta[which]) * g) - x[which]

    def likelihood(log_rates):
        rates = np.exp(log_rates)
        at_zero = np.log(pi.clip(SMALLEST)), np.log((1.0 - pi).clip(SMALLEST)) - rates
        return x * log_rates - theta * rates + (1.0 - theta) * np.logaddexp(*at_zero)

    left, right = _rising_branches(theta, log_odds, low, high)
    pair = bracketed_root(above, low, left), bracketed_root(above, right, high)
    better = likelihood(pair[0]) > likelihood(pair[1])
    found[some] = np.minimum(np.exp(np.where(better, *pair)), LARGEST_COUNT)
    return found


def _rising_branches(theta, log_odds, low, high):
    """Return the ln λ in [low, high] up to which h rises, and from which on it rises again.

    The slope h′ falls to its only minimum and rises afterwards, so that h rises through x̄ once on
    each branch, or once in all if h′ is nowhere below zero.
    """

    def slope(rates, which):
        g, s = expit(-rates - log_odds[which]), expit(rates + log_odds[which])
        return theta[which] + (1.0 - theta[which]) * g * (1.0 - rates * s)

    def bend(rates, which):  # h″ has the opposite sign
        return rates * np.tanh(0.5 * (rates + log_odds[which])) - 2.0

    two, zero = np.full(theta.shape, 2.0), np.zeros(theta.shape)
    middle = bracketed_root(bend, two, np.maximum(two, -log_odds) + 8.0)
    left = bracketed_root(slope, zero, middle).clip(_SMALLEST_RATE)
    right = bracketed_root(slope, middle, np.maximum(middle, np.exp(high)))
    falls = slope(middle, slice(None)) < 0
    left = np.where(falls, np.log(left).clip(low, high), high)
    return left, np.where(falls, np.log(right).clip(low, high), low)


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
    fixed_alone = ("rates", "zero_weights")
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

    def estimate(self, averages, old, fixed=None):
        if fixed == "rates":
            return ZeroInflatedPoissonParameters(old.rates, zeros_of_rates(averages[0], old.rates))
        if fixed == "zero_weights":
            rates = rates_of_zeros(*averages, old.zero_weights)
            return ZeroInflatedPoissonParameters(rates, old.zero_weights)
        return ZeroInflatedPoissonParameters(*estimate(*averages))
