"""Sequences of rows: read from ``groups``, lists or 3-D arrays, kept as rows with offsets."""

import warnings
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_consistent_length, column_or_1d

from skvae.blocks.dask_rows import whole_chunks, with_known_size
from skvae.blocks.dask_tasks import collected, is_distributed
from skvae.blocks.rows import Rows
from skvae.validation import numbers_of


class Sequences(NamedTuple):
    """Rows of one or more sequences, one after the other, with their weights.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        The rows in time order, validated.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    weight : ndarray of shape (n_samples,) or None
        The weight of each row, positive and constant within a sequence; None is one each.
    listed : bool
        Whether X was a list or a 3-D array; results are then lists of arrays.
    states : ndarray of int, shape (n_samples,), or None
        The known state of each row, −1 where it is unknown; None if none is known.
    start : ndarray of shape (n_samples,) or (n_samples, n_components), or None
        Labels or responsibilities of the rows from which a fit is to start, if they are given.
    given : ndarray of int, shape (2, n_sequences), or None
        The number and the first row of each sequence in the data of the caller, for messages; None
        if no sequence was left out.
    """

    X: np.ndarray
    offsets: np.ndarray
    weight: np.ndarray | None = None
    listed: bool = False
    states: np.ndarray | None = None
    start: np.ndarray | None = None
    given: np.ndarray | None = None

    def places(self):
        """Return the number and the first row of each sequence in the data of the caller."""
        return places_of(self.offsets) if self.given is None else self.given

    def weighted(self, weight):
        """Return the sequences with weights (n_samples,), without the sequences of weight zero.

        None changes nothing.

        Raises
        ------
        ValueError
            A weight changes within a sequence.
        """
        if weight is None:
            return self
        lengths = np.diff(self.offsets)
        first = np.repeat(weight[self.offsets[:-1]], lengths)
        if (weight != first).any():
            row = int(np.argmax(weight != first))
            raise ValueError(
                f"sequence_weight is {weight[row]} in row {row} and {first[row]} where its "
                "sequence begins: must be one number within a sequence"
            )
        if weight.all():
            return self._replace(weight=weight)
        used = weight > 0
        kept = used[self.offsets[:-1]]
        offsets = np.concatenate([[0], np.cumsum(lengths[kept])])
        beside = (each if each is None else each[used] for each in (self.states, self.start))
        places = self.places()[:, kept]
        return Sequences(self.X[used], offsets, weight[used], self.listed, *beside, places)

    def rows(self):
        """Return the rows as Rows."""
        return Rows(self.X, self.weight)

    def total(self):
        """Return the total weight of the rows."""
        return float(len(self.X)) if self.weight is None else float(self.weight.sum())

    def n_sequences(self):
        """Return the total weight of the sequences."""
        first = self.offsets[:-1]
        return float(len(first)) if self.weight is None else float(self.weight[first].sum())

    def for_rows(self, values):
        """Return weights of rows; of a list, each sequence may have one for all of its rows."""
        lengths = np.diff(self.offsets)
        if not self.listed or np.shape(values) != lengths.shape or np.ma.is_masked(values):
            return values
        return np.repeat(np.asarray(values), lengths)

    def in_form(self, result):
        """Return a result with one entry a row in the form that X had: an array or list of them."""
        if not self.listed:
            return result
        return [result[a:b] for a, b in zip(self.offsets[:-1], self.offsets[1:], strict=True)]


def places_of(offsets):
    """Return the number and the first row of each sequence, shape (2, n_sequences)."""
    return np.stack([np.arange(len(offsets) - 1), offsets[:-1]])


def as_sequences(X, groups, validate, n_features=None):
    """Return X as Sequences of validated rows.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), list of such, or array of shape (S, T, D)
        Rows are time steps. Each element of a list, or ``X[s]`` of a 3-D array, is a sequence. 1-D
        arrays in a list are sequences of one feature if their lengths differ, or if the model has
        one feature; otherwise they are rows.
    groups : array-like of shape (n_samples,), default=None
        The sequence of each row; None is one sequence.
    validate : callable
        ``X → ndarray``: checks rows.
    n_features : int, optional
        The number of features of the model, if it is known.

    Raises
    ------
    ValueError
        ``groups`` has another length than X, holds NaN, returns to a sequence that had ended, or
        is given with a list; or a sequence of a list is empty or has other columns than the first.
    """
    if type(X) is not np.ndarray or X.dtype == object:
        X = _as_columns(X, n_features)
    depth = _depth(X)
    if depth < 3 or is_distributed(X):
        X = validate(X)
        offsets = np.array([0, len(X)]) if groups is None else _offsets_of(X, groups)
        return Sequences(X, offsets)
    if groups is not None:
        raise ValueError(
            "groups is given and X is a list of sequences: give one or the other, as the elements "
            "of a list are its sequences"
        )
    if depth > 3:
        raise ValueError(f"X has {depth} dimensions: must be rows, or a list of sequences of rows")
    lengths = []
    for s, sequence in enumerate(X):
        depth = _depth(sequence)
        n_rows = sequence.shape[0] if hasattr(sequence, "shape") and depth else 0
        n_rows = len(sequence) if isinstance(sequence, list | tuple) else n_rows
        if depth != 2 or not n_rows:
            fault = "is empty" if depth and not n_rows else f"has {depth} dimensions"
            raise ValueError(
                f"X[{s}] {fault}: each sequence must have shape (n_timesteps >= 1, n_features)"
            )
        lengths.append(n_rows)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Sequences(validate(_joined(X)), offsets, listed=True)


def is_list_of_sequences(X):
    """Return whether X is a list of sequences, or a 3-D array."""
    return _depth(_as_columns(X)) >= 3


def warn_of_lengths(y, X):
    """Warn if y, which is ignored, looks like the lengths of sequences in hmmlearn's ``fit``."""
    if y is None or is_distributed(y) or is_list_of_sequences(X):
        return
    try:
        lengths, n_rows = np.asarray(y), len(X)
    except (TypeError, ValueError, RuntimeError):  # no array, or a Dask array of unknown length
        return
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or not 1 < len(lengths) < n_rows:
        return
    if (lengths > 0).all() and lengths.sum() == n_rows:
        warnings.warn(
            f"y is ignored, and X is one sequence. The {len(lengths)} entries of y sum to the "
            f"{n_rows} rows of X: if they are lengths of sequences, pass "
            "groups=np.repeat(np.arange(len(y)), y) instead",
            UserWarning,
            stacklevel=3,
        )


def _as_columns(X, n_features=None):
    """Return X; if it is a list of 1-D arrays that are sequences, as a list of columns.

    Rows have equal lengths. Nested lists of numbers are rows: if one is shorter, it lacks a value.
    """
    objects = isinstance(X, np.ndarray) and X.ndim == 1 and X.dtype == object
    if not (objects or isinstance(X, list | tuple)) or not len(X):
        return X
    if any(getattr(x, "ndim", 0) != 1 for x in X):
        return X
    lengths = {len(x) for x in X}
    if len(lengths) == 1 and (n_features != 1 or lengths == {1}):
        return X
    arrays = (x if isinstance(x, np.ndarray) else np.asarray(x) for x in X)
    return [x.reshape(-1, 1) for x in arrays]


def _depth(X, most=5):
    """Return the number of dimensions, of nested lists by their first elements, up to a limit."""
    if isinstance(X, type) or most == 0:  # a list may hold itself
        return 0
    if hasattr(X, "ndim"):
        # An object array of ragged sequences is a list of them.
        nested = X.ndim == 1 and X.dtype == object and len(X)
        return 1 + _depth(next(iter(X)), most - 1) if nested else X.ndim
    if hasattr(X, "shape"):
        return len(X.shape)
    if isinstance(X, list | tuple):
        return 1 + (_depth(X[0], most - 1) if len(X) else 0)
    return 0


def _joined(sequences):
    """Return the sequences as one table; of data frames, with their names."""
    if isinstance(sequences, np.ndarray) and sequences.ndim == 3:
        return sequences.reshape(len(sequences) * sequences.shape[1], sequences.shape[2])
    first = sequences[0]
    names = None
    if hasattr(first, "columns"):
        names = list(first.columns)
    for s, sequence in enumerate(sequences):
        width = _width(sequence, s)
        if width != _width(first, 0):
            raise ValueError(
                f"X[{s}] has {width} features, X[0] has {_width(first, 0)}: all sequences must "
                "have the same"
            )
        given = list(sequence.columns) if hasattr(sequence, "columns") else None
        if given != names:
            raise ValueError(f"X[{s}] has the columns {given}, X[0] has {names}: must be the same")
    if names is None:
        sequences = [numbers_of(sequence, f"X[{s}]") for s, sequence in enumerate(sequences)]
    try:
        return _concatenated(sequences, named=names is not None)
    except (TypeError, ValueError) as error:  # sparse arrays, frames of two libraries
        raise TypeError(f"the sequences of X cannot be joined to one table: {error}") from error


def _concatenated(sequences, named):
    if not named:
        return np.concatenate([np.asarray(sequence) for sequence in sequences])
    if hasattr(sequences[0], "vstack"):
        import polars as pl

        return pl.concat(list(sequences), how="vertical_relaxed")
    import pandas as pd

    return pd.concat(list(sequences), ignore_index=True)


def _width(sequence, s):
    try:
        return np.shape(sequence)[1]
    except ValueError as error:
        raise ValueError(f"X[{s}] has rows of several lengths: must be a table") from error


def _offsets_of(X, groups):
    if is_distributed(groups):
        groups = with_known_size(whole_chunks(groups, "groups"))
        begins, ids = _runs_of_chunks(groups)
    else:
        if np.ma.is_masked(groups):
            raise ValueError("groups has masked entries: must name the sequence of each row")
        try:
            groups = column_or_1d(np.asarray(groups))
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"groups must be one name for each row of X: {error}") from error
        begins, ids = _runs(groups)
    check_consistent_length(X, groups)
    offsets = np.concatenate([begins, [len(X)]])
    seen = set()
    for s, name in enumerate(ids.tolist()):
        if name not in seen:
            seen.add(name)
            continue
        raise ValueError(
            f"groups={name!r} comes back in row {offsets[s]} after another group: the rows of a "
            "sequence must be neighbours, in time order"
        )
    return offsets


def _runs(groups):
    """Return the rows in which a group begins, row 0 included, and these groups."""
    if groups.dtype == object:
        for name in groups:
            _check_name(name)
    elif (groups != groups).any():  # NaN and NaT do not equal themselves
        raise ValueError("groups contains NaN: must name the sequence of each row")
    begins = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    begins = np.concatenate([[0], begins]) if len(groups) else begins
    return begins, groups[begins]


def _runs_of_chunks(groups):
    """Return the result of :func:`_runs` for a Dask array; a group may span several chunks."""
    if groups.ndim != 1:
        raise ValueError(f"groups has {groups.ndim} dimensions: must have shape (n_samples,)")
    starts = np.cumsum([0, *groups.chunks[0]])
    runs = [
        (start + begins, ids)
        for start, (begins, ids) in zip(starts, collected(_runs, [(groups, "i")]), strict=False)
        if len(begins)
    ]
    for i in range(len(runs) - 1, 0, -1):
        (begins, ids), before = runs[i], runs[i - 1][1]
        if ids[0] == before[-1]:
            runs[i] = begins[1:], ids[1:]
    return (np.concatenate(parts) for parts in zip(*runs, strict=True))


def _check_name(name):
    """Raise ValueError if an object cannot be the name of a sequence."""
    try:
        hash(name)
        missing = name is None or bool(name != name)
    except TypeError as error:  # a list, or pandas.NA, which has no truth value
        raise ValueError(
            f"groups contains {name!r}: must name the sequence of each row, by numbers or strings"
        ) from error
    if missing:
        raise ValueError("groups contains NaN: must name the sequence of each row")
