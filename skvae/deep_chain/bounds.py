r"""Lower bounds of ln p(x) under a hidden Markov model of latent rows, the path summed exactly.

.. math:: p(k) = \pi_{k_1} \prod_t A_{k_{t-1} k_t}, \qquad z_t \mid k_t \sim N(\mu_{k_t}, V_{k_t}),
    \qquad x_t \mid z_t \sim p(x \mid \mathrm{decoder}(z_t))

With the integrals :math:`b_t(k) = \int N(z; \mu_k, V_k)\, p(x_t \mid z)\, dz` this is a hidden
Markov model of x. Every bound replaces ln b by *scores* B (n_rows, K) of one posterior
:math:`q_t = q(z \mid x_t)`, and is the forward sum

.. math:: F(B) = \ln \sum_k p(k) \exp \sum_t B_t(k_t).

========== ======================================================================= ===============
name       scores                                                                  draws of a row
========== ======================================================================= ===============
factored   E_q ln p(x | z) − KL(q ‖ N_k)                                           none in the KL
marginal   ln p(x | z) + ln N_k(z) + H(q)                                          one
importance ln 1/S Σ_s p(x | z_s) N_k(z_s) / q(z_s)                                 S
========== ======================================================================= ===============

In expectation factored ≤ marginal ≤ importance ≤ ln p(x). The first inequality is Jensen's, as F is
convex and the factored scores are the expectations of the marginal ones. The last holds because
the draws of different rows are independent, and exp F is linear in the scores' exponentials of each
row: its expectation is p(x). The importance bound rises with S. E ln p(x | z) is common to all
states and leaves the sum; the rest is a divergence, ``kl``.

A sum of scores weighted by the posterior of the states, Σ γ_t(k) B_t(k), is no bound, since it
lacks the terms of the chain: it can lie above ln p(x).

S draws a row, B rows, K states, L latent dimensions; everything is in nats.

References
----------
Ebbers, Heymann, Drude, Glarner, Haeb-Umbach & Raj (2017), Hidden Markov model variational
autoencoder for acoustic unit discovery, Interspeech. Burda, Grosse & Salakhutdinov (2016),
Importance weighted autoencoders.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from skvae.deep_chain.chain_likelihood import chain_log_likelihood
from skvae.neural.posteriors import LOG_2PI

BOUNDS = ("factored", "marginal")


def factored_scores(posterior, states):
    """Return −KL(q ‖ N_k) of each row and state, (B, K).

    Parameters
    ----------
    posterior : DiagonalPosterior or FullPosterior
        q of B rows.
    states : DiagonalPosterior
        The Gaussians of K states.

    Examples
    --------
    >>> import torch
    >>> from skvae.deep_chain.bounds import factored_scores
    >>> from skvae.neural.posteriors import DiagonalPosterior
    >>> states = DiagonalPosterior(torch.tensor([[0.0], [2.0]]), torch.zeros(2, 1))
    >>> factored_scores(DiagonalPosterior(torch.zeros(1, 1), torch.zeros(1, 1)), states).abs()
    tensor([[0., 2.]])
    """
    shift = posterior.mean.unsqueeze(-2) - states.mean
    distance = (posterior.variance.unsqueeze(-2) + shift.square()) / states.variance
    log_volume = states.log_var.sum(-1) + states.mean.shape[-1] * LOG_2PI
    expected = -0.5 * (distance.sum(-1) + log_volume)
    return expected + posterior.entropy().unsqueeze(-1)


def marginal_scores(posterior, states, z):
    """Return ln N_k(z) + H(q) of each row and state at draws of q, (..., B, K).

    The entropy is exact instead of −ln q(z), which has the same mean over draws.

    Parameters
    ----------
    posterior : DiagonalPosterior or FullPosterior
        q of B rows.
    states : DiagonalPosterior
        The Gaussians of K states.
    z : Tensor of shape (..., B, L)
        Draws of q.
    """
    return states.log_prob(z.unsqueeze(-2)) + posterior.entropy().unsqueeze(-1)


def log_state_weights(log_likelihood, states, z, log_q, beta=1.0):
    """Return ln p(x | z) + β (ln N_k(z) − ln q(z)), (S, B, K): with β = 1 weights of mean b_t(k).

    Parameters
    ----------
    log_likelihood : Tensor of shape (S, B)
        ln p(x | z).
    states : DiagonalPosterior
        The Gaussians of K states.
    z : Tensor of shape (S, B, L)
        Draws of q.
    log_q : Tensor of shape (S, B)
        ln q(z).
    beta : float
        Weight of the divergence in training.
    """
    ratio = states.log_prob(z.unsqueeze(-2)) - log_q.unsqueeze(-1)
    return log_likelihood.unsqueeze(-1) + (ratio if beta == 1.0 else beta * ratio)


def importance_scores(log_likelihood, states, z, log_q, beta=1.0):
    """Return ln 1/S Σ_s p(x | z_s) N_k(z_s) / q(z_s) of each row and state, (B, K).

    The arguments are those of :func:`log_state_weights`.
    """
    log_weights = log_state_weights(log_likelihood, states, z, log_q, beta)
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


# Sequences ----------------------------------------------------------------------------------------


class SequenceBound(NamedTuple):
    """The training objective and the terms of the bound: Tensors (n_sequences,), in nats.

    Parameters
    ----------
    objective : Tensor
        To be maximised; the only one to be differentiated.
    bound : Tensor
        The lower bound of ln p(x), without `beta` and free bits.
    reconstruction : Tensor
        Σ E_q ln p(x_t | z_t).
    kl : Tensor
        The divergence KL(q ‖ p(z)) of all latent rows of a sequence, or with the factored bound the
        upper bound of it that has a factor for the path.
    """

    objective: torch.Tensor
    bound: torch.Tensor
    reconstruction: torch.Tensor
    kl: torch.Tensor


def sequence_bound(
    model, x, observed, offsets, noise, *, bound="marginal", beta=1.0, free_bits=0.0
):
    """Return the SequenceBound of some sequences.

    Parameters
    ----------
    model : LatentModel
        Its prior is a StatePrior.
    x : Tensor of shape (B, D)
        Prepared rows of all sequences, one after the other; NaN is missing.
    observed : Tensor of bool, shape (B, D), or None
        Whether a value is observed; None if all are. A row without any has scores of zero, which
        are exact.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    noise : Tensor of shape (S, B, L)
        Standard normal numbers, from which the draws are made. Several give the importance bound.
    bound : {'factored', 'marginal'}
        The scores of one draw.
    beta : float
        Multiplies the divergence from the prior, or its sample in the weights.
    free_bits : float
        The nats that a latent dimension of a row may cost without a gradient: the mean divergence
        of the rows counts as at least L times that.
    """
    posterior, states = model.encode(x), model.prior.states()
    seen = None if observed is None else observed.any(1)

    def summed(scores):
        if seen is not None:
            scores = scores.masked_fill(~seen.unsqueeze(-1), 0.0)
        return chain_log_likelihood(*model.prior.log_chain(), scores, offsets)

    z = posterior.draw(noise)
    log_likelihood = model.log_likelihood(x, observed, z)
    reconstruction = _totals(log_likelihood.mean(0), offsets)
    if len(noise) > 1:
        log_q = posterior.log_prob_of(noise)
        tempered = importance_scores(log_likelihood, states, z, log_q, beta)
        objective = summed(tempered)
        with torch.no_grad():
            plain = objective
            if beta != 1.0:
                plain = summed(importance_scores(log_likelihood, states, z, log_q))
            kl = -summed(factored_scores(posterior, states))
        return SequenceBound(objective, plain.detach(), reconstruction, kl)
    if bound == "factored":
        kl = -summed(factored_scores(posterior, states))
    else:
        kl = -summed(marginal_scores(posterior, states, z[0]))
    charged = kl if not free_bits else _at_least(free_bits * z.shape[-1], kl, offsets)
    return SequenceBound(reconstruction - beta * charged, reconstruction - kl, reconstruction, kl)


def _at_least(free, kl, offsets):
    """Return the divergences of sequences, or where the mean of a row is below `free` constants."""
    lengths = torch.as_tensor(np.diff(offsets)).to(kl)
    return torch.where(kl.sum() > free * lengths.sum(), kl, free * lengths)


def _totals(values, offsets):
    """Return the sums of a tensor (B,) over the rows of each sequence."""
    sequence = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    index = torch.as_tensor(sequence, device=values.device)
    return values.new_zeros(len(offsets) - 1).index_add(0, index, values)
