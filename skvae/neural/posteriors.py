r"""Posteriors from an encoder: Gaussians q(z | x), with diagonal or with full covariance.

.. math:: q(z \mid x) = N(z; m(x), F(x) F(x)^\top), \qquad z = m + F \epsilon, \quad
    \epsilon \sim N(0, I)

with F lower-triangular, or diagonal with entries s. B is the number of rows, L of latent
dimensions, S of draws a row; everything is in nats.

References
----------
Kingma and Welling (2014), Auto-Encoding Variational Bayes, appendix B (the divergence from a
standard normal prior).
"""

import math

import torch

LOG_2PI = math.log(2.0 * math.pi)
COVARIANCES = ("diag", "full")
# The range of log variances. Below it, draws hardly differ from the mean in float32; above it, one
# outlier's divergence, half the variance, would dominate the gradient of all other rows.
LOG_VAR_RANGE = (-30.0, 15.0)


class DiagonalPosterior:
    """Independent Gaussians, one for each latent dimension of each row.

    Parameters
    ----------
    mean : Tensor of shape (B, L)
        Their means.
    log_var : Tensor of shape (B, L)
        The logarithms of their variances. A value outside ``LOG_VAR_RANGE`` counts as the nearest
        in it; its gradient is that of a value inside, so that an outlier's posterior can return.
    """

    def __init__(self, mean, log_var):
        # The hot loop of training: as few operations as possible, and nothing computed twice.
        self.mean = mean
        self.log_var = _bounded(log_var)
        self.variance = self.log_var.exp()
        self.std = self.variance.sqrt()

    @property
    def covariance(self):
        """Covariances, diagonal matrices, (B, L, L)."""
        return torch.diag_embed(self.variance)

    def draw(self, noise):
        """Return the draws z of standard normal noise, both (..., B, L)."""
        return torch.addcmul(self.mean, self.std, noise)

    def log_prob(self, z):
        """Return ln q(z), (..., B), of z (..., B, L); leading dimensions broadcast."""
        white = (z - self.mean) / self.std
        return -0.5 * (white.square().sum(-1) + self._log_volume())

    def log_prob_of(self, noise):
        """Return ln q of ``draw(noise)``, (..., B).

        No difference of z and mean is taken, so that nothing cancels. The gradient is the total
        one: that of z through the noise and that of the density's own parameters together.
        """
        return -0.5 * (noise.square().sum(-1) + self._log_volume())

    def entropy(self):
        """Return the entropy of each row's Gaussian, (B,)."""
        return 0.5 * (self._log_volume() + self.mean.shape[-1])

    def kl_normal(self):
        """Return KL(q ‖ N(0, I)) of each row, (B,)."""
        return 0.5 * (self._twice_kl_plus_one().sum(-1) - self.mean.shape[-1])

    def kl_normal_by_dimension(self):
        """Return ½(m² + s² − 1 − ln s²), (B, L); the sum over dimensions is the divergence."""
        return 0.5 * (self._twice_kl_plus_one() - 1.0)

    def detach(self):
        """Return the same Gaussians as constants."""
        return DiagonalPosterior(self.mean.detach(), self.log_var.detach())

    def take(self, index):
        """Return the Gaussians of some rows."""
        return DiagonalPosterior(self.mean[index], self.log_var[index])

    def _log_volume(self):
        """Return ln det(2π S²), (B,)."""
        return self.log_var.sum(-1) + self.mean.shape[-1] * LOG_2PI

    def _twice_kl_plus_one(self):
        return torch.addcmul(self.variance, self.mean, self.mean) - self.log_var


class FullPosterior:
    """A Gaussian with a covariance of its own for each row.

    Parameters
    ----------
    mean : Tensor of shape (B, L)
        The means.
    log_var : Tensor of shape (B, L)
        Twice the logarithms of the factors' diagonals.
    factor : Tensor of shape (B, L, L)
        Lower-triangular F, with covariance F Fᵀ and ``diag(F) = exp(log_var / 2)``.
    """

    def __init__(self, mean, log_var, factor):
        self.mean = mean
        self.log_var = log_var
        self.factor = factor

    @property
    def variance(self):
        """Variances, the diagonals of the covariances, (B, L)."""
        return self.factor.square().sum(-1)

    @property
    def covariance(self):
        """Covariances, (B, L, L)."""
        return self.factor @ self.factor.mT

    def draw(self, noise):
        """Return the draws z of standard normal noise, both (..., B, L)."""
        return self.mean + torch.einsum("bij,...bj->...bi", self.factor, noise)

    def log_prob(self, z):
        """Return ln q(z), (..., B), of z (..., B, L); leading dimensions broadcast."""
        residual = z - self.mean
        # One solve a factor, with all the z of its row as right-hand sides.
        columns = residual.reshape(-1, *self.mean.shape).permute(1, 2, 0)
        white = torch.linalg.solve_triangular(self.factor, columns, upper=False)
        distance = white.square().sum(1).T.reshape(residual.shape[:-1])
        return -0.5 * (distance + self._log_volume())

    def log_prob_of(self, noise):
        """Return ln q of ``draw(noise)``, (..., B), with its total gradient, nothing cancelling."""
        return -0.5 * (noise.square().sum(-1) + self._log_volume())

    def entropy(self):
        """Return the entropy of each row's Gaussian, (B,)."""
        return 0.5 * (self._log_volume() + self.mean.shape[-1])

    def kl_normal(self):
        """Return KL(q ‖ N(0, I)) of each row, (B,)."""
        squares = self.mean.square().sum(-1) + self.factor.square().sum((-2, -1))
        return 0.5 * (squares - self.log_var.sum(-1) - self.mean.shape[-1])

    def kl_normal_by_dimension(self):
        """Return None: with correlations the divergence is no sum over dimensions."""
        return

    def detach(self):
        """Return the same Gaussians as constants."""
        return FullPosterior(self.mean.detach(), self.log_var.detach(), self.factor.detach())

    def take(self, index):
        """Return the Gaussians of some rows."""
        return FullPosterior(self.mean[index], self.log_var[index], self.factor[index])

    def _log_volume(self):
        """Return ln det(2π F Fᵀ), (B,)."""
        return self.log_var.sum(-1) + self.mean.shape[-1] * LOG_2PI


def n_encoder_outputs(n_components, covariance="diag"):
    """Return the number of encoder outputs of a row.

    Parameters
    ----------
    n_components : int
        The number of latent dimensions L.
    covariance : {'diag', 'full'}
        The form of the posterior's covariance: 2 L numbers, or L + L (L + 1) / 2.
    """
    if covariance == "diag":
        return 2 * n_components
    return n_components + n_components * (n_components + 1) // 2


def posterior_from(outputs, n_components, covariance="diag"):
    """Return the posterior with an encoder's outputs as parameters.

    Parameters
    ----------
    outputs : Tensor of shape (B, n_encoder_outputs) or pair of Tensors
        Means and log variances (B, L) in one tensor or as a pair. For a full covariance, the means
        are followed by twice the logarithm of the factor's diagonal, the log variances of
        dimensions without correlations, and then by the entries of the factor below its diagonal,
        row by row: zeros there make a diagonal posterior.
    n_components : int
        The number of latent dimensions L.
    covariance : {'diag', 'full'}
        The form of the covariance.

    Returns
    -------
    posterior : DiagonalPosterior or FullPosterior
        Its log variances are within ``LOG_VAR_RANGE``; see :class:`DiagonalPosterior`.

    Raises
    ------
    ValueError
        The outputs are not of these forms.
    """
    mean, rest = _mean_and_rest(outputs, n_components, covariance)
    if covariance == "diag":
        return DiagonalPosterior(mean, rest)
    log_var = _bounded(rest[:, :n_components])
    factor = torch.diag_embed(torch.exp(0.5 * log_var))
    below = torch.tril_indices(n_components, n_components, -1, device=mean.device)
    lower = torch.zeros_like(factor)
    lower[:, below[0], below[1]] = rest[:, n_components:]
    return FullPosterior(mean, log_var, factor + lower)


def _bounded(log_var):
    """Return log variances within their range; the gradient is that of the identity."""
    value = log_var.detach()
    return log_var + (value.clamp(*LOG_VAR_RANGE) - value)


def _mean_and_rest(outputs, n_components, covariance):
    """Return the two parts of an encoder's outputs, (B, L) and (B, n_encoder_outputs − L)."""
    width = n_encoder_outputs(n_components, covariance)
    if isinstance(outputs, torch.Tensor):
        if outputs.ndim == 2 and outputs.shape[1] == width:
            return outputs.split((n_components, width - n_components), dim=1)
        given = f"one tensor of shape {tuple(outputs.shape)}"
    elif isinstance(outputs, tuple | list) and all(isinstance(o, torch.Tensor) for o in outputs):
        shapes = [tuple(part.shape) for part in outputs]
        wanted = [n_components, width - n_components]
        if [s[1:] for s in shapes] == [(w,) for w in wanted] and shapes[0][0] == shapes[1][0]:
            return outputs
        given = f"tensors of shapes {shapes}"
    else:
        given = repr(type(outputs).__name__)
    parts = "mean and log variance"
    if covariance == "full":
        parts += " of each dimension, and the factor of the covariance below its diagonal"
    raise ValueError(
        f"encoder gave {given}: for n_components={n_components} and a {covariance} covariance it "
        f"must give (rows, {width}) in one tensor, or a pair of shapes (rows, {n_components}) and "
        f"(rows, {width - n_components}): {parts}"
    )
