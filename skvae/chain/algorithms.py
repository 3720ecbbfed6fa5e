r"""Inference on a discrete chain: functions of log start, log transition and log-likelihood.

.. math:: p(z, x) = \pi_{z_1} \prod_t A_{z_{t-1} z_t} \prod_t p(x_t \mid z_t)

Every function takes the same first arguments and all sequences of a batch in one call:

``log_start`` : ndarray of shape (K,)
    ln π, −inf for an impossible state.
``log_transmat`` : ndarray of shape (K, K)
    ln A, from row to column.
``log_likelihood`` : ndarray of shape (n_rows, K), or function that returns a reader
    ``log_likelihood[t, j]`` is ln p(x_t | z_t = j), in nats. With a reader there is no array of all
    rows. Each thread makes its own reader, which has ``block_rows``, the most rows of a block;
    ``sums()``, empty statistics of the rows or None; and ``block(start, stop)``. A block has
    ``log_density()``, an array (K, n), and ``accumulate(sums, resp)``, which adds the rows,
    weighted by ``resp`` (K, n), to the statistics.
``offsets`` : ndarray of int, shape (n_sequences + 1,), default=None
    Sequence s has the rows from offsets[s] to offsets[s + 1]. None is one sequence, which is
    possible only if ``log_likelihood`` is an array.
``pool`` : Workers, default=None
    The threads; None is the calling thread alone. Results do not depend on their number.

A row that is impossible in every reachable state makes the log-likelihood of its sequence −inf; in
posteriors it counts as a missing row.

Rabiner (1989), Proc. IEEE 77, 257-286.
"""

from typing import NamedTuple

import numpy as np

from skvae.blocks import ranges
from skvae.chain import kernels_paths, one_block
from skvae.chain.batch import Batch


class Smoothed(NamedTuple):
    """The posterior of the states of sequences.

    Parameters
    ----------
    log_likelihood : float
        ln p(x), summed over sequences, in nats.
    posterior : ndarray of shape (n_rows, K)
        p(z_t | x) given the whole sequence.
    pairs : ndarray of shape (K, K)
        Σ_t p(z_t = i, z_{t+1} = j | x) over all sequences.
    """

    log_likelihood: float
    posterior: np.ndarray
    pairs: np.ndarray


def _is_one_block(log_likelihood, pool):
    """Return whether the calling thread computes all rows at once: those of an array."""
    return pool is None and isinstance(log_likelihood, np.ndarray)


def _one_block(log_start, log_transmat, log_likelihood, offsets, **options):
    """Return the OneBlock of an array of log-likelihoods."""
    chain = np.exp(log_start), np.exp(log_transmat)
    return one_block.OneBlock(*chain, log_likelihood.T, offsets, **options)


def expect(
    log_start, log_transmat, log_likelihood, offsets=None, *, weight=None, pool=None, buffers=None
):
    """Return the expected statistics of sequences, the E step of Baum-Welch.

    Memory beyond the readers' does not grow with the number of rows times states.

    Parameters
    ----------
    log_start, log_transmat, log_likelihood, offsets, pool
        See the module.
    weight : ndarray of shape (n_rows,), default=None
        The weight of each row, constant within a sequence.
    buffers : Buffers, default=None
        Memory of an earlier call, which is used again to save time.

    Returns
    -------
    sums : ChainSums
        Expected starts (K,), transitions (K, K) and statistics of the rows under the posterior, and
        the log-likelihood, all weighted.
    """
    batch = Batch(log_start, log_transmat, log_likelihood, offsets, weight, pool, buffers=buffers)
    total = batch.sums()
    for sums in batch.smooth_halves() if batch.halves else ():
        total += sums
    for sums in batch.pool.map(batch.smooth, len(batch.segments), 1):
        total += sums
    return total


def log_likelihood_of(
    log_start, log_transmat, log_likelihood, offsets=None, *, weight=None, pool=None
):
    """Return the (weighted) log-likelihood of sequences, a float in nats.

    The arguments are those of :func:`expect`; a forward pass is enough.
    """
    if _is_one_block(log_likelihood, pool):
        block = _one_block(log_start, log_transmat, log_likelihood, offsets)
        return block.log_likelihood(weight)
    batch = Batch(log_start, log_transmat, log_likelihood, offsets, weight, pool)
    total = 0.0
    for joined in batch.join_halves(0) if batch.halves else ():
        total += joined.log_likelihood
    return float(total + sum(batch.pool.map(batch.forward, len(batch.segments), 1)))


def smooth(log_start, log_transmat, log_likelihood, offsets=None, *, pool=None, dtype=np.float64):
    """Return the Smoothed posterior of sequences by the forward-backward algorithm.

    Parameters
    ----------
    log_start, log_transmat, log_likelihood, offsets, pool
        See the module.
    dtype : dtype
        The dtype of the posterior.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.chain.algorithms import smooth
    >>> half = np.log([0.5, 0.5])
    >>> smooth(half, np.log([[0.9, 0.1], [0.1, 0.9]]), np.array([[0.0, -2.0]] * 2)).posterior
    array([[0.96818656, 0.03181344],
           [0.96818656, 0.03181344]])
    """
    if _is_one_block(log_likelihood, pool):
        block = _one_block(log_start, log_transmat, log_likelihood, offsets)
        posterior, _, pairs = block.smooth()
        return Smoothed(block.log_likelihood(), np.array(posterior, dtype=dtype), pairs)
    batch = Batch(log_start, log_transmat, log_likelihood, offsets, pool=pool, of_rows=False)
    batch.posterior = np.empty((batch.n_rows, batch.n_states), dtype=dtype)
    total = batch.sums()
    for sums in batch.smooth_halves() if batch.halves else ():
        total += sums
    for sums in batch.pool.map(batch.smooth, len(batch.segments), 1):
        total += sums
    return Smoothed(float(total.log_likelihood), batch.posterior, total.pairs)


def predictive(
    log_start, log_transmat, log_likelihood, offsets=None, *, pool=None, dtype=np.float64
):
    """Return ln p(x_t | x_1..x_{t−1}) of each row in its sequence, (n_rows,), in nats.

    The arguments are those of :func:`smooth`.
    """
    if _is_one_block(log_likelihood, pool):
        block = _one_block(log_start, log_transmat, log_likelihood, offsets)
        with np.errstate(over="ignore"):  # −1e300 is −inf in float32
            return block.log_p.astype(dtype, copy=False)
    batch = Batch(log_start, log_transmat, log_likelihood, offsets, pool=pool, halve=False)
    batch.log_p = np.empty(batch.n_rows, dtype=dtype)
    for _ in batch.pool.map(batch.forward, len(batch.segments), 1):
        pass
    return batch.log_p


def filtered(
    log_start,
    log_transmat,
    log_likelihood,
    offsets=None,
    *,
    pool=None,
    dtype=np.float64,
    logs=False,
):
    """Return p(z_t | x_1..x_t), the states' posterior given the rows so far, (n_rows, K).

    Parameters
    ----------
    log_start, log_transmat, log_likelihood, offsets, pool, dtype
        As for :func:`smooth`.
    logs : bool
        Whether to return ln p(z_t | x_1..x_t), in which no probability underflows.
    """
    if _is_one_block(log_likelihood, pool):
        block = _one_block(log_start, log_transmat, log_likelihood, offsets, logs=logs)
        return np.array(block.filtered(logs=logs), dtype=dtype)
    batch = Batch(log_start, log_transmat, log_likelihood, offsets, pool=pool, halve=False)
    batch.alpha, batch.logs = np.empty((batch.n_rows, batch.n_states), dtype=dtype), logs
    for _ in batch.pool.map(batch.forward, len(batch.segments), 1):
        pass
    return batch.alpha


def viterbi(log_start, log_transmat, log_likelihood, offsets=None, *, pool=None):
    """Return the most probable path of each sequence (Viterbi, IEEE Trans. Inf. Theory 13, 1967).

    The arguments are those of the module.

    Returns
    -------
    log_probs : ndarray of shape (n_sequences,)
        ln p(path, x), in nats.
    states : ndarray of int, shape (n_rows,)
        The paths.
    """
    if _is_one_block(log_likelihood, pool):
        chain = np.exp(log_start), np.exp(log_transmat)
        return one_block.best_path(*chain, log_likelihood.T, offsets)
    batch = Batch(
        log_start, log_transmat, log_likelihood, offsets, pool=pool, of_rows=False, best=True
    )
    batch.states, batch.log_p = np.empty(batch.n_rows, dtype=np.int64), np.empty(batch.n_rows)
    for _ in batch.smooth_halves() if batch.halves else ():
        pass
    for _ in batch.pool.map(batch.smooth, len(batch.segments), 1):
        pass
    return np.add.reduceat(batch.log_p, batch.offsets[:-1]), batch.states


def k_best(log_start, log_transmat, log_likelihood, k, n_rows=None):
    """Return the k most probable paths of one sequence (Seshadri & Sundberg, 1994).

    Parameters
    ----------
    log_start, log_transmat, log_likelihood
        See the module; all rows are one sequence.
    k : int
        The number of paths.
    n_rows : int, default=None
        The number of rows that a reader reads.

    Returns
    -------
    log_probs : ndarray of shape (m,)
        ln p(path, x), in nats, the largest first; m < k where fewer paths are possible.
    paths : ndarray of int, shape (m, n_rows)
        The paths.
    """
    rows = log_likelihood
    if not isinstance(rows, np.ndarray):
        rows, reader = np.empty((n_rows, len(log_start))), log_likelihood()
        for start, stop in ranges(0, n_rows, reader.block_rows):
            rows[start:stop] = reader.block(start, stop).log_density().T
    log_probs, found = kernels_paths.best_paths(log_start, log_transmat, rows, k)
    possible = log_probs > -np.inf
    return log_probs[possible], found[possible]


def sample_paths(
    log_start, log_transmat, log_likelihood, offsets=None, *, n_draws=1, rng, pool=None
):
    """Return draws from p(z | x), the posterior over paths, (n_draws, n_rows) int.

    Parameters
    ----------
    log_start, log_transmat, log_likelihood, offsets, pool
        See the module.
    n_draws : int
        The number of paths of each sequence.
    rng : RandomState
        The source of randomness.
    """
    # Backwards, p(z_t | z_{t+1}, x) ∝ p(z_t | x_1..x_t) A.
    alpha = filtered(log_start, log_transmat, log_likelihood, offsets, pool=pool, logs=True)
    transposed = np.ascontiguousarray(np.transpose(log_transmat))
    offsets = np.array([0, len(alpha)]) if offsets is None else offsets
    paths = np.empty((n_draws, len(alpha)), dtype=np.int64)
    kernels_paths.draw_paths(alpha, transposed, offsets, rng.uniform(size=paths.size), paths)
    return paths


def forecast(state_proba, transmat, n_steps):
    """Return p(z_{T+h}) for h = 1..n_steps, shape (..., n_steps, K), from p(z_T).

    Parameters
    ----------
    state_proba : ndarray of shape (..., K)
        p(z_T), of one sequence or of several.
    transmat : ndarray of shape (K, K)
        A.
    n_steps : int
        The number of steps.
    """
    out = np.empty((*state_proba.shape[:-1], n_steps, len(transmat)))
    for step in range(n_steps):
        state_proba = out[..., step, :] = state_proba @ transmat
    return out


def sample_chain(startprob, transmat, n_steps, rng):
    """Return a path (n_steps,) drawn from the chain itself."""
    path = np.empty(n_steps, dtype=np.int64)
    # The last cumulative probability is made exactly one: no uniform number lies above it.
    start, rows = np.cumsum(startprob), np.cumsum(transmat, axis=1)
    uniform = rng.uniform(size=n_steps)
    kernels_paths.draw_chain(start / start[-1], rows / rows[:, -1:], uniform, path)
    return path
