"""The time of the k-means start, as a share of a fit with default parameters."""

import functools

from benchmarks import report
from benchmarks.mixture.contenders import SCIKIT_LEARN, SKVAE
from benchmarks.mixture.problem import Problem, start_from
from benchmarks.suite import Section
from benchmarks.timing import interleave, seconds

# The target: the start is at most half of the fit.
CASES = {
    "full-200000-16-16": Problem(200_000, 16, 16, target=0.5),
    "full-50000-64-16": Problem(50_000, 64, 16, target=0.5),
    "full-500000-2-8": Problem(500_000, 2, 8, target=0.5),
}


def measure(problem, settings):
    """Return a row for skvae and one for scikit-learn."""
    problem = problem.sized(settings)
    X = problem.make(settings.seed)
    start = start_from(X, problem.n_components, problem.covariance_type, settings.seed)
    limit = {"max_iter": 5} if settings.quick else {}
    rows = []
    for name, one in {"skvae": SKVAE, "scikit-learn": SCIKIT_LEARN}.items():
        default = functools.partial(
            one.fit_default,
            X,
            problem.n_components,
            problem.covariance_type,
            settings.seed,
            **limit,
        )
        n_iterations = default().n_iter_
        # Both short fits make one iteration; only one of them makes its start.
        times = interleave(
            {
                "whole": _timed(default),
                "searched": _timed(default, max_iter=1),
                "given": _timed(one.fit, X, start, 1),
            },
            min(settings.rounds, 3),
        )
        beginning = times["searched"].less(times["given"])
        share = beginning.over(times["whole"])
        row = [problem.covariance_type, problem.sizes, name, str(n_iterations)]
        row += [report.duration(times["whole"]), report.duration(beginning), f"{share.median:.0%}"]
        target = problem.target if name == "skvae" else None
        rows.append([*row, report.verdict(share.median, target, sign="≤")])
    return rows


def _timed(action, *args, **settings):
    return lambda: seconds(lambda: action(*args, **settings))[0]


SECTION = Section(
    name="initialization",
    title="The k-means start in a default fit",
    method=(
        "float64, default parameters (`init_params='kmeans'`, `tol=1e-3`). The start is the time "
        "of a default fit of one iteration less that of one iteration from a given start. Median "
        "over rounds. Target: at most half of the fit."
    ),
    columns=[
        "covariance",
        "N, D, K",
        "contender",
        "iterations",
        "whole fit",
        "k-means start",
        "share",
        "target",
    ],
    cases=CASES,
    measure=measure,
)
