"""References to other projects without their inventories, and methods inherited from them.

intersphinx would fetch an inventory of each project at every build. Here a reference to a name of
another package is valid if the installed package has it. It becomes a link if the project's pages
are named after its objects.
"""

import inspect
from pydoc import locate

from docutils import nodes
from sklearn.experimental import enable_iterative_imputer  # noqa: F401 - else it is not found

# Projects with one page for each object, under the object's name.
PAGES = {
    "sklearn": "https://scikit-learn.org/stable/modules/generated/{}.html",
    "numpy": "https://numpy.org/doc/stable/reference/generated/{}.html",
    "scipy": "https://docs.scipy.org/doc/scipy/reference/generated/{}.html",
    "pandas": "https://pandas.pydata.org/docs/reference/api/{}.html",
}
INHERITED = "Inherited from scikit-learn."


def link(_app, _env, node, content):
    """Return the node for a reference that Sphinx cannot resolve, or None if it is invalid."""
    target = node.get("reftarget", "")
    if node.get("refdomain") != "py" or target.startswith("skvae"):
        return None
    found = locate(target)
    if found is None:
        return None
    page = PAGES.get(target.split(".")[0])
    if page is None or not (inspect.isclass(found) or inspect.isroutine(found)):
        return content
    owner = target.rpartition(".")[0]
    is_method = inspect.isclass(locate(owner))
    uri = f"{page.format(owner)}#{target}" if is_method else page.format(target)
    return nodes.reference("", "", content, internal=False, refuri=uri)


def shorten(_app, what, _name, member, _options, lines):
    """Shorten the docstring of a method of scikit-learn to its summary.

    The rest has references to scikit-learn's own documentation, which would not resolve here.
    """
    home = getattr(member, "__module__", None) or ""
    if what == "method" and home.split(".")[0] == "sklearn":
        summary = next((line.strip() for line in lines if line.strip()), "")
        lines[:] = [summary, "", INHERITED, ""]


def setup(app):
    app.connect("missing-reference", link)
    app.connect("autodoc-process-docstring", shorten, priority=100)  # before numpydoc reads them
    return {"parallel_read_safe": True, "parallel_write_safe": True}
