"""The benchmark of lines of digits: label errors by hand, and lines of known digits."""

import numpy as np
import pytest

from benchmarks.deep_chain import digit_lines
from benchmarks.suite import Settings


@pytest.mark.parametrize(
    ("found", "text", "distance"),
    [
        *[("", "", 0), ("", "abc", 3), ("abc", "", 3), ("abc", "abc", 0), ("abc", "abd", 1)],
        *[("kitten", "sitting", 3), ("ab", "ba", 2), ("1123", "123", 1), ("saturday", "sunday", 3)],
    ],
)
def test_label_error_is_the_edit_distance_per_label(found, text, distance):
    assert digit_lines.label_error([found, "xy"], [text, "xy"]) == distance / (len(text) + 2)


def test_lines_have_their_digits_in_order():
    images = np.broadcast_to(np.arange(1.0, 10)[:, None, None], (9, 8, 8))
    lines, texts = digit_lines.lines_of(images, np.arange(1, 10), 50, np.random.default_rng(0))
    for line, text in zip(lines, texts, strict=True):
        grey = np.round(line.mean(axis=1)).astype(int)
        assert 3 <= len(text) <= 6
        assert 15 <= len(line) <= 100
        runs = "".join(str(g) for g in grey if g)
        assert set(text) == set(runs)
        assert runs[0] == text[0]
        assert runs[-1] == text[-1]


@pytest.mark.slow
def test_both_networks_learn():
    for name in digit_lines.NETWORKS:
        ((shown, *cells),) = digit_lines.measure(name, Settings(quick=True))
        assert shown == name
        assert len(cells) == len(digit_lines.SECTION.columns) - 1
