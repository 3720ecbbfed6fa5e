"""Components with fewer rows than features, against the eigenvalues of the whole covariance."""

import numpy as np
import pytest

from skvae.gaussian.span import SpanComponent


def by_eigenvalues(rows, weight):
    """Return the log-densities of rows, and the covariance with its eigenvalues raised to one."""
    scatter = (rows.T * weight) @ rows
    values, vectors = np.linalg.eigh(scatter)
    values = np.maximum(values, 1.0)
    white = rows @ (vectors / np.sqrt(values))
    distance = (white**2).sum(axis=1)
    constant = np.log(values).sum() + len(values) * np.log(2 * np.pi)
    return -0.5 * (distance + constant), (vectors * values) @ vectors.T


def component(rows, weight):
    weight = weight / weight.sum()
    rows = rows - weight @ rows
    return SpanComponent.of(rows, weight), *by_eigenvalues(rows, weight)


WEIGHTS = {
    "some rows": lambda rng, n: np.where(np.arange(n) < n // 3, rng.random(n), 0.0),
    "one row": lambda rng, n: np.eye(n)[3],
    "soft": lambda rng, n: np.exp(-40.0 * rng.random(n)),
    "all rows": lambda rng, n: rng.random(n),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [0.5, 30.0, 1e3])
@pytest.mark.parametrize("n_rows", [20, 40, 60, 200])
@pytest.mark.parametrize("weights", WEIGHTS)
def test_densities_and_covariance_are_those_of_all_eigenvalues(weights, n_rows, size, seed):
    rng = np.random.default_rng(seed)
    rows = size * rng.normal(size=(n_rows, 40)) * np.linspace(0.1, 1.0, 40)
    found, log_density, covariance = component(rows, WEIGHTS[weights](rng, n_rows))
    np.testing.assert_allclose(found.log_density(), log_density, rtol=1e-9)
    raised, factor = found.covariance()
    np.testing.assert_allclose(raised, covariance, rtol=1e-9, atol=1e-11 * size**2)
    np.testing.assert_array_equal(factor, np.triu(factor))
    assert (factor.diagonal() > 0).all()
    np.testing.assert_allclose(factor.T @ raised @ factor, np.eye(40), atol=1e-9)


def test_equal_rows_and_a_row_at_the_mean():
    rng = np.random.default_rng(0)
    half = 50.0 * rng.normal(size=(10, 30))
    opposite = np.concatenate([half, -half, np.zeros((1, 30))])
    equal = np.concatenate([half, half, 50.0 * rng.normal(size=(5, 30))])
    for rows in (opposite, equal):
        weight = np.ones(len(rows)) if rows is opposite else np.r_[np.ones(20), np.zeros(5)]
        found, log_density, covariance = component(rows, weight)
        np.testing.assert_allclose(found.log_density(), log_density, rtol=1e-10)
        np.testing.assert_allclose(found.covariance()[0], covariance, rtol=1e-9, atol=1e-9)


def test_a_heavy_row_at_the_mean_of_independent_rows():
    """It adds nothing to the covariance, but its weight is in the distances of the others."""
    rng = np.random.default_rng(1)
    rows = 50.0 * rng.normal(size=(6, 30))
    rows -= rows.mean(axis=0)
    rows, weight = np.concatenate([rows, np.zeros((1, 30))]), np.r_[np.ones(6), 20.0]
    found, log_density, _ = component(rows, weight)
    np.testing.assert_allclose(found.log_density(), log_density, rtol=1e-11)
