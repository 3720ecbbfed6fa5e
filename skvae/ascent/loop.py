"""The loop of every NumPy model: step, monitor, converge.

A step is a function ``parameters → (proposal, bound)``; the bound, in nats per row, belongs to the
parameters that went in. EM, MAP, coordinate ascent and memoized steps differ in their step only.
"""

from typing import Any, NamedTuple

import numpy as np

from skvae.storage import rebuilt


class Collapse(ArithmeticError):
    """Raised by a step that cannot continue: the bound has no maximum in that direction.

    Parameters
    ----------
    reason : str
        The reason, in words.
    remedy : str, optional
        The advice to the user; None is the estimator's advice for components that are too narrow.
    """

    def __init__(self, reason, remedy=None):
        super().__init__(reason)
        self.remedy = remedy


class Ascent(NamedTuple):
    """The result of an ascent.

    Parameters
    ----------
    parameters : Any
        The last parameters.
    bound : float
        Their bound, in nats per row.
    bounds : list of float
        The bound after each iteration; the last is ``bound``.
    converged : bool
        Whether a change below ``tol`` ended the ascent.
    n_steps : int
        The number of steps, including those whose result was discarded.
    before : float
        The bound one iteration earlier: a warm start with the same objective compares its first
        bound with it.
    """

    parameters: Any
    bound: float
    bounds: list
    converged: bool
    n_steps: int = 0
    before: float = -np.inf


class Earlier(NamedTuple):
    """The end of an earlier fit, from which a warm start continues.

    Parameters
    ----------
    parameters : Any
        The fitted parameters.
    before : float
        The bound one iteration before them.
    comparable : bool
        Whether the objective is the same in both fits: the same data, priors, floors and zeros.
    """

    parameters: Any
    before: float = -np.inf
    comparable: bool = False


class Progress(NamedTuple):
    """The state of a running ascent: all that its loop needs to continue.

    Parameters
    ----------
    parameters : Any
        The parameters after the last step.
    bounds : list of float
        The bounds after all iterations but the last, whose parameters were not evaluated yet.
    before : float
        The bound before the last step; −inf if it belongs to another objective.
    converged : bool
        Whether the last step met ``tol``, so that the ascent ends.
    """

    parameters: Any
    bounds: list
    before: float
    converged: bool


class Step:
    """Base of the steps: called in each iteration, with a state that can be stored and restored.

    A subclass has ``__call__(parameters)``, which returns the next parameters and the bound of the
    given ones, and ``evaluate(parameters)``, which returns the bound of the given ones alone.

    Attributes
    ----------
    n_steps : int
        The number of E steps with statistics so far.
    """

    n_steps = 0

    def state(self):
        """Return everything that one iteration leaves for the next, as plain values."""
        return {"n_steps": self.n_steps}

    def read(self, start, tree):
        """Return the stored parameters of an iteration; raise ValueError unless they are such.

        Parameters
        ----------
        start : Any
            The first parameters.
        tree : object
            The parameters as read from a file.
        """
        return rebuilt(start, tree)

    def restore(self, state, parameters):
        """Restore a stored state.

        Parameters
        ----------
        state : dict
            The result of :meth:`state`, as read from a file.
        parameters : Any
            The parameters of the next iteration.

        Raises
        ------
        ValueError, KeyError
            The state does not belong to such a step.
        """
        self.n_steps = rebuilt(0, state["n_steps"])


def ascend(
    step, start, *, max_iter, tol, before=-np.inf, comparable=True, resume=None, observers=()
):
    """Return the Ascent of a bound from a start.

    Parameters
    ----------
    step : Step
        ``parameters → (proposal, bound of the parameters)``.
    start : Any
        The first parameters.
    max_iter : int
        The largest number of iterations; 0 returns the start with its bound.
    tol : float
        The ascent has converged when two successive bounds differ by less than this.
    before : float
        The bound that precedes the start's: ``Ascent.before`` of an earlier ascent to the start.
    comparable : bool
        Whether the start may be compared with the next parameters. It may not if it was fitted to
        another objective: it can have a larger bound than any parameters that the step allows.
    resume : Progress, optional
        The state of an interrupted ascent, which this one continues.
    observers : sequence of callable
        Each is called as ``observer(progress, change)`` after every step, with the Progress and the
        change of the bound. An exception from an observer ends the ascent.

    Raises
    ------
    Collapse
        The step cannot continue, or its bound is not a number.
    """
    parameters, bounds, converged, done = start, [], False, 0
    if resume is not None:
        parameters, bounds, before, converged = resume
        bounds, done = list(bounds), len(bounds) + 1
    for n_iter in range(done + 1, 1 if converged else max_iter + 1):
        parameters, bound = step(parameters)
        foreign = n_iter == 1 and not comparable
        if not (np.isfinite(bound) or (foreign and bound == -np.inf)):
            raise Collapse(f"the lower bound became {bound} in iteration {n_iter}")
        if n_iter > 1:
            bounds.append(bound)
        change, before = (np.inf, -np.inf) if foreign else (bound - before, bound)
        converged = bool(abs(change) < tol)
        for observe in observers:
            observe(Progress(parameters, list(bounds), bound, converged), change)
        if converged:
            break
    bound = step.evaluate(parameters)
    if max_iter > 0:
        bounds.append(bound)
    return Ascent(parameters, bound, bounds, converged, step.n_steps, before)
