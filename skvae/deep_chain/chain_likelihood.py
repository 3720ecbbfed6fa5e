r"""The exact log-likelihood of a discrete chain as one function that torch can differentiate.

.. math:: \ln p(x) = \ln \sum_z \pi_{z_1} \prod_t A_{z_{t-1} z_t} \prod_t b_t(z_t)

By Fisher's identity its gradient is the posterior of the path:

.. math:: \frac{\partial \ln p}{\partial \ln b_t(k)} = \gamma_t(k), \quad
          \frac{\partial \ln p}{\partial \ln A_{ij}} = \sum_t \xi_t(i, j), \quad
          \frac{\partial \ln p}{\partial \ln \pi_k} = \gamma_1(k)

(Fisher, 1925; Salakhutdinov, Roweis & Ghahramani, Optimization with EM and expectation-conjugate-
gradient, ICML 2003). The forward-backward recursions of :mod:`skvae.chain` compute both, and there
is no graph over the rows.
"""

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from skvae.chain.one_block import OneBlock
from skvae.chain.passes import Buffers
from skvae.chain.varying import VaryingBlock

# Memory of earlier calls: fresh memory takes as long as a recursion (measured).
_BUFFERS = Buffers(maxlen=2)
_LARGEST_BUFFER = 2**20  # numbers of an array that is kept


def chain_log_likelihood(log_start, log_transmat, log_density, offsets):
    """Return ln p(x) of each sequence with its gradient, a tensor (n_sequences,), in nats.

    Parameters
    ----------
    log_start : Tensor of shape (K,)
        ln π; −inf for an impossible state.
    log_transmat : Tensor of shape (K, K) or (n_rows, K, K)
        ln A, from row to column. With a matrix for each row, that of row t is of the transition
        from row t − 1; it is not used where row t begins a sequence.
    log_density : Tensor of shape (n_rows, K)
        ln b_t(k), all sequences one after the other; −inf where a row is impossible.
    offsets : array-like of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1], at least one.

    Returns
    -------
    log_likelihood : Tensor of shape (n_sequences,)
        Computed in float64 on the CPU; on the device and in the dtype of ``log_density``. A
        sequence with an impossible row has −inf: the gradient takes such a row as missing. It has
        no second derivative.

    Examples
    --------
    >>> import torch
    >>> from skvae.deep_chain.chain_likelihood import chain_log_likelihood
    >>> half = torch.tensor([0.5, 0.5]).log()
    >>> log_density = torch.tensor([[0.0, -2.0], [0.0, -2.0]], requires_grad=True)
    >>> log_p = chain_log_likelihood(half, half.expand(2, 2), log_density, [0, 2])
    >>> log_p.backward()
    >>> log_density.grad
    tensor([[0.8808, 0.1192],
            [0.8808, 0.1192]])
    """
    return _ChainLikelihood.apply(log_start, log_transmat, log_density, np.asarray(offsets))


@torch.no_grad()
def chain_predictive(log_start, log_transmat, log_density, offsets):
    """Return ln p(x_t | x_1..x_{t−1}) of each row in its sequence, a tensor (n_rows,), in nats.

    The arguments are those of :func:`chain_log_likelihood`; there is no gradient.
    """
    block = _forward_pass(log_start, log_transmat, log_density, np.asarray(offsets))
    return torch.tensor(block.log_p).to(log_density)


class _ChainLikelihood(torch.autograd.Function):
    """The function of :func:`chain_log_likelihood`, and its gradient."""

    @staticmethod
    def forward(ctx, log_start, log_transmat, log_density, offsets):
        """Return ln p(x) of each sequence by the forward recursion."""
        ctx.save_for_backward(log_start, log_transmat, log_density)
        ctx.offsets = offsets
        ctx.block = _forward_pass(log_start, log_transmat, log_density, offsets)
        log_p = np.add.reduceat(ctx.block.log_p, offsets[:-1])
        if not any(ctx.needs_input_grad):
            _give_back(ctx.block)
            ctx.block = None
        return torch.from_numpy(log_p).to(log_density)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        """Return the posterior probabilities, weighted by the gradient of each sequence."""
        inputs = ctx.saved_tensors
        block, ctx.block = ctx.block, None  # the backward recursion uses its memory
        if block is None:
            block = _forward_pass(*inputs, ctx.offsets)
        weight = np.repeat(_array(gradient), np.diff(ctx.offsets))
        posterior, starts, pairs = block.smooth(weight, _dtype(inputs[2]))
        if np.isneginf(block.log_p).any():
            # An impossible entry has no gradient, also in a row that is taken as missing.
            posterior = np.where(_array(inputs[2]) > -np.inf, posterior, 0.0)
        if pairs.ndim > inputs[1].ndim:
            pairs = pairs.sum(axis=0)
        _give_back(block)
        return *map(_like, (starts, pairs, posterior), inputs), None


def _forward_pass(log_start, log_transmat, log_density, offsets):
    """Return the forward pass over all sequences, a block with ``log_p`` and ``smooth``."""
    log_start, n_states = _array(log_start), len(log_start)
    if log_transmat.ndim == 2 and n_states > 1:
        chain = np.exp(log_start), np.exp(_array(log_transmat))
        memory = _BUFFERS.take(len(log_density), -(-n_states // 4) * 4)
        rows = _array(log_density, _dtype(log_density))
        return OneBlock(*chain, rows.T, offsets, memory=memory)
    log_transmat = _array(log_transmat, _dtype(log_transmat))
    if log_transmat.ndim == 2:
        # OneBlock takes the probabilities of a single state as one, without reading them.
        log_transmat = np.broadcast_to(log_transmat, (len(log_density), 1, 1))
    return VaryingBlock(log_start, log_transmat, _array(log_density), offsets)


def _give_back(block):
    """Keep the memory of a block for a later one."""
    if isinstance(block, OneBlock) and block.memory[0].size <= _LARGEST_BUFFER:
        _BUFFERS.append(block.memory)


def _array(tensor, dtype=np.float64):
    """Return a tensor as an array on the CPU."""
    array = tensor.detach().cpu()
    if dtype is np.float64:
        array = array.double()  # NumPy lacks some dtypes of torch
    return array.contiguous().numpy()


def _dtype(tensor):
    """Return the dtype in which arrays of a tensor's size are read and written."""
    return np.float32 if tensor.dtype == torch.float32 else np.float64


def _like(array, tensor):
    """Return an array as a tensor of the dtype and on the device of another tensor."""
    return torch.from_numpy(np.ascontiguousarray(array)).to(tensor)
