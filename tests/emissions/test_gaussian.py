"""Gaussian emissions by value: scipy's densities, closed forms, moments of draws."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from skvae.ascent.loop import Collapse
from skvae.blocks import Rows
from skvae.emissions.gaussian import GaussianEmission
from skvae.gaussian.kernel import gaussian_kernel
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
from tests.oracles import Mixture, conditional_moments, covariance_floor, log_joint
from tests.problems import COVARIANCE_TYPES, blobs, knock_out
from tests.strategies import covariance_types, seeds

K, D = 3, 3


def emission_of(kind, seed=0, shift=0.0, n_components=K, n_features=D):
    rng = np.random.default_rng(seed)
    means = shift + 2 * rng.normal(size=(n_components, n_features))
    scales = random_scales(kind, n_components, n_features, seed)
    return GaussianEmission.from_parameters(means, scales, kind)


def resp_of(n, n_components=K, seed=0):
    resp = np.random.default_rng(seed).dirichlet(np.ones(n_components), size=n)
    resp[: n // 5, 1] = 0.0
    return resp


def oracle_m_step(X, resp, components, kind):
    """(means, scatters (K, D, D), counts) of responsibilities, row by row."""
    full = matrices(kind, components.scales, components.locations.shape)
    means, scatters = [], []
    for k, (mean, matrix) in enumerate(zip(components.locations, full, strict=True)):
        moments = [conditional_moments(row, mean, matrix) for row in X]
        rows = np.stack([m for m, _ in moments])
        new = resp[:, k] @ rows / resp[:, k].sum()
        spread = sum(r * c for r, (_, c) in zip(resp[:, k], moments, strict=True))
        means.append(new)
        scatters.append((resp[:, k, None] * (rows - new)).T @ (rows - new) + spread)
    return np.stack(means), np.stack(scatters), resp.sum(axis=0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_density_is_scipys(kind, missing, dtype):
    emission = emission_of(kind)
    X = blobs(100, D, K).astype(dtype)
    if missing:
        X = knock_out(X, 0.3)
        X[7] = np.nan
    mixture = Mixture(np.ones(K), emission.means_, emission.covariances_, kind)
    found = log_density(emission.parameters(), X)
    np.testing.assert_allclose(found, log_joint(X, mixture), rtol=1e-10, atol=1e-10)
    if missing:
        assert (found[7] == 0).all()


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_the_kernel_is_that_of_the_mixtures(kind):
    """Where the spread is the data's, log-densities are the very numbers of the fast kernel."""
    components = emission_of(kind).parameters()
    spread = components.kernel().spread
    offsets = np.zeros(K)
    kernel = gaussian_kernel(kind, components.locations, components.factors, offsets, spread)
    X = blobs(30, D, K)
    _, block = next(kernel.blocks(X, kernel.workspace()))
    np.testing.assert_array_equal(log_density(components, X), block.log_density().T)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_m_step_is_the_closed_form(kind, missing):
    emission = emission_of(kind)
    X = blobs(90, D, K)
    X = knock_out(X, 0.3) if missing else X
    resp = resp_of(len(X)) * np.random.default_rng(1).uniform(0.1, 3, size=(len(X), 1))
    old = emission.parameters()
    _, statistics = evaluate(old, X, resp)
    new = emission.maximize(old, statistics, summary_of(emission, X))
    means, scatters, counts = oracle_m_step(X, resp, old, kind)
    np.testing.assert_allclose(new.locations, means, rtol=1e-9)
    np.testing.assert_allclose(new.scales, shaped(kind, scatters, counts), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_offset_of_1e8_comes_back_as_unit_variance(kind):
    rng = np.random.default_rng(0)
    X = 1e8 + rng.normal(size=(400, D))
    emission = GaussianEmission(kind)
    summary, labels = summary_of(emission, X), rng.integers(K, size=400)
    first = emission.first(Rows(X), labels, K, summary, np.random.RandomState(0))
    resp = np.eye(K)[labels]
    _, statistics = evaluate(first, X, resp)
    new = emission.maximize(first, statistics, summary)
    near = emission.from_parameters(new.locations - 1e8, new.scales, kind).parameters()
    scatters = [(d - d.mean(0)).T @ (d - d.mean(0)) for d in (X[labels == k] for k in range(K))]
    expected = shaped(kind, np.stack(scatters), np.bincount(labels))
    np.testing.assert_allclose(new.scales, expected, rtol=1e-6, atol=1e-7)
    difference = log_density(new, X) - log_density(near, X - 1e8)
    np.testing.assert_allclose(difference, 0.0, atol=1e-6)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_patterns_in_any_order_score_alike(kind):
    """Rows of mixed patterns are brought together on the way: the answer is that of each alone."""
    components = emission_of(kind).parameters()
    X = knock_out(blobs(60, D, K), 0.5, seed=3)
    resp = resp_of(60)
    whole, statistics = evaluate(components, X, resp)
    alone = np.concatenate([log_density(components, row[None]) for row in X])
    np.testing.assert_allclose(whole, alone, rtol=1e-12, atol=1e-12)
    order = np.random.default_rng(0).permutation(60)
    _, shuffled = evaluate(components, X[order], resp[order])
    np.testing.assert_allclose(shuffled.scatter, statistics.scatter, rtol=1e-9)
    np.testing.assert_allclose(shuffled.sums, statistics.sums, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6, 0.3])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_em_never_falls_below_the_floor_or_its_bound(kind, reg_covar, seed):
    X = knock_out(blobs(120, 2, K, seed=seed), 0.1, seed=seed)
    emission = GaussianEmission(kind, reg_covar=reg_covar)
    summary = summary_of(emission, X)
    labels = np.random.default_rng(seed).integers(K, size=len(X))
    first = emission.first(Rows(X), labels, K, summary, np.random.RandomState(seed))
    # Once, so that the start obeys the floor.
    trace, last = fixed_weights_em(emission, first, X, 12)
    assert (np.diff(trace)[1:] > -1e-9 * np.abs(trace[-1])).all()
    assert trace[-1] > trace[0]
    np.testing.assert_allclose(summary.floor, covariance_floor(X, reg_covar), rtol=1e-12)
    full = matrices(kind, last.scales, (K, 2))
    assert (np.linalg.eigvalsh(full - np.diag(summary.floor)) > -1e-12).all()


def test_collapse_where_rows_are_alike_and_there_is_no_floor():
    X = np.repeat([[0.0, 1.0], [5.0, 2.0]], 10, axis=0)
    emission = GaussianEmission("diag", reg_covar=0.0)
    summary = summary_of(emission, X)
    labels = np.repeat([0, 1], 10)
    first = emission.first(Rows(X), labels, 2, summary, np.random.RandomState(0))
    assert (first.scales > 0).all()
    _, statistics = evaluate(first, X, np.eye(2)[labels])
    with pytest.raises(Collapse, match="component 0"):
        emission.maximize(first, statistics, summary)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_state_without_weight_keeps_its_parameters(kind):
    emission = emission_of(kind)
    old, X = emission.parameters(), blobs(50, D, K)
    resp = resp_of(50)
    resp[:, 2] = 0.0
    _, statistics = evaluate(old, X, resp)
    new = emission.maximize(old, statistics, summary_of(emission, X))
    np.testing.assert_array_equal(new.locations[2], old.locations[2])
    if kind != "tied":
        np.testing.assert_allclose(new.scales[2], old.scales[2], rtol=1e-14)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_first_parameters_of_labels(kind):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(40, 2)), 30 + 2 * rng.normal(size=(60, 2)), [[90, 90.0]]])
    labels = np.array([0] * 40 + [1] * 60 + [-1])
    emission = GaussianEmission(kind)
    first = emission.first(Rows(X), labels, 3, summary_of(emission, X), np.random.RandomState(0))
    np.testing.assert_allclose(first.locations[:2], [X[:40].mean(0), X[40:100].mean(0)])
    assert (
        (first.locations[2] == X).all(axis=1).any()
    )  # the mean of a label without rows is some row
    full = matrices(kind, first.scales, (3, 2))
    within = matrices(kind, *_within(X, labels, kind))
    np.testing.assert_allclose(full[2], within[0], rtol=1e-9)
    assert (np.linalg.eigvalsh(full) > 0.1).all()


def _within(X, labels, kind):
    parts = [X[labels == k] - X[labels == k].mean(0) for k in (0, 1)]
    scatters = np.stack([p.T @ p for p in parts])
    scales = shaped(kind, scatters, [40, 60])
    if kind != "tied":
        scales = np.average(scales, axis=0, weights=[40, 60])[None]
    return scales, (1, 2)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_first_of_one_state_is_the_gaussian_of_the_data(kind):
    X = blobs(80, D, 1)
    emission = GaussianEmission(kind)
    labels = np.zeros(80, int)
    first = emission.first(Rows(X), labels, 1, summary_of(emission, X), np.random.RandomState(0))
    deviation = X - X.mean(0)
    expected = shaped(kind, (deviation.T @ deviation)[None], [80])
    np.testing.assert_allclose(first.scales, expected, rtol=1e-12)


def test_first_honours_weights_order_and_unused_labels():
    X, weight = blobs(60, 2, 2), np.random.default_rng(0).uniform(0.5, 2, size=60)
    emission = GaussianEmission()
    labels = np.random.default_rng(1).integers(-1, 2, size=60)
    summary = summary_of(emission, X, weight)
    order = np.random.default_rng(2).permutation(60)
    rng = np.random.RandomState(0)
    one = emission.first(Rows(X, weight), labels, 2, summary, rng)
    two = emission.first(Rows(X, weight, order), labels[order], 2, summary, rng)
    assert_same_normals(two, one)
    for k in range(2):
        expected = np.average(X[labels == k], axis=0, weights=weight[labels == k])
        np.testing.assert_allclose(one.locations[k], expected)


@pytest.mark.parametrize("labels", [[-1, -1, -1], [0, -1, 1], [0, 0, 0]])
@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_first_with_next_to_no_rows_is_usable(kind, labels):
    X = np.array([[0.0, 1.0], [2.0, np.nan], [3.0, 4.0]])
    emission = GaussianEmission(kind, reg_covar=0.0)
    summary, rng = summary_of(emission, X), np.random.RandomState(0)
    first = emission.first(Rows(X), np.array(labels), 3, summary, rng)
    assert np.isfinite(log_density(first, X)).all()


def test_given_first_values_win():
    X, means = blobs(30, 2, 2), [[0.0, 1.0], [2.0, 3.0]]
    covariances = [[1.0, 2.0], [3.0, 4.0]]
    labels = np.arange(30) % 2
    emission = GaussianEmission("diag", means_init=means, covariances_init=covariances)
    summary = summary_of(emission, X)
    first = emission.first(Rows(X), labels, 2, summary, np.random.RandomState(0))
    np.testing.assert_array_equal(first.locations, means)
    np.testing.assert_array_equal(first.scales, covariances)
    partly = emission.set_params(means_init=None)
    first = partly.first(Rows(X), labels, 2, summary, np.random.RandomState(0))
    np.testing.assert_allclose(first.locations[0], X[::2].mean(axis=0))
    np.testing.assert_array_equal(first.scales, covariances)


@given(seeds, covariance_types, st.integers(1, 4), st.integers(1, 4))
def test_parameters_maximise_their_own_statistics(seed, kind, n_components, n_features):
    emission = emission_of(kind, seed, 10.0, n_components, n_features)
    parameters = emission.parameters()
    weights = np.random.default_rng(seed).uniform(0.1, 9.0, size=n_components)
    statistics = parameters.statistics(weights)
    summary = summary_of(emission, parameters.sample(np.arange(200) % n_components, _rng(seed)))
    new = emission.maximize(parameters, 0.5 * statistics + statistics * 3.0, summary)
    assert_same_normals(new, parameters)


@given(seeds, covariance_types, st.integers(1, 4), st.integers(1, 4))
def test_vector_and_back(seed, kind, n_components, n_features):
    parameters = emission_of(kind, seed, 10.0, n_components, n_features).parameters()
    X = parameters.sample(np.arange(200) % n_components, _rng(seed))
    summary = summary_of(GaussianEmission(), X)
    vector = parameters.pack(summary)
    assert vector.shape == (parameters.n_parameters(),)
    assert_same_normals(parameters.unpack(vector, summary), parameters)


def _rng(seed):
    return np.random.RandomState(seed)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_vector_that_overflows_collapses_and_the_floor_holds(kind):
    parameters = emission_of(kind).parameters()
    summary = summary_of(GaussianEmission(reg_covar=0.5), blobs(50, D, K))
    vector = parameters.pack(summary)
    with pytest.raises(Collapse):
        parameters.unpack(vector - 1e5, summary)
    raised = parameters.unpack(
        np.where(np.arange(len(vector)) >= K * D, vector + 20, vector), summary
    )
    full = matrices(kind, raised.scales, (K, D)) / np.sqrt(np.outer(summary.floor, summary.floor))
    assert (np.linalg.eigvalsh(full) > 1 - 1e-9).all()


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_statistics_of_parts_add_up(kind):
    parameters, X, resp = emission_of(kind).parameters(), blobs(80, D, K), resp_of(80)
    _, whole = evaluate(parameters, X, resp)
    _, one = evaluate(parameters, X[:30], resp[:30])
    _, two = evaluate(parameters, X[30:], resp[30:])
    total = (one + two) * 2.0
    for name in ("counts", "sums", "scatter"):
        expected = 2 * getattr(whole, name)
        np.testing.assert_allclose(getattr(total, name), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_draws_have_the_moments(kind):
    parameters = emission_of(kind).parameters()
    states = np.repeat(np.arange(K), 40_000)
    X = parameters.sample(states, np.random.RandomState(0))
    assert X.shape == (3 * 40_000, D)
    for k in range(K):
        mean, covariance = X[states == k].mean(axis=0), np.cov(X[states == k].T)
        np.testing.assert_allclose(mean, parameters.means()[k], atol=0.03)
        np.testing.assert_allclose(covariance, parameters.covariances()[k], atol=0.06)
    full = matrices(kind, parameters.scales, (K, D))
    np.testing.assert_array_equal(parameters.covariances(), full)


@pytest.mark.parametrize(
    ("kind", "n"), [("full", 27), ("tied", 15), ("diag", 18), ("spherical", 12)]
)
def test_number_of_parameters(kind, n):
    assert emission_of(kind).parameters().n_parameters() == n


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
def test_rows_beyond_all_bounds_are_impossible_not_nan(kind, missing):
    parameters = emission_of(kind).parameters()
    X = np.array([[1e200, 0.0, -1e200], [0.0, 0.0, 0.0], [1e300, 1e300, -1e300]])
    X[:, 1] = np.nan if missing else X[:, 1]
    found = log_density(parameters, X)
    assert np.isneginf(found[[0, 2]]).all()
    assert np.isfinite(found[1]).all()


def test_fitted_attributes_hold_the_parameters():
    emission = emission_of("full")
    copied = clone(emission)
    with pytest.raises(NotFittedError):
        copied.parameters()
    copied.store(emission.parameters())
    assert_same_normals(copied.parameters(), emission.parameters(), rtol=0, atol=0)
    assert copied.n_features_in_ == D
    assert copied.parameters().n_components == K
    assert copied.parameters().n_features == D
    assert emission.log_prior(emission.parameters(), None) == 0.0
    assert emission.check_rows(np.array([[np.nan, -1.5]])) is None


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        ({"covariance_type": "round"}, "covariance_type='round': must be one of"),
        ({"reg_covar": -1.0}, "reg_covar=-1.0: must be a finite number >= 0"),
        ({"means_init": [[0.0], [1.0], [2.0]]}, r"means_init has shape \(3, 1\): .* \(2, 1\)"),
        ({"means_init": [0.0, 1.0]}, "means_init has shape"),
        ({"means_init": 3.0}, "means_init has shape"),
        ({"means_init": [[0.0], [np.nan]]}, "means_init contains NaN"),
        ({"covariances_init": np.ones((2, 3, 2))}, "covariances_init has shape"),
        ({"covariances_init": -np.ones((2, 1, 1))}, "covariances_init has an eigenvalue <= 0"),
        (
            {"means_init": [[0.0], [1.0]], "covariances_init": np.stack([np.eye(2)] * 2)},
            "covariances_init has shape",
        ),
        (
            {"covariance_type": "diag", "covariances_init": [[1.0], [0.0]]},
            "covariances_init has an entry 0.0: must be > 0",
        ),
    ],
)
def test_unusable_constructor_parameters(parameters, match):
    with pytest.raises(ValueError, match=match):
        GaussianEmission(**parameters).check_parameters(2)


def test_usable_constructor_parameters():
    GaussianEmission(means_init=[[0.0, 1.0]], covariances_init=[np.eye(2)]).check_parameters(1)
    GaussianEmission("tied", covariances_init=np.eye(2)).check_parameters(3)
    GaussianEmission("spherical", covariances_init=[1.0, 2.0]).check_parameters(2)


def test_first_values_for_other_features():
    X = blobs(20, 2, 2)
    emission = GaussianEmission(means_init=[[0.0], [1.0]])
    with pytest.raises(
        ValueError, match=r"means_init has shape \(2, 1\): must have shape \(2, 2\)"
    ):
        emission.first(Rows(X), np.zeros(20, int), 2, summary_of(emission, X), None)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (([0.0, 1.0], [1.0, 1.0], "spherical"), "means has shape"),
        (([[0.0], [1.0]], [1.0], "spherical"), "covariances has shape"),
        (([[0.0], [np.inf]], [1.0, 1.0], "spherical"), "means contains NaN or infinity"),
        (([[0.0], [1.0]], [1.0, -1.0], "spherical"), "covariances has an entry -1.0"),
        (([[0.0, 1.0]], [[[1.0, 2.0], [0.0, 1.0]]], "full"), "not symmetric"),
        (([[0.0, 1.0]], [[[1.0, 2.0], [2.0, 1.0]]], "full"), "eigenvalue <= 0"),
        (([[0.0]], [1.0], "round"), "covariance_type='round'"),
        ((np.empty((0, 2)), np.empty((0,)), "spherical"), "none empty"),
    ],
)
def test_unusable_known_parameters(arguments, match):
    with pytest.raises(ValueError, match=match):
        GaussianEmission.from_parameters(*arguments)


def test_feature_without_values():
    X = np.array([[0.0, np.nan], [1.0, np.nan]])
    with pytest.raises(ValueError, match="no observed value in feature 1"):
        summary_of(GaussianEmission(), X)
