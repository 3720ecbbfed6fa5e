"""EMContextFreeGrammar against inside–outside in torch, and against nltk's Viterbi parser."""

from benchmarks.grammar import growth, iteration, memory, parsing, threads

SECTIONS = (
    iteration.SECTION,
    growth.SECTION,
    threads.SECTION,
    memory.SECTION,
    parsing.SECTION,
)
