"""Fits in parallel, in threads, processes, forks: serial answers, no deadlock, pools given back."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from joblib import Parallel, delayed
from joblib.externals.loky import get_reusable_executor
from sklearn.base import clone
from threadpoolctl import threadpool_info, threadpool_limits

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov, VariationalAutoencoder
from skvae.blocks import Workers
from tests.combinations import slow
from tests.faults.test_interruptions import run_script, surroundings
from tests.problems import blobs

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore::skvae.vae.EffectiveSizeWarning",
)

_ASCENT = {"random_state": 0, "max_iter": 4, "tol": 0.0}
ASCENTS = [
    EMGaussianMixture(3, n_init=2, n_jobs=2, **_ASCENT),
    EMGaussianMixture(3, covariance_type="diag", acceleration="anderson", **_ASCENT),
    EMHiddenMarkov(3, **_ASCENT),
    EMHiddenMarkov(3, emission="student_t", **_ASCENT),
    BayesianMixtureSVI(3, **_ASCENT),
    BayesianMixtureSVI(3, learning_method="online", batch_size=500, **_ASCENT),
]
NETS = [
    VariationalAutoencoder(2, hidden_layer_sizes=(8,), max_epochs=2, random_state=0, device="cpu"),
    VariationalAutoencoder(1, prior="mixture", max_epochs=2, random_state=1, device="cpu"),
]
LEARNERS = [*ASCENTS, *NETS]


@pytest.fixture(autouse=True)
def _threads_for_little_work(monkeypatch):
    monkeypatch.setattr(sys.modules[Workers.__module__], "_WORTH_THREADS", 0)


@pytest.fixture(scope="module")
def X():
    return blobs(6000, 3, 3)  # several chunks


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


def answers(learner, X):
    """What a fit finds, all of it in numbers."""
    X = X[:300] if isinstance(learner, VariationalAutoencoder) else X
    model = clone(learner).fit(X)
    drawn = model.sample(5)[0]
    return [np.array(model.lower_bounds_), model.score_samples(X), model.transform(X), drawn]


def assert_same(found, expected):
    for one, other in zip(found, expected, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


def test_threads_give_the_serial_answers(X):
    """Sixteen fits of eight kinds, four at a time: bit for bit what each gives alone."""
    with threadpool_limits(2, user_api="blas"):
        before = surroundings()
        serial = [answers(learner, X) for learner in LEARNERS]
        with ThreadPoolExecutor(4) as executor:
            found = list(executor.map(answers, [*LEARNERS, *LEARNERS[::-1]], [X] * 16))
        assert surroundings() == before
    assert_same(found[:8], serial)
    assert_same(found[:7:-1], serial)


@pytest.mark.parametrize("backend", ["threading", *slow("loky")])
def test_joblib_gives_the_serial_answers(backend, X):
    serial = [answers(learner, X) for learner in LEARNERS]
    if backend == "loky":
        # Workers of an earlier test have not loaded torch. joblib would take the memory of torch
        # for a leak, warn, and wait for ever, because a warning is an error here.
        get_reusable_executor().shutdown(wait=True)
    before = surroundings()[0]
    found = Parallel(n_jobs=2, backend=backend)(delayed(answers)(one, X) for one in LEARNERS)
    assert surroundings()[0] == before
    # Processes have a torch of their own, whose number of threads rounds otherwise.
    exact = len(ASCENTS) if backend == "loky" else len(LEARNERS)
    assert_same(found[:exact], serial[:exact])
    for one, other in zip(found[exact:], serial[exact:], strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_allclose(left, right, rtol=1e-3, atol=1e-3)


def threads_in_a_fit(learner, X):
    """(threads for the rows times those of BLAS, threads that there are), the most in a fit."""
    seen, plain = [], Workers.map

    def spying(self, function, n_rows, block, *work):
        def spied(start, stop):
            blas = [p["num_threads"] for p in threadpool_info() if p["user_api"] == "blas"]
            ours = sum(t.name.startswith("skvae") for t in threading.enumerate())
            # One of the two is one: a library may keep a caller's limit from all but the caller.
            seen.append((self.n_threads * max(blas), ours))
            return function(start, stop)

        return plain(self, spied, n_rows, block, *work)

    Workers.map = spying
    try:
        clone(learner).fit(X)
    finally:
        Workers.map = plain
    return np.max(seen, axis=0).tolist()


@pytest.mark.parametrize("learner", ASCENTS, ids=lambda learner: type(learner).__name__)
@pytest.mark.parametrize("limit", [1, 2])
def test_no_more_threads_than_the_limit(learner, limit, X):
    with threadpool_limits(limit, user_api="blas"):
        n_threads, ours = threads_in_a_fit(learner, X)
    runs = learner.n_jobs or 1  # each waits for the chunks of its rows
    assert n_threads <= limit
    assert ours <= limit + runs


@pytest.mark.slow
def test_processes_of_joblib_share_the_processors(X):
    """joblib gives each of its processes a part of them, and a fit asks for no more."""
    import joblib

    found = Parallel(n_jobs=2)(delayed(threads_in_a_fit)(one, X) for one in ASCENTS)
    share = max(1, joblib.cpu_count() // 2)
    assert all(n_threads <= share for n_threads, _ in found)


@pytest.mark.parametrize("learner", LEARNERS, ids=lambda learner: type(learner).__name__)
def test_pools_are_given_back(learner, X):
    X = X[:300]
    with threadpool_limits(2, user_api="blas"):
        before = surroundings()
        model = clone(learner).fit(X)
        assert surroundings() == before
        with pytest.raises(ValueError, match="infinity"):
            model.fit(np.where(X > 0, X, np.inf))
        model.set_params(n_components=0)
        with pytest.raises(ValueError, match="n_components=0"):
            model.fit(X)
        assert surroundings() == before


# With two threads of OpenMP in the parent, k-means of scikit-learn would hang in the child, as it
# does without this library: GNU's OpenMP does not survive a fork.
FORK = """
    import os
    os.environ["OMP_NUM_THREADS"] = "1"
    import multiprocessing, sys, threading, time
    import numpy as np
    from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov

    rng = np.random.default_rng(0)
    X = rng.normal(size=(6000, 3)) + 4.0 * rng.integers(2, size=(6000, 1))
    learners = [EMGaussianMixture, EMHiddenMarkov, BayesianMixtureSVI]

    def bounds(learner):
        return learner(2, random_state=0, max_iter=4, tol=0.0).fit(X).lower_bounds_

    if __name__ == "__main__":
        serial = [bounds(learner) for learner in learners]
        stop = threading.Event()

        def fit_on():
            while not stop.is_set():
                bounds(EMGaussianMixture)

        busy = [threading.Thread(target=fit_on) for _ in range(int(sys.argv[1]))]
        for thread in busy:
            thread.start()
        context = multiprocessing.get_context("fork")
        for trial in range(int(sys.argv[2])):
            time.sleep(0.003 * trial)
            with context.Pool(2) as pool:
                assert pool.map_async(bounds, learners).get(60) == serial, trial
        stop.set()
        for thread in busy:
            thread.join()
        assert [bounds(learner) for learner in learners] == serial
        print("same")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks are safe on Linux alone")
def test_forked_processes_give_the_serial_answers():
    """After fits in the parent, whose threads are gone from the child."""
    assert run_script(FORK, 0, 2) == "same\n"
