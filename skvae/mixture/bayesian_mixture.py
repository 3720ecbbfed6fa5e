r"""Bayesian Gaussian mixtures by variational inference: online, batch and memoized.

.. math:: \pi \sim \mathrm{Dirichlet\ or\ sticks}, \quad (\mu_k, \Lambda_k) \sim
          \mathrm{Normal\text{-}Wishart}, \quad x \mid z = k \sim N(\mu_k, \Lambda_k^{-1}),
          \qquad \ln p(X) \ge \mathrm{ELBO}(q),

with :math:`q(\pi) \prod_k q(\mu_k, \Lambda_k) \prod_n q(z_n)` (Attias, NIPS 1999; Blei & Jordan,
Bayesian Anal. 1, 2006). In the code ``posterior`` is q(π, μ, Λ), and the steps of
:mod:`skvae.mixture.bayesian.steps` maximise its bound.
"""

import warnings
from copy import deepcopy
from functools import partial
from numbers import Integral, Real
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skvae.ascent.checkpoint import data_of
from skvae.ascent.estimator import AscentEstimator
from skvae.ascent.loop import ascend
from skvae.ascent.restarts import search
from skvae.blocks import DistributedRows, workers
from skvae.fitted import FittedArray
from skvae.fixed import check_order
from skvae.gaussian.checks import check_batch
from skvae.gaussian.conjugate import NormalWishart
from skvae.mixture.base import MixtureModel
from skvae.mixture.bayesian.linear_response import Inflation, NoMaximum, respond
from skvae.mixture.bayesian.moves import MOVES
from skvae.mixture.bayesian.posterior import MixturePosterior, MixturePrior
from skvae.mixture.bayesian.problem import BayesianProblem
from skvae.mixture.bayesian.steps import StreamStep, mixed
from skvae.mixture.bayesian.weights import WEIGHTS
from skvae.mixture.e_step import expect
from skvae.mixture.gaussian_mixture import EMGaussianMixture
from skvae.validation import check_array_parameter, check_as_fitted, check_choice, check_number

LEARNING_METHODS = ("memoized", "batch", "online")
_PRIORS = (
    "weight_concentration_prior",
    "mean_precision_prior",
    "mean_prior",
    "degrees_of_freedom_prior",
    "covariance_prior",
)
_LARGEST_WEIGHT = 1e18
_FAR = 0.1  # standard deviations


class CredibleInterval(NamedTuple):
    """Equal-tailed credible intervals, each a pair of arrays (lower, upper).

    Parameters
    ----------
    weights : tuple of two ndarrays of shape (n_components,)
        Intervals of the weights.
    means : tuple of two ndarrays of shape (n_components, n_features)
        Intervals of the means.
    covariances : tuple of two ndarrays
        Intervals of the variances: shape (K, D) full and diag, (D,) tied, (K,) spherical.
    """

    weights: tuple
    means: tuple
    covariances: tuple


class BayesianMixtureSVI(AscentEstimator, MixtureModel):
    """Bayesian Gaussian mixture by stochastic, memoized or batch variational inference.

    The fit finds how many components the data use; ``n_components`` is the largest number.

    Parameters
    ----------
    n_components : int, default=1
        The largest number of components, of which ``moves`` may leave fewer; with the move 'birth'
        the number to start from. Fitted arrays have the components that are left.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        The form of the covariances: a matrix for each component, one matrix for all, a variance per
        feature and component, or a variance per component.
    weight_concentration_prior_type : {'dirichlet_process', 'dirichlet_distribution'}, \
default='dirichlet_process'
        The kind of weights.
    weight_concentration_prior : float, default=None
        Concentration of the weights, γ of the process, > 0: smaller uses fewer components. None is
        ``1 / n_components``.
    mean_precision_prior : float, default=None
        How many rows the prior of the means is worth, β₀ > 0. None is 0.1.
    mean_prior : array-like of shape (n_features,), default=None
        Prior expectation of the means, m₀. None is the mean of the data.
    degrees_of_freedom_prior : float, default=None
        Degrees of freedom of the precisions, ν₀ > 0, and > n_features − 1 for 'full' and 'tied'.
        None is ``n_features`` for 'full' and 'tied', and 1 for 'diag' and 'spherical'.
    covariance_prior : array-like, default=None
        Scale S₀, so that a priori E[Λ] = ν₀ S₀⁻¹: (D, D) for 'full' and 'tied', (D,) for 'diag', a
        float for 'spherical'. None is the covariance of the data divided by ``10 ** (2 / D)``, as
        if ten clusters filled its volume; so the fit does not depend on units. For 'full' and
        'tied', 1e-6 of each variance is added to its diagonal before, so that collinear features
        have a default too. A constant feature has the average variance of the others.
    learning_method : {'memoized', 'batch', 'online'}, default='memoized'
        'memoized' keeps the statistics of blocks of rows and updates after each block: exact,
        monotone, fast, without a learning rate. 'batch' is plain coordinate ascent. 'online' uses
        minibatches with a decreasing rate; it is for data so large that there is time for one or
        two passes only.
    learning_decay : float, default=0.7
        Exponent κ of the rate (t + τ)^−κ of 'online' and ``partial_fit``, in (0.5, 1].
    learning_offset : float, default=10.0
        Delay τ ≥ 1 of the same rate.
    batch_size : int, default=None
        Rows of a minibatch (None: 1024) or of a memoized block (None: a sixteenth of the data, and
        at least 8192).
    total_samples : float, default=None
        For ``partial_fit``: the number of rows that the stream represents. None: the posterior
        after a batch is the prior of the next.
    moves : 'auto' or tuple of {'merge', 'delete', 'birth'}, default='auto'
        Moves between numbers of components, for 'memoized', accepted only if the whole bound rises.
        Without moves, ``()``, superfluous components empty slowly, long after a pass changes the
        bound by less than ``tol``. 'auto' deletes them from the best fit once it has converged,
        and continues the ascent after each, so that the bound is at least that without moves.
        Each of these ascents may have ``max_iter`` iterations; ``n_iter_`` counts all. For
        'batch', 'online' and :meth:`partial_fit` it is ``()``. The moves of a tuple are tried after
        each lap. In both cases components with less than 0.01 of a row are removed, which changes
        the bound by less than 0.01 nats each.
    tol : float, default=1e-3
        The fit has converged when an iteration changes the bound, in nats per row, by less than
        this.
    max_iter : int, default=100
        The largest number of iterations, each a pass over the data; 0 keeps the start.
    n_init : int, default=1
        The number of starts; the best one is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, array-like or callable, \
default='kmeans'
        How a start is made. All but ``random`` look at no more than 16384 rows (or 128 per
        component), drawn at random, if there are more. A start can also be given: one label for
        each row of X, or -1 for none; responsibilities of shape (n_samples, n_components); or a
        callable ``(X, n_components, random_state)`` that returns one of these, and is called with
        the rows of each fit, as in a search.
    random_state : int, RandomState instance or None, default=None
        Source of the starts, minibatches and moves, and of the draws of :meth:`sample` without its
        own ``random_state``.
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
        E[π]; for a process they sum to one minus the share of new components.
    means_ : ndarray of shape (n_components, n_features)
        E[μ].
    covariances_ : ndarray
        E[Λ]⁻¹: (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical.
    precisions_ : ndarray
        E[Λ], in the same shape.
    precisions_cholesky_ : ndarray
        Factors U of the precisions, ``precision = U @ U.T``, in the same shape.
    weight_concentration_ : ndarray of shape (n_components,), or tuple of two
        The concentrations of the Dirichlet distribution, or both parameters of the sticks' Beta
        distributions.
    mean_precision_ : ndarray of shape (n_components,)
        β of the posterior of the means.
    degrees_of_freedom_ : ndarray of shape (n_components,), or () for 'tied'
        ν of the posterior of the precisions.
    weight_concentration_prior_, mean_precision_prior_, mean_prior_, degrees_of_freedom_prior_, \
covariance_prior_ : float or ndarray
        The prior that was used.
    n_effective_components_ : int
        The number of components with the weight of at least one row: the responsibilities of all
        rows add up to 1 at least, whether by ``fit`` or by batches. The labels of :meth:`predict`
        are another count, which may be larger or smaller: a component with less than one row in
        all may still be the most probable one of a row, and a component with a minor share of
        many rows is the label of none.
    elbo_ : float
        The evidence lower bound of the stored posterior, in nats, with every constant: it compares
        ``n_components``, priors and covariance types.
    lower_bound_ : float
        The same in nats per row.
    lower_bounds_ : list of float
        The bound after each pass. The last value belongs to the stored posterior. The earlier
        values are estimates from minibatches for 'online', and bounds with the stored q(z) for
        'memoized'.
    n_iter_ : int
        The number of iterations of the best run.
    n_e_steps_ : int
        The number of E steps it took, each over all rows: more than ``n_iter_`` with moves.
    converged_ : bool
        Whether a change below ``tol`` ended it.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had names that are all strings.

    See Also
    --------
    EMGaussianMixture : Point estimates by EM.
    sklearn.mixture.BayesianGaussianMixture : Batch coordinate ascent with other updates.

    Notes
    -----
    NaN in X is a missing value (missing at random): its q is the Gaussian that the expected
    precisions imply. A ``sample_weight`` of 2 is equivalent to the row twice, of 0 to no row. A
    warm start and ``partial_fit`` keep the prior of the first fit; other prior parameters are an
    error. ``partial_fit`` makes no moves. Ctrl-C ends a fit with
    KeyboardInterrupt, and the earlier fit is kept.

    X may be a ``dask.array.Array``, as for :class:`EMGaussianMixture`. 'memoized' reads the chunks
    of one block at a time, so they should be shorter than ``batch_size``. 'online' copies its
    minibatches into this process, 64 MB of rows at a time, and reads all chunks for each 64 MB:
    persist X, or use another method.

    References
    ----------
    Hoffman, Blei, Wang & Paisley (2013), J. Mach. Learn. Res. 14. Hughes & Sudderth (2013), NIPS.
    Fraley & Raftery (2007), J. Classif. 24, section 3, for the default priors.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import BayesianMixtureSVI
    >>> rng = np.random.default_rng(0)
    >>> X = rng.normal(size=(600, 2)) + 8.0 * rng.integers(3, size=(600, 1))
    >>> mixture = BayesianMixtureSVI(10, random_state=0).fit(X)
    >>> mixture.n_effective_components_
    3
    """

    weights_ = FittedArray(tied=True)
    means_ = FittedArray(tied=True)
    covariances_ = FittedArray(tied=True)
    precisions_ = FittedArray(tied=True)
    precisions_cholesky_ = FittedArray(tied=True)

    _method = "Variational inference"
    _relative_weights = False
    _given_priors = ()  # the prior parameters that were not None
    _prior_factors = None

    def __init__(
        self,
        n_components=1,
        *,
        covariance_type="full",
        weight_concentration_prior_type="dirichlet_process",
        weight_concentration_prior=None,
        mean_precision_prior=None,
        mean_prior=None,
        degrees_of_freedom_prior=None,
        covariance_prior=None,
        learning_method="memoized",
        learning_decay=0.7,
        learning_offset=10.0,
        batch_size=None,
        total_samples=None,
        moves="auto",
        tol=1e-3,
        max_iter=100,
        n_init=1,
        init_params="kmeans",
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        n_jobs=None,
        checkpoint=None,
    ):
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.weight_concentration_prior_type = weight_concentration_prior_type
        self.weight_concentration_prior = weight_concentration_prior
        self.mean_precision_prior = mean_precision_prior
        self.mean_prior = mean_prior
        self.degrees_of_freedom_prior = degrees_of_freedom_prior
        self.covariance_prior = covariance_prior
        self.learning_method = learning_method
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.batch_size = batch_size
        self.total_samples = total_samples
        self.moves = moves
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    # Learning ---------------------------------------------------------------------------------

    def fit(self, X, y=None, sample_weight=None):
        """Return self, fitted by ``learning_method`` from ``n_init`` starts.

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
        self : BayesianMixtureSVI
            The fitted mixture. If the fit fails, the earlier fit is kept.

        Raises
        ------
        ValueError
            A parameter or X is not usable, components collapsed from every start, or
            ``checkpoint`` is a file of another fit or cannot be written.

        Examples
        --------
        >>> from skvae import BayesianMixtureSVI
        >>> from skvae.datasets import load_geyser
        >>> mixture = BayesianMixtureSVI(4, random_state=0).fit(load_geyser().data)
        >>> bool(mixture.elbo_ < 0)
        True
        """
        with self._learning(" from every start", resumes=True) as checkpoint:
            # Another value than True or False is an error of _prepare.
            warm = isinstance(self.warm_start, bool | np.bool_) and self.warm_start
            warm = warm and hasattr(self, "converged_")
            rows = self._prepare(X, sample_weight, reset=not warm)
            with workers() as pool:
                earlier, objective, random_state = None, None, self.random_state
                if warm:
                    earlier = self._same_model(rows, "warm_start=True")
                problem = BayesianProblem(self, rows, pool)
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
                automatic = isinstance(self.moves, str)
                if (self.moves and not automatic) or self.learning_method == "online":
                    problem.seed = check_random_state(random_state).randint(1 << 30)
                best, collapses = search(problem, self, random_state, pool, checkpoint)
                if automatic and self.learning_method == "memoized":
                    best = problem.reduced(best, pool)
            self._store(best.parameters)
            self.elbo_ = best.bound * rows.weight()
            self._record(best, collapses, objective)
        return self

    def partial_fit(self, X, y=None, sample_weight=None):
        """Return self after one more batch of rows.

        With ``total_samples``, a batch is a minibatch from a data set of that many rows, and the
        call makes one step of stochastic variational inference. Without it, the batch is new data:
        the posterior so far is its prior, and coordinate ascent over the batch, with at most
        ``max_iter`` passes, gives the next posterior. The first call sets the prior from its batch.
        ``elbo_`` and ``lower_bound_`` are computed from the batch alone.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing. The first batch needs at least ``n_components`` of them.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0.

        Returns
        -------
        self : BayesianMixtureSVI
            The mixture; unchanged if the step fails.

        Raises
        ------
        ValueError
            A parameter or X is not usable, ``moves`` are named, or a component collapsed.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import BayesianMixtureSVI
        >>> rng = np.random.default_rng(0)
        >>> mixture = BayesianMixtureSVI(2, random_state=0)
        >>> for _ in range(10):
        ...     labels = rng.integers(2, size=100)
        ...     mixture = mixture.partial_fit(10.0 * labels[:, None] + rng.normal(size=(100, 1)))
        >>> np.sort(mixture.means_, axis=0).round() + 0.0
        array([[ 0.],
               [10.]])
        """
        with self._learning():
            if self.moves and not isinstance(self.moves, str):
                raise ValueError(
                    f"moves={self.moves!r}: must be 'auto' or () for partial_fit, which makes no "
                    "moves"
                )
            first = not hasattr(self, "weights_")
            rows = self._prepare(X, sample_weight, reset=first, min_rows=2 if first else 1)
            with workers() as pool:
                if first:
                    rng = check_random_state(self.random_state)
                    old = BayesianProblem(self, rows, pool).first(rng)
                else:
                    old = self._same_model(rows, "partial_fit")
                learn = self._stream if self.total_samples is None else self._minibatch
                new, elbo, weight = learn(old, rows, pool, first)
            self._store(new)
            self._record_batch(elbo / weight)
            self.elbo_ = elbo
        return self

    def _minibatch(self, old, rows, pool, first):
        """Return the posterior after one stochastic step, an ELBO of all rows, and their number."""
        total = float(self.total_samples)
        before = old.statistics
        if first:
            before = before * (total / rows.weight())
            old = old.prior.posterior(before)
        t = 0 if first else self.n_iter_
        rate = (t + self.learning_offset) ** -self.learning_decay
        statistics, _ = expect(rows, old.kernel(), pool)
        scale = total / rows.weight()
        new = old.prior.posterior(mixed(before, statistics * scale, rate))
        _, local = expect(rows, new.kernel(), pool, statistics=False)
        return new, scale * local - new.kl(), total

    def _stream(self, old, rows, pool, first):
        """Return the posterior of all rows so far, the ELBO of the batch, and the batch's weight.

        The ELBO is given the earlier batches, whose responsibilities do not change.
        """
        step = StreamStep(rows, pool, None if first else old)
        found = ascend(step, old, max_iter=max(self.max_iter, 1), tol=self.tol)
        new = found.parameters
        new = new.prior.posterior(new.weights.sorted(new.statistics))
        return new, found.bound * rows.weight(), rows.weight()

    # Checks -----------------------------------------------------------------------------------

    def _prepare(self, X, sample_weight, *, reset, min_rows=2):
        rows = super()._prepare(X, sample_weight, reset=reset, min_rows=min_rows)
        if rows.weight() > _LARGEST_WEIGHT:  # float64 cannot hold the posterior's width
            raise ValueError(
                f"sample_weight sums to {rows.weight():.3g}: must sum to {_LARGEST_WEIGHT:.0e} at "
                "most, as it counts rows, unlike in EM; rescale it"
            )
        return rows

    def _check_parameters(self):
        super()._check_parameters()
        check_choice(
            "weight_concentration_prior_type", self.weight_concentration_prior_type, tuple(WEIGHTS)
        )
        check_choice("learning_method", self.learning_method, LEARNING_METHODS)
        check_number("learning_offset", self.learning_offset, Real, 1)
        check_number("learning_decay", self.learning_decay, Real, 0)
        if not 0.5 < self.learning_decay <= 1:
            raise ValueError(f"learning_decay={self.learning_decay!r}: must be in (0.5, 1]")
        if self.batch_size is not None:
            check_number("batch_size", self.batch_size, Integral, 1)
        if self.total_samples is not None:
            check_number("total_samples", self.total_samples, Real, 1, _LARGEST_WEIGHT)
        moves = () if isinstance(self.moves, str) and self.moves == "auto" else self.moves
        for move in moves if isinstance(moves, tuple | list) else [None]:
            if move not in MOVES:
                raise ValueError(f"moves={moves!r}: must be 'auto' or a tuple of some of {MOVES}")
        if moves and self.learning_method != "memoized":
            raise ValueError(
                f"moves={moves!r} need learning_method='memoized', not {self.learning_method!r}"
            )

    def _same_model(self, rows, why):
        """Return the fitted posterior; raise ValueError unless model and rows go with it."""
        posterior = self._parameters()
        for name, before in {
            "n_components": self._n_asked,
            "covariance_type": self._covariance_type,
            "weight_concentration_prior_type": self._weight_type,
        }.items():
            check_as_fitted(name, getattr(self, name), before, why)
        for name in _PRIORS:
            self._check_prior(name, why)
        check_batch(rows.X, *posterior.spread(), why)
        return posterior

    def _check_prior(self, name, why):
        """Raise ValueError unless a prior parameter is that of the earlier fit, or its value."""
        now, used = getattr(self, name), getattr(self, name + "_")
        given = name in self._given_priors
        same = not given
        if now is not None:
            same = np.array_equal(check_array_parameter(name, now, None, "as before"), used)
        check_as_fitted(name, now, used if given else None, why, lambda *_: same)

    def _remedies(self):
        return (
            f"Raise covariance_prior (now {self.covariance_prior!r}), or subtract an offset from X"
        )

    # The posterior as attributes --------------------------------------------------------------

    def _store(self, posterior):
        prior, components = posterior.prior, posterior.components
        vars(self).update(
            weights_=posterior.weights.mean(),
            means_=components.means,
            covariances_=components.covariances,
            precisions_=components.precisions,
            precisions_cholesky_=components.precisions_cholesky,
        )
        self.weight_concentration_ = posterior.weights.concentration
        self.mean_precision_ = components.mean_precisions
        self.degrees_of_freedom_ = components.dofs
        self.weight_concentration_prior_ = prior.concentration
        self.mean_precision_prior_ = float(prior.components.mean_precisions[0])
        self.mean_prior_ = np.array(prior.components.means[0])
        self.degrees_of_freedom_prior_ = float(prior.components.dofs.min())
        tied = components.covariance_type == "tied"
        self.covariance_prior_ = prior.components.scales if tied else prior.components.scales[0]
        self._weight_type = prior.weight_type
        self._covariance_type = components.covariance_type
        self._scales = components.scales
        self._prior_factors = prior.components.precisions_cholesky
        counts = posterior.weights.counts(prior.weights(len(components.means)))
        self.n_effective_components_ = int((counts >= 1.0 - 1e-9).sum())
        self._n_features_out = len(components.means)
        self._n_asked = self.n_components  # moves may change the number
        self._given_priors = tuple(name for name in _PRIORS if getattr(self, name) is not None)

    def _parameters(self):
        """Return the fitted posterior as a value."""
        concentration = self.weight_concentration_
        weights = concentration if isinstance(concentration, tuple) else (concentration,)
        return MixturePosterior(
            MixturePrior(
                self._weight_type,
                self.weight_concentration_prior_,
                NormalWishart.prior(
                    self._covariance_type,
                    1,
                    self.mean_precision_prior_,
                    self.mean_prior_,
                    self.degrees_of_freedom_prior_,
                    self.covariance_prior_,
                    self._prior_factors,
                ),
            ),
            WEIGHTS[self._weight_type](*weights),
            NormalWishart(
                self._covariance_type,
                self.mean_precision_,
                vars(self)["means_"],
                self.degrees_of_freedom_,
                self._scales,
                vars(self)["precisions_cholesky_"],
            ),
        )

    def _set_fitted(self, name, _value):
        raise AttributeError(
            f"{name} is an expectation under the posterior and cannot be set: to_mixture() returns "
            "a mixture whose arrays can be set"
        )

    def _density_kernel(self):
        return self._parameters().predictive()

    def relabel(self, order):
        """Return a mixture whose component i is component ``order[i]`` of this one.

        Everything else is unchanged. It needs Dirichlet weights: the sticks of a process are broken
        in the order of the components, so that another order is another posterior.

        Parameters
        ----------
        order : array-like of int, shape (n_components,)
            A permutation of the components.

        Returns
        -------
        mixture : BayesianMixtureSVI
            A new mixture; this one does not change.

        Raises
        ------
        ValueError
            ``order`` is no permutation, or the weights are those of a Dirichlet process.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import BayesianMixtureSVI
        >>> kind = "dirichlet_distribution"
        >>> mixture = BayesianMixtureSVI(2, weight_concentration_prior_type=kind, random_state=0)
        >>> mixture = mixture.fit([[9.0], [9.1], [0.0], [0.1]])
        >>> mixture.relabel(np.argsort(mixture.means_[:, 0])).means_.round(1)
        array([[0.3],
               [8.8]])
        """
        check_is_fitted(self)
        order = check_order(order, len(self.weights_), "component")
        if self._weight_type == "dirichlet_process":
            raise ValueError(
                "the weights of a Dirichlet process depend on the order of the components, largest "
                "first, so that they keep it: use to_mixture().relabel(order), or fit with "
                "weight_concentration_prior_type='dirichlet_distribution'"
            )
        mixture = deepcopy(self)
        mixture._store(self._parameters().reordered(order))
        mixture._n_asked, mixture._given_priors = self._n_asked, self._given_priors
        mixture._start_in_order(order)
        return mixture

    # Draws, intervals and point estimates -------------------------------------------------------

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the model, and the component that each was drawn from.

        The model is the posterior predictive density: each row has parameters of its own.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : {ndarray, DataFrame} of shape (n_samples, n_features)
            Exchangeable rows, in no order of components.
        labels : ndarray of shape (n_samples,)
            Components, int. For a Dirichlet process, −1 is a new component without rows in the
            data.

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
        X, labels = self._parameters().sample(n_samples, self._random_state_of(random_state))
        return self._as_set(X), labels

    def credible_interval(self, level=0.95, X=None, *, sample_weight=None):
        """Return equal-tailed credible intervals of weights, means and variances.

        Each interval is the marginal one of a single number. Without X they are those of the
        fitted q, in which the assignments and the parameters are independent: they are too narrow
        where clusters overlap. With X, coordinate ascent continues to the maximum of the bound, and
        the variances there are corrected by linear response [1]_.

        Parameters
        ----------
        level : float, default=0.95
            The probability inside, in (0, 1).
        X : array-like of shape (n_samples, n_features), default=None
            The rows of the fit, for intervals that are right where clusters overlap too; NaN is
            missing. The components are in the order of the fit. Memory grows as the square of
            K(1 + D + D(D + 1)/2), up to 3000 such numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, those of the fit.

        Returns
        -------
        interval : CredibleInterval
            A named tuple ``(weights, means, covariances)`` of pairs (lower, upper).

        Raises
        ------
        ValueError
            ``level`` or X is not usable, or the rows of X do not add up to the rows of the fit.

        Warns
        -----
        ConvergenceWarning
            The ascent did not converge, or a rate of coordinate ascent is not below 1, so that the
            intervals are not corrected.

        Notes
        -----
        Linear response is a local approximation. Several maxima of the posterior, as with several
        clusters that overlap much, make the intervals too narrow: see :ref:`bayesian`.

        References
        ----------
        .. [1] Giordano, Broderick & Jordan (2015), Linear response methods for accurate covariance
           estimates from mean field variational Bayes, NIPS.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import BayesianMixtureSVI
        >>> rng = np.random.default_rng(0)
        >>> X = rng.normal(size=(1000, 1)) + 2.5 * rng.integers(2, size=(1000, 1))
        >>> mixture = BayesianMixtureSVI(2, random_state=0).fit(X)
        >>> lower, upper = mixture.credible_interval().weights
        >>> (upper - lower).round(2)
        array([0.06, 0.06])
        >>> lower, upper = mixture.credible_interval(0.95, X).weights
        >>> (upper - lower).round(2)
        array([0.24, 0.24])
        """
        check_is_fitted(self)
        if np.ndim(level) > 0:
            raise ValueError(
                f"level must be a number in (0, 1), found an array of shape {np.shape(level)}: X "
                "is the second argument, as in credible_interval(0.95, X)"
            )
        check_number("level", level, Real, 0)
        if not 0 < level < 1:
            raise ValueError(f"level={level!r}: must be in (0, 1)")
        if X is None and sample_weight is not None:
            raise ValueError("sample_weight needs X, the rows that it belongs to")
        posterior, inflation = self._parameters(), Inflation()
        if X is not None:
            posterior, inflation = self._corrected(posterior, X, sample_weight)
        return CredibleInterval(
            posterior.weights.interval(float(level), inflation.weights),
            posterior.components.mean_interval(float(level), inflation.means),
            posterior.components.variance_interval(float(level), inflation.variances),
        )

    def _corrected(self, posterior, X, sample_weight):
        """Return the posterior at the maximum of the bound and its Inflation; warn of doubts."""
        rows = self._rows(X, sample_weight)
        seen = float(posterior.statistics.counts.sum())
        if not np.isclose(rows.weight(), seen, rtol=1e-6, atol=1e-6):
            raise ValueError(
                f"X has {rows.weight():.10g} rows (times sample_weight), and the posterior is that "
                f"of {seen:.10g}: X and sample_weight must be those of the fit"
            )
        remedy = (
            "fit with a smaller tol and a larger max_iter, with moves=('merge',), or with fewer "
            "components"
        )
        with workers() as pool:
            try:
                optimum, inflation, left = respond(posterior, rows, pool)
            except NoMaximum as problem:
                text = f"The intervals are those of q, without the correction: {problem}. Try to "
                warnings.warn(text + remedy + ".", ConvergenceWarning, stacklevel=3)
                return problem.posterior, Inflation()
        if left > _FAR:
            warnings.warn(
                "Coordinate ascent did not converge: the centres of some intervals may be off by "
                f"{left:.2g} standard deviations. Try to {remedy}.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return optimum, inflation

    def sample_posterior(self, X, n_draws=1000, *, n_burn_in=500, random_state=None):
        """Return draws of the parameters from their exact posterior, by Gibbs sampling.

        The model and its prior are those of the fit, so the mean of the draws is free of the error
        of the variational posterior, and their spread has the dependence of assignments and
        parameters. For a process, the rows are in the first ``n_components`` components, as in the
        fit. The components of each draw are in the order of the fit that is most probable under q.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows of the fit; NaN is missing. The fit is the start of the chain and the prior.
        n_draws : int, default=1000
            The number of draws, each after one sweep over the rows.
        n_burn_in : int, default=500
            The number of sweeps before the first draw.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        draws : PosteriorDraws
            A named tuple ``(weights, means, covariances, log_joint, effective_sample_size)``.

        Raises
        ------
        ValueError
            X is not usable, or is a Dask array: the sweeps need all rows in memory.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import BayesianMixtureSVI
        >>> X = np.random.default_rng(0).normal(size=(400, 1))
        >>> X[100:] += 10.0
        >>> mixture = BayesianMixtureSVI(2, random_state=0).fit(X)
        >>> draws = mixture.sample_posterior(X)
        >>> draws.means.mean(axis=0).round(0) + 0.0
        array([[10.],
               [ 0.]])
        """
        from skvae.mixture.bayesian.gibbs import sample_posterior  # numba

        check_number("n_draws", n_draws, Integral, 1)
        check_number("n_burn_in", n_burn_in, Integral, 0)
        X, _ = self._rows_in_memory(X, None, "sample_posterior")
        rng = self._generator_of(random_state)
        counts = {"n_burn_in": int(n_burn_in), "n_draws": int(n_draws)}
        return sample_posterior(self._parameters(), X, **counts, rng=rng)

    def log_evidence(self, X, *, sample_weight=None, n_draws=2000, random_state=None):
        """Return an estimate of ln p(X), with weights, means and covariances integrated out.

        ``elbo_`` is a lower bound of it, by a gap that differs between models. The estimate is that
        of dual importance sampling: the proposal is an average over the sweeps of a Gibbs sampler,
        and over all orders of the components. For a process, it is ln p of X and of all rows being
        in the first ``n_components`` components, which is the quantity that ``elbo_`` bounds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            The rows of the fit; NaN is missing. The prior is that of the fit.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0: powers of their densities.
        n_draws : int, default=2000
            The number of draws from the proposal, at least 2.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        evidence : LogEvidence
            A named tuple ``(value, standard_error, khat)``, in nats. Where ``khat`` is above 0.7,
            few draws decide: compare with the result of more draws.

        Raises
        ------
        ValueError
            X is not usable, or the fit has more than 10 components.

        References
        ----------
        Lee & Robert (2016), Importance sampling schemes for evidence approximation in mixture
        models, Bayesian Anal. 11.

        Examples
        --------
        >>> from skvae import BayesianMixtureSVI
        >>> X = [[0.0], [0.1], [0.2], [9.0], [9.1]]
        >>> mixture = BayesianMixtureSVI(2, random_state=0).fit(X)
        >>> bool(mixture.log_evidence(X).value > mixture.elbo_)
        True
        """
        from skvae.mixture.bayesian.evidence import evidence  # numba

        check_number("n_draws", n_draws, Integral, 2)
        X, weight = self._rows_in_memory(X, sample_weight, "log_evidence")
        rng = self._generator_of(random_state)
        return evidence(self._parameters(), X, weight, n_draws=int(n_draws), rng=rng)

    def _rows_in_memory(self, X, sample_weight, method):
        """Return the rows that count as float64 (n_samples, n_features), and their weights."""
        rows = self._rows(X, sample_weight)
        if isinstance(rows, DistributedRows):
            raise ValueError(
                f"X is a Dask array: {method} needs all rows in memory, pass X.compute()"
            )
        rows = rows.in_own_order()
        X, weight = rows.take(0, rows.n_rows)
        weight = np.ones(len(X)) if weight is None else weight
        return np.ascontiguousarray(X, dtype=np.float64), weight

    def to_mixture(self):
        """Return the Gaussian mixture at the posterior expectation, fitted.

        Returns
        -------
        mixture : EMGaussianMixture
            With ``weights_`` scaled to sum to one, ``means_`` and ``covariances_``.

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
        mixture.n_samples_seen_ = float(self._parameters().statistics.counts.sum())
        return mixture._with_columns_of(self, np.arange(self.n_features_in_))
