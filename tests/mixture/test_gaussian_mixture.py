"""EMGaussianMixture on complete data: steps, bounds, floor, densities, block boundaries."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMGaussianMixture
from skvae.mixture.base import _label
from tests import oracles
from tests.problems import (
    COVARIANCE_TYPES,
    assert_same_mixture,
    blobs,
    corners,
    on_the_floor,
    run,
    start,
)
from tests.strategies import covariance_types, seeds, well_posed

# Rounding may move a bound that has stopped rising by a few units in the last place.
NEVER_FALLS = -1e-12


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6, 0.1, 3.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_steps_are_the_oracle_s(covariance_type, reg_covar, seed):
    X = blobs(200, seed=seed)
    parameters, mixture = start(X, 3, covariance_type, seed=seed)
    for n_iter in (1, 2, 10):
        model = run(EMGaussianMixture(**parameters, reg_covar=reg_covar), X, n_iter)
        expected = oracles.em(X, mixture, n_iter, reg_covar=reg_covar)
        assert_same_mixture(model, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_densities_and_responsibilities_are_the_oracle_s(covariance_type):
    X, other = blobs(300, seed=1), blobs(200, seed=2)
    model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0, tol=1e-2).fit(X)
    mixture = oracles.mixture_of(model)
    assert_allclose(model.score_samples(other), oracles.log_density(other, mixture), rtol=1e-9)
    resp = oracles.responsibilities(other, mixture)
    assert_allclose(model.predict_proba(other), resp, rtol=1e-8, atol=1e-14)
    assert_array_equal(model.transform(other), model.predict_proba(other))
    assert_array_equal(model.predict(other), resp.argmax(axis=1))
    assert_allclose(model.predict_proba(other).sum(axis=1), 1.0, rtol=1e-12)
    assert_allclose(model.score(other), oracles.score(other, mixture), rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_component_has_every_row(covariance_type, dtype):
    model = EMGaussianMixture(covariance_type=covariance_type).fit(blobs(50, seed=1))
    X = np.ones((4, model.n_features_in_), dtype)
    X[0, 0], X[1], X[2] = np.nan, np.nan, 1e30
    labels, resp = model.predict(X), model.predict_proba(X)
    assert_array_equal(labels, np.zeros(4))
    assert_array_equal(resp, np.ones((4, 1)))
    assert labels.dtype == np.intp
    assert resp.dtype == dtype
    with pytest.raises(ValueError, match="infinity"):
        model.predict(np.where(X > 1, np.inf, X))


def test_density_integrates_to_one():
    model = EMGaussianMixture(3, random_state=0).fit(corners())
    axis = np.linspace(-15, 25, 401)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    mass = np.exp(model.score_samples(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert_allclose(mass, 1.0, rtol=1e-6)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6, 0.1, 3.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bound_never_falls_and_is_the_score(covariance_type, reg_covar, seed):
    X = blobs(300, seed=seed, separation=1.5)
    parameters, _ = start(X, 4, covariance_type, seed=seed)
    model = run(EMGaussianMixture(**parameters, reg_covar=reg_covar), X, 60)
    assert min(np.diff(model.lower_bounds_)) > NEVER_FALLS * max(1, abs(model.lower_bound_))
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert len(model.lower_bounds_) == model.n_iter_ == 60
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)
    assert isinstance(model.lower_bounds_, list)
    assert isinstance(model.lower_bound_, float)


@pytest.mark.parametrize("n_samples", [40, 160])
@pytest.mark.parametrize("covariance_type", ["full", "tied"])
@pytest.mark.filterwarnings("ignore:EM did not converge")
def test_bound_never_falls_with_more_features_than_rows(covariance_type, n_samples):
    """Variances are a million times the floor, in most or in few of the directions."""
    X = np.random.default_rng(n_samples).normal(size=(n_samples, 200))
    model = EMGaussianMixture(covariance_type=covariance_type, tol=0, max_iter=5).fit(X)
    assert model.n_iter_ == 5
    assert min(np.diff(model.lower_bounds_)) > NEVER_FALLS * abs(model.lower_bound_)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_every_start_climbs(covariance_type, init_params):
    X = blobs(300, seed=4)
    model = EMGaussianMixture(
        3,
        covariance_type=covariance_type,
        init_params=init_params,
        random_state=0,
        tol=1e-6,
        max_iter=5000,
    ).fit(X)
    assert model.converged_
    assert model.lower_bound_ > model.lower_bounds_[0]
    assert min(np.diff(model.lower_bounds_)) > NEVER_FALLS * 10
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_separate_clusters_are_found(init_params):
    X = corners()
    bound = max(
        EMGaussianMixture(3, init_params=init_params, n_init=5, random_state=seed, max_iter=2000)
        .fit(X)
        .lower_bound_
        for seed in range(2)
    )
    best = oracles.Mixture(
        np.full(3, 1 / 3), np.array([[0.0, 0], [10, 0], [0, 10]]), 0.25 * np.ones(3), "spherical"
    )
    assert bound > oracles.score(X, best)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@on_the_floor
def test_floor_holds_in_every_direction(covariance_type):
    rng = np.random.default_rng(0)
    direction = np.array([1.0, 1.0, 0.0]) / np.sqrt(2)
    X = rng.normal(size=(200, 3))
    X -= 0.999 * np.outer(X @ direction, direction)  # almost flat across one diagonal
    model = EMGaussianMixture(1, covariance_type=covariance_type, reg_covar=0.2).fit(X)
    floor = oracles.covariance_floor(X, 0.2)
    for matrix in oracles.mixture_of(model).matrices:
        assert np.linalg.eigvalsh(matrix - np.diag(floor))[0] > -1e-12
    covariance = np.cov(X.T, bias=True)
    assert np.linalg.eigvalsh(covariance - np.diag(floor))[0] < -0.05  # the floor does something


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_floor_does_not_move_what_lies_above_it(covariance_type):
    X = blobs(300)
    parameters, _ = start(X, 2, covariance_type)
    with_floor = run(EMGaussianMixture(**parameters, reg_covar=1e-3), X, 20)
    without = run(EMGaussianMixture(**parameters, reg_covar=0), X, 20)
    assert_same_mixture(with_floor, without, rtol=1e-9)


@pytest.mark.parametrize(
    "n_samples", [2, 3, 255, 256, 257, 511, 513, 1023, 1025, 2047, 2049, 4095, 4096, 4097, 16385]
)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_number_of_rows_does_not_matter_to_a_step(n_samples, covariance_type):
    """Rows are worked through in blocks; no boundary between blocks may lose or double a row."""
    X = blobs(16385, n_components=2, seed=1)[:n_samples]
    parameters, mixture = start(blobs(100, n_components=2, seed=1), 2, covariance_type)
    model = run(EMGaussianMixture(**parameters, reg_covar=1e-2), X, 1)
    assert_same_mixture(model, oracles.em_step(X, mixture, reg_covar=1e-2), rtol=1e-8, atol=1e-9)
    assert_allclose(
        model.score_samples(X), oracles.log_density(X, oracles.mixture_of(model)), rtol=1e-8
    )


def test_many_rows_and_many_blocks():
    X = np.random.default_rng(0).normal(size=(200_001, 2))
    parameters, mixture = start(X[:1000], 2, "full")
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X, 1)
    assert_same_mixture(model, oracles.em_step(X, mixture), rtol=1e-9)
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)
    mixture = oracles.mixture_of(model)
    assert_allclose(model.score_samples(X), oracles.log_density(X, mixture), rtol=1e-10)


@pytest.mark.parametrize("n_features", [1, 2, 16, 40, 70])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_number_of_features_does_not_matter_to_a_step(n_features, covariance_type):
    X = blobs(40 * (10 + n_features), n_features=n_features, n_components=2, seed=2)
    parameters, mixture = start(X, 2, covariance_type)
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X, 2)
    assert_same_mixture(model, oracles.em(X, mixture, 2), rtol=1e-6, atol=1e-8)
    expected = oracles.log_density(X, oracles.mixture_of(model))
    assert_allclose(model.score_samples(X), expected, rtol=1e-8)


@pytest.mark.parametrize("n_components", [1, 2, 17, 40])
def test_number_of_components_does_not_matter_to_a_step(n_components):
    X = blobs(500, n_components=5, seed=2)
    parameters, mixture = start(X, n_components, "full")
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X, 2)
    assert_same_mixture(model, oracles.em(X, mixture, 2), rtol=1e-6, atol=1e-8)


@given(seeds, covariance_types)
def test_order_of_the_rows_does_not_matter(seed, covariance_type):
    X = blobs(80, seed=seed)
    parameters, _ = start(X, 2, covariance_type, seed=seed)
    permutation = np.random.default_rng(seed).permutation(len(X))
    model = run(EMGaussianMixture(**parameters), X, 4)
    shuffled = run(EMGaussianMixture(**parameters), X[permutation], 4)
    assert_same_mixture(shuffled, model, rtol=1e-8, atol=1e-9)
    assert_allclose(
        model.score_samples(X[permutation]), model.score_samples(X)[permutation], rtol=1e-12
    )


@given(seeds, covariance_types)
def test_names_of_the_components_do_not_matter(seed, covariance_type):
    X = blobs(80, seed=seed)
    parameters, _ = start(X, 3, covariance_type, seed=seed)
    permutation = np.random.default_rng(seed).permutation(3)
    renamed = dict(parameters)
    for name in ("weights_init", "means_init", "precisions_init"):
        if name != "precisions_init" or covariance_type != "tied":
            renamed[name] = parameters[name][permutation]
    model = run(EMGaussianMixture(**parameters), X, 4)
    other = run(EMGaussianMixture(**renamed), X, 4)
    assert_allclose(other.weights_, model.weights_[permutation], rtol=1e-9)
    assert_allclose(other.means_, model.means_[permutation], rtol=1e-8, atol=1e-9)
    assert_allclose(other.score_samples(X), model.score_samples(X), rtol=1e-9)
    assert_allclose(
        other.predict_proba(X), model.predict_proba(X)[:, permutation], rtol=1e-7, atol=1e-12
    )


@given(seeds, st.floats(-3, 3), st.floats(0.01, 100.0))
def test_affine_maps_shift_the_score_by_the_log_volume(seed, offset, scale):
    X = blobs(80, seed=seed)
    rng = np.random.default_rng(seed)
    A = scale * (np.eye(3) + np.tril(rng.uniform(-0.5, 0.5, size=(3, 3)), -1))
    b = offset * rng.normal(size=3)
    parameters, mixture = start(X, 2, "full", seed=seed)
    mapped = parameters | {
        "means_init": mixture.means @ A.T + b,
        "precisions_init": np.linalg.inv(A @ mixture.covariances @ A.T),
    }
    model = run(EMGaussianMixture(**parameters, reg_covar=0), X, 4)
    other = run(EMGaussianMixture(**mapped, reg_covar=0), X @ A.T + b, 4)
    log_volume = np.linalg.slogdet(A)[1]
    assert_allclose(
        other.lower_bounds_, np.subtract(model.lower_bounds_, log_volume), rtol=0, atol=1e-7
    )
    assert_allclose(other.predict_proba(X @ A.T + b), model.predict_proba(X), atol=1e-6)


@given(seeds, covariance_types, st.integers(-20, 20))
def test_units_do_not_matter_to_the_default_floor(seed, covariance_type, power):
    """The floor is relative to each feature, so other units change nothing."""
    X = blobs(80, seed=seed, n_components=2)
    factor = 10.0 ** (power / 4)
    parameters, mixture = start(X, 2, covariance_type, seed=seed)
    scaled = parameters | {
        "means_init": factor * mixture.means,
        "precisions_init": parameters["precisions_init"] / factor**2,
    }
    model = run(EMGaussianMixture(**parameters, reg_covar=0.05), X, 4)
    other = run(EMGaussianMixture(**scaled, reg_covar=0.05), factor * X, 4)
    assert_allclose(other.means_, factor * model.means_, rtol=1e-7, atol=1e-9 * factor)
    assert_allclose(
        other.covariances_, factor**2 * model.covariances_, rtol=1e-7, atol=1e-9 * factor**2
    )


@given(well_posed())
def test_whatever_the_problem_a_step_is_the_oracle_s(problem):
    X, parameters, mixture, sample_weight, reg_covar = problem
    model = run(
        EMGaussianMixture(**parameters, reg_covar=reg_covar), X, 1, sample_weight=sample_weight
    )
    expected = oracles.em_step(X, mixture, reg_covar=reg_covar, sample_weight=sample_weight)
    assert_same_mixture(model, expected, rtol=1e-6, atol=1e-7)
    assert_allclose(model.score_samples(X), oracles.log_density(X, expected), rtol=1e-5, atol=1e-6)
    assert_allclose(
        model.lower_bound_, model.score(X, sample_weight=sample_weight), rtol=0, atol=1e-10
    )


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("factors", [(1024.0, 1.0), (1.0, 2.0**-12), (2.0**-7, 2.0**14)])
@on_the_floor
def test_a_component_on_one_row_is_as_wide_in_all_units(covariance_type, seed, factors):
    """The floor decides its density, so a bound that depended on units would show it here."""
    X = np.vstack([np.random.default_rng(seed).normal(size=(60, 2)) * [1.0, 3.0], [[9.0, 40.0]]])
    factors = np.array(factors)

    def fit(X):
        precision = np.diag(1 / X[:60].var(axis=0))
        precisions = np.stack([precision, 100 * precision])
        if covariance_type == "diag":
            precisions = np.diagonal(precisions, axis1=1, axis2=2)
        start = {"weights_init": [0.5, 0.5], "precisions_init": precisions}
        return EMGaussianMixture(
            2, covariance_type=covariance_type, means_init=X[[0, 60]], **start
        ).fit(X)

    model, scaled = fit(X), fit(X * factors)
    matrices = oracles.mixture_of(model).matrices
    assert_allclose(matrices[1], np.diag(1e-6 * X.var(axis=0)), rtol=1e-9, atol=1e-18)
    assert_allclose(
        scaled.lower_bounds_, np.array(model.lower_bounds_) - np.log(factors).sum(), rtol=1e-9
    )
    assert_allclose(scaled.means_, model.means_ * factors, rtol=1e-9)
    for one, other in zip(oracles.mixture_of(scaled).matrices, matrices, strict=True):
        units = np.outer(factors, factors)
        assert_allclose(one / units, other, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("n_components", [2, 3, 4, 5])
@pytest.mark.parametrize("n_rows", [100, 700])
def test_the_label_is_the_first_of_the_largest_log_joints(n_components, n_rows):
    rng = np.random.default_rng(n_components)
    log_joint = rng.integers(-3, 3, size=(n_components, n_rows)).astype(float)  # with many ties
    log_joint[:, :10] = -np.inf
    log_joint[1, 5] = -1e300
    labels = _label(log_joint.copy(), None)
    assert labels.dtype == np.intp
    assert_array_equal(labels, log_joint.argmax(axis=0))
