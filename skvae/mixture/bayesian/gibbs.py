r"""Gibbs sampling from the posterior of a Bayesian mixture, with the prior of the fit.

The draws are those of the exact posterior of the model whose bound the fit maximises; of sticks,
the rows are in the first K components. A chain starts from the fitted posterior, and its sweeps are
those of :mod:`skvae.mixture.bayesian.gibbs_kernels`.

The labels of components are exchanged between draws, by chance or by design. Each draw is matched
to the fitted components: the order of its components has the largest density under q, where q
factorises over components, so that it is an assignment problem (Stephens, J. R. Stat. Soc. B 62,
2000, for the general idea).
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln, multigammaln

from skvae.gaussian.covariance import LOG_2PI
from skvae.mixture.bayesian import gibbs_kernels as kernels

_SWEEPS = 2**22  # densities of a row between two looks at Ctrl-C


class EffectiveSampleSize(NamedTuple):
    """The number of independent draws that have the same standard error of the mean.

    Parameters
    ----------
    weights : ndarray of shape (n_components,)
        Of the weights.
    means : ndarray of shape (n_components, n_features)
        Of the means.
    covariances : ndarray
        Of the entries of the covariances: (K, D, D) full, (D, D) tied, (K, D) diag, (K,) spherical.
    log_joint : float
        Of the log joint density.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    log_joint: float


class PosteriorDraws(NamedTuple):
    """Draws of the parameters from their posterior, components in the order of the fit.

    Parameters
    ----------
    weights : ndarray of shape (n_draws, n_components)
        Weights; for a process they sum to one minus the share of further components.
    means : ndarray of shape (n_draws, n_components, n_features)
        Means.
    covariances : ndarray
        Covariances: (n_draws, K, D, D) full, (n_draws, D, D) tied, (n_draws, K, D) diag,
        (n_draws, K) spherical.
    log_joint : ndarray of shape (n_draws,)
        ln p(X, π, μ, Λ) of each draw in nats, a density of weights (or sticks), means and
        precisions. For a process it is that of the order in which the sticks were drawn.
    effective_sample_size : EffectiveSampleSize
        Of each number of the draws.
    """

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    log_joint: np.ndarray
    effective_sample_size: EffectiveSampleSize


class Draws(NamedTuple):
    """Draws of θ in the form of the kernels.

    Parameters
    ----------
    log_weights : ndarray of shape (S, K + 1)
        ln π, and that of the remainder of sticks: −inf of a Dirichlet distribution.
    means : ndarray of shape (S, K, D)
        μ.
    factors : ndarray of shape (S, K, R, D)
        W, lower triangular, with Λ = Wᵀ W; with R = 1 the square roots of its diagonal.
    """

    log_weights: np.ndarray
    means: np.ndarray
    factors: np.ndarray

    @classmethod
    def empty(cls, n_draws, n_components, n_rows, n_features):
        """Return arrays to be filled."""
        shape = n_draws, n_components
        return cls(
            np.empty((n_draws, n_components + 1)),
            np.empty((*shape, n_features)),
            np.zeros((*shape, n_rows, n_features)),
        )


class Conditionals(NamedTuple):
    """Conjugate distributions of θ given labels, p(θ | X, z), T of them.

    Parameters
    ----------
    counts : ndarray of shape (T, K)
        Rows of each component.
    means : ndarray of shape (T, K, D)
        m.
    scales : ndarray of shape (T, K, R, D)
        S; the same for all components where tied, and for all features where spherical.
    """

    counts: np.ndarray
    means: np.ndarray
    scales: np.ndarray

    @classmethod
    def empty(cls, n_draws, n_components, n_rows, n_features):
        """Return arrays to be filled."""
        _, *others = Draws.empty(n_draws, n_components, n_rows, n_features)
        return cls(np.empty((n_draws, n_components)), *others)


class GibbsModel:
    """The prior of a mixture with K components, for the kernels and for densities of θ.

    Parameters
    ----------
    prior : MixturePrior
        The prior.
    n_components : int
        K.
    """

    def __init__(self, prior, n_components):
        one = prior.components
        self.covariance_type = one.covariance_type
        self.n_components, self.n_features = n_components, one.means.shape[1]
        self.is_matrix = self.covariance_type in ("full", "tied")
        self.n_rows = self.n_features if self.is_matrix else 1
        self.sticks = prior.weight_type == "dirichlet_process"
        self.concentration = prior.concentration
        self.mean_precision = float(one.mean_precisions[0])
        self.mean = np.array(one.means[0], dtype=np.float64)
        self.dof = float(np.ravel(one.dofs)[0])
        scale = one.scales if self.covariance_type == "tied" else one.scales[0]
        self.scale = np.array(
            np.broadcast_to(scale, (self.n_rows, self.n_features)), dtype=np.float64
        )

    @property
    def kernel_prior(self):
        """Return the prior as the kernels' tuple."""
        return (
            kernels.FORMS[self.covariance_type],
            self.sticks,
            self.concentration,
            self.mean_precision,
            self.mean,
            self.dof,
            self.scale,
        )

    @property
    def shape(self):
        """Return (K, R, D)."""
        return self.n_components, self.n_rows, self.n_features

    def sums(self, statistics):
        """Return GaussianStatistics as the kernels' tuple, new arrays."""
        scatter = np.zeros(self.shape)
        if self.covariance_type == "tied":
            scatter[0] = statistics.scatter
        elif self.covariance_type == "full":
            scatter[:] = statistics.scatter
        elif self.covariance_type == "diag":
            scatter[:, 0] = statistics.scatter
        else:
            scatter[:, 0] = statistics.scatter[:, None]
        parts = statistics.counts, statistics.sums
        return *(np.array(a, dtype=float) for a in parts), scatter, np.array(statistics.centers)

    def covariances(self, draws):
        """Return the covariances of draws in the structure's shape."""
        factors = draws.factors
        if self.covariance_type == "spherical":
            return 1.0 / factors[:, :, 0, 0] ** 2
        if self.covariance_type == "diag":
            return 1.0 / factors[:, :, 0] ** 2
        if self.covariance_type == "tied":
            factors = factors[:, 0]
        inverse = np.linalg.inv(factors)
        return inverse @ np.swapaxes(inverse, -1, -2)

    # Densities of θ -------------------------------------------------------------------------------

    def features(self, draws):
        """Return functions of θ in which log densities are linear, (S, K, F) and (S, G).

        The first are those of each component, the second those of the one Λ of all components
        where tied, else empty.
        """
        log_weights, means, factors = draws
        n_draws, K, D = means.shape
        away = means - self.mean
        if self.is_matrix:
            diagonal = np.diagonal(factors, axis1=2, axis2=3)
            precisions = np.swapaxes(factors, -1, -2) @ factors
            linear = (precisions @ away[..., None])[..., 0]
        else:
            diagonal, precisions = factors[:, :, 0], factors**2
            linear = precisions[:, :, 0] * away
        half_log_det = np.log(diagonal).sum(axis=-1)
        numbers = half_log_det, (linear * away).sum(axis=-1), log_weights[:, :K]
        precisions = precisions.reshape(n_draws, K, self.n_rows * D)
        own = np.concatenate([precisions, linear, np.stack(numbers, axis=-1)], axis=-1)
        if self.covariance_type != "tied":
            return own, np.empty((n_draws, 0))
        return own, np.concatenate([precisions[:, 0], half_log_det[:, :1]], axis=-1)

    def coefficients(self, given):
        r"""Return the coefficients of the features and constants of distributions of θ.

        The linear functions are :math:`\ln [\pi_k^{n_k} \mathrm{NW}(\mu_k, \Lambda_k \mid n_k, m_k,
        S_k)]` of each component; where tied without p(Λ), which is the function of all components.

        Parameters
        ----------
        given : Conditionals
            T distributions.

        Returns
        -------
        own, own_constants : ndarray of shape (T, K, F) and (T, K)
            Of each component.
        all_, all_constants : ndarray of shape (T, G) and (T,)
            Of all components together.
        """
        counts, means, scales = given
        n_given, K, D = means.shape
        tied, beta = self.covariance_type == "tied", self.mean_precision + counts
        away = means - self.mean
        second = self._second(beta, away)
        if self.covariance_type == "spherical":
            second = second + scales / D
        elif not tied:
            second = second + scales
        dofs = self.dof + counts * (D if self.covariance_type == "spherical" else 1)
        half = 0.5 * dofs
        constants = 0.5 * D * (np.log(beta) - LOG_2PI)
        if self.covariance_type == "full":
            of_log_det = dofs - D
            constants = constants + half * np.linalg.slogdet(scales)[1]
            constants = constants - D * half * np.log(2.0) - multigammaln(half, D)
        elif self.covariance_type == "diag":
            of_log_det = dofs - 1.0
            constants = constants + half * np.log(0.5 * scales[:, :, 0]).sum(axis=-1)
            constants = constants - D * gammaln(half)
        elif self.covariance_type == "spherical":
            of_log_det = (dofs + D - 2.0) / D
            constants = constants + half * np.log(0.5 * scales[:, :, 0, 0]) - gammaln(half)
        else:
            of_log_det = np.ones_like(beta)
        numbers = np.stack([of_log_det, -0.5 * beta, counts], axis=-1)
        second = -0.5 * second.reshape(n_given, K, self.n_rows * D)
        own = np.concatenate([second, beta[..., None] * away, numbers], axis=-1)
        if not tied:
            return own, constants, np.empty((n_given, 0)), np.zeros(n_given)
        dofs = self.dof + counts.sum(axis=1)
        half = 0.5 * dofs
        scales = scales[:, 0]
        all_constants = half * np.linalg.slogdet(scales)[1] - D * half * np.log(2.0)
        all_ = [-0.5 * scales.reshape(n_given, D * D), (dofs - D - 1.0)[:, None]]
        return own, constants, np.concatenate(all_, axis=-1), all_constants - multigammaln(half, D)

    def prior_conditionals(self):
        """Return the prior as Conditionals, with T = 1."""
        lead = 1, self.n_components
        means = np.broadcast_to(self.mean, (*lead, self.n_features))
        return Conditionals(np.zeros(lead), means.copy(), np.tile(self.scale, (*lead, 1, 1)))

    def tempered(self, given, share):
        """Return the Conditionals of a share of the rows' statistics."""
        counts = share * given.counts
        before, beta = self.mean_precision + given.counts, self.mean_precision + counts
        away = given.means - self.mean
        shift = away * (share * before / beta)[..., None]
        # S + β m mᵀ, about the prior's mean, is linear in the statistics.
        change = self._second(before, away) * share - self._second(beta, shift)
        if self.covariance_type == "tied":
            change = change.sum(axis=1, keepdims=True)
        elif self.covariance_type == "spherical":
            change = change.sum(axis=-1, keepdims=True)
        scales = share * given.scales + (1.0 - share) * self.scale + change
        return Conditionals(counts, self.mean + shift, scales)

    def _second(self, beta, away):
        """Return β d dᵀ of means (T, K, D), or its diagonal, shape (T, K, R, D)."""
        if self.is_matrix:
            return beta[..., None, None] * away[..., None] * away[..., None, :]
        return (beta[..., None] * away**2)[:, :, None]

    def log_prior_of_components(self, draws):
        """Return ln p(μ, Λ) of draws, shape (S,)."""
        own, of_all = self.features(draws)
        c_own, constants, c_all, all_constants = self.coefficients(self.prior_conditionals())
        found = (own @ c_own[0, 0] + constants[0, 0]).sum(axis=1)
        return found + of_all @ c_all[0] + all_constants[0]

    def log_prior_of_weights(self, draws):
        """Return ln p(π), or of sticks ln p(v), of draws, shape (S,)."""
        K, a, log_weights = self.n_components, self.concentration, draws.log_weights
        if self.sticks:  # ∏ (1 − v_k) is the remainder
            return K * np.log(a) + (a - 1.0) * log_weights[:, K]
        constant = gammaln(K * a) - K * gammaln(a)
        return constant + (a - 1.0) * log_weights[:, :K].sum(axis=1)


# Chains -------------------------------------------------------------------------------------------


def run_chain(X, weight, model, sums, rng, *, n_burn_in, n_draws, thin=1):
    """Return (Draws, Conditionals, ln p(X | θ)) of a chain.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Rows, float64; NaN is missing.
    weight : ndarray of shape (n_samples,)
        Their weights.
    model : GibbsModel
        The prior.
    sums : tuple
        The statistics of the labels to start from, which are overwritten.
    rng : numpy.random.Generator
        The source of randomness.
    n_burn_in : int
        The number of first sweeps, which are not kept.
    n_draws : int
        The number of draws.
    thin : int
        The number of sweeps for each draw.
    """
    prior = model.kernel_prior
    per_call = max(1, _SWEEPS // (len(X) * model.n_components))

    def sweep(size, each, into):
        if not kernels.sweep(X, weight, prior, each, rng, sums, *into):
            raise ValueError(
                "A scale of the posterior is singular in float64: raise covariance_prior, or "
                "subtract an offset from X, and fit again"
            )
        return size

    spare = tuple(Draws.empty(1, *model.shape)), tuple(Conditionals.empty(1, *model.shape))
    for start in range(0, n_burn_in, per_call):
        sweep(1, min(per_call, n_burn_in - start), (*spare, np.empty(1)))
    draws, given = Draws.empty(n_draws, *model.shape), Conditionals.empty(n_draws, *model.shape)
    log_likelihoods = np.empty(n_draws)
    size = max(1, per_call // thin)
    for start in range(0, n_draws, size):
        part = slice(start, start + size)
        into = tuple(a[part] for a in draws), tuple(a[part] for a in given), log_likelihoods[part]
        sweep(len(into[2]), thin, into)
    return draws, given, log_likelihoods


def sample_posterior(posterior, X, *, n_burn_in, n_draws, rng):
    """Return the PosteriorDraws of rows X, by a chain from a fitted posterior.

    Parameters
    ----------
    posterior : MixturePosterior
        The fit: the start, the order of the components, and the prior.
    X : ndarray of shape (n_samples, n_features)
        Rows, float64; NaN is missing.
    n_burn_in, n_draws : int
        The numbers of sweeps before the draws, and of draws.
    rng : numpy.random.Generator
        The source of randomness.
    """
    model = GibbsModel(posterior.prior, len(posterior.components.means))
    fitted = fitted_sums(posterior, model)
    start = tuple(part.copy() for part in fitted)
    options = {"n_burn_in": n_burn_in, "n_draws": n_draws}
    draws, _, log_joint = run_chain(X, np.ones(len(X)), model, start, rng, **options)
    log_joint = log_joint + model.log_prior_of_weights(draws)
    log_joint += model.log_prior_of_components(draws)
    draws = matched(draws, model, fitted)
    numbers = np.exp(draws.log_weights[:, :-1]), draws.means, model.covariances(draws), log_joint
    sizes = EffectiveSampleSize(*(effective_sample_size(values) for values in numbers))
    return PosteriorDraws(*numbers, sizes._replace(log_joint=float(sizes.log_joint)))


def fitted_sums(posterior, model):
    """Return the statistics that the fit adds to the prior, as the kernels' tuple."""
    counts, *others = model.sums(posterior.statistics)
    return np.maximum(counts, 0.0), *others  # differences of posterior and prior are rounded


def matched(draws, model, sums):
    """Return draws with their components in the order of the largest density under q.

    Parameters
    ----------
    draws : Draws
        The draws.
    model : GibbsModel
        The prior.
    sums : tuple
        The statistics of the fit; with the prior they make q.
    """
    given = Conditionals.empty(1, *model.shape)
    kernels.condition(sums, model.kernel_prior, tuple(part[0] for part in given))
    coefficients, constants, _, _ = model.coefficients(given)
    pairs = model.features(draws)[0] @ coefficients[0].T + constants[0]  # (S, K, K)
    order = np.array([linear_sum_assignment(-each.T)[1] for each in pairs])
    one = np.arange(len(order))[:, None]
    log_weights = np.append(draws.log_weights[one, order], draws.log_weights[:, -1:], axis=1)
    return Draws(log_weights, draws.means[one, order], draws.factors[one, order])


def effective_sample_size(values):
    """Return the effective sample size of each number of a chain, at most the length of the chain.

    The autocorrelation time is that of Geyer's initial positive sequence (Practical Markov chain
    Monte Carlo, Stat. Sci. 7, 1992).

    Parameters
    ----------
    values : ndarray of shape (n_draws, ...)
        Draws in order.

    Returns
    -------
    size : ndarray of shape (...)
        The number of draws for numbers that do not vary.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.mixture.bayesian.gibbs import effective_sample_size
    >>> noise = np.random.default_rng(0).normal(size=4000)
    >>> sums = noise[1:] + noise[:-1]  # autocorrelation 1/2 at lag one: half of the draws
    >>> bool(1700 < effective_sample_size(sums) < 2300)
    True
    """
    n_draws = len(values)
    series = values.reshape(n_draws, -1) - values.reshape(n_draws, -1).mean(axis=0)
    spread = np.abs(series).max(axis=0)
    series = series / np.where(spread > 0.0, spread, 1.0)
    size = 1 << (2 * n_draws - 1).bit_length()
    times = np.ones(series.shape[1])
    for i, one in enumerate(series.T):
        covariance = np.fft.irfft(np.abs(np.fft.rfft(one, size)) ** 2, size)[:n_draws]
        if spread[i] > 0.0:
            pairs = covariance[: n_draws // 2 * 2].reshape(-1, 2).sum(axis=1) / covariance[0]
            negative = np.flatnonzero(pairs <= 0.0)
            last = negative[0] if len(negative) else len(pairs)
            times[i] = max(2.0 * pairs[:last].sum() - 1.0, 1.0)
    return (n_draws / times).reshape(values.shape[1:])
