"""A table of the grid: the same call of skvae and of a peer in every cell; the worst are shown."""

import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks import report
from benchmarks.suite import Section, Settings
from benchmarks.timing import interleave_calls, little_garbage

N_ITERATIONS = 10  # of a fit
LEAST = 1.0  # target of the ratio, peer / skvae, in every cell
FIT_MEDIAN, ANSWER_MEDIAN = 1.5, 1.2  # targets of the median over cells: of fits, of other calls
_N_WORST = 10
_N_QUICK = 6  # cells of a quick run
_SECONDS = 0.25  # of a cell's repeated calls; slower calls are made three times
_AGREE = 1e-3  # relative: contenders of one table must compute the same


class Contest(NamedTuple):
    """The same work by two libraries.

    Parameters
    ----------
    ours, theirs : callable
        Each does the work once and returns the result.
    summary : callable or None
        Returns numbers of a result, which must agree. None: the results cannot be compared.
    """

    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    summary: Callable[[Any], np.ndarray] | None = None


class Call(NamedTuple):
    """A call that is timed in every cell.

    Parameters
    ----------
    name, title : str
        In the name of the case, and in the heading.
    contest : callable
        ``contest(cell, settings)`` returns the Contest of a cell.
    median : float
        Target of the median ratio.
    """

    name: str
    title: str
    contest: Callable[[Any, Settings], Contest]
    median: float


@dataclass(frozen=True)
class Table:
    """Cells, and the work that is timed in each.

    Parameters
    ----------
    cells : sequence
        The problems; ``label(cell)`` is the text of one.
    contest : callable
        ``contest(cell, settings)`` returns the Contest of a cell.
    label : callable
    median : float or None
        Target of the median ratio. None: no target.
    n_threads : int
        With one thread processor time is measured, otherwise wall-clock time.
    """

    cells: Sequence[Any]
    contest: Callable[[Any, Settings], Contest]
    label: Callable[[Any], str]
    median: float | None = None
    n_threads: int = 1


class Timed(NamedTuple):
    label: str
    ours: Any
    theirs: Any
    ratio: float


def measure(table, settings):
    """Return the rows of a table: the median ratio, the smallest, and the worst cells."""
    if table.n_threads > _cores():
        return [[f"not measured: the run has {_cores()} thread", *[report.NOT_APPLICABLE] * 4]]
    cells = table.cells
    if settings.quick:
        cells = cells[:: -(-len(cells) // _N_QUICK)]
    # Two are the run's own threads: within a limit of the caller's, skvae could not set its own.
    one = threadpool_limits(1) if table.n_threads == 1 else nullcontext()
    with little_garbage(), warnings.catch_warnings(), one:
        # The number of iterations is fixed, and tiny data fit few components.
        warnings.simplefilter("ignore")
        timed = [_time(table, cell, settings) for cell in cells]
    return rows_of(timed, settings.judged(table.median), settings.judged(LEAST))


def rows_of(timed, median_target, least_target):
    """Return the rows of a table: a row of all cells, one of the smallest ratio, the worst cells.

    Parameters
    ----------
    timed : list of (label, Spread, Spread, float)
        Of each cell: its label, the seconds of skvae and of the peer, and their ratio.
    median_target, least_target : float or None
        Targets of the median and of the smallest ratio.
    """
    ratios = [cell.ratio for cell in timed]
    below = sum(ratio < LEAST for ratio in ratios)
    none = [report.NOT_APPLICABLE] * 2
    rows = [
        [
            f"all {len(timed)}: median",
            *none,
            f"{median(ratios):.2f}×",
            report.verdict(median(ratios), median_target, sign="≥", unit="×"),
        ],
        [
            f"all {len(timed)}: smallest, {below} below 1",
            *none,
            f"{min(ratios):.2f}×",
            report.verdict(min(ratios), least_target, sign="≥", unit="×"),
        ],
    ]
    for cell in sorted(timed, key=lambda cell: cell.ratio)[:_N_WORST]:
        times = report.duration(cell.ours), report.duration(cell.theirs)
        rows.append([cell.label, *times, f"{cell.ratio:.2f}×", report.NOT_APPLICABLE])
    return rows


def _time(table, cell, settings):
    label = table.label(cell)
    try:
        contest = table.contest(cell, settings)
        times, results = interleave_calls(
            {"ours": contest.ours, "theirs": contest.theirs},
            at_least=0.0 if settings.quick else _SECONDS,
            clock=time.process_time if table.n_threads == 1 else time.perf_counter,
        )
        if contest.summary is not None:
            ours, theirs = (np.asarray(contest.summary(results[who])) for who in times)
            if not np.allclose(ours, theirs, rtol=_AGREE, atol=_AGREE):
                raise RuntimeError(f"the peer comes to {theirs}, skvae to {ours}.")
    except Exception as error:
        error.add_note(f"in the cell {label}")
        raise
    ratio = times["theirs"].over(times["ours"]).median
    return Timed(label, times["ours"], times["theirs"], ratio)


def _cores():
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def mean_answer(answers):
    """Return the mean over rows of (n,) or (n, K) answers."""
    return np.mean(answers, axis=0, dtype=np.float64)


def sections(model, peer, sizes, label, method, calls, cells, *, variant="", n_threads=1):
    """Return a Section for each call, a table of all cells.

    Parameters
    ----------
    model, peer : str
        The names of the model and of the other library.
    sizes : str
        The sizes in the label of a cell.
    label : callable
        Returns the label of a cell.
    method : str
        A description of the measurement.
    calls : sequence of Call
        The calls to be timed.
    cells : sequence
        The problems.
    variant : str
        A word for the cells, such as "float32".
    n_threads : int
    """
    variant = variant or ("two-threads" if n_threads == 2 else "")
    threads = "One thread, seconds of processor time."
    if n_threads > 1:
        threads = f"{n_threads} threads, seconds of wall-clock time."
    return tuple(
        Section(
            name="grid",
            title=f"Grid: {model}, {call.title}{f', {variant}' if variant else ''}",
            method=(
                f"{method} {threads} A ratio is the median over interleaved calls. The first rows "
                f"are of all cells, the others the {_N_WORST} cells with the smallest ratios."
            ),
            columns=[f"cell: {sizes}", "skvae", peer, f"{peer} / skvae", "target"],
            cases={
                "-".join(filter(None, (variant, model, call.name))): Table(
                    cells, call.contest, label, call.median, n_threads
                )
            },
            measure=measure,
        )
        for call in calls
    )
