"""Prepared rows as one tensor, and their batches: rows are not fetched one by one.

All random numbers depend on a seed, the number of the epoch and their purpose, so that training
that is resumed at an epoch draws the same numbers as without the interruption.
"""

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Subset

ORDER, NOISE, HELD_OUT_NOISE, MODULES, CLUSTERS = range(5)


def epoch_seed(seed, epoch, purpose):
    """Return the seed of the draws of an epoch for a purpose, an int in [0, 2**63).

    Parameters
    ----------
    seed : int
        ≥ 0, of the training.
    epoch : int
        The epoch's number.
    purpose : int
        One of ORDER, NOISE, HELD_OUT_NOISE, MODULES, CLUSTERS.
    """
    state = np.random.SeedSequence((seed, epoch, purpose)).generate_state(1, np.uint64)
    return int(state[0]) >> 1


class RowDataset(Dataset):
    """Rows in one tensor, on the device of their use.

    Parameters
    ----------
    X : ndarray or tensor of shape (n_samples, n_features)
        Prepared rows; NaN is missing.
    y : None
        Ignored.
    weight : ndarray of shape (n_samples,), optional
        Weights of the rows, with a mean of one.
    dtype : torch.dtype
        The dtype of the tensor.
    device : str or torch.device, optional
        Where the tensor lies.
    held_out : RowDataset, optional
        The rows for validation.
    seed : int
        Seed of the order in which the rows are visited.
    epoch : int
        The number of the next epoch: each epoch has its own order.

    Attributes
    ----------
    x : tensor of shape (n_samples, n_features)
        The rows. Between epochs others of the same shape may replace them, without NaN if these
        have none.
    missing : bool
        Whether there is a NaN.
    """

    def __init__(
        self,
        X,
        y=None,
        *,
        weight=None,
        dtype=torch.float32,
        device=None,
        held_out=None,
        seed=0,
        epoch=1,
    ):
        if isinstance(X, np.ndarray):  # torch warns of an array that is not writable
            X = np.require(X, requirements="W")
        self.x = torch.as_tensor(X).to(device=device, dtype=dtype)
        self.weight = weight
        if weight is not None:
            self.weight = torch.as_tensor(weight).to(device=device, dtype=dtype)
        # A sum with NaN is NaN: usually one pass without further memory shows that there is none.
        self.missing = bool(torch.isnan(self.x.sum())) and bool(torch.isnan(self.x).any())
        self.held_out, self.seed, self.epoch = held_out, seed, epoch
        # skorch needs a target with each batch: zeros that take no memory.
        self._targets = self.x.new_zeros(1).expand(len(self.x))

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        """Return the module's inputs for one row or several, and a target without meaning."""
        weight = () if self.weight is None else (self.weight[index],)
        return self.inputs(self.x[index], *weight), self._targets[index]

    def inputs(self, x, weight=None):
        """Return the module's inputs for rows x and their weights.

        They are x itself, unless values are missing or there are weights.
        """
        if weight is None and not self.missing:
            return x
        inputs = {"x": x}
        if self.missing:
            inputs["observed"] = torch.isnan(x).logical_not_()
        return inputs if weight is None else {**inputs, "weight": weight}

    def order(self):
        """Return the rows' order in this epoch, a permutation, and advance to the next epoch."""
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch, ORDER))
        self.epoch += 1
        return torch.randperm(len(self.x), generator=generator).to(self.x.device)

    def batches(self, n_batches, *, shuffle):
        """Yield all rows in batches and their targets; sizes of batches differ by one at most."""
        parts = (self.x,) if self.weight is None else (self.x, self.weight)
        if shuffle:
            indices = self.order().tensor_split(n_batches)
            chunks = ([part.index_select(0, index) for part in parts] for index in indices)
        else:
            chunks = zip(*(part.tensor_split(n_batches) for part in parts), strict=True)
        for own in chunks:
            yield self.inputs(*own), self._targets[: len(own[0])]

    def subset(self, index):
        """Return some of the rows as a RowDataset with the same seed and epoch."""
        index = torch.as_tensor(index, device=self.x.device)
        return RowDataset(
            self.x[index],
            weight=None if self.weight is None else self.weight[index],
            dtype=self.x.dtype,
            device=self.x.device,
            seed=self.seed,
            epoch=self.epoch,
        )


class RowBatches:
    """Batches of a RowDataset, instead of torch's DataLoader.

    The sizes of batches differ by one row at most: a short last batch would count as much as the
    others, and batch normalisation cannot be trained on a single row.

    Parameters
    ----------
    dataset : RowDataset
        The rows, or a Subset of such.
    batch_size : int
        The largest number of rows in a batch.
    shuffle : bool
        Whether each pass has its own order.
    """

    def __init__(self, dataset, batch_size, shuffle=False):
        if isinstance(dataset, Subset) and isinstance(dataset.dataset, RowDataset):
            dataset = dataset.dataset.subset(dataset.indices)
        if not isinstance(dataset, RowDataset):
            raise ValueError(
                f"the dataset is a {type(dataset).__name__}: RowBatches needs a RowDataset; pass "
                "iterator_train=torch.utils.data.DataLoader (and iterator_valid) in net_params"
            )
        self.dataset, self.batch_size, self.shuffle = dataset, batch_size, shuffle

    def __len__(self):
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self):
        return self.dataset.batches(len(self), shuffle=self.shuffle)


class SeededLoader:
    """Makes DataLoaders that do not change torch's global random state.

    Parameters
    ----------
    loader : type
        DataLoader, or a subclass.
    seed : int
        Seed of the generator of each loader, unless the caller passes a generator.
    """

    def __init__(self, loader, seed):
        self.loader, self.seed = loader, seed

    def __call__(self, dataset, **params):
        if "generator" not in params:
            seed = epoch_seed(self.seed, getattr(dataset, "epoch", 0), ORDER)
            params["generator"] = torch.Generator().manual_seed(seed)
        return self.loader(dataset, **params)


def held_out_rows(rows):
    """Return the rows to train on and those for validation, or None: skorch's split."""
    return rows, rows.held_out


def is_loader(iterator):
    """Return whether an iterator class is torch's DataLoader or a subclass."""
    return isinstance(iterator, type) and issubclass(iterator, DataLoader)
