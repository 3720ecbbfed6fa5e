r"""Gamma emissions: columns of numbers above zero, independent given the state.

With shapes a, scales s, means m = a s and t = x/m,

.. math:: \ln p(x \mid k) = \sum_d \bigl( a (\ln t - t + 1) + a \ln a - a - \ln \Gamma(a)
          - \ln x \bigr),

where neither bracket cancels for large shapes. The M step has the mean of the rows in each state,
and the shape that solves (Minka, Estimating a Gamma distribution, 2002)

.. math:: \ln a - \psi(a) = \ln \overline{x} - \overline{\ln x} .

The left side falls from ∞ to 0, so the nearest shape below ``LARGEST_SHAPE`` is the constrained
maximum. On log-log axes it is nearly a line. The scale of a known shape is the mean over it; the
shape of a known scale s solves :math:`\psi(a) = \overline{\ln x} - \ln s`, where ψ rises.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import digamma, gammainc

from skvae.emissions.base import Emission
from skvae.emissions.domains import Positive
from skvae.emissions.limited import Limited
from skvae.emissions.parameters import EmissionParameters
from skvae.emissions.roots import bracketed_root
from skvae.gaussian.student import gamma_excess, log_minus_digamma

# Of float64 rows ln(mean) − mean(ln) is below 1455, so no row leads to a shape below the smallest.
SMALLEST_SHAPE, LARGEST_SHAPE = 1e-4, 1e8
_TINY = np.finfo(np.float64).tiny


def solve_shapes(gaps):
    """Return the shapes a with ln a − ψ(a) = gaps, at most ``LARGEST_SHAPE``.

    Parameters
    ----------
    gaps : ndarray
        ln(mean) − mean(ln); round-off may be below zero.
    """
    low, high = np.log(SMALLEST_SHAPE), np.log(LARGEST_SHAPE)
    limits = log_minus_digamma(np.exp([high, low]))
    target = np.log(np.clip(gaps, *limits)).ravel()

    def above(log_shape, which):
        return np.log(log_minus_digamma(np.exp(log_shape))) - target[which]

    logs = bracketed_root(above, np.full(gaps.shape, low), np.full(gaps.shape, high))
    return np.exp(logs).clip(SMALLEST_SHAPE, LARGEST_SHAPE)


def solve_shapes_of_scaled(logs):
    """Return the shapes a with ψ(a) = logs, within their limits.

    Parameters
    ----------
    logs : ndarray
        mean(ln x) − ln s with a known scale s.
    """
    low, high = np.log(SMALLEST_SHAPE), np.log(LARGEST_SHAPE)

    def above(log_shape, which):
        return digamma(np.exp(log_shape)) - logs.ravel()[which]

    found = bracketed_root(above, np.full(logs.shape, low), np.full(logs.shape, high))
    return np.exp(found).clip(SMALLEST_SHAPE, LARGEST_SHAPE)


def log_density(X, shapes, scales):
    """Return ln p(x_d | state) of numbers above zero (n, D), shape (K, n, D)."""
    a, means = shapes[:, None], (shapes * scales)[:, None]
    with np.errstate(over="ignore", divide="ignore"):  # the quotient may overflow or underflow
        t = X / means
        log_t = np.where(t < _TINY, np.log(X) - np.log(means), np.log(t))
    constants = gamma_excess(a) + a * log_minus_digamma(a)
    return a * (log_t - (t - 1.0)) + constants - np.log(X)


class _Shape(Limited):
    """The domain of shapes."""

    smallest, largest = SMALLEST_SHAPE, LARGEST_SHAPE


@dataclass(frozen=True)
class GammaParameters(EmissionParameters):
    """Parameters of gamma emissions.

    Parameters
    ----------
    shapes, scales : ndarray of shape (n_components, n_features)
        Shapes a, from 1e-4 to 1e8, and scales s, above zero; the means are a s.

    Examples
    --------
    >>> from skvae.hmm import GammaEmission
    >>> GammaEmission.from_parameters([[2.0]], [[3.0]]).parameters().variances()
    array([[18.]])
    """

    shapes: _Shape
    scales: Positive

    def log_density(self, X):
        """Return ln p(x_d | state) of rows (n, D), shape (n_components, n, n_features)."""
        return log_density(X, self.shapes, self.scales)

    def sufficient_statistics(self, X):
        """Return x and ln x, shape (2, n, n_features)."""
        return np.stack([X, np.log(X)])

    def expected_statistics(self):
        """Return the means of x and ln x, shape (2, n_components, n_features)."""
        return np.stack([self.means(), digamma(self.shapes) + np.log(self.scales)])

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        draws = rng.standard_gamma(self.shapes[states]) * self.scales[states]
        return np.maximum(draws, _TINY)  # draws of a shape near zero may underflow

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        return self.shapes * self.scales

    def variances(self):
        """Return the variance of each feature, shape (n_components, n_features)."""
        return self.shapes * self.scales**2

    def cdf(self, x):
        """Return P(value ≤ x | state), shape (..., K, D), of values (..., D)."""
        return gammainc(self.shapes, np.maximum(x, 0.0)[..., None, :] / self.scales)


class GammaEmission(Emission):
    """Gamma emissions: each column a number above zero, independent given the state.

    Waiting times, amounts of rain, speeds and step lengths are often modelled so.

    Parameters
    ----------
    shapes_init : array-like of shape (n_components, n_features), default=None
        First shapes, from 1e-4 to 1e8.
    scales_init : array-like of shape (n_components, n_features), default=None
        First scales.

    Attributes
    ----------
    shapes_ : ndarray of shape (n_components, n_features)
        The shape of each column in each state; 1 is an exponential distribution.
    scales_ : ndarray of shape (n_components, n_features)
        The scales: means are ``shapes_ * scales_``, variances ``shapes_ * scales_**2``.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    PoissonEmission : Counts.
    GaussianEmission : Numbers of any sign.

    Notes
    -----
    NaN is a missing value and drops out. The M step is the exact maximum with shapes of at most
    1e8, where a column's standard deviation is a ten-thousandth of its mean: a state in which a
    column is constant has no larger shape, and the bound never falls. Zero has no density or an
    infinite one: shift such a column, or model the zeros as a column of their own.

    References
    ----------
    Minka (2002), Estimating a Gamma distribution.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import EMHiddenMarkov
    >>> from skvae.hmm import GammaEmission
    >>> emission = GammaEmission.from_parameters([[1.0], [4.0]], [[0.5], [3.0]])
    >>> emission.parameters().means()
    array([[ 0.5],
           [12. ]])
    >>> waits = [0.2, 0.7, 0.4, 9.0, 13.0, 11.0, 14.0, 0.3, 0.6]
    >>> chain = EMHiddenMarkov(2, emission="gamma", random_state=0)
    >>> chain.fit(np.reshape(waits, (-1, 1))).predict(np.reshape(waits, (-1, 1)))
    array([1, 1, 1, 0, 0, 0, 0, 1, 1])
    """

    record = GammaParameters
    rule = (
        "a gamma emission takes numbers above zero; shift the column, or model its zeros as a "
        "column of their own"
    )
    fixed_alone = ("shapes", "scales")

    def __init__(self, *, shapes_init=None, scales_init=None):
        self.shapes_init = shapes_init
        self.scales_init = scales_init

    def accepts(self, values):
        return values > 0

    def features(self, X, summary):
        X = np.asarray(X, dtype=np.float64)
        return np.log(X)  # the standard deviation of a gamma distribution is a share of its mean

    def start(self, moments, n_rows):
        spread = np.sqrt(moments.variance) / moments.mean
        shapes = np.maximum(spread, 1.0 / np.sqrt(LARGEST_SHAPE)) ** -2.0
        shapes = np.clip(shapes, SMALLEST_SHAPE, LARGEST_SHAPE)
        return GammaParameters(shapes, moments.mean / shapes)

    def estimate(self, averages, old, fixed=None):
        if fixed == "scales":
            shapes = solve_shapes_of_scaled(averages[1] - np.log(old.scales))
            return GammaParameters(shapes, old.scales)
        if fixed == "shapes":
            return GammaParameters(old.shapes, averages[0] / old.shapes)
        shapes = solve_shapes(np.log(averages[0]) - averages[1])
        return GammaParameters(shapes, averages[0] / shapes)
