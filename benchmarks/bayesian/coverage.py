"""The coverage of 95 % credible intervals, without and with the correction by linear response."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from skvae import BayesianMixtureSVI

N_FEATURES = 2
CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])


class Case(NamedTuple):
    """Round clusters of unit size and equal weights on the corners of a square."""

    covariance_type: str
    n_clusters: int
    distance: float  # of neighbouring centres, in standard deviations
    n_samples: int
    has_target: bool = True


CASES = {
    f"{case.covariance_type}-{case.n_clusters}-{case.distance:g}-{case.n_samples}": case
    for case in (
        *(
            Case(kind, 2, distance, n)
            for kind in ("diag", "full")
            for distance in (2.5, 3.0)
            for n in (500, 1000)
        ),
        Case("diag", 4, 10.0, 1000),
        Case("full", 4, 10.0, 1000),
        Case("diag", 4, 2.5, 1000, has_target=False),
    )
}


def measure(case, settings):
    """Return a row for weights, means and variances."""
    n_repeats = 5 if settings.quick else 400
    centers = case.distance * CORNERS[: case.n_clusters]
    truths = np.full(case.n_clusters, 1 / case.n_clusters), centers, np.ones_like(centers)
    hits = {name: ([], []) for name in ("weights", "means", "variances")}
    for repeat in range(n_repeats):
        rng = np.random.default_rng(1000 * settings.seed + repeat)
        X = centers[rng.integers(case.n_clusters, size=case.n_samples)]
        X = X + rng.normal(size=X.shape)
        with quietly():
            mixture = BayesianMixtureSVI(
                case.n_clusters,
                covariance_type=case.covariance_type,
                weight_concentration_prior_type="dirichlet_distribution",
                moves=(),
                random_state=0,
                tol=1e-5,
                max_iter=2000,
            ).fit(X)
            intervals = mixture.credible_interval(0.95), mixture.credible_interval(0.95, X)
        _, k = linear_sum_assignment(cdist(centers, mixture.means_))
        for found, interval in enumerate(intervals):
            for name, (lower, upper), truth in zip(hits, interval, truths, strict=True):
                hits[name][found].append((lower[k] <= truth) & (truth <= upper[k]))
    clusters = f"{case.n_clusters}, {case.distance:g} σ apart"
    rows = []
    for name, both in hits.items():
        q, corrected = (100 * float(np.mean(found)) for found in both)
        target = case.has_target or None
        lower = report.verdict(corrected, target and settings.judged(92), sign="≥", unit=" %")
        upper = report.verdict(corrected, target and settings.judged(98), sign="≤", unit=" %")
        labels = clusters, f"{case.n_samples:,}", case.covariance_type, name
        rows.append([*labels, f"{q:.1f} %", f"{corrected:.1f} %", lower, upper])
    return rows


SECTION = Section(
    name="bayes-coverage",
    title="Bayesian mixtures: coverage of 95 % credible intervals",
    method=(
        "Rows with two features in round clusters of equal weight, default priors, 400 data sets "
        "each. Mean field: credible_interval(0.95); linear response: credible_interval(0.95, X). "
        "Four clusters that overlap have no target: the posterior has several modes, and no local "
        "method describes them."
    ),
    columns=[
        "clusters",
        "rows",
        "covariances",
        "of",
        "mean field",
        "linear response",
        "lower target",
        "upper target",
    ],
    cases=CASES,
    measure=measure,
)
