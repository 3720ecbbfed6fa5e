"""Sentences, brackets and words as users have them, and what is wrong with them."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMContextFreeGrammar
from skvae.grammar import context_free_grammar
from skvae.hmm import CategoricalEmission, GaussianEmission
from tests.grammar.problems import fitting, known_model, palindromes, sentences_of
from tests.hmm.problems import groups_of, holes
from tests.problems import assert_same_state, run, state_of

PER_ROW = ("score_samples", "predict", "predict_proba", "transform")
RULES = """
S -> NP VP [1.0]
VP -> V NP [0.7] | 'sleeps' [0.3]
NP -> 'John' [0.5] | Det N [0.5]
Det -> 'the' [1.0]
N -> 'dog' [0.4] | 'cat' [0.6]
V -> 'sees' [1.0]
"""


@pytest.fixture
def model():
    return known_model(seed=1)


@pytest.fixture
def sentences(model):
    return sentences_of(model, 8, longest=6)


# Forms --------------------------------------------------------------------------------------------


def test_a_list_is_the_same_as_groups_and_comes_back_as_a_list(model, sentences):
    X, groups = np.concatenate(sentences), groups_of([len(x) for x in sentences])
    for method in PER_ROW:
        flat, listed = getattr(model, method)(X, groups=groups), getattr(model, method)(sentences)
        assert type(listed) is list
        assert [len(each) for each in listed] == [len(x) for x in sentences]
        assert_array_equal(np.concatenate(listed), flat)
    for method in ("score", "bic", "aic", "log_likelihood"):
        flat = getattr(model, method)(X, groups=groups)
        assert_array_equal(getattr(model, method)(sentences), flat)
    trees, log_proba = model.parse(sentences)
    other, same = model.parse(X, groups=groups)
    assert trees == other
    assert_array_equal(log_proba, same)
    left, right = (run(fitting(2), *given) for given in ((sentences, 3), (sentences, 3)))
    right = run(fitting(2), X, 3, groups=groups)
    assert left.lower_bounds_ == right.lower_bounds_
    left.partial_fit(sentences)
    assert_array_equal(left.rules_, right.partial_fit(X, groups=groups).rules_)


def test_a_cube_is_a_list_of_equal_sentences(model):
    cube = np.random.default_rng(0).integers(4, size=(5, 4, 2)).astype(float)
    expected = model.predict_proba(cube.reshape(20, 2), groups=groups_of([4] * 5))
    assert_array_equal(np.concatenate(model.predict_proba(cube)), expected)
    assert len(model.parse(cube)[0]) == 5


def test_arrays_of_different_lengths_are_sentences_of_one_feature():
    strings, brackets = palindromes(20)
    flat = [x[:, 0] for x in strings]
    one = run(fitting(2), flat, 3, brackets=brackets)
    two = run(fitting(2), strings, 3, brackets=brackets)
    assert one.lower_bounds_ == two.lower_bounds_
    assert one.score(flat) == two.score(strings)


def test_frames_keep_their_names():
    strings, _ = palindromes(10)
    frames = [pd.DataFrame(x, columns=["symbol"]) for x in strings]
    model = run(fitting(2), frames, 2)
    assert list(model.feature_names_in_) == ["symbol"]
    with pytest.raises(ValueError, match="feature names should match"):
        model.score([frame.rename(columns={"symbol": "other"}) for frame in frames])


def test_single_precision_stays(model, sentences):
    single = [x.astype(np.float32) for x in sentences]
    for method in ("score_samples", "predict_proba"):
        assert {each.dtype for each in getattr(model, method)(single)} == {np.dtype("f4")}
    assert_allclose(model.score(single), model.score(sentences), rtol=1e-12)


@pytest.mark.parametrize("family", ["categorical", "full", "poisson"])
def test_missing_values_are_summed_or_integrated_out(family):
    model = known_model(family, seed=2)
    X = sentences_of(model, 30, longest=5)
    gaps = [holes(x, 0.3, s) for s, x in enumerate(X)]
    nothing = [np.full(x.shape, np.nan) for x in X]
    lengths = np.array([len(x) for x in X])
    expected = model.log_length_proba(lengths.max())[lengths - 1]
    assert_allclose(model.log_likelihood(nothing), expected, rtol=1e-11)
    assert_allclose(model.score(nothing), 0.0, atol=1e-12)
    assert np.isfinite(model.log_likelihood(gaps)).all()
    emission = {"full": "gaussian", "categorical": CategoricalEmission(4)}.get(family, family)
    fitted = run(fitting(2, emission=emission), gaps, 10)
    assert (np.diff(fitted.lower_bounds_) > -1e-10).all()


def test_missing_values_of_symbols_are_sums_over_symbols():
    model = known_model(n_features=1, seed=3)
    for place in range(3):
        X = np.array([[0.0], [1.0], [3.0]])
        gap = X.copy()
        gap[place] = np.nan
        total = 0.0
        for symbol in range(4):
            X[place] = symbol
            total += np.exp(model.log_likelihood(X)[0])
        assert_allclose(np.exp(model.log_likelihood(gap)[0]), total, rtol=1e-12)


def test_one_sentence_alone(model, sentences):
    for X in (sentences[0], [sentences[0]]):
        assert model.span_proba(X).shape == (len(sentences[0]), len(sentences[0]), 3)
    with pytest.raises(ValueError, match="span_proba takes one sentence: X holds 8 of them"):
        model.span_proba(sentences)


def test_one_long_sentence_is_warned_of(monkeypatch):
    monkeypatch.setattr(context_free_grammar, "_LONG", 20)
    with pytest.warns(UserWarning, match="X is one sentence of 21 rows.* groups names the"):
        EMContextFreeGrammar(1, max_iter=0).fit(np.zeros((21, 1)))


def test_sentences_of_one_row_are_warned_of():
    with pytest.warns(UserWarning, match="each of the 20 sentences has one row, so that no rule"):
        fitting(1).fit(np.zeros((20, 1)), groups=np.arange(20))


# Impossible sentences -----------------------------------------------------------------------------


def test_unknown_symbols_have_probability_zero_and_cannot_be_learned():
    model = known_model(n_features=1, seed=1)
    X = [np.array([[0.0], [1.0]]), np.array([[1.0], [7.0], [2.0]])]
    log_p = model.log_likelihood(X)
    assert np.isfinite(log_p[0])
    assert log_p[1] == -np.inf
    assert model.score(X) == -np.inf
    scores = model.score_samples(X)[1]
    assert np.isneginf(scores[1])
    assert np.isfinite(scores[[0, 2]]).all()
    assert np.isneginf(model.score(X, sample_weight=[1.0, 2.0]))
    trees, log_proba = model.parse(X)
    assert trees[1] is None
    assert log_proba[1] == -np.inf
    assert_array_equal(model.predict(X)[1], -1)
    assert_allclose(model.predict_proba(X)[1].sum(axis=1), 1.0)
    assert not model.span_proba(X[1]).any()
    state = state_of(model.set_params(warm_start=True))
    for learn in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=r"sentence 1: X\[:, 0\] holds 7"):
            learn(X)
        with pytest.raises(ValueError, match=r"sentence 1: X\[:, 0\] holds 7"):
            learn(X, sequence_weight=[0.0] + [1.0] * (len(X) - 1))
        assert_same_state(model, state)
    with pytest.raises(ValueError, match=r"X\[:, 0\] holds 1.5"):
        model.score([[1.5]])


def test_sentences_that_no_tree_has_are_named():
    """Without a rule there are only sentences of one word."""
    model = fitting(2, rules_init=np.zeros((2, 2, 2)))
    X = [np.zeros((1, 1)), np.zeros((1, 1)), np.ones((2, 1))]
    text = r"sentence 2 has probability zero under the current parameters: no tree has its 2 rows"
    with pytest.raises(ValueError, match=f"EM failed from every start: {text}"):
        model.fit(X)
    with pytest.raises(ValueError, match=f"EM failed: {text}"):
        model.partial_fit(X)
    with pytest.raises(ValueError, match=text):
        model.fit(X, sequence_weight=[0.0, 1.0, 2.0])
    even = EMContextFreeGrammar.from_parameters(
        [1.0, 0.0],
        [[[0.0, 0.0], [0.0, 1.0]], np.zeros((2, 2))],
        [0.0, 1.0],
        CategoricalEmission.from_parameters([[[1.0]], [[1.0]]]),
    )
    assert_array_equal(np.isneginf(even.log_length_proba(4)), [True, False, True, True])
    assert even.score(np.zeros((3, 1))) == -np.inf
    assert np.isneginf(even.score_samples(np.zeros((3, 1)))).all()
    with pytest.raises(ValueError, match="sentence 0 has probability zero"):
        even.partial_fit(np.zeros((3, 1)))


def test_brackets_that_no_tree_has_are_named():
    """A left-branching grammar has no constituent of the last two rows."""
    rules = np.zeros((2, 2, 2))
    rules[0, 0, 1] = 0.5
    model = fitting(2, startprob_init=[1.0, 0.0], rules_init=rules)
    X = [np.zeros((3, 1))] * 3
    with pytest.raises(ValueError, match=r"sentence 1 has probability zero .* no tree with its b"):
        model.fit(X, brackets=[None, [(1, 2)], [(0, 1)]])
    model.fit(X, brackets=[None, [(0, 2)], [(0, 1)]])


# Brackets -----------------------------------------------------------------------------------------


def test_brackets_restrict_the_trees():
    strings, brackets = palindromes(15)
    model = run(fitting(3), strings, 5, brackets=brackets)
    other = run(fitting(3), strings, 5)
    assert model.lower_bound_ != other.lower_bound_
    for none in ([[] for _ in strings], [None] * len(strings)):
        same = run(fitting(3), strings, 5, brackets=none)
        assert same.lower_bounds_ == other.lower_bounds_


def test_brackets_go_with_their_sentences():
    strings, brackets = palindromes(12)
    weight = np.array([1.0, 0.0, 2.0] * 4)
    left = run(fitting(3), strings, 4, brackets=brackets, sequence_weight=weight)
    kept = [s for s in range(12) for _ in range(int(weight[s]))]
    # The start depends on the rows: both begin with the same parameters.
    start = fitting(3, max_iter=0).fit(strings, brackets=brackets)
    fits = []
    for X, pairs, options in (
        (strings, brackets, {"sequence_weight": weight}),
        ([strings[s] for s in kept], [brackets[s] for s in kept], {}),
    ):
        copy = EMContextFreeGrammar.from_parameters(
            start.startprob_, start.rules_, start.leafprob_, start.emission_
        ).set_params(warm_start=True)
        fits.append(run(copy, X, 4, brackets=pairs, **options))
    assert_allclose(fits[0].lower_bounds_, fits[1].lower_bounds_, rtol=1e-10)
    assert_allclose(fits[0].rules_, fits[1].rules_, rtol=1e-8, atol=1e-12)
    assert np.isfinite(left.lower_bound_)


BAD_BRACKETS = {
    "another number": ([[(0, 1)]], r"brackets has 1 entries: must have one.* each of the 3 sent"),
    "a word": ("words", "brackets='words': must be a list with, for each sentence, a list of"),
    "a number": (3, "brackets=3: must be a list"),
    "a pair instead of pairs": ([(0, 1), [], []], r"brackets\[0\]=\(0, 1\): must be a list of"),
    "three rows": ([[], [(0, 1, 2)], []], r"brackets\[1\]=.*must be a list of \(first, last\) pai"),
    "halves": ([[], [(0, 0.5)], []], r"brackets\[1\]=.*pairs of whole numbers"),
    "beyond the end": ([[], [], [(1, 4)]], r"brackets\[2\] has \(1, 4\): .* below 4, the number"),
    "before the start": ([[], [], [(-1, 2)]], r"brackets\[2\] has \(-1, 2\): the first row must"),
    "backwards": ([[], [], [(2, 1)]], r"brackets\[2\] has \(2, 1\)"),
    "crossing": (
        [[], [], [(0, 3), (0, 1), (1, 2)]],
        r"brackets\[2\] has \(0, 1\) and \(1, 2\), which cross: of two constituents one contains",
    ),
}


@pytest.mark.parametrize("problem", BAD_BRACKETS)
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_bad_brackets_are_a_clear_error(problem, method):
    brackets, text = BAD_BRACKETS[problem]
    X = [np.zeros((n, 1)) for n in (2, 3, 4)]
    model = fitting(1).fit(X)
    state = state_of(model)
    with pytest.raises(ValueError, match=text):
        getattr(model, method)(X, brackets=brackets)
    assert_same_state(model, state)


def test_nested_and_separate_brackets_are_taken():
    X = [np.zeros((8, 1))]
    brackets = [[(0, 7), (0, 3), (4, 7), (0, 3), (1, 1), np.array([4, 5]), (1.0, 3.0)]]
    assert fitting(1).fit(X, brackets=brackets).converged_


# Words --------------------------------------------------------------------------------------------


def test_words_are_taken_in_every_form():
    model = EMContextFreeGrammar.from_rules(RULES)
    words = ["the", "dog", "sees", "John"]
    expected = model.log_likelihood(np.array([[model.terminals_.index(w)] for w in words]))
    objects = np.empty(1, dtype=object)
    objects[0] = words
    for X in (
        words,
        tuple(words),
        [words],
        np.array(words),
        np.array(words)[:, None],
        np.array(words, dtype=object),
        pd.Series(words),
        pd.DataFrame({"word": words}),
        objects,
        [np.array(words)],
    ):
        assert_array_equal(model.log_likelihood(X), expected)
    assert_array_equal(model.score_samples(words), model.score_samples([words])[0])
    trees, _ = model.parse([words, ["John", "sleeps"]])
    assert str(trees[1]) == "(S (NP John) (VP sleeps))"
    for method in PER_ROW:
        flat = getattr(model, method)(words * 2, groups=[0] * 4 + [1] * 4)
        assert_array_equal(flat[:4], getattr(model, method)(words))
    assert_array_equal(model.transform([words])[0], model.predict_proba(words))


def test_unknown_words_have_probability_zero_and_cannot_be_learned():
    model = EMContextFreeGrammar.from_rules(RULES)
    X = [["John", "sleeps"], ["Mary", "sleeps"]]
    assert_array_equal(np.isneginf(model.log_likelihood(X)), [False, True])
    assert model.parse(X)[0][1] is None
    with pytest.raises(ValueError, match="sentence 1 has the word 'Mary', which is not among ter"):
        model.partial_fit(X)
    with pytest.raises(ValueError, match="sentence 0 has the word 'Mary'"):
        model.partial_fit(X[1])


def test_draws_are_words_that_it_takes():
    model = EMContextFreeGrammar.from_rules(RULES)
    X, labels = model.sample(n_sentences=50, random_state=0)
    assert set(np.concatenate(X)[:, 0]) == set(model.terminals_)
    assert np.isfinite(model.log_likelihood(X)).all()
    assert [len(x) for x in X] == [len(each) for each in labels]
    rows, labels = model.sample(7, random_state=0)
    assert rows.shape == (7, 1)
    assert labels.shape == (7,)
    assert isinstance(rows[0, 0], str)


def test_a_fit_that_continues_keeps_the_words():
    model = EMContextFreeGrammar.from_rules(RULES).set_params(warm_start=True)
    X, _ = model.sample(n_sentences=30, random_state=0)
    bound = model.log_likelihood(X).sum() / sum(map(len, X))
    model.fit(X)
    assert model.terminals_ == EMContextFreeGrammar.from_rules(RULES).terminals_
    assert model.lower_bound_ > bound
    assert model.parse(["John", "sleeps"])[0][0].label == "S"
    again = EMContextFreeGrammar.from_rules(model.to_rules())
    assert_allclose(again.log_likelihood(X), model.log_likelihood(X), rtol=1e-9)


def test_a_new_fit_learns_from_codes_and_forgets_the_words():
    model = EMContextFreeGrammar.from_rules(RULES)
    with pytest.raises(ValueError, match=r"X has words, but a fit that starts anew learns from co"):
        model.fit([["John", "sleeps"]])
    assert model.terminals_
    model.set_params(n_components=2).fit([[[0], [1]], [[1], [0], [1]]])
    assert not hasattr(model, "terminals_")
    assert not hasattr(model, "nonterminals_")
    with pytest.raises(ValueError, match="X has words, but this grammar has codes"):
        model.score([["John", "sleeps"]])
    with pytest.raises(ValueError, match="could not convert string to float"):
        model.score([["John", "sleeps"], ["Mary", "sleeps"]])  # a table of strings


@pytest.mark.parametrize("X", [[["a"], [1]], ["a", 1], [["a", ["b"]]]])
def test_words_beside_others_are_an_error(X):
    model = EMContextFreeGrammar.from_rules("S -> S S [0.4] | 'a' [0.6]")
    with pytest.raises(ValueError, match="the sentences of a grammar with words must be lists of"):
        model.score(X)


# Rules as text, and known parameters --------------------------------------------------------------


def test_rules_go_to_text_and_back():
    model = EMContextFreeGrammar.from_rules(RULES)
    other = EMContextFreeGrammar.from_rules(model.to_rules())
    assert other.terminals_ == model.terminals_
    assert other.nonterminals_ == model.nonterminals_
    for name in ("startprob_", "rules_", "leafprob_", "unit_rules_"):
        assert_allclose(getattr(other, name), getattr(model, name), rtol=1e-12)
    fitted = fitting(2).fit(palindromes(20)[0])
    again = EMContextFreeGrammar.from_rules(fitted.to_rules())
    X = [["0", "1", "1", "0"], ["1", "1"]]
    codes = [np.array(x, dtype=float)[:, None] for x in X]
    assert_allclose(again.log_likelihood(X), fitted.log_likelihood(codes), rtol=1e-9)
    with pytest.raises(ValueError, match="only leaves of a categorical emission with one feature"):
        known_model("full").to_rules()


def test_several_nonterminals_at_the_root_and_unit_rules():
    model = EMContextFreeGrammar.from_rules("S -> A [0.5] | 'x' [0.5]\nA -> S S [0.4] | 'y' [0.6]")
    assert_allclose(model.unit_rules_, [[0.0, 0.5], [0.0, 0.0]])
    assert_allclose(model.log_likelihood(["y"]), np.log(0.3))
    trees, _ = model.parse(["y"])
    assert str(trees[0]) == "(S (A y))"


KNOWN = {"startprob": [1.0], "rules": [[[0.4]]], "leafprob": [0.6]}
ONE = CategoricalEmission.from_parameters([[[1.0]]])
TWO = GaussianEmission.from_parameters([[0.0], [1.0]], [1.0, 1.0], "spherical")
PAIRS = np.full((2, 2, 2), 0.1)
BAD_PARAMETERS = {
    "no emission": ((*KNOWN.values(), "gaussian"), "must be a fitted emission of skvae.hmm"),
    "start": (([0.9], [[[0.4]]], [0.6], ONE), "startprob has a row that sums to 0.9: must sum to"),
    "rules": (([1.0], [[[0.5]]], [0.6], ONE), r"rules\[0\] sums to 0.5 and leafprob\[0\] is 0.6"),
    "negative": (([1.0], [[[-0.4]]], [1.4], ONE), "rules has an entry -0.4: must be >= 0"),
    "shape": (([1.0], [[0.4]], [0.6], ONE), r"rules has shape \(1, 1\): must have shape"),
    "leaves": (([1.0], [[[0.4]]], [0.3, 0.3], ONE), r"leafprob has shape \(2,\): must have shape"),
    "no leaf": (([1.0], [[[1.0]]], [0.0], ONE), "leafprob is zero in every entry: no sentence"),
    "sizes": (([1.0], [[[0.4]]], [0.6], TWO), r"startprob has shape \(1,\): must have shape \(2,"),
}


@pytest.mark.parametrize("problem", BAD_PARAMETERS)
def test_bad_parameters_are_a_clear_error(problem):
    given, text = BAD_PARAMETERS[problem]
    with pytest.raises(ValueError, match=text):
        EMContextFreeGrammar.from_parameters(*given)


@pytest.mark.parametrize("units", [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 0.0], [0.0, 0.0]]])
def test_unit_cycles_of_probability_one_are_refused(units):
    total = 1.0 - np.sum(units, axis=1)
    leafprob = np.where(total > 0, 1.0, 0.0)
    with pytest.raises(ValueError, match=r"unit_rules has a cycle|leafprob is zero in every"):
        EMContextFreeGrammar.from_parameters(
            [0.5, 0.5], np.zeros((2, 2, 2)), leafprob, TWO, unit_rules=units
        )
    near = EMContextFreeGrammar.from_parameters(
        [1.0, 0.0], np.zeros((2, 2, 2)), [0.5, 0.1], TWO, unit_rules=[[0.0, 0.5], [0.9, 0.0]]
    )
    density = np.exp(near.emission_.log_density([[0.3]]))[0]
    chain = np.linalg.inv(np.eye(2) - near.unit_rules_)[0] * [0.5, 0.1]
    assert_allclose(near.log_likelihood([[0.3]]), np.log(chain @ density), rtol=1e-12)


BAD_SETTINGS = {
    "rules_prior": (0.5, "rules_prior=0.5: must be >= 1"),
    "startprob_prior": ([1.0], r"startprob_prior has shape \(1,\): must have one of the shapes"),
    "rules_init": (np.full((2, 2, 2), 0.5), r"rules_init\[0\] sums to 2: must be at most 1"),
    "leafprob_init": ([0.5, 1.5], "leafprob_init has an entry 1.5: must be at most 1"),
    "startprob_init": ([0.5, 0.4], "startprob_init has a row that sums to 0.9"),
    "emission": ("words", "emission='words': must be one of 'gaussian'"),
    "acceleration": ("much", "acceleration='much': must be one of None, 'anderson'"),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_bad_settings_are_a_clear_error(name):
    value, text = BAD_SETTINGS[name]
    with pytest.raises(ValueError, match=text):
        fitting(2, **{name: value}).fit(palindromes(5)[0])


def test_first_values_must_agree():
    with pytest.raises(ValueError, match=r"rules_init\[0\] sums to 0.4 and leafprob_init\[0\] is"):
        fitting(2, rules_init=PAIRS, leafprob_init=[0.5, 0.6]).fit(palindromes(5)[0])
    with pytest.raises(ValueError, match="leafprob_init is zero in every entry: no sentence"):
        fitting(2, rules_init=np.full((2, 2, 2), 0.25)).fit(palindromes(5)[0])


# Draws --------------------------------------------------------------------------------------------


def test_rows_that_are_drawn_are_whole_sentences_but_the_last():
    model = EMContextFreeGrammar.from_rules("S -> A B [1.0]\nA -> 'a' [1.0]\nB -> 'b' [1.0]")
    X, labels = model.sample(5, random_state=0)
    assert_array_equal(X[:, 0], ["a", "b", "a", "b", "a"])
    assert_array_equal(labels, [1, 2, 1, 2, 1])


def test_draws_of_a_grammar_without_an_end():
    model = EMContextFreeGrammar.from_parameters([1.0], [[[0.7]]], [0.3], ONE)
    assert model.sample(20, random_state=0)[0].shape == (20, 1)
    with pytest.raises(ValueError, match=r"n_sentences needs sentences that end: .* becomes 1.4 o"):
        model.sample(n_sentences=2)
    with pytest.raises(ValueError, match="n_sentences=0: must be an integer >= 1"):
        model.sample(n_sentences=0)


# Fitted arrays ------------------------------------------------------------------------------------


def test_fitted_arrays_are_used_when_they_are_set():
    model = known_model(n=2, n_features=1, seed=4)
    X = [np.array([[0.0], [1.0]])]
    before = model.log_likelihood(X)
    model.startprob_ = model.startprob_[::-1].copy()
    assert model.log_likelihood(X) != before
    rules = model.rules_.copy()
    rules[0] = rules[0].sum() * np.array([[1.0, 0.0], [0.0, 0.0]])
    model.rules_ = rules
    assert_array_equal(model.rules_, rules)
    assert model.bic(X) < known_model(n=2, n_features=1, seed=4).bic(X) + 10
    with pytest.raises(ValueError, match=r"rules_\[0\] sums to .* must sum to 1"):
        model.rules_ = rules / 2
    with pytest.raises(ValueError, match="read-only"):
        model.leafprob_[0] = 1.0
    with pytest.raises(AttributeError, match="rules_ cannot be set before fit; EMContextFreeGramm"):
        EMContextFreeGrammar().rules_ = rules


def test_brackets_that_no_tree_has_are_named_with_their_remedy():
    rules = [[[0.0, 0.5], [0.0, 0.0]], [[0.0, 0.0], [0.0, 0.0]]]  # S → S A: to the left alone
    grammar = EMContextFreeGrammar(2, startprob_init=[1, 0], rules_init=rules, random_state=0)
    text = "sentence 1 .* no tree with its brackets has its 3 rows .* remove some of the brackets"
    with pytest.raises(ValueError, match=text):
        grammar.fit([[[0], [1]], [[0], [1], [0]]], brackets=[None, [(1, 2)]])
