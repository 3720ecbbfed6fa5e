r"""Importance sampling: the mean of weights given as logarithms, and how far to trust it.

With draws :math:`\theta_s \sim q` and weights :math:`w_s = p(\theta_s) / q(\theta_s)`, the mean
weight estimates :math:`\int p`, without bias. Its standard error in nats is that of the mean over
the mean. The weights may have a heavier tail than the draws show; the shape
:math:`\hat k` of a generalised Pareto distribution fitted to the largest weights measures this:
below 0.5 their variance is finite, up to 0.7 the estimate is useful (Vehtari, Simpson, Gelman, Yao
& Gabry, J. Mach. Learn. Res. 25, 2024).
"""

from typing import NamedTuple

import numpy as np

# Differences of log weights, in nats, that rounding of large log densities can cause.
_EQUAL = 1e-8
_LEAST_TAIL = 5  # weights that a shape can be estimated from


class LogEvidence(NamedTuple):
    """An estimate of a logarithm of an integral.

    Parameters
    ----------
    value : float
        In nats.
    standard_error : float
        In nats; the error that importance sampling has by chance.
    khat : float
        The shape of the tail of the weights: above 0.7 neither number is to be trusted.
    """

    value: float
    standard_error: float
    khat: float


def log_evidence(log_weight):
    """Return the LogEvidence of weights of independent draws.

    Parameters
    ----------
    log_weight : ndarray of shape (n_draws,)
        ln p − ln q of draws from q, in nats; −inf is a weight of zero.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.importance import log_evidence
    >>> round(log_evidence(np.log([1.0, 2.0, 3.0, 2.0])).value, 4)
    0.6931
    """
    top = log_weight.max()
    if top == -np.inf:
        return LogEvidence(-np.inf, np.nan, np.inf)
    weight = np.exp(log_weight - top)
    mean = weight.mean()
    error = weight.std(ddof=1) / (np.sqrt(len(weight)) * mean)
    return LogEvidence(float(top + np.log(mean)), float(error), khat(log_weight))


def khat(log_weight):
    """Return the shape of the generalised Pareto distribution of the largest weights.

    Parameters
    ----------
    log_weight : ndarray of shape (n_draws,)
        Logarithms of weights.

    Returns
    -------
    khat : float
        −inf if all weights of the tail are equal: no tail is lighter. inf if fewer than five
        weights differ from the rest by chance, which says nothing of their tail.
    """
    n = len(log_weight)
    n_tail = min(int(np.ceil(3 * np.sqrt(n))), n // 5)
    if n_tail < _LEAST_TAIL:
        return np.inf
    ordered = np.sort(log_weight)
    tail, cutoff = ordered[-n_tail:], ordered[-n_tail - 1]
    if tail[-1] - cutoff < _EQUAL:
        return -np.inf
    excess = np.exp(tail - tail[-1]) - np.exp(cutoff - tail[-1])
    return pareto_shape(excess[excess > 0])


def pareto_shape(excess):
    """Return the shape of a generalised Pareto distribution fitted to positive numbers.

    The posterior mean of Zhang & Stephens (Technometrics 51, 2009, equations 7 and 8), with the
    weak prior of Vehtari et al. (2024, appendix C) for few numbers.

    Parameters
    ----------
    excess : ndarray of shape (n,)
        Numbers above a threshold, less the threshold.
    """
    x = np.sort(excess)
    n = len(x)
    if n < _LEAST_TAIL:
        return np.inf
    m = 30 + int(np.sqrt(n))
    quartile = x[int(n / 4 + 0.5) - 1]
    # Points of θ = −k/σ, at quantiles of its prior.
    theta = 1 / x[-1] + (1 - np.sqrt(m / (np.arange(1, m + 1) - 0.5))) / (3 * quartile)
    k = np.log1p(-theta[:, None] * x).mean(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        profile = n * (np.log(-theta / k) - k - 1)
    profile = np.where(np.isfinite(profile), profile, -np.inf)
    share = np.exp(profile - profile.max())
    mean = theta @ share / share.sum()
    shape = np.log1p(-mean * x).mean()
    return float((n * shape + 5.0) / (n + 10.0))
