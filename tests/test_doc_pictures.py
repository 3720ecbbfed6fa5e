"""Each page of the guide and each how-to page has a picture, and each picture a text for it."""

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[1] / "doc"
NO_PICTURE = {"index", "coming_from"}  # lists and tables of names
PAGES = sorted(
    page
    for folder in ("guide", "how_to")
    for page in (DOC / folder).glob("*.rst")
    if page.stem not in NO_PICTURE
)


def pictures(text):
    """Return the options of each picture of a page, as text; a block of code alone is none."""
    blocks = re.findall(
        r"^ *\.\. (?:figure|image|plot)::[^\n]*\n((?: +:[^\n]*\n(?: {6,}[^\n:]*\n)*)*)", text, re.M
    )
    return [options for options in blocks if ":nofigs:" not in options]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.stem}")
def test_a_page_has_a_picture_with_a_text(page):
    found = pictures(page.read_text(encoding="utf-8"))
    assert found, f"{page.name} has no picture"
    assert all(re.search(r":alt: +\S", options) for options in found), f"{page.name}: no :alt:"


def test_pictures_and_their_texts_are_found():
    text = """
.. plot::
   :context: reset
   :nofigs:

   >>> 1

.. plot::
   :context:
   :alt: A line that
         goes on.

   >>> plot()

.. figure:: a.png

   A caption.
"""
    first, second = pictures(text)
    assert ":alt: A line that\n         goes on." in first
    assert second == ""
