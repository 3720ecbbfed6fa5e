"""First responsibilities: the assignment of rows to components before the first iteration.

The methods and their random streams are those of :class:`sklearn.mixture.GaussianMixture`. Instead
of its array of n_samples × n_components, labels or blocks are used here, and k-means reads at most
``MAX_ROWS`` rows, drawn at random, so that its time and memory do not grow with the data.
"""

import os
import warnings
from contextlib import nullcontext
from copy import deepcopy

import numpy as np
from sklearn.cluster import KMeans, kmeans_plusplus
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.random import sample_without_replacement
from threadpoolctl import threadpool_limits

MAX_ROWS = 1 << 14
_DONORS = 512  # rows from which missing values are taken
_BLOCK = 2048  # rows that are compared with the donors at a time
_TIES = 1e-3  # of a feature's variance: rows with equal values do not all have the same donor
INIT_PARAMS = ("kmeans", "k-means++", "random", "random_from_data")
_imported_in = os.getpid()


def rows_to_start_from(n_rows, n_components, random_state):
    """Return the indices of the rows to make a start from, or None for all rows.

    Parameters
    ----------
    n_rows : int
        The number of rows.
    n_components : int
        The number of components: at least 128 rows are kept for each.
    random_state : RandomState
        The source of randomness for the drawn rows.
    """
    n_kept = max(MAX_ROWS, 128 * int(n_components))
    if n_rows <= n_kept:
        return None
    return np.sort(sample_without_replacement(n_rows, n_kept, random_state=random_state))


def first_labels(X, sample_weight, n_components, method, random_state, *, n_init=1):
    """Return the first component of each row, or −1 for none, shape (n_samples,).

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Complete rows.
    sample_weight : ndarray of shape (n_samples,) or None
        Their weights, positive.
    n_components : int
        The number of components, at most n_samples.
    method : {'kmeans', 'k-means++', 'random_from_data'}
        ``kmeans`` labels all rows by their cluster; the others choose one row for each component.
    random_state : RandomState
        The source of randomness.
    n_init : int
        The number of runs of k-means; the best run is used.
    """
    if sample_weight is not None and not 1e-30 < sample_weight.max() < 1e30:
        sample_weight = sample_weight / sample_weight.max()  # scikit-learn may convert to float32
    if method == "kmeans":
        kmeans = KMeans(n_components, n_init=n_init, random_state=random_state)
        # A forked process has the locks of OpenMP's threads in its parent, but not the threads: the
        # next parallel loop would wait for them forever.
        forked = os.getpid() != _imported_in
        limit = threadpool_limits(1, user_api="openmp") if forked else nullcontext()
        with warnings.catch_warnings(), limit:
            # Fewer distinct rows than clusters: the caller treats the empty components.
            warnings.simplefilter("ignore", ConvergenceWarning)
            return kmeans.fit(X, sample_weight=sample_weight).labels_
    if method == "k-means++":
        _, chosen = kmeans_plusplus(
            X, n_components, sample_weight=sample_weight, random_state=random_state
        )
    else:
        alike = sample_weight is None or (sample_weight == sample_weight[0]).all()
        p = None if alike else sample_weight / sample_weight.sum()
        chosen = random_state.choice(len(X), size=n_components, replace=False, p=p)
    labels = np.full(len(X), -1)
    labels[chosen] = np.arange(n_components)
    return labels


def completed(X, random_state):
    """Return rows with each missing value replaced by that of a similar row (a hot deck).

    The mean of the feature would be a poor replacement: it lies between the clusters, and the rows
    that have it form a cluster of their own.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows; NaN is missing.
    random_state : RandomState
        Draws the rows whose values are used; it is not used if nothing is missing.

    Returns
    -------
    X : ndarray of shape (n_samples, n_features)
        X itself if nothing is missing; 0 in a feature without any observed value.
    """
    missing = np.isnan(X)
    if not missing.any():
        return X
    observed, counts = ~missing, np.maximum((~missing).sum(axis=0), 1)
    # The most complete rows, drawn at random among equals, give their values.
    donors = random_state.permutation(len(X))
    donors = donors[np.argsort(missing.sum(axis=1)[donors], kind="stable")][:_DONORS]
    centered = np.where(missing, 0.0, X - np.where(missing, 0.0, X).sum(axis=0) / counts)
    scale = np.sqrt((centered**2).sum(axis=0) / counts)
    unit = centered / np.where(scale > 0, scale, 1.0)
    filled = np.array(X)
    for start in range(0, len(X), _BLOCK):
        some = start + np.flatnonzero(missing[start : start + _BLOCK].any(axis=1))
        # Squared distances over the features that both rows have, in units of their variance; a
        # feature that the donor lacks counts like two independent values. The constant of each row
        # is left out.
        distance = observed[some] @ (unit[donors].T ** 2) - 2.0 * unit[some] @ unit[donors].T
        distance += 2.0 * missing[donors].sum(axis=1)
        distance += _TIES * random_state.uniform(size=distance.shape)
        nearest = X[donors[distance.argmin(axis=1)]]
        filled[some] = np.where(missing[some], nearest, X[some])
    for j in np.flatnonzero(np.isnan(filled).any(axis=0)):
        empty, seen = np.isnan(filled[:, j]), X[observed[:, j], j]
        filled[empty, j] = random_state.choice(seen, size=empty.sum()) if len(seen) else 0.0
    return filled


def assignment_of(init_params, X, n_components, random_state):
    """Return given first labels (n,) of rows, −1 for none, or their responsibilities (n, K).

    Parameters
    ----------
    init_params : array-like of shape (n_samples,) or (n_samples, n_components), or callable
        Labels, responsibilities, or a function ``(X, n_components, random_state)`` that returns
        one of them.
    X : ndarray of shape (n_samples, n_features)
        The rows.
    n_components : int
        The number of components.
    random_state : RandomState
        The source of randomness of the function.

    Raises
    ------
    ValueError
        There is not one label, or one row of responsibilities, for each row of X, or they are not
        usable.
    """
    name = "init_params"
    if callable(init_params):
        name, init_params = "the result of init_params", init_params(X, n_components, random_state)
    try:
        array = np.asarray(init_params)
        if array.dtype.kind == "c":
            raise TypeError("complex numbers")
        numbers = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be read as numbers ({error}): {_ASSIGNMENT}") from error
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != n_components):
        raise ValueError(f"{name} has shape {array.shape}: {_ASSIGNMENT}")
    if len(array) != len(X):
        raise ValueError(
            f"{name} has {len(array)} entries for {len(X)} rows: {_ASSIGNMENT}; where a search or "
            "a split takes some rows, give a callable, which gets these rows"
        )
    if array.ndim == 1:
        return _checked_labels(name, numbers, n_components)
    return _checked_responsibilities(name, numbers)


_ASSIGNMENT = (
    "must be one integer for each row of X (its component, or -1 for none), or responsibilities "
    "of shape (n_samples, n_components)"
)


def _checked_labels(name, numbers, n_components):
    wrong = ~((numbers >= -1) & (numbers < n_components) & (numbers == np.floor(numbers)))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name} is {numbers[row]:g} in row {row}: must be an integer from 0 to "
            f"{n_components - 1}, as n_components={n_components}, or -1 for none"
        )
    if (numbers < 0).all():
        raise ValueError(f"{name} has -1 in all rows: must have a component for some row")
    return numbers.astype(np.intp)


def _checked_responsibilities(name, numbers):
    totals = numbers.sum(axis=1)
    wrong = ~((numbers >= 0).all(axis=1) & (np.abs(totals - 1.0) <= 1e-6))  # NaN too
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name} is {numbers[row].tolist()} in row {row}: responsibilities must be >= 0 and "
            "sum to 1"
        )
    if ((numbers == 0) | (numbers == 1)).all():
        return numbers.argmax(axis=1)
    return numbers / totals[:, None]


def responsibilities_of(assignment, n_components):
    """Return labels or responsibilities as responsibilities (n, K); a row with −1 has none."""
    if assignment.ndim == 2:
        return assignment
    return (assignment[:, None] == np.arange(n_components)).astype(np.float64)


def start_in_order(init_params, order):
    """Return ``init_params`` for components in another order, if it has labels or responsibilities.

    Parameters
    ----------
    init_params : str, callable, or array-like, or list of such for a list of sequences
        As it was given to the estimator.
    order : ndarray of int, shape (n_components,)
        The component i of the new order is ``order[i]``.
    """
    if isinstance(init_params, str) or not hasattr(init_params, "__len__"):
        return init_params
    if isinstance(init_params, list | tuple) and len({np.shape(part) for part in init_params}) > 1:
        return [start_in_order(part, order) for part in init_params]  # one for each sequence
    array = np.asarray(init_params)
    if array.ndim > 1 and array.shape[-1] == len(order) and np.allclose(array.sum(axis=-1), 1.0):
        return array[..., order]
    return np.append(np.argsort(order), -1)[array.astype(np.intp)]


class ResponsibilityDraws:
    """Responsibilities drawn at random for consecutive ranges of rows.

    Parameters
    ----------
    n_components : int
        The number of components.
    random_state : RandomState
        The source of randomness.
    """

    def __init__(self, n_components, random_state):
        self._n_components = n_components
        self._random_state = random_state

    def __call__(self, start, stop):
        """Return the next rows' responsibilities, shape (n_components, stop - start)."""
        return random_responsibilities(stop - start, self._n_components, self._random_state)

    def parted(self, lengths):
        """Return a ResponsibilityDraws for each part of the rows, to be called in any order."""
        if len(lengths) == 1:
            return [self]
        parts = []
        for length in lengths:
            parts.append(ResponsibilityDraws(self._n_components, deepcopy(self._random_state)))
            for start in range(0, length, MAX_ROWS):
                self(start, min(start + MAX_ROWS, length))
        return parts


def random_responsibilities(n_rows, n_components, random_state):
    """Return responsibilities drawn uniformly and normalised, shape (n_components, n_rows).

    Successive calls continue the stream of one draw for all rows.
    """
    resp = random_state.uniform(size=(n_rows, n_components))
    resp /= resp.sum(axis=1, keepdims=True)
    return resp.T
