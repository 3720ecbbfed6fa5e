r"""Trees over the rows of a sentence, immutable.

A tree is one tuple of nodes in preorder. A node is (label, first, last, size, word): size is the
number of nodes below and including it, and a word without a label of its own has the label None. A
subtree is a position in this tuple. Hence nothing here recurses, and trees may be as deep as
sentences are long: no limit of recursion is met by printing, comparing, hashing, pickling or
copying them.
"""

import re
from numbers import Integral

import numpy as np

_TOKEN = re.compile(r"[()]|(?:\\[\\\s()]|[^\s()])+")
# Names of the brackets in treebanks; a backslash protects them, whitespace and itself.
_BRACKETS = {"(": "-LRB-", ")": "-RRB-"}
_NAMES = {name: bracket for bracket, name in _BRACKETS.items()}
_LABEL, _FIRST, _LAST, _SIZE, _WORD = range(5)  # of a node
_WRITTEN = re.compile(r"[()]|\\|\s|-LRB-|-RRB-")
_READ = re.compile(r"\\([\\\s()]|-LRB-|-RRB-)|(-LRB-|-RRB-)")


class Tree:
    """A tree over the rows of a sentence, immutable.

    Trees are equal if all their nodes are: labels, rows and words. They can be keys of a dict.

    Parameters
    ----------
    label : str or int
        The nonterminal of the root. A str without whitespace or brackets, or the index of a
        nonterminal that has no name; a str of digits is taken for an index.
    children : sequence of Tree or str, default=()
        The children, from left to right; a str is a word without a label of its own. They are moved
        to consecutive rows. None make the tree a leaf.
    first : int, default=0
        The first row of the tree.
    word : str, default=None
        The word of a leaf; None if the row is no word, as for vectors.

    Attributes
    ----------
    label : str, int or None
        The nonterminal of the root; None for a word without a label of its own.
    first : int
        The first row, counted from 0 in the sentence.
    last : int
        The last row, which belongs to the tree.
    word : str or None
        The word of a leaf, if it is known.
    children : tuple of Tree
        The children; empty for a leaf.

    See Also
    --------
    skvae.inspection.TreeDisplay : Picture of a tree.

    Examples
    --------
    >>> from skvae.grammar import Tree
    >>> tree = Tree("S", [Tree("NP", word="I"), Tree("VP", [Tree("V", word="saw"), "it"])])
    >>> print(tree)
    (S (NP I) (VP (V saw) it))
    >>> [(child.label, child.first, child.last) for child in tree.children]
    [('NP', 0, 0), ('VP', 1, 2)]
    """

    __slots__ = ("_index", "_nodes")
    _nodes: tuple  # in preorder
    _index: int  # the place of the root in it

    def __init__(self, label, children=(), *, first=0, word=None):
        if isinstance(children, str | Tree):
            raise ValueError(f"children={children!r} must be a sequence of trees and words.")
        if not isinstance(first, Integral) or first < 0:
            raise ValueError(f"first={first!r} must be an int, at least 0.")
        if word is not None:
            _check_word(word)
        nodes, last = [], int(first)
        for child in children:
            if isinstance(child, str):
                child = _of(((None, 0, 0, 1, _check_word(child)),))
            elif not isinstance(child, Tree):
                raise ValueError(f"children={children!r}: {child!r} is neither a Tree nor a str.")
            moved = last - child.first
            nodes += [(k, i + moved, j + moved, *rest) for k, i, j, *rest in child._own()]
            last = nodes[-1][_LAST] + 1
        if nodes and word is not None:
            raise ValueError(f"word={word!r}: a tree with children has no word of its own.")
        label, first = checked_label(label), int(first)
        root = label, first, max(last - 1, first), len(nodes) + 1, word
        nodes = _with_words_in_leaves([root, *nodes])
        object.__setattr__(self, "_nodes", tuple(nodes))
        object.__setattr__(self, "_index", 0)

    @classmethod
    def from_string(cls, text):
        r"""Return the tree that a bracketed string describes, as in treebanks.

        Parameters
        ----------
        text : str
            Each constituent is ``(label child child ...)``, a child being another constituent or a
            word. ``-LRB-`` and ``-RRB-`` in a word are its brackets; a backslash before these
            names, before whitespace, a bracket or a backslash makes it a part of the word. A label
            of digits is an int. One pair of brackets without a label may be around the whole.

        Returns
        -------
        tree : Tree
            Its first row is 0.

        Raises
        ------
        ValueError
            If the text is not one tree; the message has the place.

        Examples
        --------
        >>> from skvae.grammar import Tree
        >>> tree = Tree.from_string("(S (NP I) (VP (V saw) (NP John)))")
        >>> tree.children[1]
        <Tree (VP (V saw) (NP John))>
        """
        return _of(_read(text))

    @classmethod
    def from_nodes(cls, nodes, names=None, words=None):
        """Return the tree of an array of nodes.

        Parameters
        ----------
        nodes : array-like of int, shape (m, 5)
            (label, first, last, left, right) of each node in preorder; left and right are the rows
            of its children in this array, −1 for none.
        names : sequence of (str, int or None), default=None
            The name of each nonterminal, by default its index. A nonterminal whose name is None is
            a part of a longer rule: its children take its place, and if it is a leaf, its word has
            no label.
        words : sequence of str, default=None
            The word of each row of the sentence.

        Returns
        -------
        tree : Tree
            The tree.

        Examples
        --------
        >>> from skvae.grammar import Tree
        >>> nodes = [
        ...     (0, 0, 2, 1, 2),
        ...     (1, 0, 0, -1, -1),
        ...     (2, 1, 2, 3, 4),
        ...     (1, 1, 1, -1, -1),
        ...     (1, 2, 2, -1, -1),
        ... ]
        >>> print(Tree.from_nodes(nodes, ["S", "A", None], ["x", "y", "z"]))
        (S (A x) (A y) (A z))
        """
        rows = np.asarray(nodes).tolist()
        sizes, found = [1] * len(rows), []
        for i in range(len(rows) - 1, -1, -1):  # a node's children come after it
            k, first, last, left, right = rows[i]
            name = k if names is None else names[k]
            if left < 0:
                found.append((name, first, last, 1, None if words is None else words[first]))
                continue
            size = sizes[left] + (sizes[right] if right >= 0 else 0)
            if name is not None:
                size += 1
                found.append((name, first, last, size, None))
            sizes[i] = size
        found.reverse()
        return _of(tuple(found))

    # Reading --------------------------------------------------------------------------------------

    @property
    def label(self):
        """Return the nonterminal of the root."""
        return self._nodes[self._index][_LABEL]

    @property
    def first(self):
        """Return the first row."""
        return self._nodes[self._index][_FIRST]

    @property
    def last(self):
        """Return the last row."""
        return self._nodes[self._index][_LAST]

    @property
    def word(self):
        """Return the word of a leaf, or None."""
        return self._nodes[self._index][_WORD]

    @property
    def children(self):
        """Return the children, from left to right."""
        return tuple(_of(self._nodes, i) for i in _children(self._nodes, self._index))

    def subtrees(self):
        """Return the tree and all trees below it, in preorder.

        Returns
        -------
        subtrees : list of Tree
            One for each node.

        Examples
        --------
        >>> from skvae.grammar import Tree
        >>> tree = Tree.from_string("(S (NP I) (VP (V saw) (NP John)))")
        >>> [subtree.label for subtree in tree.subtrees()]
        ['S', 'NP', 'VP', 'V', 'NP']
        """
        return [_of(self._nodes, i) for i in range(self._index, self._end())]

    def leaves(self):
        """Return the leaves from left to right, one for each row.

        Returns
        -------
        leaves : list of Tree
            Trees without children.

        Examples
        --------
        >>> from skvae.grammar import Tree
        >>> tree = Tree.from_string("(S (NP I) (VP (V saw) (NP John)))")
        >>> [(leaf.label, leaf.word) for leaf in tree.leaves()]
        [('NP', 'I'), ('V', 'saw'), ('NP', 'John')]
        """
        nodes = self._nodes
        return [_of(nodes, i) for i in range(self._index, self._end()) if nodes[i][_SIZE] == 1]

    def spans(self):
        """Return the constituents of two or more rows, as brackets for a fit.

        Returns
        -------
        spans : list of (int, int)
            First and last row of each, in preorder. A constituent with only one child has the rows
            of the child, which are there once.

        Examples
        --------
        >>> from skvae.grammar import Tree
        >>> Tree.from_string("(S (NP I) (VP (V saw) (NP John)))").spans()
        [(0, 2), (1, 2)]
        """
        spans = [(first, last) for _, first, last, *_ in self._own() if last > first]
        return list(dict.fromkeys(spans))

    def _end(self):
        return self._index + self._nodes[self._index][_SIZE]

    def _own(self):
        """Return the nodes of this tree alone, in preorder."""
        return self._nodes[self._index : self._end()]

    # Writing --------------------------------------------------------------------------------------

    def to_string(self, width=None):
        """Return the tree as a bracketed string, which :meth:`from_string` reads.

        Parameters
        ----------
        width : int, default=None
            Constituents that do not fit into lines of this many characters have one line for each
            child. None writes the tree in one line.

        Returns
        -------
        text : str
            The tree. A row without a word is written as its number.

        Examples
        --------
        >>> from skvae.grammar import Tree
        >>> tree = Tree.from_string("(S (NP I) (VP (V saw) (NP John)))")
        >>> print(tree.to_string(width=28))
        (S
          (NP I)
          (VP (V saw) (NP John)))
        """
        nodes = self._own()
        texts = [_text_of(node) for node in nodes]
        lengths = [0] * len(nodes)
        for i in range(len(nodes) - 1, -1, -1):
            inside = sum(1 + lengths[child] for child in _children(nodes, i))
            lengths[i] = len(texts[i]) + inside + (inside > 0)
        parts, ends, flat_until = [], [], 0
        for i, (_, _, _, size, _) in enumerate(nodes):
            indent = 2 * len(ends)
            on_new_line = i >= flat_until
            if on_new_line and (width is None or indent + lengths[i] <= width):
                flat_until = i + size
            separator = "\n" + " " * indent if on_new_line else " "
            parts += [separator if i else "", texts[i]]
            if size > 1:
                ends.append(i + size)
            while ends and ends[-1] == i + 1:
                ends.pop()
                parts.append(")")
        return "".join(parts)

    def __str__(self):
        return self.to_string(width=80)

    def __repr__(self):
        text = self.to_string()
        if len(text) > 60:
            text = text[:56] + " ..."
        return f"<Tree {text}>"

    # A value --------------------------------------------------------------------------------------

    def __eq__(self, other):
        if not isinstance(other, Tree):
            return NotImplemented
        return self._own() == other._own()

    def __hash__(self):
        return hash(self._own())

    def __setattr__(self, name, value):
        raise AttributeError(f"{name} cannot be set: a Tree is immutable")

    def __delattr__(self, name):
        raise AttributeError(f"{name} cannot be deleted: a Tree is immutable")

    def __reduce__(self):
        return _of, (self._own(),)


def _of(nodes, index=0):
    """Return a Tree of checked nodes."""
    tree = object.__new__(Tree)
    object.__setattr__(tree, "_nodes", nodes)
    object.__setattr__(tree, "_index", index)
    return tree


def _children(nodes, i):
    """Yield the indices of the children of a node."""
    end = i + nodes[i][_SIZE]
    i += 1
    while i < end:
        yield i
        i += nodes[i][_SIZE]


def _with_words_in_leaves(nodes):
    """Return the nodes; a constituent whose only child is a word without a label is a leaf."""
    if len(nodes) == 2 and nodes[1][_LABEL] is None:
        return [(*nodes[0][:_SIZE], 1, nodes[1][_WORD])]
    return nodes


def checked_label(label):
    """Return a label as str or int; raise ValueError unless a bracketed string can have it."""
    if isinstance(label, Integral) and not isinstance(label, bool) and label >= 0:
        return int(label)
    if not isinstance(label, str) or not re.fullmatch(r"[^\s()]+", label):
        raise ValueError(
            f"label={label!r} must be a str without whitespace or brackets, or an int, at least 0."
        )
    return int(label) if re.fullmatch(r"0|[1-9][0-9]*", label) else label


def _check_word(word):
    if not isinstance(word, str) or not word:
        raise ValueError(f"word={word!r} must be a str that is not empty.")
    return word


def _text_of(node):
    """Return the text of a leaf, or the beginning of that of another node."""
    label, first, _, size, word = node
    if size > 1:
        return f"({label}"
    word = str(first) if word is None else _WRITTEN.sub(_protected, word)
    return word if label is None else f"({label} {word})"


def _protected(match):
    found = match.group()
    return _BRACKETS.get(found) or "\\" + found


def _plain(match):
    protected, name = match.groups()
    return _NAMES[name] if name else protected


def _read(text):
    """Return the nodes of a bracketed string; raise ValueError unless it is one tree."""
    if not isinstance(text, str):
        raise ValueError(f"text={text!r} must be a str: one tree in brackets.")
    tokens = [(match.group(), match.start()) for match in _TOKEN.finditer(text)]
    if [token for token, _ in (*tokens[:2], *tokens[-2:])] == ["(", "(", ")", ")"]:
        tokens = tokens[1:-1]  # a pair without a label around the whole
    nodes, open_, n_words, begun = [], [], 0, None
    for token, place in tokens:
        if begun is not None:
            if token in ("(", ")"):
                raise _not_a_tree(text, begun, "a bracket without a label")
            open_.append((len(nodes), begun))
            nodes.append((checked_label(token), n_words, n_words, 1, None))
            begun = None
        elif nodes and not open_:
            raise _not_a_tree(text, place, "the tree has ended before the text has,")
        elif token == "(":
            begun = place
        elif not open_:
            raise _not_a_tree(text, place, f"{token!r} is in no bracket")
        elif token == ")":
            i, place = open_.pop()
            if len(nodes) == i + 1:
                raise _not_a_tree(text, place, "a constituent without words")
            nodes[i] = (*nodes[i][:_LAST], n_words - 1, len(nodes) - i, None)
            if len(nodes) == i + 2:
                nodes[i:] = _with_words_in_leaves(nodes[i:])
        else:
            nodes.append((None, n_words, n_words, 1, _READ.sub(_plain, token)))
            n_words += 1
    if open_ or begun is not None:
        place = begun if begun is not None else open_[-1][1]
        raise _not_a_tree(text, place, "a bracket that is never closed")
    if not nodes:
        raise ValueError(f"text={text!r} must be one tree in brackets; it is empty.")
    return tuple(nodes)


def _not_a_tree(text, place, why):
    """Return the error of a text that is not one tree."""
    around = text[max(place - 10, 0) : place + 30]
    return ValueError(f"text must be one tree in brackets: {why} at character {place}, {around!r}.")
