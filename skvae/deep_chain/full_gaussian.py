r"""Numbers with Gaussian noise that is correlated between features.

With prepared rows :math:`x = (X - a) / u`, where a and u are the data's means and standard
deviations,

.. math:: \ln p(x \mid \mu) = - \tfrac12 |L^{-1} (x - \mu)|^2 - \ln |L| - \tfrac D2 \ln 2\pi,
          \qquad L L^T = \Sigma = R R^T + \sigma_{\min}^2 I,

where R is learned, lower triangular with a positive diagonal. Missing values are marginalised: the
density is that of the observed features, with their block of Σ.
"""

import numpy as np
import torch
from torch import nn

from skvae.columns import check_values
from skvae.neural.likelihoods import Likelihood
from skvae.neural.likelihoods.base import moments_of
from skvae.neural.likelihoods.gaussian import HALF_LOG_2PI, Gaussian

_LEAST_PIVOT = 1e-12  # of R Rᵀ, in units of the floor's square


class FullGaussian(Likelihood):
    """Numbers with Gaussian noise of any covariance, learned.

    Parameters
    ----------
    location : array-like of shape (n_features,)
        The data's means, in the units of X.
    units : array-like of shape (n_features,)
        The data's standard deviations, the units of prepared rows.
    min_scale : float, default=1e-3
        The floor of the standard deviation in every direction, in prepared rows.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.deep_chain.full_gaussian import FullGaussian
    >>> likelihood = FullGaussian.of_data(np.array([[1.0, 2.0], [3.0, 6.0]]))
    >>> likelihood.n_outputs, likelihood.covariance().shape
    (2, torch.Size([2, 2]))
    """

    name = "full_gaussian"
    rule = Gaussian.rule
    takes = ("covariance", "min_scale")

    def __init__(self, location, units, min_scale=1e-3):
        marginal = Gaussian(location, units, min_scale=min_scale)  # it checks the arguments
        n = marginal.n_features
        super().__init__(n, n, n)
        self.location, self.units = marginal.location, marginal.units
        self.min_scale = marginal.min_scale
        self.raw_factor = nn.Parameter(torch.zeros(n, n))

    @classmethod
    def of_data(cls, X, *, names=None, min_scale=1e-3):
        """Return the likelihood with the units of some rows; see :class:`Gaussian`."""
        check_values([X], names, cls.allowed, cls.rule)
        moments = moments_of(X, names)
        constant = moments.variance <= moments.resolution
        units = np.sqrt(np.where(constant, 1.0, moments.variance))
        return cls(moments.mean, units, min_scale)

    allowed = staticmethod(Gaussian.allowed)
    coordinate = staticmethod(Gaussian.coordinate)
    prepare = Gaussian.prepare
    log_jacobian = Gaussian.log_jacobian

    def inputs(self, x):
        return torch.nan_to_num(x, nan=0.0)

    def mean(self, outputs):
        units, location = (torch.as_tensor(a, device=outputs.device) for a in self._scales())
        return location + units * outputs.double()

    @torch.no_grad()
    def density_parameters(self, outputs):
        mean = self.mean(outputs)
        scale = torch.as_tensor(self.units) * self.covariance().double().diagonal().sqrt().cpu()
        return {"mean": mean, "scale": scale.to(mean.device).expand_as(mean)}

    cdf_of = staticmethod(Gaussian.cdf_of)

    def _scales(self):
        return self.units, self.location

    def covariance(self):
        """Return Σ of prepared rows, (D, D)."""
        raw = self.raw_factor
        factor = raw.tril(-1) + torch.diag_embed(raw.diagonal().exp())
        floor = self.min_scale**2 * torch.eye(len(raw), dtype=raw.dtype, device=raw.device)
        return factor @ factor.mT + floor

    @torch.no_grad()
    def set_covariance(self, covariance):
        """Set Σ, of prepared rows (D, D); eigenvalues below the floor are raised to it."""
        values, vectors = np.linalg.eigh(np.asarray(covariance, dtype=np.float64))
        floor = self.min_scale**2
        above = np.maximum(values - floor, _LEAST_PIVOT * floor)
        # RRᵀ by QR, which has no pivots to fail.
        factor = np.linalg.qr((vectors * np.sqrt(above)).T, mode="r").T
        factor = factor * np.where(np.diag(factor) < 0, -1.0, 1.0)
        raw = np.tril(factor, -1) + np.diag(np.log(np.maximum(np.diag(factor), 1e-30)))
        self.raw_factor.copy_(torch.from_numpy(raw))

    def log_prob(self, x, outputs, observed=None):
        outputs = outputs.to(x.dtype)
        covariance = self.covariance().to(x.dtype)
        if observed is None:
            factor = torch.linalg.cholesky(covariance)
            residual = x - outputs
            flat = residual.reshape(-1, self.n_features)
            white = torch.linalg.solve_triangular(factor, flat.mT, upper=False)
            squares = white.square().sum(0).reshape(residual.shape[:-1])
            log_det = factor.diagonal().log().sum()
            return -0.5 * squares - log_det - self.n_features * HALF_LOG_2PI
        return self._log_prob_of_observed(x, outputs, observed, covariance)

    def _log_prob_of_observed(self, x, outputs, observed, covariance):
        """Return the log-density of the observed features: a factor for each pattern."""
        patterns, which = torch.unique(observed, dim=0, return_inverse=True)
        seen = patterns.to(x.dtype)
        # A missing feature has variance one and no covariance, and its residual is zero.
        blocks = seen[:, :, None] * covariance * seen[:, None, :] + torch.diag_embed(1.0 - seen)
        factors = torch.linalg.cholesky(blocks)
        residual = torch.where(observed, x, 0.0) - outputs
        residual = torch.where(observed, residual, 0.0)
        white = torch.linalg.solve_triangular(factors[which], residual[..., None], upper=False)
        log_dets = factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = log_dets[which] + seen.sum(-1)[which] * HALF_LOG_2PI
        return -0.5 * white[..., 0].square().sum(-1) - constant

    @torch.no_grad()
    def sample(self, outputs, generator):
        outputs = outputs.double()
        noise = torch.randn(
            outputs.shape, generator=generator, device=generator.device, dtype=torch.float64
        )
        factor = torch.linalg.cholesky(self.covariance().double())
        return self.mean(outputs + noise.to(outputs.device) @ factor.mT)

    def constants(self):
        return {
            "location": self.location.tolist(),
            "units": self.units.tolist(),
            "min_scale": self.min_scale,
        }
