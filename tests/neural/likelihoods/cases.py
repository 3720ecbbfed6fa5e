"""Likelihoods of every family with data for each, shared by their tests."""

import numpy as np
import torch
from torch.func import functional_call

from skvae.neural.likelihoods import make_likelihood

MIXED = [
    ("categorical", [4, 1]),
    ("gaussian", [0], {"scale": "decoder"}),
    ("negative_binomial", 2),
    ("student_t", [3]),
]


def some_rows(name, n_rows=60, seed=0):
    """Rows (n, 3) that the family can have produced; (n, 5) of all kinds for "columns"."""
    rng = np.random.default_rng(seed)
    if name in ("gaussian", "student_t"):
        return rng.standard_normal((n_rows, 3)) * [1.0, 30.0, 1e-4] + [0.0, 500.0, 2.0]
    if name == "bernoulli":
        return (rng.random((n_rows, 3)) < [0.5, 0.1, 0.9]).astype(float)
    if name == "continuous_bernoulli":
        return rng.beta([1.0, 2.0, 0.5], [1.0, 0.7, 3.0], size=(n_rows, 3))
    if name == "categorical":
        return rng.integers(0, [3, 2, 5], size=(n_rows, 3)).astype(float)
    if name == "poisson":
        return rng.poisson([0.3, 4.0, 60.0], size=(n_rows, 3)).astype(float)
    if name in ("log_normal", "gamma"):
        return np.exp(rng.standard_normal((n_rows, 3)) * [0.3, 0.7, 0.01] + [0.0, 60.0, -40.0])
    if name == "beta":
        return rng.beta([1.0, 30.0, 0.5], [1.0, 20.0, 3.0], size=(n_rows, 3))
    if name == "negative_binomial":
        return rng.negative_binomial([1.0, 3.0, 0.5], [0.5, 0.2, 0.02], (n_rows, 3)).astype(float)
    parts = [some_rows(part, n_rows, seed) for part in ("gaussian", "categorical", "poisson")]
    more = some_rows("student_t", n_rows, seed + 1), some_rows("categorical", n_rows, seed + 1)
    return np.stack([part[:, 1] for part in (*parts, *more)], axis=1)


# Likelihoods by name: specification and parameters.
CASES = {
    "gaussian": ("gaussian", None),
    "gaussian shared": ("gaussian", {"scale": "shared"}),
    "gaussian decoder": ("gaussian", {"scale": "decoder"}),
    "student_t": ("student_t", None),
    "student_t shared": ("student_t", {"scale": "shared", "dof": "shared"}),
    "student_t decoder": ("student_t", {"scale": "decoder", "dof": "decoder"}),
    "student_t fixed": ("student_t", {"dof": 3.3}),
    "bernoulli": ("bernoulli", None),
    "continuous_bernoulli": ("continuous_bernoulli", None),
    "categorical": ("categorical", None),
    "categorical equal": ("categorical", {"n_categories": 5}),
    "poisson": ("poisson", None),
    "negative_binomial": ("negative_binomial", None),
    "log_normal": ("log_normal", None),
    "log_normal shared": ("log_normal", {"scale": "shared"}),
    "log_normal decoder": ("log_normal", {"scale": "decoder"}),
    "gamma": ("gamma", None),
    "gamma shared": ("gamma", {"scale": "shared"}),
    "gamma decoder": ("gamma", {"scale": "decoder"}),
    "beta": ("beta", None),
    "beta shared": ("beta", {"scale": "shared"}),
    "beta decoder": ("beta", {"scale": "decoder"}),
    "columns": (MIXED, None),
}


def case(key, n_rows=60, seed=0):
    """Return the likelihood of a case and the rows that it is of, its parameters moved."""
    spec, params = CASES[key]
    X = some_rows(spec if isinstance(spec, str) else "columns", n_rows, seed)
    likelihood = make_likelihood(spec, X, params)
    return moved(likelihood, seed), X


def moved(likelihood, seed=0):
    """Return the likelihood with its learned parameters moved from their first values."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in likelihood.parameters():
            parameter += torch.randn(parameter.shape, generator=generator).clamp(-1.5, 1.5)
    return likelihood


def prepared(likelihood, X, dtype=torch.float64):
    """Return the rows as a tensor in the units of the likelihood."""
    return torch.tensor(likelihood.prepare(X), dtype=dtype)


def some_outputs(likelihood, *shape, seed=0, dtype=torch.float64):
    """Return outputs of the shape and a last axis."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, likelihood.n_outputs, generator=generator, dtype=dtype)


def holes(X, share=0.3, seed=0):
    """Return rows with some values missing; of the first row all are."""
    missing = np.random.default_rng(seed).random(X.shape) < share
    missing[0] = True
    return np.where(missing, np.nan, X)


def log_prob_of(likelihood, x, observed=None):
    """Return log_prob as a function of the outputs and the learned parameters, and these."""
    names = [name for name, _ in likelihood.named_parameters()]

    def function(outputs, *values):
        values = dict(zip(names, values, strict=True))
        return functional_call(_LogProb(likelihood), _prefixed(values), (x, outputs, observed))

    values = [p.detach().clone().requires_grad_() for p in likelihood.parameters()]
    return function, values


def _prefixed(values):
    return {f"likelihood.{name}": value for name, value in values.items()}


class _LogProb(torch.nn.Module):
    """log_prob as the forward of a module."""

    def __init__(self, likelihood):
        super().__init__()
        self.likelihood = likelihood

    def forward(self, x, outputs, observed):
        return self.likelihood.log_prob(x, outputs, observed)
