"""Checks of given weights and matrices, and statistics of given assignments."""

import numpy as np
import pytest

from skvae.blocks import Rows, workers
from skvae.gaussian.checks import check_positive_definite, check_weights
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.first_statistics import filled, statistics_of
from skvae.gaussian.moments import feature_moments
from tests.problems import COVARIANCE_TYPES, blobs


def moments_of(X):
    with workers(1) as pool:
        return feature_moments(Rows(X), pool)


def test_weights():
    check_weights("weights", np.array([0.25, 0.75]))
    with pytest.raises(ValueError, match=r"weights=.*: each entry must be in \[0, 1\]"):
        check_weights("weights", np.array([-0.5, 1.5]))
    with pytest.raises(ValueError, match=r"weights sums to 0\.9: must sum to 1"):
        check_weights("weights", np.array([0.4, 0.5]))


@pytest.mark.parametrize(
    ("kind", "matrix", "match"),
    [
        ("tied", [[1.0, 0.5], [0.4, 1.0]], "S is not symmetric"),
        ("full", [[[1.0, 2.0], [2.0, 1.0]]], "S has an eigenvalue <= 0"),
        ("full", [[[1.0, 0.0], [0.0, 0.0]]], "S has an eigenvalue <= 0"),
        ("tied", [[1.0, 0.0], [0.0, -1.0]], "S has an eigenvalue <= 0"),
        ("diag", [[1.0, 0.0]], r"S has an entry 0\.0: must be > 0"),
        ("spherical", [-1.0], r"S has an entry -1\.0"),
    ],
)
def test_matrices(kind, matrix, match):
    with pytest.raises(ValueError, match=match):
        check_positive_definite("S", np.array(matrix), STRUCTURES[kind])


@pytest.mark.parametrize(("correlation", "definite"), [(0.9, True), (1.1, False)])
def test_units_of_features_do_not_decide_whether_a_matrix_is_positive_definite(
    correlation, definite
):
    """The eigenvalues are 1e-16 and 1e16: from these alone float64 cannot tell."""
    units = np.array([1e-8, 1.0, 1e8])
    matrix = np.where(np.eye(3) > 0, 1.0, correlation) * units * units[:, None]
    if definite:
        check_positive_definite("S", matrix, STRUCTURES["tied"])
        check_positive_definite("S", matrix[None], STRUCTURES["full"])
    else:
        with pytest.raises(ValueError, match="S has an eigenvalue <= 0"):
            check_positive_definite("S", matrix, STRUCTURES["tied"])


def test_missing_cells_are_filled_with_the_mean():
    X = np.array([[1.0, np.nan], [3.0, 5.0]], dtype=np.float32)
    out = filled(X, moments_of(X))
    np.testing.assert_array_equal(out, [[1, 5], [3, 5]])
    assert out.dtype == np.float32
    assert filled(out, None) is out


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
def test_statistics_of_assignments(kind):
    X, weight = blobs(60, 2, 2), np.random.default_rng(0).uniform(size=60)
    labels = np.arange(60) % 2
    centers = np.array([[0.0, 1.0], [2.0, 3.0]])

    def resp_of(start, stop):
        return np.eye(2)[:, labels[start:stop]]

    found = statistics_of(Rows(X, weight), resp_of, centers, kind, moments_of(X))
    for k in range(2):
        mine = labels == k
        deviation = X[mine] - centers[k]
        np.testing.assert_allclose(found.counts[k], weight[mine].sum())
        np.testing.assert_allclose(found.sums[k], weight[mine] @ deviation)
        full = (weight[mine, None] * deviation).T @ deviation
        expected = {"full": full, "diag": np.diag(full), "spherical": np.trace(full) / 2}
        if kind != "tied":
            np.testing.assert_allclose(found.scatter[k], expected[kind])
