r"""The objectives of training, row by row: the evidence lower bound, and importance-weighted.

With draws :math:`z_s = m(x) + F(x) \epsilon_s` of q(z | x) and
:math:`\ln w_s = \ln p(x \mid z_s) + \ln p(z_s) - \ln q(z_s \mid x)`,

.. math:: \mathrm{ELBO} = \frac{1}{S} \sum_s \ln p(x \mid z_s) - \mathrm{KL}(q \| p), \qquad
    \mathrm{IWAE}_S = \ln \frac{1}{S} \sum_s w_s .

Both are lower bounds of ln p(x) in expectation. Everything is in nats per row, larger is better.

References
----------
Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, equation 8. Tucker et al.
(2019), Doubly reparameterized gradient estimators for Monte Carlo objectives, equation 8. Kingma et
al. (2016), Improved variational inference with inverse autoregressive flow, appendix C.8 (free
bits).
"""

import math
from functools import partial
from typing import NamedTuple

import torch


class RowBound(NamedTuple):
    """The training objective and the terms of the bound: Tensors of shape (B,), in nats.

    Parameters
    ----------
    objective : Tensor
        To be maximised; the only one to be differentiated.
    bound : Tensor
        The lower bound of ln p(x), without `beta` and free bits: the evidence lower bound,
        ``reconstruction - kl``, or the importance-weighted bound.
    reconstruction : Tensor
        E_q ln p(x | z).
    kl : Tensor
        KL(q ‖ p).
    """

    objective: torch.Tensor
    bound: torch.Tensor
    reconstruction: torch.Tensor
    kl: torch.Tensor


def row_bound(
    model,
    x,
    observed,
    noise,
    *,
    beta=1.0,
    free_bits=0.0,
    importance=False,
    batch_mean=None,
    weight=None,
):
    """Return the training objective of each row, and the bound's two terms.

    Parameters
    ----------
    model : LatentModel
        The model.
    x : Tensor of shape (B, D)
        Prepared rows; NaN is missing.
    observed : Tensor of bool, shape (B, D), or None
        Whether a value is observed; None if all are.
    noise : Tensor of shape (S, B, L)
        Standard normal numbers, from which the draws are made.
    beta : float
        Multiplies the divergence from the prior, or its sample in the weights.
    free_bits : float
        The nats that a latent dimension may cost without a gradient. Where the divergence is a sum
        over dimensions, each one's mean over the batch counts as at least that; elsewhere the batch
        mean of the whole counts as at least L times that. Not with ``importance``.
    importance : bool
        Whether the draws are averaged inside the logarithm. The gradient with respect to the
        encoder is then the doubly reparameterised one: it has the same mean as the plain one, and
        its noise does not grow with S relative to it.
    batch_mean : callable, default=None
        Returns the mean of values (B, ...) over the rows of the batch, for free bits, if x holds
        only some of these rows.
    weight : Tensor of shape (B,), default=None
        The weights of the rows, with a mean of one over many batches, for free bits.

    Returns
    -------
    bound : RowBound
        In nats per row.

    Raises
    ------
    ValueError
        ``free_bits`` with ``importance``, whose objective has no divergence.
    """
    if importance:
        if free_bits:
            raise ValueError(
                f"free_bits={free_bits!r}: must be 0 with an importance-weighted objective, which "
                "has no divergence of its own"
            )
        return _importance_bound(model, x, observed, noise, beta)
    posterior = model.encode(x)
    density = model.prior_density()
    if noise.shape[0] == 1:
        # The usual case of training: faster without an axis of draws.
        z = posterior.draw(noise[0])
        reconstruction = model.log_likelihood(x, observed, z)
    else:
        z = posterior.draw(noise)
        reconstruction = model.log_likelihood(x, observed, z).mean(0)
    kl = density.kl(posterior, z)
    elbo = reconstruction - kl
    if free_bits:
        by_dimension = density.kl_by_dimension(posterior)
        mean = batch_mean or _mean
        if weight is not None:
            mean = partial(_weighted_mean, weight, mean)
        charged = _at_least(free_bits, kl, by_dimension, z.shape[-1], mean)
        return RowBound(reconstruction - beta * charged, elbo, reconstruction, kl)
    objective = elbo if beta == 1.0 else reconstruction - beta * kl
    return RowBound(objective, elbo, reconstruction, kl)


def _mean(values):
    return values.mean(0)


def _weighted_mean(weight, mean, values):
    return mean(weight.reshape(-1, *[1] * (values.ndim - 1)) * values)


def _at_least(free_bits, kl, by_dimension, n_components, mean):
    """Return the divergence with free bits, (B,): the free part is a constant."""
    if by_dimension is None:
        free = free_bits * n_components
        return torch.where(mean(kl) > free, kl, free)
    return torch.where(mean(by_dimension) > free_bits, by_dimension, free_bits).sum(-1)


def _importance_bound(model, x, observed, noise, beta):
    """Return ln mean_s w_s with ln w = ln p(x|z) + β (ln p(z) − ln q(z|x))."""
    log_likelihood, log_prior, log_q, z, posterior = model.terms(x, observed, noise)
    log_weights = log_likelihood + beta * (log_prior - log_q)
    objective = _log_mean(log_weights)
    with torch.no_grad():
        plain = log_weights if beta == 1.0 else log_likelihood + log_prior - log_q
        bound = _log_mean(plain)
        reconstruction, kl = log_likelihood.mean(0), (log_q - log_prior).mean(0)
    if z.requires_grad:
        objective = _doubly_reparameterised(
            objective.detach(),
            log_weights.detach(),
            log_likelihood + beta * (log_prior - posterior.detach().log_prob(z)),
            z,
            beta,
        )
    return RowBound(objective, bound, reconstruction, kl)


def _log_mean(log_weights):
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def _doubly_reparameterised(value, log_weights, path, z, beta):
    r"""Return a bound's value with its doubly reparameterised gradient.

    With shares :math:`\bar w_s = w_s / \sum_t w_t` the decoder's gradient is
    :math:`\sum_s \bar w_s \, \partial \ln w_s`. The encoder acts through z and through ln q's own
    parameters. The second part has the expectation of
    :math:`-\beta \sum_s \bar w_s (1 - \bar w_s) \, \partial_z \ln w_s`, so the gradient of z is
    multiplied by :math:`1 - \beta + \beta \bar w_s` and those parameters are constants in `path`.
    """
    share = torch.softmax(log_weights, 0)
    through_z = (1.0 - beta + beta * share).unsqueeze(-1)
    z.register_hook(lambda grad: grad * through_z)
    surrogate = (share * path).sum(0)
    return value + (surrogate - surrogate.detach())
