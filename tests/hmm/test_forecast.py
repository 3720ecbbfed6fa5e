"""Forecasts against sums over all paths, distribution functions and draws; and their times."""

import pickle
from itertools import product

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import brentq

from skvae import EMHiddenMarkov
from skvae.datasets import load_geyser
from skvae.emissions.poisson import PoissonParameters
from skvae.hmm import (
    ColumnEmission,
    Forecast,
    GaussianEmission,
    PoissonEmission,
    StudentTEmission,
)
from tests.emissions.test_defaults import EMISSIONS, angles, counts, gaussian
from tests.hmm.test_online import chain_of
from tests.hmm_oracles import every_path, log_emission

REAL = load_geyser().data
every_emission = pytest.mark.parametrize("emission", EMISSIONS.values(), ids=EMISSIONS)


def proba_by_enumeration(chain, X, n_steps):
    """Return p(z_{T+h} | x) by the sum over all paths of T + n_steps rows."""
    logs = log_emission(X, chain.emission_)
    ahead = np.vstack([logs, np.zeros((n_steps, logs.shape[1]))])  # nothing is observed
    paths = every_path(chain.startprob_, chain.transmat_, ahead)
    weights = paths.probabilities()
    found = np.zeros((n_steps, logs.shape[1]))
    for h in range(n_steps):
        np.add.at(found[h], paths.paths[:, len(X) + h], weights)
    return found


# The distribution ---------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
def test_states_and_moments_are_sums_over_paths(seed):
    chain = chain_of(gaussian("full", seed), seed)
    X, _ = chain.sample(4, random_state=seed)
    X[2] = np.nan
    forecast = chain.forecast(X, 3)
    proba = proba_by_enumeration(chain, X, 3)
    assert isinstance(forecast, tuple)
    assert_allclose(forecast.state_proba, proba, rtol=1e-10)
    _, mean, covariance = forecast
    assert_allclose(mean, proba @ chain.means_, rtol=1e-10)
    second = np.einsum("kd,ke->kde", chain.means_, chain.means_) + chain.covariances_
    expected = np.einsum("hk,kde->hde", proba, second) - mean[:, :, None] * mean[:, None]
    assert_allclose(covariance, expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_quantiles_of_gaussians_are_roots_of_the_mixture(seed):
    chain = chain_of(gaussian("full", seed), seed)
    chain.means_ = 10 * chain.means_  # with gaps between the states
    forecast = chain.forecast(chain.sample(5, random_state=0)[0], 4)
    deviations = np.sqrt(chain.covariances_.diagonal(axis1=1, axis2=2))
    for q in (1e-12, 0.05, 0.5, 0.731, 0.999):
        found = forecast.quantile(q)
        for h, d in product(range(4), range(2)):

            def excess(x, h=h, d=d, q=q):
                below = stats.norm.cdf(x, chain.means_[:, d], deviations[:, d])
                return forecast.state_proba[h] @ below - q

            assert_allclose(found[h, d], brentq(excess, -1e3, 1e3, xtol=1e-12), rtol=1e-9)


@every_emission
def test_quantiles_are_the_smallest_values_with_enough_probability(emission):
    chain = chain_of(emission)
    forecast = chain.forecast(chain.sample(5, random_state=0)[0], 3)
    parameters = emission.parameters()

    def below(x):
        return np.einsum("hk,hkd->hd", forecast.state_proba, parameters.cdf(x))

    for q in (0.02, 0.3, 0.5, 0.9, 0.995):
        x = forecast.quantile(q)
        least = 1e-9 * (1.0 + np.abs(x))
        assert (below(x + least) >= q).all()
        assert (below(x - least) < q + 1e-12).all()
    lower, upper = forecast.interval(0.8)
    assert_allclose(lower, forecast.quantile(0.1), rtol=1e-12)
    assert_allclose(upper, forecast.quantile(0.9), rtol=1e-12)


def test_quantiles_of_counts_are_whole_numbers():
    chain = chain_of(counts())
    forecast = chain.forecast(chain.sample(5, random_state=0)[0], 2)
    values = np.arange(60)
    for q in (0.01, 0.4, 0.97):
        found = forecast.quantile(q)
        for h, d in product(range(2), range(2)):
            below = forecast.state_proba[h] @ stats.poisson.cdf(
                values, chain.emission_.rates_[:, [d]]
            )
            assert found[h, d] == values[np.argmax(below >= q)]
    zero = EMHiddenMarkov.from_parameters([1], [[1]], PoissonEmission.from_parameters([[0.01]]))
    assert_array_equal(zero.forecast([[0]], 1).interval(0.9), [[[0]], [[0]]])


def test_intervals_hold_their_share_of_the_rows_that_follow():
    chain = EMHiddenMarkov(3, random_state=0).fit(REAL)
    rng, hits, prefix = np.random.RandomState(0), [], REAL[:40]
    lower, upper = chain.forecast(prefix, 5).interval(0.8)
    for _ in range(2000):
        X, _ = chain.sample(5, prefix=prefix, random_state=rng)
        hits.append((lower <= X) & (upper >= X))
    assert_allclose(np.mean(hits, axis=0), 0.8, atol=4 * np.sqrt(0.16 / 2000))


@every_emission
def test_draws_have_the_moments_and_the_distribution(emission):
    chain, n = chain_of(emission), 4000
    forecast = chain.forecast(chain.sample(5, random_state=0)[0], 3)
    draws = forecast.sample(n, random_state=0)
    assert draws.shape == (n, 3, emission.n_features_in_)
    for q in (0.1, 0.5, 0.9):
        below = np.einsum(
            "hk,hkd->hd", forecast.state_proba, emission.parameters().cdf(forecast.quantile(q))
        )
        share = (draws <= forecast.quantile(q)).mean(axis=0)
        assert_allclose(share, below, atol=4 * np.sqrt(0.25 / n))


def test_draws_are_paths_and_not_separate_steps():
    """A chain that never leaves its state: all steps of a draw are in one of the two."""
    emission = GaussianEmission.from_parameters([[0.0], [100.0]], [1.0, 1.0], "spherical")
    chain = EMHiddenMarkov.from_parameters([0.5, 0.5], np.eye(2), emission)
    draws = chain.forecast([[np.nan]], 4).sample(500, random_state=0) > 50
    assert (draws == draws[:, :1]).all()
    assert 0.4 < draws[:, 0].mean() < 0.6
    assert_array_equal(
        chain.forecast([[np.nan]], 4).sample(5, random_state=1),
        chain.forecast([[np.nan]], 4).sample(5, random_state=1),
    )


def test_without_a_distribution_function_quantiles_are_those_of_draws(monkeypatch):
    chain = chain_of(counts())
    forecast = chain.forecast([[1, 2]], 3)
    exact = forecast.quantile([0.1, 0.5, 0.9])
    monkeypatch.delattr(PoissonParameters, "cdf")
    drawn = forecast.quantile([0.1, 0.5, 0.9])
    assert np.abs(drawn - exact).max() <= 1
    assert_array_equal(drawn, forecast.quantile([0.1, 0.5, 0.9]))


def test_shapes_of_quantiles_and_wrong_arguments():
    chain = EMHiddenMarkov(2, random_state=0).fit(REAL)
    forecast = chain.forecast(REAL, 3)
    assert forecast.quantile(0.5).shape == (3, 2)
    assert forecast.quantile([0.5]).shape == (1, 3, 2)
    assert forecast.interval()[0].shape == (3, 2)
    for bad in (0, 1, 1.5, -0.1, np.nan, "half", [0.5, 1.0], [], [[0.5]]):
        with pytest.raises(ValueError, match=r"^q"):
            forecast.quantile(bad)
    for bad in (0, 1, [0.5], None, "most"):
        with pytest.raises(ValueError, match=r"^level"):
            forecast.interval(bad)
    for bad in (0, 1.5, None):
        with pytest.raises(ValueError, match="n_samples="):
            forecast.sample(bad)
    with pytest.raises(ValueError, match="random_state="):
        forecast.sample(2, random_state="seed")
    with pytest.raises(ValueError, match="quantile needs one that EMHiddenMarkov"):
        Forecast(*forecast).quantile(0.5)


def test_forecasts_are_kept_when_the_model_changes_and_pickled():
    chain = EMHiddenMarkov(2, random_state=0).fit(REAL)
    forecast = chain.forecast(REAL, 3)
    interval = forecast.interval(0.5)
    chain.means_[:] = 0.0
    chain.set_params(n_components=3).fit(REAL[:100])
    assert_array_equal(forecast.interval(0.5), interval)
    again = pickle.loads(pickle.dumps(forecast))
    assert_array_equal(again.interval(0.5), interval)
    assert_array_equal(again.index, forecast.index)
    assert_array_equal(again.mean, forecast.mean)


# Times --------------------------------------------------------------------------------------------


DAYS = pd.date_range("2024-02-27", periods=4, name="day")
REGULAR = {
    "days": (DAYS, pd.date_range("2024-03-02", periods=3, name="day")),
    "without a frequency": (DAYS._with_freq(None), pd.date_range("2024-03-02", periods=3)),
    "two days": (DAYS[:2]._with_freq(None), pd.date_range("2024-02-29", periods=3)),
    "hours": (
        pd.date_range("2024-03-30 22:00", periods=4, freq="h", tz="Europe/Zurich"),
        pd.date_range("2024-03-31 03:00", periods=3, freq="h", tz="Europe/Zurich"),
    ),
    "working days": (
        pd.bdate_range("2024-03-01", periods=5)[:4],
        pd.DatetimeIndex(["2024-03-07", "2024-03-08", "2024-03-11"]),
    ),
    "months": (
        pd.date_range("2023-11-30", periods=4, freq="ME"),
        pd.DatetimeIndex(["2024-03-31", "2024-04-30", "2024-05-31"]),
    ),
    "periods": (
        pd.period_range("2023Q3", periods=4, freq="Q"),
        pd.period_range("2024Q3", periods=3, freq="Q"),
    ),
    "range": (pd.RangeIndex(10, 18, 2, name="t"), pd.RangeIndex(18, 24, 2, name="t")),
    "whole numbers": (pd.Index([7, 10, 13, 16]), pd.Index([19, 22, 25])),
    "numbers": (pd.Index([0.1, 0.2, 0.3, 0.4]), pd.Index([0.5, 0.6, 0.7])),
    "durations": (
        pd.to_timedelta([0, 5, 10, 15], unit="s"),
        pd.to_timedelta([20, 25, 30], unit="s"),
    ),
}
IRREGULAR = {
    "days with a gap": DAYS[[0, 1, 3]],
    "one day": DAYS[:1]._with_freq(None),
    "equal days": DAYS[[0, 0, 0]],
    "periods with a gap": pd.period_range("2024-01", periods=4, freq="M")[[0, 1, 3]],
    "numbers with a gap": pd.Index([1.0, 2.0, 4.0]),
    "one number": pd.Index([1.0]),
    "names": pd.Index(["a", "b", "c"]),
    "flags": pd.Index([True, False]),
    "two levels": pd.MultiIndex.from_tuples([(0, 1), (0, 2), (1, 3)]),
}


def on(index, values=REAL):
    """Return rows with an index."""
    return pd.DataFrame(values[: len(index)], index=index, columns=["wait", "duration"])


@pytest.fixture(scope="module")
def chain():
    return EMHiddenMarkov(2, random_state=0).fit(on(pd.RangeIndex(299)))


@pytest.mark.parametrize(("index", "expected"), REGULAR.values(), ids=REGULAR)
def test_regular_times_go_on(chain, index, expected):
    found = chain.forecast(on(index), 3).index
    assert type(found) is type(expected)
    assert found.name == index.name
    if isinstance(expected, pd.Index) and expected.dtype == float:
        assert_allclose(found, expected)
    else:
        assert list(found) == list(expected)


@pytest.mark.parametrize("index", IRREGULAR.values(), ids=IRREGULAR)
def test_there_are_no_times_without_a_rule(chain, index):
    forecast = chain.forecast(on(index), 3)
    assert forecast.index is None
    assert_allclose(forecast.mean, chain.forecast(on(pd.RangeIndex(len(index))), 3).mean)


def test_times_of_arrays_are_rows_and_each_sequence_has_its_own(chain):
    arrays = EMHiddenMarkov(2, random_state=0).fit(REAL)
    assert_array_equal(arrays.forecast(REAL[:10], 2).index, [10, 11])
    found = arrays.forecast(REAL[:10], 2, groups=[0] * 4 + [1] * 6)
    assert [list(each.index) for each in found] == [[4, 5], [6, 7]]
    assert [list(f.index) for f in arrays.forecast(REAL[:12].reshape(3, 4, 2), 1)] == [[4]] * 3
    frame = on(pd.date_range("2024-01-01", periods=10))
    by_groups = chain.forecast(frame, 2, groups=[0] * 4 + [1] * 6)
    by_list = chain.forecast([frame[:4], frame[4:]], 2)
    for found in (by_groups, by_list):
        assert [str(each.index[0].date()) for each in found] == ["2024-01-05", "2024-01-11"]
    assert_array_equal(by_list[0].feature_names, ["wait", "duration"])


# Continued sequences ------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(2))
def test_continued_sequences_have_the_distribution_of_the_future(seed):
    """Pairs of states and the next row, against sums over all paths."""
    chain = chain_of(gaussian("diag", seed), seed)
    prefix, _ = chain.sample(4, random_state=seed)
    rng, n = np.random.RandomState(0), 4000
    drawn = [chain.sample(2, prefix=prefix, random_state=rng) for _ in range(n)]
    states = np.array([z for _, z in drawn])
    pairs = np.zeros((3, 3))
    np.add.at(pairs, (states[:, 0], states[:, 1]), 1 / n)
    first = proba_by_enumeration(chain, prefix, 1)[0]
    assert_allclose(pairs, first[:, None] * chain.transmat_, atol=4 * np.sqrt(0.25 / n))
    X = np.array([X[0] for X, _ in drawn])
    forecast = chain.forecast(prefix, 1)
    error = 4 * np.sqrt(forecast.covariance[0].diagonal() / n)
    assert (np.abs(X.mean(axis=0) - forecast.mean[0]) < error).all()


def test_prefixes_are_one_checked_sequence():
    chain = EMHiddenMarkov(2, random_state=0).fit(REAL)
    assert chain.sample(3, prefix=REAL[:5].astype(np.float32), random_state=0)[0].shape == (3, 2)
    for prefix, match in (
        ([REAL[:3], REAL[:3]], "sample takes one sequence: prefix holds 2"),
        ([[1.0]], "features"),
        ([[np.inf, 0]], "infinity"),
    ):
        with pytest.raises(ValueError, match=match):
            chain.sample(3, prefix=prefix)


def test_columns_with_and_without_a_distribution_function():
    parts = [("angle", angles(), [0, 2]), ("level", gaussian("full"), [3, 1])]
    chain = chain_of(ColumnEmission.from_parameters(parts))
    forecast = chain.forecast(chain.sample(5, random_state=0)[0], 3)
    found = forecast.quantile([0.1, 0.6])
    deviations = np.sqrt(gaussian("full").covariances_.diagonal(axis1=1, axis2=2))
    for q, values in zip((0.1, 0.6), found, strict=True):
        below = stats.norm.cdf(values[:, None, [3, 1]], gaussian("full").means_, deviations)
        assert_allclose(np.einsum("hk,hkd->hd", forecast.state_proba, below), q, rtol=1e-9)
        share = (forecast.sample(20_000, random_state=1) <= values).mean(axis=0)
        assert_allclose(share, q, atol=0.03)


@pytest.mark.parametrize("dof", [0.3, 1.0, 2.0])
def test_quantiles_without_moments(dof):
    """Student-t emissions of few degrees of freedom have no variance, or no mean."""
    emission = StudentTEmission.from_parameters([[3.0]], [[[4.0]]], dof)
    forecast = EMHiddenMarkov.from_parameters([1], [[1]], emission).forecast([[0.0]], 1)
    q = [0.001, 0.5, 0.99]
    assert_allclose(forecast.quantile(q).ravel(), stats.t.ppf(q, dof, 3, 2), rtol=1e-8)


@pytest.mark.parametrize(("mean", "scale"), [(1e12, 1.0), (0.0, 1e-150), (-5.0, 1e100)])
def test_quantiles_far_from_zero_and_in_any_unit(mean, scale):
    emission = GaussianEmission.from_parameters([[mean]], [scale**2], "spherical")
    forecast = EMHiddenMarkov.from_parameters([1], [[1]], emission).forecast([[mean]], 1)
    for q in (0.01, 0.5, 0.9):
        expected = stats.norm.ppf(q, mean, scale)
        assert_allclose(forecast.quantile(q), [[expected]], rtol=1e-12, atol=1e-12 * scale)
