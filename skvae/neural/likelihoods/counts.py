r"""Counts 0, 1, 2, …: Poisson, and negative binomial for a larger variance.

.. math::
    \ln p(x \mid \mu) &= x \ln \mu - \mu - \ln x! && \text{(Poisson)}, \\
    \ln p(x \mid \mu, r) &= \ln \frac{\Gamma(r + x)}{\Gamma(r)\, r^x\, x!}
        + x \ln \mu - (r + x) \ln \Bigl(1 + \frac{\mu}{r}\Bigr)
    && \text{(negative binomial, } \operatorname{var} x = \mu + \mu^2 / r \text{)},

with the mean :math:`\mu_j = \bar x_j\, g(o_j(z))` in multiples of the data's. The link is
:math:`g(o) = e^o` up to o = 10, and a straight line beyond: counts may be that large, but the
gradient of an exponential overflows there, and that of a clamp is zero. The dispersion 1/r is
learned for each feature, from the data's as its first value.
"""

import numpy as np
import torch
from scipy import special
from torch import nn
from torch.nn import functional

from skvae.columns import check_values
from skvae.neural.likelihoods.base import (
    Likelihood,
    moments_of,
    n_observed,
    softplus,
)
from skvae.neural.training.rows_on_disk import RowsOnDisk, blocks_of
from skvae.validation import check_array_parameter

_BEND = 10.0
_MIN_DISPERSION = 1e-6
_FIRST_DISPERSIONS = (0.01, 100.0)
# From here on four terms of Stirling's series are exact to float64.
_SERIES = 20.0
# torch and NumPy draw counts as 64-bit integers.
_LARGEST_RATE = 1e18


def _log1p(X):
    return np.log1p(X, dtype=np.float64)


class _Counts(Likelihood):
    """A density of counts about a mean from the decoder."""

    def __init__(self, log_mean, log1p_mean, log1p_std):
        form = "(n_features,)"
        log_mean = check_array_parameter("log_mean", log_mean, None, form)
        if log_mean.ndim != 1:
            raise ValueError(f"log_mean has shape {log_mean.shape}: must have one axis")
        n = len(log_mean)
        super().__init__(n, n, n)
        self._constant("log_mean", log_mean)
        for name, value in (("log1p_mean", log1p_mean), ("log1p_std", log1p_std)):
            self._constant(name, check_array_parameter(name, value, (n,), form))

    @classmethod
    def of_data(cls, X, *, names=None, weight=None):
        """Return the likelihood that has the mean of each feature of X at zero outputs.

        Half a count is added to the data, so that no mean is zero.

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
            A value is no count, or a feature has no value.
        """
        check_values(blocks_of(X), names, cls.allowed, cls.rule)
        moments, n = moments_of(X, names, weight), n_observed(X, weight)
        log1p = X.mapped(_log1p) if isinstance(X, RowsOnDisk) else _log1p(X)
        logs = moments_of(log1p, names, weight)
        log1p_std = np.sqrt(np.where(logs.variance <= logs.resolution, 1.0, logs.variance))
        mean = moments.mean + 0.5 / n
        return cls(np.log(mean), logs.mean, log1p_std, **cls._more(mean, moments.variance))

    @classmethod
    def _more(cls, mean, variance):  # noqa: ARG003, a subclass uses them
        """Return further arguments of the constructor, from the data's moments."""
        return {}

    @staticmethod
    def allowed(values):
        return (values >= 0) & (values == np.floor(values)) & np.isfinite(values)

    def inputs(self, x):
        return torch.nan_to_num((torch.log1p(x) - self.log1p_mean) / self.log1p_std, nan=0.0)

    def _log_mean_of(self, outputs):
        """Return ln μ."""
        beyond = torch.log1p(functional.relu(outputs - _BEND))
        return self.log_mean + outputs.clamp(max=_BEND) + beyond

    def mean(self, outputs):
        return self._log_mean_of(outputs.double()).exp()

    @torch.no_grad()
    def density_parameters(self, outputs):
        return {"mean": self.mean(outputs)}

    @staticmethod
    def cdf_of(x, mean):
        return np.where(x < 0, 0.0, special.pdtr(np.maximum(np.floor(x), 0.0), mean))

    def constants(self):
        names = ("log_mean", "log1p_mean", "log1p_std")
        return {name: getattr(self, name).tolist() for name in names}


class Poisson(_Counts):
    """Counts with a variance equal to their mean, given z.

    Parameters
    ----------
    log_mean : array-like of shape (n_features,)
        The logarithm of μ where outputs are zero.
    log1p_mean, log1p_std : array-like of shape (n_features,)
        The data's mean and standard deviation of ln(1 + x), for the encoder's inputs.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvae.neural.likelihoods.counts import Poisson
    >>> likelihood = Poisson.of_data(np.array([[3.0], [4.0]]))
    >>> round(likelihood.mean(torch.zeros(1)).item(), 6)  # 7 and a half, by 2
    3.75
    """

    name = "poisson"
    rule = (
        "a Poisson likelihood takes counts, whole numbers from 0; round the column, or take "
        "'gaussian' or 'log_normal' for it"
    )

    def log_terms(self, x, outputs):
        log_mean = self._log_mean_of(outputs)
        return x * log_mean - log_mean.exp() - torch.lgamma(x + 1.0)

    @torch.no_grad()
    def sample(self, outputs, generator):
        rate = self.mean(outputs).clamp(max=_LARGEST_RATE).to(generator.device)
        return torch.poisson(rate, generator=generator).to(outputs.device)


class NegativeBinomial(_Counts):
    """Counts with a larger variance than Poisson's, given z: μ + μ²/r.

    Parameters
    ----------
    log_mean : array-like of shape (n_features,)
        The logarithm of μ where outputs are zero.
    log1p_mean, log1p_std : array-like of shape (n_features,)
        The data's mean and standard deviation of ln(1 + x), for the encoder's inputs.
    dispersion : array-like of shape (n_features,)
        First values of 1/r, above 1e-6, which is its floor. Learned values are in the state.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods.counts import NegativeBinomial
    >>> likelihood = NegativeBinomial.of_data(np.array([[0.0], [7.0], [1.0], [12.0]]))
    >>> round(likelihood.dispersion().item(), 3)
    0.7
    """

    name = "negative_binomial"
    rule = (
        "a negative binomial likelihood takes counts, whole numbers from 0; round the column, or "
        "take 'gaussian' or 'log_normal' for it"
    )

    def __init__(self, log_mean, log1p_mean, log1p_std, dispersion):
        super().__init__(log_mean, log1p_mean, log1p_std)
        shape = (self.n_features,)
        first = check_array_parameter("dispersion", dispersion, shape, "(n_features,)")
        if (first <= _MIN_DISPERSION).any():
            raise ValueError(f"dispersion has an entry {first.min()}: must be above 1e-6")
        self.first_dispersion = first
        above = first - _MIN_DISPERSION
        self._constant("first_raw", above + np.log(-np.expm1(-above)))
        self.raw_dispersion = nn.Parameter(torch.zeros(shape, dtype=torch.float32))

    @classmethod
    def _more(cls, mean, variance):
        return {"dispersion": np.clip((variance - mean) / mean**2, *_FIRST_DISPERSIONS)}

    def dispersion(self, dtype=torch.float64):
        """Return 1/r of each feature, shape (D,): the variance is μ + μ²/r.

        Parameters
        ----------
        dtype : torch.dtype, default=torch.float64
            The precision.

        Returns
        -------
        dispersion : tensor of shape (D,)
            Above 1e-6.
        """
        raw = self.raw_dispersion.to(dtype) + self.first_raw
        return softplus(raw) + _MIN_DISPERSION

    def log_terms(self, x, outputs):
        log_mean, dispersion = self._log_mean_of(outputs), self.dispersion(outputs.dtype)
        r, log_r = dispersion.reciprocal(), -dispersion.log()
        # With p = μ / (μ + r): its logarithms do not overflow, and no gradient is the difference of
        # terms as large as x.
        log_p = -softplus(log_r - log_mean)
        log_not_p = -softplus(log_mean - log_r)
        of_x = _log_rising(r, x) - torch.lgamma(x + 1.0)
        return of_x + x * (log_r + log_p) + r * log_not_p

    @torch.no_grad()
    def density_parameters(self, outputs):
        mean = self.mean(outputs)
        return {"mean": mean, "dispersion": self.dispersion().expand_as(mean)}

    @staticmethod
    def cdf_of(x, mean, dispersion):
        share = 1.0 / (1.0 + dispersion * mean)
        found = special.betainc(1.0 / dispersion, np.maximum(np.floor(x), 0.0) + 1.0, share)
        return np.where(x < 0, 0.0, found)

    @torch.no_grad()
    def sample(self, outputs, generator):
        # torch draws Gamma variates only from its global state: NumPy draws them, with our seed.
        seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
        rng = np.random.default_rng(seed.item())
        dispersion = self.dispersion().cpu().numpy()
        mean = self.mean(outputs).cpu().numpy()
        rate = rng.gamma(1.0 / dispersion, dispersion * mean)
        draw = rng.poisson(np.minimum(rate, _LARGEST_RATE))
        return torch.from_numpy(draw.astype(np.float64)).to(outputs.device)

    def constants(self):
        return {**super().constants(), "dispersion": self.first_dispersion.tolist()}


def _log_rising(r, x):
    """Return ln Γ(r + x) − ln Γ(r) − x ln r, about x²/2r for large r, without cancellation."""
    near = r.clamp(max=_SERIES)
    direct = torch.lgamma(near + x) - torch.lgamma(near) - x * near.log()
    far = r.clamp(min=_SERIES)
    total = far + x
    series = (total - 0.5) * torch.log1p(x / far) - x + _stirling(total) - _stirling(far)
    return torch.where(r < _SERIES, direct, series)


def _stirling(x):
    """Return the remainder of Stirling's formula for ln Γ(x)."""
    y = x.reciprocal()
    square = y.square()
    return y * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
