"""The weights that remain when training ends: those of the last epoch, or of the best one.

Epochs are ranked by the objective of the validation rows in evaluation mode, which is that of
training after its warm-up, and does not change. The weights that training begins with are a
candidate too.
"""

import math

import torch
from skorch.callbacks import Callback, EarlyStopping

from skvae.neural.training.record import Divergence, record_of

_LENIENCE = 3  # a training behind another one ends after patience // _LENIENCE epochs


class BestWeights(Callback):
    """Keeps the weights of the last epoch and of the best, and sets one of them at the end.

    The first weights count as an epoch, before the first.

    Parameters
    ----------
    early_stopping : bool
        Whether training stops, and the best weights remain, when validation no longer improves.
    patience : int
        The number of epochs without improvement after which training stops.
    tol : float
        The smallest improvement that counts, in nats per row, summed over epochs. The best epoch
        is the best by any margin.
    first_epoch : int
        Epochs up to this one do not count against the patience: training still warms up.
    first_steps : int
        Epochs that end before this number of steps of the optimiser do not count either.

    Attributes
    ----------
    to_beat : sequence of float
        The highest objective up to each epoch of another training, that of its first weights first.
        With early stopping, this training ends once its own was lower after as many epochs in
        ``patience`` / 3 epochs in a row. Epochs before ``first_epoch`` and ``first_steps`` do not
        count. After the other's last epoch its last objective is compared.
    """

    to_beat = ()

    def __init__(self, early_stopping, patience, tol, first_epoch, first_steps=0):
        self.early_stopping, self.patience = early_stopping, patience
        self.tol, self.first_epoch, self.first_steps = tol, first_epoch, first_steps

    def on_train_begin(self, net, **kwargs):
        """Begin the record of a training."""
        self.n_epochs_, self.misses_, self.kept_epoch_ = 0, 0, len(net.history)
        self.n_steps_ = self.behind_ = 0
        self.best_objectives_ = []
        self.last_ = self.best_ = None
        self.best_objective_ = self.bar_ = -math.inf
        self.stopped_ = self.interrupted_ = False

    def on_epoch_begin(self, net, dataset_valid=None, **kwargs):
        """Keep the weights that training begins with, and the objective of the validation rows."""
        if self.last_ is not None:
            return
        self.last_, self.kept_epoch_ = _copied_state(net.module_), len(net.history) - 1
        if dataset_valid is not None:
            self._rank(_objective(net, dataset_valid))
            net.module_.begin_epoch(len(net.history))  # the noise of this epoch begins anew
        self.best_objectives_.append(self.best_objective_)

    def on_batch_end(self, net, training=None, **kwargs):
        """Raise Divergence if the loss is not finite."""
        batches = net.history[-1]["batches"]
        if not math.isfinite(batches[-1]["train_loss" if training else "valid_loss"]):
            self._fail(net, f"batch {len(batches)}" if training else "in validation")

    def on_epoch_end(self, net, dataset_train=None, dataset_valid=None, **kwargs):
        """Keep the weights, and compare their objective with the best."""
        record = net.history[-1]
        _check_batches("iterator_train", record["train_batch_count"], dataset_train)
        if not _all_finite(net.module_):  # the last step may have failed after the last loss
            self._fail(net, "weights after its last batch")
        self.n_epochs_ += 1
        self.last_, self.kept_epoch_ = _copied_state(net.module_), len(net.history)
        self.n_steps_ += record["train_batch_count"]
        if dataset_valid is not None:
            _check_batches("iterator_valid", record["valid_batch_count"], dataset_valid)
            self._count(-record["valid_loss"])
        self.best_objectives_.append(self.best_objective_)
        self.behind_ = self.behind_ + 1 if self._is_behind() else 0
        lost = self.behind_ >= max(1, self.patience // _LENIENCE)
        self.stopped_ = self.early_stopping and (lost or self.misses_ >= self.patience)

    def _count(self, objective):
        """Rank the last weights, and count the epochs without improvement."""
        self._rank(objective)
        if objective > self.bar_:
            self.misses_, self.bar_ = 0, objective + self.tol
        elif self._counts():
            self.misses_ += 1

    def _is_behind(self):
        """Return whether another training was better after as many epochs."""
        other = self.to_beat[: self.n_epochs_ + 1]
        return self._counts() and len(other) > 0 and self.best_objective_ < other[-1]

    def _counts(self):
        """Return whether the last epoch counts against this training."""
        return self.kept_epoch_ > self.first_epoch and self.n_steps_ >= self.first_steps

    def _rank(self, objective):
        """Keep the last weights as the best if their objective is."""
        if objective > self.best_objective_:
            self.best_, self.best_objective_ = self.last_, objective
            self.best_epoch_ = self.kept_epoch_

    def on_train_end(self, net, **kwargs):
        """Set the weights that remain."""
        self.stopped_ = self.stopped_ or _stopped_by_user(net)
        self.interrupted_ = self.n_epochs_ < net.max_epochs and not self.stopped_
        if len(net.history) > self.kept_epoch_ > 0:  # the last epoch was not completed
            del net.history[self.kept_epoch_ :]
        if self.best_ is not None and (self.early_stopping or self.interrupted_):
            net.module_.load_state_dict(self.best_)
            self.kept_epoch_ = self.best_epoch_
        self.last_ = self.best_ = None

    def _fail(self, net, place):
        """Set the last good weights, drop the epoch and raise Divergence."""
        net.module_.load_state_dict(self.last_)
        net.optimizer_.state.clear()  # its averages are not finite either
        message = _divergence_message(net, place, self.kept_epoch_)
        del net.history[-1]
        raise Divergence(message, record_of(net, self))

    def __getstate__(self):
        return {**self.__dict__, "last_": None, "best_": None}


def _objective(net, rows):
    """Return the mean objective of validation rows under the current weights, as of an epoch."""
    total = n_rows = 0
    for batch in net.get_iterator(rows, training=False):
        n = len(batch[1])
        total, n_rows = total - n * net.validation_step(batch)["loss"].item(), n_rows + n
    _check_batches("iterator_valid", n_rows, rows)
    return total / n_rows


def _check_batches(iterator, n_batches, rows):
    """Raise ValueError if an iterator has given no batch."""
    if not n_batches:
        raise ValueError(
            f"{iterator} gave no batch of {len(rows)} rows: with drop_last=True a batch must have "
            "at most as many rows; lower batch_size, or leave drop_last out of net_params"
        )


def _stopped_by_user(net):
    """Return whether an EarlyStopping that the user passed has ended the training."""
    callbacks = (callback for _, callback in net.callbacks_)
    return any(isinstance(c, EarlyStopping) and c.misses_ >= c.patience for c in callbacks)


def _copied_state(module):
    """Return a copy of a module's state."""
    return {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in module.state_dict().items()
    }


@torch.no_grad()
def _all_finite(module):
    """Return whether all weights are finite."""
    finite = [torch.isfinite(weight).all() for weight in module.parameters()]
    return bool(torch.stack(finite).all())


def _divergence_message(net, place, kept_epoch):
    """Return the message of a Divergence in a place of the current epoch, with remedies.

    ``kept_epoch`` is the epoch whose weights the net has now; 0 are the first weights.
    """
    kept = f"those at the end of epoch {kept_epoch}" if kept_epoch else "the first ones"
    remedies = [f"a smaller learning rate than lr={net.lr}"]
    if any(hasattr(part, "min_scale") for part in net.module_.modules()):
        remedies.append("a larger floor of the scale (min_scale in likelihood_params)")
    remedies.append("a limit to the gradient's norm")
    return (
        f"training diverged: the loss is not finite in epoch {len(net.history)} ({place}). The "
        f"weights are {kept}. Try {', '.join(remedies)}, and look for extreme values in X"
    )
