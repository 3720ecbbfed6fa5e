r"""The terms of the bound of a hidden Markov model, spread over the rows of each sequence.

With filtered posteriors :math:`\alpha_t`, smoothed ones :math:`\gamma_t` and transitions A, all
public, the posterior of a state given the next is

.. math:: B_t(i \mid j) = p(z_t = i \mid z_{t+1} = j, x) = p(z_t = i \mid z_{t+1} = j, x_{1:t})
          \propto \alpha_t(i) A_{ij}, \qquad \xi_t(i, j) = B_t(i \mid j)\, \gamma_{t+1}(j),

as what comes after t + 1 says no more of :math:`z_t` once :math:`z_{t+1}` is known. The entropy of
the path is by the chain rule

.. math:: H(z_{1:T} \mid x) = H(\gamma_T)
          + \sum_{t<T} \sum_j \gamma_{t+1}(j)\, H(B_t(\cdot \mid j)) .

Reference: Rabiner (1989), Proc. IEEE 77; Hernando, Crespi & Cybenko (2005), IEEE Trans. Inf. Theory
51.
"""

from copy import copy

import numpy as np
from scipy.special import logsumexp

from skvae.inspection.decomposition_densities import emission_log_density
from skvae.inspection.decomposition_rows import entropies, expectations, rows_of

_PAIRS = 1 << 20  # numbers in a block of (t, K, K)
# Filtered shares that are smaller may have underflowed: a state that is predicted by nothing else,
# and that the smoothed posterior gives any weight, is to be predicted in logs.
_FLOORED, _ANY_WEIGHT = 1e-100, 1e-20


def chain_terms(estimator, X, groups, posterior):
    """Return whether X is a list, and (expected_joint, entropy, log_evidence) of each sequence.

    Parameters
    ----------
    estimator : estimator
        The fitted chain whose joint density and evidence are asked for.
    X : array-like or list
        Rows in time order, as the chain takes them.
    groups : array-like or None
        The sequence of each row.
    posterior : estimator
        The fitted chain whose posterior over paths is q.
    """
    log_evidence = estimator.score_samples(X, groups=groups)  # it checks X and groups, too
    filtered, smoothed = (
        copy(posterior).set_params(inference=inference).predict_proba(X, groups=groups)
        for inference in ("filter", "smooth")
    )
    listed = isinstance(log_evidence, list)
    per_row = (log_evidence, filtered, smoothed)
    if listed:
        sequences = zip(map(rows_of, X), *per_row, strict=True)
    else:
        begins = _begins(groups)
        sequences = zip(*(np.split(each, begins) for each in (rows_of(X), *per_row)), strict=True)
    return listed, [_terms(estimator, posterior, *sequence) for sequence in sequences]


def _begins(groups):
    """Return the rows where a sequence begins after another."""
    if groups is None:
        return []
    groups = np.asarray(groups).reshape(-1)
    return np.flatnonzero(groups[1:] != groups[:-1]) + 1


def _terms(estimator, posterior, rows, log_evidence, filtered, smoothed):
    """Return the expected log-joint, the entropy and the log-evidence of a sequence's rows."""
    log_evidence, filtered, smoothed = (
        np.asarray(each, np.float64) for each in (log_evidence, filtered, smoothed)
    )
    log_emission = emission_log_density(rows, estimator.emission_)
    with np.errstate(divide="ignore"):
        log_start, log_transmat = np.log(estimator.startprob_), np.log(estimator.transmat_)
        log_filtered, log_transmat_q = np.log(filtered), np.log(posterior.transmat_)
    expected = expectations(smoothed, log_emission)
    expected[0] += expectations(smoothed[:1], log_start[None])[0]
    entropy = np.zeros(len(rows))
    entropy[-1] = entropies(smoothed[-1:])[0]
    if _is_floored(filtered, posterior.transmat_, smoothed):
        log_filtered = _filtered_in_logs(posterior, rows)
    for start, stop in _blocks(len(rows) - 1, len(log_start)):
        weight = smoothed[start + 1 : stop + 1, None, :]
        backward = _backward(log_filtered[start:stop], log_transmat_q)
        pairs = np.exp(backward) * weight
        expected[start + 1 : stop + 1] += expectations(pairs, log_transmat)
        entropy[start:stop] = -expectations(pairs, backward)
    return expected, entropy, log_evidence


def _blocks(n_pairs, n_states):
    step = max(1, _PAIRS // n_states**2)
    return [(start, min(start + step, n_pairs)) for start in range(0, n_pairs, step)]


def _backward(log_filtered, log_transmat):
    """Return ln B_t(i | j), (n, K, K): −inf where j cannot come next."""
    joint = log_filtered[:, :, None] + log_transmat
    total = logsumexp(joint, axis=1, keepdims=True)
    return joint - np.where(total > -np.inf, total, 0.0)


def _is_floored(filtered, transmat, smoothed):
    """Return whether some state that counts is predicted by shares too small to be trusted."""
    return ((filtered[:-1] @ transmat < _FLOORED) & (smoothed[1:] > _ANY_WEIGHT)).any()


def _filtered_in_logs(estimator, rows):
    """Return ln α_t, (T, K), by the recursion in logs; impossible rows count as missing."""
    log_emission = emission_log_density(rows, estimator.emission_)
    with np.errstate(divide="ignore"):
        ahead, log_transmat = np.log(estimator.startprob_), np.log(estimator.transmat_)
    out = np.empty_like(log_emission)
    for t, own in enumerate(log_emission):
        joint = ahead + own
        joint = joint if joint.max() > -np.inf else ahead
        out[t] = joint - logsumexp(joint)
        ahead = logsumexp(out[t][:, None] + log_transmat, axis=0)
    return out
