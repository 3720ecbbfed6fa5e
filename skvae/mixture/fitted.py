"""What can be asked of a fitted Gaussian mixture: densities, labels, draws, criteria."""

from copy import copy
from numbers import Integral

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.base import LatentVariableModel, check_array_parameter, check_choice, check_number
from skvae.blocks import Rows, workers
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.missing import pattern_order
from skvae.mixture.expectation import expect, fill_rows, normalize
from skvae.mixture.parameters import MixtureParameters
from skvae.mixture.start import check_positive_definite, check_weights


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


class FittedGaussianMixture(LatentVariableModel):
    """A Gaussian mixture that has its parameters: how it keeps them, and what it answers."""

    # The parameters as a value --------------------------------------------------------------------

    def _parameters(self):
        """Return the fitted parameters as a value."""
        return MixtureParameters(
            self._covariance_type,
            self.weights_,
            self.means_,
            self.covariances_,
            self.precisions_cholesky_,
        )

    def _store(self, parameters):
        self.weights_ = parameters.weights
        self.means_ = parameters.means
        self.covariances_ = parameters.covariances
        self.precisions_cholesky_ = parameters.precisions_cholesky
        self.precisions_ = parameters.structure.precisions(parameters.precisions_cholesky)
        self._covariance_type = parameters.covariance_type
        self._n_features_out = len(parameters.weights)

    @classmethod
    def from_parameters(cls, weights, means, covariances, covariance_type="full"):
        """Return a fitted mixture with known parameters.

        Parameters
        ----------
        weights : array-like of shape (n_components,)
            Weights, summing to one.
        means : array-like of shape (n_components, n_features)
            Means.
        covariances : array-like
            Covariances in the shape of ``covariances_``.
        covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
            Their form.

        Returns
        -------
        mixture : EMGaussianMixture
            As if fitted: ``lower_bound_`` is NaN, ``n_iter_`` 0.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0.0], [4.0]], [1, 1], "spherical"
        ... )
        >>> mixture.predict([[1.0], [3.0]])
        array([0, 1])
        """
        check_choice("covariance_type", covariance_type, tuple(STRUCTURES))
        means = check_array_parameter("means", means, None, "(n_components, n_features)")
        shape = means.shape
        if len(shape) != 2 or 0 in shape:
            raise ValueError(f"means has shape {shape}: must have shape (n_components, n_features)")
        weights = check_array_parameter("weights", weights, shape[:1], "(n_components,)")
        check_weights("weights", weights)
        structure = STRUCTURES[covariance_type]
        covariances = check_array_parameter(
            "covariances", covariances, structure.shape(*shape), f"for {covariance_type!r}"
        )
        check_positive_definite("covariances", covariances, structure)
        weights = weights / weights.sum()
        return cls._of(MixtureParameters.of(covariance_type, weights, means, covariances))

    @classmethod
    def _of(cls, parameters, **like):
        """Return a fitted mixture with parameters that are known to be good."""
        mixture = cls(len(parameters.weights), covariance_type=parameters.covariance_type, **like)
        mixture._store(MixtureParameters(*(copy(part) for part in parameters)))
        mixture.n_features_in_ = parameters.means.shape[1]
        mixture.lower_bound_ = np.nan
        mixture.lower_bounds_ = []
        mixture.n_iter_ = mixture.n_e_steps_ = 0
        mixture.converged_ = True
        return mixture

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

    # Other distributions ------------------------------------------------------------------------

    def marginal(self, features):
        """Return the mixture of a subset of the features, fitted.

        Parameters
        ----------
        features : array-like of int or str
            Which features, in the order they shall have: indices, or names if X had names.

        Returns
        -------
        mixture : EMGaussianMixture
            With the same weights.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> mixture.marginal([1]).means_
        array([[0.],
               [8.]])
        """
        check_is_fitted(self)
        index = self._feature_index(features)
        return self._with_features(self._parameters().marginal(index), index)

    def conditional(self, features, values):
        """Return the mixture of the other features given values of some, fitted.

        Parameters
        ----------
        features : array-like of int or str
            The features that are known: indices, or names if X had names.
        values : array-like of shape (len(features),)
            Their values.

        Returns
        -------
        mixture : EMGaussianMixture
            Of the other features, in their order. Its weights are the responsibilities given the
            values (Bishop, Pattern Recognition and Machine Learning, eq. 2.81-2.82).

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> given = mixture.conditional([0], [1.0])
        >>> given.means_
        array([[0.5],
               [6.5]])
        >>> given.weights_.round(3)
        array([0.982, 0.018])
        """
        check_is_fitted(self)
        index = self._feature_index(features)
        rest = np.setdiff1d(np.arange(self.n_features_in_), index)
        if not len(rest):
            raise ValueError(
                f"features={features!r}: must leave at least one of the {self.n_features_in_} "
                "features of the mixture"
            )
        values = check_array_parameter("values", values, None, "(len(features),)").reshape(-1)
        if values.shape != index.shape:
            raise ValueError(f"values has shape {values.shape}: must have shape {index.shape}")
        return self._with_features(self._parameters().conditional(index, values), rest)

    def _feature_index(self, features):
        """Return features, given as indices or names, as distinct indices."""
        given = np.atleast_1d(np.asarray(features))
        names = getattr(self, "feature_names_in_", None)
        if given.ndim != 1 or not len(given):
            raise ValueError(f"features={features!r}: must be a list of at least one index or name")
        if given.dtype.kind in "US" or given.dtype == object:
            if names is None:
                raise ValueError(
                    f"features={features!r}: must be indices, as X had no names in fit"
                )
            place = {name: j for j, name in enumerate(names)}
            unknown = [name for name in given if name not in place]
            if unknown:
                raise ValueError(f"features={features!r}: must be among {list(names)}")
            index = np.array([place[name] for name in given])
        elif given.dtype.kind in "iu":
            index = given.astype(np.intp)
            n_features = self.n_features_in_
            if (index < -n_features).any() or (index >= n_features).any():
                raise ValueError(f"features={features!r}: indices must be below {n_features}")
            index = np.where(index < 0, index + n_features, index)
        else:
            raise ValueError(f"features={features!r}: must be indices or names")
        if len(np.unique(index)) < len(index):
            raise ValueError(f"features={features!r}: must be distinct")
        return index

    def _with_features(self, parameters, index):
        mixture = self._of(parameters, random_state=self.random_state)
        if hasattr(self, "feature_names_in_"):
            mixture.feature_names_in_ = self.feature_names_in_[index]
        return mixture

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
