"""A tree over a sentence, and the probabilities of all its constituents."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.display import INK, AxesDisplay, probability_text

_INCHES = 0.11  # a character
_LARGEST = 16.0  # width or height of a figure, in inches
_GREY = "#777777"
_MAX_NAMES = 15  # in a legend
_MAX_WRITTEN = 12  # the most rows of a chart with text in it


class TreeDisplay(AxesDisplay):
    """Plot of a tree over a sentence: the words at the bottom, the root on top.

    Make it with :meth:`from_estimator`, or of any tree, also one that is read from a string.

    Parameters
    ----------
    tree : skvae.grammar.Tree
        The tree.
    node_proba : array-like of shape (n_nodes,), default=None
        A probability for each node, in preorder, that is written below its label; NaN is not.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    labels_ : list of matplotlib.text.Text
        The labels of the nodes, in preorder; a word without a label of its own has none.
    words_ : list of matplotlib.text.Text
        The words, or the numbers of rows that are no words.
    probabilities_ : list of matplotlib.text.Text
        The probabilities below the labels; empty if there are none.
    edges_ : matplotlib.collections.LineCollection
        The lines between nodes and their children, and between leaves and their words.

    See Also
    --------
    ChartDisplay : The probabilities of all constituents of a sentence.

    Examples
    --------
    >>> from skvae.grammar import Tree
    >>> from skvae.inspection import TreeDisplay
    >>> display = TreeDisplay(Tree.from_string("(S (NP I) (VP (V saw) (NP John)))")).plot()
    >>> [text.get_text() for text in display.words_]
    ['I', 'saw', 'John']
    """

    def __init__(self, tree, *, node_proba=None):
        self.tree = tree
        self.node_proba = None if node_proba is None else np.asarray(node_proba, dtype=float)

    @classmethod
    def from_estimator(cls, estimator, X, *, span_proba=False, ax=None):
        """Return the plotted most probable tree of a sentence.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``parse``: :class:`skvae.EMContextFreeGrammar`.
        X : array-like of shape (n_samples, n_features), or list of str
            One sentence, as the estimator takes it.
        span_proba : bool, default=False
            Whether to write the posterior probability of each constituent below its label.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : TreeDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If X is not one sentence, or it has probability zero.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> from skvae.inspection import TreeDisplay
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.5] | 'a' [0.5]")
        >>> display = TreeDisplay.from_estimator(grammar, ["a", "a", "a"], span_proba=True)
        >>> sorted(text.get_text() for text in display.probabilities_)
        ['0.50', '1.00', '1.00', '1.00', '1.00']
        """
        check_is_fitted(estimator)
        trees, _ = estimator.parse(X)
        if len(trees) != 1:
            raise ValueError(f"X has {len(trees)} sentences: must be one.")
        tree = trees[0]
        if tree is None:
            raise ValueError("X has probability zero under the grammar, so that it has no tree.")
        proba = None
        if span_proba:
            posterior, index = estimator.span_proba(X), _indices(estimator)
            proba = [
                np.nan
                if node.label is None
                else posterior[node.first, node.last, index[node.label]]
                for node in tree.subtrees()
            ]
        return cls(tree, node_proba=proba).plot(ax)

    def plot(self, ax=None):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : TreeDisplay
            Itself.

        Raises
        ------
        ValueError
            If there are not as many probabilities as nodes.

        Examples
        --------
        >>> from skvae.grammar import Tree
        >>> from skvae.inspection import TreeDisplay
        >>> display = TreeDisplay(Tree.from_string("(S if (E x) then (S go))")).plot()
        >>> [text.get_text() for text in display.labels_]
        ['S', 'E', 'S']
        """
        nodes = self.tree.subtrees()
        proba = self.node_proba
        if proba is not None and proba.shape != (len(nodes),):
            raise ValueError(
                f"node_proba has the shape {proba.shape}: must be ({len(nodes)},), one probability "
                "for each node of the tree."
            )
        places, parents, width = _layout(nodes)
        height = places[0, 1]
        inches = min(_INCHES * width, _LARGEST)
        if ax is not None:
            inches = min(inches, ax.bbox.width / ax.figure.dpi)
        ax = self._set_axes(ax, figsize=(max(inches, 1.6), min(0.55 * (height + 1), _LARGEST)))
        self.labels_, self.words_, self.probabilities_ = [], [], []
        self._draw_edges(places, parents)
        style = {
            "ha": "center",
            "va": "center",
            "color": INK,
            "fontsize": max(10 * inches / (_INCHES * width), 3.0),
            "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1.5},
        }
        for i, (node, place) in enumerate(zip(nodes, places, strict=True)):
            if node.label is not None:
                self.labels_.append(ax.text(*place, str(node.label), **style))
            if not node.children:
                word = str(node.first) if node.word is None else node.word
                self.words_.append(ax.text(place[0], 0, word, **{**style, "style": "italic"}))
            if proba is not None and not np.isnan(proba[i]):
                self._write_probability(places[i], proba[i], style)
        ax.set(xlim=(0, width), ylim=(-0.5, height + 0.5))
        ax.axis("off")
        return self

    def _draw_edges(self, places, parents):
        from matplotlib.collections import LineCollection

        lines = []
        for place, parent, node in zip(places, parents, self.tree.subtrees(), strict=True):
            if parent >= 0:  # straight down from the next level, where other children are beside it
                bend = place[0], places[parent][1] - 1
                lines.append([places[parent], bend, place])
            if node.label is not None and not node.children:
                lines.append([place, (place[0], 0.0)])
        self.edges_ = LineCollection(lines, colors=_GREY, linewidths=0.8, zorder=1)
        self.ax_.add_collection(self.edges_)

    def _write_probability(self, place, value, style):
        size = 0.75 * style["fontsize"]
        style = {**style, "fontsize": size, "color": _GREY, "va": "top"}
        text = self.ax_.annotate(
            probability_text(value),
            place,
            xytext=(0, -0.9 * size),
            textcoords="offset points",
            **style,
        )
        self.probabilities_.append(text)


class ChartDisplay(AxesDisplay):
    """Plot of the probabilities of all constituents of a sentence, as a triangle.

    Make it with :meth:`from_estimator`. Each span of rows is one square: those of single rows are
    at the bottom, above the words, the whole sentence is on top, and a square is above the middle
    of its span. It has the colour of the most probable nonterminal of the span, the stronger the
    more probable this is.

    Parameters
    ----------
    span_proba : array-like of shape (n_samples, n_samples, n_components)
        Entry (i, j, k) is the probability that the rows from i to j are a constituent with label k.
    words : sequence of str, default=None
        The words; by default the numbers of the rows.
    names : sequence of (str, int or None), default=None
        Names of the nonterminals; by default their numbers. None is a part of a longer rule.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    cells_ : matplotlib.collections.PolyCollection
        The squares, in the order of their first and then of their last row.
    texts_ : dict of (int, int) to matplotlib.text.Text
        The name of the most probable nonterminal of a span, and its probability; of a sentence of
        more than 12 rows there are none, but a legend.
    words_ : list of matplotlib.text.Text
        The words.

    See Also
    --------
    TreeDisplay : One tree.

    Examples
    --------
    >>> import numpy as np
    >>> from skvae.inspection import ChartDisplay
    >>> proba = np.zeros((2, 2, 2))
    >>> proba[0, 0, 1] = proba[1, 1, 1] = proba[0, 1, 0] = 1.0
    >>> display = ChartDisplay(proba, words=["a", "b"], names=["S", "A"]).plot()
    >>> display.texts_[0, 1].get_text().split()
    ['S', '1.00']
    """

    def __init__(self, span_proba, *, words=None, names=None):
        self.span_proba = np.asarray(span_proba, dtype=float)
        n_rows, _, n_labels = self.span_proba.shape
        self.words = list(map(str, range(n_rows) if words is None else words))
        self.names = list(range(n_labels) if names is None else names)

    @classmethod
    def from_estimator(cls, estimator, X, *, words=None, label=None, min_probability=0.01, ax=None):
        """Return the plotted probabilities of the constituents of a sentence.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``span_proba``: :class:`skvae.EMContextFreeGrammar`.
        X : array-like of shape (n_samples, n_features), or list of str
            One sentence, as the estimator takes it.
        words : sequence of str, default=None
            The words; by default those of the grammar, or the numbers of the rows.
        label : str or int, default=None
            As in :meth:`plot`.
        min_probability : float, default=0.01
            As in :meth:`plot`.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : ChartDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            If X is not one sentence, or as :meth:`plot` does.
        sklearn.exceptions.NotFittedError
            If the estimator is not fitted.

        Examples
        --------
        >>> from skvae import EMContextFreeGrammar
        >>> from skvae.inspection import ChartDisplay
        >>> grammar = EMContextFreeGrammar.from_rules("S -> S S [0.5] | 'a' [0.5]")
        >>> display = ChartDisplay.from_estimator(grammar, ["a", "a", "a"])
        >>> display.texts_[0, 1].get_text().split()
        ['S', '0.50']
        """
        check_is_fitted(estimator)
        proba = estimator.span_proba(X)
        tree = estimator.parse(X)[0][0] if words is None else None
        if tree is not None and tree.leaves()[0].word is not None:
            words = [leaf.word for leaf in tree.leaves()]
        names = getattr(estimator, "nonterminals_", None)
        display = cls(proba, words=words, names=names)
        return display.plot(ax, label=label, min_probability=min_probability)

    def plot(self, ax=None, *, label=None, min_probability=0.01):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.
        label : str or int, default=None
            Draw the probabilities of this nonterminal alone; None draws the most probable one of
            each span.
        min_probability : float, default=0.01
            Less probable spans have no text.

        Returns
        -------
        display : ChartDisplay
            Itself.

        Raises
        ------
        ValueError
            If `label` is none of the names, or there are not as many words as rows.

        Examples
        --------
        >>> import numpy as np
        >>> from skvae.inspection import ChartDisplay
        >>> proba = np.zeros((2, 2, 2))
        >>> proba[0, 0, 1] = proba[1, 1, 1] = proba[0, 1, 0] = 1.0
        >>> display = ChartDisplay(proba, names=["S", "A"]).plot(label="A")
        >>> sorted(display.texts_)
        [(0, 0), (1, 1)]
        """
        n_rows, _, n_labels = self.span_proba.shape
        for name, found, number in (("words", self.words, n_rows), ("names", self.names, n_labels)):
            if len(found) != number:
                raise ValueError(f"{name}={found!r} must be {number}, as span_proba has.")
        shown = np.arange(n_labels)
        if label is not None:
            if label not in self.names:
                raise ValueError(f"label={label!r} must be one of the names {self.names!r}.")
            shown = np.array([self.names.index(label)])
        first, last = np.triu_indices(n_rows)
        proba = self.span_proba[first, last][:, shown]
        best = shown[proba.argmax(axis=1)]
        proba = np.clip(proba.max(axis=1), 0, 1)
        side = float(np.clip(0.9 + 0.55 * n_rows, 3.0, 9.0))
        ax = self._set_axes(ax, figsize=(side, 0.6 * side + 0.4))
        colors = self._state_colors(n_labels)[best]
        colors[:, 3] = proba
        self._draw_cells((first + last) / 2, (last - first) / 2, colors)
        self.texts_ = {}
        if n_rows <= _MAX_WRITTEN:
            for i in np.flatnonzero(proba >= min_probability):
                self._write_cell(int(first[i]), int(last[i]), best[i], proba[i])
        else:
            likely = proba >= max(min_probability, 0.5)
            self._name_colors(np.unique(best[likely]))
        self.words_ = self._write_words(side / n_rows)
        ax.set(xlim=(-0.6, n_rows - 0.4), ylim=(-1.1, n_rows / 2 + 0.1), aspect="equal")
        ax.axis("off")
        return self

    def _draw_cells(self, x, y, colors):
        from matplotlib.collections import PolyCollection

        corners = np.array([[-0.5, 0.0], [0.0, 0.5], [0.5, 0.0], [0.0, -0.5]])
        squares = np.column_stack([x, y])[:, None] + corners
        self.cells_ = PolyCollection(
            squares, facecolors=colors, edgecolors="#DDDDDD", linewidths=0.5
        )
        self.ax_.add_collection(self.cells_)

    def _write_words(self, inches):
        """Return the words, written below the cells; long ones are inclined."""
        size = float(np.clip(120 * inches / 6, 3, 10))
        long = max(map(len, self.words)) * 0.0085 * size > inches
        style = {"va": "top", "color": INK, "style": "italic", "fontsize": size}
        style |= {"ha": "right", "rotation": 45} if long else {"ha": "center"}
        return [self.ax_.text(i, -0.6, word, **style) for i, word in enumerate(self.words)]

    def _write_cell(self, first, last, k, value):
        style = {"ha": "center", "va": "center", "fontsize": 8, "linespacing": 1.0}
        color = "white" if value > 0.6 else INK
        text = f"{_name(self.names[k])}\n{probability_text(value)}"
        place = (first + last) / 2, (last - first) / 2
        self.texts_[first, last] = self.ax_.text(*place, text, color=color, **style)

    def _name_colors(self, labels):
        from matplotlib.patches import Patch

        colors = self._state_colors(len(self.names))
        patches = [Patch(facecolor=colors[k], label=_name(self.names[k])) for k in labels]
        if len(patches) <= _MAX_NAMES:
            self.ax_.legend(handles=patches, loc="upper left", frameon=False)


def _name(name):
    """Return the name of a nonterminal in a chart; a part of a longer rule has dots."""
    return "…" if name is None else str(name)


def _indices(estimator):
    """Return the index of each label of a tree."""
    n_labels = len(estimator.leafprob_)
    names = getattr(estimator, "nonterminals_", range(n_labels))
    return {name: k for k, name in enumerate(names)}


def _layout(nodes):
    """Return places (n, 2), in characters and levels above the words; parents; and the width.

    A node is above the middle of its first and last child, one level above its highest child. The
    parent of the root is −1.
    """
    n, root = len(nodes), nodes[0]
    parents, open_ = [-1] * n, []
    widths = np.zeros(root.last - root.first + 1)
    for i, node in enumerate(nodes):
        while open_ and nodes[open_[-1]].last < node.first:
            open_.pop()
        if open_:
            parents[i] = open_[-1]
        if node.children:
            open_.append(i)
        if node.first == node.last:
            texts = str(node.label or ""), str(node.first if node.word is None else node.word)
            row = node.first - root.first
            widths[row] = max(widths[row], *map(len, texts))
    widths += 2
    middles = np.cumsum(widths) - widths / 2
    places = np.zeros((n, 2))
    last_child = [None] * n
    for i in range(n - 1, -1, -1):  # children come after their parents, the last one first here
        node, parent = nodes[i], parents[i]
        if not node.children:
            places[i] = middles[node.first - root.first], node.label is not None
        if parent >= 0:
            last_child[parent] = last_child[parent] or i
            places[parent, 0] = (places[i, 0] + places[last_child[parent], 0]) / 2
            places[parent, 1] = max(places[parent, 1], places[i, 1] + 1)
    return places, parents, widths.sum()
