"""Every form of the model: likelihoods, priors, covariances, modules of one's own."""

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skvae.neural.likelihoods import LIKELIHOODS
from tests.neural.training.training_problems import weights
from tests.problems import assert_same_state, knock_out, state_of
from tests.vae.estimator_problems import autoencoder, rows, rows_of

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")

FAMILIES = sorted(name for name in LIKELIHOODS if name != "columns")

CONTINUOUS = (
    *("gaussian", "student_t", "continuous_bernoulli"),
    *("log_normal", "gamma", "beta"),
)
# Values that each family cannot have produced.
IMPOSSIBLE = {
    "bernoulli": 0.5,
    "continuous_bernoulli": 1.5,
    "categorical": 1.5,
    "poisson": -1.0,
    "negative_binomial": 2.5,
    "log_normal": 0.0,
    "gamma": -1.0,
    "beta": 1.0,
}


@pytest.fixture(scope="module")
def X():
    return rows()


# Likelihoods --------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("likelihood", FAMILIES)
def test_every_likelihood(likelihood, missing):
    X = rows_of(likelihood)
    holes = knock_out(X) if missing else X
    vae = autoencoder(likelihood=likelihood).fit(holes)
    assert np.isfinite(vae.score_samples(holes)).all()
    assert vae.reconstruct(holes).shape == X.shape
    drawn, Z = vae.sample(50)
    vae.net_.module_.model.likelihood.check(drawn)
    assert Z.shape == (50, 2)
    filled = vae.impute(holes)
    assert np.isfinite(filled).all()
    if likelihood not in CONTINUOUS:
        assert vae.score(X) < 0  # of probabilities
        # As good as independent columns that were counted, or better.
        counts = [np.unique(column, return_counts=True)[1] / len(X) for column in X.T]
        entropy = sum((p * np.log(p)).sum() for p in counts)
        assert vae.score(X) > entropy - 0.6


@pytest.mark.parametrize("likelihood", IMPOSSIBLE)
def test_impossible_values_are_named(likelihood):
    X, value = rows_of(likelihood), IMPOSSIBLE[likelihood]
    bad = X.copy()
    bad[7, 1] = value
    vae = autoencoder(likelihood=likelihood).fit(X)
    state = state_of(vae)
    for method in ("fit", "partial_fit", "score_samples", "score", "transform", "impute", "elbo"):
        with pytest.raises(ValueError, match=rf"X\[:, 1\] holds {value}"):
            getattr(vae, method)(bad)
    assert_same_state(vae, state)
    names = ["a", "b", "c"]
    vae.fit(pd.DataFrame(X, columns=names))
    for method in ("fit", "score"):
        with pytest.raises(ValueError, match=f"'b'.*{value}"):
            getattr(vae, method)(pd.DataFrame(bad, columns=names))


def test_unseen_category_is_named():
    X = rows_of("categorical")
    vae = autoencoder(likelihood="categorical").fit(X)
    with pytest.raises(ValueError, match=r"X\[:, 1\] holds 3"):
        vae.score(np.array([[0.0, 3.0, 0.0]]))
    wider = autoencoder(likelihood="categorical", likelihood_params={"n_categories": 4}).fit(X)
    assert np.isfinite(wider.score(np.array([[0.0, 3.0, 0.0]])))


def test_columns_of_different_kinds():
    X = np.column_stack([rows()[:, 0], rows_of("poisson")[:, 0], rows_of("bernoulli")[:, 0]])
    likelihood = [("gaussian", 0), ("poisson", slice(1, 2)), ("bernoulli", np.array([2]))]
    vae = autoencoder(likelihood=likelihood).fit(X)
    drawn = vae.sample(100)[0]
    assert not np.array_equal(drawn[:, 0], np.rint(drawn[:, 0]))
    assert_array_equal(drawn[:, 1:], np.rint(drawn[:, 1:]))
    assert set(drawn[:, 2]) <= {0.0, 1.0}
    bad = X.copy()
    bad[3, 2] = 2.0
    with pytest.raises(ValueError, match=r"X\[:, 2\] holds 2"):
        vae.score(bad)
    # Each part in its own units.
    moved = X * [100.0, 1.0, 1.0]
    other = autoencoder(likelihood=likelihood).fit(moved)
    assert_allclose(other.score(moved), vae.score(X) - np.log(100), atol=1e-4)
    # The same columns in another form continue.
    again = [("gaussian", 0), ("poisson", slice(1, 2)), ("bernoulli", np.array([2]))]
    assert vae.set_params(likelihood=again).partial_fit(X).n_iter_ > 0


@pytest.mark.parametrize(
    ("likelihood", "params", "message"),
    [
        ("gaussian", {"dof": 3}, "likelihood_params has 'dof'"),
        ("poisson", {"scale": "shared"}, "likelihood_params has 'scale'"),
        ("gaussian", {"scale": "row"}, "scale='row'"),
        ("gaussian", {"min_scale": 0}, "min_scale=0"),
        ("gaussian", 3, "likelihood_params=3"),
        ("student_t", {"dof": 1.0}, "dof=1.0"),
        ("categorical", {"codes": 1}, "likelihood_params has 'codes'"),
        ("x", None, "likelihood='x'"),
        (3, None, "likelihood=3"),
        ([], None, r"likelihood=\[\]"),
        ([("gaussian", [0, 1])], None, "X.*2.*no part"),
        ([("gaussian", [0, 1, 2]), ("poisson", 2)], None, "exactly one part"),
        ([("gaussian", 7)], None, "columns=7"),
        ([("gaussian", [0, 1, 2])], {"scale": "shared"}, "likelihood_params"),
    ],
)
def test_wrong_likelihoods_are_named(likelihood, params, message, X):
    vae = autoencoder(likelihood=likelihood, likelihood_params=params)
    with pytest.raises(ValueError, match=message):
        vae.fit(X)
    assert not hasattr(vae, "net_")


@pytest.mark.parametrize("scale", ["feature", "shared", "decoder"])
def test_noise_is_found_by_every_scale(scale):
    """Of independent columns nothing is left to the latent space: the noise is the data's."""
    X = np.random.default_rng(0).normal(size=(300, 2)) * [1.0, 100.0]
    params = {"scale": scale}
    vae = autoencoder(1, likelihood_params=params, max_epochs=20, lr=1e-2, beta=5).fit(X)
    drawn, Z = vae.sample(2000)
    assert_allclose((drawn - vae.inverse_transform(Z)).std(axis=0), X.std(axis=0), rtol=0.15)


# Priors and posteriors ----------------------------------------------------------------------------


@pytest.mark.parametrize("covariance", ["diag", "full"])
@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_every_prior_and_posterior(prior, covariance, X):
    parameters = {"prior": prior, "encoder_covariance": covariance, "n_prior_components": 4}
    vae = autoencoder(**parameters).fit(X)
    assert np.isfinite(vae.score(X))
    assert vae.elbo(X).elbo.mean() < vae.score(X) + 0.02
    assert vae.sample(7)[1].shape == (7, 2)
    assert np.isfinite(vae.impute(knock_out(X))).all()
    assert hasattr(vae, "predict") == (prior == "mixture")


def test_vamp_prior_begins_at_rows_of_any_number(X):
    vae = autoencoder(prior="vamp", n_prior_components=100, max_epochs=1).fit(X[:12])
    assert np.isfinite(vae.score(X))


# Modules of one's own -----------------------------------------------------------------------------


class Encoder(nn.Module):
    """A mean and a log variance, as a pair, with a batch normalisation that learns in training."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.1))
        self.mean, self.log_var = nn.Linear(8, 2), nn.Linear(8, 2)

    def forward(self, x):
        h = self.body(x)
        return self.mean(h), self.log_var(h)


def decoder():
    """A function that makes a module."""
    return nn.Sequential(nn.LazyLinear(5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("how", ["class", "function", "instance"])
def test_modules(how, X):
    given = {
        "class": {"encoder": Encoder},
        "function": {"decoder": decoder},
        "instance": {"encoder": Encoder(), "decoder": nn.Linear(2, 3)},
    }[how]
    before = {
        name: {key: value.clone() for key, value in module.state_dict().items()}
        for name, module in given.items()
        if isinstance(module, nn.Module)
    }
    vae = autoencoder(**given).fit(X)
    assert np.isfinite(vae.score(X))
    assert_array_equal(vae.score_samples(X), vae.score_samples(X))  # without dropout
    for name, state in before.items():
        for key, value in given[name].state_dict().items():
            assert torch.equal(value, state[key])
        assert getattr(vae, name) is given[name]
        assert getattr(vae.net_.module_.model, name) is not given[name]
    assert_array_equal(autoencoder(**given).fit(X).score_samples(X), vae.score_samples(X))
    assert np.isfinite(vae.partial_fit(X).score(X))


@pytest.mark.parametrize(
    ("name", "module", "message"),
    [
        ("encoder", nn.Linear(3, 5), "(?s)encoder.*5.*4"),
        ("encoder", nn.Linear(2, 4), "(?s)encoder.*rows of 3 numbers"),
        ("decoder", nn.Linear(2, 4), "(?s)decoder.*4.*3"),
        ("decoder", nn.Linear(3, 3), "(?s)decoder.*n_components=2"),
        ("encoder", 3, "encoder=3"),
        ("decoder", lambda: 3, "decoder=.*gave int"),
        ("encoder", nn.Linear, "encoder=.*without arguments"),
    ],
)
def test_wrong_modules_are_named(name, module, message, X):
    vae = autoencoder(**{name: module})
    with pytest.raises(ValueError, match=message):
        vae.fit(X)
    assert not hasattr(vae, "net_")


@pytest.mark.parametrize("activation", ["tanh", "logistic", "softplus", "identity"])
def test_activations_and_layers(activation, X):
    vae = autoencoder(hidden_layer_sizes=[5, 4], activation=activation).fit(X)
    model = vae.net_.module_.model
    shapes = [tuple(w.shape) for w in model.encoder.parameters() if w.ndim == 2]
    assert shapes == [(4, 3), (5, 3), (4, 5), (4, 4)]  # the linear map is first
    shapes = [tuple(w.shape) for w in model.decoder.parameters() if w.ndim == 2]
    n_outputs = model.likelihood.n_outputs
    assert shapes == [(n_outputs, 2), (4, 2), (5, 4), (n_outputs, 5)]


def test_models_of_other_seeds_differ(X):
    scores = [autoencoder(random_state=seed).fit(X).score(X) for seed in (0, 1)]
    assert scores[0] != scores[1]
    same = [weights(autoencoder(random_state=1).fit(X).net_) for _ in range(2)]
    assert_array_equal(*same)
