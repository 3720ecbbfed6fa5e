"""Prepared sequences, and their batches of whole sequences: rows one after the other.

A batch is a dict of tensors with one entry for each of its rows: ``x`` (n, D), the rows; ``first``
(n,), whether a row begins a sequence; with missing values ``observed`` (n, D); and any ``more``.
The terms of a bound module are then (n,) too, so that means are per row.
"""

from math import ceil
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import torch

from skvae.neural.training.batches import ORDER, RowDataset, epoch_seed


class PreparedSequences(NamedTuple):
    """Prepared rows of one or more sequences, one after the other.

    Parameters
    ----------
    x : ndarray of shape (n_rows, n_features)
        The rows; NaN is missing.
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    more : dict of str to ndarray of shape (n_rows, ...)
        Further inputs of the bound module, by the name of its argument.
    """

    x: np.ndarray
    offsets: np.ndarray
    more: dict = MappingProxyType({})

    def take(self, which):
        """Return some of the sequences, by their numbers."""
        lengths = np.diff(self.offsets)[which]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        rows = np.repeat(self.offsets[which] - offsets[:-1], lengths) + np.arange(offsets[-1])
        more = {name: values[rows] for name, values in self.more.items()}
        return PreparedSequences(self.x[rows], offsets, more)

    def joined(self, other):
        """Return these sequences and others, one after the other; None is none."""
        if other is None:
            return self
        more = {name: np.concatenate([v, other.more[name]]) for name, v in self.more.items()}
        offsets = np.concatenate([self.offsets, self.offsets[-1] + other.offsets[1:]])
        return PreparedSequences(np.concatenate([self.x, other.x]), offsets, more)

    def rows(self, start, stop):
        """Return the rows from one to another of the only sequence."""
        more = {name: values[start:stop] for name, values in self.more.items()}
        return PreparedSequences(self.x[start:stop], np.array([0, stop - start]), more)


def split_sequences(sequences, fraction, seed):
    """Return the sequences to train on and those for validation, two PreparedSequences.

    Parameters
    ----------
    sequences : PreparedSequences
        At least two rows.
    fraction : float or None
        The share of the sequences for validation, at least one. Of a single sequence it is a share
        of its rows, the last ones, which are then a sequence of their own. None is none.
    seed : int
        Seed of the draw.

    Returns
    -------
    training, validation : PreparedSequences
        ``validation`` is None without a fraction.

    Raises
    ------
    ValueError
        No sequence is left to train on.
    """
    if fraction is None:
        return sequences, None
    n = len(sequences.offsets) - 1
    single = n == 1
    n, parts = (len(sequences.x), "rows") if single else (n, "sequences")
    n_valid = ceil(fraction * n)
    if n_valid >= n:
        raise ValueError(
            f"validation_fraction={fraction!r} leaves none of {n} {parts} "
            "to train on: lower it, pass more of them, or set early_stopping=False"
        )
    if single:
        return sequences.rows(0, n - n_valid), sequences.rows(n - n_valid, n)
    order = np.random.RandomState(seed).permutation(n)
    return sequences.take(np.sort(order[n_valid:])), sequences.take(np.sort(order[:n_valid]))


class SequenceDataset(RowDataset):
    """Sequences as a dataset: an entry is a whole sequence; see :class:`RowDataset`.

    Parameters
    ----------
    sequences : PreparedSequences
        The rows.
    dtype : torch.dtype
        The dtype of rows.
    device : str or torch.device, optional
        Where the tensors lie.
    **options : dict
        ``held_out``, ``seed`` and ``epoch``, as of RowDataset.
    """

    def __init__(self, sequences, *, dtype=torch.float32, device=None, **options):
        super().__init__(sequences.x, dtype=dtype, device=device, **options)
        self._sequences = sequences
        offsets = torch.as_tensor(sequences.offsets)
        self._begins, self._lengths = offsets[:-1], offsets.diff()
        self._first = torch.zeros(len(self.x), dtype=torch.bool)
        self._first[self._begins] = True
        self._first = self._first.to(self.x.device)
        self._more = {
            name: torch.as_tensor(values, device=self.x.device)
            for name, values in sequences.more.items()
        }

    def __len__(self):
        return len(self._lengths)

    def __getitem__(self, index):
        """Raise ValueError: sequences of several lengths are no rows of one tensor."""
        raise ValueError(
            "sequences need the estimator's own batches: leave iterator_train and iterator_valid "
            "out of net_params"
        )

    def subset(self, index):
        """Return some of the sequences as a dataset with the same seed and epoch."""
        chosen = self._sequences.take(np.asarray(index))
        options = {"dtype": self.x.dtype, "device": self.x.device}
        return SequenceDataset(chosen, **options, seed=self.seed, epoch=self.epoch)

    def order(self):
        """Return the order of the sequences in this epoch, and advance to the next epoch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch, ORDER))
        self.epoch += 1
        return torch.randperm(len(self), generator=generator)

    def batches(self, n_batches, *, shuffle):
        """Yield all sequences in batches; their numbers of sequences differ by one at most."""
        if n_batches == 1:  # their order is of no account
            self.epoch += shuffle
            yield self._batch(slice(None))
            return
        order = self.order() if shuffle else torch.arange(len(self))
        for chosen in order.tensor_split(n_batches):
            lengths = self._lengths[chosen]
            ends = lengths.cumsum(0)
            shift = (self._begins[chosen] - ends + lengths).repeat_interleave(lengths)
            yield self._batch((shift + torch.arange(len(shift))).to(self.x.device))

    def _batch(self, rows):
        """Return the inputs of some rows, and targets without meaning."""
        x = self.x[rows]
        inputs = {"x": x, "first": self._first[rows]}
        if self.missing:
            inputs["observed"] = torch.isnan(x).logical_not_()
        inputs |= {name: values[rows] for name, values in self._more.items()}
        return inputs, x.new_zeros(1).expand(len(x))
