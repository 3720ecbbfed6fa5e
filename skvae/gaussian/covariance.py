r"""Covariance structures: one class for each of ``full``, ``tied``, ``diag``, ``spherical``.

A structure defines the shape of the array that holds K covariance matrices, the covariances that
maximise the likelihood of given statistics, and how covariances are factored, restricted to
features, conditioned and drawn from. All code that depends on the kind of covariance is here or in
:mod:`skvae.gaussian.kernel`, so that the models contain no case distinction.

Symbols: ``K`` components, ``D`` features; ``U`` is the Cholesky factor of a precision as
scikit-learn stores it, :math:`\Sigma^{-1} = U U^T` with ``U`` upper triangular.

The floor: covariances satisfy :math:`\Sigma \succeq F = \mathrm{diag}(f)`. To maximise the
likelihood under this constraint, raise the eigenvalues of :math:`F^{-1/2} S F^{-1/2}` that are
below one to one (von Neumann's trace inequality). EM with this M step never lowers the likelihood.
To add a constant to the diagonal, as is often done, can lower it.
"""

from itertools import pairwise

import numpy as np
from scipy.linalg import blas, lapack

from skvae.ascent.loop import Collapse

EPS = np.finfo(np.float64).eps
FLAT = 1e8  # variances relative to the floor up to which a rank differs from round-off
_BLOCK = 32  # columns of a block in LAPACK
_PANEL = 16  # the same of triangular matrices above few rows
_TRIANGLE = 64  # features up to which LAPACK inverts a triangle at once
MANY = 24  # features from which a low rank is faster than all eigenvalues
LOG_2PI = np.log(2 * np.pi)


def _collapse(component):
    """Return the exception for a singular covariance (component −1: the shared one)."""
    name = "the shared covariance" if component < 0 else f"component {component}"
    return Collapse(f"{name} is singular (it holds too few distinct rows)")


def inverse_triangle(lower):
    """Return the inverse of a lower triangular matrix with zeros above its diagonal.

    Halves are inverted, and their products make the rest: LAPACK's inverse of large triangles takes
    two to four times as long.
    """
    n = len(lower)
    if n <= _TRIANGLE:
        return lapack.dtrtri(lower, lower=True)[0]
    half, out = n // 2, np.zeros(lower.shape, order="F")
    first = out[:half, :half] = inverse_triangle(lower[:half, :half])
    last = out[half:, half:] = inverse_triangle(lower[half:, half:])
    below = blas.dtrmm(-1.0, first, lower[half:, :half], side=1, lower=1)
    out[half:, :half] = blas.dtrmm(1.0, last, below, lower=1, overwrite_b=1)
    return out


def _factor_each(covariances):
    """Return the factors U of the precisions, (K, D, D), and whether each is not round-off, (K,).

    U is upper triangular with inv(covariance) = U Uᵀ. That of a singular covariance is not written,
    but for NaN on its diagonal.
    """
    factors = np.empty_like(covariances)
    for k, covariance in enumerate(covariances):
        # The transpose of a symmetric matrix is in LAPACK's order of memory.
        lower, info = lapack.dpotrf(covariance.T, lower=True, clean=True)
        if info:
            factors[k].ravel()[:: len(covariance) + 1] = np.nan
        else:
            small = len(lower) <= _TRIANGLE
            inverse = lapack.dtrtri(lower, lower=True)[0] if small else inverse_triangle(lower)
            factors[k] = inverse.T
    # 1/(diag(U)² diag(Σ)) is the share of a feature's variance that the earlier features do not
    # explain: at D·eps it is round-off, and the factor is noise.
    diagonal = np.diagonal(factors, axis1=1, axis2=2)
    # The squares of the diagonal of U could overflow.
    share = diagonal * (diagonal * np.diagonal(covariances, axis1=1, axis2=2))
    return factors, (share < 1.0 / (4 * EPS * covariances.shape[-1])).all(axis=1)


def _factors(covariances):
    """Return the factors U of the precisions, shape (K, D, D); raise Collapse if one is singular.

    U is upper triangular with inv(covariance) = U Uᵀ.
    """
    factors, usable = _factor_each(covariances)
    if not usable.all():
        raise _collapse(int(np.argmin(usable)))
    return factors


def _upper(root):
    """Return the upper triangular U with positive diagonal and U Uᵀ = A Aᵀ, for a square A."""
    upper = np.triu(lapack.dgerqf(root, lwork=_BLOCK * len(root))[0])
    return upper * np.where(np.diagonal(upper) < 0, -1.0, 1.0)


def _raised_to_one(matrix):
    """Return the matrix with its eigenvalues below one raised to one, and its factor U.

    U is computed from the eigenvectors: for a component that is flat to within 1e-12 they are still
    exact, but its Cholesky factor is not, and the bound would not be monotone.
    """
    low = _low_rank(matrix)
    if low is not None:
        return raised_low_rank(low, low.T @ low)
    values, vectors = np.linalg.eigh(matrix)
    if values[0] < 1.0:
        values = np.maximum(values, 1.0)
        matrix = _symmetric((vectors * values) @ vectors.T)
    return matrix, _upper(vectors / np.sqrt(values))  # Σ⁻¹ = A Aᵀ; with A = U Q it is U Uᵀ


def _low_rank(matrix):
    """Return B (D, r) with B Bᵀ the matrix and r below D, or None if there is none."""
    n = len(matrix)
    if n < MANY or matrix.diagonal().max() > FLAT:
        return None
    lower, order, rank, _ = lapack.dpstrf(matrix.T, lower=True)
    if 10 * rank > 9 * n:
        return None
    lower = lower[:, :rank]
    lower[:rank] *= np.tri(rank)
    low = np.empty((n, rank))
    low[order - 1] = lower
    return low


def raised_low_rank(low, gram):
    """Return B Bᵀ, of low rank, with its eigenvalues below one raised to one, and its factor U.

    ``gram`` is G = Bᵀ B; where B v = 0, v may have any eigenvalue above one.
    """
    n, rank = low.shape
    if rank == 0:  # a component on one row; LAPACK takes no empty matrices
        return np.eye(n), np.eye(n)
    # No more eigenvalues than the rank can be above one; all others are one: Σ = I + C Cᵀ. The QR
    # of I above Cᵀ gives Rᵀ R = Σ and U = R⁻¹, as exact in the flat directions as eigenvectors.
    wide = _excess_of_all(low, gram)
    if wide is None:
        values, vectors = np.linalg.eigh(gram)
        above = values > 1.0
        wide = low @ (vectors[:, above] * np.sqrt(1.0 - 1.0 / values[above]))
    raised = wide @ wide.T
    raised.ravel()[:: n + 1] += 1.0
    root = np.eye(n, order="F")
    root = lapack.dtpqrt(0, _PANEL, root, wide.T, overwrite_a=True, overwrite_b=True)[0]
    factor, _ = lapack.dtrtri(root, overwrite_c=True)
    factor *= np.copysign(1.0, np.diagonal(factor))
    return raised, factor


def is_above_one(matrix):
    """Return whether all eigenvalues of a symmetric matrix are above one."""
    return not lapack.dpotrf((matrix - np.eye(len(matrix))).T, lower=True, overwrite_a=True)[1]


def _excess_of_all(low, gram):
    """Return C with C Cᵀ = B (I − G⁻¹) Bᵀ, G = Bᵀ B; None if some eigenvalue of G is ≤ one."""
    root, failed = lapack.dpotrf(gram.T, lower=True)
    if failed:
        return None
    inverse, _ = lapack.dpotri(root, lower=True, overwrite_c=True)  # its lower triangle
    part, failed = lapack.dpotrf(np.eye(len(gram)) - inverse, lower=True, clean=True)
    return None if failed else low @ part


def _symmetric(matrices):
    out = matrices + np.swapaxes(matrices, -1, -2)
    out *= 0.5
    return out


def _root(covariance):
    """Return A with A Aᵀ the covariance, also where rounding makes a flat one indefinite."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        scale = np.sqrt(np.diagonal(covariance))
        values, vectors = np.linalg.eigh(covariance / (scale[:, None] * scale))
        return scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))


def _unresolved(component):
    """Return the exception for a variance that is round-off (component −1: the shared one)."""
    name = "the shared covariance" if component < 0 else f"component {component}"
    return Collapse(
        f"{name} varies by no more than float64 resolves at the size of the values (its rows are "
        "alike, or X needs an offset subtracted)"
    )


def _condition(covariances, rest, given):
    """Return the covariances of ``rest`` given ``given`` (K, R, R), the regressions (K, R, G)."""
    between = covariances[:, rest[:, None], given]
    inside = covariances[:, given[:, None], given]
    regression = np.linalg.solve(inside, between.transpose(0, 2, 1)).transpose(0, 2, 1)
    left = covariances[:, rest[:, None], rest] - regression @ between.transpose(0, 2, 1)
    return _symmetric(left), regression


class FullCovariance:
    """Each component has its own matrix: arrays of shape (K, D, D)."""

    name = "full"

    def shape(self, n_components, n_features):
        return (n_components, n_features, n_features)

    def n_parameters(self, n_components, n_features):
        return n_components * n_features * (n_features + 1) // 2

    def recenter(self, scatter, counts, sums, shift):
        """Return the scatter about centres that moved by ``shift`` (K, D)."""
        # S − d sᵀ − s dᵀ + n d dᵀ as one product of rank two: a tenth of the time of four sums.
        half = sums - 0.5 * counts[:, None] * shift
        n_components, n_features = shift.shape
        one, two = np.empty((n_components, n_features, 2)), np.empty((n_components, 2, n_features))
        one[:, :, 0] = two[:, 1] = shift
        one[:, :, 1] = two[:, 0] = half
        moved = one @ two
        return np.subtract(scatter, moved, out=moved)

    def maximize(self, scatter, counts, total, floor):
        """Return the covariances, and factors, that maximise the likelihood of scatters."""
        covariances = scatter + scatter.swapaxes(1, 2)
        covariances *= (0.5 / counts)[:, None, None]
        return self.raise_to(covariances, floor)

    def raise_to(self, covariances, floor):
        """Return the covariances raised to ⪰ diag(floor), and their factors U.

        See the module's docstring. Eigenvalues are computed only of covariances that may be below
        the floor.
        """
        if not floor.any():
            return covariances, _factors(covariances)
        factors, usable = _factor_each(covariances)
        above = usable.copy()
        if usable.any():
            # tr(F Σ⁻¹) ≤ 1 is sufficient for Σ ⪰ F, and usually far from its limit.
            with np.errstate(over="ignore"):  # of a component that is far below the floor
                above &= np.einsum("kij,kij->ki", factors, factors) @ floor <= 1.0
            if above.all():
                return covariances, factors
        scale, raised = 1.0 / np.sqrt(floor), covariances.copy()
        outer = scale[:, None] * scale
        for k in np.flatnonzero(~above):
            scaled = covariances[k] * outer
            if usable[k] and is_above_one(scaled):
                continue
            scaled, factor = _raised_to_one(scaled)
            np.divide(scaled, outer, out=raised[k])
            np.multiply(factor, scale[:, None], out=factors[k])
            # Extrapolations may have variances of 1e30 floors: round-off then leaves no factor.
            if not np.diagonal(factors[k]).all():
                raise _collapse(k)
        return raised, factors

    def scatter_of(self, covariances, counts):
        """Return the scatter about the means that makes these covariances their maximiser."""
        return covariances * counts[:, None, None]

    def keep(self, scatter, previous, empty):
        """Return the scatter with that of empty components replaced by their covariances."""
        return np.where(empty[:, None, None], previous, scatter)

    def check(self, covariances, resolution):
        """Raise Collapse where a variance is not above ``resolution``, the data's round-off."""
        resolved = np.diagonal(covariances, axis1=-2, axis2=-1) > resolution
        if not resolved.all():
            raise _unresolved(int(np.argmin(resolved.all(axis=-1))))

    precisions_cholesky = staticmethod(_factors)

    def precisions(self, precisions_cholesky):
        return precisions_cholesky @ np.swapaxes(precisions_cholesky, -1, -2)

    def inverse(self, matrices):
        """Return the inverses of covariances or of precisions."""
        return self.precisions(self.precisions_cholesky(matrices))

    def covariances_of(self, precisions_cholesky):
        """Return the covariances of the factors U."""
        inverse = np.linalg.inv(precisions_cholesky)
        return _symmetric(np.swapaxes(inverse, -1, -2) @ inverse)

    def half_log_det(self, precisions_cholesky, n_features):
        """Return ½ ln|Σ⁻¹| per component, shape (K,) or scalar, in nats."""
        return np.log(np.diagonal(precisions_cholesky, axis1=-2, axis2=-1)).sum(-1)

    def variances(self, covariances, n_components, n_features):
        """Return the variance of each feature in each component, shape (K, D)."""
        diagonal = np.diagonal(covariances, axis1=-2, axis2=-1)
        return np.broadcast_to(diagonal, (n_components, n_features))

    def pooled(self, covariance, n_components):
        """Return one (D, D) covariance as that of every component."""
        return np.repeat(covariance[None], n_components, axis=0)

    def restrict(self, covariances, features):
        """Return the covariances of a subset of the features."""
        return covariances[:, features[:, None], features]

    def condition(self, covariances, rest, given):
        """Return the covariances of ``rest`` given ``given``, the regressions (K or 1, R, G)."""
        return _condition(covariances, rest, given)

    def rescale(self, covariances, factors):
        """Return the covariances of the features multiplied by ``factors`` (D,)."""
        return covariances * (factors[:, None] * factors)

    def roots(self, covariances):
        """Return a square root A of each covariance, Σ = A Aᵀ."""
        return np.array([_root(covariance) for covariance in covariances])

    def color(self, noise, labels, roots):
        """Return standard normal rows (n, D) turned into rows of each label's covariance."""
        n_components = len(roots)
        if n_components == 1:
            return noise @ roots[0].T
        # Rows of a label are put together; numbers of 16 bits are sorted ten times as fast.
        short = labels.astype(np.int16) if n_components < 1 << 15 else labels
        order = np.argsort(short, kind="stable")
        rows = noise.take(order, axis=0)
        ends = np.bincount(labels, minlength=n_components).cumsum()
        for k, (first, last) in enumerate(pairwise([0, *ends])):
            if last > first:
                rows[first:last] = rows[first:last] @ roots[k].T
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        return rows.take(place, axis=0)

    def pack(self, precisions_cholesky):
        """Return the precisions as a vector without constraints (log diagonal, upper triangle)."""
        rows, columns = np.triu_indices(precisions_cholesky.shape[-1], 1)
        diagonal = np.diagonal(precisions_cholesky, axis1=-2, axis2=-1)
        upper = precisions_cholesky[..., rows, columns]
        # Columns over their diagonal: free of units, and small steps stay small in the covariance.
        return np.concatenate([np.log(diagonal).ravel(), (upper / diagonal[..., columns]).ravel()])

    def unpack(self, vector, n_components, n_features):
        """Return the covariances for a vector made by ``pack``."""
        lead = self.shape(n_components, n_features)[:-2]
        n_diagonal = int(np.prod(lead, dtype=int)) * n_features
        diagonal = np.exp(vector[:n_diagonal].reshape((*lead, n_features)))
        rows, columns = np.triu_indices(n_features, 1)
        factor = np.zeros((*lead, n_features, n_features))
        factor[..., rows, columns] = (
            vector[n_diagonal:].reshape((*lead, len(rows))) * diagonal[..., columns]
        )
        index = np.arange(n_features)
        factor[..., index, index] = diagonal
        try:
            return self.covariances_of(factor)
        except np.linalg.LinAlgError:  # the exponential of a diagonal is zero
            raise Collapse("the extrapolation overflows") from None


class TiedCovariance(FullCovariance):
    """All components share one matrix: arrays of shape (D, D)."""

    name = "tied"

    def shape(self, n_components, n_features):
        return (n_features, n_features)

    def n_parameters(self, n_components, n_features):
        return n_features * (n_features + 1) // 2

    def recenter(self, scatter, counts, sums, shift):
        cross = shift.T @ sums
        return scatter - cross - cross.T + (shift.T * counts) @ shift

    def maximize(self, scatter, counts, total, floor):
        return self.raise_to(_symmetric(scatter / total), floor)

    def raise_to(self, covariances, floor):
        try:
            raised, factors = super().raise_to(covariances[None], floor)
        except Collapse:
            raise _collapse(-1) from None
        return raised[0], factors[0]

    def scatter_of(self, covariances, counts):
        return covariances * counts.sum()

    def keep(self, scatter, previous, empty):
        return scatter

    def check(self, covariances, resolution):
        if not np.all(np.diagonal(covariances) > resolution):
            raise _unresolved(-1)

    def precisions_cholesky(self, covariances):
        try:
            return _factors(covariances[None])[0]
        except Collapse:
            raise _collapse(-1) from None

    def pooled(self, covariance, n_components):
        return covariance

    def restrict(self, covariances, features):
        return covariances[features[:, None], features]

    def condition(self, covariances, rest, given):
        left, regression = _condition(covariances[None], rest, given)
        return left[0], regression

    def roots(self, covariances):
        return _root(covariances)

    def color(self, noise, labels, roots):
        return noise @ roots.T


class DiagonalCovariance:
    """Each component has a variance per feature: arrays of shape (K, D)."""

    name = "diag"

    def shape(self, n_components, n_features):
        return (n_components, n_features)

    def n_parameters(self, n_components, n_features):
        return n_components * n_features

    def recenter(self, scatter, counts, sums, shift):
        return scatter - shift * (2.0 * sums - counts[:, None] * shift)

    def maximize(self, scatter, counts, total, floor):
        return self.raise_to(scatter / counts[:, None], floor)

    def raise_to(self, covariances, floor):
        raised = np.maximum(covariances, floor)
        return raised, self.precisions_cholesky(raised)

    def scatter_of(self, covariances, counts):
        return covariances * counts[:, None]

    def keep(self, scatter, previous, empty):
        return np.where(empty[:, None], previous, scatter)

    def check(self, covariances, resolution):
        resolved = covariances > resolution
        if not resolved.all():
            raise _unresolved(int(np.argmin(resolved.all(axis=1))))

    def precisions_cholesky(self, covariances):
        good = covariances > 0
        if not good.all():
            raise _collapse(int(np.argmin(good.reshape(len(good), -1).all(axis=1))))
        return 1.0 / np.sqrt(covariances)

    def precisions(self, precisions_cholesky):
        return precisions_cholesky**2

    def inverse(self, matrices):
        return 1.0 / matrices

    def covariances_of(self, precisions_cholesky):
        return 1.0 / precisions_cholesky**2

    def half_log_det(self, precisions_cholesky, n_features):
        return np.log(precisions_cholesky).sum(-1)

    def variances(self, covariances, n_components, n_features):
        return covariances

    def pooled(self, covariance, n_components):
        return np.repeat(np.diagonal(covariance)[None], n_components, axis=0)

    def restrict(self, covariances, features):
        return covariances[:, features]

    def condition(self, covariances, rest, given):
        n_components = len(covariances)
        return self.restrict(covariances, rest), np.zeros((n_components, len(rest), len(given)))

    def rescale(self, covariances, factors):
        return covariances * factors**2

    def roots(self, covariances):
        return np.sqrt(covariances)

    def color(self, noise, labels, roots):
        return noise * (roots if len(roots) == 1 else roots.take(labels, axis=0))

    def pack(self, precisions_cholesky):
        return np.log(precisions_cholesky).ravel()

    def unpack(self, vector, n_components, n_features):
        return np.exp(-2.0 * vector).reshape(self.shape(n_components, n_features))


class SphericalCovariance(DiagonalCovariance):
    """Each component has one variance: arrays of shape (K,)."""

    name = "spherical"

    def shape(self, n_components, n_features):
        return (n_components,)

    def n_parameters(self, n_components, n_features):
        return n_components

    def recenter(self, scatter, counts, sums, shift):
        """Return the mean over features of the scatter about centres moved by ``shift``."""
        change = counts[:, None] * shift**2 - 2 * shift * sums
        return scatter + change.mean(axis=1)

    def maximize(self, scatter, counts, total, floor):
        return self.raise_to(scatter / counts, floor)

    def raise_to(self, covariances, floor):
        # σ² I ⪰ diag(f) means that σ² is at least the largest entry of f.
        raised = np.maximum(covariances, floor.max())
        return raised, self.precisions_cholesky(raised)

    def scatter_of(self, covariances, counts):
        return covariances * counts

    def keep(self, scatter, previous, empty):
        return np.where(empty, previous, scatter)

    def check(self, covariances, resolution):
        for k in np.flatnonzero(~(covariances > resolution.mean())):
            raise _unresolved(int(k))

    def half_log_det(self, precisions_cholesky, n_features):
        return n_features * np.log(precisions_cholesky)

    def variances(self, covariances, n_components, n_features):
        return np.broadcast_to(covariances[:, None], (n_components, n_features))

    def pooled(self, covariance, n_components):
        return np.full(n_components, np.diagonal(covariance).mean())

    def restrict(self, covariances, features):
        return covariances

    def rescale(self, covariances, factors):
        """Return the variances of all features multiplied by one factor (a scalar)."""
        return covariances * factors**2

    def color(self, noise, labels, roots):
        return noise * roots[labels, None]


STRUCTURES = {
    structure.name: structure
    for structure in (
        FullCovariance(),
        TiedCovariance(),
        DiagonalCovariance(),
        SphericalCovariance(),
    )
}
