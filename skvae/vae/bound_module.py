"""The bound module of an autoencoder: draws the noise of a batch and computes each row's bound.

Its interface is that of every bound module, described in :mod:`skvae.neural.training.net`.
"""

from functools import partial

import torch
from torch import nn

from skvae.neural.latent_model import in_lower_precision
from skvae.neural.priors import Mixture
from skvae.neural.training.batches import HELD_OUT_NOISE, NOISE, epoch_seed
from skvae.neural.training.prior_initialization import initialize_components, latent_moments
from skvae.vae.objective import row_bound


class SampledBound(nn.Module):
    """Computes each row's objective and its terms under a latent-variable model, by drawn noise.

    The objective has `beta` and free bits, or importance weights if there are several draws. In
    training mode the weight of the divergence is ``kl_weight``, which rises to `beta`. In
    evaluation mode it is always `beta`, and the noise is the same in every epoch: epochs differ by
    their weights alone.

    Parameters
    ----------
    model : LatentModel
        The model to train, which is not copied.
    seed : int
        Seed of the noise, ≥ 0.
    beta : float
        Weight of the KL divergence.
    free_bits : float
        The least nats that each latent dimension's KL counts as.
    n_importance_samples : int
        The number of latent vectors drawn for a row; several are weighted by importance.
    mixed_precision : bool
        Whether encoder and decoder compute in bfloat16 where that is safe, in training.
    compiled : bool
        Whether ``torch.compile`` will compile the module. It cannot compile the draws of noise.

    Attributes
    ----------
    processes : Processes or None
        The processes that train together: each computes its share of a batch's rows and receives
        the terms of all rows.
    kl_weight : float
        The current weight of the KL divergence in training.
    """

    term_names = ("bound", "reconstruction", "kl")

    def __init__(
        self,
        model,
        *,
        seed,
        beta=1.0,
        free_bits=0.0,
        n_importance_samples=1,
        mixed_precision=False,
        compiled=False,
    ):
        super().__init__()
        self.model = model
        self.seed, self.epoch = seed, 1
        self.beta = self.kl_weight = beta
        self.free_bits = free_bits
        self.n_draws = n_importance_samples
        # In a tuple, as a submodule would register every weight a second time.
        self._trained = (in_lower_precision(model) if mixed_precision else model,)
        self.compiled = compiled
        self.processes = None
        self._prepare()

    def _prepare(self):
        """Set the attributes that cannot always be copied or pickled."""
        self._generators = {}
        self._draw = torch.compiler.disable(self._noise) if self.compiled else self._noise
        self._gather = torch.compiler.disable(_of_all) if self.compiled else _of_all

    def forward(self, x, observed=None, weight=None):
        """Return (objective, bound, reconstruction, kl), each of shape (n,), in nats.

        The bound has no free bits and no `beta`: it is the evidence lower bound,
        ``reconstruction - kl``, or the importance-weighted bound.

        Parameters
        ----------
        x : tensor of shape (n, n_features)
            Prepared rows.
        observed : bool tensor of shape (n, n_features), optional
            Where x is not missing. Without it x has no NaN.
        weight : tensor of shape (n,), optional
            Weights of the rows, which multiply all terms.
        """
        noise, processes, n_rows = self._draw(x), self.processes, len(x)
        batch_mean = None
        if processes is not None:
            mine, batch_mean = processes.share(n_rows), partial(processes.mean, n_rows=n_rows)
            x, noise = x[mine], noise[:, mine]
            observed = None if observed is None else observed[mine]
            weight = None if weight is None else weight[mine]
        terms = row_bound(
            self._trained[0] if self.training else self.model,
            x,
            observed,
            noise,
            beta=self.kl_weight if self.training else self.beta,
            free_bits=self.free_bits,
            importance=self.n_draws > 1,
            batch_mean=batch_mean,
            weight=weight,
        )
        if weight is not None:
            terms = [weight * term for term in terms]
        return tuple(terms) if processes is None else self._gather(processes, terms, n_rows)

    def begin_epoch(self, epoch):
        """Reset the noise: training has new noise in each epoch, evaluation the same again."""
        self.epoch = epoch
        self._generators = {}

    def weight_kl(self, share):
        """Set the weight of the KL divergence to a share of `beta`."""
        self.kl_weight = self.beta * share

    @property
    def fast_parts(self):
        """The parts with few parameters, which change by much: see ``settings.FASTER``."""
        mixture = isinstance(self.prior, Mixture)
        return ("model.likelihood", "model.prior") if mixture else ("model.likelihood",)

    @property
    def numbers_per_row(self):
        """The number of numbers that all draws of a row have in the data space."""
        likelihood = self.model.likelihood
        return self.n_draws * max(likelihood.n_inputs, likelihood.n_outputs)

    @property
    def prior(self):
        """The prior p(z) of the model."""
        return self.model.prior

    def encode(self, x, observed=None, weight=None):
        """Return the posteriors q(z | x) of prepared rows; NaN is missing."""
        return self.model.encode(x)

    def initialize_prior(self, batches, n_rows, *, seed, if_better):
        """Set the components of a mixture prior to clusters of the rows' latent vectors.

        Parameters
        ----------
        batches : iterable of tensor or dict
            The inputs of the module, batch by batch.
        n_rows : int
            The number of rows in all batches.
        seed : int
            Seed of k-means, in [0, 2**32).
        if_better : bool
            Whether the components change only if that explains the latent vectors better.

        Returns
        -------
        changed : bool
            Whether the components changed.
        """
        moments = latent_moments(self.encode, batches, n_rows)
        return initialize_components(self.prior, *moments, seed=seed, if_better=if_better)

    def train(self, mode=True):
        """Set the mode, and return self.

        skorch sets the mode before each batch, and to set it in all parts takes as long as several
        operations: nothing is done if the mode is already set.
        """
        if self.training is mode and self.model.training is mode:
            return self
        return super().train(mode)

    def _noise(self, x):
        """Return standard normal noise (n_draws, n, n_components) like x."""
        key = (self.training, x.device)
        generator = self._generators.get(key)
        if generator is None:
            epoch, purpose = (self.epoch, NOISE) if self.training else (0, HELD_OUT_NOISE)
            generator = torch.Generator(x.device)
            generator.manual_seed(epoch_seed(self.seed, epoch, purpose))
            self._generators[key] = generator
        shape = (self.n_draws, len(x), self.model.n_components)
        return torch.randn(shape, generator=generator, dtype=x.dtype, device=x.device)

    def __getstate__(self):
        own = {"_generators", "_draw", "_gather"}
        state = {name: value for name, value in self.__dict__.items() if name not in own}
        return {**state, "processes": None}

    def __setstate__(self, state):
        super().__setstate__(state)
        self._prepare()


def _of_all(processes, terms, n_rows):
    return tuple(processes.whole(terms, n_rows))
