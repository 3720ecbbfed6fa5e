"""The README's and the tutorial's code runs, and gives the results that they describe."""

import doctest
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SCRIPT = ROOT / "doc" / "front_picture.py"
TUTORIAL = ROOT / "doc" / "tutorial.rst"


@pytest.fixture(scope="module")
def text():
    return README.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def namespace(text):
    """Return what the blocks of Python define, run in order, as a reader would."""
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    return names


@pytest.fixture(scope="module")
def tutorial():
    """Return what the tutorial's lines before its deep model define; a doctest runs all of them."""
    before, title, _ = TUTORIAL.read_text(encoding="utf-8").partition("\nA deep model\n")
    assert title
    examples = doctest.DocTestParser().get_examples(before)
    names = {}
    for example in examples:
        exec(compile(example.source, str(TUTORIAL), "single"), names)
    return names


def test_it_is_read_in_a_minute(text):
    assert len(text.splitlines()) <= 120


def test_its_files_are_there(text):
    """Pages that are linked, and a picture that is small enough to be loaded at once."""
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 10
    assert [name for name in links if not (ROOT / name).exists()] == []
    assert (ROOT / "doc" / "_static" / "skvae.png").stat().st_size < 200_000


def test_the_script_of_the_picture_fits_the_models_of_the_table(text):
    """The numbers in the picture are those of the table."""
    script = SCRIPT.read_text(encoding="utf-8")
    for model in (
        "EMHiddenMarkov(3, random_state=0)",
        "EMGaussianMixture(3, random_state=0)",
        "GaussianMixture(3, random_state=0)",
        "KernelDensity(bandwidth=3.0)",
        "np.repeat(np.arange(13), 23)",
    ):
        assert model in script
        assert model.replace("EMHiddenMarkov(3", "EMHiddenMarkov(n_components=3") in text


@pytest.mark.slow
def test_the_picture_is_drawn():
    """The script of the picture, with hardly any training."""
    spec = importlib.util.spec_from_file_location("front_picture", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figure = module.draw(vae_epochs=1)
    assert [len(panel.axes) > 0 for panel in figure.subfigs] == [True] * 4


@pytest.mark.slow
def test_the_table_is_what_is_printed(text, namespace):
    """All but the seconds, which are another day's."""
    shown = re.search(r"^```\n(held-out.*?)^```", text, flags=re.MULTILINE | re.DOTALL)[1]
    printed = repr(namespace["comparison"])

    def without_seconds(table):
        title, *rows = table.splitlines()
        return [title, rows[0].split(), *(row.split()[:-2] for row in rows[1:])]

    assert without_seconds(shown) == without_seconds(printed)


@pytest.mark.slow
def test_the_forecast_is_about_the_next_two_waits(namespace):
    """Nine in ten waits that followed waits like the last ones are between the ends."""
    X, lower, upper = namespace["X"], namespace["lower"], namespace["upper"]
    assert lower.shape == upper.shape == (2, 1)
    assert (X.min() < lower).all()
    assert (upper < X.max()).all()
    near = abs(X[:-1, 0] - X[-1, 0]) <= 6
    inside = (lower[0, 0] <= X[1:][near, 0]) & (X[1:][near, 0] <= upper[0, 0])
    assert 0.8 < inside.mean() <= 1
    assert namespace["nats_per_row"] == pytest.approx(namespace["chain"].score(X))
    assert set(namespace["states"]) == {0, 1, 2}


@pytest.mark.slow
def test_the_wait_predicts_the_duration(tutorial):
    """The conditional means of the example, against the rows that waited about 80 minutes."""
    X = tutorial["X"]
    mixture = tutorial["EMGaussianMixture"](n_components=3, random_state=0).fit(X)
    near = abs(X[:, 0] - 80) <= 3
    for expected in (mixture.conditional([0], [80.0]), tutorial["after_80"]):
        mean = expected.weights_ @ expected.means_[:, 0]
        assert mean == pytest.approx(X[near, 1].mean(), abs=0.3)


@pytest.mark.slow
def test_missing_cells_are_filled_and_only_they(tutorial):
    X_missing, filled = tutorial["X_missing"], tutorial["filled"]
    missing = tutorial["np"].isnan(X_missing)
    assert missing.sum() == 60
    assert not tutorial["np"].isnan(filled).any()
    assert (filled[~missing] == X_missing[~missing]).all()


@pytest.mark.slow
def test_a_list_and_groups_are_the_same_sequences(tutorial):
    """The example's two searches, on folds that are the same."""
    np, sequences, blocks = (tutorial[name] for name in ("np", "sequences", "blocks"))
    assert [len(rows) for rows in sequences] == [23] * 13
    assert (np.concatenate(sequences) == tutorial["X"]).all()
    chain = tutorial["chain"]
    paths = np.concatenate(chain.predict(sequences))
    assert (paths == chain.predict(tutorial["X"], groups=blocks)).all()
    assert tutorial["search"].best_params_["n_components"] > 2
    assert tutorial["by_groups"].best_params_["n_components"] > 2
