"""The oracles themselves, against closed forms and each other."""

import math
from fractions import Fraction

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.stats import norm

from tests import oracles
from tests.oracles import Mixture
from tests.problems import COVARIANCE_TYPES, blobs, knock_out, random_covariance, start


def test_log_density_is_the_formula_in_one_dimension():
    mixture = Mixture(
        np.array([0.3, 0.7]), np.array([[-1.0], [2.0]]), np.array([0.5, 4.0]), "spherical"
    )
    x = np.linspace(-4, 6, 11)
    expected = np.log(0.3 * norm.pdf(x, -1, np.sqrt(0.5)) + 0.7 * norm.pdf(x, 2, 2.0))
    assert_allclose(oracles.log_density(x[:, None], mixture), expected, rtol=1e-13)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_plain_and_precise_densities_agree_where_nothing_cancels(covariance_type):
    X = blobs(20)
    _, mixture = start(X, 3, covariance_type)
    assert_allclose(
        oracles.log_density(X, mixture), oracles.precise_log_density(X, mixture), rtol=1e-12
    )


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_missing_value_is_integrated_out(covariance_type):
    X = blobs(20, n_features=2)
    _, mixture = start(X, 2, covariance_type)
    x = X[3, 0]
    density = lambda y: np.exp(oracles.log_density([[x, y]], mixture)[0])  # noqa: E731
    expected, _ = quad(density, -60, 60, limit=500, epsabs=0, epsrel=1e-10)
    assert_allclose(np.exp(oracles.log_density([[x, np.nan]], mixture)), expected, rtol=1e-8)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_imputed_value_is_the_conditional_expectation(covariance_type):
    X = blobs(20, n_features=2)
    _, mixture = start(X, 2, covariance_type)
    x = X[3, 0]
    density = lambda y: np.exp(oracles.log_density([[x, y]], mixture)[0])  # noqa: E731
    integral = [
        quad(f, -60, 60, limit=500, epsabs=0, epsrel=1e-10)[0]
        for f in (density, lambda y: y * density(y))
    ]
    assert_allclose(
        oracles.impute([[x, np.nan]], mixture)[0], [x, integral[1] / integral[0]], rtol=1e-7
    )


def test_row_without_observations_scores_zero_and_keeps_the_weights():
    _, mixture = start(blobs(20), 3, "full")
    row = np.full((1, 3), np.nan)
    assert_allclose(oracles.log_density(row, mixture), 0.0, atol=1e-15)
    assert_allclose(oracles.responsibilities(row, mixture)[0], mixture.weights, rtol=1e-14)


def test_conditional_moments_are_those_of_regression():
    rng = np.random.default_rng(0)
    matrix, mean = random_covariance(rng, 2), rng.normal(size=2)
    filled, covariance = oracles.conditional_moments(np.array([1.5, np.nan]), mean, matrix)
    slope = matrix[1, 0] / matrix[0, 0]
    assert_allclose(filled, [1.5, mean[1] + slope * (1.5 - mean[0])])
    assert_allclose(covariance, [[0, 0], [0, matrix[1, 1] - slope * matrix[0, 1]]])


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_em_steps_climb_and_end_where_the_gradient_vanishes(covariance_type, missing, weighted):
    X = blobs(30, n_features=2, n_components=2, seed=3)
    X = knock_out(X) if missing else X
    weight = np.random.default_rng(0).uniform(0.2, 3, size=len(X)) if weighted else None
    _, mixture = start(X, 2, covariance_type)
    bounds = []
    for _ in range(150):
        bounds.append(oracles.score(X, mixture, weight))
        mixture = oracles.em_step(X, mixture, sample_weight=weight)
    assert min(np.diff(bounds)) > -1e-12
    assert bounds[-1] - bounds[0] > 0.1
    # A fixed point of EM is a stationary point of the likelihood: shown by finite differences.
    for field in ("means", "covariances"):
        for index in np.ndindex(getattr(mixture, field).shape):
            assert abs(_slope(X, mixture, field, index, weight)) < 1e-4


def _slope(X, mixture, field, index, weight, step=1e-5):
    """∂ score / ∂ one parameter; a covariance matrix is moved symmetrically."""
    symmetric = field == "covariances" and mixture.covariance_type in ("full", "tied")
    scores = []
    for sign in (1, -1):
        moved = getattr(mixture, field).copy()
        moved[index] += sign * step
        if symmetric:
            moved[(*index[:-2], index[-1], index[-2])] = moved[index]
        scores.append(oracles.score(X, mixture._replace(**{field: moved}), weight))
    return (scores[0] - scores[1]) / (2 * step)


def test_integer_weights_are_repeated_rows_in_an_em_step():
    X = knock_out(blobs(40))
    weight = np.random.default_rng(0).integers(0, 4, size=len(X))
    _, mixture = start(X, 2, "full")
    weighted = oracles.em_step(X, mixture, sample_weight=weight, reg_covar=0.5)
    repeated = oracles.em_step(X.repeat(weight, axis=0), mixture, reg_covar=0.5)
    for left, right in zip(weighted[:3], repeated[:3], strict=True):
        assert_allclose(left, right, rtol=1e-11)


def test_em_step_agrees_with_sixty_digits():
    X = blobs(30, n_features=2)
    _, mixture = start(X, 2, "full")
    for left, right in zip(
        oracles.em_step(X, mixture)[:3], oracles.precise_em_step(X, mixture)[:3], strict=True
    ):
        assert_allclose(left, right, rtol=1e-11)


def test_one_component_step_is_the_sample_moments():
    X = blobs(50)
    mean, covariance = oracles.precise_moments(X)
    assert_allclose(mean, X.mean(axis=0), rtol=1e-13)
    assert_allclose(covariance, np.cov(X.T, bias=True), rtol=1e-12)


def test_precise_moments_are_exact_far_from_the_origin():
    x = 1e8 + np.array([0.0, 1.0, 2.0, 7.0])
    mean, covariance = oracles.precise_moments(x[:, None])
    exact = [Fraction(v) for v in x]
    center = sum(exact) / 4
    assert mean[0] == float(center)
    assert covariance[0, 0] == float(sum((v - center) ** 2 for v in exact) / 4)


def test_floor_is_relative_to_variances():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 3)) * [1e-3, 10.0, 0.0]
    small, large, _ = X.var(axis=0)
    expected = 0.1 * np.array([small, large, (small + large) / 2])
    assert_allclose(oracles.covariance_floor(X, 0.1), expected)
    assert_allclose(oracles.covariance_floor(np.full((5, 2), 0.1), 0.1), [0.1, 0.1])
    assert_allclose(oracles.covariance_floor(X, 1e-20), 1e-13 * expected)


def test_constrained_covariance_is_the_best_feasible_one():
    rng = np.random.default_rng(0)
    floor = np.array([0.3, 1.0, 0.05])
    scatter = random_covariance(rng, 3, scale=0.4)
    best = oracles.constrained_covariance(scatter, floor)

    def objective(matrix):
        return -np.linalg.slogdet(matrix)[1] - np.trace(np.linalg.solve(matrix, scatter))

    assert np.linalg.eigvalsh(best - np.diag(floor))[0] > -1e-12
    assert np.linalg.eigvalsh(scatter - np.diag(floor))[0] < -0.1  # the floor does something
    # The objective is concave in the precision: no feasible point near by is better.
    for _ in range(200):
        factor = rng.normal(size=(3, 3))
        other = np.diag(floor) + factor @ factor.T
        for share in (1e-3, 1e-2, 0.3):
            inverse = (1 - share) * np.linalg.inv(best) + share * np.linalg.inv(other)
            assert objective(np.linalg.inv(inverse)) <= objective(best) + 1e-12


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_free_parameters_are_counted_on_an_example(covariance_type):
    # Three components in two dimensions: 2 weights, 6 means, and the covariances.
    covariances = {"full": 9, "tied": 3, "diag": 6, "spherical": 3}[covariance_type]
    assert oracles.n_free_parameters(3, 2, covariance_type) == 2 + 6 + covariances


@pytest.mark.parametrize("n", range(1, 8))
def test_trees_of_one_label_are_counted_by_catalan(n):
    q = 0.25
    grammar = np.ones(1), np.full((1, 1, 1), 1 - q), np.full(1, q), None
    trees = oracles.enumerate_trees(grammar, np.full((n, 1), 0.5))
    assert len(set(trees.trees)) == len(trees.trees) == math.comb(2 * n - 2, n - 1) // n
    each = Fraction(1 - q) ** (n - 1) * Fraction(q) ** n * Fraction(1, 2) ** n
    assert trees.probability == len(trees.trees) * each
    assert trees.best() == each
    assert trees.rule_counts() == {(0,): n, **({(0, 0, 0): n - 1} if n > 1 else {})}
    assert trees.spans()[0, n - 1, 0] == 1.0


def test_brackets_remove_trees_and_unit_rules_add_some():
    rules = np.full((1, 1, 1), 0.25)
    grammar = np.ones(1), rules, np.full(1, 0.5), np.full((1, 1), 0.25)
    ones = np.ones((3, 1))
    assert len(oracles.enumerate_trees(grammar, ones).trees) == 2
    (left,) = oracles.enumerate_trees(grammar, ones, [(0, 1)]).trees
    assert left.children[0][1:3] == (0, 1)
    # A chain of no or one unit rule above each of the five nodes.
    assert len(oracles.enumerate_trees(grammar, ones, longest=1).trees) == 2 * 2**5
    assert oracles.enumerate_trees(grammar, ones[:1], longest=60).probability == pytest.approx(
        0.5 / (1 - 0.25)
    )
