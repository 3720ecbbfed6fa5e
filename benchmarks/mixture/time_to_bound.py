"""Seconds until each contender has reached a given lower bound from the same start."""

import functools

from benchmarks import report
from benchmarks.mixture.acceleration import iterations_to
from benchmarks.mixture.contenders import ACCELERATED, SKVAE, contenders
from benchmarks.mixture.problem import Problem, start_from
from benchmarks.mixture.referee import mean_log_density
from benchmarks.suite import Section
from benchmarks.timing import interleave, seconds

_GAIN = 1e-5
_MOST_ITERATIONS = 1000

CASES = {
    "full-50000-8-8": Problem(50_000, 8, 8, separation=2.0),
    "full-20000-32-8": Problem(20_000, 32, 8, separation=3.0),
    "diag-50000-8-8": Problem(50_000, 8, 8, "diag", separation=2.0),
}


def measure(problem, settings):
    """Return a row for every contender, skvae with and without acceleration."""
    problem = problem.sized(settings)
    X = problem.make(settings.seed)
    start = start_from(X, problem.n_components, problem.covariance_type, settings.seed)
    # Plain EM is the same sequence of parameters in all libraries, so one trace gives the number of
    # iterations; the referee below checks that each contender has reached the bound.
    plain = SKVAE.fit(X, start, _MOST_ITERATIONS, tol=_GAIN, reg_covar=0)
    bound = plain.lower_bound_
    fast = ACCELERATED.fit(X, start, plain.n_iter_, reg_covar=0)
    # Where acceleration ends in a lower optimum its row shows the whole run, and a shortfall.
    n_fast = iterations_to(fast.lower_bounds_, bound) or fast.n_iter_
    entrants = {"skvae": (SKVAE, plain.n_iter_), "skvae, anderson": (ACCELERATED, n_fast)}
    for name, one in list(contenders(problem.covariance_type).items())[1:]:
        entrants[name] = (one, plain.n_iter_)
    times, fitted = _race(entrants, X, start, settings)
    rows = []
    for name, (one, n_iterations) in entrants.items():
        if name not in times:
            row = [problem.covariance_type, problem.sizes, name, str(n_iterations)]
            rows.append([*row, report.NOT_APPLICABLE, report.FAILED] + [report.NOT_APPLICABLE] * 2)
            continue
        reached = mean_log_density(X, *one.parameters(fitted[name]))
        rows.append(
            [
                problem.covariance_type,
                problem.sizes,
                name,
                str(n_iterations),
                str(getattr(fitted[name], "n_e_steps_", report.NOT_APPLICABLE)),
                report.duration(times[name]),
                report.ratio(times[name].over(times["skvae"])),
                f"{reached - bound:+.1e}",
            ]
        )
    return rows


def _race(entrants, X, start, settings):
    """Return (Spread of the whole fit's seconds, fitted mixture), both by name."""
    fitted = {}

    def time(name, one, data, n_iterations):
        # Only scikit-learn's signature has a floor to switch off; pomegranate has none.
        elapsed, fitted[name] = seconds(lambda: one.fit(data, start, n_iterations, reg_covar=0))
        return elapsed

    measures = {
        name: functools.partial(time, name, one, one.load(X), n_iterations)
        for name, (one, n_iterations) in entrants.items()
    }
    times = interleave(measures, min(settings.rounds, 3), may_fail=["pomegranate"])
    return times, fitted


SECTION = Section(
    name="bound",
    title="Time to the same bound",
    method=(
        "float64, `reg_covar=0`, the same start for all. The bound is that of plain EM when an "
        f"iteration gains less than {_GAIN:g} nats a row; the whole fit of each contender is "
        "timed, with the number of iterations that reaches this bound. Last column: the mean "
        "log-density minus the bound, nats a row, computed from the fitted parameters by a "
        "referee (SciPy, independent of all contenders)."
    ),
    columns=[
        "covariance",
        "N, D, K",
        "contender",
        "iterations",
        "E steps",
        "seconds",
        "time / skvae",
        "reached less bound",
    ],
    cases=CASES,
    measure=measure,
)
