"""n_init, n_jobs, seeds, collapsing components, progress lines, Ctrl-C."""

import re
import signal
import time
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info

from skvae import EMGaussianMixture
from tests.problems import (
    COVARIANCE_TYPES,
    assert_same_mixture,
    assert_same_state,
    blobs,
    corners,
    on_the_floor,
    run,
    start,
    state_of,
)


@on_the_floor
def test_the_best_of_the_runs_is_kept():
    X = blobs(200, n_features=2, n_components=6, seed=3)
    gains = []
    for seed in range(6):
        model = EMGaussianMixture(
            6, init_params="random_from_data", random_state=seed, max_iter=3000
        )
        one = clone(model).fit(X)
        many = clone(model).set_params(n_init=8).fit(X)
        assert many.lower_bounds_[-1] == many.lower_bound_
        assert len(many.lower_bounds_) == many.n_iter_
        assert_allclose(many.lower_bound_, many.score(X), rtol=0, atol=1e-10)
        gains.append(many.lower_bound_ - one.lower_bound_)
    assert min(gains) > -1e-9  # the first of the runs is the only one of n_init=1
    assert max(gains) > 1e-2


@pytest.mark.parametrize("init_params", ["kmeans", "random"])
def test_number_of_jobs_does_not_change_a_bit(init_params):
    X = blobs(400, n_components=5)
    model = EMGaussianMixture(5, n_init=4, init_params=init_params, random_state=0, max_iter=2000)
    reference = clone(model).fit(X)
    for n_jobs in (1, 2, -1):
        other = clone(model).set_params(n_jobs=n_jobs).fit(X)
        assert_same_mixture(other, reference, rtol=0, atol=0)
        assert other.lower_bounds_ == reference.lower_bounds_


def test_jobs_with_many_blocks_do_not_change_a_bit():
    X = blobs(30_000, n_components=3)
    model = EMGaussianMixture(3, n_init=2, random_state=0, n_jobs=1)
    one = clone(model).fit(X)
    two = clone(model).set_params(n_jobs=2).fit(X)
    assert_same_mixture(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random", "random_from_data"])
def test_same_seed_same_bits(init_params):
    X = blobs(300)
    model = EMGaussianMixture(3, init_params=init_params, random_state=3, n_init=2, max_iter=3000)
    one, two = clone(model).fit(X), clone(model).fit(X)
    assert_same_mixture(one, two, rtol=0, atol=0)
    assert one.lower_bounds_ == two.lower_bounds_
    instance = model.set_params(random_state=np.random.RandomState(3))
    assert_same_mixture(instance.fit(X), one, rtol=0, atol=0)


@pytest.mark.parametrize("random_state", [0, "instance"])
def test_global_random_state_is_untouched(random_state):
    X = blobs(200)
    if random_state == "instance":
        random_state = np.random.RandomState(0)
    before = np.random.get_state()  # noqa: NPY002
    model = EMGaussianMixture(3, random_state=random_state, n_init=2, n_jobs=2, max_iter=2000)
    model.fit(X).partial_fit(X)
    model.sample(10)
    model.sample(10, random_state=1)
    for left, right in zip(np.random.get_state(), before, strict=True):  # noqa: NPY002
        assert_array_equal(left, right)


def test_no_seed_follows_the_global_state():
    X = blobs(200)
    fits = []
    saved = np.random.get_state()  # noqa: NPY002
    try:
        for _ in range(2):
            np.random.seed(5)  # noqa: NPY002
            fits.append(EMGaussianMixture(3, init_params="random", max_iter=3000).fit(X))
    finally:
        np.random.set_state(saved)  # noqa: NPY002
    assert_same_mixture(*fits, rtol=0, atol=0)


def crowded():
    """Two clouds and a pair of distant twins, which a third component likes to sit on alone."""
    rng = np.random.default_rng(0)
    clouds = np.vstack([rng.normal(size=(100, 2)), rng.normal([8, 0], 1, size=(100, 2))])
    return np.vstack([clouds, [[4.0, 9.0]] * 2])


def test_a_collapsed_start_is_reported_and_made_good():
    X = crowded()
    recovered = 0
    for seed in range(12):
        model = EMGaussianMixture(
            3, reg_covar=0, random_state=seed, init_params="k-means++", max_iter=3000
        )
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            try:
                model.fit(X)
            except ValueError as error:
                assert "reg_covar" in str(error)  # noqa: PT017
                continue
        reported = [w for w in record if "collaps" in str(w.message)]
        assert all(issubclass(w.category, ConvergenceWarning) for w in reported)
        recovered += bool(reported)
        assert np.linalg.eigvalsh(model.covariances_).min() > 0
        assert np.isfinite(model.lower_bound_)
        assert min(np.diff(model.lower_bounds_)) > -1e-10
    assert recovered > 0


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("n_jobs", [None, 2])
def test_when_every_start_collapses_the_error_says_what_to_change(covariance_type, n_jobs):
    X = np.repeat([[0.0, 0.0], [1.0, 5.0]], 10, axis=0)
    model = EMGaussianMixture(1, random_state=0).fit(blobs(50, n_features=2))
    model.set_params(
        n_components=2, reg_covar=0, covariance_type=covariance_type, n_init=2, n_jobs=n_jobs
    )
    state = state_of(model)
    with pytest.raises(ValueError, match=r"(?s)n_components.*reg_covar|reg_covar.*n_components"):
        model.fit(X)
    assert_same_state(model, state)


@on_the_floor
def test_the_floor_saves_what_would_collapse():
    X = crowded()
    for seed in range(4):
        model = EMGaussianMixture(3, random_state=seed, max_iter=3000).fit(X)
        assert np.linalg.eigvalsh(model.covariances_).min() > 0
        assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-10)


@on_the_floor
def test_more_components_than_clusters():
    X = corners(20)
    model = EMGaussianMixture(30, random_state=0, max_iter=5000).fit(X)
    assert np.isfinite(model.means_).all()
    assert_allclose(model.weights_.sum(), 1.0, rtol=1e-10)
    assert min(np.diff(model.lower_bounds_)) > -1e-9
    assert_allclose(model.lower_bound_, model.score(X), rtol=0, atol=1e-9)


def blas_threads():
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]


@pytest.mark.parametrize("outcome", ["fit", "error"])
def test_threads_of_the_linear_algebra_are_as_before(outcome):
    before = blas_threads()
    assert before
    model = EMGaussianMixture(2, random_state=0, n_init=2, n_jobs=2)
    if outcome == "fit":
        model.fit(blobs(100)).score(blobs(100))
    else:
        with pytest.raises(ValueError, match="reg_covar"):
            model.set_params(reg_covar=0).fit(np.zeros((20, 2)))
    assert blas_threads() == before


@pytest.mark.parametrize("acceleration", [None, "anderson"])
def test_silent_by_default(capfd, acceleration):
    X = blobs(200)
    model = EMGaussianMixture(
        3, n_init=2, n_jobs=2, random_state=0, acceleration=acceleration, max_iter=2000
    )
    model.fit(X)
    model.partial_fit(X)
    model.sample(3)
    model.score(X)
    out, err = capfd.readouterr()
    assert out == err == ""


def numbers_in(text):
    return [float(n) for n in re.findall(r"-?\d+\.\d+(?:e[-+]?\d+)?", text)]


def test_verbose_shows_the_bound(capsys):
    X = blobs(200)
    parameters, _ = start(X, 3, "full")
    model = run(EMGaussianMixture(**parameters, verbose=2), X, 15)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 15
    shown = numbers_in(out)
    for bound in (model.lower_bounds_[0], model.lower_bounds_[7], model.lower_bound_):
        assert min(abs(np.array(shown) - bound)) < 0.01
    run(EMGaussianMixture(**parameters, verbose=1, verbose_interval=5), X, 15)
    out, err = capsys.readouterr()
    assert out == ""
    assert "15/15 [" in err
    assert f"start 1, lower bound {model.lower_bound_:.6f}]" in err


def test_verbose_says_which_start(capsys):
    EMGaussianMixture(2, n_init=3, verbose=2, random_state=0, max_iter=1000).fit(blobs(100))
    out = capsys.readouterr().out
    assert len(out.splitlines()) >= 3
    assert numbers_in(out)


@pytest.mark.parametrize("settings", [{}, {"n_init": 4, "n_jobs": 2}, {"acceleration": "anderson"}])
def test_ctrl_c_keeps_what_was_fitted_before(settings):
    def interrupt(*_):
        raise KeyboardInterrupt

    X = blobs(20_000, n_components=4, separation=1.0)
    model = EMGaussianMixture(4, random_state=0, tol=0.1).fit(X)
    model.set_params(tol=0.0, max_iter=1_000_000, **settings)
    state = state_of(model)
    threads = blas_threads()
    previous = signal.signal(signal.SIGALRM, interrupt)
    began = time.perf_counter()
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert time.perf_counter() - began < 20
    assert blas_threads() == threads
    assert_same_state(model, state)
    assert np.isfinite(model.score(X))
