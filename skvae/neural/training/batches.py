"""Prepared rows as one tensor, and their batches: no row is fetched by itself.

Whatever is drawn at random follows from a seed, the number of the epoch and what it is for, so that
training that is resumed at an epoch draws what it would have drawn without the interruption.
"""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

ORDER, NOISE, HELD_OUT_NOISE, MODULES, CLUSTERS = range(5)


def epoch_seed(seed, epoch, purpose):
    """Return the seed of what is drawn in an epoch for a purpose, an int in [0, 2**63).

    Parameters
    ----------
    seed : int
        ≥ 0, that of the training.
    epoch : int
        The epoch's number.
    purpose : int
        One of ORDER, NOISE, HELD_OUT_NOISE, MODULES, CLUSTERS.
    """
    state = np.random.SeedSequence((seed, epoch, purpose)).generate_state(1, np.uint64)
    return int(state[0]) >> 1


class Rows(Dataset):
    """Rows in one tensor, on the device they are used on, which know whether any value is missing.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Prepared rows; NaN is missing.
    y : None
        Ignored.
    dtype : torch.dtype
        Of the tensor.
    device : str or torch.device, optional
        Where the tensor lies.
    held_out : Rows, optional
        The rows that are kept for validation.
    seed : int
        Of the order in which the rows are visited.
    epoch : int
        The number of the next epoch: each has its own order.

    Attributes
    ----------
    x : tensor of shape (n_samples, n_features)
        The rows. Between epochs they may be replaced by others of this shape, without NaN if these
        have none.
    missing : bool
        Whether there is a NaN.
    """

    def __init__(
        self, X, y=None, *, dtype=torch.float32, device=None, held_out=None, seed=0, epoch=1
    ):
        if isinstance(X, np.ndarray):  # torch warns of one that it could not write to
            X = np.require(X, requirements="W")
        self.x = torch.as_tensor(X).to(device=device, dtype=dtype)
        # A sum with NaN is NaN: as a rule one pass without memory says that there is none.
        self.missing = bool(torch.isnan(self.x.sum())) and bool(torch.isnan(self.x).any())
        self.held_out, self.seed, self.epoch = held_out, seed, epoch
        # skorch wants a target beside each batch: zeros that take no memory.
        self._targets = self.x.new_zeros(1).expand(len(self.x))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        """Return what the module is given of one row or several, and a target that says nothing."""
        return self.given(self.x[index]), self._targets[index]

    def given(self, x):
        """Return what the module is given of rows: themselves, with a mask if there may be NaN."""
        return {"x": x, "observed": torch.isnan(x).logical_not_()} if self.missing else x

    def order(self):
        """Return the rows' order in this epoch, a permutation, and go on to the next epoch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch, ORDER))
        self.epoch += 1
        return torch.randperm(len(self.x), generator=generator).to(self.x.device)

    def batches(self, n_batches, *, shuffle):
        """Yield all rows once in batches whose sizes differ by one at most, and their targets."""
        if shuffle:
            chunks = map(self._rows_at, self.order().tensor_split(n_batches))
        else:
            chunks = self.x.tensor_split(n_batches)
        for x in chunks:
            yield self.given(x), self._targets[: len(x)]

    def _rows_at(self, index):
        return self.x.index_select(0, index)

    def subset(self, index):
        """Return some of the rows as Rows of their own, with this seed and epoch."""
        return Rows(
            self.x[torch.as_tensor(index, device=self.x.device)],
            dtype=self.x.dtype,
            device=self.x.device,
            seed=self.seed,
            epoch=self.epoch,
        )


class RowBatches:
    """Batches of Rows, in the place of torch's DataLoader.

    All batches have the same size but for one row: a short last one would count as much as the
    others, and batch normalisation cannot be trained on a single row.

    Parameters
    ----------
    dataset : Rows
        The rows, or a Subset of them.
    batch_size : int
        The largest number of rows in a batch.
    shuffle : bool
        Whether each pass has its own order.
    """

    def __init__(self, dataset, batch_size, shuffle=False):
        if isinstance(dataset, Subset) and isinstance(dataset.dataset, Rows):
            dataset = dataset.dataset.subset(dataset.indices)
        if not isinstance(dataset, Rows):
            raise ValueError(
                f"the dataset is a {type(dataset).__name__}: RowBatches needs Rows; pass "
                "iterator_train=torch.utils.data.DataLoader (and iterator_valid) in net_params"
            )
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle

    def __len__(self):
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self):
        return self.dataset.batches(len(self), shuffle=self.shuffle)


class SeededLoader:
    """A maker of DataLoaders that leave torch's global random state alone.

    Parameters
    ----------
    loader : type
        DataLoader, or a subclass.
    seed : int
        Of the generator that each loader is given, unless it is given one.
    """

    def __init__(self, loader, seed):
        self.loader, self.seed = loader, seed

    def __call__(self, dataset, **params):
        if "generator" not in params:
            seed = epoch_seed(self.seed, getattr(dataset, "epoch", 0), ORDER)
            params["generator"] = torch.Generator().manual_seed(seed)
        return self.loader(dataset, **params)


def held_out_rows(rows):
    """Return the rows to train on and those kept for validation (None if none are): no split."""
    return rows, rows.held_out


def is_loader(iterator):
    """Return whether an iterator class is torch's DataLoader or a subclass."""
    return isinstance(iterator, type) and issubclass(iterator, DataLoader)
