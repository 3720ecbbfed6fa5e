r"""Rules of a grammar as text, in the notation of nltk.

.. code-block:: text

    S -> NP VP [0.8] | 'go' [0.2]    # the first left side is the start symbol
    NP -> 'I' [.4] | "John" [.6]

A chart needs rules with two nonterminals, unit rules and leaves. Unit rules and leaves are kept as
they are. A longer rule :math:`A \to B\,C\,D\,[p]` becomes :math:`A \to B\,X\,[p]` and
:math:`X \to C\,D\,[1]`, and a terminal within a rule becomes a nonterminal of which it is the only
leaf. These auxiliary nonterminals have no name, one choice, and its probability is 1, so that rules
with the same end can share them. Trees have the same probabilities, and
:meth:`skvae.grammar.Tree.from_nodes` and :func:`write_rules` can put the longer rules together
again.
"""

import re
from itertools import chain
from math import fsum
from numbers import Integral
from typing import NamedTuple

import numpy as np
from scipy.sparse.csgraph import connected_components

from skvae.grammar.tree import checked_label
from skvae.validation import check_number

# Probabilities of a left side may sum to 1 ± this, as in nltk.
_TOLERANCE = 0.01
# A sum that differs from 1 by less is rounded, and no probability is changed.
_ROUNDING = 1e-12
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<end>\#.*|$)
      | (?P<arrow>->|→)
      | (?P<bar>\|)
      | \[(?P<probability>[^\]]*)\]
      | (?P<word>'[^']*'|"[^"]*")
      | (?P<symbol>(?:(?!->)[^\s'"|\[\]()\#→])+)
    )""",
    re.VERBOSE,
)
_EXAMPLE = "S -> NP VP [0.8] | 'go' [0.2]"


class NamedRules(NamedTuple):
    """The rules of a grammar over words, with the names of its nonterminals.

    Parameters
    ----------
    names : tuple of (str, int or None)
        The names of the K nonterminals; None for auxiliary ones, which are parts of longer rules.
    terminals : tuple of str
        The words in the order of their codes.
    startprob : ndarray of shape (K,)
        Probabilities of the nonterminal at the root.
    rules : ndarray of shape (K, K, K)
        Probabilities of A → B C.
    units : ndarray of shape (K, K) or None
        Probabilities of A → B; None where there are no unit rules.
    leafprob : ndarray of shape (K,)
        The probability that a nonterminal is a leaf.
    emission : ndarray of shape (K, n_terminals)
        Probabilities of the words of leaves; equal for a nonterminal that is never a leaf.
    """

    names: tuple
    terminals: tuple
    startprob: np.ndarray
    rules: np.ndarray
    units: np.ndarray | None
    leafprob: np.ndarray
    emission: np.ndarray


class _Word(NamedTuple):
    """A terminal on the right side of a rule."""

    text: str


class _Rule(NamedTuple):
    """One rule as it is written."""

    left: str | int
    right: tuple
    probability: float
    line: int

    def __str__(self):
        return f"{self.left} -> {_side(self.right)}"


# Reading ------------------------------------------------------------------------------------------


def read_rules(text):
    """Return the rules of a text as :class:`NamedRules`.

    Parameters
    ----------
    text : str
        Rules in the notation of nltk. The first left side, or the symbol of a line ``%start S``, is
        the start symbol. Several lines may have the same left side, and a line may have several; a
        line that begins with ``|`` continues the one above, and so does a line after a backslash.
        ``#`` begins a comment.

    Returns
    -------
    rules : NamedRules
        Named nonterminals come first, in the order of their left sides. Words are sorted, numbers
        by value. Probabilities that do not sum to one exactly are divided by their sum.

    Raises
    ------
    ValueError
        If the text is no grammar; the message has the line and the symbol.
    """
    if not isinstance(text, str):
        raise ValueError(f"text={text!r} must be a str: rules such as {_EXAMPLE}.")
    rules, start = _parsed(text)
    if not rules:
        raise ValueError(f"text has no rules: it must have some, such as {_EXAMPLE}.")
    by_left = {}
    for rule in rules:
        by_left.setdefault(rule.left, []).append(rule)
    if start is not None and start not in by_left:
        raise ValueError(f"%start {start}: {start} has no rules; it must be a left side.")
    _check_symbols(rules, by_left)
    totals = {left: _total(left, group) for left, group in by_left.items()}
    found = _filled(rules, totals, next(iter(by_left)) if start is None else start)
    if found.units is not None:
        _check_unit_cycles(found, by_left)
    return found


def _parsed(text):
    """Return the rules of a text, in its order, and the symbol of %start or None."""
    rules, start, left = [], None, None
    for number, line in _lines(text):
        if line.startswith("%"):
            words = line[1:].split()
            if len(words) != 2 or words[0] != "start":
                raise ValueError(f"line {number}: {line!r} must be %start and one symbol.")
            start = checked_label(words[1])
            continue
        tokens = _tokens(line, number)
        if not tokens:
            continue
        for part in _parts(tokens):
            kinds = [kind for kind, _ in part[:2]]
            if kinds == ["symbol", "arrow"]:
                left, part = checked_label(part[0][1]), part[2:]
            elif kinds[0] == "bar" and left is not None:
                part = part[1:]
            else:
                raise ValueError(f"line {number}: {line!r} must be a rule such as {_EXAMPLE}.")
            rules += _alternatives(left, part, number)
    return rules, start


def _parts(tokens):
    """Return the tokens of a line in parts, one for each left side."""
    kinds = [kind for kind, _ in tokens]
    begins = [
        i
        for i in range(1, len(kinds))
        if kinds[i - 1 : i + 2] == ["probability", "symbol", "arrow"]
    ]
    return [tokens[i:j] for i, j in zip([0, *begins], [*begins, None], strict=True)]


def _lines(text):
    """Yield (number, line) of lines that are not empty; a backslash joins a line to the next."""
    begun, first = "", None
    for number, line in enumerate(text.splitlines(), 1):
        line = begun + line.strip()
        first = first or number
        if line.endswith("\\"):
            begun = line[:-1].rstrip() + " "
            continue
        if line and not line.startswith("#"):
            yield first, line
        begun, first = "", None
    if begun.strip():
        yield first, begun.strip()


def _tokens(line, number):
    """Return (kind, text) of the tokens of a line; raise ValueError at one that is none."""
    tokens, place = [], 0
    while True:
        match = _TOKEN.match(line, place)
        if match is None:
            rest = line[place:].strip()
            why = "is a quote that is never closed" if rest[0] in "'\"" else "cannot be read"
            raise ValueError(f"line {number}: {rest!r} {why}.")
        if match.lastgroup == "end":
            return tokens
        tokens.append((match.lastgroup, match[match.lastgroup]))
        place = match.end()


def _alternatives(left, tokens, number):
    """Return the rules of one left side in one line."""
    rules, right, probability = [], [], None
    for kind, text in [*tokens, ("bar", "|")]:
        if kind == "bar":
            rule = _Rule(left, tuple(right), probability, number)
            _check_rule(rule)
            rules.append(rule)
            right, probability = [], None
        elif kind == "arrow" or probability is not None:
            raise ValueError(
                f"line {number}: {text!r} follows {_side(right)} in the rules of {left}: must be "
                "the end of the line, or | and another right side."
            )
        elif kind == "probability":
            probability = _probability(text, left, right, number)
        elif kind == "word":
            if len(text) == 2:
                raise ValueError(
                    f"line {number}: {left} has the empty terminal {text}; words of a sentence are "
                    "not empty."
                )
            right.append(_Word(text[1:-1]))
        else:
            right.append(checked_label(text))
    return rules


def _probability(text, left, right, number):
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0 <= value <= 1:
        raise ValueError(
            f"line {number}: the probability [{text}] of {left} -> {_side(right)} must be a number "
            "from 0 to 1."
        )
    return value


def _check_rule(rule):
    if not rule.right:
        raise ValueError(
            f"line {rule.line}: {rule.left} has an ε-rule, one without a right side; remove it and "
            f"adapt the probabilities of {rule.left}."
        )
    if rule.probability is None:
        raise ValueError(
            f"line {rule.line}: {rule} must have a probability after it, such as [0.5]."
        )


def _check_symbols(rules, by_left):
    """Raise ValueError if a nonterminal has no rules, a rule is there twice, or no word is."""
    lines = {}
    for rule in rules:
        for symbol in rule.right:
            if not isinstance(symbol, _Word) and symbol not in by_left:
                raise ValueError(
                    f"line {rule.line}: {symbol} in {rule} has no rules; give it some, or put it "
                    "between quotes if it is a word."
                )
        before = lines.setdefault((rule.left, rule.right), rule)
        if before is not rule:
            raise ValueError(
                f"line {rule.line}: {rule} is in line {before.line} already; give it once, with "
                "the sum of both probabilities."
            )
    if not any(isinstance(symbol, _Word) for rule in rules for symbol in rule.right):
        raise ValueError("text has no terminals: some right side must have a word between quotes.")


def _total(left, group):
    """Return the number by which the probabilities of one left side are divided."""
    total = fsum(rule.probability for rule in group)
    if abs(total - 1.0) >= _TOLERANCE:
        raise ValueError(
            f"the probabilities of {left} ({_named_lines(group)}) sum to {total:.6g}: must sum to "
            f"1, up to {_TOLERANCE}."
        )
    return 1.0 if abs(total - 1.0) < _ROUNDING else total


def _named_lines(group):
    lines = sorted({rule.line for rule in group})
    return f"line {lines[0]}" if len(lines) == 1 else "lines " + ", ".join(map(str, lines))


def _filled(rules, totals, start):
    """Return the rules as arrays."""
    auxiliary = _auxiliary(rules)
    index = {right: k for k, right in enumerate([*((left,) for left in totals), *auxiliary])}
    words = {b.text for rule in rules for b in rule.right if isinstance(b, _Word)}
    words = sorted(words, key=_order_of_word)
    codes = {word: code for code, word in enumerate(words)}
    choices = [((rule.left,), rule.right, rule.probability / totals[rule.left]) for rule in rules]
    pairs, units, leaves = {}, {}, {}
    for left, right, p in [*choices, *((right, right, 1.0) for right in auxiliary)]:
        k = index[left]
        if len(right) > 1:
            pairs[k, index[right[:1]], index[right[1:]]] = p
        elif isinstance(right[0], _Word):
            leaves[k, codes[right[0].text]] = p
        else:
            units[k, index[right]] = p
    n, n_words = len(index), len(words)
    startprob = np.zeros(n)
    startprob[index[start,]] = 1.0
    leaves = _dense(leaves, (n, n_words))
    leafprob = leaves.sum(axis=1)
    some = leafprob[:, None] > 0
    return NamedRules(
        names=(*totals, *[None] * len(auxiliary)),
        terminals=tuple(words),
        startprob=startprob,
        rules=_dense(pairs, (n, n, n)),
        units=_dense(units, (n, n)) if any(units.values()) else None,
        leafprob=leafprob,
        emission=np.where(some, leaves / np.where(some, leafprob[:, None], 1.0), 1.0 / n_words),
    )


def _order_of_word(word):
    """Return the key by which words are sorted: numbers, which may be codes, come first."""
    return (int(word), "") if re.fullmatch(r"0|[1-9][0-9]*", word) else (np.inf, word)


def _auxiliary(rules):
    """Return the parts of longer rules that become nonterminals, in the order of their texts."""
    found = set()
    for rule in rules:
        n = len(rule.right)
        if n > 1:
            found.update((b,) for b in rule.right if isinstance(b, _Word))
            found.update(rule.right[i:] for i in range(1, n - 1))
    return sorted(found, key=_side)


def _dense(values, shape):
    """Return the array that has the values of a dict at its keys, and zeros elsewhere."""
    array = np.zeros(shape)
    for place, value in values.items():
        array[place] = value
    return array


def _check_unit_cycles(found, by_left):
    """Raise ValueError if unit rules lead back to their left side with probability one."""
    n_parts, part = connected_components(found.units > 0, connection="strong")
    for inside in (np.flatnonzero(part == i) for i in range(n_parts)):
        radius = np.abs(np.linalg.eigvals(found.units[np.ix_(inside, inside)])).max()
        if radius < 1.0 - _ROUNDING:
            continue
        lefts = [found.names[k] for k in inside]
        group = [
            rule
            for left in lefts
            for rule in by_left[left]
            if len(rule.right) == 1 and rule.right[0] in lefts
        ]
        raise ValueError(
            f"the unit rules {', '.join(map(str, group))} ({_named_lines(group)}) form a cycle of "
            "probability 1 (spectral radius of the unit rules), so that trees would not end; lower "
            "their probabilities."
        )


# Writing ------------------------------------------------------------------------------------------


def write_rules(rules, decimals=None):
    """Return rules as a text, which :func:`read_rules` and nltk read.

    Parameters
    ----------
    rules : NamedRules
        The rules. Auxiliary nonterminals that have more than one choice get a name.
    decimals : int, default=None
        Round probabilities to this many decimals, so that those of each left side sum to one; each
        changes by less than a unit of the last decimal, and rules and words of probability zero are
        left out. None writes enough digits for the same values to be read, up to rounding errors.

    Returns
    -------
    text : str
        Left sides are in the order of the nonterminals. If several nonterminals can be at the root,
        one more symbol, the first, has a unit rule for each.

    Raises
    ------
    ValueError
        If ``decimals`` is no int from 1 to 15, or a word cannot be put between quotes.
    """
    if decimals is not None:
        check_number("decimals", decimals, Integral, 1, 15)
    names, sides = _names_and_sides(rules)
    roots = np.flatnonzero(rules.startprob > 0)
    groups, lines = {}, []
    if len(roots) > 1:
        groups[_new_name("START", names)] = [(rules.startprob[k], sides[k]) for k in roots]
    for k, name in enumerate(names):
        if name is not None:
            groups[name] = [(p, _whole(parts, sides)) for p, parts in _choices(rules, k)]
    groups = {left: _numbered(choices, decimals) for left, choices in groups.items()}
    start = next(iter(groups)) if len(roots) > 1 else names[roots[0]]
    written = {b for rights in groups.values() for right in rights for b in right}
    for word in map(_Word, rules.terminals):
        if word not in written and decimals is None:  # codes of the others depend on it
            groups[start][(word,)] = "0.0"
    if start != next(iter(groups)):
        lines.append(f"%start {start}")
    for left, rights in groups.items():
        lines += _lines_of(left, rights)
    return "\n".join(lines)


def _names_and_sides(rules):
    """Return the names of nonterminals, and the right side that each is in the text.

    An auxiliary nonterminal with one choice is that choice; it keeps the name None.
    """
    names = list(rules.names)
    choices = {k: _only_choice(rules, k) for k, name in enumerate(names) if name is None}
    sides = {k: (name,) for k, name in enumerate(names) if name is not None}
    named = [k for k, parts in choices.items() if parts is None]
    while choices:
        for k in named:
            names[k] = _new_name(f"X{k}", names)
            sides[k] = (names[k],)
        choices = {k: parts for k, parts in choices.items() if k not in sides}
        # Each pass finds those that need only those of earlier passes.
        for k, parts in choices.items():
            if all(isinstance(b, _Word) or b in sides for b in parts):
                sides[k] = _whole(parts, sides)
        named = [] if sides.keys() & choices.keys() else list(choices)  # the rest need each other
    return names, sides


def _only_choice(rules, k):
    """Return the choice of a nonterminal that has one only and is not at the root, or None."""
    found = [parts for p, parts in _choices(rules, k) if p > _ROUNDING]
    return found[0] if len(found) == 1 and rules.startprob[k] == 0 else None


def _choices(rules, k):
    """Yield (probability, parts) of the choices of a nonterminal; parts are indices or words."""
    for b, c in np.argwhere(rules.rules[k] > 0).tolist():
        yield rules.rules[k, b, c], (b, c)
    if rules.units is not None:
        for b in np.flatnonzero(rules.units[k] > 0).tolist():
            yield rules.units[k, b], (b,)
    probabilities = rules.leafprob[k] * rules.emission[k]
    for code in np.flatnonzero(probabilities > 0).tolist():
        yield probabilities[code], (_Word(rules.terminals[code]),)


def _whole(parts, sides):
    """Return a right side without auxiliary nonterminals."""
    return tuple(chain.from_iterable([b] if isinstance(b, _Word) else sides[b] for b in parts))


def _new_name(name, taken):
    """Return a name that is not taken."""
    while name in taken:
        name += "_"
    return name


def _numbered(choices, decimals):
    """Return the written probability of each right side, without those that are zero."""
    found = {}
    for p, right in choices:
        found[right] = found.get(right, 0.0) + p
    p = np.array(list(found.values()))
    numbers = _decimal(p) if decimals is None else _rounded(p, decimals)
    return {b: number for b, number in zip(found, numbers, strict=True) if float(number) > 0}


def _lines_of(left, rights):
    """Return the lines of one left side."""
    lines = []
    for right, number in rights.items():
        written = f"{_side(right)} [{number}]"
        if lines and len(lines[-1]) + len(written) + 3 <= 88:
            lines[-1] += f" | {written}"
        else:
            lines.append(f"{left} -> {written}")
    return lines


def _side(right):
    """Return a right side as text."""
    return " ".join(_quoted(b.text) if isinstance(b, _Word) else str(b) for b in right)


def _quoted(word):
    quote = '"' if "'" in word else "'"
    if quote in word or len(word.splitlines()) != 1:
        raise ValueError(
            f"the word {word!r} cannot be written: a word in rules must have one line and no more "
            "than one kind of quotes."
        )
    return f"{quote}{word}{quote}"


def _decimal(probabilities):
    """Return numbers as decimals without exponents, which nltk does not read.

    Of 15 to 17 digits, the fewest are used that are within rounding errors of a number, as the
    products of two probabilities have such errors.
    """
    numbers = []
    for p in probabilities.tolist():
        for digits in (15, 16, 17):
            number = np.format_float_positional(float(f"{p:.{digits - 1}e}"), unique=True, trim="0")
            if abs(float(number) - p) <= 2 * np.spacing(p):
                break
        numbers.append(number)
    return numbers


def _rounded(probabilities, decimals):
    """Return numbers that sum to one, as text with some decimals.

    All are rounded down, and those with the largest remainders get one unit more.
    """
    units = probabilities / probabilities.sum() * 10**decimals
    whole = np.floor(units)
    missing = 10**decimals - int(whole.sum())
    whole[np.argsort(whole - units, kind="stable")[:missing]] += 1
    numbers = [f"{n // 10**decimals}.{n % 10**decimals:0{decimals}d}" for n in whole.astype(int)]
    return [re.sub(r"(?<=\d)0+$", "", number) for number in numbers]
