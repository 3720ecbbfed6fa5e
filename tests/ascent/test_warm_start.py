"""A warm start with another objective: it does not compare its bound with that of the earlier fit.

The first bound of a further fit is that of the earlier parameters. If data, floors, priors or zeros
have changed, it may exceed every bound that the new objective allows, so a small difference between
it and another bound is no sign of convergence.
"""

import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    GaussianEmission,
    PoissonEmission,
)
from tests.problems import blobs, on_the_floor

TOL = 1e-4
MODELS = [
    EMGaussianMixture(3, random_state=0, tol=TOL, max_iter=500),
    BayesianMixtureSVI(3, learning_method="batch", random_state=0, tol=TOL, max_iter=500),
    BayesianMixtureSVI(3, random_state=0, tol=TOL, max_iter=500),
    EMHiddenMarkov(3, random_state=0, tol=TOL, max_iter=500),
]
every_model = pytest.mark.parametrize("model", MODELS, ids=["EM", "batch", "memoized", "chain"])


def assert_at_an_optimum(model, fit):
    """The bound rose in every iteration, and a further fit gains little more than ``tol``."""
    assert model.converged_
    assert (np.diff(model.lower_bounds_) > -1e-9).all()
    bound = model.lower_bound_
    assert fit(model).lower_bound_ - bound < 5 * TOL


def sequences_with_a_common_beginning(seed):
    """Sequences that begin in either state."""
    rng = np.random.default_rng(seed)
    states = np.concatenate([np.repeat([s % 2, 1 - s % 2], [6, 6]) for s in range(20)])
    X = 4.0 * states[:, None] + rng.normal(size=(240, 1))
    return X, np.repeat(np.arange(20), 12)


@pytest.mark.parametrize("recorded", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_new_zeros_of_a_chain(seed, recorded):
    X, groups = sequences_with_a_common_beginning(seed)
    chain = EMHiddenMarkov(2, random_state=seed, tol=TOL, warm_start=recorded)
    chain.fit(X, groups=groups)
    chain.set_params(warm_start=True, startprob_init=[1.0, 0.0], max_iter=1000)
    chain.fit(X, groups=groups)
    assert chain.n_iter_ > 2
    assert chain.startprob_[1] == 0.0
    assert_at_an_optimum(chain, lambda model: model.fit(X, groups=groups))


@on_the_floor
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "model",
    [
        EMGaussianMixture(3, tol=TOL),
        EMGaussianMixture(3, covariance_type="spherical", tol=TOL, acceleration="anderson"),
        EMHiddenMarkov(3, covariance_type="diag", tol=TOL),
        EMHiddenMarkov(3, emission=GaussianEmission("tied"), tol=TOL),
    ],
    ids=["mixture", "accelerated", "chain", "emission"],
)
def test_a_raised_floor(model, seed):
    X = blobs(300, seed=seed)
    X /= X.std(axis=0)
    model = clone(model).set_params(warm_start=True, random_state=seed, max_iter=1000).fit(X)
    own = isinstance(getattr(model, "emission", None), GaussianEmission)
    name = "emission__reg_covar" if own else "reg_covar"
    model.set_params(**{name: 0.3}).fit(X)
    floored = clone(model).set_params(warm_start=False).fit(X)
    assert_at_an_optimum(model, lambda other: other.fit(X))
    assert model.lower_bound_ < floored.lower_bound_ + 0.5  # the floor was obeyed


@every_model
@pytest.mark.parametrize("seed", range(2))
def test_other_rows_or_weights(model, seed):
    X, Y = blobs(300, seed=seed), 1.3 * blobs(300, seed=seed + 10)
    model = clone(model).set_params(warm_start=True).fit(X)
    assert_at_an_optimum(model.fit(Y), lambda other: other.fit(Y))
    if isinstance(model, EMHiddenMarkov):
        weight = {"groups": np.arange(300) // 30, "sequence_weight": 1.0 + np.arange(300) // 150}
    else:
        weight = {"sample_weight": np.linspace(0.0, 3.0, 300)}
    assert_at_an_optimum(model.fit(Y, **weight), lambda other: other.fit(Y, **weight))


@pytest.mark.parametrize("emission", [CategoricalEmission(), BernoulliEmission()])
def test_a_prior_leaves_the_zeros_of_the_earlier_fit(emission):
    """Under a prior above one, probabilities of zero have the bound −inf: EM leaves them."""
    X = np.repeat([0.0, 1.0, 0.0, 1.0], 30)[:, None]
    chain = EMHiddenMarkov(2, emission=emission, random_state=0, max_iter=1000, tol=TOL).fit(X)
    chain.set_params(warm_start=True, emission__prior=2.0).fit(X)
    probabilities = np.sort(chain.emission_.probabilities_.ravel())
    # About (60 + 1) / (60 + 2) of the rows of each state, and the rest.
    assert_allclose(probabilities[[0, -1]], [1 / 62, 61 / 62], rtol=0.1)
    assert np.isfinite(chain.lower_bounds_).all()


@every_model
def test_the_same_objective_is_compared_and_the_way_to_it_does_not_matter(model):
    X = blobs(300)
    model = clone(model).set_params(warm_start=True).fit(X)
    if model.get_params().get("learning_method") == "memoized":
        return  # the bound of its first lap is an estimate
    model.set_params(max_iter=77, random_state=5, verbose=0).fit(X.copy())
    assert model.n_iter_ == 1
    model.partial_fit(X).fit(X)
    assert model.n_iter_ > 1


def test_an_emission_that_cannot_be_compared_is_another_objective():
    class Odd(PoissonEmission):
        def __init__(self, rates_init=None, extra=None):
            super().__init__(rates_init=rates_init)
            self.extra = extra

    X = np.random.default_rng(0).poisson(3.0, size=(60, 1)).astype(float)
    chain = EMHiddenMarkov(2, emission=Odd(extra=object()), warm_start=True, max_iter=1000)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        chain.fit(X).fit(X)
    assert chain.n_iter_ == 3
