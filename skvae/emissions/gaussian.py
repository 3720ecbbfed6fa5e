r"""Gaussian emissions.

.. math:: p(x \mid k) = N(x \mid m_k, \Sigma_k)

The densities and the statistics are computed by :mod:`skvae.gaussian.kernel`. The M step is

.. math:: m_k = \frac{\sum_t \gamma_t(k)\, x_t}{\sum_t \gamma_t(k)}, \qquad
          \Sigma_k = \frac{\sum_t \gamma_t(k) (x_t - m_k)(x_t - m_k)^T}{\sum_t \gamma_t(k)},

with missing values by their conditional moments and :math:`\Sigma_k` kept above a floor, which is
the exact constrained maximum (see :mod:`skvae.gaussian.covariance`).

Bilmes, A gentle tutorial of the EM algorithm, ICSI TR-97-021 (1998).
"""

from skvae.emissions.location_scale import (
    GaussianParameters,
    LocationScaleEmission,
    first_normals,
    known_means,
    known_normals,
)
from skvae.fitted import new_instance
from skvae.gaussian.covariance import STRUCTURES


class GaussianEmission(LocationScaleEmission):
    """Gaussian emissions: a mean and a covariance for each state.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        The form of the covariances: a matrix for each state, one matrix for all, a variance per
        feature and state, or a variance per state.
    reg_covar : float, default=1e-6
        A floor, relative to each feature: covariances are kept ⪰ diag(f) with ``f = reg_covar *
        variance of the feature``. A constant feature counts with the mean variance of the others,
        or with 1 if all are constant, and values between 0 and 1e-14 count as 1e-14. It is the
        exact constrained maximum, so the bound still never falls.
    means_init : array-like of shape (n_components, n_features), default=None
        First means.
    covariances_init : array-like, default=None
        First covariances, in the shape of ``covariances_``.
    mean_prior : array-like of shape (n_features,), default=None
        The m₀ of the prior N(m₀, Σ/κ) of each mean; None is no prior. The log-density of the
        priors is part of the objective, so that the parameters are the most probable ones.
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
    means_ : ndarray of shape (n_components, n_features)
        The means of the states.
    covariances_ : ndarray
        Their covariances: (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical.
    precisions_cholesky_ : ndarray
        Factors U of their inverses, ``precision = U @ U.T``, in the same shape.
    n_features_in_ : int
        The number of features.

    See Also
    --------
    GaussianMixtureEmission : Several Gaussians for each state.
    StudentTEmission : The same with heavy tails.

    Notes
    -----
    NaN is a missing value: the density is the marginal one of the observed values, and EM is exact.

    References
    ----------
    Gauvain & Lee (1994), Maximum a posteriori estimation for multivariate Gaussian mixture
    observations of Markov chains, IEEE Trans. Speech Audio Process. 2, for the priors.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.hmm import GaussianEmission
    >>> emission = GaussianEmission.from_parameters([[0.0], [9.0]], [[1.0], [4.0]], "diag")
    >>> emission.parameters().sample(np.array([0, 1, 1]), np.random.RandomState(0)).round(1)
    array([[ 1.8],
           [ 9.8],
           [11. ]])
    """

    def __init__(
        self,
        covariance_type="full",
        *,
        reg_covar=1e-6,
        means_init=None,
        covariances_init=None,
        mean_prior=None,
        mean_precision_prior=None,
        covariance_prior=None,
        degrees_of_freedom_prior=None,
    ):
        self.covariance_type = covariance_type
        self.reg_covar = reg_covar
        self.means_init = means_init
        self.covariances_init = covariances_init
        self.mean_prior = mean_prior
        self.mean_precision_prior = mean_precision_prior
        self.covariance_prior = covariance_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior

    @classmethod
    def from_parameters(cls, means, covariances, covariance_type="full"):
        """Return a fitted emission with known parameters.

        Parameters
        ----------
        means : array-like of shape (n_components, n_features)
            The means.
        covariances : array-like
            The covariances: (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical.
        covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
            The form of the covariances.

        Returns
        -------
        emission : GaussianEmission
            The emission.

        Raises
        ------
        ValueError
            Shapes do not fit, a value is not finite, or a covariance is not positive definite.

        Examples
        --------
        >>> from skvae.hmm import GaussianEmission
        >>> emission = GaussianEmission.from_parameters([[0.0], [5.0]], [[1.0], [2.0]], "diag")
        >>> emission.covariances_
        array([[1.],
               [2.]])
        """
        emission = new_instance(cls, covariance_type=covariance_type)
        emission.store(known_normals(known_means(means, 2), covariances, covariance_type))
        return emission

    def check_parameters(self, n_components):
        self._first_values((n_components,))
        self._prior()

    def first(self, rows, labels, n_components, summary, rng):
        n_features, kind = rows.X.shape[1], self.covariance_type
        means, covariances = self._first_values((n_components,), n_features, summary.moments)
        if means is None or covariances is None:
            found = first_normals(rows, labels, n_components, kind, summary, rng)
            means = found[0] if means is None else means
            covariances = found[1] if covariances is None else covariances
        factors = STRUCTURES[kind].precisions_cholesky(covariances)
        return GaussianParameters(kind, means, covariances, factors)

    def maximize(self, old, statistics, summary, fixed=None):
        prior, bounds = self._prior(old.n_features), (summary.floor, summary.moments.resolution)
        previous = old.locations, old.scales
        if prior is None:
            found = statistics.maximize(*bounds, previous)
        else:
            found = prior.maximize(statistics, *bounds, previous, fixed)
        return GaussianParameters(self.covariance_type, *found)

    def earlier_statistics(self, parameters, weights):
        statistics, prior = parameters.statistics(weights), self._prior(parameters.n_features)
        return statistics if prior is None else prior.earlier(statistics)
