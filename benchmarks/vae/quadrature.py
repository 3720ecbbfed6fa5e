"""ln p(x) of a model of one or two latent dimensions, by the trapezoid rule on a grid."""

import math

import numpy as np
import torch

_POINTS = {1: 20_001, 2: 701}  # of an axis
_TOGETHER = 50_000  # points decoded together
_REACH = 7.0  # standard deviations of the prior


@torch.no_grad()
def log_likelihood_on_grid(model, x):
    """Return ln p(x) of prepared rows, (n,), in nats; NaN is missing.

    The rule is exact to rounding where the grid is finer than a row's posterior is wide.

    Parameters
    ----------
    model : LatentModel
        In float64 and evaluation mode, of one or two latent dimensions.
    x : ndarray of shape (n, D)
        Prepared rows; NaN is missing.
    """
    density, n_latents = model.prior_density(), model.n_components
    reach = _REACH
    if hasattr(density, "components"):
        parts = density.components
        reach = (parts.mean.abs() + _REACH * parts.variance.sqrt()).max().item()
    axis = torch.linspace(-reach, reach, _POINTS[n_latents], dtype=torch.float64)
    grid = torch.cartesian_prod(*[axis] * n_latents).reshape(-1, n_latents)
    rows, missing = torch.as_tensor(x), np.isnan(x)
    total = torch.full((len(x),), -torch.inf, dtype=torch.float64)
    for z in grid.split(_TOGETHER):
        outputs, log_prior = model.decode(z)[:, None], density.log_prob(z)
        for i in range(len(x)):
            observed = torch.as_tensor(~missing[i : i + 1]) if missing[i].any() else None
            joint = model.likelihood.log_prob(rows[i : i + 1], outputs, observed)[:, 0] + log_prior
            total[i] = torch.logaddexp(total[i], torch.logsumexp(joint, 0))
    return total.numpy() + n_latents * math.log(float(axis[1] - axis[0]))
