"""The coverage of 95 % credible intervals."""

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from skvae import BayesianMixtureSVI

# Distance of neighbouring centres in standard deviations.
CASES = {"separated": 10.0, "overlapping": 2.5}
N_CLUSTERS, N_FEATURES = 4, 2


def measure(distance, settings):
    """Return a row for weights, means and variances."""
    n_repeats = 5 if settings.quick else 200
    hits = {"weights": [], "means": [], "variances": []}
    centers = distance * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    for repeat in range(n_repeats):
        rng = np.random.default_rng(1000 * settings.seed + repeat)
        X = centers[rng.integers(N_CLUSTERS, size=1000)]
        X = X + rng.normal(size=X.shape)
        with quietly():
            mixture = BayesianMixtureSVI(
                N_CLUSTERS,
                covariance_type="diag",
                weight_concentration_prior_type="dirichlet_distribution",
                random_state=0,
                tol=1e-6,
                max_iter=500,
            ).fit(X)
        _, k = linear_sum_assignment(cdist(centers, mixture.means_))
        interval = mixture.credible_interval(0.95)
        truths = (np.full(N_CLUSTERS, 1 / N_CLUSTERS), centers, np.ones_like(centers))
        for name, (lower, upper), truth in zip(hits, interval, truths, strict=True):
            hits[name].append((lower[k] <= truth) & (truth <= upper[k]))
    rows = []
    for name, found in hits.items():
        share = 100 * float(np.mean(found))
        target = settings.judged(92 if distance > 5 else None)
        verdict = report.verdict(share, target, sign="≥", unit=" %")
        above = report.verdict(share, None if target is None else 98, sign="≤", unit=" %")
        rows.append([f"{distance:g} σ", name, f"{share:.1f} %", verdict, above])
    return rows


SECTION = Section(
    name="bayes-coverage",
    title="Bayesian mixtures: coverage of 95 % credible intervals",
    method=(
        "1,000 × 2 in four round clusters on a square, diagonal covariances, default priors, 200 "
        "data sets. On clusters that overlap the mean field is too sure of itself; no target there."
    ),
    columns=["distance", "of", "coverage", "lower target", "upper target"],
    cases=CASES,
    measure=measure,
)
