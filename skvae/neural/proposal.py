r"""A proposal for the latent vector of a row: its encoder's Gaussian, and t's at posterior modes.

The importance weights of draws from the encoder alone are unreliable where it is poor, as for rows
with missing values. Here the draws take turns between three densities: the encoder's
:math:`q_0(z \mid x)`, and multivariate Student-t densities :math:`q_1, q_2` at modes of p(z | x).
The first mode is found from the encoder's mean. The second is found from the prior: from that of
some draws with the largest weight :math:`p(x, z) / q_1(z)`, far from the first mode if the
posterior has others. With the balance heuristic

.. math:: w_s = \frac{p(x \mid z_s)\, p(z_s)}{\sum_k \alpha_k q_k(z_s)},

:math:`\alpha_k` the share of the draws from :math:`q_k`, the mean weight is unbiased for p(x), and
at most :math:`1 / \alpha_k` times as variable as with :math:`q_k` alone: it is reliable if any
of the three is.

A mode is found by Levenberg's damped Gauss–Newton steps,

.. math:: z \leftarrow z + (1 + \lambda)^{-1} H^{-1} \nabla \ln p(x, z), \qquad
    H = -\nabla^2 \ln p(z) - J^\top \bigl(\nabla_o^2 \ln p(x \mid o)\bigr) J,

o(z) the decoder's outputs and J their derivatives. :math:`H^{-1}` at the mode is the scale of the
t. J is a finite difference, so that any decoder will do, also one without derivatives.

B rows, S draws, L latent dimensions. Rows are prepared, logarithms in nats.

References
----------
.. [1] Veach & Guibas (1995), Optimally combining sampling techniques for Monte Carlo rendering,
   SIGGRAPH, for the balance heuristic.
.. [2] Owen & Zhou (2000), Safe and effective importance sampling, JASA 95, section 3.
"""

import math
from typing import NamedTuple

import torch

from skvae.neural.posteriors import DiagonalPosterior, FullPosterior
from skvae.neural.priors import MixtureDensity

_STEPS = 5  # Gauss-Newton steps at most
_CLOSE = 0.01  # squared distance to the mode, in standard deviations, of a row that stays in place
_POINTS = 128  # draws from the prior among which the second mode's start is chosen
_DOF = 5  # of the t: the draws from it have tails heavier than most posteriors
_NUMBERS = 2**18  # in the largest tensor of that choice
_GROWTH = 4.0  # of the damping after a step that lost, and its fall after one that gained


class Mode(NamedTuple):
    """Multivariate t densities, one about a mode of the posterior of each row.

    Parameters
    ----------
    mean : Tensor of shape (B, L)
        The modes.
    factor : Tensor of shape (B, L, L)
        Symmetric F: the scale of a t is F F.
    whitening : Tensor of shape (B, L, L)
        Its inverse.
    log_volume : Tensor of shape (B,)
        ln det F.
    """

    mean: torch.Tensor
    factor: torch.Tensor
    whitening: torch.Tensor
    log_volume: torch.Tensor

    def draw(self, noise):
        """Return draws z (S, B, L) from standard normal noise (S, B, L + ν)."""
        n_latents = self.mean.shape[-1]
        chi_square = noise[..., n_latents:].square().sum(-1, keepdim=True)
        white = noise[..., :n_latents] * (_DOF / chi_square).sqrt()
        return self.mean + torch.einsum("bij,sbj->sbi", self.factor, white)

    def log_prob(self, z):
        """Return the log-densities, (S, B), of z (S, B, L)."""
        n_latents = z.shape[-1]
        white = (z - self.mean).transpose(0, 1) @ self.whitening
        half = 0.5 * (_DOF + n_latents)
        peak = math.lgamma(half) - math.lgamma(0.5 * _DOF)
        peak = peak - 0.5 * n_latents * math.log(_DOF * math.pi) - self.log_volume
        return peak - half * torch.log1p(white.square().sum(-1).T / _DOF)

    def take(self, index):
        """Return those of some rows."""
        return Mode(*(part[index] for part in self))

    def where(self, taken, other):
        """Return these of the rows that are taken, (B,), and the others of the other rows."""
        return Mode(*_where(taken, self, other))


class Proposal(NamedTuple):
    """The densities that the draws of z for some rows are from.

    Parameters
    ----------
    posterior : DiagonalPosterior or FullPosterior
        The encoder's q(z | x), or p(z | x) itself of a model where it is known.
    modes : tuple of Mode
        Without any, all draws are from the posterior.
    """

    posterior: DiagonalPosterior | FullPosterior
    modes: tuple[Mode, ...] = ()

    @property
    def n_numbers(self):
        """The standard normal numbers that a draw needs."""
        return self.posterior.mean.shape[-1] + (_DOF if self.modes else 0)

    def draw(self, noise, first, n_draws):
        """Return draws z, and their log-density under the whole proposal.

        Parameters
        ----------
        noise : Tensor of shape (s, B, n_numbers)
            Standard normal.
        first : int
            The number of the first of these draws among all of a row: draws take turns.
        n_draws : int
            S, the number of all draws.

        Returns
        -------
        z : Tensor of shape (s, B, L)
            The draws.
        log_density : Tensor of shape (s, B)
            Of the densities together, each weighted with its share of the S draws.
        """
        if not self.modes:
            return self.posterior.draw(noise), self.posterior.log_prob_of(noise)
        n_parts = 1 + len(self.modes)
        z = noise[..., :-_DOF].clone()
        for k in range(n_parts):
            turns = slice((k - first) % n_parts, None, n_parts)
            z[turns] = self.modes[k - 1].draw(noise[turns]) if k else self.posterior.draw(z[turns])
        shares = [len(range(k, n_draws, n_parts)) / n_draws for k in range(n_parts)]
        parts = torch.stack([part.log_prob(z) for part in (self.posterior, *self.modes)])
        return z, torch.logsumexp(parts + z.new_tensor(shares).log()[:, None, None], 0)

    def points(self):
        """Return the means of all densities, and z a step to both sides of each, (k, B, L)."""
        mean = self.posterior.mean
        steps = mean.new_tensor([0.0, 1.0, -1.0])[:, None, None].expand(-1, *mean.shape)
        sides = [m.mean + torch.einsum("bij,sbj->sbi", m.factor, steps) for m in self.modes]
        return torch.cat([self.posterior.draw(steps), *sides])

    def take(self, index):
        """Return the proposal of some rows."""
        modes = tuple(mode.take(index) for mode in self.modes)
        return Proposal(self.posterior.take(index), modes)


class PriorDraws(NamedTuple):
    """Draws from the prior with their decoder's outputs, the same for all rows.

    Where columns are given, the outputs differ between rows, and are computed for each.

    Parameters
    ----------
    z : Tensor of shape (n, L)
        The draws.
    outputs : Tensor of shape (n, n_outputs) or None
        The decoder's outputs; None where columns are given.
    log_prior : Tensor of shape (n,)
        ln p(z).
    """

    z: torch.Tensor
    outputs: torch.Tensor | None
    log_prior: torch.Tensor

    @classmethod
    def of_model(cls, model, density, seed):
        """Return draws by a seed."""
        z, _ = density.sample(_POINTS, torch.Generator().manual_seed(seed))
        outputs = None if model.likelihood.n_given else model.decode(z)
        return cls(z, outputs, density.log_prob(z))

    def best(self, model, x, observed, mode):
        """Return for each row the draw with the largest p(x, z) / q(z), q a Mode, (B, L)."""
        log_joint = []
        size = max(1, _NUMBERS // x.numel())
        for part in (self.z if self.outputs is None else self.outputs).split(size):
            outputs = part[:, None].expand(-1, len(x), -1)
            if self.outputs is None:
                outputs = model.decode(outputs.to(x), x)
            log_joint.append(model.likelihood.log_prob(x, outputs, observed))
        log_weight = torch.cat(log_joint).to(self.z) + self.log_prior[:, None]
        log_weight = log_weight - mode.log_prob(self.z[:, None].expand(-1, len(x), -1))
        return self.z[log_weight.nan_to_num(nan=-torch.inf).argmax(0)]


def mode_from(model, density, x, observed, start):
    """Return the Mode of rows.

    Parameters
    ----------
    model : LatentModel
        In the mode of the computation.
    density : Normal or MixtureDensity
        p(z), in the dtype of the start.
    x : Tensor of shape (B, D)
        Prepared rows, in the dtype of the model; NaN is missing.
    observed : Tensor of bool, shape (B, D), or None
        Whether a value is observed; None if all are.
    start : Tensor of shape (B, L)
        Latent vectors, from which no step lowers ln p(x, z).

    Returns
    -------
    mode : Mode
        A t about the start as wide as the prior, where a decoder gives NaN or infinity.
    """
    least = _least_precision(density)
    here = _expand(model, density, x, observed, _rounded(start))
    damping = torch.zeros_like(here.value)
    for _ in range(_STEPS):
        step, distance = here.step(damping, least)
        far = distance > _CLOSE
        if not far.any():
            break
        new = _expand(model, density, x, observed, _rounded(here.z + step))
        better = far & new.usable() & ~(new.value < here.value)
        here = new.where(better, here)
        lower = torch.where(damping > 1.0, damping / _GROWTH, 0.0)
        damping = torch.where(better, lower, _GROWTH * damping.clamp_min(1.0))
    start = torch.nan_to_num(start, nan=0.0, posinf=0.0, neginf=0.0)
    wide = (least[..., None] * torch.eye(start.shape[-1]).to(start)).expand_as(here.precision)
    here = here.where(here.usable(), here._replace(z=start, precision=wide))
    values, vectors = _eigen(_rounded(here.precision), least)
    root = values.sqrt()[..., None, :]
    factor, whitening = (vectors / root) @ vectors.mT, (vectors * root) @ vectors.mT
    return Mode(here.z, factor, whitening, -0.5 * values.log().sum(-1))


class _Expansion(NamedTuple):
    """ln p(x, z) about z (B, L): its value (B,), gradient (B, L) and H (B, L, L)."""

    z: torch.Tensor
    value: torch.Tensor
    gradient: torch.Tensor
    precision: torch.Tensor

    def usable(self):
        """Return where all are finite, (B,)."""
        total = self.value + self.gradient.sum(-1) + self.precision.sum((-2, -1))
        return total.isfinite()

    def step(self, damping, least):
        """Return the damped step to the mode, (B, L), and its squared distance by H, (B,)."""
        values, vectors = _eigen(self.precision, least)
        slopes = (vectors.mT @ self.gradient[..., None]).squeeze(-1)
        distance = (slopes.square() / values).sum(-1)
        slopes = slopes / (values * (1.0 + damping[..., None]))
        return (vectors @ slopes[..., None]).squeeze(-1), distance

    def where(self, taken, other):
        """Return this expansion where it is taken, (B,), and elsewhere the other."""
        return _Expansion(*_where(taken, self, other))


def _where(taken, parts, others):
    """Return tensors (B, ...) with the rows of parts that are taken, (B,), and of others."""
    shapes = [taken[(..., *[None] * (part.ndim - 1))] for part in parts]
    return map(torch.where, shapes, parts, others)


def _expand(model, density, x, observed, z):
    """Return the _Expansion about z (B, L).

    The decoder is evaluated at z and a small step away in each direction. The likelihood and the
    prior are differentiated there, and the differences of their gradients are products of their
    second derivatives with the steps of the outputs, and of z.
    """
    size = torch.finfo(x.dtype).eps ** (1 / 3)
    n_latents = z.shape[-1]
    steps = torch.cat([torch.zeros(1, n_latents), size * torch.eye(n_latents)]).to(z)
    points = z + steps[:, None]
    outputs = model.decode(points.to(x), x)
    with torch.enable_grad():
        points, outputs = points.requires_grad_(), outputs.detach().requires_grad_()
        log_likelihood = model.likelihood.log_prob(x, outputs, observed)
        log_prior = density.log_prob(points)
        of_outputs, of_z = torch.autograd.grad(
            log_likelihood.sum() + log_prior.sum(), [outputs, points]
        )
    outputs = outputs.detach()
    jacobian = (outputs[1:] - outputs[0]) / size
    curved = (of_outputs[1:] - of_outputs[0]) / size
    gradient = torch.einsum("lbn,bn->bl", jacobian, of_outputs[0]).to(z) + of_z[0]
    precision = torch.einsum("ibn,jbn->bij", jacobian, curved).to(z)
    precision = precision + ((of_z[1:] - of_z[0]) / size).permute(1, 2, 0)
    value = (log_likelihood[0] + log_prior[0]).detach().to(z)
    return _Expansion(z, value, gradient, -0.5 * (precision + precision.mT))


def _rounded(values):
    """Return float64 numbers rounded to float32.

    So the last digits of a row, which depend on the rows beside it in some libraries and on the
    units of X, have no influence on the draws.
    """
    return values.float().to(values)


def _eigen(precision, least):
    """Return eigenvalues (…, L) and vectors of H, its values as if convex and not too flat.

    Of a negative eigenvalue the size counts: a step along its direction then climbs. No t is wider
    than the prior.
    """
    usable = precision.isfinite().all(-1).all(-1)[..., None, None]
    values, vectors = torch.linalg.eigh(torch.where(usable, precision, 0.0))
    return torch.maximum(values.abs(), least), vectors


def _least_precision(density):
    """Return the precision of the prior in its widest dimension, (1,), or (B, 1) of each row."""
    if not isinstance(density, MixtureDensity):
        return density.origin.new_ones(1)
    weights, parts = density.log_weights.exp()[..., None], density.components
    mean = (weights * parts.mean).sum(-2, keepdim=True)
    variance = (weights * (parts.variance + (parts.mean - mean).square())).sum(-2)
    return variance.amax(-1, keepdim=True).reciprocal()
