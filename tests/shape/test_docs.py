"""The pages for contributors: what they name is there."""

import re
from pathlib import Path

import pytest

from chain.consensus.params import NETWORKS
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


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page):
    named = set(re.findall(r"`(test_\w+)`", (ROOT / page).read_text()))
    there = {
        name
        for file in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"(?m)^(?:async )?def (test_\w+)", file.read_text())
    }
    assert sorted(named - there) == []


def test_the_table_of_networks_has_the_values_of_the_code():
    page = (ROOT / "docs" / "consensus.md").read_text().split("## Networks")[1]
    rows = {
        row[0]: row[1:] for row in re.findall(r"(?m)^\| (.+?) \|" + r" (.+?) \|" * 4 + "$", page)
    }
    networks = [NETWORKS[name] for name in ("main", "test", "devnet", "regtest")]
    for title, value in (
        ("magic", lambda p: p.magic.hex()),
        ("bech32 prefix", lambda p: p.bech32_prefix),
        ("BIP44 coin type", lambda p: p.bip44_coin_type),
        ("easiest target", lambda p: f"{p.target_limit_bits:08x}"),
        ("block spacing", lambda p: f"{p.spacing_s} s"),
        ("blocks until a coinbase's coins can be spent", lambda p: p.coinbase_maturity_blocks),
        ("header at most this far ahead of the clock", lambda p: f"{p.header_ahead_s_max} s"),
    ):
        shown = [re.sub(r" \(Bitcoin's\)|[()]", "", text) for text in rows[title]]
        assert shown == [str(value(params)) for params in networks], title


def pages() -> list[Path]:
    return [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def links(page: Path) -> list[tuple[str, str]]:
    """The path of each link in the repository, empty for the page itself, and its anchor or ""."""
    return re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)", page.read_text())


def anchors(page: Path) -> set[str]:
    """What GitHub makes of a page's headings.

    They are in lower case, without punctuation, with a hyphen for each space; repeated ones have a
    number.
    """
    found: set[str] = set()
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text())
    for heading in re.findall(r"(?m)^#{1,6} +(.+?)(?: +#+)?$", text):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        numbered = (f"{slug}-{number}" for number in range(1, 100))
        found.add(slug if slug not in found else next(n for n in numbered if n not in found))
    return found


def test_every_link_of_a_page_leads_to_a_file():
    named = [(page, path) for page in pages() for path, _ in links(page) if path]
    assert len(named) > len(pages()), "links are not read right"
    assert [(page, path) for page, path in named if not (page.parent / path).exists()] == []


def test_every_anchor_of_a_link_is_a_heading_of_the_page_that_it_leads_to():
    named = [
        (page, page.parent / path if path else page, anchor)
        for page in pages()
        for path, anchor in links(page)
        if anchor
    ]
    assert len(named) > 10, "links are not read right"
    missing = [
        (str(page.relative_to(ROOT)), f"{to.name}#{anchor}")
        for page, to, anchor in named
        if to.suffix == ".md" and anchor not in anchors(to)
    ]
    assert missing == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# Plain Words\n", {"plain-words"}),
        ("## A `code` word, and: more\n", {"a-code-word-and-more"}),
        ("## TLS: nginx or Caddy\n", {"tls-nginx-or-caddy"}),
        ("## [0006](a.md) and snake_case - dash\n", {"0006-and-snake_case---dash"}),
        ("# Twice\n# Twice\n# Twice\n", {"twice", "twice-1", "twice-2"}),
        ("# One\n```\n# comment\n```\n    # indented\n#none\n", {"one"}),
    ],
)
def test_an_anchor_is_what_github_makes_of_the_heading(tmp_path, text, expected):
    page = tmp_path / "page.md"
    page.write_text(text)
    assert anchors(page) == expected
