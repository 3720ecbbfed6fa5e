"""Paired held-out comparison of density estimators, in nats per row.

Every model scores the same held-out rows. Two models are compared by the mean of the paired
differences d_i = ln p_a(x_i) − ln p_b(x_i). Its standard error is usually far below the standard
errors of the two means, since a row that is hard for one model is hard for the other [1]_.

Symbols: l_im, the held-out log-likelihood of row i under model m; b, the model with the largest
mean; g, a group of rows that are not independent of each other.

References
----------
.. [1] A. Vehtari, A. Gelman and J. Gabry (2017). "Practical Bayesian model evaluation using
   leave-one-out cross-validation and WAIC". Statistics and Computing 27, 1413-1432, section 5.
"""

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from html import escape

import numpy as np

from skvae.blocks.sequences import as_sequences, is_list_of_sequences
from skvae.comparison.checks import check_models, checked_groups, warn_of_different_spaces
from skvae.comparison.cross_validation import (
    folds,
    held_out_log_likelihood,
    n_rows_of,
    rows_of_folds,
)
from skvae.progress import progress_bar

__all__ = ["Comparison", "compare"]

_WIDTHS = 0, 8, 8, 7, 7, 5, 7  # the least widths of the table's columns
# Of a cell of HTML: notebooks may give tables backgrounds and colours that suit one theme alone.
_CELL = "padding:0.2em 0.7em;color:inherit;background:none;border-bottom:1px solid"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Result of :func:`skvae.compare`: held-out log-likelihoods, means and differences.

    Arrays over models are in the order of `names`; the table and the plot put the best first.

    Parameters
    ----------
    names : tuple of str
        The models, in the order they were given.
    log_likelihoods : ndarray of shape (n_rows, n_models)
        Held-out log-likelihood of each row under each model, nats; the mean over folds for a row
        that several folds tested, NaN for a row that none tested. ``-inf`` where a model gives a
        row density zero.
    groups : ndarray of shape (n_rows,) or None
        Rows of one group are not independent of each other; standard errors are clustered by it.
    fit_seconds, score_seconds : ndarray of shape (n_models,)
        Mean time over the folds to fit the training rows and to score the held-out ones, seconds.
    n_splits : int
        Number of folds.

    Attributes
    ----------
    means : ndarray of shape (n_models,)
        Mean held-out log-likelihood, nats per row.
    standard_errors : ndarray of shape (n_models,)
        Standard errors of `means`, nats per row.
    best : str
        The model with the largest mean.
    differences : ndarray of shape (n_models,)
        Mean minus the mean of the best model, nats per row, at most 0.
    difference_standard_errors : ndarray of shape (n_models,)
        Standard errors of `differences`, from the paired differences of rows.

    See Also
    --------
    skvae.compare : Makes the comparison.
    skvae.inspection.ComparisonDisplay : Plots the comparison.

    Notes
    -----
    The standard error of a mean of per-row numbers v_i over n rows is
    sqrt(G / (G − 1) Σ_g (Σ_{i in g} (v_i − v̄))²) / n, with G groups; without groups every row is
    one, and it is the usual s / sqrt(n). It estimates how much the mean varies with the held-out
    rows. It does not include how much the fitted models vary with the training rows, and is nan
    with fewer than two groups, or where a mean is infinite.

    A model that gives a single held-out row density zero has mean −inf: it was certain, and wrong.
    The table has the number of such rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.comparison import Comparison
    >>> comparison = Comparison(
    ...     names=("a", "b"),
    ...     log_likelihoods=np.array([[-1.0, -1.5], [-3.0, -3.5], [-2.0, -2.8]]),
    ...     groups=None,
    ...     fit_seconds=np.array([0.2, 0.1]),
    ...     score_seconds=np.array([0.0, 0.0]),
    ...     n_splits=3,
    ... )
    >>> comparison.differences.round(3)
    array([ 0. , -0.6])
    >>> comparison
    held-out log-likelihood, nats per row, over 3 rows in 3 folds
    model  nats/row ± s.e.  to best ± s.e.  fit s  score s
    a       -2.000    0.577     best            0.2        0
    b       -2.600    0.586   -0.600   0.100    0.1        0
    """

    names: tuple
    log_likelihoods: np.ndarray
    groups: np.ndarray | None
    fit_seconds: np.ndarray
    score_seconds: np.ndarray
    n_splits: int

    @property
    def means(self):
        return self._tested()[0].mean(axis=0)

    @property
    def standard_errors(self):
        return _standard_error(*self._tested())

    @property
    def best(self):
        return self.names[self._ranking()[0]]

    @property
    def differences(self):
        return self.difference_to(self.best)[0]

    @property
    def difference_standard_errors(self):
        return self.difference_to(self.best)[1]

    def difference_to(self, name):
        """Return each model's mean minus that of one model, and its paired standard error.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        differences : ndarray of shape (n_models,)
            Nats per row, 0 for `name` itself; nan where both models give the same row density zero.
        standard_errors : ndarray of shape (n_models,)
            Standard errors of `differences`, nats per row; 0 for `name` itself.

        Raises
        ------
        ValueError
            If `name` is not one of `names`.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.comparison import Comparison
        >>> seconds = np.zeros(2)
        >>> rows = np.array([[-1.0, -1.5], [-3.0, -3.5], [-2.0, -2.8]])
        >>> differences, standard_errors = Comparison(
        ...     ("a", "b"), rows, None, seconds, seconds, 3
        ... ).difference_to("b")
        >>> differences.round(3), standard_errors.round(3)
        (array([0.6, 0. ]), array([0.1, 0. ]))
        """
        if name not in self.names:
            raise ValueError(f"name={name!r} is none of the compared models: {list(self.names)}.")
        rows, groups = self._tested()
        column = self.names.index(name)
        with np.errstate(invalid="ignore"):  # −inf − −inf is nan
            paired = rows - rows[:, [column]]
        paired[:, column] = 0.0
        return paired.mean(axis=0), _standard_error(paired, groups)

    def to_frame(self):
        """Return the table as a pandas DataFrame, best model first.

        Returns
        -------
        frame : pandas.DataFrame of shape (n_models, 6)
            Index ``model``; columns ``mean``, ``standard_error``, ``difference``,
            ``difference_standard_error`` (nats per row), ``fit_seconds`` and ``score_seconds``
            (per fold).

        Raises
        ------
        ImportError
            If pandas is not installed. Printing the comparison needs no pandas.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.comparison import Comparison
        >>> rows, seconds = np.array([[-1.5, -1.0], [-3.5, -3.0]]), np.zeros(2)
        >>> frame = Comparison(("a", "b"), rows, None, seconds, seconds, 2).to_frame()
        >>> frame["mean"]
        model
        b   -2.0
        a   -2.5
        Name: mean, dtype: float64
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError(
                "Comparison.to_frame() needs pandas, which is not installed: install it, or print "
                "the comparison and read its arrays."
            ) from error
        columns = {
            "mean": self.means,
            "standard_error": self.standard_errors,
            "difference": self.differences,
            "difference_standard_error": self.difference_standard_errors,
            "fit_seconds": self.fit_seconds,
            "score_seconds": self.score_seconds,
        }
        frame = pd.DataFrame(columns, index=pd.Index(self.names, name="model"))
        return frame.iloc[self._ranking()]

    def plot(self, ax=None):
        """Return the plotted comparison, best model on top.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : skvae.inspection.ComparisonDisplay
            With ``ax_`` and ``figure_``.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.comparison import Comparison
        >>> rows, seconds = np.array([[-1.5, -1.0], [-3.5, -3.0]]), np.zeros(2)
        >>> display = Comparison(("a", "b"), rows, None, seconds, seconds, 2).plot()
        >>> display.ax_.get_xlabel()
        'nats per row, relative to b'
        """
        from skvae.inspection import ComparisonDisplay

        return ComparisonDisplay.from_comparison(self, ax=ax)

    def __repr__(self):
        title, table, notes = self._texts()
        columns = zip(_WIDTHS, zip(*table, strict=True), strict=True)
        w = [max(least, *map(len, cells)) for least, cells in columns]
        lines = [
            title,
            *(
                f"{name:<{w[0]}}  {mean:>{w[1]}} {error:>{w[2]}}  {to_best:>{w[3]}} "
                f"{to_best_error:>{w[4]}}  {fit:>{w[5]}}  {score:>{w[6]}}"
                for name, mean, error, to_best, to_best_error, fit, score in table
            ),
            *notes,
        ]
        return "\n".join(line.rstrip() for line in lines)

    def _repr_html_(self):
        """Return the table as HTML, which notebooks show; the best model is in bold.

        It has no colours of its own, so that it is legible on dark and light pages.
        """
        title, (header, *table), notes = self._texts()
        rows = [_html_row("th", header, _CELL), *(_html_row("td", row, _CELL) for row in table)]
        rows[1] = _html_row("td", table[0], f"{_CELL};font-weight:bold")
        below = "".join(f"<p>{escape(note)}</p>" for note in notes)
        return (
            f'<div><table style="border-collapse:collapse;color:inherit">'
            f'<caption style="caption-side:top;text-align:left;color:inherit">{escape(title)}'
            f"</caption><thead>{rows[0]}</thead><tbody>{''.join(rows[1:])}</tbody></table>"
            f"{below}</div>"
        )

    def _texts(self):
        """Return the title, the rows of the table with their header, and notes below it."""
        rows, groups = self._tested()
        order, zero = self._ranking(), np.isneginf(rows).sum(axis=0)
        header = ("model", "nats/row", "± s.e.", "to best", "± s.e.", "fit s", "score s")
        title = f"held-out log-likelihood, nats per row, over {self._counts(len(rows), groups)}"
        notes = [
            f"{self.names[m]}: density zero at {zero[m]} of {len(rows)} held-out rows"
            for m in order
            if zero[m]
        ]
        return title, [header, *self._table_rows(order)], notes

    def _table_rows(self, order):
        # Each property is computed from all rows of X: once, not for each line of the table.
        means, standard_errors = self.means, self.standard_errors
        differences, errors = self.difference_to(self.names[order[0]])
        for m in order:
            is_best = m == order[0]
            yield (
                self.names[m],
                f"{means[m]:.3f}",
                f"{standard_errors[m]:.3f}",
                "best" if is_best else f"{differences[m]:.3f}",
                "" if is_best else f"{errors[m]:.3f}",
                _seconds(self.fit_seconds[m]),
                _seconds(self.score_seconds[m]),
            )

    def _counts(self, n_tested, groups):
        n_rows = len(self.log_likelihoods)
        rows = f"{n_rows}" if n_tested == n_rows else f"the {n_tested} tested of {n_rows}"
        clusters = "" if groups is None else f" ({len(np.unique(groups))} groups)"
        return f"{rows} rows{clusters} in {self.n_splits} folds"

    def _tested(self):
        """Return the rows that were held out at least once, and their groups."""
        tested = ~np.isnan(self.log_likelihoods[:, 0])
        if tested.all():  # nearly always; without a copy
            return self.log_likelihoods, self.groups
        groups = None if self.groups is None else self.groups[tested]
        return self.log_likelihoods[tested], groups

    def _ranking(self):
        """Return model indices, best first; among means of −inf, fewest rows of density zero."""
        rows, _ = self._tested()
        zero = np.isneginf(rows)
        finite_mean = np.where(zero, 0.0, rows).sum(axis=0) / np.maximum((~zero).sum(axis=0), 1)
        return np.lexsort((-finite_mean, zero.sum(axis=0)))


def _html_row(tag, cells, style):
    """Return a row of a table of HTML: the first cell on the left, numbers on the right."""
    sides = ["left"] + ["right"] * (len(cells) - 1)
    texts = (
        f'<{tag} style="text-align:{side};{style}">{escape(str(cell))}</{tag}>'
        for side, cell in zip(sides, cells, strict=True)
    )
    return f"<tr>{''.join(texts)}</tr>"


def _seconds(value):
    """Return a time with two digits, from 100 seconds on with all before the point."""
    return f"{value:.2g}" if value < 99.5 else f"{value:.0f}"


def compare(models, X, *, cv=5, groups=None, n_jobs=None, verbose=0):
    """Return a paired comparison of density estimators by held-out log-likelihood.

    Each model is fitted to the training rows of each fold and scores the held-out ones, through
    scikit-learn's cross-validation; all models see the same folds. The table has, for each model,
    the mean in nats per row, its standard error, the difference to the best model with its paired
    standard error, and the seconds it took.

    Parameters
    ----------
    models : dict of str to estimator
        Any estimators with ``fit`` and a ``score_samples`` that gives the log-density of each row,
        in nats: those of skvae, :class:`sklearn.mixture.GaussianMixture`,
        :class:`sklearn.neighbors.KernelDensity`, a search over their parameters, or a Pipeline that
        ends in one (see Notes). They are cloned, never changed.
    X : {array-like, DataFrame} of shape (n_rows, n_features), or list of such
        The data, as the models take it. A list of sequences, or a 3-D array, is compared by its
        rows, with the sequence of each row as `groups`; `cv` then divides the sequences.
    cv : int, cross-validation generator or iterable, default=5
        An int, or None for 5, is the number of folds of
        :class:`~sklearn.model_selection.KFold`, which does not shuffle, or, with `groups`, of
        :class:`~sklearn.model_selection.GroupKFold`. A splitter or an iterable of
        ``(train, test)`` is used as it is, and its folds are made once. Rows tested by several
        folds (repeated cross-validation) count once, with their mean; rows tested by none (the
        first rows of a :class:`~sklearn.model_selection.TimeSeriesSplit`) count nowhere.
    groups : array-like of shape (n_rows,), default=None
        A label for each row: its sequence, patient or site. The splitter gets it, standard
        errors are clustered by it, and the rows' slices of it go to the ``fit`` of each model that
        requests `groups` (by metadata request, which need not be enabled) and to each
        ``score_samples`` that has such a parameter.
    n_jobs : int, default=None
        Number of folds that run at a time, as in :func:`~sklearn.model_selection.cross_validate`.
        Times are only comparable when nothing else runs.
    verbose : int, default=0
        0 prints nothing, 1 shows a progress bar with the current model, 2 prints a line for each
        model; 2 and more, minus one, is passed on to the cross-validation.

    Returns
    -------
    comparison : skvae.comparison.Comparison
        With the log-likelihood of each row under each model; it prints as a table.

    Raises
    ------
    ValueError
        If `models` is no dict, is empty or holds a class, if a fold holds no row out, or if a
        model's ``score_samples`` gives anything but one number below +inf for each held-out row.
    TypeError
        If a model has no ``fit`` or no ``score_samples``.

    Warns
    -----
    UserWarning
        If the models do not all have the same transformers in front of the density, or one is a
        search over its transformers; or if `cv` tests rows of a group that it also trains on.

    See Also
    --------
    skvae.inspection.ComparisonDisplay : Plots the result.
    sklearn.model_selection.cross_validate : One model, means of folds.

    Notes
    -----
    A density has the unit of its space: after ``StandardScaler`` or ``PCA`` the same data have
    other log-densities, shifted by the log-determinant of the map, or incomparable. So a Pipeline
    with transformers may only be compared with models behind the same transformers, or X be
    transformed once, before. Different transformers cause a warning. If a transformer does not
    change the data, wrap it in the estimator, or filter the warning.

    The best model is chosen and judged by the same rows, so its lead is slightly optimistic, the
    more so the more models there are and the less they differ. If the rows have an order (sorted
    by class, by time), pass a splitter that shuffles, or `groups`.

    To score a fitted model without another fit, pass it as a
    :class:`sklearn.frozen.FrozenEstimator`; it should not have been fitted to these rows.

    Examples
    --------
    >>> from sklearn.mixture import GaussianMixture
    >>> from sklearn.neighbors import KernelDensity
    >>> from skvae import compare
    >>> from skvae.datasets import load_geyser
    >>> models = {
    ...     "two Gaussians": GaussianMixture(2, random_state=0),
    ...     "kernel density": KernelDensity(bandwidth=0.5),
    ... }
    >>> comparison = compare(models, load_geyser().data)
    >>> comparison.best
    'two Gaussians'
    >>> comparison.differences.round(2)
    array([ 0.  , -0.61])
    """
    check_models(models)
    warn_of_different_spaces(models)
    # Once for all models: a splitter that shuffles would give others other folds.
    if is_list_of_sequences(X):
        sequences = as_sequences(X, groups, lambda rows: rows)
        X, lengths = sequences.X, np.diff(sequences.offsets)
        groups = np.repeat(np.arange(len(lengths)), lengths)
        splits = rows_of_folds(folds(cv, lengths, None), sequences.offsets)
    else:
        if groups is not None:
            groups = checked_groups(groups, n_rows_of(X))
        splits = folds(cv, X, groups)

    columns, fit_seconds, score_seconds = [], [], []
    options = {"groups": groups, "n_jobs": n_jobs, "verbose": max(verbose - 1, 0)}
    with progress_bar(len(models), "model") if verbose == 1 else nullcontext() as bar:
        for name, model in models.items():
            if bar is not None:
                bar.set_postfix_str(name)
            try:
                column, fit, score = held_out_log_likelihood(name, model, X, splits, **options)
            except Exception as error:
                error.add_note(f"This was raised in skvae.compare by the model {name!r}.")
                raise
            columns.append(column)
            fit_seconds.append(fit)
            score_seconds.append(score)
            mean = f"{name}: {np.nanmean(column):.3f} nats per row"
            if bar is not None:
                bar.set_postfix_str(mean, refresh=False)
                bar.update()
            elif verbose:
                sys.stdout.write(f"{mean}\n")
    return Comparison(
        names=tuple(models),
        log_likelihoods=np.column_stack(columns),
        groups=groups,
        fit_seconds=np.array(fit_seconds),
        score_seconds=np.array(score_seconds),
        n_splits=len(splits),
    )


def _standard_error(values, groups):
    """Return the standard error of each column's mean, rows clustered by group."""
    n_rows = len(values)
    with np.errstate(invalid="ignore"):  # an infinite mean has no standard error: nan
        deviations = values - values.mean(axis=0)
    if groups is not None:
        # Deviations of one group are added before they are squared, as they are correlated.
        _, codes = np.unique(groups, return_inverse=True)
        sums = np.zeros((codes.max() + 1, values.shape[1]))
        np.add.at(sums, codes, deviations)
        deviations = sums
    n_groups = len(deviations)
    if n_groups < 2:
        return np.full(values.shape[1], np.nan)
    return np.sqrt(n_groups / (n_groups - 1) * (deviations**2).sum(axis=0)) / n_rows
