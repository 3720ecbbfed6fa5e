"""The results of a fitted autoencoder, by value."""

import copy
import sys
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import norm
from sklearn.decomposition import PCA, FactorAnalysis
from torch import nn

import skvae
from skvae.neural.importance import EffectiveSizeWarning
from tests.combinations import slow
from tests.problems import knock_out
from tests.vae.estimator_problems import (
    as_factor_analysis,
    autoencoder,
    linear_autoencoder,
    rows,
    with_many_modes,
)
from tests.vae.oracles import LinearGaussian, kl_gaussians, log_mixture

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")


@pytest.fixture(scope="module")
def X():
    return rows(80)


@pytest.fixture(scope="module")
def linear(X):
    """Its posterior is no narrower than the errors of an encoder that was trained for a while."""
    return linear_autoencoder(X, likelihood_params={"min_scale": 0.3})


class Straight(nn.Module):
    """A linear decoder of a form of its own: its posterior is found by draws, not exactly."""

    def __init__(self):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(3, 1)), nn.Parameter(torch.zeros(3))

    def forward(self, z):
        return z @ self.weight.T + self.bias


@pytest.fixture(scope="module")
def sampled(X):
    return linear_autoencoder(X, likelihood_params={"min_scale": 0.3}, decoder=Straight)


@pytest.fixture(scope="module")
def deep(X):
    return autoencoder(2, max_epochs=60, lr=1e-2).fit(X)


@pytest.fixture(scope="module")
def clustered():
    """Three clusters in four columns, and a model of them with a mixture prior."""
    rng = np.random.default_rng(0)
    labels = rng.integers(3, size=200)
    X = 6.0 * rng.normal(size=(3, 4))[labels] + rng.normal(size=(200, 4))
    parameters = {"prior": "mixture", "n_prior_components": 3, "lr": 1e-2, "batch_size": 50}
    return X, labels, autoencoder(2, **parameters, max_epochs=40, hidden_layer_sizes=(16,)).fit(X)


# Densities ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("scale", ["feature", *slow("shared")])
def test_linear_model_reaches_the_closed_form(scale):
    """Without hidden layers the optimum is factor analysis, or PCA if the noise is shared."""
    X = rows(150, 4)
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    vae = linear_autoencoder(
        X,
        likelihood_params={"scale": scale},
        max_epochs=150,
        batch_size=30,
        lr=3e-3,
        early_stopping=False,
        encoder_covariance="full",
    )
    optimum = FactorAnalysis(1, tol=1e-3) if scale == "feature" else PCA(1)
    # scikit-learn's PCA divides by n - 1.
    slack = 0.0 if scale == "feature" else 0.01
    assert -0.02 < vae.score(X) - optimum.fit(X).score(X) < slack + 1e-4


def test_score_is_the_log_density(linear, sampled, X):
    exact = as_factor_analysis(linear).log_evidence(X)
    assert_allclose(linear.score_samples(X), exact, atol=1e-9)
    exact = as_factor_analysis(sampled).log_evidence(X)
    sampled = copy.deepcopy(sampled).set_params(n_score_samples=5000)
    error = sampled.standard_error(X)
    assert_allclose(sampled.score_samples(X), exact, atol=5 * error.max())
    assert 1e-4 < error.max() < 0.03


def test_score_of_observed_values_is_the_marginal_density(linear, sampled, X):
    X = knock_out(X)
    X[0] = np.nan
    exact = as_factor_analysis(linear).log_evidence(X)
    assert_allclose(linear.score_samples(X), exact, atol=1e-9)
    exact = as_factor_analysis(sampled).log_evidence(X)
    sampled = copy.deepcopy(sampled).set_params(n_score_samples=5000)
    scores = sampled.score_samples(X)
    assert scores[0] == 0
    assert np.abs(scores - exact).max() < 5 * sampled.standard_error(X).max() < 0.3


def test_bound_is_below_the_score_and_the_score_below_the_truth(sampled, X):
    exact = as_factor_analysis(sampled).log_evidence(X).mean()
    scores = {n: [] for n in (2, 20, 200)}
    for seed in range(20):
        other = copy.deepcopy(sampled)
        other._noise_seed = seed
        with torch.no_grad():  # its encoder is exact: then all of them are equal
            other.net_.module_.model.encoder[0].bias += 0.5
        for n, found in scores.items():
            found.append(other.set_params(n_score_samples=n).score(X))
    means = [np.mean(found) for found in scores.values()]
    bound = other.set_params(n_score_samples=2000).elbo(X).elbo.mean()
    assert bound < means[0] < means[1] < means[2] < exact + 0.01


def test_the_density_is_few_frames_below_score_samples(deep, X):
    package, depths = str(Path(skvae.__file__).parent), []

    def count(frame, event, _arg):
        if (
            event == "call"
            and frame.f_code.co_name == "log_prob"
            and "likelihoods" in frame.f_code.co_filename
        ):
            depth = 0
            while frame is not None:
                depth += frame.f_code.co_filename.startswith(package)
                frame = frame.f_back
            depths.append(depth)

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        deep.score_samples(X[:3])
    finally:
        sys.setprofile(before)
    assert 0 < max(depths) <= 9  # as measured


def test_standard_error_is_the_spread_over_draws(sampled, X):
    scores, errors = [], []
    for seed in range(60):
        other = copy.deepcopy(sampled).set_params(n_score_samples=200)
        other._noise_seed = seed
        scores.append(other.score_samples(X[:10]))
        errors.append(other.standard_error(X[:10]))
    spread, error = (np.sqrt(np.mean(v)) for v in (np.var(scores, axis=0), np.square(errors)))
    assert_allclose(spread, error, rtol=0.2)
    assert_allclose(np.corrcoef(np.transpose(scores))[np.triu_indices(10, 1)], 0, atol=0.6)


def test_terms_of_the_bound_add_up(deep, X):
    terms = deep.elbo(X)
    assert_allclose(terms.elbo, terms.reconstruction - terms.kl, rtol=1e-12)
    assert (terms.kl > 0).all()
    assert {term.shape for term in terms} == {(len(X),)}


def test_effective_size_tells_the_draws_that_count(deep, X):
    size = deep.effective_sample_size(X)
    assert ((size > 0) & (size <= 100)).all()
    more = copy.deepcopy(deep).set_params(n_score_samples=400)
    assert_allclose(more.effective_sample_size(X).mean() / size.mean(), 4, rtol=0.3)
    assert (more.standard_error(X).mean() < 0.7 * deep.standard_error(X).mean()).all()


def test_too_small_an_effective_size_is_a_warning_where_it_is_called(X):
    vae = with_many_modes(X).set_params(n_score_samples=50)
    far = 1.05 * X
    for call in (vae.score_samples, vae.score):
        with pytest.warns(EffectiveSizeWarning, match="n_score_samples=50") as caught:
            call(far)
        assert caught[0].filename == __file__
    vae.effective_sample_size(far)
    vae.standard_error(far)


@pytest.mark.parametrize("missing", [False, True])
def test_rows_are_answered_one_by_one(deep, X, missing):
    X = knock_out(X) if missing else X
    order = np.random.default_rng(0).permutation(len(X))
    for method in (
        *("score_samples", "transform", "reconstruct", "effective_sample_size", "impute"),
        "feature_scores",
    ):
        ask = getattr(deep, method)
        whole = ask(X)
        assert_allclose(ask(X[order]), whole[order], rtol=1e-9, err_msg=method)
        alone = np.concatenate([ask(X[i : i + 1]) for i in range(5)])
        assert_allclose(alone, whole[:5], rtol=1e-9, err_msg=method)
        assert_array_equal(ask(X), whole, err_msg=method)


def test_weights_of_the_score(deep, X):
    scores = deep.score_samples(X)
    weight = np.arange(len(X)) % 3
    assert_allclose(deep.score(X, sample_weight=weight), np.repeat(scores, weight).mean())
    with pytest.raises(ValueError, match="sample_weight"):
        deep.score(X, sample_weight=-np.ones(len(X)))


@pytest.mark.parametrize("likelihood", ["gaussian", "student_t"])
def test_units_do_not_matter(likelihood, X):
    vae = autoencoder(likelihood=likelihood).fit(X)
    other = autoencoder(likelihood=likelihood).fit(1000.0 * X + 1e6)
    assert_allclose(other.transform(1000.0 * X + 1e6), vae.transform(X), rtol=1e-3, atol=1e-5)
    shift = 3 * np.log(1000.0)
    assert_allclose(other.score(1000.0 * X + 1e6), vae.score(X) - shift, atol=1e-4)
    assert_allclose(other.lower_bound_, vae.lower_bound_ - shift, atol=1e-4)
    assert_allclose(other.history_["bound"], np.subtract(vae.history_["bound"], shift), atol=1e-4)
    assert_allclose(other.inverse_transform([[0, 1]]), 1000 * vae.inverse_transform([[0, 1]]) + 1e6)


@pytest.mark.parametrize("missing", [False, True])
def test_scores_of_features_are_conditional_densities(linear, sampled, X, missing):
    """Of a linear model each value is Gaussian given the others."""
    rows = knock_out(X[:30]) if missing else X[:30].copy()
    rows[0] = np.nan
    model = as_factor_analysis(linear)
    covariance = model.loadings @ model.loadings.T + np.diag(model.variances)
    expected = np.full(rows.shape, np.nan)
    for i, row in enumerate(rows):
        for j in np.flatnonzero(~np.isnan(row)):
            rest = np.flatnonzero(~np.isnan(row) & (np.arange(3) != j))
            gain = covariance[j, rest] @ np.linalg.inv(covariance[np.ix_(rest, rest)])
            mean = model.offset[j] + gain @ (row[rest] - model.offset[rest])
            variance = covariance[j, j] - gain @ covariance[rest, j]
            expected[i, j] = norm.logpdf(row[j], mean, np.sqrt(variance))
    assert_allclose(linear.feature_scores(rows), expected, atol=1e-8)
    found = linear.feature_scores(rows.astype(np.float32))
    assert found.dtype == np.float32
    assert_allclose(found, expected, atol=1e-3)
    again = copy.deepcopy(sampled).set_params(n_score_samples=2000)
    model = as_factor_analysis(sampled)
    one = model.log_evidence(rows[1:2]) - model.log_evidence(
        np.where(np.arange(3) == 2, np.nan, rows[1:2])
    )
    assert_allclose(again.feature_scores(rows[1:2])[0, 2], one[0], atol=0.1)


def test_scores_of_features_show_the_wrong_value(nominal):
    """A value that was exchanged has a score far below the usual one of its column."""
    X, vae = nominal[0][:100], nominal[1]
    usual = vae.feature_scores(X)
    clear = np.flatnonzero((X[:, 0] == 2.0 * X[:, 1]) & (X[:, 2] > 4.0) & (X[:, 1] == 1.0))[:10]
    wrong = X[clear]
    wrong[:, 1] = 0.0
    found = vae.feature_scores(wrong) - usual.mean(axis=0)
    assert (found[:, 1] < -2.0).all()
    assert found.mean(axis=0).argmin() == 1
    wrong[:, 1] = np.nan
    assert np.isnan(vae.feature_scores(wrong)[:, 1]).all()
    lazy = vae.feature_scores(da.from_array(X[:20], chunks=(7, 3)))
    assert_allclose(lazy.compute(), usual[:20], rtol=1e-9)


# The latent space ---------------------------------------------------------------------------------


def test_inverse_of_a_linear_model_is_linear(linear):
    Z = np.array([[-2.0], [0.0], [1.0], [2.0]])
    X = linear.inverse_transform(Z)
    assert_allclose(X[3] - X[1], 2 * (X[2] - X[1]), rtol=1e-5)
    assert_allclose(X[0] - X[1], X[1] - X[3], rtol=1e-5)


def test_reconstruction_is_the_inverse_of_the_latent_mean(deep, X):
    assert_allclose(deep.reconstruct(X), deep.inverse_transform(deep.transform(X)), rtol=1e-12)
    within = ((X - deep.reconstruct(X)) ** 2).sum() / ((X - X.mean(axis=0)) ** 2).sum()
    assert within < 0.9


def test_latent_mean_is_the_encoder_s(deep, X):
    centred = X - X.mean(axis=0)
    assert np.abs(np.corrcoef(deep.transform(X).T, centred.T)).max() < 1 + 1e-12
    active = deep.transform(X).var(axis=0) > 0.01
    assert_array_equal(deep.active_units(X), active)
    assert deep.active_units(X).dtype == bool


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_posterior_is_the_encoder_s(covariance, X):
    """ln p(x) less the bound is the divergence from p(z | x), which a linear model has."""
    vae = linear_autoencoder(X, 2, encoder_covariance=covariance, lr=1e-6)
    holes = knock_out(X)
    mean, covariances = vae.posterior(holes)
    assert_array_equal(mean, vae.transform(holes))
    assert covariances.shape == (len(X), 2, 2)
    assert_array_equal(covariances, covariances.transpose(0, 2, 1))
    assert covariance == "full" or (covariances[:, 0, 1] == 0).all()
    means, exact = as_factor_analysis(vae).posterior(holes)
    gaps = vae.score_samples(holes) - vae.elbo(holes).elbo
    expected = [kl_gaussians(*q) for q in zip(mean, covariances, means, exact, strict=True)]
    error = vae.elbo(holes).standard_error
    assert (np.abs(gaps - expected) < 6 * error + 1e-6).all()
    complete = vae.posterior(X)  # training begins at the closed form
    assert_allclose(complete.mean, as_factor_analysis(vae).posterior(X)[0], atol=0.05)
    assert vae.posterior(X.astype(np.float32)).covariance.dtype == np.float32


def test_posterior_of_a_dask_array_is_lazy(deep, X):
    mean, covariance = deep.posterior(da.from_array(X, chunks=(30, 3)))
    assert covariance.shape == (len(X), 2, 2)
    expected = deep.posterior(X)
    assert_allclose(mean.compute(), expected.mean, rtol=1e-12)
    assert_allclose(covariance.compute(), expected.covariance, rtol=1e-12)
    assert covariance.dtype == covariance.compute().dtype


def test_units_without_information_are_not_active():
    noise = np.random.default_rng(0).normal(size=(100, 3))
    vae = autoencoder(2, hidden_layer_sizes=(), beta=10.0, kl_warmup=0, max_epochs=60, lr=1e-2)
    assert not vae.fit(noise).active_units(noise).any()


@pytest.mark.parametrize("method", ["inverse_transform", "likelihood_parameters"])
def test_wrong_latent_vectors(deep, method):
    with pytest.raises(ValueError, match=r"Z has 3 columns.*n_components=2"):
        getattr(deep, method)(np.ones((2, 3)))
    with pytest.raises(ValueError, match="Z contains NaN"):
        getattr(deep, method)([[0.0, np.nan]])


def test_parameters_of_the_likelihood_are_in_the_units_of_the_rows(linear, X):
    model, Z = as_factor_analysis(linear), np.linspace(-2.0, 2.0, 5)[:, None]
    parameters = linear.likelihood_parameters(Z)
    assert list(parameters) == ["mean", "scale"]
    assert_allclose(parameters["mean"], model.offset + Z @ model.loadings.T, rtol=1e-9)
    assert_allclose(parameters["scale"], np.sqrt(np.tile(model.variances, (5, 1))), rtol=1e-9)
    single = linear.likelihood_parameters(Z.astype(np.float32))
    assert {value.dtype for value in single.values()} == {np.dtype(np.float32)}


def test_parameters_of_the_likelihood_of_many_vectors_and_parts(nominal):
    vae, Z = nominal[1], np.linspace(-2.0, 2.0, 9001)[:, None]  # more than are decoded together
    parameters = vae.likelihood_parameters(Z)
    assert set(parameters) == {"probabilities", "probability", "mean", "scale"}
    assert parameters["probabilities"].shape == (9001, 3, 3)
    assert np.isnan(parameters["probabilities"][:, 1:]).all()
    expected = vae.inverse_transform(Z)
    assert_array_equal(parameters["probability"][:, 1], expected[:, 1])
    assert_array_equal(parameters["mean"][:, 2], expected[:, 2])
    assert_array_equal(parameters["probabilities"][:, 0].argmax(axis=1), expected[:, 0])


# Draws and missing values -------------------------------------------------------------------------


def test_draws_have_the_moments_of_the_model(linear):
    model = as_factor_analysis(linear)
    X, Z = linear.sample(20_000, random_state=1)
    covariance = model.loadings @ model.loadings.T + np.diag(model.variances)
    units = np.sqrt(np.diag(covariance))
    assert_allclose((X.mean(axis=0) - model.offset) / units, 0, atol=0.03)
    assert_allclose(
        np.cov(X.T) / np.outer(units, units), covariance / np.outer(units, units), atol=0.04
    )
    residual = X - linear.inverse_transform(Z)
    assert_allclose(residual.var(axis=0), model.variances, rtol=0.04)
    assert_allclose([Z.mean(), Z.std()], [0, 1], atol=0.03)


def test_draws_follow_their_seed(deep):
    assert_array_equal(deep.sample(5, random_state=3)[0], deep.sample(5, random_state=3)[0])
    rng = np.random.RandomState(3)
    assert not np.array_equal(
        deep.sample(5, random_state=rng)[0], deep.sample(5, random_state=rng)[0]
    )
    for wrong in (0, -1, 2.5, "many"):
        with pytest.raises(ValueError, match="n_samples"):
            deep.sample(wrong)
    with pytest.raises(ValueError, match="random_state"):
        deep.sample(random_state="seed")


def test_imputation_is_the_conditional_expectation(linear, X):
    model = as_factor_analysis(linear)
    holes = knock_out(X[:20], 0.5)
    linear = copy.deepcopy(linear).set_params(n_score_samples=20_000)
    filled = linear.impute(holes)
    means, _ = model.posterior(holes)
    expected = model.offset + means @ model.loadings.T
    missing = np.isnan(holes)
    assert missing.any()
    assert_array_equal(filled[~missing], holes[~missing])
    difference = (filled - expected) / X.std(axis=0)
    assert np.abs(difference[missing]).max() < 0.1


@pytest.fixture(scope="module")
def nominal():
    """Codes 0 and 2, a word of two, and a number, of two groups of rows; and a model of them."""
    rng = np.random.default_rng(0)
    group = rng.integers(2, size=400)
    other = rng.random((400, 2)) < 0.1
    codes = 2.0 * (group ^ other[:, 0])
    words = (group ^ other[:, 1]).astype(float)
    X = np.column_stack([codes, words, 3.0 * group + rng.normal(size=400)])
    likelihood = [("categorical", 0), ("bernoulli", 1), ("gaussian", 2)]
    return X, autoencoder(1, likelihood=likelihood, max_epochs=60, lr=1e-2).fit(X)


def test_nominal_values_are_the_most_probable(nominal):
    X, vae = nominal
    X, vae = X[:100], copy.deepcopy(vae).set_params(n_score_samples=3000)
    holes = X.copy()
    holes[:, 0] = np.nan
    holes[::2, 1] = np.nan
    filled = vae.impute(holes)
    assert set(filled[:, 0]) == {0.0, 2.0}
    assert set(filled[::2, 1]) == {0.0, 1.0}
    assert np.isfinite(vae.score_samples(filled)).all()
    assert (filled[:, 0] == X[:, 0]).mean() > 0.75
    # It is the code whose joint density with the observed values is highest.
    joint = []
    for code in (0.0, 1.0, 2.0):
        holes[:, 0] = code
        joint.append(vae.score_samples(holes))
    ranked = np.sort(joint, axis=0)
    sure = ranked[-1] - ranked[-2] > 0.5  # nats: scores and imputations have other draws
    assert sure.mean() > 0.5
    assert_array_equal(filled[sure, 0], np.argmax(joint, axis=0)[sure])


def test_reconstructions_of_nominal_values_are_values(nominal):
    X, vae = nominal
    reconstructed = vae.reconstruct(X)
    assert set(reconstructed[:, 0]) == {0.0, 2.0}
    assert set(reconstructed[:, 1]) == {0.0, 1.0}
    assert np.isfinite(vae.score_samples(reconstructed)).all()
    decoded = vae.inverse_transform(vae.transform(X))
    assert_array_equal(decoded[:, [0, 2]], reconstructed[:, [0, 2]])
    assert_array_equal(decoded[:, 1] > 0.5, reconstructed[:, 1] == 1.0)  # a probability
    assert 0.0 < decoded[:, 1].min() < decoded[:, 1].max() < 1.0


def test_draws_of_nominal_values_have_their_probabilities(nominal):
    """p(missing | observed) is a ratio of densities, which the score gives."""
    vae = copy.deepcopy(nominal[1]).set_params(n_score_samples=50_000)
    row = np.array([np.nan, 1.0, 1.5])
    logs = [vae.score_samples([[code, 1.0, 1.5]])[0] for code in (0.0, 1.0, 2.0)]
    expected = np.exp(logs - vae.score_samples([row])[0])
    assert_allclose(expected.sum(), 1.0, atol=0.03)
    n = 1500
    drawn = vae.set_params(n_score_samples=1000).impute(np.tile(row, (n, 1)), draw=True)[:, 0]
    found = np.bincount(drawn.astype(int), minlength=3) / n
    error = np.sqrt(expected * (1 - expected) / n)
    assert (np.abs(found - expected) < 5 * error + 0.02).all()


def test_drawn_values_have_the_conditional_distribution(linear, X):
    """Factor analysis: missing values are jointly Gaussian given the observed ones."""
    model, n = as_factor_analysis(linear), 4000
    row = X[0].copy()
    row[:2] = np.nan
    covariance = model.loadings @ model.loadings.T + np.diag(model.variances)
    gain = covariance[:2, 2] / covariance[2, 2]
    mean = model.offset[:2] + gain * (row[2] - model.offset[2])
    conditional = covariance[:2, :2] - np.outer(gain, covariance[2, :2])
    filled = linear.impute(np.tile(row, (n, 1)), draw=True, random_state=3)
    assert_array_equal(filled[:, 2], row[2])
    drawn, units = filled[:, :2], np.sqrt(np.diag(conditional))
    assert_allclose((drawn.mean(axis=0) - mean) / units, 0, atol=5 / np.sqrt(n))
    assert_allclose(
        np.cov(drawn.T) / np.outer(units, units),
        conditional / np.outer(units, units),
        atol=10 / np.sqrt(n),
    )
    assert len(np.unique(drawn[:, 0])) == n  # equal rows have draws of their own


def test_drawn_values_follow_their_seed(deep, X):
    holes = knock_out(X[:20], 0.5)
    one = deep.impute(holes, draw=True, random_state=1)
    assert_array_equal(one, deep.impute(holes, draw=True, random_state=1))
    assert_array_equal(deep.impute(holes, draw=True), deep.impute(holes, draw=True, random_state=0))
    other = deep.impute(holes, draw=True, random_state=2)
    missing = np.isnan(holes)
    assert (one[missing] != other[missing]).all()
    assert_array_equal(one[~missing], holes[~missing])
    assert deep.impute(holes.astype(np.float32), draw=True).dtype == np.float32
    assert_array_equal(deep.impute(X, draw=True), X)
    rng = np.random.RandomState(0)
    again = [deep.impute(holes, draw=True, random_state=rng) for _ in range(2)]
    assert (again[0][missing] != again[1][missing]).all()


def test_drawn_values_have_errors_of_their_own(deep, X):
    with pytest.raises(ValueError, match="draw='yes'"):
        deep.impute(X, draw="yes")
    with pytest.raises(ValueError, match="random_state='a'"):
        deep.impute(X, draw=True, random_state="a")
    with pytest.raises(ValueError, match=r"Dask array: draw=True needs rows in memory"):
        deep.impute(da.from_array(X), draw=True)


def test_imputation_leaves_complete_rows_and_its_argument_alone(deep, X):
    assert_array_equal(deep.impute(X), X)
    assert deep.impute(X) is not X
    holes = knock_out(X)
    before = holes.copy()
    filled = deep.impute(holes)
    assert_array_equal(holes, before)
    assert np.isfinite(filled).all()
    assert deep.impute(holes.astype(np.float32)).dtype == np.float32


def test_row_of_which_nothing_is_known(deep, X):
    nothing = np.full((1, 3), np.nan)
    assert deep.score_samples(nothing) == 0
    assert deep.effective_sample_size(nothing) == deep.n_score_samples
    assert deep.standard_error(nothing) == 0
    marginal = deep.sample(5000)[0].mean(axis=0)
    assert np.isfinite(deep.impute(nothing)).all()
    assert (np.abs(deep.impute(nothing)[0] - marginal) < 2 * X.std(axis=0)).all()


# Clusters -----------------------------------------------------------------------------------------


def test_clusters_are_found(clustered):
    X, labels, vae = clustered
    resp, found = vae.predict_proba(X), vae.predict(X)
    assert resp.shape == (200, 3)
    assert_allclose(resp.sum(axis=1), 1, rtol=1e-9)
    assert_array_equal(found, resp.argmax(axis=1))
    agreement = max((found[labels == k] == j).mean() for k in range(3) for j in range(3))
    assert agreement > 0.9


def test_clusters_are_those_of_the_prior(clustered):
    """By Bayes' rule at each draw: p(c | x) is the expectation of p(c | z) given x."""
    X, _, vae = clustered
    density = vae.net_.module_.model.prior_density()
    variances = np.stack([np.diag(v) for v in density.components.variance.detach().numpy()])
    weights = np.exp(density.log_weights.detach().numpy())
    means = density.components.mean.detach().numpy()
    _, resp = log_mixture(vae.transform(X), weights, means, variances)
    sure = resp.max(axis=1) > 0.999
    assert sure.mean() > 0.5
    assert_array_equal(vae.predict(X)[sure], resp[sure].argmax(axis=1))


def test_clusters_of_the_rows_that_are_learned(clustered, X):
    rows = clustered[0]
    vae = autoencoder(prior="mixture", n_prior_components=3)
    labels = vae.fit_predict(rows)
    assert_array_equal(labels, vae.predict(rows))
    assert labels.dtype.kind == "i"
    normal = autoencoder(prior="normal").fit(X)
    assert hasattr(normal.set_params(prior="mixture"), "fit_predict")  # unlike predict
    assert normal.fit_predict(X).shape == (len(X),)


@pytest.mark.parametrize("prior", ["normal", "vamp"])
def test_there_are_no_clusters_without_a_mixture_prior(prior, X):
    vae = autoencoder(prior=prior)
    for model in (vae, vae.fit(X)):
        for method in ("predict", "predict_proba", "fit_predict"):
            assert not hasattr(model, method)
    for method in ("predict", "predict_proba", "fit_predict"):
        message = rf"has no {method}, as prior='{prior}' has no clusters: fit with prior='mixture'"
        with pytest.raises(AttributeError, match=message):
            getattr(vae, method)(X)


def test_clusters_are_those_it_was_fitted_with(clustered, X):
    rows, _, vae = clustered
    other = copy.deepcopy(vae).set_params(prior="normal")
    assert_array_equal(other.predict(rows), vae.predict(rows))
    normal = autoencoder(prior="normal").fit(X)
    assert not hasattr(normal.set_params(prior="mixture"), "predict")


# Positive columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("hidden", [(), (8,)])
def test_log_normal_noise_is_gaussian_noise_of_the_logarithms(hidden, X):
    """The same fit in every respect: the start, the prior, the scale, the units."""
    positive = np.exp(X / 3.0)
    own = {"hidden_layer_sizes": hidden, "max_epochs": 10, "n_score_samples": 1000}
    one = autoencoder(1, likelihood="log_normal", **own).fit(positive)
    other = autoencoder(1, **own).fit(X / 3.0)
    expected = other.score(X / 3.0) - X.sum(axis=1).mean() / 3.0
    assert_allclose(one.score(positive), expected, atol=5e-3)
    holes = knock_out(positive)
    expected = other.score_samples(np.log(holes)) - np.nansum(np.log(holes), axis=1)
    # Their rows differ by rounding, and so their draws by chance.
    assert_allclose(one.score_samples(holes).mean(), expected.mean(), atol=0.05 if hidden else 1e-3)
    assert one.net_.module_.model.likelihood.scale == other.net_.module_.model.likelihood.scale
    rescaled = autoencoder(1, likelihood="log_normal", **own).fit(1e9 * positive)
    shift = 3 * np.log(1e9)
    assert_allclose(rescaled.score(1e9 * positive), one.score(positive) - shift, atol=0.05)


def test_linear_log_normal_model_is_exact(X):
    positive = np.exp(X / 3.0)
    vae = linear_autoencoder(positive, likelihood="log_normal", max_epochs=1)
    parameters = vae.likelihood_parameters([[0.0], [1.0]])
    offset, loadings = parameters["log_mean"][0], np.diff(parameters["log_mean"], axis=0).T
    model = LinearGaussian(loadings, offset, parameters["log_scale"][0] ** 2)
    holes = knock_out(positive)
    expected = model.log_evidence(np.log(holes)) - np.nansum(np.log(holes), axis=1)
    assert_allclose(vae.score_samples(holes), expected, atol=1e-6)
    # E[x | z] of a missing value is that of a log-normal.
    row = holes[:1].copy()
    row[:, :2] = np.nan
    mean, covariance = model.posterior(np.log(row))
    spread = np.einsum("jk,kl,jl->j", loadings, covariance[0], loadings) + model.variances
    expected = np.exp(offset + loadings @ mean[0] + 0.5 * spread)
    found = vae.set_params(n_score_samples=20_000).impute(row)
    assert_allclose(found[0, :2], expected[:2], rtol=0.05)


@pytest.mark.parametrize("likelihood", ["gamma", "beta"])
def test_positive_columns_beside_others(likelihood):
    """The columns share a factor, which the score finds in columns of any likelihood."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=300)
    if likelihood == "gamma":
        own = rng.gamma(5.0, np.exp(z) / 5.0)
    else:
        share = 1.0 / (1.0 + np.exp(-1.5 * z))
        own = rng.beta(20 * share, 20 * (1 - share))
    X = np.column_stack([own, z + 0.3 * rng.normal(size=300), rng.poisson(np.exp(z + 2.0))])
    parts = [(likelihood, 0, {"scale": "decoder"}), ("gaussian", 1), ("poisson", 2)]
    vae = autoencoder(1, likelihood=parts, max_epochs=60, lr=1e-2).fit(X)
    alone = autoencoder(1, likelihood=likelihood, max_epochs=1, hidden_layer_sizes=())
    apart = alone.fit(X[:, :1]).score(X[:, :1])
    others = autoencoder(1, likelihood=[("gaussian", 0), ("poisson", 1)], max_epochs=60, lr=1e-2)
    apart += others.fit(X[:, 1:]).score(X[:, 1:])
    assert vae.score(X) > apart + 0.3
    holes = X.copy()
    holes[:, 0] = np.nan
    assert np.corrcoef(np.log(vae.impute(holes)[:, 0]), np.log(X[:, 0]))[0, 1] > 0.7
    drawn = vae.impute(holes, draw=True)
    vae.score_samples(drawn)  # draws are of the family
