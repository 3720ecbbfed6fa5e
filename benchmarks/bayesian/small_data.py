"""Held-out score on few rows of many features."""

from sklearn.mixture import BayesianGaussianMixture

from benchmarks import report
from benchmarks.bayesian.problem import clusters, quietly
from benchmarks.suite import Section
from skvae import BayesianMixtureSVI

TARGET = 1.0  # nats per row
CASES = {f"full-300-30-{size}": size for size in (1, 3, 10)}


def measure(n_components, settings):
    """Return the row of one number of components, over as many data sets as there are rounds."""
    gains, theirs, ours = [], [], []
    for seed in range(settings.rounds):
        X, _ = clusters(3300, 30, 3, settings.seed + seed)
        X, test = X[:300], X[300:]
        with quietly():
            settled = {"n_components": n_components, "random_state": 0, "max_iter": 500}
            peer = BayesianGaussianMixture(**settled).fit(X)
            mixture = BayesianMixtureSVI(**settled, moves=(), tol=1e-5).fit(X)
        theirs.append(peer.score(test))
        ours.append(mixture.score(test))
        gains.append(ours[-1] - theirs[-1])
    n = len(gains)
    row = [str(n_components), f"{sum(ours) / n:.2f}", f"{sum(theirs) / n:.2f}"]
    row.append(f"{sum(gains) / n:+.2f} ({min(gains):+.2f} to {max(gains):+.2f})")
    target = settings.judged(TARGET)
    return [[*row, report.verdict(sum(gains) / n, target, sign="≥", unit=" nats")]]


SECTION = Section(
    name="bayes-small",
    title="Bayesian mixtures: held-out score on few rows",
    method=(
        "300 × 30, 3 clusters, full covariances, defaults of each library; mean over data sets, "
        "one for each round. Nats per row on 3,000 more."
    ),
    columns=["components", "skvae", "scikit-learn", "gain", "target"],
    cases=CASES,
    measure=measure,
)
