"""Importance weights: the mean, its error, and the shape of their tail."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import genpareto

from skvae.importance import khat, log_evidence, pareto_shape


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.3, 0.7, 1.2])
def test_the_shape_of_pareto_numbers_is_found(shape):
    found = [
        pareto_shape(genpareto.rvs(shape, scale=3.0, size=2000, random_state=seed))
        for seed in range(5)
    ]
    assert_allclose(found, shape, atol=0.12)


@pytest.mark.parametrize(("deviation", "heavy"), [(0.7, True), (0.9, False), (1.0, False)])
def test_a_narrow_proposal_has_a_heavy_tail(deviation, heavy):
    """w = N(θ; 0, 1) / N(θ; 0, s²) has the tail 1 − s², for s < 1."""
    draws = deviation * np.random.RandomState(0).normal(size=(20, 4000))
    log_weight = -0.5 * draws**2 + 0.5 * (draws / deviation) ** 2
    found = np.mean([khat(row) for row in log_weight]) if deviation < 1 else khat(log_weight[0])
    if deviation == 1.0:
        assert found == -np.inf
    else:
        assert abs(found - (1 - deviation**2)) < 0.15
        assert (found > 0.4) == heavy


def test_the_mean_weight_and_its_error():
    rng = np.random.RandomState(0)
    log_weight = rng.normal(size=(400, 500)) * 0.5  # the logarithm of the mean is 1/8
    found = [log_evidence(row) for row in log_weight]
    error = np.array([(f.value - 0.125) / f.standard_error for f in found])
    assert abs(error.std() - 1) < 0.15
    assert_allclose(log_evidence(log_weight[0] + 1e5).value, found[0].value + 1e5)


def test_weights_of_zero():
    assert log_evidence(np.full(100, -np.inf)).value == -np.inf
    assert khat(np.zeros(3)) == np.inf
