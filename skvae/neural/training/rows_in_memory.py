"""Rows in memory as training reads them: in an order of their own, and repeated by their weights.

Fits of the same rows in another order are then equal to the last bit, and so are a fit with weights
that are small whole numbers and one of repeated rows. Other weights multiply the rows' terms of the
objective, which has the same expectation.
"""

import numpy as np

from skvae.neural.training import rows_on_disk

_COPIES = 8  # of a row in the mean: more of them take longer than they are worth


def arranged(X, weight):
    """Return rows in an order that depends on their values alone, and the weights they still have.

    Rows with more numbers than a buffer stay as they are.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; NaN is missing.
    weight : ndarray of shape (n_samples,) or None
        Their weights, > 0; None is one each.

    Returns
    -------
    X : ndarray of shape (n, n_features)
        The rows, each as many times as its weight if all weights are whole numbers, in the mean at
        most eight.
    weight : ndarray of shape (n,) or None
        The weights, relative to their mean; None is one each, also of repeated rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.training.rows_in_memory import arranged
    >>> arranged(np.array([[2.0], [1.0]]), np.array([2.0, 1.0]))
    (array([[1.],
           [2.],
           [2.]]), None)
    """
    n_rows = len(X) if weight is None else weight.sum()
    whole = weight is None or (n_rows <= _COPIES * len(X) and (weight == np.floor(weight)).all())
    if not whole:
        weight = weight / weight.mean()
    if (n_rows if whole else len(X)) * X.shape[1] > rows_on_disk.BUFFER:
        return X, weight
    order = _order(X)
    if weight is None or not whole:
        return X[order], None if weight is None else weight[order]
    return X[np.repeat(order, weight[order].astype(np.intp))], None


def _order(X):
    """Return the order of rows by the first column, among equal ones by the second, and so on."""
    order = np.arange(len(X))
    tied, group = order.copy(), np.zeros(len(X), dtype=np.intp)  # places in it, and of which tie
    for column in X.T:
        values = column[order[tied]]
        within = np.lexsort((values, group))
        order[tied], values = order[tied[within]], values[within]
        differ = values[1:] != values[:-1]
        differ &= ~(np.isnan(values[1:]) & np.isnan(values[:-1]))
        differ |= group[1:] != group[:-1]
        group = np.concatenate([[0], np.cumsum(differ)])
        alone = np.concatenate([[True], differ]) & np.concatenate([differ, [True]])
        tied, group = tied[~alone], group[~alone]
        if not len(tied):
            break
    return order
