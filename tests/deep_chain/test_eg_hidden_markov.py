"""EGHiddenMarkov: against EMHiddenMarkov, least squares and enumeration of all paths."""

import copy
import itertools
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import multivariate_normal, norm
from sklearn.base import clone

from skvae import EGHiddenMarkov, EMHiddenMarkov, compare
from skvae.deep_chain.training import is_certain
from skvae.hmm import CategoricalEmission, GaussianEmission, PoissonEmission
from skvae.inspection import (
    BoundTermsDisplay,
    StatePathDisplay,
    TransitionDisplay,
    elbo_decomposition,
)
from tests.combinations import slow

QUICK = {"random_state": 0, "max_epochs": 3}
FULL = {"likelihood_params": {"covariance": "full"}}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def regimes(n_sequences=12, length=40, seed=0):
    """Sequences of two linear autoregressions of two features, and their states."""
    rng = np.random.default_rng(seed)
    matrices = np.array([[[0.9, 0.2], [-0.2, 0.9]], [[-0.5, 0.3], [0.0, 0.5]]])
    X, states = [], []
    for _ in range(n_sequences):
        z = np.cumsum(rng.random(length) < 0.08) % 2
        x = np.zeros((length, 2))
        for t in range(length):
            x[t] = (matrices[z[t]] @ x[t - 1] if t else 0) + rng.normal(size=2) * [1.0, 0.3]
        X.append(x + 5.0)
        states.append(z)
    return X, states


def levels(n=600, seed=0, n_states=3):
    """One sequence of correlated Gaussian states far apart."""
    rng = np.random.default_rng(seed)
    z = np.cumsum(rng.random(n) < 0.1) % n_states
    means = np.array([[0.0, 0.0], [6.0, 0.0], [0.0, 8.0]])[:n_states]
    mixing = np.array(
        [[[1.0, 0.0], [0.8, 0.5]], [[0.5, 0.0], [0.0, 2.0]], [[1.0, 0.0], [0.0, 1.0]]]
    )
    return means[z] + np.einsum("nij,nj->ni", mixing[z], rng.normal(size=(n, 2))), z


def set_parameters(model, chain):
    """Give a fitted model without history the parameters of a Gaussian EMHiddenMarkov."""
    module = model.net_.module_.model
    units, location = module.likelihood.units, module.likelihood.location
    with torch.no_grad():
        module.double()
        means = (chain.means_ - location) / units
        module.emission.bias.copy_(torch.from_numpy(means.ravel()))
        module.start.copy_(torch.from_numpy(np.log(np.maximum(chain.startprob_, 1e-300))))
        module.transitions.copy_(torch.from_numpy(np.log(np.maximum(chain.transmat_, 1e-300))))
        for k, covariance in enumerate(chain.covariances_):
            likelihood = module.densities.of_state(k)
            if chain.covariance_type == "full":
                likelihood.set_covariance(covariance / np.outer(units, units))
            else:
                sigma = torch.from_numpy(np.sqrt(covariance) / units)
                likelihood.raw_scale.copy_(likelihood.raw_of(sigma))


@pytest.mark.parametrize("covariance", ["full", "diag"])
def test_the_same_parameters_have_the_same_answers(covariance):
    X, _ = levels()
    chain = EMHiddenMarkov(3, covariance_type=covariance, random_state=0).fit(X)
    model = EGHiddenMarkov(3, likelihood_params={"covariance": covariance}, **QUICK).fit(X)
    set_parameters(model, chain)
    np.testing.assert_allclose(model.score_samples(X), chain.score_samples(X), rtol=0, atol=1e-10)
    np.testing.assert_allclose(model.predict_proba(X), chain.predict_proba(X), rtol=0, atol=1e-10)
    np.testing.assert_array_equal(model.predict(X), chain.predict(X))
    np.testing.assert_allclose(model.decode(X)[0], chain.decode(X)[0], rtol=1e-12)
    np.testing.assert_allclose(model.log_emissions(X), chain.emission_.log_density(X), atol=1e-10)
    expected, found = chain.forecast(X, 3), model.forecast(X, 3)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)
    X[5, 0] = X[9] = np.nan
    np.testing.assert_allclose(model.score_samples(X), chain.score_samples(X), rtol=0, atol=1e-10)


@pytest.mark.parametrize("covariance", ["full", "diag"])
@pytest.mark.parametrize(("seed", "holes"), [(0, 0.0), (1, 0.0), (4, 0.15)])
def test_training_reaches_the_optimum_of_baum_welch(covariance, seed, holes):
    X, _ = levels(seed=seed)
    X[np.random.default_rng(seed).random(X.shape) < holes] = np.nan
    chain = EMHiddenMarkov(3, covariance_type=covariance, random_state=0, tol=1e-7).fit(X)
    model = EGHiddenMarkov(
        3, likelihood_params={"covariance": covariance}, early_stopping=False, **QUICK
    ).fit(X)
    assert abs(model.score(X) - chain.score(X)) < 0.01
    assert abs(model.lower_bound_ - model.score(X)) < 1e-6


@pytest.mark.parametrize(
    ("likelihood", "emission"),
    [("poisson", PoissonEmission()), ("categorical", CategoricalEmission())],
)
def test_other_likelihoods_reach_the_optimum_of_baum_welch(likelihood, emission):
    _, z = levels(400, n_states=2)
    rng = np.random.default_rng(0)
    if likelihood == "poisson":
        X = rng.poisson([[2.0], [15.0]], size=(2, 400)).T[np.arange(400), z][:, None].astype(float)
    else:
        p = np.array([[0.7, 0.2, 0.1], [0.1, 0.2, 0.7]])
        X = np.array([[rng.choice(3, p=p[k])] for k in z], dtype=float)
    chain = EMHiddenMarkov(2, emission=emission, random_state=0, tol=1e-8, n_init=5, max_iter=999)
    model = EGHiddenMarkov(2, likelihood=likelihood, early_stopping=False, **QUICK).fit(X)
    assert model.score(X) > chain.fit(X).score(X) - 0.01


def test_one_state_is_the_linear_autoregression():
    sequences, _ = regimes()
    model = EGHiddenMarkov(history=1, **FULL, **QUICK).fit(sequences)
    later = [(x[1:], x[:-1]) for x in sequences]
    x, h = (np.concatenate(part) for part in zip(*later, strict=True))
    design = np.column_stack([np.ones(len(h)), h])
    slopes = np.linalg.lstsq(design, x, rcond=None)[0]
    rest = x - design @ slopes
    expected = multivariate_normal(cov=rest.T @ rest / len(rest)).logpdf(rest)
    found = np.concatenate([s[1:] for s in model.score_samples(sequences)])
    np.testing.assert_allclose(found.mean(), expected.mean(), atol=1e-4)
    assert model.n_iter_ == 0


def test_never_worse_than_the_linear_autoregression_on_held_out_rows():
    train, _ = regimes(30, seed=1)
    test, _ = regimes(30, seed=2)
    one = EGHiddenMarkov(history=1, **FULL, **QUICK).fit(train)
    two = EGHiddenMarkov(2, history=1, **FULL, **QUICK).fit(train)
    deep = EGHiddenMarkov(2, history=1, hidden_layer_sizes=(8,), **FULL, **QUICK).fit(train)
    assert two.score(test) > one.score(test) + 0.3
    assert deep.score(test) > one.score(test) + 0.3


@pytest.mark.parametrize("seed", [2, 7])
def test_few_rows_without_regimes_have_the_linear_autoregression(seed):
    rng = np.random.default_rng(seed)
    slopes = np.array([[0.7, 0.2], [-0.3, 0.6]])
    X = rng.normal(size=(36, 15, 2))
    for t in range(1, 15):
        X[:, t] += X[:, t - 1] @ slopes
    given = {"history": 1, "max_epochs": 30, "random_state": seed, **FULL}
    one = EGHiddenMarkov(1, **given).fit(list(X[:6]))
    three = EGHiddenMarkov(3, hidden_layer_sizes=(8,), **given).fit(list(X[:6]))
    assert three.n_iter_ == 0
    assert three.score(list(X[6:])) >= one.score(list(X[6:])) - 1e-9


@pytest.mark.parametrize(
    ("gain", "lengths", "expected"),
    [
        ([0.1] * 10, [10], True),
        ([1.0, -0.9] * 5, [10], False),  # of a single sequence the rows have an error
        ([1.0, -0.9] * 5, [2] * 5, False),  # the sequences are alike, the rows are not
        ([1.0] * 5 + [-0.7] * 5, [5, 5], False),
        ([1.0] * 5 + [0.5] * 5, [5, 5], True),
        ([5.0], [1], True),
        ([0.0] * 4, [2, 2], False),
        ([-1.0] * 4, [2, 2], False),
    ],
)
def test_a_gain_is_certain_above_two_standard_errors(gain, lengths, expected):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    assert is_certain(np.array(gain), offsets) is expected


def test_regimes_are_found():
    sequences, states = regimes(30, 60)
    model = EGHiddenMarkov(2, history=1, **FULL, **QUICK).fit(sequences)
    right = np.concatenate(model.predict(sequences)) == np.concatenate(states)
    assert max(right.mean(), 1 - right.mean()) > 0.9


@pytest.mark.parametrize("transition", ["constant", "history"])
def test_sums_over_all_paths(transition):
    sequences, _ = regimes()
    model = EGHiddenMarkov(
        2, history=2, transition=transition, hidden_layer_sizes=(4,), lr=0.05, **QUICK
    )
    model = model.set_params(early_stopping=False).fit(sequences)
    module = model.net_.module_.model
    if transition == "history":
        with torch.no_grad():
            module.transition_network.weight.normal_(generator=torch.Generator().manual_seed(0))
    module = copy.deepcopy(module).double()
    X = sequences[0][:5]
    log_density = model.log_emissions(X)
    x = torch.from_numpy(module.likelihood.prepare(X))
    first = torch.tensor([True, False, False, False, False])
    with torch.no_grad():
        logs = module.log_transmat(module.inputs(x, first))
        logs = logs.expand(5, 2, 2).numpy()
        log_start = module.log_start().numpy()
    joint = []
    for path in itertools.product(range(2), repeat=5):
        value = log_start[path[0]] + sum(log_density[t, k] for t, k in enumerate(path))
        joint.append(value + sum(logs[t, path[t - 1], path[t]] for t in range(1, 5)))
    np.testing.assert_allclose(model.score_samples(X).sum(), np.logaddexp.reduce(joint), rtol=1e-10)
    paths = np.array(list(itertools.product(range(2), repeat=5)))
    np.testing.assert_array_equal(model.predict(X), paths[np.argmax(joint)])
    proba = np.exp(joint - np.logaddexp.reduce(joint))
    np.testing.assert_allclose(
        model.predict_proba(X)[:, 1], (paths * proba[:, None]).sum(axis=0), atol=1e-10
    )
    if transition == "history":
        assert np.ptp(logs[1:], axis=0).max() > 1e-4


def test_densities_are_normalised():
    X = np.concatenate([x[:, :1] for x in regimes()[0]])
    model = EGHiddenMarkov(2, history=1, **QUICK).fit(X)
    grid = np.linspace(-15, 25, 4001)
    listed = [np.vstack([X[:3], [[g]]]) for g in grid[::10]]
    density = np.exp([found[-1] for found in model.score_samples(listed)])
    np.testing.assert_allclose(np.trapezoid(density, grid[::10]), 1.0, atol=1e-4)


def test_missing_values_of_a_row_are_marginalised():
    sequences, _ = regimes()
    model = EGHiddenMarkov(1, history=1, **FULL, **QUICK).fit(sequences)
    module = model.net_.module_.model.double()
    X = sequences[0][:4].copy()
    X[3, 0] = np.nan
    found = model.score_samples(X)[-1]
    prepared = torch.from_numpy(module.likelihood.prepare(sequences[0][:4]))
    with torch.no_grad():
        inputs = module.inputs(prepared, torch.tensor([True, False, False, False]))
        mean = module.outputs(inputs)[3, 0, 1].item()
        variance = module.densities.of_state(0).covariance()[1, 1].item()
    x = prepared[3, 1].item()
    expected = norm(mean, np.sqrt(variance)).logpdf(x) - np.log(module.likelihood.units[1])
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    whole = model.score_samples(np.vstack([sequences[0][:3], [[np.nan, np.nan]]]))
    assert whole[-1] == 0


def test_training_with_missing_values():
    sequences, _ = regimes(20)
    rng = np.random.default_rng(0)
    holed = [np.where(rng.random(x.shape) < 0.1, np.nan, x) for x in sequences]
    model = EGHiddenMarkov(2, history=1, **FULL, **QUICK).fit(holed)
    assert model.net_.module_.model.flags
    assert np.isfinite(model.score(holed))
    one = EGHiddenMarkov(1, history=1, **FULL, **QUICK).fit(holed)
    assert model.score(holed) > one.score(holed)
    assert np.isfinite(np.concatenate(model.predict_proba(holed))).all()


def test_groups_and_lists_agree():
    sequences, _ = regimes(6)
    X, groups = np.concatenate(sequences), np.repeat(np.arange(6), 40)
    model = EGHiddenMarkov(2, history=1, **QUICK).fit(X, groups=groups)
    listed = clone(model).fit(sequences)
    np.testing.assert_allclose(
        listed.score_samples(X, groups=groups), model.score_samples(X, groups=groups)
    )
    np.testing.assert_allclose(
        np.concatenate(model.score_samples(sequences)), model.score_samples(X, groups=groups)
    )
    assert len(model.forecast(sequences)) == 6
    np.testing.assert_allclose(
        model.forecast(X, groups=groups)[2].mean, model.forecast(sequences[2]).mean
    )


def test_integer_weights_are_repeated_sequences():
    sequences, _ = regimes(4)
    options = {**QUICK, "early_stopping": False, "max_epochs": 1, "batch_size": 100}
    weighted = EGHiddenMarkov(1, history=1, **FULL, **options)
    weighted.fit(sequences, sequence_weight=[2, 1, 0, 1])
    repeated = EGHiddenMarkov(1, history=1, **FULL, **options)
    repeated.fit([sequences[0], sequences[0], sequences[1], sequences[3]])
    # The units of the likelihood come from all rows, those of weight zero too.
    np.testing.assert_allclose(
        weighted.score(sequences), repeated.score(sequences), rtol=0, atol=5e-3
    )


def test_structural_zeros_stay():
    sequences, _ = regimes()
    transmat = [[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]]
    model = EGHiddenMarkov(3, transmat_init=transmat, **QUICK).fit(sequences)
    assert (model.transmat_[np.array(transmat) == 0] == 0).all()
    np.testing.assert_allclose(model.transmat_.sum(axis=1), 1.0)
    assert all((np.diff(path) >= 0).all() for path in model.predict(sequences))
    history = EGHiddenMarkov(
        3, transmat_init=transmat, history=1, transition="history", **QUICK
    ).fit(sequences)
    assert all((np.diff(path) >= 0).all() for path in history.predict(sequences))


def test_draws_have_the_moments_of_the_model():
    sequences, _ = regimes(20)
    model = EGHiddenMarkov(1, history=1, **FULL, **QUICK).fit(sequences)
    X, states = model.sample(4000, random_state=0)
    assert (states == 0).all()
    again = EGHiddenMarkov(1, history=1, **FULL, **QUICK).fit(X)
    assert abs(again.score(X) - model.score(X)) < 0.02
    np.testing.assert_array_equal(X, model.sample(4000, random_state=0)[0])
    levelled, _ = levels()
    plain = EGHiddenMarkov(3, **FULL, **QUICK).fit(levelled)
    drawn, states = plain.sample(3000, random_state=1)
    for k in range(3):
        np.testing.assert_allclose(
            drawn[states == k].mean(axis=0),
            levelled[plain.predict(levelled) == k].mean(axis=0),
            atol=0.3,
        )


def test_forecast_is_the_density_of_the_next_row():
    sequences, _ = regimes(20)
    model = EGHiddenMarkov(2, history=2, **FULL, **QUICK).fit(sequences)
    X = sequences[0][:10]
    forecast = model.forecast(X)
    rng = np.random.default_rng(0)
    draws = forecast.mean[0] + rng.multivariate_normal([0, 0], 9 * forecast.covariance[0], 2000)
    rows = model.score_samples([np.vstack([X, [draw]]) for draw in draws])
    log_q = multivariate_normal(forecast.mean[0], 9 * forecast.covariance[0]).logpdf(draws)
    weight = np.exp(np.array([found[-1] for found in rows]) - log_q)
    np.testing.assert_allclose(weight.mean(), 1.0, atol=0.15)
    np.testing.assert_allclose(weight @ draws / weight.sum(), forecast.mean[0], atol=0.2)
    with pytest.raises(ValueError, match=r"n_steps=2: must be 1 with history=2.*sample\(prefix=X"):
        model.forecast(X, 2)
    with pytest.raises(ValueError, match=r"history=900: must be <= n_samples, which is 800"):
        clone(model).set_params(history=900).fit(sequences)


def test_draws_continue_a_sequence():
    """Steps of a linear autoregression of order two, whose means follow its recursion."""
    sequences, _ = regimes(20)
    model = EGHiddenMarkov(1, history=2, **QUICK).fit(sequences)
    X = sequences[0][:6]
    for prefix in (X, X[:1]):  # the second of them has no row before it
        draws = np.array([model.sample(3, prefix=prefix, random_state=s)[0] for s in range(100)])
        expected = [*prefix]
        for step in range(3):
            expected.append(model.forecast(np.array(expected)).mean[0])
            error = draws[:, step].std(axis=0) / 10
            assert (np.abs(draws[:, step].mean(axis=0) - expected[-1]) < 4 * error).all()
    two = EGHiddenMarkov(2, history=1, **QUICK).fit(sequences)
    first = [two.sample(prefix=X, random_state=s)[1][0] for s in range(150)]
    expected = two.forecast(X).state_proba[0, 1]
    np.testing.assert_allclose(np.mean(first), expected, atol=0.13)
    with pytest.raises(ValueError, match="sample takes one sequence: prefix holds 2 of them"):
        model.sample(prefix=[X, X])


@pytest.mark.parametrize("history", [0, 1])
@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "poisson"])
def test_intervals_of_a_forecast(likelihood, history):
    """By the density on a grid of next rows, which sums to its distribution function."""
    sequences, _ = regimes(8)
    X = [np.round(np.abs(sequence[:, :1])) for sequence in sequences]
    model = EGHiddenMarkov(2, history=history, likelihood=likelihood, **QUICK).fit(X)
    forecast = model.forecast(pd.DataFrame(X[0][:9], columns=[0]))
    quantiles = forecast.quantile([0.1, 0.5, 0.9])[:, 0, 0]
    grid = np.arange(60.0) if likelihood == "poisson" else np.arange(-40.0, 60.0, 0.02)
    log_p = model.score_samples([np.vstack([X[0][:9], [[x]]]) for x in grid])
    total = np.cumsum(np.exp([found[-1] for found in log_p]) * (grid[1] - grid[0]))
    expected = grid[np.searchsorted(total, [0.1, 0.5, 0.9])]
    np.testing.assert_allclose(quantiles, expected, atol=0.03)
    np.testing.assert_allclose(np.ravel(forecast.interval(0.8)), quantiles[[0, 2]])
    draws = forecast.sample(4000, random_state=0)[:, 0, 0]
    np.testing.assert_allclose(
        (draws <= quantiles[1]).mean(), total[grid <= quantiles[1]][-1], atol=0.04
    )
    assert list(forecast.index) == [9]


def test_forecasts_of_several_steps_and_sequences():
    """Without a history they are those of the chain of the same parameters."""
    chain = EMHiddenMarkov.from_parameters(
        [0.5, 0.5],
        [[0.8, 0.2], [0.3, 0.7]],
        GaussianEmission.from_parameters([[0.0], [4.0]], [[[1.0]], [[2.0]]], "full"),
    )
    X = [chain.sample(30, random_state=s)[0] for s in range(3)]
    model = EGHiddenMarkov(2, **FULL, **QUICK).fit(X)
    set_parameters(model, chain)
    for found, expected in zip(model.forecast(X, 3), chain.forecast(X, 3), strict=True):
        np.testing.assert_allclose(found.state_proba, expected.state_proba, rtol=1e-6)
        np.testing.assert_allclose(found.covariance, expected.covariance, rtol=1e-6)
        np.testing.assert_allclose(found.quantile([0.2, 0.7]), expected.quantile([0.2, 0.7]), 1e-5)
        assert pickle.loads(pickle.dumps(found)).interval()[0].shape == (3, 1)
        np.testing.assert_array_equal(found.index, expected.index)


def test_storage_gives_the_same_answers(tmp_path):
    sequences, _ = regimes(6)
    two = np.int64(2)  # from a grid
    model = EGHiddenMarkov(two, history=1, hidden_layer_sizes=(3,), **FULL, **QUICK).fit(sequences)
    expected = np.concatenate(model.score_samples(sequences))
    model.save(tmp_path / "chain")
    for other in (
        pickle.loads(pickle.dumps(model)),
        copy.deepcopy(model),
        EGHiddenMarkov.load(tmp_path / "chain"),
    ):
        np.testing.assert_array_equal(np.concatenate(other.score_samples(sequences)), expected)
        other.partial_fit(sequences)
        assert len(other.history_["bound"]) == 4
    assert len(model.history_["bound"]) == 3


def test_the_same_seed_gives_the_same_fit():
    sequences, _ = regimes(6)
    one, other = (EGHiddenMarkov(2, history=1, **QUICK).fit(sequences) for _ in range(2))
    np.testing.assert_array_equal(one.score(sequences), other.score(sequences))


def test_a_warm_start_goes_on():
    sequences, _ = regimes(6)
    model = EGHiddenMarkov(2, history=1, warm_start=True, **QUICK).fit(sequences)
    model.fit(sequences)
    assert len(model.history_["bound"]) == 6
    with pytest.raises(ValueError, match=r"history=2: warm_start=True continues a model"):
        model.set_params(history=2).fit(sequences)


def test_float32_in_and_out():
    X = levels()[0].astype(np.float32)
    model = EGHiddenMarkov(2, **QUICK).fit(X)
    assert model.score_samples(X).dtype == model.predict_proba(X).dtype == np.float32


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"history": -1}, r"history=-1: must be an integer >= 0"),
        ({"transition": "gru"}, r"transition='gru': must be one of 'constant', 'history'"),
        ({"likelihood_params": {"covariance": "tied"}}, r"covariance='tied': must be one of"),
        ({"likelihood_params": {"covariance": "full", "scale": "shared"}}, r"has 'scale'"),
        ({"transmat_init": [[1.0, 0.5]]}, r"transmat_init"),
        ({"inference": "both"}, r"inference='both'"),
        ({"likelihood": "poisson"}, r"a Poisson likelihood takes"),
        ({"n_components": 0}, r"n_components=0"),
    ],
)
def test_wrong_parameters(params, message):
    with pytest.raises(ValueError, match=message):
        EGHiddenMarkov(**params, random_state=0, max_epochs=1).fit(levels(50)[0] - 20.5)


def test_displays_and_comparison():
    sequences, _ = regimes(10)
    X, groups = np.concatenate(sequences), np.repeat(np.arange(10), 40)
    model = EGHiddenMarkov(2, history=1, **QUICK).fit(X, groups=groups)
    TransitionDisplay.from_estimator(model)
    StatePathDisplay.from_estimator(model, X, groups=groups)
    assert set(BoundTermsDisplay.from_estimator(model).lines_) == {"bound", "valid_bound"}
    found = compare(
        {"autoregressions": EGHiddenMarkov(2, history=1, **QUICK), "chain": EMHiddenMarkov(2)},
        X,
        groups=groups,
        cv=2,
    )
    assert "autoregressions" in repr(found)


def test_posteriors_as_tables_and_as_lists():
    sequences, _ = regimes(6)
    model = EGHiddenMarkov(2, **QUICK).set_output(transform="pandas").fit(sequences)
    table = model.transform(pd.DataFrame(sequences[0]))
    assert list(table.columns) == ["eghiddenmarkov0", "eghiddenmarkov1"]
    np.testing.assert_allclose(model.transform(sequences)[0], table.to_numpy(), rtol=1e-12)


@pytest.mark.parametrize("transition", ["constant", "history"])
def test_both_sides_of_the_bound(transition):
    sequences, _ = regimes(6)
    model = EGHiddenMarkov(3, history=1, transition=transition, **QUICK).fit(sequences)
    if transition == "history":
        with torch.no_grad():
            weight = model.net_.module_.model.transition_network.weight
            weight.normal_(generator=torch.Generator().manual_seed(0))
    terms = elbo_decomposition(model, sequences)
    for gap, entropy in zip(terms.gap, terms.entropy, strict=True):
        np.testing.assert_allclose(gap.sum(), 0.0, atol=1e-9)
        assert (entropy >= -1e-12).all()
    X = sequences[0][:4]
    log_density, logs = model.log_emissions(X), model.log_transitions(X)
    joint = []
    for path in itertools.product(range(3), repeat=4):
        steps = sum(logs[t, path[t - 1], path[t]] for t in range(1, 4))
        joint.append(np.log(model.startprob_[path[0]]) + steps)
        joint[-1] += sum(log_density[t, k] for t, k in enumerate(path))
    proba, terms = np.exp(joint - np.logaddexp.reduce(joint)), elbo_decomposition(model, X)
    np.testing.assert_allclose(terms.expected_joint.sum(), proba @ joint, rtol=1e-9)
    np.testing.assert_allclose(terms.entropy.sum(), -proba @ np.log(proba), atol=1e-9)


def test_a_language_model_of_discrete_symbols():
    rng = np.random.default_rng(0)
    text = [np.array(list(rng.permutation(3)) * 8)[:, None].astype(float) for _ in range(30)]
    model = EGHiddenMarkov(3, history=1, likelihood="categorical", **QUICK).fit(text)
    one = EGHiddenMarkov(1, history=1, likelihood="categorical", **QUICK).fit(text)
    assert model.score(text) > one.score(text) + 0.1  # two orders of three symbols, period three
    X, _ = model.sample(30, random_state=0)
    assert set(X.ravel()) <= {0.0, 1.0, 2.0}


@pytest.mark.parametrize(
    "likelihood",
    [
        *("student_t", "continuous_bernoulli", "negative_binomial", "log_normal", "gamma", "beta"),
        [("gaussian", 0), ("bernoulli", 1)],
    ],
)
def test_every_likelihood_trains(likelihood):
    rng = np.random.default_rng(0)
    z = np.cumsum(rng.random(200) < 0.1) % 2
    X = {
        "student_t": rng.standard_t(4, size=(200, 1)) + 8 * z[:, None],
        "continuous_bernoulli": np.clip(rng.beta(2, 6, size=(200, 1)) + 0.4 * z[:, None], 0, 1),
        "negative_binomial": rng.poisson(rng.gamma(2, 2 + 20 * z)[:, None]).astype(float),
        "log_normal": rng.lognormal(3 * z[:, None], 0.5),
        "gamma": rng.gamma(2, 1 + 20 * z)[:, None],
        "beta": rng.beta(2 + 8 * z, 8 - 6 * z)[:, None],
    }.get(str(likelihood), np.column_stack([rng.normal(size=200) + 3 * z, z * 1.0]))
    options = {"likelihood": likelihood, "history": 1, "early_stopping": False, **QUICK}
    model, one = (EGHiddenMarkov(k, **options).fit(X) for k in (2, 1))
    assert model.score(X) > one.score(X)


@pytest.mark.parametrize("params", [{}, FULL, *slow({"likelihood": "student_t"})])
def test_sequences_without_later_rows(params):
    """Of one row each, of weight zero where they have more, and one of two rows."""
    X = [row[None] for row in levels(12)[0]]
    long = [*X, levels(20)[0]]
    model = EGHiddenMarkov(2, history=1, **params, **QUICK)
    weight = [1.0] * len(X) + [0.0]
    for rows, more in [(X, {}), (long, {"sequence_weight": weight}), (long[-1][:2], {})]:
        assert -30 < clone(model).fit(rows, **more).score(rows) < 30
