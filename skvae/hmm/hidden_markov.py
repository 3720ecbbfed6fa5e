r"""Hidden Markov models by exact EM (Baum-Welch).

.. math:: p(x, z) = \pi_{z_1} \prod_{t>1} A_{z_{t-1} z_t} \prod_t p(x_t \mid \theta_{z_t}), \qquad
          \ln p(x) = \max_q\; E_q[\ln p(z, x)] + H(q),

where z is a path of states. EM maximises the right-hand side in turn over q and over the
parameters. The E step, the forward-backward recursion, sets q to the posterior over paths; the M
step maximises over (π, A, θ) (Baum, Petrie, Soules & Weiss, Ann. Math. Stat. 41, 1970). In the code
``data`` are the sequences, and ``emission`` is the density :math:`p(x \mid \theta)`.
"""

import warnings
from copy import deepcopy
from functools import partial

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from skvae.ascent.checkpoint import data_of
from skvae.ascent.estimator import AscentEstimator, text_of_empty, text_of_floor
from skvae.ascent.restarts import search
from skvae.blocks import as_sequences, is_distributed, warn_of_lengths
from skvae.emissions import Emission, GaussianEmission
from skvae.emissions.families import new_emission, same_form, states_on_floor
from skvae.fitted import new_instance
from skvae.fixed import check_fixed, no_value_to_keep
from skvae.gaussian.checks import check_batch
from skvae.gaussian.covariance import STRUCTURES
from skvae.hmm.base import HiddenMarkovModel
from skvae.hmm.dask_sequences import DistributedSequences, identity_of_known
from skvae.hmm.e_step import threads_for
from skvae.hmm.em import HiddenMarkovProblem
from skvae.hmm.initialization import check_chain, with_given_start
from skvae.hmm.known_states import check_states
from skvae.hmm.parameters import (
    SMALLEST,
    ChainParameters,
    ChainPrior,
    ChainStatistics,
    expected_occupancy,
)
from skvae.validation import check_as_fitted, check_choice, check_stochastic, same_value

# Parameters of the estimator that configure emission='gaussian' alone, with their defaults.
_OF_GAUSSIAN = {
    "covariance_type": "full",
    "reg_covar": 1e-6,
    "means_init": None,
    "covariances_init": None,
}


class EMHiddenMarkov(AscentEstimator, HiddenMarkovModel):
    """Hidden Markov model fitted by Baum-Welch: density, segments, forecasts, samples of sequences.

    Rows of X are time steps. ``groups`` names the sequence of each row; without it X is one
    sequence. X may also be a list of 2-D arrays, or a 3-D array, in every method; a list of 1-D
    arrays of different lengths has sequences of one feature.

    Parameters
    ----------
    n_components : int, default=1
        The number of states.
    emission : str or Emission, default='gaussian'
        The distribution of a row given its state: 'gaussian', 'gaussian_mixture', 'student_t',
        'gamma', 'von_mises', 'categorical', 'bernoulli', 'poisson', 'negative_binomial',
        'zero_inflated_poisson', 'multinomial', or an object of :mod:`skvae.hmm`; its parameters
        can be searched as ``emission__...``.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}, default='full'
        The form of the covariances of ``emission='gaussian'``: a matrix for each state, one matrix
        for all, a variance per feature and state, or a variance per state.
    startprob_prior : float or array-like of shape (n_components,), default=1.0
        Concentration of the Dirichlet prior of the start probabilities, ≥ 1; 1 is no prior.
    transmat_prior : float or array-like of shape (n_components,) or (n_components, n_components), \
default=1.0
        Concentration of the Dirichlet prior of each row of the transitions, ≥ 1; 1 is no prior.
    inference : {'smooth', 'filter'}, default='smooth'
        Whether ``transform`` and ``predict_proba`` look ahead.
    tol : float, default=1e-3
        The fit has converged when an iteration changes the bound, in nats per row, by less than
        this.
    reg_covar : float, default=1e-6
        The floor of the covariances of ``emission='gaussian'``, as in
        :class:`skvae.EMGaussianMixture`.
    max_iter : int, default=100
        The largest number of iterations, each a pass over the data; 0 keeps the start.
    acceleration : {None, 'anderson'}, default=None
        'anderson' extrapolates over past iterations where that is not worse than an EM step; it
        needs far fewer iterations where components overlap.
    n_init : int, default=1
        The number of starts; the best one is kept.
    init_params : {'kmeans', 'k-means++', 'random', 'random_from_data'}, array-like or callable, \
default='kmeans'
        How rows get their first states; transitions are counted from these and smoothed. 'kmeans'
        compares, by the bound after a few iterations, clusters of rows, clusters of variances
        within windows, and windows drawn at random; further starts of ``n_init`` take these kinds
        in turn. With a left-right ``transmat_init``, sequences are cut into equal parts instead.
        A start can also be given: one state for each row of X, or -1 for none; responsibilities of
        shape (n_samples, n_components); lists of these for a list of sequences; or a callable
        ``(X, n_components, random_state)`` that returns one of these for the rows of all sequences
        and is called with the rows of each fit, as in a search.
    startprob_init : array-like of shape (n_components,), default=None
        First start probabilities; zeros stay zero, also in a fit or a batch that continues. A value
        that was changed since then replaces the learned probabilities.
    transmat_init : array-like of shape (n_components, n_components), default=None
        First transition probabilities, likewise; zeros make left-right and banded chains.
    means_init : array-like of shape (n_components, n_features), default=None
        First means of ``emission='gaussian'``.
    covariances_init : array-like, default=None
        First covariances of ``emission='gaussian'``, in the shape of ``covariances_``.
    fixed : str, sequence of str, or dict, default=()
        Parameters that keep their initial values while the others are learned: names among
        'startprob', 'transmat' and those of the emission, such as 'means' and 'covariances',
        'rates', or 'part__rates' of a part of a ColumnEmission; or a dict from names to lists of
        states, such as ``{'means': [0, 2]}``. They need initial values, or an earlier fit that
        continues. For a state, 'transmat' is its row. Covariances are learned about fixed means,
        and free start probabilities share the rest. Of gamma, von Mises and zero-inflated Poisson
        emissions a state keeps each parameter alone or both, of negative binomial ones the
        'dispersions' or both. ``bic`` and ``aic`` do not count fixed parameters, and ``reg_covar``
        does not raise fixed covariances.
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
    startprob_ : ndarray of shape (n_components,)
        Start probabilities.
    transmat_ : ndarray of shape (n_components, n_components)
        Transition probabilities from row to column.
    emission_ : Emission
        The fitted emission, with its own attributes.
    means_ : ndarray of shape (n_components, n_features)
        The means, of a Gaussian emission.
    covariances_ : ndarray
        Its covariances: (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical.
    lower_bound_ : float
        The log-likelihood of the stored parameters plus their log prior, in nats per row: without
        priors, ``score`` of the data. A Dirichlet prior's constants are left out.
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
    n_sequences_seen_ : float
        The total weight of their sequences.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had names that are all strings.

    See Also
    --------
    EMGaussianMixture : The same density for rows in no order.

    Notes
    -----
    ``groups`` is requested by every method at class level, so that with
    ``sklearn.set_config(enable_metadata_routing=True)`` a ``GridSearchCV(EMHiddenMarkov(), grid,
    cv=GroupKFold()).fit(X, groups=groups)`` and a Pipeline pass it on and slice it. With routing
    off, which is scikit-learn's default, such a search gives ``groups`` to the splitter alone and
    the model takes each fold for one long sequence. A list of sequences needs no setting:
    scikit-learn's splitters split it, each element being a sample.

    NaN in X is a missing value (missing at random), marginalised exactly. Ctrl-C ends a fit with
    KeyboardInterrupt, and the earlier fit is kept.

    X may be a ``dask.array.Array``, and ``groups`` too, as of :class:`EMGaussianMixture`. Sequences
    are not cut: rows are moved between chunks so that these end where sequences do. A sequence
    longer than a chunk is one task, and so are all rows without ``groups``.

    References
    ----------
    Baum, Petrie, Soules & Weiss (1970), Ann. Math. Stat. 41. Rabiner (1989), Proc. IEEE 77.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import EMHiddenMarkov
    >>> rng = np.random.default_rng(0)
    >>> states = np.repeat([0, 1, 0, 1], 50)
    >>> X = 5.0 * states[:, None] + rng.normal(size=(200, 2))
    >>> chain = EMHiddenMarkov(n_components=2, random_state=0).fit(X)
    >>> chain.transmat_.diagonal().round(2)
    array([0.98, 0.99])
    >>> int((chain.predict(X) != states).sum()) in (0, 200)
    True
    """

    _of_the_start = ("n_init", "init_params")
    _n_fixed = 0  # the free parameters that were fixed in the last fit
    fixed = ()  # models of earlier versions have none
    _last = None  # first values and priors of the last fit; models of earlier versions have none

    def __init__(
        self,
        n_components=1,
        *,
        emission="gaussian",
        covariance_type="full",
        startprob_prior=1.0,
        transmat_prior=1.0,
        inference="smooth",
        tol=1e-3,
        reg_covar=1e-6,
        max_iter=100,
        acceleration=None,
        n_init=1,
        init_params="kmeans",
        startprob_init=None,
        transmat_init=None,
        means_init=None,
        covariances_init=None,
        fixed=(),
        random_state=None,
        warm_start=False,
        verbose=0,
        verbose_interval=10,
        n_jobs=None,
        checkpoint=None,
    ):
        self.n_components = n_components
        self.emission = emission
        self.covariance_type = covariance_type
        self.startprob_prior = startprob_prior
        self.transmat_prior = transmat_prior
        self.inference = inference
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.acceleration = acceleration
        self.n_init = n_init
        self.init_params = init_params
        self.startprob_init = startprob_init
        self.transmat_init = transmat_init
        self.means_init = means_init
        self.covariances_init = covariances_init
        self.fixed = fixed
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_jobs = n_jobs
        self.checkpoint = checkpoint

    # Learning ---------------------------------------------------------------------------------

    def fit(self, X, y=None, *, groups=None, sequence_weight=None, states=None):
        """Return self, fitted by Baum-Welch from ``n_init`` starts.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.
        sequence_weight : array-like of shape (n_samples,), default=None
            Weights of the sequences, ≥ 0: one number for each row, the same within a sequence; for
            a list of sequences, one for each may be given.
        states : array-like of int, shape (n_samples,), or list of such, default=None
            The known state of each row, −1 where it is unknown; for a list of sequences, one array
            for each. They are evidence: the bound is that of X and these states together, in which
            all other states of a known row are impossible. The order of the states is theirs.

        Returns
        -------
        self : EMHiddenMarkov
            The fitted model. If the fit fails, the earlier fit is kept.

        Raises
        ------
        ValueError
            A parameter or X is not usable, the model collapsed from every start, or
            ``checkpoint`` is a file of another fit or cannot be written.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> chain = EMHiddenMarkov(2, random_state=0).fit(load_geyser().data)
        >>> chain.converged_
        True
        """
        with self._learning(" from every start", resumes=True) as checkpoint:
            # Another value than True or False is an error of _prepare.
            warm = isinstance(self.warm_start, bool | np.bool_) and self.warm_start
            warm = warm and hasattr(self, "converged_")
            if y is not None and groups is None:
                warn_of_lengths(y, X)
            data, emission = self._prepare(X, groups, sequence_weight, states, reset=not warm)
            free = isinstance(self.fixed, tuple) and not self.fixed
            fixed = None if free else _fixed_in(self, emission, continued=warm)
            with threads_for(data, int(self.n_components)) as pool:
                names = getattr(self, "feature_names_in_", None)
                summary = emission.summarize(data.rows(), pool, names)
                earlier, prior, objective, random_state = None, None, None, self.random_state
                if warm:
                    earlier, prior = self._continued(data, emission, "warm_start=True")
                problem = HiddenMarkovProblem(self, data, emission, summary, pool, prior, fixed)
                identity = partial(
                    data_of,
                    data.X,
                    summary,
                    data.total(),
                    groups=data.offsets,
                    sequence_weight=data[2],  # of each row; of each sequence for a Dask array
                    **({} if data.states is None else {"states": identity_of_known(data)}),
                )
                if self.warm_start:
                    objective = self._objective_of(identity)
                if warm:
                    problem.earlier = self._earlier_fit(earlier, objective)
                if checkpoint is not None:
                    random_state = self._open(checkpoint, problem.earlier, identity)
                again = deepcopy(random_state)  # an instance moves on in the search
                best, collapses = search(problem, self, random_state, pool, checkpoint)
                if best.converged and not warm and emission._special_case is not None:
                    best = problem.above_special_case(best, again)
            self._store(best.parameters, emission, problem.prior, fixed)
            notes = []
            if problem.n_empty:
                given = not isinstance(self.init_params, str)
                reason = {"why": "init_params gives them none"} if given else {}
                reason = {"why": "no row is known to be in them"} if problem.all_known else reason
                empty = "states", problem.n_empty, self.n_components
                notes.append(text_of_empty(*empty, **reason))
            found = states_on_floor(best.parameters.emission, summary)
            if found:
                floor = f"reg_covar of the {type(emission).__name__}"  # its repr has its arrays
                notes.append(text_of_floor(found, "state", floor))
            self._record(best, collapses, objective, notes)
            self._remember_fit(data.total(), warm=warm)
            self.n_sequences_seen_ = data.n_sequences()
        return self

    def partial_fit(self, X, y=None, *, groups=None, sequence_weight=None, states=None):
        """Return self after one step of stepwise EM on a batch of whole sequences.

        The expected statistics s of a row are averaged over batches,
        ``s ← (1 − ρ) s + ρ s_batch``, and maximised (Cappé & Moulines, J. R. Stat. Soc. B 71, 2009,
        eq. 12). A batch counts by its rows: ρ is its weight w over w plus the weight of the rows
        before, in which rows of ``fit`` count in full and rows of earlier batches count a third, as
        their statistics are of poorer parameters. The parameters alone represent the rows before: s
        are the statistics expected under them of sequences of the mean length so far. After
        ``from_parameters``, no number of rows is known, ρ is 0.6, and the lengths are those of the
        batch. The first call starts like ``fit`` and makes one EM step. ``lower_bound_`` is the
        bound of the batch. Parameters that control the iterations of ``fit``, such as ``tol``, have
        no effect.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.
        sequence_weight : array-like of shape (n_samples,), default=None
            Weights of the sequences, ≥ 0, relative to those of all sequences before: one number
            for each row, the same within a sequence; for a list of sequences, one for each may be
            given.
        states : array-like of int, shape (n_samples,), or list of such, default=None
            The known state of each row, −1 where it is unknown; for a list of sequences, one array
            for each. They are evidence: the bound is that of X and these states together, in which
            all other states of a known row are impossible. The order of the states is theirs.

        Returns
        -------
        self : EMHiddenMarkov
            The model; unchanged if the step fails.

        Raises
        ------
        ValueError
            A parameter or X is not usable, or the model collapsed.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import EMHiddenMarkov
        >>> rng = np.random.default_rng(0)
        >>> chain = EMHiddenMarkov(2, random_state=0)
        >>> states = np.repeat([0, 1], 50)
        >>> for _ in range(20):
        ...     chain = chain.partial_fit(5.0 * states[:, None] + rng.normal(size=(100, 1)))
        >>> np.sort(chain.means_, axis=0).round(0)
        array([[-0.],
               [ 5.]])
        """
        with self._learning():
            first = not hasattr(self, "transmat_")
            min_rows = 2 if first else 1
            if y is not None and groups is None:
                warn_of_lengths(y, X)
            data, emission = self._prepare(
                X, groups, sequence_weight, states, reset=first, min_rows=min_rows
            )
            free = isinstance(self.fixed, tuple) and not self.fixed
            fixed = None if free else _fixed_in(self, emission, continued=not first)
            with threads_for(data, int(self.n_components)) as pool:
                names = getattr(self, "feature_names_in_", None)
                before = 0.0 if first else self._weight_before(data.total())
                if first:
                    summary = emission.summarize(data.rows(), pool, names)
                    given = data, emission, summary, pool
                    problem = HiddenMarkovProblem(self, *given, fixed=fixed)
                    step = problem.step(pool, 0)
                    new = step(problem.first(check_random_state(self.random_state)))[0]
                else:
                    old, prior = self._continued(data, emission, "partial_fit")
                    summary = emission.summarize_batch(old.emission, data.rows(), pool, names)
                    given = data, emission, summary, pool, prior
                    problem = HiddenMarkovProblem(self, *given, fixed)
                    step = problem.step(pool, 0)
                    statistics, _ = step.expect(old)
                    new = step.maximize(
                        old, self._earlier_statistics(old, data, before, prior) + statistics
                    )
                bound = step.evaluate(new)
                if not np.isfinite(bound):
                    raise step.impossible(new)
            if first:
                self._remember_fit(0.0)
                self.n_sequences_seen_ = 0.0
            self._store(new, emission, problem.prior, fixed)
            self._record_batch(bound)
            self._remember_batch(data.total(), before)
            self.n_sequences_seen_ = self._n_sequences() + data.n_sequences()
        return self

    def _n_sequences(self):
        return getattr(self, "n_sequences_seen_", 0.0)  # models of earlier versions have none

    def _earlier_statistics(self, old, data, weight, prior):
        """Return the expected ChainStatistics of the rows before a batch, of some weight."""
        if self._n_sequences() > 0:
            length = max(self.n_samples_seen_ / self._n_sequences(), 1.0)
            longer = length % 1.0
            lengths = np.array([0, 1]) + int(length)
            weights = np.array([1.0 - longer, longer]) * (weight / length)
        else:
            lengths = np.diff(data.offsets)
            weights = np.full(len(lengths), weight / len(data.X))
        *counts, occupancy = expected_occupancy(old.startprob, old.transmat, lengths, weights)
        if self._last is not None:
            last = (np.array(self._last[f"{name}_prior"]) for name in ("startprob", "transmat"))
            prior = ChainPrior(*last, self._start_allowed, self._allowed)
        counts = prior.earlier_counts(old, *counts)
        emission = self.emission_.earlier_statistics(old.emission, occupancy)
        return ChainStatistics(*counts, emission)

    # From known parameters --------------------------------------------------------------------

    @classmethod
    def from_parameters(cls, startprob, transmat, emission):
        """Return a fitted model with known parameters.

        Parameters
        ----------
        startprob : array-like of shape (n_components,)
            Start probabilities, summing to one.
        transmat : array-like of shape (n_components, n_components)
            Transition probabilities; rows sum to one.
        emission : Emission
            A fitted emission, as from ``GaussianEmission.from_parameters``.

        Returns
        -------
        model : EMHiddenMarkov
            As if fitted: ``lower_bound_`` is NaN, ``n_iter_`` and ``n_samples_seen_`` are 0. Zeros
            are structural: they are not counted by ``bic``, and stay zero in a fit or a batch that
            continues. Probabilities that EM learns are at least 1e-300 where they are not
            structural.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import GaussianEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5],
        ...     [[0.9, 0.1], [0.1, 0.9]],
        ...     GaussianEmission.from_parameters([[0.0], [4.0]], [1.0, 1.0], "spherical"),
        ... )
        >>> chain.predict([[0.0], [1.9], [2.1], [0.0]])
        array([0, 0, 0, 0])
        """
        if not isinstance(emission, Emission):
            raise ValueError(f"emission={emission!r}: must be a fitted emission of skvae.hmm")
        parameters = emission.parameters()
        n = parameters.n_components
        startprob = check_stochastic("startprob", startprob, (n,), "(n_components,)")
        transmat = check_stochastic("transmat", transmat, (n, n), "(n_components, n_components)")
        model = new_instance(cls, n_components=n, emission=clone(emission))
        prior = ChainPrior(np.ones(n), np.ones((n, n)), startprob > 0, transmat > 0)
        model._store(ChainParameters(startprob, transmat, parameters), clone(emission), prior)
        model._remember_fit(0.0)
        model.n_sequences_seen_ = 0.0
        model.n_features_in_ = parameters.n_features
        model.lower_bound_ = np.nan
        model.lower_bounds_ = []
        model.n_iter_ = model.n_e_steps_ = 0
        model.converged_ = True
        return model

    def _store(self, parameters, emission, prior, fixed=None):
        """Set the fitted attributes; ``emission`` is this model's own."""
        vars(self).update(
            startprob_=np.maximum(parameters.startprob, SMALLEST * prior.start_allowed),
            transmat_=np.maximum(parameters.transmat, SMALLEST * prior.allowed),
        )
        self.emission_ = emission
        self.emission_.store(parameters.emission)
        self._start_allowed, self._allowed = prior.start_allowed, prior.allowed
        self._n_fixed = 0
        if fixed is not None:
            self._n_fixed = prior.n_fixed(fixed) + emission._n_fixed(parameters.emission, fixed)
        # A fit or a batch that continues compares these with their values then.
        self._last = {
            "startprob_init": np.array(self.startprob_init, dtype=object).tolist(),
            "transmat_init": np.array(self.transmat_init, dtype=object).tolist(),
            "startprob_prior": prior.startprob.tolist(),
            "transmat_prior": prior.transmat.tolist(),
        }
        self._n_features_out = len(parameters.startprob)

    # Checks -----------------------------------------------------------------------------------

    def _prepare(self, X, groups, sequence_weight, states, *, reset, min_rows=2):
        """Return the checked data and the emission; check the constructor's parameters too."""
        self._check_parameters()
        check_choice("inference", self.inference, ("smooth", "filter"))
        emission = _emission_of(self)
        emission.check_parameters(self.n_components)
        validate = partial(self._validate, reset=reset, min_rows=min_rows)
        data = as_sequences(X, groups, validate, None if reset else self.n_features_in_)
        if data.listed:
            sequence_weight = data.for_rows(sequence_weight)
        weight = self._validate_weight(sequence_weight, data.X, "sequence_weight")
        n_components = int(self.n_components)
        if reset and not isinstance(self.init_params, str):
            data = with_given_start(data, self.init_params, n_components)
        if is_distributed(data.X):
            data = DistributedSequences.of(data.X, data.offsets)
            data = data if states is None else data.with_known(states, n_components)
        elif states is not None:
            data = data._replace(states=check_states(states, data, n_components))
        data = data.weighted(weight)
        if len(data.offsets) - 1 == len(data.X) > 1:
            warnings.warn(
                f"each of the {len(data.X)} sequences has one row, so that no transition can be "
                "learned: groups must name the sequence of each row, not the row",
                UserWarning,
                stacklevel=3,
            )
        self._check_rows(data, emission)
        if min_rows > 1 and len(data.X) < self.n_components:
            raise ValueError(
                f"n_components={self.n_components}: must be <= n_samples, which is {len(data.X)}"
                + ("" if weight is None else " without the sequences of weight zero")
            )
        return data, emission

    def _check_rows(self, data, emission):
        """Raise ValueError if some row is impossible under an emission."""
        names = getattr(self, "feature_names_in_", None)
        if isinstance(data, DistributedSequences):
            data.check(emission, names)
        else:
            emission.check_rows(data.X, names)

    def _continued(self, data, emission, why):
        """Return the fitted parameters and the ChainPrior from which a fit or a batch continues.

        Raises
        ------
        ValueError
            Model or rows do not go with them, or a parameter was changed that cannot be used.
        """
        check_as_fitted("n_components", self.n_components, len(self.startprob_), why)
        check_as_fitted("emission", emission, self.emission_, why, same_form)
        self._check_start_as_before(why)
        startprob_init, transmat_init, prior = check_chain(self)
        startprob, allowed_start = vars(self)["startprob_"], self._start_allowed
        transmat, allowed = vars(self)["transmat_"], self._allowed
        if startprob_init is not None and self._changed("startprob_init"):
            startprob, allowed_start = startprob_init, startprob_init > 0
        if transmat_init is not None and self._changed("transmat_init"):
            transmat, allowed = transmat_init, transmat_init > 0
        prior = prior._replace(start_allowed=allowed_start, allowed=allowed)
        names = getattr(self, "feature_names_in_", None)
        parameters = ChainParameters(
            np.maximum(startprob, SMALLEST * allowed_start),
            np.maximum(transmat, SMALLEST * allowed),
            emission.continued(self.emission_, why, names),
        )
        # EM cannot start from parameters under which a row has density zero.
        self._check_rows(data, self.emission_)
        means = parameters.emission.means()
        scale = np.sqrt(parameters.emission.covariances().diagonal(axis1=-2, axis2=-1).max(axis=0))
        check_batch(data.X, means.mean(axis=0), scale + np.abs(means).max(axis=0), why)
        return parameters, prior

    def _changed(self, name):
        """Return whether first values of the chain differ from those in the last fit."""
        last = self._last
        return last is not None and not same_value(getattr(self, name), last[name])

    def _remedies(self):
        """Return the advice for states that are too narrow, which only Gaussian ones can be."""
        if isinstance(self.emission, str):
            floor = f"reg_covar (now {self.reg_covar!r})"
            kind = f"{self.emission!r}, covariance_type={self.covariance_type!r}"
        else:
            floor, kind = "reg_covar of the emission", repr(self.emission)
        return (
            f"Raise {floor}, lower n_components (now {self.n_components!r}), or choose a simpler "
            f"emission (now {kind})"
        )


def _fixed_in(chain, emission, *, continued):
    """Return the masks of the fixed parameters of a fit or a batch, or None."""
    of_chain = ("startprob", "transmat")
    names, shared = emission._fixable()
    fixed = check_fixed(chain.fixed, (*of_chain, *names), int(chain.n_components), shared)
    for name in fixed or ():
        first = getattr(chain, f"{name}_init", None)
        if name not in of_chain:
            first = emission.get_params().get(f"{name}_init")
        if not continued and first is None:
            raise no_value_to_keep(name, f"{name}_init")
    if fixed is not None:
        emission._check_fixed(fixed)
    return fixed


def _emission_of(estimator):
    """Return the new emission that the parameters of an EMHiddenMarkov describe.

    Raises
    ------
    ValueError
        There is no emission of that name, or it does not take one of the parameters.
    """
    check_choice("covariance_type", estimator.covariance_type, tuple(STRUCTURES))
    given = estimator.emission
    if isinstance(given, str) and given == "gaussian":
        return GaussianEmission(
            estimator.covariance_type,
            reg_covar=estimator.reg_covar,
            means_init=estimator.means_init,
            covariances_init=estimator.covariances_init,
        )
    emission = new_emission(given)
    for name, default in _OF_GAUSSIAN.items():
        value = getattr(estimator, name)
        if not (isinstance(value, type(default)) and value == default):
            raise ValueError(
                f"{name}={value!r} configures emission='gaussian', but emission={given!r}: give it "
                "to the emission object instead"
            )
    return emission
