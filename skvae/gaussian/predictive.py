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

import numpy as np

from skvae.gaussian.covariance import LOG_2PI
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.student import log_distances, log_gamma_ratio, n_observed

_BLOCK = 1 << 15
_FEW = 1 << 17  # numbers of a block up to which all features are multiplied at once
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
        # By the number of observed features, from 0 to D: shape (K, D + 1).
        half_observed = 0.5 * np.arange(components.means.shape[1] + 1)
        constants = log_gamma_ratio(0.5 * self._dofs[:, None], half_observed)
        constants += half_observed * np.log(self._dofs / self._reach)[:, None]
        self._constants = constants + offsets[:, None]
        self.block_rows = self._kernel.block_rows

    def workspace(self, n_rows):
        return self._kernel.workspace(), np.empty(len(self._dofs) * n_rows)

    def fill(self, X, workspace, out):
        """Write the log-densities (K, n) of the rows of X."""
        gaussian, memory = workspace
        for rows, block in self._kernel.blocks(X, gaussian):
            part, observed = X[rows], n_observed(block)
            scratch = memory[: len(self._dofs) * len(part)].reshape(-1, len(part))
            peak, _, density = log_distances(self._kernel, part, block, self._reach, scratch)
            density *= -0.5 * (self._dofs[:, None] + observed)
            density += self._constants[:, observed] + peak
            out[:, rows] = density


class _FeaturewisePart:
    """Components with a Student-t for each feature: diag."""

    def __init__(self, components, offsets, spread):
        self._means = components.means
        self._dofs, reach = _dofs_and_reach(components)
        self._roots = components.precisions_cholesky / np.sqrt(reach)[:, None]
        half = 0.5 * self._dofs[:, None]
        self._peaks = log_gamma_ratio(half, 0.5) - 0.5 * LOG_2PI
        self._peaks = self._peaks + np.log(self._roots) + 0.5 * np.log(self._dofs)[:, None]
        self._offsets = offsets
        # Three arrays (K, n) are read for every feature: they should stay in the inner caches.
        self.block_rows = int(np.clip(_BLOCK // len(offsets), 256, 4096)) // 8 * 8

    def workspace(self, n_rows):
        return np.empty((2, len(self._dofs) * n_rows))

    def fill(self, X, workspace, out):
        """Write the log-densities (K, n) of the rows of X."""
        x = np.array(X.T, dtype=np.float64, order="C")
        missing = np.isnan(x)
        missing = missing if missing.any() else None
        scratch = [part[: out.size].reshape(out.shape) for part in workspace]
        with np.errstate(over="ignore", invalid="ignore"):  # then _logarithms computes it again
            if len(out) * x.size <= _FEW:
                out[:] = self._product(x, missing)
            else:
                self._products(x, missing, out, *scratch)
            far = np.flatnonzero(~np.isfinite(out.sum(axis=0)))
        np.log1p(out, out=out)
        if len(far):
            out[:, far] = self._logarithms(x[:, far], None if missing is None else missing[:, far])
        out *= -0.5 * (self._dofs[:, None] + 1.0)
        if missing is None:
            out += (self._offsets + self._peaks.sum(axis=1))[:, None]
        else:
            out += self._offsets[:, None] + self._peaks @ ~missing

    def _product(self, x, missing):
        """Return Π_d (1 + δ_d / ν) − 1, shape (K, n): the features are multiplied in pairs."""
        terms = x - self._means[:, :, None]
        terms *= self._roots[:, :, None]
        terms *= terms
        if missing is not None:
            terms[:, missing] = 0.0
        while (n_terms := terms.shape[1]) > 1:
            half = n_terms // 2
            one, two = terms[:, :half], terms[:, n_terms - half :]
            product = one * two  # (1 + a) (1 + b) − 1 = a + b + a b: small terms keep all digits
            product += one
            product += two
            terms[:, :half] = product
            terms = terms[:, : n_terms - half]
        return terms[:, 0]

    def _products(self, x, missing, out, square, grown):
        """Write the same as :meth:`_product`, feature by feature, for large blocks."""
        out[:] = 0.0
        for d, column in enumerate(x):
            np.subtract(column, self._means[:, d, None], out=square)
            square *= self._roots[:, d, None]
            square *= square
            if missing is not None:
                square[:, missing[d]] = 0.0
            np.add(out, 1.0, out=grown)  # p + t (1 + p): small p keep all their digits
            grown *= square
            out += grown

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
