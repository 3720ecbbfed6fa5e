"""The three ways up the bound: monotone, the same where they meet, along the natural gradient."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from skvae.blocks import Rows, workers
from skvae.mixture.bayesian.steps import BatchStep, MemoizedStep, OnlineStep
from skvae.mixture.e_step import expect
from tests.gaussian.conjugate_problems import natural
from tests.mixture.bayesian.problems import (
    after,
    assert_same_posterior,
    bayes,
    elbo,
    every_covariance,
    every_weight,
    posterior_of,
)
from tests.problems import blobs, knock_out, run

RATE_ONE = {"learning_method": "online", "learning_offset": 1.0, "learning_decay": 1.0}


def weighted_rows(n_samples=150, *, seed=0, missing=True):
    rng = np.random.default_rng(seed)
    X = blobs(n_samples, seed=seed, separation=rng.uniform(0.5, 4.0))
    return knock_out(X, 0.15, seed=seed) if missing else X, rng.uniform(0, 3, size=n_samples)


def assert_never_falls(bounds):
    bounds = np.array(bounds)
    assert (np.diff(bounds) >= -1e-11 * np.abs(bounds).max()).all()


@every_covariance
@every_weight
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("method", ["batch", "memoized"])
def test_bound_never_falls(covariance_type, weight_type, seed, method):
    X, weight = weighted_rows(seed=seed, missing=seed % 2 == 0)
    start = ["kmeans", "random", "random_from_data"][seed % 3]
    model = bayes(
        5, covariance_type, weight_type,
        learning_method=method, batch_size=40, init_params=start, random_state=seed,
        weight_concentration_prior=[0.01, 1.0, 20.0, 0.3][seed],
    )  # fmt: skip
    run(model, X, 15, sample_weight=weight if seed % 2 else None)
    # The first lap of blocks still mixes in the start: a bound holds after it.
    assert_never_falls(model.lower_bounds_)
    assert len(model.lower_bounds_) == model.n_iter_ == 15


@every_covariance
@every_weight
@pytest.mark.parametrize("missing", [False, True])
def test_one_block_is_coordinate_ascent(covariance_type, weight_type, missing):
    X, weight = weighted_rows(missing=missing)
    batch = bayes(4, covariance_type, weight_type)
    memoized = bayes(4, covariance_type, weight_type, learning_method="memoized")
    assert_same_posterior(after(batch, X, 0), after(memoized, X, 0), rtol=0, atol=0)
    for n_iter in (1, 2, 7):
        one = after(batch, X, n_iter, sample_weight=weight)
        two = after(memoized, X, n_iter, sample_weight=weight)
        assert_same_posterior(one, two)
        assert_allclose(one.elbo_, two.elbo_, rtol=1e-10)
        # On the way a memoized bound is that of the q(z) that is kept, half a step behind.
        between, bounds = np.array(two.lower_bounds_[:-1]), np.array(one.lower_bounds_)
        assert (between <= bounds[:-1] + 1e-12).all()
        assert (between[1:] >= bounds[:-2] - 1e-12).all()


@every_covariance
@every_weight
@pytest.mark.parametrize("missing", [False, True])
def test_full_batch_at_rate_one_is_coordinate_ascent(covariance_type, weight_type, missing):
    X, weight = weighted_rows(missing=missing)
    one = after(bayes(3, covariance_type, weight_type), X, 1, sample_weight=weight)
    for batch_size in (None, 150, 10_000):
        model = bayes(3, covariance_type, weight_type, batch_size=batch_size, **RATE_ONE)
        two = after(model, X, 1, sample_weight=weight)
        order, other = (np.argsort(-m.mean_precision_, kind="stable") for m in (one, two))
        assert_allclose(two.mean_precision_[other], one.mean_precision_[order], rtol=1e-9)
        assert_allclose(two.means_[other], one.means_[order], rtol=1e-9)


@every_covariance
@every_weight
def test_two_online_passes_by_hand(covariance_type, weight_type):
    """λ ← (1 − ρ) λ + ρ (λ₀ + N/|B| s_B), in natural parameters, ρ = (t + τ)^−κ.

    A pass comes to λ₀ + Σ s_B, the average of the targets; the next goes on from the last λ.
    """
    X, _ = weighted_rows(90)
    posterior = posterior_of(after(bayes(3, covariance_type, weight_type), X, 1))
    rows, seen = Rows.readable(X), []

    class Recorder:
        def permutation(self, n):
            order = np.random.default_rng(3).permutation(n)
            seen.append(order)
            return order

    with workers(1) as pool:
        step = OnlineStep(rows, pool, 40, 2.0, 0.6, Recorder())
        found, _ = step(posterior)
        found, _ = step(found)
        expected, of_pass = posterior, None
        for t in range(6):
            n_pass, first = t // 3, 40 * (t % 3)
            batch = Rows.readable(X[np.sort(seen[n_pass][first : first + 40])])
            statistics, _ = expect(batch, expected.kernel(), pool)
            of_pass = statistics if first == 0 else of_pass + statistics
            target = posterior.prior.posterior(statistics * (90 / batch.n_rows))
            rate = (t + 2.0) ** -0.6
            mixture = [
                (1 - rate) * a + rate * b
                for a, b in zip(
                    natural(expected.components), natural(target.components), strict=True
                )
            ]
            counts = (1 - rate) * np.stack(expected.weights) + rate * np.stack(target.weights)
            previous = expected
            mixed = previous.statistics * (1 - rate) + statistics * (90 / batch.n_rows) * rate
            expected = posterior.prior.posterior(mixed)
            for a, b in zip(natural(expected.components), mixture, strict=True):
                assert_allclose(a, b, rtol=1e-9, atol=1e-9)
            assert_allclose(np.stack(expected.weights), counts, rtol=1e-9)
        average = posterior.prior.posterior(of_pass)
    for a, b in zip(natural(found.components), natural(average.components), strict=True):
        assert_allclose(a, b, rtol=1e-8, atol=1e-8)
    assert_allclose(np.stack(found.weights), np.stack(average.weights), rtol=1e-9)


@every_covariance
@every_weight
@pytest.mark.parametrize("seed", [1, 2])
def test_step_is_along_the_natural_gradient(covariance_type, weight_type, seed):
    """dELBO(λ; d) = dᵀ F (λ̂ − λ), with F the Fisher information, as the curvature of KL."""
    X, _ = weighted_rows(80, seed=seed)
    model = bayes(
        3, covariance_type, weight_type, init_params="random_from_data",
        mean_precision_prior=1.0,  # no component is so empty that differences are not smooth
    )  # fmt: skip
    prior = posterior_of(after(model, X, 0)).prior
    here = posterior_of(after(model, X, 1)).statistics
    other = posterior_of(after(model.set_params(random_state=seed + 7), X, 4)).statistics
    with workers(1) as pool:
        best, _ = expect(Rows.readable(X), prior.posterior(here).kernel(), pool)

    def moved(along_gradient, along_other):
        change = (best + here * -1.0) * along_gradient + (other + here * -1.0) * along_other
        return prior.posterior(here + change)

    def length(a, b, epsilon):
        """(a g + b d)ᵀ F (a g + b d)."""
        center, total = moved(0.0, 0.0), 0.0
        for sign in (epsilon, -epsilon):
            end = moved(a * sign, b * sign)
            total += end.weights.kl(center.weights) + end.components.kl(center.components)
        return total / epsilon**2

    epsilon = 1e-4
    slope = (elbo(moved(0, epsilon), X) - elbo(moved(0, -epsilon), X)) / (2 * epsilon)
    expected = (length(1, 1, epsilon) - length(1, -1, epsilon)) / 4
    scale = np.sqrt(length(1, 0, epsilon) * length(0, 1, epsilon))
    assert abs(slope - expected) < 1e-4 * scale


@every_covariance
@every_weight
@pytest.mark.parametrize("method", ["batch", "memoized"])
def test_integer_weights_are_repeated_rows(covariance_type, weight_type, method):
    X, _ = weighted_rows()
    weight = np.random.default_rng(1).integers(0, 4, size=len(X))
    model = bayes(3, covariance_type, weight_type, learning_method=method)
    with workers(1) as pool:
        posterior = posterior_of(after(model, X, 1))
        make = {
            "batch": lambda rows: BatchStep(rows, pool),
            "memoized": lambda rows: MemoizedStep(rows, pool, rows.n_rows),
        }[method]
        weighted = make(Rows.readable(X, weight.astype(float)))
        repeated = make(Rows.readable(X.repeat(weight, axis=0)))
        one = two = posterior
        for _ in range(4):
            (one, left), (two, right) = weighted(one), repeated(two)
            assert_allclose(left, right, rtol=1e-10)
            assert_allclose(one.components.means, two.components.means, rtol=1e-8, atol=1e-9)
            assert_allclose(one.components.dofs, two.components.dofs, rtol=1e-9)


@every_covariance
@pytest.mark.parametrize("method", ["batch", "memoized", "online"])
def test_a_row_of_weight_zero_is_absent(covariance_type, method):
    X, weight = weighted_rows(200)
    weight[::3] = 0
    X[0] = 1e6  # where it weighs nothing
    model = bayes(3, covariance_type, learning_method=method, batch_size=30)
    one = after(model, X, 4, sample_weight=weight)
    bound, means = one.elbo_, one.means_
    two = after(model, X[weight > 0], 4, sample_weight=weight[weight > 0])
    assert_allclose(two.elbo_, bound, rtol=1e-9)
    assert_allclose(two.means_, means, rtol=1e-7, atol=1e-9)


@every_covariance
@every_weight
def test_a_row_of_which_nothing_is_known_is_expected_by_all(covariance_type, weight_type):
    """Each component takes its share of it, with its own expectation in its place.

    What q knows of (μ, Λ) counts against a component even there, as q(x | z) depends on neither.
    """
    X, nothing = blobs(100), np.full((1, 3), np.nan)
    model = after(bayes(3, covariance_type, weight_type), X, 3)
    posterior = posterior_of(model)
    with workers(1) as pool:
        statistics, local = expect(Rows.readable(nothing), posterior.kernel(), pool)
    joint = posterior.weights.expected_log() + posterior.components.offsets()
    resp = np.exp(joint - np.logaddexp.reduce(joint))
    assert_allclose(statistics.counts, resp, rtol=1e-10)
    assert_allclose(model.predict_proba(nothing)[0], resp, rtol=1e-10)
    assert_allclose(local, np.logaddexp.reduce(joint), rtol=1e-10)
    assert_allclose(statistics.recenter(model.means_).sums, 0.0, atol=1e-12)
    assert_allclose(model.score_samples(nothing), 0.0, atol=1e-14)


def test_online_comes_close_to_batch():
    X = blobs(20_000, n_components=4, seed=5, separation=4.0)
    held_out = blobs(4000, n_components=4, seed=5, separation=4.0)
    batch = bayes(4, max_iter=300).fit(X).score(held_out)
    online = after(bayes(4, learning_method="online", batch_size=500), X, 2)
    assert online.score(held_out) > batch - 0.01


@pytest.mark.parametrize("method", ["online", "memoized"])
@pytest.mark.parametrize("batch_size", [1, 7, 100_000])
@pytest.mark.parametrize("missing", [False, True])
def test_batches_of_any_size(method, batch_size, missing):
    X, weight = weighted_rows(60, missing=missing)
    model = bayes(3, learning_method=method, batch_size=batch_size)
    after(model, X, 3, sample_weight=weight)
    assert np.isfinite(model.elbo_)
    assert_allclose(
        model.mean_precision_.sum() - 3 * model.mean_precision_prior_, weight.sum(), rtol=1e-9
    )
    if method == "memoized":
        assert_never_falls(model.lower_bounds_)


@every_covariance
@pytest.mark.parametrize("method", ["batch", "memoized", "online"])
def test_thousands_of_components(covariance_type, method):
    n_components = 2000 if covariance_type in ("diag", "spherical") else 200
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 2))
    model = bayes(
        n_components, covariance_type, learning_method=method, init_params="random_from_data"
    )
    after(model, X, 2)
    assert model.weights_.shape == (n_components,)
    assert np.isfinite(model.elbo_)
    assert 0 < model.weights_.sum() <= 1 + 1e-12
    assert np.isfinite(model.score(X[:100]))
    if method != "online":
        assert_never_falls(model.lower_bounds_)


@every_covariance
@every_weight
def test_empty_components_are_the_prior(covariance_type, weight_type):
    """More components than distinct rows: those without rows have the prior as posterior."""
    X = np.repeat([[0.0, 1.0], [5.0, 5.0], [9.0, 0.0]], 20, axis=0)
    model = bayes(6, covariance_type, weight_type, weight_concentration_prior=1e-3)
    model.set_params(max_iter=200).fit(X)
    counts = model.mean_precision_ - model.mean_precision_prior_
    empty = counts < 1e-6
    assert empty.sum() >= 3
    assert_allclose(model.means_[empty], np.tile(model.mean_prior_, (empty.sum(), 1)), atol=1e-4)
    if covariance_type != "tied":
        prior = model.covariance_prior_ / model.degrees_of_freedom_prior_
        expected = np.broadcast_to(prior, model.covariances_[empty].shape)
        assert_allclose(model.covariances_[empty], expected, rtol=1e-4, atol=1e-4)
