"""Docstrings and comments are plain: no riddles in first lines, hardly a "what" anywhere."""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

import skvae

PACKAGE = Path(skvae.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

# Free relatives, and verbs of persons that are said of things.
RIDDLES = re.compile(
    r"\b(what|whatever|whoever|wherever|whichever|whom?)\b"
    r"|\b(its|their) likes?\b|\band the like\b"
    r"|\b(asks?|asked|asking|says?|said|tells?|told|stands?|stood|knows?|feels?|felt)\b",
    re.IGNORECASE,
)
# In scikit-learn, dynamax and zuko between 0 and 1.3 words in 10,000 are "what".
MOST_WHATS = 1.3 / 10_000


def docstrings(source):
    """Return (line, docstring) of a module, its classes and functions, private ones too."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, documented)]
    return [
        (node.body[0].lineno, text)
        for node in nodes
        if (text := ast.get_docstring(node)) is not None
    ]


def riddles(source):
    """Return (line, first line) of the docstrings whose first line is not plain."""
    first_lines = [(line, text.splitlines()[0]) for line, text in docstrings(source)]
    return [(line, first) for line, first in first_lines if RIDDLES.search(first)]


def words(source):
    """Return the words of docstrings, without their examples, and of comments."""
    texts = [
        line
        for _, text in docstrings(source)
        for line in text.splitlines()
        if not line.lstrip().startswith((">>>", "..."))
    ]
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    texts += [token.string for token in tokens if token.type == tokenize.COMMENT]
    return [word.lower() for text in texts for word in re.findall(r"[A-Za-z]+", text)]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_first_lines_are_plain(path):
    assert riddles(path.read_text(encoding="utf-8")) == []


def test_hardly_a_word_is_what():
    found = [word for path in SOURCES for word in words(path.read_text(encoding="utf-8"))]
    assert len(found) > 30_000  # the package was read
    assert found.count("what") <= MOST_WHATS * len(found)


@pytest.mark.parametrize(
    "first_line",
    [
        "What skvae.compare asks of its models before it fits any.",
        "Never waited for: who is interrupted may not have given it back.",
        "Return what scikit-learn's validation says the right thing about.",
        "Check that Y or its like is there.",
        "Return the mean wherever it is.",
        "Return x as it stands.",
        "Set to zero what no posterior could feel.",
        "Return a step that knows its rows.",
        "Return the message that the caller is told.",
    ],
)
def test_a_riddle_is_found(first_line):
    source = f'class A:\n    def _f(x):\n        """{first_line}\n\n        Plain.\n        """\n'
    assert riddles(source) == [(3, first_line)]


def test_plain_lines_pass():
    source = '''
"""Zero entries of β below LEAST_MESSAGE; they cannot change a posterior."""

def f(x):
    """Return known standard deviations of somewhat whole rows.

    What follows is no first line.
    """
'''
    assert riddles(source) == []


def test_words_are_those_of_docstrings_and_comments():
    source = '"""One two.\n\n>>> three\n"""\nfour = "five"  # what six\n'
    assert words(source) == ["one", "two", "what", "six"]
