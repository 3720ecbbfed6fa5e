"""M steps and densities of gamma, von Mises and count families at the ends of their ranges."""

import mpmath
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import quad
from scipy.optimize import minimize_scalar
from scipy.special import digamma, gammaln, i0e, i1e, ive
from scipy.stats import gamma, nbinom, poisson, vonmises

from skvae import EMHiddenMarkov
from skvae.emissions import gamma as gammas
from skvae.emissions import negative_binomial as counts
from skvae.emissions import von_mises as angles
from skvae.emissions import zero_inflated_poisson as zeros
from skvae.gaussian.student import log_minus_digamma
from skvae.hmm import (
    GammaEmission,
    MultinomialEmission,
    NegativeBinomialEmission,
    PoissonEmission,
    VonMisesEmission,
    ZeroInflatedPoissonEmission,
)
from tests.emissions.tools import first_of, mixture_bounds, some_resp, statistics, summary_of

# Gamma --------------------------------------------------------------------------------------------


def test_shapes_of_any_size():
    shapes = 10.0 ** np.linspace(-3, 8, 400)
    found = gammas.solve_shapes(log_minus_digamma(shapes))
    assert_allclose(found, shapes, rtol=1e-11)


def test_shapes_beyond_the_limits():
    found = gammas.solve_shapes(np.array([-1e-17, 0.0, 1e-12, 1e5, np.inf]))
    assert_allclose(found, [1e8, 1e8, 1e8, 1e-4, 1e-4], rtol=1e-14)


@pytest.mark.parametrize("shape", [1e-3, 0.5, 40.0, 1e4, 1e6])
@pytest.mark.parametrize("scale", [1e-9, 1e12])
def test_m_step_of_the_shape(shape, scale):
    rng = np.random.default_rng(0)
    x = np.maximum(rng.gamma(shape, size=60), 1e-290) * scale
    weight = rng.uniform(0.1, 2.0, 60)
    emission = GammaEmission.from_parameters([[1.0]], [[1.0]])
    old = emission.parameters()
    found = emission.maximize(old, statistics(old, x[:, None], weight[None]), None)

    def loss(log_shape):  # with the best scale
        a, mean = np.exp(log_shape), weight @ x / weight.sum()
        return -weight @ gamma.logpdf(x, a, scale=mean / a)

    best = minimize_scalar(loss, bracket=(np.log(shape), np.log(shape) + 0.1), tol=1e-12)
    assert_allclose(found.shapes[0, 0], np.exp(best.x), rtol=1e-4)
    assert loss(np.log(found.shapes[0, 0])) <= best.fun + 1e-9 * abs(best.fun)
    assert_allclose(found.means()[0, 0], weight @ x / weight.sum(), rtol=1e-14)


def test_gamma_densities_of_large_shapes_do_not_cancel():
    """A gamma distribution with a large shape is nearly normal: the terms are of size 1e8."""
    emission = GammaEmission.from_parameters([[1e8]], [[1e-8]])
    z = np.array([-2.0, 0.0, 1.0, 3.0])
    found = emission.log_density(1.0 + z[:, None] * 1e-4)[:, 0]
    # The skewness is 2/√a: ln φ(z) + (z³/3 − z)/√a up to terms of 1/a.
    expected = -0.5 * z**2 - 0.5 * np.log(2 * np.pi) + np.log(1e4) + (z**3 / 3 - z) * 1e-4
    assert_allclose(found, expected, atol=1e-6)
    tiny = GammaEmission.from_parameters([[1e-3]], [[1e3]]).log_density([[1e-300], [1e300]])
    assert_allclose(tiny[:1], gamma.logpdf([[1e-300]], 1e-3, scale=1e3), rtol=1e-12)


# Von Mises ----------------------------------------------------------------------------------------


def test_concentrations_of_any_size():
    kappa = np.concatenate([[0.0, 1e-12], 10.0 ** np.linspace(-9, 8, 400)])
    lengths = angles.resultant(kappa)[0]
    found = angles.solve_concentrations(lengths)
    # At a large κ the length is near one: its last place moves κ.
    assert_allclose(found, kappa, rtol=1e-11 + 1e-15 * kappa.max())
    assert_allclose(found[kappa < 100], kappa[kappa < 100], rtol=1e-12)
    assert_allclose(angles.solve_concentrations(np.array([1.0, 1.0 + 1e-15])), 1e8, rtol=1e-14)


def test_one_less_the_resultant():
    kappa = np.array([0.0, 0.1, 3.0, 499.0, 501.0])
    a, rest = angles.resultant(kappa)
    assert_allclose(a, i1e(kappa) / i0e(kappa), rtol=1e-14)
    assert_allclose(rest, 1 - a, rtol=1e-12)
    # Both sides of the place where the series begins, and the limit 1/(2κ).
    assert_allclose(np.diff(np.log(rest[-2:])), np.diff(-np.log(kappa[-2:])), rtol=2e-3)
    assert_allclose(angles.resultant(1e8)[1], 0.5e-8, rtol=1e-8)


@pytest.mark.parametrize("kappa", [0.0, 0.3, 20.0, 1e4, 1e6])
def test_m_step_of_the_concentration(kappa):
    rng = np.random.default_rng(1)
    x = rng.vonmises(3.0, kappa, size=200) if kappa else rng.uniform(-9, 9, size=200)
    weight = rng.uniform(0.1, 2.0, 200)
    emission = VonMisesEmission.from_parameters([[1.0]], [[1.0]])
    old = emission.parameters()
    found = emission.maximize(old, statistics(old, x[:, None], weight[None]), None)

    def loss(log_kappa):
        return -weight @ vonmises.logpdf(x, np.exp(log_kappa), loc=found.directions[0, 0])

    middle = np.log(found.concentrations[0, 0])
    best = minimize_scalar(loss, bracket=(middle - 0.5, middle + 0.3), tol=1e-12)
    assert_allclose(found.concentrations[0, 0], np.exp(best.x), rtol=1e-4)
    resultant = weight @ np.exp(1j * x)
    assert_allclose(found.directions[0, 0], np.angle(resultant), rtol=1e-12)


@pytest.mark.parametrize("kappa", [0.0, 0.2, 3.0, 60.0, 1e4, 1e8])
def test_the_variance_of_angles(kappa):
    reach = min(np.pi, 12 / np.sqrt(max(kappa, 1.0)))

    def density(t, power):
        return t**power * np.exp(-2 * kappa * np.sin(t / 2) ** 2)

    second, zeroth = (quad(density, 0, reach, (p,), epsabs=0, epsrel=1e-12)[0] for p in (2, 0))
    assert_allclose(angles.angular_variance(kappa), second / zeroth, rtol=1e-9)
    if kappa == 3.0:
        n = np.arange(1, 200)
        series = np.pi**2 / 3 + 4 * ((-1.0) ** n * ive(n, kappa) / ive(0, kappa) / n**2).sum()
        assert_allclose(angles.angular_variance(kappa), series, rtol=1e-12)


def test_angles_count_modulo_a_turn():
    emission = VonMisesEmission.from_parameters([[3.0], [-3.0]], [[2.0], [1e6]])
    X = np.linspace(-3, 3, 9)[:, None]
    expected = emission.log_density(X)
    for turns in (-2, 1, 5):
        found = emission.log_density(X + 2 * np.pi * turns)
        assert_allclose(found, expected, rtol=1e-8, atol=1e-8)
    assert_array_equal(angles.wrap(np.array([np.pi, 0.0])), [np.pi, 0.0])
    assert_allclose(angles.wrap(np.array([-np.pi, 4.0])), [np.pi, 4.0 - 2 * np.pi])


def test_angles_that_lie_across_the_cut_are_one_state():
    X = np.array([3.1, -3.1, 3.0, -3.05, 0.1, -0.1, 0.05, 0.0] * 20)[:, None]
    emission = VonMisesEmission()
    first = first_of(emission, X, (np.abs(X[:, 0]) < 1).astype(int), 2)
    _, last = mixture_bounds(emission, first, X, summary_of(emission, X), 20)
    assert_allclose(np.abs(last.directions[:, 0]), [np.pi, 0.0], atol=0.05)
    assert (last.concentrations > 100).all()


# Negative binomial --------------------------------------------------------------------------------


@pytest.mark.parametrize("r", 10.0 ** np.arange(-8, 9, 2))
def test_sums_over_nodes_are_sums_over_counts(r):
    rng = np.random.default_rng(0)
    few = np.arange(64.0)
    x = np.concatenate([few, np.floor(10 ** rng.uniform(1.8, 15.9, 3000)), counts.NODES[70:90]])
    shares = counts.spread(x)
    assert_array_equal(shares[:64, :64].toarray(), np.eye(64))
    for function in (gammaln, digamma):
        expected = function(x + r)
        assert_allclose(shares @ function(counts.NODES + r), expected, rtol=1e-13, atol=1e-13)
    assert_allclose(shares.sum(axis=1), 1.0, rtol=1e-14)


@pytest.mark.parametrize("rate", [1e-6, 0.3, 50.0, 3e4, 1e6, 1e12])
@pytest.mark.parametrize("dispersion", [0.0, 1e-9, 1e-3, 0.5, 40.0])
def test_expected_shares_are_those_of_a_distribution(rate, dispersion):
    shares, x = counts.expected_shares(rate, dispersion), counts.NODES
    r = 1.0 / max(dispersion, 1e-300)
    assert_allclose(shares.sum(), 1.0, rtol=1e-12)
    assert_allclose(shares @ x, rate, rtol=1e-8)
    # The variance has the round-off of rate².
    variance = rate + dispersion * rate**2
    assert_allclose(shares @ (x - rate) ** 2, variance, rtol=1e-6, atol=1e-15 * rate**2)
    if dispersion:  # the expectation of the score is zero
        score = shares @ (digamma(x + r) - digamma(r))
        assert_allclose(score, np.log1p(rate / r), rtol=1e-6)
    small = np.arange(64)
    if rate < 1e3 and dispersion > 1e-4:
        expected = nbinom.pmf(small, r, r / (r + rate))
        assert_allclose(shares[:64], expected, rtol=1e-7, atol=1e-14)  # scipy's have errors


@pytest.mark.parametrize("seed", range(10))
def test_m_step_of_the_dispersion(seed):
    rng = np.random.default_rng(seed)
    rate, dispersion = 10 ** rng.uniform(-1, 6), 10 ** rng.uniform(-3, 2)
    n = rng.choice([6, 50, 2000])
    x = rng.poisson(rate * rng.gamma(1 / dispersion, dispersion, size=n)).astype(float)
    x[0] = 1.0
    weight = rng.uniform(0.1, 1.0, n)
    emission = NegativeBinomialEmission.from_parameters([[1.0]], [[1.0]])
    old = emission.parameters()
    found = emission.maximize(old, statistics(old, x[:, None], weight[None]), None)
    mean = weight @ x / weight.sum()
    assert_allclose(found.rates[0, 0], mean, rtol=1e-13)

    def loss(log_dispersion):
        size = np.exp(-log_dispersion)
        return -weight @ nbinom.logpmf(x, size, size / (size + mean)) / weight.sum()

    grid = np.linspace(-14, 12, 105)
    start = grid[np.argmin([loss(v) for v in grid])]
    best = minimize_scalar(loss, bounds=(start - 0.5, start + 0.5), options={"xatol": 1e-9})
    alpha = found.dispersions[0, 0]
    if weight @ (x - mean) ** 2 / weight.sum() <= mean:
        assert alpha == 0
    else:
        assert loss(np.log(alpha)) <= best.fun + 1e-9 * abs(best.fun)
        assert_allclose(alpha, np.exp(best.x), rtol=1e-3)


def test_counts_with_less_variance_than_a_poisson_distribution():
    X = np.array([[3.0], [4.0], [4.0], [5.0]])
    emission = NegativeBinomialEmission.from_parameters([[1.0]], [[1.0]])
    old = emission.parameters()
    found = emission.maximize(old, statistics(old, X, np.ones((1, 4))), None)
    assert_array_equal(found.dispersions, [[0.0]])
    assert_allclose(found.log_density(X)[0, :, 0], poisson.logpmf(X[:, 0], 4.0), rtol=1e-13)
    # From the limit an M step leads away again.
    other = np.array([[0.0], [0.0], [9.0], [40.0]])
    found = emission.maximize(found, statistics(found, other, np.ones((1, 4))), None)
    assert found.dispersions[0, 0] > 1


@pytest.mark.parametrize("value", [1e3, 1e9, 2.0**53])
def test_large_counts_without_variance_are_no_dispersion(value):
    X = np.full((30, 1), value)
    emission = NegativeBinomialEmission.from_parameters([[1.0]], [[1.0]])
    old = emission.parameters()
    for weight in (np.ones(30), np.random.default_rng(0).uniform(size=30)):
        found = emission.maximize(old, statistics(old, X, weight[None]), None)
        assert_array_equal(found.dispersions, [[0.0]])
        assert_allclose(found.rates, value, rtol=1e-14)


def test_negative_binomial_densities_near_the_poisson_limit_do_not_cancel():
    x = np.array([0.0, 3.0, 1e3, 1e6])
    for rate in (0.5, 990.0, 1e6):
        found = counts.log_density(x, np.float64(rate), np.array([[1e-30], [1e-16], [1e-13]]))
        expected = np.where(x > 0, poisson.logpmf(x, rate), -rate)
        assert_allclose(found, np.tile(expected, (3, 1)), rtol=1e-7, atol=1e-7)


# Zero-inflated Poisson ----------------------------------------------------------------------------


def test_rates_of_any_size():
    rates = 10.0 ** np.linspace(-11, 15, 300)
    found = zeros.solve_rates(zeros.excess_of_truncated(rates))
    assert_allclose(found, rates, rtol=1e-11)


def test_fewer_zeros_than_a_poisson_distribution_has():
    rates, weights = zeros.estimate(np.array([1.0, 0.99, 0.0, 0.5]), np.array([2.0, 2.0, 0.0, 0.5]))
    assert_array_equal(weights, 0.0)
    assert_array_equal(rates, [2.0, 2.0, 0.0, 0.5])


def test_a_rate_of_zero_and_a_weight_of_one():
    values = [[0.0], [3.0], [2.0]], [[0.0], [1.0], [0.0]]
    emission = ZeroInflatedPoissonEmission.from_parameters(*values)
    found = emission.log_density([[0.0], [2.0]])
    expected = np.log([[1, 1, np.exp(-2)], [1e-320, 1e-320, 2 * np.exp(-2)]])
    assert_allclose(found[0], expected[0], atol=1e-14)
    assert_array_equal(np.isneginf(found[1]), [True, True, False])


# Multinomial --------------------------------------------------------------------------------------


def test_a_probability_of_zero_excludes_counts():
    emission = MultinomialEmission.from_parameters([[0.5, 0.5, 0.0], [0.2, 0.3, 0.5]])
    found = emission.log_density([[1, 1, 0], [0, 0, 2], [0, 0, 0], [np.nan, 1, 1]])
    expected = np.log([[0.5, 0.12], [1e-320, 0.25], [1.0, 1.0], [1.0, 1.0]])
    assert np.isneginf(found[1, 0])
    found[1, 0] = expected[1, 0]
    assert_allclose(found, expected, rtol=1e-12, atol=1e-15)


def test_a_row_with_a_missing_count_is_missing_as_a_whole():
    emission = MultinomialEmission.from_parameters([[0.5, 0.3, 0.2]])
    old = emission.parameters()
    X = np.array([[1.0, 2.0, 3.0], [5.0, np.nan, 5.0]])
    found = emission.maximize(old, statistics(old, X, np.ones((1, 2))), None)
    assert_allclose(found.probabilities, [[1 / 6, 2 / 6, 3 / 6]], rtol=1e-14)


def test_the_total_of_draws_is_the_mean_of_the_rows():
    X = np.array([[1.0, 2.0], [3.0, 3.0], [0.0, 0.0], [1.0, 4.0]])
    first = first_of(MultinomialEmission(), X, np.array([0, 1, 0, 1]), 2)
    assert int(first.total) == 4
    draws = first.sample(np.array([0, 1, 1]), np.random.RandomState(0))
    assert_array_equal(draws.sum(axis=1), 4)


@pytest.mark.parametrize("prior", [1.5, 3.0])
def test_the_bound_with_a_prior_never_falls(prior):
    rng = np.random.RandomState(0)
    X = np.concatenate([rng.multinomial(n, p, 60) for n, p in ((9, [0.9, 0.1, 0]), (4, [0, 0, 1]))])
    emission = MultinomialEmission(prior=prior)
    first = first_of(emission, X.astype(float), np.arange(120) % 2, 2)
    bounds, last = mixture_bounds(emission, first, X.astype(float), None, 40)
    assert np.diff(bounds).min() > -1e-9
    assert (last.probabilities > 0).all()
    again = emission.earlier_statistics(last, [50.0, 70.0])
    found = emission.maximize(last, again, None)
    assert_allclose(found.probabilities, last.probabilities, rtol=1e-12)


def test_responsibilities_weigh_rows():
    X = np.random.RandomState(0).multinomial(5, [0.2, 0.3, 0.5], 30).astype(float)
    old = MultinomialEmission.from_parameters(np.full((2, 3), 1 / 3)).parameters()
    resp = some_resp(2, 30)
    found = MultinomialEmission().maximize(old, statistics(old, X, resp), None)
    expected = resp @ X
    assert_allclose(found.probabilities, expected / expected.sum(axis=1, keepdims=True), rtol=1e-13)


# Counts and angles of any size --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "rate"),
    [(2e6, 2.1e6), (3e9, 3e9 + 1e5), (1e15, 1e15 + 1e8), (2.0**53, 2.0**53 - 1e9), (4e12, 9.0)],
)
def test_densities_of_large_counts_do_not_cancel(count, rate):
    with mpmath.workdps(50):
        x, mean = mpmath.mpf(count), mpmath.mpf(rate)
        oracle = float(x * mpmath.log(mean) - mean - mpmath.loggamma(x + 1))
    poisson = PoissonEmission.from_parameters([[rate, rate]])
    X = [[count, np.nan], [count, count], [np.nan, np.nan]]
    found = poisson.log_density(X)[:, 0]
    assert_allclose(found, [oracle, 2 * oracle, 0.0], rtol=1e-14, atol=1e-15 * abs(count - rate))
    inflated = ZeroInflatedPoissonEmission.from_parameters([[rate]], [[0.25]])
    found = inflated.log_density([[count]])
    assert_allclose(found, oracle + np.log(0.75), rtol=1e-14, atol=1e-15 * abs(count - rate))


@pytest.mark.parametrize("total", [3e6, 1e10, 5e15])
def test_multinomial_densities_of_large_counts_do_not_cancel(total):
    p = np.array([0.0625, 0.25, 0.6875])
    counts = np.floor(p * total + np.sqrt(total) * np.array([0.3, -0.7, 0.4]))
    with mpmath.workdps(50):
        oracle = mpmath.loggamma(mpmath.mpf(counts.sum()) + 1)
        for x, share in zip(counts.tolist(), p.tolist(), strict=True):
            oracle += mpmath.mpf(x) * mpmath.log(share) - mpmath.loggamma(mpmath.mpf(x) + 1)
    emission = MultinomialEmission.from_parameters([p, [0.0, 0.5, 0.5]], total=4)
    found = emission.log_density([counts, [np.nan, total, total]])
    assert_allclose(found[0], [float(oracle), -np.inf], rtol=0, atol=1e-8)
    assert_array_equal(found[1], 0.0)


@pytest.mark.parametrize("scale", [1e9, 1e12, 4e15])
@pytest.mark.parametrize("emission", ["poisson", "negative_binomial", "zero_inflated_poisson"])
# The bound of the largest counts is rounded to more than `tol`.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_bound_of_large_counts_never_falls(emission, scale):
    rng = np.random.default_rng(5)
    X = np.round(scale * (1 + np.repeat([0, 1, 0], 40) + 1e-5 * rng.normal(size=120)))[:, None]
    chain = EMHiddenMarkov(2, emission=emission, tol=1e-9, random_state=0).fit(X)
    bounds = np.array(chain.lower_bounds_)
    assert (np.diff(bounds) >= -1e-9 * np.abs(bounds[1:])).all()


@pytest.mark.parametrize("angle", [4e3, 1e9, 1e15, 1e100])
def test_the_density_of_a_large_angle_is_that_of_its_cosine(angle):
    same = np.arctan2(np.sin(angle), np.cos(angle))
    small = VonMisesEmission.from_parameters([[1.0]], [[1e4]])
    assert_allclose(small.log_density([[angle]]), small.log_density([[same]]), rtol=1e-12)
    large = VonMisesEmission.from_parameters([[angle]], [[1e4]])
    assert_allclose(large.log_density([[1.0]]), small.log_density([[same]]), rtol=1e-12)


def test_the_gamma_density_of_the_smallest_number():
    emission = GammaEmission.from_parameters([[1.5]], [[50.0]])
    oracle = 0.5 * np.log(5e-324) - gammaln(1.5) - 1.5 * np.log(50.0)
    assert_allclose(emission.log_density([[5e-324]]), [[oracle]], rtol=1e-14)
