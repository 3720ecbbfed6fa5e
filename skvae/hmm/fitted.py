"""What can be asked of a fitted hidden Markov model row by row: densities, states, criteria."""

import numpy as np
from sklearn.utils.metadata_routing import UNUSED

from skvae.blocks import is_distributed
from skvae.hmm.decoding import PathModel
from skvae.hmm.sequences import is_list_of_sequences
from skvae.validation import check_choice

_LEARNING = {"groups": True, "sequence_weight": True, "sample_weight": UNUSED}


class TransformsLists:
    """Transforms lists of sequences to lists, past ``set_output``, which would make one table."""

    def transform(self, X, *, groups=None):
        """Return the posterior probabilities of the states, as :meth:`predict_proba` does.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.transform([[1], [9]]).round(3)
        array([[0.974, 0.026],
               [0.   , 1.   ]])
        """
        if is_list_of_sequences(X):
            return self.predict_proba(X, groups=groups)
        return super().transform(X, groups=groups)

    def fit_transform(self, X, y=None, **params):
        """Return the posterior probabilities of the states of X, after fitting to it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        **params : dict
            What ``fit`` takes; ``groups`` goes to ``transform`` too.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> EMHiddenMarkov(2, random_state=0).fit_transform([[0.0], [0.1], [5.0], [5.1]]).round(1)
        array([[0., 1.],
               [0., 1.],
               [1., 0.],
               [1., 0.]])
        """
        if is_list_of_sequences(X):
            return self.fit(X, **params).transform(X)
        return super().fit_transform(X, **params)


class FittedHiddenMarkov(PathModel):
    """A hidden Markov model that has its parameters, and what it answers of sequences."""

    # Learning weighs sequences, not rows.
    __metadata_request__fit = _LEARNING
    __metadata_request__partial_fit = _LEARNING
    __metadata_request__score = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__transform = {"groups": True}

    # Rows -----------------------------------------------------------------------------------------

    def score_samples(self, X, *, groups=None):
        """Return the log-density of each row given those before it in its sequence, in nats.

        ln p(x_t | x_1..x_{t−1}): it sums to the log-likelihood of the sequence, and its mean
        compares with the ``score`` of a model of independent rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_density : ndarray of shape (n_samples,), or list of such
            −inf for a row that is impossible after those before it; float32 if X is.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.score_samples([[1], [8], [9]]).round(3)
        array([-1.69 , -4.305, -2.133])
        """
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            return data.answers(model, "score_samples", None, data.X.dtype)
        series = self._series(X, groups)
        log_p = np.empty(len(series.X), dtype=series.X.dtype)
        self._ask(series, lambda model: model.filter(log_p))
        return series.give_back(log_p)

    def score(self, X, y=None, sample_weight=None, *, groups=None):
        """Return the (weighted) mean log-density of the rows, in nats per row: larger is better.

        Of each row given those before it in its sequence, as in :meth:`score_samples`.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        score : float
            In nats per row.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> round(chain.score([[1], [8], [9]]), 3)
        -2.709
        """
        if sample_weight is None:
            n_rows, total = self._log_likelihood(X, groups)
            return total / n_rows
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            weight = self._validate_weight(sample_weight, data.X, relative=True)
            return data.score(model, weight) / weight.total
        series = self._series(X, groups)
        weight = self._validate_weight(sample_weight, series.X, relative=True)
        log_p = np.empty(len(series.X))
        self._ask(series, lambda model: model.filter(log_p))
        used = weight > 0
        return float(log_p[used] @ weight[used] / weight.sum())

    def predict_proba(self, X, *, groups=None):
        """Return the posterior probabilities of the states of each row.

        Given the whole sequence with ``inference="smooth"``, given the rows up to it with
        ``inference="filter"``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        posterior : ndarray of shape (n_samples, n_components), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.predict_proba([[1], [4], [9]]).round(2)
        array([[0.98, 0.02],
               [0.31, 0.69],
               [0.  , 1.  ]])
        """
        check_choice("inference", self.inference, ("smooth", "filter"))
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            n_states = len(self.startprob_)
            return data.answers(model, "predict_proba", n_states, data.X.dtype)
        series = self._series(X, groups)
        posterior = np.empty((len(series.X), len(self.startprob_)), dtype=series.X.dtype)
        if self.inference == "filter":
            self._ask(series, lambda model: model.filter(np.empty(len(series.X)), posterior))
        else:
            self._ask(series, lambda model: model.smooth(posterior))
        return series.give_back(posterior)

    def transform(self, X, *, groups=None):
        return self.predict_proba(X, groups=groups)

    def fit_transform(self, X, y=None, **params):
        return self.fit(X, **params).transform(X, groups=params.get("groups"))

    # Criteria -------------------------------------------------------------------------------------

    def bic(self, X, *, groups=None):
        """Return the Bayesian information criterion, −2 ln p(X) + d ln N: smaller is better.

        d is the number of free parameters: starts and transitions that ``startprob_init`` and
        ``transmat_init`` rule out do not count. N is the number of rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        criterion : float
            In nats, times two.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> round(chain.bic([[1], [8], [9]]), 3)
        21.749
        """
        n_rows, log_likelihood = self._log_likelihood(X, groups)
        return float(-2 * log_likelihood + self._n_parameters() * np.log(n_rows))

    def aic(self, X, *, groups=None):
        """Return Akaike's information criterion, −2 ln p(X) + 2 d: smaller is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        criterion : float
            In nats, times two.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> round(chain.aic([[1], [8], [9]]), 3)
        26.256
        """
        _, log_likelihood = self._log_likelihood(X, groups)
        return float(-2 * log_likelihood + 2 * self._n_parameters())

    def _log_likelihood(self, X, groups):
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            return len(data.X), data.log_likelihood(model)
        series = self._series(X, groups)
        return len(series.X), self._ask(series, lambda model: model.log_likelihood())

    def _n_parameters(self):
        chain = self._start_allowed.sum() - 1 + (self._allowed.sum(axis=1) - 1).sum()
        return int(chain) + self.emission_.parameters().n_parameters()
