"""How the recursions are compiled.

A cache knows when the file of a function has changed, not when a function of another file has that
was compiled into it. So every compiled function calls compiled functions of its own file only.
"""

import numba

# Sums may be reordered, so that they are vectorised; infinities and NaN keep their meaning.
_OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}


def compiled(function):
    """Return the function compiled on its first call, from the cache if there is one."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # nowhere to write a cache to: compiled anew in each process
        return numba.njit(**_OPTIONS)(function)


def inlined(function):
    """Return the function as a part of those that call it: a call costs as much as the work."""
    return numba.njit(inline="always", **_OPTIONS)(function)
