"""A warm start and partial_fit of a mixture: parameters, attributes that are set, counted rows."""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone

from skvae import BayesianMixtureSVI, EMGaussianMixture
from tests.problems import COVARIANCE_TYPES, assert_same_mixture, blobs, knock_out, on_the_floor

WAYS = ("warm_start", "partial_fit")


def go_on(model, X, way):
    if way == "warm_start":
        return model.set_params(warm_start=True).fit(X)
    return model.partial_fit(X)


# Parameters: used or refused ----------------------------------------------------------------------

CHANGES = {
    "n_components": (3, "refused"),
    "covariance_type": ("diag", "refused"),
    "reg_covar": (0.9, "used"),
    "n_init": (4, "refused"),
    "init_params": ("random", "refused"),
    "weights_init": ([0.5, 0.5], "refused"),
    "means_init": ([[0.0] * 3, [1.0] * 3], "refused"),
    "precisions_init": (np.stack([np.eye(3)] * 2), "refused"),
}
OF_THE_FIT = {"tol", "max_iter", "acceleration", "verbose", "verbose_interval", "n_jobs"}
ELSEWHERE = {"random_state", "warm_start", "checkpoint", "fixed"}  # test_fixed has the last


def test_every_parameter_is_in_one_of_these():
    assert set(EMGaussianMixture().get_params()) == {*CHANGES, *OF_THE_FIT, *ELSEWHERE}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", CHANGES)
@on_the_floor
def test_a_changed_parameter_is_used_or_refused(name, way):
    X = 0.5 * blobs(200)
    model = EMGaussianMixture(2, random_state=0, tol=0.5).fit(X)
    value, answer = CHANGES[name]
    if answer == "refused":
        with pytest.raises(ValueError, match=f"(?s)^{name}=.*: {way}.* continues a model"):
            go_on(model.set_params(**{name: value}), X, way)
        return
    plain = go_on(copy.deepcopy(model), X, way)
    other = go_on(copy.deepcopy(model).set_params(**{name: value}), X, way)
    assert np.abs(other.covariances_ - plain.covariances_).max() > 1e-3


@pytest.mark.parametrize("way", WAYS)
def test_a_start_that_stays_as_it_was_or_is_given_up_is_no_change(way):
    X = blobs(200)
    means = X[:2].copy()
    model = EMGaussianMixture(2, means_init=means, n_init=2, random_state=0).fit(X)
    go_on(model, X, way)
    go_on(model.set_params(means_init=None, n_init=1), X, way)
    means += 1.0
    with pytest.raises(ValueError, match="means_init="):
        go_on(model.set_params(means_init=means), X, way)


# Attributes that are set --------------------------------------------------------------------------


def other(covariance_type, seed=1):
    X = blobs(300, seed=seed)
    return EMGaussianMixture(3, covariance_type=covariance_type, random_state=0, tol=0.1).fit(X)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("given", ["covariances_", "precisions_", "precisions_cholesky_"])
def test_arrays_that_are_set_are_used_everywhere(covariance_type, given):
    X = blobs(100)
    model, theirs = other(covariance_type, 1), other(covariance_type, 2)
    for name in ("weights_", "means_", given):
        setattr(model, name, getattr(theirs, name))
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        assert_allclose(getattr(model, name), getattr(theirs, name), rtol=1e-9, atol=1e-12)
    assert_allclose(model.score_samples(X), theirs.score_samples(X), rtol=1e-9)
    draws = [m.sample(20, random_state=0)[0] for m in (model, theirs)]
    assert_allclose(*draws, rtol=1e-9)
    marginals = [m.marginal([0, 2]).score_samples(X[:, [0, 2]]) for m in (model, theirs)]
    assert_allclose(*marginals, rtol=1e-9)


def test_scikit_learn_s_recipe_works():
    """Any A with precision A Aᵀ is a factor: users write the Cholesky factor of the inverse."""
    X = blobs(50)
    model, theirs = other("full", 1), other("full", 2)
    model.weights_, model.means_ = theirs.weights_, theirs.means_
    model.covariances_ = theirs.covariances_
    model.precisions_cholesky_ = np.linalg.cholesky(np.linalg.inv(theirs.covariances_))
    assert_allclose(model.score_samples(X), theirs.score_samples(X), rtol=1e-9)


def test_in_place_changes_are_used_or_refused():
    X = blobs(50)
    model = pickle.loads(pickle.dumps(other("full")))
    expected = copy.deepcopy(model)
    expected.means_ = model.means_ + 1.0
    model.means_ += 1.0
    assert_allclose(model.score_samples(X), expected.score_samples(X), rtol=1e-12)
    for name in ("covariances_", "precisions_", "precisions_cholesky_"):
        with pytest.raises(ValueError, match="read-only"):
            getattr(model, name)[0] *= 2.0


def test_values_that_cannot_be_used_are_refused_and_change_nothing():
    model = other("full")
    before = copy.deepcopy(model)
    for name, value, text in (
        ("weights_", [0.5, 0.5, 0.5], "weights_ sums to 1.5: must sum to 1"),
        ("weights_", [0.5, 0.5], r"weights_ has shape \(2,\)"),
        ("means_", np.full((3, 3), np.nan), "means_ contains NaN"),
        ("covariances_", -model.covariances_, "covariances_ has an eigenvalue <= 0"),
        ("precisions_", np.ones((3, 3, 3)), "precisions_ "),
        ("precisions_cholesky_", np.zeros((3, 3, 3)), "precisions_cholesky_ has an eigenvalue"),
    ):
        with pytest.raises(ValueError, match=text):
            setattr(model, name, value)
    assert_same_mixture(model, before, rtol=0, atol=0)
    with pytest.raises(AttributeError, match="means_ cannot be set before fit; EMGaussianM"):
        EMGaussianMixture(2).means_ = [[0.0], [1.0]]


# Units --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", range(3))
def test_a_model_s_own_precisions_start_another(covariance_type, seed):
    """Features scaled 1 : 1e6 : 1e-6: the eigenvalues differ by more than float64 resolves."""
    units = np.array([1.0, 1e6, 1e-6])
    X = blobs(300, seed=seed) * (1.0 if covariance_type == "spherical" else units)
    settings = {"covariance_type": covariance_type, "random_state": 0}
    model = EMGaussianMixture(3, tol=0.1, **settings).fit(X)
    again = EMGaussianMixture(
        3,
        weights_init=model.weights_,
        means_init=model.means_,
        precisions_init=model.precisions_,
        max_iter=0,
        **settings,
    ).fit(X)
    assert_allclose(again.covariances_, model.covariances_, rtol=1e-9)
    assert_allclose(again.score(X), model.score(X), rtol=1e-12)
    model.precisions_ = model.precisions_
    assert_allclose(again.covariances_, model.covariances_, rtol=1e-9)


# Rows are counted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("tol", [1e-1, 1e-5])
def test_one_row_after_ten_thousand_counts_as_one(covariance_type, tol):
    """Exact: the step of EM for all rows, of which the earlier ones have the model's statistics."""
    X = blobs(10_000, seed=2)
    model = EMGaussianMixture(3, covariance_type=covariance_type, tol=tol, random_state=0)
    model.fit(X).partial_fit(X[:1])
    assert model.n_samples_seen_ == 10_001
    before = clone(model).fit(X)
    resp = before.predict_proba(X[:1])[0]
    counts = 10_000 * before.weights_ + resp
    assert_allclose(model.weights_, counts / 10_001, rtol=1e-9)
    share = (resp / counts)[:, None]
    assert_allclose(model.means_, before.means_ + share * (X[0] - before.means_), rtol=1e-7)


def test_batches_after_a_fit_add_up_to_all_rows():
    """One component: the mean of the rows of fit and of one more batch is their mean."""
    X = np.random.default_rng(0).normal(size=(1000, 2)) * [1.0, 30.0]
    model = EMGaussianMixture(1).fit(X[:900]).partial_fit(X[900:])
    assert_allclose(model.means_[0], X.mean(axis=0), rtol=1e-9)
    assert_allclose(model.covariances_[0], np.cov(X.T, bias=True), rtol=1e-9)


@pytest.mark.parametrize("weight", [0.25, 3.0, 1e17])
def test_weights_count_between_batches(weight):
    X = blobs(900)
    one, two = (EMGaussianMixture(3, random_state=0) for _ in range(2))
    for rows in (slice(0, 300), slice(300, 500), slice(500, 900)):
        one.partial_fit(X[rows])
        two.partial_fit(X[rows], sample_weight=np.full(len(X[rows]), weight))
    assert_same_mixture(one, two, rtol=1e-7, atol=1e-9)
    assert two.n_samples_seen_ == pytest.approx(900 * weight)


def test_a_stream_forgets_its_poor_start_and_loses_little():
    """400 batches of overlapping components, against a fit of all rows, in nats per row.

    With the rate 1 / t of a plain mean the last number is 0.067.
    """
    X = blobs(40_000, separation=1.0, seed=4)
    whole = EMGaussianMixture(3, n_init=3, tol=1e-5, max_iter=500, random_state=0).fit(X).score(X)
    model = EMGaussianMixture(3, random_state=0)
    for i in range(0, len(X), 100):
        model.partial_fit(X[i : i + 100])
    assert model.score(X) > whole - 0.02


def test_known_parameters_count_as_many_rows_as_one_says():
    X = np.random.default_rng(0).normal(size=(50, 1)) + 3.0
    known = EMGaussianMixture.from_parameters([1.0], [[0.0]], [[[1.0]]])
    assert known.n_samples_seen_ == 0
    known.n_samples_seen_ = 150
    known.partial_fit(X)
    assert_allclose(known.means_, [[X.mean() / 4]], rtol=1e-9)
    assert known.n_samples_seen_ == 200


def test_a_model_of_an_earlier_version_goes_on():
    X = blobs(200)
    model = EMGaussianMixture(3, random_state=0).fit(X)
    for name in ("n_samples_seen_", "_started_from", "_forgotten"):
        del vars(model)[name]
    model = pickle.loads(pickle.dumps(model)).partial_fit(X[:50])
    assert np.isfinite(model.score(X))
    assert model.n_samples_seen_ == 50
    go_on(model.set_params(n_init=5), X, "warm_start")


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_a_batch_without_a_feature_keeps_it(covariance_type):
    X = blobs(400)
    model = EMGaussianMixture(3, covariance_type=covariance_type, random_state=0).fit(X)
    before = model.means_.copy()
    batch = X[:40].copy()
    batch[:, 1] = np.nan
    model.partial_fit(batch).partial_fit(knock_out(batch))
    assert np.abs(model.means_ - before)[:, 1].max() < 0.2
    assert not np.array_equal(model.means_[:, 0], before[:, 0])


# Subclasses ---------------------------------------------------------------------------------------


class Clusters(EMGaussianMixture):
    """A subclass with a constructor of its own."""

    def __init__(self, n_clusters=2, shade="grey"):
        super().__init__(n_clusters)
        self.n_clusters = n_clusters
        self.shade = shade


class Needy(EMGaussianMixture):
    def __init__(self, unit, n_components=1):
        super().__init__(n_components)
        self.unit = unit


def test_derived_models_of_subclasses_with_another_constructor():
    X = blobs(200)
    model = Clusters(3, shade="red").fit(X)
    for derived in (model.marginal([0, 1]), model.conditional([2], [0.5])):
        assert type(derived) is Clusters
        assert derived.shade == "red"
        assert derived.score_samples(X[:, :2]).shape == (200,)
        clone(derived)
    plain = EMGaussianMixture.from_parameters(model.weights_, model.means_, model.covariances_)
    known = Clusters.from_parameters(model.weights_, model.means_, model.covariances_)
    assert type(known) is Clusters
    assert_array_equal(known.score_samples(X), plain.score_samples(X))
    needy = Needy("m", 2).fit(X).marginal([0])
    assert needy.unit == "m"
    assert needy.n_samples_seen_ == 200


# The Bayesian mixture -----------------------------------------------------------------------------


def test_expectations_of_a_posterior_cannot_be_set():
    model = BayesianMixtureSVI(2, random_state=0).fit(blobs(100))
    for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
        value = getattr(model, name)
        with pytest.raises(AttributeError, match=f"{name} is an expectation under the posterior"):
            setattr(model, name, value)
        with pytest.raises(ValueError, match="read-only"):
            value[0] = 1.0
    assert model.to_mixture().n_samples_seen_ == pytest.approx(100)
