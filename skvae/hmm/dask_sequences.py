"""Sequences of a Dask array, whole ones in each chunk: statistics and results of a chain."""

from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from skvae.blocks import (
    DistributedRows,
    Sequences,
    boxed,
    by_chunks,
    collected,
    is_distributed,
    mapped,
    places_of,
    sent,
    summed,
    unboxed,
    whole_chunks,
    with_known_size,
    workers,
)
from skvae.hmm.e_step import expect, log_likelihood_of, path_entropy
from skvae.hmm.known_states import (
    check_integers,
    check_length,
    check_possible,
    check_range,
    check_states,
)


class DistributedSequences(NamedTuple):
    """Sequences as :class:`skvae.blocks.Sequences` has them, as a Dask array.

    Parameters
    ----------
    X : dask.array.Array of shape (n_samples, n_features)
        The rows in time order, in chunks of whole sequences.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Where sequences begin and end.
    weights : ndarray of shape (n_sequences,) or None
        The weight of each sequence; None is one each.
    parts : dask.array.Array
        For each chunk the offsets of its own sequences and their weights or None, as one object.
    states : dask.array.Array of shape (n_samples,) or None
        The known state of each row, −1 where it is unknown, in the chunks of X.
    given : ndarray of int, shape (2, n_sequences), or None
        As of :class:`skvae.blocks.Sequences`.
    """

    X: Any
    offsets: np.ndarray
    weights: np.ndarray | None
    parts: Any
    states: Any = None
    given: np.ndarray | None = None

    @classmethod
    def of(cls, X, offsets, weights=None, states=None, given=None):
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
        if states is not None:
            states = sent(states, lengths)
        return cls(X, offsets, weights, boxed(parts).persist(), states, given)

    def places(self):
        """Return the number and the first row of each sequence in the data of the caller."""
        return places_of(self.offsets) if self.given is None else self.given

    def weighted(self, weight):
        """Return the sequences with weights, DistributedWeights or None, without those of zero.

        Raises
        ------
        ValueError
            A weight changes within a sequence.
        """
        if weight is None:
            return self
        array = weight.array.rechunk((self.X.chunks[0],))
        found = collected(_weights_of, [(array, "i"), (self.parts, "i")])
        for (_, wrong), start in zip(found, np.cumsum([0, *self.X.chunks[0]]), strict=False):
            if wrong is not None:
                row, value, first = wrong
                raise ValueError(
                    f"sequence_weight is {value} in row {start + row} and {first} where its "
                    "sequence begins: must be one number within a sequence"
                )
        weights = np.concatenate([weights for weights, _ in found])
        return self.of(self.X, self.offsets, weights, self.states)._used()

    @property
    def _arrays(self):
        states = [] if self.states is None else [(self.states, "i")]
        return [(self.X, "ij"), (self.parts, "i"), *states]

    def _used(self):
        """Return the sequences with a positive weight."""
        if self.weights.all():
            return self
        keep = self.weights > 0
        lengths = np.diff(self.offsets)[keep]
        before = np.concatenate([[0], np.cumsum(np.diff(self.offsets) * keep)])
        cuts = np.searchsorted(self.offsets, np.cumsum([0, *self.X.chunks[0]]))
        counts = tuple(np.diff(before[cuts]).tolist())
        kept, parts = {"adjust_chunks": {"i": counts}}, (self.parts, "i")
        X = by_chunks(_used, "ij", [(self.X, "ij"), parts], self.X.dtype, **kept)
        states = self.states
        if states is not None:
            states = by_chunks(_used, "i", [(states, "i"), parts], states.dtype, **kept)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        return self.of(X, offsets, self.weights[keep], states, self.places()[:, keep])

    def with_known(self, states, n_components):
        """Return the sequences with known states, which are checked; without any, unchanged.

        Parameters
        ----------
        states : ndarray or dask.array.Array of shape (n_samples,)
            The state of each row, −1 where it is unknown.
        n_components : int
            The number of states.
        """
        if is_distributed(states):
            states = with_known_size(whole_chunks(states, "states"))
            check_length("states", states, len(self.X))
        else:
            states = check_states(states, Sequences(self.X, self.offsets), n_components)
            if states is None:
                return self
        sequences = self.of(self.X, self.offsets, self.weights, states)
        arrays = [(sequences.states, "i")]
        starts = np.cumsum([0, *sequences.X.chunks[0]])[:-1]
        task = partial(_check_states, n_components)
        found = collected(task, [*arrays, (boxed(starts.tolist()), "i")])
        return sequences if any(found) else self

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

    def total(self):
        """Return the total weight of the rows."""
        if self.weights is None:
            return float(len(self.X))
        return float(self.weights @ np.diff(self.offsets))

    def n_sequences(self):
        """Return the total weight of the sequences."""
        if self.weights is None:
            return float(len(self.offsets) - 1)
        return float(self.weights.sum())

    # Under parameters -----------------------------------------------------------------------------

    def expect(self, parameters):
        """Return the ChainStatistics of the rows and their weighted log-likelihood, in nats."""
        return summed(partial(_expect, parameters), self._arrays)

    def log_likelihood(self, parameters):
        """Return the weighted log-likelihood of the rows, in nats."""
        return summed(partial(_log_likelihood, parameters), self._arrays)[0]

    # Under a fitted model -------------------------------------------------------------------------

    def results(self, model, method, width, dtype):
        """Return the results of a fitted model's method for the rows, a Dask array.

        Parameters
        ----------
        model : EMHiddenMarkov
            It must not change any more.
        method : str
            The method's name; it takes rows and their groups.
        width : int or None
            The number of results of a row; None is one, without an axis for it.
        dtype : dtype
            The dtype of the result.
        """
        return mapped(partial(_result, model, method), self._arrays, width, dtype)

    def log_evidence(self, model):
        """Return the log-likelihood of the rows under a fitted model, in nats."""
        return summed(partial(_log_likelihood_under, model), self._arrays)[0]

    def log_prob(self, model):
        """Return the log-probability of the best paths under a fitted model, in nats."""
        return summed(partial(_log_prob, model), self._arrays)[0]

    def path_entropy(self, model):
        """Return the entropy of the posterior over paths under a fitted model, in nats."""
        return summed(partial(_path_entropy, model), self._arrays)[0]

    def score(self, model, weight):
        """Return the log-density of the rows under a fitted model, weighted, in nats."""
        weight = weight.array.rechunk((self.X.chunks[0],))
        return summed(partial(_score, model), [*self._arrays, (weight, "i")])[0]


# Tasks: one for each chunk ------------------------------------------------------------------------


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


def _check_states(n_components, states, first_row):
    states = check_integers("states", states, first_row)
    check_range(states, n_components, first_row)
    return bool((states >= 0).any())


def identity_of_known(data):
    """Return an array that identifies the known states of sequences."""
    if not isinstance(data, DistributedSequences):
        return data.states
    begins = np.concatenate([[0], np.cumsum(data.X.chunks[0])])[:-1]
    arrays = [(data.states, "i"), (boxed(begins.tolist()), "i")]
    return np.array(summed(_sums_of_states, arrays))


def _sums_of_states(states, first_row):
    row = np.arange(first_row + 1.0, first_row + 1.0 + len(states))
    known = states + 1.0
    return float((known * row).sum()), float((known**2 * np.sqrt(row)).sum())


def check_known(data, prior):
    """Raise ValueError if structural zeros of a ChainPrior exclude known states of sequences."""
    if not isinstance(data, DistributedSequences):
        check_possible(data.states, data.offsets, prior, data.places())
        return
    cuts = np.searchsorted(data.offsets, np.cumsum([0, *data.X.chunks[0]]))
    places = boxed([data.places()[:, a:b] for a, b in pairwise(cuts)])
    arrays = [(data.states, "i"), (data.parts, "i"), (places, "i")]
    collected(partial(_check_possible, prior), arrays)


def _check_possible(prior, states, part, places):
    check_possible(states.astype(np.intp), part[0], prior, places)


def _expect(parameters, X, part, states=None):
    with workers() as pool:
        return expect(parameters, _sequences(X, part, states), pool) if len(X) else None


def _log_likelihood(parameters, X, part, states=None):
    with workers() as pool:
        sequences = _sequences(X, part, states)
        return (log_likelihood_of(parameters, sequences, pool),) if len(X) else None


def _sequences(X, part, states=None):
    offsets, weights = part
    weights = None if weights is None else np.repeat(weights, np.diff(offsets))
    states = None if states is None else states.astype(np.intp)
    return Sequences(X, offsets, weights, states=states)


def _groups(part):
    lengths = np.diff(part[0])
    return np.repeat(np.arange(len(lengths)), lengths)


def _result(model, method, X, part):
    return getattr(model, method)(X, groups=_groups(part))


def _log_likelihood_under(model, X, part):
    return (model.score(X, groups=_groups(part)) * len(X),)


def _log_prob(model, X, part):
    return (model.decode(X, groups=_groups(part))[0],)


def _path_entropy(model, X, part):
    return (path_entropy(model._parameters(), _sequences(X, part)),) if len(X) else None


def _score(model, X, part, weight):
    log_p = model.score_samples(X.astype(np.float64, copy=False), groups=_groups(part))
    used = weight > 0
    return (float(log_p[used] @ weight[used]),)
