"""First parameters of a chain: states by clusters, transitions by counting, and given values."""

import numpy as np
from sklearn.metrics import pairwise_distances_argmin
from sklearn.utils.random import sample_without_replacement

from skvae.blocks import Sequences, is_distributed
from skvae.hmm.known_states import named_by_known
from skvae.hmm.parameters import ChainPrior
from skvae.initialization import INIT_PARAMS, MAX_ROWS, assignment_of, first_labels
from skvae.validation import check_concentration, check_stochastic

_WINDOW = 256  # neighbouring rows that are read together, so that transitions can be counted
_REACH = 5  # rows to either side, where first states are sought in averages
_KINDS = "kmeans", "spreads", "windows"
_REACHES = 10, 30, 3  # rows to either side of the windows of ``spreads``
_LEAST_WINDOW = 10  # rows of a window of ``windows``, if there are so many
_LEAST_VARIANCE = 1e-6  # of a window, relative to the variance of all rows
JUDGED = 4096  # rows by which starts are compared
SMOOTHING = 1.0  # added to each count: EM never leaves an exact zero


def check_chain(estimator):
    """Return (startprob_init, transmat_init), each checked or None, and the ChainPrior."""
    n = int(estimator.n_components)
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
        check_concentration("startprob_prior", estimator.startprob_prior, [(), (n,)]),
        check_concentration("transmat_prior", estimator.transmat_prior, [(), (n,), (n, n)]),
        start_allowed,
        allowed,
    )
    return startprob, transmat, prior


def with_given_start(data, init_params, n_components):
    """Return Sequences with the labels or responsibilities that a fit starts from.

    A callable is called when the fit starts.

    Raises
    ------
    ValueError
        They do not go with the rows.
    """
    if is_distributed(data.X):
        raise ValueError(
            "init_params as labels, responsibilities or a callable needs rows in memory, and X is "
            f"a Dask array: must be one of {', '.join(map(repr, INIT_PARAMS))}"
        )
    if callable(init_params):
        return data
    if data.listed and len(init_params) == len(data.offsets) - 1 and np.ndim(init_params[0]):
        lengths = [len(part) for part in init_params]
        for s, (length, wanted) in enumerate(zip(lengths, np.diff(data.offsets), strict=True)):
            if length != wanted:
                raise ValueError(
                    f"init_params[{s}] has {length} entries for {wanted} rows: must have one label "
                    "or one row of responsibilities for each row"
                )
        init_params = np.concatenate([np.asarray(part) for part in init_params])
    return data._replace(start=assignment_of(init_params, data.X, n_components, None))


def windows_to_start_from(n_rows, n_components, rng):
    """Return the places of some rows for a start, in time order: windows of neighbours."""
    n_kept = max(MAX_ROWS, 128 * int(n_components))
    windows = sample_without_replacement(-(-n_rows // _WINDOW), n_kept // _WINDOW, random_state=rng)
    rows = (np.sort(windows)[:, None] * _WINDOW + np.arange(_WINDOW)).ravel()
    return rows[rows < n_rows]


def first_states(
    X, weight, index, offsets, estimator, emission, summary, prior, number, rng, known=None
):
    """Yield the first state of each row, −1 for none, shape (n,), of each kind of start.

    With ``init_params='kmeans'`` the first start has several kinds, of which the best is to be
    chosen, and later ones take these kinds in turn, so that several starts differ: clusters of rows
    (or of averages over windows), clusters of the variances within windows, and windows drawn at
    random, one for each state. For left-right chains there is one kind, equal parts of each
    sequence, as clusters have no order.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        The rows of the start, complete.
    weight : ndarray of shape (n,) or None
        Their weights.
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
    number : int
        The number of starts before; it decides the kind and the length of windows too.
    rng : RandomState
        The source of randomness.
    known : ndarray of int, shape (n,), or None
        Their known states, −1 where unknown.
    """
    n, kinds = int(estimator.n_components), (estimator.init_params,)
    if kinds == ("kmeans",) and n > 1:
        kinds = _KINDS if number == 0 else (_KINDS[-number % len(_KINDS)],)
        if not prior.allowed.all() and not np.tril(prior.allowed, -1).any():
            kinds = ("parts",)
    if kinds == ("random",):
        labels = rng.randint(n, size=len(index))
        yield labels if known is None else named_by_known(labels, known, n)
        return
    if kinds == ("parts",):
        sequence = np.searchsorted(offsets, index, side="right") - 1
        labels = (index - offsets[sequence]) * n // np.diff(offsets)[sequence]
        yield labels if known is None else np.where(known >= 0, known, labels)
        return
    X = np.asarray(emission.features(X, summary), dtype=np.float64)
    for kind in kinds:
        if kind == "windows":
            length = max(min(len(index) // n, _LEAST_WINDOW), len(index) // (8 * n))
            drawn = rng.choice(len(index) // length, size=n, replace=False)
            labels = np.full(len(index), -1)
            labels[drawn[:, None] * length + np.arange(length)] = np.arange(n)[:, None]
            yield labels if known is None else named_by_known(labels, known, n)
            continue
        points, method = X, kind
        if kind == "spreads":
            method, reach = "kmeans", _REACHES[number // len(_KINDS) % len(_REACHES)]
            scale = np.abs(X).max(axis=0, initial=0.0)
            unit = X / np.where(scale > 0, scale, 1.0)
            unit -= unit.mean(axis=0)
            variance = _averages(unit**2, index, offsets, reach)
            variance -= _averages(unit, index, offsets, reach) ** 2
            least = _LEAST_VARIANCE * (unit.var(axis=0) + _LEAST_VARIANCE)
            points = np.log(np.maximum(variance, 0.0) + least)
        elif emission.smooth_start:
            points = _averages(X, index, offsets, _REACH)
        labels = first_labels(points, weight, n, method, rng)
        if (labels < 0).any():  # one row for each state was chosen: the others go to the nearest
            # Rows that are alike may have been chosen as one: a state may be without rows.
            states, chosen_rows = np.unique(labels[labels >= 0], return_index=True)
            chosen_rows = np.flatnonzero(labels >= 0)[chosen_rows]
            labels = states[pairwise_distances_argmin(points, points[chosen_rows])]
        yield labels if known is None else named_by_known(labels, known, n)


def _averages(X, index, offsets, reach):
    """Return each row's average over the rows near it in its sequence, of rows that are chosen."""
    breaks = np.flatnonzero((np.diff(index) > 1) | np.isin(index[1:], offsets)) + 1
    run = np.searchsorted(breaks, np.arange(len(X)), side="right")
    edges = np.concatenate([[0], breaks, [len(X)]])
    place = np.arange(len(X))
    first = np.maximum(edges[run], place - reach)
    last = np.minimum(edges[run + 1], place + reach + 1)
    sums = np.concatenate([np.zeros((1, X.shape[1])), np.cumsum(X, axis=0)])
    return (sums[last] - sums[first]) / (last - first)[:, None]


def carried_on(labels, unseen):
    """Return the labels with those of rows without any value replaced by the label before them."""
    if unseen.all():
        return labels
    known = np.where(unseen, 0, np.arange(len(labels)))
    before = np.maximum.accumulate(known)
    before[: np.argmin(unseen)] = np.argmin(unseen)  # the first ones have no row before them
    return labels[before]


def rows_to_judge_from(X, weight, index, data, known=None):
    """Return at most ``JUDGED`` rows of a start as Sequences, by which starts are compared."""
    if len(X) > JUDGED:
        blocks = np.arange(len(X)) // _WINDOW
        n_blocks = blocks[-1] + 1
        kept = np.unique(np.linspace(0, n_blocks - 1, JUDGED // _WINDOW).astype(np.intp))
        keep = np.isin(blocks, kept)
        X, index, weight = X[keep], index[keep], None if weight is None else weight[keep]
        known = None if known is None else known[keep]
    begins = np.flatnonzero((np.diff(index) > 1) | np.isin(index[1:], data.offsets)) + 1
    begins = np.concatenate([[0], begins])
    whole = np.searchsorted(data.offsets, index[begins], side="right") - 1
    places = data.places()[:, whole]
    places[1] += index[begins] - data.offsets[whole]
    return Sequences(X, np.append(begins, len(X)), weight, states=known, given=places)
