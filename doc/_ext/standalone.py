"""Warnings for files and link targets that the built pages refer to and that do not exist locally.

Pages must work without a network and in any folder: scripts, styles and pictures are files beside
them, and a link between them leads to an existing page and to an existing anchor on it.
"""

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.util import logging

logger = logging.getLogger(__name__)
LOADED = {"script": "src", "img": "src", "source": "src", "iframe": "src", "link": "href"}
NOT_LOADED = {"author", "canonical", "index", "license", "next", "prev", "search"}


class _Page(HTMLParser):
    """The anchors of a page, the files that it loads, and the targets of its links."""

    def __init__(self, text):
        super().__init__()
        self.places, self.loaded, self.links = {"", "top"}, set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.places |= {attributes[key] for key in ("id", "name") if attributes.get(key)}
        if tag == "a" and attributes.get("href"):
            self.links.add(attributes["href"])
        address = attributes.get(LOADED.get(tag, ""))
        if address and not {*(attributes.get("rel") or "").split()} & NOT_LOADED:
            self.loaded.add(address)


def complaints(folder):
    """Yield (page, complaint) for the HTML pages in `folder`."""
    files = sorted(Path(folder).rglob("*.html"))
    files = [file for file in files if "_static" not in file.relative_to(folder).parts]
    pages = {file.resolve(): _Page(file.read_text(encoding="utf-8")) for file in files}
    for file, page in pages.items():
        for address in sorted(page.loaded | page.links):
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                if address in page.loaded and parts.scheme != "data":
                    yield file, f"loads {address} from elsewhere"
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            if not target.is_file():
                yield file, f"wants {address}, which is not there"
            elif target in pages and unquote(parts.fragment) not in pages[target].places:
                yield file, f"links to {address}: there is no such place on the page"


def check(app, exception):
    """Log a warning for each complaint about the built pages."""
    if exception is None and app.builder.name == "html":
        for file, complaint in complaints(app.outdir):
            logger.warning("%s %s", file.name, complaint)


def setup(app):
    app.connect("build-finished", check, priority=900)  # after the handlers that copy files
    return {"parallel_read_safe": True, "parallel_write_safe": True}
