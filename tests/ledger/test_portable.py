"""Portable SQL, checked by its words; tests/postgresql runs it on the other database."""

import re
from pathlib import Path

from chain.ledger.db import engine as engine_module

ROOT = Path(__file__).resolve().parents[2]
SQLITE_ONLY = re.compile(
    r"PRAGMA|INSERT OR |REPLACE INTO|ON CONFLICT|\browid\b|WITHOUT ROWID|\bGLOB\b|sqlite_master"
    r"|randomblob|last_insert_rowid"
)
POSTGRESQL_ONLY = re.compile(
    r"\bpg_\w+\(|FOR UPDATE|\bCOPY \w|\bANY\(|SET LOCAL|set_config|\bpsycopg\."
)


def test_words_that_only_sqlite_knows_are_in_one_module():
    sources = [*(ROOT / "chain").rglob("*.py"), *(ROOT / "alembic").rglob("*.py")]
    found = [path for path in sources if SQLITE_ONLY.search(path.read_text())]
    assert found == [Path(engine_module.__file__)]


def test_words_that_only_postgresql_knows_are_behind_that_module():
    sources = {path: path.read_text() for path in (ROOT / "chain").rglob("*.py")}
    folder = Path(engine_module.__file__).parent
    found = [path for path, source in sources.items() if POSTGRESQL_ONLY.search(source)]
    names = ("dialect.py", "probe.py", "writer.py")
    assert sorted(found) == [folder / "postgresql" / name for name in names]
    users = [path for path, source in sources.items() if "import dialect as postgresql" in source]
    assert sorted(users) == [folder / name for name in ("engine.py", "failures.py", "tables.py")]
