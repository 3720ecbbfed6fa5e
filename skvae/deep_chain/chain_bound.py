"""The bound module of an autoencoder of sequences, and padded sequences.

Training reads sequences as one tensor (n_sequences, T, D): shorter ones end with rows of NaN. A row
without observed values has a density of one in every state, so that rows at the end change nothing;
they are left out of all computations. The interface of a bound module is described in
:mod:`skvae.neural.training.net`.
"""

import math

import numpy as np
import torch
from torch import nn

from skvae.deep_chain.bounds import sequence_bound
from skvae.deep_chain.state_prior import LatentRows, fit_states
from skvae.neural.latent_model import in_lower_precision
from skvae.neural.training.batches import HELD_OUT_NOISE, NOISE, epoch_seed


def padded(x, offsets):
    """Return sequences as one array (n_sequences, T, D), with rows of NaN at their ends.

    Parameters
    ----------
    x : ndarray of shape (n, D)
        The rows of all sequences.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.deep_chain.chain_bound import padded
    >>> padded(np.array([[1.0], [2.0], [3.0]]), np.array([0, 2, 3]))[:, :, 0]
    array([[ 1.,  2.],
           [ 3., nan]])
    """
    lengths = np.diff(offsets)
    out = np.full((len(lengths), lengths.max(), x.shape[1]), np.nan)
    place = np.arange(len(x)) - np.repeat(offsets[:-1], lengths)
    out[np.repeat(np.arange(len(lengths)), lengths), place] = x
    return out


def unpadded(x, observed=None):
    """Return (rows (n, D), observed (n, D) or None, offsets) of padded sequences (S, T, D)."""
    if observed is None:
        offsets = np.arange(len(x) + 1) * x.shape[1]
        return x.flatten(0, 1), None, offsets
    seen = observed.any(-1)
    place = torch.arange(1, x.shape[1] + 1, device=x.device)
    lengths = (seen * place).amax(1).clamp_min(1)  # up to the last observed row
    kept = place <= lengths[:, None]
    rows, observed = x[kept], observed[kept]
    offsets = np.concatenate([[0], np.cumsum(lengths.cpu().numpy())])
    return rows, None if bool(observed.all()) else observed, offsets


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
    n_rows : float
        The mean number of rows of a sequence: terms are divided by it, so that their mean over the
        sequences is in nats per row.
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
        self.n_rows = 1.0
        self.bound = bound
        self.beta = self.kl_weight = beta
        self.free_bits = free_bits
        self.n_draws = n_importance_samples
        # In a tuple, as a submodule would register every weight a second time.
        self._trained = (in_lower_precision(model) if mixed_precision else model,)
        self.processes = None
        self._generators = {}

    def forward(self, x, observed=None):
        """Return (objective, bound, reconstruction, kl), each of shape (n_sequences,).

        Parameters
        ----------
        x : tensor of shape (n_sequences, T, n_features)
            Padded sequences of prepared rows.
        observed : bool tensor of the same shape, optional
            Where x is not missing. Without it x has no NaN.
        """
        rows, observed, offsets = unpadded(x, observed)
        terms = sequence_bound(
            self._trained[0] if self.training else self.model,
            rows,
            observed,
            offsets,
            self._noise(rows),
            bound=self.bound,
            beta=self.kl_weight if self.training else self.beta,
            free_bits=self.free_bits,
        )
        return tuple(term / self.n_rows for term in terms)

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
        """Infinity: a batch of validation has as many sequences as one of training."""
        return math.inf

    @torch.no_grad()
    def initialize_prior(self, batches, n_entries, *, seed, if_better):
        """Set the states to those that EM finds for the current posteriors of all rows.

        Parameters
        ----------
        batches : iterable of tensor or dict
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
            x, observed, offsets = unpadded(**batch) if isinstance(batch, dict) else unpadded(batch)
            posterior = self.model.encode(x)
            seen = torch.ones(len(x)) if observed is None else observed.any(1)
            moments = (posterior.mean, posterior.variance, seen[:, None])
            parts.append([moment.double().cpu().numpy() for moment in moments])
            lengths.append(np.diff(offsets))
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
