"""The README's code runs, and prints what the README says."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def text():
    return README.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def namespace(text):
    """Return what the blocks of Python define, run in order, as a reader would."""
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    return names


def test_the_table_is_what_is_printed(text, namespace):
    """All but the seconds, which are another day's."""
    shown = re.search(r"^```\n(held-out.*?)^```", text, flags=re.MULTILINE | re.DOTALL)[1]
    printed = repr(namespace["comparison"])

    def without_seconds(table):
        title, *rows = table.splitlines()
        return [title, *(row[: rows[0].index("fit s")].split() for row in rows)]

    assert without_seconds(shown) == without_seconds(printed)


def test_the_wait_tells_the_duration(namespace):
    """The conditional means of the example, against the rows that waited about 80 minutes."""
    X = namespace["X"]
    mixture = namespace["EMGaussianMixture"](n_components=3, random_state=0).fit(X)
    expected = mixture.conditional([0], [80.0])
    mean = expected.weights_ @ expected.means_[:, 0]
    near = abs(X[:, 0] - 80) <= 3
    assert mean == pytest.approx(X[near, 1].mean(), abs=0.3)


def test_missing_cells_are_filled_and_only_they(namespace):
    X_missing, mixture = namespace["X_missing"], namespace["mixture"]
    missing = namespace["np"].isnan(X_missing)
    filled = mixture.impute(X_missing)
    assert missing.sum() == 60
    assert not namespace["np"].isnan(filled).any()
    assert (filled[~missing] == X_missing[~missing]).all()
