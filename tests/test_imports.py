"""The walls of the house stand, their checker sees each of them broken, and imports are light."""

import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import skvae
from tests.walls import Source, wall_violations

PACKAGE = Path(skvae.__file__).parent


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
        ("skvae/ascent/loop.py", "import numba", "numba may only be imported in skvae/chain/"),
        ("skvae/hmm/hidden_markov.py", "from numba import njit", "numba may only"),
        ("skvae/mixture/a.py", "def f():\n    import torch.nn", "torch may only"),
        (
            "skvae/vae/autoencoder.py",
            "import skorch",
            "skorch may only be imported in skvae/neural/t",
        ),
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
        (
            "skvae/blocks/dask_tasks.py",
            "import dask",
            "dask may only be imported inside a function",
        ),
        ("skvae/datasets/geyser.py", "import pandas as pd", "pandas may only be imported inside"),
        (
            "skvae/hmm/a.py",
            "from skvae.vae import x",
            "skvae.hmm may not import the wing skvae.vae",
        ),
        ("skvae/vae/a.py", "def f():\n    from ..mixture import x", "may not import the wing"),
        ("skvae/gaussian/a.py", "from skvae.mixture import x", "what is no wing may not import"),
        ("skvae/ascent/loop.py", "import skvae.hmm.a", "what is no wing may not import the wing"),
        ("skvae/inspection/a.py", "from skvae.mixture import x", "what is no wing may not"),
        (
            "skvae/comparison/result.py",
            "from skvae import EMGaussianMixture",
            "that defines the name",
        ),
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
        # Under TYPE_CHECKING nothing runs; beside it everything does.
        ("skvae/base.py", "if TYPE_CHECKING:\n    pass\nelse:\n    import torch", "torch may only"),
        ("skvae/base.py", "if not TYPE_CHECKING:\n    import torch", "torch may only"),
        ("skvae/base.py", "if TYPE_CHECKING or True:\n    import torch", "torch may only"),
        ("skvae/base.py", "async def f():\n    import torch", "torch may only"),
        # Every import points down.
        ("skvae/gaussian/a.py", "from skvae.comparison import f", "which is above it"),
        ("skvae/blocks.py", "def f():\n    from .comparison import g", "which is above it"),
        ("skvae/mixture/a.py", "from skvae.inspection import ADisplay", "which is above it"),
        ("skvae/hmm/a.py", "from skvae import datasets", "skvae.datasets, which is above it"),
        ("skvae/extras.py", "x = 1", "skvae.extras is on no floor"),
        ("skvae/mixture/a.py", "import skvae.blocks", "that defines the name, not from skvae"),
        ("skvae/mixture/a.py", "import skvae.blocks as b", "that defines the name, not from skvae"),
        # Imports by name.
        ("skvae/base.py", "from importlib import import_module as f\ng = f", "hide from this"),
        ("skvae/base.py", "def f():\n    import importlib.util as u", "hide from this"),
        ("skvae/base.py", "import importlib.resources", "hide from this"),
        ("skvae/base.py", "def f():\n    return __import__('torch')", "__import__ hides"),
        ("skvae/__init__.py", "def f(text):\n    exec(text)", "exec hides"),
        ("skvae/base.py", "def f(text):\n    g = eval\n    return g(text)", "eval hides"),
        ("skvae/base.py", "import builtins", "builtins hides"),
        ("skvae/base.py", "from warnings import *\nsimplefilter", "import * hides names"),
        # Private names of others, however they are reached.
        ("skvae/base.py", "def f(self):\n    self._validate_params()", "self._validate_params is"),
        ("skvae/base.py", "class A:\n    def f(self):\n        super()._more_tags()", "not public"),
        ("skvae/base.py", "def f(model):\n    return model.tree._x", "model.tree._x is not public"),
        ("skvae/base.py", "def f(x):\n    return getattr(x, '_y')", "getattr(x, '_y') is not"),
        ("skvae/base.py", "from operator import attrgetter\nf = attrgetter('a._y')", "not public"),
        ("skvae/base.py", "from sklearn.externals import array_api_compat", "not public"),
        ("skvae/base.py", "from sklearn.utils.fixes import parse_version", "not public"),
        ("skvae/base.py", "import sklearn.utils as u\nf = u.fixes.parse_version", "not public"),
        (
            "skvae/base.py",
            "from sklearn.cluster import KMeans\nclass A:\n    def _run(self): pass\n"
            "def f():\n    k = KMeans(2)\n    k._run()\n    KMeans(2)._run()",
            "base.py:7: KMeans(2)._run is not public",
        ),
        (
            "skvae/base.py",
            "from sklearn.cluster import KMeans\nclass A:\n    def _run(self): pass\n"
            "def f():\n    k = KMeans(2)\n    k._run()",
            "k._run is not public",
        ),
        (
            "skvae/inspection/a.py",
            "class ADisplay:\n    def _x(self):\n        self.model._x",
            "self.model._x: displays read public attributes",
        ),
        # Effects, wherever an expression runs.
        (
            "skvae/base.py",
            "from warnings import simplefilter as s\nx = s('ignore')",
            "an effect at import: warnings.simplefilter",
        ),
        ("skvae/base.py", "import warnings\nf = warnings.simplefilter\nx = f('a')", "an effect at"),
        (
            "skvae/base.py",
            "import warnings\nx = getattr(warnings, 'simplefilter')('a')",
            "an effect",
        ),
        ("skvae/base.py", "import numpy as np\nx: dict = np.seterr(all='raise')", "numpy.seterr"),
        ("skvae/base.py", "import numpy as np\nif np.seterr():\n    x = 1", "numpy.seterr"),
        ("skvae/base.py", "import numpy as np\ndef f(x=np.seterr()): pass", "numpy.seterr"),
        ("skvae/base.py", "import numpy as np\ndef f(*, x=np.seterr()): pass", "numpy.seterr"),
        (
            "skvae/base.py",
            "import numpy as np\n@np.errstate(all='raise')\ndef f(): pass",
            "errstate",
        ),
        (
            "skvae/base.py",
            "import numpy as np\nclass A:\n    x = [np.seterr() for _ in 'a']",
            "seterr",
        ),
        ("skvae/base.py", "import os\nx, os.environ['A'] = 1, '1'", "os.environ['A'] is set"),
        ("skvae/base.py", "import os\nx = os.environ.setdefault('A', '1')", "environ.setdefault"),
        (
            "skvae/base.py",
            "import atexit\nx = atexit.register(f)",
            "an effect at import: atexit.reg",
        ),
        ("skvae/base.py", "x = print('hello')", "an effect at import: print"),
        ("skvae/base.py", "True and f()", "an effect at import: True and f()"),
        (
            "skvae/base.py",
            "import random\ndef f():\n    return random.seed(0)\nx = f()",
            "base.py:3: an effect at import: random.seed",
        ),
        (
            "skvae/base.py",
            "if TYPE_CHECKING:\n    pass\nelse:\n    import random\n    x = random.seed(0)",
            "an effect at import: random.seed",
        ),
    ],
)
def test_the_checker_sees_each_broken_wall(path, source, message):
    violations = wall_violations({path: source})
    assert any(message in violation for violation in violations), violations
    assert all(violation.startswith(f"{path}:") for violation in violations)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("skvae/chain/kernels_scaled.py", "from numba import njit"),
        ("skvae/neural/likelihoods.py", "import torch"),
        ("skvae/neural/training/net.py", "import skorch"),
        (
            "skvae/inspection/a.py",
            "class ADisplay:\n    def plot(self):\n        import matplotlib\n        self._x()\n"
            "    def _x(self): pass",
        ),
        ("skvae/blocks/dask_tasks.py", "def f():\n    import dask"),
        ("skvae/datasets/geyser.py", "def f():\n    import pandas as pd"),
        ("skvae/base.py", "from sklearn.utils.validation import _check_sample_weight"),
        ("skvae/base.py", "from __future__ import annotations\nimport numpy as np\nnp.__version__"),
        ("skvae/mixture/__init__.py", "from skvae.mixture.gaussian_mixture import A"),
        ("skvae/mixture/gaussian_mixture.py", "from skvae.mixture.shared import a"),
        ("skvae/hmm/hidden_markov.py", "from . import chain\nfrom skvae.hmm.sequences import f"),
        ("skvae/base.py", "if TYPE_CHECKING:\n    from skvae.vae import A"),
        ("skvae/base.py", "import numpy as np\n_LOG_2_PI = np.log(2 * np.pi)\n__all__ = ['a']"),
        ("skvae/base.py", "if typing.TYPE_CHECKING:\n    import torch\nelse:\n    x = 1"),
        ("skvae/gaussian/a.py", "from skvae.blocks import f\nfrom skvae.gaussian.b import g"),
        ("skvae/comparison/result.py", "def f():\n    from skvae.inspection import ADisplay"),
        ("skvae/inspection/a.py", "from skvae.base import check_number"),
        ("skvae/datasets/a.py", "from importlib import resources, metadata"),
        (
            "skvae/base.py",
            "class A:\n    def _of(self, a):\n        return a._of(self)._replace(b=1)",
        ),
        ("skvae/vae/a.py", "def f(module):\n    module.eval()"),
        ("skvae/base.py", "import sklearn.utils.validation as v\nf = v._check_sample_weight"),
        ("skvae/base.py", "import numpy as np\ndef f():\n    np.seterr()\nFS = {'f': f}"),
        ("skvae/base.py", "@cache\ndef f(seed=0, *, key=len): pass\nclass A:\n    seed: int = 0"),
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


HEAVY = {"torch", "skorch", "safetensors", "numba", "matplotlib", "dask"}
USES = {
    "CTCTranscriber": {"numba", "torch", "skorch", "safetensors"},
    "EGHiddenMarkov": {"numba", "torch", "skorch", "safetensors"},
    "EMContextFreeGrammar": {"numba"},
    "EMHiddenMarkov": {"numba"},
    "grammar": {"numba"},
    "hmm": {"numba"},
    "HiddenMarkovAutoencoder": {"numba", "torch", "skorch", "safetensors"},
    "VariationalAutoencoder": {"torch", "skorch", "safetensors"},
    "vae": {"torch", "skorch", "safetensors"},
}


@pytest.mark.slow  # by default the light names are loaded by one interpreter
@pytest.mark.parametrize("name", skvae.__all__)
def test_a_public_name_loads_only_what_it_uses(name):
    assert HEAVY & _loaded_by(f"import skvae\nskvae.{name}") == USES.get(name, set())


def test_names_that_use_little_load_little():
    """Of one interpreter: after each name that uses no heavy library none is loaded."""
    light = [name for name in skvae.__all__ if name not in USES]
    loads = "\n".join(f"skvae.{name}\nfound.append(sorted(sys.modules))" for name in light)
    found = _run(f"import skvae\nfound = []\n{loads}\nprint(json.dumps(found))")
    for name, modules in zip(light, found, strict=True):
        assert HEAVY & set(modules) == set(), name


@pytest.mark.slow
def test_the_mixture_costs_little_more_than_that_of_sklearn():
    loaded = _loaded_by("from skvae import EMGaussianMixture")
    sklearn_loaded = _loaded_by("import sklearn.mixture")
    third_party = {m.split(".")[0] for m in loaded - sklearn_loaded} - set(sys.stdlib_module_names)
    assert third_party == {"skvae"}


@pytest.mark.slow
def test_importing_every_module_changes_no_global_state():
    # What others do at import is theirs: their modules are loaded before the state is taken.
    sources = _package_sources()
    modules = sorted(Source(path, text).module for path, text in sources.items())
    others = {
        found.module
        for path, text in sources.items()
        for found in Source(path, text).imports
        if not found.in_function and found.root not in ("skvae", "__future__")
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
    assert modules <= {"datasets", "grammar", "hmm", "inference", "inspection", "tasks", "vae"}
    assert not any((PACKAGE / f"{name}.py").exists() for name in skvae.__all__)


def test_the_version_is_that_of_the_distribution():
    assert skvae.__version__ == version("skvae")


def test_the_files_that_ci_names_exist():
    """The run on the lowest versions names test files, and a renamed one would end it."""
    root = PACKAGE.parent
    named = re.findall(r"tests/[\w/]+(?:\.py)?", (root / ".ci" / "run").read_text(encoding="utf-8"))
    assert len(named) > 10
    assert [name for name in named if not (root / name).exists()] == []
