r"""The kernel of exponential families with the row as sufficient statistic.

.. math:: \ln p(x \mid k) = h(x) + \sum_d (x_d\, a_{kd} + b_{kd}),

so the log-densities of all states are one matrix product, and the statistics, the weight that was
observed :math:`n_{kd} = \sum r_k [x_d\ \text{observed}]` and the sum
:math:`s_{kd} = \sum r_k x_d`, are another. A missing value drops out of every sum.

A state may exclude values, such as a count above zero under the rate zero; their products would be
0 · ∞. A second linear function counts the excluded values of a row; where it is positive, the
log-density is set to −∞ afterwards.
"""

import numpy as np

from skvae.blocks import block_rows
from skvae.gaussian.block import Workspace


class ExponentialFamilyKernel:
    """Log-densities and sums of rows under K states; see the module.

    Parameters
    ----------
    slopes, constants : ndarray of shape (n_components, n_features)
        a and b, finite; zero where a value is excluded or certain.
    excluded : tuple of two ndarrays of shape (n_components, n_features) or None
        Slopes and constants of the number of excluded values: above zero is impossible. None
        excludes no value.
    base : callable or None
        ``(x (D, n), largest of x) → h (n,)``, in nats; a missing value is 0 in x. None is h = 0.
    """

    def __init__(self, slopes, constants, excluded, base=None):
        self._coefficients = _stack(slopes, constants)
        self._excluding = ()
        if excluded is not None:
            some = (excluded[0] != 0).any(axis=1) | excluded[1].any(axis=1)
            self._excluding = np.flatnonzero(some)
            self._excluded = _stack(*(part[some] for part in excluded))
        self._base = base
        self._shape = slopes.shape
        self.block_rows = block_rows(self._coefficients.shape[1] + 2 * len(slopes))

    def workspace(self):
        """Return memory for one block: the terms [1, x, observed], and log-densities."""
        return Workspace()

    def blocks(self, X, workspace):
        """Yield (slice(None), block): all rows are one block, also those with missing values."""
        n_components, n_features = self._shape
        terms, out = workspace.cut(len(X), 1 + 2 * n_features, n_components)
        terms[0] = 1.0
        x, observed = terms[1 : 1 + n_features], terms[1 + n_features :]
        np.copyto(x, X.T)
        used, largest = slice(0, 1 + n_features), x.max(initial=0.0)
        if np.isnan(largest):
            missing = np.isnan(x)
            x[missing] = 0.0
            np.subtract(1.0, missing, out=observed)
            used, largest = slice(1, None), x.max(initial=0.0)
        yield slice(None), _ExponentialFamilyBlock(self, terms, used, largest, out)

    def log_density(self, terms, used, largest, out):
        """Fill ``out`` with the log-densities of a block, whose largest value is given."""
        np.matmul(self._coefficients[:, used], terms[used], out=out)
        if self._base is not None:
            out += self._base(terms[1 : 1 + self._shape[1]], largest)
        if len(self._excluding):
            excluded = self._excluded[:, used] @ terms[used]
            out[self._excluding] = np.where(excluded > 0, -np.inf, out[self._excluding])

    def sums(self):
        """Return empty sums (2, D, K): the weight observed, and the sums of the rows."""
        return np.zeros((2, *self._shape[::-1]))

    def finish(self, sums):
        """Return the statistics (2, K, D)."""
        return sums.swapaxes(1, 2)


class _ExponentialFamilyBlock:
    """A block of rows, as the terms of a ExponentialFamilyKernel."""

    __slots__ = ("_kernel", "_largest", "_out", "_terms", "_used")

    def __init__(self, kernel, terms, used, largest, out):
        self._kernel = kernel
        self._terms = terms
        self._used = used
        self._largest = largest
        self._out = out

    def log_density(self):
        """Return the log-densities (K, n), in nats."""
        self._kernel.log_density(self._terms, self._used, self._largest, self._out)
        return self._out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the sums in place."""
        n_features = sums.shape[1]
        product = self._terms[self._used] @ resp.T
        if self._used.start:
            sums[1] += product[:n_features]
            sums[0] += product[n_features:]
        else:
            sums[0] += product[0]
            sums[1] += product[1:]


def _stack(slopes, constants):
    """Return the coefficients of [1, x, observed]; a block uses either the first or the last."""
    return np.concatenate([constants.sum(axis=1, keepdims=True), slopes, constants], axis=1)
