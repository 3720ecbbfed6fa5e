"""The words that people search for find the page that is meant for them.

The search of Sphinx gives an index entry that equals the query the highest score, above titles and
words of the text. So a word finds its page if the page has it as an entry, and hardly another does.
"""

import re
from pathlib import Path

import pytest

DOC = Path(__file__).parents[1] / "doc"
PAGES = {
    path.relative_to(DOC).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
    for folder in ("", "guide", "how_to")
    for path in sorted((DOC / folder).glob("*.rst"))
}


def entries(text):
    """Return the index entries of a page, in lower case."""
    blocks = re.findall(r"^\.\. index::(.*\n(?:   .*\n)*)", text, flags=re.MULTILINE)
    return [word.strip().lower() for block in blocks for word in block.split(",")]


MEANT = {
    "changepoint": "how_to/segment_a_series",
    "anomaly": "how_to/find_anomalies",
    "outlier": "how_to/find_anomalies",
    "synthetic data": "how_to/generate_rows",
    "imputation": "how_to/fill_gaps",
    "forecast": "how_to/forecast",
    "parse": "how_to/parse_sentences",
    "classification": "how_to/classify_by_density",
    "number of clusters": "how_to/choose_the_number",
    "clustering": "guide/mixtures",
    "confidence interval": "guide/bayesian",
    "embedding": "guide/autoencoders",
    "missing values": "guide/missing",
    "time series": "guide/chains",
    "cross-validation": "guide/choosing",
    "nats": "guide/objective",
    "out of core": "guide/scaling",
    "benchmarks": "guide/speed",
    "hmmlearn": "guide/coming_from",
    "pickle": "how_to/store_a_model",
    "polars": "faq",
    "gpu": "faq",
    "cite": "faq",
    "licence": "faq",
    "license": "faq",
    "getting started": "tutorial",
}


@pytest.mark.parametrize(("word", "page"), MEANT.items())
def test_a_word_finds_its_page(word, page):
    found = [name for name, text in PAGES.items() if word in entries(text)]
    assert page in found
    assert len(found) <= 3


def test_each_page_of_the_guide_and_each_task_has_entries():
    pages = [name for name in PAGES if "/" in name and not name.endswith("/index")]
    assert len(pages) > 20
    assert [name for name in pages if not entries(PAGES[name])] == []


def test_entries_are_read():
    text = ".. index:: one, Two words,\n   three\n\ntext, more\n"
    assert entries(text) == ["one", "two words", "three"]
