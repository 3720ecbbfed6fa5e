"""Training of the estimator: kept weights, ends, and continuation."""

import copy
import pickle
import threading

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from skorch.callbacks import Callback, Checkpoint, EarlyStopping, LRScheduler
from torch.utils.data import DataLoader

from tests.combinations import slow
from tests.neural.training.training_problems import (
    At,
    interrupt,
    untouched_random_states,
    weights,
)
from tests.problems import assert_same_state, knock_out, state_of
from tests.vae.estimator_problems import autoencoder, rows, rows_of

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")


@pytest.fixture(scope="module")
def X():
    return rows()


@pytest.fixture(scope="module")
def fitted(X):
    return autoencoder().fit(X)


def poison(net):
    """Make the loss NaN from the next batch on."""
    with torch.no_grad():
        next(net.module_.model.decoder.parameters()).fill_(float("nan"))


# Kept weights -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("max_epochs", "expected"), [(1, 0), (4, 1), (39, 9)])
def test_prior_warmup_is_a_quarter_of_the_epochs(max_epochs, expected, X):
    vae = autoencoder(prior="mixture", n_prior_components=2, max_epochs=max_epochs).fit(X)
    assert dict(vae.net_.callbacks_)["prior_warmup"].n_epochs == expected


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("n_importance_samples", [1, 4])
def test_attributes_tell_how_it_went(early_stopping, n_importance_samples, X):
    vae = autoencoder(
        early_stopping=early_stopping, n_importance_samples=n_importance_samples, max_epochs=5
    ).fit(X)
    names = {"bound", "reconstruction", "kl"} | ({"valid_bound"} if early_stopping else set())
    assert vae.history_.keys() == names
    assert {len(values) for values in vae.history_.values()} == {5}
    assert len(vae.lower_bounds_) == vae.n_iter_ <= 5
    assert vae.lower_bounds_[-1] == vae.lower_bound_
    trace = vae.history_["valid_bound" if early_stopping else "bound"]
    assert vae.lower_bounds_[:-1] == trace[: vae.n_iter_ - 1]
    assert vae.converged_ is False
    if n_importance_samples == 1:
        terms = np.subtract(vae.history_["reconstruction"], vae.history_["kl"])
        assert_allclose(vae.history_["bound"], terms, rtol=1e-6)


def test_bound_is_that_of_the_stored_weights(X):
    vae = autoencoder(early_stopping=False, max_epochs=20).fit(X)
    terms = [
        copy.deepcopy(vae).set_params(n_score_samples=n).elbo(X).elbo.mean() for n in (1, 5000)
    ]
    assert vae.lower_bound_ == pytest.approx(terms[0], rel=1e-12)
    assert vae.lower_bound_ == pytest.approx(terms[1], abs=0.3)
    # Units of X: standardised rows have another.
    assert vae.history_["bound"][-1] == pytest.approx(vae.lower_bound_, abs=0.5)


def test_objective_of_training_does_not_change_the_score(fitted, X):
    base = autoencoder(max_epochs=8).fit(X)
    for parameters in (
        {"beta": 4.0},
        {"kl_warmup": 2},
        {"free_bits": 0.5},
        {"n_importance_samples": 5},
    ):
        other = copy.deepcopy(fitted).set_params(**parameters)
        assert_array_equal(other.score_samples(X), fitted.score_samples(X))
        assert_array_equal(other.elbo(X).elbo, fitted.elbo(X).elbo)
        trained = autoencoder(**parameters, max_epochs=8).fit(X)
        assert not np.array_equal(weights(trained.net_), weights(base.net_))
        trained.set_params(n_score_samples=5000)  # both are means of draws
        assert trained.elbo(X).elbo.mean() < trained.score(X) + 0.01


def test_beta_shrinks_the_divergence(X):
    kl = [
        autoencoder(beta=beta, max_epochs=40, lr=1e-2).fit(X).elbo(X).kl.mean()
        for beta in (0.1, 1.0, 10.0)
    ]
    assert kl[0] > kl[1] > kl[2]


@pytest.mark.parametrize("case", [(0, None), *slow((1, None), (4, {"scale": "feature"}))])
def test_early_stopping_keeps_no_epoch_of_the_warm_up(case):
    """With beta = 4 the best bound is that of the warm-up, whose divergence is much larger."""
    seed, params = case  # with seed 4 the two sources of σ are near a tie
    X = rows(300, 4)
    parameters = {"beta": 4.0, "lr": 1e-2, "random_state": seed, "max_epochs": 80}
    parameters["likelihood_params"] = params
    stopped = autoencoder(**parameters, n_iter_no_change=20).fit(X)
    last = autoencoder(**parameters, early_stopping=False).fit(X)
    assert stopped.n_iter_ > 20 > np.argmax(stopped.history_["valid_bound"])
    kl = [vae.elbo(X).kl.mean() for vae in (stopped, last)]
    assert kl[0] == pytest.approx(kl[1], abs=0.15)
    objective = [(t.reconstruction - 4.0 * t.kl).mean() for t in (stopped.elbo(X), last.elbo(X))]
    assert objective[0] > objective[1] - 0.1


def test_a_start_that_is_best_is_no_epoch(X):
    """A warm start that only loses keeps the weights, and their number of epochs."""
    vae = autoencoder(likelihood="student_t", max_epochs=40, lr=1e-2).fit(X)
    n_iter, bound, scores = vae.n_iter_, vae.lower_bound_, vae.score_samples(X)
    vae.set_params(warm_start=True, lr=0.5, max_epochs=3).fit(X)
    assert vae.n_iter_ == n_iter == len(vae.lower_bounds_) > 0
    assert vae.lower_bound_ == bound == vae.lower_bounds_[-1]
    assert_array_equal(vae.score_samples(X), scores)
    lost = autoencoder(max_epochs=3, lr=0.5).fit(X)
    assert (lost.n_iter_, lost.lower_bounds_) == (0, [lost.lower_bound_])


def test_a_loader_that_drops_all_rows_changes_nothing(X, fitted):
    loader = {"iterator_train": torch.utils.data.DataLoader, "iterator_train__drop_last": True}
    vae = copy.deepcopy(fitted).set_params(net_params=loader, batch_size=len(X) + 1)
    state = state_of(vae)
    with pytest.raises(ValueError, match=r"iterator_train gave no batch of 54 rows.*drop_last"):
        vae.fit(X)
    assert_same_state(vae, {**state, "net_params": vae.net_params})


# Stopping -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [1e-6, 1e6])
def test_early_stopping_with_bounds_of_either_sign(unit, X):
    """An improvement is one of nats, not of a share of the bound; the best weights remain."""
    parameters = {"n_iter_no_change": 2, "lr": 0.03, "tol": 0.05, "batch_size": 5, "kl_warmup": 0}
    vae = autoencoder(max_epochs=60, random_state=2, **parameters).fit(unit * X)
    assert np.sign(vae.lower_bound_) == (1 if unit < 1 else -1)
    assert vae.converged_ is True
    assert vae.n_iter_ < len(vae.history_["bound"]) < 60
    assert vae.n_iter_ == 1 + np.argmax(vae.history_["valid_bound"])


def test_all_rows_are_trained_on_without_early_stopping(X):
    vae = autoencoder(early_stopping=False, batch_size=16).fit(X)
    assert vae.net_.history[-1]["train_batch_count"] == 4
    # Student-t: a Gaussian model begins at its best.
    vae = autoencoder(likelihood="student_t", validation_fraction=0.5, batch_size=16).fit(X)
    assert vae.net_.history[-1]["train_batch_count"] == 2
    assert vae.n_iter_ == 1 + np.argmax(vae.history_["valid_bound"])


def test_callback_of_skorch_that_stops_is_no_interruption(X):
    stop = EarlyStopping("train_loss", patience=2, threshold=100.0, threshold_mode="abs")
    vae = autoencoder(max_epochs=50, early_stopping=False, callbacks=[stop]).fit(X)
    assert len(vae.history_["bound"]) < 50
    assert vae.converged_ is True


def test_interruption_keeps_the_best_weights_with_a_warning(X):
    parameters = {"likelihood": "student_t", "max_epochs": 50, "lr": 0.05}
    vae = autoencoder(**parameters, callbacks=[At(interrupt, 6, 1)])
    with pytest.warns(UserWarning, match="interrupted after 5 of 50 epochs") as caught:
        vae.fit(X)
    assert caught[0].filename == __file__
    assert len(vae.history_["bound"]) == 5
    assert vae.n_iter_ == 1 + np.argmax(vae.history_["valid_bound"])
    assert vae.converged_ is False
    shorter = autoencoder(**parameters)
    shorter.set_params(callbacks=[At(interrupt, vae.n_iter_)])
    with pytest.warns(UserWarning, match=f"interrupted after {vae.n_iter_} of 50"):
        shorter.fit(X)
    assert_array_equal(weights(vae.net_), weights(shorter.net_))


def test_interruption_before_anything_is_learned_is_one(X, fitted):
    vae = autoencoder(callbacks=[At(interrupt, 1, 1)])
    with pytest.raises(KeyboardInterrupt):
        vae.fit(X)
    assert not hasattr(vae, "net_")
    vae = copy.deepcopy(fitted).set_params(callbacks=[At(interrupt, 1, 1)])
    with pytest.raises(KeyboardInterrupt):
        vae.fit(X)
    assert vae.n_iter_ == fitted.n_iter_
    assert_array_equal(vae.score_samples(X), fitted.score_samples(X))


# Failure ------------------------------------------------------------------------------------------


def test_divergence_keeps_the_last_good_weights(X):
    vae = autoencoder(max_epochs=10, callbacks=[At(poison, 4, 1)], early_stopping=False)
    with pytest.raises(ValueError, match=r"not finite in epoch 4.*end of epoch 3.*lr="):
        vae.fit(X)
    assert vae.n_iter_ == 3
    assert len(vae.lower_bounds_) == len(vae.history_["bound"]) == 3
    shorter = autoencoder(max_epochs=10, callbacks=[At(interrupt, 3)], early_stopping=False)
    with pytest.warns(UserWarning, match="interrupted"):
        shorter.fit(X)
    assert_array_equal(vae.score_samples(X), shorter.score_samples(X))
    assert np.isfinite(vae.set_params(callbacks=None).partial_fit(X).score(X))


def test_divergence_replaces_an_earlier_fit_by_the_last_good_weights(X, fitted):
    """Of a fit that diverges after an epoch nothing of the fit before remains, of others all."""
    vae = copy.deepcopy(fitted).set_params(max_epochs=10, early_stopping=False)
    vae.set_params(callbacks=[At(poison, 3, 1)], lr=0.05)
    with pytest.raises(ValueError, match=r"not finite in epoch 3.*end of epoch 2"):
        vae.fit(X)
    fresh = autoencoder(max_epochs=10, early_stopping=False, lr=0.05)
    with pytest.warns(UserWarning, match="interrupted"):
        fresh.set_params(callbacks=[At(interrupt, 2)]).fit(X)
    assert vae.n_iter_ == 2
    assert_array_equal(vae.score_samples(X), fresh.score_samples(X))
    before = vars(vae).copy()
    with pytest.raises(ValueError, match="minimum of 2"):
        vae.fit(X[:1])  # one row is too few
    assert vars(vae) == before


def test_divergence_at_once_keeps_the_fit_before(X, fitted):
    vae = copy.deepcopy(fitted).set_params(callbacks=[At(poison, 1, 1)], warm_start=False)
    state = state_of(vae)
    with pytest.raises(ValueError, match="epoch 1"):
        vae.fit(X)
    assert_same_state(vae, {**state, "callbacks": vae.callbacks})
    fresh = autoencoder(callbacks=[At(poison, 1, 1)])
    for method in (fresh.fit, fresh.partial_fit):
        with pytest.raises(ValueError, match="epoch 1"):
            method(X)
        assert not [name for name in vars(fresh) if name.endswith("_")]


def test_divergence_of_a_partial_fit_keeps_the_fit_before(X, fitted):
    vae = copy.deepcopy(fitted).set_params(callbacks=[At(poison, 4, 1)])
    scores = vae.score_samples(X)
    with pytest.raises(ValueError, match="epoch 4"):
        vae.partial_fit(X)
    assert vae.n_iter_ == fitted.n_iter_
    assert_array_equal(vae.score_samples(X), scores)


def test_huge_learning_rate_is_an_error_with_a_remedy(X):
    with pytest.raises(ValueError, match=r"smaller learning rate than lr=1e\+30"):
        autoencoder(lr=1e30, optimizer="sgd", max_epochs=20).fit(X)


# Going on -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("likelihood", ["gaussian", "poisson"])
def test_warm_start_goes_on(likelihood):
    X = rows_of(likelihood)
    # The epochs with a fixed prior depend on max_epochs, so it is not a mixture here.
    parameters = {"likelihood": likelihood, "early_stopping": False, "kl_warmup": 0}
    parameters["prior"] = "normal"
    twice = autoencoder(**parameters, warm_start=True).fit(X).fit(X)
    assert twice.n_iter_ == 6
    assert len(twice.lower_bounds_) == len(twice.history_["bound"]) == 6
    once = autoencoder(**parameters, max_epochs=6).fit(X)
    assert_array_equal(weights(twice.net_), weights(once.net_))
    again = twice.set_params(warm_start=False).fit(X)
    assert again.n_iter_ == 3
    assert_array_equal(weights(again.net_), weights(autoencoder(**parameters).fit(X).net_))


@pytest.mark.parametrize("random_state", [0, None])
def test_warm_start_keeps_the_same_rows_aside(X, random_state):
    kept = []

    class Kept(Callback):
        def on_epoch_begin(self, net, dataset_valid=None, **kwargs):
            kept.append(dataset_valid.x.numpy().copy())

    vae = autoencoder(callbacks=[Kept()], warm_start=True, max_epochs=1)
    vae.set_params(random_state=random_state).fit(X).fit(X)
    assert_array_equal(kept[0], kept[1])


def test_warm_start_takes_new_parameters_of_training(X):
    vae = autoencoder(warm_start=True).fit(X)
    vae.set_params(lr=0.5, batch_size=7, optimizer="sgd", max_epochs=2, early_stopping=False)
    vae.set_params(net_params={"optimizer__momentum": 0.5}, gradient_clip=1.0).fit(X)
    group = vae.net_.optimizer_.param_groups[-1]
    assert (group["lr"], group["momentum"]) == (0.5, 0.5)
    assert vae.net_.history[-1]["train_batch_count"] == 9
    vae.set_params(net_params={"optimizer__momentum": 0.9}).fit(X)
    assert vae.net_.optimizer_.param_groups[-1]["momentum"] == 0.9
    assert len(vae.history_["bound"]) == 7
    assert np.isnan(vae.history_["valid_bound"][3:]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 3),
        ("hidden_layer_sizes", (9,)),
        ("activation", "tanh"),
        ("likelihood", "student_t"),
        ("likelihood_params", {"scale": "shared"}),
        ("prior", "vamp"),
        ("encoder_covariance", "full"),
        ("decoder", lambda: torch.nn.Linear(2, 3)),
    ],
)
def test_another_architecture_cannot_go_on(name, value, fitted, X):
    vae = copy.deepcopy(fitted).set_params(**{name: value}, warm_start=True)
    state = state_of(vae)
    for method in (vae.fit, vae.partial_fit):
        with pytest.raises(ValueError, match=rf"{name}=.*continues a model"):
            method(X)
    assert_same_state(vae, state)


def test_warm_start_before_any_fit_is_a_fit(fitted, X):
    vae = autoencoder(warm_start=True).fit(X)
    assert_array_equal(vae.score_samples(X), fitted.score_samples(X))


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
def test_copies_go_on_as_the_original(prior, X):
    X = knock_out(X)
    vae = autoencoder(prior=prior, max_epochs=4).fit(X)
    other = pickle.loads(pickle.dumps(vae))
    deep = copy.deepcopy(vae)
    for model in (vae, other, deep):
        model.partial_fit(X[:20]).partial_fit(X)
    for model in (other, deep):
        assert_array_equal(weights(model.net_), weights(vae.net_))
        np.testing.assert_equal(model.history_, vae.history_)
        assert_array_equal(model.score_samples(X), vae.score_samples(X))


def test_partial_fit_learns(X):
    vae = autoencoder(lr=3e-2, likelihood="student_t").partial_fit(X)
    first = vae.score(X)
    for _ in range(39):
        vae.partial_fit(X)
    assert vae.score(X) > first + 0.3
    assert vae.n_iter_ == len(vae.lower_bounds_) == 40
    assert np.isfinite(vae.partial_fit(X[:1]).score(X))  # one row is a batch
    assert vae.history_.keys() == {"bound", "reconstruction", "kl"}


def test_partial_fit_after_fit_does_not_change_earlier_copies(X, fitted):
    scores, bounds = fitted.score_samples(X), list(fitted.history_["bound"])
    shallow = copy.copy(fitted)
    shallow.partial_fit(X)
    assert_array_equal(fitted.score_samples(X), scores)
    assert fitted.history_["bound"] == bounds


# Seeds, threads, silence --------------------------------------------------------------------------


@pytest.mark.parametrize("random_state", [0, None, "instance"])
def test_global_random_states_are_left_alone(random_state, X):
    if random_state == "instance":
        random_state = np.random.RandomState(0)
    vae = autoencoder(random_state=random_state, prior="mixture")
    if random_state is None:
        before = torch.get_rng_state()
        vae.fit(X).partial_fit(X).sample(3)
        vae.predict(X)
        assert torch.equal(torch.get_rng_state(), before)
        return
    with untouched_random_states():
        vae.fit(X).partial_fit(X).sample(3)
        vae.predict(X)
        vae.impute(knock_out(X))


def test_global_random_state_does_not_decide(X, fitted):
    torch.manual_seed(123)
    np.random.seed(123)  # noqa: NPY002
    assert_array_equal(autoencoder().fit(X).score_samples(X), fitted.score_samples(X))


def test_fits_in_two_threads_at_once(X, fitted):
    found = [None, None]

    def work(i):
        found[i] = autoencoder().fit(X)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for vae in found:
        assert_array_equal(weights(vae.net_), weights(fitted.net_))


def test_printed_output(X, capfd):
    vae = autoencoder(verbose=0).fit(X)
    pickle.loads(pickle.dumps(vae)).partial_fit(X)
    assert capfd.readouterr() == ("", "")
    vae = autoencoder(verbose=1).fit(X)
    said = capfd.readouterr()
    assert said.out == ""
    assert "3/3" in said.err
    assert f"lower bound {vae.history_['valid_bound'][-1]:.6f}" in said.err  # in the units of X
    copy.deepcopy(vae).score(X)
    assert capfd.readouterr() == ("", "")


# Parameters of skorch -----------------------------------------------------------------------------


def test_callbacks_of_skorch(X, tmp_path):
    callbacks = [
        LRScheduler("StepLR", step_size=1, gamma=0.1),
        ("keep", Checkpoint(monitor="valid_loss_best", dirname=tmp_path, load_best=False)),
    ]
    before = [dict(vars(callback)) for callback in (callbacks[0], callbacks[1][1])]
    vae = autoencoder(callbacks=callbacks, lr=1e-2).fit(X)
    assert [vars(callback) for callback in (callbacks[0], callbacks[1][1])] == before
    assert vae.callbacks is callbacks
    assert len(callbacks) == 2
    rates = [group["lr"] for group in vae.net_.optimizer_.param_groups]
    assert min(rates) < 1e-3
    assert (tmp_path / "params.pt").exists()
    pickle.loads(pickle.dumps(vae)).set_params(warm_start=True).fit(X)


def test_parameters_of_skorch(X):
    net_params = {
        "iterator_train": DataLoader,
        "iterator_train__drop_last": True,
        "optimizer__weight_decay": 0.25,
    }
    before = dict(net_params)
    vae = autoencoder(net_params=net_params, optimizer=torch.optim.AdamW, batch_size=16).fit(X)
    assert net_params == before
    assert vae.net_params is net_params
    assert vae.net_.history[-1]["train_batch_count"] == 3
    assert vae.net_.optimizer_.param_groups[-1]["weight_decay"] == 0.25
    assert np.isfinite(vae.score(X))


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "rmsprop", "sgd"])
def test_optimizers(optimizer, X):
    parameters = {"gradient_clip": 1.0, "lr": 5e-3, "random_state": 3}
    vae = autoencoder(optimizer=optimizer, max_epochs=10, **parameters).fit(X)
    assert vae.history_["bound"][-1] > vae.history_["bound"][0]
    assert np.isfinite(vae.partial_fit(X).score(X))


def test_mixed_precision(X):
    vae = autoencoder(mixed_precision=True, max_epochs=10).fit(X)
    assert abs(vae.score(X) - autoencoder(max_epochs=10).fit(X).score(X)) < 0.5
    assert vae.score_samples(X).dtype == np.float64
