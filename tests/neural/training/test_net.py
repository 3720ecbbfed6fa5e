"""The net is skorch's: its parameters, callbacks, checkpoints and progress are within reach."""

import copy
import sys

import numpy as np
import pytest
import sklearn
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch import NeuralNet
from skorch.callbacks import Checkpoint, EpochScoring, LoadInitState
from skorch.dataset import ValidSplit

from skvae.neural.training.callbacks import EpochHistory
from skvae.neural.training.net import train
from skvae.neural.training.settings import device_name
from tests.neural.training.training_problems import (
    At,
    Trace,
    interrupt,
    linear_rows,
    model_for,
    net_for,
    weights,
)

X = linear_rows(200)
X_VALID = linear_rows(80, seed=1)


def test_net_is_composed():
    net = net_for(X)
    assert type(net) is NeuralNet
    assert net.initialized_
    assert net.module_.model.n_components == 2


def test_verbose_zero_prints_nothing(capfd):
    train(net_for(X, early_stopping=True, tol=1e6, n_iter_no_change=2, max_epochs=9), X, X_VALID)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("X_valid", [None, X_VALID])
def test_verbose_shows_a_bar_with_the_bound_on_stderr(capfd, X_valid):
    record = train(net_for(X, verbose=1), X, X_valid, volume=0.5)
    out, err = capfd.readouterr()
    assert out == ""
    assert "3/3" in err
    bounds = record.terms["bound"] if X_valid is None else record.valid_bounds
    assert f"lower bound {bounds[-1] + 0.5:.6f}" in err


def test_bar_is_finished_after_an_error(capfd):
    net = net_for(X, verbose=1)
    with pytest.raises(ValueError, match="diverged"):
        train(net, np.full((4, 5), np.inf))
    bar = dict(net.callbacks_)["epoch_bar"]
    assert bar.bar_ is None
    train(net, X, n_epochs=2)
    assert "2/2" in capfd.readouterr().err


def test_tqdm_is_not_loaded_before_it_is_needed():
    source = sys.modules["skvae.neural.training.net"]
    assert not hasattr(source, "tqdm")


# Checkpoints --------------------------------------------------------------------------------------


def test_resumed_training_is_the_uninterrupted_one(tmp_path):
    whole = net_for(X, kl_warmup=4)
    bounds = train(whole, X, X_VALID, n_epochs=6).terms["bound"]

    checkpoint = Checkpoint(monitor=None, dirname=str(tmp_path))
    net = net_for(X, kl_warmup=4, callbacks=[checkpoint, At(interrupt, 4, batch=2)])
    assert train(net, X, X_VALID, n_epochs=6).interrupted
    loaded = LoadInitState(Checkpoint(monitor=None, dirname=str(tmp_path)))
    resumed = net_for(X, kl_warmup=4, callbacks=[loaded])
    record = train(resumed, X, X_VALID, n_epochs=3)
    assert record.best_epoch == 6
    assert isinstance(resumed.history, EpochHistory)
    assert_array_equal(record.terms["bound"], bounds[3:])
    assert_array_equal(weights(resumed), weights(whole))
    assert_allclose(resumed.history[:, "train_bound"], bounds, rtol=1e-12)


def test_best_checkpoint_is_that_of_the_best_epoch(tmp_path):
    checkpoint = Checkpoint(dirname=str(tmp_path))
    trace = Trace(weights)
    net = net_for(X, lr=0.3, max_epochs=8, callbacks=[checkpoint, trace])
    record = train(net, X, X_VALID)
    best = record.valid_bounds.argmax()
    fresh = net_for(X)
    fresh.load_params(checkpoint=checkpoint)
    assert_array_equal(weights(fresh), trace.ends_[best])
    assert (weights(net) != trace.ends_[best]).any() or best == 7


def test_copies_train_apart():
    net = net_for(X)
    train(net, X, n_epochs=1)
    twin, before = copy.deepcopy(net), weights(net)
    train(twin, X, n_epochs=1)
    assert_array_equal(weights(net), before)
    train(net, X, n_epochs=1)
    assert_array_equal(weights(net), weights(twin))


# Parameters ---------------------------------------------------------------------------------------


def test_net_params_reach_the_net():
    net_params = {
        "optimizer__weight_decay": 0.25,
        "iterator_train__batch_size": 50,
        "train_split": ValidSplit(4),
        "callbacks__epoch_timer": None,
    }
    net = net_for(X, net_params=net_params)
    assert net.optimizer_.defaults["weight_decay"] == 0.25
    record = train(net, X)
    assert net.history[:, "train_batch_count"] == [3, 3, 3]
    assert len(record.valid_bounds) == 3
    assert "dur" not in net.history[-1]


@pytest.mark.parametrize("name", ["module", "module__model", "criterion__x", "lr", "callbacks"])
def test_net_params_are_not_for_parameters_set_elsewhere(name):
    with pytest.raises(ValueError, match=f"net_params has '{name}': must be none of module, .*lr"):
        net_for(X, net_params={name: None})


@pytest.mark.parametrize(
    ("net_params", "message"),
    [
        ({"patience": 3}, r"net_params=\{'patience': 3\}: .*patience"),
        ({"optimizer__momentum": 0.9}, r"net_params=\{'optimizer__momentum': 0.9\}: .*momentum"),
    ],
)
def test_unknown_net_params_are_said(net_params, message):
    with pytest.raises(ValueError, match=message):
        net_for(X, net_params=net_params)


@pytest.mark.parametrize("optimizer", ["adamax", int, None, torch.optim.lr_scheduler.StepLR])
def test_unknown_optimizers_are_said(optimizer):
    with pytest.raises(ValueError, match=r"optimizer=.*: must be one of 'adam', 'adamw'"):
        net_for(X, optimizer=optimizer)


@pytest.mark.parametrize("device", ["gpu", None, 1.5, "cuda:x"])
def test_unknown_devices_are_said(device):
    with pytest.raises(ValueError, match=r"device=.*: must be 'auto'"):
        net_for(X, device=device)


def test_device_is_cuda_if_there_is_one(monkeypatch):
    for there, expected in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device_name("auto") == expected


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [("late", "callbacks='late': must be a list"), ([3], "callbacks has an entry 3: must be a")],
)
def test_callbacks_are_those_of_skorch(callbacks, message):
    with pytest.raises(ValueError, match=message):
        net_for(X, callbacks=callbacks)


def test_callbacks_that_make_a_training_stay():
    with pytest.raises(ValueError, match=r"callbacks__best_weights__tol.*estimator's callbacks"):
        net_for(X, net_params={"callbacks__best_weights__tol": 1.0})


def test_parameters_of_a_loader_come_with_it():
    with pytest.raises(ValueError, match=r"train__num_workers.*come with 'iterator_train'"):
        net_for(X, net_params={"iterator_train__num_workers": 1})


def test_batches_of_validation_are_larger():
    net = net_for(X, batch_size=32)
    assert net.get_params()["iterator_valid__batch_size"] == 2048
    wide = model_for(np.random.default_rng(0).normal(size=(3, 2000)))
    assert net_for(X, model=wide, batch_size=32).iterator_valid__batch_size == 2**19 // 2000
    assert net_for(X, model=wide, batch_size=9999).iterator_valid__batch_size == 9999


def test_scoring_callbacks_work():
    def mean_bound(net, X, y=None):
        return net.forward(X)[1].double().mean().item()

    score = EpochScoring(mean_bound, lower_is_better=False)
    net = net_for(X, callbacks=[("score", score)])
    record = train(net, X, X_VALID)
    assert_allclose(net.history[:, "mean_bound"], record.valid_bounds, rtol=1e-6)


def test_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        assert train(net_for(X), X, X_VALID).n_epochs == 3


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # warnings of the compiler about itself
@pytest.mark.parametrize("mixed_precision", [False, True])
def test_compiled_training_is_the_same(mixed_precision):
    reached = []
    for net_params in (None, {"compile": True, "compile__backend": "eager"}):
        net = net_for(X, mixed_precision=mixed_precision, kl_warmup=1, net_params=net_params)
        rates = {group["lr"] for group in net.optimizer_.param_groups}
        record = train(net, X, X_VALID)
        assert rates == {1e-2, 1e-1}
        reached.append((weights(net), record.valid_bounds))
        assert net.module_.model.n_components == 2
    assert_allclose(reached[0][0], reached[1][0], rtol=1e-3, atol=1e-4)
    assert_allclose(reached[0][1], reached[1][1], rtol=1e-4)


def test_mixed_precision_trains():
    full, mixed = (
        train(net_for(X, max_epochs=20, mixed_precision=m), X, X_VALID).valid_bounds[-1]
        for m in (False, True)
    )
    assert full != mixed
    assert_allclose(full, mixed, atol=0.1)


def test_double_precision_trains():
    net = net_for(X, model=model_for(X).double())
    train(net, X, X_VALID)
    assert weights(net).dtype == np.float64
