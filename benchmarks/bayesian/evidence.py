"""The evidence by importance sampling against the sum over all labels; sweeps a second."""

from itertools import product
from time import process_time

import numpy as np
from scipy.special import logsumexp

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from skvae import BayesianMixtureSVI
from skvae.gaussian.statistics import GaussianStatistics

ERROR, SWEEPS = 0.05, 5000  # nats, sweeps a second
# Components, features, rows; None: the speed of sweeps.
CASES = {
    "2-1-12": (2, 1, 12),
    "2-2-10": (2, 2, 10),
    "3-1-8": (3, 1, 8),
    "3-2-7": (3, 2, 7),
    "sweeps-1000-2-2": None,
}


def measure(case, settings):
    """Return the row of a tiny data set, or of the speed."""
    return _speed(settings) if case is None else _error(case, settings)


def _fitted(n_components, X):
    with quietly():
        return BayesianMixtureSVI(
            n_components,
            weight_concentration_prior_type="dirichlet_distribution",
            weight_concentration_prior=1.0,
            moves=(),
            random_state=0,
        ).fit(X)


def _enumerated(X, model):
    """Return ln p(X) by the sum over all labels, each exact by conjugacy."""
    prior, values = model._parameters().prior, []
    K, (n, _) = len(model.weights_), X.shape
    for labels in product(range(K), repeat=n):
        resp = np.eye(K)[list(labels)]
        away = X - X.mean(axis=0)
        outer = np.einsum("nk,ni,nj->kij", resp, away, away)
        centers = np.repeat(X.mean(axis=0)[None], K, axis=0)
        sums = resp.T @ away
        statistics = GaussianStatistics("full", resp.sum(axis=0), sums, outer, centers)
        posterior = prior.posterior(statistics)
        values.append(posterior.energy(statistics) - posterior.kl())
    return float(logsumexp(values))


def _error(case, settings):
    K, D, n = case
    n = min(n, 6) if settings.quick else n
    rng = np.random.default_rng(settings.seed)
    X = rng.normal(size=(n, D)) + 2.5 * (np.arange(n) % 2)[:, None]
    model = _fitted(K, X)
    exact = _enumerated(X, model)
    model.log_evidence(X, n_draws=10, random_state=0)  # compiled
    start = process_time()
    found = model.log_evidence(X, random_state=settings.seed)
    took = process_time() - start
    error = abs(found.value - exact)
    verdict = report.verdict(error, settings.judged(ERROR), sign="≤", unit=" nats")
    values = [f"{exact:.3f}", f"{found.value:.3f} ± {found.standard_error:.3f}"]
    return [[f"{n} × {D}, {K}", *values, f"{model.elbo_:.3f}", f"{took:.2f} s", verdict]]


def _speed(settings):
    rng = np.random.default_rng(settings.seed)
    X = rng.normal(size=(1000, 2)) + 2.5 * rng.integers(2, size=(1000, 1))
    model = _fitted(2, X)
    model.sample_posterior(X, 10, n_burn_in=0, random_state=0)  # compiled
    n, best = 200 if settings.quick else 4000, np.inf
    for _ in range(settings.rounds):
        start = process_time()
        model.sample_posterior(X, n, n_burn_in=0, random_state=settings.seed)
        best = min(best, process_time() - start)
    rate = n / best
    verdict = report.verdict(rate, settings.judged(SWEEPS), sign="≥", unit=" sweeps/s")
    empty = [report.NOT_APPLICABLE] * 3
    return [["1000 × 2, 2", *empty, f"{rate:.0f} sweeps/s", verdict]]


SECTION = Section(
    name="bayes-evidence",
    title="Bayesian mixtures: the evidence, and sweeps of the Gibbs sampler",
    method=(
        "Full covariances, Dirichlet weights. ln p(X) of tiny data sets by `log_evidence` with its "
        "standard error, against the sum over all assignments of rows, in nats; processor time. "
        "Sweeps a second of `sample_posterior` in one thread."
    ),
    columns=["rows × features, K", "all labels", "log_evidence", "elbo_", "time", "target"],
    cases=CASES,
    measure=measure,
)
