r"""Bernoulli emissions: columns of zeros and ones, independent given the state.

.. math:: \ln p(x \mid k) = \sum_d \bigl( x_d \ln p_{kd} + (1 - x_d) \ln (1 - p_{kd}) \bigr),
          \qquad p_{kd} \leftarrow \frac{s_{kd} + a - 1}{n_{kd} + a + b - 2} ,

with a prior Beta(a, b) on each probability; a = b = 1 is none. Under a probability of 0 or 1 the
value is certain.
"""

from dataclasses import dataclass
from numbers import Real

import numpy as np
from scipy.special import xlog1py, xlogy

from skvae.emissions.base import Emission
from skvae.emissions.domains import Probability
from skvae.emissions.exponential_family import ExponentialFamilyKernel
from skvae.emissions.parameters import EmissionParameters
from skvae.validation import check_concentration, check_number


@dataclass(frozen=True)
class BernoulliParameters(EmissionParameters):
    """Parameters of Bernoulli emissions.

    Parameters
    ----------
    probabilities : ndarray of shape (n_components, n_features)
        The probability p of a one.

    Examples
    --------
    >>> from skvae.hmm import BernoulliEmission
    >>> BernoulliEmission.from_parameters([[0.25]]).parameters().variances()
    array([[0.1875]])
    """

    probabilities: Probability

    def kernel(self):
        """Return the kernel of the states."""
        p = self.probabilities
        if ((p > 0) & (p < 1)).all():
            constants = np.log1p(-p)
            return ExponentialFamilyKernel(np.log(p) - constants, constants, None)
        no_ones, no_zeros = (p == 0).astype(np.float64), (p == 1).astype(np.float64)
        p = np.where((p == 0) | (p == 1), 0.5, p)
        constants = np.where(no_ones + no_zeros, 0.0, np.log1p(-p))
        slopes = np.where(no_ones + no_zeros, 0.0, np.log(p) - np.log1p(-p))
        # Excluded values: ones, x, where p = 0, and zeros, 1 − x, where p = 1.
        return ExponentialFamilyKernel(slopes, constants, (no_ones - no_zeros, no_zeros))

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        uniform = rng.random_sample((len(states), self.n_features))
        return (uniform < self.probabilities[states]).astype(np.float64)

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        return self.probabilities

    def variances(self):
        """Return the variance of each feature, shape (n_components, n_features)."""
        return self.probabilities * (1.0 - self.probabilities)

    def cdf(self, x):
        """Return P(value ≤ x | state), shape (..., K, D), of values (..., D)."""
        x = x[..., None, :]
        return np.where(x < 0, 0.0, np.where(x < 1, 1.0 - self.probabilities, 1.0))

    def _filled(self, X, posterior):
        """Return rows with missing values at their most probable value."""
        return np.where(np.isnan(X), posterior @ self.probabilities > 0.5, X)


class BernoulliEmission(Emission):
    """Bernoulli emissions: each column zero or one, independent given the state.

    Parameters
    ----------
    prior : float or array-like of shape (2,), default=1.0
        Concentrations ≥ 1 of the prior on each probability of a one: (a, b) of Beta(a, b), or one
        number for both. Its log-density is part of the objective; 1 is no prior.
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

    record = BernoulliParameters
    rule = "a Bernoulli emission takes 0 and 1"
    limits = 0.0, 1.0
    smooth_start = True

    def __init__(self, *, prior=1.0, probabilities_init=None):
        self.prior = prior
        self.probabilities_init = probabilities_init

    def accepts(self, values):
        return (values == 0) | (values == 1)

    def start(self, moments, n_rows):
        return BernoulliParameters((moments.mean * n_rows + 1.0) / (n_rows + 2.0))

    def estimate(self, averages, old):
        return BernoulliParameters(np.minimum(averages[0], 1.0))  # n and s are rounded separately

    def conjugate_prior(self, n_features=None):
        if type(self.prior) is float and self.prior == 1.0:
            return None
        if np.ndim(self.prior) == 0:
            check_number("prior", self.prior, Real, 1)
        else:
            check_concentration("prior", self.prior, [(2,)])
        ones, zeros = np.broadcast_to(np.asarray(self.prior, dtype=np.float64) - 1.0, 2).tolist()
        return (ones + zeros, ones) if ones or zeros else None

    def log_prior(self, parameters, summary):
        prior = self.conjugate_prior()
        if prior is None:
            return 0.0
        (both, ones), p = prior, parameters.probabilities
        return float((xlogy(ones, p) + xlog1py(both - ones, -p)).sum())
