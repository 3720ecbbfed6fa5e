"""Input that no model can use, inside chunks of Dask arrays."""

import copy

import numpy as np
import pytest
from sklearn.base import clone

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov, VariationalAutoencoder
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


# Chunks that are not as declared ------------------------------------------------------------------

ALL = [
    *MODELS,
    VariationalAutoencoder(1, hidden_layer_sizes=(3,), max_epochs=1, random_state=0, device="cpu"),
]
each_of_all = pytest.mark.parametrize("model", ALL, ids=lambda model: type(model).__name__)


def without_nan(block):
    return block[~np.isnan(block).reshape(len(block), -1).any(axis=1)] if block.shape[0] else block


def lossy(X, lost, size=60):
    """A Dask array that drops a row, which its chunks do not declare."""
    X = np.array(X, dtype=float)
    X[lost] = np.nan
    chunks = (size,) if X.ndim == 1 else (size, X.shape[1])
    lazy = da.from_array(X, chunks=chunks)
    return lazy.map_blocks(without_nan, dtype=float, meta=np.empty((0,) * X.ndim))


def learners(model):
    """The methods that read rows, as functions of a Dask array."""
    weight = "sequence_weight" if isinstance(model, EMHiddenMarkov) else "sample_weight"
    yield lambda X: copy.deepcopy(model).fit(X)
    if not isinstance(model, VariationalAutoencoder):
        yield lambda X: copy.deepcopy(model).fit(X, **{weight: np.ones(len(X))})
    yield lambda X: copy.deepcopy(model).partial_fit(X)
    fitted = copy.deepcopy(model).fit(rows())
    yield fitted.score
    yield lambda X: fitted.score(X, sample_weight=np.ones(len(X)))
    for name in ("score_samples", "transform", "predict", "impute", "elbo", "reconstruct"):
        if hasattr(fitted, name):
            yield lambda X, name=name: np.asarray(getattr(fitted, name)(X))


@each_of_all
@pytest.mark.parametrize("lost", [10, 130, 199])
def test_a_chunk_that_lost_rows_is_named(model, lost):
    X, number = lossy(rows(), lost), lost // 60
    n = X.chunks[0][number]
    text = rf"^chunk {number} of X has shape \({n - 1}, 3\), and \({n}, 3\) is declared: pass chun"
    for learn in learners(model):
        with pytest.raises(ValueError, match=text):
            learn(X)


@each_of_all
def test_chunks_with_more_rows_or_other_columns_are_named(model):
    X = chunked(rows())
    for change, text in [
        (lambda block: np.repeat(block, 2, axis=0), r"has shape \((120|40), 3\), and \(.0, 3\)"),
        (lambda block: block[:, :2], r"has shape \(.0, 2\), and \(.0, 3\)"),
        (lambda block: block[:, 0], r"has shape \(.0,\), and \(.0, 3\)"),
    ]:
        other = X.map_blocks(change, dtype=float, meta=np.empty((0, 0)))
        with pytest.raises(ValueError, match=f"chunk [0-3] of X {text} is declared"):
            copy.deepcopy(model).fit(other)


@every_model
def test_rows_that_are_lost_in_chunks_of_columns(model):
    X = rows()
    X[10] = np.nan
    lazy = da.from_array(X, chunks=(60, 1)).map_blocks(
        without_nan, dtype=float, meta=np.empty((0, 0))
    )
    with pytest.raises(ValueError, match=r"chunk 0 of X has shape \(59, 1\), and \(60, 1\)"):
        copy.deepcopy(model).fit(lazy)


def test_weights_and_groups_that_lost_rows_are_named():
    X = chunked(rows())
    weight = lossy(np.ones(200), 70)
    for model, name in [
        (EMGaussianMixture(2), "sample_weight"),
        (BayesianMixtureSVI(2), "sample_weight"),
        (EMHiddenMarkov(2), "sequence_weight"),
    ]:
        with pytest.raises(ValueError, match=rf"chunk 1 of {name} has shape \(59,\), and \(60,\)"):
            model.fit(X, **{name: weight})
    with pytest.raises(ValueError, match=r"chunk 3 of groups has shape \(19,\), and \(20,\)"):
        EMHiddenMarkov(2).fit(X, groups=lossy(np.repeat([0, 1], 100), 185))


@each_of_all
def test_chunks_of_unknown_sizes_may_lose_rows(model):
    X = rows()
    X[[10, 70, 71]] = np.nan
    lazy = chunked(X).map_blocks(without_nan, dtype=float, chunks=((np.nan,) * 4, (3,)))
    whole = X[~np.isnan(X).any(axis=1)]
    model = copy.deepcopy(model).fit(whole)
    np.testing.assert_allclose(model.score(lazy), model.score(whole), rtol=1e-12)
    other = copy.deepcopy(model).fit(lazy)
    np.testing.assert_allclose(other.score(whole), model.score(whole), rtol=0.2)
    assert other.n_features_in_ == 3


@each_of_all
def test_dates_in_chunks_are_refused(model):
    days = np.datetime64("2021-03-01") + np.arange(600).reshape(200, 3)
    objects = rows().astype(object)
    objects[130, 1] = days[0, 0].item()
    for X, label in [(days, "X"), (days - days[0], "X"), (objects, r"X\[:, 1\]")]:
        with pytest.raises(TypeError, match=f"^{label} holds dates or durations"):
            copy.deepcopy(model).fit(chunked(X))
    objects[130, 1] = None
    missing = rows()
    missing[130, 1] = np.nan
    seeded = clone(model).set_params(random_state=0)
    one, other = (clone(seeded).fit(chunked(X)) for X in (objects, missing))
    assert one.lower_bound_ == other.lower_bound_


@pytest.mark.parametrize("model", [MODELS[0], MODELS[2]], ids=["em", "bayes"])
def test_dates_as_weights_of_chunks_are_refused(model):
    days = np.datetime64("2021-03-01") + np.arange(200)
    for weight in (days, chunked(days)):
        with pytest.raises(ValueError, match="sample_weight must be an array of numbers: sample_w"):
            copy.deepcopy(model).fit(chunked(rows()), sample_weight=weight)
