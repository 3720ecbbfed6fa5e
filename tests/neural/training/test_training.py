"""Training reaches known optima, repeats itself by seed, and ends as documented."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA, FactorAnalysis
from skorch.callbacks import EarlyStopping, LRScheduler
from torch import nn
from torch.utils.data import DataLoader

from skvae.neural.training.callbacks import EpochHistory
from skvae.neural.training.net import NegativeBound, train
from skvae.neural.training.record import Divergence
from skvae.neural.training.settings import FASTER
from skvae.vae.objective import row_bound
from tests.combinations import slow
from tests.neural.training.training_problems import (
    At,
    NewRows,
    Trace,
    interrupt,
    linear_rows,
    model_for,
    net_for,
    untouched_random_states,
    weights,
)
from tests.vae.oracles import LinearGaussian

X = linear_rows(200)
X_VALID = linear_rows(80, seed=1)


# The objective ------------------------------------------------------------------------------------


def decoded(model):
    """The linear-Gaussian model that the decoder of a linear VAE is."""
    layer, zeros = model.decoder[0], torch.zeros(1, model.likelihood.n_features)
    peak = model.likelihood.log_terms(zeros, zeros)[0]  # −ln σ − ½ ln 2π
    variances = torch.exp(-2 * peak) / (2 * torch.pi)
    arrays = (a.detach().double().numpy() for a in (layer.weight, layer.bias, variances))
    return LinearGaussian(*arrays)


@pytest.mark.parametrize("seed", [0, *slow(1, 2)])
@pytest.mark.parametrize("scale", ["feature", "shared"])
def test_linear_vae_reaches_the_closed_form_optimum(scale, seed):
    """A σ per feature makes factor analysis, one σ probabilistic PCA (in nats per row)."""
    X = linear_rows(400, seed=seed)
    model = model_for(X, hidden_layer_sizes=(), likelihood_params={"scale": scale}, seed=seed)
    schedule = LRScheduler("CosineAnnealingLR", T_max=200)
    net = net_for(X, model=model, lr=5e-2, batch_size=100, seed=seed, callbacks=[schedule])
    record = train(net, X, n_epochs=200)
    closed = FactorAnalysis(2, tol=1e-4, max_iter=10_000) if scale == "feature" else PCA(2)
    optimum = closed.fit(X).score(X)
    reached = decoded(net.module_.model).log_evidence(X).mean()
    assert optimum - 0.01 < reached < optimum + 1e-3
    assert_allclose(
        record.terms["bound"][-60:].mean(), optimum, atol=0.03
    )  # the bound is tight there


def test_loss_is_minus_the_mean_objective():
    terms = (torch.tensor([1.0, 5.0]), torch.tensor([2.0, 2.0]))
    assert NegativeBound()(terms, None) == -3.0


def test_history_holds_the_bound_and_its_terms():
    net = net_for(X, beta=0.5, kl_warmup=2)
    record = train(net, X, X_VALID)
    for kind, bounds in (("train", record.terms["bound"]), ("valid", record.valid_bounds)):
        bound, reconstruction, kl = (
            np.array(net.history[:, f"{kind}_{name}"]) for name in ("bound", "reconstruction", "kl")
        )
        assert_allclose(bound, reconstruction - kl, rtol=1e-5)
        assert_array_equal(bound, bounds)
    terms = [np.array(net.history[:, f"valid_{name}"]) for name in ("reconstruction", "kl")]
    losses = np.array(net.history[:, "valid_loss"])
    assert_allclose(losses, 0.5 * terms[1] - terms[0], rtol=1e-5)  # also in the warm-up
    weight = 0.5 * np.array([1, 2, 3]) / 3
    shaped = record.terms["reconstruction"] - weight * record.terms["kl"]
    assert_allclose(shaped, -np.array(net.history[:, "train_loss"]), rtol=1e-5)
    assert all(type(value) is float for value in net.history[-1, ("train_kl", "valid_bound")])


def test_terms_are_means_over_rows_not_over_batches():
    """With a step of size zero all batches see the first weights."""
    net = net_for(X, lr=0.0, batch_size=150, max_epochs=1)
    batches = []
    keep = Trace(lambda net: None)
    keep.on_batch_end = lambda net, y_pred=None, **kwargs: batches.append(y_pred[1].detach())
    net = net_for(X, lr=0.0, batch_size=150, max_epochs=1, callbacks=[keep])
    record = train(net, X[:151])
    assert [len(part) for part in batches] == [76, 75]
    assert_allclose(record.terms["bound"][0], torch.cat(batches).double().mean(), rtol=1e-6)


def test_importance_weighted_bound_is_above_the_evidence_lower_bound():
    net = net_for(X, n_importance_samples=8)
    record = train(net, X, X_VALID)
    assert (record.terms["bound"] > record.terms["reconstruction"] - record.terms["kl"]).all()
    assert_allclose(record.valid_bounds, -np.array(net.history[:, "valid_loss"]), rtol=1e-6)
    assert (record.valid_bounds > np.array(net.history[:, "valid_bound"]) - 1e-6).all()


def test_weight_of_the_divergence_rises_linearly():
    trace = Trace(lambda net: net.module_.kl_weight)
    net = net_for(X, beta=2.0, kl_warmup=3, callbacks=[trace])
    train(net, X, n_epochs=4)
    train(net, X, n_epochs=1)  # goes on, and does not warm up again
    assert_allclose(trace.ends_, [0.5, 1.0, 1.5, 2.0, 2.0])


# Seeds --------------------------------------------------------------------------------------------


class Noisy(nn.Module):
    """An encoder that draws from torch's global state: dropout."""

    def __init__(self):
        super().__init__()
        self.drop, self.layer = nn.Dropout(0.3), nn.Linear(5, 4)

    def forward(self, inputs):
        return self.layer(self.drop(inputs))


@pytest.mark.parametrize("encoder", [None, Noisy])
def test_same_seed_same_weights(encoder):
    results = []
    for seed in (0, 0, 1):
        torch.rand(3)  # for any global state
        net = net_for(X, model=model_for(X, encoder=encoder), seed=seed)
        with untouched_random_states():
            record = train(net, X, X_VALID)
        results.append((weights(net), record.valid_bounds))
    assert_array_equal(results[0][0], results[1][0])
    assert_array_equal(results[0][1], results[1][1])
    assert (results[0][0] != results[2][0]).any()


def test_validation_noise_is_that_of_every_epoch():
    """With a step of size zero nothing but noise could make validation differ."""
    record = train(net_for(X, lr=0.0), X, X_VALID)
    assert len(set(record.valid_bounds)) == 1
    assert len(set(record.terms["bound"])) == 3


def test_validation_rows_do_not_change_training():
    nets = net_for(X), net_for(X)
    train(nets[0], X)
    train(nets[1], X, X_VALID)
    assert_array_equal(weights(nets[0]), weights(nets[1]))


# Data ---------------------------------------------------------------------------------------------


def test_missing_values_are_left_out_of_the_bound():
    holes = np.random.default_rng(0).random(X.shape) < 0.3
    net = net_for(X, lr=0.0, max_epochs=1)
    record = train(net, np.where(holes, np.nan, X), np.where(holes, np.nan, X))
    other = train(net_for(X, lr=0.0, max_epochs=1), X, np.where(holes, np.nan, X))
    assert_array_equal(record.valid_bounds, other.valid_bounds)
    assert np.isfinite(record.terms["bound"]).all()
    # At the first weights a value adds about 1.4 nats, and a missing value nothing.
    assert_allclose(record.terms["bound"] / other.terms["bound"], 0.7, atol=0.05)


def test_loader_gives_as_good_a_model():
    """torch's DataLoader takes other batches of the same rows."""
    loader = {"iterator_train": DataLoader, "iterator_valid": DataLoader}
    reached = []
    for net_params in (None, loader):
        net = net_for(X, max_epochs=40, net_params=net_params)
        with untouched_random_states():
            record = train(net, X, X_VALID)
        reached.append(record.valid_bounds[-1])
    assert_allclose(reached[0], reached[1], atol=0.15)
    assert reached[0] > record.valid_bounds[0] + 0.5  # there was something to learn


def test_the_net_computes_the_bound_of_rows():
    """skorch's own verbs work: forward gives each row's terms, with the noise of evaluation."""
    net = net_for(X)
    train(net, X, n_epochs=1)
    objective, bound, reconstruction, kl = net.forward(X[:50])
    assert objective.shape == (50,)
    assert_allclose(bound, reconstruction - kl, rtol=1e-4)


# Ends ---------------------------------------------------------------------------------------------


def misled(**settings):
    """Rows near a plane give way to noise at epoch 31: the bound becomes positive, then falls.

    Returns the net, rows to train on and rows to validate with.
    """
    X = linear_rows(300, 16, noise=0.02, seed=3)
    model = model_for(X, hidden_layer_sizes=())
    noise = NewRows(lambda x: torch.randn(x.shape, generator=torch.Generator().manual_seed(0)), 31)
    callbacks = [noise, *settings.pop("callbacks", [])]
    settings = {"lr": 3e-2, "batch_size": 32, "max_epochs": 60, "tol": 0.05, **settings}
    return net_for(X, model=model, callbacks=callbacks, **settings), X[:240], X[240:]


def test_early_stopping_restores_the_best_epoch_with_negative_losses():
    trace = Trace(weights)
    net, X, X_valid = misled(early_stopping=True, n_iter_no_change=12, callbacks=[trace])
    record = train(net, X, X_valid)
    assert record.stopped_early
    assert not record.interrupted
    best = record.valid_bounds.argmax()
    assert record.valid_bounds[best] > 0  # the loss is negative
    assert record.best_epoch == best + 1 <= 30 < record.n_epochs < 60
    assert_array_equal(weights(net), trace.ends_[best])
    assert len(trace.ends_) == record.n_epochs == len(net.history)  # all callbacks saw the last
    # It stopped at the first epoch at which 12 had passed without a gain of tol.
    bar, since = -np.inf, []
    for bound in record.valid_bounds:
        since.append(0 if bound > bar else since[-1] + 1)
        bar = bound + 0.05 if bound > bar else bar
    assert since[-1] == 12 == max(since)


def test_best_epoch_is_the_best_by_any_margin():
    net, X, X_valid = misled(early_stopping=True, n_iter_no_change=5, tol=1e6)
    record = train(net, X, X_valid)
    assert record.n_epochs == 6
    assert record.best_epoch == record.valid_bounds.argmax() + 1 > 1


def test_epochs_are_ranked_by_the_objective_of_training_after_its_warm_up():
    """A warm-up of the divergence has a higher bound, and a lower objective, than later epochs."""
    rows = linear_rows(300, 5, noise=0.25, seed=1)
    settings = {"beta": 3.0, "kl_warmup": 12, "max_epochs": 40, "lr": 2e-2, "batch_size": 16}
    trace = Trace(weights)
    net = net_for(rows, **settings, early_stopping=True, n_iter_no_change=30, callbacks=[trace])
    record = train(net, rows[:240], rows[240:])
    objective = -np.array(net.history[:, "valid_loss"])
    assert record.best_epoch == 1 + objective.argmax() > 12
    assert 1 + record.valid_bounds.argmax() <= 12
    assert_array_equal(weights(net), trace.ends_[record.best_epoch - 1])


def test_the_weights_at_the_start_are_kept_if_no_epoch_is_better():
    settings = {"lr": 1e-2, "early_stopping": True, "n_iter_no_change": 3, "max_epochs": 30}
    net = net_for(X, **settings)
    first = train(net, X, X_VALID)
    assert 0 < first.best_epoch <= 30
    before, n_epochs = weights(net), len(net.history)
    net.lr = 3.0  # every step now is a step away
    again = train(net, X, X_VALID)
    assert again.best_epoch == n_epochs
    assert again.stopped_early
    assert again.n_epochs == 4  # the first has nothing to be compared with
    assert_array_equal(weights(net), before)


def test_the_start_does_not_change_the_noise_of_the_epochs():
    record = train(net_for(X, lr=0.0), X, X_VALID)
    alone = train(net_for(X, lr=0.0), X)
    assert_array_equal(record.terms["bound"], alone.terms["bound"])
    assert len(set(record.valid_bounds)) == 1


@pytest.mark.parametrize("which", ["iterator_train", "iterator_valid"])
def test_an_iterator_without_a_batch_is_an_error_with_a_remedy(which):
    params = {which: DataLoader, f"{which}__drop_last": True, f"{which}__batch_size": 1000}
    n = {"iterator_train": len(X), "iterator_valid": len(X_VALID)}[which]
    net = net_for(X, net_params=params)
    with pytest.raises(ValueError, match=rf"{which} gave no batch of {n} rows.*lower batch_size"):
        train(net, X, X_VALID)
    net = net_for(X, net_params={**params, f"{which}__batch_size": n})
    assert train(net, X, X_VALID).n_epochs == 3


def test_patience_begins_after_the_warmup():
    net, X, X_valid = misled(early_stopping=True, n_iter_no_change=2, tol=1e6, kl_warmup=7)
    assert train(net, X, X_valid).n_epochs == 9


def test_patience_begins_after_some_steps():
    net, X, X_valid = misled(early_stopping=True, n_iter_no_change=2, tol=1e6, first_steps=40)
    assert train(net, X, X_valid).n_epochs == 6  # the fifth epoch ends with the fortieth step


def test_training_ends_where_it_is_behind_another_one():
    settings = {"early_stopping": True, "n_iter_no_change": 12, "first_steps": 40}
    net, X, X_valid = misled(**settings)
    alone, kept = train(net, X, X_valid), weights(net)
    objectives = alone.best_objectives
    assert len(objectives) == alone.n_epochs + 1
    assert objectives[-1] == objectives.max()
    for to_beat, n_epochs in (
        (objectives, alone.n_epochs),
        (objectives + 0.1, 8),  # the fifth epoch ends with the 40th step
        ([*objectives[:6], objectives[5] + 10.0], 9),
        ([*objectives[:6], *objectives[6:9] + 10.0, -np.inf], alone.n_epochs),
        ([-np.inf, -np.inf], alone.n_epochs),
    ):
        net, X, X_valid = misled(**settings)
        record = train(net, X, X_valid, to_beat=to_beat)
        assert record.n_epochs == n_epochs
        assert record.stopped_early
        if n_epochs == alone.n_epochs:
            assert_array_equal(weights(net), kept)
    net, X, X_valid = misled(**settings, kl_warmup=7)
    assert train(net, X, X_valid, to_beat=[1e6]).n_epochs == 11


def test_last_weights_remain_without_early_stopping():
    trace = Trace(weights)
    net, X, X_valid = misled(max_epochs=40, callbacks=[trace])
    record = train(net, X, X_valid)
    assert not record.stopped_early
    assert record.valid_bounds.argmax() < 30
    assert record.best_epoch == record.n_epochs == 40
    assert_array_equal(weights(net), trace.ends_[-1])


def test_early_stopping_without_validation_rows_does_nothing():
    record = train(net_for(X, early_stopping=True, tol=1e6, n_iter_no_change=1), X)
    assert record.n_epochs == 3
    assert record.valid_bounds is None


def test_early_stopping_of_skorch_is_no_interruption():
    stop = EarlyStopping(threshold=1e6, threshold_mode="abs", patience=2, sink=str)
    record = train(net_for(X, callbacks=[stop], max_epochs=9), X, X_VALID)
    assert record.stopped_early
    assert not record.interrupted
    assert record.n_epochs == 3


@pytest.mark.parametrize("validated", [False, True])
def test_interruption_keeps_the_best_weights_so_far(validated):
    begins, ends = Trace(weights), Trace(weights)
    net, X, X_valid = misled(callbacks=[begins, At(interrupt, 36, batch=2), ends])
    record = train(net, X, X_valid if validated else None)
    assert record.interrupted
    assert not record.stopped_early
    assert record.n_epochs == len(record.terms["bound"]) == len(net.history) == 35
    assert "train_bound" in net.history[-1]
    if validated:
        best = record.valid_bounds.argmax()
        assert record.best_epoch == best + 1 < 35
        assert_array_equal(weights(net), begins.ends_[best])
    else:
        assert record.best_epoch == 35
        assert (weights(net) != begins.ends_[-1]).any()  # two batches further
    again = train(net, X, n_epochs=2)
    assert not again.interrupted
    assert len(net.history) == 37


@pytest.mark.parametrize("batch", [1, None])
def test_interruption_of_the_first_epoch(batch):
    net = net_for(X, callbacks=[At(interrupt, 1, batch=batch)])
    record = train(net, X)
    assert record.interrupted
    assert record.n_epochs == record.best_epoch == (batch is None)
    assert np.isfinite(weights(net)).all()


def test_interruption_after_the_last_epoch_is_none():
    record = train(net_for(X, callbacks=[At(interrupt, 3)]), X)
    assert not record.interrupted
    assert record.n_epochs == 3


def test_infinite_loss_is_an_error_that_keeps_the_last_good_weights():
    trace = Trace(weights)
    spoil = NewRows(lambda x: x / 0.0, 3)
    net = net_for(X, callbacks=[trace, spoil], max_epochs=5)
    message = (
        r"training diverged: the loss is not finite in epoch 3 \(batch 1\). The weights are those "
        r"at the end of epoch 2. Try a smaller learning rate than lr=0.01, a larger floor of the "
        r"scale \(min_scale in likelihood_params\), a limit to the gradient's norm, and look for "
        r"extreme values in X"
    )
    with pytest.raises(Divergence, match=message) as caught:
        train(net, X)
    assert_array_equal(weights(net), trace.ends_[1])
    assert_array_equal(caught.value.record.terms["bound"], net.history[:, "train_bound"])
    assert caught.value.record.best_epoch == caught.value.record.n_epochs == 2
    same = pickle.loads(pickle.dumps(caught.value))
    assert str(same) == str(caught.value)
    assert_array_equal(same.record.terms["bound"], caught.value.record.terms["bound"])
    assert len(net.history) == 2
    assert (
        train(net, X, n_epochs=1).terms["bound"] > caught.value.record.terms["bound"][-1]
    )  # it goes on


def test_too_large_a_learning_rate_is_said():
    net = net_for(X, optimizer="sgd", lr=1e4, max_epochs=20)
    before = weights(net)
    with pytest.raises(ValueError, match=r"not finite in epoch 1 .*are the first ones.*lr=10000"):
        train(net, X)
    assert_array_equal(weights(net), before)


def test_weights_spoilt_by_the_last_step_are_seen():
    def poison(net):
        with torch.no_grad():
            next(net.module_.parameters())[0] = torch.nan

    net = net_for(X, callbacks=[At(poison, 2, batch=4)])
    with pytest.raises(ValueError, match=r"epoch 2 \(weights after its last batch\)"):
        train(net, X)
    assert np.isfinite(weights(net)).all()


def test_infinite_loss_in_validation_is_said():
    with pytest.raises(ValueError, match=r"epoch 1 \(in validation\)"):
        train(net_for(X), X, np.full((3, 5), np.inf))


# More epochs --------------------------------------------------------------------------------------


def test_training_goes_on_where_it_stood():
    """Twice two epochs are four: the optimiser's state, the noise and the order go on."""
    whole, parts = net_for(X, kl_warmup=3), net_for(X, kl_warmup=3)
    bounds = train(whole, X, n_epochs=4).terms["bound"]
    first = train(parts, X, n_epochs=2)
    parts = pickle.loads(pickle.dumps(parts))
    second = train(parts, X, n_epochs=2)
    assert_array_equal(np.concatenate([first.terms["bound"], second.terms["bound"]]), bounds)
    assert_array_equal(weights(parts), weights(whole))
    assert (first.best_epoch, second.best_epoch) == (2, 4)


def test_training_goes_on_with_other_rows():
    net = net_for(X)
    train(net, X, X_VALID)
    record = train(net, X_VALID, n_epochs=30)
    assert record.valid_bounds is None
    assert record.terms["bound"][-1] > record.terms["bound"][0]
    assert len(record.terms["bound"]) == 30


def test_parts_that_were_evaluated_are_trained():
    net = net_for(X)
    net.module_.model.encoder.eval()
    train(net, X, n_epochs=1)
    assert all(part.training for part in net.module_.modules())


def test_nothing_of_the_data_stays_in_the_net():
    net = net_for(np.zeros((2, 5)))
    sizes = []
    for n in (100, 20_000):
        train(net, linear_rows(n), linear_rows(n, seed=1), n_epochs=1)
        sizes.append(len(pickle.dumps(net)))
    assert sizes[1] - sizes[0] < 50_000  # a record of each batch; the rows have 400,000 bytes


def test_history_keeps_one_batch_of_past_epochs():
    net = net_for(X)
    train(net, X, X_VALID)
    assert isinstance(net.history, EpochHistory)
    assert [len(epoch["batches"]) for epoch in net.history] == [1, 1, 5]
    assert net.history[:, "epoch"] == [1, 2, 3]


# The optimiser ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("optimizer", "cls"),
    [
        ("adam", torch.optim.Adam),
        ("adamw", torch.optim.AdamW),
        ("sgd", torch.optim.SGD),
        ("rmsprop", torch.optim.RMSprop),
        (torch.optim.NAdam, torch.optim.NAdam),
    ],
)
def test_optimizers(optimizer, cls):
    net = net_for(X, optimizer=optimizer, lr=1e-3, max_epochs=10)
    assert type(net.optimizer_) is cls
    record = train(net, X)
    assert record.terms["bound"][-1] > record.terms["bound"][0]
    if cls in (torch.optim.Adam, torch.optim.AdamW):
        assert net.optimizer_.defaults["fused"]


def test_fused_steps_are_those_of_the_loop():
    reached = []
    for net_params in (None, {"optimizer__foreach": False}):
        net = net_for(X, net_params=net_params)
        assert bool(net.optimizer_.defaults["fused"]) is (net_params is None)
        train(net, X)
        reached.append(weights(net))
    assert_allclose(reached[0], reached[1], rtol=1e-3, atol=1e-5)


def test_parameters_of_likelihood_and_mixture_are_faster():
    model = model_for(X, prior="mixture", n_prior_components=3)
    net = net_for(X, model=model, optimizer="adamw", lr=3e-3, max_epochs=1)
    fast = [group for group in net.optimizer_.param_groups if group["lr"] != 3e-3]
    assert {group["lr"] for group in fast} == {FASTER * 3e-3}
    assert {group["weight_decay"] for group in fast} == {0.0}
    chosen = {id(weight) for group in fast for weight in group["params"]}
    slow = [*model.encoder.parameters(), *model.decoder.parameters()]
    assert chosen == {id(w) for w in model.parameters()} - {id(w) for w in slow}
    rates = Trace(lambda net: [group["lr"] for group in net.optimizer_.param_groups])
    schedule = LRScheduler("StepLR", step_size=1, gamma=0.5)
    net = net_for(X, lr=1e-3, callbacks=[schedule, rates])
    train(net, X)
    assert_allclose(rates.ends_, [[5e-3, 5e-4], [2.5e-3, 2.5e-4], [1.25e-3, 1.25e-4]])


def test_gradient_is_clipped():
    norms = []

    class Norm(At):
        def on_grad_computed(self, net, named_parameters, **kwargs):
            norms.append(torch.cat([p.grad.ravel() for _, p in named_parameters]).norm().item())

    train(net_for(X, gradient_clip=0.1, callbacks=[Norm(None, 0)]), X)
    assert max(norms) <= 0.1 * (1 + 1e-5)
    unclipped = len(norms)
    train(net_for(X, callbacks=[Norm(None, 0)]), X)
    assert max(norms[unclipped:]) > 0.2


# The prior ----------------------------------------------------------------------------------------


def test_mixture_prior_waits_and_then_begins_at_clusters():
    model = model_for(X, prior="mixture", n_prior_components=3)
    trace = Trace(lambda net: net.module_.model.prior.means.detach().clone())
    net = net_for(X, model=model, prior_warmup=2, callbacks=[trace])
    first = model.prior.means.detach().clone()
    train(net, X, n_epochs=2)
    train(net, X, n_epochs=1)
    assert torch.equal(trace.ends_[0], first)
    assert torch.equal(trace.ends_[1], first)
    assert not torch.isclose(trace.begins_[2], first).any()  # placed, and
    assert (trace.ends_[2] != trace.begins_[2]).any()  # moved by steps
    train(net, X, n_epochs=1)
    assert torch.equal(trace.begins_[3], trace.ends_[2])  # not placed again
    with torch.no_grad():
        model.prior.means.fill_(100.0)
    train(net, X, n_epochs=1)
    assert trace.begins_[4].abs().max() < 10  # placed again, as that was better
    assert net.optimizer_.state[model.prior.means]["step"] == 4  # since then
    train(net, X, n_epochs=1)
    assert torch.equal(trace.begins_[5], trace.ends_[4])


def test_bound_of_the_kept_weights_is_that_of_the_record():
    """valid_bounds are of the weights at the end of the epochs, recomputed here by hand."""
    net = net_for(X)
    record = train(net, X, X_VALID)
    x = torch.tensor(X_VALID, dtype=torch.float32)
    net.module_.eval()
    net.module_.begin_epoch(99)
    with torch.no_grad():
        _, bound, _, _ = net.module_(x)
    assert_allclose(bound.double().mean(), record.valid_bounds[-1], rtol=1e-6)
    noise = torch.randn(1, len(x), 2, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        other = row_bound(net.module_.model, x, None, noise).bound
    assert_allclose(other.mean(), record.valid_bounds[-1], atol=0.3)
