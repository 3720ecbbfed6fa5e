"""EMGaussianMixture against scikit-learn's GaussianMixture and pomegranate's."""

from benchmarks.mixture import (
    acceleration,
    accuracy,
    initialization,
    iteration,
    memory,
    precision,
    time_to_bound,
)

SECTIONS = (
    iteration.SECTION,
    precision.SECTION,
    time_to_bound.SECTION,
    acceleration.SECTION,
    initialization.SECTION,
    memory.SECTION,
    accuracy.SECTION,
)
