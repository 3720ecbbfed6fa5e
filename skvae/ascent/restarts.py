"""The search over starts: one ascent from each start, of which the best is kept."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from math import inf
from operator import attrgetter

from joblib import effective_n_jobs
from sklearn.utils import check_random_state

from skvae.ascent.anderson import AndersonStep
from skvae.ascent.loop import Ascent, Collapse, ascend
from skvae.blocks import workers
from skvae.progress import SearchBar

_ATTEMPTS = 3  # starts that one run may use up


def search(problem, settings, random_state, pool, checkpoint=None):
    """Return the Ascent with the highest bound over several starts, and the collapses on the way.

    Starts are drawn one after the other, so they do not depend on ``n_jobs``. A run that collapses
    is repeated from a new start.

    Parameters
    ----------
    problem : object
        The model and its data. ``first(rng)`` returns the parameters of a new start and may raise
        Collapse; ``step(pool, number)`` returns the Step of a run; ``coordinates(parameters)``
        returns an object with ``pack`` and ``unpack`` for :class:`AndersonStep`; ``earlier`` is
        None or, for a warm start, the :class:`skvae.ascent.loop.Earlier` fit.
    settings : estimator
        Its parameters ``n_init``, ``n_jobs``, ``max_iter``, ``tol``, ``verbose``,
        ``verbose_interval`` and ``acceleration``, which it may lack, are read.
    random_state : int, RandomState or None
        Source of the starts.
    pool : Workers
        The threads, which are shared out among the runs.
    checkpoint : Checkpoint, optional
        The checkpoint of the fit, opened before.

    Returns
    -------
    best : Ascent
        The first of those with the highest bound.
    collapses : list of str
        The reasons of the runs that were repeated.

    Raises
    ------
    Collapse
        Every run collapsed.
    """
    rng = check_random_state(random_state)
    n_init, limits = settings.n_init, {"max_iter": settings.max_iter, "tol": settings.tol}
    if problem.earlier is not None:
        n_init = 1
        _, limits["before"], limits["comparable"] = problem.earlier
    n_jobs = 1 if n_init == 1 else min(effective_n_jobs(settings.n_jobs), n_init)
    n_threads = max(1, pool.n_threads // n_jobs)
    stop, shown = threading.Event(), None
    if settings.verbose == 1:
        shown = SearchBar(n_init, settings.max_iter, settings.verbose_interval)

    def run(number, start):
        """Return the Ascent of one run, or the Collapse that ended it."""
        with nullcontext(pool) if n_jobs == 1 else workers(n_threads) as own:
            step = problem.step(own, number)
            if getattr(settings, "acceleration", None) == "anderson":
                step = AndersonStep(step, problem.coordinates(start))
            observers = [] if n_jobs == 1 else [_end_if(stop)]
            if settings.verbose:
                observers.append(_print(number) if shown is None else shown.observer(number))
            stored = None
            if checkpoint is not None:
                stored = checkpoint.found(number, start, step)
                observers.append(checkpoint.observer(number, step))
            outcome = stored
            if not isinstance(stored, Ascent | Collapse):
                try:
                    outcome = ascend(step, start, **limits, resume=stored, observers=observers)
                except Collapse as collapse:
                    outcome = collapse
                if checkpoint is not None:
                    checkpoint.record(number, outcome)
            if shown is not None:
                shown.end(number, outcome)
            return outcome

    ascents, collapses, missing, number = [], [], n_init, 0
    with shown or nullcontext():
        for _ in range(_ATTEMPTS):
            starts, outcomes = [], []
            for _ in range(missing):
                number += 1
                try:
                    earlier = problem.earlier
                    first = problem.first(rng) if earlier is None else earlier.parameters
                    starts.append((number, first))
                except Collapse as collapse:
                    outcomes.append(collapse)
            if n_jobs == 1 or len(starts) < 2:
                for start in starts:
                    outcomes.append(run(*start))  # noqa: PERF401 (a comprehension is one more frame)
            else:
                outcomes += _in_threads(run, starts, n_jobs, stop)
            missing = 0
            for outcome in outcomes:
                if isinstance(outcome, Ascent):
                    ascents.append(outcome)
                else:
                    collapses.append(outcome)
                    missing += 1
            if not missing:
                break
    if not ascents:
        raise collapses[-1]
    return max(ascents, key=attrgetter("bound")), list(map(str, collapses))


def _in_threads(run, starts, n_jobs, stop):
    """Return the outcomes of the runs, ``n_jobs`` at a time; a failure stops all of them."""
    with ThreadPoolExecutor(min(n_jobs, len(starts)), thread_name_prefix="skvae") as executor:
        try:
            return list(executor.map(run, *zip(*starts, strict=True)))
        except BaseException:
            stop.set()
            raise


def _end_if(stop):
    """Return an observer that ends the ascent once the event ``stop`` is set."""

    def observe(_progress, _change):
        if stop.is_set():
            raise KeyboardInterrupt

    return observe


def _print(number):
    """Return an observer that prints the bound of each iteration of a start."""

    def observe(progress, change):
        n_iter = len(progress.bounds) + 1
        gain = "" if n_iter == 1 or change == inf else f" ({change:+.3e})"
        line = f"start {number}, iteration {n_iter}: lower bound {progress.before:.6f}{gain}"
        print(line)  # noqa: T201 (verbose)

    return observe
