"""What a fitted autoencoder answers: densities, latents, reconstructions, draws, imputations."""

import warnings
from numbers import Integral

import numpy as np
import torch
from sklearn.utils import check_array, metadata_routing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from skvae.base import LatentVariableModel
from skvae.blocks import DistributedRows, is_distributed, map_rows, ranges
from skvae.neural.likelihoods.base import prepared
from skvae.neural.training.rows_on_disk import blocks_of, in_memory_or_stored
from skvae.vae import importance, rowwise
from skvae.vae.saving import SavedAutoencoder
from skvae.validation import check_number, reading

_ROWS = 4096  # drawn together
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

    _sums_over_chunks = True

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
        return self._by_row(X, rowwise.log_density)

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
        asked = self._asked()
        if is_distributed(X):
            rows = DistributedRows.readable(X, weight)
            total, counts, least = rows.sum(rowwise.summed_density, None, asked)
            message = importance.message_of_counts(*counts, least.value, asked.n_draws)
            score = total / rows.weight()
        else:
            found = rowwise.evidence(X, asked)
            message = importance.reliability_message(found.effective_size, asked.n_draws)
            score = np.average(found.log_likelihood, weights=weight)
        if message is not None:
            warnings.warn(message, importance.EffectiveSizeWarning, stacklevel=2)
        return float(score)

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
        return self._by_row(X, rowwise.standard_error)

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
        return self._by_row(X, rowwise.effective_size)

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
        terms = self._by_row(X, rowwise.elbo_terms, width=5).T
        return importance.ElboTerms(*(terms if is_distributed(X) else np.ascontiguousarray(terms)))

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
        check_is_fitted(self)
        return self._by_row(X, rowwise.latent_mean, width=self._n_features_out)

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
        return rowwise.decoded(self._double(), Z).astype(Z.dtype, copy=False)

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
        check_is_fitted(self)
        return self._by_row(X, rowwise.reconstruction, width=self.n_features_in_)

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
        check_is_fitted(self)
        X = self._validate(X)
        if not is_distributed(X):
            return rowwise.latent_mean(X, self._asked()).var(axis=0) > _ACTIVE
        n, total, squares = DistributedRows.readable(X).sum(
            rowwise.summed_latents, None, self._asked()
        )
        return squares / n - (total / n) ** 2 > _ACTIVE

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
        check_is_fitted(self)
        width = self._settings["n_prior_components"]
        return self._by_row(X, rowwise.responsibilities, width=width)

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
        return self._by_row(X, rowwise.label, dtype=np.intp)

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
        return self._by_row(X, rowwise.imputed, width=self.n_features_in_)

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

    def _asked(self, warns=0):
        """Return the model and how it is asked."""
        names = getattr(self, "feature_names_in_", None)
        return rowwise.Asked(self._model(), self._n_draws(), self._noise_seed, names, warns)

    def _by_row(self, X, function, *, width=None, dtype=None):
        """Return ``function(X, asked)`` of the rows, in the dtype of X or the one given.

        Of a Dask array it is one, computed when it is asked for. Then nobody is there to be warned.
        """
        check_is_fitted(self)
        lazy = is_distributed(X)
        X = self._validate(X, min_rows=0 if lazy else 1)
        dtype = np.dtype(dtype or X.dtype)
        if not lazy:
            return rowwise.InDtype(function, self._asked(warns=4), width, dtype)(X)
        asked = self._asked()._replace(model=self._double())  # as it is now
        return map_rows(rowwise.InDtype(function, asked, width, dtype), X, width, dtype)

    def _rows(self, X, **checks):
        """Return the rows to learn from, checked: an array, or StoredRows of what is too large."""
        return in_memory_or_stored(X, self._validate(X, **checks))

    def _in_units(self, X):
        """Return checked rows in the likelihood's units; ValueError if they cannot be its own."""
        likelihood, names = self._model().likelihood, getattr(self, "feature_names_in_", None)
        for block in blocks_of(X):
            likelihood.check(block, names)
        return prepared(likelihood, X)
