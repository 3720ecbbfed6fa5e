r"""Gaussian variational inference with fixed draws, and the linear response of its mean.

.. math:: \mathrm{ELBO}(m, L) \approx \frac{1}{S} \sum_s \ln p(m + L z_s) + \ln |L|

The draws :math:`z_s` are drawn once, so that the objective is an ordinary smooth function, which
L-BFGS maximises, and whose maximum does not depend on a learning rate (Giordano, Ingram &
Broderick, J. Mach. Learn. Res. 25, 2024). The draws come in pairs z and −z, and their second
moments are set to those of the standard normal distribution: to the identity where there are enough
draws, to unit variances otherwise. So a Gaussian target is exact.

A diagonal L takes no notice of correlations, and its standard deviations are too small. The
derivative of m with respect to a tilt :math:`t^T \theta` of the log density is the covariance of an
exact posterior, and a better one than :math:`L L^T` otherwise: **linear response** (Giordano,
Broderick & Jordan, NIPS 2015; J. Mach. Learn. Res. 19, 2018). It is the block of m in the inverse
Hessian of the negative objective.
"""

from numbers import Integral

import numpy as np
from sklearn.utils import check_random_state

from skvae.inference.approximation import FactorCovariance, GaussianApproximation, Units
from skvae.inference.maximum import climb, exact_covariance, newton
from skvae.inference.target import LogDensity, check_start
from skvae.validation import check_choice, check_number


def gaussian_vi(
    log_density,
    start,
    *,
    covariance="mean_field",
    n_draws=30,
    linear_response=True,
    random_state=None,
):
    """Return the Gaussian that maximises the evidence lower bound of a density.

    Parameters
    ----------
    log_density : callable
        ``theta → (value, gradient)``: the log density in nats, up to a constant, and its gradient
        of shape (n,), for theta an array of shape (n,). It is defined for all real vectors.
    start : array-like of shape (n,)
        The first mean. The density is positive there.
    covariance : {'mean_field', 'full'}, default='mean_field'
        The form of the covariance: 'mean_field' has a variance for each parameter, 'full' is any
        matrix, which suits some dozens of parameters.
    n_draws : int, default=30
        The number of draws, which stand for the expectation; an odd number is rounded up. 'full'
        needs at least 2 n.
    linear_response : bool, default=True
        Whether the covariance of the result is that of linear response, which has the correlations
        and the right size of the variances also with 'mean_field'. Each Hessian takes 4 n ·
        n_draws gradients ('mean_field'). False gives the covariance of the bound.
    random_state : int, RandomState instance or None, default=None
        The source of the draws, and of the draws of the result.

    Returns
    -------
    approximation : GaussianApproximation
        Its ``khat`` shows whether the Gaussian can be trusted.

    Raises
    ------
    ValueError
        A parameter is not usable, the density or its gradient is not finite, the gradient is
        wrong, or the bound has no maximum.

    See Also
    --------
    laplace : A Gaussian at the maximum, for thousands of parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.inference import gaussian_vi
    >>> precision = np.array([[2.0, 1.2], [1.2, 1.0]])
    >>> def log_density(theta):
    ...     return -theta @ precision @ theta / 2, -precision @ theta
    >>> gaussian_vi(log_density, [1.0, 1.0], random_state=0).covariance.round(3)
    array([[ 1.786, -2.143],
           [-2.143,  3.571]])
    >>> mean_field = gaussian_vi(log_density, [1.0, 1.0], linear_response=False, random_state=0)
    >>> mean_field.standard_deviation.round(2)
    array([0.71, 1.  ])
    """
    start = check_start(start)
    n = len(start)
    check_choice("covariance", covariance, ("mean_field", "full"))
    check_number("n_draws", n_draws, Integral, 2)
    check_number("linear_response", linear_response, Integral, 0, 1, flags=True)
    if covariance == "full" and n_draws < 2 * n:
        raise ValueError(
            f"n_draws={n_draws}: must be >= {2 * n}, twice the number of parameters, with "
            "covariance='full'"
        )
    rng = check_random_state(random_state)
    seed = int(rng.randint(2**31))
    target = LogDensity(log_density, n)
    target.check_gradient(start, rng)
    units = target.units(start)
    form = MeanField(n) if covariance == "mean_field" else Full(n)
    noise = moment_matched(n, int(n_draws) + int(n_draws) % 2, rng)
    bound = LogDensity(Bound(target, start, units, form, noise), form.size)
    ones = np.ones(form.size)
    found = climb(bound, np.zeros(form.size), Units(ones))
    if linear_response:
        found, inverse = newton(
            bound,
            found,
            lambda parameters: exact_covariance(bound.hessian(parameters, ones)),
            lambda _parameters, gradient, covariance: covariance.product(gradient),
        )
        response = inverse.block(n) * np.outer(units, units)
        result = FactorCovariance(np.linalg.cholesky(response))
    else:
        result = FactorCovariance(form.factor(found, units))
    return GaussianApproximation(target, start + units * found[:n], result, seed)


class Bound:
    """The evidence lower bound with fixed draws, as a log density of the variational parameters.

    Parameters
    ----------
    target : LogDensity
        The log density.
    origin, units : ndarray of shape (n,)
        The mean is origin + units · (first n parameters), and rows of L are in these units.
    form : MeanField or Full
        The form of L.
    noise : ndarray of shape (n_draws, n)
        The draws z.
    """

    def __init__(self, target, origin, units, form, noise):
        self._target = target
        self._origin = origin
        self._units = units
        self._form = form
        self._noise = noise

    def __call__(self, parameters):
        n, n_draws = len(self._origin), len(self._noise)
        mean = self._origin + self._units * parameters[:n]
        points = mean + self._form.scaled(parameters, self._noise) * self._units
        total, gradients = 0.0, np.empty_like(points)
        for point, row in zip(points, gradients, strict=True):
            value, row[:] = self._target(point)
            total += value
        gradients *= self._units / n_draws
        gradient = np.concatenate(
            [gradients.sum(axis=0), self._form.gradient(parameters, gradients, self._noise)]
        )
        return total / n_draws + self._form.log_determinant(parameters), gradient


class MeanField:
    """A diagonal L; its parameters are logarithms of the diagonal.

    Parameters
    ----------
    n : int
        The number of parameters of the density.
    """

    def __init__(self, n):
        self._n = n
        self.size = 2 * n

    def scaled(self, parameters, noise):
        """Return L z of each draw, (n_draws, n)."""
        return noise * np.exp(parameters[self._n :])

    def log_determinant(self, parameters):
        """Return ln |L|."""
        return float(parameters[self._n :].sum())

    def gradient(self, parameters, gradients, noise):
        """Return the gradient of the bound by the parameters of L from those of each draw."""
        return (gradients * noise).sum(axis=0) * np.exp(parameters[self._n :]) + 1.0

    def factor(self, parameters, units):
        """Return the diagonal of L, (n,), in the units of the density's parameters."""
        return units * np.exp(parameters[self._n :])


class Full:
    """A triangular L; its parameters are the logarithms of its diagonal and the entries below it.

    Parameters
    ----------
    n : int
        The number of parameters of the density.
    """

    def __init__(self, n):
        self._n = n
        self._below = np.tril_indices(n, -1)
        self.size = 2 * n + len(self._below[0])

    def _matrix(self, parameters):
        matrix = np.diag(np.exp(parameters[self._n : 2 * self._n]))
        matrix[self._below] = parameters[2 * self._n :]
        return matrix

    def scaled(self, parameters, noise):
        """Return L z of each draw, (n_draws, n)."""
        return noise @ self._matrix(parameters).T

    def log_determinant(self, parameters):
        """Return ln |L|."""
        return float(parameters[self._n : 2 * self._n].sum())

    def gradient(self, parameters, gradients, noise):
        """Return the gradient of the bound by the parameters of L from those of each draw."""
        outer = gradients.T @ noise
        diagonal = outer.diagonal() * np.exp(parameters[self._n : 2 * self._n]) + 1.0
        return np.concatenate([diagonal, outer[self._below]])

    def factor(self, parameters, units):
        """Return L, (n, n), in the units of the density's parameters."""
        return units[:, None] * self._matrix(parameters)


def moment_matched(n, n_draws, rng):
    """Return standard normal draws (n_draws, n) in pairs z, −z, with matched second moments.

    Their second moments are the identity if n_draws ≥ 2 n; otherwise each variance is one.
    """
    half = rng.normal(size=(n_draws // 2, n))
    if len(half) >= n:
        values, vectors = np.linalg.eigh(half.T @ half / len(half))
        half = half @ (vectors / np.sqrt(values)) @ vectors.T
    else:
        half /= np.sqrt(np.mean(half**2, axis=0))
    return np.concatenate([half, -half])
