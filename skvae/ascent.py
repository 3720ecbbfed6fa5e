"""The loop of every NumPy model: step, monitor, converge, restart, accelerate.

A step is a function ``parameters → (proposal, bound)``; the bound, in nats per row, belongs to the
parameters that went in. EM, MAP, coordinate ascent and memoized steps differ in their step only.
"""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np


class Collapse(ArithmeticError):
    """Raised by a step that cannot go on: the bound has no maximum where it leads."""


class Ascent(NamedTuple):
    """What an ascent found.

    Parameters
    ----------
    parameters : Any
        The parameters reached.
    bound : float
        Their bound, in nats per row.
    bounds : list of float
        The bound after each iteration; the last is ``bound``.
    converged : bool
        Whether a change below ``tol`` ended the ascent.
    """

    parameters: Any
    bound: float
    bounds: list
    converged: bool

    @property
    def n_iter(self):
        """Return the number of iterations."""
        return len(self.bounds)


def ascend(step, evaluate, start, *, max_iter, tol, before=-np.inf, report=None):
    """Return the Ascent of a bound from a start.

    Parameters
    ----------
    step : callable
        ``parameters → (proposal, bound of the parameters)``.
    evaluate : callable
        ``parameters → bound``, for the last ones.
    start : Any
        The first parameters.
    max_iter : int
        The largest number of iterations; 0 returns the start with its bound.
    tol : float
        The ascent has converged when a bound is less than this above the one before it.
    before : float
        A bound to compare the start's with: that of an earlier ascent which is carried on.
    report : callable, optional
        Called as ``report(n_iter, bound, change)`` after each step; may raise to stop.

    Raises
    ------
    Collapse
        The step cannot go on, or its bound is not a number.
    """
    parameters, bounds, converged = start, [], False
    for n_iter in range(1, max_iter + 1):
        parameters, bound = step(parameters)
        if not np.isfinite(bound):
            raise Collapse(f"the lower bound became {bound} in iteration {n_iter}")
        if n_iter > 1:
            bounds.append(bound)
        if report is not None:
            report(n_iter, bound, bound - before)
        converged = bool(abs(bound - before) < tol)
        if converged:
            break
        before = bound
    bound = evaluate(parameters)
    if max_iter > 0:
        bounds.append(bound)
    return Ascent(parameters, bound, bounds, converged)


class AndersonStep:
    """A step that extrapolates over the last ones and is never worse than the plain step.

    Anderson's mixing of the fixed-point residuals (Walker & Ni, SIAM J. Numer. Anal. 49, 2011;
    Henderson & Varadhan, J. Comput. Graph. Stat. 28, 2019) with a damped least-squares problem.
    The extrapolated parameters are taken only if their bound is not below that of the plain
    proposal; the history is dropped when they are not.

    Parameters
    ----------
    step : callable
        The plain step, ``parameters → (proposal, bound)``.
    pack : callable
        ``parameters → vector`` without constraints, in units in which changes compare.
    unpack : callable
        ``vector → parameters``.
    depth : int
        How many residual differences are kept.

    Attributes
    ----------
    n_steps : int
        How many plain steps were made.
    """

    def __init__(self, step, pack, unpack, *, depth=10):
        self._step = step
        self._pack = pack
        self._unpack = unpack
        self._depth = depth
        self._history = deque(maxlen=depth + 1)
        self._known = (None, None)
        self.n_steps = 0

    def __call__(self, parameters):
        """Return the next parameters and the bound of these."""
        known, evaluated = self._known
        proposal, bound = evaluated if known is parameters else self._evaluate(parameters)
        candidate = self._extrapolate()
        if candidate is None:
            return proposal, bound
        try:
            ahead = self._evaluate(candidate, remember=False)
        except (Collapse, np.linalg.LinAlgError):
            ahead = None
        if ahead is None or not ahead[1] > bound:
            self._history.clear()
            return proposal, bound
        plain = self._evaluate(proposal)
        if ahead[1] >= plain[1]:
            self._remember(candidate, ahead[0])
            self._known = (candidate, ahead)
            return candidate, bound
        self._history.clear()
        self._remember(proposal, plain[0])
        self._known = (proposal, plain)
        return proposal, bound

    def _evaluate(self, parameters, remember=True):
        self.n_steps += 1
        proposal, bound = self._step(parameters)
        if remember:
            self._remember(parameters, proposal)
        return proposal, bound

    def _remember(self, parameters, proposal):
        vector, image = self._pack(parameters), self._pack(proposal)
        if np.isfinite(vector).all() and np.isfinite(image).all():
            self._history.append((image, image - vector))
        else:
            self._history.clear()

    def _extrapolate(self):
        """Return the extrapolation from the history, or None where there is too little."""
        if len(self._history) < 3:
            return None
        images, residuals = (np.array(column) for column in zip(*self._history, strict=True))
        changes = np.diff(residuals, axis=0)
        gram = changes @ changes.T
        damping = 1e-10 * np.trace(gram)
        if not damping > 0:
            return None
        mixing = np.linalg.solve(gram + damping * np.eye(len(gram)), changes @ residuals[-1])
        return self._unpack(images[-1] - mixing @ np.diff(images, axis=0))


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
