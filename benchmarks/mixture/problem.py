"""A problem for a mixture: its sizes, its data, and the start of all contenders."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

# Rows made at a time, so that making the data leaves no trace in a peak-memory figure.
_BLOCK = 16_384


@dataclass(frozen=True)
class Problem:
    """Sizes of a problem, and its target.

    Parameters
    ----------
    n_samples, n_features, n_components : int
    covariance_type : {"full", "tied", "diag", "spherical"}
    dtype : str
    separation : float
        Expected distance between two component means, in standard deviations.
    target : float or None
        The target; the section that times the problem defines its meaning.
    """

    n_samples: int
    n_features: int
    n_components: int
    covariance_type: str = "full"
    dtype: str = "float64"
    separation: float = 3.0
    target: float | None = None

    @property
    def sizes(self):
        """The sizes as text, "N, D, K"."""
        return f"{self.n_samples:,}, {self.n_features}, {self.n_components}"

    def sized(self, settings):
        """Return the problem as it is, or in a quick run with a hundredth of the rows."""
        if not settings.quick:
            return self
        # Enough rows for every component to keep a covariance of full rank.
        enough = 2 * self.n_features * self.n_components
        n_samples = min(self.n_samples, max(self.n_samples // 100, enough))
        return replace(self, n_samples=n_samples, target=None)

    def make(self, seed, out=None):
        """Return rows of a random mixture with correlated features, made block by block.

        Parameters
        ----------
        seed : int
        out : ndarray of shape (n_samples, n_features), default=None
            Where the rows go, as a memory-mapped file.
        """
        rng = np.random.default_rng(seed)
        k, d = self.n_components, self.n_features
        means = rng.normal(size=(k, d)) * self.separation / np.sqrt(2 * d)
        mixing = np.eye(d) + rng.normal(size=(k, d, d)) * 0.3 / np.sqrt(d)
        weights = rng.dirichlet(np.full(k, 10.0))
        X = np.empty((self.n_samples, d), self.dtype) if out is None else out
        for begin in range(0, self.n_samples, _BLOCK):
            block = X[begin : begin + _BLOCK]
            labels = rng.choice(k, size=len(block), p=weights)
            noise = rng.normal(size=block.shape)
            for component in range(k):
                rows = labels == component
                block[rows] = means[component] + noise[rows] @ mixing[component].T
        return X


class Start(NamedTuple):
    """Parameters from which EM starts, `precisions` in scikit-learn's shape for the type."""

    covariance_type: str
    weights: np.ndarray
    means: np.ndarray
    precisions: np.ndarray

    @property
    def covariances(self):
        """Inverse of the precisions, in the same shape."""
        matrices = self.covariance_type in ("full", "tied")
        return np.linalg.inv(self.precisions) if matrices else 1 / self.precisions

    @property
    def as_init(self):
        """The start as the constructor parameters of scikit-learn's mixtures."""
        return {
            "weights_init": self.weights,
            "means_init": self.means,
            "precisions_init": self.precisions,
        }


def start_from(X, n_components, covariance_type, seed):
    """Return a Start: equal weights, means of a few random rows, each feature's overall variance.

    A mean is that of D/4 rows, or of N/K if they are fewer. Single rows lie so far out in many
    dimensions that the one with the smallest norm would take nearly all the data and leave
    components with fewer rows than features.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    n_components : int
    covariance_type : {"full", "tied", "diag", "spherical"}
    seed : int
    """
    rng = np.random.default_rng(seed)
    n_rows = max(1, min(X.shape[1] // 4, len(X) // n_components))
    rows = rng.choice(len(X), size=(n_components, n_rows), replace=False)
    means = X[rows].mean(axis=1, dtype=np.float64)
    # A sample of rows is enough for a scale, and does not copy a memory-mapped X.
    precision = 1 / np.var(X[:: max(1, len(X) // 10_000)], axis=0, dtype=np.float64)
    shaped = {
        "full": lambda: np.tile(np.diag(precision), (n_components, 1, 1)),
        "tied": lambda: np.diag(precision),
        "diag": lambda: np.tile(precision, (n_components, 1)),
        "spherical": lambda: np.full(n_components, precision.mean()),
    }
    start = (np.full(n_components, 1 / n_components), means, shaped[covariance_type]())
    return Start(covariance_type, *(part.astype(X.dtype) for part in start))
