r"""The prior of latent rows: a hidden Markov model whose states have Gaussians.

.. math:: p(k) = \pi_{k_1} \prod_t A_{k_{t-1} k_t}, \qquad
    z_t \mid k_t \sim N(\mu_{k_t}, \operatorname{diag} v_{k_t})

:class:`StatePrior` is its module, with parameters that torch learns.
:func:`expectation_maximization` finds first values: with the posteriors
:math:`q_t = N(m_t, \operatorname{diag} s_t)` fixed, the factored bound of
:mod:`skvae.deep_chain.bounds` is that of a hidden Markov model with scores

.. math:: E_q \ln N_k(z_t) = -\tfrac12 \sum_l
    \Bigl[ \ln 2 \pi v_{kl} + \frac{s_{tl} + (m_{tl} - \mu_{kl})^2}{v_{kl}} \Bigr],

which EM ascends: with the posterior γ of the states, μ and v are the means of m and of
:math:`s + (m - \mu)^2` weighted by γ.

n rows, K states, L latent dimensions.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

from skvae.chain import algorithms
from skvae.initialization import first_labels, rows_to_start_from
from skvae.neural.posteriors import LOG_2PI, DiagonalPosterior
from skvae.neural.priors import MIN_VARIANCE, MixtureDensity

_STARTS = 5
_SHIFTED_STARTS = 3  # further ones, of latent rows less the mean of their sequence
_MAX_ITER = 100
_TOL = 1e-4  # nats a row
_HORIZON = 100  # rows of a sequence whose average density proposals are made for
_STAY = 0.5  # share of a row's first transitions that stay, besides those that are counted


class StatePrior(nn.Module):
    """A learned hidden Markov model of latent rows.

    The first Gaussians of all states are standard normal.

    Parameters
    ----------
    n_components : int
        The number of latent dimensions L.
    n_states : int
        The number of states K.
    transmat : ndarray of shape (K, K), default=None
        First transitions; zeros stay zero. None: all equal.
    """

    def __init__(self, n_components, n_states, transmat=None):
        super().__init__()
        shape = n_states, n_components
        equal = np.full((n_states, n_states), 1.0 / n_states)
        self.given = transmat is not None
        transmat = np.asarray(transmat, dtype=np.float64) if self.given else equal
        self.register_buffer("allowed", torch.as_tensor(transmat > 0))
        self.start_logits = nn.Parameter(torch.zeros(n_states))
        logits = np.log(np.where(transmat > 0, transmat, 1.0))
        self.transition_logits = nn.Parameter(torch.as_tensor(logits, dtype=torch.float32))
        self.means = nn.Parameter(torch.zeros(shape))
        self.log_excess = nn.Parameter(torch.full(shape, math.log(1.0 - MIN_VARIANCE)))

    @property
    def n_states(self):
        """The number of states K."""
        return len(self.start_logits)

    @property
    def numbers_per_draw(self):
        """The size of the largest tensor in the densities of one z."""
        return self.means.numel()

    def states(self):
        """Return the Gaussians of the states, a DiagonalPosterior with K rows."""
        return DiagonalPosterior(self.means, torch.log(MIN_VARIANCE + self.log_excess.exp()))

    def log_chain(self):
        """Return ln π (K,) and ln A (K, K); −inf where a transition is impossible."""
        logits = self.transition_logits.masked_fill(~self.allowed, -torch.inf)
        return torch.log_softmax(self.start_logits, 0), torch.log_softmax(logits, 1)

    def density(self, encode=None):
        """Return the average density of the first rows of a sequence, a mixture of the states.

        Its weights are the states' shares of the first ``_HORIZON`` rows. They choose the proposals
        of importance sampling. The density of a row given the others has other weights, which are
        passed to :func:`skvae.neural.importance_weights.weighted_groups`.
        """
        with torch.no_grad():
            log_start, log_transmat = (part.double() for part in self.log_chain())
            occupied, transmat = [log_start.exp()], log_transmat.exp()
            for _ in range(_HORIZON - 1):
                occupied.append(occupied[-1] @ transmat)
            log_weights = torch.stack(occupied).mean(0).log().to(self.means)
        return MixtureDensity(log_weights, self.states())

    def parameters_of_chain(self):
        """Return the current values as StateChain, in float64."""
        states = self.states()
        arrays = *self.log_chain(), states.mean, states.variance
        return StateChain(*(array.detach().double().cpu().numpy() for array in arrays))

    @torch.no_grad()
    def set_chain(self, chain):
        """Set the parameters to the values of a StateChain; impossible transitions stay so."""
        logits = np.where(np.isfinite(chain.log_transmat), chain.log_transmat, 0.0)
        floor = np.log(np.finfo(np.float32).tiny)
        excess = np.maximum(chain.variances - MIN_VARIANCE, MIN_VARIANCE)
        for parameter, value in (
            (self.start_logits, np.maximum(chain.log_start, floor)),
            (self.transition_logits, np.maximum(logits, floor)),
            (self.means, chain.means),
            (self.log_excess, np.log(excess)),
        ):
            parameter.copy_(torch.as_tensor(np.ascontiguousarray(value)))


class StateChain(NamedTuple):
    """The parameters of a hidden Markov model of latent rows, float64.

    Parameters
    ----------
    log_start : ndarray of shape (K,)
        ln π.
    log_transmat : ndarray of shape (K, K)
        ln A.
    means : ndarray of shape (K, L)
        The means of the states.
    variances : ndarray of shape (K, L)
        Their variances.
    """

    log_start: np.ndarray
    log_transmat: np.ndarray
    means: np.ndarray
    variances: np.ndarray

    def scores(self, rows):
        """Return E_q ln N_k(z) of LatentRows, (n, K)."""
        precisions = 1.0 / self.variances
        squares = np.square(rows.means) + rows.variances
        distance = squares @ precisions.T - 2.0 * rows.means @ (self.means * precisions).T
        distance += (np.square(self.means) * precisions).sum(1)
        scores = -0.5 * (distance + np.log(self.variances).sum(1) + LOG_2PI * rows.means.shape[1])
        scores[~rows.seen] = 0.0
        return scores

    def bound(self, rows):
        """Return the mean over the rows of the factored bound, without the entropy of q."""
        chain = self.log_start, self.log_transmat
        total = algorithms.log_likelihood_of(*chain, self.scores(rows), rows.offsets)
        return total / len(rows.means)


class LatentRows(NamedTuple):
    """The posteriors of the rows of some sequences.

    Parameters
    ----------
    means : ndarray of shape (n, L)
        Their means.
    variances : ndarray of shape (n, L)
        Their variances.
    seen : ndarray of bool, shape (n,)
        Whether a value of the row is observed. Other rows have no posterior of their own.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    """

    means: np.ndarray
    variances: np.ndarray
    seen: np.ndarray
    offsets: np.ndarray


def fit_states(rows, n_states, *, transmat=None, seed):
    """Return the StateChain of the highest factored bound among several starts.

    Some starts are clusters of the posterior means. If there are several sequences, which may be
    shifted against each other, others are states of the means less those of their sequence.

    Parameters
    ----------
    rows : LatentRows
        At least K rows with an observed value.
    n_states : int
        K.
    transmat : ndarray of shape (K, K), default=None
        First transitions; zeros stay zero. None: those of the clusters.
    seed : int
        Seed of k-means, in [0, 2**32).
    """
    rng = check_random_state(seed)
    several = n_states > 1
    starts = [_clusters(rows, n_states, transmat, rng) for _ in range(_STARTS if several else 1)]
    if several and len(rows.offsets) > 2:
        shifted = _less_sequence_means(rows)
        for _ in range(_SHIFTED_STARTS):
            chain = _clusters(shifted, n_states, transmat, rng)
            chain, _ = expectation_maximization(chain, shifted)
            starts.append(_maximized(chain, rows, _smoothed(chain, shifted)))
    found = (expectation_maximization(chain, rows) for chain in starts)
    return max(found, key=lambda pair: pair[1])[0]


def _clusters(rows, n_states, transmat, rng):
    """Return a StateChain whose means are those of clusters of the rows' means by k-means."""
    points = rows.means[rows.seen]
    some = rows_to_start_from(len(points), n_states, rng)
    used = points if some is None else points[some]
    labels = first_labels(used, None, n_states, "kmeans", rng, n_init=1)
    if transmat is not None:
        labels = rng.permutation(n_states)[labels]  # k-means orders no clusters
    centres = [
        used[labels == k].mean(0) if (labels == k).any() else used.mean(0) for k in range(n_states)
    ]
    return _first_chain(rows, np.array(centres), transmat)


def _less_sequence_means(rows):
    """Return LatentRows whose means are less the average of those seen in their sequence."""
    lengths = np.diff(rows.offsets)
    seen = rows.seen[:, None]
    totals = np.add.reduceat(np.where(seen, rows.means, 0.0), rows.offsets[:-1])
    counts = np.add.reduceat(seen.astype(np.float64), rows.offsets[:-1])
    averages = totals / np.maximum(counts, 1.0)
    return rows._replace(means=rows.means - np.repeat(averages, lengths, axis=0))


def _first_chain(rows, centres, transmat):
    """Return a StateChain from the centres of clusters of the rows' means."""
    n_states = len(centres)
    spread = rows.means[rows.seen].var(0) / n_states + rows.variances[rows.seen].mean(0)
    variances = np.tile(np.maximum(spread, 2 * MIN_VARIANCE), (n_states, 1))
    if transmat is None:
        transmat = (1 - _STAY) / n_states + _STAY * np.eye(n_states)
    with np.errstate(divide="ignore"):
        log_transmat = np.log(transmat)
    return StateChain(np.full(n_states, -np.log(n_states)), log_transmat, centres, variances)


def expectation_maximization(chain, rows):
    """Return the StateChain of a local maximum of the factored bound, and that bound.

    Parameters
    ----------
    chain : StateChain
        The first values.
    rows : LatentRows
        The posteriors, which stay fixed.

    Returns
    -------
    chain : StateChain
        The last values.
    bound : float
        Their bound in nats per row, without the entropy of q.
    """
    bound = -np.inf
    for _ in range(_MAX_ITER):
        smoothed = _smoothed(chain, rows)
        before, bound = bound, smoothed.log_likelihood / len(rows.means)
        if bound - before < _TOL:
            break
        chain = _maximized(chain, rows, smoothed)
    return chain, bound


def _smoothed(chain, rows):
    """Return the posterior of the states of all rows."""
    chain, scores = (chain.log_start, chain.log_transmat), chain.scores(rows)
    return algorithms.smooth(*chain, scores, rows.offsets)


def _maximized(chain, rows, smoothed):
    """Return the StateChain of the M step; one further row, of all rows' moments, is shared."""
    resp = smoothed.posterior * rows.seen[:, None]
    means, squares = rows.means[rows.seen], rows.variances[rows.seen]
    counts = resp.sum(0)[:, None]
    centre, spread = means.mean(0), means.var(0) + squares.mean(0)
    n_states = len(counts)
    prior = 1.0 / n_states
    mean = (resp.T @ rows.means + prior * centre) / (counts + prior)
    second = resp.T @ (np.square(rows.means) + rows.variances)
    second += prior * (spread + np.square(centre))
    variances = second / (counts + prior) - np.square(mean)
    starts = smoothed.posterior[rows.offsets[:-1]].sum(0) + prior
    allowed = np.isfinite(chain.log_transmat)
    pairs = np.where(allowed, smoothed.pairs + prior, 0.0)
    with np.errstate(divide="ignore"):
        log_transmat = np.log(pairs / pairs.sum(1, keepdims=True))
    log_start = np.log(starts / starts.sum())
    return StateChain(log_start, log_transmat, mean, np.maximum(variances, 2 * MIN_VARIANCE))
