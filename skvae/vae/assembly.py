"""From an estimator's parameters to its model and net, and from a net to plain state and back.

``settings`` is a dict of the estimator's constructor parameters as they were when it was fitted:
what the model was built with, whatever is set on the estimator afterwards.
"""

import copy
from itertools import pairwise

import numpy as np
import torch

from skvae.neural.likelihoods import likelihood_from_settings
from skvae.neural.training.net import make_net
from skvae.neural.training.processes import digest
from skvae.neural.training.rows_on_disk import StoredRows, blocks_of
from skvae.neural.training.settings import device_name
from skvae.vae.bound_module import SampledBound
from skvae.vae.model import make_model

# What decides which weights there are and what they mean: training that goes on must keep it.
ARCHITECTURE = (
    *("n_components", "hidden_layer_sizes", "activation", "encoder", "decoder"),
    *("encoder_covariance", "likelihood", "likelihood_params", "prior", "n_prior_components"),
)
_OBJECTIVE = ("beta", "free_bits", "n_importance_samples", "mixed_precision")
_TRAINING = (
    *("optimizer", "lr", "batch_size", "max_epochs", "kl_warmup", "early_stopping"),
    *("n_iter_no_change", "tol", "gradient_clip", "verbose", "net_params"),
)

# At the start the bound hardly rises, until decoder and encoder have found each other. Of few rows
# that is many epochs (measured on iris: 300 steps).
_FIRST_STEPS = 300


def model_of(settings, likelihood, seed, x=None):
    """Return the LatentModel that the settings describe, with its first weights.

    Parameters
    ----------
    settings : dict
        The estimator's parameters.
    likelihood : Likelihood
        p(x | z).
    seed : int
        Of the first weights.
    x : ndarray or StoredRows of shape (n, n_features), default=None
        Prepared rows, of which VampPrior draws its first pseudo-inputs.
    """
    names = ("n_components", "hidden_layer_sizes", "activation", "encoder", "decoder", "prior")
    rows = None
    if settings["prior"] == "vamp" and x is not None:
        if isinstance(x, StoredRows):
            x = x.at(x.drawn(min(settings["n_prior_components"], len(x)), seed))
        rows = likelihood.inputs(torch.as_tensor(x, dtype=torch.float32))
    return make_model(
        likelihood,
        **{name: settings[name] for name in names},
        covariance=settings["encoder_covariance"],
        n_prior_components=settings["n_prior_components"],
        pseudo_inputs=rows,
        seed=seed,
    )


def net_of(settings, model, seed):
    """Return the initialised net that trains a model as the settings say.

    Parameters
    ----------
    settings : dict
        The estimator's parameters. Its callbacks are copied: skorch changes them.
    model : LatentModel
        Trained in place.
    seed : int
        Of the order of rows and of noise.
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
        prior_warmup=settings["max_epochs"] // 4 if settings["prior"] == "mixture" else None,
        callbacks=copy.deepcopy(settings["callbacks"]),
        device=settings["device"],
        first_steps=_FIRST_STEPS,
    )


def net_state(net):
    """Return all that a net has learned, as nested dicts of tensors, numbers and strings.

    Parameters
    ----------
    net : NeuralNet
        As from `net_of`.
    """
    model = net.module_.model
    return {
        "likelihood": model.likelihood.settings(),
        "weights": dict(model.state_dict()),
        "optimizer": type(net.optimizer_).__name__,
        "optimizer_state": copy.deepcopy(net.optimizer_.state_dict()),
        "history": copy.deepcopy(list(net.history)),
        "seed": net.module_.seed,
    }


def restored(settings, state):
    """Return a net that stands where another stood, and trains as the settings say.

    Parameters
    ----------
    settings : dict
        The estimator's parameters; what decides the architecture is as it was. Where they ask for
        a device that is not there, the net is on the CPU.
    state : dict
        From `net_state`.

    Raises
    ------
    ValueError
        The state is not that of such a model.
    """
    settings = {**settings, "device": _available(settings["device"])}
    _check_sizes(settings, state["weights"])
    model = model_of(settings, likelihood_from_settings(state["likelihood"]), seed=0)
    try:
        model.load_state_dict(state["weights"])
    except RuntimeError as error:
        raise ValueError(f"the stored weights are not those of this model: {error}") from error
    if not isinstance(state["seed"], int) or not isinstance(state["history"], list):
        raise ValueError("the stored state has no seed, or no history")
    net = net_of(settings, model, state["seed"])
    if type(net.optimizer_).__name__ == state["optimizer"]:
        groups = [dict(group) for group in net.optimizer_.param_groups]
        net.optimizer_.load_state_dict(state["optimizer_state"])
        # Rates and the like are those of the settings, which may have been changed meanwhile.
        for group, options in zip(net.optimizer_.param_groups, groups, strict=True):
            group.update(options)
    net.history = type(net.history)(state["history"])
    return net


def first_digests(settings, net, rows, n_epochs):
    """Return digests of what processes that train together must have alike, by what it is.

    Parameters
    ----------
    settings : dict
        The estimator's parameters.
    net : NeuralNet
        Before the training.
    rows : Split
        The rows. Of those that are read by blocks the first block counts, and what is kept aside.
    n_epochs : int
        How many there will be.
    """
    names = {*_OBJECTIVE, *_TRAINING} - {"net_params", "verbose"}
    own = {name: settings[name] for name in sorted(names)}
    own |= {"net_params": sorted(settings["net_params"] or ()), "n_epochs": n_epochs}
    x = next(iter(blocks_of(rows.x)))
    return {
        "a parameter": digest(own),
        "X": digest(rows.x.shape, x, rows.x_valid),
        "random_state, or what else the first weights come from,": digest(
            net.module_.seed, len(net.history), *net.module_.model.state_dict().values()
        ),
    }


def _check_sizes(settings, weights):
    """Raise ValueError where layers hold more than the stored weights: none is made in vain."""
    if settings["encoder"] is not None and settings["decoder"] is not None:
        return
    sizes = [*settings["hidden_layer_sizes"], settings["n_components"]]
    least = sum(sizes) + sum(one * other for one, other in pairwise(sizes))
    stored = sum(weight.numel() for weight in weights.values())
    if least > stored:
        raise ValueError(
            f"layers of {str(sizes)[:80]} units have at least {least} weights: {stored} are stored"
        )


def same(before, now):
    """Return whether two values of a parameter mean the same."""
    if isinstance(before, list | tuple) and isinstance(now, list | tuple):
        return len(before) == len(now) and all(map(same, before, now))
    if isinstance(before, dict) and isinstance(now, dict):
        return before.keys() == now.keys() and all(same(before[key], now[key]) for key in now)
    if isinstance(before, np.ndarray) or isinstance(now, np.ndarray):
        return np.array_equal(before, now)
    return before is now or bool(before == now)


def _available(device):
    """Return the device, or the CPU if this machine does not have it."""
    try:
        return device_name(device)
    except ValueError:
        return "cpu"
