r"""Numbers from zero to one: Bernoulli for 0 and 1, continuous Bernoulli for the interval.

Both are :math:`p(x) \propto e^{l x}`, on {0, 1} and on [0, 1], with :math:`l_j = a_j + o_j(z)`, a
from the data's means and o from the decoder:

.. math::
    \ln p(x \mid l) &= l x - \ln (1 + e^l) && \text{(Bernoulli)}, \\
    \ln p(x \mid l) &= l x - \ln \frac{e^l - 1}{l}
        = l (x - \tfrac12) - \ln \frac{\sinh(l/2)}{l/2}
        && \text{(continuous Bernoulli)}.

The last form holds at l = 0 too: its second term is even and has a series, which is used near 0.
The cross-entropy of grey values without that normaliser is no likelihood: it does not integrate to
one.

References
----------
.. [1] Loaiza-Ganem, Cunningham (2019). The continuous Bernoulli: fixing a pervasive error in
   variational autoencoders. NeurIPS.
"""

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from skvae.columns import check_values
from skvae.neural.likelihoods.base import (
    Likelihood,
    moments_of,
    n_observed,
    softplus,
    uniform,
)
from skvae.neural.training.rows_on_disk import blocks_of
from skvae.validation import check_array_parameter

# The density of a continuous Bernoulli is unbounded as its mean goes to 0 or 1; a first mean stays
# away from them, so that the log-odds are small enough for a decoder to change.
_NEAREST = 0.01
# Features in one product: so few that it overflows only for rows of almost no probability.
_FACTORS = 16
# ln(sinh(l/2) / (l/2)) = Σ c_k l^2k; below |l| = ½ the rest is below 1e-15.
_SMALL = 0.5
_SERIES = (1 / 24, -1 / 2880, 1 / 181440, -1 / 9676800, 1 / 479001600, -691 / 15692092416000)


class _LogOdds(Likelihood):
    """A density that is the exponential of l x, with l the first log-odds and the output."""

    def __init__(self, log_odds):
        log_odds = check_array_parameter("log_odds", log_odds, None, "(n_features,)")
        if log_odds.ndim != 1:
            raise ValueError(f"log_odds has shape {log_odds.shape}: must have one axis")
        n = len(log_odds)
        super().__init__(n, n, n)
        self._constant("log_odds", log_odds)
        self._constant("center", self.mean(torch.zeros(n)).numpy())

    @classmethod
    def of_data(cls, X, *, names=None, weight=None):
        """Return the likelihood that has the mean of each feature of X at zero outputs.

        Half a one and half a zero are added to the data, so that no log-odds are infinite.

        Parameters
        ----------
        X : ndarray or RowsOnDisk of shape (n_samples, n_features)
            Rows; NaN is missing.
        names : sequence of str, default=None
            The features' names, for messages.
        weight : ndarray or RowsOnDisk, default=None
            The weights of the rows.

        Returns
        -------
        likelihood : Likelihood
            A likelihood of this class.

        Raises
        ------
        ValueError
            A value is not of the family, or a feature has no value.
        """
        check_values(blocks_of(X), names, cls.allowed, cls.rule)
        mean, n = moments_of(X, names, weight).mean, n_observed(X, weight)
        return cls(cls._log_odds_of((n * mean + 0.5) / (n + 1.0)))

    def inputs(self, x):
        return torch.nan_to_num_(x - self.center, nan=0.0)

    def constants(self):
        return {"log_odds": self.log_odds.tolist()}


class Bernoulli(_LogOdds):
    """Zeros and ones.

    Parameters
    ----------
    log_odds : array-like of shape (n_features,)
        The log-odds of a one where outputs are zero.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvae.neural.likelihoods.binary import Bernoulli
    >>> likelihood = Bernoulli.of_data(np.array([[0.0], [1.0], [1.0]]))
    >>> round(likelihood.mean(torch.zeros(1)).item(), 6)  # (2 + ½) / (3 + 1)
    0.625
    """

    name = "bernoulli"
    rule = (
        "a Bernoulli likelihood takes 0 and 1; round the column, or take 'continuous_bernoulli' "
        "for numbers from 0 to 1"
    )

    @staticmethod
    def allowed(values):
        return (values == 0) | (values == 1)

    @staticmethod
    def _log_odds_of(mean):
        return np.log(mean) - np.log1p(-mean)

    def log_prob(self, x, outputs, observed=None):
        if observed is not None or x.device.type != "cpu":
            return super().log_prob(x, outputs, observed)
        # Training, and scoring many draws, spend most of their time here, after the networks.
        log_prob = _LogProducts.apply(x, outputs.to(x.dtype), self.log_odds)
        if log_prob.isfinite().all():
            return log_prob
        return torch.where(log_prob.isfinite(), log_prob, super().log_prob(x, outputs))

    def log_terms(self, x, outputs):
        log_odds = outputs + self.log_odds
        return x * log_odds - softplus(log_odds)

    def mean(self, outputs):
        return torch.exp(-softplus(-(outputs.double() + self.log_odds)))

    @torch.no_grad()
    def density_parameters(self, outputs):
        return {"probability": self.mean(outputs)}

    @staticmethod
    def cdf_of(x, probability):
        return np.where(x < 0, 0.0, np.where(x < 1, 1.0 - probability, 1.0))

    def values_of(self, expectations):
        return (expectations > 0.5).double()

    @torch.no_grad()
    def sample(self, outputs, generator):
        mean = self.mean(outputs)
        return (uniform(mean, generator) < mean).double()


class _LogProducts(torch.autograd.Function):
    """−Σ_j ln(1 + e^t_j), t = (1 − 2x)(a + o): the log-density of zeros and ones, by products.

    A logarithm of a product of some features replaces their logarithms. It is infinite if they
    alone have −ln p above 709 nats, or 88 in float32; its relative rounding is that of the sum.
    The gradient, (2x − 1)(1 − 1 / (1 + e^t)), needs no further exponential.
    """

    @staticmethod
    def forward(ctx, x, outputs, log_odds):
        """Return the log-densities (...) of rows x (..., D), given o (..., D) and a (D,)."""
        factors = outputs + log_odds  # the only large tensor
        factors.addcmul_(factors, x, value=-2.0).exp_().add_(1.0)
        ctx.save_for_backward(x, factors)
        width = factors.shape[-1] // _FACTORS
        whole, rest = factors.split((_FACTORS * width, factors.shape[-1] - _FACTORS * width), -1)
        products = whole.unflatten(-1, (_FACTORS, width)).prod(-2)
        return -products.log().sum(-1) - rest.prod(-1).log()

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        """Return the gradient of the outputs, and none of the constants."""
        x, factors = ctx.saved_tensors
        slope = factors.reciprocal().sub_(1.0)
        slope.addcmul_(slope, x, value=-2.0)
        return None, slope.mul_(gradient.unsqueeze(-1)), None


class ContinuousBernoulli(_LogOdds):
    """Numbers from zero to one, both included, such as grey values.

    Parameters
    ----------
    log_odds : array-like of shape (n_features,)
        The slope l of the log-density where outputs are zero.

    Notes
    -----
    First means are between 0.01 and 0.99, for any data: the density at 0 grows without bound as
    the mean goes to 0.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvae.neural.likelihoods.binary import ContinuousBernoulli
    >>> likelihood = ContinuousBernoulli([0.0])  # uniform
    >>> likelihood.log_prob(torch.tensor([[0.3]]), torch.zeros(1, 1)).item()
    0.0
    """

    name = "continuous_bernoulli"
    rule = "a continuous Bernoulli likelihood takes numbers from 0 to 1; rescale the column"

    @staticmethod
    def allowed(values):
        return (values >= 0) & (values <= 1)

    @staticmethod
    def _log_odds_of(mean):
        """Return the l of some means, by bisection: the mean rises with l."""
        mean = torch.from_numpy(np.clip(mean, _NEAREST, 1.0 - _NEAREST))
        low = torch.full_like(mean, -2.0 / _NEAREST)  # where the mean is about −1/l
        high = -low
        for _ in range(64):
            middle = 0.5 * (low + high)
            below = _mean(middle) < mean
            low, high = torch.where(below, middle, low), torch.where(below, high, middle)
        return (0.5 * (low + high)).numpy()

    def log_terms(self, x, outputs):
        log_odds = outputs + self.log_odds
        return log_odds * (x - 0.5) - _log_sinhc(log_odds)

    def mean(self, outputs):
        return _mean(outputs.double() + self.log_odds)

    @torch.no_grad()
    def density_parameters(self, outputs):
        return {"mean": self.mean(outputs), "log_odds": outputs.double() + self.log_odds}

    @staticmethod
    def cdf_of(x, log_odds, **_):
        # Of a falling density; that of a rising one is its mirror image.
        x, size = np.clip(x, 0.0, 1.0), np.maximum(np.abs(log_odds), 1e-12)
        below = np.where(log_odds < 0, x, 1.0 - x)
        found = np.expm1(-size * below) / np.expm1(-size)
        return np.where(log_odds < 0, found, 1.0 - found)

    @torch.no_grad()
    def sample(self, outputs, generator):
        log_odds = outputs.double() + self.log_odds
        u, size = uniform(log_odds, generator), log_odds.abs()
        # The inverse of the distribution function for l > 0, in two forms: the second is the limit
        # for small l, the first does not overflow.
        far = 1.0 + torch.log(u + (1.0 - u) * torch.exp(-size)) / size.clamp(min=_SMALL)
        near_size = size.clamp(1e-8, _SMALL)
        near = torch.log1p(u * torch.expm1(near_size)) / near_size
        draw = torch.where(size < _SMALL, near, far).clamp(0.0, 1.0)
        return torch.where(log_odds < 0, 1.0 - draw, draw)


def _log_sinhc(log_odds):
    """Return ln(sinh(l/2) / (l/2)), with exact gradients at and near l = 0."""
    size = log_odds.abs()
    small = size < _SMALL
    # Each branch gets numbers of its own range where the other is taken, or its gradient is NaN.
    square = torch.where(small, log_odds, 0.0).square()
    near = torch.zeros_like(square)
    for coefficient in reversed(_SERIES):
        near = square * (near + coefficient)
    size = torch.where(small, 1.0, size)
    far = 0.5 * size + torch.log(-torch.expm1(-size)) - size.log()
    return torch.where(small, near, far)


def _mean(log_odds):
    """Return the mean of a continuous Bernoulli, ½ and the derivative of ``_log_sinhc``."""
    small = log_odds.abs() < _SMALL
    near = torch.where(small, log_odds, 0.0)
    slope = torch.zeros_like(near)
    for k in range(len(_SERIES), 0, -1):
        slope = near.square() * slope + 2 * k * _SERIES[k - 1]
    # The distance of the mean from the nearer end; here nothing overflows, as e^|l| would.
    size = torch.where(small, 1.0, log_odds.abs())
    distance = size.reciprocal() + torch.exp(-size) / torch.expm1(-size)
    far = torch.where(log_odds < 0, distance, 1.0 - distance)
    return torch.where(small, 0.5 + near * slope, far)
