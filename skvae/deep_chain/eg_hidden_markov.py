r"""Hidden Markov models with neural emissions, trained by the gradient of the exact likelihood.

.. math:: p(x) = \sum_z \pi_{z_1} \prod_{t>1} A_{z_{t-1} z_t}
          \prod_t p(x_t \mid o_{z_t}(x_{t-1}, \ldots, x_{t-H})), \qquad
          \nabla \ln p(x) = E_{p(z \mid x)} \nabla \ln p(z, x)

(Fisher's identity): an exact E step and a gradient M step. The model is
:class:`skvae.deep_chain.neural_chain.NeuralChain`; :mod:`skvae.deep_chain.start` computes its first
weights, and :mod:`skvae.deep_chain.training` trains it.
"""

from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_random_state
from sklearn.utils.metadata_routing import UNUSED

from skvae.blocks import warn_of_lengths
from skvae.deep_chain.evaluation import drawn, evaluated
from skvae.deep_chain.neural_chain import (
    ChainBound,
    NeuralChain,
    chain_likelihood,
    restored_likelihood,
)
from skvae.deep_chain.start import start_at_autoregression
from skvae.deep_chain.training import SequenceDensity, in_double
from skvae.hmm.forecast import indices_after
from skvae.neural.training.sequences import PreparedSequences
from skvae.validation import check_choice, check_number, check_stochastic

_LEARNING = {"groups": True, "sequence_weight": True, "sample_weight": UNUSED}


class EGHiddenMarkov(SequenceDensity):
    """Hidden Markov model whose emissions are networks of earlier rows, by expected gradients.

    The path of states is summed out exactly, so ``score_samples`` is an exact log-density and no
    latent variable is drawn. Rows of X are time steps. ``groups`` names the sequence of each row;
    without it X is one sequence. X may also be a list of 2-D arrays, or a 3-D array.

    Parameters
    ----------
    n_components : int, default=1
        The number of states.
    history : int, default=0
        The number of earlier rows of a sequence that the networks read, beside flags for rows that
        the sequence does not have. With a history the first row of a sequence has parameters of
        its own.
    hidden_layer_sizes : tuple of int, default=()
        The widths of the hidden layers, which are added to a linear map. Without any the model is a
        chain of linear autoregressions, and without a history, too, that of
        :class:`skvae.EMHiddenMarkov`.
    activation : {'relu', 'tanh', 'logistic', 'identity', 'elu', 'gelu', 'leaky_relu', 'silu', \
'softplus'}, default='relu'
        Applied after a hidden layer.
    likelihood : str or list of (str, columns), default='gaussian'
        The density of a row given its state and the earlier rows: 'gaussian', 'student_t',
        'bernoulli', 'continuous_bernoulli', 'categorical', 'poisson', 'negative_binomial',
        'log_normal', 'gamma', 'beta', or one for each of several parts of the columns, ``[(name,
        columns), ...]`` or ``[(name, columns, params), ...]``. Each state learns its own noise.
    likelihood_params : dict, default=None
        Parameters of the likelihood, as of :class:`skvae.VariationalAutoencoder`, and
        ``covariance`` of 'gaussian': 'diag', or 'full' for a covariance matrix of each state.
    transition : {'constant', 'history'}, default='constant'
        Whether transition probabilities are constant, or given by a network of the history too.
    inference : {'smooth', 'filter'}, default='smooth'
        Whether ``transform`` and ``predict_proba`` look ahead.
    max_epochs : int, default=500
        The largest number of passes over the data, ≥ 1; elsewhere in scikit-learn, ``max_iter``.
    batch_size : int, default=None
        The largest number of sequences in a batch. None is 32, or a tenth of the sequences if that
        is fewer, but at least 4.
    lr : float, default=1e-3
        Learning rate.
    optimizer : {'adam', 'adamw', 'rmsprop', 'sgd'} or class of torch.optim, default='adam'
        The optimiser.
    gradient_clip : float, default=None
        The largest norm of the gradient.
    early_stopping : bool, default=True
        Whether to set sequences aside for validation, stop when their log-likelihood no longer
        rises, and keep the weights with the best one, if it is above that of the first weights by
        two standard errors. Of a single sequence the last rows are set aside.
    validation_fraction : float, default=0.1
        The share of those sequences.
    n_iter_no_change : int, default=20
        Epochs without improvement after which training stops.
    tol : float, default=1e-3
        The smallest improvement of the objective that counts, in nats per row.
    transmat_init : array-like of shape (n_components, n_components), default=None
        First transition probabilities; zeros stay zero and make left-right and banded chains.
    callbacks : list, default=None
        Callbacks of skorch, such as a learning-rate schedule or a checkpoint.
    net_params : dict, default=None
        Any other parameter of ``skorch.NeuralNet`` but those of batches, which are whole sequences:
        ``{"optimizer__weight_decay": 0.01}``.
    device : str, default='auto'
        A device of torch; 'auto' is CUDA if there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        The source of the start, the sequences set aside and batches, and of the draws of
        :meth:`sample` without a ``random_state`` of its own.
    warm_start : bool, default=False
        Whether a further ``fit`` continues the earlier one instead of starting anew.
    verbose : int, default=0
        0 prints nothing, 1 shows a progress bar with the current bound.

    Attributes
    ----------
    startprob_ : ndarray of shape (n_components,)
        Start probabilities.
    transmat_ : ndarray of shape (n_components, n_components)
        Transition probabilities from row to column; with ``transition="history"`` those after
        earlier rows whose inputs are zero, which is the mean row.
    net_ : skorch.NeuralNet
        The net; its model is ``net_.module_.model``, its history ``net_.history``.
    lower_bound_ : float
        The log-likelihood of the stored weights in nats per row, in the units of X: of the
        sequences set aside, or of all if there are none.
    lower_bounds_ : list of float
        The same after each epoch up to that of the stored weights. Without sequences set aside it
        is the mean over the epoch, during which the weights change; the last is ``lower_bound_``.
    history_ : dict of str to list of float
        ``bound`` of the training rows and ``valid_bound`` of those set aside, in every epoch.
    n_iter_ : int
        The number of epochs that led to the stored weights: 0 for the start.
    converged_ : bool
        Whether early stopping ended the training.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had names that are all strings.

    See Also
    --------
    EMHiddenMarkov : The model without history and hidden layers, by EM.

    Notes
    -----
    Training starts at the better of two models, by the sequences set aside: the linear
    autoregression of highest likelihood in all states, and a chain of linear autoregressions that
    is fitted to it. With a history the chain must be better by two standard errors: on few rows it
    is better by chance. NaN in X is missing: marginalised where it is the row's own value, and zero
    with a flag where it is history. The flags are there if X of the first ``fit`` has missing
    values. The recursions over the rows run on the CPU, also with another ``device``. Ctrl-C ends
    ``fit`` with a warning and the best weights so far.

    References
    ----------
    Salakhutdinov, Roweis & Ghahramani (2003), ICML. Hamilton (1989), Econometrica 57, for chains of
    autoregressions. Tran, Bisk, Vaswani, Marcu & Knight (2016), Workshop on Structured Prediction
    for NLP, for neural hidden Markov models.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae import EGHiddenMarkov
    >>> rng = np.random.default_rng(0)
    >>> X = np.zeros((400, 1))
    >>> for t in range(1, 400):  # two regimes, of a hundred rows each
    ...     X[t] = (0.95 if t // 100 % 2 else -0.95) * X[t - 1] + rng.normal()
    >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
    >>> states = model.predict(X)
    >>> bool((states == np.arange(400) // 100 % 2).mean() in (0, 1) or len(set(states)) == 2)
    True
    """

    _architecture = (
        *("n_components", "history", "hidden_layer_sizes", "activation", "likelihood"),
        *("likelihood_params", "transition", "transmat_init"),
    )
    _sizes = (*SequenceDensity._sizes, "_n_features_out")
    _starts_at_optimum = True  # of linear autoregressions

    __metadata_request__fit = _LEARNING
    __metadata_request__partial_fit = _LEARNING
    __metadata_request__score = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__transform = {"groups": True}

    def __init__(
        self,
        n_components=1,
        *,
        history=0,
        hidden_layer_sizes=(),
        activation="relu",
        likelihood="gaussian",
        likelihood_params=None,
        transition="constant",
        inference="smooth",
        max_epochs=500,
        batch_size=None,
        lr=1e-3,
        optimizer="adam",
        gradient_clip=None,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=1e-3,
        transmat_init=None,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.history = history
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.likelihood = likelihood
        self.likelihood_params = likelihood_params
        self.transition = transition
        self.inference = inference
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.optimizer = optimizer
        self.gradient_clip = gradient_clip
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.transmat_init = transmat_init
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    # Learning ---------------------------------------------------------------------------------

    def fit(self, X, y=None, *, groups=None, sequence_weight=None):
        """Return self, trained for up to ``max_epochs`` passes over the sequences.

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

        Returns
        -------
        self : EGHiddenMarkov
            The fitted model. If the fit fails, the earlier fit is kept.

        Raises
        ------
        ValueError
            A parameter or X is not usable. Or the loss became NaN: then the model has the weights
            of the last epoch before that; if there is none, it is as it was before the call.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
        >>> bool(model.score(X) > EGHiddenMarkov(2, max_epochs=5, random_state=0).fit(X).score(X))
        True
        """
        if y is not None and groups is None:
            warn_of_lengths(y, X)
        warm = self.warm_start and hasattr(self, "net_")
        return self._fit(
            X,
            groups,
            n_epochs=self.max_epochs,
            validate=True,
            continues="warm_start=True" if warm else None,
            sequence_weight=sequence_weight,
        )

    def partial_fit(self, X, y=None, *, groups=None, sequence_weight=None):
        """Return self after one pass over one more batch of sequences.

        The first call makes the model, and the units of the likelihood, from its batch, and starts
        as ``fit`` does. No sequences are kept aside for validation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.
        sequence_weight : array-like of shape (n_samples,), default=None
            Weights of the sequences, ≥ 0, as in ``fit``.

        Returns
        -------
        self : EGHiddenMarkov
            The model. If the step fails, the model does not change.

        Raises
        ------
        ValueError
            A parameter or X is not usable, or the loss became NaN.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, random_state=0)
        >>> model.partial_fit(X[:150]).partial_fit(X[150:]).n_iter_
        2
        """
        return self._fit(
            X,
            groups,
            n_epochs=1,
            validate=False,
            continues="partial_fit" if hasattr(self, "net_") else None,
            sequence_weight=sequence_weight,
        )

    # Steps of a fit -----------------------------------------------------------------------------

    def _check_parameters(self):
        super()._check_parameters()
        check_number("n_components", self.n_components, Integral, 1)
        check_number("history", self.history, Integral, 0)
        check_choice("transition", self.transition, ("constant", "history"))
        check_choice("inference", self.inference, ("smooth", "filter"))
        self._allowed()

    def _allowed(self):
        """Return which transitions there are, or None if all; raise ValueError if none fits."""
        if self.transmat_init is None:
            return None
        shape = (int(self.n_components),) * 2
        meaning = "(n_components, n_components)"
        return check_stochastic("transmat_init", self.transmat_init, shape, meaning) > 0

    def _constants_of(self, sequences, **_):
        for name in ("n_components", "history"):
            if getattr(self, name) > len(sequences.X):
                raise ValueError(
                    f"{name}={getattr(self, name)}: must be <= n_samples, which is "
                    f"{len(sequences.X)}"
                )
        names = getattr(self, "feature_names_in_", None)
        likelihood = chain_likelihood(self.likelihood, sequences.X, self.likelihood_params, names)
        return {
            "likelihood": likelihood.settings(),
            "flags": bool(np.isnan(sequences.X).any()),
            "allowed": self._allowed(),
        }

    @classmethod
    def _bound_module(cls, settings, constants, seed):
        n_states, allowed = settings["n_components"], constants["allowed"]
        model = NeuralChain(
            restored_likelihood(constants["likelihood"]),
            n_states=n_states,
            history=settings["history"],
            flags=constants["flags"],
            hidden_layer_sizes=settings["hidden_layer_sizes"],
            activation=settings["activation"],
            varying=settings["transition"] == "history",
            allowed=np.ones((n_states, n_states), dtype=bool) if allowed is None else allowed,
            seed=seed,
        )
        return ChainBound(model, seed=seed)

    def _prepared(self, bound, sequences, sequence_weight=None):
        weight = None
        if sequence_weight is not None:
            given = sequences.for_rows(sequence_weight)
            weight = self._validate_weight(given, sequences.X, "sequence_weight")
        sequences = sequences.weighted(weight)
        likelihood, names = bound.model.likelihood, getattr(self, "feature_names_in_", None)
        likelihood.check(sequences.X, names)
        more = {}
        if sequences.weight is not None:
            more = {"weight": sequences.weight / sequences.weight.mean()}
        return PreparedSequences(likelihood.prepare(sequences.X), sequences.offsets, more)

    def _log_volume(self, bound, prepared):
        return bound.model.likelihood.log_volume(prepared.x) * prepared.more.get("weight", 1.0)

    def _start(self, bound, training, validation):
        transmat = None
        if self.transmat_init is not None:
            transmat = np.asarray(self.transmat_init, dtype=np.float64)
        rng = check_random_state(bound.seed % 2**32)
        start_at_autoregression(bound, training, validation, rng, transmat)
        self._n_features_out = int(self.n_components)

    # The fitted model ---------------------------------------------------------------------------

    @property
    def startprob_(self):
        """Return the start probabilities, (n_components,)."""
        with torch.no_grad():
            return self._chain("startprob_").log_start().exp().numpy()

    @property
    def transmat_(self):
        """Return the transition probabilities, (n_components, n_components)."""
        model = self._chain("transmat_")
        with torch.no_grad():
            logs = model.log_transmat(torch.zeros(1, model.n_inputs, dtype=torch.float64))
            return (logs[0] if logs.ndim == 3 else logs).exp().numpy()

    def _chain(self, name):
        """Return the fitted NeuralChain in float64; before a fit there is no such attribute."""
        if not hasattr(self, "net_"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: call fit first"
            )
        return in_double(self.net_.module_.model)

    def _evaluated(self, X, groups):
        """Return the sequences as Evaluated: log-densities and chain in float64."""
        sequences = self._sequences(X, groups)
        model = in_double(self.net_.module_.model)
        names = getattr(self, "feature_names_in_", None)
        model.likelihood.check(sequences.X, names)
        return evaluated(model, sequences)

    def score_samples(self, X, *, groups=None):
        """Return the log-density of each row given those before it in its sequence, in nats.

        It is exact. The terms ln p(x_t | x_1..x_{t−1}) sum to the log-likelihood of the sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_density : ndarray of shape (n_samples,), or list of such
            In the units of X; float32 if X is.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
        >>> model.score_samples(X[:3]).shape
        (3,)
        """
        found = self._evaluated(X, groups)
        return found.in_form(found.predictive())

    def score(self, X, y=None, sample_weight=None, *, groups=None):
        """Return the (weighted) mean log-density of the rows, in nats per row: larger is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        score : float
            In nats per row.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
        >>> bool(abs(model.score(X) - model.score_samples(X).mean()) < 1e-9)
        True
        """
        if y is not None and groups is None:
            warn_of_lengths(y, X)
        found = self._evaluated(X, groups)
        log_p = found.predictive()
        if sample_weight is None:
            return float(log_p.mean())
        given = found.sequences.for_rows(sample_weight)
        weight = self._validate_weight(given, found.sequences.X, relative=True)
        used = weight > 0
        return float(log_p[used] @ weight[used] / weight.sum())

    def log_emissions(self, X, *, groups=None):
        """Return ln p(x_t | z_t = k, earlier rows) of each row and state, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_density : ndarray of shape (n_samples, n_components), or list of such
            In the units of X; float32 if X is.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
        >>> model.log_emissions(X).shape
        (299, 2)
        """
        found = self._evaluated(X, groups)
        return found.in_form(found.log_density + found.volume[:, None])

    def log_transitions(self, X, *, groups=None):
        """Return ln p(z_t = j | z_{t−1} = i, earlier rows) of each row, in nats.

        With ``transition="constant"`` it is ln ``transmat_`` in every row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_transmat : ndarray of shape (n_samples, n_components, n_components), or list of such
            From row i to column j; float32 if X is. The first row of a sequence comes from no
            state: its entry has no meaning.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(
        ...     2, history=1, transition="history", max_epochs=5, random_state=0
        ... ).fit(X)
        >>> model.log_transitions(X).shape
        (299, 2, 2)
        """
        found = self._evaluated(X, groups)
        shape = (len(found.log_density), *found.log_transmat.shape[-2:])
        return found.in_form(np.broadcast_to(found.log_transmat, shape))

    def predict_proba(self, X, *, groups=None):
        """Return the posterior probabilities of the states of each row.

        They are conditional on the whole sequence with ``inference="smooth"``, and on the rows up
        to this one with ``inference="filter"``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
        >>> bool(abs(model.predict_proba(X).sum(axis=1) - 1).max() < 1e-9)
        True
        """
        check_choice("inference", self.inference, ("smooth", "filter"))
        found = self._evaluated(X, groups)
        filtering = self.inference == "filter"
        return found.in_form(found.filtered() if filtering else found.smoothed())

    def predict(self, X, *, groups=None):
        """Return the most probable path of states of each sequence (Viterbi's algorithm).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        states : ndarray of shape (n_samples,), or list of such
            States, int.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> EGHiddenMarkov(2, max_epochs=5, random_state=0).fit(X).predict(X).shape
        (299,)
        """
        return self.decode(X, groups=groups)[1]

    def decode(self, X, *, groups=None):
        """Return the log-probability of the most probable paths, and these paths.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_prob : float
            ln p(path, x), in nats, summed over sequences.
        states : ndarray of shape (n_samples,), or list of such
            The paths, int.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
        >>> log_prob, states = model.decode(X)
        >>> bool(log_prob < model.score_samples(X).sum())
        True
        """
        found = self._evaluated(X, groups)
        log_probs, states = found.best_paths()
        return float(log_probs.sum() + found.volume.sum()), found.sequences.in_form(states)

    def forecast(self, X, n_steps=1, *, groups=None):
        """Return the distribution of the row after the end of a sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        n_steps : int, default=1
            The number of steps; with a history, one, as later rows depend on rows not yet there.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        forecast : Forecast or list of Forecast
            A named tuple ``(state_proba, mean, covariance)`` with one entry a step, and methods for
            quantiles, intervals and draws, as of :meth:`skvae.EMHiddenMarkov.forecast`; a list if X
            is a list, or ``groups`` has more than one sequence.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
        >>> model.forecast(X).mean.shape
        (1, 2)
        >>> lower, upper = model.forecast(X).interval(0.9)
        >>> bool((lower < upper).all())
        True
        """
        check_number("n_steps", n_steps, Integral, 1)
        if n_steps > 1 and self._settings["history"]:
            raise ValueError(
                f"n_steps={n_steps!r}: must be 1 with history={self._settings['history']}, as "
                "later rows depend on rows that are not yet there; draw them with "
                "sample(prefix=X)"
            )
        found, n_steps = self._evaluated(X, groups), int(n_steps)
        sequences = found.sequences
        indices = indices_after(X, sequences.offsets, sequences.listed, n_steps)
        forecasts = found.forecasts(self, n_steps, indices)
        return forecasts if found.sequences.listed or len(forecasts) > 1 else forecasts[0]

    def sample(self, n_samples=1, *, prefix=None, random_state=None):
        """Return rows drawn from the model, and the state that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows, which form one sequence.
        prefix : array-like of shape (n_timesteps, n_features), default=None
            The rows of one sequence, which the drawn rows continue: they have the distribution
            p(future | prefix). None begins a new sequence.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : {ndarray, DataFrame} of shape (n_samples, n_features)
            Rows in time order; with ``set_output`` a table.
        states : ndarray of shape (n_samples,)
            States, int.

        Examples
        --------
        >>> from skvae import EGHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = EGHiddenMarkov(2, history=1, max_epochs=5, random_state=0).fit(X)
        >>> model.sample(10, random_state=0)[0].shape
        (10, 2)
        >>> model.sample(3, prefix=X, random_state=0)[0].shape
        (3, 2)
        """
        self._check_fitted()
        check_number("n_samples", n_samples, Integral, 1)
        rng = self._random_state_of(random_state)
        if prefix is None:
            X, states = drawn(in_double(self.net_.module_.model), int(n_samples), rng)
            return self._as_set(X), states
        found = self._evaluated(prefix, None)
        if len(found.sequences.offsets) > 2:
            n_sequences = len(found.sequences.offsets) - 1
            raise ValueError(f"sample takes one sequence: prefix holds {n_sequences} of them")
        (index,) = indices_after(
            prefix, found.sequences.offsets, found.sequences.listed, int(n_samples)
        )
        X, states = drawn(found.model, int(n_samples), rng, found.x, found.filtered()[-1])
        return self._as_set(X, index=index), states
