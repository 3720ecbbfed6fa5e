"""Emission families: the density of a row given the state, its statistics, M step and draws."""

from skvae.hmm.emissions.base import Emission
from skvae.hmm.emissions.bernoulli import BernoulliEmission
from skvae.hmm.emissions.categorical import CategoricalEmission
from skvae.hmm.emissions.column import ColumnEmission
from skvae.hmm.emissions.gaussian import GaussianEmission
from skvae.hmm.emissions.gaussian_mixture import GaussianMixtureEmission
from skvae.hmm.emissions.poisson import PoissonEmission
from skvae.hmm.emissions.student_t import StudentTEmission

EMISSIONS = {
    "gaussian": GaussianEmission,
    "gaussian_mixture": GaussianMixtureEmission,
    "categorical": CategoricalEmission,
    "poisson": PoissonEmission,
    "bernoulli": BernoulliEmission,
    "student_t": StudentTEmission,
}

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
