"""The directive ``questions`` for a part of the gallery, and settings of sphinx-gallery.

The content of the directive is a list of examples. It makes their cards, in this order, and adds
their pages to the table of contents.
"""

import warnings

from sphinx.util.docutils import SphinxDirective

_FILTERS = list(warnings.filters)


class Questions(SphinxDirective):
    """The cards of the listed examples."""

    has_content = True

    def run(self):
        names = [line.strip() for line in self.content if line.strip()]
        lines = [".. minigallery::", "", *(f"   ../examples/{name}.py" for name in names), ""]
        lines += [".. toctree::", "   :hidden:", "", *(f"   {name}" for name in names), ""]
        return self.parse_text_to_nodes("\n".join(lines))


def as_listed(_path):
    """Return the same sort key for every example, so that cards keep the order of the list."""
    return 0


def reset_warnings(_settings, _filename):
    """Restore the warning filters, which an example may have changed."""
    warnings.resetwarnings()
    warnings.filters[:] = _FILTERS


def setup(app):
    app.add_directive("questions", Questions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
