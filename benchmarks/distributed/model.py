r"""A model of more workers and rows than this machine has, from measurements on this machine.

With W workers of one core, N rows, chunks of n rows, C = ⌈N / n⌉ of them, r rows per second and
core, p bytes of parameters, s of statistics, and a network of b bytes per second and worker,

.. math:: T = \lceil C / W \rceil \frac{N}{C\, r} + a + c\, C + \lceil\log_2 W\rceil \frac{p}{b}
              + \lceil\log_8 C\rceil \frac{8 s}{b} .

The scheduler is one process that distributes all tasks: c C does not depend on W.
"""

from functools import lru_cache
from math import ceil, log

from benchmarks import report
from benchmarks.distributed.cluster import held, iteration, processes
from benchmarks.distributed.cost import cost_of
from benchmarks.mixture.problem import Problem
from benchmarks.suite import Section

_BANDWIDTH = 1.25e9  # bytes per second: 10 Gbit/s
_FAN_IN = 8
_CHUNK = 16_000_000  # rows: 1 GB of eight numbers
_CHECKED = Problem(4_000_000, 8, 32)
_CHECKED_CHUNKS = 16

CASES = {
    **{f"measured-{w}": (w, None) for w in (1, 2)},
    **{f"{w}-{n:.0e}": (w, int(n)) for n in (1e9, 1e12) for w in (10, 100, 1000)},
}


def measure(case, settings):
    """Return the row of one number of workers and rows."""
    n_workers, n_rows = case
    problem = _CHECKED.sized(settings)
    taken = _measured(settings.seed, settings.quick)
    cost = cost_of(problem.n_features, problem.n_components, settings.seed, settings.quick)
    # An iteration of one worker without the overhead of distribution.
    rate = problem.n_samples / (taken[0] - cost.fixed - cost.per_task * _CHECKED_CHUNKS)
    if n_rows is None:
        n_rows, n_chunks = problem.n_samples, _CHECKED_CHUNKS
        found = f"{taken[n_workers - 1]:.2f} s"
    else:
        n_chunks, found = _chunks(n_workers, n_rows, rate, cost), report.NOT_APPLICABLE
    parts = _parts(n_workers, n_rows, n_chunks, rate, cost)
    total = sum(parts)
    sent = n_workers * cost.sent
    returned = n_chunks * cost.returned
    row = [str(n_workers), f"{n_rows:.0e}", f"{n_chunks:,}", *map(_duration, parts)]
    row += [f"{sent / 1e6:,.1f} MB", f"{returned / 1e6:,.1f} MB", _duration(total), found]
    return [[*row, f"{parts[0] / total:.0%}"]]


def _chunks(n_workers, n_rows, rate, cost):
    """Return the number of chunks that makes an iteration shortest: some, or one for each worker.

    If memory determines the number, it is a multiple of the number of workers.
    """
    least = -(-n_rows // _CHUNK)
    rounds = -(-least // n_workers) * n_workers
    tried = {max(least, n_workers // parts) for parts in range(1, 33)} | {rounds}
    return min(sorted(tried), key=lambda n: sum(_parts(n_workers, n_rows, n, rate, cost)))


@lru_cache(maxsize=4)
def _measured(seed, quick):
    """Return seconds per iteration of the checked problem with one and with two workers."""
    problem = _CHECKED
    if quick:
        problem = Problem(problem.n_samples // 100, problem.n_features, problem.n_components)
    X = problem.make(seed)
    taken = []
    for n_workers in (1, 2):
        with processes(n_workers):
            taken.append(iteration(X, held(X, _CHECKED_CHUNKS), problem.n_components))
    return tuple(taken)


def _parts(n_workers, n_rows, n_chunks, rate, cost):
    """Return seconds of work, of the scheduler, of sending parameters and of adding statistics."""
    # The measured fixed part and the part of the tasks include the bytes of two workers.
    return (
        -(-n_chunks // n_workers) * n_rows / (n_chunks * rate),
        cost.fixed + cost.per_task * n_chunks,
        ceil(log(n_workers, 2)) * cost.sent / _BANDWIDTH if n_workers > 1 else 0.0,
        ceil(log(n_chunks, _FAN_IN)) * _FAN_IN * cost.returned / _BANDWIDTH,
    )


def _duration(seconds):
    if seconds >= 100:
        return f"{seconds:,.0f} s"
    return f"{seconds:.2f} s" if seconds >= 0.1 else f"{1e3 * seconds:.2f} ms"


SECTION = Section(
    name="paper",
    title="More workers and rows, by a model",
    method=(
        "`full`, D = 8, K = 32. An iteration is ⌈C / W⌉ N / (C r) of work in C chunks, plus the "
        "scheduler's time for it and for each chunk (measured on this machine), plus the "
        "parameters sent down a tree of workers and the statistics added up by eights, at 10 "
        "Gbit/s. r is the measured rate of one worker on this machine; the number of chunks is "
        "the one with the shortest iteration, for chunks of at most 16 million rows (1 GB). The "
        "first two rows compare it with a measurement. Only the work shrinks with W: if its share "
        "is small, more workers do not help."
    ),
    columns=[
        "workers",
        "rows",
        "chunks",
        "work",
        "scheduler",
        "parameters",
        "statistics",
        "sent",
        "returned",
        "an iteration",
        "measured",
        "work's share",
    ],
    cases=CASES,
    measure=measure,
)
