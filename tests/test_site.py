"""The documentation as a site: it builds, has every page, and takes nothing from elsewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
CONFIG = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}
"""Elements that make a browser fetch something, and the attribute that says what."""


def pages(of):
    """Every page of a part of the navigation, in order."""
    if isinstance(of, str):
        return [of]
    parts = of if isinstance(of, list) else of.values()
    return [page for part in parts for page in pages(part)]


def test_every_page_is_in_the_navigation_once():
    pytest.importorskip("mkdocs")
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from site_hooks import OUTSIDE
    finally:
        sys.path.pop(0)
    docs = ROOT / "docs"
    there = [path.relative_to(docs).as_posix() for path in docs.rglob("*.md")]
    assert sorted(pages(CONFIG["nav"])) == sorted([*there, *OUTSIDE.values()])
    assert all((ROOT / path).exists() for path in OUTSIDE)


def test_the_list_of_pages_names_those_of_the_navigation():
    text = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^- \[.*?\]\((.*?)\)", text, re.MULTILINE)
    first = [page for page in listed if not page.startswith("../")]
    decisions = {page for page in pages(CONFIG["nav"]) if page.startswith("decisions/")}
    in_nav = [page for page in pages(CONFIG["nav"]) if (ROOT / "docs" / page).exists()]
    assert set(first) == {*in_nav} - decisions - {"README.md"} | {"decisions/README.md"}


class Fetched(HTMLParser):
    """What a page makes a browser fetch."""

    def __init__(self, text):
        super().__init__()
        self.addresses = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        address = dict(attrs).get(LOADED.get(tag))
        if address is not None:
            self.addresses.append(address)


FOREIGN = re.compile(r"^(?:[a-z][a-z0-9+.-]*:)?//")


def test_what_is_foreign():
    page = '<link href="a.css"><script src="//b/c.js"></script><a href="https://d/"></a>'
    assert [bool(FOREIGN.match(one)) for one in Fetched(page).addresses] == [False, True]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason="the extra docs is not installed")
    folder = tmp_path_factory.mktemp("site") / "built"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_takes_nothing_from_another_host(site):
    built = sorted(site.rglob("*.html"))
    assert len(built) > 50
    for path in built:
        text = path.read_text(encoding="utf-8")
        assert [one for one in Fetched(text).addresses if FOREIGN.match(one)] == [], path
        assert 'class="mermaid"' not in text, f"{path}: diagrams are drawn by a foreign script"
    styles = [path.read_text(encoding="utf-8") for path in site.rglob("*.css")]
    assert styles
    assert [one for text in styles for one in re.findall(r"(?:url\(|@import)[^;)]*//", text)] == []


def test_links_out_of_the_folder_of_pages_lead_to_pages_of_the_site(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    assert 'href="how-to/ray-cluster.html"' in text
    assert "../cluster" not in text
    assert 'href="CONTRIBUTING.html"' in text


def test_protocols_are_described(site):
    text = (site / "reference" / "protocols.html").read_text(encoding="utf-8")
    assert "Shows how far a command is" in text
