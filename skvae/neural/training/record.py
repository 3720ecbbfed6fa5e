"""What a training did, and what it says when it failed."""

from typing import NamedTuple

import numpy as np
import torch


class TrainingRecord(NamedTuple):
    """What a training did, in nats per prepared row, epoch by epoch.

    Bounds of the training rows are means over an epoch, while the weights move.

    Parameters
    ----------
    bounds : ndarray of shape (n_epochs,)
        Of the training rows: the evidence lower bound, or the importance-weighted one if that was
        trained.
    reconstructions, kls : ndarray of shape (n_epochs,)
        The two terms of the evidence lower bound.
    valid_bounds : ndarray of shape (n_epochs,) or None
        Of the validation rows at the end of each epoch, without ``beta`` and free bits.
    n_epochs : int
        Epochs that were completed.
    best_epoch : int
        The epoch whose weights are kept, counted from 1 over all trainings of the net; 0 if none
        was completed.
    stopped_early : bool
        Whether training ended because validation no longer improved.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    bounds: np.ndarray
    reconstructions: np.ndarray
    kls: np.ndarray
    valid_bounds: np.ndarray | None
    n_epochs: int
    best_epoch: int
    stopped_early: bool
    interrupted: bool


class Divergence(ValueError):
    """The loss became NaN or infinite; the weights are those of the last epoch before.

    Parameters
    ----------
    message : str
        When, and what may help.
    record : TrainingRecord, default=None
        Of the epochs before.
    """

    def __init__(self, message, record=None):
        super().__init__(message)
        self.record = record


def record_of(history, keeper):
    """Return the record of a training.

    Parameters
    ----------
    history : list of dict
        Whose last epochs are those of the training.
    keeper : WeightKeeper
        What it knows at the end.
    """
    epochs = list(history)[len(history) - keeper.n_epochs_ :] if keeper.n_epochs_ else []

    def column(name):
        return np.array([epoch[name] for epoch in epochs], dtype=np.float64)

    validated = bool(epochs) and "valid_bound" in epochs[-1]
    return TrainingRecord(
        bounds=column("train_bound"),
        reconstructions=column("train_reconstruction"),
        kls=column("train_kl"),
        valid_bounds=column("valid_bound") if validated else None,
        n_epochs=keeper.n_epochs_,
        best_epoch=keeper.kept_epoch_,
        stopped_early=keeper.stopped_,
        interrupted=keeper.interrupted_,
    )


def weights_of(module):
    """Return a copy of a module's state."""
    return {
        name: value.clone() if isinstance(value, torch.Tensor) else value
        for name, value in module.state_dict().items()
    }


@torch.no_grad()
def all_finite(module):
    """Return whether all weights are finite."""
    finite = [torch.isfinite(weight).all() for weight in module.parameters()]
    return bool(torch.stack(finite).all())


def divergence_message(model, lr, epoch, where, kept_epoch):
    """Return the message that the loss is not finite, and what may help.

    Parameters
    ----------
    model : LatentModel
        What is trained.
    lr : float
        Its learning rate.
    epoch : int
        When.
    where : str
        What in the epoch.
    kept_epoch : int
        The epoch at whose end the weights were as they are now; 0 if there is none.
    """
    kept = f"those at the end of epoch {kept_epoch}" if kept_epoch else "the first ones"
    remedies = [f"a smaller learning rate than lr={lr}"]
    if any(hasattr(part, "min_scale") for part in model.likelihood.modules()):
        remedies.append("a larger floor of the scale (min_scale in likelihood_params)")
    remedies.append("a limit to the gradient's norm")
    return (
        f"training diverged: the loss is not finite in epoch {epoch} ({where}). The weights are "
        f"{kept}. Try {', '.join(remedies)}, and look for extreme values in X"
    )
