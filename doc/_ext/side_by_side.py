"""The directive ``side-by-side``: tables of the estimators, made from the classes.

Its argument is one of ``parameters``, ``attributes`` and ``methods``.
"""

import inspect
import re
from collections import Counter

from docutils.parsers.rst import directives
from numpydoc.docscrape import ClassDoc
from sphinx.util.docutils import SphinxDirective

import skvae

ESTIMATORS = (
    skvae.EMGaussianMixture,
    skvae.EMHiddenMarkov,
    skvae.EMContextFreeGrammar,
    skvae.BayesianMixtureSVI,
    skvae.VariationalAutoencoder,
)
NONE = "–"
# Private methods, and those for metadata routing.
PLUMBING = re.compile(r"_|set_\w+_request$|get_metadata_routing$")


def parameters(cls):
    """Return a dict from the names of the constructor's parameters to their defaults, as text."""
    signature = inspect.signature(cls)
    return {name: f"``{p.default!r}``" for name, p in signature.parameters.items()}


def attributes(cls):
    """Return a dict from the names of the documented attributes to their types, as text."""
    documented = ClassDoc(cls, config={"show_class_members": False})["Attributes"]
    return {
        name.strip(): _kind(entry.type) for entry in documented for name in entry.name.split(",")
    }


def _kind(text):
    """Return the type of an attribute without its shape, which does not fit into the table."""
    return text.split(" of shape ")[0].strip()


def methods(cls):
    """Return a dict from the names of the public methods to links to their descriptions."""
    names = [name for name, _ in inspect.getmembers(cls, callable) if not PLUMBING.match(name)]
    return {name: f":meth:`yes <skvae.{cls.__name__}.{name}>`" for name in names}


KINDS = {"parameters": parameters, "attributes": attributes, "methods": methods}


def in_several(entries):
    """Return the lines of a table with a row for each name in two or more estimators."""
    counts = Counter(name for mapping in entries for name in mapping)
    lines = [
        ".. list-table::",
        "   :class: side-by-side",
        "   :header-rows: 1",
        "   :stub-columns: 1",
        "",
    ]
    lines += _row("", [_linked(cls) for cls in ESTIMATORS])
    for name, count in counts.most_common():  # equal counts: in the order of declaration
        if count > 1:
            lines += _row(f"``{name}``", [mapping.get(name, NONE) for mapping in entries])
    return [*lines, ""]


def _row(head, cells):
    return [f"   * - {head}", *(f"     - {cell}" for cell in cells)]


def _linked(cls):
    return f":class:`~skvae.{cls.__name__}`"


def in_one_only(entries, kind):
    """Return the lines of a list of the names that one estimator alone has."""
    counts = Counter(name for mapping in entries for name in mapping)
    lines = []
    for cls, mapping in zip(ESTIMATORS, entries, strict=True):
        own = [_named(cls, name, mapping[name], kind) for name in mapping if counts[name] == 1]
        lines += [_linked(cls), f"   {', '.join(own) or NONE}"]
    return [*lines, ""]


def _named(cls, name, text, kind):
    if kind == "parameters":
        return f"``{name}={text.strip('`')}``"
    return f":meth:`{name} <skvae.{cls.__name__}.{name}>`" if kind == "methods" else f"``{name}``"


class SideBySide(SphinxDirective):
    """A table of the names in several estimators, or with ``own`` a list of those in one."""

    required_arguments = 1
    option_spec = {"own": directives.flag}

    def run(self):
        kind = directives.choice(self.arguments[0], tuple(KINDS))
        entries = [KINDS[kind](cls) for cls in ESTIMATORS]
        own = "own" in self.options
        lines = in_one_only(entries, kind) if own else in_several(entries)
        for cls in ESTIMATORS:  # rebuild the page after an estimator has changed
            self.env.note_dependency(inspect.getfile(cls))
        return self.parse_text_to_nodes("\n".join(lines))


def setup(app):
    app.add_directive("side-by-side", SideBySide)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
