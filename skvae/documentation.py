"""Links from the HTML representation of an estimator to its page of the documentation.

scikit-learn has three attributes for them, which an estimator of another package sets: the package,
a template of addresses, and a function that returns the fields of the template.
"""

from importlib.metadata import PackageNotFoundError, metadata

_DOCUMENTED_IN = {"emissions": "skvae.hmm", "tasks": "skvae.tasks"}  # other folders: in skvae


def page_fields(estimator):
    """Return the fields of the template of an estimator's page."""
    cls = type(estimator)
    return {
        "module": _DOCUMENTED_IN.get(cls.__module__.split(".")[1], "skvae"),
        "name": cls.__name__,
    }


@property
def page_template(_estimator):
    """Return the template of the addresses of pages; an empty one makes no link.

    The address of the documentation is that of the package's metadata, ``[project.urls]`` of
    ``pyproject.toml``. While these have none, because the documentation has no public address,
    there is no page to link to.
    """
    try:
        urls = metadata("skvae").get_all("Project-URL") or []
    except PackageNotFoundError:  # the folder of the sources, without an installation
        urls = []
    for entry in urls:
        label, _, address = entry.partition(",")
        if label.strip().lower() == "documentation":
            return address.strip().rstrip("/") + "/generated/{module}.{name}.html"
    return ""
