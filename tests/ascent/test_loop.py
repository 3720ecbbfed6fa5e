"""The loop and its acceleration, on problems small enough to solve by hand."""

import numpy as np
import pytest

from skvae.ascent.anderson import AndersonStep
from skvae.ascent.loop import Ascent, Collapse, Step, ascend

MATRIX = np.diag([0.999, 0.99, 0.9, 0.5])


def bound_of(x):
    return -float(x @ (np.eye(4) - MATRIX) @ x)


class FunctionStep(Step):
    """A function ``x → (proposal, bound)`` as a step that counts its calls."""

    def __init__(self, function):
        self.function = function

    def __call__(self, x):
        self.n_steps += 1
        return self.function(x)

    def evaluate(self, x):
        return self.function(x)[1]


class Coordinates:
    """Vectors as their own coordinates, unless others are given."""

    def __init__(self, pack=np.copy, unpack=np.copy):
        self.pack, self.unpack = pack, unpack


def towards_zero(x):
    """A step whose slowest direction shrinks by 0.999, and its bound."""
    return MATRIX @ x, bound_of(x)


def linear_step():
    return FunctionStep(towards_zero)


def test_bounds_are_those_after_each_iteration():
    start = np.ones(4)
    ascent = ascend(linear_step(), start, max_iter=5, tol=0.0)
    expected = [bound_of(np.linalg.matrix_power(MATRIX, i) @ start) for i in range(1, 6)]
    np.testing.assert_allclose(ascent.bounds, expected)
    assert ascent.bound == ascent.bounds[-1] == bound_of(ascent.parameters)
    assert len(ascent.bounds) == ascent.n_steps == 5
    assert not ascent.converged


def test_no_iteration_returns_the_start():
    start = np.ones(4)
    ascent = ascend(linear_step(), start, max_iter=0, tol=1.0)
    assert ascent == Ascent(start, bound_of(start), [], False)
    assert ascent.n_steps == 0


def test_converges_when_the_bound_changes_by_less_than_tol():
    ascent = ascend(linear_step(), np.ones(4), max_iter=10_000, tol=1e-4)
    assert ascent.converged
    gains = np.diff([bound_of(np.ones(4)), *ascent.bounds])
    # The gain of the last but one iteration is the first below tol, as in scikit-learn.
    assert gains[-2] < 1e-4 <= gains[-3]


def test_carries_on_from_an_earlier_bound():
    start = 1e-9 * np.ones(4)
    ascent = ascend(linear_step(), start, max_iter=9, tol=1e-6, before=bound_of(start))
    assert ascent.converged
    assert len(ascent.bounds) == 1


def test_a_start_of_another_objective_may_be_impossible_and_is_not_compared():
    """The first step leads into the set of the allowed: from there the bound never falls."""

    def step(x):
        return (1.0 if x > 1.0 else x / 2.0), (-np.inf if x > 1.0 else -x)

    seen = []
    ascent = ascend(
        FunctionStep(step), 5.0, max_iter=50, tol=1e-3, before=0.0, comparable=False,
        observers=[lambda progress, change: seen.append((progress.before, change))],
    )  # fmt: skip
    assert ascent.converged
    assert ascent.bounds[:3] == [-1.0, -0.5, -0.25]
    assert seen[0] == (-np.inf, np.inf)
    assert seen[1] == (-1.0, np.inf)
    assert seen[2] == (-0.5, 0.5)
    with pytest.raises(Collapse, match="-inf in iteration 1"):
        ascend(FunctionStep(step), 5.0, max_iter=50, tol=1e-3)


def test_observers_see_each_iteration_and_an_ascent_resumes_from_what_they_saw():
    seen = []
    ascent = ascend(
        linear_step(),
        np.ones(4),
        max_iter=3,
        tol=0.0,
        observers=[lambda progress, change: seen.append((progress, change))],
    )
    assert [len(progress.bounds) for progress, _ in seen] == [0, 1, 2]
    assert seen[1][1] == pytest.approx(seen[1][0].before - seen[0][0].before)
    resumed = ascend(linear_step(), None, max_iter=3, tol=0.0, resume=seen[1][0])
    assert resumed.bounds == ascent.bounds
    np.testing.assert_array_equal(resumed.parameters, ascent.parameters)


def test_bound_that_is_no_number_is_a_collapse():
    with pytest.raises(Collapse, match="nan in iteration 1"):
        ascend(FunctionStep(lambda x: (x, np.nan)), 0.0, max_iter=5, tol=0.0)


def steps_to(step, target, start, limit=20_000):
    plain = FunctionStep(step)
    driver = AndersonStep(plain, Coordinates()) if target[1] else plain
    x, bounds = start, []
    while driver.n_steps < limit:
        x, bound = driver(x)
        bounds.append(bound)
        if bound >= target[0]:
            break
    return driver.n_steps, bounds


def test_mixing_solves_a_linear_problem_in_a_few_steps():
    plain, _ = steps_to(towards_zero, (-1e-12, False), np.ones(4))
    fast, bounds = steps_to(towards_zero, (-1e-12, True), np.ones(4))
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

        driver = AndersonStep(FunctionStep(step), Coordinates())
        x = rng.uniform(0.5, 1.0, size=4)
        for _ in range(50):
            after, _ = driver(x)
            assert step(after)[1] >= step(step(x)[0])[1]
            x = after


def test_extrapolation_that_cannot_be_unpacked_is_left():
    def unpack(vector):
        raise Collapse("no")

    driver = AndersonStep(linear_step(), Coordinates(unpack=unpack))
    x = np.ones(4)
    for _ in range(20):
        x, _ = driver(x)
    np.testing.assert_allclose(x, np.linalg.matrix_power(MATRIX, 20) @ np.ones(4))
    assert driver.n_steps == 20


def test_parameters_at_the_border_are_left_to_the_plain_step():
    """A vector with −inf (a weight of zero) is no base for an extrapolation."""
    driver = AndersonStep(linear_step(), Coordinates(pack=lambda x: np.append(x, -np.inf)))
    x = np.ones(4)
    for _ in range(10):
        x, _ = driver(x)
    np.testing.assert_allclose(x, np.linalg.matrix_power(MATRIX, 10) @ np.ones(4))
