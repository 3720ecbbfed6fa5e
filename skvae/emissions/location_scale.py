r"""Emissions with locations and scale matrices: their Gaussian parameters, checks and start.

.. math:: p(x \mid k) = N(x \mid m_k, \Sigma_k)

A Gaussian emission has one of these for each state, a Gaussian mixture has several, and a Student-t
emission has one, and divides its covariance by a latent scale.
"""

from dataclasses import dataclass, replace
from numbers import Real as RealNumber
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from skvae.ascent.loop import Collapse
from skvae.blocks import ranges
from skvae.emissions.base import Emission
from skvae.emissions.domains import Real
from skvae.emissions.parameters import EmissionParameters
from skvae.fitted import FittedArray
from skvae.gaussian.checks import check_near, check_positive_definite
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.first_statistics import FIRST_FLOOR, filled, statistics_of
from skvae.gaussian.fixed import held, n_fixed_normals, restored
from skvae.gaussian.inverse_wishart import prior_of_parameters
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.moments import LARGEST, Moments, feature_moments
from skvae.gaussian.statistics import GaussianStatistics
from skvae.validation import LARGEST_FLOOR, check_array_parameter, check_choice, check_number

_BLOCK = 4096  # rows that are added to first means at once


class GaussianSummary(NamedTuple):
    """Properties of the data that Gaussian emissions use, and the floors of covariances.

    Parameters
    ----------
    moments : Moments
        Mean, variance and size of each feature.
    floor : ndarray of shape (n_features,)
        Covariances are kept ⪰ diag(floor).
    first_floor : ndarray of shape (n_features,)
        The same for first covariances, which have a floor even if ``reg_covar`` is 0.
    """

    moments: Moments
    floor: np.ndarray
    first_floor: np.ndarray


@dataclass(frozen=True)
class GaussianParameters(EmissionParameters):
    """Parameters of Gaussian emissions, and the Gaussian part of those of other emissions.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The covariance structure.
    locations : ndarray of shape (n_components, n_features)
        m.
    scales : ndarray
        Σ in the structure's shape.
    factors : ndarray
        U with Σ⁻¹ = U Uᵀ, in the structure's shape.
    """

    covariance_type: str
    locations: Real
    scales: np.ndarray
    factors: np.ndarray

    @property
    def structure(self):
        """Return the covariance structure."""
        return STRUCTURES[self.covariance_type]

    @classmethod
    def of(cls, covariance_type, locations, scales):
        """Return the components with their covariances factored; raise Collapse if singular."""
        factors = STRUCTURES[covariance_type].precisions_cholesky(scales)
        return cls(covariance_type, locations, scales, factors)

    def spread(self):
        """Return the mean and the standard deviation of each feature, for the kernel."""
        mean = self.locations.mean(axis=0)
        within = self.structure.variances(self.scales, *self.locations.shape)
        variance = (within + (self.locations - mean) ** 2).mean(axis=0)
        return mean, np.sqrt(variance)

    def kernel(self, offsets=None):
        """Return the kernel of the components, with 0 or ``offsets`` (K,) added to ln p(x|k)."""
        locations = self.locations
        offsets = np.zeros(len(locations)) if offsets is None else offsets
        return gaussian_kernel(self.covariance_type, locations, self.factors, offsets, self.spread)

    def n_parameters(self, n_states=None):
        """Return the number of free parameters; that of fewer states if their number is given."""
        n_states = self.n_components if n_states is None else n_states
        shape = n_states, self.n_features
        return n_states * self.n_features + self.structure.n_parameters(*shape)

    def sample(self, states, rng):
        """Return one draw for each entry of states, shape (n, n_features)."""
        return self.locations[states] + self.noise(states, rng)

    def noise(self, states, rng):
        """Return draws around zero with the covariance of each entry of states."""
        noise = rng.standard_normal((len(states), self.n_features))
        return self.structure.color(noise, states, self.structure.roots(self.scales))

    def means(self):
        """Return the means, shape (n_components, n_features)."""
        return self.locations

    def covariances(self):
        """Return the covariances as matrices, shape (n_components, n_features, n_features)."""
        shape = self.n_components, self.n_features, self.n_features
        if self.covariance_type in ("full", "tied"):
            return np.broadcast_to(self.scales, shape).copy()
        return self.structure.variances(self.scales, *shape[:2])[:, :, None] * np.eye(shape[1])

    def deviations(self):
        """Return the standard deviation of each feature, shape (n_components, n_features)."""
        return np.sqrt(self.structure.variances(self.scales, *self.locations.shape))

    def cdf(self, x):
        """Return P(feature ≤ x | component), shape (..., K, D), of values (..., D)."""
        return ndtr((x[..., None, :] - self.locations) / self.deviations())

    def reordered(self, order):
        """Return the components with ``order[i]`` in place i; a tied covariance is that of all."""
        locations = self.locations[order]
        if self.covariance_type == "tied":
            return self._replace(locations=locations)
        return self._replace(
            locations=locations, scales=self.scales[order], factors=self.factors[order]
        )

    def _filled(self, X, weights):
        """Return rows with missing values at their conditional expectation.

        ``weights`` (n, K) are the probabilities of the components; each row has a missing value.
        """
        kernel, filled = self.kernel(), X.copy()
        workspace = kernel.workspace()
        for a, b in ranges(0, len(X), kernel.block_rows):
            for rows, block in kernel.blocks(X[a:b], workspace):
                filled[a:b][rows] = block.expectation(weights[a:b][rows].T)
        return filled

    def statistics(self, weights):
        """Return the expected statistics of ``weights[k]`` rows of each component k."""
        weights = np.asarray(weights, dtype=np.float64)
        scatter = self.structure.scatter_of(self.scales, weights)
        sums = np.zeros_like(self.locations)
        return GaussianStatistics(self.covariance_type, weights, sums, scatter, self.locations)

    def _unit(self, summary):
        scale = summary.moments.scale
        return scale if self.covariance_type != "spherical" else np.sqrt(np.mean(scale**2))

    def pack(self, summary):
        """Return the components as a vector: means in units of the data, log-Cholesky factors."""
        unit = self._unit(summary)
        scaled = self.structure.precisions_cholesky(self.structure.rescale(self.scales, 1.0 / unit))
        return np.concatenate([(self.locations / unit).ravel(), self.structure.pack(scaled)])

    def unpack(self, vector, summary):
        """Return the components of a vector; raise Collapse if they are not usable."""
        unit, size = self._unit(summary), self.locations.size
        with np.errstate(all="ignore"):
            locations = vector[:size].reshape(self.locations.shape) * unit
            scaled = self.structure.unpack(vector[size:], self.n_components, self.n_features)
            scales = self.structure.rescale(scaled, unit)
        if not all(np.isfinite(part).all() for part in (locations, scales)):
            raise Collapse("the extrapolation overflows")
        raised = self.structure.raise_to(scales, summary.floor)
        return GaussianParameters(self.covariance_type, locations, *raised)


# The start ----------------------------------------------------------------------------------------


def first_normals(rows, labels, n_components, covariance_type, summary, rng):
    """Return (locations, scales, counts) of rows with given components.

    A component without rows is at a row drawn at random. The covariance within all components is
    added to each with the weight of one row, so that a component with few rows stays wide enough
    to gain others.

    Parameters
    ----------
    rows : Rows
        The data with their weights.
    labels : ndarray of int, shape (n_rows,)
        The component of each row in reading order, −1 for none.
    n_components : int
        The number of components.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The covariance structure.
    summary : GaussianSummary
        The summary of the data.
    rng : RandomState
        Draws the rows.

    Returns
    -------
    locations : ndarray of shape (n_components, n_features)
        Means.
    scales : ndarray
        Covariances in the structure's shape, above the first floor.
    counts : ndarray of shape (n_components,)
        The weight of each component's rows.
    """
    moments, structure = summary.moments, STRUCTURES[covariance_type]
    scales = structure.pooled(np.diag(moments.scale**2), n_components)
    # Means first, so that the statistics are about them and a large offset cancels nothing.
    locations, counts = np.zeros((n_components, len(moments.mean))), np.zeros(n_components)
    for a, b in ranges(0, rows.n_rows, _BLOCK):
        X, weight = rows.take(a, b)
        deviation = np.subtract(X, moments.mean, dtype=np.float64)
        resp = (labels[a:b] == np.arange(n_components)[:, None]).astype(np.float64)
        resp *= 1.0 if weight is None else weight
        locations += resp @ np.where(np.isnan(deviation), 0.0, deviation)
        counts += resp.sum(axis=1)
    locations = moments.mean + locations / np.where(counts > 0, counts, 1.0)[:, None]
    if counts.any():
        statistics = statistics_of(rows, labels, locations, covariance_type, moments)
        resolution = np.zeros_like(summary.floor)  # the floor keeps every variance above it
        found = statistics.maximize(summary.first_floor, resolution, (locations, scales))
        locations, scales = found[0], found[1]
        if covariance_type != "tied":
            shaped = counts.reshape((-1,) + (1,) * (scales.ndim - 1))
            within = (shaped * scales).sum(axis=0) / counts.sum()
            weight = rows.weight() / rows.n_rows
            scales = (shaped * scales + weight * within) / (shaped + weight)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        drawn = rows.at(rng.choice(rows.n_rows, size=len(empty)))
        locations[empty] = filled(drawn, moments)
    return locations, scales, counts


# The emission -------------------------------------------------------------------------------------


class LocationScaleEmission(Emission):
    """Base of the emissions with ``covariance_type``, ``reg_covar``, first means and covariances.

    A subclass has these constructor parameters, ``means_init`` and ``covariances_init``, and those
    of the normal-inverse-Wishart priors.
    """

    # Emissions of earlier versions have none.
    mean_prior = mean_precision_prior = covariance_prior = degrees_of_freedom_prior = None

    means_ = FittedArray()
    covariances_ = FittedArray(tied=True)
    precisions_cholesky_ = FittedArray(tied=True)

    _heavy_tails = False
    _names = "means", "covariances"  # of parameters that can be fixed

    def check_rows(self, X, feature_names=None):
        # Every finite row is possible; arrays of priors have a width.
        if self.mean_prior is not None or self.covariance_prior is not None:
            self._prior(X.shape[1])

    def _prior(self, n_features=None):
        """Return the NormalInverseWishart, or None without priors; it is checked.

        ``n_features`` is the width of X; by default that of the given arrays.
        """
        of_means, of_covariances = self.mean_precision_prior, self.degrees_of_freedom_prior
        if self.mean_prior is self.covariance_prior is of_means is of_covariances is None:
            return None
        return prior_of_parameters(self, n_features)

    def log_prior(self, parameters, summary):
        prior, normals = (
            self._prior(parameters.n_features),
            getattr(parameters, "normals", parameters),
        )
        return 0.0 if prior is None else prior.log_density(normals.locations, normals.factors)

    def summarize(self, rows, pool, feature_names=None):
        moments = feature_moments(rows, pool, feature_names)
        floor = moments.floor(self.reg_covar)
        first_floor = floor if self.reg_covar else moments.floor(FIRST_FLOOR)
        return GaussianSummary(moments, floor, first_floor)

    def summarize_batch(self, parameters, rows, pool, feature_names=None):
        # A batch may be a single row: the earlier fit has better moments.
        mean, scale = getattr(parameters, "normals", parameters).spread()
        moments = Moments.of(mean, scale**2, np.abs(mean) + scale)
        floor = moments.floor(self.reg_covar)
        return GaussianSummary(moments, floor, floor)

    def _first_values(self, lead, n_features=None, moments=None):
        """Return (means_init, covariances_init), each a checked array or None.

        Parameters
        ----------
        lead : tuple of int
            The shape of the means before their last axis.
        n_features : int, optional
            The width of X; without it only the shapes of the two are compared.
        moments : Moments, optional
            The moments of the data, from which the values must not be too far.
        """
        check_choice("covariance_type", self.covariance_type, (*STRUCTURES,))
        check_number("reg_covar", self.reg_covar, RealNumber, 0, LARGEST_FLOOR)
        means, covariances = self.means_init, self.covariances_init
        if means is None and covariances is None:
            return None, None
        if n_features is None:
            n_features = _last_axis(covariances if means is None else means)
        means, covariances = check_normals(
            ("means_init", means),
            ("covariances_init", covariances),
            (*lead, n_features),
            self.covariance_type,
        )
        if moments is not None:
            # With heavy tails the variance of X depends on outliers, and bounds no covariance.
            compared = None if self._heavy_tails else covariances
            check_near(
                ("means_init", means),
                ("covariances_init", compared),
                self.covariance_type,
                moments,
            )
        return means, covariances

    # Means and covariances are those of the field ``normals``, if the record has one.

    def _fixable(self):
        return self._names, ("covariances",) * (self.covariance_type == "tied")

    def _check_fixed(self, fixed):
        pass  # each may be fixed without the others

    def _maximize_fixed(self, old, statistics, summary, fixed):
        normals, scaled = getattr(old, "normals", old), getattr(statistics, "scaled", statistics)
        values = normals.locations, normals.scales, _of_each(normals, old, fixed)
        about = held(scaled, *values, statistics.counts)
        if scaled is not statistics:
            about = replace(statistics, scaled=about)
        return self._with_fixed(self.maximize(old, about, summary, values[2]), old, fixed)

    def _with_fixed(self, new, old, fixed):
        new = super()._with_fixed(new, old, fixed)
        now, before = getattr(new, "normals", new), getattr(old, "normals", old)
        kind, *found = now
        found = restored(found, [*before][1:], _of_each(before, old, fixed))
        normals = GaussianParameters(kind, *found)
        return normals if now is new else new._replace(normals=normals)

    def _n_fixed(self, parameters, fixed):
        normals = getattr(parameters, "normals", parameters)
        each = _of_each(normals, parameters, fixed)
        n_fixed = n_fixed_normals(self.covariance_type, parameters.n_features, each)
        return n_fixed + super()._n_fixed(parameters, fixed)

    def store(self, parameters):
        fitted, normals = vars(self), getattr(parameters, "normals", parameters)
        fitted.update(
            means_=normals.locations.copy(),
            covariances_=normals.scales.copy(),
            precisions_cholesky_=normals.factors.copy(),
        )
        if normals is not parameters:
            fitted.update((f"{name}_", array.copy()) for name, _, array in parameters._arrays())
        self.n_features_in_ = parameters.n_features

    def _parameters(self):
        """Return the Gaussian parameters; leading axes of the attributes become one."""
        fitted = vars(self)
        means = fitted["means_"].reshape(-1, self.n_features_in_)
        shape = STRUCTURES[self.covariance_type].shape(*means.shape)
        scales = fitted["covariances_"].reshape(shape)
        factors = fitted["precisions_cholesky_"].reshape(shape)
        return GaussianParameters(self.covariance_type, means, scales, factors)


def _of_each(normals, parameters, fixed):
    """Return the masks of states as masks of the normals, of which a state may have several."""
    size = normals.n_components // parameters.n_components
    return {name: np.repeat(mask, size) for name, mask in fixed.items()}


def _last_axis(given):
    """Return the size of the last axis of a parameter, or 1 if it has none."""
    try:
        return (1, *np.shape(given))[-1]
    except (RuntimeError, ValueError):  # check_normals names it
        return 1


def normals_shape(covariance_type, means_shape):
    """Return the shape of the covariances of means (..., n_features)."""
    if covariance_type == "tied":
        return (means_shape[-1],) * 2
    return (*means_shape[:-1], *STRUCTURES[covariance_type].shape(1, means_shape[-1])[1:])


def check_normals(named_means, named_covariances, shape, covariance_type):
    """Return (means, covariances), each as a checked array or None.

    Parameters
    ----------
    named_means, named_covariances : tuple of (str, array-like or None)
        The parameters' names, for messages, and values.
    shape : tuple of int
        The shape of the means.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        Decides the shape of the covariances.
    """
    (name, means), (name_2, covariances) = named_means, named_covariances
    if means is not None:
        axes = ("n_components", "n_mix", "n_features") if len(shape) == 3 else ()
        meaning = f"({', '.join(axes or ('n_components', 'n_features'))})"
        means = check_array_parameter(name, means, shape, meaning, largest=LARGEST)
    if covariances is not None:
        structure = STRUCTURES[covariance_type]
        wanted = normals_shape(covariance_type, shape)
        meaning = f"for covariance_type={covariance_type!r}"
        covariances = check_array_parameter(name_2, covariances, wanted, meaning)
        check_positive_definite(name_2, covariances, structure)
    return means, covariances


def known_means(means, n_axes):
    """Return means as an array; raise ValueError unless it has ``n_axes`` axes, none empty."""
    means = check_array_parameter("means", means, None, "", largest=LARGEST)
    if means.ndim != n_axes or 0 in means.shape:
        raise ValueError(f"means has shape {means.shape}: must have {n_axes} axes, none empty")
    return means


def known_normals(means, covariances, covariance_type):
    """Return GaussianParameters of arrays; raise ValueError if they are not usable."""
    check_choice("covariance_type", covariance_type, (*STRUCTURES,))
    if covariances is None:
        raise ValueError("covariances=None: must be an array of numbers")
    means, covariances = check_normals(
        ("means", means), ("covariances", covariances), np.shape(means), covariance_type
    )
    flat = means.reshape(-1, means.shape[-1])
    covariances = covariances.reshape(STRUCTURES[covariance_type].shape(*flat.shape))
    try:
        return GaussianParameters.of(covariance_type, flat, covariances)
    except Collapse as collapse:
        raise ValueError(f"covariances is not usable: {collapse}") from collapse
