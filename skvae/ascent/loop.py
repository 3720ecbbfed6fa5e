"""The loop of every NumPy model: step, monitor, converge, restart, accelerate.

A step is a function ``parameters → (proposal, bound)``; the bound, in nats per row, belongs to the
parameters that went in. EM, MAP, coordinate ascent and memoized steps differ in their step only.
"""

from typing import Any, NamedTuple

import numpy as np

from skvae.storage import rebuilt


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
