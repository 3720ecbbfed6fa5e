"""Linear response: against refits of tilted posteriors, and limits in which q is exact."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import digamma
from sklearn.exceptions import ConvergenceWarning

from skvae.blocks import Rows, workers
from skvae.gaussian.statistics import GaussianStatistics
from skvae.mixture.bayesian import linear_response
from skvae.mixture.bayesian.linear_response import respond
from skvae.mixture.e_step import expect
from tests.gaussian.conjugate_problems import matrices
from tests.mixture.bayesian.problems import bayes, every_covariance, every_weight, posterior_of


def overlapping(n, seed=0, n_features=2, distance=2.0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_features))
    X[: n // 3, 0] += distance
    X[: n // 5, -1] *= 1.5
    return X


class Refit:
    """The fixed point of coordinate ascent if a vector is added to the statistics."""

    def __init__(self, posterior, X, weight=None):
        self.posterior, self.rows = posterior, Rows.readable(X, weight)
        self.centers = posterior.components.means.copy()
        self.kind = posterior.components.covariance_type
        self.shape = self.centers.shape
        K, D = self.shape
        self.pairs = np.triu_indices(D)
        self.n_scatter = {
            "full": K * len(self.pairs[0]),
            "tied": len(self.pairs[0]),
            "diag": K * D,
            "spherical": K,
        }[self.kind]

    def vector(self, statistics):
        about = statistics.recenter(self.centers)
        scatter = about.scatter
        if self.kind in ("full", "tied"):
            scatter = scatter[..., self.pairs[0], self.pairs[1]]
        return np.concatenate([about.counts, about.sums.ravel(), scatter.ravel()])

    def statistics(self, vector):
        K, D = self.shape
        scatter = vector[K * (1 + D) :]
        if self.kind in ("full", "tied"):
            flat = scatter.reshape(-1, len(self.pairs[0]))
            scatter = np.zeros((len(flat), D, D))
            scatter[:, self.pairs[0], self.pairs[1]] = flat
            scatter[:, self.pairs[1], self.pairs[0]] = flat
            scatter = scatter[0] if self.kind == "tied" else scatter
        elif self.kind == "diag":
            scatter = scatter.reshape(K, D)
        sums = vector[K : K * (1 + D)].reshape(K, D)
        return GaussianStatistics(self.kind, vector[:K], sums, scatter, self.centers)

    def converged(self, tilt, start, n_steps=3000):
        posterior = self.posterior.prior.posterior(self.statistics(start + tilt))
        with workers(1) as pool:
            for _ in range(n_steps):
                found = self.vector(expect(self.rows, posterior.kernel(), pool)[0])
                posterior = self.posterior.prior.posterior(self.statistics(found + tilt))
                if np.abs(found - start).max() < 1e-12:
                    break
                start = found
        return found + tilt

    def expected(self, vector):
        """E T and E g under the posterior of statistics."""
        q = self.posterior.prior.posterior(self.statistics(vector))
        K, D = self.shape
        c, away = q.components, q.components.means - self.centers
        precision = matrices(c.precisions, self.kind, K, D)
        precision = np.broadcast_to(precision, (K, D, D))
        if self.kind in ("full", "tied"):
            halves = (np.reshape(c.dofs, (-1, 1)) - np.arange(D)) / 2
            scales = np.reshape(c.scales, (-1, D, D))
            log_det = digamma(halves).sum(1) + D * np.log(2) - np.linalg.slogdet(scales)[1]
            variance = np.diagonal(scales, axis1=1, axis2=2)
            dof = np.reshape(c.dofs, (-1, 1)) + 1 - D
            i, j = self.pairs
            quadratic = -0.5 * (2.0 - (i == j)) * precision[:, i, j]
            quadratic = quadratic[0] if self.kind == "tied" else quadratic
        else:
            variance = c.scales.reshape(K, -1)
            dof = c.dofs[:, None]
            log_det = (digamma(dof / 2) - np.log(variance / 2)).sum(1)
            quadratic = -0.5 * dof / variance
            if self.kind == "spherical":
                log_det = D * log_det
                quadratic = quadratic * D  # the statistic is a mean
        linear = np.einsum("kij,kj->ki", precision, away)
        zeroth = q.weights.expected_log() + 0.5 * log_det
        zeroth = zeroth - 0.5 * (D / c.mean_precisions + (linear * away).sum(1))
        log_variance = np.log(variance / 2) - digamma(dof / 2)
        natural = np.concatenate([zeroth, linear.ravel(), quadratic.ravel()])
        g = [q.weights.expected_log(), c.means.ravel(), log_variance.ravel()]
        return natural, np.concatenate(g)


def differences(function, at, size):
    """The Jacobian by central differences, (out, in)."""
    out = []
    for i, step in enumerate(size):
        e = np.zeros(len(at))
        e[i] = step
        out.append((function(at + e) - function(at - e)) / (2 * step))
    return np.array(out).T


def corrections_by_refits(posterior, X, weight=None):
    refit = Refit(posterior, X, weight)
    at = refit.converged(0.0, refit.vector(posterior.statistics))
    size = 1e-4 * np.maximum(np.abs(at), 1.0)
    F = differences(lambda s: refit.expected(s)[0], at, size)
    C = differences(lambda s: refit.expected(s)[1], at, size)
    assert_allclose(F, F.T, rtol=1e-4, atol=1e-6 * np.abs(F).max())
    total = differences(
        lambda t: refit.expected(refit.converged(t, at))[0], np.zeros_like(at), size
    )
    U = np.linalg.solve(F, C.T)
    return np.diagonal(U.T @ (total - F) @ U)


def corrections_of(posterior, X, weight=None):
    with workers(1) as pool:
        rows = Rows.readable(X, weight)
        optimum, inflation, left = respond(posterior, rows, pool)
    assert left < 1e-3
    basis = linear_response.Basis(optimum)
    ratios = np.concatenate([part.ravel() for part in inflation])
    return optimum, (ratios - 1) * basis.variances()


@every_covariance
@every_weight
@pytest.mark.parametrize("hard", [False, True])
def test_corrections_are_those_of_refits_with_a_tilt(covariance_type, weight_type, hard):
    rng = np.random.default_rng(3)
    X, weight = overlapping(60, distance=4.0), None
    if hard:
        X[rng.random(X.shape) < 0.15] = np.nan
        weight = rng.uniform(0.5, 2.0, size=len(X))
    model = fitted(X, 2, covariance_type, weight_type, weight=weight)
    optimum, found = corrections_of(posterior_of(model), X, weight)
    expected = corrections_by_refits(optimum, X, weight)
    assert (expected > 0.01 * linear_response.Basis(optimum).variances()).any()
    assert_allclose(found, expected, rtol=2e-3, atol=1e-4 * expected.max())


def fitted(X, n_components, *types, weight=None, **parameters):
    parameters = {"weight_concentration_prior": 2.0, "tol": 1e-5, "max_iter": 500} | parameters
    return bayes(n_components, *types, **parameters).fit(X, sample_weight=weight)


def widths(interval):
    return np.concatenate([(upper - lower).ravel() for lower, upper in interval])


def assert_same_intervals(one, other, **tolerance):
    for ends, others in zip(one, other, strict=True):
        assert_allclose(np.array(ends), np.array(others), **tolerance)


@every_covariance
@every_weight
def test_nothing_is_corrected_where_q_is_exact(covariance_type, weight_type):
    X = overlapping(50)
    model = fitted(X, 1, covariance_type, weight_type)
    assert_same_intervals(model.credible_interval(0.9, X), model.credible_interval(0.9), rtol=1e-7)


@every_covariance
def test_little_is_corrected_where_clusters_are_apart(covariance_type):
    X = overlapping(300, distance=30.0)
    model = fitted(X, 2, covariance_type)
    found, q = model.credible_interval(0.9, X), model.credible_interval(0.9)
    assert_same_intervals(found, q, rtol=1e-3)


@every_covariance
def test_overlap_widens_every_interval(covariance_type):
    X = overlapping(300, distance=3.0)
    model = fitted(X, 2, covariance_type, tol=1e-8, max_iter=5000)
    ratio = widths(model.credible_interval(0.9, X)) / widths(model.credible_interval(0.9))
    assert (ratio > 1.0).all()
    assert ratio.max() > 1.3


@pytest.mark.parametrize("missing", [False, True])
@every_covariance
def test_conjugate_gradients_find_the_same(covariance_type, missing, monkeypatch):
    X = overlapping(200, n_features=3, distance=3.0)
    if missing:
        X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    model = fitted(X, 3, covariance_type)
    whole = model.credible_interval(0.9, X)
    monkeypatch.setattr(linear_response, "_LARGEST_MATRIX", 0)
    assert_same_intervals(model.credible_interval(0.9, X), whole, rtol=1e-6, atol=1e-7)


def test_the_result_is_that_of_the_optimum_however_the_fit_ended():
    X = overlapping(400, distance=3.0)
    loose, close = fitted(X, 2, tol=1e-2), fitted(X, 2, tol=1e-10, max_iter=10_000)
    assert np.abs(loose.means_ - close.means_).max() > 0.03
    before = loose.means_.copy()
    assert_same_intervals(
        loose.credible_interval(0.9, X), close.credible_interval(0.9, X), rtol=1e-3, atol=1e-4
    )
    assert_allclose(loose.means_, before, rtol=0)


@every_covariance
def test_units_and_offsets_of_features_do_not_matter(covariance_type):
    X = overlapping(200, distance=3.0)
    unit = np.array([1e4, 1e4 if covariance_type == "spherical" else 1e-3])
    offset = np.array([1e7, 0.0])
    weights, means, variances = fitted(X, 2, covariance_type).credible_interval(0.9, X)
    moved = fitted(X * unit + offset, 2, covariance_type)
    found = moved.credible_interval(0.9, X * unit + offset)
    factors = unit[0] ** 2 if covariance_type == "spherical" else unit**2
    assert_allclose(np.array(found.weights), np.array(weights), rtol=1e-4)
    assert_allclose((np.array(found.means) - offset) / unit, np.array(means), rtol=1e-4, atol=1e-4)
    assert_allclose(np.array(found.covariances) / factors, np.array(variances), rtol=1e-4)


@every_covariance
def test_weights_are_numbers_of_equal_rows(covariance_type):
    X = overlapping(100, distance=3.0)
    X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    weight = np.random.default_rng(1).integers(3, size=len(X))
    long = np.repeat(X, weight, axis=0)
    model = fitted(long, 2, covariance_type)
    found = model.credible_interval(0.9, X, sample_weight=weight)
    assert_same_intervals(found, model.credible_interval(0.9, long), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("missing", [False, True])
def test_chunks_of_dask_give_the_same(missing):
    da = pytest.importorskip("dask.array")
    X = overlapping(200, distance=3.0)
    if missing:
        X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
    model = fitted(X, 2)
    found = model.credible_interval(0.9, da.from_array(X, chunks=(70, 2)))
    assert_same_intervals(found, model.credible_interval(0.9, X), rtol=1e-5)


def test_single_precision():
    X = overlapping(300, distance=3.0)
    model = fitted(X, 2)
    found = model.credible_interval(0.9, X.astype(np.float32))
    assert_same_intervals(found, model.credible_interval(0.9, X), rtol=1e-2, atol=1e-3)


# Doubts and errors --------------------------------------------------------------------------------


def test_a_saddle_is_not_corrected():
    X = np.random.default_rng(0).normal(size=(200, 2))
    X[:, 0] += np.repeat([0.0, 8.0], 100)
    model = fitted(X, 2, "full", "dirichlet_distribution")
    posterior = posterior_of(model)
    one = posterior.statistics.merged(np.array([0, 0]))
    model._store(posterior.prior.posterior(one.take(np.array([0, 0])) * 0.5))
    with pytest.warns(ConvergenceWarning, match=r"without the correction.*fewer components"):
        found = model.credible_interval(0.9, X)
    assert np.isfinite(widths(found)).all()


def test_an_ascent_that_does_not_converge_is_reported(monkeypatch):
    X = overlapping(400, distance=3.0)
    model = fitted(X, 2, tol=1e-2)
    monkeypatch.setattr(linear_response, "_MOST_STEPS", 1)
    with pytest.warns(ConvergenceWarning, match=r"did not converge.*smaller tol"):
        model.credible_interval(0.9, X)


def test_the_rows_must_be_those_of_the_fit():
    X = overlapping(100)
    model = fitted(X, 2)
    with pytest.raises(ValueError, match="X has 90 rows"):
        model.credible_interval(0.9, X[:90])
    with pytest.raises(ValueError, match="sample_weight needs X"):
        model.credible_interval(0.9, sample_weight=np.ones(100))
    with pytest.raises(ValueError, match="features"):
        model.credible_interval(0.9, X[:, :1])


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", ["diag", "full"])
def test_intervals_hold_the_truth_where_clusters_overlap(covariance_type):
    centers, hits = np.array([[0.0, 0.0], [3.0, 0.0]]), [[], [], []]
    for seed in range(100):
        rng = np.random.default_rng(seed)
        X = centers[rng.integers(2, size=500)] + rng.normal(size=(500, 2))
        types = covariance_type, "dirichlet_distribution"
        model = fitted(X, 2, *types, tol=1e-3, random_state=seed)
        order = np.argsort(model.means_[:, 0])
        truths = np.full(2, 0.5), centers, np.ones((2, 2))
        for hit, ends, truth in zip(hits, model.credible_interval(0.95, X), truths, strict=True):
            lower, upper = (end[order] for end in ends)
            hit.append((lower < truth) & (truth < upper))
    assert all(0.88 < np.mean(hit) < 0.99 for hit in hits)


@pytest.mark.slow
@pytest.mark.parametrize("covariance_type", ["diag", "full", "tied", "spherical"])
def test_intervals_are_those_of_draws_from_the_exact_posterior(covariance_type):
    rng = np.random.default_rng(5)
    X = rng.normal(size=(2000, 2))
    X[:1200, 0] += 3.0
    model = fitted(X, 2, covariance_type, "dirichlet_distribution")
    draws = model.sample_posterior(X, 6000, n_burn_in=500, random_state=0)
    variances = draws.covariances
    if covariance_type in ("full", "tied"):
        variances = np.diagonal(variances, axis1=-2, axis2=-1)
    exact = [np.quantile(part, [0.05, 0.95], axis=0) for part in (*draws[:2], variances)]
    found, q = model.credible_interval(0.9, X), model.credible_interval(0.9)
    narrow = widths(q) / widths(exact)
    assert narrow.min() < 0.85
    assert_allclose(widths(found), widths(exact), rtol=0.1)
    for ends, others in zip(found, exact, strict=True):
        assert_allclose(np.array(ends), others, atol=0.15 * (others[1] - others[0]).max())


def test_rows_in_the_place_of_the_level_are_a_clear_error():
    X = np.random.default_rng(0).normal(size=(50, 2))
    with pytest.raises(ValueError, match=r"array of shape \(50, 2\): X is the second"):
        bayes(1).fit(X).credible_interval(X)
