"""The sentences of a batch in groups of similar lengths, computed side by side.

:mod:`skvae.chart.kernels_spans` computes a group with scaled numbers and finds the sentences for
which they may not be exact; :mod:`skvae.chart.log_space` computes these again.
"""

from bisect import bisect_right

import numpy as np

from skvae.blocks import Workers
from skvae.chart import kernels_spans, kernels_trees
from skvae.chart.log_space import Inside, LogGrammar, log, predictive, unit_closure
from skvae.chart.tiles import LANES, tiles_address

_MOST_SIDES = 8  # a vector: all shifts are whole vectors
_CHART_NUMBERS = 1 << 17  # of the chart of a group, as far as it has more than one sentence
_SHORTEST = 0.8  # of the longest sentence of a group
_WORK = 1 << 21  # products for which a chunk of its own is worth a thread
_MOST_CHUNKS = 32


def n_columns_of(n, n_sides):
    """Return the number of columns of a chart: a vector at any split of any span is inside."""
    columns = -(-n * n_sides // LANES) * LANES + LANES
    return columns + LANES if columns % 64 == 0 else columns  # not always the same cache lines


def n_numbers_of(n, n_columns, n_labels, n_rules):
    """Return how many numbers the arrays of a group need."""
    return n_columns * (4 * n * n_labels + 4 * n + n_rules + 2 * n_labels + 6)


class Compact:
    """A grammar with sorted labels: left children first, right children consecutive.

    Parameters
    ----------
    rules : Rules
        The grammar.
    """

    def __init__(self, rules):
        left, right = rules.rules.any(axis=(0, 2)), rules.rules.any(axis=(0, 1))
        n_left, n_right = int(left.sum()), int(right.sum())
        self.labels, self.first_right = np.arange(len(left)), 0
        if n_left < len(left) or n_right < len(left):
            # Only left children, left and right ones, only right ones, no children.
            kind = np.where(left, right, 3 - right)
            self.labels = np.argsort(kind, kind="stable")
            self.first_right = int((kind == 0).sum())
            n_left, n_right = max(n_left, 1), max(n_right, 1)
        self.n_pairs = n_left, n_right
        self.left = self.labels[:n_left]
        self.right = self.labels[self.first_right :][:n_right]
        self.startprob = rules.startprob[self.labels]
        self.leafprob = rules.leafprob[self.labels]
        pairs = rules.rules[self.labels]
        if pairs.shape[1:] != self.n_pairs:
            pairs = pairs[:, self.left[:, None], self.right]
        self.rules = pairs.reshape(len(left), -1)
        self.closure = np.empty((0, 0))
        if rules.units is not None and rules.units.any():
            self.closure = unit_closure(rules.units)[np.ix_(self.labels, self.labels)]

    def given(self):
        """Return the grammar's argument of :func:`skvae.chart.kernels_spans.run`."""
        arrays = self.startprob, self.rules, self.closure
        least = [array[array < kernels_spans.LEAST_RULE] for array in arrays]
        underflow = any(len(small) > 0 and bool(small.any()) for small in least)
        log_leaf = log(self.leafprob)
        return *arrays, log_leaf, self.labels, self.n_pairs, self.first_right, underflow

    def unsorted(self, starts, rules, units):
        """Return counts of roots, rules and unit rules in the order of the grammar."""
        n_labels, labels = len(self.labels), self.labels
        out = [np.zeros((n_labels,) * dimension) for dimension in (1, 3, 2)]
        out[0][labels] = starts
        out[1][np.ix_(labels, self.left, self.right)] = rules.reshape(n_labels, *self.n_pairs)
        if len(units):
            out[2][np.ix_(labels, labels)] = units
        return out


class Batch:
    """Sentences, and their groups; the parameters are those of :mod:`skvae.chart.algorithms`."""

    def __init__(self, rules, log_likelihood, offsets, brackets, pool):
        self.rules, self.compact = rules, Compact(rules)
        self.log_likelihood = np.ascontiguousarray(log_likelihood, dtype=np.float64)
        self.offsets = np.array([0, len(log_likelihood)]) if offsets is None else offsets
        self.brackets, self.pool = brackets, Workers(1) if pool is None else pool
        self._log_grammar = None
        self._plan()

    def _plan(self):
        """Sort the sentences into groups, and the groups into chunks of work."""
        lengths = np.diff(self.offsets)
        if len(lengths) == 1 and lengths[0] > 0:
            self.order, self.chunks = np.zeros(1, dtype=np.int64), (0, 1)
            n = int(lengths[0])
            self.groups = np.array([[0, 1, n, 1, n_columns_of(n, 1)]])
            return
        self.order = np.argsort(-lengths, kind="stable")
        self.order = self.order[: np.count_nonzero(lengths)]
        negative, n_labels = (-lengths[self.order]).tolist(), len(self.compact.labels)
        groups, first = [], 0
        while first < len(negative):
            n = -negative[first]
            sides = _MOST_SIDES
            while sides > 1 and sides * n * n * n_labels > _CHART_NUMBERS:
                sides //= 2
            last = min(first + sides, bisect_right(negative, -_SHORTEST * n, first))
            while sides >= 2 * (last - first):
                sides //= 2
            groups.append((first, last, n, sides, n_columns_of(n, sides)))
            first = last
        self.groups = np.array(groups, dtype=np.int64).reshape(-1, 5)
        n, sides = self.groups[:, 2].astype(float), self.groups[:, 3]
        n_rules = self.compact.rules.shape[1]
        work = np.cumsum(sides * n**2 * n_rules * (n / 3 + n_labels))
        n_chunks = min(_MOST_CHUNKS, int(work[-1] / _WORK) + 1) if len(work) else 0
        ends = np.searchsorted(work, work[-1:] * np.arange(1, n_chunks) / max(n_chunks, 1))
        self.chunks = np.unique(np.concatenate([[0], ends + 1, [len(groups)]]))

    def rows(self, s):
        """Return the rows of a sentence, a slice."""
        return slice(self.offsets[s], self.offsets[s + 1])

    def log_grammar(self):
        """Return the LogGrammar."""
        if self._log_grammar is None:
            self._log_grammar = LogGrammar(self.rules)
        return self._log_grammar

    def log_inside(self, s, *, possible=False):
        """Return the Inside of a sentence in log space, without its impossible rows if needed."""
        brackets = () if self.brackets is None else self.brackets[s]
        log_likelihood = self.log_likelihood[self.rows(s)]
        if possible:
            impossible = np.isneginf(self.log_predictive(s))
            log_likelihood = np.where(impossible[:, None], 0.0, log_likelihood)
        return Inside(self.log_grammar(), log_likelihood, brackets)

    def log_predictive(self, s):
        """Return ln p(x_t | x_1..x_{t−1}, n) of a sentence's rows in log space."""
        return predictive(self.log_grammar(), self.log_likelihood[self.rows(s)])

    def _brackets(self):
        """Return the brackets of all sentences as one array, and the first one of each."""
        if self.brackets is None:
            return np.empty((0, 2), dtype=np.int64), np.empty(0, dtype=np.int64)
        each = [np.asarray(b, dtype=np.int64).reshape(-1, 2) for b in self.brackets]
        ends = np.cumsum([0, *map(len, each)])
        return np.concatenate([np.empty((0, 2), dtype=np.int64), *each]), ends

    def work(self, first, last):
        """Return memory for groups first to last, at a cache line."""
        n_labels, n_rules = self.compact.rules.shape
        n, _, n_columns = self.groups[first:last, 2:].T
        size = int(n_numbers_of(n, n_columns, n_labels, n_rules).max()) + LANES
        spare = self.pool.spare
        memory = spare.pop() if spare else np.empty(0)
        if len(memory) < size:
            memory = np.empty(size)
        return memory

    def run(self, weight, *, outside=False, counts=False, leaves=None, spans=None):
        """Return ln p(x) of the sentences, the numbers of those that are not exact, and counts.

        Parameters
        ----------
        weight : ndarray of shape (n_sentences,)
            The weights of the sentences in the counts.
        outside : bool
            Whether outsides are computed.
        counts : bool
            Whether roots, rules and pairs of labels in unit rules are counted; else these arrays
            are empty.
        leaves, spans : ndarray, default=None
            Filled with the posterior of the leaves' labels times the weight, and that of spans.
        """
        n_sentences, n_labels = len(weight), len(self.compact.labels)
        given, brackets = self.compact.given(), self._brackets()
        log_p, exact = np.full(n_sentences, -np.inf), np.ones(n_sentences, dtype=bool)
        leaves = np.empty((0, n_labels)) if leaves is None else leaves
        spans = np.empty((0, 0, n_labels)) if spans is None else spans
        n = n_labels if counts else 0
        n_units = n if len(self.compact.closure) else 0
        shapes = (n,), (n, self.compact.rules.shape[1]), (n_units, n_units)

        def chunk(first, last):
            a, b = self.chunks[first], self.chunks[last]
            memory = self.work(a, b)
            at = -memory.ctypes.data // 8 % LANES
            starts, *sums = (np.zeros(shape) for shape in shapes)
            kernels_spans.run(
                tiles_address(), self.groups[a:b], self.order, self.offsets, self.log_likelihood,
                given, brackets, weight, memory[at:], outside, log_p, exact, starts, tuple(sums),
                leaves, spans,
            )  # fmt: skip
            self.pool.spare.append(memory)
            return starts, *sums

        total = [np.zeros(shape) for shape in shapes]
        for found in self.pool.map(chunk, len(self.chunks) - 1, 1):
            for array, part in zip(total, found, strict=True):
                array += part
        return log_p, np.flatnonzero(~exact), total

    def predictive(self):
        """Return ln p(x_t | x_1..x_{t−1}, n) of all rows, (n_rows,)."""
        out = np.empty(len(self.log_likelihood))
        exact = np.ones(len(self.offsets) - 1, dtype=bool)
        given = self.compact.given()

        def chunk(first, last):
            a, b = self.chunks[first], self.chunks[last]
            memory = self.work(a, b)
            at = -memory.ctypes.data // 8 % LANES
            kernels_spans.run_predictive(
                tiles_address(), self.groups[a:b], self.order, self.offsets, self.log_likelihood,
                given, memory[at:], out, exact,
            )  # fmt: skip
            self.pool.spare.append(memory)

        list(self.pool.map(chunk, len(self.chunks) - 1, 1))
        for s in np.flatnonzero(~exact):
            out[self.rows(s)] = self.log_predictive(s)
        return out

    def best_trees(self):
        """Return ln p(tree, x) and the nodes of the best tree of each sentence."""
        compact = self.compact
        units = np.empty((0, 0)) if not len(compact.closure) else log(self.rules.units)
        units = units[np.ix_(compact.labels, compact.labels)] if len(units) else units
        chains, following = np.empty_like(units), np.empty(units.shape, dtype=np.int64)
        longest = kernels_trees.fill_best_chains(units, chains, following) if len(units) else 0
        arrays = log(compact.startprob), log(compact.rules), chains, log(compact.leafprob)
        given = *arrays, compact.labels, compact.n_pairs, compact.first_right
        sizes = (2 * np.diff(self.offsets) - 1) * (1 + longest)
        places = np.concatenate([[0], np.cumsum(sizes)])
        nodes = np.empty((places[-1], 5), dtype=np.int64)
        n_nodes, log_p = np.zeros(len(sizes), dtype=np.int64), np.full(len(sizes), -np.inf)
        brackets = self._brackets()

        def chunk(first, last):
            a, b = self.chunks[first], self.chunks[last]
            memory = self.work(a, b)
            at = -memory.ctypes.data // 8 % LANES
            kernels_trees.run_best(
                tiles_address(), self.groups[a:b], self.order, self.offsets, self.log_likelihood,
                given, following, brackets, memory[at:], log_p, nodes, places, n_nodes,
            )  # fmt: skip
            self.pool.spare.append(memory)

        list(self.pool.map(chunk, len(self.chunks) - 1, 1))
        found = zip(places, n_nodes, strict=False)
        return log_p, [nodes[place : place + size].copy() for place, size in found]
