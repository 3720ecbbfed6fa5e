"""Every public name has a complete numpydoc docstring."""

import importlib
import inspect
import pkgutil

import pytest
from numpydoc.validate import validate

import skvae

# What numpydoc would have, and this project does otherwise.
IGNORED = {
    "GL01",  # the summary starts on the line of the quotes, as the standard library's does
    "ES01",  # not everything needs more than its summary
    "SA01",  # nor a See Also
    "SA04",
    "RT02",  # a returned value has a name, as in scikit-learn
    "RT04",  # and its description may begin with a symbol
}
# Where users import from.
PUBLIC_MODULES = (
    "skvae",
    "skvae.comparison",
    "skvae.datasets",
    "skvae.emissions",
    "skvae.grammar",
    "skvae.hmm",
    "skvae.inspection",
    "skvae.mixture",
    "skvae.tasks",
)
MODULES = ["skvae", *(m.name for m in pkgutil.walk_packages(skvae.__path__, "skvae."))]


def _public_objects():
    """Yield the dotted name and the kind of what a user can reach and skvae has written."""
    seen = set()
    for module_name in PUBLIC_MODULES:
        module = importlib.import_module(module_name)
        for name in module.__all__:
            value = getattr(module, name)
            if not callable(value) or value in seen:  # modules, tables
                continue
            seen.add(value)
            dotted = f"{value.__module__}.{value.__qualname__}"
            yield dotted
            if inspect.isclass(value):
                yield from (f"{dotted}.{method}" for method in _methods(value))


def _methods(cls):
    for name, member in inspect.getmembers(cls, callable):
        written_here = (getattr(member, "__module__", None) or "").startswith("skvae")
        # The docstring of an overridden method holds for the method too, and is tested there.
        inherited = not member.__doc__ and inspect.getdoc(member)
        if written_here and not name.startswith("_") and not inherited:
            yield name


OBJECTS = sorted(_public_objects())


@pytest.mark.parametrize("name", OBJECTS)
def test_docstring_is_complete(name):
    errors = [error for error in validate(name)["errors"] if error[0] not in IGNORED]
    assert errors == []


@pytest.mark.parametrize("name", MODULES)
def test_module_says_what_it_is(name):
    doc = importlib.import_module(name).__doc__
    assert doc
    first_line = doc.splitlines()[0]
    assert first_line.endswith(".")


def test_incomplete_docstrings_are_seen():
    """The validation finds what is missing: a docstring whose parameter is not described."""

    def f(x):
        """Return x."""
        return x

    f.__module__ = __name__
    globals()["f"] = f
    codes = {code for code, _ in validate(f"{__name__}.f")["errors"]}
    assert {"PR01", "RT01", "EX01"} <= codes
