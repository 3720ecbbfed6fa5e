r"""A log density with its gradient: checked values, and its Hessian by differences.

A column of the Hessian is a central difference of gradients,
:math:`H e_j \approx (g(\theta + h e_j) - g(\theta - h e_j)) / 2h`. Its error is of order
:math:`h^2` from truncation and :math:`\epsilon / h` from rounding. A step of a thousandth of the
standard deviation that the curvature itself suggests keeps both far below a percent, in any units.
"""

import numpy as np

_FIRST_STEP = 6e-6  # about the cube root of the rounding error of float64
_STEP = 1e-3  # of differences of gradients, in standard deviations given the other parameters
_FACTOR = 30.0  # between steps, above which a difference is taken again
_WRONG_GRADIENT = 1e-5
_ASYMMETRY = 1e-3
_N_DIRECTIONS = 3


class LogDensity:
    """A log density on the real vectors, with checked values.

    Parameters
    ----------
    function : callable
        ``theta → (value in nats, gradient)``.
    n_parameters : int
        The length of theta.

    Attributes
    ----------
    n_calls : int
        How often the function was called.
    """

    def __init__(self, function, n_parameters):
        if not callable(function):
            raise ValueError(
                f"log_density={function!r}: must be a function of theta that returns the pair "
                "(value in nats, gradient)"
            )
        self._function = function
        self.n_parameters = n_parameters
        self.n_calls = 0

    def __call__(self, theta):
        """Return (value, gradient), which may not be finite."""
        self.n_calls += 1
        # A search may try points where the function overflows; its values are checked instead.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            result = self._function(theta.copy())  # the function may write to its argument
        try:
            value, gradient = result
            value, gradient = float(value), np.array(gradient, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"log_density: must return the pair (value in nats, gradient), found "
                f"{type(result).__name__}"
            ) from error
        if gradient.shape != theta.shape:
            raise ValueError(
                f"log_density: its gradient has the shape {gradient.shape}, that of theta is "
                f"{theta.shape}"
            )
        return value, gradient

    def value(self, theta):
        """Return the value: −inf where the density is zero; raise ValueError if it is NaN."""
        value = self(theta)[0]
        if np.isnan(value) or value == np.inf:
            raise ValueError(f"log_density: is {value} at {_shown(theta)}: must be below inf")
        return value

    def gradient(self, theta):
        """Return the gradient; raise ValueError if it is not finite."""
        return self.finite(theta)[1]

    def finite(self, theta):
        """Return (value, gradient); raise ValueError unless both are finite."""
        value, gradient = self(theta)
        if not np.isfinite(value):
            raise ValueError(
                f"log_density: is {value} at {_shown(theta)}: must be finite there. Use parameters "
                "that may be any real number, such as the logarithm of a scale, and a start where "
                "the density is positive"
            )
        if not np.isfinite(gradient).all():
            j = int(np.flatnonzero(~np.isfinite(gradient))[0])
            raise ValueError(
                f"log_density: entry {j} of its gradient is {gradient[j]} at {_shown(theta)}: must "
                "be finite"
            )
        return value, gradient

    def check_gradient(self, theta, rng):
        """Raise ValueError unless the gradient is that of the value, along random directions."""
        _, gradient = self.finite(theta)
        for _ in range(_N_DIRECTIONS):
            direction = rng.choice([-1.0, 1.0], size=len(theta)) * np.maximum(np.abs(theta), 1.0)
            found = []
            for h in (_FIRST_STEP, _FIRST_STEP / 2):
                above, below = self(theta + h * direction)[0], self(theta - h * direction)[0]
                found.append((above - below) / (2 * h))
            if not np.isfinite(found).all():
                continue  # theta is near the edge of the support
            slope = gradient @ direction
            # The two steps differ by the error of truncation and of rounding.
            error = 10 * abs(found[0] - found[1]) + 1e-14 * abs(above) / _FIRST_STEP
            size = max(abs(slope), np.abs(gradient * direction).max())
            if abs(slope - found[1]) > _WRONG_GRADIENT * size + error:
                raise ValueError(
                    f"log_density: its gradient is wrong. Along a direction its slope at start is "
                    f"{slope:.6g} by the gradient, and {found[1]:.6g} by differences of values"
                )

    def units(self, theta):
        """Return a size for each parameter: its standard deviation given the others, (n,).

        Where the log density is not concave there, it is the size of the entry itself, or one.
        """
        units = np.maximum(np.abs(theta), 1.0)
        for j in range(len(theta)):
            row, _ = self.hessian_row(theta, j, units[j])
            if row[j] > 0:
                units[j] = 1.0 / np.sqrt(row[j])
        return units

    def hessian(self, theta, scale):
        """Return the Hessian of the negative log density, (n, n).

        Parameters
        ----------
        theta : ndarray of shape (n,)
            Where.
        scale : ndarray of shape (n,)
            A guess of each parameter's size, for the first step.
        """
        hessian = np.empty((len(theta), len(theta)))
        for j in range(len(theta)):
            hessian[j], _ = self.hessian_row(theta, j, scale[j])
        size = np.sqrt(np.abs(np.diagonal(hessian)))
        size = np.maximum(np.outer(size, size), np.finfo(float).tiny)
        asymmetry = np.abs(hessian - hessian.T) / size
        if asymmetry.max(initial=0.0) > _ASYMMETRY:
            i, j = np.unravel_index(np.argmax(asymmetry), asymmetry.shape)
            raise ValueError(
                f"log_density: its gradient is wrong, or not smooth. The derivative of entry {i} "
                f"by parameter {j} is {-hessian[j, i]:.6g}, and that of entry {j} by parameter "
                f"{i} is {-hessian[i, j]:.6g}; they must be equal"
            )
        return (hessian + hessian.T) / 2

    def hessian_row(self, theta, j, scale):
        """Return row j of the Hessian of the negative log density, and a step for parameter j."""
        step = _FIRST_STEP * max(abs(theta[j]), scale)
        for _ in range(3):
            direction = np.zeros_like(theta)
            direction[j] = step
            row = self.hessian_product(theta, direction, 1.0) / step
            curvature = abs(row[j])
            better = _STEP / np.sqrt(curvature) if curvature > 0 else step
            if step / _FACTOR <= better <= step * _FACTOR:
                break
            step = better
        return row, step

    def hessian_product(self, theta, direction, step):
        """Return the Hessian of the negative log density times a direction, by differences."""
        shift = step * direction
        above, below = self.gradient(theta + shift), self.gradient(theta - shift)
        return (below - above) / (2 * step)


def check_start(start):
    """Return start as a vector of float64; raise ValueError if it is not one."""
    try:
        theta = np.array(start, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"start={start!r}: must be a vector of finite numbers") from error
    if theta.ndim != 1 or not theta.size or not np.isfinite(theta).all():
        raise ValueError(
            f"start: must be a vector of finite numbers, found the shape {theta.shape}"
            if np.isfinite(theta).all()
            else "start: must be a vector of finite numbers, found NaN or inf"
        )
    return theta


def _shown(theta):
    """Return a short text of a point."""
    with np.printoptions(threshold=6, edgeitems=2, precision=4):
        return f"theta = {theta}"
