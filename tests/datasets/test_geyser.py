"""The loader, and the data it loads."""

import sys

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from sklearn.utils import Bunch

from skvae.datasets import load_geyser


def test_the_bunch():
    geyser = load_geyser()
    assert isinstance(geyser, Bunch)
    assert geyser.data.shape == (299, 2)
    assert geyser.data.dtype == np.float64
    assert geyser.feature_names == ["waiting", "duration"]
    assert geyser.target is None
    assert geyser.frame is None
    assert geyser.DESCR.startswith(".. _geyser_dataset:")
    assert "Azzalini" in geyser.DESCR


def test_known_values_in_order():
    """First and last rows, and the moments that are printed with the data elsewhere."""
    X = load_geyser().data
    assert_array_equal(X[:3], [[80, 4.0166667], [71, 2.15], [57, 4]])
    assert X.mean(axis=0) == pytest.approx([72.3144, 3.4608], abs=1e-4)
    assert X.min(axis=0) == pytest.approx([43, 0.8333], abs=1e-4)
    assert X.max(axis=0) == pytest.approx([108, 5.45], abs=1e-4)


def test_what_the_description_says_of_the_data():
    waiting, duration = load_geyser().data.T
    short = duration < 3
    assert not (short[1:] & short[:-1]).any()  # a short eruption is never followed by a short one
    after = waiting[1:]  # the wait for an eruption comes after the one before it
    assert after[short[:-1]].mean() < after[~short[:-1]].mean() - 20
    assert np.isin(duration, [2, 3, 4]).sum() == 78


def test_return_X_y():
    X, y = load_geyser(return_X_y=True)
    assert_array_equal(X, load_geyser().data)
    assert y is None


def test_as_frame():
    geyser = load_geyser(as_frame=True)
    assert isinstance(geyser.data, pd.DataFrame)
    assert geyser.frame is geyser.data
    assert list(geyser.data.columns) == geyser.feature_names
    assert_array_equal(geyser.data, load_geyser().data)
    X, y = load_geyser(return_X_y=True, as_frame=True)
    pd.testing.assert_frame_equal(X, geyser.data)
    assert y is None


def test_as_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="as_frame=True\\) needs pandas"):
        load_geyser(as_frame=True)


def test_each_call_gives_its_own_array():
    load_geyser().data[:] = 0
    assert load_geyser().data.min() > 0
