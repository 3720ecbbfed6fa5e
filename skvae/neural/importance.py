r"""Held-out log-likelihood by importance sampling, and posterior expectations by the same draws.

With draws :math:`z_s \sim q(z)` from a proposal, and weights

.. math:: w_s = p(x \mid z_s)\, p(z_s) / q(z_s), \qquad
          \ln \hat p(x) = \ln \tfrac{1}{S} \sum_s w_s,

:math:`\hat p(x)` is unbiased, so that :math:`\ln \hat p(x)` is in expectation a lower bound of
ln p(x), and never falling in S (Burda et al. 2016). The proposal of a row is its encoder and two
modes of its posterior, see :mod:`skvae.neural.proposal`; that of the ELBO is the encoder alone.
Normalised, the weights turn any function of z into its posterior expectation (Mattei & Frellsen
2019, for missing values).

n rows, S draws a row, L latent dimensions, D features. Rows come *prepared*, in the units of the
likelihood; log-likelihoods go out in nats in the units of X.

A row's draws come from a generator seeded with the row itself. So the errors of different rows are
independent, equal rows have equal results, and a row's result is the same in any batch and any
order, to the last digits. A larger S adds draws to those of a smaller one.

References
----------
.. [1] Burda, Grosse & Salakhutdinov (2016), Importance weighted autoencoders, ICLR, eq. 8.
.. [2] Mattei & Frellsen (2019), MIWAE: deep generative modelling and imputation of incomplete data
   sets, ICML, eq. 12.
.. [3] Kong (1992), A note on importance sampling using standardized weights, for the effective
   sample size.
"""

import copy
from collections import namedtuple
from typing import NamedTuple

import numpy as np
import torch

from skvae.neural.importance_weights import WeightSums, by_row, weighted_groups
from skvae.neural.likelihoods.base import uniform
from skvae.neural.networks import one_thread_if_forked
from skvae.neural.priors import Normal

_ENOUGH = 10.0  # effective draws
_TOLERATED = 0.1  # share of rows that may have fewer without a warning


class EffectiveSizeWarning(UserWarning):
    """Some log-likelihoods rest on so few effective draws that they cannot be trusted.

    Examples
    --------
    >>> import warnings
    >>> from skvae.vae import EffectiveSizeWarning
    >>> with warnings.catch_warnings():
    ...     warnings.simplefilter("ignore", EffectiveSizeWarning)
    """


class Evidence(NamedTuple):
    """Log-likelihoods of rows, and their effective sample sizes.

    Parameters
    ----------
    log_likelihood : ndarray of shape (n,)
        In nats, in the units of X.
    effective_size : ndarray of shape (n,)
        The number of equally weighted draws that would be as precise, in [1, S].
    """

    log_likelihood: np.ndarray
    effective_size: np.ndarray


class ElboTerms(namedtuple("ElboTerms", ["elbo", "reconstruction", "kl"])):
    """The evidence lower bound of each row and its two terms, ``elbo = reconstruction - kl``.

    Parameters
    ----------
    elbo : ndarray of shape (n,)
        In nats, in the units of X.
    reconstruction : ndarray of shape (n,)
        E_q ln p(x | z), in nats, in the units of X.
    kl : ndarray of shape (n,)
        KL(q(z | x) ‖ p(z)), in nats.
    entropy : ndarray of shape (n,)
        H(q(z | x)), in nats, without error; it may be negative. An attribute, no element.
    standard_error : ndarray of shape (n,)
        The Monte Carlo error of ``elbo``, in nats. An attribute, no element.
    """

    def __new__(cls, elbo, reconstruction, kl, entropy=None, standard_error=None):
        terms = super().__new__(cls, elbo, reconstruction, kl)
        terms.entropy, terms.standard_error = entropy, standard_error
        return terms


class PosteriorMean(NamedTuple):
    """Posterior expectations of rows, and their effective sample sizes.

    Parameters
    ----------
    mean : ndarray of shape (n, F)
        The expectations.
    effective_size : ndarray of shape (n,)
        The number of equally weighted draws that would be as precise, in [1, S].
    """

    mean: np.ndarray
    effective_size: np.ndarray


# Results ------------------------------------------------------------------------------------------


def in_double(model):
    """Return a copy of a model in float64 for evaluation: without dropout or gradients.

    Parameters
    ----------
    model : LatentModel
        Stays as it is.

    Returns
    -------
    model : LatentModel
        On the same device.
    """
    one_thread_if_forked()
    return copy.deepcopy(model).double().eval().requires_grad_(False)


@torch.no_grad()
def log_likelihood(model, x, n_draws, *, seed, numbers=None, log_weights=None):
    """Return the importance-sampled log-likelihood of each row, and its effective sample size.

    Parameters
    ----------
    model : LatentModel
        As from `in_double`. In another dtype the results have the rounding of that dtype.
    x : ndarray of shape (n, D), float64
        Prepared rows; NaN is missing: the log-likelihood is that of the observed values. For a row
        without observed values it is exactly 0.
    n_draws : int
        S, the number of draws for each row.
    seed : int
        Seed of the draws, in [0, 2**64).
    numbers, log_weights
        As for :func:`skvae.neural.importance_weights.weighted_groups`.

    Returns
    -------
    evidence : Evidence
        −inf, and an effective size of 1, where all weights of a row are zero.

    Raises
    ------
    ValueError
        If the model gives NaN or infinity for a row.
    """
    log_p, effective = np.empty(len(x)), np.empty(len(x))
    own = {"numbers": numbers, "log_weights": log_weights}
    for rows, group in weighted_groups(model, x, n_draws, seed, **own):
        weights = WeightSums()
        for draws in group:
            weights.add(draws.log_weight)
        log_p[rows] = _results(weights.log_mean(), rows)
        effective[rows] = _results(weights.effective_size(), rows)
    _check(log_p < np.inf)
    nothing = np.isnan(x[:, model.likelihood.modelled]).all(axis=1)
    log_p[nothing], effective[nothing] = 0.0, n_draws
    return Evidence(log_p + model.likelihood.log_volume(x), effective)


@torch.no_grad()
def elbo_terms(model, x, n_draws, *, seed):
    """Return the evidence lower bound of each row and its two terms, in nats.

    The draws are the encoder's. The divergence is exact where the prior has a formula.

    Parameters
    ----------
    model : LatentModel
        As from `in_double`.
    x : ndarray of shape (n, D), float64
        Prepared rows; NaN is missing: the bound is of the observed values.
    n_draws : int
        S, the number of draws for each row.
    seed : int
        Seed of the draws, in [0, 2**64).

    Returns
    -------
    terms : ElboTerms
        Without β, free bits or any other change that training makes.

    Raises
    ------
    ValueError
        If the model gives NaN or infinity for a row.
    """
    reconstruction, kl, entropy, error = np.zeros((4, len(x)))
    for rows, group in weighted_groups(model, x, n_draws, seed, by_encoder=True):
        spread = _Spread()
        for draws in group:
            share, likelihood = len(draws.z) / n_draws, by_row(draws.log_likelihood)
            reconstruction[rows] += share * _results(likelihood.mean(1), rows)
            kl[rows] += share * _results(draws.density.kl(draws.posterior, draws.z), rows)
            if not isinstance(draws.density, Normal):  # then ln p(z) is sampled too
                likelihood = likelihood + by_row(draws.density.log_prob(draws.z))
            spread.add(likelihood)
            entropy[rows] = _results(draws.posterior.entropy(), rows)
        error[rows] = _results(spread.standard_error(), rows)
    _check(np.isfinite(kl) & (reconstruction < np.inf))
    reconstruction += model.likelihood.log_volume(x)
    return ElboTerms(reconstruction - kl, reconstruction, kl, entropy, error)


@torch.no_grad()
def posterior_expectation(model, x, n_draws, function, *, seed, numbers=None, log_weights=None):
    r"""Return self-normalised estimates :math:`\sum_s w_s f(z_s) / \sum_s w_s` of E[f(z) | x].

    Parameters
    ----------
    model : LatentModel
        As from `in_double`.
    x : ndarray of shape (n, D), float64
        Prepared rows, at least one; NaN is missing.
    n_draws : int
        S, the number of draws for each row.
    function : callable
        Given `WeightedDraws`, returns f of each as a tensor (s, B, F).
    seed : int
        Seed of the draws, in [0, 2**64).
    numbers, log_weights
        As for :func:`skvae.neural.importance_weights.weighted_groups`.

    Returns
    -------
    expectation : PosteriorMean
        Where all weights of a row are zero, the plain mean over the draws.

    Raises
    ------
    ValueError
        If the model gives NaN or infinity for a row.
    """
    mean, effective = None, np.empty(len(x))
    own = {"numbers": numbers, "log_weights": log_weights}
    for rows, group in weighted_groups(model, x, n_draws, seed, **own):
        weights = WeightSums()
        for draws in group:
            weights.add(draws.log_weight, function(draws))
        values = _results(weights.expectation(), rows)
        if mean is None:
            mean = np.empty((len(x), values.shape[1]))
        mean[rows] = values
        effective[rows] = _results(weights.effective_size(), rows)
    _check(np.isfinite(mean).all(axis=1))
    return PosteriorMean(mean, effective)


def expected_features(model, x, n_draws, *, seed, **own):
    """Return E[x | observed part of x], of nominal features the most probable values.

    Parameters
    ----------
    model : LatentModel
        As from `in_double`.
    x : ndarray of shape (n, D), float64
        Prepared rows, at least one; NaN is missing.
    n_draws : int
        S, the number of draws for each row.
    seed : int
        Seed of the draws, in [0, 2**64).
    **own : dict
        ``numbers`` and ``log_weights``, as for `posterior_expectation`.

    Returns
    -------
    expectation : PosteriorMean
        The mean has shape (n, D): all features, also the observed ones, in the units of X.
    """
    likelihood = model.likelihood

    def features(draws):
        return likelihood.expectations(draws.outputs)

    expected = posterior_expectation(model, x, n_draws, features, seed=seed, **own)
    device = next((buffer.device for buffer in likelihood.buffers()), None)
    values = likelihood.values_of(torch.as_tensor(expected.mean, device=device))
    return expected._replace(mean=values.cpu().numpy())


@torch.no_grad()
def drawn_features(model, x, n_draws, *, seed, log_weights=None):
    """Return a draw from p(x | observed part of x) for each row, and the effective sample sizes.

    One of a row's draws of z is chosen with the probability of its weight (sampling importance
    resampling), as the largest of ln w plus Gumbel noise; x is drawn given that z. Equal rows have
    draws of their own.

    Parameters
    ----------
    model : LatentModel
        As from `in_double`.
    x : ndarray of shape (n, D), float64
        Prepared rows, at least one; NaN is missing.
    n_draws : int
        S, the number of draws of z for each row.
    seed : int
        Seed of all draws, in [0, 2**63).
    log_weights : ndarray of shape (n, K), default=None
        As for :func:`skvae.neural.importance_weights.weighted_groups`.

    Returns
    -------
    features : ndarray of shape (n, D)
        All features, also the observed ones, in the units of X.
    effective_size : ndarray of shape (n,)
        The number of equally weighted draws that would be as precise, in [1, S].
    """
    features, effective = np.empty(x.shape), np.empty(len(x))
    generator = torch.Generator().manual_seed(seed)
    own = {"numbers": np.arange(len(x)), "log_weights": log_weights}
    for rows, group in weighted_groups(model, x, n_draws, seed, **own):
        weights, best, outputs = WeightSums(), None, None
        for draws in group:
            weights.add(draws.log_weight)
            noise = -torch.log(-torch.log(uniform(draws.log_weight, generator)))
            top, place = (draws.log_weight + noise).max(0)
            found = draws.outputs[place, torch.arange(len(place), device=place.device)]
            if outputs is not None:
                found = torch.where((top > best)[:, None], found, outputs)
                top = torch.maximum(top, best)
            best, outputs = top, found
        features[rows] = _results(model.likelihood.sample(outputs, generator), rows)
        effective[rows] = _results(weights.effective_size(), rows)
    _check(np.isfinite(features).all(axis=1))
    return features, effective


def expected_responsibilities(model, x, n_draws, *, seed):
    """Return p(c | x) of each row for the components c of a mixture prior.

    Parameters
    ----------
    model : LatentModel
        As from `in_double`; its prior is a mixture.
    x : ndarray of shape (n, D), float64
        Prepared rows, at least one; NaN is missing.
    n_draws : int
        S, the number of draws for each row.
    seed : int
        Seed of the draws, in [0, 2**64).

    Returns
    -------
    expectation : PosteriorMean
        The mean has shape (n, n_prior_components); each row sums to one.
    """

    def responsibilities(draws):
        return draws.density.responsibilities(draws.z)

    return posterior_expectation(model, x, n_draws, responsibilities, seed=seed)


def _results(values, rows):
    """Return a group's tensor as float64, without the copies that fill the group up."""
    return values[: len(rows)].double().cpu().numpy()


def _check(good):
    """Raise ValueError unless the results of all rows are good."""
    bad = np.flatnonzero(~good)
    if len(bad):
        raise ValueError(
            f"the model gives NaN or infinity for {len(bad)} of {len(good)} rows, the first of "
            f"which is row {bad[0]}: look for values of X far from those of training, or for "
            "NaN in the weights of encoder and decoder"
        )


class _Spread:
    """Running sums over draws (B, s), for the standard error of their mean.

    The sums are relative to the mean of the first draws, so that little cancels.
    """

    def __init__(self):
        self._n_draws, self._origin = 0, None

    def add(self, values):
        if self._origin is None:
            self._origin = values.mean(1, keepdim=True)
            self._total = self._squares = torch.zeros_like(self._origin[:, 0])
        values = values - self._origin
        self._total = self._total + values.sum(1)
        self._squares = self._squares + values.square().sum(1)
        self._n_draws += values.shape[1]

    def standard_error(self):
        """Return the error, (B,): infinite for one draw, NaN where a draw is not finite."""
        if self._n_draws < 2:
            return torch.full_like(self._total, torch.inf)
        excess = self._squares - self._total.square() / self._n_draws
        return (excess.clamp_min(0.0) / (self._n_draws * (self._n_draws - 1))).sqrt()


# Reliability --------------------------------------------------------------------------------------


def standard_error(effective_size, n_draws):
    r"""Return the standard error of each row's log-likelihood, in nats.

    By the delta method the variance of :math:`\ln \hat p` is that of the weights over S times their
    squared mean: :math:`(1 / \mathrm{ESS} - 1 / S)\, S / (S - 1)`. :math:`\ln \hat p` is too low
    by about half of this variance. Errors of different rows are independent: the error of a mean
    over n rows is the root of the sum of their squares, divided by n.

    Parameters
    ----------
    effective_size : array-like of shape (n,)
        From `log_likelihood`.
    n_draws : int
        S in that call.

    Returns
    -------
    error : ndarray of shape (n,)
        Infinite for one draw. If the effective size is below about ten, the true error is likely
        larger, because draws with a large weight are missing.

    Examples
    --------
    >>> from skvae.neural.importance import standard_error
    >>> standard_error([20.0, 1000.0], 1000).round(3)
    array([0.221, 0.   ])
    """
    effective_size = np.asarray(effective_size, dtype=np.float64)
    if n_draws < 2:
        return np.full(effective_size.shape, np.inf)
    excess = np.maximum(1.0 / effective_size - 1.0 / n_draws, 0.0)
    return np.sqrt(excess * n_draws / (n_draws - 1))


def is_unreliable(effective_size, n_draws):
    """Return which rows have too few effective draws to be trusted.

    Too few is fewer than ten or, with fewer than twenty draws, fewer than half of the draws.

    Parameters
    ----------
    effective_size : array-like of shape (n,)
        From `log_likelihood` or an expectation.
    n_draws : int
        S in that call.

    Returns
    -------
    unreliable : ndarray of shape (n,)
        Bool.

    Examples
    --------
    >>> from skvae.neural.importance import is_unreliable
    >>> is_unreliable([3.0, 12.0], 1000)
    array([ True, False])
    """
    return np.asarray(effective_size) < min(_ENOUGH, n_draws / 2)


def reliability_message(effective_size, n_draws):
    """Return the message of an `EffectiveSizeWarning` if more than one row in ten is unreliable.

    Parameters
    ----------
    effective_size : array-like of shape (n,)
        From `log_likelihood` or an expectation.
    n_draws : int
        S of that call, the parameter ``n_score_samples``.

    Returns
    -------
    message : str or None
        None if no warning is needed.

    Examples
    --------
    >>> from skvae.neural.importance import reliability_message
    >>> print(reliability_message([3.0, 12.0], 1000))
    1 of 2 rows have fewer than 10 effective draws, the least 3.0 of n_score_samples=1000: ...
    >>> reliability_message([30.0, 12.0], 1000) is None
    True
    """
    unreliable = is_unreliable(effective_size, n_draws)
    least = np.min(effective_size, initial=np.inf)
    return message_of_counts(unreliable.sum(), unreliable.size, least, n_draws)


def message_of_counts(n_unreliable, n_rows, least, n_draws):
    """Return the message of `reliability_message` from counts and the least effective size."""
    if n_unreliable <= _TOLERATED * n_rows:
        return None
    return (
        f"{n_unreliable} of {n_rows} rows have fewer than "
        f"{min(_ENOUGH, n_draws / 2):g} effective draws, the least {least:.1f} of "
        f"n_score_samples={n_draws}: their results are uncertain, and their log-likelihoods likely "
        "too low; raise n_score_samples, or fit with fewer n_components or a simpler decoder, so "
        "that posteriors have fewer modes"
    )
