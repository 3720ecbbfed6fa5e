"""The state of a net and its training as plain data: weights, optimiser, history, seed.

The net's module is a bound module with a ``model``, whose weights are those of the state.
"""

import copy

from skvae.neural.training.settings import device_name


def training_state(net):
    """Return the state of a net as nested dicts of tensors, numbers and strings.

    Parameters
    ----------
    net : NeuralNet
        As from :func:`skvae.neural.training.net.make_net`.
    """
    return {
        "weights": dict(net.module_.model.state_dict()),
        "optimizer": type(net.optimizer_).__name__,
        "optimizer_state": copy.deepcopy(net.optimizer_.state_dict()),
        "history": copy.deepcopy(list(net.history)),
        "seed": net.module_.seed,
    }


def set_training_state(net, state):
    """Set the state of a new net of the same model, and return the net.

    Parameters
    ----------
    net : NeuralNet
        With the seed of the state. Its settings, which may differ from earlier ones, decide on the
        learning rates.
    state : dict
        From :func:`training_state`. The optimiser's is used if the optimiser is of the same class.

    Raises
    ------
    ValueError
        The state is not that of such a model.
    """
    try:
        net.module_.model.load_state_dict(state["weights"])
    except RuntimeError as error:
        raise ValueError(f"the stored weights are not those of this model: {error}") from error
    if not isinstance(state["history"], list):
        raise ValueError("the stored state has no history")
    if type(net.optimizer_).__name__ == state["optimizer"]:
        groups = [dict(group) for group in net.optimizer_.param_groups]
        net.optimizer_.load_state_dict(state["optimizer_state"])
        for group, options in zip(net.optimizer_.param_groups, groups, strict=True):
            group.update(options)
    net.history = type(net.history)(state["history"])
    return net


def stored_seed(state):
    """Return the seed of a state, for the bound module of its net; raise ValueError if none."""
    if not isinstance(state["seed"], int):
        raise ValueError("the stored state has no seed")
    return state["seed"]


def available(device):
    """Return the device, or the CPU if this machine does not have it."""
    try:
        return device_name(device)
    except ValueError:
        return "cpu"
