"""Parameters of skorch's NeuralNet: optimiser, iterators and device, and their checks."""

import inspect

import torch

from skvae.neural.training.batches import RowBatches, SeededLoader, is_loader

OPTIMIZERS = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
# A network changes much by many small weights together. ln σ, a degree of freedom or a prior's mean
# is a single weight with far to go, in steps of lr with an optimiser such as Adam.
FASTER = 10.0
# Optimisers with one kernel for all weights in torch, on a CPU too.
FUSED = (torch.optim.Adam, torch.optim.AdamW)
# The most numbers in the data of a batch of validation, and the most rows: larger batches are no
# faster, and their tensors no longer fit in a processor's cache.
VALIDATION_NUMBERS, VALIDATION_ROWS = 2**19, 2048
# Parameters that the estimator sets, or has a parameter for.
TAKEN = (
    *("module", "criterion", "optimizer", "lr", "max_epochs", "batch_size", "dataset"),
    *("callbacks", "device", "verbose", "warm_start", "history"),
)
# Callbacks that training needs.
_NEEDED = (
    *("prior_warmup", "processes_together", "epoch_seeds", "kl_warmup", "epoch_terms"),
    *("best_weights", "stop_early"),
)


def checked_net_params(net_params):
    """Return a copy of net_params, a dict.

    Raises
    ------
    ValueError
        It has a parameter that is not to be set there.
    """
    if net_params is not None and not isinstance(net_params, dict):
        raise ValueError(f"net_params={net_params!r}: must be a dict, or None")
    net_params = dict(net_params or {})
    for name in net_params:
        if name in TAKEN or name.split("__")[0] in ("module", "criterion"):
            raise ValueError(
                f"net_params has {name!r}: must be none of {', '.join(TAKEN)}, nor begin with "
                "module__ or criterion__; the estimator has a parameter for it, or sets it itself"
            )
        head, _, rest = name.partition("__")
        if head == "callbacks" and rest.split("__")[0] in _NEEDED:
            raise ValueError(f"net_params has {name!r}: must be none of the estimator's callbacks")
        rows = head in ("iterator_train", "iterator_valid") and head not in net_params
        if rows and rest and rest not in inspect.signature(RowBatches).parameters:
            raise ValueError(
                f"net_params has {name!r}: must come with {head!r}, such as "
                "torch.utils.data.DataLoader; the iterator used otherwise has no such parameter"
            )
    return net_params


def checked_callbacks(callbacks):
    """Return a copy of the callbacks, a list.

    Raises
    ------
    ValueError
        It is no list, or an entry is no callback of skorch.
    """
    if callbacks is None:
        return []
    if not isinstance(callbacks, list | tuple):
        raise ValueError(f"callbacks={callbacks!r}: must be a list of skorch's callbacks, or None")
    for entry in callbacks:
        named = isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)
        callback = entry[1] if named else entry
        if not hasattr(callback, "on_train_begin"):
            raise ValueError(
                f"callbacks has an entry {entry!r}: must be a callback of skorch, or a pair of a "
                "name and one"
            )
    return list(callbacks)


def device_name(device):
    """Return the name of a device; 'auto' is CUDA if there is one, else the CPU.

    Raises
    ------
    ValueError
        It is no device of torch, or this machine does not have it.
    """
    if isinstance(device, str) and device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if not isinstance(device, str | torch.device):
        raise ValueError(f"device={device!r}: must be 'auto' or the name of a device of torch")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(
            f"device={device!r}: must be 'auto', or one that torch has here ({reason})"
        ) from error
    return device


def optimizer_class(optimizer):
    """Return the class of an optimiser, from its name or the class.

    Raises
    ------
    ValueError
        It is neither a name in OPTIMIZERS nor a class of torch.optim.
    """
    if isinstance(optimizer, str) and optimizer in OPTIMIZERS:
        return OPTIMIZERS[optimizer]
    if isinstance(optimizer, type) and issubclass(optimizer, torch.optim.Optimizer):
        return optimizer
    names = ", ".join(map(repr, OPTIMIZERS))
    raise ValueError(f"optimizer={optimizer!r}: must be one of {names}, or a class of torch.optim")


def optimizer_params(optimizer, lr, device, net_params, *, fast):
    """Return the parameters of an optimiser: learning rates by part, and its kernel.

    Parameters
    ----------
    optimizer : type
        Its class.
    lr : float
        The learning rate of the other weights.
    device : str
        Where the weights are.
    net_params : dict
        The user's parameters of the net.
    fast : sequence of str
        Parts of the bound module that have `FASTER` times the learning rate, and no weight decay.
    """
    lr = net_params.get("optimizer__lr", lr)
    group = {"lr": FASTER * lr}
    if "weight_decay" in inspect.signature(optimizer).parameters:
        group["weight_decay"] = 0.0
    # torch.compile adds a prefix to the names.
    heads = ("", "_orig_mod.")
    params = {"optimizer__param_groups": [(f"{h}{name}.*", group) for name in fast for h in heads]}
    others = {f"optimizer__{way}" for way in ("foreach", "capturable", "differentiable")}
    fusible = optimizer in FUSED and torch.device(device).type in ("cpu", "cuda")
    if fusible and not others & net_params.keys():
        params["optimizer__fused"] = True
    return params


def iterator_params(net_params, seed):
    """Return net_params with shuffling iterators that do not change torch's global state."""
    params = dict(net_params)
    for name in ("iterator_train", "iterator_valid"):
        if is_loader(params.get(name)):
            params[name] = SeededLoader(params[name], seed)
    ordered = {"iterator_train__sampler", "iterator_train__batch_sampler"} & params.keys()
    if not ordered and is_loader(net_params.get("iterator_train", torch.utils.data.DataLoader)):
        params.setdefault("iterator_train__shuffle", True)
    return params


def validation_batch(numbers_per_row, batch_size):
    """Return the number of rows in a batch of validation: many where a row is little work."""
    return max(batch_size, min(VALIDATION_NUMBERS // numbers_per_row, VALIDATION_ROWS))


def weights_dtype(module):
    """Return the dtype of a module's weights, and so of its rows."""
    return next((w.dtype for w in module.parameters() if w.is_floating_point()), torch.float32)


def home(iterator, device):
    """Return the place of an iterator's rows: the device, or the CPU for other iterators."""
    ours = isinstance(iterator, type) and issubclass(iterator, RowBatches)
    return device if ours else "cpu"
