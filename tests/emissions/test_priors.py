"""Priors of emissions: modes found by scipy, in the objective, which never falls."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import minimize, minimize_scalar
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvae import EMHiddenMarkov
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    GaussianEmission,
    MultinomialEmission,
    PoissonEmission,
)
from tests.combinations import slow

KINDS = ("full", "tied", "diag", "spherical")
LABELS = np.repeat([0, 1, 2, 0, 1], [14, 9, 3, 10, 7])
K, D = 3, 2
MEAN = np.array([0.5, -0.3])
SCALES = {
    "full": np.array([[2.0, 0.4], [0.4, 1.0]]),
    "tied": np.array([[2.0, 0.4], [0.4, 1.0]]),
    "diag": np.array([2.0, 1.0]),
    "spherical": 1.5,
}
PRIORS = {
    "both": {"mean_prior": MEAN, "mean_precision_prior": 2.5, "degrees_of_freedom_prior": 4.0},
    "means": {"mean_prior": MEAN},
    "covariances": {},
}


def rows(seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(len(LABELS), D)) * [1.0, 0.5] + 2.0 * np.eye(3, 2)[LABELS]


def prior_of(kind, which):
    given = dict(PRIORS[which])
    if which != "means":
        given["covariance_prior"] = SCALES[kind]
    return given


def quiet(model, X, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **given)


def log_prior(kind, given, means, covariances):
    """Densities of scipy; without the constants, which are those at a fixed point."""
    total = 0.0
    full = {
        "full": lambda: covariances,
        "tied": lambda: np.repeat(covariances[None], K, axis=0),
        "diag": lambda: covariances[:, :, None] * np.eye(D),
        "spherical": lambda: covariances[:, None, None] * np.eye(D),
    }[kind]()
    if "mean_prior" in given:
        precision = given.get("mean_precision_prior", 1.0)
        for mean, covariance in zip(means, full, strict=True):
            total += stats.multivariate_normal.logpdf(mean, MEAN, covariance / precision)
    if "covariance_prior" in given:
        nu, scale = given.get("degrees_of_freedom_prior", float(D)), given["covariance_prior"]
        if kind in ("full", "tied"):
            each = full if kind == "full" else full[:1]
            total += sum(stats.invwishart.logpdf(one, nu, scale) for one in each)
        else:
            total += stats.invgamma.logpdf(covariances, nu / 2, scale=np.asarray(scale) / 2).sum()
    return total, full


def unpacked(kind, vector):
    means, rest = vector[: K * D].reshape(K, D), vector[K * D :]
    if kind in ("full", "tied"):
        lower = np.zeros((K if kind == "full" else 1, D, D))
        lower[:, *np.tril_indices(D)] = rest.reshape(len(lower), 3)
        lower[:, range(D), range(D)] = np.exp(lower[:, range(D), range(D)])
        found = lower @ lower.transpose(0, 2, 1)
        return means, found if kind == "full" else found[0]
    return means, np.exp(rest.reshape((K, D) if kind == "diag" else (K,)))


@pytest.mark.parametrize("which", PRIORS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_mode_of_gaussian_states(kind, which):
    """With known states the fit is the mode of the posterior density, which scipy finds."""
    X, given = rows(), prior_of(kind, which)
    emission = GaussianEmission(kind, reg_covar=0.0, **given)
    model = quiet(EMHiddenMarkov(K, emission=emission, tol=1e-13), X, states=LABELS)

    def loss(vector):
        means, covariances = unpacked(kind, vector)
        prior, full = log_prior(kind, given, means, covariances)
        fit = sum(
            stats.multivariate_normal.logpdf(X[k == LABELS], means[k], full[k]).sum()
            for k in range(K)
        )
        return -(fit + prior)

    size = {"full": 9, "tied": 3, "diag": 6, "spherical": 3}[kind]
    start = np.concatenate([np.array([X[k == LABELS].mean(axis=0) for k in range(K)]).ravel(),
                            np.zeros(size)])  # fmt: skip
    found = minimize(loss, start, method="BFGS", options={"gtol": 1e-7, "maxiter": 2000})
    means, covariances = unpacked(kind, found.x)
    assert_allclose(model.means_, means, rtol=1e-4, atol=1e-4)
    assert_allclose(model.covariances_, covariances, rtol=1e-3, atol=1e-4)
    ours = model.emission_.log_prior(model.emission_.parameters(), None)
    other_means, other = means + 0.3, 1.7 * covariances
    moved = GaussianEmission.from_parameters(other_means, other, kind).parameters()
    difference = ours - model.emission_.log_prior(moved, None)
    expected = log_prior(kind, given, model.means_, model.covariances_)[0]
    expected -= log_prior(kind, given, other_means, other)[0]
    assert_allclose(difference, expected, rtol=1e-9)


@pytest.mark.parametrize("which", PRIORS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("acceleration", [None, *slow("anderson")])
def test_the_bound_never_falls(kind, which, missing, acceleration):
    X = rows(1)
    if missing:
        X = np.where(np.random.default_rng(0).random(X.shape) < 0.2, np.nan, X)
    emission = GaussianEmission(kind, **prior_of(kind, which))
    model = EMHiddenMarkov(
        K, emission=emission, tol=0.0, max_iter=40, random_state=0, acceleration=acceleration
    )
    assert np.diff(quiet(model, X).lower_bounds_).min() > -1e-10


@pytest.mark.parametrize("kind", KINDS)
def test_about_fixed_means_and_a_state_without_rows(kind):
    X, given = rows(), prior_of(kind, "both")
    labels = np.where(LABELS == 2, 1, LABELS)
    means = np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]])
    emission = GaussianEmission(kind, means_init=means, reg_covar=0.0, **given)
    model = quiet(EMHiddenMarkov(K, emission=emission, fixed={"means": [0]}), X, states=labels)
    assert_array_equal(model.means_[0], means[0])
    assert_allclose(model.means_[2], MEAN)  # of the prior alone
    free = quiet(EMHiddenMarkov(K, emission=emission), X, states=labels)
    assert model.lower_bound_ < free.lower_bound_
    if kind == "full":
        n = (labels == 0).sum()
        about = (X[labels == 0] - means[0]).T @ (X[labels == 0] - means[0])
        about += SCALES[kind] + 2.5 * np.outer(means[0] - MEAN, means[0] - MEAN)
        assert_allclose(model.covariances_[0], about / (n + 4.0 + D + 2))
        assert_allclose(model.covariances_[2], SCALES[kind] / (4.0 + D + 2))


@pytest.mark.parametrize("which", PRIORS)
@pytest.mark.parametrize("kind", KINDS)
def test_earlier_rows_lead_to_the_same_parameters(kind, which):
    """Statistics of earlier rows leave the prior out: the M step returns the parameters."""
    X = rows()
    emission = GaussianEmission(kind, reg_covar=0.0, **prior_of(kind, which))
    model = quiet(EMHiddenMarkov(K, emission=emission, tol=1e-12), X, states=LABELS)
    fitted = model.emission_
    parameters = fitted.parameters()
    statistics = fitted.earlier_statistics(parameters, np.array([24.0, 16.0, 3.0]))
    summary = fitted.summarize_batch(parameters, None, None)
    again = fitted.maximize(parameters, statistics, summary)
    assert_allclose(again.locations, parameters.locations, rtol=1e-9, atol=1e-12)
    assert_allclose(again.scales, parameters.scales, rtol=1e-9, atol=1e-12)


def test_poisson_rates():
    rng = np.random.default_rng(0)
    X = rng.poisson([[2.0, 0.1]], size=(len(LABELS), 2)) * (1 + LABELS[:, None])
    X[LABELS == 2, 1] = 0
    prior = np.array([3.0, 0.5])
    emission = PoissonEmission(rate_prior=prior, rate_precision_prior=4.0)
    model = quiet(EMHiddenMarkov(K, emission=emission), X, states=LABELS)
    for k in range(K):
        mine = X[k == LABELS]
        for d in range(2):
            density = stats.gamma(1 + 4.0 * prior[d], scale=1 / 4.0)

            def loss(log_rate, mine=mine, d=d, density=density):
                rate = np.exp(log_rate[0])
                return -stats.poisson.logpmf(mine[:, d], rate).sum() - density.logpdf(rate)

            found = np.exp(minimize(loss, [0.0], method="BFGS", options={"gtol": 1e-8}).x[0])
            assert_allclose(model.emission_.rates_[k, d], found, rtol=1e-5)
    parameters = model.emission_.parameters()
    statistics = model.emission_.earlier_statistics(parameters, [24.0, 16.0, 3.0])
    again = model.emission_.maximize(parameters, statistics, None)
    assert_allclose(again.rates, parameters.rates)
    for seed in range(2):
        chain = EMHiddenMarkov(K, emission=emission, tol=0.0, max_iter=30, random_state=seed)
        assert np.diff(quiet(chain, X).lower_bounds_).min() > -1e-10
    model.set_params(warm_start=True)
    plain = quiet(EMHiddenMarkov(K, emission="poisson"), X, states=LABELS)
    assert plain.emission_.rates_[2, 1] == 0
    plain.set_params(emission=emission, warm_start=True)
    assert np.isfinite(quiet(plain, X, states=LABELS).lower_bound_)


def test_probabilities_of_ones():
    rng = np.random.default_rng(0)
    X = (rng.random((len(LABELS), 2)) < [0.3, 0.9]).astype(float)
    emission = BernoulliEmission(prior=[3.0, 1.5])
    model = quiet(EMHiddenMarkov(K, emission=emission), X, states=LABELS)
    for k in range(K):
        mine = X[k == LABELS]
        for d in range(2):
            density = stats.beta(3.0 + mine[:, d].sum(), 1.5 + (1 - mine[:, d]).sum())
            found = minimize_scalar(lambda p, q=density: -q.logpdf(p), bounds=(0, 1)).x
            assert_allclose(model.emission_.probabilities_[k, d], found, atol=1e-5)
    parameters = model.emission_.parameters()
    moved = BernoulliEmission.from_parameters(np.full((K, 2), 0.4)).parameters()
    ours = model.emission_.log_prior(parameters, None) - model.emission_.log_prior(moved, None)
    density = stats.beta(3.0, 1.5)
    expected = density.logpdf(parameters.probabilities).sum() - 2 * K * density.logpdf(0.4)
    assert_allclose(ours, expected)
    one, other = (
        quiet(EMHiddenMarkov(2, emission=BernoulliEmission(prior=prior), random_state=0), X)
        for prior in (2.0, [2.0, 2.0])
    )
    assert one.lower_bounds_ == other.lower_bounds_


def test_probabilities_of_categories():
    rng = np.random.default_rng(0)
    X = rng.integers(3, size=(len(LABELS), 1)).astype(float)
    prior = np.array([2.0, 1.0, 4.5])
    model = EMHiddenMarkov(K, emission=CategoricalEmission(3, prior=prior))
    quiet(model, X, states=LABELS)
    for k in range(K):
        counts = np.bincount(X[k == LABELS, 0].astype(int), minlength=3) + prior - 1
        assert_allclose(model.emission_.probabilities_[k, 0], counts / counts.sum())
    parameters = model.emission_.parameters()
    flat = CategoricalEmission.from_parameters(np.full((K, 1, 3), 1 / 3)).parameters()
    ours = model.emission_.log_prior(parameters, None) - model.emission_.log_prior(flat, None)
    density = stats.dirichlet(prior)
    expected = sum(density.logpdf(p[0]) for p in parameters.probabilities)
    assert_allclose(ours, expected - K * density.logpdf(np.full(3, 1 / 3)))
    statistics = model.emission_.earlier_statistics(parameters, [24.0, 16.0, 3.0])
    again = model.emission_.maximize(parameters, statistics, None)
    assert_allclose(again.probabilities, parameters.probabilities)
    chain = EMHiddenMarkov(K, emission=CategoricalEmission(3, prior=prior), tol=0.0, max_iter=30)
    assert np.diff(quiet(chain, X).lower_bounds_).min() > -1e-10


def test_batches_copies_and_no_prior():
    X = rows()
    for emission in (
        GaussianEmission(mean_prior=MEAN, covariance_prior=SCALES["full"]),
        PoissonEmission(rate_prior=2.0),
    ):
        data = np.abs(np.round(3 * X))
        model = EMHiddenMarkov(2, emission=emission, random_state=0)
        for _ in range(3):
            model.partial_fit(data)
        again = pickle.loads(pickle.dumps(model))
        assert again.score(data) == model.score(data)
        assert clone(emission).get_params()["means_init" if "means_init" in emission.get_params()
                                            else "rates_init"] is None  # fmt: skip
    one = quiet(EMHiddenMarkov(2, random_state=0), X)
    other = quiet(EMHiddenMarkov(2, emission=GaussianEmission(), random_state=0), X)
    assert one.lower_bounds_ == other.lower_bounds_


@pytest.mark.parametrize(
    ("emission", "text"),
    [
        (
            GaussianEmission(mean_prior=[0.0]),
            r"mean_prior has shape \(1,\): must have shape \(2,\)",
        ),
        (GaussianEmission(mean_precision_prior=1.0), "but mean_prior=None: give mean_prior too"),
        (GaussianEmission(mean_prior=MEAN, mean_precision_prior=0.0), "must be > 0"),
        (GaussianEmission(degrees_of_freedom_prior=3), "give covariance_prior too"),
        (GaussianEmission(covariance_prior=np.eye(3)), r"covariance_prior has shape \(3, 3\)"),
        (GaussianEmission(covariance_prior=-np.eye(2)), "covariance_prior has an eigenvalue <= 0"),
        (GaussianEmission("diag", covariance_prior=[1.0, 0.0]), "covariance_prior has an entry 0"),
        (
            GaussianEmission(covariance_prior=np.eye(2), degrees_of_freedom_prior=1.0),
            "degrees_of_freedom_prior=1.0: must be > 1",
        ),
        (BernoulliEmission(prior=[2.0, 0.5]), "prior=.*: must be >= 1"),
        (BernoulliEmission(prior=[2.0, 2.0, 2.0]), r"prior has shape \(3,\)"),
        (CategoricalEmission(prior=[2.0, 0.5]), "prior=.*: must be >= 1"),
        (CategoricalEmission(prior=[2.0, 2.0]), "prior has 2 entries: must have"),
        (PoissonEmission(rate_prior=0.0), "rate_prior=0.0: must be a number > 0"),
        (
            PoissonEmission(rate_prior=[1.0, 2.0, 3.0]),
            "rate_prior has 3 entries: must have one for",
        ),
        (PoissonEmission(rate_precision_prior=1.0), "but rate_prior=None: give rate_prior too"),
        (PoissonEmission(rate_prior=1.0, rate_precision_prior=-1), "rate_precision_prior=-1: must"),
        (
            PoissonEmission(rate_prior=1.0, rates_init=[[0.0, 1.0], [1.0, 1.0]]),
            "rates_init has an entry 0: must be above it, as rate_prior=1.0 excludes it",
        ),
        (
            BernoulliEmission(prior=[1.0, 2.0], probabilities_init=[[0.0, 0.5], [0.5, 1.0]]),
            "probabilities_init has an entry 1: must be below it, as prior=.* excludes it",
        ),
        (
            MultinomialEmission(prior=2, probabilities_init=[[0.0, 1.0], [0.5, 0.5]]),
            "probabilities_init has an entry 0: must be above it, as prior=2 excludes it",
        ),
    ],
)
def test_errors(emission, text):
    X = np.abs(np.round(rows()))
    X = X > 0 if isinstance(emission, BernoulliEmission) else X
    with pytest.raises(ValueError, match=text):
        EMHiddenMarkov(2, emission=emission).fit(X)
