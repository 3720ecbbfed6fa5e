"""What can be asked of a fitted Gaussian mixture: densities, labels, draws, criteria."""

from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.base import check_number
from skvae.blocks import Rows, workers
from skvae.gaussian.missing import pattern_order
from skvae.mixture.derived import DerivableMixture
from skvae.mixture.expectation import expect, fill_rows, normalize


def readable_rows(X, sample_weight=None):
    """Return X as Rows: without rows of weight zero, rows with equal missing features together."""
    order = None
    if sample_weight is not None and not sample_weight.all():
        order = np.flatnonzero(sample_weight)
    if np.isnan(X.min(initial=0.0)):
        by_pattern = pattern_order(X if order is None else X[order])
        order = by_pattern if order is None else order[by_pattern]
    return Rows(X, sample_weight, order)


def mean_log_likelihood(rows, parameters, pool):
    """Return the weighted mean of ln p(x) over the rows, in nats per row."""
    _, log_likelihood = expect(rows, parameters.kernel(), pool, statistics=False)
    return log_likelihood / rows.weight()


def _log_p(log_joint, _block):
    return normalize(log_joint)


def _resp(log_joint, _block):
    normalize(log_joint)
    return log_joint.T


def _label(log_joint, _block):
    return log_joint.argmax(axis=0)


def _negative_entropy(log_joint, _block):
    normalize(log_joint)
    logs = np.log(log_joint, out=np.zeros_like(log_joint), where=log_joint > 0)
    return np.einsum("kn,kn->n", log_joint, logs)


def _expected(log_joint, block):
    normalize(log_joint)
    return block.expectation(log_joint)


class FittedGaussianMixture(DerivableMixture):
    """A Gaussian mixture that has its parameters, and what it answers of rows."""

    # Rows ---------------------------------------------------------------------------------------

    def score_samples(self, X):
        """Return the log-density of each row, in nats, shape (n_samples,).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing: the density is then that of what was observed, and a row of which
            nothing was observed has log-density 0.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            float32 if X is.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> mixture.score_samples([[0.0, 0.0], [0.0, float("nan")]]).round(3)
        array([-2.387, -1.612])
        """
        return self._by_row(X, _log_p)

    def score(self, X, y=None, sample_weight=None):
        """Return the (weighted) mean log-density of the rows, in nats per row: larger is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0.

        Returns
        -------
        score : float
            In nats per row.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0.0], [4.0]], [1, 1], "spherical"
        ... )
        >>> round(mixture.score([[0.0], [4.0]]), 3)
        -1.612
        """
        check_is_fitted(self)
        X = self._validate(X)
        rows = readable_rows(X, self._validate_weight(sample_weight, X))
        with workers() as pool:
            return mean_log_likelihood(rows, self._parameters(), pool)

    def predict(self, X):
        """Return the most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Components, int.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0.0], [4.0]], [1, 1], "spherical"
        ... )
        >>> mixture.predict([[1.0], [3.0]])
        array([0, 1])
        """
        return self._by_row(X, _label, dtype=np.intp)

    def predict_proba(self, X):
        """Return the responsibilities of the components, shape (n_samples, n_components).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing. A row of which nothing was observed gets the weights.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_components)
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0.0], [4.0]], [1, 1], "spherical"
        ... )
        >>> mixture.predict_proba([[1.0], [2.0]]).round(3)
        array([[0.982, 0.018],
               [0.5  , 0.5  ]])
        """
        check_is_fitted(self)
        return self._by_row(X, _resp, width=len(self.weights_))

    def transform(self, X):
        """Return the responsibilities of the components, shape (n_samples, n_components).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_components)
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0.0], [4.0]], [1, 1], "spherical"
        ... )
        >>> mixture.transform([[2.0]]).round(3)
        array([[0.5, 0.5]])
        """
        return self.predict_proba(X)

    def impute(self, X):
        """Return X with what is missing replaced by its conditional expectation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        X_filled : ndarray of shape (n_samples, n_features)
            Observed values are left as they are; float32 if X is.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> mixture.impute([[1.0, float("nan")]]).round(2)
        array([[1.  , 0.61]])
        """
        check_is_fitted(self)
        X = self._validate(X)
        filled = np.array(X, order="C")

        incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
        if len(incomplete):
            expected = self._fill(X[incomplete], _expected, X.shape[1:])
            missing = np.isnan(X[incomplete])
            filled[incomplete] = np.where(missing, expected, X[incomplete])
        return filled

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the mixture, and the component that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows.
        random_state : int, RandomState instance or None, default=None
            The randomness; None is the estimator's own ``random_state``.

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
            Weights of the rows; N is their sum.

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
        return -2 * log_likelihood + self._parameters().n_parameters() * np.log(total)

    def aic(self, X, *, sample_weight=None):
        """Return Akaike's information criterion, −2 ln p(X) + 2 d: smaller is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows.

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
            Weights of the rows.

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
        weight = self._validate_weight(sample_weight, X)
        negative = self._fill(X, _negative_entropy)
        return bic - 2 * float(negative.sum() if weight is None else negative @ weight)

    def _log_likelihood(self, X, sample_weight):
        """Return the log-likelihood of X, in nats, and the total weight."""
        check_is_fitted(self)
        X = self._validate(X)
        rows = readable_rows(X, self._validate_weight(sample_weight, X))
        total = rows.weight()
        with workers() as pool:
            return mean_log_likelihood(rows, self._parameters(), pool) * total, total

    # Row by row -------------------------------------------------------------------------------

    def _by_row(self, X, compute, width=None, dtype=None):
        """Return ``compute(log_joint, block)`` of all rows, in the dtype of X or the one given."""
        check_is_fitted(self)
        X = self._validate(X)
        return self._fill(X, compute, () if width is None else (width,), dtype or X.dtype)

    def _fill(self, X, compute, shape=(), dtype=np.float64):
        out = np.empty((len(X), *shape), dtype=dtype)
        with workers() as pool:
            fill_rows(readable_rows(X), self._parameters().kernel(), pool, out, compute)
        return out
