"""The kernel in single precision: its stated error bound, and blocks that are in float64."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.single import SINGLE_TOLERANCE, SingleBlock, single_kernel
from tests import oracles


def kernel_of(mixture, spread):
    """Return the GaussianKernel of a mixture of full covariances."""
    factors = np.linalg.cholesky(np.linalg.inv(mixture.covariances))
    with np.errstate(divide="ignore"):
        offsets = np.log(mixture.weights)
    return gaussian_kernel("full", mixture.means, factors, offsets, lambda: spread)


def problem(seed, n_features, n_components, *, n_rows=700, offset=0.0, unit=1.0, narrow=1.0):
    """Return (float32 rows, the mixture that they were drawn from, their centre and scale)."""
    rng = np.random.default_rng(seed)
    means = rng.normal(size=(n_components, n_features))
    mixing = np.eye(n_features) + 0.1 * rng.normal(size=(n_components, n_features, n_features))
    mixing *= narrow
    labels = rng.integers(n_components, size=n_rows)
    noise = np.einsum("nij,nj->ni", mixing[labels], rng.normal(size=(n_rows, n_features)))
    X = (offset + unit * (means[labels] + noise)).astype(np.float32)
    weights = np.full(n_components, 1 / n_components)
    covariances = unit**2 * mixing @ mixing.swapaxes(1, 2)
    mixture = oracles.Mixture(weights, offset + unit * means, covariances, "full")
    return X, mixture, (X.mean(axis=0, dtype=float), X.std(axis=0, dtype=float))


def only_block(kernel, X):
    """Return the one block of some rows."""
    [(part, block)] = kernel.blocks(X, kernel.workspace())
    assert part == slice(None)
    return block


@pytest.mark.parametrize(
    ("n_features", "n_components", "offset", "unit"),
    [(1, 2, 0.0, 1.0), (3, 5, 0.0, 1.0), (8, 4, 1e3, 1.0), (13, 13, -1.0, 1e-4), (5, 3, 0.0, 1e5)],
)
@pytest.mark.parametrize("seed", range(3))
def test_densities_are_within_the_stated_bound(n_features, n_components, offset, unit, seed):
    X, mixture, spread = problem(seed, n_features, n_components, offset=offset, unit=unit)
    kernel = single_kernel(kernel_of(mixture, spread))
    block = only_block(kernel, X)
    assert isinstance(block, SingleBlock)
    found = block.log_density()
    assert found.dtype == np.float32
    expected = oracles.log_joint(X.astype(float), mixture).T
    error = np.abs(found.astype(float) + kernel.shift - expected).max(axis=1)
    # The bound of the module's docstring, at the farthest values of the block.
    center, scale, _, _, (quadratic, linear, constant) = kernel.kernel.expansion
    reach = np.linalg.norm(np.abs(X - center).max(axis=0) / scale)
    bound = quadratic * reach**2 + 2 * linear * reach + constant + abs(kernel.kernel.constants)
    assert (error <= np.finfo(np.float32).eps * bound).all()
    assert 1e-9 < error.max() <= SINGLE_TOLERANCE


@pytest.mark.parametrize("seed", range(3))
def test_statistics_are_those_of_float64(seed):
    X, mixture, spread = problem(seed, 6, 4, n_rows=3000)
    resp = np.random.default_rng(seed).dirichlet(np.ones(4), size=len(X)).T
    results = []
    for kernel in (single_kernel(kernel_of(mixture, spread)), kernel_of(mixture, spread)):
        sums, block = kernel.sums(), only_block(kernel, X)
        block.accumulate(sums, resp.astype(np.float32 if not results else np.float64))
        results.append(kernel.finish(sums))
    single, double = results
    assert single.counts.dtype == single.scatter.dtype == np.float64
    assert_allclose(single.counts, double.counts, rtol=1e-6)
    assert_allclose(single.sums, double.sums, atol=1e-6 * len(X))
    assert_allclose(single.scatter, double.scatter, rtol=1e-5, atol=1e-5 * len(X))


@pytest.mark.parametrize("reason", ["far row", "missing", "infinite bound"])
def test_other_blocks_are_those_of_the_kernel(reason):
    X, mixture, spread = problem(0, 3, 3, n_rows=2000)
    if reason == "far row":
        X[5] = 1e3
    if reason == "missing":
        X[5, 1] = np.nan
    if reason == "infinite bound":
        X[5, 1] = 1e30
    results = []
    for kernel in (single_kernel(kernel_of(mixture, spread)), kernel_of(mixture, spread)):
        found = {}
        for part, block in kernel.blocks(X, kernel.workspace()):
            assert not isinstance(block, SingleBlock)
            found[str(part)] = block.log_density() + getattr(kernel, "shift", 0.0)
        results.append(found)
    assert results[0].keys() == results[1].keys()
    for part, expected in results[1].items():
        assert_allclose(results[0][part], expected, rtol=1e-9, atol=1e-9)


def test_other_units_structures_weights_and_narrow_components_have_no_single_kernel():
    for change in ({"unit": 1e-8}, {"unit": 1e8}, {"narrow": 1e-3}):
        _, mixture, spread = problem(0, 3, 3, **change)
        assert single_kernel(kernel_of(mixture, spread)) is None
    _, mixture, spread = problem(0, 3, 3)
    mixture = mixture._replace(weights=np.array([0.5, 0.0, 0.5]))
    assert single_kernel(kernel_of(mixture, spread)) is None
    for n_features in (20, 60):  # the direct way, and products with triangular factors
        _, mixture, spread = problem(0, n_features, 2)
        assert single_kernel(kernel_of(mixture, spread)) is None
    for kind, shape in (("diag", (2, 3)), ("spherical", (2,)), ("tied", (3, 3))):
        factors = np.ones(shape) if kind != "tied" else np.eye(3)
        spread = np.zeros(3), np.ones(3)
        kernel = gaussian_kernel(kind, np.zeros((2, 3)), factors, np.zeros(2), lambda s=spread: s)
        assert single_kernel(kernel) is None
