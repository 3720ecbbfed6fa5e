"""Pickles and skops files of earlier versions load, and give the numbers that they gave then."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import skops.io

FOLDER = Path(__file__).parent / "earlier"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def _read(name, form):
    path = FOLDER / f"{name}.{form}"
    if form == "pickle":
        return pickle.loads(path.read_bytes())
    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


@pytest.mark.parametrize("form", ["pickle", "skops"])
@pytest.mark.parametrize("name", EXPECTED)
# Written with one version of scikit-learn, read with another.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_a_file_written_before_gives_the_same_scores(name, form):
    expected = EXPECTED[name]
    found = _read(name, form).score_samples(np.array(expected["X"]))
    np.testing.assert_allclose(found, expected["score_samples"], rtol=1e-9)
