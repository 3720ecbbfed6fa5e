"""A posterior over Gaussian mixtures as fitted attributes, and what it says."""

from numbers import Integral, Real
from typing import NamedTuple

from sklearn.utils.validation import check_is_fitted

from skvae.gaussian.conjugate import NormalWishart
from skvae.mixture.base import RowwiseMixture
from skvae.mixture.bayesian.posterior import MixturePosterior, MixturePrior
from skvae.mixture.bayesian.weights import WEIGHTS
from skvae.mixture.gaussian_mixture import EMGaussianMixture
from skvae.validation import check_number


class CredibleInterval(NamedTuple):
    """Equal-tailed credible intervals, each a pair of arrays (lower, upper).

    Parameters
    ----------
    weights : tuple of two ndarrays of shape (n_components,)
        Of the weights.
    means : tuple of two ndarrays of shape (n_components, n_features)
        Of the means.
    covariances : tuple of two ndarrays
        Of the variances: shape (K, D) full and diag, (D,) tied, (K,) spherical.
    """

    weights: tuple
    means: tuple
    covariances: tuple


class FittedPosterior(RowwiseMixture):
    """A Bayesian mixture that has its posterior."""

    # The posterior as attributes --------------------------------------------------------------

    def _store(self, posterior):
        prior, components = posterior.prior, posterior.components
        self.weights_ = posterior.weights.mean()
        self.means_ = components.means
        self.covariances_ = components.covariances
        self.precisions_ = components.precisions
        self.precisions_cholesky_ = components.precisions_cholesky
        self.weight_concentration_ = posterior.weights.concentration
        self.mean_precision_ = components.mean_precisions
        self.degrees_of_freedom_ = components.dofs
        self.weight_concentration_prior_ = prior.concentration
        self.mean_precision_prior_ = prior.mean_precision
        self.mean_prior_ = prior.mean
        self.degrees_of_freedom_prior_ = prior.dof
        self.covariance_prior_ = prior.scale
        self._weight_type = prior.weight_type
        self._covariance_type = prior.covariance_type
        self._scales = components.scales
        counts = posterior.statistics.counts
        self.n_effective_components_ = int((counts >= 1.0 - 1e-9).sum())
        self._n_features_out = len(self.weights_)
        self._n_asked = self.n_components  # moves may end with another number

    def _parameters(self):
        """Return the fitted posterior as a value."""
        concentration = self.weight_concentration_
        weights = concentration if isinstance(concentration, tuple) else (concentration,)
        return MixturePosterior(
            MixturePrior(
                self._weight_type,
                self.weight_concentration_prior_,
                self._covariance_type,
                self.mean_precision_prior_,
                self.mean_prior_,
                self.degrees_of_freedom_prior_,
                self.covariance_prior_,
            ),
            WEIGHTS[self._weight_type](*weights),
            NormalWishart(
                self._covariance_type,
                self.mean_precision_,
                self.means_,
                self.degrees_of_freedom_,
                self._scales,
                self.precisions_cholesky_,
            ),
        )

    def _density_kernel(self):
        return self._parameters().predictive()

    # What it says -----------------------------------------------------------------------------

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the model, and the component that each was drawn from.

        The model is the posterior predictive density: each row has parameters of its own.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Exchangeable rows, in no order of components.
        labels : ndarray of shape (n_samples,)
            Components, int; −1 is a component that no row of the data belongs to (of a process).

        Examples
        --------
        >>> from skvae import BayesianMixtureSVI
        >>> mixture = BayesianMixtureSVI(2, random_state=0).fit([[0.0], [0.1], [9.0], [9.1]])
        >>> X, labels = mixture.sample(100)
        >>> X.shape, labels.shape
        ((100, 1), (100,))
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, Integral, 1)
        return self._parameters().sample(n_samples, self._random_state_of(random_state))

    def credible_interval(self, level=0.95):
        """Return equal-tailed credible intervals of weights, means and variances under q.

        Each is of one number by itself. On clusters that overlap they are too narrow, as q knows no
        dependence between the assignments and the rest.

        Parameters
        ----------
        level : float, default=0.95
            The probability inside, in (0, 1).

        Returns
        -------
        interval : CredibleInterval
            A named tuple ``(weights, means, covariances)`` of pairs (lower, upper).

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import BayesianMixtureSVI
        >>> X = np.random.default_rng(0).normal(size=(1000, 1))
        >>> lower, upper = BayesianMixtureSVI(1).fit(X).credible_interval().means
        >>> bool(0.1 < (upper - lower)[0, 0] < 0.15)
        True
        """
        check_is_fitted(self)
        check_number("level", level, Real, 0)
        if not 0 < level < 1:
            raise ValueError(f"level={level!r}: must be in (0, 1)")
        level, posterior = float(level), self._parameters()
        return CredibleInterval(
            posterior.weights.interval(level),
            posterior.components.mean_interval(level),
            posterior.components.variance_interval(level),
        )

    def to_mixture(self):
        """Return the Gaussian mixture at the posterior expectation, fitted.

        Returns
        -------
        mixture : EMGaussianMixture
            With ``weights_`` (what is left over shared out), ``means_``, ``covariances_``.

        Examples
        --------
        >>> from skvae import BayesianMixtureSVI
        >>> X = [[0.0], [0.1], [0.2], [0.3]] * 5 + [[9.0], [9.1], [9.2]] * 5
        >>> mixture = BayesianMixtureSVI(2, random_state=0).fit(X)
        >>> mixture.to_mixture().weights_.round(1)
        array([0.6, 0.4])
        """
        check_is_fitted(self)
        mixture = EMGaussianMixture.from_parameters(
            self.weights_ / self.weights_.sum(),
            self.means_,
            self.covariances_,
            self._covariance_type,
        )
        mixture.random_state = self.random_state
        if hasattr(self, "feature_names_in_"):
            mixture.feature_names_in_ = self.feature_names_in_
        return mixture
