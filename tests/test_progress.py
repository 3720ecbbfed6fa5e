"""Progress bars of long fits: on stderr, closed in every case, loaded only when they are shown."""

import re
import subprocess
import sys

import numpy as np
import pytest
from sklearn.base import clone

from skvae import (
    BayesianMixtureSVI,
    EMContextFreeGrammar,
    EMGaussianMixture,
    EMHiddenMarkov,
)
from skvae.ascent.loop import Collapse
from skvae.ascent.restarts import search
from skvae.blocks import workers
from skvae.progress import SearchBar
from tests.ascent.test_restarts import Problem, StayingStep
from tests.problems import assert_same_state, blobs, state_of

X = blobs(80, seed=3)
MODELS = [
    EMGaussianMixture(2, random_state=0, max_iter=500),
    EMHiddenMarkov(2, random_state=0, max_iter=500),
    BayesianMixtureSVI(2, random_state=0, max_iter=500),
    BayesianMixtureSVI(2, random_state=0, max_iter=500, learning_method="online", tol=0.1),
    EMContextFreeGrammar(2, emission="gaussian", random_state=0, tol=0.1),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@every_model
def test_a_bar_changes_no_result_and_ends_with_the_bound(model, capfd):
    plain = clone(model).fit(X)
    assert capfd.readouterr() == ("", "")
    shown = clone(model).set_params(verbose=1).fit(X)
    out, bar = capfd.readouterr()
    assert out == ""
    n_iter = len(shown.lower_bounds_)
    last = re.split(r"[\r\n]+", bar.strip())[-1]
    assert f"{n_iter}/{n_iter} [" in last
    assert last.endswith(f"start 1, lower bound {shown.lower_bound_:.6f}]")
    assert shown.lower_bounds_ == plain.lower_bounds_


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_one_bar_has_the_iterations_of_all_starts(n_jobs, capfd):
    parameters = {"random_state": 0, "n_init": 3, "n_jobs": n_jobs, "max_iter": 500}
    EMGaussianMixture(3, verbose=1, **parameters).fit(X)
    bar = capfd.readouterr().err
    assert bar.count("\n") == 1
    EMGaussianMixture(3, verbose=2, **parameters).fit(X)
    n_iter = len(capfd.readouterr().out.splitlines())
    assert f"{n_iter}/{n_iter} [" in bar


def test_the_bar_shows_the_bound_every_few_iterations(monkeypatch):
    shown = []
    monkeypatch.setattr(SearchBar, "_advance", lambda *own: shown.append(own[1:]))
    model = EMGaussianMixture(3, random_state=0, tol=0, max_iter=9, verbose=1, verbose_interval=4)
    with pytest.warns(match="did not converge"):
        model.fit(X)
    bounds = model.lower_bounds_
    assert shown[0][:2] == (1, 1)
    assert shown[1:] == [(1, 4, bounds[2]), (1, 8, bounds[6]), (1, 9, bounds[8])]


class CollapsingStep(StayingStep):
    def __call__(self, value):
        if self.n_steps == 1:
            raise Collapse("it is too narrow")
        self.n_steps += 1
        return super().__call__(value)


class CollapsingProblem(Problem):
    """The first start collapses, and the second after an iteration."""

    number = 0

    def first(self, rng):
        self.number += 1
        if self.number == 1:
            raise Collapse("it is too narrow")
        return super().first(rng)

    def step(self, pool, number):
        return CollapsingStep() if number == 2 else super().step(pool, number)


def test_starts_that_replace_others_count_too(capfd):
    settings = EMGaussianMixture(n_init=1, max_iter=3, tol=0.0, verbose=1)
    with workers() as pool:
        _, collapses = search(CollapsingProblem([1.0, 2.0]), settings, 0, pool)
    assert len(collapses) == 2
    assert "4/4 [" in capfd.readouterr().err


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_bars_are_closed_after_interrupts_and_errors(error, n_jobs, monkeypatch, capfd):
    bars = []

    def fail(bar, *_):
        bars.append(bar._bar)
        raise error

    model = EMGaussianMixture(2, random_state=0, n_init=2, n_jobs=n_jobs, verbose=1)
    state = state_of(model)
    monkeypatch.setattr(SearchBar, "_advance", fail)
    with pytest.raises(error):
        model.fit(X)
    assert_same_state(model, state)
    assert bars[0].disable  # a closed one
    assert capfd.readouterr().err.endswith("\n")


def test_nothing_is_loaded_without_a_bar():
    code = (
        "import sys; from skvae import EMGaussianMixture as M, compare; X = [[0.0], [1.0], [3.0]]; "
        "M(verbose=2).fit(X); compare({'a': M()}, X, cv=3); print('tqdm' in sys.modules); "
        "M(verbose=1).fit(X); print('tqdm' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split()[-2:] == ["False", "True"]


def test_a_fit_without_iterations_has_an_empty_bar(capfd):
    means = np.zeros((1, X.shape[1]))
    EMGaussianMixture(1, max_iter=0, means_init=means, verbose=1).fit(X)
    assert "0it [" in capfd.readouterr().err
