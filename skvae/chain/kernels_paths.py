r"""Single paths through a chain, compiled: the best one, the k best, draws, and their entropy.

The best path is found by the forward recursion with maxima in place of sums (Viterbi, IEEE Trans.
Inf. Theory 13, 1967),

.. math:: \delta_t(j) = \ln b_t(j) + \max_i\, [\delta_{t-1}(i) + \ln A_{ij}],

and read backwards from :math:`\delta`: no pointers are kept.
"""

import numpy as np

from skvae.chain.compilation import compiled, inlined


@inlined
def _normalize(predicted, likelihood, alpha, scale, t):
    """Fill row t + 1 of δ, relative to its maximum, which goes to ``scale``."""
    top = -np.inf
    for j in range(len(predicted)):
        alpha[t + 1, j] = predicted[j] + likelihood[t, j]
        top = max(top, alpha[t + 1, j])
    scale[t] = top
    if top == -np.inf:  # impossible: passed over as if nothing had been observed
        for j in range(len(predicted)):
            alpha[t + 1, j] = predicted[j]
            top = max(top, predicted[j])
    for j in range(len(predicted)):
        alpha[t + 1, j] -= top


@compiled
def forward_dense(first, start, transitions, likelihood, alpha, scale):
    """Fill δ, each row relative to its maximum, and these maxima.

    ``transitions`` is (log transitions (K, K), padded with −inf, their transpose); the rest as for
    :func:`skvae.chain.kernels_log.forward`.
    """
    logs = transitions[0]
    n = len(start)
    predicted = np.empty(len(start))
    for t in range(len(first)):
        if first[t]:
            for j in range(n):
                predicted[j] = start[j]
        else:
            for j in range(n):
                predicted[j] = -np.inf
            for i in range(0, n, 4):
                a, b, c, d = alpha[t, i], alpha[t, i + 1], alpha[t, i + 2], alpha[t, i + 3]
                for j in range(n):
                    x = max(a + logs[i, j], b + logs[i + 1, j])
                    y = max(c + logs[i + 2, j], d + logs[i + 3, j])
                    predicted[j] = max(predicted[j], max(x, y))
        _normalize(predicted, likelihood, alpha, scale, t)


@inlined
def _best_of_four(row, logs, j):
    return max(
        max(row[0] + logs[0, j], row[1] + logs[1, j]),
        max(row[2] + logs[2, j], row[3] + logs[3, j]),
    )


@compiled
def forward_of_four(first, start, transitions, likelihood, alpha, scale):
    """Fill the same as :func:`forward_dense`, of at most four states: a row stays in registers.

    Measured: a third of the time.
    """
    logs = transitions[0]
    beginning = start[0], start[1], start[2], start[3]
    row = alpha[0, 0], alpha[0, 1], alpha[0, 2], alpha[0, 3]
    for t in range(len(first)):
        if first[t]:
            a, b, c, d = beginning
        else:
            a, b = _best_of_four(row, logs, 0), _best_of_four(row, logs, 1)
            c, d = _best_of_four(row, logs, 2), _best_of_four(row, logs, 3)
        e, f, g, h = (
            a + likelihood[t, 0],
            b + likelihood[t, 1],
            c + likelihood[t, 2],
            d + likelihood[t, 3],
        )
        top = max(max(e, f), max(g, h))
        scale[t] = top
        if top == -np.inf:  # impossible: passed over as if nothing had been observed
            e, f, g, h = a, b, c, d
            top = max(max(e, f), max(g, h))
        row = e - top, f - top, g - top, h - top
        alpha[t + 1, 0], alpha[t + 1, 1], alpha[t + 1, 2], alpha[t + 1, 3] = row


@compiled
def forward_sparse(first, start, transitions, likelihood, alpha, scale):
    """Fill δ as :func:`forward_dense`; ``transitions`` is (row pointers, columns, log values)."""
    pointers, columns, logs = transitions[:3]
    predicted = np.empty(len(start))
    for t in range(len(first)):
        if first[t]:
            for j in range(len(start)):
                predicted[j] = start[j]
        else:
            predicted[:] = -np.inf
            for i in range(len(pointers) - 1):
                for p in range(pointers[i], pointers[i + 1]):
                    j = columns[p]
                    predicted[j] = max(predicted[j], alpha[t, i] + logs[p])
        _normalize(predicted, likelihood, alpha, scale, t)


@compiled
def trace(first, transposed, alpha, state, path):
    """Fill the best path of a block from its last row back; return the state before the block.

    Parameters
    ----------
    first : ndarray of bool, shape (n,)
        Whether a row begins a sequence.
    transposed : ndarray of shape (K, K)
        Log transitions into each state.
    alpha : ndarray of shape (n + 1, K)
        δ; row 0 is that of the row before the block.
    state : int
        The state of the last row, or −1 where that row ends a sequence.
    path : ndarray of int, shape (n,)
        Filled.
    """
    for t in range(len(first) - 1, -1, -1):
        if state < 0:
            best = -np.inf
            state = 0
            for j in range(transposed.shape[0]):
                if alpha[t + 1, j] > best:
                    best = alpha[t + 1, j]
                    state = j
        path[t] = state
        if first[t]:
            state = -1
            continue
        best = -np.inf
        previous = 0
        for i in range(transposed.shape[0]):
            x = alpha[t, i] + transposed[state, i]
            if x > best:
                best = x
                previous = i
        state = previous
    return state


@compiled
def best_paths(log_start, log_transmat, log_likelihood, k):
    """Return (log_probs, paths) of the k most probable paths of one sequence, best first.

    The k best ways into each state are kept at each step (Seshadri & Sundberg, IEEE Trans. Commun.
    42, 1994). Where fewer than k paths are possible, the rest have −inf.
    """
    n_steps, n_states = log_likelihood.shape
    score, before = np.empty((n_states, k)), np.empty((n_states, k))
    # Which state, and which of its ways, each kept way comes from.
    origin = np.zeros((n_steps, n_states, k), dtype=np.int64)
    for j in range(n_states):
        for m in range(k):
            score[j, m] = -np.inf
        score[j, 0] = log_start[j] + log_likelihood[0, j]
    for t in range(1, n_steps):
        score, before = before, score
        for j in range(n_states):
            for m in range(k):
                score[j, m] = -np.inf
            for i in range(n_states):
                step = log_transmat[i, j] + log_likelihood[t, j]
                for m in range(k):
                    x = before[i, m] + step
                    if not x > score[j, k - 1]:
                        break  # ways come best first
                    place = k - 1
                    while place > 0 and x > score[j, place - 1]:
                        score[j, place] = score[j, place - 1]
                        origin[t, j, place] = origin[t, j, place - 1]
                        place -= 1
                    score[j, place] = x
                    origin[t, j, place] = i * k + m
    paths = np.zeros((k, n_steps), dtype=np.int64)
    log_probs = np.empty(k)
    # The ways into a state are sorted: the next best is the first left of some state. (A sort
    # of all would give the same, and takes numba several seconds to compile.)
    taken = np.zeros(n_states, dtype=np.int64)
    for r in range(k):
        last = -1
        for j in range(n_states):
            if taken[j] < k and (last < 0 or score[j, taken[j]] > score[last, taken[last]]):
                last = j
        log_probs[r] = score[last, taken[last]]
        way = last * k + taken[last]
        taken[last] += 1
        for t in range(n_steps - 1, -1, -1):
            paths[r, t] = way // k
            way = origin[t, way // k, way % k]
    return log_probs, paths


@inlined
def _origins(alpha, transposed, t, state, share):
    """Fill ``share`` with p(z_t = i | z_{t+1} = state, x_1..x_t) from log-posteriors ``alpha``."""
    top = -np.inf
    for i in range(len(share)):
        share[i] = alpha[t, i] + transposed[state, i]
        top = max(top, share[i])
    total = 0.0
    for i in range(len(share)):
        share[i] = np.exp(share[i] - top)
        total += share[i]
    for i in range(len(share)):
        share[i] /= total


@compiled
def draw_paths(alpha, transposed, offsets, uniform, paths):
    """Fill ``paths`` (n_draws, n_rows) with draws from the posterior of each sequence.

    Backwards: the last state from the filtered posterior, each one before in proportion to
    α_t(i) A_ij (Chib, J. Econometrics 75, 1996). ``alpha`` (n_rows, K) and ``transposed`` (K, K),
    into each state, are logs. ``uniform`` (n_draws · n_rows,) has the numbers that decide: those of
    a sequence are neighbours, draw by draw.
    """
    share = np.empty(alpha.shape[1])
    n_draws = len(paths)
    for s in range(len(offsets) - 1):
        a, b = offsets[s], offsets[s + 1]
        for d in range(n_draws):
            first = n_draws * a + d * (b - a)
            for t in range(b - 1, a - 1, -1):
                if t == b - 1:
                    for i in range(len(share)):
                        share[i] = np.exp(alpha[t, i])
                else:
                    _origins(alpha, transposed, t, paths[d, t + 1], share)
                total, state = 0.0, 0
                for i in range(len(share)):
                    if share[i] > 0.0:
                        state = i  # the last that is possible, where rounding leaves a rest
                        total += share[i]
                        if total > uniform[first + t - a]:
                            break
                paths[d, t] = state


@compiled
def draw_chain(start, rows, uniform, path):
    """Fill a path (T,) from cumulative start probabilities (K,) and transitions (K, K)."""
    for t in range(len(path)):
        state = 0
        for j in range(len(start)):
            share = start[j] if t == 0 else rows[path[t - 1], j]
            if uniform[t] < share:
                state = j
                break
        path[t] = state
