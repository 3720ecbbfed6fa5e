r"""Gaussian mixture emissions: each state has several Gaussians.

.. math:: p(x \mid k) = \sum_{j=1}^{M} w_{kj}\, N(x \mid m_{kj}, \Sigma_{kj})

The mixture's component is a second latent variable. Given the state, component j has the
responsibility :math:`\rho_{kj}(x) = w_{kj} N(x \mid m_{kj}, \Sigma_{kj}) / p(x \mid k)`, and the M
step is that of Gaussians with the responsibilities :math:`\gamma_t(k)\, \rho_{kj}(x_t)`, together
with :math:`w_{kj} \propto \sum_t \gamma_t(k)\, \rho_{kj}(x_t)`.

Juang, Levinson & Sondhi, IEEE Trans. Inf. Theory 32 (1986). One kernel reads all K·M Gaussians,
component j of state k as its component k·M + j.
"""

from dataclasses import dataclass
from numbers import Integral, Real

import numpy as np
from scipy.special import softmax

from skvae.emissions.base import NO_ROWS, log_density_of
from skvae.emissions.domains import Simplex
from skvae.emissions.gaussian import GaussianEmission
from skvae.emissions.location_scale import (
    GaussianParameters,
    LocationScaleEmission,
    first_normals,
    known_means,
    known_normals,
)
from skvae.emissions.parameters import EmissionParameters
from skvae.fitted import FittedArray, new_instance
from skvae.gaussian.checks import check_weights
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.first_statistics import LARGEST_SINGLE
from skvae.initialization import completed, first_labels, rows_to_start_from
from skvae.validation import check_array_parameter, check_number

_APART = 0.1  # standard deviations between equal components and those that EM can separate


class _Weights(Simplex):
    """The domain of the weights of Gaussians; a weight of zero stays zero."""

    @classmethod
    def entries(cls, coordinates, unit):
        weights = np.exp(coordinates - coordinates.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)


@dataclass(frozen=True)
class GaussianMixtureParameters(EmissionParameters):
    """Parameters of Gaussian mixture emissions.

    Parameters
    ----------
    weights : ndarray of shape (n_components, n_mix)
        w; each row sums to one.
    normals : GaussianParameters
        The K·M Gaussians, those of a state together.
    """

    weights: _Weights
    normals: GaussianParameters

    def kernel(self):
        """Return the kernel of the states."""
        with np.errstate(divide="ignore"):
            offsets = np.log(self.weights).ravel()
        return MixtureKernel(self.normals.kernel(offsets), self.weights.shape)

    def sample(self, states, rng):
        """Return one draw for each entry of states, shape (n, n_features)."""
        n_mix = self.weights.shape[1]
        if n_mix == 1:
            return self.normals.sample(states, rng)
        below = np.cumsum(self.weights, axis=1)
        below /= below[:, -1:]  # exactly one at the end: no draw has weight zero
        drawn = (rng.uniform(size=len(states))[:, None] >= below[states]).sum(axis=1)
        return self.normals.sample(np.asarray(states) * n_mix + drawn, rng)

    def means(self):
        """Return the means of the states, shape (n_components, n_features)."""
        return np.einsum("km,kmd->kd", self.weights, self._by_state(self.normals.locations))

    def covariances(self):
        """Return the covariances of the states, (n_components, n_features, n_features)."""
        deviation = self._by_state(self.normals.locations) - self.means()[:, None]
        between = np.einsum("km,kmd,kme->kde", self.weights, deviation, deviation)
        within = self._by_state(self.normals.covariances())
        return np.einsum("km,kmde->kde", self.weights, within) + between

    def cdf(self, x):
        """Return P(feature ≤ x | state), shape (..., K, D), of values (..., D)."""
        parts = self.normals.cdf(x)
        parts = parts.reshape(*x.shape[:-1], *self.weights.shape, x.shape[-1])
        return np.einsum("km,...kmd->...kd", self.weights, parts)

    def _filled(self, X, posterior):
        """Return rows with missing values at their conditional expectation."""
        logs = log_density_of(self.normals, X).reshape(len(X), *self.weights.shape)
        with np.errstate(divide="ignore"):
            logs += np.log(self.weights)
        within = softmax(logs, axis=2) * posterior[:, :, None]
        return self.normals._filled(X, within.reshape(len(X), -1))

    def _by_state(self, array):
        return array.reshape(*self.weights.shape, *array.shape[1:])

    def statistics(self, weights):
        """Return the expected statistics of ``weights[k]`` rows in each state k."""
        weights = np.asarray(weights, dtype=np.float64)
        return self.normals.statistics((weights[:, None] * self.weights).ravel())


class MixtureKernel:
    """The kernel of K states with M Gaussians each, by a kernel of K·M Gaussians.

    Parameters
    ----------
    normals : GaussianKernel
        The Gaussians, with log weights as offsets.
    shape : tuple of int
        K and M.
    """

    def __init__(self, normals, shape):
        self._normals = normals
        self._shape = shape
        self.block_rows = normals.block_rows

    def workspace(self):
        """Return memory for one block; a chunk of rows reuses it for all of its blocks."""
        return self._normals.workspace()

    def blocks(self, X, workspace):
        """Yield (rows, block) of the rows of X, at most ``block_rows`` of them."""
        for rows, block in self._normals.blocks(X, workspace):
            yield rows, MixtureBlock(block, self._shape)

    def sums(self):
        """Return empty sums."""
        return self._normals.sums()

    def finish(self, sums):
        """Return the sums as GaussianStatistics of the K·M Gaussians."""
        return self._normals.finish(sums)


class MixtureBlock:
    """A block of rows; ``log_density`` keeps the responsibilities within states for ``accumulate``.

    Parameters
    ----------
    normals : Block
        The same rows under the Gaussians.
    shape : tuple of int
        K and M.
    """

    __slots__ = ("_normals", "_shape", "_within")

    def __init__(self, normals, shape):
        self._normals = normals
        self._shape = shape
        self._within = None

    def log_density(self):
        """Return ln p(x|k) of the states, shape (K, n), in nats."""
        within = self._normals.log_density()
        self._within = within = within.reshape(*self._shape, within.shape[1])
        top = within.max(axis=1)
        possible = top > -np.inf
        if not possible.all():  # all components have equal responsibilities
            np.copyto(within, 0.0, where=~possible[:, None])
            top[~possible] = 0.0
        within -= top[:, None]
        np.exp(within, out=within)
        total = within.sum(axis=1)
        within *= (1.0 / total)[:, None]
        out = np.log(total, out=total)
        out += top
        if not possible.all():
            out[~possible] = -np.inf
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        if self._within is None:
            self.log_density()
        shared, self._within = self._within, None  # it is overwritten
        shared *= resp[:, None]
        self._normals.accumulate(sums, shared.reshape(-1, shared.shape[2]))


class GaussianMixtureEmission(LocationScaleEmission):
    """Gaussian mixture emissions: a mixture of ``n_mix`` Gaussians for each state.

    Parameters
    ----------
    n_mix : int, default=2
        The number of Gaussians of each state.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        The form of the covariances: a matrix for each Gaussian, one matrix for all of all states,
        a variance per feature and Gaussian, or a variance per Gaussian.
    reg_covar : float, default=1e-6
        A floor, relative to each feature: covariances are kept ⪰ diag(f) with ``f = reg_covar *
        variance of the feature``. A constant feature counts with the mean variance of the others,
        or with 1 if all are constant, and values between 0 and 1e-14 count as 1e-14. It is the
        exact constrained maximum, so the bound still never falls.
    weights_init : array-like of shape (n_components, n_mix), default=None
        First weights.
    means_init : array-like of shape (n_components, n_mix, n_features), default=None
        First means.
    covariances_init : array-like, default=None
        First covariances, in the shape of ``covariances_``.
    weights_prior : float, default=1.0
        Concentration a ≥ 1 of the prior Dirichlet(a, …, a) on the weights of each state. Its
        log-density is part of the objective; 1 is no prior.
    mean_prior : array-like of shape (n_features,), default=None
        The m₀ of the prior N(m₀, Σ/κ) of the mean of each Gaussian; None is no prior. The
        log-density of the priors is part of the objective, so that the parameters are the most
        probable ones.
    mean_precision_prior : float, default=None
        The number κ > 0 of rows at m₀ that the prior counts as; None is 1 with ``mean_prior``.
    covariance_prior : array-like, default=None
        The Ψ of the inverse-Wishart prior of each covariance: (D, D) for 'full' and 'tied', (D,)
        for 'diag' and a number for 'spherical', which have inverse gamma priors
        IG(ν/2, Ψ/2); None is no prior.
    degrees_of_freedom_prior : float, default=None
        The ν > D − 1 of that prior, or > 0 for 'diag' and 'spherical'; None is D with
        ``covariance_prior``.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components, n_mix)
        The weights of each state's Gaussians.
    means_ : ndarray of shape (n_components, n_mix, n_features)
        Their means.
    covariances_ : ndarray
        Their covariances: (K, M, D, D) full, (D, D) tied, (K, M, D) diag, (K, M) spherical.
    precisions_cholesky_ : ndarray
        Factors U of their inverses, ``precision = U @ U.T``, in the same shape.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    GaussianEmission : One Gaussian for each state.

    Notes
    -----
    NaN is a missing value: the density is the marginal one of the observed values, and EM is exact.
    A start divides the rows of each state among its Gaussians by k-means.

    References
    ----------
    Juang, Levinson & Sondhi (1986), Maximum likelihood estimation for multivariate mixture
    observations of Markov chains, IEEE Transactions on Information Theory 32.
    Gauvain & Lee (1994), Maximum a posteriori estimation for multivariate Gaussian mixture
    observations of Markov chains, IEEE Trans. Speech Audio Process. 2, for the priors.

    Examples
    --------
    >>> from skvae.hmm import GaussianMixtureEmission
    >>> emission = GaussianMixtureEmission.from_parameters(
    ...     weights=[[0.5, 0.5], [1.0, 0.0]],
    ...     means=[[[0.0], [2.0]], [[9.0], [9.0]]],
    ...     covariances=[[1.0, 1.0], [1.0, 1.0]],
    ...     covariance_type="spherical",
    ... )
    >>> emission.parameters().covariances().ravel()
    array([2., 1.])
    """

    weights_ = FittedArray()

    weights_prior = 1.0  # emissions of earlier versions have none

    _names = "weights", "means", "covariances"

    def __init__(
        self,
        n_mix=2,
        *,
        covariance_type="full",
        reg_covar=1e-6,
        weights_init=None,
        means_init=None,
        covariances_init=None,
        weights_prior=1.0,
        mean_prior=None,
        mean_precision_prior=None,
        covariance_prior=None,
        degrees_of_freedom_prior=None,
    ):
        self.n_mix = n_mix
        self.covariance_type = covariance_type
        self.reg_covar = reg_covar
        self.weights_init = weights_init
        self.means_init = means_init
        self.covariances_init = covariances_init
        self.weights_prior = weights_prior
        self.mean_prior = mean_prior
        self.mean_precision_prior = mean_precision_prior
        self.covariance_prior = covariance_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior

    @classmethod
    def from_parameters(cls, weights, means, covariances, covariance_type="full"):
        """Return a fitted emission with known parameters.

        Parameters
        ----------
        weights : array-like of shape (n_components, n_mix)
            The weights of each state's Gaussians; each row sums to one.
        means : array-like of shape (n_components, n_mix, n_features)
            Their means.
        covariances : array-like
            Their covariances: (K, M, D, D) full, (D, D) tied, (K, M, D) diag, (K, M) spherical.
        covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
            The form of the covariances.

        Returns
        -------
        emission : GaussianMixtureEmission
            The emission.

        Raises
        ------
        ValueError
            Shapes do not fit, a value is not finite, a row of the weights is not a distribution, or
            a covariance is not positive definite.

        Examples
        --------
        >>> from skvae.hmm import GaussianMixtureEmission
        >>> emission = GaussianMixtureEmission.from_parameters(
        ...     [[0.5, 0.5], [0.9, 0.1]],
        ...     [[[0.0], [4.0]], [[9.0], [12.0]]],
        ...     [[1.0, 1.0], [1.0, 2.0]],
        ...     "spherical",
        ... )
        >>> emission.parameters().means()
        array([[2. ],
               [9.3]])
        """
        means = known_means(means, 3)
        normals = known_normals(means, covariances, covariance_type)
        weights = _checked_weights("weights", weights, means.shape[:2])
        emission = new_instance(cls, n_mix=means.shape[1], covariance_type=covariance_type)
        emission.store(GaussianMixtureParameters(weights, normals))
        return emission

    def check_parameters(self, n_components):
        check_number("n_mix", self.n_mix, Integral, 1)
        check_number("weights_prior", self.weights_prior, Real, 1)
        self._first_values((n_components, self.n_mix))
        weights = self._first_weights(n_components)
        if weights is not None and self.weights_prior > 1 and not weights.all():
            raise ValueError(
                "weights_init has an entry 0: must be above it, as weights_prior="
                f"{self.weights_prior!r} excludes it"
            )
        self._prior()

    def _first_weights(self, n_components):
        if self.weights_init is None:
            return None
        return _checked_weights("weights_init", self.weights_init, (n_components, self.n_mix))

    def first(self, rows, labels, n_components, summary, rng):
        lead, n_features = (n_components, self.n_mix), rows.X.shape[1]
        kind = self.covariance_type
        weights = self._first_weights(n_components)
        means, covariances = self._first_values(lead, n_features, summary.moments)
        if any(each is None for each in (weights, means, covariances)):
            if self.n_mix > rows.n_rows:
                raise ValueError(
                    f"n_mix={self.n_mix}: must be <= n_samples, which is {rows.n_rows}"
                )
            labels = _divided(rows, labels, self.n_mix, n_components, summary.moments, rng)
            found = first_normals(rows, labels, n_components * self.n_mix, kind, summary, rng)
            counts = found[2].reshape(lead) + rows.weight() / rows.n_rows
            weights = counts / counts.sum(axis=1, keepdims=True) if weights is None else weights
            means = found[0] if means is None else means
            covariances = found[1] if covariances is None else covariances
        means = means.reshape(-1, n_features)
        covariances = covariances.reshape(STRUCTURES[kind].shape(*means.shape))
        return GaussianMixtureParameters(weights, GaussianParameters.of(kind, means, covariances))

    def _special_case(self):
        given = self.weights_init, self.means_init, self.covariances_init, self._prior()
        if self.n_mix == 1 or self.weights_prior > 1 or any(each is not None for each in given):
            return None
        return GaussianEmission(self.covariance_type, reg_covar=self.reg_covar)

    def _containing(self, parameters, summary):
        kind, n_components = parameters.covariance_type, parameters.n_components
        weights = np.full((n_components, self.n_mix), 1.0 / self.n_mix)
        means = np.repeat(parameters.locations, self.n_mix, axis=0)
        scales, factors = parameters.scales, parameters.factors
        if kind != "tied":
            scales = np.repeat(scales, self.n_mix, axis=0)
            factors = np.repeat(factors, self.n_mix, axis=0)
        # EM does not leave equal components: in the second set they lie a little apart.
        deviations = np.sqrt(parameters.structure.variances(scales, *means.shape))
        apart = np.tile(np.linspace(-_APART, _APART, self.n_mix), n_components)[:, None]
        return [
            GaussianMixtureParameters(weights, GaussianParameters(kind, each, scales, factors))
            for each in (means, means + apart * deviations)
        ]

    def maximize(self, old, statistics, summary, fixed=None):
        counts = statistics.counts.reshape(old.weights.shape) + (self.weights_prior - 1.0)
        total = counts.sum(axis=1, keepdims=True)
        empty = total <= NO_ROWS * total.sum()
        weights = np.where(empty, old.weights, counts / np.where(empty, 1.0, total))
        previous = old.normals.locations, old.normals.scales
        prior, bounds = self._prior(old.n_features), (summary.floor, summary.moments.resolution)
        if prior is None:
            found = statistics.maximize(*bounds, previous)
        else:
            found = prior.maximize(statistics, *bounds, previous, fixed)
        return GaussianMixtureParameters(weights, GaussianParameters(self.covariance_type, *found))

    def log_prior(self, parameters, summary):
        found = super().log_prior(parameters, summary)
        if self.weights_prior > 1:
            with np.errstate(divide="ignore"):
                logs = np.log(parameters.weights)
            found += (self.weights_prior - 1.0) * float(logs.sum())
        return found

    def continued(self, earlier, why, feature_names=None):
        parameters = super().continued(earlier, why, feature_names)
        # Without a prior EM may have ended where the density of the prior is zero.
        return parameters.inside() if self.weights_prior > 1 else parameters

    def earlier_statistics(self, parameters, weights):
        counts, extra = np.asarray(weights, dtype=np.float64)[:, None], self.weights_prior - 1.0
        # With the counts of the prior they are in proportion to the weights.
        counts = (counts + self.n_mix * extra) * parameters.weights - extra
        statistics = parameters.normals.statistics(np.maximum(counts, 0.0).ravel())
        prior = self._prior(parameters.n_features)
        return statistics if prior is None else prior.earlier(statistics)

    def store(self, parameters):
        super().store(parameters)
        fitted, lead = vars(self), parameters.weights.shape
        tied = self.covariance_type == "tied"
        for name in ("means_",) if tied else ("means_", "covariances_", "precisions_cholesky_"):
            fitted[name] = fitted[name].reshape(*lead, *fitted[name].shape[1:])

    def _parameters(self):
        return GaussianMixtureParameters(vars(self)["weights_"], super()._parameters())


def _checked_weights(name, weights, shape):
    """Return the weights; raise ValueError unless each row is a distribution."""
    weights = check_array_parameter(name, weights, shape, "(n_components, n_mix)")
    for k, row in enumerate(weights):
        check_weights(f"{name}[{k}]", row)
    return weights / weights.sum(axis=1, keepdims=True)


def _divided(rows, labels, n_mix, n_components, moments, rng):
    """Return labels k·M + j: k-means divides the rows of each label k into M clusters j."""
    if n_mix == 1:
        return labels
    out = np.full(len(labels), -1)
    for k in range(n_components):
        mine = np.flatnonzero(labels == k)
        kept = rows_to_start_from(len(mine), n_mix, rng)
        mine = mine if kept is None else mine[kept]
        if rows.sample_weight is not None:
            where = mine if rows.order is None else rows.order[mine]
            weight = rows.sample_weight[where]
            mine, weight = mine[weight > 0], weight[weight > 0]
        else:
            weight = None
        if len(mine) <= n_mix:
            out[mine] = k * n_mix + np.arange(len(mine))
            continue
        X = rows.at(mine)
        if moments.magnitude.max() > LARGEST_SINGLE:
            X = X.astype(np.float64, copy=False)
        X = completed(X, rng)
        out[mine] = k * n_mix + first_labels(X, weight, n_mix, "kmeans", rng)
    return out
