"""Rows, models and callbacks that the tests of training share."""

from contextlib import contextmanager

import numpy as np
import torch
from numpy.testing import assert_array_equal
from skorch.callbacks import Callback

from skvae.neural.latent_model import make_model
from skvae.neural.likelihoods import make_likelihood
from skvae.neural.priors import Mixture
from skvae.neural.training.net import make_net
from skvae.vae.bound_module import SampledBound
from tests.vae.oracles import LinearGaussian


def linear_rows(n_samples=300, n_features=5, n_components=2, *, noise=0.5, seed=0):
    """Rows of a linear-Gaussian model, standardised, (n_samples, n_features)."""
    rng = np.random.default_rng(seed)
    problem = LinearGaussian(
        rng.normal(size=(n_features, n_components)),
        rng.normal(size=n_features),
        noise * rng.uniform(0.2, 1.0, size=n_features),
    )
    X = problem.sample(n_samples, seed)
    return (X - X.mean(axis=0)) / X.std(axis=0)


def model_for(X, *, likelihood="gaussian", likelihood_params=None, seed=0, **params):
    """A LatentModel for prepared rows, small by default."""
    params = {"n_components": 2, "hidden_layer_sizes": (8,), **params}
    return make_model(make_likelihood(likelihood, X, likelihood_params), seed=seed, **params)


OBJECTIVE = ("beta", "free_bits", "n_importance_samples", "mixed_precision")


def net_for(X, *, model=None, seed=0, **settings):
    """A net that trains a small model on the CPU, fast."""
    settings = {"lr": 1e-2, "batch_size": 64, "max_epochs": 3, "device": "cpu", **settings}
    objective = {name: settings.pop(name) for name in OBJECTIVE if name in settings}
    compiled = bool((settings.get("net_params") or {}).get("compile"))
    model = model_for(X) if model is None else model
    bound = SampledBound(model, seed=seed, compiled=compiled, **objective)
    if isinstance(bound.prior, Mixture):
        settings.setdefault("prior_warmup", settings["max_epochs"] // 4)
    return make_net(bound, **settings)


def weights(net):
    """All weights of a net in one array."""
    return torch.nn.utils.parameters_to_vector(net.module_.parameters()).detach().numpy().copy()


@contextmanager
def untouched_random_states():
    """Assert that the global random states of NumPy and torch are as they were."""
    numpy_state, torch_state = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    yield
    after = np.random.get_state()  # noqa: NPY002
    assert after[0] == numpy_state[0]
    assert_array_equal(after[1], numpy_state[1])
    assert after[2:] == numpy_state[2:]
    assert torch.equal(torch.get_rng_state(), torch_state)


class At(Callback):
    """Calls a function of the net, once, at a batch of an epoch (both from 1), or at its end."""

    def __init__(self, action, epoch, batch=None):
        self.action, self.epoch, self.batch = action, epoch, batch
        self.done_ = False

    def on_batch_end(self, net, training=None, **kwargs):
        if training:
            self._act(net, (len(net.history), len(net.history[-1]["batches"])))

    def on_epoch_end(self, net, **kwargs):
        self._act(net, (len(net.history), None))

    def _act(self, net, now):
        if now == (self.epoch, self.batch) and not self.done_:
            self.done_ = True
            self.action(net)


class NewRows(Callback):
    """Puts other numbers in the place of the training rows, once, before an epoch."""

    def __init__(self, change, epoch):
        self.change, self.epoch = change, epoch
        self.done_ = False

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        if len(net.history) == self.epoch and not self.done_:
            self.done_ = True
            dataset_train.x = self.change(dataset_train.x)


class Trace(Callback):
    """Keeps the results of a function of the net at the beginning and end of each epoch."""

    def __init__(self, read):
        self.read = read
        self.begins_, self.ends_ = [], []

    def on_epoch_begin(self, net, **kwargs):
        self.begins_.append(self.read(net))

    def on_epoch_end(self, net, **kwargs):
        self.ends_.append(self.read(net))


def interrupt(net):
    """Raise the exception of Ctrl-C."""
    raise KeyboardInterrupt
