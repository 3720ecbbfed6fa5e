"""Two worker processes against one."""

from functools import partial

from benchmarks import report
from benchmarks.distributed.cluster import held, iteration, processes
from benchmarks.mixture.problem import Problem
from benchmarks.suite import Section
from benchmarks.timing import Spread

_CHUNKS = 16

CASES = {"full-4000000-8-32": Problem(4_000_000, 8, 32, target=1.7)}


def measure(problem, settings):
    """Return the row of one problem: an iteration on one process, on two, and the ratio."""
    problem = problem.sized(settings)
    X = problem.make(settings.seed)
    at_least = 0.1 if settings.quick else 1.0
    times = {1: [], 2: []}
    for i in range(settings.rounds):
        for n_workers in (1, 2)[:: -1 if i % 2 else 1]:
            with processes(n_workers):
                run = partial(iteration, X, held(X, _CHUNKS), problem.n_components)
                times[n_workers].append(run(at_least=at_least))
    one, two = (Spread(tuple(times[n])) for n in (1, 2))
    ratio = one.over(two)
    row = [problem.sizes, str(_CHUNKS), report.duration(one), report.duration(two)]
    row.append(report.ratio(ratio))
    return [[*row, report.verdict(ratio.median, problem.target, sign="≥", unit="×")]]


SECTION = Section(
    name="workers",
    title="Two worker processes against one",
    method=(
        "`full`, float64, rows persisted in the memory of the workers of a `LocalCluster`, one "
        "thread each. Seconds per EM iteration, as the difference of fits of 4 and of 1."
    ),
    columns=["N, D, K", "chunks", "one process", "two processes", "one / two", "target"],
    cases=CASES,
    measure=measure,
)
