"""Roots of many functions at once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skvae.emissions.roots import bracketed_root

FUNCTIONS = {
    "line": lambda x, c: x - c,
    "cube": lambda x, c: (x - c) ** 3,
    "step": lambda x, c: np.tanh(1e6 * (x - c)),
    "exponential": lambda x, c: np.expm1(x) - np.expm1(c),
    "falling": lambda x, c: np.exp(-3 * c) - np.exp(-3 * x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@given(seed=st.integers(0, 10_000), size=st.integers(1, 20))
def test_roots_of_any_functions(name, seed, size):
    rng = np.random.default_rng(seed)
    c = rng.uniform(-3, 3, size)
    calls = []

    def function(x, which):
        calls.append(len(which))
        return FUNCTIONS[name](x, c[which])

    found = bracketed_root(function, np.full(size, -4.0), np.full(size, 5.0))
    assert_allclose(found, c, rtol=1e-12, atol=1e-4 if name == "cube" else 1e-12)
    assert len(calls) < 120


def test_without_a_root_the_nearer_end():
    def function(x, which):
        return x - np.array([7.0, -9.0, 0.5])[which]

    found = bracketed_root(function, np.zeros(3), np.ones(3))
    assert_array_equal(found, [1.0, 0.0, 0.5])


def test_shapes_and_no_function_at_all():
    found = bracketed_root(lambda x, which: x - 0.25, np.zeros((2, 3)), np.ones((2, 3)))
    assert_array_equal(found, np.full((2, 3), 0.25))
    assert bracketed_root(lambda x, which: x, np.zeros((0, 2)), np.ones((0, 2))).shape == (0, 2)
