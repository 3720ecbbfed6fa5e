r"""The fast kernel: log-densities of a block of rows, expected statistics of responsibilities.

With :math:`P = \Sigma^{-1} = U U^T`, the log-density of a component is linear in features of the
row,

.. math:: \ln N(x \mid m, \Sigma) = \theta^T \varphi(x), \qquad
          \varphi(x) = [x_i x_j\,(i \le j),\; x,\; 1],

so the log-densities of all components are one matrix product :math:`\Theta \Phi` and their
statistics another, :math:`R \Phi^T` ("expanded"). Both cancel: their absolute error is about
:math:`\varepsilon \lVert P \rVert \lVert x \rVert^2`, after rows are centred and scaled. That bound
is computed for each component and block, and where it exceeds ``TOLERANCE`` the component takes the
direct way, :math:`\lVert U^T (x - m) \rVert^2` and :math:`\sum r (x-m)(x-m)^T`, whose
error does not grow with the distance between components. Where D is large the direct way, made of
triangular products, is also the faster one.

Blocks are features-major: (D, n) arrays, so that products and sums over components are contiguous.
"""

import numpy as np

from skvae.blocks import block_rows
from skvae.gaussian.covariance import EPS, LOG_2PI, STRUCTURES
from skvae.gaussian.missing import missing_blocks
from skvae.gaussian.statistics import GaussianStatistics

TOLERANCE = 1e-9  # nats: what rounding may change in a row's log-density
_MAX_EXPANDED = 56  # features; measured: above it triangular products are faster
_PANEL = 32  # columns of U multiplied at a time: 5/8 of the work of a square product at D = 128


class KernelSums:
    """Sums over rows in the kernel's own terms; they add in place while a chunk is worked through.

    Parameters
    ----------
    expanded : ndarray of shape (n_components, n_terms)
        Sums of the features of the expanded components.
    counts, sums, scatter : ndarray
        Statistics of the direct components about their means, in the structure's shape.
    shared : ndarray
        The second moment of the expanded components where it is common to all (tied).
    """

    __slots__ = ("counts", "expanded", "scatter", "shared", "sums")

    def __init__(self, expanded, counts, sums, scatter, shared):
        self.expanded = expanded
        self.counts = counts
        self.sums = sums
        self.scatter = scatter
        self.shared = shared

    def __add__(self, other):
        return KernelSums(*(getattr(self, s) + getattr(other, s) for s in _SUMS))


_SUMS = ("expanded", "counts", "sums", "scatter", "shared")


class Block:
    """A block of complete rows under a kernel, centred and scaled.

    Parameters
    ----------
    kernel : GaussianKernel
        The components.
    y : ndarray of shape (n_features, n)
        The rows.
    terms : ndarray of shape (n_terms, n)
        Their features, of which ``y`` is a part.
    direct : ndarray of int
        The components that take the direct way.
    out : ndarray of shape (n_components, n)
        Memory for the log-densities.
    """

    __slots__ = ("direct", "kernel", "out", "terms", "y")

    def __init__(self, kernel, y, terms, direct, out):
        self.kernel = kernel
        self.y = y
        self.terms = terms
        self.direct = direct
        self.out = out

    def log_density(self):
        """Return the log-densities plus the kernel's offsets, shape (K, n), in nats."""
        kernel, out = self.kernel, self.out
        if len(self.direct) < len(out):
            np.matmul(kernel.coefficients, self.terms, out=out)
            kernel.add_shared_term(out, self.y)
        for k in self.direct:
            np.multiply(kernel.distance(self.y, k), -0.5, out=out[k])
            out[k] += kernel.constants[k]
        return out

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        kernel = self.kernel
        if len(self.direct) < len(resp):
            expanded = resp
            if len(self.direct):
                expanded = resp.copy()
                expanded[self.direct] = 0.0
            sums.expanded += expanded @ self.terms.T
            kernel.accumulate_shared(sums, self.y, expanded)
        for k in self.direct:
            deviation = self.y - kernel.y_means[k][:, None]
            sums.counts[k] += resp[k].sum()
            sums.sums[k] += deviation @ resp[k]
            kernel.add_scatter(sums.scatter, k, deviation, resp[k])


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
    spread : tuple of two ndarrays of shape (n_features,)
        Where the rows are expected to lie: a centre and a standard deviation per feature. They
        decide the accuracy of the fast way, never the answer.
    expand : bool
        Whether the expanded way may be taken.
    """

    covariance_type = None

    def __init__(self, means, precisions_cholesky, offsets, spread, *, expand=True):
        self.structure = STRUCTURES[self.covariance_type]
        self.center, self.scale = spread[0], self._scale(spread[1])
        self.means = means
        self.y_means = (means - self.center) / self.scale
        self.factors = self._scaled_factors(precisions_cholesky)
        n_features = means.shape[1]
        half_log_det = self.structure.half_log_det(precisions_cholesky, n_features)
        self.offsets = offsets
        self.constants = offsets + half_log_det - 0.5 * n_features * LOG_2PI
        self.expandable = expand and self._expandable(n_features)
        if self.expandable:
            self.coefficients, self._norms = self._expand()
            self.coefficients[:, -1] += self.constants
        self.n_terms = (self._n_terms(n_features) if self.expandable else n_features) + 1
        self.block_rows = block_rows(self.n_terms + 2 * len(means))

    @property
    def unit(self):
        """Return what the covariances are rescaled by: one factor per feature, or one for all."""
        return self.scale

    def covariances(self):
        """Return the covariances of the scaled rows, in the structure's shape."""
        return self.structure.covariances_of(self.factors)

    # What a structure decides -----------------------------------------------------------------

    def _scale(self, scale):
        return scale

    def _expandable(self, n_features):
        return True

    # The block --------------------------------------------------------------------------------

    def workspace(self):
        """Return memory for one block; a chunk of rows reuses it for all of its blocks."""
        terms = np.empty((self.n_terms, self.block_rows))
        terms[-1] = 1.0
        return terms, np.empty((len(self.means), self.block_rows))

    def blocks(self, X, workspace):
        """Yield (rows, block) of the rows of X, at most ``block_rows`` of them.

        ``rows`` indexes X; a block gives ``log_density()`` and ``accumulate(sums, resp)``. Complete
        rows are one block, rows with NaN come in blocks of similar patterns.
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
        """Return the rows of X (n, D) as a Block in the workspace, or None if there is a NaN."""
        n_rows, n_features = X.shape
        terms = workspace[0][:, :n_rows]
        first = self.n_terms - 1 - n_features
        y = terms[first:-1]
        np.copyto(y, X.T)
        y -= self.center[:, None]
        y /= self.scale[:, None]
        reach = np.sqrt(np.einsum("ij,ij->j", y, y).max())
        if np.isnan(reach):
            return None
        if self.expandable:
            quadratic, linear, constant = self._norms
            bound = EPS * (quadratic * reach**2 + 2 * linear * reach + constant)
            direct = np.flatnonzero(~(bound <= TOLERANCE))
        else:
            direct = np.arange(len(self.means))
        if len(direct) < len(self.means):
            self.fill(terms, y)
        return Block(self, y, terms, direct, workspace[1][:, :n_rows])

    def sums(self):
        """Return empty sums."""
        n_components, n_features = self.means.shape
        return KernelSums(
            np.zeros((n_components, self.n_terms if self.expandable else 0)),
            np.zeros(n_components),
            np.zeros((n_components, n_features)),
            np.zeros(self.structure.shape(n_components, n_features)),
            np.zeros(self._shared_shape(n_features)),
        )

    def finish(self, sums):
        """Return the sums as GaussianStatistics about the means, in the units of X."""
        counts, first, second = sums.counts, sums.sums, sums.scatter
        if self.expandable:
            n, s, S = self._unpack(sums)
            about = self.structure.recenter(S, n, s, self.y_means)
            counts = counts + n
            first = first + s - n[:, None] * self.y_means
            second = second + about
        return GaussianStatistics(
            self.covariance_type,
            counts,
            first * self.scale,
            self.structure.rescale(second, self.unit),
            self.means,
        )

    # Nothing is shared between components, but in the tied structure ---------------------------

    def _shared_shape(self, n_features):
        return (0,)

    def add_shared_term(self, out, y):
        """Add to the log-densities, in place, what all components have in common."""

    def accumulate_shared(self, sums, y, resp):
        """Add to the sums, in place, what all components have in common."""


def _triangular_distance(factor, deviation):
    """Return ‖Uᵀ d‖² of each column d, by panels of U that leave out its zeros."""
    n_features = len(factor)
    total = np.zeros(deviation.shape[1])
    for first, last in ((a, min(a + _PANEL, n_features)) for a in range(0, n_features, _PANEL)):
        panel = factor[:last, first:last].T @ deviation[:last]
        total += np.einsum("ij,ij->j", panel, panel)
    return total


class FullKernel(GaussianKernel):
    """The kernel of full covariances."""

    covariance_type = "full"

    def _scaled_factors(self, precisions_cholesky):
        return self.scale[:, None] * precisions_cholesky

    def _expandable(self, n_features):
        return n_features <= _MAX_EXPANDED

    def _n_terms(self, n_features):
        return n_features * (n_features + 1) // 2 + n_features

    def _expand(self):
        n_features = self.y_means.shape[1]
        precisions = self.factors @ self.factors.transpose(0, 2, 1)
        linear = np.einsum("kij,kj->ki", precisions, self.y_means)
        constant = np.einsum("ki,ki->k", linear, self.y_means)
        rows, columns = np.triu_indices(n_features)
        quadratic = -precisions[:, rows, columns]
        quadratic[:, rows == columns] *= 0.5
        coefficients = np.concatenate([quadratic, linear, -0.5 * constant[:, None]], axis=1)
        norms = (
            np.sqrt(np.einsum("kij,kij->k", precisions, precisions)),
            np.sqrt(np.einsum("ki,ki->k", linear, linear)),
            constant,
        )
        return coefficients, norms

    def fill(self, terms, y):
        first = 0
        for i in range(len(y)):
            last = first + len(y) - i
            np.multiply(y[i:], y[i], out=terms[first:last])
            first = last

    def distance(self, y, k):
        return _triangular_distance(self.factors[k], y - self.y_means[k][:, None])

    def add_scatter(self, scatter, k, deviation, weight):
        weighted = deviation * np.sqrt(weight)
        scatter[k] += weighted @ weighted.T  # BLAS recognises a symmetric product

    def _unpack(self, sums):
        n_components, n_features = self.means.shape
        n_quadratic = self.n_terms - 1 - n_features
        rows, columns = np.triu_indices(n_features)
        scatter = np.empty((n_components, n_features, n_features))
        scatter[:, rows, columns] = sums.expanded[:, :n_quadratic]
        scatter[:, columns, rows] = sums.expanded[:, :n_quadratic]
        return sums.expanded[:, -1], sums.expanded[:, n_quadratic:-1], scatter


class TiedKernel(FullKernel):
    """The kernel of one covariance shared by all: its quadratic term is the same for all."""

    covariance_type = "tied"

    def _expandable(self, n_features):
        return True

    def _n_terms(self, n_features):
        return n_features

    def _expand(self):
        precision = self.factors @ self.factors.T
        linear = self.y_means @ precision
        constant = np.einsum("ki,ki->k", linear, self.y_means)
        coefficients = np.concatenate([linear, -0.5 * constant[:, None]], axis=1)
        norms = (np.linalg.norm(precision), np.linalg.norm(linear, axis=1), constant)
        return coefficients, norms

    def fill(self, terms, y):
        """Leave the terms: y and the ones are all there is."""

    def distance(self, y, k):
        return _triangular_distance(self.factors, y - self.y_means[k][:, None])

    def add_shared_term(self, out, y):
        out -= 0.5 * _triangular_distance(self.factors, y)

    def _shared_shape(self, n_features):
        return (n_features, n_features)

    def accumulate_shared(self, sums, y, resp):
        weighted = y * np.sqrt(resp.sum(axis=0))
        sums.shared += weighted @ weighted.T

    def add_scatter(self, scatter, k, deviation, weight):
        weighted = deviation * np.sqrt(weight)
        scatter += weighted @ weighted.T

    def _unpack(self, sums):
        return sums.expanded[:, -1], sums.expanded[:, :-1], sums.shared


class DiagonalKernel(GaussianKernel):
    """The kernel of diagonal covariances: the features are [x², x, 1]."""

    covariance_type = "diag"

    def _scaled_factors(self, precisions_cholesky):
        return self.scale * precisions_cholesky

    def _n_terms(self, n_features):
        return 2 * n_features

    def _expand(self):
        precisions = self.factors**2
        linear = precisions * self.y_means
        constant = np.einsum("ki,ki->k", linear, self.y_means)
        coefficients = np.concatenate([-0.5 * precisions, linear, -0.5 * constant[:, None]], axis=1)
        return coefficients, (precisions.max(axis=1), np.linalg.norm(linear, axis=1), constant)

    def fill(self, terms, y):
        np.multiply(y, y, out=terms[: len(y)])

    def distance(self, y, k):
        deviation = (y - self.y_means[k][:, None]) * self.factors[k][:, None]
        return np.einsum("ij,ij->j", deviation, deviation)

    def add_scatter(self, scatter, k, deviation, weight):
        scatter[k] += (deviation * deviation) @ weight

    def _unpack(self, sums):
        n_features = self.means.shape[1]
        return (
            sums.expanded[:, -1],
            sums.expanded[:, n_features:-1],
            sums.expanded[:, :n_features],
        )


class SphericalKernel(GaussianKernel):
    """The kernel of spherical covariances: the features are [‖x‖², x, 1]."""

    covariance_type = "spherical"

    def _scale(self, scale):
        # One scale for all features keeps a sphere a sphere.
        return np.full_like(scale, np.sqrt(np.mean(scale**2)))

    def _scaled_factors(self, precisions_cholesky):
        return self.scale[0] * precisions_cholesky

    @property
    def unit(self):
        return self.scale[0]

    def _n_terms(self, n_features):
        return n_features + 1

    def _expand(self):
        precisions = self.factors**2
        linear = precisions[:, None] * self.y_means
        constant = np.einsum("ki,ki->k", linear, self.y_means)
        coefficients = np.concatenate(
            [-0.5 * precisions[:, None], linear, -0.5 * constant[:, None]], axis=1
        )
        return coefficients, (precisions, np.linalg.norm(linear, axis=1), constant)

    def fill(self, terms, y):
        np.einsum("ij,ij->j", y, y, out=terms[0])

    def distance(self, y, k):
        deviation = y - self.y_means[k][:, None]
        return np.einsum("ij,ij->j", deviation, deviation) * self.factors[k] ** 2

    def add_scatter(self, scatter, k, deviation, weight):
        # The statistic is the mean of the diagonal, so that it divides like a variance.
        squares = np.einsum("ij,ij->j", deviation, deviation)
        scatter[k] += squares @ weight / len(deviation)

    def _unpack(self, sums):
        n_features = self.means.shape[1]
        return sums.expanded[:, -1], sums.expanded[:, 1:-1], sums.expanded[:, 0] / n_features


KERNELS = {
    kernel.covariance_type: kernel
    for kernel in (FullKernel, TiedKernel, DiagonalKernel, SphericalKernel)
}
