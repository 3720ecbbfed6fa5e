"""Moves between numbers of components: merge two, delete one, split one; none lowers the bound.

A move proposes statistics of other components, makes a few laps from there, and is accepted only if
the whole bound is then higher (Hughes & Sudderth, NIPS 2013; Hughes, Kim & Sudderth, AISTATS 2015).
Laps alone would not find these posteriors once coordinate ascent has converged.
"""

import numpy as np

from skvae.ascent.loop import Step, ascend
from skvae.blocks import Rows
from skvae.gaussian.first_statistics import filled, statistics_of
from skvae.initialization import first_labels
from skvae.mixture.bayesian.steps import BatchStep
from skvae.mixture.e_step import fill_rows

MOVES = ("merge", "delete", "birth")
_TRIES = 3  # candidates of each kind after a lap; all of them once the laps have settled
_SETTLED = 1e-3  # laps that raise the bound by less have settled; nats per unit weight
_LEAST_GAIN = 1e-2  # nats in total: one more empty component changes the bound by less
_LAPS = {"merge": 2, "delete": 2, "birth": 6}
_ROWS = 1 << 15  # rows, drawn at random, that a split is computed from
_SPLITS = 5  # k-means runs for a split
_LEAST = 4  # rows of a component that may be split


class MovingStep(Step):
    """Laps of a memoized step, with moves after each.

    Parameters
    ----------
    step : MemoizedStep
        The laps.
    rows : Rows
        The data.
    moves : tuple of str
        Some of ``MOVES``.
    moments : Moments
        The moments of the data.
    rng : RandomState
        Source of the choice of rows.
    pool : Workers
        The threads.
    """

    resizes = True

    def __init__(self, step, rows, moves, moments, rng, pool):
        self._step = step
        self._rows = rows
        self._moves = moves
        self._moments = moments
        self._rng = rng
        self._pool = pool
        self._candidates = {
            "merge": self._merges,
            "delete": self._deletes,
            "birth": self._births,
        }
        self._failed = {move: set() for move in moves}
        self.evaluate = step.evaluate

    @property
    def n_steps(self):
        """Return the number of laps."""
        return self._step.n_steps

    def state(self):
        """Return the state of the laps, the failed moves, and the state of the random numbers."""
        return {
            "step": self._step.state(),
            "failed": {move: sorted(names) for move, names in self._failed.items()},
            "random": self._rng.get_state(legacy=False),
        }

    def restore(self, state, parameters):
        """Restore a stored state; see :meth:`skvae.ascent.loop.Step.restore`."""
        self._step.restore(state["step"], parameters)
        for move, failed in self._failed.items():
            failed.update(_hashable(name) for name in state["failed"][move])
        self._rng.set_state(state["random"])

    def __call__(self, posterior):
        posterior, bound = self._step(posterior)
        settled = self._step.bound(posterior) - bound < _SETTLED
        while True:
            before = posterior
            for move in MOVES:
                if move in self._moves:
                    posterior = self._try(move, posterior, settled)
            if posterior is before or not settled:
                return posterior, bound
            # A settled ascent would end here, but after a move others may be possible.
            posterior, _ = self._step(posterior)

    def _try(self, move, posterior, settled):
        """Return the posterior after tries of one kind of move."""
        for tries, (name, statistics) in enumerate(self._candidates[move](posterior)):
            if tries == _TRIES and not settled:
                break
            found = self._climb(move, posterior, statistics)
            if found is not None:
                for failed in self._failed.values():
                    failed.clear()
                return found
            self._failed[move].add(name)
        return posterior

    def _climb(self, move, posterior, statistics):
        """Return the posterior after laps from other statistics, or None if the bound is lower."""
        step, kept = self._step, self._step.memory
        before = step.bound(posterior)
        found, _ = step(posterior.prior.posterior(statistics), statistics)
        for _ in range(_LAPS[move] - 1):
            if step.bound(found) > before:
                break
            found, _ = step(found)
        if (step.bound(found) - before) * self._rows.weight() > _LEAST_GAIN:
            return found
        step.memory = kept
        return None

    # Candidates: (name, statistics) ---------------------------------------------------------------

    def _merges(self, posterior):
        """Yield merges of near components that raise the bound without its entropy term."""
        total, components = self._step.total(), posterior.components
        means = components.means
        now = posterior.energy(total) - posterior.kl()
        found = []
        for k in range(len(means)):
            distance = self._distances(components, k)
            for j in np.argsort(distance)[1:3]:
                pair = (min(k, j), max(k, j))
                name = tuple(self._name(total, i) for i in pair)
                if name in self._failed["merge"] or any(pair == other for _, other, _ in found):
                    continue
                labels = np.arange(len(means))
                labels[pair[1]] = pair[0]
                labels[labels > pair[1]] -= 1
                statistics = total.merged(labels)
                merged = posterior.prior.posterior(statistics)
                gain = merged.energy(statistics) - merged.kl() - now
                if gain > 0:
                    found.append((gain, pair, (name, statistics)))
        found.sort(key=lambda entry: -entry[0])
        for _, _, candidate in found:
            yield candidate

    def _name(self, total, k):
        """Return a name of a component that is the same in later laps: rounded mean and size."""
        place = (total.centers[k] - self._moments.mean) / self._moments.scale
        return (*np.round(place, 1), round(10 * float(np.log(max(total.counts[k], 1e-3)))))

    def _distances(self, components, k):
        """Return the squared Mahalanobis distances of all means from component k."""
        factor = components.precisions_cholesky
        factor = factor if components.covariance_type == "tied" else factor[k]
        deviation = components.means - components.means[k]
        white = deviation @ factor if np.ndim(factor) == 2 else deviation * factor
        return (white**2).sum(axis=1)

    def _deletes(self, posterior):
        """Yield the statistics without one of the smallest components."""
        total = self._step.total()
        if len(total.counts) == 1:
            return
        for k in np.argsort(total.counts):
            name = self._name(total, k)
            if name not in self._failed["delete"]:
                yield name, total.take(np.delete(np.arange(len(total.counts)), k))

    def _births(self, posterior):
        """Yield the statistics with one component split in two by k-means, the largest first."""
        total = self._step.total()
        rows, labels = self._labelled(posterior)
        for k in np.argsort(-total.counts):
            name = self._name(total, k)
            mine = np.flatnonzero(labels == k)
            if name not in self._failed["birth"] and len(mine) >= _LEAST:
                yield name, self._split(posterior, total, rows, mine, k)

    def _labelled(self, posterior):
        """Return some rows of the data, and the component of each."""
        n = self._rows.n_rows
        index = np.sort(self._rng.choice(n, size=min(n, _ROWS), replace=False))
        X = self._rows.at(index)
        labels = np.empty(len(X), dtype=np.intp)
        fill_rows(
            Rows.readable(X),
            posterior.kernel(),
            self._pool,
            labels,
            lambda log_joint, _: log_joint.argmax(axis=0),
        )
        return X, labels

    def _split(self, posterior, total, rows, mine, k):
        """Return the statistics with component k split in two."""
        X = rows[mine]
        components = posterior.components
        factor = components.precisions_cholesky
        factor = factor if components.covariance_type == "tied" else factor[k]
        white = filled(X, self._moments) - components.means[k]
        white = white @ factor if np.ndim(factor) == 2 else white * factor
        halves = first_labels(white, None, 2, "kmeans", self._rng, n_init=_SPLITS)

        part = Rows(X)
        two = statistics_of(
            part, halves, components.means[[k, k]], total.covariance_type, self._moments
        )
        # The two converge on these rows alone before they compete with the other components.
        start = posterior.prior.posterior(two)
        step = BatchStep(part, self._pool)
        two = ascend(step, start, max_iter=50, tol=1e-4).parameters.statistics
        two = two * (total.counts[k] / len(X))
        others = total.take(np.delete(np.arange(len(total.counts)), k))
        shared = total.covariance_type == "tied"
        return type(total)(
            total.covariance_type,
            np.concatenate([others.counts, two.counts]),
            np.concatenate([others.sums, two.sums]),
            total.scatter if shared else np.concatenate([others.scatter, two.scatter]),
            np.concatenate([others.centers, two.centers]),
        )


def _hashable(name):
    """Return a name read from a file, with lists turned into tuples."""
    return tuple(map(_hashable, name)) if isinstance(name, list) else name
