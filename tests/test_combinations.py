"""The combinations that a default run keeps hold every value of every parameter."""

import itertools

import pytest

from tests.combinations import covering, mark_other_combinations_slow


class Item:
    """A test as pytest collects it, as far as is read here."""

    def __init__(self, *marks, **params):
        self.nodeid, self.marks, self.slow = "tests/a.py::test_a[x]", marks, False
        self.callspec = type("CallSpec", (), {"params": params})

    def iter_markers(self, name):
        return (mark for mark in self.marks if mark.name == name)

    def get_closest_marker(self, name):
        return next(self.iter_markers(name), None)

    def add_marker(self, mark):
        assert mark.name == "slow"
        self.slow = True


def test_a_few_points_hold_every_value():
    points = [set(enumerate(point)) for point in itertools.product("abc", "xy", range(5))]
    positions = covering(points)
    assert len(positions) == 5
    assert set().union(*(points[i] for i in positions)) == set().union(*points)


def test_one_list_of_values_is_kept_whole():
    assert covering([{("seed", seed)} for seed in range(40)]) == list(range(40))
    assert covering([set()]) == []


def test_the_other_combinations_are_slow():
    items = [Item(a=a, b=b) for a in ("one", "two") for b in ("one", "two")]
    mark_other_combinations_slow(items)
    assert [item.slow for item in items] == [False, True, True, False]


def test_values_are_covered_by_tests_that_are_not_slow():
    marks = {"one": (), "two": (pytest.mark.slow.mark,)}
    items = [Item(*marks[b], a=a, b=b) for a in ("one", "two") for b in ("one", "two")]
    mark_other_combinations_slow(items)
    assert not any(item.slow for item in items)


@pytest.mark.parametrize("names", ["a, b", ("a", "b")])
def test_rows_of_a_table_are_kept_whole(names):
    """(1, 2) is kept although 1 and 2 are also in the other rows."""
    table = pytest.mark.parametrize(names, [])
    rows = [(1, 1), (1, 2), (2, 2)]
    items = [Item(table.mark, a=a, b=b, seed=seed) for a, b in rows for seed in range(3)]
    mark_other_combinations_slow(items)
    quick = [item.callspec.params for item in items if not item.slow]
    assert [(params["a"], params["b"]) for params in quick] == rows
    assert [params["seed"] for params in quick] == [0, 1, 2]
