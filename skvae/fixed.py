"""Parameters that keep their initial values while a model learns the others.

``fixed`` is a name, several names, or a dict from names to the states (or components) that are
fixed. In the code it is a dict from each name to a mask: an array of bool, one entry a state.
"""

from numbers import Integral

import numpy as np


def check_fixed(fixed, names, n_components, shared=(), noun="state"):
    """Return the masks of fixed parameters, or None if none is fixed.

    Parameters
    ----------
    fixed : str, sequence of str, or dict of str to sequence of int
        Names, or the states of each name.
    names : sequence of str
        The names that there are.
    n_components : int
        The number of states.
    shared : sequence of str
        The names of parameters that all states share, which cannot be fixed for some states alone.
    noun : {'state', 'component'}, default='state'
        The word for them, for messages.

    Raises
    ------
    ValueError
        A name or a state does not exist.
    """
    if isinstance(fixed, dict):
        items = fixed.items()
    else:
        listed = (fixed,) if isinstance(fixed, str) else fixed
        several = isinstance(listed, list | tuple | set | frozenset | np.ndarray)
        if not several or getattr(listed, "ndim", 1) != 1:
            raise ValueError(f"fixed={fixed!r}: {_rule(names, noun)}")
        items = [(name, None) for name in listed]
    masks = {}
    for name, states in items:
        if not isinstance(name, str) or name not in names:
            raise ValueError(f"fixed has {name!r}: {_rule(names, noun)}")
        mask = _mask(name, states, n_components, noun)
        if name in shared and not mask.all():
            raise ValueError(
                f"fixed[{name!r}]={states!r}: all share the {name}, so that they can only be fixed "
                f"as a whole: fixed=({name!r},)"
            )
        if mask.any():
            masks[name] = mask
    return masks or None


def _rule(names, noun):
    listed = ", ".join(map(repr, names))
    return f"must be names among {listed}, or a dict from names to lists of {noun}s"


def _mask(name, states, n_components, noun):
    if states is None:
        return np.ones(n_components, dtype=bool)
    mask = np.zeros(n_components, dtype=bool)
    try:
        listed = list(states)
    except TypeError:
        listed = [None]
    for state in listed:
        whole = isinstance(state, Integral) and not isinstance(state, bool | np.bool_)
        if not whole or not 0 <= state < n_components:
            raise ValueError(
                f"fixed[{name!r}]={states!r}: must be a list of integers from 0 to "
                f"{n_components - 1}, the {noun}s whose {name} are fixed"
            )
        mask[state] = True
    return mask


def fixed_in_order(fixed, order):
    """Return fixed parameters, of which a dict names the states, in another order."""
    if not isinstance(fixed, dict):
        return fixed
    place = np.argsort(order)
    return {
        name: states if states is None else sorted(place[list(states)].tolist())
        for name, states in fixed.items()
    }


def check_order(order, n_components, name="state"):
    """Return an order as an array; raise ValueError unless it has each state once."""
    try:
        listed = np.asarray(order).tolist()
    except (RuntimeError, TypeError, ValueError):  # a tensor with gradients, ragged lists
        listed = None
    whole = isinstance(listed, list) and all(type(each) is int for each in listed)
    if not (whole and sorted(listed) == list(range(n_components))):
        raise ValueError(
            f"order={order!r}: must have each {name} from 0 to {n_components - 1} once"
        )
    return np.array(listed, dtype=np.intp)


def no_value_to_keep(name, parameter):
    """Return the ValueError for a fixed parameter without an initial value."""
    return ValueError(
        f"fixed has {name!r}, and there is no initial value to keep: give {parameter}, or continue "
        "a fitted model with warm_start=True"
    )


def shares(counts, allowed, old, mask):
    """Return probabilities that maximise Σ count ln p, of which some keep their values.

    The free ones are in proportion to their counts and share the rest.

    Parameters
    ----------
    counts : ndarray of shape (K,)
        Expected counts, and those of a prior.
    allowed : ndarray of bool, shape (K,)
        Which probabilities may be positive.
    old : ndarray of shape (K,)
        The present probabilities.
    mask : ndarray of bool, shape (K,)
        Those that are fixed.
    """
    free = allowed & ~mask
    rest = max(1.0 - old[mask].sum(), 0.0)
    part = np.where(free, counts, 0.0)
    if not part.sum() > 0:
        part = np.where(free, old, 0.0)
    total = part.sum()
    return np.where(mask, old, rest * (part / (total if total > 0 else 1.0)))


def share_rest(new, old, mask):
    """Return probabilities with the fixed ones of ``old``; the others of ``new`` share the rest."""
    return shares(new, new > 0, old, mask)


def n_fixed_shares(allowed, mask):
    """Return how many free parameters probabilities lose by those that are fixed."""
    n_allowed = int(allowed.sum())
    return n_allowed - 1 - max(n_allowed - int((mask & allowed).sum()) - 1, 0)


class KeptCoordinates:
    """Coordinates in which acceleration extrapolates; fixed parameters keep their values.

    Parameters
    ----------
    coordinates : object
        Coordinates of all parameters, with ``pack`` and ``unpack``.
    keep : callable
        ``parameters → parameters`` with the fixed values.
    """

    def __init__(self, coordinates, keep):
        self._unpack = coordinates.unpack
        self._keep = keep
        self.pack = coordinates.pack

    def unpack(self, vector):
        """Return the parameters of a vector, with the fixed values."""
        return self._keep(self._unpack(vector))
