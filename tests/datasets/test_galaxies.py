"""The velocities of galaxies, in the forms of the other loader."""

import numpy as np
import pandas as pd
import pytest

from skvae.datasets import load_galaxies


def test_known_values_in_order():
    galaxies = load_galaxies()
    X = galaxies.data
    assert X.shape == (82, 1)
    assert (np.diff(X[:, 0]) >= 0).all()
    assert (X[0, 0], X[-1, 0]) == (9172.0, 34279.0)
    assert 26690.0 in X
    assert X.mean() == pytest.approx(20828.17, abs=0.01)
    assert galaxies.feature_names == ["velocity"]
    assert galaxies.DESCR.startswith(".. _galaxies_dataset:")


def test_other_forms():
    X, y = load_galaxies(return_X_y=True)
    assert y is None
    frame = load_galaxies(as_frame=True).frame
    assert isinstance(frame, pd.DataFrame)
    np.testing.assert_array_equal(frame.to_numpy(), X)
