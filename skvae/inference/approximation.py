r"""A Gaussian approximation of a log density: its moments, draws, and how far to trust it.

.. math:: q(\theta) = N(\theta \mid m, C), \qquad
          \ln \int p = \ln E_q[p(\theta) / q(\theta)]

The covariance C is kept in one of two forms, which are never multiplied out unless the matrix
is used: a factor F with :math:`C = F F^T`, or a prior's precision P with leading directions V,
:math:`V^T P V = I`, so that :math:`C = P^{-1} - V \,\mathrm{diag}(\lambda / (1 + \lambda))\, V^T`.
"""

import math
from functools import cached_property
from numbers import Integral

import numpy as np
from scipy import sparse
from scipy.linalg import solve_triangular
from scipy.sparse.linalg import LinearOperator, splu, spsolve_triangular
from sklearn.utils import check_random_state

from skvae.importance import LogEvidence, log_evidence
from skvae.validation import check_number

_N_WEIGHED = 2000  # draws of importance sampling
_COLUMNS = 64  # of an inverse that is computed at a time


class GaussianApproximation:
    """A Gaussian approximation of a density of n parameters.

    It is the result of :func:`laplace` and :func:`gaussian_vi`.

    Parameters
    ----------
    target : LogDensity
        The log density.
    mean : ndarray of shape (n,)
        The mean.
    form : FactorCovariance or LowRankCovariance
        The covariance.
    seed : int
        The seed of the importance sampling, and of draws without their own ``random_state``.

    Attributes
    ----------
    mean : ndarray of shape (n,)
        The mean of each parameter.
    standard_deviation : ndarray of shape (n,)
        The standard deviation of each parameter.
    covariance : ndarray or LinearOperator of shape (n, n)
        The covariance; an operator after ``hessian="low_rank"``, whose products take O(n · rank).
    standard_deviation_error : float
        The largest relative error of a standard deviation, in either direction, that comes from the
        directions which a low rank leaves out. 0 unless the covariance is of low rank.
    n_calls : int
        How often the log density was called to find the approximation.
    """

    def __init__(self, target, mean, form, seed):
        self._target = target
        self._form = form
        self._seed = seed
        self.mean = mean
        self.standard_deviation = np.sqrt(form.variances())
        self.standard_deviation_error = form.error
        self.n_calls = target.n_calls

    def __repr__(self):
        return f"GaussianApproximation(n_parameters={len(self.mean)})"

    @property
    def covariance(self):
        """The covariance, an array or an operator of shape (n, n)."""
        return self._form.matrix()

    def sample(self, n_samples=1, *, random_state=None):
        """Return draws from the approximation.

        Parameters
        ----------
        n_samples : int, default=1
            The number of draws.
        random_state : int, RandomState instance or None, default=None
            The source of randomness; None is that of the approximation.

        Returns
        -------
        theta : ndarray of shape (n_samples, n)
            The draws.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.inference import laplace
        >>> laplace(lambda theta: (-theta @ theta / 2, -theta), np.ones(3)).sample(2).shape
        (2, 3)
        """
        check_number("n_samples", n_samples, Integral, 1)
        rng = check_random_state(self._seed if random_state is None else random_state)
        noise = rng.normal(size=(int(n_samples), len(self.mean)))
        return self.mean + self._form.scaled(noise)

    @property
    def log_evidence(self):
        """The logarithm of the integral of the density, a named tuple, in nats.

        ``value`` is estimated by importance sampling with 2,000 draws of the approximation, and
        ``standard_error`` is its error by chance. Both can be trusted while ``khat`` is below 0.7.
        """
        return self._importance

    @property
    def khat(self):
        """The shape of the tail of the importance weights: above 0.7, do not trust this Gaussian.

        It is −inf where all weights are equal, as they are for a Gaussian density.
        """
        return self._importance.khat

    @cached_property
    def _importance(self) -> LogEvidence:
        rng = check_random_state(self._seed)
        noise = rng.normal(size=(_N_WEIGHED, len(self.mean)))
        log_p = np.array([self._target.value(x) for x in self.mean + self._form.scaled(noise)])
        log_q = -0.5 * (noise * noise).sum(axis=1) - 0.5 * self._form.log_determinant()
        return log_evidence(log_p - log_q + 0.5 * len(self.mean) * math.log(2 * math.pi))


class FactorCovariance:
    """A covariance F Fᵀ.

    Parameters
    ----------
    factor : ndarray of shape (n, n) or (n,)
        A triangular F, or the diagonal of a diagonal one.
    least : tuple of (float, int), optional
        The smallest eigenvalue of a Hessian that is not positive definite, and the parameter in
        which its direction is largest.
    """

    error = 0.0

    def __init__(self, factor, least=None):
        self._factor = factor
        self._least = least

    def check_maximum(self):
        """Raise ValueError if the Hessian was not positive definite."""
        if self._least is not None:
            curvature, j = self._least
            raise ValueError(
                f"log_density: its curvature at the point found is {-curvature:.4g} along a "
                f"direction that is largest in parameter {j}: must be negative. The point is no "
                "strict maximum, or neither data nor prior bear on the direction: give another "
                "start, or a proper prior"
            )

    def variances(self):
        """Return the diagonal of the covariance, (n,)."""
        squares = self._factor**2
        return squares if squares.ndim == 1 else squares.sum(axis=1)

    def matrix(self):
        """Return the covariance, (n, n)."""
        factor = self._factor
        return np.diag(factor**2) if factor.ndim == 1 else factor @ factor.T

    def block(self, n):
        """Return the covariance of the first n parameters, (n, n)."""
        rows = self._factor[:n]
        return rows @ rows.T

    def log_determinant(self):
        """Return ln |C|."""
        factor = self._factor
        return 2.0 * float(np.log(factor if factor.ndim == 1 else np.diagonal(factor)).sum())

    def scaled(self, noise):
        """Return draws (s, n) of mean zero from standard normal noise (s, n)."""
        return noise * self._factor if self._factor.ndim == 1 else noise @ self._factor.T

    def product(self, vector):
        """Return C times a vector."""
        factor = self._factor
        return factor**2 * vector if factor.ndim == 1 else factor @ (factor.T @ vector)


class LowRankCovariance:
    """The covariance of a Gaussian prior and of data that add to its precision along directions.

    Parameters
    ----------
    prior : Precision
        P.
    values : ndarray of shape (rank,)
        λ, the data's precision relative to the prior's along each direction.
    directions : ndarray of shape (n, rank)
        V, with Vᵀ P V = I.
    """

    def __init__(self, prior, values, directions):
        self._prior = prior
        self._curvature = 1.0 + float(values.min())
        # Away from the maximum it can be negative; then its absolute value is used.
        values = np.maximum(np.abs(1.0 + values), np.finfo(float).eps) - 1.0
        self._values = values
        self._directions = directions
        # Along each direction left out, ln variance changes by less than along the last one kept.
        complete = len(values) == len(directions)
        self.error = 0.0 if complete else math.expm1(0.5 * np.abs(np.log1p(values)).min())
        self._prior_variances = None

    def check_maximum(self):
        """Raise ValueError if the Hessian was not positive definite along a direction."""
        if self._curvature <= 0:
            raise ValueError(
                f"log_density: its curvature at the point found is {-self._curvature:.4g}, in "
                "units of the prior's precision, along a direction: must be negative. The point is "
                "no strict maximum: give another start"
            )

    def variances(self):
        """Return the diagonal of the covariance, (n,)."""
        if self._prior_variances is None:
            self._prior_variances = self._prior.variances()
        share = self._values / (1.0 + self._values)
        return self._prior_variances - self._directions**2 @ share

    def matrix(self):
        """Return the covariance as an operator (n, n)."""
        n = len(self._directions)
        return LinearOperator((n, n), matvec=self.product, matmat=self.product, dtype=np.float64)

    def log_determinant(self):
        """Return ln |C|."""
        return -self._prior.log_determinant() - float(np.log1p(self._values).sum())

    def scaled(self, noise):
        """Return draws (s, n) of mean zero from standard normal noise (s, n)."""
        draws = self._prior.unwhitened(noise.T)
        # I − V d Vᵀ P with d = 1 − 1/√(1 + λ) turns a draw of the prior into one of C.
        shrink = 1.0 - 1.0 / np.sqrt(1.0 + self._values)
        along = self._directions.T @ self._prior.product(draws)
        return (draws - self._directions @ (shrink[:, None] * along)).T

    def product(self, vector):
        """Return C times a vector (n,) or vectors (n, s)."""
        share = self._values / (1.0 + self._values)
        along = share[(..., *[None] * (vector.ndim - 1))] * (self._directions.T @ vector)
        return self._prior.solve(vector) - self._directions @ along


class Units:
    """A unit for each parameter: coordinates w with theta = units · w.

    Parameters
    ----------
    units : ndarray of shape (n,)
        The units.
    """

    def __init__(self, units):
        self._units = units[:, None]

    def unwhitened(self, w):
        """Return parameters from w (n, s)."""
        return self._units * w

    def whitened_gradient(self, gradient):
        """Return gradients by w from gradients (n, s) by parameters."""
        return self._units * gradient


class Precision:
    """A symmetric positive definite precision: a diagonal, a matrix or a sparse matrix.

    Parameters
    ----------
    value : array-like or sparse matrix
        The inverse variances (n,), or the matrix (n, n).
    n_parameters : int
        n.
    """

    def __init__(self, value, n_parameters):
        if sparse.issparse(value):
            array = sparse.csc_matrix(value, dtype=np.float64)
            numbers = array.data
        else:
            array = numbers = np.array(value, dtype=np.float64)
        if array.shape not in ((n_parameters,), (n_parameters, n_parameters)):
            raise ValueError(
                f"prior_precision: must have the shape ({n_parameters},) or ({n_parameters}, "
                f"{n_parameters}), found {array.shape}"
            )
        if not np.isfinite(numbers).all():
            raise ValueError("prior_precision: must be finite, found NaN or inf")
        self._array = array
        self._n = n_parameters
        self._factorize()

    def _factorize(self):
        """Store F and its permutation, with P = F Fᵀ after the permutation."""
        array = self._array
        if array.ndim == 1:
            if array.min() <= 0:
                raise ValueError(
                    f"prior_precision: must be positive, found {array.min():.4g} for parameter "
                    f"{int(np.argmin(array))}"
                )
            self._factor = np.sqrt(array)
            return
        difference = abs(array - array.T).max()
        if difference > 1e-8 * abs(array).max():
            raise ValueError(
                f"prior_precision: must be symmetric, but differs from its transpose by "
                f"{difference:.4g}"
            )
        not_definite = "prior_precision: must be positive definite"
        if not sparse.issparse(array):
            try:
                self._factor = np.linalg.cholesky(array)
            except np.linalg.LinAlgError as error:
                raise ValueError(not_definite) from error
            return
        # Without pivoting L U is L D Lᵀ, in an order that keeps L sparse.
        try:
            lu = splu(
                array,
                permc_spec="MMD_AT_PLUS_A",
                diag_pivot_thresh=0.0,
                options={"SymmetricMode": True},
            )
        except RuntimeError as error:  # exactly singular
            raise ValueError(not_definite) from error
        diagonal = lu.U.diagonal()
        if (lu.perm_r != lu.perm_c).any() or diagonal.min() <= 0:
            raise ValueError(not_definite)
        self._lu = lu
        self._factor = (lu.L @ sparse.diags(np.sqrt(diagonal))).tocsr()
        self._transposed = self._factor.T.tocsr()

    def product(self, vector):
        """Return P times a vector (n,) or vectors (n, s)."""
        if self._array.ndim == 1:
            return (self._array * vector.T).T
        return self._array @ vector

    def solve(self, vector):
        """Return P⁻¹ times a vector (n,) or vectors (n, s)."""
        if self._array.ndim == 1:
            return (vector.T / self._array).T
        if sparse.issparse(self._array):
            return self._lu.solve(np.ascontiguousarray(vector))
        half = solve_triangular(self._factor, vector, lower=True, check_finite=False)
        return solve_triangular(self._factor, half, lower=True, trans=1, check_finite=False)

    def unwhitened(self, w):
        """Return F⁻ᵀ w: from w (n, s) in which the prior is standard normal to parameters."""
        if self._array.ndim == 1:
            return w / self._factor[:, None]
        if sparse.issparse(self._array):
            # Row i of the permuted matrix is row perm[i] here.
            return spsolve_triangular(self._transposed, w, lower=False)[self._lu.perm_c]
        return solve_triangular(self._factor, w, lower=True, trans=1, check_finite=False)

    def whitened_gradient(self, gradient):
        """Return F⁻¹ g: from gradients (n, s) by parameters to those by w."""
        if self._array.ndim == 1:
            return gradient / self._factor[:, None]
        if sparse.issparse(self._array):
            permuted = np.empty_like(gradient)
            permuted[self._lu.perm_c] = gradient
            return spsolve_triangular(self._factor, permuted, lower=True)
        return solve_triangular(self._factor, gradient, lower=True, check_finite=False)

    def log_determinant(self):
        """Return ln |P|."""
        factor = self._factor
        return 2.0 * float(np.log(factor if factor.ndim == 1 else factor.diagonal()).sum())

    def variances(self):
        """Return the diagonal of P⁻¹, (n,)."""
        if self._array.ndim == 1:
            return 1.0 / self._array
        out = np.empty(self._n)
        for a in range(0, self._n, _COLUMNS):
            columns = np.arange(a, min(a + _COLUMNS, self._n))
            unit = np.zeros((self._n, len(columns)))
            unit[columns, columns - a] = 1.0
            out[columns] = self.solve(unit)[columns, columns - a]
        return out

    def scale(self):
        """Return 1/√P_jj, each parameter's standard deviation given the others, (n,)."""
        return 1.0 / np.sqrt(self._array if self._array.ndim == 1 else self._array.diagonal())
