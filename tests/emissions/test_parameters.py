"""Records of parameters and the domains of their fields: coordinates, sizes, order, postponed
annotations, constants, and statistics of every shape."""

import inspect
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae.ascent.loop import Collapse
from skvae.emissions import (
    Emission,
    EmissionParameters,
    NonNegative,
    Positive,
    Probability,
    Real,
    Simplex,
)
from skvae.emissions.parameters import domains
from tests.emissions.tools import log_density, statistics

SOME = {
    Real: np.array([[-2.0, 0.0, 3.0], [1e6, 5.0, -0.1]]),
    NonNegative: np.array([[0.0, 1.0, 2.5], [1e-9, 3.0, 1e6]]),
    Positive: np.array([[1e-9, 1.0, 2.5], [1e-3, 3.0, 1e6]]),
    Probability: np.array([[0.1, 0.5, 0.999], [1e-9, 0.3, 0.7]]),
    Simplex: np.array([[0.2, 0.3, 0.5], [1e-9, 0.5, 0.5 - 1e-9]]),
}
every_domain = pytest.mark.parametrize("domain", SOME, ids=lambda domain: domain.__name__)


@every_domain
def test_coordinates_are_inverted(domain):
    array, unit = SOME[domain], np.array([1.0, 10.0, 0.1])
    domain.check("array", array)
    found = domain.entries(domain.coordinates(array, unit), unit)
    assert_allclose(found, array, rtol=1e-9, atol=0)
    with pytest.raises(Collapse, match="overflows"):
        domain.entries(np.full((2, 3), np.nan), unit)


@every_domain
def test_entries_of_any_coordinates_are_in_the_domain(domain):
    for seed in range(3):
        coordinates = np.random.default_rng(seed).normal(scale=100.0, size=(4, 3))
        domain.check("array", domain.entries(coordinates, 1.0))


@every_domain
def test_nudged_entries_differ_and_stay_in_the_domain(domain):
    array = np.repeat(SOME[domain][:1], 5, axis=0)
    found = domain.nudged(array, np.array([1.0, 2.0, 3.0]), np.random.RandomState(0))
    domain.check("array", found)
    assert len(np.unique(found[:, 1])) == 5
    assert found.shape == array.shape


@pytest.mark.parametrize(
    ("domain", "wrong", "text"),
    [
        (NonNegative, [[-1.0]], r"rates has an entry -1\.0: must be >= 0"),
        (Positive, [[0.0]], r"rates has an entry 0\.0: must be > 0"),
        (Probability, [[-0.1]], r"rates has an entry -0\.1: must be in \[0, 1\]"),
        (Probability, [[1.1]], r"rates has an entry 1\.1: must be in \[0, 1\]"),
        (Simplex, [[-0.5, 1.5]], r"rates has an entry -0\.5: must be >= 0"),
        (Simplex, [[0.5, 0.4]], r"rates sums to 0\.9 over the last axis: must sum to 1"),
    ],
)
def test_values_outside_a_domain(domain, wrong, text):
    with pytest.raises(ValueError, match=text):
        domain.check("rates", np.array(wrong))


def test_probabilities_are_not_rounded_to_zero_or_one():
    extreme = np.array([[-1e4, 1e4]])
    assert ((found := Probability.entries(extreme, 1.0)) > 0).all()
    assert (found < 1).all()
    assert (Simplex.entries(extreme, 1.0) > 0).all()


# Records ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mixed(EmissionParameters):
    """A record with fields of two domains and a constant."""

    weights: Simplex
    locations: Real
    size: float = 2.0

    def log_density(self, X):
        """The features are dependent: the density of the whole row, (K, n)."""
        return -np.abs(np.nan_to_num(X)[None] - self.locations[:, None]).sum(axis=2)

    def sufficient_statistics(self, X):
        """Expected statistics of a latent variable, which depend on the state."""
        return np.stack([X[None] + self.locations[:, None], X[None] * self.locations[:, None]])

    def expected_statistics(self):
        return np.stack([2 * self.locations, self.locations**2])

    def means(self):
        return self.locations


PARAMETERS = Mixed(SOME[Simplex], SOME[Real][:, ::-1].copy(), 3.0)


def test_constants_are_kept_and_not_counted():
    assert domains(Mixed) == {"weights": Simplex, "locations": Real}
    assert PARAMETERS.n_parameters() == 2 * 2 + 2 * 3
    assert PARAMETERS.n_parameters(1) == 5
    vector = PARAMETERS.pack(None)
    assert vector.shape == (12,)
    found = PARAMETERS.unpack(vector, None)
    assert found.size == 3.0
    assert_allclose(found.weights, PARAMETERS.weights, rtol=1e-12)
    assert PARAMETERS._replace(size=1.0).size == 1.0
    assert [*PARAMETERS][2] == 3.0
    found = PARAMETERS.reordered(np.array([1, 0]))
    assert_array_equal(found.locations, PARAMETERS.locations[::-1])
    assert_array_equal(found.weights, PARAMETERS.weights[::-1])


def test_densities_of_whole_rows_and_statistics_that_depend_on_the_state():
    rng = np.random.default_rng(0)
    X, resp = rng.normal(size=(30, 3)), rng.random((2, 30))
    X[::4, 1] = np.nan
    assert log_density(PARAMETERS, X).shape == (2, 30)
    found = statistics(PARAMETERS, X, resp, 7)
    seen, filled = ~np.isnan(X), np.nan_to_num(X)
    assert_allclose(found[0], resp @ seen, rtol=1e-12)
    locations = PARAMETERS.locations
    assert_allclose(found[1], resp @ filled + locations * (resp @ seen), rtol=1e-12)
    assert_allclose(found[2], locations * (resp @ filled), rtol=1e-12)


def test_entries_that_depend_on_each_other_are_kept_together():
    some = np.array([[True, False, True], [False, False, False]])
    other = Mixed(np.full((2, 3), 1 / 3), np.zeros((2, 3)))
    found = other._kept(PARAMETERS, some)
    assert_array_equal(found.weights, [other.weights[0], PARAMETERS.weights[1]])
    assert_array_equal(found.locations, np.where(some, 0.0, PARAMETERS.locations))


def test_postponed_annotations_are_domains():
    space = {"__name__": __name__}
    text = (
        "from __future__ import annotations\n"
        "from dataclasses import dataclass\n"
        "from skvae.emissions import Emission, EmissionParameters, Positive\n"
        "@dataclass(frozen=True)\n"
        "class Rates(EmissionParameters):\n"
        "    rates: Positive\n"
        "    unit: float = 1.0\n"
    )
    exec(compile(text, "postponed", "exec"), space)
    assert domains(space["Rates"]) == {"rates": Positive}


@every_domain
def test_entries_inside_a_domain_are_not_on_its_border(domain):
    assert_array_equal(domain.inside(SOME[domain][1:]), SOME[domain][1:])
    border = np.array([[0.0, 1.0, 0.0]])
    found = domain.inside(border)
    domain.check("array", found)
    assert_allclose(found, border, atol=1e-15)
    limited = issubclass(domain, Probability)
    if domain is not Real:
        assert (found > 0).all()
        assert (found < 1).all() == (limited and domain is not Simplex)


def test_known_parameters_are_the_fields_of_the_record():
    @dataclass(frozen=True)
    class Errors(EmissionParameters):
        """Errors.

        Parameters
        ----------
        scales : ndarray of shape (n_components, n_features)
            Scales above zero.
        """

        scales: Positive
        unit: np.ndarray = None

        def means(self):
            return 0.0 * self.scales

    class ErrorEmission(Emission):
        """Errors.

        Examples
        --------
        >>> 1 + 1
        2
        """

        record = Errors

    known = ErrorEmission.from_parameters
    assert list(inspect.signature(known).parameters) == ["scales", "unit"]
    assert "scales : array-like of shape" in known.__doc__
    assert ">>> 1 + 1" in known.__doc__
    assert known([[2.0]]).parameters().unit is None
    assert known(unit=np.array(3.0), scales=[[2.0]]).unit_ == 3.0
    with pytest.raises(TypeError, match="missing a required argument: 'scales'"):
        known()
    with pytest.raises(ValueError, match=r"scales has an entry 0.0: must be > 0"):
        known([[0.0]])

    class Plain(Emission):
        record = Errors

    assert "The fields of the parameters" in inspect.getdoc(Plain.from_parameters)


def test_methods_that_a_family_has_to_write():
    parameters, emission = EmissionParameters(), Emission()
    for method, arguments in (
        (parameters.log_density, (None,)),
        (parameters.sample, (None, None)),
        (parameters.means, ()),
        (parameters.variances, ()),
        (emission.start, (None, None)),
        (emission.estimate, (None, None)),
    ):
        with pytest.raises(NotImplementedError, match=f"has no {method.__name__}"):
            method(*arguments)


def test_a_prior_of_pseudo_rows_is_subtracted_from_earlier_rows():
    """Of a mean with a prior, the M step of the earlier statistics returns the parameters."""

    @dataclass(frozen=True)
    class Means(EmissionParameters):
        locations: Real

        def means(self):
            return self.locations

    class WithPrior(Emission):
        record = Means

        def estimate(self, averages, old):
            return Means(averages[0])

        def prior_statistics(self, parameters):
            n, sums = np.full((2, 3), 4.0), np.full((2, 3), 4.0 * 7.0)
            return np.stack([n, sums])

    emission, parameters = WithPrior(), Means(PARAMETERS.locations)
    rows = emission.earlier_statistics(parameters, [5.0, 0.0])
    assert_allclose(rows[0], [[5.0] * 3, [0.0] * 3], atol=1e-12)
    found = emission.maximize(parameters, rows, None)
    assert_allclose(found.locations, parameters.locations, rtol=1e-12)
    shrunk = emission.maximize(parameters, parameters.statistics([5.0, 5.0]), None)
    assert_allclose(shrunk.locations, (5 * parameters.locations + 28) / 9, rtol=1e-12)
