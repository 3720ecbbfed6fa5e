r"""Variational autoencoder: a deep latent-variable model, trained by gradients of its bound.

.. math:: z \sim p(z), \qquad x \mid z \sim p(x \mid \mathrm{decoder}(z)), \qquad
          q(z \mid x) = N(\mathrm{encoder}(x)), \qquad
          \ln p(x) \ge E_q \ln p(x \mid z) - \mathrm{KL}(q(z \mid x) \,\|\, p(z)),

(Kingma & Welling, Auto-encoding variational Bayes, ICLR 2014, eq. 3). Rows are prepared by the
likelihood (``x`` below, in its units; ``X`` is in the user's). The model and its net are made in
:mod:`skvae.vae.build`; the methods of a fitted model are in :mod:`skvae.vae.base`.
"""

import warnings
from inspect import signature
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from skvae.neural import importance
from skvae.neural.estimator_file import read_estimator, write_estimator
from skvae.neural.likelihoods import make_likelihood
from skvae.neural.likelihoods.base import prepared
from skvae.neural.likelihoods.columns import with_given
from skvae.neural.linear import can_start_at_factor_analysis, start_at_factor_analysis
from skvae.neural.model_file import pack_tensors, unpack_tensors
from skvae.neural.posteriors import COVARIANCES
from skvae.neural.priors import PRIORS
from skvae.neural.training.net import train
from skvae.neural.training.parameters import LARGEST, check_training, same
from skvae.neural.training.processes import Processes, agreement
from skvae.neural.training.record import Divergence, TrainingRecord
from skvae.neural.training.rows_on_disk import RowsOnDisk
from skvae.neural.training.settings import device_name
from skvae.neural.training.streaming import Split, mean_over_blocks, split_rows
from skvae.vae.base import Autoencoder
from skvae.vae.build import ARCHITECTURE, build_model, build_net, training_digests
from skvae.vae.categories import sizes_of_parts
from skvae.vae.saving import net_state, restored_net
from skvae.validation import check_as_fitted, check_choice, check_number

_BATCH = 16, 128  # rows: few rows need small batches, for enough steps
_WARMUP = 20  # epochs
# The values of parameters that files of earlier versions do not have.
_OF_EARLIER_FILES = {"lr_schedule": "constant", "condition": None}


class Training(NamedTuple):
    """A net after its training.

    Parameters
    ----------
    net : NeuralNet
        With the weights to keep.
    rows : Split
        Its rows.
    record : TrainingRecord
        The course of the training.
    failure : Divergence or None
        The reason for its end, if the loss became NaN.
    """

    net: Any
    rows: Split
    record: TrainingRecord
    failure: Divergence | None

    @property
    def rank(self):
        """Return the order among trainings: failures last, then the objective of validation."""
        return self.failure is None, self.record.best_objectives[-1]


class VariationalAutoencoder(Autoencoder):
    """Variational autoencoder: density, latent space, samples, imputation by a deep model.

    Encoder and decoder are neural networks, trained together by skorch; ``score`` is the held-out
    log-likelihood in nats per row, as of every model here.

    Parameters
    ----------
    n_components : int, default=2
        The number of latent dimensions.
    hidden_layer_sizes : tuple of int, default=(128,)
        The widths of the encoder's hidden layers; the decoder has them in reverse. Without any,
        ``()``, both are linear: with the 'gaussian' likelihood and the 'normal' prior the model is
        factor analysis (with 'log_normal', of the logarithms), and training begins at its
        closed-form optimum for all rows, unless there are more than 1,024 features or fewer than
        two rows for each.
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
        'log_normal' and 'gamma' do so with the logarithm: the units of X do not matter. Columns of
        'categorical' have codes 0, 1, …, or strings, or a dtype of categories.
    likelihood_params : dict, default=None
        Parameters of the likelihood: ``scale`` ('feature', 'shared' or 'decoder': the source of σ),
        ``min_scale`` (its floor, in standard deviations of the features), both of 'gaussian',
        'student_t', 'log_normal', 'gamma' and 'beta', ``dof`` of 'student_t', ``n_categories`` of
        'categorical'. The default ``scale`` of 'gaussian' and 'log_normal', 'auto', is 'feature' or
        'decoder': both are trained, and the one with the higher objective of the validation rows is
        kept. 'feature' comes second, and its training ends where it is behind that of 'decoder'.
        Without such rows or hidden layers, and for rows that are not read into memory, it is
        'feature'.
    condition : int, slice, str or list, default=None
        Columns of X that are given, not modelled: indices, names or a mask, of numbers without
        missing values; a nominal one has an indicator of 0 and 1 for each category. The model is
        p(x | c) of the other columns x given these columns c. Encoder and decoder read c after x
        and z, standardised; p(z) does not depend on it.
    prior : {'auto', 'normal', 'mixture', 'vamp'}, default='auto'
        p(z): standard normal; a learned Gaussian mixture, whose components are clusters; or the
        mixture of the posteriors of learned pseudo-inputs. 'auto' is 'mixture' where the likelihood
        is 'gaussian' or 'log_normal' and the built-in networks have hidden layers, and 'normal'
        elsewhere.
    n_prior_components : int, default=10
        The number of components of 'mixture' and 'vamp'.
    beta : float, default=1.0
        Weight of the KL divergence in training. It does not change the definition of ``score``, nor
        do the next three.
    kl_warmup : int, default=None
        Epochs during which that weight rises linearly, at most a quarter of ``max_epochs``. Without
        a warm-up, latent dimensions are often lost before the decoder has learned to use them. None
        is 20, or 0 where training begins at a factor analysis, which uses them.
    free_bits : float, default=0.0
        The least nats that each latent dimension's KL counts as in training.
    n_importance_samples : int, default=1
        Draws a row in training; more than one give the importance-weighted bound.
    n_score_samples : int, default=100
        Draws a row for ``score`` and all other importance sampling.
    max_epochs : int, default=500
        The largest number of passes over the data, ≥ 1; elsewhere in scikit-learn, ``max_iter``.
    batch_size : int, default=None
        The largest number of rows in a batch. None is 128, or a tenth of the rows if that is fewer,
        but at least 16.
    lr : float, default=2e-3
        Learning rate; the likelihood's own parameters, such as σ, have ten times it.
    lr_schedule : {'plateau', 'constant'}, default='plateau'
        'plateau' multiplies the learning rate by 0.3 after every third of ``n_iter_no_change``
        epochs without improvement of the validation rows, if there are any.
    optimizer : {'adam', 'adamw', 'rmsprop', 'sgd'} or class of torch.optim, default='adam'
        The optimiser.
    gradient_clip : float, default=None
        The largest norm of the gradient.
    early_stopping : bool, default=True
        Whether to set rows aside for validation, stop when their objective no longer rises, and
        keep the weights with the best one. It is the objective of training with the full ``beta``,
        also during the warm-up. The first weights count too.
    validation_fraction : float, default=0.1
        The share of those rows.
    n_iter_no_change : int, default=20
        Epochs without improvement after which training stops; those before 300 steps do not count.
    tol : float, default=1e-3
        The smallest improvement of the objective that counts, in nats per row.
    mixed_precision : bool, default=False
        Whether encoder and decoder train in bfloat16 where that is safe.
    callbacks : list, default=None
        Callbacks of skorch, such as a learning-rate schedule or a checkpoint.
    net_params : dict, default=None
        Any other parameter of ``skorch.NeuralNet``: ``{"compile": True}``,
        ``{"optimizer__weight_decay": 0.01}``, ``{"iterator_train": DataLoader}``.
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
    categories_ : list
        For each column the list of its categories by name, in the order of their codes, or None.
        It exists if a column of a 'categorical' likelihood has names: strings, in sorted order, a
        dtype of categories, in its order, or booleans of a data frame or an array of objects, False
        and True. ``set_output`` makes categories of strings.

    See Also
    --------
    EMGaussianMixture : A mixture, where clusters are Gaussian.
    sklearn.decomposition.FactorAnalysis : The model with ``hidden_layer_sizes=()``.

    Notes
    -----
    NaN in X is a missing value (missing at random): the encoder reads the mean in its place, and
    the bound is of the observed values (MIWAE). Here an interrupted ``fit`` keeps its progress:
    Ctrl-C ends it with a warning and the best weights so far, a loss of NaN with a ValueError and
    the weights of the last good epoch. If no epoch was completed, and after every other error, the
    estimator is as it was before the call.

    The order of rows in memory does not change a fit. Only ratios of weights count: they multiply
    the rows' terms of the objective. But whole numbers, at most eight in the mean, repeat the rows:
    the fit is that of repeated rows, whose copies have noise of their own and may be among the
    validation rows.

    A ``dask.array.Array``, or a float32 or float64 memmap, of more than 2²⁵ numbers is not read
    into memory: batches come from a buffer of some of its blocks, mixed row by row, while the next
    buffer is read. Each epoch reads every block once, in a new order; a file's blocks have 2²⁰
    numbers, a Dask array's are its chunks. Memory holds two buffers, each at most 128 MB of float32
    unless two blocks are larger, a block, and the validation rows, at most a sixteenth of a buffer.
    Results with a row for each row of a Dask array are lazy Dask arrays; ``score`` is a number.

    Where torch.distributed is initialised, all processes of its group train one model: see
    :meth:`fit`.

    References
    ----------
    Kingma & Welling (2014), ICLR. Burda, Grosse & Salakhutdinov (2016), ICLR, for importance
    weighting. Tomczak & Welling (2018), AISTATS, for the VampPrior. Mattei & Frellsen (2019), ICML,
    for missing values.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skvae import VariationalAutoencoder
    >>> X = load_iris().data
    >>> vae = VariationalAutoencoder(n_components=2, random_state=0).fit(X)
    >>> vae.transform(X).shape
    (150, 2)
    >>> bool(vae.score(X) > -2.5)  # nats per row; four independent Gaussians have -5.0
    True
    """

    _architecture = ARCHITECTURE
    _module_names = ("encoder", "decoder")
    _sizes = ("n_features_in_", "n_iter_", "_noise_seed", "_n_features_out")
    _restored_net = staticmethod(restored_net)

    def __init__(
        self,
        n_components=2,
        *,
        hidden_layer_sizes=(128,),
        activation="relu",
        encoder=None,
        decoder=None,
        encoder_covariance="diag",
        likelihood="gaussian",
        likelihood_params=None,
        condition=None,
        prior="auto",
        n_prior_components=10,
        beta=1.0,
        kl_warmup=None,
        free_bits=0.0,
        n_importance_samples=1,
        n_score_samples=100,
        max_epochs=500,
        batch_size=None,
        lr=2e-3,
        lr_schedule="plateau",
        optimizer="adam",
        gradient_clip=None,
        early_stopping=True,
        validation_fraction=0.1,
        n_iter_no_change=20,
        tol=1e-3,
        mixed_precision=False,
        callbacks=None,
        net_params=None,
        device="auto",
        random_state=None,
        warm_start=False,
        verbose=0,
    ):
        self.n_components = n_components
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.encoder = encoder
        self.decoder = decoder
        self.encoder_covariance = encoder_covariance
        self.likelihood = likelihood
        self.likelihood_params = likelihood_params
        self.condition = condition
        self.prior = prior
        self.n_prior_components = n_prior_components
        self.beta = beta
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits
        self.n_importance_samples = n_importance_samples
        self.n_score_samples = n_score_samples
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.lr = lr
        self.lr_schedule = lr_schedule
        self.optimizer = optimizer
        self.gradient_clip = gradient_clip
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.mixed_precision = mixed_precision
        self.callbacks = callbacks
        self.net_params = net_params
        self.device = device
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    # Learning ---------------------------------------------------------------------------------

    def fit(self, X, y=None, sample_weight=None):
        """Return self, trained for up to ``max_epochs`` passes over the rows.

        If torch.distributed is initialised, call it in every process of the default group, with the
        same X, the same parameters, and an int as ``random_state``. Each process computes its share
        of every batch, and all end with the same model, which is that of one process up to
        rounding. Ctrl-C then raises KeyboardInterrupt.

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
        self : VariationalAutoencoder
            The fitted model.

        Raises
        ------
        ValueError
            A parameter or X is not usable, or is not the same in all processes: the estimator is as
            it was before the call. Or the loss became NaN: then it has the weights of the last
            epoch before that; if there is none, it is as it was before the call.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(load_geyser().data)
        >>> len(vae.history_["bound"])
        5
        """
        failure = None
        with self._unchanged_on_failure(), agreement() as agree:
            self._check_parameters()
            going_on = self.warm_start and hasattr(self, "net_")
            rng = check_random_state(self.random_state)
            fraction = self.validation_fraction if self.early_stopping else None
            if going_on:
                net, x, weight = self._continued(X, sample_weight, "warm_start=True")
                # The same seed keeps the same rows aside, so that no row validates after training.
                own = fraction, self.max_epochs, self._noise_seed, agree
                training = self._train(net, x, weight, *own)
                failure = self._keep(training, self.max_epochs, self._noise_seed)
            else:
                rows = self._rows(X, sample_weight, reset=True, min_rows=2)
                seeds = rng.randint(2**31 - 1, size=2).tolist()
                failure = self._best_of_scales(*rows, fraction, seeds, agree)
        if failure is not None:
            raise failure
        return self

    def partial_fit(self, X, y=None, sample_weight=None):
        """Return self after one pass over one more batch of rows.

        The first call makes the model, and the units of the likelihood, from its batch. No rows are
        kept aside for validation.

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
        self : VariationalAutoencoder
            The model. If the step fails, the model does not change.

        Raises
        ------
        ValueError
            A parameter or X is not usable, or the loss became NaN.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, random_state=0)
        >>> for batch in (X[:100], X[100:200], X[200:]):
        ...     vae = vae.partial_fit(batch)
        >>> vae.n_iter_
        3
        """
        with self._unchanged_on_failure(), agreement() as agree:
            self._check_parameters()
            rng = check_random_state(self.random_state)
            if hasattr(self, "net_"):
                net, x, weight = self._continued(X, sample_weight, "partial_fit")
            else:
                X, weight = self._rows(X, sample_weight, reset=True, min_rows=2)
                scale, seed = self._scales(X, None)[0], int(rng.randint(2**31 - 1))
                net, x = self._begun(X, weight, scale, seed)
            seed = int(rng.randint(2**31 - 1))
            failure = self._keep(self._train(net, x, weight, None, 1, seed, agree), 1, seed)
            if failure is not None:
                raise failure
        return self

    # Saving -------------------------------------------------------------------------------------

    def __getstate__(self):
        state = dict(super().__getstate__())
        if "net_" in state:
            state["_net_state"] = pack_tensors(net_state(state.pop("net_")))
        return state

    def __setstate__(self, state):
        state = {**_OF_EARLIER_FILES, **state}
        packed = state.pop("_net_state", None)
        if "_settings" in state:
            state["_settings"] = {**_OF_EARLIER_FILES, **state["_settings"]}
        super().__setstate__(state)
        if packed is not None:
            self.net_ = restored_net(self._settings, unpack_tensors(*packed))

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

        Notes
        -----
        Of modules passed as ``encoder`` and ``decoder`` the file has the weights only; pass the
        modules again to :meth:`load`. Settings of ``set_output``, metadata requests and attributes
        that you have set are saved too.

        Examples
        --------
        >>> import os, tempfile
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "geyser.safetensors")
        ...     vae.save(path)
        ...     VariationalAutoencoder.load(path).score(X) == vae.score(X)
        True
        """
        check_is_fitted(self)
        write_estimator(self, path)

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
        estimator : VariationalAutoencoder
            The fitted estimator, on its ``device``, or on the CPU if this machine lacks the device.

        Raises
        ------
        ValueError
            The file is damaged or not of such an estimator, or a module is missing.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from skvae import VariationalAutoencoder
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "data.txt"
        ...     _ = path.write_text("no model")
        ...     VariationalAutoencoder.load(path)
        Traceback (most recent call last):
        ValueError: ...
        """
        return read_estimator(cls, path, {"encoder": encoder, "decoder": decoder})

    # Steps of a fit ------------------------------------------------------------------------------

    def _scales(self, X, fraction):
        """Return the values of ``scale`` to train with: one, or several to choose from.

        A choice takes validation rows, and a decoder that can give σ or not.
        """
        params = self.likelihood_params
        if not self._is_gaussian() or not (params is None or isinstance(params, dict)):
            return (None,)
        scale = (params or {}).get("scale", "auto")
        if scale != "auto":
            return (scale,)
        no_choice = fraction is None or not self.hidden_layer_sizes or self.decoder is not None
        no_choice = no_choice or isinstance(X, RowsOnDisk)
        return ("feature",) if no_choice else ("decoder", "feature")

    def _best_of_scales(self, X, weight, fraction, seeds, agree):
        """Train with every scale, and keep the best for the validation rows; return its failure.

        The second training stops where it is behind the first one.
        """
        best, problem = None, None
        for scale in self._scales(X, fraction):
            net, x = self._begun(X, weight, scale, seeds[0])
            try:
                own = fraction, self.max_epochs, seeds[1], agree, best
                trained = self._train(net, x, weight, *own)
            except Divergence as divergence:
                problem = divergence
                continue
            except KeyboardInterrupt:
                if best is None or Processes.here() is not None:  # others may have another one
                    raise
                break
            if best is None or trained.rank > best.rank:
                best = trained
            if trained.record.interrupted:
                break
        if best is None:
            raise problem
        return self._keep(best, self.max_epochs, seeds[1])

    def _begun(self, X, weight, scale, seed):
        """Return a new net, and the prepared rows.

        ``scale`` replaces that of ``likelihood_params``, unless it is None.
        """
        names, params = getattr(self, "feature_names_in_", None), self.likelihood_params
        if scale is not None:
            params = {**(params or {}), "scale": scale}
        shape = X.shape[1], names
        spec, params = with_given(self.likelihood, params, self.condition, *shape)
        if hasattr(self, "categories_"):
            spec, params = sizes_of_parts(spec, params, X, self.categories_, names)
        likelihood = make_likelihood(spec, X, params, names=names, weight=weight)
        x = prepared(likelihood, X)
        self._settings = self._current_settings(len(x))
        beside = can_start_at_factor_analysis(self._settings, likelihood, x.shape)
        if self.kl_warmup is None and beside:
            self._settings["kl_warmup"] = 0  # the first weights use the latent vectors
        model = build_model(
            self._settings, likelihood, seed, x, weight=weight, linear_beside=beside
        )
        self.history_ = {"bound": [], "reconstruction": [], "kl": []}
        return build_net(self._settings, model, seed), x

    def _continued(self, X, sample_weight, why):
        """Return a net that continues the fitted one, the prepared rows, and their weights."""
        X, weight = self._rows(X, sample_weight)
        x = self._in_units(X)
        settings = self._current_settings(len(x))
        for name in ARCHITECTURE:
            check_as_fitted(name, settings[name], self._settings[name], why, same)
        self._settings, before = settings, self.net_
        self.history_ = {name: list(values) for name, values in self.history_.items()}
        return restored_net(settings, net_state(before)), x, weight

    def _parameter_values(self):
        """Return the values of all parameters, also where a subclass has another constructor."""
        return {name: getattr(self, name) for name in signature(VariationalAutoencoder).parameters}

    def _current_settings(self, n_rows):
        """Return the current parameters, with the actual size of a batch and warm-up."""
        settings = self._parameter_values()
        for name, value in settings.items():
            if isinstance(value, np.generic):  # from a grid; torch needs Python's numbers
                settings[name] = value.item()
        settings["prior"] = self._kind_of_prior()
        warmup = _WARMUP if self.kl_warmup is None else self.kl_warmup
        settings["kl_warmup"] = min(warmup, self.max_epochs // 4)
        if self.batch_size is None:
            settings["batch_size"] = int(np.clip(n_rows // 10, *_BATCH))
        return settings

    def _train(self, net, x, weight, fraction, n_epochs, seed, agree, other=None):
        """Return the Training of a net.

        ``fraction`` is the share of validation rows, or None; ``agree`` compares the inputs of all
        processes first; ``other`` is another Training of these rows, which this one must beat.
        """
        model = net.module_.model
        rows = split_rows(x, model.likelihood, fraction, seed, weight)
        if Processes.here() is not None:
            agree(training_digests(self._settings, net, rows, n_epochs))
        if not net.history and can_start_at_factor_analysis(
            self._settings, model.likelihood, x.shape
        ):
            # Without hidden layers it is the optimum, of all rows: it needs no validation.
            part = rows.x, rows.weight
            start_at_factor_analysis(
                model, *(part if self._settings["hidden_layer_sizes"] else (x, weight))
            )
        failure = None
        try:
            options = {"n_epochs": n_epochs, "volume": rows.volume}
            weights = {"weight": rows.weight, "weight_valid": rows.weight_valid}
            if other is not None and other.failure is None:
                options["to_beat"] = other.record.best_objectives
            record = train(net, rows.x, rows.x_valid, **options, **weights)
        except Divergence as divergence:
            if divergence.record.n_epochs == 0:
                raise
            failure, record = divergence, divergence.record
        # Without a complete epoch there are no weights to keep; other processes may have others.
        if record.interrupted and (record.n_epochs == 0 or Processes.here() is not None):
            raise KeyboardInterrupt
        return Training(net, rows, record, failure)

    def _keep(self, training, n_epochs, seed):
        """Set the attributes of a training; return its failure."""
        record = training.record
        if record.interrupted:
            warnings.warn(
                f"training was interrupted after {record.n_epochs} of {n_epochs} epochs: the "
                f"weights kept are those of epoch {record.best_epoch}, the best so far",
                UserWarning,
                stacklevel=4,
            )
        self.net_ = training.net
        self._n_features_out = int(self.n_components)
        self._noise_seed = seed
        self._record(record, training.rows)
        return training.failure

    def _record(self, record, rows):
        """Set the attributes of the course of the training, in the units of X."""
        volume = rows.volume
        before = len(self.history_["bound"])
        found = {
            name: values + (0.0 if name == "kl" else volume)
            for name, values in record.terms.items()
        }
        if record.valid_bounds is not None:
            found["valid_bound"] = record.valid_bounds + volume
        elif "valid_bound" in self.history_:
            found["valid_bound"] = np.full(record.n_epochs, np.nan)
        for name, values in found.items():
            self.history_.setdefault(name, [np.nan] * before).extend(values.tolist())
        if record.best_epoch > before:
            self.n_iter_ = record.best_epoch
        elif not before:  # the start is best; in a warm start it is that of the earlier fit
            self.n_iter_ = 0
        trace = self.history_["bound" if rows.x_valid is None else "valid_bound"][: self.n_iter_]
        self.lower_bound_ = mean_over_blocks(self._bounds_of, rows.watched, rows.watched_weight)
        if not np.isfinite(self.lower_bound_):
            raise ValueError(
                f"the bound of the trained weights is {self.lower_bound_}: training diverged with "
                f"lr={self.lr!r}; lower lr, or set gradient_clip"
            )
        self.lower_bounds_ = [*trace[:-1], self.lower_bound_]
        self.converged_ = bool(record.stopped_early)

    def _bounds_of(self, x):
        """Return the bound of each prepared row under the stored weights, in the units of X."""
        model, n_draws = self._double(), int(self.n_importance_samples)
        if n_draws > 1:
            return importance.log_likelihood(model, x, n_draws, seed=self._noise_seed)[0]
        return importance.elbo_terms(model, x, 1, seed=self._noise_seed).elbo

    # Before learning ----------------------------------------------------------------------------

    def _check_parameters(self):
        """Raise ValueError if a parameter is not usable."""
        _check_values(self)
        # A model fitted on another machine may continue here, on the CPU.
        if not (hasattr(self, "net_") and same(self._settings["device"], self.device)):
            device_name(self.device)


def _check_values(estimator):
    """Raise ValueError if a parameter is not usable; the device is not checked."""
    for name in ("n_components", "n_prior_components", "n_importance_samples", "n_score_samples"):
        check_number(name, getattr(estimator, name), Integral, 1)
    check_training(estimator)
    for name in ("beta", "free_bits"):
        check_number(name, getattr(estimator, name), Real, 0, LARGEST)
    if estimator.kl_warmup is not None:
        check_number("kl_warmup", estimator.kl_warmup, Integral, 0)
    if estimator.free_bits and estimator.n_importance_samples > 1:
        raise ValueError(
            f"free_bits={estimator.free_bits!r}: must be 0 with n_importance_samples > 1, as that "
            "bound has no divergence of its own"
        )
    check_choice("encoder_covariance", estimator.encoder_covariance, COVARIANCES)
    check_choice("prior", estimator.prior, ("auto", *PRIORS))
    check_choice("lr_schedule", estimator.lr_schedule, ("plateau", "constant"))
    check_choice("mixed_precision", estimator.mixed_precision, (True, False))
