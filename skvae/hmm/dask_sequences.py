"""Sequences of a Dask array, whole ones in each chunk: what a chain learns of them, and says."""

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from skvae.blocks import (
    DistributedRows,
    boxed,
    by_chunks,
    collected,
    mapped,
    summed,
    unboxed,
    workers,
)
from skvae.chain.sweep import Sequences
from skvae.hmm.e_step import ChainModel


class DistributedRecordings(NamedTuple):
    """The data of a fit as :class:`skvae.hmm.initialization.Recordings` has them, as a Dask array.

    Parameters
    ----------
    X : dask.array.Array of shape (n_samples, n_features)
        The rows in time order, in chunks of whole sequences.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Where sequences begin and end.
    weights : ndarray of shape (n_sequences,) or None
        What each sequence counts; None is one.
    parts : dask.array.Array
        For each chunk the offsets of its own sequences and their weights or None, as one object.
    """

    X: Any
    offsets: np.ndarray
    weights: np.ndarray | None
    parts: Any

    @classmethod
    def of(cls, X, offsets, weights=None):
        """Return the sequences of rows in any chunks: cut where a sequence begins."""
        ends = offsets[np.searchsorted(offsets, np.cumsum(X.chunks[0]))]
        cuts = np.unique([0, *ends])
        lengths = tuple(np.diff(cuts).tolist())
        if lengths != X.chunks[0]:
            X = X.rechunk({0: lengths})
        parts = [
            (offsets[a : b + 1] - offsets[a], None if weights is None else weights[a:b])
            for a, b in pairwise(np.searchsorted(offsets, cuts))
        ]
        return cls(X, offsets, weights, boxed(parts).persist())

    @classmethod
    def weighted(cls, X, offsets, weight):
        """Return the sequences with a weight for each row: DistributedWeights, or None."""
        data = cls.of(X, offsets)
        if weight is None:
            return data
        array = weight.array.rechunk((data.X.chunks[0],))
        found = collected(_weights_of, [(array, "i"), (data.parts, "i")])
        for (_, wrong), start in zip(found, np.cumsum([0, *data.X.chunks[0]]), strict=False):
            if wrong is not None:
                row, value, first = wrong
                raise ValueError(
                    f"sequence_weight is {value} in row {start + row} and {first} where its "
                    "sequence begins: must be one number within a sequence"
                )
        return cls.of(data.X, offsets, np.concatenate([weights for weights, _ in found]))

    @property
    def _arrays(self):
        return [(self.X, "ij"), (self.parts, "i")]

    def used(self):
        """Return the same without sequences of weight zero."""
        if self.weights is None or self.weights.all():
            return self
        keep = self.weights > 0
        lengths = np.diff(self.offsets)[keep]
        before = np.concatenate([[0], np.cumsum(np.diff(self.offsets) * keep)])
        cuts = np.searchsorted(self.offsets, np.cumsum([0, *self.X.chunks[0]]))
        counts = tuple(np.diff(before[cuts]).tolist())
        X = by_chunks(_used, "ij", self._arrays, self.X.dtype, adjust_chunks={"i": counts})
        return self.of(X, np.concatenate([[0], np.cumsum(lengths)]), self.weights[keep])

    def check(self, emission, feature_names):
        """Raise ValueError if the emission family cannot have produced some row."""
        summed(partial(_check, emission, feature_names), self._arrays[:1])

    def rows(self):
        """Return the rows as DistributedRows."""
        weight = None
        if self.weights is not None:
            lengths = {"i": self.X.chunks[0]}
            parts = [(self.parts, "i")]
            weight = by_chunks(_row_weights, "i", parts, np.float64, adjust_chunks=lengths)
        return DistributedRows(self.X, weight, self.total(), arranged=False)

    def chosen(self, places=None):
        """Return some rows, or all, in memory, as Rows."""
        return self.rows().chosen(places)

    def total(self):
        """Return the total weight of the rows."""
        if self.weights is None:
            return float(len(self.X))
        return float(self.weights @ np.diff(self.offsets))

    def models(self, pool):
        """Return a function from parameters to the model of the sequences under them."""
        return lambda parameters: DistributedChain(parameters, self._arrays)

    def answers(self, model, method, width, dtype):
        """Return what a fitted model's method says of the rows, a Dask array.

        Parameters
        ----------
        model : EMHiddenMarkov
            It must not change any more.
        method : str
            The method's name; it takes rows and their groups.
        width : int or None
            How many numbers it gives for a row; None is one, without an axis for it.
        dtype : dtype
            Of the result.
        """
        return mapped(partial(_answer, model, method), self._arrays, width, dtype)

    def log_likelihood(self, model):
        """Return the log-likelihood of the rows under a fitted model, in nats."""
        return summed(partial(_log_likelihood_under, model), self._arrays)[0]

    def log_prob(self, model):
        """Return the log-probability of the best paths under a fitted model, in nats."""
        return summed(partial(_log_prob, model), self._arrays)[0]

    def score(self, model, weight):
        """Return the log-density of the rows under a fitted model, weighted, in nats."""
        weight = weight.array.rechunk((self.X.chunks[0],))
        return summed(partial(_score, model), [*self._arrays, (weight, "i")])[0]


class DistributedChain:
    """A chain and its emission ready to be asked, as :class:`skvae.hmm.e_step.ChainModel`."""

    def __init__(self, parameters, arrays):
        self._parameters = parameters
        self._arrays = arrays

    def expect(self):
        """Return the ChainStatistics of the rows and their weighted log-likelihood, in nats."""
        return summed(partial(_expect, self._parameters), self._arrays)

    def log_likelihood(self):
        """Return the weighted log-likelihood of the rows, in nats."""
        return summed(partial(_log_likelihood, self._parameters), self._arrays)[0]


# What is made of a chunk --------------------------------------------------------------------------


def _weights_of(weight, part):
    """Return the sequences' weights, and (row, its weight, the first) of a row that has another."""
    offsets, _ = part
    weights = weight[offsets[:-1]]
    first = np.repeat(weights, np.diff(offsets))
    wrong = np.flatnonzero(weight != first)
    return weights, (wrong[0], weight[wrong[0]], first[wrong[0]]) if len(wrong) else None


def _row_weights(part):
    offsets, weights = unboxed(part)
    return np.repeat(weights, np.diff(offsets))


def _used(X, part):
    return X[_row_weights(part) > 0]


def _check(emission, feature_names, X):
    if len(X):
        emission.check_rows(X, feature_names)
    return ()


def _expect(parameters, X, part):
    with workers() as pool:
        return _model(parameters, X, part, pool).expect() if len(X) else None


def _log_likelihood(parameters, X, part):
    with workers() as pool:
        return (_model(parameters, X, part, pool).log_likelihood(),) if len(X) else None


def _model(parameters, X, part, pool):
    offsets, weights = part
    weight = None if weights is None else np.repeat(weights, np.diff(offsets))
    return ChainModel(parameters, X, Sequences(offsets), pool, weight)


def _groups(part):
    lengths = np.diff(part[0])
    return np.repeat(np.arange(len(lengths)), lengths)


def _answer(model, method, X, part):
    return getattr(model, method)(X, groups=_groups(part))


def _log_likelihood_under(model, X, part):
    return (model.score(X, groups=_groups(part)) * len(X),)


def _log_prob(model, X, part):
    return (model.decode(X, groups=_groups(part))[0],)


def _score(model, X, part, weight):
    log_p = model.score_samples(X.astype(np.float64, copy=False), groups=_groups(part))
    used = weight > 0
    return (float(log_p[used] @ weight[used]),)
