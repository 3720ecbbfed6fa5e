r"""Conjugate priors and posteriors of Gaussian components in the four covariance structures.

.. math:: \mu_k \mid \Lambda_k \sim N(m_k, (\beta_k \Lambda_k)^{-1}), \qquad
          \Lambda_k \sim \mathrm{Wishart}(\nu_k, S_k^{-1}), \qquad E[\Lambda_k] = \nu_k S_k^{-1} .

The scale :math:`S` is an inverse scale: it adds up like a scatter. ``full`` has a Wishart of size D
for each component and ``tied`` one for all. A Wishart of size one is a Gamma, :math:`\lambda \sim
\mathrm{Gamma}(\nu / 2, S / 2)`: ``diag`` has D of them for each component, which share their
:math:`\nu_k`, and ``spherical`` one.

A prior is :math:`\beta_0` rows at :math:`m_0` with scatter :math:`S_0`, so that a posterior is
a sum of statistics: with the statistics' counts :math:`n`,

.. math:: \beta = \beta_0 + n, \quad \beta m = \beta_0 m_0 + s, \quad
          S = S_0 + \mathrm{scatter}(m) + \beta_0 (m - m_0)(m - m_0)^T,

and :math:`\nu = \nu_0 + n` (full, diag), :math:`\nu_0 + \sum_k n_k` (tied), :math:`\nu_0 + D n`
(spherical: each row has D numbers for the one variance).

Symbols: ``K`` components, ``D`` features; ``U`` is upper triangular with
:math:`E[\Lambda] = U U^T`. Everything is in nats.

Reference: Bishop, Pattern Recognition and Machine Learning, section 10.2; Hoffman, Blei, Wang and
Paisley, Stochastic variational inference (2013).
"""

from typing import NamedTuple

import numpy as np
from scipy.special import digamma, gammainccinv, gammaincinv, gammaln, stdtrit

from skvae.gaussian.covariance import LOG_2PI, STRUCTURES
from skvae.gaussian.precisions import PRECISIONS, along
from skvae.gaussian.statistics import GaussianStatistics
from skvae.gaussian.student import gamma_excess, log_minus_digamma


def _gamma_divergence(dofs, others, size):
    """Return the part of KL(q ‖ p) that comes from the degrees of freedom, not the expectations.

    With x = (ν − i)/2 and y = (ν₀ − i)/2 it is the sum over i < ``size`` of ln Γ(y) − ln Γ(x) +
    (x − y) ψ(x) + y − x + ν₀/2 ln(ν/ν₀), rearranged so that no terms of the size of ν cancel.
    """
    dofs, others, i = dofs[..., None], others[..., None], np.arange(size)
    x, y = 0.5 * (dofs - i), 0.5 * (others - i)
    both, n = np.concatenate([x, y]), len(x)
    excess, gap = gamma_excess(both), log_minus_digamma(both)
    change = excess[:n] - excess[n:] + y * (gap[:n] - gap[n:])
    if size == 1:
        return change[..., 0]
    change += 0.5 * i * np.log(x / y)
    change += 0.5 * others * (np.log1p(-i / others) - np.log1p(-i / dofs))
    return change.sum(axis=-1)


class NormalWishart(NamedTuple):
    """A distribution of the means and precisions of K components: a prior or a posterior.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The structure.
    mean_precisions : ndarray of shape (n_components,)
        β, the weight of the knowledge of each mean, in rows.
    means : ndarray of shape (n_components, n_features)
        m, the expected means.
    dofs : ndarray of shape (n_components,), or () where tied
        The degrees of freedom ν.
    scales : ndarray
        S, the inverse scales, in the structure's shape: (K, D, D), (D, D), (K, D) or (K,).
    precisions_cholesky : ndarray
        U with E[Λ] = ν S⁻¹ = U Uᵀ, in the structure's shape.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.gaussian.conjugate import NormalWishart
    >>> prior = NormalWishart.prior("diag", 2, 1.0, np.zeros(3), 4.0, np.full(3, 8.0))
    >>> prior.precisions[0]
    array([0.5, 0.5, 0.5])
    """

    covariance_type: str
    mean_precisions: np.ndarray
    means: np.ndarray
    dofs: np.ndarray
    scales: np.ndarray
    precisions_cholesky: np.ndarray

    @classmethod
    def of(cls, covariance_type, mean_precisions, means, dofs, scales):
        """Return the distribution with its factors; raise Collapse if a scale is singular."""
        factors = STRUCTURES[covariance_type].precisions_cholesky(scales)
        factors = factors * along(np.sqrt(dofs), factors)
        return cls(covariance_type, mean_precisions, means, np.asarray(dofs), scales, factors)

    @classmethod
    def prior(cls, covariance_type, n_components, mean_precision, mean, dof, scale, factors=None):
        """Return the same prior for each of the components.

        Parameters
        ----------
        covariance_type : {'full', 'tied', 'diag', 'spherical'}
            The structure.
        n_components : int
            K. One component broadcasts against the statistics of any number of them.
        mean_precision : float
            The positive β₀.
        mean : ndarray of shape (n_features,)
            The mean m₀.
        dof : float
            The degrees of freedom ν₀, > D − 1 (full, tied) or > 0.
        scale : ndarray of shape (n_features, n_features), (n_features,) or ()
            S₀ for full and tied, diag, and spherical.
        factors : ndarray, optional
            U of one component, if it was computed before.

        Returns
        -------
        prior : NormalWishart
            With E[Λ] = ν₀ S₀⁻¹.
        """
        lead = () if covariance_type == "tied" else (1,)
        scales = np.asarray(scale, dtype=np.float64)[(None,) * len(lead)]
        beta, means = np.array([float(mean_precision)]), np.asarray(mean, dtype=np.float64)[None]
        dofs = np.full(lead, float(dof))
        if factors is None:
            one = cls.of(covariance_type, beta, means, dofs, scales)
        else:
            one = cls(covariance_type, beta, means, dofs, scales, factors)
        return one if n_components == 1 else one.take(np.zeros(n_components, dtype=np.intp))

    def take(self, components):
        """Return the distribution of some components, in their order (tied: of the same Λ)."""
        own = [self.mean_precisions[components], self.means[components]]
        shared = [self.dofs, self.scales, self.precisions_cholesky]
        if self.covariance_type != "tied":
            shared = [part[components] for part in shared]
        return NormalWishart(self.covariance_type, *own, *shared)

    def joined(self, other):
        """Return the distribution of the components of both; not for tied, with one Λ."""
        parts = zip(self[1:], other[1:], strict=True)
        return NormalWishart(self.covariance_type, *(np.concatenate(pair) for pair in parts))

    @property
    def structure(self):
        """Return the covariance structure."""
        return STRUCTURES[self.covariance_type]

    @property
    def precisions(self):
        """Return E[Λ] in the structure's shape."""
        return STRUCTURES[self.covariance_type].precisions(self.precisions_cholesky)

    @property
    def covariances(self):
        """Return the inverse of E[Λ], S / ν, in the structure's shape."""
        return self.scales / along(self.dofs, self.scales)

    @property
    def marginal_dofs(self):
        """Return the degrees of freedom of marginals and predictive: ν + 1 − Wishart size."""
        return self.dofs + 1.0 - PRECISIONS[self.covariance_type].sizes(self.means.shape[1])[0]

    # Updates and expectations ---------------------------------------------------------------------

    def posterior(self, statistics):
        """Return the posterior given expected statistics, with this distribution as the prior.

        Parameters
        ----------
        statistics : GaussianStatistics
            Any weights, K components. Sums of statistics are sums of natural parameters.

        Returns
        -------
        posterior : NormalWishart
            The exact conjugate posterior for these responsibilities.

        Raises
        ------
        Collapse
            A scale is singular in float64.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.gaussian.conjugate import NormalWishart
        >>> from skvae.gaussian.statistics import GaussianStatistics
        >>> prior = NormalWishart.prior("diag", 1, 1.0, np.zeros(1), 1.0, np.ones(1))
        >>> x = np.array([1.0, 2.0, 3.0])  # statistics about 2
        >>> statistics = GaussianStatistics(
        ...     "diag", np.array([3.0]), np.zeros((1, 1)), np.array([[2.0]]), np.array([[2.0]])
        ... )
        >>> posterior = prior.posterior(statistics)
        >>> posterior.means, posterior.dofs, posterior.scales
        (array([[1.5]]), array([4.]), array([[6.]]))
        """
        kind, structure = PRECISIONS[self.covariance_type], STRUCTURES[self.covariance_type]
        counts, n_features = statistics.counts, self.means.shape[1]
        beta = self.mean_precisions + counts
        # From the statistics' centres, so that an offset of the data cancels nothing.
        away = statistics.centers - self.means
        shift = (statistics.sums - self.mean_precisions[:, None] * away) / beta[:, None]
        means = statistics.centers + shift
        scatter = structure.recenter(statistics.scatter, counts, statistics.sums, shift)
        scatter += self._pseudo_scatter(away + shift)
        dofs = self.dofs + kind.numbers(counts, n_features)
        return self.of(self.covariance_type, beta, means, dofs, kind.scale(scatter, n_features))

    def statistics(self, prior, counts):
        """Return the GaussianStatistics, about the means, that turn a prior into this posterior.

        Parameters
        ----------
        prior : NormalWishart
            The prior.
        counts : ndarray of shape (n_components,)
            The counts of the statistics.
        """
        scatter = PRECISIONS[self.covariance_type].scatter(self.scales, self.means.shape[1])
        shift = self.means - prior.means
        scatter = scatter - prior._pseudo_scatter(shift)
        sums = prior.mean_precisions[:, None] * shift
        return GaussianStatistics(self.covariance_type, counts, sums, scatter, self.means)

    def _pseudo_scatter(self, shift):
        """Return the scatter of this prior's pseudo-rows about its mean plus a shift (K, D)."""
        scatter = PRECISIONS[self.covariance_type].scatter(self.scales, self.means.shape[1])
        nothing = np.zeros(shift.shape)
        structure = STRUCTURES[self.covariance_type]
        return structure.recenter(scatter, self.mean_precisions, nothing, shift)

    def _log_det_shortfall(self):
        """Return ln|E Λ| − E ln|Λ| ≥ 0, in the shape of the degrees of freedom."""
        size, _ = PRECISIONS[self.covariance_type].sizes(self.means.shape[1])
        if size == 1:
            return self.means.shape[1] * log_minus_digamma(0.5 * self.dofs)
        dofs, below = self.dofs[..., None], np.arange(size)
        # ψ((ν − i)/2) − ln(ν/2) in two parts, neither of which cancels for large ν.
        terms = log_minus_digamma(0.5 * (dofs - below)) - np.log1p(-below / dofs)
        return terms.sum(axis=-1)

    def offsets(self):
        """Return E ln N(x | μ, Λ⁻¹) − ln N(x | m, E[Λ]⁻¹), the same for all x, shape (K,).

        A Gaussian kernel with means m, factors U and the sum of this and E ln π as offsets returns
        the expected log-densities.
        """
        n_features = self.means.shape[1]
        return -0.5 * (self._log_det_shortfall() + n_features / self.mean_precisions)

    def energy(self, statistics):
        """Return the expected log-likelihood Σ w r E ln N(x | μ, Λ⁻¹) of statistics.

        Parameters
        ----------
        statistics : GaussianStatistics
            Statistics of any rows; the energy is linear in them.

        Returns
        -------
        energy : float
            The sum over all components, in nats.
        """
        kind, n_features = PRECISIONS[self.covariance_type], self.means.shape[1]
        half = self.structure.half_log_det(self.precisions_cholesky, n_features)
        constants = self.offsets() + half - 0.5 * n_features * LOG_2PI
        scatter = kind.scale(statistics.recenter(self.means).scatter, n_features)
        trace = kind.trace(self.precisions_cholesky, scatter)
        return float(statistics.counts @ constants - 0.5 * trace)

    # Merges ---------------------------------------------------------------------------------------

    def merge_gains(self, prior, first, second):
        """Return the change of the log evidence if two components become one, shape (n_pairs,).

        The log evidence of statistics, energy − KL of their posterior, is a difference of the log
        normalisers of posterior and prior. Those of the other components do not change.

        Parameters
        ----------
        prior : NormalWishart
            The prior of one component.
        first, second : ndarray of int, shape (n_pairs,)
            The pairs; each is merged alone.
        """
        kind, n_features = PRECISIONS[self.covariance_type], self.means.shape[1]
        one, two = self.mean_precisions[first], self.mean_precisions[second]
        beta = one + two - prior.mean_precisions
        # Relative to the prior's mean: there the prior's rows, which both parts contain, are zero.
        left, right = self.means[first] - prior.means, self.means[second] - prior.means
        mean = (one[:, None] * left + two[:, None] * right) / beta[:, None]
        scales = (
            kind.outer(one, left - mean)
            + kind.outer(two, right - mean)
            - kind.outer(np.broadcast_to(prior.mean_precisions, beta.shape), mean)
        )
        gains = 0.5 * n_features * np.log(one * two / (beta * prior.mean_precisions))
        if self.covariance_type == "tied":
            merged, parts = (self.scales + scales, self.dofs), [(1.0, self.scales, self.dofs)]
        else:
            scales = scales + self.scales[first] + self.scales[second] - prior.scales
            merged = scales, self.dofs[first] + self.dofs[second] - prior.dofs
            parts = [
                (1.0, self.scales[first], self.dofs[first]),
                (1.0, self.scales[second], self.dofs[second]),
                (-1.0, prior.scales, prior.dofs),
            ]
        gains = gains + self._log_normalizer(*merged)
        for sign, *part in parts:
            gains = gains - sign * self._log_normalizer(*part)
        return gains

    def _log_normalizer(self, scales, dofs):
        """Return the log normaliser of Wisharts or Gammas, but for terms linear in ν."""
        kind = PRECISIONS[self.covariance_type]
        size, copies = kind.sizes(self.means.shape[1])
        gammas = copies * gammaln(0.5 * (dofs[..., None] - np.arange(size))).sum(axis=-1)
        return gammas - 0.5 * dofs * kind.log_det(scales)

    # Divergence -----------------------------------------------------------------------------------

    def kl_means(self, prior):
        """Return E KL(q(μ | Λ) ‖ p(μ | Λ)) of each component, shape (K,)."""
        ratio = prior.mean_precisions / self.mean_precisions
        deviation = self.means - prior.means
        kind = PRECISIONS[self.covariance_type]
        distance = kind.distance(self.precisions_cholesky, deviation)
        change = ratio - 1.0 - np.log(ratio)
        return 0.5 * (self.means.shape[1] * change + prior.mean_precisions * distance)

    def kl_precisions(self, prior):
        """Return KL(q(Λ) ‖ p(Λ)) of each component, shape (K,), or () where tied."""
        kind, structure = PRECISIONS[self.covariance_type], STRUCTURES[self.covariance_type]
        n_features = self.means.shape[1]
        size, copies = kind.sizes(n_features)
        log_det = (2.0 * size * copies / n_features) * (
            structure.half_log_det(self.precisions_cholesky, n_features)
            - structure.half_log_det(prior.precisions_cholesky, n_features)
        )  # ln|E Λ| − ln|E₀ Λ|
        ratio = kind.ratio(self.precisions_cholesky, prior.precisions_cholesky)
        loss = ratio - size * copies - log_det  # Stein's, of E Λ
        return 0.5 * prior.dofs * loss + copies * _gamma_divergence(self.dofs, prior.dofs, size)

    def kl(self, prior):
        """Return KL(q ‖ p) of all components together, a float in nats.

        Parameters
        ----------
        prior : NormalWishart
            p, of the same structure and number of components.

        Returns
        -------
        kl : float
            At least zero; where tied, the shared Λ counts once.
        """
        return float(self.kl_means(prior).sum() + self.kl_precisions(prior).sum())

    # Intervals ------------------------------------------------------------------------------------

    def mean_interval(self, level=0.95, inflation=1.0):
        """Return the equal-tailed credible intervals of the means, from Student-t marginals.

        Parameters
        ----------
        level : float
            The probability inside, in (0, 1).
        inflation : float or ndarray of shape (n_components, n_features), default=1.0
            Factor of the squared scales; the degrees of freedom are divided by it, but not to less
            than two.

        Returns
        -------
        lower, upper : ndarray of shape (n_components, n_features)
            The ends.
        """
        dofs = self.marginal_dofs
        kind = PRECISIONS[self.covariance_type]
        scale = kind.marginal_scale(self.scales, self.means.shape[1])
        if self.covariance_type == "spherical":
            scale = scale[:, None]
        worth = self.mean_precisions * dofs
        dofs = along(dofs, scale)
        dofs = np.minimum(np.maximum(dofs / inflation, 2.0), dofs)
        half_width = stdtrit(dofs, 0.5 + 0.5 * level) * np.sqrt(inflation * scale / worth[:, None])
        return self.means - half_width, self.means + half_width

    def variance_interval(self, level=0.95, inflation=1.0):
        """Return the equal-tailed credible intervals of the variances, from inverse Gammas.

        A diagonal entry of Σ = Λ⁻¹ is inverse Gamma with shape (ν + 1 − D)/2 and scale S_dd/2
        (diag, spherical: ν/2). The covariances between features get no interval.

        Parameters
        ----------
        level : float
            The probability inside, in (0, 1).
        inflation : float or ndarray of the intervals' shape, default=1.0
            The shapes are divided by it, about the ratio of the variances of ln σ²; the expectation
            of ln σ² stays.

        Returns
        -------
        lower, upper : ndarray of shape (K, D), (D,) where tied, (K,) where spherical
            The ends.
        """
        kind = PRECISIONS[self.covariance_type]
        scale = 0.5 * kind.marginal_scale(self.scales, self.means.shape[1])
        half = along(0.5 * self.marginal_dofs, scale)
        wide = half / inflation
        scale = scale * np.exp(digamma(wide) - digamma(half))
        tail = 0.5 - 0.5 * level
        low, high = gammaincinv(wide, tail), gammainccinv(wide, tail)
        with np.errstate(divide="ignore"):  # almost no degrees of freedom: unbounded
            return scale / high, scale / low
