"""Factor analysis: the start of linear models, and the exact posterior of incomplete rows."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.decomposition import PCA, FactorAnalysis

from skvae import VariationalAutoencoder
from skvae.neural.importance import in_double
from skvae.neural.linear import factor_analysis, moments_of_rows
from tests.combinations import slow
from tests.problems import knock_out
from tests.vae.estimator_problems import as_factor_analysis, linear_autoencoder, rows
from tests.vae.fakes import encoder_alone
from tests.vae.oracles import LinearGaussian

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")

STILL = {"max_epochs": 1, "lr": 1e-30, "early_stopping": False}
DATA = {"wine": load_wine, "breast_cancer": load_breast_cancer, "iris": load_iris}


def standardised(name):
    X = DATA[name]().data
    return (X - X.mean(axis=0)) / X.std(axis=0)


def log_likelihood(factors, covariance):
    """The mean log-density of rows with a covariance, by its definition."""
    fitted = factors.loadings @ factors.loadings.T + np.diag(factors.variances)
    _, log_det = np.linalg.slogdet(2.0 * np.pi * fitted)
    return -0.5 * (log_det + np.trace(np.linalg.solve(fitted, covariance)))


@pytest.mark.filterwarnings("ignore:FactorAnalysis did not converge")  # where a σ is zero
@pytest.mark.parametrize("n_components", [1, 2, 3, *slow(5)])
@pytest.mark.parametrize("name", DATA)
def test_factors_are_at_least_as_good_as_those_of_scikit_learn(name, n_components):
    X = standardised(name)
    mean, covariance = moments_of_rows(X)
    assert_allclose(mean, 0, atol=1e-12)
    assert_allclose(covariance, np.cov(X.T, bias=True), rtol=1e-12)
    peer = FactorAnalysis(n_components, tol=1e-9, max_iter=5000, svd_method="lapack").fit(X)
    found = factor_analysis(mean, covariance, n_components, floor=1e-6)
    reached = log_likelihood(found, covariance)
    assert reached > peer.score(X) - 1e-4
    if (found.variances > 2e-6).all() and n_components < 3:
        assert reached == pytest.approx(peer.score(X), abs=1e-4)
    inner = (found.loadings.T / found.variances) @ found.loadings
    assert_allclose(inner - np.diag(np.diag(inner)), 0, atol=1e-6 * inner.max())


@pytest.mark.parametrize("name", DATA)
def test_one_variance_is_probabilistic_pca(name):
    X = standardised(name)
    moments = moments_of_rows(X)
    found = factor_analysis(*moments, 2, shared=True)
    assert np.ptp(found.variances) == 0
    peer = PCA(2).fit(X)
    assert log_likelihood(found, moments[1]) == pytest.approx(
        log_likelihood_of_pca(peer, moments[1]), abs=1e-5
    )


def log_likelihood_of_pca(pca, covariance):
    """The maximum of the likelihood by the eigenvalues (Tipping & Bishop 1999, eq. 8)."""
    values = np.linalg.eigvalsh(covariance)[::-1]
    n, k = len(values), pca.n_components_
    rest = values[k:].mean()
    total = np.log(values[:k]).sum() + (n - k) * np.log(rest) + n * (1.0 + np.log(2.0 * np.pi))
    return -0.5 * total


def test_more_factors_than_features():
    covariance = np.array([[2.0, 0.5], [0.5, 1.0]])
    found = factor_analysis(np.zeros(2), covariance, 4)
    assert found.loadings.shape == (2, 4)
    assert_array_equal(found.loadings[:, 2:], 0.0)
    fitted = found.loadings @ found.loadings.T + np.diag(found.variances)
    assert_allclose(fitted, covariance, atol=1e-4)


# Closed-form optima of all rows, in two dimensions, nats a row.
OPTIMA = {
    "wine": {"feature": -15.4337, "shared": -16.1553},
    "breast_cancer": {"feature": -23.5465, "shared": -31.6849},
    "iris": {"feature": -3.3348, "shared": -3.6863},
}


@pytest.mark.parametrize("scale", ["feature", *slow("shared", "decoder")])
@pytest.mark.parametrize("seed", [0, *slow(1, 2, 3)])
@pytest.mark.parametrize("name", OPTIMA)
def test_a_linear_model_reaches_the_optimum_at_default_settings(name, seed, scale):
    X = standardised(name)
    params = None if scale == "feature" else {"scale": scale, "min_scale": 1e-3}
    vae = VariationalAutoencoder(
        2, hidden_layer_sizes=(), random_state=seed, likelihood_params=params
    ).fit(X)
    optimum = OPTIMA[name].get(scale, OPTIMA[name]["feature"])
    assert vae.converged_
    if scale == "decoder":  # which contains the others
        assert vae.score(X) > optimum - 0.05
    else:
        assert vae.score(X) == pytest.approx(optimum, abs=0.05)


@pytest.mark.parametrize("covariance", ["diag", "full"])
@pytest.mark.parametrize("scale", ["feature", "shared", "decoder"])
def test_the_start_is_the_optimum_and_its_encoder_exact(scale, covariance):
    """Without a step all rows are those of training; a bound is tight where q is exact."""
    X = rows(300, 5)
    vae = linear_autoencoder(
        X,
        2,
        **STILL,
        encoder_covariance=covariance,
        likelihood_params={"scale": scale},
    )
    model = in_double(vae.net_.module_.model)
    alone = encoder_alone(model, model.likelihood.prepare(X), 100)
    assert_allclose(alone.effective_size, 100, rtol=1e-4)
    units = X.std(axis=0)
    _, covariance = moments_of_rows((X - X.mean(axis=0)) / units)
    found = factor_analysis(np.zeros(5), covariance, 2, shared=scale == "shared")
    optimum = log_likelihood(found, covariance) - np.log(units).sum()
    # σ from the decoder could depend on z: the score is then by draws, with an error.
    error = 3 * np.sqrt(np.square(vae.standard_error(X)).sum()) / len(X)
    assert vae.score(X) == pytest.approx(optimum, abs=1e-4 + error)
    assert error < (0.02 if scale == "decoder" else 1e-6)
    assert vae.lower_bound_ == pytest.approx(optimum, abs=0.2)  # by one draw a row


@pytest.mark.parametrize("prior", ["normal", "mixture"])
@pytest.mark.parametrize("scale", ["feature", "decoder"])
def test_networks_with_hidden_layers_start_there_too(scale, prior):
    X = rows(300, 5)
    vae = VariationalAutoencoder(
        *(2,),
        **STILL,
        prior=prior,
        likelihood_params={"scale": scale},
        random_state=0,
        n_score_samples=1000,
    ).fit(X)
    _, covariance = moments_of_rows((X - X.mean(axis=0)) / X.std(axis=0))
    found = factor_analysis(np.zeros(5), covariance, 2)
    optimum = log_likelihood(found, covariance) - np.log(X.std(axis=0)).sum()
    # A fit of one epoch begins with the prior at clusters of the latent vectors.
    gain = vae.score(X) - optimum
    assert -1e-3 < gain < (1e-3 if prior == "normal" else 0.1)
    assert_allclose(vae.elbo(X).elbo.mean(), optimum, atol=0.05)


@pytest.mark.parametrize(
    "change",
    [
        {"likelihood": "student_t"},
        {"likelihood": [("gaussian", slice(None))]},
    ],
)
def test_other_models_have_another_start(change):
    X = rows(60, 3)
    vae = linear_autoencoder(X, 1, **{**STILL, **change})
    best = factor_analysis(*moments_of_rows((X - X.mean(axis=0)) / X.std(axis=0)), 1)
    loadings = vae.inverse_transform([[1.0]]) - vae.inverse_transform([[0.0]])
    assert np.abs(loadings[0] / X.std(axis=0) - best.loadings[:, 0]).max() > 0.1


def test_few_rows_have_another_start():
    """The optimum for fewer rows than parameters is a density that is infinite elsewhere."""
    X = rows(12, 8)
    vae = linear_autoencoder(X, 2, max_epochs=1, early_stopping=False)
    assert np.isfinite(vae.score(rows(500, 8, seed=1)))
    assert vae.score(rows(500, 8, seed=1)) > -100


def test_the_start_for_rows_with_missing_values():
    X = knock_out(rows(2000, 4), 0.3)
    vae = linear_autoencoder(X, 1, **STILL)
    model = as_factor_analysis(vae)
    truth = LinearGaussian(*(np.asarray(part) for part in true_factors(4)))
    assert model.log_evidence(X).mean() == pytest.approx(truth.log_evidence(X).mean(), abs=0.02)


def true_factors(n_features):
    """The parameters of ``rows``."""
    units = np.geomspace(0.1, 10.0, n_features)
    loadings = units[:, None] * np.linspace(-2.0, 1.0, n_features)[:, None]
    return loadings, np.full(n_features, 5.0), 0.5 * units**2


@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_scores_of_incomplete_rows_are_exact_for_linear_models(share):
    """The encoder reads means in the place of missing values, and is far from the posterior."""
    X = rows(200, 5)
    vae = linear_autoencoder(X, 2, **STILL)
    holes = knock_out(X, share)
    holes[0] = np.nan
    exact = as_factor_analysis(vae).log_evidence(holes)
    assert_allclose(vae.score_samples(holes), exact, atol=1e-4)  # weights are float32
    incomplete = np.isnan(holes).any(axis=1)
    assert_allclose(vae.effective_sample_size(holes)[incomplete], vae.n_score_samples, rtol=1e-6)
    assert vae.elbo(holes[incomplete]).elbo.mean() < exact[incomplete].mean() - 0.1  # the encoder's
