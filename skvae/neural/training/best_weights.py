"""Which weights remain when training ends: the last, or the best that validation has seen."""

import math

from skvae.neural.training.record import (
    Divergence,
    all_finite,
    divergence_message,
    record_of,
    weights_of,
)


class KeptWeights:
    """Keeps the weights of the last epoch and of the best, and sees to which of them remain.

    What a callback of the net does, in ``skvae.neural.training.net``.

    Parameters
    ----------
    early_stopping : bool
        Whether training stops, and the best weights remain, when validation no longer improves.
    patience : int
        Epochs without improvement after which that is so.
    tol : float
        What counts as an improvement, in nats per row, of however many epochs together. The best
        epoch is the best by any margin.
    first_epoch : int
        Epochs up to this one do not count against the patience: the objective still changes.
    first_steps : int
        Nor do those before so many steps of the optimiser.
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
            self.last_, self.kept_epoch_ = weights_of(net.module_), len(net.history) - 1

    def on_batch_end(self, net, training=None, **kwargs):
        """Stop with an error where the loss is not finite."""
        batches = net.history[-1]["batches"]
        if not math.isfinite(batches[-1]["train_loss" if training else "valid_loss"]):
            self._fail(net, f"batch {len(batches)}" if training else "in validation")

    def on_epoch_end(self, net, **kwargs):
        """Keep the weights, and see whether they are the best."""
        if not all_finite(net.module_):  # by the last step, which no loss has seen
            self._fail(net, "weights after its last batch")
        self.n_epochs_ += 1
        self.last_, self.kept_epoch_ = weights_of(net.module_), len(net.history)
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
        """Put the weights in place that are to remain."""
        self.stopped_ = self.stopped_ or self._stopped_by_user(net)
        self.interrupted_ = self.n_epochs_ < net.max_epochs and not self.stopped_
        if len(net.history) > self.kept_epoch_ > 0:  # the last epoch was not completed
            del net.history[self.kept_epoch_ :]
        if self.best_ is not None and (self.early_stopping or self.interrupted_):
            net.module_.load_state_dict(self.best_)
            self.kept_epoch_ = self.best_epoch_
        self.last_ = self.best_ = None

    def _fail(self, net, where):
        """Put the last good weights back and say what happened in the epoch that is dropped."""
        net.module_.load_state_dict(self.last_)
        net.optimizer_.state.clear()  # its averages are spoilt too
        epoch, model = len(net.history), net.module_.model
        del net.history[-1]
        message = divergence_message(model, net.lr, epoch, where, self.kept_epoch_)
        raise Divergence(message, record_of(net.history, self))

    def _stopped_by_user(self, net):
        """Return whether a callback that the user passed has stopped the training."""
        return False

    def __getstate__(self):
        return {**self.__dict__, "last_": None, "best_": None}
