"""Training by several processes together: each takes its share of every batch.

Who started them is torch.distributed's affair (``torchrun``, ``torch.multiprocessing``); where its
default group has been initialised, all processes of the group train one model. Each has the same
rows, cuts the same batches and draws the same noise, of which it takes its share of rows. What is
said of the rows goes to all, so that all see the bounds of whole batches and decide alike, and
gradients are added up: the step is that of one process but for rounding.
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
        The number of this one.
    size : int
        How many there are, two at least.
    """

    rank: int
    size: int

    @classmethod
    def here(cls):
        """Return those of torch.distributed's default group, or None if there is but one."""
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
            Of this process's rows. Gradients go to them, not to those of other processes.
        n_rows : int
            In the batch.

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
        """Begin with the first process's weights: those of a prior that was placed anew."""
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
        """End with the first process's weights and, of modules that have such, running means."""
        broadcast(net.module_)


@torch.no_grad()
def broadcast(module):
    """Give all processes the weights and buffers that the first one has."""
    if Processes.here() is None:
        return
    for value in module.state_dict().values():
        if isinstance(value, torch.Tensor):
            distributed.broadcast(value, 0)


# Agreement ----------------------------------------------------------------------------------------

_ALIKE = "in each process fit must be called with the same X, parameters and random_state (an int)"


@contextmanager
def agreement():
    """Give a function that raises ValueError in all processes unless all tell it the same.

    It is called with a dict of names and digests. If what is done before fails in one process, the
    others are told, and do not wait for it.
    """
    processes, told = Processes.here(), False

    def agree(mine):
        nonlocal told
        told = True
        if processes is not None:
            _check_alike(_from_all(mine, processes))

    try:
        yield agree
    except BaseException as error:
        if not told and processes is not None:
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
    """Return a digest of arrays, tensors and what can be written as text, 32 hex digits."""
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
