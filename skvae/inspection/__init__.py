"""The decomposition of the bound, and plots of fitted models and of their comparison.

All read public attributes only, so they work for any estimator that has them. Displays are in
scikit-learn's convention and import matplotlib only when they draw.
"""

from skvae.inspection.aggregate import AggregatePosteriorDisplay
from skvae.inspection.bound_terms import BoundTermsDisplay
from skvae.inspection.bound_trace import BoundTraceDisplay
from skvae.inspection.comparison import ComparisonDisplay
from skvae.inspection.decomposition import ElboDecompositionDisplay, elbo_decomposition
from skvae.inspection.density import DensityDisplay
from skvae.inspection.forecast import ForecastDisplay
from skvae.inspection.latent import LatentSpaceDisplay, LatentTraversalDisplay
from skvae.inspection.row_pictures import ReconstructionDisplay, SampleDisplay
from skvae.inspection.state_path import StatePathDisplay
from skvae.inspection.transition import TransitionDisplay
from skvae.inspection.tree import ChartDisplay, TreeDisplay

__all__ = [
    "AggregatePosteriorDisplay",
    "BoundTermsDisplay",
    "BoundTraceDisplay",
    "ChartDisplay",
    "ComparisonDisplay",
    "DensityDisplay",
    "ElboDecompositionDisplay",
    "ForecastDisplay",
    "LatentSpaceDisplay",
    "LatentTraversalDisplay",
    "ReconstructionDisplay",
    "SampleDisplay",
    "StatePathDisplay",
    "TransitionDisplay",
    "TreeDisplay",
    "elbo_decomposition",
]
