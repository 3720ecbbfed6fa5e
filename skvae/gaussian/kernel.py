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
components. Few rows use the direct way for all components, and so do few components of many
features; then nothing is expanded.

Blocks are features-major: (D, n) arrays, so that products and sums over components are contiguous.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from skvae.blocks import ranges
from skvae.gaussian.block import Block, DirectBlock, Features, Workspace
from skvae.gaussian.covariance import EPS, LOG_2PI, STRUCTURES
from skvae.gaussian.missing import missing_blocks
from skvae.gaussian.statistics import GaussianStatistics

TOLERANCE = 1e-9  # nats: the largest rounding error of a row's log-density
_MAX_EXPANDED = 52  # features; measured: above it triangular products are faster
# Rows, or numbers (K · D · n) of rows that are all in one block, up to which to expand the kernel
# takes longer than the densities by the direct way. With several blocks the expansion is prepared
# once, and pays.
_FEW, _SMALL = 64, 1 << 15
_FRESH = (
    1 << 14
)  # numbers up to which fresh memory costs little: larger arrays are mapped each time
_TOGETHER = 1 << 17  # numbers of deviations that stay in the caches: all components are one array
_NEGLIGIBLE = 1e-30  # a share of a component's largest responsibility that changes no sum
# Rows of a block: its temporaries should stay in the second-level cache (measured: tied takes twice
# as long with 16384 rows of many numbers, chains of few states half as long with rows of few).
_LONGEST, _SECOND_LEVEL, _OUTER = 4096, 1 << 20, 1 << 23
_WIDE = 16  # features from which it takes longer to transpose rows than to multiply them
_NEAR_ZERO = 3.0  # standard deviations of a centre from zero within which rows are not centred
_PANEL = 32  # columns of U multiplied at a time: 5/8 of the work of a square product at D = 128
_FEW_COMPONENTS = 16  # rows times components, in features, up to which panels are not prepared
# Few columns are multiplied by whole factors that stay in the second-level cache: fewer calls.
_FEW_COLUMNS, _CACHED = 8, 1 << 17
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
            # Not in place: statistics of these sums may share the arrays.
            self.counts = self.counts + other.counts
            self.sums = self.sums + other.sums
            self.scatter = self.scatter + other.scatter
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
    same_rows : bool
        Whether all kernels with this ``spread`` read the same rows, which do not change: then the
        features of a block are kept in its workspace for the next kernel.

    Notes
    -----
    A subclass has ``_n_terms``, the number of features φ; ``_expand``, which returns the
    coefficients of x and of the features of second order, and the norm of the precisions that
    bounds their error; ``fill``, ``distances``, ``add_scatter`` and ``_scatter``. If it has second
    moments that are not among the features, it sets ``has_rest``, and has ``add_rest`` and
    ``accumulate_rest``.
    """

    covariance_type = None
    _squares = None  # the function that computes squares of deviations
    has_rest = False  # whether some second moments are not among the features
    _keeps_rows = False  # whether rows of many features are not transposed
    _n_scratch = 0  # numbers of scratch memory for each row of a block
    _most_of_few = np.inf  # numbers (K · D · n) of few rows from which the kernel is expanded

    def __init__(
        self, means, precisions_cholesky, offsets, spread, *, expand=True, same_rows=False
    ):
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
        self._expandable = expand
        self._same_rows = same_rows
        self._tolerance = TOLERANCE
        self.n_terms = self._n_terms(n_features)
        numbers = self.n_terms + 2 * n_components
        largest = min(max(_LONGEST, _SECOND_LEVEL // (8 * numbers)), 4 * _LONGEST)
        n_rows = min(largest, max(_OUTER // (8 * numbers), _LONGEST // 2))
        if self._keeps_rows and n_features >= _WIDE:
            n_rows = min(n_rows, max(_SECOND_LEVEL // (8 * self.n_terms), 256))
        self.block_rows = n_rows // 8 * 8  # whole cache lines
        # About how many multiplications the log-densities of a row take.
        self.row_work = self.factors.size + self.n_terms * n_components

    @cached_property
    def expansion(self):
        """Return the Expansion: it is computed for the first block that is not small."""
        center, scale = self._location()
        y_means = self.means - center
        linear, quadratic, norm = self._expand(y_means, scale)
        constant = np.einsum("ki,ki->k", linear, y_means)
        coefficients = self._coefficients(constant, linear, quadratic)
        slope = linear * scale
        norms = norm, np.sqrt(np.einsum("ki,ki->k", slope, slope)), constant
        return Expansion(center, scale, y_means, coefficients, norms)

    def _location(self):
        return self.spread()

    def _coefficients(self, constant, linear, quadratic):
        one = (self.constants - 0.5 * constant)[:, None]
        return np.concatenate([one, linear, quadratic], axis=1)

    # The block --------------------------------------------------------------------------------

    def workspace(self):
        """Return memory for one block; a chunk of rows reuses it for all of its blocks."""
        return Workspace()

    def deviations(self, X, some, workspace=None):
        """Return the rows of X (n, D) less the means of some components, and their squares.

        The deviations have shape (k, D, n). The squares are None where the structure has matrices,
        and sums over the features where it is spherical. Many numbers are written to a workspace.
        """
        means, n_rows = self.means[some], len(X)
        wide = means.shape[1] >= _WIDE
        shape = (len(means), n_rows, means.shape[1]) if wide else (*means.shape, n_rows)
        if workspace is None or n_rows * means.size <= _FRESH:
            deviation, squares = np.empty(shape), None
        else:
            parts = workspace.cut(n_rows, means.size, means.size)
            deviation, squares = (part.reshape(shape) for part in parts)
        if wide:
            deviation = deviation.swapaxes(1, 2)
            squares = None if squares is None else squares.swapaxes(1, 2)
        if X.dtype == deviation.dtype:
            np.subtract(X.T, means[:, :, None], out=deviation)
        else:  # a subtraction that also converts is slower
            np.copyto(deviation, X.T)
            deviation -= means[:, :, None]
        return deviation, self._squares and self._squares(deviation, squares)

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
        n_rows = len(X)
        if not self._expandable or self.is_direct(n_rows):
            if np.isnan(X.min(initial=0.0)):
                return None
            if n_rows * self.means.size <= _TOGETHER:
                return DirectBlock(self, X, [slice(None)], workspace)
            groups = [slice(k, k + 1) for k in range(len(self.means))]
            return DirectBlock(self, X, groups, workspace)
        features = workspace.features
        if not self._same_rows or features is None or not features.are_of(self, X):
            features = workspace.features = self._features(X, workspace)
        if np.isnan(features.reach):
            return None
        # An infinite bound, or 0 · ∞, counts as too large.
        with np.errstate(over="ignore", invalid="ignore"):
            direct = self._inexact(features.reach)
        if len(direct) < len(self.means) and not features.filled:
            self.fill(features.second, features.y)
            features.filled = True
        return Block(self, X, features.y, features.parts, direct, features.out, features.scratch)

    def _features(self, X, workspace):
        """Return the Features of the rows of X (n, D), without those of second order."""
        center, scale = self.expansion[:2]
        terms, out, scratch = workspace.cut(len(X), self.n_terms, len(self.means), self._n_scratch)
        parts, y, second = self._split(terms)
        parts[0][0] = 1.0
        if len(parts) > 1 and X.dtype == y.dtype and not center.any():
            y = parts[1] = X.T
        elif X.dtype == y.dtype:
            np.subtract(X.T, center[:, None], out=y)
        else:  # a subtraction that also converts is slower
            np.copyto(y, X.T)
            if center.any():
                y -= center[:, None]
        with np.errstate(over="ignore", invalid="ignore"):
            reach = self._reach(y, second, scale)
        return Features(type(self), self.spread, X, y, parts, second, out, scratch, reach)

    def _inexact(self, reach):
        """Return the components with too large an error at a distance from the centre, indices."""
        return self._over(reach, *self.expansion.norms)

    def _over(self, reach, quadratic, linear, constant):
        bound = EPS * (quadratic * reach**2 + 2 * linear * reach + constant)
        return np.flatnonzero(~(bound <= self._tolerance))

    def is_direct(self, n_rows):
        """Return whether a block of so many rows uses the direct way for all components."""
        # Several blocks have more than half of block_rows each.
        one_block = 2 * n_rows <= self.block_rows
        numbers = n_rows * self.means.size
        few = n_rows <= _FEW and numbers <= self._most_of_few
        return few or (one_block and numbers <= _SMALL) or self._never_expanded()

    def _split(self, terms):
        """Return memory for the features as parts, and the parts of it for y and second order."""
        last = 1 + self.means.shape[1]
        return [terms], terms[1:last], terms[last:]

    def _reach(self, y, second, scale):
        """Return a bound of the largest norm of the rows, in units of scale; NaN if a value is."""
        # The farthest value of each feature, not the farthest row: cheaper, and never smaller.
        farthest = np.maximum(y.max(axis=1), -y.min(axis=1))
        return np.sqrt(((farthest / scale) ** 2).sum())

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
        counts, first, second = sums.counts, sums.sums, sums.scatter
        n = sums.expanded[:, 0]
        if n.any():
            last = 1 + self.means.shape[1]
            s, y_means = sums.expanded[:, 1:last], self.expansion.y_means
            S = self._scatter(sums.expanded[:, last:], sums.rest)
            counts = counts + n
            first = first + s - n[:, None] * y_means
            second = second + self.structure.recenter(S, n, s, y_means)
        return GaussianStatistics(self.covariance_type, counts, first, second, self.means)


def _triangular_distances(factors, deviation):
    """Return ‖Uᵀ d‖² for each column d of deviations (k, D, n), by panels of U without its zeros.

    ``factors`` has shape (k, D, D), or (1, D, D) for all deviations.
    """
    total = np.zeros((len(deviation), deviation.shape[2]))
    n_features = factors.shape[-1]
    width = _PANEL if n_features > 2 * _PANEL else 2 * _PANEL
    if deviation.shape[2] <= _FEW_COLUMNS and factors.size <= _CACHED:
        width = n_features
    for first in range(0, n_features, width):
        last = first + width
        white = factors[:, :last, first:last].swapaxes(1, 2) @ deviation[:, :last]
        total += np.einsum("kin,kin->kn", white, white)
    return total


class FullKernel(GaussianKernel):
    """The kernel of full covariances."""

    covariance_type = "full"

    def _never_expanded(self):
        # With few components, to write the D²/2 features takes longer than K products with U.
        n_components, n_features = self.means.shape
        return 4 * n_components <= n_features

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

    def distances(self, some, deviation, squares):
        """Return the squared Mahalanobis distances (k, n) of deviations from some components."""
        return _triangular_distances(self.factors[some], deviation)

    def add_scatter(self, scatter, some, deviation, squares, weight):
        """Add the scatter of deviations (k, D, n) from some components, weighted, in place."""
        roots = np.sqrt(weight)
        if deviation.shape[1] < 2 * _PANEL:
            weighted = deviation * roots[:, None]
            scatter[some] += weighted @ weighted.swapaxes(1, 2)  # BLAS recognises the symmetry
            return
        # With many features most rows belong to one component: negligible rows are skipped.
        felt = weight > _NEGLIGIBLE * weight.max(axis=1, keepdims=True)
        sparse = 4 * felt.sum(axis=1) < 3 * felt.shape[1]
        for k, total in enumerate(scatter[some]):
            if sparse[k]:
                weighted = deviation[k][:, felt[k]] * roots[k, felt[k]]
            else:
                weighted = deviation[k] * roots[k]
            total += weighted @ weighted.T

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
    _has_norm = False  # whether the error bound has the norm of the precisions, not their trace

    def is_direct(self, n_rows):
        # To prepare the panels takes as long as the densities of D rows, and of more rows if there
        # are few components: for one, products of panels are not faster.
        n_components, n_features = self.means.shape
        few = n_components == 1 or n_components * n_rows <= _FEW_COMPONENTS * n_features
        return few or n_rows <= n_features

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
        linear = self.factors @ (self.factors.swapaxes(1, 2) @ y_means[:, :, None])
        # The trace is never below the norm, and needs no product of matrices.
        scaled = self.factors * scale[:, None]
        trace = np.einsum("kij,kij->k", scaled, scaled)
        return linear[:, :, 0], np.empty((len(linear), 0)), trace

    def _inexact(self, reach):
        found = super()._inexact(reach)
        if len(found) and not self._has_norm:
            trace, linear, constant = self.expansion.norms
            least = trace / np.sqrt(self.means.shape[1])
            if len(self._over(reach, least, linear, constant)) == len(found):
                return found
            self._has_norm = True
            scaled = self.structure.precisions(self.factors * self.expansion.scale[:, None])
            norm = np.sqrt(np.einsum("kij,kij->k", scaled, scaled))
            self.expansion = self.expansion._replace(norms=(norm, linear, constant))
            found = super()._inexact(reach)
        return found

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

    def _never_expanded(self):
        return False

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

    def distances(self, some, deviation, squares):
        return _triangular_distances(self.factors[None], deviation)

    def add_rest(self, out, terms, scratch):
        out -= 0.5 * _triangular_distances(self.factors[None], terms[None, 1:])[0]

    def accumulate_rest(self, sums, y, resp, scratch):
        weighted = np.multiply(y, np.sqrt(resp.sum(axis=0)), out=scratch)
        sums.rest += weighted @ weighted.T

    def add_scatter(self, scatter, some, deviation, squares, weight):
        weighted = (deviation * np.sqrt(weight)[:, None]).swapaxes(0, 1).reshape(len(scatter), -1)
        scatter += weighted @ weighted.T

    def _scatter(self, quadratic, rest):
        return rest


class DiagonalKernel(GaussianKernel):
    """The kernel of diagonal covariances: the features of second order are x²."""

    covariance_type = "diag"
    _most_of_few = 2 * _SMALL
    _squares = staticmethod(np.square)  # of deviations, and memory for them or None
    _keeps_rows = True

    def _n_terms(self, n_features):
        return 1 + 2 * n_features

    def _expand(self, y_means, scale):
        precisions = self.factors**2
        norm = (precisions * scale**2).max(axis=1)
        return precisions * y_means, -0.5 * precisions, norm

    def _never_expanded(self):
        return len(self.means) == 1

    def _location(self):
        center, scale = self.spread()
        if len(center) >= _WIDE and (np.abs(center) <= _NEAR_ZERO * scale).all():
            center = np.zeros_like(center)  # rows about zero need not be copied
        return center, scale

    def _split(self, terms):
        n_features = self.means.shape[1]
        if n_features < _WIDE:
            return super()._split(terms)
        # Rows stay together: with many features, to transpose them takes longer than the products.
        memory = terms.ravel()
        n, last = terms.shape[1], (1 + n_features) * terms.shape[1]
        y = memory[n:last].reshape(n, n_features).T
        second = memory[last:].reshape(n, -1).T
        return [memory[None, :n], y, second], y, second

    def _reach(self, y, second, scale):
        np.multiply(y, y, out=second)
        return np.sqrt((scale**-2.0 @ second).max())

    def fill(self, second, y):
        """Write nothing: ``_reach`` has computed the squares."""

    def distances(self, some, deviation, squares):
        """Return the squared Mahalanobis distances (k, n) of deviations from some components."""
        return ((self.factors[some] ** 2)[:, None] @ squares)[:, 0]

    def add_scatter(self, scatter, some, deviation, squares, weight):
        """Add the scatter of deviations (k, D, n) from some components, weighted, in place."""
        scatter[some] += (squares @ weight[:, :, None])[:, :, 0]

    def _scatter(self, quadratic, rest):
        return quadratic


class SphericalKernel(DiagonalKernel):
    """The kernel of spherical covariances: the feature of second order is ‖x‖²."""

    covariance_type = "spherical"

    def _squares(self, deviation, _memory):
        return np.einsum("kin,kin->kn", deviation, deviation)

    def _never_expanded(self):
        # With many features ‖x‖² needs no copy of the rows, and ‖x − m‖² does.
        n_components, n_features = self.means.shape
        return n_components == 1 and n_features < _WIDE

    def _n_terms(self, n_features):
        return 2 + n_features

    def _expand(self, y_means, scale):
        precisions = self.factors[:, None] ** 2
        norm = (precisions * scale**2).max(axis=1)
        return precisions * y_means, -0.5 * precisions, norm

    def _reach(self, y, second, scale):
        np.einsum("ij,ij->j", y, y, out=second[0])
        return np.sqrt(second.max()) / scale.min()

    def distances(self, some, deviation, squares):
        return squares * self.factors[some, None] ** 2

    def add_scatter(self, scatter, some, deviation, squares, weight):
        # The statistic is the mean of the diagonal, so that it divides like a variance.
        scatter[some] += (squares * weight).sum(axis=1) / deviation.shape[1]

    def _scatter(self, quadratic, rest):
        return quadratic[:, 0] / self.means.shape[1]


_KERNELS = {
    kernel.covariance_type: kernel
    for kernel in (FullKernel, TiedKernel, DiagonalKernel, SphericalKernel)
}


def gaussian_kernel(covariance_type, means, precisions_cholesky, offsets, spread, **options):
    """Return the kernel of components with a covariance structure; see :class:`GaussianKernel`."""
    kernel = _KERNELS[covariance_type]
    if kernel is FullKernel and means.shape[1] > _MAX_EXPANDED:
        kernel = WideFullKernel
    return kernel(means, precisions_cholesky, offsets, spread, **options)
