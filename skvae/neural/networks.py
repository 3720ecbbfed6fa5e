"""Encoders and decoders: multilayer perceptrons, and modules that a user passes.

First weights are drawn from a generator that is passed in. A user's module draws them from torch's
global state, which is seeded for its construction and then restored.
"""

import copy
import math
import os
import threading
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils import skip_init

from skvae.validation import check_choice


@contextmanager
def enough_memory(part):
    """Turn torch's errors about sizes into a ValueError that names a part of a network."""
    try:
        yield
    except (RuntimeError, TypeError) as error:  # no memory, sizes beyond 64 bits
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"{part} cannot be made ({reason}): lower n_components, hidden_layer_sizes or "
            "n_prior_components"
        ) from error


ACTIVATIONS = {
    "identity": nn.Identity,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "softplus": nn.Softplus,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "leaky_relu": nn.LeakyReLU,
}
# Activations that halve the variance, about: He's first weights instead of Glorot's.
RECTIFIERS = {"relu", "softplus", "elu", "gelu", "silu", "leaky_relu"}

_GLOBAL_STATE = threading.RLock()  # torch's is one for all threads
_imported_in = os.getpid()


def mlp(sizes, activation, generator, *, last_gain=0.1):
    """Return a multilayer perceptron.

    Parameters
    ----------
    sizes : sequence of int
        The widths of its input, of the hidden layers if any, and of its output.
    activation : str
        Applied after a hidden layer, a name in ``ACTIVATIONS``.
    generator : torch.Generator
        Draws the first weights: uniform, with the variance of He et al. (2015) behind a rectifier
        and of Glorot and Bengio (2010) otherwise. First biases are zero.
    last_gain : float
        Multiplies the first weights of the last layer. Small for a decoder, so that training
        starts near outputs of zero, the model of independent features.

    Returns
    -------
    module : nn.Sequential
        On the CPU, float32.

    Raises
    ------
    ValueError
        There is no such activation.
    """
    check_choice("activation", activation, ACTIVATIONS)
    layers = []
    for n_in, n_out in pairwise(sizes):
        # torch's own first weights would be drawn from its global state.
        with enough_memory(f"a layer of {n_in} inputs and {n_out} units"):
            layer = skip_init(nn.Linear, n_in, n_out)
        fan = n_in / 2 if layers and activation in RECTIFIERS else (n_in + n_out) / 2
        bound = math.sqrt(3.0 / fan)
        nn.init.uniform_(layer.weight, -bound, bound, generator=generator)
        nn.init.zeros_(layer.bias)
        layers += [layer, ACTIVATIONS[activation]()]
    last = layers[-2]
    with torch.no_grad():
        last.weight *= last_gain
    return nn.Sequential(*layers[:-1])


class LinearBeside(nn.Module):
    """A linear map beside a network, W x + b + f(x): training can begin at a linear model.

    Parameters
    ----------
    network : nn.Sequential
        f, a multilayer perceptron; its last layer is set to zero.
    """

    def __init__(self, network):
        super().__init__()
        first, last = network[0], network[-1]
        self.linear = skip_init(nn.Linear, first.in_features, last.out_features)
        self.network = network
        with torch.no_grad():
            for weight in (*self.linear.parameters(), *last.parameters()):
                weight.zero_()

    def forward(self, x):
        """Return the outputs for inputs x (n, n_inputs)."""
        return self.linear(x) + self.network(x)


def resolve_module(spec, name, seed):
    """Return a copy of the module that a user passed, or the one that a callable returns.

    Parameters
    ----------
    spec : nn.Module, class or callable
        A module, copied with its weights, or a callable without arguments that returns one.
    name : str
        The parameter's name, for messages.
    seed : int
        Seeds torch's global state for the construction of the module; the state is restored.

    Raises
    ------
    ValueError
        The value is no module, and does not return one.
    """
    if isinstance(spec, nn.Module):
        return copy.deepcopy(spec)
    if not callable(spec):
        raise ValueError(
            f"{name}={spec!r}: must be None, a torch.nn.Module, or a class or function that gives "
            "one when it is called without arguments"
        )
    with isolated_random(seed):
        try:
            module = spec()
        except TypeError as error:
            raise ValueError(
                f"{name}={spec!r} cannot be called without arguments ({error}): pass a module, or "
                "fix the arguments with functools.partial"
            ) from error
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"{name}={spec!r} gave {type(module).__name__} when it was called: must give a "
            "torch.nn.Module"
        )
    # A function may return the same module every time, which belongs to the user.
    return copy.deepcopy(module)


def one_thread_if_forked():
    """Give torch one thread if this process was forked, as torch's own loaders do.

    A forked process has the locks of the threads in its parent, but not these threads: the next
    parallel operation would wait for them forever.
    """
    if os.getpid() != _imported_in:
        torch.set_num_threads(1)


@contextmanager
def isolated_random(seed):
    """Seed torch's global random state inside, and restore it afterwards.

    For code that draws from it and takes no generator, such as dropout and constructors of modules.
    One thread at a time is inside: all threads share the state.

    Parameters
    ----------
    seed : int
        The seed of the CPU's state, and of the states of CUDA devices if CUDA is in use.
    """
    cuda = torch.cuda.is_initialized()
    devices = list(range(torch.cuda.device_count())) if cuda else []
    with _GLOBAL_STATE, torch.random.fork_rng(devices):
        # torch.manual_seed would also seed a CUDA that starts later, and not restore that.
        torch.default_generator.manual_seed(seed)
        if cuda:
            torch.cuda.manual_seed_all(seed)
        yield
