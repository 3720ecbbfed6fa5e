"""Anderson acceleration: the same optimum in fewer steps, and never a step down."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvae import EMGaussianMixture
from tests import oracles
from tests.problems import (
    COVARIANCE_TYPES,
    assert_same_mixture,
    blobs,
    knock_out,
    on_the_floor,
    run,
    start,
)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("reg_covar", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bound_never_falls_and_is_the_score(covariance_type, reg_covar, seed):
    X = blobs(200, seed=seed, separation=1.0)
    parameters, _ = start(X, 3, covariance_type, seed=seed)
    model = EMGaussianMixture(**parameters, acceleration="anderson", reg_covar=reg_covar)
    run(model, X, 80)
    assert min(np.diff(model.lower_bounds_)) > -1e-11
    assert model.lower_bounds_[-1] == model.lower_bound_
    assert len(model.lower_bounds_) == model.n_iter_
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)


def steps_to_the_bound(covariance_type, seed, missing=False):
    """E steps to within 1e-6 nats of a long plain run: (plain, accelerated, gain in the end)."""
    X = blobs(400, n_components=2, separation=1.0, seed=seed)
    X = knock_out(X, 0.15) if missing else X
    parameters, _ = start(X, 2, covariance_type)
    parameters["reg_covar"] = 0
    long = {"tol": 1e-10, "max_iter": 20000}
    plain = EMGaussianMixture(**parameters, **long).fit(X)
    fast = EMGaussianMixture(**parameters, **long, acceleration="anderson").fit(X)
    target = plain.lower_bound_ - 1e-6
    slow, quick = (
        int(np.argmax(np.asarray(model.lower_bounds_) >= target)) + 1 for model in (plain, fast)
    )
    # An accelerated iteration may take more than one E step: those are what counts.
    again = run(EMGaussianMixture(**parameters, acceleration="anderson"), X, quick)
    assert again.lower_bound_ >= target
    return slow, again.n_e_steps_, fast.lower_bound_ - plain.lower_bound_


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
def test_reaches_the_bound_of_a_long_plain_run_in_fewer_steps(covariance_type, missing):
    slow, quick, gain = steps_to_the_bound(covariance_type, 1, missing)
    assert slow >= 20  # an easy problem would show nothing
    assert quick < slow
    assert gain > -1e-8


def test_halves_the_steps_where_em_is_slow():
    problems = [(kind, seed) for kind in ("full", "diag", "spherical") for seed in (0, 1)]
    steps = np.array([steps_to_the_bound(*problem)[:2] for problem in problems])
    slow = steps[steps[:, 0] >= 80]
    assert len(slow) >= 3
    assert slow[:, 1].sum() <= slow[:, 0].sum() / 2


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_ends_where_an_exact_step_stands_still(covariance_type):
    X = blobs(300, n_components=2, separation=2.0, seed=2)
    parameters, _ = start(X, 2, covariance_type)
    model = EMGaussianMixture(
        **parameters, acceleration="anderson", reg_covar=0, tol=1e-12, max_iter=5000
    ).fit(X)
    fitted = oracles.mixture_of(model)
    assert_same_mixture(oracles.em_step(X, fitted), fitted, rtol=1e-3, atol=1e-3)
    assert_allclose(fitted.weights.sum(), 1.0, rtol=1e-12)


@on_the_floor
def test_floor_holds_on_extrapolated_parameters():
    X = np.repeat(blobs(12, n_features=2), 10, axis=0)
    for covariance_type in COVARIANCE_TYPES:
        model = EMGaussianMixture(
            4,
            covariance_type=covariance_type,
            acceleration="anderson",
            reg_covar=0.05,
            random_state=0,
            max_iter=2000,
            tol=1e-8,
        ).fit(X)
        floor = np.diag(oracles.covariance_floor(X, 0.05))
        for matrix in oracles.mixture_of(model).matrices:
            assert np.linalg.eigvalsh(matrix - floor)[0] > -1e-9
        assert min(np.diff(model.lower_bounds_)) > -1e-11


def test_first_step_is_plain_em():
    X = blobs(200)
    parameters, mixture = start(X, 3, "full")
    model = run(EMGaussianMixture(**parameters, reg_covar=0, acceleration="anderson"), X, 1)
    assert_same_mixture(model, oracles.em_step(X, mixture), rtol=1e-8, atol=1e-10)


def test_is_deterministic():
    X = blobs(200, separation=1.5)
    settings = {"acceleration": "anderson", "random_state": 0, "max_iter": 1000, "n_init": 2}
    models = [EMGaussianMixture(3, **settings).fit(X) for _ in range(2)]
    assert models[0].lower_bounds_ == models[1].lower_bounds_
    assert models[0].means_.tobytes() == models[1].means_.tobytes()
