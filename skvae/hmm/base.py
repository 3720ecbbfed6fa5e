"""A fitted hidden Markov model: densities, posteriors, paths, forecasts, draws, criteria."""

from copy import copy, deepcopy
from functools import partial
from numbers import Integral

import numpy as np
from sklearn.utils.metadata_routing import UNUSED

from skvae.base import LatentVariableModel, not_named
from skvae.blocks import (
    Sequences,
    as_sequences,
    is_distributed,
    is_list_of_sequences,
    warn_of_lengths,
)
from skvae.chain import algorithms
from skvae.chain.stationary import closed_classes, stationary
from skvae.emissions import GaussianEmission
from skvae.emissions.base import log_density_of
from skvae.fitted import FittedArray, how_to_begin
from skvae.fixed import check_order
from skvae.hmm.dask_sequences import DistributedSequences
from skvae.hmm.e_step import EmissionReader, infer, log_likelihood_of, path_entropy
from skvae.hmm.forecast import Forecast, forecasts_of, indices_after  # noqa: F401 (in pickles)
from skvae.hmm.online import OnlineFilter
from skvae.hmm.parameters import ChainParameters
from skvae.hmm.states import relabelled
from skvae.validation import check_choice, check_number, check_stochastic

_LEARNING = {
    "groups": True,
    "sequence_weight": True,
    "states": True,
    "sample_weight": UNUSED,
}


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

    def _one_sequence(self, X, method, name="X"):
        """Return one sequence as Sequences."""
        sequences = self._sequences(X, None)
        if len(sequences.offsets) > 2:
            raise ValueError(
                f"{method} takes one sequence: {name} holds {len(sequences.offsets) - 1} of them"
            )
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
            return self._listed(self.predict_proba(X, groups=groups), X)
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

    def log_emissions(self, X, *, groups=None):
        """Return the log-density of each row in each state, ln p(x_t | state), without the chain.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_density : ndarray of shape (n_samples, n_components), or list of such
            In nats; −inf where the state cannot have produced the row; float32 if X is.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.log_emissions([[1], [8]]).round(2)
        array([[ -1.  ,  -6.8 ],
               [-11.6 ,  -2.03]])
        """
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            return data.results(model, "log_emissions", len(self.startprob_), data.X.dtype)
        sequences = self._sequences(X, groups)
        emission = self._parameters().emission
        log_density = log_density_of(emission, sequences.X.astype(np.float64, copy=False))
        with np.errstate(over="ignore"):  # −1e300 is −inf in float32
            return sequences.in_form(log_density.astype(sequences.X.dtype, copy=False))

    def expected_transitions(self, X, *, groups=None):
        """Return the expected number of transitions between states in each sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        transitions : ndarray of shape (n_components, n_components), or list of such
            Σ_t p(z_t = i, z_{t+1} = j | x): the sum of all entries is the number of rows minus one.
            A list if X is a list, or ``groups`` has more than one sequence.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.expected_transitions([[1], [0], [8], [9]]).round(2)
        array([[1., 1.],
               [0., 1.]])
        """
        sequences = self._sequences(X, groups)
        parameters, found = self._parameters(), []
        for a, b in zip(sequences.offsets[:-1], sequences.offsets[1:], strict=True):
            one = Sequences(sequences.X[a:b], np.array([0, b - a]))
            found.append(infer(algorithms.smooth, parameters, one).pairs)
        return found if sequences.listed or len(found) > 1 else found[0]

    def impute(self, X, *, groups=None):
        """Return X with missing values replaced by their expectation given the whole sequence.

        Expectations are conditional on the observed values of the row within each state, and are
        weighted by the smoothed probabilities of the states. Columns of codes and of zeros and ones
        have the most probable value instead.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        X_filled : {ndarray, DataFrame} of shape (n_samples, n_features), or list of such
            Observed values are unchanged; float32 if X is. With ``set_output`` a table.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.impute([[1], [0], [float("nan")], [9]]).round(2).ravel()
        array([1., 0., 5., 9.])
        """
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            return data.results(model, "impute", data.X.shape[1], data.X.dtype)
        sequences, parameters = self._sequences(X, groups), self._parameters()
        posterior = infer(algorithms.smooth, parameters, sequences).posterior
        filled = sequences.in_form(parameters.emission.imputed(sequences.X, posterior))
        return self._as_set(filled, X)

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

    def fit_predict(self, X, y=None, **params):
        """Return the most probable paths of X, after fitting to it.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        y : None
            Ignored.
        **params : dict
            Arguments of ``fit``; ``groups`` goes to ``predict`` too.

        Returns
        -------
        states : ndarray of shape (n_samples,), or list of such
            States, int.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> EMHiddenMarkov(2, random_state=0).fit_predict([[0.0], [0.1], [5.0], [5.1]])
        array([1, 1, 0, 0])
        """
        if y is not None and params.get("groups") is None:
            warn_of_lengths(y, X)
        return self.fit(X, **params).predict(X, groups=params.get("groups"))

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
        X = self._one_sequence(X, "k_best").X
        parameters = self._parameters()
        reader = partial(EmissionReader, parameters.emission.kernel(), X)
        return algorithms.k_best(*parameters.logs(), reader, int(k), len(X))

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
            A named tuple ``(state_proba, mean, covariance)`` with the methods ``interval``,
            ``quantile`` and ``sample``, tables after ``set_output``, and with ``index``, the times
            of the steps, None where those of X have no equal steps, such as working days with
            holidays (insert them by ``X.asfreq("B")``); a list if X is a list, or ``groups`` has
            more than one sequence.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> forecast = chain.forecast([[1], [0]], 3)
        >>> forecast.mean.round(2).ravel()
        array([1.8 , 2.44, 2.95])
        >>> forecast.interval(0.8)[1].ravel()
        array([ 4.,  8., 10.])
        """
        check_number("n_steps", n_steps, Integral, 1)
        sequences = self._sequences(X, groups)
        n_steps, last = int(n_steps), self._last_state_proba(sequences)
        indices = indices_after(X, sequences.offsets, sequences.listed, n_steps)
        parameters = deepcopy(self._parameters())
        kept = parameters.emission, parameters.transmat
        found = forecasts_of(self, *kept, last, n_steps, indices)
        return found if sequences.listed or len(found) > 1 else found[0]

    def _last_state_proba(self, sequences):
        """Return the probabilities of the states of each sequence's last row, given all rows."""
        alpha = infer(algorithms.filtered, self._parameters(), sequences)
        return alpha[sequences.offsets[1:] - 1]

    def online(self):
        """Return a filter that is given rows as they come, and keeps the state.

        Its results are those of :meth:`score_samples` and, with ``inference="filter"``, of
        :meth:`predict_proba` for the whole sequence. It does not change when the model is fitted
        again. Each sequence needs its own filter.

        Returns
        -------
        online : skvae.hmm.OnlineFilter
            ``update(X)`` returns ``(state_proba, log_p)`` of the next rows.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> online = chain.online()
        >>> online.update([[1], [8]]).state_proba.round(2)
        array([[1., 0.],
               [0., 1.]])
        >>> online.update([[9]]).log_p.round(3)
        array([-2.133])
        """
        self._check_fitted()
        return OnlineFilter(self)

    # Draws ----------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, prefix=None, random_state=None):
        """Return rows drawn from the model, and the state that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows, which form one sequence.
        prefix : array-like of shape (n_timesteps, n_features), default=None
            The rows of one sequence, which the drawn rows continue: they have the distribution
            p(future | prefix). None begins a new sequence.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : {ndarray, DataFrame} of shape (n_samples, n_features)
            Rows in time order; with ``set_output`` a table.
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
        >>> chain.sample(3, prefix=[[1], [0], [8]], random_state=1)[1]
        array([1, 1, 0])
        """
        self._check_fitted()
        check_number("n_samples", n_samples, Integral, 1)
        rng, parameters = self._random_state_of(random_state), self._parameters()
        (startprob, transmat, emission), index = parameters, None
        if prefix is not None:
            sequence = self._one_sequence(prefix, "sample", "prefix")
            startprob = self._last_state_proba(sequence)[0] @ transmat
            (index,) = indices_after(prefix, sequence.offsets, sequence.listed, int(n_samples))
        states = algorithms.sample_chain(startprob, transmat, int(n_samples), rng)
        return self._as_set(emission.sample(states, rng), index=index), states

    # States ---------------------------------------------------------------------------------------

    def relabel(self, order):
        """Return a model whose state i is state ``order[i]`` of this one.

        The states of an EM fit have no order of their own. Everything else is unchanged:
        densities, forecasts, criteria. Constructor parameters with an entry for each state, such as
        ``transmat_init``, are in the new order too.

        Parameters
        ----------
        order : array-like of int, shape (n_components,)
            A permutation of the states.

        Returns
        -------
        model : EMHiddenMarkov
            A new model; this one does not change.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> chain = EMHiddenMarkov(2, random_state=0).fit(load_geyser().data)
        >>> by_wait = chain.relabel(np.argsort(chain.means_[:, 0]))
        >>> bool(by_wait.means_[0, 0] < by_wait.means_[1, 0])
        True
        """
        self._check_fitted()
        return relabelled(self, check_order(order, len(self.startprob_)))

    def stationary_distribution(self):
        """Return the distribution of the states that the transitions keep, π A = π.

        It is the share of time that a long sequence spends in each state. Transitions above zero
        decide whether there is one: some states may form a class that the chain never leaves. With
        one such class the distribution is zero in all other states; with more there is no single
        distribution, which is an error.

        Returns
        -------
        proba : ndarray of shape (n_components,)
            Probabilities of the states.

        Raises
        ------
        ValueError
            The chain has more than one class of states that it never leaves.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.hmm import PoissonEmission
        >>> chain = EMHiddenMarkov.from_parameters(
        ...     [0.5, 0.5], [[0.9, 0.1], [0.1, 0.9]], PoissonEmission.from_parameters([[1], [9]])
        ... )
        >>> chain.stationary_distribution()
        array([0.5, 0.5])
        """
        self._check_fitted()
        transmat = self._parameters().transmat
        classes = closed_classes(transmat)
        if len(classes) > 1:
            listed = ", ".join(str(states.tolist()) for states in classes)
            raise ValueError(
                f"transmat_ has {len(classes)} classes of states that the chain never leaves, "
                f"{listed}: each has a stationary distribution of its own. The distribution after "
                "many steps depends on the start: forecast(X, n_steps).state_proba has it"
            )
        out = np.zeros(len(transmat))
        out[classes[0]] = stationary(transmat[np.ix_(classes[0], classes[0])])
        return out

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

    def icl(self, X, *, groups=None):
        """Return the integrated completed likelihood, BIC + 2 H(path): smaller is better.

        It adds to the BIC the entropy of the posterior over paths, so that it prefers states that
        the rows tell apart (Biernacki, Celeux & Govaert, IEEE PAMI 22, 2000, sign as in ``bic``).

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
        >>> round(chain.icl([[1], [8], [9]]) - chain.bic([[1], [8], [9]]), 3)
        0.246
        """
        if is_distributed(X):
            data, model = self._distributed(X, groups)
            entropy = data.path_entropy(model)
        else:
            entropy = path_entropy(self._parameters(), self._sequences(X, groups))
        return self.bic(X, groups=groups) + 2 * entropy

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
        return int(chain) + self.emission_.parameters().n_parameters() - self._n_fixed
