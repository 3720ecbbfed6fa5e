r"""The E step of a mixture and its row-wise relatives, block by block.

With log-densities :math:`\ell_{nk} = \ln \pi_k + \ln N(x_n \mid m_k, \Sigma_k)` from a kernel,
:math:`\ln p(x_n) = \ln \sum_k e^{\ell_{nk}}` and :math:`r_{nk} = e^{\ell_{nk}} / p(x_n)`.
No array of n_samples × n_components is made, but where it is what was asked for.
"""

from collections import deque

import numpy as np

from skvae.blocks import even_block, ranges


def _block_size(rows, kernel):
    """Return the rows of a block: whole cache lines, which makes the E step 5 to 8 % faster."""
    return min(-(-even_block(rows.n_rows, kernel.block_rows) // 8) * 8, kernel.block_rows)


def normalize(log_joint):
    """Turn log-joints (K, n) into responsibilities in place; return ln p of each row, in nats.

    A row that no component can have produced has ln p = −inf and the uniform distribution over the
    components that are nearest, which is all of them.
    """
    top = log_joint.max(axis=0)
    possible = np.isfinite(top)
    if not possible.all():
        log_joint[:, ~possible] = 0.0
        top[~possible] = 0.0
    log_joint -= top
    np.exp(log_joint, out=log_joint)
    total = log_joint.sum(axis=0)
    log_joint *= 1.0 / total
    log_p = np.log(total, out=total)
    log_p += top
    if not possible.all():
        log_p[~possible] = -np.inf
    return log_p


class Expectation:
    """Kernel sums and the log-likelihood of the rows that made them; they add.

    Parameters
    ----------
    sums : KernelSums or None
        The sums; None where only the likelihood was asked for.
    log_likelihood : float
        Weighted, in nats.
    spare : deque
        Where sums go that were added to others.
    """

    __slots__ = ("log_likelihood", "spare", "sums")

    def __init__(self, sums, log_likelihood, spare):
        self.sums = sums
        self.log_likelihood = log_likelihood
        self.spare = spare

    def __iadd__(self, other):
        if self.sums is not None:
            self.sums += other.sums
            self.spare.append(other.sums.clear())
        self.log_likelihood += other.log_likelihood
        return self


def expect(rows, kernel, pool, *, statistics=True):
    """Return the expected statistics of the rows and their log-likelihood.

    Parameters
    ----------
    rows : Rows
        The data with their weights.
    kernel : GaussianKernel
        The components, with log weights as offsets.
    pool : Workers
        The threads.
    statistics : bool
        Whether the statistics are wanted.

    Returns
    -------
    statistics : GaussianStatistics or None
        About the kernel's means.
    log_likelihood : float
        Σ w ln p(x), in nats.
    """
    return rows.sum(_expect, pool, kernel, statistics)


def _expect(rows, pool, kernel, statistics):
    size = _block_size(rows, kernel)
    spare = deque()

    def first_sums():
        # Used again: with many features, fresh memory takes longer than what is added to it.
        try:
            return spare.pop()
        except IndexError:
            return kernel.sums()

    def over(start, stop):
        workspace = kernel.workspace()
        sums = first_sums() if statistics else None
        log_likelihood = 0.0
        for a, b in ranges(start, stop, size):
            X, weight = rows.take(a, b)
            for part, block in kernel.blocks(X, workspace):
                resp = block.log_density()
                log_p = normalize(resp)
                share = None if weight is None else weight[part]
                log_likelihood += log_p.sum() if share is None else log_p @ share
                if statistics:
                    if share is not None:
                        resp *= share
                    block.accumulate(sums, resp)
        return Expectation(sums, log_likelihood, spare)

    total = pool.sum(over, rows.n_rows, size)
    found = kernel.finish(total.sums) if statistics else None
    return found, float(total.log_likelihood)


def fill_rows(rows, kernel, pool, out, compute):
    """Fill ``out`` row by row with ``compute(log_joint, block)`` of each block, in place.

    Parameters
    ----------
    rows : Rows
        The data.
    kernel : GaussianKernel
        The components, with log weights as offsets.
    pool : Workers
        The threads.
    out : ndarray of shape (n_samples, ...)
        The result.
    compute : callable
        ``(log_joint (K, n), block) → array (n, ...)``; may overwrite the log-joint.
    """

    size = _block_size(rows, kernel)

    def over(start, stop):
        workspace = kernel.workspace()
        for a, b in ranges(start, stop, size):
            X, _ = rows.take(a, b)
            index = np.arange(a, b) if rows.order is None else rows.order[a:b]
            for part, block in kernel.blocks(X, workspace):
                with np.errstate(over="ignore"):  # −1e300 is −inf in float32
                    out[index[part]] = compute(block.log_density(), block)

    for _ in pool.map(over, rows.n_rows, size):
        pass
