"""The API page of the documentation lists every public name, and nothing that is not there."""

import importlib
import inspect
import re
from pathlib import Path

import skvae

PAGE = Path(__file__).parents[1] / "doc" / "api.rst"


def _listed(text):
    """Return the dotted names in the autosummary tables of a page."""
    module, inside, names = "", False, []
    for line in text.splitlines():
        word = line.strip()
        if word.startswith(".. currentmodule::"):
            module = word.split()[-1]
        if line and not line.startswith(" "):
            inside = word == ".. autosummary::"
        elif inside and word and not word.startswith(":"):
            names.append(f"{module}.{word}")
    return names


def _find(dotted):
    """Return what a dotted name stands for."""
    module, _, name = dotted.rpartition(".")
    return getattr(importlib.import_module(module), name)


def _public_modules():
    """Return the modules that users import from."""
    values = [getattr(skvae, name) for name in skvae.__all__]
    return [skvae, importlib.import_module("skvae.comparison"), *filter(inspect.ismodule, values)]


def _missing(names):
    """Return the public names that are not among what the given names stand for."""
    found = [_find(name) for name in names]
    return [
        f"{module.__name__}.{name}"
        for module in _public_modules()
        for name in module.__all__
        if not inspect.ismodule(value := getattr(module, name))
        and not any(value is other for other in found)
    ]


def test_every_public_name_is_listed():
    names = _listed(PAGE.read_text(encoding="utf-8"))
    assert len(names) == len(set(names)) >= 23
    assert _missing(names) == []


def test_public_modules_are_described():
    text = PAGE.read_text(encoding="utf-8")
    for module in _public_modules():
        if module.__name__ != "skvae.comparison":
            assert re.search(rf"^\.\. (auto)?module:: {module.__name__}$", text, re.MULTILINE)


def test_what_is_not_listed_is_seen():
    text = PAGE.read_text(encoding="utf-8").replace("   datasets.load_geyser\n", "")
    assert _missing(_listed(text)) == ["skvae.datasets.load_geyser"]
