"""Columns: names in messages, checks of values, and the columns of parts, given in many ways."""

import numpy as np
import pytest

from skvae.columns import (
    LARGEST_CODE,
    categories_of_columns,
    check_codes,
    check_n_categories,
    check_values,
    columns_of_parts,
    in_part,
    is_code,
    part_names,
)

NAMES = np.array(["a", "n", "b"], dtype=object)


def below_one(values):
    return values < 1


def test_the_first_wrong_value_is_named():
    X = np.array([[0.0, np.nan, 0.0], [0.5, 3.0, 2.0]])
    with pytest.raises(ValueError, match=r"^X\[:, 1\] holds 3.0: must be < 1$"):
        check_values(X, None, below_one, "must be < 1")
    with pytest.raises(ValueError, match=r"^X\['n'\] holds 3.0: column 1 has 3.0$"):
        check_values([X[:1], X[1:]], NAMES, below_one, lambda j, v: f"column {j} has {v}")
    with pytest.raises(ValueError, match=r"^X\[:, 7\] holds 3.0"):
        check_values(X, np.array([4, 7, 9]), below_one, "")
    check_values(X[:, [0]], None, below_one, "")
    check_values(np.full((2, 3), np.nan), None, below_one, "")


def test_a_wrong_value_is_found_beyond_the_first_block():
    X = np.zeros((200_000, 1))
    X[-1] = 1.0
    with pytest.raises(ValueError, match=r"holds 1\.0"):
        check_values(X, None, below_one, "")


def test_codes():
    values = [0.0, 3.0, float(LARGEST_CODE), LARGEST_CODE + 1.0, 0.5, -1.0, np.inf, np.nan]
    assert is_code(np.array(values)).tolist() == [True] * 3 + [False] * 5
    check_codes(np.array([[0.0, 2.0], [np.nan, 1.0]]), None, [1, 3], "")
    with pytest.raises(ValueError, match=r"X\[:, 0\] holds 1.0: must be a code from 0 to 0, as"):
        check_codes(np.array([[1.0, 2.0]]), None, [1, 3], "as known")
    with pytest.raises(ValueError, match=r"holds 0.5: a categorical column takes codes, whole"):
        check_codes(np.array([[0.5]]), None, [3], "as known")


@pytest.mark.parametrize("wrong", [0, True, np.True_, 2.0, LARGEST_CODE + 2, [3, "a"], [[3]], "3"])
def test_unusable_numbers_of_categories(wrong):
    with pytest.raises(ValueError, match="must be an integer from 1 to 16777216, one for all"):
        check_n_categories(wrong)


def test_numbers_of_categories():
    for good in (None, 1, np.int64(4), [2, 3], np.array([2, 3])):
        check_n_categories(good)
    assert categories_of_columns(4, 2).tolist() == [4, 4]
    assert categories_of_columns([4, 2], 2).tolist() == [4, 2]
    with pytest.raises(ValueError, match=r"n_categories=\[4, 2\]: must be one integer, or one for"):
        categories_of_columns([4, 2], 3)


@pytest.mark.parametrize(
    "given", [[0, 2], (0, -1), slice(0, None, 2), [True, False, True], ["a", "b"], range(0, 3, 2)]
)
def test_ways_to_give_columns(given):
    columns = columns_of_parts([("x", given), ("y", "n")], 3, NAMES, "parts")
    assert [index.tolist() for index in columns] == [[0, 2], [1]]
    assert all(index.dtype == np.intp for index in columns)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (3, "must be between 0 and 2, as X has 3 columns"),
        ([-4], "must be between 0 and 2, as X has 3 columns"),
        ([], "must be at least one column"),
        ([False, False, False], "must be at least one column"),
        ([True], "must be as long as X has columns, 3, if it is a mask"),
        (1.5, "must be an index, a slice, a name, or a list of these"),
        (["a", 0], "must be an index, a slice, a name, or a list of these"),
        ("z", r"must be among \['a', 'n', 'b'\]"),
    ],
)
def test_unusable_columns(given, text):
    with pytest.raises(ValueError, match=f"^in the part 'x': columns=.*: {text}"):
        columns_of_parts([("x", given)], 3, NAMES, "parts")


@pytest.mark.parametrize("names", [None, np.array([4, 6, 7])])
def test_names_of_columns_that_have_none(names):
    with pytest.raises(ValueError, match=r"columns='a': must be indices, as X has no column names"):
        columns_of_parts([("x", "a")], 3, names, "parts")


def test_each_column_is_in_one_part():
    text = r"^X\['b'\] belongs to no part: each column of X must belong to exactly one part of p; "
    with pytest.raises(ValueError, match=text):
        columns_of_parts([("x", [0, 1])], 3, NAMES, "p")
    with pytest.raises(ValueError, match=r"^X\[:, 1\] belongs to the parts \['x', 'y'\]: each"):
        columns_of_parts([("x", [0, 1]), ("y", [1, 2])], 3, None, "p")


def test_messages_of_parts():
    assert part_names([2, 0], NAMES) == ["b", "a"]
    assert part_names([2, 0], None) == [2, 0]
    with pytest.raises(ValueError, match=r"^in the part 'x': wrong$"), in_part("'x'"):
        raise ValueError("wrong")
