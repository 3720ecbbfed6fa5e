"""The computations of a fitted autoencoder for checked rows and latent vectors, in blocks.

The result for a row depends on the row and the model alone, so that chunks of a Dask array give the
results of all rows together. The public methods are in :mod:`skvae.vae.base`.
"""

from typing import NamedTuple

import numpy as np
import torch

from skvae.blocks import ranges
from skvae.neural import importance
from skvae.neural.latent_model import LatentModel

_ROWS = 4096  # drawn, encoded or decoded together


class Evaluator(NamedTuple):
    """A fitted model and its importance sampling; the methods compute results of checked rows.

    The methods used by ``Autoencoder._by_row`` return results (n, ...) and the effective sample
    sizes (n,) that decide on a warning, or None if the results need none.

    Parameters
    ----------
    model : LatentModel
        The fitted model. Each call uses a copy in float64; threads share the model itself.
    n_draws : int
        The number of draws for each row in importance sampling.
    seed : int
        Seed of the draws.
    names : ndarray of str or None
        The features' names, for messages.
    """

    model: LatentModel
    n_draws: int
    seed: int
    names: np.ndarray | None

    def prepared(self, X):
        """Return the rows in the likelihood's units; raise ValueError if a row is impossible."""
        self.model.likelihood.check(X, self.names)
        return self.model.likelihood.prepare(X)

    def own(self, x):
        """Return the first arguments of functions of :mod:`skvae.neural.importance`."""
        return importance.in_double(self.model), x, self.n_draws

    def evidence(self, X):
        """Return the Evidence of the rows: log-densities, and effective sample sizes."""
        return importance.log_likelihood(*self.own(self.prepared(X)), seed=self.seed)

    def log_density(self, X):
        """Return the log-density of each row, (n,), and the effective sizes."""
        # As in `evidence`, without its frame.
        found = importance.log_likelihood(*self.own(self.prepared(X)), seed=self.seed)
        with np.errstate(over="ignore"):  # −inf where float32 holds no more
            return found.log_likelihood.astype(X.dtype, copy=False), found.effective_size

    def feature_scores(self, X):
        """Return ln p(x_j | other values of the row), (n, D), and the least effective sizes."""
        own = self._replace(model=importance.in_double(self.model))
        whole = own.evidence(X)
        scores, effective_size = np.full(X.shape, np.nan), whole.effective_size.copy()
        for j in np.arange(X.shape[1])[self.model.likelihood.modelled]:
            seen = np.flatnonzero(~np.isnan(X[:, j]))
            rest = X[seen]
            rest[:, j] = np.nan
            found = own.evidence(rest)
            scores[seen, j] = whole.log_likelihood[seen] - found.log_likelihood
            effective_size[seen] = np.minimum(effective_size[seen], found.effective_size)
        return scores, effective_size

    def effective_size(self, X):
        """Return the effective sample size of each row, (n,), and None."""
        return self.evidence(X).effective_size, None

    def standard_error(self, X):
        """Return the standard error of each row's log-density, (n,), and None."""
        return importance.standard_error(self.evidence(X).effective_size, self.n_draws), None

    def elbo_terms(self, X):
        """Return the bound, its terms, the entropy of q and the bound's error, (n, 5), and None."""
        terms = importance.elbo_terms(*self.own(self.prepared(X)), seed=self.seed)
        return np.column_stack([*terms, terms.entropy, terms.standard_error]), None

    def latent_mean(self, X):
        """Return the posterior mean of each row's latent vector, (n, L), and None."""
        return _encoded(importance.in_double(self.model), self.prepared(X)), None

    def posterior(self, X):
        """Return mean and covariance of each row's q(z | x), (n, L + L²), and None."""
        model = importance.in_double(self.model)
        return _encoded(model, self.prepared(X), with_covariance=True), None

    def reconstruction(self, X):
        """Return the expected row at each row's posterior mean, (n, D), and None."""
        model = importance.in_double(self.model)

        def values(outputs):
            return model.likelihood.values_of(model.likelihood.expectations(outputs))

        found = decoded(model, _encoded(model, self.prepared(X)), values, X)
        return model.likelihood.rounded(found, X.dtype), None

    def responsibilities(self, X):
        """Return the probabilities of a mixture prior's components, (n, K), and effective sizes."""
        own = self.own(self.prepared(X))
        return importance.expected_responsibilities(*own, seed=self.seed)

    def label(self, X):
        """Return the most probable component of each row, (n,), and the effective sizes."""
        resp, effective_size = self.responsibilities(X)
        return resp.argmax(axis=1), effective_size

    def imputed(self, X):
        """Return the rows with expectations of missing values, (n, D), and effective sizes."""
        return self._filled(X, importance.expected_features)

    def drawn(self, X, seed):
        """Return the rows with draws of missing values, (n, D), and effective sizes."""
        return self._replace(seed=seed)._filled(X, importance.drawn_features)

    def _filled(self, X, function):
        """Return the rows with a function's values where values are missing, and its sizes."""
        x, filled = self.prepared(X), np.array(X, order="C")
        incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
        if not len(incomplete):
            return filled, None
        values, effective_size = function(*self.own(x[incomplete]), seed=self.seed)
        values = self.model.likelihood.rounded(values, X.dtype)
        filled[incomplete] = np.where(np.isnan(X[incomplete]), values, X[incomplete])
        return filled, effective_size


class ChunkResults(NamedTuple):
    """Computes the results of a chunk of rows, also of an empty one.

    Parameters
    ----------
    function : callable
        A method of Evaluator.
    evaluator : Evaluator
        Its first argument.
    width : int or None
        The number of numbers in a row's result; None is one number, without an axis for it.
    dtype : dtype
        The dtype of the results.
    """

    function: object
    evaluator: Evaluator
    width: int | None
    dtype: np.dtype

    def __call__(self, X):
        if not len(X):
            return np.empty((0,) if self.width is None else (0, self.width), self.dtype)
        return self.function(self.evaluator, X)[0].astype(self.dtype, copy=False)


class _Least(NamedTuple):
    """A number with ``+`` as the minimum, so that a sum over chunks is the least number."""

    value: float

    def __add__(self, other):
        return _Least(min(self.value, other.value))


def summed_density(rows, _pool, evaluator):
    """Return (weighted sum of log-densities, numbers of unreliable and all rows, least size)."""
    X, weight = rows.take(0, rows.n_rows)
    found = evaluator.evidence(X)
    bad = importance.is_unreliable(found.effective_size, evaluator.n_draws).sum()
    total = found.log_likelihood @ (np.ones(len(X)) if weight is None else weight)
    return total, np.array([bad, len(X)]), _Least(found.effective_size.min())


def summed_latents(rows, _pool, evaluator):
    """Return the number of rows, and the sums of posterior means and of their squares, (L,)."""
    Z, _ = evaluator.latent_mean(rows.take(0, rows.n_rows)[0])
    return len(Z), Z.sum(axis=0), np.square(Z).sum(axis=0)


@torch.no_grad()
def _encoded(model, x, *, with_covariance=False):
    """Return posterior means of prepared rows, float64 (n, L), or with covariances (n, L + L²)."""
    n = model.n_components
    Z, device = np.empty((len(x), n + n * n if with_covariance else n)), _device(model)
    for a, b in ranges(0, len(x), _ROWS):
        # torch warns of arrays that are not writable, as pandas' are.
        rows = torch.as_tensor(np.require(x[a:b], requirements="W"), device=device)
        posterior = model.encode(rows)
        Z[a:b, :n] = posterior.mean.cpu().numpy()
        if with_covariance:
            Z[a:b, n:] = posterior.covariance.flatten(1).cpu().numpy()
    return Z


def as_matrices(entries, n):
    """Return rows of n² entries as matrices, (n_samples, n, n)."""
    return entries.reshape(-1, n, n)


@torch.no_grad()
def decoded(model, Z, function, given):
    """Return the rows, float64 (n, D), that a function computes from the outputs of the decoder.

    ``given`` has rows with the values of given columns, or is None if there are none.
    """
    X = np.empty((len(Z), model.likelihood.n_features))
    for a, b in ranges(0, len(Z), _ROWS):
        z = torch.as_tensor(np.array(Z[a:b], dtype=np.float64), device=_device(model))
        outputs = model.decode(z, _prepared_given(model, given, a, b))
        X[a:b] = function(outputs).cpu().numpy()
    return _with_given(model, X, given)


@torch.no_grad()
def density_parameters(model, Z, given):
    """Return the parameters of p(x | z) of latent vectors, by name, as float64 arrays (n, D, …)."""
    found = []
    for a, b in ranges(0, len(Z), _ROWS):
        z = torch.as_tensor(np.array(Z[a:b], dtype=np.float64), device=_device(model))
        outputs = model.decode(z, _prepared_given(model, given, a, b))
        found.append(model.likelihood.density_parameters(outputs))
    return {
        name: np.concatenate([block[name].cpu().numpy() for block in found]) for name in found[0]
    }


@torch.no_grad()
def drawn_rows(model, n, given, seed):
    """Return n rows (n, D) drawn from the model, and their latent vectors (n, L), float64.

    ``model`` is in float64, and moves to the CPU: the draws are the same on every device.
    """
    model, generator = model.cpu(), torch.Generator().manual_seed(seed)
    density, likelihood = model.prior_density(), model.likelihood
    X, Z = np.empty((n, likelihood.n_features)), np.empty((n, model.n_components))
    for a, b in ranges(0, n, _ROWS):
        z, _ = density.sample(b - a, generator)
        outputs = model.decode(z, _prepared_given(model, given, a, b))
        X[a:b] = likelihood.sample(outputs, generator).numpy()
        Z[a:b] = z.numpy()
    return _with_given(model, X, given), Z


def _prepared_given(model, given, a, b):
    """Return prepared rows from a to b, a tensor; None where no columns are given."""
    if not model.likelihood.n_given:
        return None
    return torch.as_tensor(model.likelihood.prepare(given[a:b]), device=_device(model))


def _with_given(model, X, given):
    """Return rows with the values of given columns, which were rounded meanwhile."""
    if model.likelihood.n_given:
        X[:, model.likelihood.given] = given[:, model.likelihood.given]
    return X


def _device(model):
    tensors = (*model.parameters(), *model.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
