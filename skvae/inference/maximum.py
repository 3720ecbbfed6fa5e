"""The maximum of a log density: a search by L-BFGS, Newton steps at its end, and the curvature."""

import numpy as np
from scipy.linalg import lapack
from scipy.optimize import minimize

from skvae.inference.approximation import FactorCovariance

_RESTARTS = 20  # of L-BFGS after a trial point where the density is zero
_MAX_ITER = 500  # of L-BFGS; where it is slow, Newton steps are better
_NEAR = 1e-10  # nats that a Newton step still promises at the end
_MOVED = 1e-6  # nats after which the Hessian is computed again
_MAX_NEWTON = 50
_HALVINGS = 30


def climb(target, start, units):
    """Return a point nearer to the maximum by L-BFGS.

    A trial point where the density is zero or not a number is no error: the search goes on from
    the best point so far, by a shorter step.

    Parameters
    ----------
    target : LogDensity
        The log density.
    start : ndarray of shape (n,)
        The first point.
    units : Units or Precision
        Coordinates in which the density is about as wide in every direction.
    """
    best = [*target.finite(start), start]
    origin, length = start, 1.0

    def loss(u):
        theta = origin + length * units.unwhitened(u[:, None])[:, 0]
        value, gradient = target(theta)
        if not (np.isfinite(value) and np.isfinite(gradient).all()):
            raise _Outside
        if value > best[0]:
            best[:] = value, gradient, theta
        return -value, -length * units.whitened_gradient(gradient[:, None])[:, 0]

    options = {"maxiter": _MAX_ITER, "maxcor": 30, "ftol": 1e-13, "gtol": 1e-8}
    for _ in range(_RESTARTS):
        before, origin = best[0], best[2]
        try:
            minimize(loss, np.zeros(len(start)), jac=True, method="L-BFGS-B", options=options)
            break
        except _Outside:
            if best[0] <= before:
                length /= 10.0
    return best[2]


class _Outside(Exception):
    """A trial point where the density is zero or not a number."""


def newton(target, theta, form_at, solve):
    """Return the maximum and the covariance there, by Newton steps.

    L-BFGS mostly ends within some thousandths of a standard deviation, and a few steps with one
    Hessian do the rest. After a step that gained more, the Hessian is computed again.

    Parameters
    ----------
    target : LogDensity
        The log density.
    theta : ndarray of shape (n,)
        A point near the maximum.
    form_at : callable
        ``theta → FactorCovariance or LowRankCovariance``, the inverse of the negative Hessian.
    solve : callable
        ``(theta, gradient, covariance) → step``, the inverse of the negative Hessian there times
        the gradient.
    """
    form, moved = form_at(theta), 0.0
    value, gradient = target.finite(theta)
    for _ in range(_MAX_NEWTON):
        step = solve(theta, gradient, form)
        gain = 0.5 * float(gradient @ step)
        if gain <= max(_NEAR, 4 * np.finfo(float).eps * abs(value)):
            break
        length, before = 1.0, value
        for _ in range(_HALVINGS):
            trial = theta + length * step
            found, its_gradient = target(trial)
            if found > value and np.isfinite(its_gradient).all():
                break
            length /= 2
        else:
            break  # the gain is smaller than rounding of the value
        theta, value, gradient = trial, found, its_gradient
        moved += value - before
        if value - before > _MOVED:
            form, moved = form_at(theta), 0.0
    else:
        raise ValueError(
            f"log_density: no maximum was found. After {_MAX_NEWTON} Newton steps a further one "
            f"would still gain {gain:.3g} nats; the density may be unbounded or not smooth. Give "
            "another start, or a proper prior"
        )
    form = form if moved <= _MOVED else form_at(theta)
    form.check_maximum()
    return theta, form


def exact_covariance(hessian):
    """Return the FactorCovariance of a Hessian (n, n) of the negative log density.

    Where it is not positive definite, which is possible only away from the maximum, the absolute
    values of its eigenvalues replace them: along such a direction a Newton step would go down.
    """
    factor, info = lapack.dpotrf(hessian, lower=1, clean=1)
    if not info:
        inverse, _ = lapack.dtrtri(factor, lower=1)
        return FactorCovariance(inverse.T)  # with H = L Lᵀ the covariance is L⁻ᵀ L⁻¹
    values, vectors = np.linalg.eigh(hessian)
    size = np.maximum(np.abs(values), np.finfo(float).eps * np.abs(values).max())
    least = float(values[0]), int(np.argmax(np.abs(vectors[:, 0])))
    return FactorCovariance(vectors / np.sqrt(size), least)
