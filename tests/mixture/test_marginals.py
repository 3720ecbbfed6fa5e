"""Models and numbers derived from a fitted mixture: marginal, conditional, criteria."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMGaussianMixture
from tests import oracles
from tests.problems import (
    COVARIANCE_TYPES,
    assert_same_mixture,
    assert_same_state,
    blobs,
    on_the_floor,
    start,
    state_of,
)
from tests.strategies import covariance_types, seeds

NAMES = ["height", "girth", "weight", "age"]


def fitted(covariance_type, n_components=3, *, names=False, seed=0):
    X = blobs(200, n_features=4, seed=seed)
    model = EMGaussianMixture(
        n_components, covariance_type=covariance_type, random_state=0, tol=1e-2, max_iter=1000
    )
    return model.fit(pd.DataFrame(X, columns=NAMES) if names else X), X


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("features", [[0], [2, 0], [1, 3, 2], [3, 2, 1, 0]])
def test_marginal_integrates_the_other_features_out(covariance_type, features):
    model, X = fitted(covariance_type)
    marginal = model.marginal(features)
    holes = np.full_like(X, np.nan)
    holes[:, features] = X[:, features]
    assert type(marginal) is EMGaussianMixture
    assert marginal.n_features_in_ == len(features)
    assert marginal.n_components == 3
    assert marginal.covariance_type == covariance_type
    assert_array_equal(marginal.means_, model.means_[:, features])
    assert_array_equal(marginal.weights_, model.weights_)
    expected = oracles.log_density(holes, oracles.mixture_of(model))
    assert_allclose(marginal.score_samples(X[:, features]), expected, rtol=1e-10)


@given(seeds, covariance_types, st.permutations(range(4)), st.integers(1, 3))
def test_conditional_is_the_ratio_of_densities(seed, covariance_type, order, n_given):
    """ln p(x_h | x_o) = ln p(x) − ln p(x_o), whichever features are given in whichever order."""
    X = blobs(20, n_features=4, seed=seed)
    _, mixture = start(X, 3, covariance_type, seed=seed)
    model = EMGaussianMixture.from_parameters(*mixture)
    given_features, rest = order[:n_given], sorted(order[n_given:])
    row = X[0]
    conditional = model.conditional(given_features, row[given_features])
    assert conditional.n_features_in_ == len(rest)
    rows = np.where(np.isin(np.arange(4), given_features), row, X)
    holes = np.where(np.isin(np.arange(4), given_features), row, np.nan)[None]
    expected = oracles.log_density(rows, mixture) - oracles.log_density(holes, mixture)
    assert_allclose(conditional.score_samples(X[:, rest]), expected, rtol=1e-7, atol=1e-9)
    assert_allclose(
        conditional.weights_, oracles.responsibilities(holes, mixture)[0], rtol=1e-8, atol=1e-14
    )
    expectation = conditional.weights_ @ conditional.means_
    assert_allclose(expectation, model.impute(holes)[0, rest], rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_conditional_keeps_the_structure(covariance_type):
    model, X = fitted(covariance_type)
    conditional = model.conditional([1, 2], X[0, [1, 2]])
    assert type(conditional) is EMGaussianMixture
    assert conditional.covariance_type == covariance_type
    shape = {"full": (3, 2, 2), "tied": (2, 2), "diag": (3, 2), "spherical": (3,)}[covariance_type]
    assert conditional.covariances_.shape == shape
    assert conditional.precisions_cholesky_.shape == shape


def test_conditional_on_a_far_value_is_finite():
    model, _ = fitted("full")
    conditional = model.conditional([0], [1e6])
    assert np.isfinite(conditional.weights_).all()
    assert_allclose(conditional.weights_.sum(), 1.0, rtol=1e-12)
    assert np.isfinite(conditional.score_samples(conditional.means_)).all()


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_by_name_is_by_index(covariance_type):
    model, X = fitted(covariance_type, names=True)
    by_name, by_index = model.marginal(["age", "height"]), model.marginal([3, 0])
    assert_same_mixture(by_name, by_index, rtol=0, atol=0)
    assert_array_equal(by_name.feature_names_in_, ["age", "height"])
    assert_array_equal(by_index.feature_names_in_, ["age", "height"])
    frame = pd.DataFrame(X[:, [3, 0]], columns=["age", "height"])
    assert_allclose(by_name.score_samples(frame), by_index.score_samples(frame))

    by_name = model.conditional(["weight", "height"], [1.0, 2.0])
    by_index = model.conditional([2, 0], [1.0, 2.0])
    assert_same_mixture(by_name, by_index, rtol=0, atol=0)
    assert_array_equal(by_name.feature_names_in_, ["girth", "age"])


def test_names_may_come_as_an_array_or_an_index():
    model, _ = fitted("full", names=True)
    expected = model.marginal(["girth", "age"])
    for features in (np.array(["girth", "age"]), pd.Index(["girth", "age"]), ("girth", "age")):
        assert_same_mixture(model.marginal(features), expected, rtol=0, atol=0)
    assert_same_mixture(model.marginal(np.array([1, 3])), expected, rtol=0, atol=0)


def test_derived_models_work_like_fitted_ones():
    model, X = fitted("full")
    state = state_of(model)
    for derived in (model.marginal([0, 1]), model.conditional([2, 3], [0.0, 1.0])):
        rows = X[:, :2]
        assert derived.predict_proba(rows).shape == (200, 3)
        assert derived.sample(5, random_state=0)[0].shape == (5, 2)
        assert np.isfinite([derived.bic(rows), derived.aic(rows), derived.icl(rows)]).all()
        assert derived.marginal([1]).n_features_in_ == 1
        derived.means_ += 1  # its own arrays, not views of the model's
        derived.weights_[:] = 0.1
    assert_same_state(model, state)


BAD_FEATURES = {
    "unknown name": (["height", "size"], "size"),
    "too large": ([0, 4], "4"),
    "too small": ([-5], "-5"),
    "twice": ([1, 1], "1"),
    "none": ([], r"\[\]"),
    "not integers": ([0.5], r"0\.5"),
}


@pytest.mark.parametrize("problem", BAD_FEATURES)
def test_bad_features_are_named(problem):
    model, _ = fitted("full", names=True)
    features, text = BAD_FEATURES[problem]
    with pytest.raises((ValueError, TypeError), match=rf"(?s)features.*{text}|{text}.*features"):
        model.marginal(features)
    if features:
        with pytest.raises(
            (ValueError, TypeError), match=rf"(?s)features.*{text}|{text}.*features"
        ):
            model.conditional(features, np.zeros(len(features)))


def test_names_of_a_model_without_names_are_an_error():
    model, _ = fitted("full")
    with pytest.raises((ValueError, TypeError), match="features"):
        model.marginal(["height"])


@pytest.mark.parametrize(
    ("features", "values", "match"),
    [
        ([0, 1], [1.0], "values"),
        ([0], [1.0, 2.0], "values"),
        ([0], [np.inf], "values"),
        ([0, 1], [[1.0, 2.0], [3.0, 4.0]], "values"),
        ([0, 1, 2, 3], [0.0] * 4, "features"),
    ],
)
def test_conditional_checks_its_arguments(features, values, match):
    model, _ = fitted("full")
    with pytest.raises(ValueError, match=match):
        model.conditional(features, values)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_from_parameters_round_trip(covariance_type):
    model, X = fitted(covariance_type)
    other = EMGaussianMixture.from_parameters(
        model.weights_, model.means_, model.covariances_, covariance_type
    )
    assert_same_mixture(other, model, rtol=1e-14, atol=0)
    assert (other.n_components, other.n_features_in_) == (3, 4)
    assert other.covariance_type == covariance_type
    assert_allclose(other.precisions_, model.precisions_, rtol=1e-9, atol=1e-12)
    assert_allclose(other.precisions_cholesky_, model.precisions_cholesky_, rtol=1e-9, atol=1e-12)
    assert_allclose(other.score_samples(X), model.score_samples(X), rtol=1e-11)
    assert_allclose(other.bic(X), model.bic(X), rtol=1e-11)


def test_from_parameters_copies_takes_lists_and_defaults_to_full():
    covariances = np.stack([np.eye(2), 2 * np.eye(2)])
    model = EMGaussianMixture.from_parameters([0.25, 0.75], [[0, 1], [2, 3]], covariances)
    covariances[:] = 9
    assert model.covariance_type == "full"
    assert_array_equal(model.covariances_[1], 2 * np.eye(2))
    assert model.means_.dtype == np.float64
    mixture = oracles.mixture_of(model)
    assert_allclose(model.score_samples([[0.0, 0.0]]), oracles.log_density([[0.0, 0.0]], mixture))


def test_from_parameters_can_be_fitted_again():
    X = blobs(200)
    _, mixture = start(X, 2, "full")
    model = EMGaussianMixture.from_parameters(*mixture)
    before = model.score(X)
    assert model.set_params(max_iter=1000).fit(X).score(X) > before


BAD_PARAMETERS = {
    "weights do not sum to one": ({"weights": [0.5, 0.6]}, r"(?s)weights.*1\.1"),
    "negative weight": ({"weights": [-0.5, 1.5]}, "weights"),
    "nan weight": ({"weights": [np.nan, 1.0]}, "weights|NaN"),
    "weights of another length": ({"weights": [0.2, 0.3, 0.5]}, "weights|means"),
    "means of one dimension": ({"means": [0.0, 1.0]}, "means"),
    "infinite mean": ({"means": [[0.0, np.inf], [1, 1]]}, "means|infinity"),
    "another number of features": ({"covariances": np.stack([np.eye(3)] * 2)}, "covariances"),
    "another structure": ({"covariances": np.ones((2, 2)) + np.eye(2)}, "covariances"),
    "not positive definite": ({"covariances": np.stack([np.eye(2), -np.eye(2)])}, "covariances"),
    "singular": ({"covariances": np.stack([np.eye(2), np.ones((2, 2))])}, "covariances"),
    "not symmetric": ({"covariances": np.stack([np.eye(2), [[1, 0.5], [0.2, 1]]])}, "covariances"),
    "nan covariance": ({"covariances": np.full((2, 2, 2), np.nan)}, "covariances|NaN"),
    "negative variance": (
        {"covariances": [[1.0, 1.0], [1.0, -1.0]], "covariance_type": "diag"},
        "covariances",
    ),
    "zero variance": ({"covariances": [1.0, 0.0], "covariance_type": "spherical"}, "covariances"),
    "unknown structure": ({"covariance_type": "toeplitz"}, "(?s)covariance_type.*toeplitz"),
}


@pytest.mark.parametrize("problem", BAD_PARAMETERS)
def test_from_parameters_refuses(problem):
    change, match = BAD_PARAMETERS[problem]
    parameters = {
        "weights": [0.4, 0.6],
        "means": [[0.0, 0.0], [1.0, 1.0]],
        "covariances": np.stack([np.eye(2)] * 2),
    }
    EMGaussianMixture.from_parameters(**parameters)
    with pytest.raises(ValueError, match=match):
        EMGaussianMixture.from_parameters(**(parameters | change))


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_criteria_are_their_formulas(covariance_type):
    model, X = fitted(covariance_type)
    rows = X[:77]
    mixture = oracles.mixture_of(model)
    n_parameters = oracles.n_free_parameters(3, 4, covariance_type)
    deviance = -2 * oracles.log_density(rows, mixture).sum()
    assert_allclose(model.bic(rows), deviance + n_parameters * np.log(77), rtol=1e-9)
    assert_allclose(model.aic(rows), deviance + 2 * n_parameters, rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_icl_adds_twice_the_entropy_of_the_assignments(covariance_type):
    """Biernacki, Celeux and Govaert (2000), IEEE TPAMI 22; smaller is better, as for bic."""
    model, X = fitted(covariance_type)
    resp = oracles.responsibilities(X, oracles.mixture_of(model))
    entropy = -np.sum(resp * np.log(np.maximum(resp, 1e-300)))
    assert entropy > 0.01
    assert_allclose(model.icl(X), model.bic(X) + 2 * entropy, rtol=1e-9)
    single = EMGaussianMixture(1, covariance_type=covariance_type).fit(X)
    assert_allclose(single.icl(X), single.bic(X), rtol=1e-12)


@on_the_floor
def test_icl_of_clear_clusters_is_bic():
    """A responsibility of exactly zero adds no entropy and no NaN."""
    X = np.r_[np.random.default_rng(0).normal(size=(50, 1)), [[1e4], [1e4 + 1], [1e4 + 2]]]
    model = EMGaussianMixture(2, random_state=0).fit(X)
    assert_allclose(model.icl(X), model.bic(X), rtol=1e-12)


def test_criteria_with_missing_values():
    model, X = fitted("full")
    X[::3, 1] = np.nan
    mixture = oracles.mixture_of(model)
    deviance = -2 * oracles.log_density(X, mixture).sum()
    n_parameters = oracles.n_free_parameters(3, 4, "full")
    assert_allclose(model.bic(X), deviance + n_parameters * np.log(200), rtol=1e-9)
    resp = oracles.responsibilities(X, mixture)
    entropy = -np.sum(resp * np.log(np.maximum(resp, 1e-300)))
    assert_allclose(model.icl(X), model.bic(X) + 2 * entropy, rtol=1e-9)


@pytest.mark.parametrize("feature", [2**63, 2**64 - 1, -(2**63), 2**70])
@pytest.mark.parametrize("as_array", [False, True])
def test_indices_beyond_the_machine_are_no_features(feature, as_array):
    """As 64-bit integers they would be −1 and the like."""
    model, _ = fitted("full")
    features = np.array([0, feature]) if as_array else [0, feature]
    for call in (model.marginal, lambda features: model.conditional(features, [0.0, 0.0])):
        with pytest.raises(ValueError, match="features="):
            call(features)
    with pytest.raises(ValueError, match="features="):
        model.marginal(np.array([2**64 - 1], dtype=np.uint64))
