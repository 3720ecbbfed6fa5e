"""The walls of the house: who may import what, read from the source, and what an import may do.

`wall_violations` reads sources without running them. It is itself under test below, on small
sources that break one wall each: a checker that cannot fail guards nothing.
"""

import ast
import json
import subprocess
import sys
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import pytest

import skvae

PACKAGE = Path(skvae.__file__).parent

# Third-party packages that live in one place.
HOMES = {
    "numba": "skvae/hmm/chain.py",
    "torch": "skvae/vae/",
    "skorch": "skvae/vae/training.py",
    "matplotlib": "skvae/inspection/",
    "dask": "skvae/blocks.py",
    "distributed": "skvae/blocks.py",
}
# Optional, or slow: imported inside the function that needs them.
IN_FUNCTIONS = {"dask", "distributed", "matplotlib", "pandas", "polars"}
# What a wing is called; the two models of `mixture` do not look into each other either.
WINGS = (
    "skvae.mixture.gaussian_mixture",
    "skvae.mixture.bayesian_mixture",
    "skvae.mixture",
    "skvae.hmm",
    "skvae.vae",
)
PRIVATE_BUT_ALLOWED = {"sklearn.utils.validation._check_sample_weight"}
EFFECTS = {
    "basicConfig",
    "filterwarnings",
    "getLogger",
    "manual_seed",
    "seed",
    "set_config",
    "set_default_dtype",
    "set_num_threads",
    "set_printoptions",
    "seterr",
    "simplefilter",
    "threadpool_limits",
}


@dataclass(frozen=True)
class Import:
    """One imported name: ``from module import name``, or ``import module`` with no name."""

    module: str
    name: str | None
    line: int
    scopes: tuple  # ((kind, name), ...) of the classes and functions around it, outermost first

    @property
    def root(self):
        return self.module.split(".")[0]

    @property
    def in_function(self):
        return any(kind == "function" for kind, _ in self.scopes)

    @property
    def in_display_method(self):
        kinds = [kind for kind, _ in self.scopes]
        return kinds[:2] == ["class", "function"] and self.scopes[0][1].endswith("Display")


class _Reader(ast.NodeVisitor):
    """Collects the imports and the private attributes of one module."""

    def __init__(self, path):
        self.package = path.removesuffix(".py").removesuffix("/__init__").split("/")
        if not path.endswith("/__init__.py"):
            self.package = self.package[:-1]
        self.scopes, self.imports, self.attributes, self.dynamic = (), [], [], []

    def _visit_scope(self, node, kind):
        outer, self.scopes = self.scopes, (*self.scopes, (kind, node.name))
        self.generic_visit(node)
        self.scopes = outer

    def visit_ClassDef(self, node):
        self._visit_scope(node, "class")

    def visit_FunctionDef(self, node):
        self._visit_scope(node, "function")

    def visit_If(self, node):
        if "TYPE_CHECKING" not in ast.unparse(node.test):  # never runs
            self.generic_visit(node)

    def visit_Import(self, node):
        for alias in node.names:
            self.imports.append(Import(alias.name, None, node.lineno, self.scopes))

    def visit_ImportFrom(self, node):
        module = node.module or ""
        if node.level:
            base = self.package[: len(self.package) - node.level + 1]
            module = ".".join([*base, *([module] if module else [])])
        for alias in node.names:
            self.imports.append(Import(module, alias.name, node.lineno, self.scopes))

    def visit_Call(self, node):
        if ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            self.dynamic.append(node.lineno)
        self.generic_visit(node)

    def visit_Attribute(self, node):
        self.attributes.append(node)
        self.generic_visit(node)


def _is_private(name):
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def _module_name(path):
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _wing_of(module):
    return next((w for w in WINGS if module == w or module.startswith(w + ".")), None)


def wall_violations(sources):
    """Return what breaks a wall, one line each, in `sources`: path below the root to text."""
    modules = {_module_name(path) for path in sources}
    violations, graph = [], {}
    for path, text in sorted(sources.items()):
        tree, reader = ast.parse(text), _Reader(path)
        reader.visit(tree)
        reader.imports = [_resolved(found, modules) for found in reader.imports]
        graph[_module_name(path)] = {i.module for i in reader.imports if i.module in modules}
        found = [
            *_third_party(path, reader),
            *_own(path, reader),
            *_private(path, tree, reader),
            *_effects(tree),
        ]
        violations += [f"{path}:{line}: {what}" for line, what in found]
    return violations + [f"circle of imports: {' -> '.join(c)}" for c in _circles(graph)]


def _resolved(found, modules):
    """Return ``from package import submodule`` as the import of the submodule that it is."""
    if found.name is not None and f"{found.module}.{found.name}" in modules:
        return replace(found, module=f"{found.module}.{found.name}", name=None)
    return found


def _third_party(path, reader):
    for found in reader.imports:
        home = HOMES.get(found.root)
        if home is not None and not path.startswith(home):
            yield found.line, f"{found.root} may only be imported in {home}"
        if found.root in IN_FUNCTIONS and not found.in_function:
            yield found.line, f"{found.root} may only be imported inside a function"
        if found.root == "matplotlib" and not found.in_display_method:
            yield found.line, "matplotlib may only be imported in a method of a Display"


def _own(path, reader):
    if path == "skvae/__init__.py":
        return  # it knows every wing, and loads them when they are asked for
    here = _wing_of(_module_name(path))
    for line in reader.dynamic:
        yield line, "imports by name hide from this test; only skvae/__init__.py may"
    for found in reader.imports:
        if found.root != "skvae":
            continue
        if found.module == "skvae":
            yield found.line, "import from the module that defines the name, not from skvae"
        there = _wing_of(found.module)
        if there is not None and not _may_see(here, there):
            yield found.line, f"{here or 'what is no wing'} may not import the wing {there}"


def _may_see(here, there):
    if here is None:
        return False
    # The package `mixture` may import its two models, and what they share, but not they each other.
    same_package = here.split(".")[:2] == there.split(".")[:2]
    return here == there or (same_package and "skvae.mixture" in (here, there))


def _private(path, tree, reader):
    for found in reader.imports:
        full = found.module if found.name is None else f"{found.module}.{found.name}"
        third_party = found.root not in ("skvae", "__future__")
        private = third_party and any(map(_is_private, full.split(".")))
        if private and full not in PRIVATE_BUT_ALLOWED:
            yield found.line, f"{full} is not public"
    bound = _names_of_third_party(tree)
    for attribute in reader.attributes:
        root = ast.unparse(attribute.value).split(".")[0]
        if _is_private(attribute.attr) and root in bound:
            yield attribute.lineno, f"{ast.unparse(attribute)} is not public"
        if _is_private(attribute.attr) and "skvae/inspection/" in path and root != "self":
            yield attribute.lineno, f"{ast.unparse(attribute)}: displays read public attributes"


def _names_of_third_party(tree):
    """Return the local names of third-party modules: np for ``import numpy as np``."""
    return {
        alias.asname or alias.name.split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        and not getattr(node, "level", 0)
        and not (getattr(node, "module", None) or node.names[0].name).startswith("skvae")
        for alias in node.names
    }


def _effects(tree):
    """Yield what a module does when it is imported, beyond defining names."""
    for node in _run_at_import(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            yield node.lineno, f"an effect at import: {ast.unparse(node)}"
        elif isinstance(node, ast.For | ast.While | ast.With | ast.Delete):
            yield node.lineno, "a statement at module level that defines nothing"
        elif isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(t, ast.Subscript | ast.Attribute) for t in targets):
                yield node.lineno, f"an effect at import: {ast.unparse(node)}"
            called = (c for c in ast.walk(node.value) if isinstance(c, ast.Call))
            if any(ast.unparse(c.func).split(".")[-1] in EFFECTS for c in called):
                yield node.lineno, f"an effect at import: {ast.unparse(node)}"


def _run_at_import(node):
    """Yield the statements below a module or class that run when it is imported."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                yield from _run_at_import(child)
        elif isinstance(child, ast.ExceptHandler):
            yield from _run_at_import(child)


def _circles(graph):
    """Yield each circle that a depth-first walk closes."""
    done = set()

    def walk(module, trail):
        if module in trail:
            yield [*trail[trail.index(module) :], module]
        elif module not in done:
            for target in sorted(graph.get(module, ())):
                yield from walk(target, [*trail, module])
            done.add(module)

    for module in sorted(graph):
        if module != "skvae":
            yield from walk(module, [])


def _package_sources():
    return {
        path.relative_to(PACKAGE.parent).as_posix(): path.read_text(encoding="utf-8")
        for path in PACKAGE.rglob("*.py")
    }


def test_the_walls_stand():
    sources = _package_sources()
    assert "skvae/mixture/gaussian_mixture.py" in sources  # the right folder was read
    assert wall_violations(sources) == []


@pytest.mark.parametrize(
    ("path", "source", "message"),
    [
        ("skvae/ascent.py", "import numba", "numba may only be imported in skvae/hmm/chain.py"),
        ("skvae/hmm/hidden_markov.py", "from numba import njit", "numba may only"),
        ("skvae/mixture/a.py", "def f():\n    import torch.nn", "torch may only"),
        ("skvae/vae/autoencoder.py", "import skorch", "skorch may only be imported in skvae/vae/t"),
        (
            "skvae/base.py",
            "def f():\n    import matplotlib",
            "matplotlib may only be imported in s",
        ),
        ("skvae/inspection/a.py", "import matplotlib", "inside a function"),
        ("skvae/inspection/a.py", "def f():\n    import matplotlib", "in a method of a Display"),
        (
            "skvae/inspection/a.py",
            "class Plot:\n    def plot(self):\n        import matplotlib.pyplot as plt",
            "in a method of a Display",
        ),
        ("skvae/gaussian/missing.py", "def f():\n    import dask", "dask may only"),
        ("skvae/blocks.py", "import dask", "dask may only be imported inside a function"),
        ("skvae/datasets/geyser.py", "import pandas as pd", "pandas may only be imported inside"),
        (
            "skvae/hmm/a.py",
            "from skvae.vae import x",
            "skvae.hmm may not import the wing skvae.vae",
        ),
        ("skvae/vae/a.py", "def f():\n    from ..mixture import x", "may not import the wing"),
        (
            "skvae/mixture/bayesian_mixture.py",
            "from skvae.mixture.gaussian_mixture import EMGaussianMixture",
            "may not import the wing skvae.mixture.gaussian_mixture",
        ),
        ("skvae/gaussian/a.py", "from skvae.mixture import x", "what is no wing may not import"),
        ("skvae/ascent.py", "import skvae.hmm.chain", "what is no wing may not import the wing"),
        ("skvae/inspection/a.py", "from skvae.mixture import x", "what is no wing may not"),
        ("skvae/comparison.py", "from skvae import EMGaussianMixture", "that defines the name"),
        ("skvae/base.py", "import importlib\nm = importlib.import_module('x')", "hide from this"),
        ("skvae/base.py", "from sklearn.utils._param_validation import Interval", "not public"),
        ("skvae/base.py", "from sklearn.utils.validation import _num_samples", "not public"),
        ("skvae/base.py", "import numpy as np\nx = np._core", "np._core is not public"),
        ("skvae/base.py", "import scipy\nscipy.linalg._flapack.f()", "not public"),
        ("skvae/inspection/a.py", "def f(model):\n    return model._params", "read public"),
        ("skvae/base.py", "import numpy as np\nnp.random.seed(0)", "an effect at import"),
        ("skvae/base.py", "import numpy as np\nold = np.seterr(all='raise')", "an effect at"),
        ("skvae/base.py", "import logging\nlogger = logging.getLogger('skvae')", "an effect at"),
        ("skvae/base.py", "import os\nos.environ['OMP_NUM_THREADS'] = '1'", "an effect at import"),
        ("skvae/base.py", "try:\n    f()\nexcept ImportError:\n    pass", "an effect at import"),
        ("skvae/base.py", "class A:\n    print('hello')", "an effect at import"),
        ("skvae/base.py", "for i in range(3):\n    pass", "defines nothing"),
    ],
)
def test_the_checker_sees_each_broken_wall(path, source, message):
    violations = wall_violations({path: source})
    assert any(message in violation for violation in violations), violations
    assert all(violation.startswith(f"{path}:") for violation in violations)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("skvae/hmm/chain.py", "from numba import njit"),
        ("skvae/vae/likelihoods.py", "import torch"),
        ("skvae/vae/training.py", "import skorch"),
        (
            "skvae/inspection/a.py",
            "class ADisplay:\n    def plot(self):\n        import matplotlib\n        self._x()",
        ),
        ("skvae/blocks.py", "def f():\n    import dask"),
        ("skvae/datasets/geyser.py", "def f():\n    import pandas as pd"),
        ("skvae/base.py", "from sklearn.utils.validation import _check_sample_weight"),
        ("skvae/base.py", "from __future__ import annotations\nimport numpy as np\nnp.__version__"),
        ("skvae/mixture/__init__.py", "from skvae.mixture.gaussian_mixture import A"),
        ("skvae/mixture/gaussian_mixture.py", "from skvae.mixture.shared import a"),
        ("skvae/hmm/hidden_markov.py", "from . import chain\nfrom skvae.hmm.sequences import f"),
        ("skvae/base.py", "if TYPE_CHECKING:\n    from skvae.vae import VariationalAutoencoder"),
        ("skvae/base.py", "import numpy as np\n_LOG_2_PI = np.log(2 * np.pi)\n__all__ = ['a']"),
    ],
)
def test_the_checker_lets_pass_what_is_allowed(path, source):
    assert wall_violations({path: source}) == []


def test_the_checker_sees_circles():
    sources = {
        "skvae/ascent.py": "from skvae.blocks import f",
        "skvae/blocks.py": "def f():\n    from skvae import base",
        "skvae/base.py": "from .ascent import g",
        "skvae/gaussian/missing.py": "from skvae.base import h",
    }
    (violation,) = wall_violations(sources)
    assert violation == (
        "circle of imports: skvae.ascent -> skvae.blocks -> skvae.base -> skvae.ascent"
    )


def _run(code):
    """Return what `code`, run by a fresh interpreter, prints as JSON."""
    output = subprocess.run(
        [sys.executable, "-c", f"import json, sys\n{code}"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    assert output.stderr == ""
    return json.loads(output.stdout)


def _loaded_by(code):
    return set(_run(f"{code}\nprint(json.dumps(sorted(sys.modules)))"))


def test_import_skvae_loads_nothing_else():
    bare = _loaded_by("from importlib import import_module\nfrom typing import TYPE_CHECKING")
    assert _loaded_by("import skvae") - bare == {"skvae"}


@pytest.mark.parametrize("name", skvae.__all__)
def test_a_public_name_loads_only_what_it_uses(name):
    heavy = {"torch", "skorch", "numba", "matplotlib", "dask"}
    assert not heavy & _loaded_by(f"import skvae\nskvae.{name}")


def test_the_mixture_costs_little_more_than_that_of_sklearn():
    loaded = _loaded_by("from skvae import EMGaussianMixture")
    sklearn_loaded = _loaded_by("import sklearn.mixture")
    third_party = {m.split(".")[0] for m in loaded - sklearn_loaded} - set(sys.stdlib_module_names)
    assert third_party == {"skvae"}


def test_importing_every_module_changes_no_global_state():
    # What others do at import is theirs: their modules are loaded before the state is taken.
    sources = _package_sources()
    modules = sorted(_module_name(path) for path in sources)
    others = {
        found.module
        for path, text in sources.items()
        for found in _imports_at_top(path, text)
        if found.root not in ("skvae", "__future__")
    }
    state = """
def state():
    import logging, os, random, warnings
    import numpy as np
    import sklearn
    return json.dumps([
        [str(f) for f in warnings.filters],
        hash(random.getstate()),
        np.random.get_state()[1].tolist(),
        np.geterr(),
        np.get_printoptions(),
        sklearn.get_config(),
        dict(os.environ),
        len(logging.root.handlers),
        sorted(name for name in logging.root.manager.loggerDict if "skvae" in name),
    ], default=str)
"""
    load_others = "\n".join(f"import {module}" for module in sorted(others))
    load_own = "\n".join(f"import {module}" for module in modules)
    before, after = _run(
        f"{state}\n{load_others}\nbefore = state()\n{load_own}\n"
        "print(json.dumps([before, state()]))"
    )
    assert after == before


def _imports_at_top(path, text):
    reader = _Reader(path)
    reader.visit(ast.parse(text))
    return [found for found in reader.imports if not found.in_function]


def test_public_names():
    assert set(skvae.__all__) <= set(dir(skvae))
    for name in skvae.__all__:
        assert getattr(skvae, name) is not None
    with pytest.raises(AttributeError, match="module 'skvae' has no attribute 'EMGaussian'"):
        _ = skvae.EMGaussian


def test_compare_is_the_function_however_it_was_reached():
    code = """
import skvae.comparison
from skvae.comparison import Comparison
from skvae import compare
import skvae
print(json.dumps([type(skvae.compare).__name__, compare is skvae.compare]))
"""
    assert _run(code) == ["function", True]


def test_no_module_is_called_what_a_public_object_is_called():
    modules = {name for name in skvae.__all__ if f"skvae.{name}" in sys.modules}
    assert modules <= {"datasets", "inspection"}
    assert not any((PACKAGE / f"{name}.py").exists() for name in skvae.__all__)


def test_the_version_is_that_of_the_distribution():
    assert skvae.__version__ == version("skvae")
