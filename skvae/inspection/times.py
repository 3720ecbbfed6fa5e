"""Times of rows on an axis: numbers, dates and durations."""

import sys
from datetime import date, timedelta

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
    zone : datetime.tzinfo or None
        The time zone of the dates.

    Raises
    ------
    ValueError
        The places are not numbers or dates, not as many as the rows, or do not increase.
    """

    def __init__(self, x, n_rows, date2num):
        self.label, self.is_date, self.is_row, self.zone = "row", False, x is None, None
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
        x = _as_index(x)
        values = np.asarray(x)
        first = values.flat[0] if values.dtype == object and values.size else None
        if isinstance(first, timedelta):
            values = values.astype("timedelta64[us]")
        if values.dtype.kind == "m":
            self.label = self.label or "seconds"
            return values / np.timedelta64(1, "s")
        if values.dtype.kind == "M" or isinstance(first, date):
            self.is_date = True
            self.zone = getattr(x, "tz", getattr(first, "tzinfo", None))
            return date2num(values)  # in UTC if they have a zone, as local hours may repeat
        try:
            return values.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(f"x must be numbers, dates or durations: {error}") from error

    def at(self, rows):
        """Return the places of rows, of which the numbers need not be whole."""
        if self.is_row:
            return rows
        return np.interp(rows, np.arange(len(self.values)), self.values)


def _as_index(x):
    """Return a Series as an index, and the first moments of periods."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(x, pandas.Series):
        x = pandas.Index(x)
    if pandas is not None and isinstance(x, pandas.PeriodIndex):
        return x.to_timestamp()
    return x


def times_of(X):
    """Return the index of a pandas object if it has dates or periods that increase, else None."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(X, pandas.DataFrame | pandas.Series):
        return None
    kinds = pandas.DatetimeIndex | pandas.PeriodIndex
    return X.index if isinstance(X.index, kinds) and increases(X.index) else None


def increases(index):
    """Return whether an index increases from row to row; one with NaN or NaT does not."""
    return index.is_monotonic_increasing and index.is_unique and not index.hasnans
