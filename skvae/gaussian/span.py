r"""Components with no more rows than features, computed in the span of their rows.

With the floor :math:`F` as the unit, :math:`d = F^{-1/2} (x - m)`, the scatter of n weighted rows
is :math:`B^T B`, where B is (n, D). If all eigenvalues of the Gram matrix :math:`G = B B^T` are
above one, the covariance raised to the floor is :math:`B^T B` in the span of the rows and the
identity elsewhere. Hence :math:`\ln \lvert \Sigma \rvert = \ln \lvert G \rvert`, and

.. math:: d^T \Sigma^{-1} d = \lVert a \rVert^2 + \lVert d - B^T a \rVert^2, \qquad
          a = G^{-1} B d.

Where an eigenvalue is not above one, B is replaced by its principal directions of which it is. No
matrix of D × D numbers is made until the parameters are to be returned.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import lapack

from skvae.gaussian.covariance import (
    LOG_2PI,
    STRUCTURES,
    inverse_triangle,
    is_above_one,
    raised_low_rank,
)

_UNFELT = 1e-17  # of the floor: a row that adds less to the covariance changes no digit
_NEAR = 1e-2  # of ‖d‖²: a smaller distance from the span is computed without cancellation


class SpanComponent(NamedTuple):
    """A component in the span of its rows, in units of the floor.

    Parameters
    ----------
    deviation : ndarray of shape (N, n_features)
        d of all rows.
    sizes : ndarray of shape (N,)
        ‖d‖².
    felt : ndarray of bool, shape (N,)
        The component's own n rows.
    weight : ndarray of shape (n,)
        Their weights.
    low : ndarray of shape (n, n_features)
        B, their deviations times the square roots of the weights.
    """

    deviation: np.ndarray
    sizes: np.ndarray
    felt: np.ndarray
    weight: np.ndarray
    low: np.ndarray

    @classmethod
    def of(cls, deviation, weight):
        """Return the component of the rows' deviations and weights (N,), which sum to one."""
        sizes = np.einsum("ij,ij->i", deviation, deviation)
        felt = weight * sizes > _UNFELT
        felt[weight.argmax()] = True  # LAPACK takes no empty matrices
        own = weight[felt]
        root = np.sqrt(own)[:, None]
        low = deviation[felt] * root
        low -= root * (root.T @ low / own.sum())  # the mean is rounded
        return cls(deviation, sizes, felt, own, low)

    def log_density(self):
        """Return the log-density of each row in units of the floor, (N,), in nats."""
        n, n_features = self.low.shape
        few = n <= n_features
        matrix, lift = self._gram() if few else (self.low.T @ self.low, 1.0)
        if not is_above_one(matrix):
            distance, half_log_det = self._by_directions()
        else:
            lower, _ = lapack.dpotrf(matrix, lower=True, clean=True)
            half_log_det = np.log(lower.diagonal()).sum() - 0.5 * np.log(lift)
            distance = self._by_rows(lower) if few else self._by_factor(lower)
        distance += n_features * LOG_2PI
        distance *= -0.5
        distance -= half_log_det
        return distance

    def covariance(self):
        """Return the covariance Σ and the factor U of its precision, in units of the floor."""
        n, n_features = self.low.shape
        if n <= n_features:
            return raised_low_rank(self.low.T, self._gram()[0])
        scatter = (self.low.T @ self.low)[None]
        covariances, factors = STRUCTURES["full"].raise_to(scatter, np.ones(n_features))
        return covariances[0], factors[0]

    def _gram(self):
        """Return G with another eigenvalue in place of a zero, and this eigenvalue.

        The rows are about their mean: the vector √w has the eigenvalue zero. It is orthogonal to
        all B d, so that its eigenvalue changes only the determinant.
        """
        root = np.sqrt(self.weight / self.weight.sum())
        gram = self.low @ self.low.T
        lift = 2.0 + gram.trace() / len(gram)
        gram += lift * (root[:, None] * root)
        return gram, lift

    def _by_factor(self, lower):
        """Return dᵀ Σ⁻¹ d of all rows, given the Cholesky factor of Σ, which is above the floor."""
        white = self.deviation @ inverse_triangle(lower).T
        return np.einsum("ij,ij->i", white, white)

    def _by_rows(self, lower):
        """Return dᵀ Σ⁻¹ d of all rows, given the Cholesky factor of G."""
        # The own rows are affinely independent: a is known, and d is in the span.
        distance = np.empty(len(self.sizes))
        distance[self.felt] = 1.0 / self.weight - 1.0 / self.weight.sum()
        if len(self.weight) < len(distance):
            back, other = inverse_triangle(lower), ~self.felt
            distance[other] = self._distances(other, back @ self.low, back)
        return distance

    def _by_directions(self):
        """Return dᵀ Σ⁻¹ d of all rows, and ½ ln |Σ|; some eigenvalues are raised to one."""
        low = self.low
        if len(low) <= low.shape[1]:
            values, vectors = np.linalg.eigh(low @ low.T)
            above = values > 1.0
            roots = np.sqrt(values[above])
            basis = (vectors[:, above] / roots).T @ low
        else:
            values, vectors = np.linalg.eigh(low.T @ low)
            above = values > 1.0
            roots, basis = np.sqrt(values[above]), vectors[:, above].T
        return self._distances(slice(None), basis, np.diag(1.0 / roots)), np.log(roots).sum()

    def _distances(self, some, basis, back):
        """Return ‖a‖² + ‖d − Bᵀ a‖² of some rows.

        The rows of ``basis`` are orthonormal, and a = backᵀ (basis d).
        """
        deviation, sizes = self.deviation[some], self.sizes[some]
        along = deviation @ basis.T
        distance = sizes - np.einsum("ij,ij->i", along, along)
        near = distance < _NEAR * sizes
        if near.any():
            rest = deviation[near] - along[near] @ basis
            distance[near] = np.einsum("ij,ij->i", rest, rest)
        a = along @ back
        distance += np.einsum("ij,ij->i", a, a)
        return distance
