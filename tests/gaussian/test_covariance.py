"""Covariance structures: maximisers, factors, conditionals and coordinates, by value."""

import numpy as np
import pytest
from scipy.linalg import solve_triangular
from scipy.optimize import minimize

from skvae.ascent.loop import Collapse
from skvae.gaussian.covariance import STRUCTURES
from tests.problems import COVARIANCE_TYPES, random_covariance

N_COMPONENTS, N_FEATURES = 3, 4


def covariances_of(kind, seed=0):
    rng = np.random.default_rng(seed)
    full = np.stack([random_covariance(rng, N_FEATURES) for _ in range(N_COMPONENTS)])
    return {
        "full": full,
        "tied": full[0],
        "diag": np.diagonal(full, axis1=1, axis2=2).copy(),
        "spherical": np.trace(full, axis1=1, axis2=2) / N_FEATURES,
    }[kind]


def expanded(kind, covariances):
    """The covariances as (K, D, D)."""
    if kind == "full":
        return covariances
    if kind == "tied":
        return np.stack([covariances] * N_COMPONENTS)
    if kind == "diag":
        return np.stack([np.diag(c) for c in covariances])
    return np.stack([c * np.eye(N_FEATURES) for c in covariances])


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_factors_precisions_and_determinants(kind):
    structure, covariances = STRUCTURES[kind], covariances_of(kind)
    factors = structure.precisions_cholesky(covariances)
    precisions = structure.precisions(factors)
    matrices = expanded(kind, covariances)
    np.testing.assert_allclose(
        expanded(kind, precisions), np.linalg.inv(matrices), rtol=1e-10, atol=1e-12
    )
    np.testing.assert_allclose(structure.covariances_of(factors), covariances, rtol=1e-10)
    np.testing.assert_allclose(structure.inverse(precisions), covariances, rtol=1e-10)
    half = np.broadcast_to(structure.half_log_det(factors, N_FEATURES), N_COMPONENTS)
    np.testing.assert_allclose(half, -0.5 * np.linalg.slogdet(matrices)[1], rtol=1e-10)
    assert covariances.shape == structure.shape(N_COMPONENTS, N_FEATURES)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_coordinates_come_back(kind):
    structure, covariances = STRUCTURES[kind], covariances_of(kind)
    vector = structure.pack(structure.precisions_cholesky(covariances))
    assert vector.shape == (structure.n_parameters(N_COMPONENTS, N_FEATURES),)
    back = structure.unpack(vector, N_COMPONENTS, N_FEATURES)
    np.testing.assert_allclose(back, covariances, rtol=1e-10)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_colored_noise_has_the_covariances(kind):
    structure, covariances = STRUCTURES[kind], covariances_of(kind)
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(N_COMPONENTS), 100_000)
    noise, roots = rng.standard_normal((len(labels), N_FEATURES)), structure.roots(covariances)
    rows = structure.color(noise, labels, roots)
    for k, matrix in enumerate(expanded(kind, covariances)):
        np.testing.assert_allclose(np.cov(rows[labels == k].T), matrix, atol=0.03)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_conditional_is_the_schur_complement(kind):
    structure, covariances = STRUCTURES[kind], covariances_of(kind)
    rest, given = np.array([3, 0]), np.array([1, 2])
    left, regression = structure.condition(covariances, rest, given)
    regression = np.broadcast_to(regression, (N_COMPONENTS, 2, 2))  # tied: one for all
    for k, matrix in enumerate(expanded(kind, covariances)):
        expected = matrix[np.ix_(rest, given)] @ np.linalg.inv(matrix[np.ix_(given, given)])
        np.testing.assert_allclose(regression[k], expected, atol=1e-10)
        schur = matrix[np.ix_(rest, rest)] - expected @ matrix[np.ix_(given, rest)]
        of_k = {"full": lambda k=k: left[k], "tied": lambda: left}.get(
            kind, lambda k=k: np.diag(np.broadcast_to(left[k], 2))
        )()
        np.testing.assert_allclose(of_k, schur, atol=1e-10)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_recentering_is_that_of_the_rows(kind):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(50, N_FEATURES))
    resp = rng.dirichlet(np.ones(N_COMPONENTS), size=50)
    structure = STRUCTURES[kind]

    def moments(centers):
        deviation = X[:, None] - centers
        outer = np.einsum("nk,nki,nkj->kij", resp, deviation, deviation)
        diagonal = np.diagonal(outer, axis1=1, axis2=2)
        shaped = {
            "full": outer,
            "tied": outer.sum(axis=0),
            "diag": diagonal,
            "spherical": diagonal.mean(axis=1),
        }[kind]
        return np.einsum("nk,nki->ki", resp, deviation), shaped

    old, new = rng.normal(size=(2, N_COMPONENTS, N_FEATURES))
    sums, scatter = moments(old)
    moved = structure.recenter(scatter, resp.sum(axis=0), sums, new - old)
    np.testing.assert_allclose(moved, moments(new)[1], atol=1e-10)


def test_floor_is_the_constrained_maximum():
    """No covariance above the floor, found numerically, explains the scatter better."""
    rng = np.random.default_rng(2)
    floor = np.array([0.5, 2.0, 0.1])
    scatter = random_covariance(rng, 3, scale=0.6)
    structure = STRUCTURES["full"]
    covariances, factors = structure.maximize(scatter[None] * 7, np.array([7.0]), 7.0, floor)
    found = covariances[0]
    np.testing.assert_allclose(structure.precisions(factors)[0], np.linalg.inv(found), rtol=1e-9)
    np.testing.assert_array_equal(factors[0], np.triu(factors[0]))
    assert np.linalg.eigvalsh(found - np.diag(floor)).min() > -1e-12
    lower = np.tril_indices(3)

    def loss(vector):
        factor = np.zeros((3, 3))
        factor[lower] = vector
        sigma = np.diag(floor) + factor @ factor.T
        return np.linalg.slogdet(sigma)[1] + np.trace(np.linalg.solve(sigma, scatter))

    best = min(
        minimize(loss, rng.normal(size=6), method="BFGS", options={"gtol": 1e-9}).fun
        for _ in range(5)
    )
    ours = np.linalg.slogdet(found)[1] + np.trace(np.linalg.solve(found, scatter))
    assert ours == pytest.approx(best, abs=1e-7)
    assert not np.allclose(found, scatter)


def test_a_floor_that_does_not_bind_changes_nothing():
    covariances = covariances_of("full")
    raised, factors = STRUCTURES["full"].raise_to(covariances, np.full(N_FEATURES, 1e-6))
    np.testing.assert_array_equal(factors, STRUCTURES["full"].precisions_cholesky(covariances))
    np.testing.assert_array_equal(raised, covariances)


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_singular_covariance_collapses(kind):
    covariances = covariances_of(kind).copy()
    covariances[..., 0, :] = covariances[..., 1, :]
    covariances[..., :, 0] = covariances[..., :, 1]
    with pytest.raises(Collapse, match="singular"):
        STRUCTURES[kind].precisions_cholesky(covariances)


@pytest.mark.parametrize("kind", ["diag", "spherical"])
def test_zero_variance_collapses_and_names_the_component(kind):
    covariances = covariances_of(kind).copy()
    covariances[1] = 0.0
    with pytest.raises(Collapse, match="component 1 "):
        STRUCTURES[kind].precisions_cholesky(covariances)


def test_features_in_any_units_factor():
    """The factor does not mind that features differ by twelve orders of magnitude."""
    units = np.array([1e-6, 1.0, 1e3, 1e6])
    covariance = covariances_of("tied")
    factor = STRUCTURES["tied"].precisions_cholesky(covariance * np.outer(units, units))
    expected = STRUCTURES["tied"].precisions_cholesky(covariance) / units[:, None]
    np.testing.assert_allclose(factor, expected, rtol=1e-10)


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_coordinates_of_a_singular_factor_collapse(kind):
    structure = STRUCTURES[kind]
    vector = structure.pack(structure.precisions_cholesky(covariances_of(kind)))
    with pytest.raises(Collapse, match="extrapolation"):
        structure.unpack(vector - 1e4, N_COMPONENTS, N_FEATURES)


@pytest.mark.parametrize("kind", ["full", "tied"])
@pytest.mark.parametrize("least", [(5e-324, 1e-310), (1e-250, 1e-260)])
def test_covariances_near_the_least_number_are_raised(kind, least):
    """Squares of their inverse roots overflow, or products of these with the floor."""
    structure, floor = STRUCTURES[kind], np.array([1e80, 1e-4])
    least = np.diag(least)
    raised, factors = structure.raise_to(least[None] if kind == "full" else least, floor)
    np.testing.assert_allclose(raised.reshape(2, 2), np.diag(floor), rtol=1e-12)
    np.testing.assert_allclose(factors.reshape(2, 2), np.diag(floor**-0.5), rtol=1e-12)


@pytest.mark.parametrize(
    ("n_features", "n_rows"), [(4, 2), (30, 6), (80, 60), (200, 150), (30, 29)]
)
@pytest.mark.parametrize("reg", [1e-6, 1e-3])
def test_a_floor_under_a_covariance_of_low_rank_is_exact(n_features, n_rows, reg):
    """Whatever way is taken: eigenvalues in units of the floor are raised to one, others kept."""
    rng = np.random.default_rng(n_rows)
    weights = np.concatenate([np.ones(n_rows - 1), [1e-9]])  # one row that hardly counts
    rows = rng.normal(size=(n_rows, n_features)) * rng.uniform(0.1, 10, size=n_features)
    covariances = np.stack([(rows.T * weights) @ rows / n_rows, np.eye(n_features)])
    floor = reg * rng.uniform(0.5, 2, size=n_features)
    structure = STRUCTURES["full"]
    raised, factors = structure.raise_to(covariances, floor)
    scale = np.sqrt(floor)
    values, vectors = np.linalg.eigh(covariances[0] / np.outer(scale, scale))
    expected = (vectors * np.maximum(values, 1.0)) @ vectors.T * np.outer(scale, scale)
    np.testing.assert_allclose(raised[0], expected, rtol=1e-8, atol=1e-8 * reg)
    np.testing.assert_array_equal(raised[1], covariances[1])
    np.testing.assert_array_equal(factors, np.triu(factors))
    assert (np.diagonal(factors, axis1=1, axis2=2) > 0).all()
    identity = factors[0].T @ raised[0] @ factors[0]
    np.testing.assert_allclose(identity, np.eye(n_features), atol=1e-7)
    half = structure.half_log_det(factors, n_features)[0]
    expected = -0.5 * (np.log(np.maximum(values, 1.0)).sum() + np.log(floor).sum())
    assert half == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("n_features", [3, 40])
def test_a_covariance_of_zero_is_raised_to_the_floor(n_features, capfd):
    floor = np.linspace(1.0, 2.0, n_features)
    zero = np.zeros((1, n_features, n_features))
    raised, factors = STRUCTURES["full"].raise_to(zero, floor)
    np.testing.assert_allclose(raised[0], np.diag(floor), rtol=1e-14)
    np.testing.assert_allclose(factors[0], np.diag(1 / np.sqrt(floor)), rtol=1e-14)
    assert capfd.readouterr() == ("", "")  # LAPACK prints where it is called wrongly


def test_a_covariance_too_large_for_its_floor_is_a_collapse():
    """Its factor is lost in round-off; an acceleration discards such an extrapolation."""
    large = np.array(
        [
            [1.0911292031652955e29, 9.389711724817437e29, -1.258996302244950e30],
            [9.389711724817437e29, 8.080315880045019e30, -1.0842036897860697e31],
            [-1.258996302244950e30, -1.0842036897860697e31, 1.4547669402983521e31],
        ]
    )
    floor = np.array([4.346012106548971e-06, 1.8476305552782822e-06, 7.246314076231562e-06])
    with pytest.raises(Collapse, match="component 1 is singular"):
        STRUCTURES["full"].raise_to(np.stack([np.eye(3), large]), floor)
    with pytest.raises(Collapse, match="the shared covariance is singular"):
        STRUCTURES["tied"].raise_to(large, floor)


@pytest.mark.parametrize("n_features", [1, 64, 65, 131, 300])
def test_factors_of_many_features_are_inverses_of_triangles(n_features):
    """Triangles are inverted by halves: all entries against a triangular solution."""
    rng = np.random.default_rng(n_features)
    rows = rng.normal(size=(2, 3 * n_features, n_features)) * np.exp(rng.normal(size=n_features))
    covariances = rows.swapaxes(1, 2) @ rows
    factors = STRUCTURES["full"].precisions_cholesky(covariances)
    for covariance, factor in zip(covariances, factors, strict=True):
        lower = np.linalg.cholesky(covariance)
        inverse = solve_triangular(lower, np.eye(n_features), lower=True)
        scale = np.abs(inverse).max(axis=1, keepdims=True)
        assert (np.abs(factor.T - inverse) <= 1e-12 * scale).all()
        assert not np.tril(factor, -1).any()
