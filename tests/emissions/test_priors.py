"""Priors of emissions: modes found by scipy, in the objective, which never falls."""

import pickle
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvae import EMHiddenMarkov
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    MultinomialEmission,
    PoissonEmission,
    StudentTEmission,
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


# Student-t states and mixtures --------------------------------------------------------------------


def wide(kind, which, n_mix, **given):
    """An emission of heavy tails (n_mix 0) or of mixtures, with priors."""
    # Without a prior of its covariance a Gaussian can have a single row.
    given |= prior_of(kind, "both" if n_mix and which == "means" else which)
    if n_mix == 0:
        return StudentTEmission(kind, reg_covar=0.0, **given)
    prior = 1.5 if which == "means" else 2.5
    settings = {"covariance_type": kind, "reg_covar": 0.0, "weights_prior": prior}
    return GaussianMixtureEmission(n_mix, **settings, **given)


def matrices(kind, covariances, n_normals):
    flat = np.asarray(covariances)
    if kind == "tied":
        return np.repeat(flat[None], n_normals, axis=0)
    flat = flat.reshape(n_normals, *flat.shape[flat.ndim - {"full": 2, "diag": 1}.get(kind, 0) :])
    if kind == "full":
        return flat
    return flat.reshape(n_normals, -1, 1) * np.eye(D)


def log_posterior(kind, emission, X, vector):
    """ln p(X | known states) + ln prior, in coordinates without constraints, by scipy."""
    is_t = isinstance(emission, StudentTEmission)
    n = K if is_t else K * emission.n_mix
    means, rest = vector[: n * D].reshape(n, D), vector[n * D :]
    n_scales = {"full": 3 * n, "tied": 3, "diag": n * D, "spherical": n}[kind]
    scales, rest = rest[:n_scales], rest[n_scales:]
    if kind in ("full", "tied"):
        lower = np.zeros((n_scales // 3, D, D))
        lower[:, *np.tril_indices(D)] = scales.reshape(-1, 3)
        lower[:, range(D), range(D)] = np.exp(lower[:, range(D), range(D)])
        scales = lower @ lower.transpose(0, 2, 1)
        scales = scales if kind == "full" else scales[0]
    else:
        scales = np.exp(scales).reshape((n, D) if kind == "diag" else (n,))
    full, given = matrices(kind, scales, n), emission.get_params()
    total = 0.0
    if given["mean_prior"] is not None:
        precision = given["mean_precision_prior"] or 1.0
        for mean, matrix in zip(means, full, strict=True):
            total += stats.multivariate_normal.logpdf(mean, MEAN, matrix / precision)
    if given["covariance_prior"] is not None:
        nu, scale = given["degrees_of_freedom_prior"] or float(D), given["covariance_prior"]
        if kind in ("full", "tied"):
            each = full if kind == "full" else full[:1]
            total += sum(stats.invwishart.logpdf(one, nu, scale) for one in each)
        else:
            total += stats.invgamma.logpdf(scales, nu / 2, scale=np.asarray(scale) / 2).sum()
    if is_t:
        dofs = np.exp(rest)
        for k in range(K):
            rows = X[k == LABELS]
            total += stats.multivariate_t.logpdf(rows, means[k], full[k], df=dofs[k]).sum()
        return total
    logs = rest.reshape(K, -1) - logsumexp(rest.reshape(K, -1), axis=1, keepdims=True)
    total += (emission.weights_prior - 1) * logs.sum()
    for k in range(K):
        parts = [
            logs[k, j] + stats.multivariate_normal.logpdf(X[k == LABELS], means[i], full[i])
            for j, i in enumerate(range(k * emission.n_mix, (k + 1) * emission.n_mix))
        ]
        total += logsumexp(parts, axis=0).sum()
    return total


def coordinates(kind, fitted):
    """The coordinates of a fitted emission, and which of them are means."""
    means, scales = fitted.means_.reshape(-1, D), fitted.covariances_
    if kind in ("full", "tied"):
        lower = np.linalg.cholesky(scales.reshape(-1, D, D))
        lower[:, range(D), range(D)] = np.log(lower[:, range(D), range(D)])
        scales = lower[:, *np.tril_indices(D)]
    else:
        scales = np.log(scales)
    rest = fitted.dofs_ if isinstance(fitted, StudentTEmission) else fitted.weights_
    parts = [means.ravel(), scales.ravel(), np.log(rest).ravel()]
    is_mean = np.arange(sum(map(len, parts))) < means.size
    return np.concatenate(parts), is_mean


@pytest.mark.parametrize("n_mix", [0, 2], ids=["t", "mixture"])
@pytest.mark.parametrize("fixed", [(), ("means",)])
@pytest.mark.parametrize("which", PRIORS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_mode_of_heavy_tails_and_of_mixtures(kind, which, fixed, n_mix):
    """At the fit of known states, no free coordinate changes the posterior density."""
    X = rows(2) + (np.random.default_rng(3).random((len(LABELS), 1)) < 0.5) * [1.5, -1.0]
    start = {}
    if fixed:
        offsets = np.linspace(-0.5, 0.5, max(n_mix, 1))[:, None] * [1.0, -1.0]
        means = 2.0 * np.eye(3, 2)[:, None] + 0.7 + offsets
        start = {"means_init": means[:, 0] if n_mix == 0 else means}
    emission = wide(kind, which, n_mix, **start)
    model = EMHiddenMarkov(K, emission=emission, fixed=fixed, tol=1e-13, max_iter=3000)
    model.set_params(acceleration="anderson")
    fitted = quiet(model, X, states=LABELS).emission_
    assert np.diff(model.lower_bounds_).min(initial=0.0) > -1e-10
    if fixed:
        assert_array_equal(fitted.means_, start["means_init"])
    vector, is_mean = coordinates(kind, fitted)
    steps = 1e-5 * np.eye(len(vector))[~is_mean if fixed else slice(None)]
    slopes = [
        (
            log_posterior(kind, emission, X, vector + step)
            - log_posterior(kind, emission, X, vector - step)
        )
        / 2e-5
        for step in steps
    ]
    assert np.abs(slopes).max() < 2e-3 * len(X) ** 0.5


@pytest.mark.parametrize("n_mix", [0, 2], ids=["t", "mixture"])
@pytest.mark.parametrize("which", PRIORS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("acceleration", [None, *slow("anderson")])
def test_the_bound_of_heavy_tails_and_of_mixtures_never_falls(kind, which, n_mix, acceleration):
    X = np.where(np.random.default_rng(0).random((len(LABELS), D)) < 0.2, np.nan, rows(1))
    model = EMHiddenMarkov(2, emission=wide(kind, which, n_mix), tol=0.0, max_iter=25)
    model.set_params(acceleration=acceleration, random_state=0)
    quiet(model, X)
    assert np.diff(model.lower_bounds_).min() > -1e-10
    log_prior = model.emission_.log_prior(model.emission_.parameters(), None)
    prior = model.lower_bound_ - model.score(X)
    assert_allclose(prior, log_prior / len(X), rtol=1e-9, atol=1e-9)
    model.partial_fit(X[:20])
    assert np.isfinite(model.lower_bound_)


@pytest.mark.parametrize("n_mix", [0, 3], ids=["t", "mixture"])
@pytest.mark.parametrize("which", PRIORS)
@pytest.mark.parametrize("kind", KINDS)
def test_earlier_rows_of_heavy_tails_and_of_mixtures(kind, which, n_mix):
    X = rows()
    model = quiet(EMHiddenMarkov(K, emission=wide(kind, which, n_mix)), X, states=LABELS)
    fitted = model.emission_
    parameters = fitted.parameters()
    statistics = fitted.earlier_statistics(parameters, np.array([24.0, 16.0, 30.0]))
    summary = fitted.summarize_batch(parameters, None, None)
    again = fitted.maximize(parameters, statistics, summary)
    assert_allclose(again.normals.locations, parameters.normals.locations, rtol=1e-9, atol=1e-12)
    assert_allclose(again.normals.scales, parameters.normals.scales, rtol=1e-9, atol=1e-12)
    if n_mix:
        assert_allclose(again.weights, parameters.weights, rtol=1e-9)


def test_a_mixture_prior_keeps_weights_above_zero():
    """Without rows a state has the mode of its prior, and a fit may continue without it."""
    X = rows()
    plain = quiet(EMHiddenMarkov(2, emission=GaussianMixtureEmission(2), random_state=0), X)
    plain.emission_.weights_ = [[1.0, 0.0], [0.5, 0.5]]
    plain.set_params(emission=GaussianMixtureEmission(2, weights_prior=2.0), warm_start=True)
    assert np.isfinite(quiet(plain, X).lower_bound_)
    assert (plain.emission_.weights_ > 0).all()
    emission = GaussianMixtureEmission(
        2, weights_prior=3.0, mean_prior=MEAN, covariance_prior=np.eye(2)
    )
    states = np.where(LABELS == 2, 1, LABELS)
    model = quiet(EMHiddenMarkov(3, emission=emission), X, states=states)
    assert_allclose(model.emission_.weights_[2], 0.5)
    assert_allclose(model.emission_.means_[2], [MEAN, MEAN])


def test_batches_copies_and_no_prior():
    X = rows()
    for emission in (
        GaussianEmission(mean_prior=MEAN, covariance_prior=SCALES["full"]),
        PoissonEmission(rate_prior=2.0),
        StudentTEmission(mean_prior=MEAN, covariance_prior=SCALES["full"]),
        GaussianMixtureEmission(2, weights_prior=2.0, mean_prior=MEAN),
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
        (StudentTEmission(mean_prior=[0.0]), r"mean_prior has shape \(1,\): must have shape"),
        (StudentTEmission(mean_precision_prior=1.0), "but mean_prior=None: give mean_prior too"),
        (GaussianMixtureEmission(degrees_of_freedom_prior=3), "give covariance_prior too"),
        (GaussianMixtureEmission(weights_prior=0.5), "weights_prior=0.5: must be"),
        (
            GaussianMixtureEmission(weights_prior=2, weights_init=[[0.0, 1.0], [0.5, 0.5]]),
            "weights_init has an entry 0: must be above it, as weights_prior=2 excludes it",
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


def test_a_state_of_one_row_keeps_its_fixed_covariance():
    """A prior moves its mean, and nothing else is learned from the row."""
    X = np.array([[0.0, 0.0], [0.0, 0.1], [0.1, 0.0], [5.0, 5.0]])
    settings = {
        "reg_covar": 0.0,
        "mean_prior": [0.0, 0.0],
        "means_init": [[0.0, 0.0], [5.0, 5.0]],
        "covariances_init": [np.eye(2)] * 2,
    }
    for family in (GaussianEmission, StudentTEmission):
        model = EMHiddenMarkov(2, emission=family(**settings), fixed="covariances")
        model = quiet(model, X, states=[0, 0, 0, 1])
        assert_array_equal(model.emission_.covariances_, [np.eye(2)] * 2)
        assert 0 < model.emission_.means_[1, 0] < 5
