"""The loop, its restarts and its acceleration, on problems small enough to solve by hand."""

import threading
import time

import numpy as np
import pytest

from skvae.ascent.anderson import AndersonStep
from skvae.ascent.loop import Ascent, Collapse, ascend
from skvae.ascent.restarts import best_ascent

MATRIX = np.diag([0.999, 0.99, 0.9, 0.5])


def bound_of(x):
    return -float(x @ (np.eye(4) - MATRIX) @ x)


def linear_step(x):
    """A step towards zero whose slowest direction shrinks by 0.999, and its bound."""
    return MATRIX @ x, bound_of(x)


def count(step):
    def counted(x):
        counted.n += 1
        return step(x)

    counted.n = 0
    return counted


def test_bounds_are_those_after_each_iteration():
    start = np.ones(4)
    ascent = ascend(linear_step, bound_of, start, max_iter=5, tol=0.0)
    expected = [bound_of(np.linalg.matrix_power(MATRIX, i) @ start) for i in range(1, 6)]
    np.testing.assert_allclose(ascent.bounds, expected)
    assert ascent.bound == ascent.bounds[-1] == bound_of(ascent.parameters)
    assert ascent.n_iter == 5
    assert not ascent.converged


def test_no_iteration_returns_the_start():
    start = np.ones(4)
    ascent = ascend(linear_step, bound_of, start, max_iter=0, tol=1.0)
    assert ascent == Ascent(start, bound_of(start), [], False)


def test_converges_when_the_bound_changes_by_less_than_tol():
    ascent = ascend(linear_step, bound_of, np.ones(4), max_iter=10_000, tol=1e-4)
    assert ascent.converged
    gains = np.diff([bound_of(np.ones(4)), *ascent.bounds])
    # The gain of the last but one iteration is the first below tol, as in scikit-learn.
    assert gains[-2] < 1e-4 <= gains[-3]


def test_carries_on_from_an_earlier_bound():
    start = 1e-9 * np.ones(4)
    ascent = ascend(linear_step, bound_of, start, max_iter=9, tol=1e-6, before=bound_of(start))
    assert ascent.converged
    assert ascent.n_iter == 1


def test_report_sees_each_iteration():
    seen = []
    ascend(
        linear_step,
        bound_of,
        np.ones(4),
        max_iter=3,
        tol=0.0,
        report=lambda *line: seen.append(line),
    )
    assert [line[0] for line in seen] == [1, 2, 3]
    assert seen[1][2] == pytest.approx(seen[1][1] - seen[0][1])


def test_bound_that_is_no_number_is_a_collapse():
    with pytest.raises(Collapse, match="nan in iteration 1"):
        ascend(lambda x: (x, np.nan), lambda x: np.nan, 0.0, max_iter=5, tol=0.0)


def identity(x):
    return x.copy()


def steps_to(step, target, start, limit=20_000):
    counted = count(step)
    driver = AndersonStep(counted, identity, identity) if target[1] else counted
    x, bounds = start, []
    while counted.n < limit:
        x, bound = driver(x)
        bounds.append(bound)
        if bound >= target[0]:
            break
    return counted.n, bounds


def test_mixing_solves_a_linear_problem_in_a_few_steps():
    plain, _ = steps_to(linear_step, (-1e-12, False), np.ones(4))
    fast, bounds = steps_to(linear_step, (-1e-12, True), np.ones(4))
    assert plain > 5000
    assert fast < 40
    assert (np.diff(bounds) >= 0).all()


def test_stretching_leaves_a_saddle():
    """From 1e-6 beside the saddle of x₁² − x₀⁴ … the plain step takes long to get away."""

    def step(x):
        gradient = np.array([0.02 * x[0] - 0.04 * x[0] ** 3, -x[1]])
        return x + gradient * [1.0, 0.5], float(0.01 * x[0] ** 2 - 0.01 * x[0] ** 4 - x[1] ** 2)

    start = np.array([1e-6, 0.5])
    optimum = 0.01 * 0.5 - 0.01 * 0.25
    plain, _ = steps_to(step, (optimum - 1e-9, False), start)
    fast, bounds = steps_to(step, (optimum - 1e-9, True), start)
    assert fast < plain / 4
    assert (np.diff(bounds) >= 0).all()


def test_accelerated_step_is_never_worse_than_the_plain_one():
    rng = np.random.default_rng(0)
    for _ in range(20):
        # A map with a bound that extrapolation easily overshoots.
        scale = rng.uniform(0.9, 0.999, size=4)

        def step(x, scale=scale):
            return x * scale, -float(np.abs(x).sum() + 10 * np.maximum(-x, 0).sum())

        driver = AndersonStep(step, identity, identity)
        x = rng.uniform(0.5, 1.0, size=4)
        for _ in range(50):
            after, _ = driver(x)
            assert step(after)[1] >= step(step(x)[0])[1]
            x = after


def test_extrapolation_that_cannot_be_unpacked_is_left():
    def unpack(vector):
        raise Collapse("no")

    counted = count(linear_step)
    driver = AndersonStep(counted, identity, unpack)
    x = np.ones(4)
    for _ in range(20):
        x, _ = driver(x)
    np.testing.assert_allclose(x, np.linalg.matrix_power(MATRIX, 20) @ np.ones(4))
    assert counted.n == 20


def test_parameters_at_the_border_are_left_to_the_plain_step():
    """A vector with −inf (a weight of zero) is no base for an extrapolation."""
    driver = AndersonStep(linear_step, lambda x: np.append(x, -np.inf), identity)
    x = np.ones(4)
    for _ in range(10):
        x, _ = driver(x)
    np.testing.assert_allclose(x, np.linalg.matrix_power(MATRIX, 10) @ np.ones(4))


def ascent_to(bound):
    return Ascent(bound, bound, [bound], True)


@pytest.mark.parametrize("n_jobs", [1, 3])
def test_best_of_several_starts(n_jobs):
    starts = iter([3.0, 1.0, 7.0, 7.0, 2.0])
    best, collapses = best_ascent(
        lambda: next(starts), lambda start, stop: ascent_to(start), 5, n_jobs=n_jobs
    )
    assert best.bound == 7.0
    assert collapses == []


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_collapsed_runs_are_made_again_and_told(n_jobs):
    starts = iter(range(10))

    def run(start, stop):
        if start < 2:
            raise Collapse(f"start {start}")
        return ascent_to(float(start))

    best, collapses = best_ascent(lambda: next(starts), run, 2, n_jobs=n_jobs)
    assert best.bound == 3.0
    assert collapses == ["start 0", "start 1"]
    assert next(starts) == 4


def test_start_that_cannot_be_drawn_counts_as_a_collapse():
    outcomes = iter([Collapse("first"), 5.0])

    def draw():
        outcome = next(outcomes)
        if isinstance(outcome, Collapse):
            raise outcome
        return outcome

    best, collapses = best_ascent(draw, lambda start, stop: ascent_to(start), 1)
    assert best.bound == 5.0
    assert collapses == ["first"]


def test_all_collapsed_is_an_error():
    drawn = []

    def run(start, stop):
        raise Collapse("always")

    with pytest.raises(Collapse, match="always"):
        best_ascent(lambda: drawn.append(1), run, 2)
    assert len(drawn) == 6


def test_failure_of_one_run_stops_the_others():
    started = time.monotonic()

    def run(start, stop):
        if start == 0:
            raise KeyboardInterrupt
        assert stop.wait(timeout=30)
        raise KeyboardInterrupt

    starts = iter(range(2))
    with pytest.raises(KeyboardInterrupt):
        best_ascent(lambda: next(starts), run, 2, n_jobs=2)
    assert time.monotonic() - started < 20
    assert not [t for t in threading.enumerate() if t.name.startswith("skvae")]
