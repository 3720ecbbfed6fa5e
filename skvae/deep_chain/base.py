"""A fitted autoencoder of sequences: densities, states, latent rows, draws, imputation.

The methods are in :class:`SequenceAutoencoder`; the computations are in
:mod:`skvae.deep_chain.chain_importance`. A result is that of whole sequences, and does not depend
on the other sequences that are computed with them.
"""

import warnings
from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skvae.base import LatentVariableModel, not_named
from skvae.blocks import is_list_of_sequences, ranges, warn_of_lengths
from skvae.chain import algorithms
from skvae.columns import index_of
from skvae.deep_chain.chain_importance import elbo_terms, scored
from skvae.deep_chain.training import SequenceNet
from skvae.neural import importance
from skvae.validation import check_choice, check_number, numbers_of, reading

_ROWS = 4096  # decoded together


# auto_wrap_output_keys=None, as set_output would make one table of a list of sequences.
@not_named
class SequenceAutoencoder(SequenceNet, LatentVariableModel, auto_wrap_output_keys=None):
    """Base of the autoencoders of sequences: the methods of a fitted model.

    A subclass sets ``net_``, ``_noise_seed`` and ``_settings``, the parameters it was fitted with.
    """

    __metadata_request__score = {"groups": True}
    __metadata_request__predict = {"groups": True}
    __metadata_request__predict_proba = {"groups": True}
    __metadata_request__transform = {"groups": True}

    # Densities --------------------------------------------------------------------------------

    def score_samples(self, X, *, groups=None):
        """Return the log-density of each row given those before it in its sequence, in nats.

        The terms sum to the log-likelihood of the sequence by importance sampling within the chain,
        whose expectation is a lower bound of ln p(x): each row has ``n_score_samples`` draws, and
        the sum over paths is exact. The same sequences give the same numbers.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        log_density : ndarray of shape (n_samples,), or list of such
            In the units of X. float32 if X is.

        Warns
        -----
        EffectiveSizeWarning
            More than one row in ten has fewer than ten effective draws.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> model.score_samples(X[:3]).shape
        (3,)
        """
        sequences, rows = self._scored(X, groups)
        _warn_of(rows.sizes(), rows.n_draws)
        with np.errstate(over="ignore"):  # −inf where float32 holds no more
            log_p = rows.predictive().astype(sequences.X.dtype, copy=False)
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
            In nats per row, in the units of X.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> bool(model.score(X) > model.elbo(X).elbo.mean())
        True
        """
        if y is not None and groups is None:
            warn_of_lengths(y, X)
        sequences, rows = self._scored(X, groups)
        weight = sequences.for_rows(sample_weight) if sample_weight is not None else None
        weight = self._validate_weight(weight, sequences.X, relative=True)
        _warn_of(rows.sizes(), rows.n_draws)
        log_p = rows.predictive()
        if weight is None:
            return float(log_p.mean())
        used = weight > 0
        return float(log_p[used] @ weight[used] / weight.sum())

    def effective_sample_size(self, X, *, groups=None):
        """Return the number of effective draws of each row's log-density.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        size : ndarray of shape (n_samples,), or list of such
            The harmonic mean over the states of (Σ w)² / Σ w² of their importance weights, weighted
            by the states' posterior, in (0, ``n_score_samples``].

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> bool((model.effective_sample_size(X) <= model.n_score_samples).all())
        True
        """
        sequences, rows = self._scored(X, groups)
        return sequences.in_form(rows.sizes().astype(sequences.X.dtype, copy=False))

    def standard_error(self, X, *, groups=None):
        """Return the standard error of each row's integral, in nats.

        Errors of different rows are independent: the error of the log-likelihood of a sequence is
        about the root of the sum of their squares.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        error : ndarray of shape (n_samples,), or list of such
            By the effective sample size.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> bool((model.standard_error(X) > 0).all())
        True
        """
        sequences, rows = self._scored(X, groups)
        error = importance.standard_error(rows.sizes(), rows.n_draws)
        return sequences.in_form(error.astype(sequences.X.dtype, copy=False))

    def elbo(self, X, *, groups=None):
        """Return the evidence lower bound of each row and its two terms, in nats.

        It is the bound named by ``bound``, as a sum over the rows of each sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing: the bound is of the observed values.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        terms : ElboTerms
            Named tuple of arrays (n_samples,), or lists of such: ``elbo``, ``reconstruction`` =
            E ln p(x | z) in the units of X, and ``kl`` = reconstruction − elbo, whose sum over a
            sequence is the divergence of its latent rows from the chain. Beside these it has the
            attributes ``entropy``, H(q(z | x)), and ``standard_error``, that of ``elbo`` by Monte
            Carlo.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> model.elbo(X)._fields
        ('elbo', 'reconstruction', 'kl')
        """
        sequences, x = self._read(X, groups)
        n_draws, bound = int(self.n_score_samples), self._settings["bound"]
        found = elbo_terms(
            self._double(), x, sequences.offsets, n_draws, bound=bound, seed=self._noise_seed
        )
        terms = (term.astype(sequences.X.dtype, copy=False) for term in found)
        return importance.ElboTerms(*map(sequences.in_form, terms))

    # States and latent rows -------------------------------------------------------------------

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
            States, int; latent rows are integrated out.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> model.predict(X).shape
        (299,)
        """
        sequences, rows = self._scored(X, groups)
        return sequences.in_form(algorithms.viterbi(*rows.chain())[1])

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
        posterior : ndarray of shape (n_samples, n_states), or list of such
            Each row sums to one; float32 if X is.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> model.predict_proba(X).shape
        (299, 2)
        """
        check_choice("inference", self.inference, ("smooth", "filter"))
        sequences, rows = self._scored(X, groups)
        if self.inference == "filter":
            posterior = algorithms.filtered(*rows.chain())
        else:
            posterior = rows.posterior()
        return sequences.in_form(posterior.astype(sequences.X.dtype, copy=False))

    def transform(self, X, *, groups=None):
        """Return the posterior mean E[z | x] of each latent row, given the whole sequence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components), or list of such
            By ``n_score_samples`` importance-weighted draws a row; float32 if X is.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> model.transform(X).shape
        (299, 1)
        """
        if is_list_of_sequences(X):
            return self._listed(self._latent(X, groups=groups), X)
        return super().transform(X, groups=groups)

    def fit_transform(self, X, y=None, **params):
        """Return the posterior means of the latent rows of X, after fitting to it.

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
        Z : ndarray of shape (n_samples, n_components), or list of such
            float32 if X is.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0)
        >>> model.fit_transform(load_geyser().data).shape
        (299, 1)
        """
        return self.fit(X, y, **params).transform(X, groups=params.get("groups"))

    def _latent(self, X, groups=None):
        sequences, rows = self._scored(X, groups)
        return sequences.in_form(_posterior_mean(rows).astype(sequences.X.dtype, copy=False))

    def inverse_transform(self, Z):
        """Return E[x | z], the expected row of each latent vector, in the units of X.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components), or list of such
            Latent vectors.

        Returns
        -------
        X : {ndarray, DataFrame} of shape (n_samples, n_features), or list of such
            float32 if Z is. The codes of a categorical column have no mean: it has the most
            probable one. A Bernoulli column has the probability of a one. With ``set_output`` a
            table.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> model.inverse_transform(model.state_means_).shape
        (2, 2)
        """
        check_is_fitted(self)
        if is_list_of_sequences(Z):
            return [self.inverse_transform(part) for part in Z]
        index = index_of(Z)
        with reading("Z"):
            given = numbers_of(Z, "Z")
            Z = check_array(given, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {Z.shape[1]} columns: must have n_components={self._n_features_out}"
            )
        model = self._double()
        rows = model.likelihood.rounded(_decoded(model, Z, model.likelihood.mean), Z.dtype)
        return self._as_set(rows, index=index)

    def reconstruct(self, X, *, groups=None):
        """Return the expected row at the posterior mean of each latent row, as of ``transform``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.

        Returns
        -------
        X : {ndarray, DataFrame} of shape (n_samples, n_features), or list of such
            In the units of X; float32 if X is. Nominal columns, of a categorical or Bernoulli
            likelihood, have their most probable value. With ``set_output`` a table.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> model.reconstruct(X).shape
        (299, 2)
        """
        sequences, rows = self._scored(X, groups)
        likelihood = rows.model.likelihood

        def values(outputs):
            return likelihood.values_of(likelihood.expectations(outputs))

        found = _decoded(rows.model, _posterior_mean(rows), values)
        return self._as_set(sequences.in_form(likelihood.rounded(found, sequences.X.dtype)), X)

    # Draws ------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the model, and the latent vector that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows, which form one sequence.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : {ndarray, DataFrame} of shape (n_samples, n_features)
            Rows in time order, in the units of X, with the likelihood's noise; with ``set_output``
            a table.
        Z : ndarray of shape (n_samples, n_components)
            Latent rows.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> rows, Z = model.sample(4)
        >>> rows.shape, Z.shape
        ((4, 2), (4, 1))
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, Integral, 1)
        rng = self._random_state_of(random_state)
        model = self._double().cpu()  # the same draws on every device
        chain = model.prior.parameters_of_chain()
        transitions = np.exp(chain.log_start), np.exp(chain.log_transmat)
        states = algorithms.sample_chain(*transitions, int(n_samples), rng)
        noise = rng.standard_normal((int(n_samples), self._n_features_out))
        Z = chain.means[states] + np.sqrt(chain.variances[states]) * noise
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        with torch.no_grad():
            X = model.likelihood.sample(model.decode(torch.from_numpy(Z)), generator).numpy()
        return self._as_set(X), Z

    def impute(self, X, *, groups=None, draw=False, random_state=None):
        """Return X with missing values replaced by their expectations given the observed values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or list of such
            Rows in time order; NaN is missing.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row; None is one sequence.
        draw : bool, default=False
            Whether missing values are drawn from p(missing | observed) instead, together for all
            rows of a sequence. Several calls, each with another ``random_state``, are multiple
            imputation.
        random_state : int, RandomState instance or None, default=None
            The source of the draws; None is the estimator's own ``random_state``.

        Returns
        -------
        X_filled : {ndarray, DataFrame} of shape (n_samples, n_features), or list of such
            Observed values are left as they are; float32 if X is. Nominal columns have their most
            probable value instead of an expectation. With ``set_output`` a table.

        Examples
        --------
        >>> from skvae import HiddenMarkovAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> model = HiddenMarkovAutoencoder(1, n_states=2, max_epochs=5, random_state=0).fit(X)
        >>> bool(np.isfinite(model.impute([[80.0, float("nan")], [54.0, 4.5]])).all())
        True
        """
        check_choice("draw", draw, (True, False))
        sequences, rows = self._scored(X, groups)
        filled = np.array(sequences.X, order="C")
        some = np.flatnonzero(np.isnan(filled).any(1))
        if len(some):
            if draw:
                rng = self._random_state_of(random_state)
                values = rows.drawn_features(some, rng)
            else:
                values = importance.expected_features(
                    rows.model, rows.x[some], rows.n_draws, **rows.own(some)
                ).mean
            values = rows.model.likelihood.rounded(values, filled.dtype)
            filled[some] = np.where(np.isnan(filled[some]), values, filled[some])
        return self._as_set(sequences.in_form(filled), X)

    # Parameters of the chain ------------------------------------------------------------------

    @property
    def startprob_(self):
        """Return the probabilities of the first state, (n_states,)."""
        return np.exp(self._chain("startprob_").log_start)

    @property
    def transmat_(self):
        """Return the transition probabilities, (n_states, n_states)."""
        return np.exp(self._chain("transmat_").log_transmat)

    @property
    def state_means_(self):
        """Return the means of the states' Gaussians, (n_states, n_components)."""
        return self._chain("state_means_").means

    @property
    def state_variances_(self):
        """Return the variances of the states' Gaussians, (n_states, n_components)."""
        return self._chain("state_variances_").variances

    def _chain(self, name):
        """Return the fitted StateChain in float64; before a fit there is no such attribute."""
        if not hasattr(self, "net_"):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {name!r}: call fit first"
            )
        return self._double().prior.parameters_of_chain()

    # Rows -------------------------------------------------------------------------------------

    def _double(self):
        """Return a copy of the model in float64, in which the size of a batch does not matter."""
        return importance.in_double(self.net_.module_.model)

    def _read(self, X, groups):
        """Return X as Sequences, and its rows in the likelihood's units."""
        sequences = self._sequences(X, groups)
        likelihood = self.net_.module_.model.likelihood
        likelihood.check(sequences.X, getattr(self, "feature_names_in_", None))
        return sequences, likelihood.prepare(sequences.X)

    def _scored(self, X, groups):
        """Return X as Sequences, and its ScoredRows."""
        sequences, x = self._read(X, groups)
        check_number("n_score_samples", self.n_score_samples, Integral, 1)
        n_draws = int(self.n_score_samples)
        rows = scored(self._double(), x, sequences.offsets, n_draws, seed=self._noise_seed)
        return sequences, rows


def _posterior_mean(rows):
    """Return E[z | x] of each of the ScoredRows, (n, L)."""
    draws = rows.model, rows.x, rows.n_draws
    return importance.posterior_expectation(*draws, lambda draws: draws.z, **rows.own()).mean


@torch.no_grad()
def _decoded(model, Z, function):
    """Return the rows (n, D) that a function computes from the outputs of the decoder."""
    device, parts = next(model.parameters()).device, []
    for a, b in ranges(0, len(Z), _ROWS):
        z = torch.as_tensor(np.array(Z[a:b], dtype=np.float64), device=device)
        parts.append(function(model.decode(z)).cpu().numpy())
    return np.concatenate(parts)


def _warn_of(sizes, n_draws):
    """Warn if the effective sizes of many rows are small."""
    message = importance.reliability_message(sizes, n_draws)
    if message is not None:
        warnings.warn(message, importance.EffectiveSizeWarning, stacklevel=3)
