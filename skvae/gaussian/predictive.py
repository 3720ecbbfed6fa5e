r"""Posterior predictive of Gaussian components: Student-t log-densities of rows, and draws.

With :math:`q(\mu, \Lambda)` of :mod:`skvae.gaussian.conjugate`, a new row of a component has

.. math:: x \sim \mathrm{St}_D\bigl(m,\; \tfrac{1 + \beta}{\beta\,\nu'} S,\; \nu'\bigr),
          \qquad \nu' = \nu + 1 - D

for full and tied; :math:`\nu' = \nu` and :math:`S I` for spherical; and for diag a product of
one-dimensional Student-t's over features. For a row with missing values the density is that of its
observed features: a marginal of a Student-t is a Student-t with the same degrees of freedom.

A Gaussian kernel computes the squared distance *d* under :math:`E[\Lambda] = \nu S^{-1}`. Then
:math:`\delta / \nu' = d / r` with one number for each component, the reach :math:`r = \nu (1 +
\beta) / \beta`.
"""

from copy import copy
from functools import cached_property

import numpy as np

from skvae.blocks import is_complete, ranges
from skvae.gaussian.block import CompleteBlock
from skvae.gaussian.covariance import LOG_2PI
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.pairs import FEWEST_FEATURES, FEWEST_NUMBERS, PairProducts
from skvae.gaussian.student import log_distances, log_gamma_ratio

_BLOCK = 1 << 15  # log-densities of a block
# Numbers of terms δ / ν that stay in the caches; measured: a third of the time of larger arrays.
_TOGETHER, _LEAST_ROWS = 1 << 16, 32
# Degrees of freedom up to which ln Π (1 + δ / ν) is the logarithm of products of factors. The D
# additions and multiplications have a relative error of 2 D u (u = 2⁻⁵³), and the log-density an
# error of (ν + 1) D u ≤ 1e-12 D nats. Above, Π (1 + δ / ν) − 1 is computed, without that error.
_FACTORS = 1 << 13
_FACTORS_OF_A_PRODUCT = 64  # in range for all δ / ν below 6e4
# Rare components, with less than e^_RARE of the largest weight, are computed only for rows where
# their density can be more than e^-_NEGLIGIBLE = 1e-14 of the others'. With many features that is
# seldom.
_RARE, _NEGLIGIBLE = -4.0, 32.2
_FEWEST_COMPONENTS = 4  # from which products of pairs of factors are faster
_BUFFER = 256  # as in skvae.blocks: operations with a number for each row do not copy it
_LARGE = 1e100  # beyond it 1 + r² is r²


def _dofs_and_reach(components):
    """Return ν' and r, each of shape (K,)."""
    beta = components.mean_precisions
    dofs = np.broadcast_to(components.marginal_dofs, beta.shape)
    return dofs, components.dofs * (1.0 + 1.0 / beta)


class _MultivariatePart:
    """Components with one multivariate Student-t each: full, tied and spherical.

    Parameters
    ----------
    components : NormalWishart
        Their posterior or prior.
    offsets : ndarray of shape (n_components,)
        Added to each component's log-density.
    spread : callable
        As for a Gaussian kernel.
    """

    def __init__(self, components, offsets, spread):
        self._kernel = gaussian_kernel(
            components.covariance_type,
            components.means,
            components.precisions_cholesky,
            np.zeros(len(offsets)),
            spread,
        )
        self._dofs, self._reach = _dofs_and_reach(components)
        self._offsets = offsets
        self._complete = self._constants(np.array([components.means.shape[1]]))
        self.block_rows = self._kernel.block_rows
        self.row_work = self._kernel.row_work

    def workspace(self, n_rows):
        return self._kernel.workspace(), np.empty(len(self._dofs) * n_rows)

    def fill(self, X, workspace, out):
        """Write the log-densities (K, n) of the rows of X."""
        gaussian, memory = workspace
        for rows, block in self._kernel.blocks(X, gaussian):
            part = X[rows]
            scratch = memory[: len(self._dofs) * len(part)].reshape(-1, len(part))
            peak, _, density = log_distances(self._kernel, part, block, self._reach, scratch)
            if isinstance(block, CompleteBlock):
                observed, constants = X.shape[1], self._complete
            else:
                observed = block.observed.sum(axis=0)
                constants = self._by_observed[:, observed]
            density *= -0.5 * (self._dofs[:, None] + observed)
            density += constants + peak
            out[:, rows] = density

    def _constants(self, n_observed):
        """Return the constants for some numbers of observed features, shape (K, len)."""
        half = 0.5 * n_observed
        constants = log_gamma_ratio(0.5 * self._dofs[:, None], half)
        constants += half * np.log(self._dofs / self._reach)[:, None]
        return constants + self._offsets[:, None]

    @cached_property
    def _by_observed(self):
        return self._constants(np.arange(self._kernel.means.shape[1] + 1))


def _product(terms):
    """Return Π_d (1 + t_d) − 1 of terms (k, D, n), shape (k, n), in their memory."""
    while (n_terms := terms.shape[1]) > 1:
        half = n_terms // 2
        one, two = terms[:, :half], terms[:, n_terms - half :]
        one *= two + 1.0  # (1 + a) (1 + b) − 1 = a (1 + b) + b: small terms keep all digits
        one += two
        terms = terms[:, : n_terms - half]
    return terms[:, 0]


class _FeaturewisePart:
    """Components with a Student-t for each feature: diag."""

    def __init__(self, components, offsets, spread):
        self._means = components.means
        self._dofs, reach = _dofs_and_reach(components)
        self._roots = components.precisions_cholesky / np.sqrt(reach)[:, None]
        half = 0.5 * self._dofs[:, None]
        self._peaks = log_gamma_ratio(half, 0.5) - 0.5 * LOG_2PI
        self._peaks = self._peaks + np.log(self._roots) + 0.5 * np.log(self._dofs)[:, None]
        self._constants = offsets + self._peaks.sum(axis=1)
        self._offsets = offsets
        # Rounding errors of factors 1 + δ / ν are multiplied by ν / 2.
        self._exact = self._dofs.max() <= _FACTORS
        self.block_rows = int(np.clip(_BLOCK // len(offsets), 256, 4096)) // 8 * 8
        self.row_work = 4 * self._means.size

    def workspace(self, n_rows):
        n_features = self._means.shape[1]
        return np.empty(max(_TOGETHER, _LEAST_ROWS * n_features))

    def fill(self, X, workspace, out):
        """Write the log-densities (K, n) of the rows of X; −inf where they are negligible."""
        few = X.size < FEWEST_NUMBERS or X.shape[1] < FEWEST_FEATURES
        if few or not is_complete(X):
            self._fill_direct(X, workspace, out)
            return
        is_rare = self._offsets < self._offsets.max() + _RARE
        rare = np.flatnonzero(is_rare)
        common = self._take(~is_rare)._densities(X, workspace)
        out[~is_rare], out[rare] = common, -np.inf
        if len(rare):
            # No density is larger than at the mean.
            rows = common.max(axis=0) - _NEGLIGIBLE < self._constants[rare].max()
            rows = np.flatnonzero(rows)
            out[np.ix_(rare, rows)] = self._take(rare)._densities(X[rows], workspace)

    def _take(self, some):
        """Return the part of some components."""
        part = copy(self)
        for name in ("_means", "_dofs", "_roots", "_peaks", "_constants", "_offsets"):
            setattr(part, name, getattr(self, name)[some])
        return part

    def _densities(self, X, workspace):
        """Return the log-densities (K, n) of complete rows."""
        out = np.empty((len(self._dofs), len(X)))
        left = np.arange(len(out))
        if len(out) >= _FEWEST_COMPONENTS:
            with np.errstate(over="ignore", invalid="ignore"):
                PairProducts(self._means, self._roots, self._dofs).fill(X, out)
                left = np.flatnonzero(~np.isfinite(out.sum(axis=1)))
            out *= -0.5 * (self._dofs[:, None] + 1.0)
            out += self._constants[:, None]
        if len(left):
            found, buffer = np.empty((len(left), len(X))), np.setbufsize(_BUFFER)
            try:
                self._take(left)._fill_direct(X, workspace, found)
            finally:
                np.setbufsize(buffer)
            out[left] = found
        return out

    def _fill_direct(self, X, workspace, out):
        """Write the log-densities (K, n) of the rows of X, from x − m."""
        n_components, n_features = self._means.shape
        n_rows = min(max(len(X), 1), max(_TOGETHER // n_features, _LEAST_ROWS))
        group = max(_TOGETHER // (n_features * n_rows), 1)
        for first, last in ranges(0, len(X), n_rows):
            x = np.array(X[first:last].T, dtype=np.float64, order="C")
            missing = np.isnan(x)
            missing = missing if missing.any() else None
            part = out[:, first:last]
            with np.errstate(over="ignore", invalid="ignore"):  # _logarithms computes it again
                for k in range(0, n_components, group):
                    some = slice(k, k + group)
                    self._log_product(x, missing, some, workspace, part[some])
                far = np.flatnonzero(~np.isfinite(part.sum(axis=0)))
            if len(far):
                absent = None if missing is None else missing[:, far]
                part[:, far] = self._logarithms(x[:, far], absent)
            part *= -0.5 * (self._dofs[:, None] + 1.0)
            if missing is None:
                part += self._constants[:, None]
            else:
                part += self._offsets[:, None] + self._peaks @ ~missing

    def _log_product(self, x, missing, some, memory, out):
        """Write Σ_d ln(1 + δ_d / ν) of some components (k, n), or inf if a product overflows."""
        means, roots = self._means[some, :, None], self._roots[some, :, None]
        shape = (len(means), *x.shape)
        terms = memory[: len(means) * x.size].reshape(shape)
        np.subtract(x, means, out=terms)
        terms *= roots
        terms *= terms
        if missing is not None:
            terms[:, missing] = 0.0
        if not self._exact:
            np.log1p(_product(terms), out=out)
            return
        terms += 1.0
        length = _FACTORS_OF_A_PRODUCT
        np.log(np.multiply.reduce(terms[:, :length], axis=1), out=out)
        for first in range(length, len(x), length):
            out += np.log(np.multiply.reduce(terms[:, first : first + length], axis=1))

    def _logarithms(self, x, missing):
        """Return Σ_d ln(1 + δ_d / ν), shape (K, n), also where δ overflows."""
        out = np.zeros((len(self._dofs), x.shape[1]))
        for d, column in enumerate(x):
            deviation = np.abs(column - self._means[:, d, None])
            root = self._roots[:, d, None]
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                near = np.log1p(np.minimum(deviation * root, _LARGE) ** 2)
                far = 2.0 * (np.log(deviation) + np.log(root))
                terms = np.where(deviation * root < _LARGE, near, far)
            if missing is not None:
                terms[:, missing[d]] = 0.0
            out += terms
        return out


class PredictiveBlock:
    """A block of rows under a predictive kernel.

    Parameters
    ----------
    kernel : PredictiveKernel
        The components.
    X : ndarray of shape (n, n_features)
        The rows.
    workspace : list
        Memory.
    """

    __slots__ = ("X", "_kernel", "_workspace")

    def __init__(self, kernel, X, workspace):
        self._kernel = kernel
        self.X = X
        self._workspace = workspace

    def log_density(self):
        """Return the log-densities plus the offsets, shape (K, n), in nats."""
        memory, parts = self._workspace
        out = memory[: self._kernel.n_components * len(self.X)].reshape(-1, len(self.X))
        self._kernel.fill(self.X, parts, out)
        return out


class PredictiveKernel:
    """Predictive log-densities of components, with the methods of a GaussianKernel.

    Parameters
    ----------
    *parts : tuple of (NormalWishart, ndarray of shape (n_components,))
        Components with their offsets, usually log weights; −inf is allowed. The results of several
        parts, for example a posterior and its prior, are concatenated.
    spread : callable
        Returns the expected location of the rows, two ndarrays of shape (n_features,): a centre and
        a standard deviation for each feature.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.gaussian.conjugate import NormalWishart
    >>> from skvae.gaussian.predictive import PredictiveKernel
    >>> prior = NormalWishart.prior("full", 1, 1.0, np.zeros(2), 3.0, np.eye(2))
    >>> kernel = PredictiveKernel((prior, np.zeros(1)), spread=lambda: (np.zeros(2), np.ones(2)))
    >>> X = np.array([[0.0, 0.0], [1.0, np.nan]])
    >>> for _, block in kernel.blocks(X, kernel.workspace()):
    ...     block.log_density().round(4)
    array([[-1.8379, -1.6479]])
    """

    def __init__(self, *parts, spread):
        self._parts, self._slices, first = [], [], 0
        for components, offsets in parts:
            diag = components.covariance_type == "diag"
            part = (_FeaturewisePart if diag else _MultivariatePart)(components, offsets, spread)
            self._parts.append(part)
            self._slices.append(slice(first, first + len(offsets)))
            first += len(offsets)
        self.n_components = first
        self.block_rows = min(part.block_rows for part in self._parts)
        self.row_work = sum(part.row_work for part in self._parts)

    def workspace(self):
        """Return memory for one block; a chunk of rows reuses it for all of its blocks."""
        memory = np.empty(self.n_components * self.block_rows)
        return memory, [part.workspace(self.block_rows) for part in self._parts]

    def blocks(self, X, workspace):
        """Yield (rows, block) of the rows of X, at most ``block_rows`` of them: all in one."""
        yield slice(None), PredictiveBlock(self, X, workspace)

    def fill(self, X, workspaces, out):
        """Write the log-densities (K, n) of the rows of X."""
        for part, where, workspace in zip(self._parts, self._slices, workspaces, strict=True):
            part.fill(X, workspace, out[where])


def predictive_draws(components, labels, rng):
    """Return one predictive draw from the component of each label.

    Parameters
    ----------
    components : NormalWishart
        Their posterior, or prior.
    labels : ndarray of int, shape (n,)
        The component of each row.
    rng : numpy.random.Generator
        The source of randomness.

    Returns
    -------
    X : ndarray of shape (n, n_features)
        The rows, in the units of the means.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.gaussian.conjugate import NormalWishart
    >>> from skvae.gaussian.predictive import predictive_draws
    >>> prior = NormalWishart.prior("full", 1, 1.0, np.zeros(2), 3.0, np.eye(2))
    >>> predictive_draws(prior, np.zeros(5, dtype=int), np.random.default_rng(0)).shape
    (5, 2)
    """
    dofs, reach = _dofs_and_reach(components)
    n_features = components.means.shape[1]
    noise = rng.standard_normal((len(labels), n_features))
    width = n_features if components.covariance_type == "diag" else 1
    chi2 = rng.chisquare(dofs[labels][:, None], size=(len(labels), width))
    chi2 = np.maximum(chi2, 1e-200)  # it underflows for tiny degrees of freedom
    noise *= np.sqrt(reach[labels][:, None] / chi2)  # √(ν'/χ²), scaled by r/ν'
    roots = components.structure.roots(components.covariances)
    colored = components.structure.color(noise, labels, roots)
    return components.means[labels] + colored
