"""Probabilistic context-free grammars, and trees."""

from skvae.grammar.context_free_grammar import EMContextFreeGrammar
from skvae.grammar.tree import Tree

__all__ = ["EMContextFreeGrammar", "Tree"]
