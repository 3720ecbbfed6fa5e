"""Held-out comparison of density estimators."""

from skvae.comparison.result import Comparison, compare

__all__ = ["Comparison", "compare"]
