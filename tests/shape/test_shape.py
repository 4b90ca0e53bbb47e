"""The shape of the tree: sizes, names, and what must not be there."""

import ast
import importlib
import re
import unicodedata
from functools import cache
from pathlib import Path

from chain.consensus.errors import Reason

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("chain", "wallet") for path in (ROOT / folder).rglob("*.py"))
SOURCES_MIN = 300  # fewer would mean that the tests look in the wrong place
FILE_LINES_MAX = 600
BODY_LINES_MAX = 60
BANNED_NAMES = {"utils", "common", "helpers", "manager", "misc"}


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def read(path: Path) -> str:
    return path.read_text()


@cache
def nodes(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(read(path))))


def test_a_file_is_one_noun_of_bounded_length():
    assert len(SOURCES) > SOURCES_MIN
    assert [names(path) for path in SOURCES if path.stem in BANNED_NAMES] == []
    lines = {names(path): len(read(path).splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > FILE_LINES_MAX} == {}


def test_functions_fit_on_a_screen():
    long = []
    for path in SOURCES:
        for node in nodes(path):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                lines = node.end_lineno - body[0].lineno + 1 if body else 0
                if lines > BODY_LINES_MAX:
                    long.append(f"{names(path)}: {node.name} has {lines} lines")
    assert long == []


def test_sources_hold_no_invisible_characters():
    """Trojan Source: bidirectional and other format characters change what a reader sees."""
    hidden = {
        names(path): [hex(ord(c)) for c in set(read(path)) if unicodedata.category(c) == "Cf"]
        for path in SOURCES
    }
    assert {name: found for name, found in hidden.items() if found} == {}


def test_the_name_alembic_is_the_library():
    assert not (ROOT / "alembic" / "__init__.py").exists()
    assert callable(importlib.import_module("alembic.command").upgrade)


def test_every_reason_is_documented():
    page = (ROOT / "docs" / "consensus.md").read_text()
    assert [reason for reason in Reason if f"`{reason}`" not in page] == []


def test_every_test_that_the_rules_name_exists():
    page = (ROOT / "docs" / "consensus.md").read_text()
    named = re.findall(r"(test_\w+\.py)::(test_\w+)", page)
    for file, test in named:
        assert f"def {test}(" in (ROOT / "tests" / "consensus" / file).read_text()
    assert len(named) >= 38


def test_every_row_of_the_clients_names_tests_that_exist():
    page = (ROOT / "docs" / "compatibility.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| ") and "::" in line]
    for row in rows:
        named = re.findall(r"(tests/[\w/]+\.py)::(test_\w+)", row)
        assert len(named) == row.count("::"), row
        for file, test in named:
            assert f"def {test}(" in (ROOT / file).read_text(), (file, test)
    clients = [line for line in page.splitlines() if re.match(r"\| (?!---|client)", line)]
    assert clients == rows, "each row has its test"
    assert len(rows) >= 14


def test_no_module_hides_an_unknown_failure():
    """A broad except swallows bugs; only the ledger thread hands any error on to its caller."""
    broad = [
        names(path)
        for path in SOURCES
        for node in nodes(path)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
    ]
    assert broad == ["chain/service/ledger_thread.py"]
