r"""The posterior of a Bayesian Gaussian mixture as one value, and its evidence lower bound.

.. math:: q(\pi) \prod_k q(\mu_k, \Lambda_k) \prod_n q(z_n), \qquad
          \mathrm{ELBO} = \sum_n w_n \ln \sum_k e^{\ell_{nk}}
          - \mathrm{KL}(q(\pi) \,\|\, p) - \mathrm{KL}(q(\mu, \Lambda) \,\|\, p),

with :math:`\ell_{nk} = E_q[\ln \pi_k + \ln N(x_n \mid \mu_k, \Lambda_k^{-1})]`, where q(z) is the
optimal given the other factors (Bishop, Pattern Recognition and Machine Learning, section 10.2).
Given expected statistics s of the rows, the natural parameters of the other optimal factors are
those of the prior plus s: adding, scaling and mixing statistics is adding, scaling and mixing
posteriors.
"""

from typing import NamedTuple

import numpy as np

from skvae.gaussian.conjugate import NormalWishart
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.predictive import PredictiveKernel, predictive_draws
from skvae.mixture.bayesian.weights import WEIGHTS, DirichletWeights, StickWeights


class MixturePrior(NamedTuple):
    """The prior of a Bayesian mixture, of any number of components.

    Parameters
    ----------
    weight_type : {'dirichlet_process', 'dirichlet_distribution'}
        The kind of weights.
    concentration : float
        Concentration of the weights.
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The covariance structure.
    mean_precision : float
        β₀.
    mean : ndarray of shape (n_features,)
        m₀.
    dof : float
        ν₀.
    scale : ndarray
        S₀, of one component.
    """

    weight_type: str
    concentration: float
    covariance_type: str
    mean_precision: float
    mean: np.ndarray
    dof: float
    scale: np.ndarray

    def of_size(self, n_components):
        """Return the priors (weights, components) of a number of components."""
        weights = WEIGHTS[self.weight_type].prior(self.concentration, n_components)
        components = NormalWishart.prior(
            self.covariance_type,
            n_components,
            self.mean_precision,
            self.mean,
            self.dof,
            self.scale,
        )
        return weights, components

    def posterior(self, statistics):
        """Return the MixturePosterior of expected statistics; raise Collapse if it is singular."""
        weights, components = self.of_size(len(statistics.counts))
        return MixturePosterior(
            self, weights.posterior(statistics.counts), components.posterior(statistics)
        )

    def weight_merge_gains(self, counts, first, second):
        """Return the change of the log evidence of counts (K,) by the merge of each pair, (P,).

        Parameters
        ----------
        counts : ndarray of shape (n_components,)
            The rows of each component.
        first, second : ndarray of int, shape (n_pairs,)
            The pairs; each is merged alone.
        """
        n_components, pair = len(counts), np.arange(len(first))
        merged = np.tile(counts, (len(first), 1))
        merged[pair, first] += counts[second]
        merged[pair, second] = 0.0
        merged = -np.sort(-merged, axis=1)[:, : n_components - 1]
        kind = WEIGHTS[self.weight_type]
        before = kind.prior(self.concentration, n_components).log_evidence(counts)
        return kind.prior(self.concentration, n_components - 1).log_evidence(merged) - before


class MixturePosterior(NamedTuple):
    """The posterior of a Bayesian mixture.

    Parameters
    ----------
    prior : MixturePrior
        The prior.
    weights : DirichletWeights or StickWeights
        q(π).
    components : NormalWishart
        q(μ, Λ).
    """

    prior: MixturePrior
    weights: DirichletWeights | StickWeights
    components: NormalWishart

    @property
    def n_components(self):
        """Return the number of components."""
        return len(self.components.means)

    def spread(self):
        """Return the mean and the standard deviation of each feature, for the kernels."""
        components = self.components
        weights = self.weights.mean()
        weights = weights / weights.sum()
        mean = weights @ components.means
        within = components.structure.variances(components.covariances, *components.means.shape)
        return mean, np.sqrt(weights @ (within + (components.means - mean) ** 2))

    @property
    def statistics(self):
        """Return the statistics that the posterior adds to the prior."""
        prior_weights, prior = self.prior.of_size(self.n_components)
        counts = self.weights.counts(prior_weights)
        return self.components.statistics(prior, counts)

    def kernel(self):
        """Return the kernel whose log-sum-exp is a row's term of the bound."""
        components = self.components
        return gaussian_kernel(
            components.covariance_type,
            components.means,
            components.precisions_cholesky,
            self.weights.expected_log() + components.offsets(),
            self.spread,
        )

    def predictive(self):
        """Return the kernel of the posterior predictive density, the sticks' remainder included."""
        parts = [(self.components, self.weights.log_mean())]
        leftover = self.weights.log_leftover()
        if leftover > -np.inf:
            parts.append((self.prior.of_size(1)[1], np.array([leftover])))
        return PredictiveKernel(*parts, spread=self.spread)

    def kl(self, before=None):
        """Return KL(q(π, μ, Λ) ‖ p), in nats, with p the prior, or an earlier posterior."""
        if before is None:
            weights, components = self.prior.of_size(self.n_components)
        else:
            weights, components = before.weights, before.components
        return self.weights.kl(weights) + self.components.kl(components)

    def energy(self, statistics):
        """Return E_q[ln p(x, z | π, μ, Λ)] of expected statistics, in nats."""
        chosen = statistics.counts @ self.weights.expected_log()
        return float(chosen) + self.components.energy(statistics)

    def sample(self, n_samples, rng):
        """Return predictive draws (n_samples, n_features) and their labels; −1 is a new component.

        Parameters
        ----------
        n_samples : int
            The number of draws.
        rng : numpy.random.RandomState
            The source of randomness.
        """
        weights = self.weights.mean()
        shares = np.append(weights, max(0.0, 1.0 - weights.sum()))
        labels = rng.choice(len(shares), size=n_samples, p=shares / shares.sum())
        new = labels == len(weights)
        X = np.empty((n_samples, self.components.means.shape[1]))
        X[~new] = predictive_draws(self.components, labels[~new], rng)
        X[new] = predictive_draws(self.prior.of_size(1)[1], np.zeros(new.sum(), dtype=int), rng)
        return X, np.where(new, -1, labels)
