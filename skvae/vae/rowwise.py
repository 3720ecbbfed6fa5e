"""What a fitted model answers of checked rows, row by row: in memory, or a chunk of a Dask array.

An answer depends on the row and the model alone, so that chunks give what all rows together give.
"""

import warnings
from typing import NamedTuple

import numpy as np
import torch

from skvae.blocks import ranges
from skvae.vae import importance
from skvae.vae.model import LatentModel

_ROWS = 4096  # encoded or decoded together


class Asked(NamedTuple):
    """A model and how it is asked.

    Parameters
    ----------
    model : LatentModel
        The fitted one.
    n_draws : int
        Draws a row, for what is by importance sampling.
    seed : int
        Of the draws.
    names : ndarray of str or None
        The features' names, for messages.
    warns : int
        Where a warning of unreliable rows points, in frames above the one who asks; 0 is none.
    """

    model: LatentModel
    n_draws: int
    seed: int
    names: np.ndarray | None
    warns: int = 0

    def double(self):
        """Return a copy of the model for answers: in float64, so that batches do not matter."""
        return importance.in_double(self.model)

    def units(self, X):
        """Return the rows in the likelihood's units; ValueError if they cannot be its own."""
        self.model.likelihood.check(X, self.names)
        return self.model.likelihood.prepare(X)

    def warn(self, effective_size):
        """Warn if what is said of the rows cannot be trusted."""
        message = importance.reliability_message(effective_size, self.n_draws)
        if self.warns and message is not None:
            warnings.warn(message, importance.EffectiveSizeWarning, stacklevel=self.warns + 2)


# Densities ----------------------------------------------------------------------------------------


def evidence(X, asked):
    """Return the Evidence of the rows: log-densities, and how many draws they rest on."""
    x = asked.units(X)
    return importance.log_likelihood(asked.double(), x, asked.n_draws, seed=asked.seed)


def log_density(X, asked):
    """Return the log-density of each row, (n,)."""
    found = evidence(X, asked)
    asked.warn(found.effective_size)
    with np.errstate(over="ignore"):  # −inf where float32 holds no more
        return found.log_likelihood.astype(X.dtype, copy=False)


def effective_size(X, asked):
    """Return how many draws each row's log-density rests on, (n,)."""
    return evidence(X, asked).effective_size


def standard_error(X, asked):
    """Return the standard error of each row's log-density, (n,)."""
    return importance.standard_error(effective_size(X, asked), asked.n_draws)


class _Least(NamedTuple):
    """A number that adds by taking the less."""

    value: float

    def __add__(self, other):
        return _Least(min(self.value, other.value))


def summed_density(rows, _pool, asked):
    """Return (weighted sum of log-densities, numbers of unreliable and all rows, least size)."""
    X, weight = rows.take(0, rows.n_rows)
    found = evidence(X, asked)
    bad = importance.is_unreliable(found.effective_size, asked.n_draws).sum()
    total = found.log_likelihood @ (np.ones(len(X)) if weight is None else weight)
    return total, np.array([bad, len(X)]), _Least(found.effective_size.min())


def elbo_terms(X, asked):
    """Return the bound, its two terms, the entropy of q and the bound's error, (n, 5)."""
    terms = importance.elbo_terms(asked.double(), asked.units(X), asked.n_draws, seed=asked.seed)
    return np.column_stack([*terms, terms.entropy, terms.standard_error])


# The latent space ---------------------------------------------------------------------------------


def latent_mean(X, asked):
    """Return the posterior mean of each row's latent vector, (n, L)."""
    return _encoded(asked.double(), asked.units(X))


def summed_latents(rows, _pool, asked):
    """Return the number of rows, and the sums of posterior means and of their squares, (L,)."""
    Z = latent_mean(rows.take(0, rows.n_rows)[0], asked)
    return len(Z), Z.sum(axis=0), np.square(Z).sum(axis=0)


def reconstruction(X, asked):
    """Return the expected row at each row's posterior mean, (n, D)."""
    model = asked.double()
    return decoded(model, _encoded(model, asked.units(X)))


@torch.no_grad()
def _encoded(model, x):
    """Return posterior means of prepared rows, float64 (n, L)."""
    Z, device = np.empty((len(x), model.n_components)), _device(model)
    for a, b in ranges(0, len(x), _ROWS):
        # torch warns of arrays that it could not write to, as pandas' are.
        rows = torch.as_tensor(np.require(x[a:b], requirements="W"), device=device)
        Z[a:b] = model.encode(rows).mean.cpu().numpy()
    return Z


@torch.no_grad()
def decoded(model, Z):
    """Return expected rows of latent vectors, float64 (n, D)."""
    X, device = np.empty((len(Z), model.likelihood.n_features)), _device(model)
    for a, b in ranges(0, len(Z), _ROWS):
        z = torch.as_tensor(np.array(Z[a:b], dtype=np.float64), device=device)
        X[a:b] = model.likelihood.mean(model.decode(z)).cpu().numpy()
    return X


def _device(model):
    tensors = (*model.parameters(), *model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def responsibilities(X, asked):
    """Return the probability of each component of a mixture prior, (n, n_prior_components)."""
    model, x = asked.double(), asked.units(X)
    resp = importance.expected_responsibilities(model, x, asked.n_draws, seed=asked.seed)
    asked.warn(resp.effective_size)
    return resp.mean


def label(X, asked):
    """Return the most probable component of a mixture prior, (n,)."""
    if asked.warns:
        asked = asked._replace(warns=asked.warns + 1)
    return responsibilities(X, asked).argmax(axis=1)


# Missing values -----------------------------------------------------------------------------------


def imputed(X, asked):
    """Return a copy of the rows with expectations where something is missing, (n, D)."""
    x, filled = asked.units(X), np.array(X, order="C")
    incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
    if len(incomplete):
        expected = importance.expected_features(
            asked.double(), x[incomplete], asked.n_draws, seed=asked.seed
        )
        asked.warn(expected.effective_size)
        missing = np.isnan(X[incomplete])
        filled[incomplete] = np.where(missing, expected.mean, X[incomplete])
    return filled


class InDtype(NamedTuple):
    """Gives a function's answer in the dtype of the result, also of no rows at all.

    Parameters
    ----------
    function : callable
        ``(X, asked) → array``.
    asked : Asked
        What it is given.
    width : int or None
        How many numbers an answer has; None is one, without an axis for it.
    dtype : dtype
        The result's.
    """

    function: object
    asked: Asked
    width: int | None
    dtype: np.dtype

    def __call__(self, X):
        if not len(X):
            return np.empty((0,) if self.width is None else (0, self.width), self.dtype)
        return self.function(X, self.asked).astype(self.dtype, copy=False)
