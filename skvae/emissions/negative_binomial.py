r"""Negative binomial emissions: columns of counts with more variance than a Poisson distribution.

With rates μ (the means), dispersions α and r = 1/α, counts have the variance μ + α μ² and

.. math:: p(x \mid k) = \frac{\Gamma(x + r)}{\Gamma(r)\, x!}
          \Bigl(\frac{\mu}{\mu + r}\Bigr)^x \Bigl(\frac{r}{\mu + r}\Bigr)^r ;

α = 0 is the Poisson distribution. With Stirling's formula
:math:`\ln \Gamma(x) = (x - \tfrac12) \ln x - x + \tfrac12 \ln 2\pi + S(x)`,

.. math:: \ln p = -x \ln\tfrac{x}{\mu} + (x + r) \ln\tfrac{x + r}{\mu + r}
          - (\ln x! - x \ln x + x) - \tfrac12 \ln(1 + \tfrac xr) + S(x + r) - S(r),

whose terms do not cancel for large counts or a small dispersion.

The M step has the mean of the rows as rate, whatever the dispersion. That of the dispersion is the
only root of its derivative, if the variance of the rows is above their mean, and otherwise zero
(Levin & Reeds, SIAM J. Appl. Math. 32, 1977). Rows enter it through sums of smooth functions of x,
:math:`\sum_t r_t \ln \Gamma(x_t + r)`. Such a sum is linear in the function, so it is a sum over
fixed nodes, with weights that add over rows: the counts below ``_TABLE`` are nodes of their own,
and a larger count is divided over the Chebyshev nodes of its band in ln x by Lagrange's
polynomials. Dispersions below ``_LEAST_DISPERSION`` are round-off of these sums and count as zero.
"""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.special import betainc, pdtr

from skvae.blocks import block_rows
from skvae.emissions.base import Emission
from skvae.emissions.limited import Limited
from skvae.emissions.parameters import DensityKernel, EmissionParameters
from skvae.emissions.poisson import (
    LARGEST_COUNT,
    Rate,
    is_count,
    log_ratio,
    stirling_remainder,
)
from skvae.emissions.roots import bracketed_root
from skvae.gaussian.student import log_minus_digamma

LARGEST_DISPERSION = 1e8
_LEAST_EXCESS = 1e-9  # variance over mean, less one: below it a distribution is a Poisson one
_LEAST_DISPERSION = 1e-13  # round-off of the variance is about 1e-15 of the squared mean
_TABLE = 64  # smaller counts are nodes of their own
_RATIO = 16.0  # the largest over the smallest count of a band
_ORDER = 24  # nodes of a band: ln Γ(e^u + r) is analytic for |Im u| < π, errors are below 1e-15
_BANDS = 13  # they reach beyond LARGEST_COUNT
_DIRECT = 2048  # counts that are added one by one in an expectation
_FAR, _TAIL = 12.0, 40.0  # standard deviations, and e-folds, beyond which nothing is expected
_LEGENDRE = np.polynomial.legendre.leggauss(16)
_LOOK_UP = 4096  # smaller counts are looked up in a table
_TINY = np.finfo(np.float64).tiny

_ANGLES = (np.arange(_ORDER) + 0.5) * np.pi / _ORDER
_CHEBYSHEV = np.cos(_ANGLES)
_BARYCENTRIC = (-1.0) ** np.arange(_ORDER) * np.sin(_ANGLES)
_BAND_NODES = np.exp(
    np.log(_TABLE) + np.log(_RATIO) * (np.arange(_BANDS)[:, None] + 0.5 * (_CHEBYSHEV + 1.0))
)
NODES = np.concatenate([np.arange(_TABLE), _BAND_NODES.ravel()])


def spread(counts):
    """Return the shares of counts (n,) in the nodes, a sparse matrix (n, n_nodes).

    Its product with the values of a function of ln x at ``NODES`` has the function's values. Whole
    numbers below ``_TABLE`` and any real number above are possible.
    """
    large = counts >= _TABLE
    lengths = np.where(large, _ORDER, 1)
    ends = np.concatenate([[0], np.cumsum(lengths)])
    places, shares = np.empty(ends[-1], dtype=np.intp), np.ones(ends[-1])
    places[ends[:-1][~large]] = counts[~large].astype(np.intp)
    if large.any():
        place = np.log(counts[large] / _TABLE) / np.log(_RATIO)
        band = np.minimum(place.astype(np.intp), _BANDS - 1)
        gap = (2.0 * (place - band) - 1.0)[:, None] - _CHEBYSHEV
        gap[gap == 0] = 1e-200  # at a node the quotient is that of the node alone
        quotients = _BARYCENTRIC / gap
        quotients /= quotients.sum(axis=1, keepdims=True)
        index = ends[:-1][large][:, None] + np.arange(_ORDER)
        shares[index] = quotients
        places[index] = _TABLE + band[:, None] * _ORDER + np.arange(_ORDER)
    return csr_array((shares, places, ends), shape=(len(counts), len(NODES)))


def log_density(counts, rates, dispersions):
    """Return ln p(x) of counts; all arguments broadcast.

    Parameters
    ----------
    counts : ndarray
        At least zero.
    rates, dispersions : ndarray
        μ and α, at least zero.
    """
    x, r = counts, 1.0 / np.maximum(dispersions, 1e-300)
    some = np.maximum(x, 1.0)
    # ln x! − x ln x + x is zero at zero.
    factorial = np.where(x > 0, 0.5 * np.log(2 * np.pi * some) + stirling_remainder(some), 0.0)
    mu = np.maximum(rates, _TINY)
    ratio = log_ratio(x + r, rates + r, x - rates)
    near = (x + r) * ratio - np.where(x > 0, x * log_ratio(some, mu, some - mu), 0.0)
    # The same sum, without the terms of size x that cancel where r is smaller.
    small = np.minimum(r, mu)
    excess = small / (mu + small) * ((mu - some) / some)
    wide = r * ratio + np.where(x > 0, x * np.log1p(excess), 0.0)
    found = np.where(r < mu, wide, near) - 0.5 * np.log1p(x / r)
    found = found + stirling_remainder(x + r) - stirling_remainder(r) - factorial
    return np.where((rates == 0) & (x > 0), -np.inf, np.where(rates == 0, 0.0, found))


def solve_dispersions(weights, rates):
    """Return the dispersions α of maximum likelihood, at most ``LARGEST_DISPERSION``.

    Parameters
    ----------
    weights : ndarray of shape (n_nodes, ...)
        The shares of the rows in the nodes; they sum to one.
    rates : ndarray of shape (...)
        The mean counts.
    """
    used = weights.reshape(len(weights), -1).any(axis=1)
    x, weights = NODES[used], weights[used].reshape(used.sum(), -1).T
    mu = rates.reshape(-1, 1)
    excess = ((weights * (x - mu) ** 2).sum(axis=1) - mu[:, 0]) / np.maximum(mu[:, 0], _TINY)
    least = np.maximum(_LEAST_EXCESS, _LEAST_DISPERSION * mu[:, 0])
    some = np.flatnonzero((excess > least) & (mu[:, 0] > 0))
    weights, mu = weights[some], mu[some]

    def fall(log_dispersion, which):
        """Return ln of the ratio of both parts of the derivative: above zero is more dispersed."""
        r, w, m = np.exp(-log_dispersion)[:, None], weights[which], mu[which]
        spread = (w * ((x - m) / (m + r) - log_ratio(x + r, m + r, x - m))).sum(axis=1)
        own = (w * (log_minus_digamma(r) - log_minus_digamma(x + r))).sum(axis=1)
        return np.log(np.maximum(spread, _TINY)) - np.log(np.maximum(own, _TINY))

    high = np.full(len(some), np.log(LARGEST_DISPERSION))
    low = np.minimum(np.log(least[some] / mu[:, 0]), high)
    found = np.zeros(rates.size)
    found[some] = np.exp(bracketed_root(fall, low, high))
    return np.minimum(found, LARGEST_DISPERSION).reshape(rates.shape)


def expected_shares(rate, dispersion):
    """Return the expected shares of a count in the nodes, shape (n_nodes,).

    Parameters
    ----------
    rate, dispersion : float
        μ and α.
    """
    points, weights = _quadrature(rate, dispersion)
    density = weights * np.exp(log_density(points, np.float64(rate), np.float64(dispersion)))
    return spread(points).T @ (density / density.sum())


def _quadrature(rate, dispersion):
    """Return points and weights, so that weighted sums of smooth functions are sums over counts.

    Counts from the smallest one of weight are added one by one, those above by Gauss' quadrature in
    panels; a sum is an integral from half a count before (Euler & Maclaurin).
    """
    deviation = np.sqrt(rate + dispersion * rate**2)
    first = np.floor(max(rate - _FAR * deviation, 0.0))
    last = np.ceil(min(rate + _TAIL * (deviation + dispersion * rate + 1.0), 4 * LARGEST_COUNT))
    points = np.arange(first, min(first + 2 * _DIRECT, last) + 1.0)
    if first + 2 * _DIRECT >= last:
        return points, np.ones(len(points))
    points, weights = points[:_DIRECT], np.ones(_DIRECT)
    weights[-1] -= 1 / 24  # the next term of the formula, with the slope as a difference
    lower = first + _DIRECT - 0.5
    bulk = rate + deviation * np.linspace(-_FAR, _FAR, 8 * int(_FAR))
    edges = np.concatenate([np.geomspace(lower, last, 100), bulk])
    edges = np.unique(edges[(edges >= lower) & (edges <= last)])
    half = 0.5 * np.diff(edges)[:, None]
    panels = edges[:-1, None] + half * (_LEGENDRE[0] + 1.0)
    more = np.concatenate([[first + _DIRECT], panels.ravel()])
    more_weights = np.concatenate([[1 / 24], (half * _LEGENDRE[1]).ravel()])
    return np.concatenate([points, more]), np.concatenate([weights, more_weights])


class _Dispersion(Limited):
    """The domain of dispersions, whose coordinates have no pole at zero."""

    largest = LARGEST_DISPERSION

    @classmethod
    def coordinates(cls, array, unit):
        return np.log1p(array)

    @classmethod
    def entries(cls, coordinates, unit):
        found = super().entries(np.maximum(coordinates, 0.0), unit)
        return np.minimum(found - 1.0, cls.largest)


@dataclass(frozen=True)
class NegativeBinomialParameters(EmissionParameters):
    """Parameters of negative binomial emissions.

    Parameters
    ----------
    rates, dispersions : ndarray of shape (n_components, n_features)
        Rates μ, at least zero, and dispersions α, from 0 to 1e8.

    Examples
    --------
    >>> from skvae.hmm import NegativeBinomialEmission
    >>> NegativeBinomialEmission.from_parameters([[3.0]], [[0.5]]).parameters().variances()
    array([[7.5]])
    """

    rates: Rate
    dispersions: _Dispersion

    def log_density(self, X):
        """Return ln p(x_d | state) of rows (n, D), shape (n_components, n, n_features)."""
        return log_density(X, self.rates[:, None], self.dispersions[:, None])

    def expected_statistics(self):
        """Return the means, and the expected shares, shape (1 + n_nodes, K, n_features)."""
        pairs = np.stack([self.rates.ravel(), self.dispersions.ravel()])
        distinct, place = np.unique(pairs, axis=1, return_inverse=True)
        found = np.stack([expected_shares(*pair) for pair in distinct.T.tolist()], axis=1)
        shares = found[:, place.ravel()].reshape(len(NODES), *self.rates.shape)
        return np.concatenate([self.rates[None], shares])

    def kernel(self):
        """Return the kernel of the states."""
        return _CountKernel(self)

    def sample(self, states, rng):
        """Return a draw for each of the states, shape (n, n_features)."""
        rates, dispersions = self.rates[states], self.dispersions[states]
        shapes = 1.0 / np.maximum(dispersions, _TINY)
        factors = np.where(dispersions > 0, rng.standard_gamma(shapes) / shapes, 1.0)
        return rng.poisson(np.minimum(rates * factors, LARGEST_COUNT)).astype(np.float64)

    def means(self):
        """Return the mean of each state, shape (n_components, n_features)."""
        return self.rates

    def variances(self):
        """Return the variance of each feature, shape (n_components, n_features)."""
        return self.rates * (1.0 + self.dispersions * self.rates)

    def cdf(self, x):
        """Return P(count ≤ x | state), shape (..., K, D), of values (..., D)."""
        x = np.floor(x)[..., None, :]
        size = 1.0 / np.where(self.dispersions > 0, self.dispersions, 1.0)
        found = betainc(size, np.maximum(x, 0.0) + 1.0, size / (size + self.rates))
        found = np.where(self.dispersions > 0, found, pdtr(np.maximum(x, 0.0), self.rates))
        return np.where(x < 0, 0.0, found)


class _CountKernel(DensityKernel):
    """Densities and shares in the nodes of blocks of rows, computed once for equal counts."""

    def __init__(self, parameters):
        self._parameters = parameters
        self._shape = (2 + len(NODES), *parameters.rates.shape)
        self.block_rows = block_rows(3 * parameters.rates.size)

    def blocks(self, X, workspace):
        """Yield (slice(None), block): all rows are one block, also those with missing values."""
        yield slice(None), _CountBlock(self._parameters, X)


class _CountBlock:
    """A block of rows, each of whose columns is a list of different counts and a place in it."""

    __slots__ = ("_columns", "_parameters")

    def __init__(self, parameters, X):
        self._parameters = parameters
        self._columns = [_different(column) for column in np.asarray(X, dtype=np.float64).T]

    def log_density(self):
        """Return the log-densities (K, n), in nats."""
        rates, dispersions = self._parameters.rates, self._parameters.dispersions
        total = 0.0
        for d, (counts, place) in enumerate(self._columns):
            found = np.zeros((len(rates), len(counts)))  # the last is a missing value
            found[:, :-1] = log_density(counts[:-1], rates[:, [d]], dispersions[:, [d]])
            total = total + found[:, place]
        return total

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the sums in place."""
        for d, (counts, place) in enumerate(self._columns):
            shape = len(place), len(counts)
            one = csr_array((np.ones(len(place)), place, np.arange(len(place) + 1)), shape=shape)
            weights = (one.T @ resp.T)[:-1]
            sums[0, :, d] += weights.sum(axis=0)
            sums[1, :, d] += counts[:-1] @ weights
            sums[2:, :, d] += spread(counts[:-1]).T @ weights


def _different(column):
    """Return the different counts of a column with NaN at the end, and the place of each row."""
    missing = np.isnan(column)
    x = np.where(missing, 0.0, column)
    if x.max(initial=0.0) < _LOOK_UP:  # without sorting
        x = x.astype(np.intp)
        counts = np.flatnonzero(np.bincount(x, minlength=1))
        place = np.searchsorted(counts, np.arange(x.max(initial=0) + 1))[x]
    else:
        counts, place = np.unique(x, return_inverse=True)
    place[missing] = len(counts)
    return np.append(counts.astype(np.float64), np.nan), place


class NegativeBinomialEmission(Emission):
    """Negative binomial emissions: counts with more variance than a Poisson distribution.

    Columns are independent given the state. A count with mean μ has the variance μ + α μ².

    Parameters
    ----------
    rates_init : array-like of shape (n_components, n_features), default=None
        First rates.
    dispersions_init : array-like of shape (n_components, n_features), default=None
        First dispersions, from 0 to 1e8.

    Attributes
    ----------
    rates_ : ndarray of shape (n_components, n_features)
        The expected count μ of each column in each state.
    dispersions_ : ndarray of shape (n_components, n_features)
        The dispersions α. It is 0, a Poisson distribution, where the counts of a state have no more
        variance than their mean.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    PoissonEmission : The limit α = 0.
    ZeroInflatedPoissonEmission : Counts with additional zeros.

    Notes
    -----
    NaN is a missing value and drops out. The M step is the exact maximum with dispersions of at
    most 1e8. In the notation of :data:`scipy.stats.nbinom`, ``n = 1 / dispersion`` and
    ``p = 1 / (1 + dispersion * rate)``.

    References
    ----------
    Levin & Reeds (1977), Compound multinomial likelihood functions are unimodal: proof of a
    conjecture of I. J. Good, Annals of Statistics 5.

    Examples
    --------
    >>> from skvae.hmm import NegativeBinomialEmission
    >>> emission = NegativeBinomialEmission.from_parameters([[2.0], [9.0]], [[0.0], [0.5]])
    >>> emission.parameters().variances()
    array([[ 2. ],
           [49.5]])
    """

    record = NegativeBinomialParameters
    fixed_alone = ("dispersions",)
    rule = "a negative binomial emission takes whole numbers from 0 to 2**53"

    def __init__(self, *, rates_init=None, dispersions_init=None):
        self.rates_init = rates_init
        self.dispersions_init = dispersions_init

    def accepts(self, values):
        return is_count(values)

    def features(self, X, summary):
        X = np.asarray(X, dtype=np.float64)
        return np.log1p(X)  # a few large counts would be clusters of their own

    def start(self, moments, n_rows):
        rates = np.maximum(moments.mean, 0.5 / n_rows)
        dispersions = np.maximum(moments.variance / rates - 1.0, 0.0) / rates
        return NegativeBinomialParameters(rates, np.minimum(dispersions, LARGEST_DISPERSION))

    def estimate(self, averages, old, fixed=None):
        rates = averages[0]
        if fixed == "dispersions":
            return NegativeBinomialParameters(rates, old.dispersions)
        return NegativeBinomialParameters(rates, solve_dispersions(averages[1:], rates))
