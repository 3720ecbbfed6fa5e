"""Seconds of the most probable tree, against nltk's ViterbiParser."""

import importlib.util
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import report
from benchmarks.grammar.contenders import SKVAE, nltk_parser, one_thread
from benchmarks.grammar.problem import Problem
from benchmarks.suite import Section
from benchmarks.timing import interleave_calls, little_garbage
from skvae import EMContextFreeGrammar

_AGREE = 1e-9  # relative, of probabilities
_SECONDS = 1.0  # of a case's repeated calls; slower calls are made three times
_LONGEST = 12  # words of the sentences drawn from a toy grammar

# The grammars of nltk.parse.viterbi.demo, there local variables.
TOY_1 = """
    S -> NP VP [1.0]
    NP -> Det N [0.5] | NP PP [0.25] | 'John' [0.1] | 'I' [0.15]
    Det -> 'the' [0.8] | 'my' [0.2]
    N -> 'man' [0.5] | 'telescope' [0.5]
    VP -> VP PP [0.1] | V NP [0.7] | V [0.2]
    V -> 'ate' [0.35] | 'saw' [0.65]
    PP -> P NP [1.0]
    P -> 'with' [0.61] | 'under' [0.39]
"""
TOY_2 = """
    S -> NP VP [1.0]
    VP -> V NP [.59] | V [.40] | VP PP [.01]
    NP -> Det N [.41] | Name [.28] | NP PP [.31]
    PP -> P NP [1.0]
    V -> 'saw' [.21] | 'ate' [.51] | 'ran' [.28]
    N -> 'boy' [.11] | 'cookie' [.12] | 'table' [.13] | 'telescope' [.14] | 'hill' [.5]
    Name -> 'Jack' [.52] | 'Bob' [.48]
    P -> 'with' [.61] | 'under' [.39]
    Det -> 'the' [.41] | 'a' [.31] | 'my' [.28]
"""


class Contest(NamedTuple):
    """The same sentences for both parsers.

    Parameters
    ----------
    label : str
        The grammar.
    ours, theirs : object
        A model of skvae and a parser of nltk.
    sentences : sequence
        As skvae takes them, all in one call.
    words : list of list of str
        As nltk takes them.
    """

    label: str
    ours: Any
    theirs: Any
    sentences: Sequence[Any]
    words: list


class Case(NamedTuple):
    contest: Callable[[Any], Contest]
    target: float


def _dense(*sizes):
    def contest(settings):
        problem = Problem(*sizes).sized(settings)
        grammar = problem.start(settings.seed)
        grammar = grammar._replace(startprob=np.eye(problem.n_components)[0])
        X = problem.make(settings.seed)
        words = [[f"w{code}" for code in sentence] for sentence in X]
        sentences = list(X[..., np.newaxis])
        ours, theirs = SKVAE.known(grammar), nltk_parser(grammar)
        return Contest(f"dense, K = {problem.n_components}", ours, theirs, sentences, words)

    return Case(contest, 500)


def _toy(name, text, n_sentences, sentence):
    def contest(settings):
        from nltk import PCFG
        from nltk.parse import ViterbiParser

        model = EMContextFreeGrammar.from_rules(text)
        words = [sentence.split()]
        if n_sentences > 1:
            drawn, _ = model.sample(n_sentences=10 * n_sentences, random_state=settings.seed)
            short = [s for s in drawn if len(s) <= _LONGEST][: 3 if settings.quick else n_sentences]
            words = [list(map(str, np.ravel(s))) for s in short]
        parser = ViterbiParser(PCFG.fromstring(text), max_time=None)
        return Contest(name, model, parser, words, words)

    return Case(contest, 30)


_SENTENCE_1 = "I saw the man with my telescope"
_SENTENCE_2 = "the boy saw Jack with Bob under the table with a telescope"

CASES = {
    "dense-5-8-10": _dense(5, 8, 10),
    "dense-5-12-1": _dense(5, 12, 1),
    "dense-10-8-2": _dense(10, 8, 2),
    "dense-20-6-1": _dense(20, 6, 1),
    "toy1-one": _toy("toy_pcfg1", TOY_1, 1, _SENTENCE_1),
    "toy1-many": _toy("toy_pcfg1", TOY_1, 50, _SENTENCE_1),
    "toy2-one": _toy("toy_pcfg2", TOY_2, 1, _SENTENCE_2),
    "toy2-many": _toy("toy_pcfg2", TOY_2, 50, _SENTENCE_2),
}


def measure(case, settings):
    """Return the row of one grammar; without nltk it is a note."""
    if importlib.util.find_spec("nltk") is None:
        return [["not measured: nltk is not installed", *[report.NOT_APPLICABLE] * 7]]
    label, ours, theirs, sentences, words = case.contest(settings)
    actions = {
        "skvae": lambda: ours.parse(sentences),
        "nltk": lambda: [next(theirs.parse(sentence)) for sentence in words],
    }
    with one_thread(), little_garbage():
        actions["skvae"]()  # compilation
        times, results = interleave_calls(actions, at_least=0.0 if settings.quick else _SECONDS)
    apart = _difference(results)
    ratio = times["nltk"].over(times["skvae"])
    lengths = [len(sentence) for sentence in words]
    row = [label, f"{len(words)}", f"{min(lengths)}–{max(lengths)}"]
    row += [report.duration(spread) for spread in times.values()]
    verdict = report.verdict(ratio.median, settings.judged(case.target), sign="≥", unit="×")
    return [[*row, report.ratio(ratio), verdict, f"{apart:.0e}"]]


def _difference(results):
    """Return the largest relative difference of the best trees' probabilities."""
    ours = np.exp(results["skvae"][1])
    theirs = np.array([tree.prob() for tree in results["nltk"]])
    apart = np.abs(ours / theirs - 1).max()
    if not apart <= _AGREE:
        raise RuntimeError(f"nltk's best trees have probabilities {theirs}, skvae's {ours}.")
    return apart


SECTION = Section(
    name="grammar-parsing",
    title="Context-free grammars: the most probable tree",
    method=(
        "nltk's ViterbiParser, one thread, processor time of a call, the median of several. Dense: "
        "random grammars with all K³ rules and 20 words under each label. toy_pcfg1 and toy_pcfg2 "
        "are the grammars of nltk's demonstration, with its sentence, and with up to 50 "
        f"sentences of at most {_LONGEST} words drawn from the grammar, which skvae parses in one "
        "call. Last column: largest relative difference of the probabilities of the best trees."
    ),
    columns=[
        "grammar",
        "sentences",
        "words",
        "skvae",
        "nltk",
        "nltk / skvae",
        "target",
        "difference",
    ],
    cases=CASES,
    measure=measure,
)
