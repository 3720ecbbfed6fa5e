"""Links from the HTML representation of an estimator to its page."""

from email.message import Message

import pytest
from sklearn.utils import estimator_html_repr

import skvae
from skvae import CTCTranscriber, EMGaussianMixture, documentation
from skvae.hmm import PoissonEmission
from skvae.tasks import DensityImputer
from tests.suite import ESTIMATORS

PAGES = {type(e): f"skvae.{type(e).__name__}" for e in ESTIMATORS}
PAGES |= {CTCTranscriber: "skvae.CTCTranscriber", PoissonEmission: "skvae.hmm.PoissonEmission"}


def address(monkeypatch, *urls):
    found = Message()
    for url in urls:
        found["Project-URL"] = url
    monkeypatch.setattr(documentation, "metadata", lambda _name: found)


@pytest.mark.parametrize("cls", PAGES, ids=lambda cls: cls.__name__)
def test_estimators_link_to_their_page(cls, monkeypatch):
    address(monkeypatch, "Source, https://one.invalid", "Documentation, https://two.invalid/doc/")
    page = f"https://two.invalid/doc/generated/{PAGES[cls]}.html"
    assert f'href="{page}"' in estimator_html_repr(cls())
    task = f"{page.rsplit('/', 1)[0]}/skvae.tasks.DensityImputer.html"
    assert f'href="{task}"' in estimator_html_repr(DensityImputer(EMGaussianMixture()))


def test_without_an_address_there_is_no_link(monkeypatch):
    address(monkeypatch, "Source, https://one.invalid")
    assert EMGaussianMixture()._get_doc_link() == ""
    assert "https://one" not in estimator_html_repr(EMGaussianMixture())

    def missing(_name):
        raise documentation.PackageNotFoundError

    monkeypatch.setattr(documentation, "metadata", missing)
    assert EMGaussianMixture()._get_doc_link() == ""


def test_subclasses_of_users_have_no_page(monkeypatch):
    address(monkeypatch, "Documentation, https://two.invalid")

    class Own(EMGaussianMixture):
        pass

    Own.__module__ = "own.models"
    assert Own()._get_doc_link() == ""


def test_every_estimator_has_a_page():
    """The documentation has a page for each public estimator under the name of the link."""
    names = {page.removeprefix("skvae.") for page in PAGES.values()}
    assert {name for name in skvae.__all__ if name[0].isupper()} <= names
