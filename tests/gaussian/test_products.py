"""Products by panels of columns are those of NumPy."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvae.gaussian.products import add_product, product, weighted_sums


# Whole panels, a rest of one column, few columns, many coefficients, few terms.
@pytest.mark.parametrize(
    ("k", "t", "n"),
    [(16, 153, 4096), (16, 153, 2049), (3, 1000, 513), (16, 153, 8), (64, 153, 1024), (8, 45, 999)],
)
def test_products_of_many_columns(k, t, n):
    rng = np.random.default_rng(k + t + n)
    left, columns, weights = rng.normal(size=(k, t)), rng.normal(size=(t, n)), rng.random((k, n))
    out = np.full((k, n), np.nan)
    assert product(left, columns, out) is out
    assert_allclose(out, np.einsum("kt,tn->kn", left, columns), rtol=1e-12, atol=1e-12 * t)
    expected = np.einsum("kn,tn->kt", weights, columns)
    assert_allclose(weighted_sums(weights, columns), expected, rtol=1e-12, atol=1e-12 * n)


def test_a_row_that_is_infinite_stays_alone():
    """A product of another panel, or of the rest, has no part of it."""
    columns = np.ones((300, 1025))
    columns[:, [3, 1024]] = np.inf
    out = product(np.ones((5, 300)), columns, np.empty((5, 1025)))
    assert np.isinf(out[:, [3, 1024]]).all()
    assert (np.delete(out, [3, 1024], axis=1) == 300.0).all()


@pytest.mark.parametrize(
    ("k", "t", "n"), [(8, 128, 504), (3, 300, 50), (1, 32, 40), (40, 200, 504)]
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_added_products(k, t, n, order):
    rng = np.random.default_rng(k + t + n)
    left, columns = rng.normal(size=(k, 2 * t))[:, :t], rng.normal(size=(t, n)).copy(order)
    out = np.ones((k, n))
    add_product(left, columns, out)
    expected = 1.0 + np.einsum("kt,tn->kn", left, columns)
    assert_allclose(out, expected, rtol=1e-12, atol=1e-12 * t)
