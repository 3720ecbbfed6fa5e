"""The evidence lower bound: against enumeration, Monte Carlo, units, and what it chooses."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import logsumexp

from skvae import BayesianMixtureSVI, EMGaussianMixture
from tests.mixture.bayesian.problems import (
    WEIGHT_TYPES,
    after,
    assert_same_posterior,
    bayes,
    draws_of,
    elbo,
    every_covariance,
    every_weight,
    log_densities,
    log_evidence,
    posterior_of,
)
from tests.problems import COVARIANCE_TYPES, blobs, corners, knock_out


def prior_scale(X, covariance_type):
    """The covariance of the data in the form of a covariance_prior."""
    variance = X.var(axis=0)
    return {"diag": variance, "spherical": variance.mean()}.get(
        covariance_type, np.cov(X.T, bias=True)
    )


@every_covariance
@every_weight
def test_one_component_has_the_exact_evidence(covariance_type, weight_type):
    X = blobs(12, n_components=2)
    model = bayes(1, covariance_type, weight_type, weight_concentration_prior=0.7).fit(X)
    assert_allclose(model.elbo_, log_evidence(X, posterior_of(model).prior, 1), rtol=1e-12)


@every_covariance
@every_weight
@pytest.mark.parametrize("seed", range(2))
def test_bound_is_below_the_evidence_by_enumeration(covariance_type, weight_type, seed):
    """All labels of a few rows, summed: the bound is below, and not by much if rows are apart."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(6, 2)) + 8.0 * (np.arange(6) % 2)[:, None]
    model = bayes(
        2, covariance_type, weight_type, weight_concentration_prior=1.0, n_init=3, tol=1e-10,
        max_iter=500, mean_precision_prior=0.3, degrees_of_freedom_prior=3.5, random_state=seed,
        covariance_prior=prior_scale(X, covariance_type),
    ).fit(X)  # fmt: skip
    evidence = log_evidence(X, posterior_of(model).prior, 2)
    # Two labellings that mirror each other have their own mode each: ln 2, and some more.
    assert evidence - 3.0 < model.elbo_ < evidence


@every_weight
def test_bound_is_below_the_evidence_wherever_it_stands(weight_type):
    X = blobs(7, n_features=1, n_components=2)
    model = bayes(2, "full", weight_type, init_params="random", weight_concentration_prior=1.0)
    prior = posterior_of(after(model, X, 0)).prior
    evidence = log_evidence(X, prior, 2)
    for seed in range(5):
        for n_iter in (0, 1, 3):
            assert after(model.set_params(random_state=seed), X, n_iter).elbo_ < evidence


@every_covariance
@every_weight
def test_bound_is_its_definition_by_monte_carlo(covariance_type, weight_type):
    """E_q of ln p(X, z | θ) + ln p(θ) − ln q(z) − ln q(θ), with draws of θ = (π, μ, Λ)."""
    X = blobs(40, n_features=2, n_components=2)
    model = after(bayes(2, covariance_type, weight_type, weight_concentration_prior=2.0), X, 2)
    posterior = posterior_of(model)
    pi, means, factors, ratio = draws_of(posterior, 4000)
    resp = model.predict_proba(X)
    joint = np.log(pi)[:, None] + log_densities(X, posterior, means, factors)
    entropy = -(resp * np.log(np.maximum(resp, 1e-300))).sum()
    values = (resp * joint).sum(axis=(1, 2)) + entropy - ratio
    assert abs(values.mean() - model.elbo_) < 4 * values.std() / np.sqrt(len(values))
    assert values.std() / np.sqrt(len(values)) < 0.1


@every_covariance
@every_weight
def test_bound_with_missing_values_is_its_definition(covariance_type, weight_type):
    """q of what is missing, given a component, is the Gaussian that E Λ implies."""
    X = knock_out(blobs(12, n_components=2), 0.3, seed=3)
    model = after(bayes(2, covariance_type, weight_type, weight_concentration_prior=2.0), X, 2)
    posterior = posterior_of(model)
    pi, means, factors, ratio = draws_of(posterior, 3000)
    rng = np.random.default_rng(1)
    precisions = posterior.components.precisions
    local = np.tile(np.log(pi)[:, None], (1, len(X), 1))
    for k, mean in enumerate(model.means_):
        matrix = {
            "full": lambda k=k: precisions[k],
            "tied": lambda: precisions,
            "diag": lambda k=k: np.diag(precisions[k]),
            "spherical": lambda k=k: precisions[k] * np.eye(3),
        }[covariance_type]()
        for n, row in enumerate(X):
            gone = np.isnan(row)
            x = np.tile(row, (len(pi), 1))
            if gone.any():
                inner = np.linalg.inv(matrix[np.ix_(gone, gone)])
                given = mean[gone] - inner @ matrix[np.ix_(gone, ~gone)] @ (row - mean)[~gone]
                x[:, gone] = rng.multivariate_normal(given, inner, size=len(pi))
                local[:, n, k] += 0.5 * np.linalg.slogdet(2 * np.pi * np.e * inner)[1]
            local[:, n, k] += log_densities(x[:, None], posterior, means, factors)[:, 0, k]
    expected = local.mean(axis=0)
    resp = np.exp(expected - logsumexp(expected, axis=1, keepdims=True))
    assert_allclose(model.predict_proba(X), resp, atol=0.05)
    # By draws with these responsibilities, which are the best: errors in them are of second order.
    resp = model.predict_proba(X)
    values = (resp * (local - np.log(np.maximum(resp, 1e-300)))).sum(axis=(1, 2)) - ratio
    error = values.std() / np.sqrt(len(values))
    assert error < 0.2
    assert abs(values.mean() - model.elbo_) < 4 * error


@every_covariance
@every_weight
def test_elbo_is_that_of_the_stored_posterior(covariance_type, weight_type):
    X = knock_out(blobs(150), 0.1)
    weight = np.random.default_rng(0).uniform(0.5, 2.0, size=150)
    for method in ("batch", "memoized", "online"):
        model = bayes(3, covariance_type, weight_type, learning_method=method, batch_size=50)
        model = after(model, X, 3, sample_weight=weight)
        assert_allclose(elbo(posterior_of(model), X, weight), model.elbo_, rtol=1e-10)
        assert_allclose(model.lower_bound_ * weight.sum(), model.elbo_, rtol=1e-12)
        assert model.lower_bounds_[-1] == model.lower_bound_


# Units --------------------------------------------------------------------------------------------


@every_covariance
@every_weight
@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("method", ["batch", "memoized", "online"])
def test_bound_shifts_by_the_log_of_the_unit(covariance_type, weight_type, factor, method):
    """By −ln c for each number observed; the responsibilities do not know of the unit."""
    X = knock_out(blobs(120, seed=4), 0.1)
    model = bayes(4, covariance_type, weight_type, learning_method=method, batch_size=40)
    one = after(model, X, 4)
    bound, resp = one.elbo_, one.predict_proba(X)
    two = after(model, X * factor, 4)
    shift = (~np.isnan(X)).sum() * np.log(factor)
    assert_allclose(two.elbo_ + shift, bound, rtol=1e-9)
    assert_allclose(two.predict_proba(X * factor), resp, rtol=1e-6, atol=1e-9)


@every_weight
@pytest.mark.parametrize("covariance_type", ["full", "tied", "diag"])
def test_features_may_have_units_of_their_own(covariance_type, weight_type):
    X = blobs(150, seed=2)
    factors = np.array([1e-6, 1.0, 1e5])
    model = bayes(3, covariance_type, weight_type, init_params="random")
    one = after(model, X, 10)
    bound, means = one.elbo_, one.means_
    two = after(model, X * factors, 10)
    assert_allclose(two.elbo_ + len(X) * np.log(factors).sum(), bound, rtol=1e-9)
    assert_allclose(two.means_ / factors, means, rtol=1e-6)


@every_covariance
@pytest.mark.parametrize("method", ["batch", "memoized", "online"])
def test_an_offset_changes_nothing(covariance_type, method):
    X = np.round(blobs(200) * 1024) / 1024  # so that the offset rounds nothing
    model = bayes(3, covariance_type, learning_method=method, batch_size=60)
    one = after(model, X, 5)
    bound, covariances, scores = one.elbo_, one.covariances_, one.score_samples(X)
    two = after(model, X + 1e8, 5)
    assert_allclose(two.elbo_, bound, rtol=1e-6)
    assert_allclose(two.covariances_, covariances, rtol=1e-5)
    assert_allclose(two.score_samples(X + 1e8), scores, rtol=1e-5, atol=1e-5)


# What it chooses ----------------------------------------------------------------------------------


@every_weight
@pytest.mark.parametrize("seed", range(2))
def test_elbo_chooses_the_number_of_separated_clusters(weight_type, seed):
    X = corners(60, seed=seed)
    found = [
        bayes(k, "full", weight_type, max_iter=1000, n_init=2, random_state=seed).fit(X).elbo_
        for k in range(1, 6)
    ]
    assert np.argmax(found) == 2


def test_elbo_chooses_the_covariance_type():
    rng = np.random.default_rng(0)
    X = np.vstack([rng.normal(size=(150, 4)), 9.0 + rng.normal(size=(150, 4))])
    found = {kind: bayes(2, kind, max_iter=500).fit(X).elbo_ for kind in COVARIANCE_TYPES}
    assert max(found, key=found.get) == "spherical"
    correlated = X @ np.linalg.cholesky(0.9 * np.ones((4, 4)) + 0.1 * np.eye(4)).T
    found = {kind: bayes(2, kind, max_iter=500).fit(correlated).elbo_ for kind in COVARIANCE_TYPES}
    assert max(found, key=found.get) in ("tied", "full")
    assert found["full"] > found["diag"]


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
def test_superfluous_components_empty_themselves(weight_type):
    X = corners(200, seed=1)
    model = bayes(10, "full", weight_type, weight_concentration_prior=0.01, max_iter=2000, tol=1e-6)
    model.fit(X)
    assert model.n_effective_components_ == 3
    used = np.sort(model.weights_)[::-1]
    assert_allclose(used[:3], 1 / 3, atol=0.01)
    assert used[3:].sum() < 0.01
    counts = model.mean_precision_ - model.mean_precision_prior_
    assert model.n_effective_components_ == (counts >= 1 - 1e-9).sum()


@every_covariance
@every_weight
def test_strong_data_make_it_em(covariance_type, weight_type):
    """With rows of weight 1e8 the posterior is a point and the prior nothing: steps are EM's."""
    X = knock_out(blobs(200, seed=6), 0.1)
    weight = np.full(len(X), 1e8)
    model = bayes(3, covariance_type, weight_type)
    first = after(model, X, 0, sample_weight=weight)
    tied_or_full = covariance_type in ("full", "tied")
    em = EMGaussianMixture(
        3,
        covariance_type=covariance_type,
        weights_init=first.weights_ / first.weights_.sum(),
        means_init=first.means_,
        precisions_init=(
            np.linalg.inv(first.covariances_) if tied_or_full else 1 / first.covariances_
        ),
        reg_covar=0,
    )
    for n_iter in (1, 6):
        expected = after(em, X, n_iter)
        found = after(model, X, n_iter, sample_weight=weight)
        order, other = np.argsort(expected.weights_), np.argsort(found.weights_)
        assert_allclose(found.weights_[other], expected.weights_[order], rtol=1e-5)
        assert_allclose(found.means_[other], expected.means_[order], rtol=1e-4, atol=1e-4)
        if covariance_type == "tied":
            assert_allclose(found.covariances_, expected.covariances_, rtol=1e-4, atol=1e-5)
        else:
            assert_allclose(
                found.covariances_[other], expected.covariances_[order], rtol=1e-4, atol=1e-5
            )
        assert_allclose(found.score(X), expected.score(X), rtol=1e-5)


def test_default_priors_are_those_of_the_data():
    X = blobs(100)
    covariance = np.cov(X.T, bias=True)
    variance = np.diag(covariance)
    for kind, scale in {
        "full": covariance, "tied": covariance, "diag": variance, "spherical": variance.mean(),
    }.items():  # fmt: skip
        model = after(bayes(4, kind), X, 0)
        assert_allclose(model.covariance_prior_, scale / 10 ** (2 / 3), rtol=1e-5)
        assert_allclose(model.mean_prior_, X.mean(axis=0), rtol=1e-12)
        assert model.mean_precision_prior_ == 0.1
        assert model.weight_concentration_prior_ == 0.25
        assert model.degrees_of_freedom_prior_ == (3.0 if kind in ("full", "tied") else 1.0)


def test_given_priors_are_used():
    X = blobs(100)
    given = {
        "weight_concentration_prior": 0.3, "mean_precision_prior": 2.0,
        "mean_prior": [1.0, 2.0, 3.0], "degrees_of_freedom_prior": 6.0,
        "covariance_prior": np.diag([1.0, 2.0, 3.0]),
    }  # fmt: skip
    model = after(BayesianMixtureSVI(2, random_state=0, **given), X, 2)
    for name, value in given.items():
        assert_allclose(getattr(model, name + "_"), value)
    counts = model.mean_precision_ - 2.0
    assert_allclose(model.degrees_of_freedom_, 6.0 + counts, rtol=1e-12)
    assert_allclose(counts.sum(), 100, rtol=1e-12)
    assert_allclose(
        model.precisions_ @ model.covariances_, np.tile(np.eye(3), (2, 1, 1)), atol=1e-9
    )
    assert_same_posterior(after(bayes(2, learning_method="memoized", **given), X, 2), model)
