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
    "GaussianEmission",
    "GaussianMixtureEmission",
    "OnlineFilter",
    "PoissonEmission",
    "StudentTEmission",
]
