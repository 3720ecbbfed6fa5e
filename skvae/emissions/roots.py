"""Roots of many functions of one variable at once."""

import numpy as np

_STEPS = 200  # more than any monotone function needs: every second step halves the bracket at worst
_ULPS = 4.0  # of a root, at which the search for it ends


def bracketed_root(function, low, high):
    """Return the root of each of many functions in [low, high], or the nearer end without one.

    Chandrupatla's method (Advances in Engineering Software 28, 1997): inverse quadratic
    interpolation where it is safe, else bisection. The functions are monotone in the direction that
    their ends show; if both ends have one sign, the end with the smaller absolute value is
    returned, which is the constrained maximum if the function is the slope of a concave one.

    Parameters
    ----------
    function : callable
        ``(x, which) → values``: the functions of the flat indices ``which`` at x.
    low, high : ndarray of equal shape
        The ends.

    Returns
    -------
    root : ndarray of the same shape
        To within a few units of the last place.
    """
    shape = np.shape(low)
    x1, x2 = (np.array(end, dtype=np.float64).ravel() for end in (low, high))
    every = np.arange(len(x1))
    f1, f2 = function(x1, every), function(x2, every)
    root = np.where(np.abs(f1) <= np.abs(f2), x1, x2)
    which = every[(np.sign(f1) * np.sign(f2)) < 0]
    x1, x2, f1, f2 = (part[which] for part in (x1, x2, f1, f2))
    x3, f3, share = x1, f1, np.full(len(which), 0.5)
    for _ in range(_STEPS):
        if not len(which):
            break
        x = x1 + share * (x2 - x1)
        f = function(x, which)
        same = np.sign(f) == np.sign(f1)
        x3, f3 = np.where(same, x1, x2), np.where(same, f1, f2)
        x2, f2 = np.where(same, x2, x1), np.where(same, f2, f1)
        x1, f1 = x, f
        best = np.where(np.abs(f1) < np.abs(f2), x1, x2)
        root[which] = best
        tolerance = _ULPS * np.finfo(np.float64).eps * np.maximum(np.abs(best), 1.0)
        width = np.abs(x2 - x1)
        going = (width > tolerance) & (f != 0)
        x1, x2, x3, f1, f2, f3 = (part[going] for part in (x1, x2, x3, f1, f2, f3))
        which = which[going]
        share = _next_share(x1, x2, x3, f1, f2, f3, (0.5 * tolerance / width)[going])
    return root.reshape(shape)


def _next_share(x1, x2, x3, f1, f2, f3, least):
    """Return the next point of each bracket, as a share of it."""
    xi, phi = (x1 - x2) / (x3 - x2), (f1 - f2) / (f3 - f2)
    safe = (1 - np.sqrt(1 - xi) < phi) & (phi < np.sqrt(xi))
    alpha = (x3 - x1) / (x2 - x1)
    with np.errstate(all="ignore"):
        share = f1 / (f1 - f2) * f3 / (f3 - f2) - alpha * f1 / (f3 - f1) * f2 / (f2 - f3)
    share = np.where(safe & np.isfinite(share), share, 0.5)
    return np.clip(share, least, 1 - least)
