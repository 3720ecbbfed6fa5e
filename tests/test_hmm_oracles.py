"""The oracles of hidden Markov models themselves, against each other and closed forms."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from tests import hmm_oracles as oracles


def chain(n_states, n_rows, seed, zeros=0.0):
    rng = np.random.default_rng(seed)
    start, transmat = rng.dirichlet(np.ones(n_states)), rng.dirichlet(np.ones(n_states), n_states)
    gone = rng.random((n_states, n_states)) < zeros
    np.fill_diagonal(gone, val=False)
    transmat = np.where(gone, 0.0, transmat)
    return (
        start,
        transmat / transmat.sum(axis=1, keepdims=True),
        rng.normal(size=(n_rows, n_states)),
    )


def test_two_rows_by_hand():
    start, transmat = np.array([0.3, 0.7]), np.array([[0.9, 0.1], [0.4, 0.6]])
    b = np.array([[0.5, 0.2], [0.1, 0.8]])
    joint = start[:, None] * b[0][:, None] * transmat * b[1]
    found = oracles.enumerate_paths(start, transmat, np.log(b))
    assert_allclose(found.log_likelihood, np.log(joint.sum()))
    assert_allclose(found.pairs, joint / joint.sum())
    assert_allclose(found.smoothed, [joint.sum(axis=1) / joint.sum(), joint.sum(0) / joint.sum()])
    assert_allclose(found.log_p[0], np.log(start @ b[0]))
    assert_allclose(found.filtered[0], start * b[0] / (start @ b[0]))
    paths = oracles.every_path(start, transmat, np.log(b))
    assert_allclose(np.exp(paths.log_joint), joint.ravel())
    assert_array_equal(paths.best(1)[1][0], np.unravel_index(joint.argmax(), (2, 2)))
    p = joint.ravel() / joint.sum()
    assert_allclose(paths.entropy(), -(p @ np.log(p)))


@pytest.mark.parametrize("dtype", [np.float64, np.longdouble])
@pytest.mark.parametrize("zeros", [0.0, 0.6])
@pytest.mark.parametrize(("n_states", "n_rows"), [(1, 4), (2, 7), (4, 5)])
def test_recursions_are_the_sum_over_paths(dtype, zeros, n_states, n_rows):
    problem = chain(n_states, n_rows, 10 * n_states + n_rows, zeros)
    problem[2][n_rows // 2, 0] = -np.inf
    if n_states > 1:
        problem[2][1, :] = -np.inf  # an impossible row
    left = oracles.forward_backward(*problem, dtype)
    for mine, other in zip(left, oracles.enumerate_paths(*problem), strict=True):
        assert_allclose(mine.astype(float), other, rtol=1e-11, atol=1e-14)
    assert (left.log_likelihood == -np.inf) == (n_states > 1 or n_rows // 2 > 0)


@pytest.mark.parametrize("n_rows", [1, 2, 3, 31, 64, 129])
def test_doubling_is_the_recursion(n_rows):
    start, transmat, logs = chain(3, n_rows, n_rows)
    expected = oracles.forward_backward(start, transmat, 100 * logs, np.longdouble).log_p.sum()
    found = oracles.log_likelihood_by_doubling(start, transmat, 100 * logs)
    assert_allclose(float(found), float(expected), rtol=1e-15)


def test_impossible_rows_say_nothing():
    logs = np.array([[-np.inf, 0.0], [0.0, -np.inf], [-1.0, -2.0]])
    passed, impossible = oracles.without_impossible_rows([0.5, 0.5], np.eye(2), logs)
    assert_array_equal(impossible, [False, True, False])
    assert_array_equal(passed[1], 0.0)
    assert_array_equal(passed[[0, 2]], logs[[0, 2]])
