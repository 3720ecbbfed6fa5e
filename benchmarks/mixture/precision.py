"""float32 against float64, seconds per EM iteration."""

from dataclasses import replace

from benchmarks import report
from benchmarks.mixture.contenders import SCIKIT_LEARN, SKVAE
from benchmarks.mixture.iteration import iteration_times
from benchmarks.mixture.problem import Problem, start_from
from benchmarks.suite import Section

CASES = {
    "full-200000-16-16": Problem(200_000, 16, 16, target=1),
    "full-500000-8-32": Problem(500_000, 8, 32, target=1),
    "full-50000-64-16": Problem(50_000, 64, 16, target=1),
    "tied-100000-32-16": Problem(100_000, 32, 16, "tied", target=1),
    "diag-500000-8-32": Problem(500_000, 8, 32, "diag", target=1),
    "spherical-500000-8-32": Problem(500_000, 8, 32, "spherical", target=1),
}


def measure(problem, settings):
    """Return the row of one problem: skvae in both precisions, scikit-learn in float32."""
    problem = problem.sized(settings)
    double = _prepare(problem, settings)
    single = _prepare(replace(problem, dtype="float32"), settings)
    entrants = {
        "float64": (SKVAE, *double),
        "float32": (SKVAE, *single),
        "scikit-learn": (SCIKIT_LEARN, *single),
    }
    times, _ = iteration_times(entrants, settings)
    gain = times["float64"].over(times["float32"])
    row = [problem.covariance_type, problem.sizes]
    row += [report.duration(times[name]) for name in entrants]
    row += [report.ratio(times["scikit-learn"].over(times["float32"])), report.ratio(gain)]
    row.append(report.verdict(gain.median, problem.target, sign="≥", unit="×"))
    return [row]


def _prepare(problem, settings):
    X = problem.make(settings.seed)
    start = start_from(X, problem.n_components, problem.covariance_type, settings.seed)
    return X, start


SECTION = Section(
    name="precision",
    title="float32 against float64, seconds per EM iteration",
    method="Measured as above. Target: float32 is no slower, float64 / float32 at least 1.",
    columns=[
        "covariance",
        "N, D, K",
        "skvae float64",
        "skvae float32",
        "scikit-learn float32",
        "scikit-learn / skvae, float32",
        "float64 / float32",
        "target",
    ],
    cases=CASES,
    measure=measure,
)
