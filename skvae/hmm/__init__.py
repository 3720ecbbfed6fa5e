"""Hidden Markov models and their emission families."""

from skvae.emissions import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GammaEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    MultinomialEmission,
    NegativeBinomialEmission,
    PoissonEmission,
    StudentTEmission,
    VonMisesEmission,
    ZeroInflatedPoissonEmission,
)
from skvae.hmm.forecast import Forecast
from skvae.hmm.hidden_markov import EMHiddenMarkov
from skvae.hmm.online import FilteredRows, OnlineFilter

__all__ = [
    "BernoulliEmission",
    "CategoricalEmission",
    "ColumnEmission",
    "EMHiddenMarkov",
    "FilteredRows",
    "Forecast",
    "GammaEmission",
    "GaussianEmission",
    "GaussianMixtureEmission",
    "MultinomialEmission",
    "NegativeBinomialEmission",
    "OnlineFilter",
    "PoissonEmission",
    "StudentTEmission",
    "VonMisesEmission",
    "ZeroInflatedPoissonEmission",
]
