"""Draws of a Gibbs sampler by value: conditionals, stationarity, enumeration, matches."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp
from scipy.stats import chi2, dirichlet

from skvae import BayesianMixtureSVI
from skvae.gaussian.conjugate import NormalWishart
from skvae.mixture.bayesian import gibbs, gibbs_kernels
from skvae.mixture.bayesian.posterior import MixturePrior
from tests.gaussian.conjugate_problems import log_prob, shaped, statistics_of
from tests.mixture.bayesian.problems import (
    WEIGHT_TYPES,
    bayes,
    every_covariance,
    every_weight,
    labels_of,
    log_joint_of_labels,
    posterior_of,
)
from tests.oracles import Mixture, log_density
from tests.posterior_draws import take
from tests.problems import COVARIANCE_TYPES, blobs, corners, knock_out, random_covariance


def prior_of(covariance_type, weight_type, n_features=2, *, concentration=1.5, dof=None):
    rng = np.random.default_rng(7)
    scale = shaped(random_covariance(rng, n_features, 2.0), covariance_type)
    dof = n_features + 6.0 if dof is None else dof
    mean = rng.normal(size=n_features)
    one = NormalWishart.prior(covariance_type, 1, 0.7, mean, dof, scale)
    return MixturePrior(weight_type, concentration, one)


def upper(factors, covariance_type):
    """U of W, in the structure's shape."""
    if covariance_type == "spherical":
        return factors[..., 0, 0]
    if covariance_type == "diag":
        return factors[..., 0, :]
    factors = np.swapaxes(factors, -1, -2)
    return factors[:, 0] if covariance_type == "tied" else factors


def log_density_of(components, means, factors):
    """ln of the density of means and precisions: the oracle's is that of variances."""
    value = log_prob(components, means, factors)
    if components.covariance_type in ("full", "tied"):
        return value
    return value - 4.0 * np.log(factors).reshape(len(means), -1).sum(axis=1)


def drawn(model, given, n_draws, seed=0):
    """Draws from one conditional distribution."""
    rng, draws = np.random.default_rng(seed), gibbs.Draws.empty(n_draws, *model.shape)
    for s in range(n_draws):
        theta = tuple(part[s] for part in draws)
        assert gibbs_kernels.draw_parameters(given, model.kernel_prior, rng, theta)
    return draws


def statistics(model, n_rows=30, seed=0):
    """Sums of random labels of random rows, and the GaussianStatistics of the same."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n_rows, model.n_features)) @ rng.normal(size=(model.n_features,) * 2)
    labels = rng.integers(model.n_components, size=n_rows)
    found = statistics_of(model.covariance_type, X, np.eye(model.n_components)[labels])
    return model.sums(found), found


# Conditional distributions ------------------------------------------------------------------------


@every_covariance
@every_weight
@pytest.mark.parametrize("n_features", [1, 3])
def test_conditionals_are_the_conjugate_posteriors(covariance_type, weight_type, n_features):
    prior = prior_of(covariance_type, weight_type, n_features)
    model = gibbs.GibbsModel(prior, 3)
    sums, found = statistics(model)
    given = tuple(part[0] for part in gibbs.Conditionals.empty(1, *model.shape))
    gibbs_kernels.condition(sums, model.kernel_prior, given)
    posterior = prior.posterior(found)
    assert_allclose(given[0], found.counts)
    assert_allclose(given[1], posterior.components.means, rtol=1e-10)
    scales = {
        "full": lambda: given[2],
        "tied": lambda: given[2][0],
        "diag": lambda: given[2][:, 0],
        "spherical": lambda: given[2][:, 0, 0],
    }[covariance_type]()
    assert_allclose(scales, posterior.components.scales, rtol=1e-10)


@every_covariance
@every_weight
def test_draws_have_the_moments_of_the_conjugate_posterior(covariance_type, weight_type):
    prior = prior_of(covariance_type, weight_type)
    model = gibbs.GibbsModel(prior, 3)
    sums, found = statistics(model)
    given = tuple(part[0] for part in gibbs.Conditionals.empty(1, *model.shape))
    gibbs_kernels.condition(sums, model.kernel_prior, given)
    draws, posterior = drawn(model, given, 6000), prior.posterior(found)
    precisions = posterior.components.structure.precisions(upper(draws.factors, covariance_type))
    for values, expected in (
        (np.exp(draws.log_weights[:, :3]), posterior.weights.mean()),
        (draws.log_weights[:, :3], posterior.weights.expected_log()),
        (draws.means, posterior.components.means),
        (precisions, posterior.components.precisions),
    ):
        error = values.std(axis=0) / np.sqrt(len(values))
        assert (np.abs(values.mean(axis=0) - expected) < 4.5 * error + 1e-12).all()
    # Means given precisions: white deviations are β⁻¹ χ² with D degrees of freedom.
    away = draws.means - posterior.components.means
    white = (draws.factors @ away[..., None])[..., 0]
    if model.n_rows == 1:
        white = draws.factors[:, :, 0] * away
    square = posterior.components.mean_precisions * (white**2).sum(axis=-1)
    for level in (0.1, 0.5, 0.9):
        share = (square < chi2(2).ppf(level)).mean(axis=0)
        assert (np.abs(share - level) < 4.5 * np.sqrt(level * (1 - level) / len(square))).all()


@every_covariance
@pytest.mark.parametrize("n_features", [1, 3])
def test_densities_are_those_of_the_conjugate_posterior(covariance_type, n_features):
    prior = prior_of(covariance_type, "dirichlet_distribution", n_features)
    model = gibbs.GibbsModel(prior, 3)
    sums, found = statistics(model)
    given = gibbs.Conditionals.empty(1, *model.shape)
    gibbs_kernels.condition(sums, model.kernel_prior, tuple(part[0] for part in given))
    draws = drawn(model, tuple(part[0] for part in given), 20)
    factors = upper(draws.factors, covariance_type)
    own, of_all = model.features(draws)
    coefficients, constants, of_all_given, all_constants = model.coefficients(given)
    value = (own * coefficients).sum(axis=(1, 2)) + constants.sum()
    value += of_all @ of_all_given[0] + all_constants
    value -= draws.log_weights[:, :3] @ found.counts
    expected = log_density_of(prior.posterior(found).components, draws.means, factors)
    assert_allclose(value, expected, rtol=1e-9)
    of_prior = log_density_of(take(prior.components, [0] * 3), draws.means, factors)
    assert_allclose(model.log_prior_of_components(draws), of_prior, rtol=1e-9)


@every_covariance
@pytest.mark.parametrize("missing", [False, True])
def test_log_joint_is_the_density_of_rows_and_parameters(covariance_type, missing):
    X = blobs(40, n_components=2, seed=3)
    X = knock_out(X, 0.3) if missing else X
    model = bayes(2, covariance_type, "dirichlet_distribution", weight_concentration_prior=0.8)
    model.fit(X)
    draws = model.sample_posterior(X, 20, random_state=1)
    prior = posterior_of(model).prior
    for s in range(20):
        mixture = Mixture(draws.weights[s], draws.means[s], draws.covariances[s], covariance_type)
        expected = log_density(X, mixture).sum()
        expected += dirichlet([0.8, 0.8]).logpdf(draws.weights[s] / draws.weights[s].sum())
        inverse = np.linalg.inv if covariance_type in ("full", "tied") else np.reciprocal
        factor = prior.components.structure.precisions_cholesky(draws.covariances[s])
        assert_allclose(
            prior.components.structure.precisions(factor), inverse(draws.covariances[s]), rtol=1e-7
        )
        one = take(prior.components, [0, 0])
        expected += log_density_of(one, draws.means[s : s + 1], factor[None])[0]
        assert_allclose(draws.log_joint[s], expected, rtol=1e-8)


# Stationarity -------------------------------------------------------------------------------------


def rows_of(model, draws, s, n_rows, rng):
    """Rows and labels drawn given the parameters of one draw; labels in the first K components."""
    weights = np.exp(draws.log_weights[s, :-1])
    labels = rng.choice(model.n_components, size=n_rows, p=weights / weights.sum())
    noise = rng.normal(size=(n_rows, model.n_features))
    if model.n_rows == 1:
        return draws.means[s, labels] + noise / draws.factors[s, labels, 0], labels
    white = np.linalg.solve(draws.factors[s, labels], noise[..., None])[..., 0]
    return draws.means[s, labels] + white, labels


def invariants(model, draws):
    """Functions of parameters that do not depend on the order of the components, (S, 5)."""
    weights = np.exp(draws.log_weights[:, :-1])
    weights = weights / weights.sum(axis=1, keepdims=True)
    precision = draws.factors[..., -1, -1]
    return np.stack(
        [
            (weights**2).sum(axis=1),
            (weights * draws.means[..., 0]).sum(axis=1),
            (weights * np.log(precision)).sum(axis=1),
            (draws.means[..., -1] ** 2).mean(axis=1),
            (draws.means[..., 0] * precision).max(axis=1),
        ],
        axis=1,
    )


def prior_draws(model, n_draws, seed, n_rows):
    """Draws of the prior given that all rows are in the first K components, by rejection."""
    given = tuple(part[0] for part in model.prior_conditionals())
    draws = drawn(model, given, (40 if model.sticks else 1) * n_draws, seed)
    inside = 1.0 - np.exp(draws.log_weights[:, -1])
    kept = np.random.default_rng(seed).random(len(inside)) < inside**n_rows
    assert kept.sum() >= n_draws
    return gibbs.Draws(*(part[kept][:n_draws] for part in draws))


def sums_of(model, X, labels):
    resp = np.eye(model.n_components)[labels]
    return model.sums(statistics_of(model.covariance_type, X, resp))


def check_geweke(covariance_type, weight_type, *, missing, n_steps, n_rows=6):
    """Rows given parameters, parameters given rows, in turn: parameters have their prior's moments.

    Geweke, Getting it right, J. Am. Stat. Assoc. 99 (2004).
    """
    model = gibbs.GibbsModel(prior_of(covariance_type, weight_type), 3)
    rng = np.random.default_rng(11)
    gaps = rng.random((n_rows, 2)) < (0.3 if missing else 0.0)
    current = prior_draws(model, 1, 5, n_rows)
    found = np.empty((n_steps, 5))
    for step in range(n_steps):
        X, labels = rows_of(model, current, 0, n_rows, rng)
        sums = sums_of(model, X, labels)
        X[gaps] = np.nan
        options = {"n_burn_in": 0, "n_draws": 1, "thin": 3}
        current, *_ = gibbs.run_chain(X, np.ones(n_rows), model, sums, rng, **options)
        found[step] = invariants(model, current)[0]
    expected = invariants(model, prior_draws(model, 20000 if n_steps > 5000 else 4000, 6, n_rows))
    sizes = gibbs.effective_sample_size(found)
    assert (sizes > 100).all()
    error = np.sqrt(found.var(axis=0) / sizes + expected.var(axis=0) / len(expected))
    z = (found.mean(axis=0) - expected.mean(axis=0)) / error
    assert np.abs(z).max() < 4.0, z


@every_covariance
def test_parameters_keep_their_prior_while_rows_are_drawn_anew(covariance_type):
    check_geweke(covariance_type, "dirichlet_distribution", missing=False, n_steps=3000)


@pytest.mark.slow
@every_covariance
@every_weight
@pytest.mark.parametrize("missing", [False, True])
def test_parameters_keep_their_prior_over_many_steps(covariance_type, weight_type, missing):
    check_geweke(covariance_type, weight_type, missing=missing, n_steps=6000)


@pytest.mark.slow
@every_covariance
@every_weight
def test_ranks_of_true_parameters_are_uniform(covariance_type, weight_type):
    """Simulation-based calibration: Talts, Betancourt, Simpson, Vehtari & Gelman (2018)."""
    model = gibbs.GibbsModel(prior_of(covariance_type, weight_type), 2)
    n_sets, n_draws, rng = 500, 19, np.random.default_rng(3)
    truth = prior_draws(model, n_sets, 4, 12)
    values, ranks = invariants(model, truth), np.empty((n_sets, 5), dtype=int)
    for s in range(n_sets):
        X, _ = rows_of(model, truth, s, 12, rng)
        sums = sums_of(model, X, rng.integers(2, size=12))
        options = {"n_burn_in": 200, "n_draws": n_draws, "thin": 20}
        draws, *_ = gibbs.run_chain(X, np.ones(12), model, sums, rng, **options)
        ranks[s] = (invariants(model, draws) < values[s]).sum(axis=0)
    for rank in ranks.T:
        counts = np.bincount(rank // 2, minlength=10)
        statistic = ((counts - n_sets / 10) ** 2).sum() / (n_sets / 10)
        assert statistic < chi2(9).ppf(1 - 1e-4), counts


# Enumeration --------------------------------------------------------------------------------------


@every_covariance
@every_weight
@pytest.mark.parametrize("n_components", [2, 3])
def test_expectations_are_those_of_all_labels(covariance_type, weight_type, n_components):
    """E Σ π_k μ_k and E Σ π_k of few rows, over all assignments with conjugate posteriors."""
    rng = np.random.default_rng(n_components)
    X = rng.normal(size=(6, 1)) + 3.0 * (np.arange(6) % 2)[:, None]
    model = bayes(n_components, covariance_type, weight_type, weight_concentration_prior=0.9).fit(X)
    prior = posterior_of(model).prior
    logs, expected = [], []
    for labels in labels_of(6, n_components):
        resp = np.eye(n_components)[list(labels)]
        posterior = prior.posterior(statistics_of(covariance_type, X, resp))
        logs.append(log_joint_of_labels(X, labels, prior, n_components))
        weights = posterior.weights.mean()
        expected.append([weights @ posterior.components.means[:, 0], weights.sum()])
    share = np.exp(np.array(logs) - logsumexp(logs))
    expected = share @ np.array(expected)
    draws = model.sample_posterior(X, 20000, random_state=0)
    found = np.stack([(draws.weights * draws.means[..., 0]).sum(axis=1), draws.weights.sum(axis=1)])
    error = found.std(axis=1) / np.sqrt(gibbs.effective_sample_size(found.T))
    assert (np.abs(found.mean(axis=1) - expected) < 4.5 * error + 1e-9).all()


# The public method --------------------------------------------------------------------------------


@every_covariance
@every_weight
def test_draws_are_in_the_order_of_the_fit(covariance_type, weight_type):
    X = corners(30)
    model = bayes(3, covariance_type, weight_type).fit(X)
    draws = model.sample_posterior(X, 200, random_state=0)
    assert np.abs(draws.means - model.means_).max() < 1.0
    assert np.abs(draws.weights.mean(axis=0) - model.weights_).max() < 0.05
    assert (draws.effective_sample_size.means > 40).all()


def test_wider_than_mean_field_where_clusters_overlap():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)) + 2.5 * np.outer(rng.integers(2, size=500), [1.0, 0.0])
    model = bayes(2, "diag", WEIGHT_TYPES[1], tol=1e-8, max_iter=2000).fit(X)
    draws = model.sample_posterior(X, 2000, random_state=0)
    lower, upper_ = model.credible_interval().means
    ends = np.quantile(draws.means, [0.025, 0.975], axis=0)
    assert ((ends[1] - ends[0])[:, 0] > 1.2 * (upper_ - lower)[:, 0]).all()


@every_covariance
def test_draws_follow_the_units(covariance_type):
    X = blobs(60, n_components=2, seed=1)
    one = bayes(2, covariance_type).fit(X)
    two = bayes(2, covariance_type).fit(1024.0 * X + 2.0**20)
    draws = one.sample_posterior(X, 50, random_state=0)
    moved = two.sample_posterior(1024.0 * X + 2.0**20, 50, random_state=0)
    assert_allclose(moved.weights, draws.weights, rtol=1e-4)
    assert_allclose(moved.means, 1024.0 * draws.means + 2.0**20, rtol=1e-6)
    assert_allclose(moved.covariances, 2.0**20 * draws.covariances, rtol=1e-3, atol=1.0)


def test_one_seed_gives_one_result_and_changes_nothing():
    X = blobs(60, n_components=2)
    model = bayes(2).fit(X)
    one = model.sample_posterior(X, 10, n_burn_in=0, random_state=3)
    two = model.sample_posterior(X, 10, n_burn_in=0, random_state=3)
    for left, right in zip(one[:-1], two[:-1], strict=True):
        assert_array_equal(left, right)
    other = model.sample_posterior(X.astype(np.float32), 10, random_state=4)
    assert other.means.dtype == np.float64
    assert not np.array_equal(one.means, other.means)
    state = np.random.RandomState(0)
    assert not np.array_equal(
        model.sample_posterior(X, 10, random_state=state).means,
        model.sample_posterior(X, 10, random_state=state).means,
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"n_draws": 0}, "n_draws=0"),
        ({"n_draws": 2.5}, "n_draws=2.5"),
        ({"n_burn_in": -1}, "n_burn_in=-1"),
        ({"random_state": "seed"}, "random_state"),
    ],
)
def test_bad_options_are_a_clear_error(options, match):
    X = blobs(20)
    model = bayes(2).fit(X)
    with pytest.raises((TypeError, ValueError), match=match):
        model.sample_posterior(X, **options)


def test_dask_arrays_are_a_clear_error():
    da = pytest.importorskip("dask.array")
    X = blobs(40)
    with pytest.raises(ValueError, match=r"all rows in memory, pass X\.compute"):
        BayesianMixtureSVI(2, random_state=0).fit(X).sample_posterior(da.from_array(X, chunks=20))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_effective_sizes_of_an_autoregression(rho):
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(20000, 3))
    series = np.empty_like(noise)
    series[0] = noise[0] / np.sqrt(1 - rho**2)
    for t in range(1, len(series)):
        series[t] = rho * series[t - 1] + noise[t]
    size = gibbs.effective_sample_size(series)
    assert_allclose(size, 20000 * (1 - rho) / (1 + rho), rtol=0.2)
    assert gibbs.effective_sample_size(np.ones(50)) == 50
    assert gibbs.effective_sample_size(np.array([1.0])) == 1


def test_every_form_has_its_number():
    assert tuple(gibbs_kernels.FORMS) == COVARIANCE_TYPES
