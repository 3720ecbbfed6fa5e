r"""Linear autoencoders with Gaussian noise: closed forms of the first weights and the posterior.

With linear networks the model is factor analysis,

.. math:: z \sim N(0, I), \qquad x \mid z \sim N(m + W z, \Psi), \qquad \Psi \text{ diagonal}.

Given :math:`\Psi`, with S the covariance of the rows and :math:`(\lambda_k, u_k)` the L largest
eigenvalues and vectors of :math:`\Psi^{-1/2} S \Psi^{-1/2}`, the best loadings and, given these,
the best variances are

.. math::
    W = \Psi^{1/2} U (\Lambda - I)^{1/2}, \qquad
    \Psi \leftarrow \operatorname{diag}(S - W W^\top),

the second for a learned σ of each feature, or the mean of its entries for one σ of all features.
Both steps raise the likelihood. The posterior of z is

.. math:: N\bigl(\Lambda^{-1} W^\top \Psi^{-1} (x - m),\; \Lambda^{-1}\bigr),

diagonal for these loadings, so that a linear encoder gives it exactly. Of a row with missing values
it has a covariance of its own,

.. math:: N\bigl(C_o W_o^\top \Psi_o^{-1} (x_o - m_o),\; C_o\bigr), \qquad
          C_o^{-1} = I + W_o^\top \Psi_o^{-1} W_o,

of the observed features o, which no encoder of a filled row can give.

With columns c that are given the mean is :math:`m + A c`. Its best slopes are those of least
squares for any covariance of the rest, since all features have the same regressors [3]_, and S is
the covariance of the residuals.

References
----------
.. [1] Lawley & Maxwell (1971), Factor analysis as a statistical method, ch. 4.
.. [2] Tipping & Bishop (1999), Probabilistic principal component analysis, JRSS B, for one σ.
.. [3] Zellner (1962), An efficient method of estimating seemingly unrelated regressions, JASA 57,
   section 3.
"""

from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import eigh
from torch import nn

from skvae.ascent.anderson import AndersonStep
from skvae.ascent.loop import Step, ascend
from skvae.neural.likelihoods.gaussian import Gaussian
from skvae.neural.networks import LinearBeside
from skvae.neural.posteriors import FullPosterior
from skvae.neural.priors import Mixture, Normal
from skvae.neural.training.rows_on_disk import with_weights

_TOL = 1e-7  # nats per row
_MAX_ITER = 500
_MAX_FEATURES = 1024
_ROWS_A_FEATURE = 2
_RANK = 1e-10  # of the largest variance of given columns: flatter directions have no slope


class Factors(NamedTuple):
    """A factor analysis of rows.

    Parameters
    ----------
    mean : ndarray of shape (D,)
        m.
    loadings : ndarray of shape (D, L)
        W, such that the posterior's covariance is diagonal; columns beyond D are zero.
    variances : ndarray of shape (D,)
        The diagonal of Ψ.
    """

    mean: np.ndarray
    loadings: np.ndarray
    variances: np.ndarray


# Factor analysis ----------------------------------------------------------------------------------


def factor_analysis(mean, covariance, n_components, *, shared=False, floor=1e-6):
    """Return the Factors of highest likelihood.

    Parameters
    ----------
    mean : ndarray of shape (D,)
        The mean of the rows.
    covariance : ndarray of shape (D, D)
        Their covariance.
    n_components : int
        L, the number of factors.
    shared : bool
        Whether all features have one variance.
    floor : float
        The least variance.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.neural.linear import factor_analysis
    >>> covariance = np.outer([3.0, 2.0, 1.0], [3.0, 2.0, 1.0]) + np.diag([1.0, 2.0, 3.0])
    >>> factors = factor_analysis(np.zeros(3), covariance, 1)
    >>> factors.variances.round(3), np.abs(factors.loadings[:, 0]).round(3)
    (array([1., 2., 3.]), array([3., 2., 1.]))
    """
    step = _FactorStep(covariance, n_components, shared, floor)
    start = np.maximum(0.5 * np.diag(covariance), floor)
    start = np.full_like(start, start.mean()) if shared else start
    ascent = ascend(AndersonStep(step, step), start, max_iter=_MAX_ITER, tol=_TOL)
    return Factors(mean, step.loadings(ascent.parameters), ascent.parameters)


class _FactorStep(Step):
    """One step of the variances, given the best loadings, and the log-likelihood of both.

    Parameters
    ----------
    covariance : ndarray of shape (D, D)
        S.
    n_components : int
        L.
    shared : bool
        Whether all features have one variance.
    floor : float
        The least variance.
    """

    def __init__(self, covariance, n_components, shared, floor):
        self._covariance, self._shared, self._floor = covariance, shared, floor
        self._n_components = n_components
        self._n_factors = min(n_components, len(covariance))

    def __call__(self, variances):
        """Return the next variances, and the log-likelihood of a row with the given ones."""
        self.n_steps += 1
        loadings, bound = self._best(variances)
        rest = np.diag(self._covariance) - np.square(loadings).sum(axis=1)
        rest = np.full_like(rest, rest.mean()) if self._shared else rest
        return np.maximum(rest, self._floor), bound

    def evaluate(self, variances):
        """Return the log-likelihood of a row with the best loadings."""
        return self._best(variances)[1]

    def loadings(self, variances):
        """Return the best loadings, (D, L)."""
        loadings = np.zeros((len(variances), self._n_components))
        loadings[:, : self._n_factors] = self._best(variances)[0]
        return loadings

    def pack(self, variances):
        """Return coordinates without constraints."""
        return np.log(variances)

    def unpack(self, vector):
        """Return the variances of coordinates."""
        with np.errstate(over="ignore"):
            return np.maximum(np.exp(vector), self._floor)

    def _best(self, variances):
        scales, n = np.sqrt(variances), len(variances)
        white = self._covariance / scales / scales[:, None]
        last = [n - self._n_factors, n - 1]
        values, vectors = eigh(white, subset_by_index=last, check_finite=False)
        excess = np.maximum(values - 1.0, 0.0)
        # ln det and trace of the fitted covariance: other eigenvalues, and those below 1, count 1.
        distance = np.trace(white) - excess.sum()
        log_det = np.log(variances).sum() + np.log1p(excess).sum()
        bound = -0.5 * (n * np.log(2.0 * np.pi) + log_det + distance)
        return scales[:, None] * vectors * np.sqrt(excess), bound


def moments_of_rows(x, weight=None):
    """Return the mean and covariance of rows, of each pair of features where both are observed.

    Parameters
    ----------
    x : ndarray or RowsOnDisk of shape (n, D)
        Prepared rows, near zero; NaN is missing.
    weight : ndarray of shape (n,), RowsOnDisk of shape (n, 1), or None
        The weights of the rows.
    """
    n_features, complete = x.shape[1], True
    count = np.zeros((n_features, n_features))
    products, sums = np.zeros_like(count), np.zeros(n_features)
    for block, of_block in with_weights(x, weight):
        seen = ~np.isnan(block)
        complete = complete and seen.all()
        filled = np.where(seen, block, 0.0).astype(np.float64)
        times = 1.0 if of_block is None else of_block[:, None]
        sums += (times * filled).sum(axis=0)
        products += filled.T @ (times * filled)
        count += seen.T.astype(np.float64) @ (times * seen)
    count = np.where(count > 0, count, 1.0)
    mean = sums / np.diag(count)
    covariance = products / count - np.outer(mean, mean)
    if not complete:  # the covariances of pairs need not be those of any distribution
        values, vectors = eigh(covariance)
        covariance = (vectors * np.maximum(values, 0.0)) @ vectors.T
    return mean, covariance


def regression(mean, covariance, modelled, given):
    """Return slopes (D, C), intercepts (D,) and residual covariance (D, D) of some columns.

    Parameters
    ----------
    mean : ndarray of shape (D + C,)
        The mean of all columns.
    covariance : ndarray of shape (D + C, D + C)
        Their covariance.
    modelled, given : sequence of int
        The D columns that depend on the C others. Slopes of collinear ones are the smallest.
    """
    within = covariance[np.ix_(modelled, modelled)]
    across = covariance[np.ix_(modelled, given)]
    slopes = across @ np.linalg.pinv(covariance[np.ix_(given, given)], rcond=_RANK, hermitian=True)
    intercepts = mean[modelled] - slopes @ mean[given]
    return slopes, intercepts, within - slopes @ across.T


# The model ----------------------------------------------------------------------------------------


def can_start_at_factor_analysis(settings, likelihood, shape):
    """Return whether the training of built-in networks can begin at a factor analysis.

    Parameters
    ----------
    settings : dict
        The estimator's parameters.
    likelihood : Likelihood
        p(x | z), which must be Gaussian.
    shape : tuple of int
        The numbers of rows and of features; there must be enough rows, and not too many features.
    """
    n_rows, n_features = shape
    own = settings["encoder"] is not None or settings["decoder"] is not None
    few = n_features <= _MAX_FEATURES and n_rows >= _ROWS_A_FEATURE * n_features
    return few and not own and gaussian_part(likelihood) is not None


def gaussian_part(likelihood):
    """Return the Gaussian of all columns that are modelled; None for other likelihoods."""
    if likelihood.n_given and len(likelihood.parts) == 2:
        likelihood = likelihood.parts[0]
    return likelihood if isinstance(likelihood, Gaussian) else None


def start_at_factor_analysis(model, x, weight=None):
    """Set the weights of a Gaussian model with linear maps to the factor analysis of some rows.

    Networks without hidden layers, or with a linear map beside them, then give its density and its
    posterior exactly, and a prior is standard normal. Others keep their weights.

    Parameters
    ----------
    model : LatentModel
        Changed in place.
    x : ndarray or RowsOnDisk of shape (n, D)
        Prepared rows; NaN is missing.
    weight : ndarray of shape (n,), RowsOnDisk of shape (n, 1), or None
        The weights of the rows.
    """
    maps = [_linear_map(network) for network in (model.encoder, model.decoder)]
    if None in maps:
        return
    likelihood, gaussian = model.likelihood, gaussian_part(model.likelihood)
    shared, floor = gaussian.scale == "shared", gaussian.min_scale**2
    moments, slopes = moments_of_rows(x, weight), None
    if likelihood.n_given:
        slopes, *moments = regression(*moments, likelihood.columns[0], likelihood.given)
        slopes = torch.from_numpy(slopes)
    factors = factor_analysis(*moments, model.n_components, shared=shared, floor=floor)
    _set_weights(*maps, gaussian, *(torch.from_numpy(array) for array in factors), slopes)
    if isinstance(model.prior, Mixture):
        with torch.no_grad():
            model.prior.means.zero_()


def _linear_map(network):
    """Return the linear part of one of our networks, or None if it has none."""
    if isinstance(network, LinearBeside):
        return network.linear
    return network[0] if _is_linear(network) else None


@torch.no_grad()
def _set_weights(encoder, decoder, likelihood, mean, loadings, variances, slopes=None):
    """Set the weights of a linear model to factors, and its encoder to their posterior.

    The slopes (D, C) are those of columns that are given, the last inputs of both maps.
    """
    n_features, n_latents = loadings.shape
    scaled = loadings / variances[:, None]
    precision = 1.0 + (scaled * loadings).sum(0)
    gain = scaled.T / precision[:, None]
    for weight in (encoder.weight, encoder.bias, decoder.weight, decoder.bias):
        weight.zero_()
    encoder.weight[:n_latents, :n_features] = gain
    encoder.bias[:n_latents] = -gain @ mean
    encoder.bias[n_latents : 2 * n_latents] = -precision.log()
    decoder.weight[:n_features, :n_latents] = loadings
    decoder.bias[:n_features] = mean
    if slopes is not None:
        encoder.weight[:n_latents, n_features:] = -gain @ slopes
        decoder.weight[:n_features, n_latents:] = slopes
    raw = likelihood.raw_of(variances.sqrt())
    if likelihood.raw_scale is None:
        decoder.bias[n_features:] = raw
    else:
        likelihood.raw_scale.copy_(raw[: len(likelihood.raw_scale)])


def exact_posterior(model, x, observed):
    """Return p(z | x) of rows under a linear Gaussian model; None for any other.

    Parameters
    ----------
    model : LatentModel
        The model.
    x : Tensor of shape (B, D)
        Prepared rows; NaN is missing.
    observed : Tensor of bool, shape (B, D), or None
        Whether a value is observed; None if all are.

    Returns
    -------
    posterior : FullPosterior or None
        Of the observed values.
    """
    gaussian, decoder = gaussian_part(model.likelihood), model.decoder
    if not _is_factor_analysis(model) or gaussian.scale == "decoder":
        return None
    given, columns = model.likelihood.given_values(x), model.likelihood.modelled
    observed = torch.ones_like(x, dtype=torch.bool) if observed is None else observed
    x, observed = x[:, columns], observed[:, columns]
    loadings, slopes = decoder[0].weight.split((model.n_components, model.likelihood.n_given), 1)
    mean = decoder[0].bias if given is None else decoder[0].bias + given @ slopes.T
    precision = observed / gaussian.sigma(x.dtype).square()
    residual = torch.where(observed, x - mean, 0.0) * precision
    inner = torch.einsum("bj,jk,jl->bkl", precision, loadings, loadings)
    covariance = torch.linalg.inv(inner + torch.eye(inner.shape[-1]).to(inner))
    factor = torch.linalg.cholesky(covariance)
    means = torch.einsum("bkl,bl->bk", covariance, residual @ loadings)
    return FullPosterior(means, 2.0 * factor.diagonal(dim1=-2, dim2=-1).log(), factor)


def _is_factor_analysis(model):
    """Return whether a model has a linear decoder, Gaussian noise and a standard normal prior."""
    gaussian = gaussian_part(model.likelihood) is not None and isinstance(model.prior, Normal)
    return gaussian and _is_linear(model.decoder)


def _is_linear(network):
    """Return whether a network is one of ours without hidden layers."""
    layers = list(network) if isinstance(network, nn.Sequential) else []
    return len(layers) == 1 and isinstance(layers[0], nn.Linear) and layers[0].bias is not None
