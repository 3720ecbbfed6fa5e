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
from skvae.mixture.parameters import draw_labels

# Numbers in the scales up to which new components are joined to the others, at the cost of a copy.
# Where the posterior is tied, new components do not share its Λ.
_JOINED = 1 << 14


class MixturePrior(NamedTuple):
    """The prior of a Bayesian mixture, of any number of components.

    Parameters
    ----------
    weight_type : {'dirichlet_process', 'dirichlet_distribution'}
        The kind of weights.
    concentration : float
        Concentration of the weights.
    components : NormalWishart
        The prior of one component.
    """

    weight_type: str
    concentration: float
    components: NormalWishart

    def weights(self, n_components):
        """Return the prior of the weights of a number of components."""
        return WEIGHTS[self.weight_type].prior(self.concentration, n_components)

    def posterior(self, statistics):
        """Return the MixturePosterior of expected statistics; raise Collapse if it is singular."""
        weights = self.weights(len(statistics.counts)).posterior(statistics.counts)
        return MixturePosterior(self, weights, self.components.posterior(statistics))

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
        before = self.weights(n_components).log_evidence(counts)
        return self.weights(n_components - 1).log_evidence(merged) - before


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
        counts = self.weights.counts(self.prior.weights(len(self.components.means)))
        return self.components.statistics(self.prior.components, counts)

    def reordered(self, order):
        """Return the posterior with component ``order[i]`` in place i, for Dirichlet weights."""
        weights = DirichletWeights(self.weights.concentrations[order])
        return self._replace(weights=weights, components=self.components.take(order))

    def kernel(self, spread=None):
        """Return the kernel whose log-sum-exp is a row's term of the bound.

        ``spread`` returns the location of the rows, for the kernel; None is that of the posterior.
        """
        components = self.components
        return gaussian_kernel(
            components.covariance_type,
            components.means,
            components.precisions_cholesky,
            self.weights.expected_log() + components.offsets(),
            spread or self.spread,
        )

    def predictive(self):
        """Return the kernel of the posterior predictive density, the sticks' remainder included."""
        components, offsets = self.components, self.weights.log_mean()
        leftover, new = self.weights.log_leftover(), self.prior.components
        if leftover == -np.inf:
            parts = [(components, offsets)]
        elif components.covariance_type == "tied" or components.scales.size > _JOINED:
            parts = [(components, offsets), (new, np.array([leftover]))]
        else:
            parts = [(components.joined(new), np.append(offsets, leftover))]
        return PredictiveKernel(*parts, spread=self.spread)

    def kl(self, before=None):
        """Return KL(q(π, μ, Λ) ‖ p), in nats, with p the prior, or an earlier posterior."""
        if before is not None:
            return self.weights.kl(before.weights) + self.components.kl(before.components)
        weights = self.prior.weights(len(self.components.means))
        return self.weights.kl(weights) + self.components.kl(self.prior.components)

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
        labels = draw_labels(shares, n_samples, rng)
        new = labels == len(weights)
        X = np.empty((n_samples, self.components.means.shape[1]))
        X[~new] = predictive_draws(self.components, labels[~new], rng)
        X[new] = predictive_draws(self.prior.components, np.zeros(new.sum(), dtype=int), rng)
        return X, np.where(new, -1, labels)
