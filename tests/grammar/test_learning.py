"""Starts, continuing fits, priors, weights, zeros, batches, checkpoints and interruptions."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from skvae import EMContextFreeGrammar
from skvae.blocks import Rows, workers
from skvae.grammar import e_step, em
from skvae.grammar.parameters import Coordinates, GrammarPrior, expected_choices
from skvae.hmm import CategoricalEmission
from tests.grammar.problems import fitting, known_model, palindromes, sentences_of
from tests.hmm.problems import MORE
from tests.mixture.test_memory import peak_of
from tests.problems import assert_same_state, run, state_of

STRINGS, BRACKETS = palindromes(30, longest=4)


def same_start(model, **settings):
    """An estimator that continues from the parameters of a model."""
    copy = EMContextFreeGrammar.from_parameters(
        model.startprob_, model.rules_, model.leafprob_, model.emission_
    )
    return copy.set_params(warm_start=True, **settings)


# Starts -------------------------------------------------------------------------------------------


def test_the_best_of_several_starts_is_kept_whatever_the_jobs():
    settings = {"n_init": 4, "tol": 1e-2}
    models = [fitting(3, n_jobs=jobs, **settings).fit(STRINGS) for jobs in (1, 2)]
    assert models[0].lower_bounds_ == models[1].lower_bounds_
    assert_array_equal(models[0].rules_, models[1].rules_)
    one = fitting(3, n_init=1, tol=1e-2).fit(STRINGS)
    assert models[0].lower_bound_ >= one.lower_bound_


def test_threads_do_not_change_a_fit(monkeypatch):
    monkeypatch.setattr(e_step, "_FEW", 0)
    one = run(fitting(3), STRINGS, 3)
    monkeypatch.undo()
    two = run(fitting(3), STRINGS, 3)
    assert one.lower_bounds_ == two.lower_bounds_


def test_blocks_do_not_change_a_fit(monkeypatch):
    truth = known_model("full", seed=2)
    X = sentences_of(truth, 30, longest=6)
    start = same_start(truth)
    one = run(clone_of(start), X, 3, sequence_weight=np.linspace(0.5, 2, 30))
    scores = one.score_samples(X), one.predict(X), one.parse(X)[0], one.log_likelihood(X)
    for size in (1, 7, 20):
        monkeypatch.setattr(e_step, "_BLOCK_ROWS", size)
        two = run(clone_of(start), X, 3, sequence_weight=np.linspace(0.5, 2, 30))
        assert_allclose(two.lower_bounds_, one.lower_bounds_, rtol=1e-12)
        assert_allclose(two.rules_, one.rules_, rtol=1e-9, atol=1e-14)
        found = one.score_samples(X), one.predict(X), one.parse(X)[0], one.log_likelihood(X)
        assert_allclose(np.concatenate(found[0]), np.concatenate(scores[0]), rtol=1e-11)
        assert_array_equal(np.concatenate(found[1]), np.concatenate(scores[1]))
        assert found[2] == scores[2]
        assert_allclose(found[3], scores[3], rtol=1e-13)


def clone_of(model):
    return same_start(model)


def test_given_first_values_are_used():
    truth = known_model(n=2, n_features=1, seed=1)
    emission = CategoricalEmission(4, probabilities_init=truth.emission_.probabilities_)
    given = {
        "startprob_init": truth.startprob_,
        "rules_init": truth.rules_,
        "leafprob_init": truth.leafprob_,
        "emission": emission,
    }
    X = sentences_of(truth, 10, longest=5)
    model = EMContextFreeGrammar(2, max_iter=0, **given).fit(X)
    assert_allclose(model.rules_, truth.rules_, rtol=1e-12)
    assert_allclose(model.log_likelihood(X), truth.log_likelihood(X), rtol=1e-12)
    del given["leafprob_init"]
    rest = EMContextFreeGrammar(2, max_iter=0, **given).fit(X)
    assert_allclose(rest.leafprob_, truth.leafprob_, rtol=1e-9)
    del given["rules_init"]
    given["leafprob_init"] = [0.6, 0.9]
    flat = EMContextFreeGrammar(2, max_iter=0, **given).fit(X)
    assert_allclose(flat.rules_, np.full((2, 2, 2), 0.25) * [[[0.4]], [[0.1]]], rtol=1e-12)


def test_zeros_are_structural_and_no_parameters():
    rules = np.zeros((3, 3, 3))
    rules[0] = 0.1
    rules[0, 0, 0] = 0.0
    settings = {"startprob_init": [1.0, 0.0, 0.0], "rules_init": rules}
    model = fitting(3, leafprob_init=[0.2, 1.0, 1.0], **settings).fit(STRINGS)
    assert_array_equal(model.rules_[rules == 0], 0.0)
    assert_array_equal(model.startprob_, [1.0, 0.0, 0.0])
    assert_array_equal(model.leafprob_[1:], 1.0)
    # 8 rules and a leaf of the first nonterminal, one symbol's probability of each leaf.
    n_rows, log_p = sum(map(len, STRINGS)), model.log_likelihood(STRINGS).sum()
    assert_allclose(model.aic(STRINGS), -2 * log_p + 2 * (8 + 3))
    assert_allclose(model.bic(STRINGS), -2 * log_p + (8 + 3) * np.log(n_rows))
    model.set_params(warm_start=True).fit(STRINGS[:10])
    model.partial_fit(STRINGS[10:])
    assert_array_equal(model.rules_[rules == 0], 0.0)


# Weights and order --------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["categorical", "full", "poisson", *MORE])
def test_whole_weights_are_repeated_sentences(family):
    truth = known_model(family, seed=3)
    X = sentences_of(truth, 8, longest=5)
    times = np.array([2, 1, 0, 3, 1, 0, 1, 2])
    repeated = [x for x, n in zip(X, times, strict=True) for _ in range(n)]
    left = run(same_start(truth), X, 4, sequence_weight=times.astype(float))
    right = run(same_start(truth), repeated, 4)
    assert_allclose(left.lower_bounds_, right.lower_bounds_, rtol=1e-10)
    assert_allclose(left.rules_, right.rules_, rtol=1e-7, atol=1e-12)
    ours, theirs = (m.emission_.parameters().means() for m in (left, right))
    assert_allclose(ours, theirs, rtol=1e-8)
    assert left.n_samples_seen_ == right.n_samples_seen_
    assert left.n_sequences_seen_ == right.n_sequences_seen_ == 10


def test_the_order_of_sentences_does_not_matter_and_that_of_rows_does():
    truth = known_model(seed=3)
    X = sentences_of(truth, 10, longest=6)
    order = np.random.default_rng(0).permutation(10)
    shuffled = [X[s] for s in order]
    assert_allclose(truth.log_likelihood(shuffled), truth.log_likelihood(X)[order], rtol=1e-12)
    left, right = run(same_start(truth), X, 3), run(same_start(truth), shuffled, 3)
    assert_allclose(left.rules_, right.rules_, rtol=1e-9, atol=1e-13)
    backwards = [x[::-1] for x in X]
    assert abs(truth.score(backwards) - truth.score(X)) > 1e-6


def test_bad_weights_are_a_clear_error():
    weight = np.ones(sum(map(len, STRINGS)))
    weight[1] = 2.0
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=r"sequence_weight is 2.0 in row 1 and 1.0 where its"):
            getattr(fitting(2), method)(STRINGS, sequence_weight=weight)


# Continuing ---------------------------------------------------------------------------------------


def test_a_warm_start_continues_to_the_same_maximum():
    whole = fitting(3, tol=1e-7, max_iter=2000).fit(STRINGS, brackets=BRACKETS)
    model = fitting(3, tol=1e-7, max_iter=2, warm_start=True)
    with pytest.warns(ConvergenceWarning, match="EM did not converge within max_iter=2"):
        model.fit(STRINGS, brackets=BRACKETS)
    model.set_params(max_iter=2000).fit(STRINGS, brackets=BRACKETS)
    assert_allclose(model.lower_bound_, whole.lower_bound_, rtol=1e-9)
    assert model.n_iter_ == whole.n_iter_ - 2


def test_first_values_that_were_changed_are_used_by_a_warm_start():
    model = fitting(2, warm_start=True).fit(STRINGS)
    rules = np.zeros((2, 2, 2))
    rules[0] = 0.2
    model.set_params(rules_init=rules, leafprob_init=[0.2, 1.0], max_iter=0).fit(STRINGS)
    assert_allclose(model.rules_, rules, rtol=1e-12)
    bound = model.lower_bound_
    model.set_params(max_iter=500).fit(STRINGS)  # the same first values: it continues
    assert model.lower_bound_ > bound


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"n_components": 2}, "n_components=2: warm_start=True continues a model that was fitted"),
        ({"emission": "poisson"}, "emission=PoissonEmission.*: warm_start=True continues"),
    ],
)
def test_a_warm_start_of_another_model_is_an_error(change, text):
    model = fitting(3, warm_start=True).fit(STRINGS).set_params(**change)
    state = state_of(model)
    with pytest.raises(ValueError, match=text):
        model.fit(STRINGS)
    assert_same_state(model, state)


@pytest.mark.parametrize(("family", "n_labels"), [("categorical", 3), ("full", 2)])
def test_acceleration_reaches_the_same_bound_in_fewer_steps(family, n_labels):
    sentences = sentences_of(known_model(family, n_labels, seed=1), 60, seed=5)
    emission = "gaussian" if family == "full" else family
    start = fitting(n_labels, emission=emission, max_iter=2, tol=0.0)
    with pytest.warns(ConvergenceWarning):
        start.fit(sentences)
    settings = {"tol": 1e-8, "max_iter": 3000}
    plain = same_start(start, **settings).fit(sentences)
    faster = same_start(start, acceleration="anderson", **settings).fit(sentences)
    assert faster.lower_bound_ > plain.lower_bound_ - 1e-6
    assert faster.n_e_steps_ < 0.7 * plain.n_e_steps_
    assert (np.diff(faster.lower_bounds_) > -1e-10).all()


@pytest.mark.parametrize("units", [None, "chains"])
def test_coordinates_go_there_and_back(units):
    model = known_model("full", seed=3, zeros=0.3, units=units)
    parameters = model._parameters()
    allowed = model._allowed
    prior = GrammarPrior(np.ones(3), np.ones(allowed.shape), model._start_allowed, allowed)
    X = np.concatenate(sentences_of(model))
    summary = _summary(model.emission_, X)
    coordinates = Coordinates(parameters, prior, summary)
    again = coordinates.unpack(coordinates.pack(parameters))
    assert_allclose(again.rules, parameters.rules, rtol=1e-12)
    assert_allclose(again.leafprob, parameters.leafprob, rtol=1e-12)
    assert_allclose(again.startprob, parameters.startprob, rtol=1e-12)
    if units is not None:
        assert_allclose(again.units, parameters.units, rtol=1e-12)
    assert_allclose(again.emission.means(), parameters.emission.means(), rtol=1e-10)


def _summary(emission, X):
    with workers() as pool:
        return emission.summarize(Rows(X), pool)


# Batches ------------------------------------------------------------------------------------------


def test_the_first_batch_is_one_step_from_the_start_of_fit():
    left = fitting(3).partial_fit(STRINGS, brackets=BRACKETS)
    right = run(fitting(3), STRINGS, 1, brackets=BRACKETS)
    assert_allclose(left.rules_, right.rules_, rtol=1e-12)
    assert_allclose(left.lower_bound_, right.lower_bound_, rtol=1e-12)
    assert left.n_iter_ == left.n_e_steps_ == 1
    assert left.converged_ is False
    assert left.n_samples_seen_ == sum(map(len, STRINGS))
    assert left.n_sequences_seen_ == len(STRINGS)


@pytest.mark.parametrize("prior", [1.0, 1.5])
@pytest.mark.parametrize("family", ["categorical", "full", "poisson"])
def test_batches_climb_to_where_a_fit_ends(family, prior):
    truth = known_model(family, 2, seed=1)
    model = fitting(2, emission="gaussian" if family == "full" else family, rules_prior=prior)
    if family == "categorical":
        model.set_params(emission=CategoricalEmission(4))
    first = clone(model)
    batches = [sentences_of(truth, 30, seed=batch) for batch in range(25)]
    for X in batches:
        model.partial_fit(X)
        assert_allclose(model.rules_.sum(axis=(1, 2)) + model.leafprob_, 1.0)
    whole = first.fit([x for X in batches for x in X])
    test = sentences_of(truth, 100, seed=99)
    bounds = [m.log_likelihood(test).sum() / sum(map(len, test)) for m in (model, whole)]
    # Single steps on 750 sentences are not a converged fit: nine pairs were at most 0.14 below.
    assert bounds[0] > bounds[1] - 0.2
    assert model.n_iter_ == len(model.lower_bounds_) == 25
    assert model.n_sequences_seen_ == 750


def test_batches_of_one_symbol_end_at_the_mean_of_all():
    """The maximum is linear in the counts: batches of equal weight have it whatever their order."""
    rng = np.random.default_rng(0)
    model, lengths = fitting(1), rng.integers(1, 9, size=(60, 10))
    for some in lengths:
        model.partial_fit([np.zeros((n, 1)) for n in some])
    assert_allclose(model.leafprob_, lengths.sum() / (2 * lengths - 1).sum(), rtol=0.01)


def test_a_batch_of_what_the_parameters_expect_changes_little():
    """After many rows a batch of rows that are alike moves the parameters by its share only."""
    truth = known_model(seed=3)
    model = same_start(truth)
    X, _ = truth.sample(n_sentences=2000, random_state=0)
    X = [x for x in X if len(x) < 12]
    model.partial_fit(X)
    once = same_start(truth).partial_fit(X)
    assert_array_equal(once.rules_, model.rules_)
    assert np.abs(model.leafprob_ - truth.leafprob_).max() < 0.1


def test_expected_choices_are_those_of_many_draws():
    model = known_model(n=3, seed=5, units="chains")
    parameters = model._parameters()
    _, labels = model.sample(n_sentences=20_000, random_state=0)
    n_rows = sum(map(len, labels))
    found = expected_choices(parameters, n_rows)
    leaves = np.bincount(np.concatenate(labels), minlength=3)
    assert_allclose(found[:, 9] / n_rows, leaves / n_rows, atol=0.01)
    assert_allclose(found[:, 9].sum(), n_rows)
    # Each sentence has one leaf more than it has binary rules.
    assert_allclose(found[:, :9].sum() / n_rows, 1 - 20_000 / n_rows, atol=0.02)
    assert_allclose(found / found.sum(axis=1, keepdims=True), parameters.choices(), rtol=1e-10)


def test_expected_choices_of_trees_without_an_end_are_finite():
    model = EMContextFreeGrammar.from_parameters(
        [1.0], [[[0.8]]], [0.2], CategoricalEmission.from_parameters([[[1.0]]])
    )
    found = expected_choices(model._parameters(), 100.0)
    assert_allclose(found, [[400.0, 100.0, 0.0]])
    model.partial_fit([np.zeros((3, 1))])
    assert np.isfinite(model.lower_bound_)


@pytest.mark.parametrize("change", [{"n_components": 2}, {"emission": "gaussian"}])
def test_a_batch_for_another_model_is_an_error_that_changes_nothing(change):
    model = fitting(3).partial_fit(STRINGS).set_params(**change)
    state = state_of(model)
    with pytest.raises(ValueError, match="partial_fit continues a model that was fitted"):
        model.partial_fit(STRINGS)
    assert_same_state(model, state)


# Files, interruptions, memory ---------------------------------------------------------------------


class StoppedError(Exception):
    """The E step fails."""


def stopped_after(monkeypatch, n_steps):
    """Let the E step fail after some calls."""
    calls, expect = [], em.expect

    def counted(*args, **kwargs):
        calls.append(1)
        if len(calls) > n_steps:
            raise StoppedError
        return expect(*args, **kwargs)

    monkeypatch.setattr(em, "expect", counted)


@pytest.mark.parametrize("acceleration", [None, "anderson"])
def test_an_interrupted_fit_continues_from_its_file(acceleration, monkeypatch, tmp_path):
    settings = {"n_init": 2, "acceleration": acceleration, "tol": 1e-3}
    whole = fitting(3, **settings).fit(STRINGS, brackets=BRACKETS)
    path = tmp_path / "fit"
    model = fitting(3, checkpoint=path, **settings)
    with monkeypatch.context() as patch:
        stopped_after(patch, whole.n_e_steps_ // 2)
        with pytest.raises(StoppedError):
            model.fit(STRINGS, brackets=BRACKETS)
    assert path.exists()
    with pytest.raises(ValueError, match=r"belongs to another fit .*brackets differs"):
        model.fit(STRINGS, brackets=[[] for _ in STRINGS])
    with pytest.raises(ValueError, match=r"belongs to another fit .*brackets (differs|was)"):
        model.fit(STRINGS)
    model.fit(STRINGS, brackets=BRACKETS)
    assert not path.exists()
    assert model.lower_bounds_ == whole.lower_bounds_
    assert_array_equal(model.rules_, whole.rules_)


def test_a_failure_in_a_fit_changes_nothing(monkeypatch):
    model = fitting(2).fit(STRINGS)
    state = state_of(model)
    stopped_after(monkeypatch, 2)
    for learn in (model.set_params(random_state=3).fit, model.fit):
        state = state_of(model)
        with pytest.raises(StoppedError):
            learn(STRINGS)
        assert_same_state(model, state)


def test_a_fit_makes_no_array_of_rows_by_components():
    n_rows, n = 150_000, 24
    X = np.random.default_rng(0).integers(2, size=(n_rows, 1)).astype(float)
    rules = np.zeros((n, n, n))
    rules[0, 0, 1] = 0.3
    model = EMContextFreeGrammar(n, random_state=0, rules_init=rules)
    groups = np.arange(n_rows) // 3
    run(model, X[:300], 1, groups=groups[:300])  # what is compiled is compiled
    assert peak_of(lambda: run(model, X, 1, groups=groups)) < n_rows * n * 8


def test_verbose_prints_bounds(capsys):
    model = run(fitting(2, verbose=2), STRINGS, 3)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert f"lower bound {model.lower_bounds_[1]:.6f}" in lines[2]


def test_a_clone_fits_the_same():
    model = fitting(3).fit(STRINGS)
    other = clone(model)
    assert not [name for name in vars(other) if name.endswith("_")]
    assert other.fit(STRINGS).lower_bounds_ == model.lower_bounds_
