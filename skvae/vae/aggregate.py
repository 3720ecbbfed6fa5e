r"""The aggregate posterior against the prior.

The posteriors of rows average to :math:`q(z) = E_x\, q(z \mid x)`. Where it differs from the prior,
draws from the prior decode to rows unlike the data. With :math:`z_i \sim q(z \mid x_i)` of N rows,

.. math::
    \frac1N \sum_i \ln \frac{\frac{1}{N-1} \sum_{j \ne i} q(z_i \mid x_j)}{p(z_i)}
    \;\le\; \mathrm{KL}(q(z) \,\|\, p(z)) \;\le\;
    \frac1N \sum_i \ln \frac{\frac1N \sum_j q(z_i \mid x_j)}{p(z_i)}

in expectation. The average over the other rows is a density that z_i has no part in: by Gibbs'
inequality no density has a higher expected logarithm than q(z) itself. The average over all rows is
the density that the z_i are from; its divergence from p(z) is convex in it, so that the mean over
data sets is above that of q(z).

References
----------
Hoffman & Johnson (2016), ELBO surgery: yet another way to carve up the variational evidence lower
bound, for this term of the bound.
"""

from typing import NamedTuple

import numpy as np
import torch

from skvae.blocks import ranges
from skvae.neural.importance_weights import RowNoise

_NUMBERS = 2**21  # in the largest tensor


class AggregateDivergence(NamedTuple):
    """Bounds of KL(q(z) ‖ p(z)), in nats.

    Parameters
    ----------
    lower : float
        A lower bound in expectation: it rises with the number of rows.
    upper : float
        An upper bound in expectation: it falls with the number of rows.
    standard_error : float
        The Monte Carlo error of `lower`.
    """

    lower: float
    upper: float
    standard_error: float


def _numbers(x):
    """Return the rank of each row among all, so that equal rows have different noise."""
    numbers = np.empty(len(x), dtype=np.int64)
    numbers[np.lexsort(np.asarray(x, dtype=np.float32).T)] = np.arange(len(x))
    return numbers


@torch.no_grad()
def aggregate_divergence(model, x, seed):
    """Return the AggregateDivergence of rows.

    Parameters
    ----------
    model : LatentModel
        In float64.
    x : ndarray of shape (N, D), float64
        Prepared rows, at least two; NaN is missing.
    seed : int
        Seed of the draws.
    """
    home = next(iter(model.parameters())).device
    posterior = model.encode(torch.as_tensor(np.array(x), device=home))
    noise = RowNoise(x, model.n_components, seed, _numbers(x)).draw(1)[0]
    z = posterior.draw(torch.as_tensor(noise, device=home))
    log_prior = model.prior_density().log_prob(z)
    n, others, all_rows = len(x), [], []
    for a, b in ranges(0, n, max(1, _NUMBERS // (n * model.n_components))):
        log_q = posterior.log_prob(z[a:b, None])
        all_rows.append(torch.logsumexp(log_q, dim=1))
        log_q[torch.arange(b - a), torch.arange(a, b)] = -torch.inf
        others.append(torch.logsumexp(log_q, dim=1))
    upper = (torch.cat(all_rows) - log_prior).cpu().numpy() - np.log(n)
    lower = (torch.cat(others) - log_prior).cpu().numpy() - np.log(n - 1)
    error = lower.std(ddof=1) / np.sqrt(n)
    return AggregateDivergence(float(lower.mean()), float(upper.mean()), float(error))
