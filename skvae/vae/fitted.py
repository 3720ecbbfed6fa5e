"""What a fitted autoencoder answers: densities, latents, reconstructions, draws, imputations."""

import warnings
from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_array, metadata_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skvae.base import LatentVariableModel, check_number, reading
from skvae.blocks import ranges
from skvae.vae import importance
from skvae.vae.saved import SavedAutoencoder

_ROWS = 4096  # encoded or decoded together
_ACTIVE = 0.01  # variance of the posterior mean over rows, Burda et al. (2016), section 5.1


def _has_mixture_prior(estimator):
    """Return whether there are clusters to predict; AttributeError says what to do otherwise."""
    prior = estimator.prior
    if hasattr(estimator, "net_"):
        prior = estimator._settings["prior"]
    if prior == "mixture":
        return True
    raise AttributeError(f"prior={prior!r} has no clusters: fit with prior='mixture'")


class FittedAutoencoder(SavedAutoencoder, LatentVariableModel):
    """An autoencoder that has its model, and what it answers of rows.

    A subclass sets ``net_``, ``_noise_seed`` and ``_settings``, the parameters it was fitted with.
    """

    __metadata_request__fit = {"sample_weight": metadata_routing.UNUSED}
    __metadata_request__partial_fit = {"sample_weight": metadata_routing.UNUSED}

    # Densities ----------------------------------------------------------------------------------

    def score_samples(self, X):
        """Return the log-density of each row by importance sampling, in nats, shape (n_samples,).

        A lower bound of ln p(x) in expectation, from ``n_score_samples`` draws of the encoder. The
        same rows give the same numbers, in any batch and order; errors of different rows are
        independent.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing: the density is then that of what was observed, and a row of which
            nothing was observed has log-density 0.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In the units of X. float32 if X is.

        Warns
        -----
        EffectiveSizeWarning
            More than one row in ten rests on fewer than ten effective draws.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> vae.score_samples(X[:3]).shape
        (3,)
        """
        x, dtype = self._prepared(X)
        with np.errstate(over="ignore"):  # −inf where float32 holds no more
            return self._evidence(x).log_likelihood.astype(dtype, copy=False)

    def score(self, X, y=None, sample_weight=None):
        """Return the (weighted) mean log-density of the rows, in nats per row: larger is better.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        y : None
            Ignored.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the rows, ≥ 0.

        Returns
        -------
        score : float
            In nats per row, in the units of X.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> bool(vae.score(X) > vae.elbo(X).elbo.mean())
        True
        """
        check_is_fitted(self)
        X = self._validate(X)
        weight = self._validate_weight(sample_weight, X, relative=True)
        evidence = self._evidence(self._in_units(X))
        return float(np.average(evidence.log_likelihood, weights=weight))

    def standard_error(self, X):
        """Return the standard error of each row's log-density, in nats, shape (n_samples,).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        error : ndarray of shape (n_samples,)
            Of ``score_samples``; that of ``score`` is the root of the sum of their squares, over
            n_samples.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> bool((vae.standard_error(X) > 0).all())
        True
        """
        x, dtype = self._prepared(X)
        evidence = self._evidence(x, warn=False)
        error = importance.standard_error(evidence.effective_size, self._n_draws())
        return error.astype(dtype, copy=False)

    def effective_sample_size(self, X):
        """Return how many draws each row's log-density rests on, in (0, ``n_score_samples``].

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        size : ndarray of shape (n_samples,)
            (Σ w)² / Σ w² of the importance weights: ``n_score_samples`` where the encoder gives the
            posterior exactly, near one where a single draw decides, and then not to be trusted.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> bool((vae.effective_sample_size(X) <= vae.n_score_samples).all())
        True
        """
        x, dtype = self._prepared(X)
        return self._evidence(x, warn=False).effective_size.astype(dtype, copy=False)

    def elbo(self, X):
        """Return the evidence lower bound of each row and its two terms, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing: the bound is of what was observed.

        Returns
        -------
        terms : ElboTerms
            Named tuple of arrays (n_samples,): ``elbo``, ``reconstruction`` = E ln p(x | z) in the
            units of X, and ``kl`` = KL(q(z | x) ‖ p(z)); ``elbo = reconstruction - kl``, without
            ``beta`` or free bits. Beside these three it has the attributes ``entropy``,
            H(q(z | x)), and ``standard_error``, that of ``elbo`` by Monte Carlo.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> vae.elbo(X)._fields
        ('elbo', 'reconstruction', 'kl')
        """
        x, dtype = self._prepared(X)
        n_draws = self._n_draws()
        terms = importance.elbo_terms(self._double(), x, n_draws, seed=self._noise_seed)
        return terms.astype(dtype)

    # The latent space ---------------------------------------------------------------------------

    def transform(self, X):
        """Return the posterior mean of the latent vector of each row, by the encoder.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        Z : ndarray of shape (n_samples, n_components)
            float32 if X is.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X).transform(X).shape
        (299, 1)
        """
        x, dtype = self._prepared(X)
        return self._encoded(x).astype(dtype, copy=False)

    def inverse_transform(self, Z):
        """Return E[x | z], the expected row of each latent vector, in the units of X.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Latent vectors.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            float32 if Z is.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> vae.inverse_transform([[0.0], [1.0]]).shape
        (2, 2)
        """
        check_is_fitted(self)
        with reading("Z"):
            Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {Z.shape[1]} columns: must have n_components={self._n_features_out}"
            )
        return self._decoded(Z).astype(Z.dtype, copy=False)

    def reconstruct(self, X):
        """Return the expected row at the posterior mean of each row's latent vector.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of X; float32 if X is.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> vae.reconstruct(X).shape
        (299, 2)
        """
        x, dtype = self._prepared(X)
        return self._decoded(self._encoded(x)).astype(dtype, copy=False)

    def active_units(self, X):
        """Return which latent dimensions the rows use, shape (n_components,).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        active : ndarray of shape (n_components,)
            Bool: whether the variance of the posterior mean over the rows is above 0.01 (Burda et
            al. 2016, section 5.1). A dimension that is not says nothing about the rows.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=50, random_state=0).fit(X)
        >>> vae.active_units(X)
        array([ True])
        """
        x, _ = self._prepared(X)
        return self._encoded(x).var(axis=0) > _ACTIVE

    @available_if(_has_mixture_prior)
    def predict_proba(self, X):
        """Return the probability of each component of a mixture prior, given the row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        resp : ndarray of shape (n_samples, n_prior_components)
            Each row sums to one; by ``n_score_samples`` importance-weighted draws. float32 if X is.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(
        ...     1, prior="mixture", n_prior_components=2, max_epochs=5, random_state=0
        ... )
        >>> vae.fit(X).predict_proba(X).shape
        (299, 2)
        """
        x, dtype = self._prepared(X)
        n_draws = self._n_draws()
        resp = importance.expected_responsibilities(
            self._double(), x, n_draws, seed=self._noise_seed
        )
        self._warn_unreliable(resp.effective_size, n_draws)
        return resp.mean.astype(dtype, copy=False)

    @available_if(_has_mixture_prior)
    def predict(self, X):
        """Return the most probable component of a mixture prior for each row.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Components, int.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(
        ...     1, prior="mixture", n_prior_components=2, max_epochs=5, random_state=0
        ... )
        >>> vae.fit(X).predict(X).shape
        (299,)
        """
        return self.predict_proba(X).argmax(axis=1)

    # Draws --------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, random_state=None):
        """Return rows drawn from the model, and the latent vector that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            How many rows.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Independent rows in the units of X, with the likelihood's noise.
        Z : ndarray of shape (n_samples, n_components)
            Draws from the prior.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(load_geyser().data)
        >>> X, Z = vae.sample(4)
        >>> X.shape, Z.shape
        ((4, 2), (4, 1))
        """
        check_is_fitted(self)
        check_number("n_samples", n_samples, Integral, 1)
        rng = self._random_state_of(random_state)
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        model = self._double().cpu()  # the same draws on every device
        X, Z = [], []
        with torch.no_grad():
            density = model.prior_density()
            for a, b in ranges(0, n_samples, _ROWS):
                z, _ = density.sample(b - a, generator)
                X.append(model.likelihood.sample(model.decode(z), generator).numpy())
                Z.append(z.numpy())
        return np.concatenate(X), np.concatenate(Z)

    def impute(self, X):
        """Return X with what is missing replaced by its expectation given what was observed.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        X_filled : ndarray of shape (n_samples, n_features)
            Observed values are left as they are; float32 if X is. Expectations are by
            ``n_score_samples`` importance-weighted draws (Mattei & Frellsen 2019).

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(load_geyser().data)
        >>> bool(np.isfinite(vae.impute([[80.0, float("nan")]])).all())
        True
        """
        check_is_fitted(self)
        X = self._validate(X)
        x, filled = self._in_units(X), np.array(X, order="C")
        incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
        if len(incomplete):
            n_draws = self._n_draws()
            expected = importance.expected_features(
                self._double(), x[incomplete], n_draws, seed=self._noise_seed
            )
            self._warn_unreliable(expected.effective_size, n_draws)
            missing = np.isnan(X[incomplete])
            filled[incomplete] = np.where(missing, expected.mean, X[incomplete])
        return filled

    # Row by row ---------------------------------------------------------------------------------

    def _model(self):
        """Return the fitted LatentModel."""
        return self.net_.module_.model

    def _double(self):
        """Return a copy of the model for answers: in float64, so that batches do not matter."""
        return importance.in_double(self._model())

    def _n_draws(self):
        check_number("n_score_samples", self.n_score_samples, Integral, 1)
        return int(self.n_score_samples)

    def _prepared(self, X):
        """Return the rows in the likelihood's units, and the dtype of results."""
        check_is_fitted(self)
        X = self._validate(X)
        return self._in_units(X), X.dtype

    def _in_units(self, X):
        """Return validated rows in the likelihood's units; ValueError if it cannot be theirs."""
        likelihood = self._model().likelihood
        likelihood.check(X, getattr(self, "feature_names_in_", None))
        return likelihood.prepare(X)

    def _evidence(self, x, *, warn=True):
        """Return the log-likelihoods of prepared rows and how far to trust them."""
        n_draws = self._n_draws()
        evidence = importance.log_likelihood(self._double(), x, n_draws, seed=self._noise_seed)
        if warn:
            self._warn_unreliable(evidence.effective_size, n_draws, stacklevel=4)
        return evidence

    @staticmethod
    def _warn_unreliable(effective_size, n_draws, stacklevel=3):
        message = importance.reliability_message(effective_size, n_draws)
        if message is not None:
            warnings.warn(message, importance.EffectiveSizeWarning, stacklevel=stacklevel)

    @torch.no_grad()
    def _encoded(self, x):
        """Return posterior means of prepared rows, float64 (n, L)."""
        model, Z = self._double(), np.empty((len(x), self._n_features_out))
        for a, b in ranges(0, len(x), _ROWS):
            # torch warns of arrays that it could not write to, as pandas' are.
            rows = torch.as_tensor(np.require(x[a:b], requirements="W"), device=self._device())
            Z[a:b] = model.encode(rows).mean.cpu().numpy()
        return Z

    @torch.no_grad()
    def _decoded(self, Z):
        """Return expected rows of latent vectors, float64 (n, D)."""
        model, X = self._double(), np.empty((len(Z), self.n_features_in_))
        for a, b in ranges(0, len(Z), _ROWS):
            z = torch.as_tensor(np.array(Z[a:b], dtype=np.float64), device=self._device())
            X[a:b] = model.likelihood.mean(model.decode(z)).cpu().numpy()
        return X

    def _device(self):
        return torch.device(self.net_.device)
