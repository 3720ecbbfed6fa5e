"""partial_fit: new data on top of the old, or minibatches of a stream of known size."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skvae.blocks import Rows, workers
from skvae.mixture.e_step import expect
from tests.gaussian.conjugate_problems import natural
from tests.mixture.bayesian.problems import (
    after,
    assert_same_posterior,
    bayes,
    elbo,
    every_covariance,
    every_weight,
    posterior_of,
)
from tests.problems import assert_same_state, blobs, corners, knock_out, state_of


def expected_statistics(posterior, X, sample_weight=None):
    with workers(1) as pool:
        return expect(Rows.readable(X, sample_weight), posterior.kernel(), pool)[0]


def by_size(model, name):
    """An attribute with its components in the order of their rows."""
    values = getattr(model, name)
    return values[np.argsort(-model.mean_precision_, kind="stable")] if values.ndim else values


@every_covariance
@every_weight
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("n_iter", [1, 3000])
def test_posterior_becomes_the_prior(covariance_type, weight_type, missing, n_iter):
    """After a batch: what was there plus the statistics of the batch, in one step or many."""
    X = blobs(400, seed=1)
    X = knock_out(X, 0.1) if missing else X
    model = bayes(3, covariance_type, weight_type, tol=1e-13, max_iter=n_iter)
    old = posterior_of(model.partial_fit(X[:200]))
    new = posterior_of(model.partial_fit(X[200:]))
    earlier = old.statistics
    if n_iter > 1:  # the order of sticks may have changed on the way
        distances = np.linalg.norm(new.components.means[:, None] - earlier.centers, axis=2)
        earlier = earlier.take(distances.argmin(axis=1))
    total = earlier + expected_statistics(old if n_iter == 1 else new, X[200:])
    again = new.prior.posterior(total.take(new.weights.order(total.counts)))
    tolerance = 1e-9 if n_iter == 1 else 1e-4
    for left, right in zip(natural(again.components), natural(new.components), strict=True):
        assert_allclose(left, right, rtol=tolerance, atol=10 * tolerance)
    assert_allclose(np.stack(again.weights), np.stack(new.weights), rtol=tolerance, atol=tolerance)
    assert_allclose(model.mean_precision_.sum(), 3 * model.mean_precision_prior_ + 400, rtol=1e-9)


@every_covariance
@every_weight
def test_bound_of_a_batch_never_falls(covariance_type, weight_type):
    """It is the batch's given those before: ln p(b | a) ≥ Σ ln Σ exp − KL(new ‖ old)."""
    X = blobs(300, seed=4, separation=1.5)
    bounds = []
    for n_iter in (1, 2, 3, 5, 10, 20):
        model = bayes(4, covariance_type, weight_type).partial_fit(X[:150])
        old = posterior_of(model)
        model.set_params(max_iter=n_iter, tol=0).partial_fit(X[150:])
        bounds.append(model.elbo_)
        new = posterior_of(model)
        if weight_type == "dirichlet_distribution":  # sticks change their order
            local = elbo(new, X[150:]) + new.kl()
            assert_allclose(model.elbo_, local - new.kl(old), rtol=1e-10)
    assert (np.diff(bounds) > -1e-9).all()


@every_covariance
@every_weight
def test_a_stream_of_separated_clusters_is_the_fit_of_all(covariance_type, weight_type):
    """Where assignments are certain the order of the rows does not matter."""
    X = corners(100)
    model = bayes(
        3, covariance_type, weight_type, tol=1e-12, max_iter=500, mean_precision_prior=1.0
    )
    whole = clone(model).fit(X)
    given = {name: getattr(whole, name + "_") for name in ("mean_prior", "covariance_prior")}
    whole = clone(model).set_params(**given).fit(X)
    stream = clone(model).set_params(**given)
    for batch in np.split(X, 3):
        stream.partial_fit(batch)
    for name in ("means_", "mean_precision_", "weights_"):
        left, right = (np.sort(getattr(m, name), axis=0) for m in (stream, whole))
        assert_allclose(left, right, rtol=1e-6, atol=1e-6)
    assert_allclose(stream.score(X), whole.score(X), rtol=1e-7)


@every_covariance
def test_one_component_streams_exactly(covariance_type):
    """The batches' ELBOs add up to the evidence of all rows: ln p(a) + ln p(b | a)."""
    X = blobs(90)
    model = bayes(1, covariance_type)
    whole = clone(model).fit(X)
    given = {name: getattr(whole, name + "_") for name in ("mean_prior", "covariance_prior")}
    stream, total = clone(model).set_params(**given), 0.0
    for batch in np.split(X, [20, 25, 70]):
        total += stream.partial_fit(batch).elbo_
    whole = clone(model).set_params(**given).fit(X)
    assert_same_posterior(stream, whole)
    assert_allclose(total, whole.elbo_, rtol=1e-10)


@every_covariance
@every_weight
def test_a_minibatch_is_one_stochastic_step_by_hand(covariance_type, weight_type):
    X = blobs(300, seed=2)
    model = bayes(3, covariance_type, weight_type, total_samples=5000, learning_offset=3.0)
    model.partial_fit(X[:100])
    assert_allclose(model.mean_precision_.sum() - 3 * model.mean_precision_prior_, 5000, rtol=1e-9)
    for t, batch in enumerate((X[100:200], X[200:]), start=1):
        old = posterior_of(model)
        target = old.prior.posterior(expected_statistics(old, batch) * 50.0)
        rate = (t + 3.0) ** -0.7
        new = posterior_of(model.partial_fit(batch))
        for a, b, found in zip(
            natural(old.components), natural(target.components), natural(new.components),
            strict=True,
        ):  # fmt: skip
            assert_allclose(found, (1 - rate) * a + rate * b, rtol=1e-8, atol=1e-7)
        weights = (1 - rate) * np.stack(old.weights) + rate * np.stack(target.weights)
        assert_allclose(np.stack(new.weights), weights, rtol=1e-8)
        local = elbo(new, batch) + new.kl()
        assert_allclose(model.elbo_, 50 * local - new.kl(), rtol=1e-9)
        assert_allclose(model.lower_bound_, model.elbo_ / 5000, rtol=1e-12)
        assert model.n_iter_ == len(model.lower_bounds_) == t + 1


@every_covariance
def test_rate_one_with_all_rows_is_coordinate_ascent(covariance_type):
    X = blobs(150)
    model = bayes(
        3, covariance_type, total_samples=150, learning_offset=1.0, learning_decay=1.0
    ).partial_fit(X)
    one = after(bayes(3, covariance_type), X, 1)
    for name in ("means_", "mean_precision_", "degrees_of_freedom_"):
        assert_allclose(by_size(model, name), by_size(one, name), rtol=1e-8, atol=1e-9)


@every_weight
def test_many_minibatches_come_close_to_fit(weight_type):
    X = corners(2000)
    model = bayes(3, "full", weight_type, total_samples=6000)
    for first in range(0, 6000, 100):
        model.partial_fit(X[first : first + 100])
    held_out = corners(300, seed=1)
    assert_allclose(model.score(held_out), bayes(3).fit(X).score(held_out), atol=0.02)


def test_moving_on_after_fit():
    X = corners(200)
    model = bayes(3).fit(X)
    before = model.means_.copy()
    model.partial_fit(corners(100, seed=3))
    assert_allclose(np.sort(model.means_, axis=0), np.sort(before, axis=0), atol=0.3)
    assert_allclose(model.mean_precision_.sum(), 3 * model.mean_precision_prior_ + 900, rtol=1e-9)


@pytest.mark.parametrize("total_samples", [None, 600])
def test_integer_weights_are_repeated_rows(total_samples):
    X = knock_out(blobs(300), 0.1)
    weight = np.random.default_rng(0).integers(0, 4, size=300)
    model = bayes(3, total_samples=total_samples, max_iter=5, tol=0).partial_fit(X[:100])
    other = copy.deepcopy(model)
    for rows in (slice(100, 200), slice(200, 300)):
        model.partial_fit(X[rows], sample_weight=weight[rows])
        other.partial_fit(X[rows].repeat(weight[rows], axis=0))
    assert_same_posterior(model, other, rtol=1e-7, atol=1e-9)
    assert_allclose(model.elbo_, other.elbo_, rtol=1e-9)


@pytest.mark.parametrize("total_samples", [None, 500])
def test_a_batch_may_be_one_row_or_lack_a_column(total_samples):
    X = corners()
    model = bayes(3, total_samples=total_samples).partial_fit(X)
    for row in X[:20]:
        model.partial_fit(row[None])
    lacking = X.copy()
    lacking[:, 1] = np.nan
    model.partial_fit(lacking)
    assert np.isfinite(model.score_samples(X)).all()
    assert np.linalg.eigvalsh(model.covariances_).min() > 0


@pytest.mark.parametrize("total_samples", [None, 500])
def test_bad_batches_leave_the_model_as_it_was(total_samples):
    X = blobs(100)
    model = bayes(2, total_samples=total_samples).partial_fit(X)
    state = state_of(model)
    with pytest.raises(ValueError, match="features"):
        model.partial_fit(X[:, :2])
    with pytest.raises(ValueError, match="sample"):
        model.partial_fit(X[:0])
    with pytest.raises(ValueError, match=r"infinity|inf"):
        model.partial_fit(np.vstack([X, [0.0, np.inf, 0.0]]))
    with pytest.raises(ValueError, match=r"(?i)sample[_ ]weight"):
        model.partial_fit(X, sample_weight=-np.ones(100))
    assert_same_state(model, state)
    model.set_params(covariance_type="diag")
    with pytest.raises(ValueError, match="covariance_type='diag': partial_fit continues"):
        model.partial_fit(X)


def test_first_batch_needs_as_many_rows_as_components():
    with pytest.raises(ValueError, match="n_components=5"):
        bayes(5).partial_fit(blobs(4))


def test_far_from_the_origin():
    X = 1e8 + np.random.default_rng(0).normal(size=(5000, 2))
    model = bayes(1)
    for batch in np.split(X, 20):
        model.partial_fit(batch)
    assert_allclose(model.covariances_[0], np.eye(2), atol=0.15)
    assert_allclose(model.means_[0] - 1e8, 0, atol=0.15)


@pytest.mark.parametrize("total_samples", [None, 300])
def test_can_be_stored_between_two_batches(total_samples):
    X = blobs(300)
    model = bayes(2, total_samples=total_samples).partial_fit(X[:100]).partial_fit(X[100:200])
    stored = pickle.loads(pickle.dumps(model))
    assert_same_posterior(stored.partial_fit(X[200:]), model.partial_fit(X[200:]), rtol=0, atol=0)


def test_fit_after_partial_fit_starts_anew():
    X = blobs(200)
    fresh = bayes(2).fit(X)
    used = bayes(2).partial_fit(blobs(500, seed=9)).fit(X)
    assert_same_posterior(used, fresh, rtol=0, atol=0)
    assert_array_equal(used.lower_bounds_, fresh.lower_bounds_)


# Parameters that a continued fit cannot change ----------------------------------------------------

OTHER_PRIORS = {
    "weight_concentration_prior": 2.5,
    "mean_precision_prior": 3.0,
    "mean_prior": [1.0, 2.0, 3.0],
    "degrees_of_freedom_prior": 7.0,
    "covariance_prior": np.diag([2.0, 3.0, 4.0]),
}


def continued(model, X, way):
    return model.set_params(warm_start=True).fit(X) if way == "fit" else model.partial_fit(X)


@pytest.mark.parametrize("way", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", OTHER_PRIORS)
def test_another_prior_is_an_error_that_names_it(name, way):
    X = blobs(80)
    text = rf"(?s){name}=.*continues a model that was fitted with {name}=None"
    model = bayes(2, max_iter=300).fit(X)
    with pytest.raises(ValueError, match=text):
        continued(model.set_params(**{name: OTHER_PRIORS[name]}), X, way)
    given = bayes(2, max_iter=300, **{name: OTHER_PRIORS[name]}).fit(X)
    state = state_of(given)
    for value in (None, 2.0 * np.asarray(OTHER_PRIORS[name])):
        with pytest.raises(ValueError, match=rf"(?s){name}=.*continues a model"):
            continued(given.set_params(**{name: value}), X, way)
    assert_same_state(given.set_params(**{name: OTHER_PRIORS[name]}, warm_start=False), state)


@pytest.mark.parametrize("way", ["fit", "partial_fit"])
def test_the_same_prior_may_be_given_in_any_form(way):
    X = blobs(80)
    model = bayes(2, max_iter=300, mean_prior=[1.0, 2.0, 3.0]).fit(X)
    used = {name: getattr(model, name + "_") for name in OTHER_PRIORS}
    plain = continued(copy.deepcopy(model), X, way)
    other = continued(model.set_params(**used), X, way)
    assert_same_posterior(other, plain, rtol=0, atol=0)


@pytest.mark.parametrize("moves", [("merge",), ["birth", "delete"]])
def test_partial_fit_makes_no_moves(moves):
    model = bayes(2, moves=moves, learning_method="memoized")
    with pytest.raises(ValueError, match=r"moves=.*must be 'auto' or \(\) for partial_fit"):
        model.partial_fit(blobs(50))
