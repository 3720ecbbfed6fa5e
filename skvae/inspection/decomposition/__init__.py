"""Both sides of the evidence lower bound's identity, row by row, as numbers and as a plot."""

from skvae.inspection.decomposition.decomposition import ElboDecomposition, elbo_decomposition
from skvae.inspection.decomposition.display import ElboDecompositionDisplay

__all__ = ["ElboDecomposition", "ElboDecompositionDisplay", "elbo_decomposition"]
