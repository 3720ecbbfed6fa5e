"""States in another order, their long-run shares, transitions, densities and entropy of paths."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import ConvergenceWarning

from skvae import EMHiddenMarkov
from skvae.datasets import load_geyser
from skvae.hmm import ColumnEmission, GaussianEmission, PoissonEmission
from tests.emissions.test_defaults import EMISSIONS, counts, gaussian
from tests.hmm.test_online import chain_of
from tests.hmm_oracles import enumerate_paths, every_path, log_emission, without_impossible_rows

REAL = load_geyser().data
every_emission = pytest.mark.parametrize("emission", EMISSIONS.values(), ids=EMISSIONS)


# Another order ------------------------------------------------------------------------------------


@every_emission
def test_a_relabelled_model_is_the_same_model(emission):
    chain, order = chain_of(emission), [2, 0, 1]
    X, _ = chain.sample(40, random_state=0)
    X[5, 0] = np.nan
    other = chain.relabel(order)
    assert_array_equal(other.startprob_, chain.startprob_[order])
    assert_array_equal(other.transmat_, chain.transmat_[np.ix_(order, order)])
    assert_allclose(other.score_samples(X), chain.score_samples(X), rtol=1e-10)
    assert_allclose(other.predict_proba(X), chain.predict_proba(X)[:, order], atol=1e-12)
    assert_array_equal(np.array(order)[other.predict(X)], chain.predict(X))
    assert_allclose(other.bic(X), chain.bic(X), rtol=1e-10)
    assert_allclose(other.forecast(X, 2).mean, chain.forecast(X, 2).mean, rtol=1e-9)
    again = other.relabel(np.argsort(order))
    assert_array_equal(again.transmat_, chain.transmat_)


def test_a_relabelled_model_leaves_the_other_alone_and_keeps_everything_else():
    chain = EMHiddenMarkov(3, random_state=0, covariance_type="tied").fit(REAL)
    before = chain.means_.copy()
    other = chain.relabel([1, 2, 0])
    assert_array_equal(other.means_, before[[1, 2, 0]])
    assert_array_equal(other.covariances_, chain.covariances_)
    other.means_ = other.means_ + 1
    assert_array_equal(chain.means_, before)
    for name in ("lower_bound_", "lower_bounds_", "n_iter_", "converged_", "n_samples_seen_"):
        assert getattr(other, name) == getattr(chain, name)


def test_a_continued_fit_has_the_same_priors_structure_and_result():
    """Priors, first values and zeros of each state are in the new order: EM takes the same way."""
    transmat = np.array([[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.1, 0.0, 0.9]])
    wait = GaussianEmission(
        "diag", means_init=[[50.0], [70.0], [90.0]], covariances_init=[[90.0], [80.0], [70.0]]
    )
    parts = [
        ("wait", wait, 0),
        ("count", PoissonEmission(rates_init=[[2.0], [3.0], [4.0]]), 1),
    ]
    X = np.column_stack([REAL[:, 0], np.round(REAL[:, 1])])
    settings = {
        "transmat_init": transmat,
        "transmat_prior": 1.0 + 5 * np.arange(9.0).reshape(3, 3) / 9,
        "startprob_init": [0.2, 0.3, 0.5],
        "startprob_prior": [1.0, 2.0, 3.0],
        "max_iter": 3,
        "tol": 0.0,
        "random_state": 0,
    }
    with pytest.warns(ConvergenceWarning):  # it does not converge
        chain = EMHiddenMarkov(3, emission=ColumnEmission(parts), **settings).fit(X)
    order = [2, 0, 1]
    other = chain.relabel(order)
    assert_array_equal(other.transmat_ == 0, transmat[np.ix_(order, order)] == 0)
    assert other.bic(X) == pytest.approx(chain.bic(X), rel=1e-12)
    assert_array_equal(other.emission.emissions[0][1].means_init, [[90.0], [50.0], [70.0]])
    for model in (chain, other):
        with pytest.warns(ConvergenceWarning):
            model.set_params(warm_start=True).fit(X)
    assert_allclose(other.lower_bounds_, chain.lower_bounds_, rtol=1e-12)
    assert_allclose(other.transmat_, chain.transmat_[np.ix_(order, order)], rtol=1e-8)
    for model in (chain, other):
        model.partial_fit(X[:100])
    assert_allclose(other.lower_bound_, chain.lower_bound_, rtol=1e-12)
    with pytest.warns(ConvergenceWarning):
        new = chain.relabel(order).set_params(warm_start=False).fit(X)
    with pytest.warns(ConvergenceWarning):
        old = chain.set_params(warm_start=False).fit(X)
    assert_allclose(new.transmat_, old.transmat_[np.ix_(order, order)], rtol=1e-8)


def test_fixed_states_follow_the_order():
    settings = {"means_init": [[0.0, 0.0], [80.0, 3.0], [60.0, 4.0]], "fixed": {"means": [0, 2]}}
    chain = EMHiddenMarkov(3, random_state=0, **settings).fit(REAL)
    other = chain.relabel([1, 2, 0])
    assert other.fixed == {"means": [1, 2]}
    assert chain.fixed == {"means": [0, 2]}
    assert_allclose(other.bic(REAL), chain.bic(REAL), rtol=1e-12)
    other.partial_fit(REAL[:50])
    assert_array_equal(other.means_[1:], [[60.0, 4.0], [0.0, 0.0]])
    whole = EMHiddenMarkov(3, random_state=0, **settings).set_params(fixed={"means": None})
    assert whole.fit(REAL).relabel([1, 2, 0]).fixed == {"means": None}


@pytest.mark.parametrize("order", [[0], [0, 0], [0, 2], [0, 1, 2], [0.0, 1.0], "01", None])
def test_an_order_has_each_state_once(order):
    chain = EMHiddenMarkov(2, random_state=0).fit(REAL)
    with pytest.raises(ValueError, match=r"order=.*must have each state from 0 to 1 once"):
        chain.relabel(order)


# The long run -------------------------------------------------------------------------------------


def with_transitions(transmat):
    n = len(transmat)
    emission = PoissonEmission.from_parameters(np.ones((n, 1)))
    return EMHiddenMarkov.from_parameters(np.full(n, 1 / n), transmat, emission)


@pytest.mark.parametrize("n_states", [1, 2, 5, 30])
def test_stationary_distribution_is_kept_by_the_transitions(n_states):
    rng = np.random.default_rng(n_states)
    transmat = rng.dirichlet(np.full(n_states, 0.3), size=n_states)
    found = with_transitions(transmat).stationary_distribution()
    assert_allclose(found @ transmat, found, rtol=1e-12)
    assert found.sum() == pytest.approx(1.0, abs=1e-14)
    power = np.linalg.matrix_power(transmat, 2**20) if n_states > 1 else np.ones((1, 1))
    assert_allclose(power[0], found, rtol=1e-6)


def test_stationary_distribution_is_exact_for_tiny_transitions():
    """Two states: π is proportional to the transitions from the other one."""
    for a, b in ((1e-300, 1e-290), (1e-12, 0.5), (0.3, 0.2)):
        found = with_transitions([[1 - a, a], [b, 1 - b]]).stationary_distribution()
        assert_allclose(found, [b / (a + b), a / (a + b)], rtol=1e-13)


def test_periodic_and_transient_states_and_absorption():
    cycle = [[0, 1, 0], [0, 0, 1], [1, 0, 0]]
    assert_allclose(with_transitions(cycle).stationary_distribution(), 1 / 3)
    left_right = [[0.9, 0.1, 0], [0, 0.9, 0.1], [0, 0, 1]]
    assert_array_equal(with_transitions(left_right).stationary_distribution(), [0, 0, 1])
    transient = [[0.2, 0.4, 0.4], [0, 0.5, 0.5], [0, 0.25, 0.75]]
    assert_allclose(with_transitions(transient).stationary_distribution(), [0, 1 / 3, 2 / 3])


def test_several_closed_classes_are_an_error_that_names_them():
    transmat = [[0.5, 0, 0, 0.5], [0, 1, 0, 0], [0.1, 0.1, 0.7, 0.1], [0.5, 0, 0, 0.5]]
    with pytest.raises(ValueError, match=r"2 classes .* never leaves, \[0, 3\], \[1\]"):
        with_transitions(transmat).stationary_distribution()


# Rows ---------------------------------------------------------------------------------------------


@every_emission
def test_expected_transitions_are_sums_over_paths(emission):
    chain = chain_of(emission)
    X, _ = chain.sample(6, random_state=1)
    X[3, 0] = np.nan
    logs = log_emission(X, emission)
    expected = enumerate_paths(chain.startprob_, chain.transmat_, logs)
    found = chain.expected_transitions(X)
    assert_allclose(found, expected.pairs, rtol=1e-9, atol=1e-14)
    assert found.sum() == pytest.approx(5)
    several = chain.expected_transitions(np.vstack([X, X[:2]]), groups=[0] * 6 + [1] * 2)
    assert_allclose(several[0], expected.pairs, rtol=1e-9, atol=1e-14)
    assert several[1].sum() == pytest.approx(1)
    (listed,) = chain.expected_transitions([X])
    assert_allclose(listed, expected.pairs, rtol=1e-9, atol=1e-14)


@every_emission
def test_log_emissions_are_scipy_s(emission):
    chain = chain_of(emission)
    X, _ = chain.sample(20, random_state=1)
    X[::3, -1] = np.nan
    expected = log_emission(X, emission)
    assert_allclose(chain.log_emissions(X), expected, rtol=1e-8, atol=1e-9)
    parts = chain.log_emissions([X[:5], X[5:]])
    assert_allclose(np.concatenate(parts), expected, rtol=1e-8, atol=1e-9)
    assert chain.log_emissions(X.astype(np.float32)).dtype == np.float32


@every_emission
def test_imputed_values_are_weighted_by_the_smoothed_states(emission):
    chain = chain_of(emission)
    X, _ = chain.sample(7, random_state=2)
    X[3] = X[1, 0] = X[5, -1] = np.nan
    logs = log_emission(X, emission)
    smoothed = enumerate_paths(chain.startprob_, chain.transmat_, logs).smoothed
    expected = emission.parameters().imputed(X, smoothed)
    found = chain.set_params(inference="filter").impute(X)
    assert_allclose(found, expected, rtol=1e-8)
    assert_array_equal(found[~np.isnan(X)], X[~np.isnan(X)])
    both = chain.impute(np.vstack([X, X]), groups=np.repeat([0, 1], 7))
    assert_allclose(both, np.vstack([expected, expected]), rtol=1e-8)
    single = chain.impute([X.astype(np.float32)])[0]
    assert single.dtype == np.float32


def test_imputed_values_are_conditional_expectations_of_all_rows():
    """Importance sampling from whole sequences, which shares no formula with the model."""
    chain = chain_of(gaussian("full", 3), 3)
    X, _ = chain.sample(3, random_state=0)
    X[1, 0] = X[2, 1] = np.nan
    paths = every_path(chain.startprob_, chain.transmat_, log_emission(X, chain.emission_))
    weights = paths.probabilities()
    expected = 0.0
    for path, weight in zip(paths.paths, weights, strict=True):
        mean, covariance = chain.means_[path[1]], chain.covariances_[path[1]]
        slope = covariance[0, 1] / covariance[1, 1]
        expected += weight * (mean[0] + slope * (X[1, 1] - mean[1]))
    assert chain.impute(X)[1, 0] == pytest.approx(expected, rel=1e-10)


def test_imputed_counts_are_means_and_frames_are_taken():
    frame = pd.DataFrame({"a": [1.0, np.nan, 7.0], "b": [0.0, 3.0, np.nan]})
    chain = chain_of(counts())
    chain.feature_names_in_ = np.array(["a", "b"], dtype=object)
    assert np.isfinite(chain.impute(frame)).all()


# Learning and criteria ----------------------------------------------------------------------------


def test_fit_predict_is_fit_and_predict():
    chain = EMHiddenMarkov(3, random_state=0)
    groups = np.repeat(np.arange(13), 23)
    found = chain.fit_predict(REAL, groups=groups)
    assert_array_equal(
        found,
        EMHiddenMarkov(3, random_state=0).fit(REAL, groups=groups).predict(REAL, groups=groups),
    )
    listed = EMHiddenMarkov(3, random_state=0).fit_predict(np.split(REAL, 13))
    assert_array_equal(np.concatenate(listed), found)
    weight = np.repeat(np.arange(13) % 2, 23)
    assert (
        len(
            EMHiddenMarkov(2, random_state=0).fit_predict(
                REAL, groups=groups, sequence_weight=weight
            )
        )
        == 299
    )


@every_emission
def test_icl_is_bic_and_the_entropy_of_paths(emission):
    chain = chain_of(emission)
    X, _ = chain.sample(6, random_state=1)
    X[2, 0] = np.nan
    groups = [0, 0, 0, 0, 1, 1]
    logs = log_emission(X, emission)
    entropy = sum(
        every_path(chain.startprob_, chain.transmat_, part).entropy()
        for part in (logs[:4], logs[4:])
    )
    found = chain.icl(X, groups=groups) - chain.bic(X, groups=groups)
    assert_allclose(found, 2 * entropy, rtol=1e-8, atol=1e-10)
    assert chain.icl([X[:4], X[4:]]) == pytest.approx(chain.icl(X, groups=groups))


def test_icl_of_an_impossible_sequence_is_infinite():
    emission = PoissonEmission.from_parameters([[0.0], [0.0]])
    chain = EMHiddenMarkov.from_parameters([0.5, 0.5], np.full((2, 2), 0.5), emission)
    assert chain.icl([[0.0], [1.0]]) == np.inf


# Irregular times ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_nan_are_gaps_of_irregular_times(seed):
    """Observed at the times 0, 1, 4, 5, 9: powers of the matrix between them, by enumeration."""
    chain, times = chain_of(gaussian("full", seed), seed), np.array([0, 1, 4, 5, 9])
    seen, _ = chain.sample(5, random_state=seed)
    X = np.full((10, 2), np.nan)
    X[times] = seen
    logs, A = log_emission(seen, chain.emission_), chain.transmat_
    alpha, total = chain.startprob_ * np.exp(logs[0]), []
    for t in range(5):
        if t:
            alpha = alpha @ np.linalg.matrix_power(A, times[t] - times[t - 1]) * np.exp(logs[t])
        total.append(np.log(alpha.sum()))
        alpha = alpha / alpha.sum()
    found = chain.score_samples(X)
    assert_allclose(found[times], total, rtol=1e-10)
    assert_allclose(np.delete(found, times), 0.0, atol=1e-14)
    whole = enumerate_paths(chain.startprob_, A, log_emission(X, chain.emission_))
    assert_allclose(chain.predict_proba(X), whole.smoothed, rtol=1e-9)
    assert without_impossible_rows(chain.startprob_, A, logs)[1].sum() == 0
