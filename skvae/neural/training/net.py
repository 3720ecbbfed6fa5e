"""Training by a skorch NeuralNet: its loss, its callbacks, and what came of it.

The objective is in nats per row and larger is better everywhere but in :class:`NegativeBound`,
which skorch minimises. Rows are prepared by the likelihood, and so are the units of all bounds.

`make_net` composes the net, `train` runs it for some epochs more. The model is
``net.module_.model``, also when it is compiled or was pickled meanwhile.
"""

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback, EarlyStopping, GradientNormClipping
from skorch.history import History
from skorch.utils import to_tensor
from torch import nn

from skvae.neural.networks import isolated_random
from skvae.neural.priors import Mixture
from skvae.neural.training.batches import (
    CLUSTERS,
    MODULES,
    RowBatches,
    Rows,
    epoch_seed,
    held_out_rows,
)
from skvae.neural.training.best_weights import KeptWeights
from skvae.neural.training.prior_placement import latent_moments, place_components
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

_ADDED_UP = 1 << 20  # rows whose terms are kept until then


class NegativeBound(nn.Module):
    """The loss: the objective's mean over a batch, negated. The only minus sign in training."""

    def forward(self, terms, target=None):
        """Return the loss, in nats per row, of what a SampledBound says of a batch."""
        return -terms[0].mean()


class EpochHistory(History):
    """A history whose current epoch is at hand, and which keeps one batch of each past epoch.

    skorch looks the epoch up several times a batch and copies the list each time; and the records
    of all batches would soon be larger than the model.
    """

    def new_epoch(self):
        """Begin the record of an epoch."""
        if self:
            del self[-1]["batches"][:-1]
        super().new_epoch()

    def __getitem__(self, i):
        return list.__getitem__(self, i) if isinstance(i, int) else super().__getitem__(i)


# Callbacks ----------------------------------------------------------------------------------------


class PriorWarmup(Callback):
    """A mixture prior stays as it is for some epochs, and then begins at the clusters there are.

    Encoders tell clusters apart only after a while, and components that began between clusters
    rarely find their way later. So after as many epochs again the clusters are looked for once
    more, and taken where they explain the latents better.

    Parameters
    ----------
    n_epochs : int
        Epochs before the clusters are looked for.
    seed : int
        Of k-means.
    """

    def __init__(self, n_epochs, seed):
        self.n_epochs, self.seed = n_epochs, seed

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Hold the prior, or place its components, or let it learn."""
        done, model = len(net.history) - 1, net.module_.model
        model.prior.requires_grad_(done >= self.n_epochs)
        if done not in (self.n_epochs, 2 * self.n_epochs):
            return
        net.module_.train(False)
        batches = net.get_iterator(dataset_train, training=False)
        given = (to_tensor(x, device=net.device) for x, _ in batches)
        moments = latent_moments(model, given, len(dataset_train))
        seed = epoch_seed(self.seed, done, CLUSTERS) % 2**32
        again = done > self.n_epochs
        if place_components(model.prior, *moments, seed=seed, if_better=again):
            for parameter in model.prior.parameters():  # averages of other steps
                net.optimizer_.state.pop(parameter, None)


class FreshDraws(Callback):
    """Each epoch's order and noise follow from its number, whatever happened before it."""

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Tell the module and the rows which epoch it is."""
        if not isinstance(net.history, EpochHistory):  # loaded from a checkpoint
            net.history = EpochHistory(net.history)
        epoch = len(net.history)
        net.module_.begin_epoch(epoch)
        if isinstance(dataset_train, Rows):
            dataset_train.epoch = epoch


class KLWarmup(Callback):
    """The KL divergence's weight rises linearly, and is whole after some epochs.

    So that latent dimensions are not given up at first (Sønderby et al., NeurIPS 2016).

    Parameters
    ----------
    beta : float
        The weight at last.
    n_epochs : int
        Epochs with less: epoch e = 1, 2, ... has ``beta * e / (n_epochs + 1)``.
    """

    def __init__(self, beta, n_epochs):
        self.beta, self.n_epochs = beta, n_epochs

    def on_epoch_begin(self, net, **kwargs):
        """Set the weight of this epoch."""
        net.module_.weight_kl(self.beta * min(1.0, len(net.history) / (self.n_epochs + 1)))


class EpochTerms(Callback):
    """The bound and its two terms enter the history: train_bound, valid_kl, and so on."""

    NAMES = ("bound", "reconstruction", "kl")

    def on_epoch_begin(self, net, **kwargs):
        """Forget the epoch before."""
        self.parts_ = {True: [], False: []}
        self.sums_ = {True: [], False: []}

    def on_batch_end(self, net, training=None, y_pred=None, **kwargs):
        """Keep what was said of the batch; nothing is computed, and no device waited for."""
        parts = self.parts_[training]
        parts.append([term.detach() for term in y_pred[1:]])
        if len(parts) * len(y_pred[1]) > _ADDED_UP:
            self._add_up(training)

    def _add_up(self, training):
        """Put sums over rows, and their number, in the place of what was kept of them."""
        terms = [
            torch.cat(part).cpu().double() for part in zip(*self.parts_[training], strict=True)
        ]
        self.sums_[training].append([len(terms[0]), *(term.sum().item() for term in terms)])
        self.parts_[training] = []

    def on_epoch_end(self, net, **kwargs):
        """Record the means over the rows."""
        for training, sums in self.sums_.items():
            if self.parts_[training]:
                self._add_up(training)
            if not sums:
                continue
            prefix = "train" if training else "valid"
            n_rows, *totals = map(sum, zip(*sums, strict=True))
            for name, total in zip(self.NAMES, totals, strict=True):
                net.history.record(f"{prefix}_{name}", total / n_rows)
        self.parts_ = self.sums_ = None


class WeightKeeper(KeptWeights, Callback):
    """Keeps the weights of the last epoch and of the best; see KeptWeights."""

    def _stopped_by_user(self, net):
        callbacks = (callback for _, callback in net.callbacks_)
        return any(isinstance(c, EarlyStopping) and c.misses_ >= c.patience for c in callbacks)


class ProcessesTogether(SharedSteps, Callback):
    """Makes the steps of several processes one; see SharedSteps."""


class StopEarly(Callback):
    """Ends training as skorch wants it done, when all other callbacks have seen the epoch.

    Parameters
    ----------
    keeper : WeightKeeper
        Knows when.
    """

    def __init__(self, keeper):
        self.keeper = keeper

    def on_epoch_end(self, net, **kwargs):
        """Raise KeyboardInterrupt, which skorch takes for the end of training."""
        if self.keeper.stopped_:
            raise KeyboardInterrupt


class EpochBar(Callback):
    """A progress bar over epochs on stderr, with the current bound in nats per row."""

    volume = 0.0  # to be added to bounds of prepared rows: then they are in the units of X

    def on_train_begin(self, net, **kwargs):
        """Draw the bar."""
        from tqdm import tqdm  # not before it is needed: a thread of its own comes with it

        self.bar_ = tqdm(total=net.max_epochs, unit="epoch")

    def on_epoch_end(self, net, **kwargs):
        """Move it."""
        record = net.history[-1]
        bound = record.get("valid_bound", record["train_bound"]) + self.volume
        self.bar_.set_postfix_str(f"lower bound {bound:.6f}", refresh=False)
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        """Finish it."""
        self.close()

    def close(self):
        """Finish the bar, if there is one."""
        if getattr(self, "bar_", None) is not None:
            self.bar_.close()
        self.bar_ = None

    def __getstate__(self):
        return {**self.__dict__, "bar_": None}


# The net ------------------------------------------------------------------------------------------


def _own_callbacks(*, prior_warmup, kl_warmup, weight_keeper, gradient_clip, verbose):
    """Return what sees an epoch before the user's callbacks: pairs of name and callback."""
    processes = Processes.here()
    shown = verbose and (processes is None or not processes.rank)
    callbacks = {
        "prior_warmup": prior_warmup,
        "processes_together": None if processes is None else ProcessesTogether(),
        "fresh_draws": FreshDraws(),
        "kl_warmup": kl_warmup,
        "epoch_terms": EpochTerms(),
        "weight_keeper": weight_keeper,
        "gradient_clip": gradient_clip,
        "epoch_bar": EpochBar() if shown else None,
    }
    return [(name, callback) for name, callback in callbacks.items() if callback is not None]


def make_net(
    model,
    *,
    seed,
    optimizer="adam",
    lr=1e-3,
    batch_size=128,
    max_epochs=100,
    beta=1.0,
    kl_warmup=0,
    free_bits=0.0,
    n_importance_samples=1,
    prior_warmup=None,
    early_stopping=False,
    n_iter_no_change=10,
    first_steps=0,
    tol=1e-3,
    gradient_clip=None,
    mixed_precision=False,
    callbacks=None,
    device="auto",
    verbose=0,
    net_params=None,
):
    """Return an initialised skorch NeuralNet that trains a model.

    Parameters
    ----------
    model : LatentModel
        Trained in place; from here on it is ``net.module_.model``.
    seed : int
        ≥ 0, of the order of rows, of noise and of what modules draw.
    optimizer : {'adam', 'adamw', 'rmsprop', 'sgd'} or type
        A name, or a class of ``torch.optim``.
    lr : float
        Learning rate. Parameters of the likelihood and of a mixture prior have ten times it, and
        no weight decay.
    batch_size : int
        The largest number of rows in a batch of training.
    max_epochs : int
        Epochs of a training, unless `train` is told otherwise.
    beta : float
        Weight of the KL divergence in training.
    kl_warmup : int
        Epochs during which that weight rises.
    free_bits : float
        What each latent dimension's KL counts as at least in training, in nats.
    n_importance_samples : int
        Draws per row; more than one give the importance-weighted bound.
    prior_warmup : int, default=None
        Epochs after which a mixture prior, held until then, is placed on the clusters of the
        posterior means; after as many again it is if that is better. None is a quarter of
        `max_epochs`.
    early_stopping : bool
        Whether training stops when validation no longer improves; the best weights remain.
    n_iter_no_change : int
        Epochs without improvement after which it stops.
    first_steps : int
        Epochs up to so many steps do not count as such.
    tol : float
        What counts as an improvement, in nats per row.
    gradient_clip : float, default=None
        The largest norm of the gradient.
    mixed_precision : bool
        Whether encoder and decoder train in bfloat16.
    callbacks : list, default=None
        Callbacks of skorch, which see an epoch after those made here.
    device : str
        Of torch, or 'auto': CUDA if there is one, else the CPU.
    verbose : int
        Whether a progress bar is shown.
    net_params : dict, default=None
        Any other parameter of NeuralNet, such as ``compile=True``, ``optimizer__weight_decay`` or
        ``iterator_train=torch.utils.data.DataLoader``.

    Returns
    -------
    net : NeuralNet
        On its device.

    Raises
    ------
    ValueError
        A parameter of NeuralNet is not known, or not to be set here.
    """
    from skvae.vae.bound_module import SampledBound

    net_params = checked_net_params(net_params)
    mixture = isinstance(model.prior, Mixture)
    if prior_warmup is None:
        prior_warmup = max_epochs // 4
    first_epoch = max(kl_warmup, prior_warmup if mixture else 0)
    keeper = WeightKeeper(early_stopping, n_iter_no_change, tol, first_epoch, first_steps)
    own = _own_callbacks(
        prior_warmup=PriorWarmup(prior_warmup, seed) if mixture else None,
        kl_warmup=KLWarmup(beta, kl_warmup),
        weight_keeper=keeper,
        gradient_clip=GradientNormClipping(gradient_clip) if gradient_clip else None,
        verbose=verbose,
    )
    bound = SampledBound(
        model,
        seed=seed,
        beta=beta,
        free_bits=free_bits,
        n_importance_samples=n_importance_samples,
        mixed_precision=mixed_precision,
        compiled=bool(net_params.get("compile")),
    )
    optimizer, device = optimizer_class(optimizer), device_name(device)
    fast = ("likelihood", "prior") if mixture else ("likelihood",)
    n_valid = validation_batch(model, batch_size, n_importance_samples)
    net = NeuralNet(
        bound,
        NegativeBound,
        optimizer=optimizer,
        lr=lr,
        max_epochs=max_epochs,
        batch_size=batch_size,
        dataset=Rows,
        callbacks=[*own, *checked_callbacks(callbacks), ("stop_early", StopEarly(keeper))],
        device=device,
        verbose=verbose,
        **{
            "iterator_train": RowBatches,
            "iterator_valid": RowBatches,
            "iterator_valid__batch_size": n_valid,
            "dataset__dtype": weights_dtype(model),
            "train_split": held_out_rows,
            "predict_nonlinearity": None,
            "callbacks__print_log": None,
            **optimizer_params(optimizer, lr, device, net_params, fast=fast),
            **iterator_params(net_params, seed),
        },
    )
    net.history = EpochHistory()
    return _initialised(net, net_params)


def _initialised(net, net_params):
    """Return a net that is ready; raise ValueError if one of its parameters does not fit."""
    try:
        return net.initialize()
    except (TypeError, ValueError) as error:
        if not net_params:
            raise
        raise ValueError(f"net_params={net_params!r}: {error}") from error


def train(net, X, X_valid=None, *, n_epochs=None, volume=0.0):
    """Train for some epochs more, from where the net stands, and return what came of it.

    Parameters
    ----------
    net : NeuralNet
        From `make_net`, or unpickled since.
    X : ndarray, tensor or StoredRows of shape (n_samples, n_features)
        Prepared rows; NaN is missing.
    X_valid : ndarray or tensor of shape (n_valid, n_features), default=None
        Prepared rows to validate with.
    n_epochs : int, default=None
        How many; None is as many as in the training before, and ``max_epochs`` in the first.
    volume : float
        What the bound of the rows judged is more in the units of X, in nats: for the progress bar.

    Returns
    -------
    record : TrainingRecord
        Of these epochs.

    Raises
    ------
    Divergence
        The loss became NaN or infinite, a ValueError. The net then has the weights of the last
        epoch in which it was not.
    """
    if n_epochs is not None:
        net.max_epochs = n_epochs
    module = net.module_
    module.train(not module.training)  # or parts that are in another mode than the whole stay so
    seed, epoch = module.seed, len(net.history) + 1
    shared = {"dtype": weights_dtype(module.model), "seed": seed, "epoch": epoch}
    held_out = None
    if X_valid is not None:
        held_out = Rows(X_valid, **shared, device=home(net.iterator_valid, net.device))
    where = home(net.iterator_train, net.device)
    rows = dataset_of(X, **shared, device=where, held_out=held_out)
    callbacks = dict(net.callbacks_)
    bar = callbacks.get("epoch_bar", EpochBar())
    bar.volume = volume
    module.processes = Processes.here()
    try:
        with isolated_random(epoch_seed(seed, epoch, MODULES)):
            net.partial_fit(rows)
    finally:
        module.processes = None
        bar.close()
    return record_of(net.history, callbacks["weight_keeper"])
