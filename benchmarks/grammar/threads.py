"""Two threads over sentences against one."""

import functools
import os
from contextlib import nullcontext

from benchmarks import report
from benchmarks.grammar.contenders import SKVAE, one_thread
from benchmarks.grammar.iteration import FIRST, LAST
from benchmarks.grammar.problem import Problem
from benchmarks.suite import Section
from benchmarks.timing import interleave, seconds_per_iteration

CASES = {
    "5-12-2000": Problem(5, 12, 2000, target=1.7),
    "10-20-400": Problem(10, 20, 400, target=1.7),
    "20-40-80": Problem(20, 40, 80, target=1.7),
}


def measure(problem, settings):
    """Return the row of one problem, wall-clock time."""
    problem = problem.sized(settings)
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    if n_cores < 2:
        return [[problem.sizes, "not measured: the run has 1 thread", *["–"] * 3]]
    start, data = problem.start(settings.seed), SKVAE.load(problem.make(settings.seed))

    def seconds(n_threads):
        # Within a limit of two, set in this thread, skvae would use one: it could not set its own.
        with one_thread() if n_threads == 1 else nullcontext():
            return seconds_per_iteration(
                lambda n_iterations: SKVAE.fit(data, start, n_iterations),
                first=FIRST,
                last=LAST,
                at_least=0.02 if settings.quick else 0.5,
            )

    times = interleave({n: functools.partial(seconds, n) for n in (1, 2)}, 1)  # warm-up
    times = interleave({n: functools.partial(seconds, n) for n in (1, 2)}, settings.rounds)
    ratio = times[1].over(times[2])
    row = [problem.sizes, *(report.duration(spread) for spread in times.values())]
    verdict = report.verdict(ratio.median, problem.target, sign="≥", unit="×")
    return [[*row, report.ratio(ratio), verdict]]


SECTION = Section(
    name="grammar-threads",
    title="Context-free grammars: two threads over sentences",
    method="skvae, seconds per EM iteration as above, but of wall-clock time.",
    columns=["K, words, sentences", "one thread", "two threads", "one / two", "target"],
    cases=CASES,
    measure=measure,
)
