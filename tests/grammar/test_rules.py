"""A grammar from rules as text: values, trees over the rules that were given, and the way back."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMContextFreeGrammar
from skvae.chart import algorithms
from skvae.grammar import Tree
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GaussianEmission,
    PoissonEmission,
    StudentTEmission,
)
from tests.grammar.toys import PROGRAMS, TOY_PCFG1, TOY_PCFG2

TELESCOPE = ["I", "saw", "John", "with", "my", "telescope"]
GRAMMARS = pytest.mark.parametrize(
    "text", [TOY_PCFG1, TOY_PCFG2, PROGRAMS], ids=["toy1", "toy2", "programs"]
)


def _sentences(grammar, n_sentences, longest, seed=0):
    """Return drawn sentences of at most some length, as lists of words."""
    drawn = grammar.sample(n_sentences=n_sentences, random_state=seed)[0]
    return [list(X.ravel()) for X in drawn if len(X) <= longest]


def test_a_sentence_with_two_trees():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
    assert_allclose(grammar.log_likelihood([TELESCOPE]), [-9.527013657778562], rtol=1e-14)
    trees, log_proba = grammar.parse([TELESCOPE])
    assert_allclose(log_proba, [-9.863485894399775], rtol=1e-14)
    assert trees == [
        Tree.from_string(
            "(S (NP I) (VP (V saw) (NP (NP John) (PP (P with) (NP (Det my) (N telescope))))))"
        )
    ]


def test_unit_rules_are_in_trees():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
    trees, log_proba = grammar.parse(["I", "ate"])
    assert str(trees[0]) == "(S (NP I) (VP (V ate)))"
    assert_allclose(log_proba, np.log(0.15 * 0.2 * 0.35), rtol=1e-14)
    assert_allclose(grammar.log_likelihood(["I", "ate"]), log_proba, rtol=1e-14)


def test_cycles_of_unit_rules_are_summed():
    """E → F [.4] and F → E [.25]: E becomes 'x' in 1, 2, 3, … rounds."""
    grammar = EMContextFreeGrammar.from_rules(PROGRAMS)
    words = ["if", "x", "then", "go"]
    trees, log_proba = grammar.parse(words)
    assert str(trees[0]) == "(S if (E (F x)) then (S go))"
    best = 0.4 * 0.75
    assert_allclose(log_proba, np.log(0.3 * best * 0.4), rtol=1e-14)
    total = best / (1 - 0.4 * 0.25)
    assert_allclose(grammar.log_likelihood(words), np.log(0.3 * total * 0.4), rtol=1e-14)


def test_trees_have_the_rules_that_were_given():
    """Longer rules are one node, and words within rules have no label."""
    grammar = EMContextFreeGrammar.from_rules(PROGRAMS)
    rules = {
        "S": {("if", "E", "then", "S"), ("if", "E", "then", "S", "else", "S"), ("print", "E")},
        "E": {("E", "+", "E"), ("(", "E", ")"), ("F",)},
        "F": {("E",)},
    }
    sentences = _sentences(grammar, 60, 40)
    trees, log_proba = grammar.parse(sentences)
    seen = set()
    for tree, words in zip(trees, sentences, strict=True):
        assert [leaf.word for leaf in tree.leaves()] == words
        assert Tree.from_string(str(tree)) == tree
        for node in tree.subtrees():
            if node.children:
                right = tuple(child.label or child.word for child in node.children)
                assert right in rules[node.label]
                seen.add((node.label, right))
    assert len(seen) == 6  # F → E is in no best tree
    assert (log_proba <= grammar.log_likelihood(sentences)).all()


def test_words_and_codes_are_the_same_sentences():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
    codes = np.array([[grammar.terminals_.index(word)] for word in TELESCOPE])
    assert grammar.parse([codes])[0] == grammar.parse([TELESCOPE])[0]
    for method in ("score_samples", "log_likelihood", "predict", "predict_proba"):
        assert_array_equal(getattr(grammar, method)(codes), getattr(grammar, method)(TELESCOPE))
    assert grammar.nonterminals_ == ("S", "NP", "Det", "N", "VP", "V", "PP", "P")


@GRAMMARS
def test_written_rules_are_the_same_model(text):
    grammar = EMContextFreeGrammar.from_rules(text)
    again = EMContextFreeGrammar.from_rules(grammar.to_rules())
    assert again.to_rules() == grammar.to_rules()
    assert again.nonterminals_ == grammar.nonterminals_
    assert again.terminals_ == grammar.terminals_
    sentences = _sentences(grammar, 20, 30)
    for method in ("log_likelihood", "predict"):
        found = getattr(again, method)(sentences)
        for a, b in zip(found, getattr(grammar, method)(sentences), strict=True):
            assert_allclose(a, b, rtol=1e-13)


@GRAMMARS
def test_a_learned_grammar_keeps_its_rules(text):
    """EM changes probabilities: the right sides stay, unit rules and longer ones too."""
    grammar = EMContextFreeGrammar.from_rules(text)
    before = grammar.to_rules(decimals=15)
    sentences = _sentences(grammar, 200, 30)
    bound = grammar.log_likelihood(sentences).sum() / sum(map(len, sentences))
    grammar.set_params(warm_start=True, tol=1e-6).fit(sentences)
    assert (np.diff([bound, *grammar.lower_bounds_]) > -1e-12).all()
    assert grammar.lower_bound_ > bound
    after = grammar.to_rules()
    assert after != before
    again = EMContextFreeGrammar.from_rules(after)
    assert again.nonterminals_ == grammar.nonterminals_
    assert again.terminals_ == grammar.terminals_
    assert_allclose(again.log_likelihood(sentences), grammar.log_likelihood(sentences), rtol=1e-12)
    original = EMContextFreeGrammar.from_rules(text)
    for name in ("rules_", "unit_rules_", "leafprob_", "startprob_"):
        assert (getattr(grammar, name)[getattr(original, name) == 0] == 0).all()


@GRAMMARS
def test_one_step_of_em_is_in_proportion_to_the_gradient(text):
    """New probabilities of choices are p ∂ ln p(X) / ∂p, scaled: unit rules like all others."""
    grammar = EMContextFreeGrammar.from_rules(text)
    sentences = _sentences(grammar, 10, 12)
    codes = [[grammar.terminals_.index(word) for word in words] for words in sentences]
    offsets = np.concatenate([[0], np.cumsum([len(words) for words in codes])])
    with np.errstate(divide="ignore"):
        table = np.log(grammar.emission_.probabilities_[:, 0])
    leaves = table[:, np.concatenate(codes)].T
    given = [grammar.startprob_, grammar.rules_, grammar.leafprob_, grammar.unit_rules_]

    def total(changed):
        return algorithms.log_likelihood_of(algorithms.Rules(*changed), leaves, offsets).sum()

    counts = []
    for place in (1, 2, 3):
        count = np.zeros(given[place].shape)
        for index in np.argwhere(given[place] > 0):
            values = []
            for factor in (1 + 1e-5, 1 - 1e-5):
                changed = [array.copy() for array in given]
                changed[place][tuple(index)] *= factor
                values.append(total(changed))
            count[tuple(index)] = (values[0] - values[1]) / 2e-5
        counts.append(count)
    rules, leafprob, units = counts
    visits = rules.sum(axis=(1, 2)) + leafprob + units.sum(axis=1)
    grammar.set_params(warm_start=True, max_iter=1)
    with pytest.warns(match="converge"):
        grammar.fit(sentences)
    seen = visits > 1e-6
    assert seen.sum() > 3
    for found, count in (
        (grammar.rules_, rules),
        (grammar.unit_rules_, units),
        (grammar.leafprob_, leafprob),
    ):
        expected = count[seen] / visits[seen].reshape(-1, *[1] * (count.ndim - 1))
        assert_allclose(found[seen], expected, rtol=1e-6, atol=1e-8)


def test_rules_of_a_grammar_without_names():
    rng = np.random.default_rng(0)
    sentences = [rng.integers(0, 12, size=(n, 1)) for n in rng.integers(1, 9, size=30)]
    grammar = EMContextFreeGrammar(3, random_state=0).fit(sentences)
    again = EMContextFreeGrammar.from_rules(grammar.to_rules())
    words = [list(map(str, X.ravel())) for X in sentences]
    assert again.terminals_ == tuple(map(str, range(12)))
    for X in (words, sentences):
        assert_allclose(again.log_likelihood(X), grammar.log_likelihood(sentences), rtol=1e-12)
    labels = [node.label for tree in grammar.parse(sentences)[0] for node in tree.leaves()]
    assert_array_equal(labels, np.concatenate(grammar.predict(sentences)))


@GRAMMARS
def test_nltk_finds_the_same_trees_and_probabilities(text):
    nltk = pytest.importorskip("nltk")
    grammar = EMContextFreeGrammar.from_rules(text)
    theirs = nltk.PCFG.fromstring(grammar.to_rules())
    viterbi, chart = nltk.ViterbiParser(theirs), nltk.parse.pchart.InsideChartParser(theirs)
    sentences = _sentences(grammar, 40, 8)[:12]
    assert len(sentences) == 12
    trees, log_proba = grammar.parse(sentences)
    for words, tree, found in zip(sentences, trees, log_proba, strict=True):
        best = next(viterbi.parse(words))
        assert_allclose(found, best.logprob() * np.log(2), rtol=1e-12)
        if text == PROGRAMS:  # nltk does not end on its cycle of unit rules
            continue
        probabilities = sorted(each.prob() for each in chart.parse(words))
        assert_allclose(grammar.log_likelihood(words), np.log(sum(probabilities)), rtol=1e-12)
        if len(probabilities) == 1 or probabilities[-1] > 1.001 * probabilities[-2]:
            assert tree == Tree.from_string(nltk.Tree.convert(best).pformat(margin=1000))


def test_unknown_words():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
    unknown = ["I", "heard", "John"]
    trees, log_proba = grammar.parse([unknown, TELESCOPE])
    assert trees[0] is None
    assert log_proba[0] == -np.inf
    assert grammar.score([unknown, TELESCOPE]) == -np.inf
    with pytest.raises(ValueError, match="sentence 1 has the word 'heard'"):
        grammar.set_params(warm_start=True).fit([TELESCOPE, unknown])


def test_drawn_sentences_have_words_and_trees():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG2)
    sentences, labels = grammar.sample(n_sentences=100, random_state=1)
    assert {word for X in sentences for word in X.ravel()} <= set(grammar.terminals_)
    assert np.isfinite(grammar.log_likelihood(sentences)).all()
    names = {grammar.nonterminals_[k] for k in np.concatenate(labels)}
    assert names <= {"V", "N", "Name", "P", "Det"}


def test_trees_are_brackets():
    """The bound of a sentence with the brackets of one of its two trees is that of this tree."""
    trees = [
        "(S (NP I) (VP (V saw) (NP (NP John) (PP (P with) (NP (Det my) (N telescope))))))",
        "(S (NP I) (VP (VP (V saw) (NP John)) (PP (P with) (NP (Det my) (N telescope)))))",
    ]
    log_best, log_p = -9.863485894399775, -9.527013657778562
    expected = [log_best, np.log(np.exp(log_p) - np.exp(log_best))]
    for tree, log_tree in zip(trees, expected, strict=True):
        grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
        grammar.set_params(warm_start=True, max_iter=0)
        grammar.fit([TELESCOPE], brackets=[Tree.from_string(tree).spans()])
        assert_allclose(grammar.lower_bound_ * len(TELESCOPE), log_tree, rtol=1e-13)


@pytest.mark.parametrize(
    ("emission", "expected"),
    [
        (GaussianEmission("full"), 2 * 2 + 2 * 3),
        (GaussianEmission("tied"), 2 * 2 + 3),
        (GaussianEmission("diag"), 2 * 2 + 2 * 2),
        (GaussianEmission("spherical"), 2 * 2 + 2),
        (StudentTEmission("spherical"), 2 * 2 + 2 + 2),
        (PoissonEmission(), 2 * 2),
        (BernoulliEmission(), 2 * 2),
        (CategoricalEmission(n_categories=3), 2 * 2 * 2),
        (ColumnEmission([("a", PoissonEmission(), 0), ("b", BernoulliEmission(), 1)]), 2 + 2),
    ],
)
def test_criteria_count_the_emissions_of_leaves_alone(emission, expected):
    """A → B C, where only B and C are leaves: one start, no free rule."""
    rng = np.random.default_rng(0)
    X = rng.integers(0, 2, size=(60, 2)).astype(float)
    X[0] = 1 - X[1]
    sentences = list(X.reshape(30, 2, 2))
    rules = np.zeros((3, 3, 3))
    rules[0, 1, 2] = 1.0
    given = {"rules_init": rules, "startprob_init": [1.0, 0.0, 0.0]}
    grammar = EMContextFreeGrammar(3, emission=emission, random_state=0, tol=0.1, **given)
    grammar.fit(sentences)
    log_p = grammar.log_likelihood(sentences).sum()
    assert_allclose(grammar.aic(sentences), -2 * log_p + 2 * expected)
    assert_allclose(grammar.bic(sentences), -2 * log_p + np.log(60) * expected)


def test_criteria_of_given_rules():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
    n_free = (3 - 1) + (3 - 1) + 5 * (10 - 1)  # NP, VP, and the words of five that are leaves
    log_p = grammar.log_likelihood([TELESCOPE])[0]
    assert_allclose(grammar.aic([TELESCOPE]), -2 * log_p + 2 * n_free)
