"""A cache of compiled functions is safe only if it depends on all the code that was compiled in."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import numba
import pytest

import skvae.chain
from skvae.chain import compilation
from skvae.chain import kernels_few_states as few_states
from skvae.chain import kernels_scaled as scaled
from skvae.chain import kernels_sequences as sequences

FOLDER = Path(skvae.chain.__file__).parent
COMPILED = sorted(p for p in FOLDER.glob("*.py") if "@compiled" in p.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_what_is_compiled_in_is_in_the_same_file(path):
    """The cache of a function is kept until its own file changes."""
    imports = [
        node.module
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom)
    ]
    own = {module for module in imports if module.startswith("skvae")}
    assert own == {"skvae.chain.compilation"}


def test_all_kernels_are_looked_at():
    assert [path.stem for path in COMPILED] == [
        "kernels_counts",
        "kernels_few_states",
        "kernels_gaussian",
        "kernels_labels",
        "kernels_log",
        "kernels_paths",
        "kernels_scaled",
        "kernels_sequences",
        "kernels_varying",
    ]


@pytest.mark.parametrize("name", ["LEAST_MESSAGE", "SMALLEST_SCALE"])
def test_limits_are_the_same_in_all_files(name):
    assert getattr(few_states, name) == getattr(scaled, name) == getattr(sequences, name)


def test_without_a_place_for_a_cache_it_compiles_all_the_same(monkeypatch):
    """As in a container with read-only folders, where numba raises RuntimeError."""
    njit, asked = numba.njit, []

    def homeless(*functions, cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function 'double': no locator available for file")
        return njit(*functions, **options)

    monkeypatch.setattr(numba, "njit", homeless)
    double = compilation.compiled(lambda x: 2 * x)
    assert asked == [True, False]
    monkeypatch.undo()  # numba calls it while it compiles
    assert double(21) == 42


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_slices_are_filled_with_one_number_only(path):
    """numba compiles the text of an error for each assignment of an array: two seconds."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    places = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and any(isinstance(part, ast.Slice) for target in node.targets for part in ast.walk(target))
        and not isinstance(node.value, ast.Constant | ast.UnaryOp)
    ]
    assert not places


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n_components", "kernels"), [(3, "of_four"), (6, "of_eight"), (9, "of_many")]
)
def test_a_first_fit_and_score_compile_few_functions(tmp_path, n_components, kernels):
    """Each takes a third of a second or more, once for each user and version."""
    script = (
        "import numpy as np; from skvae import EMHiddenMarkov\n"
        "X = np.random.default_rng(0).normal(size=(300, 2))\n"
        f"EMHiddenMarkov({n_components}, max_iter=2, random_state=0).fit(X).score(X)"
    )
    root = str(FOLDER.parents[1])
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": root}
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], env=environment, check=True)
    found = {path.name.split(".")[1].rsplit("-", 1)[0] for path in tmp_path.rglob("*.nbi")}
    recursions = {f"forward_{kernels}", f"backward_{kernels}"}
    if kernels == "of_many":
        recursions = {"forward", "backward_dense"}
    assert found == {
        *("fill_probabilities", "load", "full_log_density", "full_statistics"),
        *recursions,
    }
