r"""Numbers above zero, log-normal and gamma, and numbers between zero and one, beta.

Rows are prepared on the line: :math:`x = (t - a) / s` with :math:`t = \ln X`, or for beta
:math:`t = \ln X - \ln (1 - X)`, and a and s the data's mean and standard deviation of t. With
:math:`o(z)` from the decoder, and :math:`\rho` learned or from the decoder, as σ in
:mod:`skvae.neural.likelihoods.gaussian`,

.. math::
    \ln X \mid z &\sim N(a + s\, o,\; (s \rho)^2) && \text{(log-normal)}, \\
    X \mid z &\sim \operatorname{Gamma}(\text{mean } \mu,\; \text{shape } k),
        \quad \ln \mu = \ln \bar X + g(s\, o), \quad k = k_0 / \rho^2 && \text{(gamma)}, \\
    X \mid z &\sim \operatorname{Beta}(\nu m,\; \nu (1 - m)),
        \quad \operatorname{logit} m = \operatorname{logit} \bar X + g(s\, o),
        \quad \nu = \nu_0 / \rho^2 && \text{(beta)},

where :math:`k_0` and :math:`\nu_0` are the data's. The link g is a straight line up to 20 and grows
like a logarithm beyond, in both directions, so that no exponential of it overflows. So zeros of the
decoder give the independent model of the features, and outputs of one are a standard deviation, for
any units and any spread.

The log-densities are those of X, in units of :math:`e^a` of a log-normal and gamma. With Stirling's
remainder R, ln Γ(k) = (k − ½) ln k − k + ½ ln 2π + R(k), and d = ln X − ln μ, they are

.. math::
    \ln p(X) &= \tfrac12 \ln \tfrac{k}{2\pi} - R(k) - k (e^d - 1 - d) - \ln X, \\
    \ln p(X) &= \tfrac12 \ln \tfrac{\nu m (1 - m)}{2\pi} + R(\nu) - R(\nu m) - R(\nu (1 - m))
        - \nu\, \mathrm{KL}(m \,\|\, X) - \ln X (1 - X),

with KL the divergence of two Bernoulli distributions: no terms as large as k or ν cancel.
"""

import math

import numpy as np
import torch
from scipy import special

from skvae.neural.likelihoods.base import moments_of, softplus
from skvae.neural.likelihoods.gaussian import HALF_LOG_2PI, Gaussian, _LocationScale
from skvae.neural.training.rows_on_disk import RowsOnDisk
from skvae.validation import check_array_parameter

_BEND = 20.0
# Shapes and concentrations at first: the data's, unless a column is nearly constant.
_FIRST_SHAPES = 1e-2, 1e12
# From here on Stirling's series is exact to float64.
_SERIES = 20.0
# Below it e^d − 1 − d has a series of few terms, the next of which is below 1e-16 of it.
_SMALL = 0.03
_LEAST, _LARGEST = np.finfo(np.float64).tiny, np.finfo(np.float64).max
_LARGEST_LOG = math.log(_LARGEST) - 1e-9
_BELOW_ONE = 1.0 - np.finfo(np.float64).epsneg
# NumPy's Beta draws with smaller parameters are NaN.
_LEAST_SHAPE = 1e-200


def _log(X):
    return np.log(X, dtype=np.float64)


def _logit(X):
    X = np.asarray(X, dtype=np.float64)
    return np.log(X) - np.log1p(-X)


class LogNormal(Gaussian):
    """Positive numbers with a Gaussian logarithm, given z.

    Parameters
    ----------
    location : array-like of shape (n_features,)
        The data's means of ln X.
    units : array-like of shape (n_features,)
        The data's standard deviations of ln X, rounded to float32.
    scale : {"feature", "shared", "decoder"}, default="feature"
        Whether σ of ln X is learned for each feature, one for all features, or given by the
        decoder: then its outputs are (μ, r), each of n_features.
    min_scale : float, default=None
        The floor of σ, in standard deviations of ln X, from 1e-6 to below 1. None is 1e-3, or 0.1
        where σ is from the decoder.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.likelihoods.positive import LogNormal
    >>> likelihood = LogNormal.of_data(np.array([[1.0], [np.e**2]]))
    >>> likelihood.location, likelihood.units
    (array([1.]), array([1.]))
    """

    name = "log_normal"
    rule = (
        "a log-normal likelihood takes finite numbers above zero; shift the column, or drop its "
        "zeros"
    )

    def __init__(self, location, units, scale="feature", min_scale=None):
        super().__init__(location, _in_single(units), scale, min_scale)
        self._constant("log_units", self.units)

    coordinate = staticmethod(_log)

    @staticmethod
    def limits(info):
        return info.smallest_subnormal, info.max

    @staticmethod
    def allowed(values):
        return (values > 0) & np.isfinite(values)

    @property
    def log_jacobian(self):
        return torch.from_numpy(-self.location)

    def log_prob(self, x, outputs, observed=None):
        log_prob = super().log_prob(x, outputs, observed)
        if observed is None and self.scale != "decoder":  # there the terms are not used
            log_prob = log_prob - (x * self.log_units + self.log_units.log()).sum(-1)
        return log_prob

    def log_terms(self, x, outputs):
        return super().log_terms(x, outputs) - (x * self.log_units + self.log_units.log())

    def mean(self, outputs):
        mu, log_precision, _ = self._split(outputs.double())
        half_variance = 0.5 * self._scale_of(log_precision).square()
        return (self._to_user(mu) + half_variance).clamp(max=_LARGEST_LOG).exp()

    @torch.no_grad()
    def density_parameters(self, outputs):
        found = super().density_parameters(outputs)
        mu, _, _ = self._split(outputs.double())
        return {"log_mean": self._to_user(mu), "log_scale": found["scale"]}

    @staticmethod
    def cdf_of(x, log_mean, log_scale):
        with np.errstate(divide="ignore"):
            return special.ndtr((np.log(np.maximum(x, 0.0)) - log_mean) / log_scale)

    def sample(self, outputs, generator):
        return super().sample(outputs, generator).exp().clamp(_LEAST, _LARGEST)


class _Shaped(_LocationScale):
    """A density with a mean by the link g, and a shape ∝ 1 / ρ².

    A subclass has ``coordinate``, and ``_first(moments)``, the first (place of the mean, shape).
    """

    takes = ("scale", "min_scale")

    def __init__(self, location, units, center, shape, scale="feature", min_scale=None):
        super().__init__(location, _in_single(units), scale, min_scale)
        n = (self.n_features,)
        self.center = check_array_parameter("center", center, n, "(n_features,)")
        self.shape = check_array_parameter("shape", shape, n, "(n_features,)")
        if not (self.shape > 0).all():
            raise ValueError(f"shape={shape!r}: must be above 0, one for each feature")
        self._constant("line_units", self.units)
        self._constant("first_center", self.center)
        self._constant("first_log_shape", np.log(self.shape))

    def _place_and_log_shape(self, outputs):
        """Return the place of the mean on the line, and the logarithm of the shape."""
        o, log_precision, _ = self._split(outputs)
        step = self.line_units * o
        inside = step.clamp(-_BEND, _BEND)
        bent = inside + (step - inside).sign() * torch.log1p((step - inside).abs())
        log_shape = self.first_log_shape + 2.0 * log_precision
        return self.first_center + bent, log_shape.expand_as(bent)

    def constants(self):
        own = {"center": self.center.tolist(), "shape": self.shape.tolist()}
        return {**super().constants(), **own}


class Gamma(_Shaped):
    """Positive numbers, such as amounts and waiting times.

    Parameters
    ----------
    location : array-like of shape (n_features,)
        The data's means of ln X.
    units : array-like of shape (n_features,)
        The data's standard deviations of ln X, rounded to float32.
    center : array-like of shape (n_features,)
        ln of the mean where outputs are zero, relative to `location`.
    shape : array-like of shape (n_features,)
        The shape k where outputs are zero; 1 is an exponential distribution.
    scale : {"feature", "shared", "decoder"}, default="feature"
        Whether ρ is learned for each feature, one for all features, or given by the decoder, as its
        second n_features outputs. The shape is that of the data divided by ρ².
    min_scale : float, default=None
        The floor of ρ, from 1e-6 to below 1. None is 1e-3, or 0.1 where ρ is from the decoder.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvae.neural.likelihoods.positive import Gamma
    >>> likelihood = Gamma.of_data(np.array([[1.0], [2.0], [6.0]]))
    >>> round(likelihood.mean(torch.zeros(1)).item(), 5)
    3.0
    """

    name = "gamma"
    rule = "a gamma likelihood takes finite numbers above zero; shift the column, or drop its zeros"

    coordinate = staticmethod(_log)

    @staticmethod
    def limits(info):
        return info.smallest_subnormal, info.max

    @staticmethod
    def allowed(values):
        return (values > 0) & np.isfinite(values)

    @classmethod
    def _more(cls, X, moments, names, weight):
        relative = _mapped(lambda rows: np.exp(_log(rows) - moments.mean), X)
        center = np.log(moments_of(relative, names, weight).mean)
        # ln k − ψ(k) = δ = ln E x − E ln x, nearly solved (Minka 2002, Estimating a gamma
        # distribution, eq. 11): exact to 1.5 per cent, which a first value need not be.
        delta = np.maximum(center, 1e-12)
        shape = (3 - delta + np.sqrt((delta - 3) ** 2 + 24 * delta)) / (12 * delta)
        return {"center": center, "shape": _first_shape(shape, moments)}

    @property
    def log_jacobian(self):
        return torch.from_numpy(-self.location)

    def log_terms(self, x, outputs):
        place, log_shape = self._place_and_log_shape(outputs)
        shape, log_x = log_shape.exp(), self.line_units * x
        peak = 0.5 * log_shape - HALF_LOG_2PI - _stirling(shape, log_shape)
        return peak - shape * _excess(log_x - place) - log_x

    def _log_mean(self, outputs):
        place, log_shape = self._place_and_log_shape(outputs.double())
        location = torch.as_tensor(self.location, device=place.device)
        return location + place, log_shape

    def mean(self, outputs):
        return self._log_mean(outputs)[0].clamp(max=_LARGEST_LOG).exp()

    @torch.no_grad()
    def density_parameters(self, outputs):
        return {"mean": self.mean(outputs), "shape": self._log_mean(outputs)[1].exp()}

    @staticmethod
    def cdf_of(x, mean, shape):
        return special.gammainc(shape, shape / mean * np.maximum(x, 0.0))

    @torch.no_grad()
    def sample(self, outputs, generator):
        log_mean, log_shape = (part.cpu().numpy() for part in self._log_mean(outputs))
        shape = np.exp(log_shape)
        draw = _generator(generator).standard_gamma(shape)
        with np.errstate(over="ignore", divide="ignore"):
            draw = np.exp(np.log(draw) + log_mean - log_shape)
        return torch.from_numpy(np.clip(draw, _LEAST, _LARGEST)).to(outputs.device)


class Beta(_Shaped):
    """Numbers between zero and one, such as shares.

    Parameters
    ----------
    location : array-like of shape (n_features,)
        The data's means of ln X − ln (1 − X), rounded to float32.
    units : array-like of shape (n_features,)
        The data's standard deviations of it, rounded to float32.
    center : array-like of shape (n_features,)
        The log-odds of the mean where outputs are zero.
    shape : array-like of shape (n_features,)
        The concentration ν = α + β where outputs are zero.
    scale : {"feature", "shared", "decoder"}, default="feature"
        Whether ρ is learned for each feature, one for all features, or given by the decoder, as its
        second n_features outputs. The concentration is that of the data divided by ρ².
    min_scale : float, default=None
        The floor of ρ, from 1e-6 to below 1. None is 1e-3, or 0.1 where ρ is from the decoder.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skvae.neural.likelihoods.positive import Beta
    >>> likelihood = Beta.of_data(np.array([[0.1], [0.2], [0.6]]))
    >>> round(likelihood.mean(torch.zeros(1)).item(), 5)
    0.3
    """

    name = "beta"
    rule = (
        "a beta likelihood takes numbers above 0 and below 1; rescale the column, or take "
        "'continuous_bernoulli', whose numbers may be 0 and 1"
    )

    def __init__(self, location, units, center, shape, scale="feature", min_scale=None):
        super().__init__(_in_single(location), units, center, shape, scale, min_scale)
        self._constant("line_location", self.location)

    coordinate = staticmethod(_logit)

    @staticmethod
    def limits(info):
        return info.smallest_subnormal, 1 - info.epsneg

    @staticmethod
    def allowed(values):
        return (values > 0) & (values < 1)

    @classmethod
    def _more(cls, X, moments, names, weight):
        own = moments_of(X, names, weight)
        spread = own.mean * (1.0 - own.mean)
        shape = spread / np.maximum(own.variance, 1e-12 * spread) - 1.0
        return {"center": _logit(own.mean), "shape": _first_shape(shape, moments)}

    @property
    def log_jacobian(self):
        return torch.zeros(self.n_features, dtype=torch.float64)

    def log_terms(self, x, outputs):
        place, log_shape = self._place_and_log_shape(outputs)
        at = self.line_location + self.line_units * x
        log_x, log_rest = -softplus(-at), -softplus(at)
        log_m, log_n = -softplus(-place), -softplus(place)
        m, n, shape = log_m.exp(), log_n.exp(), log_shape.exp()
        divergence = m * (log_m - log_x) + n * (log_n - log_rest)
        peak = 0.5 * (log_shape + log_m + log_n) - HALF_LOG_2PI + _stirling(shape, log_shape)
        peak = peak - _stirling(shape * m, log_shape + log_m)
        peak = peak - _stirling(shape * n, log_shape + log_n)
        return peak - shape * divergence - log_x - log_rest

    def mean(self, outputs):
        place, _ = self._place_and_log_shape(outputs.double())
        return torch.exp(-softplus(-place))

    @torch.no_grad()
    def density_parameters(self, outputs):
        place, log_shape = self._place_and_log_shape(outputs.double())
        return {
            "alpha": torch.exp(log_shape - softplus(-place)),
            "beta": torch.exp(log_shape - softplus(place)),
        }

    @staticmethod
    def cdf_of(x, alpha, beta):
        return special.betainc(alpha, beta, np.clip(x, 0.0, 1.0))

    @torch.no_grad()
    def sample(self, outputs, generator):
        shapes = self.density_parameters(outputs).values()
        alpha, beta = (np.maximum(part.cpu().numpy(), _LEAST_SHAPE) for part in shapes)
        draw = np.clip(_generator(generator).beta(alpha, beta), _LEAST, _BELOW_ONE)
        return torch.from_numpy(draw).to(outputs.device)


def _in_single(values):
    """Return numbers as float32 holds them, so that densities in float32 have the same."""
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def _mapped(function, X):
    return X.mapped(function) if isinstance(X, RowsOnDisk) else function(X)


def _first_shape(shape, moments):
    """Return first shapes within their limits; that of a constant column is one."""
    constant = moments.variance <= moments.resolution
    return np.where(constant, 1.0, np.clip(shape, *_FIRST_SHAPES))


def _generator(generator):
    """Return NumPy's generator with a seed from torch's, which draws no Gamma variates."""
    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return np.random.default_rng(seed.item())


def _excess(d):
    """Return e^d − 1 − d, about d²/2 near zero, without cancellation."""
    small = d.abs() < _SMALL
    near = torch.where(small, d, 0.0)
    series = near / 9.0
    for k in (8, 7, 6, 5, 4, 3):
        series = near / k * (1.0 + series)
    far = torch.where(small, 1.0, d)
    return torch.where(small, 0.5 * near.square() * (1.0 + series), torch.expm1(far) - far)


def _stirling(x, log_x):
    """Return ln Γ(x) − (x − ½) ln x + x − ½ ln 2π, also where x underflows."""
    near = x.clamp(max=_SERIES)
    log_near = log_x.clamp(max=math.log(_SERIES))
    direct = torch.lgamma(1.0 + near) - (near + 0.5) * log_near + near - HALF_LOG_2PI
    y = x.clamp(min=_SERIES).reciprocal()
    square = y.square()
    series = y * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))
    return torch.where(x < _SERIES, direct, series)
