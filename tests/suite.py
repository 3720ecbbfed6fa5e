"""The estimators, fitted once: what the tests of the contract share.

An estimator joins by one line in `ESTIMATORS`. The data are the same for all: rows of floats.
`CTCTranscriber` is no density, and its y is a list of label sequences: it has these tests in
``deep_chain/test_ctc_transcriber.py``.
"""

import copy
from functools import cache

import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skvae import (
    BayesianMixtureSVI,
    EGHiddenMarkov,
    EMContextFreeGrammar,
    EMGaussianMixture,
    EMHiddenMarkov,
    HiddenMarkovAutoencoder,
    VariationalAutoencoder,
)
from tests.problems import blobs

ESTIMATORS = [
    EMGaussianMixture(3, random_state=0, max_iter=2000),
    EMHiddenMarkov(3, random_state=0, max_iter=2000),
    EMContextFreeGrammar(3, emission="gaussian", random_state=0, max_iter=2000, tol=0.02),
    BayesianMixtureSVI(3, random_state=0, max_iter=2000),
    VariationalAutoencoder(3, random_state=0, max_epochs=5, hidden_layer_sizes=(16,)),
    EGHiddenMarkov(3, random_state=0, max_epochs=5),
    HiddenMarkovAutoencoder(
        3, n_states=2, random_state=0, max_epochs=5, hidden_layer_sizes=(16,), n_score_samples=30
    ),
]


def parametrized(estimators):
    """A decorator that runs a test for each of some estimators."""
    return pytest.mark.parametrize("estimator", estimators, ids=lambda e: type(e).__name__)


every_estimator = parametrized(ESTIMATORS)
# Those whose latent variable is a vector, and whose scores are lower bounds.
AUTOENCODERS = VariationalAutoencoder, HiddenMarkovAutoencoder
# Those that a net trains, by epochs.
TRAINED = *AUTOENCODERS, EGHiddenMarkov
# Those whose fit is an ascent to a maximum; a training ends before.
ASCENTS = [e for e in ESTIMATORS if not isinstance(e, TRAINED)]
every_ascent = parametrized(ASCENTS)
# A grammar takes a time in proportion to the cube of the rows of a sentence.
LONG = [e for e in ASCENTS if not isinstance(e, EMContextFreeGrammar)]
every_ascent_of_long_sequences = parametrized(LONG)
every_em = parametrized(ESTIMATORS[:2])
# Those whose rows are in an order: sequences.
IN_ORDER = EMHiddenMarkov, EMContextFreeGrammar, EGHiddenMarkov, HiddenMarkovAutoencoder
every_set_of_rows = parametrized([e for e in ESTIMATORS if not isinstance(e, IN_ORDER)])


@cache
def rows():
    """Some rows, (150, 3), that cannot be written to."""
    X = blobs(150, seed=1)
    X.flags.writeable = False
    return X


@cache
def _fitted(name):
    return next(clone(e) for e in ESTIMATORS if type(e).__name__ == name).fit(rows())


def fitted(estimator):
    """A copy of the estimator, fitted to `rows`."""
    return copy.deepcopy(_fitted(type(estimator).__name__))


def one_torch_thread():
    """For the autoencoder: two threads on cores that others use too are ten times slower."""
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def assert_same_answers(one, other, X):
    """Two models answer alike, to the bit."""
    assert_array_equal(one.score_samples(X), other.score_samples(X))
    assert_array_equal(one.transform(X), other.transform(X))
