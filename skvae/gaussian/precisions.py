r"""Wishart and Gamma precisions of Gaussian components, one class for each structure.

The distributions are those of :mod:`skvae.gaussian.conjugate`: ``full`` has a Wishart for each of
the K components, ``tied`` one for all, ``diag`` D Gammas for each, ``spherical`` one Gamma.
Precisions are :math:`\Lambda = U U^T` with the factor ``U`` upper triangular, in the structure's
shape; a scale is an inverse scale, which adds up like a scatter.
"""

import numpy as np
from scipy.linalg import blas, lapack

_PANEL = 64  # columns of a triangular product at a time: the zeros below them are left out


def along(values, array):
    """Return one number per component, or one for all, in a shape that multiplies the array."""
    values = np.asarray(values)
    return values.reshape(values.shape + (1,) * (np.ndim(array) - values.ndim))


def _ratio_by_panels(factors, others):
    """Return ‖V⁻¹ U‖² of factors U (..., D, D) and V, of which there may be one for all U."""
    n_features, out = factors.shape[-1], np.zeros(factors.shape[:-2])
    total, factors = out.reshape(-1), factors.reshape(-1, n_features, n_features)
    others = others.reshape(-1, n_features, n_features)
    for first in range(0, n_features, _PANEL):
        last = min(first + _PANEL, n_features)
        # Transposes of rows are in LAPACK's order of memory.
        lower = [np.asfortranarray(other[:last, :last].T) for other in others]
        for k, factor in enumerate(factors):
            panel = factor[:last, first:last].T
            white = blas.dtrsm(1.0, lower[k % len(lower)], panel, side=1, lower=1)
            total[k] += np.einsum("ij,ij->", white, white)
    return out


class FullPrecisions:
    """One Wishart of size D per component."""

    def sizes(self, n_features):
        """Return the size of the Wisharts, and their number for each entry of the dofs."""
        return n_features, 1

    def numbers(self, counts, n_features):
        """Return the increase of the degrees of freedom by the rows of each component."""
        return counts

    def scale(self, scatter, n_features):
        """Return the scale for a scatter in the statistics' shape."""
        out = scatter + np.swapaxes(scatter, -1, -2)
        out *= 0.5
        return out

    def scatter(self, scale, n_features):
        """Return the scatter, in the statistics' shape, for a scale."""
        return scale

    def marginal_scale(self, scale, n_features):
        """Return the scale of each variance, in the shape of the structure's variances."""
        return np.diagonal(scale, axis1=-2, axis2=-1)

    def outer(self, weights, deviations):
        """Return w d dᵀ of each weight and deviation (P, D), in the shape of a scale for each."""
        return (weights[:, None] * deviations)[:, :, None] * deviations[:, None, :]

    def log_det(self, scales):
        """Return the sum of the log determinants of each component's scales."""
        return np.linalg.slogdet(scales)[1]

    def distance(self, factors, deviations):
        """Return dᵀ U Uᵀ d of each component's deviation (K, D), shape (K,)."""
        white = (deviations[:, None, :] @ factors)[:, 0]
        return (white * white).sum(axis=-1)

    def trace(self, factors, scatter):
        """Return tr(U Uᵀ S) of a scatter in the statistics' shape, summed over components."""
        return (factors * (scatter @ factors)).sum()  # not vdot: starting its threads costs more

    def ratio(self, factors, others):
        """Return tr(U Uᵀ V⁻ᵀ V⁻¹) of two factors, in the shape of the degrees of freedom."""
        # The inverse of a triangular matrix is accurate, and squares do not cancel.
        if factors.shape[-1] > _PANEL:
            return _ratio_by_panels(factors, others)
        inverse = np.empty(others.shape)
        for i in np.ndindex(others.shape[:-2]):
            inverse[i] = lapack.dtrtri(others[i])[0]
        white = inverse @ factors
        return np.einsum("...ij,...ij->...", white, white)


class TiedPrecisions(FullPrecisions):
    """One Wishart of size D for all components."""

    def numbers(self, counts, n_features):
        return counts.sum()


class DiagonalPrecisions:
    """D Gammas per component."""

    def sizes(self, n_features):
        return 1, n_features

    def numbers(self, counts, n_features):
        return counts

    def scale(self, scatter, n_features):
        return scatter

    def scatter(self, scale, n_features):
        return scale

    def marginal_scale(self, scale, n_features):
        return scale

    def outer(self, weights, deviations):
        return weights[:, None] * deviations**2

    def log_det(self, scales):
        return np.log(scales).sum(axis=-1)

    def distance(self, factors, deviations):
        return ((along(factors, deviations) * deviations) ** 2).sum(axis=-1)

    def trace(self, factors, scatter):
        return (factors**2 * scatter).sum()

    def ratio(self, factors, others):
        return ((factors / others) ** 2).sum(axis=-1)


class SphericalPrecisions(DiagonalPrecisions):
    """One Gamma per component; the statistics' scatter is the mean of D numbers."""

    def sizes(self, n_features):
        return 1, 1

    def numbers(self, counts, n_features):
        return n_features * counts

    def scale(self, scatter, n_features):
        return scatter * n_features

    def scatter(self, scale, n_features):
        return scale / n_features

    def outer(self, weights, deviations):
        return weights * (deviations**2).sum(axis=-1)

    def log_det(self, scales):
        return np.log(scales)

    def ratio(self, factors, others):
        return (factors / others) ** 2


PRECISIONS = {
    "full": FullPrecisions(),
    "tied": TiedPrecisions(),
    "diag": DiagonalPrecisions(),
    "spherical": SphericalPrecisions(),
}
