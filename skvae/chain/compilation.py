"""Compilation of the recursions.

numba's cache of a function is renewed when the function's own file changes, and only then. So every
compiled function calls compiled functions of its own file only.
"""

import inspect

import numba
from numba.extending import overload

# Sums may be reordered, so that they are vectorised; infinities and NaN keep their meaning.
_OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}
_FOR_C = {"error_model": _OPTIONS["error_model"], "fastmath": _OPTIONS["fastmath"]}


def compiled(function):
    """Return the function compiled on its first call, from the cache if there is one."""
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError:  # no folder for a cache can be written to: each process compiles anew
        return numba.njit(**_OPTIONS)(function)


def address_of(function, signature):
    """Return the address of the function, compiled now for C, from the cache if there is one.

    A compiled function that calls an address does not contain the code that it calls.
    """
    try:
        return numba.cfunc(signature, cache=True, **_FOR_C)(function).address
    except RuntimeError:
        return numba.cfunc(signature, **_FOR_C)(function).address


def inlined(function):
    """Return the function as a part of its callers: a call costs as much as the work.

    It is analysed again in each place; see :func:`shared` for functions of many places.
    """
    return numba.njit(inline="always", **_OPTIONS)(function)


def shared(function):
    """Return the function as a part of its callers, analysed once for all of them.

    LLVM makes it a part. An argument that is a Python integer in the source would be a constant of
    its type, and every value would have a function of its own: use NumPy's integers.
    """
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def within(function):
    """Return the function for compiled functions of its file alone, compiled with them.

    It has no entry from Python and no cache of its own; LLVM decides whether it is inlined.
    """
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, **_OPTIONS)(function)


def by_form(form, functions):
    """Return a function that compiled functions call, one of several by its arguments' types.

    Parameters
    ----------
    form : callable
        Given the numba types of the arguments, it returns a key of ``functions``.
    functions : dict
        Python functions with the same arguments; the one that is chosen is compiled in.
    """

    def choose(*types):
        return functions[form(*types)]

    def stub(*_):
        raise TypeError("only compiled functions can call this function")

    choose.__signature__ = inspect.signature(next(iter(functions.values())))
    overload(stub, jit_options=_OPTIONS)(choose)
    return stub
