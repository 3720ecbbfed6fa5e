"""Rows and offsets of sequences, from the forms in which a hidden Markov model takes them."""

import numpy as np


def joined_sequences(X, groups):
    """Return the rows of all sequences, their offsets, and whether X is a list of sequences.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features), list of such, or array of shape (S, T, D)
        Rows, as a model has accepted them.
    groups : array-like of shape (n_samples,) or None
        The sequence of each row; None is one sequence.

    Returns
    -------
    rows : ndarray of shape (n_rows, n_features)
        One sequence after the other; masked values are NaN.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    listed : bool
        Whether X is a list or a 3-D array.
    """
    listed = bool(isinstance(X, list | tuple) and len(X) and np.ndim(X[0]) == 2)
    if listed or getattr(X, "ndim", 2) in (1, 3):
        rows = [_filled(sequence) for sequence in X]
        return np.concatenate(rows), np.cumsum([0, *map(len, rows)]), True
    rows = _filled(X)
    groups = np.zeros(len(rows)) if groups is None else np.asarray(groups).reshape(-1)
    begins = np.flatnonzero(groups[1:] != groups[:-1]) + 1
    return rows, np.concatenate([[0], begins, [len(rows)]]), False


def _filled(rows):
    """Return rows as an array; masked values are NaN."""
    if isinstance(rows, np.ma.MaskedArray):
        return rows.astype(np.float64).filled(np.nan)
    return np.asarray(rows)
