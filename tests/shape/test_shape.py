"""The shape of the tree: sizes, names, and what must not be there."""

import ast
import importlib
import re
import unicodedata
from pathlib import Path

import pytest

from chain.consensus.errors import Reason

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(path for folder in ("chain", "wallet") for path in (ROOT / folder).rglob("*.py"))
FILE_LINES_MAX = 600
BODY_LINES_MAX = 60
BANNED_NAMES = {"utils", "common", "helpers", "manager", "misc"}


def names(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_a_file_is_one_noun_of_bounded_length(path):
    assert path.stem not in BANNED_NAMES
    assert len(path.read_text().splitlines()) <= FILE_LINES_MAX


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_functions_fit_on_a_screen(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = node.end_lineno - body[0].lineno + 1 if body else 0
            assert lines <= BODY_LINES_MAX, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_sources_hold_no_invisible_characters(path):
    """Trojan Source: bidirectional and other format characters change what a reader sees."""
    hidden = [c for c in path.read_text() if unicodedata.category(c) == "Cf"]
    assert not hidden


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
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
    ]
    assert broad == ["chain/service/ledger_thread.py"]
