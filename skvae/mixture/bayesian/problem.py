"""The fit of a Bayesian mixture as a problem for the search over starts."""

import numpy as np

from skvae.ascent.loop import ascend
from skvae.gaussian.moments import feature_moments
from skvae.mixture.bayesian.moves import LEAST_GAIN, MovingStep
from skvae.mixture.bayesian.prior import prior_of
from skvae.mixture.bayesian.steps import BatchStep, MemoizedStep, OnlineStep
from skvae.mixture.e_step import expect
from skvae.mixture.initialization import first_statistics

_MINIBATCH = 1024  # rows of a minibatch
_BLOCKS, _LEAST_BLOCK = 16, 8192  # number of memoized blocks, rows of the smallest
_FAILURES = 10  # deletions in succession that lower the bound, before the others are not tried


class BayesianProblem:
    """The fit of a Bayesian mixture, for :func:`skvae.ascent.restarts.search`.

    Parameters
    ----------
    estimator : BayesianMixtureSVI
        Its prior, learning method, ``moves``, ``n_components`` and ``init_params`` are read.
    rows : Rows
        The data with their weights.
    pool : Workers
        The threads.

    Attributes
    ----------
    earlier : Earlier or None
        The earlier fit, for a warm start.
    moments : Moments
        The moments of the data.
    seed : int
        Seed of the steps, which shuffle rows and choose moves at random.
    """

    def __init__(self, estimator, rows, pool):
        self.earlier = None
        self.moments = feature_moments(rows, pool, getattr(estimator, "feature_names_in_", None))
        self._estimator = estimator
        self._rows = rows
        self._prior = prior_of(estimator, rows, self.moments)
        self.seed = 0

    def first(self, rng):
        """Return the MixturePosterior of a new start, its components in decreasing size."""
        statistics = first_statistics(self._rows, self._estimator, self.moments, rng)
        statistics = statistics * (self._rows.weight() / statistics.counts.sum())
        order = np.argsort(-statistics.counts, kind="stable")
        return self._prior.posterior(statistics.take(order))

    def step(self, pool, number):
        """Return the step of the learning method."""
        estimator, rows = self._estimator, self._rows
        method, moves, n = estimator.learning_method, estimator.moves, rows.n_rows
        moves = () if moves == "auto" else moves
        if method == "online":
            size = min(n, int(estimator.batch_size or _MINIBATCH))
            rate = estimator.learning_offset, estimator.learning_decay
            return OnlineStep(rows, pool, size, *rate, np.random.RandomState(self.seed + number))
        size = int(estimator.batch_size or max(_LEAST_BLOCK, -(-n // _BLOCKS)))
        if method == "batch" or (size >= n and not moves):
            return BatchStep(rows, pool, self.moments.spread)
        step = MemoizedStep(rows, pool, min(size, n))
        if not moves:
            return step
        rng = np.random.RandomState(self.seed + number)
        return MovingStep(step, rows, moves, self.moments, estimator.tol, rng, pool)

    def reduced(self, ascent, pool):
        """Return the Ascent without the components that are superfluous.

        A component is deleted, the smallest first, if at most one further pass then leads to a
        higher bound, and the ascent continues until it has converged again. Only an empty component
        may lower the bound, by less than ``LEAST_GAIN``.
        """
        rows, spread = self._rows, self.moments.spread
        limits = {"max_iter": self._estimator.max_iter, "tol": self._estimator.tol}
        step, place = BatchStep(rows, pool, spread), 0
        step.n_steps = ascent.n_steps
        while ascent.converged and len(ascent.parameters.components.means) > 1:
            posterior = ascent.parameters
            statistics, _ = expect(rows, posterior.kernel(spread), pool)
            step.n_steps += 1
            order = np.argsort(statistics.counts, kind="stable")
            for failures in range(min(len(order), _FAILURES)):
                k = order[(place + failures) % len(order)]
                gain = LEAST_GAIN if statistics.counts[k] > LEAST_GAIN else -LEAST_GAIN
                least = ascent.bound + gain / rows.weight()
                others = np.delete(np.arange(len(order)), k)
                found, bound = step(posterior.prior.posterior(statistics.take(others)))
                if bound <= least:
                    found, bound = step(found)
                if bound > least:
                    break
            else:
                break
            if self._estimator.verbose > 1:
                n = len(others)
                print(f"{n} components: lower bound {bound:.6f}")  # noqa: T201 (verbose)
            rest = ascend(step, found, before=bound, **limits)
            ascent = rest._replace(bounds=ascent.bounds + rest.bounds)
            place += failures  # the smaller ones were tried
        return ascent._replace(n_steps=step.n_steps)
