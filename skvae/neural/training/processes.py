"""Training by several processes together: each takes its share of every batch.

They are started outside (``torchrun``, ``torch.multiprocessing``); where the default group of
torch.distributed is initialised, all its processes train one model. Each has the same rows, the
same batches and the same noise, and computes its share of the rows. The terms of the rows are sent
to all, so that all have the bounds of whole batches and make the same decisions, and gradients are
added up: the step is that of one process, apart from rounding.
"""

import hashlib
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import distributed


class Processes(NamedTuple):
    """The processes that train together.

    Parameters
    ----------
    rank : int
        The number of this process.
    size : int
        The number of processes, at least two.
    """

    rank: int
    size: int

    @classmethod
    def here(cls):
        """Return the processes of torch.distributed's default group, or None for a single one."""
        if not distributed.is_available() or not distributed.is_initialized():
            return None
        size = distributed.get_world_size()
        return cls(distributed.get_rank(), size) if size > 1 else None

    def share(self, n_rows):
        """Return the slice of a batch's rows that this process computes."""
        cuts = [n_rows * i // self.size for i in range(self.size + 1)]
        return slice(cuts[self.rank], cuts[self.rank + 1])

    def whole(self, terms, n_rows):
        """Return tensors of all rows of a batch from those of each process's share.

        Parameters
        ----------
        terms : sequence of tensor of shape (share,)
            The terms of this process's rows. They have a gradient, terms of other processes have
            none.
        n_rows : int
            The number of rows in the batch.

        Returns
        -------
        whole : list of tensor of shape (n_rows,)
            The same in all processes.
        """
        mine = self.share(n_rows)
        values = terms[0].new_zeros(len(terms), n_rows)
        values[:, mine] = torch.stack([term.detach() for term in terms])
        distributed.all_reduce(values)
        pairs = zip(values, terms, strict=True)
        return [torch.cat([row[: mine.start], term, row[mine.stop :]]) for row, term in pairs]

    def mean(self, values, n_rows):
        """Return the mean over all rows of a batch of values of this process's share, (share, ...).

        It has no gradient.
        """
        total = values.detach().sum(0)
        distributed.all_reduce(total)
        return total / n_rows


class SharedSteps(Callback):
    """Gives all processes the same steps: sums of gradients, and the weights of the first one."""

    def on_epoch_begin(self, net, **kwargs):
        """Begin with the first process's weights, for a prior that was initialized again."""
        broadcast(net.module_)

    def on_grad_computed(self, net, **kwargs):
        """Add up the gradients of all processes, in one tensor."""
        if Processes.here() is None:
            return
        grads = [w.grad for w in net.module_.parameters() if w.grad is not None]
        flat = torch.cat([grad.reshape(-1) for grad in grads])
        distributed.all_reduce(flat)
        parts = flat.split([grad.numel() for grad in grads])
        for grad, part in zip(grads, parts, strict=True):
            grad.copy_(part.view_as(grad))

    def on_epoch_end(self, net, **kwargs):
        """End with the first process's weights and buffers, such as running means."""
        broadcast(net.module_)


@torch.no_grad()
def broadcast(module):
    """Copy the first process's weights and buffers to all processes."""
    if Processes.here() is None:
        return
    for value in module.state_dict().values():
        if isinstance(value, torch.Tensor):
            distributed.broadcast(value, 0)


# Agreement ----------------------------------------------------------------------------------------

_ALIKE = "in each process fit must be called with the same X, parameters and random_state (an int)"


@contextmanager
def agreement():
    """Give a function that raises ValueError in all processes if their arguments differ.

    Its argument is a dict of names and digests. If one process fails before the call, the others
    raise an error too, instead of waiting for it.
    """
    processes, called = Processes.here(), False

    def agree(mine):
        nonlocal called
        called = True
        if processes is not None:
            _check_alike(_from_all(mine, processes))

    try:
        yield agree
    except BaseException as error:
        if not called and processes is not None:
            _from_all(f"{type(error).__name__}: {error}", processes)
        raise


def _from_all(mine, processes):
    found = [None] * processes.size
    distributed.all_gather_object(found, mine)
    return found


def _check_alike(found):
    for rank, one in enumerate(found):
        if isinstance(one, str):
            raise ValueError(f"process {rank} of {len(found)} failed before training: {one}")
    for name in found[0]:
        others = [rank for rank, one in enumerate(found) if one[name] != found[0][name]]
        if others:
            raise ValueError(
                f"{name} of process {others[0]} differs from that of process 0: {_ALIKE}"
            )


def digest(*parts):
    """Return a digest of arrays, tensors and values with a ``repr``, 32 hex digits."""
    found = hashlib.blake2b(digest_size=16)
    for part in parts:
        if isinstance(part, torch.Tensor):
            part = part.detach().cpu().numpy()
        if isinstance(part, np.ndarray):
            found.update(f"{part.dtype} {part.shape}".encode())
            found.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8))
        else:
            found.update(repr(part).encode())
    return found.hexdigest()
