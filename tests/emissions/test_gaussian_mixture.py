"""Gaussian mixture emissions by value: sums of scipy's densities, closed forms, nested models."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

from skvae.ascent.loop import Collapse
from skvae.blocks import Rows
from skvae.emissions.gaussian import GaussianEmission
from skvae.emissions.gaussian_mixture import GaussianMixtureEmission
from skvae.initialization import MAX_ROWS
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
from tests.emissions.test_gaussian import oracle_m_step, resp_of
from tests.oracles import Mixture, log_joint
from tests.problems import COVARIANCE_TYPES, blobs, knock_out
from tests.strategies import covariance_types, seeds

K, M, D = 2, 3, 2


def emission_of(kind, seed=0, shift=0.0, shape=(K, M, D)):
    rng = np.random.default_rng(seed)
    n_components, n_mix, n_features = shape
    weights = rng.dirichlet(np.full(n_mix, 5.0), size=n_components)
    means = shift + 3 * rng.normal(size=shape)
    scales = random_scales(kind, n_components * n_mix, n_features, seed)
    if kind != "tied":
        scales = scales.reshape(n_components, n_mix, *scales.shape[1:])
    return GaussianMixtureEmission.from_parameters(weights, means, scales, kind)


def flat_mixture(parameters):
    normals = parameters.normals
    return Mixture(
        parameters.weights.ravel(), normals.locations, normals.scales, normals.covariance_type
    )


def joint_of(parameters, X):
    """ln w + ln N of each Gaussian, (n, K, M)."""
    return log_joint(X, flat_mixture(parameters)).reshape(len(X), *parameters.weights.shape)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_density_is_the_sum_of_scipys(kind, missing):
    parameters, X = emission_of(kind).parameters(), blobs(100, D, 4)
    if missing:
        X = knock_out(X, 0.3)
        X[7] = np.nan
    expected = logsumexp(joint_of(parameters, X), axis=2)
    np.testing.assert_allclose(log_density(parameters, X), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_m_step_is_the_closed_form(kind, missing):
    emission, X = emission_of(kind), blobs(90, D, 4)
    X = knock_out(X, 0.3) if missing else X
    old, resp = emission.parameters(), resp_of(90, K)
    joint = joint_of(old, X)
    within = np.exp(joint - logsumexp(joint, axis=2, keepdims=True))
    each = (resp[:, :, None] * within).reshape(90, K * M)
    _, statistics = evaluate(old, X, resp)
    new = emission.maximize(old, statistics, summary_of(emission, X))
    means, scatters, counts = oracle_m_step(X, each, old.normals, kind)
    expected = counts.reshape(K, M) / counts.reshape(K, M).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(new.weights, expected, rtol=1e-9)
    np.testing.assert_allclose(new.normals.locations, means, rtol=1e-8, atol=1e-9)
    np.testing.assert_allclose(
        new.normals.scales, shaped(kind, scatters, counts), rtol=1e-8, atol=1e-9
    )


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_one_gaussian_is_the_gaussian_emission_exactly(kind, missing):
    X = blobs(150, D, K)
    X = knock_out(X, 0.2) if missing else X
    one, many = GaussianEmission(kind), GaussianMixtureEmission(1, covariance_type=kind)
    labels = np.random.default_rng(0).integers(-1, K + 1, size=150)
    labels[labels == 1] = 0  # a state without rows too
    summary = summary_of(one, X)
    gaussian = one.first(Rows(X), labels, K + 1, summary, np.random.RandomState(0))
    mixture = many.first(Rows(X), labels, K + 1, summary, np.random.RandomState(0))
    for _ in range(3):
        assert_same_normals(mixture.normals, gaussian, rtol=0, atol=0)
        resp = resp_of(150, K + 1)
        a, sums_a = evaluate(gaussian, X, resp)
        b, sums_b = evaluate(mixture, X, resp)
        np.testing.assert_array_equal(a, b)
        gaussian = one.maximize(gaussian, sums_a, summary)
        mixture = many.maximize(mixture, sums_b, summary)
    states = np.arange(20) % (K + 1)
    ours = mixture.sample(states, np.random.RandomState(0))
    np.testing.assert_array_equal(ours, gaussian.sample(states, np.random.RandomState(0)))
    assert mixture.n_parameters() == gaussian.n_parameters()
    np.testing.assert_array_equal(mixture.means(), gaussian.means())
    np.testing.assert_array_equal(mixture.covariances(), gaussian.covariances())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_em_never_falls(kind, seed):
    X = knock_out(blobs(150, D, K * M, seed=seed), 0.1, seed=seed)
    emission = GaussianMixtureEmission(M, covariance_type=kind)
    labels = np.random.default_rng(seed).integers(K, size=len(X))
    rng = np.random.RandomState(seed)
    first = emission.first(Rows(X), labels, K, summary_of(emission, X), rng)
    trace, last = fixed_weights_em(emission, first, X, 15)
    assert (np.diff(trace) > -1e-9 * np.abs(trace[-1])).all()
    assert trace[-1] > trace[0]
    np.testing.assert_allclose(last.weights.sum(axis=1), 1.0)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_start_finds_the_clusters_within_each_state(kind):
    rng = np.random.default_rng(0)
    centers = 1e6 + np.array([[0.0, 0.0], [20.0, 0.0], [0.0, 50.0], [20.0, 50.0]])
    which = rng.integers(4, size=400)
    X = centers[which] + rng.normal(size=(400, 2))
    emission = GaussianMixtureEmission(2, covariance_type=kind)
    summary = summary_of(emission, X)
    first = emission.first(Rows(X), which // 2, 2, summary, np.random.RandomState(0))
    found = np.sort(first.normals.locations.reshape(2, 2, 2), axis=1)
    np.testing.assert_allclose(found, centers.reshape(2, 2, 2), atol=0.5)
    np.testing.assert_allclose(first.weights, 0.5, atol=0.08)
    full = matrices(kind, first.normals.scales, (4, 2))
    np.testing.assert_allclose(full, np.stack([np.eye(2)] * 4), atol=0.5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("labels", [[0, 0, 0, 0, 1], [-1] * 5, [1] * 5, [0, 1, -1, -1, 1]])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_states_with_few_rows_or_none_are_usable(kind, labels, dtype):
    X = np.array([[0.0, 1.0], [0.0, 1.0], [2.0, np.nan], [3.0, 4.0], [1.0, 1.0]], dtype=dtype)
    emission = GaussianMixtureEmission(3, covariance_type=kind, reg_covar=0.0)
    summary, rng = summary_of(emission, X), np.random.RandomState(0)
    for weight in (None, np.array([1.0, 0.0, 2.0, 1.0, 1.0])):
        first = emission.first(Rows(X, weight), np.array(labels), 3, summary, rng)
        assert first.weights.shape == (3, 3)
        assert (first.weights > 0).all()
        np.testing.assert_allclose(first.weights.sum(axis=1), 1.0)
        assert np.isfinite(log_density(first, X)).all()


def test_start_reads_a_bounded_number_of_rows(monkeypatch):
    module = "skvae.emissions.gaussian_mixture.first_labels"
    seen = []

    def record(X, weight, n_mix, method, rng):
        seen.append((X.shape, X.dtype))
        return np.arange(len(X)) % n_mix

    monkeypatch.setattr(module, record)
    X = np.zeros((MAX_ROWS + 50, 1))
    X[: MAX_ROWS // 2] = 1.0
    emission, summary = GaussianMixtureEmission(2), summary_of(GaussianEmission(), X)
    emission.first(Rows(X), np.zeros(len(X), int), 1, summary, np.random.RandomState(0))
    assert seen == [((MAX_ROWS, 1), X.dtype)]
    small = (1e20 * X[:100] + np.arange(100)[:, None] * 1e19).astype(np.float32)
    summary = summary_of(GaussianEmission(), small)
    emission.first(Rows(small), np.zeros(100, int), 1, summary, np.random.RandomState(0))
    assert seen[1] == ((100, 1), np.float64)  # squared distances overflow in float32


def test_given_first_values_win():
    X, labels = blobs(40, 2, 2), np.arange(40) % 2
    given = {
        "weights_init": [[0.25, 0.75], [0.5, 0.5]],
        "means_init": np.arange(8.0).reshape(2, 2, 2),
        "covariances_init": np.arange(1.0, 5.0).reshape(2, 2),
    }
    kept = {"weights_init": [], "means_init": [], "covariances_init": []}
    for names in ([*given], [*given][:1], [*given][1:2], [*given][2:]):
        emission = GaussianMixtureEmission(covariance_type="spherical")
        emission.set_params(**{name: given[name] for name in names})
        emission.check_parameters(2)
        summary = summary_of(emission, X)
        first = emission.first(Rows(X), labels, 2, summary, np.random.RandomState(0))
        assert first.weights.shape == (2, 2)
        assert first.normals.locations.shape == (4, 2)
        assert first.normals.scales.shape == (4,)
        found = first.weights, first.normals.locations, first.normals.scales
        for name, value in zip(given, found, strict=True):
            if name in names:
                np.testing.assert_array_equal(value.ravel(), np.ravel(given[name]))
                kept[name].append(True)
    assert all(len(each) == 2 for each in kept.values())


def test_given_first_covariances_in_every_shape():
    X, labels = blobs(40, 2, 2), np.arange(40) % 2
    for kind in COVARIANCE_TYPES:
        covariances = emission_of(kind).covariances_
        emission = GaussianMixtureEmission(M, covariance_type=kind, covariances_init=covariances)
        emission.check_parameters(K)
        summary = summary_of(emission, X)
        first = emission.first(Rows(X), labels, K, summary, np.random.RandomState(0))
        np.testing.assert_array_equal(first.normals.scales.ravel(), covariances.ravel())


def test_component_without_weight_stays_so_and_is_not_drawn():
    emission = GaussianMixtureEmission.from_parameters(
        [[1.0, 0.0], [0.0, 1.0]], [[[0.0], [100.0]], [[200.0], [0.0]]], np.ones((2, 2)), "spherical"
    )
    old, X = emission.parameters(), np.random.default_rng(0).normal(size=(60, 1))
    found, statistics = evaluate(old, X, np.full((60, 2), 0.5))
    gaussian = GaussianEmission.from_parameters([[0.0]], [1.0], "spherical").parameters()
    np.testing.assert_allclose(found, np.repeat(log_density(gaussian, X), 2, axis=1))
    new = emission.maximize(old, statistics, summary_of(emission, X))
    np.testing.assert_array_equal(new.weights, old.weights)
    draws = old.sample(np.arange(2000) % 2, np.random.RandomState(0))
    assert np.abs(draws).max() < 10
    assert np.isneginf(old.pack(summary_of(emission, X))).sum() == 2


def test_state_without_weight_keeps_its_parameters():
    emission = emission_of("full")
    old, X = emission.parameters(), blobs(50, D, 4)
    resp = np.ones((50, K)) * [1.0, 0.0]
    _, statistics = evaluate(old, X, resp)
    new = emission.maximize(old, statistics, summary_of(emission, X))
    np.testing.assert_array_equal(new.weights[1], old.weights[1])
    np.testing.assert_array_equal(new.normals.locations[M:], old.normals.locations[M:])
    np.testing.assert_allclose(new.normals.scales[M:], old.normals.scales[M:], rtol=1e-14)


shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


@given(seeds, covariance_types, shapes)
def test_parameters_maximise_their_own_statistics(seed, kind, shape):
    emission = emission_of(kind, seed, 10.0, shape)
    parameters = emission.parameters()
    weights = np.random.default_rng(seed).uniform(0.1, 9.0, size=shape[0])
    statistics = parameters.statistics(weights)
    rng = np.random.RandomState(seed)
    summary = summary_of(emission, parameters.sample(np.arange(200) % shape[0], rng))
    new = emission.maximize(parameters, 0.5 * statistics + statistics * 3.0, summary)
    np.testing.assert_allclose(new.weights, parameters.weights)
    assert_same_normals(new.normals, parameters.normals)


@given(seeds, covariance_types, shapes)
def test_vector_and_back(seed, kind, shape):
    parameters = emission_of(kind, seed, 10.0, shape).parameters()
    X = parameters.sample(np.arange(200) % shape[0], np.random.RandomState(seed))
    summary = summary_of(GaussianEmission(), X)
    vector = parameters.pack(summary)
    assert vector.shape == (parameters.n_parameters() + shape[0],)  # log weights are not reduced
    vector[: shape[0] * shape[1]] += 3.0  # nor need they sum to one
    back = parameters.unpack(vector, summary)
    np.testing.assert_allclose(back.weights, parameters.weights, rtol=1e-12)
    assert_same_normals(back.normals, parameters.normals)


def test_vector_that_overflows_collapses():
    parameters = emission_of("full").parameters()
    summary = summary_of(GaussianEmission(), blobs(50, D, K))
    with pytest.raises(Collapse):
        parameters.unpack(parameters.pack(summary) + 1e5, summary)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_draws_have_the_moments(kind):
    parameters = emission_of(kind).parameters()
    states = np.repeat(np.arange(K), 60_000)
    X = parameters.sample(states, np.random.RandomState(0))
    for k in range(K):
        mean, covariance = X[states == k].mean(axis=0), np.cov(X[states == k].T)
        np.testing.assert_allclose(mean, parameters.means()[k], atol=0.06)
        np.testing.assert_allclose(covariance, parameters.covariances()[k], rtol=0.03, atol=0.15)


@pytest.mark.parametrize(
    ("kind", "n"), [("full", 34), ("tied", 19), ("diag", 28), ("spherical", 22)]
)
def test_number_of_parameters(kind, n):
    assert emission_of(kind).parameters().n_parameters() == n


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_impossible_rows_and_far_ones(kind, missing):
    parameters = emission_of(kind).parameters()
    X = np.array([[1e200, -1e200], [0.0, 0.0], [1e5, 1e5]])
    X[:, 1] = np.nan if missing else X[:, 1]
    found = log_density(parameters, X)
    assert np.isneginf(found[0]).all()
    expected = logsumexp(joint_of(parameters, X[1:]), axis=2)
    np.testing.assert_allclose(found[1:], expected, rtol=1e-9)
    _, statistics = evaluate(parameters, X[1:], np.full((2, K), 0.5))
    np.testing.assert_allclose(statistics.counts.sum(), 2.0)


def test_huge_offset_changes_nothing():
    X, resp = blobs(200, D, 4), resp_of(200, K)
    near, far = (emission_of("full", shift=shift).parameters() for shift in (0.0, 2.0**27))
    assert np.ptp(far.normals.locations - near.normals.locations) < 1e-6
    emission = GaussianMixtureEmission()
    here, there = X, X + 2.0**27
    a, sums_a = evaluate(near, here, resp)
    b, sums_b = evaluate(far, there, resp)
    np.testing.assert_allclose(b, a, atol=1e-5)
    one = emission.maximize(near, sums_a, summary_of(emission, here))
    two = emission.maximize(far, sums_b, summary_of(emission, there))
    np.testing.assert_allclose(two.normals.scales, one.normals.scales, atol=1e-5)
    np.testing.assert_allclose(two.weights, one.weights, atol=1e-6)


def test_fitted_attributes_hold_the_parameters():
    for kind in COVARIANCE_TYPES:
        emission = emission_of(kind)
        parameters = emission.parameters()
        assert_same_normals(emission_of(kind).parameters().normals, parameters.normals, 0, 0)
        shape = {"full": (K, M, D, D), "tied": (D, D), "diag": (K, M, D), "spherical": (K, M)}
        assert emission.covariances_.shape == shape[kind]
        assert emission.precisions_cholesky_.shape == shape[kind]
        assert emission.means_.shape == (K, M, D)
        assert emission.weights_.shape == (K, M)
        assert (parameters.n_components, parameters.n_features) == (K, D)


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"n_mix": 0}, "n_mix=0: must be an integer >= 1"),
        ({"n_mix": 2.5}, "n_mix=2.5: must be an integer"),
        ({"covariance_type": "round"}, "covariance_type='round'"),
        ({"reg_covar": np.inf}, "reg_covar=inf"),
        ({"weights_init": [[1.0], [1.0]]}, r"weights_init has shape \(2, 1\)"),
        ({"weights_init": [[0.5, 0.5], [0.5, 0.6]]}, r"weights_init\[1\] sums to 1.1"),
        ({"weights_init": [[1.5, -0.5], [0.5, 0.5]]}, r"weights_init\[0\]=.* in \[0, 1\]"),
        ({"means_init": [[0.0], [1.0]]}, "means_init has shape"),
        ({"means_init": np.zeros((2, 3, 1))}, r"must have shape \(2, 2, 1\)"),
        ({"covariances_init": np.ones((2, 1, 1))}, "covariances_init has shape"),
    ],
)
def test_unusable_constructor_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        GaussianMixtureEmission(**parameters).check_parameters(2)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([[1.0]], [[0.0]], [[1.0]], "spherical"), "means has shape .* must have 3 axes"),
        (([[0.5, 0.5]], [[[0.0]]], [[1.0]], "spherical"), "weights has shape"),
        (([[0.5]], [[[0.0]]], [[1.0]], "spherical"), r"weights\[0\] sums to 0.5"),
        (([[1.0]], [[[0.0]]], [1.0], "spherical"), "covariances has shape"),
        (([[1.0]], [[[0.0]]], [[0.0]], "spherical"), "covariances has an entry 0.0"),
    ],
)
def test_unusable_known_parameters(arguments, match):
    with pytest.raises(ValueError, match=match):
        GaussianMixtureEmission.from_parameters(*arguments)
