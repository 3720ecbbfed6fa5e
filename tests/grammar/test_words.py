"""Sentences of words: all forms, missing words, and errors."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from skvae import EMContextFreeGrammar
from skvae.hmm import GaussianEmission
from tests.grammar.toys import PROGRAMS, TOY_PCFG1

WORDS = ["I", "saw", "John", "with", "my", "telescope"]


@pytest.fixture
def grammar():
    return EMContextFreeGrammar.from_rules(TOY_PCFG1)


@pytest.mark.parametrize(
    "form",
    [
        list,
        tuple,
        np.array,
        lambda words: np.array(words)[:, None],
        lambda words: np.array(words, dtype=object),
        pd.Series,
        lambda words: pd.Series(words, dtype="string"),
        lambda words: pd.DataFrame({"word": words}),
        lambda words: [words],
        lambda words: pd.Series([words]),
        lambda words: [np.array(words)],
        lambda words: np.array(words)[None, :, None],
    ],
)
def test_forms_of_a_sentence(grammar, form):
    assert_allclose(grammar.log_likelihood(form(WORDS)), [-9.527013657778562], rtol=1e-14)


def test_several_sentences(grammar):
    sentences = [WORDS, WORDS[:3], ["I", "ate"]]
    expected = np.concatenate([grammar.log_likelihood(words) for words in sentences])
    ragged = np.empty(3, dtype=object)
    ragged[:] = sentences
    for form in (sentences, tuple(sentences), pd.Series(sentences), ragged):
        assert_allclose(grammar.log_likelihood(form), expected, rtol=1e-14)
    flat, groups = np.concatenate(sentences), np.repeat([0, 1, 2], [6, 3, 2])
    assert_allclose(grammar.log_likelihood(flat, groups=groups), expected, rtol=1e-14)
    assert [leaf.word for leaf in grammar.parse(flat, groups=groups)[0][1].leaves()] == WORDS[:3]


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, float("nan")])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_missing_words_are_summed_over(grammar, missing, place):
    words = WORDS[:3].copy()
    every = [[*words[:place], word, *words[place + 1 :]] for word in grammar.terminals_]
    words[place] = missing
    total = np.logaddexp.reduce(grammar.log_likelihood(every))
    assert_allclose(grammar.log_likelihood([words]), total, rtol=1e-13)
    (tree,), _ = grammar.parse(words)
    assert [leaf.word for leaf in tree.leaves()] == [
        None if i == place else word for i, word in enumerate(WORDS[:3])
    ]


def test_missing_sentence_begins_a_list(grammar):
    found = grammar.log_likelihood([[None, np.nan], ["I", "ate"]])
    assert_allclose(found[0], grammar.log_length_proba(2)[1], rtol=1e-13)


def test_trees_of_codes_have_codes_as_words():
    grammar = EMContextFreeGrammar(2, random_state=0, tol=0.1).fit([[[0], [2], [1]], [[1], [2]]])
    tree = grammar.parse([[2], [np.nan], [0]])[0][0]
    assert [leaf.word for leaf in tree.leaves()] == ["2", None, "0"]
    vectors = EMContextFreeGrammar.from_parameters(
        [1.0], [[[0.4]]], [0.6], GaussianEmission.from_parameters([[0.0]], [1.0], "spherical")
    )
    tree = vectors.parse([[0.5], [0.1]])[0][0]
    assert [leaf.word for leaf in tree.leaves()] == [None, None]
    assert str(tree) == "(0 (0 0) (0 1))"


@pytest.mark.parametrize("output", ["default", "pandas"])
def test_transform_of_words(grammar, output):
    codes = [[grammar.terminals_.index(word)] for word in WORDS]
    grammar.set_output(transform=output)
    found, expected = grammar.transform(WORDS), grammar.transform(codes)
    assert type(found) is type(expected)
    assert_array_equal(found, expected)
    assert_array_equal(grammar.transform([WORDS])[0], expected)


@pytest.mark.parametrize(
    ("X", "message"),
    [
        ("I", "X='I' is one str: a sentence must be a list of words"),
        ([["I", 3, "John"]], r"X has the sentence \['I', 3, 'John'\]: the sentences of a grammar"),
        ([WORDS, [1, 2]], r"X has the sentence \[1, 2\]"),
        ([[], WORDS], r"X\[0\] is empty"),
        ([WORDS, []], r"X\[1\] is empty"),
    ],
)
def test_sentences_that_are_none(grammar, X, message):
    for method in ("parse", "score", "transform", "partial_fit"):
        with pytest.raises(ValueError, match=message):
            getattr(grammar, method)(X)


@pytest.mark.parametrize("X", ["I", WORDS, [WORDS], [WORDS, WORDS[:2]], np.array(WORDS)])
def test_words_without_terminals(X):
    message = "X has words, but this grammar has codes 0, 1, … of symbols: pass codes, as sklearn"
    with pytest.raises(ValueError, match=message):
        EMContextFreeGrammar(2).fit(X)
    grammar = EMContextFreeGrammar(1).fit([[0], [1], [1]])
    for method in ("parse", "score", "transform", "partial_fit", "span_proba"):
        with pytest.raises(ValueError, match=message):
            getattr(grammar, method)(X)


def test_a_grammar_of_many_nonterminals_learns_from_few_words():
    """Rules that are given need no more rows than nonterminals, unlike a fit that starts anew."""
    grammar = EMContextFreeGrammar.from_rules(PROGRAMS)
    grammar.set_params(warm_start=True, tol=1e-8).fit([["print", "x"], ["go"]])
    assert grammar.to_rules(decimals=3).splitlines()[0] == "S -> 'print' E [0.5] | 'go' [0.5]"


def test_a_failed_fit_keeps_the_words(grammar):
    with pytest.raises(ValueError, match="categorical column takes codes"):
        grammar.fit([[0.5], [1.0]])
    assert_allclose(grammar.log_likelihood(WORDS), [-9.527013657778562], rtol=1e-14)
    grammar.set_params(n_components=1).fit([[0], [1], [0]])
    assert not hasattr(grammar, "terminals_")
    assert not hasattr(grammar, "nonterminals_")
