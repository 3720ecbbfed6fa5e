"""The families of emissions by their names, and questions that a model has about one of them."""

from sklearn.base import clone

from skvae.emissions.base import Emission
from skvae.emissions.bernoulli import BernoulliEmission
from skvae.emissions.categorical import CategoricalEmission
from skvae.emissions.column_parameters import ColumnSummary
from skvae.emissions.gamma import GammaEmission
from skvae.emissions.gaussian import GaussianEmission
from skvae.emissions.gaussian_mixture import GaussianMixtureEmission
from skvae.emissions.location_scale import GaussianParameters, GaussianSummary
from skvae.emissions.multinomial import MultinomialEmission
from skvae.emissions.negative_binomial import NegativeBinomialEmission
from skvae.emissions.poisson import PoissonEmission
from skvae.emissions.student_t import StudentTEmission
from skvae.emissions.von_mises import VonMisesEmission
from skvae.emissions.zero_inflated_poisson import ZeroInflatedPoissonEmission
from skvae.gaussian.checks import on_floor

EMISSIONS = {
    "gaussian": GaussianEmission,
    "gaussian_mixture": GaussianMixtureEmission,
    "categorical": CategoricalEmission,
    "poisson": PoissonEmission,
    "bernoulli": BernoulliEmission,
    "student_t": StudentTEmission,
    "gamma": GammaEmission,
    "von_mises": VonMisesEmission,
    "negative_binomial": NegativeBinomialEmission,
    "zero_inflated_poisson": ZeroInflatedPoissonEmission,
    "multinomial": MultinomialEmission,
}


def new_emission(given):
    """Return a new emission from the parameter ``emission`` of a model.

    Parameters
    ----------
    given : str or Emission
        The name of a family, or an emission, which is copied without its fitted attributes.

    Raises
    ------
    ValueError
        There is no emission of that name, or it cannot be copied.
    """
    if isinstance(given, str) and given in EMISSIONS:
        return EMISSIONS[given]()
    if isinstance(given, Emission):
        try:
            return clone(given)
        except (RecursionError, TypeError) as error:
            raise ValueError(
                f"emission is a {type(given).__name__} with a parameter that cannot be copied "
                f"({error}): must have numbers, strings and arrays"
            ) from error
    names = ", ".join(map(repr, EMISSIONS))
    raise ValueError(
        f"emission={given!r}: must be one of {names} or an emission object of skvae.hmm"
    )


def states_on_floor(parameters, summary):
    """Return the states that have a covariance on its floor, a list of int."""
    if isinstance(summary, ColumnSummary):
        parts = zip(parameters.parts, summary.parts, strict=True)
        return sorted({state for part, own in parts for state in states_on_floor(part, own)})
    normals = getattr(parameters, "normals", parameters)  # of mixtures and Student-t emissions
    if not isinstance(normals, GaussianParameters) or not isinstance(summary, GaussianSummary):
        return []
    found = on_floor(
        normals.covariance_type,
        normals.scales,
        normals.factors,
        normals.n_components,
        summary.floor,
        summary.moments,
    )
    return sorted(set((found * parameters.n_components // normals.n_components).tolist()))


def same_form(now, before):
    """Return whether two emissions are of one class, and their parameters of one shape."""
    return _form(now) == _form(before)


def _form(emission):
    parts = {}
    for name, value in emission.get_params().items():
        if isinstance(value, Emission):
            parts[name] = type(value)
        elif name.endswith(("covariance_type", "n_mix")):
            parts[name] = value
    return type(emission), parts
