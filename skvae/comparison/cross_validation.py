"""Held-out log-likelihood of each row under one density estimator, by cross-validation.

scikit-learn's cross-validation returns one number for each fold. Here each fold returns one number
for each row, so that models can be compared row by row.
"""

import warnings
from inspect import signature
from numbers import Integral

import numpy as np
from sklearn import config_context, get_config
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GroupKFold, check_cv, cross_validate
from sklearn.pipeline import Pipeline
from sklearn.utils.metadata_routing import get_routing_for_object

__all__ = ["folds", "held_out_log_likelihood", "n_rows_of", "row_scores", "rows_of_folds"]


def held_out_log_likelihood(name, model, X, splits, *, groups=None, n_jobs=None, verbose=0):
    """Return each row's held-out log-likelihood, and the mean seconds of fitting and scoring.

    Parameters
    ----------
    name : str
        The name of the model in error messages.
    model : estimator
        With ``fit`` and ``score_samples``; it is cloned for each fold.
    X : {array-like, DataFrame} of shape (n_rows, n_features)
        The data, as the model takes it.
    splits : list of (train, test)
        Row indices of each fold.
    groups : ndarray of shape (n_rows,), default=None
        Passed, fold by fold, to a ``fit`` that requests it and a ``score_samples`` that takes it.
    n_jobs : int, default=None
        Number of folds that run at a time.
    verbose : int, default=0
        Passed to :func:`sklearn.model_selection.cross_validate`.

    Returns
    -------
    log_likelihood : ndarray of shape (n_rows,)
        Nats; the mean over the folds that held the row out, NaN where none did.
    fit_seconds, score_seconds : float
        Means over the folds.

    Raises
    ------
    ValueError
        If ``score_samples`` gives anything but one number below +inf for each held-out row.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.neighbors import KernelDensity
    >>> from skvae.comparison.cross_validation import held_out_log_likelihood
    >>> splits = [([0, 1], [2]), ([0, 2], [1])]
    >>> X = np.array([[0.0], [1.0], [0.5]])
    >>> held_out_log_likelihood("kde", KernelDensity(), X, splits)[0].round(3)
    array([   nan, -1.214, -1.044])
    """
    # _Recorder receives groups only with metadata routing on; it restores the caller's setting for
    # the model. None does not change the setting.
    routing = get_config()["enable_metadata_routing"]
    with config_context(enable_metadata_routing=None if groups is None else True):
        result = cross_validate(
            _Recorder(name, model, routing),
            X,
            cv=splits,
            params=None if groups is None else {"groups": groups},
            n_jobs=n_jobs,
            verbose=verbose,
            return_estimator=True,
            error_score="raise",
        )
    n_rows = n_rows_of(X)
    total, count = np.zeros(n_rows), np.zeros(n_rows)
    for recorder, (_, test) in zip(result["estimator"], splits, strict=True):
        np.add.at(total, test, recorder.log_likelihood_)
        np.add.at(count, test, 1)
    mean = np.divide(total, count, out=np.full(n_rows, np.nan), where=count > 0)
    return mean, result["fit_time"].mean(), result["score_time"].mean()


def n_rows_of(X):
    """Return the number of rows of X.

    Parameters
    ----------
    X : {array-like, DataFrame, sparse matrix} of shape (n_rows, n_features)
        Data; it need not have a length.

    Returns
    -------
    n_rows : int

    Examples
    --------
    >>> from skvae.comparison.cross_validation import n_rows_of
    >>> n_rows_of([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]])
    3
    """
    return X.shape[0] if hasattr(X, "shape") else len(X)


def folds(cv, X, groups):
    """Return the (train, test) rows of each fold, none of them without test rows.

    Parameters
    ----------
    cv : int, cross-validation generator, iterable or None
        As :func:`skvae.compare` takes it.
    X : {array-like, DataFrame} of shape (n_rows, n_features)
        The data.
    groups : array-like of shape (n_rows,) or None
        Rows of one group should be in one fold.

    Returns
    -------
    splits : list of (train, test)
        Row indices.

    Raises
    ------
    ValueError
        A fold holds no row out, or ``cv`` is no possible number of folds.

    Warns
    -----
    UserWarning
        A fold tests rows of a group that it trains on. The warning points at the caller of the
        caller.

    Examples
    --------
    >>> from skvae.comparison.cross_validation import folds
    >>> folds(2, [[0.0], [1.0], [2.0]], None)
    [(array([2]), array([0, 1])), (array([0, 1]), array([2]))]
    """
    if cv is None or isinstance(cv, Integral):
        cv = 5 if cv is None else cv
        _check_n_folds(cv, n_rows_of(X), groups)
        cv = cv if groups is None else GroupKFold(cv)
    with warnings.catch_warnings():  # the warning below covers it
        warnings.filterwarnings("ignore", message="The groups parameter is ignored")
        splits = list(check_cv(cv).split(X, groups=groups))
    rows = np.arange(n_rows_of(X))
    empty = [fold for fold, (_, test) in enumerate(splits) if not rows[test].size]
    if empty or not splits:
        named = f"cv={cv!r}" if isinstance(cv, Integral) or hasattr(cv, "split") else "cv"
        where = f"fold {empty[0]} of {named}" if splits else named
        raise ValueError(f"{where} holds no row out: there is nothing to score.")
    if groups is not None:
        n_split = sum(bool(np.isin(groups[test], groups[train]).any()) for train, test in splits)
        if n_split:
            warnings.warn(
                f"{n_split} of {len(splits)} folds split groups: they test rows of a group that "
                "they also train on, which favours models that can learn a group. Pass cv as "
                "an int, or as a splitter that keeps groups together.",
                UserWarning,
                stacklevel=3,
            )
    return splits


def _check_n_folds(cv, n_rows, groups):
    """Raise ValueError unless the rows, or their groups, can be divided into ``cv`` folds."""
    n = n_rows if groups is None else len(np.unique(groups))
    if not 2 <= cv <= n:
        of = "rows or sequences of X" if groups is None else "groups"
        raise ValueError(
            f"cv={cv!r}: must be at least 2 and at most the number of {of}, which is {n}"
        )


def rows_of_folds(splits, offsets):
    """Return the rows of folds of sequences, of which s has rows offsets[s] to offsets[s + 1].

    Parameters
    ----------
    splits : list of (train, test)
        The sequences of each fold.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Where sequences begin and end.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.comparison.cross_validation import rows_of_folds
    >>> rows_of_folds([([0], [1])], np.array([0, 2, 5]))
    [(array([0, 1]), array([2, 3, 4]))]
    """
    rows = np.split(np.arange(offsets[-1]), offsets[1:-1])
    every = np.arange(len(rows))
    return [
        tuple(np.concatenate([rows[s] for s in every[part]]) for part in (train, test))
        for train, test in splits
    ]


class _Recorder(BaseEstimator):
    """Stores the held-out log-likelihood of each row; cross-validation returns only the mean."""

    __metadata_request__fit = {"groups": True}
    __metadata_request__score = {"groups": True}

    def __init__(self, name, estimator, routing):
        self.name = name
        self.estimator = estimator
        self.routing = routing

    def fit(self, X, y=None, groups=None):
        requested = get_routing_for_object(self.estimator).consumes("fit", ["groups"])
        params = {"groups": groups} if groups is not None and requested else {}
        # Routing only where a model needs it: with it on, the score of a Pipeline passes on a
        # sample_weight that not every density takes, and a search over it gets only nan.
        with config_context(enable_metadata_routing=self.routing or _needs_routing(self, params)):
            self.estimator_ = clone(self.estimator).fit(X, y, **params)
        return self

    def score(self, X, y=None, groups=None):
        with config_context(enable_metadata_routing=self.routing):
            scores = np.asarray(row_scores(self.estimator_, X, groups))
        _check_log_likelihood(self.name, scores, n_rows_of(X))
        self.log_likelihood_ = scores.astype(float)
        del self.estimator_  # a fold returns its numbers, not its model
        return float(np.mean(self.log_likelihood_))


def _needs_routing(recorder, params):
    """Return whether `params` only reach the recorder's model by metadata routing.

    Without routing, a search passes `groups` only to its splitter.
    """
    model = recorder.estimator
    if params and hasattr(model, "cv") and hasattr(model, "estimator"):
        return bool(get_routing_for_object(model.estimator).consumes("fit", params))
    return bool(params)


def row_scores(model, X, groups):
    """Return ``model.score_samples(X)``, with `groups` where the model, or one inside it, takes it.

    scikit-learn has no metadata request for score_samples: those of a Pipeline and of a search do
    not pass `groups` on. So their steps are repeated here, with `groups`.

    Parameters
    ----------
    model : estimator
        A fitted density, a search over one, or a Pipeline that ends in one.
    X : {array-like, DataFrame} of shape (n_rows, n_features), or list of such
        The data, as the model takes it.
    groups : array-like of shape (n_rows,) or None
        The sequence of each row.

    Returns
    -------
    log_density : ndarray of shape (n_rows,), or list of such
        Nats; a list if X is a list of sequences.

    Examples
    --------
    >>> from sklearn.neighbors import KernelDensity
    >>> from skvae.comparison.cross_validation import row_scores
    >>> row_scores(KernelDensity().fit([[0.0]]), [[0.0], [1.0]], [0, 0]).round(3)
    array([-0.919, -1.419])
    """
    if groups is None:
        return model.score_samples(X)
    if "groups" in signature(model.score_samples).parameters:
        return model.score_samples(X, groups=groups)
    if isinstance(model, Pipeline):
        Xt = model[:-1].transform(X) if len(model) > 1 else X
        return row_scores(model[-1], Xt, groups)
    if hasattr(model, "best_estimator_"):
        return row_scores(model.best_estimator_, X, groups)
    return model.score_samples(X)


def _check_log_likelihood(name, log_likelihood, n_test):
    """Raise unless `log_likelihood` is one number below +inf for each of `n_test` rows."""
    if log_likelihood.shape != (n_test,):
        raise ValueError(
            f"score_samples of models[{name!r}] gave an array of shape {log_likelihood.shape} for "
            f"{n_test} held-out rows; it must give one log-density a row."
        )
    if log_likelihood.dtype.kind not in "fiu":
        raise ValueError(
            f"score_samples of models[{name!r}] gave an array of dtype {log_likelihood.dtype}; a "
            "log-density is a real number."
        )
    n_nan, n_inf = np.isnan(log_likelihood).sum(), np.isposinf(log_likelihood).sum()
    if n_nan or n_inf:
        raise ValueError(
            f"score_samples of models[{name!r}] gave {n_nan} NaN and {n_inf} +inf for {n_test} "
            "held-out rows; a log-density is a number below +inf. A component that has collapsed "
            "onto a point is the usual cause."
        )
