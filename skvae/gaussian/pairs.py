r"""Products of the factors 1 + r² (x − m)² over features, for many rows, by matrix products.

.. math:: \prod_d \bigl(1 + r_d^2 (x_d - m_d)^2\bigr) = \prod_{(d, e)} \theta_{de}^T \varphi(x_d,
          x_e), \qquad \varphi(x, y) = [x^i y^j]_{i, j \le 2} .

The factors of two features are one polynomial with nine terms, so that matrix products compute
those of all components, with less than half of the work of x − m, its square and its factor. The
terms cancel where rows are far from the centre. With the largest :math:`\rho_d = r_d (|x_d| +
|m_d|)` of a block of rows, the logarithms of all factors have an error of about :math:`2
\varepsilon \sum (1 + \rho_d^2) (1 + \rho_e^2)`, and the log-density of a Student-t :math:`(\nu + 1)
/ 2` times that. Components for which it is larger than ``TOLERANCE`` are not computed.
"""

import numpy as np

from skvae.blocks import ranges
from skvae.gaussian.block import Workspace
from skvae.gaussian.covariance import EPS
from skvae.gaussian.kernel import TOLERANCE

_POWERS = ((0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1), (2, 1), (1, 2), (2, 2))
_PAIRS_OF_A_PRODUCT = 32  # in range for all factors below 6e4
_TERMS, _PAIRS = 1 << 17, 1 << 16  # numbers of φ, and of pairs of factors, that stay in the caches
_LEAST_ROWS = 32  # of a block
# Numbers in the rows, and features, from which products of matrices are faster.
FEWEST_NUMBERS, FEWEST_FEATURES = 1 << 15, 64
_LARGEST_ROOT = 1e70  # for it and its inverse, terms of fourth order are in range


class PairProducts:
    """The logarithms of products of all factors of K components, for blocks of rows.

    Parameters
    ----------
    means, roots : ndarray of shape (n_components, n_features)
        m and r.
    dofs : ndarray of shape (n_components,)
        ν.
    """

    def __init__(self, means, roots, dofs):
        self._half = (means.shape[1] + 1) // 2  # an odd number of features has an empty one more
        self._roots, self._dofs = roots, dofs
        # Rows about zero need not be centred.
        near = np.abs(roots * means).max() <= 1.0
        self._center = np.zeros(means.shape[1]) if near else means.mean(axis=0)
        self._away = means - self._center

    def fill(self, X, out):
        """Write Σ_d ln(1 + r² (x − m)²) of complete rows X (n, D) to out (K, n); NaN if inexact."""
        n_rows = max(_TERMS // (9 * self._half), _LEAST_ROWS) // 8 * 8
        workspaces = Workspace(), Workspace()
        largest, exact = np.full(X.shape[1], -1.0), None
        for first, last in ranges(0, len(X), n_rows):
            terms, squares = self._load(X[first:last], workspaces[0])
            if exact is None or not (squares <= largest).all():
                largest = np.maximum(largest, 2.0 * squares)  # few blocks have larger ones
                exact = np.flatnonzero(self._is_exact(largest))
                coefficients = self._coefficients(exact)
            part = out[:, first:last]
            part[:] = np.nan
            if len(exact):
                part[exact] = self._multiply(coefficients, terms, workspaces[1])

    def _is_exact(self, largest):
        """Return whether the error is small enough, shape (K,), for largest squares (D,)."""
        reach = self._roots * (np.sqrt(largest) + np.abs(self._away))
        bounds = np.ones((len(reach), 2 * self._half))
        bounds[:, : reach.shape[1]] += reach * reach
        of_pairs = np.einsum("kd,kd->k", bounds[:, : self._half], bounds[:, self._half :])
        exact = EPS * (self._dofs + 1.0) * of_pairs <= TOLERANCE
        exact &= self._roots.max(axis=1) < _LARGEST_ROOT
        return exact & (self._roots.min(axis=1) > 1.0 / _LARGEST_ROOT)

    def _coefficients(self, components):
        """Return θ of all pairs of some components, shape (n_pairs, k, 9)."""
        half, roots = self._half, self._roots[components].T
        scaled = roots * self._away[components].T
        polynomials = np.zeros((3, 2 * half, len(components)))
        factors = polynomials[:, : len(roots)]
        np.multiply(scaled, scaled, out=factors[0])
        np.multiply(-2.0 * scaled, roots, out=factors[1])
        np.multiply(roots, roots, out=factors[2])
        polynomials[0] += 1.0
        first, second = polynomials[:, :half], polynomials[:, half:]
        return np.stack([first[i] * second[j] for i, j in _POWERS], axis=-1)

    def _load(self, X, workspace):
        """Return memory for φ of rows X (n, D), with x and x², and the largest of x²."""
        half, (n_rows, n_features) = self._half, X.shape
        [memory] = workspace.cut(n_rows, 9 * half)
        terms = memory.reshape(9, half, n_rows)
        terms[0] = 1.0
        x, squares = terms[1:3].reshape(-1, n_rows), terms[3:5].reshape(-1, n_rows)
        x[n_features:] = 0.0
        np.copyto(x[:n_features], X.T)
        if self._center.any():
            x[:n_features] -= self._center[:, None]
        np.multiply(x, x, out=squares)
        return terms, squares[:n_features].max(axis=1)

    def _multiply(self, coefficients, terms, workspace):
        """Return the logarithms of the components of some coefficients, shape (k, n)."""
        _, x, y, x2, y2, *products = terms
        for (i, j), product in zip(_POWERS[5:], products, strict=True):
            np.multiply((x, x2)[i - 1], (y, y2)[j - 1], out=product)
        length, (half, n_components, _), n_rows = _PAIRS_OF_A_PRODUCT, coefficients.shape, len(x[0])
        n_groups = -(-n_components * n_rows * length // _PAIRS)
        out = np.zeros((n_components, n_rows))
        for some in ranges(0, n_components, -(-n_components // n_groups)):
            for first, last in ranges(0, half, length):
                factors = coefficients[first:last, slice(*some)]
                [memory] = workspace.cut(n_rows, factors.shape[0] * factors.shape[1])
                pairs = memory.reshape(*factors.shape[:2], n_rows)
                np.matmul(factors, terms[:, first:last].swapaxes(0, 1), out=pairs)
                out[slice(*some)] += np.log(np.multiply.reduce(pairs, axis=0))
        return out
