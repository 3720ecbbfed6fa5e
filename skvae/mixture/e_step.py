r"""The E step of a mixture, and results for each row, block by block.

With log-densities :math:`\ell_{nk} = \ln \pi_k + \ln N(x_n \mid m_k, \Sigma_k)` from a kernel,
:math:`\ln p(x_n) = \ln \sum_k e^{\ell_{nk}}` and :math:`r_{nk} = e^{\ell_{nk}} / p(x_n)`.
No array of n_samples × n_components is made, except as a result that the user requested.
"""

from collections import deque

import numpy as np

from skvae.blocks import DistributedRows, even_block, ranges

_LEAST_SINGLE = np.float32(-80.0)  # e^-80 is 1.8e-35


def normalize(log_joint, _block=None):
    """Turn log-joints (K, n) into responsibilities in place; return ln p of each row, in nats.

    A row that no component can have produced has ln p = −inf, and the uniform distribution over all
    components, which are equally far from it.
    """
    if len(log_joint) == 1:
        log_p = log_joint[0].copy()
        log_p[np.isnan(log_p)] = -np.inf
        log_joint[:] = 1.0
        return log_p
    top = log_joint.max(axis=0)
    possible = np.isfinite(top)
    if not possible.all():
        log_joint[:, ~possible] = 0.0
        top[~possible] = 0.0
    log_joint -= top
    if log_joint.dtype == np.float32:  # products with numbers below 1e-38 are slow
        np.maximum(log_joint, _LEAST_SINGLE, out=log_joint)
    np.exp(log_joint, out=log_joint)
    total = log_joint.sum(axis=0)
    log_joint *= 1.0 / total
    log_p = np.log(total, out=total)
    log_p += top
    if not possible.all():
        log_p[~possible] = -np.inf
    return log_p


def expect(rows, kernel, pool, *, statistics=True):
    """Return the expected statistics of the rows and their log-likelihood.

    Parameters
    ----------
    rows : Rows or DistributedRows
        The data with their weights.
    kernel : GaussianKernel
        The components, with log weights as offsets.
    pool : Workers
        The threads.
    statistics : bool
        Whether the statistics are needed.

    Returns
    -------
    statistics : GaussianStatistics or None
        About the kernel's means.
    log_likelihood : float
        Σ w ln p(x), in nats.
    """
    if isinstance(rows, DistributedRows):
        return rows.sum(_expect_chunk, pool, kernel, statistics)
    size = even_block(rows.n_rows, kernel.block_rows)
    work = kernel.row_work if rows.order is None else np.inf  # rows with NaN take many times more
    # Sums that were added to the total are cleared and filled by a later chunk: with many features
    # fresh memory takes longer than the addition.
    spare = deque()

    def over(start, stop):
        """Return the kernel sums and the log-likelihood of a chunk of rows."""
        sums, log_likelihood = None, 0.0
        if statistics:
            try:
                sums = spare.pop()
            except IndexError:
                sums = kernel.sums()
        try:
            workspace = pool.spare.pop()
        except IndexError:
            workspace = kernel.workspace()
        for a, b in ranges(start, stop, size):
            X, weight = rows.take(a, b)
            for part, block in kernel.blocks(X, workspace):
                resp = block.log_density()
                log_p = normalize(resp)
                share = None if weight is None else weight[part]
                total_of = log_p.sum(dtype=np.float64) if share is None else log_p @ share
                log_likelihood += total_of
                if statistics:
                    if share is not None:
                        resp *= share
                    block.accumulate(sums, resp)
        pool.spare.append(workspace)
        return sums, log_likelihood

    total, log_likelihood = None, 0.0
    for sums, share in pool.map(over, rows.n_rows, size, work):
        log_likelihood += share
        if total is None:
            total = sums
        elif statistics:
            total += sums
            spare.append(sums.clear())
    return kernel.finish(total) if statistics else None, float(log_likelihood)


def _expect_chunk(rows, pool, kernel, statistics):
    return expect(rows, kernel, pool, statistics=statistics)


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
    size = even_block(rows.n_rows, kernel.block_rows)
    work = kernel.row_work if rows.order is None else np.inf  # rows with NaN take many times more

    def over(start, stop):
        try:
            workspace = pool.spare.pop()
        except IndexError:
            workspace = kernel.workspace()
        for a, b in ranges(start, stop, size):
            X, _ = rows.take(a, b)
            own = out[a:b] if rows.order is None else None
            for part, block in kernel.blocks(X, workspace):
                found = compute(block.log_density(), block)
                with np.errstate(over="ignore"):  # −1e300 is −inf in float32
                    if own is not None:
                        own[part] = found
                    else:
                        out[rows.order[a:b][part]] = found
        pool.spare.append(workspace)

    for _ in pool.map(over, rows.n_rows, size, work):
        pass
