r"""Autoencoder of sequences whose latent rows follow a hidden Markov model (HMM-VAE).

.. math:: p(k) = \pi_{k_1} \prod_t A_{k_{t-1} k_t}, \qquad z_t \mid k_t \sim N(\mu_{k_t}, V_{k_t}),
          \qquad x_t \mid z_t \sim p(x \mid \mathrm{decoder}(z_t)), \qquad
          q(z_t \mid x_t) = N(\mathrm{encoder}(x_t))

(Ebbers et al., Hidden Markov model variational autoencoder for acoustic unit discovery, Interspeech
2017). The path k is summed exactly by forward-backward, in training and in scores; the latent rows
z are drawn. The bounds are in :mod:`skvae.deep_chain.bounds`, the answers of a fitted model in
:mod:`skvae.deep_chain.base`.
"""

from inspect import signature
from numbers import Integral, Real

import numpy as np
from sklearn.utils.metadata_routing import UNUSED

from skvae.blocks import warn_of_lengths
from skvae.deep_chain.base import SequenceAutoencoder
from skvae.deep_chain.bounds import BOUNDS
from skvae.deep_chain.chain_bound import ChainBound
from skvae.deep_chain.state_prior import StatePrior
from skvae.neural.latent_model import make_model
from skvae.neural.likelihoods import likelihood_from_settings, make_likelihood
from skvae.neural.linear import can_start_at_factor_analysis, start_at_factor_analysis
from skvae.neural.networks import enough_memory
from skvae.neural.posteriors import COVARIANCES
from skvae.neural.priors import Normal
from skvae.neural.training.parameters import LARGEST
from skvae.neural.training.sequences import PreparedSequences
from skvae.validation import check_choice, check_number, check_stochastic

# At first the bound hardly rises, until the latent vectors carry information: as of the
# VariationalAutoencoder.
_FIRST_STEPS = 300
_PRIOR_SHARE = 4  # the share of the epochs in which the states do not change, its inverse
_LEARNING = {"groups": True, "sample_weight": UNUSED}
_ARCHITECTURE = (
    *("n_components", "n_states", "hidden_layer_sizes", "activation", "encoder", "decoder"),
    *("encoder_covariance", "likelihood", "likelihood_params", "transmat_init"),
)
_OBJECTIVE = ("bound", "beta", "free_bits", "n_importance_samples", "mixed_precision")


class HiddenMarkovAutoencoder(SequenceAutoencoder):
    """Variational autoencoder of sequences with a hidden Markov model of its latent rows.

    A :class:`skvae.VariationalAutoencoder` whose prior is a chain: each latent row is drawn from
    the Gaussian of a discrete state, and the states follow each other by learned probabilities. The
    path of states is summed exactly, and the latent rows are sampled. With one state it is the
    autoencoder with a learned Gaussian prior; with equal rows of transitions, the one with a
    mixture prior.

    Rows of X are time steps. ``groups`` names the sequence of each row; None is one sequence. A
    list of 2-D arrays, or a 3-D array, is also a set of sequences.

    Parameters
    ----------
    n_components : int, default=2
        The number of latent dimensions.
    n_states : int, default=10
        The number of states.
    hidden_layer_sizes : tuple of int, default=(128,)
        The widths of the encoder's hidden layers; the decoder has them in reverse. Without any,
        ``()``, both are linear: with the 'gaussian' likelihood training begins at factor analysis
        of all rows.
    activation : {'relu', 'tanh', 'logistic', 'identity', 'elu', 'gelu', 'leaky_relu', 'silu', \
'softplus'}, default='relu'
        Applied after a hidden layer.
    encoder, decoder : nn.Module, class or callable, default=None
        A module in place of the built-in network; a copy of it is trained. A class or callable is
        called without arguments and returns a module. An encoder returns 2 · n_components numbers a
        row (mean, log variance), in one tensor or as a pair; a decoder reads n_components numbers
        and returns the likelihood's parameters in one tensor.
    encoder_covariance : {'diag', 'full'}, default='diag'
        The form of the covariance of q(z | x).
    likelihood : str or list of (str, columns), default='gaussian'
        The density of a row given its latent vector: 'gaussian', 'student_t', 'bernoulli',
        'continuous_bernoulli', 'categorical', 'poisson', 'negative_binomial', 'log_normal',
        'gamma', 'beta', or one for each of several parts of the columns, ``[(name, columns), ...]``
        or ``[(name, columns, params), ...]``. 'gaussian' and 'student_t' standardise inside, and
        'log_normal' and 'gamma' do so with the logarithm: the units of X do not matter.
    likelihood_params : dict, default=None
        Parameters of the likelihood: ``scale`` ('feature', 'shared' or 'decoder': the source of σ),
        ``min_scale`` (its floor, in standard deviations of the features), both of 'gaussian',
        'student_t', 'log_normal', 'gamma' and 'beta', ``dof`` of 'student_t', ``n_categories`` of
        'categorical'.
    bound : {'marginal', 'factored'}, default='marginal'
        The lower bound of ln p(x) that is maximised. With 'marginal' the path is summed given the
        drawn latent rows, so that only q(z | x) is approximate; 'factored' has a factor q(path)
        too: it is lower, and its divergence has no noise. It does not change the definition of
        ``score``.
    inference : {'smooth', 'filter'}, default='smooth'
        What ``predict_proba`` is conditional on: the whole sequence, or the rows up to each one.
    beta : float, default=1.0
        Weight of the KL divergence in training. It does not change the definition of ``score``, nor
        do the next three.
    kl_warmup : int, default=20
        Epochs during which that weight rises linearly, at most a quarter of ``max_epochs``. Without
        a warm-up, latent dimensions are often lost before the decoder has learned to use them.
    free_bits : float, default=0.0
        The least nats that each latent dimension's KL counts as in training.
    n_importance_samples : int, default=1
        Draws a row in training; more than one give the importance-weighted bound.
    n_score_samples : int, default=100
        Draws a row for ``score`` and all other importance sampling.
    max_epochs : int, default=500
        The largest number of passes over the data, ≥ 1; elsewhere in scikit-learn, ``max_iter``.
    batch_size : int, default=None
        The largest number of sequences in a batch. None is 32, or a tenth of the sequences if that
        is fewer, but at least 4.
    lr : float, default=2e-3
        Learning rate; the likelihood's own parameters, such as σ, have ten times it.
    optimizer : {'adam', 'adamw', 'rmsprop', 'sgd'} or class of torch.optim, default='adam'
        The optimiser.
    gradient_clip : float, default=None
        The largest norm of the gradient.
    early_stopping : bool, default=True
        Whether to set sequences aside for validation, stop when their objective no longer rises,
        and keep the weights with the best one. It is the objective of training with the full
        ``beta``, also during the warm-up. The first weights count too.
    validation_fraction : float, default=0.1
        The share of those sequences.
    n_iter_no_change : int, default=20
        Epochs without improvement after which training stops; those before 300 steps do not count.
    tol : float, default=1e-3
        The smallest improvement of the objective that counts, in nats per row.
    transmat_init : array-like of shape (n_states, n_states), default=None
        First transition probabilities. Zeros stay zero. Without it they begin at those of clusters.
    mixed_precision : bool, default=False
        Whether encoder and decoder train in bfloat16 where that is safe.
    callbacks : list, default=None
        Callbacks of skorch, such as a learning-rate schedule or a checkpoint.
    net_params : dict, default=None
        Any other parameter of ``skorch.NeuralNet`` but those of batches, which are whole sequences:
        ``{"optimizer__weight_decay": 0.01}``.
    device : str, default='auto'
        A device of torch; 'auto' is CUDA if there is one, else the CPU.
    random_state : int, RandomState instance or None, default=None
        The source of the first weights, the validation rows, batches and noise, and of the draws of
        :meth:`sample` without a ``random_state`` of its own.
    warm_start : bool, default=False
        Whether a further ``fit`` continues the earlier one instead of starting anew.
    verbose : int, default=0
        0 prints nothing, 1 shows a progress bar with the current bound.

    Attributes
    ----------
    startprob_ : ndarray of shape (n_states,)
        Start probabilities.
    transmat_ : ndarray of shape (n_states, n_states)
        Transition probabilities from row to column.
    state_means_ : ndarray of shape (n_states, n_components)
        The means of the states' Gaussians of latent rows.
    state_variances_ : ndarray of shape (n_states, n_components)
        Their variances.
    net_ : skorch.NeuralNet
        The net; its model is ``net_.module_.model``, its history ``net_.history``.
    lower_bound_ : float
        The bound of the stored weights in nats per row, in the units of X: of the validation rows,
        or of all rows if there are none.
    lower_bounds_ : list of float
        The bound after each epoch up to that of the stored weights. Without validation rows it is
        the mean over the epoch, during which the weights change; the last is ``lower_bound_``, and
        the only one if the first weights are kept.
    history_ : dict of str to list of float
        The terms in every epoch, in nats per row: ``bound``, ``reconstruction`` and ``kl`` of the
        training rows, and ``valid_bound`` of the validation rows.
    n_iter_ : int
        The number of epochs that led to the stored weights: 0 for the first weights.
    converged_ : bool
        Whether early stopping ended the training. If not, there is no warning: the number of epochs
        is a budget.
    n_features_in_ : int
        The number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Their names, if X had names that are all strings.

    See Also
    --------
    VariationalAutoencoder : Rows without an order.
    EMHiddenMarkov : States with densities of rows that need no network.

    Notes
    -----
    Batches, and the rows kept aside for early stopping, are whole sequences; of a single sequence
    the last rows are kept aside. In the first quarter of ``max_epochs`` all states are one standard
    normal. Then EM finds states of the encoder's posteriors, and these learn with the networks;
    after as many epochs again EM is repeated, and its states are used if they are better.

    A row whose values are all missing is integrated out exactly. An interrupted ``fit`` keeps its
    progress: Ctrl-C ends it with a warning and the best weights so far.

    References
    ----------
    Ebbers, Heymann, Drude, Glarner, Haeb-Umbach & Raj (2017), Hidden Markov model variational
    autoencoder for acoustic unit discovery, Interspeech.

    Examples
    --------
    >>> from skvae import HiddenMarkovAutoencoder
    >>> from skvae.datasets import load_geyser
    >>> X = load_geyser().data
    >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=40, random_state=0).fit(X)
    >>> model.predict(X).shape
    (299,)
    """

    _architecture = _ARCHITECTURE
    _module_names = ("encoder", "decoder")
    _sizes = ("n_features_in_", "n_iter_", "_noise_seed", "_n_features_out")
    _net_parameters = ("kl_warmup",)
    _prior_share, _first_steps = _PRIOR_SHARE, _FIRST_STEPS
    _densities = ("bound", "reconstruction")

    __metadata_request__fit = _LEARNING
    __metadata_request__partial_fit = _LEARNING

    def __init__(
        self,
        n_components=2,
        *,
        n_states=10,
        hidden_layer_sizes=(128,),
        activation="relu",
        encoder=None,
        decoder=None,
        encoder_covariance="diag",
        likelihood="gaussian",
        likelihood_params=None,
        bound="marginal",
        inference="smooth",
        beta=1.0,
        kl_warmup=20,
        free_bits=0.0,
        n_importance_samples=1,
        n_score_samples=100,
        max_epochs=500,
        batch_size=None,
        lr=2e-3,
        optimizer="adam",
        gradient_clip=None,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=1e-3,
        transmat_init=None,
        mixed_precision=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.n_states = n_states
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.encoder = encoder
        self.decoder = decoder
        self.encoder_covariance = encoder_covariance
        self.likelihood = likelihood
        self.likelihood_params = likelihood_params
        self.bound = bound
        self.inference = inference
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self.n_importance_samples = n_importance_samples
        self.n_score_samples = n_score_samples
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
        self.mixed_precision = mixed_precision
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    # Learning ---------------------------------------------------------------------------------

    def fit(self, X, y=None, *, groups=None):
        """Return self, trained for up to ``max_epochs`` passes over the sequences.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        self : HiddenMarkovAutoencoder
            The fitted model.

        Raises
        ------
        ValueError
            A parameter or X is not usable: the estimator is as it was before the call. Or the loss
            became NaN: then it has the weights of the last epoch before that; if there is none, it
            is as it was before the call.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0)
        >>> len(model.fit(load_geyser().data).history_["bound"])
        5
        """
        if y is not None and groups is None:
            warn_of_lengths(y, X)
        warm = self.warm_start and hasattr(self, "net_")
        continues = "warm_start=True" if warm else None
        return self._fit(X, groups, n_epochs=self.max_epochs, validate=True, continues=continues)

    def partial_fit(self, X, y=None, *, groups=None):
        """Return self after one pass over one more batch of sequences.

        The first call makes the model, and the units of the likelihood, from its batch. No rows are
        kept aside for validation.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        self : HiddenMarkovAutoencoder
            The model. If the step fails, the model does not change.

        Raises
        ------
        ValueError
            A parameter or X is not usable, or the loss became NaN.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, random_state=0)
        >>> for sequence in (X[:100], X[100:]):
        ...     model = model.partial_fit(sequence)
        >>> model.n_iter_
        2
        """
        continues = "partial_fit" if hasattr(self, "net_") else None
        return self._fit(X, groups, n_epochs=1, validate=False, continues=continues)

    # Saving -----------------------------------------------------------------------------------

    def save(self, path):
        """Write the fitted estimator to a file that holds arrays and JSON, and no code.

        Parameters
        ----------
        path : str or path-like
            The file, in the format of safetensors; replaced if it exists, as a whole or not at all.

        Raises
        ------
        ValueError
            A parameter is no plain data, such as ``callbacks`` or a generator as ``random_state``,
            or an attribute that you have set: set it to another value first.
        OSError
            The file cannot be written, or `path` is a folder, a pipe, a socket or a device.

        Examples
        --------
        >>> import os, tempfile
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "geyser.safetensors")
        ...     model.save(path)
        ...     HiddenMarkovAutoencoder.load(path).score(X) == model.score(X)
        True
        """
        super().save(path)

    @classmethod
    def load(cls, path, *, encoder=None, decoder=None):
        """Return the estimator that was written by :meth:`save`; nothing in the file is executed.

        Parameters
        ----------
        path : str or path-like
            The file.
        encoder, decoder : nn.Module, class or callable, default=None
            The value of the parameter of that name; needed if it was not None.

        Returns
        -------
        estimator : HiddenMarkovAutoencoder
            The fitted estimator, on its ``device``, or on the CPU if this machine lacks the device.

        Raises
        ------
        ValueError
            The file is damaged or not of such an estimator, or a module is missing.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from skvae import HiddenMarkovAutoencoder
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "data.txt"
        ...     _ = path.write_text("no model")
        ...     HiddenMarkovAutoencoder.load(path)
        Traceback (most recent call last):
        ValueError: ...
        """
        return super().load(path, encoder=encoder, decoder=decoder)

    # Steps of a fit ---------------------------------------------------------------------------

    def _constants_of(self, sequences):
        """Return the settings of the likelihood."""
        names = getattr(self, "feature_names_in_", None)
        rows = sequences.X
        likelihood = make_likelihood(self.likelihood, rows, self.likelihood_params, names=names)
        if self.n_states > len(rows):
            raise ValueError(
                f"n_states={self.n_states}: must be <= n_samples, which is {len(rows)}"
            )
        return likelihood.settings()

    @classmethod
    def _bound_module(cls, settings, constants, seed):
        """Return a new ChainBound with the first weights of its model."""
        names = ("n_components", "hidden_layer_sizes", "activation", "encoder", "decoder")
        model = make_model(
            likelihood_from_settings(constants),
            **{name: settings[name] for name in names},
            covariance=settings["encoder_covariance"],
            seed=seed,
        )
        n_states, transmat = settings["n_states"], settings["transmat_init"]
        with enough_memory(f"a chain of {n_states} states"):
            model.prior = StatePrior(settings["n_components"], n_states, transmat)
        return ChainBound(model, seed=seed, **{name: settings[name] for name in _OBJECTIVE})

    def _prepared(self, bound, sequences):
        """Return the rows in the likelihood's units, as PreparedSequences."""
        likelihood = bound.model.likelihood
        likelihood.check(sequences.X, getattr(self, "feature_names_in_", None))
        return PreparedSequences(likelihood.prepare(sequences.X), sequences.offsets)

    def _log_volume(self, bound, prepared):
        return bound.model.likelihood.log_volume(prepared.x)

    def _start(self, bound, training, validation):
        """Set the weights of a linear Gaussian model to factor analysis of all rows.

        Its latent vectors are standard normal, as all states are at first.
        """
        x = training.x if validation is None else np.concatenate([training.x, validation.x])
        model = bound.model
        if can_start_at_factor_analysis(self._settings, model.likelihood, x.shape):
            prior, model.prior = model.prior, Normal(model.n_components)
            start_at_factor_analysis(model, x)
            model.prior = prior

    def _current_settings(self, n_sequences):
        """Return the current parameters, with the actual size of a batch and warm-up."""
        settings = super()._current_settings(n_sequences)
        settings["kl_warmup"] = min(self.kl_warmup, self.max_epochs // 4)
        if self.transmat_init is not None:
            settings["transmat_init"] = self._checked_transmat()
        return settings

    def _record(self, record, watched, volume):
        super()._record(record, watched, volume)
        self._n_features_out = int(self.n_components)

    def _parameter_values(self):
        """Return the values of all parameters, also where a subclass has another constructor."""
        return {name: getattr(self, name) for name in signature(HiddenMarkovAutoencoder).parameters}

    def _check_parameters(self):
        """Raise ValueError if a parameter is not usable."""
        super()._check_parameters()
        for name in ("n_components", "n_states", "n_importance_samples", "n_score_samples"):
            check_number(name, getattr(self, name), Integral, 1)
        for name in ("beta", "free_bits"):
            check_number(name, getattr(self, name), Real, 0, LARGEST)
        check_number("kl_warmup", self.kl_warmup, Integral, 0)
        check_choice("encoder_covariance", self.encoder_covariance, COVARIANCES)
        check_choice("mixed_precision", self.mixed_precision, (True, False))
        check_choice("bound", self.bound, BOUNDS)
        check_choice("inference", self.inference, ("smooth", "filter"))
        if self.free_bits and self.n_importance_samples > 1:
            raise ValueError(
                f"free_bits={self.free_bits!r}: must be 0 with n_importance_samples > 1, as that "
                "bound has no divergence of its own"
            )
        if self.n_importance_samples > 1 and self.bound != "marginal":
            raise ValueError(
                f"n_importance_samples={self.n_importance_samples!r}: must be 1 with "
                f"bound={self.bound!r}, which has a factor for the path; set bound='marginal'"
            )
        if self.transmat_init is not None:
            self._checked_transmat()

    def _checked_transmat(self):
        """Return ``transmat_init`` as an array, whose rows sum to one."""
        shape, meaning = (self.n_states, self.n_states), "(n_states, n_states)"
        return check_stochastic("transmat_init", self.transmat_init, shape, meaning)
