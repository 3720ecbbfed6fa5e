"""The state of a fitted autoencoder's net as plain data.

A pickle holds the net as arrays, so that a model fitted on CUDA can be read on a machine without
it, and skops has to trust no type.
"""

from itertools import pairwise

from skvae.neural.likelihoods import likelihood_from_settings
from skvae.neural.training.state import available, set_training_state, stored_seed, training_state
from skvae.vae.build import build_model, build_net

# The weights of the linear maps beside networks.
_BESIDE = "encoder.linear.weight", "decoder.linear.weight"


def net_state(net):
    """Return the state of a trained net, as nested dicts of tensors, numbers and strings.

    Parameters
    ----------
    net : NeuralNet
        As from `build_net`.
    """
    return {"likelihood": net.module_.model.likelihood.settings(), **training_state(net)}


def restored_net(settings, state):
    """Return a net with the state of another one, which trains with the given settings.

    Parameters
    ----------
    settings : dict
        The estimator's parameters; those of the architecture are the same as before. If this
        machine does not have their device, the net is on the CPU.
    state : dict
        From `net_state`.

    Raises
    ------
    ValueError
        The state is not that of such a model.
    """
    settings = {**settings, "device": available(settings["device"])}
    _check_sizes(settings, state["weights"])
    likelihood = likelihood_from_settings(state["likelihood"])
    beside = all(name in state["weights"] for name in _BESIDE)
    model = build_model(settings, likelihood, seed=0, linear_beside=beside)
    return set_training_state(build_net(settings, model, stored_seed(state)), state)


def _check_sizes(settings, weights):
    """Raise ValueError if the layers have more weights than are stored, before any is made."""
    if settings["encoder"] is not None and settings["decoder"] is not None:
        return
    sizes = [*settings["hidden_layer_sizes"], settings["n_components"]]
    least = sum(sizes) + sum(one * other for one, other in pairwise(sizes))
    stored = sum(weight.numel() for weight in weights.values())
    if least > stored:
        raise ValueError(
            f"layers of {str(sizes)[:80]} units have at least {least} weights: {stored} are stored"
        )
