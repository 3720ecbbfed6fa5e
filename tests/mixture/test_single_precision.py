"""EM on many rows in float32: single precision far from the maximum, float64 near it."""

import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMGaussianMixture
from skvae.blocks import Rows, Workers, workers
from skvae.gaussian.single import SINGLE_TOLERANCE
from skvae.mixture import em
from tests.problems import assert_same_mixture, blobs, run, start


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(em, "_MANY_ROWS", 500)


@pytest.fixture
def singles(monkeypatch):
    """Return a list, to which each E step in single precision that counts adds its bound."""
    found, method = [], em.EMStep._single

    def recorded(step, parameters):
        statistics, bound = method(step, parameters)
        if statistics is not None:
            found.append(bound)
        return statistics, bound

    monkeypatch.setattr(em.EMStep, "_single", recorded)
    return found


def rows(seed=0, n_rows=2000, n_features=4):
    return blobs(n_rows, n_features=n_features, n_components=3, seed=seed).astype(np.float32)


def model(X, seed=0, **parameters):
    """Return a mixture that starts near the centre of the rows, far from its maximum."""
    rng = np.random.default_rng(seed)
    means = X.mean(axis=0) + 0.3 * X.std(axis=0) * rng.normal(size=(3, X.shape[1]))
    return EMGaussianMixture(3, means_init=means, random_state=0, **parameters)


@pytest.mark.parametrize("seed", range(3))
def test_the_fit_is_that_of_the_float64_copy(seed, singles):
    X = rows(seed)
    single = model(X, seed, tol=1e-7, max_iter=500).fit(X)
    assert len(singles) >= 2
    double = model(X, seed, tol=1e-7, max_iter=500).fit(X.astype(np.float64))
    assert single.converged_
    assert single.n_iter_ == pytest.approx(double.n_iter_, abs=2)
    assert single.lower_bound_ == pytest.approx(double.lower_bound_, abs=1e-6)
    assert single.lower_bound_ == pytest.approx(single.score(X.astype(np.float64)), rel=1e-12)
    assert_allclose(single.means_, double.means_, rtol=1e-3, atol=1e-3)


def test_bounds_rise_and_are_those_of_their_parameters(singles):
    X = rows()
    fitted = model(X, tol=1e-9, max_iter=300).fit(X)
    assert len(singles) >= 2
    assert np.diff(fitted.lower_bounds_).min() >= -1e-12
    # Of two bounds, one is computed in single precision; they differ by less than is stated.
    for n_iter in range(1, len(singles)):
        early = run(model(X), X, n_iter)
        assert abs(singles[n_iter] - early.lower_bound_) < 0.1 * SINGLE_TOLERANCE


def test_a_step_is_that_of_float64_up_to_rounding():
    X = rows()
    with workers(1) as pool:
        problem = em.MixtureProblem(model(X), Rows(X), pool)
        first = problem.first(np.random.RandomState(0))
        step = problem.step(pool, 0)
        assert step.single
        found, bound = step(first)
        assert step.single
        step.single = False
        expected, exact = step(first)
    assert 0 < abs(bound - exact) < 1e-5
    for name in ("weights", "means", "covariances"):
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "reason", ["float64", "few rows", "weights", "acceleration", "diag", "one"]
)
def test_other_fits_are_in_float64(reason, singles):
    X, weight, parameters = rows(), None, {}
    if reason == "float64":
        X = X.astype(np.float64)
    if reason == "few rows":
        X = X[:499]
    if reason == "weights":
        weight = np.full(len(X), 1e200)
    if reason == "acceleration":
        parameters["acceleration"] = "anderson"
    if reason == "diag":
        parameters["covariance_type"] = "diag"
    if reason == "one":
        EMGaussianMixture(1).fit(X)
    else:
        model(X, **parameters).fit(X, sample_weight=weight)
    assert singles == []


def test_a_component_that_is_far_from_all_rows_takes_the_step_of_float64(singles):
    """In single precision its responsibilities are cut off, and their ratios are lost."""
    X = rows()
    means = np.stack([X.mean(axis=0), X.mean(axis=0) + 1, X.mean(axis=0) + 60 * X.std(axis=0)])
    given = {"means_init": means, "weights_init": np.full(3, 1 / 3)}
    given["precisions_init"] = np.stack([np.diag(1 / X.var(axis=0, dtype=float))] * 3)
    found = run(EMGaussianMixture(3, **given), X, 1)
    assert singles == []
    expected = run(EMGaussianMixture(3, **given), X.astype(np.float64), 1)
    assert_allclose(found.means_, expected.means_, rtol=1e-7)


def test_the_number_of_threads_and_the_layout_do_not_matter(monkeypatch):
    monkeypatch.setattr(sys.modules[Workers.__module__], "_WORTH_THREADS", 0)
    X = rows(n_rows=6000)
    first = run(model(X), X, 4)
    for other in (run(model(X, n_jobs=2), X, 4), run(model(X), np.asfortranarray(X), 4)):
        assert_array_equal(other.means_, first.means_)


def test_a_large_offset_and_missing_values(singles):
    X = rows() + np.float32(1000)
    X[::7, 1] = np.nan
    parameters, _ = start(np.nan_to_num(X.astype(float), nan=1000.0), 3, "full")
    found = run(EMGaussianMixture(**parameters), X, 5)
    expected = run(EMGaussianMixture(**parameters), X.astype(np.float64), 5)
    assert singles
    assert_same_mixture(found, expected, rtol=1e-4, atol=1e-4)


def test_an_interrupted_fit_goes_on_to_the_same_result(tmp_path, monkeypatch):
    X, path = rows(), tmp_path / "fit.checkpoint"
    whole = model(X, tol=1e-6).fit(X)
    calls, method = [], em.EMStep.__call__

    def interrupted(step, parameters):
        calls.append(step.single)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return method(step, parameters)

    monkeypatch.setattr(em.EMStep, "__call__", interrupted)
    with pytest.raises(KeyboardInterrupt):
        model(X, tol=1e-6, checkpoint=path).fit(X)
    assert calls[-1]  # in single precision
    continued = model(X, tol=1e-6, checkpoint=path).fit(X)
    assert continued.lower_bounds_ == whole.lower_bounds_
    assert_array_equal(continued.means_, whole.means_)
