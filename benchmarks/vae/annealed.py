r"""Annealed importance sampling: ln p(x) without the encoder, to check importance sampling with it.

Draws from the prior are carried to the posterior through the densities
:math:`p(z)\, p(x \mid z)^{\beta}`, with β from 0 to 1, by Hamiltonian transitions that leave each
invariant; :math:`w = \prod_t p(x \mid z_{t-1})^{\beta_t - \beta_{t-1}}` is an unbiased estimate of
p(x) (Neal 2001; Wu et al. 2017, for decoders). Step sizes are learned in a first run and then held
in a second with other draws: learned in the same run they would make the estimate a biased one.

References
----------
.. [1] Neal (2001), Annealed importance sampling, Statistics and Computing 11, eq. 4.
.. [2] Wu, Burda, Salakhutdinov & Grosse (2017), On the quantitative analysis of decoder-based
   generative models, ICLR, section 3.
"""

from typing import NamedTuple

import numpy as np
import torch

_TARGET = 0.65  # acceptance of Hamiltonian transitions that loses the least
_STEP_SIZES = (1e-4, 2.0)
_STEEPNESS = 4.0  # of the sigmoid schedule: slow where β is near 0 and 1


class AnnealedEvidence(NamedTuple):
    """Log-likelihoods of rows by annealing, and their diagnostics."""

    log_likelihood: np.ndarray  # (n,), nats, of prepared rows
    effective_size: np.ndarray  # (n,), of chains, in [1, n_chains]
    acceptance: np.ndarray  # (n,), share of transitions


def annealed_log_likelihood(
    model, x, *, n_temperatures=1000, n_chains=16, n_leapfrog=10, generator
):
    """Return ln p(x) of each row by annealed importance sampling.

    Parameters
    ----------
    model : LatentModel
        Used without changes, usually in float64 and evaluation mode. Its encoder is not used.
    x : ndarray of shape (n, D)
        Prepared rows; NaN is missing. All are carried at once: n·n_chains draws are decoded.
    n_temperatures : int
        Densities after the prior.
    n_chains : int
        Independent draws of a row.
    n_leapfrog : int
        Steps of a Hamiltonian transition, of which there is one for each density.
    generator : torch.Generator
        On the CPU; the source of randomness.

    Returns
    -------
    evidence : AnnealedEvidence
        Unbiased in p(x), so that in expectation ln p(x) is not exceeded.
    """
    betas = _schedule(n_temperatures)
    target = _Target(model, x)
    sizes = torch.full((n_temperatures, target.n_rows), 0.1, dtype=target.x.dtype)
    sizes = sizes.to(target.x.device)
    _run(target, betas, n_chains, n_leapfrog, generator, sizes, learn=True)
    log_weight, accepted = _run(target, betas, n_chains, n_leapfrog, generator, sizes)
    log_weight = log_weight.double()
    twice = 2 * torch.logsumexp(log_weight, 0) - torch.logsumexp(2 * log_weight, 0)
    log_p = torch.logsumexp(log_weight, 0) - np.log(n_chains)
    return AnnealedEvidence(*(part.cpu().numpy() for part in (log_p, twice.exp(), accepted)))


class _Target:
    """ln p(z) and ln p(x | z) of draws (C, B, L) for the rows x, and their gradient."""

    def __init__(self, model, x):
        like = next(p for p in model.parameters() if p.is_floating_point())
        missing = np.isnan(x)
        self.x = torch.as_tensor(x).to(like)
        self.observed = torch.as_tensor(~missing).to(like.device) if missing.any() else None
        self.n_rows, self._model = len(x), model
        with torch.no_grad():
            self._density = model.prior_density()

    def sample(self, n_chains, generator):
        with torch.no_grad():
            z, _ = self._density.sample(n_chains * self.n_rows, generator)
        return z.reshape(n_chains, self.n_rows, -1).to(self.x)

    def log_likelihood(self, z):
        with torch.no_grad():
            return self._model.log_likelihood(self.x, self.observed, z)

    def both(self, z, beta):
        """Return ln p(z) + β ln p(x | z), (C, B), its gradient in z, and ln p(x | z)."""
        z = z.detach().requires_grad_()
        with torch.enable_grad():
            log_likelihood = self._model.log_likelihood(self.x, self.observed, z)
            log_density = self._density.log_prob(z) + beta * log_likelihood
            (gradient,) = torch.autograd.grad(log_density.sum(), z)
        return log_density.detach(), gradient, log_likelihood.detach()


def _schedule(n_temperatures):
    """Return β_0 = 0 < … < β_T = 1, along a sigmoid."""
    t = np.linspace(-_STEEPNESS, _STEEPNESS, n_temperatures + 1)
    sigmoid = 1.0 / (1.0 + np.exp(-t))
    return (sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])


def _run(target, betas, n_chains, n_leapfrog, generator, sizes, learn=False):
    """Return the log-weights (C, B) of one run, and the share of moves accepted, (B,).

    ``sizes`` (T, B) are the step sizes; learning writes those of a temperature from how many
    chains of a row moved at the one before.
    """
    z = target.sample(n_chains, generator)
    log_weight, accepted = 0.0, 0.0
    for t in range(1, len(betas)):
        if t == 1:
            log_likelihood = target.log_likelihood(z)
        log_weight = log_weight + (betas[t] - betas[t - 1]) * log_likelihood
        state = z, log_likelihood
        z, log_likelihood, moved = _transition(
            target, state, betas[t], sizes[t - 1], n_leapfrog, generator
        )
        accepted = accepted + moved / (len(betas) - 1)
        if learn and t < len(betas) - 1:
            grown = sizes[t - 1] * torch.exp(0.2 * (moved - _TARGET))
            sizes[t] = grown.clamp(*_STEP_SIZES)
    return log_weight, accepted


def _transition(target, state, beta, size, n_leapfrog, generator):
    """Return (z, ln p(x|z), share of chains that moved) after one Hamiltonian transition."""
    z, log_likelihood = state
    start = z
    momentum = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
    size = size[:, None]
    log_density, gradient, _ = target.both(z, beta)
    before = log_density - 0.5 * momentum.square().sum(-1)
    for _ in range(n_leapfrog):
        momentum = momentum + 0.5 * size * gradient
        z = z + size * momentum
        log_density, gradient, proposed = target.both(z, beta)
        momentum = momentum + 0.5 * size * gradient
    gain = log_density - 0.5 * momentum.square().sum(-1) - before
    chance = torch.rand(gain.shape, generator=generator, dtype=gain.dtype).to(gain.device)
    moved = chance.log() < gain  # a trajectory that left for infinity gains NaN and is rejected
    z = torch.where(moved[..., None], z, start)
    log_likelihood = torch.where(moved, proposed, log_likelihood)
    return z, log_likelihood, moved.to(z).mean(0)
