"""The gallery: each example is on the page of questions, and its title is a question."""

import ast
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
FILES = sorted(EXAMPLES.glob("plot_*.py"))


def test_each_example_is_listed_once():
    lines = (EXAMPLES / "index.rst").read_text(encoding="utf-8").splitlines()
    listed = [line.strip() for line in lines if line.strip().startswith("plot_")]
    assert sorted(listed) == [file.stem for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_title_is_a_question(file):
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
    assert text.splitlines()[0].endswith("?")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_file_is_written(file):
    assert "savefig" not in file.read_text(encoding="utf-8")
