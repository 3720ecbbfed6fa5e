r"""Priors of latent vectors: a standard normal, a mixture of Gaussians, and VampPrior.

.. math:: p(z) = N(z; 0, I), \qquad p(z) = \sum_c \pi_c N(z; \mu_c, \Sigma_c), \qquad
    p(z) = \frac{1}{K} \sum_c q(z \mid u_c)

The discrete latent c is summed out, so the bound is never worse than one with a factor q(c). A
prior is a module with parameters; ``density(encode)`` is the density p(z) at their current values,
computed once for several uses: ``encode`` maps inputs of the encoder, (K, n_inputs), to their
posterior, which only VampPrior needs. Nothing is kept on the module, so it can be copied at any
time.

References
----------
Tomczak and Welling (2018), VAE with a VampPrior, equation 9. Jiang et al. (2017), Variational deep
embedding (there with a factor q(c)).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import nn

from skvae.initialization import first_labels, rows_to_start_from
from skvae.neural.networks import enough_memory
from skvae.neural.posteriors import LOG_2PI, DiagonalPosterior, FullPosterior
from skvae.validation import check_choice

PRIORS = ("normal", "mixture", "vamp")
# The smallest variance of a mixture's component: densities are unbounded without one.
MIN_VARIANCE = 1e-3


class Normal(nn.Module):
    """The standard normal prior, which is its own density.

    Parameters
    ----------
    n_components : int
        The number of latent dimensions L.
    """

    numbers_per_draw = 0

    def __init__(self, n_components):
        super().__init__()
        # Draws have its dtype and device.
        self.register_buffer("origin", torch.zeros(n_components), persistent=False)

    def density(self, encode=None):
        """Return the density, this prior itself."""
        return self

    def log_prob(self, z):
        """Return ln p(z), (...), of z (..., L)."""
        return -0.5 * (z.square().sum(-1) + z.shape[-1] * LOG_2PI)

    def kl(self, posterior, z):
        """Return KL(q ‖ p) of each row, exactly, (B,); the draws z are not needed."""
        return posterior.kl_normal()

    def kl_by_dimension(self, posterior):
        """Return the divergence by latent dimension, (B, L), or None if it is no such sum."""
        return posterior.kl_normal_by_dimension()

    def sample(self, n_samples, generator):
        """Return draws z, (n_samples, L), and None in place of labels."""
        return _noise(n_samples, self.origin, generator), None


class MixtureDensity(NamedTuple):
    """A mixture of Gaussians over latent vectors, with its discrete latent summed out.

    Parameters
    ----------
    log_weights : Tensor of shape (K,)
        The logarithms of the weights.
    components : DiagonalPosterior or FullPosterior
        K Gaussians.
    """

    log_weights: torch.Tensor
    components: DiagonalPosterior | FullPosterior

    def log_joint(self, z):
        """Return ln π_c + ln N(z; μ_c, Σ_c), (..., K), of z (..., L)."""
        return self.log_weights + self.components.log_prob(z.unsqueeze(-2))

    def log_prob(self, z):
        """Return ln p(z), (...), of z (..., L)."""
        return torch.logsumexp(self.log_joint(z), dim=-1)

    def responsibilities(self, z):
        """Return p(c | z), (..., K), of z (..., L)."""
        return torch.softmax(self.log_joint(z), dim=-1)

    def kl(self, posterior, z):
        """Return an unbiased estimate of KL(q ‖ p) of each row, (B,), from draws z (..., B, L).

        The entropy of q is exact; ln p is the mean over the draws of a row.
        """
        log_prior = self.log_prob(z)
        if log_prior.ndim > 1:
            log_prior = log_prior.mean(0)
        return -posterior.entropy() - log_prior

    def kl_by_dimension(self, posterior):
        """Return None: the divergence is no sum over latent dimensions."""
        return

    def sample(self, n_samples, generator):
        """Return draws z, (n_samples, L), and the component of each, (n_samples,) int64."""
        weights = self.log_weights.exp().to(generator.device)
        labels = torch.multinomial(weights, n_samples, replacement=True, generator=generator)
        labels = labels.to(self.log_weights.device)
        noise = _noise(n_samples, self.components.mean[0], generator)
        return self.components.take(labels).draw(noise), labels


class Mixture(nn.Module):
    """A learned mixture of Gaussians with diagonal covariances.

    Parameters
    ----------
    n_components : int
        The number of latent dimensions L.
    n_prior_components : int
        The number of components K.
    generator : torch.Generator
        Draws the first means; the first variances are one, the first weights equal.
    """

    def __init__(self, n_components, n_prior_components, generator):
        super().__init__()
        shape = (n_prior_components, n_components)
        self.logits = nn.Parameter(torch.zeros(n_prior_components))
        self.means = nn.Parameter(torch.randn(shape, generator=generator))
        self.log_excess = nn.Parameter(torch.full(shape, math.log(1.0 - MIN_VARIANCE)))

    @property
    def numbers_per_draw(self):
        """The size of the largest tensor in ``log_prob`` for one z."""
        return self.means.numel()

    def density(self, encode=None):
        """Return the mixture with the current parameters."""
        log_var = torch.log(MIN_VARIANCE + self.log_excess.exp())
        components = DiagonalPosterior(self.means, log_var)
        return MixtureDensity(torch.log_softmax(self.logits, dim=0), components)

    @torch.no_grad()
    def initialize(self, means, variances=None, row_weights=None, *, seed):
        """Set the parameters to those of clusters of latent vectors, found by k-means.

        Parameters
        ----------
        means : ndarray of shape (n, L)
            The posterior means of n rows.
        variances : ndarray of shape (n, L), default=None
            The posterior variances, which add to the variance within the clusters: the mixture is
            then near the rows' average posterior, which is the best prior.
        row_weights : ndarray of shape (n,), default=None
            Weights of the rows, > 0; None is one each.
        seed : int or RandomState
            The source of randomness.

        Raises
        ------
        ValueError
            There are fewer rows than components.
        """
        n_rows, n_prior_components = len(means), len(self.logits)
        if n_rows < n_prior_components:
            raise ValueError(
                f"n_prior_components={n_prior_components}: must be <= n_samples, which is {n_rows}"
            )
        rng = check_random_state(seed)
        some = rows_to_start_from(n_rows, n_prior_components, rng)
        chosen = slice(None) if some is None else some
        own = None if row_weights is None else row_weights[chosen] / row_weights[chosen].mean()
        points, spread = np.asarray(means, np.float64)[chosen], 0.0
        if variances is not None:
            spread = np.average(np.asarray(variances, np.float64)[chosen], axis=0, weights=own)
        weights, centres, within = _cluster_moments(points, own, len(self.logits), rng)
        excess = np.maximum(within + spread - MIN_VARIANCE, MIN_VARIANCE)
        for parameter, value in (
            (self.logits, np.log(weights)),
            (self.means, centres),
            (self.log_excess, np.log(excess)),
        ):
            parameter.copy_(torch.from_numpy(value))


class Vamp(nn.Module):
    """VampPrior: the average posterior of learned pseudo-inputs, in the encoder's input space.

    Parameters
    ----------
    pseudo_inputs : Tensor of shape (K, n_inputs)
        Their first values, usually the encoder inputs of data rows.
    n_components : int
        The number of latent dimensions L.
    """

    def __init__(self, pseudo_inputs, n_components):
        super().__init__()
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.detach().clone())
        self.n_components = n_components

    @property
    def numbers_per_draw(self):
        """The size of the largest tensor in ``log_prob`` for one z."""
        return len(self.pseudo_inputs) * self.n_components

    def density(self, encode):
        """Return the mixture of the current posteriors of the pseudo-inputs."""
        n = len(self.pseudo_inputs)
        log_weights = self.pseudo_inputs.new_full((n,), -math.log(n))
        return MixtureDensity(log_weights, encode(self.pseudo_inputs))


def make_prior(
    name,
    n_components,
    *,
    n_prior_components=10,
    n_inputs=None,
    pseudo_inputs=None,
    generator,
):
    """Return a prior with its first parameters.

    Parameters
    ----------
    name : {'normal', 'mixture', 'vamp'}
        Its kind.
    n_components : int
        The number of latent dimensions L.
    n_prior_components : int
        The number of components K of a mixture, or of pseudo-inputs.
    n_inputs : int, default=None
        The number of encoder inputs of a row; for VampPrior.
    pseudo_inputs : Tensor of shape (n, n_inputs), default=None
        Encoder inputs of rows, from which VampPrior draws its first pseudo-inputs, without
        replacement if there are enough; None draws standard normal ones.
    generator : torch.Generator
        The source of randomness.

    Raises
    ------
    ValueError
        There is no such prior.
    """
    check_choice("prior", name, PRIORS)
    if name == "normal":
        return Normal(n_components)
    with enough_memory(f"a prior of {n_prior_components} components"):
        if name == "mixture":
            return Mixture(n_components, n_prior_components, generator)
        if pseudo_inputs is None:
            first = torch.randn((n_prior_components, n_inputs), generator=generator)
        else:
            order = torch.randperm(len(pseudo_inputs), generator=generator)
            first = pseudo_inputs[order[torch.arange(n_prior_components) % len(order)]]
        return Vamp(first, n_components)


def _noise(n_samples, like, generator):
    """Return standard normal noise, (n_samples, L), of the dtype and device of a vector (L,)."""
    shape = (n_samples, len(like))
    noise = torch.randn(shape, generator=generator, dtype=like.dtype, device=generator.device)
    return noise.to(like.device)


def _cluster_moments(points, row_weights, n_clusters, rng):
    """Return weights (K,), means (K, L) and variances (K, L) of k-means clusters of points.

    The weights of points have a mean of one; None is one each.

    Weights and variances are those of the cluster and one further row, an average over all rows: no
    weight is zero, and a cluster of one row has the usual variance within clusters.
    """
    labels = first_labels(points, row_weights, n_clusters, "kmeans", rng, n_init=10)
    member = np.eye(n_clusters)[labels]
    if row_weights is not None:
        member *= row_weights[:, None]
    counts = member.sum(axis=0)[:, None]
    # A cluster can be empty if rows coincide; its component starts at the mean of all.
    share = np.where(counts > 0, member.T / np.where(counts > 0, counts, 1), 1 / len(points))
    centres = share @ points
    squares = (points - centres[labels]) ** 2
    mean = np.average(squares, axis=0, weights=row_weights)
    variances = (member.T @ squares + mean) / (counts + 1)
    weights = (counts[:, 0] + 1) / (len(points) + n_clusters)
    return weights, centres, variances
