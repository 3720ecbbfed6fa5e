"""A likelihood of few lines, and linear models with it, which have closed forms."""

import numpy as np
import torch
from torch import nn

from skvae.neural.importance import Evidence
from skvae.neural.importance_weights import WeightSums, weighted_groups
from skvae.neural.latent_model import LatentModel
from skvae.neural.posteriors import n_encoder_outputs
from skvae.neural.priors import Normal
from tests.vae import oracles

LOG_2PI = float(np.log(2 * np.pi))


class FixedGaussian(nn.Module):
    """x_j ~ N(outputs_j, variances_j): the interface of a likelihood, rows in their own units."""

    n_given, modelled = 0, slice(None)

    def __init__(self, variances):
        super().__init__()
        self.register_buffer("variances", torch.as_tensor(np.asarray(variances, dtype=float)))
        self.n_features = self.n_inputs = self.n_outputs = len(self.variances)

    def given_values(self, x):
        return None

    def inputs(self, x):
        return torch.nan_to_num(x)

    def log_volume(self, X):
        return np.zeros(len(X))

    def expectations(self, outputs):
        return self.mean(outputs)

    def values_of(self, expectations):
        return expectations

    def log_prob(self, x, outputs, observed=None):
        x = x if observed is None else torch.where(observed, x, 0.0)
        terms = (x - outputs) ** 2 / self.variances + torch.log(self.variances) + LOG_2PI
        terms = terms if observed is None else torch.where(observed, terms, 0.0)
        return -0.5 * terms.sum(-1)


def encoder_alone(model, x, n_draws, seed=0):
    """Evidence by draws from the encoder alone, as it is for the bound."""
    log_p, size = np.empty((2, len(x)))
    with torch.no_grad():
        groups = weighted_groups(model, x, n_draws, seed, by_encoder=True)
        for index, group in groups:
            sums = WeightSums()
            for draws in group:
                sums.add(draws.log_weight)
            log_p[index] = sums.log_mean()[: len(index)]
            size[index] = sums.effective_size()[: len(index)]
    return Evidence(log_p, size)


def linear_problem(n_features=5, n_components=2, seed=0):
    """A linear-Gaussian model with weights of order one, an oracle."""
    rng = np.random.default_rng(seed)
    return oracles.LinearGaussian(
        rng.normal(size=(n_features, n_components)),
        rng.normal(size=n_features),
        rng.uniform(0.3, 1.5, size=n_features),
    )


def linear_model(problem, *, covariance="full", perturbation=0.0, seed=0):
    """Return the LatentModel of a linear problem, float64.

    Its encoder is the exact posterior (of complete rows), which only a full covariance can be,
    and then random numbers of the size of the perturbation are added to its weights.
    """
    n_features, n_components = problem.loadings.shape
    decoder = linear(problem.loadings, problem.offset)
    gain = problem.gain()
    exact = np.linalg.inv(np.eye(n_components) + _precision(problem))
    factor = np.linalg.cholesky(exact)
    scale = np.diag(factor) if covariance == "full" else np.sqrt(1 / np.diag(np.linalg.inv(exact)))
    rest = 2 * np.log(scale)
    if covariance == "full":
        rest = np.concatenate([rest, factor[np.tril_indices(n_components, -1)]])
    bias = np.concatenate([-gain @ problem.offset, rest])
    weight = np.zeros((n_encoder_outputs(n_components, covariance), n_features))
    weight[:n_components] = gain
    rng = np.random.default_rng(seed)
    weight += perturbation * rng.normal(size=weight.shape)
    bias += perturbation * rng.normal(size=bias.shape)
    likelihood = FixedGaussian(problem.variances)
    prior = Normal(n_components).double()
    return LatentModel(linear(weight, bias), decoder, likelihood, prior, n_components, covariance)


def linear(weight, bias):
    """Return a linear layer of given weights, float64."""
    layer = nn.utils.skip_init(nn.Linear, weight.shape[1], weight.shape[0], dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(np.array(weight)))
        layer.bias.copy_(torch.from_numpy(np.array(bias)))
    return layer


def log_weights(model, x, observed, epsilon):
    """Return ln p(x|z) + ln p(z) − ln q(z|x) of draws, (S, B)."""
    terms = model.terms(x, observed, epsilon)
    return terms.log_likelihood + terms.log_prior - terms.log_q


def plain_importance_bound(model, x, observed, epsilon, beta=1.0):
    """Return the importance-weighted bound, (B,), with its plain reparameterised gradient."""
    terms = model.terms(x, observed, epsilon)
    tempered = terms.log_likelihood + beta * (terms.log_prior - terms.log_q)
    return torch.logsumexp(tempered, 0) - np.log(len(epsilon))


def noise(*shape, seed=0, dtype=torch.float64):
    """Return standard normal numbers."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def posterior_covariances(posterior):
    """Return the covariances of a posterior's rows as an array, (B, L, L)."""
    if hasattr(posterior, "factor"):
        return (posterior.factor @ posterior.factor.mT).detach().numpy()
    return torch.diag_embed(posterior.variance).detach().numpy()


def exact_elbo(problem, X, posterior):
    """Return ln p(x) − KL(q(z|x) ‖ p(z|x)) of each row, (n,), with q as given."""
    means, covariances = problem.posterior(X)
    q_means, q_covariances = posterior.mean.detach().numpy(), posterior_covariances(posterior)
    divergence = [
        oracles.kl_gaussians(q_means[i], q_covariances[i], means[i], covariances[i])
        for i in range(len(X))
    ]
    return problem.log_evidence(X) - divergence


def _precision(problem):
    return (problem.loadings.T / problem.variances) @ problem.loadings
