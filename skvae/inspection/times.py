"""Times of rows on an axis: numbers, dates and durations."""

import sys

import numpy as np


class TimeAxis:
    """The places of rows on an axis.

    Parameters
    ----------
    x : array-like of shape (n_rows,), pandas.Index or None
        The place of each row: numbers, dates, periods or durations, which increase. None is the
        number of the row.
    n_rows : int
        The number of rows.
    date2num : callable
        The function of matplotlib that turns dates into numbers.

    Attributes
    ----------
    values : ndarray of shape (n_rows,)
        The places as numbers: dates as matplotlib's days, durations in seconds.
    edges : ndarray of shape (n_rows + 1,)
        The middles between neighbours.
    label : str
        The name of the axis.
    is_date, is_row : bool
        Whether the places are dates, and whether they are the numbers of the rows.

    Raises
    ------
    ValueError
        The places are not numbers or dates, not as many as the rows, or do not increase.
    """

    def __init__(self, x, n_rows, date2num):
        self.label, self.is_date, self.is_row = "row", False, x is None
        self.values = np.arange(float(n_rows)) if x is None else self._numbers(x, date2num)
        if self.values.shape != (n_rows,):
            raise ValueError(
                f"x has shape {self.values.shape}: must have one entry for each of the "
                f"{n_rows} rows"
            )
        steps = np.diff(self.values)
        if not np.isfinite(self.values).all() or not (steps > 0).all():
            raise ValueError(
                "x must be finite and increase from row to row. Draw sequences with times of "
                "their own one by one"
            )
        first, last = (steps[0], steps[-1]) if len(steps) else (1.0, 1.0)
        ends = self.values[0] - first / 2, self.values[-1] + last / 2
        self.edges = np.concatenate([ends[:1], self.values[:-1] + steps / 2, ends[1:]])

    def _numbers(self, x, date2num):
        """Return the places as numbers, and set the label and the kind of the axis."""
        self.label = str(getattr(x, "name", None) or "")
        x = _without_periods(x)
        values = np.asarray(x)
        if values.dtype.kind == "m":
            self.label = self.label or "seconds"
            return values / np.timedelta64(1, "s")
        if values.dtype.kind == "M":
            self.is_date = True
            return date2num(values)
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"x must be numbers, dates or durations: {error}") from error

    def at(self, rows):
        """Return the places of rows, of which the numbers need not be whole."""
        if self.is_row:
            return rows
        return np.interp(rows, np.arange(len(self.values)), self.values)


def _without_periods(x):
    """Return the first moments of periods, and local times without their zone."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(x, pandas.PeriodIndex):
        return x.to_timestamp()
    if pandas is not None and isinstance(x, pandas.DatetimeIndex) and x.tz is not None:
        return x.tz_localize(None)
    return x


def times_of(X):
    """Return the index of a pandas object if it has dates or periods that increase, else None."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(X, pandas.DataFrame | pandas.Series):
        return None
    kinds = pandas.DatetimeIndex | pandas.PeriodIndex
    index = X.index
    return index if isinstance(index, kinds) and index.is_monotonic_increasing else None
