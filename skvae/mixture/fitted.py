"""What can be asked of a Gaussian mixture with known parameters: draws, criteria, and its rows."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.blocks import workers
from skvae.mixture.base import RowwiseMixture, mean_log_likelihood, readable_rows
from skvae.mixture.derived import DerivableMixture
from skvae.mixture.e_step import fill_rows, normalize
from skvae.validation import check_number


def _negative_entropy(log_joint, _block):
    normalize(log_joint)
    logs = np.log(log_joint, out=np.zeros_like(log_joint), where=log_joint > 0)
    return np.einsum("kn,kn->n", log_joint, logs)


def _sum_of_negative_entropies(rows, pool, kernel):
    negative = np.zeros(len(rows.X))
    fill_rows(rows, kernel, pool, negative, _negative_entropy)
    weight = rows.sample_weight
    return (float(negative.sum() if weight is None else negative @ weight),)


class FittedGaussianMixture(RowwiseMixture, DerivableMixture):
    """A Gaussian mixture that has its parameters."""

    # Draws --------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the model, and the component that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Independent rows, in no order of components.
        labels : ndarray of shape (n_samples,)
            Components, int.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> X, labels = mixture.sample(1000, random_state=0)
        >>> X.shape, labels.shape
        ((1000, 2), (1000,))
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, Integral, 1)
        return self._parameters().sample(n_samples, self._random_state_of(random_state))

    # Criteria -----------------------------------------------------------------------------------

    def bic(self, X, *, sample_weight=None):
        """Return the Bayesian information criterion, −2 ln p(X) + d ln N: smaller is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0; N is their sum.

        Returns
        -------
        criterion : float
            In nats, times two.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0.0], [4.0]], [1, 1], "spherical"
        ... )
        >>> round(float(mixture.bic([[0.0], [1.0], [4.0]])), 3)
        16.128
        """
        log_likelihood, total = self._log_likelihood(X, sample_weight)
        return float(-2 * log_likelihood + self._parameters().n_parameters() * np.log(total))

    def aic(self, X, *, sample_weight=None):
        """Return Akaike's information criterion, −2 ln p(X) + 2 d: smaller is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0.

        Returns
        -------
        criterion : float
            In nats, times two.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0.0], [4.0]], [1, 1], "spherical"
        ... )
        >>> round(float(mixture.aic([[0.0], [1.0], [4.0]])), 3)
        20.635
        """
        log_likelihood, _ = self._log_likelihood(X, sample_weight)
        return -2 * log_likelihood + 2 * self._parameters().n_parameters()

    def icl(self, X, *, sample_weight=None):
        """Return the integrated completed likelihood, BIC + 2 H(resp): smaller is better.

        It adds to the BIC the entropy of the responsibilities, so that it prefers components that
        do not overlap (Biernacki, Celeux & Govaert, IEEE PAMI 22, 2000, sign as in ``bic``).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0.

        Returns
        -------
        criterion : float
            In nats, times two.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> X, _ = mixture.sample(1000, random_state=0)
        >>> bool(mixture.icl(X) - mixture.bic(X) < 10)  # the components hardly overlap
        True
        """
        bic = self.bic(X, sample_weight=sample_weight)
        X = self._validate(X)
        rows = readable_rows(X, self._validate_weight(sample_weight, X))
        kernel = self._parameters().kernel()
        with workers() as pool:
            return bic - 2 * rows.sum(_sum_of_negative_entropies, pool, kernel)[0]

    def _log_likelihood(self, X, sample_weight):
        """Return the log-likelihood of X, in nats, and the total weight."""
        check_is_fitted(self)
        X = self._validate(X)
        rows = readable_rows(X, self._validate_weight(sample_weight, X))
        total = rows.weight()
        with workers() as pool:
            return mean_log_likelihood(rows, self._density_kernel(), pool) * total, total
