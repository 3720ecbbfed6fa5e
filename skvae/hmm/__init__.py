"""Hidden Markov models and their emission families."""

from skvae.emissions import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    PoissonEmission,
    StudentTEmission,
)
from skvae.hmm.hidden_markov import EMHiddenMarkov

__all__ = [
    "BernoulliEmission",
    "CategoricalEmission",
    "ColumnEmission",
    "EMHiddenMarkov",
    "GaussianEmission",
    "GaussianMixtureEmission",
    "PoissonEmission",
    "StudentTEmission",
]
