"""A fitted mixture of Gaussians, row by row: densities, labels, missing values."""

import numpy as np

from skvae.base import LatentVariableModel, not_named
from skvae.blocks import DistributedRows, Rows, is_distributed, map_rows, workers_for
from skvae.mixture.e_step import expect, fill_rows, normalize

# Components up to which, and rows from which, comparisons take less time than an argmax.
_COMPARED, _FEWEST = 4, 256


def _resp(log_joint, _block):
    normalize(log_joint)
    return log_joint.T


def _label(log_joint, _block):
    n_components, n_rows = log_joint.shape
    if n_components > _COMPARED or n_rows < _FEWEST:
        return log_joint.argmax(axis=0)
    labels, best = np.zeros(n_rows, dtype=np.intp), log_joint[0]
    for k, other in enumerate(log_joint[1:], 1):
        np.putmask(labels, other > best, k)
        best = np.maximum(best, other)
    return labels


def _expected(log_joint, block):
    normalize(log_joint)
    return block.expectation(log_joint)


def _filled(rows, kernel, compute, width, dtype):
    """Return ``compute(log_joint, block)`` of all rows, shape (n,) or (n, width)."""
    n_rows = rows.n_rows
    out = np.empty(n_rows if width is None else (n_rows, width), dtype=dtype)
    if compute in (_label, _resp) and len(kernel.means) == 1:
        out[:] = 0 if compute is _label else 1.0  # the only component has every row
    elif n_rows:
        with workers_for(rows, kernel) as pool:
            fill_rows(rows, kernel, pool, out, compute)
    return out


def _filled_chunk(X, *arguments):
    return _filled(Rows.readable(X), *arguments)


def _imputed(X, kernel):
    """Return a copy of the rows with conditional expectations where something is missing."""
    filled = np.array(X, order="C")
    incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
    if len(incomplete):
        some = X[incomplete]
        rows = Rows.readable(some)
        expected = _filled(rows, kernel, _expected, X.shape[1], np.float64)
        filled[incomplete] = np.where(np.isnan(some), expected, some)
    return filled


def drawn(X, parameters, rng):
    """Return a copy of the rows with draws from p(missing | observed) where something is missing.

    A component k is drawn for each row, and a whole row y from it. As Gaussian conditional
    expectations are linear, x_m = E_k[x_m | x_o] + y_m − E_k[y_m | y_o] has the conditional
    distribution of component k, with its mean and its covariance.
    """
    filled = np.array(X, order="C")
    incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
    if not len(incomplete):
        return filled
    some = X[incomplete].astype(np.float64)
    n_components = len(parameters.weights)
    kernel = parameters.kernel()
    resp = _filled(Rows.readable(some), kernel, _resp, n_components, np.float64)
    limits = resp.cumsum(axis=1)[:, :-1]
    labels = (limits <= rng.random((len(some), 1)) * resp.sum(axis=1, keepdims=True)).sum(axis=1)
    simulated = parameters.sample_of(labels, rng)
    for k in np.unique(labels):
        rows, one = labels == k, parameters.reordered([k])._replace(weights=np.ones(1))
        x, y, kernel = some[rows], simulated[rows], one.kernel()
        expected = _imputed(np.where(np.isnan(x), np.nan, y), kernel)
        some[rows] = _imputed(x, kernel) + y - expected
    filled[incomplete] = np.where(np.isnan(X[incomplete]), some, X[incomplete])
    return filled


def total_weight(rows, sample_weight):
    """Return the total weight as given; very large weights are scaled in the rows."""
    if sample_weight is None or isinstance(rows, DistributedRows):
        return rows.weight()
    return float(np.asarray(sample_weight, dtype=np.float64).sum())


@not_named
class MixtureModel(LatentVariableModel):
    """A fitted mixture: densities, labels, responsibilities and imputations of rows.

    A subclass has ``_parameters()``, the fitted parameters as a value with ``kernel()``.
    """

    _sums_over_chunks = True

    _relative_weights = True  # their sum does not matter

    # Predictions --------------------------------------------------------------------------------

    def fit_predict(self, X, y=None, sample_weight=None):
        """Return the most probable component of each row, after fitting.

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
        labels : ndarray of shape (n_samples,)
            Components, int.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> EMGaussianMixture(2, random_state=0).fit_predict([[0.0], [0.1], [9.0], [9.1]])
        array([1, 1, 0, 0])
        """
        return self.fit(X, sample_weight=sample_weight).predict(X)

    def score_samples(self, X):
        """Return the log-density of each row, in nats, shape (n_samples,).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing: the density is then that of the observed values, and a row without
            any has log-density 0.

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
        return self._by_row(X, normalize, kernel=self._density_kernel)

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
        rows = self._rows(X, sample_weight, relative=True)
        return self._log_likelihood(rows) / rows.weight()

    def predict(self, X):
        """Return the most probable component of each row.

        A component may be the label of no row, however large its weight.

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
            Rows; NaN is missing. A row without observed values gets the weights; under a posterior,
            their expectations in the log domain, normalised.

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
        self._check_fitted()
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
        """Return X with missing values replaced by their conditional expectation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        X_filled : {ndarray, DataFrame} of shape (n_samples, n_features)
            Observed values are unchanged; float32 if X is. With ``set_output`` a table.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.5, 0.5], [[0, 0], [4, 8]], [[[1, 0.5], [0.5, 1]]] * 2
        ... )
        >>> mixture.impute([[1.0, float("nan")]]).round(2)
        array([[1.  , 0.61]])
        """
        self._check_fitted()
        given, X = X, self._validate_for_rows(X)
        kernel = self._parameters().kernel()
        if is_distributed(X):
            return map_rows(_imputed, X, X.shape[1], X.dtype, kernel)
        return self._as_set(_imputed(X, kernel), given)

    # Rows -----------------------------------------------------------------------------------------

    def _prepare(self, X, sample_weight, *, reset, min_rows=2):
        """Return the checked data as Rows, after a check of the constructor's parameters.

        ``reset`` sets the number and the names of the features; a first batch has ``min_rows=2``.
        """
        self._check_parameters()
        rows = self._read(X, sample_weight, self._relative_weights, reset, min_rows)
        if min_rows > 1 and rows.n_rows < self.n_components:
            raise ValueError(
                f"n_components={self.n_components}: must be <= n_samples, which is {rows.n_rows}"
                + ("" if sample_weight is None else " without the rows of weight zero")
            )
        return rows

    def _rows(self, X, sample_weight, *, relative=False):
        """Return the checked data of a fitted mixture as Rows."""
        self._check_fitted()
        return self._read(X, sample_weight, relative)

    def _read(self, X, sample_weight=None, relative=False, reset=False, min_rows=1):
        """Return the checked data as Rows, or as DistributedRows."""
        X, complete = self._validated(X, reset, min_rows)
        weight = None
        if sample_weight is not None:
            weight = self._validate_weight(sample_weight, X, relative=relative)
        if not isinstance(X, np.ndarray):
            return DistributedRows.readable(X, weight)
        return Rows.readable(X, weight, complete)

    def _with_columns_of(self, other, index):
        """Return self, whose rows have some columns of another model, in the tables it returns."""
        if hasattr(other, "feature_names_in_"):
            self.feature_names_in_ = other.feature_names_in_[index]
        if (dtypes := vars(other).get("_dtypes_in")) is not None:
            self._dtypes_in = [dtypes[j] for j in index]
        return self.set_output(transform=other._output_setting())

    def _log_likelihood(self, rows):
        """Return Σ w ln p(x) of the rows, in nats."""
        kernel = self._density_kernel()
        with workers_for(rows, kernel) as pool:
            return expect(rows, kernel, pool, statistics=False)[1]

    def _density_kernel(self):
        """Return the kernel whose log-sum-exp is a row's log-density."""
        return self._parameters().kernel()

    def _by_row(self, X, compute, width=None, dtype=None, kernel=None):
        """Return ``compute(log_joint, block)`` of all rows, in the dtype of X or the one given."""
        self._check_fitted()
        kernel = self._parameters().kernel() if kernel is None else kernel()
        if is_distributed(X):
            X = self._validate_for_rows(X)
            dtype = dtype or X.dtype
            return map_rows(_filled_chunk, X, width, dtype, kernel, compute, width, dtype)
        rows = self._read(X)
        return _filled(rows, kernel, compute, width, dtype or rows.X.dtype)

    def _validate_for_rows(self, X):
        """Return X checked; a Dask array may have an unknown number of rows."""
        return self._validate(X, min_rows=0 if is_distributed(X) else 1)
