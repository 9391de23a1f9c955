"""What is written can be read, and leads somewhere: prose is wrapped, links and paths exist, the index is complete."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = (".", "docs", "examples", "examples/data", "benchmarks", "experiments")
CARDS = (ROOT / "uadtools/models/bundled").rglob("*.md")
PAGES = sorted([*(page for folder in FOLDERS for page in (ROOT / folder).glob("*.md")), *CARDS])
COLUMNS, LINES_OF_THE_README = 100, 110
SOURCES = (".py", ".md", ".sh", ".toml", ".yaml", ".1", "")
"""Endings of the files whose words are searched for paths; without one are Snakefile, Makefile and LICENSE."""
PATH = re.compile(r"(?<![\w./-])(?:examples|benchmarks|experiments|docs|uadtools)/[\w./*-]*")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose(text):
    """Yield the lines that are neither code, nor of a table, nor a picture, with their numbers."""
    fenced, before, code = False, "", False
    for number, line in enumerate(text.splitlines(), 1):
        fenced ^= line.startswith("```")
        code = line.startswith("    ") and (code or not before.strip())
        before = line
        if not (fenced or code or line.startswith(("|", "![", "```"))):
            yield number, line


def too_long(line):
    """Could it be broken? Words hold together, and so do the marker of a list and what follows it."""
    return len(line) > COLUMNS and " " in re.sub(r"^ *(?:[-*] |\d+\. )?", "", line)


def without_code(text):
    return re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)


def anchors(page):
    """What a link to a page may name behind its #."""
    text = page.read_text()
    headings = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    slugs = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    return slugs | set(re.findall(r'<a id="([^"]+)">', text))


def broken_links(page, text):
    """Return the links of a page, relative ones, that lead nowhere."""
    found = []
    for link in LINK.findall(without_code(text)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        there = page if not name else page.parent / name
        if not there.exists() or (anchor and anchor not in anchors(there)):
            found.append(link)
    return found


def missing_paths(text):
    """Return the paths from the top of the house that are named and do not exist; NAME stands for any name."""
    named = {match[0].rstrip(".") for match in PATH.finditer(text)}
    return sorted(path for path in named if not any(ROOT.glob(path.replace("NAME", "*").rstrip("/"))))


def files_with_paths():
    """All that users and developers read; not tests, which make paths up."""
    yield from (path for path in ROOT.iterdir() if path.is_file() and path.suffix in (".md", ".toml", ""))
    for top in ("docs", "man", "examples", "benchmarks", "experiments", "uadtools", ".ci"):
        for path in (ROOT / top).rglob("*"):
            if path.is_file() and path.suffix in SOURCES:
                yield path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page):
    assert not [number for number, line in prose(page.read_text()) if too_long(line)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page):
    assert not broken_links(page, page.read_text())


def test_paths_that_are_named_exist():
    missing = {
        str(path.relative_to(ROOT)): lost
        for path in files_with_paths()
        if (lost := missing_paths(path.read_text().replace("\\-", "-")))
    }
    assert not missing


def test_the_index_has_every_page():
    listed = set(LINK.findall((ROOT / "docs" / "README.md").read_text()))
    assert {page.name for page in ROOT.glob("docs/*.md")} - {"README.md"} <= listed


def test_the_readme_is_short_and_shows_one_picture():
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) <= LINES_OF_THE_README
    assert re.findall(r"!\[[^]]*\]\(([^)]+)\)", text) == ["docs/patient19.png"]
    assert "Research software, not a medical device" in text


LONG = "word " * 21


@pytest.mark.parametrize("line", [LONG, f"- {LONG}", f"> {LONG}", f"text\n    {LONG}", f"# {LONG}"])
def test_a_long_line_of_prose_is_found(line):
    assert any(too_long(found) for _, found in prose(line))


@pytest.mark.parametrize(
    "line", [f"| {LONG}", f"\n    {LONG}", f"```\n{LONG}\n```", f"- [{'x' * 99}](y)", f"![{LONG}]"]
)
def test_tables_code_and_what_cannot_be_broken_may_be_long(line):
    assert not any(too_long(found) for _, found in prose(line))


def test_what_leads_nowhere_is_found():
    page = ROOT / "README.md"
    text = "[a](docs/none.md) [b](docs/eval.md#none) [c](docs/eval.md#figures) [d](#limits) `x[0](none)`"
    assert broken_links(page, text) == ["docs/none.md", "docs/eval.md#none"]
    assert missing_paths("see `examples/none.sh`, docs/eval.md. and uadtools/cli/NAME.py") == ["examples/none.sh"]
