"""HiddenMarkovAutoencoder: equal to simpler models where it is one of them, and its answers."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.decomposition import FactorAnalysis
from sklearn.metrics import normalized_mutual_info_score
from sklearn.model_selection import GridSearchCV, GroupKFold

import skvae
from benchmarks.deep_chain.sequences import curved_regimes
from skvae import EMHiddenMarkov, HiddenMarkovAutoencoder, VariationalAutoencoder
from skvae.deep_chain.chain_importance import repeats
from skvae.inspection import (
    LatentTraversalDisplay,
    ReconstructionDisplay,
    StatePathDisplay,
    TransitionDisplay,
    elbo_decomposition,
)
from tests.problems import assert_same_state, state_of
from tests.suite import one_torch_thread

_one_thread = pytest.fixture(autouse=True, scope="module")(one_torch_thread)
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")


def sequences(n=6, n_steps=25, seed=0):
    """Sequences of two regimes in a plane of four features."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(1).normal(size=(2, 4))
    found = []
    for _ in range(n):
        states = np.repeat(rng.permutation([0, 1, 0, 1, 0]), n_steps // 5)
        z = np.array([[-2.0, 0.0], [2.0, 1.0]])[states] + 0.5 * rng.normal(size=(len(states), 2))
        found.append(z @ directions + 0.3 * rng.normal(size=(len(states), 4)))
    return found


def model(n_states=2, **params):
    defaults = {"max_epochs": 8, "hidden_layer_sizes": (8,), "random_state": 0}
    return HiddenMarkovAutoencoder(np.int64(2), n_states=n_states, **{**defaults, **params})


@pytest.fixture(scope="module")
def fitted():
    return model().fit(sequences())


# Special cases ------------------------------------------------------------------------------------


def as_mixture(chain, X):
    """The autoencoder with a mixture prior that has a chain's weights and its draws."""
    settings = {"prior": "mixture", "n_prior_components": chain.n_states, "max_epochs": 1}
    names = ("n_components", "hidden_layer_sizes", "random_state")
    vae = VariationalAutoencoder(**settings, **{name: getattr(chain, name) for name in names})
    vae.fit(np.concatenate(X))
    one, other = vae.net_.module_.model, chain.net_.module_.model
    for part in ("likelihood", "encoder", "decoder"):
        setattr(one, part, copy.deepcopy(getattr(other, part)))
    with torch.no_grad():
        one.prior.logits.copy_(other.prior.start_logits)
        one.prior.means.copy_(other.prior.means)
        one.prior.log_excess.copy_(other.prior.log_excess)
    vae._noise_seed = chain._noise_seed
    return vae


def test_equal_rows_of_transitions_are_a_mixture_prior():
    X = sequences()
    chain = model(3).fit(X)
    prior = chain.net_.module_.model.prior
    with torch.no_grad():
        prior.start_logits.copy_(torch.tensor([0.0, 1.0, -1.0]))
        prior.transition_logits.copy_(prior.start_logits.expand(3, 3))
    vae, rows = as_mixture(chain, X), np.concatenate(X)
    rows[3, 1] = np.nan
    assert_allclose(chain.score_samples(rows), vae.score_samples(rows), rtol=1e-10)
    assert_allclose(chain.predict_proba(rows), vae.predict_proba(rows), atol=1e-10)
    assert_array_equal(chain.predict(rows), vae.predict(rows))
    assert_allclose(chain.impute(rows), vae.impute(rows), rtol=1e-9)
    assert_allclose(chain.elbo(rows).elbo.mean(), vae.elbo(rows).elbo.mean(), atol=1e-10)


def test_one_linear_state_is_factor_analysis():
    X = sequences(8, 50)
    rows = np.concatenate(X)
    chain = model(1, hidden_layer_sizes=(), max_epochs=1, lr=1e-12).fit(X)
    analysis = FactorAnalysis(2, tol=1e-9, max_iter=20000).fit(rows)
    assert_allclose(chain.score_samples(rows), analysis.score_samples(rows), atol=0.1)
    assert_allclose(chain.score(rows), analysis.score(rows), atol=2e-3)
    assert_allclose(chain.elbo(rows).elbo.mean(), chain.score(rows), atol=0.02)
    expected = analysis.mean_ + analysis.transform(rows) @ analysis.components_
    assert_allclose(chain.reconstruct(rows), expected, atol=0.2)  # by 100 draws


def test_a_linear_model_of_two_states_reaches_the_chain_in_closed_form():
    X = sequences(30, 50)
    chain = model(2, hidden_layer_sizes=(), max_epochs=60).fit(X[:20])
    rival = EMHiddenMarkov(2, random_state=0).fit(X[:20])
    assert chain.score(X[20:]) > rival.score(X[20:]) - 0.05
    states = np.concatenate(rival.predict(X[20:]))
    assert normalized_mutual_info_score(states, np.concatenate(chain.predict(X[20:]))) > 0.95


@pytest.mark.slow
def test_a_curved_surface_with_regimes():
    """Above the best Gaussian chain, and above an autoencoder that does not see the time."""
    X, _ = curved_regimes(80, seed=1)
    test, regimes = curved_regimes(40, seed=2)
    settings = {"hidden_layer_sizes": (64, 64), "max_epochs": 100, "random_state": 0}
    chain = HiddenMarkovAutoencoder(2, n_states=4, **settings).fit(X)
    gaussian = [EMHiddenMarkov(n, random_state=0).fit(X).score(test) for n in (4, 8, 16, 32)]
    vae = VariationalAutoencoder(2, prior="mixture", n_prior_components=4, **settings)
    assert chain.score(test) > max(gaussian) + 0.05
    assert chain.score(test) > vae.fit(np.concatenate(X)).score(np.concatenate(test)) + 0.3
    found = np.concatenate(chain.predict(test))
    assert normalized_mutual_info_score(np.concatenate(regimes), found) > 0.9


# Answers ------------------------------------------------------------------------------------------


def test_rows_sum_to_sequences_which_do_not_depend_on_each_other(fitted):
    X = sequences(3, seed=5)
    rows, groups = np.concatenate(X), np.repeat([4, 2, 9], [len(x) for x in X])
    scores = fitted.score_samples(rows, groups=groups)
    assert_allclose(np.concatenate(fitted.score_samples(X)), scores)
    assert_allclose(np.concatenate([fitted.score_samples(x) for x in X]), scores, rtol=1e-12)
    assert_allclose(fitted.score(X), scores.mean())
    weights = np.random.default_rng(0).uniform(size=len(rows))
    weighted = fitted.score(rows, sample_weight=weights, groups=groups)
    assert_allclose(weighted, np.average(scores, weights=weights))
    assert fitted.score(X) > fitted.elbo(rows, groups=groups).elbo.mean()
    assert_array_equal(np.concatenate(fitted.elbo(X).kl), fitted.elbo(rows, groups=groups).kl)


@pytest.mark.parametrize("name", ["score_samples", "predict", "predict_proba", "transform"])
def test_answers_have_the_form_of_the_rows(fitted, name):
    X = sequences(3, seed=5)
    listed = getattr(fitted, name)(X)
    assert [len(x) for x in listed] == [len(x) for x in X]
    single = getattr(fitted, name)(X[0].astype(np.float32))
    assert single.dtype == (np.int64 if name == "predict" else np.float32)


def test_posteriors(fitted):
    X = sequences(3, seed=5)[0]
    smoothed = fitted.predict_proba(X)
    filtered = copy.deepcopy(fitted).set_params(inference="filter").predict_proba(X)
    assert_allclose(smoothed.sum(1), 1.0)
    assert_allclose(filtered.sum(1), 1.0)
    assert_allclose(smoothed[-1], filtered[-1])
    assert np.abs(smoothed - filtered).max() > 1e-6


def test_equal_rows_of_a_sequence_have_draws_of_their_own():
    x = np.array([[1.0], [2.0], [1.0], [1.0], [1.0]])
    assert_array_equal(repeats(x, np.array([0, 4, 5])), [-1, -1, 0, 1, -1])
    counts = np.random.default_rng(0).poisson([[2.0, 9.0]], size=(60, 2)).astype(float)
    chain = model(likelihood="poisson", n_score_samples=5).fit(counts)
    assert len(np.unique(chain.score_samples(np.tile(counts[:1], (9, 1))).round(9))) == 9


def test_samples_are_those_of_the_model(fitted):
    X, Z = fitted.sample(4000, random_state=1)
    assert X.shape == (4000, 4)
    assert Z.shape == (4000, 2)
    again = fitted.sample(4000, random_state=1)
    assert_array_equal(X, again[0])
    stationary = np.linalg.matrix_power(fitted.transmat_, 200)[0]
    assert_allclose(Z.mean(0), stationary @ fitted.state_means_, atol=0.3)
    assert_allclose(fitted.transmat_.sum(1), 1.0)
    assert_allclose(fitted.startprob_.sum(), 1.0)


def test_imputation_uses_the_other_rows():
    X = sequences(30, 50)
    chain = model(hidden_layer_sizes=(), max_epochs=60).fit(X)
    rows = X[0].copy()
    rows[10] = np.nan
    rows[::3, :2] = np.nan
    filled = chain.impute(rows)
    seen = ~np.isnan(rows)
    assert_array_equal(filled[seen], rows[seen])
    plain = np.broadcast_to(np.nanmean(rows, axis=0), rows.shape)
    assert np.square(filled - X[0]).sum() < 0.6 * np.square(plain - X[0])[~seen].sum()
    draws = np.array([chain.impute(rows, draw=True, random_state=s) for s in range(100)])
    assert_allclose(draws.mean(0)[~seen], filled[~seen], atol=0.6)
    assert_array_equal(draws[0][seen], rows[seen])
    with pytest.raises(ValueError, match="draw='yes'"):
        chain.impute(rows, draw="yes")


def test_missing_rows_change_nothing_at_the_end(fitted):
    x = sequences(1, seed=7)[0]
    longer = np.concatenate([x, np.full((3, 4), np.nan)])
    scores = fitted.score_samples(longer)
    assert_allclose(scores[: len(x)], fitted.score_samples(x), rtol=1e-12)
    assert_allclose(scores[len(x) :], 0.0, atol=1e-12)


# Suite --------------------------------------------------------------------------------------------


def test_pickles_files_and_seeds(fitted, tmp_path):
    X = sequences(2, seed=5)
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    for other in (
        pickle.loads(pickle.dumps(fitted)),
        copy.deepcopy(fitted),
        HiddenMarkovAutoencoder.load(path),
        clone(fitted).fit(sequences()),
    ):
        assert_array_equal(
            np.concatenate(other.score_samples(X)), np.concatenate(fitted.score_samples(X))
        )
        assert_array_equal(other.transmat_, fitted.transmat_)
    assert clone(fitted).set_params(random_state=1).fit(sequences()).score(X) != fitted.score(X)


def test_training_goes_on():
    X = sequences()
    chain = model(max_epochs=3, warm_start=True, early_stopping=False).fit(X)
    assert len(chain.fit(X).history_["bound"]) == 6
    assert chain.partial_fit(X[0]).n_iter_ == 7
    with pytest.raises(ValueError, match="n_states=5: warm_start=True continues"):
        chain.set_params(n_states=5).fit(X)


def test_structural_zeros_stay_zero():
    transmat = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    chain = model(3, transmat_init=transmat).fit(sequences())
    assert_array_equal(chain.transmat_[transmat == 0], 0.0)
    assert (chain.transmat_[transmat > 0] > 0).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"n_states": 0}, "n_states=0: must be"),
        ({"n_states": 1000}, "n_states=1000: must be <= n_samples, which is 150"),
        ({"bound": "exact"}, "bound='exact'"),
        ({"inference": "viterbi"}, "inference='viterbi'"),
        ({"bound": "factored", "n_importance_samples": 5}, "set bound='marginal'"),
        ({"transmat_init": [[0.5, 0.6], [0.5, 0.5]]}, "transmat_init has a row that sums to 1.1"),
        ({"beta": -1.0}, "beta=-1.0"),
        ({"free_bits": 1.0, "n_importance_samples": 5}, "free_bits=1.0: must be 0"),
    ],
)
def test_wrong_parameters(params, message):
    estimator = model().set_params(**params)
    before = state_of(estimator)
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        estimator.fit(sequences())
    assert_same_state(estimator, before)


@pytest.mark.parametrize(
    "params",
    [
        {"n_importance_samples": 4},
        {"bound": "factored", "beta": 0.5, "kl_warmup": 2},
        {"free_bits": 0.1, "encoder_covariance": "full"},
        {"mixed_precision": True},
        {"likelihood": "student_t", "gradient_clip": 1.0},
    ],
)
def test_ways_of_training(params):
    X = sequences()
    X[0][3] = np.nan
    X[1][2, 1] = np.nan
    chain = model(**params).fit(X)
    assert np.isfinite(chain.score(X))
    assert np.isfinite(chain.lower_bound_)
    assert set(chain.history_) == {"bound", "reconstruction", "kl", "valid_bound"}


def test_searches_and_comparisons():
    X = sequences()
    rows, groups = np.concatenate(X), np.repeat(np.arange(6), 25)
    grid = GridSearchCV(model(max_epochs=2), {"n_states": [1, 2]}, cv=GroupKFold(2))
    with config_context(enable_metadata_routing=True):
        grid.fit(rows, groups=groups)
    assert grid.best_params_["n_states"] in (1, 2)
    found = skvae.compare(
        {"one": model(1, max_epochs=2), "two": EMHiddenMarkov(2)}, rows, cv=2, groups=groups
    )
    assert set(found.to_frame().index) == {"one", "two"}


def test_rows_of_latent_vectors(fitted):
    X = sequences(3, seed=4)
    X[0][2, 1] = np.nan
    Z = fitted.transform(X)
    expected = fitted.inverse_transform(Z)
    for found, rows in zip(fitted.reconstruct(X), expected, strict=True):
        assert_allclose(found, rows, rtol=1e-9)
    groups = np.repeat(np.arange(3), 25)
    rows = fitted.reconstruct(np.concatenate(X).astype(np.float32), groups=groups)
    assert rows.dtype == np.float32
    with torch.no_grad():
        module = fitted.net_.module_.model
        outputs = module.decode(torch.from_numpy(Z[1]).float())
    assert_allclose(expected[1], module.likelihood.mean(outputs).numpy(), rtol=1e-4, atol=1e-4)
    for wrong, text in [(Z[0][:, :1], "Z has 1 columns: must have n_components=2"), ([["a"]], "Z")]:
        with pytest.raises(ValueError, match=text):
            fitted.inverse_transform(wrong)


def test_displays_and_the_decomposition(fitted):
    x = sequences(1, seed=5)[0]
    assert StatePathDisplay.from_estimator(fitted, x).posterior.shape == (25, 2)
    assert TransitionDisplay.from_estimator(fitted).plot() is not None
    assert LatentTraversalDisplay.from_estimator(fitted) is not None
    assert ReconstructionDisplay.from_estimator(fitted, x) is not None
    terms = elbo_decomposition(fitted, x, groups=np.repeat([0, 1], [10, 15]))
    assert_allclose(terms.elbo, terms.expected_joint + terms.entropy)
    assert terms.gap.sum() > 0
    listed = elbo_decomposition(fitted, [x[:10], x[10:]])
    assert_allclose(np.concatenate(listed.gap), terms.gap)
