r"""Expected sufficient statistics of Gaussian components, added up by EM, VB and streams.

With responsibilities :math:`r_{nk}` times weights :math:`w_n`, about centres :math:`c_k`,

.. math:: n_k = \sum_n r_{nk},\quad s_k = \sum_n r_{nk} (x_n - c_k),\quad
          S_k = \sum_n r_{nk} (x_n - c_k)(x_n - c_k)^T .

The centres are near the means, so that nothing cancels in the covariance :math:`S_k / n_k - s_k
s_k^T / n_k^2`. Missing values enter by their conditional moments.
"""

from dataclasses import dataclass, replace

import numpy as np

from skvae.gaussian.covariance import STRUCTURES

NO_ROWS = 1e-280


@dataclass(frozen=True)
class GaussianStatistics:
    """Statistics that add: ``a + b`` joins rows, ``a * weight`` scales them.

    Parameters
    ----------
    covariance_type : {'full', 'tied', 'diag', 'spherical'}
        The structure, which fixes the shape of ``scatter``.
    counts : ndarray of shape (n_components,)
        The expected (weighted) number of rows of each component.
    sums : ndarray of shape (n_components, n_features)
        Sums of the rows less the centres.
    scatter : ndarray
        Second moments about the centres, in the structure's shape (tied: summed over components;
        diag: their diagonals; spherical: the mean of the diagonals).
    centers : ndarray of shape (n_components, n_features)
        The centres.
    """

    covariance_type: str
    counts: np.ndarray
    sums: np.ndarray
    scatter: np.ndarray
    centers: np.ndarray

    def recenter(self, centers):
        """Return the same statistics about other centres."""
        shift = centers - self.centers
        structure = STRUCTURES[self.covariance_type]
        return replace(
            self,
            sums=self.sums - self.counts[:, None] * shift,
            scatter=structure.recenter(self.scatter, self.counts, self.sums, shift),
            centers=centers,
        )

    def take(self, components):
        """Return the statistics of some components, in their order (tied: the scatter of all)."""
        shared = self.covariance_type == "tied"
        return replace(
            self,
            counts=self.counts[components],
            sums=self.sums[components],
            scatter=self.scatter if shared else self.scatter[components],
            centers=self.centers[components],
        )

    def merged(self, labels):
        """Return the statistics in which components with the same label (K,) are one."""
        n_components = labels.max() + 1
        _, first = np.unique(labels, return_index=True)
        about = self.recenter(self.centers[first][labels])
        join = np.eye(n_components)[labels].T
        shared = self.covariance_type == "tied"
        return replace(
            about,
            counts=join @ about.counts,
            sums=join @ about.sums,
            scatter=about.scatter if shared else np.tensordot(join, about.scatter, axes=1),
            centers=self.centers[first],
        )

    def __add__(self, other):
        if other.centers is not self.centers:
            other = other.recenter(self.centers)
        return replace(
            self,
            counts=self.counts + other.counts,
            sums=self.sums + other.sums,
            scatter=self.scatter + other.scatter,
        )

    def __mul__(self, weight):
        return replace(
            self,
            counts=self.counts * weight,
            sums=self.sums * weight,
            scatter=self.scatter * weight,
        )

    __rmul__ = __mul__

    def maximize(self, floor, resolution, previous):
        """Return the (means, covariances, factors) that maximise the expected log-likelihood.

        Parameters
        ----------
        floor : ndarray of shape (n_features,)
            Covariances are kept ⪰ diag(floor).
        resolution : ndarray of shape (n_features,)
            A variance at or below this is round-off: the component has collapsed.
        previous : tuple of (means, covariances)
            The values for a component without rows, for which every value is a maximiser.

        Raises
        ------
        Collapse
            A covariance is singular and the floor is zero.
        """
        structure, n_rows = STRUCTURES[self.covariance_type], self.counts.sum()
        counts, empty = self.counts, None
        # EM updates a component with any positive count; below NO_ROWS the division underflows.
        if not counts.min() > NO_ROWS * n_rows:
            empty = counts <= NO_ROWS * n_rows
            counts = np.where(empty, 1.0, counts)
        shift = self.sums / counts[:, None]
        if empty is not None:
            shift[empty] = 0.0
        scatter = structure.recenter(self.scatter, self.counts, self.sums, shift)
        if empty is not None:
            scatter = structure.keep(scatter, previous[1], empty)
        covariances, factors = structure.maximize(scatter, counts, n_rows, floor)
        structure.check(covariances, resolution)
        means = self.centers + shift
        if empty is not None:
            means[empty] = previous[0][empty]
        return means, covariances, factors
