r"""A filter that is given rows as they come.

.. math:: p(z_t \mid x_{1..t}) \propto p(x_t \mid z_t)
          \sum_{z_{t-1}} A_{z_{t-1} z_t}\, p(z_{t-1} \mid x_{1..t-1})

Only :math:`p(z_t \mid x_{1..t})` is kept from one update to the next. It is the row before the
block in the compiled recursions of :mod:`skvae.chain`, so that results are those of the whole
sequence. Chains with zeros or tiny transitions are filtered in log space, where no probability
underflows: a block cannot go back to the rows of an earlier one.
"""

from copy import deepcopy
from numbers import Integral
from typing import NamedTuple

import numpy as np

from skvae.chain.recursion import Recursion, SingleState
from skvae.hmm.e_step import rows_under
from skvae.hmm.forecast import forecasts_of
from skvae.validation import check_number


class FilteredRows(NamedTuple):
    """The results of some rows: probabilities of their states, and their log-densities.

    Parameters
    ----------
    state_proba : ndarray of shape (n_samples, n_components)
        The posterior p(z_t | x_1..x_t) given the rows up to this one; float32 if X is.
    log_p : ndarray of shape (n_samples,)
        Log-densities ln p(x_t | x_1..x_{t−1}), in nats, as of ``score_samples``; −inf for a row
        that is impossible after those before it, which then counts as a missing row.

    Examples
    --------
    >>> from skvae import EMHiddenMarkov
    >>> from skvae.hmm import PoissonEmission
    >>> chain = EMHiddenMarkov.from_parameters(
    ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
    ... )
    >>> state_proba, log_p = chain.online().update([[1]])
    >>> log_p.round(2)
    array([-1.69])
    """

    state_proba: np.ndarray
    log_p: np.ndarray


class OnlineFilter:
    """A filter of one sequence that is given rows as they come, and keeps the state.

    Make it with :meth:`skvae.EMHiddenMarkov.online`. Each filter follows one sequence: for several
    sequences at the same time make one filter for each. It has its own copy of the parameters and
    does not change when the model is fitted again. It can be copied and pickled at any time.

    Parameters
    ----------
    model : EMHiddenMarkov
        The fitted model.

    Attributes
    ----------
    state_proba : ndarray of shape (n_components,)
        The probabilities of the state of the last row; before the first row, start probabilities.
    n_rows : int
        The number of rows since the last :meth:`reset`.
    log_likelihood : float
        The log-density of these rows, in nats.

    See Also
    --------
    skvae.EMHiddenMarkov.predict_proba : With ``inference="filter"``, the same for whole sequences.

    Examples
    --------
    >>> from skvae import EMHiddenMarkov
    >>> from skvae.hmm import PoissonEmission
    >>> chain = EMHiddenMarkov.from_parameters(
    ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
    ... )
    >>> online = chain.online()
    >>> for row in [[1], [4], [9]]:
    ...     online.update([row]).state_proba.round(2)
    array([[1., 0.]])
    array([[0.8, 0.2]])
    array([[0., 1.]])
    >>> round(online.log_likelihood / online.n_rows, 3) == round(chain.score([[1], [4], [9]]), 3)
    True
    """

    def __init__(self, model):
        self._model = deepcopy(model)
        self._parameters = self._model._parameters()
        start, transmat, _ = self._parameters
        recursion = (SingleState if len(start) == 1 else Recursion)(start, transmat)
        self._recursion = recursion.in_log_space() if recursion.bounded else recursion
        self._kernel = None  # made when it is needed, and not pickled
        self.reset()

    def __getstate__(self):
        return {**vars(self), "_kernel": None}

    def reset(self):
        """Return self at the beginning of a new sequence.

        Returns
        -------
        self : OnlineFilter
            Without any row.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> online = chain.online()
        >>> online.update([[1]]).state_proba.round(2)
        array([[1., 0.]])
        >>> online.reset().state_proba
        array([0.5, 0.5])
        """
        self._alpha = np.zeros(len(self._recursion.start))
        self.n_rows, self.log_likelihood = 0, 0.0
        return self

    @property
    def state_proba(self):
        """Return the probabilities of the state of the last row, shape (n_components,)."""
        if not self.n_rows:
            return self._parameters.startprob.copy()
        return np.array(self._recursion.probabilities(self._alpha))

    def update(self, X):
        """Return the FilteredRows of the next rows of the sequence, which the filter then keeps.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            One row or more in time order, after those of earlier updates; NaN is missing.

        Returns
        -------
        rows : FilteredRows
            A named tuple ``(state_proba, log_p)``.

        Raises
        ------
        ValueError
            X is not usable; the filter is unchanged.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> online = chain.online()
        >>> online.update([[1], [8]]).log_p.round(3)
        array([-1.69 , -4.305])
        >>> online.update([[9]]).log_p.round(3)
        array([-2.133])
        """
        X = self._model._one_sequence(X, "update").X
        if self._kernel is None:
            self._kernel = self._parameters.emission.kernel()
        log_density = rows_under(self._parameters.emission, self._kernel, X).log_density()
        alpha, log_p = self._filtered(self._recursion, log_density, self._alpha)
        if alpha is None:  # a normaliser is almost zero
            logs = self._recursion.in_log_space()
            with np.errstate(divide="ignore"):
                alpha, log_p = self._filtered(logs, log_density, np.log(self._alpha))
            alpha = np.exp(alpha)
        self._alpha = alpha[-1].copy()
        self.n_rows += len(X)
        self.log_likelihood += float(log_p.sum())
        with np.errstate(over="ignore"):  # −1e300 is −inf in float32
            log_p = log_p.astype(X.dtype, copy=False)
        return FilteredRows(
            np.array(self._recursion.probabilities(alpha[1:]), dtype=X.dtype), log_p
        )

    def _filtered(self, recursion, log_density, before):
        """Return (α of the row before and of all rows, log_p); α is None if it is not exact."""
        n_rows, width = log_density.shape[1], len(recursion.start)
        likelihood, alpha = np.empty((n_rows, width)), np.empty((n_rows + 1, width))
        scale, top = np.empty(n_rows), np.empty(n_rows)
        recursion.load(log_density, likelihood, top)
        alpha[0] = before
        first = np.zeros(n_rows, dtype=bool)
        first[0] = not self.n_rows
        log_scale = recursion.forward(first, likelihood, alpha, scale, np.zeros((1, width)))
        return (None, None) if log_scale is None else (alpha, top + log_scale)

    def forecast(self, n_steps):
        """Return the distribution of the next rows, a :class:`skvae.hmm.Forecast`.

        Parameters
        ----------
        n_steps : int
            The number of steps.

        Returns
        -------
        forecast : Forecast
            Its ``index`` are the numbers of the rows since the last :meth:`reset`.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> online = chain.online()
        >>> online.update([[1], [0]]).state_proba.round(2)
        array([[1., 0.],
               [1., 0.]])
        >>> online.forecast(3).mean.round(2).ravel()
        array([1.8 , 2.44, 2.95])
        """
        check_number("n_steps", n_steps, Integral, 1)
        if not self.n_rows:
            raise ValueError("the filter has no row yet: forecast needs at least one update")
        index = np.arange(self.n_rows, self.n_rows + int(n_steps))
        parameters = deepcopy(self._model._parameters())
        kept = parameters.emission, parameters.transmat
        proba = self.state_proba[None]
        return forecasts_of(self._model, *kept, proba, int(n_steps), [index])[0]
