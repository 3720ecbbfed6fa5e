"""Two processes train one model: that of one process, but for rounding."""

import contextlib
import io

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skvae.neural.training import rows_on_disk
from skvae.neural.training.processes import Processes, digest
from tests.neural.training.training_problems import At, interrupt, weights
from tests.neural.training.two_processes import two_processes
from tests.problems import knock_out
from tests.vae.estimator_problems import autoencoder, rows

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")

X = knock_out(rows(101))


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    with two_processes(tmp_path_factory.mktemp("group")) as call:
        yield call


class Normalised(nn.Module):
    """An encoder with running means, which each process takes over its share."""

    def __init__(self):
        super().__init__()
        self.norm, self.layer = nn.BatchNorm1d(3), nn.Linear(3, 4)

    def forward(self, inputs):
        return self.layer(self.norm(inputs))


def fitted(rank, parameters, data=X, weight=None):
    vae = autoencoder(**parameters).fit(data, sample_weight=weight)
    return state_after(vae)


def state_after(vae):
    arrays = {name: w.numpy() for name, w in vae.net_.module_.model.state_dict().items()}
    return arrays, vae.history_, vae.lower_bound_, vae.n_iter_, vae.score(X)


def assert_same(found, expected, rtol=1e-5):
    """Both have the same bits, and the result of one process up to rounding."""
    (good, one), (fine, other) = found
    assert good, one
    assert fine, other
    for name, weight in one[0].items():
        assert_array_equal(weight, other[0][name])
    np.testing.assert_equal(one[1:], other[1:])
    if expected is None:
        return
    for name, trace in one[1].items():
        assert_allclose(trace, expected[1][name], rtol=rtol, atol=rtol, err_msg=name)
    assert_allclose(one[2], expected[2], rtol=rtol)
    assert one[3] == expected[3]
    assert_allclose(one[4], expected[4], rtol=rtol)


@pytest.mark.slow
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"early_stopping": False, "batch_size": 7},
        {"prior": "mixture", "n_prior_components": 3, "max_epochs": 8, "gradient_clip": 0.5},
        {"prior": "vamp", "n_prior_components": 3},
        {"n_importance_samples": 4, "beta": 0.5},
        {"free_bits": 0.3, "kl_warmup": 0},
        {"free_bits": 0.3, "prior": "mixture", "n_prior_components": 3},
        {"optimizer": "sgd", "max_epochs": 1, "batch_size": 64},
        {"batch_size": 1, "max_epochs": 1},  # one process has no row of a batch
        {"max_epochs": 40, "n_iter_no_change": 2, "tol": 0.1, "lr": 0.02},
    ],
)
def test_two_processes_fit_as_one_does(parameters, both):
    assert_same(both(fitted, parameters), fitted(0, parameters))


@pytest.mark.slow
@pytest.mark.parametrize("parameters", [{}, {"free_bits": 0.3, "kl_warmup": 0}])
def test_weighted_rows(parameters, both):
    weight = np.random.default_rng(0).uniform(size=len(X))
    expected = fitted(0, parameters, X, weight)
    assert_same(both(fitted, parameters, X, weight), expected)


def given_other_weights(rank):
    return fitted(rank, {}, X, np.linspace(1.0, 2.0 + rank, len(X)))


@pytest.mark.slow
def test_processes_with_other_weights_are_an_error(both):
    for good, text in both(given_other_weights):
        assert not good
        assert "sample_weight of process 1 differs from that of process 0" in text


@pytest.mark.slow
def test_weights_are_those_of_one_process(both):
    """With plain steps differences do not grow."""
    parameters = {"optimizer": "sgd", "lr": 1e-2, "max_epochs": 5}
    found, expected = both(fitted, parameters), fitted(0, parameters)
    for name, weight in found[0][1][0].items():
        assert_allclose(weight, expected[0][name], rtol=1e-4, atol=1e-6, err_msg=name)


@pytest.mark.slow
def test_modules_that_look_at_the_batch_end_alike(both):
    assert_same(both(fitted, {"encoder": Normalised, "batch_size": 16}), None)


def fitted_again(rank, parameters):
    vae = autoencoder(**parameters, warm_start=True).fit(X).fit(X).partial_fit(X[:30])
    return state_after(vae)


@pytest.mark.slow
def test_going_on(both):
    assert_same(both(fitted_again, {}), fitted_again(0, {}))


def streamed(rank, place):
    rows_on_disk.BUFFER, before = 60, rows_on_disk.BUFFER
    try:
        return state_after(autoencoder(batch_size=16).fit(np.load(place, mmap_mode="r")))
    finally:
        rows_on_disk.BUFFER = before


@pytest.mark.slow
def test_rows_that_are_streamed(both, tmp_path):
    np.save(tmp_path / "X.npy", X)
    assert_same(both(streamed, tmp_path / "X.npy"), streamed(0, tmp_path / "X.npy"))


# Processes that differ ----------------------------------------------------------------------------


def unlike(rank, what):
    data, parameters = X, {}
    if what == "X" and rank:
        data = np.square(X)  # another order would be the same rows
    elif what == "columns" and rank:
        data = X[:, :2]
    elif what == "nothing" and rank:
        data = np.full_like(X, np.nan)
    elif what == "lr":
        parameters = {"lr": 1e-3 * (rank + 1)}
    elif what == "random_state":
        parameters = {"random_state": rank}
    elif what == "bad lr":
        parameters = {"lr": -1.0 if rank else 1e-3}
    autoencoder(**parameters).fit(data)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "match"),
    [
        ("X", "ValueError: X of process 1 differs from that of process 0: in each process fit"),
        ("columns", "ValueError: X of process 1 differs"),
        ("lr", "ValueError: a parameter of process 1 differs"),
        ("random_state", "random_state (an int)"),
    ],
)
def test_processes_that_differ_are_an_error(what, match, both):
    for good, message in both(unlike, what):
        assert not good
        assert match in message


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "match"), [("nothing", "no observed value in feature 0"), ("bad lr", "lr=-1.0")]
)
def test_a_failure_of_one_ends_the_other(what, match, both):
    (good, waiting), (fine, failed) = both(unlike, what)
    assert not good
    assert not fine
    assert failed.startswith("ValueError: ")
    assert match in failed
    assert "process 1 of 2 failed before training: ValueError" in waiting
    assert match in waiting
    assert_same(both(fitted, {"max_epochs": 1}), None)  # and they go on together


def broken(rank, epoch):
    def poison(net):
        with torch.no_grad():
            next(net.module_.model.decoder.parameters()).fill_(float("nan"))

    action = interrupt if epoch is None else poison
    autoencoder(callbacks=[At(action, epoch or 2, 1)]).fit(X)


@pytest.mark.slow
def test_divergence_and_interruption_are_those_of_both(both):
    for good, message in both(broken, 2):
        assert not good
        assert "not finite in epoch 2" in message
    for good, message in both(broken, None):
        assert not good
        assert message.startswith("KeyboardInterrupt")


def said(rank):
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        autoencoder(verbose=1).fit(X)
    return stderr.getvalue()


@pytest.mark.slow
def test_the_first_alone_shows_progress(both):
    (_, first), (_, second) = both(said)
    assert "3/3" in first
    assert second == ""


# Parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_rows", [0, 1, 2, 7, 100])
def test_shares_are_all_rows_and_even(n_rows):
    for size in (2, 3, 8):
        shares = [range(n_rows)[Processes(rank, size).share(n_rows)] for rank in range(size)]
        assert [i for share in shares for i in share] == list(range(n_rows))
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_there_are_none_unless_torch_has_them():
    assert Processes.here() is None
    vae = autoencoder().fit(X)
    assert vae.net_.module_.processes is None
    assert "processes_together" not in dict(vae.net_.callbacks_)
    assert np.isfinite(weights(vae.net_)).all()


def test_digests():
    arrays = [np.zeros(3), np.zeros((3, 1)), np.zeros(3, np.float32), np.array([0.0, 0.0, -0.0])]
    found = {digest(array) for array in arrays} | {digest(torch.ones(3)), digest({"lr": 1})}
    assert len(found) == 6
    assert digest(np.zeros((2, 3)).T) == digest(np.zeros((3, 2)))
