r"""The distribution of the rows after the end of a sequence.

Step h has the density of a mixture of the states, and each feature its distribution function

.. math:: p(x_{T+h} \mid x_{1..T}) = \sum_k p(z_{T+h} = k \mid x_{1..T})\, p(x_{T+h} \mid k), \qquad
          F(x) = \sum_k p(z_{T+h} = k \mid x_{1..T})\, F_k(x).

The quantile of q is the smallest x with F(x) ≥ q, found by bisection to the last digits. Draws take
its place for families without F.
"""

from collections import namedtuple
from functools import partial
from itertools import pairwise
from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from skvae.chain import algorithms
from skvae.columns import index_of
from skvae.tables import as_table
from skvae.validation import check_array_parameter, check_number, check_random

_N_DRAWS = 10_000  # for quantiles where there is no distribution function
_COVARIANCE_NUMBERS = 1 << 20  # numbers in one array of forecasts' covariances
_EQUAL_STEPS = 1e-9  # relative difference of the steps of an index of numbers that goes on


class Forecast(namedtuple("Forecast", ["state_proba", "mean", "covariance"])):
    """The distribution of the rows after the end of a sequence, one entry for each step.

    It is a named tuple of three arrays, and has methods for quantiles, intervals and draws. With
    ``set_output`` of the model, the mean, quantiles, intervals and draws are tables, whose columns
    are the features, and whose rows are the steps, with the times in ``index``. Where an array has
    one dimension more, for several quantiles or draws, there is a list of tables.

    Parameters
    ----------
    state_proba : ndarray of shape (n_steps, n_components)
        Probabilities of the states.
    mean : {ndarray, DataFrame} of shape (n_steps, n_features)
        Expected rows.
    covariance : ndarray of shape (n_steps, n_features, n_features)
        Their covariances.

    Attributes
    ----------
    index : pandas.Index, ndarray of int, or None
        The times of the steps. A DatetimeIndex with a frequency or equal steps, a PeriodIndex, and
        numbers with equal steps of the X of the model's ``forecast`` go on. It is None if X has an
        index without such a rule, as of working days of which some are missing:
        ``X.asfreq("B")`` of pandas inserts these as rows of NaN. If X has no index, it is the
        numbers of the rows after those of X.
    feature_names : ndarray of str, or None
        The names of the features, if the model has them.

    See Also
    --------
    skvae.inspection.ForecastDisplay : A plot with a fan of intervals.

    Examples
    --------
    >>> from skvae import EMHiddenMarkov
    >>> from skvae.hmm import PoissonEmission
    >>> chain = EMHiddenMarkov.from_parameters(
    ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
    ... )
    >>> forecast = chain.forecast([[1], [0]], 3)
    >>> lower, upper = forecast.interval(0.8)
    >>> upper.ravel()
    array([ 4.,  8., 10.])
    >>> forecast.index
    array([2, 3, 4])
    """

    index = None
    feature_names = None
    _emission = _transmat = _random_state = None  # of forecasts by earlier versions
    _table = None  # makes a table of steps and features, if the model's ``set_output`` has one

    def quantile(self, q):
        """Return quantiles of each feature in each step, the smallest x with P(feature ≤ x) ≥ q.

        They are those of the exact mixture over states. Emissions without a distribution function
        have the quantiles of 10,000 draws.

        Parameters
        ----------
        q : float or array-like of shape (n_quantiles,)
            Probabilities, between 0 and 1, both excluded.

        Returns
        -------
        quantile : {ndarray, DataFrame} of shape (n_steps, n_features), or several of these
            In the units of X; for an array q an ndarray of shape (n_quantiles, n_steps,
            n_features), or a list of tables.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import GaussianEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [1.0], [[1.0]], GaussianEmission.from_parameters([[10.0]], [4.0], "spherical")
        ... )
        >>> chain.forecast([[9.0]], 1).quantile([0.5, 0.975]).round(2)
        array([[[10.  ]],
        <BLANKLINE>
               [[13.92]]])
        """
        values = _probabilities("q", q)
        self._check_complete("quantile")
        found = np.stack([self._quantile(float(each)) for each in values.ravel()])
        return self._as_set(found.reshape(*values.shape, *self.mean.shape))

    def interval(self, level=0.9):
        """Return the central interval of each feature in each step, (lower, upper).

        As much probability, at most (1 − level) / 2, lies below it as above it.

        Parameters
        ----------
        level : float, default=0.9
            The probability of the interval, between 0 and 1; counts and codes may exceed it.

        Returns
        -------
        lower, upper : {ndarray, DataFrame} of shape (n_steps, n_features)
            Quantiles of (1 − level) / 2 and (1 + level) / 2.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import GaussianEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [1.0], [[1.0]], GaussianEmission.from_parameters([[10.0]], [4.0], "spherical")
        ... )
        >>> lower, upper = chain.forecast([[9.0]], 1).interval(0.95)
        >>> lower.round(2), upper.round(2)
        (array([[6.08]]), array([[13.92]]))
        """
        value = _probabilities("level", level)
        if value.ndim:
            raise ValueError(f"level={level!r}: must be one number between 0 and 1")
        tail = (1.0 - float(value)) / 2.0
        return tuple(self.quantile([tail, 1.0 - tail]))

    def sample(self, n_samples=1, *, random_state=None):
        """Return draws of all steps together: each is one way in which the sequence may go on.

        Parameters
        ----------
        n_samples : int, default=1
            The number of draws.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_steps, n_features), or list of DataFrame
            Rows; those of one step have the distribution of that step.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> forecast = chain.forecast([[1], [0]], 3)
        >>> forecast.sample(10_000, random_state=0).mean(axis=0).round(1).ravel()
        array([1.8, 2.5, 2.9])
        """
        check_number("n_samples", n_samples, Integral, 1)
        check_random("random_state", random_state)
        self._check_complete("sample")
        rng = check_random_state(self._random_state if random_state is None else random_state)
        return self._as_set(self._draws(int(n_samples), rng))

    def _as_set(self, X):
        """Return rows of all steps as the model's ``set_output`` set them, in two dimensions."""
        if self._table is None:
            return X
        tables = [self._table(rows, index=self.index) for rows in X.reshape(-1, *X.shape[-2:])]
        return tables[0] if X.ndim == 2 else tables

    def _draws(self, n_draws, rng):
        """Return draws of all steps together, shape (n_draws, n_steps, n_features)."""
        n_steps = len(self.state_proba)
        uniform = rng.uniform(size=(n_steps, n_draws))
        states = np.empty((n_draws, n_steps), dtype=np.int64)
        rows = _cumulated(self._transmat)
        ahead = _cumulated(self.state_proba[:1])
        for step in range(n_steps):
            states[:, step] = (uniform[step][:, None] >= ahead).sum(axis=1)
            ahead = rows[states[:, step]]
        return self._emission.sample(states.ravel(), rng).reshape(n_draws, n_steps, -1)

    def _check_complete(self, method):
        """Raise ValueError if this is a tuple of arrays alone, without the emission."""
        if self._emission is None:
            raise ValueError(
                f"this Forecast was made from arrays or by an earlier version: {method} needs one "
                "that EMHiddenMarkov.forecast or EGHiddenMarkov.forecast returns"
            )

    def _quantile(self, q):
        """Return the quantile of q, shape (n_steps, n_features)."""
        proba = self.state_proba / self.state_proba.sum(axis=1, keepdims=True)

        def probability(x):
            return np.einsum("hk,hkd->hd", proba, self._emission.cdf(x))

        with np.errstate(invalid="ignore", over="ignore"):
            unknown = np.isnan(probability(np.zeros(self.mean.shape)))
            out = np.asarray(self.mean)
            out = out if unknown.all() else _smallest(probability, q, *self._scale())
        if unknown.any():
            draws = self._draws(_N_DRAWS, np.random.RandomState(0))
            drawn = np.quantile(draws, q, axis=0, method="inverted_cdf")
            out = np.where(unknown, drawn, out)
        return out

    def _scale(self):
        """Return a finite centre and a positive width of each feature in each step."""
        variance, mean = self.covariance.diagonal(axis1=1, axis2=2), np.asarray(self.mean)
        width = np.sqrt(np.where((variance > 0) & (variance < np.inf), variance, 1.0))
        return np.where(np.isfinite(mean), mean, 0.0), width


def forecasts_of(model, emission, transmat, state_proba, n_steps, indices):
    """Return a Forecast for each sequence.

    Parameters
    ----------
    model : estimator
        The fitted model.
    emission : object
        The densities of a row of the next steps given its state, with ``means``, ``covariances``,
        ``cdf`` and ``sample`` of :class:`skvae.emissions.EmissionParameters`. It is kept, and must
        not change with the model.
    transmat : ndarray of shape (n_components, n_components)
        Transition probabilities, kept likewise.
    state_proba : ndarray of shape (n_sequences, n_components)
        The probabilities of the state of each sequence's last row.
    n_steps : int
        The number of steps.
    indices : list
        For each sequence the index of its steps.
    """
    proba = algorithms.forecast(state_proba, transmat, n_steps)
    means, covariances = emission.means(), emission.covariances()
    size = max(1, _COVARIANCE_NUMBERS // (proba[0].size * means.shape[1]))
    found = []
    for first in range(0, len(proba), size):  # sequences together, in bounded memory
        some = proba[first : first + size]
        mean = some @ means
        spread = means - mean[:, :, None]
        covariance = np.einsum("shk,shki,shkj->shij", some, spread, spread, optimize=True)
        covariance += np.einsum("shk,kij->shij", some, covariances, optimize=True)
        found += zip(some, mean, covariance, strict=True)
    library, table, dtypes = model._output_library(), None, vars(model).get("_dtypes_in")
    if library is not None:
        table = partial(as_table, library=library, names=model._column_names())
    for s, index in enumerate(indices):
        proba, mean, covariance = found[s]
        mean = mean if table is None else table(mean, index=index)  # of floats, also of counts
        found[s] = forecast = Forecast(proba, mean, covariance)
        forecast._table = table and partial(table, dtypes=dtypes)
        forecast.index = index
        forecast.feature_names = getattr(model, "feature_names_in_", None)
        forecast._emission, forecast._transmat = emission, transmat
        forecast._random_state = model.random_state
    return found


def _probabilities(name, value):
    """Return an array of probabilities; raise ValueError unless all are between 0 and 1."""
    array = check_array_parameter(name, value, None, "between 0 and 1")
    if array.ndim > 1 or not array.size or not ((array > 0) & (array < 1)).all():
        raise ValueError(
            f"{name}={value!r}: must be numbers between 0 and 1, both excluded, in one dimension"
        )
    return array


def _cumulated(proba):
    """Return cumulated probabilities whose last one is exactly one."""
    below = np.cumsum(proba, axis=-1)
    return below / below[..., -1:]


def _smallest(probability, q, centre, width):
    """Return the smallest x with ``probability(x)`` ≥ q, by bisection.

    Parameters
    ----------
    probability : callable
        A distribution function of each entry, right-continuous; where it is NaN, x is any number.
    q : float
        Between 0 and 1.
    centre, width : ndarray
        A first value, and the first distance from it.
    """
    low, high, step = centre - width, centre + width, width.copy()
    while (outside := (probability(low) >= q) & (low > -np.inf)).any():
        step = 2.0 * step
        low = np.where(outside, centre - step, low)
    step = width.copy()
    while (outside := (probability(high) < q) & (high < np.inf)).any():
        step = 2.0 * step
        high = np.where(outside, centre + step, high)
    least = np.finfo(np.float64).eps * width
    while True:
        middle = low + (high - low) / 2.0
        inside = (middle > low) & (middle < high) & (high - low > least)
        if not inside.any():
            break
        below = probability(middle) < q
        low, high = np.where(inside & below, middle, low), np.where(inside & ~below, middle, high)
    whole = np.round(high)  # a count or a code, but for the last digits
    return np.where((whole <= high) & (probability(whole) >= q), whole, high) + 0.0


# Times --------------------------------------------------------------------------------------------


def indices_after(X, offsets, listed, n_steps):
    """Return for each sequence the index of the steps after its end, or None if there is no rule.

    Parameters
    ----------
    X : array-like, or list of such
        The rows as they were given.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Where sequences begin and end.
    listed : bool
        Whether X is a list of sequences or a 3-D array.
    n_steps : int
        The number of steps.
    """
    found, whole = [], None if listed else index_of(X)
    for s, (a, b) in enumerate(pairwise(offsets)):
        own = index_of(X[s]) if listed else whole
        if own is None:
            found.append(np.arange(b - a, b - a + n_steps))
        else:
            found.append(_after(own if listed else own[a:b], n_steps))
    return found


def _after(index, n_steps):
    """Return the index of the steps after an index that goes on by a rule, or None."""
    import pandas as pd

    steps = np.arange(1, n_steps + 1)
    if isinstance(index, pd.RangeIndex):
        stop = index.stop if len(index) == 0 else index[-1] + index.step
        return pd.RangeIndex(stop, stop + n_steps * index.step, index.step, name=index.name)
    if isinstance(index, pd.PeriodIndex):
        step = _equal_step(index.astype("int64")) if len(index) > 1 else 1
        return None if step is None else pd.PeriodIndex(index[-1] + step * steps, name=index.name)
    if isinstance(index, pd.DatetimeIndex):
        rule = index.freq or _rule_of(index)
        if rule is None:
            return None
        after = pd.date_range(index[-1], periods=n_steps + 1, freq=rule, name=index.name)
        return after[1:]
    if isinstance(index, pd.TimedeltaIndex):
        step = _equal_step(index.astype("int64"))
        after = None if step is None else index[-1] + (index[1] - index[0]) * steps
        return None if step is None else pd.TimedeltaIndex(after, name=index.name)
    if not pd.api.types.is_numeric_dtype(index.dtype) or pd.api.types.is_bool_dtype(index.dtype):
        return None
    step = _equal_step(index)
    return None if step is None else pd.Index(index[-1] + step * steps, name=index.name)


def _rule_of(index):
    """Return the frequency of times with equal steps, also of months and working days, or None."""
    import pandas as pd

    if len(index) == 2 and index[0] != index[1]:
        return index[1] - index[0]
    if len(index) < 3 or not index.is_unique:
        return None
    return pd.DatetimeIndex(index, freq="infer").freq


def _equal_step(index):
    """Return the step of numbers with equal steps, None of others."""
    values = np.asarray(index)
    if len(values) < 2:
        return None
    steps = np.diff(values)
    spread = np.abs(steps - steps[0]).max()
    return steps[0] if steps[0] and spread <= _EQUAL_STEPS * abs(steps[0]) else None
