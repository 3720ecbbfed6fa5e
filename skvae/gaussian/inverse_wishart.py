r"""Normal-inverse-Wishart priors of Gaussian components, and the M step with them (MAP).

.. math:: \ln p(m, \Sigma) = -\tfrac12 \ln |\Sigma| - \tfrac{\kappa}{2} (m - m_0)^T \Sigma^{-1}
          (m - m_0) - \frac{\nu + D + 1}{2} \ln |\Sigma| - \tfrac12 \mathrm{tr}(\Psi \Sigma^{-1}),

without constants. With n rows of mean :math:`\bar x` the joint maximum is

.. math:: m = \frac{\kappa m_0 + n \bar x}{\kappa + n}, \qquad
          \Sigma = \frac{\Psi + \sum (x - m)(x - m)^T + \kappa (m - m_0)(m - m_0)^T}
          {n + \nu + D + 2}

(Gauvain & Lee, IEEE Trans. Speech Audio Process. 2, 1994). A tied covariance has one inverse
Wishart; each variance of diagonal ones, and a spherical variance, has an inverse gamma
:math:`-(\tfrac\nu2 + 1) \ln \sigma^2 - \psi / (2 \sigma^2)`. Without a prior of the means κ is
0 and the first two terms are absent; without one of the covariances the last two.
"""

from numbers import Real
from typing import NamedTuple

import numpy as np

from skvae.gaussian.checks import check_positive_definite
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.fixed import held
from skvae.gaussian.moments import LARGEST
from skvae.gaussian.statistics import NO_ROWS, GaussianStatistics
from skvae.validation import check_array_parameter, check_number


class NormalInverseWishart(NamedTuple):
    """The prior of each component.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The covariance structure.
    mean : ndarray of shape (n_features,)
        m₀.
    mean_precision : float
        κ; 0 is no prior of the means.
    scale : ndarray
        Ψ: (D, D) full and tied, (D,) diag, a number for spherical.
    degrees_of_freedom : float or None
        ν; None is no prior of the covariances.
    """

    covariance_type: str
    mean: np.ndarray
    mean_precision: float
    scale: np.ndarray
    degrees_of_freedom: float | None

    def _statistics(self, n_components):
        """Return the statistics that the prior adds: κ rows at m₀ with the scatter Ψ."""
        structure, n_features = STRUCTURES[self.covariance_type], len(self.mean)
        scatter = np.zeros(structure.shape(n_components, n_features))
        scatter += self.scale / n_features if structure.name == "spherical" else self.scale
        counts = np.full(n_components, self.mean_precision)
        centers = np.tile(self.mean, (n_components, 1))
        return GaussianStatistics(
            self.covariance_type, counts, np.zeros_like(centers), scatter, centers
        )

    def _extra_counts(self):
        """Return (of the means, of the covariances): rows that the divisor of Σ has more."""
        kind, n_features = self.covariance_type, len(self.mean)
        of_means = 1.0 if self.mean_precision > 0 else 0.0
        if self.degrees_of_freedom is None:
            return of_means, 0.0
        if kind in ("full", "tied"):
            return of_means, self.degrees_of_freedom + n_features + 1.0
        each = 1.0 if kind == "diag" else 1.0 / n_features
        return of_means, (self.degrees_of_freedom + 2.0) * each

    def maximize(self, statistics, floor, resolution, previous, fixed=None, rows=None):
        """Return the (means, covariances, factors) that maximise likelihood times prior.

        Parameters
        ----------
        statistics, floor, resolution, previous
            As for :meth:`skvae.gaussian.statistics.GaussianStatistics.maximize`.
        fixed : dict of str to ndarray of bool, optional
            Components of which the means are fixed; their covariances are about them.
        rows : ndarray of shape (n_components,), optional
            The numbers of rows by which covariances divide the scatter; by default the counts.
        """
        structure, n_components = STRUCTURES[self.covariance_type], len(statistics.counts)
        total = statistics + self._statistics(n_components)
        if fixed is not None and "means" in fixed:
            total = held(total, previous[0], None, {"means": fixed["means"]})
        rows = statistics.counts if rows is None else rows
        no_rows = statistics.counts <= NO_ROWS * statistics.counts.sum()
        empty = total.counts <= NO_ROWS * total.counts.sum()
        shift = total.sums / np.where(empty, 1.0, total.counts)[:, None]
        shift[empty] = 0.0
        scatter = structure.recenter(total.scatter, total.counts, total.sums, shift)
        of_means, of_covariances = self._extra_counts()
        counts = rows + of_means + of_covariances
        if self.degrees_of_freedom is None and no_rows.any():
            # Their likelihood does not depend on Σ, and the prior of m alone has no maximum.
            scatter = structure.keep(scatter, previous[1], no_rows)
            counts = np.where(no_rows, 1.0, counts)
        n_rows = rows.sum() + n_components * of_means + of_covariances
        covariances, factors = structure.maximize(scatter, counts, n_rows, floor)
        structure.check(covariances, resolution)
        means = total.centers + shift
        means[empty] = previous[0][empty]
        return means, covariances, factors

    def earlier(self, statistics):
        """Return statistics that lead to the same maximum with this prior as ``statistics`` alone.

        ``statistics`` are about their maximiser. A component without rows has none here either.
        """
        structure, centers = STRUCTURES[self.covariance_type], statistics.centers
        own = self._statistics(len(centers)).recenter(centers)
        of_means, of_covariances = self._extra_counts()
        counts = np.where(statistics.counts > 0, statistics.counts, 1.0)
        if structure.name == "tied":
            total = counts.sum()
            ratio = (total + len(counts) * of_means + of_covariances) / total
        else:
            ratio = (counts + of_means + of_covariances) / counts
            ratio = ratio.reshape((-1,) + (1,) * (statistics.scatter.ndim - 1))
        some = statistics.counts > 0
        scatter = statistics.scatter * ratio - own.scatter
        if structure.name != "tied":
            scatter[~some] = 0.0
        sums = np.where(some[:, None], -own.sums, 0.0)
        return GaussianStatistics(self.covariance_type, statistics.counts, sums, scatter, centers)

    def log_density(self, means, factors):
        """Return the log prior of components, without constants, in nats.

        Parameters
        ----------
        means : ndarray of shape (n_components, n_features)
            m.
        factors : ndarray
            U with Σ⁻¹ = U Uᵀ, in the structure's shape.
        """
        kind, n_features = self.covariance_type, len(self.mean)
        structure = STRUCTURES[kind]
        precisions = structure.precisions(factors)
        half_log_det = structure.half_log_det(factors, n_features)
        found = 0.0
        if self.mean_precision > 0:
            d = means - self.mean
            if kind in ("full", "tied"):
                squares = ((d[:, None] @ precisions)[:, 0] * d).sum(axis=1)
            else:
                squares = (d**2 * precisions.reshape(len(precisions), -1)).sum(axis=1)
            terms = half_log_det - 0.5 * self.mean_precision * squares
            found += float(np.sum(terms))
        if self.degrees_of_freedom is not None:
            # Of (ν + D + 1)/2 ln|Σ⁻¹|, where a half of ln|Σ⁻¹| is ``half_log_det``.
            times = self.degrees_of_freedom + (
                n_features + 1.0 if kind in ("full", "tied") else 2.0
            )
            half_log_det = half_log_det / n_features if kind == "spherical" else half_log_det
            found += float(np.sum(times * half_log_det) - 0.5 * np.sum(self.scale * precisions))
        return found


def prior_of_parameters(given, n_features=None):
    """Return the NormalInverseWishart of the parameters of an estimator.

    Parameters
    ----------
    given : object
        Its ``covariance_type``, ``mean_prior``, ``mean_precision_prior``, ``covariance_prior`` and
        ``degrees_of_freedom_prior`` are read; None is no prior, or the default of the other.
    n_features : int, optional
        The width of X; by default that of the given arrays.

    Raises
    ------
    ValueError
        A parameter is not usable.
    """
    kind = given.covariance_type
    mean, precision = given.mean_prior, given.mean_precision_prior
    scale, degrees = given.covariance_prior, given.degrees_of_freedom_prior
    for name, value, other in (
        ("mean_precision_prior", precision, "mean_prior"),
        ("degrees_of_freedom_prior", degrees, "covariance_prior"),
    ):
        if value is not None and getattr(given, other) is None:
            raise ValueError(f"{name}={value!r}, but {other}=None: give {other} too")
    if mean is not None:
        mean = check_array_parameter("mean_prior", mean, None, "(n_features,)", largest=LARGEST)
        n_features = mean.size if n_features is None else n_features
        if mean.shape != (n_features,):
            raise ValueError(f"mean_prior has shape {mean.shape}: must have shape ({n_features},)")
        precision = 1.0 if precision is None else precision
        _check_above("mean_precision_prior", precision, 0.0)
    if scale is not None:
        scale = check_array_parameter("covariance_prior", scale, None, "")
        if n_features is None:
            n_features = scale.shape[0] if scale.ndim else 1
        scale = _checked_scale(scale, kind, n_features)
        degrees = float(n_features) if degrees is None else degrees
        least = n_features - 1.0 if kind in ("full", "tied") else 0.0
        _check_above("degrees_of_freedom_prior", degrees, least)
    return NormalInverseWishart(
        kind,
        np.zeros(n_features) if mean is None else mean,
        0.0 if mean is None else float(precision),
        np.zeros(()) if scale is None else scale,
        None if scale is None else float(degrees),
    )


def _check_above(name, value, least):
    check_number(name, value, Real, least)
    if value <= least:
        raise ValueError(f"{name}={value!r}: must be > {least:g}")


def _checked_scale(scale, kind, n_features):
    """Return Ψ; raise ValueError unless it has the shape of one covariance and is positive."""
    shapes = {"diag": (n_features,), "spherical": ()}
    shape = shapes.get(kind, (n_features, n_features))
    if scale.shape != shape:
        raise ValueError(
            f"covariance_prior has shape {scale.shape}: must have shape {shape} for "
            f"covariance_type={kind!r}"
        )
    structure = STRUCTURES["full" if kind == "tied" else kind]
    check_positive_definite("covariance_prior", scale[None], structure)
    return scale
