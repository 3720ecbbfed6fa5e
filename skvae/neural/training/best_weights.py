"""The weights that remain when training ends: those of the last epoch, or of the best one."""

import math

import torch
from skorch.callbacks import Callback, EarlyStopping

from skvae.neural.training.record import Divergence, record_of


class BestWeights(Callback):
    """Keeps the weights of the last epoch and of the best, and sets one of them at the end.

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
        Epochs up to this one do not count against the patience: the objective still changes.
    first_steps : int
        Epochs that end before this number of steps of the optimiser do not count either.
    """

    def __init__(self, early_stopping, patience, tol, first_epoch, first_steps=0):
        self.early_stopping, self.patience = early_stopping, patience
        self.tol, self.first_epoch, self.first_steps = tol, first_epoch, first_steps

    def on_train_begin(self, net, **kwargs):
        """Begin the record of a training."""
        self.n_epochs_, self.misses_, self.kept_epoch_ = 0, 0, len(net.history)
        self.n_steps_ = 0
        self.last_ = self.best_ = None
        self.best_bound_ = self.bar_ = -math.inf
        self.stopped_ = self.interrupted_ = False

    def on_epoch_begin(self, net, **kwargs):
        """Keep the weights that training begins with."""
        if self.last_ is None:
            self.last_, self.kept_epoch_ = _copied_state(net.module_), len(net.history) - 1

    def on_batch_end(self, net, training=None, **kwargs):
        """Raise Divergence if the loss is not finite."""
        batches = net.history[-1]["batches"]
        if not math.isfinite(batches[-1]["train_loss" if training else "valid_loss"]):
            self._fail(net, f"batch {len(batches)}" if training else "in validation")

    def on_epoch_end(self, net, **kwargs):
        """Keep the weights, and compare their bound with the best."""
        if not _all_finite(net.module_):  # the last step may have failed after the last loss
            self._fail(net, "weights after its last batch")
        self.n_epochs_ += 1
        self.last_, self.kept_epoch_ = _copied_state(net.module_), len(net.history)
        record = net.history[-1]
        self.n_steps_ += record["train_batch_count"]
        if "valid_loss" not in record:
            return
        bound = -record["valid_loss"]
        if bound > self.best_bound_:
            self.best_, self.best_bound_, self.best_epoch_ = self.last_, bound, self.kept_epoch_
        if bound > self.bar_:
            self.misses_, self.bar_ = 0, bound + self.tol
        elif self.kept_epoch_ > self.first_epoch and self.n_steps_ >= self.first_steps:
            self.misses_ += 1
        self.stopped_ = self.early_stopping and self.misses_ >= self.patience

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
