r"""Rows to which a density gives a low value are outliers.

A row x is an outlier where :math:`\ln p(x) < t`. The threshold t is chosen such that at most a
proportion ``contamination`` of the training rows are outliers. As these rows have shaped p, they
have higher densities than new rows of the same kind; with ``cv`` the threshold is chosen by the
densities of rows that are held out of the fit.
"""

from numbers import Real

import numpy as np
from sklearn.base import OutlierMixin
from sklearn.utils.validation import check_is_fitted

from skvae.blocks.sequences import is_list_of_sequences
from skvae.comparison.checks import checked_groups
from skvae.comparison.cross_validation import folds, row_scores, rows_of_folds
from skvae.tasks.base import (
    OF_DENSITY,
    DensityTask,
    fitted,
    given,
    offsets_of,
    part_of,
    part_of_params,
    sliceable,
)
from skvae.validation import check_number


class DensityOutlierDetector(OutlierMixin, DensityTask):
    """Anomaly and novelty detection: rows of low density are outliers.

    Parameters
    ----------
    density : estimator
        Any estimator with ``fit`` and ``score_samples``, the log-density of each row: a model of
        the suite or of scikit-learn, a search over its parameters, or a Pipeline that ends in one.
        It is cloned.
    contamination : float, default=0.05
        The largest proportion of training rows that are outliers, in (0, 0.5]: the rate of false
        alarms where the training rows have no anomalies.
    cv : int, cross-validation generator or iterable, default=None
        None chooses the threshold by the log-densities of the training rows under the density that
        was fitted to them. They are higher than those of new rows, so that more than
        ``contamination`` of new rows are outliers; the more so the more parameters the density has.
        With ``cv``, as in :func:`skvae.compare`, the threshold is chosen out of fold: each row is
        scored by a density that was fitted without it. Folds of a list of sequences, or of
        ``groups``, hold whole sequences. ``density_`` is fitted to all rows in any case.

    Attributes
    ----------
    density_ : estimator
        The fitted density.
    offset_ : float
        The threshold, nats: rows with a lower log-density are outliers. It is halfway between the
        highest log-density of the outliers among the training rows and the lowest of the others;
        the latter if there are no outliers.
    n_features_in_ : int
        Number of features, if the density has it.
    feature_names_in_ : ndarray of str
        Names of the features, if the density has them.

    See Also
    --------
    sklearn.ensemble.IsolationForest : Outliers without a density.

    Examples
    --------
    >>> from skvae import EMGaussianMixture
    >>> from skvae.datasets import load_geyser
    >>> from skvae.tasks import DensityOutlierDetector
    >>> X = load_geyser().data
    >>> detector = DensityOutlierDetector(EMGaussianMixture(2, random_state=0)).fit(X)
    >>> int((detector.predict(X) == -1).sum()), len(X)
    (14, 299)
    >>> detector.predict([[80.0, 4.0], [60.0, 1.0]])
    array([ 1, -1])
    """

    __metadata_request__predict = OF_DENSITY
    __metadata_request__decision_function = OF_DENSITY

    def __init__(self, density, *, contamination=0.05, cv=None):
        self.density = density
        self.contamination = contamination
        self.cv = cv

    def fit(self, X, y=None, sample_weight=None, *, groups=None, **params):
        """Return self after a fit of the density and the choice of the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows; for a density of sequences also a list of them. Rows are judged one by one.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, in the density and in the proportion of outliers.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density that takes it, and for ``cv``.
        **params : dict
            More metadata of the density's ``fit``, such as ``sequence_weight``.

        Returns
        -------
        self : DensityOutlierDetector
            The detector.

        Raises
        ------
        ValueError
            A parameter is not usable, or more than ``contamination`` of the rows have log-density
            −inf.

        Examples
        --------
        >>> from sklearn.neighbors import KernelDensity
        >>> from skvae.tasks import DensityOutlierDetector
        >>> detector = DensityOutlierDetector(KernelDensity(), contamination=0.25)
        >>> detector.fit([[0.0], [0.1], [0.2], [9.0]]).predict([[0.1], [9.0]])
        array([ 1, -1])
        """
        self._check_parameters()
        params = given(**params, sample_weight=sample_weight, groups=groups)
        X = sliceable(X)
        density = fitted(self.density, X, None, params, drop_groups=self.cv is not None)
        if self.cv is None:
            scores = _joined(row_scores(density, X, groups))
        else:
            scores = _out_of_fold(self.density, X, params, self.cv)
        offset = _threshold(scores, _row_weights(X, params), self.contamination)
        self.density_, self.offset_ = density, offset
        self._set_features(density)
        return self

    def _check_parameters(self):
        self._check_density("score_samples")
        check_number("contamination", self.contamination, Real, 0.0, 0.5)
        if self.contamination == 0:
            raise ValueError(
                f"contamination={self.contamination!r}: must be > 0; a low one, such as 1e-9, "
                "makes no training row an outlier"
            )

    def score_samples(self, X, *, groups=None):
        """Return the log-density of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density that takes it.

        Returns
        -------
        log_density : ndarray of shape (n_samples,), or list of such
            As the density's ``score_samples`` returns it.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityOutlierDetector
        >>> detector = DensityOutlierDetector(EMGaussianMixture(1)).fit([[-1.0], [1.0]])
        >>> detector.score_samples([[0.0], [1.0]]).round(3)
        array([-0.919, -1.419])
        """
        check_is_fitted(self)
        return row_scores(self.density_, X, groups)

    def decision_function(self, X, *, groups=None):
        """Return the log-density of each row minus the threshold; outliers have negative values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density that takes it.

        Returns
        -------
        decision : ndarray of shape (n_samples,), or list of such
            ``score_samples(X) - offset_``.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityOutlierDetector
        >>> detector = DensityOutlierDetector(EMGaussianMixture(1)).fit([[-1.0], [1.0]])
        >>> detector.decision_function([[0.0], [2.0]])
        array([ 0.5, -1.5])
        """
        scores = self.score_samples(X, groups=groups)
        if isinstance(scores, list):
            return [some - self.offset_ for some in scores]
        return scores - self.offset_

    def predict(self, X, *, groups=None):
        """Return −1 for each row that is an outlier, 1 for each other row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density that takes it.

        Returns
        -------
        labels : ndarray of shape (n_samples,), or list of such
            1 or −1, int.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityOutlierDetector
        >>> detector = DensityOutlierDetector(EMGaussianMixture(1)).fit([[-1.0], [1.0]])
        >>> detector.predict([[0.0], [2.0]])
        array([ 1, -1])
        """
        decision = self.decision_function(X, groups=groups)
        if isinstance(decision, list):
            return [np.where(some >= 0, 1, -1) for some in decision]
        return np.where(decision >= 0, 1, -1)

    def fit_predict(self, X, y=None, *, groups=None, **params):
        """Return −1 for each row that is an outlier, 1 for each other row, after fitting.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row.
        **params : dict
            More metadata of ``fit``.

        Returns
        -------
        labels : ndarray of shape (n_samples,), or list of such
            1 or −1, int.

        Examples
        --------
        >>> from sklearn.neighbors import KernelDensity
        >>> from skvae.tasks import DensityOutlierDetector
        >>> detector = DensityOutlierDetector(KernelDensity(), contamination=0.25)
        >>> detector.fit_predict([[0.0], [0.1], [0.2], [9.0]])
        array([ 1,  1,  1, -1])
        """
        return self.fit(X, groups=groups, **params).predict(X, groups=groups)


def _row_weights(X, params):
    """Return the weight of each row, or None if all are one."""
    weight = params.get("sample_weight", params.get("sequence_weight"))
    if weight is None or not is_list_of_sequences(X):
        return weight
    lengths = np.diff(offsets_of(X, None))
    return np.repeat(weight, lengths) if len(weight) == len(lengths) else weight


def _out_of_fold(density, X, params, cv):
    """Return the held-out log-density of each row; of several folds the mean, of none NaN."""
    n = X.shape[0] if hasattr(X, "shape") else len(X)  # of rows, or of the sequences of a list
    every, groups = np.arange(n), params.get("groups")
    if groups is not None:
        groups = checked_groups(groups, n)
    splits = rows = [(every[train], every[test]) for train, test in folds(cv, every, groups)]
    n_rows = n
    if is_list_of_sequences(X):
        offsets = offsets_of(X, None)
        rows, n_rows = rows_of_folds(splits, offsets), offsets[-1]
    total, count = np.zeros(n_rows), np.zeros(n_rows)
    for (train, test), (_, tested) in zip(splits, rows, strict=True):
        part = part_of_params(params, train, n)
        model = fitted(density, part_of(X, train), None, part, drop_groups=True)
        part = None if groups is None else part_of(groups, test)
        np.add.at(total, tested, _joined(row_scores(model, part_of(X, test), part)))
        np.add.at(count, tested, 1)
    return np.divide(total, count, out=np.full(n_rows, np.nan), where=count > 0)


def _joined(scores):
    """Return the scores of all rows as one array; those of a list of sequences are a list."""
    return np.concatenate(scores) if isinstance(scores, list) else scores


def _threshold(scores, weight, contamination):
    """Return a threshold with at most a proportion of the weight of the rows below it.

    Rows with a NaN, which no fold held out, do not count.
    """
    scores = np.asarray(scores, dtype=np.float64)
    weight = np.ones(len(scores)) if weight is None else np.asarray(weight, dtype=np.float64)
    used = (weight > 0) & ~np.isnan(scores)
    order = np.argsort(scores[used], kind="stable")
    scores, weight = scores[used][order], weight[used][order]
    below = np.cumsum(weight) - weight
    # A product such as 0.1 · 30 may be just below the number of rows.
    most = contamination * weight.sum() * (1 + 1e-9)
    first = scores[np.searchsorted(below, most, side="right") - 1]
    if np.isneginf(first):
        raise ValueError(
            f"contamination={contamination!r}: {np.isneginf(scores).sum()} of {len(scores)} rows "
            "have log-density -inf, which is more than that proportion; raise contamination, or "
            "use a smoother density"
        )
    lower = scores[scores < first]
    return float((lower[-1] + first) / 2 if len(lower) and np.isfinite(lower[-1]) else first)
