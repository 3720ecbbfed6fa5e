"""Callbacks of the net: seeds of an epoch, warm-ups, the terms of the bound, the progress bar.

The weights that remain are kept in :mod:`skvae.neural.training.best_weights`.
"""

import torch
from skorch.callbacks import Callback, LRScheduler
from skorch.history import History
from skorch.utils import to_tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from skvae.neural.training.batches import CLUSTERS, RowDataset, epoch_seed
from skvae.progress import progress_bar

_LOWER = 0.3  # of the learning rate, on a plateau
_ADDED_UP = 1 << 20  # rows whose terms are kept before they are summed


class EpochHistory(History):
    """A history that finds its current epoch fast and keeps one batch of each earlier epoch.

    The base class copies the list of epochs each time skorch reads the current one, several times a
    batch. And the records of all batches would soon be larger than the model.
    """

    def new_epoch(self):
        """Begin the record of an epoch."""
        if self:
            del self[-1]["batches"][:-1]
        super().new_epoch()

    def __getitem__(self, i):
        return list.__getitem__(self, i) if isinstance(i, int) else super().__getitem__(i)


class PriorWarmup(Callback):
    """Keeps a mixture prior fixed at first, then sets its components to clusters of the latents.

    Encoders separate clusters only after a while, and components that begin between clusters
    rarely move to them later. After as many epochs again the clusters are computed once more, and
    used if they explain the latents better.

    Parameters
    ----------
    n_epochs : int
        The number of epochs before the clusters are computed.
    seed : int
        Seed of k-means.
    """

    def __init__(self, n_epochs, seed):
        self.n_epochs, self.seed = n_epochs, seed

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Keep the prior fixed, set its components, or let it learn."""
        done, module = len(net.history) - 1, net.module_
        module.prior.requires_grad_(done >= self.n_epochs)
        if done not in (self.n_epochs, 2 * self.n_epochs):
            return
        module.train(False)
        batches = net.get_iterator(dataset_train, training=False)
        inputs = (to_tensor(x, device=net.device) for x, _ in batches)
        seed = epoch_seed(self.seed, done, CLUSTERS) % 2**32
        again = done > self.n_epochs
        if module.initialize_prior(inputs, len(dataset_train), seed=seed, if_better=again):
            # The optimiser's averages are those of the old components.
            for parameter in module.prior.parameters():
                net.optimizer_.state.pop(parameter, None)


def lower_on_plateau(patience, tol):
    """Return a callback that lowers the learning rate where validation no longer improves.

    Parameters
    ----------
    patience : int
        The number of epochs without improvement before the rate falls.
    tol : float
        The smallest improvement that counts, in nats per row.
    """
    options = {"factor": _LOWER, "patience": patience, "threshold": tol, "threshold_mode": "abs"}
    return LRScheduler(ReduceLROnPlateau, monitor=_validation_loss, event_name=None, **options)


def _validation_loss(net):
    """Return the loss of the validation rows; without any, one that falls in every epoch."""
    return net.history[-1].get("valid_loss", -len(net.history))


class EpochSeeds(Callback):
    """Makes an epoch's order and noise depend on its number alone, not on earlier epochs."""

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Pass the number of the epoch to the module and the rows."""
        if not isinstance(net.history, EpochHistory):  # loaded from a checkpoint of skorch
            net.history = EpochHistory(net.history)
        epoch = len(net.history)
        net.module_.begin_epoch(epoch)
        if isinstance(dataset_train, RowDataset):
            dataset_train.epoch = epoch


class KLWarmup(Callback):
    """Raises the weight of the KL divergence linearly to its full value over some epochs.

    With the full weight from the start, latent dimensions become unused early in training
    (Sønderby et al., NeurIPS 2016).

    Parameters
    ----------
    n_epochs : int
        The number of epochs with less than the full weight: epoch e = 1, 2, ... has the share
        ``e / (n_epochs + 1)``.
    """

    def __init__(self, n_epochs):
        self.n_epochs = n_epochs

    def on_epoch_begin(self, net, **kwargs):
        """Set the weight of this epoch."""
        net.module_.weight_kl(min(1.0, len(net.history) / (self.n_epochs + 1)))


class EpochTerms(Callback):
    """Records the means of the terms in the history: train_bound, valid_kl, and so on."""

    def on_epoch_begin(self, net, **kwargs):
        """Discard the terms of the previous epoch."""
        self.parts_ = {True: [], False: []}
        self.sums_ = {True: [], False: []}

    def on_batch_end(self, net, training=None, y_pred=None, **kwargs):
        """Keep the terms of the batch; nothing is computed, as that would wait for the device."""
        parts = self.parts_[training]
        parts.append([term.detach() for term in y_pred[1:]])
        if len(parts) * len(y_pred[1]) > _ADDED_UP:
            self._add_up(training)

    def _add_up(self, training):
        """Replace the terms that were kept by their sums over rows and the number of rows."""
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
            for name, total in zip(net.module_.term_names, totals, strict=True):
                net.history.record(f"{prefix}_{name}", total / n_rows)
        self.parts_ = self.sums_ = None


class StopEarly(Callback):
    """Ends training as skorch does, after all other callbacks of the epoch.

    Parameters
    ----------
    best_weights : BestWeights
        The callback whose ``stopped_`` ends the training.
    """

    def __init__(self, best_weights):
        self.best_weights = best_weights

    def on_epoch_end(self, net, **kwargs):
        """Raise KeyboardInterrupt, which skorch takes for the end of training."""
        if self.best_weights.stopped_:
            raise KeyboardInterrupt


class EpochBar(Callback):
    """A progress bar over epochs on stderr, with the current bound in nats per row."""

    volume = 0.0  # is added to bounds of prepared rows: the sum is in the units of X

    def on_train_begin(self, net, **kwargs):
        """Draw the bar."""
        self.bar_ = progress_bar(net.max_epochs, "epoch")

    def on_epoch_end(self, net, **kwargs):
        """Advance the bar."""
        record = net.history[-1]
        bound = record.get("valid_bound", record["train_bound"]) + self.volume
        self.bar_.set_postfix_str(f"lower bound {bound:.6f}", refresh=False)
        self.bar_.update()

    def on_train_end(self, net, **kwargs):
        """Close the bar."""
        self.close()

    def close(self):
        """Close the bar, if there is one."""
        if getattr(self, "bar_", None) is not None:
            self.bar_.close()
        self.bar_ = None

    def __getstate__(self):
        return {**self.__dict__, "bar_": None}
