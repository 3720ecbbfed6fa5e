"""A fitted hidden Markov model: densities, posteriors, paths, forecasts, draws, criteria."""

from copy import copy
from functools import partial
from numbers import Integral
from typing import NamedTuple

import numpy as np
from sklearn.utils.metadata_routing import UNUSED

from skvae.base import LatentVariableModel, not_named
from skvae.blocks import as_sequences, is_distributed, is_list_of_sequences, warn_of_lengths
from skvae.chain import algorithms
from skvae.emissions import GaussianEmission
from skvae.fitted import FittedArray, how_to_begin
from skvae.hmm.dask_sequences import DistributedSequences
from skvae.hmm.e_step import EmissionReader, infer, log_likelihood_of
from skvae.hmm.parameters import ChainParameters
from skvae.validation import check_choice, check_number, check_stochastic

_LEARNING = {"groups": True, "sequence_weight": True, "sample_weight": UNUSED}
_FORECAST_NUMBERS = 1 << 20  # numbers in one array of forecasts' covariances


class Forecast(NamedTuple):
    """The distribution of the rows after the end of a sequence, one entry for each step.

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


# auto_wrap_output_keys=None, as set_output would make one table of a list of sequences.
@not_named
class HiddenMarkovModel(LatentVariableModel, auto_wrap_output_keys=None):
    """A fitted hidden Markov model: densities, posteriors, paths, forecasts and draws.

    A subclass sets ``startprob_``, ``transmat_``, ``emission_``, and the boolean arrays
    ``_start_allowed`` and ``_allowed``, which mark the probabilities that are free parameters.
    """

    startprob_ = FittedArray(tied=True)
    transmat_ = FittedArray(tied=True)

    _sums_over_chunks = True

    # Learning weighs sequences, not rows.
    __metadata_request__fit = _LEARNING
    __metadata_request__partial_fit = _LEARNING
    __metadata_request__score = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__transform = {"groups": True}

    def _parameters(self):
        """Return the fitted parameters as a value."""
        fitted = vars(self)
        return ChainParameters(
            fitted["startprob_"], fitted["transmat_"], self.emission_.parameters()
        )

    def _set_fitted(self, name, value):
        """Replace the starts or transitions; zeros are structural, as in ``from_parameters``."""
        array = check_stochastic(name, value, vars(self)[name].shape, "as before")
        vars(self)[name] = array
        vars(self)["_start_allowed" if name == "startprob_" else "_allowed"] = array > 0

    @property
    def means_(self):
        """Return the means of a Gaussian emission, which are those of ``emission_``."""
        return self._gaussian("means_").means_

    @means_.setter
    def means_(self, value):
        self._gaussian("means_").means_ = value

    @property
    def covariances_(self):
        """Return the covariances of a Gaussian emission, which are those of ``emission_``."""
        return self._gaussian("covariances_").covariances_

    @covariances_.setter
    def covariances_(self, value):
        self._gaussian("covariances_").covariances_ = value

    def _gaussian(self, name):
        """Return the fitted emission if it is Gaussian; otherwise there is no such attribute."""
        emission = vars(self).get("emission_")
        if not isinstance(emission, GaussianEmission):
            why = how_to_begin(self) if emission is None else f"emission_ is {emission!r}"
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}: {why}")
        return emission

    def _sequences(self, X, groups):
        """Return X as Sequences, checked to be in memory and possible under the emission."""
        self._check_fitted()
        if is_distributed(X):
            raise ValueError("X is a Dask array: this needs rows in memory, as X.compute() gives")
        sequences = as_sequences(X, groups, self._validate, self.n_features_in_)
        self.emission_.check_rows(sequences.X, getattr(self, "feature_names_in_", None))
        return sequences

    def _distributed(self, X, groups):
        """Return a Dask array as DistributedSequences, and a copy of the model for its tasks.

        Results that are computed later do not depend on a later fit.
        """
        self._check_fitted()
        sequences = as_sequences(X, groups, self._validate)
        model = copy(self)
        model.__dict__.pop("feature_names_in_", None)  # checked here, once
        return DistributedSequences.of(sequences.X, sequences.offsets), model

    # Rows -----------------------------------------------------------------------------------------

    def score_samples(self, X, *, groups=None):
        """Return the log-density of each row given those before it in its sequence, in nats.

        The terms ln p(x_t | x_1..x_{t−1}) sum to the log-likelihood of the sequence, and their mean
        can be compared with the ``score`` of a model of independent rows.

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
            return data.results(model, "score_samples", None, data.X.dtype)
        sequences = self._sequences(X, groups)
        log_p = infer(algorithms.predictive, self._parameters(), sequences, dtype=sequences.X.dtype)
        return sequences.in_form(log_p)

    def score(self, X, y=None, sample_weight=None, *, groups=None):
        """Return the (weighted) mean log-density of the rows, in nats per row: larger is better.

        The density of a row is conditional on the earlier rows of its sequence, as in
        :meth:`score_samples`.

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
        if y is not None and groups is None:
            warn_of_lengths(y, X)
        if sample_weight is None:
            n_rows, total = self._log_likelihood(X, groups)
            return total / n_rows
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            weight = self._validate_weight(sample_weight, data.X, relative=True)
            return data.score(model, weight) / weight.total
        sequences = self._sequences(X, groups)
        sample_weight = sequences.for_rows(sample_weight)
        weight = self._validate_weight(sample_weight, sequences.X, relative=True)
        log_p = infer(algorithms.predictive, self._parameters(), sequences)
        used = weight > 0
        return float(log_p[used] @ weight[used] / weight.sum())

    def predict_proba(self, X, *, groups=None):
        """Return the posterior probabilities of the states of each row.

        They are conditional on the whole sequence with ``inference="smooth"``, and on the rows up
        to this one with ``inference="filter"``.

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
            return data.results(model, "predict_proba", n_states, data.X.dtype)
        sequences = self._sequences(X, groups)
        dtype = sequences.X.dtype
        if self.inference == "filter":
            posterior = infer(algorithms.filtered, self._parameters(), sequences, dtype=dtype)
        else:
            posterior = infer(
                algorithms.smooth, self._parameters(), sequences, dtype=dtype
            ).posterior
        return sequences.in_form(posterior)

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
            Arguments of ``fit``; ``groups`` goes to ``transform`` too.

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
        if y is not None and params.get("groups") is None:
            warn_of_lengths(y, X)
        return self.fit(X, **params).transform(X, groups=params.get("groups"))

    # Paths ----------------------------------------------------------------------------------------

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
            return data.results(model, "predict", None, np.int64)
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
            return data.log_prob(model), data.results(model, "predict", None, np.int64)
        sequences = self._sequences(X, groups)
        log_probs, states = infer(algorithms.viterbi, self._parameters(), sequences)
        return float(log_probs.sum()), sequences.in_form(states)

    def k_best(self, X, k):
        """Return the ``k`` most probable paths of one sequence, best first.

        Parameters
        ----------
        X : array-like of shape (n_timesteps, n_features)
            One sequence; NaN is missing.
        k : int
            The number of paths.

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
        sequences = self._sequences(X, None)
        if len(sequences.offsets) > 2:
            raise ValueError(
                f"k_best takes one sequence: X holds {len(sequences.offsets) - 1} of them"
            )
        parameters = self._parameters()
        reader = partial(EmissionReader, parameters.emission.kernel(), sequences.X)
        return algorithms.k_best(*parameters.logs(), reader, int(k), len(sequences.X))

    def sample_posterior(self, X, n_samples=1, *, groups=None, random_state=None):
        """Return paths of states drawn from their posterior given the rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        n_samples : int, default=1
            The number of paths.
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
        sequences = self._sequences(X, groups)
        rng = self._random_state_of(random_state)
        paths = infer(
            algorithms.sample_paths, self._parameters(), sequences, n_draws=int(n_samples), rng=rng
        )
        if not sequences.listed:
            return paths
        return np.split(paths, sequences.offsets[1:-1], axis=1)

    # Past the end ---------------------------------------------------------------------------------

    def forecast(self, X, n_steps, *, groups=None):
        """Return the distribution of the rows in the steps after the end of a sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        n_steps : int
            The number of steps.
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
        sequences = self._sequences(X, groups)
        alpha = infer(algorithms.filtered, self._parameters(), sequences)
        last = alpha[sequences.offsets[1:] - 1]
        found = self._forecasts(algorithms.forecast(last, vars(self)["transmat_"], int(n_steps)))
        return found if sequences.listed or len(found) > 1 else found[0]

    def _forecasts(self, proba):
        """Return a Forecast for each sequence from state probabilities (S, n_steps, K)."""
        emission = self.emission_.parameters()
        means, covariances = emission.means(), emission.covariances()
        size = max(1, _FORECAST_NUMBERS // (proba[0].size * means.shape[1]))
        found = []
        for first in range(0, len(proba), size):  # sequences together, in bounded memory
            some = proba[first : first + size]
            mean = some @ means
            spread = means - mean[:, :, None]
            covariance = np.einsum("shk,shki,shkj->shij", some, spread, spread, optimize=True)
            covariance += np.einsum("shk,kij->shij", some, covariances, optimize=True)
            found += map(Forecast, some, mean, covariance)
        return found

    # Draws ----------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the model, and the state that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows, which form one sequence.
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
        self._check_fitted()
        check_number("n_samples", n_samples, Integral, 1)
        rng, parameters = self._random_state_of(random_state), self._parameters()
        states = algorithms.sample_chain(*parameters[:2], int(n_samples), rng)
        return parameters.emission.sample(states, rng), states

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
        """Return the number of rows and their log-likelihood, in nats."""
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            return len(data.X), data.log_evidence(model)
        sequences = self._sequences(X, groups)
        return len(sequences.X), log_likelihood_of(self._parameters(), sequences)

    def _n_parameters(self):
        """Return the number of free parameters."""
        chain = self._start_allowed.sum() - 1 + (self._allowed.sum(axis=1) - 1).sum()
        return int(chain) + self.emission_.parameters().n_parameters()
