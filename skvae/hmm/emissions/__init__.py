"""The former place of :mod:`skvae.emissions`: pickles and skops files written before name it."""

import sys

from skvae.emissions import (
    EMISSIONS,
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    Emission,
    GaussianEmission,
    GaussianMixtureEmission,
    PoissonEmission,
    StudentTEmission,
    base,
    bernoulli,
    categorical,
    column,
    gaussian,
    gaussian_mixture,
    poisson,
    student_t,
)

__all__ = [
    "EMISSIONS",
    "BernoulliEmission",
    "CategoricalEmission",
    "ColumnEmission",
    "Emission",
    "GaussianEmission",
    "GaussianMixtureEmission",
    "PoissonEmission",
    "StudentTEmission",
]

_MOVED = (base, bernoulli, categorical, column, gaussian, gaussian_mixture, poisson, student_t)
sys.modules.update({m.__name__.replace("skvae", "skvae.hmm", 1): m for m in _MOVED})
