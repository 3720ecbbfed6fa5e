"""Draws: their moments, their labels, their order, their seeds."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import chisquare, kstest

from skvae import EMGaussianMixture
from skvae.mixture.parameters import draw_labels
from tests import oracles
from tests.problems import COVARIANCE_TYPES, assert_same_state, blobs, start, state_of

WEIGHTS = [0.5, 0.2, 0.3]
MEANS = np.array([[0.0, 1.0, -2.0], [100.0, -3.0, 5.0], [-20.0, 0.0, 1e3]])


def known(covariance_type):
    rng = np.random.default_rng(0)
    factors = rng.normal(size=(3, 3, 3))
    matrices = np.eye(3) + factors @ factors.swapaxes(1, 2)
    covariances = {
        "full": matrices,
        "tied": matrices[0],
        "diag": rng.uniform(0.1, 4, size=(3, 3)),
        "spherical": rng.uniform(0.1, 4, size=3),
    }[covariance_type]
    return EMGaussianMixture.from_parameters(WEIGHTS, MEANS, covariances, covariance_type)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_draws_have_the_moments_of_the_model(covariance_type, seed):
    model = known(covariance_type)
    n = 40_000
    X, labels = model.sample(n, random_state=seed)
    assert X.shape == (n, 3)
    assert X.dtype == np.float64
    assert labels.shape == (n,)
    assert labels.dtype.kind == "i"
    assert chisquare(np.bincount(labels, minlength=3), n * np.array(WEIGHTS)).pvalue > 1e-3
    for k, matrix in enumerate(oracles.mixture_of(model).matrices):
        rows = X[labels == k]
        # Whitened, each component's rows are standard normal in every direction.
        white = np.linalg.solve(np.linalg.cholesky(matrix), (rows - MEANS[k]).T)
        assert_allclose(white.mean(axis=1), 0.0, atol=4 / np.sqrt(len(rows)))
        assert_allclose(np.cov(white), np.eye(3), atol=6 / np.sqrt(len(rows)))
        assert min(kstest(axis, "norm").pvalue for axis in white) > 1e-4


def test_draws_have_the_density_of_the_model():
    """E[−ln p(x)] over draws is the entropy: here that of one component, in closed form."""
    model = EMGaussianMixture.from_parameters(
        [1.0], [[1.0, 2.0]], [[[2.0, 0.5], [0.5, 1.0]]], "full"
    )
    X, _ = model.sample(50_000, random_state=0)
    entropy = 0.5 * np.log(np.linalg.det(2 * np.pi * np.e * model.covariances_[0]))
    assert_allclose(-model.score(X), entropy, atol=4 / np.sqrt(50_000))


def test_order_is_exchangeable():
    _, labels = known("full").sample(6000, random_state=0)
    changes = np.count_nonzero(np.diff(labels))
    chance = 1 - np.square(WEIGHTS).sum()
    assert abs(changes - 5999 * chance) < 5 * np.sqrt(5999 * chance * (1 - chance))
    first, second = (np.bincount(half, minlength=3) for half in np.split(labels, 2))
    assert np.abs(first - second).max() < 5 * np.sqrt(6000 * 0.25)


def test_a_row_and_its_label_belong_together():
    X, labels = known("diag").sample(500, random_state=0)
    distances = np.linalg.norm(X[:, None] - MEANS, axis=2)
    assert_array_equal(distances.argmin(axis=1), labels)


def test_an_integer_on_the_estimator_gives_the_same_rows_twice():
    model = EMGaussianMixture(2, random_state=7).fit(blobs(100))
    state = state_of(model)
    X, labels = model.sample(20)
    again, same = model.sample(20)
    assert_array_equal(again, X)
    assert_array_equal(same, labels)
    assert_array_equal(model.sample(20, random_state=7)[0], X)
    assert not np.array_equal(model.sample(20, random_state=8)[0], X)
    assert_same_state(model, state)


def test_no_seed_gives_fresh_rows():
    model = EMGaussianMixture(2, random_state=7).fit(blobs(100)).set_params(random_state=None)
    assert not np.array_equal(model.sample(20)[0], model.sample(20)[0])
    assert_array_equal(model.sample(20, random_state=3)[0], model.sample(20, random_state=3)[0])


def test_an_instance_moves_on():
    model = EMGaussianMixture(2, random_state=7).fit(blobs(100))
    first, second = np.random.RandomState(5), np.random.RandomState(5)
    draws = [model.sample(20, random_state=first)[0] for _ in range(2)]
    assert not np.array_equal(*draws)
    assert_array_equal(draws, [model.sample(20, random_state=second)[0] for _ in range(2)])
    own = model.set_params(random_state=np.random.RandomState(5))
    assert_array_equal([own.sample(20)[0] for _ in range(2)], draws)


def test_one_row_is_the_default():
    X, labels = known("tied").sample()
    assert X.shape == (1, 3)
    assert labels.shape == (1,)


@pytest.mark.parametrize("n_samples", [0, -3])
def test_less_than_one_row_is_an_error(n_samples):
    with pytest.raises(ValueError, match=rf"n_samples.*{n_samples}"):
        known("full").sample(n_samples)


def test_component_of_weight_zero_is_never_drawn():
    model = EMGaussianMixture.from_parameters([0.0, 1.0], [[9.0], [0.0]], [1.0, 1.0], "spherical")
    assert set(model.sample(200, random_state=0)[1]) == {1}


def test_a_model_fitted_to_its_own_draws_is_itself():
    model = known("full")
    X, _ = model.sample(20_000, random_state=0)
    refit = EMGaussianMixture(3, random_state=0, n_init=3).fit(X)
    order = [int(np.abs(refit.means_ - mean).sum(axis=1).argmin()) for mean in MEANS]
    assert_allclose(refit.means_[order], MEANS, atol=0.15)
    assert_allclose(refit.weights_[order], WEIGHTS, atol=0.02)
    assert_allclose(refit.covariances_[order], model.covariances_, atol=0.35)


@pytest.mark.parametrize("n_components", [1, 2, 32, 33, 200])
def test_labels_are_those_of_numpy(n_components):
    weights = np.random.default_rng(n_components).dirichlet(np.ones(n_components))
    if n_components > 2:
        weights[1] = 0.0
        weights /= weights.sum()
    found = draw_labels(weights, 5000, np.random.RandomState(3))
    expected = np.random.RandomState(3).choice(n_components, size=5000, p=weights)
    assert_array_equal(found, expected)
    assert found.dtype == expected.dtype


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n_components", [1, 4])
def test_each_row_has_the_distribution_of_its_label(covariance_type, n_components):
    """Row by row: the Cholesky factor of the label's covariance times normal noise."""
    mixture = start(blobs(200), n_components, covariance_type)[1]
    model = EMGaussianMixture.from_parameters(
        mixture.weights, mixture.means, mixture.covariances, covariance_type
    )
    n_rows = 30_000  # several blocks
    X, labels = model.sample(n_rows, random_state=5)
    noise = np.empty_like(X)
    full = {
        "full": lambda: mixture.covariances,
        "tied": lambda: [mixture.covariances] * n_components,
        "diag": lambda: [np.diag(variances) for variances in mixture.covariances],
        "spherical": lambda: [variance * np.eye(3) for variance in mixture.covariances],
    }[covariance_type]()
    for k in range(n_components):
        rows = labels == k
        assert rows.sum() == pytest.approx(n_rows * mixture.weights[k], abs=500)
        noise[rows] = np.linalg.solve(np.linalg.cholesky(full[k]), (X[rows] - mixture.means[k]).T).T
        assert_allclose(noise[rows].mean(axis=0), 0.0, atol=0.05)
        assert_allclose(np.cov(noise[rows].T), np.eye(3), atol=0.05)
    assert kstest(noise.ravel(), "norm").pvalue > 1e-3
    assert abs(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize("seed", [7, np.int64(7), np.uint8(7)])
def test_integers_of_any_type_seed_alike(seed):
    model = known("full")
    assert_array_equal(model.sample(20, random_state=seed)[0], model.sample(20, random_state=7)[0])


def test_a_wrong_seed_of_the_estimator_is_an_error():
    model = known("full").set_params(random_state=-1)
    with pytest.raises(ValueError, match=r"random_state=-1: must be None, an integer in"):
        model.sample(2)
