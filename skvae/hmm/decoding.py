"""Paths of states: the best, draws given the rows, what comes after them, and fresh draws."""

from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.blocks import is_distributed
from skvae.chain import algorithms
from skvae.hmm.askable import AskableChain
from skvae.validation import check_number


class Forecast(NamedTuple):
    """What is to be expected after the end of a sequence, one entry for each step.

    Parameters
    ----------
    state_proba : ndarray of shape (n_steps, n_components)
        Probabilities of the states.
    mean : ndarray of shape (n_steps, n_features)
        Expected rows.
    covariance : ndarray of shape (n_steps, n_features, n_features)
        Their covariances.
    """

    state_proba: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray


class PathModel(AskableChain):
    """A fitted hidden Markov model, asked about paths."""

    def predict(self, X, *, groups=None):
        """Return the most probable path of states of each sequence (Viterbi's algorithm).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        states : ndarray of shape (n_samples,), or list of such
            States, int.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.predict([[1], [0], [8], [9]])
        array([0, 0, 1, 1])
        """
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            return data.answers(model, "predict", None, np.int64)
        return self.decode(X, groups=groups)[1]

    def decode(self, X, *, groups=None):
        """Return the log-probability of the most probable paths, and these paths.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_prob : float
            ln p(path, x), in nats, summed over sequences.
        states : ndarray of shape (n_samples,), or list of such
            The paths, int.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> log_prob, states = chain.decode([[1], [0], [8], [9]])
        >>> round(log_prob, 3)
        -9.26
        """
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            return data.log_prob(model), data.answers(model, "predict", None, np.int64)
        series = self._series(X, groups)
        states, log_p = self._ask(series, lambda model: model.decode())
        return float(log_p.sum()), series.give_back(states)

    def k_best(self, X, k):
        """Return the ``k`` most probable paths of one sequence, best first.

        Parameters
        ----------
        X : array-like of shape (n_timesteps, n_features)
            One sequence; NaN is missing.
        k : int
            How many.

        Returns
        -------
        log_probs : ndarray of shape (m,)
            ln p(path, x), in nats; m is below k where fewer paths are possible.
        paths : ndarray of shape (m, n_timesteps)
            The paths, int.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> log_probs, paths = chain.k_best([[1], [4], [8]], 2)
        >>> paths
        array([[0, 1, 1],
               [0, 0, 1]])
        """
        check_number("k", k, Integral, 1)
        series = self._one_sequence(X, "k_best")
        return algorithms.k_best(*self._logs(series), int(k))

    def sample_posterior(self, X, n_samples=1, *, groups=None, random_state=None):
        """Return paths of states drawn from their posterior given the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        n_samples : int, default=1
            How many paths.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        paths : ndarray of shape (n_samples, n_timesteps), or list of such
            Independent draws, int.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.sample_posterior([[1], [4], [8]], 1000, random_state=0).mean(axis=0).round(1)
        array([0. , 0.7, 1. ])
        """
        check_number("n_samples", n_samples, Integral, 1)
        series = self._series(X, groups)
        rng = self._random_state_of(random_state)
        start, transmat, log_likelihood = self._logs(series)
        draws = [
            algorithms.sample_paths(start, transmat, log_likelihood[a:b], n_samples, rng)
            for a, b in zip(series.offsets[:-1], series.offsets[1:], strict=True)
        ]
        return draws if series.listed else np.concatenate(draws, axis=1)

    # Past the end ---------------------------------------------------------------------------------

    def forecast(self, X, n_steps, groups=None):
        """Return what is to be expected in the steps after the end of a sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        n_steps : int
            How many steps.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        forecast : Forecast or list of Forecast
            A named tuple ``(state_proba, mean, covariance)``; a list if X is a list, or ``groups``
            has more than one sequence.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.forecast([[1], [0]], 3).mean.round(2)
        array([[1.8 ],
               [2.44],
               [2.95]])
        """
        check_number("n_steps", n_steps, Integral, 1)
        series = self._series(X, groups)
        alpha = np.empty((len(series.X), len(self.startprob_)))
        self._ask(series, lambda model: model.filter(np.empty(len(series.X)), alpha))
        last = alpha[series.offsets[1:] - 1]
        found = [self._forecast(proba, n_steps) for proba in last]
        return found if series.listed or len(found) > 1 else found[0]

    def _forecast(self, proba, n_steps):
        emission = self.emission_.parameters()
        proba = algorithms.forecast(proba, self.transmat_, n_steps)
        means = emission.means()
        mean = proba @ means
        spread = means - mean[:, None]
        between = np.einsum("hk,hki,hkj->hij", proba, spread, spread)
        within = np.einsum("hk,kij->hij", proba, emission.covariances())
        return Forecast(proba, mean, within + between)

    # Draws ----------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the model, and the state that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows: one sequence of that length.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Rows in time order.
        states : ndarray of shape (n_samples,)
            States, int.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [1, 0], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> X, states = chain.sample(100, random_state=0)
        >>> X.shape, int(states[0])
        ((100, 1), 0)
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, Integral, 1)
        rng = self._random_state_of(random_state)
        states = algorithms.walk(self.startprob_, self.transmat_, int(n_samples), rng)
        return self.emission_.parameters().sample(states, rng), states
