"""The bound module of an autoencoder of sequences: draws the noise of a batch and its bounds.

The interface of a bound module is described in :mod:`skvae.neural.training.net`, its arguments in
:mod:`skvae.neural.training.sequences`.
"""

import numpy as np
import torch
from torch import nn

from skvae.deep_chain.bounds import sequence_bound
from skvae.deep_chain.state_prior import LatentRows, fit_states
from skvae.neural.latent_model import in_lower_precision
from skvae.neural.training.batches import HELD_OUT_NOISE, NOISE, epoch_seed


class ChainBound(nn.Module):
    """Computes each sequence's objective and its terms, by drawn noise.

    In training mode the weight of the divergence is ``kl_weight``, which rises to `beta`. In
    evaluation mode it is always `beta`, and the noise is the same in every epoch.

    Parameters
    ----------
    model : LatentModel
        The model to train, which is not copied; its prior is a StatePrior.
    seed : int
        Seed of the noise, ≥ 0.
    bound : {'factored', 'marginal'}
        The bound that is maximised.
    beta : float
        Weight of the KL divergence.
    free_bits : float
        The least nats that a row's KL counts as, for each latent dimension.
    n_importance_samples : int
        The number of latent vectors drawn for a row; several give the importance bound.
    mixed_precision : bool
        Whether encoder and decoder compute in bfloat16 where that is safe, in training.

    Attributes
    ----------
    kl_weight : float
        The current weight of the KL divergence in training.
    """

    term_names = ("bound", "reconstruction", "kl")
    fast_parts = ("model.likelihood", "model.prior")

    def __init__(
        self,
        model,
        *,
        seed,
        bound="marginal",
        beta=1.0,
        free_bits=0.0,
        n_importance_samples=1,
        mixed_precision=False,
    ):
        super().__init__()
        self.model = model
        self.seed, self.epoch = seed, 1
        self.bound = bound
        self.beta = self.kl_weight = beta
        self.free_bits = free_bits
        self.n_draws = n_importance_samples
        # In a tuple, as a submodule would register every weight a second time.
        self._trained = (in_lower_precision(model) if mixed_precision else model,)
        self.processes = None
        self._generators = {}

    def forward(self, x, first, observed=None):
        """Return (objective, bound, reconstruction, kl), each of shape (n,), in nats.

        Each row has its sequence's value divided by the number of rows.

        Parameters
        ----------
        x : tensor of shape (n, n_features)
            Prepared rows of whole sequences, one after the other.
        first : bool tensor of shape (n,)
            Whether a row begins a sequence.
        observed : bool tensor of shape (n, n_features), optional
            Where x is not missing. Without it x has no NaN.
        """
        offsets = offsets_of(first)
        terms = sequence_bound(
            self._trained[0] if self.training else self.model,
            x,
            observed,
            offsets,
            self._noise(x),
            bound=self.bound,
            beta=self.kl_weight if self.training else self.beta,
            free_bits=self.free_bits,
        )
        lengths = torch.as_tensor(np.diff(offsets), device=x.device)
        return tuple((term / lengths).repeat_interleave(lengths) for term in terms)

    def begin_epoch(self, epoch):
        """Reset the noise: training has new noise in each epoch, evaluation the same again."""
        self.epoch = epoch
        self._generators = {}

    def weight_kl(self, share):
        """Set the weight of the KL divergence to a share of `beta`."""
        self.kl_weight = self.beta * share

    @property
    def prior(self):
        """The prior of the model, a StatePrior."""
        return self.model.prior

    @property
    def numbers_per_row(self):
        """The number of numbers that all draws of a row have in the data space."""
        likelihood = self.model.likelihood
        widest = max(likelihood.n_inputs, likelihood.n_outputs, self.prior.numbers_per_draw)
        return self.n_draws * widest

    @torch.no_grad()
    def initialize_prior(self, batches, n_entries, *, seed, if_better):
        """Set the states to those that EM finds for the current posteriors of all rows.

        Parameters
        ----------
        batches : iterable of dict
            The inputs of the module, batch by batch.
        n_entries : int
            The number of sequences in all batches.
        seed : int
            Seed of k-means, in [0, 2**32).
        if_better : bool
            Whether the states change only if that raises the factored bound.

        Returns
        -------
        changed : bool
            Whether the states changed.
        """
        rows = self.latent_rows(batches)
        before = self.prior.parameters_of_chain()
        if rows.seen.sum() < self.prior.n_states:
            return False
        transmat = np.exp(before.log_transmat) if self.prior.given else None
        chain = fit_states(rows, self.prior.n_states, transmat=transmat, seed=seed)
        if if_better and chain.bound(rows) <= before.bound(rows):
            return False
        self.prior.set_chain(chain)
        return True

    def latent_rows(self, batches):
        """Return the posteriors of the rows of all batches as LatentRows."""
        parts, lengths = [], []
        for batch in batches:
            x, observed = batch["x"], batch.get("observed")
            posterior = self.model.encode(x)
            seen = torch.ones(len(x)) if observed is None else observed.any(1)
            moments = (posterior.mean, posterior.variance, seen[:, None])
            parts.append([moment.double().cpu().numpy() for moment in moments])
            lengths.append(np.diff(offsets_of(batch["first"])))
        means, variances, seen = (np.concatenate(part) for part in zip(*parts, strict=True))
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
        return LatentRows(means, variances, seen[:, 0] > 0, offsets)

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
        return {**self.__dict__, "_generators": {}, "processes": None}


def offsets_of(first):
    """Return the offsets of sequences, (n_sequences + 1,), from the rows that begin one, (n,)."""
    return np.append(np.flatnonzero(first.cpu().numpy()), len(first))
