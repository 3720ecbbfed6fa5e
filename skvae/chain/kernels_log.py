r"""The recursions in log space, for sequences in which scaled shares would underflow.

.. math:: \ln c_t \alpha_t(j) = \ln b_t(j) + \ln \sum_i e^{\ln \alpha_{t-1}(i) + \ln A_{ij}}

Slower by the exponentials, one for each transition and step, but nothing is lost: −inf means
impossible and nothing else. The normaliser of an impossible row is −inf, and the row is taken as
missing, so that the posteriors of the other rows are finite.
"""

import numpy as np

from skvae.chain.compilation import compiled


@compiled
def _normalize(logs):
    """Subtract the log-sum-exp in place; return it, −inf if all are."""
    top = -np.inf
    for j in range(len(logs)):
        top = max(top, logs[j])
    if top == -np.inf:
        return top
    total = 0.0
    for j in range(len(logs)):
        total += np.exp(logs[j] - top)
    total = top + np.log(total)
    for j in range(len(logs)):
        logs[j] -= total
    return total


@compiled
def _predict(alpha, transitions, top, predicted):
    """Fill ``predicted`` with ln Σ_i exp(alpha_i + ln A_ij)."""
    pointers, columns, logs = transitions
    top[:] = -np.inf
    predicted[:] = 0.0
    for i in range(len(pointers) - 1):
        for p in range(pointers[i], pointers[i + 1]):
            j = columns[p]
            top[j] = max(top[j], alpha[i] + logs[p])
    for i in range(len(pointers) - 1):
        for p in range(pointers[i], pointers[i + 1]):
            j = columns[p]
            if top[j] > -np.inf:
                predicted[j] += np.exp(alpha[i] + logs[p] - top[j])
    for j in range(len(predicted)):
        predicted[j] = top[j] + np.log(predicted[j]) if predicted[j] > 0.0 else -np.inf


@compiled
def forward(first, start, transitions, likelihood, alpha, scale):
    """Fill the filtered log-posteriors and log normalisers of a block.

    As :func:`skvae.chain.kernels_scaled.forward` with logs in place of all probabilities;
    ``transitions`` is (row pointers, columns, log values). The log-likelihoods of an impossible row
    become zeros.
    """
    predicted, top = np.empty(len(start)), np.empty(len(start))
    for t in range(len(first)):
        if first[t]:
            for j in range(len(start)):
                predicted[j] = start[j]
        else:
            _predict(alpha[t], transitions, top, predicted)
        for j in range(len(start)):
            alpha[t + 1, j] = predicted[j] + likelihood[t, j]
        scale[t] = _normalize(alpha[t + 1])
        if scale[t] == -np.inf:
            for j in range(len(start)):
                likelihood[t, j] = 0.0
                alpha[t + 1, j] = predicted[j]
            _normalize(alpha[t + 1])


@compiled
def backward(first, transitions, likelihood, alpha, scale, weight, beta, gamma, pairs):
    """Fill the smoothed posteriors of a block, themselves and not their logs.

    As :func:`skvae.chain.kernels_scaled.backward`, with logs in place of probabilities;
    ``pairs``, one for each transition, gets the sums of the posteriors of pairs added.
    """
    pointers, columns, logs = transitions
    for t in range(len(first) - 1, -1, -1):
        v = likelihood[t]
        total = scale[t] if scale[t] > -np.inf else 0.0
        for j in range(len(beta)):
            gamma[t, j] = weight[t] * np.exp(alpha[t + 1, j] + beta[j])
            v[j] += beta[j] - total
        if first[t]:
            beta[:] = 0.0
            continue
        for i in range(len(pointers) - 1):
            top = -np.inf
            for p in range(pointers[i], pointers[i + 1]):
                top = max(top, logs[p] + v[columns[p]])
            total = 0.0
            for p in range(pointers[i], pointers[i + 1]):
                if top > -np.inf:
                    ahead = np.exp(logs[p] + v[columns[p]] - top)
                    total += ahead
            beta[i] = top + np.log(total) if total > 0.0 else -np.inf
            for p in range(pointers[i], pointers[i + 1]):
                pairs[p] += weight[t] * np.exp(alpha[t, i] + logs[p] + v[columns[p]])
