r"""Inside and outside in log space, compiled: right for every range of numbers.

The splits of a span are added first (so the time is n³K² + n²K³, not n³K³):

.. math:: M_{ij}(B, C) = \sum_k I_{ik}(B)\, I_{k+1,j}(C), \qquad
          I_{ij}(A) = \sum_{BC} R(A, B, C)\, M_{ij}(B, C),

and, from the widest span to the leaves, with :math:`G_{ij} = \sum_A O_{ij}(A)\, R(A)`,

.. math:: O_{ik} \mathrel{+}= G_{ij} I_{k+1,j}, \qquad O_{k+1,j} \mathrel{+}= G_{ij}^T I_{ik}.

Unit rules are summed by :math:`C = (1 - U)^{-1}`. A span has two insides: ``base``, whose first
rule is no unit rule, and ``top`` :math:`= C\,` ``base``. It has one outside for each of them:
``outer`` of a top, and :math:`C^T\,` ``outer`` of a base. All arrays have logs.
"""

import numpy as np

from skvae.chain.compilation import compiled, within


@within
def _copy(values, out):
    """Copy numbers; an assignment to a slice would compile the text of its error, for seconds."""
    for a in range(len(out)):
        out[a] = values[a]


@compiled
def _fill_sum(left, right, out):
    """Fill ``out[b]`` with ln Σ_a exp(left[a] + right[a, b])."""
    for b in range(len(out)):
        largest = -np.inf
        for a in range(len(left)):
            largest = max(largest, left[a] + right[a, b])
        total = 0.0
        if largest > -np.inf:
            for a in range(len(left)):
                total += np.exp(left[a] + right[a, b] - largest)
        out[b] = largest + np.log(total) if total > 0.0 else -np.inf


@compiled
def _fill_splits(left, right, i, j, out):
    """Fill ``out[b, c]`` with ln Σ_k exp(left[i, k, b] + right[k + 1, j, c])."""
    for b in range(len(out)):
        for c in range(len(out)):
            largest = -np.inf
            for k in range(i, j):
                largest = max(largest, left[i, k, b] + right[k + 1, j, c])
            total = 0.0
            if largest > -np.inf:
                for k in range(i, j):
                    total += np.exp(left[i, k, b] + right[k + 1, j, c] - largest)
            out[b, c] = largest + np.log(total) if total > 0.0 else -np.inf


@compiled
def fill_inside(log_rules, log_closure, leaves, allowed, base, top):
    """Fill the insides of all spans of a sentence.

    Parameters
    ----------
    log_rules : ndarray of shape (K, K, K)
        ln R.
    log_closure : ndarray of shape (K, K)
        ln C.
    leaves : ndarray of shape (n, K)
        The log-likelihood of each word as the leaf of each label, ln of its leaf included.
    allowed : ndarray of bool, shape (n, n)
        Whether a constituent may cover the words from i to j.
    base, top : ndarray of shape (n, n, K)
        Filled where i ≤ j.
    """
    n, n_labels = leaves.shape
    splits = np.empty((n_labels, n_labels))
    flat = splits.reshape(-1)
    by_pair = np.ascontiguousarray(log_rules.reshape(n_labels, -1).T)
    by_base = np.ascontiguousarray(log_closure.T)
    for width in range(1, n + 1):
        for i in range(n - width + 1):
            j = i + width - 1
            if not allowed[i, j]:
                base[i, j], top[i, j] = -np.inf, -np.inf
                continue
            if width == 1:
                _copy(leaves[i], base[i, i])
            else:
                _fill_splits(top, top, i, j, splits)
                _fill_sum(flat, by_pair, base[i, j])
            _fill_sum(base[i, j], by_base, top[i, j])


@compiled
def _add_to(place, a, value):
    """Add exp(value) to exp(place[a]), in logs."""
    high, low = max(place[a], value), min(place[a], value)
    if low > -np.inf:
        high += np.log1p(np.exp(low - high))
    place[a] = high


@compiled
def fill_outside(log_rules, log_closure, left, right, allowed, outer):
    """Fill the outsides of the bases of all spans.

    Parameters
    ----------
    log_rules, log_closure, allowed
        As for :func:`fill_inside`.
    left, right : ndarray of shape (n, n, K)
        The tops of spans as left and as right siblings.
    outer : ndarray of shape (n, n, K)
        Filled where i ≤ j; outer[0, n − 1] has the outside of the root's top.
    """
    n, n_labels = len(outer), outer.shape[2]
    inner = np.empty(n_labels)
    children = np.empty(n_labels * n_labels)
    by_pair = log_rules.reshape(n_labels, -1)
    start = outer[0, n - 1].copy()
    outer[:] = -np.inf
    _copy(start, outer[0, n - 1])
    for width in range(n, 0, -1):
        for i in range(n - width + 1):
            j = i + width - 1
            if not allowed[i, j]:
                outer[i, j] = -np.inf
                continue
            _fill_sum(outer[i, j], log_closure, inner)
            _copy(inner, outer[i, j])
            if width == 1 or not np.any(inner > -np.inf):
                continue
            _fill_sum(inner, by_pair, children)
            for b in range(n_labels):
                for c in range(n_labels):
                    value = children[b * n_labels + c]
                    if value == -np.inf:
                        continue
                    for k in range(i, j):
                        _add_to(outer[i, k], b, value + right[k + 1, j, c])
                        _add_to(outer[k + 1, j], c, value + left[i, k, b])


@compiled
def add_counts(log_rules, log_units, leaves, top, outer, weight, rules, units, posterior):
    """Add a sentence's expected counts, times its weight, from its insides and outsides.

    Parameters
    ----------
    log_rules, log_units : ndarray of shape (K, K, K) and (K, K)
        ln R and ln U.
    leaves, top, outer
        As for :func:`fill_inside` and :func:`fill_outside`; the sentence has ln p(x) = 0.
    weight : float
        The weight.
    rules, units : ndarray of shape (K, K, K) and (K, K)
        Added to.
    posterior : ndarray of shape (n, K)
        Filled with the posterior of the leaves' labels, times the weight.
    """
    n, n_labels = leaves.shape
    splits = np.empty((n_labels, n_labels))
    for i in range(n):
        for a in range(n_labels):
            posterior[i, a] = weight * np.exp(outer[i, i, a] + leaves[i, a])
        for j in range(i, n):
            if j > i:
                _fill_splits(top, top, i, j, splits)
            for a in range(n_labels):
                outside = outer[i, j, a]
                if outside == -np.inf:
                    continue
                for b in range(n_labels):
                    units[a, b] += weight * np.exp(outside + log_units[a, b] + top[i, j, b])
                    for c in range(n_labels if j > i else 0):
                        value = outside + log_rules[a, b, c] + splits[b, c]
                        rules[a, b, c] += weight * np.exp(value)


@compiled
def fill_lengths(log_rules, log_closure, log_leaf, top):
    """Fill ``top[w − 1]`` with the logs of the probabilities that labels have w leaves."""
    n, n_labels = top.shape
    splits = np.empty(n_labels * n_labels)
    base = np.empty(n_labels)
    by_pair = np.ascontiguousarray(log_rules.reshape(n_labels, -1).T)
    by_base = np.ascontiguousarray(log_closure.T)
    for last in range(n):
        if last == 0:
            _copy(log_leaf, base)
        else:
            for b in range(n_labels):
                for c in range(n_labels):
                    largest, total = -np.inf, 0.0
                    for k in range(last):
                        largest = max(largest, top[k, b] + top[last - 1 - k, c])
                    if largest > -np.inf:
                        for k in range(last):
                            total += np.exp(top[k, b] + top[last - 1 - k, c] - largest)
                    splits[b * n_labels + c] = largest + np.log(total) if total > 0 else -np.inf
            _fill_sum(splits, by_pair, base)
        _fill_sum(base, by_base, top[last])
