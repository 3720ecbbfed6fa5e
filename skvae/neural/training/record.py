"""The record of a training, and the error that ends one whose loss is not finite."""

from typing import NamedTuple

import numpy as np


class TrainingRecord(NamedTuple):
    """The course of a training, in nats per prepared row, epoch by epoch.

    Parameters
    ----------
    terms : dict of str to ndarray of shape (n_epochs,)
        The terms of the training rows by name, "bound" first: means over an epoch, during which
        the weights change.
    valid_bounds : ndarray of shape (n_epochs,) or None
        The bound of the validation rows at the end of each epoch, without ``beta`` and free bits.
    n_epochs : int
        The number of completed epochs.
    best_epoch : int
        The epoch whose weights are kept, counted from 1 over all trainings of the net. The number
        of the epochs of earlier trainings, 0 in the first one, if it is none of these.
    best_objectives : ndarray of shape (n_epochs + 1,)
        The highest objective of the validation rows under the first weights and up to each epoch;
        −inf without such rows. The last is that of the weights that are kept.
    stopped_early : bool
        Whether training ended because validation no longer improved.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    terms: dict
    valid_bounds: np.ndarray | None
    n_epochs: int
    best_epoch: int
    best_objectives: np.ndarray
    stopped_early: bool
    interrupted: bool


class Divergence(ValueError):
    """The loss became NaN or infinite; the weights are those of the last epoch before.

    Parameters
    ----------
    message : str
        The epoch, and possible remedies.
    record : TrainingRecord, default=None
        The record of the earlier epochs.
    """

    def __init__(self, message, record=None):
        super().__init__(message)
        self.record = record


def record_of(net, best_weights):
    """Return the record of a training.

    Parameters
    ----------
    net : NeuralNet
        The last epochs of its history are those of the training.
    best_weights : BestWeights
        The callback, after the training.
    """
    n_epochs = best_weights.n_epochs_
    epochs = list(net.history)[-n_epochs:] if n_epochs else []

    def column(name):
        return np.array([epoch[name] for epoch in epochs], dtype=np.float64)

    validated = bool(epochs) and "valid_bound" in epochs[-1]
    return TrainingRecord(
        terms={name: column(f"train_{name}") for name in net.module_.term_names},
        valid_bounds=column("valid_bound") if validated else None,
        n_epochs=n_epochs,
        best_epoch=best_weights.kept_epoch_,
        best_objectives=np.array(best_weights.best_objectives_, dtype=np.float64),
        stopped_early=best_weights.stopped_,
        interrupted=best_weights.interrupted_,
    )
