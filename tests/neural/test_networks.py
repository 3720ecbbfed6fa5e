"""Multilayer perceptrons by value, and modules that a user brings."""

import copy
import functools
import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import nn

from skvae.neural.networks import ACTIVATIONS, isolated_random, mlp, resolve_module

FUNCTIONS = {
    "identity": lambda a: a,
    "relu": lambda a: np.maximum(a, 0),
    "tanh": np.tanh,
    "logistic": lambda a: 1 / (1 + np.exp(-a)),
    "softplus": lambda a: np.log1p(np.exp(a)),
    "elu": lambda a: np.where(a > 0, a, np.expm1(a)),
    "silu": lambda a: a / (1 + np.exp(-a)),
    "leaky_relu": lambda a: np.where(a > 0, a, 0.01 * a),
    "gelu": lambda a: a * 0.5 * (1 + torch.erf(torch.from_numpy(a) / np.sqrt(2)).numpy()),
}


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(autouse=True)
def _global_state_stays():
    """Every test here leaves torch's global random state alone."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state())


def weights_of(net):
    return [(m.weight.detach().numpy(), m.bias.detach().numpy()) for m in net if _is_linear(m)]


def _is_linear(module):
    return isinstance(module, nn.Linear)


def test_every_activation_has_a_function():
    assert ACTIVATIONS.keys() == FUNCTIONS.keys()


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_perceptron_is_matrix_products(activation):
    net = mlp((3, 5, 4, 2), activation, generator()).double()
    x = np.random.default_rng(0).normal(size=(7, 3))
    h = x
    *hidden, last = weights_of(net)
    for weight, bias in hidden:
        h = FUNCTIONS[activation](h @ weight.T + bias)
    expected = h @ last[0].T + last[1]
    assert_allclose(net(torch.from_numpy(x)).detach(), expected, rtol=1e-10, atol=1e-12)


def test_no_hidden_layer_is_a_linear_map():
    net = mlp((3, 2), "relu", generator())
    assert [type(m) for m in net] == [nn.Linear]


@pytest.mark.parametrize("activation", ["relu", "silu", "gelu", "tanh", "identity"])
def test_first_weights_keep_the_scale(activation):
    net = mlp((400, 400, 400, 400, 10), activation, generator(), last_gain=1.0)
    x = torch.randn(2000, 400, generator=generator(1))
    with torch.no_grad():
        scales = [net[:n](x).square().mean().sqrt().item() for n in (1, 3, 5)]
    assert 0.2 < scales[-1] / scales[0] < 2
    assert all((bias == 0).all() for _, bias in weights_of(net))


def test_variance_of_first_weights():
    relu = weights_of(mlp((400, 300, 500, 200), "relu", generator()))
    tanh = weights_of(mlp((400, 300, 500, 200), "tanh", generator(), last_gain=0.5))
    glorot = [2 / 700, 2 / 800, 2 / 700]
    assert_allclose(relu[0][0].var(), glorot[0], rtol=0.02)
    assert_allclose(relu[1][0].var(), 2 / 300, rtol=0.02)
    assert_allclose(relu[2][0].var(), 0.01 * 2 / 500, rtol=0.02)
    for (weight, _), variance, gain in zip(tanh, glorot, (1, 1, 0.5), strict=True):
        assert_allclose(weight.var(), gain**2 * variance, rtol=0.02)


def test_first_weights_come_from_the_generator():
    one, same, other = (mlp((3, 4, 2), "relu", generator(seed)) for seed in (0, 0, 1))
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert a.ndim == 1 or not torch.equal(a, c)


def test_unknown_activation():
    with pytest.raises(ValueError, match="activation='sine': must be one of 'identity', 'relu'"):
        mlp((2, 2), "sine", generator())


class Small(nn.Module):
    """A module that is made without arguments."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 3)


def test_instance_is_copied():
    with isolated_random(0):
        module = Small()
    before = copy.deepcopy(module.state_dict())
    own = resolve_module(module, "encoder", 0)
    assert own is not module
    assert torch.equal(own.layer.weight, module.layer.weight)
    with torch.no_grad():
        own.layer.weight.zero_()
    assert all(torch.equal(before[k], v) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    "spec",
    [Small, lambda: nn.Sequential(nn.Linear(2, 3)), functools.partial(nn.Linear, 2, 3)],
    ids=["class", "function", "partial"],
)
def test_constructors_of_modules_are_called_under_the_seed(spec):
    one, same, other = (resolve_module(spec, "encoder", seed) for seed in (0, 0, 1))
    for a, b, c in zip(one.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert not torch.equal(a, c)


def test_module_that_a_function_keeps_is_copied_too():
    with isolated_random(0):
        kept = Small()
    own = resolve_module(lambda: kept, "decoder", 0)
    assert own is not kept
    assert torch.equal(own.layer.weight, kept.layer.weight)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("mlp", "encoder='mlp': must be None, a torch.nn.Module, or a class or function"),
        (3, "encoder=3: must be None, a torch.nn.Module"),
        (nn.Linear, "encoder=<class .*Linear'> cannot be called without arguments .*partial"),
        (dict, "encoder=<class 'dict'> gave dict .*: must give a torch.nn.Module"),
    ],
)
def test_values_that_are_no_module(spec, message):
    with pytest.raises(ValueError, match=message):
        resolve_module(spec, "encoder", 0)


def test_isolated_random_draws_by_its_seed_and_restores():
    with isolated_random(3):
        first = torch.rand(4)
        with isolated_random(4):
            inner = torch.rand(4)
        second = torch.rand(4)
    with isolated_random(3):
        both = torch.rand(8)
    with isolated_random(4):
        assert torch.equal(inner, torch.rand(4))
    assert torch.equal(torch.cat([first, second]), both)


def test_isolated_random_restores_after_an_error():
    def fail():
        with isolated_random(0):
            torch.rand(1)
            raise KeyError

    with pytest.raises(KeyError):
        fail()


def test_threads_take_turns():
    """The draws of a thread follow its seed, during draws of the others."""
    drawn = {}

    def draw(seed):
        with isolated_random(seed):
            drawn[seed] = torch.stack([torch.rand(3) for _ in range(200)])

    threads = [threading.Thread(target=draw, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed in range(4):
        with isolated_random(seed):
            assert torch.equal(drawn[seed], torch.rand(200, 3))
