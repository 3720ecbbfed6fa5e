"""Brackets of sentences: spans that are constituents, which a tree may not cross.

A sentence with brackets has those trees only in which every bracket is a constituent (Pereira &
Schabes, Proc. ACL 1992).
"""

from numbers import Integral

import numpy as np


def check_brackets(brackets, lengths):
    """Return the brackets of each sentence as an int array (m, 2), or None if there are none.

    Parameters
    ----------
    brackets : sequence or None
        For each sentence (first, last) pairs of rows, counted from 0 in the sentence; None, of a
        sentence or as a whole, is no brackets.
    lengths : ndarray of int, shape (n_sentences,)
        The number of rows of each sentence.

    Raises
    ------
    ValueError
        Brackets are not pairs of rows, are beyond the end of their sentence, or cross.
    """
    if brackets is None:
        return None
    try:
        n_entries = len(brackets)
    except TypeError:
        n_entries = None
    if isinstance(brackets, str) or n_entries is None:
        raise ValueError(
            f"brackets={brackets!r}: must be a list with, for each sentence, a list of (first, "
            "last) rows"
        )
    if n_entries != len(lengths):
        raise ValueError(
            f"brackets has {n_entries} entries: must have one, a list of (first, last) rows, for "
            f"each of the {len(lengths)} sentences"
        )
    return [
        _checked(pairs, s, int(n))
        for s, (pairs, n) in enumerate(zip(brackets, lengths, strict=True))
    ]


def _checked(pairs, s, n_rows):
    """Return the brackets of sentence s, checked."""
    if pairs is None or (hasattr(pairs, "__len__") and not len(pairs)):
        return np.empty((0, 2), dtype=np.intp)
    try:
        rows = [tuple(pair) for pair in pairs]
    except TypeError:
        rows = [()]
    for pair in rows:
        if len(pair) != 2 or not all(_is_whole(row) for row in pair):
            raise ValueError(
                f"brackets[{s}]={pairs!r}: must be a list of (first, last) pairs of whole numbers"
            )
    for first, last in rows:
        if not 0 <= first <= last < n_rows:
            raise ValueError(
                f"brackets[{s}] has ({first}, {last}): the first row must be >= 0, the last at "
                f"least the first and below {n_rows}, the number of rows of the sentence"
            )
    found = np.array(rows, dtype=np.intp)
    _refuse_crossing(found, s)
    return found


def _is_whole(row):
    is_integer = isinstance(row, Integral) and not isinstance(row, bool | np.bool_)
    return is_integer or (isinstance(row, float | np.floating) and float(row).is_integer())


def _refuse_crossing(pairs, s):
    """Raise ValueError if two brackets share rows and neither contains the other."""
    open_ones = []
    for first, last in sorted(map(tuple, pairs.tolist()), key=lambda pair: (pair[0], -pair[1])):
        while open_ones and open_ones[-1][1] < first:
            open_ones.pop()
        if open_ones and open_ones[-1][1] < last:
            raise ValueError(
                f"brackets[{s}] has {open_ones[-1]} and ({first}, {last}), which cross: of two "
                "constituents one contains the other, or they share no row"
            )
        open_ones.append((first, last))


def flat(brackets):
    """Return all brackets as one array of (sentence, first, last), or None."""
    if brackets is None:
        return None
    sentence = np.repeat(np.arange(len(brackets)), [len(pairs) for pairs in brackets])
    return np.column_stack([sentence, np.concatenate(brackets)])
