r"""Importance sampling within a chain: draws for the integral of each row, an exact sum over paths.

With draws :math:`z_{ts} \sim q_t(z)` from the proposals of :mod:`skvae.neural.proposal` the
integrals of each row and state are estimated by

.. math:: \hat b_t(k) = \frac{1}{S} \sum_s w_{ts}(k), \qquad
    w_{ts}(k) = p(x_t \mid z_{ts})\, N_k(z_{ts}) / q_t(z_{ts}),

without bias. p(x) is linear in the integrals of each row, and draws of different rows are
independent, so that the chain's exact sum over :math:`\hat b` has expectation p(x): its logarithm
is in expectation a lower bound of ln p(x), and the weights of a long sequence do not collapse.

Given the other rows, the prior of a row is a mixture of the states with the weights

.. math:: \rho_t(k) = p(k_t = k \mid x_{\setminus t}) \propto \gamma_t(k) / \hat b_t(k),

where γ is the posterior of the states. So posterior expectations, draws and effective sizes are
those of :mod:`skvae.neural.importance` with these weights.

n rows, S draws a row, K states. Rows are prepared. A row's draws come from a generator seeded with
the row: the results of a sequence do not depend on other sequences. Equal rows of one sequence have
draws of their own, as they must be independent.
"""

from collections import Counter
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch

from skvae.chain import algorithms
from skvae.deep_chain.bounds import factored_scores, log_state_weights, marginal_scores
from skvae.neural.importance import drawn_features
from skvae.neural.importance_weights import WeightSums, weighted_groups
from skvae.neural.latent_model import LatentModel


class ScoredRows(NamedTuple):
    """Rows of sequences, and the estimated integrals of each row and state.

    Parameters
    ----------
    model : LatentModel
        In float64; its prior is a StatePrior.
    x : ndarray of shape (n, D)
        Prepared rows; NaN is missing.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    scores : ndarray of shape (n, K)
        ln b of each row and state, in nats, in the units of X: zero for a row without observed
        values.
    effective_size : ndarray of shape (n, K)
        The number of equally weighted draws that would be as precise, of each state's integral.
    numbers : ndarray of int, shape (n,)
        From `repeats`.
    n_draws : int
        S.
    seed : int
        Seed of the draws.
    """

    model: LatentModel
    x: np.ndarray
    offsets: np.ndarray
    scores: np.ndarray
    effective_size: np.ndarray
    numbers: np.ndarray
    n_draws: int
    seed: int

    def chain(self):
        """Return the arguments of :mod:`skvae.chain.algorithms`."""
        chain = self.model.prior.parameters_of_chain()
        return chain.log_start, chain.log_transmat, self.scores, self.offsets

    def predictive(self):
        """Return ln p(x_t | x_1..x_{t−1}) of each row, (n,), in nats."""
        return algorithms.predictive(*self.chain())

    def posterior(self):
        """Return the smoothed posterior of the states, (n, K)."""
        return algorithms.smooth(*self.chain()).posterior

    def sizes(self):
        """Return an effective sample size of each row, (n,).

        It is the harmonic mean of the states' sizes, weighted by their posterior: by the convexity
        of squares, the size of the weights of all states together is not below it.
        """
        return 1.0 / (self.posterior() / self.effective_size).sum(1)

    def own(self, rows=slice(None)):
        """Return the keyword arguments of functions of :mod:`skvae.neural.importance`.

        Parameters
        ----------
        rows : slice or ndarray of int
            The rows to compute.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            log_weights = np.log(self.posterior()) - self.scores
        log_weights = np.where(np.isfinite(log_weights), log_weights, -np.inf)
        top = log_weights.max(1, keepdims=True)
        log_weights = log_weights - np.where(np.isfinite(top), top, 0.0)
        total = np.log(np.exp(log_weights).sum(1, keepdims=True))
        return {
            "seed": self.seed,
            "numbers": self.numbers[rows],
            "log_weights": (log_weights - total)[rows],
        }

    def drawn_features(self, rows, rng):
        """Return draws of all features of some rows, given the observed ones, in the units of X.

        Paths of states are drawn first, so that the rows of a sequence are drawn together.

        Parameters
        ----------
        rows : ndarray of int
            The rows.
        rng : RandomState
            The source of randomness.
        """
        states = algorithms.sample_paths(*self.chain(), rng=rng)[0]
        with np.errstate(divide="ignore"):
            log_weights = np.log(np.eye(self.scores.shape[1])[states[rows]])
        seed = int(rng.randint(2**31 - 1))
        own = {"seed": seed, "log_weights": log_weights}
        return drawn_features(self.model, self.x[rows], self.n_draws, **own)[0]


def repeats(x, offsets):
    """Return the number of earlier equal rows in its sequence less one, for each row: −1 is none.

    Rows are compared in float32, as by :class:`skvae.neural.importance_weights.RowNoise`.
    """
    with np.errstate(over="ignore"):
        keys = np.where(np.isnan(x), np.nan, x).astype("<f4") + np.float32(0.0)
    numbers = np.full(len(x), -1)
    for a, b in pairwise(offsets):
        seen = Counter()
        for t in range(a, b):
            key = keys[t].tobytes()
            numbers[t] = seen[key] - 1
            seen[key] += 1
    return numbers


@torch.no_grad()
def scored(model, x, offsets, n_draws, *, seed):
    """Return the ScoredRows of some sequences.

    Parameters
    ----------
    model : LatentModel
        As from :func:`skvae.neural.importance.in_double`; its prior is a StatePrior.
    x : ndarray of shape (n, D), float64
        Prepared rows; NaN is missing.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    n_draws : int
        S.
    seed : int
        Seed of the draws, in [0, 2**64).

    Raises
    ------
    ValueError
        If the model gives NaN or infinity for a row.
    """
    n_states, numbers = model.prior.n_states, repeats(x, offsets)
    scores, effective = np.empty((2, len(x), n_states))
    for rows, group in weighted_groups(model, x, n_draws, seed, numbers=numbers):
        weights = WeightSums()
        for draws in group:
            states = draws.density.components
            found = (draws.log_likelihood, states, draws.z, draws.log_q)
            weights.add(log_state_weights(*found).flatten(1))
        for out, values in ((scores, weights.log_mean()), (effective, weights.effective_size())):
            out[rows] = values.reshape(-1, n_states)[: len(rows)].cpu().numpy()
    bad = np.flatnonzero(~(scores < np.inf).all(1))
    if len(bad):
        raise ValueError(
            f"the model gives NaN or infinity for {len(bad)} of {len(x)} rows, the first of which "
            f"is row {bad[0]}: look for values of X far from those of training, or for NaN in the "
            "weights of encoder and decoder"
        )
    nothing = np.isnan(x).all(1)
    scores[nothing], effective[nothing] = 0.0, n_draws
    scores += model.likelihood.log_volume(x)[:, None]
    return ScoredRows(model, x, offsets, scores, effective, numbers, n_draws, seed)


@torch.no_grad()
def elbo_terms(model, x, offsets, n_draws, *, bound, seed):
    """Return the evidence lower bound of each row and its terms, in nats, in the units of X.

    The bound of a row is its term of the forward sum; sums over a sequence are its bound.

    Parameters
    ----------
    model : LatentModel
        As from :func:`skvae.neural.importance.in_double`; its prior is a StatePrior.
    x : ndarray of shape (n, D), float64
        Prepared rows; NaN is missing: the bound is of the observed values.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    n_draws : int
        The number of draws for each row.
    bound : {'factored', 'marginal'}
        The bound.
    seed : int
        Seed of the draws, in [0, 2**64).

    Returns
    -------
    terms : ElboRows
        Without β, free bits or any other change that training makes.
    """
    chain = model.prior.parameters_of_chain()
    chain = chain.log_start, chain.log_transmat
    unseen, n_states = np.isnan(x).all(1), model.prior.n_states
    reconstruction, entropy = np.empty((n_draws, len(x))), np.zeros(len(x))
    scores = np.empty((n_draws if bound == "marginal" else 1, len(x), n_states))
    own = {"numbers": repeats(x, offsets), "by_encoder": True}
    for rows, group in weighted_groups(model, x, n_draws, seed, **own):
        first = 0
        for draws in group:
            states, some = draws.density.components, slice(first, first + len(draws.z))
            reconstruction[some, rows] = draws.log_likelihood[:, : len(rows)].cpu().numpy()
            if bound == "marginal":
                found = marginal_scores(draws.posterior, states, draws.z)
                scores[some, rows] = found[:, : len(rows)].cpu().numpy()
            elif not first:
                found = factored_scores(draws.posterior, states)
                scores[0, rows] = found[: len(rows)].cpu().numpy()
            entropy[rows] = draws.posterior.entropy()[: len(rows)].cpu().numpy()
            first += len(draws.z)
    scores[:, unseen], entropy[unseen] = 0.0, 0.0
    log_p = np.array([algorithms.predictive(*chain, each, offsets) for each in scores])
    elbo = reconstruction + log_p
    error = elbo.std(0, ddof=1) / np.sqrt(n_draws) if n_draws > 1 else np.full(len(x), np.inf)
    volume = model.likelihood.log_volume(x)
    return ElboRows(
        elbo.mean(0) + volume, reconstruction.mean(0) + volume, -log_p.mean(0), entropy, error
    )


class ElboRows(NamedTuple):
    """The evidence lower bound of rows and its terms, arrays (n,).

    Parameters
    ----------
    elbo : ndarray
        The bound.
    reconstruction : ndarray
        E ln p(x | z).
    kl : ndarray
        Their difference.
    entropy : ndarray
        H(q(z | x)): zero for a row without observed values, whose latent row is integrated out.
    standard_error : ndarray
        The Monte Carlo error of ``elbo``.
    """

    elbo: np.ndarray
    reconstruction: np.ndarray
    kl: np.ndarray
    entropy: np.ndarray
    standard_error: np.ndarray
