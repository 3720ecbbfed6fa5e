"""Families with independent columns or whole rows: densities by scipy, random problems."""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit
from scipy.stats import gamma, multinomial, nbinom, poisson, vonmises

from skvae.hmm import (
    GammaEmission,
    MultinomialEmission,
    NegativeBinomialEmission,
    VonMisesEmission,
    ZeroInflatedPoissonEmission,
)


def gamma_terms(x, shapes, scales):
    return gamma.logpdf(x, shapes, scale=scales)


def von_mises_terms(x, directions, concentrations):
    return vonmises.logpdf(x, concentrations, loc=directions)


def negative_binomial_terms(x, rates, dispersions):
    size = 1.0 / np.where(dispersions > 0, dispersions, 1.0)
    found = nbinom.logpmf(x, size, size / (size + rates))
    return np.where(dispersions > 0, found, poisson.logpmf(x, rates))


def zero_inflated_terms(x, rates, zero_weights):
    with np.errstate(divide="ignore"):
        return np.log(zero_weights * (x == 0) + (1.0 - zero_weights) * poisson.pmf(x, rates))


class Case(NamedTuple):
    """A family with independent columns.

    ``random`` draws parameters of any shape, ``terms`` is ln p(x) by scipy, and ``decode`` maps two
    numbers without limits to the parameters of one column.
    """

    emission: type
    random: object
    terms: object
    decode: object


def decode_rates(v):
    return np.exp(np.clip(v, -30, 30))


CASES = {
    "gamma": Case(
        GammaEmission,
        lambda rng, shape: (10 ** rng.uniform(-1, 1.5, shape), 10 ** rng.uniform(-1, 2, shape)),
        gamma_terms,
        lambda v: (decode_rates(v[0]), decode_rates(v[1] - v[0])),
    ),
    "von_mises": Case(
        VonMisesEmission,
        lambda rng, shape: (rng.uniform(-3.1, 3.1, shape), 10 ** rng.uniform(-1, 1.5, shape)),
        von_mises_terms,
        lambda v: (np.arctan2(v[1], v[0]), np.hypot(v[0], v[1])),
    ),
    "negative_binomial": Case(
        NegativeBinomialEmission,
        lambda rng, shape: (10 ** rng.uniform(-0.5, 2.5, shape), 10 ** rng.uniform(-2, 1, shape)),
        negative_binomial_terms,
        # Near α = 0 the density of scipy is not exact.
        lambda v: (decode_rates(v[0]), decode_rates(max(v[1], -11.0))),
    ),
    "zero_inflated_poisson": Case(
        ZeroInflatedPoissonEmission,
        lambda rng, shape: (10 ** rng.uniform(-0.5, 1.3, shape), rng.uniform(0, 0.9, shape)),
        zero_inflated_terms,
        lambda v: (decode_rates(v[0]), expit(np.clip(v[1], -30, 30))),
    ),
}


def random_emission(family, n_components=3, n_features=2, seed=0):
    """A fitted emission."""
    rng = np.random.default_rng(seed)
    if family == "multinomial":
        probabilities = rng.dirichlet(np.ones(n_features + 1), n_components)
        return MultinomialEmission.from_parameters(probabilities, total=9)
    case = CASES[family]
    return case.emission.from_parameters(*case.random(rng, (n_components, n_features)))


def arrays_of(parameters):
    """The arrays of the parameters that an M step changes."""
    return [value for name, value in vars(parameters).items() if name != "total"]


def draws_of(emission, n_rows=300, seed=0):
    """Rows of all states in turn."""
    parameters = emission.parameters()
    states = np.arange(n_rows) % parameters.n_components
    return parameters.sample(states, np.random.RandomState(seed))


def oracle(X, emission, family):
    """ln p(x | state) of the observed values by scipy, (n, K)."""
    arrays = arrays_of(emission.parameters())
    if family == "multinomial":
        missing = np.isnan(X).any(axis=1)
        X = np.where(missing[:, None], 0.0, X).astype(int)
        found = [multinomial.logpmf(X, X.sum(axis=1), p) for p in arrays[0]]
        return np.where(missing, 0.0, np.stack(found)).T
    filled = np.where(np.isnan(X), 1.0, X)[:, None]
    terms = CASES[family].terms(filled, *arrays)
    return np.where(np.isnan(X)[:, None], 0.0, terms).sum(axis=2)


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
