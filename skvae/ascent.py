"""The loop of every NumPy model: step, monitor, converge, restart, accelerate.

A step is a function ``parameters → (proposal, bound)``; the bound, in nats per row, belongs to the
parameters that went in. EM, MAP, coordinate ascent and memoized steps differ in their step only.
"""

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from skvae.stored_state import rebuilt


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
    n_steps : int
        How many steps were made: more than iterations where some are tried and discarded.
    before : float
        The bound one iteration before: what an ascent that goes on compares its first with.
    """

    parameters: Any
    bound: float
    bounds: list
    converged: bool
    n_steps: int = 0
    before: float = -np.inf

    @property
    def n_iter(self):
        """Return the number of iterations."""
        return len(self.bounds)


class Progress(NamedTuple):
    """How far an ascent has come: what its loop needs to go on.

    Parameters
    ----------
    parameters : Any
        The parameters after the last step.
    bounds : list of float
        The bounds after all iterations but the last, whose parameters were not evaluated yet.
    before : float
        The bound before the last step.
    converged : bool
        Whether it was the last one.
    """

    parameters: Any
    bounds: list
    before: float
    converged: bool


class Step:
    """Base of the steps: what is called in each iteration, and can be put down and taken up.

    Attributes
    ----------
    n_steps : int
        How many E steps with statistics were made.
    resizes : bool
        Whether parameters may get another number of components.
    """

    n_steps = 0
    resizes = False

    def state(self):
        """Return what the step remembers from one iteration to the next, of plain values."""
        return {"n_steps": self.n_steps}

    def restore(self, state, parameters):
        """Remember what another step did.

        Parameters
        ----------
        state : dict
            What :meth:`state` returned, as read from a file.
        parameters : Any
            The parameters that the next iteration begins with.

        Raises
        ------
        ValueError, KeyError
            It is none of such a step.
        """
        self.n_steps = rebuilt(0, state["n_steps"])


def ascend(
    step,
    evaluate,
    start,
    *,
    max_iter,
    tol,
    before=-np.inf,
    report=None,
    progress=None,
    keep=None,
):
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
        A bound to compare the start's with: ``before`` of an earlier ascent which is carried on.
    report : callable, optional
        Called as ``report(n_iter, bound, change)`` after each step; may raise to stop.
    progress : Progress, optional
        Of an ascent that was broken off: this one goes on from there.
    keep : callable, optional
        Called with the Progress after each step.

    Raises
    ------
    Collapse
        The step cannot go on, or its bound is not a number.
    """
    parameters, bounds, converged, done = start, [], False, 0
    if progress is not None:
        parameters, bounds, before, converged = progress
        bounds, done = list(bounds), len(bounds) + 1
    for n_iter in range(done + 1, 1 if converged else max_iter + 1):
        parameters, bound = step(parameters)
        if not np.isfinite(bound):
            raise Collapse(f"the lower bound became {bound} in iteration {n_iter}")
        if n_iter > 1:
            bounds.append(bound)
        if report is not None:
            report(n_iter, bound, bound - before)
        converged = bool(abs(bound - before) < tol)
        before = bound
        if keep is not None:
            keep(Progress(parameters, list(bounds), before, converged))
        if converged:
            break
    bound = evaluate(parameters)
    if max_iter > 0:
        bounds.append(bound)
    return Ascent(parameters, bound, bounds, converged, before=before)


class _Attempts:
    """When an extrapolation is worth its E step: after each failure it waits twice as long."""

    _LONGEST = 8

    def __init__(self):
        self._wait, self._penalty = 0, 1

    def due(self):
        """Return whether to try now; count down if not."""
        self._wait -= 1
        return self._wait < 0

    def record(self, success):
        """Take note of how the last try ended."""
        self._wait = 0 if success else self._penalty
        self._penalty = 1 if success else min(2 * self._penalty, self._LONGEST)

    def state(self):
        """Return when the next try is."""
        return self._wait, self._penalty

    def restore(self, state):
        """Make the next try when another would have made it."""
        self._wait, self._penalty = rebuilt((0, 0), state)


class AndersonStep(Step):
    """A step that extrapolates over the last ones and is never worse than the plain step.

    Two extrapolations are tried. Anderson's mixing of the fixed-point residuals (Walker & Ni, SIAM
    J. Numer. Anal. 49, 2011; for EM Henderson & Varadhan, J. Comput. Graph. Stat. 28, 2019) makes
    for the nearest fixed point. Where EM slowly leaves a saddle that point is behind it, and the
    step itself is lengthened instead, ever more as long as that helps (Salakhutdinov & Roweis, ICML
    2003). What is extrapolated is taken only if its bound is not below that of the plain proposal.

    Parameters
    ----------
    step : callable
        The plain step, ``parameters → (proposal, bound)``.
    pack : callable
        ``parameters → vector`` without constraints, in units in which changes compare.
    unpack : callable
        ``vector → parameters``; may raise Collapse.
    """

    _DEPTH = 6  # differences of residuals kept
    _DAMPING = (
        1e-8  # of their least-squares problem, relative to its largest singular value squared
    )

    def __init__(self, step, pack, unpack):
        self._step = step
        self._pack = pack
        self._unpack = unpack
        self._history = deque(maxlen=self._DEPTH + 1)
        self._known = (None, None)
        self._attempts = {"mix": _Attempts(), "stretch": _Attempts()}
        self._stretch = 1.0

    def __call__(self, parameters):
        """Return the next parameters, and the bound of the ones given."""
        (known, evaluated), self._known = self._known, (None, None)
        proposal, bound = evaluated if known is parameters else self._evaluate(parameters)
        kind, candidate = self._extrapolate()
        if candidate is None:
            return proposal, bound
        try:
            ahead = self._step(candidate)
        except Collapse:
            ahead = None
        if ahead is None or not ahead[1] > bound:
            self._record(kind, False)
            return proposal, bound
        plain = self._evaluate(proposal)
        success = ahead[1] >= plain[1]
        self._record(kind, success)
        if success:
            self._remember(candidate, ahead[0])
        self._known = (candidate, ahead) if success else (proposal, plain)
        return self._known[0], bound

    def state(self):
        """Return the history, when the next tries are, and the state of the plain step."""
        _, evaluated = self._known
        return {
            "step": self._step.state(),
            "history": list(self._history),
            "ahead": evaluated,
            "attempts": {kind: tries.state() for kind, tries in self._attempts.items()},
            "stretch": self._stretch,
        }

    def restore(self, state, parameters):
        """Remember what another step did; see :meth:`Step.restore`."""
        self._step.restore(state["step"], parameters)
        vector = self._pack(parameters)
        pairs = [rebuilt((vector, vector), pair) for pair in state["history"]]
        self._history = deque(pairs, maxlen=self._DEPTH + 1)
        if state["ahead"] is not None:
            self._known = parameters, rebuilt((parameters, 0.0), state["ahead"])
        for kind, tries in self._attempts.items():
            tries.restore(state["attempts"][kind])
        self._stretch = rebuilt(0.0, state["stretch"])

    def _evaluate(self, parameters):
        proposal, bound = self._step(parameters)
        self._remember(parameters, proposal)
        return proposal, bound

    def _remember(self, parameters, proposal):
        vector, image = self._pack(parameters), self._pack(proposal)
        if np.isfinite(vector).all() and np.isfinite(image).all():
            self._history.append((image, image - vector))
        else:
            self._history.clear()

    def _record(self, kind, success):
        self._attempts[kind].record(success)
        if kind == "stretch":
            self._stretch = 2 * self._stretch if success else max(1.0, self._stretch / 2)

    def _extrapolate(self):
        """Return (kind, parameters) of an extrapolation that is due, or (None, None)."""
        for kind, move in (("mix", self._mixed), ("stretch", self._stretched)):
            if len(self._history) < 3 or not self._attempts[kind].due():
                continue
            vector = move()
            if vector is not None:
                try:
                    return kind, self._unpack(vector)
                except Collapse:
                    self._record(kind, False)
        return None, None

    def _stretched(self):
        image, residual = self._history[-1]
        return image + self._stretch * residual

    def _mixed(self):
        images, residuals = (np.array(column) for column in zip(*self._history, strict=True))
        left, values, right = np.linalg.svd(np.diff(residuals, axis=0).T, full_matrices=False)
        damped = values**2 + self._DAMPING * values[0] ** 2
        if not values[0] > 0:
            return None
        mixing = right.T @ (left.T @ residuals[-1] * values / damped)
        change = -mixing @ np.diff(images, axis=0)
        # A change against the step leads back to a saddle that EM is leaving.
        return images[-1] + change if change @ residuals[-1] > 0 else None


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
