r"""The kernel: log-densities of a block of rows, and expected statistics given responsibilities.

With :math:`P = \Sigma^{-1} = U U^T`, the log-density of a component is linear in features of the
row,

.. math:: \ln N(x \mid m, \Sigma) = \theta^T \varphi(x), \qquad
          \varphi(x) = [1,\; x,\; x_i x_j\,(i \le j)],

so the log-densities of all components are one matrix product :math:`\Theta \Phi` and their
statistics another, :math:`R \Phi^T` (the expanded way). Both suffer from cancellation: their
absolute error is about :math:`\varepsilon \lVert P \rVert \lVert x \rVert^2` after centring, with
features in units of their spread. This bound is computed for each component and block. Where it
exceeds ``TOLERANCE`` the component uses the direct way, :math:`\lVert U^T (x - m) \rVert^2` and
:math:`\sum r (x-m)(x-m)^T`. The error of the direct way does not grow with the distance between
components. A small block uses the direct way for all components, and nothing is expanded.

Blocks are features-major: (D, n) arrays, so that products and sums over components are contiguous.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from skvae.blocks import block_rows, ranges
from skvae.gaussian.block import Block, SmallBlock, Workspace
from skvae.gaussian.covariance import EPS, LOG_2PI, STRUCTURES
from skvae.gaussian.missing import missing_blocks
from skvae.gaussian.statistics import GaussianStatistics

TOLERANCE = 1e-9  # nats: the largest rounding error of a row's log-density
_MAX_EXPANDED = 52  # features; measured: above it triangular products are faster
# Numbers (K · D · n) up to which a block is small: to expand the kernel would take longer than the
# densities themselves by the direct way.
_SMALL = 1 << 13
_NEGLIGIBLE = 1e-30  # a share of a component's largest responsibility that changes no sum
# Rows of a block: its temporaries should stay in the second-level cache (measured: tied takes twice
# as long with 16384 rows of many numbers, chains of few states half as long with rows of few).
_LONGEST, _SECOND_LEVEL = 4096, 1 << 20
_PANEL = 32  # columns of U multiplied at a time: 5/8 of the work of a square product at D = 128
# Columns of U of several components are one product of about this height. Measured: 65 to 70
# GFlop/s where 32 rows make 50 to 57, and with 16 components the zeros left out are 9/16.
_PANEL_ROWS = 128


@dataclass(slots=True)
class KernelSums:
    """Sums over rows, in the kernel's own terms; the blocks of a chunk are added in place.

    Parameters
    ----------
    expanded : ndarray of shape (n_components, n_terms)
        Sums of the features of the expanded components.
    counts, sums, scatter : ndarray
        Statistics of the direct components about their means, in the structure's shape.
    rest : ndarray
        Second moments of the expanded components that are not among the features.
    """

    expanded: np.ndarray
    counts: np.ndarray
    sums: np.ndarray
    scatter: np.ndarray
    rest: np.ndarray

    def __iadd__(self, other):
        self.expanded += other.expanded
        self.rest += other.rest
        if other.counts.any():  # usually no component is direct, and this memory is never written
            self.counts += other.counts
            self.sums += other.sums
            self.scatter += other.scatter
        return self

    def clear(self):
        """Return self with all sums set to zero."""
        self.expanded[:] = 0.0
        self.rest[:] = 0.0
        if self.counts.any():
            for part in (self.counts, self.sums, self.scatter):
                part[:] = 0.0
        return self


class Expansion(NamedTuple):
    """A kernel prepared for the expanded way.

    Parameters
    ----------
    center, scale : ndarray of shape (n_features,)
        The expected location of the rows, from the kernel's ``spread``.
    y_means : ndarray of shape (n_components, n_features)
        The means less the centre.
    coefficients : ndarray of shape (n_components, n_terms)
        Θ.
    norms : tuple of ndarray
        Terms of the error bound: of second and of first order, and constant.
    """

    center: np.ndarray
    scale: np.ndarray
    y_means: np.ndarray
    coefficients: np.ndarray
    norms: tuple


class GaussianKernel:
    """Log-densities and expected statistics under K Gaussian components with one structure.

    Parameters
    ----------
    means : ndarray of shape (n_components, n_features)
        The means.
    precisions_cholesky : ndarray
        The factors U in the structure's shape.
    offsets : ndarray of shape (n_components,)
        Added to each component's log-density; log weights for a mixture. −inf is allowed.
    spread : callable
        Returns the expected location of the rows, two ndarrays of shape (n_features,): a centre and
        a standard deviation for each feature. They decide which way is used, never the result, and
        are not computed for small blocks.
    expand : bool
        Whether the expanded way may be used.

    Notes
    -----
    A subclass has ``_n_terms``, the number of features φ; ``_expand``, which returns the
    coefficients of x and of the features of second order, and the norm of the precisions that
    bounds their error; ``fill``, ``whiten``, ``distance``, ``add_scatter``, ``add_scatters`` and
    ``_scatter``. If it has second moments that are not among the features, it sets ``has_rest``,
    and has ``add_rest`` and ``accumulate_rest``.
    """

    covariance_type = None
    has_rest = False  # whether some second moments are not among the features
    _n_scratch = 0  # numbers of scratch memory for each row of a block

    def __init__(self, means, precisions_cholesky, offsets, spread, *, expand=True):
        n_components, n_features = means.shape
        self.structure = STRUCTURES[self.covariance_type]
        self.means = means
        self.factors = precisions_cholesky
        self.offsets = offsets
        self.spread = spread
        # −inf in a matrix product would set the floating-point flags: it is written afterwards.
        self.absent = np.flatnonzero(offsets == -np.inf)
        if len(self.absent):
            offsets = np.where(offsets == -np.inf, 0.0, offsets)
        half_log_det = self.structure.half_log_det(precisions_cholesky, n_features)
        self.constants = offsets + (half_log_det - 0.5 * n_features * LOG_2PI)
        self._tolerance = TOLERANCE if expand else -1.0
        self.n_terms = self._n_terms(n_features)
        numbers = self.n_terms + 2 * n_components
        n_rows = min(block_rows(numbers), max(_LONGEST, _SECOND_LEVEL // (8 * numbers)))
        self.block_rows = n_rows // 8 * 8  # whole cache lines

    @cached_property
    def expansion(self):
        """Return the Expansion: it is computed for the first block that is not small."""
        center, scale = self.spread()
        y_means = self.means - center
        linear, quadratic, norm = self._expand(y_means, scale)
        constant = np.einsum("ki,ki->k", linear, y_means)
        coefficients = self._coefficients(constant, linear, quadratic)
        norms = norm, np.linalg.norm(linear * scale, axis=1), constant
        return Expansion(center, scale, y_means, coefficients, norms)

    def _coefficients(self, constant, linear, quadratic):
        one = (self.constants - 0.5 * constant)[:, None]
        return np.concatenate([one, linear, quadratic], axis=1)

    # The block --------------------------------------------------------------------------------

    def workspace(self):
        """Return memory for one block; a chunk of rows reuses it for all of its blocks."""
        return Workspace(self.block_rows, self.n_terms, len(self.means), self._n_scratch)

    def distances(self, deviation):
        """Return the squared Mahalanobis distances of deviations (K, D, n), shape (K, n)."""
        white = self.whiten(deviation)
        return np.einsum("kin,kin->kn", white, white)

    def blocks(self, X, workspace):
        """Yield (rows, block) of the rows of X, at most ``block_rows`` of them.

        ``rows`` indexes X; a block has the methods ``log_density()`` and ``accumulate(sums,
        resp)``. The complete rows are one block; rows with NaN are divided into blocks of similar
        patterns.
        """
        block = self._load(X, workspace)
        if block is not None:
            yield slice(None), block
            return
        missing = np.isnan(X).any(axis=1)
        complete = np.flatnonzero(~missing)
        if len(complete):
            yield complete, self._load(X[complete], workspace)
        incomplete = np.flatnonzero(missing)
        for rows, block in missing_blocks(self, X[incomplete]):
            yield incomplete[rows], block

    def _load(self, X, workspace):
        """Return the rows of X (n, D) as a block, or None if there is a NaN."""
        n_rows, n_features = X.shape
        if n_rows * self.means.size <= _SMALL:
            if np.isnan(X).any():
                return None
            means = self.means[:, :, None]
            return SmallBlock(self, np.subtract(X.T, means, order="C", dtype=np.float64))
        center, scale, _, _, (quadratic, linear, constant) = self.expansion
        terms, out, scratch = workspace.cut(n_rows)
        terms[0] = 1.0
        y = terms[1 : 1 + n_features]
        if X.dtype == y.dtype:
            np.subtract(X.T, center[:, None], out=y)
        else:  # a subtraction that also converts is slower
            np.copyto(y, X.T)
            y -= center[:, None]
        # The farthest value of each feature, not the farthest row: cheaper, and never smaller.
        farthest = np.maximum(y.max(axis=1), -y.min(axis=1))
        if np.isnan(farthest).any():
            return None
        # An infinite bound, or 0 · ∞, counts as too large.
        with np.errstate(over="ignore", invalid="ignore"):
            reach = np.sqrt(((farthest / scale) ** 2).sum())
            bound = EPS * (quadratic * reach**2 + 2 * linear * reach + constant)
        direct = np.flatnonzero(~(bound <= self._tolerance))
        if len(direct) < len(self.means):
            self.fill(terms[1 + n_features :], y)
        return Block(self, X, y, terms, direct, out, scratch)

    def sums(self):
        """Return empty sums."""
        n_components, n_features = self.means.shape
        return KernelSums(
            np.zeros((n_components, self.n_terms)),
            np.zeros(n_components),
            np.zeros((n_components, n_features)),
            np.zeros(self.factors.shape),
            np.zeros(self.factors.shape if self.has_rest else 0),
        )

    def finish(self, sums):
        """Return the sums as GaussianStatistics about the means."""
        counts, first, second = sums.counts.copy(), sums.sums.copy(), sums.scatter.copy()
        n = sums.expanded[:, 0]
        if n.any():
            last = 1 + self.means.shape[1]
            s, y_means = sums.expanded[:, 1:last], self.expansion.y_means
            S = self._scatter(sums.expanded[:, last:], sums.rest)
            counts += n
            first += s - n[:, None] * y_means
            second += self.structure.recenter(S, n, s, y_means)
        return GaussianStatistics(self.covariance_type, counts, first, second, self.means)


def _squares(rows):
    """Return the sum of squares of each column."""
    return np.einsum("ij,ij->j", rows, rows)


def _triangular_distance(factor, deviation):
    """Return ‖Uᵀ d‖² for each column d, by panels of U without its zeros."""
    total = np.zeros(deviation.shape[1])
    for first in range(0, len(factor), _PANEL):
        last = first + _PANEL
        total += _squares(factor[:last, first:last].T @ deviation[:last])
    return total


class FullKernel(GaussianKernel):
    """The kernel of full covariances."""

    covariance_type = "full"

    def _n_terms(self, n_features):
        return 1 + n_features + n_features * (n_features + 1) // 2

    def _expand(self, y_means, scale):
        precisions = self.structure.precisions(self.factors)
        rows, columns = np.triu_indices(self.means.shape[1])
        quadratic = -precisions[:, rows, columns]
        quadratic[:, rows == columns] *= 0.5
        linear = np.einsum("kij,kj->ki", precisions, y_means)
        scaled = precisions * (scale[:, None] * scale)
        return linear, quadratic, np.sqrt(np.einsum("kij,kij->k", scaled, scaled))

    def fill(self, quadratic, y):
        """Write the features of second order of the rows."""
        first = 0
        for i in range(len(y)):
            last = first + len(y) - i
            np.multiply(y[i:], y[i], out=quadratic[first:last])
            first = last

    def whiten(self, deviation):
        """Return Uᵀ d of the deviations (K, D, n) of each component."""
        return np.swapaxes(self.factors, -1, -2) @ deviation

    def distance(self, deviation, k):
        """Return the squared Mahalanobis distances of deviations from component k's mean."""
        return _triangular_distance(self.factors[k], deviation)

    def add_scatter(self, scatter, k, deviation, weight):
        """Add the weighted scatter of the deviations from component k's mean, in place."""
        weighted = deviation * np.sqrt(weight)
        scatter[k] += weighted @ weighted.T  # BLAS recognises a symmetric product

    def add_scatters(self, scatter, deviation, resp):
        """Add the scatter of the deviations (K, D, n) weighted by resp (K, n), in place."""
        weighted = deviation * np.sqrt(resp)[:, None]
        scatter += weighted @ weighted.swapaxes(1, 2)

    def _scatter(self, quadratic, rest):
        """Return the scatter of the expanded components about the centre."""
        n_components, n_features = self.means.shape
        rows, columns = np.triu_indices(n_features)
        scatter = np.empty((n_components, n_features, n_features))
        scatter[:, rows, columns] = quadratic
        scatter[:, columns, rows] = quadratic
        return scatter


class WideFullKernel(FullKernel):
    """The kernel of full covariances of many features, made of triangular products.

    There are D²/2 features of second order. For large D it is faster not to write them, but to
    multiply the rows by each ``U`` and to compute each component's symmetric product. The remaining
    features are [1, x]; a panel of U and the mean maps them to the deviation.
    """

    has_rest = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        n_components, n_features = self.means.shape
        self._width = min(max(_PANEL_ROWS // n_components, 8), 32)
        self._group = min(_PANEL_ROWS // self._width, n_components)
        self._n_scratch = max(n_features, self._group * self._width)
        self.block_rows = min(max((1 << 17) // self.n_terms, 256), 1024) // 8 * 8

    def _n_terms(self, n_features):
        return 1 + n_features

    @cached_property
    def _panels(self):
        n_components, n_features = self.means.shape
        return [
            (components, self._panel(components, columns))
            for components in ranges(0, n_components, self._group)
            for columns in ranges(0, n_features, self._width)
        ]

    def _panel(self, group, columns):
        """Return the map from [1, x] to some columns of some components' Uᵀ (x − m) / √2."""
        k, last = slice(*group), columns[1]
        factors = self.factors[k, :last, slice(*columns)].swapaxes(1, 2)
        panel = np.empty((*factors.shape[:2], 1 + last))
        panel[..., 1:] = factors
        panel[..., 0] = -np.einsum("kij,kj->ki", factors, self.expansion.y_means[k, :last])
        panel *= np.sqrt(0.5)
        return panel.reshape(-1, 1 + last)

    def _expand(self, y_means, scale):
        precisions = self.structure.precisions(self.factors)
        linear = np.einsum("kij,kj->ki", precisions, y_means)
        scaled = precisions * (scale[:, None] * scale)
        norm = np.sqrt(np.einsum("kij,kij->k", scaled, scaled))
        return linear, np.empty((len(linear), 0)), norm

    def _coefficients(self, constant, linear, quadratic):
        found = np.zeros((len(linear), self.n_terms))  # the rest has all other terms
        found[:, 0] = self.constants
        return found

    def fill(self, quadratic, y):
        """Write nothing."""

    def add_rest(self, out, terms, scratch):
        n_rows = terms.shape[1]
        for (first, last), panel in self._panels:
            white = np.matmul(panel, terms[: panel.shape[1]], out=scratch[: len(panel)])
            white = white.reshape(last - first, -1, n_rows)
            out[first:last] -= np.einsum("kin,kin->kn", white, white)

    def accumulate_rest(self, sums, y, resp, scratch):
        # Few calls of NumPy: each releases the interpreter lock, and waits for it afterwards.
        weighted, products = scratch[: len(y)], np.empty(sums.rest.shape)
        roots = np.sqrt(resp)
        # With many features most rows belong to one component: negligible rows are skipped.
        felt = resp > _NEGLIGIBLE * resp.max(axis=1, keepdims=True)
        sparse = 4 * felt.sum(axis=1) < 3 * resp.shape[1]
        for k, root in enumerate(roots):
            if sparse[k]:
                part = y[:, felt[k]]
                part *= root[felt[k]]
            else:
                part = np.multiply(y, root, out=weighted)
            np.matmul(part, part.T, out=products[k])  # BLAS recognises a symmetric product
        sums.rest += products

    def _scatter(self, quadratic, rest):
        return rest


class TiedKernel(FullKernel):
    """The kernel of one covariance shared by all: its quadratic term is the same for all."""

    covariance_type = "tied"

    has_rest = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._n_scratch = self.means.shape[1]

    def _n_terms(self, n_features):
        return 1 + n_features

    def _expand(self, y_means, scale):
        precision = self.structure.precisions(self.factors)
        scaled = precision * (scale[:, None] * scale)
        norm = np.sqrt(np.einsum("ij,ij->", scaled, scaled))
        return y_means @ precision, np.empty((len(self.means), 0)), norm

    def fill(self, quadratic, y):
        """Write nothing."""

    def distance(self, deviation, k):
        return _triangular_distance(self.factors, deviation)

    def add_rest(self, out, terms, scratch):
        out -= 0.5 * _triangular_distance(self.factors, terms[1:])

    def accumulate_rest(self, sums, y, resp, scratch):
        weighted = np.multiply(y, np.sqrt(resp.sum(axis=0)), out=scratch)
        sums.rest += weighted @ weighted.T

    def add_scatter(self, scatter, k, deviation, weight):
        weighted = deviation * np.sqrt(weight)
        scatter += weighted @ weighted.T

    def add_scatters(self, scatter, deviation, resp):
        weighted = (deviation * np.sqrt(resp)[:, None]).swapaxes(0, 1).reshape(len(scatter), -1)
        scatter += weighted @ weighted.T

    def _scatter(self, quadratic, rest):
        return rest


class DiagonalKernel(GaussianKernel):
    """The kernel of diagonal covariances: the features of second order are x²."""

    covariance_type = "diag"

    def _n_terms(self, n_features):
        return 1 + 2 * n_features

    def _expand(self, y_means, scale):
        precisions = self.factors**2
        norm = (precisions * scale**2).max(axis=1)
        return precisions * y_means, -0.5 * precisions, norm

    def fill(self, quadratic, y):
        """Write the features of second order of the rows."""
        np.multiply(y, y, out=quadratic)

    def whiten(self, deviation):
        """Return Uᵀ d of the deviations (K, D, n) of each component."""
        return deviation * self.factors[:, :, None]

    def distance(self, deviation, k):
        """Return the squared Mahalanobis distances of deviations from component k's mean."""
        return _squares(deviation * self.factors[k][:, None])

    def add_scatter(self, scatter, k, deviation, weight):
        """Add the weighted scatter of the deviations from component k's mean, in place."""
        scatter[k] += (deviation * deviation) @ weight

    def add_scatters(self, scatter, deviation, resp):
        """Add the scatter of the deviations (K, D, n) weighted by resp (K, n), in place."""
        scatter += ((deviation * deviation) @ resp[:, :, None])[:, :, 0]

    def _scatter(self, quadratic, rest):
        return quadratic


class SphericalKernel(DiagonalKernel):
    """The kernel of spherical covariances: the feature of second order is ‖x‖²."""

    covariance_type = "spherical"

    def _n_terms(self, n_features):
        return 2 + n_features

    def _expand(self, y_means, scale):
        precisions = self.factors[:, None] ** 2
        norm = (precisions * scale**2).max(axis=1)
        return precisions * y_means, -0.5 * precisions, norm

    def fill(self, quadratic, y):
        np.einsum("ij,ij->j", y, y, out=quadratic[0])

    def whiten(self, deviation):
        return deviation * self.factors[:, None, None]

    def distance(self, deviation, k):
        return _squares(deviation) * self.factors[k] ** 2

    def add_scatter(self, scatter, k, deviation, weight):
        # The statistic is the mean of the diagonal, so that it divides like a variance.
        scatter[k] += _squares(deviation) @ weight / len(deviation)

    def add_scatters(self, scatter, deviation, resp):
        squares = np.einsum("kin,kin->kn", deviation, deviation)
        scatter += (squares * resp).sum(axis=1) / deviation.shape[1]

    def _scatter(self, quadratic, rest):
        return quadratic[:, 0] / self.means.shape[1]


_KERNELS = {
    kernel.covariance_type: kernel
    for kernel in (FullKernel, TiedKernel, DiagonalKernel, SphericalKernel)
}


def gaussian_kernel(covariance_type, means, precisions_cholesky, offsets, spread, *, expand=True):
    """Return the kernel of components with a covariance structure; see :class:`GaussianKernel`."""
    kernel = _KERNELS[covariance_type]
    if kernel is FullKernel and means.shape[1] > _MAX_EXPANDED:
        kernel = WideFullKernel
    return kernel(means, precisions_cholesky, offsets, spread, expand=expand)
