"""Laplace's approximation against closed forms, exact Hessians, and a long run of NUTS."""

import math
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import sparse
from scipy.special import gammaln

from benchmarks.inference import posteriors
from benchmarks.inference.tomography import Tomography
from skvae.inference import laplace


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("hessian", ["exact", "low_rank"])
def test_a_gaussian_is_exact(seed, hessian):
    n = 12
    log_density, mean, covariance = posteriors.gaussian(n, seed)
    given = {"rank": n, "prior_precision": np.full(n, 0.1)} if hessian == "low_rank" else {}
    found = laplace(log_density, np.zeros(n), hessian=hessian, random_state=0, **given)
    deviation = np.sqrt(np.diag(covariance))
    assert_allclose((found.mean - mean) / deviation, 0, atol=1e-4)
    assert_allclose(found.covariance @ np.eye(n), covariance, rtol=0, atol=1e-6 * covariance.max())
    assert_allclose(found.standard_deviation, deviation, rtol=1e-6)
    evidence = 0.5 * (n * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1])
    assert abs(found.log_evidence.value - evidence) < 1e-5
    assert found.log_evidence.standard_error < 1e-5
    assert found.khat < 0.7


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_parameter_in_other_units_is_found_as_well(scale):
    """The logarithm of a gamma variable: mode ln a, curvature a, integral Γ(a)."""

    def log_density(theta):
        u = theta / scale
        return (40 * u - np.exp(u)).sum(), (40 - np.exp(u)) / scale

    found = laplace(log_density, np.zeros(2), random_state=0)
    assert_allclose(found.mean / scale, math.log(40), rtol=1e-6)
    assert_allclose(found.standard_deviation / scale, 1 / math.sqrt(40), rtol=1e-5)
    exact = 2 * (gammaln(40) + math.log(scale))
    assert abs(found.log_evidence.value - exact) < 4 * found.log_evidence.standard_error


def test_a_given_hessian_is_used():
    problem = Tomography(40, noise=0.2)
    start = np.zeros(120)
    calls = laplace(problem, start, hessian=problem.hessian, random_state=0)
    differences = laplace(problem, start, random_state=0)
    assert_allclose(calls.standard_deviation, differences.standard_deviation, rtol=1e-4)
    assert calls.n_calls < differences.n_calls


@pytest.mark.parametrize("rank", [20, 60, 120])
def test_low_rank_is_within_its_stated_error(rank):
    problem = Tomography(40, noise=0.2)
    prior = problem.prior_precision
    found = laplace(
        problem, np.zeros(120), hessian="low_rank", rank=rank, prior_precision=prior, random_state=0
    )
    exact = np.sqrt(np.diag(np.linalg.inv(-problem.hessian(found.mean))))
    error = np.abs(np.log(found.standard_deviation / exact)).max()
    assert error <= math.log1p(found.standard_deviation_error) + 1e-4


@pytest.mark.slow
def test_three_fields_on_a_mesh():
    """1,950 parameters; the referee is the Hessian by formula."""
    problem = Tomography()
    n = len(problem.truth)
    exact = laplace(problem, np.zeros(n), prior_precision=problem.prior_precision, random_state=0)
    referee = np.sqrt(np.diag(np.linalg.inv(-problem.hessian(exact.mean))))
    assert_allclose(exact.standard_deviation, referee, rtol=1e-3)
    low = laplace(
        problem,
        np.zeros(n),
        hessian="low_rank",
        rank=300,
        prior_precision=problem.prior_precision,
        random_state=0,
    )
    ratio = low.standard_deviation / referee
    assert_allclose(ratio, 1.0, atol=0.05)
    assert np.abs(np.log(ratio)).max() <= math.log1p(low.standard_deviation_error) + 1e-4


PRIORS = {
    "variances": np.full(10, 2.0),
    "matrix": 2.0 * np.eye(10) + 0.3,
    "sparse": sparse.diags([np.full(9, -0.9), np.full(10, 2.0), np.full(9, -0.9)], [-1, 0, 1]),
}


@pytest.mark.parametrize("name", PRIORS)
def test_moments_of_draws_under_every_form_of_prior(name):
    prior = PRIORS[name]
    log_density, mean, covariance = posteriors.gaussian(10, 5)
    found = laplace(
        log_density,
        np.zeros(10),
        hessian="low_rank",
        rank=10,
        prior_precision=prior,
        random_state=0,
    )
    assert_allclose(found.covariance @ np.eye(10), covariance, atol=1e-6 * covariance.max())
    draws = found.sample(40_000, random_state=1)
    deviation = np.sqrt(np.diag(covariance))
    assert_allclose((draws.mean(axis=0) - mean) / deviation, 0, atol=4 / 200)
    error = (np.cov(draws.T) - covariance) / np.outer(deviation, deviation)
    assert_allclose(error, 0, atol=5 * math.sqrt(2) / 200)


@pytest.mark.parametrize("seed", range(3))
def test_a_low_rank_covariance_is_that_of_prior_and_data(seed):
    """Three measurements of ten parameters: three directions hold all that the data add."""
    rng = np.random.RandomState(seed)
    design, y = rng.normal(size=(3, 10)), rng.normal(size=3)
    prior = PRIORS["sparse"]

    def log_density(theta):
        residual, smooth = y - design @ theta, prior @ theta
        return -0.5 * (residual @ residual + theta @ smooth), design.T @ residual - smooth

    found = laplace(
        log_density, np.ones(10), hessian="low_rank", rank=3, prior_precision=prior, random_state=0
    )
    exact = np.linalg.inv(prior.toarray() + design.T @ design)
    assert_allclose(found.covariance @ np.eye(10), exact, atol=1e-8)
    assert_allclose(found.standard_deviation, np.sqrt(np.diag(exact)), rtol=1e-8)


def test_logistic_regression_agrees_with_nuts():
    log_density, n = posteriors.logistic_regression()
    reference = posteriors.nuts_reference()["logistic_regression"]
    found = laplace(log_density, np.zeros(n), random_state=0)
    ratio = found.standard_deviation / reference["standard_deviation"]
    assert 0.9 < ratio.min() < ratio.max() < 1.1
    assert 0 < found.khat < 0.7


def test_khat_warns_of_two_modes():
    found = laplace(posteriors.two_normals(8.0), np.array([3.0, 0.2]), random_state=0)
    near = laplace(posteriors.two_normals(1.0), np.array([0.5, 0.2]), random_state=0)
    assert near.khat < 0.7
    assert (
        abs(near.log_evidence.value - math.log(2 * math.pi)) < 4 * near.log_evidence.standard_error
    )
    # The other mode is never drawn: half of the mass is missing, and the weights do not show it.
    assert abs(found.log_evidence.value - math.log(math.pi)) < 0.01


def test_a_heavy_tail_is_seen():
    """A Cauchy density: its weights have no variance under any Gaussian."""

    def log_density(theta):
        return -np.log1p(theta @ theta), -2 * theta / (1 + theta @ theta)

    assert laplace(log_density, [0.3], random_state=0).khat > 0.7


def test_results_do_not_change_between_calls_and_follow_the_seed():
    log_density, n = posteriors.logistic_regression()
    first, second = (laplace(log_density, np.zeros(n), random_state=3) for _ in range(2))
    assert first.log_evidence == second.log_evidence
    assert (first.sample(3) == second.sample(3)).all()
    assert (first.sample(3, random_state=1) != first.sample(3)).any()


def square(theta):
    return -0.5 * float(theta @ theta), -theta


def test_pickles():
    found = laplace(square, np.ones(2), random_state=0)
    again = pickle.loads(pickle.dumps(found))
    assert again.log_evidence == found.log_evidence


def test_a_step_beyond_the_support_is_not_an_error():
    """The density of a gamma variable itself, on the positive numbers only."""

    def log_density(theta):
        if (theta <= 0).any():
            return -np.inf, np.full_like(theta, np.nan)
        return (49 * np.log(theta) - theta).sum(), 49 / theta - 1

    found = laplace(log_density, [0.01, 300.0], random_state=0)
    assert_allclose(found.mean, 49, rtol=1e-4)
    assert_allclose(found.standard_deviation, 7, rtol=1e-4)


WRONG = {
    "nan": (lambda t: (np.nan, -t), "log_density: is nan"),
    "zero": (lambda t: (-np.inf, -t), "log_density: is -inf"),
    "gradient nan": (lambda t: (0.0, t * np.nan), "entry 0 of its gradient is nan"),
    "gradient": (lambda t: (-t @ t / 2, -1.01 * t), "its gradient is wrong"),
    "one entry": (lambda t: (-t @ t / 2, -t * [1, 1, 1.001]), "its gradient is wrong"),
    "shape": (lambda t: (0.0, t[:1]), r"shape \(1,\), that of theta is \(3,\)"),
    "one number": (lambda t: -t @ t / 2, "must return the pair"),
    "flat": (lambda t: (-(t[0] ** 2), np.array([-2 * t[0], 0, 0])), "must be negative"),
    "saddle": (lambda t: (-(t[0] ** 2) + t[1] ** 2 - t[2] ** 2, [-2, 2, -2] * t), "log_density"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_log_density_is_one_clear_error(name):
    log_density, text = WRONG[name]
    start = np.array([0.5, 0.0 if name == "saddle" else 0.3, 0.2])
    with pytest.raises(ValueError, match=text):
        laplace(log_density, start, random_state=0)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"hessian": "lbfgs"}, "hessian='lbfgs'"),
        ({"rank": 2}, "rank=2: must be None"),
        ({"hessian": "low_rank"}, "rank=None: must be given"),
        ({"hessian": "low_rank", "rank": 2}, "prior_precision=None: must be given"),
        ({"hessian": "low_rank", "rank": 4, "prior_precision": np.ones(3)}, "rank=4"),
        ({"prior_precision": np.ones(2)}, r"prior_precision: must have the shape \(3,\)"),
        ({"prior_precision": [1.0, -1.0, 1.0]}, "must be positive, found -1"),
        ({"prior_precision": np.diag([1.0, -1.0, 1.0])}, "positive definite"),
        ({"prior_precision": sparse.diags([1.0, -1.0, 1.0])}, "positive definite"),
        ({"prior_precision": np.triu(np.ones((3, 3)))}, "must be symmetric"),
        ({"prior_precision": [1.0, np.nan, 1.0]}, "must be finite"),
        ({"start": [[0.0]]}, "start: must be a vector"),
        ({"start": [0.0, np.nan]}, "start: must be a vector"),
        ({"start": "abc"}, "start='abc'"),
        ({"log_density": 3}, "log_density=3: must be a function"),
        ({"hessian": lambda t: np.eye(2)}, "hessian: must return"),
    ],
)
def test_wrong_arguments(given, text):
    arguments = {"log_density": square, "start": np.ones(3), "random_state": 0} | given
    with pytest.raises(ValueError, match=text):
        laplace(arguments.pop("log_density"), arguments.pop("start"), **arguments)
