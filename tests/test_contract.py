"""What every estimator of the library keeps, asserted once for all of them.

An estimator joins by one line in `ESTIMATORS`. The data are the same for all: rows of floats.
"""

import copy
import inspect
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov, VariationalAutoencoder
from tests.problems import assert_same_state, blobs, state_of

ESTIMATORS = [
    EMGaussianMixture(3, random_state=0, max_iter=2000),
    EMHiddenMarkov(3, random_state=0, max_iter=2000),
    BayesianMixtureSVI(3, random_state=0, max_iter=2000),
    VariationalAutoencoder(3, random_state=0, max_epochs=50),
]

every_estimator = pytest.mark.parametrize(
    "estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__
)


@pytest.fixture
def X():
    return blobs(150, seed=1)


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread():
    """For the autoencoder: two threads on cores that others use too are ten times slower."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@every_estimator
def test_scikit_learn_s_checks_pass_raw(estimator):
    """As a user calls it: nothing is expected to fail and no check is skipped by a tag."""
    results = check_estimator(type(estimator)(), on_skip=None, on_fail="raise")
    assert {result["status"] for result in results} <= {"passed", "skipped"}
    # A check may skip itself for want of an optional package or setting, never by our doing.
    assert all(result["expected_to_fail"] is False for result in results)
    skipped = {result["check_name"] for result in results if result["status"] == "skipped"}
    assert skipped <= {"check_array_api_input"}
    assert estimator.__sklearn_tags__()._skip_test is False


@every_estimator
def test_parameters_are_keyword_only_but_the_size(estimator):
    parameters = inspect.signature(type(estimator)).parameters
    free = [n for n, p in parameters.items() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
    assert free == ["n_components"]
    assert {"n_components", "random_state", "verbose"} <= set(parameters)
    for name, parameter in parameters.items():
        assert parameter.default is getattr(type(estimator)(), name)


@every_estimator
def test_fit_returns_itself_and_sets_its_attributes(estimator, X):
    model = clone(estimator)
    assert model.fit(X) is model
    assert model.n_features_in_ == 3
    assert isinstance(model.lower_bound_, float)
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert len(model.lower_bounds_) == model.n_iter_
    assert isinstance(model.converged_, bool)
    assert not hasattr(model, "feature_names_in_")
    model.fit(pd.DataFrame(X, columns=["a", "b", "c"]))
    assert_array_equal(model.feature_names_in_, ["a", "b", "c"])


@every_estimator
def test_partial_fit_returns_itself_and_initialises(estimator, X):
    model = clone(estimator)
    assert model.partial_fit(X) is model
    assert model.partial_fit(X[:50]) is model
    assert np.isfinite(model.score(X))


@every_estimator
def test_nothing_works_before_fit(estimator, X):
    for name in ("score_samples", "score", "transform"):
        with pytest.raises(NotFittedError):
            getattr(clone(estimator), name)(X)
    for name in ("sample", "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            getattr(clone(estimator), name)()


@every_estimator
def test_score_is_the_mean_of_score_samples(estimator, X):
    model = clone(estimator).fit(X)
    rows = model.score_samples(X)
    weight = np.random.default_rng(0).uniform(size=len(X))
    assert rows.shape == (len(X),)
    assert_allclose(model.score(X), rows.mean(), rtol=1e-10)
    assert_allclose(
        model.score(X, sample_weight=weight), np.average(rows, weights=weight), rtol=1e-10
    )
    assert type(model.score(X)) is float


@every_estimator
def test_y_is_ignored(estimator, X):
    model = clone(estimator).fit(X)
    other = clone(estimator).fit(X, np.arange(len(X)))
    assert_array_equal(other.score_samples(X), model.score_samples(X))
    assert model.score(X, np.arange(len(X))) == model.score(X)


@every_estimator
def test_transform_has_a_column_for_each_component(estimator, X):
    model = clone(estimator)
    assert_allclose(model.fit_transform(X), model.transform(X))
    assert model.transform(X).shape == (len(X), 3)
    assert len(model.get_feature_names_out()) == 3


@every_estimator
def test_per_row_results_keep_the_precision_of_the_rows(estimator, X):
    for fit_dtype in (np.float32, np.float64):
        model = clone(estimator).fit(X.astype(fit_dtype))
        for dtype in (np.float32, np.float64):
            rows = X.astype(dtype)
            assert model.transform(rows).dtype == dtype
            assert model.score_samples(rows).dtype == dtype


@every_estimator
def test_sample_gives_rows_and_their_latents(estimator, X):
    model = clone(estimator).fit(X)
    state = state_of(model)
    rows, latent = model.sample(11)
    assert rows.shape == (11, 3)
    assert len(latent) == 11
    assert_array_equal(model.sample(11)[0], rows)  # an int on the estimator: the same rows
    assert_array_equal(model.sample(11)[1], latent)
    assert not np.array_equal(model.sample(11, random_state=1)[0], rows)
    assert_same_state(model, state)
    fresh = model.set_params(random_state=None)
    assert not np.array_equal(fresh.sample(11)[0], fresh.sample(11)[0])
    assert len(model.sample()[0]) == 1


@every_estimator
def test_sample_accepts_its_seed_by_keyword_only(estimator, X):
    with pytest.raises(TypeError):
        clone(estimator).fit(X).sample(3, 0)


@pytest.mark.parametrize(
    "estimator",
    # At a maximum of the likelihood it is so; an autoencoder's training ends before.
    [e for e in ESTIMATORS if not isinstance(e, VariationalAutoencoder)],
    ids=lambda estimator: type(estimator).__name__,
)
def test_draws_score_like_the_data(estimator):
    """A model fitted to data draws rows that it scores as it scores the data."""
    X = blobs(2000, seed=2)
    model = clone(estimator).fit(X)
    drawn = model.score_samples(model.sample(4000, random_state=0)[0])
    given = model.score_samples(X)
    error = np.hypot(drawn.std() / np.sqrt(len(drawn)), given.std() / np.sqrt(len(given)))
    assert abs(drawn.mean() - given.mean()) < 4 * error


@every_estimator
def test_same_seed_same_fit(estimator, X):
    models = [clone(estimator).set_params(random_state=5).fit(X) for _ in range(2)]
    assert models[0].lower_bounds_ == models[1].lower_bounds_
    assert_array_equal(models[0].score_samples(X), models[1].score_samples(X))
    assert_array_equal(models[0].transform(X), models[1].transform(X))


@pytest.mark.parametrize(
    "estimator",
    [e for e in ESTIMATORS if not isinstance(e, EMHiddenMarkov)],  # whose rows have an order
    ids=lambda estimator: type(estimator).__name__,
)
@pytest.mark.parametrize("number_of_rows", [1, 7, 100])
def test_rows_are_scored_one_by_one(estimator, X, number_of_rows):
    """Neither the order of the rows nor what else is in the batch matters."""
    model = clone(estimator).fit(X)
    whole = model.score_samples(X)
    part = np.random.default_rng(0).permutation(len(X))[:number_of_rows]
    assert_allclose(model.score_samples(X[part]), whole[part], rtol=1e-9)
    assert_allclose(model.transform(X[part]), model.transform(X)[part], rtol=1e-7, atol=1e-12)


@every_estimator
def test_failed_fit_keeps_the_earlier_one(estimator, X):
    model = clone(estimator).fit(X)
    scores = model.score_samples(X)
    for rows, parameters in [
        (np.where(X > 0, X, np.inf), {}),
        (X[:, 0], {}),
        (X, {"n_components": 0}),
        (X, {"max_epochs" if hasattr(estimator, "max_epochs") else "max_iter": -1}),
        (np.array([["a", "b", "c"]] * 20, dtype=object), {}),
    ]:
        model.set_params(**estimator.get_params()).set_params(**parameters)
        state = state_of(model)
        for method in (model.fit, model.partial_fit):
            with pytest.raises(ValueError):  # noqa: PT011
                method(rows)
            assert_same_state(model, state)
    model.set_params(**estimator.get_params())
    assert_array_equal(model.score_samples(X), scores)


@every_estimator
def test_fit_changes_neither_parameters_nor_rows(estimator, X):
    model = clone(estimator)
    before, rows = model.get_params(), X.copy()
    rows.flags.writeable = False
    model.fit(rows).partial_fit(rows)
    model.transform(rows)
    assert model.get_params() == before
    assert_array_equal(rows, X)


@every_estimator
def test_silent_and_global_state_untouched(estimator, X, capfd):
    before = np.random.get_state()  # noqa: NPY002
    model = clone(estimator).fit(X)
    model.partial_fit(X)
    model.sample(5)
    model.score(X)
    for left, right in zip(np.random.get_state(), before, strict=True):  # noqa: NPY002
        assert_array_equal(left, right)
    assert capfd.readouterr() == ("", "")


@every_estimator
def test_copies_predict_identically(estimator, X):
    model = clone(estimator).fit(X)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_array_equal(other.score_samples(X), model.score_samples(X))
        assert_array_equal(other.transform(X), model.transform(X))


@every_estimator
def test_works_in_a_pipeline_and_a_search(estimator, X):
    pipeline = make_pipeline(StandardScaler(), clone(estimator))
    name = type(estimator).__name__.lower()
    search = GridSearchCV(pipeline, {f"{name}__n_components": [1, 2]}, cv=3, error_score="raise")
    search.fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert_allclose(search.score(X), search.best_estimator_.score(X))
    frame = pipeline.set_output(transform="pandas").fit_transform(X)
    assert list(frame.columns) == list(pipeline.get_feature_names_out())


@every_estimator
def test_score_requests_weights_and_is_a_density(estimator):
    assert estimator.get_metadata_routing().score.requests["sample_weight"] is True
    assert estimator.__sklearn_tags__().estimator_type == "density_estimator"
