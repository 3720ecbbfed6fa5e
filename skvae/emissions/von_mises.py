r"""Von Mises emissions: columns of angles in radians, independent given the state.

.. math:: \ln p(x \mid k) = \sum_d \bigl( \kappa (\cos(x - \mu) - 1)
          - \ln (2 \pi e^{-\kappa} I_0(\kappa)) \bigr), \qquad
          \cos(x - \mu) - 1 = -2 \sin^2 \tfrac{x - \mu}{2} .

Angles count modulo 2π. With :math:`(c, s)` the mean of :math:`(\cos x, \sin x)` in a state, and
:math:`R = |(c, s)|`, the M step is (Mardia & Jupp, Directional Statistics, 2000, section 5.3.1)

.. math:: \mu = \operatorname{atan2}(s, c), \qquad A(\kappa) = I_1(\kappa) / I_0(\kappa) = R .

A rises from 0 to 1, so the nearest κ below ``LARGEST_CONCENTRATION`` is the constrained maximum.
:math:`\ln A - \ln(1 - A)` is nearly a line in ln κ. For a known μ, R is the mean of
:math:`\cos(x - \mu)`, or 0 if that is below 0; a known κ does not change μ.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import i0e, i1e

from skvae.ascent.loop import Collapse
from skvae.emissions.base import Emission
from skvae.emissions.domains import Real
from skvae.emissions.limited import Limited
from skvae.emissions.parameters import EmissionParameters
from skvae.emissions.roots import bracketed_root

LARGEST_CONCENTRATION = 1e8
_SMALL = 1e-8  # A(κ) = κ/2 below it, to the last place
_LARGE = 500.0  # from here on the series of 1 − A has full precision
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_REACH = 13.0  # standard deviations of the deviations that are integrated


def resultant(concentrations):
    """Return A(κ) and 1 − A(κ), both to full relative precision."""
    kappa = np.asarray(concentrations, dtype=np.float64)
    i0, i1 = i0e(kappa), i1e(kappa)
    y = 1.0 / np.maximum(kappa, _LARGE)
    series = y * (1 / 2 + y * (1 / 8 + y * (1 / 8 + y * (25 / 128 + y * (13 / 32)))))
    rest = np.where(kappa < _LARGE, (i0 - i1) / i0, series)
    return i1 / i0, rest


def _log_odds(log_kappa):
    """Return ln A − ln(1 − A) at ln κ."""
    a, rest = resultant(np.exp(log_kappa))
    return np.log(a) - np.log(rest)


def solve_concentrations(lengths):
    """Return the κ with A(κ) = lengths, at most ``LARGEST_CONCENTRATION``.

    Parameters
    ----------
    lengths : ndarray
        R, at least zero; round-off may be above one.
    """
    low, high = np.log(_SMALL), np.log(LARGEST_CONCENTRATION)
    with np.errstate(divide="ignore"):
        target = (np.log(lengths) - np.log(np.maximum(1.0 - lengths, 0.0))).ravel()
    target = np.clip(target, *_log_odds(np.array([low, high])))

    def above(log_kappa, which):
        return _log_odds(log_kappa) - target[which]

    logs = bracketed_root(above, np.full(lengths.shape, low), np.full(lengths.shape, high))
    found = np.minimum(np.exp(logs), LARGEST_CONCENTRATION)
    return np.where(lengths < 0.5 * _SMALL, 2.0 * lengths, found)


def log_density(X, directions, concentrations):
    """Return ln p(x_d | state) of angles (n, D), shape (K, n, D)."""
    half = np.sin(0.5 * (_near_zero(X) - _near_zero(directions)[:, None]))
    peaks = -np.log(2 * np.pi * i0e(concentrations))
    return peaks[:, None] - 2.0 * concentrations[:, None] * half * half


def _near_zero(angles):
    """Return angles modulo 2π: differences of large ones would lose the digits of their cosines."""
    if (np.abs(angles) > 2 * np.pi).any():
        return np.arctan2(np.sin(angles), np.cos(angles))
    return angles


def angular_variance(concentrations):
    """Return the mean square of x − μ in (−π, π]."""
    kappa = np.asarray(concentrations, dtype=np.float64)[..., None]
    reach = np.minimum(np.pi, _REACH / np.sqrt(np.maximum(kappa, 1.0)))
    theta = 0.5 * reach * (_NODES + 1.0)
    density = _WEIGHTS * np.exp(-2.0 * kappa * np.sin(0.5 * theta) ** 2)
    return (density * theta**2).sum(axis=-1) / density.sum(axis=-1)


def wrap(angles):
    """Return angles in (−π, π]."""
    return np.pi - np.mod(np.pi - angles, 2 * np.pi)


class _Angle(Real):
    """The domain of angles."""

    @classmethod
    def nudged(cls, array, unit, rng):
        return wrap(array + rng.uniform(-np.pi, np.pi, size=array.shape))


class _Concentration(Limited):
    """The domain of concentrations."""

    largest = LARGEST_CONCENTRATION


@dataclass(frozen=True)
class VonMisesParameters(EmissionParameters):
    """Parameters of von Mises emissions.

    Parameters
    ----------
    directions, concentrations : ndarray of shape (n_components, n_features)
        Mean directions μ in radians, and concentrations κ, from 0 to 1e8.

    Examples
    --------
    >>> from skvae.hmm import VonMisesEmission
    >>> VonMisesEmission.from_parameters([[1.0]], [[100.0]]).parameters().variances().round(4)
    array([[0.0101]])
    """

    directions: _Angle
    concentrations: _Concentration

    def log_density(self, X):
        """Return ln p(x_d | state) of rows (n, D), shape (n_components, n, n_features)."""
        return log_density(X, self.directions, self.concentrations)

    def sufficient_statistics(self, X):
        """Return cos x and sin x, shape (2, n, n_features)."""
        return np.stack([np.cos(X), np.sin(X)])

    def expected_statistics(self):
        """Return the means of cos x and sin x, shape (2, n_components, n_features)."""
        length = resultant(self.concentrations)[0]
        return length * np.stack([np.cos(self.directions), np.sin(self.directions)])

    def sample(self, states, rng):
        """Return a draw in (−π, π] for each of the states, shape (n, n_features)."""
        return wrap(rng.vonmises(self.directions[states], self.concentrations[states]))

    def means(self):
        """Return the mean direction of each state, shape (n_components, n_features)."""
        return self.directions

    def variances(self):
        """Return the mean square of x − μ in (−π, π], shape (n_components, n_features)."""
        return angular_variance(self.concentrations)

    def _filled(self, X, posterior):
        """Return rows with missing values at the direction of the expected vector (cos, sin)."""
        cosine, sine = np.einsum("nk,ckd->cnd", posterior, self.expected_statistics())
        return np.where(np.isnan(X), np.arctan2(sine, cosine), X)

    def pack(self, summary):
        """Return ln(1 + κ) in the direction μ, as a vector: it has no jump at ±π."""
        size = np.log1p(self.concentrations)
        parts = size * np.cos(self.directions), size * np.sin(self.directions)
        return np.concatenate([part.ravel() for part in parts])

    def unpack(self, vector, summary):
        """Return the parameters of a vector; raise Collapse if it is not finite."""
        x, y = vector.reshape(2, *self.directions.shape)
        if not np.isfinite(vector).all():
            raise Collapse("the extrapolation overflows")
        size = np.minimum(np.hypot(x, y), np.log1p(LARGEST_CONCENTRATION))
        return VonMisesParameters(
            np.arctan2(y, x), np.minimum(np.expm1(size), LARGEST_CONCENTRATION)
        )


class VonMisesEmission(Emission):
    """Von Mises emissions: each column an angle in radians, independent given the state.

    Headings, turning angles, wind directions and times of day have no first and no last value: π
    and −π are one angle.

    Parameters
    ----------
    directions_init : array-like of shape (n_components, n_features), default=None
        First mean directions, in radians.
    concentrations_init : array-like of shape (n_components, n_features), default=None
        First concentrations, from 0 to 1e8.

    Attributes
    ----------
    directions_ : ndarray of shape (n_components, n_features)
        The mean direction of each column in each state, in radians; after a fit in (−π, π].
    concentrations_ : ndarray of shape (n_components, n_features)
        The concentrations κ: 0 is uniform on the circle, and a large κ is nearly a normal
        distribution with the variance 1/κ.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    GaussianEmission : Numbers on a line.

    Notes
    -----
    Angles are in radians (``numpy.radians`` converts degrees) and may be any finite numbers: they
    count modulo 2π. NaN is a missing value and drops out. Draws are in (−π, π]. The mean of a state
    is its mean direction, and its variance is the mean square of the smaller angle to it. Averages
    of means over states, such as those of ``forecast``, are averages of numbers, not of directions.

    The M step is the exact maximum with concentrations of at most 1e8, a standard deviation of a
    ten-thousandth of a radian: a state in which an angle is constant has no larger one, and the
    bound never falls.

    References
    ----------
    Mardia & Jupp (2000), Directional Statistics, Wiley.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import EMHiddenMarkov
    >>> from skvae.hmm import VonMisesEmission
    >>> headings = np.radians([[178], [-177], [179], [92], [87], [95], [180], [-178]])
    >>> chain = EMHiddenMarkov(2, emission=VonMisesEmission(), random_state=0).fit(headings)
    >>> np.degrees(np.sort(chain.emission_.directions_, axis=0)).round(1)
    array([[-179.6],
           [  91.3]])
    """

    record = VonMisesParameters
    fixed_alone = ("directions", "concentrations")

    def __init__(self, *, directions_init=None, concentrations_init=None):
        self.directions_init = directions_init
        self.concentrations_init = concentrations_init

    def features(self, X, summary):
        X = np.asarray(X, dtype=np.float64)
        return np.concatenate([np.cos(X), np.sin(X)], axis=1)

    def start(self, moments, n_rows):
        directions = wrap(moments.mean)
        return VonMisesParameters(directions, np.full(directions.shape, 0.5))

    def estimate(self, averages, old, fixed=None):
        cosines, sines = averages
        if fixed == "concentrations":
            return VonMisesParameters(np.arctan2(sines, cosines), old.concentrations)
        if fixed == "directions":
            along = cosines * np.cos(old.directions) + sines * np.sin(old.directions)
            return VonMisesParameters(old.directions, solve_concentrations(np.maximum(along, 0.0)))
        concentrations = solve_concentrations(np.hypot(cosines, sines))
        return VonMisesParameters(np.arctan2(sines, cosines), concentrations)
