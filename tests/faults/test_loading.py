"""Files that were changed, cut off or are someone else's: nothing in them runs, and they say so."""

import io
import json
import pickle
import zipfile

import joblib
import numpy as np
import pytest
import skops.io
import torch
from skops.io.exceptions import UntrustedTypesFoundException

from skvae import (
    BayesianMixtureSVI,
    EGHiddenMarkov,
    EMContextFreeGrammar,
    EMGaussianMixture,
    EMHiddenMarkov,
    VariationalAutoencoder,
)
from skvae.neural import model_file as storage
from tests.faults.files import deeds, load_tampered, tampered
from tests.problems import blobs

ESTIMATORS = [
    EMGaussianMixture(2, random_state=0),
    EMHiddenMarkov(2, random_state=0, emission="student_t", max_iter=1000),
    EMContextFreeGrammar(2, random_state=0, emission="gaussian", max_iter=1000),
    BayesianMixtureSVI(2, random_state=0, max_iter=1000),
    VariationalAutoencoder(1, hidden_layer_sizes=(3,), max_epochs=2, random_state=0, device="cpu"),
]
every_estimator = pytest.mark.parametrize(
    "estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__
)
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")


@pytest.fixture(scope="module")
def X():
    return blobs(60, 2, 2)


class Bomb:
    """Leaves a trace where it is unpickled."""

    def __init__(self, trace):
        self.trace = str(trace)

    def __reduce__(self):
        return open, (self.trace, "w")


@pytest.fixture
def trace(tmp_path):
    return tmp_path / "it went off"


def test_the_bomb_goes_off_where_pickles_are_read(trace):
    pickle.loads(pickle.dumps(Bomb(trace))).close()
    assert trace.exists()


# The library's own files --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vae(X):
    (vae,) = (model for model in ESTIMATORS if isinstance(model, VariationalAutoencoder))
    return vae.fit(X)


@pytest.fixture(scope="module")
def content(vae, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.safetensors"
    vae.save(path)
    VariationalAutoencoder.load(path)  # torch makes code of its own when it is used first
    return *storage.load(path), path.read_bytes()


def torch_file(bomb):
    buffer = io.BytesIO()
    torch.save({"state": bomb}, buffer)
    return buffer.getvalue()


def joblib_file(bomb):
    buffer = io.BytesIO()
    joblib.dump(bomb, buffer)
    return buffer.getvalue()


def numpy_file(bomb):
    buffer = io.BytesIO()
    np.save(buffer, np.array([bomb]), allow_pickle=True)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", [pickle.dumps, torch_file, joblib_file, numpy_file])
def test_files_that_would_run_are_not_run(kind, trace, tmp_path, content):
    path = tmp_path / "model.safetensors"
    for ahead in (b"", content[2]):  # alone, and behind a whole file
        path.write_bytes(ahead + kind(Bomb(trace)))
        with deeds() as seen, pytest.raises(ValueError, match=r"model\.safetensors is no safeten"):
            VariationalAutoencoder.load(path)
        assert seen == []
    assert not trace.exists()


def test_pickles_are_not_used(content, tmp_path, monkeypatch, X, vae):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content[2])

    def refuse(*arguments, **keywords):
        raise AssertionError("a pickle was read")

    for module, names in [
        (pickle, ("load", "loads", "Unpickler")), (torch, ("load",)), (np, ("load",)),
        (joblib, ("load",)),
    ]:  # fmt: skip
        for name in names:
            monkeypatch.setattr(module, name, refuse)
    with deeds() as seen:
        model = VariationalAutoencoder.load(path)
    assert seen == []
    np.testing.assert_array_equal(model.score_samples(X), vae.score_samples(X))


def test_names_of_code_are_words(content, tmp_path, trace):
    """Wherever a file could name something to call, it is refused, and nothing is called."""
    tree, arrays, _ = content
    path = tmp_path / "model.safetensors"
    settings = ("encoder", "decoder", "activation", "likelihood", "prior", "optimizer", "callbacks",
                "net_params", "device", "likelihood_params")  # fmt: skip
    call = f"open({str(trace)!r}, 'w')"
    for name in settings:
        for value in ("builtins.open", call, ["os.system", call], {"iterator_train": call},
                      {"optimizer": "os.system"}):  # fmt: skip
            parts = tree["parts"]
            changed = {**parts, "settings": {**parts["settings"], name: value}}
            storage.save(path, {**tree, "parts": changed}, arrays)
            with deeds() as seen:
                try:
                    model = VariationalAutoencoder.load(path)
                except ValueError as error:
                    assert "model.safetensors" in str(error)  # noqa: PT017
                else:
                    # A device that is not there is the CPU, modules are not read from a file, the
                    # likelihood's own settings are those of the net, and an iterator is of no use
                    # before rows are learned.
                    assert name not in ("activation", "prior", "optimizer", "callbacks")
                    assert model.net_.device == "cpu"
                    assert np.isfinite(model.score([[0.0, 0.0]]))
            assert seen == [], name
    assert not trace.exists()


def test_any_change_is_refused_or_does_no_harm(content, tmp_path, X):
    tree, arrays, _ = content
    path, rng = tmp_path / "model.safetensors", np.random.default_rng(0)
    changes = (tampered(tree, arrays, rng) for _ in range(150))
    endings = [load_tampered(path, *change, X) for change in changes]
    assert endings.count("refused") > 50
    assert endings.count("loaded, refuses rows") < 10


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"_noise_seed": -1},
        {"_noise_seed": {"$float": "inf"}},
        {"n_features_in_": 2**70},
        {"_n_features_out": "mixture"},
        {"converged_": 1},
        {"history_": []},
        {"feature_names_in_": ["a", "b"]},
    ],
    ids=str,
)
def test_attributes_of_another_kind_are_refused(attributes, content, tmp_path):
    tree, arrays, _ = content
    path, known = tmp_path / "model.safetensors", tree["parts"]["attributes"]
    changed = {**known, **attributes} if attributes else {}
    storage.save(path, {**tree, "parts": {**tree["parts"], "attributes": changed}}, arrays)
    with pytest.raises(ValueError, match=r"model\.safetensors is no usable .* fitted model"):
        VariationalAutoencoder.load(path)


def test_sizes_beyond_memory_are_refused(content, tmp_path):
    tree, arrays, _ = content
    path = tmp_path / "model.safetensors"
    for name, value in [
        ("hidden_layer_sizes", [2**40, 2**40]),
        ("hidden_layer_sizes", [2**62]),
        ("n_components", 2**62),
        ("n_components", 2**70),
        ("hidden_layer_sizes", [1] * 100_000),
    ]:
        settings = {**tree["parts"]["settings"], name: value}
        storage.save(path, {**tree, "parts": {**tree["parts"], "settings": settings}}, arrays)
        with pytest.raises(ValueError, match=r"model\.safetensors is no usable"):
            VariationalAutoencoder.load(path)


# skops --------------------------------------------------------------------------------------------


@pytest.fixture
def dumped(tmp_path):
    """Writes a model as skops does, with a changed schema or other arrays."""

    def dump(model, change=None, array=None):
        path = tmp_path / "model.skops"
        skops.io.dump(model, path)
        with zipfile.ZipFile(path) as archive:
            parts = {name: archive.read(name) for name in archive.namelist()}
        if change is not None:
            schema = json.loads(parts["schema.json"])
            change(schema)
            parts["schema.json"] = json.dumps(schema).encode()
        if array is not None:  # in the place of each array: their names differ from dump to dump
            parts = {name: array if name.endswith(".npy") else parts[name] for name in parts}
        with zipfile.ZipFile(path, "w") as archive:
            for name, part in parts.items():
                archive.writestr(name, part)
        return path

    return dump


def trusted(estimator):
    """The types that a user of skvae has to trust: its own."""
    found = skops.io.get_untrusted_types(data=skops.io.dumps(estimator))
    assert all(name.startswith("skvae.") for name in found)
    return found


@every_estimator
def test_skops_runs_nothing_that_is_not_trusted(estimator, X, dumped):
    model = estimator.fit(X)
    trust = trusted(model)

    def call(schema):
        schema.update(__class__="system", __module__="posix", __loader__="ObjectNode")

    def call_within(schema):
        schema["content"]["content"]["n_components"] = {
            "__class__": "eval", "__module__": "builtins", "__loader__": "TypeNode", "__id__": 99,
        }  # fmt: skip

    for change, named in [(call, "posix.system"), (call_within, "builtins.eval")]:
        path = dumped(model, change)
        with deeds() as seen, pytest.raises(UntrustedTypesFoundException, match=named):
            skops.io.load(path, trusted=trust)
        assert not [deed for deed in seen if deed[0] not in ("compile", "exec")]


@every_estimator
def test_arrays_of_skops_are_not_unpickled(estimator, X, dumped, trace):
    model = estimator.fit(X)
    trust, path = trusted(model), dumped(model, array=numpy_file(Bomb(trace)))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        skops.io.load(path, trusted=trust)
    assert not trace.exists()


@every_estimator
def test_broken_files_of_skops_are_an_error(estimator, X, dumped, trace, tmp_path):
    model = estimator.fit(X)
    trust, whole = trusted(model), dumped(model).read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:-1], b"", pickle.dumps(Bomb(trace))):
        path = tmp_path / "broken.skops"
        path.write_bytes(broken)
        with pytest.raises((zipfile.BadZipFile, ValueError)):
            skops.io.load(path, trusted=trust)
    assert not trace.exists()
    assert skops.io.loads(whole, trusted=trust).score(X) == model.score(X)


def test_a_file_of_another_estimator_has_its_name(content, tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content[2])
    text = "holds 'VariationalAutoencoder', .*; load it by VariationalAutoencoder.load"
    with pytest.raises(ValueError, match=text):
        EGHiddenMarkov.load(path)
