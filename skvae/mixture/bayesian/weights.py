r"""Weights of a Bayesian mixture: a Dirichlet distribution, or the sticks of a Dirichlet process.

.. math:: \pi \sim \mathrm{Dirichlet}(a), \qquad\text{or}\qquad
          \pi_k = v_k \prod_{j<k} (1 - v_j), \quad v_k \sim \mathrm{Beta}(a_k, b_k) .

Counts :math:`n` of rows make :math:`a + n` of a Dirichlet, and :math:`a_k + n_k`,
:math:`b_k + \sum_{j>k} n_j` of sticks. The remainder of K sticks, :math:`\prod_k (1 - v_k)`, is the
mass of the components without rows. A prior and a posterior are the same kind of value.

Reference: Blei and Jordan, Variational inference for Dirichlet process mixtures (2006).
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
from scipy.special import betaincinv, betaln, digamma, expit, gammaln, logit, polygamma, stdtrit

from skvae.gaussian.student import gamma_excess

_TINY = np.finfo(np.float64).tiny
_LARGEST_LOG = 600.0


def _read_only(values):
    values.flags.writeable = False
    return values


def _others(values):
    """Return, for each value, the sum of all others, computed without a subtraction."""
    return _before(values) + _after(values)


def _after(values):
    """Return, for each value, the sum of those after it."""
    out = np.zeros(len(values))
    np.cumsum(values[:0:-1], out=out[-2::-1])
    return out


def _before(values):
    """Return, for each value, the sum of those before it."""
    out = np.zeros(len(values))
    np.cumsum(values[:-1], out=out[1:])
    return out


def _divergence(concentrations, others):
    """Return the sum of the KL of Dirichlets, without terms of the size of the concentrations.

    Parameters
    ----------
    concentrations, others : ndarray of shape (n + 1, ...)
        The n parameters of each distribution and their sum.
    """
    both, n = np.concatenate([concentrations, others]), len(others)
    digammas = digamma(both)
    excess = gamma_excess(both, digammas)
    change, terms = digammas[n:] - digammas[:n], excess[:n] - excess[n:]
    terms[:-1] += others[:-1] * (change[:-1] - change[-1])
    return float(terms[:-1].sum() - terms[-1].sum())


def _beta_interval(first, second, level, inflation):
    """Return the equal-tailed intervals of Beta distributions; with second = 0 both ends are 1.

    An ``inflation`` above 1 stretches them about E ln(π / (1 − π)) on this scale, by its root and
    by the tails of a Student-t with so many times fewer degrees of freedom.
    """
    tail = 0.5 - 0.5 * level
    certain = second <= 0.0
    second = np.where(certain, 1.0, second)
    ends = betaincinv(first, second, tail), betaincinv(first, second, 1.0 - tail)
    wider, dofs = np.greater(inflation, 1.0), first + second
    tails = [stdtrit(np.maximum(few, 2.0), 1.0 - tail) for few in (dofs / inflation, dofs)]
    stretch = np.sqrt(inflation) * tails[0] / tails[1]
    center = digamma(first) - digamma(second)
    stretched = [expit(center + stretch * (logit(end) - center)) for end in ends]
    ends = [np.where(wider, new, end) for new, end in zip(stretched, ends, strict=True)]
    return tuple(np.where(certain, 1.0, end) for end in ends)


class DirichletWeights(NamedTuple):
    """A Dirichlet distribution of the weights.

    Parameters
    ----------
    concentrations : ndarray of shape (n_components,)
        The a, positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.mixture.bayesian.weights import DirichletWeights
    >>> prior = DirichletWeights.prior(0.5, n_components=2)
    >>> prior.posterior(np.array([3.0, 0.0])).mean()
    array([0.875, 0.125])
    """

    concentrations: np.ndarray

    @classmethod
    @lru_cache(maxsize=8)  # every pass needs it
    def prior(cls, concentration, n_components):
        """Return the symmetric distribution with ``concentration`` for each component."""
        return cls(_read_only(np.full(n_components, float(concentration))))

    @property
    def concentration(self):
        """Return the concentrations as in scikit-learn's ``weight_concentration_``, shape (K,)."""
        return self.concentrations

    def posterior(self, counts):
        """Return the posterior given counts (K,) of rows, with this as the prior."""
        return DirichletWeights(self.concentrations + counts)

    def counts(self, prior):
        """Return the counts (K,) of rows that turn a prior into this posterior."""
        return self.concentrations - prior.concentrations

    def log_evidence(self, counts):
        """Return ln E ∏ π_k^n_k of counts (..., K) under this prior, in nats, shape (...)."""
        total = self.concentrations.sum()
        rows = gammaln(self.concentrations + counts) - gammaln(self.concentrations)
        return rows.sum(axis=-1) + gammaln(total) - gammaln(total + counts.sum(axis=-1))

    def order(self, counts):
        """Return the order of components with the largest bound: any, so the given one."""
        return np.arange(len(counts))

    def sorted(self, statistics):
        """Return the statistics of components in the order with the largest bound."""
        return statistics

    def expected_log(self):
        """Return E ln π, shape (K,)."""
        return digamma(self.concentrations) - digamma(self.concentrations.sum())

    def log_covariance(self):
        """Return the covariance of ln π, shape (K, K)."""
        trigamma = polygamma(1, self.concentrations)
        return np.diag(trigamma) - polygamma(1, self.concentrations.sum())

    def log_mean(self):
        """Return ln E π, shape (K,)."""
        return np.log(self.concentrations) - np.log(self.concentrations.sum())

    def mean(self):
        """Return E π, shape (K,), which sums to one."""
        return self.concentrations / self.concentrations.sum()

    def log_leftover(self):
        """Return ln of the expected mass of further components: −inf, as there are none."""
        return -np.inf

    def kl(self, prior):
        """Return KL(q ‖ p), a float in nats."""
        each = self.concentrations, prior.concentrations
        return _divergence(*(np.append(values, values.sum()) for values in each))

    def interval(self, level=0.95, inflation=1.0):
        """Return the equal-tailed credible intervals (lower, upper), each (K,): Beta marginals.

        The variance of ln(π / (1 − π)) is multiplied by ``inflation``.
        """
        return _beta_interval(self.concentrations, _others(self.concentrations), level, inflation)


class StickWeights(NamedTuple):
    """The first K sticks of a Dirichlet process, independent Betas.

    Parameters
    ----------
    first : ndarray of shape (n_components,)
        The a, positive.
    second : ndarray of shape (n_components,)
        The b, positive.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.mixture.bayesian.weights import StickWeights
    >>> posterior = StickWeights.prior(1.0, n_components=2).posterior(np.array([2.0, 1.0]))
    >>> posterior.mean().round(4)
    array([0.6   , 0.2667])
    >>> round(float(np.exp(posterior.log_leftover())), 4)
    0.1333
    """

    first: np.ndarray
    second: np.ndarray

    @classmethod
    @lru_cache(maxsize=8)
    def prior(cls, concentration, n_components):
        """Return sticks v ~ Beta(1, γ) with γ the process's concentration."""
        second = np.full(n_components, float(concentration))
        return cls(_read_only(np.ones(n_components)), _read_only(second))

    def _with_sums(self):
        """Return a, b and a + b, shape (3, K)."""
        return np.array([self.first, self.second, self.first + self.second])

    @property
    def concentration(self):
        """Return (a, b) as in scikit-learn's ``weight_concentration_``, a tuple of two (K,)."""
        return self.first, self.second

    def posterior(self, counts):
        """Return the posterior given counts (K,) of rows, with this as the prior."""
        return StickWeights(self.first + counts, self.second + _after(counts))

    def counts(self, prior):
        """Return the counts (K,) of rows that turn a prior into this posterior."""
        return self.first - prior.first

    def log_evidence(self, counts):
        """Return ln E ∏ π_k^n_k of counts (..., K) under this prior, in nats, shape (...)."""
        after = np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1] - counts
        sticks = betaln(self.first + counts, self.second + after) - betaln(self.first, self.second)
        return sticks.sum(axis=-1)

    def order(self, counts):
        """Return the order of components with the largest bound: the largest component first.

        It is the best order if the prior's sticks are alike (Kurihara, Welling and Teh, 2007).
        """
        return np.argsort(-counts, kind="stable")

    def sorted(self, statistics):
        """Return the statistics of components in the order with the largest bound."""
        counts = statistics.counts
        if (counts[1:] <= counts[:-1]).all():
            return statistics
        return statistics.take(self.order(counts))

    def expected_log(self):
        """Return E ln π, shape (K,)."""
        first, second, total = digamma(self._with_sums())
        return first - total + _before(second - total)

    def log_covariance(self):
        """Return the covariance of ln π, shape (K, K)."""
        first, second, total = polygamma(1, self._with_sums())
        # ln π_k = ln v_k + Σ_{j<k} ln(1 − v_j): of two weights, the later has ln(1 − v) of the
        # earlier one's stick.
        before = _before(second - total)
        off = np.tril(np.broadcast_to(before - total, (len(first),) * 2), -1)
        return off + off.T + np.diag(before + first - total)

    def log_mean(self):
        """Return ln E π, shape (K,); finite also where E π underflows."""
        rest = -np.log1p(self.first / self.second)
        return -np.log1p(self.second / self.first) + _before(rest)

    def mean(self):
        """Return E π, shape (K,), which sums to one minus the remainder."""
        return np.exp(self.log_mean())

    def log_leftover(self):
        """Return ln of the expected remainder of the sticks, a float."""
        return float(-np.log1p(self.first / self.second).sum())

    def kl(self, prior):
        """Return KL(q ‖ p), a float in nats."""
        return _divergence(self._with_sums(), prior._with_sums())

    def matched(self):
        """Return (a, b), each (K,), of the Betas with the mean and the variance of each π.

        π is a product of independent Betas. If ``second[k] == first[k + 1] + second[k + 1]``, the
        products are exactly these Betas. A posterior's sticks differ from that by the prior's part.
        """
        a, b = self.first, self.second
        log_mean = self.log_mean()
        # The squared coefficients of variation: ln(1 + c²) adds up over factors.
        spread = np.log1p(b / (a * (a + b + 1.0)))
        spread = spread + _before(np.log1p(a / (b * (a + b + 1.0))))
        rest = -np.expm1(log_mean)
        with np.errstate(over="ignore"):  # a variance that no Beta reaches: all mass is at 0 or 1
            matched = np.maximum(rest / np.expm1(spread) - np.exp(log_mean), _TINY)
        odds = np.log(rest) + np.log(matched) - log_mean
        return matched, np.exp(np.minimum(odds, _LARGEST_LOG))

    def interval(self, level=0.95, inflation=1.0):
        """Return the equal-tailed credible intervals (lower, upper) of π, each (K,).

        They are those of the Betas of :meth:`matched`, exact for the first stick. At level 0.95 a
        tail outside (0.025) is between 0.018 and 0.027 for a component with rows; that of an empty
        one reaches less far down than to 0.025, and its upper end is right to about 0.01 unless
        both ends are next to nothing.

        Parameters
        ----------
        level : float
            The probability inside, in (0, 1).
        inflation : float or ndarray of shape (n_components,), default=1.0
            Factor of the variances of ln(π / (1 − π)).

        Returns
        -------
        lower, upper : ndarray of shape (n_components,)
            The ends.
        """
        return _beta_interval(*self.matched(), level, inflation)


WEIGHTS = {"dirichlet_distribution": DirichletWeights, "dirichlet_process": StickWeights}
