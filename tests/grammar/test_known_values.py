"""Known values: closed forms, other models, nltk's grammars, and every tree written out."""

from math import comb

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMContextFreeGrammar, EMHiddenMarkov
from skvae.grammar.parameters import mean_matrix, spectral_radius
from skvae.hmm import CategoricalEmission
from tests.grammar.problems import fitting, known_model, palindromes, sentences_of
from tests.hmm.problems import known_emission, random_chain
from tests.oracles import enumerate_trees
from tests.problems import run

ONE_SYMBOL = CategoricalEmission.from_parameters([[[1.0]]])
TOY = """
S -> NP VP [1.0]
NP -> Det N [0.5] | NP PP [0.25] | 'John' [0.1] | 'I' [0.15]
Det -> 'the' [0.8] | 'my' [0.2]
N -> 'man' [0.5] | 'telescope' [0.5]
VP -> VP PP [0.1] | V NP [0.7] | V [0.2]
V -> 'ate' [0.35] | 'saw' [0.65]
PP -> P NP [1.0]
P -> 'with' [0.61] | 'under' [0.39]
"""


def strings(*lengths):
    return [np.zeros((n, 1)) for n in lengths]


# One nonterminal, one symbol ----------------------------------------------------------------------


@pytest.mark.parametrize("q", [0.5, 0.7, 0.9])
def test_strings_of_one_symbol_have_catalan_probabilities(q):
    model = EMContextFreeGrammar.from_parameters([1.0], [[[1 - q]]], [q], ONE_SYMBOL)
    n = np.arange(1, 31)
    catalan = np.log([comb(2 * m - 2, m - 1) / m for m in n])
    expected = catalan + n * np.log(q) + (n - 1) * np.log(1 - q)
    assert_allclose(model.log_likelihood(strings(*n)), expected, rtol=1e-12)
    assert_allclose(model.log_length_proba(30), expected, rtol=1e-12)
    assert_allclose(model.score(strings(*n)), 0.0, atol=1e-12)  # given the length


@pytest.mark.parametrize("q", [0.1, 0.6, 0.99])
@pytest.mark.parametrize("lengths", [(1, 2, 3), (5, 5, 1, 9), (40,)])
def test_one_step_of_em_lands_on_the_maximum(q, lengths):
    model = run(fitting(1, rules_init=[[[1 - q]]]), strings(*lengths), 1)
    n = np.array(lengths)
    assert_allclose(model.leafprob_, n.sum() / (2 * n - 1).sum(), rtol=1e-12)


@pytest.mark.parametrize("prior", [1.5, 4.0])
def test_a_prior_is_one_of_all_choices_and_part_of_the_bound(prior):
    """Two choices, p ∝ n + a − 1: the leaf is one of them."""
    lengths = np.array([3, 1, 6])
    model = run(fitting(1, rules_prior=prior), strings(*lengths), 2)
    q = (lengths.sum() + prior - 1) / ((2 * lengths - 1).sum() + 2 * (prior - 1))
    assert_allclose(model.leafprob_, q, rtol=1e-12)
    log_prior = (prior - 1) * (np.log(q) + np.log(1 - q))
    expected = (model.log_likelihood(strings(*lengths)).sum() + log_prior) / lengths.sum()
    assert_allclose(model.lower_bound_, expected, rtol=1e-12)


# Other models -------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["categorical", "full", "poisson"])
@pytest.mark.parametrize("n_states", [1, 2, 3])
def test_a_right_linear_grammar_with_an_end_is_a_hidden_markov_model(family, n_states):
    """N_k → L_k N_m with (1 − e) A[k, m], a leaf with e; L_k is the leaf of state k alone."""
    end = 0.2
    start, transmat = random_chain(n_states, seed=n_states)
    emission = known_emission(family, n_states, 2, seed=1)
    chain = EMHiddenMarkov.from_parameters(start, transmat, emission)
    n = n_states
    rules = np.zeros((2 * n, 2 * n, 2 * n))
    rules[np.arange(n)[:, None], n + np.arange(n)[:, None], np.arange(n)] = (1 - end) * transmat
    leafprob = np.concatenate([np.full(n, end), np.ones(n)])
    twice = [np.concatenate([value, value]) for value in _arrays(emission)]
    both = type(emission).from_parameters(*twice)
    grammar = EMContextFreeGrammar.from_parameters([*start, *np.zeros(n)], rules, leafprob, both)
    X = [chain.sample(m, random_state=m)[0] for m in (1, 2, 9, 14)]
    for ours, theirs in zip(grammar.score_samples(X), chain.score_samples(X), strict=True):
        assert_allclose(ours, theirs, rtol=1e-11, atol=1e-12)
    for ours, theirs in zip(grammar.predict_proba(X), chain.predict_proba(X), strict=True):
        assert_allclose(ours[:, :n] + ours[:, n:], theirs, rtol=1e-9, atol=1e-12)
    for ours, theirs in zip(grammar.predict(X), chain.predict(X), strict=True):
        assert_array_equal(ours % n, theirs)
    assert_allclose(grammar.score(X), chain.score(X), rtol=1e-12)
    lengths = np.arange(1, 15)
    expected = np.log(end) + (lengths - 1) * np.log(1 - end)
    assert_allclose(grammar.log_length_proba(14), expected, rtol=1e-12)


def _arrays(emission):
    parameters = emission.parameters()
    if hasattr(emission, "probabilities_"):
        return [emission.probabilities_]
    if hasattr(emission, "rates_"):
        return [emission.rates_]
    return [parameters.means(), emission.covariances_]


def test_nltk_s_toy_grammar():
    """The two readings of a sentence, as nltk's own parsers compute them."""
    grammar = EMContextFreeGrammar.from_rules(TOY)
    sentence = ["I", "saw", "John", "with", "my", "telescope"]
    trees, log_proba = grammar.parse(sentence)
    assert_allclose(grammar.log_likelihood(sentence), -9.527013657778562, rtol=1e-13)
    assert_allclose(log_proba, -9.863485894399775, rtol=1e-13)
    assert str(trees[0]) == (
        "(S (NP I) (VP (V saw) (NP (NP John) (PP (P with) (NP (Det my) (N telescope))))))"
    )
    spans = grammar.span_proba(sentence)
    names = grammar.nonterminals_
    share = np.exp(-9.863485894399775 + 9.527013657778562)
    assert_allclose(spans[2, 5, names.index("NP")], share, rtol=1e-10)
    assert_allclose(spans[1, 2, names.index("VP")], 1 - share, rtol=1e-10)


# Every tree ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["categorical", "full", "poisson"])
# Five rows under chains of unit rules have so many trees that they take two minutes each.
@pytest.mark.parametrize(
    ("n_rows", "units"),
    [(1, None), (2, None), (5, None), (1, "chains"), (2, "chains"), (4, "chains")],
)
def test_answers_are_those_of_all_trees(family, units, n_rows):
    model = known_model(family, 2, seed=n_rows, units=units)
    X = model.emission_.parameters().sample(np.arange(n_rows) % 2, np.random.RandomState(n_rows))
    likelihood = np.exp(model.emission_.log_density(X))
    trees = enumerate_trees(model._parameters().for_chart(), likelihood)
    assert_allclose(model.log_likelihood(X), np.log(float(trees.probability)), rtol=1e-11)
    assert_allclose(model.parse(X)[1], np.log(float(trees.best())), rtol=1e-11)
    posterior = np.zeros((n_rows, 2))
    for (row, label), p in trees.leaf_labels().items():
        posterior[row, label] = p
    assert_allclose(model.predict_proba(X), posterior, rtol=1e-9, atol=1e-12)
    spans = np.zeros((n_rows, n_rows, 2))
    for place, p in trees.spans().items():
        spans[place] = p
    assert_allclose(model.span_proba(X), spans, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("units", [None, "chains"])
@pytest.mark.parametrize("bracketed", [False, True])
def test_a_step_of_em_counts_all_trees(units, bracketed):
    model = known_model(n=2, seed=2, units=units)
    X = [x for x in sentences_of(model, 12, longest=4) if len(x) > 1][:3]
    brackets = [[(0, 1)] for _ in X] if bracketed else None
    n = 2
    counts, starts = np.zeros((n, n * n + 1 + n)), np.zeros(n)
    for x in X:
        likelihood = np.exp(model.emission_.log_density(x))
        given = model._parameters().for_chart(), likelihood, brackets[0] if bracketed else ()
        trees = enumerate_trees(*given)
        for (label, *children), count in trees.rule_counts().items():
            place = n * n  # a leaf
            if len(children) == 2:
                place = n * children[0] + children[1]
            elif children:
                place = n * n + 1 + children[0]
            counts[label, place] += count
        for tree, p in zip(trees.trees, trees.probabilities, strict=True):
            starts[tree.label] += float(p / trees.probability)
    again = run(model.set_params(warm_start=True), X, 1, brackets=brackets)
    expected = counts / counts.sum(axis=1, keepdims=True)
    assert_allclose(again.rules_.reshape(2, 4), expected[:, :4], rtol=1e-9, atol=1e-12)
    assert_allclose(again.leafprob_, expected[:, 4], rtol=1e-9)
    assert_allclose(again.unit_rules_, expected[:, 5:], rtol=1e-9, atol=1e-12)
    assert_allclose(again.startprob_, starts / len(X), rtol=1e-9)


# Learning -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", ["categorical", "gaussian", "poisson"])
@pytest.mark.parametrize("priors", [{}, {"rules_prior": 1.3, "startprob_prior": 2.0}])
@pytest.mark.parametrize("bracketed", [False, True])
def test_em_never_falls(family, priors, bracketed):
    truth = known_model("full" if family == "gaussian" else family, seed=5)
    X = [x for x in sentences_of(truth, 25, longest=7) if len(x) > 1]
    brackets = [[(0, len(x) - 1), (0, len(x) // 2)] for x in X] if bracketed else None
    model = run(fitting(3, emission=family, **priors), X, 25, brackets=brackets)
    assert (np.diff(model.lower_bounds_) > -1e-10).all()
    assert model.lower_bounds_[-1] > model.lower_bounds_[0] + 1e-3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("iterations", [1, 2, 30])
def test_fitted_grammars_are_consistent(seed, iterations):
    """Their sentences end with probability one (Nederhof & Satta, 2006)."""
    X = sentences_of(known_model(seed=seed), 20, longest=8)
    model = run(fitting(4, random_state=seed), X, iterations)
    assert spectral_radius(mean_matrix(model._parameters())) <= 1 + 1e-9


def test_brackets_raise_the_share_of_consistent_spans():
    X, brackets = palindromes(20, longest=4)

    def share(model):
        trees, _ = model.parse(X)
        found = [
            set(pairs) <= set(tree.spans()) for tree, pairs in zip(trees, brackets, strict=True)
        ]
        return np.mean(found)

    without = fitting(5).fit(X)
    bracketed = fitting(5).fit(X, brackets=brackets)
    assert share(bracketed) == 1.0 > share(without)


def test_gaussian_leaves_are_learned():
    """Two kinds of words in nested pairs: the means come back."""
    rng = np.random.default_rng(0)
    depths = np.minimum(rng.geometric(0.5, size=60), 4)
    words = [np.repeat([0.0, 6.0], n)[:, None] for n in depths]
    X = [x + 0.5 * rng.normal(size=x.shape) for x in words]
    model = fitting(4, emission="gaussian").fit(X)
    leaf = np.concatenate(model.predict(X))
    means = model.emission_.means_[leaf, 0]
    assert_allclose(means, np.concatenate(words)[:, 0], atol=0.5)


def test_long_sentences_do_not_underflow():
    model = known_model("full", seed=1)
    X = model.emission_.parameters().sample(np.arange(150) % 3, np.random.RandomState(0))
    log_p = model.log_likelihood(X)
    assert np.isfinite(log_p).all()
    assert log_p < -400
    assert_allclose(model.predict_proba(X).sum(axis=1), 1.0)


def test_draws_score_like_the_data():
    X = sentences_of(known_model("full", seed=1), 300, longest=9)
    model = fitting(2, emission="gaussian").fit(X)
    drawn, _ = model.sample(n_sentences=300, random_state=0)
    given, found = (np.concatenate(model.score_samples(each)) for each in (X, drawn))
    error = np.hypot(*(each.std() / np.sqrt(len(each)) for each in (given, found)))
    assert abs(found.mean() - given.mean()) < 4 * error


@pytest.mark.parametrize("units", [None, "chains"])
def test_draws_have_the_probabilities_of_their_strings(units):
    model = known_model(n=2, n_features=1, seed=3, units=units)
    drawn, labels = model.sample(n_sentences=20_000, random_state=0)
    assert [len(x) for x in drawn] == [len(each) for each in labels]
    found = {}
    for x in drawn:
        if len(x) <= 2:
            key = tuple(x[:, 0])
            found[key] = found.get(key, 0) + 1
    assert len(found) == 4 + 16
    for key, count in found.items():
        p = np.exp(model.log_likelihood(np.array(key)[:, None])[0])
        assert abs(count - 20_000 * p) < 5 * np.sqrt(20_000 * p * (1 - p)) + 1
