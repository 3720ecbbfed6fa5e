r"""The terms of the bound of a hidden Markov model, for each row of all sequences.

With filtered posteriors :math:`\alpha_t`, smoothed ones :math:`\gamma_t` and transitions A, the
posterior of a state given the next is

.. math:: B_t(i \mid j) = p(z_t = i \mid z_{t+1} = j, x) = p(z_t = i \mid z_{t+1} = j, x_{1:t})
          \propto \alpha_t(i) A_{ij}, \qquad \xi_t(i, j) = B_t(i \mid j)\, \gamma_{t+1}(j),

because :math:`z_t` is independent of the rows after t given :math:`z_{t+1}`. By the chain rule the
entropy of the path is

.. math:: H(z_{1:T} \mid x) = H(\gamma_T)
          + \sum_{t<T} \sum_j \gamma_{t+1}(j)\, H(B_t(\cdot \mid j)) .

Reference: Rabiner (1989), Proc. IEEE 77; Hernando, Crespi & Cybenko (2005), IEEE Trans. Inf. Theory
51.
"""

from copy import copy

import numpy as np
from scipy.special import logsumexp

from skvae.inspection.decomposition.expectations import entropies, expectations, rows_of
from skvae.inspection.sequences import joined_sequences

_PAIRS = 1 << 20  # numbers in a block of (t, K, K)
# A predicted probability below the first may have underflowed. Where the smoothed posterior of that
# state is above the second, filtered probabilities are computed in logs.
_FLOORED, _ANY_WEIGHT = 1e-100, 1e-20


def chain_terms(estimator, X, groups, posterior):
    """Return (expected_joint, entropy, log_evidence) of all rows, and the offsets of a list.

    Parameters
    ----------
    estimator : estimator
        The fitted chain of the joint density and of the evidence.
    X : array-like or list
        Rows in time order, as the chain takes them.
    groups : array-like or None
        The sequence of each row.
    posterior : estimator
        The fitted chain with the posterior q over paths.

    Returns
    -------
    terms : tuple of ndarray of shape (n_rows,)
        Of the rows of all sequences, one sequence after the other.
    offsets : ndarray of int or None
        Sequence s has the rows from offsets[s] to offsets[s + 1]; None if X is not a list.
    """
    log_evidence = estimator.score_samples(X, groups=groups)  # it checks X and groups, too
    filtered, smoothed = (
        copy(posterior).set_params(inference=inference).predict_proba(X, groups=groups)
        for inference in ("filter", "smooth")
    )
    rows, offsets, listed = joined_sequences(X, groups)
    rows = rows_of(rows)
    join = np.concatenate if listed else np.asarray
    log_evidence, filtered, smoothed = (
        np.asarray(join(each), np.float64) for each in (log_evidence, filtered, smoothed)
    )
    log_filtered = _log_filtered(posterior, rows, offsets, filtered, smoothed)
    begins, ends = offsets[:-1], offsets[1:] - 1
    expected = expectations(smoothed, estimator.emission_.log_density(rows))
    entropy = np.zeros(len(expected))
    entropy[ends] = entropies(smoothed[ends])
    with np.errstate(divide="ignore"):
        log_start, log_transmat = np.log(estimator.startprob_), np.log(estimator.transmat_)
        log_transmat_q = np.log(posterior.transmat_)
    expected[begins] += expectations(smoothed[begins], log_start)
    for now in _blocks(_rows_before_another(offsets), len(log_start)):
        backward = _backward(log_filtered[now], log_transmat_q)
        pairs = np.exp(backward) * smoothed[now + 1, None, :]
        expected[now + 1] += expectations(pairs, log_transmat)
        entropy[now] = -expectations(pairs, backward)
    return (expected, entropy, log_evidence), offsets if listed else None


def _rows_before_another(offsets):
    """Return the rows that are not the last of their sequence."""
    return np.delete(np.arange(offsets[-1]), offsets[1:] - 1)


def _blocks(rows, n_states):
    """Return the rows in blocks of at most ``_PAIRS`` pairs of states."""
    step = max(1, _PAIRS // n_states**2)
    return [rows[start : start + step] for start in range(0, len(rows), step)]


def _backward(log_filtered, log_transmat):
    """Return ln B_t(i | j), (n, K, K): −inf where j cannot come next."""
    # i first: NumPy is slow at sums over a short axis in the middle.
    joint = log_filtered.T[:, :, None] + log_transmat[:, None, :]
    total = np.logaddexp.reduce(joint, axis=0)
    return np.moveaxis(joint - np.where(total > -np.inf, total, 0.0), 0, 1)


def _log_filtered(estimator, rows, offsets, filtered, smoothed):
    """Return ln α_t of all rows, (n, K), without underflow where the smoothed posterior needs it.

    Sequences with such a row are filtered again in logs.
    """
    with np.errstate(divide="ignore"):
        log_filtered = np.log(filtered)
    now = _rows_before_another(offsets)
    small = (filtered[now] @ estimator.transmat_ < _FLOORED) & (smoothed[now + 1] > _ANY_WEIGHT)
    places = now[small.any(axis=1)]
    for s in np.unique(np.searchsorted(offsets, places, side="right") - 1):
        own = slice(*offsets[s : s + 2])
        log_filtered[own] = _filtered_in_logs(estimator, rows[own])
    return log_filtered


def _filtered_in_logs(estimator, rows):
    """Return ln α_t of one sequence, (T, K); impossible rows count as missing."""
    log_emission = estimator.emission_.log_density(rows)
    with np.errstate(divide="ignore"):
        ahead, log_transmat = np.log(estimator.startprob_), np.log(estimator.transmat_)
    out = np.empty_like(log_emission)
    for t, own in enumerate(log_emission):
        joint = ahead + own
        joint = joint if joint.max() > -np.inf else ahead
        out[t] = joint - logsumexp(joint)
        ahead = logsumexp(out[t][:, None] + log_transmat, axis=0)
    return out
