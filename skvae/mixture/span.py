"""Parameters of a mixture with fewer rows than features, as the rows of each component."""

from typing import NamedTuple

import numpy as np

from skvae.gaussian.span import SpanComponent
from skvae.mixture.parameters import MixtureParameters


class FewRows(NamedTuple):
    """Rows in units of the floor.

    Parameters
    ----------
    center : ndarray of shape (n_features,)
        A value near all rows.
    scale : ndarray of shape (n_features,)
        The square root of the floor's inverse.
    scaled : ndarray of shape (n_samples, n_features)
        The rows less the centre, times the scale.
    """

    center: np.ndarray
    scale: np.ndarray
    scaled: np.ndarray

    @classmethod
    def of(cls, X, center, floor):
        """Return the rows of X with their centre; ``floor`` has squared units."""
        scale = 1.0 / np.sqrt(floor)
        return cls(center, scale, (X - center) * scale)


class SpanParameters(NamedTuple):
    """Parameters of a mixture that are not computed yet: the M step of responsibilities.

    Parameters
    ----------
    rows : FewRows
        The rows.
    resp : ndarray of shape (n_components, n_samples)
        Responsibilities times the rows' weights.
    """

    rows: FewRows
    resp: np.ndarray

    def log_joint(self):
        """Return ln π + ln N(x) of each row, shape (K, n_samples), in nats."""
        weights, _, components = self._by_component()
        log_joint = np.empty(self.resp.shape)
        for k, component in enumerate(components):
            log_joint[k] = component.log_density()
        log_joint += (np.log(weights) + np.log(self.rows.scale).sum())[:, None]
        return log_joint

    def computed(self):
        """Return the MixtureParameters."""
        weights, means, components = self._by_component()
        scale = self.rows.scale
        covariances = np.empty((*means.shape, len(scale)))
        factors = np.empty_like(covariances)
        for k, component in enumerate(components):
            covariances[k], factors[k] = component.covariance()
        covariances /= scale[:, None] * scale
        factors *= scale[:, None]
        return MixtureParameters("full", weights, means, covariances, factors)

    def _by_component(self):
        """Return the weights (K,), the means (K, D), and an iterator of SpanComponents."""
        center, scale, scaled = self.rows
        counts = self.resp.sum(axis=1)
        share = self.resp / counts[:, None]
        means = center + share @ scaled / scale
        middle = (means - center) * scale  # as the means are rounded
        components = map(SpanComponent.of, (scaled - m for m in middle), share)
        return counts / counts.sum(), means, components
