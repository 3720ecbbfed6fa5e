"""The search over starts."""

import threading
from concurrent.futures import ThreadPoolExecutor

from skvae.ascent.loop import Collapse


def best_ascent(draw, run, n_init, *, n_jobs=1, n_attempts=3):
    """Return the Ascent with the highest bound over several starts, and the collapses on the way.

    Starts are drawn one after the other, so they do not depend on ``n_jobs``; a run that collapses
    is made again from a new start, up to ``n_attempts`` times.

    Parameters
    ----------
    draw : callable
        ``() → start``; may raise Collapse.
    run : callable
        ``(start, stop) → Ascent``; ``stop`` is a threading.Event after which it should give up.
    n_init : int
        The number of runs.
    n_jobs : int
        How many of them at a time, in threads.
    n_attempts : int
        How many starts a run may use.

    Returns
    -------
    best : Ascent
        The earliest of the best.
    collapses : list of str
        What went wrong in runs that were made again.

    Raises
    ------
    Collapse
        No run came to its end.
    """
    ascents, collapses, due = [], [], n_init
    for _ in range(n_attempts):
        failed = 0
        starts = []
        for _ in range(due):
            try:
                starts.append(draw())
            except Collapse as collapse:
                collapses.append(str(collapse))
                failed += 1
        for outcome in _run_all(run, starts, n_jobs):
            if isinstance(outcome, Collapse):
                collapses.append(str(outcome))
                failed += 1
            else:
                ascents.append(outcome)
        due = failed
        if not due:
            break
    if not ascents:
        raise Collapse(collapses[-1])
    return max(ascents, key=lambda ascent: ascent.bound), collapses


def _run_all(run, starts, n_jobs):
    """Return the outcome of each run in order: an Ascent or the Collapse that ended it."""
    stop = threading.Event()

    def attempt(start):
        try:
            return run(start, stop)
        except Collapse as collapse:
            return collapse

    if n_jobs == 1 or len(starts) <= 1:
        return [attempt(start) for start in starts]
    with ThreadPoolExecutor(min(n_jobs, len(starts)), thread_name_prefix="skvae") as executor:
        try:
            return list(executor.map(attempt, starts))
        except BaseException:
            stop.set()
            raise
