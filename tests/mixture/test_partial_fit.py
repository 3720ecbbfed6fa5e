"""partial_fit: stepwise EM, one batch at a time."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skvae import EMGaussianMixture
from tests.combinations import slow
from tests.problems import (
    COVARIANCE_TYPES,
    assert_same_mixture,
    assert_same_state,
    blobs,
    corners,
    knock_out,
    start,
    state_of,
)


def stream(estimator, X, batch_size, **options):
    for first in range(0, len(X), batch_size):
        estimator.partial_fit(X[first : first + batch_size], **options)
    return estimator


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
def test_many_batches_come_close_to_fit(covariance_type, missing):
    X = corners(4000)
    X = knock_out(X, 0.1) if missing else X
    model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0)
    whole = clone(model).fit(X)
    parts = stream(clone(model), X, 100)
    held_out = corners(500, seed=1)
    assert_allclose(parts.score(held_out), whole.score(held_out), atol=0.02)
    order, other = (np.lexsort(np.round(m.means_).T) for m in (parts, whole))
    assert_allclose(parts.means_[order], whole.means_[other], atol=0.1)
    assert_allclose(parts.weights_[order], whole.weights_[other], atol=0.05)


def test_later_batches_count():
    """The first batch shows a poor start; what follows must repair it."""
    X = blobs(12_000, n_components=3, separation=3.0, seed=3)
    model = EMGaussianMixture(3, random_state=0)
    first = clone(model).partial_fit(X[:60]).score(X)
    parts = stream(clone(model), X, 60).score(X)
    whole = clone(model).set_params(n_init=5, max_iter=1000).fit(X).score(X)
    assert first < parts
    assert parts > whole - 0.03


def test_first_call_initialises_and_fits():
    X = corners()
    model = EMGaussianMixture(3, random_state=0)
    assert model.partial_fit(X) is model
    assert model.n_features_in_ == 2
    assert model.means_.shape == (3, 2)
    assert_allclose(model.score(X), clone(model).fit(X).score(X), atol=0.05)
    for name in ("weights_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert np.isfinite(getattr(model, name)).all()


def test_first_call_starts_from_what_is_given():
    X = blobs(200)
    parameters, mixture = start(X, 3, "full")
    model = EMGaussianMixture(**parameters, random_state=0).partial_fit(X)
    other = EMGaussianMixture(**parameters, random_state=99).partial_fit(X)
    assert_same_mixture(model, other, rtol=0, atol=0)
    assert np.linalg.norm(model.means_ - mixture.means) > 1e-3


@pytest.mark.parametrize("covariance_type", ["full", *slow("tied", "diag", "spherical")])
def test_the_whole_data_again_and_again_is_fit(covariance_type):
    """With the full batch the fixed points of stepwise EM are those of EM."""
    X = corners(70, scale=2.0)
    parameters, _ = start(X, 3, covariance_type)
    parameters |= {"tol": 1e-12, "max_iter": 20000, "means_init": [[2, 2], [7, 1], [1, 7]]}
    whole = EMGaussianMixture(**parameters).fit(X)
    parts = EMGaussianMixture(**parameters)
    first = parts.partial_fit(X).score(X)
    for _ in range(299):
        parts.partial_fit(X)
    assert_allclose(parts.score(X), whole.score(X), atol=1e-4)
    assert parts.score(X) >= first
    standing = clone(whole).fit(X)
    for _ in range(3):
        standing.partial_fit(X)
    assert_same_mixture(standing, whole, rtol=1e-4, atol=1e-4)


def test_goes_on_after_fit():
    X = corners(500)
    model = EMGaussianMixture(3, random_state=0).fit(X)
    before = model.means_.copy()
    score = model.score(X)
    model.partial_fit(corners(50, seed=5))
    assert_allclose(model.means_, before, atol=0.3)  # goes on, does not start anew
    assert not np.array_equal(model.means_, before)
    assert model.score(X) > score - 0.1


def test_follows_data_that_moves():
    rng = np.random.default_rng(0)
    model = EMGaussianMixture(1)
    for center in np.linspace(0, 10, 101):
        model.partial_fit(center + rng.normal(size=(50, 2)))
    assert (model.means_[0] > 5).all()


def test_is_deterministic():
    X = blobs(600)
    model = EMGaussianMixture(3, random_state=0)
    one, two = (stream(clone(model), X, 100) for _ in range(2))
    assert_same_mixture(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("missing", [False, True])
def test_integer_weights_are_repeated_rows(missing):
    X = blobs(300)
    X = knock_out(X) if missing else X
    weight = np.random.default_rng(0).integers(0, 4, size=300)
    parameters, _ = start(X, 3, "full")
    model, other = EMGaussianMixture(**parameters), EMGaussianMixture(**parameters)
    for rows in (slice(0, 100), slice(100, 200), slice(200, 300)):
        model.partial_fit(X[rows], sample_weight=weight[rows])
        other.partial_fit(X[rows].repeat(weight[rows], axis=0))
    assert_same_mixture(model, other, rtol=1e-8, atol=1e-10)


def test_a_batch_may_be_smaller_than_the_model_and_hold_nothing_of_a_component():
    X = corners()
    model = EMGaussianMixture(3, random_state=0).partial_fit(X)
    for row in X[:30]:
        model.partial_fit(row[None])
    assert np.isfinite(model.score_samples(X)).all()
    assert_allclose(model.weights_.sum(), 1.0, rtol=1e-12)
    for _ in range(50):
        model.partial_fit(X[(X[:, 0] < 5) & (X[:, 1] < 5)])
    assert np.isfinite(model.score_samples(X)).all()
    assert np.linalg.eigvalsh(model.covariances_).min() > 0


def test_a_batch_may_lack_a_column_once_there_is_a_model():
    X = corners()
    model = EMGaussianMixture(3, random_state=0).partial_fit(X)
    batch = X.copy()
    batch[:, 1] = np.nan
    model.partial_fit(batch)
    assert np.isfinite(model.score_samples(X)).all()


def test_far_from_the_origin():
    """Statistics that add must not cancel: they are kept centred."""
    X = 1e8 + np.random.default_rng(0).normal(size=(5000, 2))
    model = stream(EMGaussianMixture(1, reg_covar=0), X, 250)
    assert_allclose(model.covariances_[0], np.eye(2), atol=0.15)
    assert_allclose(model.means_[0] - 1e8, 0, atol=0.15)


def test_bad_batches_leave_the_model_as_it_was():
    X = blobs(100)
    model = EMGaussianMixture(2, random_state=0).partial_fit(X)
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


def test_first_batch_needs_as_many_rows_as_components():
    with pytest.raises(ValueError, match="n_components"):
        EMGaussianMixture(5).partial_fit(blobs(4))


def test_does_not_touch_its_input_or_its_parameters():
    X = blobs(100)
    before = X.copy()
    model = EMGaussianMixture(2, random_state=0)
    parameters = model.get_params()
    model.partial_fit(X).partial_fit(X)
    assert_array_equal(X, before)
    assert model.get_params() == parameters


def test_fit_after_partial_fit_starts_anew():
    X = blobs(200)
    model = EMGaussianMixture(2, random_state=0)
    fresh = clone(model).fit(X)
    used = stream(clone(model), blobs(500, seed=9), 100).fit(X)
    assert_same_mixture(used, fresh, rtol=0, atol=0)


def test_can_be_stored_between_two_batches():
    X = blobs(300)
    model = EMGaussianMixture(2, random_state=0).partial_fit(X[:100]).partial_fit(X[100:200])
    copy = pickle.loads(pickle.dumps(model))
    assert_same_mixture(copy.partial_fit(X[200:]), model.partial_fit(X[200:]), rtol=0, atol=0)
