"""What every estimator of the library keeps, asserted once for all of them: answers and copies."""

import copy
import io
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import BayesianMixtureSVI
from tests.problems import assert_same_state, blobs, state_of
from tests.suite import (
    AUTOENCODERS,
    IN_ORDER,
    assert_same_answers,
    every_ascent_of_long_sequences,
    every_estimator,
    every_set_of_rows,
    fitted,
    one_torch_thread,
    rows,
)

X = rows()
_one_thread = pytest.fixture(autouse=True, scope="module")(one_torch_thread)


# Answers ------------------------------------------------------------------------------------------


@every_estimator
def test_nothing_works_before_fit(estimator):
    for name in ("score_samples", "score", "transform"):
        with pytest.raises(NotFittedError):
            getattr(clone(estimator), name)(X)
    for name in ("sample", "get_feature_names_out"):
        with pytest.raises(NotFittedError):
            getattr(clone(estimator), name)()


@every_estimator
def test_score_is_the_mean_of_score_samples(estimator):
    model = fitted(estimator)
    log_density = model.score_samples(X)
    weight = np.random.default_rng(0).uniform(size=len(X))
    assert log_density.shape == (len(X),)
    assert_allclose(model.score(X), log_density.mean(), rtol=1e-10)
    assert_allclose(
        model.score(X, sample_weight=weight), np.average(log_density, weights=weight), rtol=1e-10
    )
    assert type(model.score(X)) is float
    assert type(model.score(X, sample_weight=weight)) is float


@every_estimator
def test_score_samples_is_a_normalised_density(estimator):
    """Over one feature, as the first row of a sequence; an autoencoder's is a lower bound."""
    model = clone(estimator).fit(blobs(300, 1, seed=3))
    grid = np.linspace(-40.0, 40.0, 8001)[:, None]
    each = {"groups": np.arange(len(grid))} if isinstance(model, IN_ORDER) else {}
    total = np.exp(model.score_samples(grid, **each)).sum() * (grid[1, 0] - grid[0, 0])
    assert abs(total - 1.0) < (0.01 if isinstance(model, AUTOENCODERS) else 1e-3)


@every_estimator
def test_transform_has_a_column_for_each_component(estimator):
    model = fitted(estimator)
    assert_allclose(clone(estimator).fit_transform(X), model.transform(X))
    n = 3 if not isinstance(model, BayesianMixtureSVI) else len(model.weights_)  # by its moves
    assert 1 <= n <= 3
    assert model.transform(X).shape == (len(X), n)
    prefix = type(estimator).__name__.lower()
    assert_array_equal(model.get_feature_names_out(), [f"{prefix}{k}" for k in range(n)])
    if not isinstance(model, AUTOENCODERS):  # probabilities
        assert_allclose(model.transform(X).sum(axis=1), 1.0)
        assert_array_equal(model.transform(X), model.predict_proba(X))


@every_estimator
@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_output_containers(estimator, library, frame):
    model = fitted(estimator)
    expected = model.transform(X)
    model.set_output(transform=library)
    found = model.transform(X)
    assert isinstance(found, frame)
    assert list(found.columns) == list(model.get_feature_names_out())
    assert_array_equal(found.to_numpy(), expected)


@every_estimator
def test_per_row_results_keep_the_precision_of_the_rows(estimator):
    for fit_dtype in (np.float32, np.float64):
        model = clone(estimator).fit(X.astype(fit_dtype))
        for dtype in (np.float32, np.float64):
            given = X.astype(dtype)
            for name in ("transform", "score_samples", "predict_proba", "impute"):
                if hasattr(model, name):
                    assert getattr(model, name)(given).dtype == dtype
        # Sums are in float64 whatever the rows are in.
        single = X.astype(np.float32)
        assert_allclose(model.score(single), model.score(single.astype(np.float64)), rtol=1e-6)


@every_estimator
def test_every_layout_gives_the_same_fit(estimator, tmp_path):
    model = fitted(estimator)
    on_disk = np.memmap(tmp_path / "X", dtype=X.dtype, mode="w+", shape=X.shape)
    on_disk[:] = X
    fortran, strided = np.asfortranarray(X), np.repeat(X, 2, axis=0)[::2]
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    for given in (on_disk, fortran, strided, X.tolist(), frame, pl.DataFrame(X)):
        other = clone(estimator).fit(given)
        assert_allclose(other.score_samples(given), model.score_samples(X), rtol=1e-9)
        assert_allclose(other.lower_bounds_, model.lower_bounds_, rtol=1e-9)


@every_set_of_rows
@pytest.mark.parametrize("number_of_rows", [1, 7, 100])
def test_rows_are_scored_one_by_one(estimator, number_of_rows):
    """Neither the order of the rows nor what else is in the batch matters."""
    model = fitted(estimator)
    whole = model.score_samples(X)
    part = np.random.default_rng(0).permutation(len(X))[:number_of_rows]
    assert_allclose(model.score_samples(X[part]), whole[part], rtol=1e-9)
    assert_allclose(model.transform(X[part]), model.transform(X)[part], rtol=1e-7, atol=1e-12)


# Draws --------------------------------------------------------------------------------------------


@every_estimator
def test_sample_gives_rows_and_their_latents(estimator):
    model = fitted(estimator)
    state = state_of(model)
    drawn, latent = model.sample(11)
    assert drawn.shape == (11, 3)
    assert latent.shape == ((11, 3) if isinstance(model, AUTOENCODERS) else (11,))
    assert_array_equal(model.sample(11)[0], drawn)  # an int on the estimator: the same rows
    assert_array_equal(model.sample(11)[1], latent)
    assert not np.array_equal(model.sample(11, random_state=1)[0], drawn)
    assert_same_state(model, state)
    fresh = model.set_params(random_state=None)
    assert not np.array_equal(fresh.sample(11)[0], fresh.sample(11)[0])
    assert len(model.sample()[0]) == 1


@every_estimator
def test_sample_accepts_its_seed_by_keyword_only(estimator):
    model = fitted(estimator)
    with pytest.raises(TypeError):
        model.sample(3, 0)


@every_estimator
def test_sample_draws_from_a_given_generator(estimator):
    model = fitted(estimator)
    generator = np.random.RandomState(0)
    first, second = (model.sample(11, random_state=generator)[0] for _ in range(2))
    assert not np.array_equal(first, second)
    assert_array_equal(model.sample(11, random_state=np.random.RandomState(0))[0], first)


@every_set_of_rows
def test_drawn_rows_are_in_no_order(estimator):
    """The first half of them is as the second: no component comes before another."""
    model = fitted(estimator)
    drawn, _ = model.sample(2000, random_state=0)
    gap = drawn[:1000].mean(axis=0) - drawn[1000:].mean(axis=0)
    assert (np.abs(gap) < 5 * drawn.std(axis=0) * np.sqrt(2 / 1000)).all()


@every_ascent_of_long_sequences
def test_draws_score_like_the_data(estimator):
    """A model fitted to data draws rows that it scores as it scores the data."""
    X = blobs(2000, seed=2)
    model = clone(estimator).fit(X)
    drawn = model.score_samples(model.sample(4000, random_state=0)[0])
    given = model.score_samples(X)
    error = np.hypot(drawn.std() / np.sqrt(len(drawn)), given.std() / np.sqrt(len(given)))
    assert abs(drawn.mean() - given.mean()) < 4 * error


# Among others -------------------------------------------------------------------------------------


def _by_joblib(model):
    file = io.BytesIO()
    joblib.dump(model, file)
    file.seek(0)
    return joblib.load(file)


def _by_skops(model):
    skops = pytest.importorskip("skops.io", reason="not among the lowest versions")
    written = skops.dumps(model)
    types = skops.get_untrusted_types(data=written)
    assert all(name.startswith("skvae.") for name in types)
    return skops.loads(written, trusted=types)


COPIES = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "joblib": _by_joblib,
    "skops": _by_skops,
}


@every_estimator
@pytest.mark.parametrize("how", COPIES)
def test_copies_predict_identically(estimator, how):
    model = fitted(estimator)
    other = COPIES[how](model)
    assert_same_answers(other, model, X)
    assert other.lower_bounds_ == model.lower_bounds_
    assert_array_equal(other.sample(5)[0], model.sample(5)[0])
    assert_same_answers(other.partial_fit(X), model.partial_fit(X), X)


@every_estimator
def test_a_clone_is_not_fitted_and_fits_the_same(estimator):
    model = fitted(estimator)
    other = clone(model)
    assert vars(other).keys() == model.get_params(deep=False).keys()
    assert_same_answers(other.fit(X), model, X)


@every_estimator
def test_works_in_a_pipeline_and_a_search(estimator):
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
    with config_context(enable_metadata_routing=True):
        pipeline = make_pipeline(StandardScaler(), clone(estimator)).fit(X)
        scaled = pipeline[0].transform(X)
        weight = np.arange(len(X))
        assert pipeline.score(X) == pipeline[-1].score(scaled)
        weighted = pipeline[-1].score(scaled, sample_weight=weight)
        assert pipeline.score(X, sample_weight=weight) == weighted
