r"""Inference on a discrete chain: functions of log start, log transition and log-likelihood.

.. math:: p(z, x) = \pi_{z_1} \prod_t A_{z_{t-1} z_t} \prod_t p(x_t \mid z_t)

They know no model: ``log_likelihood[t, j]`` is ln p(x_t | z_t = j) of one sequence, wherever it
comes from. −inf is what is impossible. A row that is impossible in every state that can be reached
makes the sequence's log-likelihood −inf; posteriors pass over it as over a missing row.
"""

from typing import NamedTuple

import numpy as np

from skvae.blocks import workers
from skvae.chain import kernels_paths as paths
from skvae.chain.sweep import Sequences, Sweep
from skvae.chain.viterbi import BestPaths

_BLOCK = 4096


class Smoothed(NamedTuple):
    """The posterior of one sequence.

    Parameters
    ----------
    log_likelihood : float
        ln p(x_1..x_T), in nats.
    posterior : ndarray of shape (T, K)
        p(z_t | x_1..x_T).
    pairs : ndarray of shape (K, K)
        Σ_t p(z_t = i, z_{t+1} = j | x_1..x_T).
    """

    log_likelihood: float
    posterior: np.ndarray
    pairs: np.ndarray


class _Array:
    """A source that has all log-likelihoods in memory."""

    def __init__(self, log_likelihood):
        self._rows = log_likelihood

    def log_likelihood(self, start, stop):
        return self._rows[start:stop].T.copy()


def _sweep(log_start, log_transmat, log_likelihood):
    sequences = Sequences(np.array([0, len(log_likelihood)]))
    source = _Array(np.asarray(log_likelihood, dtype=np.float64))
    return Sweep(np.exp(log_start), np.exp(log_transmat), sequences, lambda: source, _BLOCK)


def smooth(log_start, log_transmat, log_likelihood):
    """Return the Smoothed posterior of one sequence by the forward-backward algorithm.

    Parameters
    ----------
    log_start : ndarray of shape (K,)
        ln π.
    log_transmat : ndarray of shape (K, K)
        ln A, from row to column.
    log_likelihood : ndarray of shape (T, K)
        In nats.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.chain.algorithms import smooth
    >>> half = np.log([0.5, 0.5])
    >>> smooth(half, np.log([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.0, -2.0]] * 2)).posterior
    array([[0.96818656, 0.03181344],
           [0.96818656, 0.03181344]])
    """
    posterior = np.empty(np.shape(log_likelihood))

    def visit(_found, _source, start, stop, gamma):
        posterior[start:stop] = gamma

    with workers() as pool:
        sums = _sweep(log_start, log_transmat, log_likelihood).smooth(pool, visit)
    return Smoothed(sums.log_likelihood, posterior, sums.pairs)


def filtered(log_start, log_transmat, log_likelihood):
    """Return (log_p, alpha): ln p(x_t | x_1..x_{t−1}) (T,) and p(z_t | x_1..x_t) (T, K)."""
    log_p, alpha = np.empty(len(log_likelihood)), np.empty(np.shape(log_likelihood))

    def visit(start, stop, log_p_of_block, alpha_of_block):
        log_p[start:stop], alpha[start:stop] = log_p_of_block, alpha_of_block

    with workers(1) as pool:
        _sweep(log_start, log_transmat, log_likelihood).filter(pool, visit)
    return log_p, alpha


def viterbi(log_start, log_transmat, log_likelihood):
    """Return (log_prob, path): the most probable path, and ln p(path, x) in nats."""
    source = _Array(np.asarray(log_likelihood, dtype=np.float64))
    sequences = Sequences(np.array([0, len(log_likelihood)]))
    found = BestPaths(np.exp(log_start), np.exp(log_transmat), sequences, lambda: source, _BLOCK)
    with workers() as pool:
        found.fill(pool)
    return float(found.log_p.sum()), found.states


def k_best(log_start, log_transmat, log_likelihood, k):
    """Return (log_probs (m,), paths (m, T)) of the m ≤ k most probable paths, best first."""
    log_probs, found = paths.best_paths(log_start, log_transmat, log_likelihood, k)
    possible = log_probs > -np.inf
    return log_probs[possible], found[possible]


def sample_paths(log_start, log_transmat, log_likelihood, n_draws, rng):
    """Return draws (n_draws, T) from p(z | x) of one sequence."""
    out = np.empty((n_draws, len(log_likelihood)), dtype=np.int64)
    uniform = rng.uniform(size=out.shape)
    paths.draw_paths(*_logs(log_start, log_transmat, log_likelihood), uniform, out)
    return out


def path_entropy(log_start, log_transmat, log_likelihood):
    """Return the entropy of p(z | x) of one sequence, in nats."""
    return paths.path_entropy(*_logs(log_start, log_transmat, log_likelihood))


def _logs(log_start, log_transmat, log_likelihood):
    """Return ln p(z_t | x_1..x_t) (T, K), nothing lost, and the log transitions into each state."""
    sweep = _sweep(log_start, log_transmat, log_likelihood)
    alpha = np.empty(np.shape(log_likelihood))

    def visit(start, stop, _log_p, alpha_of_block):
        alpha[start:stop] = alpha_of_block

    with workers(1) as pool:
        sweep.filter(pool, visit, logs=True)
    return alpha, np.ascontiguousarray(np.transpose(log_transmat))


def forecast(state_proba, transmat, n_steps):
    """Return p(z_{T+h}) for h = 1..n_steps, shape (n_steps, K), from p(z_T)."""
    out = np.empty((n_steps, len(transmat)))
    for step in range(n_steps):
        state_proba = out[step] = state_proba @ transmat
    return out


def walk(startprob, transmat, n_steps, rng):
    """Return a path (n_steps,) drawn from the chain itself."""
    path = np.empty(n_steps, dtype=np.int64)
    # The last share is made exactly one: no uniform number lies above it.
    start, rows = np.cumsum(startprob), np.cumsum(transmat, axis=1)
    paths.walk(start / start[-1], rows / rows[:, -1:], rng.uniform(size=n_steps), path)
    return path
