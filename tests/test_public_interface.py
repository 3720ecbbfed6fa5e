"""The public interface is the one that is promised: names, signatures and fitted attributes.

``public_interface.txt`` lists them, and a change of it is a decision, which `doc/release.rst`
restricts. The lists are made from the API page and the objects, so a new name is in them too.
"""

import difflib
import inspect
from pathlib import Path

from numpydoc.docscrape import ClassDoc
from sklearn.utils._metadata_requests import RequestMethod

from skvae.emissions import Emission
from tests.test_doc_api import PAGE, _find, _listed

RECORD = Path(__file__).with_name("public_interface.txt")
BASES = [  # of a new family of emissions, in the guide
    f"skvae.emissions.{name}"
    for name in ("Emission", "EmissionParameters")
    + ("NonNegative", "Positive", "Probability", "Real", "Simplex")
]
COMMAND = "python -m tests.test_public_interface"


def _signature(function):
    """Return the parameters of a function with their kinds and defaults, without type hints."""
    signature = inspect.signature(function)
    empty = inspect.Signature.empty
    parameters = [p.replace(annotation=empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=empty))


def _members(cls):
    """Return the public members that skvae defines, each as a name with its signature.

    Those of scikit-learn's base classes are its own interface, which differs between its versions.
    """
    members = {}
    for name in filter(lambda name: not name.startswith("_"), dir(cls)):
        owner = next(c for c in cls.__mro__ if name in vars(c))
        value = inspect.getattr_static(cls, name)
        if not owner.__module__.startswith("skvae") or isinstance(value, RequestMethod):
            continue
        kind = {classmethod: "classmethod ", staticmethod: "staticmethod "}.get(type(value), "")
        function = getattr(value, "fn", getattr(value, "__func__", value))  # fn of available_if
        known = _signature(function) if inspect.isfunction(function) else ""
        members[name] = f"{kind}{name}{known}"
    if cls is not Emission and issubclass(cls, Emission):  # listed once, with the base class
        members = {n: m for n, m in members.items() if m != _members(Emission).get(n)}
    return members


def _interface(dotted):
    """Return the lines about one public name."""
    value = _find(dotted)
    if inspect.isfunction(value):
        return [f"{dotted}{_signature(value)}"]
    if inspect.isclass(value) and issubclass(value, Warning):
        return [f"{dotted}: {value.__base__.__name__}"]
    members = _members(value)
    for entry in ClassDoc(value, config={"show_class_members": False})["Attributes"]:
        for name in entry.name.split(", "):
            members.setdefault(name, name)
    return [f"{dotted}{_signature(value)}", *(f"    {members[name]}" for name in sorted(members))]


def public_interface():
    """Return the public interface as the lines of the record."""
    names = {*_listed(PAGE.read_text(encoding="utf-8")), *BASES}
    return [line for name in sorted(names) for line in _interface(name)]


def test_it_is_the_recorded_one():
    recorded = RECORD.read_text(encoding="utf-8").splitlines()
    changes = list(difflib.unified_diff(recorded, public_interface(), "recorded", "now", "", "", 0))
    assert not changes, "\n".join(
        [f"The public interface has changed. If that is meant, run `{COMMAND}`.", *changes]
    )


if __name__ == "__main__":
    RECORD.write_text("\n".join(public_interface()) + "\n", encoding="utf-8")
