r"""A density for each class, and Bayes' rule.

.. math:: p(c \mid x) = \frac{π_c \, p_c(x)}{\sum_d π_d \, p_d(x)}

π_c is the prior probability of class c, and p_c a density that was fitted to its rows. x is a row,
or a sequence of rows, whose log-density is the sum of those of its rows.
"""

import numpy as np
from scipy.special import logsumexp
from sklearn.base import ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import accuracy_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from skvae.blocks.sequences import is_list_of_sequences
from skvae.comparison.cross_validation import row_scores
from skvae.tasks.base import (
    OF_DENSITY,
    DensityTask,
    fitted,
    given,
    offsets_of,
    part_of,
    part_of_params,
    sliceable,
    takes_groups,
)
from skvae.validation import check_stochastic


class DensityClassifier(ClassifierMixin, DensityTask):
    """Classification by one density for each class, and Bayes' rule.

    Rows, or whole sequences, have the class under which they are most probable. A new class needs
    rows of that class alone.

    Parameters
    ----------
    density : estimator
        Any estimator with ``fit`` and ``score_samples``, the log-density of each row: a model of
        the suite or of scikit-learn, a search over its parameters, or a Pipeline that ends in one.
        It is cloned for each class. The transformers of a Pipeline are fitted once, to the rows of
        all classes: log-densities can be compared in one space only.
    priors : array-like of shape (n_classes,), default=None
        The prior probabilities of the classes, in the order of ``classes_``; None takes the
        proportions of the training rows, or of the sequences.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels.
    densities_ : list of estimators
        The fitted density of each class.
    priors_ : ndarray of shape (n_classes,)
        The prior probabilities of the classes.
    n_features_in_ : int
        Number of features, if the densities have it.
    feature_names_in_ : ndarray of str
        Names of the features, if the densities have them.

    See Also
    --------
    sklearn.discriminant_analysis.QuadraticDiscriminantAnalysis : One Gaussian for each class.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import EMGaussianMixture
    >>> from skvae.tasks import DensityClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = DensityClassifier(EMGaussianMixture(2, random_state=0)).fit(X, y)
    >>> classifier.predict(X[:2])
    array([0, 0])
    >>> round(classifier.score(X, y), 2)
    0.99
    """

    __metadata_request__predict = OF_DENSITY
    __metadata_request__predict_proba = OF_DENSITY
    __metadata_request__predict_log_proba = OF_DENSITY
    __metadata_request__decision_function = OF_DENSITY
    __metadata_request__score = {"sample_weight": True, **OF_DENSITY}

    def __init__(self, density, *, priors=None):
        self.density = density
        self.priors = priors

    def fit(self, X, y, sample_weight=None, *, groups=None, **params):
        """Return self after a fit of a density to the rows of each class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows; for a density of sequences also a list of them.
        y : array-like of shape (n_samples,) or (n_sequences,)
            The label of each row; of a list, of each sequence.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, in the densities and in the estimated priors.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density of sequences; None is one sequence. Rows of a
            sequence have one label.
        **params : dict
            More metadata of the density's ``fit``, such as ``sequence_weight``.

        Returns
        -------
        self : DensityClassifier
            The classifier.

        Raises
        ------
        ValueError
            A parameter is not usable, labels differ within a sequence, or the density cannot be
            fitted to the rows of a class; the message names the class.

        Examples
        --------
        >>> from sklearn.neighbors import KernelDensity
        >>> from skvae.tasks import DensityClassifier
        >>> classifier = DensityClassifier(KernelDensity())
        >>> classifier.fit([[0.0], [0.1], [5.0]], ["a", "a", "b"]).predict([[4.0]])
        array(['b'], dtype='<U1')
        """
        self._check_density("score_samples")
        X, params = sliceable(X), given(**params, sample_weight=sample_weight, groups=groups)
        classes, codes = _encoded(y)
        check_consistent_length(X, codes)
        n, n_classes = len(codes), len(classes)
        for name in ("sample_weight", "sequence_weight"):
            if name in params and (shape := np.shape(params[name])) != (n,):
                raise ValueError(
                    f"{name} has shape {shape}: must be ({n},), a weight for each label of y"
                )
        firsts = np.arange(n)
        if takes_groups(self.density) and not is_list_of_sequences(X):
            firsts = _first_rows(X, codes, groups, classes)
        priors = self.priors
        if priors is not None:
            meaning = f"(n_classes,), one for each of {classes.tolist()}"
            priors = check_stochastic("priors", priors, (n_classes,), meaning)
        density, densities = _in_one_space(self.density, X, y, params), []
        for k, label in enumerate(classes.tolist()):
            rows = np.flatnonzero(codes == k)
            part = part_of_params(params, rows, n)
            try:
                densities.append(fitted(density, part_of(X, rows), None, part))
            except ValueError as error:
                raise ValueError(f"the density of the class {label!r}: {error}") from error
        if priors is None:
            weight = params.get("sample_weight", params.get("sequence_weight", np.ones(n)))
            counts = np.bincount(codes[firsts], np.asarray(weight)[firsts], n_classes)
            priors = counts / counts.sum()
        self.classes_, self.densities_, self.priors_ = classes, densities, priors
        self._set_features(densities[0])
        return self

    def predict_log_proba(self, X, *, groups=None):
        """Return the log posterior probability of each class, for each row or sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows, or sequences of rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density of sequences; None is one sequence.

        Returns
        -------
        log_proba : ndarray of shape (n_samples, n_classes) or (n_sequences, n_classes)
            Of rows of one sequence, equal; of a list, one for each sequence. They are the
            logarithms of the priors where no class has a positive density.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityClassifier
        >>> X, y = [[-1.0], [1.0], [3.0], [5.0]], [0, 0, 1, 1]
        >>> classifier = DensityClassifier(EMGaussianMixture(1)).fit(X, y)
        >>> classifier.predict_log_proba([[1.0]]).round(3)
        array([[-0.018, -4.018]])
        """
        check_is_fitted(self)
        with np.errstate(divide="ignore"):
            log_priors = np.log(self.priors_)
        columns = [_unit_scores(density, X, groups) for density in self.densities_]
        joint = np.stack(columns, axis=1) + log_priors
        joint[np.isneginf(joint).all(axis=1)] = log_priors
        return joint - logsumexp(joint, axis=1, keepdims=True)

    def predict_proba(self, X, *, groups=None):
        """Return the posterior probability of each class, for each row or sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows, or sequences of rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density of sequences; None is one sequence.

        Returns
        -------
        proba : ndarray of shape (n_samples, n_classes) or (n_sequences, n_classes)
            Of rows of one sequence, equal; of a list, one for each sequence.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityClassifier
        >>> X, y = [[-1.0], [1.0], [3.0], [5.0]], [0, 0, 1, 1]
        >>> classifier = DensityClassifier(EMGaussianMixture(1)).fit(X, y)
        >>> classifier.predict_proba([[1.0], [2.0]]).round(3)
        array([[0.982, 0.018],
               [0.5  , 0.5  ]])
        """
        return np.exp(self.predict_log_proba(X, groups=groups))

    def decision_function(self, X, *, groups=None):
        """Return log-odds of the second class of two, or log posterior probabilities of more.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows, or sequences of rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density of sequences; None is one sequence.

        Returns
        -------
        decision : ndarray of shape (n_samples,) or (n_samples, n_classes)
            The largest column is the prediction; of two classes, the second where it is positive.
            Of a list, one for each sequence.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityClassifier
        >>> X, y = [[-1.0], [1.0], [3.0], [5.0]], [0, 0, 1, 1]
        >>> classifier = DensityClassifier(EMGaussianMixture(1)).fit(X, y)
        >>> classifier.decision_function([[1.0], [3.0]]).round(3)
        array([-4.,  4.])
        """
        log_proba = self.predict_log_proba(X, groups=groups)
        return log_proba[:, 1] - log_proba[:, 0] if len(self.classes_) == 2 else log_proba

    def predict(self, X, *, groups=None):
        """Return the most probable class of each row or sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows, or sequences of rows.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density of sequences; None is one sequence.

        Returns
        -------
        labels : ndarray of shape (n_samples,) or (n_sequences,)
            Rows of one sequence have one label; of a list, there is one for each sequence.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityClassifier
        >>> X, y = [[-1.0], [1.0], [3.0], [5.0]], ["low", "low", "high", "high"]
        >>> DensityClassifier(EMGaussianMixture(1)).fit(X, y).predict([[1.0], [3.0]])
        array(['low', 'high'], dtype='<U4')
        """
        log_proba = self.predict_log_proba(X, groups=groups)
        return self.classes_[log_proba.argmax(axis=1)]

    def score(self, X, y, sample_weight=None, *, groups=None):
        """Return the proportion of correct labels, of rows or of the sequences of a list.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows, or sequences of rows.
        y : array-like of shape (n_samples,) or (n_sequences,)
            The true labels.
        sample_weight : array-like of shape (n_samples,) or (n_sequences,), default=None
            Weights of the labels.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a density of sequences; None is one sequence.

        Returns
        -------
        accuracy : float
            Between 0 and 1; of rows in ``groups`` it counts rows.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.tasks import DensityClassifier
        >>> X, y = [[-1.0], [1.0], [3.0], [5.0]], [0, 0, 1, 1]
        >>> DensityClassifier(EMGaussianMixture(1)).fit(X, y).score([[0.0], [1.0]], [0, 1])
        0.5
        """
        return accuracy_score(y, self.predict(X, groups=groups), sample_weight=sample_weight)


def _encoded(y):
    """Return the labels of the classes, and the class of each row or sequence."""
    if y is None:
        raise ValueError(
            "DensityClassifier requires y to be passed, but the target y is None: pass a label for "
            "each row"
        )
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    check_classification_targets(y)
    if not len(y):
        raise ValueError("y has no labels: must have one for each row")
    encoder = LabelEncoder()
    codes = encoder.fit_transform(y)
    return encoder.classes_, codes


def _first_rows(X, codes, groups, classes):
    """Return the first row of each sequence.

    Raises
    ------
    ValueError
        Labels differ within a sequence.
    """
    offsets = offsets_of(X, groups)
    first = np.repeat(codes[offsets[:-1]], np.diff(offsets))
    if (codes != first).any():
        row = int(np.argmax(codes != first))
        labels = classes.tolist()
        raise ValueError(
            f"y is {labels[codes[row]]!r} in row {row} and {labels[first[row]]!r} where its "
            "sequence begins: must be one label within a sequence; pass groups, the sequence of "
            "each row, or a list of sequences"
        )
    return offsets[:-1]


def _in_one_space(density, X, y, params):
    """Return the density; a Pipeline has its transformers fitted to all rows, and frozen.

    Otherwise a class would be scored in the space of transformers that are fitted to its rows.
    """
    if not isinstance(density, Pipeline) or len(density) < 2:
        return density
    before = density[:-1]
    requested = get_routing_for_object(before).consumes("fit", params)
    before = fitted(before, X, y, {name: params[name] for name in requested})
    steps = [
        (name, step if step in (None, "passthrough") else FrozenEstimator(step))
        for name, step in before.steps
    ]
    return clone(density).set_params(steps=[*steps, (density.steps[-1][0], density.steps[-1][1])])


def _unit_scores(density, X, groups):
    """Return the log-density of each row or sequence; rows of one sequence have that of it."""
    scores = row_scores(density, X, groups)
    if isinstance(scores, list):
        return np.array([some.sum(dtype=np.float64) for some in scores])
    scores = np.asarray(scores, dtype=np.float64)
    if not takes_groups(density):
        return scores
    offsets = offsets_of(X, groups)
    return np.repeat(np.add.reduceat(scores, offsets[:-1]), np.diff(offsets))
