"""Everybody can use the pages: structure, contrast, and what html-validate and axe-core say (make page-check)."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from uadtools.report import contents
from uadtools.report.contents import gather, index_row
from uadtools.report.index import index_html
from uadtools.report.page import page_html, part
from uadtools.scoring.healthy import HealthyScores

MODULES = Path(__file__).parents[3] / "build" / "page-check" / "node_modules"
CONTROLS = {"input", "select", "textarea", "canvas"}


class Outline(HTMLParser):
    """What a reader that cannot see needs to know of a page."""

    def __init__(self, text):
        super().__init__()
        self.language, self.headings, self.unnamed, self.described, self.ids = None, [], [], set(), set()
        self.inside, self.words, self.heads = [], "", []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids |= {given["id"]} if "id" in given else set()
        self.described |= {given["aria-describedby"]} if "aria-describedby" in given else set()
        self.language = given.get("lang", self.language)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        named = given.get("aria-label") or (tag == "input" and "label" in self.inside)
        if (tag in CONTROLS and not named) or (tag == "img" and len(given.get("alt", "")) < 5):
            self.unnamed.append(self.get_starttag_text()[:80])
        if tag == "th":
            self.heads.append(given.get("scope"))
        if tag in ("label", "button", "a"):
            self.inside.append(tag)
            self.words = given.get("aria-label", "")

    def handle_data(self, data):
        self.words += data.strip()

    def handle_endtag(self, tag):
        if tag in ("label", "button", "a"):
            self.inside.remove(tag)
            if not self.words:
                self.unnamed.append(f"an empty {tag}")


@pytest.fixture
def pages(study, truth, monkeypatch):
    """A report with all that one can have, and an index."""
    known = HealthyScores({"case_score": [0.01, 0.02], "top": [0.1], "peak": [0.1, 0.4]}, 1, both=True)
    monkeypatch.setattr(contents, "healthy_scores", lambda score: known)
    page = gather(study, truth)
    return {"report": page_html(page), "index": index_html([index_row(page, study, "a.html")], "0")}


@pytest.mark.parametrize("name", ["report", "index"])
def test_everything_has_a_name_and_a_place(pages, name):
    read = Outline(pages[name])
    assert read.language == "en"
    assert read.unnamed == []
    assert read.headings.count(1) == 1
    assert all(after - before <= 1 for before, after in zip(read.headings, read.headings[1:], strict=False))
    assert read.described <= read.ids
    assert set(read.heads) == {"col"}


def luminance(colour):
    whole = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(whole[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    parts = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def contrast(one, other):
    low, high = sorted(map(luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out(scheme):
    """At least 4.5 to 1, as WCAG 2.2 AA has it, for all colours of text on all that they are put on."""
    schemes = [dict(re.findall(r"--([\w-]+): (#\w+)", part)) for part in part("page.css").split("@media")[:2]]
    colours = schemes[scheme]
    pairs = [(text, ground) for text in ("ink", "quiet", "accent") for ground in ("paper", "panel")]
    pairs += [("warn", "warn-paper"), ("paper", "accent")]
    assert not [pair for pair in pairs if contrast(*(colours[name] for name in pair)) < 4.5]


def test_black_on_white_stands_out_most():
    assert contrast("#000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#fff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize(
    "flaw", ['<input type="range">', '<img alt="" src="">', "<button></button>", '<a href="a"> </a>']
)
def test_what_has_no_name_is_found(flaw):
    assert Outline(flaw).unnamed


def test_validator_and_axe_find_nothing(pages, tmp_path):
    chromium, node = shutil.which("chromium"), shutil.which("node")
    if not (chromium and node and MODULES.is_dir()):
        pytest.skip("html-validate and axe-core are not here (make page-check)")
    for name, text in pages.items():
        (tmp_path / f"{name}.html").write_text(text, encoding="utf-8")
    words = [node, Path(__file__).parent / "page_check.mjs", MODULES, *tmp_path.glob("*.html")]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env={**os.environ, "CHROMIUM": chromium})
    assert json.loads(done.stdout) == []
