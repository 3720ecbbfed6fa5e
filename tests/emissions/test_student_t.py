"""Student-t emissions by value: scipy's densities, the maximum of Q, 50 digits, draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import digamma, gammaln
from scipy.stats import t

from skvae.ascent.loop import Collapse
from skvae.blocks import Rows
from skvae.emissions.student_t import (
    LARGEST_DOF,
    SMALLEST_DOF,
    StudentTEmission,
    StudentTParameters,
    solve_dof,
)
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.student import log_minus_digamma
from tests.emissions.location_scale_cases import (
    assert_same_normals,
    evaluate,
    fixed_weights_em,
    log_density,
    matrices,
    random_scales,
    shaped,
    summary_of,
)
from tests.emissions.test_gaussian import resp_of
from tests.oracles import conditional_moments
from tests.problems import COVARIANCE_TYPES, blobs, knock_out
from tests.strategies import covariance_types, seeds

K, D = 3, 3
DOFS = np.array([0.7, 4.0, 30.0])


def emission_of(kind, seed=0, shift=0.0, n_components=K, n_features=D, dofs=None):
    rng = np.random.default_rng(seed)
    means = shift + 2 * rng.normal(size=(n_components, n_features))
    scales = random_scales(kind, n_components, n_features, seed)
    dofs = np.resize(DOFS, n_components) if dofs is None else dofs
    return StudentTEmission.from_parameters(means, scales, dofs, kind)


def heavy_rows(n=200, seed=0, dof=3.0):
    rng = np.random.default_rng(seed)
    X = blobs(n, D, K, seed=seed)
    return X * np.sqrt(dof / rng.chisquare(dof, size=n))[:, None]


def oracle_expectations(parameters, X):
    """(E τ, E ln τ) (n, K), conditional mean (n, K, D) and covariance (n, K, D, D), row by row."""
    normals, dofs = parameters.normals, parameters.dofs
    full = matrices(normals.covariance_type, normals.scales, normals.locations.shape)
    shape = len(X), parameters.n_components
    scale, log_scale = np.empty(shape), np.empty(shape)
    mean, rest = np.empty((*shape, X.shape[1])), np.empty((*shape, X.shape[1], X.shape[1]))
    for i, row in enumerate(X):
        seen = ~np.isnan(row)
        for k, dof in enumerate(dofs):
            d = (row - normals.locations[k])[seen]
            distance = d @ np.linalg.solve(full[k][np.ix_(seen, seen)], d) if seen.any() else 0.0
            a, b = (dof + seen.sum()) / 2, (dof + distance) / 2
            scale[i, k], log_scale[i, k] = a / b, digamma(a) - np.log(b)
            mean[i, k], rest[i, k] = conditional_moments(row, normals.locations[k], full[k])
    return scale, log_scale, mean, rest


def oracle_m_step(X, resp, parameters):
    """(means, scatters (K, D, D), counts, dofs) by Liu & Rubin, ν by search."""
    scale, log_scale, mean, rest = oracle_expectations(parameters, X)
    means, scatters, dofs = [], [], []
    for k in range(parameters.n_components):
        weight = resp[:, k] * scale[:, k]
        new = weight @ mean[:, k] / weight.sum()
        deviation = mean[:, k] - new
        scatter = (weight[:, None] * deviation).T @ deviation
        scatters.append(scatter + np.einsum("n,nij->ij", resp[:, k], rest[:, k]))
        means.append(new)
        gap = resp[:, k] @ (log_scale[:, k] - scale[:, k]) / resp[:, k].sum()

        def loss(log_dof, gap=gap):
            half = np.exp(log_dof) / 2
            return -(half * np.log(half) - gammaln(half) + half * gap)

        found = minimize_scalar(loss, bounds=np.log([0.1, 1e4]), method="bounded")
        dofs.append(np.exp(found.x))
    return np.stack(means), np.stack(scatters), resp.sum(axis=0), np.array(dofs)


# The M step ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_m_step_is_liu_and_rubins(kind, missing):
    emission, X = emission_of(kind), heavy_rows(90)
    X = knock_out(X, 0.3) if missing else X
    if missing:
        X[:3] = np.nan
    resp = resp_of(90) * np.random.default_rng(1).uniform(0.1, 3, size=(90, 1))
    old = emission.parameters()
    _, statistics = evaluate(old, X, resp)
    new = emission.maximize(old, statistics, summary_of(emission, X))
    means, scatters, counts, dofs = oracle_m_step(X, resp, old)
    np.testing.assert_allclose(new.normals.locations, means, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(
        new.normals.scales, shaped(kind, scatters, counts), rtol=1e-8, atol=1e-9
    )
    np.testing.assert_allclose(new.dofs, dofs, rtol=1e-4)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_m_step_maximises_the_expected_complete_likelihood(kind):
    """By brute force over all coordinates, from the M step and from elsewhere."""
    emission = emission_of(kind, n_components=2, n_features=2, dofs=np.array([2.0, 8.0]))
    X = knock_out(heavy_rows(60)[:, :2], 0.2)
    resp, old = resp_of(60, 2), emission.parameters()
    scale, log_scale, mean, rest = oracle_expectations(old, X)
    summary = summary_of(emission, X)

    def q(vector):
        p = old.unpack(vector, summary)
        full = matrices(kind, p.normals.scales, (2, 2))
        total = 0.0
        for k in range(2):
            d = mean[:, k] - p.normals.locations[k]
            inverse, half = np.linalg.inv(full[k]), p.dofs[k] / 2
            row = -0.5 * np.linalg.slogdet(full[k])[1]
            row = row - 0.5 * scale[:, k] * np.einsum("ni,ij,nj->n", d, inverse, d)
            row -= 0.5 * np.einsum("ij,nji->n", inverse, rest[:, k])
            row += half * np.log(half) - gammaln(half)
            row += half * (log_scale[:, k] - scale[:, k])
            total += resp[:, k] @ row
        return total

    _, statistics = evaluate(old, X, resp)
    new = emission.maximize(old, statistics, summary)
    best = minimize(lambda v: -q(v), old.pack(summary), method="BFGS", options={"gtol": 1e-7})
    reached = q(new.pack(summary))
    assert reached > q(old.pack(summary))
    np.testing.assert_allclose(-best.fun, reached, rtol=1e-9)
    assert -best.fun < reached + 1e-8
    np.testing.assert_allclose(new.pack(summary), best.x, atol=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_em_never_falls(kind, seed):
    X = knock_out(heavy_rows(150, seed=seed), 0.1, seed=seed)
    emission = StudentTEmission(kind)
    labels = np.random.default_rng(seed).integers(K, size=len(X))
    rng = np.random.RandomState(seed)
    first = emission.first(Rows(X), labels, K, summary_of(emission, X), rng)
    trace, last = fixed_weights_em(emission, first, X, 25)
    assert (np.diff(trace) > -1e-9 * np.abs(trace[-1])).all()
    assert trace[-1] > trace[0] + 1
    assert (last.dofs < 100).any()


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_em_finds_the_parameters_of_draws(kind):
    known = emission_of(kind, n_components=1, n_features=2, dofs=3.0)
    X = known.parameters().sample(np.zeros(20_000, int), np.random.RandomState(0))
    emission = StudentTEmission(kind)
    labels = np.zeros(len(X), int)
    first = emission.first(Rows(X), labels, 1, summary_of(emission, X), np.random.RandomState(0))
    trace, last = fixed_weights_em(emission, first, X, 60)
    np.testing.assert_allclose(last.dofs, 3.0, rtol=0.05)
    np.testing.assert_allclose(last.normals.locations, known.means_, atol=0.04)
    np.testing.assert_allclose(last.normals.scales, known.covariances_, rtol=0.06, atol=0.02)
    assert trace[-1] >= log_density(known.parameters(), X).sum()


def test_gaussian_data_take_dofs_up():
    X = np.random.default_rng(0).normal(size=(5000, 2))
    emission = StudentTEmission()
    labels = np.zeros(len(X), int)
    first = emission.first(Rows(X), labels, 1, summary_of(emission, X), np.random.RandomState(0))
    _, last = fixed_weights_em(emission, first, X, 100)
    assert last.dofs[0] > 30


def test_fixed_dofs_stay():
    X = heavy_rows(100)
    emission = StudentTEmission(dofs_init=[2.0, 5.0], learn_dofs=False)
    emission.check_parameters(2)
    labels = np.arange(100) % 2
    first = emission.first(Rows(X), labels, 2, summary_of(emission, X), np.random.RandomState(0))
    trace, last = fixed_weights_em(emission, first, X, 10)
    assert (np.diff(trace) > -1e-9).all()
    np.testing.assert_array_equal(last.dofs, [2.0, 5.0])
    assert last.n_parameters() == last.normals.n_parameters()
    summary = summary_of(emission, X)
    assert last.pack(summary).shape == (last.n_parameters(),)
    np.testing.assert_array_equal(last.unpack(last.pack(summary), summary).dofs, last.dofs)
    emission.store(last)
    assert emission.parameters().learned is False


def test_outliers_of_1e100_do_not_move_the_center():
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(99, 1)), [[1e100]]])
    emission = StudentTEmission(reg_covar=0.0, means_init=[[0.0]], covariances_init=[[[1.0]]])
    summary, labels = summary_of(emission, X), np.zeros(100, int)
    first = emission.first(Rows(X), labels, 1, summary, np.random.RandomState(0))
    _, statistics = evaluate(first, X, np.ones((100, 1)))
    weight = 11 / (10 + X[:, 0] ** 2)
    np.testing.assert_allclose(statistics.scaled.counts, weight.sum(), rtol=1e-12)
    np.testing.assert_allclose(statistics.scaled.sums, [[weight @ X[:, 0]]], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_offset_of_1e8_changes_nothing(kind):
    X, resp = np.round(heavy_rows(200) * 1024) / 1024, resp_of(200)
    near, far = (emission_of(kind, shift=shift) for shift in (0.0, 1e8))
    near = StudentTEmission.from_parameters(far.means_ - 1e8, near.covariances_, DOFS, kind)
    results = []
    for emission, rows in ((near, X), (far, X + 1e8)):
        old = emission.parameters()
        densities, statistics = evaluate(old, rows, resp)
        new = emission.maximize(old, statistics, summary_of(StudentTEmission(kind), rows))
        results.append((densities, new.normals.scales, new.dofs))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(theirs, ours, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_state_without_weight_keeps_its_parameters(kind):
    emission = emission_of(kind)
    old, X, resp = emission.parameters(), heavy_rows(50), resp_of(50)
    resp[:, 2] = 0.0
    _, statistics = evaluate(old, X, resp)
    new = emission.maximize(old, statistics, summary_of(emission, X))
    np.testing.assert_array_equal(new.normals.locations[2], old.normals.locations[2])
    assert new.dofs[2] == old.dofs[2]
    if kind != "tied":
        np.testing.assert_allclose(new.normals.scales[2], old.normals.scales[2], rtol=1e-14)


def test_collapse_where_rows_are_alike_and_there_is_no_floor():
    X = np.repeat([[0.0, 1.0], [5.0, 2.0]], 10, axis=0)
    emission = StudentTEmission("diag", reg_covar=0.0)
    summary, labels = summary_of(emission, X), np.repeat([0, 1], 10)
    first = emission.first(Rows(X), labels, 2, summary, np.random.RandomState(0))
    _, statistics = evaluate(first, X, np.eye(2)[labels])
    with pytest.raises(Collapse, match="component 0"):
        emission.maximize(first, statistics, summary)


@pytest.mark.parametrize("dof", [0.11, 0.5, 1.0, 3.0, 50.0, 1234.5, 9e5])
def test_dof_is_solved_for(dof):
    np.testing.assert_allclose(solve_dof(log_minus_digamma(dof / 2)), dof, rtol=1e-10)


def test_dof_stays_within_its_bounds():
    assert solve_dof(0.0) == LARGEST_DOF
    assert solve_dof(1e-300) == LARGEST_DOF
    assert solve_dof(1e9) == SMALLEST_DOF


# Values and vectors -------------------------------------------------------------------------------


@given(seeds, covariance_types, st.integers(1, 4), st.integers(1, 4))
def test_parameters_maximise_their_own_statistics(seed, kind, n_components, n_features):
    emission = emission_of(kind, seed, 10.0, n_components, n_features)
    parameters = emission.parameters()
    weights = np.random.default_rng(seed).uniform(0.1, 9.0, size=n_components)
    statistics = parameters.statistics(weights)
    summary = summary_of(emission, np.random.default_rng(seed).normal(size=(50, n_features)))
    new = emission.maximize(parameters, 0.5 * statistics + statistics * 3.0, summary)
    assert_same_normals(new.normals, parameters.normals)
    np.testing.assert_allclose(new.dofs, parameters.dofs, rtol=1e-10)


def test_own_statistics_are_what_many_draws_give():
    parameters = emission_of("full", dofs=5.0).parameters()
    n = 60_000
    states = np.repeat(np.arange(K), n)
    X = parameters.sample(states, np.random.RandomState(0))
    resp = np.eye(K)[states] / n
    _, found = evaluate(parameters, X, resp)
    own = parameters.statistics(np.ones(K))
    np.testing.assert_allclose(found.counts, own.counts)
    np.testing.assert_allclose(found.shortfalls, own.shortfalls, rtol=0.02)
    np.testing.assert_allclose(found.scaled.counts, own.scaled.counts, rtol=0.01)
    np.testing.assert_allclose(found.scaled.scatter, own.scaled.scatter, rtol=0.03, atol=0.02)


@given(seeds, covariance_types, st.integers(1, 4), st.integers(1, 4))
def test_vector_and_back(seed, kind, n_components, n_features):
    parameters = emission_of(kind, seed, 10.0, n_components, n_features).parameters()
    X = np.random.default_rng(seed).normal(size=(50, n_features)) * 3 + 10
    summary = summary_of(StudentTEmission(), X)
    vector = parameters.pack(summary)
    assert vector.shape == (parameters.n_parameters(),)
    back = parameters.unpack(vector, summary)
    assert_same_normals(back.normals, parameters.normals)
    np.testing.assert_allclose(back.dofs, parameters.dofs)


def test_vector_beyond_the_bounds():
    parameters = emission_of("full").parameters()
    summary = summary_of(StudentTEmission(), blobs(50, D, K))
    vector = parameters.pack(summary)
    vector[:K] = [-1e3, 1e3, 0.0]
    back = parameters.unpack(vector, summary)
    np.testing.assert_allclose(back.dofs, [SMALLEST_DOF, LARGEST_DOF, 1.0])
    with pytest.raises(Collapse):
        parameters.unpack(vector + 1e5, summary)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_statistics_of_parts_add_up(kind):
    parameters, X, resp = emission_of(kind).parameters(), heavy_rows(80), resp_of(80)
    kernel = parameters.kernel()
    sums = [kernel.sums(), kernel.sums()]
    for part, total in ((slice(0, 30), sums[0]), (slice(30, 80), sums[1])):
        _, block = next(kernel.blocks(X[part], kernel.workspace()))
        block.log_density()
        block.accumulate(total, resp[part].T)
    one, two = (kernel.finish(each) for each in sums)
    sums[0] += sums[1]
    joined = kernel.finish(sums[0])
    _, whole = evaluate(parameters, X, resp)
    for total in ((one + two) * 2.0, 2.0 * joined):
        for name in ("counts", "shortfalls"):
            np.testing.assert_allclose(getattr(total, name), 2 * getattr(whole, name), rtol=1e-9)
        for name in ("counts", "sums", "scatter"):
            expected = 2 * getattr(whole.scaled, name)
            found = getattr(total.scaled, name)
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_draws_have_the_moments(kind):
    parameters = emission_of(kind, dofs=8.0).parameters()
    states = np.repeat(np.arange(K), 60_000)
    X = parameters.sample(states, np.random.RandomState(0))
    for k in range(K):
        mean, covariance = X[states == k].mean(axis=0), np.cov(X[states == k].T)
        np.testing.assert_allclose(mean, parameters.means()[k], atol=0.03)
        np.testing.assert_allclose(covariance, parameters.covariances()[k], rtol=0.05, atol=0.05)


def test_draws_follow_the_distribution():
    parameters = StudentTEmission.from_parameters(
        [[0.0], [0.0]], [1.0, 1.0], [1.5, 0.1], "spherical"
    )
    parameters = parameters.parameters()
    X = parameters.sample(np.repeat([0, 1], 50_000), np.random.RandomState(0))[:, 0]
    assert np.isfinite(X).all()
    levels = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    below = np.mean(X[:50_000, None] <= t(1.5).ppf(levels), axis=0)
    np.testing.assert_allclose(below, levels, atol=0.01)


def test_moments_that_do_not_exist():
    parameters = emission_of("diag", n_features=2, dofs=np.array([0.5, 2.0, 4.0])).parameters()
    means, covariances = parameters.means(), parameters.covariances()
    assert np.isnan(means[0]).all()
    np.testing.assert_array_equal(means[1:], parameters.normals.locations[1:])
    assert np.isnan(covariances[0]).all()
    np.testing.assert_array_equal(covariances[1], [[np.inf, np.nan], [np.nan, np.inf]])
    np.testing.assert_allclose(covariances[2], 2 * np.diag(parameters.normals.scales[2]))


@pytest.mark.parametrize(
    ("kind", "n"), [("full", 30), ("tied", 18), ("diag", 21), ("spherical", 15)]
)
def test_number_of_parameters(kind, n):
    assert emission_of(kind).parameters().n_parameters() == n


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_first_parameters_match_the_rows_covariance(kind):
    X = blobs(100, D, 1)
    for dof, factor in ((10.0, 0.8), (1.0, 0.2)):
        emission, labels = StudentTEmission(kind, dofs_init=dof), np.zeros(100, int)
        summary = summary_of(emission, X)
        first = emission.first(Rows(X), labels, 1, summary, np.random.RandomState(0))
        deviation = X - X.mean(0)
        expected = factor * shaped(kind, (deviation.T @ deviation)[None], [100])
        np.testing.assert_allclose(first.normals.scales, expected, rtol=1e-9)
        np.testing.assert_array_equal(first.dofs, [dof])


def test_fitted_attributes_hold_the_parameters():
    for kind in COVARIANCE_TYPES:
        emission = emission_of(kind)
        again = StudentTEmission(kind)
        again.store(emission.parameters())
        assert_same_normals(again.parameters().normals, emission.parameters().normals, 0, 0)
        np.testing.assert_array_equal(again.dofs_, DOFS)
        assert (again.parameters().n_components, again.parameters().n_features) == (K, D)
        assert again.n_features_in_ == D
        shape = STRUCTURES[kind].shape(K, D)
        assert again.covariances_.shape == again.precisions_cholesky_.shape == shape
        assert isinstance(again.parameters(), StudentTParameters)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"dofs_init": 0.01}, "dofs_init has an entry 0.01: must be from 0.1 to 1e"),
        ({"dofs_init": [1.0, 2.0, 3.0]}, r"dofs_init has shape \(3,\): must be a number"),
        ({"dofs_init": "many"}, "dofs_init='many'"),
        ({"dofs_init": None}, "dofs_init contains NaN"),
        ({"learn_dofs": "yes"}, "learn_dofs='yes'"),
        ({"covariance_type": "round"}, "covariance_type='round'"),
        ({"means_init": [[1.0]]}, "means_init has shape"),
    ],
)
def test_unusable_constructor_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        StudentTEmission(**parameters).check_parameters(2)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([0.0], [1.0], 3.0, "spherical"), "means has shape"),
        (([[0.0]], [1.0], 0.0, "spherical"), "dofs has an entry 0.0: must be > 0"),
        (([[0.0]], [1.0], np.inf, "spherical"), "dofs contains NaN or infinity"),
        (([[0.0]], [1.0], [1.0, 2.0], "spherical"), "dofs has shape"),
        (([[0.0]], [-1.0], 3.0, "spherical"), "covariances has an entry -1.0"),
    ],
)
def test_unusable_known_parameters(arguments, match):
    with pytest.raises(ValueError, match=match):
        StudentTEmission.from_parameters(*arguments)
