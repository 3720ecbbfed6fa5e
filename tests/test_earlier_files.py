"""Pickles and skops files of earlier versions load, and give the numbers that they gave then."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import skops.io

from skvae import (
    CTCTranscriber,
    EGHiddenMarkov,
    HiddenMarkovAutoencoder,
    VariationalAutoencoder,
)
from skvae.hmm.emissions import EMISSIONS, Emission
from skvae.hmm.emissions import base as emission_base
from skvae.inspection import elbo_decomposition
from skvae.neural.importance import in_double
from skvae.storage import read, rebuilt
from tests.earlier.make_deep_chains import results
from tests.test_storage import Box, Pair
from tests.vae.fakes import encoder_alone

FOLDER = Path(__file__).parent / "earlier"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())


def _read(name, form):
    path = FOLDER / f"{name}.{form}"
    if form == "pickle":
        return pickle.loads(path.read_bytes())
    return skops.io.load(path, trusted=skops.io.get_untrusted_types(file=path))


def earlier_scores(vae, X):
    """Return scores by draws from the encoder alone, which they were from in earlier versions.

    They are within the errors of those of today.
    """
    likelihood, x = vae.net_.module_.model.likelihood, vae._evaluator().prepared(X)
    own = in_double(vae.net_.module_.model), x, vae.n_score_samples, vae._noise_seed
    scores = encoder_alone(*own).log_likelihood + likelihood.log_volume(x)
    assert np.abs(vae.score_samples(X) - scores).max() < 5 * vae.standard_error(X).max()
    return scores


@pytest.mark.parametrize("form", ["pickle", "skops"])
@pytest.mark.parametrize("name", EXPECTED)
# Written with one version of scikit-learn, read with another.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_a_file_written_before_gives_the_same_scores(name, form):
    expected, model = EXPECTED[name], _read(name, form)
    X = np.array(expected["X"])
    found = earlier_scores(model, X) if name == "autoencoder" else model.score_samples(X)
    np.testing.assert_allclose(found, expected["score_samples"], rtol=1e-9)


@pytest.mark.parametrize("form", ["pickle", "skops"])
@pytest.mark.parametrize("name", [name for name in EXPECTED if name != "autoencoder"])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_model_written_before_goes_on_learning(name, form):
    model = _read(name, form)
    X = model.sample(60, random_state=0)[0]
    model.partial_fit(X[:20]).partial_fit(X[20:])
    assert np.isfinite(model.set_params(warm_start=True).fit(X).score(X))
    if hasattr(model, "n_samples_seen_"):
        assert model.n_samples_seen_ == 60


# Written with one version of scikit-learn, read with another.
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_pickled_results_written_before_give_the_same_numbers():
    X = np.array(EXPECTED["chain_gaussian"]["X"])
    chain, mixture = _read("chain_gaussian", "pickle"), _read("bayesian", "pickle")
    now = {
        "forecast": chain.forecast(X, 3),
        "interval": mixture.credible_interval(),
        "decomposition": elbo_decomposition(chain, X),
    }
    before = _read("results", "pickle")
    assert before.keys() == now.keys()
    for name, result in before.items():
        assert type(result) is type(now[name])
        for ours, theirs in zip(now[name], result, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_former_place_of_the_emissions_has_their_base_class_and_table():
    assert Emission is emission_base.Emission
    assert all(issubclass(emission, Emission) for emission in EMISSIONS.values())


def test_a_safetensors_file_written_before_gives_the_same_scores():
    expected = EXPECTED["autoencoder"]
    found = VariationalAutoencoder.load(FOLDER / "autoencoder.safetensors")
    scores = earlier_scores(found, np.array(expected["X"]))
    np.testing.assert_allclose(scores, expected["score_samples"], rtol=1e-9)


def test_a_state_written_before_is_read():
    """Tuples and NumPy's numbers had no tags then, and not a number was no string."""
    found = read(FOLDER / "state.npz")
    box = rebuilt(Box(Pair("a", np.zeros((2, 3))), np.float64(0.0)), found["box"])
    assert box.size == 0.1 + 0.2
    assert isinstance(box.size, np.float64)
    np.testing.assert_array_equal(box.content.values, np.arange(6.0).reshape(2, 3))
    assert box.content.values.flags.f_contiguous
    assert found["bounds"] == [1.5, float("-inf")]
    shared, repeated = found["again"]
    assert shared is box.content.values
    np.testing.assert_array_equal(repeated, np.tile(np.arange(3.0), (4, 1)))
    assert repeated.strides == (0, 8)


DEEP = json.loads((FOLDER / "expected_deep_chains.json").read_text())
DEEP_CHAINS = {
    "eg_chain": EGHiddenMarkov,
    "chain_autoencoder": HiddenMarkovAutoencoder,
    "transcriber": CTCTranscriber,
}


@pytest.mark.parametrize("form", ["pickle", "skops", "safetensors"])
@pytest.mark.parametrize("name", DEEP_CHAINS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")
def test_deep_models_of_sequences_written_before_give_the_same(name, form):
    load = DEEP_CHAINS[name].load
    model = load(FOLDER / f"{name}.{form}") if form == "safetensors" else _read(name, form)
    X = list(map(np.array, DEEP["X"]))
    for found, expected in zip(results(name, model, X), DEEP["expected"][name], strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9)
    y = [["abab"] * len(X)] if name == "transcriber" else []
    model.set_params(warm_start=True).fit(X, *y)
    assert len(model.history_["bound"]) == 4
