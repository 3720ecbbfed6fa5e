"""The picture of the average posterior beside the prior."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError

from skvae import VariationalAutoencoder
from skvae.inspection import AggregatePosteriorDisplay


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(60, 4)) * [1.0, 2.0, 3.0, 4.0]


def fitted(X, n_components, **params):
    params = {"hidden_layer_sizes": (), "max_epochs": 1, "random_state": 0, **params}
    return VariationalAutoencoder(n_components, **params).fit(X)


@pytest.mark.parametrize("covariance", ["diag", "full"])
def test_draws_are_of_the_posteriors_and_the_prior(X, covariance):
    vae = fitted(X, 3, encoder_covariance=covariance)
    many = np.tile(X[:1], (4000, 1))
    display = AggregatePosteriorDisplay.from_estimator(vae, many, dimensions=(2, 0))
    posterior, prior = (np.asarray(d.get_offsets()) for d in display.draws_[::-1])
    mean, variances = vae.posterior(X[:1])
    assert_allclose(posterior.mean(axis=0), mean[0, [2, 0]], atol=0.1)
    assert_allclose(np.cov(posterior.T), variances[0][np.ix_([2, 0], [2, 0])], atol=0.1)
    assert_allclose(np.cov(prior.T), np.eye(2), atol=0.1)
    assert display.ax_.get_xlabel() == "latent dimension 2"
    assert display.ax_.get_ylabel() == "latent dimension 0"


def test_the_number_is_in_the_legend(X):
    vae = fitted(X, 2)
    display = AggregatePosteriorDisplay.from_estimator(vae, X)
    found = vae.aggregate_kl(X)
    texts = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    named = f"posteriors of the rows: KL from {found.lower:.2f} to {found.upper:.2f} nats"
    assert texts == ["prior", named]
    again = AggregatePosteriorDisplay.from_estimator(vae, X)
    assert_allclose(again.Z, display.Z)
    other = AggregatePosteriorDisplay.from_estimator(vae, X, random_state=1)
    assert not np.allclose(other.Z_prior, display.Z_prior)
    assert not np.allclose(other.Z, display.Z)


def test_the_dimensions_are_those_that_differ_most():
    class Model(BaseEstimator):
        def __sklearn_is_fitted__(self):
            return True

        def fit(self, X):
            return self

        def posterior(self, X):
            mean = np.zeros((len(X), 4)) + [0.0, 3.0, 0.0, -2.0]
            return mean, np.tile(np.eye(4), (len(X), 1, 1))

        def sample(self, n, random_state):
            return None, random_state.normal(size=(n, 4))

        def aggregate_kl(self, X):
            return type("Divergence", (), {"lower": 1.0, "upper": 2.0})

    display = AggregatePosteriorDisplay.from_estimator(Model(), np.zeros((300, 2)))
    assert display.dimensions == (1, 3)


def test_one_dimension_has_histograms(X):
    display = AggregatePosteriorDisplay.from_estimator(fitted(X, 1), X)
    assert display.dimensions == (0,)
    assert display.ax_.get_ylabel() == "density"
    assert len(display.draws_) == 2
    one_of_three = AggregatePosteriorDisplay.from_estimator(fitted(X, 3), X, dimensions=[1])
    assert one_of_three.ax_.get_xlabel() == "latent dimension 1"


@pytest.mark.parametrize("dimensions", [(0, 0), (0, 5), (), (0, 1, 2), 1.5])
def test_wrong_dimensions(X, dimensions):
    with pytest.raises(ValueError, match="different latent dimensions, from 0 to 2"):
        AggregatePosteriorDisplay.from_estimator(fitted(X, 3), X, dimensions=dimensions)


def test_it_needs_a_fit(X):
    with pytest.raises(NotFittedError):
        AggregatePosteriorDisplay.from_estimator(VariationalAutoencoder(), X)


def test_in_given_axes(X):
    _, ax = plt.subplots()
    display = AggregatePosteriorDisplay(X[:, :2], X[:, 2:]).plot(ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    assert display.ax_.get_legend().get_texts()[1].get_text() == "posteriors of the rows"


def test_given_columns_are_passed_on(X):
    vae = fitted(X, 2, condition=[0], prior="normal")
    with pytest.raises(ValueError, match="condition=None: must have the values of the columns"):
        AggregatePosteriorDisplay.from_estimator(vae, X)
    display = AggregatePosteriorDisplay.from_estimator(vae, X, condition=X[:1, :1])
    assert display.Z_prior.shape == (60, 2)
