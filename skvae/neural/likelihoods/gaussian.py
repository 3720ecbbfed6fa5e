r"""Numbers on a line: Gaussian and Student-t, about a location from the decoder.

With prepared rows :math:`x = (X - a) / u`, where a and u are the data's means and standard
deviations, and :math:`t_j = (x_j - \mu_j) / \sigma_j`,

.. math::
    \ln p(x_j \mid z) &= - \tfrac12 t_j^2 - \ln \sigma_j - \tfrac12 \ln 2\pi
    \qquad \text{(Gaussian)}, \\
    \ln p(x_j \mid z) &= - \tfrac{\nu_j + 1}{2} \ln\Bigl(1 + \frac{t_j^2}{\nu_j}\Bigr)
    + \ln \frac{\Gamma(\frac{\nu_j + 1}{2})}{\Gamma(\frac{\nu_j}{2})}
    - \tfrac12 \ln (\pi \nu_j) - \ln \sigma_j
    \qquad \text{(Student-t)}.

:math:`\mu(z)` is the decoder's. :math:`\sigma` is learned, one for each feature or for all, or is
the decoder's too, and so is :math:`\nu`. The density is unbounded as σ → 0, so σ has a floor; the
variance is finite only for ν > 2, so ν has one too:

.. math::
    \sigma &= \sigma_{\min} + e^r && \text{(learned)}, \\
    \sigma &= \sigma_{\min} + (1 - \sigma_{\min}) \operatorname{softplus}(r + b)
    && \text{(from the decoder, with any } r \text{)}, \\
    \nu &= \nu_{\min} + c \operatorname{softplus}(s),

with b such that zeros of the decoder give σ = 1, the first value of a learned σ, and c such that
zeros give ν = 8. No gradient vanishes where σ or ν is large, and at the floors they fade like
:math:`e^r`. The subtraction of a is always in float64: X may be 1e8 ± 1.
"""

import math
from numbers import Real

import numpy as np
import torch
from scipy import special
from torch import nn

from skvae.columns import check_values
from skvae.neural.likelihoods.base import Likelihood, moments_of, softplus, uniform
from skvae.neural.training.rows_on_disk import RowsOnDisk, blocks_of
from skvae.validation import check_array_parameter, check_choice

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
MIN_DOF = 2.01
_FIRST_DOF = 8.0
_SOFT_ONE = math.log(math.expm1(1.0))  # the softplus of it is one
# Differences of numbers of size one that float32 still represents.
_SMALLEST_FLOOR = 1e-6
_WHERE = ("feature", "shared", "decoder")
# σ of one row may fall as far as rows lie near one another by chance, that of a feature hardly.
_FLOOR, _FLOORS = 1e-3, {"decoder": 0.1}
# Beyond it squares, and products of a few, would overflow; every density is negligible there.
_FAR = 1e100
# From here on the series of ln Γ(x + ½) − ln Γ(x) is exact to float64.
_SERIES = 20.0


class _LocationScale(Likelihood):
    """A density of (x − μ)/σ, feature by feature, for rows standardised by the data's moments."""

    def __init__(self, location, units, scale, min_scale, n_more=0):
        location = check_array_parameter("location", location, None, "(n_features,)")
        units = check_array_parameter("units", units, location.shape, "(n_features,)")
        if location.ndim != 1 or not (units > 0).all():
            raise ValueError(f"units={units!r}: must be above 0, one for each feature")
        check_choice("scale", scale, _WHERE)
        if min_scale is None:
            min_scale = _FLOORS.get(scale, _FLOOR)
        if not _is_number(min_scale) or not _SMALLEST_FLOOR <= min_scale < 1:
            raise ValueError(
                f"min_scale={min_scale!r}: must be a number from {_SMALLEST_FLOOR} to below 1, in "
                "standard deviations of a feature"
            )
        n = len(location)
        super().__init__(n, n, n * (1 + (scale == "decoder") + n_more))
        self.location, self.units = location, units
        self.scale, self.min_scale = scale, float(min_scale)
        self.raw_scale = learned(scale, n, math.log1p(-self.min_scale))

    @classmethod
    def of_data(cls, X, *, names=None, weight=None, **likelihood_params):
        """Return the likelihood that has the mean and scale of each feature of X at zero outputs.

        Parameters
        ----------
        X : ndarray or RowsOnDisk of shape (n_samples, n_features)
            Rows; NaN is missing.
        names : sequence of str, default=None
            The features' names, for messages.
        weight : ndarray or RowsOnDisk, default=None
            The weights of the rows.
        **likelihood_params : dict
            Those of the constructor.

        Returns
        -------
        likelihood : Likelihood
            A constant feature has the unit 1.

        Raises
        ------
        ValueError
            A value is infinite, a feature has no value, or a parameter is wrong.
        """
        check_values(blocks_of(X), names, cls.allowed, cls.rule)
        on_disk = isinstance(X, RowsOnDisk)
        line = X.mapped(cls.coordinate) if on_disk else cls.coordinate(X)
        moments = moments_of(line, names, weight)
        constant = moments.variance <= moments.resolution
        units = np.sqrt(np.where(constant, 1.0, moments.variance))
        more = cls._more(X, moments, names, weight)
        return cls(moments.mean, units, **more, **likelihood_params)

    @classmethod
    def _more(cls, X, moments, names, weight):  # noqa: ARG003, a subclass uses them
        """Return further arguments of the constructor, from rows and moments of coordinates."""
        return {}

    @staticmethod
    def coordinate(X):
        """Return the rows on the line, where they have a location and a scale."""
        return X

    @staticmethod
    def allowed(values):
        return np.isfinite(values)

    def prepare(self, X):
        with np.errstate(over="ignore"):
            x = np.asarray(self.coordinate(X), dtype=np.float64) - self.location
            x /= self.units
        return np.clip(x, -_FAR, _FAR, out=x)

    @property
    def log_jacobian(self):
        return torch.from_numpy(-np.log(self.units))

    def inputs(self, x):
        return torch.nan_to_num(x, nan=0.0)

    def mean(self, outputs):
        return self._to_user(outputs[..., : self.n_features].double())

    def _scale_of(self, log_precision):
        """Return σ in the user's units, (..., D), from −ln σ."""
        units = torch.as_tensor(self.units, device=log_precision.device)
        return torch.exp(-log_precision) * units

    def _to_user(self, x):
        """Return prepared float64 numbers in the user's units."""
        location = torch.as_tensor(self.location, device=x.device)
        return location + torch.as_tensor(self.units, device=x.device) * x

    def sigma(self, dtype):
        """Return the learned σ, one for each feature or one for all, in standard deviations."""
        return self.raw_scale.to(dtype).exp() + self.min_scale

    def raw_of(self, sigma):
        """Return the numbers r for some σ, which are raised above the floor a little.

        Parameters
        ----------
        sigma : tensor
            In standard deviations of a feature.

        Returns
        -------
        raw : tensor
            Values of ``raw_scale``, or outputs of the decoder.
        """
        above = (sigma - self.min_scale).clamp(min=_SMALLEST_FLOOR * self.min_scale)
        if self.raw_scale is not None:
            return above.log()
        return torch.log(torch.expm1(above / (1.0 - self.min_scale))) - _SOFT_ONE

    def _split(self, outputs):
        """Return μ, −ln σ and the other outputs."""
        mu, *more = outputs.split(self.n_features, dim=-1)
        if self.raw_scale is not None:
            return mu, -self.sigma(outputs.dtype).log(), more
        above = (1.0 - self.min_scale) * softplus(more[0] + _SOFT_ONE)
        return mu, -torch.log(self.min_scale + above), more[1:]

    def constants(self):
        return {
            "location": self.location.tolist(),
            "units": self.units.tolist(),
            "scale": self.scale,
            "min_scale": self.min_scale,
        }


class Gaussian(_LocationScale):
    """Numbers with Gaussian noise.

    Parameters
    ----------
    location : array-like of shape (n_features,)
        The data's means, in the units of X.
    units : array-like of shape (n_features,)
        The data's standard deviations, the units of prepared rows.
    scale : {"feature", "shared", "decoder"}, default="feature"
        Whether σ is learned for each feature, one for all features, or given by the decoder: then
        its outputs are (μ, r), each of n_features.
    min_scale : float, default=None
        The floor of σ, in standard deviations of a feature, from 1e-6 to below 1. None is 1e-3, or
        0.1 where σ is from the decoder.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods.gaussian import Gaussian
    >>> likelihood = Gaussian.of_data(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> likelihood.location, likelihood.units
    (array([2., 4.]), array([1., 2.]))
    """

    name = "gaussian"
    rule = "a Gaussian likelihood takes finite numbers"
    takes = ("scale", "min_scale")

    def __init__(self, location, units, scale="feature", min_scale=None):
        super().__init__(location, units, scale, min_scale)

    def log_prob(self, x, outputs, observed=None):
        if observed is not None:
            return super().log_prob(x, outputs, observed)
        if self.scale == "decoder":
            return self.log_terms(x, outputs.to(x.dtype)).sum(-1)
        # The loop of training, in few operations: terms that do not depend on the row are summed
        # once, and a product's gradient costs half of a quotient's.
        precision = self.sigma(x.dtype).reciprocal()
        squares = ((x - outputs) * precision).square().sum(-1)
        if self.scale == "shared":
            precision = precision.expand(self.n_features)
        peak = precision.log().sum() - self.n_features * HALF_LOG_2PI
        return torch.sub(peak, squares, alpha=0.5)

    def log_terms(self, x, outputs):
        mu, log_precision, _ = self._split(outputs)
        residual = (x - mu) * log_precision.exp()
        return log_precision - HALF_LOG_2PI - 0.5 * residual.square()

    @torch.no_grad()
    def density_parameters(self, outputs):
        mean = self.mean(outputs)
        scale = self._scale_of(self._split(outputs.double())[1])
        return {"mean": mean, "scale": scale.expand_as(mean)}

    @staticmethod
    def cdf_of(x, mean, scale):
        return special.ndtr((x - mean) / scale)

    def variance(self, outputs):
        """Return σ² of prepared rows, shape (..., D), given the decoder's outputs."""
        return torch.exp(-2.0 * self._split(outputs)[1]).expand(
            *outputs.shape[:-1], self.n_features
        )

    @torch.no_grad()
    def sample(self, outputs, generator):
        mu, log_precision, _ = self._split(outputs.double())
        device = generator.device
        noise = torch.randn(mu.shape, generator=generator, device=device, dtype=torch.float64)
        return self._to_user(mu + noise.to(mu.device) * torch.exp(-log_precision))


class StudentT(_LocationScale):
    """Numbers with heavy-tailed noise: a Student-t of ν degrees of freedom.

    Parameters
    ----------
    location : array-like of shape (n_features,)
        The data's means, in the units of X.
    units : array-like of shape (n_features,)
        The data's standard deviations, the units of prepared rows.
    scale : {"feature", "shared", "decoder"}, default="feature"
        Whether σ is learned for each feature, one for all features, or given by the decoder: then
        its outputs have r after μ.
    min_scale : float, default=None
        The floor of σ, in standard deviations of a feature, from 1e-6 to below 1. None is 1e-3, or
        0.1 where σ is from the decoder.
    dof : {"feature", "shared", "decoder"} or float, default="feature"
        The source of ν, likewise; the decoder's outputs have s last. A number, above 2, is ν
        itself. A learned ν is above 2.01, so that the variance is finite, and is 8 at first.

    References
    ----------
    .. [1] Bailey (1994). Polar generation of random variates with the t-distribution. Mathematics
       of Computation 62, 779-781.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods.gaussian import StudentT
    >>> StudentT.of_data(np.array([[1.0, 2.0], [3.0, 6.0]]), dof="decoder").n_outputs
    4
    """

    name = "student_t"
    rule = "a Student-t likelihood takes finite numbers"
    takes = ("scale", "min_scale", "dof")

    def __init__(self, location, units, scale="feature", min_scale=None, dof="feature"):
        if _is_number(dof) and 2 < dof < math.inf:
            dof = float(dof)
        elif not isinstance(dof, str) or dof not in _WHERE:
            raise ValueError(
                f"dof={dof!r}: must be 'feature', 'shared', 'decoder', or a number above 2, where "
                "the variance is finite"
            )
        super().__init__(location, units, scale, min_scale, n_more=int(dof == "decoder"))
        self.dof = dof
        self.raw_dof = learned(dof, self.n_features, 0.0)

    def _parameters_of(self, outputs):
        """Return μ, −ln σ and ν."""
        mu, log_precision, more = self._split(outputs)
        if isinstance(self.dof, float):
            return mu, log_precision, outputs.new_tensor(self.dof)
        raw = more[0] if self.raw_dof is None else self.raw_dof.to(outputs.dtype)
        slope = (_FIRST_DOF - MIN_DOF) / math.log(2.0)
        return mu, log_precision, slope * softplus(raw) + MIN_DOF

    def log_terms(self, x, outputs):
        mu, log_precision, dof = self._parameters_of(outputs)
        half, residual = 0.5 * dof, (x - mu) * log_precision.exp()
        peak = _half_step(half) + log_precision - HALF_LOG_2PI
        return peak - (half + 0.5) * torch.log1p(residual.square() / dof)

    @torch.no_grad()
    def density_parameters(self, outputs):
        mu, log_precision, dof = self._parameters_of(outputs.double())
        found = {"mean": self._to_user(mu), "scale": self._scale_of(log_precision), "dof": dof}
        return {name: value.expand_as(mu) for name, value in found.items()}

    @staticmethod
    def cdf_of(x, mean, scale, dof):
        return special.stdtr(dof, (x - mean) / scale)

    @torch.no_grad()
    def sample(self, outputs, generator):
        mu, log_precision, dof = self._parameters_of(outputs.double())
        # Bailey's polar method; one minus the draw, which may be zero, is never zero.
        radius = torch.expm1(-2.0 / dof * torch.log(1.0 - uniform(mu, generator)))
        angle = 2.0 * math.pi * uniform(mu, generator)
        noise = torch.sqrt(dof * radius) * torch.cos(angle)
        return self._to_user(mu + noise * torch.exp(-log_precision))

    def constants(self):
        return {**super().constants(), "dof": self.dof}


def learned(where, n_features, first):
    """Return a parameter for each feature or one for all; None if it is not learned."""
    if where not in ("feature", "shared"):
        return None
    n = n_features if where == "feature" else 1
    return nn.Parameter(torch.full((n,), first, dtype=torch.float32))


def _half_step(x):
    """Return ln Γ(x + ½) − ln Γ(x) − ½ ln x, which fades like −1/(8x), without cancellation."""
    near = x.clamp(max=_SERIES)
    direct = torch.lgamma(near + 0.5) - torch.lgamma(near) - 0.5 * near.log()
    y = x.clamp(min=_SERIES).reciprocal()
    square = y.square()
    series = -y / 8 * (1 - square * (1 / 24 - square * (1 / 80 - square * 17 / 1792)))
    return torch.where(x < _SERIES, direct, series)


def _is_number(value):
    return isinstance(value, Real) and not isinstance(value, bool)
