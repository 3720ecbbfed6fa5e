"""First moments of the data, in blocks."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from skvae.blocks import Rows, Workers, pattern_order, workers
from skvae.gaussian.moments import feature_moments


@pytest.fixture(autouse=True)
def _threads_for_little_work(monkeypatch):
    monkeypatch.setattr(sys.modules[Workers.__module__], "_WORTH_THREADS", 0)


def moments(X, weight=None, order=None, n_threads=None):
    with workers(n_threads) as pool:
        return feature_moments(Rows(X, weight, order), pool)


@pytest.mark.parametrize("offset", [0.0, 1e8])
def test_are_those_of_numpy_whatever_the_offset(offset):
    X = np.random.default_rng(0).normal(size=(70_000, 3)) * [1e-3, 1.0, 50.0]
    found = moments(X + offset)
    exact = (X + offset).astype(np.longdouble)
    np.testing.assert_allclose(found.variance, exact.var(axis=0).astype(float), rtol=1e-9)
    np.testing.assert_allclose(found.mean, exact.mean(axis=0).astype(float), rtol=1e-15, atol=1e-9)
    np.testing.assert_array_equal(found.magnitude, np.abs(X + offset).max(axis=0))


def test_weights_repeat_rows_and_nan_is_left_out():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(200, 2))
    X[rng.random(X.shape) < 0.3] = np.nan
    weight = rng.integers(0, 4, size=200)
    found = moments(X, weight.astype(float), np.flatnonzero(weight))
    repeated = np.repeat(X, weight, axis=0)
    np.testing.assert_allclose(found.mean, np.nanmean(repeated, axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.variance, np.nanvar(repeated, axis=0), rtol=1e-12)


@pytest.mark.parametrize("reg_covar", [0, 1e-20, 1e-6, np.float32(0.5), 3.0])
def test_floor_is_relative_in_all_units(reg_covar):
    X = np.random.default_rng(2).normal(size=(1000, 3)) * [1e-3, 1.0, 1e3]
    share = max(float(reg_covar), 1e-14) if reg_covar else 0.0
    np.testing.assert_allclose(moments(X).floor(reg_covar), share * X.var(axis=0), rtol=1e-12)
    units = np.array([2.0**40, 2.0**-9, 1.0])
    assert (moments(X * units).floor(reg_covar) == moments(X).floor(reg_covar) * units**2).all()


def test_floor_of_constant_features():
    X = np.random.default_rng(3).normal(size=(100, 3)) * [2.0, 0.0, 4.0] + 0.1
    variance = X.var(axis=0)
    expected = [variance[0], (variance[0] + variance[2]) / 2, variance[2]]
    np.testing.assert_allclose(moments(X).floor(1e-3), 1e-3 * np.array(expected), rtol=1e-12)
    np.testing.assert_array_equal(moments(np.full((5, 2), 0.1)).floor(1e-3), [1e-3, 1e-3])


def test_floor_that_overflows_is_refused():
    X = np.random.default_rng(2).normal(size=(10, 2)) * [1.0, 1e100]
    with pytest.raises(
        ValueError, match=r"reg_covar=1e\+90: the floor, .* is .*e\+289 in feature 1: m"
    ):
        moments(X).floor(1e90)


def test_constant_feature_borrows_the_scale_of_the_others():
    X = np.random.default_rng(3).normal(size=(100, 3)) * [2.0, 0.0, 4.0] + 0.1
    found = moments(X)
    others = found.variance[[0, 2]]
    np.testing.assert_allclose(found.scale**2, [others[0], others.mean(), others[1]])
    np.testing.assert_array_equal(moments(np.full((5, 2), 0.1)).scale, [1.0, 1.0])


def test_do_not_depend_on_the_number_of_threads():
    X = np.random.default_rng(4).normal(size=(300_000, 2))
    one, three = moments(X, n_threads=1), moments(X, n_threads=3)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


def test_feature_without_values_is_named():
    with pytest.raises(ValueError, match="no observed value in feature 1"):
        moments(np.array([[1.0, np.nan], [2.0, np.nan]]))


def test_pattern_order_is_a_permutation_by_pattern():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(500, 11))
    X[rng.random(X.shape) < 0.1] = np.nan
    order = pattern_order(X)
    np.testing.assert_array_equal(np.sort(order), np.arange(500))
    patterns = [tuple(row) for row in np.isnan(X[order])]
    runs = 1 + sum(a != b for a, b in pairwise(patterns))
    assert runs == len(set(patterns))
