"""Terminals of a grammar: words as codes of a categorical emission, and codes as words."""

import numpy as np


def is_words(X):
    """Return whether X has words, so that it is a sentence of them or a list of sentences."""
    if hasattr(X, "dtype") or hasattr(X, "columns"):
        array = np.asarray(X)
        if array.dtype.kind == "O" and array.ndim == 1 and array.size and not _is_word(array[0]):
            return is_words(array[0])  # an object array of sentences
        return array.dtype.kind in "OUT" and bool(array.size) and _is_word(array.flat[0])
    if isinstance(X, list | tuple) and len(X):
        return _is_word(X[0]) or is_words(X[0])
    return False


def codes_of(X, terminals):
    """Return words as codes: an array (n, 1) of one sentence, or a list of such arrays.

    A word that is no terminal has the code ``len(terminals)``.

    Parameters
    ----------
    X : array-like of str of shape (n,) or (n, 1), or list of such
        A sentence, or sentences.
    terminals : tuple of str
        The words in the order of their codes.
    """
    code = {word: i for i, word in enumerate(terminals)}
    if _is_word(X[0]) if isinstance(X, list | tuple) else not _is_list(X):
        return _codes_of_sentence(X, code)
    return [_codes_of_sentence(sentence, code) for sentence in X]


def words_of(codes, terminals):
    """Return an array of codes as an array of words of the same shape."""
    return np.array(terminals, dtype=object)[codes.astype(np.intp)]


def _is_word(value):
    return isinstance(value, str)


def _is_list(X):
    """Return whether an array is one of objects that are sentences."""
    array = np.asarray(X)
    return array.dtype.kind == "O" and array.ndim == 1 and not _is_word(array[0])


def _codes_of_sentence(sentence, code):
    words = np.asarray(sentence, dtype=object)
    if words.ndim == 2 and words.shape[1] == 1:
        words = words[:, 0]
    if words.ndim != 1 or not all(map(_is_word, words)):
        raise ValueError(
            f"X has the sentence {sentence!r}: the sentences of a grammar with words must be lists "
            "of strings"
        )
    return np.array([[code.get(word, len(code))] for word in words], dtype=np.float64).reshape(
        -1, 1
    )
