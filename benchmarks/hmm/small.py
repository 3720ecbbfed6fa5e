"""Many small fits, as in a search for the number of states: the overhead of a call matters."""

import functools

from benchmarks import report
from benchmarks.hmm.contenders import HMMLEARN, LOG, SCALING, SKVAE
from benchmarks.hmm.iteration import differences
from benchmarks.hmm.problem import Problem
from benchmarks.suite import Section
from benchmarks.timing import Spread, interleave, median_seconds

N_ITERATIONS = 5
TARGET, DEFAULT_TARGET = 3, 5

CASES = {
    "diag-5000-1-2to10": [Problem(5000, 1, n_states, n_sequences=50) for n_states in range(2, 11)],
}


def measure(problems, settings):
    """Return a row for each number of states, and one for all of them together."""
    problems = [problem.sized(settings) for problem in problems]
    times = [_times(problem, settings) for problem in problems]
    rows = [
        _row(problem, str(problem.n_states), found)
        for problem, found in zip(problems, times, strict=True)
    ]
    total = {name: _sum([found[name] for found in times]) for name in times[0]}
    targets = settings.judged(TARGET), settings.judged(DEFAULT_TARGET)
    return [*rows, _row(problems[0], "all of them", total, targets)]


def _sum(spreads):
    return Spread(tuple(map(sum, zip(*(spread.values for spread in spreads), strict=True))))


def _times(problem, settings):
    X = problem.make(settings.seed)
    start = problem.start(X, settings.seed)
    entrants, fitted, measures = {"skvae": SKVAE, **HMMLEARN}, {}, {}

    def fit(name, one, data):
        fitted[name] = one.fit(data, start, N_ITERATIONS)

    for name, one in entrants.items():
        run = functools.partial(fit, name, one, one.load(X, problem))
        run()
        at_least = 0.02 if settings.quick else 0.2
        measures[name] = functools.partial(median_seconds, run, at_least=at_least)
    differences(entrants, fitted, problem, X, start)
    return interleave(measures, settings.rounds)


def _row(problem, states, times, targets=(None, None)):
    ratios = {name: times[name].over(times["skvae"]) for name in HMMLEARN}
    row = [states, f"{problem.n_sequences} of {problem.length}, {problem.n_features}"]
    row += [report.duration(spread) for spread in times.values()]
    row += [report.ratio(spread) for spread in ratios.values()]
    for name, target in zip((SCALING, LOG), targets, strict=True):
        row.append(report.verdict(ratios[name].median, target, sign="≥", unit="×"))
    return row


SECTION = Section(
    name="hmm-small",
    title="Hidden Markov models: many small fits",
    method=(
        f"Diagonal covariances, otherwise as above. Seconds of a whole fit of {N_ITERATIONS} "
        "iterations from a given start, everything included; several fits in each round. Targets: "
        "for the sum over the numbers of states."
    ),
    columns=[
        "states",
        "sequences, D",
        "skvae",
        SCALING,
        LOG,
        "scaling / skvae",
        "log / skvae",
        "target, scaling",
        "target, log",
    ],
    cases=CASES,
    measure=measure,
)
