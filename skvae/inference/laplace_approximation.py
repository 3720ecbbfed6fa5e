r"""Laplace's approximation: a Gaussian at the maximum of a log density, with its curvature.

.. math:: q(\theta) = N(\theta \mid \hat\theta, H^{-1}), \qquad
          H = -\nabla^2 \ln p(\hat\theta)

(MacKay, Information Theory, Inference, and Learning Algorithms, 2003, chapter 27). The Hessian H
comes from differences of gradients. Where a prior has the precision P, data often add to it along a
few directions only: :math:`H \approx P + P V \,\mathrm{diag}(\lambda)\, V^T P` with the leading
solutions of :math:`(H - P) v = \lambda P v`, found by a randomised method (Saibaba, Lee &
Kitanidis, Numer. Linear Algebra Appl. 23, 2016), needs three products with H for each
direction instead of one for each parameter.
"""

from numbers import Integral

import numpy as np
from scipy.sparse.linalg import LinearOperator, cg
from sklearn.utils import check_random_state

from skvae.inference.approximation import (
    GaussianApproximation,
    LowRankCovariance,
    Precision,
    Units,
)
from skvae.inference.maximum import climb, exact_covariance, newton
from skvae.inference.target import LogDensity, check_start
from skvae.validation import check_choice, check_number

_EXTRA = 10  # random directions beyond the rank
_RESIDUAL, _MAX_CG = 1e-2, 50  # of the conjugate gradients of a Newton step
_LEAST = -0.999999999999  # λ, at and below which the curvature is not that of a maximum
_PASSES = 2  # of the randomised method; one leaves the smallest values too small by a third
_STEP = 1e-5  # of a difference of gradients, in standard deviations of the prior


def laplace(
    log_density, start, *, hessian="exact", rank=None, prior_precision=None, random_state=None
):
    """Return Laplace's approximation of a density: a Gaussian at its maximum.

    Parameters
    ----------
    log_density : callable
        ``theta → (value, gradient)``: the log density in nats, up to a constant, and its gradient
        of shape (n,), for theta an array of shape (n,). It is defined for all real vectors.
    start : array-like of shape (n,)
        Where the search for the maximum starts. The density is positive there.
    hessian : {'exact', 'low_rank'} or callable, default='exact'
        'exact' takes 2 n gradients and a factor of an n × n matrix; both are repeated after a
        Newton step that gained much. 'low_rank' takes about 6 rank gradients each time, and
        computes how far the data, along ``rank`` leading directions, exceed ``prior_precision``.
        A callable is ``theta → matrix (n, n)``, the Hessian of ``log_density``.
    rank : int, default=None
        The number of directions of 'low_rank'.
    prior_precision : array-like of shape (n,) or (n, n), or sparse matrix, default=None
        The precision (inverse covariance) of the Gaussian prior in ``log_density``: inverse
        variances, or a matrix. 'low_rank' needs it; otherwise it only gives the search its units.
    random_state : int, RandomState instance or None, default=None
        The source of random directions, and of the draws of the result.

    Returns
    -------
    approximation : GaussianApproximation
        Its ``mean`` is the maximum; ``khat`` shows whether the Gaussian can be trusted.

    Raises
    ------
    ValueError
        A parameter is not usable, the density or its gradient is not finite, the gradient is
        wrong, or the Hessian at the maximum is not positive definite.

    See Also
    --------
    gaussian_vi : A Gaussian near the mean instead of the maximum.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.inference import laplace
    >>> def log_gamma(theta):  # the logarithm of a gamma variable of shape 50
    ...     return 50 * theta[0] - np.exp(theta[0]), np.array([50 - np.exp(theta[0])])
    >>> approximation = laplace(log_gamma, [0.0], random_state=0)
    >>> approximation.mean.round(3), approximation.standard_deviation.round(3)
    (array([3.912]), array([0.141]))
    >>> round(approximation.log_evidence.value, 1)  # ln Γ(50) = 144.57
    144.6
    """
    start = check_start(start)
    n = len(start)
    if not callable(hessian):
        check_choice("hessian", hessian, ("exact", "low_rank"))
    low_rank = hessian == "low_rank"
    if rank is not None:
        if not low_rank:
            raise ValueError(f"rank={rank!r}: must be None unless hessian='low_rank'")
        check_number("rank", rank, Integral, 1, n)
    prior = None if prior_precision is None else Precision(prior_precision, n)
    if low_rank and (rank is None or prior is None):
        name = "rank" if rank is None else "prior_precision"
        raise ValueError(f"{name}=None: must be given with hessian='low_rank'")
    rng = check_random_state(random_state)
    seed = int(rng.randint(2**31))
    target = LogDensity(log_density, n)
    target.check_gradient(start, rng)
    scale = target.units(start) if prior is None else prior.scale()
    mode = climb(target, start, Units(scale) if prior is None else prior)

    def form_at(theta):
        if low_rank:
            return _leading_directions(target, theta, prior, int(rank), seed)
        if callable(hessian):
            return exact_covariance(-_given(hessian, theta))
        return exact_covariance(target.hessian(theta, scale))

    def solve(theta, gradient, form):
        if low_rank:
            return _solved(target, theta, gradient, prior, form)
        return form.product(gradient)

    mode, form = newton(target, mode, form_at, solve)
    return GaussianApproximation(target, mode, form, seed)


def _given(hessian, theta):
    """Return the Hessian of a function of the user, checked."""
    found = np.asarray(hessian(theta.copy()), dtype=np.float64)
    if found.shape != (len(theta), len(theta)) or not np.isfinite(found).all():
        raise ValueError(
            f"hessian: must return a finite matrix of shape ({len(theta)}, {len(theta)}), found "
            f"the shape {found.shape}"
        )
    return (found + found.T) / 2


def _solved(target, theta, gradient, prior, form):
    """Return H⁻¹ times the gradient by conjugate gradients; ``form`` is their preconditioner."""

    def product(vector):
        step = _STEP / np.sqrt(vector @ prior.product(vector))
        return target.hessian_product(theta, vector, step)

    n, first = len(theta), form.product(gradient)
    operator = LinearOperator((n, n), matvec=product, dtype=np.float64)
    preconditioner = LinearOperator((n, n), matvec=form.product, dtype=np.float64)
    step, _ = cg(operator, gradient, x0=first, rtol=_RESIDUAL, maxiter=_MAX_CG, M=preconditioner)
    return step if gradient @ step > 0 else first


def _leading_directions(target, theta, prior, rank, seed):
    """Return the LowRankCovariance: leading solutions of (H − P) v = λ P v.

    In coordinates w, in which the prior is the standard normal distribution, these are ordinary
    eigenvectors.
    """
    n = len(theta)

    def products(w):
        """Return H − P times vectors (n, s), by differences over a prior's unit length."""
        out = np.empty_like(w)
        for column, vector in enumerate(prior.unwhitened(w).T):
            step = _STEP / np.linalg.norm(w[:, column])
            out[:, column] = target.hessian_product(theta, vector, step)
        return prior.whitened_gradient(out) - w

    basis = np.random.RandomState(seed).normal(size=(n, min(n, rank + _EXTRA)))
    for _ in range(_PASSES):
        basis, _ = np.linalg.qr(products(basis))
    small = basis.T @ products(basis)
    values, vectors = np.linalg.eigh((small + small.T) / 2)
    # ln(1 + λ) is the change of ln variance along a direction.
    leading = np.argsort(-np.abs(np.log1p(np.maximum(values, _LEAST))))[:rank]
    directions = prior.unwhitened(basis @ vectors[:, leading])
    return LowRankCovariance(prior, values[leading], directions)
