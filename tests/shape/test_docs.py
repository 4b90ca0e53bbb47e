"""The pages for contributors: what they name is there."""

import re
from pathlib import Path

import pytest

from scripts.lib import package_table

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *("CONTRIBUTING.md", "README.md", "docs/architecture.md", "docs/glossary.md"),
    "docs/operations.md",
    *(
        f"docs/operations/{name}.md"
        for name in ("backup", "monitoring", "postgresql", "proxy", "service")
    ),
)
# Folders that the architecture page leaves out in front of a path, and the tests' own.
BASES = (ROOT, ROOT / "chain", ROOT / "chain/consensus")
PATH = re.compile(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|toml))`")


def test_the_table_of_packages_names_every_package_and_no_other():
    page = (ROOT / "docs" / "architecture.md").read_text()
    assert page.count(package_table.START) == page.count(package_table.END) == 1
    table = page.split(package_table.START)[1].split(package_table.END)[0]
    named = re.findall(r"(?m)^\| `([\w/]+)` \|", table)
    there = [package_table.name_of(folder) for folder in package_table.packages()]
    assert named == there, "run scripts/package_table --write"


@pytest.mark.parametrize("page", PAGES)
def test_every_file_that_a_page_names_is_there(page):
    named = set(PATH.findall((ROOT / page).read_text()))
    missing = [name for name in named if not any((base / name).exists() for base in BASES)]
    assert sorted(missing) == []


def test_every_link_of_a_page_leads_to_a_file():
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    links = [
        (page, link)
        for page in pages
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    ]
    assert len(links) > len(pages), "links are not read right"
    missing = [(page, link) for page, link in links if not (page.parent / link).exists()]
    assert missing == []
