r"""Gaussian mixtures by exact EM.

.. math:: p(x) = \sum_k \pi_k N(x \mid m_k, \Sigma_k), \qquad
          \ln p(x) = \max_q\; E_q[\ln p(z, x)] + H(q),

EM maximises the right-hand side in turn over q and over the parameters. The E step sets q to the
responsibilities, which makes the right-hand side equal to the log-likelihood. The M step maximises
it over (π, m, Σ) (Dempster, Laird & Rubin, J. R. Stat. Soc. B 39, 1977; Neal & Hinton 1998). In the
code ``rows`` are the data in blocks, ``kernel`` computes the components' densities, ``pool`` holds
the threads.
"""

import inspect
from copy import copy, deepcopy
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skvae.ascent.checkpoint import data_of
from skvae.ascent.estimator import AscentEstimator, text_of_empty, text_of_floor
from skvae.ascent.restarts import search
from skvae.blocks import DistributedRows, is_distributed, workers
from skvae.columns import index_of
from skvae.fitted import FittedArray, new_instance
from skvae.fixed import check_fixed, check_order, fixed_in_order, no_value_to_keep
from skvae.gaussian.checks import (
    check_batch,
    check_positive_definite,
    check_weights,
    on_floor,
)
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.moments import LARGEST, Moments
from skvae.mixture.base import MixtureModel, drawn, total_weight
from skvae.mixture.e_step import expect, fill_rows, normalize
from skvae.mixture.em import MixtureProblem
from skvae.mixture.parameters import MixtureParameters, refused_if_singular
from skvae.mixture.span import SpanParameters
from skvae.validation import check_array_parameter, check_as_fitted, check_choice, check_number


class EMGaussianMixture(AscentEstimator, MixtureModel):
    """Gaussian mixture fitted by exact EM: density, clusters, samples, imputation.

    A drop-in for :class:`sklearn.mixture.GaussianMixture`, faster on large data, that takes sample
    weights and missing values, and whose bound is the log-likelihood of the parameters it stores.

    Parameters
    ----------
    n_components : int, default=1
        The number of components.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        The form of the covariances: a matrix for each component, one matrix for all, a variance per
        feature and component, or a variance per component.
    tol : float, default=1e-3
        The fit has converged when an iteration changes the bound, in nats per row, by less than
        this.
    reg_covar : float, default=1e-6
        A floor, relative to each feature: covariances are kept ⪰ diag(f) with ``f = reg_covar *
        variance of the feature``. A constant feature counts with the mean variance of the others,
        or with 1 if all are constant, and values between 0 and 1e-14 count as 1e-14. It is the
        exact constrained maximum, so the bound still never falls.
        scikit-learn adds ``reg_covar`` to the diagonal instead.
    max_iter : int, default=100
        The largest number of iterations, each a pass over the data; 0 keeps the start.
    acceleration : {None, 'anderson'}, default=None
        'anderson' extrapolates over past iterations where that is not worse than an EM step; it
        needs far fewer iterations where components overlap.
    n_init : int, default=1
        The number of starts; the best one is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, array-like or callable, \
default='kmeans'
        How a start is made. All but ``random`` look at no more than 16384 rows (or 128 per
        component), drawn at random, if there are more. A start can also be given: one label for
        each row of X, or -1 for none; responsibilities of shape (n_samples, n_components); or a
        callable ``(X, n_components, random_state)`` that returns one of these, and is called with
        the rows of each fit, as in a search.
    weights_init : array-like of shape (n_components,), default=None
        First weights.
    means_init : array-like of shape (n_components, n_features), default=None
        First means.
    precisions_init : array-like, default=None
        First precisions, in the shape of ``precisions_``.
    fixed : str, sequence of str, or dict, default=()
        Parameters that keep their initial values while the others are learned: names among
        'weights', 'means' and 'covariances', or a dict from names to lists of components, such as
        ``{'means': [0, 2]}``. They need initial values, or an earlier fit that continues.
        Covariances are learned about fixed means, and free weights share the rest. ``bic`` and
        ``aic`` do not count fixed parameters, and ``reg_covar`` does not raise fixed covariances.
    random_state : int, RandomState instance or None, default=None
        Source of the starts, and of the draws of :meth:`sample` without its own ``random_state``.
    warm_start : bool, default=False
        Whether a further ``fit`` continues the earlier one instead of starting anew.
    verbose : int, default=0
        0 prints nothing, 1 shows a progress bar with the current bound, 2 prints the bound of each
        iteration.
    verbose_interval : int, default=10
        The number of iterations after which the progress bar shows the current bound.
    n_jobs : int, default=None
        How many starts run at a time, in threads. They share out the threads that the linear
        algebra library would use; a single run has them all.
    checkpoint : str or os.PathLike, default=None
        A file to which ``fit`` writes its progress every ten seconds. If it is interrupted or
        killed, the next ``fit`` with the same parameters and data continues from the file and gets
        the same result. The file is removed when the fit ends. Fits that run at the same time need
        different paths.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        The weights of the components.
    means_ : ndarray of shape (n_components, n_features)
        Their means.
    covariances_ : ndarray
        Their covariances: (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical.
    precisions_ : ndarray
        The inverses of the covariances, in the same shape.
    precisions_cholesky_ : ndarray
        Factors U of the precisions, ``precision = U @ U.T``, in the same shape.
    lower_bound_ : float
        The log-likelihood of the stored parameters, in nats per row: ``score`` of the data.
    lower_bounds_ : list of float
        The same after each iteration; it never falls.
    n_iter_ : int
        The number of iterations of the best run.
    n_e_steps_ : int
        The number of E steps it took: more than ``n_iter_`` with acceleration.
    converged_ : bool
        Whether a change below ``tol`` ended it.
    n_samples_seen_ : float
        The total weight of the rows that the parameters were learned from: in ``fit`` and, after
        it, in every ``partial_fit``.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had names that are all strings.

    See Also
    --------
    sklearn.mixture.GaussianMixture : The same model without weights and missing values.

    Notes
    -----
    NaN in X is a missing value (missing at random). EM is exact for it: each row contributes its
    observed values. A ``sample_weight`` of 2 is equivalent to the row twice, of 0 to no row. Ctrl-C
    ends a fit with KeyboardInterrupt, and the earlier fit is kept.

    X may be a ``dask.array.Array``, larger than memory or on a cluster. The active client does the
    work; without a client, threads do. Each chunk is one task, which sums its statistics, and
    the fit is that of the same rows in memory up to rounding. An iteration reads X once: from the
    workers' memory if it was persisted (``X.persist()``), otherwise anew. Methods that return one
    result a row return a lazy Dask array; ``score`` is a number.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39. Little & Rubin (2019), Statistical
    Analysis with Missing Data, 3rd ed., section 11.2, for missing values.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import EMGaussianMixture
    >>> X = np.array([[1, 2], [2, 4], [0, 3], [1, 3], [10, 2], [11, 4], [12, 3], [11, np.nan]])
    >>> mixture = EMGaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.means_.round(2)
    array([[11.,  3.],
           [ 1.,  3.]])
    >>> mixture.predict([[0, 0], [12, 3]])
    array([1, 0])
    """

    weights_ = FittedArray()
    means_ = FittedArray()
    covariances_ = FittedArray(tied=True)
    precisions_ = FittedArray(tied=True)
    precisions_cholesky_ = FittedArray(tied=True)

    _of_the_start = ("n_init", "init_params", "weights_init", "means_init", "precisions_init")
    _fixed = None  # masks of the parameters that were fixed in the last fit
    fixed = ()  # models of earlier versions have none

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        tol=1e-3,
        reg_covar=1e-6,
        max_iter=100,
        acceleration=None,
        n_init=1,
        init_params="kmeans",
        weights_init=None,
        means_init=None,
        precisions_init=None,
        fixed=(),
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        n_jobs=None,
        checkpoint=None,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.acceleration = acceleration
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.fixed = fixed
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    # Learning ---------------------------------------------------------------------------------

    def fit(self, X, y=None, sample_weight=None):
        """Return self, fitted by EM from ``n_init`` starts.

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
        self : EMGaussianMixture
            The fitted mixture. If the fit fails, the earlier fit is kept.

        Raises
        ------
        ValueError
            A parameter or X is not usable, components collapsed from every start, or
            ``checkpoint`` is a file of another fit or cannot be written.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.datasets import load_geyser
        >>> mixture = EMGaussianMixture(2, random_state=0).fit(load_geyser().data)
        >>> mixture.converged_
        True
        """
        with self._learning(" from every start", resumes=True) as checkpoint:
            # Another value than True or False is an error of _prepare.
            warm = isinstance(self.warm_start, bool | np.bool_) and self.warm_start
            warm = warm and hasattr(self, "converged_")
            rows = self._prepare(X, sample_weight, reset=not warm)
            fixed = (
                None
                if isinstance(self.fixed, tuple) and not self.fixed
                else _fixed_in(self, continued=warm)
            )
            with workers() as pool:
                earlier, objective, random_state = None, None, self.random_state
                if warm:
                    earlier = self._same_model(rows, "warm_start=True")
                problem = MixtureProblem(self, rows, pool, fixed)
                data = partial(
                    data_of,
                    rows.X,
                    problem.moments,
                    rows.weight(),
                    sample_weight=rows.sample_weight,
                )
                if self.warm_start:
                    objective = self._objective_of(data)
                if warm:
                    problem.earlier = self._earlier_fit(earlier, objective)
                if checkpoint is not None:
                    random_state = self._open(checkpoint, problem.earlier, data)
                best, collapses = search(problem, self, random_state, pool, checkpoint)
            parameters = best.parameters
            if isinstance(parameters, SpanParameters):
                parameters = parameters.computed()
            self._store(parameters)
            self._fixed = fixed
            notes = []
            if problem.n_empty:
                given = not isinstance(self.init_params, str)
                reason = {"why": "init_params gives them none"} if given else {}
                empty = "components", problem.n_empty, self.n_components
                notes.append(text_of_empty(*empty, **reason))
            found = on_floor(
                self.covariance_type,
                parameters.covariances,
                parameters.precisions_cholesky,
                self.n_components,
                problem.floor,
                problem.moments,
            )
            if len(found):
                notes.append(text_of_floor(found, "component", f"reg_covar={self.reg_covar!r}"))
            self._record(best, collapses, objective, notes)
            self._remember_fit(total_weight(rows, sample_weight), warm=warm)
        return self

    def partial_fit(self, X, y=None, sample_weight=None):
        """Return self after one step of stepwise EM on a batch.

        The expected statistics s of a row are averaged over batches,
        ``s ← (1 − ρ) s + ρ s_batch``, and maximised (Cappé & Moulines, J. R. Stat. Soc. B 71, 2009,
        eq. 12). A batch counts by its rows: ρ is its weight w over w plus the weight of the rows
        before, in which rows of ``fit`` count in full and rows of earlier batches count a third, as
        their statistics are of poorer parameters. After ``from_parameters``, no number of rows is
        known and ρ is 0.6. The first call starts like ``fit`` and makes one EM step.
        ``lower_bound_`` is the bound of the batch. Parameters that control the iterations of
        ``fit``, such as ``tol``, have no effect.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing. The first batch needs at least ``n_components`` of them.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0, relative to those of all rows before.

        Returns
        -------
        self : EMGaussianMixture
            The mixture; unchanged if the step fails.

        Raises
        ------
        ValueError
            A parameter or X is not usable, or a component collapsed.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import EMGaussianMixture
        >>> rng = np.random.default_rng(0)
        >>> mixture = EMGaussianMixture(2, random_state=0)
        >>> for _ in range(50):
        ...     labels = rng.integers(2, size=100)
        ...     mixture = mixture.partial_fit(10.0 * labels[:, None] + rng.normal(size=(100, 1)))
        >>> np.sort(mixture.means_, axis=0).round(0)
        array([[ 0.],
               [10.]])
        """
        with self._learning():
            first = not hasattr(self, "weights_")
            rows = self._prepare(X, sample_weight, reset=first, min_rows=2 if first else 1)
            weight = total_weight(rows, sample_weight)
            before = 0.0 if first else self._weight_before(weight)
            rate = weight / (before + weight)
            fixed = (
                None
                if isinstance(self.fixed, tuple) and not self.fixed
                else _fixed_in(self, continued=not first)
            )
            with workers() as pool:
                old, floor, resolution = self._before_batch(rows, first, pool)
                statistics, _ = expect(rows, old.kernel(), pool)
                statistics = old.statistics() * (1.0 - rate) + statistics * (rate / rows.weight())
                if fixed is None:
                    new = old.maximize(statistics, floor, resolution)
                else:
                    new = old.maximize_fixed(statistics, floor, resolution, fixed)
                _, log_likelihood = expect(rows, new.kernel(), pool, statistics=False)
            self._store(new)
            self._fixed = fixed
            if first:
                self._remember_fit(0.0)
            self._record_batch(log_likelihood / rows.weight())
            self._remember_batch(weight, before)
        return self

    def _before_batch(self, rows, first, pool):
        """Return the parameters before a batch and the bounds of covariances."""
        if first:
            problem = MixtureProblem(self, rows, pool)
            moments, old = problem.moments, problem.first(check_random_state(self.random_state))
        else:
            old = self._same_model(rows, "partial_fit")
            mean, variance = old.moments()
            moments = Moments.of(mean, variance, np.abs(mean) + np.sqrt(variance))
        return old, moments.floor(self.reg_covar), moments.resolution

    def _same_model(self, rows, why):
        """Return the fitted parameters; raise ValueError unless model and rows go with them."""
        parameters = self._parameters()
        check_as_fitted("n_components", self.n_components, len(parameters.weights), why)
        check_as_fitted("covariance_type", self.covariance_type, parameters.covariance_type, why)
        self._check_start_as_before(why)
        mean, variance = parameters.moments()
        check_batch(rows.X, mean, np.sqrt(variance), why)
        return parameters

    def _remedies(self):
        return (
            f"Raise reg_covar (now {self.reg_covar!r}), lower n_components "
            f"(now {self.n_components!r}), or choose a simpler covariance_type "
            f"(now {self.covariance_type!r})"
        )

    # The parameters as a value --------------------------------------------------------------------

    def _parameters(self):
        """Return the fitted parameters as a value."""
        fitted = vars(self)
        return MixtureParameters(
            self._covariance_type,
            fitted["weights_"],
            fitted["means_"],
            fitted["covariances_"],
            fitted["precisions_cholesky_"],
        )

    def _store(self, parameters):
        structure = STRUCTURES[parameters.covariance_type]
        vars(self).update(
            weights_=parameters.weights,
            means_=parameters.means,
            covariances_=parameters.covariances,
            precisions_=structure.precisions(parameters.precisions_cholesky),
            precisions_cholesky_=parameters.precisions_cholesky,
        )
        self._covariance_type = parameters.covariance_type
        self._n_features_out = len(parameters.weights)

    def _set_fitted(self, name, value):
        """Replace one of the fitted arrays, and compute those that follow from it."""
        self._store(self._parameters().replaced(name, value))

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
            As if fitted: ``lower_bound_`` is NaN, ``n_iter_`` and ``n_samples_seen_`` are 0.

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
        means = check_array_parameter(
            "means", means, None, "(n_components, n_features)", largest=LARGEST
        )
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
        with refused_if_singular("covariances"):
            return cls._of(MixtureParameters.of(covariance_type, weights, means, covariances))

    @classmethod
    def _of(cls, parameters, **like):
        """Return a fitted mixture with parameters that are known to be good."""
        settings = {"n_components": len(parameters.weights), **like}
        mixture = new_instance(cls, covariance_type=parameters.covariance_type, **settings)
        mixture._store(MixtureParameters(*(copy(part) for part in parameters)))
        mixture.n_features_in_ = parameters.means.shape[1]
        mixture.lower_bound_ = np.nan
        mixture.lower_bounds_ = []
        mixture.n_iter_ = mixture.n_e_steps_ = 0
        mixture.converged_ = True
        mixture._remember_fit(0.0)
        return mixture

    # Other distributions ------------------------------------------------------------------------

    def impute(self, X, *, draw=False, random_state=None):
        """Return X with missing values replaced by their conditional expectation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        draw : bool, default=False
            Whether missing values are drawn from p(missing | observed) instead, together for each
            row, of rows in memory. Several calls, each with another ``random_state``, are multiple
            imputation.
        random_state : int, RandomState instance or None, default=None
            The source of the draws; None is the estimator's own ``random_state``.

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
        >>> drawn = mixture.impute([[1.0, float("nan")]] * 1000, draw=True, random_state=0)
        >>> drawn.std(axis=0).round(1)
        array([0. , 1.2])
        """
        check_choice("draw", draw, (True, False))
        if not draw:
            return super().impute(X)
        check_is_fitted(self)
        rows = self._validate_for_rows(X)
        if is_distributed(rows):
            raise ValueError("X is a Dask array: draw=True needs rows in memory, as X.compute()")
        rng = self._generator_of(random_state)
        return self._as_set(drawn(rows, self._parameters(), rng), index_of(X))

    def marginal(self, features):
        """Return the mixture of a subset of the features, fitted.

        Parameters
        ----------
        features : array-like of int or str
            The features, in the order of the new mixture: indices, or names if X had names.

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
        mixture = self._with_features(self._parameters().marginal(index), index)
        mixture.n_samples_seen_ = getattr(self, "n_samples_seen_", 0.0)
        mixture._forgotten = self._forgotten
        return mixture

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
            The mixture of the other features, in their order. Its weights are the responsibilities
            given the values (Bishop, Pattern Recognition and Machine Learning, eq. 2.81-2.82).

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
        try:
            given = np.atleast_1d(np.asarray(features))
        except (RuntimeError, TypeError, ValueError):  # ragged, or no array
            given = np.empty((0, 0))
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
            n_features = self.n_features_in_
            if (given < -n_features).any() or (given >= n_features).any():
                raise ValueError(f"features={features!r}: indices must be below {n_features}")
            index = given.astype(np.intp) % n_features  # large ones would become negative
        else:
            raise ValueError(f"features={features!r}: must be indices or names")
        if len(np.unique(index)) < len(index):
            raise ValueError(f"features={features!r}: must be distinct")
        return index

    def _with_features(self, parameters, index):
        ours = inspect.signature(EMGaussianMixture).parameters
        of_subclass = {n: v for n, v in self.get_params(deep=False).items() if n not in ours}
        mixture = self._of(parameters, random_state=self.random_state, **of_subclass)
        mixture._fixed = self._fixed
        return mixture._with_columns_of(self, index)

    def relabel(self, order):
        """Return a mixture whose component i is component ``order[i]`` of this one.

        The components of an EM fit have no order of their own. Everything else is unchanged.
        Constructor parameters with an entry for each component, such as ``means_init``, are in the
        new order too.

        Parameters
        ----------
        order : array-like of int, shape (n_components,)
            A permutation of the components.

        Returns
        -------
        mixture : EMGaussianMixture
            A new mixture; this one does not change.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import EMGaussianMixture
        >>> mixture = EMGaussianMixture.from_parameters(
        ...     [0.9, 0.1], [[4.0], [0.0]], [1.0, 2.0], "spherical"
        ... )
        >>> mixture.relabel(np.argsort(mixture.means_[:, 0])).weights_
        array([0.1, 0.9])
        """
        self._check_fitted()
        order = check_order(order, len(self.weights_), "component")
        mixture = deepcopy(self)
        mixture._store(self._parameters().reordered(order))
        tied = self.covariance_type == "tied"
        for name in ("weights_init", "means_init", *(() if tied else ("precisions_init",))):
            value = getattr(self, name)
            if value is not None:
                reordered = np.asarray(value)[order]
                setattr(mixture, name, reordered)
                if name in (mixture._started_from or {}):  # a warm start compares them
                    mixture._started_from[name] = reordered
        mixture._start_in_order(order)
        mixture.fixed = fixed_in_order(self.fixed, order)
        if self._fixed is not None:
            mixture._fixed = {name: mask[order] for name, mask in self._fixed.items()}
        return mixture

    # Draws --------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the model, and the component that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : {ndarray, DataFrame} of shape (n_samples, n_features)
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
        X, labels = self._parameters().sample(n_samples, self._generator_of(random_state))
        return self._as_set(X), labels

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
        return self._bic(self._rows(X, sample_weight))

    def _bic(self, rows):
        n_parameters = self._parameters().n_parameters(self._fixed)
        return float(-2 * self._log_likelihood(rows) + n_parameters * np.log(rows.weight()))

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
        log_likelihood = self._log_likelihood(self._rows(X, sample_weight))
        return -2 * log_likelihood + 2 * self._parameters().n_parameters(self._fixed)

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
        rows = self._rows(X, sample_weight)
        with workers() as pool:
            kernel = self._parameters().kernel()
            if isinstance(rows, DistributedRows):
                entropy = rows.sum(_entropy, pool, kernel)[0]
            else:
                entropy = _entropy(rows, pool, kernel)[0]
        return self._bic(rows) + 2 * entropy


def _fixed_in(mixture, *, continued):
    """Return the masks of the fixed parameters of a fit or a batch, or None."""
    shared = ("covariances",) if mixture.covariance_type == "tied" else ()
    names = {"weights": "weights_init", "means": "means_init", "covariances": "precisions_init"}
    fixed = check_fixed(mixture.fixed, tuple(names), int(mixture.n_components), shared, "component")
    for name in fixed or ():
        if not continued and getattr(mixture, names[name]) is None:
            raise no_value_to_keep(name, names[name])
    return fixed


def _entropy(rows, pool, kernel):
    """Return a tuple of one sum: the weighted entropies of the responsibilities, in nats."""
    entropies, weight = np.zeros(len(rows.X)), rows.sample_weight
    fill_rows(rows, kernel, pool, entropies, _row_entropies)
    return (float(entropies.sum() if weight is None else entropies @ weight),)


def _row_entropies(log_joint, _block):
    normalize(log_joint)
    logs = np.log(log_joint, out=np.zeros_like(log_joint), where=log_joint > 0)
    return -np.einsum("kn,kn->n", log_joint, logs)
