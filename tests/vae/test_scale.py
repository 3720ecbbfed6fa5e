"""The source of σ that is chosen by the validation rows, the prior of 'auto', falling rates."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from skvae import VariationalAutoencoder
from tests.vae.estimator_problems import autoencoder, rows


def scale_of(vae):
    return vae.net_.module_.model.likelihood.scale


def spread_by_factor(n_rows=600, seed=0):
    """Rows whose spread grows with their place, (n_rows, 3)."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n_rows, 1))
    return z * [1.0, 2.0, -1.0] + np.exp(1.5 * z) * rng.normal(size=(n_rows, 3))


def test_the_scale_is_that_of_the_higher_bound_on_validation_rows():
    parameters = {"hidden_layer_sizes": (16,), "max_epochs": 60, "lr": 1e-2, "n_components": 1}
    for X, expected in ((spread_by_factor(), "decoder"), (rows(600), "feature")):
        each = {
            scale: autoencoder(**parameters, likelihood_params={"scale": scale}).fit(X)
            for scale in ("feature", "decoder")
        }
        best = max(each, key=lambda scale: each[scale].lower_bound_)
        chosen = autoencoder(**parameters).fit(X)
        assert scale_of(chosen) == best
        if expected == "decoder":
            assert best == expected
        assert chosen.lower_bound_ == each[best].lower_bound_
        assert_array_equal(chosen.score_samples(X), each[best].score_samples(X))


def test_the_training_that_is_behind_is_short(monkeypatch):
    n_epochs, original = [], VariationalAutoencoder._train

    def watched(*args, **params):
        training = original(*args, **params)
        n_epochs.append(training.record.n_epochs)
        return training

    monkeypatch.setattr(VariationalAutoencoder, "_train", watched)
    vae = autoencoder(hidden_layer_sizes=(16,), max_epochs=60, batch_size=16, lr=1e-2)
    vae.fit(spread_by_factor())
    assert n_epochs[0] > 2 * n_epochs[1]


@pytest.mark.parametrize(
    "parameters",
    [
        {"early_stopping": False},
        {"hidden_layer_sizes": ()},
        {"likelihood_params": {"scale": "feature"}},
        {"likelihood_params": {"scale": "auto"}, "early_stopping": False},
    ],
)
def test_there_is_one_scale_where_there_is_no_choice(parameters):
    assert scale_of(autoencoder(**parameters).fit(rows())) == "feature"


def test_a_batch_alone_has_a_scale_for_each_feature():
    assert scale_of(autoencoder().partial_fit(rows())) == "feature"


def test_a_fit_goes_on_with_the_chosen_scale():
    X = spread_by_factor()
    vae = autoencoder(max_epochs=30, lr=1e-2, warm_start=True).fit(X)
    scale, bound = scale_of(vae), vae.lower_bound_
    vae.fit(X)
    assert scale_of(vae) == scale
    assert vae.lower_bound_ >= bound


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, True),
        ({"hidden_layer_sizes": ()}, False),
        ({"likelihood": "student_t"}, False),
        ({"prior": "normal"}, False),
        ({"hidden_layer_sizes": (), "prior": "mixture"}, True),
    ],
)
def test_the_automatic_prior_is_a_mixture_for_gaussian_networks(parameters, expected):
    vae = autoencoder(**parameters)
    assert hasattr(vae, "predict") == expected
    assert hasattr(vae.fit(rows()), "predict") == expected


def test_the_learning_rate_falls_on_a_plateau():
    X = rows(300)
    for schedule, falls in (("plateau", True), ("constant", False)):
        vae = autoencoder(max_epochs=60, n_iter_no_change=9, lr=1e-2, lr_schedule=schedule).fit(X)
        rate = vae.net_.optimizer_.param_groups[0]["lr"]
        assert (rate < 1e-2) == falls
    with pytest.raises(ValueError, match="lr_schedule='cosine'"):
        VariationalAutoencoder(lr_schedule="cosine").fit(X)
