"""A chain never ends below a chain whose emission is a special case of its own."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import t as student

from skvae import EMHiddenMarkov
from skvae.blocks import Rows, workers
from skvae.hmm import (
    ColumnEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    PoissonEmission,
    StudentTEmission,
)
from tests.problems import COVARIANCE_TYPES, on_the_floor


def data(kind, seed):
    """Rows of two states: with one mean, with two, or with heavy tails."""
    rng = np.random.default_rng(seed)
    states = np.repeat([0, 1, 0, 1], 150)[:, None]
    noise = rng.normal(size=(600, 2))
    if kind == "spreads":
        return noise * np.array([1.0, 4.0])[states]
    if kind == "means":
        return noise + 3.0 * states
    return student.rvs(2.5, size=(600, 2), random_state=seed) + 6.0 * states


def fitted(emission, X, seed, **settings):
    return EMHiddenMarkov(2, emission=emission, random_state=seed, **settings).fit(X)


@on_the_floor
@pytest.mark.parametrize("kind", ["spreads", "means"])
@pytest.mark.parametrize("init_params", ["kmeans", "random_from_data"])
@pytest.mark.parametrize("covariance_type", ["full", "diag"])
@pytest.mark.parametrize(
    "emission", [GaussianMixtureEmission(), GaussianMixtureEmission(3), StudentTEmission()]
)
def test_default_fits_do_not_end_below_the_gaussian(emission, covariance_type, init_params, kind):
    settings = {"init_params": init_params, "max_iter": 1000}
    for seed in range(2):
        X = data(kind, seed)
        gaussian = fitted(GaussianEmission(covariance_type), X, seed, **settings)
        emission.covariance_type = covariance_type
        model = fitted(emission, X, seed, **settings)
        assert model.converged_
        assert model.lower_bound_ > gaussian.lower_bound_ - 1e-5
        assert_allclose(model.lower_bound_, model.score(X), rtol=1e-10)
        assert (np.diff(model.lower_bounds_) > -1e-9).all()


def test_the_parts_of_columns_do_not_either():
    rng = np.random.default_rng(0)
    for seed in range(3):
        X = np.column_stack([data("spreads", seed), data("means", seed), rng.poisson(3.0, 600)])
        parts = [("a", GaussianMixtureEmission(), [0, 1]), ("b", StudentTEmission(), [2, 3])]
        simpler = [("a", GaussianEmission(), [0, 1]), ("b", GaussianEmission(), [2, 3])]
        last = ("c", PoissonEmission(), 4)
        bounds = [
            fitted(ColumnEmission([*each, last]), X, seed, max_iter=1000).lower_bound_
            for each in (simpler, parts)
        ]
        assert bounds[1] > bounds[0] - 1e-5


def test_heavy_tails_and_two_modes_are_still_found():
    for seed in range(3):
        X = data("tails", seed)
        gaussian = fitted("gaussian", X, seed, max_iter=1000)
        model = fitted("student_t", X, seed, max_iter=1000)
        assert model.lower_bound_ > gaussian.lower_bound_ + 0.1
        assert (model.emission_.dofs_ < 6).all()
        modes = data("means", seed) + 8.0 * np.random.default_rng(9).integers(2, size=(600, 1))
        gaussian = fitted("gaussian", modes, seed, max_iter=1000)
        model = fitted("gaussian_mixture", modes, seed, max_iter=1000)
        assert model.lower_bound_ > gaussian.lower_bound_ + 0.1


@pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
def test_parameters_of_the_special_case_are_contained(covariance_type):
    X = data("means", 0)
    gaussian = fitted(GaussianEmission(covariance_type), X, 0).emission_
    expected = gaussian.log_density(X)
    for emission, rtol in ((GaussianMixtureEmission(3), 1e-12), (StudentTEmission(), 1e-4)):
        emission.covariance_type = covariance_type
        model = fitted(emission, X, 0)  # for the summary of X
        assert type(emission._special_case()) is GaussianEmission
        exact, near = emission._containing(gaussian.parameters(), summary_of(model, X))
        other = type(emission)(covariance_type=covariance_type)
        other.store(exact)
        assert_allclose(other.log_density(X), expected, rtol=rtol)
        other.store(near)
        assert np.abs(other.log_density(X) - expected).max() > 1e-3


def summary_of(model, X):
    with workers() as pool:
        return model.emission_.summarize(Rows(X), pool)


@pytest.mark.parametrize(
    "emission",
    [
        GaussianEmission(),
        GaussianMixtureEmission(1),
        GaussianMixtureEmission(means_init=np.zeros((2, 2, 2))),
        StudentTEmission(learn_dofs=False),
        StudentTEmission(means_init=np.zeros((2, 2))),
        ColumnEmission(
            [("a", GaussianEmission(), 0), ("b", StudentTEmission(learn_dofs=False), 1)]
        ),
    ],
)
def test_emissions_without_a_special_case_or_with_given_values(emission):
    assert emission._special_case is None or emission._special_case() is None
