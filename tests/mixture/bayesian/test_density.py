"""What a fitted posterior says: predictive density, draws, intervals, the plain mixture."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

from skvae import BayesianMixtureSVI, EMGaussianMixture
from tests.mixture.bayesian.problems import (
    after,
    bayes,
    draws_of,
    every_covariance,
    every_weight,
    log_densities,
    posterior_of,
)
from tests.posterior_draws import draws_of_components, expected_log_det, take
from tests.problems import blobs, corners, knock_out


def over_the_line(density):
    """The integral of a density, by the midpoint rule for the angle of which x is the tangent."""
    n = 20_000
    angles = np.pi * ((np.arange(n) + 0.5) / n - 0.5)
    return np.pi * (density(np.tan(angles)) / np.cos(angles) ** 2).mean()


@every_covariance
@every_weight
def test_density_integrates_to_one(covariance_type, weight_type):
    """In one dimension, with what is left over for new components."""
    X = np.random.default_rng(0).normal(size=(8, 1)) + 4.0 * (np.arange(8) % 2)[:, None]
    model = bayes(2, covariance_type, weight_type, degrees_of_freedom_prior=3.0)
    after(model.set_params(weight_concentration_prior=2.0), X, 5)
    if weight_type == "dirichlet_process":
        assert model.weights_.sum() < 0.95

    total = over_the_line(lambda x: np.exp(model.score_samples(x[:, None])))
    assert_allclose(total, 1.0, atol=1e-7)


@every_covariance
@every_weight
def test_density_is_the_expectation_over_q(covariance_type, weight_type):
    X = blobs(30, n_features=2, n_components=2)
    model = bayes(2, covariance_type, weight_type, weight_concentration_prior=1.0)
    model = after(model.set_params(degrees_of_freedom_prior=5.0), X, 4)
    posterior = posterior_of(model)
    rows = X[:8]
    pi, means, factors, _ = draws_of(posterior, 5000)
    values = (pi[:, None] * np.exp(log_densities(rows, posterior, means, factors))).sum(axis=2)
    if weight_type == "dirichlet_process":
        # The rest of a draw's mass is a component of the prior's.
        prior = take(posterior.prior.components, [0, 0])
        new = log_densities(
            rows,
            posterior._replace(components=prior),
            *draws_of_components(prior, 5000, np.random.default_rng(1)),
        )
        values += (1 - pi.sum(axis=1))[:, None] * np.exp(new[..., 0])
    error = values.std(axis=0) / np.sqrt(len(values))
    assert (error < 0.06 * values.mean(axis=0)).all()
    assert (np.abs(np.exp(model.score_samples(rows)) - values.mean(axis=0)) < 4.5 * error).all()


@every_covariance
@every_weight
def test_density_of_a_row_with_missing_values_is_the_marginal(covariance_type, weight_type):
    X = blobs(30, n_features=2)
    model = after(bayes(2, covariance_type, weight_type, degrees_of_freedom_prior=4.0), X, 3)
    for seen in (0, 1) if covariance_type == "full" else (1,):
        row = np.full((1, 2), np.nan)
        row[0, seen] = X[0, seen]

        def density(x, row=row, seen=seen):
            whole = np.repeat(row, len(x), axis=0)
            whole[:, 1 - seen] = x
            return np.exp(model.score_samples(whole))

        total = over_the_line(density)
        assert_allclose(model.score_samples(row)[0], np.log(total), atol=1e-5)


def test_a_row_far_from_all_belongs_to_what_is_left_over():
    """The density of a process has the prior predictive's tails, times the mass left over."""
    X = corners(50)
    model = bayes(3, weight_concentration_prior=1.0, degrees_of_freedom_prior=3.0).fit(X)
    prior = posterior_of(model).prior.components
    assert prior.covariance_type == "full"
    leftover = 1 - model.weights_.sum()
    assert 0 < leftover < 0.05
    dirichlet = bayes(3, "full", "dirichlet_distribution", degrees_of_freedom_prior=3.0).fit(X)
    far = np.array([[200.0, -300.0]])
    assert model.score_samples(far)[0] > dirichlet.score_samples(far)[0] + 3


@every_covariance
@every_weight
def test_draws_have_the_predictive_moments(covariance_type, weight_type):
    X = blobs(60, n_features=2, n_components=2)
    model = bayes(2, covariance_type, weight_type, degrees_of_freedom_prior=9.0, max_iter=500)
    model.set_params(weight_concentration_prior=5.0).fit(X)
    rows, labels = model.sample(40_000, random_state=1)
    shares = np.append(model.weights_, max(0.0, 1 - model.weights_.sum()))
    posterior = posterior_of(model)
    parts = [
        (posterior.components, 0),
        (posterior.components, 1),
        (posterior.prior.components, 0),
    ]
    for label, share, (components, k) in zip((0, 1, -1), shares, parts, strict=True):
        mine = rows[labels == label]
        assert abs(len(mine) / 40_000 - share) <= 4 * np.sqrt(share / 40_000)
        if len(mine) < 2:
            continue
        dof = np.broadcast_to(components.marginal_dofs, (2,) if label >= 0 else (1,))[k]
        beta = components.mean_precisions[k]
        scale = components.structure.variances(components.covariances, *components.means.shape)[k]
        scale = scale * np.broadcast_to(components.dofs, components.mean_precisions.shape)[k] / dof
        variance = scale * (1 + 1 / beta) * dof / (dof - 2)
        assert_allclose(mine.var(axis=0), variance, rtol=0.12)
        error = np.sqrt(variance / len(mine))
        assert (np.abs(mine.mean(axis=0) - components.means[k]) < 4.5 * error).all()
    if weight_type == "dirichlet_distribution":
        assert (labels >= 0).all()


def test_draws_have_the_distribution_of_the_density():
    X = blobs(40, n_features=1, n_components=2)
    model = bayes(2, weight_concentration_prior=3.0, degrees_of_freedom_prior=3.0, max_iter=500)
    draws = model.fit(X).sample(2000, random_state=3)[0][:, 0]
    grid = np.linspace(-2000, 2000, 400_001)
    density = np.exp(model.score_samples(grid[:, None]))
    cumulated = np.cumsum(density) * (grid[1] - grid[0])
    cumulated += (1 - cumulated[-1]) / 2
    assert kstest(draws, lambda x: np.interp(x, grid, cumulated)).pvalue > 0.01


@every_covariance
@every_weight
def test_intervals_hold_the_share_of_draws_they_say(covariance_type, weight_type):
    X = corners(30)
    model = bayes(3, covariance_type, weight_type).fit(X)
    pi, means, factors, _ = draws_of(posterior_of(model), 4000)
    precisions = posterior_of(model).components.structure.precisions(factors)
    if covariance_type in ("full", "tied"):
        variances = np.diagonal(np.linalg.inv(precisions), axis1=-2, axis2=-1)
    else:
        variances = 1 / precisions
    for level in (0.5, 0.95):
        found = model.credible_interval(level)
        for (lower, upper), draws in zip(found, (pi, means, variances), strict=True):
            assert lower.shape == draws.shape[1:]
            assert (lower < upper).all()
            inside = ((lower < draws) & (draws < upper)).mean(axis=0)
            assert_allclose(inside, level, atol=0.04)
    assert found._fields == ("weights", "means", "covariances")


@pytest.mark.parametrize("covariance_type", ["full", "diag"])
def test_intervals_cover_the_truth_on_separated_clusters(covariance_type):
    centers = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    covered = []
    for seed in range(25):
        X = corners(150, seed=seed, scale=1.0)
        # The defaults, S₀ the spread of all clusters and one row at their mean, draw variances up.
        scale = np.eye(2) if covariance_type == "full" else np.ones(2)
        model = bayes(3, covariance_type, covariance_prior=scale, mean_precision_prior=1e-3)
        model.set_params(random_state=seed).fit(X)
        order = [np.argmin(np.linalg.norm(model.means_ - center, axis=1)) for center in centers]
        interval = model.credible_interval()
        lower, upper = (end[order] for end in interval.means)
        covered.append(((lower < centers) & (centers < upper)).ravel())
        lower, upper = (end[order] for end in interval.covariances)
        covered.append(((lower < 1) & (upper > 1)).ravel())
    assert 0.91 < np.concatenate(covered).mean() < 0.99


@pytest.mark.parametrize("level", [0, 1, -0.5, 1.5, np.nan, "most", None])
def test_level_is_checked(level):
    model = bayes(1).fit(blobs(20))
    with pytest.raises(ValueError, match="level"):
        model.credible_interval(level)


@every_covariance
@every_weight
def test_the_plain_mixture_has_the_expectations(covariance_type, weight_type):
    X = corners(100)
    model = bayes(3, covariance_type, weight_type).fit(X)
    mixture = model.to_mixture()
    assert type(mixture) is EMGaussianMixture
    assert mixture.covariance_type == covariance_type
    assert_allclose(mixture.weights_.sum(), 1.0, rtol=1e-12)
    assert_allclose(mixture.weights_, model.weights_ / model.weights_.sum(), rtol=1e-12)
    assert_array_equal(mixture.means_, model.means_)
    assert_allclose(mixture.covariances_, model.covariances_, rtol=1e-12)
    assert_array_equal(mixture.predict(X), model.predict(X))
    assert_allclose(mixture.score(X), model.score(X), atol=0.1)


def test_the_plain_mixture_keeps_names_and_seed():
    X = pd.DataFrame(corners(30), columns=["a", "b"])
    model = bayes(2, random_state=7).fit(X)
    mixture = model.to_mixture()
    assert mixture.random_state == 7
    assert_array_equal(mixture.feature_names_in_, ["a", "b"])
    with pytest.raises(ValueError, match="order"):
        mixture.score(X[["b", "a"]])
    assert_array_equal(mixture.marginal([0]).feature_names_in_, ["a"])


def test_small_data_are_scored_better_than_by_the_point_estimate():
    """The predictive has the tails that a few rows ask for."""
    rng = np.random.default_rng(0)
    X, held_out = (rng.normal(size=(n, 10)) for n in (60, 2000))
    model = BayesianMixtureSVI(2, random_state=0, max_iter=500).fit(X)
    assert model.score(held_out) > model.to_mixture().score(held_out)
    em = EMGaussianMixture(2, random_state=0, max_iter=500).fit(X)
    assert model.score(held_out) > em.score(held_out) + 0.3


@every_covariance
def test_missing_values_are_imputed_from_their_component(covariance_type):
    X = corners(100)
    model = bayes(3, covariance_type, max_iter=500).fit(knock_out(X, 0.05))
    row = np.array([[10.0, np.nan], [np.nan, 10.0]])
    assert_allclose(model.impute(row), [[10.0, 0.0], [0.0, 10.0]], atol=0.3)


def test_responsibilities_are_the_exponential_of_the_local_bound():
    X = blobs(50)
    model = after(bayes(3), X, 3)
    joint = []
    posterior = posterior_of(model)
    for k in range(3):
        deviation = X - model.means_[k]
        distance = np.einsum("ni,ij,nj->n", deviation, model.precisions_[k], deviation)
        offset = expected_log_det(posterior.components)[k] - 3 / model.mean_precision_[k]
        joint.append(posterior.weights.expected_log()[k] + 0.5 * (offset - distance))
    resp = np.exp(joint - np.logaddexp.reduce(joint)).T
    assert_allclose(model.predict_proba(X), resp, rtol=1e-8, atol=1e-12)
    assert_array_equal(model.predict(X), resp.argmax(axis=1))
    assert_allclose(model.transform(X), resp, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_effective_components_have_the_weight_of_a_row(seed):
    """By fit and by batches; labels are counted by another rule, the largest responsibility."""
    X = blobs(60, n_features=2, n_components=3, seed=seed, separation=1.0)
    for concentration in (0.01, 1.0, 20.0):
        model = bayes(12, weight_concentration_prior=concentration, tol=1e-5, max_iter=500)
        model.fit(X)
        resp = model.predict_proba(X).sum(axis=0)
        clear = np.abs(resp - 1) > 0.01  # resp is that of the next step
        counts = model.mean_precision_ - model.mean_precision_prior_
        assert model.n_effective_components_ == (counts >= 1 - 1e-9).sum()
        assert ((resp >= 1) == (counts >= 1))[clear].all()
        model.partial_fit(X[:20])
        counts = model.mean_precision_ - model.mean_precision_prior_
        assert model.n_effective_components_ == (counts >= 1 - 1e-9).sum()
        assert_allclose(counts.sum(), 80.0)


@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical"])
def test_a_relabelled_mixture_is_the_same_posterior(covariance_type):
    rng = np.random.default_rng(1)
    X = rng.normal(size=(90, 2)) + np.repeat([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]], 30, axis=0)
    settings = {"weight_concentration_prior_type": "dirichlet_distribution", "random_state": 0}
    mixture = BayesianMixtureSVI(3, covariance_type=covariance_type, moves=(), **settings).fit(X)
    order = [2, 0, 1]
    other = mixture.relabel(order)
    assert_array_equal(other.means_, mixture.means_[order])
    assert_allclose(other.score_samples(X), mixture.score_samples(X), rtol=1e-12)
    assert_allclose(other.predict_proba(X), mixture.predict_proba(X)[:, order], atol=1e-12)
    assert other.elbo_ == mixture.elbo_
    for part, before in zip(other.credible_interval(), mixture.credible_interval(), strict=True):
        if np.shape(before[0])[0] == 3:  # not the one covariance of all
            assert_allclose(part[0], before[0][order], rtol=1e-12)
    other.partial_fit(X[:20])
    mixture.partial_fit(X[:20])
    assert_allclose(other.elbo_, mixture.elbo_, rtol=1e-9)
    assert_allclose(other.score(X), mixture.score(X), rtol=1e-9)


def test_the_components_of_a_process_keep_their_order():
    mixture = BayesianMixtureSVI(2, random_state=0).fit([[0.0], [0.1], [9.0], [9.1], [9.2]])
    with pytest.raises(ValueError, match=r"keep it: use to_mixture\(\)\.relabel\(order\), or fit"):
        mixture.relabel([1, 0])
    with pytest.raises(ValueError, match="must have each component from 0 to 1 once"):
        mixture.relabel([1, 1])
