"""The README's code runs, and prints what the README says."""

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

README = Path(__file__).parents[1] / "README.md"


@pytest.fixture(scope="module")
def text():
    return README.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def namespace(text):
    """Return what the blocks of Python define, run in order, as a reader would."""
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 9
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    return names


def test_the_table_is_what_is_printed(text, namespace):
    """All but the seconds, which are another day's."""
    shown = re.search(r"^```\n(held-out.*?)^```", text, flags=re.MULTILINE | re.DOTALL)[1]
    printed = repr(namespace["comparison"])

    def without_seconds(table):
        title, *rows = table.splitlines()
        return [title, rows[0].split(), *(row.split()[:-2] for row in rows[1:])]

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


def test_a_list_and_groups_are_the_same_sequences(namespace):
    """The example's two searches, on folds that are the same."""
    np, sequences, days = (namespace[name] for name in ("np", "sequences", "days"))
    assert [len(rows) for rows in sequences] == [23] * 13
    assert (np.concatenate(sequences) == namespace["X"]).all()
    chain = namespace["chain"]
    paths = np.concatenate(chain.predict(sequences))
    assert (paths == chain.predict(namespace["X"], groups=days)).all()
    assert namespace["search"].best_params_["n_components"] > 2
    assert namespace["by_groups"].best_params_["n_components"] > 2
