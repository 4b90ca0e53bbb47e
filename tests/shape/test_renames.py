"""The table of old and new names leads to what exists now, not to a name in between."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
QUOTED = re.compile(r"`([^`]+)`")


def rows(page: str) -> list[tuple[str, list[str]]]:
    """Return the first cell and the names in the others, row after row."""
    cells = [QUOTED.findall(line) for line in page.splitlines() if line.startswith("| `")]
    return [(old, new) for old, *new in cells]


@pytest.fixture(scope="module")
def table():
    return rows((ROOT / "docs/renames.md").read_text())


@pytest.fixture(scope="module")
def words():
    """All words of the code, and the names of its files and folders."""
    folders = ("alembic", "chain", "scripts", "tests", "wallet")
    files = [file for folder in folders for file in (ROOT / folder).rglob("*.py")]
    found = {part for file in files for part in file.relative_to(ROOT).with_suffix("").parts}
    return found.union(*(re.findall(r"\w+", file.read_text()) for file in files))


def missing(table, words):
    return [
        f"{old}: {name}"
        for old, new in table
        for name in new
        if not ((ROOT / name).exists() if "/" in name else words.issuperset(name.split(".")))
    ]


def test_every_new_name_exists(table, words):
    assert len(table) > 500, "the table is not read right"
    assert missing(table, words) == []


def test_a_name_or_file_that_is_gone_is_found(words):
    gone = rows("| `Actor` | `Gossip`, `GoneByNow` |\n| `a.py` | `chain/gone_by_now.py` |")
    assert missing(gone, words - {"GoneByNow"}) == [
        "Actor: GoneByNow",
        "a.py: chain/gone_by_now.py",
    ]
