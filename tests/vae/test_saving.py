"""Copies of an autoencoder, files of it, and its place among scikit-learn's tools."""

import copy
import json
import os
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import skops.io
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import LRScheduler
from torch import nn

from skvae import VariationalAutoencoder
from skvae.neural import model_file as storage
from tests.neural.training.training_problems import At, weights
from tests.problems import assert_same_state, knock_out, state_of
from tests.vae.estimator_problems import autoencoder, rows, rows_of

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")


def through_joblib(model, tmp_path):
    joblib.dump(model, tmp_path / "model.joblib")
    return joblib.load(tmp_path / "model.joblib")


def through_skops(model, tmp_path):
    skops.io.dump(model, tmp_path / "model.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    assert set(unknown) <= {"skvae.vae.autoencoder.VariationalAutoencoder"}
    return skops.io.load(tmp_path / "model.skops", trusted=unknown)


def through_file(model, tmp_path):
    model.save(tmp_path / "model.safetensors")
    return VariationalAutoencoder.load(tmp_path / "model.safetensors")


COPIES = {
    "pickle": lambda model, _: pickle.loads(pickle.dumps(model)),
    "deepcopy": lambda model, _: copy.deepcopy(model),
    "joblib": through_joblib,
    "skops": through_skops,
    "save and load": through_file,
}


def test_numbers_of_a_grid_are_written(tmp_path):
    parameters = {"n_components": np.int64(2), "lr": np.float32(1e-3), "max_epochs": np.int64(1)}
    model = VariationalAutoencoder(**parameters, random_state=0).fit(rows())
    assert through_file(model, tmp_path).score(rows()) == model.score(rows())


# Every kind of state there is.
FORMS = {
    "plain": ("gaussian", {}),
    "mixture": ("student_t", {"prior": "mixture", "likelihood_params": {"dof": "feature"}}),
    "vamp": ("categorical", {"prior": "vamp", "encoder_covariance": "full"}),
    "counts": ("negative_binomial", {"hidden_layer_sizes": (), "net_params": {"compile": False}}),
}


@pytest.fixture(scope="module")
def X():
    return rows()


@pytest.fixture(scope="module")
def fitted(X):
    return autoencoder().fit(X)


def assert_same_answers(other, model, X):
    for method in ("score_samples", "transform", "impute", "effective_sample_size"):
        assert_array_equal(getattr(other, method)(X), getattr(model, method)(X))
    assert_array_equal(other.sample(5)[0], model.sample(5)[0])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("how", COPIES)
def test_copies_answer_and_go_on_identically(how, form, tmp_path):
    likelihood, parameters = FORMS[form]
    X = knock_out(rows_of(likelihood), 0.1)
    model = autoencoder(likelihood=likelihood, n_prior_components=3, **parameters).fit(X)
    other = COPIES[how](model, tmp_path)
    assert_same_answers(other, model, X)
    assert repr(other.get_params()) == repr(model.get_params())
    for name in ("history_", "lower_bounds_", "n_iter_", "converged_", "n_features_in_"):
        np.testing.assert_equal(getattr(other, name), getattr(model, name))
    other.partial_fit(X)
    assert_array_equal(weights(other.net_), weights(model.partial_fit(X).net_))


def test_file_holds_arrays_and_text_only(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    content = (tmp_path / "model.safetensors").read_bytes()
    assert b"pickle" not in content
    assert b"builtins" not in content
    tree, arrays = storage.load(tmp_path / "model.safetensors")
    json.dumps(tree)
    assert all(array.dtype.kind in "bfiu" for array in arrays.values())
    assert os.listdir(tmp_path) == ["model.safetensors"]


def test_names_and_columns_are_saved(tmp_path):
    X = np.column_stack([rows()[:, 0], rows_of("bernoulli")[:, 0], rows_of("poisson")[:, 0]])
    frame = pd.DataFrame(X, columns=["size", "on", "number"])
    likelihood = [("gaussian", "size"), ("bernoulli", slice(1, 2)), ("poisson", ["number"], {})]
    model = autoencoder(likelihood=likelihood).fit(frame)
    other = through_file(model, tmp_path)
    assert_array_equal(other.feature_names_in_, frame.columns)
    assert other.score(frame) == model.score(frame)
    assert other.likelihood == likelihood
    assert_array_equal(
        weights(other.partial_fit(frame).net_), weights(model.partial_fit(frame).net_)
    )


def test_modules_are_passed_again(X, tmp_path):
    path = tmp_path / "model.safetensors"
    encoder, decoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)), nn.Linear(2, 3)
    model = autoencoder(encoder=encoder, decoder=decoder).fit(X)
    model.save(path)
    load = VariationalAutoencoder.load
    other = load(path, encoder=encoder, decoder=decoder)
    assert other.encoder is encoder
    assert_array_equal(other.score_samples(X), model.score_samples(X))
    assert_array_equal(weights(other.partial_fit(X).net_), weights(model.partial_fit(X).net_))
    for given, message in [
        ({}, "encoder: must be passed again"),
        ({"encoder": encoder}, "decoder: must be passed again"),
        ({"encoder": nn.Linear(3, 4), "decoder": decoder}, "(?s)stored weights are not those"),
        ({"encoder": nn.Linear(3, 5), "decoder": decoder}, "encoder"),
        ({"encoder": 3, "decoder": decoder}, "encoder=3"),
    ]:
        with pytest.raises(ValueError, match=message):
            load(path, **given)
    autoencoder().fit(X).save(path)
    with pytest.raises(ValueError, match="decoder: must be None"):
        load(path, decoder=decoder)


@pytest.mark.parametrize(
    ("name", "value", "plain"),
    [
        ("callbacks", [LRScheduler("StepLR", step_size=1)], None),
        ("optimizer", torch.optim.SGD, "sgd"),
        ("random_state", np.random.RandomState(0), 0),
        ("net_params", {"iterator_train": torch.utils.data.DataLoader}, None),
    ],
)
def test_code_is_not_saved(name, value, plain, X, tmp_path):
    path = tmp_path / "model.safetensors"
    model = autoencoder(**{name: value}).fit(X)
    with pytest.raises(ValueError, match=rf"(?s){name}=.*set_params\({name}=...\)"):
        model.save(path)
    assert not path.exists()
    model.set_params(**{name: plain}).save(path)  # the remedy of the message works
    other = VariationalAutoencoder.load(path)
    assert_array_equal(other.score_samples(X), model.score_samples(X))
    other.partial_fit(X)


def same_requests(one, other):
    return str(one.get_metadata_routing()) == str(other.get_metadata_routing())


def set_output(model, X):
    model.set_output(transform="pandas")


def set_request(model, X):
    with config_context(enable_metadata_routing=True):
        model.set_score_request(sample_weight="weights")


def set_learning_requests(model, X):
    with config_context(enable_metadata_routing=True):
        model.set_fit_request(sample_weight=False).set_partial_fit_request(sample_weight="weights")


def set_other_request(model, X):
    with config_context(enable_metadata_routing=True):
        model.set_inverse_transform_request(Z=False)


def set_attributes(model, X):
    model.note, model.table_ = "mine", {"a": np.arange(3.0), 2: [torch.ones(2), None]}


MUTATORS = {
    "set_params": lambda model, X: model.set_params(n_score_samples=7, lr=0.5),
    "set_output": set_output,
    "set_score_request": set_request,
    "set_fit_request": set_learning_requests,
    "set_partial_fit_request": set_learning_requests,
    "set_inverse_transform_request": set_other_request,
    "attributes": set_attributes,
    "fit": lambda model, X: model.fit(X[:40]),
    "warm fit": lambda model, X: model.set_params(warm_start=True).fit(X),
    "partial_fit": lambda model, X: model.partial_fit(X[:20]),
    "names": lambda model, X: model.set_params(warm_start=False).fit(
        pd.DataFrame(X, columns=["a", "b", "c"])
    ),
}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("mutator", [*MUTATORS, "all"])
def test_copies_have_all_that_was_set(mutator, how, fitted, X, tmp_path):
    if how == "skops" and mutator not in ("set_params", "fit", "warm fit", "partial_fit", "names"):
        pytest.skip("skops decides on the types of others")
    model = copy.deepcopy(fitted)
    for name, change in MUTATORS.items():
        if mutator in (name, "all"):
            change(model, X)
    other = COPIES[how](model, tmp_path)
    assert vars(other).keys() == vars(model).keys()
    assert same_requests(other, model)
    assert repr(other.get_params()) == repr(model.get_params())
    assert repr(getattr(other, "table_", None)) == repr(getattr(model, "table_", None))
    assert type(other.transform(X)) is type(model.transform(X))
    assert_array_equal(other.score_samples(X), model.score_samples(X))
    again = COPIES[how](other, tmp_path)  # a copy can be copied
    assert vars(again).keys() == vars(model).keys()


def test_there_is_a_test_of_every_public_mutator():
    """Setters of scikit-learn's, and the methods that learn."""
    setters = {name for name in dir(VariationalAutoencoder) if name.startswith("set_")}
    assert setters | {"fit", "partial_fit"} <= {*MUTATORS}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("note", object(), r"the attribute note=<object.*cannot be saved.*delete it"),
        ("hook", len, r"the attribute hook=<built-in function len>.*cannot be saved"),
        ("score", 3.0, r"the attribute score cannot be saved, VariationalAutoencoder has a score"),
        ("lower_bound_", np.float64(1.0), r"lower_bound_=.* is not that of a fitted model"),
        ("encoder", nn.Linear(3, 4), r"encoder=.* was set after the fit.*encoder=...\) to None"),
    ],
)
def test_what_a_file_cannot_hold_is_told_before_it_is_written(
    name, value, message, fitted, tmp_path
):
    path = tmp_path / "model.safetensors"
    model = copy.deepcopy(fitted)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        model.save(path)
    assert not path.exists()
    setattr(model, name, getattr(fitted, name, None))
    if name not in ("lower_bound_", "encoder"):
        delattr(model, name)  # the remedy of the message
    model.save(path)
    assert VariationalAutoencoder.load(path).lower_bound_ == fitted.lower_bound_


def test_an_object_in_the_history_is_told(X, tmp_path):
    model = autoencoder(callbacks=[At(lambda net: net.history.record("mine", object()), 2)])
    model.fit(X).set_params(callbacks=None)
    with pytest.raises(ValueError, match=r"net_ cannot be saved.*history.*mine.*type object"):
        model.save(tmp_path / "model.safetensors")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "value", "entry"),
    [("history_", {"mine": object()}, "'mine'"), ("lower_bounds_", [-3.0, object()], "1")],
)
def test_an_object_in_a_fitted_attribute_is_told(name, value, entry, fitted, tmp_path):
    model = copy.deepcopy(fitted)
    setattr(model, name, value)
    with pytest.raises(ValueError, match=rf"cannot be saved.*'{name}'\]\[{entry}\].*type object"):
        model.save(tmp_path / "model.safetensors")
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_and_a_device_are_left_alone(fitted, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    for name in ("pipe", "device"):
        before = os.stat(tmp_path / name)
        with pytest.raises(OSError, match="a pipe, a socket or a device"):
            fitted.save(tmp_path / name)
        with pytest.raises(ValueError, match="is no regular file"):
            VariationalAutoencoder.load(tmp_path / name)
        assert os.stat(tmp_path / name).st_mode == before.st_mode
    assert sorted(os.listdir(tmp_path)) == ["device", "pipe"]


def test_long_names_and_links(fitted, X, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for name in ("a" * 237, "b" * 255, "link"):
        fitted.save(tmp_path / name)
        other = VariationalAutoencoder.load(tmp_path / name)
        assert other.lower_bound_ == fitted.lower_bound_
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").is_file()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for action in (fitted.save, VariationalAutoencoder.load):
        with pytest.raises(OSError, match="loop"):
            action(tmp_path / "loop")


def altered(model, path, change):
    """Save a model, change the content of the file, and write it with a matching digest."""
    model.save(path)
    tree, arrays = storage.load(path)
    change(tree, arrays)
    storage.save(path, tree, arrays)


ALTERATIONS = {
    "another estimator": lambda tree, arrays: tree.update(estimator="EMGaussianMixture"),
    "no estimator": lambda tree, arrays: tree.pop("estimator"),
    "no net": lambda tree, arrays: tree.pop("net"),
    "no parts": lambda tree, arrays: tree.pop("parts"),
    "parts that are a list": lambda tree, arrays: tree.update(parts=[]),
    "no modules": lambda tree, arrays: tree.pop("modules"),
    "modules that are a number": lambda tree, arrays: tree.update(modules=3),
    "a method as an attribute": lambda tree, arrays: tree["parts"]["attributes"].update(score=3),
    "an attribute of no use": lambda tree, arrays: tree["parts"]["attributes"].update(__class__=3),
    "an unknown parameter": lambda tree, arrays: tree["parts"]["parameters"].update(depth=3),
    "an unknown setting": lambda tree, arrays: tree["parts"]["settings"].update(depth=3),
    "another size": lambda tree, arrays: tree["parts"]["settings"].update(n_components=5),
    "another prior": lambda tree, arrays: tree["parts"]["settings"].update(prior="vamp"),
    "layers of a word": lambda tree, arrays: tree["parts"]["settings"].update(
        hidden_layer_sizes="wide"
    ),
    "an unknown activation": lambda tree, arrays: tree["parts"]["settings"].update(activation="os"),
    "an optimiser of one's own": lambda tree, arrays: tree["parts"]["settings"].update(
        optimizer="os.system"
    ),
    "callbacks": lambda tree, arrays: tree["parts"]["settings"].update(callbacks=["os.system"]),
    "an unknown likelihood": lambda tree, arrays: tree["net"]["likelihood"].update(likelihood="os"),
    "a unit of zero": lambda tree, arrays: tree["net"]["likelihood"].update(units=[0, 0, 0]),
    "weights of another shape": lambda tree, arrays: arrays.update(
        {name: array[:1] for name, array in arrays.items() if array.ndim == 2}
    ),
    "no weights": lambda tree, arrays: tree["net"].update(weights={}),
    "weights that are words": lambda tree, arrays: tree["net"].update(weights=["a"]),
    "an optimiser without a state": lambda tree, arrays: tree["net"].update(optimizer_state={}),
    "a history that is a number": lambda tree, arrays: tree["net"].update(history=3),
    "a seed that is a word": lambda tree, arrays: tree["net"].update(seed="x"),
    "a state that is empty": lambda tree, arrays: tree.clear(),
    "an own method": lambda tree, arrays: tree["parts"].update(own={"score": 3}),
    "own attributes of a list": lambda tree, arrays: tree["parts"].update(own=[3]),
    "an output of none": lambda tree, arrays: tree["parts"].update(output={"fit": "pandas"}),
    "a request of none": lambda tree, arrays: tree["parts"].update(requests={"params": {"lr": 3}}),
    "an array more": lambda tree, arrays: arrays.update(more=np.zeros(3)),
    "an array elsewhere": lambda tree, arrays: arrays.update({"os/system": np.zeros(3)}),
}


@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_altered_files_are_an_error(alteration, fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    altered(fitted, path, ALTERATIONS[alteration])
    with pytest.raises(ValueError, match=r"model\.safetensors"):
        VariationalAutoencoder.load(path)


def test_damaged_files_are_an_error(fitted, tmp_path):
    path = tmp_path / "model.safetensors"
    fitted.save(path)
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(len(content), size=40):
        damaged = bytearray(content)
        damaged[place] ^= 0x21
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            VariationalAutoencoder.load(path)
    for length in (0, 1, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            VariationalAutoencoder.load(path)
    for foreign in (pickle.dumps(fitted), b"PK\x03\x04", b"no model"):
        path.write_bytes(foreign)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            VariationalAutoencoder.load(path)
    with pytest.raises(FileNotFoundError):
        VariationalAutoencoder.load(tmp_path / "nothing")
    with pytest.raises(FileNotFoundError):
        fitted.save(tmp_path / "nowhere" / "model.safetensors")


def test_saving_changes_nothing(fitted, X, tmp_path):
    state = state_of(fitted)
    fitted.save(tmp_path / "model.safetensors")
    fitted.save(str(tmp_path / "again.safetensors"))
    pickle.dumps(fitted)
    assert_same_state(fitted, state)
    first, second = (tmp_path / f"{name}.safetensors" for name in ("model", "again"))
    assert first.read_bytes() == second.read_bytes()


def test_parameters_set_since_are_those_that_are_saved(fitted, tmp_path):
    model = copy.deepcopy(fitted).set_params(n_score_samples=7, n_components=9, lr=0.5)
    other = through_file(model, tmp_path)
    assert (other.n_score_samples, other.n_components, other.lr) == (7, 9, 0.5)
    assert other.sample(3)[1].shape == (3, 2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here")
@pytest.mark.parametrize("how", COPIES)
def test_model_of_another_device_is_restored_on_the_cpu(how, X, fitted, tmp_path):
    """As if it had been fitted where there is CUDA."""
    model = copy.deepcopy(fitted).set_params(device="cuda")
    model._settings = {**model._settings, "device": "cuda"}
    other = COPIES[how](model, tmp_path)
    assert other.device == "cuda"
    assert other.net_.device == "cpu"
    assert_array_equal(other.score_samples(X), fitted.score_samples(X))
    assert np.isfinite(other.partial_fit(X).score(X))


# Among scikit-learn's tools -----------------------------------------------------------------------


def test_clone_is_unfitted_and_fits_the_same(fitted, X):
    other = clone(fitted)
    assert not hasattr(other, "net_")
    assert_array_equal(other.fit(X).score_samples(X), fitted.score_samples(X))


def answers_of_files(folder, X):
    """Return the scores of rows that another process computes from the files of a folder."""
    pickled = joblib.load(folder / "model.joblib")
    read = VariationalAutoencoder.load(folder / "model.safetensors")
    return os.getpid(), pickled.score(X), read.score(X)


@pytest.mark.slow
def test_other_processes(fitted, X, tmp_path):
    """A search in parallel is that in one process, and files are read elsewhere."""
    search = GridSearchCV(autoencoder(), {"n_components": [1, 2]}, cv=2, error_score="raise")
    serial = clone(search).fit(X).cv_results_["mean_test_score"]
    parallel = clone(search).set_params(n_jobs=2).fit(X).cv_results_["mean_test_score"]
    assert_allclose(parallel, serial, rtol=1e-5)
    fitted.save(tmp_path / "model.safetensors")
    joblib.dump(fitted, tmp_path / "model.joblib")
    (answers,) = joblib.Parallel(n_jobs=2)([joblib.delayed(answers_of_files)(tmp_path, X)])
    assert answers[0] != os.getpid()
    assert_allclose(answers[1:], fitted.score(X), rtol=1e-6)


def test_pipeline_and_cross_validation(X):
    pipeline = make_pipeline(StandardScaler(), autoencoder(likelihood="student_t"))
    assert np.isfinite(cross_val_score(pipeline, X, cv=2)).all()
    weight = np.ones(len(X))
    with config_context(enable_metadata_routing=True):
        pipeline.fit(X)
        assert pipeline.score(X, sample_weight=weight) == pytest.approx(pipeline.score(X))


@pytest.mark.parametrize(("library", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_output_containers(library, frame, fitted, X):
    model = copy.deepcopy(fitted).set_output(transform=library)
    out = model.transform(X)
    assert isinstance(out, frame)
    assert list(out.columns) == list(model.get_feature_names_out())
    assert_array_equal(out.to_numpy(), fitted.transform(X))
    for found in (model.inverse_transform(out), model.impute(X), model.reconstruct(X)):
        assert isinstance(found, frame)
        assert list(found.columns) == ["x0", "x1", "x2"]
    assert_array_equal(model.impute(X).to_numpy(), fitted.impute(X))


def test_settings_are_shown(fitted):
    assert repr(fitted).startswith("VariationalAutoencoder(")
    assert "max_epochs=3" in repr(fitted)
    assert "VariationalAutoencoder" in fitted._repr_html_()


class Counts(VariationalAutoencoder):
    """An autoencoder with a constructor of its own."""

    def __init__(self, size=2, *, max_epochs=2):
        super().__init__(size, likelihood="poisson", hidden_layer_sizes=(4,), random_state=0)
        self.size = size
        self.max_epochs = max_epochs


def test_subclass_with_another_constructor(tmp_path):
    """It is fitted with its constants, continued, saved and loaded."""
    X = np.random.default_rng(0).poisson(3.0, size=(200, 3)).astype(float)
    model = Counts(max_epochs=3).fit(X)
    same = VariationalAutoencoder(
        2, likelihood="poisson", hidden_layer_sizes=(4,), random_state=0, max_epochs=3
    ).fit(X)
    assert_array_equal(model.score_samples(X), same.score_samples(X))
    model.save(tmp_path / "counts.safetensors")
    loaded = Counts.load(tmp_path / "counts.safetensors")
    assert loaded.get_params() == {"size": 2, "max_epochs": 3}
    assert_array_equal(loaded.score_samples(X), model.score_samples(X))
    assert_array_equal(
        loaded.partial_fit(X).score_samples(X), model.partial_fit(X).score_samples(X)
    )
    assert not np.array_equal(model.score_samples(X), same.score_samples(X))
