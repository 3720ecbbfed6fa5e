"""A mixture prior starts at the clusters of the latents, and finds separated ones."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.metrics import adjusted_rand_score

from skvae.neural.priors import Mixture
from skvae.neural.training import prior_initialization
from skvae.neural.training.batches import RowBatches, RowDataset
from skvae.neural.training.net import train
from skvae.neural.training.prior_initialization import initialize_components, latent_moments
from skvae.vae.bound_module import SampledBound
from tests.combinations import slow
from tests.neural.training.training_problems import linear_rows, model_for, net_for


def clusters(seed, *, n_samples=1000, n_clusters=5, n_features=10):
    """Round clusters at a distance of about 11 standard deviations, standardised, and labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(n_clusters, n_features))
    centres *= 4.0 / np.linalg.norm(centres, axis=1, keepdims=True)
    labels = rng.integers(n_clusters, size=n_samples)
    X = centres[labels] + 0.5 * rng.normal(size=(n_samples, n_features))
    return (X - X.mean(axis=0)) / X.std(axis=0), labels


@pytest.mark.parametrize("seed", [0, *slow(1, 2, 3, 4)])
def test_separated_clusters_are_found(seed):
    X, labels = clusters(seed)
    nets = []
    for prior in ("mixture", "normal"):
        model = model_for(X, prior=prior, n_prior_components=5, hidden_layer_sizes=(64,), seed=seed)
        net = net_for(X, model=model, seed=seed, lr=3e-3, max_epochs=60)
        train(net, X)
        nets.append(net)
    model = nets[0].module_.model
    with torch.no_grad():
        z = model.encode(torch.tensor(X, dtype=torch.float32)).mean
        found = model.prior_density().responsibilities(z).argmax(dim=1)
    assert adjusted_rand_score(labels, found) >= 0.95
    bounds = [np.mean(net.history[-10:, "train_bound"]) for net in nets]
    assert bounds[0] > bounds[1] + 0.1


@pytest.mark.parametrize("limit", [2**14, 40, 7])
def test_moments_are_those_of_rows_spread_evenly(monkeypatch, limit):
    monkeypatch.setattr(prior_initialization, "ENOUGH_ROWS", limit)
    X = linear_rows(100)
    model = model_for(X)
    rows = RowDataset(X)
    batches = (x for x, _ in RowBatches(rows, 23))
    means, variances, _ = latent_moments(SampledBound(model, seed=0).encode, batches, len(rows))
    with torch.no_grad():
        posterior = model.encode(rows.x[:: -(-100 // limit)])
    assert_allclose(means, posterior.mean, rtol=1e-5, atol=1e-6)
    assert_allclose(variances, posterior.variance, rtol=1e-5)
    assert len(means) <= limit


def test_moments_of_rows_with_missing_values():
    X = linear_rows(30)
    X[::2, 1] = np.nan
    rows = RowDataset(X)
    means, _, _ = latent_moments(
        SampledBound(model_for(X), seed=0).encode, (x for x, _ in RowBatches(rows, 10)), 30
    )
    assert np.isfinite(means).all()


def test_components_stay_where_they_are_better():
    """One narrow cluster within a wide one: k-means cannot tell them apart, the prior does."""
    rng = np.random.default_rng(0)
    means = np.concatenate([rng.normal(0, 0.1, (200, 2)), rng.normal(0, 3.0, (200, 2))])
    variances = np.full_like(means, 1e-3)
    prior = Mixture(2, 2, torch.Generator().manual_seed(0))
    assert initialize_components(prior, means, variances, seed=0, if_better=True)  # than at first
    with torch.no_grad():
        prior.means.zero_()
        prior.log_excess.copy_(torch.tensor([[0.01, 0.01], [9.0, 9.0]]).log())
        prior.logits.zero_()
    before = [parameter.detach().clone() for parameter in prior.parameters()]
    assert not initialize_components(prior, means, variances, seed=0, if_better=True)
    assert all(map(torch.equal, prior.parameters(), before))
    assert initialize_components(prior, means, variances, seed=0, if_better=False)
    assert not torch.equal(prior.means, before[1])


def test_fewer_rows_than_components_change_nothing():
    prior = Mixture(2, 5, torch.Generator().manual_seed(0))
    before = prior.means.detach().clone()
    assert not initialize_components(
        prior, np.zeros((4, 2)), np.ones((4, 2)), seed=0, if_better=False
    )
    assert torch.equal(prior.means, before)
