"""The combinations of its parameters that a test runs by default: each value at least once.

A test of three structures, two priors and ten seeds has 60 combinations. By default ten of them
run, so that every structure, every prior and every seed is tried; the others are marked slow, and
CI runs them too. A test with one list of parameters keeps all of it.
"""

from collections import defaultdict

import pytest


def covering(points):
    """Return the positions of a few of some points that together hold every value of all of them.

    Greedy: the point with the most values not seen yet, and the first of several such points.

    Parameters
    ----------
    points : list of set
        The values of every point, each with the name of its parameter.

    Returns
    -------
    positions : list of int
    """
    missing, positions = set().union(*points), []
    while missing:
        best = max(range(len(points)), key=lambda i: len(points[i] & missing))
        missing -= points[best]
        positions.append(best)
    return positions


def values_of(item):
    """Return the values of a test's parameters, one for each `parametrize` and each fixture."""
    left = {name: id(value) for name, value in item.callspec.params.items()}
    values = set()
    for mark in item.iter_markers("parametrize"):
        names = mark.args[0]
        names = [n.strip() for n in names.split(",")] if isinstance(names, str) else list(names)
        values.add((*names, *(left.pop(name) for name in names)))  # one row of one table
    return values | set(left.items())


def slow(*values):
    """Return values of a parameter whose tests are marked slow, as `parametrize` takes them."""
    return [pytest.param(value, marks=pytest.mark.slow) for value in values]


def mark_other_combinations_slow(items):
    """Mark as slow every combination of parameters that a default run does not need."""
    by_function = defaultdict(list)
    for item in items:
        if hasattr(item, "callspec") and item.get_closest_marker("slow") is None:
            by_function[item.nodeid.split("[")[0]].append(item)
    for alike in by_function.values():
        chosen = set(covering([values_of(item) for item in alike]))
        for i, item in enumerate(alike):
            if i not in chosen:
                item.add_marker(pytest.mark.slow)
