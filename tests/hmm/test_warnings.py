"""Warnings of input that is hardly meant: lengths as y, sequences of one row, equal rows."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from tests.problems import blobs

LENGTHS = [100, 60, 140]


def chain(**settings):
    return EMHiddenMarkov(2, random_state=0, max_iter=1000, **settings)


@pytest.mark.parametrize("y", [LENGTHS, tuple(LENGTHS), np.array(LENGTHS, dtype=np.uint8)])
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


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++"])
@pytest.mark.parametrize("model", [EMGaussianMixture(5), EMHiddenMarkov(5)])
def test_fewer_distinct_rows_than_components(model, init_params):
    rng = np.random.default_rng(0)
    X = np.array([[0.0, 0.0], [1.0, 3.0], [5.0, 1.0]])[rng.integers(3, size=90)]
    model = clone(model).set_params(init_params=init_params, random_state=0, reg_covar=1e-3)
    with pytest.warns(ConvergenceWarning, match="2 of the 5 .* had no rows at a start") as record:
        model.fit(X)
    assert record[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.set_params(n_components=3).fit(X)
        BayesianMixtureSVI(5, random_state=0).fit(X)  # finds how many components there are
