"""Seconds per EM iteration from the same start, against hmmlearn and pomegranate."""

import functools

from benchmarks import report
from benchmarks.hmm.contenders import LOG, SCALING, SKVAE, contenders
from benchmarks.hmm.problem import Problem
from benchmarks.suite import Section
from benchmarks.timing import interleave, seconds_per_iteration

FIRST, LAST = 1, 3
# Of log-likelihoods: contenders of one table must compute the same.
AGREE = 1e-6

CASES = {
    "diag-500000-4-8-one": Problem(500_000, 4, 8, target=5, default_target=15),
    "diag-500000-4-8-many": Problem(500_000, 4, 8, n_sequences=5000, target=6, default_target=15),
    "diag-200000-16-32": Problem(200_000, 16, 32, n_sequences=20, target=15, default_target=50),
    "full-200000-16-16": Problem(
        200_000, 16, 16, "full", n_sequences=20, target=10, default_target=20
    ),
    "diag-100000-8-64": Problem(100_000, 8, 64, n_sequences=10, target=10, default_target=50),
    "left-right-50000-4-100": Problem(
        50_000, 4, 100, n_sequences=20, left_right=True, target=20, default_target=20
    ),
}


def measure(problem, settings):
    """Return the row of one problem: times, ratios to the peers, and that the answers agree."""
    problem = problem.sized(settings)
    X = problem.make(settings.seed)
    start = problem.start(X, settings.seed)
    entrants = contenders(problem)
    times, fitted = iteration_times(entrants, problem, X, start, settings)
    ratios = {name: times[name].over(times["skvae"]) for name in _PEERS if name in times}
    apart = differences(entrants, fitted, problem, X, start)

    def cells(texts, names):
        missing = {n: report.FAILED if n in entrants else report.NOT_APPLICABLE for n in names}
        return [texts.get(name, missing[name]) for name in names]

    row = [problem.shape, problem.sizes, f"{problem.n_sequences:,}"]
    row += cells({name: report.duration(spread) for name, spread in times.items()}, _NAMES)
    row += cells({name: report.ratio(spread) for name, spread in ratios.items()}, _PEERS)
    for name, target in ((SCALING, problem.target), (LOG, problem.default_target)):
        row.append(report.verdict(ratios[name].median, target, sign="≥", unit="×"))
    return [[*row, ", ".join(cells({n: f"{d:.0e}" for n, d in apart.items()}, _PEERS))]]


def iteration_times(entrants, problem, X, start, settings):
    """Return (Spread of seconds per iteration, model after LAST iterations), both by name.

    Raises
    ------
    RuntimeError
        If a fit made another number of iterations than requested, so its time has no meaning.
    """
    fitted = {}

    def fit(n_iterations, name, one, data):
        model = one.fit(data, start, n_iterations)
        if one.iterations(model) != n_iterations:
            done = one.iterations(model)
            raise RuntimeError(f"{name} did {done} iterations instead of {n_iterations}.")
        fitted[name] = model

    measures, warm_ups = {}, {}
    for name, one in entrants.items():
        run = functools.partial(fit, name=name, one=one, data=one.load(X, problem))
        measures[name] = functools.partial(
            seconds_per_iteration,
            run,
            first=FIRST,
            last=LAST,
            at_least=0.05 if settings.quick else 1.0,
        )
        warm_ups[name] = functools.partial(run, FIRST)
    # Compilation, thread pools, page faults and lazy imports are not a part of an iteration.
    interleave(warm_ups, 1, may_fail=["pomegranate"])
    return interleave(measures, settings.rounds, may_fail=["pomegranate"]), fitted


def differences(entrants, fitted, problem, X, start):
    """Return the relative difference of each peer's log-likelihood to skvae's, by name.

    Raises
    ------
    RuntimeError
        If one is above AGREE: the times would be those of different computations.
    """
    apart = {}
    for name in fitted:
        if name == "skvae":
            continue
        one = entrants[name]
        ours = SKVAE.bound(fitted["skvae"], len(X))
        theirs = one.bound(fitted[name], len(X))
        if theirs is None:  # only the start is the same model
            ours = SKVAE.score(SKVAE.known(start), SKVAE.load(X, problem))
            theirs = one.score(one.known(start), one.load(X, problem))
        apart[name] = abs(theirs - ours) / abs(ours)
        if not apart[name] <= AGREE:
            raise RuntimeError(f"{name} comes to {theirs} nats a row, skvae to {ours}.")
    return apart


_NAMES = ("skvae", SCALING, LOG, "pomegranate")
_PEERS = _NAMES[1:]

SECTION = Section(
    name="hmm-iteration",
    title="Hidden Markov models: seconds per EM iteration",
    method=(
        "Gaussian emissions, float64, the same start for all (states that stay with probability "
        "0.8, means of a few random rows, the data's variances; left-right: means of equal "
        "parts), hmmlearn without its priors, so that all maximise the likelihood; `tol` such "
        f"that none stops. Time of {LAST} iterations less time of {FIRST}, divided by "
        f"{LAST - FIRST}. Median over interleaved rounds (smallest–largest); ratios are taken "
        'within a round. Targets: ratios to hmmlearn\'s "scaling" and to its default, "log". Last '
        f"column: relative difference of the log-likelihood to skvae's before the last of {LAST} M "
        "steps, for pomegranate at the start, since its model also has probabilities of the end "
        f"of a sequence; a difference above {AGREE:g} fails the case. pomegranate loops over a "
        "sequence in Python and keeps arrays of T K² numbers: it is left out if that would take "
        "minutes or too much memory, and for the left-right chain."
    ),
    columns=[
        "covariance",
        "T, D, K",
        "sequences",
        "skvae",
        SCALING,
        LOG,
        "pomegranate",
        "scaling / skvae",
        "log / skvae",
        "pomegranate / skvae",
        "target, scaling",
        "target, log",
        "difference",
    ],
    cases=CASES,
    measure=measure,
)
