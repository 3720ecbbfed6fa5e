"""Random problems of the families whose states have more than one number in a column."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from skvae.hmm import (
    GammaEmission,
    MultinomialEmission,
    NegativeBinomialEmission,
    VonMisesEmission,
    ZeroInflatedPoissonEmission,
)
from tests.hmm_oracles import (
    gamma_terms,
    negative_binomial_terms,
    von_mises_terms,
    zero_inflated_terms,
)


class Case(NamedTuple):
    """A family with independent columns.

    ``ranges`` are those of the two parameters, or of their logarithms to the base ten. ``terms`` is
    ln p(x) by scipy, and ``decode`` maps two numbers without limits to the parameters of a column.
    """

    emission: type
    ranges: tuple
    logarithms: tuple
    terms: object
    decode: object


def positive(v):
    return np.exp(np.clip(v, -30, 30))


CASES = {
    "gamma": Case(
        GammaEmission,
        ((-1, 1.5), (-1, 2)),
        (True, True),
        gamma_terms,
        lambda v: (positive(v[0]), positive(v[1] - v[0])),
    ),
    "von_mises": Case(
        VonMisesEmission,
        ((-3.1, 3.1), (-1, 1.5)),
        (False, True),
        von_mises_terms,
        lambda v: (np.arctan2(v[1], v[0]), np.hypot(v[0], v[1])),
    ),
    "negative_binomial": Case(
        NegativeBinomialEmission,
        ((-0.5, 2.5), (-2, 1)),
        (True, True),
        negative_binomial_terms,
        # Near α = 0 the density of scipy is not exact.
        lambda v: (positive(v[0]), positive(max(v[1], -11.0))),
    ),
    "zero_inflated_poisson": Case(
        ZeroInflatedPoissonEmission,
        ((-0.5, 1.3), (0, 0.9)),
        (True, False),
        zero_inflated_terms,
        lambda v: (positive(v[0]), expit(np.clip(v[1], -30, 30))),
    ),
}


def random_emission(family, n_components=3, n_features=2, seed=0, *, share=1.0, total=9):
    """A fitted emission; states overlap if they have a small share of the ranges."""
    rng, shape = np.random.default_rng(seed), (n_components, n_features)
    if family == "multinomial":
        probabilities = rng.dirichlet(np.ones(n_features) / share, n_components)
        return MultinomialEmission.from_parameters(probabilities, total=total)
    case, arrays = CASES[family], []
    for (low, high), logarithm in zip(case.ranges, case.logarithms, strict=True):
        array = (low + high) / 2 + share * (high - low) * rng.uniform(-0.5, 0.5, shape)
        arrays.append(10**array if logarithm else array)
    return case.emission.from_parameters(*arrays)


def arrays_of(parameters):
    """The arrays of the parameters that an M step changes."""
    return [value for name, value in vars(parameters).items() if name != "total"]


def draws_of(emission, n_rows=300, seed=0):
    """Rows of all states in turn."""
    parameters = emission.parameters()
    states = np.arange(n_rows) % parameters.n_components
    return parameters.sample(states, np.random.RandomState(seed))


def numerical_maximum(family, x, weight, starts):
    """The (parameters, average log-likelihood) of one column of rows, by scipy.optimize."""
    case = CASES[family]

    def loss(v):
        value = -(weight @ case.terms(x, *case.decode(v))) / weight.sum()
        return value if np.isfinite(value) else 1e300

    options = {"xatol": 1e-10, "fatol": 1e-14, "maxiter": 4000, "maxfev": 4000}
    found = [minimize(loss, v, method="Nelder-Mead", options=options) for v in starts]
    best = min(found, key=lambda each: each.fun)
    return case.decode(best.x), -best.fun
