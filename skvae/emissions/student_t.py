r"""Student-t emissions: Gaussians with a precision that a latent scale multiplies.

.. math:: p(x \mid k) = St(x \mid m_k, \Sigma_k, \nu_k)
          = \int N(x \mid m_k, \Sigma_k / \tau)\, Ga(\tau \mid \nu_k/2, \nu_k/2)\, d\tau .

Of a row with d observed features at the squared Mahalanobis distance δ,

.. math:: \ln p = \ln N(m_o \mid m_o, \Sigma_{oo}) + \tfrac d2 \ln 2\pi
          + \ln \frac{\Gamma((\nu + d)/2)}{\Gamma(\nu/2)\, (\nu\pi)^{d/2}}
          - \frac{\nu + d}{2} \ln\Big(1 + \frac\delta\nu\Big),

where the first two terms are :math:`-\tfrac12 \ln |\Sigma_{oo}|`. EM (Liu & Rubin, Statistica
Sinica 5, 1995, section 3) has the expected scale :math:`u = (\nu + d)/(\nu + \delta)`, small for
outliers, and with :math:`r` the responsibilities

.. math:: m = \frac{\sum r u\, x}{\sum r u}, \qquad
          \Sigma = \frac{\sum r\, [u\, (\hat x - m)(\hat x - m)^T + C]}{\sum r},

where :math:`\hat x` and C are the conditional mean and covariance given the observed values: C is
that of a Gaussian, as the scale cancels. With :math:`h(x) = \ln x - \psi(x)`, which falls from ∞ to
0, the degrees of freedom solve

.. math:: h(\nu / 2) = \frac{\sum r\, v}{\sum r}, \qquad
          v = E[\tau - 1 - \ln \tau] = h\big(\tfrac{\nu + d}2\big) + (u - 1) - \ln u \ge 0 .
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import stdtr

from skvae.emissions.base import NO_ROWS
from skvae.emissions.gaussian import GaussianEmission
from skvae.emissions.limited import Limited
from skvae.emissions.location_scale import (
    GaussianParameters,
    LocationScaleEmission,
    first_normals,
    known_means,
    known_normals,
)
from skvae.emissions.parameters import EmissionParameters
from skvae.emissions.student_t_kernel import StudentTKernel, StudentTStatistics
from skvae.fitted import FittedArray, new_instance
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.student import log_minus_digamma
from skvae.validation import check_array_parameter, check_choice

SMALLEST_DOF, LARGEST_DOF = 0.1, 1e6


def solve_dof(shortfall):
    """Return the ν in [SMALLEST_DOF, LARGEST_DOF] that is nearest to h(ν/2) = shortfall.

    Q(ν) has one maximum, where equality holds, so that the nearest ν is the constrained maximum.
    """
    low, high = SMALLEST_DOF / 2, LARGEST_DOF / 2
    if shortfall >= log_minus_digamma(low):
        return SMALLEST_DOF
    if shortfall <= log_minus_digamma(high):
        return LARGEST_DOF
    target = np.log(shortfall)  # on log-log axes h is nearly a line

    def above(log_x):
        return float(np.log(log_minus_digamma(np.exp(log_x))) - target)

    return 2.0 * float(np.exp(brentq(above, np.log(low), np.log(high), xtol=1e-14)))


def maximize_normals(statistics, old, empty, summary):
    """Return the GaussianParameters that maximise the expected log-likelihood.

    As for a Gaussian, but sums of rows are divided by Σ r u and scatters by Σ r.
    """
    scaled = statistics.scaled
    structure = STRUCTURES[scaled.covariance_type]
    weights = np.where(empty, 1.0, scaled.counts)
    shift = np.where(empty[:, None], 0.0, scaled.sums / weights[:, None])
    scatter = structure.recenter(scaled.scatter, scaled.counts, scaled.sums, shift)
    if empty.any():
        scatter = structure.keep(scatter, old.scales, empty)
    counts = np.where(empty, 1.0, statistics.counts)
    scales, factors = structure.maximize(scatter, counts, statistics.counts.sum(), summary.floor)
    structure.check(scales, summary.moments.resolution)
    locations = np.where(empty[:, None], old.locations, scaled.centers + shift)
    return GaussianParameters(scaled.covariance_type, locations, scales, factors)


class _Dof(Limited):
    """The domain of learned degrees of freedom."""

    smallest, largest = SMALLEST_DOF, LARGEST_DOF


@dataclass(frozen=True)
class StudentTParameters(EmissionParameters):
    """Parameters of Student-t emissions.

    Parameters
    ----------
    normals : GaussianParameters
        m and Σ.
    dofs : ndarray of shape (n_components,)
        ν.
    learned : bool
        Whether ν is free.
    """

    normals: GaussianParameters
    dofs: _Dof
    learned: bool = True

    def _learned(self):
        return self._arrays() if self.learned else ()

    def kernel(self):
        """Return the kernel of the states."""
        return StudentTKernel(self.normals, self.dofs)

    def sample(self, states, rng):
        """Return one draw for each entry of states, shape (n, n_features)."""
        noise = self.normals.noise(states, rng)
        shape = 0.5 * self.dofs[states]
        scale = rng.standard_gamma(shape) / shape
        # A draw of a shape near zero may underflow; then the row is as far away as float64 allows.
        scale = np.maximum(scale, np.finfo(np.float64).tiny)
        return self.normals.locations[states] + noise / np.sqrt(scale)[:, None]

    def means(self):
        """Return the means (n_components, n_features): NaN where ν ≤ 1, as there is none."""
        return np.where((self.dofs > 1)[:, None], self.normals.locations, np.nan)

    def covariances(self):
        """Return the covariances Σ ν / (ν − 2), (n_components, n_features, n_features).

        Where ν ≤ 2 there is none: variances are infinite, or NaN where ν ≤ 1, the rest is NaN.
        """
        exists = self.dofs > 2
        factor = np.where(exists, self.dofs, 1.0) / np.where(exists, self.dofs - 2.0, 1.0)
        out = self.normals.covariances() * factor[:, None, None]
        out[~exists] = np.nan
        index = np.arange(self.n_features)
        heavy = np.flatnonzero(~exists & (self.dofs > 1))
        out[heavy[:, None], index, index] = np.inf
        return out

    def cdf(self, x):
        """Return P(feature ≤ x | state), shape (..., K, D), of values (..., D)."""
        z = (x[..., None, :] - self.normals.locations) / self.normals.deviations()
        return stdtr(self.dofs[:, None], z)

    def _filled(self, X, posterior):
        """Return rows with missing values at their conditional location, which is a Gaussian's."""
        return self.normals._filled(X, posterior)

    def statistics(self, weights):
        """Return the expected statistics of ``weights[k]`` rows in each state k."""
        weights = np.asarray(weights, dtype=np.float64)
        shortfalls = weights * log_minus_digamma(0.5 * self.dofs)
        return StudentTStatistics(self.normals.statistics(weights), weights, shortfalls)


# The emission -------------------------------------------------------------------------------------


class StudentTEmission(LocationScaleEmission):
    """Student-t emissions: like Gaussian ones, but with less influence of outliers.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        The form of the scale matrices: a matrix for each state, one matrix for all, a squared scale
        per feature and state, or a squared scale per state. In every form the features of a
        row share one heavy tail.
    reg_covar : float, default=1e-6
        A floor, relative to each feature: scale matrices are kept ⪰ diag(f) with ``f = reg_covar *
        variance of the feature``. A constant feature counts with the mean variance of the others,
        or with 1 if all are constant, and values between 0 and 1e-14 count as 1e-14. It is the
        exact constrained maximum, so the bound still never falls.
    means_init : array-like of shape (n_components, n_features), default=None
        First means.
    covariances_init : array-like, default=None
        First scale matrices, in the shape of ``covariances_``.
    dofs_init : float or array-like of shape (n_components,), default=10.0
        First degrees of freedom, from 0.1 to 1e6.
    learn_dofs : bool, default=True
        Whether the degrees of freedom are learned, within 0.1 and 1e6; if not they stay as they
        are in ``dofs_init`` or, in a fit that continues an earlier one, as they were there.
    mean_prior : array-like of shape (n_features,), default=None
        The m₀ of the prior N(m₀, Σ/κ) of each mean; None is no prior. The log-density of the
        priors is part of the objective, so that the parameters are the most probable ones.
    mean_precision_prior : float, default=None
        The number κ > 0 of rows at m₀ that the prior counts as; None is 1 with ``mean_prior``.
    covariance_prior : array-like, default=None
        The Ψ of the inverse-Wishart prior of each scale matrix: (D, D) for 'full' and 'tied',
        (D,) for 'diag' and a number for 'spherical', which have inverse gamma priors
        IG(ν/2, Ψ/2); None is no prior.
    degrees_of_freedom_prior : float, default=None
        The ν > D − 1 of that prior, or > 0 for 'diag' and 'spherical'; None is D with
        ``covariance_prior``.

    Attributes
    ----------
    means_ : ndarray of shape (n_components, n_features)
        The locations m of the states.
    covariances_ : ndarray
        Their scale matrices Σ: (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical. The
        covariance of a row is Σ · dof / (dof − 2) where dof > 2.
    precisions_cholesky_ : ndarray
        Factors U of their inverses, ``inv(Σ) = U @ U.T``, in the same shape.
    dofs_ : ndarray of shape (n_components,)
        The degrees of freedom ν of the states.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    GaussianEmission : The limit of many degrees of freedom.

    Notes
    -----
    NaN is a missing value: the density is the marginal one of the observed values, which is a
    Student-t distribution with the same degrees of freedom, and EM is exact.

    References
    ----------
    Liu & Rubin (1995), ML estimation of the t distribution using EM and its extensions, ECM and
    ECME, Statistica Sinica 5.
    Gauvain & Lee (1994), Maximum a posteriori estimation for multivariate Gaussian mixture
    observations of Markov chains, IEEE Trans. Speech Audio Process. 2, for the priors.

    Examples
    --------
    >>> from skvae.hmm import StudentTEmission
    >>> emission = StudentTEmission.from_parameters([[0.0], [9.0]], [1.0, 4.0], 3.0, "spherical")
    >>> emission.parameters().covariances().ravel()
    array([ 3., 12.])
    >>> StudentTEmission(dofs_init=1.0, learn_dofs=False)  # Cauchy
    StudentTEmission(dofs_init=1.0, learn_dofs=False)
    """

    dofs_ = FittedArray()

    _heavy_tails = True
    _names = "means", "covariances", "dofs"

    def __init__(
        self,
        covariance_type="full",
        *,
        reg_covar=1e-6,
        means_init=None,
        covariances_init=None,
        dofs_init=10.0,
        learn_dofs=True,
        mean_prior=None,
        mean_precision_prior=None,
        covariance_prior=None,
        degrees_of_freedom_prior=None,
    ):
        self.covariance_type = covariance_type
        self.reg_covar = reg_covar
        self.means_init = means_init
        self.covariances_init = covariances_init
        self.dofs_init = dofs_init
        self.learn_dofs = learn_dofs
        self.mean_prior = mean_prior
        self.mean_precision_prior = mean_precision_prior
        self.covariance_prior = covariance_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior

    @classmethod
    def from_parameters(cls, means, covariances, dofs, covariance_type="full"):
        """Return a fitted emission with known parameters.

        Parameters
        ----------
        means : array-like of shape (n_components, n_features)
            The locations.
        covariances : array-like
            The scale matrices: (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical.
        dofs : float or array-like of shape (n_components,)
            The degrees of freedom, > 0.
        covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
            The form of the scale matrices.

        Returns
        -------
        emission : StudentTEmission
            The emission.

        Raises
        ------
        ValueError
            Shapes do not fit, a value is not finite, a scale matrix is not positive definite, or a
            number of degrees of freedom is not positive.

        Examples
        --------
        >>> from skvae.hmm import StudentTEmission
        >>> emission = StudentTEmission.from_parameters([[0.0], [5.0]], [1.0, 2.0], 4, "spherical")
        >>> emission.dofs_
        array([4., 4.])
        >>> emission.parameters().covariances().ravel()
        array([2., 4.])
        """
        normals = known_normals(known_means(means, 2), covariances, covariance_type)
        dofs = _checked_dofs("dofs", dofs, normals.n_components)
        if (dofs <= 0).any():
            raise ValueError(f"dofs has an entry {dofs.min()}: must be > 0")
        emission = new_instance(cls, covariance_type=covariance_type)
        emission.store(StudentTParameters(normals, dofs))
        return emission

    def check_parameters(self, n_components):
        self._first_values((n_components,))
        check_choice("learn_dofs", self.learn_dofs, (True, False))
        self._first_dofs(n_components)
        self._prior()

    def _first_dofs(self, n_components):
        dofs = _checked_dofs("dofs_init", self.dofs_init, n_components)
        for dof in dofs:
            if not SMALLEST_DOF <= dof <= LARGEST_DOF:
                raise ValueError(
                    f"dofs_init has an entry {dof}: must be from {SMALLEST_DOF} to {LARGEST_DOF:g}"
                )
        return dofs

    def first(self, rows, labels, n_components, summary, rng):
        dofs, kind = self._first_dofs(n_components), self.covariance_type
        n_features, structure = rows.X.shape[1], STRUCTURES[kind]
        means, covariances = self._first_values((n_components,), n_features, summary.moments)
        if means is None or covariances is None:
            found = first_normals(rows, labels, n_components, kind, summary, rng)
            means = found[0] if means is None else means
            if covariances is None:
                shrunk = _times(found[1], _share_of_variance(dofs), structure)
                covariances = structure.raise_to(shrunk, summary.first_floor)[0]
        normals = GaussianParameters.of(kind, means, covariances)
        return StudentTParameters(normals, dofs, bool(self.learn_dofs))

    def _special_case(self):
        if not self.learn_dofs or self.means_init is not None or self.covariances_init is not None:
            return None
        return GaussianEmission(
            self.covariance_type,
            reg_covar=self.reg_covar,
            mean_prior=self.mean_prior,
            mean_precision_prior=self.mean_precision_prior,
            covariance_prior=self.covariance_prior,
            degrees_of_freedom_prior=self.degrees_of_freedom_prior,
        )

    def _containing(self, parameters, summary):
        limit = np.full(parameters.n_components, LARGEST_DOF)
        dofs, structure = self._first_dofs(parameters.n_components), parameters.structure
        shrunk = _times(parameters.scales, _share_of_variance(dofs), structure)
        scales, factors = structure.raise_to(shrunk, summary.first_floor)
        normals = parameters._replace(scales=scales, factors=factors)
        return [StudentTParameters(parameters, limit), StudentTParameters(normals, dofs)]

    def maximize(self, old, statistics, summary, fixed=None):
        counts = statistics.counts
        empty = (counts <= NO_ROWS * counts.sum()) | ~(statistics.scaled.counts > 0)
        prior = self._prior(old.n_features)
        if prior is None:
            normals = maximize_normals(statistics, old.normals, empty, summary)
        else:
            bounds = summary.floor, summary.moments.resolution
            previous, given = (old.normals.locations, old.normals.scales), (fixed, counts)
            found = prior.maximize(statistics.scaled, *bounds, previous, *given)
            normals = GaussianParameters(self.covariance_type, *found)
        dofs = old.dofs.copy()
        if old.learned:
            for k in np.flatnonzero(~empty):
                dofs[k] = solve_dof(statistics.shortfalls[k] / counts[k])
        return StudentTParameters(normals, dofs, old.learned)

    def earlier_statistics(self, parameters, weights):
        statistics, prior = parameters.statistics(weights), self._prior(parameters.n_features)
        if prior is None:
            return statistics
        return replace(statistics, scaled=prior.earlier(statistics.scaled))

    def continued(self, earlier, why, feature_names=None):
        parameters = super().continued(earlier, why, feature_names)
        return parameters._replace(learned=bool(self.learn_dofs))

    def _parameters(self):
        dofs = vars(self)["dofs_"]
        return StudentTParameters(super()._parameters(), dofs, bool(self.learn_dofs))


def _share_of_variance(dofs):
    """Return Σ over the covariance Σ ν / (ν − 2) of rows; there is no covariance for ν ≤ 2."""
    return np.where(dofs > 2.5, 1.0 - 2.0 / dofs, 0.2)


def _times(scales, factors, structure):
    """Return covariances, each multiplied by the factor (K,) of its component."""
    if structure.name == "tied":
        return scales * factors.mean()
    return scales * factors.reshape((-1,) + (1,) * (scales.ndim - 1))


def _checked_dofs(name, dofs, n_components):
    """Return degrees of freedom as an array (n_components,)."""
    dofs = check_array_parameter(name, dofs, None, "")
    if dofs.shape not in ((), (n_components,)):
        raise ValueError(
            f"{name} has shape {dofs.shape}: must be a number or have shape ({n_components},)"
        )
    return np.full(n_components, dofs)
