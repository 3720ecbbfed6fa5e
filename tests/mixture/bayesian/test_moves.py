"""Moves between numbers of components: taken only if the whole bound rises."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvae import BayesianMixtureSVI
from skvae.mixture.bayesian.moves import MovingStep
from tests.combinations import slow
from tests.mixture.bayesian.problems import (
    WEIGHT_TYPES,
    assert_same_posterior,
    bayes,
    elbo,
    every_weight,
    posterior_of,
)
from tests.problems import blobs, corners, knock_out

ALL = ("merge", "delete", "birth")


def moving(n_components, *args, **parameters):
    parameters = {"moves": ALL, "learning_method": "memoized", "max_iter": 200} | parameters
    return bayes(n_components, *args, **parameters)


def clusters(n_clusters, n_features, n_samples, *, seed, apart=7.0):
    """Unit clusters whose centres are at least so far from one another."""
    rng = np.random.default_rng(seed)
    centers = np.empty((0, n_features))
    while len(centers) < n_clusters:
        center = rng.uniform(-12, 12, size=(1, n_features))
        if (np.linalg.norm(centers - center, axis=1) > apart).all():
            centers = np.vstack([centers, center])
    labels = rng.integers(n_clusters, size=n_samples)
    return centers[labels] + rng.normal(size=(n_samples, n_features)), labels


@pytest.fixture
def tries(monkeypatch):
    """Every try of a move as (kind, bound before, bound after or None)."""
    found, climb = [], MovingStep._climb

    def recorded(self, move, posterior, statistics):
        before = self._step.bound(posterior)
        taken = climb(self, move, posterior, statistics)
        found.append((move, before, None if taken is None else self._step.bound(taken)))
        if taken is not None:  # the q(z) that is kept is at most as good as the best
            exact = elbo(taken, self._rows.X) / self._rows.weight()
            assert found[-1][-1] <= exact + 1e-10
        return taken

    monkeypatch.setattr(MovingStep, "_climb", recorded)
    return found


@pytest.mark.parametrize("seed", [0, *slow(1, 2)])
def test_clusters_are_found_from_one_component(seed):
    X, labels = clusters(6, 4, 600, seed=seed)
    model = moving(1, random_state=seed).fit(X)
    assert model.n_effective_components_ == len(model.weights_) == 6
    table = np.zeros((6, 6))
    np.add.at(table, (labels, model.predict(X)), 1)
    assert ((table > 0).sum(axis=0) == 1).all()


@pytest.mark.parametrize("covariance_type", ["full", "diag", *slow("tied", "spherical")])
@every_weight
def test_a_move_that_is_taken_raises_the_bound(covariance_type, weight_type, tries):
    X, _ = clusters(3, 2, 200, seed=1)
    X = np.vstack([X, blobs(50, n_features=2)])
    for n_components in (1, 6):
        model = moving(n_components, covariance_type, weight_type, batch_size=100).fit(X)
        assert (np.diff(model.lower_bounds_) > -1e-12).all()
    taken = [(before, now) for _, before, now in tries if now is not None]
    assert taken
    assert all(now > before for before, now in taken)
    assert len(taken) < len(tries)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("kind", ["merge", "delete"])
def test_superfluous_components_go(kind, missing):
    X = corners(100, seed=2)
    X = knock_out(X, 0.1) if missing else X
    settled = {"max_iter": 2000, "tol": 1e-10}  # so that digits of the ELBO can be compared
    plain = moving(9, moves=(), **settled).fit(X)
    model = moving(9, moves=(kind,), **settled).fit(X)
    assert len(plain.weights_) == 9
    assert model.n_effective_components_ == 3
    assert len(model.weights_) < 9  # an empty one may stay: the bound hardly feels it
    assert model.elbo_ > plain.elbo_ - 1e-6


def test_twins_are_one_component():
    X = np.repeat(corners(20), 10, axis=0)
    model = moving(5, moves=("merge", "delete")).fit(X)
    assert model.n_effective_components_ <= 5
    assert np.isfinite(model.elbo_)
    weighted = moving(5, moves=("merge", "delete")).fit(
        corners(20), sample_weight=np.full(60, 10.0)
    )
    assert abs(weighted.n_effective_components_ - model.n_effective_components_) <= 2


def test_identical_rows_stay_one_component():
    model = moving(1).fit(np.ones((50, 2)))
    assert len(model.weights_) == 1
    assert_allclose(model.means_, [[1.0, 1.0]])


@pytest.mark.parametrize("weight_type", [WEIGHT_TYPES[0], *slow(*WEIGHT_TYPES[1:])])
def test_moves_never_end_lower_than_laps_alone(weight_type):
    for seed in range(2):
        X = blobs(200, n_features=2, n_components=4, seed=seed, separation=2.0)
        options = {"random_state": seed, "tol": 1e-6, "max_iter": 500}
        plain = moving(4, "full", weight_type, moves=(), **options).fit(X)
        model = moving(4, "full", weight_type, **options).fit(X)
        assert model.elbo_ > plain.elbo_ - 0.01


def test_no_moves_without_being_asked():
    X = blobs(200)
    plain = BayesianMixtureSVI(4, random_state=0, max_iter=500).fit(X)
    for moves in ((), []):
        other = BayesianMixtureSVI(4, random_state=0, max_iter=500, moves=moves).fit(X)
        assert_same_posterior(other, plain, rtol=0, atol=0)


def test_laps_of_moves_are_counted():
    X, _ = clusters(3, 2, 300, seed=1)
    model = moving(1).fit(X)
    assert model.n_e_steps_ > model.n_iter_ == len(model.lower_bounds_)
    plain = moving(3, moves=()).fit(X)
    assert plain.n_e_steps_ == plain.n_iter_


def test_the_fit_stands_as_stored():
    X, _ = clusters(3, 2, 300, seed=1)
    model = moving(1, weight_concentration_prior=2.0).fit(X)
    assert_allclose(elbo(posterior_of(model), X), model.elbo_, rtol=1e-12)
    assert model.transform(X).shape == (300, len(model.weights_))
    assert len(model.get_feature_names_out()) == len(model.weights_)


@pytest.mark.parametrize("method", ["batch", "online"])
def test_moves_need_memoized(method):
    model = BayesianMixtureSVI(2, moves=("merge",), learning_method=method)
    with pytest.raises(ValueError, match=r"moves=\('merge',\) need learning_method='memoized'"):
        model.fit(blobs(50))


@pytest.mark.parametrize("moves", ["merge", ("split",), ("merge", 3), (None,)])
def test_moves_are_checked(moves):
    with pytest.raises(ValueError, match=r"moves=.*must be a tuple of some of"):
        BayesianMixtureSVI(2, moves=moves).fit(blobs(50))
