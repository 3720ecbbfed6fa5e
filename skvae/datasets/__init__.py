"""Small data sets that come with the package, in scikit-learn's loader style."""

from skvae.datasets.galaxies import load_galaxies
from skvae.datasets.geyser import load_geyser

__all__ = ["load_galaxies", "load_geyser"]
