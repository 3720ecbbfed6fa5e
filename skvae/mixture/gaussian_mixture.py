r"""Gaussian mixtures by exact EM.

.. math:: p(x) = \sum_k \pi_k N(x \mid m_k, \Sigma_k), \qquad
          \ln p(x) = \max_q\; E_q[\ln p(z, x)] + H(q),

EM climbs the right-hand side in turn: the E step sets q to the responsibilities, so that it equals
the log-likelihood, and the M step maximises it over (π, m, Σ) (Dempster, Laird & Rubin, J. R. Stat.
Soc. B 39, 1977; Neal & Hinton 1998). Here ``rows`` are the data in blocks, ``kernel`` the
components ready for use, ``pool`` the threads.
"""

import numpy as np
from sklearn.utils import check_random_state

from skvae.ascent.checkpoint import resumable
from skvae.ascent.estimator import EMLearner
from skvae.ascent.loop import Collapse, Step
from skvae.blocks import workers
from skvae.gaussian.checks import check_batch
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.moments import Moments, feature_moments
from skvae.mixture.base import mean_log_likelihood
from skvae.mixture.e_step import expect
from skvae.mixture.fitted import FittedGaussianMixture
from skvae.mixture.initialization import (
    check_initial,
    first_parameters,
)
from skvae.mixture.parameters import Coordinates
from skvae.validation import check_as_fitted, check_choice


class EMStep(Step):
    """The step of EM: ``parameters → (M step of their E step, log-likelihood per unit weight)``.

    Parameters
    ----------
    rows : Rows
        The data.
    floor, resolution : ndarray of shape (n_features,)
        Bounds of the covariances.
    pool : Workers
        The threads.

    Attributes
    ----------
    n_steps : int
        How many E steps with statistics were made.
    """

    def __init__(self, rows, floor, resolution, pool):
        self._rows = rows
        self._weight = rows.weight()
        self._floor = floor
        self._resolution = resolution
        self._pool = pool
        self.n_steps = 0

    def __call__(self, parameters):
        self.n_steps += 1
        statistics, log_likelihood = expect(self._rows, parameters.kernel(), self._pool)
        if not np.isfinite(log_likelihood):
            raise Collapse("the likelihood of some row is not a finite number")
        proposal = parameters.maximize(statistics, self._floor, self._resolution)
        return proposal, log_likelihood / self._weight

    def evaluate(self, parameters):
        """Return the log-likelihood of the parameters, in nats per unit weight."""
        return mean_log_likelihood(self._rows, parameters.kernel(), self._pool)


class EMGaussianMixture(EMLearner, FittedGaussianMixture):
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
        A floor: covariances are kept ⪰ diag(f) with ``f = reg_covar * min(1, variance of the
        feature)``, and f at least 1e-14 of the variance if ``reg_covar`` is not 0. It is the exact
        constrained maximum, so the bound still never falls.
        scikit-learn adds ``reg_covar`` to the diagonal instead.
    max_iter : int, default=100
        The largest number of iterations, each a pass over the data; 0 keeps the start.
    acceleration : {None, 'anderson'}, default=None
        'anderson' extrapolates over past iterations where that is not worse than an EM step; it
        needs far fewer iterations where components overlap.
    n_init : int, default=1
        The number of starts, of which the best is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, default='kmeans'
        How a start is made. All but ``random`` look at no more than 16384 rows (or 128 per
        component), drawn at random, if there are more.
    weights_init : array-like of shape (n_components,), default=None
        First weights.
    means_init : array-like of shape (n_components, n_features), default=None
        First means.
    precisions_init : array-like, default=None
        First precisions, in the shape of ``precisions_``.
    random_state : int, RandomState instance or None, default=None
        Decides the starts, and what :meth:`sample` draws if it is given none.
    warm_start : bool, default=False
        Whether a further ``fit`` goes on from the earlier one, and not from a new start.
    verbose : int, default=0
        0 prints nothing, 1 the bound every ``verbose_interval`` iterations, 2 in each.
    verbose_interval : int, default=10
        See ``verbose``.
    n_jobs : int, default=None
        How many starts run at a time, in threads. They share out the threads that the linear
        algebra library would use; a single run has them all.
    checkpoint : str or os.PathLike, default=None
        A file in which ``fit`` notes every ten seconds how far it is. If it is interrupted or
        killed, the next ``fit`` with the same parameters and data goes on from there, to the same
        answer. The file is removed when the fit ends; fits at one time need a path each.

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
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had names that are all strings.

    See Also
    --------
    sklearn.mixture.GaussianMixture : The same model without weights and missing values.

    Notes
    -----
    NaN in X is a missing value (missing at random): EM is exact then, each row counting by what was
    observed of it. ``sample_weight`` of 2 is the row twice, of 0 the row absent. Ctrl-C ends a fit
    with KeyboardInterrupt, and what was fitted before is kept.

    X may be a ``dask.array.Array``, larger than memory or on a cluster: the client that is active
    does the work, or else threads. Statistics are summed where the chunks are, a task for each, and
    the fit is that of the same rows in memory up to rounding. An iteration reads X once: from the
    workers' memory if it was persisted (``X.persist()``), anew if not. What methods say of its rows
    is a lazy Dask array; ``score`` is a number.

    References
    ----------
    Dempster, Laird & Rubin (1977), J. R. Stat. Soc. B 39. Little & Rubin (2019), Statistical
    Analysis with Missing Data, 3rd ed., section 11.2, for missing values.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import EMGaussianMixture
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, np.nan]])
    >>> mixture = EMGaussianMixture(n_components=2, random_state=0).fit(X)
    >>> mixture.means_.round(2)
    array([[10.,  3.],
           [ 1.,  2.]])
    >>> mixture.predict([[0, 0], [12, 3]])
    array([1, 0])
    """

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
            The fitted mixture. If the fit fails, what was fitted before is kept.

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
        with self._unchanged_on_failure(), resumable(self.checkpoint) as record:
            rows = self._prepare(X, sample_weight, reset=True)
            with workers() as pool:
                moments = self._moments(rows, pool)
                best, collapses = self._best_ascent(rows, moments, pool, record)
            self._store(best.parameters)
            self._record(best)
            self._warn(collapses)
        return self

    def partial_fit(self, X, y=None, sample_weight=None):
        """Return self after one step of stepwise EM on a batch.

        The expected statistics s of a row are averaged over batches,
        ``s ← (1 − ρ) s + ρ s_batch`` with ``ρ = (t + 2) ** -0.7``, where t is the number of
        iterations before (``n_iter_``), and maximised (Cappé & Moulines, J. R. Stat. Soc. B 71,
        2009, eq. 12). The first call starts as ``fit`` does and makes one EM step. ``lower_bound_``
        is that of the batch.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing. The first batch needs at least ``n_components`` of them.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0, relative to each other.

        Returns
        -------
        self : EMGaussianMixture
            The mixture. If the step fails, it is as it was before.

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
        with self._unchanged_on_failure():
            first = not hasattr(self, "weights_")
            rows = self._prepare(X, sample_weight, reset=first)
            rate = 1.0 if first else (self.n_iter_ + 2.0) ** -0.7
            with workers() as pool, self._advising():
                old, floor, resolution = self._before_batch(rows, first, pool)
                statistics, _ = expect(rows, old.kernel(), pool)
                statistics = old.statistics() * (1.0 - rate) + statistics * (rate / rows.weight())
                new = old.maximize(statistics, floor, resolution)
                bound = mean_log_likelihood(rows, new.kernel(), pool)
            self._store(new)
            self._record_batch(bound)
        return self

    def _before_batch(self, rows, first, pool):
        """Return the parameters before a batch and the bounds of covariances."""
        if first:
            moments = self._moments(rows, pool)
            initial = check_initial(self, rows.X.shape[1])
            rng = check_random_state(self.random_state)
            old = first_parameters(rows, self, initial, moments, rng)
        else:
            old = self._same_model(rows, "partial_fit")
            mean, variance = old.moments()
            moments = Moments(mean, variance, np.abs(mean) + np.sqrt(variance))
        return old, moments.floor(self.reg_covar), moments.resolution

    def _moments(self, rows, pool):
        return feature_moments(rows, pool, getattr(self, "feature_names_in_", None))

    def _check_parameters(self):
        self._check_em()
        check_choice("covariance_type", self.covariance_type, tuple(STRUCTURES))

    def _best_ascent(self, rows, moments, pool, record):
        """Return the best Ascent over the starts, and what collapsed on the way."""
        initial = check_initial(self, rows.X.shape[1])
        floor = moments.floor(self.reg_covar)
        weights = rows.sample_weight
        return self._climb(
            pool,
            record,
            self._open(record, rows.X, moments, rows.weight(), sample_weight=weights),
            earlier=lambda why: self._same_model(rows, why),
            first=lambda rng: first_parameters(rows, self, initial, moments, rng),
            make_step=lambda own, _: EMStep(rows, floor, moments.resolution, own),
            coordinates=lambda start: Coordinates(start, moments.scale, floor),
        )

    def _same_model(self, rows, why):
        """Return the fitted parameters, if they are of the model that is asked for now."""
        parameters = self._parameters()
        check_as_fitted("n_components", self.n_components, len(parameters.weights), why)
        check_as_fitted("covariance_type", self.covariance_type, parameters.covariance_type, why)
        mean, variance = parameters.moments()
        check_batch(rows.X, mean, np.sqrt(variance), why)
        return parameters

    def _remedies(self):
        return (
            f"Raise reg_covar (now {self.reg_covar!r}), lower n_components "
            f"(now {self.n_components!r}), or choose a simpler covariance_type "
            f"(now {self.covariance_type!r})"
        )
