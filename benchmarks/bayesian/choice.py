"""Whether the number of clusters is found: by the bound, and by moves from one component."""

import numpy as np
from sklearn.mixture import BayesianGaussianMixture

from benchmarks import report
from benchmarks.bayesian.problem import apart, quietly
from benchmarks.suite import Section
from skvae import BayesianMixtureSVI

MOVES = ("merge", "delete", "birth")
CASES = {"elbo": "elbo", "moves": "moves"}


def measure(kind, settings):
    """Return the rows of one way to choose."""
    return _by_bound(settings) if kind == "elbo" else _by_moves(settings)


def _by_bound(settings):
    n_seeds, sizes = (2, (2, 4, 6)) if settings.quick else (10, range(1, 9))
    found = {"skvae elbo_": 0, "scikit-learn lower_bound_": 0}
    for seed in range(n_seeds):
        X, _ = apart(1000, 3, 4, settings.seed + seed, least=8.0)
        bounds = {name: [] for name in found}
        with quietly():
            for size in sizes:
                settled = {"n_components": size, "n_init": 3, "random_state": 0, "max_iter": 500}
                settled["weight_concentration_prior_type"] = "dirichlet_distribution"
                mixture = BayesianMixtureSVI(**settled, moves=(), tol=1e-5).fit(X)
                bounds["skvae elbo_"].append(mixture.elbo_)
                peer = BayesianGaussianMixture(**settled).fit(X)
                bounds["scikit-learn lower_bound_"].append(peer.lower_bound_)
        for name, values in bounds.items():
            found[name] += list(sizes)[int(np.argmax(values))] == 4
    rows = []
    for name, count in found.items():
        target = settings.judged(9) if name.startswith("skvae") else None
        verdict = report.verdict(count, target, sign="≥", unit=f" of {n_seeds}")
        rows.append([name, "4", f"{count} of {n_seeds}", verdict])
    return rows


def _by_moves(settings):
    n_seeds = 2 if settings.quick else 20
    count = 0
    for seed in range(n_seeds):
        X, _ = apart(4000, 4, 8, settings.seed + seed, least=6.0)
        with quietly():
            mixture = BayesianMixtureSVI(1, moves=MOVES, random_state=seed).fit(X)
        count += mixture.n_effective_components_ == 8
    verdict = report.verdict(count, settings.judged(19), sign="≥", unit=f" of {n_seeds}")
    return [["skvae, moves from one component", "8", f"{count} of {n_seeds}", verdict]]


SECTION = Section(
    name="bayes-choice",
    title="Bayesian mixtures: is the number of clusters found?",
    method=(
        "Spherical unit clusters. By the highest bound among 1 to 8 components (1,000 × 3, centres "
        "at least 8 apart), and by memoized moves from one component (4,000 × 4, at least 6 apart)."
    ),
    columns=["how", "clusters", "right", "target"],
    cases=CASES,
    measure=measure,
)
