"""Moves between numbers of components: merge two, delete one, split one, if the bound rises.

A move proposes statistics of other components, makes a few laps from there, and is accepted only if
the whole bound is then higher (Hughes & Sudderth, NIPS 2013; Hughes, Kim & Sudderth, AISTATS 2015).
Laps alone would not find these posteriors once coordinate ascent has converged. A component that is
empty, with less than ``LEAST_GAIN`` of a row, leaves first: the bound changes by less than that.
"""

from functools import partial

import numpy as np

from skvae.ascent.loop import Step, ascend
from skvae.blocks import Rows, ranges
from skvae.gaussian.first_statistics import statistics_of
from skvae.initialization import completed, first_labels
from skvae.mixture.bayesian.steps import BatchStep
from skvae.mixture.e_step import fill_rows
from skvae.storage import rebuilt

MOVES = ("merge", "delete", "birth")
_TRIES = 3  # failed tries of each kind after a lap; all candidates once the laps have settled
_SETTLED = 1e-3  # laps that raise the bound by less have settled; nats per unit weight
LEAST_GAIN = 1e-2  # nats in total: a component with fewer rows changes the bound by less
_LAPS = {"leave": 1, "merge": 2, "delete": 2, "birth": 6}
_NEAREST = 128  # partners of a component that are considered for a merge
_NUMBERS = 1 << 20  # numbers in the scales of the pairs that are evaluated together
_ROWS = 1 << 15  # rows, drawn at random, that a split is computed from
_SPLITS = 5  # k-means runs for a split
_LEAST = 4  # rows of a component that may be split


class MovingStep(Step):
    """Laps of a memoized step, with moves after each.

    A move that failed is tried again after another move succeeded, or once the laps have settled
    and have raised the bound since.

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
    tol : float
        The tolerance of the ascent, in nats per unit weight: it ends after laps that raise the
        bound by less, so these have settled.
    rng : RandomState
        Source of the choice of rows.
    pool : Workers
        The threads.
    """

    def __init__(self, step, rows, moves, moments, tol, rng, pool):
        self._step = step
        self._rows = rows
        self._moves = ("leave", *(move for move in MOVES if move in moves))
        self._moments = moments
        self._small = max(_SETTLED, tol)
        self._rng = rng
        self._pool = pool
        self._candidates = {
            "leave": self._empty,
            "merge": self._merges,
            "delete": self._deletes,
            "birth": self._births,
        }
        # Identities of the components: a lap sorts them, and their places change.
        self._names = None
        self._failed = {move: {} for move in self._moves}  # {names: bound}
        self.evaluate = step.evaluate

    @property
    def n_steps(self):
        """Return the number of laps."""
        return self._step.n_steps

    def state(self):
        """Return the state of the laps, the failed moves, and the state of the random numbers."""
        return {
            "step": self._step.state(),
            "names": self._names,
            "failed": {move: list(failed.items()) for move, failed in self._failed.items()},
            "random": self._rng.get_state(legacy=False),
        }

    def read(self, start, tree):
        """Return a stored posterior, which may have another number of components than the start."""
        n_components = len(rebuilt(start, tree, resized=True).components.means)
        some = start.statistics.take(np.zeros(n_components, dtype=int))
        return rebuilt(start.prior.posterior(some), tree)

    def restore(self, state, parameters):
        """Restore a stored state; see :meth:`skvae.ascent.loop.Step.restore`."""
        self._step.restore(state["step"], parameters)
        self._names = rebuilt(np.arange(len(parameters.components.means)), state["names"])
        for move, failed in self._failed.items():
            for names, bound in state["failed"][move]:
                failed[tuple(map(int, names))] = float(bound)
        self._rng.set_state(state["random"])

    def __call__(self, posterior):
        if self._names is None:
            self._names = np.arange(len(posterior.components.means))
        posterior, bound = self._lap(posterior)
        settled = self._step.bound(posterior) - bound < self._small
        while True:
            before = posterior
            for move in self._moves:
                posterior = self._try(move, posterior, settled)
            if posterior is before or not settled:
                return posterior, bound
            # A settled ascent would end here, but after a move others may be possible.
            posterior, _ = self._lap(posterior)

    def _lap(self, posterior, start=None):
        """Return the posterior after a lap, and the bound before it; the names are sorted too."""
        posterior, bound = self._step(posterior, start)
        self._names = self._names[self._step.order]
        return posterior, bound

    def _try(self, move, posterior, settled):
        """Return the posterior after moves of one kind, made for as long as they succeed."""
        n_failures = 0
        while True:
            bound, failed = float(self._step.bound(posterior)), self._failed[move]
            found = None
            for places, statistics in self._candidates[move](posterior):
                names = tuple(sorted(self._names[places].tolist()))
                if names in failed and (not settled or bound < failed[names] + self._small):
                    continue
                if n_failures == _TRIES and not settled:
                    return posterior
                start = statistics()
                if start is not None:
                    found = self._climb(move, posterior, bound, places, start)
                    if found is not None:
                        break
                    n_failures += 1
                failed[names] = bound
            if found is None:
                return posterior
            posterior = found

    def _climb(self, move, posterior, bound, places, statistics):
        """Return the posterior after laps from other statistics, or None if the bound is lower."""
        kept = self._step.memory, self._names
        if move == "leave":
            self._names, least = np.delete(self._names, places), -LEAST_GAIN * len(places)
        else:
            self._names, least = np.arange(len(statistics.counts)), LEAST_GAIN
        found, _ = self._lap(posterior.prior.posterior(statistics), statistics)
        for left in range(_LAPS[move] - 1, -1, -1):
            if (self._step.bound(found) - bound) * self._rows.weight() > least:
                if move != "leave":
                    self._failed = {move: {} for move in self._moves}
                return found
            if left:
                found, _ = self._lap(found)
        self._step.memory, self._names = kept
        return None

    # Candidates: (places of components, function that returns the statistics) ---------------------

    def _empty(self, posterior):
        """Yield the statistics without the empty components; the largest one stays."""
        total = self._step.total()
        empty = total.counts < LEAST_GAIN
        empty[total.counts.argmax()] = False
        if empty.any():
            yield np.flatnonzero(empty), lambda: total.take(~empty)

    def _merges(self, posterior):
        """Yield the merges of two components that may raise the bound, the best first.

        The gains are those of the bound without the entropy of q(z), which a merge lowers: they
        are upper limits of the gain before the next lap.
        """
        total = self._step.total()
        components = posterior.components
        first, second = self._pairs(components)
        prior = posterior.prior.components
        gains, block = np.empty(len(first)), max(1, _NUMBERS // components.means.shape[1] ** 2)
        for a, b in ranges(0, len(first), block):
            gains[a:b] = components.merge_gains(prior, first[a:b], second[a:b])
        best = np.argsort(-gains, kind="stable")[: 2 * len(components.means)]
        first, second = first[best], second[best]
        gains = gains[best] + posterior.prior.weight_merge_gains(total.counts, first, second)
        for i in np.argsort(-gains, kind="stable"):
            if gains[i] > LEAST_GAIN:
                pair = np.array([first[i], second[i]])
                yield pair, partial(_merged, total, *pair)

    def _pairs(self, components):
        """Return the pairs of components that may be merged, as two arrays of places."""
        n_components = len(components.means)
        if n_components <= _NEAREST:
            return np.triu_indices(n_components, 1)
        near = [
            np.argsort(self._distances(components, k))[: _NEAREST + 1] for k in range(n_components)
        ]
        pairs = np.stack([np.repeat(np.arange(n_components), _NEAREST + 1), np.concatenate(near)])
        pairs = np.unique(np.sort(pairs, axis=0), axis=1)
        return pairs[:, pairs[0] < pairs[1]]

    def _distances(self, components, k):
        """Return the squared Mahalanobis distances of all means from component k."""
        factor = components.precisions_cholesky
        factor = factor if components.covariance_type == "tied" else factor[k]
        deviation = components.means - components.means[k]
        white = deviation @ factor if np.ndim(factor) == 2 else deviation * factor
        return (white**2).sum(axis=1)

    def _deletes(self, posterior):
        """Yield the statistics without one component, the smallest first."""
        total = self._step.total()
        if len(total.counts) > 1:
            for k in np.argsort(total.counts, kind="stable"):
                yield np.array([k]), partial(_without, total, k)

    def _births(self, posterior):
        """Yield the statistics with one component split in two by k-means, the largest first."""
        total = self._step.total()
        labelled = []  # computed for the first split that is tried

        def split(k):
            if not labelled:
                labelled.extend(self._labelled(posterior))
            rows, labels = labelled
            return self._split(posterior, total, rows, np.flatnonzero(labels == k), k)

        for k in np.argsort(-total.counts, kind="stable"):
            yield np.array([k]), partial(split, k)

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
        """Return the statistics with component k split in two, or None if it has too few rows."""
        if len(mine) < _LEAST:
            return None
        X = rows[mine]
        components = posterior.components
        factor = components.precisions_cholesky
        factor = factor if components.covariance_type == "tied" else factor[k]
        white = completed(X, self._rng) - components.means[k]
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
        others = _without(total, k)
        shared = total.covariance_type == "tied"
        return type(total)(
            total.covariance_type,
            np.concatenate([others.counts, two.counts]),
            np.concatenate([others.sums, two.sums]),
            total.scatter if shared else np.concatenate([others.scatter, two.scatter]),
            np.concatenate([others.centers, two.centers]),
        )


def _without(total, k):
    """Return the statistics without component k."""
    return total.take(np.delete(np.arange(len(total.counts)), k))


def _merged(total, first, second):
    """Return the statistics in which two components are one, at the place of the first."""
    labels = np.arange(len(total.counts))
    labels[second] = first
    labels[labels > second] -= 1
    return total.merged(labels)
