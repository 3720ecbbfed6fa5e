"""The fast kernel against the oracle: densities, statistics, its guard, its units."""

import numpy as np
import pytest

from skvae.gaussian import kernel as module
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.kernel import TOLERANCE, gaussian_kernel
from skvae.gaussian.statistics import GaussianStatistics
from tests.oracles import Mixture, log_joint, precise_log_density
from tests.problems import COVARIANCE_TYPES, blobs, start


@pytest.fixture
def large(monkeypatch):
    """Blocks of few rows, or with few components, are computed like others."""
    kernels = module.FullKernel, module.WideFullKernel, module.TiedKernel, module.DiagonalKernel
    for kernel in kernels:
        monkeypatch.setattr(kernel, "is_direct", lambda *_: False)


def kernel_of(mixture, spread, **options):
    structure = STRUCTURES[mixture.covariance_type]
    factors = structure.precisions_cholesky(mixture.covariances)
    offsets = np.log(mixture.weights)
    return gaussian_kernel(
        mixture.covariance_type, mixture.means, factors, offsets, lambda: spread, **options
    )


def evaluate(kernel, X, resp):
    """The kernel's log-joint (n, K), statistics of responsibilities, and direct components."""
    workspace, sums = kernel.workspace(), kernel.sums()
    out, direct = np.empty((len(X), len(kernel.means))), []
    for rows, block in kernel.blocks(X, workspace):
        out[rows] = block.log_density().T
        direct.append(getattr(block, "direct", None))
        block.accumulate(sums, resp[rows].T.copy())
    return out, kernel.finish(sums), direct


def oracle_statistics(X, resp, centers, kind):
    deviation = X[:, None] - centers
    outer = np.einsum("nk,nki,nkj->kij", resp, deviation, deviation)
    diagonal = np.diagonal(outer, axis1=1, axis2=2)
    scatter = {
        "full": outer,
        "tied": outer.sum(axis=0),
        "diag": diagonal,
        "spherical": diagonal.mean(axis=1),
    }[kind]
    return resp.sum(axis=0), np.einsum("nk,nki->ki", resp, deviation), scatter


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("expand", [True, False])
@pytest.mark.parametrize("n_features", [1, 2, 5, 33, module._MAX_EXPANDED + 7])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_densities_and_statistics_are_the_oracles(kind, n_features, expand):
    X = blobs(120, n_features, 3, seed=n_features)
    mixture = start(blobs(400, n_features, 3, seed=n_features), 3, kind)[1]
    resp = np.random.default_rng(0).dirichlet(np.ones(3), size=len(X))
    resp[:, 1] *= resp[:, 0] > 0.5  # zeros too
    kernel = kernel_of(mixture, (X.mean(axis=0), X.std(axis=0)), expand=expand)
    densities, statistics, direct = evaluate(kernel, X, resp)
    assert [d is None or len(d) for d in direct] == [not expand]
    np.testing.assert_allclose(densities, log_joint(X, mixture), rtol=1e-9, atol=1e-9)
    expected = oracle_statistics(X, resp, mixture.means, kind)
    found = statistics.counts, statistics.sums, statistics.scatter
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 * np.abs(theirs).max())


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_guard_leaves_the_expanded_way_where_it_would_cancel(kind):
    """σ = 1e-3, 1e4 apart: forced to expand, the error is gross; guarded, it is round-off."""
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=60)
    means = np.array([[-5e3, 1.0], [5e3, 2.0]])
    X = means[labels] + 1e-3 * rng.normal(size=(60, 2))
    covariances = {
        "full": np.stack([1e-6 * np.eye(2)] * 2),
        "tied": 1e-6 * np.eye(2),
        "diag": np.full((2, 2), 1e-6),
        "spherical": np.full(2, 1e-6),
    }[kind]
    mixture = Mixture(np.array([0.5, 0.5]), means, covariances, kind)
    exact = precise_log_density(X, mixture)
    kernel = kernel_of(mixture, (X.mean(axis=0), X.std(axis=0)))
    resp = np.eye(2)[labels]
    densities, statistics, direct = evaluate(kernel, X, resp)
    assert all(len(d) == 2 for d in direct)
    np.testing.assert_allclose(np.logaddexp(*densities.T), exact, atol=1e-8)
    expected = oracle_statistics(X, resp, means, kind)[2]
    np.testing.assert_allclose(statistics.scatter, expected, rtol=1e-8, atol=1e-15)
    kernel._tolerance = np.inf
    forced, _, _ = evaluate(kernel, X, resp)
    assert np.abs(np.logaddexp(*forced.T) - exact).max() > 1e-3


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("ratio", [1e1, 1e2, 1e3])
def test_bound_of_the_guard_holds(kind, ratio):
    """The error of the expanded way is below the bound that decides whether it is taken."""
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(50, 3)), ratio + rng.normal(size=(50, 3))])
    mixture = start(X, 2, kind)[1]
    shrunk = mixture.covariances * (1.0 / ratio) ** 2
    mixture = Mixture(mixture.weights, mixture.means, shrunk, kind)
    kernel = kernel_of(mixture, (X.mean(axis=0), X.std(axis=0)))
    kernel._tolerance = np.inf
    expanded, _, _ = evaluate(kernel, X, np.ones((len(X), 2)))
    direct, _, _ = evaluate(
        kernel_of(mixture, (X.mean(axis=0), X.std(axis=0)), expand=False), X, np.ones((len(X), 2))
    )
    center, scale, _, _, (quadratic, linear, constant) = kernel.expansion
    farthest = np.abs(X - center).max(axis=0) / scale
    reach = np.sqrt(farthest @ farthest)
    bound = module.EPS * (quadratic * reach**2 + 2 * linear * reach + constant)
    assert (np.abs(expanded - direct).max(axis=0) <= 4 * bound + 1e-12).all()


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_some_components_direct_and_some_expanded(kind):
    X = blobs(100, 2, 2, seed=5)
    mixture = start(X, 2, kind)[1]
    resp = np.random.default_rng(0).dirichlet(np.ones(2), size=len(X))
    kernel = kernel_of(mixture, (X.mean(axis=0), X.std(axis=0)))
    whole, statistics, _ = evaluate(kernel, X, resp)
    quadratic, linear, constant = kernel.expansion.norms
    norms = (
        quadratic * [1.0, 1e20] if np.ndim(quadratic) else quadratic,
        linear,
        (constant + np.array([0.0, TOLERANCE / module.EPS])),
    )
    kernel.expansion = kernel.expansion._replace(norms=norms)
    mixed, mixed_statistics, direct = evaluate(kernel, X, resp)
    assert [list(d) for d in direct] == [[1]]
    np.testing.assert_allclose(mixed, whole, rtol=1e-10)
    np.testing.assert_allclose(mixed_statistics.scatter, statistics.scatter, rtol=1e-9)
    np.testing.assert_allclose(mixed_statistics.sums, statistics.sums, rtol=1e-9, atol=1e-10)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_component_without_weight_is_minus_infinity(kind):
    X = blobs(20, 2, 2)
    mixture = start(X, 2, kind)[1]._replace(weights=np.array([1.0, 1e-300]))
    structure = STRUCTURES[kind]
    kernel = gaussian_kernel(
        kind,
        mixture.means,
        structure.precisions_cholesky(mixture.covariances),
        np.array([0.0, -np.inf]),
        lambda: (X.mean(axis=0), X.std(axis=0)),
    )
    densities, _, _ = evaluate(kernel, X, np.ones((20, 2)))
    assert np.isneginf(densities[:, 1]).all()
    assert np.isfinite(densities[:, 0]).all()


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_statistics_add_about_any_centers(kind):
    rng = np.random.default_rng(0)
    X = blobs(80, 3, 2, seed=1)
    resp = rng.dirichlet(np.ones(2), size=80)
    here, there = rng.normal(size=(2, 2, 3))
    first = GaussianStatistics(kind, *oracle_statistics(X[:30], resp[:30], here, kind), here)
    second = GaussianStatistics(kind, *oracle_statistics(X[30:], resp[30:], there, kind), there)
    total = 0.5 * (first + second) * 2.0
    expected = oracle_statistics(X, resp, here, kind)
    for ours, theirs in zip((total.counts, total.sums, total.scatter), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-10)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("sigma", [1.0, 1e-3])
def test_rows_at_the_end_of_float64_are_infinitely_far(covariance_type, sigma):
    """Also from a component that stands exactly where the rows are expected: 0 · ∞ in the bound."""
    structure = STRUCTURES[covariance_type]
    covariances = structure.pooled(np.eye(2) * sigma**2, 1)
    if covariance_type == "spherical":
        covariances = np.array([sigma**2])
    mixture = Mixture(np.ones(1), np.zeros((1, 2)), covariances, covariance_type)
    kernel = kernel_of(mixture, (np.zeros(2), np.full(2, sigma)))
    X = np.array([[1e160, 0.0], [1e200, 1e200], [1e308, -1e308], [0.0, 0.0]])
    _, block = next(kernel.blocks(X, kernel.workspace()))
    found = block.log_density()[0]
    np.testing.assert_array_equal(found[:3], -np.inf)
    np.testing.assert_allclose(found[3], -np.log(2 * np.pi) - 2 * np.log(sigma), rtol=1e-12)


@pytest.mark.parametrize("n_features", [1, 2, 17, 60])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_small_blocks_are_computed_like_large_ones(kind, n_features, offset, request):
    rng = np.random.default_rng(n_features)
    X = offset + blobs(40, n_features, 3, seed=n_features)
    mixture = start(offset + blobs(400, n_features, 3, seed=n_features), 3, kind)[1]
    resp = rng.dirichlet(np.ones(3), size=len(X))
    resp[:5, 2] = 0.0
    spread = X.mean(axis=0), X.std(axis=0)
    X[3, :] = np.float32(X[3, :])
    small, statistics, _ = evaluate(kernel_of(mixture, spread), X, resp)
    single, _, _ = evaluate(kernel_of(mixture, spread), X[:1], resp[:1])
    np.testing.assert_allclose(single, small[:1], rtol=1e-12)
    request.getfixturevalue("large")
    for expand in (True, False):
        large, sums, _ = evaluate(kernel_of(mixture, spread, expand=expand), X, resp)
        np.testing.assert_allclose(small, large, rtol=1e-12 if offset == 0 else 1e-10)
        for ours, theirs in zip(
            (statistics.counts, statistics.sums, statistics.scatter),
            (sums.counts, sums.sums, sums.scatter),
            strict=True,
        ):
            scale = np.abs(theirs).max()
            np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_small_blocks_need_no_expansion(kind):
    X = blobs(20, 2, 2)
    mixture = start(X, 2, kind)[1]
    kernel = kernel_of(mixture, None)
    _, block = next(kernel.blocks(X.astype(np.float32), kernel.workspace()))
    block.log_density()
    assert "expansion" not in vars(kernel)


@pytest.mark.usefixtures("large")
@pytest.mark.parametrize("n_features", [2, 20, 60])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_features_kept_for_the_next_kernel_are_those_of_its_rows(kind, n_features):
    """Other rows, another number of components, and missing values are read again."""
    X = blobs(160, n_features, 3, seed=1)
    spread = X.mean(axis=0), X.std(axis=0)

    def same():
        return spread

    holes = X.copy()
    holes[5, 0] = np.nan
    workspace = kernel_of(start(X, 3, kind)[1], spread).workspace()
    for rows, n_components in ((X, 3), (X, 3), (X[80:], 3), (X[80:], 2), (holes, 2), (X, 2)):
        mixture = start(X, n_components, kind)[1]
        fresh = kernel_of(mixture, spread)
        kept = gaussian_kernel(
            kind, mixture.means, fresh.factors, fresh.offsets, same, same_rows=True
        )
        found, expected = (
            np.concatenate([block.log_density().T for _, block in kernel.blocks(rows, memory)])
            for kernel, memory in ((kept, workspace), (fresh, fresh.workspace()))
        )
        np.testing.assert_array_equal(found, expected)
