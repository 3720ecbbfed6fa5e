r"""The kernel in single precision, for iterations on float32 rows far from the maximum.

The rows stay in float32, and so do their features, the products and the responsibilities of the
expanded way of :mod:`skvae.gaussian.kernel`; sums over blocks are in float64. The error bound of a
log-density is that of the kernel with the rounding unit of float32,

.. math:: \varepsilon_{32} \left(\lVert P \rVert \lVert x \rVert^2 + 2 \lVert P m \rVert
          \lVert x \rVert + m^T P m + |c|\right),

with the component's constant :math:`c` less the largest one of all components. A block in which it
exceeds ``SINGLE_TOLERANCE`` for some component is computed in float64. So are blocks with missing
values, and all blocks if the features have very different units or a component has weight zero.
"""

import numpy as np

from skvae.gaussian.products import product, weighted_sums

SINGLE_TOLERANCE = 5e-4  # nats: the largest rounding error of a row's log-density
_USUAL = 3.0  # standard deviations: if rows so far away are not exact, hardly a block is
_SMALLEST, _LARGEST = 1e-6, 1e6  # standard deviations of features: squares of rows stay in range


def single_kernel(kernel):
    """Return a GaussianKernel as a SingleKernel, or None if single precision cannot be used.

    It can for full covariances by the expanded way with second moments that are all among the
    features, if their units are such that squares of rows stay in the range of float32.
    """
    expanded = not kernel.has_rest and not kernel.is_direct(kernel.block_rows)
    if kernel.covariance_type != "full" or not expanded or len(kernel.absent):
        return None
    center, scale = kernel.spread()
    if not _SMALLEST <= scale.min() <= scale.max() <= _LARGEST:
        return None
    spread = center.astype(np.float32).astype(np.float64), scale  # any centre near the rows will do
    # A constant of all components would take digits, and changes no responsibility.
    shift = kernel.constants.max()
    offsets = kernel.offsets - shift
    shifted = type(kernel)(kernel.means, kernel.factors, offsets, lambda: spread)
    single = SingleKernel(shifted, shift)
    return single if single.is_exact(_USUAL * np.sqrt(len(scale))) else None


class SingleKernel:
    """A kernel of which the blocks of float32 rows are computed in single precision.

    It has the methods of :class:`~skvae.gaussian.kernel.GaussianKernel` that an E step calls.

    Parameters
    ----------
    kernel : GaussianKernel
        The kernel in float64, with a centre that is exact in float32.
    shift : float
        All log-densities are less by this constant.
    """

    def __init__(self, kernel, shift):
        self.kernel = kernel
        self.shift = shift
        self.block_rows, self.row_work = kernel.block_rows, kernel.row_work
        self.sums, self.finish = kernel.sums, kernel.finish
        expansion = kernel.expansion
        self._center = expansion.center.astype(np.float32)[:, None]
        with np.errstate(over="ignore"):  # then the bound is too large for every block
            self.coefficients = expansion.coefficients.astype(np.float32)

    def workspace(self):
        """Return memory for one block; a chunk of rows reuses it for all of its blocks."""
        return self.kernel.workspace()

    def blocks(self, X, workspace):
        """Yield (rows, block) of the rows of X; see :meth:`GaussianKernel.blocks`."""
        block = self._load(X, workspace)
        if block is not None:
            yield slice(None), block
        else:
            yield from self.kernel.blocks(X, workspace)

    def is_exact(self, reach):
        """Return whether rows at most so far from the centre are within ``SINGLE_TOLERANCE``.

        It is False for NaN, the distance of a row with a missing value.
        """
        quadratic, linear, constant = self.kernel.expansion.norms
        level = np.abs(self.kernel.constants)
        eps = float(np.finfo(np.float32).eps)
        with np.errstate(over="ignore", invalid="ignore"):
            bound = eps * (quadratic * reach**2 + 2 * linear * reach + constant + level)
        return bool(bound.max() <= SINGLE_TOLERANCE)

    def _load(self, X, workspace):
        """Return the rows of X (n, D) as a block, or None if single precision is not enough."""
        (n_rows, n_features), n_terms = X.shape, self.kernel.n_terms
        height = n_terms + len(self.coefficients)
        [memory] = workspace.cut(n_rows, (height + 1) // 2)  # in numbers of float64
        memory = memory.reshape(-1).view(np.float32)[: height * n_rows].reshape(height, n_rows)
        terms, out = memory[:n_terms], memory[n_terms:]
        y = np.subtract(X.T, self._center, out=terms[1 : 1 + n_features])
        farthest = np.maximum(y.max(axis=1), -y.min(axis=1)).astype(np.float64)
        if not self.is_exact(np.sqrt(((farthest / self.kernel.expansion.scale) ** 2).sum())):
            return None
        terms[0] = 1.0
        self.kernel.fill(terms[1 + n_features :], y)
        return SingleBlock(self, terms, out)


class SingleBlock:
    """A block of complete rows in single precision.

    Parameters
    ----------
    kernel : SingleKernel
        The components.
    terms : ndarray of shape (n_terms, n)
        The features of the rows, float32.
    out : ndarray of shape (n_components, n)
        Memory for the log-densities, float32.
    """

    __slots__ = ("_kernel", "_out", "_terms")

    def __init__(self, kernel, terms, out):
        self._kernel, self._terms, self._out = kernel, terms, out

    def log_density(self):
        """Return the log-densities plus the kernel's offsets less ``shift``, (K, n), in nats."""
        return product(self._kernel.coefficients, self._terms, self._out)

    def accumulate(self, sums, resp):
        """Add the rows, weighted by resp (K, n), to the kernel's sums in place."""
        sums.expanded += weighted_sums(resp, self._terms)
