"""Weights of rows in training: whole numbers repeat rows, others multiply their terms."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader

from skvae.neural.likelihoods import make_likelihood
from skvae.neural.linear import factor_analysis, moments_of_rows
from skvae.neural.priors import Mixture
from skvae.neural.training import rows_on_disk
from skvae.neural.training.batches import RowBatches, RowDataset
from skvae.neural.training.rows_in_memory import arranged
from skvae.neural.training.rows_on_disk import RowsOnDisk
from skvae.neural.training.streaming import StreamedRows
from skvae.vae.objective import row_bound
from tests.neural.likelihoods.cases import CASES, some_rows
from tests.neural.training.training_problems import weights as weights_of
from tests.problems import knock_out
from tests.vae.estimator_problems import as_factor_analysis, autoencoder, rows
from tests.vae.test_objective import model_with

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")

X = knock_out(rows(60))
WHOLE = np.random.default_rng(0).integers(0, 4, len(X))
SHARES = np.where(WHOLE == 0, 0.0, np.random.default_rng(1).uniform(0.1, 3.0, len(X)))


def assert_same_fit(one, other):
    assert_array_equal(weights_of(one.net_), weights_of(other.net_))
    assert one.lower_bounds_ == other.lower_bounds_
    np.testing.assert_equal(one.history_, other.history_)
    assert_array_equal(one.score_samples(X), other.score_samples(X))


# Fits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_whole_weights_are_repeated_rows(prior):
    order = np.random.default_rng(2).permutation(WHOLE.sum())
    parameters = {"prior": prior, "n_prior_components": 3, "kl_warmup": 1}
    weighted = autoencoder(**parameters).fit(X, sample_weight=WHOLE.astype(np.float32))
    assert_same_fit(weighted, autoencoder(**parameters).fit(np.repeat(X, WHOLE, axis=0)[order]))
    other = autoencoder(**parameters).fit(X)
    assert not np.array_equal(weights_of(weighted.net_), weights_of(other.net_))


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_rows_of_weight_zero_are_absent(prior, early_stopping):
    parameters = {"prior": prior, "n_prior_components": 3, "early_stopping": early_stopping}
    far = np.where(SHARES[:, None] > 0, X, 1e6)
    kept = SHARES > 0
    weighted = autoencoder(**parameters).fit(far, sample_weight=SHARES)
    assert_same_fit(weighted, autoencoder(**parameters).fit(X[kept], sample_weight=SHARES[kept]))
    weighted.partial_fit(far, sample_weight=SHARES)
    without = autoencoder(**parameters).fit(X[kept], sample_weight=SHARES[kept])
    assert_same_fit(weighted, without.partial_fit(X[kept], sample_weight=SHARES[kept]))


def test_the_order_of_rows_does_not_change_a_fit():
    again = np.random.default_rng(0).permutation(np.r_[0 : len(X), 0:5])
    one, other = autoencoder().fit(X[np.sort(again)]), autoencoder().fit(X[again])
    assert_same_fit(one, other)
    codes = knock_out(np.random.default_rng(0).integers(2, size=(300, 4)).astype(float))
    order = np.random.default_rng(1).permutation(300)
    assert_array_equal(arranged(codes, None)[0], arranged(codes[order], None)[0])


def test_weights_of_another_sum_are_the_same():
    one = autoencoder().fit(X, sample_weight=SHARES)
    other = autoencoder().fit(X, sample_weight=SHARES * 2.0**300)
    assert_array_equal(weights_of(one.net_), weights_of(other.net_))


def test_recorded_bounds_are_weighted():
    kept = SHARES > 0
    parameters = {"early_stopping": False, "lr": 1e-12, "kl_warmup": 0, "batch_size": 7}
    vae = autoencoder(**parameters).fit(X, sample_weight=SHARES)
    one_draw = copy.deepcopy(vae).set_params(n_score_samples=1).elbo(X[kept])
    expected = np.average(one_draw.elbo, weights=SHARES[kept])
    assert vae.lower_bound_ == pytest.approx(expected, rel=1e-10)
    # The weights hardly change, but each epoch draws its own noise.
    many = vae.set_params(n_score_samples=1000).elbo(X[kept])
    for name in ("reconstruction", "kl"):
        expected = np.average(getattr(many, name), weights=SHARES[kept])
        assert np.mean(vae.history_[name]) == pytest.approx(expected, rel=0.1)
    validated = autoencoder(lr=1e-12).fit(X, sample_weight=SHARES)
    assert validated.lower_bound_ == pytest.approx(validated.lower_bounds_[0], rel=0.2)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("scale", ["feature", "shared"])
def test_factor_analysis_of_weighted_rows_is_that_of_repeated_ones(scale, missing):
    Y = knock_out(rows(200, 5)) if missing else rows(200, 5)
    x, counts = (Y - np.nanmean(Y, axis=0)) / np.nanstd(Y, axis=0), np.arange(200) % 5 + 1
    shared = {"shared": scale == "shared"}
    one = factor_analysis(*moments_of_rows(x, 0.3 * counts), 2, **shared)
    other = factor_analysis(*moments_of_rows(np.repeat(x, counts, axis=0)), 2, **shared)
    found, expected = (
        own.loadings @ own.loadings.T + np.diag(own.variances) for own in (one, other)
    )
    assert_allclose(found, expected, atol=1e-8)
    assert_allclose(one.mean, other.mean, atol=1e-12)
    # The whole path of a fit, of which the first weights remain.
    parameters = {"hidden_layer_sizes": (), "likelihood_params": {"scale": scale}, "lr": 1e-12}
    weighted, repeated = (
        as_factor_analysis(autoencoder(early_stopping=False, max_epochs=1, **parameters).fit(*own))
        for own in ((Y, None, 0.3 * counts), (np.repeat(Y, counts, axis=0),))
    )
    for name in ("loadings", "offset", "variances"):
        found, expected = (np.abs(getattr(one, name)) for one in (weighted, repeated))
        assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


# The objective ------------------------------------------------------------------------------------


@pytest.mark.parametrize("prior", ["normal", "mixture"])
@pytest.mark.parametrize(
    ("n_draws", "options"),
    [
        (1, {}),
        (1, {"beta": 0.5, "free_bits": 0.2}),
        (3, {"importance": True}),
        (3, {"importance": True, "beta": 0.5}),
    ],
)
def test_the_objective_of_all_rows_is_that_of_repeated_ones(n_draws, options, prior):
    """With equal noise for all copies of a row, in value and gradient."""
    model, rng = model_with(prior).double(), np.random.default_rng(0)
    x = torch.as_tensor(rng.normal(size=(8, model.likelihood.n_features)))
    noise = torch.as_tensor(rng.normal(size=(n_draws, 8, model.n_components)))
    counts = torch.tensor([1, 3, 1, 2, 5, 1, 1, 4])
    weight = counts / counts.double().mean()
    found = row_bound(model, x, None, noise, weight=weight, **options)
    again = np.repeat(np.arange(8), counts)
    expected = row_bound(model, x[again], None, noise[:, again], **options)
    for one, other in zip(found, expected, strict=True):
        assert_allclose((weight * one).mean().item(), other.mean().item(), rtol=1e-12)
    for one, other in zip(
        *(gradients(model, mean) for mean in ((weight * found[0]).mean(), expected[0].mean())),
        strict=True,
    ):
        assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def gradients(model, objective):
    model.zero_grad()
    objective.backward()
    return [w.grad.numpy().copy() for w in model.parameters() if w.grad is not None]


@pytest.mark.parametrize("key", CASES)
def test_first_values_of_likelihoods_are_those_of_repeated_rows(key):
    spec, params = CASES[key]
    Y = knock_out(some_rows(spec if isinstance(spec, str) else "columns", 90))
    counts = np.arange(90) % 4 + 1
    expected = make_likelihood(spec, np.repeat(Y, counts, axis=0), params).settings()
    assert_close(make_likelihood(spec, Y, params, weight=counts * 1.0).settings(), expected)
    stored = [on_disk(part, (40, 0, 50)) for part in (Y, counts[:, None] * 1.0)]
    found = make_likelihood(spec, stored[0], params, weight=stored[1]).settings()
    assert_close(found, expected)


def assert_close(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if name == "parts":
            for one, other in zip(found[name], value, strict=True):
                assert_close(one, other)
        elif isinstance(value, list):
            for one, other in zip(found[name], value, strict=True):
                assert_allclose(one, other, rtol=1e-9, atol=1e-12)
        else:
            assert found[name] == value


def test_a_mixture_prior_starts_at_weighted_clusters():
    rng = np.random.default_rng(0)
    means = rng.normal(size=(120, 2)) * 0.3 + 10.0 * (np.arange(120) % 3)[:, None]
    variances, counts = rng.uniform(0.1, 0.2, (120, 2)), np.arange(120) % 7 + 1
    one, other = (Mixture(2, 3, torch.Generator().manual_seed(0)).double() for _ in range(2))
    one.initialize(means, variances, counts / 2.0, seed=0)
    other.initialize(*(np.repeat(part, counts, axis=0) for part in (means, variances)), seed=0)
    orders = [np.argsort(prior.means[:, 0].detach().numpy()) for prior in (one, other)]
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    for found, expected in pairs:
        found, expected = found.detach().numpy(), expected.detach().numpy()
        # One further row in all is other than one in 480.
        assert_allclose(found[orders[0]], expected[orders[1]], atol=0.05)


# Batches ------------------------------------------------------------------------------------------


def on_disk(Y, lengths):
    parts = np.split(Y, np.cumsum(lengths)[:-1])
    return RowsOnDisk(lambda blocks: [parts[i] for i in blocks], lengths, Y.shape[1])


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("streamed", [False, True])
def test_weights_go_with_their_rows(streamed, shuffle, monkeypatch):
    monkeypatch.setattr(rows_on_disk, "BUFFER", 60)
    numbers = np.arange(100.0)
    data, weight = numbers[:, None], numbers / numbers.mean()
    dataset = RowDataset(data, weight=weight)
    if streamed:
        parts = (on_disk(part, (30, 0, 1, 49, 20)) for part in (data, weight[:, None]))
        dataset = StreamedRows(next(parts), weight=next(parts))
    batches = [batch for batch, _ in RowBatches(dataset, 17, shuffle=shuffle)]
    seen, found = (np.concatenate([batch[name] for batch in batches]) for name in ("x", "weight"))
    assert found.shape == (100,)
    assert_allclose(found, seen[:, 0] / numbers.mean(), rtol=1e-6)
    assert_array_equal(np.sort(seen[:, 0]), numbers)


def test_loaders_of_torch_have_weights():
    parameters = {"net_params": {"iterator_train": DataLoader, "iterator_valid": DataLoader}}
    vae = autoencoder(**parameters).fit(X, sample_weight=SHARES)
    plain = autoencoder(**parameters).fit(X[SHARES > 0])
    assert not np.array_equal(weights_of(vae.net_), weights_of(plain.net_))
    assert np.isfinite(vae.lower_bound_)


@pytest.mark.parametrize("zeros", [False, True])
@pytest.mark.parametrize("kind", ["file", "dask"])
def test_streamed_rows_have_weights(kind, zeros, tmp_path, monkeypatch):
    monkeypatch.setattr(rows_on_disk, "BUFFER", 90)
    monkeypatch.setattr(rows_on_disk, "_BLOCK", 30)
    share = SHARES if zeros else SHARES + 0.1
    kept = share > 0
    Y = np.where(kept[:, None], X, 1e6)
    if kind == "dask":
        da = pytest.importorskip("dask.array")
        given, share = da.from_array(Y, chunks=(25, 3)), da.from_array(share, chunks=25)
    else:
        np.save(tmp_path / "Y.npy", Y)
        given = np.load(tmp_path / "Y.npy", mmap_mode="r")
    vae = autoencoder(prior="mixture", n_prior_components=2, kl_warmup=1, early_stopping=False)
    vae.fit(given, sample_weight=share)
    share, location = np.asarray(share), vae.net_.module_.model.likelihood.location
    total = np.where(np.isnan(X), 0.0, share[:, None] * X).sum(axis=0)
    assert_allclose(location, total / (share @ ~np.isnan(X)), rtol=1e-10)
    one_draw = copy.deepcopy(vae).set_params(n_score_samples=1)
    expected = np.average(one_draw.elbo(X[kept]).elbo, weights=share[kept])
    assert vae.lower_bound_ == pytest.approx(expected, rel=1e-8)
    again = copy.deepcopy(vae).set_params(warm_start=True, early_stopping=True)
    assert np.isfinite(again.fit(given, sample_weight=share).lower_bound_)


# Arguments ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("weight", "match"),
    [
        (-np.ones(60), "sample_weight has a negative entry -1.0: must be >= 0"),
        (np.zeros(60), "sample_weight.* must contain at least one non-zero"),
        (np.r_[np.nan, np.ones(59)], "sample_weight contains NaN"),
        (np.ones(59), r"sample_weight.shape == \(59,\), expected \(60,\)"),
        (np.r_[2.0, np.zeros(59)], "sample_weight is zero in all rows but 1: at least 2 must be"),
        (["a"] * 60, "sample_weight"),
    ],
)
def test_wrong_weights(weight, match):
    for method in ("fit", "partial_fit"):
        vae = autoencoder()
        with pytest.raises(ValueError, match=match):
            getattr(vae, method)(X, sample_weight=weight)
        assert not hasattr(vae, "net_")


def test_weights_are_routed():
    requests = autoencoder().get_metadata_routing()
    for method in ("fit", "partial_fit", "score"):
        assert getattr(requests, method).requests["sample_weight"] is True
    with config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=True)
        pipeline = make_pipeline(scaler, autoencoder()).fit(X, sample_weight=SHARES)
        scaled = StandardScaler().fit(X, sample_weight=SHARES).transform(X)
        expected = autoencoder().fit(scaled, sample_weight=SHARES)
        assert_array_equal(weights_of(pipeline[-1].net_), weights_of(expected.net_))
