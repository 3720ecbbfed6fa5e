"""Acceleration of an ascent: extrapolation over its last steps."""

from collections import deque

import numpy as np

from skvae.ascent.loop import Collapse, Step
from skvae.storage import rebuilt


class _Attempts:
    """Decides when an extrapolation is tried: after each failure it waits twice as long."""

    _LONGEST = 8

    def __init__(self):
        self._wait, self._penalty = 0, 1

    def due(self):
        """Return whether to try now; count down if not."""
        self._wait -= 1
        return self._wait < 0

    def record(self, success):
        """Record whether the last try succeeded."""
        self._wait = 0 if success else self._penalty
        self._penalty = 1 if success else min(2 * self._penalty, self._LONGEST)

    def state(self):
        """Return the wait until the next try, and the wait after a failure."""
        return self._wait, self._penalty

    def restore(self, state):
        """Restore a stored state."""
        self._wait, self._penalty = rebuilt((0, 0), state)


class AndersonStep(Step):
    """A step that extrapolates over the last steps and is never worse than the plain step.

    Two extrapolations are tried. Anderson's mixing of the fixed-point residuals (Walker & Ni, SIAM
    J. Numer. Anal. 49, 2011; for EM Henderson & Varadhan, J. Comput. Graph. Stat. 28, 2019) moves
    towards the nearest fixed point. Where EM slowly leaves a saddle, that point lies behind it, and
    the step itself is lengthened instead, more and more as long as that helps (Salakhutdinov &
    Roweis, ICML 2003). An extrapolation is accepted only if its bound is not below that of the
    plain proposal.

    Parameters
    ----------
    step : Step
        The plain step, ``parameters → (proposal, bound)``.
    coordinates : object
        ``pack(parameters)`` returns a vector without constraints, whose entries have comparable
        units; ``unpack(vector)`` returns the parameters, and may raise Collapse.
    """

    _DEPTH = 6  # differences of residuals that are kept
    # Of the least-squares problem, relative to the square of its largest singular value.
    _DAMPING = 1e-8

    def __init__(self, step, coordinates):
        self._step = step
        self._pack = coordinates.pack
        self._unpack = coordinates.unpack
        self.evaluate = step.evaluate
        self._history = deque(maxlen=self._DEPTH + 1)
        self._known = (None, None)
        self._attempts = {"mix": _Attempts(), "stretch": _Attempts()}
        self._stretch = 1.0

    def __call__(self, parameters):
        """Return the next parameters, and the bound of the given ones."""
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

    @property
    def n_steps(self):
        """Return the number of E steps, which includes those of discarded extrapolations."""
        return self._step.n_steps

    def state(self):
        """Return the history, the waits of both extrapolations, and the plain step's state."""
        _, evaluated = self._known
        return {
            "step": self._step.state(),
            "history": list(self._history),
            "ahead": evaluated,
            "attempts": {kind: tries.state() for kind, tries in self._attempts.items()},
            "stretch": self._stretch,
        }

    def restore(self, state, parameters):
        """Restore a stored state; see :meth:`skvae.ascent.loop.Step.restore`."""
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
        """Return (kind, parameters) of the extrapolation to try now, or (None, None)."""
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
        # A change against the direction of the step leads back to a saddle that EM is leaving.
        return images[-1] + change if change @ residuals[-1] > 0 else None
