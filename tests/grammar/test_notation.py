"""Rules as text: the arrays they are, texts that are no grammar, and the way back."""

import string

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from skvae.grammar.notation import NamedRules, read_rules, write_rules
from tests.grammar.toys import PROGRAMS, TOY_PCFG1, TOY_PCFG2

WORDS = st.text(string.ascii_letters + "()[]|#->%' ", min_size=1, max_size=4).map(
    lambda word: f'"{word}"' if "'" in word else f"'{word}'"
)


@st.composite
def texts(draw):
    """Return rules of two to five symbols with right sides of one to four symbols and words."""
    symbols = draw(
        st.lists(st.sampled_from(["S", "NP", "VP-x", "7", "A^B", "X.1"]), min_size=2, unique=True)
    )
    lines = []
    for left in symbols:
        # A unit rule leads to a later symbol only, so that there is no cycle.
        later = [(b,) for b in symbols[symbols.index(left) + 1 :]]
        longer = st.lists(st.sampled_from(symbols) | WORDS, min_size=2, max_size=4).map(tuple)
        sides = draw(st.lists(st.sampled_from(later) | longer if later else longer, unique=True))
        sides.append((draw(WORDS),))
        p = np.array(draw(st.lists(st.floats(1e-9, 1), min_size=len(sides), max_size=len(sides))))
        p /= p.sum()
        lines += [
            f"{left} -> {' '.join(b)} [{q!r}]" for b, q in zip(sides, p.tolist(), strict=True)
        ]
    return "\n".join(lines)


def _choices(rules):
    """Return the probabilities of all a nonterminal can do, summed."""
    total = rules.rules.sum(axis=(1, 2)) + rules.leafprob
    return total if rules.units is None else total + rules.units.sum(axis=1)


def _assert_same(found, expected, **tolerance):
    assert found.names == expected.names
    assert found.terminals == expected.terminals
    assert (found.units is None) == (expected.units is None)
    for field in ("startprob", "rules", "units", "leafprob", "emission"):
        if getattr(expected, field) is not None:
            assert_allclose(getattr(found, field), getattr(expected, field), **tolerance)


def test_the_first_toy_grammar():
    rules = read_rules(TOY_PCFG1)
    assert rules.names == ("S", "NP", "Det", "N", "VP", "V", "PP", "P")
    words = ["I", "John", "ate", "man", "my", "saw", "telescope", "the", "under", "with"]
    assert rules.terminals == tuple(words)
    s, np_, det, n, vp, v, pp, p = range(8)
    expected = np.zeros((8, 8, 8))
    expected[s, np_, vp] = expected[pp, p, np_] = 1.0
    expected[np_, det, n], expected[np_, np_, pp] = 0.5, 0.25
    expected[vp, vp, pp], expected[vp, v, np_] = 0.1, 0.7
    assert_array_equal(rules.rules, expected)
    units = np.zeros((8, 8))
    units[vp, v] = 0.2
    assert_array_equal(rules.units, units)
    assert_array_equal(rules.startprob, np.eye(8)[s])
    assert_array_equal(rules.leafprob, [0, 0.25, 1, 1, 0, 1, 0, 1])
    assert_allclose(rules.emission[np_, :2], [0.6, 0.4], rtol=1e-15)
    assert_array_equal(rules.emission[v, [2, 5]], [0.35, 0.65])
    assert_allclose(rules.emission.sum(axis=1), 1.0, rtol=1e-15)


def test_the_second_toy_grammar():
    rules = read_rules(TOY_PCFG2)
    assert rules.names == ("S", "VP", "NP", "PP", "V", "N", "Name", "P", "Det")
    assert len(rules.terminals) == 15
    assert rules.units[1, 4] == 0.4
    assert rules.units[2, 6] == 0.28
    assert rules.rules[1, 1, 3] == 0.01
    assert rules.emission[5, rules.terminals.index("hill")] == 0.5
    assert_allclose(_choices(rules), 1.0, rtol=1e-15)


def test_longer_rules_have_auxiliary_nonterminals():
    rules = read_rules("S -> 'a' S 'b' S [0.3] | S 'b' S [0.1] | 'c' [0.6]")
    # 'a', 'b', and the ends S 'b' S and 'b' S, in the order of their texts: the two rules share.
    assert rules.names == ("S", None, None, None, None)
    s, a, b, b_s, s_b_s = range(5)
    expected = np.zeros((5, 5, 5))
    expected[s, a, s_b_s], expected[s, s, b_s] = 0.3, 0.1
    expected[s_b_s, s, b_s] = expected[b_s, b, s] = 1.0
    assert_array_equal(rules.rules, expected)
    assert_array_equal(rules.leafprob, [0.6, 1, 1, 0, 0])
    assert_array_equal(rules.emission[[s, a, b]], [[0, 0, 1], [1, 0, 0], [0, 1, 0]])
    assert rules.units is None
    assert_array_equal(rules.startprob, [1, 0, 0, 0, 0])


def test_comments_quotes_arrows_and_lines():
    rules = read_rules(PROGRAMS)
    assert rules.names[:3] == ("S", "E", "F")
    assert set(rules.names[3:]) == {None}
    words = ["(", ")", "+", "else", "go", "if", "it's", "print", 'say "x"', "then", "x"]
    assert rules.terminals == tuple(words)
    assert_allclose(_choices(rules), 1.0, rtol=1e-15)
    assert (rules.units[1, 2], rules.units[2, 1]) == (0.4, 0.25)
    same = read_rules("S→'#'[.5]|'|'[5e-1]")
    assert same.terminals == ("#", "|")
    assert_array_equal(same.emission, [[0.5, 0.5]])
    for line in ("S->A[1]\nA->'a'[1]", "S -> A [1] A -> 'a' [1]", "S -> A [1]A->'a'[.5]|'b'[.5]"):
        assert read_rules(line).names == ("S", "A")


def test_the_start_symbol():
    text = "A -> 'a' [1.0]\nS -> A S [0.5] | A [0.5]"
    assert_array_equal(read_rules(text).startprob, [1, 0])
    found = read_rules(f"%start S\n{text}")
    assert_array_equal(found.startprob, [0, 1])
    assert write_rules(found) == f"%start S\n{text}"


def test_sums_within_the_tolerance_become_one():
    rules = read_rules("S -> S S [0.333] | 'a' [0.333] | 'b' [0.333]")
    assert_allclose(rules.rules, 1 / 3, rtol=1e-15)
    assert_allclose(rules.leafprob * rules.emission, [[1 / 3, 1 / 3]], rtol=1e-15)
    with pytest.raises(ValueError, match=r"of S \(line 1\) sum to 0.99: must sum to 1, up to 0.01"):
        read_rules("S -> S S [0.33] | 'a' [0.33] | 'b' [0.33]")


@pytest.mark.parametrize("text", [TOY_PCFG1, TOY_PCFG2, PROGRAMS], ids=["toy1", "toy2", "programs"])
def test_written_rules_are_the_same_grammar(text):
    rules = read_rules(text)
    written = write_rules(rules)
    _assert_same(read_rules(written), rules, rtol=1e-15)
    assert write_rules(read_rules(written)) == written
    assert_array_equal(read_rules(written).rules, rules.rules)
    for decimals in (2, 5):
        rounded = write_rules(rules, decimals)
        _assert_same(read_rules(rounded), rules, rtol=1e-15)
        assert write_rules(read_rules(rounded), decimals) == rounded


def test_written_programs():
    assert write_rules(read_rules(PROGRAMS)).splitlines() == [
        "S -> 'if' E 'then' S [0.3] | 'if' E 'then' S 'else' S [0.1] | 'print' E [0.2]",
        "S -> 'go' [0.4]",
        """E -> E '+' E [0.1] | '(' E ')' [0.1] | F [0.4] | "it's" [0.3] | 'say "x"' [0.1]""",
        "F -> E [0.25] | 'x' [0.75]",
    ]


@given(texts())
def test_reading_and_writing_are_inverse(text):
    rules = read_rules(text)
    assert_allclose(_choices(rules), 1.0, rtol=1e-14)
    assert_allclose(rules.emission.sum(axis=1), 1.0, rtol=1e-14)
    _assert_same(read_rules(write_rules(rules)), rules, rtol=1e-14)


@pytest.mark.parametrize("seed", range(5))
def test_dense_grammars_without_names(seed):
    """Any start probabilities: one more symbol becomes the roots, by unit rules."""
    rng = np.random.default_rng(seed)
    n, n_words = 4, 3
    choices = rng.dirichlet(np.full(n * n + 1 + n, 0.3), size=n)
    rules = NamedRules(
        names=tuple(range(n)),
        terminals=tuple("abc"),
        startprob=rng.dirichlet(np.ones(n)),
        rules=choices[:, : n * n].reshape(n, n, n),
        units=choices[:, n * n + 1 :] if seed % 2 else None,
        leafprob=choices[:, n * n] + (0 if seed % 2 else choices[:, n * n + 1 :].sum(axis=1)),
        emission=rng.dirichlet(np.ones(n_words), size=n),
    )
    found = read_rules(write_rules(rules))
    assert found.names == ("START", *range(n))
    assert_array_equal(found.startprob, np.eye(n + 1)[0])
    assert_allclose(found.units[0, 1:], rules.startprob, rtol=1e-15)
    assert_allclose(found.rules[1:, 1:, 1:], rules.rules, rtol=1e-14)
    assert_allclose(found.units[1:, 1:], 0.0 if rules.units is None else rules.units, rtol=1e-14)
    assert_allclose(found.leafprob[1:], rules.leafprob, rtol=1e-14)
    assert_allclose(found.emission[1:], rules.emission, rtol=1e-13)
    one_root = rules._replace(startprob=np.eye(n)[2])
    assert write_rules(one_root).startswith("%start 2\n")
    _assert_same(read_rules(write_rules(one_root)), one_root, rtol=1e-13)


@pytest.mark.parametrize("seed", range(5))
def test_decimals_sum_to_one(seed):
    rng = np.random.default_rng(seed)
    rules = NamedRules(
        names=("S",),
        terminals=tuple(f"w{i:02d}" for i in range(40)),
        startprob=np.ones(1),
        rules=np.full((1, 1, 1), 0.25),
        units=None,
        leafprob=np.full(1, 0.75),
        emission=rng.dirichlet(np.full(40, 0.2), size=1),
    )
    text = write_rules(rules, 3)
    found = read_rules(text)
    assert_allclose(found.rules, 0.25, rtol=0, atol=1e-3)
    words = np.zeros((1, 40))
    words[:, [int(word[1:]) for word in found.terminals]] = found.leafprob * found.emission
    assert_allclose(words, 0.75 * rules.emission, rtol=0, atol=1e-3)
    assert_allclose(words * 1000, (words * 1000).round(), rtol=1e-12)
    assert 0 < len(found.terminals) < 40  # those of probability 0.000 are left out
    assert write_rules(found, 3) == text


def test_small_probabilities_have_no_exponent():
    """nltk reads none."""
    rules = read_rules("S -> 'a' [1e-20] | 'b' [1.0] | 'c' [1.25e-300]")
    text = write_rules(rules)
    assert text.startswith("S -> 'a' [0.00000000000000000001] | 'b' [1.0]")
    assert "e" not in text
    assert_array_equal(read_rules(text).emission, [[1e-20, 1.0, 1.25e-300]])


def test_words_of_probability_zero_keep_their_codes():
    rules = read_rules("A -> S S [0.5] | 'b' [0.5]\nS -> 'b' [1.0] | 'a' [0.0]")
    assert rules.terminals == ("a", "b")
    text = write_rules(rules)
    assert text == "A -> S S [0.5] | 'b' [0.5] | 'a' [0.0]\nS -> 'b' [1.0]"
    _assert_same(read_rules(text), rules)
    assert write_rules(rules, 1) == "A -> S S [0.5] | 'b' [0.5]\nS -> 'b' [1.0]"


def test_numbers_are_sorted_by_value():
    """Codes as words are in the order of the codes."""
    words = "'10' [.1] | '9' [.2] | 'x' [.3] | '010' [.1] | '0' [.2] | '2' [.1]"
    assert read_rules(f"S -> {words}").terminals == ("0", "2", "9", "10", "010", "x")


def test_auxiliary_nonterminals_with_several_choices_get_names():
    """Parameters may change after reading; rules without names are then rules of their own."""
    rules = read_rules("S -> 'a' S 'b' [0.5] | 'c' [0.5]")
    assert rules.names == ("S", None, None, None)  # 'a', 'b', S 'b'
    changed = rules.rules.copy()
    changed[3, 0, 2], changed[3, 0, 0] = 0.75, 0.25
    text = write_rules(rules._replace(rules=changed))
    assert text == "S -> 'a' X3 [0.5] | 'c' [0.5]\nX3 -> S S [0.25] | S 'b' [0.75]"
    rooted = rules._replace(startprob=np.array([0.5, 0.0, 0.5, 0.0]))
    assert write_rules(rooted).splitlines() == [
        "START -> S [0.5] | X2 [0.5]",
        "S -> 'a' S X2 [0.5] | 'c' [0.5]",
        "X2 -> 'b' [1.0]",
    ]
    endless = rules.rules.copy()
    endless[3] = 0.0
    endless[3, 0, 3] = 1.0
    assert write_rules(rules._replace(rules=endless)).splitlines() == [
        "S -> 'a' X3 [0.5] | 'c' [0.5] | 'b' [0.0]",
        "X3 -> S X3 [1.0]",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (3, "text=3 must be a str: rules such as S -> NP VP"),
        ("# none\n", "text has no rules: it must have some, such as S -> NP VP"),
        ("S", "line 1: 'S' must be a rule such as S -> NP VP"),
        ("\n-> 'a' [1]", "line 2: \"-> 'a' \\[1\\]\" must be a rule"),
        ("| 'a' [1]", "line 1: .* must be a rule such as"),
        ("%stop S", "line 1: '%stop S' must be %start and one symbol"),
        ("%start X\nS -> 'a' [1]", "%start X: X has no rules; it must be a left side"),
        ("\nS -> A 'b' [1]", "line 2: A in S -> A 'b' has no rules; give it some, or put it betw"),
        ("S -> 'a'", r"line 1: S -> 'a' must have a probability after it, such as \[0.5\]"),
        ("S -> 'a' | 'b' [1]", "line 1: S -> 'a' must have a probability"),
        ("S -> 'a' [2]", r"line 1: the probability \[2\] of S -> 'a' must be a number from 0 to 1"),
        ("S -> 'a' [-.1]", r"\[-.1\] of S -> 'a' must be a number from 0"),
        ("S -> 'a' [nan]", r"\[nan\] of S -> 'a' must be a number from 0"),
        ("S -> S 'a' [p]", r"\[p\] of S -> S 'a' must be a number from 0"),
        ("S -> 'a' [.5]\n  | [.5]", "line 2: S has an ε-rule, one without a right side; remove it"),
        ("S -> 'a' [1] |", "line 1: S has an ε-rule"),
        ("S -> ''  [1]", "line 1: S has the empty terminal ''"),
        (
            "S -> 'a' [.5] 'b' [.5]",
            "line 1: \"'b'\" follows 'a' in the rules of S: must be the end",
        ),
        ("S -> 'a' -> 'b' [.5]", "line 1: '->' follows 'a' in the rules of S"),
        ("\n\nS -> 'a [1]", r"line 3: \"'a \[1\]\" is a quote that is never closed"),
        ("S -> f(x) [1]", r"line 1: '\(x\) \[1\]' cannot be read"),
        ("S -> 'a' [.5", r"line 1: '\[.5' cannot be read"),
        (
            "S -> S [.5]\nS -> 'a' [.4]",
            r"of S \(lines 1, 2\) sum to 0.9: must sum to 1, up to 0.01",
        ),
        ("S -> 'a' [.6]\n\nS -> 'a' [.4]", "line 3: S -> 'a' is in line 1 already; give it once"),
        ("S -> S S [1]", "text has no terminals: some right side must have a word between quotes"),
    ],
)
def test_texts_that_are_no_grammar(text, message):
    with pytest.raises(ValueError, match=message):
        read_rules(text)


def test_unit_cycles_of_probability_one():
    text = "S -> A 'x' [1]\nA -> B [.5] | A [.5]\nC -> 'c' [1]\nB -> A [.75] | B [.25]"
    message = r"A -> B, A -> A, B -> A, B -> B \(lines 2, 4\) form a cycle of probability 1"
    with pytest.raises(ValueError, match=message):
        read_rules(text)
    escaping = read_rules(text.replace("B [.25]", "B [.2] | 'b' [.05]"))
    assert np.abs(np.linalg.eigvals(escaping.units)).max() < 1


def test_words_that_cannot_be_written():
    rules = read_rules("S -> 'a' [1]")
    for word in ("'\"", "two\nlines"):
        with pytest.raises(ValueError, match="cannot be written: a word in rules must have one"):
            write_rules(rules._replace(terminals=(word,)))
    with pytest.raises(ValueError, match=r"decimals=0"):
        write_rules(rules, 0)


@pytest.mark.parametrize("text", [TOY_PCFG1, TOY_PCFG2, PROGRAMS], ids=["toy1", "toy2", "programs"])
def test_nltk_reads_written_rules_alike(text):
    nltk = pytest.importorskip("nltk")
    rules = read_rules(text)
    theirs = nltk.PCFG.fromstring(write_rules(rules))
    assert str(theirs.start()) == "S"
    assert {str(p.lhs()) for p in theirs.productions()} == set(rules.names) - {None}
    found = {}
    for production in theirs.productions():
        right = [b if isinstance(b, str) else (str(b),) for b in production.rhs()]
        found[str(production.lhs()), tuple(right)] = production.prob()
    if text != PROGRAMS:  # nltk reads no comments, and no lines that begin with |
        same = nltk.PCFG.fromstring(text)
        assert set(map(str, same.productions())) == set(map(str, theirs.productions()))
    assert found["S", (("NP",), ("VP",)) if text != PROGRAMS else ("print", ("E",))] in (0.2, 1.0)
    assert theirs.is_binarised() == (text != PROGRAMS)
