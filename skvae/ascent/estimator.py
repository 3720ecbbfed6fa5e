"""Base of the estimators that learn by an ascent: parameter checks, fitted attributes, warnings."""

import warnings
from contextlib import contextmanager, nullcontext
from numbers import Integral, Real

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skvae.ascent.checkpoint import check_path, digest_of_state, resumable, settings_of
from skvae.ascent.loop import Collapse, Earlier
from skvae.base import LatentVariableModel
from skvae.gaussian.covariance import STRUCTURES
from skvae.initialization import INIT_PARAMS, start_in_order
from skvae.validation import (
    LARGEST_FLOOR,
    check_as_fitted,
    check_choice,
    check_number,
    check_random,
    same_value,
)

# Parameters that do not change the result of a fit, or are part of a checkpoint's identity already.
_NOT_IN_IDENTITY = (
    "checkpoint",
    "inference",
    "n_jobs",
    "random_state",
    "total_samples",
    "verbose",
    "verbose_interval",
    "warm_start",
)
# Parameters that change the way of an ascent, but not its objective.
_NOT_IN_OBJECTIVE = (
    *_NOT_IN_IDENTITY,
    "acceleration",
    "init_params",
    "max_iter",
    "n_init",
    "tol",
)

_SHARE_KEPT = 0.33  # of the weight of a row in an earlier batch


class AscentEstimator(LatentVariableModel):
    """An estimator that fits its parameters by an ascent of a bound from ``n_init`` starts.

    A subclass has ``_remedies()``, the advice to a user when every start fails, and
    ``_parameters()``, the fitted parameters as a value.
    """

    _method = "EM"
    _of_the_start = ()  # parameters of the constructor that decide how a fit starts, and no more
    _started_from = None  # their values then; models of earlier versions have none
    _forgotten = 0.0  # the part of n_samples_seen_ that does not count beside a batch
    _bound_before = -float("inf")  # the bound one iteration before lower_bound_
    _objective = None  # a digest of the objective of lower_bound_; None if it was not recorded

    def _check_parameters(self):
        """Raise ValueError if a parameter that all such estimators share is not valid."""
        check_number("n_components", self.n_components, Integral, 1)
        check_number("tol", self.tol, Real, 0)
        check_number("max_iter", self.max_iter, Integral, 0)
        check_number("n_init", self.n_init, Integral, 1)
        if hasattr(self, "init_params"):
            given = self.init_params
            if isinstance(given, str) or not (callable(given) or hasattr(given, "__len__")):
                check_choice("init_params", given, INIT_PARAMS)
        check_choice("warm_start", self.warm_start, (True, False))
        check_random("random_state", self.random_state)
        check_number("verbose", self.verbose, Integral, 0, flags=True)
        check_number("verbose_interval", self.verbose_interval, Integral, 1)
        jobs = 1 if self.n_jobs is None else self.n_jobs
        if isinstance(jobs, bool) or not isinstance(jobs, Integral) or jobs == 0:
            raise ValueError(f"n_jobs={self.n_jobs!r}: must be None or an integer other than 0")
        if self.checkpoint is not None:
            check_path("checkpoint", self.checkpoint)
        if hasattr(self, "covariance_type"):
            check_choice("covariance_type", self.covariance_type, tuple(STRUCTURES))
        if hasattr(self, "reg_covar"):
            check_number("reg_covar", self.reg_covar, Real, 0, LARGEST_FLOOR)
        if hasattr(self, "acceleration"):
            check_choice("acceleration", self.acceleration, (None, "anderson"))

    @contextmanager
    def _learning(self, where="", *, resumes=False):
        """Keep the earlier fit if learning fails; turn a Collapse into a ValueError with advice.

        With ``resumes`` and a path in ``checkpoint`` it yields the Checkpoint of the fit, otherwise
        None. ``where`` follows "failed" in the error text.
        """
        resumes = resumes and self.checkpoint is not None
        with self._unchanged_on_failure():
            try:
                with resumable(self.checkpoint) if resumes else nullcontext() as checkpoint:
                    yield checkpoint
            except Collapse as collapse:
                remedy = collapse.remedy or self._remedies()
                text = f"{self._method} failed{where}: {collapse}. {remedy}."
                raise ValueError(text) from collapse

    def _objective_of(self, data):
        """Return a digest of the objective: the parameters that shape it, and ``data()``.

        None if a parameter cannot be compared. A warm start compares its first bound with the last
        one of the earlier fit only if both have the same digest.
        """
        try:
            settings = settings_of(self, without=_NOT_IN_OBJECTIVE)
        except TypeError:
            return None
        return digest_of_state({**settings, **data()})["digest"]

    def _earlier_fit(self, parameters, objective):
        """Return the Earlier fit with the fitted parameters, for a warm start."""
        same = objective is not None and objective == self._objective
        return Earlier(parameters, self._bound_before, True) if same else Earlier(parameters)

    def _open(self, checkpoint, earlier, data):
        """Open the Checkpoint of a fit; return the random state from which the fit starts.

        Parameters
        ----------
        checkpoint : Checkpoint
            The checkpoint.
        earlier : Earlier or None
            The earlier fit, for a warm start.
        data : callable
            ``() → dict``, the identity of the data: :func:`skvae.ascent.checkpoint.data_of` of it.
        """

        def identity():
            settings = settings_of(self, without=_NOT_IN_IDENTITY)
            return {
                "estimator": type(self).__name__,
                **settings,
                "earlier fit": earlier and digest_of_state(earlier),
                **data(),
            }

        return checkpoint.open(identity, self.random_state)

    def _record(self, ascent, collapses, objective=None, notes=()):
        """Set the attributes that describe a fit; warn of collapses and of no convergence.

        ``notes`` are the texts of further warnings.
        """
        self._bound_before, self._objective = ascent.before, objective
        self.lower_bound_ = ascent.bound
        self.lower_bounds_ = ascent.bounds
        self.n_iter_ = len(ascent.bounds)
        self.n_e_steps_ = ascent.n_steps
        self.converged_ = ascent.converged
        if collapses:
            warnings.warn(
                f"{len(collapses)} of the runs of {self._method} collapsed and were repeated from "
                f"another start, the last because {collapses[-1]}. {self._remedies()} to avoid "
                "this.",
                ConvergenceWarning,
                stacklevel=3,
            )
        for text in notes:
            warnings.warn(text, ConvergenceWarning, stacklevel=3)
        if not ascent.converged and self.max_iter > 0:
            faster = ", or try acceleration='anderson'" if hasattr(self, "acceleration") else ""
            warnings.warn(
                f"{self._method} did not converge within max_iter={self.max_iter} iterations "
                f"(tol={self.tol}). Raise max_iter or tol{faster}.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _record_batch(self, bound):
        """Set the attributes that describe a fit after a batch of ``partial_fit``."""
        self._objective = None  # bounds of different rows cannot be compared
        first = not hasattr(self, "n_iter_")
        self.n_iter_ = 1 if first else self.n_iter_ + 1
        self.n_e_steps_ = 1 if first else self.n_e_steps_ + 1
        self.lower_bound_ = bound
        self.lower_bounds_ = [bound] if first else [*self.lower_bounds_, bound]
        self.converged_ = False

    # Continuing from an earlier fit ------------------------------------------------------------

    def _remember_fit(self, weight, *, warm=False):
        """Note the weight of the rows of a fit, and the parameters of its start."""
        self.n_samples_seen_ = weight
        self._forgotten = 0.0
        if not warm:
            self._started_from = {}
            for name in self._of_the_start:
                value = getattr(self, name)
                numbers = isinstance(value, np.ndarray) and value.dtype.kind in "biuf"
                kept = value.copy() if numbers else np.array(value, dtype=object).tolist()
                self._started_from[name] = kept

    def _start_in_order(self, order):
        """Bring a given start, labels or responsibilities, into another order of components."""
        if self.n_components == len(order):  # moves may change the number
            self.init_params = start_in_order(self.init_params, order)
            if "init_params" in (self._started_from or {}):
                before = self._started_from["init_params"]
                self._started_from["init_params"] = start_in_order(before, order)

    def _remember_batch(self, weight, before):
        """Note the weight of the rows of a batch, and that of all rows beside the next one."""
        self.n_samples_seen_ = getattr(self, "n_samples_seen_", 0.0) + weight
        self._forgotten = self.n_samples_seen_ - (before + _SHARE_KEPT * weight)

    def _weight_before(self, weight):
        """Return the weight of the rows so far beside a batch of some weight.

        Rows of ``fit`` count in full. Rows of batches count a third in later ones: the first had
        poor parameters, and have to be forgotten. With equal batches the rate is 3 / (t + 3). An
        error of which a step of EM corrects the share λ decays as t^−3λ, instead of t^−λ at the
        rate 1 / (t + 1) of a plain mean; the variance of the statistics is 9/5 of that of a mean.
        Stepwise EM's rates t^−κ, κ < 1, remember only about t^κ batches, and one row of a long
        stream of single rows as much as of a short one.
        """
        seen = getattr(self, "n_samples_seen_", 0.0)
        before = max(seen - self._forgotten, _SHARE_KEPT * seen)
        if before > 0:
            return before
        # Parameters from elsewhere or of an earlier version count as in stepwise EM: the number of
        # their rows is not known.
        rate = (self.n_iter_ + 2.0) ** -0.7
        return weight * (1.0 - rate) / rate

    def _check_start_as_before(self, why):
        """Raise ValueError if a parameter of the start was changed after the start."""
        for name, before in (self._started_from or {}).items():
            now = getattr(self, name)
            if not (now is None or (name == "n_init" and now == 1)):
                check_as_fitted(name, now, before, why, same_value)


def text_of_floor(found, noun, floor):
    """Return the text of the warning that covariances are on their floor."""
    listed = " and of ".join(map(str, found[:3])) + (" and of others" if len(found) > 3 else "")
    return (
        f"The covariance of {noun} {listed} is on its floor ({floor}): the rows are alike in some "
        "direction, and the bound depends on the floor. Raise reg_covar, lower n_components, or "
        "choose a simpler covariance_type."
    )


def text_of_empty(noun, n_empty, n_components, why="X has too few distinct rows"):
    """Return the text of the warning that components, or states, had no rows at a start."""
    return (
        f"{n_empty} of the {n_components} {noun} had no rows at a start, because {why}, "
        "and began at rows drawn at random. Lower n_components "
        f"(now {n_components})."
    )
