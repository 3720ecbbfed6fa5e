"""Distribution functions, imputation and the order of states, for every family."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats

from skvae.emissions.base import log_density_of
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GammaEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    NegativeBinomialEmission,
    PoissonEmission,
    StudentTEmission,
    VonMisesEmission,
    ZeroInflatedPoissonEmission,
)
from tests.hmm_oracles import matrices_of

K, D = 3, 2


def _covariances(kind, rng, lead=(K,)):
    factors = rng.normal(size=(*lead, D, D))
    full = factors @ factors.swapaxes(-1, -2) + 0.5 * np.eye(D)
    return {
        "full": full,
        "tied": full.reshape(-1, D, D)[0],
        "diag": full.diagonal(axis1=-2, axis2=-1),
        "spherical": full[..., 0, 0],
    }[kind]


def gaussian(kind, seed=0):
    rng = np.random.default_rng(seed)
    return GaussianEmission.from_parameters(rng.normal(size=(K, D)), _covariances(kind, rng), kind)


def student_t(kind, seed=0):
    rng = np.random.default_rng(seed)
    means, covariances = rng.normal(size=(K, D)), _covariances(kind, rng)
    return StudentTEmission.from_parameters(means, covariances, [3.0, 5.0, 1.5], kind)


def mixture(kind, seed=0):
    rng = np.random.default_rng(seed)
    weights, means = rng.dirichlet([1, 1], size=K), 2 * rng.normal(size=(K, 2, D))
    covariances = _covariances(kind, rng, (K, 2))
    return GaussianMixtureEmission.from_parameters(weights, means, covariances, kind)


def categorical(seed=0):
    rng = np.random.default_rng(seed)
    p = np.zeros((K, D, 4))
    p[:, 0], p[:, 1, :3] = rng.dirichlet(np.ones(4), size=K), rng.dirichlet(np.ones(3), size=K)
    return CategoricalEmission.from_parameters(p, [4, 3])


def counts(seed=0):
    rng = np.random.default_rng(seed)
    return PoissonEmission.from_parameters(rng.gamma(3.0, size=(K, D)))


def flags(seed=0):
    return BernoulliEmission.from_parameters(np.random.default_rng(seed).uniform(size=(K, D)))


def gammas(seed=0):
    rng = np.random.default_rng(seed)
    return GammaEmission.from_parameters(
        1 + rng.gamma(3.0, size=(K, D)), rng.gamma(3.0, size=(K, D))
    )


def overdispersed(seed=0):
    rng = np.random.default_rng(seed)
    rates, dispersions = rng.gamma(3.0, size=(K, D)), rng.uniform(0.1, 2.0, size=(K, D))
    return NegativeBinomialEmission.from_parameters(rates, dispersions)


def many_zeros(seed=0):
    rng = np.random.default_rng(seed)
    rates, weights = rng.gamma(3.0, size=(K, D)), rng.uniform(size=(K, D))
    return ZeroInflatedPoissonEmission.from_parameters(rates, weights)


def angles(seed=0):
    rng = np.random.default_rng(seed)
    directions, sizes = rng.uniform(-3, 3, size=(K, D)), rng.gamma(2.0, size=(K, D))
    return VonMisesEmission.from_parameters(directions, sizes)


def columns(seed=0):
    parts = [
        ("numbers", gaussian("full", seed), [3, 0]),
        ("counts", counts(seed), [1, 4]),
        ("codes", categorical(seed), [2, 6]),
        ("flags", flags(seed), [5, 7]),
    ]
    return ColumnEmission.from_parameters(parts)


KINDS = ("full", "tied", "diag", "spherical")
EMISSIONS = {
    **{f"gaussian {kind}": gaussian(kind) for kind in KINDS},
    **{f"student_t {kind}": student_t(kind) for kind in KINDS},
    **{f"mixture {kind}": mixture(kind) for kind in KINDS},
    "poisson": counts(),
    "bernoulli": flags(),
    "categorical": categorical(),
    "columns": columns(),
    "gamma": gammas(),
    "negative binomial": overdispersed(),
    "zero-inflated": many_zeros(),
}
every_emission = pytest.mark.parametrize("emission", EMISSIONS.values(), ids=EMISSIONS)


@every_emission
def test_distribution_function_is_that_of_draws(emission):
    """Kolmogorov's distance of 20,000 draws of each state."""
    parameters, rng, n = emission.parameters(), np.random.RandomState(0), 20_000
    for k in range(K):
        X = np.sort(parameters.sample(np.full(n, k), rng), axis=0)
        below = parameters.cdf(X)[:, k]
        found = [
            np.searchsorted(x, x, side="right") / n for x in X.T
        ]  # the share of draws ≤ each of them
        assert np.abs(below - np.transpose(found)).max() < 1.95 / np.sqrt(n)  # p = 0.001


@every_emission
def test_distribution_function_is_right_at_the_ends(emission):
    parameters = emission.parameters()
    far = np.full(parameters.n_features, 1e12)
    assert_allclose(parameters.cdf(-far), 0.0, atol=1e-12)
    assert_allclose(parameters.cdf(far), 1.0, atol=1e-12)


def test_distribution_functions_by_scipy():
    x = np.array([[0.3, -1.2], [2.0, 1.0]])
    emission = gaussian("full")
    deviations = np.sqrt(emission.covariances_.diagonal(axis1=1, axis2=2))
    expected = stats.norm.cdf(x[:, None], emission.means_, deviations)
    assert_allclose(emission.parameters().cdf(x), expected, rtol=1e-12)
    emission = student_t("full")
    scales = np.sqrt(emission.covariances_.diagonal(axis1=1, axis2=2))
    expected = stats.t.cdf(x[:, None], emission.dofs_[:, None], emission.means_, scales)
    assert_allclose(emission.parameters().cdf(x), expected, rtol=1e-10)
    x = np.array([[0, 3], [2.5, -1]])
    expected = stats.poisson.cdf(x[:, None], counts().rates_)
    assert_allclose(counts().parameters().cdf(x), expected, rtol=1e-12)


# The order of states ------------------------------------------------------------------------------


@every_emission
@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
def test_reordered_states_have_the_densities_of_theirs(emission, order):
    parameters = emission.parameters()
    other = parameters.reordered(np.array(order))
    X = parameters.sample(np.arange(50) % K, np.random.RandomState(0))
    X[::3, 0] = np.nan
    assert_allclose(log_density_of(other, X), log_density_of(parameters, X)[:, order], rtol=1e-13)
    again = other.reordered(np.argsort(order))
    assert_allclose(log_density_of(again, X), log_density_of(parameters, X), rtol=1e-13)


# Imputation ---------------------------------------------------------------------------------------


def _conditional_means(mean, covariance, row):
    seen = ~np.isnan(row)
    out = row.copy()
    regression = covariance[np.ix_(~seen, seen)] @ np.linalg.inv(covariance[np.ix_(seen, seen)])
    out[~seen] = mean[~seen] + regression @ (row[seen] - mean[seen])
    return out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", [gaussian, student_t])
def test_values_are_imputed_by_the_conditional_expectation_in_each_state(kind, family):
    emission, rng = family(kind), np.random.default_rng(1)
    matrices = matrices_of(emission.covariances_, kind, K, D)
    X, posterior = rng.normal(size=(30, D)), rng.dirichlet(np.ones(K), size=30)
    X[::2, 0] = X[1::4, 1] = X[4] = np.nan
    found = emission.parameters().imputed(X, posterior)
    expected = [
        sum(p[k] * _conditional_means(emission.means_[k], matrices[k], row) for k in range(K))
        for row, p in zip(X, posterior, strict=True)
    ]
    assert_allclose(found, np.where(np.isnan(X), expected, X), rtol=1e-10)
    assert_array_equal(found[~np.isnan(X)], X[~np.isnan(X)])


@pytest.mark.parametrize("kind", KINDS)
def test_mixtures_impute_as_their_components_given_the_row(kind):
    emission, rng = mixture(kind), np.random.default_rng(1)
    covariances = emission.covariances_
    if kind != "tied":
        covariances = covariances.reshape(K * 2, *covariances.shape[2:])
    matrices = matrices_of(covariances, kind, K * 2, D).reshape(K, 2, D, D)
    X, posterior = rng.normal(size=(12, D)), rng.dirichlet(np.ones(K), size=12)
    X[:, 1] = np.nan
    expected = np.zeros(12)
    for t, row in enumerate(X):
        for k in range(K):
            means, scales = emission.means_[k], np.sqrt(matrices[k][:, 0, 0])
            within = emission.weights_[k] * stats.norm.pdf(row[0], means[:, 0], scales)
            for share, mean, matrix in zip(within / within.sum(), means, matrices[k], strict=True):
                expected[t] += posterior[t, k] * share * _conditional_means(mean, matrix, row)[1]
    found = emission.parameters().imputed(X, posterior)
    assert_allclose(found[:, 1], expected, rtol=1e-10)


def test_codes_and_flags_have_the_most_probable_value_and_counts_the_mean():
    emission, posterior = columns(), np.random.default_rng(1).dirichlet(np.ones(K), size=20)
    X = np.full((20, 8), np.nan)
    found = emission.parameters().imputed(X, posterior)
    parts = emission.named_emissions_
    assert_allclose(found[:, [3, 0]], posterior @ parts["numbers"].means_)
    assert_allclose(found[:, [1, 4]], posterior @ parts["counts"].rates_)
    codes = np.einsum("nk,kdc->ndc", posterior, parts["codes"].probabilities_).argmax(axis=2)
    assert_array_equal(found[:, [2, 6]], codes)
    assert_array_equal(found[:, [5, 7]], posterior @ parts["flags"].probabilities_ > 0.5)
    assert emission.parameters().imputed(found.astype(np.float32), posterior).dtype == (np.float32)


def test_angles_are_imputed_by_the_direction_of_the_expected_vector():
    """Two states on both sides of ±π: the mean of their numbers would be near 0."""
    emission = VonMisesEmission.from_parameters([[3.0], [-3.0]], [[5.0], [5.0]])
    found = emission.parameters().imputed(
        np.array([[np.nan]] * 2), np.array([[0.5, 0.5], [0.9, 0.1]])
    )
    assert_allclose(np.abs(found[0, 0]), np.pi)
    vector = 0.9 * np.exp(3j) + 0.1 * np.exp(-3j)
    assert_allclose(found[1, 0], np.angle(vector))
    draws = emission.parameters().sample(np.repeat([0, 1], [9000, 1000]), np.random.RandomState(0))
    assert_allclose(np.angle(np.exp(1j * draws).mean()), found[1, 0], atol=0.03)


def test_families_without_a_distribution_function_have_none():
    assert np.isnan(angles().parameters().cdf(np.zeros((4, D)))).all()
    assert angles().parameters().cdf(np.zeros((4, D))).shape == (4, K, D)
