"""Grammars that several tests have: those of nltk's documentation."""

TOY_PCFG1 = """
    S -> NP VP [1.0]
    NP -> Det N [0.5] | NP PP [0.25] | 'John' [0.1] | 'I' [0.15]
    Det -> 'the' [0.8] | 'my' [0.2]
    N -> 'man' [0.5] | 'telescope' [0.5]
    VP -> VP PP [0.1] | V NP [0.7] | V [0.2]
    V -> 'ate' [0.35] | 'saw' [0.65]
    PP -> P NP [1.0]
    P -> 'with' [0.61] | 'under' [0.39]
"""

TOY_PCFG2 = """
    S    -> NP VP         [1.0]
    VP   -> V NP          [.59]
    VP   -> V             [.40]
    VP   -> VP PP         [.01]
    NP   -> Det N         [.41]
    NP   -> Name          [.28]
    NP   -> NP PP         [.31]
    PP   -> P NP          [1.0]
    V    -> 'saw'         [.21]
    V    -> 'ate'         [.51]
    V    -> 'ran'         [.28]
    N    -> 'boy'         [.11]
    N    -> 'cookie'      [.12]
    N    -> 'table'       [.13]
    N    -> 'telescope'   [.14]
    N    -> 'hill'        [.5]
    Name -> 'Jack'        [.52]
    Name -> 'Bob'         [.48]
    P    -> 'with'        [.61]
    P    -> 'under'       [.39]
    Det  -> 'the'         [.41]
    Det  -> 'a'           [.31]
    Det  -> 'my'          [.28]
"""

# Longer rules, words within rules, two rules with one end, quotes of both kinds, a unit cycle.
PROGRAMS = """
    # statements
    S -> 'if' E 'then' S [.3] | 'if' E 'then' S 'else' S [.1]
       | 'print' E [.2] | 'go' [.4]   # the other way to end
    E -> E '+' E [.1] | '(' E ')' [.1] | "it's" [.3] | 'say "x"' [.1] | F [.4]
    F -> E [.25] | 'x' \\
         [.75]
"""
