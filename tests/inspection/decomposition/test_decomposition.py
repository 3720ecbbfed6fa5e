"""Both sides of the identity for mixtures and autoencoders, by enumeration and closed forms."""

import copy
from itertools import pairwise

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp, rel_entr
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import BayesianGaussianMixture, GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from skvae.hmm import PoissonEmission
from skvae.inspection import elbo_decomposition
from skvae.neural import importance_weights
from tests.combinations import slow
from tests.gaussian.conjugate_problems import statistics_of
from tests.mixture.bayesian.problems import (
    WEIGHT_TYPES,
    bayes,
    log_densities,
    posterior_of,
)
from tests.oracles import log_joint
from tests.posterior_draws import draws_of_components, draws_of_weights
from tests.problems import COVARIANCE_TYPES, blobs, knock_out, run, start
from tests.vae.estimator_problems import as_factor_analysis, autoencoder, linear_autoencoder, rows

FIELDS = ("expected_joint", "entropy", "elbo", "log_evidence", "gap")


def known_mixture(X, covariance_type, *, seed=0):
    """A mixture with overlapping components, and its parameters for an oracle."""
    _, oracle = start(X, 3, covariance_type, seed=seed)
    return EMGaussianMixture.from_parameters(*oracle), oracle


def enumerated(joint, q):
    """(E ln p(z, x), H(q)) of each row, a component at a time."""
    expected, entropy = np.zeros((2, len(joint)))
    for i in range(len(joint)):
        for k in range(joint.shape[1]):
            if q[i, k] > 0:
                expected[i] += q[i, k] * joint[i, k]
                entropy[i] -= q[i, k] * np.log(q[i, k])
    return expected, entropy


# Gaussian mixtures --------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_mixture_by_enumeration(covariance_type, missing, seed):
    X = blobs(60, separation=1.5, seed=seed)
    X = knock_out(X, seed=seed) if missing else X
    mixture, oracle = known_mixture(X, covariance_type, seed=seed)
    joint = log_joint(X, oracle)
    evidence = logsumexp(joint, axis=1)
    expected, entropy = enumerated(joint, np.exp(joint - evidence[:, None]))
    terms = elbo_decomposition(mixture, X)
    assert_allclose(terms.expected_joint, expected, rtol=1e-10, atol=1e-10)
    assert_allclose(terms.entropy, entropy, rtol=1e-8, atol=1e-10)
    assert_allclose(terms.log_evidence, evidence, rtol=1e-10)
    assert_allclose(terms.gap, 0, atol=1e-10)
    assert_array_equal(terms.elbo, terms.expected_joint + terms.entropy)
    assert (terms.global_kl, terms.elbo_error, terms.log_evidence_error) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("missing", [False, True])
def test_the_posterior_of_another_mixture_leaves_its_divergence(missing):
    X = blobs(60, separation=1.5)
    X = knock_out(X) if missing else X
    (before, old), (mixture, new) = (known_mixture(X, "full", seed=s) for s in (0, 1))
    q, p = (
        np.exp(j - logsumexp(j, axis=1, keepdims=True))
        for j in (log_joint(X, old), log_joint(X, new))
    )
    terms = elbo_decomposition(mixture, X, posterior=before)
    assert_allclose(terms.gap, rel_entr(q, p).sum(axis=1), rtol=1e-8, atol=1e-12)
    assert_allclose(terms.log_evidence, mixture.score_samples(X))
    assert terms.gap.mean() > 0.1


def test_an_m_step_raises_the_bound_and_the_e_step_closes_the_gap():
    X = blobs(100, separation=1.0)
    parameters, _ = start(X, 3, "full")
    fits = [EMGaussianMixture(**parameters, max_iter=0).fit(X)]
    step = copy.deepcopy(fits[0]).set_params(warm_start=True)
    fits += [copy.deepcopy(run(step, X, 1)) for _ in range(4)]
    for before, after in pairwise(fits):
        m_step = elbo_decomposition(after, X, posterior=before)
        assert m_step.elbo.mean() > elbo_decomposition(before, X).elbo.mean()
        assert (m_step.gap > -1e-12).all()
        assert_allclose(elbo_decomposition(after, X).elbo.mean(), after.lower_bound_, rtol=1e-12)


@given(st.integers(0, 2**31), st.sampled_from(COVARIANCE_TYPES), st.integers(1, 4))
def test_no_gap_whatever_the_mixture_and_its_units(seed, covariance_type, n_features):
    rng = np.random.default_rng(seed)
    units, offset = 10.0 ** rng.uniform(-4, 4, n_features), rng.normal(size=n_features)
    X = knock_out(rng.normal(size=(20, n_features)), 0.3, seed=seed) * units + 100 * offset * units
    if np.isnan(X).all(axis=0).any():
        return
    mixture, _ = known_mixture(X, covariance_type, seed=seed % 1000)
    assert_allclose(elbo_decomposition(mixture, X).gap, 0, atol=1e-7)


def test_a_component_without_weight_and_a_row_without_values():
    mixture = EMGaussianMixture.from_parameters([1.0, 0.0], [[0.0], [3.0]], [1.0, 1.0], "spherical")
    terms = elbo_decomposition(mixture, [[0.0], [3.0], [np.nan]])
    assert_array_equal(terms.entropy, 0.0)
    assert_allclose(terms.gap, 0, atol=1e-12)
    assert (terms.elbo[2], terms.log_evidence[2]) == (0.0, 0.0)


def test_scikit_learn_s_mixture_is_one_too():
    X = blobs(60)
    for covariance_type in COVARIANCE_TYPES:
        mixture = GaussianMixture(2, covariance_type=covariance_type, random_state=0).fit(X)
        assert_allclose(elbo_decomposition(mixture, X).gap, 0, atol=1e-9)


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_rows_may_come_in_any_form(frame):
    X = blobs(50)
    names = ["a", "b", "c"]
    table = frame(dict(zip(names, X.T, strict=True)))
    mixture = EMGaussianMixture(2, random_state=0).fit(table)
    expected = elbo_decomposition(EMGaussianMixture(2, random_state=0).fit(X), X)
    for found in (
        elbo_decomposition(mixture, table),
        elbo_decomposition(EMGaussianMixture(2, random_state=0).fit(X), X.tolist()),
    ):
        for name in FIELDS:
            assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-9, atol=1e-9)
    masked = np.ma.masked_array(X, mask=np.isnan(knock_out(X)))
    model = EMGaussianMixture(2, random_state=0).fit(X)
    assert_allclose(
        elbo_decomposition(model, masked).elbo,
        elbo_decomposition(model, masked.filled(np.nan)).elbo,
    )


def test_single_precision_is_no_loss():
    X = blobs(50).astype(np.float32)
    mixture = EMGaussianMixture(2, random_state=0).fit(X)
    terms = elbo_decomposition(mixture, X)
    assert {getattr(terms, name).dtype for name in FIELDS} == {np.dtype(np.float64)}
    assert_allclose(terms.gap, 0, atol=1e-12)


# Bayesian mixtures --------------------------------------------------------------------------------


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
@pytest.mark.parametrize("missing", [False, True])
def test_the_rows_of_the_fit_add_up_to_its_bound(covariance_type, weight_type, missing):
    for seed in (0, 1):
        X = blobs(80, separation=2.0, seed=seed)
        X = knock_out(X, seed=seed) if missing else X
        mixture = bayes(4, covariance_type, weight_type, random_state=seed, tol=1e-2).fit(X)
        terms = elbo_decomposition(mixture, X)
        assert_allclose(terms.elbo.sum() - terms.global_kl, mixture.elbo_, rtol=1e-10)
        assert_array_equal(terms.log_evidence, mixture.score_samples(X))
        assert (terms.gap > 0).all()
        assert terms.global_kl > 0


@pytest.mark.parametrize("weight_type", WEIGHT_TYPES)
@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_the_terms_of_a_bayesian_mixture_by_monte_carlo(covariance_type, weight_type):
    """The mean over draws of θ of ln p(x, z | θ): no formula is shared."""
    X = blobs(40, separation=1.5)
    mixture = bayes(3, covariance_type, weight_type, random_state=0, tol=1e-2).fit(X)
    posterior, few = posterior_of(mixture), X[:5]
    rng = np.random.default_rng(0)
    means, factors = draws_of_components(posterior.components, 3000, rng)
    pi = draws_of_weights(posterior.weights, 3000, rng)
    q = mixture.predict_proba(few)
    joint = np.log(pi)[:, None] + log_densities(few, posterior, means, factors)
    each = (q * joint).sum(axis=2)
    terms = elbo_decomposition(mixture, few)
    error = each.std(axis=0) / np.sqrt(len(each))
    assert (np.abs(terms.expected_joint - each.mean(axis=0)) < 5 * error).all()
    assert_allclose(terms.entropy, enumerated(joint[0], q)[1], rtol=1e-9)


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_the_gap_of_one_component_is_what_a_row_would_teach(covariance_type):
    """With q(θ) as the prior the row's posterior is conjugate: the gap is KL(q ‖ posterior)."""
    X = blobs(30, separation=1.0)
    mixture = bayes(1, covariance_type, "dirichlet_distribution").fit(X)
    q = posterior_of(mixture).components
    gap = elbo_decomposition(mixture, X).gap
    for i in range(5):
        taught = q.posterior(statistics_of(covariance_type, X[[i]], np.ones((1, 1)), q.means))
        assert_allclose(gap[i], q.kl(taught), rtol=1e-7)


def test_the_gap_of_a_bayesian_mixture_vanishes_with_data():
    gaps = []
    for n in (100, 1000, 10_000):
        X = blobs(n, n_features=2, n_components=2, separation=3.0)
        mixture = BayesianMixtureSVI(2, moves=(), random_state=0).fit(X)
        gaps.append(elbo_decomposition(mixture, X).gap.mean())
    assert_allclose(gaps[0] / gaps[1], 10, rtol=0.3)
    assert_allclose(gaps[1] / gaps[2], 10, rtol=0.3)


def test_new_rows_keep_the_identity_and_the_global_divergence():
    X, new = blobs(80), blobs(10, seed=5)
    mixture = bayes(3, random_state=0).fit(X)
    terms = elbo_decomposition(mixture, new)
    assert terms.global_kl == elbo_decomposition(mixture, X).global_kl
    assert (terms.gap > 0).all()
    other = bayes(3, random_state=1, max_iter=2, tol=1e3).fit(X)
    assert (elbo_decomposition(mixture, new, posterior=other).gap >= terms.gap - 1e-12).all()


# Autoencoders -------------------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_a_linear_autoencoder_against_factor_analysis(covariance):
    X = rows()
    vae = linear_autoencoder(
        X, 2, encoder_covariance=covariance, max_epochs=60, n_score_samples=4000
    )
    few = X[:20]
    terms = elbo_decomposition(vae, few)
    factors = as_factor_analysis(vae)
    evidence = factors.log_evidence(few)
    assert_allclose(terms.log_evidence, evidence, atol=5 * terms.log_evidence_error.max())
    expected, entropy, gap = _exact_terms(vae, factors, few)
    error = 5 * terms.elbo_error.max()
    assert_allclose(terms.entropy, entropy, rtol=1e-6)
    assert_allclose(terms.expected_joint, expected, atol=error)
    assert_allclose(terms.gap, gap, atol=error + 5 * terms.log_evidence_error.max())
    assert_array_equal(terms.elbo, terms.expected_joint + terms.entropy)
    assert terms.global_kl == 0.0


def _exact_terms(vae, factors, X):
    """E_q ln p(x, z), H(q) and KL(q ‖ p(z | x)) of a linear model, from q's moments."""
    model = copy.deepcopy(vae.net_.module_.model).double()
    import torch

    with torch.no_grad():
        x = torch.as_tensor(model.likelihood.prepare(X))
        q = model.encode(x)
        means = q.mean.numpy()
        factor = getattr(q, "factor", None)
        factor = torch.diag_embed(q.std) if factor is None else factor
        covariances = (factor @ factor.mT).numpy()
    posterior_means, posterior_covariances = factors.posterior(X)
    entropy, gap = np.empty((2, len(X)))
    for i in range(len(X)):
        entropy[i] = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariances[i])[1]
        precision = np.linalg.inv(posterior_covariances[i])
        deviation = means[i] - posterior_means[i]
        product = precision @ covariances[i]
        gap[i] = 0.5 * (
            np.trace(product) - len(product) + deviation @ precision @ deviation
            - np.linalg.slogdet(product)[1]
        )  # fmt: skip
    return factors.log_evidence(X) - gap - entropy, entropy, gap


@pytest.mark.parametrize("prior", ["normal", *slow("mixture", "vamp")])
def test_the_monte_carlo_error_is_the_spread_over_seeds(prior):
    X = rows()
    vae = autoencoder(prior=prior, n_prior_components=3, n_score_samples=50).fit(X)
    bounds, errors = [], []
    for seed in range(40):
        other = copy.deepcopy(vae)
        other._noise_seed = seed
        terms = other.elbo(X[:10])
        bounds.append(terms.elbo)
        errors.append(terms.standard_error)
        assert_allclose(terms.entropy, vae.elbo(X[:10]).entropy, rtol=1e-12)
    spread, error = np.sqrt(np.var(bounds, axis=0).mean()), np.sqrt(np.square(errors).mean())
    assert_allclose(spread, error, rtol=0.2)


@pytest.mark.parametrize("prior", ["normal", "mixture"])
def test_the_error_is_the_same_however_draws_are_cut_up(prior, monkeypatch):
    vae = autoencoder(prior=prior, n_prior_components=3, n_score_samples=50).fit(rows())
    whole = vae.elbo(rows()).standard_error
    monkeypatch.setitem(importance_weights._NUMBERS, "cpu", 64)
    assert_allclose(vae.elbo(rows()).standard_error, whole, rtol=1e-9)


def test_one_draw_does_not_tell_its_error():
    vae = autoencoder(n_score_samples=1).fit(rows())
    assert_array_equal(vae.elbo(rows()).standard_error, np.inf)


def test_missing_values_of_an_autoencoder_are_integrated_out():
    X = knock_out(rows())
    vae = autoencoder(max_epochs=20, n_score_samples=2000).fit(X)
    terms = elbo_decomposition(vae, X)
    assert_array_equal(terms.log_evidence, vae.score_samples(X))
    assert_array_equal(terms.elbo_error, vae.elbo(X).standard_error)
    error = 4 * (terms.elbo_error + terms.log_evidence_error)
    assert (terms.gap > -error).all()


# Input -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "estimator", [EMGaussianMixture(), EMHiddenMarkov(), BayesianMixtureSVI(), autoencoder()]
)
def test_not_fitted(estimator):
    with pytest.raises(NotFittedError):
        elbo_decomposition(estimator, rows())


def test_only_models_with_a_bound():
    X = blobs(40)
    others = [
        KernelDensity(),
        BayesianGaussianMixture(n_components=2, random_state=0),
        LogisticRegression(),
        make_pipeline(StandardScaler(), EMGaussianMixture()),
    ]
    for other in others:
        name = type(other).__name__
        match = f"{name} has no decomposition of the bound: estimator must be one of EMGaussian"
        with pytest.raises(TypeError, match=match):
            elbo_decomposition(other.fit(X, np.arange(40) % 2), X)


def test_the_posterior_must_fit_the_estimator():
    X = rows()
    mixture, vae = EMGaussianMixture(2, random_state=0).fit(X), autoencoder(max_epochs=1).fit(X)
    counts = PoissonEmission.from_parameters([[1.0], [2.0]])
    chain = EMHiddenMarkov.from_parameters([1, 0], np.eye(2), counts)
    for estimator, posterior in ((mixture, vae), (vae, vae), (mixture, chain)):
        with pytest.raises(ValueError, match=r"(?s)posterior=.*must be None or another"):
            elbo_decomposition(estimator, X, posterior=posterior)
    with pytest.raises(ValueError, match=r"(?s)posterior=.*must have as many components"):
        elbo_decomposition(mixture, X, posterior=EMGaussianMixture(3, random_state=0).fit(X))
    with pytest.raises(NotFittedError):
        elbo_decomposition(mixture, X, posterior=EMGaussianMixture(2))


def test_bad_rows_are_the_estimator_s_error():
    mixture = EMGaussianMixture(2, random_state=0).fit(blobs(40))
    with pytest.raises(ValueError, match="infinity"):
        elbo_decomposition(mixture, [[np.inf, 0.0, 0.0]])
    with pytest.raises(ValueError, match="features"):
        elbo_decomposition(mixture, [[0.0]])


def test_nothing_is_changed():
    X = rows()
    for model in (
        EMGaussianMixture(2, random_state=0).fit(X),
        BayesianMixtureSVI(2, random_state=0).fit(X),
        EMHiddenMarkov(2, random_state=0, inference="filter", tol=0.1).fit(X),
    ):
        before = copy.deepcopy(model.__dict__)
        elbo_decomposition(model, X)
        assert before.keys() == model.__dict__.keys()
        for name, value in before.items():
            if name != "emission_":
                assert_array_equal(getattr(model, name), value)
