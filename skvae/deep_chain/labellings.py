r"""Labellings of a sequence of rows: the most probable one, their probabilities and alignments.

.. math:: p(y \mid x) = \sum_{\pi:\, \mathcal{B}(\pi) = y} \; \prod_t p_t(\pi_t)

A path :math:`\pi` names a symbol for each row, the blank 0 or a label 1, ..., K. Its labelling
:math:`\mathcal{B}(\pi)` is the path without repeated symbols, then without blanks (Graves,
Fernández, Gomez & Schmidhuber, Connectionist temporal classification, ICML 2006, eq. 3). Every
function reads ``log_proba`` (T, 1 + K), :math:`\ln p_t` of each row, and labels as integers.
"""

import numpy as np

from skvae.chain import kernels_labels


def rows_needed(labels):
    """Return the least number of rows of a labelling: its length, and a blank for each repetition.

    Parameters
    ----------
    labels : ndarray of int, shape (U,)
        The labelling.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.deep_chain.labellings import rows_needed
    >>> rows_needed(np.array([2, 1, 1, 3]))
    5
    """
    return len(labels) + int((labels[1:] == labels[:-1]).sum())


def log_probability(log_proba, labels):
    """Return ln p(y | x) of a labelling, in nats; −inf if it needs more rows than there are.

    Parameters
    ----------
    log_proba : ndarray of shape (T, 1 + K)
        See the module.
    labels : ndarray of int, shape (U,)
        The labelling; without any label it is that of the path of blanks.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.deep_chain.labellings import log_probability
    >>> log_proba = np.log(np.full((2, 2), 0.5))
    >>> np.exp([log_probability(log_proba, np.array([1] * u, int)) for u in range(3)])
    array([0.25, 0.75, 0.  ])
    """
    return float(kernels_labels.log_probability(*_plain(log_proba, labels)))


def best_alignment(log_proba, labels):
    """Return the most probable path of a labelling, by Viterbi, and its log-probability.

    Parameters
    ----------
    log_proba : ndarray of shape (T, 1 + K)
        See the module.
    labels : ndarray of int, shape (U,)
        The labelling.

    Returns
    -------
    path : ndarray of int, shape (T,)
        The symbol of each row.
    log_probability : float
        ln p(path | x), in nats; −inf if no path is possible, and then the path has no meaning.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.deep_chain.labellings import best_alignment
    >>> log_proba = np.log([[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]])
    >>> best_alignment(log_proba, np.array([1]))[0]
    array([0, 1, 0])
    """
    log_proba, labels = _plain(log_proba, labels)
    path = np.empty(len(log_proba), dtype=np.int64)
    return path, float(kernels_labels.best_alignment(log_proba, labels, path))


def best_labelling(log_proba, beam_width):
    """Return the most probable labelling that a prefix beam search finds, and its log-probability.

    It is the most probable one of all if the beam is wide enough. Taking the most probable symbol
    of each row finds the labelling of the best path, which may be another one: many paths together
    may have a larger probability (Hannun, Maas, Jurafsky & Ng, 2014, algorithm 1).

    Parameters
    ----------
    log_proba : ndarray of shape (T, 1 + K)
        See the module.
    beam_width : int
        The number of prefixes that are kept after each row.

    Returns
    -------
    labels : ndarray of int, shape (U,)
        The labelling.
    log_probability : float
        At most ln p(labels | x), in nats: without paths through prefixes that were not kept.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.deep_chain.labellings import best_labelling
    >>> log_proba = np.log([[0.6, 0.4], [0.6, 0.4]])  # the best path is that of two blanks
    >>> labels, log_p = best_labelling(log_proba, 10)
    >>> labels, round(np.exp(log_p), 2)
    (array([1]), np.float64(0.64))
    """
    log_proba, _ = _plain(log_proba, ())
    n_rows, n_symbols = log_proba.shape
    width = _n_labellings(n_rows, n_symbols - 1, beam_width)  # memory is in proportion to it
    labels, log_p = kernels_labels.best_prefix(log_proba, width)
    return labels, float(log_p)


def _n_labellings(n_rows, n_labels, most):
    """Return the number of labellings with a label for each row at most, or `most` if it is less.

    >>> _n_labellings(2, 3, 100), _n_labellings(2, 3, 10)
    (13, 10)
    """
    total = count = 1
    for _ in range(n_rows):
        count *= n_labels
        total += count
        if total >= most:
            return most
    return total


def _plain(log_proba, labels):
    """Return the arguments in the one form for which the kernels are compiled."""
    log_proba = np.ascontiguousarray(log_proba, dtype=np.float64)
    return log_proba, np.ascontiguousarray(labels, dtype=np.int64)
