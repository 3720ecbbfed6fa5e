"""Input that no model can use, inside chunks of Dask arrays."""

import copy

import numpy as np
import pytest

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from tests.problems import assert_same_state, state_of

da = pytest.importorskip("dask.array")

MODELS = [EMGaussianMixture(2), EMHiddenMarkov(2), BayesianMixtureSVI(2)]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


def rows():
    return np.random.default_rng(0).normal(size=(200, 3))


def chunked(X, size=60):
    return da.from_array(X, chunks=size)


def with_value(value):
    X = rows()
    X[130, 1] = value
    return X


@every_model
@pytest.mark.parametrize(
    ("X", "message"),
    [
        (with_value(np.inf), "X contains infinity or a value too large"),
        (with_value(1e200), "X has a value of size 1e.200 in feature 1: must be below"),
        (np.where([False, True, False], np.nan, rows()), "no observed value in feature 1"),
        (rows()[:1], "1 sample"),
        (rows()[:, :0], r"0 feature\(s\)"),
        (rows()[0], "Expected 2D array, got 1D array"),
        (rows() + 1j, "[Cc]omplex"),
        (rows().astype(str).astype(object) + "x", "could not convert"),
    ],
)
def test_wrong_rows_are_named_and_what_was_fitted_stays(model, X, message):
    model = copy.deepcopy(model).fit(rows())
    before = state_of(model)
    with pytest.raises(ValueError, match=message):
        model.fit(chunked(X))
    assert_same_state(model, before)


@pytest.mark.parametrize("model", [MODELS[0], MODELS[2]], ids=["em", "bayes"])
@pytest.mark.parametrize("lazy", [False, True])
@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (np.r_[np.ones(199), -1.0], "sample_weight has a negative entry -1.0: must be >= 0"),
        (np.zeros(200), "sample_weight is zero in every row|at least one non-zero"),
        (np.r_[np.ones(199), np.nan], "sample_weight contains NaN"),
        (np.ones(199), r"sample_weight.shape == \(199,\), expected \(200,\)"),
        (np.ones((200, 1)), "must be 1D array or scalar"),
        (np.full(200, 1e300), "sample_weight has the largest entry"),
    ],
)
def test_wrong_weights(model, lazy, weight, message):
    weight = chunked(weight, 50) if lazy else weight
    with pytest.raises(ValueError, match=message):
        copy.deepcopy(model).fit(chunked(rows()), sample_weight=weight)


@every_model
def test_other_features_than_those_that_were_fitted(model):
    model = copy.deepcopy(model).fit(rows())
    with pytest.raises(ValueError, match=r"X has 2 features, but .* is expecting 3 features"):
        model.score_samples(chunked(rows()[:, :2]))


@every_model
def test_a_wrong_row_is_named_when_a_lazy_answer_is_computed(model):
    model = copy.deepcopy(model).fit(rows())
    lazy = model.score_samples(chunked(with_value(-np.inf)))
    with pytest.raises(ValueError, match="X contains infinity or a value too large"):
        lazy.compute()


def test_more_components_than_rows():
    with pytest.raises(ValueError, match="n_components=8: must be <= n_samples, which is 5"):
        EMGaussianMixture(8).fit(chunked(rows()[:5]))
    weight = np.r_[np.ones(5), np.zeros(195)]
    with pytest.raises(ValueError, match="which is 5 without the rows of weight zero"):
        EMGaussianMixture(8).fit(chunked(rows()), sample_weight=weight)


def test_an_error_of_the_source_is_the_source_s():
    def broken(block):
        raise OSError("the disk is gone")

    X = chunked(rows()).map_blocks(broken, dtype=float, meta=np.empty((0, 0)))
    with pytest.raises(OSError, match="the disk is gone"):
        EMGaussianMixture(2).fit(X)
