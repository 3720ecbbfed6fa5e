"""Training on rows that are not in memory: shuffled batches from a buffer of some blocks.

Each epoch visits the blocks in an order of its own. As many as a buffer holds, at least two, are
mixed row by row and cut into batches; the remainder joins the first rows of the next buffer, which
was read meanwhile. So every row comes once an epoch, batches have the sizes of those of rows in
memory, and memory holds at most two buffers.
"""

from functools import partial
from math import ceil
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split

from skvae.neural.likelihoods.base import n_observed
from skvae.neural.training import rows_on_disk
from skvae.neural.training.batches import ORDER, RowDataset, epoch_seed
from skvae.neural.training.rows_on_disk import RowsOnDisk, reading_ahead, with_weights
from skvae.neural.training.sequences import PreparedSequences, SequenceDataset

# Validation rows stay in memory and are read in every epoch: this share of a buffer's numbers is
# enough for any bound.
_HELD_OUT = 1 / 16


# Rows to train on, and validation rows -----------------------------------------------------------


class Split(NamedTuple):
    """Prepared rows to train on, and rows for validation.

    Parameters
    ----------
    x : ndarray or RowsOnDisk of shape (n_train, n_features)
        The rows to train on.
    x_valid : ndarray of shape (n_valid, n_features) or None
        The rows for validation.
    volume : float
        Added to the mean bound of the watched rows for their bound in the units of X, in nats.
    weight : ndarray of shape (n_train,), RowsOnDisk of shape (n_train, 1), or None
        The weights of the rows to train on, with a mean of one; None is one each.
    weight_valid : ndarray of shape (n_valid,) or None
        The weights of the rows for validation, likewise.
    """

    x: Any
    x_valid: np.ndarray | None
    volume: float
    weight: Any = None
    weight_valid: np.ndarray | None = None

    @property
    def watched(self):
        """Return the rows of the recorded bound: the validation rows, or all if there are none."""
        return self.x if self.x_valid is None else self.x_valid

    @property
    def watched_weight(self):
        """Return the weights of the watched rows."""
        return self.weight if self.x_valid is None else self.weight_valid


def split_rows(x, likelihood, fraction, seed, weight=None):
    """Return the Split of prepared rows.

    Parameters
    ----------
    x : ndarray or RowsOnDisk of shape (n_samples, n_features)
        Prepared rows.
    likelihood : Likelihood
        The likelihood that prepared them.
    fraction : float or None
        The share of validation rows; None is none. Of rows on disk at most a sixteenth of a
        buffer.
    seed : int
        Seed of the draw.
    weight : ndarray of shape (n_samples,), RowsOnDisk of shape (n_samples, 1), or None
        The weights of the rows, > 0. The draw does not depend on them.

    Raises
    ------
    ValueError
        No row is left to train on.
    """
    if fraction is None:
        weight = relative(weight)
        return Split(x, None, mean_over_blocks(likelihood.log_volume, x, weight), weight)
    n_valid = ceil(fraction * len(x))
    if n_valid >= len(x):
        raise ValueError(
            f"validation_fraction={fraction!r} leaves none of {len(x)} rows to "
            "train on: lower it, pass more rows, or set early_stopping=False"
        )
    if isinstance(x, RowsOnDisk):
        most = max(1, int(_HELD_OUT * rows_on_disk.BUFFER / x.shape[1]))
        places = x.drawn(min(n_valid, most), seed)
        parts = [(x.without(places), x.at(places))]
        if weight is not None:
            parts.append((weight.without(places), weight.at(places)[:, 0]))
    else:
        train, kept = train_test_split(np.arange(len(x)), test_size=fraction, random_state=seed)
        parts = [(part[train], part[kept]) for part in (x, weight) if part is not None]
    (x, x_valid), *weights = parts
    weight, weight_valid = map(relative, weights[0]) if weights else (None, None)
    volume = mean_over_blocks(likelihood.log_volume, x_valid, weight_valid)
    return Split(x, x_valid, volume, weight, weight_valid)


def relative(weight):
    """Return weights with a mean of one; None is None."""
    if weight is None:
        return None
    if not isinstance(weight, RowsOnDisk):
        return weight / weight.mean()
    total = sum(block.sum() for block in weight.blocks())
    return weight.mapped(partial(np.multiply, len(weight) / total))


def mean_over_blocks(function, x, weight=None):
    """Return the mean over the rows of ``function(rows)``, which has shape (n,).

    The weights of the rows have a mean of one.
    """
    total = 0.0
    for block, of_block in with_weights(x, weight):
        values = function(block)
        total += values.sum() if of_block is None else of_block @ values
    return float(total / len(x))


# Batches ------------------------------------------------------------------------------------------


def dataset_of(x, *, device, **options):
    """Return prepared rows as a dataset: in memory, on disk, or of whole sequences."""
    kind = StreamedRows if isinstance(x, RowsOnDisk) else RowDataset
    kind = SequenceDataset if isinstance(x, PreparedSequences) else kind
    return kind(x, device=device, **options)


class StreamedRows(RowDataset):
    """Rows on disk, of which one buffer is on the device at a time; see :class:`RowDataset`.

    Parameters
    ----------
    X : RowsOnDisk of shape (n_samples, n_features)
        Prepared rows; NaN is missing.
    weight : RowsOnDisk of shape (n_samples, 1), optional
        Their weights, in the same blocks.
    dtype : torch.dtype
        The dtype of the batches.
    device : str or torch.device, optional
        The place of the batches.
    held_out : RowDataset, optional
        The rows for validation.
    seed : int
        Seed of the order in which the rows are visited.
    epoch : int
        The number of the next epoch: each epoch has its own order.
    """

    def __init__(
        self, X, *, weight=None, dtype=torch.float32, device=None, held_out=None, seed=0, epoch=1
    ):
        self._stored, self._weight, self._dtype, self._device = X, weight, dtype, device
        self.held_out, self.seed, self.epoch = held_out, seed, epoch
        self.missing = bool((n_observed(X) < len(X)).any())

    def __len__(self):
        return len(self._stored)

    def __getitem__(self, index):
        """Raise ValueError: rows are not fetched one by one."""
        raise ValueError(
            "rows that are read by blocks need the estimator's own batches: leave "
            "iterator_train out of net_params, or pass X as an array in memory"
        )

    subset = __getitem__

    def batches(self, n_batches, *, shuffle):
        """Yield all rows in batches and their targets; sizes of batches differ by one at most."""
        n_rows, n_longer = divmod(len(self), n_batches)
        sizes = (n_rows + (i < n_longer) for i in range(n_batches))
        target = torch.zeros(1, dtype=self._dtype, device=self._device)
        generator = None
        if shuffle:
            generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch, ORDER))
            self.epoch += 1
        with reading_ahead(self._buffer, self._groups(generator)) as buffers:
            rows = _MixedRows(buffers, generator, self._device)
            n_features = self._stored.shape[1]
            for size in sizes:
                x, *weight = rows.next(size).split(n_features, dim=1)
                yield self.inputs(x, *(part[:, 0] for part in weight)), target.expand(size)

    def _groups(self, generator):
        """Return lists of blocks, those of one buffer each, in the order of the epoch."""
        lengths = self._stored.lengths
        order = range(len(lengths))
        if generator is not None:
            order = torch.randperm(len(lengths), generator=generator).tolist()
        most = rows_on_disk.BUFFER // self._stored.shape[1]
        groups, n_rows = [[]], 0
        for i in order:
            if not lengths[i]:
                continue
            if len(groups[-1]) > 1 and n_rows + lengths[i] > most:
                groups.append([])
                n_rows = 0
            groups[-1].append(i)
            n_rows += lengths[i]
        return groups

    def _buffer(self, blocks):
        """Return the rows of some blocks in one tensor, on the CPU; a last column has weights."""
        lengths, n_features = self._stored.lengths, self._stored.shape[1]
        shape = sum(lengths[i] for i in blocks), n_features + (self._weight is not None)
        x, first = torch.empty(shape, dtype=self._dtype), 0
        for group in self._stored.together(blocks):
            parts = [self._stored.read(group)]
            if self._weight is not None:
                parts.append(self._weight.read(group))
            for rows, *weight in zip(*parts, strict=True):
                place = slice(first, first + len(rows))
                x[place, :n_features] = torch.from_numpy(np.ascontiguousarray(rows))
                if weight:
                    x[place, n_features:] = torch.from_numpy(np.ascontiguousarray(weight[0]))
                first += len(rows)
        return x


class _MixedRows:
    """Takes rows from one buffer after the other, mixed by a generator if there is one."""

    def __init__(self, buffers, generator, device):
        self._buffers, self._generator, self._device = buffers, generator, device
        self._x, self._order, self._at = None, (), 0

    def next(self, size):
        """Return the next ``size`` rows, a tensor on the device."""
        parts = []
        while size:
            if self._at == len(self._order):
                self._refill()
            index = self._order[self._at : self._at + size]
            parts.append(self._x.index_select(0, index))
            self._at += len(index)
            size -= len(index)
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _refill(self):
        self._x = None  # first, so that its memory is free for the reading of another buffer
        self._x = next(self._buffers).to(self._device)
        n_rows, self._at = len(self._x), 0
        if self._generator is None:
            self._order = torch.arange(n_rows, device=self._device)
        else:
            self._order = torch.randperm(n_rows, generator=self._generator).to(self._device)
