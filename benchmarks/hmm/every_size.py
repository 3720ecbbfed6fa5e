"""Seconds per EM iteration for numbers of states from 1 to 64: never slower than hmmlearn."""

from benchmarks import report
from benchmarks.hmm.contenders import HMMLEARN, LOG, SCALING, SKVAE
from benchmarks.hmm.iteration import differences, iteration_times
from benchmarks.hmm.problem import Problem
from benchmarks.suite import Section
from benchmarks.timing import Spread

CASES = {
    f"diag-50000-4-{n_states}": Problem(50_000, 4, n_states, n_sequences=10, target=1)
    for n_states in (1, 2, 3, 5, 8, 13, 21, 34, 64)
}


def measure(problem, settings):
    """Return the row of one number of states, judged against the faster implementation."""
    problem = problem.sized(settings)
    X = problem.make(settings.seed)
    start = problem.start(X, settings.seed)
    entrants = {"skvae": SKVAE, **HMMLEARN}
    times, fitted = iteration_times(entrants, problem, X, start, settings)
    differences(entrants, fitted, problem, X, start)
    ratios = {name: times[name].over(times["skvae"]) for name in HMMLEARN}
    row = [str(problem.n_states), problem.sizes]
    row += [report.duration(times[name]) for name in entrants]
    row += [report.ratio(ratios[name]) for name in HMMLEARN]
    least = Spread(tuple(map(min, zip(*(r.values for r in ratios.values()), strict=True))))
    return [[*row, report.verdict(least.median, problem.target, sign="≥", unit="×")]]


SECTION = Section(
    name="hmm-states",
    title="Hidden Markov models: every number of states",
    method=(
        "Diagonal covariances, 10 sequences, seconds per EM iteration as above. Target: never "
        "slower than the faster of hmmlearn's implementations."
    ),
    columns=[
        "states",
        "T, D, K",
        "skvae",
        SCALING,
        LOG,
        "scaling / skvae",
        "log / skvae",
        "target",
    ],
    cases=CASES,
    measure=measure,
)
