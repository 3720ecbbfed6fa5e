"""Time to the held-out log-likelihood that scikit-learn has after fifty iterations."""

from sklearn.mixture import BayesianGaussianMixture

from benchmarks import report
from benchmarks.bayesian.problem import clusters, quietly
from benchmarks.suite import Section
from benchmarks.timing import Spread, seconds
from skvae import BayesianMixtureSVI

SLACK = 0.01  # nats per row
N_COMPONENTS, N_CLUSTERS = 20, 12
TARGETS = {"online": 40, "memoized": 15, "batch": 15}
PASSES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)

CASES = {method: method for method in TARGETS}
_peer = {}


def _data(settings):
    n = 4_000 if settings.quick else 200_000
    X, _ = clusters(2 * n, 8, N_CLUSTERS, settings.seed)
    return X[:n], X[n:]


def _scikit_learn(settings):
    """Return (seconds, held-out score) of scikit-learn's fit; measured once for all methods."""
    if settings not in _peer:
        X, test = _data(settings)
        mixture = BayesianGaussianMixture(
            n_components=N_COMPONENTS, max_iter=50, tol=0.0, random_state=settings.seed
        )
        with quietly():
            took, _ = seconds(lambda: mixture.fit(X))
        _peer[settings] = took, float(mixture.score(test))
    return _peer[settings]


def measure(method, settings):
    """Return the row of a learning method: the fewest passes that are enough, and their time."""
    X, test = _data(settings)
    theirs, wanted = _scikit_learn(settings)
    for n_passes in PASSES:
        mixture = BayesianMixtureSVI(
            N_COMPONENTS,
            learning_method=method,
            moves=(),
            max_iter=n_passes,
            tol=0,
            random_state=settings.seed,
        )
        with quietly():
            times = [seconds(lambda m=mixture: m.fit(X))[0] for _ in range(settings.rounds)]
        score = mixture.score(test)
        if score >= wanted - SLACK:
            break
    spread = Spread(tuple(times))
    ratio = theirs / spread.median
    row = [method, str(n_passes), report.duration(spread), f"{theirs:.1f} s", f"{ratio:.1f}×"]
    enough = score >= wanted - SLACK
    target = settings.judged(TARGETS[method]) if enough else None
    return [[*row, report.verdict(ratio, target, sign="≥", unit="×"), f"{score - wanted:+.4f}"]]


SECTION = Section(
    name="bayes-time",
    title="Bayesian mixtures: time to scikit-learn's held-out score",
    method=(
        "200,000 × 8, 12 clusters, 20 components, full covariances, priors of each library's "
        "default. Seconds of a whole fit, with its start and closing bound, with the fewest "
        f"passes that reach a held-out score within {SLACK} nats per row of scikit-learn's after "
        "50 iterations. scikit-learn is timed once. Last column: score less scikit-learn's, nats "
        "per row."
    ),
    columns=["method", "passes", "skvae", "scikit-learn", "ratio", "target", "score"],
    cases=CASES,
    measure=measure,
)
