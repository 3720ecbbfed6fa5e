"""What estimators that learn by an ascent share: its parameters, restarts, progress, warnings."""

import warnings
from contextlib import contextmanager
from itertools import count
from numbers import Integral, Real

from joblib import effective_n_jobs
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from skvae.ascent.anderson import AndersonStep
from skvae.ascent.checkpoint import check_path, data_of, digest_of_state, settings_of
from skvae.ascent.loop import Collapse, ascend
from skvae.ascent.restarts import best_ascent
from skvae.base import LatentVariableModel
from skvae.blocks import workers
from skvae.initialization import INIT_PARAMS
from skvae.validation import LARGEST_FLOOR, check_choice, check_number, check_random

# Parameters that decide nothing of a fit's answer, or stand elsewhere in what a checkpoint is of.
_NOT_OF_THE_ANSWER = (
    "checkpoint",
    "inference",
    "n_jobs",
    "random_state",
    "total_samples",
    "verbose",
    "verbose_interval",
    "warm_start",
)


class AscentLearner(LatentVariableModel):
    """An estimator that fits its parameters by climbing a bound from ``n_init`` starts.

    A subclass says in ``_remedies`` what a user may change when every start fails.
    """

    _method = "EM"
    _bound_before = -float("inf")  # the lower bound, one iteration before that of the last fit

    def _check_ascent(self):
        """Raise ValueError if a parameter that all such estimators have is not usable."""
        check_number("n_components", self.n_components, Integral, 1)
        check_number("tol", self.tol, Real, 0)
        check_number("max_iter", self.max_iter, Integral, 0)
        check_number("n_init", self.n_init, Integral, 1)
        check_choice("init_params", self.init_params, INIT_PARAMS)
        check_choice("warm_start", self.warm_start, (True, False))
        check_random("random_state", self.random_state)
        check_number("verbose", self.verbose, Integral, 0, flags=True)
        check_number("verbose_interval", self.verbose_interval, Integral, 1)
        jobs = 1 if self.n_jobs is None else self.n_jobs
        if isinstance(jobs, bool) or not isinstance(jobs, Integral) or jobs == 0:
            raise ValueError(f"n_jobs={self.n_jobs!r}: must be None or an integer other than 0")
        check_path("checkpoint", self.checkpoint)

    def _goes_on(self):
        """Return whether ``fit`` goes on from an earlier one."""
        return self.warm_start and hasattr(self, "converged_")

    def _open(self, record, X, summary, total, **beside):
        """Return the random state of a fit, whose Checkpoint is opened.

        The arguments after the Checkpoint are those of :func:`skvae.ascent.checkpoint.data_of`.
        """

        def identity():
            settings = settings_of(self, without=_NOT_OF_THE_ANSWER)
            earlier = (self._parameters(), self._bound_before) if self._goes_on() else None
            return {
                "estimator": type(self).__name__,
                **settings,
                "earlier fit": earlier and digest_of_state(earlier),
                **data_of(X, summary, total, **beside),
            }

        return record.open(identity, self.random_state)

    def _climb(self, pool, record, random_state, earlier, first, make_step, coordinates=None):
        """Return the best Ascent over the starts, and what collapsed on the way.

        Parameters
        ----------
        pool : Workers
            Its number of threads is shared out among the runs.
        record : Checkpoint
            Of the fit; open.
        random_state : int, RandomState or None
            What :meth:`_open` returned: decides the starts.
        earlier : callable
            ``why → parameters`` of the earlier fit, which ``warm_start`` goes on from.
        first : callable
            ``rng → parameters`` of a new start; may raise Collapse.
        make_step : callable
            ``(pool, number of the run) → step`` with ``step.evaluate`` and ``step.n_steps``.
        coordinates : callable, optional
            ``parameters → object`` that packs and unpacks them, for ``acceleration``.
        """
        rng = check_random_state(random_state)
        warm = self._goes_on()
        n_init = 1 if warm else self.n_init
        n_jobs = min(effective_n_jobs(self.n_jobs), n_init)
        before = self._bound_before if warm else -float("inf")
        numbers = count(1)

        def draw():
            return next(numbers), earlier("warm_start=True") if warm else first(rng)

        def run(start, stop):
            number, parameters = start
            with workers(max(1, pool.n_threads // n_jobs)) as own:
                plain = step = make_step(own, number)
                if coordinates is not None and self.acceleration == "anderson":
                    vectors = coordinates(parameters)
                    step = AndersonStep(plain, vectors.pack, vectors.unpack)

                def climb(**begun):
                    ascent = ascend(
                        step,
                        plain.evaluate,
                        parameters,
                        max_iter=self.max_iter,
                        tol=self.tol,
                        before=before,
                        report=self._reporter(number, stop),
                        **begun,
                    )
                    return ascent._replace(n_steps=plain.n_steps)

                return record.run(number, parameters, step, climb)

        with self._advising(" from every start"):
            return best_ascent(draw, run, n_init, n_jobs=n_jobs)

    def _record(self, ascent):
        """Set the attributes that tell how the fit went."""
        self._bound_before = ascent.before
        self.lower_bound_ = ascent.bound
        self.lower_bounds_ = ascent.bounds
        self.n_iter_ = ascent.n_iter
        self.n_e_steps_ = ascent.n_steps
        self.converged_ = ascent.converged

    def _record_batch(self, bound):
        """Set the same attributes after one more batch of ``partial_fit``."""
        self._bound_before = -float("inf")  # of other rows
        first = not hasattr(self, "n_iter_")
        self.n_iter_ = 1 if first else self.n_iter_ + 1
        self.n_e_steps_ = 1 if first else self.n_e_steps_ + 1
        self.lower_bound_ = bound
        self.lower_bounds_ = [bound] if first else [*self.lower_bounds_, bound]
        self.converged_ = False

    @contextmanager
    def _advising(self, where=""):
        """Turn a Collapse into a ValueError that says what may be changed."""
        try:
            yield
        except Collapse as collapse:
            text = f"{self._method} failed{where}: {collapse}. {self._remedies()}."
            raise ValueError(text) from collapse

    def _reporter(self, number, stop):
        """Return what is called after each iteration: it prints, and ends a run that must stop."""

        def report(n_iter, bound, change):
            if stop.is_set():
                raise KeyboardInterrupt
            every = 1 if self.verbose > 1 else self.verbose_interval
            if self.verbose and (n_iter == 1 or n_iter % every == 0):
                gain = "" if n_iter == 1 else f" ({change:+.3e})"
                line = f"start {number}, iteration {n_iter}: lower bound {bound:.6f}{gain}"
                print(line)  # noqa: T201 (verbose)

        return report

    def _warn(self, collapses):
        """Warn of runs that were made again, and of an ascent that was cut short."""
        if collapses:
            warnings.warn(
                f"{len(collapses)} of the runs of {self._method} collapsed and were made again "
                f"elsewhere, the last because {collapses[-1]}. {self._remedies()} to avoid this.",
                ConvergenceWarning,
                stacklevel=3,
            )
        if not self.converged_ and self.max_iter > 0:
            faster = ", or try acceleration='anderson'" if hasattr(self, "acceleration") else ""
            warnings.warn(
                f"{self._method} did not converge within max_iter={self.max_iter} iterations "
                f"(tol={self.tol}). Raise max_iter or tol{faster}.",
                ConvergenceWarning,
                stacklevel=3,
            )


class EMLearner(AscentLearner):
    """An estimator that learns by exact EM."""

    def _check_em(self):
        """Raise ValueError if a parameter that all EM estimators have is not usable."""
        self._check_ascent()
        check_number("reg_covar", self.reg_covar, Real, 0, LARGEST_FLOOR)
        check_choice("acceleration", self.acceleration, (None, "anderson"))
