r"""The recursions of a chain whose transitions change from row to row, compiled.

As in :mod:`skvae.chain.kernels_scaled`, with a matrix :math:`A_t` of its own for the transition
into row t. The matrix of a row that begins a sequence is not used.

.. math:: c_t \alpha_t(j) = b_t(j) \sum_i \alpha_{t-1}(i) A_{t,ij}, \qquad
          \beta_{t-1}(i) = \sum_j A_{t,ij} v_t(j), \quad v_t = b_t \beta_t / c_t.
"""

import numpy as np

from skvae.chain.compilation import compiled, within

LEAST_SHARE = 1e-140  # a smaller share of a reachable state may be lost: log space is needed
SMALLEST_SCALE = 1e-100  # a normaliser below it has lost too many digits


@compiled
def forward(first, start, transitions, log_likelihood, likelihood, alpha, scale, bounded):
    """Fill the filtered posteriors and normalisers of all rows; return whether they are exact.

    Parameters
    ----------
    first : ndarray of bool, shape (n,)
        Whether a row begins a sequence.
    start : ndarray of shape (K,)
        Start probabilities.
    transitions : ndarray of shape (n, K, K)
        The transitions into each row.
    log_likelihood : ndarray of shape (n, K)
        ln p(x_t | j); zeros in an impossible row, which is passed over.
    likelihood : ndarray of shape (n, K)
        The same without the log, divided by the largest of each row.
    alpha : ndarray of shape (n + 1, K)
        Row t + 1 is filled with the posterior of row t; row 0 is that of the row before.
    scale : ndarray of shape (n,)
        Filled with the normalisers.
    bounded : bool
        Whether some transitions are so small that a share that underflows may matter later.
    """
    n = len(start)
    predicted = np.empty(n)
    exact = True
    for t in range(len(first)):
        if first[t]:
            for j in range(n):
                predicted[j] = start[j]
        else:
            for j in range(n):
                predicted[j] = 0.0
            for i in range(n):
                a = alpha[t, i]
                for j in range(n):
                    predicted[j] += a * transitions[t, i, j]
        total = 0.0
        for j in range(n):
            alpha[t + 1, j] = predicted[j] * likelihood[t, j]
            total += alpha[t + 1, j]
        scale[t] = total
        share = 1.0 / total
        for j in range(n):
            alpha[t + 1, j] *= share
        exact &= total >= SMALLEST_SCALE
        if bounded:
            for j in range(n):
                reachable = predicted[j] > 0.0 and log_likelihood[t, j] > -np.inf
                exact &= not (reachable and alpha[t + 1, j] < LEAST_SHARE)
    return exact


@compiled
def backward(first, transitions, likelihood, alpha, scale, weight, beta, gamma):
    """Fill the posteriors of states and of pairs of all rows, times the weights of the rows.

    Parameters
    ----------
    first, likelihood, alpha, scale
        As for :func:`forward`, after it.
    transitions : ndarray of shape (n, K, K)
        As there; filled with p(z_{t−1} = i, z_t = j | x), zeros in a row that begins a sequence.
    weight : ndarray of shape (n,)
        The weight of each row.
    beta : ndarray of shape (K,)
        The message to the last row on entry, to the row before the first on return.
    gamma : ndarray of shape (n, K)
        Filled with p(z_t | x).
    """
    n = gamma.shape[1]
    v = np.empty(n)
    for t in range(len(first) - 1, -1, -1):
        share = 1.0 / scale[t]
        for j in range(n):
            gamma[t, j] = weight[t] * alpha[t + 1, j] * beta[j]
            # The message of a state that is not reachable has no limit, and no use.
            v[j] = likelihood[t, j] * share * beta[j] if alpha[t + 1, j] > 0.0 else 0.0
        if first[t]:
            for i in range(n):
                beta[i] = 1.0
                for j in range(n):
                    transitions[t, i, j] = 0.0
            continue
        for i in range(n):
            total, a = 0.0, weight[t] * alpha[t, i]
            for j in range(n):
                ahead = transitions[t, i, j] * v[j]
                total += ahead
                transitions[t, i, j] = a * ahead
            beta[i] = total


@within
def _log_sum(values):
    top = -np.inf
    for j in range(len(values)):
        top = max(top, values[j])
    if not np.isfinite(top):
        return top
    total = 0.0
    for j in range(len(values)):
        total += np.exp(values[j] - top)
    return top + np.log(total)


@compiled
def forward_in_logs(first, start, transitions, likelihood, alpha, scale):
    """Fill the same as :func:`forward` with logs in place of all probabilities; always exact.

    The log-likelihoods of a row that is impossible in every reachable state become zeros, and its
    normaliser −inf.
    """
    n = len(start)
    predicted, terms = np.empty(n), np.empty(n)
    for t in range(len(first)):
        for j in range(n):
            if first[t]:
                predicted[j] = start[j]
            else:
                for i in range(n):
                    terms[i] = alpha[t, i] + transitions[t, i, j]
                predicted[j] = _log_sum(terms)
            terms[j] = 0.0
        for j in range(n):
            alpha[t + 1, j] = predicted[j] + likelihood[t, j]
        scale[t] = _log_sum(alpha[t + 1])
        total = scale[t]
        if total == -np.inf:
            for j in range(n):
                likelihood[t, j], alpha[t + 1, j] = 0.0, predicted[j]
            total = _log_sum(predicted)
        for j in range(n):
            alpha[t + 1, j] -= total


@compiled
def backward_in_logs(first, transitions, likelihood, alpha, scale, weight, gamma, pairs):
    """Fill the same as :func:`backward` from the logs of :func:`forward_in_logs`."""
    n = gamma.shape[1]
    beta, v, terms = np.zeros(n), np.empty(n), np.empty(n)
    for t in range(len(first) - 1, -1, -1):
        total = scale[t] if scale[t] > -np.inf else 0.0
        for j in range(n):
            gamma[t, j] = weight[t] * np.exp(alpha[t + 1, j] + beta[j])
            v[j] = likelihood[t, j] + beta[j] - total
        for i in range(n):
            for j in range(n):
                terms[j] = transitions[t, i, j] + v[j]
                pairs[t, i, j] = 0.0 if first[t] else weight[t] * np.exp(alpha[t, i] + terms[j])
            beta[i] = 0.0 if first[t] else _log_sum(terms)


@compiled
def best_paths(first, start, transitions, log_likelihood, scale, path):
    """Fill the most probable path of each sequence, and the log-probability that each row adds.

    Parameters
    ----------
    first, log_likelihood
        As for :func:`forward`.
    start, transitions : ndarray
        The logs of those of :func:`forward`.
    scale : ndarray of shape (n,)
        Filled; the sum over a sequence is ln p(path, x). −inf in a row that is impossible.
    path : ndarray of int, shape (n,)
        Filled.
    """
    n = len(start)
    delta, best = np.empty((len(first), n)), np.empty((len(first), n), dtype=np.int64)
    for t in range(len(first)):
        top, predicted_top = -np.inf, -np.inf
        for j in range(n):
            value, source = start[j], 0
            if not first[t]:
                value = -np.inf
                for i in range(n):
                    candidate = delta[t - 1, i] + transitions[t, i, j]
                    if candidate > value:
                        value, source = candidate, i
            delta[t, j], best[t, j] = value, source
            predicted_top = max(predicted_top, value)
            top = max(top, value + log_likelihood[t, j])
        scale[t] = top
        for j in range(n):  # an impossible row is passed over
            delta[t, j] += -predicted_top if top == -np.inf else log_likelihood[t, j] - top
    state = -1
    for t in range(len(first) - 1, -1, -1):
        if state < 0:
            state = 0
            for j in range(n):
                if delta[t, j] > delta[t, state]:
                    state = j
        path[t] = state
        state = -1 if first[t] else best[t, state]
