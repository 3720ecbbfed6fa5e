"""What looks over the built pages of the documentation sees what is wrong with them."""

import importlib.util
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "doc" / "_ext" / "standalone.py"


@pytest.fixture(scope="module")
def standalone():
    spec = importlib.util.spec_from_file_location("standalone", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('<script src="https://cdn.example/a.js"></script>', "loads https://cdn.example/a.js"),
        ('<link rel="stylesheet" href="//cdn.example/a.css">', "loads //cdn.example/a.css"),
        ('<img src="missing.png">', "wants missing.png, which is not there"),
        ('<a href="missing.html">', "wants missing.html, which is not there"),
        ('<a href="other.html#nowhere">', "links to other.html#nowhere"),
        ('<a href="#nowhere">', "links to #nowhere"),
    ],
)
def test_what_is_wrong_is_seen(standalone, tmp_path, body, complaint):
    (tmp_path / "other.html").write_text('<p id="here"></p>', encoding="utf-8")
    (tmp_path / "page.html").write_text(body, encoding="utf-8")
    (found,) = standalone.complaints(tmp_path)
    assert found[0] == tmp_path / "page.html"
    assert found[1].startswith(complaint)


def test_what_is_right_is_not(standalone, tmp_path):
    (tmp_path / "_static").mkdir()
    (tmp_path / "_static" / "a.js").write_text("", encoding="utf-8")
    (tmp_path / "other page.html").write_text('<p id="here"></p>', encoding="utf-8")
    (tmp_path / "page.html").write_text(
        '<script src="_static/a.js?v=1"></script><img src="data:image/png;base64,AA==">'
        '<link rel="canonical" href="https://elsewhere.example/page.html"><p id="top-of-it">'
        '<a href="https://elsewhere.example"><a href="other%20page.html#here">'
        '<a href="#top-of-it">',
        encoding="utf-8",
    )
    assert list(standalone.complaints(tmp_path)) == []
