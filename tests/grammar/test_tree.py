"""Trees: their form, bracketed strings, node arrays, and that they are values."""

import copy
import pickle
import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skvae.grammar import Tree

TEXT = "(S (NP I) (VP (V saw) (NP John)))"
LABELS = st.one_of(
    st.integers(0, 30), st.text(string.ascii_letters + string.digits + "-^<>|$.'", min_size=1)
)
# Brackets, backslashes, whitespace, quotes and the names of brackets, in all neighbourhoods.
WORDS = st.lists(
    st.sampled_from(["(", ")", "\\", " ", "\n", "-LRB-", "-RRB-", "LRB-", "-", "a", "'", '"', "é"]),
    min_size=1,
    max_size=5,
).map("".join)


@st.composite
def trees(draw):
    """Return a tree that grows at its leaves, with unary, binary and n-ary nodes."""
    leaf = st.builds(lambda label, word: Tree(label, word=word), LABELS, WORDS)
    grow = lambda below: st.builds(Tree, LABELS, st.lists(below | WORDS, min_size=1, max_size=4))  # noqa: E731
    return draw(st.recursive(leaf, grow, max_leaves=12))


def test_a_tree_has_labels_rows_words_and_children():
    tree = Tree.from_string(TEXT)
    assert (tree.label, tree.first, tree.last, tree.word) == ("S", 0, 2, None)
    subject, phrase = tree.children
    assert (subject.label, subject.first, subject.last, subject.word) == ("NP", 0, 0, "I")
    assert subject.children == ()
    assert (phrase.label, phrase.first, phrase.last) == ("VP", 1, 2)
    assert [leaf.word for leaf in tree.leaves()] == ["I", "saw", "John"]
    assert [leaf.word for leaf in phrase.leaves()] == ["saw", "John"]
    assert [below.label for below in phrase.subtrees()] == ["VP", "V", "NP"]
    assert tree.spans() == [(0, 2), (1, 2)]
    assert phrase.spans() == [(1, 2)]


def test_a_tree_is_built_from_its_children():
    phrase = Tree("VP", [Tree("V", word="saw"), Tree("NP", word="John")])
    assert Tree("S", [Tree("NP", word="I"), phrase]) == Tree.from_string(TEXT)
    later = Tree("S", [Tree("NP", word="I"), phrase], first=4)
    assert later != Tree.from_string(TEXT)
    assert [(t.first, t.last) for t in later.subtrees()] == [(4, 6), (4, 4), (5, 6), (5, 5), (6, 6)]
    assert Tree("S", later.children) == Tree.from_string(TEXT)


def test_words_without_a_label():
    tree = Tree.from_string("(S if (E x) then (S go))")
    assert [leaf.label for leaf in tree.leaves()] == [None, "E", None, "S"]
    assert tree == Tree("S", ["if", Tree("E", word="x"), "then", Tree("S", ["go"])])
    assert str(tree) == "(S if (E x) then (S go))"
    assert str(tree.children[0]) == "if"


def test_labels_of_digits_are_indices():
    tree = Tree.from_string("(0 (1 7) (10 x) (007 y))")
    assert [below.label for below in tree.subtrees()] == [0, 1, 10, "007"]
    assert Tree("12", word="a") == Tree(np.int64(12), word="a")
    assert type(Tree(np.int64(12)).label) is int


@given(trees())
def test_strings_give_the_tree_back(tree):
    assert Tree.from_string(str(tree)) == tree
    assert Tree.from_string(tree.to_string()) == tree
    assert Tree.from_string(tree.to_string(width=1)) == tree
    assert Tree.from_string(f"( {tree} )") == tree


@given(trees())
def test_the_rows_of_children_follow_each_other(tree):
    for below in tree.subtrees():
        row = below.first
        for child in below.children:
            assert child.first == row
            row = child.last + 1
        if below.children:
            assert row == below.last + 1
    assert [leaf.first for leaf in tree.leaves()] == list(range(tree.last + 1))


@given(trees())
def test_trees_are_values(tree):
    for same in (pickle.loads(pickle.dumps(tree)), copy.copy(tree), copy.deepcopy(tree)):
        assert same == tree
        assert hash(same) == hash(tree)
        assert str(same) == str(tree)
    for below in tree.subtrees():
        assert pickle.loads(pickle.dumps(below)) == below
    assert Tree("X", [tree]) != tree
    assert tree != str(tree)
    assert {tree: 1}[Tree.from_string(str(tree))] == 1


def test_a_tree_is_immutable():
    tree = Tree.from_string(TEXT)
    with pytest.raises(AttributeError, match="label cannot be set: a Tree is immutable"):
        tree.label = "X"
    with pytest.raises(AttributeError, match="colour cannot be set"):
        tree.colour = "red"
    with pytest.raises(AttributeError, match="first cannot be deleted"):
        del tree.first


def test_long_trees_have_several_lines():
    tree = Tree.from_string(
        "(S (NP I) (VP (V saw) (NP (NP John) (PP (P with) (NP (Det my) (N telescope))))))"
    )
    assert tree.to_string() == (
        "(S (NP I) (VP (V saw) (NP (NP John) (PP (P with) (NP (Det my) (N telescope))))))"
    )
    assert tree.to_string(width=50).splitlines() == [
        "(S",
        "  (NP I)",
        "  (VP",
        "    (V saw)",
        "    (NP",
        "      (NP John)",
        "      (PP (P with) (NP (Det my) (N telescope))))))",
    ]
    wide = Tree("S", [Tree("A", word="a" * 30)] * 3)
    assert str(wide).splitlines() == ["(S", *[f"  (A {'a' * 30})"] * 2, f"  (A {'a' * 30}))"]


def test_repr_is_one_short_line():
    assert repr(Tree.from_string(TEXT)) == f"<Tree {TEXT}>"
    long = Tree("S", [Tree("A", word="a")] * 100)
    assert len(repr(long)) == 67
    assert repr(long).endswith("(A a) ...>")


def test_no_depth_is_too_deep():
    """Trees of 5,000 levels are compared, hashed, pickled, copied, written and read."""
    text = "(S (A a) " * 5000 + "(B b)" + ")" * 5000
    tree = Tree.from_string(text)
    assert tree.to_string() == text
    assert Tree.from_string(text) == tree
    assert len({tree, pickle.loads(pickle.dumps(tree)), copy.deepcopy(tree)}) == 1
    assert len(tree.spans()) == 5000
    nodes, names = [], ["S", "A"]
    for i in range(5000):
        nodes += [(0, i, 5000, 2 * i + 1, 2 * i + 2), (1, i, i, -1, -1)]
    nodes.append((1, 5000, 5000, -1, -1))
    assert Tree.from_nodes(nodes, names).leaves()[-1].last == 5000


def test_trees_of_node_arrays():
    nodes = np.array([[1, 0, 2, 1, 2], [0, 0, 0, -1, -1], [1, 1, 2, 3, -1], [0, 1, 2, 4, 5]])
    nodes = np.vstack([nodes, [[2, 1, 1, -1, -1], [2, 2, 2, -1, -1]]])
    tree = Tree.from_nodes(nodes)
    assert str(tree) == "(1 (0 0) (1 (0 (2 1) (2 2))))"
    assert all(leaf.word is None for leaf in tree.leaves())
    named = Tree.from_nodes(nodes, ["A", "S", "B"], ["x", "y", "z"])
    assert str(named) == "(S (A x) (S (A (B y) (B z))))"
    assert named.children[1].children[0].children[1].word == "z"
    assert named.spans() == [(0, 2), (1, 2)]


def test_nonterminals_without_a_name_are_parts_of_longer_rules():
    # S -> 'if' E 'then' S, as S -> 'if' X, X -> E Y, Y -> 'then' S
    nodes = [
        (0, 0, 3, 1, 2),
        (4, 0, 0, -1, -1),
        (2, 1, 3, 3, 4),
        (1, 1, 1, -1, -1),
        (3, 2, 3, 5, 6),
        (5, 2, 2, -1, -1),
        (0, 3, 3, -1, -1),
    ]
    names, words = ["S", "E", None, None, None, None], ["if", "x", "then", "go"]
    tree = Tree.from_nodes(nodes, names, words)
    assert tree == Tree.from_string("(S if (E x) then (S go))")
    assert Tree.from_nodes(nodes, names).to_string() == "(S 0 (E 1) 2 (S 3))"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "text='' must be one tree in brackets; it is empty"),
        (3, "text=3 must be a str"),
        ("S", "'S' is in no bracket at character 0, 'S'"),
        (")", r"'\)' is in no bracket at character 0"),
        ("(S", r"a bracket that is never closed at character 0, '\(S'"),
        ("(S (A a)", "a bracket that is never closed at character 0"),
        ("(S (A a) (", "a bracket that is never closed at character 9"),
        ("(S a))", "the tree has ended before the text has, at character 5"),
        ("(S a) (S b)", "the tree has ended before the text has, at character 6"),
        ("(S (A a) (B))", r"a constituent without words at character 9, '\(S \(A a\) \(B\)\)'"),
        ("(S ())", "a bracket without a label at character 3"),
        ("()", "a bracket without a label at character 0"),
        ("(S ((A a)))", "a bracket without a label at character 3"),
    ],
)
def test_texts_that_are_no_tree(text, message):
    with pytest.raises(ValueError, match=message):
        Tree.from_string(text)


@pytest.mark.parametrize(
    ("args", "options", "message"),
    [
        (("",), {}, "label='' must be a str without whitespace or brackets, or an int"),
        (("A B",), {}, "label='A B' must be"),
        (("A(",), {}, r"label='A\(' must be"),
        ((-1,), {}, "label=-1 must be"),
        ((True,), {}, "label=True must be"),
        ((None,), {}, "label=None must be"),
        (("A", "word"), {}, "children='word' must be a sequence of trees and words"),
        (("A", [3]), {}, r"children=\[3\]: 3 is neither a Tree nor a str"),
        (("A", [""]), {}, "word='' must be a str that is not empty"),
        (("A",), {"word": 3}, "word=3 must be a str"),
        (("A",), {"first": -1}, "first=-1 must be an int, at least 0"),
        (("A", ["a", "b"]), {"word": "c"}, "word='c': a tree with children has no word"),
    ],
)
def test_wrong_arguments(args, options, message):
    with pytest.raises(ValueError, match=message):
        Tree(*args, **options)
