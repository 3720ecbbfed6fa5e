"""Draws of the latent variable for rows, their importance weights, and weighted sums.

B rows in a group, S draws a row, s of them at once, L latent dimensions, D features.

All tensors here have one shape for a model and S, for any number of rows: the last group is filled
up with copies of a row, whose results are dropped. So a row's result is the same in any batch and
any order, except where a library rounds the rows of one matrix differently. Rows with missing
values form groups of their own, since their computation rounds differently.
"""

import copy
import hashlib
from typing import NamedTuple

import numpy as np
import torch

from skvae.neural.latent_model import LatentModel
from skvae.neural.linear import exact_posterior
from skvae.neural.posteriors import DiagonalPosterior, FullPosterior
from skvae.neural.priors import MixtureDensity, Normal
from skvae.neural.proposal import PriorDraws, Proposal, mode_from

# Numbers in the largest tensor of one step. A few such tensors fit in a processor's caches, far
# below 64 MB; an accelerator needs more work in each step.
_NUMBERS = {"cpu": 2**18}
_NUMBERS_ELSEWHERE = 2**22
_MAX_ROWS = 64  # in a group: a single row costs as much as 64
# Decoder and likelihood compute in float32 for rows whose ln p(x | z) then keeps five digits.
_SINGLE_ERROR = 1e-5  # relative to ln p(x | z), or in nats if that is below one
_FEWEST_DRAWS = 16  # of a row, beside which the comparison is little work
_POINTS = 9  # of a row at which they are compared
_MANY_WEIGHTS = 2**12  # of a decoder whose products are slow enough in float64


class WeightedDraws(NamedTuple):
    """Some draws of z for a group of rows, with their densities and weights.

    Parameters
    ----------
    z : Tensor of shape (s, B, L)
        From the encoder and from modes in turn, or of a linear model from p(z | x).
    outputs : Tensor of shape (s, B, n_outputs)
        The outputs of the decoder.
    log_likelihood : Tensor of shape (s, B)
        ln p(x | z), in nats of prepared rows.
    log_weight : Tensor of shape (s, B)
        ln p(x | z) + ln p(z) − ln q(z).
    log_q : Tensor of shape (s, B)
        ln q(z), the density of the whole proposal.
    posterior : DiagonalPosterior or FullPosterior
        The encoder's q(z | x) of the B rows, or of a linear model p(z | x).
    density : Normal or MixtureDensity
        p(z).
    """

    z: torch.Tensor
    outputs: torch.Tensor
    log_likelihood: torch.Tensor
    log_weight: torch.Tensor
    log_q: torch.Tensor
    posterior: DiagonalPosterior | FullPosterior
    density: Normal | MixtureDensity


class WeightSums:
    """Running sums over weighted draws, for each row of a group.

    Weights come as logarithms; all sums are relative to the largest so far, so none overflows.
    """

    def __init__(self):
        self._n_draws = 0
        self._top = self._total = self._squares = self._values = None

    def add(self, log_weight, values=None):
        """Add some draws.

        Parameters
        ----------
        log_weight : tensor of shape (s, B)
            In nats.
        values : tensor of shape (s, B, F) or None
            Values to average: passed in every call or in none.
        """
        log_weight = by_row(log_weight)
        top = log_weight.amax(1)
        if self._top is not None:
            top = torch.maximum(self._top, top)
        # Weights that are all zero count as equal, until one is not zero.
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


class RowNoise:
    """Standard normal noise for rows, each from a generator seeded with the row and the seed.

    The noise of different rows is independent; equal rows have the same noise, in any call. Rows
    are compared in float32: other units of X, or another order of it in memory, which change the
    last digits of prepared rows, leave the noise as it is. It is always drawn on the CPU, so that
    results depend on the device by rounding alone.

    Parameters
    ----------
    x : ndarray of shape (B, D), float64
        Rows. All NaNs are equal, and so are zeros of either sign.
    n_components : int
        L, numbers in a draw.
    seed : int
        In [0, 2**64), of the model: with another seed the same rows have other noise.
    numbers : ndarray of int, shape (B,), default=None
        A number of each row: rows that are equal have the same noise only if their numbers are. −1
        is no number.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.importance_weights import RowNoise
    >>> x = np.array([[1.0, 2.0], [3.0, np.nan]])
    >>> together, alone = RowNoise(x, 3, seed=0).draw(5), RowNoise(x[[1]], 3, seed=0).draw(5)
    >>> np.array_equal(together[:, [1]], alone)
    True
    """

    def __init__(self, x, n_components, seed, numbers=None):
        x = np.where(np.isnan(x), np.nan, x)  # one NaN
        with np.errstate(over="ignore"):  # rows so far away count as equal
            x = np.ascontiguousarray(x, dtype="<f4")
        x += np.float32(0.0)  # -0.0 + 0.0 is 0.0
        self._n_components = n_components
        keys = [row.tobytes() for row in x]
        if numbers is not None:
            keys = [
                key + (int(n).to_bytes(8, "little") if n >= 0 else b"")
                for key, n in zip(keys, numbers, strict=True)
            ]
        self._generators = [_generator(key, int(seed)) for key in keys]

    @property
    def n_rows(self):
        """The number of rows B."""
        return len(self._generators)

    def draw(self, n_draws):
        """Return the next draws of every row.

        Parameters
        ----------
        n_draws : int
            The number of draws. Two calls give the same as one of as many draws.

        Returns
        -------
        noise : ndarray of shape (n_draws, B, L)
            C-ordered.
        """
        noise = np.empty((n_draws, len(self._generators), self._n_components))
        for i, generator in enumerate(self._generators):
            noise[:, i] = generator.standard_normal((n_draws, self._n_components))
        return noise


def _generator(row, seed):
    """Return a generator with a key of 128 bits, which in practice no two different rows share."""
    key = hashlib.blake2b(row, digest_size=16, key=seed.to_bytes(8, "little"))
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key.digest(), "little")))


def by_row(values):
    """Return numbers of draws (s, B) as float64 (B, s), each row contiguous.

    A row's sum then has the same order of terms at every place in the group.
    """
    return values.double().T.contiguous()


def weighted_groups(model, x, n_draws, seed, *, numbers=None, log_weights=None, by_encoder=False):
    """Yield the indices of a group of rows and an iterator of its `WeightedDraws`, group by group.

    Called without gradients. All draws of a group must be read before the next group.

    Parameters
    ----------
    model : LatentModel
        In the mode and dtype of the computation.
    x : ndarray of shape (n, D), float64
        Prepared rows; NaN is missing.
    n_draws : int
        S.
    seed : int
        Seed of the draws, in [0, 2**64).
    numbers : ndarray of int, shape (n,), default=None
        Equal rows have draws of their own where their numbers differ, see :class:`RowNoise`; None:
        they share theirs.
    log_weights : ndarray of shape (n, K), default=None
        The logarithms of the weights that a prior of K Gaussians has for each row; None: those of
        the prior itself.
    by_encoder : bool
        Whether all draws are from the encoder; by default there are better ones too.

    Yields
    ------
    rows : ndarray of int
        The rows of the group; its tensors may hold further rows after these.
    draws : iterator of WeightedDraws
        S in all.
    """
    weight = next((p for p in model.parameters() if p.is_floating_point()), None)
    home = torch.empty(0, dtype=torch.float64) if weight is None else weight
    density, sizes = model.prior_density(), _sizes(model, home, n_draws, x.shape[1])
    decoding = Decoding(model, _in_single(model, home, n_draws))
    starts = None if by_encoder else PriorDraws.of_model(model, density, seed)
    incomplete = np.isnan(x).any(axis=1)
    for index in (np.flatnonzero(~incomplete), np.flatnonzero(incomplete)):
        for block in _parts(index, sizes.block):
            filled = _filled(block, sizes.block)
            batch, observed = _batch(x[filled], home)
            if log_weights is not None:
                weights = torch.as_tensor(log_weights[filled]).to(home)
                density = density._replace(log_weights=weights)
            exact = None if by_encoder else exact_posterior(model, batch, observed)
            proposal = Proposal(model.encode(batch) if exact is None else exact)
            together = _Rows(batch, observed, density, proposal)
            if by_encoder:
                together = decoding.judged(together)
            elif exact is None:
                together = decoding.with_modes(together, starts)
            for i, rows in enumerate(_parts(block, sizes.group)):
                own = together.take(slice(i * sizes.group, (i + 1) * sizes.group))
                number = None if numbers is None else numbers[rows]
                noise = RowNoise(x[rows], own.proposal.n_numbers, seed, number)
                yield rows, _draws(decoding, own, noise, n_draws, sizes)


class _Rows(NamedTuple):
    """Rows with the densities of their latent vectors; x (B, D), observed (B, D) or None.

    ``safe`` (B,) are the rows for which float32 is enough; None: there are none.
    """

    x: torch.Tensor
    observed: torch.Tensor | None
    density: Normal | MixtureDensity
    proposal: Proposal
    safe: torch.Tensor | None = None

    def take(self, index):
        """Return some of the rows."""
        observed = None if self.observed is None else self.observed[index]
        density = self.density
        if isinstance(density, MixtureDensity) and density.log_weights.ndim > 1:
            density = density._replace(log_weights=density.log_weights[index])
        safe = None if self.safe is None else self.safe[index]
        return _Rows(self.x[index], observed, density, self.proposal.take(index), safe)


class Decoding(NamedTuple):
    """Decoder and likelihood of a model in its own precision, and in float32, which is faster.

    Each row's precision depends on this row alone.

    Parameters
    ----------
    model : LatentModel
        The model.
    single : LatentModel or None
        A copy in float32; None if it is of no use.
    """

    model: LatentModel
    single: LatentModel | None

    def judged(self, rows):
        """Return the rows with ``safe``: whether ln p(x | z) keeps digits where weights matter.

        That is at the means of the proposal's densities, and a step beside them.
        """
        if self.single is None:
            return rows
        z = rows.proposal.points()
        (_, log_p), (_, rounded) = self._exact(rows, z), self._rounded(rows, z)
        error = (rounded - log_p).abs()
        safe = (error <= _SINGLE_ERROR * log_p.abs().clamp(min=1.0)).all(0)
        return rows._replace(safe=safe if safe.any() else None)

    def with_modes(self, rows, starts):
        """Return the rows with t's at two modes in their proposals, and with ``safe``.

        The modes are from the encoder's mean, and from the prior.
        """
        single = None
        for model, x in ((self.single, rows.x.float()), (self.model, rows.x)):
            if model is None:
                continue
            own = model, rows.density, x, rows.observed
            first = mode_from(*own, rows.proposal.posterior.mean)
            second = mode_from(*own, starts.best(model, x, rows.observed, first))
            found = rows._replace(proposal=rows.proposal._replace(modes=(first, second)))
            if model is self.single:
                single = self.judged(found)
                if single.safe is not None and single.safe.all():
                    return single
        if single is None or single.safe is None:
            return found
        pairs = zip(single.proposal.modes, found.proposal.modes, strict=True)
        modes = tuple(a.where(single.safe, b) for a, b in pairs)
        return single._replace(proposal=rows.proposal._replace(modes=modes))

    def outputs(self, rows, z):
        """Return the decoder's outputs (s, B, n) of z (s, B, L), and ln p(x | z), (s, B)."""
        if rows.safe is None:
            return self._exact(rows, z)
        outputs, log_p = self._rounded(rows, z)
        if not rows.safe.all():
            own, own_log_p = self._exact(rows, z)
            outputs = torch.where(rows.safe[:, None], outputs.to(own), own)
            log_p = torch.where(rows.safe, log_p, own_log_p)
        return outputs, log_p

    def _exact(self, rows, z):
        outputs = self.model.decode(z, rows.x)
        return outputs, self.model.likelihood.log_prob(rows.x, outputs, rows.observed)

    def _rounded(self, rows, z):
        x = rows.x.float()
        outputs = self.single.decode(z.float(), x)
        log_p = self.single.likelihood.log_prob(x, outputs, rows.observed)
        return outputs, log_p.double()


def _in_single(model, home, n_draws):
    """Return a copy of a model in float32 for many draws, or None where that is of no use.

    On other devices than the CPU a product's rounding depends on a row's place in a batch, and that
    of float32 would be visible in the modes.
    """
    if home.dtype != torch.float64 or home.device.type != "cpu" or n_draws < _FEWEST_DRAWS:
        return None
    n_weights = sum(weight.numel() for weight in model.decoder.parameters())
    return copy.deepcopy(model).float() if n_weights >= _MANY_WEIGHTS else None


def _batch(x, home):
    """Return rows that are all complete, or all incomplete, as a tensor, and its observed values.

    These are None of complete rows.
    """
    missing = np.isnan(x)
    observed = torch.as_tensor(~missing).to(home.device) if missing.any() else None
    return torch.as_tensor(x).to(home), observed


def _parts(index, size):
    """Yield an array in parts of a size, the last of which may be smaller."""
    for start in range(0, len(index), size):
        yield index[start : start + size]


def _filled(index, size):
    """Return an array filled up to a size with its last entry."""
    return index[np.minimum(np.arange(size), len(index) - 1)]


def _draws(decoding, rows, source, n_draws, sizes):
    """Yield the draws of one group of rows, of which the last may fill it up."""
    place = np.minimum(np.arange(len(rows.x)), source.n_rows - 1)
    for first in range(0, n_draws, sizes.draws):
        noise = source.draw(min(sizes.draws, n_draws - first))
        noise = torch.as_tensor(noise if source.n_rows == len(place) else noise[:, place])
        z, log_q = rows.proposal.draw(noise.to(rows.x), first, n_draws)
        outputs, log_likelihood = decoding.outputs(rows, z)
        log_weight = log_likelihood + rows.density.log_prob(z) - log_q
        posterior, density = rows.proposal.posterior, rows.density
        yield WeightedDraws(z, outputs, log_likelihood, log_weight, log_q, posterior, density)


class _Sizes(NamedTuple):
    """Rows whose modes are found together, rows of a group, and draws decoded at once."""

    block: int
    group: int
    draws: int


def _sizes(model, home, n_draws, n_features):
    """Return the `_Sizes` with which no tensor is too large; a block is of whole groups."""
    fit = _NUMBERS.get(home.device.type, _NUMBERS_ELSEWHERE)
    z, x = home.new_zeros(1, model.n_components), home.new_zeros(1, n_features)
    per_draw = _widest(model.decoder, lambda: model.decode(z, x))
    per_draw = max(per_draw, n_features, model.n_components, model.prior.numbers_per_draw)
    per_row = max(_widest(model.encoder, lambda: model.encode(x)), n_features)
    n_points = max(model.n_components + 1, _POINTS)  # decoded for a row, to find its modes
    most = max(1, min(_MAX_ROWS, fit // per_row, fit // (n_points * per_draw)))
    n_chunks = -(-n_draws * per_draw // fit)
    group = max(1, min(most, fit // (n_draws * per_draw)))
    return _Sizes(most // group * group, group, -(-n_draws // n_chunks))


def _widest(module, run):
    """Return the size of the largest output of any part of a module during a call of ``run``."""
    sizes = [1]

    def note(_module, _inputs, output):
        outputs = output if isinstance(output, tuple | list) else (output,)
        sizes.extend(part.numel() for part in outputs if isinstance(part, torch.Tensor))

    hooks = [part.register_forward_hook(note) for part in module.modules()]
    try:
        run()
    finally:
        for hook in hooks:
            hook.remove()
    return max(sizes)
