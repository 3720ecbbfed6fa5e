r"""Posterior variances of a Bayesian mixture that mean field hides, by linear response.

q(θ) q(z) ignores that the parameters θ = (π, μ, Λ) depend on the assignments z. A tilt of the
exact posterior by :math:`e^{t g(\theta)}` moves :math:`E[g]` at the rate of the posterior variance
of g. Linear response computes the rate at which it moves the *optimal* q:

.. math:: \mathrm{Var}(g) = \mathrm{Var}_q(g) + C^T (I - J F)^{-1} J C, \qquad
          F = \mathrm{Cov}_q(T), \quad C = \mathrm{Cov}_q(T, g), \quad
          J = \sum_n w_n \mathrm{Cov}_{q(z_n)}(\varphi_n),

where the log-density of a row and its component is :math:`\varphi_n(z_n)^T T(\theta)`: T are the
natural statistics of θ, and φ those of the row. J is the derivative of the E step, F that of the
M step, and the eigenvalues of JF are the rates of coordinate ascent. A maximum has rates below 1.

With a root :math:`F = L L^T` all of it is symmetric: :math:`S = L^T J L`, and

.. math:: \mathrm{Var}(g) = \mathrm{Var}_q(g) + c^T (I - S)^{-1} S\, c, \qquad
          L\, c = C .

The root is known. About the mean m of a component and with :math:`y = U^T (x - m)`, :math:`E
\Lambda = U U^T`, the statistics of first and second order are uncorrelated under q, so that
:math:`L^T \varphi` consists of

- :math:`y_i / \sqrt\beta`, :math:`(y_i^2 - 1) / \sqrt{2\nu}` and :math:`y_i y_j / \sqrt\nu`, times
  the responsibility (diag: without the products; spherical: :math:`(\lVert y \rVert^2 - D) /
  \sqrt{2\nu}`; tied: those of second order are added up over the components),
- the responsibilities times a root of the covariance of ln π,
- the responsibilities times :math:`\sqrt\rho_k`, the deviation of the rest of :math:`\tfrac12
  \ln|\Lambda| - \tfrac12 (\mu - m)^T \Lambda (\mu - m)`, which is of the order of 1 / ν.

Given the observed features of an incomplete row, y is Gaussian with a projector as covariance.

References: Giordano, Broderick and Jordan, Linear response methods for accurate covariance
estimates from mean field variational Bayes (NIPS 2015); Covariances, robustness and variational
Bayes (J. Mach. Learn. Res. 19, 2018).
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.special import digamma, polygamma

from skvae.ascent.anderson import AndersonStep
from skvae.ascent.loop import ascend
from skvae.blocks import DistributedRows, even_block, missing_patterns, ranges
from skvae.gaussian.conjugate import NormalWishart
from skvae.gaussian.precisions import PRECISIONS, along
from skvae.gaussian.statistics import NO_ROWS
from skvae.mixture.bayesian.posterior import MixturePosterior
from skvae.mixture.bayesian.steps import BatchStep
from skvae.mixture.e_step import expect, normalize
from skvae.mixture.parameters import Coordinates, MixtureParameters

_LARGEST_MATRIX = 3000  # coordinates up to which S is formed and factored
_NUMBERS = 1 << 21  # in the arrays of a block of rows
_MOST_STEPS = 2000
_LEAST_GAIN = 1e-8  # nats in total
_RESOLUTION = 1e-15  # nats per row
_ROUNDING = 1e-6  # standard deviations
_TOLERANCE = 1e-5  # of a residual of conjugate gradients, relative


class Inflation(NamedTuple):
    """Ratios of the corrected variances to those under q, at least 1.

    Parameters
    ----------
    weights : ndarray of shape (n_components,)
        Of the variances of ln π.
    means : ndarray of shape (n_components, n_features)
        Of the variances of the means.
    variances : ndarray
        Of the variances of the logarithms of the variances, in the shape of their intervals.
    """

    weights: np.ndarray | float = 1.0
    means: np.ndarray | float = 1.0
    variances: np.ndarray | float = 1.0


class NoMaximum(ArithmeticError):
    """Raised if a rate of coordinate ascent is not below one.

    Attributes
    ----------
    posterior : MixturePosterior
        The end of the ascent.
    """

    posterior = None

    def __init__(self):
        super().__init__(
            "where coordinate ascent ended, a rate is not below 1, so that the bound has no strict "
            "maximum there"
        )


# The statistics of rows ---------------------------------------------------------------------------


class Basis:
    """The coordinates in which the statistics T are uncorrelated under q, with variance one.

    Parameters
    ----------
    posterior : MixturePosterior
        q.
    """

    def __init__(self, posterior):
        components = posterior.components
        self._kind = components.covariance_type
        self._means, beta = components.means, components.mean_precisions
        self.n_components, self.n_features = shape = self._means.shape
        self._is_wishart = self._kind in ("full", "tied")
        self._factors = components.precisions_cholesky
        if self._is_wishart:
            self._factors = np.broadcast_to(self._factors, (shape[0], shape[1], shape[1]))
            self._pairs = np.triu_indices(shape[1])
        else:
            self._factors = np.broadcast_to(self._factors.reshape(shape[0], -1), shape)
            self._pairs = (np.arange(1 if self._kind == "spherical" else shape[1]),) * 2
        self._same = 1.0 * (self._pairs[0] == self._pairs[1])
        self._first = np.broadcast_to(1.0 / np.sqrt(beta)[:, None], shape)
        # One row of coordinates of second order where all components share Λ.
        self._dofs = np.atleast_1d(components.dofs)
        self._second = 1.0 / np.sqrt(np.outer(self._dofs, 1.0 + self._same))
        covariance = posterior.weights.log_covariance()
        values, vectors = np.linalg.eigh(covariance)
        self._weights = vectors * np.sqrt(np.maximum(values, 0.0))
        self._rest = np.sqrt(self._variances_of_rest(beta))
        self._zeroth = np.concatenate([self._weights, self._rest], axis=1)
        self.n_coordinates = self._zeroth.shape[1] + self._first.size + self._second.size
        self._log_variances = np.diagonal(covariance)
        self._set_variances(components)
        self.kernel = posterior.kernel()

    def _set_variances(self, components):
        """Set the variances under q of μ, (K, D), and of ln σ², (n_own, n_each)."""
        kind, dofs = PRECISIONS[self._kind], np.atleast_1d(components.marginal_dofs)
        scale = kind.marginal_scale(components.scales, self.n_features)
        n_each = 1 if self._kind == "spherical" else self.n_features
        scale = scale.reshape(len(dofs), n_each)
        self._variances = np.broadcast_to(polygamma(1, 0.5 * dofs)[:, None], scale.shape)
        # Of a Gaussian with the scale of the Student-t, which may have no variance.
        self._mean_variances = scale / dofs[:, None] / components.mean_precisions[:, None]
        self._mean_variances = np.broadcast_to(self._mean_variances, self._means.shape)

    def _variances_of_rest(self, beta):
        """Return the matrix of the variances ρ: one column for each independent rest."""
        n_features, nu = self.n_features, self._dofs
        size, _ = PRECISIONS[self._kind].sizes(n_features)
        halves = 0.5 * (nu[:, None] - np.arange(size))
        copies = {"diag": n_features, "spherical": n_features**2}.get(self._kind, 1)
        own = copies * (0.25 * polygamma(1, halves) - 0.5 / nu[:, None]).sum(axis=1)
        of_means = 0.5 * n_features / beta**2
        if self._kind == "tied":
            return np.column_stack([np.diag(of_means), np.broadcast_to(own, beta.shape)])
        return np.diag(of_means + own)

    # Coordinates and coefficients of the terms ----------------------------------------------------

    def spread(self, vectors):
        """Return L v: the coefficients (K, n_terms, p) of the terms for vectors (G, p)."""
        a = self._zeroth.shape[1]
        b, p = a + self._first.size, vectors.shape[1]
        second = vectors[b:].reshape(*self._second.shape, p) * self._second[:, :, None]
        return np.concatenate(
            [
                (self._zeroth @ vectors[:a])[:, None],
                vectors[a:b].reshape(*self._first.shape, p) * self._first[:, :, None],
                np.broadcast_to(second, (self.n_components, *second.shape[1:])),
            ],
            axis=1,
        )

    def gather(self, sums):
        """Return Lᵀ s: the vectors (G, p) for sums of the terms (K, n_terms, p)."""
        p, last = sums.shape[2], 1 + self.n_features
        second = sums[:, last:]
        if self._kind == "tied":
            second = second.sum(axis=0, keepdims=True)
        return np.concatenate(
            [
                self._zeroth.T @ sums[:, 0],
                (sums[:, 1:last] * self._first[:, :, None]).reshape(-1, p),
                (second * self._second[:, :, None]).reshape(-1, p),
            ]
        )

    def targets(self):
        """Return c (G, p) of all ln π, μ and ln σ², in this order."""
        n_components, n_zeroth = self.n_components, self._zeroth.shape[1]
        if self._is_wishart:
            inverse = np.linalg.inv(self._factors)
        else:
            inverse = np.array([np.diag(1.0 / factor) for factor in self._factors])
        n_own, n_each = len(self._dofs), self._variances.shape[1]
        first = n_components + self._means.size
        out = np.zeros((self.n_coordinates, first + n_own * n_each))
        out[:n_components, :n_components] = self._weights.T
        own = np.arange(self.n_features)
        for k, factor in enumerate(inverse):
            rows, columns = n_zeroth + k * len(own) + own, n_components + k * len(own) + own
            out[rows[:, None], columns] = factor * self._first[k, 0]
        for k in range(n_own):
            unit = inverse[k] / np.linalg.norm(inverse[k], axis=0)
            unit = unit[:n_each, :n_each]
            change = unit[self._pairs[0]] * unit[self._pairs[1]]
            change *= ((2.0 - self._same) * np.sqrt(1.0 + self._same))[:, None]
            rows = n_zeroth + self._means.size + k * len(self._same) + np.arange(len(self._same))
            columns = first + k * n_each + np.arange(n_each)
            out[rows[:, None], columns] = change / np.sqrt(self._dofs[k])
            out[n_zeroth - n_own + k, columns] = self._response_of_rest(k)
        return out

    def _response_of_rest(self, k):
        """Return the coordinates of ln σ² along the rest of Λ's own statistics."""
        rate = 1.0 / self._dofs[k] - 0.5 * self._variances[k]
        if self._kind == "spherical":
            rate = rate * self.n_features
        column = self._rest[:, -1] if self._kind == "tied" else np.diagonal(self._rest)
        return rate / column[k]

    def variances(self):
        """Return Var_q (p,) of all ln π, μ and ln σ², in this order."""
        return np.concatenate(
            [self._log_variances, self._mean_variances.ravel(), self._variances.ravel()]
        )

    # Terms of rows --------------------------------------------------------------------------------

    def terms(self, X):
        """Return the expected 1, y and products of rows (n, D), shape (K, n, n_terms)."""
        missing = np.isnan(X)
        deviation = np.where(missing, 0.0, X - self._means[:, None])
        factors = self._factors
        y = deviation @ factors if self._is_wishart else deviation * factors[:, None]
        i, j = self._pairs
        if self._kind == "spherical":
            second = (np.where(missing, 0.0, y * y - 1.0)).sum(axis=2, keepdims=True)
        elif self._kind == "diag":
            second = np.where(missing, 0.0, y * y - 1.0)
        else:
            known = np.broadcast_to(-self._same, (*y.shape[:2], len(i)))
            if missing.any():
                known = known.copy()
                for rows, projector in self._patterns(missing):
                    y[:, rows] -= y[:, rows] @ projector
                    known[:, rows] += projector[:, None, i, j]
            second = y[:, :, i] * y[:, :, j] + known
        return np.concatenate([np.ones((*y.shape[:2], 1)), y, second], axis=2)

    def _patterns(self, missing):
        """Yield the rows of each pattern with missing features and y's covariances (K, D, D)."""
        pattern, _ = missing_patterns(np.where(missing, np.nan, 0.0))
        for number in range(pattern.max() + 1):
            rows = np.flatnonzero(pattern == number)
            features = missing[rows[0]]
            if features.any():
                q, _ = np.linalg.qr(np.swapaxes(self._factors[:, features], 1, 2))
                yield rows, q @ np.swapaxes(q, 1, 2)

    def within(self, X, weights, terms):
        """Return the covariances of the terms given the observed features, added up over rows.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Rows, of which at least one is incomplete.
        weights : ndarray of shape (n_components, n)
            The weights of the rows times their responsibilities.
        terms : ndarray of shape (n_components, n, n_terms)
            The terms of the rows.

        Returns
        -------
        sums : ndarray of shape (n_components, n_terms) or (n_components, n_terms, n_terms)
            Their variances where features are independent; the terms are then uncorrelated.
        """
        missing = np.isnan(X)
        n_components, n_terms = terms.shape[0], terms.shape[2]
        last = 1 + self.n_features
        if not self._is_wishart:
            numbers = weights @ missing
            second = numbers if self._kind == "diag" else numbers.sum(axis=1, keepdims=True)
            return np.concatenate([np.zeros((n_components, 1)), numbers, 2.0 * second], axis=1)
        out = np.zeros((n_components, n_terms, n_terms))
        i, j = self._pairs

        def products(a, b):
            """Return a_ik b_jl + a_il b_jk for the pairs (i, j) and (k, l)."""
            return (
                a[:, i[:, None], i] * b[:, j[:, None], j]
                + a[:, i[:, None], j] * b[:, j[:, None], i]
            )

        for rows, projector in self._patterns(missing):
            weight, y = weights[:, rows], terms[:, rows, 1:last]
            total, first = weight.sum(axis=1), np.einsum("kn,kni->ki", weight, y)
            moments = np.swapaxes(y * weight[:, :, None], 1, 2) @ y
            mixed = projector[:, :, i] * first[:, None, j] + projector[:, :, j] * first[:, None, i]
            out[:, 1:last, 1:last] += total[:, None, None] * projector
            out[:, 1:last, last:] += mixed
            out[:, last:, 1:last] += np.swapaxes(mixed, 1, 2)
            out[:, last:, last:] += products(total[:, None, None] * projector + moments, projector)
            out[:, last:, last:] += products(projector, moments)
        return out


# Products with J ----------------------------------------------------------------------------------


def _change_of_sums(rows, pool, basis, coefficients):
    """Return J v, the sums (K, n_terms, p) by which an E step changes, in a tuple."""
    kernel = basis.kernel
    numbers = len(coefficients) * (coefficients.shape[1] + coefficients.shape[2])
    size = min(even_block(rows.n_rows, kernel.block_rows), max(_NUMBERS // numbers, 16))

    def over(start, stop):
        out, within, workspace = np.zeros(coefficients.shape), 0.0, kernel.workspace()
        for a, b in ranges(start, stop, size):
            X, weight = rows.take(a, b)
            for part, block in kernel.blocks(X, workspace):
                resp = np.array(block.log_density(), dtype=np.float64)
                normalize(resp)
                some = X[part].astype(np.float64)
                terms = basis.terms(some)
                change = terms @ coefficients
                change -= np.einsum("kn,knp->np", resp, change)
                if weight is not None:
                    resp *= weight[part]
                change *= resp[:, :, None]
                out += np.swapaxes(terms, 1, 2) @ change
                if np.isnan(some).any():
                    within = within + basis.within(some, resp, terms)
        if np.ndim(within) == 2:
            out += within[:, :, None] * coefficients
        elif np.ndim(within) == 3:
            out += within @ coefficients
        return out

    return (sum(pool.map(over, rows.n_rows, size)),)


def product(rows, pool, basis, vectors):
    """Return S v of vectors (G, p): one E step over the rows."""
    coefficients = basis.spread(vectors)
    if isinstance(rows, DistributedRows):
        (sums,) = rows.sum(_change_of_sums, pool, basis, coefficients)
    else:
        (sums,) = _change_of_sums(rows, pool, basis, coefficients)
    return basis.gather(sums)


def _corrections(rows, pool, basis, targets):
    """Return cᵀ (I − S)⁻¹ S c of each column c of the targets (G, p), shape (p,)."""
    if basis.n_coordinates > _LARGEST_MATRIX:
        return _by_conjugate_gradients(partial(product, rows, pool, basis), targets)
    S = product(rows, pool, basis, np.eye(basis.n_coordinates))
    S = 0.5 * (S + S.T)
    try:
        factor = cho_factor(np.eye(len(S)) - S, lower=True)
    except LinAlgError:
        raise NoMaximum() from None
    return (targets * cho_solve(factor, S @ targets)).sum(axis=0)


def _by_conjugate_gradients(product, targets):
    """Return the corrections by conjugate gradients on all columns at a time."""
    residual = product(targets)
    solution, direction = np.zeros_like(residual), residual
    square = start = (residual**2).sum(axis=0)
    for _ in range(len(targets)):
        active = square > _TOLERANCE**2 * start
        if not active.any():
            break
        image = direction - product(direction)
        curvature = (direction * image).sum(axis=0)
        if (curvature[active] <= 0.0).any():
            raise NoMaximum()
        step = np.where(active, square / np.where(active, curvature, 1.0), 0.0)
        solution += step * direction
        residual = residual - step * image
        before, square = square, (residual**2).sum(axis=0)
        ratio = np.where(active, square / np.where(active, before, 1.0), 0.0)
        direction = residual + ratio * direction
    return (targets * solution).sum(axis=0)


# The optimum --------------------------------------------------------------------------------------


class _InOrder(BatchStep):
    """Coordinate ascent that keeps the order of the components."""

    def __call__(self, posterior):
        self.n_steps += 1
        statistics, local = expect(self._rows, posterior.kernel(self._spread), self._pool)
        return posterior.prior.posterior(statistics), (local - posterior.kl()) / self._total


def _counts(posterior):
    """Return the rows of each component, at least NO_ROWS."""
    prior = posterior.prior.weights(len(posterior.components.means))
    return np.maximum(posterior.weights.counts(prior), NO_ROWS)


class _Unconstrained:
    """Maps posteriors of some rows to vectors without constraints and back.

    A posterior is determined by its shares of the rows, means and E[Λ]⁻¹.
    """

    def __init__(self, like):
        self._prior = like.prior
        self._total = _counts(like).sum()
        scale = like.spread()[1]
        self._coordinates = Coordinates(self._plain(like), scale, np.zeros(len(scale)))

    def _plain(self, posterior):
        components = posterior.components
        return MixtureParameters(
            components.covariance_type,
            _counts(posterior) / self._total,
            components.means,
            components.covariances,
            components.precisions_cholesky,
        )

    def pack(self, posterior):
        """Return the vector of a posterior."""
        return self._coordinates.pack(self._plain(posterior))

    def unpack(self, vector):
        """Return the posterior of a vector; raise Collapse if it is not usable."""
        found = self._coordinates.unpack(vector)
        prior = self._prior.components
        counts = self._total * found.weights
        dofs = prior.dofs + PRECISIONS[prior.covariance_type].numbers(counts, found.means.shape[1])
        scales = found.covariances * along(dofs, found.covariances)
        components = NormalWishart.of(
            prior.covariance_type, prior.mean_precisions + counts, found.means, dofs, scales
        )
        weights = self._prior.weights(len(counts)).posterior(counts)
        return MixturePosterior(self._prior, weights, components)


def _expectations(posterior):
    """Return E ln π, E μ and E ln σ², in one vector."""
    components = posterior.components
    kind, n_features = PRECISIONS[components.covariance_type], components.means.shape[1]
    scale = kind.marginal_scale(components.scales, n_features)
    dofs = along(components.marginal_dofs, scale)
    log_variances = np.log(0.5 * scale) - digamma(0.5 * dofs)
    log_weights = posterior.weights.expected_log()
    return np.concatenate([log_weights, components.means.ravel(), log_variances.ravel()])


def _optimum(posterior, rows, pool):
    """Return the posterior at the maximum of the bound, and its last two moves towards it.

    The moves are those of ln π, μ and ln σ² in plain steps of coordinate ascent.
    """
    step = _InOrder(rows, pool)
    fast = AndersonStep(step, _Unconstrained(posterior))
    tol = max(_LEAST_GAIN / rows.weight(), _RESOLUTION)
    trace = [ascend(fast, posterior, max_iter=_MOST_STEPS, tol=tol).parameters]
    for _ in range(2):
        trace.append(step(trace[-1])[0])
    return trace[-1], np.diff([_expectations(one) for one in trace], axis=0)


def respond(posterior, rows, pool):
    """Return the optimum that coordinate ascent reaches from a posterior, and its corrections.

    Parameters
    ----------
    posterior : MixturePosterior
        A posterior of these rows.
    rows : Rows or DistributedRows
        The data with their weights.
    pool : Workers
        The threads.

    Returns
    -------
    optimum : MixturePosterior
        The posterior at the maximum of the bound, its components in the given order.
    inflation : Inflation
        The ratios of the corrected variances to those under q.
    distance : float
        How far the optimum may still be, in corrected standard deviations: the sum of the steps of
        coordinate ascent that are left, if they shrink like the last two.

    Raises
    ------
    NoMaximum
        A rate of coordinate ascent is at least 1.
    """
    optimum, moves = _optimum(posterior, rows, pool)
    basis = Basis(optimum)
    variances = basis.variances()
    uncertain = variances > 0.0  # the weight of a single component is not
    try:
        corrections = _corrections(rows, pool, basis, basis.targets()[:, uncertain])
    except NoMaximum as problem:
        problem.posterior = optimum
        raise
    ratios = np.ones(len(variances))
    ratios[uncertain] += corrections / variances[uncertain]
    deviations = np.sqrt(variances * ratios)[uncertain]
    before, last = np.abs(moves[:, uncertain] / deviations).max(axis=1)
    left = np.inf if last >= before > _ROUNDING else last * last / max(before - last, _ROUNDING)
    components = optimum.components
    kind, n_features = PRECISIONS[components.covariance_type], components.means.shape[1]
    shape = kind.marginal_scale(components.scales, n_features).shape
    a = len(components.means)
    b = a + components.means.size
    parts = ratios[:a], ratios[a:b].reshape(components.means.shape), ratios[b:].reshape(shape)
    return optimum, Inflation(*parts), float(left)
