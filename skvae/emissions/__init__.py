"""Emissions: the density of a row given the state, its statistics, M step and draws."""

from skvae.emissions.base import Emission
from skvae.emissions.bernoulli import BernoulliEmission
from skvae.emissions.categorical import CategoricalEmission
from skvae.emissions.column import ColumnEmission
from skvae.emissions.domains import NonNegative, Positive, Probability, Real, Simplex
from skvae.emissions.families import EMISSIONS
from skvae.emissions.gaussian import GaussianEmission
from skvae.emissions.gaussian_mixture import GaussianMixtureEmission
from skvae.emissions.parameters import EmissionParameters
from skvae.emissions.poisson import PoissonEmission
from skvae.emissions.student_t import StudentTEmission

__all__ = [
    "EMISSIONS",
    "BernoulliEmission",
    "CategoricalEmission",
    "ColumnEmission",
    "Emission",
    "EmissionParameters",
    "GaussianEmission",
    "GaussianMixtureEmission",
    "NonNegative",
    "PoissonEmission",
    "Positive",
    "Probability",
    "Real",
    "Simplex",
    "StudentTEmission",
]
