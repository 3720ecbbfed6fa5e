"""A filter that is given rows as they come has the results of the whole sequence."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMHiddenMarkov
from skvae.datasets import load_geyser
from skvae.hmm import GaussianEmission, PoissonEmission
from tests.emissions.test_defaults import EMISSIONS
from tests.hmm_oracles import forward_backward, log_emission

REAL = load_geyser().data


def chain_of(emission, seed=0):
    """Return a chain of three states with an emission."""
    rng = np.random.default_rng(seed)
    return EMHiddenMarkov.from_parameters(
        rng.dirichlet(np.ones(3)), rng.dirichlet(np.ones(3), size=3), emission
    )


def in_blocks(online, X, sizes):
    """Return (posteriors, log_p) of rows that are given in blocks of some sizes in turn."""
    found, start = [], 0
    while start < len(X):
        stop = start + sizes[len(found) % len(sizes)]
        found.append(online.update(X[start:stop]))
        start = stop
    return tuple(np.concatenate(parts) for parts in zip(*found, strict=True))


@pytest.mark.parametrize("sizes", [(1,), (3, 1, 7), (100,)])
@pytest.mark.parametrize("emission", EMISSIONS.values(), ids=EMISSIONS)
def test_blocks_have_the_results_of_the_whole(emission, sizes):
    chain = chain_of(emission)
    X, _ = chain.sample(60, random_state=0)
    X[7] = np.nan  # a gap
    X[20:40:3, 0] = np.nan
    online = chain.online()
    state_proba, log_p = in_blocks(online, X, sizes)
    expected = forward_backward(chain.startprob_, chain.transmat_, log_emission(X, emission))
    assert_allclose(log_p, expected.log_p, rtol=1e-8, atol=1e-9)
    assert_allclose(state_proba, expected.filtered, rtol=1e-7, atol=1e-12)
    assert_allclose(log_p, chain.score_samples(X), rtol=1e-10, atol=1e-12)
    whole = copy.copy(chain).set_params(inference="filter").predict_proba(X)
    assert_allclose(state_proba, whole, rtol=1e-9, atol=1e-14)
    assert_array_equal(online.state_proba, state_proba[-1])
    assert online.n_rows == 60
    assert_allclose(online.log_likelihood, 60 * chain.score(X), rtol=1e-11)


BANDS = np.array([[0.5, 0.5, 0, 0], [0, 0.9, 0.1, 0], [0, 0, 1 - 1e-200, 1e-200], [0, 0, 0, 1]])


@pytest.mark.parametrize("n_states", [1, 4, 7, 20])
@pytest.mark.parametrize("structure", ["dense", "zeros", "tiny"])
def test_structure_and_underflow_do_not_matter(n_states, structure):
    """States far from the rows, whose probability is 1e-3000 for a hundred rows, come back."""
    rng = np.random.default_rng(n_states)
    transmat = rng.dirichlet(np.ones(n_states), size=n_states)
    if structure == "zeros":
        transmat = np.triu(transmat)
    if structure == "tiny":
        transmat = np.where(np.eye(n_states) > 0, 1.0, 1e-250)
    transmat /= transmat.sum(axis=1, keepdims=True)
    means = 40.0 * np.arange(n_states)[:, None]
    emission = GaussianEmission.from_parameters(means, np.ones(n_states), "spherical")
    start = np.full(n_states, 1.0 / n_states)
    chain = EMHiddenMarkov.from_parameters(start, transmat, emission)
    X = np.repeat(means, 12, axis=0)[: 12 * n_states] + rng.normal(size=(12 * n_states, 1))
    state_proba, log_p = in_blocks(chain.online(), X, (1, 5))
    expected = forward_backward(start, transmat, log_emission(X, emission))
    assert_allclose(log_p, expected.log_p, rtol=1e-9)
    assert_allclose(state_proba, expected.filtered, rtol=1e-7, atol=1e-200)


def test_a_start_of_zeros_and_a_row_far_from_it():
    emission = GaussianEmission.from_parameters([[0.0], [100.0]], [1.0, 1.0], "spherical")
    chain = EMHiddenMarkov.from_parameters([1, 0], [[0.5, 0.5], [0.5, 0.5]], emission)
    X = np.array([[100.0], [0.0], [100.0]])
    state_proba, log_p = in_blocks(chain.online(), X, (1,))
    assert_allclose(log_p, chain.score_samples(X), rtol=1e-12)
    assert_allclose(state_proba[0], [1, 0])


def test_impossible_rows_count_as_missing():
    emission = PoissonEmission.from_parameters([[0.0], [3.0]])
    chain = EMHiddenMarkov.from_parameters([1, 0], [[1, 0], [0.5, 0.5]], emission)
    X = np.array([[0.0], [2.0], [0.0], [1.0]])
    online = chain.online()
    state_proba, log_p = in_blocks(online, X, (1,))
    assert_array_equal(log_p, [0, -np.inf, 0, -np.inf])
    assert_array_equal(state_proba, [[1, 0]] * 4)
    assert online.log_likelihood == -np.inf


def test_reset_begins_a_new_sequence():
    chain = EMHiddenMarkov(3, random_state=0).fit(REAL)
    online = chain.online()
    first = online.update(REAL[:50])
    again = online.reset().update(REAL[:50])
    assert_array_equal(again.state_proba, first.state_proba)
    assert_array_equal(again.log_p, first.log_p)
    assert online.n_rows == 50
    assert_array_equal(online.reset().state_proba, chain.startprob_)
    assert (online.n_rows, online.log_likelihood) == (0, 0.0)


def test_copies_and_pickles_go_on_from_the_same_row():
    chain = EMHiddenMarkov(3, random_state=0).fit(REAL)
    online = chain.online()
    online.update(REAL[:100])
    others = [pickle.loads(pickle.dumps(online)), copy.deepcopy(online), copy.copy(online)]
    expected = online.update(REAL[100:200])
    for other in others:
        found = other.update(REAL[100:200])
        assert_array_equal(found.state_proba, expected.state_proba)
        assert_array_equal(found.log_p, expected.log_p)


def test_a_filter_does_not_follow_the_model():
    chain = EMHiddenMarkov(2, random_state=0).fit(REAL)
    online, expected = chain.online(), chain.score_samples(REAL)
    chain.means_[0] = 0.0
    chain.emission_.means_ = chain.means_ + 1.0
    assert_allclose(online.update(REAL[:100]).log_p, expected[:100], rtol=1e-12)
    chain.set_params(n_components=3).fit(REAL[:50])
    assert_allclose(online.update(REAL[100:]).log_p, expected[100:], rtol=1e-12)


def test_names_dtypes_and_forecast():
    frame = pd.DataFrame(REAL, columns=["wait", "duration"])
    chain = EMHiddenMarkov(2, random_state=0).fit(frame)
    online = chain.online()
    found = online.update(frame[:5])
    assert_allclose(found.log_p, chain.score_samples(frame[:5]))
    with pytest.raises(ValueError, match="feature names"):
        online.update(frame[["duration", "wait"]])
    assert online.n_rows == 5
    ahead, expected = online.forecast(3), chain.forecast(frame[:5], 3)
    for part, other in zip(ahead, expected, strict=True):
        assert_allclose(part, other, rtol=1e-12)
    assert_array_equal(ahead.index, [5, 6, 7])
    single = EMHiddenMarkov(2, random_state=0).fit(REAL).online().update(REAL.astype(np.float32))
    assert {part.dtype for part in single} == {np.dtype(np.float32)}


def test_wrong_rows_change_nothing():
    online = EMHiddenMarkov(2, random_state=0).fit(REAL).online()
    with pytest.raises(ValueError, match="needs at least one update"):
        online.forecast(1)
    online.update(REAL[:3])
    before = online.state_proba
    for X, match in (
        ([[np.inf, 1.0]], "infinity"),
        ([[1.0]], "features"),
        ([1.0, 2.0], "2D"),
        ([REAL[:2], REAL[:2]], "update takes one sequence: X holds 2"),
        (REAL[:0], "0 sample"),
    ):
        with pytest.raises(ValueError, match=match):
            online.update(X)
    assert_array_equal(online.state_proba, before)
    assert online.n_rows == 3
