"""The search over starts, on problems whose result is their start."""

import threading
import time
from types import SimpleNamespace

import pytest

from skvae.ascent.loop import Collapse, Earlier, Step
from skvae.ascent.restarts import search
from skvae.blocks import workers


class StayingStep(Step):
    """A step that stays at a number, which is its own bound; a Collapse is raised."""

    def __call__(self, value):
        if isinstance(value, Exception | KeyboardInterrupt):
            raise value
        return value, value

    def evaluate(self, value):
        return value


class Problem:
    """Starts from given values, in turn."""

    def __init__(self, starts, earlier=None, step=StayingStep):
        self.starts, self.earlier, self.make_step = iter(starts), earlier, step
        self.numbers = []

    def first(self, rng):
        start = next(self.starts)
        if isinstance(start, ZeroDivisionError):
            raise Collapse("cannot be drawn")
        return start

    def step(self, pool, number):
        self.numbers.append(number)
        return self.make_step()


def found(problem, n_init, n_jobs=1, **settings):
    names = {"max_iter": 3, "tol": 0.0, "verbose": 0, "verbose_interval": 1, **settings}
    settings = SimpleNamespace(n_init=n_init, n_jobs=n_jobs, **names)
    with workers() as pool:
        return search(problem, settings, 0, pool)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_the_best_of_several_starts(n_jobs):
    problem = Problem([3.0, 1.0, 7.0, 7.0, 2.0])
    best, collapses = found(problem, 5, n_jobs)
    assert best.bound == best.parameters == 7.0
    assert collapses == []
    assert sorted(problem.numbers) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_collapsed_runs_are_repeated_and_reported(n_jobs):
    problem = Problem([Collapse("first"), Collapse("second"), 2.0, 3.0, 4.0])
    best, collapses = found(problem, 2, n_jobs)
    assert best.bound == 3.0
    assert collapses == ["first", "second"]
    assert next(problem.starts) == 4.0


def test_a_start_that_cannot_be_drawn_counts_as_a_collapse():
    best, collapses = found(Problem([ZeroDivisionError(), 5.0]), 1)
    assert best.bound == 5.0
    assert collapses == ["cannot be drawn"]


def test_an_error_if_all_runs_collapse():
    problem = Problem([Collapse(f"{i}") for i in range(10)])
    with pytest.raises(Collapse, match="5"):
        found(problem, 2)
    assert str(next(problem.starts)) == "6"  # three times two starts were used


def test_a_warm_start_is_one_run_that_compares_with_the_earlier_bound():
    problem = Problem([], earlier=Earlier(4.0, 4.0, comparable=True))
    best, _ = found(problem, 5, tol=1e-3)
    assert best.parameters == 4.0
    assert best.converged
    assert len(best.bounds) == 1
    assert problem.numbers == [1]


def test_a_warm_start_with_another_objective_compares_only_bounds_of_its_own():
    """The start may have any bound: the first comparison is that of iterations two and three."""
    best, _ = found(Problem([], earlier=Earlier(4.0)), 5, tol=1e-3, max_iter=9)
    assert best.converged
    assert len(best.bounds) == 3
    for max_iter in (1, 2):
        best, _ = found(Problem([], earlier=Earlier(4.0)), 1, tol=1e-3, max_iter=max_iter)
        assert not best.converged


def test_the_bound_is_printed(capsys):
    found(Problem([1.0, 2.0]), 2, verbose=2, max_iter=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "start 1, iteration 1: lower bound 1.000000"
    assert lines[1] == "start 1, iteration 2: lower bound 1.000000 (+0.000e+00)"
    assert len(lines) == 4


def test_the_failure_of_one_run_stops_the_others():
    class WaitingStep(StayingStep):
        def __call__(self, value):
            if value == 0.0:
                raise KeyboardInterrupt
            time.sleep(0.01)
            return value, value

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        found(Problem([0.0, 1.0], step=WaitingStep), 2, n_jobs=2, max_iter=10**6, tol=0.0)
    assert time.monotonic() - started < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("skvae")]
