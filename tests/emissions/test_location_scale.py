"""Location-scale emissions do not depend on units or on the order of labels."""

import numpy as np
import pytest

from skvae.blocks import Rows
from skvae.emissions.gaussian import GaussianEmission
from skvae.emissions.gaussian_mixture import GaussianMixtureEmission
from skvae.emissions.student_t import StudentTEmission
from tests.emissions.location_scale_cases import fixed_weights_em, summary_of
from tests.problems import COVARIANCE_TYPES, blobs, knock_out

FAMILIES = (GaussianEmission, GaussianMixtureEmission, StudentTEmission)


@pytest.mark.parametrize("kind", COVARIANCE_TYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_units_change_the_bound_by_their_jacobian(family, kind):
    X = knock_out(blobs(150, 3, 3), 0.05)
    labels = np.random.default_rng(0).integers(3, size=150)
    emission = family(covariance_type=kind)
    units = [1.0, 1e-6, 1e6]
    if kind != "spherical" and family is not GaussianMixtureEmission:  # its k-means sees units
        units.append(np.array([1e-6, 1.0, 1e6]))
    bounds = []
    for unit in units:
        summary = summary_of(emission, X * unit)
        rng = np.random.RandomState(0)
        first = emission.first(Rows(X * unit), labels, 3, summary, rng)
        trace, _ = fixed_weights_em(emission, first, X * unit, 10)
        jacobian = (~np.isnan(X)).sum(axis=0) @ np.log(np.broadcast_to(unit, 3))
        bounds.append(trace[-1] + jacobian)
    np.testing.assert_allclose(bounds[1:], bounds[0], rtol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_states_in_another_order_are_the_same_states(family):
    X = blobs(90, 2, 3)
    labels = np.random.default_rng(0).integers(3, size=90)
    emission = family(1) if family is GaussianMixtureEmission else family()
    summary = summary_of(emission, X)
    one = emission.first(Rows(X), labels, 3, summary, np.random.RandomState(0))
    two = emission.first(Rows(X), 2 - labels, 3, summary, np.random.RandomState(0))
    np.testing.assert_allclose(two.means()[::-1], one.means(), rtol=1e-12)
    np.testing.assert_allclose(two.covariances()[::-1], one.covariances(), rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_floor_where_reg_covar_is_zero_but_for_the_start(family):
    X = blobs(50, 2, 2)
    summary = summary_of(family(reg_covar=0), X)
    assert (summary.floor == 0).all()
    assert (summary.first_floor > 0).all()
