"""A fitted model with its states in another order."""

from copy import deepcopy

import numpy as np
from sklearn.base import clone

from skvae.emissions.base import Emission
from skvae.fixed import fixed_in_order

# Constructor parameters whose axes are states, where they are arrays.
_PER_STATE = ("startprob_init", "transmat_init", "startprob_prior", "transmat_prior")
_OF_GAUSSIAN = ("means_init", "covariances_init")


def relabelled(model, order):
    """Return a copy of a fitted model whose state i is ``order[i]`` of the model.

    Constructor parameters with an entry for each state are in the new order too, so that a fit or
    a batch that continues has the same priors and structure as that of the model.
    """
    parameters = model._parameters()
    copied = deepcopy(model)
    vars(copied).update(
        startprob_=parameters.startprob[order],
        transmat_=_in_order(parameters.transmat, order),
        _start_allowed=model._start_allowed[order],
        _allowed=_in_order(model._allowed, order),
    )
    fitted = copied.emission_
    fitted.set_params(**_first_values(fitted.get_params(), order))
    fitted.store(parameters.emission.reordered(order))
    for name in _PER_STATE:
        setattr(copied, name, _in_order(getattr(model, name), order))
    if model._last is not None:
        copied._last = {
            name: _in_order(value, order, as_list=True) for name, value in model._last.items()
        }
    copied.fixed = fixed_in_order(model.fixed, order)
    copied._start_in_order(order)
    if isinstance(model.emission, Emission):
        copied.emission = clone(model.emission)
        copied.emission.set_params(**_first_values(model.emission.get_params(), order))
    else:
        own = {name: getattr(model, name) for name in ("covariance_type", *_OF_GAUSSIAN)}
        copied.set_params(**_first_values(own, order))
    return copied


def _in_order(value, order, as_list=False):
    """Return a number, a row (K,) or a matrix (K, K) of states in another order."""
    array = np.asarray(value)
    if array.ndim == 0:  # None, or one number for all
        return value
    array = array[order] if array.ndim == 1 else array[np.ix_(order, order)]
    return array.tolist() if as_list else array


def _first_values(params, order):
    """Return the parameters that are first values of each state, in another order."""
    found = {}
    for name, value in params.items():
        kind = f"{name.rpartition('__')[0]}__covariance_type".removeprefix("__")
        tied = name.endswith("covariances_init") and params.get(kind) == "tied"
        if name.endswith("_init") and np.ndim(value) and not tied:
            found[name] = np.asarray(value)[order]
    return found
