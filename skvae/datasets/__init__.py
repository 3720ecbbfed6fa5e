"""Small data sets that come with the package, in scikit-learn's loader style."""

from skvae.datasets.galaxies import load_galaxies
from skvae.datasets.geyser import load_geyser
from skvae.datasets.japanese_vowels import load_japanese_vowels

__all__ = ["load_galaxies", "load_geyser", "load_japanese_vowels"]
