"""A fitted autoencoder: densities, latent vectors, reconstructions, draws and imputations of rows.

The public methods are in :class:`Autoencoder`, which checks X and returns results in its form.
:mod:`skvae.vae.evaluator` computes them for checked rows.
"""

import warnings
from functools import partial, update_wrapper
from numbers import Integral
from types import MethodType
from typing import NamedTuple

import numpy as np
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from skvae.base import LatentVariableModel, not_named
from skvae.blocks import DistributedRows, is_distributed, map_rows
from skvae.columns import index_of
from skvae.neural import importance
from skvae.neural.likelihoods.base import prepared
from skvae.neural.training.rows_in_memory import arranged
from skvae.neural.training.rows_on_disk import RowsOnDisk, blocks_of, in_memory_or_on_disk
from skvae.neural.training.streaming import relative
from skvae.tables import dtypes_of
from skvae.vae.aggregate import aggregate_divergence
from skvae.vae.categories import (
    check_given,
    coded,
    kinds_of_categories,
    learned_categories,
    named,
    table,
)
from skvae.vae.evaluator import (
    ChunkResults,
    Evaluator,
    as_matrices,
    decoded,
    density_parameters,
    drawn_rows,
    summed_density,
    summed_latents,
)
from skvae.validation import check_choice, check_number, numbers_of, reading

_ACTIVE = 0.01  # variance of the posterior mean over rows, Burda et al. (2016), section 5.1


class LatentPosterior(NamedTuple):
    """Gaussian posteriors q(z | x) of the latent vectors of rows.

    Parameters
    ----------
    mean : ndarray of shape (n_samples, n_components)
        Their means.
    covariance : ndarray of shape (n_samples, n_components, n_components)
        Their covariances.
    """

    mean: np.ndarray
    covariance: np.ndarray


class _OfClusters:
    """A method that only a model with a mixture prior has.

    Elsewhere it raises AttributeError, with the remedy. (That of scikit-learn's ``available_if``
    has a text of its own.)

    Parameters
    ----------
    method : function
        The method.
    learns : bool
        Whether it fits the model first, so that the parameters of an earlier fit do not matter.
    """

    def __init__(self, method, learns=False):
        self._method, self._learns = method, learns
        update_wrapper(self, method)

    def __get__(self, estimator, owner=None):
        if estimator is None:
            return self._method
        fitted = hasattr(estimator, "net_") and not self._learns
        prior = estimator._settings["prior"] if fitted else estimator._kind_of_prior()
        if prior != "mixture":
            raise AttributeError(
                f"this {type(estimator).__name__} has no {self._method.__name__}, as "
                f"prior={prior!r} has no clusters: fit with prior='mixture'"
            )
        return MethodType(self._method, estimator)


@not_named
class Autoencoder(LatentVariableModel):
    """Base of the autoencoders: the methods of a fitted model.

    A subclass sets ``net_``, ``_noise_seed`` and ``_settings``, the parameters it was fitted with.
    """

    _sums_over_chunks = True

    def _kind_of_prior(self):
        """Return the prior's kind; that of 'auto' depends on other parameters."""
        if self.prior != "auto":
            return self.prior
        networks = self.encoder is None and self.decoder is None and self.hidden_layer_sizes
        return "mixture" if networks and self._is_gaussian() else "normal"

    def _is_gaussian(self):
        """Return whether all columns have Gaussian noise, on the line or on their logarithms."""
        return isinstance(self.likelihood, str) and self.likelihood in ("gaussian", "log_normal")

    # Densities ----------------------------------------------------------------------------------

    def score_samples(self, X):
        """Return the log-density of each row by importance sampling, in nats, shape (n_samples,).

        The expectation of the result is a lower bound of ln p(x). The ``n_score_samples`` draws are
        in turn from the encoder and about two modes of the row's posterior. A linear model with
        Gaussian noise needs none: the result is exact. The same rows give the same numbers, in any
        batch and order; errors of different rows are independent.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing: the density is then that of the observed values, and a row without
            any has log-density 0.

        Returns
        -------
        log_density : ndarray of shape (n_samples,)
            In the units of X. float32 if X is.

        Warns
        -----
        EffectiveSizeWarning
            More than one row in ten has fewer than ten effective draws.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> vae.score_samples(X[:3]).shape
        (3,)
        """
        return self._by_row(X, Evaluator.log_density)

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
        >>> bool(vae.score(X) > vae.elbo(X).elbo.mean() - 0.01)
        True
        """
        check_is_fitted(self)
        X = self._validate(X)
        weight = self._validate_weight(sample_weight, X, relative=True)
        evaluator = self._evaluator()
        if is_distributed(X):
            rows = DistributedRows.readable(X, weight)
            total, counts, least = rows.sum(summed_density, None, evaluator)
            message = importance.message_of_counts(*counts, least.value, evaluator.n_draws)
            score = total / rows.weight()
        else:
            found = evaluator.evidence(X)
            message = importance.reliability_message(found.effective_size, evaluator.n_draws)
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
            The error of ``score_samples``. The error of ``score`` is the root of the sum of the
            squares, divided by n_samples.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> bool((vae.standard_error(X) > 0).all())
        True
        """
        return self._by_row(X, Evaluator.standard_error)

    def effective_sample_size(self, X):
        """Return the number of effective draws of each row's log-density, shape (n_samples,).

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        size : ndarray of shape (n_samples,)
            (Σ w)² / Σ w² of the importance weights, in (0, ``n_score_samples``]:
            ``n_score_samples`` where the posterior is known exactly, near one where a single draw
            has almost all the weight, which makes the log-density unreliable.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> bool((vae.effective_sample_size(X) <= vae.n_score_samples).all())
        True
        """
        return self._by_row(X, Evaluator.effective_size)

    def feature_scores(self, X):
        r"""Return the log-density of each value given the others of its row, in nats.

        .. math:: s_{ij} = \ln p(x_{ij} \mid x_{i, -j}) = \ln p(x_i) - \ln p(x_{i, -j}),

        where :math:`x_{i, -j}` are the observed values of row i without that of column j. A low
        value is the one that makes a row unusual: the others do not explain it, and without it the
        row's log-density would be higher by that much.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        scores : ndarray of shape (n_samples, n_features)
            In the units of X, NaN where a value is missing. float32 if X is. They do not sum to the
            log-density, as columns share information; values that are unusual together, each of
            which explains the other, show in :meth:`score_samples` alone.

        Warns
        -----
        EffectiveSizeWarning
            More than one row in ten has fewer than ten effective draws, of the row or of the row
            without one of its values.

        Notes
        -----
        Each column costs a score of all rows. Columns differ in their units and in their noise: to
        compare columns, subtract the mean scores of usual rows, as in the example.

        References
        ----------
        Gelfand, Dey & Chang (1992), Model determination using predictive distributions, Bayesian
        Statistics 4, for densities of one value given all others.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=50, random_state=0).fit(X)
        >>> row = [[120.0, 4.0]]  # no other wait is longer than 108 minutes
        >>> int((vae.feature_scores(row) - vae.feature_scores(X).mean(axis=0)).argmin())
        0
        """
        check_is_fitted(self)
        return self._by_row(X, Evaluator.feature_scores, width=self.n_features_in_)

    def elbo(self, X):
        """Return the evidence lower bound of each row and its two terms, in nats.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing: the bound is of the observed values.

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
        terms = self._by_row(X, Evaluator.elbo_terms, width=5).T
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
        return self._by_row(X, Evaluator.latent_mean, width=self._n_features_out)

    def posterior(self, X):
        """Return mean and covariance of q(z | x), the Gaussian of each row by the encoder.

        It is the approximation of p(z | x) that the bound has, by a single pass of the encoder, and
        not p(z | x) itself: `elbo` is lower than the log-density by their divergence.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        posterior : LatentPosterior
            Named tuple of arrays: ``mean`` (n_samples, n_components), which is the result of
            :meth:`transform`, and ``covariance`` (n_samples, n_components, n_components), diagonal
            with ``encoder_covariance='diag'``. float32 if X is.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(2, max_epochs=5, random_state=0).fit(X)
        >>> mean, covariance = vae.posterior(X)
        >>> mean.shape, covariance.shape
        ((299, 2), (299, 2, 2))
        """
        check_is_fitted(self)
        n = self._n_features_out
        numbers = self._by_row(X, Evaluator.posterior, width=n + n * n)
        mean, entries = numbers[:, :n], numbers[:, n:]
        if not is_distributed(numbers):
            return LatentPosterior(mean.copy(), entries.reshape(-1, n, n))
        chunks = entries.chunks[0], n, n
        covariance = entries.map_blocks(
            as_matrices, n, new_axis=2, chunks=chunks, dtype=entries.dtype
        )
        return LatentPosterior(mean, covariance)

    def inverse_transform(self, Z, *, condition=None):
        """Return E[x | z], the expected row of each latent vector, in the units of X.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Latent vectors.
        condition : array-like of shape (n_samples, n_given) or (1, n_given), default=None
            Values of the columns that the parameter `condition` gives, in its order or by name,
            for each row or for all. None is for a model without such columns.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            float32 if Z is. The codes of a categorical column have no mean: it has the most
            probable one. A Bernoulli column has the probability of a one. Categories with names
            have these, in an array of objects; with ``set_output`` the rows are a table.

        See Also
        --------
        reconstruct : Rows of values that X may have.

        Notes
        -----
        A mean of zeros and ones is a probability, as grey values in a picture of zeros and ones.
        :meth:`reconstruct` and :meth:`impute` return rows that could be rows of X, in which such a
        column has its more probable value: the rounded probability.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> vae.inverse_transform([[0.0], [1.0]]).shape
        (2, 2)
        """
        index, Z, model = index_of(Z), self._latent_vectors(Z), self._double()
        given = self._given_rows(condition, len(Z))
        X = decoded(model, Z, model.likelihood.mean, given)
        return self._as_given(model.likelihood.rounded(X, Z.dtype), index=index)

    def likelihood_parameters(self, Z, *, condition=None):
        """Return the parameters of p(x | z) of each latent vector, by name, in the units of X.

        Parameters
        ----------
        Z : array-like of shape (n_samples, n_components)
            Latent vectors.
        condition : array-like of shape (n_samples, n_given) or (1, n_given), default=None
            Values of the columns that the parameter `condition` gives, in its order or by name,
            for each row or for all. None is for a model without such columns.

        Returns
        -------
        parameters : dict of str to ndarray of shape (n_samples, n_features)
            float32 if Z is. The names depend on the likelihood:

            * 'gaussian': ``mean``, and ``scale``, the standard deviation;
            * 'student_t': ``mean``, ``scale`` and ``dof``, the degrees of freedom;
            * 'bernoulli': ``probability`` of a one;
            * 'continuous_bernoulli': ``mean``, and ``log_odds``, the slope of the log-density;
            * 'categorical': ``probabilities``, of shape (n_samples, n_features, n_categories), zero
              beyond the categories of a column;
            * 'poisson': ``mean``;
            * 'negative_binomial': ``mean``, and ``dispersion``: the variance is
              mean + dispersion · mean²;
            * 'log_normal': ``log_mean`` and ``log_scale``, mean and standard deviation of ln X;
            * 'gamma': ``mean`` and ``shape``;
            * 'beta': ``alpha`` and ``beta``.

            Of a list of likelihoods there are the names of all parts; an array has NaN in columns
            without such a parameter, as given columns are.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(X)
        >>> parameters = vae.likelihood_parameters([[0.0], [1.0]])
        >>> list(parameters), parameters["scale"].shape
        (['mean', 'scale'], (2, 2))
        """
        Z, model = self._latent_vectors(Z), self._double()
        found = density_parameters(model, Z, self._given_rows(condition, len(Z)))
        return {name: values.astype(Z.dtype, copy=False) for name, values in found.items()}

    def reconstruct(self, X):
        """Return the expected row at the posterior mean of each row's latent vector.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            In the units of X; float32 if X is. Nominal columns, of a categorical or Bernoulli
            likelihood, have their most probable value. Categories with names have these, in an
            array of objects; with ``set_output`` the rows are a table.

        See Also
        --------
        inverse_transform : E[x | z] of any latent vectors, with probabilities in Bernoulli columns.

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
        found = self._by_row(X, Evaluator.reconstruction, width=self.n_features_in_)
        return self._as_given(found, X)

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
            al. 2016, section 5.1). A dimension that is not active carries no information.

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
            return self._evaluator().latent_mean(X)[0].var(axis=0) > _ACTIVE
        n, total, squares = DistributedRows.readable(X).sum(summed_latents, None, self._evaluator())
        return squares / n - (total / n) ** 2 > _ACTIVE

    def aggregate_kl(self, X):
        """Return bounds of KL(q(z) ‖ p(z)), q(z) the average posterior of rows, in nats.

        It is zero where the posteriors of the rows together fill the prior. Where it is large,
        draws of :meth:`sample` are unlike the rows, however good the reconstructions are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            At least two rows, best of all those that were not trained on; NaN is missing.

        Returns
        -------
        divergence : AggregateDivergence
            Named tuple: ``lower`` and ``upper``, which are bounds in expectation and approach each
            other as rows are added; ``standard_error`` of ``lower`` by Monte Carlo. q(z | x) is the
            encoder's, with one draw for each row.

        See Also
        --------
        skvae.inspection.AggregatePosteriorDisplay : The two densities as a picture.

        Notes
        -----
        The densities of all draws under all posteriors are computed: the time grows with the square
        of n_samples. Posteriors that do not overlap leave the bounds far apart: the difference is
        as large as ln n_samples or larger.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> X = load_geyser().data
        >>> vae = VariationalAutoencoder(1, max_epochs=50, random_state=0).fit(X)
        >>> divergence = vae.aggregate_kl(X)
        >>> bool(divergence.lower < divergence.upper < 0.5)
        True
        """
        check_is_fitted(self)
        if is_distributed(X):
            raise ValueError("X is a Dask array: pass some rows in memory, as X[:10_000].compute()")
        evaluator = self._evaluator()
        x = evaluator.prepared(self._validate(X, min_rows=2))
        return aggregate_divergence(self._double(), x, self._noise_seed)

    @_OfClusters
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
        return self._by_row(X, Evaluator.responsibilities, width=width)

    @_OfClusters
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
        return self._by_row(X, Evaluator.label, dtype=np.intp)

    @partial(_OfClusters, learns=True)
    def fit_predict(self, X, y=None, **params):
        """Return the most probable component of a mixture prior for each row, after fitting.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        y : None
            Ignored.
        **params : dict
            Arguments of ``fit``.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Components, int.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> vae = VariationalAutoencoder(
        ...     1, prior="mixture", n_prior_components=2, max_epochs=5, random_state=0
        ... )
        >>> vae.fit_predict(load_geyser().data).shape
        (299,)
        """
        return self.fit(X, y, **params).predict(X)

    # Draws --------------------------------------------------------------------------------------

    def sample(self, n_samples=1, *, condition=None, random_state=None):
        """Return rows drawn from the model, and the latent vector that each was drawn from.

        Parameters
        ----------
        n_samples : int, default=1
            The number of rows.
        condition : array-like of shape (n_samples, n_given) or (1, n_given), default=None
            Values of the columns that the parameter `condition` gives, in its order or by name,
            for each row or for all. None is for a model without such columns.
        random_state : int, RandomState instance or None, default=None
            None is the estimator's own ``random_state``.

        Returns
        -------
        X : ndarray of shape (n_samples, n_features)
            Independent rows in the units of X, with the likelihood's noise. Categories with names
            have these, in an array of objects; with ``set_output`` the rows are a table.
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
        seed = int(self._random_state_of(random_state).randint(2**31 - 1))
        given = self._given_rows(condition, n_samples)
        X, Z = drawn_rows(self._double(), n_samples, given, seed)
        return self._as_given(X), Z

    def impute(self, X, *, draw=False, random_state=None):
        """Return X with missing values replaced by their expectations given the observed values.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; NaN is missing.
        draw : bool, default=False
            Whether missing values are drawn from p(missing | observed) instead, together for each
            row, of rows in memory. Several calls, each with another ``random_state``, are multiple
            imputation.
        random_state : int, RandomState instance or None, default=None
            The source of the draws; None is the estimator's own ``random_state``.

        Returns
        -------
        X_filled : ndarray of shape (n_samples, n_features)
            Observed values are left as they are; float32 if X is. Expectations, and draws, are by
            ``n_score_samples`` importance-weighted draws of the latent vector (Mattei & Frellsen
            2019). Nominal columns, of a categorical or Bernoulli likelihood, have their most
            probable value instead of an expectation; counts have a mean, which may be fractional.
            Categories with names have these, in an array of objects; with ``set_output`` the rows
            are a table.

        Warns
        -----
        EffectiveSizeWarning
            More than one incomplete row in ten has fewer than ten effective draws.

        Examples
        --------
        >>> from skvae import VariationalAutoencoder
        >>> from skvae.datasets import load_geyser
        >>> vae = VariationalAutoencoder(1, max_epochs=5, random_state=0).fit(load_geyser().data)
        >>> bool(np.isfinite(vae.impute([[80.0, float("nan")]])).all())
        True
        """
        check_is_fitted(self)
        check_choice("draw", draw, (True, False))
        if not draw:
            found = self._by_row(X, Evaluator.imputed, width=self.n_features_in_)
            return self._as_given(found, X)
        if is_distributed(X):
            raise ValueError("X is a Dask array: draw=True needs rows in memory, as X.compute()")
        seed = int(self._random_state_of(random_state).randint(2**31 - 1))
        return self._as_given(self._by_row(X, partial(Evaluator.drawn, seed=seed)), X)

    # Row by row ---------------------------------------------------------------------------------

    def _latent_vectors(self, Z):
        """Return checked latent vectors, a float array (n_samples, n_components)."""
        check_is_fitted(self)
        with reading("Z"):
            Z = numbers_of(Z, "Z")
            Z = check_array(Z, dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self._n_features_out:
            raise ValueError(
                f"Z has {Z.shape[1]} columns: must have n_components={self._n_features_out}"
            )
        return Z

    def _given_rows(self, condition, n_rows):
        """Return rows with the values of given columns, NaN elsewhere; None if none are given."""
        likelihood = self._model().likelihood
        if not likelihood.n_given:
            if condition is not None:
                raise ValueError(
                    f"condition={condition!r}: must be None, as the model was fitted with "
                    "condition=None"
                )
            return None
        names = getattr(self, "feature_names_in_", None)
        labels = likelihood.given if names is None else [str(names[j]) for j in likelihood.given]
        if condition is None:
            raise ValueError(
                f"condition=None: must have the values of the columns {labels}, given by "
                f"condition={self._settings['condition']!r} in fit, for each row or for all"
            )
        own = [*getattr(condition, "columns", ())]
        if names is not None and own and sorted(map(str, own)) == sorted(labels):
            condition = condition[labels]
        elif names is not None and own:
            raise ValueError(f"condition has the columns {own}: must have {labels}")
        with reading("condition"):
            values = numbers_of(condition, "condition")
            shape = np.shape(values)
            if len(shape) == 2:
                values = check_array(values, dtype=np.float64, input_name="condition")
        if len(shape) != 2 or shape[1] != len(labels) or shape[0] not in (1, n_rows):
            raise ValueError(
                f"condition has shape {shape}: must have shape ({n_rows}, {len(labels)}), a row of "
                f"the columns {labels} for each row, or (1, {len(labels)}) for all"
            )
        X = np.full((n_rows, self.n_features_in_), np.nan)
        X[:, likelihood.given] = values
        return X

    def _model(self):
        """Return the fitted LatentModel."""
        return self.net_.module_.model

    def _double(self):
        """Return a copy of the model in float64, in which the size of a batch does not matter."""
        return importance.in_double(self._model())

    def _evaluator(self):
        """Return the Evaluator of the fitted model."""
        check_number("n_score_samples", self.n_score_samples, Integral, 1)
        names = getattr(self, "feature_names_in_", None)
        return Evaluator(self._model(), int(self.n_score_samples), self._noise_seed, names)

    def _by_row(self, X, function, *, width=None, dtype=None):
        """Return the results of a method of Evaluator, in the dtype of X or the given one.

        For a Dask array the results are a Dask array, which is computed later, without warnings.
        """
        check_is_fitted(self)
        lazy = is_distributed(X)
        X = self._validate(X, min_rows=0 if lazy else 1)
        dtype, evaluator = np.dtype(dtype or X.dtype), self._evaluator()
        if lazy:
            evaluator = evaluator._replace(model=self._double())  # a later fit does not change it
            return map_rows(ChunkResults(function, evaluator, width, dtype), X, width, dtype)
        results, effective_size = function(evaluator, X)
        if effective_size is not None:
            message = importance.reliability_message(effective_size, evaluator.n_draws)
            if message is not None:
                warnings.warn(message, importance.EffectiveSizeWarning, stacklevel=3)
        return results.astype(dtype, copy=False)

    def _validate(self, X, *, reset=False, min_rows=1):
        return super()._validate(self._coded(X, reset), reset=reset, min_rows=min_rows)

    def _coded(self, X, learn):
        """Return X with codes in the place of names of categories, which a fit learns."""
        if learn:
            for name in ("categories_", "_kinds_of_categories"):
                vars(self).pop(name, None)
            check_given(X, self.condition)
            own = self.likelihood, X, self.condition
            if (categories := learned_categories(*own)) is not None:
                self.categories_ = categories
                self._kinds_of_categories = kinds_of_categories(X, categories)
        if not hasattr(self, "categories_"):
            return X
        validate_data(self, X, reset=learn, skip_check_array=True)
        return coded(X, self.categories_)

    def _as_given(self, X, like=None, *, index=None):
        """Return rows in the form of X: with the names of categories, in a table if one is set.

        A table has the index and the dtypes of ``like``, the X of these rows; without it, the given
        index, and the dtypes of the X of the fit.
        """
        categories = getattr(self, "categories_", None)
        library = self._output_library()
        if library is None or is_distributed(X):
            return X if categories is None else named(X, categories)
        dtypes, names = vars(self).get("_dtypes_in"), self._column_names()
        if like is not None:
            index, dtypes = index_of(like), dtypes_of(like)
        kinds = vars(self).get("_kinds_of_categories")
        return table(X, names, categories, library, index, kinds, dtypes)

    def _rows(self, X, sample_weight, *, reset=False, min_rows=1):
        """Return the checked rows to learn from, and their weights or None.

        They are arrays, or RowsOnDisk if X is too large.
        """
        given, X = X, self._validate(X, reset=reset, min_rows=min_rows)
        weight = self._validate_weight(sample_weight, X)
        X, weight = in_memory_or_on_disk(given, X, weight)
        if len(X) < min_rows:
            raise ValueError(
                f"sample_weight is zero in all rows but {len(X)}: at least {min_rows} must be > 0"
            )
        return (X, relative(weight)) if isinstance(X, RowsOnDisk) else arranged(X, weight)

    def _in_units(self, X):
        """Return checked rows in the likelihood's units; raise ValueError if one is impossible."""
        likelihood, names = self._model().likelihood, getattr(self, "feature_names_in_", None)
        for block in blocks_of(X):
            likelihood.check(block, names)
        return prepared(likelihood, X)
