r"""Known states of some rows, as evidence: all other states of such a row are impossible.

With the known states :math:`z_O` the objective is :math:`\ln p(x, z_O)`, the sum over all paths
through them. The forward and backward recursions compute it, and the posterior
:math:`p(z \mid x, z_O)`, if the log-density of the other states of a known row is −∞. If all rows
are known, one path is left, and the M step counts.
"""

import numpy as np
from scipy.optimize import linear_sum_assignment

from skvae.emissions.reading import EmissionReader

_RULE = "must be one integer for each row of X, the row's state or -1 where it is unknown"


def check_states(states, sequences, n_components):
    """Return known states as an array of int, one for each row, or None if none is known.

    Parameters
    ----------
    states : array-like of int, shape (n_samples,), or list of such
        The state of each row, −1 where it is unknown; a list where X is one.
    sequences : Sequences
        The rows.
    n_components : int
        The number of states.

    Raises
    ------
    ValueError
        They are not one integer a row, from −1 to ``n_components − 1``.
    """
    lengths = np.diff(sequences.offsets)
    if sequences.listed and not _has_numbers(states):
        if len(states) != len(lengths):
            raise ValueError(f"states has {len(states)} entries: X has {len(lengths)} sequences")
        parts = [check_integers(f"states[{s}]", part) for s, part in enumerate(states)]
        for s, (part, length) in enumerate(zip(parts, lengths, strict=True)):
            check_length(f"states[{s}]", part, length)
        array = np.concatenate(parts)
    else:
        array = check_integers("states", states)
        check_length("states", array, len(sequences.X))
    check_range(array, n_components)
    return None if (array < 0).all() else array


def check_range(states, n_components, first_row=0):
    """Raise ValueError if some state is below −1 or above the last one."""
    wrong = np.flatnonzero((states < -1) | (states >= n_components))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"states is {states[row]} in row {first_row + row}: must be from 0 to "
            f"{n_components - 1}, as n_components={n_components}, or -1 where the state is unknown"
        )


def _has_numbers(states):
    """Return whether states are one list of numbers rather than one for each sequence."""
    return not hasattr(states, "__len__") or all(np.ndim(part) == 0 for part in states)


def check_integers(name, states, first_row=0):
    """Return states as an array of intp with one axis; raise ValueError if they are none."""
    if np.ma.is_masked(states):
        raise ValueError(f"{name} has masked entries: {_RULE}")
    try:
        array = np.asarray(states)
        if array.dtype == object:
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:  # ragged lists, strings, None
        raise ValueError(f"{name} cannot be read as integers ({error}): {_RULE}") from error
    if array.ndim != 1:
        raise ValueError(f"{name} has {array.ndim} dimensions: {_RULE}")
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{name} has the dtype {array.dtype}: {_RULE}")
    if array.dtype.kind == "f":
        wrong = ~(array == np.floor(array))  # NaN too
    else:
        wrong = np.zeros(len(array), dtype=bool)
    largest = np.iinfo(np.intp).max // 2
    wrong |= (array < -largest) | (array > largest)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(f"{name} is {array[row]} in row {first_row + row}: {_RULE}")
    return array.astype(np.intp)


def check_length(name, array, length):
    """Raise ValueError unless there is one state for each row."""
    if len(array) != length:
        raise ValueError(f"{name} has {len(array)} entries for {length} rows: {_RULE}")


def check_possible(states, offsets, prior, places):
    """Raise ValueError if structural zeros exclude known states.

    Parameters
    ----------
    states : ndarray of int, shape (n_rows,)
        Known states.
    offsets : ndarray of int
        Where sequences begin and end.
    prior : ChainPrior
        Which starts and transitions there can be.
    places : ndarray of int, shape (2, n_sequences)
        The number and the first row of each sequence in the data of the caller.
    """
    if prior.start_allowed.all() and prior.allowed.all():
        return
    known = np.flatnonzero(states >= 0)
    sequence = np.searchsorted(offsets, known, side="right") - 1
    first = np.ones(len(known), dtype=bool)
    first[1:] = np.diff(sequence) > 0
    # Steps from the known state before, or from the start of the sequence.
    steps = known - np.where(first, offsets[sequence], np.concatenate([[0], known[:-1]]))
    state, before = states[known], np.concatenate([[0], states[known][:-1]])
    possible = np.empty(len(known), dtype=bool)
    for n_steps in np.unique(steps):
        paths = _is_reached(prior.allowed, int(n_steps))
        chosen = steps == n_steps
        reached = np.where(
            first[:, None], (prior.start_allowed[:, None] & paths).any(axis=0), paths[before]
        )
        possible[chosen] = reached[chosen, state[chosen]]
    if possible.all():
        return
    place = int(np.argmin(possible))
    s, start = places[:, sequence[place]]
    row = start + known[place] - offsets[sequence[place]]
    where = f"states is {state[place]} in row {row} (sequence {s})"
    if first[place] and steps[place] == 0:
        raise ValueError(f"{where}, where a zero of startprob_init excludes it: change one of them")
    names = "startprob_init and transmat_init" if first[place] else "transmat_init"
    origin = "the start of the sequence" if first[place] else f"state {before[place]}"
    raise ValueError(
        f"{where}, and zeros of {names} exclude every path to it from {origin} "
        f"in row {row - steps[place]}: change one of them"
    )


def _is_reached(allowed, n_steps):
    """Return which states (K, K) can follow each state after a number of steps."""
    found, power = np.eye(len(allowed), dtype=bool), allowed
    while n_steps:
        if n_steps & 1:
            found = found @ power
        power, n_steps = power @ power, n_steps >> 1
    return found


# The E step ---------------------------------------------------------------------------------------


def with_evidence(log_density, states):
    """Return a copy of log-densities (K, n), −∞ for the states that known rows do not have."""
    excluded = (states >= 0) & (states != np.arange(len(log_density))[:, None])
    return np.where(excluded, -np.inf, log_density)


class KnownStatesReader:
    """Reads rows of which some states are known; see :mod:`skvae.chain.algorithms`.

    Parameters
    ----------
    states : ndarray of int, shape (n_rows,)
        The state of each row, −1 where it is unknown.
    kernel, X, complete
        As for :class:`skvae.emissions.reading.EmissionReader`.
    """

    def __init__(self, states, kernel, X, complete=False):
        self._states = states
        self._reader = EmissionReader(kernel, X, complete)
        self.block_rows, self.sums = self._reader.block_rows, self._reader.sums

    def block(self, start, stop):
        """Return the block of some rows, with ``log_density`` and ``accumulate``."""
        return _KnownStatesBlock(self._reader.block(start, stop), self._states[start:stop])


class _KnownStatesBlock:
    """A block of rows of which some states are known."""

    def __init__(self, block, states):
        self._block = block
        self._states = states
        self.accumulate = block.accumulate

    def log_density(self):
        """Return ln p(x | state) of the rows, −∞ where the state is known to be another."""
        return with_evidence(self._block.log_density(), self._states)


# The start ----------------------------------------------------------------------------------------


def named_by_known(labels, known, n_components):
    """Return first states in which each known row has its state.

    Clusters have no order: each is named after the state with which it shares most known rows.

    Parameters
    ----------
    labels : ndarray of int, shape (n,)
        The cluster of each row, −1 for none.
    known : ndarray of int, shape (n,)
        The known states.
    n_components : int
        The number of states.
    """
    both = (known >= 0) & (labels >= 0)
    shared = np.zeros((n_components, n_components))
    np.add.at(shared, (labels[both], known[both]), 1.0)
    _, names = linear_sum_assignment(-shared)
    return np.where(known >= 0, known, np.where(labels >= 0, names[labels], -1))


def known_alone(states, known, n_components):
    """Return first states in which only known rows have one.

    A state without known rows has those rows that are in it by other first ``states``.
    """
    without = np.setdiff1d(np.arange(n_components), known)
    return np.where(np.isin(states, without), states, known)
