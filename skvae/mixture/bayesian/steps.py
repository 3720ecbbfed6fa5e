r"""Three ways to maximise the bound of a Bayesian mixture, as steps.

A step maps a posterior to (next posterior, bound of the given one).

batch
    Coordinate ascent: an E step over all rows, then the optimal posterior given their
    responsibilities.
online
    Stochastic variational inference (Hoffman, Blei, Wang & Paisley, J. Mach. Learn. Res. 14, 2013):
    the statistics of a minibatch, scaled to all rows, are mixed into those so far with the rate
    :math:`\rho_t = (t + \tau)^{-\kappa}`. That is the step along the natural gradient, as natural
    parameters are the prior's plus the statistics. The result of a pass is the posterior of the
    average of its minibatches' statistics (Polyak & Juditsky, SIAM J. Control Optim. 30, 1992),
    because rates that are large enough for one or two passes make the last iterate noisy.
memoized
    (Hughes & Sudderth, NIPS 2013) Each block's statistics are stored. After each block the new ones
    replace the old, and the posterior is updated. The bound, energy plus entropy minus KL, needs no
    further pass.

Bounds are in nats per unit weight.
"""

from dataclasses import dataclass

import numpy as np

from skvae.ascent.loop import Step
from skvae.gaussian.statistics import GaussianStatistics
from skvae.mixture.e_step import expect
from skvae.storage import rebuilt


class BatchStep(Step):
    """Coordinate ascent over all rows.

    Parameters
    ----------
    rows : Rows
        The data.
    pool : Workers
        The threads.
    spread : callable, optional
        Returns the location of the rows, for the kernels. None is that of each posterior.

    Attributes
    ----------
    n_steps : int
        The number of passes with statistics so far.
    """

    def __init__(self, rows, pool, spread=None):
        self._rows = rows
        self._pool = pool
        self._spread = spread
        self._total = rows.weight()
        self.n_steps = 0

    def __call__(self, posterior):
        self.n_steps += 1
        statistics, local = expect(self._rows, posterior.kernel(self._spread), self._pool)
        proposal = posterior.prior.posterior(posterior.weights.sorted(statistics))
        return proposal, (local - posterior.kl()) / self._total

    def evaluate(self, posterior):
        """Return the bound of a posterior, in nats per unit weight."""
        _, local = expect(self._rows, posterior.kernel(self._spread), self._pool, statistics=False)
        return (local - posterior.kl()) / self._total


class StreamStep(BatchStep):
    """Coordinate ascent over new rows; their prior is the posterior of the earlier rows.

    The bound is that of the new rows given the earlier ones. With earlier rows, sticks keep their
    order: another order would be another prior, and the bound could fall.

    Parameters
    ----------
    rows : Rows
        The new data.
    pool : Workers
        The threads.
    before : MixturePosterior or None
        The posterior of the earlier rows; None if there are none.
    """

    def __init__(self, rows, pool, before):
        super().__init__(rows, pool)
        self._before = before
        self._earlier = None if before is None else before.statistics

    def __call__(self, posterior):
        self.n_steps += 1
        statistics, local = expect(self._rows, posterior.kernel(self._spread), self._pool)
        bound = (local - posterior.kl(self._before)) / self._total
        if self._earlier is None:
            statistics = posterior.weights.sorted(statistics)
        else:
            statistics = self._earlier + statistics
        return posterior.prior.posterior(statistics), bound

    def evaluate(self, posterior):
        """Return the bound of a posterior, in nats per unit weight."""
        _, local = expect(self._rows, posterior.kernel(self._spread), self._pool, statistics=False)
        return (local - posterior.kl(self._before)) / self._total


class OnlineStep(BatchStep):
    """One pass of stochastic variational inference over minibatches in random order.

    The result of a pass is the average over it; the next pass continues from the last iterate. The
    bound of a pass is estimated from its minibatches.

    Parameters
    ----------
    rows : Rows
        The data.
    pool : Workers
        The threads.
    batch_size : int
        Rows of a minibatch.
    offset, decay : float
        τ and κ of the rate.
    rng : RandomState
        Source of the order of the rows.
    """

    def __init__(self, rows, pool, batch_size, offset, decay, rng):
        super().__init__(rows, pool)
        self._batch_size = batch_size
        self._offset = offset
        self._decay = decay
        self._statistics = None  # of the last iterate; their weight is that of all rows
        self._rng = rng
        self._t = 0

    def __call__(self, posterior):
        self.n_steps += 1
        order = self._rng.permutation(self._rows.n_rows)
        if self._statistics is None:
            self._statistics = posterior.statistics
        else:
            posterior = posterior.prior.posterior(self._statistics)
        local, kl, of_pass = 0.0, [], None
        for batch in self._rows.batches(order, self._batch_size):
            statistics, found = expect(batch, posterior.kernel(self._spread), self._pool)
            local += found
            kl.append(posterior.kl())
            of_pass = statistics if of_pass is None else of_pass + statistics
            rate = (self._t + self._offset) ** -self._decay
            self._t += 1
            self._statistics = mixed(
                self._statistics, statistics * (self._total / batch.weight()), rate
            )
            posterior = posterior.prior.posterior(self._statistics)
        return posterior.prior.posterior(of_pass), (local - np.mean(kl)) / self._total

    def state(self):
        """Return the statistics so far, the number of minibatches and the random state."""
        return {
            **super().state(),
            "statistics": self._statistics,
            "t": self._t,
            "random": self._rng.get_state(legacy=False),
        }

    def restore(self, state, parameters):
        """Restore a stored state; see :meth:`skvae.ascent.loop.Step.restore`."""
        super().restore(state, parameters)
        self._statistics = rebuilt(parameters.statistics, state["statistics"])
        self._t = rebuilt(0, state["t"])
        self._rng.set_state(state["random"])


def mixed(statistics, new, rate):
    """Return ``(1 − rate) statistics + rate new``."""
    if rate >= 1.0:
        return new
    return statistics * (1.0 - rate) + new * rate


@dataclass
class _Memory:
    """The statistics of a block and the entropy of its q(z)."""

    statistics: GaussianStatistics
    entropy: float


class MemoizedStep(BatchStep):
    """One lap over the blocks; their statistics are stored.

    Parameters
    ----------
    rows : Rows
        The data.
    pool : Workers
        The threads.
    batch_size : int
        Rows of a block.

    Attributes
    ----------
    order : ndarray of int
        The places, before the last lap, of the components that it returned.
    """

    def __init__(self, rows, pool, batch_size):
        super().__init__(rows, pool)
        self._blocks = [rows] if batch_size >= rows.n_rows else rows.cut(batch_size)
        self.memory = None
        self.order = None

    def __call__(self, posterior, start=None):
        """Return the posterior after a lap, and the bound before it.

        In the first lap, and in a lap with ``start``, no block has statistics yet: ``start``, by
        default those of the posterior, represents the blocks that are still to come. It has the
        total weight of all rows. The bound of such a lap is an estimate.
        """
        is_first = self.memory is None or start is not None
        if is_first:
            start = posterior.statistics if start is None else start
            self.memory, bound, left = [], 0.0, self._total
        else:
            bound = self.bound(posterior)
        self.n_steps += 1
        for i, block in enumerate(self._blocks):
            memory, weight, share = self._visit(posterior, block)
            # The total is summed anew: a difference of sums would keep their rounding.
            if is_first:
                self.memory.append(memory)
                bound += share / self._total
                left = max(left - weight, 0.0)
                seen = self.total()
                if block is not self._blocks[-1]:
                    seen = seen + start * (left / self._total)
            else:
                self.memory[i] = memory
                seen = self.total()
            posterior = posterior.prior.posterior(seen)
        return self._sorted(posterior), bound

    def _visit(self, posterior, block):
        """Return the Memory of a block under a posterior, the block's weight and its bound."""
        rows = block if len(self._blocks) == 1 else block.loaded()
        statistics, local = expect(rows, posterior.kernel(self._spread), self._pool)
        memory = _Memory(statistics, local - posterior.energy(statistics))
        return memory, rows.weight(), local - posterior.kl() * rows.weight() / self._total

    def _sorted(self, posterior):
        """Return the posterior with its components in the order of the largest bound."""
        total = self.total()
        self.order = order = posterior.weights.order(total.counts)
        if (order == np.arange(len(order))).all():
            return posterior
        for memory in self.memory:
            memory.statistics = memory.statistics.take(order)
        return posterior.prior.posterior(self.total())

    def state(self):
        """Return the statistics and entropies of the blocks."""
        memory = [(memory.statistics, float(memory.entropy)) for memory in self.memory]
        return {**super().state(), "memory": memory}

    def restore(self, state, parameters):
        """Restore a stored state; see :meth:`skvae.ascent.loop.Step.restore`."""
        super().restore(state, parameters)
        like = ((parameters.statistics, 0.0),) * len(self._blocks)
        self.memory = [_Memory(*kept) for kept in rebuilt(like, state["memory"])]

    def total(self):
        """Return the sum of the statistics of all blocks so far."""
        total = self.memory[0].statistics
        for memory in self.memory[1:]:
            total = total + memory.statistics
        return total

    def bound(self, posterior):
        """Return the bound of a posterior with the stored q(z), in nats per unit weight."""
        total = posterior.energy(self.total()) - posterior.kl()
        for memory in self.memory:
            total += memory.entropy
        return total / self._total
