"""A cache of compiled functions is safe only if it depends on all the code that was compiled in."""

import ast
from pathlib import Path

import pytest

import skvae.chart

FOLDER = Path(skvae.chart.__file__).parent
KERNELS = sorted(FOLDER.glob("kernels_*.py"))


@pytest.mark.parametrize("path", KERNELS, ids=lambda path: path.stem)
def test_what_is_compiled_in_is_in_the_same_file(path):
    """The cache of a function is kept until its own file changes.

    The tiles are compiled by themselves and called by their address.
    """
    imports = [
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    ]
    own = {module for module in imports if module.startswith("skvae")}
    assert own - {"skvae.chart.tiles"} == {"skvae.chain.compilation"}


def test_only_kernels_are_compiled():
    others = set(FOLDER.glob("*.py")) - set(KERNELS)
    assert not [p for p in others if "@compiled" in p.read_text(encoding="utf-8")]
