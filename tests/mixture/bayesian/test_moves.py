"""Moves between numbers of components: taken only if the whole bound rises."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.exceptions import ConvergenceWarning

from skvae import BayesianMixtureSVI
from skvae.datasets import load_geyser
from skvae.mixture.bayesian.moves import MovingStep
from tests.combinations import slow
from tests.mixture.bayesian.problems import (
    WEIGHT_TYPES,
    after,
    assert_same_posterior,
    bayes,
    elbo,
    every_weight,
    posterior_of,
)
from tests.problems import COVARIANCE_TYPES, blobs, corners, knock_out

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
    """Every try of a move as (kind, number of components, bound before, bound after or None)."""
    found, climb = [], MovingStep._climb

    def recorded(self, move, posterior, before, places, statistics):
        taken = climb(self, move, posterior, before, places, statistics)
        now = None if taken is None else self._step.bound(taken)
        found.append((move, len(places), before, now))
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
    taken = [
        (kind, n, (now - before) * len(X)) for kind, n, before, now in tries if now is not None
    ]
    assert any(kind != "leave" for kind, _, _ in taken)
    for kind, n, gain in taken:  # nats
        assert gain > (-0.01 * n if kind == "leave" else 0.01)
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


def test_only_memoized_fits_that_converge_delete_components():
    X = blobs(200)
    plain = BayesianMixtureSVI(4, random_state=0, max_iter=500, moves=()).fit(X)
    assert len(plain.weights_) == 4
    for others in ({"moves": []}, {"moves": "auto", "learning_method": "batch"}):
        other = BayesianMixtureSVI(4, random_state=0, max_iter=500, **others).fit(X)
        assert_same_posterior(other, plain, rtol=0, atol=0)
    online = BayesianMixtureSVI(4, random_state=0, learning_method="online", max_iter=100, tol=0.1)
    assert len(online.fit(X).weights_) == 4
    short = BayesianMixtureSVI(4, random_state=0, max_iter=1)
    with pytest.warns(ConvergenceWarning):
        assert len(short.fit(X).weights_) == 4
    assert len(BayesianMixtureSVI(4, random_state=0).partial_fit(X).weights_) == 4


@pytest.mark.parametrize("covariance_type", ["full", "tied", *slow("diag", "spherical")])
@every_weight
@pytest.mark.parametrize("missing", [False, True])
def test_superfluous_components_are_deleted_by_default(covariance_type, weight_type, missing):
    X, _ = clusters(3, 2, 400, seed=5)
    X = knock_out(X, 0.1) if missing else X
    given = {"learning_method": "memoized", "max_iter": 500}
    for seed in range(3):
        plain = bayes(9, covariance_type, weight_type, moves=(), random_state=seed, **given).fit(X)
        model = bayes(9, covariance_type, weight_type, random_state=seed, **given).fit(X)
        assert len(model.weights_) == model.n_effective_components_ == 3
        assert len(plain.weights_) == 9
        # An empty component costs at most 0.01 nats, and at most six are deleted.
        assert model.elbo_ > plain.elbo_ - 0.07
        assert_allclose(elbo(posterior_of(model), X), model.elbo_, rtol=1e-12)
        assert (np.diff(model.lower_bounds_) > -0.01 * 6 / 400).all()
        assert model.lower_bounds_[: plain.n_iter_] == plain.lower_bounds_
        assert model.converged_
        assert model.n_e_steps_ > model.n_iter_ == len(model.lower_bounds_)


def test_the_bound_with_deletions_is_never_below_that_without(capsys):
    """On data without clusters of the model's form, where early merges end far below."""
    X = load_geyser().data
    for seed in range(4):
        plain = BayesianMixtureSVI(10, moves=(), random_state=seed).fit(X)
        model = BayesianMixtureSVI(10, random_state=seed, verbose=2).fit(X)
        assert model.elbo_ > plain.elbo_
        assert len(model.weights_) == 4
        assert "4 components: lower bound" in capsys.readouterr().out


def test_deletions_depend_on_the_rows_and_their_weights_alone():
    X, _ = clusters(3, 2, 300, seed=6)
    start = np.arange(300) % 6
    model = BayesianMixtureSVI(6, init_params=start, max_iter=300).fit(X)
    kept = np.append(np.ones(300), np.zeros(20))
    Z = np.vstack([X, 50.0 + blobs(20, n_features=2)])
    start = np.append(start, np.full(20, -1))
    weighted = BayesianMixtureSVI(6, init_params=start, max_iter=300).fit(Z, sample_weight=kept)
    assert len(model.weights_) == 3
    assert_same_posterior(weighted, model, rtol=1e-6)
    pieces = BayesianMixtureSVI(6, init_params=start[:300], max_iter=300, batch_size=100).fit(X)
    assert_allclose(pieces.elbo_, model.elbo_, rtol=1e-4)
    assert len(pieces.weights_) == 3
    again = pieces.set_params(warm_start=True).fit(X)
    assert len(again.weights_) == 3
    assert again.n_iter_ <= 5


def test_of_many_necessary_components_ten_deletions_are_tried():
    X, _ = clusters(14, 2, 1400, seed=7, apart=4.0)
    plain = BayesianMixtureSVI(14, moves=(), random_state=0).fit(X)
    model = BayesianMixtureSVI(14, random_state=0).fit(X)
    assert_same_posterior(model, plain, rtol=0, atol=0)
    assert model.n_e_steps_ == plain.n_e_steps_ + 1 + 2 * 10


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
    with pytest.raises(ValueError, match=r"moves=.*must be 'auto' or a tuple of some of"):
        BayesianMixtureSVI(2, moves=moves).fit(blobs(50))


# Every superfluous component goes -----------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", ["full", "diag", *slow("tied", "spherical")])
@every_weight
@pytest.mark.parametrize("seed", [0, *slow(1, 2)])
def test_one_gaussian_is_one_component(covariance_type, weight_type, seed):
    """Many components of which most become empty: the bound is that of a single one."""
    X = np.random.default_rng(20 + seed).normal(size=(700, 3))
    given = {"covariance_type": covariance_type, "weight_type": weight_type, "random_state": seed}
    model = moving(25, moves=("merge",), **given).fit(X)
    one = moving(1, moves=(), weight_concentration_prior=1 / 25, **given).fit(X)
    assert model.converged_
    assert len(model.weights_) == model.n_effective_components_ == 1
    assert_allclose(model.elbo_, one.elbo_, atol=0.01)


@pytest.mark.parametrize("concentration", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("kind", ["merge", "delete"])
def test_empty_components_leave(concentration, kind):
    """Also where each keeps a share of a row, and a longer process has a higher bound."""
    X = corners(100, seed=4)
    model = moving(12, moves=(kind,), weight_concentration_prior=concentration).fit(X)
    counts = model.mean_precision_ - model.mean_precision_prior_
    assert counts.min() > 0.01
    plain = moving(12, moves=(), weight_concentration_prior=concentration).fit(X)
    assert model.elbo_ > plain.elbo_ - 0.12


@pytest.mark.parametrize("seed", [0, *slow(1, 2, 3)])
def test_components_at_one_place_are_told_apart(seed):
    """Two concentric clusters of one size, in a cross: a memory of places would confuse them."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(800, 2)) * np.repeat([[6.0, 0.3], [0.3, 6.0]], 400, axis=0)
    two = moving(2, moves=(), n_init=3, tol=1e-6, weight_concentration_prior=0.1).fit(X)
    for moves, start in ((("merge", "delete"), 10), (ALL, 1)):
        model = moving(start, moves=moves, tol=1e-6, weight_concentration_prior=0.1).fit(X)
        assert len(model.weights_) == 2
        assert model.elbo_ > two.elbo_ - 0.1


def test_narrow_clusters_beside_a_far_one_are_found():
    """All but one cluster lie within a twentieth of a standard deviation of X."""
    centers = np.arange(6.0)[:, None] * [1.0, 1.0]
    centers = np.vstack([centers, [[500.0, 0.0]]])
    X = np.concatenate(
        [c + 0.05 * np.random.default_rng(k).normal(size=(60, 2)) for k, c in enumerate(centers)]
    )
    scale = 0.01 * np.eye(2)
    model = moving(1, covariance_prior=scale, mean_precision_prior=1e-7).fit(X)
    assert len(model.weights_) == model.n_effective_components_ == 7


def test_all_moves_are_tried_before_a_wide_tolerance_ends_the_fit():
    X = np.random.default_rng(3).normal(size=(500, 2))
    model = moving(8, moves=("merge",), tol=0.2).fit(X)
    assert model.converged_
    assert len(model.weights_) == 1


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@every_weight
def test_the_gain_of_a_merge_is_that_of_the_whole_bound(covariance_type, weight_type):
    """Energy − KL of all components, before and after, without the entropy of q(z)."""
    X = blobs(300, n_features=3, n_components=5, seed=2)
    posterior = posterior_of(after(bayes(5, covariance_type, weight_type), X, 4))
    total, prior = posterior.statistics, posterior.prior
    first, second = np.triu_indices(5, 1)
    gains = posterior.components.merge_gains(prior.components, first, second)
    gains = gains + prior.weight_merge_gains(total.counts, first, second)
    for gain, i, j in zip(gains, first, second, strict=True):
        labels = np.arange(5)
        labels[j] = i
        labels[labels > j] -= 1
        statistics = total.merged(labels)
        statistics = statistics.take(posterior.weights.order(statistics.counts))
        merged = prior.posterior(statistics)
        expected = merged.energy(statistics) - merged.kl()
        expected -= posterior.energy(total) - posterior.kl()
        assert_allclose(gain, expected, rtol=1e-9, atol=1e-8)


def test_far_pairs_are_left_out_of_a_long_list(monkeypatch):
    """With more components than _NEAREST, each one's nearest partners are considered."""
    monkeypatch.setattr("skvae.mixture.bayesian.moves._NEAREST", 3)
    X = np.random.default_rng(8).normal(size=(600, 2))
    model = moving(20, moves=("merge",)).fit(X)
    assert len(model.weights_) == 1
