"""VariationalAutoencoder against closed forms, a hand-written loop, pythae and scikit-learn."""

from benchmarks.vae import (
    clusters,
    comparison,
    epoch,
    evidence,
    fashion,
    imputation,
    linear,
    score,
)

SECTIONS = (
    linear.SECTION,
    epoch.SECTION,
    score.SECTION,
    evidence.SECTION,
    imputation.SECTION,
    clusters.SECTION,
    clusters.DIGITS,
    comparison.SECTION,
    fashion.SECTION,
)
