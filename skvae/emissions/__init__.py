"""Emissions: the density of a row given the state, its statistics, M step and draws."""

from skvae.emissions.base import Emission
from skvae.emissions.bernoulli import BernoulliEmission
from skvae.emissions.categorical import CategoricalEmission
from skvae.emissions.column import ColumnEmission
from skvae.emissions.domains import NonNegative, Positive, Probability, Real, Simplex
from skvae.emissions.families import EMISSIONS
from skvae.emissions.gamma import GammaEmission
from skvae.emissions.gaussian import GaussianEmission
from skvae.emissions.gaussian_mixture import GaussianMixtureEmission
from skvae.emissions.multinomial import MultinomialEmission
from skvae.emissions.negative_binomial import NegativeBinomialEmission
from skvae.emissions.parameters import EmissionParameters
from skvae.emissions.poisson import PoissonEmission
from skvae.emissions.student_t import StudentTEmission
from skvae.emissions.von_mises import VonMisesEmission
from skvae.emissions.zero_inflated_poisson import ZeroInflatedPoissonEmission

__all__ = [
    "EMISSIONS",
    "BernoulliEmission",
    "CategoricalEmission",
    "ColumnEmission",
    "Emission",
    "EmissionParameters",
    "GammaEmission",
    "GaussianEmission",
    "GaussianMixtureEmission",
    "MultinomialEmission",
    "NegativeBinomialEmission",
    "NonNegative",
    "PoissonEmission",
    "Positive",
    "Probability",
    "Real",
    "Simplex",
    "StudentTEmission",
    "VonMisesEmission",
    "ZeroInflatedPoissonEmission",
]
