"""Every emission: log-densities of rows, in all forms of input."""

import warnings

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skvae import EMHiddenMarkov
from skvae.emissions import EMISSIONS, ColumnEmission
from skvae.hmm import GaussianEmission, PoissonEmission
from tests.emissions.tools import holes, some_resp, summary_of
from tests.hmm.problems import FAMILIES, known_model, rows_of
from tests.hmm_oracles import log_emission

every_family = pytest.mark.parametrize("family", FAMILIES)


@every_family
@pytest.mark.parametrize("missing", [False, True])
def test_log_densities_are_those_of_scipy(family, missing):
    for seed in (0, 1):
        model = known_model(family, 3, seed=seed)
        X = rows_of(model, (40,), seed=seed)
        X = holes(X, seed=seed) if missing else X
        found = model.emission_.log_density(X)
        assert found.shape == (40, 3)
        assert found.dtype == np.float64
        assert_allclose(found, log_emission(X, model.emission_), rtol=1e-9, atol=1e-10)
        if missing:
            assert_allclose(found[0], 0.0, atol=1e-15)


@every_family
def test_rows_in_many_blocks_are_the_same_rows(family):
    emission = known_model(family).emission_
    few = holes(rows_of(known_model(family), (50,)))
    many = np.tile(few, (3000, 1))
    found = emission.log_density(many).reshape(3000, 50, -1)
    expected = np.broadcast_to(emission.log_density(few), found.shape)
    assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def test_a_state_that_excludes_a_row():
    emission = PoissonEmission.from_parameters([[0.0], [3.0]])
    assert_array_equal(emission.log_density([[2]])[0] == -np.inf, [True, False])


def test_forms_of_rows():
    emission = GaussianEmission.from_parameters([[0.0, 1.0], [5.0, 2.0]], [1.0, 4.0], "spherical")
    X = np.array([[0.5, np.nan], [4.0, 3.0]], dtype=np.float32)
    expected = emission.log_density(X.astype(np.float64))
    masked = np.ma.masked_invalid(np.where(np.isnan(X), np.inf, X))
    for form in (X, X.tolist(), masked, pd.DataFrame(X, columns=["a", "b"]), np.asfortranarray(X)):
        assert_array_equal(emission.log_density(form), expected)
        assert emission.log_density(form).dtype == np.float64


def test_rows_that_are_not_usable():
    emission = PoissonEmission.from_parameters([[1.0, 2.0], [5.0, 3.0]])
    text = "X has 1 features, but PoissonEmission is expecting 2 features as input"
    with pytest.raises(ValueError, match=text):
        emission.log_density([[1]])
    with pytest.raises(ValueError, match=r"X\[:, 1\] holds 0.5: a Poisson emission takes whole"):
        emission.log_density([[1, 0.5]])
    with pytest.raises(ValueError, match="infinity"):
        emission.log_density([[1, np.inf]])
    with pytest.raises(ValueError, match="2D array"):
        emission.log_density([1, 2])
    with pytest.raises(ValueError, match="minimum of 1 is required"):
        emission.log_density(np.empty((0, 2)))


@pytest.mark.parametrize(
    "emission", [*(kind() for kind in EMISSIONS.values()), ColumnEmission([])], ids=str
)
def test_not_fitted(emission):
    with pytest.raises(NotFittedError, match="is not fitted: it has no parameters"):
        emission.log_density([[0.0]])


# Blocks -------------------------------------------------------------------------------------------


@every_family
@pytest.mark.parametrize("missing", [False, True])
def test_a_block_accumulates_with_and_without_its_densities(family, missing):
    model = known_model(family)
    parameters = model.emission_.parameters()
    X = rows_of(model, (60,))
    X = holes(X) if missing else X
    resp, found = some_resp(3, 60), []
    for with_densities in (True, False):
        kernel = parameters.kernel()
        sums, workspace = kernel.sums(), kernel.workspace()
        for rows, block in kernel.blocks(X, workspace):
            if with_densities:
                block.log_density()
            block.accumulate(sums, resp[:, rows].copy())
        # A second time: the results of log_density are used once.
        for rows, block in kernel.blocks(X, workspace):
            block.accumulate(sums, 0.0 * resp[:, rows])
        found.append(model.emission_.maximize(parameters, kernel.finish(sums), summary(model, X)))
    assert_allclose(found[0].means(), found[1].means(), rtol=1e-12)
    assert_allclose(found[0].covariances(), found[1].covariances(), rtol=1e-12)


def summary(model, X):
    return summary_of(clone(model.emission_), X)


@pytest.mark.parametrize("emission", EMISSIONS)
def test_long_sequences_are_read_in_blocks(emission):
    """Blocks that the forward pass keeps are read again for their statistics."""
    rng = np.random.default_rng(0)
    states = np.repeat(rng.integers(0, 2, 200), 150)
    X = rng.poisson(np.array([1.0, 4.0])[states])[:, None].astype(float)
    X = np.minimum(X, 1.0) if emission == "bernoulli" else X
    X = X + 0.5 if emission == "gamma" else X
    chain = EMHiddenMarkov(2, emission=emission, random_state=0, max_iter=3, tol=0.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        chain.fit(X)
    assert np.isfinite(chain.lower_bounds_).all()
    assert (np.diff(chain.lower_bounds_) > -1e-10).all()
    assert_allclose(chain.score(X), chain.lower_bound_, rtol=1e-12)
