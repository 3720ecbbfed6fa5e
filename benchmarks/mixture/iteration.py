"""Seconds per EM iteration from the same start, in every covariance type."""

import functools

from benchmarks import report
from benchmarks.mixture.contenders import contenders, largest_difference
from benchmarks.mixture.problem import Problem, start_from
from benchmarks.suite import Section
from benchmarks.timing import interleave, seconds_per_iteration

FIRST, LAST = 1, 4

CASES = {
    "full-200000-16-16": Problem(200_000, 16, 16, target=10),
    "full-500000-8-32": Problem(500_000, 8, 32, target=30),
    "full-100000-32-32": Problem(100_000, 32, 32, target=10),
    "full-50000-64-16": Problem(50_000, 64, 16, target=4),
    "full-20000-128-16": Problem(20_000, 128, 16, target=5),
    "full-500000-2-8": Problem(500_000, 2, 8, target=15),
    "tied-100000-32-16": Problem(100_000, 32, 16, "tied", target=8),
    "diag-500000-8-32": Problem(500_000, 8, 32, "diag", target=8),
    "spherical-500000-8-32": Problem(500_000, 8, 32, "spherical", target=8),
}


def measure(problem, settings):
    """Return the row of one problem: times, ratios to the peers, and that the answers agree."""
    problem = problem.sized(settings)
    X = problem.make(settings.seed)
    start = start_from(X, problem.n_components, problem.covariance_type, settings.seed)
    entrants = contenders(problem.covariance_type)
    times, fitted = iteration_times(
        {name: (one, X, start) for name, one in entrants.items()}, settings
    )
    ratios = {name: times[name].over(times["skvae"]) for name in _PEERS if name in times}
    found = {name: entrants[name].parameters(fitted[name]) for name in times}
    apart = {n: f"{largest_difference(found['skvae'], found[n]):.0e}" for n in ratios}

    def cells(texts, names):
        missing = {n: report.FAILED if n in entrants else report.NOT_APPLICABLE for n in names}
        return [texts.get(name, missing[name]) for name in names]

    row = [problem.covariance_type, problem.sizes]
    row += cells({name: report.duration(spread) for name, spread in times.items()}, _NAMES)
    row += cells({name: report.ratio(spread) for name, spread in ratios.items()}, _PEERS)
    row.append(report.verdict(ratios["scikit-learn"].median, problem.target, sign="≥", unit="×"))
    return [[*row, ", ".join(cells(apart, _PEERS))]]


def iteration_times(entrants, settings):
    """Return (Spread of seconds per iteration, mixture after LAST iterations), both by name.

    Parameters
    ----------
    entrants : mapping from str to (contender, X, Start)
    settings : Settings

    Raises
    ------
    RuntimeError
        If a fit made another number of iterations than requested, so its time has no meaning.
    """
    fitted = {}

    def fit(n_iterations, name, one, data, start):
        model = one.fit(data, start, n_iterations)
        if getattr(model, "n_iter_", n_iterations) != n_iterations:
            raise RuntimeError(f"{name} did {model.n_iter_} iterations instead of {n_iterations}.")
        fitted[name] = model

    measures, warm_ups = {}, {}
    for name, (one, X, start) in entrants.items():
        run = functools.partial(fit, name=name, one=one, data=one.load(X), start=start)
        measures[name] = functools.partial(
            seconds_per_iteration,
            run,
            first=FIRST,
            last=LAST,
            at_least=0.05 if settings.quick else 1.0,
        )
        warm_ups[name] = functools.partial(run, FIRST)
    # Thread pools, page faults and lazy imports are not a part of an iteration.
    interleave(warm_ups, 1, may_fail=["pomegranate"])
    return interleave(measures, settings.rounds, may_fail=["pomegranate"]), fitted


_NAMES = ("skvae", "scikit-learn", "pomegranate")
_PEERS = _NAMES[1:]

SECTION = Section(
    name="iteration",
    title="Seconds per EM iteration",
    method=(
        "float64, the same start for all (equal weights, means of a few random rows, the data's "
        f"variances), `tol=0`, otherwise default parameters. Time of {LAST} iterations less time "
        f"of {FIRST}, divided by {LAST - FIRST}: validation, start and closing E step cancel. "
        "Median over interleaved rounds (smallest–largest); ratios are taken within a round. "
        "Target: ratio to scikit-learn. Last column: largest relative difference of parameters "
        f"after {LAST} iterations between skvae and each peer. pomegranate keeps responsibilities "
        "in float32, and scikit-learn adds `reg_covar` where skvae has a floor."
    ),
    columns=[
        "covariance",
        "N, D, K",
        "skvae",
        "scikit-learn",
        "pomegranate",
        "scikit-learn / skvae",
        "pomegranate / skvae",
        "target",
        "difference",
    ],
    cases=CASES,
    measure=measure,
)
