"""The model and the net that an estimator's parameters describe.

``settings`` is a dict of the estimator's constructor parameters at the time of its fit; later
changes of the estimator do not change it.
"""

import copy

import numpy as np
import torch

from skvae.neural.latent_model import make_model
from skvae.neural.networks import LinearBeside, one_thread_if_forked
from skvae.neural.training.net import make_net
from skvae.neural.training.processes import digest
from skvae.neural.training.rows_on_disk import RowsOnDisk, blocks_of
from skvae.vae.bound_module import SampledBound

# Parameters that decide the number and the meaning of the weights: later training keeps them.
ARCHITECTURE = (
    *("n_components", "hidden_layer_sizes", "activation", "encoder", "decoder"),
    *("encoder_covariance", "likelihood", "likelihood_params", "condition", "prior"),
    "n_prior_components",
)
_OBJECTIVE = ("beta", "free_bits", "n_importance_samples", "mixed_precision")
_TRAINING = (
    *("optimizer", "lr", "lr_schedule", "batch_size", "max_epochs", "kl_warmup", "early_stopping"),
    *("n_iter_no_change", "tol", "gradient_clip", "verbose", "net_params"),
)

# At first the bound hardly rises, until the latent vectors carry information. For few rows that
# takes many epochs (measured on iris: 300 steps).
_FIRST_STEPS = 300
_SHORT_WARMUP = 10  # epochs


def build_model(settings, likelihood, seed, x=None, *, weight=None, linear_beside=False):
    """Return the LatentModel of the settings, with its first weights.

    Parameters
    ----------
    settings : dict
        The estimator's parameters.
    likelihood : Likelihood
        p(x | z).
    seed : int
        Seed of the first weights.
    x : ndarray or RowsOnDisk of shape (n, n_features), default=None
        Prepared rows, from which VampPrior draws its first pseudo-inputs.
    weight : ndarray of shape (n,) or RowsOnDisk of shape (n, 1), default=None
        The weights of the rows: draws from an array are with these probabilities.
    linear_beside : bool
        Whether networks with hidden layers have a linear map beside them.
    """
    one_thread_if_forked()
    names = ("n_components", "hidden_layer_sizes", "activation", "encoder", "decoder", "prior")
    rows = None
    if settings["prior"] == "vamp" and x is not None:
        if isinstance(x, RowsOnDisk):
            x = x.at(x.drawn(min(settings["n_prior_components"], len(x)), seed))
        elif weight is not None:
            # The first of arrivals with these rates: draws without replacement.
            arrival = np.random.default_rng(seed).exponential(size=len(x)) / weight
            x = x[np.argsort(arrival)[: settings["n_prior_components"]]]
        rows = likelihood.inputs(torch.as_tensor(x, dtype=torch.float32))
    return make_model(
        likelihood,
        **{name: settings[name] for name in names},
        covariance=settings["encoder_covariance"],
        n_prior_components=settings["n_prior_components"],
        pseudo_inputs=rows,
        linear_beside=linear_beside and bool(settings["hidden_layer_sizes"]),
        seed=seed,
    )


def build_net(settings, model, seed):
    """Return the initialised net that trains a model with the settings.

    Parameters
    ----------
    settings : dict
        The estimator's parameters. Its callbacks are copied: skorch changes them.
    model : LatentModel
        Trained in place.
    seed : int
        Seed of the order of rows and of the noise.
    """
    compiled = isinstance(settings["net_params"], dict) and settings["net_params"].get("compile")
    bound = SampledBound(
        model,
        seed=seed,
        compiled=bool(compiled),
        **{name: settings[name] for name in _OBJECTIVE},
    )
    return make_net(
        bound,
        **{name: settings[name] for name in _TRAINING},
        prior_warmup=_prior_warmup(settings, model),
        callbacks=_copied(settings["callbacks"]),
        device=settings["device"],
        first_steps=_FIRST_STEPS,
    )


def _prior_warmup(settings, model):
    """Return the number of epochs with a fixed prior, or None if it is no mixture."""
    if settings["prior"] != "mixture":
        return None
    longest = settings["max_epochs"] // 4
    # A factor analysis shows clusters at once, if there are any; other first weights do not.
    return min(longest, _SHORT_WARMUP) if isinstance(model.decoder, LinearBeside) else longest


def _copied(callbacks):
    """Return a copy of the callbacks, which skorch changes."""
    try:
        return copy.deepcopy(callbacks)
    except (RecursionError, TypeError) as error:
        raise ValueError(
            f"callbacks={callbacks!r}: must be skorch callbacks that can be copied: {error}"
        ) from error


def training_digests(settings, net, rows, n_epochs):
    """Return digests of the inputs that processes training together must share, by their names.

    Parameters
    ----------
    settings : dict
        The estimator's parameters.
    net : NeuralNet
        Before the training.
    rows : Split
        The rows. Of rows that are read by blocks, the first block and the validation rows count.
    n_epochs : int
        The number of epochs of the training.
    """
    names = {*_OBJECTIVE, *_TRAINING} - {"net_params", "verbose"}
    own = {name: settings[name] for name in sorted(names)}
    own |= {"net_params": sorted(settings["net_params"] or ()), "n_epochs": n_epochs}
    x = next(iter(blocks_of(rows.x)))
    return {
        "a parameter": digest(own),
        "sample_weight": digest(
            rows.weight_valid, None if rows.weight is None else next(iter(blocks_of(rows.weight)))
        ),
        "X": digest(rows.x.shape, x, rows.x_valid),
        "random_state, or another source of the first weights,": digest(
            net.module_.seed, len(net.history), *net.module_.model.state_dict().values()
        ),
    }
