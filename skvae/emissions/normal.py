r"""What the Gaussian families share: normal components as a value, their checks and their start.

.. math:: p(x \mid k) = N(x \mid m_k, \Sigma_k)

A Gaussian emission is these components, a Gaussian mixture has several of them for each state, a
Student-t emission has one whose covariance a latent scale divides.
"""

from numbers import Real
from typing import NamedTuple

import numpy as np

from skvae.ascent.loop import Collapse
from skvae.emissions.base import Emission, mean_weight
from skvae.gaussian.checks import (
    FIRST_FLOOR,
    check_near,
    check_positive_definite,
    filled,
    statistics_of,
)
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.moments import LARGEST, Moments, feature_moments
from skvae.gaussian.statistics import GaussianStatistics
from skvae.validation import LARGEST_FLOOR, check_array_parameter, check_choice, check_number


class NormalSummary(NamedTuple):
    """What the Gaussian families need to know about the data and about the floor.

    Parameters
    ----------
    moments : Moments
        Mean, variance and size of each feature.
    floor : ndarray of shape (n_features,)
        Covariances are kept ⪰ diag(floor).
    first_floor : ndarray of shape (n_features,)
        The same for first covariances, where there is always one.
    """

    moments: Moments
    floor: np.ndarray
    first_floor: np.ndarray

    @classmethod
    def of(cls, moments, reg_covar):
        """Return the summary of moments under a constructor's ``reg_covar``."""
        return cls(moments, moments.floor(reg_covar), moments.floor(reg_covar or FIRST_FLOOR))


class NormalComponents(NamedTuple):
    """K normal distributions: locations, covariances of one structure, and their factors.

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
    locations: np.ndarray
    scales: np.ndarray
    factors: np.ndarray

    @property
    def structure(self):
        """Return the covariance structure."""
        return STRUCTURES[self.covariance_type]

    @property
    def n_components(self):
        """Return the number of components."""
        return self.locations.shape[0]

    @property
    def n_features(self):
        """Return the number of features."""
        return self.locations.shape[1]

    @classmethod
    def of(cls, covariance_type, locations, scales):
        """Return the components with their covariances factored; raise Collapse if singular."""
        factors = STRUCTURES[covariance_type].precisions_cholesky(scales)
        return cls(covariance_type, locations, scales, factors)

    def kernel(self, offsets=None):
        """Return the kernel of the components, with 0 or ``offsets`` (K,) added to ln p(x|k)."""
        mean = self.locations.mean(axis=0)
        within = self.structure.variances(self.scales, *self.locations.shape)
        variance = (within + (self.locations - mean) ** 2).mean(axis=0)
        offsets = np.zeros(self.n_components) if offsets is None else offsets
        spread = mean, np.sqrt(variance)
        return gaussian_kernel(self.covariance_type, self.locations, self.factors, offsets, spread)

    def n_parameters(self):
        """Return the number of free parameters."""
        shape = self.locations.shape
        return self.locations.size + self.structure.n_parameters(*shape)

    def sample(self, states, rng):
        """Return one draw for each entry of states, shape (n, n_features)."""
        return self.locations[states] + self.noise(states, rng)

    def noise(self, states, rng):
        """Return draws around zero with the covariance of each entry of states."""
        noise = rng.standard_normal((len(states), self.n_features))
        return self.structure.color(noise, states, self.scales)

    def means(self):
        """Return the means, shape (n_components, n_features)."""
        return self.locations

    def covariances(self):
        """Return the covariances as matrices, shape (n_components, n_features, n_features)."""
        shape = self.n_components, self.n_features, self.n_features
        if self.covariance_type in ("full", "tied"):
            return np.broadcast_to(self.scales, shape).copy()
        return self.structure.variances(self.scales, *shape[:2])[:, :, None] * np.eye(shape[1])

    def statistics(self, weights):
        """Return the statistics, of given weights (K,), that the components are the maximum of."""
        weights = np.asarray(weights, dtype=np.float64)
        scatter = self.structure.scatter_of(self.scales, weights)
        sums = np.zeros_like(self.locations)
        return GaussianStatistics(self.covariance_type, weights, sums, scatter, self.locations)

    def maximize(self, statistics, summary):
        """Return the components that maximise the expected log-likelihood."""
        previous = self.locations, self.scales
        found = statistics.maximize(summary.floor, summary.moments.resolution, previous)
        return NormalComponents(self.covariance_type, *found)

    def _unit(self, summary):
        scale = summary.moments.scale
        return scale if self.covariance_type != "spherical" else np.sqrt(np.mean(scale**2))

    def pack(self, summary):
        """Return the components as a vector: means in units of the data, log-Cholesky factors."""
        unit = self._unit(summary)
        scaled = self.structure.precisions_cholesky(self.structure.rescale(self.scales, 1.0 / unit))
        return np.concatenate([(self.locations / unit).ravel(), self.structure.pack(scaled)])

    def unpack(self, vector, summary):
        """Return the components that a vector stands for; raise Collapse if there are none."""
        unit, size = self._unit(summary), self.locations.size
        with np.errstate(all="ignore"):
            locations = vector[:size].reshape(self.locations.shape) * unit
            scaled = self.structure.unpack(vector[size:], self.n_components, self.n_features)
            scales = self.structure.rescale(scaled, unit)
        if not all(np.isfinite(part).all() for part in (locations, scales)):
            raise Collapse("the extrapolation overflows")
        raised = self.structure.raise_to(scales, summary.floor)
        return NormalComponents(self.covariance_type, locations, *raised)


# The start ----------------------------------------------------------------------------------------


def first_normals(rows, labels, n_components, covariance_type, summary, rng):
    """Return (NormalComponents, counts) that hard labels give; every covariance is usable.

    A component borrows one row's worth of the covariance within all components, so that one that
    has few rows can let others come; one without rows stands at a row drawn at random.

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
    summary : NormalSummary
        Of the data.
    rng : RandomState
        Draws the rows.
    """
    moments, structure = summary.moments, STRUCTURES[covariance_type]
    used = np.flatnonzero(labels >= 0)
    chosen = rows
    if len(used) < len(labels):
        labels = labels[used]
        chosen = rows._replace(order=used if rows.order is None else rows.order[used])

    def resp_of(start, stop):
        return (labels[start:stop] == np.arange(n_components)[:, None]).astype(np.float64)

    centers = np.tile(moments.mean, (n_components, 1))
    scales = structure.pooled(np.diag(moments.scale**2), n_components)
    # Twice, about better centres, so that a large offset cancels nothing; the first way is cheap.
    rough = statistics_of(chosen, resp_of, centers, "spherical", moments)
    counts = rough.counts
    if counts.any():
        centers = centers + rough.sums / np.where(counts > 0, counts, 1.0)[:, None]
        statistics = statistics_of(chosen, resp_of, centers, covariance_type, moments)
        nothing = np.zeros_like(summary.floor)
        found = statistics.maximize(summary.first_floor, nothing, (centers, scales))
        centers, scales = found[0], _smoothed(found[1], counts, mean_weight(rows), structure)
    empty = np.flatnonzero(counts == 0)
    if len(empty):
        drawn = rows.at(rng.choice(rows.n_rows, size=len(empty)))
        centers[empty] = filled(drawn, moments)
    return NormalComponents.of(covariance_type, centers, scales), counts


def _smoothed(scales, counts, weight, structure):
    """Return covariances to which the one within components adds ``weight`` of a row."""
    if structure.name == "tied":
        return scales
    shaped = counts.reshape((-1,) + (1,) * (scales.ndim - 1))
    within = (shaped * scales).sum(axis=0) / counts.sum()
    return (shaped * scales + weight * within) / (shaped + weight)


# The emission -------------------------------------------------------------------------------------


class NormalEmission(Emission):
    """What the Gaussian families have in common: ``covariance_type``, ``reg_covar``, first values.

    A subclass stores ``covariance_type``, ``reg_covar``, ``means_init`` and ``covariances_init``.
    """

    _heavy_tails = False

    def check_parameters(self, n_components):
        check_choice("covariance_type", self.covariance_type, (*STRUCTURES,))
        check_number("reg_covar", self.reg_covar, Real, 0, LARGEST_FLOOR)
        self._check_first(n_components)

    def check_rows(self, X, feature_names=None):
        pass  # every finite row will do

    def summarize(self, rows, pool, feature_names=None):
        return NormalSummary.of(feature_moments(rows, pool, feature_names), self.reg_covar)

    def _components_shape(self, n_components):
        """Return the shape of what has one entry for each component."""
        return (n_components,)

    def _check_first(self, n_components, n_features=None, moments=None):
        """Return the checked (means_init, covariances_init), each an array or None."""
        lead = self._components_shape(n_components)
        means, covariances = self.means_init, self.covariances_init
        if n_features is None:  # then they need only agree with each other
            given = [_shape(each) for each in (means, covariances) if each is not None]
            n_features = given[0][-1] if given and given[0] else 1
        given = check_normals(
            ("means_init", means),
            ("covariances_init", covariances),
            (*lead, n_features),
            self.covariance_type,
        )
        if moments is not None:
            # Outliers decide the variance of X, and say nothing of heavy tails' covariances.
            covariances = None if self._heavy_tails else given[1]
            named = ("means_init", given[0]), ("covariances_init", covariances)
            check_near(*named, self.covariance_type, moments)
        return given

    def _components_of(self, means, covariances, factors):
        """Return fitted arrays with any number of leading axes as NormalComponents."""
        structure = STRUCTURES[self.covariance_type]
        means = means.reshape(-1, means.shape[-1])
        shape = structure.shape(*means.shape)
        return NormalComponents(
            self.covariance_type, means, covariances.reshape(shape), factors.reshape(shape)
        )

    def _store_normals(self, components, lead):
        """Set the fitted attributes of the components, with ``lead`` as their leading axes."""
        shape = normals_shape(self.covariance_type, (*lead, components.n_features))
        self.means_ = components.locations.reshape((*lead, components.n_features)).copy()
        self.covariances_ = components.scales.reshape(shape).copy()
        self.precisions_cholesky_ = components.factors.reshape(shape).copy()
        self.n_features_in_ = components.n_features


def _shape(given):
    """Return the shape of a parameter; of what has none, and is named later, ()."""
    try:
        return np.shape(given)
    except (RuntimeError, ValueError):
        return ()


def normals_shape(covariance_type, means_shape):
    """Return the shape of the covariances that belong to means (..., n_features)."""
    if covariance_type == "tied":
        return (means_shape[-1],) * 2
    return (*means_shape[:-1], *STRUCTURES[covariance_type].shape(1, means_shape[-1])[1:])


def check_normals(named_means, named_covariances, shape, covariance_type):
    """Return (means, covariances) as arrays, or None where they are; raise ValueError if unusable.

    Parameters
    ----------
    named_means, named_covariances : tuple of (str, array-like or None)
        The parameters' names, for messages, and values.
    shape : tuple of int
        That of the means.
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
    """Return given means as an array with ``n_axes`` axes, none of which is empty."""
    means = check_array_parameter("means", means, None, "", largest=LARGEST)
    if means.ndim != n_axes or 0 in means.shape:
        raise ValueError(f"means has shape {means.shape}: must have {n_axes} axes, none empty")
    return means


def known_normals(means, covariances, covariance_type):
    """Return the NormalComponents of known parameters; raise ValueError if they are not usable."""
    check_choice("covariance_type", covariance_type, (*STRUCTURES,))
    means, covariances = check_normals(
        ("means", means), ("covariances", covariances), np.shape(means), covariance_type
    )
    flat = means.reshape(-1, means.shape[-1])
    covariances = covariances.reshape(STRUCTURES[covariance_type].shape(*flat.shape))
    try:
        return NormalComponents.of(covariance_type, flat, covariances)
    except Collapse as collapse:
        raise ValueError(f"covariances is not usable: {collapse}") from collapse
