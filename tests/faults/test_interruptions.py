"""Ctrl-C and a lack of memory, anywhere in a fit: what was fitted before, and all pools, stay."""

import subprocess
import sys
import textwrap
import threading
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_info

from skvae import (
    BayesianMixtureSVI,
    EMContextFreeGrammar,
    EMGaussianMixture,
    EMHiddenMarkov,
    VariationalAutoencoder,
)
from skvae.blocks import Workers
from skvae.hmm import e_step
from tests.combinations import slow
from tests.faults.lines import interrupted_at, lines_of
from tests.problems import assert_same_state, blobs, state_of

SMALL = {"random_state": 0, "max_iter": 3, "tol": 0.0}
LEARNERS = [
    EMGaussianMixture(2, **SMALL),
    EMGaussianMixture(2, acceleration="anderson", n_init=2, n_jobs=2, **SMALL),
    EMHiddenMarkov(2, **SMALL),
    EMContextFreeGrammar(2, emission="gaussian", rules_init=np.full((2, 2, 2), 0.1), **SMALL),
    BayesianMixtureSVI(2, **SMALL),
    BayesianMixtureSVI(2, learning_method="online", batch_size=20, **SMALL),
    BayesianMixtureSVI(2, moves=("birth", "merge"), **SMALL),
]
NAMES = ["EM", "EM in threads", "chain", "grammar", "memoized", "online", "moves"]
every_learner = pytest.mark.parametrize("learner", LEARNERS, ids=NAMES)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def surroundings():
    """What a fit borrows from the process and has to give back."""
    pools = sorted((p["filepath"], p["num_threads"]) for p in threadpool_info())
    return pools, threading.active_count(), np.geterr(), np.getbufsize(), torch.get_num_threads()


@pytest.fixture(scope="module")
def X():
    return blobs(60, 2, 2)


@every_learner
@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_sums_over_blocks_that_fail(learner, error, method, X, monkeypatch):
    """The sums are all that a fit does with many rows: each of them fails once."""
    monkeypatch.setattr(e_step, "are_few", lambda *_, **__: False)  # a chain's, too
    if method == "partial_fit" and "moves" in learner.get_params():
        learner = clone(learner).set_params(moves=())  # it makes none
    model = clone(learner).fit(X)
    state, before, calls = state_of(model), surroundings(), []
    plain = Workers.map

    def failing(self, function, n_rows, block, *work):
        def fail(start, stop):
            raise error

        calls.append(n_rows)
        return plain(self, fail if len(calls) == due else function, n_rows, block, *work)

    monkeypatch.setattr(Workers, "map", failing)
    due = 0
    other = clone(learner).fit(X)
    calls.clear()
    getattr(other, method)(X)
    n_calls = len(calls)
    assert n_calls > 1
    for due in sorted({1, 2, n_calls // 2, n_calls - 1, n_calls}):  # noqa: B007 (in failing)
        calls.clear()
        with pytest.raises(error):
            getattr(model, method)(X)
        assert_same_state(model, state)
        assert surroundings() == before


@pytest.mark.parametrize("learner", [*LEARNERS[:5], *slow(*LEARNERS[5:])], ids=NAMES)
def test_interruption_in_any_line(learner, X):
    """As a signal would: between two lines, in this thread, wherever it is just then."""
    model = clone(learner).fit(X)
    whole, before = clone(learner).fit(2.0 * X).score_samples(X), surroundings()
    n_lines = lines_of(lambda: model.fit(2.0 * X))
    model.fit(X)
    state, scores = state_of(model), model.score_samples(X)
    rng = np.random.default_rng(0)
    n_tried = 40 if n_lines < 10_000 else 10  # a fit with moves takes its time
    for line in rng.choice(n_lines, size=n_tried, replace=False):
        with pytest.raises(KeyboardInterrupt):
            interrupted_at(line, lambda: model.fit(2.0 * X))
        assert surroundings() == before, f"line {line}"
        found = model.score_samples(X)
        if np.array_equal(found, scores):
            assert_same_state(model, state)
        else:  # it was all but over
            np.testing.assert_array_equal(found, whole)
            model.fit(X)
    np.testing.assert_array_equal(model.fit(2.0 * X).score_samples(X), whole)


def test_training_out_of_memory(X, monkeypatch):
    """The autoencoder keeps its earlier fit too, in whatever batch memory ends."""
    vae = VariationalAutoencoder(1, hidden_layer_sizes=(3,), max_epochs=2, random_state=0).fit(X)
    state, before, plain = state_of(vae), surroundings(), torch.optim.Adam.step
    for due in (1, 3, 6):
        calls = []

        def step(self, *arguments, calls=calls, due=due, **keywords):
            calls.append(1)
            if len(calls) == due:
                raise MemoryError
            return plain(self, *arguments, **keywords)

        monkeypatch.setattr(torch.optim.Adam, "step", step)
        for method in (vae.fit, vae.partial_fit):
            calls.clear()
            if due == 1 or method == vae.fit:
                with pytest.raises(MemoryError):
                    method(X)
            assert_same_state(vae, state)
            assert surroundings() == before


def run_script(text, *arguments, seconds=120):
    """What a script prints in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(text), *map(str, arguments)],
        capture_output=True, text=True, timeout=seconds, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


SIGNALS = """
    import signal, sys, threading, time
    import numpy as np
    from threadpoolctl import threadpool_info
    from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov

    rng = np.random.default_rng(int(sys.argv[1]))
    # More rows than one block, so that there are threads.
    X = rng.normal(size=(90_000, 3)) + 4.0 * rng.integers(2, size=(90_000, 1))
    signal.signal(signal.SIGALRM, signal.default_int_handler)
    info = lambda: [(p["filepath"], p["num_threads"]) for p in threadpool_info()]
    # A thread that was interrupted as it began is still listed.
    alive = lambda: sum(thread.is_alive() for thread in threading.enumerate())
    before, n_threads, n_interrupted = info(), alive(), 0
    for learner in (EMGaussianMixture, EMHiddenMarkov, BayesianMixtureSVI):
        model = learner(2, random_state=0, max_iter=4, tol=0.0)
        new = learner(2, random_state=0, max_iter=4, tol=0.0).fit(2 * X).score_samples(X)
        begin = time.perf_counter()
        old = model.fit(X).score_samples(X)
        longest = 1.2 * (time.perf_counter() - begin)
        for trial in range(int(sys.argv[2])):
            try:
                signal.setitimer(signal.ITIMER_REAL, rng.uniform(1e-4, longest))
                model.fit(2 * X)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except KeyboardInterrupt:
                n_interrupted += 1
            except RuntimeError as error:  # as which it comes out of Python's locks
                assert "lock" in str(error), error
                n_interrupted += 1
            found = model.score_samples(X)
            assert np.array_equal(found, old) or np.array_equal(found, new), learner
            deadline = time.monotonic() + 5.0  # a thread that was just starting has to end first
            while time.monotonic() < deadline and (info() != before or alive() != n_threads):
                time.sleep(0.001)
            assert info() == before, (learner, trial, info(), before)
            assert alive() == n_threads, threading.enumerate()
            if not np.array_equal(found, old):
                model.fit(X)
        print(n_interrupted)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no alarms")
def test_signals_at_random_times():
    interrupted = [int(line) for line in run_script(SIGNALS, 0, 25).split()]
    assert interrupted[0] > 5
    assert interrupted[2] > interrupted[1] > interrupted[0]


def test_lines_are_counted_and_interrupted(X):
    """The tool itself: it stops where it is told, and in this library alone."""
    model = EMGaussianMixture(2, **SMALL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        n_lines = lines_of(lambda: model.fit(X))
        assert n_lines == lines_of(lambda: model.fit(X)) > 100
        interrupted_at(n_lines + 1, lambda: model.fit(X))
    with pytest.raises(KeyboardInterrupt):
        interrupted_at(0, lambda: clone(model).fit(X))
