"""Training by a skorch NeuralNet of a module that computes a bound.

`make_net` composes the net, `train` runs it for some more epochs. The objective is in nats per row
and larger is better everywhere except in :class:`NegativeBound`, which skorch minimises.

A **bound module** is an ``nn.Module`` of any model: an autoencoder, a chain with neural emissions,
a transcriber of sequences. It has

* ``forward(x)`` and, where values are missing, ``forward(x, observed)``: returns the objective and
  then the terms, each a tensor of shape (n,), in nats, of the n rows of x. Where rows have weights,
  it has a further argument ``weight`` (n,), and multiplies with it: the weights of all rows have a
  mean of one, so that means over all rows are weighted means. Batches of sequences,
  whose arguments are those of :mod:`skvae.neural.training.sequences`, have terms for each row too.
  Validation compares the objective in evaluation mode: that of
  training after its warm-up, with the same noise in each epoch;
* ``term_names``: the names of the terms, "bound" first;
* ``begin_epoch(epoch)``: seeds the noise of epoch 1, 2, ..., if there is any;
* ``seed``: int ≥ 0, of noise, of the order of rows and of random parts such as dropout;
* ``fast_parts``: the names of its parts that have ten times the learning rate and no weight decay;
* ``numbers_per_row``: the size of the largest tensor for one entry; it limits validation batches;
* ``processes``: an attribute, set by `train` to the :class:`Processes` that train together or None;
  then each computes its share of a batch and ``forward`` returns the terms of the whole batch;
* with ``kl_warmup``, ``weight_kl(share)``: multiplies the weight of the KL divergence by a share;
* with ``prior_warmup``, ``prior``, a module, and ``initialize_prior(batches, n_entries, *, seed,
  if_better)``, which sets its components to clusters of the latent vectors, with ``if_better`` only
  if these explain the latent vectors better, and returns whether it did. Each batch holds the
  arguments of ``forward``.
"""

from skorch import NeuralNet
from skorch.callbacks import GradientNormClipping
from torch import nn

from skvae.neural.networks import isolated_random
from skvae.neural.training.batches import MODULES, RowBatches, RowDataset, epoch_seed, held_out_rows
from skvae.neural.training.best_weights import BestWeights
from skvae.neural.training.callbacks import (
    EpochBar,
    EpochHistory,
    EpochSeeds,
    EpochTerms,
    KLWarmup,
    PriorWarmup,
    StopEarly,
    lower_on_plateau,
)
from skvae.neural.training.processes import Processes, SharedSteps
from skvae.neural.training.record import record_of
from skvae.neural.training.settings import (
    checked_callbacks,
    checked_net_params,
    device_name,
    home,
    iterator_params,
    optimizer_class,
    optimizer_params,
    validation_batch,
    weights_dtype,
)
from skvae.neural.training.streaming import dataset_of


class NegativeBound(nn.Module):
    """The loss: the objective's mean over a batch, negated. The only minus sign in training."""

    def forward(self, terms, target=None):
        """Return the loss, in nats per row, from the output of a bound module."""
        return -terms[0].mean()


def make_net(
    bound,
    *,
    optimizer="adam",
    lr=1e-3,
    batch_size=128,
    max_epochs=100,
    kl_warmup=0,
    prior_warmup=None,
    early_stopping=False,
    n_iter_no_change=10,
    first_steps=0,
    tol=1e-3,
    gradient_clip=None,
    lr_schedule="constant",
    callbacks=None,
    device="auto",
    verbose=0,
    net_params=None,
):
    """Return an initialised skorch NeuralNet that trains a bound module.

    Parameters
    ----------
    bound : nn.Module
        A bound module, as described in this file. It is trained in place; it is ``net.module_`` or,
        if compiled, a part of it.
    optimizer : {'adam', 'adamw', 'rmsprop', 'sgd'} or type
        A name, or a class of ``torch.optim``.
    lr : float
        Learning rate. The ``fast_parts`` of the bound have ten times it, and no weight decay.
    batch_size : int
        The largest number of rows in a batch of training.
    max_epochs : int
        The number of epochs of a training, unless `train` gets another number.
    kl_warmup : int
        The number of epochs during which the weight of the KL divergence rises.
    prior_warmup : int, default=None
        The number of epochs during which a mixture prior does not change. Then its components are
        set to clusters of the posterior means; after as many epochs again they are set to new
        clusters if these are better. None: the prior is no mixture.
    early_stopping : bool
        Whether training stops when validation no longer improves; the best weights remain.
    n_iter_no_change : int
        The number of epochs without improvement after which training stops.
    first_steps : int
        An epoch that ends before this number of steps does not count as one without improvement.
    tol : float
        The smallest improvement that counts, in nats per row.
    gradient_clip : float, default=None
        The largest norm of the gradient.
    lr_schedule : {'constant', 'plateau'}
        Whether the learning rate falls, by a factor of 0.3, after epochs without improvement: a
        third of ``n_iter_no_change``.
    callbacks : list, default=None
        Callbacks of skorch, which are called after those made here.
    device : str
        A device of torch, or 'auto': CUDA if there is one, else the CPU.
    verbose : int
        Whether a progress bar is shown.
    net_params : dict, default=None
        Any other parameter of NeuralNet, such as ``compile=True``, ``optimizer__weight_decay`` or
        ``iterator_train=torch.utils.data.DataLoader``.

    Returns
    -------
    net : NeuralNet
        Its module is on ``device``.

    Raises
    ------
    ValueError
        ``net_params`` has a name that NeuralNet does not have, or that must not be set here.
    """
    net_params = checked_net_params(net_params)
    best_weights = BestWeights(
        early_stopping, n_iter_no_change, tol, max(kl_warmup, prior_warmup or 0), first_steps
    )
    own = _own_callbacks(bound.seed, kl_warmup, prior_warmup, best_weights, gradient_clip, verbose)
    if lr_schedule == "plateau" and early_stopping:
        own.append(("lr_schedule", lower_on_plateau(n_iter_no_change // 3, tol)))
    optimizer, device = optimizer_class(optimizer), device_name(device)
    net = NeuralNet(
        bound,
        NegativeBound,
        optimizer=optimizer,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        dataset=RowDataset,
        callbacks=[
            *own,
            *checked_callbacks(callbacks),
            ("stop_early", StopEarly(best_weights)),
        ],
        device=device,
        verbose=verbose,
        **{
            "iterator_train": RowBatches,
            "iterator_valid": RowBatches,
            "iterator_valid__batch_size": validation_batch(bound.numbers_per_row, batch_size),
            "dataset__dtype": weights_dtype(bound),
            "train_split": held_out_rows,
            "predict_nonlinearity": None,
            "callbacks__print_log": None,
            **optimizer_params(optimizer, lr, device, net_params, fast=bound.fast_parts),
            **iterator_params(net_params, bound.seed),
        },
    )
    net.history = EpochHistory()
    return _initialised(net, net_params)


def _own_callbacks(seed, kl_warmup, prior_warmup, best_weights, gradient_clip, verbose):
    """Return the callbacks that are called before the user's: pairs of name and callback."""
    processes = Processes.here()
    shown = verbose and (processes is None or not processes.rank)
    callbacks = {
        "prior_warmup": None if prior_warmup is None else PriorWarmup(prior_warmup, seed),
        "processes_together": None if processes is None else SharedSteps(),
        "epoch_seeds": EpochSeeds(),
        "kl_warmup": KLWarmup(kl_warmup) if kl_warmup else None,
        "epoch_terms": EpochTerms(),
        "best_weights": best_weights,
        "gradient_clip": GradientNormClipping(gradient_clip) if gradient_clip else None,
        "epoch_bar": EpochBar() if shown else None,
    }
    return [(name, callback) for name, callback in callbacks.items() if callback is not None]


def _initialised(net, net_params):
    """Return an initialised net; raise ValueError if one of its parameters does not fit."""
    try:
        return net.initialize()
    except (TypeError, ValueError) as error:
        if not net_params:
            raise
        raise ValueError(f"net_params={net_params!r}: {error}") from error


def train(
    net,
    X,
    X_valid=None,
    *,
    n_epochs=None,
    volume=0.0,
    weight=None,
    weight_valid=None,
    to_beat=(),
):
    """Return the record of a training for some more epochs from the current state of the net.

    Parameters
    ----------
    net : NeuralNet
        From `make_net`, or a pickled copy of one.
    X : ndarray, tensor or RowsOnDisk of shape (n_samples, ...), or PreparedSequences
        Prepared rows; NaN is missing.
    X_valid : ndarray or tensor of shape (n_valid, ...), or PreparedSequences, default=None
        Prepared rows to validate with.
    n_epochs : int, default=None
        The number of epochs; None is as many as in the previous training, and ``max_epochs`` in the
        first one.
    volume : float
        Added to the bound of the validated rows in the progress bar, in nats: the difference
        between the units of X and of prepared rows.
    weight, weight_valid : ndarray of shape (n,), default=None
        The weights of the rows, with a mean of one, as of :class:`streaming.Split`.
    to_beat : sequence of float
        The ``best_objectives`` of another training of these rows: this one stops where it is
        behind, see :class:`BestWeights`.

    Returns
    -------
    record : TrainingRecord
        The record of these epochs.

    Raises
    ------
    Divergence
        A ValueError: the loss became NaN or infinite. The net then has the weights of the last
        epoch with a finite loss.
    """
    if n_epochs is not None:
        net.max_epochs = n_epochs
    module = net.module_
    # A module may skip a mode that it has already, although a part of it has the other mode.
    module.train(not module.training)
    seed, epoch = module.seed, len(net.history) + 1
    shared = {"dtype": weights_dtype(module), "seed": seed, "epoch": epoch}
    held_out = None
    if X_valid is not None:
        where = home(net.iterator_valid, net.device)
        held_out = dataset_of(X_valid, **shared, weight=weight_valid, device=where)
    where = home(net.iterator_train, net.device)
    rows = dataset_of(X, **shared, weight=weight, device=where, held_out=held_out)
    callbacks = dict(net.callbacks_)
    bar = callbacks.get("epoch_bar", EpochBar())
    bar.volume = volume
    callbacks["best_weights"].to_beat = to_beat
    module.processes = Processes.here()
    try:
        with isolated_random(epoch_seed(seed, epoch, MODULES)):
            net.partial_fit(rows)
    finally:
        module.processes, callbacks["best_weights"].to_beat = None, ()
        bar.close()
    return record_of(net, callbacks["best_weights"])
