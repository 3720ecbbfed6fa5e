"""The E step of a grammar, and inference: leaves under an emission, and trees above them.

Sentences are read in blocks of bounded size: the log-densities of a block's rows are one array, and
:mod:`skvae.chart.algorithms` runs over its sentences in several threads.
"""

from contextlib import nullcontext
from typing import NamedTuple

import numpy as np

from skvae.blocks import Sequences, Workers, workers
from skvae.chart import algorithms
from skvae.emissions.reading import EmissionRows
from skvae.grammar.parameters import GrammarStatistics, joined

_BLOCK_ROWS = 16384  # of a block of sentences; a longer sentence is a block of its own
_FEW = 1 << 20  # operations for which the calling thread alone is as fast as several


class Sentences(NamedTuple):
    """Sentences and their brackets.

    Parameters
    ----------
    sequences : Sequences
        The rows of the sentences, and their weights.
    brackets : list of ndarray of int, or None
        The (first, last) rows of the brackets of each sentence, shape (m, 2).
    """

    sequences: Sequences
    brackets: list | None = None

    def weighted(self, weight):
        """Return the sentences with weights of rows, without the sentences of weight zero."""
        brackets = self.brackets
        if weight is not None and brackets is not None:
            used = weight[self.sequences.offsets[:-1]] > 0
            brackets = [pairs for pairs, use in zip(brackets, used, strict=True) if use]
        return Sentences(self.sequences.weighted(weight), brackets)

    def blocks(self):
        """Yield blocks of whole sentences as (first sentence, Sentences)."""
        X, offsets, weight = self.sequences[:3]
        first, n_sentences = 0, len(offsets) - 1
        while first < n_sentences:
            last = int(np.searchsorted(offsets, offsets[first] + _BLOCK_ROWS, side="right")) - 1
            last = min(max(last, first + 1), n_sentences)
            a, b = offsets[first], offsets[last]
            some = Sequences(
                X[a:b], offsets[first : last + 1] - a, None if weight is None else weight[a:b]
            )
            brackets = None if self.brackets is None else self.brackets[first:last]
            yield first, Sentences(some, brackets)
            first = last

    def sentence_weight(self):
        """Return the weight of each sentence, shape (n_sentences,), or None."""
        offsets, weight = self.sequences.offsets, self.sequences.weight
        return None if weight is None else weight[offsets[:-1]]


def threads_for(sequences, n_components):
    """Return :func:`skvae.blocks.workers`; for few rows the calling thread alone."""
    lengths = np.diff(sequences.offsets).astype(np.float64)
    work = (lengths**2 * n_components**2 * (lengths + n_components)).sum()
    if work < _FEW or len(lengths) == 1:
        return nullcontext(Workers(1))
    return workers()


def expect(parameters, sentences, pool, complete=False):
    """Return the GrammarStatistics of sentences and their weighted log-likelihood, in nats.

    Parameters
    ----------
    parameters : GrammarParameters
        The model.
    sentences : Sentences
        The rows, and their brackets.
    pool : Workers
        The threads.
    complete : bool
        Whether it is known that no row has a missing value.
    """
    rules, kernel = parameters.for_chart(), parameters.emission.kernel()
    statistics, log_likelihood = None, 0.0
    for _, block in sentences.blocks():
        rows = EmissionRows(kernel, block.sequences.X, complete)
        found = algorithms.expect(
            rules,
            rows.log_density().T,
            block.sequences.offsets,
            brackets=block.brackets,
            weight=block.sentence_weight(),
            pool=pool,
        )
        choices = joined(found.rules, found.leaves.sum(axis=0), found.units)
        part = GrammarStatistics(found.starts, choices, rows.statistics(found.leaves))
        statistics = part if statistics is None else statistics + part
        log_likelihood += found.log_likelihood
    return statistics, float(log_likelihood)


def infer(algorithm, parameters, sentences, pool=None, complete=False):
    """Return the results of a function of :mod:`skvae.chart.algorithms` for blocks, a list.

    Parameters
    ----------
    algorithm : callable
        The function.
    parameters, sentences, complete
        As for :func:`expect`.
    pool : Workers, optional
        The threads; None is as many as there can be.
    """
    rules, kernel, found = parameters.for_chart(), parameters.emission.kernel(), []
    threads = threads_for(sentences.sequences, len(parameters.startprob))
    with threads if pool is None else nullcontext(pool) as pool:
        for _, block in sentences.blocks():
            rows = EmissionRows(kernel, block.sequences.X, complete)
            options = {} if block.brackets is None else {"brackets": block.brackets}
            given = rules, rows.log_density().T, block.sequences.offsets
            found.append(algorithm(*given, pool=pool, **options))
    return found


def log_likelihoods(parameters, sentences, pool=None, complete=False):
    """Return ln p(x) of each sentence, its length and brackets included, (n_sentences,)."""
    given = parameters, sentences, pool, complete
    return np.concatenate(infer(algorithms.log_likelihood_of, *given))


def log_likelihood_of(parameters, sentences, pool=None, complete=False):
    """Return the weighted log-likelihood of all sentences, in nats."""
    given = parameters, sentences, pool, complete
    found = np.concatenate(infer(algorithms.log_likelihood_of, *given))
    weight = sentences.sentence_weight()
    return float(found.sum() if weight is None else found @ weight)
