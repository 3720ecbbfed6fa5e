"""First parameters of a chain: states by k-means, transitions by counting, and given values."""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils.random import sample_without_replacement

from skvae.blocks import is_complete
from skvae.hmm.parameters import ChainPrior, ChainStatistics
from skvae.initialization import MAX_ROWS, first_labels
from skvae.validation import check_array_parameter

_WINDOW = 256  # neighbouring rows that are read together, so that transitions can be counted
_REACH = 5  # rows to either side, where first states are sought in averages
_SMOOTHING = 1.0  # added to each count: EM never leaves an exact zero


def check_stochastic(name, value, shape, meaning):
    """Return an array parameter of distributions as its rows; raise ValueError if they are not."""
    array = check_array_parameter(name, value, shape, meaning)
    if (array < 0).any():
        raise ValueError(f"{name} has an entry {array.min()}: must be >= 0")
    totals = array.sum(axis=-1)
    if (np.abs(totals - 1) > 1e-6).any():
        worst = np.ravel(totals)[np.argmax(np.abs(np.ravel(totals) - 1))]
        raise ValueError(f"{name} has a row that sums to {worst:.9g}: must sum to 1")
    return array / totals[..., None]


def _check_prior(name, value, shapes):
    array = check_array_parameter(name, value, None, "")
    if array.shape not in shapes:
        allowed = ", ".join(map(str, shapes))
        raise ValueError(f"{name} has shape {array.shape}: must have one of the shapes {allowed}")
    if (array < 1).any():
        raise ValueError(
            f"{name}={value!r}: must be >= 1, as the objective has no maximum below (1 is no prior)"
        )
    return np.broadcast_to(array, shapes[-1]).copy()


def check_chain(estimator):
    """Return (startprob_init, transmat_init), each checked or None, and the ChainPrior."""
    n = estimator.n_components
    startprob, transmat = estimator.startprob_init, estimator.transmat_init
    start_allowed, allowed = np.ones(n, dtype=bool), np.ones((n, n), dtype=bool)
    if startprob is not None:
        startprob = check_stochastic("startprob_init", startprob, (n,), "(n_components,)")
        start_allowed = startprob > 0
    if transmat is not None:
        meaning = "(n_components, n_components)"
        transmat = check_stochastic("transmat_init", transmat, (n, n), meaning)
        allowed = transmat > 0
    prior = ChainPrior(
        _check_prior("startprob_prior", estimator.startprob_prior, [(), (n,)]),
        _check_prior("transmat_prior", estimator.transmat_prior, [(), (n,), (n, n)]),
        start_allowed,
        allowed,
    )
    return startprob, transmat, prior


def windows_to_start_from(n_rows, n_components, rng):
    """Return the places of some rows for a start, in time order: windows of neighbours."""
    n_kept = max(MAX_ROWS, 128 * int(n_components))
    windows = sample_without_replacement(-(-n_rows // _WINDOW), n_kept // _WINDOW, random_state=rng)
    rows = (np.sort(windows)[:, None] * _WINDOW + np.arange(_WINDOW)).ravel()
    return rows[rows < n_rows]


def first_states(rows, index, offsets, estimator, emission, summary, prior, rng):
    """Return the first state of each row of a start.

    Parameters
    ----------
    rows : Rows
        The rows of the start.
    index : ndarray of int, shape (n,)
        Their places among all rows.
    offsets : ndarray of int
        Where sequences begin and end.
    estimator : EMHiddenMarkov
        Its ``n_components`` and ``init_params`` are read.
    emission : Emission
        The emission family.
    summary : object
        Its summary of the data.
    prior : ChainPrior
        The prior of the chain.
    rng : RandomState
        The source of randomness.
    """
    n, method = estimator.n_components, estimator.init_params
    if method == "random":
        return rng.randint(n, size=len(index))
    if (
        method == "kmeans"
        and n > 1
        and not prior.allowed.all()
        and not np.tril(prior.allowed, -1).any()
    ):
        # Clusters have no order: each sequence is cut into equal parts, one for each state.
        sequence = np.searchsorted(offsets, index, side="right") - 1
        lengths = np.diff(offsets)[sequence]
        return (index - offsets[sequence]) * n // lengths
    X, weight = rows.take(0, rows.n_rows)
    X = np.asarray(emission.features(X, summary), dtype=np.float64)
    if not is_complete(X):
        X = _complete(X)
    if emission.smooth_start:
        X = _averages(X, index, offsets)
    labels = first_labels(X, weight, n, method, rng)
    if (labels < 0).any():  # one row for each state was chosen: the others go to the nearest
        # Rows that are alike may have been chosen as one: a state may be without rows.
        states, chosen_rows = np.unique(labels[labels >= 0], return_index=True)
        chosen_rows = np.flatnonzero(labels >= 0)[chosen_rows]
        labels = states[pairwise_distances_argmin(X, X[chosen_rows])]
    return labels


def _averages(X, index, offsets):
    """Return each row's average over the rows near it in its sequence, of rows that are chosen."""
    breaks = np.flatnonzero((np.diff(index) > 1) | np.isin(index[1:], offsets)) + 1
    run = np.searchsorted(breaks, np.arange(len(X)), side="right")
    edges = np.concatenate([[0], breaks, [len(X)]])
    place = np.arange(len(X))
    first = np.maximum(edges[run], place - _REACH)
    last = np.minimum(edges[run + 1], place + _REACH + 1)
    sums = np.concatenate([np.zeros((1, X.shape[1])), np.cumsum(X, axis=0)])
    return (sums[last] - sums[first]) / (last - first)[:, None]


def _complete(X):
    """Return X with missing values replaced by the means of the features."""
    missing = np.isnan(X)
    counts = np.maximum((~missing).sum(axis=0), 1)
    return np.where(missing, np.where(missing, 0.0, X).sum(axis=0) / counts, X)


def counted(index, offsets, labels, n_components):
    """Return the ChainStatistics of labelled rows: smoothed counts of starts and transitions."""
    begins = np.isin(index, offsets[:-1])
    follows = (np.diff(index) == 1) & ~begins[1:]
    starts = np.bincount(labels[begins], minlength=n_components).astype(np.float64)
    pairs = np.zeros((n_components, n_components))
    np.add.at(pairs, (labels[:-1][follows], labels[1:][follows]), 1.0)
    return ChainStatistics(starts + _SMOOTHING, pairs + _SMOOTHING, None)
