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
    log_filtered, smoothed, log_transmat_q = _posterior(posterior, log_density_q, offsets)
    begins, ends = offsets[:-1], offsets[1:] - 1
    with np.errstate(divide="ignore"):
        log_start, log_transmat = np.log(estimator.startprob_), np.log(estimator.transmat_)
    expected = expectations(smoothed, log_density)
    expected[begins] += expectations(smoothed[begins], log_start)
    entropy = np.zeros(len(expected))
    entropy[ends] = entropies(smoothed[ends])
    before_another = np.delete(np.arange(len(rows)), ends)
    step = max(1, _PAIRS // len(log_start) ** 2)
    for start in range(0, len(before_another), step):
        now = before_another[start : start + step]
        backward = _backward(log_filtered[now], log_transmat_q)
        pairs = np.exp(backward) * smoothed[now + 1, None, :]
        expected[now + 1] += expectations(pairs, log_transmat)
        entropy[now] = -expectations(pairs, backward)
    return sequences, (expected, entropy, np.asarray(log_evidence, np.float64))


def _log_density(chain, rows, offsets):
    """Return ln p(x_t | z_t), and the earlier rows if it depends on them, (n, K)."""
    if hasattr(chain, "emission_"):
        return chain.emission_.log_density(rows)
    groups = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    return chain.log_emissions(rows, groups=groups)


def _posterior(chain, log_density, offsets):
    """Return ln α_t (n, K), γ_t (n, K) and ln A (K, K) of a fitted chain."""
    from skvae.chain import algorithms  # it compiles its kernels when it is imported

    with np.errstate(divide="ignore"):
        log_start, log_transmat = np.log(chain.startprob_), np.log(chain.transmat_)
    arguments = log_start, log_transmat, log_density, offsets
    with workers() as pool:
        log_filtered = algorithms.filtered(*arguments, pool=pool, logs=True)
        smoothed = algorithms.smooth(*arguments, pool=pool).posterior
    return log_filtered, smoothed, log_transmat


def _backward(log_filtered, log_transmat):
    """Return ln B_t(i | j), (n, K, K): −inf where j cannot come next."""
    # i first: NumPy is slow at sums over a short axis in the middle.
    joint = log_filtered.T[:, :, None] + log_transmat[:, None, :]
    total = np.logaddexp.reduce(joint, axis=0)
    return np.moveaxis(joint - np.where(total > -np.inf, total, 0.0), 0, 1)
