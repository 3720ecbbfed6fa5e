"""Predictive log-densities: scipy's Student-t, evidence row by row, integrals, tails, limits."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import f, multivariate_t, t

from skvae.gaussian.conjugate import NormalWishart
from skvae.gaussian.predictive import PredictiveKernel, predictive_draws
from tests.gaussian.conjugate_problems import (
    D,
    K,
    matrices,
    posterior_of,
    prior_of,
    rows_and_resp,
    shaped,
    statistics_of,
)
from tests.oracles import Mixture, log_joint
from tests.posterior_draws import draws_of_components, take
from tests.problems import COVARIANCE_TYPES, knock_out
from tests.strategies import covariance_types, seeds

every_kind = pytest.mark.parametrize("kind", COVARIANCE_TYPES)


def log_density(*parts, X, spread=None):
    """ln p(x|k) of the components of all parts, (n, K)."""
    parts = [part if type(part) is tuple else (part, np.zeros(len(part.means))) for part in parts]
    n_features = X.shape[1]
    spread = (np.zeros(n_features), np.ones(n_features)) if spread is None else spread
    kernel = PredictiveKernel(*parts, spread=lambda: spread)
    workspace, out = kernel.workspace(), np.empty((len(X), kernel.n_components))
    for a in range(0, len(X), kernel.block_rows):
        rows = X[a : a + kernel.block_rows]
        for where, block in kernel.blocks(rows, workspace):
            out[a : a + len(rows)][where] = block.log_density().T
    return out


def oracle(q, X):
    """scipy's Student-t of what is observed in each row, (n, K)."""
    kind, (n_components, n_features) = q.covariance_type, q.means.shape
    scales = matrices(q.scales, kind, n_components, n_features)
    dofs, out = np.broadcast_to(q.dofs, n_components), np.zeros((len(X), n_components))
    for k in range(n_components):
        beta, joint = q.mean_precisions[k], kind in ("full", "tied")
        dof = dofs[k] + 1 - (n_features if joint else 1)
        scale = scales[k] * (1 + beta) / (beta * dof)
        for i, row in enumerate(np.asarray(X, dtype=float)):
            seen = ~np.isnan(row)
            if kind == "diag":
                width = np.sqrt(np.diag(scale))[seen]
                out[i, k] = t(dof, q.means[k][seen], width).logpdf(row[seen]).sum()
            elif seen.any():
                matrix = scale[np.ix_(seen, seen)]
                out[i, k] = multivariate_t(q.means[k][seen], matrix, dof).logpdf(row[seen])
    return out


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("n_features", [1, D, 60])
@every_kind
def test_density_is_scipys(kind, n_features, missing, dtype):
    _, q, _ = posterior_of(kind, n_features=n_features)
    X, _ = rows_and_resp(30, n_features=n_features)
    X = (3 * X).astype(dtype)
    if missing:
        X = knock_out(X, 0.3)
        X[7] = np.nan
    found = log_density(q, X=X)
    np.testing.assert_allclose(found, oracle(q, X), rtol=1e-8, atol=1e-8)
    if missing:
        np.testing.assert_allclose(found[7], 0.0, atol=1e-12)


@given(covariance_types, seeds, st.booleans())
def test_evidence_is_the_product_of_predictives(kind, seed, two):
    """With known labels, energy − KL is Σ ln p(x_n | x_1, ..., x_{n−1})."""
    rng, n_components = np.random.default_rng(seed), 1 + two
    prior = prior_of(kind, n_components, seed=seed)
    X, _ = rows_and_resp(12, seed=seed)
    resp = np.eye(n_components)[rng.integers(n_components, size=len(X))]
    total = 0.0
    for n in range(len(X)):
        q = prior.posterior(statistics_of(kind, X[:n], resp[:n], prior.means))
        total += (log_density(q, X=X[n : n + 1]) @ resp[n]).item()
    statistics = statistics_of(kind, X, resp)
    q = prior.posterior(statistics)
    np.testing.assert_allclose(q.energy(statistics) - q.kl(prior), total, rtol=1e-8)


@every_kind
def test_is_the_mean_density_under_draws(kind):
    _, q, _ = posterior_of(kind)
    X, _ = rows_and_resp(4)
    means, factors = draws_of_components(q, 4000, np.random.default_rng(0))
    covariances = q.structure.covariances_of(factors)
    values = np.empty((len(means), len(X), K))
    for s in range(len(means)):
        matrix = matrices(covariances[s], kind, K, D)
        deviation = X[:, None] - means[s]
        distance = np.einsum("nki,kij,nkj->nk", deviation, np.linalg.inv(matrix), deviation)
        log_det = np.linalg.slogdet(matrix)[1] + D * np.log(2 * np.pi)
        values[s] = np.exp(-0.5 * (distance + log_det))
    error = values.std(axis=0) / np.sqrt(len(means))
    assert (np.abs(values.mean(axis=0) - np.exp(log_density(q, X=X))) < 5 * error).all()


@every_kind
def test_integrates_to_one(kind):
    """Of one feature, and of a mixture with its leftover: posterior and prior as parts."""
    prior, q, _ = posterior_of(kind, n_features=1)
    weights, leftover = np.array([0.5, 0.3, 0.1]), 0.1
    parts = (q, np.log(weights)), (take(prior, [0]), np.log([leftover]))

    def density(x):
        return np.exp(log_density(*parts, X=np.array([[x]]))).sum()

    ends = [-np.inf, -3.0, 0.0, 3.0, np.inf]
    total = sum(quad(density, a, b)[0] for a, b in pairwise(ends))
    assert total == pytest.approx(1.0, abs=1e-6)


@every_kind
def test_a_missing_value_is_integrated_out(kind):
    _, q, _ = posterior_of(kind, n_features=2)
    x = np.tan(np.linspace(-np.pi / 2, np.pi / 2, 20_003)[1:-1])
    grid = np.stack([np.full_like(x, 0.7), x], axis=1)
    step = np.pi / 20_002 * (1 + x**2)
    found = step @ np.exp(log_density(q, X=grid))
    exact = np.exp(log_density(q, X=np.array([[0.7, np.nan]])))[0]
    np.testing.assert_allclose(found, exact, rtol=1e-5)


@every_kind
def test_parts_follow_each_other_and_weights_may_be_zero(kind):
    prior, q, _ = posterior_of(kind)
    X = knock_out(rows_and_resp(30)[0], 0.2)
    offsets = np.array([0.5, -np.inf, -800.0])
    found = log_density((q, offsets), (take(prior, [0]), np.array([-1.0])), X=X)
    np.testing.assert_allclose(found[:, :3], log_density(q, X=X) + offsets, rtol=1e-12)
    np.testing.assert_allclose(found[:, 3:], log_density(take(prior, [0]), X=X) - 1.0, rtol=1e-12)


@every_kind
def test_certain_posteriors_are_gaussians(kind):
    _, q, _ = posterior_of(kind)
    grow = 1e13
    sure = NormalWishart.of(kind, q.mean_precisions * grow, q.means, q.dofs * grow, q.scales * grow)
    X = knock_out(rows_and_resp(30)[0], 0.2)
    mixture = Mixture(np.ones(K), q.means, q.covariances, kind)
    np.testing.assert_allclose(log_density(sure, X=X), log_joint(X, mixture), rtol=1e-9)


def precise(x, mean, scale, beta, dof):
    """ln St of one feature to fifty digits."""
    with mpmath.workdps(50):
        x, mean, dof = mpmath.mpf(x), mpmath.mpf(mean), mpmath.mpf(dof)
        variance = mpmath.mpf(scale) * (1 + beta) / (beta * dof)
        half = (dof + 1) / 2
        constant = mpmath.loggamma(half) - mpmath.loggamma(dof / 2)
        constant -= mpmath.log(dof * mpmath.pi * variance) / 2
        return float(constant - half * mpmath.log1p((x - mean) ** 2 / variance / dof))


@pytest.mark.parametrize("dof", [0.1, 1.0, 5.0, 1e3, 1e6, 1e12])
@every_kind
def test_density_in_the_far_tail_to_fifty_digits(kind, dof):
    scale = np.asarray(1e-6 * dof) if kind == "spherical" else shaped(1e-6 * dof * np.eye(1), kind)
    q = NormalWishart.prior(kind, 2, 2.0, np.array([2.0]), dof, scale)
    X = np.array([[2.0], [2.001], [3.0], [1e3], [1e20], [-1e100], [1e160], [-1e305]])
    expected = [precise(x, 2.0, 1e-6 * dof, 2.0, dof) for (x,) in X]
    np.testing.assert_allclose(log_density(q, X=X)[:, 0], expected, rtol=1e-11, atol=1e-7)
    np.testing.assert_allclose(log_density(q, X=X[2:])[:, 1], expected[2:], rtol=1e-11)


@pytest.mark.parametrize("missing", [False, True])
@every_kind
def test_distances_that_overflow_are_finite_densities(kind, missing):
    _, q, _ = posterior_of(kind)
    direction = np.array([[1.0, -2.0, 0.5]])
    X = np.concatenate([power * direction for power in (1.0, 1e150, 1e180, 1e200, 1e300)])
    X[:, 1] = np.nan if missing else X[:, 1]
    found, seen = log_density(q, X=X), 2 if missing else 3
    dofs = q.marginal_dofs
    slope = -np.log(10.0) * ((dofs + 1) * seen if kind == "diag" else dofs + seen)
    for i, powers in ((2, 30), (3, 20), (4, 100)):
        np.testing.assert_allclose(found[i] - found[i - 1], powers * slope, rtol=1e-10)


def test_products_of_many_features_may_overflow():
    """D = 400 distances of 1e4 each are beyond 1e308: the same as feature by feature."""
    n_features = 400
    q = NormalWishart.prior("diag", 2, 1.0, np.zeros(n_features), 3.0, np.full(n_features, 3.0))
    X = np.concatenate([np.full((1, n_features), 1e2), np.zeros((1, n_features))])
    X[1, 0] = 5.0
    np.testing.assert_allclose(log_density(q, X=X), oracle(q, X), rtol=1e-12)


@every_kind
def test_units_and_offsets(kind):
    _, q, _ = posterior_of(kind, n_features=2)
    X = np.round(rows_and_resp(20, n_features=2)[0] * 2**20) / 2**20
    q = q._replace(means=np.round(q.means * 2**20) / 2**20)
    offset, unit = 2.0**27, 2.0**-20  # 1.3e8 and 1e-6, both exact
    expected = log_density(q, X=X)
    there = q._replace(means=q.means + offset)
    spread = X.mean(axis=0) + offset, X.std(axis=0)
    np.testing.assert_allclose(log_density(there, X=X + offset, spread=spread), expected, rtol=1e-7)
    for far in (unit, 1 / unit):
        scaled = NormalWishart.of(kind, q.mean_precisions, q.means * far, q.dofs, q.scales * far**2)
        found = log_density(scaled, X=X * far, spread=(np.zeros(2), np.full(2, far)))
        np.testing.assert_allclose(found, expected - 2 * np.log(far), rtol=1e-8)


@every_kind
def test_draws_have_the_density(kind):
    """Each feature's distribution function, and the moments between features."""
    _, q, _ = posterior_of(kind)
    n = 20_000
    labels = np.repeat(np.arange(K), n)
    X = predictive_draws(q, labels, np.random.RandomState(4))
    dofs = np.broadcast_to(q.marginal_dofs, K)
    scales = matrices(q.scales, kind, K, D)
    for k in range(K):
        drawn, grow = X[labels == k], 1 + 1 / q.mean_precisions[k]
        width = np.sqrt(np.diag(scales[k]) * grow / dofs[k])
        for share in (0.05, 0.5, 0.9):
            below = (drawn < t(dofs[k], q.means[k], width).ppf(share)).mean(axis=0)
            assert (np.abs(below - share) < 5 * np.sqrt(share * (1 - share) / n)).all()
        exact = scales[k] * grow / (dofs[k] - 2)
        np.testing.assert_allclose(np.cov(drawn.T), exact, rtol=0.1, atol=0.03 * exact.max())


@every_kind
def test_features_of_a_draw_share_their_scale_but_in_diag(kind):
    """δ/D is F(D, ν) where they do; where not, sizes of features are uncorrelated."""
    q, n = prior_of(kind, 1, dof=D + 2.0), 20_000
    X = predictive_draws(q, np.zeros(n, dtype=int), np.random.default_rng(5))
    dof, precision = q.marginal_dofs.item(), matrices(q.precisions, kind, 1, D)[0]
    deviation = X - q.means[0]
    reach = q.dofs.item() * (1 + 1 / q.mean_precisions[0])
    distance = np.einsum("ni,ij,nj->n", deviation, precision, deviation) * dof / reach
    for share in (0.1, 0.5, 0.9):
        below = (distance < D * f(D, dof).ppf(share)).mean()
        assert kind == "diag" or abs(below - share) < 5 * np.sqrt(share * (1 - share) / n)
    sizes = np.log(deviation**2)
    correlation = np.corrcoef(sizes[:, 0], sizes[:, 1])[0, 1]
    assert kind != "diag" or abs(correlation) < 5 / np.sqrt(n)


@pytest.mark.parametrize("missing", [False, True])
def test_few_rows_have_the_densities_of_many(missing, monkeypatch):
    """All rows and components at once, or a few at a time: also where squares overflow."""
    q = posterior_of("diag", n_features=7)[1]
    X = np.random.default_rng(0).normal(size=(40, 7)) * 3
    X[0] = 1e200
    X[1, 2] = np.nan if missing else 1e170
    kernel = PredictiveKernel((q, np.zeros(K)), spread=lambda: (np.zeros(7), np.ones(7)))
    found = []
    for together in (0, 1 << 16):
        monkeypatch.setattr("skvae.gaussian.predictive._TOGETHER", together)
        for _, block in kernel.blocks(X, kernel.workspace()):
            found.append(block.log_density().copy())
    assert np.isfinite(found[0]).all()
    np.testing.assert_allclose(found[1], found[0], rtol=1e-13)


@pytest.mark.parametrize("dof", [3.0, 500.0, 8192.0, 8193.0, 1e6, 1e12])
@pytest.mark.parametrize("spread", [1e-6, 1.0, 300.0])
def test_products_of_many_features_are_exact_for_all_degrees_of_freedom(dof, spread):
    """Also of tiny deviations, and where the product of all features overflows."""
    rng, D, beta = np.random.default_rng(1), 150, 4.0
    scales = dof * rng.gamma(2.0, size=(1, D))
    q = NormalWishart.of("diag", np.array([beta]), np.zeros((1, D)), np.array([dof]), scales)
    X = spread * rng.normal(size=(70, D))
    kernel = PredictiveKernel((q, np.zeros(1)), spread=lambda: (np.zeros(D), np.ones(D)))
    [[_, block]] = kernel.blocks(X, kernel.workspace())
    peaks = kernel._parts[0]._peaks.sum()  # tested against SciPy above
    terms = X**2 * beta / ((1.0 + beta) * scales)
    expected = peaks - 0.5 * (dof + 1.0) * np.log1p(terms).sum(axis=1)
    np.testing.assert_allclose(block.log_density()[0], expected, rtol=1e-13, atol=1e-12 * D)
    with np.errstate(over="ignore"):
        assert dof > 10 or spread < 100 or np.isinf(np.prod(1.0 + terms, axis=1)).any()


def log_densities_in_long(q, offsets, X):
    """Student-t products of diag in extended precision, but for the constants, shape (K, n)."""
    kernel = PredictiveKernel((q, offsets), spread=None)
    precise = np.longdouble
    reach = precise(q.dofs) * (1 + 1 / precise(q.mean_precisions))
    precisions = precise(q.dofs)[:, None] / precise(q.scales)
    terms = precisions[:, None] * (precise(X) - q.means[:, None]) ** 2 / reach[:, None, None]
    logs = np.log1p(terms).sum(axis=-1)
    constants = kernel._parts[0]._constants[:, None]  # tested against SciPy above
    return constants - 0.5 * (q.dofs[:, None] + 1.0) * logs


def wide_posterior(rng, n_features, dofs, distance=2.0, offset=0.0):
    n = len(dofs)
    means = offset + distance * rng.normal(size=(n, n_features))
    scales = dofs[:, None] * rng.gamma(2.0, size=(n, n_features))
    return NormalWishart.of("diag", np.linspace(1.0, 9.0, n), means, dofs, scales)


@pytest.mark.parametrize("n_features", [64, 65, 131])
@pytest.mark.parametrize("offset", [0.0, 1e3])
@pytest.mark.parametrize("distance", [0.0, 2.0, 1e4])
def test_products_of_pairs_of_many_rows_are_exact(n_features, offset, distance):
    """Near and far components, one that is very narrow, rows that are far from all others."""
    rng = np.random.default_rng(2)
    dofs = np.array([1.0, 3.0, 40.0, 900.0, 8000.0, 8000.0])
    q = wide_posterior(rng, n_features, dofs, distance, offset)
    q.scales[2] *= 1e-12
    q = NormalWishart.of("diag", q.mean_precisions, q.means, q.dofs, q.scales)
    X = q.means[rng.integers(6, size=600)] + rng.normal(size=(600, n_features))
    X[3] += 1e5
    X[4, 7] = 1e200
    found = log_density((q, np.zeros(6)), X=X)
    expected = log_densities_in_long(q, np.zeros(6), X)
    np.testing.assert_allclose(found, expected.T.astype(float), rtol=1e-12, atol=1e-9)


def test_products_of_pairs_have_no_missing_values():
    rng = np.random.default_rng(3)
    q = wide_posterior(rng, 70, np.array([2.0, 3.0, 40.0, 50.0, 60.0]))
    X = 3.0 * rng.normal(size=(500, 70))
    X[5, 6] = np.nan
    found = log_density((q, np.zeros(5)), X=X)
    np.testing.assert_allclose(found[:5], log_density((q, np.zeros(5)), X=X[:5]), rtol=1e-12)
    np.testing.assert_allclose(found[5], log_density((q, np.zeros(5)), X=X[5:6])[0], rtol=1e-12)
    np.testing.assert_allclose(found, oracle(q, X), rtol=1e-10)


@pytest.mark.parametrize("n_common", [1, 5])
def test_rare_components_are_left_out_only_where_they_are_negligible(n_common):
    """Three wide components, of which the widest are the density of the farthest rows."""
    rng, D = np.random.default_rng(4), 80
    n = n_common + 3
    dofs = np.array([200.0] * n_common + [30.0, 1.0, 1.0])
    q = wide_posterior(rng, D, dofs, distance=1.0)
    q.scales[-3:] *= np.array([[1e2], [1e4], [1e6]])
    q = NormalWishart.of("diag", q.mean_precisions, q.means, q.dofs, q.scales)
    offsets = np.array([0.0] * n_common + [-5.0, -9.0, -12.0])
    spread = rng.permutation(np.geomspace(0.1, 1e4, 500))[:, None]
    X = q.means[rng.integers(n, size=500)] + spread * rng.normal(size=(500, D))
    found = log_density((q, offsets), X=X)
    expected = log_densities_in_long(q, offsets, X).T.astype(float)
    left_out = np.isneginf(found)
    assert left_out.sum() > 20
    np.testing.assert_array_equal(left_out.any(axis=0), np.arange(n) >= n_common)
    np.testing.assert_allclose(found[~left_out], expected[~left_out], rtol=1e-12, atol=1e-9)
    total = np.logaddexp.reduce(expected, axis=1)
    np.testing.assert_allclose(np.logaddexp.reduce(found, axis=1), total, rtol=1e-13)
    assert (expected[left_out] < np.broadcast_to(total[:, None], found.shape)[left_out] - 32).all()
