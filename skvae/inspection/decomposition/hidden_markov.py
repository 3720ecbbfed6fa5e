r"""The terms of the bound of a hidden Markov model, for each row of all sequences.

With filtered posteriors :math:`\alpha_t`, smoothed ones :math:`\gamma_t` and transitions A, the
posterior of a state given the next is

.. math:: B_t(i \mid j) = p(z_t = i \mid z_{t+1} = j, x) = p(z_t = i \mid z_{t+1} = j, x_{1:t})
          \propto \alpha_t(i) A_{ij}, \qquad \xi_t(i, j) = B_t(i \mid j)\, \gamma_{t+1}(j),

with the transitions into row t + 1, which may be other ones in each row,

because :math:`z_t` is independent of the rows after t given :math:`z_{t+1}`. By the chain rule the
entropy of the path is

.. math:: H(z_{1:T} \mid x) = H(\gamma_T)
          + \sum_{t<T} \sum_j \gamma_{t+1}(j)\, H(B_t(\cdot \mid j)) .

Reference: Rabiner (1989), Proc. IEEE 77; Hernando, Crespi & Cybenko (2005), IEEE Trans. Inf. Theory
51.
"""

import numpy as np

from skvae.blocks import as_sequences, workers
from skvae.inspection.decomposition.expectations import entropies, expectations, rows_of

_PAIRS = 1 << 20  # numbers in a block of (t, K, K)


def chain_terms(estimator, X, groups, posterior):
    """Return the Sequences, and (expected_joint, entropy, log_evidence) of their rows.

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
    """
    log_evidence = estimator.score_samples(X, groups=groups)  # it checks X and groups, too
    sequences = as_sequences(X, groups, rows_of, estimator.n_features_in_)
    rows, offsets = sequences.X, sequences.offsets
    if sequences.listed:
        log_evidence = np.concatenate(log_evidence)
    log_density = _log_density(estimator, rows, offsets)
    same = posterior is estimator
    log_density_q = log_density if same else _log_density(posterior, rows, offsets)
    log_start, log_transmat = _log_chain(estimator, rows, offsets)
    chain_q = (log_start, log_transmat) if same else _log_chain(posterior, rows, offsets)
    log_filtered, smoothed = _posterior(*chain_q, log_density_q, offsets)
    begins, ends = offsets[:-1], offsets[1:] - 1
    expected = expectations(smoothed, log_density)
    expected[begins] += expectations(smoothed[begins], log_start)
    entropy = np.zeros(len(expected))
    entropy[ends] = entropies(smoothed[ends])
    before_another = np.delete(np.arange(len(rows)), ends)
    step = max(1, _PAIRS // len(log_start) ** 2)
    for start in range(0, len(before_another), step):
        now = before_another[start : start + step]
        backward = _backward(log_filtered[now], _into(now + 1, chain_q[1]))
        pairs = np.exp(backward) * smoothed[now + 1, None, :]
        expected[now + 1] += expectations(pairs, _into(now + 1, log_transmat))
        entropy[now] = -expectations(pairs, backward)
    return sequences, (expected, entropy, np.asarray(log_evidence, np.float64))


def _log_density(chain, rows, offsets):
    """Return ln p(x_t | z_t), and the earlier rows if it depends on them, (n, K)."""
    if hasattr(chain, "emission_"):
        return chain.emission_.log_density(rows)
    return chain.log_emissions(rows, groups=_groups(offsets))


def _log_chain(chain, rows, offsets):
    """Return ln π (K,), and ln A (K, K), or (n, K, K) if transitions depend on earlier rows."""
    with np.errstate(divide="ignore"):
        log_start = np.log(chain.startprob_)
        if not hasattr(chain, "net_") or chain.net_.module_.model.transition_network is None:
            return log_start, np.log(chain.transmat_)
    return log_start, chain.log_transitions(rows, groups=_groups(offsets))


def _groups(offsets):
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _posterior(log_start, log_transmat, log_density, offsets):
    """Return ln α_t (n, K) and γ_t (n, K)."""
    # These compile their kernels when they are imported.
    from skvae.chain import algorithms
    from skvae.chain.varying import VaryingBlock

    arguments = log_start, log_transmat, log_density, offsets
    if log_transmat.ndim == 3:
        block = VaryingBlock(*arguments)
        with np.errstate(divide="ignore"):
            log_filtered = np.log(block.filtered())
        return log_filtered, block.smooth().posterior
    with workers() as pool:
        log_filtered = algorithms.filtered(*arguments, pool=pool, logs=True)
        return log_filtered, algorithms.smooth(*arguments, pool=pool).posterior


def _into(rows, log_transmat):
    """Return ln A of the transitions into some rows, (n, K, K) or (K, K)."""
    return log_transmat if log_transmat.ndim == 2 else log_transmat[rows]


def _backward(log_filtered, log_transmat):
    """Return ln B_t(i | j), (n, K, K): −inf where j cannot come next."""
    # i first: NumPy is slow at sums over a short axis in the middle.
    each = log_transmat.ndim == 3
    transitions = np.moveaxis(log_transmat, 0, 1) if each else log_transmat[:, None, :]
    joint = log_filtered.T[:, :, None] + transitions
    total = np.logaddexp.reduce(joint, axis=0)
    return np.moveaxis(joint - np.where(total > -np.inf, total, 0.0), 0, 1)
