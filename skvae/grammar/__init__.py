"""Probabilistic context-free grammars, and trees."""

from skvae.grammar.tree import Tree

__all__ = ["Tree"]
