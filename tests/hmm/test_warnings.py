"""Warnings of input that is hardly meant: lengths as y, sequences of one row, equal rows."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from skvae.hmm import (
    ColumnEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    StudentTEmission,
)
from tests.problems import blobs, on_the_floor

LENGTHS = [100, 60, 140]


def chain(**settings):
    return EMHiddenMarkov(2, random_state=0, max_iter=1000, **settings)


@pytest.mark.parametrize(
    "y", [LENGTHS, tuple(LENGTHS), np.array(LENGTHS, dtype=np.uint8), pd.Series(LENGTHS)]
)
def test_lengths_of_sequences_are_no_labels(y):
    X = blobs(300)
    model = chain().fit(X)
    advice = r"groups=np.repeat\(np.arange\(len\(y\)\), y\)"
    for method in (clone(model).fit, clone(model).partial_fit, model.score, model.fit_transform):
        with pytest.warns(UserWarning, match=advice) as record:
            method(X, y)
        assert [warning.filename for warning in record] == [__file__]
    advised = chain().fit(X, groups=np.repeat(np.arange(len(y)), y))
    assert advised.startprob_.max() < 1  # three sequences


def test_lengths_of_sequences_of_a_dask_array():
    X = pytest.importorskip("dask.array").from_array(blobs(300), chunks=(90, -1))
    with pytest.warns(UserWarning, match="3 entries of y sum to the 300 rows"):
        chain().fit(X, LENGTHS)


@pytest.mark.parametrize(
    "y",
    [np.arange(300), [300], [100, 200.0], ["a", "b"], [100, 100], [-1, 301], "y", [[100], [200]]],
)
def test_other_y_is_ignored_without_a_word(y):
    X = blobs(300)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = chain().fit(X, y)
        model.partial_fit(X, y)
        model.score(X, y)
        model.fit(X, LENGTHS, groups=np.repeat([0, 1, 2], LENGTHS))
        model.fit(np.split(X, [100, 200]), [1, 2])


def test_sequences_of_one_row_have_no_transitions():
    X = blobs(60)
    for given in ({"X": X, "groups": np.arange(60)}, {"X": list(X[:, None])}):
        with pytest.warns(UserWarning, match="each of the 60 sequences has one row") as record:
            chain().fit(**given)
        assert record[0].filename == __file__
        with pytest.warns(UserWarning, match="each of the 60 sequences has one row"):
            chain().partial_fit(**given)
    model = chain().fit(X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.score_samples(X, groups=np.arange(60))
        model.partial_fit(X[:1])


@on_the_floor
@pytest.mark.parametrize("init_params", ["kmeans", "k-means++"])
@pytest.mark.parametrize("model", [EMGaussianMixture(5), EMHiddenMarkov(5)])
def test_fewer_distinct_rows_than_components(model, init_params):
    rng = np.random.default_rng(0)
    X = np.array([[0.0, 0.0], [1.0, 3.0], [5.0, 1.0]])[rng.integers(3, size=90)]
    model = clone(model).set_params(init_params=init_params, random_state=0, reg_covar=1e-3)
    text = "[12] of the 5 .* had no rows at a start"
    with pytest.warns(ConvergenceWarning, match=text) as record:
        model.fit(X)
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        BayesianMixtureSVI(5, random_state=0).fit(X)  # finds how many components there are


@pytest.mark.parametrize("covariance_type", ["full", "diag", "spherical"])
@pytest.mark.parametrize("seed", range(3))
def test_a_covariance_on_its_floor(covariance_type, seed):
    """Twenty equal rows beside a cluster: the second component is as narrow as it may be."""
    rng = np.random.default_rng(seed)
    X = np.vstack([rng.normal(size=(100, 2)), np.tile([[9.0, 9.0]], (20, 1))])
    models = {
        "component": EMGaussianMixture(2, covariance_type=covariance_type),
        "state": EMHiddenMarkov(2, covariance_type=covariance_type, max_iter=1000),
    }
    for noun, model in models.items():
        model.set_params(random_state=seed)
        with pytest.warns(ConvergenceWarning, match=f"of {noun} [01] is on its floor") as record:
            model.fit(X)
        assert [warning.filename for warning in record] == [__file__]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(X[:100])
            model.fit(np.column_stack([X[:100, 0], np.full(100, 7.0)]))  # a constant feature
            model.set_params(covariance_type="tied").fit(X)


def test_parts_of_an_emission_on_their_floor():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(100, 2)), np.tile([[9.0, 9.0]], (50, 1))])
    parts = [("a", GaussianEmission(), 0), ("b", StudentTEmission(), 1)]
    for emission in (ColumnEmission(parts), GaussianMixtureEmission(covariance_type="tied")):
        model = EMHiddenMarkov(2, emission=emission, random_state=0, max_iter=1000)
        if isinstance(emission, ColumnEmission):
            with pytest.warns(ConvergenceWarning, match="of state [01] is on its floor"):
                model.fit(X)
        else:
            model.fit(X)
