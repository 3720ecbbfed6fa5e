"""Terminals of a grammar: words as codes of a categorical emission, and codes as words."""

import numpy as np


def is_words(X):
    """Return whether X has words, so that it is a sentence of them or a list of sentences.

    The first value that is not missing decides.
    """
    return bool(_begins_with_word(X))


def refuse_words(X):
    """Raise ValueError if X has words, which a grammar without terminals cannot read.

    A table of strings passes: the checks of rows have the usual error for it.
    """
    if is_words(X) and not _is_table(X):
        raise ValueError(
            "X has words, but this grammar has codes 0, 1, … of symbols: pass codes, as "
            "sklearn.preprocessing.OrdinalEncoder makes them, or make the grammar by from_rules"
        )


def codes_of(X, terminals):
    """Return words as codes: an array (n, 1) of one sentence, or a list of such arrays.

    A word that is no terminal has the code ``len(terminals)``; a missing one, None or NaN, is NaN.

    Parameters
    ----------
    X : array-like of str of shape (n,) or (n, 1), or list of such
        A sentence, or sentences.
    terminals : tuple of str
        The words in the order of their codes.
    """
    if isinstance(X, str):
        raise ValueError(f"X={X!r} is one str: a sentence must be a list of words")
    code = {word: i for i, word in enumerate(terminals)}
    values = X if isinstance(X, list | tuple) else np.asarray(X, dtype=object)
    if _is_sentence(values):
        return _codes_of_sentence(values, code)
    return [_codes_of_sentence(sentence, code) for sentence in values]


def words_of(codes, terminals):
    """Return an array of codes as an array of words of the same shape; None for no code."""
    known = (codes >= 0) & (codes < len(terminals))
    words = np.full(codes.shape, None, dtype=object)
    words[known] = np.array(terminals, dtype=object)[codes[known].astype(np.intp)]
    return words


def _is_table(X):
    """Return whether X has two dimensions; a list with one list of words is a sentence."""
    if hasattr(X, "columns") or hasattr(X, "ndim"):
        return getattr(X, "ndim", 2) == 2
    plain = all(isinstance(row, list | tuple) for row in X)
    return plain and len(X) > 1 and len({len(row) for row in X}) == 1


def _is_missing(value):
    is_nan = isinstance(value, float | np.floating) and np.isnan(value)
    return value is None or is_nan or type(value).__name__ == "NAType"  # of pandas


def _begins_with_word(X):
    """Return whether the first value of X is a word; None if X has no value."""
    if isinstance(X, str):
        return True
    if hasattr(X, "dtype") or hasattr(X, "columns"):
        dtype = getattr(X, "dtype", None)
        if getattr(dtype, "kind", "O") not in "OUT":
            return False
        X = np.asarray(X, dtype=object).flat
    elif not isinstance(X, list | tuple):
        return None if _is_missing(X) else False
    for value in X:
        found = _begins_with_word(value)
        if found is not None:
            return found
    return None


def _is_sentence(values):
    """Return whether values are words of one sentence, not sentences."""
    if isinstance(values, np.ndarray):
        if values.ndim > 2:
            return False
        values = values.flat
    return next((isinstance(v, str) for v in values if not _is_missing(v)), False)


def _codes_of_sentence(sentence, code):
    """Return the codes of a sentence, an array (n, 1)."""
    unknown = float(len(code))
    try:
        codes = [code.get(word, unknown) for word in sentence]
    except TypeError:  # values that cannot be keys
        codes = [unknown]
    if unknown in codes:  # rare, so that only these sentences are looked at closely
        words = np.asarray(sentence, dtype=object)
        if words.ndim == 2 and words.shape[1] == 1:
            words = words[:, 0]
        if words.ndim != 1 or not all(isinstance(word, str) or _is_missing(word) for word in words):
            raise ValueError(
                f"X has the sentence {sentence!r}: the sentences of a grammar with words must be "
                "lists of strings"
            )
        codes = [np.nan if _is_missing(word) else code.get(word, unknown) for word in words]
    return np.array(codes, dtype=np.float64).reshape(-1, 1)
