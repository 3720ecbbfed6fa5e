"""The plots of a tree and of a chart."""

from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.exceptions import NotFittedError

from skvae import EMContextFreeGrammar
from skvae.grammar import Tree
from skvae.inspection import ChartDisplay, TreeDisplay
from tests.grammar.toys import PROGRAMS, TOY_PCFG1

TREE = Tree.from_string("(S if (E (E x) + (E (F y))) then (S go))")
SENTENCE = ["I", "saw", "John", "with", "my", "telescope"]


def _texts(texts):
    return [text.get_text() for text in texts]


def _places(texts):
    return np.array([text.get_position() for text in texts])


def test_words_are_at_the_bottom_and_labels_above_their_children():
    display = TreeDisplay(TREE).plot()
    assert _texts(display.words_) == ["if", "x", "+", "y", "then", "go"]
    assert _texts(display.labels_) == ["S", "E", "E", "E", "F", "S"]
    words, labels = _places(display.words_), _places(display.labels_)
    assert_array_equal(words[:, 1], 0)
    assert (np.diff(words[:, 0]) > 0).all()
    assert_array_equal(labels[:, 1], [4, 3, 1, 2, 1, 1])
    root, phrase, x, y, f, go = labels[:, 0]
    assert_allclose([x, f, y, go], words[[1, 3, 3, 5], 0])
    assert_allclose(phrase, (x + y) / 2)
    assert_allclose(root, (words[0, 0] + go) / 2)
    assert display.probabilities_ == []
    assert display.ax_.figure is display.figure_


def test_edges_lead_to_children_and_words():
    """Each line begins at a node and ends at a child; the last part is vertical."""
    display = TreeDisplay(TREE).plot()
    lines = [path.vertices for path in display.edges_.get_paths()]
    ends = {tuple(end.round(6)) for end in np.array([line[-1] for line in lines])}
    words, labels = _places(display.words_), _places(display.labels_)
    assert ends == {tuple(place.round(6)) for place in [*words, *labels[1:]]}
    begins = {tuple(line[0].round(6)) for line in lines}
    assert begins == {tuple(place.round(6)) for place in labels}
    for line in lines:
        assert (np.diff(line[:, 1]) <= 0).all()
        if len(line) == 3:
            assert line[1, 0] == line[2, 0]
            assert line[1, 1] == line[0, 1] - 1


def test_no_edge_crosses_another():
    tree = Tree.from_string("(S a (A (B (C (D b c) d) e) f) g (E h (F (G i))))")
    display = TreeDisplay(tree).plot()
    parts = [
        (a, b)
        for path in display.edges_.get_paths()
        for a, b in zip(path.vertices[:-1], path.vertices[1:], strict=True)
        if (a != b).any()
    ]

    def side(p, q, r):
        return np.sign((q[0] - p[0]) * (r[1] - p[1]) - (q[1] - p[1]) * (r[0] - p[0]))

    for i, (a, b) in enumerate(parts):
        for c, d in parts[:i]:
            crosses = side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0
            assert not crosses


def test_texts_do_not_overlap():
    tree = Tree("S", [Tree("AVERYLONGLABEL", word="a"), "aratherlongword", Tree("X", word="b")])
    display = TreeDisplay(tree).plot()
    display.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in [*display.words_, *display.labels_]]
    for i, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:i])


def test_rows_that_are_no_words_are_numbers():
    tree = Tree.from_nodes([(1, 0, 1, 1, 2), (0, 0, 0, -1, -1), (0, 1, 1, -1, -1)])
    display = TreeDisplay(tree).plot()
    assert _texts(display.words_) == ["0", "1"]
    assert _texts(display.labels_) == ["1", "0", "0"]


def test_subtrees_and_single_leaves_are_drawn():
    display = TreeDisplay(TREE.children[1]).plot()
    assert _texts(display.words_) == ["x", "+", "y"]
    display = TreeDisplay(Tree("S", word="go")).plot()
    assert (_texts(display.labels_), _texts(display.words_)) == (["S"], ["go"])


def test_probabilities_are_below_labels():
    proba = np.array([1, np.nan, 0.5, 0.001, np.nan, 0.25, 0.999, np.nan, 0.1])
    display = TreeDisplay(TREE, node_proba=proba).plot()
    assert _texts(display.probabilities_) == ["1.00", "0.50", "<.01", "0.25", ">.99", "0.10"]
    assert [text.xy for text in display.probabilities_] == [
        text.get_position() for text in display.labels_
    ]
    with pytest.raises(ValueError, match=r"node_proba has the shape \(2,\): must be \(9,\)"):
        TreeDisplay(TREE, node_proba=[0.5, 0.5]).plot()
    assert len(plt.get_fignums()) == 1


@pytest.mark.parametrize("Display", [TreeDisplay, ChartDisplay])
def test_given_axes_are_used(Display):
    _, ax = plt.subplots()
    shown = TREE if Display is TreeDisplay else np.full((3, 3, 2), 0.5)
    display = Display(shown).plot(ax)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure


def test_texts_are_smaller_in_small_axes():
    tree = Tree("S", [Tree("A", word="word")] * 12)
    _, axes = plt.subplots(1, 3, figsize=(6, 2))
    in_small, alone = TreeDisplay(tree).plot(axes[0]), TreeDisplay(tree).plot()
    in_small.figure_.canvas.draw()
    boxes = [text.get_window_extent() for text in in_small.words_]
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert in_small.words_[0].get_fontsize() < alone.words_[0].get_fontsize() == 10


def test_deep_and_wide_trees_are_drawn():
    deep = Tree.from_string("(S (A a) " * 300 + "(B b)" + ")" * 300)
    display = TreeDisplay(deep).plot()
    assert len(display.labels_) == 601
    assert (display.figure_.get_size_inches() <= 16).all()
    wide = Tree("S", [Tree("A", word="a")] * 300)
    display = TreeDisplay(wide).plot()
    assert display.figure_.get_size_inches()[0] == 16


def test_the_tree_of_an_estimator():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
    display = TreeDisplay.from_estimator(grammar, SENTENCE)
    tree = grammar.parse([SENTENCE])[0][0]
    assert display.tree == tree
    assert _texts(display.words_) == SENTENCE
    assert _texts(display.labels_) == [node.label for node in tree.subtrees()]
    with_proba = TreeDisplay.from_estimator(grammar, SENTENCE, span_proba=True)
    # There are two trees: the telescope is with the seeing, or with John.
    odds = np.exp(-9.863485894399775 + 9.527013657778562)
    expected = {(2, 5): odds, (2, 2): 1.0, (1, 5): 1.0, (0, 5): 1.0}
    for node, proba in zip(tree.subtrees(), with_proba.node_proba, strict=True):
        if (node.first, node.last) in expected:
            assert_allclose(proba, expected[node.first, node.last], rtol=1e-12)


def test_trees_of_longer_rules():
    grammar = EMContextFreeGrammar.from_rules(PROGRAMS)
    words = ["if", "x", "+", "it's", "then", "go", "else", "go"]
    display = TreeDisplay.from_estimator(grammar, words, span_proba=True)
    assert str(display.tree) == "(S if (E (E (F x)) + (E it's)) then (S go) else (S go))"
    assert np.isnan(display.node_proba).sum() == 4
    assert_allclose(np.nanmin(display.node_proba), 0.99, atol=0.01)


def test_wrong_sentences():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
    with pytest.raises(ValueError, match="X has 2 sentences: must be one"):
        TreeDisplay.from_estimator(grammar, [SENTENCE, SENTENCE])
    with pytest.raises(ValueError, match="X has probability zero under the grammar"):
        TreeDisplay.from_estimator(grammar, ["saw", "saw"])
    for Display in (TreeDisplay, ChartDisplay):
        with pytest.raises(NotFittedError):
            Display.from_estimator(EMContextFreeGrammar(), [[0.0]])
    assert plt.get_fignums() == []


def _chart():
    proba = np.zeros((3, 3, 3))
    proba[[0, 1, 2], [0, 1, 2]] = [0.0, 0.9, 0.1]
    proba[0, 1, 0], proba[1, 2, 0] = 0.75, 0.25
    proba[1, 2, 2] = 0.005
    proba[0, 2] = 1.0, 0.0, 0.3
    return proba


def test_cells_are_a_triangle():
    display = ChartDisplay(_chart(), words=["a", "b", "c"], names=["S", "A", None]).plot()
    spans = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)]
    centres = [path.vertices[:4].mean(axis=0) for path in display.cells_.get_paths()]
    assert_allclose(centres, [((i + j) / 2, (j - i) / 2) for i, j in spans])
    colors = mpl.colors.to_rgba_array(["#0072B2", "#D55E00"])
    expected = colors[[1, 0, 0, 1, 0, 1]]
    expected[:, 3] = [0.9, 0.75, 1.0, 0.9, 0.25, 0.9]
    assert_allclose(display.cells_.get_facecolors(), expected)
    assert {span: text.get_text() for span, text in display.texts_.items()} == {
        (0, 0): "A\n0.90",
        (1, 1): "A\n0.90",
        (2, 2): "A\n0.90",
        (0, 1): "S\n0.75",
        (1, 2): "S\n0.25",
        (0, 2): "S\n1.00",
    }
    assert _texts(display.words_) == ["a", "b", "c"]
    assert_array_equal(_places(display.words_)[:, 0], [0, 1, 2])


def test_cells_of_one_label():
    display = ChartDisplay(_chart(), names=["S", "A", None]).plot(label="S", min_probability=0.5)
    assert sorted(display.texts_) == [(0, 1), (0, 2)]
    assert_allclose(display.cells_.get_facecolors()[:, 3], [0, 0.75, 1, 0, 0.25, 0])
    parts = ChartDisplay(_chart()).plot(label=2)
    assert {span: text.get_text() for span, text in parts.texts_.items()} == {
        **{(i, i): "2\n0.10" for i in range(3)},
        (0, 2): "2\n0.30",
    }
    assert _texts(parts.words_) == ["0", "1", "2"]


def test_long_sentences_have_a_legend():
    proba = np.zeros((20, 20, 3))
    proba[np.arange(20), np.arange(20), 1] = 1.0
    proba[0, 19, 2] = 1.0
    display = ChartDisplay(proba, names=["S", "A", None]).plot()
    assert display.texts_ == {}
    assert _texts(display.ax_.get_legend().get_texts()) == ["A", "…"]


def test_the_chart_of_an_estimator():
    grammar = EMContextFreeGrammar.from_rules(TOY_PCFG1)
    display = ChartDisplay.from_estimator(grammar, SENTENCE)
    assert _texts(display.words_) == SENTENCE
    assert_allclose(display.span_proba, grammar.span_proba(SENTENCE))
    assert display.texts_[0, 5].get_text() == "S\n1.00"
    assert display.texts_[1, 2].get_text() == "VP\n0.29"
    assert display.texts_[2, 5].get_text() == "NP\n0.71"
    codes = [[grammar.terminals_.index(word)] for word in SENTENCE]
    named = ChartDisplay.from_estimator(grammar, codes, label="PP")
    assert list(named.texts_) == [(3, 5)]
    assert _texts(named.words_) == SENTENCE
    given = ChartDisplay.from_estimator(grammar, codes, words="abcdef")
    assert _texts(given.words_) == list("abcdef")


def test_wrong_options():
    with pytest.raises(ValueError, match=r"label='X' must be one of the names \['S', 'A', None\]"):
        ChartDisplay(_chart(), names=["S", "A", None]).plot(label="X")
    with pytest.raises(ValueError, match=r"names=\['S'\] must be 3, as span_proba has"):
        ChartDisplay(_chart(), names=["S"]).plot()
    with pytest.raises(ValueError, match=r"words=\['a'\] must be 3, as span_proba has"):
        ChartDisplay(_chart(), words=["a"]).plot()
    assert plt.get_fignums() == []
