"""Held-out log-likelihoods and posterior expectations against models that are known exactly."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skvae.neural import importance, importance_weights
from skvae.neural.importance import (
    elbo_terms,
    expected_features,
    expected_responsibilities,
    in_double,
    is_unreliable,
    log_likelihood,
    posterior_expectation,
    reliability_message,
    standard_error,
)
from skvae.neural.latent_model import make_model
from skvae.neural.likelihoods import make_likelihood
from skvae.neural.priors import make_prior
from tests.vae.fakes import (
    FixedGaussian,
    encoder_alone,
    exact_elbo,
    linear,
    linear_model,
    linear_problem,
)
from tests.vae.oracles import LinearGaussian, log_mixture


class ScaledGaussian(FixedGaussian):
    """Rows of X = location + scale * prepared, as families that standardise have it."""

    def __init__(self, variances, location=0.0, scale=1.0):
        super().__init__(variances)
        shape = self.variances.shape
        self.register_buffer("location", torch.as_tensor(location).double().expand(shape).clone())
        self.register_buffer("scale", torch.as_tensor(scale).double().expand(shape).clone())

    def log_volume(self, X):
        return np.where(np.isnan(X), 0.0, -self.scale.log().numpy()).sum(axis=1)

    def mean(self, outputs):
        return self.location + self.scale * outputs


def expected_latents(model, x, n_draws, *, seed):
    """E[z | x] by the importance-weighted draws."""
    return posterior_expectation(model, x, n_draws, lambda draws: draws.z, seed=seed)


def known(problem, *, location=0.0, scale=1.0, **changes):
    """A linear model with known results."""
    model = linear_model(problem, **changes)
    model.likelihood = ScaledGaussian(problem.variances, location, scale)
    return in_double(model)


def broad(problem, covariance="diag"):
    """A linear model with an encoder broader than the posterior, so that no weight is large."""
    model = known(problem, covariance=covariance, perturbation=0.05)
    model.encoder.bias[problem.n_components : 2 * problem.n_components] += 1.5
    return model


def holes(X, share=0.3, seed=3):
    """X with a share of entries missing."""
    return np.where(np.random.default_rng(seed).random(X.shape) < share, np.nan, X)


def deep(prior="normal", covariance="diag", n_features=6, hidden=(32, 16)):
    """A model of some layers with weights that matter."""
    model = make_model(
        ScaledGaussian(np.linspace(0.5, 1.5, n_features)),
        n_components=3,
        hidden_layer_sizes=hidden,
        covariance=covariance,
        prior=prior,
        n_prior_components=4,
        seed=0,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 1.5
    return in_double(model)


def rows(n, n_features=6, seed=0):
    return np.random.default_rng(seed).normal(size=(n, n_features))


# By value -----------------------------------------------------------------------------------------


def test_every_weight_is_the_evidence_where_the_encoder_is_exact():
    problem = linear_problem()
    X = problem.sample(40, seed=1)
    found = encoder_alone(known(problem), X, 50)
    assert_allclose(found.log_likelihood, problem.log_evidence(X), rtol=0, atol=1e-11)
    assert_allclose(found.effective_size, 50, rtol=1e-9)


@pytest.mark.parametrize("missing", [False, True])
def test_every_weight_is_the_evidence_of_factor_analysis_with_any_encoder(missing):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(40, 5))
    likelihood = make_likelihood("gaussian", X)
    model = in_double(make_model(likelihood, n_components=2, hidden_layer_sizes=(), seed=0))
    with torch.no_grad():
        model.decoder[0].weight *= 30.0
    weight, offset = (part.detach().numpy() for part in model.decoder[0].parameters())
    variances = np.square(model.likelihood.sigma(torch.float64).detach().numpy())
    x = likelihood.prepare(holes(X) if missing else X)
    found = log_likelihood(model, x, 50, seed=0)
    exact = LinearGaussian(weight, offset, variances).log_evidence(x)
    volume = likelihood.log_volume(x)
    assert_allclose(found.log_likelihood - volume, exact, rtol=0, atol=1e-11)
    assert_allclose(found.effective_size, 50, rtol=1e-9)
    assert encoder_alone(model, x, 50).effective_size.mean() < 30


@pytest.mark.parametrize("covariance", ["diag", "full"])
@pytest.mark.parametrize("missing", [False, True])
def test_estimates_and_their_errors(covariance, missing):
    problem = linear_problem()
    X = problem.sample(400, seed=1)
    X = holes(X) if missing else X
    found = log_likelihood(broad(problem, covariance), X, 250, seed=5)
    error = standard_error(found.effective_size, 250)
    assert 0.03 < np.median(error) < error.max() < 0.5
    off = found.log_likelihood - problem.log_evidence(X)
    some = ~np.isnan(X).all(axis=1)
    assert 0.7 < ((off[some] / error[some]) ** 2).mean() < 1.4
    # Errors that were shared by the rows would not average out.
    assert abs(off.sum()) < 4 * np.sqrt((error**2).sum())


def test_elbo_below_few_draws_below_many_below_the_evidence():
    problem = linear_problem()
    X = problem.sample(60, seed=1)
    model = known(problem, covariance="diag", perturbation=0.1)
    bounds = [
        np.mean([log_likelihood(model, X, k, seed=s).log_likelihood for s in range(40)])
        for k in (1, 2, 8, 64)
    ]
    elbo = np.mean([elbo_terms(model, X, 100, seed=s).elbo for s in range(10)])
    assert abs(elbo - bounds[0]) < 0.1
    assert np.diff([*bounds, problem.log_evidence(X).mean()]).min() > 0.002


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_terms_of_the_bound(covariance):
    problem = linear_problem()
    X = problem.sample(30, seed=1)
    model = known(problem, covariance=covariance, perturbation=0.1)
    found = elbo_terms(model, X, 20_000, seed=0)
    posterior = model.encode(torch.from_numpy(X))
    assert_allclose(found.elbo, exact_elbo(problem, X, posterior), atol=0.1)
    assert_allclose(found.kl, posterior.kl_normal(), rtol=1e-12)
    assert_array_equal(found.elbo, found.reconstruction - found.kl)


def test_where_nothing_is_observed_the_likelihood_is_one():
    problem = linear_problem()
    X = problem.sample(5, seed=1)
    X[2] = np.nan
    model = known(problem, perturbation=0.5, scale=3.0)
    found = log_likelihood(model, X, 30, seed=0)
    assert found.log_likelihood[2] == 0.0
    assert found.effective_size[2] == 30
    assert elbo_terms(model, X, 30, seed=0).reconstruction[2] == 0.0


def test_units_are_those_of_X():
    problem = linear_problem(n_features=3)
    X = holes(problem.sample(30, seed=1))
    scale = torch.tensor([2.0, 1e-3, 1e5])
    plain, scaled = known(problem), known(problem, location=5.0, scale=scale)
    shift = np.where(np.isnan(X), 0.0, np.log(scale.numpy())).sum(axis=1)
    for ask in (log_likelihood, elbo_terms):
        before, after = ask(plain, X, 20, seed=0), ask(scaled, X, 20, seed=0)
        assert_allclose(after[0], before[0] - shift, rtol=1e-6)
        assert_allclose(after[1] - before[1], 0 if ask is log_likelihood else -shift, atol=1e-6)
    means = [expected_features(m, X, 20, seed=0).mean for m in (plain, scaled)]
    assert_allclose(means[1], 5.0 + scale.double().numpy() * means[0], rtol=1e-6)


# Expectations -------------------------------------------------------------------------------------


def test_missing_values_are_expected_as_the_exact_posterior_has_them():
    problem = linear_problem()
    X = holes(problem.sample(40, seed=1))
    model = broad(problem)
    latents, features = (
        ask(model, X, 20_000, seed=0) for ask in (expected_latents, expected_features)
    )
    means, covariances = problem.posterior(X)
    spread = np.sqrt(np.diagonal(covariances, axis1=1, axis2=2))
    assert latents.effective_size.min() > 500
    error = 5 * spread / np.sqrt(latents.effective_size)[:, None]
    assert (np.abs(latents.mean - means) < error).all()
    assert_allclose(features.mean, problem.offset + latents.mean @ problem.loadings.T, rtol=1e-9)
    assert_array_equal(features.effective_size, latents.effective_size)


def mixture_model(problem):
    """A linear model with a mixture prior, and its components as (weights, means, variances)."""
    model = broad(problem)
    generator = torch.Generator().manual_seed(0)
    prior = make_prior(
        "mixture", problem.n_components, n_prior_components=3, generator=generator
    ).double()
    with torch.no_grad():
        prior.logits.copy_(torch.tensor([0.3, 0.0, -0.5]))
        prior.means *= 1.5
    model.prior = prior
    density = model.prior_density()
    parts = density.log_weights.exp(), density.components.mean, density.components.variance
    return model, [part.detach().numpy() for part in parts]


def test_responsibilities_and_evidence_under_a_mixture():
    problem = linear_problem()
    X = holes(problem.sample(40, seed=1), 0.2)
    model, (weights, means, variances) = mixture_model(problem)
    found = expected_responsibilities(model, X, 4000, seed=0)
    evidence = log_likelihood(model, X, 4000, seed=0)
    for i, x in enumerate(X):
        W, b, v = problem.marginal(~np.isnan(x))
        log_p, resp = log_mixture(
            x[~np.isnan(x)][None],
            weights,
            [b + W @ m for m in means],
            [W @ np.diag(s) @ W.T + np.diag(v) for s in variances],
        )
        error = 5 / np.sqrt(found.effective_size[i])
        assert_allclose(found.mean[i], resp[0], atol=error)
        assert_allclose(evidence.log_likelihood[i], log_p[0], atol=error)
    assert_allclose(found.mean.sum(axis=1), 1.0, rtol=1e-12)


def test_rows_that_are_impossible_have_plain_means():
    problem = linear_problem()
    X = problem.sample(3, seed=1)
    X[1] = 1e200
    with torch.no_grad():
        model = known(problem)
        model.encoder.weight.zero_()
    found = log_likelihood(model, X, 100, seed=0)
    assert found.log_likelihood[1] == -np.inf
    assert found.effective_size[1] == 1.0
    assert np.isfinite(found.log_likelihood[[0, 2]]).all()
    latents = expected_latents(model, X, 100, seed=0)
    assert np.abs(latents.mean[1]).max() < 2.0
    assert elbo_terms(model, X, 100, seed=0).elbo[1] == -np.inf


# The same in any batch ----------------------------------------------------------------------------


MODELS = {
    "diag": lambda: deep(),
    "full": lambda: deep(covariance="full"),
    "mixture": lambda: deep(prior="mixture"),
    "vamp": lambda: deep(prior="vamp"),
    "wide": lambda: deep(n_features=784, hidden=(200,)),
}


@pytest.fixture(params=MODELS)
def model(request):
    return MODELS[request.param]()


@pytest.mark.parametrize("ask", [log_likelihood, elbo_terms, expected_latents, expected_features])
@pytest.mark.parametrize("n_draws", [3, 700])
def test_a_row_has_the_same_answer_in_any_batch_and_order(model, ask, n_draws):
    n_features = model.likelihood.n_features
    X = rows(11 if n_features > 100 else 70, n_features)
    X[::3] = holes(X[::3])
    whole = ask(model, X, n_draws, seed=0)
    order = np.random.default_rng(1).permutation(len(X))
    for index in (order, order[:5], order[7:8], np.arange(3), np.repeat(order[:3], 4)):
        for some, all_ in zip(ask(model, X[index], n_draws, seed=0), whole, strict=True):
            assert_allclose(some, all_[index], rtol=1e-13, atol=1e-13)


FAMILIES = {
    "student_t": rows(70, 4),
    "bernoulli": np.random.default_rng(0).integers(0, 2, (70, 4)),
    "continuous_bernoulli": np.random.default_rng(0).random((70, 4)),
    "categorical": np.random.default_rng(0).integers(0, 3, (70, 4)),
    "negative_binomial": np.random.default_rng(0).poisson(3, (70, 4)),
    "log_normal": np.random.default_rng(0).lognormal(size=(70, 4)),
    "gamma": np.random.default_rng(0).gamma(2.0, size=(70, 4)),
    "beta": np.random.default_rng(0).beta(2.0, 0.5, (70, 4)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_so_it_is_in_every_family(family):
    X = holes(FAMILIES[family].astype(float))
    likelihood = make_likelihood(family, X)
    model = in_double(make_model(likelihood, n_components=2, hidden_layer_sizes=(9,), seed=0))
    order = np.random.default_rng(1).permutation(len(X))
    for ask in (log_likelihood, elbo_terms, expected_features):
        whole = ask(model, likelihood.prepare(X), 100, seed=0)
        for index in (order, order[:7], order[:1]):
            found = ask(model, likelihood.prepare(X[index]), 100, seed=0)
            for some, all_ in zip(found, whole, strict=True):
                assert_allclose(some, all_[index], rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("numbers", [1, 100, 1000, 2**22])
def test_groups_and_chunks_of_any_size_give_the_same(monkeypatch, model, numbers):
    X = rows(9, model.likelihood.n_features)
    X[::2] = holes(X[::2])
    asked = (log_likelihood, elbo_terms, expected_features)
    # In float64: products of another shape are rounded differently.
    monkeypatch.setattr(importance_weights, "_MANY_WEIGHTS", np.inf)
    before = [ask(model, X, 50, seed=0) for ask in asked]
    monkeypatch.setitem(importance_weights._NUMBERS, "cpu", numbers)
    for ask, expected in zip(asked, before, strict=True):
        for a, b in zip(ask(model, X, 50, seed=0), expected, strict=True):
            assert_allclose(a, b, rtol=1e-11, atol=1e-11)


def test_more_draws_continue_those_of_fewer():
    drawn = {7: [], 4000: []}

    def latents(draws):
        drawn[n_draws].append(draws.z[:, 0].numpy())
        return draws.z

    for n_draws in drawn:
        posterior_expectation(deep(), rows(1), n_draws, latents, seed=0)
    assert_allclose(drawn[7][0], drawn[4000][0][:7], rtol=1e-12)


def test_seeds_and_repeats():
    model, X = deep(), rows(5)
    first, again, other = (log_likelihood(model, X, 20, seed=s) for s in (0, 0, 1))
    assert_array_equal(first, again)
    assert (first.log_likelihood != other.log_likelihood).all()


def test_global_random_states_are_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    log_likelihood(deep(), rows(5), 20, seed=0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_memory_of_many_draws_is_bounded():
    """No tensor of 5,000 draws is larger than 2 MB, where all of one row would be 31."""
    model = deep(n_features=784, hidden=(400,))
    sizes = []
    for module in (model.encoder, model.decoder):
        for part in module.modules():
            part.register_forward_hook(lambda *seen: sizes.append(seen[2].numel() * 8))
    found = log_likelihood(model, rows(3, 784), 5000, seed=0)
    assert np.isfinite(found.log_likelihood).all()
    assert max(sizes) <= 2**21


def test_gradients_are_as_they_were():
    problem = linear_problem()
    model = linear_model(problem)
    model.likelihood = ScaledGaussian(problem.variances)
    graphs = []

    def latents(draws):
        graphs.append(draws.outputs.requires_grad)
        return draws.z

    posterior_expectation(model, problem.sample(3, seed=0), 5, latents, seed=0)
    assert graphs == [False]
    assert torch.is_grad_enabled()
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_a_copy_to_ask_leaves_the_model_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    asked = in_double(model)
    assert (asked.training, model.training) == (False, True)
    assert (asked[0].weight.dtype, model[0].weight.dtype) == (torch.float64, torch.float32)
    assert not asked[0].weight.requires_grad
    assert model[0].weight.requires_grad


@pytest.mark.parametrize("ask", [log_likelihood, elbo_terms, expected_features])
@pytest.mark.parametrize("where", ["encoder", "decoder"])
def test_models_that_break_down_name_the_row(ask, where):
    problem = linear_problem()
    model = known(problem)
    X = problem.sample(4, seed=0)
    if where == "encoder":
        X[2] = 1e308  # times the weights and summed: inf - inf
        model.encoder = linear(np.full((5, 5), 10.0) * [[1, -1, 1, -1, 1]], np.zeros(5))
        message = "NaN or infinity for 1 of 4 rows, the first of which is row 2"
    else:
        model.decoder.weight[0, 0] = torch.nan
        message = "NaN or infinity for 4 of 4 rows, the first of which is row 0"
    with pytest.raises(ValueError, match=message):
        ask(model, X, 10, seed=0)


# Weights and trust --------------------------------------------------------------------------------


def test_errors_are_those_of_the_mean_weight():
    weight = np.random.default_rng(0).lognormal(size=(500, 20))
    sums = importance_weights.WeightSums()
    sums.add(torch.from_numpy(np.log(weight)))
    expected = weight.std(axis=0, ddof=1) / np.sqrt(500) / weight.mean(axis=0)
    assert_allclose(standard_error(sums.effective_size().numpy(), 500), expected, rtol=1e-9)
    assert_array_equal(standard_error([1.0], 1), [np.inf])
    assert_array_equal(standard_error([30.0], 30), [0.0])


def test_few_effective_draws_have_a_message():
    assert_array_equal(is_unreliable([9.0, 11.0], 1000), [True, False])
    assert_array_equal(is_unreliable([2.9, 3.1], 6), [True, False])
    assert not is_unreliable([1.0], 1).any()
    message = reliability_message([1.5, 30.0, 40.0], 1000)
    assert message.startswith(
        "1 of 3 rows have fewer than 10 effective draws, the least 1.5 of n_score_samples=1000: "
    )
    assert "raise n_score_samples" in message
    assert reliability_message(np.repeat([2.0, 50.0], [10, 90]), 1000) is None
    assert reliability_message(np.repeat([2.0, 50.0], [11, 89]), 1000) is not None
    assert reliability_message([], 1000) is None


def test_a_poor_encoder_is_seen_where_it_is_alone():
    problem = linear_problem()
    X = problem.sample(50, seed=1)
    far, exact = known(problem, perturbation=3.0), problem.log_evidence(X)
    found = encoder_alone(far, X, 200)
    assert reliability_message(found.effective_size, 200) is not None
    assert found.log_likelihood.mean() < exact.mean() - 0.5
    both = log_likelihood(far, X, 200, seed=0)
    assert reliability_message(both.effective_size, 200) is None
    assert abs(both.log_likelihood.mean() - exact.mean()) < 0.02
    assert issubclass(importance.EffectiveSizeWarning, UserWarning)
