"""Draws of the latent variable for rows, what a model says of them, and sums with their weights.

B rows in a group, S draws a row, s of them at once, L latent dimensions, D features.

A tensor that is made here has one shape for a model and S, however many rows are asked: the last
group is filled up with rows whose answers nobody reads. A row's answer is then the same in any
batch and any order, but for what a library rounds differently at the top and at the bottom of one
matrix. Rows with missing values go apart, for what is computed otherwise is rounded otherwise.
"""

from typing import NamedTuple

import numpy as np
import torch

from skvae.neural.posteriors import DiagonalPosterior, FullPosterior
from skvae.neural.priors import MixtureDensity, Normal
from skvae.vae.keyed_noise import KeyedNoise

# Numbers in the largest tensor of one step. On a processor a few of them stay in its caches, and
# far below 64 MB; an accelerator wants more work in each step.
_NUMBERS = {"cpu": 2**18}
_NUMBERS_ELSEWHERE = 2**22
_MAX_ROWS = 64  # in a group: where there is one row to ask, so many are paid for


class Draws(NamedTuple):
    """Some draws of z for a group of rows, and what the model says of them.

    Parameters
    ----------
    z : Tensor of shape (s, B, L)
        From the encoder.
    outputs : Tensor of shape (s, B, n_outputs)
        Of the decoder.
    log_likelihood : Tensor of shape (s, B)
        ln p(x | z), in nats of prepared rows.
    log_weight : Tensor of shape (s, B)
        ln p(x | z) + ln p(z) − ln q(z | x).
    posterior : DiagonalPosterior or FullPosterior
        q(z | x) of the B rows.
    density : Normal or MixtureDensity
        p(z).
    """

    z: torch.Tensor
    outputs: torch.Tensor
    log_likelihood: torch.Tensor
    log_weight: torch.Tensor
    posterior: DiagonalPosterior | FullPosterior
    density: Normal | MixtureDensity


class Weights:
    """Running sums over draws that only their log-weights are known of, for each row of a group.

    All sums are relative to the greatest weight so far, so that none overflows.
    """

    def __init__(self):
        self._n_draws = 0
        self._top = self._total = self._squares = self._values = None

    def add(self, log_weight, values=None):
        """Take in some draws.

        Parameters
        ----------
        log_weight : tensor of shape (s, B)
            In nats.
        values : tensor of shape (s, B, F) or None
            What is to be averaged: given always or never.
        """
        log_weight = by_row(log_weight)
        top = log_weight.amax(1)
        if self._top is not None:
            top = torch.maximum(self._top, top)
        # As long as all weights are zero they count as equal; one that is not zero ends that.
        base = top.masked_fill(top == -torch.inf, 0.0)
        weight = (log_weight - base[:, None]).exp()
        weight = weight.masked_fill(top[:, None] == -torch.inf, 1.0)
        total, squares = weight.sum(1), (weight * weight).sum(1)
        if values is not None:
            values = (weight[:, None] @ values.double().transpose(0, 1)).squeeze(1)
        if self._top is not None:
            old = (self._top - base).exp().masked_fill(top == -torch.inf, 1.0)
            total, squares = total + self._total * old, squares + self._squares * old * old
            values = None if values is None else values + self._values * old[:, None]
        self._top, self._total, self._squares, self._values = top, total, squares, values
        self._n_draws += log_weight.shape[1]

    def log_mean(self):
        """Return the logarithm of the mean weight, (B,): −inf where all are zero."""
        return self._top + (self._total / self._n_draws).log()

    def effective_size(self):
        r"""Return :math:`(\sum w)^2 / \sum w^2`, (B,), in [1, S]: 1 where all weights are zero."""
        size = (self._total * self._total / self._squares).clamp(1.0, self._n_draws)
        return size.masked_fill(self._top == -torch.inf, 1.0)

    def expectation(self):
        r"""Return :math:`\sum w f / \sum w`, (B, F): the plain mean where all weights are zero."""
        return self._values / self._total[:, None]


def by_row(values):
    """Return numbers of draws (s, B) as float64 (B, s), each row's in one piece.

    So their sum is taken in the same order wherever the row stands; across rows it is not.
    """
    return values.double().T.contiguous()


def weighted_groups(model, x, n_draws, seed):
    """Yield the indices of a group of rows, and an iterator of its `Draws`, group after group.

    Called without gradients. All `Draws` of a group are to be read before the next.

    Parameters
    ----------
    model : LatentModel
        In the mode and dtype it is to be asked in.
    x : ndarray of shape (n, D), float64
        Prepared rows; NaN is missing.
    n_draws : int
        S.
    seed : int
        Of the model, in [0, 2**64).

    Yields
    ------
    rows : ndarray of int
        Whose draws these are; a group's tensors may hold further rows after these.
    draws : iterator of Draws
        S in all.
    """
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    home = torch.empty(0, dtype=torch.float64) if first is None else first
    density = model.prior_density()
    n_rows, n_at_once = _shape(model, home, n_draws, x.shape[1])
    missing = np.isnan(x)
    incomplete = missing.any(axis=1)
    for index in (np.flatnonzero(~incomplete), np.flatnonzero(incomplete)):
        for start in range(0, len(index), n_rows):
            rows = index[start : start + n_rows]
            place = np.minimum(np.arange(n_rows), len(rows) - 1)  # the last row fills the group up
            batch = torch.as_tensor(x[rows[place]]).to(home)
            observed = None
            if incomplete[rows[0]]:
                observed = torch.as_tensor(~missing[rows[place]]).to(home.device)
            noise = KeyedNoise(x[rows], model.n_components, seed)
            chunks = _chunks(noise, place, n_draws, n_at_once)
            yield rows, _draws(model, density, batch, observed, chunks)


def _chunks(noise, place, n_draws, n_at_once):
    """Yield all noise of a group (s, B, L), so many draws at a time."""
    for start in range(0, n_draws, n_at_once):
        chunk = noise.draw(min(n_at_once, n_draws - start))
        yield torch.as_tensor(chunk if chunk.shape[1] == len(place) else chunk[:, place])


def _draws(model, density, x, observed, chunks):
    """Yield the draws of one group of rows."""
    posterior = model.encode(x, observed)
    for noise in chunks:
        noise = noise.to(x)
        z = posterior.draw(noise)
        outputs = model.decode(z)
        log_likelihood = model.likelihood.log_prob(x, outputs, observed)
        log_weight = log_likelihood + density.log_prob(z) - posterior.log_prob_of(noise)
        yield Draws(z, outputs, log_likelihood, log_weight, posterior, density)


def _shape(model, home, n_draws, n_features):
    """Return how many rows make a group, and how many of their draws are decoded at once."""
    fit = _NUMBERS.get(home.device.type, _NUMBERS_ELSEWHERE)
    z, x = home.new_zeros(1, model.n_components), home.new_zeros(1, n_features)
    per_draw = _widest(model.decoder, lambda: model.decode(z))
    per_draw = max(per_draw, n_features, model.n_components, model.prior.numbers_per_draw)
    per_row = max(_widest(model.encoder, lambda: model.encode(x)), n_features)
    n_chunks = -(-n_draws * per_draw // fit)
    n_at_once = -(-n_draws // n_chunks)
    n_rows = min(_MAX_ROWS, fit // (n_draws * per_draw), fit // per_row)
    return max(1, n_rows), n_at_once


def _widest(module, ask):
    """Return how many numbers the largest tensor holds that comes out of any part of a module."""
    sizes = [1]

    def note(_module, _inputs, output):
        outputs = output if isinstance(output, tuple | list) else (output,)
        sizes.extend(part.numel() for part in outputs if isinstance(part, torch.Tensor))

    hooks = [part.register_forward_hook(note) for part in module.modules()]
    try:
        ask()
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)
