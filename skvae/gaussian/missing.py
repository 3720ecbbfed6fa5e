r"""Gaussian log-densities and expected statistics of rows with missing values.

The log-density of a row is that of its observed features ``o``, :math:`\ln N(x_o \mid m_o,
\Sigma_{oo})`. Its missing features ``m`` enter the statistics by their conditional moments given
component k (Little & Rubin, Statistical Analysis with Missing Data, section 11.2):

.. math:: E[x_m \mid x_o] = m_m + \Sigma_{mo} \Sigma_{oo}^{-1} (x_o - m_o), \qquad
          C = \Sigma_{mm} - \Sigma_{mo} \Sigma_{oo}^{-1} \Sigma_{om} .

Rows with the same missing features (a pattern) are computed together. A pattern's
:math:`\Sigma_{oo}` is embedded in a D × D matrix with the rows and columns of the identity for
missing features: its Cholesky factor and determinant are those of :math:`\Sigma_{oo}`, and one call
factors all patterns.
"""

import numpy as np

from skvae.ascent.loop import Collapse
from skvae.blocks import missing_patterns, pattern_order
from skvae.gaussian.covariance import LOG_2PI

_MAX_NUMBERS = 1 << 19  # numbers in the largest array of a block: (patterns, K, D, max(D, rows))


def missing_blocks(kernel, X):
    """Yield (rows, block) of the rows of X, each of which has a missing value.

    Parameters
    ----------
    kernel : GaussianKernel
        The components.
    X : ndarray of shape (n, n_features)
        Rows with NaN. If rows with equal patterns are not adjacent, they are reordered.

    Yields
    ------
    rows : slice or ndarray of int
        The rows of X in the block.
    block : FeaturewiseBlock or PatternBlock
        The rows, with the methods ``log_density()`` and ``accumulate(sums, resp)``.
    """
    if kernel.structure.name in ("diag", "spherical"):
        yield slice(None), FeaturewiseBlock(kernel, X)
        return
    covariances = kernel.structure.covariances_of(kernel.factors)
    covariances = covariances.reshape(-1, *covariances.shape[-2:])
    n_components, n_features = kernel.means.shape
    order, changes = None, _changes(X)
    # In time order the pattern changes often: a factor for each run would be almost one a row.
    if 8 * len(changes) > len(X) and len(changes) >= len(missing_patterns(X)[1]):
        order = pattern_order(X)
        X = X[order]
        changes = _changes(X)
    longest = max(1, _MAX_NUMBERS // (n_components * n_features))
    starts = [
        a
        for first, last in zip([0, *changes], [*changes, len(X)], strict=True)
        for a in range(first, last, longest)
    ]
    for runs in _batches(np.array([*starts, len(X)]), n_components * n_features, n_features):
        rows = slice(runs[0], runs[-1])
        block = PatternBlock(kernel, covariances, X, runs)
        yield rows if order is None else order[rows], block


def _changes(X):
    """Return the indices of rows with another pattern of NaN than the row before."""
    missing = np.isnan(X)
    return np.flatnonzero((missing[1:] != missing[:-1]).any(axis=1)) + 1


def _batches(bounds, numbers, n_features):
    """Yield slices of the bounds of runs such that the runs of a slice have similar lengths."""
    first, longest = 0, 0
    for i in range(len(bounds) - 1):
        length = bounds[i + 1] - bounds[i]
        widest = max(longest, length)
        too_large = (i + 1 - first) * numbers * max(n_features, widest) > _MAX_NUMBERS
        unlike = longest > 2 * length + 4 or length > 2 * longest + 4
        if i > first and (too_large or unlike):
            yield bounds[first : i + 1]
            first, widest = i, length
        longest = widest
    yield bounds[first:]


class _IncompleteBlock:
    """Rows with missing values, features-major, zero where missing."""

    def __init__(self, kernel, X):
        self.kernel = kernel
        self.observed = ~np.isnan(X.T)
        self.x = np.where(self.observed, X.T, 0.0).astype(np.float64, copy=False)
        self.constant = -0.5 * LOG_2PI * self.observed.sum(axis=0)

    def log_density(self):
        """Return the observed rows' log-densities plus offsets, shape (K, n), in nats."""
        return self.peak() - 0.5 * self.distance()

    def _fill(self, expected):
        """Return the rows (n, D) with the expected values (D, n) in the missing places."""
        return np.where(self.observed, self.x, expected).T


class FeaturewiseBlock(_IncompleteBlock):
    """Incomplete rows under diagonal or spherical covariances: features are independent."""

    def _factors(self):
        factors = self.kernel.factors
        n_components, n_features = self.kernel.means.shape
        return np.broadcast_to(factors.reshape(n_components, -1), (n_components, n_features))

    def _deviation(self, k):
        return np.where(self.observed, self.x - self.kernel.means[k][:, None], 0.0)

    def peak(self):
        """Return the log-densities at the means of the observed values, plus offsets, (K, n)."""
        out = np.log(self._factors()) @ self.observed + self.constant
        return out + self.kernel.offsets[:, None]

    def distance(self):
        """Return the observed values' squared Mahalanobis distances from the means, (K, n)."""
        out = np.empty((len(self.kernel.means), self.x.shape[1]))
        with np.errstate(over="ignore"):  # a row beyond 1e154 is at infinite distance
            for k, factor in enumerate(self._factors()):
                np.matmul(factor**2, self._deviation(k) ** 2, out=out[k])
        return out

    def accumulate(self, sums, resp, conditional=None):
        """Add the expected rows, weighted by resp (K, n), to the sums in place.

        ``conditional`` (K, n) weighs the conditional covariances, if not resp.
        """
        missing = ~self.observed
        conditional = resp if conditional is None else conditional
        for k, factor in enumerate(self._factors()):
            deviation = self._deviation(k)
            sums.counts[k] += resp[k].sum()
            sums.sums[k] += deviation @ resp[k]
            second = deviation**2 @ resp[k] + (missing @ conditional[k]) / factor**2
            sums.scatter[k] += second if sums.scatter.ndim == 2 else second.mean()

    def expectation(self, resp):
        """Return the expected rows given their observed values, shape (n, D)."""
        return self._fill(self.kernel.means.T @ resp)


class PatternBlock(_IncompleteBlock):
    """Incomplete rows under full covariances, padded to (patterns, rows).

    Parameters
    ----------
    kernel : GaussianKernel
        The components.
    covariances : ndarray of shape (K or 1, D, D)
        The covariances; one if all components share it.
    X : ndarray of shape (n, n_features)
        Rows; the block consists of those from ``runs[0]`` to ``runs[-1]``.
    runs : ndarray of int
        The index of the first row of each run of one pattern, and the end of the last run.
    """

    def __init__(self, kernel, covariances, X, runs):
        super().__init__(kernel, X[runs[0] : runs[-1]])
        lengths = np.diff(runs)
        column = np.arange(lengths.max())
        self.valid = column < lengths[:, None]
        self.index = np.where(self.valid, (runs[:-1] - runs[0])[:, None] + column, 0)
        seen = self.observed[:, runs[:-1] - runs[0]].T
        both = (seen[:, :, None] & seen[:, None, :])[:, None]
        # In units of the features' spread, so that large and small units do not make it singular.
        _, scale = kernel.spread()
        embedded = np.where(both, covariances / (scale[:, None] * scale), np.eye(len(scale)))
        try:
            lower = np.linalg.cholesky(embedded)
        except np.linalg.LinAlgError:
            raise Collapse("the covariance of some observed features is singular") from None
        self.half_log_det = -np.log(np.diagonal(lower, axis1=-2, axis2=-1)).sum(axis=-1)
        self.half_log_det -= (seen @ np.log(scale))[:, None]
        self.whiten = np.linalg.inv(lower) / scale
        inverse = np.where(both, np.swapaxes(self.whiten, -1, -2) @ self.whiten, 0.0)
        regression = covariances @ inverse
        # Exact where observed: the value itself, without uncertainty.
        keep = np.eye(len(scale)) * seen[:, None, None, :]
        self.regression = np.where(seen[:, None, :, None], keep, regression)
        unseen = (~seen[:, :, None] & ~seen[:, None, :])[:, None]
        self.conditional = np.where(unseen, covariances - regression @ covariances, 0.0)
        rows = self.x[:, self.index].swapaxes(0, 1)[:, None]
        self.deviation = np.where(
            seen[:, None, :, None], rows - kernel.means[None, :, :, None], 0.0
        )

    def peak(self):
        """Return the log-densities at the means of the observed values, plus offsets, (K, n)."""
        return (
            self._rows(self.half_log_det[..., None]) + self.constant + self.kernel.offsets[:, None]
        )

    def distance(self):
        """Return the observed values' squared Mahalanobis distances from the means, (K, n)."""
        with np.errstate(over="ignore"):  # a row beyond 1e154 is at infinite distance
            white = self.whiten @ self.deviation
            return self._rows(np.einsum("pkdn,pkdn->pkn", white, white))

    def _rows(self, padded):
        """Return values padded to (patterns, K or 1, rows) without the padding, shape (K, n)."""
        shape = (len(padded), len(self.kernel.means), self.valid.shape[1])
        return np.broadcast_to(padded, shape).swapaxes(0, 1)[:, self.valid]

    def _padded(self, resp):
        return np.where(self.valid, resp[:, self.index], 0.0).swapaxes(0, 1)

    def accumulate(self, sums, resp, conditional=None):
        """Add the expected rows, weighted by resp (K, n), to the sums in place.

        ``conditional`` (K, n) weighs the conditional covariances, if not resp.
        """
        padded = self._padded(resp)
        deviation = self.regression @ self.deviation
        weighted = deviation * padded[:, :, None, :]
        per_pattern = padded.sum(axis=-1)
        sums.counts += per_pattern.sum(axis=0)
        sums.sums += weighted.sum(axis=(0, -1))
        second = (weighted @ deviation.swapaxes(-1, -2)).sum(axis=0)
        if conditional is not None:
            per_pattern = self._padded(conditional).sum(axis=-1)
        second += (self.conditional * per_pattern[:, :, None, None]).sum(axis=0)
        sums.scatter += second if sums.scatter.ndim == 3 else second.sum(axis=0)

    def expectation(self, resp):
        """Return the expected rows given their observed values, shape (n, D)."""
        expected = self.regression @ self.deviation + self.kernel.means[None, :, :, None]
        filled = np.einsum("pkdn,pkn->dpn", expected, self._padded(resp))[:, self.valid]
        return self._fill(filled)
