r"""The parameters of a Gaussian mixture as one value: M step, draws, marginals, conditionals.

.. math:: p(x) = \sum_k \pi_k \, N(x \mid m_k, \Sigma_k)
"""

from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from skvae.ascent.loop import Collapse
from skvae.blocks import ranges
from skvae.fixed import n_fixed_shares, share_rest, shares
from skvae.gaussian.checks import check_positive_definite, check_weights
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.fixed import held, n_fixed_normals, restored
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.statistics import GaussianStatistics
from skvae.mixture.e_step import normalize
from skvae.validation import check_array_parameter

_NUMBERS = 1 << 16  # of a block of draws: its temporaries stay in the caches
_COMPARED = 32  # components up to which a comparison with each limit is faster than a search


@contextmanager
def refused_if_singular(name):
    """Turn a Collapse into a ValueError that names the parameter."""
    try:
        yield
    except Collapse as collapse:
        raise ValueError(f"{name} is not usable: {collapse}") from collapse


def draw_labels(weights, n_samples, rng):
    """Return n_samples independent labels, k with probability weights[k].

    They are those of ``rng.choice``, which takes three times as long.
    """
    cumulative = weights.cumsum()
    cumulative /= cumulative[-1]
    uniform = rng.random(n_samples)
    if len(weights) > _COMPARED:
        return cumulative.searchsorted(uniform, side="right")
    labels = np.zeros(n_samples, dtype=np.int8)
    for limit in cumulative[:-1]:
        labels += uniform >= limit
    return labels.astype(np.intp)


class MixtureParameters(NamedTuple):
    """Parameters of a Gaussian mixture.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The covariance structure.
    weights : ndarray of shape (n_components,)
        π, summing to one.
    means : ndarray of shape (n_components, n_features)
        m.
    covariances : ndarray
        Σ in the structure's shape.
    precisions_cholesky : ndarray
        U with Σ⁻¹ = U Uᵀ, in the structure's shape.
    """

    covariance_type: str
    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    precisions_cholesky: np.ndarray

    @classmethod
    def of(cls, covariance_type, weights, means, covariances):
        """Return the parameters with their covariances factored; raise Collapse if singular."""
        factors = STRUCTURES[covariance_type].precisions_cholesky(covariances)
        return cls(covariance_type, weights, means, covariances, factors)

    def reordered(self, order):
        """Return the parameters with component ``order[i]`` in place i."""
        found = self._replace(weights=self.weights[order], means=self.means[order])
        if self.covariance_type == "tied":
            return found
        return found._replace(
            covariances=self.covariances[order], precisions_cholesky=self.precisions_cholesky[order]
        )

    def moments(self):
        """Return the mean and the variance of each feature, arrays of shape (n_features,)."""
        mean = self.weights @ self.means
        within = STRUCTURES[self.covariance_type].variances(self.covariances, *self.means.shape)
        return mean, self.weights @ (within + (self.means - mean) ** 2)

    def spread(self):
        """Return the mean and the standard deviation of each feature, for the kernel."""
        mean, variance = self.moments()
        return mean, np.sqrt(variance)

    def replaced(self, name, value):
        """Return the parameters with other values of one fitted attribute, which are checked.

        Parameters
        ----------
        name : str
            ``"weights_"``, ``"means_"``, ``"covariances_"``, ``"precisions_"``, or
            ``"precisions_cholesky_"``, any A with precision A Aᵀ.
        value : array-like
            The values.
        """
        kind, structure = self.covariance_type, STRUCTURES[self.covariance_type]
        like = {"weights_": self.weights, "means_": self.means}.get(name, self.covariances)
        value = check_array_parameter(name, value, like.shape, "as before")
        if name == "weights_":
            check_weights(name, value)
            return self._replace(weights=value / value.sum())
        if name == "means_":
            return self._replace(means=value)
        if name == "precisions_cholesky_":
            value = structure.precisions(value)
        check_positive_definite(name, value, structure)
        with refused_if_singular(name):
            value = value if name == "covariances_" else structure.inverse(value)
            return self.of(kind, self.weights, self.means, value)

    def kernel(self, spread=None):
        """Return the kernel of the components, with the log weights as offsets.

        A ``spread`` is that of rows which are the same for all parameters of a fit.
        """
        with np.errstate(divide="ignore"):
            offsets = np.log(self.weights)
        return gaussian_kernel(
            self.covariance_type,
            self.means,
            self.precisions_cholesky,
            offsets,
            spread or self.spread,
            same_rows=spread is not None,
        )

    def statistics(self):
        """Return statistics of total weight one whose maximum likelihood parameters these are."""
        scatter = STRUCTURES[self.covariance_type].scatter_of(self.covariances, self.weights)
        return GaussianStatistics(
            self.covariance_type, self.weights, np.zeros_like(self.means), scatter, self.means
        )

    def maximize(self, statistics, floor, resolution):
        """Return the M step: the parameters that maximise the expected log-likelihood."""
        weights = statistics.counts / statistics.counts.sum()
        found = statistics.maximize(floor, resolution, (self.means, self.covariances))
        return MixtureParameters(self.covariance_type, weights, *found)

    def maximize_fixed(self, statistics, floor, resolution, fixed):
        """Return the M step in which the parameters in ``fixed`` keep their values."""
        statistics = held(statistics, self.means, self.covariances, fixed)
        new = self.maximize(statistics, floor, resolution)
        if "weights" not in fixed:
            return self._with_fixed(new, new.weights, fixed)
        counts, allowed = statistics.counts, np.ones(len(self.weights), dtype=bool)
        return self._with_fixed(new, shares(counts, allowed, self.weights, fixed["weights"]), fixed)

    def kept(self, new, fixed):
        """Return other parameters with the fixed values of these."""
        weights = new.weights
        if "weights" in fixed:
            weights = share_rest(weights, self.weights, fixed["weights"])
        return self._with_fixed(new, weights, fixed)

    def _with_fixed(self, new, weights, fixed):
        own = self.means, self.covariances, self.precisions_cholesky
        others = new.means, new.covariances, new.precisions_cholesky
        return MixtureParameters(self.covariance_type, weights, *restored(others, own, fixed))

    def n_parameters(self, fixed=None):
        """Return the number of free parameters."""
        n_components, n_features = self.means.shape
        free = STRUCTURES[self.covariance_type].n_parameters(n_components, n_features)
        free += n_components * n_features + n_components - 1
        if fixed is None:
            return free
        if "weights" in fixed:
            free -= n_fixed_shares(np.ones(n_components, dtype=bool), fixed["weights"])
        return free - n_fixed_normals(self.covariance_type, n_features, fixed)

    def sample(self, n_samples, rng):
        """Return independent draws (n_samples, n_features) and their labels (n_samples,)."""
        labels = draw_labels(self.weights, n_samples, rng)
        return self.sample_of(labels, rng), labels

    def sample_of(self, labels, rng):
        """Return one draw from the component of each label, (n_samples, n_features)."""
        n_samples = len(labels)
        X = rng.standard_normal((n_samples, self.means.shape[1]))
        structure = STRUCTURES[self.covariance_type]
        roots = structure.roots(self.covariances)
        for a, b in ranges(0, n_samples, max(_NUMBERS // self.means.shape[1], 1)):
            rows = structure.color(X[a:b], labels[a:b], roots)
            rows += self.means.take(labels[a:b], axis=0)
            X[a:b] = rows
        return X

    def marginal(self, features):
        """Return the parameters of the distribution of a subset of the features."""
        covariances = STRUCTURES[self.covariance_type].restrict(self.covariances, features)
        return self.of(self.covariance_type, self.weights, self.means[:, features], covariances)

    def conditional(self, features, values):
        """Return the parameters of the rest given that ``features`` have ``values``.

        Bishop, Pattern Recognition and Machine Learning, equations 2.81 and 2.82.
        """
        rest = np.setdiff1d(np.arange(self.means.shape[1]), features)
        kernel = self.marginal(features).kernel()
        _, block = next(kernel.blocks(values[None], kernel.workspace()))
        resp = block.log_density()
        if not np.isfinite(normalize(resp)).all():
            raise ValueError(
                f"values={values}: must be where the mixture has a density above zero in float64"
            )
        weights = resp[:, 0]
        structure = STRUCTURES[self.covariance_type]
        covariances, regression = structure.condition(self.covariances, rest, features)
        deviation = values - self.means[:, features]
        means = self.means[:, rest] + (regression @ deviation[:, :, None])[:, :, 0]
        return self.of(self.covariance_type, weights / weights.sum(), means, covariances)


class Coordinates:
    """Maps parameters to vectors without constraints and back, for acceleration.

    The vector is [ln π, means in units of the features' scale, log-Cholesky of the precisions].

    Parameters
    ----------
    like : MixtureParameters
        Any parameters of the same shapes.
    scale : ndarray of shape (n_features,)
        The features' units.
    floor : ndarray of shape (n_features,)
        Unpacked covariances are raised to it.
    """

    def __init__(self, like, scale, floor):
        self._type = like.covariance_type
        self._structure = STRUCTURES[like.covariance_type]
        self._shape = like.means.shape
        self._unit = scale if like.covariance_type != "spherical" else np.sqrt(np.mean(scale**2))
        self._floor = floor

    def pack(self, parameters):
        """Return the parameters as a vector, with −inf for a weight of zero."""
        scaled = self._structure.precisions_cholesky(
            self._structure.rescale(parameters.covariances, 1.0 / self._unit)
        )
        with np.errstate(divide="ignore"):
            log_weights = np.log(parameters.weights)
        means = parameters.means / self._unit
        return np.concatenate([log_weights, means.ravel(), self._structure.pack(scaled)])

    def unpack(self, vector):
        """Return the parameters of a vector; raise Collapse if they are not usable."""
        n_components, n_features = self._shape
        weights = np.exp(vector[:n_components] - vector[:n_components].max())
        last = n_components * (1 + n_features)
        with np.errstate(all="ignore"):
            means = vector[n_components:last].reshape(self._shape) * self._unit
            scaled = self._structure.unpack(vector[last:], n_components, n_features)
            covariances = self._structure.rescale(scaled, self._unit)
        if not all(np.isfinite(part).all() for part in (means, covariances)):
            raise Collapse("the extrapolation overflows")
        raised = self._structure.raise_to(covariances, self._floor)
        return MixtureParameters(self._type, weights / weights.sum(), means, *raised)
