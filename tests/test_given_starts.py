"""Starts that a user gives: labels, responsibilities, or a callable that returns them."""

import pickle
import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from skvae.hmm import CategoricalEmission, GaussianMixtureEmission, PoissonEmission

da = pytest.importorskip("dask.array")

rng = np.random.default_rng(0)
LABELS = np.repeat(rng.integers(3, size=40), 8)
X = rng.normal(size=(len(LABELS), 2)) + 1.5 * np.eye(3, 2)[LABELS]
RESP = rng.dirichlet([1.0, 1.0, 1.0], size=len(X))
MODELS = EMGaussianMixture, EMHiddenMarkov, BayesianMixtureSVI


def by_clusters(X, n_components, random_state):
    return KMeans(n_components, n_init=1, random_state=random_state).fit_predict(X)


def quiet(model, *args, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(*args, **given)


def start(model, *args, **given):
    """The first parameters."""
    return quiet(model.set_params(max_iter=0), *args, **given)


# Mixtures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("given", [LABELS, RESP], ids=["labels", "responsibilities"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_a_mixture_starts_from_the_m_step_of_them(kind, given, weighted):
    """scikit-learn's M step from the same responsibilities."""
    weight = rng.integers(0, 3, size=len(X)) if weighted else np.ones(len(X), dtype=int)
    model = EMGaussianMixture(3, covariance_type=kind, init_params=given)
    model = start(model, X, sample_weight=weight if weighted else None)
    resp = given if given.ndim == 2 else np.eye(3)[given]
    rows, repeated = np.repeat(X, weight, axis=0), np.repeat(resp, weight, axis=0)
    oracle = GaussianMixture(3, covariance_type=kind, reg_covar=0)
    oracle._initialize(rows, repeated)
    assert_allclose(model.weights_, oracle.weights_, rtol=1e-10)
    assert_allclose(model.means_, oracle.means_, rtol=1e-9, atol=1e-12)
    precisions = oracle.precisions_cholesky_
    expected = precisions @ np.swapaxes(precisions, -1, -2) if precisions.ndim > 1 else None
    if kind in ("full", "tied"):
        assert_allclose(model.precisions_, expected, rtol=1e-8, atol=1e-12)
    else:
        assert_allclose(model.precisions_, precisions**2, rtol=1e-8)


def test_labels_are_the_names_of_components():
    order = np.array([2, 0, 1])
    model = quiet(EMGaussianMixture(3, init_params=order[LABELS], max_iter=5), X)
    for k in range(3):
        near = np.abs(model.means_ - X[order[LABELS] == k].mean(axis=0)).sum(axis=1)
        assert near.argmin() == k


def test_rows_without_a_label_and_missing_values():
    some = np.where(rng.random(len(X)) < 0.5, LABELS, -1)
    model = start(EMGaussianMixture(3, init_params=some), X)
    for k in range(3):
        assert_allclose(model.means_[k], X[some == k].mean(axis=0))
    holes = np.where(rng.random(X.shape) < 0.2, np.nan, X)
    model = start(EMGaussianMixture(3, covariance_type="diag", init_params=LABELS), holes)
    for k in range(3):
        expected = np.nanmean(holes[k == LABELS], axis=0)
        assert_allclose(model.means_[k], expected, rtol=0.2, atol=0.2)


@pytest.mark.parametrize("model", MODELS)
def test_a_callable_is_called_with_the_rows(model):
    seen = []

    def watched(X, n_components, random_state):
        seen.append((X.shape, n_components, type(random_state)))
        return by_clusters(X, n_components, random_state)

    one = quiet(model(3, init_params=watched, random_state=0), X)
    assert seen[0] == (X.shape, 3, np.random.RandomState)
    other = quiet(model(3, init_params=watched, random_state=0), X)
    assert one.lower_bounds_ == other.lower_bounds_


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("given", [LABELS, LABELS.tolist(), RESP, by_clusters])
def test_it_is_a_parameter_as_others(model, given):
    estimator = model(3, init_params=given, random_state=0)
    fitted = quiet(clone(estimator), X)
    again = pickle.loads(pickle.dumps(fitted))
    assert_array_equal(again.predict(X), fitted.predict(X))
    fitted.set_params(warm_start=True)
    if model is not BayesianMixtureSVI:  # it has no parameters of the start that are compared
        with pytest.raises(ValueError, match="init_params"):
            quiet(fitted.set_params(init_params="random"), X)
    quiet(fitted.set_params(init_params=given), X)


@pytest.mark.parametrize("model", MODELS)
def test_a_search(model):
    grid = {"init_params": ["kmeans", by_clusters]}
    search = GridSearchCV(model(3, random_state=0, max_iter=300), grid, cv=2, error_score="raise")
    assert np.isfinite(quiet(search, X).best_score_)
    search = GridSearchCV(model(3, init_params=LABELS), {"tol": [1e-3]}, cv=2, error_score="raise")
    text = "init_params has 320 entries for 160 rows: .* give a callable, which gets these rows"
    with pytest.raises(ValueError, match=text):
        search.fit(X)


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("given", "text"),
    [
        (LABELS[:-1], "init_params has 319 entries for 320 rows: must be one integer for each row"),
        (np.full(len(X), 3), "init_params is 3 in row 0: must be an integer from 0 to 2"),
        (np.full(len(X), 0.5), "init_params is 0.5 in row 0: must be an integer"),
        (np.full(len(X), np.nan), "init_params is nan in row 0: must be an integer"),
        (np.full(len(X), -1), "init_params has -1 in all rows"),
        (RESP[:, :2], r"init_params has shape \(320, 2\): must be one integer"),
        (2.0 * RESP, "in row 0: responsibilities must be >= 0 and sum to 1"),
        (np.where(RESP > 2, 0, np.nan), "in row 0: responsibilities must be >= 0 and sum to 1"),
        (lambda *_: LABELS[:5], "the result of init_params has 5 entries for 320 rows"),
        ("spectral", "init_params='spectral': must be one of 'kmeans'"),
        (None, "init_params=None: must be one of 'kmeans'"),
        (["a"] * len(X), "init_params cannot be read as numbers"),
        (np.ones(len(X)) * 1j, r"init_params cannot be read as numbers \(complex numbers\)"),
    ],
)
def test_errors(model, given, text):
    with pytest.raises(ValueError, match=text):
        model(3, init_params=given).fit(X)


@pytest.mark.parametrize("model", MODELS)
def test_dask_arrays_take_names_alone(model):
    with pytest.raises(ValueError, match="needs rows in memory, and X is a Dask array"):
        model(3, init_params=LABELS).fit(da.from_array(X, chunks=(100, 2)))


@pytest.mark.parametrize("model", [EMGaussianMixture, EMHiddenMarkov])
def test_a_component_without_rows_is_noted(model):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        model(4, init_params=LABELS, random_state=0).fit(X)
    assert any("because init_params gives them none" in str(each.message) for each in caught)


# Chains -------------------------------------------------------------------------------------------


def test_a_chain_starts_from_labels():
    model = start(EMHiddenMarkov(3, init_params=LABELS), X)
    pairs = np.ones((3, 3))
    np.add.at(pairs, (LABELS[:-1], LABELS[1:]), 1.0)
    assert_allclose(model.transmat_, pairs / pairs.sum(axis=1, keepdims=True))
    for k in range(3):
        assert_allclose(model.means_[k], X[k == LABELS].mean(axis=0))


@pytest.mark.parametrize("emission", ["gaussian", GaussianMixtureEmission(2), "student_t"])
def test_a_chain_starts_from_responsibilities(emission):
    groups = np.repeat([0, 1], [120, 200])
    model = start(EMHiddenMarkov(3, emission=emission, init_params=RESP), X, groups=groups)
    pairs = 1.0 + RESP[:119].T @ RESP[1:120] + RESP[120:-1].T @ RESP[121:]
    assert_allclose(model.transmat_, pairs / pairs.sum(axis=1, keepdims=True))
    starts = 1.0 + RESP[0] + RESP[120]
    assert_allclose(model.startprob_, starts / starts.sum())
    if emission == "gaussian":
        assert_allclose(model.means_, RESP.T @ X / RESP.sum(axis=0)[:, None])


@pytest.mark.parametrize("emission", ["poisson", "categorical"])
def test_responsibilities_of_other_rows(emission):
    counts = rng.poisson(1.0 + 2 * LABELS)[:, None].astype(float)
    counts = np.minimum(counts, 5.0)
    model = start(EMHiddenMarkov(3, emission=emission, init_params=RESP), counts)
    if emission == "poisson":
        expected = RESP.T @ counts / RESP.sum(axis=0)[:, None]
        assert_allclose(model.emission_.rates_, expected)
        assert isinstance(model.emission_, PoissonEmission)
    else:
        expected = RESP.T @ (counts == np.arange(counts.max() + 1)) / RESP.sum(axis=0)[:, None]
        assert_allclose(model.emission_.probabilities_[:, 0], expected)
        assert isinstance(model.emission_, CategoricalEmission)


def test_hard_responsibilities_are_labels():
    hard = np.eye(3)[LABELS]
    one, other = (quiet(EMHiddenMarkov(3, init_params=g), X) for g in (LABELS, hard))
    assert one.lower_bounds_ == other.lower_bounds_


def test_lists_weights_and_known_states():
    parts = [X[:100], X[100:]]
    listed = [LABELS[:100], LABELS[100:]]
    one = quiet(EMHiddenMarkov(3, init_params=listed), parts)
    groups = np.repeat([0, 1], [100, 220])
    other = quiet(EMHiddenMarkov(3, init_params=LABELS), X, groups=groups)
    assert one.lower_bounds_ == other.lower_bounds_
    with pytest.raises(ValueError, match=r"init_params\[1\] has 219 entries for 220 rows"):
        EMHiddenMarkov(3, init_params=[LABELS[:100], LABELS[101:]]).fit(parts)
    weight = np.where(groups == 0, 0.0, 1.0)
    one = quiet(EMHiddenMarkov(3, init_params=LABELS), X, groups=groups, sequence_weight=weight)
    other = quiet(EMHiddenMarkov(3, init_params=LABELS[100:]), X[100:])
    assert_allclose(one.lower_bounds_, other.lower_bounds_, rtol=1e-12)
    known = np.where(rng.random(len(X)) < 0.2, LABELS, -1)
    for given in (RESP, LABELS, by_clusters):
        model = EMHiddenMarkov(3, init_params=given, random_state=0, max_iter=300)
        assert np.diff(quiet(model, X, states=known).lower_bounds_).min() > -1e-10


def test_many_rows():
    """Of many rows a part makes the start, with its labels."""
    labels = np.repeat(rng.integers(2, size=3000), 10)
    rows = 5.0 * labels[:, None] + rng.normal(size=(30_000, 1))
    model = start(EMHiddenMarkov(2, init_params=labels, random_state=0), rows)
    assert_allclose(model.means_.ravel(), [0.0, 5.0], atol=0.1)
    model = start(EMGaussianMixture(2, init_params=labels), rows)
    assert_allclose(model.means_, [rows[labels == k].mean(axis=0) for k in range(2)])


@pytest.mark.parametrize("given", [LABELS, RESP, list(LABELS), pd.Series(LABELS, X[:, 0])])
@pytest.mark.parametrize("kind", [EMGaussianMixture, EMHiddenMarkov])
def test_a_relabelled_model_starts_in_its_order(kind, given):
    order = [2, 0, 1]
    model = start(kind(3, init_params=given, warm_start=True), X)
    other = model.relabel(order)
    assert_allclose(start(clone(other), X).means_, model.means_[order])
    assert_allclose(quiet(other, X).means_, quiet(model, X).means_[order])  # it continues


@pytest.mark.parametrize("ends", [[100], [160], [64, 64 * 2, 64 * 3, 64 * 4]])
@pytest.mark.parametrize("given", [LABELS, RESP])
def test_a_relabelled_chain_starts_in_its_order(given, ends):
    rows, parts = np.split(X, ends), np.split(given, ends)
    chain = start(EMHiddenMarkov(3, init_params=parts), rows)
    other = start(clone(chain.relabel([1, 2, 0])), rows)
    assert_allclose(other.means_, chain.means_[[1, 2, 0]])
    assert_allclose(other.transmat_, chain.transmat_[np.ix_([1, 2, 0], [1, 2, 0])])
